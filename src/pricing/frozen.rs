//! A quote as it is kept in a hold, and read back to be priced again.
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | it is priced with another card than it was | the card's SHA-256 is part of it and compared |
//! | it was changed in the database, or the rules have changed since | the price is worked out again and compared, digit for digit |
//! | a later release reads it differently | it names its format |

use super::json::{Node, Writer, root};
use super::limits::{FROZEN_BYTES_MAX, QUANTITY_MAX};
use super::quantities::AllMeasured;
use super::quote::values;
use super::{CardError, CardFault, Estimate, Known, Measured, PricingRef, Quote, QuoteError, RateCard};
use alloc::{
    format,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use rust_decimal::Decimal;
use uuid::Uuid;

const FORMAT: i64 = 1;

/// Whether a frozen quote carries its card's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardText {
    /// It does: whoever has the frozen quote can price it again.
    Included,
    /// It does not: the card is looked up by its id and version. Stored versions are never edited, so this is enough
    /// where the quote's card is one of them, and takes little room.
    Omitted,
}

/// Why a frozen quote can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrozenError {
    /// It is not what [`Quote::to_json`] writes.
    #[error("the frozen quote can't be read: {0}")]
    Malformed(#[from] CardError),
    /// A format of another release.
    #[error("the frozen quote has format {found}, and this release reads format {FORMAT}")]
    UnknownFormat {
        /// Its format.
        found: Decimal,
    },
    /// The card is not part of it, and was not found.
    #[error("the frozen quote's rate card is not there: {}", named(pricing.as_ref()))]
    CardNotFound {
        /// Which one it is; `None` where it never was a stored one.
        pricing: Option<PricingRef>,
    },
    /// The card is not the one that priced it.
    #[error("the frozen quote was priced by another rate card than {}", named(pricing.as_ref()))]
    AnotherCard {
        /// The card it names.
        pricing: Option<PricingRef>,
    },
    /// The card does not price what it says.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The price is another one than it says.
    #[error("the frozen quote says {frozen} credits exactly, and its rate card makes {exact} of it")]
    AnotherPrice {
        /// What it says.
        frozen: Decimal,
        /// What its card makes of it.
        exact: Decimal,
    },
}

fn named(pricing: Option<&PricingRef>) -> String {
    match pricing {
        Some(p) => format!("{} version {}", p.pricing_id, p.version),
        None => "a card that is not stored".to_string(),
    }
}

impl Quote {
    /// The quote as JSON, to be kept with a hold: what was asked, by which card it was priced, and the price.
    ///
    /// The same quote always gives the same text.
    #[must_use]
    pub fn to_json(&self, card: CardText) -> String {
        let mut out = Writer::new();
        out.json("format", &FORMAT.to_string());
        if let Some(pricing) = &self.pricing {
            out.text("pricing_id", &pricing.pricing_id.to_string());
            out.json("version", &pricing.version.to_string());
        }
        out.text("card_sha256", &hex::encode(self.card.hash()));
        if card == CardText::Included {
            out.json("card", self.card.canonical_json());
        }
        let mut quantities = Writer::new();
        for (component, measured) in self.card.components.iter().zip(&self.measured) {
            let Some(name) = &component.quantity else { continue };
            let mut quantity = Writer::new();
            let (word, number) = match measured.known {
                Known::PerCall => continue,
                Known::Given => ("given", measured.quantity),
                Known::Default => ("default", measured.quantity),
                Known::Cap => ("cap", measured.quantity),
                Known::Capped { used } => ("capped", used),
            };
            quantity.decimal(word, number);
            quantities.json(name, &quantity.finish());
        }
        out.json("quantities", &quantities.finish());
        let mut attributes = Writer::new();
        for (attribute, value) in self.card.attributes.iter().zip(&self.values) {
            if let Some(value) = value {
                attributes.text(&attribute.name, value);
            }
        }
        out.json("attributes", &attributes.finish());
        out.decimal("exact", self.exact());
        out.json("credits", &self.credits().to_string());
        out.finish()
    }

