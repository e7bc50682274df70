//! The tables: made, brought up to date, and checked.

use super::failure::{self, Attempt, Failure};
use super::waiting::patiently;
use crate::inspect::Problem;
use crate::store::migrations::{self, Applied, Migration};
use crate::store::{Inspected, StoreError, StoreResult};
use rusqlite::{Connection, ErrorCode, params};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Every migration, oldest first.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "ledger",
        sql: include_str!("../../../migrations/sqlite/0001_ledger.sql"),
    },
    Migration {
        version: 2,
        name: "orders",
        sql: include_str!("../../../migrations/sqlite/0002_orders.sql"),
    },
    Migration {
        version: 3,
        name: "retention",
        sql: include_str!("../../../migrations/sqlite/0003_retention.sql"),
    },
    Migration {
        version: 4,
        name: "payments",
        sql: include_str!("../../../migrations/sqlite/0004_payments.sql"),
    },
    Migration {
        version: 5,
        name: "anchors",
        sql: include_str!("../../../migrations/sqlite/0005_anchors.sql"),
    },
    Migration {
        version: 6,
        name: "lots",
        sql: include_str!("../../../migrations/sqlite/0006_lots.sql"),
    },
];

const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS credit_migrations (
    version    INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    checksum   TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT";

/// Checks that the tables are there and of a version this library knows. Writes nothing.
pub(super) fn check(connection: &Connection) -> StoreResult<()> {
    check_against(connection, MIGRATIONS)
}

pub(super) fn check_against(connection: &Connection, known: &[Migration]) -> StoreResult<()> {
    let look = || -> Attempt<()> {
        let present = present(connection)?;
        Ok(migrations::check(
            known,
            &history(connection, &present)?,
            &present,
        )?)
    };
    look().map_err(|failure| match failure {
        // Not `explain`, which comes here itself.
        Failure::Sqlite(error) => failure::from_code(&error),
        other => other.explain(connection),
    })
}

/// Checks that no temporary table of a connection that is not ours stands before one of the ledger's: SQLite finds those first.
#[cfg(feature = "sqlx-sqlite")]
pub(super) fn no_temporary(connection: &Connection) -> StoreResult<()> {
    let look = || -> rusqlite::Result<Vec<String>> {
        let mut names = connection.prepare_cached(
            "SELECT name FROM sqlite_temp_schema WHERE type IN ('table', 'view') AND name LIKE 'credit%'",
        )?;
        let names = names.query_map([], |row| row.get(0))?;
        names.collect()
    };
    for name in look().map_err(|error| failure::from_code(&error))? {
        if migrations::tables(MIGRATIONS)
            .iter()
            .any(|table| table.eq_ignore_ascii_case(&name))
        {
            return Err(StoreError::Failed {
                problem: format!(
                    "the connection has a temporary table {name}, which stands before the ledger's"
                ),
                remedy: "give the temporary table another name",
            });
        }
    }
    Ok(())
}

/// What this database is, and what in it is not as the migrations make it.
pub(super) fn inspect(connection: &Connection) -> Attempt<Inspected> {
    let version: String = connection.query_row("SELECT sqlite_version()", [], |row| row.get(0))?;
    let mut risks = Vec::new();
    if connection.is_readonly("main")? {
        risks.push(Problem::new(
            "the file can only be read: nothing can be written",
            "make the file and its folder writable for this user",
        ));
    }
    let encoding: String = connection.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    if encoding != "UTF-8" {
        risks.push(Problem::new(
            format!("the file's encoding is {encoding}: texts have half of the room"),
            "make another file with PRAGMA encoding = 'UTF-8', and copy the tables",
        ));
    }
    Ok(Inspected {
        database: format!("SQLite {version}"),
        time: None,
        missing: differences(connection)?,
        risks,
    })
}

/// Tables, indexes and triggers, by kind and name: of which table, and the text that made each.
type Objects = BTreeMap<(String, String), (String, Option<String>)>;

fn objects(connection: &Connection) -> Attempt<Objects> {
    // Indexes that SQLite makes for itself have no text. Names are quoted in it once their table was renamed, there and back.
    let mut read = connection.prepare(
        "SELECT type, name, tbl_name, replace(sql, '\"', '') FROM sqlite_schema WHERE tbl_name GLOB 'credit_*' AND sql IS NOT NULL",
    )?;
    let rows = read.query_map([], |row| {
        Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The schema against the one that the migrations make in an empty database.
fn differences(connection: &Connection) -> Attempt<Vec<String>> {
    let scratch = Connection::open_in_memory()?;
    for migration in MIGRATIONS {
        scratch.execute_batch(migration.sql)?;
    }
    let (expected, there) = (objects(&scratch)?, objects(connection)?);
    let mut found = Vec::new();
    for ((kind, name), made) in &expected {
        match there.get(&(kind.clone(), name.clone())) {
            None => found.push(format!("the {kind} {name} is missing")),
            Some(other) if other != made => {
                found.push(format!("the {kind} {name} is not what the migrations make"))
            }
            Some(_) => {}
        }
    }
    for ((kind, name), (table, text)) in there.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        // Other indexes are the host's own affair. A unique one refuses commands.
        let is_unique = text
            .as_deref()
            .is_some_and(|text| text.starts_with("CREATE UNIQUE"));
        if kind == "trigger" || (kind == "index" && is_unique) {
            found.push(format!("the {kind} {name} on {table} is none of the library's"));
        }
    }
    let is_ours: bool = connection.query_row(
        "SELECT count(*) = 3 FROM pragma_table_info('credit_migrations') WHERE name IN ('version', 'name', 'checksum')",
        [],
        |row| row.get(0),
    )?;
    if !is_ours {
        // Whoever asks for the tables is told that there are none, or that they are somebody else's.
        return Ok(found);
    }
    let mut history = connection.prepare("SELECT version, name, checksum FROM credit_migrations")?;
    let history = history.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    found.extend(migrations::history_differences(
        MIGRATIONS,
        &history.collect::<Result<Vec<_>, _>>()?,
    ));
    Ok(found)
}

/// Applies what is missing, all of it or nothing. Safe to run twice, and from several processes at once.
pub(super) fn migrate(connection: &Connection, timeout: Duration) -> StoreResult<()> {
    migrate_to(connection, MIGRATIONS, timeout)
}

pub(super) fn migrate_to(connection: &Connection, known: &[Migration], timeout: Duration) -> StoreResult<()> {
    if check_against(connection, known).is_ok() {
        // Nothing to write, so this works while others write, and on a read-only copy.
        return Ok(());
    }
    patiently(timeout, || connection.execute_batch("BEGIN EXCLUSIVE"))
        .map_err(|e| Failure::Sqlite(e).explain(connection))?;
    let applied = apply(connection, known).and_then(|()| {
        connection
            .execute_batch("COMMIT")
            .map_err(|e| failure::from_code(&e))
    });
    if !connection.is_autocommit() {
        // The transaction is undone by closing the connection as well; the error of interest is the first one.
        let _ = connection.execute_batch("ROLLBACK");
    }
    applied
}

fn apply(connection: &Connection, known: &[Migration]) -> StoreResult<()> {
    let prepare = || -> Attempt<Vec<Applied>> {
        let present = present(connection)?;
        let history = history(connection, &present)?;
        migrations::check_room(known, &history, &present)?;
        connection.execute_batch(CREATE_HISTORY)?;
        Ok(history)
    };
    let history = prepare().map_err(|failure| match failure {
        Failure::Sqlite(error) => failure::from_code(&error),
        other => other.explain(connection),
    })?;
    for migration in migrations::outstanding(known, &history)? {
        let run = || -> rusqlite::Result<()> {
            connection.execute_batch(migration.sql)?;
            connection.execute(
                "INSERT INTO credit_migrations (version, name, checksum, applied_at) \
                 VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000000 AS INTEGER))",
                params![migration.version, migration.name, migration.checksum()],
            )?;
            Ok(())
        };
        run().map_err(|error| refused(migration, &error))?;
    }
    Ok(())
}

fn refused(migration: &Migration, error: &rusqlite::Error) -> StoreError {
    match failure::from_code(error) {
        StoreError::Failed { problem, .. } if failure::code(error) == Some(ErrorCode::Unknown) => {
            StoreError::Failed {
                problem: format!("migration {} ({}): {problem}", migration.version, migration.name),
                remedy: "use a database without other indexes or triggers whose names begin with credit_",
            }
        }
        other => other,
    }
}

/// What stands at the place of a table, by name: SQLite takes capitals for small letters.
fn present(connection: &Connection) -> Attempt<BTreeSet<String>> {
    let mut names = connection.prepare_cached(
        "SELECT lower(name) FROM sqlite_schema WHERE type IN ('table', 'view') AND name LIKE 'credit%'",
    )?;
    let names = names.query_map([], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// What was applied. A table of the history's name that is somebody else's is an error.
fn history(connection: &Connection, present: &BTreeSet<String>) -> Attempt<Vec<Applied>> {
    if !present.contains("credit_migrations") {
        return Ok(Vec::new());
    }
    let is_ours: bool = connection
        .prepare_cached(
            "SELECT count(*) = 2 FROM pragma_table_info('credit_migrations') \
             WHERE (name, type) IN (VALUES ('version', 'INTEGER'), ('checksum', 'TEXT'))",
        )?
        .query_row([], |row| row.get(0))?;
    if !is_ours {
        return Err(Failure::Store(migrations::others_table("credit_migrations")));
    }
    let mut statement =
        connection.prepare("SELECT version, checksum FROM credit_migrations ORDER BY version")?;
    let rows = statement.query_map([], |row| {
        Ok(Applied {
            version: row.get(0)?,
            checksum: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
