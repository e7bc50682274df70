//! The reading side.

use super::*;

pub(crate) async fn journals_are_read_in_pages_and_filtered(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(id(2), 10)))).await;
    for n in 0..9 {
        let action = match n % 3 {
            0 => Action::Grant(grant(user, 10)),
            1 => Action::SetCreditLimit(SetCreditLimit {
                user_id: user,
                credit_limit: n,
            }),
            _ => Action::Consume(consume(user, 1)),
        };
        run(&mut committer, at(n as u64), command(action)).await;
    }
    let read = async |filter: EntryFilter| -> Vec<i64> {
        let entries = store.reader().entries(user, filter).await.unwrap();
        assert!(entries.iter().all(|entry| entry.user_id == user));
        entries.iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(read(every_entry()).await, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(
        read(EntryFilter {
            limit: 3,
            ..every_entry()
        })
        .await,
        [9, 8, 7]
    );
    assert_eq!(
        read(EntryFilter {
            limit: 3,
            before: Some(7),
            ..every_entry()
        })
        .await,
        [6, 5, 4]
    );
    assert!(
        read(EntryFilter {
            before: Some(1),
            ..every_entry()
        })
        .await
        .is_empty()
    );
    assert!(
        read(EntryFilter {
            limit: 0,
            ..every_entry()
        })
        .await
        .is_empty()
    );
    assert_eq!(
        read(EntryFilter {
            kind: Some(Kind::Consume),
            ..every_entry()
        })
        .await,
        [9, 6, 3]
    );
    assert!(
        read(EntryFilter {
            kind: Some(Kind::Gift),
            ..every_entry()
        })
        .await
        .is_empty()
    );
    assert_eq!(
        read(EntryFilter {
            after: 6,
            ..every_entry()
        })
        .await,
        [9, 8, 7]
    );
    assert_eq!(
        read(EntryFilter {
            until: Some(at(2)),
            ..every_entry()
        })
        .await,
        [2, 1]
    );
    let all = EntryFilter {
        kind: Some(Kind::Grant),
        after: 1,
        until: Some(at(7)),
        before: Some(7),
        limit: 5,
    };
    assert_eq!(read(all).await, [4]);
}

pub(crate) async fn consumptions_are_read_in_pages_and_filtered(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    for other in [user, id(2)] {
        run(&mut committer, T0, command(Action::Grant(grant(other, 1000)))).await;
        run(&mut committer, T0, command(Action::Consume(consume(other, 1)))).await;
    }
    let mut ids = vec![store.reader().holds(user, every_hold()).await.unwrap()[0].consumption_id];
    for n in 1..8 {
        let ttl = Some(Duration::from_secs(if n < 4 { 100 } else { 10_000 }));
        let taken = Action::Consume(Consume {
            ttl,
            ..consume(user, 1)
        });
        ids.push(consumption_id(&run(&mut committer, at(n), command(taken)).await));
    }
    run(&mut committer, at(9), command(Action::Confirm(confirm(ids[6])))).await;
    let refund = Refund {
        consumption_id: ids[7],
        amount: None,
        reason: None,
        operator: None,
        pending_only: false,
    };
    run(&mut committer, at(9), command(Action::Refund(refund))).await;
    // Written down as expired: 1. Due but not written down: 2 and 3. Live: 0, 4 and 5.
    let mut hold = store.reader().hold(ids[1]).await.unwrap().unwrap();
    hold.state = HoldState {
        status: Status::Expired,
        settled_at: Some(hold.state.expires_at),
        pins: Vec::new(),
        ..hold.state
    };
    let loaded = load_one(&mut committer, &needs_account(user, T0)).await;
    let seq = loaded.state.account.seq;
    let account = Account {
        seq: seq + 1,
        ..loaded.state.account.clone()
    };
    let before = Some(loaded.state.account);
    let accounts = vec![AccountWrite { account, before }];
    let entries = vec![entry_by_hand(user, seq + 1)];
    append(
        &store,
        Writes {
            accounts,
            holds: vec![hold.into()],
            entries,
            ..Writes::default()
        },
    )
    .await;

    let read = async |filter: HoldFilter| -> Vec<usize> {
        let holds = store.reader().holds(user, filter).await.unwrap();
        holds
            .iter()
            .map(|hold| ids.iter().position(|id| *id == hold.consumption_id).unwrap())
            .collect()
    };
    let late = HoldFilter {
        now: at(3000),
        ..every_hold()
    };
    let status = |status| HoldFilter {
        status: Some(status),
        ..late.clone()
    };
    assert_eq!(read(late.clone()).await, [7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(
        read(HoldFilter {
            limit: 3,
            ..late.clone()
        })
        .await,
        [7, 6, 5]
    );
    assert_eq!(
        read(HoldFilter {
            limit: 3,
            before: Some(ids[5]),
            ..late.clone()
        })
        .await,
        [4, 3, 2]
    );
    assert!(
        read(HoldFilter {
            before: Some(ids[0]),
            ..late.clone()
        })
        .await
        .is_empty()
    );
    assert_eq!(
        read(HoldFilter {
            before: Some(Uuid::max()),
            limit: 1,
            ..late.clone()
        })
        .await,
        [7]
    );
    assert_eq!(read(status(Status::Pending)).await, [5, 4, 0]);
    assert_eq!(read(status(Status::Expired)).await, [3, 2, 1]);
    assert_eq!(read(status(Status::Confirmed)).await, [6]);
    assert_eq!(read(status(Status::Refunded)).await, [7]);
    assert_eq!(
        read(HoldFilter {
            before: Some(ids[3]),
            ..status(Status::Expired)
        })
        .await,
        [2, 1]
    );
    let due = |now| HoldFilter {
        now,
        ..status(Status::Expired)
    };
    assert_eq!(
        read(due(at(102))).await,
        [2, 1],
        "a deadline has passed when now >= deadline"
    );
    assert_eq!(
        read(due(Timestamp::from_micros(at(102).as_micros() - 1))).await,
        [1]
    );
}

pub(crate) async fn due_accounts_come_in_order_of_deadline(store: impl Subject) {
    let mut rows = Writes::default();
    let mut in_order = Vec::new();
    for n in 0..20 {
        let user = id(n + 1);
        // Two accounts share each deadline, and some have none.
        let deadline = (n % 5 != 4).then(|| at(n / 2));
        let account = Account {
            next_hold_deadline: deadline,
            next_lot_deadline: deadline.map(|t| t.plus(Duration::from_secs(100))),
            ..account_by_hand(user, 1)
        };
        rows.accounts.push(AccountWrite {
            account,
            before: None,
        });
        rows.entries.push(entry_by_hand(user, 1));
        in_order.extend(deadline.map(|t| (t, user)));
    }
    append(&store, rows).await;
    in_order.sort_unstable();
    let now = at(7);
    let due: Vec<_> = in_order.iter().copied().filter(|(t, _)| *t <= now).collect();
    assert!(due.len() > 10 && due.len() < in_order.len());
    let reader = store.reader();
    assert_eq!(reader.due(Due::Holds, now, None, 100).await.unwrap(), due);
    let mut paged = Vec::new();
    loop {
        let page = reader
            .due(Due::Holds, now, paged.last().copied(), 3)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, due);
    assert!(reader.due(Due::Lots, now, None, 100).await.unwrap().is_empty());
    let lots = reader.due(Due::Lots, at(107), None, 100).await.unwrap();
    assert_eq!(
        lots.iter().map(|(_, user)| user).collect::<Vec<_>>(),
        due.iter().map(|(_, user)| user).collect::<Vec<_>>()
    );
}

pub(crate) async fn a_closed_store_is_lost(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 1)))).await;
    drop(committer);
    let reader = store.reader();
    assert!(reader.account(user, T0, Extent::WHOLE).await.unwrap().is_some());
    reader.close().await.unwrap();
    reader.close().await.unwrap();
    fn lost<T>(result: StoreResult<T>) -> bool {
        matches!(result, Err(StoreError::Lost(_)))
    }
    assert!(lost(reader.account(user, T0, Extent::WHOLE).await));
    assert!(lost(reader.entries(user, every_entry()).await));
    assert!(lost(reader.hold(user).await));
    assert!(lost(reader.snapshot().await.map(drop)));
}
