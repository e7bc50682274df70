//! A picture of the whole database that does not move while it is read: a read-only transaction on a connection of its
//! own.
//!
//! Pages of the large tables come by `COPY`, which costs both sides half of what a result does (see `fields.rs`).

use super::fields::{Copied, Fields, OfCopy, OfRow, Unreadable};
use super::read::limit;
use super::{Statements, during_read, load, pin_path, retention};
use crate::ledger::{
    Account, Checkpoint, Entry, Hash, Hold, HoldState, Kind, Lot, Metadata, Money, OrderNo, Pin, Source,
    Status,
};
use crate::store::{
    Claim, DamagedEntry, GiftRow, Page, Reading, Snapshot, StoreError, StoreResult, StoredEntry, StoredOrder,
    Sums,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row, SqlStr};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use uuid::Uuid;

/// See the module. Dropped, it is closed.
pub(super) struct PostgresSnapshot {
    connection: PgConnection,
    statements: Arc<Statements>,
}

const ACCOUNT: &str = "user_id, seq, hash, available, held, debt, borrowed, credit_limit, granted, spent, \
     next_hold_deadline, next_lot_deadline, created_at, updated_at";
const LOT: &str = "user_id, lot_id, source, amount, remaining, expired, clawed, claim, priority, expires_at, \
     cost_minor, cost_currency, reference, origin, created_at";
pub(super) const HOLD: &str = "consumption_id, user_id, status, amount, captured, reversed, borrowed, lot_ids, lot_amounts, \
     feature, reference, metadata, quote, created_at, expires_at, settled_at, used";
const GIFT: &str = "user_id, gift_id, amount, reason, operator, expires_at, created_at";
pub(super) const ENTRY: &str = "user_id, seq, kind, change, held_change, available, held, counter_account, consumption_id, \
     lot_id, reference, idempotency_key, request_hash, data, created_at, hash";

impl PostgresSnapshot {
    pub(super) async fn begin(
        mut connection: PgConnection,
        statements: Arc<Statements>,
    ) -> StoreResult<Self> {
        // The picture is taken by the first query, not by BEGIN. Pages are read along the keys, also where statistics
        // are too old to say that this is cheaper than sorting the table for each of them.
        sqlx::raw_sql(AssertSqlSafe(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL enable_seqscan = off; \
             SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off; SELECT {}",
            pin_path(true)
        )))
        .execute(&mut connection)
        .await
        .map_err(during_read)?;
        Ok(PostgresSnapshot {
            connection,
            statements,
        })
    }

    pub(super) async fn rows(
        &mut self,
        query: Query<'static, Postgres, PgArguments>,
    ) -> StoreResult<Vec<PgRow>> {
        query
            .persistent(self.statements.persistent)
            .fetch_all(&mut self.connection)
            .await
            .map_err(during_read)
    }

    pub(super) fn text(&self, name: &'static str, make: impl FnOnce() -> String) -> SqlStr {
        self.text_of(name, 0, make)
    }

    pub(super) fn text_of(&self, name: &'static str, mask: u32, make: impl FnOnce() -> String) -> SqlStr {
        self.statements.text(name, mask, make)
    }

    /// Turns a way of reading on or off, until the end of the picture.
    pub(super) async fn set(&mut self, name: &'static str, on: bool) -> StoreResult<()> {
        let query = sqlx::query("SELECT set_config($1, $2, true)");
        self.rows(query.bind(name).bind(if on { "on" } else { "off" }))
            .await?;
        Ok(())
    }

    /// A page of a table, in the order of its key: the rows for which `beyond` is true, which names the key's columns.
    async fn copy(
        &mut self,
        table: &str,
        columns: &str,
        beyond: Option<String>,
        key: &str,
        count: usize,
    ) -> StoreResult<Copied> {
        let prefix = &self.statements.prefix;
        let beyond = beyond
            .map(|beyond| format!("WHERE {beyond} "))
            .unwrap_or_default();
        let count = limit(count);
        // COPY takes no parameters; what stands in its text are ids and numbers.
        let text = format!(
            "COPY (SELECT {columns} FROM {prefix}{table} {beyond}ORDER BY {key} LIMIT {count}) TO STDOUT (FORMAT binary)"
        );
        let mut rows = self.connection.copy_out_raw(&text).await.map_err(during_read)?;
        let mut copied = Vec::new();
        while let Some(bytes) = poll_fn(|context| rows.as_mut().poll_next(context)).await {
            copied.extend_from_slice(&bytes.map_err(during_read)?);
        }
        Ok(Copied(copied))
    }

    /// A page of a table whose key begins with the account, after `after`.
    async fn page(
        &mut self,
        table: &Table,
        after: Option<(Uuid, Uuid)>,
        count: usize,
    ) -> StoreResult<Copied> {
        let Table { name, columns, id } = table;
        let beyond = after.map(|(user_id, after)| format!("(user_id, {id}) > ('{user_id}', '{after}')"));
        self.copy(name, columns, beyond, &format!("user_id, {id}"), count)
            .await
    }

    /// The rows of one account with these ids.
    async fn named(&mut self, table: &Table, user_id: Uuid, ids: Vec<Uuid>) -> StoreResult<Vec<PgRow>> {
        let Table { name, columns, id } = table;
        let text = self.statements.text(name, 2, || {
            format!("SELECT {columns} FROM {{s}}{name} WHERE user_id = $1 AND {id} = ANY($2)")
        });
        self.rows(sqlx::query(text).bind(user_id).bind(ids)).await
    }
}

