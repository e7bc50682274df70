//! Which version prices at an instant.

use crate::card;
use jointo_credits::Timestamp;
use jointo_credits::pricing::{CardVersion, InForce, PricingRef, in_force};
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(0xA);
const BOB: Uuid = Uuid::from_u128(0xB);

fn at(day: i64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000 + day * 86_400_000_000)
}

fn version(number: u32, account: Option<Uuid>, from: i64, until: Option<i64>) -> CardVersion {
    CardVersion {
        pricing: PricingRef {
            pricing_id: Uuid::from_u128(number.into()),
            version: number,
        },
        account,
        effective_from: at(from),
        effective_until: until.map(at),
        card: card(&format!(r#"{{"model": "flat", "rate": {number}}}"#)),
    }
}

fn number(answer: InForce<'_>) -> u32 {
    answer.version.map_or(0, |v| v.pricing.version)
}

#[test]
fn the_version_that_began_last_counts_and_a_future_one_waits() {
    let versions = [
        version(3, None, 30, None),
        version(1, None, 10, None),
        version(2, None, 20, None),
    ];
    for (day, expected, until) in [
        (9, 0, Some(10)),
        (10, 1, Some(20)),
        (19, 1, Some(20)),
        (20, 2, Some(30)),
        (99, 3, None),
    ] {
        let answer = in_force(&versions, None, at(day));
        assert_eq!(
            (number(answer), answer.until),
            (expected, until.map(at)),
            "day {day}"
        );
    }
    let before = Timestamp::from_micros(at(20).as_micros() - 1);
    assert_eq!(number(in_force(&versions, None, before)), 1);
    assert_eq!(
        in_force(&[], None, at(0)),
        InForce {
            version: None,
            until: None
        }
    );
}

#[test]
fn of_two_that_began_at_one_instant_the_later_version_counts() {
    let versions = [version(5, None, 10, None), version(4, None, 10, None)];
    assert_eq!(number(in_force(&versions, None, at(10))), 5);
}

#[test]
fn an_account_s_own_card_wins_while_it_runs() {
    let versions = [
        version(1, None, 0, None),
        version(2, Some(ALICE), 10, Some(20)),
        version(3, None, 12, None), // newer, and still behind alice's own
        version(4, Some(BOB), 5, None),
    ];
    for (day, alice, until) in [
        (9, 1, Some(10)),
        (10, 2, Some(12)),
        (19, 2, Some(20)),
        (20, 3, None),
    ] {
        let answer = in_force(&versions, Some(ALICE), at(day));
        assert_eq!(
            (number(answer), answer.until),
            (alice, until.map(at)),
            "day {day}"
        );
    }
    assert_eq!(number(in_force(&versions, Some(BOB), at(99))), 4);
    assert_eq!(number(in_force(&versions, None, at(19))), 3);
    assert_eq!(number(in_force(&versions, Some(Uuid::from_u128(0xC)), at(19))), 3);
}

#[test]
fn when_a_passing_override_ends_the_lasting_one_counts_again() {
    let versions = [
        version(1, None, 0, None),
        version(2, Some(ALICE), 10, None),
        version(3, Some(ALICE), 20, Some(30)),
    ];
    let seen: Vec<u32> = [0, 10, 20, 29, 30]
        .map(|day| number(in_force(&versions, Some(ALICE), at(day))))
        .into();
    assert_eq!(seen, [1, 2, 3, 3, 2]);
}

/// The answer is the same at every instant up to `until`: what a cache relies on.
#[test]
fn the_answer_holds_until_the_instant_it_names() {
    let versions: Vec<CardVersion> = (1..40)
        .map(|n| {
            let from = i64::from(n * 7 % 31);
            let account = [None, Some(ALICE), Some(BOB)][n as usize % 3];
            version(n, account, from, (n % 4 == 0).then_some(from + i64::from(n % 9)))
        })
        .collect();
    for account in [None, Some(ALICE), Some(BOB)] {
        for day in -1..50 {
            let answer = in_force(&versions, account, at(day));
            let last = answer.until.map_or(60, |until| {
                (until.as_micros() - at(0).as_micros()) / 86_400_000_000
            });
            assert!(last > day);
            for later in day..last {
                assert_eq!(
                    in_force(&versions, account, at(later)).version,
                    answer.version,
                    "{day} {later}"
                );
            }
        }
    }
}

#[test]
fn a_quote_names_its_version_and_keeps_its_card_when_another_is_in_force() {
    let old = version(1, None, 0, None);
    let new = version(2, None, 10, None);
    let held = old.quote(1, &[]).unwrap();
    assert_eq!(held.pricing(), Some(old.pricing));
    assert!(held.to_string().starts_with("F (f), version 1\n"));
    let versions = [old, new];
    let now = in_force(&versions, None, at(10)).version.unwrap();
    assert_eq!(now.quote(1, &[]).unwrap().credits(), 2);
    let confirmed = held.reprice(1).unwrap();
    assert_eq!((confirmed.credits(), confirmed.pricing()), (1, held.pricing()));
}
