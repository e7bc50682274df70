//! The order in which a price comes about, and every reason for which there is none.

use crate::{card, card_with, checks, d, exact, lines, priced};
use jointo_credits::ledger::Refusal;
use jointo_credits::pricing::{Known, Quantities, QuoteError, RateCard, quote};
use std::sync::Arc;

fn refused<'a>(
    card: &Arc<RateCard>,
    quantities: impl Into<Quantities<'a>>,
    attributes: &[(&str, &str)],
) -> QuoteError {
    let error = quote(card, quantities, attributes).unwrap_err();
    assert_eq!(error.code(), "validation");
    assert_eq!(Refusal::from(&error).code(), "validation");
    error
}

// --- models ---------------------------------------------------------------------------------------------------------

#[test]
fn flat_is_per_call() {
    let flat = card(r#"{"model": "flat", "rate": "2.5"}"#);
    for quantities in [Quantities::Unknown, Quantities::from(1), Quantities::Named(&[])] {
        assert_eq!(quote(&flat, quantities, &[]).unwrap().exact(), d("2.5"));
    }
    assert!(matches!(refused(&flat, 2, &[]), QuoteError::PerCall { .. }));
    assert!(matches!(refused(&flat, 0, &[]), QuoteError::PerCall { .. }));
}

#[test]
fn components_are_added_up_and_read_line_by_line() {
    let card = card_with(
        r#"{"model": "flat", "rate": 1, "label": "request"},
           {"quantity": "input_tokens", "model": "per_unit", "rate": "0.15", "per": 1000},
           {"quantity": "output_tokens", "model": "graduated", "per": 1000, "tiers": [
               {"from": 0, "up_to": 1000, "rate": "0.6"}, {"from": 1000, "rate": "0.5", "fee": "0.01"}]}"#,
        r#""rounding": "half_up""#,
    );
    let used = [("output_tokens", d("2500")), ("input_tokens", d("1234"))];
    let quote = quote(&card, Quantities::Named(&used), &[]).unwrap();
    checks::whole_quote(&quote);
    assert_eq!(
        lines(&quote),
        [
            "1 request",
            "0.1851 input_tokens: 1234 at 0.15 per 1000",
            "0.6 output_tokens: 1000 at 0.6 per 1000 (up to 1000)",
            "0.75 output_tokens: 1500 at 0.5 per 1000 (above 1000)",
            "0.01 output_tokens: fee (above 1000)",
            "2.5451 exact",
            "0.4549 rounded half up to whole credits",
            "3 credits",
        ]
    );
    let amounts: Vec<_> = quote.breakdown().map(|line| line.amount()).collect();
    assert_eq!(amounts, ["1", "0.1851", "0.6", "0.75", "0.01"].map(d));
}

#[test]
fn a_quantity_of_zero_costs_no_more_than_the_minimum() {
    for component in [
        r#"{"quantity": "n", "model": "per_unit", "rate": 3}"#,
        r#"{"quantity": "n", "model": "package", "rate": 3, "per": 10}"#,
        r#"{"quantity": "n", "model": "graduated", "tiers": [{"from": 0, "rate": 3, "fee": 7}]}"#,
        r#"{"quantity": "n", "model": "volume", "tiers": [{"from": 0, "rate": 3, "fee": 7}]}"#,
    ] {
        assert_eq!(exact(&card(component), "0", &[]), "0", "{component}");
        assert_eq!(
            exact(&card_with(component, r#""minimum": 2"#), "0", &[]),
            "2",
            "{component}"
        );
    }
}

#[test]
fn fractions_of_units_count() {
    let seconds = card(
        r#"{"quantity": "seconds", "model": "graduated", "tiers": [
            {"from": 0, "up_to": "1.5", "rate": 2}, {"from": "1.5", "rate": 1}]}"#,
    );
    for (quantity, price) in [
        ("0.25", "0.5"),
        ("1.5", "3"),
        ("1.500000001", "3.000000001"),
        ("2.75", "4.25"),
    ] {
        assert_eq!(exact(&seconds, quantity, &[]), price);
    }
}

// --- free units -----------------------------------------------------------------------------------------------------

#[test]
fn free_units_are_the_first_ones_and_tiers_count_from_the_first_unit() {
    let graduated = card(
        r#"{"quantity": "n", "model": "graduated", "free_units": 100, "tiers": [
            {"from": 0, "up_to": 50, "rate": 3, "fee": 5}, {"from": 50, "up_to": 200, "rate": 2, "fee": 7},
            {"from": 200, "rate": 1}]}"#,
    );
    // All of the first tier is free, so its fee is too; the second tier's is due once a unit of it is charged.
    for (quantity, price) in [
        ("50", "0"),
        ("100", "0"),
        ("101", "9"),
        ("200", "207"),
        ("300", "307"),
    ] {
        assert_eq!(exact(&graduated, quantity, &[]), price, "{quantity}");
    }
    // At the edge the next tier holds nothing, and has no line.
    assert_eq!(
        lines(&priced(&graduated, "50", &[])),
        [
            "150 n: 50 at 3 (up to 50)",
            "5 n: fee (up to 50)",
            "-155 n: the first 50 free",
            "0 exact",
            "0 credits"
        ]
    );
    assert_eq!(
        lines(&priced(&graduated, "101", &[])),
        [
            "150 n: 50 at 3 (up to 50)",
            "5 n: fee (up to 50)",
            "102 n: 51 at 2 (above 50 up to 200)",
            "7 n: fee (above 50 up to 200)",
            "-255 n: the first 100 free",
            "9 exact",
            "9 credits",
        ]
    );
}

