//! Why a card was refused, and why a quote was.

use super::NotADecimal;
use super::limits::{DIGITS_MAX, TEXT_BYTES_MAX};
use crate::ledger::Refusal;
use crate::ledger::limits::CREDITS_MAX;
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use rust_decimal::Decimal;

/// A rate card was refused: what is wrong with it, and where.
///
/// ```
/// use jointo_credits::pricing::{CardFault, RateCard};
/// let error = RateCard::parse(r#"{"feature": "f", "name": "n", "components": [
///     {"quantity": "seconds", "model": "graduated", "tiers": [
///         {"from": 0, "up_to": 60, "rate": 2}, {"from": 61, "rate": 1}
///     ]}
/// ]}"#).unwrap_err();
/// assert_eq!(error.path, "$.components[0].tiers[1].from");
/// assert!(matches!(error.fault, CardFault::GapInTiers { .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct CardError {
    /// Where, as a JSONPath (RFC 9535) into what was given, such as `$.components[0].rate`.
    pub path: String,
    /// What.
    pub fault: CardFault,
}

impl CardError {
    /// A stable word for programs, the ledger's own for whatever is malformed or past a limit.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "validation"
    }
}

/// What can be wrong with a rate card. Where there are several faults, the first one found is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CardFault {
    /// The text is no JSON.
    #[error("is not JSON: {why}")]
    NotJson {
        /// What the parser found.
        why: String,
    },
    /// Longer than a card may be.
    #[error("is {bytes} bytes long; {bytes_max} are possible")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Another type of JSON value is expected.
    #[error("must be {expected}, not {found}")]
    WrongType {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field that cards do not have here.
    #[error("is no field here; there are: {known}")]
    UnknownField {
        /// The fields there are, separated by commas.
        known: String,
    },
    /// One name twice in one object: a reader would take either value.
    #[error("is given twice")]
    DuplicateKey,
    /// A field that has to be there.
    #[error("is missing")]
    Missing,
    /// None of the words that are possible here.
    #[error("is `{found}`, which must be one of: {expected}")]
    UnknownWord {
        /// The word, shortened.
        found: String,
        /// The words there are, separated by commas.
        expected: &'static str,
    },
    /// A card that says that its feature has no price, and one.
    #[error("has no place in a card that is `retired`: such a feature has no price")]
    PriceOfRetired,
    /// A text without content, or with white space around it.
    #[error("must be a text that neither is empty nor begins or ends with white space")]
    Blank,
    /// A text with a control character.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// A number that is none, or has too many digits.
    #[error(transparent)]
    Number(#[from] NotADecimal),
    /// A number outside its limits.
    #[error("must be {expected}, not {found}")]
    OutOfRange {
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: Decimal,
    },
    /// A list or an object without content.
    #[error("must not be empty")]
    Empty,
    /// A list or an object with too much of it.
    #[error("has {count} members; {count_max} are possible")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are possible.
        count_max: usize,
    },
    /// Units between two tiers have no rate.
    #[error("is {from}, but the tier before ends at {end}: what lies between has no rate. Say {end}")]
    GapInTiers {
        /// Where this tier begins.
        from: Decimal,
        /// Where the one before ends.
        end: Decimal,
    },
    /// Units have two rates.
    #[error("is {from}, but the tier before ends at {end}: what lies between has two rates. Say {end}")]
    OverlappingTiers {
        /// Where this tier begins.
        from: Decimal,
        /// Where the one before ends.
        end: Decimal,
    },
    /// A tier that holds no unit.
    #[error("must be above {from}, where the tier begins, and is {up_to}")]
    EmptyTier {
        /// Where it begins.
        from: Decimal,
        /// Where it ends.
        up_to: Decimal,
    },
    /// The tier before is without end, so this one holds nothing.
    #[error("follows a tier without end; say where that one ends (up_to)")]
    OpenTier,
    /// The last tier has an end, so what is above it has no rate.
    #[error("must end with a tier without up_to, or else what is above the last has no rate")]
    ClosedLastTier,
    /// Rate / per is no decimal of 28 digits.
    #[error(
        "{rate} per {per} is no decimal with at most 28 digits; choose another unit, or the package model"
    )]
    InexactRate {
        /// The rate.
        rate: Decimal,
        /// The units it is for.
        per: Decimal,
    },
    /// Rates and factors together have too many digits behind the point.
    #[error("the rates and multipliers together have {digits} digits behind the point; 28 are possible")]
    TooFine {
        /// As many digits as a price could take.
        digits: u32,
    },
    /// Two components meter the same quantity.
    #[error("`{name}` is metered by another component already")]
    DuplicateQuantity {
        /// The quantity.
        name: String,
    },
    /// An attribute is named twice in one multiplier.
    #[error("`{name}` is named twice")]
    DuplicateAttribute {
        /// The attribute.
        name: String,
    },
    /// A value is assumed for an attribute that no multiplier goes by.
    #[error("no multiplier goes by `{name}`")]
    UnusedAttribute {
        /// The attribute.
        name: String,
    },
    /// A value is assumed that the multipliers refuse.
    #[error("`{value}` has no factor in every multiplier that goes by it, and there is no if_unknown")]
    AssumedValueWithoutFactor {
        /// The value, shortened.
        value: String,
    },
    /// The minimum is above the maximum.
    #[error("is {minimum}, above the maximum {maximum}")]
    MinimumAboveMaximum {
        /// The minimum.
        minimum: Decimal,
        /// The maximum.
        maximum: Decimal,
    },
}

