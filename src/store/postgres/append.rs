//! A batch's rows, in one statement.
//!
//! The accounts are updated first, each only where its last entry is still the one that was known (`hash = expected`),
//! and where its journal has none of the keys that were not looked up. The statement's snapshot is good enough for that: it
//! has whatever the account's row has, since keys are written together with the row, and a row that is newer than the
//! snapshot has another hash.
//! A writer that waited for the row sees its newest version, so of two writers with the same idea exactly one wins;
//! `won` holds the winners, and every other part of the statement writes rows of winners only. That each part waits
//! for all of `won` follows from the test being a sub-query that is hashed whole before its first use.
//!
//! `IN (...) IS TRUE`, and not just `IN`: as a plain condition the planner would make it a join, and without hash
//! joins (they are off, see [`super::session_options`]) that compares every row with every winner.
//!
//! Columns that would carry nothing, or what is there already, are left out: each costs a fifth of a microsecond a row.
//!
//! A lone command, which writes one row a table at the most, sends plain values instead of arrays: unpacking fifty
//! arrays of one element is what it would wait for most.

use super::columns::{Columns, From, Texts, Values, array_literal};
use super::{Statements, during_write};
use crate::ledger::{Account, Entry, Hold, Lot, Status, Timestamp};
use crate::store::{AccountWrite, Claim, GiftRow, OrderRow, StoreResult, Writes};
use sqlx::{PgConnection, Row};
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

const NEW_ACCOUNTS: u32 = 1;
const ACCOUNTS: u32 = 2;
const NEW_LOTS: u32 = 4;
const LOTS: u32 = 8;
const NEW_HOLDS: u32 = 16;
const HOLDS: u32 = 32;
const GIFTS: u32 = 64;
/// Missing where a sweep only writes deadlines anew.
const ENTRIES: u32 = 128;
/// No table gets more than one row.
const LONE: u32 = 256;
const ORDERS: u32 = 512;
/// Keys that nobody has looked up.
const KEYS: u32 = 1 << 10;

// What most batches do not need: columns that would carry what is there already, or nothing.

/// Of accounts, more changes than what a hold changes.
const FIGURES: u32 = 1 << 11;
/// Of lots, more changes than what is left.
const LOT_FIGURES: u32 = 1 << 12;
/// New holds are not all pending.
const SETTLED: u32 = 1 << 13;
/// New holds have a reference, metadata or a quote.
const TEXTS: u32 = 1 << 14;
/// New holds are not all pinned to one lot each.
const PINS: u32 = 1 << 15;
/// Entries name a lot, or have a reference.
const REFERENCES: u32 = 1 << 16;
/// Entries and new holds are not all of one instant.
const TIMES: u32 = 1 << 17;

/// Nothing is written unless the server's clock is within bounds.
const CLOCK: u32 = 1 << 18;

/// Orders are settled. A payment that is claimed already undoes the whole statement: a unique violation, for which the batch
/// is decided again, and the claim is found by the load then.
const CLAIMS: u32 = 1 << 19;

