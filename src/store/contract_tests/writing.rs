//! What is written, and what is left alone.

use super::*;

pub(crate) async fn a_key_that_was_not_looked_up_is_not_written_twice(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    run(&mut committer, T0, keyed("once", Action::Consume(consume(a, 10)))).await;
    // Decided without asking for the key.
    let (again, _) = decided(
        &mut committer,
        T0,
        &keyed("once", Action::Consume(consume(a, 10))),
    )
    .await;
    committer.append(&Writes::default()).await.unwrap();
    let (neighbour, _) = decided(
        &mut committer,
        T0,
        &keyed("once", Action::Consume(consume(b, 10))),
    )
    .await;
    let both = together([again, neighbour]);
    let wrote_neighbour = match committer.append(&both).await {
        Ok(stale) => {
            assert_eq!(stale, [a], "decide it again");
            true
        }
        Err(StoreError::Busy(_)) => false,
        Err(other) => panic!("{other}"),
    };
    let held = async |user| {
        store
            .reader()
            .account(user, T0, Extent::WHOLE)
            .await
            .unwrap()
            .unwrap()
            .state
            .account
            .held
    };
    assert_eq!(held(a).await, 10);
    assert_eq!(held(b).await, if wrote_neighbour { 10 } else { 0 });
    assert_eq!(store.reader().holds(a, every_hold()).await.unwrap().len(), 1);
    assert_eq!(store.reader().entries(a, every_entry()).await.unwrap().len(), 2);
    // And the committer is fine.
    run(
        &mut committer,
        T0,
        keyed("twice", Action::Consume(consume(a, 10))),
    )
    .await;
}

/// The write looks keys up that the load did not, and leaves out the accounts that have one: alone, and beside a neighbour;
/// also where the entries carry none, since a command may have been refused that is to be replayed.
pub(crate) async fn a_key_is_looked_up_by_the_write(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    run(&mut committer, T0, keyed("once", Action::Consume(consume(a, 10)))).await;
    let (mut done, mut round) = (1, 0);
    for (key, carried, is_taken) in [
        ("once", true, true),
        ("once", false, true),
        ("twice", false, false),
    ] {
        for neighbours in [vec![], vec![b]] {
            round += 1;
            let mut plans = Vec::new();
            for user in [a].into_iter().chain(neighbours.iter().copied()) {
                let mut take = command(Action::Consume(consume(user, 10)));
                take.idempotency_key = Some(key.to_owned()).filter(|_| carried);
                let (mut writes, _) = decided(&mut committer, T0, &take).await;
                committer.append(&Writes::default()).await.unwrap();
                // The neighbour's first one is a new key each time.
                let key = if user == a {
                    key.into()
                } else {
                    format!("{key} {round}")
                };
                for entry in writes.entries.iter_mut().filter(|e| e.idempotency_key.is_some()) {
                    entry.idempotency_key = Some(key.clone());
                }
                writes.keys.push((user, key));
                plans.push(writes);
            }
            let stale = committer.append(&together(plans)).await.unwrap();
            assert_eq!(
                stale,
                if is_taken { vec![a] } else { vec![] },
                "{key} {carried} {neighbours:?}"
            );
            done += if is_taken { 0 } else { 1 };
            let held = store.reader().holds(a, every_hold()).await.unwrap().len();
            assert_eq!(held, done);
        }
    }
    let neighbour = store.reader().holds(b, every_hold()).await.unwrap();
    assert_eq!(neighbour.len(), 3, "it was written each time");
}

/// The same number of entries and others than were known: as after somebody set the database back to an older copy.
pub(crate) async fn another_entry_of_the_same_number_is_another(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    let (mut writes, _) = decided(&mut committer, T0, &command(Action::Consume(consume(user, 10)))).await;
    committer.append(&Writes::default()).await.unwrap();
    let known = writes.accounts[0].before.clone();
    writes.accounts[0].before.as_mut().unwrap().hash = Hash::of(b"another past");
    assert_eq!(committer.append(&writes).await.unwrap(), [user]);
    writes.accounts[0].before = known;
    assert_eq!(committer.append(&writes).await.unwrap(), NOBODY);
}

