//! A batch's rows, in one statement.
//!
//! The accounts are updated first, each only where its last entry is still the one that was loaded (`seq = expected`).
//! A writer that waited for the row sees its newest version, so of two writers with the same idea exactly one wins;
//! `won` holds the winners, and every other part of the statement writes rows of winners only. That each part waits
//! for all of `won` follows from the test being a sub-query that is hashed whole before its first use.
//!
//! `IN (...) IS TRUE`, and not just `IN`: as a plain condition the planner would make it a join, and without hash
//! joins (they are off, see [`super::session_options`]) that compares every row with every winner.

use super::{Statements, during_write};
use crate::ledger::{Entry, Hold, Lot, Timestamp};
use crate::store::{AccountWrite, GiftRow, StoreResult, Writes};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};
use std::collections::HashSet;
use uuid::Uuid;

const NEW_ACCOUNTS: u16 = 1;
const ACCOUNTS: u16 = 2;
const NEW_LOTS: u16 = 4;
const LOTS: u16 = 8;
const NEW_HOLDS: u16 = 16;
const HOLDS: u16 = 32;
const GIFTS: u16 = 64;

const WON: &str = "(u.user_id IN (SELECT user_id FROM won)) IS TRUE";

const ACCOUNT_FIGURES: [(&str, &str); 13] = [
    ("seq", "int8"),
    ("hash", "bytea"),
    ("available", "int8"),
    ("held", "int8"),
    ("debt", "int8"),
    ("borrowed", "int8"),
    ("credit_limit", "int8"),
    ("granted", "int8"),
    ("spent", "int8"),
    ("next_hold_deadline", "timestamptz"),
    ("next_lot_deadline", "timestamptz"),
    ("created_at", "timestamptz"),
    ("updated_at", "timestamptz"),
];

/// Numbers the parameters and writes `unnest(...) AS u(...)` for them.
struct Text {
    parameters: usize,
}

impl Text {
    fn unnest(&mut self, columns: &[(&str, &str)]) -> String {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        for (name, kind) in columns {
            self.parameters += 1;
            arrays.push(format!("${}::{kind}[]", self.parameters));
            names.push(*name);
        }
        format!("unnest({}) AS u({})", arrays.join(", "), names.join(", "))
    }
}

