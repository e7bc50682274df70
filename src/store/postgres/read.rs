//! The reading side: a pool for short reads, a connection of its own for each snapshot.

use super::rows::{Packed, entry_columns, hold_columns, lot_columns};
use super::snapshot::PostgresSnapshot;
use super::{
    PostgresStore, bracket, catalogue, during_connect, during_read, end_bracket, load, rights, schema,
    session_options,
};
use crate::catalogue::Package;
use crate::catalogue::{CatalogueChange, CatalogueRows};
use crate::ledger::{Entry, Hold, Lot, Order, OrderNo, Prior, Status, Timestamp};
use crate::stats::PendingHolds;
use crate::store::{
    Changed, ClockBound, Due, EntryFilter, Extent, HoldFilter, Inspected, Loaded, LoadedAccount, Needs,
    OddTime, OpenOrderRow, OrderFilter, Reader, Reading, Snapshot, StoreError, StoreResult, StoredEntry,
    TIMES_NAMED_MAX, after_every_number,
};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, PgConnection, Postgres, Row, SqlStr};
use std::sync::Arc;
use uuid::Uuid;

type Statement = Query<'static, Postgres, PgArguments>;

impl PostgresStore {
    pub(super) fn query(&self, text: SqlStr) -> Statement {
        sqlx::query(text).persistent(self.statements.persistent)
    }

    /// A connection of the pool, ready for one statement after the other. [`give_back`](Self::give_back) ends it.
    async fn borrow(&self) -> StoreResult<PoolConnection<Postgres>> {
        let mut tries = self.settings.max_connections;
        loop {
            let mut connection = self.pool.acquire().await.map_err(during_read)?;
            if !self.settings.pgbouncer {
                return Ok(connection);
            }
            match bracket(&mut connection, false).await {
                Ok(()) => return Ok(connection),
                Err(error) => drop((connection.detach(), lost(error, &mut tries)?)),
            }
        }
    }

    /// A connection that something failed on is not used again: it is broken, or its transaction is.
    async fn give_back<T>(
        &self,
        mut connection: PoolConnection<Postgres>,
        done: StoreResult<T>,
    ) -> StoreResult<T> {
        let ended = match &done {
            Ok(_) if self.settings.pgbouncer => end_bracket(&mut connection, during_read).await,
            _ => Ok(()),
        };
        let done = done.and_then(|done| ended.map(|()| done));
        if matches!(done, Err(StoreError::Lost(_))) || (done.is_err() && self.settings.pgbouncer) {
            drop(connection.detach());
        }
        self.told(done).await
    }

    /// What came of something; an error names the rights that are missing where that is what it is about.
    pub(super) async fn told<T>(&self, done: StoreResult<T>) -> StoreResult<T> {
        match done {
            Err(error) => Err(rights::named(&self.settings, &self.statements, error).await),
            done => done,
        }
    }

    /// Runs a query on a connection of the pool.
    pub(super) async fn rows(&self, make: impl Fn() -> Statement + Send + Sync) -> StoreResult<Vec<PgRow>> {
        let mut tries = self.settings.max_connections;
        loop {
            let mut connection = self.borrow().await?;
            let done = make().fetch_all(&mut *connection).await.map_err(during_read);
            match self.give_back(connection, done).await {
                Err(error) => lost(error, &mut tries)?,
                done => return done,
            }
        }
    }

    /// A connection outside of the pool, for work that leaves something open if it is broken off.
    pub(super) async fn own_connection(&self) -> StoreResult<PgConnection> {
        if self.pool.is_closed() {
            return Err(StoreError::Lost("the ledger is closed".into()));
        }
        let timeout = self.settings.connect_timeout;
        match tokio::time::timeout(timeout, session_options(&self.settings, false).connect()).await {
            Ok(connected) => connected.map_err(|e| during_connect(e, self.settings.pgbouncer)),
            Err(_) => Err(StoreError::Lost(format!("no connection within {timeout:?}"))),
        }
    }

