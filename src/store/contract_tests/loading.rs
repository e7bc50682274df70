//! What a batch needs to know, and no more.

use super::*;

pub(crate) async fn a_consumption_leads_to_its_account(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    let of_a = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(a, 10)))).await);
    let of_b = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(b, 20)))).await);
    let wanted = Needs {
        now: Some(T0),
        accounts: vec![a],
        consumptions: vec![of_b, id(99), of_a],
        ..Needs::default()
    };
    let loaded = committer.load(&wanted).await.unwrap();
    committer.append(&Writes::default()).await.unwrap();
    assert_eq!(loaded.owners.len(), 2);
    assert_eq!((loaded.owners[&of_a], loaded.owners[&of_b]), (a, b));
    assert_eq!(
        loaded.accounts.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([a, b])
    );
    let holds = |user: &Uuid| {
        loaded.accounts[user]
            .state
            .holds
            .keys()
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!((holds(&a), holds(&b)), (vec![of_a], vec![of_b]));
    assert!(
        loaded
            .accounts
            .values()
            .all(|account| account.exists && !account.looked_up_due)
    );
}

async fn found<C: Committer>(committer: &mut C, needs: Needs) -> crate::store::Loaded {
    let loaded = committer.load(&needs).await.unwrap();
    assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
    loaded
}

/// Alone and in a batch; and a key of it is looked up all the same.
pub(crate) async fn of_an_account_that_is_as_known_nothing_is_found(store: impl Subject) {
    let (a, b, new) = (id(1), id(2), id(3));
    let mut committer = store.committer();
    for user in [a, b] {
        run(
            &mut committer,
            T0,
            keyed("grant", Action::Grant(grant(user, 100))),
        )
        .await;
    }
    let hash = async |user| {
        let account = store
            .reader()
            .account(user, T0, Extent::WHOLE)
            .await
            .unwrap()
            .unwrap();
        account.state.account.hash
    };
    let then = [(a, hash(a).await), (b, hash(b).await)];
    let users = |loaded: &crate::store::Loaded| loaded.accounts.keys().copied().collect::<BTreeSet<_>>();
    let key = |user| vec![(KeyScope::Account(user), "grant".to_owned())];
    let of_a = |known: &[(Uuid, Hash)]| Needs {
        known: known.to_vec(),
        keys: key(a),
        ..needs_account(a, T0)
    };
    let of_both = |known: &[(Uuid, Hash)]| Needs {
        accounts: vec![a, b, new],
        known: known.to_vec(),
        keys: key(b),
        ..needs_account(a, T0)
    };
    let loaded = found(&mut committer, of_a(&then[..1])).await;
    assert_eq!((users(&loaded), loaded.priors.len()), (BTreeSet::new(), 1));
    let loaded = found(&mut committer, of_both(&then)).await;
    assert_eq!((users(&loaded), loaded.priors.len()), ([new].into(), 1));
    assert!(!loaded.accounts[&new].exists);
    let loaded = found(&mut committer, of_both(&then[1..])).await;
    assert_eq!(users(&loaded), [a, new].into());

    let hold = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(a, 10)))).await);
    let loaded = found(&mut committer, of_a(&then[..1])).await;
    let account = &loaded.accounts[&a];
    assert!(account.exists);
    assert_eq!((account.state.account.held, account.state.lots.len()), (10, 1));
    let loaded = found(&mut committer, of_both(&then)).await;
    assert_eq!(users(&loaded), [a, new].into());
    assert_eq!(loaded.accounts[&a].state, account.state);

    // A consumption is asked for with its account.
    let now = [(a, hash(a).await), then[1]];
    let wanted = Needs {
        consumptions: vec![hold],
        ..of_both(&now)
    };
    let loaded = found(&mut committer, wanted).await;
    assert_eq!(users(&loaded), [a, new].into());
    assert!(loaded.accounts[&a].state.holds.contains_key(&hold));
    // And deadlines that have passed count for those only that are found.
    let late = Needs {
        now: Some(at(1_000_000)),
        ..of_both(&then)
    };
    let loaded = found(&mut committer, late).await;
    assert_eq!(users(&loaded), [a, new].into());
    assert!(loaded.accounts[&a].looked_up_due && loaded.accounts[&a].state.holds.contains_key(&hold));
}

