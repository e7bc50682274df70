//! A balance with the time in which it is true.

#[cfg(feature = "redis")]
use crate::ledger::limits::{CREDITS_MAX, EXPIRING_LOTS_MAX};
use crate::ledger::{Balance, Expiring, State, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An account's balance from one deadline to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cached {
    /// Since when: the time at which deadlines were applied that nobody has written down yet.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    /// The next deadline: of a hold, or of a lot with something left.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(rename = "n")]
    seq: i64,
    /// Available, held, debt, credit limit, granted, spent.
    #[serde(rename = "b")]
    figures: [i64; 6],
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    expiring: Vec<(Timestamp, i64)>,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    expiring_more: bool,
}

impl Cached {
    /// The balance of a state with everything applied that is due; `None` where its next deadline is not known.
    pub(super) fn of(state: &State, balance: &Balance, from: Option<Timestamp>) -> Option<Self> {
        let account = &state.account;
        let lots = state.lots.values().filter(|lot| lot.remaining > 0);
        // Where not all lots are known, the account's bound stands for those that are not.
        let unknown = account.next_lot_deadline.filter(|_| state.lots_end.is_some());
        let until = lots
            .filter_map(|lot| lot.expires_at)
            .chain(unknown)
            .chain(account.next_hold_deadline)
            .min();
        if state.is_due_in_parts() || until.is_some_and(|until| until <= balance.at) {
            return None;
        }
        Some(Cached {
            from,
            until,
            seq: balance.seq,
            figures: [
                balance.available,
                balance.held,
                balance.debt,
                balance.credit_limit,
                balance.granted,
                balance.spent,
            ],
            expiring: balance
                .expiring
                .iter()
                .map(|part| (part.at, part.amount))
                .collect(),
            expiring_more: balance.expiring_more,
        })
    }

    /// Whether it can be what [`Cached::of`] made: what comes from Redis is what somebody put there.
    #[cfg(feature = "redis")]
    pub(super) fn is_possible(&self) -> bool {
        let times = self.from.iter().chain(&self.until);
        let mut times = times.chain(self.expiring.iter().map(|(at, _)| at));
        let figures = self
            .figures
            .iter()
            .chain(self.expiring.iter().map(|(_, amount)| amount));
        let in_range = |figure: &i64| figure.unsigned_abs() <= CREDITS_MAX.unsigned_abs();
        self.seq >= 0
            && times.all(|at| at.in_range())
            && self.expiring.len() <= EXPIRING_LOTS_MAX
            && figures.into_iter().all(in_range)
    }

    /// The balance at `now`, where it is still, or already, this one.
    pub(super) fn at(&self, user_id: Uuid, now: Timestamp) -> Option<Balance> {
        if self.from.is_some_and(|from| now < from) || self.until.is_some_and(|until| now >= until) {
            return None;
        }
        let [available, held, debt, credit_limit, granted, spent] = self.figures;
        let expiring = self.expiring.iter();
        Some(Balance {
            user_id,
            available,
            held,
            debt,
            credit_limit,
            granted,
            spent,
            expiring: expiring
                .map(|(at, amount)| Expiring {
                    at: *at,
                    amount: *amount,
                })
                .collect(),
            expiring_more: self.expiring_more,
            seq: self.seq,
            at: now,
        })
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_have_put_is_not_told() {
        let read = |json: &str| serde_json::from_str::<Cached>(json).unwrap().is_possible();
        assert!(read(
            r#"{"n": 3, "b": [-5, 0, 5, 10, 0, 0], "e": [[1800000000000000, 5]]}"#
        ));
        for json in [
            r#"{"n": -1, "b": [0, 0, 0, 0, 0, 0]}"#,
            r#"{"n": 3, "b": [9007199254740992, 0, 0, 0, 0, 0]}"#,
            r#"{"n": 3, "b": [0, 0, 0, 0, 0, 0], "e": [[9223372036854775807, 5]]}"#,
            r#"{"n": 3, "b": [0, 0, 0, 0, 0, 0], "e": [[-9223372036854775808, 5]]}"#,
            r#"{"n": 3, "b": [0, 0, 0, 0, 0, 0], "e": [[1800000000000000, -9223372036854775808]]}"#,
            r#"{"n": 3, "b": [0, 0, 0, 0, 0, 0], "f": 9223372036854775807}"#,
            r#"{"n": 3, "b": [0, 0, 0, 0, 0, 0], "u": 0}"#,
        ] {
            assert!(!read(json), "{json}");
        }
    }
}
