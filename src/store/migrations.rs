//! The list of migrations, and what a database's history says about it. The same for PostgreSQL and SQLite.
//!
//! Each database keeps its history in a table of its own, `credit_migrations (version, name, checksum, applied_at)`.
//! A migration's text is never edited once it is released: its checksum is compared with the history.

use super::{StoreError, StoreResult};
use crate::ledger::Hash;
use std::collections::BTreeSet;

/// What to do about tables that are not there, or older than the library.
pub(crate) const MIGRATE: &str = "run migrate()";

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Migration {
    /// Goes up along the list; a number may be the other database's alone.
    pub(crate) version: i64,
    /// What its file is called, without number and ending.
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) sql: &'static str,
}

impl Migration {
    /// SHA-256 of the text, in hexadecimal.
    pub(crate) fn checksum(&self) -> String {
        Hash::of(self.sql.as_bytes()).to_string()
    }
}

/// What a migration creates besides tables, and may get lost without anybody noticing: indexes and triggers, by name. What
/// a later one makes anew is named once.
#[cfg(any(test, feature = "postgres"))]
pub(crate) fn objects(known: &[Migration]) -> BTreeSet<(&'static str, &'static str)> {
    let mut objects = BTreeSet::new();
    for line in known.iter().flat_map(|migration| migration.sql.lines()) {
        let mut words = line.split_whitespace();
        if words.next() != Some("CREATE") {
            continue;
        }
        match (words.next(), words.next(), words.next()) {
            (Some("INDEX"), Some(name), _) | (Some("UNIQUE"), Some("INDEX"), Some(name)) => {
                objects.insert(("index", name));
            }
            (Some("TRIGGER"), Some(name), _) => {
                objects.insert(("trigger", name));
            }
            _ => {}
        }
    }
    objects
}

/// The tables that migrations leave, by name, with that of their history.
pub(crate) fn tables(known: &[Migration]) -> Vec<&'static str> {
    let mut tables = vec!["credit_migrations"];
    for line in known.iter().flat_map(|migration| migration.sql.lines()) {
        let mut words = line.split_whitespace().map(|word| {
            let name = word.trim_start_matches("{s}");
            name.split(['(', ';']).next().unwrap_or_default()
        });
        match (words.next(), words.next(), words.next()) {
            (Some("CREATE"), Some("TABLE"), Some(name)) => tables.push(name),
            (Some("DROP"), Some("TABLE"), Some(name)) => tables.retain(|table| *table != name),
            (Some("ALTER"), Some("TABLE"), Some(name)) => {
                if let (Some("RENAME"), Some("TO"), Some(other)) = (words.next(), words.next(), words.next())
                {
                    tables.retain(|table| *table != name);
                    tables.push(other);
                }
            }
            _ => {}
        }
    }
    tables
}

/// A table of somebody else, in the way of one that is still to be made.
pub(crate) fn others_table(name: &str) -> StoreError {
    StoreError::Failed {
        problem: format!(
            "there is a table {name} already, and no record in credit_migrations that the ledger made it"
        ),
        remedy: "give the ledger a database of its own, or on PostgreSQL a schema of its own (`schema`)",
    }
}

/// Checks that none of the tables that are still to be made is there.
///
/// # Errors
/// `Failed`, with the name of the first that is, or that it is the history which is missing; and as [`outstanding`].
pub(crate) fn check_room(
    known: &[Migration],
    history: &[Applied],
    present: &BTreeSet<String>,
) -> StoreResult<()> {
    let applied = known.len() - outstanding(known, history)?.len();
    let made = tables(known.get(..applied).unwrap_or_default());
    let mut wanted = tables(known).into_iter().filter(|table| !made.contains(table));
    if history.is_empty() && wanted.clone().all(|table| present.contains(table)) {
        return Err(StoreError::Failed {
            problem: "the database has the ledger's tables, and has lost their history (credit_migrations)"
                .into(),
            remedy: "restore the table credit_migrations from a backup",
        });
    }
    match wanted.find(|table| present.contains(*table)) {
        Some(table) => Err(others_table(table)),
        None => Ok(()),
    }
}

/// A line of a database's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: i64,
    pub(crate) checksum: String,
}

/// What in a history, by version with name and checksum, is not what `known` would have left there.
pub(crate) fn history_differences(known: &[Migration], history: &[(i64, String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for migration in known {
        let row = history.iter().find(|(version, ..)| *version == migration.version);
        match row {
            None => found.push(format!(
                "migration {} is not in credit_migrations",
                migration.version
            )),
            Some((version, name, checksum))
                if name != migration.name || *checksum != migration.checksum() =>
            {
                found.push(format!(
                    "credit_migrations says of migration {version} what is not so"
                ));
            }
            Some(_) => {}
        }
    }
    for (version, ..) in history {
        if known.iter().all(|migration| migration.version != *version) {
            found.push(format!(
                "credit_migrations has a migration {version}, which this library does not know"
            ));
        }
    }
    found
}

/// The migrations that a database with this history still needs.
///
/// # Errors
/// `Failed` where the history is not the beginning of `known`: this library must not touch such a database.
pub(crate) fn outstanding<'a>(known: &'a [Migration], history: &[Applied]) -> StoreResult<&'a [Migration]> {
    let newest_known = known.iter().map(|m| m.version).max().unwrap_or(0);
    if let Some(newer) = history
        .iter()
        .map(|a| a.version)
        .filter(|v| *v > newest_known)
        .max()
    {
        return Err(StoreError::Failed {
            problem: format!("the database has migration {newer}, this library knows up to {newest_known}"),
            remedy: "upgrade jointo_credits",
        });
    }
    let mut history: Vec<&Applied> = history.iter().collect();
    history.sort_by_key(|applied| applied.version);
    for (migration, applied) in known.iter().zip(&history) {
        if applied.version != migration.version {
            return Err(StoreError::Failed {
                problem: format!("the database's history lacks migration {}", migration.version),
                remedy: "restore the table credit_migrations from a backup",
            });
        }
        if applied.checksum != migration.checksum() {
            return Err(StoreError::Failed {
                problem: format!(
                    "migration {} ({}) was applied to the database in another form",
                    migration.version, migration.name
                ),
                remedy: "use a release of jointo_credits; a migration must not be edited after it was applied",
            });
        }
    }
    Ok(known.get(history.len()..).unwrap_or_default())
}

