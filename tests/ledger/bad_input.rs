//! Bad input of every kind: a typed error that names what is wrong and what to do, and nothing changed.

use crate::child::{ALICE, account};
use crate::database::{self, Database, Kind};
use crate::on_every_database;
use jointo_credits::{
    Adjust, Confirm, Consume, Error, Extend, FaultKind, Gift, Grant, Ledger, Metadata, Money, Refund,
    Refusal, SetCreditLimit, Settings, Source, Timestamp, Written,
};
use std::time::Duration;

fn field(error: &Error) -> (&'static str, String, String) {
    match error {
        Error::Refused(Refusal::Invalid {
            field, limit, value, ..
        }) => (field, limit.clone(), value.clone()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn urls_and_settings() {
    for url in [
        "",
        "nonsense",
        "mysql://localhost/x",
        "sqlite:",
        "sqlite:///",
        "sqlite://relative.db",
        "http://x",
    ] {
        let error = Ledger::connect(url).await.unwrap_err();
        assert_eq!(field(&error).0, "url", "{url}");
    }
    let secret = Ledger::connect("postgresql://user:pass word@:bad port/x")
        .await
        .unwrap_err();
    assert!(
        !secret.to_string().contains("pass word"),
        "a password must not be shown: {secret}"
    );
    let settings = || Settings::new("memory:");
    let day = Duration::from_secs(24 * 3600);
    for (settings, name) in [
        (settings().hold_ttl(Duration::ZERO), "hold_ttl"),
        (settings().hold_ttl(31 * day), "hold_ttl"),
        (settings().release_grace(Duration::ZERO), "release_grace"),
        (settings().reversal_grace(5_000 * day), "reversal_grace"),
        (settings().max_connections(0), "max_connections"),
        (settings().committers(0), "committers"),
        (settings().batch_limit(0), "batch_limit"),
        (settings().queue_limit(0), "queue_limit"),
        (settings().connect_timeout(Duration::ZERO), "connect_timeout"),
        (settings().schema("credits"), "schema"),
    ] {
        assert_eq!(field(&settings.connect().await.unwrap_err()).0, name);
    }
}

#[tokio::test]
async fn databases_that_are_not_there() {
    // A port that nobody listens on.
    let port = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    for url in [
        format!("postgresql://postgres@127.0.0.1:{port}/x"),
        "sqlite:////nonexistent/folder/credits.db".to_owned(),
        format!("{}_that_is_not_there", database::server()),
    ] {
        let error = Settings::new(&url)
            .connect_timeout(Duration::from_secs(2))
            .connect()
            .await
            .unwrap_err();
        let Error::Unavailable {
            outcome: Written::No,
            remedy,
            ..
        } = &error
        else {
            panic!("{url}: {error}")
        };
        assert!(!remedy.is_empty());
    }
}

on_every_database! {
    async fn arguments(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase), None).await.unwrap();
        let hold = ledger.consume(Consume::new(ALICE, 10), None).await.unwrap();
        let most = (1i64 << 53) - 1;
        for amount in [0, -1, i64::MIN, most + 1, i64::MAX] {
            let errors = [
                ledger.grant(Grant::new(ALICE, amount, Source::Purchase), None).await.unwrap_err(),
                ledger.gift(Gift::new(ALICE, amount, "x"), None).await.unwrap_err(),
                ledger.consume(Consume::new(ALICE, amount), None).await.unwrap_err(),
                ledger.confirm(Confirm::amount(hold.id, amount), None).await.unwrap_err(),
                ledger.refund(Refund::part(hold.id, amount), None).await.unwrap_err(),
            ];
            for error in errors {
                let (name, limit, value) = field(&error);
                assert_eq!((name, value), ("amount", amount.to_string()));
                assert!(limit == "1" || limit == most.to_string());
            }
        }
        let long = "x".repeat(256);
        let nul = "a\0b";
        for text in [long.as_str(), nul] {
            let errors = [
                (ledger.grant(Grant::new(ALICE, 1, Source::Gift), Some(text)).await.unwrap_err(), "idempotency_key"),
                (ledger.grant(Grant::new(ALICE, 1, Source::Gift).reference(text), None).await.unwrap_err(), "reference"),
                (ledger.consume(Consume::new(ALICE, 1).feature(text), None).await.unwrap_err(), "feature"),
                (ledger.consume(Consume::new(ALICE, 1).reference(text), None).await.unwrap_err(), "reference"),
                (ledger.gift(Gift::new(ALICE, 1, text), None).await.unwrap_err(), "reason"),
                (ledger.gift(Gift::new(ALICE, 1, "x").operator(text), None).await.unwrap_err(), "operator"),
                (ledger.refund(Refund::all(hold.id).reason(text), None).await.unwrap_err(), "reason"),
                (ledger.adjust(Adjust::new(ALICE, 1, text), None).await.unwrap_err(), "reason"),
            ];
            for (error, name) in errors {
                assert_eq!(field(&error).0, name);
            }
        }
        let errors = [
            (ledger.grant(Grant::new(ALICE, 1, Source::Gift), Some("")).await.unwrap_err(), "idempotency_key"),
            (ledger.grant(Grant::new(ALICE, 1, Source::Reversal), None).await.unwrap_err(), "source"),
            (ledger.grant(Grant::new(ALICE, 1, Source::Gift).priority(i32::MAX), None).await.unwrap_err(), "priority"),
            (ledger.grant(Grant::new(ALICE, 1, Source::Gift).expires_at(Timestamp::MIN), None).await.unwrap_err(), "expires_at"),
            (ledger.grant(Grant::new(ALICE, 1, Source::Gift).expires_at(Timestamp::from_micros(i64::MAX)), None).await.unwrap_err(), "expires_at"),
            (ledger.grant(Grant::new(ALICE, 1, Source::Gift).cost(Money { minor: -1, currency: "CNY".into() }), None).await.unwrap_err(), "cost"),
            (ledger.grant(Grant::new(ALICE, 1, Source::Gift).cost(Money { minor: 1, currency: "yuan".into() }), None).await.unwrap_err(), "cost"),
            (ledger.grant(Grant::new(ALICE, most, Source::Gift), None).await.unwrap_err(), "amount"),
            (ledger.gift(Gift::new(ALICE, 1, "  "), None).await.unwrap_err(), "reason"),
            (ledger.adjust(Adjust::new(ALICE, 0, "x"), None).await.unwrap_err(), "amount"),
            (ledger.consume(Consume::new(ALICE, 1).ttl(Duration::from_millis(999)), None).await.unwrap_err(), "ttl"),
            (ledger.consume(Consume::new(ALICE, 1).ttl(Duration::from_secs(2_592_001)), None).await.unwrap_err(), "ttl"),
            (ledger.extend(Extend::new(hold.id, Duration::ZERO), None).await.unwrap_err(), "ttl"),
            (ledger.extend(Extend::new(hold.id, Duration::from_secs(60)).reason("x".repeat(256)), None).await.unwrap_err(), "reason"),
            (ledger.set_credit_limit(SetCreditLimit { user_id: ALICE, credit_limit: -1 }, None).await.unwrap_err(), "credit_limit"),
            (Metadata::parse("[1]").unwrap_err().into(), "metadata"),
            (Metadata::parse("{").unwrap_err().into(), "metadata"),
            (Metadata::parse(&format!("{{\"a\": \"{}\"}}", "x".repeat(16_384))).unwrap_err().into(), "metadata"),
            (Metadata::parse(&"[".repeat(100_000)).unwrap_err().into(), "metadata"),
        ];
        for (error, name) in errors {
            assert_eq!(field(&error).0, name, "{error}");
        }
        // The longest that is allowed is kept as it is, whatever characters it has.
        let key = "钥".repeat(85);
        let metadata = Metadata::parse(r#"{"quote\"": "\u0000 \\ ' {} 😀", "n": 1.5e3}"#).unwrap();
        let odd = Consume::new(ALICE, 1).feature("f{o}o,'\"\\").reference(&key[..255]).metadata(metadata.clone());
        let made = ledger.consume(odd.clone(), Some(&key)).await.unwrap();
        assert_eq!(ledger.consume(odd, Some(&key)).await.unwrap(), made);
        let read = ledger.get_consumption(made.id).await.unwrap();
        assert_eq!((read.metadata, read.feature.as_deref()), (Some(metadata), Some("f{o}o,'\"\\")));
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.held), (89, 11), "nothing else has changed");
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_sqlite_file() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    // Another process keeps it locked for longer than the ledger waits.
    let impatient = database
        .settings()
        .connect_timeout(Duration::from_millis(100))
        .patience(Duration::from_millis(100));
    let impatient = impatient.connect().await.unwrap();
    let blocker = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = impatient.consume(Consume::new(ALICE, 1), None).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unavailable {
                outcome: Written::No,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(
        impatient.balance(ALICE).await.unwrap().available,
        100,
        "reads go on"
    );
    blocker.execute_batch("ROLLBACK").unwrap();
    impatient.consume(Consume::new(ALICE, 1), None).await.unwrap();
    impatient.close().await;
    ledger.close().await;
    // A file that is no database.
    let path = database.folder().join("noise.db");
    std::fs::write(
        &path,
        "this is no database, and long enough to have a header of its own".repeat(20),
    )
    .unwrap();
    let noise = Settings::new(format!("sqlite:///{}", path.display()))
        .connect()
        .await;
    let error = match noise {
        Err(error) => error,
        Ok(ledger) => ledger.migrate().await.unwrap_err(),
    };
    assert!(
        matches!(
            error,
            Error::Unavailable {
                outcome: Written::No,
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_that_takes_no_writes() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    ledger.close().await;
    let read_only = format!("{}?options=-c%20default_transaction_read_only%3Don", database.url);
    let ledger = Settings::new(read_only).connect().await.unwrap();
    let error = ledger.consume(Consume::new(ALICE, 1), None).await.unwrap_err();
    let Error::Unavailable {
        outcome: Written::No,
        remedy,
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(remedy.contains("primary"), "{error}");
    assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100);
    ledger.close().await;
}

/// A row that the database refuses fails its own command only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_refuses_one_row() {
    use sqlx::{Connection, Executor};
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("ALTER TABLE credit_consumption_logs ADD CHECK (feature IS DISTINCT FROM 'forbidden')")
        .await
        .unwrap();
    let consumes = (0..20)
        .map(|n| {
            (
                Consume::new(ALICE, 1).feature(if n == 7 { "forbidden" } else { "allowed" }),
                None,
            )
        })
        .collect();
    let results = ledger.consume_many(consumes).await.unwrap();
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result.is_ok(), n != 7, "{result:?}");
    }
    assert_eq!(ledger.balance(ALICE).await.unwrap().held, 19);
    // The books are sound; that something refuses rows is told.
    let found = ledger.verify().await.unwrap();
    let kinds: Vec<FaultKind> = found.faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, [FaultKind::Schema], "{:#?}", found.faults);
    ledger.close().await;
}

/// An account whose rows can't be read any more takes nobody else down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgres_with_two_damaged_accounts() {
    use sqlx::{Connection, Executor};
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    for n in 0..4 {
        let grant = Grant::new(account(n), 100, Source::Purchase);
        ledger.grant(grant, None).await.unwrap();
    }
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("ALTER DOMAIN credit_ledger_source DROP CONSTRAINT credit_ledger_source_check")
        .await
        .unwrap();
    sqlx::query("UPDATE credit_lots SET source = 'nowhere' WHERE user_id = $1")
        .bind(account(2))
        .execute(&mut connection)
        .await
        .unwrap();
    // A time that PostgreSQL has and the ledger has not: it must not be taken for "never".
    sqlx::query("UPDATE credit_lots SET expires_at = 'infinity' WHERE user_id = $1")
        .bind(account(3))
        .execute(&mut connection)
        .await
        .unwrap();
    // The ledger that made them knows the accounts, and need not read their rows again.
    ledger.close().await;
    let ledger = database.ledger().await;
    let consumes = (0..40).map(|n| (Consume::new(account(n % 4), 1), None)).collect();
    let results = ledger.consume_many(consumes).await.unwrap();
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(_) => assert!(n % 4 < 2),
            Err(error) => {
                assert!(n % 4 >= 2, "{error}");
                assert!(error.to_string().contains("verify()"), "{error}");
            }
        }
    }
    ledger.close().await;
}
