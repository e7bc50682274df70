//! The clock that tests move, and the one that waiting goes by.

use crate::arguments::{duration, timestamp};
use crate::errors::invalid;
use crate::objects::datetime;
use jointo_credits::{Clock, Timestamp};
use pyo3::prelude::*;
use std::time::Instant;

#[allow(
    clippy::disallowed_methods,
    reason = "how long a thread waits is no matter of the ledger's clock"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A clock that stands still until it is moved: a test runs a year in a second.
#[pyclass(frozen, module = "jointo_credits")]
pub(crate) struct ManualClock {
    pub(crate) clock: jointo_credits::ManualClock,
}

#[pymethods]
impl ManualClock {
    #[new]
    fn new(start: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(ManualClock {
            clock: jointo_credits::ManualClock::starting_at(timestamp("start", start)?),
        })
    }

    /// What it shows: an aware datetime in UTC.
    fn now(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        datetime(py, self.clock.now())
    }

    /// Shows `to` from now on, an aware datetime, which may lie in the past.
    fn set(&self, to: &Bound<'_, PyAny>) -> PyResult<()> {
        self.clock.set(timestamp("to", to)?);
        Ok(())
    }

    /// Moves forward by a timedelta, or a number of seconds.
    fn advance(&self, by: &Bound<'_, PyAny>) -> PyResult<()> {
        let step = duration("by", by)?;
        if self.clock.now().plus(step) >= Timestamp::MAX {
            return Err(invalid(
                by,
                "by",
                "leads beyond the last time there is",
                "2000-01-01 to 9999-12-30",
            ));
        }
        self.clock.advance(step);
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("ManualClock({})", self.clock.now())
    }
}