fn text(mask: u16) -> String {
    let mut text = Text { parameters: 0 };
    let mut with = Vec::new();
    let mut won = Vec::new();
    let names: Vec<&str> = ACCOUNT_FIGURES.iter().map(|(name, _)| *name).collect();
    if mask & ACCOUNTS != 0 {
        let mut columns = vec![("user_id", "uuid"), ("expected", "int8")];
        columns.extend(ACCOUNT_FIGURES);
        let sets: Vec<String> = names
            .iter()
            .filter(|n| **n != "created_at")
            .map(|n| format!("{n} = u.{n}"))
            .collect();
        with.push(format!(
            "changed AS (UPDATE {{s}}credit_accounts a SET {} FROM {} \
             WHERE a.user_id = u.user_id AND a.seq = u.expected RETURNING a.user_id)",
            sets.join(", "),
            text.unnest(&columns)
        ));
        won.push("SELECT user_id FROM changed");
    }
    if mask & NEW_ACCOUNTS != 0 {
        let mut columns = vec![("user_id", "uuid")];
        columns.extend(ACCOUNT_FIGURES);
        let names = names.join(", ");
        with.push(format!(
            "made AS (INSERT INTO {{s}}credit_accounts (user_id, {names}) SELECT user_id, {names} FROM {} \
             ON CONFLICT (user_id) DO NOTHING RETURNING user_id)",
            text.unnest(&columns)
        ));
        won.push("SELECT user_id FROM made");
    }
    with.push(format!("won AS MATERIALIZED ({})", won.join(" UNION ALL ")));
    let from = text.unnest(&[
        ("user_id", "uuid"),
        ("seq", "int8"),
        ("kind", "text"),
        ("change", "int8"),
        ("held_change", "int8"),
        ("available", "int8"),
        ("held", "int8"),
        ("counter_account", "text"),
        ("consumption_id", "uuid"),
        ("lot_id", "uuid"),
        ("reference", "text"),
        ("idempotency_key", "text"),
        ("request_hash", "bytea"),
        ("data", "text"),
        ("created_at", "timestamptz"),
        ("hash", "bytea"),
    ]);
    with.push(format!(
        "journal AS (INSERT INTO {{s}}credit_transactions (user_id, seq, kind, change, held_change, available, held, \
         counter_account, consumption_id, lot_id, reference, idempotency_key, request_hash, data, created_at, hash) \
         SELECT u.* FROM {from} WHERE {WON})"
    ));
    if mask & NEW_LOTS != 0 {
        let from = text.unnest(&[
            ("user_id", "uuid"),
            ("lot_id", "uuid"),
            ("source", "text"),
            ("amount", "int8"),
            ("remaining", "int8"),
            ("expired", "int8"),
            ("clawed", "int8"),
            ("claim", "int8"),
            ("priority", "int4"),
            ("expires_at", "timestamptz"),
            ("cost_minor", "int8"),
            ("cost_currency", "text"),
            ("reference", "text"),
            ("origin", "uuid"),
            ("created_at", "timestamptz"),
        ]);
        with.push(format!(
            "new_lots AS (INSERT INTO {{s}}credit_lots (user_id, lot_id, source, amount, remaining, expired, clawed, \
             claim, priority, expires_at, cost_minor, cost_currency, reference, origin, created_at, open) \
             SELECT u.*, u.remaining > 0 FROM {from} WHERE {WON})"
        ));
    }
    if mask & LOTS != 0 {
        let from = text.unnest(&[
            ("user_id", "uuid"),
            ("lot_id", "uuid"),
            ("remaining", "int8"),
            ("expired", "int8"),
            ("clawed", "int8"),
            ("claim", "int8"),
        ]);
        with.push(format!(
            "lots AS (UPDATE {{s}}credit_lots l SET remaining = u.remaining, expired = u.expired, clawed = u.clawed, \
             claim = u.claim, open = u.remaining > 0 FROM {from} \
             WHERE l.user_id = u.user_id AND l.lot_id = u.lot_id AND {WON})"
        ));
    }
    if mask & NEW_HOLDS != 0 {
        // Arrays of different lengths can't be nested in a parameter, so each hold's pins travel as array literals.
        let from = text.unnest(&[
            ("consumption_id", "uuid"),
            ("user_id", "uuid"),
            ("status", "text"),
            ("amount", "int8"),
            ("captured", "int8"),
            ("reversed", "int8"),
            ("borrowed", "int8"),
            ("lot_ids", "text"),
            ("lot_amounts", "text"),
            ("feature", "text"),
            ("reference", "text"),
            ("metadata", "text"),
            ("created_at", "timestamptz"),
            ("expires_at", "timestamptz"),
            ("settled_at", "timestamptz"),
        ]);
        with.push(format!(
            "new_holds AS (INSERT INTO {{s}}credit_consumption_logs (consumption_id, user_id, status, amount, captured, \
             reversed, borrowed, lot_ids, lot_amounts, feature, reference, metadata, created_at, expires_at, \
             settled_at, updated_at) SELECT u.consumption_id, u.user_id, u.status, u.amount, u.captured, u.reversed, \
             u.borrowed, u.lot_ids::uuid[], u.lot_amounts::int8[], u.feature, u.reference, u.metadata, u.created_at, \
             u.expires_at, u.settled_at, u.created_at FROM {from} WHERE {WON})"
        ));
    }
    if mask & HOLDS != 0 {
        let from = text.unnest(&[
            ("consumption_id", "uuid"),
            ("user_id", "uuid"),
            ("status", "text"),
            ("captured", "int8"),
            ("reversed", "int8"),
            ("borrowed", "int8"),
            ("lot_ids", "text"),
            ("lot_amounts", "text"),
            ("expires_at", "timestamptz"),
            ("settled_at", "timestamptz"),
            ("updated_at", "timestamptz"),
        ]);
        with.push(format!(
            "holds AS (UPDATE {{s}}credit_consumption_logs h SET status = u.status, captured = u.captured, \
             reversed = u.reversed, borrowed = u.borrowed, lot_ids = u.lot_ids::uuid[], \
             lot_amounts = u.lot_amounts::int8[], expires_at = u.expires_at, settled_at = u.settled_at, \
             updated_at = u.updated_at FROM {from} \
             WHERE h.consumption_id = u.consumption_id AND h.user_id = u.user_id AND {WON})"
        ));
    }
    if mask & GIFTS != 0 {
        let from = text.unnest(&[
            ("user_id", "uuid"),
            ("gift_id", "uuid"),
            ("amount", "int8"),
            ("reason", "text"),
            ("operator", "text"),
            ("expires_at", "timestamptz"),
            ("created_at", "timestamptz"),
        ]);
        with.push(format!(
            "gifts AS (INSERT INTO {{s}}credit_gifts (user_id, gift_id, amount, reason, operator, expires_at, \
             created_at) SELECT u.* FROM {from} WHERE {WON})"
        ));
    }
    format!("WITH {} SELECT user_id FROM won", with.join(", "))
}

