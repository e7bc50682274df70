//! Connections that are lent out, first come, first served.
//!
//! In-memory databases have one connection only. The committer borrows it from `load` to `append`, and readers
//! take turns with it: the pool's one connection is the lock.

use super::fork::Counted;
use super::place::Moved;
use crate::store::{StoreError, StoreResult};
use rusqlite::Connection;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    turn: Condvar,
    connections_max: usize,
    /// Its connections hold the database itself: they are never given up.
    precious: bool,
}

#[derive(Debug)]
struct State {
    idle: Vec<Counted>,
    /// Idle or lent.
    open: usize,
    closed: bool,
    /// Nothing is lent for the time being.
    suspended: bool,
    /// Tickets given out, and the one whose turn it is: nobody overtakes, however busy a committer is.
    tickets: u64,
    serving: u64,
}

/// A connection on loan.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<Counted>,
    pool: Arc<Pool>,
}

impl Pool {
    /// A pool that opens up to `connections_max` connections when they are needed.
    pub(super) fn new(connections_max: usize) -> Arc<Self> {
        Arc::new(Pool::with(Vec::new(), connections_max.max(1), false))
    }

    /// A pool of exactly this one.
    pub(super) fn of_one(connection: Counted) -> Arc<Self> {
        Arc::new(Pool::with(vec![connection], 1, true))
    }

    fn with(idle: Vec<Counted>, connections_max: usize, precious: bool) -> Self {
        let open = idle.len();
        Pool {
            state: Mutex::new(State {
                idle,
                open,
                closed: false,
                suspended: false,
                tickets: 0,
                serving: 0,
            }),
            turn: Condvar::new(),
            connections_max,
            precious,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a connection; opens one with `open` where there may be more.
    pub(super) fn lease(self: &Arc<Self>, open: impl FnOnce() -> StoreResult<Counted>) -> StoreResult<Lease> {
        let mut state = self.state();
        let ticket = state.tickets;
        state.tickets += 1;
        while !state.closed
            && (state.suspended
                || state.serving != ticket
                || (state.idle.is_empty() && state.open >= self.connections_max))
        {
            state = self.turn.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(StoreError::Lost("the store is closed".into()));
        }
        state.serving += 1;
        self.turn.notify_all();
        if let Some(connection) = state.idle.pop() {
            return Ok(self.lend(connection));
        }
        state.open += 1;
        drop(state);
        open()
            .map(|connection| self.lend(connection))
            .inspect_err(|_| self.forget())
    }

    fn lend(self: &Arc<Self>, connection: Counted) -> Lease {
        Lease {
            connection: Some(connection),
            pool: Arc::clone(self),
        }
    }

    fn take_back(&self, connection: Counted) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            drop(connection);
            self.forget();
        } else {
            state.idle.push(connection);
            self.turn.notify_all();
        }
    }

    fn forget(&self) {
        self.state().open -= 1;
        self.turn.notify_all();
    }

    /// Closes idle connections now and the others when they come back. Who waits gets `Lost`.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.close_idle();
        self.turn.notify_all();
    }

    /// Closes idle connections; new ones take their place when they are needed.
    pub(super) fn renew(&self) {
        if !self.precious {
            self.state().close_idle();
        }
    }

    /// Lends nothing any more, waits for what is lent, and closes it all; until [`Pool::resume`]. `false` where
    /// something did not come back in time.
    pub(super) fn suspend(&self, timeout: Duration) -> bool {
        if self.precious {
            return true;
        }
        let mut state = self.state();
        state.suspended = true;
        let is_lent = |state: &mut State| state.open > state.idle.len();
        let waited = self.turn.wait_timeout_while(state, timeout, is_lent);
        (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.close_idle();
        state.open == 0
    }

    pub(super) fn resume(&self) {
        self.state().suspended = false;
        self.turn.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }
}

impl State {
    fn close_idle(&mut self) {
        self.open -= self.idle.len();
        self.idle.clear();
    }
}

impl Lease {
    pub(super) fn connection(&self) -> StoreResult<&Connection> {
        self.connection
            .as_deref()
            .ok_or_else(|| StoreError::Lost("the connection was given back".into()))
    }

    /// Of the connection's files, whether the database is still where it was.
    pub(super) fn check_database(&self) -> Result<(), Moved> {
        self.connection.as_ref().map_or(Ok(()), Counted::check_database)
    }

    /// Whether the connection's files are still where they were.
    pub(super) fn check_place(&self) -> Result<(), Moved> {
        self.connection.as_ref().map_or(Ok(()), Counted::check_place)
    }

    /// Gives the connection back whose files are not where they were: see the module `place` about which may be closed.
    pub(super) fn give_up_moved(self, moved: &Moved) {
        match moved {
            Moved::Reopen(problem) => self.give_up(&StoreError::Lost(problem.clone())),
            Moved::Refuse(_) => drop(self),
        }
    }

    /// Gives the connection back after an error: to be used again, or closed where it may be of no use any more.
    pub(super) fn give_up(mut self, error: &StoreError) {
        if !matches!(error, StoreError::Busy(_)) && !self.pool.precious && self.connection.take().is_some() {
            self.pool.forget();
        }
    }
}

impl Drop for Lease {
    /// Undoes what the borrower did not finish.
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        if !connection.is_autocommit() {
            let undone = connection.execute_batch("ROLLBACK");
            if undone.is_err() && !connection.is_autocommit() && !self.pool.precious {
                drop(connection);
                self.pool.forget();
                return;
            }
        }
        self.pool.take_back(connection);
    }
}
