//! Whether a database is what a ledger needs, and what to do where it is not.

use crate::error::Result;
use crate::facade::Ledger;
use crate::ledger::Timestamp;
use crate::store::{Inspected, StoreError};
use std::time::Duration;

/// How far the database's clock may be from the ledger's. Deadlines go by the ledger's clock alone; but a process on
/// another machine, whose clock is right, would see holds expire at another time.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// What [`Ledger::inspect`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The database and its version, such as `PostgreSQL 15.18`.
    pub database: String,
    /// How long one question took.
    pub round_trip: Duration,
    /// The database's clock less the ledger's, in microseconds; `None` where it has no clock of its own.
    pub clock_skew_us: Option<i64>,
    /// What should be put right, worst first.
    pub problems: Vec<Problem>,
}

/// Something that should be put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Problem {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl Ledger {
    /// Looks at the database: whether it can be reached, has the tables of this version, all indexes and triggers, keeps
    /// what it has acknowledged, and agrees about the time. Changes nothing.
    ///
    /// # Errors
    /// `unavailable` where it can't be reached.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
    /// use jointo_credits::Ledger;
    /// let ledger = Ledger::connect("sqlite::memory:").await?;
    /// assert_eq!(ledger.inspect().await?.problems[0].remedy, "run migrate()");
    /// ledger.migrate().await?;
    /// assert!(ledger.inspect().await?.problems.is_empty());
    /// # ledger.close().await;
    /// # Ok(()) }) }
    /// ```
    pub async fn inspect(&self) -> Result<Inspection> {
        let begin = crate::clock::Moment::now();
        let before = self.now();
        let Inspected {
            database,
            time,
            missing,
            risks,
        } = self.read(|reader| async move { reader.inspect().await }).await?;
        let round_trip = begin.age();
        let mut problems = Vec::new();
        match self
            .read(|reader| async move { Ok(reader.check_schema().await) })
            .await?
        {
            Ok(()) => problems.extend(missing.into_iter().map(|what| {
                let remedy = "make it again as in the migration, or restore the database from a backup";
                Problem::new(what, remedy)
            })),
            Err(StoreError::Failed { problem, remedy }) => problems.push(Problem::new(problem, remedy)),
            Err(other) => return Err(other.into()),
        }
        problems.extend(risks);
        let clock_skew_us = time.map(|time: Timestamp| {
            // Asked for half-way, as far as anybody can tell.
            let here = before.as_micros() + i64::try_from(round_trip.as_micros()).unwrap_or(0) / 2;
            time.as_micros() - here
        });
        let skew = Duration::from_micros(clock_skew_us.unwrap_or(0).unsigned_abs());
        if skew > SKEW_MAX {
            let bound = self.max_clock_skew().filter(|bound| skew > *bound);
            let effect = bound.map_or(String::new(), |bound| {
                format!(
                    ": nothing is done, since max_clock_skew is {:.0} s",
                    bound.as_secs_f64()
                )
            });
            problems.push(Problem::new(
                format!(
                    "the database's clock and this one differ by {:.1} s{effect}",
                    skew.as_secs_f64()
                ),
                "synchronize the clocks of all machines (NTP): deadlines go by the clock of whoever asks",
            ));
        }
        Ok(Inspection {
            database,
            round_trip,
            clock_skew_us,
            problems,
        })
    }
}
