//! SQLite: one file that several processes share, or this process's memory.
//!
//! # How a batch is written
//!
//! `load` takes the write lock (`BEGIN IMMEDIATE`), so nothing it reads can become stale before `append` writes and
//! commits, or rolls back where nothing is to be written. There are no round trips to save, so rows are read and
//! written one by one with cached statements. The database is in WAL mode: readers never wait for a writer, nor it for
//! them. `synchronous = FULL`: a commit that is acknowledged is on the disk.
//!
//! | module | what is in it |
//! | --- | --- |
//! | `open` | where the database is, how connections are set up |
//! | `committer` | the writing side: one transaction from `load` to `append` |
//! | `place` | whether the files that are open are still those on the disk |
//! | `waiting` | turns at the write lock, with other processes |
//! | `pool` | connections on loan |
//! | `schema` | the tables: made and checked |
//! | `load`, `append` | a batch, inside a transaction that somebody else begins and ends |
//! | `read`, `snapshot` | the reading side |
//! | `catalogue` | rate cards and packages |
//! | `anchors` | what anchors read and write |
//! | `retention` | what clean-ups read and remove |
//! | `rows` | rows to and from the ledger's types |
//! | `fork` | what a child process must not inherit |
//! | `failure` | what result codes mean |
//! | `within` | the same steps inside a transaction of sqlx's |

#[cfg_attr(not(feature = "anchors"), allow(dead_code))]
mod anchors;
mod append;
mod catalogue;
mod committer;
mod failure;
mod fork;
mod load;
mod open;
mod place;
mod pool;
mod read;
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
mod retention;
mod rows;
mod schema;
mod snapshot;
#[cfg(test)]
mod tests;
mod waiting;
#[cfg(feature = "sqlx-sqlite")]
pub(crate) mod within;

pub(crate) use committer::SqliteCommitter;
pub(crate) use open::{Location, SqliteSettings};

use crate::catalogue::Package;
use crate::catalogue::{CatalogueChange, CatalogueRows};
use crate::ledger::{Entry, Hold, Lot, Order, OrderNo, Prior, Timestamp};
use crate::stats::PendingHolds;
use crate::store::{
    Due, EntryFilter, Extent, HoldFilter, Inspected, LoadedAccount, OddTime, OpenOrderRow, OrderFilter,
    Reader, Reading, Snapshot, StoreError, StoreResult,
};
use failure::Attempt;
use fork::Counted;
use open::Purpose;
use place::Moved;
use pool::{Lease, Pool};
use rusqlite::Connection;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// An SQLite database, and the reading side of its ledger.
#[derive(Debug, Clone)]
pub(crate) struct SqliteStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    location: Location,
    settings: SqliteSettings,
    readers: Arc<Pool>,
    /// One for each reader's connection: who has to wait for one waits here and not on a thread.
    turns: Arc<Semaphore>,
    /// The committers' connections, for [`SqliteStore::suspend`].
    writers: Mutex<Vec<Weak<Pool>>>,
}

impl SqliteStore {
    /// For a file, nothing is opened yet: each connection is, when it is needed.
    pub(crate) fn open(location: Location, settings: SqliteSettings) -> StoreResult<Self> {
        let (location, readers, turns) = match location {
            Location::Memory => (Location::Memory, Pool::of_one(Counted::memory(open::memory)?), 1),
            Location::File(path) => {
                let readers_max = settings.max_connections.clamp(1, Semaphore::MAX_PERMITS);
                (
                    Location::File(open::absolute(&path)?),
                    Pool::new(readers_max),
                    readers_max,
                )
            }
        };
        let turns = Arc::new(Semaphore::new(turns));
        Ok(SqliteStore {
            shared: Arc::new(Shared {
                location,
                settings,
                readers,
                turns,
                writers: Mutex::default(),
            }),
        })
    }

    /// The writing side.
    pub(crate) fn committer(&self) -> SqliteCommitter {
        SqliteCommitter::new(Arc::clone(&self.shared))
    }

    /// Closes every connection to the file and opens none until [`resume`](Self::resume), so that the process can
    /// fork (see the module `fork`). Whoever wants to read or write meanwhile waits. `false` where somebody did not
    /// finish within `timeout`. Snapshots are not waited for: a child made while one is read can't open the file.
    pub(crate) fn suspend(&self, timeout: Duration) -> bool {
        let closed: Vec<bool> = self
            .shared
            .pools()
            .iter()
            .map(|pool| pool.suspend(timeout))
            .collect();
        closed.into_iter().all(|closed| closed)
    }