pub(crate) async fn lots_are_loaded_that_are_open_named_or_pinned(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let mut lot =
        async |amount| lot_id(&run(&mut committer, T0, command(Action::Grant(grant(user, amount)))).await);
    let (spent, pinned, open) = (lot(10).await, lot(20).await, lot(30).await);
    let other = lot_id(&run(&mut committer, T0, command(Action::Grant(grant(id(2), 5)))).await);
    let first = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 10)))).await);
    run(&mut committer, T0, command(Action::Confirm(confirm(first)))).await;
    let second = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 20)))).await);

    let mut lots = async |needs: Needs| -> BTreeSet<Uuid> {
        let mut loaded = committer.load(&needs).await.unwrap();
        committer.append(&Writes::default()).await.unwrap();
        loaded
            .accounts
            .remove(&user)
            .unwrap()
            .state
            .lots
            .into_keys()
            .collect()
    };
    let plain = needs_account(user, T0);
    assert_eq!(lots(plain.clone()).await, BTreeSet::from([open]));
    let named = vec![(user, spent), (user, id(98)), (id(2), other), (user, other)];
    assert_eq!(
        lots(Needs {
            lots: named,
            ..plain.clone()
        })
        .await,
        BTreeSet::from([open, spent])
    );
    let held = Needs {
        consumptions: vec![second],
        ..Needs::default()
    };
    assert_eq!(lots(held).await, BTreeSet::from([open, pinned]));
    let confirmed = Needs {
        consumptions: vec![first],
        ..Needs::default()
    };
    assert_eq!(lots(confirmed).await, BTreeSet::from([open, spent]));
    // Holds that are due, too.
    assert_eq!(
        lots(needs_account(user, at(3600))).await,
        BTreeSet::from([open, pinned])
    );
}

/// An account with holds that are due one second apart, two at a time, and one that is due much later.
async fn with_due_holds(store: &impl Subject, user: Uuid, count: u64) -> Vec<Uuid> {
    let first = 1000 * user.as_u64_pair().1;
    let mut holds: Vec<Hold> = (0..count)
        .map(|n| hold_by_hand(user, first + n, at(1 + n / 2)))
        .collect();
    holds.push(hold_by_hand(user, first + 998, at(1_000_000)));
    let mut settled = hold_by_hand(user, first + 999, at(1));
    settled.state.status = Status::Expired;
    settled.state.settled_at = Some(at(1));
    holds.push(settled);
    let account = Account {
        available: 0,
        held: count as i64 + 1,
        next_hold_deadline: Some(at(1)),
        ..account_by_hand(user, 1)
    };
    let entries = vec![entry_by_hand(user, 1)];
    append(
        store,
        Writes {
            accounts: new_account(account),
            new_holds: shared(&holds),
            entries,
            ..Writes::default()
        },
    )
    .await;
    holds.truncate(count as usize);
    holds.sort_by_key(|hold| (hold.state.expires_at, hold.consumption_id));
    holds.into_iter().map(|hold| hold.consumption_id).collect()
}

pub(crate) async fn due_holds_come_in_order_and_in_parts(store: impl Subject) {
    let max = DUE_HOLDS_MAX;
    let mut committer = store.committer();
    for (user, count) in [
        (id(1), max - 1),
        (id(2), max),
        (id(3), max + 1),
        (id(4), 2 * max + 7),
    ] {
        let in_order = with_due_holds(&store, user, count as u64).await;
        let last = at(1 + count as u64);
        let account = load_one(&mut committer, &needs_account(user, last)).await;
        assert!(account.looked_up_due);
        assert_eq!(account.state.due_end.is_some(), count > max, "{count}");
        assert_eq!(account.next_pending, Some(at(1_000_000)));
        let expected: BTreeSet<Uuid> = in_order.iter().take(max).copied().collect();
        assert_eq!(
            account.state.holds.into_keys().collect::<BTreeSet<_>>(),
            expected,
            "{count}"
        );

        let all = store
            .reader()
            .account(user, last, Extent::WHOLE)
            .await
            .unwrap()
            .unwrap();
        assert!(all.state.due_end.is_none() && all.looked_up_due && all.exists);
        assert_eq!(all.next_pending, Some(at(1_000_000)));
        let expected: BTreeSet<Uuid> = in_order.into_iter().collect();
        assert_eq!(
            all.state.holds.into_keys().collect::<BTreeSet<_>>(),
            expected,
            "{count}"
        );
    }
}

