//! Rate cards and quotes: what a feature costs, exactly, explainably, and the same in a year.
//!
//! ```text
//! RateCard::parse(json)                    -> a card, checked in full | CardError with the path of the fault
//! in_force(versions, account, at)          -> the version that prices at that instant
//! quote(card, quantities, attributes)      -> a Quote: credits, exact figure, one line per step | QuoteError
//! quote.reprice(quantities)                -> the same card once more, with what was really used
//! quote.to_json(..) / Quote::from_json(..) -> the quote frozen in a hold, and back
//! ```
//!
//! ```
//! use jointo_credits::pricing::{Quantities, RateCard, quote};
//! use std::sync::Arc;
//!
//! let card = Arc::new(RateCard::parse(r#"{
//!     "feature": "text_processing",
//!     "name": "文本处理",
//!     "components": [
//!         {"quantity": "input_tokens",  "model": "per_unit", "rate": "0.2", "per": 1000},
//!         {"quantity": "output_tokens", "model": "per_unit", "rate": "0.6", "per": 1000}
//!     ],
//!     "multipliers": [{"attribute": "model", "factors": {"standard": 1, "pro": 2.5}}],
//!     "assume": {"model": "standard"},
//!     "minimum": 1
//! }"#)?);
//!
//! let used = [("input_tokens", 1200.into()), ("output_tokens", 700.into())];
//! let quote = quote(&card, Quantities::Named(&used), &[("model", "pro")])?;
//! assert_eq!(quote.exact().to_string(), "1.65");
//! assert_eq!(quote.credits(), 2);
//! assert_eq!(quote.to_string(), "\
//! 文本处理 (text_processing)
//!         0.24  input_tokens: 1200 at 0.2 per 1000
//!         0.42  output_tokens: 700 at 0.6 per 1000
//!         0.99  model pro: 0.66 times 2.5
//!         1.65  exact
//!         0.35  rounded up to whole credits
//!            2  credits");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Like the ledger's rules, nothing here does I/O, waits, reads a clock or draws a random number.
//!
//! # How a price comes about
//!
//! In this order, and in no other:
//!
//! 1. Each **component** of the card prices its own quantity by its own model ([`Model`]); its **free units** are taken
//!    off; its own multipliers apply, each to what the ones before it left.
//! 2. The components are added up, and the card's multipliers apply to the sum, in the card's order.
//! 3. A figure below the **minimum** is raised to it (a call that used nothing, too), one above the **maximum** lowered.
//! 4. The exact figure is **rounded once** to whole credits ([`Rounding`]). The difference is kept as the remainder.
//!
//! Each step is a [`Line`] with its own amount, negative where it takes something off. **The sum of all lines is the
//! exact figure, digit for digit**: no line is rounded, and no step happens without a line. Rounding is no line; it is
//! the difference between the exact figure and the credits.
//!
//! # What exact means
//!
//! A figure is a [`Decimal`] of at most 28 digits, altogether and behind the point. The operators of `rust_decimal`
//! round silently where a result does not fit. So they are not used; `exact.rs` adds, multiplies and divides on the
//! integers underneath, and where the true result is no such figure the answer is an error, never a neighbour of it:
//!
//! - *rate per 1,000*: a card is refused when rate / per is no decimal of at most 28 digits. 0.2 per 1000 is 0.0002; 1
//!   per 60 is none: use the package model (per started 60), or a rate such as 0.6 per 60.
//! - *per started block*: blocks are counted on integers, so a division never happens.
//! - A card whose rates and multipliers together have more than 28 digits behind the point is refused: it could never
//!   price anything.
//! - What passes all that prices exactly as long as the digits before the point of each figure in it, and the digits
//!   behind the point of rate, factors and quantity together, are no more than 28. Beyond that a quote is refused with
//!   [`QuoteError::NotExact`].
//!
//! # How this can go wrong, and what stands against it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | a float loses a digit | there are none: numbers are read from their own text in the JSON (`json.rs`), and `scripts/check-pure` finds the word |
//! | a decimal operation rounds silently, or overflows | `exact.rs`: every operation is exact or an error |
//! | rounding adds up over steps | one rounding, at the end |
//! | a unit is priced by two tiers, or by none | tiers name both bounds, and gaps and overlaps are refused when the card is saved |
//! | a typing error in a card makes a feature free | unknown and repeated fields are refused, and nothing but the documented defaults is assumed |
//! | a typing error in a call makes it cheap | unknown quantities, attributes and values are refused unless the card says what they cost |
//! | free units make a call dearer | they are the first units of the call, and tiers are chosen as if they were charged |
//! | a hold is confirmed at a price that is newer than it | the quote is frozen with its card's id, version and hash, and [`Quote::reprice`] asks for no other card |
//! | a frozen quote is changed, or priced by another card | [`Quote::from_json`] compares the card's hash and works the figure out again |
//! | a price that starts in the future applies now, or one that ended still does | [`in_force`] asks for the instant, and says when its answer may change |
//! | a huge card or quantity stops the process | a limit on everything ([`limits`]) |

mod card;
mod exact;
mod explain;
mod fault;
mod frozen;
mod json;
pub mod limits;
mod parse;
mod quantities;
mod quote;
pub mod shipped;
mod version;

pub use card::{Attribute, Component, Estimate, Model, Multiplier, RateCard, Rounding, Row, Tier};
pub use exact::{NotADecimal, parse_decimal};
pub use explain::Explained;
pub use fault::{CardError, CardFault, QuoteError};
pub use frozen::{CardText, FrozenError};
pub use quantities::{Known, Measured, Quantities};
pub use quote::{Line, Quote, Step, quote};
pub use rust_decimal::Decimal;
pub use version::{CardVersion, InForce, PricingRef, in_force};
