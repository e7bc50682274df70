//! What a call costs, step by step.
//!
//! A quote has to be made a million times a second, so a line is a small value without text of its own; what people
//! read is written when they ask for it (`explain.rs`).

use super::exact::{NotExact, add, blocks, mul, round, sub};
use super::fault::{listed, shortened};
use super::limits::TEXT_BYTES_MAX;
use super::quantities::{AllMeasured, measure, measure_again};
use super::{
    Component, Explained, Measured, Model, Multiplier, PricingRef, Quantities, QuoteError, RateCard, Tier,
};
use crate::ledger::limits::CREDITS_MAX;
use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};
use compact_str::CompactString;
use core::cmp::Ordering;
use rust_decimal::Decimal;
use smallvec::SmallVec;

/// The price of one call: the credits, the exact figure behind them, and how it came about.
///
/// It keeps its card and what was asked, so it can be priced again with other quantities ([`Quote::reprice`]) and
/// written into a hold ([`Quote::to_json`]). Its `Display` is the whole breakdown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    pub(super) card: Arc<RateCard>,
    pub(super) pricing: Option<PricingRef>,
    /// One for each component.
    pub(super) measured: AllMeasured,
    /// One for each attribute of the card; `None` where the card's assumption was taken.
    pub(super) values: Values,
    lines: Vec<Line>,
    exact: Decimal,
    credits: i64,
}

/// The values of a card's attributes.
pub(super) type Values = SmallVec<[Option<CompactString>; 2]>;

/// One step on the way to the exact figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// What it is for.
    pub step: Step,
    /// What it adds, or takes off. All lines together are the exact figure.
    pub amount: Decimal,
}

/// What a line is for. Components, tiers and multipliers are positions in the card's lists, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A fee per call.
    PerCall {
        /// Which.
        component: usize,
    },
    /// Units at one rate.
    Units {
        /// Of which component.
        component: usize,
        /// How many.
        units: Decimal,
    },
    /// Units at the rate of a tier.
    Tier {
        /// Of which component.
        component: usize,
        /// Which tier.
        tier: usize,
        /// How many.
        units: Decimal,
    },
    /// The fee of a tier.
    Fee {
        /// Of which component.
        component: usize,
        /// Which tier.
        tier: usize,
    },
    /// Started blocks.
    Blocks {
        /// Of which component.
        component: usize,
        /// How many.
        blocks: Decimal,
    },
    /// What free units would have cost; never positive.
    Free {
        /// Of which component.
        component: usize,
        /// How many.
        units: Decimal,
    },
    /// What a multiplier makes of a figure, over that figure.
    Factor {
        /// The component it belongs to; `None` for one of the card.
        component: Option<usize>,
        /// Which multiplier.
        multiplier: usize,
        /// The figure that is multiplied.
        base: Decimal,
        /// What by.
        factor: Decimal,
    },
    /// What is missing to the card's minimum.
    Minimum,
    /// What is above the card's maximum; never positive.
    Maximum,
}

/// What `quantities` of a feature cost on its card, with these attributes as pairs of name and value.
///
/// The same arguments always give the same quote. Nothing is changed anywhere. The module's page says in which order
/// a price comes about.
///
/// # Errors
/// [`QuoteError`] where the card does not price such a call, or the price is no exact or no possible figure.
///
/// ```
/// use jointo_credits::pricing::{Quantities, QuoteError, RateCard, quote};
/// use std::sync::Arc;
/// let card = Arc::new(RateCard::parse(r#"{
///     "feature": "video_generation", "name": "视频生成",
///     "components": [{"quantity": "seconds", "model": "per_unit", "rate": "1.5"}]
/// }"#)?);
/// let five = quote(&card, 5, &[])?;
/// assert_eq!((five.credits(), five.exact().to_string()), (8, "7.5".into()));
/// assert!(matches!(quote(&card, Quantities::Unknown, &[]), Err(QuoteError::MissingQuantity { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quote<'a>(
    card: &Arc<RateCard>,
    quantities: impl Into<Quantities<'a>>,
    attributes: &[(&str, &str)],
) -> Result<Quote, QuoteError> {
    let measured = measure(card, quantities.into())?;
    let values = values(card, attributes)?;
    Quote::new(Arc::clone(card), None, measured, values)
}