#[test]
fn free_units_do_not_push_a_volume_into_a_dearer_tier() {
    let volume = card(
        r#"{"quantity": "n", "model": "volume", "free_units": 10, "tiers": [
            {"from": 0, "up_to": 1000, "rate": 1, "fee": 4}, {"from": 1000, "rate": "0.5", "fee": 2}]}"#,
    );
    for (quantity, price) in [("10", "0"), ("11", "5"), ("1000", "994"), ("1001", "497.5")] {
        assert_eq!(exact(&volume, quantity, &[]), price, "{quantity}");
    }
}

// --- multipliers, minimum, maximum ----------------------------------------------------------------------------------

#[test]
fn multipliers_apply_in_order_and_each_has_its_line() {
    let card = card_with(
        r#"{"quantity": "seconds", "model": "per_unit", "rate": 3, "label": "视频",
            "multipliers": [{"attribute": "codec", "factors": {"av1": "1.5"}, "if_unknown": 1}]},
           {"model": "flat", "rate": "0.5"}"#,
        r#""multipliers": [
               {"attribute": "quality", "factors": {"hd": 2, "draft": 0.25}},
               {"attributes": ["region", "hour"], "factors": {"eu": {"day": 1.1, "night": 0.9}}, "if_unknown": 1}],
           "assume": {"codec": "h264", "region": "eu", "hour": "day"}"#,
    );
    let quote = priced(
        &card,
        "2",
        &[("quality", "hd"), ("codec", "av1"), ("hour", "night")],
    );
    assert_eq!(
        lines(&quote),
        [
            "6 视频: 2 at 3",
            "3 视频, codec av1: 6 times 1.5",
            "0.5 per call",
            "9.5 quality hd: 9.5 times 2",
            "-1.9 region eu, hour night: 19 times 0.9",
            "17.1 exact",
            "0.9 rounded up to whole credits",
            "18 credits",
        ]
    );
    let attributes: Vec<_> = quote.attributes().collect();
    assert_eq!(
        attributes,
        [
            ("codec", "av1"),
            ("quality", "hd"),
            ("region", "eu"),
            ("hour", "night")
        ]
    );
}

