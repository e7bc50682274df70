//! Commands inside a transaction that the caller owns.

use crate::child::{ALICE, account};
use crate::database::{Database, Kind};
use jointo_credits::{Confirm, Consume, Error, Gift, Grant, Source, Status};
use sqlx::{Connection, Executor, PgConnection, Row, SqliteConnection};

impl Database {
    /// As sqlx's drivers write it.
    fn sqlx_url(&self) -> String {
        match self.kind {
            Kind::Postgres => self.url.clone(),
            _ => format!("sqlite://{}", self.sqlite_path().display()),
        }
    }
}

/// The body once with each of sqlx's drivers. `$begin`: how a transaction on it is to be begun.
macro_rules! on_every_driver {
    ($(#[$doc:meta])* async fn $name:ident($database:ident, $connection:ident, $begin:ident) $body:block) => {
        mod $name {
            use super::*;

            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let $database = Database::fresh(Kind::Postgres).await;
                let (mut $connection, $begin) =
                    (PgConnection::connect(&$database.sqlx_url()).await.unwrap(), "BEGIN");
                $body
            }

            $(#[$doc])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let $database = Database::fresh(Kind::SqliteFile).await;
                $database.ledger().await.close().await; // sqlx does not make the file.
                let (mut $connection, $begin) =
                    (SqliteConnection::connect(&$database.sqlx_url()).await.unwrap(), "BEGIN IMMEDIATE");
                $body
            }
        }
    };
}

on_every_driver! {
    async fn commands_commit_and_roll_back_with_the_caller_s_rows(database, connection, begin) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase), None).await.unwrap();
        // On SQLite `blob` is a type and on PostgreSQL `uuid` is; SQLite takes any.
        connection.execute("CREATE TABLE ai_jobs (consumption_log_id uuid)").await.unwrap();
        for commit in [false, true] {
            let mut tx = connection.begin_with(begin).await.unwrap();
            let mut within = ledger.within(&mut tx);
            let hold = within.consume(Consume::new(ALICE, 60), Some("job")).await.unwrap();
            // A refusal leaves the transaction usable; a replay is found inside it; a new account is made in it.
            let refused = within.consume(Consume::new(ALICE, 60), None).await.unwrap_err();
            assert_eq!(refused.code(), "insufficient_credits");
            assert_eq!(within.consume(Consume::new(ALICE, 60), Some("job")).await.unwrap(), hold);
            within.gift(Gift::new(account(1), 7, "welcome"), None).await.unwrap();
            let done = within.confirm(Confirm::amount(hold.id, 50), None).await.unwrap();
            assert_eq!(done.status, Status::Confirmed);
            sqlx::query("INSERT INTO ai_jobs VALUES ($1)").bind(hold.id).execute(&mut *tx).await.unwrap();
            assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100, "nobody else sees it yet");
            if commit {
                tx.commit().await.unwrap();
            } else {
                tx.rollback().await.unwrap();
            }
            let balance = ledger.balance(ALICE).await.unwrap();
            let given = ledger.balance(account(1)).await.unwrap().available;
            let expected = if commit { (50, 50, 7) } else { (100, 0, 0) };
            assert_eq!((balance.available, balance.spent, given), expected);
        }
        let row = connection.fetch_one("SELECT count(*) FROM ai_jobs").await.unwrap();
        assert_eq!(row.get::<i64, _>(0), 1);
        assert!(ledger.verify().await.unwrap().is_clean());
        connection.close().await.unwrap();
        ledger.close().await;
    }
}

on_every_driver! {
    /// The register of gifts is written last: where it can't be, account, lot and entry were written before it.
    async fn a_command_that_fails_half_way_leaves_nothing_behind(database, connection, begin) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase), None).await.unwrap();
        connection.execute("ALTER TABLE credit_gifts RENAME TO elsewhere").await.unwrap();
        let mut tx = connection.begin_with(begin).await.unwrap();
        let mut within = ledger.within(&mut tx);
        let before = within.consume(Consume::new(ALICE, 10), None).await;
        let error = within.gift(Gift::new(ALICE, 7, "welcome"), Some("gift")).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }), "{error}");
        // A caller who does not look at the error. PostgreSQL takes the whole transaction back, SQLite only the gift.
        tx.commit().await.unwrap();
        connection.execute("ALTER TABLE elsewhere RENAME TO credit_gifts").await.unwrap();
        let verification = ledger.verify().await.unwrap();
        assert!(verification.is_clean(), "{:#?}", verification.faults);
        let balance = ledger.balance(ALICE).await.unwrap();
        let held = if database.kind == Kind::Postgres { 0 } else { before.unwrap().amount };
        assert_eq!((balance.available, balance.held), (100 - held, held));
        // The key was not burned.
        ledger.gift(Gift::new(ALICE, 7, "welcome"), Some("gift")).await.unwrap();
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 107 - held);
        connection.close().await.unwrap();
        ledger.close().await;
    }
}

/// The committers and a caller's transactions write the same accounts; one waits for the other, nobody fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_transactions_beside_the_committers() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    for n in 0..3 {
        ledger
            .grant(Grant::new(account(n), 10_000, Source::Purchase), None)
            .await
            .unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4u64 {
        let (own, url) = (ledger.clone(), database.url.clone());
        tasks.spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            for n in 0..20 {
                let mut tx = connection.begin().await.unwrap();
                let consume = Consume::new(account((task + n) % 4), 1);
                // The fourth account does not exist at first: several make it at once.
                if consume.user_id == account(3) {
                    let grant = Grant::new(account(3), 5, Source::Bonus);
                    own.within(&mut tx).grant(grant, None).await.unwrap();
                }
                own.within(&mut tx).consume(consume, None).await.unwrap();
                tx.commit().await.unwrap();
            }
        });
        let ledger = ledger.clone();
        tasks.spawn(async move {
            for n in 0..60 {
                ledger
                    .consume(Consume::new(account((task + n) % 3), 1), None)
                    .await
                    .unwrap();
            }
        });
    }
    tasks.join_all().await;
    let mut held = 0;
    for n in 0..4 {
        held += ledger.balance(account(n)).await.unwrap().held;
    }
    assert_eq!(held, 4 * 20 + 4 * 60);
    assert!(ledger.verify().await.unwrap().is_clean());
    ledger.close().await;
}

/// SQLite finds temporary tables first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_table_of_the_caller_is_refused_on_sqlite() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let mut connection = SqliteConnection::connect(&database.sqlx_url()).await.unwrap();
    connection
        .execute("CREATE TEMP TABLE credit_notes (a)")
        .await
        .unwrap(); // Not the ledger's.
    for (shadow, is_refused) in [("SELECT 1", false), ("CREATE TEMP TABLE Credit_Lots (a)", true)] {
        connection.execute(shadow).await.unwrap();
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let held = ledger.within(&mut tx).consume(Consume::new(ALICE, 1), None).await;
        tx.rollback().await.unwrap();
        assert_eq!(held.is_err(), is_refused, "{held:?}");
        if let Err(refused) = held {
            assert!(
                refused.to_string().contains("temporary table Credit_Lots"),
                "{refused}"
            );
        }
    }
    ledger.close().await;
}