/// Why there is no quote. Where several reasons hold, the first one found is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The card meters no quantity of that name.
    #[error("the card for {feature} meters no `{name}`; it meters {known}")]
    UnknownQuantity {
        /// The feature.
        feature: String,
        /// The name, shortened.
        name: String,
        /// What it meters.
        known: String,
    },
    /// One number was given, and the card meters several quantities.
    #[error("the card for {feature} meters {known}: name the quantities")]
    Unnamed {
        /// The feature.
        feature: String,
        /// What it meters.
        known: String,
    },
    /// A quantity was given other than 1, and the card is per call.
    #[error(
        "{feature} is priced per call and meters nothing: leave the quantity out, or say 1, not {quantity}"
    )]
    PerCall {
        /// The feature.
        feature: String,
        /// The quantity that was given.
        quantity: Decimal,
    },
    /// A quantity was named twice.
    #[error("the quantity `{name}` was given twice")]
    DuplicateQuantity {
        /// The quantity.
        name: String,
    },
    /// A quantity is not known, and the card does not say what to assume.
    #[error("the quantity `{name}` of {feature} is missing, and its card has no estimate for it")]
    MissingQuantity {
        /// The feature.
        feature: String,
        /// The quantity.
        name: String,
    },
    /// A quantity is negative or too large, or has too many digits.
    #[error("the quantity `{name}` must be 0 .. 2^53-1 with at most {DIGITS_MAX} digits, not {quantity}")]
    QuantityOutOfRange {
        /// The quantity.
        name: String,
        /// What was given.
        quantity: Decimal,
    },
    /// No multiplier goes by an attribute of that name.
    #[error("the card for {feature} knows no attribute `{name}`; it knows {known}")]
    UnknownAttribute {
        /// The feature.
        feature: String,
        /// The name, shortened.
        name: String,
        /// What it knows.
        known: String,
    },
    /// An attribute was named twice.
    #[error("the attribute `{name}` was given twice")]
    DuplicateAttribute {
        /// The attribute.
        name: String,
    },
    /// A value that no card can list.
    #[error("the attribute `{name}` is {bytes} bytes long; {TEXT_BYTES_MAX} are possible")]
    ValueTooLong {
        /// The attribute.
        name: String,
        /// The length of its value.
        bytes: usize,
    },
    /// An attribute is missing, and the card does not say what to assume.
    #[error("the attribute `{name}` of {feature} is missing, and its card assumes no value for it")]
    MissingAttribute {
        /// The feature.
        feature: String,
        /// The attribute.
        name: String,
    },
    /// The value has no factor, and the card has none for unknown values.
    #[error("the card for {feature} has no price for {attribute} `{value}`; it has {known}")]
    UnknownValue {
        /// The feature.
        feature: String,
        /// The attribute, or the two of a matrix.
        attribute: String,
        /// The value, shortened.
        value: String,
        /// The values it has a price for.
        known: String,
    },
    /// The card says that the feature is no longer sold.
    #[error("{feature} is retired: it has no price any more")]
    Retired {
        /// The feature.
        feature: String,
    },
    /// The price has more digits than can be worked with exactly.
    #[error("the exact price of {feature} for these quantities has more than {DIGITS_MAX} digits")]
    NotExact {
        /// The feature.
        feature: String,
    },
    /// The price is no possible number of credits.
    #[error("the price of {feature} is {exact} credits; {CREDITS_MAX} are possible")]
    TooManyCredits {
        /// The feature.
        feature: String,
        /// The price.
        exact: Decimal,
    },
}

