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

fn told(found: &Inspection, what: &str) -> bool {
    found.problems.iter().any(|problem| problem.what.contains(what))
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_seen_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    database.ledger().await.close().await;
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    let name = database.url.rsplit_once('/').unwrap().1;
    let read_only = format!("ALTER DATABASE {name} SET default_transaction_read_only = on");
    admin.execute(sqlx::AssertSqlSafe(read_only)).await.unwrap();
    admin.close().await.unwrap();
    let ledger = Ledger::connect(&database.url).await.unwrap();
    let found = ledger.inspect().await.unwrap();
    assert!(told(&found, "transactions are read-only"), "{found:?}");
    assert!(!told(&found, "standby"), "{found:?}");
    ledger.migrate().await.unwrap(); // There is nothing to do.
    ledger.close().await;
}

/// A server that recovers for ever, as a standby does.
#[tokio::test]
async fn a_standby_is_seen_on_postgres() {
    let cluster = crate::cluster::Cluster::start_with(|data| {
        let signal = data.join("standby.signal");
        std::fs::write(&signal, "").unwrap();
        if let Some((uid, gid)) = crate::cluster::server_user() {
            std::os::unix::fs::chown(&signal, Some(uid), Some(gid)).unwrap();
        }
    });
    let ledger = Ledger::connect(&cluster.url()).await.unwrap();
    let found = ledger.inspect().await.unwrap();
    assert!(told(&found, "standby"), "{found:?}");
    let refused = ledger.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("primary"), "{refused}");
    ledger.close().await;
}

#[tokio::test]
async fn another_encoding_than_utf_8_is_seen() {
    let database = Database::fresh(Kind::Postgres).await;
    let latin = format!("{}_latin", database.url.rsplit_once('/').unwrap().1);
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    let make =
        format!("CREATE DATABASE {latin} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    admin.execute(sqlx::AssertSqlSafe(make)).await.unwrap();
    let ledger = Ledger::connect(&format!("{}_latin", database.url)).await.unwrap();
    ledger.migrate().await.unwrap();
    let found = ledger.inspect().await.unwrap();
    assert!(told(&found, "encoding is LATIN1"), "{found:?}");
    let grant = jointo_credits::Grant::new(crate::child::ALICE, 1, jointo_credits::Source::Bonus);
    let refused = ledger
        .grant(grant.reference("\u{5145}\u{503c}"), None)
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("UTF8"), "{refused}");
    ledger.close().await;
    let drop = format!("DROP DATABASE {latin} WITH (FORCE)");
    admin.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
    admin.close().await.unwrap();

    let database = Database::fresh(Kind::SqliteFile).await;
    let other = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    other
        .execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE hosts (a)")
        .unwrap();
    let ledger = database.ledger().await;
    let found = ledger.inspect().await.unwrap();
    assert!(told(&found, "encoding is UTF-16le"), "{found:?}");
    ledger.close().await;
}

#[tokio::test]
async fn a_table_that_is_lost_is_named() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    other.execute("DROP TABLE credit_gifts").await.unwrap();
    let refused = ledger.check().await.unwrap_err().to_string();
    assert!(refused.contains("lost its table credit_gifts"), "{refused}");
    ledger.close().await;
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    let other = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    other.execute_batch("DROP TABLE credit_gifts").unwrap();
    let refused = ledger.check().await.unwrap_err().to_string();
    assert!(refused.contains("lost its table credit_gifts"), "{refused}");
    ledger.close().await;
}
