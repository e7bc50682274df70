//! PostgreSQL 14 to 18, by sqlx.
//!
//! | step | round trips | statements |
//! | --- | --- | --- |
//! | `load` | 1 | one `SELECT` over everything the batch needs: one snapshot, no locks; a second one for accounts of which something is due, or a command takes more |
//! | `load` with `lock` | 3 | `BEGIN`; lock the accounts in order of id; the same `SELECT` |
//! | `append` | 1 | one writable CTE, in autocommit: a transaction by itself (and `COMMIT`, after a locking load) |
//!
//! Committers own their connections: a pool would ping them before every use. Their sessions run generic plans and
//! index look-ups only ([`session_options`]).
//!
//! # Behind a pooler in transaction mode
//!
//! The server behind a connection changes from one transaction to the next, and sqlx sends a statement in two steps,
//! each a transaction of its own in autocommit: what is executed might be another client's statement. So with
//! `pgbouncer` everything is done between [`bracket`] and [`end_bracket`], which cost two round trips; the first one
//! also sets what a session can't keep. Statements are prepared without a name, each time anew.
//!
//! # Order of locks
//!
//! A write first takes the rows of its accounts, in order of id, and only then touches anything else; nothing of an
//! account is ever written without its row. So two writers can wait for each other's account rows only, and in one
//! order. (Should a planner ever choose another order, PostgreSQL breaks the deadlock and the batch is done again.)

#[cfg_attr(not(feature = "anchors"), allow(dead_code))]
mod anchors;
mod append;
mod catalogue;
mod columns;
mod errors;
mod fields;
mod listen;
mod load;
mod read;
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
mod retention;
mod rights;
mod rows;
mod schema;
mod snapshot;
#[cfg(test)]
pub(crate) mod tests;
mod writing;

use super::{Committer, Loaded, Needs, StoreError, StoreResult, Writes};
use crate::ledger::Hash;
use errors::{during_connect, during_read, during_write};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Row, SqlSafeStr, SqlStr};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How to reach the tables.
#[derive(Debug, Clone)]
pub(crate) struct PostgresSettings {
    pub(crate) options: PgConnectOptions,
    /// The schema the tables are in; the role's `search_path` decides where `None`.
    pub(crate) schema: Option<String>,
    /// Whether a pooler in transaction mode stands between.
    pub(crate) pgbouncer: bool,
    pub(crate) max_connections: u32,
    /// How far the server's clock may be from the ledger's, when an account is read.
    pub(crate) max_clock_skew: Option<Duration>,
    /// How long to wait for a connection.
    pub(crate) connect_timeout: Duration,
}

/// The SQL of one ledger: texts with the schema filled in, made once.
#[derive(Debug)]
pub(crate) struct Statements {
    /// The quoted schema and a dot, or nothing.
    pub(super) prefix: String,
    pub(super) persistent: bool,
    texts: std::sync::Mutex<HashMap<(&'static str, u32), Arc<str>>>,
}

impl Statements {
    pub(crate) fn new(schema: Option<&str>, persistent: bool) -> Self {
        let prefix = schema
            .map(|s| format!("\"{}\".", s.replace('"', "\"\"")))
            .unwrap_or_default();
        Statements {
            prefix,
            persistent,
            texts: std::sync::Mutex::new(HashMap::new()),
        }
    }

    /// The text `name` in its variant `mask`, with every `{s}` replaced by the schema. Made by `make` the first time.
    pub(super) fn text(&self, name: &'static str, mask: u32, make: impl FnOnce() -> String) -> SqlStr {
        let mut texts = self
            .texts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let text = texts
            .entry((name, mask))
            .or_insert_with(|| make().replace("{s}", &self.prefix).into());
        // Safe: made of literals and a quoted schema name; values are always bound.
        AssertSqlSafe(Arc::clone(text)).into_sql_str()
    }
}

/// The shared side: reads, migrations, and the making of committers.
pub(crate) struct PostgresStore {
    settings: PostgresSettings,
    pool: PgPool,
    statements: Arc<Statements>,
    /// The task that listens for changes of the catalogue, once there is one.
    listening: std::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl PostgresStore {
    /// Connects once, so that an unreachable database is known at once.
    pub(crate) async fn connect(settings: PostgresSettings) -> StoreResult<Self> {
        let statements = Arc::new(Statements::new(settings.schema.as_deref(), !settings.pgbouncer));
        let options = session_options(&settings, false);
        let pool = PgPoolOptions::new()
            .max_connections(settings.max_connections)
            .acquire_timeout(settings.connect_timeout)
            .test_before_acquire(false) // A ping is a round trip; a stale connection is found out and replaced.
            .after_connect({
                let pgbouncer = settings.pgbouncer;
                move |connection, _| {
                    Box::pin(async move {
                        if !pgbouncer {
                            let pin = AssertSqlSafe(format!("SELECT {}", pin_path(false)));
                            sqlx::raw_sql(pin).execute(connection).await?;
                        }
                        Ok(())
                    })
                }
            })
            .connect_lazy_with(options.clone());
        let probe = tokio::time::timeout(settings.connect_timeout, options.connect()).await;
        match probe {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
                Ok(PostgresStore {
                    settings,
                    pool,
                    statements,
                    listening: std::sync::Mutex::default(),
                })
            }
            Ok(Err(error)) => Err(during_connect(error, settings.pgbouncer)),
            Err(_) => Err(StoreError::Lost(format!(
                "{}:{} did not answer within {:?}",
                settings.options.get_host(),
                settings.options.get_port(),
                settings.connect_timeout
            ))),
        }
    }

