//! Of accounts with very much of everything, a part is loaded, in order.

use super::*;
use crate::ledger::{BurnOrder, Order, OrderState, OrderStatus};

/// Lots that differ in everything that burn order looks at, and often do not.
fn random_lots(seed: u64, count: u64) -> Vec<Lot> {
    let mut number = seed;
    let mut below = |most: u64| {
        // Knuth's generator; its high bits are good enough here.
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % most
    };
    let sources = [
        Source::Purchase,
        Source::Bonus,
        Source::Gift,
        Source::Subscription,
        Source::Adjustment,
        Source::Reversal,
        Source::Opening,
    ];
    let lot = |n| {
        let mut lot = lot_by_hand(1_000 * seed + n, 1 + below(50) as i64);
        lot.source = sources[below(7) as usize];
        lot.priority = [-1_000_000, -1, 0, 0, 0, 1, 1_000_000][below(7) as usize];
        lot.expires_at = [None, Some(at(50 + below(3))), Some(at(100_000 + below(40)))][below(3) as usize];
        lot.created_at = Timestamp::from_micros(T0.as_micros() - below(3) as i64);
        if below(5) == 0 {
            lot.remaining = 0;
        }
        lot
    };
    (0..count).map(lot).collect()
}

async fn with_lots(store: &impl Subject, user: Uuid, lots: &[Lot]) {
    let open = lots.iter().filter(|lot| lot.remaining > 0);
    let account = Account {
        available: open.clone().map(|lot| lot.remaining).sum(),
        next_lot_deadline: open.filter_map(|lot| lot.expires_at).min(),
        ..account_by_hand(user, 1)
    };
    let writes = Writes {
        accounts: new_account(account),
        new_lots: lots.iter().map(|lot| (user, Arc::new(lot.clone()))).collect(),
        entries: vec![entry_by_hand(user, 1)],
        ..Writes::default()
    };
    append(store, writes).await;
}

/// Those of the lots that have something left, in burn order.
fn in_burn_order(lots: &[Lot]) -> Vec<Lot> {
    let mut open: Vec<Lot> = lots.iter().filter(|lot| lot.remaining > 0).cloned().collect();
    open.sort_by_key(Lot::burn_order);
    open
}

fn in_order_of_expiry(lots: &[Lot]) -> Vec<Lot> {
    let open = lots
        .iter()
        .filter(|lot| lot.remaining > 0 && lot.expires_at.is_some());
    let mut open: Vec<Lot> = open.cloned().collect();
    open.sort_by_key(|lot| (lot.expires_at, lot.lot_id));
    open
}

fn known_up_to(state: &State, end: Option<BurnOrder>) -> Vec<Lot> {
    let mut known: Vec<Lot> = state.lots.values().map(|lot| Lot::clone(lot)).collect();
    known.retain(|lot| lot.remaining > 0 && end.is_none_or(|end| lot.burn_order() <= end));
    known.sort_by_key(Lot::burn_order);
    known
}

pub(crate) async fn lots_are_loaded_in_burn_order_and_in_parts(store: impl Subject) {
    let mut committer = store.committer();
    for (n, count) in [(1, 1), (2, 60), (3, 200)] {
        let (user, lots) = (id(n), random_lots(n, count));
        with_lots(&store, user, &lots).await;
        let open = in_burn_order(&lots);
        let closed = lots.iter().find(|lot| lot.remaining == 0).map(|lot| lot.lot_id);
        for max in [1, 2, 31, open.len().max(2) - 1, open.len(), open.len() + 1] {
            let first = Needs {
                lots_first: Some(max),
                lots: closed.map(|lot| (user, lot)).into_iter().collect(),
                ..needs_account(user, T0)
            };
            let in_batch = Needs {
                accounts: vec![user, id(99)],
                ..first.clone()
            };
            for needs in [first, in_batch, needs_more(user, T0, max)] {
                let mut loaded = committer.load(&needs).await.unwrap();
                assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
                let account = loaded.accounts.remove(&user).unwrap();
                let state = &account.state;
                assert_eq!(state.lots_end.is_some(), open.len() > max, "{count} {max}");
                assert_eq!(
                    known_up_to(state, state.lots_end),
                    open[..max.min(open.len())],
                    "{count} {max}"
                );
                assert!(account.next_lot.is_none(), "nothing is due");
                assert!(needs.lots.iter().all(|(_, lot)| state.lots.contains_key(lot)));
            }
        }
        // By id, closed ones too; nobody else's.
        let mut by_id: Vec<Uuid> = lots.iter().rev().map(|lot| lot.lot_id).collect();
        by_id.push(id(7));
        let mut found = store.reader().lots(user, by_id.clone()).await.unwrap();
        found.sort_by_key(|lot| lot.lot_id);
        let mut all = lots.clone();
        all.sort_by_key(|lot| lot.lot_id);
        assert_eq!(found, all);
        assert_eq!(store.reader().lots(id(99), by_id).await.unwrap(), []);
    }
}

