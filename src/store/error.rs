//! What goes wrong between the ledger and its database, as a store tells it.

use crate::error::{Error, Written};
use crate::ledger::Timestamp;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// Why a store could not do it.
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))] // Memory has no wire to lose.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing was written; trying again may help.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// Nothing was written, and the connection is of no use any more.
    #[error("the database can't be reached: {0}")]
    Lost(String),
    /// The connection was lost, or an I/O error came, while committing: written or not.
    #[error("the database failed while committing: {0}")]
    Unknown(String),
    /// Nothing was written: the database's clock and the ledger's are too far from one another.
    #[error(
        "this process's clock shows {}, and the database's {database}: they differ by {:.0} s, and max_clock_skew is {:.0} s",
        bound.now, seconds(bound.now, *database), bound.max.as_secs_f64()
    )]
    Skewed {
        /// What the ledger's clock showed, and how far the database's may be.
        bound: ClockBound,
        /// What the database's clock showed.
        database: Timestamp,
    },
    /// Nothing was written; trying again won't help until somebody does something.
    #[error("{problem}; {remedy}")]
    Failed {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
}

pub(crate) type StoreResult<T> = Result<T, StoreError>;

/// A future of the reading side, which is not hot enough to be generic over.
pub(crate) type Reading<'a, T> = Pin<Box<dyn Future<Output = StoreResult<T>> + Send + 'a>>;

/// How far the database's clock may be from the one that a batch is decided by. A process whose clock is wrong would end
/// for good what is not over yet, or bring back what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockBound {
    pub(crate) now: Timestamp,
    pub(crate) max: Duration,
}

impl ClockBound {
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn earliest(self) -> Timestamp {
        let max = i64::try_from(self.max.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.now.as_micros().saturating_sub(max))
    }

    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn latest(self) -> Timestamp {
        self.now.plus(self.max)
    }

    /// Whether the database's clock agrees, which shows `database`.
    pub(crate) fn check(self, database: Timestamp) -> StoreResult<()> {
        if u128::from(self.now.as_micros().abs_diff(database.as_micros())) <= self.max.as_micros() {
            return Ok(());
        }
        Err(StoreError::Skewed {
            bound: self,
            database,
        })
    }
}

fn seconds(one: Timestamp, other: Timestamp) -> f64 {
    Duration::from_micros(one.as_micros().abs_diff(other.as_micros())).as_secs_f64()
}

impl Error {
    /// A store's error, where the command was certainly not done or nobody can tell.
    pub(crate) fn store(error: &StoreError, outcome: Written) -> Self {
        let remedy = match error {
            StoreError::Busy(_) => {
                "try again; if it goes on, look for long transactions on the credit tables"
            }
            StoreError::Lost(_) => "check that the database runs and can be reached, then try again",
            StoreError::Unknown(_) => "repeat the command with the same idempotency key",
            StoreError::Skewed { .. } => {
                "set the clock right that is wrong (NTP), this machine's or the database's; where both are as they are meant to \
                 be, set max_clock_skew"
            }
            StoreError::Failed { remedy, .. } => remedy,
        };
        let remedy = match outcome {
            Written::Unknown => "repeat the command with the same idempotency key",
            Written::No => remedy,
        };
        let reason = match error {
            StoreError::Failed { problem, .. } => problem.clone(),
            other => other.to_string(),
        };
        Error::Unavailable {
            outcome,
            reason,
            remedy: remedy.into(),
        }
    }
}

impl From<StoreError> for Error {
    /// Whether it was done is what the store says; of a read it was not.
    fn from(error: StoreError) -> Self {
        let outcome = match error {
            StoreError::Unknown(_) => Written::Unknown,
            _ => Written::No,
        };
        Error::store(&error, outcome)
    }
}