fn text(mask: u32) -> String {
    let lone = mask & LONE != 0;
    let guard = if lone {
        "EXISTS (SELECT 1 FROM won)"
    } else {
        "(u.user_id IN (SELECT user_id FROM won)) IS TRUE"
    };
    // A plan is made once, and often while the table is all but empty: with plain equality the planner would walk
    // through the table, by an index, for each row that is sent, for as long as statistics take to arrive. This it can't
    // merge, and with an index it has to begin with what is sent.
    let same = |table: &str, column: &str| {
        if lone {
            format!("{table}.{column} = u.{column}")
        } else {
            format!("{table}.{column} = ANY(ARRAY[u.{column}])")
        }
    };
    let mut texts = Texts::new(lone);
    let now = (mask & TIMES == 0).then(|| texts.scalar::<Timestamp>());
    // Tested once, before any row is looked for.
    let clock = if mask & CLOCK != 0 {
        let (earliest, latest) = (texts.scalar::<Timestamp>(), texts.scalar::<Timestamp>());
        format!("statement_timestamp() BETWEEN {earliest} AND {latest}")
    } else {
        "true".to_owned()
    };
    // Hashed whole before its first use, and never a join: each key is one look-up in the index.
    let no_key_is_taken = if mask & KEYS != 0 {
        let from = texts.from(|c| keys(c, &[]));
        format!(
            " AND (a.user_id NOT IN (SELECT u.user_id FROM {} WHERE (SELECT true FROM {{s}}credit_transactions e \
             WHERE e.user_id = u.user_id AND e.idempotency_key = u.key LIMIT 1))) IS TRUE",
            from.text
        )
    } else {
        String::new()
    };
    let both = mask & (ACCOUNTS | NEW_ACCOUNTS) == ACCOUNTS | NEW_ACCOUNTS;
    let mut with = Vec::new();
    if mask & ACCOUNTS != 0 {
        let from = texts.from(|c| accounts(c, &[], mask));
        let mut sets = from.names.clone();
        sets.retain(|name| !["user_id", "expected"].contains(name));
        with.push(format!(
            "{} AS (UPDATE {{s}}credit_accounts a SET {} FROM {} \
             WHERE {} AND a.hash = u.expected{no_key_is_taken} AND {clock} RETURNING a.user_id)",
            if both { "changed" } else { "won" },
            from.sets(&sets),
            from.text,
            same("a", "user_id")
        ));
    }
    if mask & NEW_ACCOUNTS != 0 {
        let from = texts.from(|c| new_accounts(c, &[]));
        with.push(format!(
            "{} AS (INSERT INTO {{s}}credit_accounts ({}) SELECT {} FROM {} WHERE {clock} \
             ON CONFLICT (user_id) DO NOTHING RETURNING user_id)",
            if both { "made" } else { "won" },
            from.names.join(", "),
            from.values(),
            from.text
        ));
    }
    if both {
        with.push(
            "won AS MATERIALIZED (SELECT user_id FROM changed UNION ALL SELECT user_id FROM made)".into(),
        );
    }
    // `also`: columns that are not sent row by row, and what is in them.
    let insert = |name: &str, table: &str, from: &From, also: &[(&str, &str)]| {
        let columns: String = also.iter().map(|(column, _)| format!(", {column}")).collect();
        let values: String = also.iter().map(|(_, value)| format!(", {value}")).collect();
        format!(
            "{name} AS (INSERT INTO {{s}}{table} ({}{columns}) SELECT {}{values} FROM {} WHERE {guard})",
            from.names.join(", "),
            from.values(),
            from.text
        )
    };
    // The table is in the inner loop, by its primary key, because of the first column; of the second, plain equality makes
    // sure that all of the key is looked up. Otherwise it might be a filter, and each row sent would walk through all
    // rows of its account.
    let update = |name: &str, table: &str, from: &From, key: [&str; 2], also: &str| {
        let mut sets = from.names.clone();
        sets.retain(|name| !key.contains(name) && *name != "updated_at");
        let [first, second] = key;
        format!(
            "{name} AS (UPDATE {{s}}{table} t SET {}{also} FROM {} \
             WHERE {} AND t.{second} = u.{second} AND {guard})",
            from.sets(&sets),
            from.text,
            same("t", first)
        )
    };
    if mask & ENTRIES != 0 {
        let from = texts.from(|c| entries(c, &[], mask));
        let also: Vec<_> = now.iter().map(|now| ("created_at", now.as_str())).collect();
        with.push(insert("journal", "credit_transactions", &from, &also));
    }
    if mask & NEW_LOTS != 0 {
        let from = texts.from(|c| new_lots(c, &[]));
        with.push(insert(
            "new_lots",
            "credit_lots",
            &from,
            &[("open", "u.remaining > 0")],
        ));
    }
    if mask & LOTS != 0 {
        let from = texts.from(|c| lots(c, &[], mask));
        let key = ["user_id", "lot_id"];
        with.push(update(
            "lots",
            "credit_lots",
            &from,
            key,
            ", open = u.remaining > 0",
        ));
    }
    if mask & NEW_HOLDS != 0 {
        let from = texts.from(|c| new_holds(c, &[], mask));
        let mut also = match &now {
            Some(now) => vec![("created_at", now.as_str()), ("updated_at", now)],
            None => vec![("updated_at", "u.created_at")],
        };
        if mask & SETTLED == 0 {
            also.extend([("status", "'pending'"), ("captured", "0"), ("reversed", "0")]);
        }
        with.push(insert("new_holds", "credit_consumption_logs", &from, &also));
    }
    if mask & HOLDS != 0 {
        let from = texts.from(|c| holds(c, &[], Timestamp::MIN));
        let key = ["consumption_id", "user_id"];
        // It always moves, so that the trigger leaves it alone: it is the ledger's time, not the server's.
        let touched = ", updated_at = greatest(u.updated_at, t.updated_at + interval '1 microsecond')";
        with.push(update("holds", "credit_consumption_logs", &from, key, touched));
    }
    if mask & GIFTS != 0 {
        let from = texts.from(|c| gifts(c, &[]));
        with.push(insert("gifts", "credit_gifts", &from, &[]));
    }
    if mask & ORDERS != 0 {
        let from = texts.from(|c| orders(c, &[]));
        let changing = [
            "status",
            "refunded_minor",
            "transaction_id",
            "lot_id",
            "bonus_lot_id",
            "data",
            "paid_at",
        ];
        let sets = changing
            .map(|name| format!("{name} = EXCLUDED.{name}"))
            .join(", ");
        let write = format!(
            "INSERT INTO {{s}}credit_orders ({}) SELECT {} FROM {} WHERE {guard} \
             ON CONFLICT (order_no, user_id) DO UPDATE SET {sets}",
            from.names.join(", "),
            from.values(),
            from.text
        );
        with.push(format!("orders AS ({write})"));
    }
    if mask & CLAIMS != 0 {
        let from = texts.from(|c| claims(c, &[]));
        with.push(insert("claims", "credit_payment_claims", &from, &[]));
    }
    format!(
        "WITH {} SELECT array_agg(user_id), statement_timestamp() FROM won",
        with.join(", ")
    )
}