/// Writes what still fits; returns the accounts that were stale.
pub(super) async fn append(
    connection: &mut PgConnection,
    statements: &Statements,
    writes: &Writes,
) -> StoreResult<Vec<Uuid>> {
    let (new_accounts, accounts): (Vec<&AccountWrite>, Vec<&AccountWrite>) = writes
        .accounts
        .iter()
        .partition(|write| write.expected_seq.is_none());
    let flag = |off: bool, mask: u16| if off { 0 } else { mask };
    let mask = flag(new_accounts.is_empty(), NEW_ACCOUNTS)
        | flag(accounts.is_empty(), ACCOUNTS)
        | flag(writes.new_lots.is_empty(), NEW_LOTS)
        | flag(writes.lots.is_empty(), LOTS)
        | flag(writes.new_holds.is_empty(), NEW_HOLDS)
        | flag(writes.holds.is_empty(), HOLDS)
        | flag(writes.gifts.is_empty(), GIFTS);
    let mut query =
        sqlx::query(statements.text("append", mask, || text(mask))).persistent(statements.persistent);
    if mask & ACCOUNTS != 0 {
        query = query
            .bind(column(&accounts, |w| w.account.user_id))
            .bind(column(&accounts, |w| w.expected_seq.unwrap_or_default()));
        query = bind_accounts(query, &accounts);
    }
    if mask & NEW_ACCOUNTS != 0 {
        query = query.bind(column(&new_accounts, |w| w.account.user_id));
        query = bind_accounts(query, &new_accounts);
    }
    query = bind_entries(query, &writes.entries);
    if mask & NEW_LOTS != 0 {
        query = bind_new_lots(query, &writes.new_lots);
    }
    if mask & LOTS != 0 {
        query = query
            .bind(column(&writes.lots, |(user_id, _)| *user_id))
            .bind(column(&writes.lots, |(_, lot)| lot.lot_id))
            .bind(column(&writes.lots, |(_, lot)| lot.remaining))
            .bind(column(&writes.lots, |(_, lot)| lot.expired))
            .bind(column(&writes.lots, |(_, lot)| lot.clawed))
            .bind(column(&writes.lots, |(_, lot)| lot.claim));
    }
    if mask & NEW_HOLDS != 0 {
        query = bind_new_holds(query, &writes.new_holds);
    }
    if mask & HOLDS != 0 {
        query = bind_holds(query, &writes.holds, writes);
    }
    if mask & GIFTS != 0 {
        query = bind_gifts(query, &writes.gifts);
    }
    let rows = query.fetch_all(connection).await.map_err(during_write)?;
    if rows.len() == writes.accounts.len() {
        return Ok(Vec::new());
    }
    let mut won = HashSet::new();
    for row in &rows {
        won.insert(row.try_get::<Uuid, _>(0).map_err(during_write)?);
    }
    let accounts = writes.accounts.iter().map(|write| write.account.user_id);
    Ok(accounts.filter(|user_id| !won.contains(user_id)).collect())
}

fn column<'a, T, U>(rows: &'a [T], of: impl FnMut(&'a T) -> U) -> Vec<U> {
    rows.iter().map(of).collect()
}

type Statement<'q> = Query<'q, Postgres, PgArguments>;