    fn account_at(
        &self,
        user_id: Uuid,
        at: Timestamp,
        extent: Extent,
        clock: Option<ClockBound>,
    ) -> Reading<'_, Option<LoadedAccount>> {
        let needs = Needs {
            now: Some(at),
            accounts: vec![user_id],
            clock,
            ..Needs::default()
        };
        Box::pin(async move {
            let account = self.loaded(needs, extent).await?.accounts.remove(&user_id);
            Ok(account.filter(|account| account.exists))
        })
    }

    async fn loaded(&self, needs: Needs, extent: Extent) -> StoreResult<Loaded> {
        let mut tries = self.settings.max_connections;
        loop {
            let mut connection = self.borrow().await?;
            let load = load::load_with(&mut connection, &self.statements, &needs, extent);
            let done = load.await;
            match self.give_back(connection, done).await {
                Err(error) => lost(error, &mut tries)?,
                loaded => return loaded,
            }
        }
    }
}

/// Connections are not pinged before use, so each one that turns out to be broken is replaced, until a fresh one fails as
/// well.
fn lost(error: StoreError, tries: &mut u32) -> StoreResult<()> {
    match error {
        StoreError::Lost(_) if *tries > 0 => {
            *tries -= 1;
            Ok(())
        }
        error => Err(error),
    }
}

fn packed(rows: &[PgRow]) -> impl Iterator<Item = StoreResult<Packed<'_>>> {
    rows.iter().map(Packed::read)
}

fn sound(entry: StoredEntry) -> StoreResult<Entry> {
    entry.map_err(|damaged| StoreError::Failed {
        problem: format!(
            "entry {} of account {}: {}",
            damaged.seq, damaged.user_id, damaged.problem
        ),
        remedy: "the books are damaged; run verify()",
    })
}

