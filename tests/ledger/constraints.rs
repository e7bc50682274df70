//! What must never be false is refused by the database itself, whoever writes: every CHECK, domain and guarding trigger
//! of the migrations, by a row that breaks it and nothing else. The rows are the same on both databases wherever the
//! columns are, and the last lines of each test show that nothing the migrations declare was left out.

use crate::database::{Database, Kind};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::collections::BTreeSet;

/// One past the largest amount.
const TOO_MUCH: i64 = 1 << 53;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    Postgres,
    Sqlite,
}

#[derive(Debug, Clone)]
enum Value {
    Null,
    Int(i64),
    Text(String),
    /// So many bytes.
    Bytes(usize),
    Id(u8),
    /// Seconds since 1970.
    Time(i64),
    Bool(bool),
    /// SQL as it is.
    Sql(&'static str),
}
use Value::{Bool, Bytes, Id, Int, Null, Sql, Time};

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn long(bytes: usize) -> Value {
    Value::Text("x".repeat(bytes))
}

impl Value {
    fn sql(&self, on: On) -> String {
        match (self, on) {
            (Null, _) => "NULL".into(),
            (Int(n), _) => n.to_string(),
            (Value::Text(text), _) => format!("'{text}'"),
            (Bytes(n), On::Postgres) => format!("decode('{}', 'hex')", "ab".repeat(*n)),
            (Bytes(n), On::Sqlite) => format!("x'{}'", "ab".repeat(*n)),
            (Id(n), On::Postgres) => format!("'{n:032x}'::uuid"),
            (Id(n), On::Sqlite) => format!("x'{n:032x}'"),
            (Time(t), On::Postgres) => format!("to_timestamp({t})"),
            (Time(t), On::Sqlite) => (t * 1_000_000).to_string(),
            (Bool(b), On::Postgres) => b.to_string(),
            (Bool(b), On::Sqlite) => i32::from(*b).to_string(),
            (Sql(sql), _) => (*sql).into(),
        }
    }
}

/// What a column's values are held to, as PostgreSQL's domains are called.
type Domain = &'static str;

struct Table {
    name: &'static str,
    /// Name, domain ("" for none), a value that is fine, and the only database that has the column.
    columns: Vec<(&'static str, Domain, Value, Option<On>)>,
    /// Whether rows can be changed at all.
    changes: bool,
}

/// What breaks a table's own rule: the values that differ from the table's row, PostgreSQL's name for the rule and a part
/// of SQLite's text of it; "" where the database has no such rule.
struct Broken {
    table: &'static str,
    values: Vec<(&'static str, Value)>,
    postgres: &'static str,
    sqlite: &'static str,
}

fn tables() -> Vec<Table> {
    let both = |name, domain, value| (name, domain, value, None);
    let only = |on, name, domain, value| (name, domain, value, Some(on));
    let table = |name, columns| Table {
        name,
        columns,
        changes: name == "credit_archives" || !KEPT_TABLES.contains(&name),
    };
    let (postgres, sqlite) = (On::Postgres, On::Sqlite);
    vec![
        table(
            "credit_accounts",
            vec![
                both("user_id", "", Id(1)),
                both("seq", "positive", Int(1)),
                both("hash", "hash", Bytes(32)),
                both("available", "balance", Int(-5)),
                both("held", "amount", Int(0)),
                both("debt", "amount", Int(5)),
                both("borrowed", "amount", Int(5)),
                both("credit_limit", "amount", Int(5)),
                both("granted", "amount", Int(0)),
                both("spent", "amount", Int(5)),
                both("created_at", "", Time(1)),
                both("updated_at", "", Time(1)),
            ],
        ),
        table(
            "credit_lots",
            vec![
                both("user_id", "", Id(1)),
                both("lot_id", "", Id(2)),
                both("source", "source", text("purchase")),
                both("amount", "positive", Int(100)),
                both("remaining", "amount", Int(90)),
                both("expired", "amount", Int(10)),
                both("clawed", "amount", Int(0)),
                both("claim", "amount", Int(100)),
                both("open", "", Bool(true)),
                both("priority", "", Int(0)),
                both("cost_minor", "amount", Int(990)),
                both("cost_currency", "currency", text("CNY")),
                both("reference", "text", long(255)),
                both("origin", "", Id(3)),
                both("created_at", "", Time(1)),
            ],
        ),
        table(
            "credit_consumption_logs",
            vec![
                both("consumption_id", "", Id(4)),
                both("user_id", "", Id(1)),
                both("status", "status", text("confirmed")),
                both("amount", "amount", Int(50)),
                both("captured", "amount", Int(30)),
                both("reversed", "amount", Int(29)),
                both("borrowed", "amount", Int(0)),
                only(
                    postgres,
                    "lot_ids",
                    "",
                    Sql("ARRAY[gen_random_uuid(), gen_random_uuid()]"),
                ),
                only(postgres, "lot_amounts", "", Sql("ARRAY[1, 2]::bigint[]")),
                only(sqlite, "pins", "", text("[]")),
                both("feature", "text", long(255)),
                both("reference", "text", long(255)),
                both("metadata", "document", long(16_384)),
                both("quote", "document", long(16_384)),
                both("used", "document", long(16_384)),
                both("created_at", "", Time(1)),
                both("expires_at", "", Time(2)),
                both("settled_at", "", Time(2)),
                both("updated_at", "", Time(2)),
            ],
        ),
        table(
            "credit_transactions",
            vec![
                both("user_id", "", Id(1)),
                both("seq", "positive", Int(1)),
                both("kind", "kind", text("grant")),
                both("change", "", Int(1)),
                both("held_change", "", Int(0)),
                both("available", "", Int(1)),
                both("held", "amount", Int(0)),
                both("counter_account", "", text("issued.purchase")),
                both("consumption_id", "", Id(4)),
                both("lot_id", "", Id(2)),
                both("reference", "text", long(255)),
                both("idempotency_key", "key", long(255)),
                both("request_hash", "hash", Bytes(32)),
                both("data", "", text("{}")),
                both("created_at", "", Time(1)),
                both("hash", "hash", Bytes(32)),
            ],
        ),
        table(
            "credit_gifts",
            vec![
                both("user_id", "", Id(1)),
                both("gift_id", "", Id(2)),
                both("amount", "positive", Int(1)),
                both("reason", "key", long(255)),
                both("operator", "text", long(255)),
                both("created_at", "", Time(1)),
            ],
        ),
        table(
            "credit_packages",
            vec![
                both("package_id", "", Id(5)),
                both("version", "", Int(1)),
                both("name", "", text("n")),
                only(postgres, "price", "", Int(0)),
                only(sqlite, "price_minor", "", Int(0)),
                both("currency", "currency", text("CNY")),
                both("credits", "positive", Int(1)),
                both("bonus_credits", "amount", Int(0)),
                both("validity_days", "", Int(1)),
                both("recommended", "", Bool(false)),
                both("active", "", Bool(true)),
                both("purchase_limit", "", Int(1)),
                both("created_at", "", Time(1)),
                both("updated_at", "", Time(1)),
            ],
        ),
        table(
            "credit_package_versions",
            vec![
                both("package_id", "", Id(5)),
                both("version", "", Int(1)),
                both("name", "", text("n")),
                both("description", "", text("")),
                only(postgres, "price", "", Int(0)),
                only(sqlite, "price_minor", "", Int(0)),
                both("currency", "currency", text("CNY")),
                both("credits", "positive", Int(1)),
                both("bonus_credits", "amount", Int(0)),
                both("sort_order", "", Int(0)),
                both("recommended", "", Bool(false)),
                both("active", "", Bool(true)),
                both("created_at", "", Time(1)),
                both("updated_at", "", Time(1)),
            ],
        ),
        table(
            "credit_pricing",
            vec![
                both("pricing_id", "", Id(6)),
                both("feature", "key", long(255)),
                both("version", "", Int(1)),
                both("card", "", text("{}")),
                both("user_id", "", Id(1)),
                both("effective_from", "", Time(1)),
                both("effective_until", "", Time(2)),
                both("created_at", "", Time(1)),
                both("updated_at", "", Time(1)),
            ],
        ),
        table(
            "credit_orders",
            vec![
                both("order_no", "order_no", text(ORDER_NO)),
                both("user_id", "", Id(1)),
                both("status", "order_status", text("paid")),
                both("channel", "key", long(255)),
                both("package_id", "", Id(5)),
                both("price_minor", "amount", Int(990)),
                both("currency", "currency", text("CNY")),
                both("credits", "positive", Int(100)),
                both("bonus_credits", "amount", Int(10)),
                both("refunded_minor", "amount", Int(990)),
                both("transaction_id", "text", long(255)),
                both("lot_id", "", Id(2)),
                both("bonus_lot_id", "", Id(3)),
                both("data", "", text("{}")),
                both("created_at", "", Time(1)),
                both("expires_at", "", Time(2)),
                both("paid_at", "", Time(2)),
            ],
        ),
        table(
            "credit_payment_claims",
            vec![
                both("channel", "key", long(255)),
                both("transaction_id", "key", long(255)),
                both("order_no", "order_no", text(ORDER_NO)),
                both("user_id", "", Id(1)),
            ],
        ),
        table(
            "credit_checkpoints",
            vec![
                both("user_id", "", Id(9)),
                both("seq", "positive", Int(5)),
                both("hash", "hash", Bytes(32)),
                both("data", "", text("{}")),
                both("created_at", "", Time(1)),
            ],
        ),
        table(
            "credit_kept_entries",
            vec![
                both("user_id", "", Id(9)),
                both("seq", "positive", Int(1)),
                both("previous_hash", "hash", Bytes(32)),
            ],
        ),
        table(
            "credit_archives",
            vec![
                both("name", "", text("transactions-1")),
                both("kind", "", text("transactions")),
                both("older_than", "", Time(1)),
                both("lines", "", Int(1)),
                both("bytes", "", Int(1)),
                both("sha256", "hash", Bytes(32)),
                both("created_at", "", Time(2)),
                both("removed_at", "", Time(3)),
            ],
        ),
        table(
            "credit_anchors",
            vec![
                both("number", "", Int(1)),
                both("record", "", text("{}")),
                both("mark", "", text("")),
                both("created_at", "", Time(1)),
            ],
        ),
        table(
            "credit_anchor_leaves",
            vec![
                both("user_id", "", Id(1)),
                both("number", "", Int(1)),
                both("until", "", Int(2)),
                both("bucket", "", Int(65_535)),
                both("seq", "positive", Int(1)),
                both("hash", "hash", Bytes(32)),
                both("available", "balance", Int(-5)),
                both("held", "amount", Int(0)),
            ],
        ),
        table(
            "credit_anchor_groups",
            vec![
                both("group_no", "", Int(255)),
                both("root", "hash", Bytes(32)),
                both("buckets", "", Bytes(8_192)),
            ],
        ),
    ]
}

const ORDER_NO: &str = "0123456789abcdef0123456789abcdef";

/// Values that a domain does not take.
fn outside(domain: Domain) -> Vec<Value> {
    match domain {
        "amount" => vec![Int(-1), Int(TOO_MUCH), Int(i64::MAX)],
        "positive" => vec![Int(0), Int(-1), Int(TOO_MUCH)],
        "balance" => vec![Int(-TOO_MUCH), Int(TOO_MUCH)],
        "hash" => vec![Bytes(0), Bytes(31), Bytes(33)],
        "text" => vec![long(256), text(&"字".repeat(86))],
        "key" => vec![text(""), long(256), text(&"字".repeat(86))],
        "document" => vec![long(16_385)],
        "currency" => vec![text("cny"), text("CN"), text("CNYX"), text("")],
        "order_no" => vec![
            text(""),
            text(&ORDER_NO[1..]),
            text(&format!("{ORDER_NO}0")),
            text(&ORDER_NO.to_uppercase()),
            text(&ORDER_NO.replace('a', "g")),
        ],
        "source" | "status" | "order_status" | "kind" => vec![text("stolen"), text(""), text("PURCHASE")],
        _ => Vec::new(),
    }
}

/// A part of SQLite's text of a column's rule.
fn rule_in_sqlite(table: &str, column: &str, domain: Domain) -> String {
    match (table, column, domain) {
        ("credit_accounts", "borrowed", _) => "borrowed BETWEEN 0 AND debt".into(),
        ("credit_orders", "refunded_minor", _) => "refunded_minor BETWEEN 0 AND price_minor".into(),
        (_, "order_no", _) => "length(order_no) = 32 AND order_no NOT GLOB".into(),
        ("credit_orders", "status", _) => "status IN".into(),
        (_, "reversed", _) => "reversed BETWEEN 0 AND captured".into(),
        (.., "amount") => format!("{column} BETWEEN 0 AND 9007199254740991"),
        (.., "positive") => format!("{column} BETWEEN 1 AND 9007199254740991"),
        (.., "balance") => format!("{column} BETWEEN -9007199254740991 AND 9007199254740991"),
        (.., "hash") => format!("length({column}) = 32"),
        (.., "text") => format!("length(CAST({column} AS BLOB)) <= 255"),
        (.., "key") => format!("length(CAST({column} AS BLOB)) BETWEEN 1 AND 255"),
        (.., "document") => format!("length(CAST({column} AS BLOB)) <= 16384"),
        (.., "currency") => format!("{column} GLOB '[A-Z][A-Z][A-Z]'"),
        (.., "source" | "status" | "kind") => format!("CASE {column} WHEN"),
        _ => format!("length({column}) = 16"),
    }
}

/// Rules between columns, and of single ones that no other table shares.
fn broken() -> Vec<Broken> {
    let rule = |table, values: &[(&'static str, Value)], postgres, sqlite| Broken {
        table,
        values: values.to_vec(),
        postgres,
        sqlite,
    };
    let accounts = |values: &[_], sqlite| rule("credit_accounts", values, "credit_accounts_debt", sqlite);
    let lots = |values: &[_], sqlite| rule("credit_lots", values, "credit_lots_figures", sqlite);
    let holds = |values: &[_], sqlite| {
        rule(
            "credit_consumption_logs",
            values,
            "credit_consumption_logs_state",
            sqlite,
        )
    };
    let journal = |values: &[_]| {
        let name = "credit_transactions_key_and_request";
        rule(
            "credit_transactions",
            values,
            name,
            "(idempotency_key IS NULL) = (request_hash IS NULL)",
        )
    };
    let orders = |values: &[_], sqlite| rule("credit_orders", values, "credit_orders_state", sqlite);
    let order = |status, transaction: bool, lot: bool| {
        [
            ("status", text(status)),
            ("transaction_id", if transaction { text("4200") } else { Null }),
            ("lot_id", if lot { Id(2) } else { Null }),
            ("bonus_lot_id", Null),
        ]
    };
    let unpaid = "status NOT IN ('created', 'paying', 'closed')";
    let paid = "status NOT IN ('paid', 'partially_refunded')";
    let packages =
        |column, value, postgres, sqlite| rule("credit_packages", &[(column, value)], postgres, sqlite);
    let archives =
        |column, value, postgres, sqlite| rule("credit_archives", &[(column, value)], postgres, sqlite);
    let state = |status, captured, reversed, settled: bool| {
        [
            ("status", text(status)),
            ("captured", Int(captured)),
            ("reversed", Int(reversed)),
            ("settled_at", if settled { Time(2) } else { Null }),
        ]
    };
    let reversed = "reversed BETWEEN 0 AND captured";
    let settled = "(status = 'pending') = (settled_at IS NULL)";
    let nothing_captured = "status = 'confirmed' OR status = 'refunded' OR captured = 0";
    vec![
        accounts(&[("available", Int(-6))], "available >= -debt"),
        accounts(&[("borrowed", Int(6))], "borrowed BETWEEN 0 AND debt"),
        lots(&[("remaining", Int(91))], "remaining + expired <= amount"),
        lots(&[("expired", Int(11))], "remaining + expired <= amount"),
        lots(&[("claim", Int(101))], "claim <= amount"),
        lots(&[("open", Bool(false))], "open = (remaining > 0)"),
        lots(&[("remaining", Int(0))], "open = (remaining > 0)"),
        lots(
            &[("cost_minor", Null)],
            "(cost_minor IS NULL) = (cost_currency IS NULL)",
        ),
        lots(
            &[("cost_currency", Null)],
            "(cost_minor IS NULL) = (cost_currency IS NULL)",
        ),
        rule(
            "credit_lots",
            &[("priority", Int(-2_147_483_649))],
            "",
            "priority BETWEEN",
        ),
        holds(&state("pending", 0, 0, true), settled),
        holds(&state("confirmed", 30, 0, false), settled),
        holds(&state("expired", 0, 0, false), settled),
        holds(&state("pending", 1, 0, false), nothing_captured),
        holds(&state("expired", 1, 0, true), nothing_captured),
        holds(&state("expired", 0, 1, true), reversed),
        holds(&state("confirmed", 30, 31, true), reversed),
        holds(&state("confirmed", 0, 1, true), reversed),
        holds(&state("refunded", 30, 31, true), reversed),
        holds(
            &state("confirmed", 30, 30, true),
            "status <> 'confirmed' OR captured > reversed",
        ),
        holds(
            &state("refunded", 30, 29, true),
            "status <> 'refunded' OR captured = reversed",
        ),
        holds(&[("lot_amounts", Sql("ARRAY[1]::bigint[]"))], ""),
        holds(&[("lot_ids", Sql("ARRAY[]::uuid[]"))], ""),
        rule(
            "credit_consumption_logs",
            &[("pins", text("[["))],
            "",
            "json_valid(pins)",
        ),
        journal(&[("idempotency_key", Null)]),
        journal(&[("request_hash", Null)]),
        orders(
            &[("refunded_minor", Int(991))],
            "refunded_minor BETWEEN 0 AND price_minor",
        ),
        orders(&order("created", true, false), unpaid),
        orders(&order("paying", false, true), unpaid),
        orders(&order("closed", true, true), unpaid),
        orders(&order("paid", false, true), paid),
        orders(&order("partially_refunded", true, false), paid),
        orders(
            &[("status", text("refunding")), ("lot_id", Null)],
            "bonus_lot_id IS NULL OR lot_id IS NOT NULL",
        ),
        rule("credit_orders", &[("data", text("{"))], "", "json_valid(data)"),
        packages("version", Int(0), "credit_packages_version_check", "version >= 1"),
        packages("name", text(""), "credit_packages_name_check", "name <> ''"),
        packages("price", Int(-1), "credit_packages_price_check", ""),
        packages("price_minor", Int(-1), "", "price_minor >= 0"),
        packages(
            "validity_days",
            Int(0),
            "credit_packages_validity_days_check",
            "validity_days > 0",
        ),
        packages(
            "purchase_limit",
            Int(0),
            "credit_packages_purchase_limit_check",
            "purchase_limit > 0",
        ),
        packages("recommended", Int(2), "", "recommended IN (0, 1)"),
        packages("active", Int(2), "", "active IN (0, 1)"),
        rule(
            "credit_package_versions",
            &[("version", Int(0))],
            "credit_package_versions_version_check",
            "version >= 1",
        ),
        rule(
            "credit_pricing",
            &[("version", Int(0))],
            "credit_pricing_version_check",
            "version >= 1",
        ),
        rule(
            "credit_pricing",
            &[("effective_until", Time(1))],
            "credit_pricing_check",
            "effective_until > effective_from",
        ),
        rule("credit_pricing", &[("card", text("{"))], "", "json_valid(card)"),
        rule(
            "credit_checkpoints",
            &[("data", text("{"))],
            "",
            "json_valid(data)",
        ),
        archives("name", text(""), "credit_archives_name_check", "name <> ''"),
        archives("kind", text("orders"), "credit_archives_kind_check", "kind IN"),
        archives("lines", Int(0), "credit_archives_lines_check", "lines > 0"),
        archives("bytes", Int(0), "credit_archives_bytes_check", "bytes > 0"),
        rule(
            "credit_anchors",
            &[("number", Int(0))],
            "credit_anchors_number_check",
            "number >= 1",
        ),
        rule(
            "credit_anchor_leaves",
            &[("until", Int(1))],
            "credit_anchor_leaves_check",
            "until > number",
        ),
        rule(
            "credit_anchor_leaves",
            &[("bucket", Int(65_536))],
            "credit_anchor_leaves_bucket_check",
            "bucket BETWEEN 0 AND 65535",
        ),
        rule(
            "credit_anchor_groups",
            &[("group_no", Int(256))],
            "credit_anchor_groups_group_no_check",
            "group_no BETWEEN 0 AND 255",
        ),
        rule(
            "credit_anchor_groups",
            &[("buckets", Bytes(8_191))],
            "credit_anchor_groups_buckets_check",
            "length(buckets) = 8192",
        ),
    ]
}

/// Everything that must be refused on a database: a valid row first where one is changed, the statement, and the rule.
struct Refused {
    before: Option<String>,
    statement: String,
    rule: String,
}

fn insert(on: On, table: &Table, values: &[(&'static str, Value)]) -> String {
    let mut columns = table.columns.clone();
    columns.retain(|(.., only)| only.is_none_or(|only| only == on));
    for (name, value) in values {
        columns.iter_mut().find(|(column, ..)| column == name).unwrap().2 = value.clone();
    }
    let names: Vec<&str> = columns.iter().map(|(name, ..)| *name).collect();
    let values: Vec<String> = columns.iter().map(|(_, _, value, _)| value.sql(on)).collect();
    format!(
        "INSERT INTO {} ({}) VALUES ({})",
        table.name,
        names.join(", "),
        values.join(", ")
    )
}

fn all_refused(on: On) -> Vec<Refused> {
    let mut refused = Vec::new();
    let mut refuse = |table: &Table, values: &[(&'static str, Value)], rule: &str| {
        refused.push(Refused {
            before: None,
            statement: insert(on, table, values),
            rule: rule.into(),
        });
        if table.changes {
            let sets = values
                .iter()
                .map(|(name, value)| format!("{name} = {}", value.sql(on)));
            refused.push(Refused {
                before: Some(insert(on, table, &[])),
                statement: format!(
                    "UPDATE {} SET {}",
                    table.name,
                    sets.collect::<Vec<_>>().join(", ")
                ),
                rule: rule.into(),
            });
        }
    };
    let tables = tables();
    for table in &tables {
        for (column, domain, value, _) in &table.columns {
            for bad in outside(domain) {
                let rule = match on {
                    On::Postgres => format!("credit_ledger_{domain}_check"),
                    On::Sqlite => rule_in_sqlite(table.name, column, domain),
                };
                refuse(table, &[(column, bad)], &rule);
            }
            // PostgreSQL has a type for ids.
            if matches!((value, on), (Id(_), On::Sqlite)) {
                let rule = rule_in_sqlite(table.name, column, domain);
                for bytes in [15, 17] {
                    refuse(table, &[(column, Bytes(bytes))], &rule);
                }
            }
        }
    }
    for Broken {
        table,
        values,
        postgres,
        sqlite,
    } in broken()
    {
        let rule = if on == On::Postgres { postgres } else { sqlite };
        if !rule.is_empty() {
            let table = tables.iter().find(|t| t.name == table).unwrap();
            refuse(table, &values, rule);
        }
    }
    let catalogue = match on {
        On::Postgres => (
            "INSERT INTO credit_catalogue VALUES (false, 1)",
            "credit_catalogue_one_check",
        ),
        On::Sqlite => ("INSERT INTO credit_catalogue VALUES (2, 1)", "one = 1"),
    };
    let ledger = match on {
        On::Postgres => (
            "INSERT INTO credit_ledger VALUES (false, gen_random_uuid())",
            "credit_ledger_one_check",
        ),
        On::Sqlite => ("INSERT INTO credit_ledger VALUES (2, randomblob(16))", "one = 1"),
    };
    let name = (
        "UPDATE credit_ledger SET ledger_id = x'00'",
        "length(ledger_id) = 16",
    );
    let name = (on == On::Sqlite).then_some(name);
    for (statement, rule) in [catalogue, ledger].into_iter().chain(name) {
        refused.push(Refused {
            before: None,
            statement: statement.into(),
            rule: rule.into(),
        });
    }
    refused
}

/// A row of each table that nothing may happen to, and what is tried: the statement and the trigger's word.
const KEPT: [(&str, &str); 20] = [
    ("UPDATE credit_transactions SET data = 'x'", "UPDATE"),
    ("UPDATE credit_transactions SET seq = seq + 1", "UPDATE"),
    ("UPDATE credit_transactions SET updated_at = created_at", "UPDATE"),
    ("DELETE FROM credit_transactions", "DELETE"),
    ("DELETE FROM credit_transactions WHERE seq = 1", "DELETE"),
    ("UPDATE credit_package_versions SET name = 'x'", "UPDATE"),
    ("DELETE FROM credit_package_versions", "DELETE"),
    ("UPDATE credit_pricing SET card = '[]'", "UPDATE"),
    ("UPDATE credit_pricing SET feature = 'x'", "UPDATE"),
    ("UPDATE credit_pricing SET version = 2", "UPDATE"),
    (
        "UPDATE credit_pricing SET effective_from = created_at, effective_until = NULL, user_id = NULL",
        "UPDATE",
    ),
    ("UPDATE credit_pricing SET pricing_id = user_id", "UPDATE"),
    ("DELETE FROM credit_pricing", "DELETE"),
    ("UPDATE credit_checkpoints SET hash = hash", "UPDATE"),
    ("UPDATE credit_checkpoints SET seq = seq - 1", "UPDATE"),
    (
        "UPDATE credit_checkpoints SET user_id = user_id, seq = seq",
        "UPDATE",
    ),
    ("DELETE FROM credit_checkpoints", "DELETE"),
    ("UPDATE credit_kept_entries SET seq = seq + 1", "UPDATE"),
    ("DELETE FROM credit_kept_entries", "DELETE"),
    ("DELETE FROM credit_archives", "DELETE"),
];

const KEPT_TABLES: [&str; 6] = [
    "credit_transactions",
    "credit_package_versions",
    "credit_pricing",
    "credit_checkpoints",
    "credit_kept_entries",
    "credit_archives",
];

fn kept_rows(on: On) -> Vec<String> {
    let tables = tables();
    let kept = tables.iter().filter(|table| KEPT_TABLES.contains(&table.name));
    kept.map(|table| insert(on, table, &[])).collect()
}

async fn in_postgres(connection: &mut PgConnection, sql: &str) -> Result<(), (String, String, String)> {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) => Err((
            error.code().unwrap_or_default().into_owned(),
            error.constraint().unwrap_or_default().to_owned(),
            error.message().to_owned(),
        )),
        Err(error) => panic!("{sql}: {error}"),
    }
}

async fn strings(connection: &mut PgConnection, sql: &'static str) -> BTreeSet<String> {
    let found = sqlx::query_scalar::<_, String>(sql).fetch_all(connection).await;
    found.unwrap().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_never_be_false_is_refused_in_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    database.ledger().await.close().await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let c = &mut connection;
    for table in tables() {
        let fine = insert(On::Postgres, &table, &[]);
        in_postgres(c, &format!("BEGIN; {fine}; ROLLBACK"))
            .await
            .unwrap_or_else(|e| panic!("{fine}: {e:?}"));
    }
    let mut seen = BTreeSet::new();
    for refused in all_refused(On::Postgres) {
        in_postgres(c, "BEGIN").await.unwrap();
        if let Some(before) = &refused.before {
            in_postgres(c, before).await.unwrap();
        }
        let Err((code, constraint, message)) = in_postgres(c, &refused.statement).await else {
            panic!("{} was taken, against {}", refused.statement, refused.rule);
        };
        assert_eq!(
            (code.as_str(), constraint.as_str()),
            ("23514", refused.rule.as_str()),
            "{}: {message}",
            refused.statement
        );
        in_postgres(c, "ROLLBACK").await.unwrap();
        seen.insert(constraint);
    }
    // Nothing that the migrations declare was left out.
    let declared = "SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND connamespace = current_schema()::regnamespace";
    assert_eq!(seen, strings(c, declared).await);
    let domains = "SELECT table_name || '.' || column_name || ' ' || substring(domain_name FROM 15) \
                   FROM information_schema.columns WHERE table_schema = current_schema() AND domain_name IS NOT NULL";
    let tested = tables().into_iter().flat_map(|table| {
        let columns = table
            .columns
            .into_iter()
            .filter(|(_, domain, ..)| !domain.is_empty());
        columns.map(move |(column, domain, ..)| format!("{}.{column} {domain}", table.name))
    });
    assert_eq!(tested.collect::<BTreeSet<_>>(), strings(c, domains).await);

    for row in kept_rows(On::Postgres) {
        in_postgres(c, &row).await.unwrap();
    }
    let more = [
        ("TRUNCATE credit_transactions", "TRUNCATE"),
        (
            "TRUNCATE credit_accounts, credit_transactions CASCADE",
            "TRUNCATE",
        ),
        ("TRUNCATE credit_package_versions", "TRUNCATE"),
        ("TRUNCATE credit_pricing", "TRUNCATE"),
        ("TRUNCATE credit_checkpoints", "TRUNCATE"),
        ("TRUNCATE credit_kept_entries", "TRUNCATE"),
        ("TRUNCATE credit_archives", "TRUNCATE"),
        // Nothing to do is no excuse.
        ("UPDATE credit_transactions SET seq = 1 WHERE false", "UPDATE"),
    ];
    let upserts: Vec<String> = kept_rows(On::Postgres)
        .iter()
        .zip([
            "(user_id, seq) DO UPDATE SET data = 'x'",
            "(package_id, version) DO UPDATE SET name = 'x'",
            "(pricing_id) DO UPDATE SET card = '[]'",
        ])
        .map(|(row, conflict)| format!("{row} ON CONFLICT {conflict}"))
        .collect();
    let upserts = upserts.iter().map(|sql| (sql.as_str(), "UPDATE"));
    for (sql, word) in KEPT.into_iter().chain(more).chain(upserts) {
        let Err((code, _, message)) = in_postgres(c, sql).await else {
            panic!("{sql} was done");
        };
        assert_eq!(code, "23001", "{sql}: {message}");
        assert!(message.ends_with(&format!("{word} refused")), "{sql}: {message}");
    }
    let again = kept_rows(On::Postgres);
    let same_key = {
        let tables = tables();
        let journal = tables
            .iter()
            .find(|table| table.name == "credit_transactions")
            .unwrap();
        insert(On::Postgres, journal, &[("seq", Int(2))])
    };
    for (sql, name) in [
        (&again[0], "credit_transactions_pkey"),
        (&same_key, "credit_transactions_key"),
        (&again[1], "credit_package_versions_pkey"),
        (&again[2], "credit_pricing_pkey"),
    ] {
        let (code, constraint, message) = in_postgres(c, sql).await.unwrap_err();
        assert_eq!((code.as_str(), constraint.as_str()), ("23505", name), "{message}");
    }
    let guards = "SELECT tgname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid \
                  WHERE NOT tgisinternal AND proname IN ('credit_journal_is_append_only', 'credit_version_is_kept', \
                  'credit_entry_is_archived', 'credit_checkpoint_is_kept')";
    let guards = strings(c, guards).await;
    let expected = [
        "credit_archives_kept",
        "credit_checkpoints_forward",
        "credit_checkpoints_kept",
        "credit_kept_entries_kept",
        "credit_package_versions_kept",
        "credit_pricing_a_kept",
        "credit_pricing_b_kept",
        "credit_transactions_append_only",
        "credit_transactions_archived",
        "credit_transactions_no_truncate",
    ];
    assert_eq!(guards, expected.map(str::to_owned).into());
}

/// The extended code and the message.
fn in_sqlite(connection: &rusqlite::Connection, sql: &str) -> Result<(), (i32, String)> {
    match connection.execute_batch(sql) {
        Ok(()) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(error, message)) => {
            Err((error.extended_code, message.unwrap_or_default()))
        }
        Err(error) => panic!("{sql}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_never_be_false_is_refused_in_sqlite() {
    let database = Database::fresh(Kind::SqliteFile).await;
    database.ledger().await.close().await;
    let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    let c = &connection;
    for table in tables() {
        let fine = insert(On::Sqlite, &table, &[]);
        in_sqlite(c, &format!("BEGIN; {fine}; ROLLBACK")).unwrap_or_else(|e| panic!("{fine}: {e:?}"));
    }
    let mut seen = BTreeSet::new();
    for refused in all_refused(On::Sqlite) {
        in_sqlite(c, "BEGIN").unwrap();
        if let Some(before) = &refused.before {
            in_sqlite(c, before).unwrap();
        }
        let Err((code, message)) = in_sqlite(c, &refused.statement) else {
            panic!("{} was taken, against {}", refused.statement, refused.rule);
        };
        assert_eq!(
            code,
            rusqlite::ffi::SQLITE_CONSTRAINT_CHECK,
            "{message}: {}",
            refused.statement
        );
        let failed = message.strip_prefix("CHECK constraint failed: ").unwrap();
        assert!(
            failed.starts_with(&refused.rule),
            "{failed} instead of {}: {}",
            refused.rule,
            refused.statement
        );
        in_sqlite(c, "ROLLBACK").unwrap();
        let words: Vec<&str> = refused.statement.split(' ').collect();
        let table = if words[0] == "INSERT" { words[2] } else { words[1] };
        seen.insert((table.to_owned(), message));
    }
    // Nothing that the migrations declare was left out.
    let declared = "SELECT sum(length(sql) - length(replace(sql, 'CHECK (', 'CHECK '))) FROM sqlite_master \
                    WHERE type = 'table' AND name <> 'credit_migrations'";
    let declared: i64 = c.query_row(declared, [], |row| row.get(0)).unwrap();
    assert_eq!(seen.len() as i64, declared, "{seen:#?}");

    for row in kept_rows(On::Sqlite) {
        in_sqlite(c, &row).unwrap();
    }
    // REPLACE deletes what stands in its way, and tells no trigger of it.
    let replaced: Vec<String> = kept_rows(On::Sqlite)
        .iter()
        .map(|row| row.replacen("INSERT", "INSERT OR REPLACE", 1))
        .collect();
    let replaced = replaced.iter().map(|sql| (sql.as_str(), "already"));
    let ignored = [("UPDATE OR IGNORE credit_transactions SET data = 'x'", "UPDATE")];
    for (sql, word) in KEPT.into_iter().chain(ignored).chain(replaced) {
        let Err((code, message)) = in_sqlite(c, sql) else {
            panic!("{sql} was done");
        };
        assert_eq!(code, rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER, "{sql}: {message}");
        assert!(message.contains(word), "{sql}: {message}");
    }
    let guards = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND sql LIKE '%RAISE(ABORT%'";
    let guards: i64 = c.query_row(guards, [], |row| row.get(0)).unwrap();
    assert_eq!(
        guards, 17,
        "six tables: no UPDATE, no DELETE, no REPLACE; files of the archive may change"
    );
}
