//! What a new ledger starts with: four packages and a rate card for each of ten features.
//!
//! Prices are a beginning, set against packages that sell a credit for 0.05 to 0.09 CNY; an operator replaces them by
//! adding versions. The ids are fixed, so that installing the catalogue twice finds what the first time wrote.

use super::{CardError, RateCard};
use alloc::{sync::Arc, vec::Vec};
use rust_decimal::Decimal;
use uuid::Uuid;

/// A package of credits that is for sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// Its fixed id.
    pub id: Uuid,
    /// Its name.
    pub name: &'static str,
    /// What it is good for.
    pub description: &'static str,
    /// What it costs, in [`Package::currency`]; two digits behind the point.
    pub price: Decimal,
    /// ISO 4217.
    pub currency: &'static str,
    /// Credits that are bought.
    pub credits: i64,
    /// Credits on top.
    pub bonus_credits: i64,
    /// Lower stands first.
    pub sort_order: i32,
    /// Whether shops should point it out.
    pub recommended: bool,
}

/// A rate card of the catalogue, as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CatalogueCard {
    /// Its fixed id.
    pub id: Uuid,
    /// The feature it prices.
    pub feature: &'static str,
    /// The card, for [`RateCard::parse`].
    pub json: &'static str,
}

/// A UUID version 7 of 2026-11-22, the day the catalogue was written, with a number in place of its random bits.
const fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x019a_a9c0_0000_7000_8000_0000_0000_0000 | number)
}

const fn yuan(fen: u32) -> Decimal {
    Decimal::from_parts(fen, 0, 0, false, 2)
}

/// The packages, in the order in which a shop shows them.
pub const PACKAGES: [Package; 4] = [
    Package {
        id: id(0x101),
        name: "入门套餐",
        description: "适合新手用户体验",
        price: yuan(990),
        currency: "CNY",
        credits: 100,
        bonus_credits: 10,
        sort_order: 1,
        recommended: false,
    },
    Package {
        id: id(0x102),
        name: "超值套餐",
        description: "",
        price: yuan(4990),
        currency: "CNY",
        credits: 600,
        bonus_credits: 100,
        sort_order: 2,
        recommended: true,
    },
    Package {
        id: id(0x103),
        name: "专业套餐",
        description: "",
        price: yuan(9990),
        currency: "CNY",
        credits: 1300,
        bonus_credits: 300,
        sort_order: 3,
        recommended: false,
    },
    Package {
        id: id(0x104),
        name: "企业套餐",
        description: "",
        price: yuan(29990),
        currency: "CNY",
        credits: 4500,
        bonus_credits: 1500,
        sort_order: 4,
        recommended: false,
    },
];

macro_rules! cards {
    ($($number:literal $feature:literal,)+) => {
        [$(CatalogueCard {
            id: id($number),
            feature: $feature,
            json: include_str!(concat!($feature, ".json")),
        },)+]
    };
}

/// The rate cards.
pub const CARDS: [CatalogueCard; 10] = cards![
    0x201 "image_generation",
    0x202 "video_generation",
    0x203 "text_processing",
    0x204 "audio_generation",
    0x205 "sound_effect_generation",
    0x206 "voiceover_generation",
    0x207 "subtitle_generation",
    0x208 "asset_generation",
    0x209 "storyboard_generation",
    0x20a "screenplay_generation",
];

/// The rate cards, parsed.
///
/// # Errors
/// [`CardError`] where one is no rate card, which a test of this crate rules out.
///
/// ```
/// use jointo_credits::pricing::{shipped, quote};
/// use std::sync::Arc;
/// let cards = shipped::rate_cards()?;
/// let images = cards.iter().find(|(_, card)| card.feature() == "image_generation");
/// let (_, card) = images.ok_or("not in the catalogue")?;
/// assert_eq!(quote(card, 2, &[("quality", "hd")])?.credits(), 12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rate_cards() -> Result<Vec<(Uuid, Arc<RateCard>)>, CardError> {
    CARDS
        .iter()
        .map(|card| Ok((card.id, Arc::new(RateCard::parse(card.json)?))))
        .collect()
}
