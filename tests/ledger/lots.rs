//! Accounts with thousands of lots: what a command takes is found, in burn order, and what is due is written down.

use crate::database::{Database, Kind, START, clock};
use jointo_credits::ledger::limits::EXPIRING_LOTS_MAX;
use jointo_credits::{
    Adjust, Confirm, Consume, Grant, Kind as EntryKind, Ledger, Overage, Refund, SetCreditLimit, Settings,
    Source, Timestamp, TransactionFilter,
};
use std::time::Duration;
use tokio::task::JoinSet;
use uuid::Uuid;

const USER: Uuid = Uuid::from_u128(0xA11CE);
const LOTS: usize = 3_000;
/// No batch writes down more of an account's due lots.
const DUE_LOTS_AT_ONCE: usize = 250;

fn later(seconds: usize) -> Timestamp {
    START.plus(Duration::from_secs(seconds as u64))
}

fn last(limit: usize) -> TransactionFilter {
    TransactionFilter {
        limit,
        ..TransactionFilter::default()
    }
}

/// Lots of 10 that expire one after the other, the last one granted first.
async fn with_lots(ledger: &Ledger, user: Uuid, lots: usize) {
    with_lots_from(ledger, user, lots, 1_000).await;
}

async fn with_lots_from(ledger: &Ledger, user: Uuid, lots: usize, first: usize) {
    let mut grants = JoinSet::new();
    for n in (0..lots).rev() {
        let ledger = ledger.clone();
        grants.spawn(async move {
            let grant = Grant {
                expires_at: Some(later(first + n)),
                ..Grant::new(user, 10, Source::Purchase)
            };
            ledger.grant(grant, None).await.unwrap();
        });
    }
    grants.join_all().await;
}