impl Quote {
    pub(super) fn new(
        card: Arc<RateCard>,
        pricing: Option<PricingRef>,
        measured: AllMeasured,
        values: Values,
    ) -> Result<Self, QuoteError> {
        if card.is_retired() {
            return Err(QuoteError::Retired {
                feature: card.feature.clone(),
            });
        }
        let (lines, exact) = price(&card, &measured, &values).map_err(|fault| match fault {
            Fault::NotExact => QuoteError::NotExact {
                feature: card.feature.clone(),
            },
            Fault::UnknownValue(error) => *error,
        })?;
        let credits = round(exact, card.rounding)
            .filter(|credits| (0..=CREDITS_MAX).contains(credits))
            .ok_or_else(|| QuoteError::TooManyCredits {
                feature: card.feature.clone(),
                exact,
            })?;
        Ok(Quote {
            card,
            pricing,
            measured,
            values,
            lines,
            exact: exact.normalize(),
            credits,
        })
    }

    /// The price in whole credits, 0 to 2^53 - 1.
    #[must_use]
    pub fn credits(&self) -> i64 {
        self.credits
    }

    /// The exact figure: the sum of all lines, without trailing zeros.
    #[must_use]
    pub fn exact(&self) -> Decimal {
        self.exact
    }

    /// What rounding added (positive) or dropped (negative): credits less the exact figure, always less than 1.
    #[must_use]
    pub fn remainder(&self) -> Decimal {
        // Exact: its fraction has the figure's digits, and its whole part is zero.
        sub(Decimal::from(self.credits), self.exact).unwrap_or_default()
    }

    /// The steps, in the order in which they were taken.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The steps with a text for each.
    pub fn breakdown(&self) -> impl Iterator<Item = Explained<'_>> {
        self.lines.iter().map(|line| Explained { quote: self, line })
    }

    /// The card that priced it.
    #[must_use]
    pub fn card(&self) -> &Arc<RateCard> {
        &self.card
    }

    /// The stored version of the card; `None` where a card was quoted that is not stored.
    #[must_use]
    pub fn pricing(&self) -> Option<PricingRef> {
        self.pricing
    }

    /// What each of the card's components was priced with.
    #[must_use]
    pub fn measured(&self) -> &[Measured] {
        &self.measured
    }

    /// The attributes of the card, each with the value it was priced with.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        (self.card.attributes.iter().enumerate()).map(|(index, attribute)| {
            let value = value(&self.card, &self.values, index).unwrap_or_default();
            (attribute.name.as_str(), value)
        })
    }

    /// The same call priced again, by the same card with the same attributes, with what was really used.
    ///
    /// A quantity that is not given stays as it was. One that was held at the card's cap is charged up to that cap.
    ///
    /// # Errors
    /// [`QuoteError`], as [`quote`].
    ///
    /// ```
    /// use jointo_credits::pricing::{Quantities, RateCard, quote};
    /// use std::sync::Arc;
    /// let card = Arc::new(RateCard::parse(r#"{
    ///     "feature": "text_processing", "name": "文本处理",
    ///     "components": [
    ///         {"quantity": "tokens", "model": "per_unit", "rate": 2, "per": 1000, "estimate": {"cap": 4000}}
    ///     ]
    /// }"#)?);
    /// let held = quote(&card, Quantities::Unknown, &[])?;
    /// assert_eq!(held.credits(), 8);
    /// assert_eq!(held.reprice(1500)?.credits(), 3);
    /// assert_eq!(held.reprice(9000)?.credits(), 8); // never more than was held
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reprice<'a>(&self, quantities: impl Into<Quantities<'a>>) -> Result<Quote, QuoteError> {
        let measured = measure_again(&self.card, &self.measured, quantities.into())?;
        Quote::new(
            Arc::clone(&self.card),
            self.pricing,
            measured,
            self.values.clone(),
        )
    }
}