#[test]
fn minimum_and_maximum_apply_after_the_multipliers_and_have_a_line() {
    let card = card_with(
        r#"{"quantity": "n", "model": "per_unit", "rate": 1}"#,
        r#""multipliers": [{"attribute": "k", "factors": {"half": "0.5"}}], "minimum": "2.5", "maximum": 10"#,
    );
    let k = [("k", "half")];
    assert_eq!(
        lines(&priced(&card, "3", &k)),
        [
            "3 n: 3 at 1",
            "-1.5 k half: 3 times 0.5",
            "1 minimum 2.5",
            "2.5 exact",
            "0.5 rounded up to whole credits",
            "3 credits"
        ]
    );
    assert_eq!(
        lines(&priced(&card, "30", &k)),
        [
            "30 n: 30 at 1",
            "-15 k half: 30 times 0.5",
            "-5 maximum 10",
            "10 exact",
            "10 credits"
        ]
    );
    // As much as the minimum, and as much as the maximum: nothing to add and nothing to take off.
    assert_eq!(
        lines(&priced(&card, "5", &k)),
        [
            "5 n: 5 at 1",
            "-2.5 k half: 5 times 0.5",
            "2.5 exact",
            "0.5 rounded up to whole credits",
            "3 credits"
        ]
    );
    assert_eq!(
        lines(&priced(&card, "20", &k)),
        [
            "20 n: 20 at 1",
            "-10 k half: 20 times 0.5",
            "10 exact",
            "10 credits"
        ]
    );
}

#[test]
fn unknown_and_missing_attributes_are_refused_unless_the_card_says_what_they_cost() {
    let per_unit = r#"{"quantity": "n", "model": "per_unit", "rate": 1}"#;
    let strict = card_with(
        per_unit,
        r#""multipliers": [{"attribute": "q", "factors": {"a": 2, "b": 3}}]"#,
    );
    let QuoteError::UnknownValue {
        attribute,
        value,
        known,
        ..
    } = refused(&strict, 1, &[("q", "c")])
    else {
        panic!("another error")
    };
    assert_eq!((attribute, value, known), ("q".into(), "c".into(), "a, b".into()));
    assert!(matches!(
        refused(&strict, 1, &[("q", "A")]),
        QuoteError::UnknownValue { .. }
    ));
    assert!(matches!(
        refused(&strict, 1, &[]),
        QuoteError::MissingAttribute { .. }
    ));
    let QuoteError::UnknownAttribute { name, known, .. } =
        refused(&strict, 1, &[("q", "a"), ("qualty", "b")])
    else {
        panic!("another error")
    };
    assert_eq!((name, known), ("qualty".into(), "q".into()));
    assert!(matches!(
        refused(&strict, 1, &[("q", "a"), ("q", "b")]),
        QuoteError::DuplicateAttribute { .. }
    ));
    assert!(matches!(
        refused(&strict, 1, &[("q", &"a".repeat(256))]),
        QuoteError::ValueTooLong { bytes: 256, .. }
    ));

    let lenient = card_with(
        per_unit,
        r#""multipliers": [{"attribute": "q", "factors": {"a": 2, "b": 3}, "if_unknown": 5}], "assume": {"q": "b"}"#,
    );
    assert_eq!(exact(&lenient, "1", &[("q", "c")]), "5");
    assert_eq!(exact(&lenient, "1", &[]), "3");

    // Nothing of a cell may be unknown.
    let matrix = card_with(
        per_unit,
        r#""multipliers": [{"attributes": ["q", "r"], "factors": {"a": {"x": 2}, "b": {"y": 3}}}]"#,
    );
    assert_eq!(exact(&matrix, "1", &[("r", "y"), ("q", "b")]), "3");
    assert!(matches!(
        refused(&matrix, 1, &[("q", "a"), ("r", "y")]),
        QuoteError::UnknownValue { .. }
    ));
}

// --- quantities -----------------------------------------------------------------------------------------------------

