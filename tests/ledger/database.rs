//! Fresh databases for tests: each test has its own, and leaves nothing behind.

use jointo_credits::{Ledger, ManualClock, Settings, Timestamp};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::sync::atomic::{AtomicU32, Ordering};

/// The instant that tests with a clock of their own begin at.
pub const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

pub fn clock() -> ManualClock {
    ManualClock::starting_at(START)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Memory,
    SqliteMemory,
    SqliteFile,
    Postgres,
}

/// An empty database; gone when dropped.
pub struct Database {
    pub kind: Kind,
    pub url: String,
    folder: Option<tempfile::TempDir>,
    postgres: Option<(String, String)>,
}

/// The server that `scripts/with-postgres` started.
pub fn server() -> String {
    #[allow(clippy::disallowed_methods)] // The one setting that tests have.
    std::env::var("JOINTO_CREDITS_TEST_POSTGRES")
        .expect("needs a PostgreSQL server: run `make test`, or `scripts/with-postgres -- cargo test`")
}

impl Database {
    pub async fn fresh(kind: Kind) -> Self {
        match kind {
            Kind::Memory => Database {
                kind,
                url: "memory:".into(),
                folder: None,
                postgres: None,
            },
            Kind::SqliteMemory => Database {
                kind,
                url: "sqlite::memory:".into(),
                folder: None,
                postgres: None,
            },
            Kind::SqliteFile => {
                let folder = tempfile::tempdir().unwrap();
                let url = format!("sqlite:///{}", folder.path().join("credits.db").display());
                Database {
                    kind,
                    url,
                    folder: Some(folder),
                    postgres: None,
                }
            }
            Kind::Postgres => Database::on(&server()).await,
        }
    }

    /// A database of its own on the PostgreSQL server at `server`.
    pub async fn on(server: &str) -> Self {
        Database::on_tablespace(server, "pg_default").await
    }

    /// The same, with its files in a tablespace.
    pub async fn on_tablespace(server: &str, tablespace: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "t_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let mut admin = PgConnection::connect(server).await.unwrap();
        admin
            .execute(AssertSqlSafe(format!(
                "CREATE DATABASE {name} TABLESPACE {tablespace}"
            )))
            .await
            .unwrap();
        admin.close().await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        Database {
            kind: Kind::Postgres,
            url: format!("{base}/{name}"),
            folder: None,
            postgres: Some((server.to_owned(), name)),
        }
    }

    pub fn settings(&self) -> Settings {
        Settings::new(&self.url).max_connections(4)
    }

    /// A ledger with its tables.
    pub async fn ledger(&self) -> Ledger {
        self.open(self.settings()).await
    }

    pub async fn open(&self, settings: Settings) -> Ledger {
        let ledger = settings.connect().await.unwrap();
        ledger.migrate().await.unwrap();
        ledger
    }

    /// A path for a file beside the SQLite database.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.as_ref().unwrap().path()
    }

    pub fn sqlite_path(&self) -> std::path::PathBuf {
        self.folder().join("credits.db")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some((server, name)) = self.postgres.take() else {
            return;
        };
        // Dropping can't await, and may happen inside a runtime: so on a thread with its own.
        let gone = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&server).await?;
                admin
                    .execute(AssertSqlSafe(format!(
                        "DROP DATABASE IF EXISTS {name} WITH (FORCE)"
                    )))
                    .await?;
                admin.close().await
            })
        });
        if let Ok(Err(error)) = gone.join() {
            eprintln!("could not drop a test's database: {error}");
        }
    }
}

/// Runs the body once for each kind of database, each as a test of its own.
#[macro_export]
macro_rules! on_every_database {
    ($(#[$meta:meta])* async fn $name:ident($database:ident: Database) $body:block) => {
        mod $name {
            use super::*;
            async fn body($database: Database) $body

            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() { body(Database::fresh(database::Kind::Memory).await).await }
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_memory() { body(Database::fresh(database::Kind::SqliteMemory).await).await }
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite_file() { body(Database::fresh(database::Kind::SqliteFile).await).await }
            $(#[$meta])*
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() { body(Database::fresh(database::Kind::Postgres).await).await }
        }
    };
}
