//! Migrations on PostgreSQL: all of them in one transaction, under a lock that two processes can't both hold.

use super::{during_read, during_write, rights};
use crate::inspect::Problem;
use crate::ledger::Timestamp;
use crate::store::migrations::{
    self, Applied, Migration, check as check_history, check_room, objects, others_table, outstanding, tables,
};
use crate::store::{Inspected, StoreError, StoreResult};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

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
        version: 5,
        name: "anchors",
        sql: include_str!("../../../migrations/postgres/0005_anchors.sql"),
    },
    Migration {
        version: 6,
        name: "lots",
        sql: include_str!("../../../migrations/postgres/0006_lots.sql"),
    },
    Migration {
        version: 7,
        name: "search_path",
        sql: include_str!("../../../migrations/postgres/0007_search_path.sql"),
    },
];

const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS {s}credit_migrations (version bigint PRIMARY KEY, name text NOT NULL, \
     checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT CURRENT_TIMESTAMP);";

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
    if schema.is_none() && !has_place(connection).await? {
        // Tables would become temporary ones.
        return Err(StoreError::Failed {
            problem: "the role's search_path names no schema that is there and that it may use".into(),
            remedy: "name the schema of the tables with `schema`",
        });
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
    script.push_str(&CREATE_HISTORY.replace("{s}", prefix));
    let (applied, present) = state(connection, prefix).await?;
    check_room(MIGRATIONS, &applied, &present)?;
    run(connection, script).await?;
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

/// Whether the search path leads to a schema in which tables stay.
async fn has_place(connection: &mut PgConnection) -> StoreResult<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM unnest(current_schemas(false)) s(name) WHERE name !~ '^pg_temp_')",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
    .map_err(during_read)
}

/// Checks that the tables are there and of this library's version.
pub(super) async fn check(connection: &mut PgConnection, prefix: &str) -> StoreResult<()> {
    let (history, present) = state(connection, prefix).await?;
    check_history(MIGRATIONS, &history, &present)
}

/// What was applied, and which of the tables are there. A table of the history's name that is somebody else's is an error.
async fn state(connection: &mut PgConnection, prefix: &str) -> StoreResult<(Vec<Applied>, BTreeSet<String>)> {
    const PRESENT: &str = "SELECT t.name, (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid \
             AND (a.attname, a.atttypid) IN (('version', 'int8'::regtype), ('checksum', 'text'::regtype))) \
         FROM unnest($2::text[]) t(name) JOIN pg_class c ON c.oid = to_regclass($1 || t.name) \
         WHERE c.relpersistence <> 't'";
    let rows = sqlx::query(PRESENT)
        .bind(prefix)
        .bind(tables(MIGRATIONS))
        .persistent(false)
        .fetch_all(&mut *connection)
        .await
        .map_err(during_read)?;
    let mut history = Vec::new();
    let mut present = BTreeSet::new();
    for row in rows {
        let name: String = row.try_get(0).map_err(during_read)?;
        let columns: i64 = row.try_get(1).map_err(during_read)?;
        if name == "credit_migrations" {
            if columns != 2 {
                return Err(others_table(&name));
            }
            history = applied(connection, prefix).await?;
        }
        present.insert(name);
    }
    Ok((history, present))
}

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('server_version_num')::int8, \
     (extract(epoch FROM clock_timestamp()) * 1000000)::int8, current_setting('fsync'), \
     current_setting('full_page_writes'), current_setting('synchronous_commit'), current_setting('server_encoding'), \
     pg_is_in_recovery(), current_setting('transaction_read_only')";

