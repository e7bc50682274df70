//! How much is used: what the caller says, and what is taken where it says nothing.

use super::exact::figure;
use super::fault::{listed, shortened};
use super::limits::QUANTITY_MAX;
use super::{Estimate, QuoteError, RateCard};
use rust_decimal::Decimal;
use smallvec::SmallVec;

/// The quantities of one call, as the caller knows them.
///
/// Whole numbers and [`Decimal`]s convert: `quote(&card, 3, &[])`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quantities<'a> {
    /// None is known yet: the card's estimates are taken.
    #[default]
    Unknown,
    /// That of a card that meters one quantity. For a card that is priced per call, 1.
    One(Decimal),
    /// By name. For those left out the card's estimates are taken.
    Named(&'a [(&'a str, Decimal)]),
}

macro_rules! one_from {
    ($($number:ty),+) => {
        $(impl From<$number> for Quantities<'_> {
            fn from(number: $number) -> Self {
                Quantities::One(number.into())
            }
        })+
    };
}

one_from!(i32, i64, u32, u64, Decimal);

impl<'a> From<&'a [(&'a str, Decimal)]> for Quantities<'a> {
    fn from(named: &'a [(&'a str, Decimal)]) -> Self {
        Quantities::Named(named)
    }
}

/// The quantity that a component is priced with, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Measured {
    /// What is counted.
    pub quantity: Decimal,
    /// How it is known.
    pub known: Known,
}

/// How a quantity is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Known {
    /// There is none: a fee per call.
    PerCall,
    /// The caller said it.
    Given,
    /// It is not known, and the card's default was taken.
    Default,
    /// It is not known, and the card's cap was taken.
    Cap,
    /// It was not known when the hold was made, so no more than the card's cap is counted.
    Capped {
        /// What was really used.
        used: Decimal,
    },
}

/// The quantities of a card's components.
pub(super) type AllMeasured = SmallVec<[Measured; 2]>;

/// What each component of the card is priced with.
pub(super) fn measure(card: &RateCard, quantities: Quantities<'_>) -> Result<AllMeasured, QuoteError> {
    check(card, quantities)?;
    (card.components.iter())
        .map(|component| {
            let Some(name) = &component.quantity else {
                return Ok(Measured {
                    quantity: Decimal::ONE,
                    known: Known::PerCall,
                });
            };
            let (quantity, known) = match (find(quantities, name), component.estimate) {
                (Some(quantity), _) => (quantity, Known::Given),
                (None, Estimate::Default(quantity)) => (quantity, Known::Default),
                (None, Estimate::Cap(quantity)) => (quantity, Known::Cap),
                (None, Estimate::Reject) => {
                    return Err(QuoteError::MissingQuantity {
                        feature: card.feature.clone(),
                        name: name.clone(),
                    });
                }
            };
            Ok(Measured { quantity, known })
        })
        .collect()
}

/// The same once more, with what was really used: what is not given stays as it was.
pub(super) fn measure_again(
    card: &RateCard,
    before: &[Measured],
    quantities: Quantities<'_>,
) -> Result<AllMeasured, QuoteError> {
    check(card, quantities)?;
    Ok((card.components.iter().zip(before))
        .map(|(component, before)| {
            let name = component.quantity.as_deref().unwrap_or_default();
            let used = match before.known {
                Known::PerCall => None,
                _ => find(quantities, name),
            };
            match (used, before.known, component.estimate) {
                (None, _, _) => *before,
                (Some(used), Known::Cap | Known::Capped { .. }, Estimate::Cap(cap)) => Measured {
                    quantity: used.min(cap),
                    known: Known::Capped { used },
                },
                (Some(quantity), _, _) => Measured {
                    quantity,
                    known: Known::Given,
                },
            }
        })
        .collect())
}

fn find(quantities: Quantities<'_>, name: &str) -> Option<Decimal> {
    match quantities {
        Quantities::Unknown => None,
        Quantities::One(quantity) => Some(quantity),
        Quantities::Named(named) => named.iter().find(|(n, _)| *n == name).map(|(_, q)| *q),
    }
}

/// Whether the card meters what is given, and the numbers are possible.
fn check(card: &RateCard, quantities: Quantities<'_>) -> Result<(), QuoteError> {
    let metered = || card.components.iter().filter_map(|c| c.quantity.as_deref());
    let possible = |name: &str, quantity: Decimal| {
        // Checked for its digits too: what is priced can be written down and read again.
        if quantity >= Decimal::ZERO && quantity <= Decimal::from(QUANTITY_MAX) && figure(quantity).is_ok() {
            return Ok(());
        }
        Err(QuoteError::QuantityOutOfRange {
            name: name.into(),
            quantity,
        })
    };
    match quantities {
        Quantities::Unknown => Ok(()),
        Quantities::One(quantity) => {
            let mut names = metered();
            match (names.next(), names.next()) {
                (Some(name), None) => possible(name, quantity),
                (Some(_), Some(_)) => Err(QuoteError::Unnamed {
                    feature: card.feature.clone(),
                    known: listed(metered()),
                }),
                (None, _) if quantity == Decimal::ONE => Ok(()),
                (None, _) => Err(QuoteError::PerCall {
                    feature: card.feature.clone(),
                    quantity,
                }),
            }
        }
        Quantities::Named(named) => {
            for (index, (name, quantity)) in named.iter().enumerate() {
                if !metered().any(|n| n == *name) {
                    return Err(QuoteError::UnknownQuantity {
                        feature: card.feature.clone(),
                        name: shortened(name),
                        known: listed(metered()),
                    });
                }
                if named.iter().take(index).any(|(n, _)| n == name) {
                    return Err(QuoteError::DuplicateQuantity { name: (*name).into() });
                }
                possible(name, *quantity)?;
            }
            Ok(())
        }
    }
}
