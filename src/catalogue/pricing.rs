//! Versions of rate cards: how they are set, and listed.

use crate::ledger::Timestamp;
use crate::pricing::CardVersion;
use uuid::Uuid;

/// A new version of a feature's rate card.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct SetPricing {
    /// The card, as JSON (docs/rate-card.schema.json). It names the feature.
    pub card: String,
    /// The account it is for; everybody where `None`.
    pub user_id: Option<Uuid>,
    /// From when it counts; from now on where `None`.
    pub effective_from: Option<Timestamp>,
    /// Until when; as long as no later one counts where `None`.
    pub effective_until: Option<Timestamp>,
}

impl SetPricing {
    /// A card for everybody, from now on.
    pub fn new(card: impl Into<String>) -> Self {
        SetPricing {
            card: card.into(),
            user_id: None,
            effective_from: None,
            effective_until: None,
        }
    }
}

/// A stored rate card, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// Its id, version, dates and card.
    pub version: CardVersion,
    /// When it was added.
    pub created_at: Timestamp,
}

with!(SetPricing {
    /// The account it is for.
    user_id: Uuid => Some,
    /// From when it counts.
    effective_from: Timestamp => Some,
    /// Until when.
    effective_until: Timestamp => Some,
});