struct Table {
    name: &'static str,
    columns: &'static str,
    /// The second column of its key.
    id: &'static str,
}

const LOTS: Table = Table {
    name: "credit_lots",
    columns: LOT,
    id: "lot_id",
};
const HOLDS: Table = Table {
    name: "credit_consumption_logs",
    columns: HOLD,
    id: "consumption_id",
};
const GIFTS: Table = Table {
    name: "credit_gifts",
    columns: GIFT,
    id: "gift_id",
};

fn account<'r>(c: &mut impl Fields<'r>) -> Result<Account, Unreadable> {
    Ok(Account {
        user_id: c.get()?,
        seq: c.get()?,
        hash: c.get()?,
        available: c.get()?,
        held: c.get()?,
        debt: c.get()?,
        borrowed: c.get()?,
        credit_limit: c.get()?,
        granted: c.get()?,
        spent: c.get()?,
        next_hold_deadline: c.get()?,
        next_lot_deadline: c.get()?,
        created_at: c.get()?,
        updated_at: c.get()?,
    })
}

fn lot<'r>(c: &mut impl Fields<'r>) -> Result<(Uuid, Lot), Unreadable> {
    let user_id = c.get()?;
    let lot = Lot {
        lot_id: c.get()?,
        source: c.word(Source::parse)?,
        amount: c.get()?,
        remaining: c.get()?,
        expired: c.get()?,
        clawed: c.get()?,
        claim: c.get()?,
        priority: c.get()?,
        expires_at: c.get()?,
        // Both are there or neither is: a CHECK says so.
        cost: c
            .get::<Option<i64>>()?
            .zip(c.get::<Option<String>>()?)
            .map(|(minor, currency)| Money { minor, currency }),
        reference: c.get()?,
        origin: c.get()?,
        created_at: c.get()?,
    };
    Ok((user_id, lot))
}

pub(super) fn hold<'r>(c: &mut impl Fields<'r>) -> Result<Hold, Unreadable> {
    let (consumption_id, user_id) = (c.get()?, c.get()?);
    let status = c.word(Status::parse)?;
    let amount = c.get()?;
    let (captured, reversed, borrowed) = (c.get()?, c.get()?, c.get()?);
    let (lots, amounts): (Vec<Uuid>, Vec<i64>) = (c.get()?, c.get()?);
    let pins = lots.into_iter().zip(amounts);
    Ok(Hold {
        consumption_id,
        user_id,
        amount,
        feature: c.get()?,
        reference: c.get()?,
        metadata: c.get::<Option<String>>()?.map(Metadata::from_canonical),
        quote: c.get()?,
        created_at: c.get()?,
        state: HoldState {
            status,
            captured,
            reversed,
            borrowed,
            pins: pins.map(|(lot_id, amount)| Pin { lot_id, amount }).collect(),
            expires_at: c.get()?,
            settled_at: c.get()?,
            used: c.get()?,
        },
    })
}

