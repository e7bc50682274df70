//! Migrations on SQLite.

use super::*;

#[tokio::test]
async fn a_database_that_was_never_migrated_says_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("credits.db");
    let store = open(&path);
    let missing = |result: (String, &str)| {
        assert!(result.0.starts_with("there is no database "), "{result:?}");
        assert_eq!(result.1, "run migrate(), or check the path");
    };
    missing(failed(store.check_schema().await));
    missing(failed(store.account(USER, T0, Extent::WHOLE).await));
    missing(failed(store.committer().load(&needs(USER)).await));
    assert!(!path.exists(), "nothing but migrate() creates a file");

    // Somebody else's database.
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE users (id)")
        .unwrap();
    let untouched = ("the database has no credit tables".to_owned(), "run migrate()");
    assert_eq!(failed(store.check_schema().await), untouched);
    assert_eq!(failed(store.account(USER, T0, Extent::WHOLE).await), untouched);
    let mut committer = store.committer();
    assert_eq!(failed(committer.load(&needs(USER)).await), untouched);
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    run(&mut committer, grant(1)).await.unwrap();
    assert_eq!(figures(&store).await.available, 1);

    let unmigrated = SqliteStore::open(Location::Memory, SqliteSettings::default()).unwrap();
    assert_eq!(failed(unmigrated.check_schema().await), untouched);
    assert_eq!(
        failed(unmigrated.account(USER, T0, Extent::WHOLE).await),
        untouched
    );
    assert_eq!(failed(unmigrated.committer().load(&needs(USER)).await), untouched);
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let subject = in_folder().await;
    run(&mut subject.store.committer(), grant(5)).await.unwrap();
    let history = || -> (i64, String, String, i64) {
        let sql = "SELECT version, name, checksum, applied_at FROM credit_migrations";
        subject
            .tool()
            .query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .unwrap()
    };
    let before = history();
    assert_eq!((before.0, before.1.as_str(), before.2.len()), (1, "ledger", 64));
    assert!(before.3 > 1_700_000_000_000_000, "microseconds");
    subject.store.migrate().await.unwrap();
    open(subject.path()).migrate().await.unwrap();
    assert_eq!(history(), before);
    assert_eq!(figures(&subject.store).await.available, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_can_migrate_at_once() {
    for _ in 0..5 {
        let folder = TempDir::new().unwrap();
        let stores: Vec<SqliteStore> = (0..8).map(|_| open(folder.path().join("credits.db"))).collect();
        let migrating: Vec<_> = stores
            .iter()
            .map(|store| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.migrate().await }
                })
            })
            .collect();
        for done in migrating {
            done.await.unwrap().unwrap();
        }
        for store in stores {
            store.check_schema().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_newer_an_edited_and_a_lost_schema_are_told_apart() {
    let subject = in_folder().await;
    let tool = subject.tool();
    let fresh = || open(subject.path());
    let check = async || failed(fresh().check_schema().await);

    tool.execute("INSERT INTO credit_migrations VALUES (9, 'future', 'x', 0)", [])
        .unwrap();
    let newer = (
        format!(
            "the database has migration 9, this library knows up to {}",
            schema::MIGRATIONS.len()
        ),
        "upgrade jointo_credits",
    );
    assert_eq!(check().await, newer);
    assert_eq!(failed(fresh().migrate().await), newer);
    assert_eq!(failed(fresh().committer().load(&needs(USER)).await), newer);
    tool.execute("DELETE FROM credit_migrations WHERE version = 9", [])
        .unwrap();

    tool.execute(
        "UPDATE credit_migrations SET checksum = 'other' WHERE version = 1",
        [],
    )
    .unwrap();
    let edited = check().await;
    assert_eq!(
        edited.0,
        "migration 1 (ledger) was applied to the database in another form"
    );
    assert_eq!(failed(fresh().migrate().await), edited);
    tool.execute(
        "UPDATE credit_migrations SET checksum = ?1 WHERE version = 1",
        [schema::MIGRATIONS[0].checksum()],
    )
    .unwrap();
    fresh().check_schema().await.unwrap();

    tool.execute_batch("DROP TABLE credit_gifts").unwrap();
    assert_eq!(check().await.0, "the database has lost its table credit_gifts");
    tool.execute_batch("DROP TABLE credit_migrations").unwrap();
    let others = check().await;
    assert!(
        others.0.starts_with("there is a table credit_accounts already"),
        "{others:?}"
    );
    assert_eq!(failed(fresh().migrate().await), others);
    tool.execute_batch("CREATE TABLE credit_gifts (a)").unwrap();
    let lost = check().await;
    assert_eq!(lost.1, "restore the table credit_migrations from a backup");
    assert_eq!(failed(fresh().migrate().await), lost);
}

#[test]
fn a_migration_that_fails_leaves_nothing_behind() {
    let connection = Connection::open_in_memory().unwrap();
    let released = schema::MIGRATIONS.len();
    let broken = Migration {
        version: released as i64 + 1,
        name: "broken",
        sql: "CREATE TABLE credit_more (id); SELECT nonsense;",
    };
    let known = [schema::MIGRATIONS, &[broken]].concat();
    let timeout = Duration::from_secs(1);
    assert!(
        failed(schema::migrate_to(&connection, &known, timeout))
            .0
            .contains(&format!("migration {} (broken)", broken.version))
    );
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
        .unwrap();
    assert_eq!(tables, 0);
    // The next release mends it, and older databases catch up.
    schema::migrate_to(&connection, schema::MIGRATIONS, timeout).unwrap();
    let sql = "CREATE TABLE credit_more (id);";
    let mended = [schema::MIGRATIONS, &[Migration { sql, ..broken }]].concat();
    let (problem, remedy) = failed(schema::check_against(&connection, &mended));
    assert_eq!(
        (problem.as_str(), remedy),
        (
            format!(
                "the database has migration {released}, this library needs {}",
                broken.version
            )
            .as_str(),
            "run migrate()"
        )
    );
    schema::migrate_to(&connection, &mended, timeout).unwrap();
    schema::check_against(&connection, &mended).unwrap();
    failed(schema::check_against(&connection, schema::MIGRATIONS));
}

/// Payments that were settled before there were claims are claimed; of two orders with one payment `verify` names one.
#[tokio::test]
async fn payments_that_were_settled_before_are_claimed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("credits.db");
    let connection = Connection::open(&path).unwrap();
    let before = &schema::MIGRATIONS[..3];
    schema::migrate_to(&connection, before, Duration::from_secs(1)).unwrap();
    for (n, transaction) in [(1, Some("4200")), (2, Some("4200")), (3, Some("4201")), (4, None)] {
        let status = if transaction.is_some() { "paid" } else { "created" };
        let sql = "INSERT INTO credit_orders (order_no, user_id, status, channel, package_id, price_minor, currency, credits, \
             bonus_credits, refunded_minor, transaction_id, lot_id, data, created_at, expires_at) \
             VALUES (printf('%032d', ?1), zeroblob(16), ?2, 'wechat', zeroblob(16), 990, 'CNY', 100, 0, 0, ?3, \
             iif(?3 IS NULL, NULL, zeroblob(16)), '{}', 0, 0)";
        connection
            .execute(sql, rusqlite::params![n, status, transaction])
            .unwrap();
    }
    schema::migrate_to(&connection, schema::MIGRATIONS, Duration::from_secs(1)).unwrap();
    let mut claims = connection
        .prepare(
            "SELECT transaction_id, CAST(order_no AS INTEGER) FROM credit_payment_claims ORDER BY order_no",
        )
        .unwrap();
    let claims: Vec<(String, i64)> = claims
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(claims, [("4200".to_owned(), 1), ("4201".to_owned(), 3)]);
}
