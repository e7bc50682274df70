//! Writing a batch, row by row: in-process a statement costs a few microseconds, so there is nothing to gather.

use super::failure::{self, Attempt, Failure};
use super::rows::{blob, micros};
use crate::ledger::{Entry, Hold, Lot, Order, Timestamp};
use crate::store::{Claim, GiftRow, OrderRow, StoreResult, Writes};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, params};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// What came of a batch.
#[derive(Debug)]
pub(super) enum Appended {
    /// Everything is written but for these accounts, which have moved on since they were loaded.
    But(BTreeSet<Uuid>),
    /// Entries carry keys that the journals of these accounts have already. The transaction holds a part of the batch
    /// and has to be rolled back; without these accounts the batch can be written.
    KeysTaken(BTreeSet<Uuid>),
}

/// Writes `writes`, without those of the accounts `except`, inside the transaction that the caller has begun and ends.
pub(super) fn append(
    connection: &Connection,
    writes: &Writes,
    except: BTreeSet<Uuid>,
) -> StoreResult<Appended> {
    write(connection, writes, except).map_err(|failure| failure.explain(connection))
}

fn write(connection: &Connection, writes: &Writes, except: BTreeSet<Uuid>) -> Attempt<Appended> {
    let mut stale = except;
    keys(connection, writes, &mut stale)?;
    claimed(connection, writes, &mut stale)?;
    accounts(connection, writes, &mut stale)?;
    let fresh = |user_id: &Uuid| stale.is_empty() || !stale.contains(user_id);
    if !entries(
        connection,
        writes.entries.iter().filter(|entry| fresh(&entry.user_id)),
    )? {
        return Ok(Appended::KeysTaken(with_taken_keys(connection, writes)?));
    }
    new_lots(
        connection,
        writes.new_lots.iter().filter(|(user_id, _)| fresh(user_id)),
    )?;
    lots(
        connection,
        writes.lots.iter().filter(|(user_id, _)| fresh(user_id)),
    )?;
    new_holds(
        connection,
        writes.new_holds.iter().filter(|hold| fresh(&hold.user_id)),
    )?;
    holds(
        connection,
        writes,
        writes.holds.iter().filter(|hold| fresh(&hold.user_id)),
    )?;
    gifts(
        connection,
        writes.gifts.iter().filter(|gift| fresh(&gift.user_id)),
    )?;
    orders(
        connection,
        writes.orders.iter().filter(|order| fresh(&order.user_id)),
    )?;
    claims(
        connection,
        writes.claims.iter().filter(|claim| fresh(&claim.user_id)),
    )?;
    Ok(Appended::But(stale))
}

/// A statement that is prepared when the first row needs it, and kept for the rows after.
struct Prepared<'c> {
    connection: &'c Connection,
    sql: &'static str,
    statement: Option<CachedStatement<'c>>,
}

impl<'c> Prepared<'c> {
    fn new(connection: &'c Connection, sql: &'static str) -> Self {
        Prepared {
            connection,
            sql,
            statement: None,
        }
    }

    fn execute(&mut self, values: impl rusqlite::Params) -> rusqlite::Result<usize> {
        match &mut self.statement {
            Some(statement) => statement.execute(values),
            empty => empty
                .insert(self.connection.prepare_cached(self.sql)?)
                .execute(values),
        }
    }
}

const INSERT_ACCOUNT: &str = "INSERT INTO credit_accounts (user_id, seq, hash, available, held, debt, borrowed, \
     credit_limit, granted, spent, next_hold_deadline, next_lot_deadline, created_at, updated_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (user_id) DO NOTHING";

const UPDATE_ACCOUNT: &str = "UPDATE credit_accounts SET seq = ?3, hash = ?4, available = ?5, held = ?6, debt = ?7, \
     borrowed = ?8, credit_limit = ?9, granted = ?10, spent = ?11, updated_at = ?12 \
     WHERE user_id = ?1 AND hash = ?2 \
     AND next_hold_deadline IS ?13 AND next_lot_deadline IS ?14";

/// Touches the indexes on the deadlines, which change once per hold TTL, or when a lot comes or goes.
const UPDATE_ACCOUNT_AND_DEADLINES: &str = "UPDATE credit_accounts SET seq = ?3, hash = ?4, available = ?5, held = ?6, \
     debt = ?7, borrowed = ?8, credit_limit = ?9, granted = ?10, spent = ?11, updated_at = ?12, \
     next_hold_deadline = ?13, next_lot_deadline = ?14 \
     WHERE user_id = ?1 AND hash = ?2";