pub(crate) async fn due_holds_are_looked_up_when_the_deadline_has_passed(store: impl Subject) {
    let user = id(1);
    with_due_holds(&store, user, 4).await;
    let mut committer = store.committer();
    let just_before = Timestamp::from_micros(at(1).as_micros() - 1);
    let account = load_one(&mut committer, &needs_account(user, just_before)).await;
    assert!(!account.looked_up_due && account.state.holds.is_empty() && account.next_pending.is_none());
    let account = load_one(&mut committer, &needs_account(user, at(1))).await;
    assert!(account.looked_up_due && account.state.due_end.is_none());
    assert_eq!(account.state.holds.len(), 2);
    assert_eq!(account.next_pending, Some(at(2)));
    let account = load_one(&mut committer, &needs_account(user, at(2_000_000))).await;
    assert_eq!((account.state.holds.len(), account.next_pending), (5, None));
    // Nobody asks for a time: nothing is due.
    let timeless = Needs {
        accounts: vec![user],
        ..Needs::default()
    };
    let account = load_one(&mut committer, &timeless).await;
    assert!(!account.looked_up_due && account.state.holds.is_empty());
}

pub(crate) async fn borrowing_holds_are_loaded_where_there_is_debt_of_theirs(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 10)))).await;
    let limit = SetCreditLimit {
        user_id: user,
        credit_limit: 100,
    };
    run(&mut committer, T0, command(Action::SetCreditLimit(limit))).await;
    let paid = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 4)))).await);
    let half = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 16)))).await);
    let all = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 20)))).await);
    let spent = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 1)))).await);
    run(&mut committer, T0, command(Action::Confirm(confirm(spent)))).await;
    // At first none: mostly there is nothing to pay for them.
    let account = load_one(&mut committer, &needs_account(user, T0)).await;
    assert_eq!(account.state.borrowers_end, Some(Uuid::nil()));
    assert!(account.state.holds.is_empty());
    let account = load_one(&mut committer, &needs_more(user, T0, 10)).await;
    assert_eq!(
        (account.state.account.borrowed, account.state.borrowers_end),
        (30, None)
    );
    assert_eq!(
        account.state.holds.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([half, all])
    );
    assert_eq!(
        account.state.lots.len(),
        1,
        "the lot that `half` is pinned to is closed but needed"
    );

    run(&mut committer, T0, command(Action::Grant(grant(user, 1000)))).await;
    let account = load_one(&mut committer, &needs_account(user, T0)).await;
    assert_eq!(
        (account.state.account.borrowed, account.state.borrowers_end),
        (0, None)
    );
    assert!(account.state.holds.is_empty());
    assert!(
        store
            .reader()
            .hold(paid)
            .await
            .unwrap()
            .is_some_and(|hold| hold.state.borrowed == 0)
    );
    let funded = store.reader().hold(all).await.unwrap().unwrap();
    assert_eq!(
        (funded.state.borrowed, funded.state.pins.len()),
        (0, 1),
        "written though no command named it"
    );
}

pub(crate) async fn keys_lead_to_their_entry_and_its_consumption(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(
            &mut committer,
            T0,
            keyed("grant", Action::Grant(grant(user, 100))),
        )
        .await;
    }
    let held = run(&mut committer, T0, keyed("take", Action::Consume(consume(a, 10)))).await;
    let taken = consumption_id(&held);
    let confirmed = run(&mut committer, T0, keyed("keep", Action::Confirm(confirm(taken)))).await;

    let wanted = Needs {
        now: Some(T0),
        accounts: vec![a, b],
        consumptions: vec![taken],
        keys: vec![
            (KeyScope::Account(a), "grant".into()),
            (KeyScope::Account(a), "take".into()),
            (KeyScope::Account(b), "take".into()),
            (KeyScope::Account(b), "none".into()),
            (KeyScope::Consumption(taken), "keep".into()),
            (KeyScope::Consumption(taken), "Keep".into()),
            (KeyScope::Consumption(id(99)), "keep".into()),
        ],
        ..Needs::default()
    };
    let loaded = committer.load(&wanted).await.unwrap();
    committer.append(&Writes::default()).await.unwrap();
    let found: BTreeSet<(Uuid, &str)> = loaded
        .priors
        .keys()
        .map(|(user, key)| (*user, key.as_str()))
        .collect();
    assert_eq!(found, BTreeSet::from([(a, "grant"), (a, "take"), (a, "keep")]));
    let prior = |key: &str| &loaded.priors[&(a, key.to_owned())];
    assert!(prior("grant").hold.is_none());
    assert_eq!(prior("take").entry.seq, 2);
    let hold = prior("take").hold.as_ref().unwrap();
    assert_eq!(
        (hold.consumption_id, hold.state.status),
        (taken, Status::Confirmed),
        "as it is by now"
    );
    let replay = |key: &str, action| prior(key).replay(&command(action).fingerprint()).unwrap();
    assert_eq!(
        replay("take", Action::Consume(consume(a, 10))),
        held,
        "as it was then"
    );
    assert_eq!(replay("keep", Action::Confirm(confirm(taken))), confirmed);
}
