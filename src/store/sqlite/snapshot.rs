//! A picture of the whole database that does not move while it is read.
//!
//! Of a file it is a read transaction on a connection of its own: the write-ahead log keeps what it needs, and grows
//! for as long as it lives. An in-memory database has no other connection, so the picture is a copy.

use super::blocking;
use super::failure::Attempt;
use super::fork::Counted;
use super::load::many;
use super::read::rows_max;
use super::retention;
use super::rows::{
    self, Shape, account_columns, blob, entry_columns, gift_columns, hold_columns, lot_columns, order_columns,
};
use crate::ledger::{Account, Checkpoint, Entry, Hash, Hold, Lot, OrderNo};
use crate::store::{
    Claim, DamagedEntry, GiftRow, Page, Reading, Snapshot, StoreError, StoreResult, StoredEntry, StoredOrder,
    Sums,
};
use rusqlite::backup::Backup;
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use uuid::Uuid;

/// See the module.
#[derive(Debug)]
pub(super) struct SqliteSnapshot {
    /// Away while a page is read; for ever, where the caller gave up in the middle of one.
    connection: Option<Counted>,
}

pub(super) fn of_file(connection: Counted) -> StoreResult<SqliteSnapshot> {
    let begin = || -> Attempt<()> {
        connection.execute_batch("BEGIN")?;
        // The picture is taken with the first read, not with BEGIN.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(())
    };
    begin().map_err(|failure| failure.explain(&connection))?;
    Ok(SqliteSnapshot {
        connection: Some(connection),
    })
}

pub(super) fn of_memory(connection: &Connection) -> Attempt<SqliteSnapshot> {
    let copy = Counted::memory(|| -> Attempt<Connection> {
        let mut copy = super::open::memory()?;
        // All pages in one step: nobody else can have the connection meanwhile.
        Backup::new(connection, &mut copy)?.step(-1)?;
        Ok(copy)
    })?;
    Ok(SqliteSnapshot {
        connection: Some(copy),
    })
}

impl SqliteSnapshot {
    pub(super) fn read<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Attempt<T> + Send + 'static,
    ) -> Reading<'_, T> {
        Box::pin(async move {
            let connection = self
                .connection
                .take()
                .ok_or_else(|| StoreError::Lost("reading the snapshot was interrupted".into()))?;
            let (connection, result) = blocking(move || {
                let result = work(&connection).map_err(|failure| failure.explain(&connection));
                let result = match connection.check_place() {
                    Ok(()) => result,
                    Err(moved) => Err(moved.not_done()),
                };
                Ok((connection, result))
            })
            .await?;
            self.connection = Some(connection);
            result
        })
    }

    /// Rows can't leave SQLite other than decoded, but for the texts in them.
    pub(super) fn page<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Attempt<Vec<T>> + Send + 'static,
    ) -> Reading<'_, Page<T>> {
        self.read(|connection| work(connection).map(Page::ready))
    }
}

impl Snapshot for SqliteSnapshot {
    fn accounts(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Account>> {
        const SQL: &str = concat!(
            "SELECT ",
            account_columns!(),
            " FROM credit_accounts WHERE user_id > ?1 ORDER BY user_id LIMIT ?2"
        );
        self.page(move |connection| {
            many(
                connection,
                SQL,
                params![key(after.as_ref()), rows_max(limit)],
                rows::ACCOUNT,
            )
        })
    }

    fn entries(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<StoredEntry>> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM credit_transactions WHERE (user_id, seq) > (?1, ?2) ORDER BY user_id, seq LIMIT ?3"
        );
        let (user_id, seq) = after.unzip();
        self.read(move |connection| {
            let values = params![key(user_id.as_ref()), seq.unwrap_or(i64::MIN), rows_max(limit)];
            let entries = many(connection, SQL, values, rows::BARE_ENTRY)?;
            let whole = |entry: Entry| {
                let (user_id, seq) = (entry.user_id, entry.seq);
                rows::with_effects(entry).map_err(|problem| DamagedEntry {
                    user_id,
                    seq,
                    problem,
                })
            };
            // In a thread of its own, while this one reads the next page.
            Ok(Page::of(move || {
                Ok(entries.into_iter().map(|entry| entry.and_then(whole)).collect())
            }))
        })
    }