    /// Ends [`suspend`](Self::suspend).
    pub(crate) fn resume(&self) {
        self.shared.pools().iter().for_each(|pool| pool.resume());
    }

    /// Does `work` in one read transaction, on a thread that may block.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Attempt<T> + Send + 'static,
    ) -> Reading<'_, T> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let turn = Arc::clone(&shared.turns).acquire_owned().await;
            let turn = turn.map_err(|_| StoreError::Lost("the store is closed".into()))?;
            blocking(move || {
                let result = shared.read(work);
                drop(turn);
                result
            })
            .await
        })
    }
}

impl Shared {
    fn writers(&self) -> MutexGuard<'_, Vec<Weak<Pool>>> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pool of one connection, for one committer.
    fn writer_pool(&self) -> Arc<Pool> {
        let pool = Pool::new(1);
        let mut writers = self.writers();
        writers.retain(|pool| pool.strong_count() > 0);
        writers.push(Arc::downgrade(&pool));
        pool
    }

    fn pools(&self) -> Vec<Arc<Pool>> {
        let writers = self.writers();
        writers
            .iter()
            .filter_map(Weak::upgrade)
            .chain([Arc::clone(&self.readers)])
            .collect()
    }

    fn open(&self, purpose: Purpose) -> StoreResult<Counted> {
        match &self.location {
            Location::File(path) => open::file(path, purpose, &self.settings),
            // The pool has its one connection from the start, and never asks for another.
            Location::Memory => Err(StoreError::Lost("the database in memory is gone".into())),
        }
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Attempt<T>) -> StoreResult<T> {
        let lease = self.lease_reader()?;
        let connection = lease.connection()?;
        let attempt = || -> Attempt<T> {
            connection.prepare_cached("BEGIN")?.execute([])?;
            let result = work(connection)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(result)
        };
        let result = attempt().map_err(|failure| failure.explain(connection));
        // Also of an error: it may be why there was one.
        if let Err(moved) = lease.check_place() {
            lease.give_up_moved(&moved);
            return Err(moved.not_done());
        }
        match result {
            Ok(result) => Ok(result),
            Err(error) => {
                lease.give_up(&error);
                Err(error)
            }
        }
    }

    /// One whose database is where it was a moment ago: a reader has no second try.
    fn lease_reader(&self) -> StoreResult<Lease> {
        loop {
            let lease = self.readers.lease(|| self.open(Purpose::Read))?;
            match lease.check_database() {
                Ok(()) => return Ok(lease),
                Err(moved) => {
                    lease.give_up_moved(&moved);
                    if let Moved::Refuse(error) = moved {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn migrate(&self) -> StoreResult<()> {
        let timeout = self.settings.busy_timeout;
        match self.location {
            Location::File(_) => {
                let connection = self.open(Purpose::Migrate)?;
                schema::migrate(&connection, timeout)?;
                connection.check_place().map_err(Moved::unknown)
            }
            Location::Memory => {
                let lease = self.readers.lease(|| self.open(Purpose::Migrate))?;
                schema::migrate(lease.connection()?, timeout)
            }
        }
    }

    /// Does `work` with a connection that may write, beside the committers'.
    fn write<T>(&self, work: impl FnOnce(&Connection, Duration) -> StoreResult<T>) -> StoreResult<T> {
        let timeout = self.settings.busy_timeout;
        match self.location {
            Location::File(_) => {
                if self.readers.is_closed() {
                    return Err(StoreError::Lost("the store is closed".into()));
                }
                let connection = self.open(Purpose::Write)?;
                schema::check(&connection)?;
                let done = work(&connection, timeout)?;
                connection.check_place().map_err(Moved::unknown)?;
                Ok(done)
            }
            Location::Memory => {
                let lease = self.readers.lease(|| self.open(Purpose::Write))?;
                work(lease.connection()?, timeout)
            }
        }
    }
}

/// Runs `work` where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> StoreResult<T> + Send + 'static,
) -> StoreResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime is shutting down, or the work panicked.
        Err(error) => Err(StoreError::Lost(error.to_string())),
    }
}

impl Reader for SqliteStore {
    fn suspend(&self, timeout: Duration) -> bool {
        SqliteStore::suspend(self, timeout)
    }

    fn resume(&self) {
        SqliteStore::resume(self);
    }

    fn account(&self, user_id: Uuid, now: Timestamp, extent: Extent) -> Reading<'_, Option<LoadedAccount>> {
        self.read(move |connection| load::account(connection, user_id, now, extent))
    }

    fn entries(&self, user_id: Uuid, filter: EntryFilter) -> Reading<'_, Vec<Entry>> {
        self.read(move |connection| read::entries(connection, user_id, &filter))
    }

