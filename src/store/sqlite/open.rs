//! Where the books are, and how a connection to them is set up.

use super::failure::{self, Attempt, Failure};
use super::fork::{self, Counted};
use super::place::{self, FileId, Place};
use super::waiting::{patiently, pause};
use crate::store::{StoreError, StoreResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where an SQLite database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A file, shared with every process that opens it.
    File(PathBuf),
    /// This process's memory; gone when the store is closed.
    Memory,
}

/// How to work with it.
#[derive(Debug, Clone)]
pub(crate) struct SqliteSettings {
    /// The most connections that read at a time.
    pub(crate) max_connections: usize,
    /// How long to wait for other processes that write.
    pub(crate) busy_timeout: Duration,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        SqliteSettings {
            max_connections: 4,
            busy_timeout: Duration::from_secs(10),
        }
    }
}

/// Different statements of ours, with room to spare: none is ever prepared twice.
const CACHED_STATEMENTS: usize = 64;

/// How often a database is opened anew that is replaced meanwhile.
const OPEN_TRIES: u32 = 3;

/// How long files that look wrong are waited for, and how often they are looked at.
const FILES_TIMEOUT: Duration = Duration::from_secs(2);
const FILES_PAUSE: Duration = Duration::from_millis(10);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Reads only.
    Read,
    /// Writes to a database that is there.
    Write,
    /// Creates the tables, and the file if need be.
    Migrate,
}

/// An absolute path: the process may change its folder between now and the next connection.
pub(super) fn absolute(path: &Path) -> StoreResult<PathBuf> {
    let path = std::path::absolute(path).map_err(|e| StoreError::Failed {
        problem: format!("`{}` is not a path to a file: {e}", path.display()),
        remedy: "name a file, such as credits.db",
    })?;
    // Known now, and not when the first caller wants to spend.
    match path.parent() {
        Some(folder) if folder.is_dir() => Ok(path),
        _ => Err(StoreError::Failed {
            problem: format!("there is no folder for {}", path.display()),
            remedy: "make the folder, or check the path",
        }),
    }
}

/// Opens `path` (absolute, so that SQLite does not take it for a URI or a special name).
pub(super) fn file(path: &Path, purpose: Purpose, settings: &SqliteSettings) -> StoreResult<Counted> {
    // Readers open for writing too: after a crash somebody has to recover the log, and it may be the first reader.
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if purpose == Purpose::Migrate {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let mut tries = OPEN_TRIES;
    look_first(path, settings)?;
    loop {
        let before = FileId::at(path);
        let mut connection = Counted::file(path, || {
            Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, purpose, &e))
        })?;
        if let Err(failure) = set_up(&connection, purpose, settings) {
            return Err(failure.explain(&connection));
        }
        let real = connection.path().map_or_else(|| path.to_owned(), PathBuf::from);
        let Some(place) = Place::of(path, &real) else {
            return Ok(connection);
        };
        // Another file may have taken its place between the two looks: then nobody knows which one is open.
        if before.is_none_or(|before| before == place.database()) {
            connection.settle(place);
            return Ok(connection);
        }
        tries -= 1;
        if tries == 0 {
            return Err(StoreError::Busy(format!(
                "{} is replaced again and again",
                path.display()
            )));
        }
    }
}

/// Whether a database may be opened that this process does not have open yet: see the module `place`.
fn look_first(path: &Path, settings: &SqliteSettings) -> StoreResult<()> {
    if fork::is_open(path) {
        return Ok(());
    }
    let mut waited = Duration::ZERO;
    loop {
        let elsewhere = || is_open_elsewhere(path).then(|| place::open_elsewhere(path));
        match place::check_before_opening(path)?.or_else(elsewhere) {
            None => return Ok(()),
            Some(problem) if waited >= settings.busy_timeout.min(FILES_TIMEOUT) => return Err(problem),
            // Another process that is just making these files, or looks as we do, is done in a moment.
            Some(_) => {
                pause(FILES_PAUSE);
                waited += FILES_PAUSE;
            }
        }
    }
}

/// Whether another process has a database open that lacks its log or index.
fn is_open_elsewhere(path: &Path) -> bool {
    if !place::lacks_companions(path) {
        return false;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let Ok(connection) = Connection::open_with_flags(path, flags) else {
        return false; // Why it can't be opened is said where it is opened for good.
    };
    let looked = connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .and_then(|_| connection.busy_timeout(Duration::ZERO))
        // In this mode a database with a log is read only by who has it alone.
        .and_then(|()| connection.pragma_update(None, "locking_mode", "EXCLUSIVE"))
        .and_then(|()| connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())));
    looked.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy))
}

pub(super) fn memory() -> StoreResult<Connection> {
    let connection = Connection::open_in_memory().map_err(|e| failure::from_code(&e))?;
    prepare_once(&connection).map_err(|e| failure::from_code(&e))?;
    Ok(connection)
}

fn cannot_open(path: &Path, purpose: Purpose, error: &rusqlite::Error) -> StoreError {
    if purpose != Purpose::Migrate && path.parent().is_some_and(Path::is_dir) && !path.exists() {
        return StoreError::Failed {
            problem: format!("there is no database {}", path.display()),
            remedy: "run migrate(), or check the path",
        };
    }
    failure::from_code(error)
}

fn set_up(connection: &Connection, purpose: Purpose, settings: &SqliteSettings) -> Attempt<()> {
    prepare_once(connection)?;
    if purpose == Purpose::Read {
        connection.busy_timeout(settings.busy_timeout)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "query_only", true)?;
        // The first read opens the log, which is to be compared from then on.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        return Ok(());
    }
    // Writers wait in `patiently`, which is fairer than SQLite's own waiting.
    connection.busy_timeout(Duration::ZERO)?;
    // Another process may be about to create the database.
    let mode = patiently(settings.busy_timeout, || set_up_writer(connection))?;
    if mode != "wal" {
        return Err(Failure::Store(StoreError::Failed {
            problem: format!(
                "the database stays in journal mode `{mode}`; a ledger needs write-ahead logging"
            ),
            remedy: "put the file on a local file system",
        }));
    }
    Ok(())
}

/// Statements are kept, and each is planned once: otherwise SQLite plans one with `LIMIT ?` anew for every other value.
/// (<https://www.sqlite.org/queryplanner-ng.html#qpstab>)
fn prepare_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}

/// Returns the journal mode, which is kept in the file; the rest is the connection's own.
fn set_up_writer(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Every acknowledged commit is synced to disk. `fullfsync` is what that takes on macOS, and nothing elsewhere.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "fullfsync", true)?;
    // 64 MiB at the most: the inner pages of every b-tree, of millions of accounts too.
    connection.pragma_update(None, "cache_size", -65_536)?;
    // 16 MiB of log, four times SQLite's own: a page that is written often is copied into the database less often.
    // Measured: 64 consumes a batch 1.3 times as fast as with 1,000 pages, 10,000 not much faster still.
    connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
}