pub(crate) async fn stale_accounts_are_named_and_left_alone(store: impl Subject) {
    let (a, b, c) = (id(1), id(2), id(3));
    let (mut late, mut early) = (store.committer(), store.committer());
    for user in [a, b] {
        run(&mut early, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    let mut plans = Vec::new();
    for action in [
        Action::Consume(consume(a, 10)),
        Action::Consume(consume(b, 10)),
        Action::Gift(Gift {
            user_id: c,
            amount: 5,
            reason: "x".into(),
            operator: None,
            expires_at: None,
        }),
    ] {
        plans.push(decided(&mut late, T0, &command(action)).await.0);
        late.append(&Writes::default()).await.unwrap();
    }
    // Meanwhile somebody else makes account c and moves a on.
    run(&mut early, T0, command(Action::Consume(consume(a, 60)))).await;
    run(&mut early, T0, command(Action::Grant(grant(c, 7)))).await;
    let mut stale = late.append(&together(plans)).await.unwrap();
    stale.sort_unstable();
    let mut expected = [a, c];
    expected.sort_unstable();
    assert_eq!(stale, expected);

    let account = async |user| {
        store
            .reader()
            .account(user, T0, Extent::WHOLE)
            .await
            .unwrap()
            .unwrap()
            .state
    };
    let (state_a, state_b, state_c) = (account(a).await, account(b).await, account(c).await);
    assert_eq!((state_a.account.seq, state_a.account.held), (2, 60));
    assert_eq!(
        (state_b.account.seq, state_b.account.held),
        (2, 10),
        "a neighbour is not held up"
    );
    assert_eq!((state_c.account.seq, state_c.account.available), (1, 7));
    assert_eq!(
        state_a.lots.values().map(|lot| lot.remaining).collect::<Vec<_>>(),
        [40]
    );
    assert_eq!(state_c.lots.len(), 1);
    for (user, holds, entries) in [(a, 1, 2), (b, 1, 2), (c, 0, 1)] {
        assert_eq!(
            store.reader().holds(user, every_hold()).await.unwrap().len(),
            holds
        );
        assert_eq!(
            store.reader().entries(user, every_entry()).await.unwrap().len(),
            entries
        );
    }
    let mut snapshot = store.reader().snapshot().await.unwrap();
    assert_eq!(snapshot.lots(None, 100).await.unwrap().decode().unwrap().len(), 3);
    assert_eq!(
        snapshot.holds(None, 100).await.unwrap().decode().unwrap().len(),
        2
    );
}

/// A sweep that finds nothing due writes deadlines anew, and no entry: of one account, and of several.
pub(crate) async fn an_account_is_written_without_an_entry(store: impl Subject) {
    let users = [id(1), id(2)];
    let mut committer = store.committer();
    for user in users {
        run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    for (wanted, deadline) in [(&users[..1], at(5)), (&users[..], at(6))] {
        let needs = Needs {
            accounts: wanted.to_vec(),
            ..Needs::default()
        };
        let loaded = committer.load(&needs).await.unwrap();
        let moved = |user: &Uuid| {
            let account = &loaded.accounts[user].state.account;
            AccountWrite {
                account: Account {
                    next_hold_deadline: Some(deadline),
                    ..account.clone()
                },
                before: Some(account.clone()),
            }
        };
        let writes = Writes {
            accounts: wanted.iter().map(moved).collect(),
            ..Writes::default()
        };
        assert_eq!(committer.append(&writes).await.unwrap(), NOBODY);
        for user in wanted {
            let account = store
                .reader()
                .account(*user, T0, Extent::WHOLE)
                .await
                .unwrap()
                .unwrap()
                .state
                .account;
            assert_eq!((account.next_hold_deadline, account.seq), (Some(deadline), 1));
        }
    }
}

/// A price is held and confirmed before anything is written: the row is made with what was used, and with the quote.
pub(crate) async fn a_price_confirmed_in_its_own_batch_is_kept_whole(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    // Alone in its batch, and beside a neighbour's account.
    for (n, neighbour) in [(1, None), (2, Some(id(2)))] {
        let mut needs = needs_account(user, T0);
        needs.accounts.extend(neighbour);
        let loaded = committer.load(&needs).await.unwrap();
        let priced = |request: &str| crate::ledger::Priced {
            request: request.into(),
            quote: format!("{{\"n\":{n}}}"),
            hold_ttl: None,
        };
        let hold = command(Action::Consume(Consume {
            priced: Some(priced("{}")),
            ..consume(user, 30)
        }));
        let mut state = loaded.accounts[&user].state.clone();
        let held = decide(&state, &hold, T0, &RULES).unwrap();
        let hold = consumption_id(&held.outcome);
        for entry in &held.entries {
            apply(&mut state, entry).unwrap();
        }
        let used = format!("{{\"quantity\":\"{n}\"}}");
        let settle = command(Action::Confirm(Confirm {
            amount: Some(7),
            used: Some(used.clone()),
            ..confirm(hold)
        }));
        let settled = decide(&state, &settle, T0, &RULES).unwrap();
        let entries: Vec<Entry> = held.entries.into_iter().chain(settled.entries).collect();
        let mut all = vec![writes(&loaded.accounts[&user], &entries)];
        assert_eq!((all[0].new_holds.len(), all[0].holds.len()), (1, 0));
        if let Some(other) = neighbour {
            let give = command(Action::Grant(grant(other, 1)));
            let given = decide(&loaded.accounts[&other].state, &give, T0, &RULES).unwrap();
            all.push(writes(&loaded.accounts[&other], &given.entries));
        }
        assert_eq!(committer.append(&together(all)).await.unwrap(), NOBODY);

        let found = store.reader().hold(hold).await.unwrap().unwrap();
        assert_eq!((found.state.status, found.state.captured), (Status::Confirmed, 7));
        assert_eq!(found.state.used, Some(used));
        assert_eq!(found.quote, Some(format!("{{\"n\":{n}}}")));
        let named = Needs {
            consumptions: vec![hold],
            ..Needs::default()
        };
        assert_eq!(
            load_one(&mut committer, &named).await.state.holds[&hold],
            found.into()
        );
    }
    // Made and confirmed apart, each alone in its batch: such rows take another way.
    let hold = consumption_id(
        &run(
            &mut committer,
            T0,
            command(Action::Consume(Consume {
                priced: Some(crate::ledger::Priced {
                    request: "{}".into(),
                    quote: "{}".into(),
                    hold_ttl: None,
                }),
                ..consume(user, 5)
            })),
        )
        .await,
    );
    let settle = Confirm {
        used: Some("{\"quantity\":\"3\"}".into()),
        ..confirm(hold)
    };
    run(&mut committer, T0, command(Action::Confirm(settle))).await;
    let found = store.reader().hold(hold).await.unwrap().unwrap();
    assert_eq!(found.state.used.as_deref(), Some("{\"quantity\":\"3\"}"));
    assert_eq!(found.quote.as_deref(), Some("{}"));
}

pub(crate) async fn an_empty_append_ends_what_load_began(store: impl Subject) {
    let user = id(1);
    let (mut first, mut second) = (store.committer(), store.committer());
    let locking = Needs {
        lock: true,
        ..needs_account(user, T0)
    };
    first.load(&locking).await.unwrap();
    assert_eq!(first.append(&Writes::default()).await.unwrap(), NOBODY);
    run(&mut second, T0, command(Action::Grant(grant(user, 100)))).await;
    first.load(&locking).await.unwrap();
    assert_eq!(first.append(&Writes::default()).await.unwrap(), NOBODY);
    run(&mut second, T0, command(Action::Grant(grant(user, 100)))).await;
}

pub(crate) async fn a_load_that_is_never_appended_changes_nothing(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let (abandoned, _) = decided(&mut committer, T0, &command(Action::Grant(grant(user, 1)))).await;
    drop(abandoned);
    run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    decided(&mut committer, T0, &command(Action::Grant(grant(user, 1)))).await;
    committer.reconnect().await.unwrap();
    run(&mut committer, T0, command(Action::Grant(grant(user, 10)))).await;
    decided(&mut committer, T0, &command(Action::Grant(grant(user, 1)))).await;
    drop(committer);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 1)))).await;
    let account = store
        .reader()
        .account(user, T0, Extent::WHOLE)
        .await
        .unwrap()
        .unwrap()
        .state
        .account;
    assert_eq!((account.seq, account.available), (3, 111));
}