fn bind_accounts<'q>(query: Statement<'q>, rows: &[&'q AccountWrite]) -> Statement<'q> {
    query
        .bind(column(rows, |w| w.account.seq))
        .bind(column(rows, |w| w.account.hash.0.as_slice()))
        .bind(column(rows, |w| w.account.available))
        .bind(column(rows, |w| w.account.held))
        .bind(column(rows, |w| w.account.debt))
        .bind(column(rows, |w| w.account.borrowed))
        .bind(column(rows, |w| w.account.credit_limit))
        .bind(column(rows, |w| w.account.granted))
        .bind(column(rows, |w| w.account.spent))
        .bind(column(rows, |w| w.account.next_hold_deadline))
        .bind(column(rows, |w| w.account.next_lot_deadline))
        .bind(column(rows, |w| w.account.created_at))
        .bind(column(rows, |w| w.account.updated_at))
}

fn bind_entries<'q>(query: Statement<'q>, rows: &'q [Entry]) -> Statement<'q> {
    query
        .bind(column(rows, |e| e.user_id))
        .bind(column(rows, |e| e.seq))
        .bind(column(rows, |e| e.kind.as_str()))
        .bind(column(rows, |e| e.change))
        .bind(column(rows, |e| e.held_change))
        .bind(column(rows, |e| e.available))
        .bind(column(rows, |e| e.held))
        .bind(column(rows, |e| &*e.counter_account))
        .bind(column(rows, |e| e.consumption_id))
        .bind(column(rows, |e| e.lot_id))
        .bind(column(rows, |e| e.reference.as_deref()))
        .bind(column(rows, |e| e.idempotency_key.as_deref()))
        .bind(column(rows, |e| e.request_hash.as_ref().map(|h| h.0.as_slice())))
        .bind(column(rows, |e| e.data.as_str()))
        .bind(column(rows, |e| e.created_at))
        .bind(column(rows, |e| e.hash.0.as_slice()))
}

fn bind_new_lots<'q>(query: Statement<'q>, rows: &'q [(Uuid, Lot)]) -> Statement<'q> {
    query
        .bind(column(rows, |(user_id, _)| *user_id))
        .bind(column(rows, |(_, lot)| lot.lot_id))
        .bind(column(rows, |(_, lot)| lot.source.as_str()))
        .bind(column(rows, |(_, lot)| lot.amount))
        .bind(column(rows, |(_, lot)| lot.remaining))
        .bind(column(rows, |(_, lot)| lot.expired))
        .bind(column(rows, |(_, lot)| lot.clawed))
        .bind(column(rows, |(_, lot)| lot.claim))
        .bind(column(rows, |(_, lot)| lot.priority))
        .bind(column(rows, |(_, lot)| lot.expires_at))
        .bind(column(rows, |(_, lot)| lot.cost.as_ref().map(|c| c.minor)))
        .bind(column(rows, |(_, lot)| {
            lot.cost.as_ref().map(|c| c.currency.as_str())
        }))
        .bind(column(rows, |(_, lot)| lot.reference.as_deref()))
        .bind(column(rows, |(_, lot)| lot.origin))
        .bind(column(rows, |(_, lot)| lot.created_at))
}

fn lot_ids(hold: &Hold) -> String {
    let ids: Vec<String> = hold.state.pins.iter().map(|pin| pin.lot_id.to_string()).collect();
    format!("{{{}}}", ids.join(","))
}

fn lot_amounts(hold: &Hold) -> String {
    let amounts: Vec<String> = hold.state.pins.iter().map(|pin| pin.amount.to_string()).collect();
    format!("{{{}}}", amounts.join(","))
}

fn bind_new_holds<'q>(query: Statement<'q>, rows: &'q [Hold]) -> Statement<'q> {
    query
        .bind(column(rows, |h| h.consumption_id))
        .bind(column(rows, |h| h.user_id))
        .bind(column(rows, |h| h.state.status.as_str()))
        .bind(column(rows, |h| h.amount))
        .bind(column(rows, |h| h.state.captured))
        .bind(column(rows, |h| h.state.reversed))
        .bind(column(rows, |h| h.state.borrowed))
        .bind(column(rows, lot_ids))
        .bind(column(rows, lot_amounts))
        .bind(column(rows, |h| h.feature.as_deref()))
        .bind(column(rows, |h| h.reference.as_deref()))
        .bind(column(rows, |h| h.metadata.as_ref().map(|m| m.as_str())))
        .bind(column(rows, |h| h.created_at))
        .bind(column(rows, |h| h.state.expires_at))
        .bind(column(rows, |h| h.state.settled_at))
}

fn bind_holds<'q>(query: Statement<'q>, rows: &'q [Hold], writes: &Writes) -> Statement<'q> {
    let now = writes
        .entries
        .first()
        .map_or(Timestamp::MIN, |entry| entry.created_at);
    query
        .bind(column(rows, |h| h.consumption_id))
        .bind(column(rows, |h| h.user_id))
        .bind(column(rows, |h| h.state.status.as_str()))
        .bind(column(rows, |h| h.state.captured))
        .bind(column(rows, |h| h.state.reversed))
        .bind(column(rows, |h| h.state.borrowed))
        .bind(column(rows, lot_ids))
        .bind(column(rows, lot_amounts))
        .bind(column(rows, |h| h.state.expires_at))
        .bind(column(rows, |h| h.state.settled_at))
        .bind(column(rows, |_| now))
}

fn bind_gifts<'q>(query: Statement<'q>, rows: &'q [GiftRow]) -> Statement<'q> {
    query
        .bind(column(rows, |g| g.user_id))
        .bind(column(rows, |g| g.lot_id))
        .bind(column(rows, |g| g.amount))
        .bind(column(rows, |g| g.reason.as_str()))
        .bind(column(rows, |g| g.operator.as_deref()))
        .bind(column(rows, |g| g.expires_at))
        .bind(column(rows, |g| g.created_at))
}
