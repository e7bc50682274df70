//! Which version of a card prices at an instant.
//!
//! Cards are never edited: a new one is added and names the instant from which it counts. A card for one account wins
//! over the general one for as long as it runs.
//!
//! How this can go wrong: a caller that keeps the answer prices with a card that is no longer in force. So the answer
//! says until when it holds ([`InForce::until`]).

use super::{Quantities, Quote, QuoteError, RateCard, quote};
use crate::ledger::Timestamp;
use alloc::sync::Arc;
use uuid::Uuid;

/// The name of a stored card: what a hold keeps of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PricingRef {
    /// The row of credit_pricing.
    pub pricing_id: Uuid,
    /// Its version: 1, 2, 3 ... for each feature.
    pub version: u32,
}

/// A stored rate card: one row of credit_pricing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CardVersion {
    /// Its id and version.
    pub pricing: PricingRef,
    /// The account it is for; `None` for everybody.
    pub account: Option<Uuid>,
    /// From when it counts, this instant included.
    pub effective_from: Timestamp,
    /// Until when, this instant excluded; `None` for as long as no later one counts.
    pub effective_until: Option<Timestamp>,
    /// What it says.
    pub card: Arc<RateCard>,
}

impl CardVersion {
    /// What `quantities` cost on this version. See [`quote`].
    ///
    /// # Errors
    /// [`QuoteError`], as [`quote`].
    pub fn quote<'a>(
        &self,
        quantities: impl Into<Quantities<'a>>,
        attributes: &[(&str, &str)],
    ) -> Result<Quote, QuoteError> {
        let mut quote = quote(&self.card, quantities, attributes)?;
        quote.pricing = Some(self.pricing);
        Ok(quote)
    }

    fn has_begun(&self, at: Timestamp) -> bool {
        self.effective_from <= at
    }

    fn has_ended(&self, at: Timestamp) -> bool {
        self.effective_until.is_some_and(|until| until <= at)
    }
}

/// The answer of [`in_force`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InForce<'v> {
    /// The version that prices; `None` where there is none yet, or none any more.
    pub version: Option<&'v CardVersion>,
    /// Up to this instant, itself excluded, the answer is the same as long as no version is added.
    pub until: Option<Timestamp>,
}

/// Which of the versions of one feature's card prices for `account` at `at`.
///
/// Of those that have begun and not ended, one for the account wins over those for everybody; of several, the one that
/// began last; of several that began at one instant, the one with the highest version. So when a card for an account
/// ends, the one that it stood in front of counts again. Versions for other accounts never count.
///
/// ```
/// use jointo_credits::Timestamp;
/// use jointo_credits::pricing::{CardVersion, PricingRef, RateCard, in_force};
/// # use std::sync::Arc;
/// # use uuid::Uuid;
/// # let card = Arc::new(RateCard::parse(r#"{"feature": "f", "name": "n", "components": [{"model": "flat", "rate": 1}]}"#)?);
/// let version = |version: u32, from: &str| -> Result<_, jointo_credits::ParseTimestampError> {
///     Ok(CardVersion {
///         pricing: PricingRef { pricing_id: Uuid::from_u128(version.into()), version },
///         account: None,
///         effective_from: from.parse()?,
///         effective_until: None,
///         card: Arc::clone(&card),
///     })
/// };
/// let versions = [version(1, "2026-01-01T00:00:00Z")?, version(2, "2026-07-01T00:00:00Z")?];
///
/// let june = in_force(&versions, None, "2026-06-30T23:59:59Z".parse()?);
/// assert_eq!(june.version.map(|v| v.pricing.version), Some(1));
/// assert_eq!(june.until, Some("2026-07-01T00:00:00Z".parse()?)); // keep it no longer than that
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn in_force(versions: &[CardVersion], account: Option<Uuid>, at: Timestamp) -> InForce<'_> {
    let relevant = || {
        versions
            .iter()
            .filter(|v| v.account.is_none() || v.account == account)
    };
    let version = relevant()
        .filter(|v| v.has_begun(at) && !v.has_ended(at))
        .max_by_key(|v| (v.account.is_some(), v.effective_from, v.pricing.version));
    let until = relevant()
        .flat_map(|v| [Some(v.effective_from), v.effective_until])
        .flatten()
        .filter(|t| *t > at)
        .min();
    InForce { version, until }
}