pub(crate) async fn a_locked_account_is_never_stale(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 1000)))).await;
    let take = command(Action::Consume(consume(user, 1)));
    let locking = Needs {
        lock: true,
        ..needs_account(user, T0)
    };
    let loaded = committer.load(&locking).await.unwrap();
    // Another committer, on a thread of its own since it may block, tries as hard as it can to come between.
    let mut rival = store.committer();
    let rival = std::thread::spawn({
        let take = take.clone();
        let runtime = tokio::runtime::Handle::current();
        move || {
            runtime.block_on(async move {
                loop {
                    let (writes, _) = decided(&mut rival, T0, &take).await;
                    match rival.append(&writes).await {
                        Ok(stale) if stale.is_empty() => return,
                        Ok(_) | Err(StoreError::Busy(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let account = &loaded.accounts[&user];
    let decision = decide(&account.state, &take, T0, &RULES).unwrap();
    assert_eq!(
        committer
            .append(&writes(account, &decision.entries))
            .await
            .unwrap(),
        NOBODY
    );
    rival.join().unwrap();
    let account = store
        .reader()
        .account(user, T0, Extent::WHOLE)
        .await
        .unwrap()
        .unwrap()
        .state
        .account;
    assert_eq!((account.seq, account.held), (3, 2));
}

pub(crate) async fn committers_side_by_side_lose_nothing(store: impl Subject) {
    const EACH: usize = 50;
    let users: Vec<Uuid> = (1..=3).map(id).collect();
    let mut committer = store.committer();
    for user in &users {
        run(&mut committer, T0, command(Action::Grant(grant(*user, 500)))).await;
    }
    drop(committer);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut committer = store.committer();
            let users = users.clone();
            let runtime = tokio::runtime::Handle::current();
            std::thread::spawn(move || {
                runtime.block_on(async move {
                    let mut granted = 0;
                    for n in 0..EACH {
                        let take = command(Action::Consume(consume(users[n % users.len()], 75)));
                        loop {
                            let loaded = match committer.load(&needs(&take, T0)).await {
                                Ok(loaded) => loaded,
                                Err(StoreError::Busy(_)) => continue,
                                Err(other) => panic!("{other}"),
                            };
                            let account = loaded.accounts.values().next().unwrap();
                            let decided = decide(&account.state, &take, T0, &RULES);
                            let writes = decided
                                .as_ref()
                                .map_or_else(|_| Writes::default(), |d| writes(account, &d.entries));
                            match committer.append(&writes).await {
                                Ok(stale) if stale.is_empty() => {
                                    granted += usize::from(decided.is_ok());
                                    break;
                                }
                                Ok(_) | Err(StoreError::Busy(_)) => {}
                                Err(other) => panic!("{other}"),
                            }
                        }
                    }
                    granted
                })
            })
        })
        .collect();
    let granted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(granted, users.len() * (500 / 75), "rule hold-at-consume");
    for user in users {
        let state = store
            .reader()
            .account(user, T0, Extent::WHOLE)
            .await
            .unwrap()
            .unwrap()
            .state;
        assert_eq!(
            (state.account.available, state.account.held, state.account.seq),
            (50, 450, 7)
        );
        assert_eq!(state.lots.values().map(|lot| lot.remaining).sum::<i64>(), 50);
        assert_eq!(store.reader().holds(user, every_hold()).await.unwrap().len(), 6);
    }
}

pub(crate) async fn landed_finds_exactly_what_is_there(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let (writes, _) = decided(&mut committer, T0, &command(Action::Grant(grant(user, 100)))).await;
    let entry = &writes.entries[0];
    let here = (user, 1, entry.hash);
    committer.append(&Writes::default()).await.unwrap();
    assert_eq!(committer.landed(&[here]).await.unwrap(), [false]);
    committer.load(&needs_account(user, T0)).await.unwrap();
    committer.append(&writes).await.unwrap();
    let asked = [
        (user, 2, entry.hash),
        here,
        (user, 1, Hash::genesis(user)),
        (id(2), 1, entry.hash),
    ];
    assert_eq!(
        committer.landed(&asked).await.unwrap(),
        [false, true, false, false]
    );
    committer.reconnect().await.unwrap();
    assert_eq!(committer.landed(&[here]).await.unwrap(), [true]);
    assert!(committer.landed(&[]).await.unwrap().is_empty());
}