/// The statement that `writes` needs.
fn mask_of(writes: &Writes, made: usize, changed: &[&AccountWrite]) -> u32 {
    let tables = [
        (made, NEW_ACCOUNTS),
        (changed.len(), ACCOUNTS),
        (writes.entries.len(), ENTRIES),
        (writes.new_lots.len(), NEW_LOTS),
        (writes.lots.len(), LOTS),
        (writes.new_holds.len(), NEW_HOLDS),
        (writes.holds.len(), HOLDS),
        (writes.gifts.len(), GIFTS),
        (writes.orders.len(), ORDERS),
        (writes.claims.len(), CLAIMS),
        (writes.keys.len(), KEYS),
    ];
    let flag = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    let mut mask = tables
        .iter()
        .fold(0, |mask, (rows, bit)| mask | flag(*rows > 0, *bit));
    let lone = writes.accounts.len() == 1 && tables.iter().all(|(rows, _)| *rows <= 1);
    mask |= flag(lone, LONE);
    let figures = |account: &Account| {
        let Account { debt, borrowed, .. } = account;
        let Account { granted, spent, .. } = account;
        (
            (*debt, *borrowed, *granted, *spent),
            (account.credit_limit, account.next_lot_deadline),
        )
    };
    let has_figures = |write: &&AccountWrite| {
        let before = write.before.as_ref();
        before.is_none_or(|before| figures(before) != figures(&write.account))
    };
    mask |= flag(changed.iter().any(has_figures), FIGURES);
    mask |= flag(!writes.lots.is_empty() && !writes.only_remaining, LOT_FIGURES);
    for hold in &writes.new_holds {
        let state = &hold.state;
        let is_new = state.status == Status::Pending && state.captured == 0 && state.reversed == 0;
        let is_settled = !is_new || state.settled_at.is_some() || state.used.is_some();
        let has_texts = hold.reference.is_some() || hold.metadata.is_some() || hold.quote.is_some();
        mask |= flag(is_settled, SETTLED);
        mask |= flag(has_texts, TEXTS);
        mask |= flag(state.pins.len() != 1, PINS);
    }
    let entries = &writes.entries;
    let refers = |entry: &Entry| entry.lot_id.is_some() || entry.reference.is_some();
    mask |= flag(entries.iter().any(refers), REFERENCES);
    let times = entries.iter().map(|entry| entry.created_at);
    let mut times = times.chain(writes.new_holds.iter().map(|hold| hold.created_at));
    let first = times.next();
    mask |= flag(writes.clock.is_some(), CLOCK);
    mask | flag(first.is_none() || times.any(|time| Some(time) != first), TIMES)
}

