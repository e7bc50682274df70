//! Commands inside a transaction that the caller owns.

use crate::child::{ALICE, account};
use crate::database::{Database, Kind};
use jointo_credits::{Confirm, Consume, Gift, Grant, Source, Status};
use sqlx::{Connection, Executor, PgConnection, Row};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_commit_and_roll_back_with_the_caller_s_rows() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("CREATE TABLE ai_jobs (consumption_log_id uuid)")
        .await
        .unwrap();

    let mut tx = connection.begin().await.unwrap();
    let lost = ledger
        .within(&mut tx)
        .consume(Consume::new(ALICE, 60), Some("job"))
        .await
        .unwrap();
    sqlx::query("INSERT INTO ai_jobs VALUES ($1)")
        .bind(lost.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100);

    let mut tx = connection.begin().await.unwrap();
    let mut within = ledger.within(&mut tx);
    let hold = within
        .consume(Consume::new(ALICE, 60), Some("job"))
        .await
        .unwrap();
    // A refusal leaves the transaction usable; a replay is found inside it; a new account is made in it.
    let refused = within.consume(Consume::new(ALICE, 60), None).await.unwrap_err();
    assert_eq!(refused.code(), "insufficient_credits");
    assert_eq!(
        within
            .consume(Consume::new(ALICE, 60), Some("job"))
            .await
            .unwrap(),
        hold
    );
    within
        .gift(Gift::new(account(1), 7, "welcome"), None)
        .await
        .unwrap();
    let done = within.confirm(Confirm::amount(hold.id, 50), None).await.unwrap();
    assert_eq!(done.status, Status::Confirmed);
    sqlx::query("INSERT INTO ai_jobs VALUES ($1)")
        .bind(hold.id)
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(
        ledger.balance(ALICE).await.unwrap().available,
        100,
        "nobody else sees it yet"
    );
    tx.commit().await.unwrap();

    let balance = ledger.balance(ALICE).await.unwrap();
    assert_eq!((balance.available, balance.spent), (50, 50));
    assert_eq!(ledger.balance(account(1)).await.unwrap().available, 7);
    let row = connection
        .fetch_one("SELECT count(*) FROM ai_jobs")
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);
    assert!(ledger.verify().await.unwrap().is_clean());
    ledger.close().await;
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

/// The same on SQLite, with sqlx's driver on the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_a_sqlite_transaction() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let url = format!("sqlite://{}", database.sqlite_path().display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    connection
        .execute("CREATE TABLE ai_jobs (consumption_log_id BLOB)")
        .await
        .unwrap();
    for commit in [false, true] {
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let mut within = ledger.within(&mut tx);
        let hold = within
            .consume(Consume::new(ALICE, 60), Some("job"))
            .await
            .unwrap();
        let refused = within.consume(Consume::new(ALICE, 60), None).await.unwrap_err();
        assert_eq!(refused.code(), "insufficient_credits");
        assert_eq!(
            within
                .consume(Consume::new(ALICE, 60), Some("job"))
                .await
                .unwrap(),
            hold
        );
        within
            .gift(Gift::new(account(1), 7, "welcome"), None)
            .await
            .unwrap();
        within.confirm(Confirm::amount(hold.id, 50), None).await.unwrap();
        sqlx::query("INSERT INTO ai_jobs VALUES (?)")
            .bind(hold.id)
            .execute(&mut *tx)
            .await
            .unwrap();
        if commit {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!(
            (balance.available, balance.spent),
            if commit { (50, 50) } else { (100, 0) }
        );
    }
    assert_eq!(ledger.balance(account(1)).await.unwrap().available, 7);
    assert!(ledger.verify().await.unwrap().is_clean());
    connection.close().await.unwrap();
    ledger.close().await;
}
