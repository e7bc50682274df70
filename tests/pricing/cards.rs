//! Which texts are rate cards: the code and the published schema, side by side.

use jointo_credits::ledger::Refusal;
use jointo_credits::pricing::limits::*;
use jointo_credits::pricing::{CardFault, Estimate, Model, RateCard, Rounding, shipped};

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../docs/rate-card.schema.json");
    let schema = serde_json::from_str(text).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// A card around a component, or around whatever stands in its place.
fn around(component: &str, rest: &str) -> String {
    format!(r#"{{"feature": "f", "name": "n", "components": [{component}]{rest}}}"#)
}

const FLAT: &str = r#"{"model": "flat", "rate": 1}"#;

fn with(rest: &str) -> String {
    around(FLAT, &format!(", {rest}"))
}

fn only(component: &str) -> String {
    around(component, "")
}

fn tiers(tiers: &str) -> String {
    only(&format!(
        r#"{{"quantity": "q", "model": "graduated", "tiers": {tiers}}}"#
    ))
}

fn per_unit(rest: &str) -> String {
    only(&format!(r#"{{"quantity": "q", "model": "per_unit", {rest}}}"#))
}

fn multiplier(multiplier: &str) -> String {
    with(&format!(r#""multipliers": [{multiplier}]"#))
}

fn valid() -> Vec<String> {
    let mut valid: Vec<String> = shipped::CARDS.iter().map(|card| card.json.to_string()).collect();
    valid.extend([
        only(FLAT),
        only(r#"{"model": "flat", "rate": "0", "label": "每次"}"#),
        per_unit(r#""rate": 0.2, "per": 1000, "free_units": "1e3", "estimate": "reject", "label": "输入""#),
        per_unit(r#""rate": "2.50E-1", "estimate": {"cap": 12.5}"#),
        per_unit(r#""rate": 0.6, "per": 60"#),
        per_unit(r#""rate": "9007199254740991.000000000000", "per": "0.5""#),
        only(r#"{"quantity": "q", "model": "package", "rate": 1, "per": 60, "estimate": {"default": 0}}"#),
        tiers(r#"[{"from": 0, "rate": 1}]"#),
        tiers(r#"[{"from": 0, "up_to": 10, "rate": 1, "fee": 2}, {"from": "10.0", "up_to": 1e2, "rate": 0}, {"from": 100, "rate": 3}]"#),
        only(r#"{"quantity": "q", "model": "volume", "tiers": [{"from": 0, "up_to": "0.5", "rate": 1}, {"from": 0.5, "rate": 1}]}"#),
        multiplier(r#"{"attribute": "a", "factors": {"x": 1, "y": "0"}, "if_unknown": 2}"#),
        multiplier(r#"{"attributes": ["a", "b"], "factors": {"x": {"1": 1}, "y": {"1": 2, "2": 3}}}"#),
        with(r#""minimum": 1, "maximum": "1.0", "rounding": "half_even", "hold_ttl_seconds": 2592000"#),
        with(r#""multipliers": [{"attribute": "a", "factors": {"x": 1}}], "assume": {"a": "x"}"#),
        with(r#""multipliers": [{"attribute": "a", "factors": {"x": 1}, "if_unknown": 1}], "assume": {"a": "else"}"#),
    ]);
    valid
}

/// Refused by the schema and by the code: the text, where the code finds the fault, and which.
fn wrong_form() -> Vec<(String, &'static str, &'static str)> {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let many = |count, of: &str| vec![of; count].join(",");
    vec![
        ("[]".into(), "$", "WrongType"),
        ("3".into(), "$", "WrongType"),
        ("null".into(), "$", "WrongType"),
        ("{}".into(), "$.components", "Missing"),
        (
            r#"{"components": [], "feature": "f", "name": "n"}"#.into(),
            "$.components",
            "Empty",
        ),
        (
            r#"{"components": {}, "feature": "f", "name": "n"}"#.into(),
            "$.components",
            "WrongType",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "name": "n"}}"#),
            "$.feature",
            "Missing",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": "f"}}"#),
            "$.name",
            "Missing",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": "", "name": "n"}}"#),
            "$.feature",
            "Blank",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": "f ", "name": "n"}}"#),
            "$.feature",
            "Blank",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": "f\u0000g", "name": "n"}}"#),
            "$.feature",
            "ControlCharacter",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": "{long}", "name": "n"}}"#),
            "$.feature",
            "TooLong",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": 1, "name": "n"}}"#),
            "$.feature",
            "WrongType",
        ),
        (
            format!(r#"{{"components": [{FLAT}], "feature": null, "name": "n"}}"#),
            "$.feature",
            "WrongType",
        ),
        (with(r#""minimun": 1"#), "$.minimun", "UnknownField"),
        (with(r#""a b": 1"#), "$['a b']", "UnknownField"),
        (only(&many(COMPONENTS_MAX + 1, FLAT)), "$.components", "TooMany"),
        // components
        (only("1"), "$.components[0]", "WrongType"),
        (only(r#"{"rate": 1}"#), "$.components[0].model", "Missing"),
        (
            only(r#"{"model": "free", "rate": 1}"#),
            "$.components[0].model",
            "UnknownWord",
        ),
        (only(r#"{"model": "flat"}"#), "$.components[0].rate", "Missing"),
        (
            only(r#"{"model": "flat", "rate": -1}"#),
            "$.components[0].rate",
            "OutOfRange",
        ),
        (
            only(r#"{"model": "flat", "rate": "-0.01"}"#),
            "$.components[0].rate",
            "OutOfRange",
        ),
        (
            only(r#"{"model": "flat", "rate": 9007199254740993}"#),
            "$.components[0].rate",
            "OutOfRange",
        ),
        (
            only(r#"{"model": "flat", "rate": true}"#),
            "$.components[0].rate",
            "WrongType",
        ),
        (
            only(r#"{"model": "flat", "rate": null}"#),
            "$.components[0].rate",
            "WrongType",
        ),
        (
            only(r#"{"model": "flat", "rate": "1,5"}"#),
            "$.components[0].rate",
            "Number",
        ),
        (
            only(r#"{"model": "flat", "rate": "NaN"}"#),
            "$.components[0].rate",
            "Number",
        ),
        (
            only(r#"{"model": "flat", "rate": "+1"}"#),
            "$.components[0].rate",
            "Number",
        ),
        (
            only(r#"{"model": "flat", "rate": ""}"#),
            "$.components[0].rate",
            "Number",
        ),
        (
            only(r#"{"model": "flat", "rate": 1, "quantity": "q"}"#),
            "$.components[0].quantity",
            "UnknownField",
        ),
        (
            only(r#"{"model": "flat", "rate": 1, "label": ""}"#),
            "$.components[0].label",
            "Blank",
        ),
        (
            only(&format!(r#"{FLAT}, {{"model": "per_unit", "rate": 1}}"#)),
            "$.components[1].quantity",
            "Missing",
        ),
        (
            per_unit(r#""rate": 1, "per": 0"#),
            "$.components[0].per",
            "OutOfRange",
        ),
        (
            per_unit(r#""rate": 1, "per": "0""#),
            "$.components[0].per",
            "OutOfRange",
        ),
        (
            per_unit(r#""rate": 1, "per": -1"#),
            "$.components[0].per",
            "OutOfRange",
        ),
        (
            per_unit(r#""rate": 1, "tiers": []"#),
            "$.components[0].tiers",
            "UnknownField",
        ),
        (
            per_unit(r#""rate": 1, "free_units": -1"#),
            "$.components[0].free_units",
            "OutOfRange",
        ),
        // estimates
        (
            per_unit(r#""rate": 1, "estimate": "refuse""#),
            "$.components[0].estimate",
            "UnknownWord",
        ),
        (
            per_unit(r#""rate": 1, "estimate": 5"#),
            "$.components[0].estimate",
            "WrongType",
        ),
        (
            per_unit(r#""rate": 1, "estimate": {}"#),
            "$.components[0].estimate",
            "Empty",
        ),
        (
            per_unit(r#""rate": 1, "estimate": {"cap": 1, "default": 1}"#),
            "$.components[0].estimate",
            "TooMany",
        ),
        (
            per_unit(r#""rate": 1, "estimate": {"cap": -1}"#),
            "$.components[0].estimate.cap",
            "OutOfRange",
        ),
        // tiers
        (tiers("[]"), "$.components[0].tiers", "Empty"),
        (
            tiers(r#"[{"rate": 1}]"#),
            "$.components[0].tiers[0].from",
            "Missing",
        ),
        (
            tiers(r#"[{"from": 0}]"#),
            "$.components[0].tiers[0].rate",
            "Missing",
        ),
        (
            tiers(r#"[{"from": 0, "rate": -1}]"#),
            "$.components[0].tiers[0].rate",
            "OutOfRange",
        ),
        (
            tiers(r#"[{"from": 0, "rate": 1, "fee": -1}]"#),
            "$.components[0].tiers[0].fee",
            "OutOfRange",
        ),
        (
            tiers(r#"[{"from": 0, "up_to": 0, "rate": 1}, {"from": 0, "rate": 1}]"#),
            "$.components[0].tiers[0].up_to",
            "EmptyTier",
        ),
        (
            tiers(r#"[{"from": 0, "rate": 1, "upto": 5}]"#),
            "$.components[0].tiers[0].upto",
            "UnknownField",
        ),
        (
            tiers(&format!("[{}]", many(TIERS_MAX + 1, r#"{"from": 0, "rate": 1}"#))),
            "$.components[0].tiers",
            "TooMany",
        ),
        // multipliers
        (with(r#""multipliers": []"#), "$.multipliers", "Empty"),
        (
            with(&format!(
                r#""multipliers": [{}]"#,
                many(MULTIPLIERS_MAX + 1, r#"{"attribute": "a", "factors": {"x": 1}}"#)
            )),
            "$.multipliers",
            "TooMany",
        ),
        (
            multiplier(r#"{"factors": {"x": 1}}"#),
            "$.multipliers[0].attribute",
            "Missing",
        ),
        (
            multiplier(r#"{"attribute": "a"}"#),
            "$.multipliers[0].factors",
            "Missing",
        ),
        (
            multiplier(r#"{"attribute": "a", "factors": {}}"#),
            "$.multipliers[0].factors",
            "Empty",
        ),
        (
            multiplier(r#"{"attribute": "a", "factors": {"": 1}}"#),
            "$.multipliers[0].factors['']",
            "Blank",
        ),
        (
            multiplier(r#"{"attribute": "a", "factors": {"x": -1}}"#),
            "$.multipliers[0].factors.x",
            "OutOfRange",
        ),
        (
            multiplier(r#"{"attribute": "a", "factors": {"x": {"y": 1}}}"#),
            "$.multipliers[0].factors.x",
            "WrongType",
        ),
        (
            multiplier(r#"{"attribute": "a", "factors": {"x": 1}, "default": 1}"#),
            "$.multipliers[0].default",
            "UnknownField",
        ),
        (
            multiplier(r#"{"attribute": "a", "attributes": ["a", "b"], "factors": {"x": 1}}"#),
            "$.multipliers[0].attributes",
            "UnknownField",
        ),
        (
            multiplier(r#"{"attributes": ["a"], "factors": {"x": 1}}"#),
            "$.multipliers[0].attributes",
            "WrongType",
        ),
        (
            multiplier(r#"{"attributes": ["a", "a"], "factors": {"x": {"y": 1}}}"#),
            "$.multipliers[0].attributes",
            "DuplicateAttribute",
        ),
        (
            multiplier(r#"{"attributes": ["a", "b", "c"], "factors": {"x": {"y": 1}}}"#),
            "$.multipliers[0].attributes",
            "TooMany",
        ),
        (
            multiplier(r#"{"attributes": ["a", "b"], "factors": {"x": 1}}"#),
            "$.multipliers[0].factors.x",
            "WrongType",
        ),
        (
            multiplier(r#"{"attributes": ["a", "b"], "factors": {"x": {}}}"#),
            "$.multipliers[0].factors.x",
            "Empty",
        ),
        // the rest
        (with(r#""minimum": -1"#), "$.minimum", "OutOfRange"),
        (with(r#""maximum": "1e""#), "$.maximum", "Number"),
        (with(r#""rounding": "nearest""#), "$.rounding", "UnknownWord"),
        (
            with(r#""hold_ttl_seconds": 0"#),
            "$.hold_ttl_seconds",
            "OutOfRange",
        ),
        (
            with(r#""hold_ttl_seconds": 2592001"#),
            "$.hold_ttl_seconds",
            "OutOfRange",
        ),
        (
            with(r#""hold_ttl_seconds": 1.5"#),
            "$.hold_ttl_seconds",
            "OutOfRange",
        ),
        (with(r#""assume": {"a": 1}"#), "$.assume.a", "WrongType"),
        (with(r#""assume": {}"#), "$.assume", "Empty"),
    ]
}

/// Refused by the code, and beyond what a schema can see.
fn wrong_meaning() -> Vec<(String, &'static str, &'static str)> {
    let wide: String = (0..=FACTORS_MAX / 2)
        .map(|n| format!(r#""v{n}": {{"x": 1, "y": 1}},"#))
        .collect();
    vec![
        // what a JSON parser would pass over
        (with(r#""minimum": 1, "minimum": 2"#), "$.minimum", "DuplicateKey"),
        (
            multiplier(r#"{"attribute": "a", "factors": {"x": 1, "x": 2}}"#),
            "$.multipliers[0].factors.x",
            "DuplicateKey",
        ),
        (
            only(r#"{"model": "flat", "rate": 1, "rate": 1}"#),
            "$.components[0].rate",
            "DuplicateKey",
        ),
        // digits that a float would lose
        (
            with(r#""minimum": 0.00000000000000000000000000001"#),
            "$.minimum",
            "Number",
        ),
        (
            with(r#""minimum": "1.0000000000000000000000000000""#),
            "$.minimum",
            "Number",
        ),
        (with(r#""minimum": 1e-29"#), "$.minimum", "Number"),
        (
            with(r#""maximum": "9007199254740991.0001""#),
            "$.maximum",
            "OutOfRange",
        ),
        // bytes are not characters
        (
            with(&format!(r#""assume": {{"a": "{}"}}"#, "图".repeat(86))),
            "$.assume.a",
            "TooLong",
        ),
        // tiers
        (
            tiers(r#"[{"from": 1, "rate": 1}]"#),
            "$.components[0].tiers[0].from",
            "GapInTiers",
        ),
        (
            tiers(r#"[{"from": 0, "up_to": 5, "rate": 1}, {"from": 6, "rate": 1}]"#),
            "$.components[0].tiers[1].from",
            "GapInTiers",
        ),
        (
            tiers(r#"[{"from": 0, "up_to": 5, "rate": 1}, {"from": 4.9999, "rate": 1}]"#),
            "$.components[0].tiers[1].from",
            "OverlappingTiers",
        ),
        (
            tiers(
                r#"[{"from": 0, "up_to": 5, "rate": 1}, {"from": 5, "up_to": 5, "rate": 1}, {"from": 5, "rate": 1}]"#,
            ),
            "$.components[0].tiers[1].up_to",
            "EmptyTier",
        ),
        (
            tiers(r#"[{"from": 0, "rate": 1}, {"from": 5, "rate": 1}]"#),
            "$.components[0].tiers[1]",
            "OpenTier",
        ),
        (
            tiers(r#"[{"from": 0, "up_to": 5, "rate": 1}]"#),
            "$.components[0].tiers",
            "ClosedLastTier",
        ),
        // rates
        (
            per_unit(r#""rate": 1, "per": 60"#),
            "$.components[0].rate",
            "InexactRate",
        ),
        (
            per_unit(r#""rate": "0.0000000000000000000000000001", "per": 10"#),
            "$.components[0].rate",
            "InexactRate",
        ),
        (
            only(r#"{"quantity": "q", "model": "volume", "per": 3, "tiers": [{"from": 0, "rate": 1}]}"#),
            "$.components[0].tiers[0].rate",
            "InexactRate",
        ),
        (
            around(
                r#"{"model": "flat", "rate": "0.00000000000001"}"#,
                r#", "multipliers": [{"attribute": "a", "factors": {"x": "0.000000000000001"}}]"#,
            ),
            "$.components",
            "TooFine",
        ),
        // names
        (
            only(
                r#"{"quantity": "q", "model": "per_unit", "rate": 1}, {"quantity": "q", "model": "package", "rate": 1}"#,
            ),
            "$.components",
            "DuplicateQuantity",
        ),
        (with(r#""assume": {"a": "x"}"#), "$.assume.a", "UnusedAttribute"),
        (
            with(r#""multipliers": [{"attribute": "a", "factors": {"x": 1}}], "assume": {"a": "y"}"#),
            "$.assume.a",
            "AssumedValueWithoutFactor",
        ),
        (
            with(
                r#""multipliers": [{"attribute": "a", "factors": {"x": 1}}, {"attributes": ["b", "a"], "factors": {"x": {"y": 1}}}], "assume": {"a": "x"}"#,
            ),
            "$.assume.a",
            "AssumedValueWithoutFactor",
        ),
        (
            multiplier(&format!(
                r#"{{"attributes": ["a", "b"], "factors": {{{}}}}}"#,
                wide.trim_end_matches(',')
            )),
            "$.multipliers[0].factors",
            "TooMany",
        ),
        (
            with(r#""minimum": 2, "maximum": "1.9""#),
            "$.minimum",
            "MinimumAboveMaximum",
        ),
    ]
}

fn refused(json: &str) -> (String, String) {
    match RateCard::parse(json) {
        Ok(_) => panic!("is a card: {json}"),
        Err(error) => {
            assert_eq!(error.code(), "validation");
            let text = error.to_string();
            assert!(text.len() < 500, "{text}");
            match Refusal::from(&error) {
                Refusal::Invalid { value, .. } => assert_eq!(value, text),
                other => panic!("{other:?}"),
            }
            let fault = format!("{:?}", error.fault);
            let word = fault
                .split([' ', '(', '{'])
                .next()
                .unwrap_or_default()
                .to_string();
            (error.path, word)
        }
    }
}

#[test]
fn every_valid_card_is_one_for_the_schema_and_for_the_code() {
    let schema = schema();
    for json in valid() {
        let value = serde_json::from_str(&json).unwrap();
        if let Err(error) = schema.validate(&value) {
            panic!("{error} at {}\n{json}", error.instance_path());
        }
        let card = RateCard::parse(&json).unwrap_or_else(|e| panic!("{e}\n{json}"));
        let canonical = serde_json::from_str(card.canonical_json()).unwrap();
        assert!(schema.is_valid(&canonical), "{}", card.canonical_json());
        assert_eq!(RateCard::parse(card.canonical_json()), Ok(card));
    }
}

#[test]
fn every_card_of_wrong_form_is_refused_by_the_schema_and_by_the_code() {
    let schema = schema();
    for (json, path, fault) in wrong_form() {
        let value = serde_json::from_str(&json).unwrap();
        assert!(!schema.is_valid(&value), "the schema takes {json}");
        assert_eq!(refused(&json), (path.into(), fault.into()), "{json}");
    }
}

#[test]
fn what_a_schema_can_t_see_is_refused_by_the_code() {
    let schema = schema();
    for (json, path, fault) in wrong_meaning() {
        let value = serde_json::from_str(&json).unwrap();
        assert!(
            schema.is_valid(&value),
            "the schema refuses this too, so it belongs into the other table: {json}"
        );
        assert_eq!(refused(&json), (path.into(), fault.into()), "{json}");
    }
}

#[test]
fn what_is_no_json_is_refused() {
    for json in [
        "",
        "{",
        "{}}",
        "nil",
        "{'a': 1}",
        "[1,]",
        "\u{feff}{}",
        r#"{"a": 01}"#,
        r#"{"a": NaN}"#,
        r#"{"a": "\ud800"}"#,
    ] {
        assert!(RateCard::parse(json).is_err(), "{json}");
    }
    let (path, fault) = refused(r#"{"feature": "#);
    assert_eq!((path.as_str(), fault.as_str()), ("$", "NotJson"));
    let (path, fault) = refused(&with(r#""rounding": "\ud800""#));
    assert_eq!((path.as_str(), fault.as_str()), ("$.rounding", "NotJson"));
    let (path, fault) = refused(&format!("{}{}", only(FLAT), " ".repeat(CARD_BYTES_MAX)));
    assert_eq!((path.as_str(), fault.as_str()), ("$", "TooLong"));
    // Deeper than a parser that recurses can go.
    let deep = "[".repeat(CARD_BYTES_MAX / 2) + &"]".repeat(CARD_BYTES_MAX / 2);
    assert_eq!(refused(&deep).0, "$");
}

#[test]
fn the_limits_themselves_are_possible() {
    let components: Vec<String> = (0..COMPONENTS_MAX)
        .map(|n| {
            let tiers: Vec<String> = (0..TIERS_MAX)
                .map(|t| match t + 1 {
                    TIERS_MAX => format!(r#"{{"from":{t},"rate":1}}"#),
                    next => format!(r#"{{"from":{t},"up_to":{next},"rate":1}}"#),
                })
                .collect();
            format!(
                r#"{{"quantity":"q{n}","model":"volume","tiers":[{}]}}"#,
                tiers.join(",")
            )
        })
        .collect();
    let json = only(&components.join(","));
    assert!(json.len() < CARD_BYTES_MAX, "{}", json.len());
    let card = RateCard::parse(&json).unwrap();
    assert_eq!(RateCard::parse(card.canonical_json()), Ok(card));

    let factors: Vec<String> = (0..FACTORS_MAX).map(|n| format!(r#""v{n}": {n}"#)).collect();
    let name = "x".repeat(TEXT_BYTES_MAX);
    let multiplier = format!(
        r#"{{"attribute": "{name}", "factors": {{{}}}}}"#,
        factors.join(",")
    );
    let card = RateCard::parse(&with(&format!(
        r#""multipliers": [{}]"#,
        vec![multiplier; MULTIPLIERS_MAX].join(",")
    )));
    assert_eq!(card.unwrap().multipliers().len(), MULTIPLIERS_MAX);
}

/// What is accepted can be stored and read: the limit holds for the canonical form too, where numbers are longer.
#[test]
fn a_card_that_is_too_long_in_its_canonical_form_is_refused() {
    let factors: Vec<String> = (0..FACTORS_MAX).map(|n| format!(r#""{n}":1e-28"#)).collect();
    let multiplier = format!(r#"{{"attribute":"a","factors":{{{}}}}}"#, factors.join(","));
    let one = r#"{"attribute":"b","factors":{"x":1}}"#;
    let sized = |count| {
        let multipliers = [vec![multiplier.as_str(); count], vec![one]].concat();
        let components: Vec<String> = (multipliers.iter())
            .enumerate()
            .map(|(n, m)| format!(r#"{{"quantity":"q{n}","model":"per_unit","rate":1,"multipliers":[{m}]}}"#))
            .collect();
        only(&components.join(","))
    };
    let card = RateCard::parse(&sized(3)).unwrap();
    assert_eq!(RateCard::parse(card.canonical_json()), Ok(card));
    let long = sized(4);
    assert!(long.len() < CARD_BYTES_MAX / 2);
    assert_eq!(refused(&long), ("$".into(), "TooLong".into()));
}

#[test]
fn a_card_can_be_read_by_whoever_shows_it() {
    let card = RateCard::parse(&around(
        r#"{"quantity": "q", "label": "数量", "model": "graduated", "per": "10.0", "estimate": {"cap": 5}, "tiers": [
            {"from": 0, "up_to": 7, "rate": 1, "fee": 2}, {"from": 7, "rate": 0.5}]}"#,
        r#", "rounding": "down", "minimum": 1, "hold_ttl_seconds": 90"#,
    ))
    .unwrap();
    let [component] = card.components() else {
        panic!("one component")
    };
    assert_eq!(component.title(), "数量");
    assert!(matches!(component.estimate, Estimate::Cap(_)));
    let Model::Graduated(tiers) = &component.model else {
        panic!("graduated")
    };
    assert_eq!(tiers[1].unit_price.to_string(), "0.05");
    assert_eq!(card.rounding(), Rounding::Down);
    assert_eq!(card.hold_ttl().map(|t| t.as_secs()), Some(90));
    assert_eq!(
        card.canonical_json(),
        concat!(
            r#"{"feature":"f","name":"n","components":[{"quantity":"q","label":"数量","model":"graduated","#,
            r#""tiers":[{"from":"0","up_to":"7","rate":"1","fee":"2"},{"from":"7","rate":"0.5"}],"#,
            r#""per":"10","estimate":{"cap":"5"}}],"minimum":"1","rounding":"down","hold_ttl_seconds":90}"#
        )
    );
}

#[test]
fn faults_say_what_to_do() {
    let text = |json: &str| RateCard::parse(json).unwrap_err().to_string();
    assert_eq!(
        text(&with(r#""minimun": 1"#)),
        "$.minimun: is no field here; there are: feature, name, components, multipliers, assume, minimum, maximum, \
         rounding, hold_ttl_seconds, retired"
    );
    assert_eq!(
        text(&tiers(
            r#"[{"from": 0, "up_to": 5, "rate": 1}, {"from": 6, "rate": 1}]"#
        )),
        "$.components[0].tiers[1].from: is 6, but the tier before ends at 5: what lies between has no rate. Say 5"
    );
    assert_eq!(
        text(&per_unit(r#""rate": 1, "per": 60"#)),
        "$.components[0].rate: 1 per 60 is no decimal with at most 28 digits; choose another unit, or the package model"
    );
    assert_eq!(
        text(&only(
            r#"{"model": "flat", "rate": "0.12345678901234567890123456789"}"#
        )),
        "$.components[0].rate: has 29 digits; 28 are possible, altogether and behind the point"
    );
    let error = RateCard::parse(&only(r#"{"model": "flat", "rate": -1}"#)).unwrap_err();
    assert!(matches!(error.fault, CardFault::OutOfRange { .. }));
}
