//! What a rate card says, and how it is written down.

use super::json::{Writer, quoted};
use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

/// How one feature is priced. Made by [`RateCard::parse`] only, so whatever exists has been checked in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateCard {
    pub(super) feature: String,
    pub(super) name: String,
    pub(super) components: Vec<Component>,
    pub(super) multipliers: Vec<Multiplier>,
    pub(super) attributes: Vec<Attribute>,
    pub(super) minimum: Option<Decimal>,
    pub(super) maximum: Option<Decimal>,
    pub(super) rounding: Rounding,
    pub(super) hold_ttl: Option<Duration>,
    pub(super) is_retired: bool,
    /// The canonical text, worked out once: it is stored, hashed and frozen.
    pub(super) canonical: String,
    pub(super) hash: [u8; 32],
}

/// One thing that is charged: a fee per call, or one metered quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Component {
    /// The quantity it meters, as callers name it; `None` for a fee per call.
    pub quantity: Option<String>,
    /// What people read in a breakdown in place of that name.
    pub label: Option<String>,
    /// How it is priced.
    pub model: Model,
    /// The units that a rate is for: 1000 in "0.2 per 1000".
    pub per: Decimal,
    /// How many units of each call cost nothing: its first ones.
    pub free_units: Decimal,
    /// What to take for the quantity while it is not known.
    pub estimate: Estimate,
    /// What this component alone is multiplied by.
    pub multipliers: Vec<Multiplier>,
}

/// How a component prices its quantity `q`.
///
/// The models and their names are those of the metering products whose worked examples `tests/pricing/models.rs`
/// repeats. A `rate` is in credits for `per` units, and never negative.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Model {
    /// `rate` per call, whatever it used.
    Flat {
        /// Credits per call.
        rate: Decimal,
    },
    /// `q * rate / per`.
    PerUnit {
        /// Credits for `per` units.
        rate: Decimal,
        /// `rate / per`, exactly.
        unit_price: Decimal,
    },
    /// Each unit at the rate of the tier it falls into: the sum over the tiers of (units of `q` in it) `* rate / per`,
    /// and the fee of every tier that holds a unit which is charged.
    Graduated(
        /// From 0 upwards, each beginning where the one before ends, the last without end.
        Vec<Tier>,
    ),
    /// All units at the rate of the tier that `q` falls into: `q * rate / per`, and that tier's fee. Where rates fall, a
    /// unit more can cost less in all: 10 at 2 are 20, 11 at 1.8 are 19.8.
    Volume(
        /// As for [`Model::Graduated`].
        Vec<Tier>,
    ),
    /// `rate` for each block of `per` units that is started: `ceil(q / per) * rate`.
    Package {
        /// Credits for a block.
        rate: Decimal,
    },
}

/// A range of quantities: above `from`, up to and with `up_to`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tier {
    /// Where it begins; this quantity itself belongs to the tier before.
    pub from: Decimal,
    /// Its last quantity; `None` for the last tier.
    pub up_to: Option<Decimal>,
    /// Credits for `per` units.
    pub rate: Decimal,
    /// Credits once, when the tier is reached.
    pub fee: Decimal,
    /// `rate / per`, exactly.
    pub unit_price: Decimal,
}

/// What to take for a quantity that is not known when credits are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Estimate {
    /// Nothing: the call is refused.
    #[default]
    Reject,
    /// This quantity. What is really used is charged, be it more or less.
    Default(Decimal),
    /// This quantity. What is really used is charged, but never more than this: the hold is always enough.
    Cap(Decimal),
}

/// A factor that depends on the call's attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Multiplier {
    /// The attributes it goes by, as positions in [`RateCard::attributes`]: one, or the two of a matrix.
    pub attributes: Vec<usize>,
    /// The factors, sorted by [`Row::when`].
    pub rows: Vec<Row>,
    /// The factor for every other value; without it they are refused.
    pub if_unknown: Option<Decimal>,
}

/// The factor for one value, or for one cell of a matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// A value for each attribute of the multiplier.
    pub when: Vec<String>,
    /// What is multiplied by; zero or more.
    pub factor: Decimal,
}

/// An attribute that prices depend on, such as `quality`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attribute {
    /// As callers name it.
    pub name: String,
    /// The value of calls that do not give it; without it they are refused.
    pub assumed: Option<String>,
}

