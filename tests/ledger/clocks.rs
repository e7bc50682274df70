//! A clock that is wrong: what a process may do whose time is not the database's.

use crate::child::{ALICE, account};
use crate::database::{self, Database, Kind};
use crate::on_every_database;
use jointo_credits::{
    Cleanup, Clock, Confirm, Consume, Error, Gift, Grant, Ledger, ManualClock, SetPricing, Settings, Signing,
    Source, Timestamp, Written,
};
use sqlx::{Connection, PgConnection};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const MINUTE: Duration = Duration::from_secs(60);

/// The server's time, by which all clocks of these tests are set.
async fn server_time(database: &Database) -> Timestamp {
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let micros: i64 = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    Timestamp::from_micros(micros)
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(time.as_micros() + i64::try_from(by.as_micros()).unwrap())
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_micros(time.as_micros() - i64::try_from(by.as_micros()).unwrap())
}

/// Refused because of the clocks, and nothing was done.
fn assert_skewed<T: std::fmt::Debug>(what: &str, result: Result<T, Error>) {
    match result {
        Err(Error::Unavailable {
            outcome: Written::No,
            reason,
            remedy,
        }) => {
            assert!(
                reason.contains("this process's clock shows") && reason.contains("max_clock_skew is 300 s"),
                "{what}: {reason}"
            );
            assert!(remedy.contains("NTP"), "{what}: {remedy}");
        }
        other => panic!("{what}: {other:?}"),
    }
}

