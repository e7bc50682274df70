//! Each model against worked examples that pricing products publish: their numbers, our figures.
//!
//! Money is read as credits. A tier that they call "6 to 10" begins above 5 here: for whole units it is the same.

use crate::{card, card_with, exact};
use jointo_credits::pricing::RateCard;
use std::sync::Arc;

fn check(card: &Arc<RateCard>, attributes: &[(&str, &str)], table: &[(&str, &str)]) {
    for (quantity, expected) in table {
        assert_eq!(
            exact(card, quantity, attributes),
            *expected,
            "{quantity} units, {attributes:?}"
        );
    }
}

/// <https://docs.stripe.com/subscriptions/pricing-models/tiered-pricing>: fonts at 7, 6.5 and 6 USD, volume-based.
#[test]
fn stripe_volume() {
    let fonts = card(
        r#"{"quantity": "fonts", "model": "volume", "tiers": [
            {"from": 0, "up_to": 5, "rate": 7}, {"from": 5, "up_to": 10, "rate": 6.5}, {"from": 10, "rate": 6}]}"#,
    );
    check(
        &fonts,
        &[],
        &[("1", "7"), ("5", "35"), ("6", "39"), ("20", "120"), ("25", "150")],
    );
}

/// The same page, graduated: 5 fonts cost 35 USD as with volume, and each font above 5 costs its own tier's price.
#[test]
fn stripe_graduated() {
    let fonts = card(
        r#"{"quantity": "fonts", "model": "graduated", "tiers": [
            {"from": 0, "up_to": 5, "rate": 7}, {"from": 5, "up_to": 10, "rate": 6.5}, {"from": 10, "rate": 6}]}"#,
    );
    check(
        &fonts,
        &[],
        &[
            ("1", "7"),
            ("5", "35"),
            ("6", "41.5"),
            ("20", "127.5"),
            ("25", "157.5"),
        ],
    );
}

/// <https://docs.stripe.com/billing/subscriptions/usage-based/transform-quantities>: 10 USD for each started hour of a
/// rental that is reported in minutes; 150 minutes cost 30 USD. And, on
/// <https://stripe.com/docs/billing/subscriptions/quantity-transformation>, 10 USD for every 5 users or portion thereof.
#[test]
fn stripe_transform_quantity() {
    let rental = card(r#"{"quantity": "minutes", "model": "package", "rate": 10, "per": 60}"#);
    check(&rental, &[], &[("150", "30")]);
    let users = card(r#"{"quantity": "users", "model": "package", "rate": 10, "per": 5}"#);
    check(
        &users,
        &[],
        &[("1", "10"), ("3", "10"), ("5", "10"), ("6", "20"), ("7", "20")],
    );
}

/// <https://getlago.com/docs/guide/plans/charges/charge-models/graduated>: 1 USD for each of the first 100 calls, 0.5
/// for the next 100, 0.1 for any more.
#[test]
fn lago_graduated() {
    let calls = card(
        r#"{"quantity": "calls", "model": "graduated", "tiers": [
            {"from": 0, "up_to": 100, "rate": 1}, {"from": 100, "up_to": 200, "rate": "0.50"}, {"from": 200, "rate": 0.10}]}"#,
    );
    check(&calls, &[], &[("100", "100"), ("200", "150"), ("201", "150.1")]);
}

/// <https://getlago.com/docs/guide/plans/charges/charge-models/volume>: 65,000 calls cost 65,000 x 0.0006 + 10 = 49 USD.
#[test]
fn lago_volume_with_a_fee() {
    let calls = card(
        r#"{"quantity": "calls", "model": "volume", "tiers": [
            {"from": 0, "up_to": 10000, "rate": 0.0010, "fee": 10},
            {"from": 10000, "up_to": 50000, "rate": 0.0008, "fee": 10},
            {"from": 50000, "up_to": 100000, "rate": 0.0006, "fee": 10},
            {"from": 100000, "rate": 0.0004, "fee": 10}]}"#,
    );
    check(&calls, &[], &[("65000", "49")]);
}

/// <https://getlago.com/docs/guide/plans/charges/charge-models/package>: 5 USD per 100 units, the first 100 free: 201
/// units cost 0 + 5 + 5 = 10 USD.
#[test]
fn lago_package_with_free_units() {
    let calls =
        card(r#"{"quantity": "calls", "model": "package", "rate": 5, "per": 100, "free_units": 100}"#);
    check(
        &calls,
        &[],
        &[("100", "0"), ("101", "5"), ("200", "5"), ("201", "10")],
    );
}

/// <https://getlago.com/docs/guide/plans/charges/charges-with-filters>: 1 USD in Africa on AWS, 0.5 for every other
/// combination of region and provider.
#[test]
fn lago_filters_as_a_matrix() {
    let hours = card_with(
        r#"{"quantity": "hours", "model": "per_unit", "rate": 1}"#,
        r#""multipliers": [
            {"attributes": ["region", "provider"], "factors": {"africa": {"aws": 1}}, "if_unknown": 0.5}]"#,
    );
    check(
        &hours,
        &[("region", "africa"), ("provider", "aws")],
        &[("10", "10")],
    );
    check(
        &hours,
        &[("region", "africa"), ("provider", "gcp")],
        &[("10", "5")],
    );
    check(
        &hours,
        &[("region", "europe"), ("provider", "aws")],
        &[("10", "5")],
    );
}

