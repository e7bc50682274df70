//! What PostgreSQL's errors mean for the ledger: told apart by SQLSTATE and kind, never by message.

use crate::store::StoreError;

/// Before there is a session, two more errors say what somebody has to do. Later they could mean a broken connection.
pub(super) fn during_connect(error: sqlx::Error, pgbouncer: bool) -> StoreError {
    let remedy = match &error {
        // rustls: a certificate that is not trusted, expired, or another server's.
        sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::InvalidData => {
            "check sslmode and the certificates"
        }
        // A protocol violation: PgBouncer does not know a start-up parameter.
        sqlx::Error::Database(refused) if !pgbouncer && refused.code().as_deref() == Some("08P01") => {
            "if PgBouncer stands before PostgreSQL, say so with the setting `pgbouncer`"
        }
        _ => return during_read(error),
    };
    StoreError::Failed {
        problem: text(&error),
        remedy,
    }
}

/// What is said, without the line of PostgreSQL's own source that sqlx adds.
fn text(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            // PgBouncer's own errors, and PostgreSQL's of a statement that another client has prepared.
            let hint = match code.as_ref() {
                "08P01" => "; a pooler in transaction mode needs the setting `pgbouncer`",
                _ => "",
            };
            format!(
                "error returned from database: {} ({code}){hint}",
                database.message()
            )
        }
        other => other.to_string(),
    }
}

/// While reading, or before anything was sent: nothing can have been written.
pub(super) fn during_read(error: sqlx::Error) -> StoreError {
    match classify(&error) {
        Class::Gone => StoreError::Lost(text(&error)),
        Class::Again => StoreError::Busy(text(&error)),
        Class::Stop(remedy) => StoreError::Failed {
            problem: text(&error),
            remedy,
        },
    }
}

/// While writing: a broken connection hides whether it was.
pub(super) fn during_write(error: sqlx::Error) -> StoreError {
    match classify(&error) {
        Class::Gone => StoreError::Unknown(text(&error)),
        Class::Again => StoreError::Busy(text(&error)),
        Class::Stop(remedy) => StoreError::Failed {
            problem: text(&error),
            remedy,
        },
    }
}

/// A right is missing. Which one, [`rights`](super::rights) finds out.
pub(super) const DENIED: &str = "see docs/production.md for the rights of roles";

/// A table is not there, or is another one. Which one, [`rights`](super::rights) finds out.
pub(super) const ABSENT: &str = "run migrate(), and check that `schema` names where the tables are";

enum Class {
    Gone,
    Again,
    Stop(&'static str),
}

fn classify(error: &sqlx::Error) -> Class {
    let sqlx::Error::Database(database) = error else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Class::Gone,
            sqlx::Error::Tls(_) => Class::Stop("check sslmode and the certificates"),
            sqlx::Error::Configuration(_) => Class::Stop("check the database URL"),
            _ => Class::Stop("this is a fault of jointo_credits or of the data; run verify() and report it"),
        };
    };
    let code = database.code().unwrap_or_default();
    match code.as_ref() {
        // Serialization failure, deadlock, lock not available, statement or lock timeout, a race for a unique key.
        "40001" | "40P01" | "55P03" | "57014" | "23505" => Class::Again,
        // The server is stopping or starting, or closed the connection.
        "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => Class::Gone,
        // Too many connections: some will end.
        "53300" => Class::Gone,
        "53100" => Class::Stop("make room on the server's disk"),
        "53200" => Class::Stop("the server is out of memory; make the batch limit smaller"),
        "25006" => Class::Stop(
            "connect to the primary, or set default_transaction_read_only = off: nothing can be written here",
        ),
        "42P01" | "42703" | "3F000" | "42883" => Class::Stop(ABSENT),
        // A type, index or function of that name; tables are looked at before they are made.
        "42P07" | "42710" | "42723" => Class::Stop(
            "give the ledger a schema of its own (`schema`): names that begin with credit_ are taken in this one",
        ),
        "42501" => Class::Stop(DENIED),
        // What was prepared is not there, or somebody else's is: the server behind the connection is another one.
        "26000" | "42P05" | "34000" => Class::Stop(
            "if a pooler (PgBouncer) stands before PostgreSQL, say so with the setting `pgbouncer`",
        ),
        "22P05" | "22021" => {
            Class::Stop("create the database with ENCODING 'UTF8': this one can't keep the text")
        }
        "28P01" | "28000" => Class::Stop("check user and password"),
        "3D000" => Class::Stop("create the database, or check its name"),
        _ if code.starts_with("08") => Class::Gone,
        _ if code.starts_with("23") => {
            Class::Stop("a constraint stands against it: the books are damaged; run verify()")
        }
        _ => Class::Stop("see the server's log"),
    }
}
