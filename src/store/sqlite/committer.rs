//! The writing side: one transaction from `load` to `append`.

use super::append::{Appended, append};
use super::failure::{self, Failure};
use super::load::load;
use super::open::{Location, Purpose};
use super::place::Moved;
use super::pool::{Lease, Pool};
use super::rows::blob;
use super::waiting::Turns;
use super::{Shared, schema};
use crate::ledger::Hash;
use crate::store::{Committer, Loaded, Needs, StoreError, StoreResult, Writes};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// Writes batches. Its futures block and never wait for anything else, so it belongs on a thread of its own.
#[derive(Debug)]
pub(crate) struct SqliteCommitter {
    shared: Arc<Shared>,
    /// A pool of its own with one connection; in memory, the pool of the readers.
    pub(super) connections: Arc<Pool>,
    /// The connection with the transaction that `load` has begun.
    under_way: Option<Lease>,
    /// A commit failed in a way that may have left a whole transaction in the write-ahead log.
    unsure: bool,
    turns: Turns,
}

impl SqliteCommitter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let connections = match shared.location {
            Location::File(_) => shared.writer_pool(),
            Location::Memory => Arc::clone(&shared.readers),
        };
        SqliteCommitter {
            shared,
            connections,
            under_way: None,
            unsure: false,
            turns: Turns::default(),
        }
    }

    pub(super) fn lease(&self) -> StoreResult<Lease> {
        self.connections.lease(|| {
            let connection = self.shared.open(Purpose::Write)?;
            schema::check(&connection)?;
            Ok(connection)
        })
    }

    /// Does `work` with a connection; one that failed is not used again.
    fn with<T>(
        &self,
        lease: Lease,
        work: impl FnOnce(&Connection) -> StoreResult<T>,
    ) -> StoreResult<(Lease, T)> {
        match lease.connection().and_then(work) {
            Ok(result) => Ok((lease, result)),
            Err(error) => Err(Unwritten::Failed(error).give_up(lease)),
        }
    }

    /// Takes the write lock.
    fn begin(&self, connection: &Connection) -> StoreResult<()> {
        let timeout = self.shared.settings.busy_timeout;
        let begin = || connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]);
        self.turns
            .take(timeout, begin)
            .map(drop)
            .map_err(|error| Failure::Sqlite(error).explain(connection))
    }

    pub(super) fn commit(&mut self, connection: &Connection) -> StoreResult<()> {
        let committed = connection
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        let Err(error) = committed else { return Ok(()) };
        if !connection.is_autocommit() {
            // If this fails as well, the transaction is still open, and that is seen below.
            let _ = connection.execute_batch("ROLLBACK");
        }
        if connection.is_autocommit() && failure::is_before_commit(&error) {
            return Err(failure::from_code(&error));
        }
        self.unsure = true;
        Err(StoreError::Unknown(error.to_string()))
    }

    /// Writes all but what is stale; commits only what goes into the file that is there.
    fn write(&mut self, lease: &Lease, writes: &Writes) -> Result<Vec<Uuid>, Unwritten> {
        let connection = lease.connection()?;
        let mut except = BTreeSet::new();
        loop {
            match append(connection, writes, except.clone())? {
                Appended::But(stale) => {
                    lease.check_place().map_err(Unwritten::Moved)?;
                    self.commit(connection)?;
                    lease.check_place().map_err(Unwritten::MovedAfterCommit)?;
                    return Ok(stale.into_iter().collect());
                }
                // Rare, since `load` was asked for the keys: undo, and write again what is left. Others may have
                // written in between; the accounts' rows are guarded for that.
                Appended::KeysTaken(accounts) => {
                    connection
                        .execute_batch("ROLLBACK")
                        .map_err(|error| Failure::Sqlite(error).explain(connection))?;
                    if accounts.is_subset(&except) {
                        let problem = "an idempotency key is taken by an unknown entry";
                        return Err(failure::damaged(problem.into()).into());
                    }
                    except.extend(accounts);
                    self.begin(connection)?;
                }
            }
        }
    }

    /// Overwrites what a failed commit may have left at the end of the write-ahead log.
    ///
    /// A transaction whose sync failed is rolled back, but its frames may be complete in the file: a crash now, and
    /// recovery would take it for committed. The next transaction is written over them. So before anybody is told that
    /// something is not there, one is written that changes nothing.
    fn bury(&mut self, connection: &Connection) -> StoreResult<()> {
        self.begin(connection)?;
        connection
            .execute("UPDATE credit_migrations SET applied_at = applied_at", [])
            .map_err(|error| Failure::Sqlite(error).explain(connection))?;
        self.commit(connection)?;
        self.unsure = false;
        Ok(())
    }
}