/// Accounts are stale whose journal has one of the keys that were not looked up.
fn keys(connection: &Connection, writes: &Writes, stale: &mut BTreeSet<Uuid>) -> Attempt<()> {
    const SQL: &str = "SELECT 1 FROM credit_transactions WHERE user_id = ?1 AND idempotency_key = ?2";
    if writes.keys.is_empty() {
        return Ok(());
    }
    let mut look_up = connection.prepare_cached(SQL)?;
    for (user_id, key) in &writes.keys {
        if look_up.exists(params![blob(user_id), key])? {
            stale.insert(*user_id);
        }
    }
    Ok(())
}

/// Accounts are stale whose payments are claimed already.
fn claimed(connection: &Connection, writes: &Writes, stale: &mut BTreeSet<Uuid>) -> Attempt<()> {
    const SQL: &str = "SELECT 1 FROM credit_payment_claims WHERE channel = ?1 AND transaction_id = ?2";
    if writes.claims.is_empty() {
        return Ok(());
    }
    let mut look_up = connection.prepare_cached(SQL)?;
    for claim in &writes.claims {
        if look_up.exists(params![claim.channel, claim.transaction_id])? {
            stale.insert(claim.user_id);
        }
    }
    Ok(())
}

/// The account's row is the guard: it is written only over the entry that was the last when it was loaded.
fn accounts(connection: &Connection, writes: &Writes, stale: &mut BTreeSet<Uuid>) -> Attempt<()> {
    let mut insert = Prepared::new(connection, INSERT_ACCOUNT);
    let mut update = Prepared::new(connection, UPDATE_ACCOUNT);
    let mut update_deadlines = Prepared::new(connection, UPDATE_ACCOUNT_AND_DEADLINES);
    for write in &writes.accounts {
        let a = &write.account;
        if stale.contains(&a.user_id) {
            continue;
        }
        let (hold_deadline, lot_deadline) = (
            a.next_hold_deadline.map(Timestamp::as_micros),
            a.next_lot_deadline.map(Timestamp::as_micros),
        );
        let written = match &write.before {
            None => insert.execute(params![
                blob(&a.user_id),
                a.seq,
                a.hash.0.as_slice(),
                a.available,
                a.held,
                a.debt,
                a.borrowed,
                a.credit_limit,
                a.granted,
                a.spent,
                hold_deadline,
                lot_deadline,
                micros(a.created_at),
                micros(a.updated_at),
            ])?,
            Some(before) => {
                let values = params![
                    blob(&a.user_id),
                    before.hash.0.as_slice(),
                    a.seq,
                    a.hash.0.as_slice(),
                    a.available,
                    a.held,
                    a.debt,
                    a.borrowed,
                    a.credit_limit,
                    a.granted,
                    a.spent,
                    micros(a.updated_at),
                    hold_deadline,
                    lot_deadline,
                ];
                match update.execute(values)? {
                    0 => update_deadlines.execute(values)?,
                    written => written,
                }
            }
        };
        if written == 0 {
            stale.insert(a.user_id);
        }
    }
    Ok(())
}

const INSERT_ENTRY: &str = "INSERT INTO credit_transactions (user_id, seq, kind, change, held_change, available, held, \
     counter_account, consumption_id, lot_id, reference, idempotency_key, request_hash, data, created_at, hash) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

