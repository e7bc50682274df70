//! Accounts with thousands of lots: what a command takes is found, in burn order, and what is due is written down.

use crate::database::{Database, Kind, START, clock};
use jointo_credits::ledger::limits::EXPIRING_LOTS_MAX;
use jointo_credits::{
    Adjust, Confirm, Consume, Grant, Ledger, Overage, SetCreditLimit, Settings, Source, Timestamp,
};
use std::time::Duration;
use tokio::task::JoinSet;
use uuid::Uuid;

const USER: Uuid = Uuid::from_u128(0xA11CE);
const LOTS: usize = 3_000;

fn later(seconds: usize) -> Timestamp {
    START.plus(Duration::from_secs(seconds as u64))
}

/// Lots of 10 that expire one after the other, the last one granted first.
async fn with_lots(ledger: &Ledger, user: Uuid, lots: usize) {
    let mut grants = JoinSet::new();
    for n in (0..lots).rev() {
        let ledger = ledger.clone();
        grants.spawn(async move {
            let grant = Grant {
                expires_at: Some(later(1_000 + n)),
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
                ledger
                    .refund(jointo_credits::Refund::all(hold.id), None)
                    .await
                    .unwrap();
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

        // The same by a sweep.
        let third = Uuid::from_u128(0xC4A);
        with_lots_from(&ledger, third, 600, 1_000 + LOTS).await;
        clock.set(later(1_000 + LOTS + 599));
        let swept = ledger.expire_lots(None).await.unwrap();
        assert_eq!((swept.lots, swept.expired), (600, 6_000));
        assert_eq!(ledger.expire_lots(None).await.unwrap().lots, 0);
    })
    .await;
}

async fn with_lots_from(ledger: &Ledger, user: Uuid, lots: usize, first: usize) {
    for n in 0..lots {
        let grant = Grant {
            expires_at: Some(later(first + n)),
            ..Grant::new(user, 10, Source::Gift)
        };
        ledger.grant(grant, None).await.unwrap();
    }
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
