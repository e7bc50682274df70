//! `inspect` names what a database lacks.

use crate::database::{self, Database, Kind, clock};
use crate::on_every_database;
use jointo_credits::{Inspection, Ledger};
use sqlx::{Connection, Executor, PgConnection};

/// What is wrong, but for the settings of the tests' PostgreSQL, which may be faster than safe.
fn wrong(found: &Inspection) -> Vec<&str> {
    let all = found.problems.iter().map(|problem| problem.what.as_str());
    all.filter(|what| !what.contains(" is off: ")).collect()
}

on_every_database! {
    async fn a_sound_database_has_no_problems(database: Database) {
        let ledger = database.ledger().await;
        let found = ledger.inspect().await.unwrap();
        assert_eq!(wrong(&found), [""; 0]);
        let name = match database.kind {
            Kind::Memory => "memory",
            Kind::SqliteMemory | Kind::SqliteFile => "SQLite 3.",
            Kind::Postgres => "PostgreSQL 1",
        };
        assert!(found.database.starts_with(name), "{}", found.database);
        assert_eq!(found.clock_skew_us.is_some(), database.kind == Kind::Postgres);
        ledger.close().await;
        ledger.inspect().await.unwrap_err();
    }
}

async fn assert_missing(ledger: &Ledger) {
    let found = ledger.inspect().await.unwrap();
    let wrong = wrong(&found);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(
        wrong[0].starts_with("the index credit_lots_open is missing"),
        "{wrong:?}"
    );
    assert!(wrong[1].starts_with("the trigger credit_p"), "{wrong:?}");
}

#[tokio::test]
async fn what_is_missing_is_named_on_sqlite() {
    let database = Database::fresh(Kind::SqliteFile).await;
    std::fs::write(database.sqlite_path(), "").unwrap();
    let bare = Ledger::connect(&database.url).await.unwrap();
    let found = bare.inspect().await.unwrap();
    assert_eq!(found.problems[0].remedy, "run migrate()");
    bare.close().await;
    let ledger = database.ledger().await;
    let other = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    other
        .execute_batch("DROP INDEX credit_lots_open; DROP TRIGGER credit_pricing_no_delete")
        .unwrap();
    assert_missing(&ledger).await;
    ledger.close().await;
}

#[tokio::test]
async fn what_is_missing_is_named_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let bare = Ledger::connect(&database.url).await.unwrap();
    assert_eq!(bare.inspect().await.unwrap().problems[0].remedy, "run migrate()");
    bare.close().await;
    for schema in [None, Some("books")] {
        let mut settings = database.settings();
        if let Some(schema) = schema {
            settings = settings.schema(schema);
        }
        let ledger = database.open(settings).await;
        let mut other = PgConnection::connect(&database.url).await.unwrap();
        let schema = schema.unwrap_or("public");
        // Those of the same names in another schema are no help.
        let damage = format!(
            "DROP INDEX {schema}.credit_lots_open; \
             ALTER TABLE {schema}.credit_packages DISABLE TRIGGER credit_packages_changed"
        );
        other.execute(sqlx::AssertSqlSafe(damage)).await.unwrap();
        assert_missing(&ledger).await;
        other.close().await.unwrap();
        ledger.close().await;
    }
    // A clock that is wrong: the ledger's own stands still at another time.
    let settings = database.settings().clock(clock());
    let ledger = settings.connect().await.unwrap();
    let found = ledger.inspect().await.unwrap();
    assert!(
        wrong(&found).iter().any(|what| what.contains("clock")),
        "{found:?}"
    );
    ledger.close().await;
}