/// How the exact figure becomes whole credits, once and at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Rounding {
    /// To the next whole credit above.
    #[default]
    Up,
    /// To the nearest; a half goes up.
    HalfUp,
    /// To the nearest; a half goes to the even one.
    HalfEven,
    /// The fraction is dropped.
    Down,
}

impl Rounding {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Rounding::Up => "up",
            Rounding::HalfUp => "half_up",
            Rounding::HalfEven => "half_even",
            Rounding::Down => "down",
        }
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "up" => Some(Rounding::Up),
            "half_up" => Some(Rounding::HalfUp),
            "half_even" => Some(Rounding::HalfEven),
            "down" => Some(Rounding::Down),
            _ => None,
        }
    }
}

impl Model {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Model::Flat { .. } => "flat",
            Model::PerUnit { .. } => "per_unit",
            Model::Graduated(_) => "graduated",
            Model::Volume(_) => "volume",
            Model::Package { .. } => "package",
        }
    }
}

impl Component {
    /// What people read: its label, else the quantity's name, else `per call`.
    #[must_use]
    pub fn title(&self) -> &str {
        self.label
            .as_deref()
            .or(self.quantity.as_deref())
            .unwrap_or("per call")
    }
}

impl RateCard {
    /// The feature it prices.
    #[must_use]
    pub fn feature(&self) -> &str {
        &self.feature
    }

    /// Its name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is charged, in the card's order.
    #[must_use]
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// What the sum of the components is multiplied by, in the card's order.
    #[must_use]
    pub fn multipliers(&self) -> &[Multiplier] {
        &self.multipliers
    }

    /// The attributes that some multiplier goes by.
    #[must_use]
    pub fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    /// The least a call costs, before rounding.
    #[must_use]
    pub fn minimum(&self) -> Option<Decimal> {
        self.minimum
    }

    /// The most a call costs, before rounding.
    #[must_use]
    pub fn maximum(&self) -> Option<Decimal> {
        self.maximum
    }

    /// How the exact figure becomes credits.
    #[must_use]
    pub fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// How long a hold for this feature lives; the ledger's setting where `None`.
    #[must_use]
    pub fn hold_ttl(&self) -> Option<Duration> {
        self.hold_ttl
    }