/// Writes what still fits; returns the accounts that were stale.
pub(super) async fn append(
    connection: &mut PgConnection,
    statements: &Statements,
    writes: &Writes,
) -> StoreResult<Vec<Uuid>> {
    let (made, changed): (Vec<&AccountWrite>, Vec<&AccountWrite>) =
        writes.accounts.iter().partition(|write| write.before.is_none());
    let mask = mask_of(writes, made.len(), &changed);
    let order_rows: Vec<OrderRow> = writes.orders.iter().map(OrderRow::of).collect();
    let now = writes.entries.first().map(|entry| entry.created_at);
    // In the order of `text`.
    let mut values = Values::new(mask & LONE != 0);
    if mask & TIMES == 0 {
        let first_hold = writes.new_holds.first().map(|hold| hold.created_at);
        values.scalar(now.or(first_hold).unwrap_or(Timestamp::MIN));
    }
    if let Some(bound) = writes.clock {
        values.scalar(bound.earliest());
        values.scalar(bound.latest());
    }
    if mask & KEYS != 0 {
        keys(&mut values, &writes.keys);
    }
    if mask & ACCOUNTS != 0 {
        accounts(&mut values, &changed, mask);
    }
    if mask & NEW_ACCOUNTS != 0 {
        new_accounts(&mut values, &made);
    }
    if mask & ENTRIES != 0 {
        entries(&mut values, &writes.entries, mask);
    }
    if mask & NEW_LOTS != 0 {
        new_lots(&mut values, &writes.new_lots);
    }
    if mask & LOTS != 0 {
        lots(&mut values, &writes.lots, mask);
    }
    if mask & NEW_HOLDS != 0 {
        new_holds(&mut values, &writes.new_holds, mask);
    }
    if mask & HOLDS != 0 {
        holds(&mut values, &writes.holds, now.unwrap_or(Timestamp::MIN));
    }
    if mask & GIFTS != 0 {
        gifts(&mut values, &writes.gifts);
    }
    if mask & ORDERS != 0 {
        orders(&mut values, &order_rows);
    }
    if mask & CLAIMS != 0 {
        claims(&mut values, &writes.claims);
    }
    let arguments = values.finish().map_err(during_write)?;
    let row = sqlx::query_with(statements.text("append", mask, || text(mask)), arguments)
        .persistent(statements.persistent)
        .fetch_one(connection)
        .await
        .map_err(during_write)?;
    let won: Option<Vec<Uuid>> = row.try_get(0).map_err(during_write)?;
    let won = won.unwrap_or_default();
    if won.len() == writes.accounts.len() {
        return Ok(Vec::new());
    }
    if let Some(bound) = writes.clock {
        bound.check(row.try_get(1).map_err(during_write)?)?;
    }
    let won: HashSet<Uuid> = won.into_iter().collect();
    let accounts = writes.accounts.iter().map(|write| write.account.user_id);
    Ok(accounts.filter(|user_id| !won.contains(user_id)).collect())
}

// The tables' columns, each once: for the statement's text and for its parameters.

fn keys(c: &mut impl Columns, rows: &[(Uuid, String)]) {
    c.column("user_id", rows, |(user_id, _)| *user_id);
    c.column("key", rows, |(_, key)| key.as_str());
}

fn accounts(c: &mut impl Columns, rows: &[&AccountWrite], mask: u32) {
    c.column("user_id", rows, |w| w.account.user_id);
    c.column("expected", rows, |w| {
        w.before.as_ref().map(|account| account.hash.0.as_slice())
    });
    position(c, rows);
    if mask & FIGURES != 0 {
        figures(c, rows);
    }
}

fn new_accounts(c: &mut impl Columns, rows: &[&AccountWrite]) {
    c.column("user_id", rows, |w| w.account.user_id);
    c.column("created_at", rows, |w| w.account.created_at);
    position(c, rows);
    figures(c, rows);
}

