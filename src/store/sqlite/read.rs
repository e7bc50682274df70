//! Queries of the reading side. Each runs in a read transaction on a borrowed connection.

use super::failure::Attempt;
use super::load::many;
use super::rows::{self, blob, entry_columns, hold_columns, micros, order_columns};
use crate::ledger::{Entry, Hold, Order, OrderNo, Status, Timestamp};
use crate::stats::PendingHolds;
use crate::store::{
    Due, EntryFilter, HoldFilter, OddTime, OpenOrderRow, OrderFilter, TIMES_NAMED_MAX, after_every_number,
};
use rusqlite::{Connection, params};
use uuid::Uuid;

/// Greater than any id: one byte longer than the greatest.
const AFTER_EVERY_ID: [u8; 17] = [0xFF; 17];

/// A limit as SQLite takes it.
pub(super) fn rows_max(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// By the journal's primary key.
pub(super) fn entries(connection: &Connection, user_id: Uuid, filter: &EntryFilter) -> Attempt<Vec<Entry>> {
    const SQL: &str = concat!(
        "SELECT ",
        entry_columns!(),
        " FROM credit_transactions WHERE user_id = ?1 AND seq < ?2 AND (?3 IS NULL OR kind = ?3) \
          AND seq > ?4 AND created_at < ?5 ORDER BY seq DESC LIMIT ?6"
    );
    let values = params![
        blob(&user_id),
        filter.before.unwrap_or(i64::MAX),
        filter.kind.map(|kind| kind.as_str()),
        filter.after,
        filter.until.map_or(i64::MAX, micros),
        rows_max(filter.limit),
    ];
    many(connection, SQL, values, rows::ENTRY)
}

macro_rules! holds_where {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            hold_columns!(),
            " FROM credit_consumption_logs WHERE user_id = ?1 AND consumption_id < ?2 AND ",
            $condition,
            " ORDER BY consumption_id DESC LIMIT ?3"
        )
    };
}

/// By `credit_consumption_logs_user`.
pub(super) fn holds(connection: &Connection, user_id: Uuid, filter: &HoldFilter) -> Attempt<Vec<Hold>> {
    let sql = match filter.status {
        None => holds_where!("?4 IS NOT NULL"),
        Some(Status::Pending) => holds_where!("status = 'pending' AND expires_at > ?4"),
        Some(Status::Expired) => {
            holds_where!("(status = 'expired' OR (status = 'pending' AND expires_at <= ?4))")
        }
        Some(Status::Confirmed) => holds_where!("status = 'confirmed' AND ?4 IS NOT NULL"),
        Some(Status::Refunded) => holds_where!("status = 'refunded' AND ?4 IS NOT NULL"),
    };
    let before = filter
        .before
        .as_ref()
        .map_or(AFTER_EVERY_ID.as_slice(), |id| id.as_bytes().as_slice());
    many(
        connection,
        sql,
        params![blob(&user_id), before, rows_max(filter.limit), micros(filter.now)],
        rows::HOLD,
    )
}

/// By `credit_consumption_logs_pending`. `total` counts in floating point, exactly up to 2^53, where `sum` would fail.
pub(super) fn pending_holds(connection: &Connection, now: Timestamp) -> Attempt<PendingHolds> {
    let sql = "SELECT count(*) FILTER (WHERE expires_at > ?1), \
        CAST(min(total(amount) FILTER (WHERE expires_at > ?1), 9.0e18) AS INTEGER), \
        count(*) FILTER (WHERE expires_at <= ?1) FROM credit_consumption_logs WHERE status = 'pending'";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(PendingHolds {
            holds: row.get::<_, i64>(0)?.unsigned_abs(),
            credits: row.get(1)?,
            overdue: row.get::<_, i64>(2)?.unsigned_abs(),
        })
    };
    Ok(connection.prepare_cached(sql)?.query_row([micros(now)], read)?)
}

