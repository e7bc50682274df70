//! Money, and other decimal numbers, in text.

use crate::error::{Checked, credits_error};
use jointo_credits::pricing::{Decimal, parse_decimal};

pub(crate) fn decimal(field: &'static str, text: &str) -> Checked<Decimal> {
    parse_decimal(text)
        .map_err(|_| credits_error::invalid(field, "is no exact number", "a decimal number such as 12.5"))
}

/// Hundredths as they are written.
pub(crate) fn amount(minor: i64) -> String {
    Decimal::new(minor, 2).to_string()
}