fn gift<'r>(c: &mut impl Fields<'r>) -> Result<GiftRow, Unreadable> {
    Ok(GiftRow {
        user_id: c.get()?,
        lot_id: c.get()?,
        amount: c.get()?,
        reason: c.get()?,
        operator: c.get()?,
        expires_at: c.get()?,
        created_at: c.get()?,
    })
}

/// An entry whose key can be read but not the rest is reported by that key.
pub(super) fn stored_entry<'r>(c: &mut impl Fields<'r>) -> Result<StoredEntry, Unreadable> {
    let (user_id, seq) = (c.get()?, c.get()?);
    Ok(
        entry(user_id, seq, c).map_err(|Unreadable(problem)| DamagedEntry {
            user_id,
            seq,
            problem,
        }),
    )
}

fn entry<'r>(user_id: Uuid, seq: i64, c: &mut impl Fields<'r>) -> Result<Entry, Unreadable> {
    let mut entry = Entry {
        user_id,
        seq,
        kind: c.word(Kind::parse)?,
        change: c.get()?,
        held_change: c.get()?,
        available: c.get()?,
        held: c.get()?,
        counter_account: c.get::<String>()?.into(),
        consumption_id: c.get()?,
        lot_id: c.get()?,
        reference: c.get()?,
        idempotency_key: c.get()?,
        request_hash: c.get()?,
        data: c.get()?,
        effects: Default::default(),
        created_at: c.get()?,
        hash: c.get()?,
    };
    entry.effects =
        serde_json::from_str(&entry.data).map_err(|e| Unreadable(format!("its data can't be read: {e}")))?;
    Ok(entry)
}

fn damaged(what: &str, Unreadable(problem): Unreadable) -> StoreError {
    StoreError::Failed {
        problem: format!("can't read {what}: {problem}"),
        remedy: "the books are damaged, or of another version; run verify()",
    }
}

