//! The tables: made once, by whoever comes first, and never by an older library.

use crate::child::ALICE;
use crate::database::{self, Database, Kind};
use crate::on_every_database;
use jointo_credits::{Consume, Error, Gift, Grant, Source};
use sqlx::{Connection, Executor, PgConnection, Row};
use std::time::Duration;

on_every_database! {
    async fn migrating_twice_and_at_once_is_safe(database: Database) {
        let one = database.settings().connect().await.unwrap();
        if matches!(database.kind, database::Kind::SqliteFile | database::Kind::Postgres) {
            let error = one.grant(Grant::new(ALICE, 1, Source::Purchase), None).await.unwrap_err();
            let Error::Unavailable { remedy, .. } = &error else { panic!("{error}") };
            assert!(remedy.contains("migrate()"), "{error}");
            assert!(one.check().await.unwrap_err().to_string().contains("migrate()"));
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..6 {
                let ledger = database.settings().connect().await.unwrap();
                tasks.spawn(async move {
                    ledger.migrate().await.unwrap();
                    ledger.close().await;
                });
            }
            tasks.join_all().await;
        }
        one.migrate().await.unwrap();
        one.migrate().await.unwrap();
        one.check().await.unwrap();
        one.grant(Grant::new(ALICE, 1, Source::Purchase), None).await.unwrap();
        one.migrate().await.unwrap();
        assert_eq!(one.balance(ALICE).await.unwrap().available, 1);
        one.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_database_is_refused() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("INSERT INTO credit_migrations (version, name, checksum) VALUES (999, 'future', 'x')")
        .await
        .unwrap();
    for error in [
        ledger.migrate().await.unwrap_err(),
        ledger.check().await.unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("999") && error.to_string().contains("upgrade"),
            "{error}"
        );
    }
    ledger.close().await;

    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    connection
        .execute(
            "INSERT INTO credit_migrations (version, name, checksum, applied_at) VALUES (999, 'f', 'x', 0)",
            [],
        )
        .unwrap();
    for error in [
        ledger.migrate().await.unwrap_err(),
        ledger.check().await.unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("999") && error.to_string().contains("upgrade"),
            "{error}"
        );
    }
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_its_own() {
    let database = Database::fresh(Kind::Postgres).await;
    let plain = database.ledger().await;
    let ledger = database.open(database.settings().schema("Billing_1")).await;
    ledger
        .gift(Gift::new(ALICE, 50, "welcome"), Some("k"))
        .await
        .unwrap();
    let hold = ledger.consume(Consume::new(ALICE, 20), Some("j")).await.unwrap();
    assert_eq!(
        ledger.consume(Consume::new(ALICE, 20), Some("j")).await.unwrap(),
        hold
    );
    assert_eq!(
        plain.balance(ALICE).await.unwrap().available,
        0,
        "the other ledger is another one"
    );
    assert_eq!(ledger.balance(ALICE).await.unwrap().available, 30);
    assert!(ledger.verify().await.unwrap().is_clean());
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let count = connection
        .fetch_one("SELECT count(*) FROM \"Billing_1\".credit_gifts")
        .await
        .unwrap();
    assert_eq!(count.get::<i64, _>(0), 1);
    let mut tx = connection.begin().await.unwrap();
    ledger
        .within(&mut tx)
        .consume(Consume::new(ALICE, 5), None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ledger.balance(ALICE).await.unwrap().held, 25);
    ledger.close().await;
    plain.close().await;
    for schema in ["", "a b", "x\"; DROP TABLE y; --", &"s".repeat(64)] {
        let error = database.settings().schema(schema).connect().await.unwrap_err();
        assert_eq!(error.code(), "validation");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_existing_backend_finds_in_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    for table in [
        "credit_transactions",
        "credit_consumption_logs",
        "credit_packages",
        "credit_pricing",
        "credit_gifts",
    ] {
        let there = sqlx::query_scalar::<_, bool>("SELECT to_regclass($1) IS NOT NULL")
            .bind(table)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert!(there, "{table}");
    }
    let triggers = sqlx::query_scalar::<_, String>(
        "SELECT event_object_table::text FROM information_schema.triggers \
         WHERE action_statement LIKE '%update_updated_at_column()' ORDER BY 1",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(
        triggers,
        [
            "credit_consumption_logs",
            "credit_packages",
            "credit_pricing",
            "credit_transactions"
        ]
    );
    // RFC 9562: version 7, variant 10, milliseconds first, and in order of time.
    let ids = sqlx::query_scalar::<_, uuid::Uuid>("SELECT gen_uuid_v7() FROM generate_series(1, 2000)")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let now = sqlx::query_scalar::<_, i64>("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    for id in &ids {
        assert_eq!(
            (id.get_version_num(), id.get_variant()),
            (7, uuid::Variant::RFC4122)
        );
        let millis = (id.as_u128() >> 80) as i64;
        assert!((now - 60_000..=now).contains(&millis));
    }
    let moment = |id: &uuid::Uuid| id.as_u128() >> 64;
    assert!(ids.windows(2).all(|pair| moment(&pair[0]) <= moment(&pair[1])));
    assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 2_000);
    // updated_at moves by itself where a host edits a row.
    connection
        .execute("INSERT INTO credit_packages (name, price, credits) VALUES ('a', 9.90, 100)")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let row = connection
        .fetch_one("UPDATE credit_packages SET name = 'b' RETURNING updated_at > created_at AS later")
        .await
        .unwrap();
    assert!(row.get::<bool, _>("later"));
    ledger.close().await;
}

/// A host's own functions of the same names stay as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_leaves_the_host_s_functions_alone() {
    let database = Database::fresh(Kind::Postgres).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute(
            "CREATE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN NEW.updated_at = '2001-01-01'; RETURN NEW; END $$",
        )
        .await
        .unwrap();
    let ledger = database.ledger().await;
    let source = sqlx::query_scalar::<_, String>(
        "SELECT prosrc FROM pg_proc WHERE proname = 'update_updated_at_column'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert!(source.contains("2001-01-01"));
    ledger.close().await;
}

/// Tables of a host that have the names of ours.
const OTHERS: [&str; 3] = [
    "CREATE TABLE credit_accounts (id integer, owner text, balance integer)",
    "CREATE TABLE credit_migrations (id integer, name text)",
    "CREATE VIEW credit_lots AS SELECT 1 AS n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_somebody_else_are_named_and_left_alone_on_postgres() {
    for (sql, name) in OTHERS
        .into_iter()
        .zip(["credit_accounts", "credit_migrations", "credit_lots"])
    {
        for kind in [Kind::SqliteFile, Kind::Postgres] {
            let database = Database::fresh(kind).await;
            if kind == Kind::Postgres {
                let mut other = PgConnection::connect(&database.url).await.unwrap();
                other.execute(sql).await.unwrap();
                other.close().await.unwrap();
            } else {
                let other = rusqlite::Connection::open(database.sqlite_path()).unwrap();
                other.execute_batch(sql).unwrap();
            }
            let ledger = database.settings().connect().await.unwrap();
            let expected = format!("there is a table {name} already");
            let mut told = vec![
                ledger.migrate().await.unwrap_err(),
                ledger.check().await.unwrap_err(),
            ];
            if name == "credit_accounts" {
                let grant = Grant::new(ALICE, 1, Source::Purchase);
                told.push(ledger.grant(grant, None).await.unwrap_err());
                told.push(ledger.balance(ALICE).await.unwrap_err());
            }
            for error in told {
                let Error::Unavailable { reason, remedy, .. } = &error else {
                    panic!("{error}")
                };
                assert!(reason.starts_with(&expected), "{kind:?}: {error}");
                assert!(remedy.contains("of its own"), "{error}");
            }
            let found = ledger.inspect().await.unwrap();
            assert!(found.problems[0].what.starts_with(&expected), "{found:?}");
            ledger.close().await;
            if kind == Kind::Postgres {
                // Beside them, in a schema of its own.
                let ledger = database.open(database.settings().schema("books")).await;
                ledger.check().await.unwrap();
                ledger.close().await;
            }
        }
    }
}

/// Otherwise the tables would become temporary ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_path_that_leads_nowhere_makes_no_tables_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let url = format!("{}?options=-c%20search_path%3Dnowhere", database.url);
    let ledger = jointo_credits::Settings::new(url).connect().await.unwrap();
    let refused = ledger.migrate().await.unwrap_err().to_string();
    assert!(
        refused.contains("search_path") && refused.contains("`schema`"),
        "{refused}"
    );
    ledger.close().await;
}
