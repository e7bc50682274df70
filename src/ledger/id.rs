//! Ids of lots and consumptions: UUID version 7 (RFC 9562, section 5.7), derived and not drawn.
//!
//! The rules have no randomness, so an id comes from what is unique already: the place in the account's journal
//! where it is made. The random bits of the format are filled as follows.
//!
//! | bits | content |
//! | --- | --- |
//! | `unix_ts_ms` (48) | the instant the thing is created |
//! | `rand_a` (12) | low bits of the entry's number, so that ids of one account sort in the order they were made |
//! | `rand_b`, first 16 | [`route`] of the account: who holds only a consumption's id can still find its committer |
//! | `rand_b`, last 46 | the hash of the entry before, which no other entry of any account shares, plus the index |

use super::{Hash, Timestamp};
use uuid::Uuid;

/// The id number `index` that the entry `seq` after the entry with hash `previous` makes for `user_id`.
pub(crate) fn derive(user_id: Uuid, seq: i64, previous: &Hash, index: u64, at: Timestamp) -> Uuid {
    let sequence = (seq as u64) & 0xFFF;
    // Ids of one entry sort in the order they were made: the hash depends on when the entry was written down, and the
    // order in which lots burn must not. 45 bits and an index that never fills the 46th.
    let unique = (previous.leading_u64() & ((1 << 45) - 1)) + index;
    let high = (millis(at) << 16) | 0x7000 | sequence;
    let low = (0b10 << 62) | (u64::from(route(user_id)) << 46) | unique;
    Uuid::from_u64_pair(high, low)
}

/// No id that is made at `at` or later is less.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
pub(crate) fn first_at(at: Timestamp) -> Uuid {
    Uuid::from_u64_pair(millis(at) << 16, 0)
}

fn millis(at: Timestamp) -> u64 {
    (at.as_micros().max(0) as u64 / 1_000) & 0xFFFF_FFFF_FFFF
}

/// Sixteen bits that say which committer an account belongs to.
#[must_use]
pub(crate) fn route(user_id: Uuid) -> u16 {
    let (high, low) = user_id.as_u64_pair();
    // Fibonacci hashing: v4 ids are random anyway, v7 ids and counters are spread by the multiplier.
    ((high ^ low.rotate_left(32)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16
}

/// The [`route`] of the account that a consumption belongs to, read from the consumption's id.
///
/// Any other id gives an arbitrary route: that costs a conflict at the most, never correctness.
#[cfg(any(feature = "engine", test))]
#[must_use]
pub(crate) fn route_of_consumption(consumption_id: Uuid) -> u16 {
    ((consumption_id.as_u64_pair().1 >> 46) & 0xFFFF) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_7_uuid_that_carries_its_account_s_route() {
        let user = Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef);
        let at = Timestamp::from_micros(1_790_000_000_123_456);
        let genesis = Hash::genesis(user);
        let first = derive(user, 1, &genesis, 0, at);
        assert_eq!(first.get_version_num(), 7);
        assert_eq!(first.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(first.as_u64_pair().0 >> 16, 1_790_000_000_123);
        assert_eq!(route_of_consumption(first), route(user));
        assert!(
            first < derive(user, 1, &genesis, 1, at),
            "ids of one entry sort in the order they were made"
        );
        assert!(
            first < derive(user, 2, &genesis, 0, at),
            "ids of one millisecond sort by entry"
        );
    }
}
