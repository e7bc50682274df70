//! What a database's URL says: the one parser of them.
//!
//! Nothing in a URL is passed over: each part is honoured, or refused by name with what to write instead. A parameter that
//! is not known might have asked for TLS. No message repeats a password, nor text that could be a part of one.

#[cfg(feature = "postgres")]
mod postgres;
#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::ledger::is_invisible;
use std::time::Duration;

/// No URL is longer.
const URL_MAX: usize = 8_192;

/// What a URL leads to.
#[derive(Debug)]
pub(crate) enum Location {
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite(crate::store::sqlite::Location),
    #[cfg(feature = "postgres")]
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
}

/// The same, with the settings that a URL can have in it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) location: Location,
    pub(crate) schema: Option<String>,
    pub(crate) pgbouncer: Option<bool>,
    pub(crate) connect_timeout: Option<Duration>,
}

impl From<Location> for Target {
    fn from(location: Location) -> Self {
        Target {
            location,
            schema: None,
            pgbouncer: None,
            connect_timeout: None,
        }
    }
}

/// Reads a URL. `environment` is asked for the variables that PostgreSQL's own programs know, as a URL's missing parts.
pub(crate) fn parse(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Target> {
    if url.len() > URL_MAX {
        return refused("is too long", format!("{URL_MAX} bytes"), url.len());
    }
    if url.trim() != url || url.contains(|c: char| c.is_control() || is_invisible(c)) {
        return refused(
            "has white space at an end, or a character in it that can't be seen; leave it out",
            "one line, such as sqlite:///credits.db",
            "a URL with such a character",
        );
    }
    let (scheme, rest) = url.split_once(':').unwrap_or(("", ""));
    let family = scheme.split('+').next().unwrap_or_default();
    match (scheme, rest) {
        ("memory", "") => Ok(Location::Memory.into()),
        ("memory", _) => refused("has something after the scheme", "memory:", "`memory:...`"),
        ("sqlite", rest) => sqlite(rest),
        ("postgresql" | "postgres", rest) => postgresql(scheme, rest, environment),
        _ if matches!(family, "sqlite" | "sqlite3") => {
            refused("names a driver", "sqlite:///FILE", format!("`{}:`", word(scheme)))
        }
        _ if matches!(
            family,
            "postgresql" | "postgres" | "psql" | "pgsql" | "postgis" | "jdbc"
        ) =>
        {
            refused(
                "names a driver, or is written as another library wants it",
                "postgresql://user:password@host:5432/database",
                format!("`{}:`", word(scheme)),
            )
        }
        _ => refused(
            "has an unknown scheme",
            "sqlite:///FILE, sqlite::memory:, postgresql://... or memory:",
            format!("`{}:`", word(scheme)),
        ),
    }
}

/// What follows `sqlite:`. A path is taken as it is: percent signs in it are its own.
#[cfg(feature = "sqlite")]
fn sqlite(rest: &str) -> Result<Target> {
    use crate::store::sqlite::Location as Place;
    if matches!(rest, ":memory:" | "//:memory:" | "///:memory:") {
        return Ok(Location::Sqlite(Place::Memory).into());
    }
    let file = match rest.strip_prefix("///") {
        Some(file) => file,
        None if matches!(rest, "" | "//") => "",
        None => {
            return refused(
                "has not three slashes before the file (four, where its path is absolute)",
                "sqlite:///FILE",
                "another number of slashes, or a host",
            );
        }
    };
    let problem = if file.is_empty() {
        "names no SQLite file; for one in memory write sqlite::memory:"
    } else if file.contains('?') {
        "has a parameter, or a question mark in its path; a ledger's file has no parameters: it is always read and written"
    } else if file.trim() != file {
        "has white space at an end of its path"
    } else if file.starts_with(':') || file.starts_with("file:") {
        "has a name that SQLite would take for something else than a file; in memory is sqlite::memory:"
    } else if file.ends_with('/') {
        "names a folder"
    } else {
        return Ok(Location::Sqlite(Place::File(file.into())).into());
    };
    let path = file.split('?').next().unwrap_or_default(); // Other libraries have keys among the parameters.
    refused(problem, "sqlite:///FILE", format!("`{path}`"))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &str) -> Result<Target> {
    refused(
        "needs the crate's feature `sqlite`",
        "an enabled database",
        "sqlite",
    )
}

#[cfg(feature = "postgres")]
fn postgresql(scheme: &str, rest: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Target> {
    match rest.strip_prefix("//") {
        Some(rest) => postgres::parse(rest, environment),
        None => refused(
            "has not two slashes after the scheme",
            "postgresql://user:password@host:5432/database",
            format!("`{scheme}:`"),
        ),
    }
}

#[cfg(not(feature = "postgres"))]
fn postgresql(scheme: &str, _: &str, _: &dyn Fn(&str) -> Option<String>) -> Result<Target> {
    refused(
        "needs the crate's feature `postgres`",
        "an enabled database",
        scheme,
    )
}

fn refused<T>(problem: &'static str, limit: impl ToString, value: impl ToString) -> Result<T> {
    Err(Error::invalid("url", problem, limit, value))
}

/// The text where it is a name that people give to schemes, parameters and modes; anything else could be a secret.
fn word(text: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-_.[]".contains(c);
    if text.len() <= 40 && text.chars().all(plain) {
        text
    } else {
        "..."
    }
}
