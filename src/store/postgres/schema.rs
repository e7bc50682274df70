//! Migrations on PostgreSQL: all of them in one transaction, under a lock that two processes can't both hold.

use super::{during_read, during_write};
use crate::store::StoreResult;
use crate::store::migrations::{Applied, Migration, check as check_history, outstanding};
use sqlx::{AssertSqlSafe, PgConnection, Row};

pub(super) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    name: "ledger",
    sql: include_str!("../../../migrations/postgres/0001_ledger.sql"),
}];

/// Any number, as long as every process uses the same: "credits" in ASCII.
const LOCK: i64 = 0x63_7265_6469_7473;

/// Makes or updates the tables; where a schema is named, that too.
pub(super) async fn migrate(
    connection: &mut PgConnection,
    schema: Option<&str>,
    prefix: &str,
) -> StoreResult<()> {
    let mut script = format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK});");
    if let Some(schema) = schema {
        script.push_str(&format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\";"));
    }
    script.push_str(&format!(
        "CREATE TABLE IF NOT EXISTS {prefix}credit_migrations (version bigint PRIMARY KEY, name text NOT NULL, \
         checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    ));
    run(connection, script).await?;
    let applied = applied(connection, prefix).await?;
    for migration in outstanding(MIGRATIONS, &applied)? {
        run(connection, migration.sql.replace("{s}", prefix)).await?;
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO {prefix}credit_migrations (version, name, checksum) VALUES ($1, $2, $3)"
        )))
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum())
        .execute(&mut *connection)
        .await
        .map_err(during_write)?;
    }
    run(connection, "COMMIT".into()).await
}

/// Checks that the tables are there and of this library's version.
pub(super) async fn check(connection: &mut PgConnection, prefix: &str) -> StoreResult<()> {
    let row = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{prefix}credit_migrations"))
        .fetch_one(&mut *connection)
        .await
        .map_err(during_read)?;
    let there: bool = row.try_get(0).map_err(during_read)?;
    let history = if there {
        Some(applied(connection, prefix).await?)
    } else {
        None
    };
    check_history(MIGRATIONS, history.as_deref())
}

async fn applied(connection: &mut PgConnection, prefix: &str) -> StoreResult<Vec<Applied>> {
    let text = format!("SELECT version, checksum FROM {prefix}credit_migrations ORDER BY version");
    let rows = sqlx::query(AssertSqlSafe(text))
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(during_read)?;
    let read = |row: &sqlx::postgres::PgRow| -> Result<_, sqlx::Error> {
        Ok(Applied {
            version: row.try_get(0)?,
            checksum: row.try_get(1)?,
        })
    };
    rows.iter().map(|row| read(row).map_err(during_read)).collect()
}

/// Several statements at once. Safe: made of literals and a checked schema name.
async fn run(connection: &mut PgConnection, script: String) -> StoreResult<()> {
    sqlx::raw_sql(AssertSqlSafe(script))
        .execute(connection)
        .await
        .map_err(during_write)?;
    Ok(())
}
