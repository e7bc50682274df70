//! The catalogue as it is stored, and a change of it.

use super::Package;
use crate::ledger::Timestamp;
use uuid::Uuid;

/// A rate card as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CardRow {
    pub(crate) pricing_id: Uuid,
    pub(crate) feature: String,
    pub(crate) version: u32,
    pub(crate) name: String,
    /// The card's canonical JSON.
    pub(crate) card: String,
    /// For one account; for everybody where `None`.
    pub(crate) user_id: Option<Uuid>,
    pub(crate) effective_from: Timestamp,
    pub(crate) effective_until: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

/// What is for sale, and what features cost.
#[derive(Debug, Clone, Default)]
pub(crate) struct CatalogueRows {
    pub(crate) revision: i64,
    /// By feature and version.
    pub(crate) cards: Vec<CardRow>,
    /// In no order.
    pub(crate) packages: Vec<Package>,
}

/// What to write into the catalogue.
#[derive(Debug, Clone, Default)]
pub(crate) struct CatalogueChange {
    /// The revision it was planned on.
    pub(crate) expected_revision: i64,
    pub(crate) cards: Vec<CardRow>,
    /// New ones, and new versions of old ones.
    pub(crate) packages: Vec<Package>,
}

impl CatalogueChange {
    pub(crate) fn is_empty(&self) -> bool {
        self.cards.is_empty() && self.packages.is_empty()
    }
}