/// `false` where one carries a key that its journal has already.
fn entries<'a>(connection: &Connection, rows: impl Iterator<Item = &'a Entry>) -> Attempt<bool> {
    let mut insert = Prepared::new(connection, INSERT_ENTRY);
    for e in rows {
        let inserted = insert.execute(params![
            blob(&e.user_id),
            e.seq,
            e.kind.as_str(),
            e.change,
            e.held_change,
            e.available,
            e.held,
            e.counter_account.as_ref(),
            e.consumption_id.as_ref().map(blob),
            e.lot_id.as_ref().map(blob),
            e.reference,
            e.idempotency_key,
            e.request_hash.as_ref().map(|hash| hash.0.as_slice()),
            e.data,
            micros(e.created_at),
            e.hash.0.as_slice(),
        ]);
        match inserted {
            Ok(_) => {}
            Err(error) if is_constraint(&error) && key_is_taken(connection, e)? => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    failure::code(error) == Some(ErrorCode::ConstraintViolation)
}

/// Whether another entry carries this one's key.
fn key_is_taken(connection: &Connection, entry: &Entry) -> rusqlite::Result<bool> {
    let Some(key) = &entry.idempotency_key else {
        return Ok(false);
    };
    let other = connection
        .prepare_cached("SELECT hash FROM credit_transactions WHERE user_id = ?1 AND idempotency_key = ?2")?
        .query_row(params![blob(&entry.user_id), key], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    // What this batch has inserted itself is not taken by somebody else.
    Ok(other.is_some_and(|hash| hash != entry.hash.0))
}

/// All of them at once: a batch of repeated commands then costs two attempts, not one for each.
fn with_taken_keys(connection: &Connection, writes: &Writes) -> Attempt<BTreeSet<Uuid>> {
    let mut accounts = BTreeSet::new();
    for entry in &writes.entries {
        if key_is_taken(connection, entry)? {
            accounts.insert(entry.user_id);
        }
    }
    Ok(accounts)
}

const INSERT_LOT: &str = "INSERT INTO credit_lots (user_id, lot_id, source, amount, remaining, expired, clawed, claim, \
     open, priority, expires_at, cost_minor, cost_currency, reference, origin, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)";

fn new_lots<'a>(connection: &Connection, rows: impl Iterator<Item = &'a (Uuid, Arc<Lot>)>) -> Attempt<()> {
    let mut insert = Prepared::new(connection, INSERT_LOT);
    for (user_id, lot) in rows {
        insert.execute(params![
            blob(user_id),
            blob(&lot.lot_id),
            lot.source.as_str(),
            lot.amount,
            lot.remaining,
            lot.expired,
            lot.clawed,
            lot.claim,
            lot.remaining > 0,
            lot.priority,
            lot.expires_at.map(micros),
            lot.cost.as_ref().map(|cost| cost.minor),
            lot.cost.as_ref().map(|cost| cost.currency.as_str()),
            lot.reference,
            lot.origin.as_ref().map(blob),
            micros(lot.created_at),
        ])?;
    }
    Ok(())
}

/// Leaves `open` alone, so that the index on open lots need not be touched.
const UPDATE_LOT: &str = "UPDATE credit_lots SET remaining = ?3, expired = ?4, clawed = ?5, claim = ?6 \
     WHERE user_id = ?1 AND lot_id = ?2 AND open = (?3 > 0)";

const OPEN_OR_CLOSE_LOT: &str = "UPDATE credit_lots SET remaining = ?3, expired = ?4, clawed = ?5, claim = ?6, \
     open = (?3 > 0) WHERE user_id = ?1 AND lot_id = ?2";

fn lots<'a>(connection: &Connection, rows: impl Iterator<Item = &'a (Uuid, Arc<Lot>)>) -> Attempt<()> {
    let mut update = Prepared::new(connection, UPDATE_LOT);
    let mut open_or_close = Prepared::new(connection, OPEN_OR_CLOSE_LOT);
    for (user_id, lot) in rows {
        let values = params![
            blob(user_id),
            blob(&lot.lot_id),
            lot.remaining,
            lot.expired,
            lot.clawed,
            lot.claim
        ];
        if update.execute(values)? == 0 && open_or_close.execute(values)? == 0 {
            return Err(missing("lot", &lot.lot_id));
        }
    }
    Ok(())
}

const INSERT_HOLD: &str = "INSERT INTO credit_consumption_logs (consumption_id, user_id, status, amount, captured, \
     reversed, borrowed, pins, feature, reference, metadata, quote, created_at, expires_at, settled_at, used, \
     updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?13)";

fn new_holds<'a>(connection: &Connection, rows: impl Iterator<Item = &'a Arc<Hold>>) -> Attempt<()> {
    let mut insert = Prepared::new(connection, INSERT_HOLD);
    for hold in rows {
        insert.execute(params![
            blob(&hold.consumption_id),
            blob(&hold.user_id),
            hold.state.status.as_str(),
            hold.amount,
            hold.state.captured,
            hold.state.reversed,
            hold.state.borrowed,
            pins(hold)?,
            hold.feature,
            hold.reference,
            hold.metadata.as_ref().map(|metadata| metadata.as_str()),
            hold.quote,
            micros(hold.created_at),
            micros(hold.state.expires_at),
            hold.state.settled_at.map(micros),
            hold.state.used,
        ])?;
    }
    Ok(())
}

