//! Migrations on PostgreSQL: all of them in one transaction, under a lock that two processes can't both hold.

use super::{during_read, during_write, rights};
use crate::inspect::Problem;
use crate::ledger::Timestamp;
use crate::store::migrations::{
    Applied, Migration, check as check_history, lost_table, objects, outstanding, tables,
};
use crate::store::{Inspected, StoreResult};
use sqlx::{AssertSqlSafe, PgConnection, Row};

pub(super) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "ledger",
        sql: include_str!("../../../migrations/postgres/0001_ledger.sql"),
    },
    Migration {
        version: 2,
        name: "orders",
        sql: include_str!("../../../migrations/postgres/0002_orders.sql"),
    },
    Migration {
        version: 3,
        name: "retention",
        sql: include_str!("../../../migrations/postgres/0003_retention.sql"),
    },
    Migration {
        version: 4,
        name: "payments",
        sql: include_str!("../../../migrations/postgres/0004_payments.sql"),
    },
    Migration {
        version: 7,
        name: "search_path",
        sql: include_str!("../../../migrations/postgres/0007_search_path.sql"),
    },
];

/// PostgreSQL 14, as `server_version_num` says it.
const VERSION_MIN: i64 = 140_000;
/// Any number, as long as every process uses the same: "credits" in ASCII.
const LOCK: i64 = 0x63_7265_6469_7473;

/// The schema of the tables, where the search path says it. A temporary table does not count.
pub(super) const IN_USE: &str = "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = to_regclass('credit_migrations') AND c.relpersistence <> 't'";

/// Makes or updates the tables; where a schema is named, that too. What is there needs no right to make it: the schema may
/// be somebody else's, and where nothing is to be done any role may ask.
pub(super) async fn migrate(
    connection: &mut PgConnection,
    schema: Option<&str>,
    prefix: &str,
) -> StoreResult<()> {
    if is_there(connection, schema).await? && check(connection, prefix).await.is_ok() {
        return Ok(());
    }
    run(
        connection,
        format!(
            "BEGIN; SELECT {}; SELECT pg_advisory_xact_lock({LOCK})",
            super::pin_path(true)
        ),
    )
    .await?;
    let mut script = String::new();
    if let Some(schema) = schema
        && !is_there(connection, Some(schema)).await?
    {
        script.push_str(&format!("CREATE SCHEMA \"{schema}\";"));
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

/// Whether there is such a schema; where none is named there is one.
async fn is_there(connection: &mut PgConnection, schema: Option<&str>) -> StoreResult<bool> {
    let Some(schema) = schema else {
        return Ok(true);
    };
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1)")
        .bind(schema)
        .persistent(false)
        .fetch_one(connection)
        .await
        .map_err(during_read)
}

/// Checks that the tables are there and of this library's version.
pub(super) async fn check(connection: &mut PgConnection, prefix: &str) -> StoreResult<()> {
    let row = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{prefix}credit_migrations"))
        .persistent(false)
        .fetch_one(&mut *connection)
        .await
        .map_err(during_read)?;
    let there: bool = row.try_get(0).map_err(during_read)?;
    let history = if there {
        Some(applied(connection, prefix).await?)
    } else {
        None
    };
    check_history(MIGRATIONS, history.as_deref())?;
    let lost: Option<String> = sqlx::query_scalar(
        "SELECT t.name FROM unnest($2::text[]) t(name) WHERE to_regclass($1 || t.name) IS NULL ORDER BY 1 LIMIT 1",
    )
    .bind(prefix)
    .bind(tables(MIGRATIONS))
    .persistent(false)
    .fetch_optional(&mut *connection)
    .await
    .map_err(during_read)?;
    lost.map_or(Ok(()), |name| Err(lost_table(&name)))
}

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::int8, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::int8, current_setting('fsync'), \
     current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('server_encoding'), \
     pg_is_in_recovery(), current_setting('transaction_read_only')";

/// Indexes that are there and valid, triggers that are there and fire, of the ledger's tables.
const OBJECTS: &str = "SELECT 'index ' || c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_class t ON t.oid = i.indrelid \
         WHERE i.indisvalid AND t.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1)) \
     UNION ALL SELECT 'trigger ' || g.tgname FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid \
         WHERE g.tgenabled IN ('O', 'A') \
         AND t.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass($1))";

/// What this database is, which indexes and triggers it lacks, and how it could lose what it has acknowledged.
pub(super) async fn inspect(connection: &mut PgConnection, prefix: &str) -> StoreResult<Inspected> {
    let row = sqlx::query(SETTINGS)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await
        .map_err(during_read)?;
    let setting = |place: usize| row.try_get::<String, _>(place).map_err(during_read);
    let number = |place: usize| row.try_get::<i64, _>(place).map_err(during_read);
    let mut risks = Vec::new();
    if row.try_get(7).map_err(during_read)? {
        risks.push(Problem::new(
            "this server is a standby: it takes no writes",
            "connect to the primary",
        ));
    } else if setting(8)? == "on" {
        risks.push(Problem::new(
            "transactions are read-only here: nothing can be written",
            "set default_transaction_read_only = off for the server, the database and the role",
        ));
    }
    let encoding = setting(6)?;
    if encoding != "UTF8" {
        risks.push(Problem::new(
            format!("the database's encoding is {encoding}: it can't keep every text"),
            "create the database with ENCODING 'UTF8'",
        ));
    }
    if number(1)? < VERSION_MIN {
        risks.push(Problem::new(
            format!(
                "PostgreSQL {} is older than 14, the oldest that is tried",
                setting(0)?
            ),
            "upgrade PostgreSQL",
        ));
    }
    for (place, name, effect) in [
        (3, "fsync", "a crash of the machine can destroy the database"),
        (4, "full_page_writes", "a crash of the machine can destroy pages"),
        (
            5,
            "synchronous_commit",
            "a crash can lose commands that were acknowledged",
        ),
    ] {
        if setting(place)? == "off" {
            risks.push(Problem::new(
                format!("{name} is off: {effect}"),
                format!("set {name} = on"),
            ));
        }
    }
    let there: Vec<String> = sqlx::query_scalar(OBJECTS)
        .bind(format!("{prefix}credit_migrations"))
        .persistent(false)
        .fetch_all(&mut *connection)
        .await
        .map_err(during_read)?;
    if !there.is_empty()
        && let Some(lacking) = rights::lacking(connection, prefix).await?
    {
        risks.push(Problem::new(lacking, super::errors::DENIED));
    }
    let missing = objects(MIGRATIONS)
        .into_iter()
        .map(|(kind, name)| format!("{kind} {name}"))
        .filter(|wanted| !there.contains(wanted));
    Ok(Inspected {
        database: format!("PostgreSQL {}", setting(0)?),
        time: Some(Timestamp::from_micros(number(2)?)),
        missing: missing.map(|name| format!("the {name}")).collect(),
        risks,
    })
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
