//! Which rights a role lacks: PostgreSQL says which table it may not use, and not for what.

use super::errors::{ABSENT, DENIED, during_read};
use super::schema::{self, MIGRATIONS};
use super::{PostgresSettings, Statements, session_options};
use crate::store::migrations::{MIGRATE, tables};
use crate::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};

/// Rows of these are written once.
const NEVER_UPDATED: [&str; 4] = [
    "credit_transactions",
    "credit_gifts",
    "credit_package_versions",
    "credit_kept_entries",
];

/// Rows of these leave, with a clean-up or when old anchors are given up.
const CLEANED: [&str; 4] = [
    "credit_transactions",
    "credit_consumption_logs",
    "credit_anchors",
    "credit_anchor_leaves",
];

/// The error, with what can be found out where it is about a right or a table that is missing: which one.
pub(super) async fn named(
    settings: &PostgresSettings,
    statements: &Statements,
    error: StoreError,
) -> StoreError {
    match error {
        StoreError::Failed { problem, remedy } if remedy == DENIED => {
            let found = ask(settings, async |connection| {
                lacking(connection, &statements.prefix).await
            });
            let found = found.await.and_then(|lacking| lacking.that_it_is_about(&problem));
            denied(problem, found)
        }
        // The tables may be another program's.
        StoreError::Failed { problem, remedy } if remedy == ABSENT => {
            let looked = ask(settings, async |connection| {
                Ok(schema::check(connection, &statements.prefix).await.err())
            });
            match looked.await.flatten() {
                // That there are none is what the error says, with a hint where they may be.
                Some(StoreError::Failed { remedy: MIGRATE, .. }) => StoreError::Failed { problem, remedy },
                Some(told @ StoreError::Failed { .. }) => told,
                _ => StoreError::Failed { problem, remedy },
            }
        }
        other => other,
    }
}

/// The same for an error of a migration, which needs other rights.
pub(super) async fn named_for_migrating(
    settings: &PostgresSettings,
    statements: &Statements,
    error: StoreError,
) -> StoreError {
    match error {
        StoreError::Failed { problem, remedy } if remedy == DENIED => {
            let found = ask(settings, async |connection| {
                lacking_for_migrating(connection, statements).await
            });
            denied(problem, found.await)
        }
        other => other,
    }
}

fn denied(problem: String, found: Option<String>) -> StoreError {
    let problem = match found {
        Some(lacking) => format!("{problem}: {lacking}"),
        None => problem,
    };
    StoreError::Failed {
        problem,
        remedy: DENIED,
    }
}

/// Asks on a connection of its own: in a transaction that has failed nothing can be asked.
async fn ask<T>(
    settings: &PostgresSettings,
    question: impl AsyncFnOnce(&mut PgConnection) -> StoreResult<T>,
) -> Option<T> {
    let look = async {
        let mut connection = session_options(settings, false).connect().await.ok()?;
        question(&mut connection).await.ok()
    };
    tokio::time::timeout(settings.connect_timeout, look).await.ok()?
}

async fn lacking_for_migrating(
    connection: &mut PgConnection,
    statements: &Statements,
) -> StoreResult<String> {
    let schema = statements.prefix.trim_end_matches('.').trim_matches('"');
    // A role that may not read the history can't tell that nothing is to be done.
    let text = "SELECT current_user::text, n.name, current_database()::text, CASE \
         WHEN s.oid IS NULL THEN 'database' WHEN NOT has_schema_privilege(s.oid, 'USAGE') THEN 'use' \
         WHEN NOT has_table_privilege(h.oid, 'SELECT') THEN 'history' \
         WHEN NOT has_schema_privilege(s.oid, 'CREATE') THEN 'schema' ELSE 'owner' END \
         FROM (SELECT coalesce(nullif($1, ''), current_schema()::text, 'public') AS name) n \
         LEFT JOIN pg_namespace s ON s.nspname = n.name \
         LEFT JOIN pg_class h ON h.relnamespace = s.oid AND h.relname = 'credit_migrations'";
    let row = sqlx::query(text)
        .bind(schema)
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(during_read)?;
    let word = |place: usize| row.try_get::<String, _>(place).map_err(during_read);
    let (role, name, database) = (word(0)?, word(1)?, word(2)?);
    Ok(match word(3)?.as_str() {
        "database" => {
            format!(
                "the role `{role}` lacks CREATE on database {database}; have the schema `{name}` made for it"
            )
        }
        "use" => format!("the role `{role}` lacks USAGE on schema {name}"),
        "history" => format!("the role `{role}` lacks SELECT on credit_migrations"),
        "schema" => format!("the role `{role}` lacks CREATE on schema {name}"),
        _ => format!("the role `{role}` does not own the tables; migrate as the role that made them"),
    })
}