    /// A committer, which connects when it is first used.
    pub(crate) fn committer(&self) -> PostgresCommitter {
        PostgresCommitter {
            settings: self.settings.clone(),
            statements: Arc::clone(&self.statements),
            connection: None,
            lost: None,
            locked: false,
        }
    }
}

/// What makes a session good at one thing: many small look-ups by key.
///
/// Plans are made once, for any parameters, and often while the tables are still empty; without the settings a plan of
/// that moment would scan and hash whole tables for as long as statistics take to arrive. `jit` would compile
/// such plans because of the penalties that `enable_*` put on their costs.
fn session_options(settings: &PostgresSettings, committer: bool) -> PgConnectOptions {
    let mut options = settings.options.clone();
    if options.get_application_name().is_none() {
        options = options.application_name("jointo_credits");
    }
    options = options
        .log_statements(log::LevelFilter::Off)
        .log_slow_statements(log::LevelFilter::Off, Duration::MAX);
    if settings.pgbouncer {
        // PgBouncer refuses a start-up parameter that it does not know.
        return options.statement_cache_capacity(0).extra_float_digits(None);
    }
    options = options.options([("default_transaction_isolation", "read committed")]);
    options.options(
        session_settings(committer).chain(committer.then_some(("plan_cache_mode", "force_generic_plan"))),
    )
}

fn session_settings(committer: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    let look_ups_only = [
        ("enable_seqscan", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ];
    std::iter::once(("jit", "off")).chain(look_ups_only.into_iter().filter(move |_| committer))
}

/// Has temporary tables found last, for the session or until the transaction ends. Otherwise they come first, whatever the
/// search path: where no schema is named, one called `credit_accounts` would stand for the ledger's. Behind a pooler it
/// may be another client's.
fn pin_path(transaction: bool) -> String {
    format!(
        "set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), {transaction})"
    )
}

/// Begins what is to stay at one server, behind a pooler: see the module.
async fn bracket(connection: &mut PgConnection, committer: bool) -> StoreResult<()> {
    let mut text = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {}", pin_path(true));
    for (name, value) in session_settings(committer) {
        text.push_str(&format!("; SET LOCAL {name} = {value}"));
    }
    // Safe: made of the constants above.
    let begun = sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await;
    begun.map(drop).map_err(during_read)
}

async fn end_bracket(
    connection: &mut PgConnection,
    explain: fn(sqlx::Error) -> StoreError,
) -> StoreResult<()> {
    sqlx::raw_sql("COMMIT")
        .execute(connection)
        .await
        .map(drop)
        .map_err(explain)
}

/// The server process behind a connection, to find out whether it is gone.
#[derive(Debug, Clone, Copy)]
struct Backend {
    pid: i32,
    /// When it began, in microseconds: a pid can be used again.
    began: i64,
}

/// The writing side: one connection.
pub(crate) struct PostgresCommitter {
    settings: PostgresSettings,
    statements: Arc<Statements>,
    connection: Option<(PgConnection, Option<Backend>)>,
    /// The process behind the connection that was lost last: a write of it may still be under way.
    lost: Option<Backend>,
    /// A transaction with locked accounts is open.
    locked: bool,
}

impl PostgresCommitter {
    async fn connected(&mut self) -> StoreResult<&mut PgConnection> {
        if self.connection.is_none() {
            self.connect().await?;
        }
        match &mut self.connection {
            Some((connection, _)) => Ok(connection),
            None => Err(StoreError::Lost("not connected".into())),
        }
    }

    async fn connect(&mut self) -> StoreResult<()> {
        let options = session_options(&self.settings, true);
        let pgbouncer = self.settings.pgbouncer;
        let work = async {
            let connected = options.connect().await;
            let mut connection = connected.map_err(|e| during_connect(e, pgbouncer))?;
            let backend = if pgbouncer {
                None // The process changes from one transaction to the next.
            } else {
                let row = sqlx::query(AssertSqlSafe(format!(
                    "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::bigint, {} \
                     FROM pg_stat_activity WHERE pid = pg_backend_pid()",
                    pin_path(false)
                )))
                .fetch_one(&mut connection)
                .await
                .map_err(during_read)?;
                // Without knowing it nobody could tell a write that failed from one that is still under way.
                Some(Backend {
                    pid: row.try_get(0).map_err(during_read)?,
                    began: row.try_get(1).map_err(during_read)?,
                })
            };
            Ok((connection, backend))
        };
        let timeout = self.settings.connect_timeout;
        let connected = tokio::time::timeout(timeout, work)
            .await
            .map_err(|_| StoreError::Lost(format!("no connection within {timeout:?}")))?;
        self.connection = Some(connected?);
        self.locked = false;
        Ok(())
    }

    /// After an error: the connection goes, and whatever it had open with it.
    fn lose(&mut self) {
        if let Some((_, backend)) = self.connection.take() {
            self.lost = backend;
        }
        self.locked = false;
    }

    async fn load_inner(&mut self, needs: &Needs) -> StoreResult<Loaded> {
        let statements = Arc::clone(&self.statements);
        let lock = needs.lock;
        if std::mem::take(&mut self.locked) {
            self.lose(); // The round before ended between load and append.
        }
        let pgbouncer = self.settings.pgbouncer;
        let connection = self.connected().await?;
        if pgbouncer {
            bracket(connection, true).await?;
        } else if lock {
            sqlx::raw_sql("BEGIN ISOLATION LEVEL READ COMMITTED")
                .execute(&mut *connection)
                .await
                .map_err(during_read)?;
        }
        if lock {
            load::lock(connection, &statements, needs).await?;
        }
        let loaded = load::load(connection, &statements, needs).await?;
        if pgbouncer && !lock {
            end_bracket(connection, during_read).await?;
        }
        self.locked = lock;
        Ok(loaded)
    }

    async fn append_inner(&mut self, writes: &Writes) -> StoreResult<Vec<Uuid>> {
        let statements = Arc::clone(&self.statements);
        let locked = std::mem::take(&mut self.locked);
        let bracketed = self.settings.pgbouncer && !locked && !writes.is_empty();
        let connection = self.connected().await?;
        if bracketed {
            bracket(connection, true).await?;
        }
        let stale = if writes.is_empty() {
            Vec::new()
        } else {
            append::append(connection, &statements, writes).await?
        };
        if locked || bracketed {
            end_bracket(connection, during_write).await?;
        }
        Ok(stale)
    }
}

impl Committer for PostgresCommitter {
    async fn load(&mut self, needs: &Needs) -> StoreResult<Loaded> {
        let loaded = self.load_inner(needs).await;
        // A refused statement leaves a connection usable, but a transaction broken.
        let in_transaction = needs.lock || self.settings.pgbouncer;
        if matches!(&loaded, Err(StoreError::Lost(_))) || (loaded.is_err() && in_transaction) {
            self.lose();
        }
        match loaded {
            Err(error) => Err(rights::named(&self.settings, &self.statements, error).await),
            loaded => loaded,
        }
    }

    async fn append(&mut self, writes: &Writes) -> StoreResult<Vec<Uuid>> {
        let in_transaction = self.locked || self.settings.pgbouncer;
        let appended = self.append_inner(writes).await;
        if matches!(&appended, Err(StoreError::Unknown(_) | StoreError::Lost(_)))
            || (appended.is_err() && in_transaction)
        {
            self.lose();
        }
        match appended {
            Err(error) => Err(rights::named(&self.settings, &self.statements, error).await),
            appended => appended,
        }
    }

    async fn landed(&mut self, entries: &[(Uuid, i64, Hash)]) -> StoreResult<Vec<bool>> {
        let lost = self.lost;
        let pgbouncer = self.settings.pgbouncer;
        let statements = Arc::clone(&self.statements);
        let connection = self.connected().await?;
        if let Some(backend) = lost {
            load::outlive(connection, backend.pid, backend.began).await?;
        }
        if pgbouncer {
            bracket(connection, true).await?;
        }
        let found = load::landed(connection, &statements, entries).await?;
        if pgbouncer {
            end_bracket(connection, during_read).await?;
        }
        if lost.is_none() && pgbouncer && found.contains(&false) {
            return Err(StoreError::Unknown(
                "behind a pooler nobody can tell whether a lost write is still under way".into(),
            ));
        }
        self.lost = None;
        Ok(found)
    }

    async fn reconnect(&mut self) -> StoreResult<()> {
        self.lose_for_reconnect();
        self.connect().await
    }
}

impl PostgresCommitter {
    /// Keeps the process that was lost first: connecting may take several tries.
    fn lose_for_reconnect(&mut self) {
        let lost = self.lost;
        self.lose();
        self.lost = lost.or(self.lost);
    }
}

/// The two steps inside a transaction of somebody else's.
pub(crate) mod within {
    use super::{Statements, append as writes, load as reads};
    use crate::store::{Loaded, Needs, StoreResult, Writes};
    use sqlx::PgConnection;
    use uuid::Uuid;

    pub(crate) async fn load(
        connection: &mut PgConnection,
        statements: &Statements,
        needs: &Needs,
    ) -> StoreResult<Loaded> {
        reads::lock(connection, statements, needs).await?;
        reads::load(connection, statements, needs).await
    }

    pub(crate) async fn append(
        connection: &mut PgConnection,
        statements: &Statements,
        rows: &Writes,
    ) -> StoreResult<Vec<Uuid>> {
        if rows.is_empty() {
            Ok(Vec::new())
        } else {
            writes::append(connection, statements, rows).await
        }
    }
}