/// Everything that goes by the time and can't be undone.
async fn assert_does_nothing(ledger: &Ledger, database: &Database) {
    let user = account(9);
    assert_skewed("expire_lots", ledger.expire_lots(None).await);
    assert_skewed("expire_pending", ledger.expire_pending(None).await);
    assert_skewed("consume", ledger.consume(Consume::new(ALICE, 1), None).await);
    assert_skewed(
        "a refusal",
        ledger.consume(Consume::new(ALICE, 1_000_000), None).await,
    );
    assert_skewed(
        "a replay",
        ledger.gift(Gift::new(ALICE, 1, "x"), Some("key")).await,
    );
    assert_skewed("a new account", ledger.gift(Gift::new(user, 1, "x"), None).await);
    let many = (0..20).map(|n| (Consume::new(account(n), 1), None)).collect();
    for one in ledger.consume_many(many).await.unwrap() {
        assert_skewed("one of many", one);
    }
    assert_skewed("balance", ledger.balance(ALICE).await);
    assert_skewed("reconcile_orders", ledger.reconcile_orders(Duration::ZERO).await);
    assert_skewed("seed_catalog", ledger.seed_catalog().await);
    let card = r#"{"feature": "f", "name": "f", "components": [{"model": "flat", "rate": 5}]}"#;
    assert_skewed("set_pricing", ledger.set_pricing(SetPricing::new(card)).await);
    let archive = tempfile::TempDir::new().unwrap();
    let cleanup = Cleanup {
        older_than: 100 * DAY,
        archive: archive.path().display().to_string(),
        limit: None,
        dry_run: false,
    };
    assert_skewed("cleanup", ledger.cleanup_transactions(&cleanup).await);
    assert_skewed("cleanup", ledger.cleanup_consumption_logs(&cleanup).await);
    assert_skewed("anchor", ledger.anchor(&Signing::Unsigned, false).await);
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    assert_skewed(
        "within",
        ledger.within(&mut tx).consume(Consume::new(ALICE, 1), None).await,
    );
    tx.rollback().await.unwrap();
    let found = ledger.inspect().await.unwrap();
    let told = found
        .problems
        .iter()
        .any(|problem| problem.what.contains("nothing is done"));
    assert!(told, "{:?}", found.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_whose_clock_is_wrong_ends_nothing() {
    let database = Database::fresh(Kind::Postgres).await;
    let now = server_time(&database).await;
    let settings = |clock: &ManualClock| {
        database
            .settings()
            .clock(clock.clone())
            .max_clock_skew(5 * MINUTE)
    };
    let right = ManualClock::starting_at(now);
    let ledger = database.open(settings(&right)).await;
    let mut grant = Grant::new(ALICE, 100, Source::Purchase);
    grant.expires_at = Some(later(now, 30 * DAY));
    ledger.grant(grant, None).await.unwrap();
    ledger.gift(Gift::new(ALICE, 1, "x"), Some("key")).await.unwrap();
    let hold = ledger.consume(Consume::new(ALICE, 10), None).await.unwrap();
    let before = ledger.balance(ALICE).await.unwrap();
    let expires = later(now, 30 * DAY);
    for wrong in [
        later(now, 366 * DAY),
        later(now, 6 * MINUTE),
        earlier(now, 6 * MINUTE),
        earlier(now, 366 * DAY),
    ] {
        let clock = ManualClock::starting_at(wrong);
        let ledger = settings(&clock).connect().await.unwrap();
        assert_does_nothing(&ledger, &database).await;
        assert_skewed("confirm", ledger.confirm(Confirm::all(hold.id), None).await);
        // It recovers when its clock is set right, and has kept nothing false.
        clock.set(now);
        assert_eq!(ledger.balance(ALICE).await.unwrap(), before);
        assert_eq!(ledger.expire_lots(None).await.unwrap().lots, 0);
        ledger.gift(Gift::new(account(9), 1, "x"), None).await.unwrap();
        // A clock that goes wrong under a ledger that has kept the account.
        clock.set(wrong);
        assert_skewed("kept", ledger.gift(Gift::new(account(9), 1, "x"), None).await);
        ledger.close().await;
    }
    // What is asked about the past or the future has nothing to do with it.
    for (since, until) in [(366, 30), (30, 0)] {
        let (since, until) = (earlier(now, since * DAY), earlier(now, until * DAY));
        ledger.statement(ALICE, since, until).await.unwrap();
        ledger.balance_at(ALICE, until).await.unwrap();
        ledger.balance_at(ALICE, later(now, 366 * DAY)).await.unwrap();
    }
    // Within the bound deadlines go by the process's own clock, as ever.
    right.set(later(now, 4 * MINUTE));
    ledger.gift(Gift::new(ALICE, 1, "x"), None).await.unwrap();
    // An injected clock without a bound may show any time.
    let future = ManualClock::starting_at(later(now, 366 * DAY));
    let free = database.settings().clock(future).connect().await.unwrap();
    assert_eq!(free.expire_lots(None).await.unwrap().lots, 1);
    assert!(later(now, 366 * DAY) > expires);
    assert!(ledger.verify().await.unwrap().is_clean());
    free.close().await;
    ledger.close().await;
}

/// Wrong when it is first asked after it was set to be, and right from then on.
#[derive(Clone)]
struct HeldUp {
    right: Timestamp,
    is_late: std::sync::Arc<AtomicBool>,
}

impl Clock for HeldUp {
    fn now(&self) -> Timestamp {
        if self.is_late.swap(false, Ordering::SeqCst) {
            earlier(self.right, 10 * MINUTE)
        } else {
            self.right
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_was_held_up_is_decided_again() {
    let database = Database::fresh(Kind::Postgres).await;
    let clock = HeldUp {
        right: server_time(&database).await,
        is_late: std::sync::Arc::default(),
    };
    let ledger = database
        .open(
            database
                .settings()
                .clock(clock.clone())
                .max_clock_skew(5 * MINUTE),
        )
        .await;
    for _ in 0..3 {
        // The process stood still between its look at the clock and the write: once with a load, then with what was kept.
        clock.is_late.store(true, Ordering::SeqCst);
        ledger.gift(Gift::new(ALICE, 1, "x"), None).await.unwrap();
        assert!(!clock.is_late.load(Ordering::SeqCst));
    }
    assert_eq!(ledger.balance(ALICE).await.unwrap().available, 3);
    ledger.close().await;
}

on_every_database! {
    /// Only PostgreSQL has a clock of its own.
    async fn a_bound_is_for_databases_that_have_a_clock(database: Database) {
        if database.kind == Kind::Postgres {
            return;
        }
        let clock = ManualClock::starting_at(database::START);
        let ledger = database.open(database.settings().clock(clock.clone()).max_clock_skew(5 * MINUTE)).await;
        ledger.gift(Gift::new(ALICE, 1, "x"), None).await.unwrap();
        clock.advance(366 * DAY);
        ledger.gift(Gift::new(ALICE, 1, "x"), None).await.unwrap();
        ledger.close().await;
    }
}

#[tokio::test]
async fn a_bound_has_bounds() {
    for skew in [Duration::ZERO, Duration::from_millis(999), 3_651 * DAY] {
        let refused = Settings::new("memory:")
            .max_clock_skew(skew)
            .connect()
            .await
            .unwrap_err();
        assert_eq!(refused.code(), "validation");
        assert!(refused.to_string().contains("max_clock_skew"), "{refused}");
    }
    for skew in [Duration::from_secs(1), 3_650 * DAY] {
        let ledger = Settings::new("memory:")
            .max_clock_skew(skew)
            .connect()
            .await
            .unwrap();
        ledger.close().await;
    }
    let shown = |settings: Settings| format!("{settings:?}");
    assert!(shown(Settings::new("memory:")).contains("max_clock_skew: Some(300s)"));
    let injected = Settings::new("memory:").clock(ManualClock::starting_at(database::START));
    assert!(shown(injected).contains("max_clock_skew: None"));
}

on_every_database! {
    /// What was written while the clock was ahead has left with entries that were written later, by the clock that is right.
    async fn a_clock_that_was_ahead_makes_no_fault_after_a_clean_up(database: Database) {
        let clock = database::clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.grant(Grant::new(ALICE, 1, Source::Purchase), None).await.unwrap();
        let right = clock.now();
        clock.advance(DAY / 3);
        ledger.grant(Grant::new(ALICE, 5, Source::Bonus), None).await.unwrap();
        let hold = ledger.consume(Consume::new(ALICE, 6), None).await.unwrap();
        ledger.confirm(Confirm::all(hold.id), None).await.unwrap();
        ledger.gift(Gift::new(ALICE, 3, "welcome"), None).await.unwrap();
        clock.set(later(right, MINUTE));
        ledger.grant(Grant::new(ALICE, 7, Source::Purchase), None).await.unwrap();
        clock.advance(DAY * 32);
        let archive = tempfile::tempdir().unwrap();
        let cleanup = Cleanup {
            older_than: DAY * 30,
            archive: archive.path().display().to_string(),
            limit: None,
            dry_run: false,
        };
        assert_eq!(ledger.cleanup_transactions(&cleanup).await.unwrap().removed, 6);
        let found = ledger.verify().await.unwrap();
        assert!(found.is_clean(), "{:#?}", found.faults);
        ledger.close().await;
    }
}
