//! Instants in microseconds, the precision both databases keep.

use alloc::string::{String, ToString};
use core::{fmt, str::FromStr, time::Duration};

/// A point in time: microseconds since 1970-01-01T00:00:00Z.
///
/// ```
/// use jointo_credits::Timestamp;
/// let t: Timestamp = "2026-11-22T08:00:00Z".parse()?;
/// assert_eq!(t.plus(std::time::Duration::from_secs(90)).to_string(), "2026-11-22T08:01:30Z");
/// # Ok::<(), jointo_credits::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant the ledger takes: 2000-01-01T00:00:00Z.
    pub const MIN: Timestamp = Timestamp(946_684_800_000_000);
    /// The latest instant the ledger takes: 9999-12-30T00:00:00Z, which can still be written in every time zone.
    pub const MAX: Timestamp = Timestamp(253_402_128_000_000_000);

    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This instant and `duration` more; [`Timestamp::MAX`] where that would pass it.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(micros).min(Self::MAX.0))
    }

    /// Whether the ledger takes it: [`Timestamp::MIN`] to [`Timestamp::MAX`].
    #[must_use]
    pub fn in_range(self) -> bool {
        (Self::MIN..=Self::MAX).contains(&self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an RFC 3339 time such as 2026-11-22T08:00:00Z: {why}")]
pub struct ParseTimestampError {
    text: String,
    why: String,
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<jiff::Timestamp>() {
            Ok(t) => Ok(Timestamp(t.as_microsecond())),
            Err(e) => Err(ParseTimestampError {
                text: text.to_string(),
                why: e.to_string(),
            }),
        }
    }
}
