//! Waiting for the other processes that write to the same file.
//!
//! SQLite has no queue for its write lock: whoever tries while it is free gets it. Its own busy handler sleeps longer
//! each time, up to 100 ms, so that a process that has waited long loses to one that has just come, and most of all to
//! the one that has just committed and begins again at once. Here all wait with short pauses of the same length, and a
//! committer that had to wait lately steps aside for half such a pause after each batch. Measured with eight processes
//! that do nothing but write: without stepping aside the slowest batch in a hundred took 50 ms on a disk in memory and
//! 400 to 1,200 ms on a busy disk, with it 15 and 100 to 210 ms, and none of the eight wrote more than 1.6 times as
//! much as another. The price is a fifth of the rate where syncing costs nothing; on the disk the rate doubled.

use super::failure::{self, Attempt, Failure};
use crate::store::StoreResult;
use rusqlite::Connection;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Pauses between two attempts; the last one is repeated.
const PAUSES_US: [u64; 4] = [100, 200, 400, 800];
const STEP_ASIDE: Duration = Duration::from_micros(400);
/// For so many batches after the last one that had to wait.
const STEP_ASIDE_BATCHES: u32 = 8;

/// Does `work` in a transaction that writes: all of it, or nothing where it fails.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    timeout: Duration,
    work: impl FnOnce(&Connection) -> Attempt<T>,
) -> StoreResult<T> {
    patiently(timeout, || connection.execute_batch("BEGIN IMMEDIATE"))
        .map_err(|e| Failure::Sqlite(e).explain(connection))?;
    let done = work(connection).map_err(|failure| failure.explain(connection));
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = connection.execute_batch(end);
    let done = done?;
    ended.map_err(|e| Failure::Sqlite(e).explain(connection))?;
    Ok(done)
}

/// Does `attempt` until nobody else is in the way, or `timeout` has passed.
pub(super) fn patiently<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut began: Option<Instant> = None;
    let mut pauses = PAUSES_US.iter();
    let mut next = Duration::ZERO;
    loop {
        match attempt() {
            Err(error) if failure::is_busy(&error) => {
                #[allow(
                    clippy::disallowed_methods,
                    reason = "measures waiting; decides nothing about credits"
                )]
                let now = Instant::now();
                if now.duration_since(*began.get_or_insert(now)) >= timeout {
                    return Err(error);
                }
                next = pauses.next().map_or(next, |us| Duration::from_micros(*us));
                pause(next);
            }
            result => return result,
        }
    }
}

pub(super) fn pause(duration: Duration) {
    #[allow(
        clippy::disallowed_methods,
        reason = "whoever writes has a thread of its own to wait on"
    )]
    std::thread::sleep(duration);
}

/// One committer's turns at the write lock.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Batches for which it still steps aside.
    step_aside: Cell<u32>,
}

impl Turns {
    /// Does `attempt` as [`patiently`] does, after those that wait had a chance.
    pub(super) fn take<T>(
        &self,
        timeout: Duration,
        mut attempt: impl FnMut() -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let left = self.step_aside.get();
        if left > 0 {
            pause(STEP_ASIDE);
        }
        let mut attempts = 0;
        let result = patiently(timeout, || {
            attempts += 1;
            attempt()
        });
        self.step_aside.set(if attempts > 1 {
            STEP_ASIDE_BATCHES
        } else {
            left.saturating_sub(1)
        });
        result
    }
}
