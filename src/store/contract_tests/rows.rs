//! What is written comes back, every field of it.

use super::*;

pub(crate) async fn absent_things_are_absent(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let needs = Needs {
        now: Some(T0),
        accounts: vec![user],
        known: Vec::new(),
        consumptions: vec![id(2)],
        lots: vec![(user, id(3))],
        orders: vec![
            (user, OrderNeed::Number(OrderNo(id(4)))),
            (user, OrderNeed::OfPackage(id(5))),
            (user, OrderNeed::Waiting),
        ],
        payments: vec![(user, OrderNo(id(4)), "4200".into())],
        keys: vec![
            (KeyScope::Account(user), "key".into()),
            (KeyScope::Consumption(id(2)), "key".into()),
        ],
        lock: true,
        ..Needs::default()
    };
    let loaded = committer.load(&needs).await.unwrap();
    assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
    assert_eq!(loaded.accounts.len(), 1);
    let account = &loaded.accounts[&user];
    assert_eq!(account.state, State::new(user, T0));
    assert!(!account.exists && !account.looked_up_due && account.next_pending.is_none());
    assert!(loaded.owners.is_empty() && loaded.priors.is_empty());
    assert_eq!(
        committer.landed(&[(user, 1, Hash::genesis(user))]).await.unwrap(),
        [false]
    );

    let reader = store.reader();
    assert!(reader.account(user, T0, Extent::WHOLE).await.unwrap().is_none());
    assert!(reader.entries(user, every_entry()).await.unwrap().is_empty());
    assert!(reader.holds(user, every_hold()).await.unwrap().is_empty());
    assert!(reader.hold(id(2)).await.unwrap().is_none());
    assert!(
        reader
            .due(Due::Holds, Timestamp::MAX, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        reader
            .due(Due::Lots, Timestamp::MAX, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let mut snapshot = reader.snapshot().await.unwrap();
    assert!(
        snapshot
            .accounts(None, 10)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .is_empty()
    );
    assert!(
        snapshot
            .entries(None, 10)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .is_empty()
    );
    assert_eq!(snapshot.sums().await.unwrap(), Default::default());
    reader.check_schema().await.unwrap();
    reader.migrate().await.unwrap();
}

/// Each optional field once with a value and once without, each word, and the extremes of each type.
fn full_rows(user: Uuid) -> Writes {
    let most = limits::CREDITS_MAX;
    let long: String = "字".repeat(limits::REFERENCE_BYTES_MAX / 3);
    let account = Account {
        user_id: user,
        seq: Kind::ALL.len() as i64,
        hash: Hash::of(b"last"),
        available: most,
        held: most - 1,
        debt: most - 2,
        borrowed: most - 3,
        credit_limit: most - 4,
        granted: most - 5,
        spent: most - 6,
        next_hold_deadline: Some(Timestamp::MAX),
        next_lot_deadline: Some(Timestamp::MIN),
        created_at: T0,
        updated_at: at(1),
    };
    let plain = lot_by_hand(100, most);
    let mut lots = vec![(user, plain.clone())];
    for (n, source) in Source::ALL.iter().enumerate() {
        let lot = Lot {
            lot_id: id(101 + n as u64),
            source: *source,
            amount: 100,
            remaining: 10,
            expired: 20,
            clawed: 30,
            claim: 40,
            priority: if n % 2 == 0 {
                -limits::PRIORITY_MAX
            } else {
                limits::PRIORITY_MAX
            },
            expires_at: Some(Timestamp::MAX),
            cost: Some(Money {
                minor: most,
                currency: "CNY".into(),
            }),
            reference: Some(long.clone()),
            origin: Some(id(7)),
            created_at: Timestamp::MIN,
        };
        lots.push((user, lot));
    }
    let metadata = format!("{{\"k\":\"{}\"}}", "x".repeat(limits::METADATA_BYTES_MAX - 8));
    let mut holds = vec![hold_by_hand(user, 200, at(9))];
    for (n, status) in Status::ALL.iter().enumerate() {
        let (captured, reversed) = match status {
            Status::Confirmed => (75, 5),
            Status::Refunded => (75, 75),
            _ => (0, 0),
        };
        holds.push(Hold {
            consumption_id: id(201 + n as u64),
            user_id: user,
            amount: most,
            feature: Some(long.clone()),
            reference: Some("it's \"quoted\"; \\ % _".into()),
            metadata: Some(Metadata::parse(&metadata).unwrap()),
            quote: Some(long.clone()),
            created_at: T0,
            state: HoldState {
                status: *status,
                captured,
                reversed,
                borrowed: 3,
                pins: vec![
                    Pin {
                        lot_id: id(100),
                        amount: most,
                    },
                    Pin {
                        lot_id: id(101),
                        amount: 1,
                    },
                ],
                expires_at: Timestamp::MAX,
                settled_at: (*status != Status::Pending).then_some(at(5)),
                used: (*status != Status::Pending).then(|| long.clone()),
            },
        });
    }
    let entries = Kind::ALL.iter().enumerate().map(|(n, kind)| {
        let full = n % 2 == 0;
        let effects = if full {
            Effects {
                lots: vec![LotChange {
                    lot: id(100),
                    remaining: -1,
                    expired: 2,
                    clawed: 3,
                    claim: -4,
                }],
                new_lots: vec![plain.clone()],
                hold: Some(holds[1].state.clone()),
                funded: vec![(id(201), holds[2].state.clone())],
                reason: Some("为什么".into()),
                ..Effects::default()
            }
        } else {
            Effects::default()
        };
        Entry {
            kind: *kind,
            change: -most,
            held_change: most,
            available: -most,
            held: most,
            counter_account: "earned.图片".into(),
            consumption_id: full.then(|| id(201)),
            lot_id: full.then(|| id(100)),
            reference: full.then(|| long.clone()),
            idempotency_key: full.then(|| format!("{n:0>255}")),
            request_hash: full.then(|| Hash::of(b"request")),
            data: serde_json::to_string(&effects).unwrap(),
            effects,
            ..entry_by_hand(user, n as i64 + 1)
        }
    });
    let gift = |n: u64, full: bool| GiftRow {
        user_id: user,
        lot_id: id(n),
        amount: most,
        reason: long.clone(),
        operator: full.then(|| long.clone()),
        expires_at: full.then_some(Timestamp::MAX),
        created_at: T0,
    };
    Writes {
        accounts: new_account(account),
        new_lots: lots
            .into_iter()
            .map(|(user_id, lot)| (user_id, lot.into()))
            .collect(),
        new_holds: shared(&holds),
        gifts: vec![gift(1, true), gift(2, false)],
        entries: entries.collect(),
        ..Writes::default()
    }
}

async fn assert_rows(store: &impl Subject, user: Uuid, account: &Account, rows: &Writes) {
    let loaded = load_one(&mut store.committer(), &needs_account(user, T0)).await;
    assert_eq!(loaded.state.account, *account);
    let lots: BTreeMap<Uuid, Lot> = rows
        .new_lots
        .iter()
        .map(|(_, lot)| (lot.lot_id, Lot::clone(lot)))
        .collect();
    let open = lots
        .clone()
        .into_iter()
        .filter(|(_, lot)| lot.remaining > 0)
        .map(|(id, lot)| (id, lot.into()))
        .collect();
    assert_eq!(loaded.state.lots, open);

    let mut holds: Vec<Hold> = rows.new_holds.iter().map(|hold| Hold::clone(hold)).collect();
    holds.sort_by_key(|hold| std::cmp::Reverse(hold.consumption_id));
    assert_eq!(store.reader().holds(user, every_hold()).await.unwrap(), holds);
    for hold in &holds {
        assert_eq!(
            store.reader().hold(hold.consumption_id).await.unwrap().as_ref(),
            Some(hold)
        );
    }
    let newest_first: Vec<Entry> = rows.entries.iter().rev().cloned().collect();
    assert_eq!(
        store.reader().entries(user, every_entry()).await.unwrap(),
        newest_first
    );

    let mut snapshot = store.reader().snapshot().await.unwrap();
    assert_eq!(
        snapshot.accounts(None, 10).await.unwrap().decode().unwrap(),
        std::slice::from_ref(account)
    );
    let stored: Vec<(Uuid, Lot)> = lots.into_values().map(|lot| (user, lot)).collect();
    assert_eq!(snapshot.lots(None, 100).await.unwrap().decode().unwrap(), stored);
    holds.reverse();
    assert_eq!(snapshot.holds(None, 100).await.unwrap().decode().unwrap(), holds);
    let entries: Vec<Entry> = snapshot
        .entries(None, 100)
        .await
        .unwrap()
        .decode()
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(entries, rows.entries);
}

pub(crate) async fn every_field_comes_back(store: impl Subject) {
    let user = id(1);
    let rows = full_rows(user);
    append(&store, rows.clone()).await;
    assert_rows(&store, user, &rows.accounts[0].account, &rows).await;

    let bare = account_by_hand(id(2), 1);
    let accounts = new_account(bare.clone());
    append(
        &store,
        Writes {
            accounts,
            entries: vec![entry_by_hand(id(2), 1)],
            ..Writes::default()
        },
    )
    .await;
    let loaded = load_one(&mut store.committer(), &needs_account(id(2), T0)).await;
    assert_eq!(loaded.state.account, bare);
}

pub(crate) async fn every_field_can_change(store: impl Subject) {
    let user = id(1);
    let mut rows = full_rows(user);
    append(&store, rows.clone()).await;
    let before = rows.accounts[0].account.clone();
    let seq = rows.entries.len() as i64 + 1;
    // `created_at` stays as it is.
    let mut account = Account {
        created_at: T0,
        updated_at: at(7),
        ..account_by_hand(user, seq)
    };
    account.next_hold_deadline = Some(at(3));
    for (_, lot) in &mut rows.new_lots {
        let lot = Arc::make_mut(lot);
        // Closed ones open and open ones close; and some stay open.
        lot.remaining = if lot.priority > 0 { 0 } else { 1 };
        lot.expired += 1;
        lot.clawed = 2;
        lot.claim = 3;
        lot.amount = lot.amount.max(100);
    }
    rows.new_lots
        .retain(|(_, lot)| lot.remaining + lot.expired + lot.clawed <= lot.amount);
    for hold in &mut rows.new_holds {
        let hold = Arc::make_mut(hold);
        hold.state = HoldState {
            status: Status::Refunded,
            captured: 9,
            reversed: 9,
            borrowed: 0,
            pins: vec![Pin {
                lot_id: id(3),
                amount: 4,
            }],
            expires_at: at(11),
            settled_at: Some(at(12)),
            used: Some("{}".into()),
        };
    }
    let change = Writes {
        accounts: vec![AccountWrite {
            account: account.clone(),
            before: Some(before),
        }],
        lots: rows.new_lots.clone(),
        holds: rows.new_holds.clone(),
        entries: vec![entry_by_hand(user, seq)],
        ..Writes::default()
    };
    append(&store, change).await;
    rows.entries.push(entry_by_hand(user, seq));
    assert_rows(&store, user, &account, &rows).await;

    // And back: deadlines go, lots reopen.
    account = account_by_hand(user, seq + 1);
    for (_, lot) in &mut rows.new_lots {
        let lot = Arc::make_mut(lot);
        lot.remaining = 1 - lot.remaining;
    }
    let change = Writes {
        accounts: vec![AccountWrite {
            account: account.clone(),
            before: Some(account_by_hand(user, seq)),
        }],
        lots: rows.new_lots.clone(),
        entries: vec![entry_by_hand(user, seq + 1)],
        ..Writes::default()
    };
    append(&store, change).await;
    rows.entries.push(entry_by_hand(user, seq + 1));
    assert_rows(&store, user, &account, &rows).await;
}

/// A life by the rules, compared with the books that `apply` makes of the entries.
pub(crate) async fn a_history_comes_back_the_same_everywhere(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let mut model = State::new(user, T0);
    let mut now = 0;
    let mut held: Vec<Uuid> = Vec::new();
    let mut granted: Vec<Uuid> = Vec::new();
    for step in 0..120u64 {
        now += 200;
        let oldest = |held: &mut Vec<Uuid>| (!held.is_empty()).then(|| held.remove(0));
        let action = match step % 12 {
            0 => Action::Grant(Grant {
                expires_at: Some(at(now + 4000)),
                cost: Some(Money {
                    minor: 990,
                    currency: "CNY".into(),
                }),
                reference: Some(format!("order-{step}")),
                ..grant(user, 400)
            }),
            1 => Action::Gift(Gift {
                user_id: user,
                amount: 90,
                reason: "welcome".into(),
                operator: None,
                expires_at: None,
            }),
            2 => Action::SetCreditLimit(SetCreditLimit {
                user_id: user,
                credit_limit: 500,
            }),
            3 | 4 | 5 | 8 => Action::Consume(Consume {
                feature: Some("image".into()),
                metadata: Some(Metadata::parse("{\"a\":[1,null]}").unwrap()),
                ..consume(user, 70 + step as i64)
            }),
            6 | 9 => match oldest(&mut held) {
                Some(id) => Action::Confirm(Confirm {
                    amount: Some(50),
                    late: Late::Recharge,
                    ..confirm(id)
                }),
                None => continue,
            },
            7 => match oldest(&mut held) {
                Some(consumption_id) => Action::Refund(Refund {
                    consumption_id,
                    amount: None,
                    reason: None,
                    operator: None,
                    pending_only: false,
                }),
                None => continue,
            },
            10 => match held.last() {
                Some(&consumption_id) => {
                    Action::Extend(Extend::new(consumption_id, Duration::from_secs(5000)))
                }
                None => continue,
            },
            _ => match granted.pop() {
                Some(lot_id) => Action::Clawback(Clawback {
                    user_id: user,
                    lot_id,
                    amount: None,
                    shortfall: Shortfall::Forgive,
                    reason: None,
                    operator: None,
                }),
                None => continue,
            },
        };
        let command = keyed(&format!("key-{step}"), action);
        let mut needs = needs(&command, at(now));
        needs.more.insert(user, 1_000_000);
        let loaded = committer.load(&needs).await.unwrap();
        let Some(account) = loaded.accounts.get(&user) else {
            panic!("step {step}: not loaded")
        };
        let Ok(decision) = decide(&account.state, &command, at(now), &RULES) else {
            committer.append(&Writes::default()).await.unwrap();
            continue;
        };
        let written = writes(account, &decision.entries);
        assert_eq!(committer.append(&written).await.unwrap(), NOBODY);
        for entry in &decision.entries {
            apply(&mut model, entry).unwrap();
        }
        model.account = written
            .accounts
            .first()
            .map_or(model.account, |write| write.account.clone());
        match &decision.outcome {
            Outcome::Consumption(c) if matches!(command.action, Action::Consume(_)) => held.push(c.id),
            Outcome::Receipt(receipt) => granted.extend(receipt.lot.as_ref().map(|lot| lot.lot_id)),
            _ => {}
        }
    }
    assert!(model.account.seq > 100, "{:?}", model.account);
    let mut snapshot = store.reader().snapshot().await.unwrap();
    assert_eq!(
        snapshot.accounts(None, 10).await.unwrap().decode().unwrap(),
        [model.account.clone()]
    );
    let lots: BTreeMap<Uuid, Arc<Lot>> = snapshot
        .lots(None, 1000)
        .await
        .unwrap()
        .decode()
        .unwrap()
        .into_iter()
        .map(|(_, lot)| (lot.lot_id, lot.into()))
        .collect();
    assert_eq!(lots, model.lots);
    let holds: BTreeMap<Uuid, Arc<Hold>> = snapshot
        .holds(None, 1000)
        .await
        .unwrap()
        .decode()
        .unwrap()
        .into_iter()
        .map(|h| (h.consumption_id, h.into()))
        .collect();
    assert_eq!(holds, model.holds);
    let mut previous = Hash::genesis(user);
    for entry in snapshot.journal(user, 0, usize::MAX).await.unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.chained(&previous), entry.hash, "entry {}", entry.seq);
        previous = entry.hash;
    }
    assert_eq!(previous, model.account.hash);
    let sums = snapshot.sums().await.unwrap();
    assert_eq!(
        sums.available + sums.held + sums.counter_accounts.values().sum::<i128>(),
        0
    );
    assert_eq!(sums.held, i128::from(model.account.held));
}
