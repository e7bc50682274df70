//! Group commit: concurrent callers share one write.
//!
//! ```text
//! callers -> bounded queue -> committer: load what is not kept -> decide in memory -> one guarded write -> answer everyone
//! ```
//!
//! Each committer owns a queue, a connection and a share of the accounts (by [`crate::ledger::id::route`]), so that no
//! two of one process want the same row. Where other processes write to the same accounts, half of the committers do all
//! the work (`queues.rs`): many small batches at once cost everybody more than fewer large ones. A lone caller never waits for company: a committer takes what is there. While
//! it writes, the next batch gathers by itself. `docs/group-commit.md` argues why this is correct.
//!
//! Invariants, and the tests that keep them:
//! - A command is decided in arrival order within its account, also after a conflict (`tests/ledger/concurrency.rs`).
//! - Every accepted caller gets exactly one answer, also at shutdown (`tests/ledger/engine.rs`).
//! - Nothing of a batch is visible before all of the account's part is durable (`tests/ledger/crash.rs`).

mod account_cache;
mod batch;
mod committer;
mod metrics;
mod queues;

use crate::cache::Balances;
use crate::clock::{Clock, Moment, Patience};
use crate::error::{Error, Result, Written};
use crate::ledger::{Command, Matured, Outcome, Rules, Target, id};
use crate::stats::Stats;
use crate::store::Committer;
use committer::{Context, Job};
use metrics::Meters;
use queues::Queues;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

#[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
pub(crate) use batch::{Answer, Books, needs};
#[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
pub(crate) use committer::MORE_ROWS;

/// The engine's share of the settings.
#[derive(Debug, Clone)]
pub(crate) struct EngineSettings {
    pub(crate) rules: Rules,
    pub(crate) batch_limit: usize,
    /// How far the database's clock may be from the ledger's.
    pub(crate) max_clock_skew: Option<Duration>,
    pub(crate) queue_limit: usize,
    /// How many open lots of an account are read at first.
    pub(crate) lots_first: usize,
    /// How long the database is tried again before a caller is told.
    pub(crate) patience: Duration,
    /// How much memory all committers have for the accounts they keep.
    pub(crate) account_memory_bytes: usize,
}

/// Where a committer runs.
pub(crate) enum Stage {
    /// As a task of the runtime that is current: for stores that wait for a network.
    #[cfg(feature = "postgres")]
    Task,
    /// On a thread of its own: for stores that block.
    Thread,
}

/// The queues of a ledger's committers.
pub(crate) struct Engine {
    queues: Arc<Queues>,
    /// One for each committer.
    meters: Vec<Arc<Meters>>,
    finished: tokio::sync::Mutex<Vec<oneshot::Receiver<()>>>,
    patience: Duration,
}

impl Engine {
    /// Starts one committer for each of `stores`.
    pub(crate) fn start<C: Committer>(
        stores: Vec<C>,
        stage: Stage,
        settings: &EngineSettings,
        clock: Arc<dyn Clock>,
        cache: Option<Arc<Balances>>,
    ) -> Result<Engine> {
        let each = (settings.queue_limit / stores.len().max(1)).max(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = stores.iter().map(|_| mpsc::channel(each)).unzip();
        let queues = Arc::new(Queues::new(senders));
        let context = Arc::new(Context {
            clock,
            rules: settings.rules,
            batch_limit: settings.batch_limit,
            max_clock_skew: settings.max_clock_skew,
            lots_first: settings.lots_first,
            kept_bytes_max: settings.account_memory_bytes / stores.len().max(1),
            queues: Arc::downgrade(&queues),
            cache,
            runtime: Handle::current(),
        });
        let mut finished = Vec::new();
        let mut meters = Vec::new();
        for (number, (store, receiver)) in stores.into_iter().zip(receivers).enumerate() {
            let (done, wait) = oneshot::channel();
            let context = Arc::clone(&context);
            let counts = Arc::new(Meters::default());
            meters.push(Arc::clone(&counts));
            let work = async move {
                committer::serve(number, store, receiver, context, counts).await;
                let _ = done.send(());
            };
            match stage {
                #[cfg(feature = "postgres")]
                Stage::Task => drop(tokio::spawn(work)),
                Stage::Thread => on_thread(number, work)?,
            }
            finished.push(wait);
        }
        Ok(Engine {
            queues,
            meters,
            finished: tokio::sync::Mutex::new(finished),
            patience: settings.patience,
        })
    }

    /// Runs a command. Dropping the future before the queue took the command means it is not done; afterwards it is
    /// done or not as if nobody had left.
    pub(crate) async fn run(&self, command: Command) -> Result<Outcome> {
        self.validate(&command)?;
        let answer = self.enqueue(command).await?;
        answer.await.unwrap_or_else(|_| Err(vanished()))
    }

    fn validate(&self, command: &Command) -> Result<()> {
        let Err(refusal) = command.validate() else {
            return Ok(());
        };
        let refused = Err(refusal.into());
        if let Some(meters) = self.meters.first() {
            meters.answered(metrics::operation(&command.action), Moment::now(), &refused);
        }
        refused.map(drop)
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> Stats {
        metrics::sum(self.meters.iter().map(Arc::as_ref), self.queues.waiting())
    }

    /// Runs commands together. Results in the same order, each on its own.
    pub(crate) async fn run_many(&self, commands: Vec<Command>) -> Vec<Result<Outcome>> {
        let mut waiting = Vec::with_capacity(commands.len());
        for command in commands {
            waiting.push(match self.validate(&command) {
                Ok(()) => self.enqueue(command).await,
                Err(error) => Err(error),
            });
        }
        let mut results = Vec::with_capacity(waiting.len());
        for one in waiting {
            results.push(match one {
                Ok(answer) => answer.await.unwrap_or_else(|_| Err(vanished())),
                Err(error) => Err(error),
            });
        }
        results
    }

    async fn enqueue(&self, command: Command) -> Result<oneshot::Receiver<Result<Outcome>>> {
        let route = match command.target() {
            Target::Account(user_id) => id::route(user_id),
            Target::Consumption(consumption_id) => id::route_of_consumption(consumption_id),
        };
        let (reply, answer) = oneshot::channel();
        let job = Job {
            command,
            reply,
            asked: Moment::now(),
            patience: Patience::begins(self.patience),
            stale: 0,
            matured: Matured::default(),
            rows: None,
        };
        self.queues.put(route, job).await?;
        Ok(answer)
    }

    /// Takes no more commands, answers those that are queued, and waits until the committers have ended.
    pub(crate) async fn close(&self) {
        self.queues.close();
        let mut finished = self.finished.lock().await;
        // Whoever stops waiting half-way may close again.
        while let Some(committer) = finished.last_mut() {
            // An error means that the committer is gone, which is what is waited for.
            let _ = committer.await;
            finished.pop();
        }
    }
}

/// The committer died with the job: only a panic or the end of the runtime can do that.
fn vanished() -> Error {
    Error::Unavailable {
        outcome: Written::Unknown,
        reason: "the ledger's committer has stopped".into(),
        remedy: "repeat the command with the same idempotency key on a new connection".into(),
    }
}

fn on_thread(number: usize, work: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let failed = |e: std::io::Error| Error::Unavailable {
        outcome: Written::No,
        reason: format!("can't start a committer: {e}"),
        remedy: "check the limits on threads".into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(failed)?;
    std::thread::Builder::new()
        .name(format!("credits-{number}"))
        .spawn(move || runtime.block_on(work))
        .map_err(failed)?;
    Ok(())
}