/// What the catalogue says of the objects in the schema `$1`, in words that do not name it: a kind, a name and the facts.
/// Constraints of NOT NULL are told by the columns: PostgreSQL 18 lists them as constraints too. What [`is_harm`] is about is
/// there only where somebody has made it.
const OBJECTS: &str = "WITH here AS (SELECT c.oid, c.relname, c.relkind, c.relrowsecurity FROM pg_class c \
         WHERE c.relnamespace = $1::int8::oid AND c.relname LIKE 'credit\\_%'), tables AS (SELECT * FROM here WHERE relkind IN ('r', 'p')) \
     SELECT 'column', t.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull \
         || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '') || a.attidentity::text FROM tables t \
         JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum \
     UNION ALL SELECT 'constraint', coalesce(t.relname, y.typname) || '.' || o.conname, \
         pg_get_constraintdef(o.oid) || ' ' || o.convalidated FROM pg_constraint o \
         LEFT JOIN tables t ON t.oid = o.conrelid LEFT JOIN pg_type y ON y.oid = o.contypid \
         WHERE o.connamespace = $1::int8::oid AND o.contype IN ('c', 'f', 'p', 'u', 'x') \
         AND (t.oid IS NOT NULL OR y.typname LIKE 'credit\\_%') \
     UNION ALL SELECT 'domain', y.typname, format_type(y.typbasetype, y.typtypmod) || ' ' || y.typnotnull FROM pg_type y \
         WHERE y.typnamespace = $1::int8::oid AND y.typtype = 'd' AND y.typname LIKE 'credit\\_%' \
     UNION ALL SELECT 'index', c.relname, pg_get_indexdef(c.oid) || ' ' || (i.indisvalid AND i.indisready) FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indexrelid JOIN tables t ON t.oid = i.indrelid \
     UNION ALL SELECT 'trigger', t.relname || '.' || g.tgname, pg_get_triggerdef(g.oid) || ' ' \
         || (g.tgenabled IN ('O', 'A')) FROM pg_trigger g JOIN tables t ON t.oid = g.tgrelid WHERE NOT g.tgisinternal \
     UNION ALL SELECT 'rule', t.relname || '.' || r.rulename, r.ev_enabled::text FROM pg_rewrite r \
         JOIN tables t ON t.oid = r.ev_class \
     UNION ALL SELECT 'row security', relname, 'on' FROM tables WHERE relrowsecurity \
     UNION ALL SELECT 'unlogged table', c.relname, 'lost with a crash' FROM pg_class c JOIN tables t ON t.oid = c.oid \
         WHERE c.relpersistence = 'u' \
     UNION ALL SELECT 'inheritance', c.relname, 'of ' || p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         JOIN pg_class p ON p.oid = i.inhparent WHERE i.inhrelid IN (SELECT oid FROM tables) OR i.inhparent IN (SELECT oid FROM tables) \
     UNION ALL SELECT 'setting', 'session_replication_role', 'of ' || CASE WHEN s.setrole = 0 THEN 'every role' \
         ELSE 'role ' || pg_get_userbyid(s.setrole) END FROM pg_db_role_setting s, unnest(s.setconfig) c(text) \
         WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database())) \
         AND c.text ~* '^session_replication_role=' AND c.text !~* '=origin$' \
     UNION ALL SELECT 'setting', 'session_replication_role', 'of this session' \
         WHERE current_setting('session_replication_role') <> 'origin' \
     UNION ALL SELECT 'function', p.proname, p.prosrc || ' ' || p.prosecdef || p.provolatile::text || p.proisstrict \
         || coalesce(p.proconfig::text, '') FROM pg_proc p WHERE p.pronamespace = $1::int8::oid AND p.proname LIKE 'credit\\_%'";

/// Something of the schema: its kind, its name, and what it is.
type Object = (String, String, String);

/// The schema against the one that the migrations make, as this server shows it: they are run once more, for temporary
/// tables, in a transaction that is never committed. Where that is not allowed (a replica, a role that may not make temporary
/// tables), only that triggers and indexes are there and in use is told. The connection is to be closed.
pub(super) async fn differences(connection: &mut PgConnection, prefix: &str) -> StoreResult<Vec<String>> {
    let run = async |connection: &mut PgConnection, text: &'static str| {
        let done = sqlx::raw_sql(text).execute(connection).await;
        done.map(drop).map_err(during_read)
    };
    run(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    let namespace = "SELECT n.oid::int8, n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = to_regclass($1) AND (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid \
         AND a.attname IN ('version', 'name', 'checksum')) = 3";
    let row = sqlx::query(namespace)
        .bind(format!("{prefix}credit_migrations"))
        .persistent(false)
        .fetch_optional(&mut *connection)
        .await
        .map_err(during_read)?;
    let Some(row) = row else {
        // Whoever asks for the tables is told that there are none, or that they are somebody else's.
        return Ok(Vec::new());
    };
    let schema_of = |row: &sqlx::postgres::PgRow| -> StoreResult<(i64, String)> {
        Ok((
            row.try_get(0).map_err(during_read)?,
            row.try_get(1).map_err(during_read)?,
        ))
    };
    let mut found = history_differences(connection, prefix).await?;
    // From here on names are shown with their schema, which is then taken off.
    run(connection, "SET LOCAL search_path = pg_catalog").await?;
    let (schema, name) = schema_of(&row)?;
    let there = objects_in(connection, schema, &name, prefix).await?;
    let texts = MIGRATIONS.iter().map(|migration| migration.sql);
    let scratch: String = [CREATE_HISTORY]
        .into_iter()
        .chain(texts)
        .map(|text| text.replace("{s}", "pg_temp."))
        .collect();
    let made = sqlx::raw_sql(AssertSqlSafe(scratch))
        .execute(&mut *connection)
        .await;
    if made.is_err() {
        found.extend(missing(&there));
        found.extend(
            there
                .iter()
                .filter(|(kind, ..)| never_ours(kind))
                .map(none_of_ours),
        );
        return Ok(found);
    }
    let temporary = "SELECT oid::int8, nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()";
    let row = sqlx::query(temporary)
        .persistent(false)
        .fetch_one(&mut *connection)
        .await
        .map_err(during_read)?;
    let (schema, name) = schema_of(&row)?;
    let mut expected = objects_in(connection, schema, &name, "pg_temp.").await?;
    expected.retain(|(kind, ..)| !never_ours(kind));
    found.extend(compare(&expected, &there));
    Ok(found)
}