/// Whether a database is ready that has this history, and these of the tables.
///
/// # Errors
/// `Failed`, and what to do.
pub(crate) fn check(known: &[Migration], history: &[Applied], present: &BTreeSet<String>) -> StoreResult<()> {
    check_room(known, history, present)?;
    if history.is_empty() {
        return Err(StoreError::Failed {
            problem: "the database has no credit tables".into(),
            remedy: MIGRATE,
        });
    }
    match outstanding(known, history)?.last() {
        None => match tables(known).into_iter().find(|table| !present.contains(*table)) {
            None => Ok(()),
            Some(lost) => Err(StoreError::Failed {
                problem: format!("the database has lost its table {lost}"),
                remedy: "restore the database from a backup",
            }),
        },
        Some(newest) => Err(StoreError::Failed {
            problem: format!(
                "the database has migration {}, this library needs {}",
                history.iter().map(|applied| applied.version).max().unwrap_or(0),
                newest.version
            ),
            remedy: MIGRATE,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Migration] = &[
        Migration {
            version: 1,
            name: "ledger",
            sql: "CREATE TABLE a",
        },
        Migration {
            version: 2,
            name: "orders",
            sql: "CREATE TABLE b",
        },
    ];

    fn applied(versions: &[i64]) -> Vec<Applied> {
        let checksum = |v: i64| {
            KNOWN
                .iter()
                .find(|m| m.version == v)
                .map_or_else(String::new, Migration::checksum)
        };
        versions
            .iter()
            .map(|&version| Applied {
                version,
                checksum: checksum(version),
            })
            .collect()
    }

    fn problem(result: StoreResult<()>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn what_is_outstanding_follows_from_the_history() {
        let left = |versions: &[i64]| outstanding(KNOWN, &applied(versions)).unwrap().len();
        assert_eq!((left(&[]), left(&[1]), left(&[2, 1])), (2, 1, 0));
    }

    #[test]
    fn tables_that_are_left() {
        let of = |sql: &'static str| {
            tables(&[Migration {
                version: 1,
                name: "x",
                sql,
            }])
        };
        let sql = "CREATE TABLE {s}a (\n    b bigint\n);\nCREATE TABLE c(d);\nCREATE TABLE e (\nDROP TABLE c;\nALTER TABLE {s}e RENAME TO f;";
        assert_eq!(of(sql), ["credit_migrations", "a", "f"]);
    }

    #[test]
    fn a_history_that_is_not_ours_is_refused() {
        let check = |history: &[Applied]| problem(check(KNOWN, history, &BTreeSet::new()));
        assert_eq!(check(&[]), "the database has no credit tables; run migrate()");
        assert_eq!(
            check(&applied(&[1])),
            "the database has migration 1, this library needs 2; run migrate()"
        );
        assert_eq!(
            check(&applied(&[1, 2, 3])),
            "the database has migration 3, this library knows up to 2; upgrade jointo_credits"
        );
        assert_eq!(
            check(&applied(&[1, 2])),
            "the database has lost its table credit_migrations; restore the database from a backup"
        );
        assert!(check(&applied(&[2])).starts_with("the database's history lacks migration 1"));
        let mut edited = applied(&[1, 2]);
        edited[1].checksum = "0".repeat(64);
        assert!(
            check(&edited).starts_with("migration 2 (orders) was applied to the database in another form")
        );
    }

    #[test]
    fn tables_of_somebody_else_are_told_apart_from_the_ledger_s() {
        let told = |history: &[i64], present: &[&str]| {
            let present = present.iter().map(|name| (*name).to_owned()).collect();
            check(KNOWN, &applied(history), &present)
                .err()
                .map(|error| error.to_string())
        };
        for (history, present, other) in [
            (vec![], vec!["a"], "a"),
            (vec![], vec!["credit_migrations", "b"], "b"),
            (vec![1], vec!["credit_migrations", "a", "b"], "b"),
        ] {
            let told = told(&history, &present).unwrap();
            assert!(
                told.starts_with(&format!("there is a table {other} already")),
                "{told}"
            );
        }
        assert_eq!(told(&[1, 2], &["credit_migrations", "a", "b", "c"]), None);
        assert!(told(&[], &["a", "b"]).unwrap().contains("has lost their history"));
        assert_eq!(
            told(&[1, 2], &["credit_migrations", "b"]).unwrap(),
            "the database has lost its table a; restore the database from a backup"
        );
    }
}