const UPDATE_HOLD: &str = "UPDATE credit_consumption_logs SET status = ?3, captured = ?4, reversed = ?5, borrowed = ?6, \
     pins = ?7, expires_at = ?8, settled_at = ?9, updated_at = ?10, used = ?11 WHERE consumption_id = ?1 AND user_id = ?2";

fn holds<'a>(
    connection: &Connection,
    writes: &Writes,
    rows: impl Iterator<Item = &'a Arc<Hold>>,
) -> Attempt<()> {
    let mut update = Prepared::new(connection, UPDATE_HOLD);
    let mut decided_at: Option<HashMap<Uuid, Timestamp>> = None;
    for hold in rows {
        let decided_at = decided_at.get_or_insert_with(|| {
            writes
                .accounts
                .iter()
                .map(|write| (write.account.user_id, write.account.updated_at))
                .collect()
        });
        let updated = update.execute(params![
            blob(&hold.consumption_id),
            blob(&hold.user_id),
            hold.state.status.as_str(),
            hold.state.captured,
            hold.state.reversed,
            hold.state.borrowed,
            pins(hold)?,
            micros(hold.state.expires_at),
            hold.state.settled_at.map(micros),
            micros(decided_at.get(&hold.user_id).copied().unwrap_or(hold.created_at)),
            hold.state.used,
        ])?;
        if updated == 0 {
            return Err(missing("consumption", &hold.consumption_id));
        }
    }
    Ok(())
}

fn pins(hold: &Hold) -> Attempt<String> {
    serde_json::to_string(&hold.state.pins)
        .map_err(|e| Failure::Damaged(format!("consumption {}: pins: {e}", hold.consumption_id)))
}

const INSERT_GIFT: &str = "INSERT INTO credit_gifts (user_id, gift_id, amount, reason, operator, expires_at, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

fn gifts<'a>(connection: &Connection, rows: impl Iterator<Item = &'a GiftRow>) -> Attempt<()> {
    let mut insert = Prepared::new(connection, INSERT_GIFT);
    for gift in rows {
        insert.execute(params![
            blob(&gift.user_id),
            blob(&gift.lot_id),
            gift.amount,
            gift.reason,
            gift.operator,
            gift.expires_at.map(micros),
            micros(gift.created_at),
        ])?;
    }
    Ok(())
}

const WRITE_ORDER: &str = "INSERT INTO credit_orders (order_no, user_id, status, channel, package_id, price_minor, \
     currency, credits, bonus_credits, refunded_minor, transaction_id, lot_id, bonus_lot_id, data, created_at, \
     expires_at, paid_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17) \
     ON CONFLICT (order_no, user_id) DO UPDATE SET status = ?3, refunded_minor = ?10, transaction_id = ?11, \
     lot_id = ?12, bonus_lot_id = ?13, data = ?14, paid_at = ?17";

fn orders<'a>(connection: &Connection, rows: impl Iterator<Item = &'a Order>) -> Attempt<()> {
    let mut write = Prepared::new(connection, WRITE_ORDER);
    for order in rows {
        let row = OrderRow::of(order);
        write.execute(params![
            row.order_no,
            blob(&row.user_id),
            row.status,
            row.channel,
            blob(&row.package_id),
            row.price_minor,
            row.currency,
            row.credits,
            row.bonus_credits,
            row.refunded_minor,
            row.transaction_id,
            row.lot_id.as_ref().map(blob),
            row.bonus_lot_id.as_ref().map(blob),
            row.data,
            micros(row.created_at),
            micros(row.expires_at),
            row.paid_at.map(micros),
        ])?;
    }
    Ok(())
}

const INSERT_CLAIM: &str = "INSERT INTO credit_payment_claims (channel, transaction_id, order_no, user_id) \
     VALUES (?1, ?2, ?3, ?4)";

fn claims<'a>(connection: &Connection, rows: impl Iterator<Item = &'a Claim>) -> Attempt<()> {
    let mut insert = Prepared::new(connection, INSERT_CLAIM);
    for claim in rows {
        insert.execute(params![
            claim.channel,
            claim.transaction_id,
            claim.order_no.to_string(),
            blob(&claim.user_id),
        ])?;
    }
    Ok(())
}

fn missing(what: &str, id: &Uuid) -> Failure {
    Failure::Damaged(format!("the database has lost {what} {id}"))
}