/// The rights that a role lacks.
pub(super) struct Lacking {
    role: String,
    /// On which schema, where it may not even look into it.
    schema: Option<String>,
    /// Each with its table.
    rights: Vec<(String, String)>,
}

impl Lacking {
    /// All of them that a ledger's process needs, but for clean-ups; `None` where it lacks nothing.
    pub(super) fn to_run(&self) -> Option<String> {
        self.told(|right, _| right != "DELETE")
    }

    /// Those on the table that an error names, whatever else is missing.
    fn that_it_is_about(&self, problem: &str) -> Option<String> {
        let mut names = problem.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let Some(table) = names.find(|name| self.rights.iter().any(|(_, table)| table == name)) else {
            return self.to_run();
        };
        let only_deleting = !self
            .rights
            .iter()
            .any(|(right, of)| of == table && right != "DELETE");
        self.told(|right, of| of == table && (right != "DELETE" || only_deleting))
    }

    fn told(&self, counts: impl Fn(&str, &str) -> bool) -> Option<String> {
        let on_schema = self.schema.iter().map(|name| format!("USAGE on schema {name}"));
        let on_tables = self.rights.iter().filter(|(right, table)| counts(right, table));
        let on_tables = on_tables.map(|(right, table)| format!("{right} on {table}"));
        let all: Vec<String> = on_schema.chain(on_tables).collect();
        (!all.is_empty()).then(|| format!("the role `{}` lacks {}", self.role, all.join(", ")))
    }
}

/// What the role lacks of what a ledger's process needs, with clean-ups.
pub(super) async fn lacking(connection: &mut PgConnection, prefix: &str) -> StoreResult<Lacking> {
    let schema = prefix.trim_end_matches('.').trim_matches('"');
    let place = if schema.is_empty() {
        "SELECT n.oid, n.nspname, s.place FROM unnest(current_schemas(false)) WITH ORDINALITY s(name, place) \
         JOIN pg_namespace n ON n.nspname = s.name WHERE n.nspname !~ '^pg_temp_' AND EXISTS \
         (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'credit_migrations') ORDER BY place LIMIT 1"
    } else {
        "SELECT n.oid, n.nspname, 1 FROM pg_namespace n WHERE n.nspname = $2"
    };
    let text = format!(
        "WITH home AS ({place}) SELECT current_user::text, $2::text, \
         (SELECT quote_ident(nspname) FROM home WHERE NOT has_schema_privilege(oid, 'USAGE')), \
         ARRAY(SELECT w.name || ' ' || c.relname \
          FROM home JOIN pg_class c ON c.relnamespace = home.oid AND c.relname = ANY($1) \
          CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) w(name) \
          WHERE NOT has_table_privilege(c.oid, w.name) AND (w.name = 'SELECT' OR c.relname <> 'credit_migrations') \
          AND (w.name <> 'UPDATE' OR c.relname <> ALL($3)) AND (w.name <> 'DELETE' OR c.relname = ANY($4)) \
          ORDER BY c.relname, w.name)"
    );
    // Safe: made of literals; values are bound.
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(tables(MIGRATIONS))
        .bind(schema)
        .bind(NEVER_UPDATED.as_slice())
        .bind(CLEANED.as_slice())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(during_read)?;
    let rights: Vec<String> = row.try_get(3).map_err(during_read)?;
    let pair = |pair: &String| {
        pair.split_once(' ')
            .map(|(right, table)| (right.into(), table.into()))
    };
    Ok(Lacking {
        role: row.try_get(0).map_err(during_read)?,
        schema: row.try_get(2).map_err(during_read)?,
        rights: rights.iter().filter_map(pair).collect(),
    })
}