    fn lots(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<(Uuid, Lot)>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots WHERE (user_id, lot_id) > (?1, ?2) ORDER BY user_id, lot_id LIMIT ?3"
        );
        let (user_id, lot_id) = after.unzip();
        self.page(move |connection| {
            let values = params![key(user_id.as_ref()), key(lot_id.as_ref()), rows_max(limit)];
            many(connection, SQL, values, rows::LOT)
        })
    }

    /// By `credit_consumption_logs_user`.
    fn holds(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<Hold>> {
        const SQL: &str = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM credit_consumption_logs WHERE (user_id, consumption_id) > (?1, ?2) \
              ORDER BY user_id, consumption_id LIMIT ?3"
        );
        let (user_id, consumption_id) = after.unzip();
        self.page(move |connection| {
            let values = params![
                key(user_id.as_ref()),
                key(consumption_id.as_ref()),
                rows_max(limit)
            ];
            many(connection, SQL, values, rows::HOLD)
        })
    }

    fn gifts(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<GiftRow>> {
        const SQL: &str = concat!(
            "SELECT ",
            gift_columns!(),
            " FROM credit_gifts WHERE (user_id, gift_id) > (?1, ?2) ORDER BY user_id, gift_id LIMIT ?3"
        );
        let (user_id, lot_id) = after.unzip();
        self.page(move |connection| {
            let values = params![key(user_id.as_ref()), key(lot_id.as_ref()), rows_max(limit)];
            many(connection, SQL, values, rows::GIFT)
        })
    }

    /// By `credit_orders_user`.
    fn orders(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<StoredOrder>> {
        const SQL: &str = concat!(
            "SELECT ",
            order_columns!(),
            " FROM credit_orders WHERE (user_id, order_no) > (?1, ?2) ORDER BY user_id, order_no LIMIT ?3"
        );
        let (user_id, order_no) = after.unzip();
        let order_no = order_no.map(|order_no| order_no.to_string()).unwrap_or_default();
        self.page(move |connection| {
            let values = params![key(user_id.as_ref()), order_no, rows_max(limit)];
            many(connection, SQL, values, rows::STORED_ORDER)
        })
    }

    /// By `credit_payment_claims_order`.
    fn claims(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<Claim>> {
        const SQL: &str = "SELECT channel, transaction_id, order_no, user_id FROM credit_payment_claims \
             WHERE (user_id, order_no) > (?1, ?2) ORDER BY user_id, order_no LIMIT ?3";
        let (user_id, order_no) = after.unzip();
        let order_no = order_no.map(|order_no| order_no.to_string()).unwrap_or_default();
        self.page(move |connection| {
            let values = params![key(user_id.as_ref()), order_no, rows_max(limit)];
            many(connection, SQL, values, rows::CLAIM)
        })
    }

    fn checkpoints(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Checkpoint>> {
        const SQL: &str = "SELECT user_id, seq, hash, data, created_at FROM credit_checkpoints \
             WHERE user_id > ?1 ORDER BY user_id LIMIT ?2";
        self.page(move |connection| {
            let values = params![key(after.as_ref()), rows_max(limit)];
            many(connection, SQL, values, rows::CHECKPOINT)
        })
    }

    fn kept(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<(Uuid, i64, Hash)>> {
        const SQL: &str = "SELECT user_id, seq, previous_hash FROM credit_kept_entries \
             WHERE (user_id, seq) > (?1, ?2) ORDER BY user_id, seq LIMIT ?3";
        let (user_id, seq) = after.unzip();
        self.page(move |connection| {
            let values = params![key(user_id.as_ref()), seq.unwrap_or(i64::MIN), rows_max(limit)];
            many(connection, SQL, values, rows::KEPT)
        })
    }

    fn lots_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<(Uuid, Lot)>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots WHERE user_id = ?1 AND lot_id = ?2"
        );
        self.page(move |connection| named(connection, SQL, user_id, &lot_ids, rows::LOT))
    }

    fn holds_of(&mut self, user_id: Uuid, consumption_ids: Vec<Uuid>) -> Reading<'_, Page<Hold>> {
        const SQL: &str = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM credit_consumption_logs WHERE user_id = ?1 AND consumption_id = ?2"
        );
        self.page(move |connection| named(connection, SQL, user_id, &consumption_ids, rows::HOLD))
    }

    fn gifts_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<GiftRow>> {
        const SQL: &str = concat!(
            "SELECT ",
            gift_columns!(),
            " FROM credit_gifts WHERE user_id = ?1 AND gift_id = ?2"
        );
        self.page(move |connection| named(connection, SQL, user_id, &lot_ids, rows::GIFT))
    }

    fn journal(&mut self, user_id: Uuid, after: i64, limit: usize) -> Reading<'_, Vec<StoredEntry>> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM credit_transactions WHERE user_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
        );
        self.read(move |connection| {
            many(
                connection,
                SQL,
                params![blob(&user_id), after, rows_max(limit)],
                rows::STORED_ENTRY,
            )
        })
    }

    fn checkpoint(&mut self, user_id: Uuid) -> Reading<'_, Option<Checkpoint>> {
        self.read(move |connection| retention::checkpoint(connection, user_id))
    }

    fn sums(&mut self) -> Reading<'_, Sums> {
        self.read(sums)
    }

    fn archived_sums(&mut self) -> Reading<'_, BTreeMap<String, i128>> {
        self.read(archived_sums)
    }
}

/// The rows with these ids. A look-up for each: without a network, one for all would save nothing.
fn named<T>(
    connection: &Connection,
    sql: &'static str,
    user_id: Uuid,
    ids: &[Uuid],
    shape: Shape<T>,
) -> Attempt<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = statement.query(params![blob(&user_id), blob(id)])?;
        while let Some(row) = rows.next()? {
            found.push(shape.read(row)?);
        }
    }
    Ok(found)
}

/// An id, or what is smaller than every id.
pub(super) fn key(id: Option<&Uuid>) -> &[u8] {
    id.map_or(&[], |id| id.as_bytes())
}

/// Added up here and not by SQLite's `sum()`, which ends at 2^63.
fn sums(connection: &Connection) -> Attempt<Sums> {
    let mut sums = Sums::default();
    let mut statement = connection.prepare("SELECT available, held FROM credit_accounts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        sums.available += i128::from(row.get::<_, i64>(0)?);
        sums.held += i128::from(row.get::<_, i64>(1)?);
    }
    sums.counter_accounts = archived_sums(connection)?;
    let mut statement =
        connection.prepare("SELECT counter_account, change, held_change FROM credit_transactions")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let change = i128::from(row.get::<_, i64>(1)?) + i128::from(row.get::<_, i64>(2)?);
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        match sums.counter_accounts.get_mut(name) {
            Some(sum) => *sum -= change,
            None => drop(sums.counter_accounts.insert(name.to_owned(), -change)),
        }
    }
    Ok(sums)
}

fn archived_sums(connection: &Connection) -> Attempt<BTreeMap<String, i128>> {
    let mut sums = BTreeMap::new();
    let mut statement = connection.prepare("SELECT counter_account, amount FROM credit_archived_sums")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let amount: String = row.get(1)?;
        sums.insert(row.get(0)?, retention::sum(&amount)?);
    }
    Ok(sums)
}
