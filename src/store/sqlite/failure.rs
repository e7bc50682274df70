//! What SQLite's result codes mean for a caller. Never recognised by their messages.

use super::schema;
use crate::store::StoreError;
use rusqlite::{Connection, ErrorCode};

/// Why some work on a connection stopped.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    /// Rows that can't be what the library wrote.
    Damaged(String),
    Store(StoreError),
}

pub(super) type Attempt<T> = Result<T, Failure>;

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

impl Failure {
    /// The store's error for it. `connection` helps to find out about a database that was never migrated.
    pub(super) fn explain(self, connection: &Connection) -> StoreError {
        match self {
            Failure::Store(error) => error,
            Failure::Damaged(problem) => damaged(problem),
            // SQLite has no code of its own for a table that is missing.
            Failure::Sqlite(error) if code(&error) == Some(ErrorCode::Unknown) => schema::check(connection)
                .err()
                .unwrap_or_else(|| unexpected(&error)),
            Failure::Sqlite(error) => from_code(&error),
        }
    }
}

pub(super) fn damaged(problem: String) -> StoreError {
    StoreError::Failed {
        problem,
        remedy: "run verify(), and restore what is damaged from a backup",
    }
}

/// Also of errors in a statement's text, which `sqlite_error_code` leaves out.
pub(super) fn code(error: &rusqlite::Error) -> Option<ErrorCode> {
    match error {
        rusqlite::Error::SqliteFailure(code, _) | rusqlite::Error::SqlInputError { error: code, .. } => {
            Some(code.code)
        }
        _ => None,
    }
}

/// Whether somebody else was in the way, so that trying again helps.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    match code(error) {
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            // Somebody else changed the schema, or kept on opening and closing the write-ahead log.
            | ErrorCode::SchemaChanged
            | ErrorCode::FileLockingProtocolFailed,
        ) => true,
        _ => false,
    }
}

/// Whether a COMMIT that failed like this certainly wrote nothing, given that it was rolled back.
///
/// These codes come before the last frame of the transaction is in the write-ahead log. Any other one (a failed sync, a
/// failure while the log's index is brought up to date) may come when a whole transaction is in the file: it is rolled
/// back in memory, but recovery after a crash would find it and take it for committed.
pub(super) fn is_before_commit(error: &rusqlite::Error) -> bool {
    is_busy(error)
        || matches!(
            code(error),
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly | ErrorCode::ConstraintViolation)
        )
}

pub(super) fn from_code(error: &rusqlite::Error) -> StoreError {
    if is_busy(error) {
        return StoreError::Busy(describe(error));
    }
    let remedy = match code(error) {
        Some(ErrorCode::CannotOpen) => "check the path, and that this user may read and write the folder",
        Some(ErrorCode::NotADatabase) => {
            "name another file; this one is not an SQLite database, or is encrypted"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "restore the file from a backup; `PRAGMA integrity_check` says what is damaged"
        }
        Some(
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied,
        ) => "make the file and its folder writable for this user",
        Some(ErrorCode::DiskFull) => "free space on the disk",
        Some(ErrorCode::SystemIoFailure) => "look for disk and file system errors in the system's log",
        Some(ErrorCode::OutOfMemory) => "give the process more memory",
        Some(ErrorCode::NoLargeFileSupport) => "move the file to a file system for large files",
        _ => return unexpected(error),
    };
    StoreError::Failed {
        problem: describe(error),
        remedy,
    }
}

fn unexpected(error: &rusqlite::Error) -> StoreError {
    StoreError::Failed {
        problem: describe(error),
        remedy: "if nobody else changed the credit tables, this is a fault of jointo_credits; please report it",
    }
}

/// Without the statement, which `rusqlite` would quote in full.
fn describe(error: &rusqlite::Error) -> String {
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(code, Some(message)) => (code, message.clone()),
        rusqlite::Error::SqliteFailure(code, None) => (code, code.to_string()),
        rusqlite::Error::SqlInputError { error: code, msg, .. } => (code, msg.clone()),
        other => return format!("SQLite: {other}"),
    };
    format!("SQLite error {}: {message}", code.extended_code)
}