    /// Whether the feature has no price from this card on: it is no longer sold.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.is_retired
    }

    /// The text to store: the same for equal cards, however they were written. Parsed again it gives an equal card.
    ///
    /// Numbers are texts in it, so that no reader on the way makes floats of them.
    ///
    /// ```
    /// use jointo_credits::pricing::RateCard;
    /// let card = RateCard::parse(r#"{"feature": "f", "components": [{"rate": 2.50, "model": "flat"}], "name": "n"}"#)?;
    /// assert_eq!(
    ///     card.canonical_json(),
    ///     r#"{"feature":"f","name":"n","components":[{"model":"flat","rate":"2.5"}],"rounding":"up"}"#
    /// );
    /// assert_eq!(RateCard::parse(card.canonical_json())?, card);
    /// # Ok::<(), jointo_credits::pricing::CardError>(())
    /// ```
    #[must_use]
    pub fn canonical_json(&self) -> &str {
        &self.canonical
    }

    /// SHA-256 of [`RateCard::canonical_json`].
    #[must_use]
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// Fills in what follows from the rest.
    pub(super) fn seal(mut self) -> Self {
        self.canonical = self.write();
        self.hash = Sha256::digest(&self.canonical).into();
        self
    }

    /// Holds keep the hash of this text. So it may never change for a card that can exist today: a field that cards
    /// get later is written only where it says something other than what today's cards mean.
    fn write(&self) -> String {
        let mut card = Writer::new();
        card.text("feature", &self.feature);
        card.text("name", &self.name);
        if self.is_retired {
            card.json("retired", "true");
            return card.finish();
        }
        let components: Vec<String> = self.components.iter().map(|c| self.write_component(c)).collect();
        card.list("components", &components);
        self.write_multipliers(&mut card, &self.multipliers);
        let mut assume = Writer::new();
        let mut assumes = false;
        for attribute in &self.attributes {
            if let Some(value) = &attribute.assumed {
                assume.text(&attribute.name, value);
                assumes = true;
            }
        }
        if assumes {
            card.json("assume", &assume.finish());
        }
        if let Some(minimum) = self.minimum {
            card.decimal("minimum", minimum);
        }
        if let Some(maximum) = self.maximum {
            card.decimal("maximum", maximum);
        }
        card.text("rounding", self.rounding.as_str());
        if let Some(ttl) = self.hold_ttl {
            card.json("hold_ttl_seconds", &ttl.as_secs().to_string());
        }
        card.finish()
    }

    fn write_component(&self, component: &Component) -> String {
        let mut out = Writer::new();
        if let Some(quantity) = &component.quantity {
            out.text("quantity", quantity);
        }
        if let Some(label) = &component.label {
            out.text("label", label);
        }
        out.text("model", component.model.as_str());
        match &component.model {
            Model::Flat { rate } | Model::PerUnit { rate, .. } | Model::Package { rate } => {
                out.decimal("rate", *rate);
            }
            Model::Graduated(tiers) | Model::Volume(tiers) => {
                let tiers: Vec<String> = tiers.iter().map(write_tier).collect();
                out.list("tiers", &tiers);
            }
        }
        if component.quantity.is_some() {
            out.decimal("per", component.per);
            if !component.free_units.is_zero() {
                out.decimal("free_units", component.free_units);
            }
            let (word, quantity) = match component.estimate {
                Estimate::Reject => ("", None),
                Estimate::Default(quantity) => ("default", Some(quantity)),
                Estimate::Cap(quantity) => ("cap", Some(quantity)),
            };
            if let Some(quantity) = quantity {
                let mut estimate = Writer::new();
                estimate.decimal(word, quantity);
                out.json("estimate", &estimate.finish());
            }
        }
        self.write_multipliers(&mut out, &component.multipliers);
        out.finish()
    }

    fn write_multipliers(&self, out: &mut Writer, multipliers: &[Multiplier]) {
        if multipliers.is_empty() {
            return;
        }
        let multipliers: Vec<String> = multipliers.iter().map(|m| self.write_multiplier(m)).collect();
        out.list("multipliers", &multipliers);
    }

    fn write_multiplier(&self, multiplier: &Multiplier) -> String {
        let mut out = Writer::new();
        let names: Vec<&str> = self.attribute_names(multiplier).collect();
        match names.as_slice() {
            [name] => out.text("attribute", name),
            names => {
                let names: Vec<String> = names.iter().map(|n| quoted(n)).collect();
                out.list("attributes", &names);
            }
        }
        let mut factors = Writer::new();
        let mut line: Option<(&str, Writer)> = None; // of a matrix: its rows are sorted, so a line's cells stand together
        for row in &multiplier.rows {
            match row.when.as_slice() {
                [value] => factors.decimal(value, row.factor),
                [first, second] => {
                    if line.as_ref().is_none_or(|(value, _)| value != first)
                        && let Some((value, cells)) = line.replace((first, Writer::new()))
                    {
                        factors.json(value, &cells.finish());
                    }
                    if let Some((_, cells)) = &mut line {
                        cells.decimal(second, row.factor);
                    }
                }
                _ => {}
            }
        }
        if let Some((value, cells)) = line {
            factors.json(value, &cells.finish());
        }
        out.json("factors", &factors.finish());
        if let Some(factor) = multiplier.if_unknown {
            out.decimal("if_unknown", factor);
        }
        out.finish()
    }

    /// The names of the attributes that one of its multipliers goes by.
    pub(super) fn attribute_names<'c>(&'c self, multiplier: &'c Multiplier) -> impl Iterator<Item = &'c str> {
        let named = |index: &usize| self.attributes.get(*index).map(|a| a.name.as_str());
        multiplier.attributes.iter().filter_map(named)
    }
}

fn write_tier(tier: &Tier) -> String {
    let mut out = Writer::new();
    out.decimal("from", tier.from);
    if let Some(up_to) = tier.up_to {
        out.decimal("up_to", up_to);
    }
    out.decimal("rate", tier.rate);
    if !tier.fee.is_zero() {
        out.decimal("fee", tier.fee);
    }
    out.finish()
}