/// Every row decoded, or the first that can't be.
pub(super) fn all<T>(
    rows: &[PgRow],
    what: &str,
    decode: impl Fn(&mut OfRow<'_>) -> Result<T, Unreadable>,
) -> StoreResult<Vec<T>> {
    // Collecting results would forget how many there are, and move large rows while it grows.
    let mut decoded = Vec::with_capacity(rows.len());
    for row in rows {
        decoded.push(decode(&mut OfRow::new(row)).map_err(|error| damaged(what, error))?);
    }
    Ok(decoded)
}

/// A page of copied rows, not decoded yet.
fn to_decode<T: Send + 'static>(
    copied: Copied,
    what: &'static str,
    decode: impl Fn(&mut OfCopy<'_>) -> Result<T, Unreadable> + Send + 'static,
) -> Page<T> {
    Page::of(move || copied.rows(decode).map_err(|error| damaged(what, error)))
}

/// A number that was fetched as text.
fn number(row: &PgRow, column: usize) -> StoreResult<i128> {
    let text: String = row.try_get(column).map_err(during_read)?;
    text.parse().map_err(|_| StoreError::Failed {
        problem: format!("a sum is {text}"),
        remedy: "the books are damaged; run verify()",
    })
}

impl Snapshot for PostgresSnapshot {
    fn accounts(&mut self, after: Option<Uuid>, count: usize) -> Reading<'_, Page<Account>> {
        Box::pin(async move {
            let beyond = after.map(|user_id| format!("user_id > '{user_id}'"));
            let copied = self.copy("credit_accounts", ACCOUNT, beyond, "user_id", count);
            Ok(to_decode(copied.await?, "an account", |c| account(c)))
        })
    }

    fn entries(&mut self, after: Option<(Uuid, i64)>, count: usize) -> Reading<'_, Page<StoredEntry>> {
        Box::pin(async move {
            let beyond = after.map(|(user_id, seq)| format!("(user_id, seq) > ('{user_id}', {seq})"));
            let copied = self.copy("credit_transactions", ENTRY, beyond, "user_id, seq", count);
            Ok(to_decode(copied.await?, "an entry", |c| stored_entry(c)))
        })
    }

    fn lots(&mut self, after: Option<(Uuid, Uuid)>, count: usize) -> Reading<'_, Page<(Uuid, Lot)>> {
        Box::pin(async move {
            let copied = self.page(&LOTS, after, count).await?;
            Ok(to_decode(copied, "a lot", |c| lot(c)))
        })
    }

    fn holds(&mut self, after: Option<(Uuid, Uuid)>, count: usize) -> Reading<'_, Page<Hold>> {
        Box::pin(async move {
            let copied = self.page(&HOLDS, after, count).await?;
            Ok(to_decode(copied, "a consumption", |c| hold(c)))
        })
    }

    fn gifts(&mut self, after: Option<(Uuid, Uuid)>, count: usize) -> Reading<'_, Page<GiftRow>> {
        Box::pin(async move {
            let copied = self.page(&GIFTS, after, count).await?;
            Ok(to_decode(copied, "a gift", |c| gift(c)))
        })
    }

    fn orders(&mut self, after: Option<(Uuid, OrderNo)>, count: usize) -> Reading<'_, Page<StoredOrder>> {
        Box::pin(async move {
            let text = self.statements.text("all_orders", 0, || {
                format!(
                    "SELECT {} FROM {{s}}credit_orders WHERE (user_id, order_no) > ($1, $2::text) \
                     ORDER BY user_id, order_no LIMIT $3",
                    load::ORDER
                )
            });
            let (user_id, order_no) = after.unzip();
            let order_no = order_no.map(|order_no| order_no.to_string()).unwrap_or_default();
            let query = sqlx::query(text)
                .bind(user_id.unwrap_or_default())
                .bind(order_no)
                .bind(limit(count));
            let rows = self.rows(query).await?;
            Ok(Page::of(move || {
                rows.iter().map(|row| load::order_row(row)?.stored()).collect()
            }))
        })
    }

    fn claims(&mut self, after: Option<(Uuid, OrderNo)>, count: usize) -> Reading<'_, Page<Claim>> {
        Box::pin(async move {
            let text = self.statements.text("all_claims", 0, || {
                "SELECT channel::text, transaction_id::text, order_no::text, user_id FROM {s}credit_payment_claims \
                 WHERE (user_id, order_no) > ($1, $2::text) ORDER BY user_id, order_no LIMIT $3"
                    .into()
            });
            let (user_id, order_no) = after.unzip();
            let order_no = order_no.map(|order_no| order_no.to_string()).unwrap_or_default();
            let query = sqlx::query(text)
                .bind(user_id.unwrap_or_default())
                .bind(order_no)
                .bind(limit(count));
            let rows = self.rows(query).await?;
            Ok(Page::of(move || rows.iter().map(load::claim).collect()))
        })
    }

    fn checkpoints(&mut self, after: Option<Uuid>, count: usize) -> Reading<'_, Page<Checkpoint>> {
        Box::pin(async move {
            let (mask, than) = if after.is_some() { (0, ">") } else { (1, ">=") };
            let text = self.statements.text("all_checkpoints", mask, || {
                format!(
                    "SELECT {} FROM {{s}}credit_checkpoints WHERE user_id {than} $1 ORDER BY user_id LIMIT $2",
                    retention::CHECKPOINT
                )
            });
            let query = sqlx::query(text)
                .bind(after.unwrap_or_default())
                .bind(limit(count));
            let rows = self.rows(query).await?;
            Ok(Page::of(move || rows.iter().map(retention::checkpoint).collect()))
        })
    }

    fn kept(&mut self, after: Option<(Uuid, i64)>, count: usize) -> Reading<'_, Page<(Uuid, i64, Hash)>> {
        Box::pin(async move {
            let text = self.statements.text("all_kept", 0, || {
                "SELECT user_id, seq, previous_hash FROM {s}credit_kept_entries WHERE (user_id, seq) > ($1, $2) \
                 ORDER BY user_id, seq LIMIT $3"
                    .into()
            });
            let (user_id, seq) = after.unwrap_or((Uuid::nil(), i64::MIN));
            let query = sqlx::query(text).bind(user_id).bind(seq).bind(limit(count));
            let rows = self.rows(query).await?;
            let kept = |c: &mut OfRow<'_>| Ok((c.get()?, c.get()?, c.get()?));
            Ok(Page::of(move || all(&rows, "an entry that stayed", kept)))
        })
    }

    fn lots_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<(Uuid, Lot)>> {
        Box::pin(async move {
            let rows = self.named(&LOTS, user_id, lot_ids).await?;
            Ok(Page::of(move || all(&rows, "a lot", |c| lot(c))))
        })
    }

    fn holds_of(&mut self, user_id: Uuid, consumption_ids: Vec<Uuid>) -> Reading<'_, Page<Hold>> {
        Box::pin(async move {
            let rows = self.named(&HOLDS, user_id, consumption_ids).await?;
            Ok(Page::of(move || all(&rows, "a consumption", |c| hold(c))))
        })
    }

    fn gifts_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<GiftRow>> {
        Box::pin(async move {
            let rows = self.named(&GIFTS, user_id, lot_ids).await?;
            Ok(Page::of(move || all(&rows, "a gift", |c| gift(c))))
        })
    }

    fn journal(&mut self, user_id: Uuid, after: i64, count: usize) -> Reading<'_, Vec<StoredEntry>> {
        Box::pin(async move {
            let text = self.statements.text("journal", 0, || {
                format!(
                    "SELECT {ENTRY} FROM {{s}}credit_transactions WHERE user_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
                )
            });
            let query = sqlx::query(text).bind(user_id).bind(after).bind(limit(count));
            all(&self.rows(query).await?, "an entry", |c| stored_entry(c))
        })
    }

    fn checkpoint(&mut self, user_id: Uuid) -> Reading<'_, Option<Checkpoint>> {
        Box::pin(async move {
            let text = retention::checkpoints_of(&self.statements);
            let rows = self.rows(sqlx::query(text).bind(vec![user_id])).await?;
            rows.first().map(retention::checkpoint).transpose()
        })
    }

    fn archived_sums(&mut self) -> Reading<'_, BTreeMap<String, i128>> {
        Box::pin(async move {
            let text = self.text("archived_sums_of", || {
                "SELECT counter_account, amount::text FROM {s}credit_archived_sums".into()
            });
            let rows = self.rows(sqlx::query(text)).await?;
            let mut sums = BTreeMap::new();
            for row in &rows {
                let name: String = row.try_get(0).map_err(during_read)?;
                sums.insert(name, number(row, 1)?);
            }
            Ok(sums)
        })
    }

    fn sums(&mut self) -> Reading<'_, Sums> {
        Box::pin(async move {
            // As text: a sum of bigints is numeric, and can pass 2^63.
            let text = self.statements.text("sums", 0, || {
                "SELECT NULL, coalesce(sum(available), 0)::text, coalesce(sum(held), 0)::text FROM {s}credit_accounts \
                 UNION ALL SELECT counter_account, sum(amount)::text, NULL FROM ( \
                 SELECT counter_account, -sum(change::numeric + held_change) AS amount \
                 FROM {s}credit_transactions GROUP BY counter_account \
                 UNION ALL SELECT counter_account, amount FROM {s}credit_archived_sums) booked GROUP BY counter_account"
                    .into()
            });
            let rows = self.rows(sqlx::query(text)).await?;
            let mut sums = Sums::default();
            for row in &rows {
                match row.try_get::<Option<String>, _>(0).map_err(during_read)? {
                    None => (sums.available, sums.held) = (number(row, 1)?, number(row, 2)?),
                    Some(counter_account) => {
                        sums.counter_accounts.insert(counter_account, number(row, 1)?);
                    }
                }
            }
            Ok(sums)
        })
    }
}
