//! Which rights a role lacks: PostgreSQL says which table it may not use, and not for what.

use super::errors::{DENIED, during_read};
use super::schema::MIGRATIONS;
use super::{PostgresSettings, Statements, session_options};
use crate::store::migrations::tables;
use crate::store::{StoreError, StoreResult};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, Row};

/// Rows of these are written once.
const NEVER_UPDATED: [&str; 4] = [
    "credit_transactions",
    "credit_gifts",
    "credit_package_versions",
    "credit_kept_entries",
];

/// The error, with the names of the missing rights where it is about one.
pub(super) async fn named(
    settings: &PostgresSettings,
    statements: &Statements,
    error: StoreError,
) -> StoreError {
    match error {
        StoreError::Failed { problem, remedy } if remedy == DENIED => {
            // In a transaction that has failed nothing can be asked.
            let look = async {
                let mut connection = session_options(settings, false).connect().await.ok()?;
                lacking(&mut connection, &statements.prefix).await.ok()?
            };
            let found = tokio::time::timeout(settings.connect_timeout, look).await;
            let problem = match found {
                Ok(Some(lacking)) => format!("{problem}: {lacking}"),
                _ => problem,
            };
            StoreError::Failed { problem, remedy }
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
            let look = async {
                let mut connection = session_options(settings, false).connect().await.ok()?;
                lacking_for_migrating(&mut connection, statements).await.ok()
            };
            let found = tokio::time::timeout(settings.connect_timeout, look).await;
            let problem = match found {
                Ok(Some(lacking)) => format!("{problem}: {lacking}"),
                _ => problem,
            };
            StoreError::Failed { problem, remedy }
        }
        other => other,
    }
}

async fn lacking_for_migrating(
    connection: &mut PgConnection,
    statements: &Statements,
) -> StoreResult<String> {
    let schema = statements.prefix.trim_end_matches('.').trim_matches('"');
    let text = "SELECT current_user::text, n.name, current_database()::text, s.oid IS NULL, \
         coalesce(has_schema_privilege(s.oid, 'CREATE'), has_database_privilege(current_database(), 'CREATE')) \
         FROM (SELECT coalesce(nullif($1, ''), current_schema()::text, 'public') AS name) n \
         LEFT JOIN pg_namespace s ON s.nspname = n.name";
    let row = sqlx::query(text)
        .bind(schema)
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(during_read)?;
    let word = |place: usize| row.try_get::<String, _>(place).map_err(during_read);
    let truth = |place: usize| row.try_get::<bool, _>(place).map_err(during_read);
    let (role, name, database) = (word(0)?, word(1)?, word(2)?);
    Ok(match (truth(3)?, truth(4)?) {
        (_, true) => format!("the role `{role}` does not own the tables; migrate as the role that made them"),
        (true, false) => {
            format!(
                "the role `{role}` lacks CREATE on database {database}; have the schema `{name}` made for it"
            )
        }
        (false, false) => format!("the role `{role}` lacks CREATE on schema {name}"),
    })
}

/// What the role lacks of what a ledger's process needs, but for clean-ups; `None` where it lacks nothing.
pub(super) async fn lacking(connection: &mut PgConnection, prefix: &str) -> StoreResult<Option<String>> {
    let schema = prefix.trim_end_matches('.').trim_matches('"');
    let place = if schema.is_empty() {
        "SELECT n.oid, n.nspname, s.place FROM unnest(current_schemas(false)) WITH ORDINALITY s(name, place) \
         JOIN pg_namespace n ON n.nspname = s.name WHERE n.nspname !~ '^pg_temp_' AND EXISTS \
         (SELECT 1 FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'credit_migrations') ORDER BY place LIMIT 1"
    } else {
        "SELECT n.oid, n.nspname, 1 FROM pg_namespace n WHERE n.nspname = $2"
    };
    let text = format!(
        "WITH home AS ({place}) SELECT current_user::text, \
         (SELECT format('USAGE on schema %I', nspname) FROM home WHERE NOT has_schema_privilege(oid, 'USAGE')), \
         (SELECT string_agg(format('%s on %I', w.name, c.relname), ', ' ORDER BY c.relname, w.name) \
          FROM home JOIN pg_class c ON c.relnamespace = home.oid AND c.relname = ANY($1) \
          CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) w(name) \
          WHERE NOT has_table_privilege(c.oid, w.name) AND (w.name = 'SELECT' OR c.relname <> 'credit_migrations') \
          AND (w.name <> 'UPDATE' OR c.relname <> ALL($3))), $2::text"
    );
    // Safe: made of literals; values are bound.
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(tables(MIGRATIONS))
        .bind(schema)
        .bind(NEVER_UPDATED.as_slice())
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(during_read)?;
    let role: String = row.try_get(0).map_err(during_read)?;
    let on_schema: Option<String> = row.try_get(1).map_err(during_read)?;
    let on_tables: Option<String> = row.try_get(2).map_err(during_read)?;
    let lacking: Vec<String> = [on_schema, on_tables].into_iter().flatten().collect();
    if lacking.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("the role `{role}` lacks {}", lacking.join(", "))))
}
