//! What holds for every card and every quantity.

use crate::{card_with, checks, config, d};
use jointo_credits::pricing::{Decimal, Quantities, RateCard, quote};
use proptest::prelude::*;
use std::fmt::Write;
use std::sync::Arc;

/// Numbers of a card in ten-thousandths, so that the tests can count in integers.
const SCALE: u32 = 4;

fn number(ten_thousandths: u64) -> String {
    Decimal::from_i128_with_scale(ten_thousandths.into(), SCALE).to_string()
}

/// Tiers as (units in the tier, rate, fee), the last without end.
#[derive(Debug, Clone)]
struct Tiers(Vec<(u64, u64, u64)>);

impl Tiers {
    fn json(&self) -> String {
        let mut json = String::new();
        let mut from = 0;
        for (index, (units, rate, fee)) in self.0.iter().enumerate() {
            let up_to = if index + 1 == self.0.len() {
                String::new()
            } else {
                format!(r#""up_to": {}, "#, from + units)
            };
            let comma = if index > 0 { "," } else { "" };
            let (rate, fee) = (number(*rate), number(*fee));
            let _ = write!(
                json,
                r#"{comma}{{"from": {from}, {up_to}"rate": "{rate}", "fee": "{fee}"}}"#
            );
            from += units;
        }
        json
    }

    /// The tier of the unit number `unit`, from 1.
    fn of(&self, unit: u64) -> usize {
        let mut end = 0;
        for (index, (units, ..)) in self.0.iter().enumerate() {
            end += units;
            if unit <= end {
                return index;
            }
        }
        self.0.len() - 1
    }
}

fn tiers(fees: bool) -> impl Strategy<Value = Tiers> {
    let fee = if fees { 0..50_000u64 } else { 0..1 };
    prop::collection::vec((1..60u64, 0..100_000u64, fee), 1..6).prop_map(Tiers)
}

fn tiered(model: &str, tiers: &Tiers, free: u64) -> Arc<RateCard> {
    let component = format!(
        r#"{{"quantity": "q", "model": "{model}", "free_units": {free}, "tiers": [{}]}}"#,
        tiers.json()
    );
    card_with(&component, "")
}

fn exact(card: &Arc<RateCard>, quantity: impl Into<Quantities<'static>>) -> Decimal {
    let quote = quote(card, quantity, &[]).unwrap();
    checks::whole_quote(&quote);
    quote.exact()
}

/// What the model says, unit by unit, in ten-thousandths of a credit.
fn one_by_one(model: &str, tiers: &Tiers, quantity: u64, free: u64) -> u64 {
    let mut total = 0;
    let mut fees = vec![false; tiers.0.len()];
    for unit in 1..=quantity {
        let tier = match model {
            "graduated" => tiers.of(unit),
            _ => tiers.of(quantity),
        };
        if unit > free {
            total += tiers.0[tier].1;
            fees[tier] = true;
        }
    }
    total
        + (fees.iter().zip(&tiers.0))
            .filter(|(due, _)| **due)
            .map(|(_, tier)| tier.2)
            .sum::<u64>()
}

/// A card with everything on it, its rates and factors in ten-thousandths.
fn rich_card() -> impl Strategy<Value = Arc<RateCard>> {
    (
        (
            tiers(true),
            prop::sample::select(vec!["graduated", "volume"]),
            0..100u64,
        ),
        (0..100_000u64, 1..50u64, 0..30u64),
        (prop::sample::select(vec![1u64, 10, 1000]), 0..100_000u64),
        prop::collection::vec((0..300u64, 0..300u64), 1..3),
        (0..3u32, 0..500_000u64, 0..3_000_000u64),
        prop::sample::select(vec!["up", "half_up", "half_even", "down"]),
    )
        .prop_map(
            |(tiered, package, unit, factors, (bounds, minimum, span), rounding)| {
                let components = format!(
                    r#"{{"quantity": "tiered", "model": "{}", "free_units": {}, "tiers": [{}]}},
                   {{"quantity": "blocks", "model": "package", "rate": "{}", "per": {}, "free_units": {}}},
                   {{"quantity": "units", "model": "per_unit", "rate": "{}", "per": {},
                     "multipliers": [{{"attribute": "k", "factors": {{"x": "{}"}}}}]}}"#,
                    tiered.1,
                    tiered.2,
                    tiered.0.json(),
                    number(package.0),
                    package.1,
                    package.2,
                    number(unit.1),
                    unit.0,
                    number(factors[0].1 * 100)
                );
                let multipliers: Vec<String> = (factors.iter())
                    .map(|(factor, _)| {
                        format!(
                            r#"{{"attribute": "k", "factors": {{"x": "{}"}}}}"#,
                            number(*factor)
                        )
                    })
                    .collect();
                let mut rest = format!(
                    r#""multipliers": [{}], "assume": {{"k": "x"}}, "rounding": "{rounding}""#,
                    multipliers.join(",")
                );
                if bounds > 0 {
                    let _ = write!(rest, r#", "minimum": "{}""#, number(minimum));
                }
                if bounds > 1 {
                    let _ = write!(rest, r#", "maximum": "{}""#, number(minimum + span));
                }
                card_with(&components, &rest)
            },
        )
}

/// Quantities down to a thousandth.
fn quantity() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        (0..400_000i64).prop_map(|n| Decimal::new(n, 3)),
        (0..400i64).prop_map(Decimal::from),
        (0..9_007_199i64).prop_map(Decimal::from),
    ]
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn tiers_charge_what_counting_unit_by_unit_gives(
        model in prop::sample::select(vec!["graduated", "volume"]),
        tiers in tiers(true),
        quantity in 0..300u64,
        free in 0..150u64,
    ) {
        let card = tiered(model, &tiers, free);
        let expected = one_by_one(model, &tiers, quantity, free);
        prop_assert_eq!(exact(&card, quantity), d(&number(expected)));
    }

    #[test]
    fn packages_charge_what_filling_block_by_block_gives(
        rate in 0..100_000u64,
        size in 1..40u64,
        quantity in 0..300u64,
        free in 0..100u64,
    ) {
        let component = format!(
            r#"{{"quantity": "q", "model": "package", "rate": "{}", "per": {size}, "free_units": {free}}}"#, number(rate)
        );
        let mut left = i64::try_from(quantity.saturating_sub(free)).unwrap();
        let mut blocks = 0;
        while left > 0 {
            left -= i64::try_from(size).unwrap();
            blocks += 1;
        }
        prop_assert_eq!(exact(&card_with(&component, ""), quantity), d(&number(blocks * rate)));
    }

    #[test]
    fn graduated_is_monotone_in_its_quantity(
        tiers in tiers(true),
        free in 0..150u64,
        a in quantity(),
        b in quantity(),
    ) {
        let card = tiered("graduated", &tiers, free);
        let (low, high) = (a.min(b), a.max(b));
        prop_assert!(exact(&card, low) <= exact(&card, high));
        prop_assert!(quote(&card, low, &[]).unwrap().credits() <= quote(&card, high, &[]).unwrap().credits());
    }

    #[test]
    fn graduated_without_fees_is_continuous_at_its_edges(tiers in tiers(false), free in 0..150u64) {
        let card = tiered("graduated", &tiers, free);
        let step = d("0.000000000001");
        let dearest = tiers.0.iter().map(|t| t.1).max().unwrap_or(0);
        let most = step * d(&number(dearest));
        let mut edge = 0;
        for (units, ..) in &tiers.0 {
            edge += units;
            let at = exact(&card, edge);
            let above = exact(&card, Decimal::from(edge) + step) - at;
            let below = at - exact(&card, Decimal::from(edge) - step);
            prop_assert!(above >= Decimal::ZERO && above <= most);
            prop_assert!(below >= Decimal::ZERO && below <= most);
        }
    }

    #[test]
    fn free_units_never_make_a_call_dearer(
        model in prop::sample::select(vec!["graduated", "volume"]),
        tiers in tiers(true),
        free in 1..150u64,
        quantity in quantity(),
    ) {
        prop_assert!(exact(&tiered(model, &tiers, free), quantity) <= exact(&tiered(model, &tiers, 0), quantity));
    }

    /// `checks::whole_quote`: the lines add up to the exact figure on integers, rounding moves it by less than one
    /// credit in the right direction, and the quote survives being frozen.
    #[test]
    fn every_quote_adds_up_and_is_the_same_again(
        card in rich_card(),
        quantities in prop::collection::vec(quantity(), 3),
    ) {
        let named = [("tiered", quantities[0]), ("blocks", quantities[1]), ("units", quantities[2])];
        let first = quote(&card, Quantities::Named(&named), &[]).unwrap();
        checks::whole_quote(&first);
        let again = Arc::new(RateCard::parse(card.canonical_json()).unwrap());
        let turned = [named[2], named[0], named[1]];
        prop_assert_eq!(&quote(&again, Quantities::Named(&turned), &[("k", "x")]).unwrap().to_string(), &first.to_string());
        prop_assert_eq!(&quote(&card, Quantities::Named(&named), &[]).unwrap(), &first);
        prop_assert_eq!(&first.reprice(Quantities::Named(&named)).unwrap(), &first);
    }
}
