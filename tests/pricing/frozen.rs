//! A quote that is kept in a hold and read back.

use crate::{card, card_with, d};
use jointo_credits::Timestamp;
use jointo_credits::pricing::{
    CardFault, CardText, CardVersion, FrozenError, PricingRef, Quantities, Quote, RateCard, limits, quote,
};
use std::sync::Arc;
use uuid::Uuid;

const PRICING: PricingRef = PricingRef {
    pricing_id: Uuid::from_u128(0x019a_a9c0_0000_7000_8000_0000_0000_0001),
    version: 7,
};

fn held() -> Quote {
    let version = CardVersion {
        pricing: PRICING,
        account: None,
        effective_from: Timestamp::MIN,
        effective_until: None,
        card: card_with(
            r#"{"quantity": "in", "model": "per_unit", "rate": "0.2", "per": 1000},
               {"quantity": "out", "model": "per_unit", "rate": "0.6", "per": 1000, "estimate": {"cap": 4000}}"#,
            r#""multipliers": [{"attribute": "model", "factors": {"pro": 2, "lite": 1}},
                               {"attribute": "tier", "factors": {"a": 1}}], "assume": {"tier": "a"}"#,
        ),
    };
    version
        .quote(Quantities::Named(&[("in", d("1200.50"))]), &[("model", "pro")])
        .unwrap()
}