/// Why a batch was not written, or nobody can tell.
enum Unwritten {
    Failed(StoreError),
    /// The files were found elsewhere before the commit.
    Moved(Moved),
    /// The commit went into files that were found elsewhere afterwards.
    MovedAfterCommit(Moved),
}

impl From<StoreError> for Unwritten {
    fn from(error: StoreError) -> Self {
        Unwritten::Failed(error)
    }
}

impl Unwritten {
    /// Gives the connection back.
    fn give_up(self, lease: Lease) -> StoreError {
        match self {
            Unwritten::Failed(error) => match lease.check_place() {
                // That may be why it failed; and the connection may be the only way to what was written.
                Err(moved @ Moved::Refuse(_)) => {
                    lease.give_up_moved(&moved);
                    match error {
                        StoreError::Unknown(_) => moved.unknown(),
                        _ => moved.not_done(),
                    }
                }
                _ => {
                    lease.give_up(&error);
                    error
                }
            },
            Unwritten::Moved(moved) => {
                lease.give_up_moved(&moved);
                moved.not_done()
            }
            Unwritten::MovedAfterCommit(moved) => {
                lease.give_up_moved(&moved);
                moved.unknown()
            }
        }
    }
}

impl Committer for SqliteCommitter {
    async fn load(&mut self, needs: &Needs) -> StoreResult<Loaded> {
        // Rolls back what was never appended.
        self.under_way = None;
        let (lease, loaded) = self.with(self.lease()?, |connection| {
            self.begin(connection)?;
            load(connection, needs)
        })?;
        self.under_way = Some(lease);
        Ok(loaded)
    }

    async fn append(&mut self, writes: &Writes) -> StoreResult<Vec<Uuid>> {
        let under_way = self.under_way.take();
        if writes.is_empty() {
            // Refusals and repeated answers were read from it.
            return under_way.map_or(Ok(Vec::new()), |lease| match lease.check_place() {
                Ok(()) => Ok(Vec::new()),
                Err(moved) => Err(Unwritten::Moved(moved).give_up(lease)),
            });
        }
        let lease = match under_way {
            Some(lease) => lease,
            None => self.with(self.lease()?, |connection| self.begin(connection))?.0,
        };
        self.write(&lease, writes)
            .map_err(|unwritten| unwritten.give_up(lease))
    }

    async fn landed(&mut self, entries: &[(Uuid, i64, Hash)]) -> StoreResult<Vec<bool>> {
        self.under_way = None;
        let lease = self.lease()?;
        let mut look = |connection: &Connection| {
            if self.unsure {
                self.bury(connection)?;
            }
            let landed = entries
                .iter()
                .map(|entry| has(connection, entry))
                .collect::<Result<_, _>>();
            landed.map_err(|error| Failure::Sqlite(error).explain(connection))
        };
        match lease.connection().and_then(&mut look) {
            Ok(landed) => match lease.check_place() {
                Ok(()) => Ok(landed),
                Err(moved) => Err(Unwritten::Moved(moved).give_up(lease)),
            },
            Err(error) => Err(Unwritten::Failed(error).give_up(lease)),
        }
    }

    async fn reconnect(&mut self) -> StoreResult<()> {
        self.under_way = None;
        // A connection that has the only way to what was written is not closed.
        if let Err(Moved::Refuse(error)) = self.lease()?.check_place() {
            return Err(error);
        }
        self.connections.renew();
        self.lease().map(drop)
    }
}

/// Whether the journal has this entry with this hash.
fn has(connection: &Connection, (user_id, seq, hash): &(Uuid, i64, Hash)) -> rusqlite::Result<bool> {
    let stored = connection
        .prepare_cached("SELECT hash FROM credit_transactions WHERE user_id = ?1 AND seq = ?2")?
        .query_row(params![blob(user_id), seq], |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    Ok(stored.is_some_and(|stored| stored == hash.0))
}
