//! Where `now` comes from. The one place in the crate that reads the system's clock.

use crate::ledger::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A source of time. Every deadline of the ledger is decided by it.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;
}

/// The system's UTC time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods)] // This is the clock.
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// How long somebody waits for a database. Real time, whatever the ledger's clock says: a test that runs a year in a
/// second has not waited a year.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    ends: tokio::time::Instant,
}

impl Patience {
    #[allow(clippy::disallowed_methods)] // Waiting is measured, not decided.
    fn now() -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    pub(crate) fn begins(length: Duration) -> Self {
        Patience {
            ends: Self::now() + length,
        }
    }

    pub(crate) fn is_over(self) -> bool {
        Self::now() >= self.ends
    }
}

/// When something was done, by the real clock: how old a copy is, whatever the ledger's clock says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment(tokio::time::Instant);

impl Moment {
    pub(crate) fn now() -> Self {
        Moment(Patience::now())
    }

    pub(crate) fn age(self) -> Duration {
        Patience::now().saturating_duration_since(self.0)
    }
}

/// A clock that stands still until it is moved: a test can run a year in a second. Clones share their time.
///
/// ```
/// use jointo_credits::{Clock, ManualClock};
/// let clock = ManualClock::starting_at("2026-01-01T00:00:00Z".parse()?);
/// clock.advance(std::time::Duration::from_secs(3600));
/// assert_eq!(clock.now().to_string(), "2026-01-01T01:00:00Z");
/// # Ok::<(), jointo_credits::ParseTimestampError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn starting_at(start: Timestamp) -> Self {
        ManualClock(Arc::new(AtomicI64::new(start.as_micros())))
    }

    /// Shows `to` from now on, which may lie in the past.
    pub fn set(&self, to: Timestamp) {
        self.0.store(to.as_micros(), Ordering::SeqCst);
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
        // The closure never returns None, so there is always a new value.
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |t| {
            Some(t.saturating_add(micros))
        });
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}