#[test]
fn the_form_is_stable() {
    let quote = held();
    assert_eq!(
        quote.to_json(CardText::Omitted),
        concat!(
            r#"{"format":1,"pricing_id":"019aa9c0-0000-7000-8000-000000000001","version":7,"#,
            r#""card_sha256":"9649235ac86ab386673d240b684fcf717c7ef0c82f2425c6c406d289690844a3","#,
            r#""quantities":{"in":{"given":"1200.5"},"out":{"cap":"4000"}},"attributes":{"model":"pro"},"#,
            r#""exact":"5.2802","credits":6}"#
        )
    );
    let with_card = quote.to_json(CardText::Included);
    assert!(with_card.contains(&format!(r#""card":{},"#, quote.card().canonical_json())));
}

#[test]
fn it_comes_back_as_it_was_with_its_card_or_with_the_one_that_is_found() {
    let quote = held();
    let inline = Quote::from_json(&quote.to_json(CardText::Included), |_| {
        panic!("the card is there")
    });
    assert_eq!(inline.as_ref(), Ok(&quote));
    let found = Quote::from_json(&quote.to_json(CardText::Omitted), |pricing| {
        assert_eq!(pricing, PRICING);
        Some(Arc::clone(quote.card()))
    })
    .unwrap();
    assert_eq!(found, quote);
    assert_eq!(
        found
            .reprice(Quantities::Named(&[("out", d("9999"))]))
            .unwrap()
            .to_json(CardText::Omitted),
        quote
            .reprice(Quantities::Named(&[("out", d("9999"))]))
            .unwrap()
            .to_json(CardText::Omitted),
    );
}

#[test]
fn a_corrected_quote_can_be_frozen_too_and_keeps_its_cap() {
    let corrected = held().reprice(Quantities::Named(&[("out", d("9999"))])).unwrap();
    let json = corrected.to_json(CardText::Included);
    assert!(json.contains(r#""out":{"capped":"9999"}"#), "{json}");
    assert_eq!(Quote::from_json(&json, |_| None), Ok(corrected));
}

#[test]
fn another_card_is_refused() {
    let quote = held();
    let frozen = quote.to_json(CardText::Omitted);
    assert_eq!(
        Quote::from_json(&frozen, |_| None),
        Err(FrozenError::CardNotFound {
            pricing: Some(PRICING)
        })
    );
    let cheaper = quote
        .card()
        .canonical_json()
        .replace(r#""rate":"0.6""#, r#""rate":"0.5""#);
    let cheaper = Arc::new(RateCard::parse(&cheaper).unwrap());
    assert_eq!(
        Quote::from_json(&frozen, |_| Some(cheaper)),
        Err(FrozenError::AnotherCard {
            pricing: Some(PRICING)
        })
    );
    // A quote of a card that was never stored has to carry it.
    let unstored = crate::priced(&card(r#"{"model": "flat", "rate": 3}"#), "1", &[]);
    assert_eq!(
        Quote::from_json(&unstored.to_json(CardText::Omitted), |_| panic!("it has no name")),
        Err(FrozenError::CardNotFound { pricing: None })
    );
}

#[test]
fn a_changed_one_is_refused() {
    let frozen = held().to_json(CardText::Included);
    let changed = |from: &str, to: &str| {
        let json = frozen.replacen(from, to, 1);
        assert_ne!(json, frozen, "{from} is not there");
        Quote::from_json(&json, |_| None).unwrap_err()
    };
    for (from, to) in [
        (r#""exact":"5.2802""#, r#""exact":"5.2803""#),
        (r#""credits":6"#, r#""credits":5"#),
        (r#""given":"1200.5""#, r#""given":"1200""#),
        (
            r#""attributes":{"model":"pro"}"#,
            r#""attributes":{"model":"lite"}"#,
        ),
    ] {
        assert!(
            matches!(changed(from, to), FrozenError::AnotherPrice { .. }),
            "{to}"
        );
    }
    assert!(matches!(
        changed(r#""rate":"0.6""#, r#""rate":"0.5""#),
        FrozenError::AnotherCard { .. }
    ));
    assert!(matches!(
        changed(
            r#""attributes":{"model":"pro"}"#,
            r#""attributes":{"model":"max"}"#
        ),
        FrozenError::Quote(_)
    ));
    assert_eq!(
        changed(r#""format":1"#, r#""format":2"#),
        FrozenError::UnknownFormat { found: d("2") }
    );
    for (from, to, path) in [
        (r#""version":7"#, r#""version":7.5"#, "$.version"),
        (r#""version":7"#, r#""version":-7"#, "$.version"),
        (r#""version":7,"#, "", "$.version"),
        (
            r#""out":{"cap":"4000"}"#,
            r#""out":{"cap":"4000","given":"1"}"#,
            "$.quantities.out",
        ),
        (r#""out":{"cap":"4000"}"#, r#""out":{}"#, "$.quantities.out"),
        (
            r#""out":{"cap":"4000"}"#,
            r#""out":{"cap":"-1"}"#,
            "$.quantities.out.cap",
        ),
        (r#","out":{"cap":"4000"}"#, "", "$.quantities.out"),
        (
            r#""pricing_id":"019aa9c0"#,
            r#""pricing_id":"x19aa9c0"#,
            "$.pricing_id",
        ),
        (r#""credits":6"#, r#""credits":6,"credits":6"#, "$.credits"),
        (r#""credits":6"#, r#""cedits":6"#, "$.cedits"),
    ] {
        match changed(from, to) {
            FrozenError::Malformed(error) => assert_eq!(error.path, path, "{to}"),
            other => panic!("{to}: {other}"),
        }
    }
    match Quote::from_json("{", |_| None) {
        Err(FrozenError::Malformed(error)) => assert!(matches!(error.fault, CardFault::NotJson { .. })),
        other => panic!("{other:?}"),
    }
}

/// The longest frozen quote there can be is still read.
#[test]
fn the_limit_of_a_frozen_quote_is_never_in_the_way() {
    let attributes: Vec<String> = (0..8).flat_map(|m| [format!("a{m}"), format!("b{m}")]).collect();
    let multipliers: Vec<String> = (attributes.chunks(2))
        .map(|pair| {
            format!(
                r#"{{"attributes": ["{}", "{}"], "factors": {{"x": {{"x": 1}}}}, "if_unknown": 1}}"#,
                pair[0], pair[1]
            )
        })
        .collect();
    let card = card_with(
        r#"{"model": "flat", "rate": 1}"#,
        &format!(r#""multipliers": [{}]"#, multipliers.join(",")),
    );
    let value = "\u{1}".repeat(limits::TEXT_BYTES_MAX);
    let given: Vec<(&str, &str)> = attributes
        .iter()
        .map(|name| (name.as_str(), value.as_str()))
        .collect();
    let quote = quote(&card, 1, &given).unwrap();
    let json = quote.to_json(CardText::Included);
    assert_eq!(Quote::from_json(&json, |_| None), Ok(quote));
    // An attribute takes no more than this, and a card has no more than two for each of its multipliers.
    let each = json.len() / given.len();
    let most = 2 * limits::MULTIPLIERS_MAX * (limits::COMPONENTS_MAX + 1) * each;
    assert!(most + limits::CARD_BYTES_MAX < limits::FROZEN_BYTES_MAX, "{most}");
}

#[test]
fn equal_cards_make_equal_quotes_however_they_were_written() {
    let a = card(r#"{"quantity": "n", "model": "per_unit", "rate": 0.20, "per": 1e3}"#);
    let b = card(r#"{"per": "1000", "model": "per_unit", "rate": "0.2", "quantity": "n", "free_units": 0}"#);
    assert_eq!(a.hash(), b.hash());
    let price = |card| quote(card, 5, &[]).unwrap().to_json(CardText::Included);
    assert_eq!(price(&a), price(&b));
}