pub(super) fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl Reader for PostgresStore {
    fn account(&self, user_id: Uuid, now: Timestamp, extent: Extent) -> Reading<'_, Option<LoadedAccount>> {
        self.account_at(user_id, now, extent, None)
    }

    fn account_now(
        &self,
        user_id: Uuid,
        now: Timestamp,
        extent: Extent,
    ) -> Reading<'_, Option<LoadedAccount>> {
        let clock = self.settings.max_clock_skew.map(|max| ClockBound { now, max });
        self.account_at(user_id, now, extent, clock)
    }

    fn time(&self) -> Reading<'_, Option<Timestamp>> {
        Box::pin(async move {
            let text = self
                .statements
                .text("time", 0, || "SELECT clock_timestamp()".into());
            let rows = self.rows(|| self.query(text.clone())).await?;
            let time = rows.first().map(|row| row.try_get(0).map_err(during_read));
            time.transpose()
        })
    }

    fn entries(&self, user_id: Uuid, filter: EntryFilter) -> Reading<'_, Vec<Entry>> {
        Box::pin(async move {
            let text = self.statements.text("entries", 0, || {
                format!(
                    "SELECT {} FROM {{s}}credit_transactions e WHERE e.user_id = $1 AND e.seq < $2 \
                     AND ($3::text IS NULL OR e.kind = $3) AND e.seq > $4 \
                     AND ($5::timestamptz IS NULL OR e.created_at < $5) ORDER BY e.seq DESC LIMIT $6",
                    entry_columns(0, "e")
                )
            });
            let make = || {
                self.query(text.clone())
                    .bind(user_id)
                    .bind(filter.before.unwrap_or(i64::MAX))
                    .bind(filter.kind.map(|kind| kind.as_str()))
                    .bind(filter.after)
                    .bind(filter.until)
                    .bind(limit(filter.limit))
            };
            let rows = self.rows(make).await?;
            packed(&rows).map(|row| sound(row?.entry())).collect()
        })
    }

    fn holds(&self, user_id: Uuid, filter: HoldFilter) -> Reading<'_, Vec<Hold>> {
        Box::pin(async move {
            let (mask, status) = match filter.status {
                None => (0, "true"),
                Some(Status::Pending) => (1, "h.status = 'pending' AND h.expires_at > $3"),
                Some(Status::Expired) => (
                    2,
                    "(h.status = 'expired' OR (h.status = 'pending' AND h.expires_at <= $3))",
                ),
                Some(Status::Confirmed) => (3, "h.status = 'confirmed'"),
                Some(Status::Refunded) => (4, "h.status = 'refunded'"),
            };
            let text = self.statements.text("user_holds", mask, || {
                format!(
                    "SELECT {} FROM {{s}}credit_consumption_logs h WHERE h.user_id = $1 \
                     AND ($2::uuid IS NULL OR h.consumption_id < $2) AND $3::timestamptz IS NOT NULL AND {status} \
                     ORDER BY h.consumption_id DESC LIMIT $4",
                    hold_columns(0, "h")
                )
            });
            let make = || {
                self.query(text.clone())
                    .bind(user_id)
                    .bind(filter.before)
                    .bind(filter.now)
                    .bind(limit(filter.limit))
            };
            let rows = self.rows(make).await?;
            packed(&rows).map(|row| row?.hold()).collect()
        })
    }

    fn hold(&self, consumption_id: Uuid) -> Reading<'_, Option<Hold>> {
        Box::pin(async move {
            let text = self.statements.text("hold", 0, || {
                format!(
                    "SELECT {} FROM {{s}}credit_consumption_logs h WHERE h.consumption_id = $1 LIMIT 1",
                    hold_columns(0, "h")
                )
            });
            let rows = self
                .rows(|| self.query(text.clone()).bind(consumption_id))
                .await?;
            packed(&rows).next().map(|row| row?.hold()).transpose()
        })
    }

    fn lots(&self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Vec<Lot>> {
        Box::pin(async move {
            let text = self.statements.text("lots", 0, || {
                format!(
                    "SELECT {} FROM unnest($2::uuid[]) AS n(id) CROSS JOIN LATERAL \
                     (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = $1 AND l.lot_id = n.id LIMIT 1) l",
                    lot_columns(0, "l")
                )
            });
            let rows = self
                .rows(|| self.query(text.clone()).bind(user_id).bind(lot_ids.clone()))
                .await?;
            packed(&rows).map(|row| row?.lot()).collect()
        })
    }

    fn order(&self, order_no: OrderNo) -> Reading<'_, Option<Order>> {
        Box::pin(async move {
            let text = self.statements.text("order", 0, || {
                format!(
                    "SELECT {} FROM {{s}}credit_orders WHERE order_no = $1 LIMIT 1",
                    load::ORDER
                )
            });
            let number = order_no.to_string();
            let rows = self
                .rows(|| self.query(text.clone()).bind(number.clone()))
                .await?;
            rows.first().map(load::order).transpose()
        })
    }

    fn orders_by_number(&self, numbers: Vec<OrderNo>) -> Reading<'_, Vec<Order>> {
        Box::pin(async move {
            let text = self.statements.text("orders_by_number", 0, || {
                format!(
                    "SELECT {} FROM {{s}}credit_orders WHERE order_no = ANY($1::text[])",
                    load::ORDER
                )
            });
            let numbers: Vec<String> = numbers.iter().map(OrderNo::to_string).collect();
            let make = || self.query(text.clone()).bind(numbers.clone());
            self.rows(make).await?.iter().map(load::order).collect()
        })
    }

    fn orders(&self, filter: OrderFilter) -> Reading<'_, Vec<Order>> {
        Box::pin(async move {
            let (mask, owner) = match filter.user_id {
                Some(_) => (1, "user_id = $1"),
                None => (0, "$1::uuid IS NULL"),
            };
            let text = self.statements.text("all_orders_of", mask, || {
                format!(
                    "SELECT {} FROM {{s}}credit_orders WHERE {owner} AND ($2::text IS NULL OR order_no < $2) \
                     AND ($3::text IS NULL OR status = $3) ORDER BY order_no DESC LIMIT $4",
                    load::ORDER
                )
            });
            let make = || {
                self.query(text.clone())
                    .bind(filter.user_id)
                    .bind(filter.before.map(|order_no| order_no.to_string()))
                    .bind(filter.status.map(|status| status.as_str()))
                    .bind(limit(filter.limit))
            };
            self.rows(make).await?.iter().map(load::order).collect()
        })
    }

    fn open_orders(
        &self,
        until: Timestamp,
        before: Option<OrderNo>,
        count: usize,
    ) -> Reading<'_, Vec<OpenOrderRow>> {
        Box::pin(async move {
            let text = self.statements.text("open_orders", 0, || {
                "SELECT order_no::text, user_id, channel::text, status::text, expires_at FROM {s}credit_orders \
                 WHERE status IN ('created', 'paying', 'refunding') AND order_no < $1 AND created_at <= $2 \
                 ORDER BY order_no DESC LIMIT $3"
                    .into()
            });
            let before = before.map_or_else(after_every_number, |order_no| order_no.to_string());
            let make = || {
                self.query(text.clone())
                    .bind(before.clone())
                    .bind(until)
                    .bind(limit(count))
            };
            self.rows(make).await?.iter().map(load::open_order).collect()
        })
    }

    fn prior(&self, user_id: Uuid, key: String) -> Reading<'_, Option<Prior>> {
        Box::pin(async move {
            let loaded = self.loaded(Needs::of_key(user_id, key), Extent::first(0)).await?;
            Ok(loaded.priors.into_values().next())
        })
    }

    fn due(
        &self,
        what: Due,
        now: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        count: usize,
    ) -> Reading<'_, Vec<(Timestamp, Uuid)>> {
        Box::pin(async move {
            let (mask, column) = match what {
                Due::Holds => (0, "next_hold_deadline"),
                Due::Lots => (1, "next_lot_deadline"),
            };
            let text = self
                .statements
                .text("due", mask | if after.is_some() { 2 } else { 0 }, || {
                    let position = if after.is_some() {
                        format!("AND ({column}, user_id) > ($3, $4)")
                    } else {
                        String::new()
                    };
                    format!(
                        "SELECT {column}, user_id FROM {{s}}credit_accounts WHERE {column} <= $1 {position} \
                     ORDER BY {column}, user_id LIMIT $2"
                    )
                });
            let make = || {
                let query = self.query(text.clone()).bind(now).bind(limit(count));
                match after {
                    Some((deadline, user_id)) => query.bind(deadline).bind(user_id),
                    None => query,
                }
            };
            let rows = self.rows(make).await?;
            let read = |row: &PgRow| -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
            rows.iter().map(|row| read(row).map_err(during_read)).collect()
        })
    }

    fn pending_holds(&self, now: Timestamp) -> Reading<'_, PendingHolds> {
        Box::pin(async move {
            // By `credit_consumption_logs_pending`.
            let text = self.statements.text("pending_holds", 0, || {
                "SELECT count(*) FILTER (WHERE expires_at > $1), \
                 least(coalesce(sum(amount) FILTER (WHERE expires_at > $1), 0), 9000000000000000000)::bigint, \
                 count(*) FILTER (WHERE expires_at <= $1) FROM {s}credit_consumption_logs WHERE status = 'pending'"
                    .into()
            });
            let rows = self.rows(|| self.query(text.clone()).bind(now)).await?;
            let read = |row: &PgRow| -> Result<_, sqlx::Error> {
                Ok(PendingHolds {
                    holds: row.try_get::<i64, _>(0)?.unsigned_abs(),
                    credits: row.try_get(1)?,
                    overdue: row.try_get::<i64, _>(2)?.unsigned_abs(),
                })
            };
            rows.first().map_or_else(
                || Ok(PendingHolds::default()),
                |row| read(row).map_err(during_read),
            )
        })
    }

    fn snapshot(&self) -> Reading<'_, Box<dyn Snapshot>> {
        Box::pin(async move {
            let statements = Arc::clone(&self.statements);
            let snapshot: Box<dyn Snapshot> =
                Box::new(PostgresSnapshot::begin(self.own_connection().await?, statements).await?);
            Ok(snapshot)
        })
    }

    fn revision(&self) -> Reading<'_, i64> {
        Box::pin(async move {
            let text = self.statements.text("revision", 0, || catalogue::REVISION.into());
            let rows = self.rows(|| self.query(text.clone())).await?;
            match rows.first() {
                Some(row) => row.try_get(0).map_err(during_read),
                None => Err(StoreError::Failed {
                    problem: "the database has lost the row of credit_catalogue".into(),
                    remedy: "restore it: INSERT INTO credit_catalogue (revision) VALUES (0)",
                }),
            }
        })
    }

    fn catalogue(&self) -> Reading<'_, CatalogueRows> {
        Box::pin(async move {
            let cards = self.statements.text("cards", 0, || catalogue::CARDS.into());
            let packages = self.statements.text("packages", 0, || catalogue::PACKAGES.into());
            loop {
                let revision = self.revision().await?;
                let rows = self.rows(|| self.query(cards.clone())).await?;
                let cards = rows.iter().map(catalogue::card).collect::<StoreResult<_>>()?;
                let rows = self.rows(|| self.query(packages.clone())).await?;
                let packages = rows.iter().map(catalogue::package).collect::<StoreResult<_>>()?;
                // The same before and after: so it was the same in between.
                if self.revision().await? == revision {
                    return Ok(CatalogueRows {
                        revision,
                        cards,
                        packages,
                    });
                }
            }
        })
    }

    fn package_versions(&self, package_id: Uuid) -> Reading<'_, Vec<Package>> {
        Box::pin(async move {
            let text = self
                .statements
                .text("package_versions", 0, || catalogue::PACKAGE_VERSIONS.into());
            let rows = self.rows(|| self.query(text.clone()).bind(package_id)).await?;
            rows.iter().map(catalogue::package).collect()
        })
    }

    fn package_history(&self) -> Reading<'_, Vec<Package>> {
        Box::pin(async move {
            let text = self.statements.text("package_history", 0, || {
                format!("{} ORDER BY package_id, version", catalogue::ALL_VERSIONS)
            });
            let rows = self.rows(|| self.query(text.clone())).await?;
            rows.iter().map(catalogue::package).collect()
        })
    }

    fn odd_times(&self) -> Reading<'_, Vec<OddTime>> {
        Box::pin(async move {
            // Of two changes at one instant, the second is written a microsecond later, so that the trigger leaves it alone.
            let text = self.statements.text("odd_times", 0, || {
                "(SELECT user_id, seq::int8, NULL::uuid FROM {s}credit_transactions WHERE updated_at IS NOT NULL LIMIT $1) \
                 UNION ALL (SELECT h.user_id, NULL::int8, h.consumption_id FROM {s}credit_consumption_logs h \
                 LEFT JOIN {s}credit_accounts a ON a.user_id = h.user_id \
                 WHERE (h.updated_at < h.created_at OR h.updated_at < h.settled_at OR h.updated_at > a.updated_at) \
                 AND NOT EXISTS (SELECT 1 FROM {s}credit_transactions e \
                 WHERE e.user_id = h.user_id AND e.created_at BETWEEN h.updated_at - interval '1 second' AND h.updated_at) \
                 AND NOT EXISTS (SELECT 1 FROM {s}credit_checkpoints c WHERE c.user_id = h.user_id) LIMIT $1) LIMIT $1"
                    .into()
            });
            let rows = self
                .rows(|| self.query(text.clone()).bind(limit(TIMES_NAMED_MAX)))
                .await?;
            let read = |row: &PgRow| -> Result<_, sqlx::Error> {
                Ok(OddTime {
                    user_id: row.try_get(0)?,
                    seq: row.try_get(1)?,
                    consumption_id: row.try_get(2)?,
                })
            };
            rows.iter().map(|row| read(row).map_err(during_read)).collect()
        })
    }

    fn change_catalogue(&self, change: CatalogueChange) -> Reading<'_, bool> {
        Box::pin(async move {
            // Closed whatever comes of it, which undoes what was not committed.
            let mut connection = self.own_connection().await?;
            let changed = catalogue::change(&mut connection, &self.statements, &change).await;
            self.told(changed).await
        })
    }

    fn watch(&self, changed: Changed) {
        self.listen(changed);
    }

    fn migrate(&self) -> Reading<'_, ()> {
        Box::pin(async move {
            let mut connection = self.own_connection().await?;
            let (schema, prefix) = (self.settings.schema.as_deref(), &self.statements.prefix);
            match schema::migrate(&mut connection, schema, prefix).await {
                Err(error) => Err(rights::named_for_migrating(&self.settings, &self.statements, error).await),
                migrated => migrated,
            }
        })
    }

    fn schema_in_use(&self) -> Reading<'_, Option<String>> {
        Box::pin(async move {
            if let Some(schema) = &self.settings.schema {
                return Ok(Some(schema.clone()));
            }
            let rows = self
                .rows(|| sqlx::query(schema::IN_USE).persistent(self.statements.persistent))
                .await?;
            let found = rows.first().map(|row| row.try_get(0)).transpose();
            found.map_err(during_read)
        })
    }

    fn check_schema(&self) -> Reading<'_, ()> {
        Box::pin(async move {
            let mut connection = self.borrow().await?;
            let checked = schema::check(&mut connection, &self.statements.prefix).await;
            self.give_back(connection, checked).await
        })
    }

    fn inspect(&self) -> Reading<'_, Inspected> {
        Box::pin(async move {
            let mut connection = self.borrow().await?;
            let inspected = schema::inspect(&mut connection, &self.statements.prefix).await;
            let mut inspected = self.give_back(connection, inspected).await?;
            // Closed whatever comes of it, which undoes what the comparison makes.
            let mut own = self.own_connection().await?;
            inspected.missing = schema::differences(&mut own, &self.statements.prefix).await?;
            Ok(inspected)
        })
    }

    fn close(&self) -> Reading<'_, ()> {
        Box::pin(async move {
            self.pool.close().await;
            self.stop_listening().await;
            Ok(())
        })
    }
}
