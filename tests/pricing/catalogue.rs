//! What a new ledger starts with.

use crate::{checks, d};
use jointo_credits::pricing::{Quantities, RateCard, quote, shipped};
use std::collections::BTreeSet;
use std::sync::Arc;

#[test]
fn the_packages_are_those_of_the_design() {
    let seen: Vec<_> = (shipped::PACKAGES.iter())
        .map(|p| {
            (
                p.name,
                p.price.to_string(),
                p.currency,
                p.credits,
                p.bonus_credits,
                p.recommended,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("入门套餐", "9.90".into(), "CNY", 100, 10, false),
            ("超值套餐", "49.90".into(), "CNY", 600, 100, true),
            ("专业套餐", "99.90".into(), "CNY", 1300, 300, false),
            ("企业套餐", "299.90".into(), "CNY", 4500, 1500, false),
        ]
    );
    assert_eq!(shipped::PACKAGES[0].description, "适合新手用户体验");
    assert!(shipped::PACKAGES.is_sorted_by_key(|p| p.sort_order));
}

#[test]
fn there_is_a_card_for_each_feature_of_the_design() {
    let cards = shipped::rate_cards().unwrap();
    let seen: Vec<_> = cards
        .iter()
        .map(|(_, card)| (card.feature(), card.name()))
        .collect();
    assert_eq!(
        seen,
        [
            ("image_generation", "图片生成"),
            ("video_generation", "视频生成"),
            ("text_processing", "文本处理"),
            ("audio_generation", "音频生成"),
            ("sound_effect_generation", "音效生成"),
            ("voiceover_generation", "配音生成"),
            ("subtitle_generation", "字幕生成"),
            ("asset_generation", "资源生成"),
            ("storyboard_generation", "分镜脚本生成"),
            ("screenplay_generation", "剧本生成"),
        ]
    );
    for (listed, (id, card)) in shipped::CARDS.iter().zip(&cards) {
        assert_eq!((listed.id, listed.feature), (*id, card.feature()));
        assert!(card.hold_ttl().is_some(), "{}", card.feature());
    }
}

#[test]
fn ids_are_distinct_uuids_of_version_7() {
    let ids = shipped::PACKAGES
        .iter()
        .map(|p| p.id)
        .chain(shipped::CARDS.iter().map(|c| c.id));
    let distinct: BTreeSet<_> = ids.clone().collect();
    assert_eq!(distinct.len(), ids.clone().count());
    assert!(ids.into_iter().all(|id| id.get_version_num() == 7));
}

/// What the cards of the catalogue charge for a typical job, so that nobody changes a price without noticing.
#[test]
fn typical_jobs() {
    let cards = shipped::rate_cards().unwrap();
    let find = |feature: &str| -> &Arc<RateCard> {
        &cards
            .iter()
            .find(|(_, card)| card.feature() == feature)
            .unwrap()
            .1
    };
    type Job = (
        &'static str,
        &'static [(&'static str, i64)],
        &'static [(&'static str, &'static str)],
        i64,
    );
    let jobs: [Job; 16] = [
        ("image_generation", &[("images", 1)], &[], 4),
        (
            "image_generation",
            &[("images", 4)],
            &[("resolution", "2048x2048"), ("quality", "hd")],
            72,
        ),
        (
            "image_generation",
            &[("images", 1)],
            &[("resolution", "512x512"), ("quality", "draft")],
            1,
        ),
        ("video_generation", &[("seconds", 5)], &[], 40),
        (
            "video_generation",
            &[("seconds", 10)],
            &[("quality", "1080p")],
            160,
        ),
        (
            "text_processing",
            &[("input_tokens", 1200), ("output_tokens", 800)],
            &[],
            1,
        ),
        (
            "text_processing",
            &[("input_tokens", 8000), ("output_tokens", 2000)],
            &[("model", "pro")],
            14,
        ),
        ("audio_generation", &[("seconds", 90)], &[], 26),
        ("sound_effect_generation", &[], &[("duration_class", "long")], 8),
        (
            "voiceover_generation",
            &[("characters", 101)],
            &[("voice", "premium")],
            4,
        ),
        (
            "subtitle_generation",
            &[("seconds", 61)],
            &[("task", "translate")],
            6,
        ),
        (
            "asset_generation",
            &[("assets", 3)],
            &[("kind", "character"), ("quality", "hd")],
            21,
        ),
        ("storyboard_generation", &[("panels", 12)], &[], 24),
        (
            "storyboard_generation",
            &[("panels", 12)],
            &[("images", "without")],
            12,
        ),
        ("screenplay_generation", &[("characters", 3000)], &[], 15),
        (
            "screenplay_generation",
            &[("characters", 1_000_000)],
            &[("model", "pro")],
            500,
        ),
    ];
    for (feature, quantities, attributes, credits) in jobs {
        let named: Vec<_> = quantities.iter().map(|(name, n)| (*name, (*n).into())).collect();
        let quote = quote(find(feature), Quantities::Named(&named), attributes).unwrap();
        checks::whole_quote(&quote);
        assert_eq!(quote.credits(), credits, "{quote}");
    }
}

#[test]
fn assumed_values_cost_no_more_and_no_less_than_given_ones() {
    for (_, card) in shipped::rate_cards().unwrap() {
        let named: Vec<_> = (card.components().iter())
            .filter_map(|c| c.quantity.as_deref())
            .map(|name| (name, d("7")))
            .collect();
        let assumed = quote(&card, Quantities::Named(&named), &[]).unwrap();
        let given: Vec<_> = assumed.attributes().collect();
        let given = quote(&card, Quantities::Named(&named), &given).unwrap();
        assert_eq!(given.lines(), assumed.lines(), "{}", card.feature());
    }
}