/// What changes with every hold.
fn position(c: &mut impl Columns, rows: &[&AccountWrite]) {
    c.column("seq", rows, |w| w.account.seq);
    c.column("hash", rows, |w| w.account.hash.0.as_slice());
    c.column("available", rows, |w| w.account.available);
    c.column("held", rows, |w| w.account.held);
    c.column("next_hold_deadline", rows, |w| w.account.next_hold_deadline);
    c.column("updated_at", rows, |w| w.account.updated_at);
}

fn figures(c: &mut impl Columns, rows: &[&AccountWrite]) {
    c.column("debt", rows, |w| w.account.debt);
    c.column("borrowed", rows, |w| w.account.borrowed);
    c.column("credit_limit", rows, |w| w.account.credit_limit);
    c.column("granted", rows, |w| w.account.granted);
    c.column("spent", rows, |w| w.account.spent);
    c.column("next_lot_deadline", rows, |w| w.account.next_lot_deadline);
}

fn entries(c: &mut impl Columns, rows: &[Entry], mask: u32) {
    c.column("user_id", rows, |e| e.user_id);
    c.column("seq", rows, |e| e.seq);
    c.column("kind", rows, |e| e.kind.as_str());
    c.column("change", rows, |e| e.change);
    c.column("held_change", rows, |e| e.held_change);
    c.column("available", rows, |e| e.available);
    c.column("held", rows, |e| e.held);
    c.column("counter_account", rows, |e| &*e.counter_account);
    c.column("consumption_id", rows, |e| e.consumption_id);
    if mask & REFERENCES != 0 {
        c.column("lot_id", rows, |e| e.lot_id);
        c.column("reference", rows, |e| e.reference.as_deref());
    }
    c.column("idempotency_key", rows, |e| e.idempotency_key.as_deref());
    c.column("request_hash", rows, |e| {
        e.request_hash.as_ref().map(|h| h.0.as_slice())
    });
    c.column("data", rows, |e| e.data.as_str());
    if mask & TIMES != 0 {
        c.column("created_at", rows, |e| e.created_at);
    }
    c.column("hash", rows, |e| e.hash.0.as_slice());
}

fn new_lots(c: &mut impl Columns, rows: &[(Uuid, Arc<Lot>)]) {
    c.column("user_id", rows, |(user_id, _)| *user_id);
    c.column("lot_id", rows, |(_, lot)| lot.lot_id);
    c.column("source", rows, |(_, lot)| lot.source.as_str());
    c.column("amount", rows, |(_, lot)| lot.amount);
    c.column("remaining", rows, |(_, lot)| lot.remaining);
    c.column("expired", rows, |(_, lot)| lot.expired);
    c.column("clawed", rows, |(_, lot)| lot.clawed);
    c.column("claim", rows, |(_, lot)| lot.claim);
    c.column("priority", rows, |(_, lot)| lot.priority);
    c.column("expires_at", rows, |(_, lot)| lot.expires_at);
    c.column("cost_minor", rows, |(_, lot)| {
        lot.cost.as_ref().map(|cost| cost.minor)
    });
    c.column("cost_currency", rows, |(_, lot)| {
        lot.cost.as_ref().map(|cost| cost.currency.as_str())
    });
    c.column("reference", rows, |(_, lot)| lot.reference.as_deref());
    c.column("origin", rows, |(_, lot)| lot.origin);
    c.column("created_at", rows, |(_, lot)| lot.created_at);
}

fn lots(c: &mut impl Columns, rows: &[(Uuid, Arc<Lot>)], mask: u32) {
    c.column("user_id", rows, |(user_id, _)| *user_id);
    c.column("lot_id", rows, |(_, lot)| lot.lot_id);
    c.column("remaining", rows, |(_, lot)| lot.remaining);
    if mask & LOT_FIGURES != 0 {
        c.column("expired", rows, |(_, lot)| lot.expired);
        c.column("clawed", rows, |(_, lot)| lot.clawed);
        c.column("claim", rows, |(_, lot)| lot.claim);
    }
}