#[test]
fn quantities_that_the_card_does_not_meter_are_refused() {
    let two = card(
        r#"{"quantity": "a", "model": "per_unit", "rate": 1}, {"quantity": "b", "model": "per_unit", "rate": 10}"#,
    );
    let QuoteError::Unnamed { known, .. } = refused(&two, 1, &[]) else {
        panic!("another error")
    };
    assert_eq!(known, "a, b");
    let missing = [("a", d("1"))];
    let QuoteError::MissingQuantity { name, .. } = refused(&two, Quantities::Named(&missing), &[]) else {
        panic!("another error")
    };
    assert_eq!(name, "b");
    let unknown = [("a", d("1")), ("b", d("1")), ("c", d("1"))];
    assert!(matches!(
        refused(&two, Quantities::Named(&unknown), &[]),
        QuoteError::UnknownQuantity { .. }
    ));
    let twice = [("a", d("1")), ("a", d("2"))];
    assert!(matches!(
        refused(&two, Quantities::Named(&twice), &[]),
        QuoteError::DuplicateQuantity { .. }
    ));
}

#[test]
fn quantities_have_limits() {
    let one = card(r#"{"quantity": "n", "model": "per_unit", "rate": 1}"#);
    assert_eq!(exact(&one, "9007199254740991", &[]), "9007199254740991");
    for quantity in ["-1", "-0.0000000000000000000000000001", "9007199254740992"] {
        assert!(matches!(
            refused(&one, d(quantity), &[]),
            QuoteError::QuantityOutOfRange { .. }
        ));
    }
}

#[test]
fn a_price_above_what_the_ledger_can_hold_is_refused() {
    let dear = card(r#"{"quantity": "n", "model": "per_unit", "rate": 9007199254740991}"#);
    assert_eq!(priced(&dear, "1", &[]).credits(), 9_007_199_254_740_991);
    assert!(matches!(
        refused(&dear, 2, &[]),
        QuoteError::TooManyCredits { .. }
    ));
    assert!(matches!(
        refused(&dear, d("1.00001"), &[]),
        QuoteError::TooManyCredits { .. }
    ));
    assert!(matches!(
        refused(&dear, 9_007_199_254_740_991_u64, &[]),
        QuoteError::NotExact { .. }
    ));
    // What is on the way may be larger than the result.
    let capped = card_with(
        r#"{"quantity": "n", "model": "per_unit", "rate": 9007199254740991}"#,
        r#""maximum": 100"#,
    );
    assert_eq!(priced(&capped, "1000", &[]).credits(), 100);
}

#[test]
fn digits_that_do_not_fit_are_an_error_and_never_rounded() {
    let fine = card(r#"{"quantity": "n", "model": "per_unit", "rate": "0.0000000000000000000000000001"}"#);
    assert_eq!(exact(&fine, "3", &[]), "0.0000000000000000000000000003");
    assert_eq!(priced(&fine, "3", &[]).credits(), 1);
    assert!(matches!(
        refused(&fine, d("0.5"), &[]),
        QuoteError::NotExact { .. }
    ));
}

#[test]
fn estimates_stand_in_for_what_is_not_known() {
    let component = |estimate| format!(r#"{{"quantity": "n", "model": "per_unit", "rate": 1 {estimate}}}"#);
    let none = card(&component(""));
    assert!(matches!(
        refused(&none, Quantities::Unknown, &[]),
        QuoteError::MissingQuantity { .. }
    ));
    let rejects = card(&component(r#", "estimate": "reject""#));
    assert_eq!(rejects, none);

    let default = card(&component(r#", "estimate": {"default": 40}"#));
    let held = quote(&default, Quantities::Unknown, &[]).unwrap();
    assert_eq!((held.credits(), held.measured()[0].known), (40, Known::Default));
    assert_eq!(lines(&held)[0], "40 n (estimated): 40 at 1");
    assert_eq!(held.reprice(100).unwrap().credits(), 100);
    assert_eq!(held.reprice(3).unwrap().credits(), 3);
    assert_eq!(held.reprice(Quantities::Unknown).unwrap(), held);

    let cap = card(&component(r#", "estimate": {"cap": 40}"#));
    let held = quote(&cap, Quantities::Unknown, &[]).unwrap();
    assert_eq!((held.credits(), held.measured()[0].known), (40, Known::Cap));
    assert_eq!(lines(&held)[0], "40 n (at most): 40 at 1");
    let more = held.reprice(100).unwrap();
    assert_eq!(
        (more.credits(), more.measured()[0].known),
        (40, Known::Capped { used: d("100") })
    );
    assert_eq!(lines(&more)[0], "40 n (of 100 at most 40 are charged): 40 at 1");
    let less = held.reprice(3).unwrap();
    assert_eq!(less.credits(), 3);
    // The cap still holds when a second correction comes.
    assert_eq!(less.reprice(100).unwrap(), more);
    // It is for what was not known. Who said 100 pays 100.
    let known = quote(&cap, 100, &[]).unwrap();
    assert_eq!(known.credits(), 100);
    assert_eq!(known.reprice(200).unwrap().credits(), 200);
}

#[test]
fn repricing_keeps_the_card_the_attributes_and_what_is_not_given_again() {
    let card = card_with(
        r#"{"quantity": "in", "model": "per_unit", "rate": 1},
           {"quantity": "out", "model": "per_unit", "rate": 10, "estimate": {"default": 5}}"#,
        r#""multipliers": [{"attribute": "m", "factors": {"pro": 2, "lite": 1}}]"#,
    );
    let held = quote(&card, Quantities::Named(&[("in", d("7"))]), &[("m", "pro")]).unwrap();
    assert_eq!(held.credits(), 2 * (7 + 50));
    let confirmed = held.reprice(Quantities::Named(&[("out", d("3"))])).unwrap();
    assert_eq!(confirmed.credits(), 2 * (7 + 30));
    assert!(Arc::ptr_eq(confirmed.card(), &card));
    assert!(matches!(held.reprice(3), Err(QuoteError::Unnamed { .. })));
    assert!(matches!(
        held.reprice(Quantities::Named(&[("out", d("-3"))])),
        Err(QuoteError::QuantityOutOfRange { .. })
    ));
}

// --- rounding -------------------------------------------------------------------------------------------------------

#[test]
fn rounding_happens_once_at_the_end() {
    // Three components of 0.4: rounded up one by one they would cost 3.
    let components = r#"{"model": "flat", "rate": "0.4"}, {"model": "flat", "rate": "0.4"}, {"model": "flat", "rate": "0.4"}"#;
    for (rounding, credits, remainder) in [
        ("up", 2, "0.8"),
        ("half_up", 1, "-0.2"),
        ("half_even", 1, "-0.2"),
        ("down", 1, "-0.2"),
    ] {
        let card = card_with(components, &format!(r#""rounding": "{rounding}""#));
        let quote = priced(&card, "1", &[]);
        assert_eq!(
            (quote.credits(), quote.remainder()),
            (credits, d(remainder)),
            "{rounding}"
        );
    }
}

#[test]
fn halves_go_where_the_card_says() {
    for (rounding, credits) in [
        ("up", [1, 2, 3]),
        ("half_up", [1, 2, 3]),
        ("half_even", [0, 2, 2]),
        ("down", [0, 1, 2]),
    ] {
        let halves = card_with(
            r#"{"quantity": "n", "model": "per_unit", "rate": "0.5"}"#,
            &format!(r#""rounding": "{rounding}""#),
        );
        assert_eq!(
            ["1", "3", "5"].map(|n| priced(&halves, n, &[]).credits()),
            credits,
            "{rounding}"
        );
    }
}

/// A use that costs something is never free by default: openmeter #5083.
#[test]
fn rival_openmeter_5083_a_price_above_zero_does_not_round_to_zero() {
    let tokens = card(r#"{"quantity": "tokens", "model": "per_unit", "rate": "0.0000001"}"#);
    assert_eq!(priced(&tokens, "1", &[]).credits(), 1);
    assert_eq!(priced(&tokens, "0", &[]).credits(), 0);
}
