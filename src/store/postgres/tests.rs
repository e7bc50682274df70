//! The contract, on PostgreSQL: each test in a database of its own.

#![allow(
    clippy::disallowed_methods,
    reason = "where the server is, is said in the environment"
)]

use super::*;
use crate::store::contract_tests::{Subject, contract_tests};
use crate::store::{Reader, postgres::PostgresSettings};
use sqlx::Executor;
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) struct InDatabase {
    store: PostgresStore,
    pub(crate) server: String,
    name: String,
}

impl Subject for InDatabase {
    type Committer = PostgresCommitter;

    fn reader(&self) -> &dyn Reader {
        &self.store
    }

    fn committer(&self) -> PostgresCommitter {
        self.store.committer()
    }
}

pub(crate) async fn admin(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

pub(crate) async fn in_database() -> InDatabase {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = std::env::var("JOINTO_CREDITS_TEST_POSTGRES")
        .expect("needs a PostgreSQL server: run `make test`, or `scripts/with-postgres -- cargo test`");
    let name = format!(
        "c_{}_{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    admin(&server, format!("CREATE DATABASE {name}")).await;
    let store = store(&server, &name).await;
    store.migrate().await.unwrap();
    InDatabase { store, server, name }
}

async fn store(server: &str, database: &str) -> PostgresStore {
    let options: PgConnectOptions = server.parse().unwrap();
    PostgresStore::connect(PostgresSettings {
        options: options.database(database),
        schema: None,
        pgbouncer: false,
        max_connections: 4,
        max_clock_skew: None,
        connect_timeout: Duration::from_secs(30),
    })
    .await
    .unwrap()
}

impl InDatabase {
    /// As another process has one.
    pub(crate) async fn another_store(&self) -> PostgresStore {
        store(&self.server, &self.name).await
    }

    pub(crate) fn url(&self) -> String {
        let (base, _) = self.server.rsplit_once('/').unwrap();
        format!("{base}/{}", self.name)
    }
}

impl Drop for InDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // Dropping can't await, and happens inside a runtime: so on a thread with its own.
        let _ = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(admin(
                &server,
                format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
            ));
        })
        .join();
    }
}

contract_tests!(in_database().await);

/// What the pooler's servers say when the setting is missing; and no line of PostgreSQL's own source.
#[tokio::test]
async fn errors_say_what_to_do_and_quote_no_source_line() {
    let database = in_database().await;
    let mut connection = PgConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql("PREPARE twice AS SELECT 1")
        .execute(&mut connection)
        .await
        .unwrap();
    for (sql, word) in [
        ("EXECUTE nothing", "`pgbouncer`"),
        ("PREPARE twice AS SELECT 1", "`pgbouncer`"),
        ("SET ROLE nobody_of_this_name", "log"),
    ] {
        let error = sqlx::raw_sql(sql).execute(&mut connection).await.unwrap_err();
        let StoreError::Failed { problem, remedy } = during_read(error) else {
            panic!("{sql}")
        };
        assert!(remedy.contains(word), "{sql}: {problem}; {remedy}");
        assert!(!problem.contains("at line"), "{problem}");
    }
}

/// Rows of lots and consumptions that this transaction has fetched by an index, so far.
async fn fetched(connection: &mut PgConnection) -> i64 {
    sqlx::query(
        "SELECT coalesce(sum(coalesce(idx_tup_fetch, 0) + seq_tup_read), 0)::int8 FROM pg_stat_xact_user_tables \
         WHERE relname IN ('credit_lots', 'credit_consumption_logs')",
    )
    .fetch_one(connection)
    .await
    .unwrap()
    .try_get(0)
    .unwrap()
}

#[tokio::test]
async fn of_many_lots_only_those_are_touched_that_a_command_takes() {
    use crate::ledger::{Account, Hash, Timestamp};
    use crate::store::{AccountWrite, Extent, Needs, Writes};
    let database = in_database().await;
    let mut connection = session_options(&database.store.settings, true)
        .connect()
        .await
        .unwrap();
    let user = Uuid::from_u128(7);
    let now = Timestamp::from_micros(1_790_000_000_000_000);
    let statements = Statements::new(None, true);
    // No table has statistics: as soon after the first lots as it can be.
    connection
        .execute(AssertSqlSafe(format!(
            "BEGIN; INSERT INTO credit_accounts SELECT '{user}', 1, sha256('1'), 20000, 0, 0, 0, 0, 20000, 0, NULL, \
             '2027-01-01', '2026-09-01', '2026-09-01'; \
             INSERT INTO credit_lots (user_id, lot_id, source, amount, remaining, expired, clawed, claim, open, priority, \
             expires_at, created_at) SELECT '{user}', md5(n::text)::uuid, 'purchase', 1, 1, 0, 0, 0, true, 0, \
             timestamptz '2027-01-01' + n * interval '1 second', '2026-09-01' FROM generate_series(1, 20000) n"
        )))
        .await
        .unwrap();
    let needs = |rows: Option<usize>| Needs {
        now: Some(now),
        accounts: vec![user],
        more: rows.map(|rows| (user, rows)).into_iter().collect(),
        ..Needs::default()
    };
    let before = fetched(&mut connection).await;
    let loaded = within::load(&mut connection, &statements, &needs(None))
        .await
        .unwrap();
    assert_eq!(
        loaded.accounts[&user].state.lots.len(),
        crate::store::LOTS_FIRST + 1
    );
    let outline = load::load_with(&mut connection, &statements, &needs(None), Extent::OUTLINE)
        .await
        .unwrap();
    assert_eq!(outline.accounts[&user].state.lots.len(), 100);
    let after = fetched(&mut connection).await;
    assert!(after - before < 300, "read {}", after - before);

    let loaded = within::load(&mut connection, &statements, &needs(Some(5_000)))
        .await
        .unwrap();
    let state = &loaded.accounts[&user].state;
    let before = fetched(&mut connection).await;
    let writes = Writes {
        accounts: vec![AccountWrite {
            account: Account {
                seq: 2,
                hash: Hash::of(b"2"),
                ..state.account.clone()
            },
            before: Some(state.account.clone()),
        }],
        lots: state.lots.values().map(|lot| (user, Arc::clone(lot))).collect(),
        only_remaining: true,
        ..Writes::default()
    };
    let stale = within::append(&mut connection, &statements, &writes)
        .await
        .unwrap();
    assert!(stale.is_empty());
    let after = fetched(&mut connection).await;
    assert!(
        after - before < 20_000,
        "{} for {} lots",
        after - before,
        writes.lots.len()
    );
    connection.close().await.unwrap();
}
