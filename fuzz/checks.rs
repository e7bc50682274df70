//! What must hold for whatever a fuzzer finds: shared by the cargo-fuzz targets beside this file and by
//! `tests/pricing/fuzz.rs`, which runs the same checks on stable Rust with every test run.

use jointo_credits::pricing::{
    CardText, Decimal, Known, Quantities, Quote, QuoteError, RateCard, Rounding, parse_decimal, quote,
};
use std::sync::Arc;

/// Any text: a card or a refusal, never a panic; a card survives being stored and can be quoted.
pub fn card(text: &str) {
    let _ = Quote::from_json(text, |_| None);
    let Ok(card) = RateCard::parse(text) else { return };
    let again = RateCard::parse(card.canonical_json()).expect("a canonical text is a card");
    assert!(
        again == card,
        "{}\n{}",
        again.canonical_json(),
        card.canonical_json()
    );
    let card = Arc::new(card);
    let given: Vec<(String, String)> = (card.attributes().iter())
        .map(|attribute| {
            let listed = (card.multipliers().iter())
                .flat_map(|m| m.rows.iter().flat_map(|row| &row.when))
                .next();
            (
                attribute.name.clone(),
                listed.map_or("x".into(), |v| v.chars().take(60).collect()),
            )
        })
        .collect();
    let given: Vec<(&str, &str)> = given.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    for quantity in ["0", "1", "1000", "0.001", "123456.789", "9007199254740991"] {
        let quantity = parse_decimal(quantity).expect("a number");
        let named: Vec<(&str, Decimal)> = (card.components().iter())
            .filter_map(|c| c.quantity.as_deref())
            .map(|name| (name, quantity))
            .collect();
        for attributes in [&[][..], &given] {
            if let Ok(quote) = quote(&card, Quantities::Named(&named), attributes) {
                whole_quote(&quote);
            }
        }
    }
    if let Ok(quote) = quote(&card, Quantities::Unknown, &[]) {
        whole_quote(&quote);
        for known in quote.measured() {
            assert!(!matches!(known.known, Known::Given), "nothing was given");
        }
    }
}

/// Any quantities on any card: a quote that adds up, or a refusal; never a panic.
pub fn quantities(card: &Arc<RateCard>, numbers: &[Decimal]) {
    let names = card.components().iter().filter_map(|c| c.quantity.as_deref());
    let named: Vec<(&str, Decimal)> = names.zip(numbers.iter().copied()).collect();
    match quote(card, Quantities::Named(&named), &[]) {
        Ok(quote) => {
            whole_quote(&quote);
            for (name, number) in &named {
                if let Ok(repriced) = quote.reprice(Quantities::Named(&[(name, *number)])) {
                    assert!(
                        repriced == quote,
                        "what was given is given again:\n{repriced}\n{quote}"
                    );
                }
            }
        }
        Err(QuoteError::NotExact { .. }) => {
            // The digits before the point of one and those behind it of another meet in their sum.
            let whole = |n: &Decimal| {
                split(*n)
                    .0
                    .unsigned_abs()
                    .checked_ilog10()
                    .map_or(0, |digits| digits + 1)
            };
            let digits = numbers.iter().map(whole).max().unwrap_or(0)
                + numbers.iter().map(Decimal::scale).max().unwrap_or(0);
            assert!(digits + 12 > 28, "few digits can't be too many: {numbers:?}");
        }
        Err(_) => {}
    }
}

/// What holds for every quote.
pub fn whole_quote(quote: &Quote) {
    assert_eq!(
        sum(quote.lines().iter().map(|line| line.amount)),
        split(quote.exact()),
        "{quote}"
    );
    rounded_by_less_than_one(quote);
    if let Some(maximum) = quote.card().maximum() {
        assert!(quote.exact() <= maximum);
    }
    if let Some(minimum) = quote.card().minimum() {
        assert!(quote.exact() >= minimum);
    }
    let text = quote.to_string();
    assert_eq!(
        text.lines().count(),
        quote.lines().len() + 3 + usize::from(!quote.remainder().is_zero())
    );
    let json = quote.to_json(CardText::Included);
    match Quote::from_json(&json, |_| None) {
        Ok(again) => assert!(again == *quote, "{again}\n{quote}"),
        Err(error) => panic!("{error}\n{quote}"),
    }
}

fn rounded_by_less_than_one(quote: &Quote) {
    // On integers, and not with the library's own arithmetic.
    let (whole, fraction) = split(quote.exact());
    let whole = i64::try_from(whole).expect("a number of credits");
    let gained = quote.credits() - whole;
    let half = ONE / 2;
    let expected = match quote.card().rounding() {
        Rounding::Up => fraction > 0,
        Rounding::Down => false,
        Rounding::HalfUp => fraction >= half,
        Rounding::HalfEven => fraction > half || (fraction == half && whole % 2 == 1),
        other => panic!("no rule for {other:?}"),
    };
    assert_eq!(gained, i64::from(expected), "{quote}");
    assert_eq!(
        split(quote.remainder() + quote.exact()),
        (i128::from(quote.credits()), 0)
    );
}

const ONE: i128 = 10_000_000_000_000_000_000_000_000_000; // 10^28

/// A number as its whole part and its fraction in units of 10^-28, which any decimal of 28 digits is.
pub fn split(number: Decimal) -> (i128, i128) {
    sum([number])
}

/// The sum of numbers, in the same form: an addition that shares nothing with the library's.
pub fn sum(numbers: impl IntoIterator<Item = Decimal>) -> (i128, i128) {
    let (mut whole, mut fraction) = (0, 0);
    for number in numbers {
        let unit = 10_i128.pow(number.scale());
        whole += number.mantissa() / unit;
        fraction += number.mantissa() % unit * (ONE / unit);
        whole += fraction.div_euclid(ONE);
        fraction = fraction.rem_euclid(ONE);
    }
    (whole, fraction)
}
