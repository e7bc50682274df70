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