/// The values of the card's attributes, in the card's order.
pub(super) fn values(card: &RateCard, attributes: &[(&str, &str)]) -> Result<Values, QuoteError> {
    for (index, (name, value)) in attributes.iter().enumerate() {
        if !card.attributes.iter().any(|a| a.name == *name) {
            return Err(QuoteError::UnknownAttribute {
                feature: card.feature.clone(),
                name: shortened(name),
                known: listed(card.attributes.iter().map(|a| a.name.as_str())),
            });
        }
        if attributes.iter().take(index).any(|(n, _)| n == name) {
            return Err(QuoteError::DuplicateAttribute { name: (*name).into() });
        }
        if value.len() > TEXT_BYTES_MAX {
            return Err(QuoteError::ValueTooLong {
                name: (*name).into(),
                bytes: value.len(),
            });
        }
    }
    (card.attributes.iter())
        .map(|attribute| {
            let given = attributes.iter().find(|(name, _)| *name == attribute.name);
            match (given, &attribute.assumed) {
                (Some((_, value)), _) => Ok(Some(CompactString::new(value))),
                (None, Some(_)) => Ok(None),
                (None, None) => Err(QuoteError::MissingAttribute {
                    feature: card.feature.clone(),
                    name: attribute.name.clone(),
                }),
            }
        })
        .collect()
}

/// The value of the attribute at `index`, given or assumed.
pub(super) fn value<'q>(
    card: &'q RateCard,
    values: &'q [Option<CompactString>],
    index: usize,
) -> Option<&'q str> {
    match values.get(index)? {
        Some(value) => Some(value),
        None => card.attributes.get(index)?.assumed.as_deref(),
    }
}

// --- the price ------------------------------------------------------------------------------------------------------

enum Fault {
    NotExact,
    UnknownValue(Box<QuoteError>),
}

impl From<NotExact> for Fault {
    fn from(_: NotExact) -> Self {
        Fault::NotExact
    }
}

/// The lines so far and their sum.
struct Sum {
    lines: Vec<Line>,
    total: Decimal,
}

impl Sum {
    fn push(&mut self, step: Step, amount: Decimal) -> Result<(), NotExact> {
        self.total = add(self.total, amount)?;
        self.lines.push(Line { step, amount });
        Ok(())
    }
}

fn price(
    card: &RateCard,
    measured: &[Measured],
    values: &[Option<CompactString>],
) -> Result<(Vec<Line>, Decimal), Fault> {
    let mut all = Sum {
        lines: Vec::with_capacity(card.components.len() * 2 + card.multipliers.len() + 1),
        total: Decimal::ZERO,
    };
    for (index, (component, measured)) in card.components.iter().zip(measured).enumerate() {
        let mut own = Sum {
            lines: all.lines,
            total: Decimal::ZERO,
        };
        charge(component, index, measured.quantity, &mut own)?;
        multiply(card, Some(index), &component.multipliers, values, &mut own)?;
        all = Sum {
            lines: own.lines,
            total: add(all.total, own.total)?,
        };
    }
    multiply(card, None, &card.multipliers, values, &mut all)?;
    if let Some(minimum) = card.minimum.filter(|minimum| all.total < *minimum) {
        let missing = sub(minimum, all.total)?;
        all.push(Step::Minimum, missing)?;
    }
    if let Some(maximum) = card.maximum.filter(|maximum| all.total > *maximum) {
        let above = sub(maximum, all.total)?;
        all.push(Step::Maximum, above)?;
    }
    Ok((all.lines, all.total))
}

/// What a component charges for `quantity`, free units taken off.
fn charge(component: &Component, index: usize, quantity: Decimal, sum: &mut Sum) -> Result<(), NotExact> {
    let free = component.free_units.min(quantity);
    let less = match &component.model {
        Model::Flat { rate } => {
            sum.push(Step::PerCall { component: index }, *rate)?;
            Decimal::ZERO
        }
        Model::PerUnit { unit_price, .. } => {
            let step = Step::Units {
                component: index,
                units: quantity,
            };
            sum.push(step, mul(quantity, *unit_price)?)?;
            mul(free, *unit_price)?
        }
        Model::Graduated(tiers) => graduated(tiers, index, quantity, free, sum)?,
        Model::Volume(tiers) => volume(tiers, index, quantity, free, sum)?,
        Model::Package { rate } => {
            let started = blocks(quantity, component.per)?;
            let step = Step::Blocks {
                component: index,
                blocks: started,
            };
            sum.push(step, mul(started, *rate)?)?;
            let charged = blocks(sub(quantity, free)?, component.per)?;
            mul(sub(started, charged)?, *rate)?
        }
    };
    if !free.is_zero() {
        let step = Step::Free {
            component: index,
            units: free,
        };
        sum.push(step, sub(Decimal::ZERO, less)?)?;
    }
    Ok(())
}

