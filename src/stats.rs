//! What a ledger has done, for whoever watches over it.

use crate::cache::{Balances, CacheStats};
use crate::error::Result;
use crate::facade::Ledger;
use crate::ledger::Matured;

/// What this process's ledger has done since it was connected. Counts only grow.
///
/// Of this process alone: each has a ledger of its own, and their sum is what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// How many commands ended how; those that never did are not listed.
    pub answers: Vec<Answers>,
    /// How long callers waited, in microseconds, by operation: from the queue to the answer.
    pub latencies: Vec<(&'static str, Histogram)>,
    /// How many commands were read, decided and written together.
    pub batches: Histogram,
    /// Commands that wait for their turn just now.
    pub queued: u64,
    /// What was written down as past its deadline, by sweeps and by other commands on the way.
    pub matured: Matured,
    /// What the cache has done; `None` without one.
    pub cache: Option<CacheStats>,
}

/// How many commands of a kind ended in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    /// Which command: `consume`, `confirm`, ...; `expire` for a sweep's.
    pub operation: &'static str,
    /// `ok`, or the error's [`code`](crate::Error::code).
    pub outcome: &'static str,
    /// How many.
    pub count: u64,
}

/// Values by size.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// Each bucket's upper bound, and how many values are in it and not in one before.
    pub buckets: Vec<(u64, u64)>,
    /// How many are above all bounds.
    pub above: u64,
    /// The sum of all values.
    pub sum: u64,
}

impl Histogram {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum::<u64>() + self.above
    }
}

/// The holds of all accounts that wait for their job's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PendingHolds {
    /// How many are live.
    pub holds: u64,
    /// The credits in them.
    pub credits: i64,
    /// How many more have passed their deadline, and nobody has written that down yet: how late `expire_pending` is.
    pub overdue: u64,
}

impl Ledger {
    /// What this process's ledger has done. Asks no database, and never fails.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
    /// use jointo_credits::{Consume, Ledger};
    /// let ledger = Ledger::connect("memory:").await?;
    /// ledger.consume(Consume::new(uuid::Uuid::from_u128(1), 10), None).await.unwrap_err();
    /// let stats = ledger.stats();
    /// assert_eq!(stats.answers[0].outcome, "insufficient_credits");
    /// assert_eq!(stats.batches.count(), 1);
    /// # Ok(()) }) }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            cache: self.cache().map(Balances::stats),
            ..self.engine().stats()
        }
    }

    /// How many holds wait for their job's end, in the whole database. The cost grows with their number.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn pending_holds(&self) -> Result<PendingHolds> {
        let now = self.now();
        self.read(move |reader| async move { reader.pending_holds(now).await })
            .await
    }
}