async fn on_every_store(mut test: impl AsyncFnMut(Ledger, jointo_credits::ManualClock)) {
    for kind in [Kind::Memory, Kind::SqliteFile, Kind::Postgres] {
        let database = Database::fresh(kind).await;
        let clock = clock();
        let settings: Settings = database.settings().clock(clock.clone());
        let ledger = database.open(settings).await;
        test(ledger.clone(), clock).await;
        assert!(ledger.verify().await.unwrap().is_clean(), "{kind:?}");
        assert!(ledger.trial_balance().await.unwrap().is_balanced());
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_takes_is_found_however_many_lots_there_are() {
    on_every_store(async |ledger, _| {
        with_lots(&ledger, USER, LOTS).await;
        // From the first lots, then more than are kept, then more than are read at once, then all.
        let mut left = 10 * LOTS as i64;
        for (amount, lots) in [(25, 3), (900, 91), (6_000, 601), (20_000, 2_001)] {
            let hold = ledger.consume(Consume::new(USER, amount), None).await.unwrap();
            left -= amount;
            assert_eq!((hold.lots.len(), hold.borrowed), (lots, 0), "{amount}");
            assert_eq!(ledger.balance(USER).await.unwrap().available, left);
            let explained = ledger.explain(hold.id).await.unwrap();
            assert!(
                explained
                    .lots
                    .windows(2)
                    .all(|two| two[0].lot.expires_at < two[1].lot.expires_at)
            );
            assert_eq!(explained.lots.iter().map(|paid| paid.amount).sum::<i64>(), amount);
            // What is given back is found again.
            if amount == 900 {
                ledger.refund(Refund::all(hold.id), None).await.unwrap();
                left += amount;
            }
        }
        let adjust = Adjust {
            user_id: USER,
            amount: -(left - 5),
            reason: "correction".into(),
            operator: None,
        };
        ledger.adjust(adjust, None).await.unwrap();
        let last = ledger.consume(Consume::new(USER, 5), None).await.unwrap();
        assert_eq!(last.lots.len(), 1);
        assert!(ledger.consume(Consume::new(USER, 1), None).await.is_err());
        let confirm = Confirm {
            amount: Some(9),
            overage: Overage::Debt,
            ..Confirm::all(last.id)
        };
        ledger.confirm(confirm, None).await.unwrap();
        assert_eq!(ledger.balance(USER).await.unwrap().debt, 4);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_due_lots_are_written_down_in_parts_and_neighbours_go_on() {
    on_every_store(async |ledger, clock| {
        let neighbour = Uuid::from_u128(0xB0B);
        with_lots(&ledger, USER, LOTS).await;
        ledger
            .grant(Grant::new(neighbour, 100, Source::Purchase), None)
            .await
            .unwrap();
        let told = ledger.balance(USER).await.unwrap();
        assert_eq!(
            (told.expiring.len(), told.expiring_more),
            (EXPIRING_LOTS_MAX, true)
        );
        assert_eq!(told.expiring[0].at, later(1_000));

        // All but ten are due, and nobody has written that down.
        clock.set(later(1_000 + LOTS - 11));
        let told = ledger.balance(USER).await.unwrap();
        assert_eq!(
            (told.available, told.expiring.len(), told.expiring_more),
            (100, 10, false)
        );
        let both = tokio::join!(
            ledger.consume(Consume::new(USER, 101), None),
            ledger.consume(Consume::new(neighbour, 100), None),
        );
        assert!(both.0.is_err() && both.1.is_ok(), "{both:?}");
        let day = Duration::from_secs(86_400);
        ledger
            .consume(Consume::new(USER, 100).ttl(day), None)
            .await
            .unwrap();
        assert_eq!(
            ledger.expire_lots(None).await.unwrap().lots,
            0,
            "a command has written it down"
        );

        // The same by a sweep. No batch writes more than a part, so whoever comes meanwhile waits for one of these.
        let third = Uuid::from_u128(0xC4A);
        with_lots_from(&ledger, third, LOTS, 1_000 + LOTS).await;
        clock.set(later(1_000 + 2 * LOTS));
        let batches = ledger.stats().batches.count();
        let swept = ledger.expire_lots(None).await.unwrap();
        assert_eq!((swept.lots, swept.expired), (LOTS as u64, 10 * LOTS as i64));
        let batches = ledger.stats().batches.count() - batches;
        assert!(batches >= (LOTS / DUE_LOTS_AT_ONCE) as u64, "{batches}");
        assert_eq!(ledger.expire_lots(None).await.unwrap().lots, 0);
    })
    .await;
}

/// All lots in one hold: its entry tells of each lot once, and so does its row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_all_lots_costs_each_of_them_once() {
    on_every_store(async |ledger, _| {
        with_lots(&ledger, USER, LOTS).await;
        let batches = ledger.stats().batches.count();
        let all = Consume::new(USER, 10 * LOTS as i64);
        let hold = ledger.consume(all, None).await.unwrap();
        assert_eq!(hold.lots.len(), LOTS);
        // The first lots, 16 times as many, and so on until it is enough.
        assert!(ledger.stats().batches.count() - batches <= 4);
        assert_eq!(ledger.explain(hold.id).await.unwrap().lots.len(), LOTS);
        let batches = ledger.stats().batches.count();
        ledger.refund(Refund::all(hold.id), None).await.unwrap();
        assert_eq!(ledger.stats().batches.count() - batches, 1);
        let newest = ledger.transactions(USER, last(2)).await.unwrap().items;
        for entry in newest {
            assert_eq!(entry.effects.lots.len(), LOTS);
            assert!(entry.data.len() < 200 * LOTS, "{}", entry.data.len());
        }
        let statement = ledger
            .statement_within(USER, START, later(1), 10_000)
            .await
            .unwrap();
        assert_eq!(statement.effective.unwrap().total(), 10 * LOTS as i64);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_borrowing_holds_are_paid_for_in_order_of_age() {
    on_every_store(async |ledger, _| {
        let limit = SetCreditLimit {
            user_id: USER,
            credit_limit: 1_000,
        };
        ledger.set_credit_limit(limit, None).await.unwrap();
        let mut holds = Vec::new();
        for _ in 0..700 {
            holds.push(ledger.consume(Consume::new(USER, 1), None).await.unwrap().id);
        }
        holds.sort_unstable();
        assert_eq!(ledger.balance(USER).await.unwrap().debt, 700);
        // Each settles without the others.
        ledger.confirm(Confirm::all(holds[699]), None).await.unwrap();
        ledger
            .grant(Grant::new(USER, 601, Source::Purchase), None)
            .await
            .unwrap();
        let told = ledger.balance(USER).await.unwrap();
        assert_eq!((told.available, told.debt), (-99, 99));
        // No entry tells of more than a part of them.
        let granted = ledger.transactions(USER, last(5)).await.unwrap().items;
        let funded: Vec<usize> = granted.iter().map(|entry| entry.effects.funded.len()).collect();
        assert_eq!(funded, [100, 125, 125, 125, 125]);
        for (place, entry) in granted.iter().rev().enumerate() {
            assert_eq!(entry.kind, EntryKind::Grant);
            assert_eq!(entry.change, if place == 0 { 601 } else { 0 });
            assert!(entry.data.len() < 64 * 1024, "{}", entry.data.len());
        }
        for (place, borrowed) in [(0, 0), (599, 0), (600, 1), (698, 1)] {
            let hold = ledger.get_consumption(holds[place]).await.unwrap();
            assert_eq!(
                (hold.borrowed, hold.lots.len() as i64),
                (borrowed, 1 - borrowed),
                "{place}"
            );
        }
    })
    .await;
}