    /// Reads what [`Quote::to_json`] wrote. Where the card is not part of it, `find` is asked for it.
    ///
    /// # Errors
    /// [`FrozenError`] where it can't be read, its card is not there or another one, or the card makes another price
    /// of it. None of them can happen to a frozen quote that is as it was written.
    ///
    /// ```
    /// use jointo_credits::pricing::{CardText, Quote, RateCard, quote};
    /// use std::sync::Arc;
    /// let card = Arc::new(RateCard::parse(
    ///     r#"{"feature": "f", "name": "n", "components": [{"quantity": "s", "model": "per_unit", "rate": 2}]}"#,
    /// )?);
    /// let frozen = quote(&card, 5, &[])?.to_json(CardText::Included);
    /// let held = Quote::from_json(&frozen, |_| None)?;
    /// assert_eq!((held.credits(), held.reprice(3)?.credits()), (10, 6));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_json(
        json: &str,
        find: impl FnOnce(PricingRef) -> Option<Arc<RateCard>>,
    ) -> Result<Quote, FrozenError> {
        let root = root(json, FROZEN_BYTES_MAX)?;
        let object = root.map()?;
        let found = object.required("format", |n| n.decimal())?;
        if found != Decimal::from(FORMAT) {
            return Err(FrozenError::UnknownFormat { found });
        }
        let object = root.object(&[
            "format",
            "pricing_id",
            "version",
            "card_sha256",
            "card",
            "quantities",
            "attributes",
            "exact",
            "credits",
        ])?;
        let pricing =
            match object.optional("pricing_id", |n| n.word("a UUID", |w| Uuid::parse_str(w).ok()))? {
                Some(pricing_id) => Some(PricingRef {
                    pricing_id,
                    version: object.required("version", |n| version(&n))?,
                }),
                None => None,
            };
        let card = match object.optional("card", |n| super::parse::card(&n))? {
            Some(card) => Some(Arc::new(card)),
            None => pricing.and_then(find),
        };
        let card = card.ok_or(FrozenError::CardNotFound { pricing })?;
        if object.required("card_sha256", |n| n.any_text())? != hex::encode(card.hash()) {
            return Err(FrozenError::AnotherCard { pricing });
        }
        let measured = object.required("quantities", |n| measured(&n, &card))?;
        let attributes = object.required("attributes", |n| {
            let mut given = Vec::new();
            n.map()?.each(|name, value| {
                given.push((String::from(name), value.any_text()?));
                Ok(())
            })?;
            Ok(given)
        })?;
        let attributes: Vec<(&str, &str)> =
            attributes.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let values = values(&card, &attributes)?;
        let quote = Quote::new(card, pricing, measured, values)?;
        let frozen = object.required("exact", |n| n.decimal())?;
        let credits = object.required("credits", |n| n.decimal())?;
        if frozen != quote.exact() || credits != Decimal::from(quote.credits()) {
            let exact = quote.exact();
            return Err(FrozenError::AnotherPrice { frozen, exact });
        }
        Ok(quote)
    }
}

fn version(node: &Node<'_, '_>) -> Result<u32, CardError> {
    let found = node.decimal()?;
    u32::try_from(found)
        .ok()
        .filter(|_| found.is_integer())
        .ok_or_else(|| {
            node.fault(CardFault::OutOfRange {
                expected: "a version such as 3",
                found,
            })
        })
}

/// The quantities of all components, as they were known.
fn measured(node: &Node<'_, '_>, card: &RateCard) -> Result<AllMeasured, CardError> {
    let names: Vec<&str> = card
        .components
        .iter()
        .filter_map(|c| c.quantity.as_deref())
        .collect();
    let object = node.object(&names)?;
    (card.components.iter())
        .map(|component| {
            let Some(name) = &component.quantity else {
                return Ok(Measured {
                    quantity: Decimal::ONE,
                    known: Known::PerCall,
                });
            };
            object.required(name, |n| {
                let object = n.object(&["given", "default", "cap", "capped"])?;
                n.check_count(object.len(), 1)?;
                let read = |word: &str| object.optional(word, |n| quantity(&n));
                let cap = match component.estimate {
                    Estimate::Cap(cap) => cap,
                    _ => Decimal::from(QUANTITY_MAX),
                };
                let given = read("given")?.map(|quantity| (quantity, Known::Given));
                let default = read("default")?.map(|quantity| (quantity, Known::Default));
                let at_most = read("cap")?.map(|quantity| (quantity, Known::Cap));
                let capped = read("capped")?.map(|used| (used.min(cap), Known::Capped { used }));
                let (quantity, known) = given
                    .or(default)
                    .or(at_most)
                    .or(capped)
                    .ok_or_else(|| n.fault(CardFault::Empty))?;
                Ok(Measured { quantity, known })
            })
        })
        .collect()
}

fn quantity(node: &Node<'_, '_>) -> Result<Decimal, CardError> {
    let found = node.decimal()?;
    if (Decimal::ZERO..=Decimal::from(QUANTITY_MAX)).contains(&found) {
        Ok(found)
    } else {
        Err(node.fault(CardFault::OutOfRange {
            expected: "0 .. 2^53-1 units",
            found,
        }))
    }
}