pub(crate) async fn lots_that_are_due_are_loaded_in_order_and_in_parts(store: impl Subject) {
    let mut committer = store.committer();
    for (n, count) in [(1, 100), (2, 6 * DUE_LOTS_MAX as u64)] {
        let (user, lots) = (id(n), random_lots(n, count));
        with_lots(&store, user, &lots).await;
        let (mut due, mut later) = (in_order_of_expiry(&lots), in_order_of_expiry(&lots));
        due.retain(|lot| lot.has_expired(at(51)));
        later.retain(|lot| !lot.has_expired(at(51)));
        let account = load_one(&mut committer, &needs_account(user, at(51))).await;
        assert_eq!(
            account.next_lot,
            Some(later.first().and_then(|lot| lot.expires_at)),
            "{count}"
        );
        let more = due.len() > DUE_LOTS_MAX;
        assert_eq!(more, n == 2, "both cases");
        due.truncate(DUE_LOTS_MAX);
        let end = due.last().map(|lot| (lot.expires_at.unwrap(), lot.lot_id));
        assert_eq!(account.state.due_lots_end, end.filter(|_| more));
        assert!(due.iter().all(|lot| account.state.lots.contains_key(&lot.lot_id)));
        // Where all lots are known, so are those that are due.
        let account = load_one(&mut committer, &needs_more(user, at(51), 10_000)).await;
        assert_eq!((account.state.due_lots_end, account.next_lot), (None, None));
        assert_eq!(known_up_to(&account.state, None), in_burn_order(&lots));
    }
}

pub(crate) async fn borrowing_holds_are_loaded_in_order_and_in_parts(store: impl Subject) {
    let user = id(1);
    let mut holds: Vec<Hold> = (0..40)
        .map(|n| {
            let mut hold = hold_by_hand(user, 100 + n, at(1_000));
            hold.state.borrowed = i64::from(n % 4 > 0);
            hold
        })
        .collect();
    holds[1].state.status = Status::Expired;
    holds[1].state.settled_at = Some(at(1));
    let account = Account {
        available: -29,
        held: 39,
        debt: 29,
        borrowed: 29,
        next_hold_deadline: Some(at(1_000)),
        ..account_by_hand(user, 1)
    };
    let writes = Writes {
        accounts: new_account(account),
        new_holds: shared(&holds),
        entries: vec![entry_by_hand(user, 1)],
        ..Writes::default()
    };
    append(&store, writes).await;
    let borrowing = holds
        .iter()
        .filter(|hold| hold.state.status == Status::Pending && hold.state.borrowed > 0);
    let in_order: BTreeSet<Uuid> = borrowing.map(|hold| hold.consumption_id).collect();
    let mut committer = store.committer();
    for max in [1, 5, 28, 29, 30] {
        let account = load_one(&mut committer, &needs_more(user, T0, max)).await;
        let known: Vec<Uuid> = account.state.holds.into_keys().collect();
        let expected: Vec<Uuid> = in_order.iter().take(max).copied().collect();
        assert_eq!(known, expected, "{max}");
        assert_eq!(
            account.state.borrowers_end,
            expected.last().copied().filter(|_| max < 29)
        );
    }
}