/// <https://docs.withorb.com/product-catalog/price-configuration>: unit (0.50 for each call), tiered (0.50 for each of
/// the first ten, 0.10 for each after), bulk (0.50 up to ten, all at 0.40 above: 101 units make 40.40) and package
/// (in packages of 10, 4 units are billed as 10 and 11 as 20, here at 0.80).
#[test]
fn orb_unit_tiered_bulk_and_package() {
    let unit = card(r#"{"quantity": "calls", "model": "per_unit", "rate": "0.50"}"#);
    check(&unit, &[], &[("3", "1.5")]);
    let tiered = card(
        r#"{"quantity": "calls", "model": "graduated", "tiers": [
            {"from": 0, "up_to": 10, "rate": "0.50"}, {"from": 10, "rate": "0.10"}]}"#,
    );
    check(&tiered, &[], &[("10", "5"), ("11", "5.1")]);
    let bulk = card(
        r#"{"quantity": "calls", "model": "volume", "tiers": [
            {"from": 0, "up_to": 10, "rate": "0.50"}, {"from": 10, "rate": "0.40"}]}"#,
    );
    check(&bulk, &[], &[("10", "5"), ("101", "40.4")]);
    let package = card(r#"{"quantity": "calls", "model": "package", "rate": "0.80", "per": 10}"#);
    check(&package, &[], &[("4", "0.8"), ("10", "0.8"), ("11", "1.6")]);
}

/// <https://docs.useautumn.com/documentation/modelling-pricing/graduated-pricing>: 15,000 requests pay (1,000 x 0.01) +
/// (9,000 x 0.008) + (5,000 x 0.005) = 107 USD.
#[test]
fn autumn_graduated() {
    let requests = card(
        r#"{"quantity": "requests", "model": "graduated", "tiers": [
            {"from": 0, "up_to": 1000, "rate": 0.01}, {"from": 1000, "up_to": 10000, "rate": 0.008},
            {"from": 10000, "rate": 0.005}]}"#,
    );
    check(&requests, &[], &[("15000", "107")]);
}

/// <https://zuplo.com/docs/articles/monetization/pricing-models>: 100,000 calls at 0.001 are 100 USD; 15,000 units in
/// tiers of 0.10, 0.05 and 0.01 are 600 USD graduated and 150 USD by volume.
#[test]
fn zuplo_per_unit_graduated_and_volume() {
    let unit = card(r#"{"quantity": "calls", "model": "per_unit", "rate": 0.001}"#);
    check(&unit, &[], &[("100000", "100")]);
    let tiers = r#"[{"from": 0, "up_to": 1000, "rate": 0.10}, {"from": 1000, "up_to": 10000, "rate": 0.05},
                    {"from": 10000, "rate": 0.01}]"#;
    let tiered = |model| {
        card(&format!(
            r#"{{"quantity": "units", "model": "{model}", "tiers": {tiers}}}"#
        ))
    };
    check(&tiered("graduated"), &[], &[("15000", "600")]);
    check(&tiered("volume"), &[], &[("15000", "150")]);
}

/// <https://www.chargebee.com/docs/billing/2.0/product-catalog/package-pricing>: 1.25 USD per started million tokens.
#[test]
fn chargebee_package() {
    let tokens = card(r#"{"quantity": "tokens", "model": "package", "rate": 1.25, "per": 1000000}"#);
    check(
        &tokens,
        &[],
        &[("10", "1.25"), ("1000000", "1.25"), ("1500000", "2.5")],
    );
}

/// <https://lumenfall.ai/models/openai/dall-e-3>: what OpenAI charged for an image of DALL-E 3, by quality and size. No
/// product of two factors gives this table, so it takes a matrix.
#[test]
fn openai_images_as_a_matrix() {
    let images = card_with(
        r#"{"quantity": "images", "model": "per_unit", "rate": 1}"#,
        r#""multipliers": [{"attributes": ["quality", "size"], "factors": {
            "standard": {"1024x1024": 0.040, "1024x1792": 0.080, "1792x1024": 0.080},
            "hd":       {"1024x1024": 0.080, "1024x1792": 0.120, "1792x1024": 0.120}}}]"#,
    );
    for (quality, size, price) in [
        ("standard", "1024x1024", "0.04"),
        ("standard", "1024x1792", "0.08"),
        ("standard", "1792x1024", "0.08"),
        ("hd", "1024x1024", "0.08"),
        ("hd", "1024x1792", "0.12"),
        ("hd", "1792x1024", "0.12"),
    ] {
        check(&images, &[("quality", quality), ("size", size)], &[("1", price)]);
    }
}

/// <https://docs.oracle.com/en/industries/financial-services/banking-liquidity-management-cloud-service/14.7.4.0.0/oblug/examples-tier-based-amount.html>:
/// a count of 1,000 in slabs up to 250, 500 and beyond. Amounts per slab are fees: 10 + 20 + 30 = 60 in slabs, 30 where
/// only the slab that is reached counts. Amounts per unit: 250 + 500 + 1,500 = 2,250, and 3,000.
#[test]
fn oracle_slabs() {
    let slabs = |model, by_unit: bool| {
        let (rates, fees) = if by_unit {
            ([1, 2, 3], [0; 3])
        } else {
            ([0; 3], [10, 20, 30])
        };
        card(&format!(
            r#"{{"quantity": "count", "model": "{model}", "tiers": [
                {{"from": 0, "up_to": 250, "rate": {}, "fee": {}}},
                {{"from": 250, "up_to": 500, "rate": {}, "fee": {}}},
                {{"from": 500, "rate": {}, "fee": {}}}]}}"#,
            rates[0], fees[0], rates[1], fees[1], rates[2], fees[2]
        ))
    };
    check(&slabs("graduated", false), &[], &[("1000", "60")]);
    check(&slabs("volume", false), &[], &[("1000", "30")]);
    check(&slabs("graduated", true), &[], &[("1000", "2250")]);
    check(&slabs("volume", true), &[], &[("1000", "3000")]);
}
