//! What is used of a feature.

use crate::error::{Error, Result};
use crate::pricing::{CardVersion, Decimal, Quantities, Quote};
use compact_str::CompactString;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A call to be priced: a feature, how much of it, and what the price depends on.
///
/// ```
/// use jointo_credits::Usage;
/// let usage = Usage::of("text_processing").metered("input_tokens", 1200).metered("output_tokens", 700);
/// let images = Usage::of("image_generation").quantity(2).attribute("quality", "hd");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Usage {
    feature: CompactString,
    quantity: Option<Decimal>,
    metered: SmallVec<[(CompactString, Decimal); 2]>,
    attributes: SmallVec<[(CompactString, CompactString); 2]>,
}

impl Usage {
    /// One call of a feature whose quantities are not known yet.
    pub fn of(feature: impl AsRef<str>) -> Self {
        Usage {
            feature: feature.as_ref().into(),
            quantity: None,
            metered: SmallVec::new(),
            attributes: SmallVec::new(),
        }
    }

    /// How much, for a card that meters one quantity.
    pub fn quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// How much of one of the card's quantities, by name.
    pub fn metered(mut self, name: impl AsRef<str>, quantity: impl Into<Decimal>) -> Self {
        self.metered.push((name.as_ref().into(), quantity.into()));
        self
    }

    /// What the price depends on.
    pub fn attribute(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        (self.attributes).push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub(crate) fn feature(&self) -> &str {
        &self.feature
    }

    /// Refuses what says both how much, and how much of what.
    fn quantities<T>(&self, then: impl FnOnce(Quantities<'_>) -> T) -> Result<T> {
        let named: SmallVec<[(&str, Decimal); 4]> =
            self.metered.iter().map(|(n, q)| (n.as_str(), *q)).collect();
        match (self.quantity, named.is_empty()) {
            (Some(_), false) => Err(Error::invalid(
                "quantity",
                "was given both without a name and with names",
                "one of the two",
                "both",
            )),
            (Some(quantity), true) => Ok(then(Quantities::One(quantity))),
            (None, true) => Ok(then(Quantities::Unknown)),
            (None, false) => Ok(then(Quantities::Named(&named))),
        }
    }

    pub(super) fn price(&self, version: &CardVersion) -> Result<Quote> {
        let attributes: SmallVec<[(&str, &str); 4]> = self
            .attributes
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        Ok(self.quantities(|quantities| version.quote(quantities, &attributes))??)
    }

    /// The price once more, with these quantities.
    pub(crate) fn reprice(&self, held: &Quote) -> Result<Quote> {
        Ok(self.quantities(|quantities| held.reprice(quantities))??)
    }

    /// The same text for the same request, in whatever order it was put together.
    pub(crate) fn canonical(&self) -> String {
        let quantity = |q: &Decimal| serde_json::Value::String(q.normalize().to_string());
        let metered: BTreeMap<&str, _> = self
            .metered
            .iter()
            .map(|(n, q)| (n.as_str(), quantity(q)))
            .collect();
        let attributes: BTreeMap<&str, &str> = self
            .attributes
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        serde_json::json!({
            "attributes": attributes,
            "feature": self.feature(),
            "metered": metered,
            "quantity": self.quantity.as_ref().map(quantity),
        })
        .to_string()
    }

    /// What [`Usage::canonical`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Form {
            attributes: BTreeMap<String, String>,
            feature: String,
            metered: BTreeMap<String, String>,
            quantity: Option<String>,
        }
        let form: Form = serde_json::from_str(text).ok()?;
        let number = |text: &str| crate::pricing::parse_decimal(text).ok();
        Some(Usage {
            feature: form.feature.into(),
            quantity: form
                .quantity
                .as_deref()
                .map(number)
                .map_or(Some(None), |n| n.map(Some))?,
            metered: (form.metered.into_iter())
                .map(|(name, text)| Some((name.into(), number(&text)?)))
                .collect::<Option<_>>()?,
            attributes: (form.attributes.into_iter())
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        })
    }
}
