//! Rate cards and quotes, as callers use them: everything here goes through the public API.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(
    clippy::disallowed_methods,
    reason = "PROPTEST_CASES is for whoever runs the tests"
)]

#[path = "../../fuzz/checks.rs"]
mod checks;

mod cards;
mod catalogue;
mod frozen;
mod fuzz;
mod models;
mod page;
mod properties;
mod quotes;
mod versions;

use jointo_credits::pricing::{Decimal, Quote, RateCard, parse_decimal, quote};
use proptest::test_runner::Config;
use std::sync::Arc;

fn d(text: &str) -> Decimal {
    parse_decimal(text).unwrap()
}

/// A card for the feature `f` with these components, and whatever follows them.
fn card_with(components: &str, rest: &str) -> Arc<RateCard> {
    let comma = if rest.is_empty() { "" } else { "," };
    let json = format!(r#"{{"feature": "f", "name": "F", "components": [{components}]{comma} {rest}}}"#);
    Arc::new(RateCard::parse(&json).unwrap_or_else(|e| panic!("{e}\n{json}")))
}

fn card(component: &str) -> Arc<RateCard> {
    card_with(component, "")
}

/// The exact figure for a quantity of a card's only component.
fn exact(card: &Arc<RateCard>, quantity: &str, attributes: &[(&str, &str)]) -> String {
    let quote = priced(card, quantity, attributes);
    quote.exact().to_string()
}

fn priced(card: &Arc<RateCard>, quantity: &str, attributes: &[(&str, &str)]) -> Quote {
    let quote = quote(card, d(quantity), attributes).unwrap();
    checks::whole_quote(&quote);
    quote
}

/// The breakdown without the card's name, spaces made single.
fn lines(quote: &Quote) -> Vec<String> {
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    quote.to_string().lines().skip(1).map(squeeze).collect()
}

fn config(cases: u32) -> Config {
    // The number of cases can be set with PROPTEST_CASES.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        Config::default().cases
    } else {
        cases
    };
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}
