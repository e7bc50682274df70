//! A quote as people read it.

use super::{Component, Known, Line, Model, Quote, Rounding, Step, Tier};
use core::fmt;
use rust_decimal::Decimal;

/// A line of a quote with its text: its `Display` says what the amount is for.
#[derive(Debug, Clone, Copy)]
pub struct Explained<'q> {
    pub(super) quote: &'q Quote,
    pub(super) line: &'q Line,
}

impl Explained<'_> {
    /// What the line adds, or takes off.
    #[must_use]
    pub fn amount(&self) -> Decimal {
        self.line.amount
    }

    /// What the line is for, as data.
    #[must_use]
    pub fn step(&self) -> Step {
        self.line.step
    }

    fn component(&self, index: usize) -> Option<&Component> {
        self.quote.card.components.get(index)
    }

    /// The component's name, and how its quantity is known where that is not from the caller.
    fn title(&self, f: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
        let name = self.component(index).map_or("", Component::title);
        let known = self.quote.measured.get(index).map(|m| (m.known, m.quantity));
        match known {
            Some((Known::Default, _)) => write!(f, "{name} (estimated)"),
            Some((Known::Cap, _)) => write!(f, "{name} (at most)"),
            Some((Known::Capped { used }, cap)) if used > cap => {
                write!(
                    f,
                    "{name} (of {} at most {} are charged)",
                    used.normalize(),
                    cap.normalize()
                )
            }
            _ => f.write_str(name),
        }
    }

    fn tier(&self, component: usize, tier: usize) -> Option<&Tier> {
        match &self.component(component)?.model {
            Model::Graduated(tiers) | Model::Volume(tiers) => tiers.get(tier),
            _ => None,
        }
    }
}

/// `0.2 per 1000`, or just `0.2`.
struct Rate(Decimal, Decimal);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.normalize())?;
        if self.1 == Decimal::ONE {
            Ok(())
        } else {
            write!(f, " per {}", self.1.normalize())
        }
    }
}

/// `above 60 up to 120`.
struct Range<'a>(&'a Tier);

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.from.is_zero(), self.0.up_to) {
            (true, Some(up_to)) => write!(f, "up to {}", up_to.normalize()),
            (true, None) => f.write_str("all"),
            (false, Some(up_to)) => {
                write!(f, "above {} up to {}", self.0.from.normalize(), up_to.normalize())
            }
            (false, None) => write!(f, "above {}", self.0.from.normalize()),
        }
    }
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = |component: usize| self.component(component).map_or(Decimal::ONE, |c| c.per);
        match self.line.step {
            Step::PerCall { component } => self.title(f, component),
            Step::Units { component, units } => {
                self.title(f, component)?;
                write!(f, ": {}", units.normalize())?;
                match self.component(component).map(|c| &c.model) {
                    Some(Model::PerUnit { rate, .. }) => write!(f, " at {}", Rate(*rate, per(component))),
                    _ => Ok(()),
                }
            }
            Step::Tier {
                component,
                tier,
                units,
            } => {
                self.title(f, component)?;
                write!(f, ": {}", units.normalize())?;
                match self.tier(component, tier) {
                    Some(t) => write!(f, " at {} ({})", Rate(t.rate, per(component)), Range(t)),
                    None => Ok(()),
                }
            }
            Step::Fee { component, tier } => {
                self.title(f, component)?;
                match self.tier(component, tier) {
                    Some(t) => write!(f, ": fee ({})", Range(t)),
                    None => f.write_str(": fee"),
                }
            }
            Step::Blocks { component, blocks } => {
                let quantity = self.quote.measured.get(component).map_or(blocks, |m| m.quantity);
                self.title(f, component)?;
                write!(
                    f,
                    ": {} in {} started blocks of {}",
                    quantity.normalize(),
                    blocks.normalize(),
                    per(component).normalize()
                )?;
                match self.component(component).map(|c| &c.model) {
                    Some(Model::Package { rate }) => write!(f, " at {}", rate.normalize()),
                    _ => Ok(()),
                }
            }
            Step::Free { component, units } => {
                let name = self.component(component).map_or("", Component::title);
                write!(f, "{name}: the first {} free", units.normalize())
            }
            Step::Factor {
                component,
                multiplier,
                base,
                factor,
            } => self.factor(f, component, multiplier, base, factor),
            Step::Minimum => write!(
                f,
                "minimum {}",
                self.quote.card.minimum.unwrap_or_default().normalize()
            ),
            Step::Maximum => write!(
                f,
                "maximum {}",
                self.quote.card.maximum.unwrap_or_default().normalize()
            ),
        }
    }
}

impl Explained<'_> {
    /// `model pro: 0.66 times 2.5`, after the component's name where it belongs to one.
    fn factor(
        &self,
        f: &mut fmt::Formatter<'_>,
        component: Option<usize>,
        multiplier: usize,
        base: Decimal,
        factor: Decimal,
    ) -> fmt::Result {
        let multipliers = match component.map(|index| self.component(index)) {
            Some(Some(component)) => {
                write!(f, "{}, ", component.title())?;
                &component.multipliers
            }
            _ => &self.quote.card.multipliers,
        };
        let attributes = multipliers.get(multiplier).map_or(&[][..], |m| &m.attributes);
        for (place, index) in attributes.iter().enumerate() {
            if let Some((name, value)) = self.quote.attributes().nth(*index) {
                let comma = if place > 0 { ", " } else { "" };
                write!(f, "{comma}{name} {value}")?;
            }
        }
        write!(f, ": {} times {}", base.normalize(), factor.normalize())
    }
}

impl fmt::Display for Quote {
    /// One line for each step, then the exact figure, what rounding made of it, and the credits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// A figure flush right.
        struct Figure(Decimal);
        impl fmt::Display for Figure {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:>12}", self.0.normalize())
            }
        }
        write!(f, "{} ({})", self.card.name, self.card.feature)?;
        if let Some(pricing) = self.pricing {
            write!(f, ", version {}", pricing.version)?;
        }
        writeln!(f)?;
        for line in self.breakdown() {
            writeln!(f, "{}  {line}", Figure(line.amount()))?;
        }
        writeln!(f, "{}  exact", Figure(self.exact()))?;
        let remainder = self.remainder();
        if !remainder.is_zero() {
            let how = match self.card.rounding {
                Rounding::Up => "up",
                Rounding::HalfUp => "half up",
                Rounding::HalfEven => "half even",
                Rounding::Down => "down",
            };
            writeln!(f, "{}  rounded {how} to whole credits", Figure(remainder))?;
        }
        write!(f, "{:>12}  credits", self.credits())
    }
}
