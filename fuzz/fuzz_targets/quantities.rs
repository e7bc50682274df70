//! Any quantities on the cards of the catalogue: a quote that adds up, or a refusal.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

use jointo_credits::pricing::{Decimal, RateCard, shipped};
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static CARDS: LazyLock<Vec<Arc<RateCard>>> = LazyLock::new(|| {
    let cards = shipped::rate_cards().expect("the catalogue parses");
    cards.into_iter().map(|(_, card)| card).collect()
});

fuzz_target!(|input: (u8, [(u32, u32, u32, bool, u8); 2])| {
    let (index, numbers) = input;
    let numbers = numbers.map(|(lo, mid, hi, negative, scale)| {
        Decimal::from_parts(lo, mid, hi, negative, u32::from(scale) % 29)
    });
    let card = &CARDS[usize::from(index) % CARDS.len()];
    checks::quantities(card, &numbers);
});