    fn holds(&self, user_id: Uuid, filter: HoldFilter) -> Reading<'_, Vec<Hold>> {
        self.read(move |connection| read::holds(connection, user_id, &filter))
    }

    fn hold(&self, consumption_id: Uuid) -> Reading<'_, Option<Hold>> {
        self.read(move |connection| load::hold(connection, consumption_id))
    }

    fn lots(&self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Vec<Lot>> {
        self.read(move |connection| load::lots(connection, user_id, &lot_ids))
    }

    fn order(&self, order_no: OrderNo) -> Reading<'_, Option<Order>> {
        self.read(move |connection| load::order(connection, order_no))
    }

    fn orders_by_number(&self, numbers: Vec<OrderNo>) -> Reading<'_, Vec<Order>> {
        self.read(move |connection| {
            let mut orders = Vec::new();
            for order_no in numbers {
                orders.extend(load::order(connection, order_no)?);
            }
            Ok(orders)
        })
    }

    fn orders(&self, filter: OrderFilter) -> Reading<'_, Vec<Order>> {
        self.read(move |connection| read::orders(connection, &filter))
    }

    fn open_orders(
        &self,
        until: Timestamp,
        before: Option<OrderNo>,
        limit: usize,
    ) -> Reading<'_, Vec<OpenOrderRow>> {
        self.read(move |connection| read::open_orders(connection, until, before, limit))
    }

    fn prior(&self, user_id: Uuid, key: String) -> Reading<'_, Option<Prior>> {
        self.read(move |connection| load::prior(connection, user_id, key))
    }

    fn due(
        &self,
        what: Due,
        now: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Reading<'_, Vec<(Timestamp, Uuid)>> {
        self.read(move |connection| read::due(connection, what, now, after, limit))
    }

    fn pending_holds(&self, now: Timestamp) -> Reading<'_, PendingHolds> {
        self.read(move |connection| read::pending_holds(connection, now))
    }

    fn revision(&self) -> Reading<'_, i64> {
        self.read(catalogue::revision)
    }

    fn catalogue(&self) -> Reading<'_, CatalogueRows> {
        self.read(catalogue::read)
    }

    fn package_versions(&self, package_id: Uuid) -> Reading<'_, Vec<Package>> {
        self.read(move |connection| catalogue::package_versions(connection, package_id))
    }

    fn package_history(&self) -> Reading<'_, Vec<Package>> {
        self.read(catalogue::package_history)
    }

    fn odd_times(&self) -> Reading<'_, Vec<OddTime>> {
        self.read(read::odd_times)
    }

    fn change_catalogue(&self, change: CatalogueChange) -> Reading<'_, bool> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking(move || {
            shared.write(|connection, timeout| catalogue::change(connection, &change, timeout))
        }))
    }

    fn snapshot(&self) -> Reading<'_, Box<dyn Snapshot>> {
        match self.shared.location {
            Location::Memory => self.read(|connection| Ok(Box::new(snapshot::of_memory(connection)?) as _)),
            Location::File(_) => {
                let shared = Arc::clone(&self.shared);
                Box::pin(blocking(move || {
                    if shared.readers.is_closed() {
                        return Err(StoreError::Lost("the store is closed".into()));
                    }
                    Ok(Box::new(snapshot::of_file(shared.open(Purpose::Read)?)?) as _)
                }))
            }
        }
    }

    fn migrate(&self) -> Reading<'_, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking(move || shared.migrate()))
    }

    fn check_schema(&self) -> Reading<'_, ()> {
        self.read(|connection| Ok(schema::check(connection)?))
    }

    fn inspect(&self) -> Reading<'_, Inspected> {
        self.read(schema::inspect)
    }

    fn close(&self) -> Reading<'_, ()> {
        let shared = Arc::clone(&self.shared);
        shared.turns.close();
        Box::pin(blocking(move || {
            // The last connection to a file moves the log into it, so this may take a moment.
            shared.readers.close();
            Ok(())
        }))
    }
}