fn new_holds(c: &mut impl Columns, rows: &[Arc<Hold>], mask: u32) {
    c.column("consumption_id", rows, |h| h.consumption_id);
    c.column("user_id", rows, |h| h.user_id);
    c.column("amount", rows, |h| h.amount);
    c.column("borrowed", rows, |h| h.state.borrowed);
    c.column("feature", rows, |h| h.feature.as_deref());
    c.column("expires_at", rows, |h| h.state.expires_at);
    if mask & PINS != 0 {
        pins(c, rows);
    } else {
        c.single("lot_ids", rows, |h| h.state.pins.first().map(|pin| pin.lot_id));
        c.single("lot_amounts", rows, |h| {
            h.state.pins.first().map(|pin| pin.amount)
        });
    }
    if mask & TEXTS != 0 {
        c.column("reference", rows, |h| h.reference.as_deref());
        c.column("metadata", rows, |h| h.metadata.as_ref().map(|m| m.as_str()));
        c.column("quote", rows, |h| h.quote.as_deref());
    }
    if mask & SETTLED != 0 {
        c.column("status", rows, |h| h.state.status.as_str());
        c.column("captured", rows, |h| h.state.captured);
        c.column("reversed", rows, |h| h.state.reversed);
        c.column("settled_at", rows, |h| h.state.settled_at);
        c.column("used", rows, |h| h.state.used.as_deref());
    }
    if mask & TIMES != 0 {
        c.column("created_at", rows, |h| h.created_at);
    }
}

fn holds(c: &mut impl Columns, rows: &[Arc<Hold>], now: Timestamp) {
    c.column("consumption_id", rows, |h| h.consumption_id);
    c.column("user_id", rows, |h| h.user_id);
    c.column("status", rows, |h| h.state.status.as_str());
    c.column("captured", rows, |h| h.state.captured);
    c.column("reversed", rows, |h| h.state.reversed);
    c.column("borrowed", rows, |h| h.state.borrowed);
    pins(c, rows);
    c.column("expires_at", rows, |h| h.state.expires_at);
    c.column("settled_at", rows, |h| h.state.settled_at);
    c.column("used", rows, |h| h.state.used.as_deref());
    c.column("updated_at", rows, |_| now);
}

/// Arrays of different lengths can't be nested in a parameter, so each hold's pins travel as array literals.
fn pins(c: &mut impl Columns, rows: &[Arc<Hold>]) {
    c.literal("lot_ids", "uuid[]", rows, |h| {
        array_literal(h.state.pins.iter().map(|pin| pin.lot_id))
    });
    c.literal("lot_amounts", "int8[]", rows, |h| {
        array_literal(h.state.pins.iter().map(|pin| pin.amount))
    });
}

fn gifts(c: &mut impl Columns, rows: &[GiftRow]) {
    c.column("user_id", rows, |g| g.user_id);
    c.column("gift_id", rows, |g| g.lot_id);
    c.column("amount", rows, |g| g.amount);
    c.column("reason", rows, |g| g.reason.as_str());
    c.column("operator", rows, |g| g.operator.as_deref());
    c.column("expires_at", rows, |g| g.expires_at);
    c.column("created_at", rows, |g| g.created_at);
}

fn orders(c: &mut impl Columns, rows: &[OrderRow]) {
    c.column("order_no", rows, |o| o.order_no.as_str());
    c.column("user_id", rows, |o| o.user_id);
    c.column("status", rows, |o| o.status.as_str());
    c.column("channel", rows, |o| o.channel.as_str());
    c.column("package_id", rows, |o| o.package_id);
    c.column("price_minor", rows, |o| o.price_minor);
    c.column("currency", rows, |o| o.currency.as_str());
    c.column("credits", rows, |o| o.credits);
    c.column("bonus_credits", rows, |o| o.bonus_credits);
    c.column("refunded_minor", rows, |o| o.refunded_minor);
    c.column("transaction_id", rows, |o| o.transaction_id.as_deref());
    c.column("lot_id", rows, |o| o.lot_id);
    c.column("bonus_lot_id", rows, |o| o.bonus_lot_id);
    c.column("data", rows, |o| o.data.as_str());
    c.column("created_at", rows, |o| o.created_at);
    c.column("expires_at", rows, |o| o.expires_at);
    c.column("paid_at", rows, |o| o.paid_at);
}

fn claims(c: &mut impl Columns, rows: &[Claim]) {
    c.column("channel", rows, |claim| claim.channel.as_str());
    c.column("transaction_id", rows, |claim| claim.transaction_id.as_str());
    c.column("order_no", rows, |claim| claim.order_no.to_string());
    c.column("user_id", rows, |claim| claim.user_id);
}