async fn history_differences(connection: &mut PgConnection, prefix: &str) -> StoreResult<Vec<String>> {
    let rows: Vec<(i64, String, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT version, name, checksum FROM {prefix}credit_migrations"
    )))
    .persistent(false)
    .fetch_all(connection)
    .await
    .map_err(during_read)?;
    Ok(migrations::history_differences(MIGRATIONS, &rows))
}

/// The objects of a schema, without the schema's name.
async fn objects_in(
    connection: &mut PgConnection,
    schema: i64,
    name: &str,
    prefix: &str,
) -> StoreResult<Vec<Object>> {
    let rows = sqlx::query(OBJECTS)
        .bind(schema)
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(during_read)?;
    let quoted = format!("\"{}\".", name.replace('"', "\"\""));
    let bare = format!("{name}.");
    let read = |row: &sqlx::postgres::PgRow| -> Result<Object, sqlx::Error> {
        let (kind, name, facts): (String, String, String) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let mut facts = facts.replace(&quoted, "").replace(&bare, "");
        if !prefix.is_empty() {
            facts = facts.replace(prefix, "");
        }
        Ok((kind, name, facts))
    };
    rows.iter().map(|row| read(row).map_err(during_read)).collect()
}

/// What is missing of the indexes and triggers that migrations name.
fn missing(there: &[Object]) -> Vec<String> {
    let is_used = |kind: &str, name: &str| {
        there.iter().any(|(other, found, facts)| {
            other == kind && found.rsplit('.').next() == Some(name) && facts.ends_with(" true")
        })
    };
    objects(MIGRATIONS)
        .into_iter()
        .filter(|(kind, name)| !is_used(kind, name))
        .map(|(kind, name)| format!("the {kind} {name} is missing, or can't be used"))
        .collect()
}

fn compare(expected: &[Object], there: &[Object]) -> Vec<String> {
    let keyed = |objects: &[Object]| -> BTreeMap<(String, String), String> {
        let pairs = objects.iter().cloned();
        pairs.map(|(kind, name, facts)| ((kind, name), facts)).collect()
    };
    let (expected, there) = (keyed(expected), keyed(there));
    let mut found = Vec::new();
    for ((kind, name), made) in &expected {
        match there.get(&(kind.clone(), name.clone())) {
            None => found.push(format!("the {kind} {name} is missing")),
            Some(facts) if facts != made => found.push(format!(
                "the {kind} {name} is not what the migrations make, or is not in use: {facts}"
            )),
            Some(_) => {}
        }
    }
    for ((kind, name), facts) in there.iter().filter(|(key, _)| !expected.contains_key(*key)) {
        if is_harm(kind, facts) {
            found.push(none_of_ours(&(kind.clone(), name.clone(), facts.clone())));
        }
    }
    found
}

/// Kinds of what no migration makes.
fn never_ours(kind: &str) -> bool {
    ["rule", "row security", "unlogged table", "inheritance", "setting"].contains(&kind)
}

/// Whether what somebody has added to the tables can change, hide or refuse rows. Other indexes, columns that need no
/// value, and functions are the host's own affair.
fn is_harm(kind: &str, facts: &str) -> bool {
    match kind {
        "trigger" | "constraint" => true,
        "index" => facts.starts_with("CREATE UNIQUE"),
        "column" => facts.ends_with(" true"),
        _ => never_ours(kind),
    }
}

fn none_of_ours((kind, name, facts): &Object) -> String {
    match kind.as_str() {
        "inheritance" | "setting" | "unlogged table" => {
            format!("the {kind} {name} ({facts}) is none of the library's")
        }
        _ => format!("the {kind} {name} is none of the library's"),
    }
}

/// What this database is, and how it could lose what it has acknowledged.
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
    if let Some(lacking) = rights::lacking(connection, prefix).await?.to_run() {
        risks.push(Problem::new(lacking, super::errors::DENIED));
    }
    Ok(Inspected {
        database: format!("PostgreSQL {}", setting(0)?),
        time: Some(Timestamp::from_micros(number(2)?)),
        missing: Vec::new(),
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