pub(crate) async fn what_expires_first_is_read_of_many_lots(store: impl Subject) {
    let max = limits::EXPIRING_LOTS_MAX;
    for (n, count) in [(1, 1), (2, 30), (3, 600)] {
        let (user, lots) = (id(n), random_lots(n, count));
        with_lots(&store, user, &lots).await;
        for now in [T0, at(51)] {
            let read = async |extent| store.reader().account(user, now, extent).await.unwrap().unwrap();
            let (outline, whole) = (read(Extent::OUTLINE).await, read(Extent::WHOLE).await);
            let open = in_burn_order(&lots);
            assert_eq!(known_up_to(&whole.state, None), open);
            assert!(whole.state.lots_end.is_none() && whole.state.due_lots_end.is_none());
            assert_eq!(outline.state.lots_end.is_some(), !open.is_empty());
            let mut later = in_order_of_expiry(&lots);
            later.retain(|lot| !lot.has_expired(now));
            assert_eq!(outline.state.expiring_end.is_some(), later.len() > max, "{count}");
            let known = |lot: &Lot| outline.state.lots.contains_key(&lot.lot_id);
            assert!(later.iter().take(max).all(known), "{count}");
            let mut due = in_order_of_expiry(&lots);
            due.retain(|lot| lot.has_expired(now));
            assert!(due.iter().all(known) && outline.state.due_lots_end.is_none());
            // No more than that, and one to tell by.
            assert!(outline.state.lots.len() <= due.len() + max + 1);
        }
    }
}

fn paid_order(user_id: Uuid, order_no: OrderNo, lot_id: Uuid) -> Order {
    Order {
        order_no,
        user_id,
        channel: "wechat".into(),
        package_id: id(77),
        package_version: 1,
        subject: "package".into(),
        price: Money {
            minor: 990,
            currency: "CNY".into(),
        },
        credits: 10,
        bonus_credits: 0,
        validity_days: None,
        purchase_limit: None,
        created_at: T0,
        expires_at: at(1_800),
        state: OrderState {
            status: OrderStatus::Paid,
            transaction_id: Some("4200".into()),
            paid_at: Some(T0),
            closed_at: None,
            lot_id: Some(lot_id),
            bonus_lot_id: None,
            refunds: Vec::new(),
        },
    }
}

pub(crate) async fn lots_that_came_of_an_order_are_loaded_with_it(store: impl Subject) {
    let user = id(1);
    let order_no = OrderNo(id(7));
    let mut lots: Vec<Lot> = (0..20).map(|n| lot_by_hand(100 + n, 10)).collect();
    for (place, lot) in lots.iter_mut().enumerate() {
        lot.reference = Some(if place < 10 {
            order_no.to_string()
        } else {
            "another".into()
        });
        lot.source = if place % 2 == 0 {
            Source::Reversal
        } else {
            Source::Purchase
        };
        lot.remaining = if place == 0 { 0 } else { 10 };
    }
    with_lots(&store, user, &lots).await;
    let order = paid_order(user, order_no, lots[1].lot_id);
    let mut committer = store.committer();
    let before = load_one(&mut committer, &needs_account(user, T0)).await;
    let mut account = before.state.account.clone();
    (account.seq, account.hash) = (2, Hash::of(b"2"));
    let writes = Writes {
        accounts: vec![AccountWrite {
            account,
            before: Some(before.state.account),
        }],
        entries: vec![entry_by_hand(user, 2)],
        orders: vec![order],
        ..Writes::default()
    };
    append(&store, writes).await;
    let needs = Needs {
        orders: vec![(user, OrderNeed::Number(order_no))],
        lots_first: Some(1),
        ..needs_account(user, T0)
    };
    let account = load_one(&mut committer, &needs).await;
    let of_order: Vec<Uuid> = [1, 2, 4, 6, 8].map(|place: usize| lots[place].lot_id).to_vec();
    assert!(of_order.iter().all(|lot| account.state.lots.contains_key(lot)));
    // Those, and the first one and one more.
    assert!(account.state.lots.len() <= of_order.len() + 2);
}