/// By `credit_orders_user`; of all accounts by the primary key.
pub(super) fn orders(connection: &Connection, filter: &OrderFilter) -> Attempt<Vec<Order>> {
    const OF_ACCOUNT: &str = concat!(
        "SELECT ",
        order_columns!(),
        " FROM credit_orders WHERE user_id = ?1 AND (?2 IS NULL OR order_no < ?2) AND (?3 IS NULL OR status = ?3) \
          ORDER BY order_no DESC LIMIT ?4"
    );
    const OF_ALL: &str = concat!(
        "SELECT ",
        order_columns!(),
        " FROM credit_orders WHERE ?1 IS NULL AND (?2 IS NULL OR order_no < ?2) AND (?3 IS NULL OR status = ?3) \
          ORDER BY order_no DESC LIMIT ?4"
    );
    let sql = if filter.user_id.is_some() {
        OF_ACCOUNT
    } else {
        OF_ALL
    };
    let values = params![
        filter.user_id.as_ref().map(blob),
        filter.before.map(|order_no| order_no.to_string()),
        filter.status.map(|status| status.as_str()),
        rows_max(filter.limit),
    ];
    many(connection, sql, values, rows::ORDER)
}

/// By `credit_orders_open`.
pub(super) fn open_orders(
    connection: &Connection,
    until: Timestamp,
    before: Option<OrderNo>,
    limit: usize,
) -> Attempt<Vec<OpenOrderRow>> {
    const SQL: &str = "SELECT order_no, user_id, channel, status, expires_at FROM credit_orders \
         WHERE status IN ('created', 'paying', 'refunding') AND order_no < ?1 AND created_at <= ?2 \
         ORDER BY order_no DESC LIMIT ?3";
    let before = before.map_or_else(after_every_number, |order_no| order_no.to_string());
    many(
        connection,
        SQL,
        params![before, micros(until), rows_max(limit)],
        rows::OPEN_ORDER,
    )
}

/// By `credit_accounts_hold_deadline` and `credit_accounts_lot_deadline`.
pub(super) fn due(
    connection: &Connection,
    what: Due,
    now: Timestamp,
    after: Option<(Timestamp, Uuid)>,
    limit: usize,
) -> Attempt<Vec<(Timestamp, Uuid)>> {
    let sql = match what {
        Due::Holds => {
            "SELECT next_hold_deadline, user_id FROM credit_accounts \
             WHERE next_hold_deadline <= ?1 AND (next_hold_deadline, user_id) > (?2, ?3) \
             ORDER BY next_hold_deadline, user_id LIMIT ?4"
        }
        Due::Lots => {
            "SELECT next_lot_deadline, user_id FROM credit_accounts \
             WHERE next_lot_deadline <= ?1 AND (next_lot_deadline, user_id) > (?2, ?3) \
             ORDER BY next_lot_deadline, user_id LIMIT ?4"
        }
    };
    let (deadline, id) = match &after {
        Some((deadline, id)) => (micros(*deadline), id.as_bytes().as_slice()),
        None => (i64::MIN, [].as_slice()),
    };
    many(
        connection,
        sql,
        params![micros(now), deadline, id, rows_max(limit)],
        rows::DEADLINE,
    )
}

pub(super) fn odd_times(connection: &Connection) -> Attempt<Vec<OddTime>> {
    const ENTRIES: &str =
        "SELECT user_id, seq FROM credit_transactions WHERE updated_at IS NOT NULL LIMIT ?1";
    const HOLDS: &str = "SELECT h.user_id, h.consumption_id FROM credit_consumption_logs h \
         LEFT JOIN credit_accounts a ON a.user_id = h.user_id \
         WHERE (h.updated_at < h.created_at OR h.updated_at < h.settled_at OR h.updated_at > a.updated_at) \
         AND NOT EXISTS (SELECT 1 FROM credit_transactions e WHERE e.user_id = h.user_id AND e.created_at = h.updated_at) \
         AND NOT EXISTS (SELECT 1 FROM credit_checkpoints c WHERE c.user_id = h.user_id) LIMIT ?1";
    let limit = rows_max(TIMES_NAMED_MAX);
    let entries = many(connection, ENTRIES, [limit], rows::POSITION)?;
    let holds = many(connection, HOLDS, [limit], rows::OWNED)?;
    let entries = entries.into_iter().map(|(user_id, seq)| OddTime {
        user_id,
        seq: Some(seq),
        consumption_id: None,
    });
    let holds = holds.into_iter().map(|(user_id, id)| OddTime {
        user_id,
        seq: None,
        consumption_id: Some(id),
    });
    Ok(entries.chain(holds).take(TIMES_NAMED_MAX).collect())
}
