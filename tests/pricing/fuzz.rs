//! The checks of the fuzz targets (`fuzz/`) on stable Rust: cards that are nearly right, and any quantities.

use crate::{checks, config};
use jointo_credits::pricing::{Decimal, RateCard, shipped};
use proptest::prelude::*;
use std::sync::Arc;

/// Pieces that turn up in cards, and that break them.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "-",
    "0",
    "1e",
    "e400",
    "1e28",
    "1e-28",
    "1e-29",
    "0.1",
    "NaN",
    "null",
    "true",
    "-1",
    "9007199254740991",
    "9007199254740992",
    "79228162514264337593543950335",
    "0.0000000000000000000000000001",
    "9999999999999999999999999999",
    "\"flat\"",
    "\"per_unit\"",
    "\"graduated\"",
    "\"volume\"",
    "\"package\"",
    "\"cap\"",
    "\"default\"",
    "\"free_units\"",
    "\"fee\"",
    "\"per\"",
    "\"if_unknown\"",
    "\"attributes\"",
    "\"down\"",
    "\"half_even\"",
    "图",
];

fn seeds() -> Vec<String> {
    let mut seeds: Vec<String> = shipped::CARDS.iter().map(|card| card.json.to_string()).collect();
    for card in shipped::CARDS {
        let card = Arc::new(RateCard::parse(card.json).unwrap());
        seeds.push(card.canonical_json().to_string());
        let frozen = jointo_credits::pricing::quote(&card, 3, &[]);
        seeds.extend(frozen.map(|q| q.to_json(jointo_credits::pricing::CardText::Included)));
    }
    seeds
}

#[derive(Debug, Clone)]
enum Edit {
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, &'static str),
    Repeat(prop::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<prop::sample::Index>(), 1..40usize).prop_map(|(at, len)| Edit::Cut(at, len)),
        (any::<prop::sample::Index>(), prop::sample::select(PIECES))
            .prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<prop::sample::Index>(), 1..40usize).prop_map(|(at, len)| Edit::Repeat(at, len)),
    ]
}

fn nearly_a_card() -> impl Strategy<Value = String> {
    (prop::sample::select(seeds()), prop::collection::vec(edit(), 0..4)).prop_map(|(text, edits)| {
        let mut chars: Vec<char> = text.chars().collect();
        for edit in edits {
            match edit {
                Edit::Cut(at, len) if !chars.is_empty() => {
                    let at = at.index(chars.len());
                    chars.drain(at..(at + len).min(chars.len()));
                }
                Edit::Insert(at, piece) => {
                    let at = at.index(chars.len() + 1);
                    chars.splice(at..at, piece.chars());
                }
                Edit::Repeat(at, len) if !chars.is_empty() => {
                    let at = at.index(chars.len());
                    let again: Vec<char> = chars[at..(at + len).min(chars.len())].to_vec();
                    chars.splice(at..at, again);
                }
                _ => {}
            }
        }
        chars.into_iter().collect()
    })
}

/// A number of a card replaced by another: most of these are cards, with figures nobody would think of.
fn other_numbers() -> impl Strategy<Value = String> {
    (
        prop::sample::select(seeds()),
        prop::collection::vec((any::<prop::sample::Index>(), number()), 1..4),
    )
        .prop_map(|(mut text, changes)| {
            for (at, number) in changes {
                let numbers: Vec<_> = text
                    .match_indices('"')
                    .map(|(at, _)| at + 1)
                    .filter(|at| text[*at..].starts_with(|c: char| c.is_ascii_digit()))
                    .collect();
                if numbers.is_empty() {
                    continue;
                }
                let from = numbers[at.index(numbers.len())];
                let len = text[from..].find('"').unwrap_or(0);
                text.replace_range(from..from + len, &number);
            }
            text
        })
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        decimal().prop_map(|d| d.to_string()),
        prop::sample::select(PIECES).prop_map(String::from),
        "[0-9]{1,20}(\\.[0-9]{1,20})?",
    ]
}

/// Any decimal there is.
fn decimal() -> impl Strategy<Value = Decimal> {
    (
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<bool>(),
        0..=28u32,
        0..=96u32,
    )
        .prop_map(|(lo, mid, hi, negative, scale, bits)| {
            let mantissa = (u128::from(hi) << 64 | u128::from(mid) << 32 | u128::from(lo)) >> bits;
            let mantissa = i128::try_from(mantissa).unwrap();
            Decimal::from_i128_with_scale(if negative { -mantissa } else { mantissa }, scale)
        })
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        checks::card(&text);
    }

    #[test]
    fn nearly_a_card_never_panics(text in nearly_a_card()) {
        checks::card(&text);
    }

    #[test]
    fn cards_with_other_numbers_quote_exactly_or_not_at_all(text in other_numbers()) {
        checks::card(&text);
    }

    #[test]
    fn arbitrary_quantities_never_panic(
        index in any::<prop::sample::Index>(),
        numbers in prop::collection::vec(decimal(), 2),
    ) {
        let (_, card) = shipped::rate_cards().unwrap().swap_remove(index.index(10));
        checks::quantities(&card, &numbers);
    }
}
