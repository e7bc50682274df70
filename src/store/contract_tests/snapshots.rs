//! Pictures of the whole database.

use super::*;

pub(crate) async fn a_snapshot_does_not_move(store: impl Subject) {
    let users: Vec<Uuid> = (1..=3).map(id).collect();
    let mut committer = store.committer();
    for user in &users {
        run(&mut committer, T0, command(Action::Grant(grant(*user, 100)))).await;
    }
    let mut snapshot = store.reader().snapshot().await.unwrap();
    for user in &users {
        run(&mut committer, T0, command(Action::Consume(consume(*user, 40)))).await;
    }
    run(&mut committer, T0, command(Action::Grant(grant(id(4), 1)))).await;
    let accounts = snapshot.accounts(None, 100).await.unwrap().decode().unwrap();
    assert_eq!(accounts.len(), 3);
    for user in &users {
        run(&mut committer, T0, command(Action::Consume(consume(*user, 40)))).await;
    }
    assert!(
        accounts
            .iter()
            .all(|account| account.seq == 1 && account.available == 100)
    );
    assert_eq!(
        snapshot.entries(None, 100).await.unwrap().decode().unwrap().len(),
        3
    );
    assert!(
        snapshot
            .holds(None, 100)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .is_empty()
    );
    assert!(
        snapshot
            .lots(None, 100)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .iter()
            .all(|(_, lot)| lot.remaining == 100)
    );
    let sums = snapshot.sums().await.unwrap();
    assert_eq!((sums.available, sums.held), (300, 0));
    assert_eq!(
        sums.counter_accounts,
        BTreeMap::from([("issued.purchase".into(), -300)])
    );
    assert_eq!(
        store
            .reader()
            .snapshot()
            .await
            .unwrap()
            .entries(None, 100)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .len(),
        10
    );
}

pub(crate) async fn a_snapshot_is_read_in_pages(store: impl Subject) {
    let mut committer = store.committer();
    for n in 0..7 {
        let user = id(n + 1);
        for _ in 0..=n % 3 {
            run(&mut committer, T0, command(Action::Grant(grant(user, 10)))).await;
            run(&mut committer, T0, command(Action::Consume(consume(user, 1)))).await;
        }
        let gift = Gift {
            user_id: user,
            amount: 3,
            reason: "welcome".into(),
            operator: (n == 0).then(|| "Zoë".into()),
            expires_at: (n == 1).then(|| at(60)),
        };
        run(&mut committer, T0, command(Action::Gift(gift))).await;
    }
    let mut snapshot = store.reader().snapshot().await.unwrap();
    macro_rules! pages {
        ($read:ident, $key:expr) => {{
            let whole = snapshot.$read(None, usize::MAX).await.unwrap().decode().unwrap();
            let keys: Vec<_> = whole.iter().map($key).collect();
            assert!(keys.is_sorted());
            let mut paged = Vec::new();
            loop {
                let page = snapshot
                    .$read(paged.last().copied(), 4)
                    .await
                    .unwrap()
                    .decode()
                    .unwrap();
                if page.is_empty() {
                    break;
                }
                assert!(page.len() <= 4);
                paged.extend(page.iter().map($key));
            }
            assert_eq!(paged, keys);
            keys.len()
        }};
    }
    assert_eq!(pages!(accounts, |account| account.user_id), 7);
    assert_eq!(pages!(lots, |(user, lot)| (*user, lot.lot_id)), 20);
    assert_eq!(pages!(gifts, |gift| (gift.user_id, gift.lot_id)), 7);
    assert_eq!(pages!(holds, |hold| (hold.user_id, hold.consumption_id)), 13);
    assert_eq!(
        pages!(entries, |entry| {
            let entry = entry.as_ref().unwrap();
            (entry.user_id, entry.seq)
        }),
        33
    );
    // By their ids: of the account, and of those only what is there.
    macro_rules! named {
        ($table:ident, $of:ident, $key:expr) => {{
            let mut rows = snapshot.$table(None, usize::MAX).await.unwrap().decode().unwrap();
            let all = rows.iter().map($key).map(|(_, id)| id).chain([id(99)]).collect();
            rows.retain(|row| $key(row).0 == id(3));
            let mut named = snapshot.$of(id(3), all).await.unwrap().decode().unwrap();
            named.sort_by_key($key);
            assert_eq!(named, rows);
            named.len()
        }};
    }
    assert_eq!(
        named!(lots, lots_of, |(user, lot): &(Uuid, Lot)| (*user, lot.lot_id)),
        4
    );
    assert_eq!(
        named!(holds, holds_of, |hold: &Hold| (hold.user_id, hold.consumption_id)),
        3
    );
    assert_eq!(
        named!(gifts, gifts_of, |gift: &GiftRow| (gift.user_id, gift.lot_id)),
        1
    );
    let mut numbers = async |after, limit| -> Vec<i64> {
        let journal = snapshot.journal(id(3), after, limit).await.unwrap();
        journal.into_iter().map(|entry| entry.unwrap().seq).collect()
    };
    assert_eq!(numbers(0, 4).await, [1, 2, 3, 4]);
    assert_eq!(numbers(4, 4).await, [5, 6, 7]);
    assert!(numbers(7, 4).await.is_empty());
}

pub(crate) async fn sums_pass_2_to_the_63(store: impl Subject) {
    let most = limits::CREDITS_MAX;
    let mut rows = Writes::default();
    for n in 0..1_100 {
        let user = id(n + 1);
        let account = Account {
            available: most,
            held: most,
            ..account_by_hand(user, 2)
        };
        rows.accounts.push(AccountWrite {
            account,
            before: None,
        });
        for (seq, counter_account) in [(1, "issued.purchase"), (2, "held")] {
            rows.entries.push(Entry {
                change: most,
                held_change: most,
                counter_account: counter_account.into(),
                ..entry_by_hand(user, seq)
            });
        }
    }
    append(&store, rows).await;
    let sums = store.reader().snapshot().await.unwrap().sums().await.unwrap();
    let total = 1_100 * i128::from(most);
    assert!(total > i128::from(i64::MAX));
    assert_eq!((sums.available, sums.held), (total, total));
    let counter = BTreeMap::from([
        ("issued.purchase".into(), -2 * total),
        ("held".into(), -2 * total),
    ]);
    assert_eq!(sums.counter_accounts, counter);
}
