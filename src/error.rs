//! What a caller can be told instead of a result.

use crate::ledger::{Refusal, Timestamp};
use crate::pricing::{CardError, FrozenError, QuoteError};

/// Whether a command that failed for technical reasons was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It was not: nothing has changed.
    No,
    /// Nobody can tell. Repeating it with the same idempotency key is safe.
    Unknown,
}

impl Written {
    /// `not_done` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Written::No => "not_done",
            Written::Unknown => "unknown",
        }
    }
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ledger said no: nothing has changed, and the reason says what to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A rate card can't be saved.
    #[error("the rate card: {0}")]
    Card(#[from] CardError),
    /// A call can't be priced.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// A feature has no price.
    #[error("no rate card for `{feature}` is in force; add one with set_pricing(), or pass an amount")]
    NotPriced {
        /// The feature.
        feature: String,
    },
    /// A payment channel's message is not to be trusted, or is not about us.
    #[error("{channel}: {problem}")]
    PaymentVerification {
        /// The channel.
        channel: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A payment channel said no.
    #[error("{channel} refused: {message} ({reason})")]
    PaymentChannel {
        /// The channel.
        channel: String,
        /// Its own code for why.
        reason: String,
        /// What it says.
        message: String,
    },
    /// The database, or the way to it, failed.
    #[error("{reason}; {remedy}")]
    Unavailable {
        /// Whether the command was done.
        outcome: Written,
        /// What failed.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    /// A stable word for programs: the refusal's, or `unavailable`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Error::Refused(refusal) => refusal.code(),
            Error::Card(error) => error.code(),
            Error::Quote(error) => error.code(),
            Error::NotPriced { .. } => "not_found",
            Error::PaymentVerification { .. } => "payment_verification",
            Error::PaymentChannel { .. } => "payment_channel",
            Error::Unavailable { .. } => "unavailable",
        }
    }

    /// The refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Error::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// A stored quote or card that can't be what it was when it was written.
    pub(crate) fn damaged(what: impl std::fmt::Display, error: &FrozenError) -> Self {
        Error::Unavailable {
            outcome: Written::No,
            reason: format!("{what}: {error}"),
            remedy: "the books are damaged, or of another version; run verify()".into(),
        }
    }

    pub(crate) fn invalid(
        field: &'static str,
        problem: &'static str,
        limit: impl ToString,
        value: impl ToString,
    ) -> Self {
        Error::Refused(Refusal::Invalid {
            field,
            problem,
            limit: limit.to_string(),
            value: value.to_string(),
        })
    }

    /// A time of which the database knows nothing any more: its entries up to before `since` have left for an archive.
    pub(crate) fn archived(field: &'static str, since: Timestamp, value: Timestamp) -> Self {
        Error::invalid(
            field,
            "is before what the database still knows; older entries are in the archive",
            format!("{since} or later"),
            value,
        )
    }

    pub(crate) fn closed() -> Self {
        Error::Unavailable {
            outcome: Written::No,
            reason: "the ledger is closed".into(),
            remedy: "connect anew".into(),
        }
    }
}

/// The result of every call.
pub type Result<T, E = Error> = core::result::Result<T, E>;