impl QuoteError {
    /// A stable word for programs, the ledger's own for whatever is malformed or past a limit.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "validation"
    }
}

impl From<&CardError> for Refusal {
    /// As the ledger's callers know it; the path is part of the value.
    fn from(error: &CardError) -> Self {
        Refusal::Invalid {
            field: "card",
            problem: "is no rate card that can price",
            limit: "docs/rate-card.schema.json".to_string(),
            value: error.to_string(),
        }
    }
}

impl From<&QuoteError> for Refusal {
    /// As the ledger's callers know it.
    fn from(error: &QuoteError) -> Self {
        use QuoteError::*;
        let invalid = |field, problem, limit: String, value: String| Refusal::Invalid {
            field,
            problem,
            limit,
            value,
        };
        match error {
            Retired { feature } => invalid(
                "feature",
                "is retired: it has no price any more",
                "a feature that is sold".to_string(),
                feature.clone(),
            ),
            UnknownQuantity { name, known, .. } => invalid(
                "quantity",
                "is not metered by the rate card",
                known.clone(),
                name.clone(),
            ),
            Unnamed { known, .. } => invalid(
                "quantity",
                "has to name what it counts",
                known.clone(),
                "one number".to_string(),
            ),
            PerCall { quantity, .. } => invalid(
                "quantity",
                "has to be left out: the feature is priced per call",
                1.to_string(),
                quantity.to_string(),
            ),
            DuplicateQuantity { name } => invalid("quantity", "is given twice", 1.to_string(), name.clone()),
            MissingQuantity { name, .. } => invalid(
                "quantity",
                "is missing, and the rate card has no estimate for it",
                name.clone(),
                "nothing".to_string(),
            ),
            QuantityOutOfRange { quantity, .. } => invalid(
                "quantity",
                "must be 0 .. 2^53-1, with at most 28 digits",
                CREDITS_MAX.to_string(),
                quantity.to_string(),
            ),
            UnknownAttribute { name, known, .. } => invalid(
                "attributes",
                "are not all known to the rate card",
                known.clone(),
                name.clone(),
            ),
            DuplicateAttribute { name } => {
                invalid("attributes", "name one twice", 1.to_string(), name.clone())
            }
            ValueTooLong { bytes, .. } => invalid(
                "attributes",
                "have a value that is too long",
                format!("{TEXT_BYTES_MAX} bytes"),
                format!("{bytes} bytes"),
            ),
            MissingAttribute { name, .. } => invalid(
                "attributes",
                "lack one that the rate card goes by",
                name.clone(),
                "nothing".to_string(),
            ),
            UnknownValue {
                attribute,
                value,
                known,
                ..
            } => invalid(
                "attributes",
                "have a value without a price",
                known.clone(),
                format!("{attribute} {value}"),
            ),
            NotExact { .. } => invalid(
                "quantity",
                "makes a price with too many digits; round it",
                format!("{DIGITS_MAX} digits"),
                "more".to_string(),
            ),
            TooManyCredits { exact, .. } => invalid(
                "quantity",
                "makes a price that is too large",
                CREDITS_MAX.to_string(),
                exact.to_string(),
            ),
        }
    }
}

/// A caller's text for a message, which must not carry a megabyte back.
pub(super) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.into(),
    }
}

/// Names for a message: the first of them, and how many more there are.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const NAMES_MAX: usize = 12;
    let names: Vec<&str> = names.collect();
    let first = names
        .iter()
        .take(NAMES_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() {
        0 => "none".to_string(),
        n if n > NAMES_MAX => format!("{first} and {} more", n - NAMES_MAX),
        _ => first,
    }
}