/// Each unit at its own tier's rate. Gives what the first `free` units cost.
fn graduated(
    tiers: &[Tier],
    component: usize,
    quantity: Decimal,
    free: Decimal,
    sum: &mut Sum,
) -> Result<Decimal, NotExact> {
    let mut less = Decimal::ZERO;
    for (tier, range) in tiers.iter().enumerate() {
        if tier > 0 && quantity <= range.from {
            break;
        }
        let end = range.up_to.map_or(quantity, |up_to| up_to.min(quantity));
        let units = sub(end, range.from)?;
        let step = Step::Tier {
            component,
            tier,
            units,
        };
        sum.push(step, mul(units, range.unit_price)?)?;
        let fee = if units.is_zero() { Decimal::ZERO } else { range.fee };
        if !fee.is_zero() {
            sum.push(Step::Fee { component, tier }, fee)?;
        }
        if free > range.from {
            let units = sub(free.min(end), range.from)?;
            less = add(less, mul(units, range.unit_price)?)?;
            if free >= end {
                less = add(less, fee)?;
            }
        }
    }
    Ok(less)
}

/// All units at the rate of the tier that the quantity falls into. Gives what the first `free` units cost.
fn volume(
    tiers: &[Tier],
    component: usize,
    quantity: Decimal,
    free: Decimal,
    sum: &mut Sum,
) -> Result<Decimal, NotExact> {
    let reached = |range: &Tier| range.up_to.is_none_or(|up_to| quantity <= up_to);
    let Some((tier, range)) = tiers.iter().enumerate().find(|(_, range)| reached(range)) else {
        return Ok(Decimal::ZERO); // not in a card: its last tier is without end
    };
    let step = Step::Tier {
        component,
        tier,
        units: quantity,
    };
    sum.push(step, mul(quantity, range.unit_price)?)?;
    let fee = if quantity.is_zero() {
        Decimal::ZERO
    } else {
        range.fee
    };
    if !fee.is_zero() {
        sum.push(Step::Fee { component, tier }, fee)?;
    }
    let less = mul(free, range.unit_price)?;
    if free >= quantity {
        add(less, fee)
    } else {
        Ok(less)
    }
}

fn multiply(
    card: &RateCard,
    component: Option<usize>,
    multipliers: &[Multiplier],
    values: &[Option<CompactString>],
    sum: &mut Sum,
) -> Result<(), Fault> {
    for (index, multiplier) in multipliers.iter().enumerate() {
        let factor = factor(card, multiplier, values)
            .ok_or_else(|| Fault::UnknownValue(Box::new(unknown_value(card, multiplier, values))))?;
        let base = sum.total;
        let step = Step::Factor {
            component,
            multiplier: index,
            base,
            factor,
        };
        sum.push(step, sub(mul(base, factor)?, base)?)?;
    }
    Ok(())
}

fn factor(card: &RateCard, multiplier: &Multiplier, values: &[Option<CompactString>]) -> Option<Decimal> {
    let wanted = |place: usize| value(card, values, *multiplier.attributes.get(place)?);
    let compare = |when: &[String]| {
        (when.iter().enumerate())
            .map(|(place, listed)| Some(listed.as_str()).cmp(&wanted(place)))
            .find(|order| *order != Ordering::Equal)
            .unwrap_or(Ordering::Equal)
    };
    match multiplier.rows.binary_search_by(|row| compare(&row.when)) {
        Ok(at) => multiplier.rows.get(at).map(|row| row.factor),
        Err(_) => multiplier.if_unknown,
    }
}

fn unknown_value(card: &RateCard, multiplier: &Multiplier, values: &[Option<CompactString>]) -> QuoteError {
    let given = (multiplier.attributes.iter()).filter_map(|index| value(card, values, *index));
    let known: Vec<String> = multiplier.rows.iter().map(|row| row.when.join(" / ")).collect();
    QuoteError::UnknownValue {
        feature: card.feature.clone(),
        attribute: card.attribute_names(multiplier).collect::<Vec<_>>().join(" / "),
        value: shortened(&given.collect::<Vec<_>>().join(" / ")),
        known: listed(known.iter().map(String::as_str)),
    }
}
