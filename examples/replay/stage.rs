//! The trace's time, and who may act when.
//!
//! Everything that happens is a task, and a task acts only while it has a [`Turn`]. There are as many turns as the
//! concurrency asked for, so that many tasks really call the ledger at once. A task that wants to go on later gives
//! its turn back and names the time ([`Stage::later`]). The stage hands turns out by time and moves the ledger's clock
//! along; the clock never goes back.
//!
//! While tasks act, the clock may already show the time of the next ones, but never of another minute: before a minute
//! begins, everything of the one before has been answered. So the order of answers can't make a deadline of minutes
//! pass by accident, whatever the concurrency.

use crate::Failure;
use jointo_credits::{Clock, ManualClock, Timestamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

/// Locks; a thread that panicked while it had the lock has been reported by its own task.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to act now.
pub struct Turn {
    _permit: OwnedSemaphorePermit,
}

pub struct Stage {
    clock: ManualClock,
    end: Timestamp,
    concurrency: u32,
    speed: f64,
    turns: Arc<Semaphore>,
    /// Who waits for which time; the number keeps those of one instant in the order in which they came.
    waiting: Mutex<BTreeMap<(Timestamp, u64), oneshot::Sender<Turn>>>,
    number: AtomicU64,
    joined: Notify,
}

impl Stage {
    pub fn new(clock: ManualClock, end: Timestamp, concurrency: u32, speed: f64) -> Self {
        Stage {
            clock,
            end,
            concurrency,
            speed,
            turns: Arc::new(Semaphore::new(concurrency as usize)),
            waiting: Mutex::default(),
            number: AtomicU64::new(0),
            joined: Notify::new(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Gives the turn back and waits for one at `at`; `None` where the replay ends before.
    pub async fn later(&self, turn: Turn, at: Timestamp) -> Option<Turn> {
        if at > self.end {
            return None;
        }
        let (wake, woken) = oneshot::channel();
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        lock(&self.waiting).insert((at, number), wake);
        // Only now: whoever finds that nobody acts must find everybody who waits.
        drop(turn);
        self.joined.notify_one();
        woken.await.ok()
    }

    /// Lets everything happen: `visits` (by time) each begin a task, and tasks wait for later times.
    pub async fn play<V, W>(
        &self,
        visits: impl Iterator<Item = (Timestamp, V)>,
        begin: impl Fn(V, Turn) -> W,
    ) -> Result<(), Failure>
    where
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut visits = visits.peekable();
        // Dropped when this returns early, which ends the tasks.
        let mut tasks = JoinSet::new();
        let (began, first) = (Instant::now(), self.now());
        loop {
            let turn = self.turn().await?;
            while let Some(ended) = tasks.try_join_next() {
                ended??;
            }
            let visit_due = visits.peek().map(|(at, _)| *at);
            let Some(due) = [visit_due, self.first_waiting()].into_iter().flatten().min() else {
                // Whoever acts may still ask for a later turn.
                if self.alone() {
                    break;
                }
                self.all_answered().await?;
                continue;
            };
            if let Some(pause) = self.pause(due, first, began) {
                drop(turn);
                // Somebody may join meanwhile whose time is earlier.
                tokio::select! { () = tokio::time::sleep(pause) => {}, () = self.joined.notified() => {} }
                continue;
            }
            if minute(due) > minute(self.now()) && !self.alone() {
                self.all_answered().await?;
                continue;
            }
            self.clock.set(due.max(self.now()));
            if visit_due == Some(due) {
                if let Some((_, visit)) = visits.next() {
                    tasks.spawn(begin(visit, turn));
                }
            } else if let Some((_, wake)) = lock(&self.waiting).pop_first() {
                // Fails only where the task has ended, and then its turn comes back by itself.
                let _ = wake.send(turn);
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        self.clock.set(self.end);
        Ok(())
    }

    async fn turn(&self) -> Result<Turn, Failure> {
        match Arc::clone(&self.turns).acquire_owned().await {
            Ok(permit) => Ok(Turn { _permit: permit }),
            Err(closed) => Err(Failure::Unusable(closed.to_string())),
        }
    }

    fn first_waiting(&self) -> Option<Timestamp> {
        lock(&self.waiting).first_key_value().map(|((at, _), _)| *at)
    }

    /// Whether nobody but the one who asks, who has a turn, acts.
    fn alone(&self) -> bool {
        self.turns.available_permits() + 1 == self.concurrency as usize
    }

    /// Waits until everybody who acts has given the turn back; the one who asks has one.
    async fn all_answered(&self) -> Result<(), Failure> {
        let others = self.turns.acquire_many(self.concurrency - 1).await;
        others
            .map(drop)
            .map_err(|closed| Failure::Unusable(closed.to_string()))
    }

    /// How long it is until `due`, at the speed that was asked for.
    fn pause(&self, due: Timestamp, first: Timestamp, began: Instant) -> Option<Duration> {
        if self.speed == 0.0 {
            return None;
        }
        let trace = Duration::from_micros(u64::try_from(due.as_micros() - first.as_micros()).unwrap_or(0));
        let real = Duration::try_from_secs_f64(trace.as_secs_f64() / self.speed).unwrap_or(Duration::MAX);
        real.checked_sub(began.elapsed()).filter(|pause| !pause.is_zero())
    }
}

fn minute(t: Timestamp) -> i64 {
    t.as_micros().div_euclid(60_000_000)
}
