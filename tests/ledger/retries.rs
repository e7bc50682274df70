//! What PostgreSQL breaks off for the sake of others is done again, once.

use crate::child::account;
use crate::database::{Database, Kind};
use jointo_credits::{Consume, Grant, Ledger, Source};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::time::Duration;

async fn granted(database: &Database, accounts: u64) -> Ledger {
    // One committer: what is asked together is written together.
    let ledger = database.open(database.settings().committers(1)).await;
    for n in 0..accounts {
        ledger
            .grant(Grant::new(account(n), 100, Source::Purchase), None)
            .await
            .unwrap();
    }
    ledger
}

async fn number(connection: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
}

/// A serialization failure, a deadlock, a lock and a statement that took too long: recognised by their SQLSTATEs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_succeed_later_is_tried_again_on_postgres() {
    for code in ["40001", "40P01", "55P03", "57014"] {
        let database = Database::fresh(Kind::Postgres).await;
        let ledger = granted(&database, 1).await;
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        // A sequence counts what is rolled back, too.
        let script = format!(
            "CREATE SEQUENCE tries; CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') <= 2 THEN RAISE EXCEPTION 'on purpose' USING ERRCODE = '{code}'; END IF; \
             RETURN NEW; END $$; \
             CREATE TRIGGER fail BEFORE INSERT ON credit_transactions FOR EACH ROW EXECUTE FUNCTION fail()"
        );
        connection.execute(AssertSqlSafe(script)).await.unwrap();
        ledger
            .consume(Consume::new(account(0), 7), Some("job"))
            .await
            .unwrap();
        assert_eq!(
            number(&mut connection, "SELECT last_value FROM tries").await,
            3,
            "{code}"
        );
        let balance = ledger.balance(account(0)).await.unwrap();
        assert_eq!((balance.available, balance.held), (93, 7), "{code}");
        connection
            .execute("DROP TRIGGER fail ON credit_transactions")
            .await
            .unwrap();
        assert_eq!(ledger.verify().await.unwrap().faults, []);
        connection.close().await.unwrap();
        ledger.close().await;
    }
}

/// A rival who locks the same accounts in the other order, and waits longer before he looks for deadlocks than the
/// ledger does: so the ledger is who is broken off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_with_a_rival_is_decided_again_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = granted(&database, 2).await;
    let mut ids = [account(0), account(1)];
    ids.sort_unstable();
    let [first, second] = ids;
    let mut rival = PgConnection::connect(&database.url).await.unwrap();
    rival.execute("SET deadlock_timeout = '1h'; BEGIN").await.unwrap();
    let lock = "SELECT 1 FROM credit_accounts WHERE user_id = $1 FOR UPDATE";
    sqlx::query(lock).bind(second).execute(&mut rival).await.unwrap();

    let both = vec![
        (Consume::new(first, 7), Some("job".to_owned())),
        (Consume::new(second, 7), Some("job".to_owned())),
    ];
    let own = ledger.clone();
    let consuming = tokio::spawn(async move { own.consume_many(both).await });
    // The ledger has the first account and waits for the second.
    let mut observer = PgConnection::connect(&database.url).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'jointo_credits' AND wait_event_type = 'Lock'";
    while number(&mut observer, waiting).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Waits until PostgreSQL has broken the ledger's statement off.
    sqlx::query(lock).bind(first).execute(&mut rival).await.unwrap();
    rival.execute("COMMIT").await.unwrap();

    for consumed in consuming.await.unwrap().unwrap() {
        consumed.unwrap();
    }
    for id in [first, second] {
        let balance = ledger.balance(id).await.unwrap();
        assert_eq!((balance.available, balance.held), (93, 7));
    }
    assert!(ledger.verify().await.unwrap().is_clean());
    // Counted by the server when the ledger's session reports, at the latest when it ends.
    ledger.close().await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    while number(&mut observer, deadlocks).await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    observer.close().await.unwrap();
}
