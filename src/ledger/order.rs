//! Orders: a package that somebody buys through a payment channel, as far as the books are concerned.
//!
//! ```text
//!             begin            paid                     refund asked for
//!  created ──────────> paying ──────> paid ───────────────> refunding ──────> refunded
//!     │  │               │  │          ^ ^                    │   │
//!     │  └───────────────┼──┘ paid     │ └── refund failed ───┘   └─ a part ─> partially_refunded ─> refunding
//!     │     close        │             │
//!     └────> closed <────┘ ── paid late ┘  (or ──> refunding, as `late_payment` says)
//! ```
//!
//! # How orders can go wrong, and what stands against it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | a payment is settled twice | an order is settled by the command that finds it unsettled, in the same write as its lots |
//! | one payment settles two orders | a payment is claimed, in the same write; the claim names the order ([`State::claims`](super::State::claims)) |
//! | a payment is lost | whatever state it finds, a payment leads to lots or to a refund; a second transaction is an error that names both |
//! | a wrong amount buys a package | amount and currency are the order's, or the payment is refused |
//! | the package changes while somebody pays | price, credits and purchase limit are the order's own |
//! | several closed orders are paid late, past a purchase limit | paid late, an order needs its place anew; where there is none, the money goes back |
//! | credits are spent while their money goes back | they are taken back before the channel is asked for the refund |
//! | the channel refuses the refund | the credits come back; a later refund takes them again |
//! | a refund is made twice | each has its number, which is the channel's idempotency key |

use super::words::words;
use super::{Money, Timestamp};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of an order: 32 hexadecimal digits, which fits every channel's alphabet. A UUID, version 7, whose random
/// bits nobody can guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNo(pub Uuid);

impl fmt::Display for OrderNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(self.0.as_simple(), f)
    }
}

impl fmt::Debug for OrderNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no order number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order number has 32 hexadecimal digits")]
pub struct ParseOrderNoError;

impl FromStr for OrderNo {
    type Err = ParseOrderNoError;

    /// Exactly as it is written: channels send numbers back as they got them.
    fn from_str(text: &str) -> Result<Self, ParseOrderNoError> {
        let number = Uuid::try_parse(text)
            .map(OrderNo)
            .map_err(|_| ParseOrderNoError)?;
        if number.to_string() == text {
            Ok(number)
        } else {
            Err(ParseOrderNoError)
        }
    }
}

impl Serialize for OrderNo {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderNo {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

words! {
    /// How an order stands.
    OrderStatus {
        /// Written down; no channel knows of it.
        Created = "created",
        /// The channel was told, or is about to be.
        Paying = "paying",
        /// Paid, and the credits are granted.
        Paid = "paid",
        /// Not paid in time, or given up.
        Closed = "closed",
        /// Some of its money is on its way back.
        Refunding = "refunding",
        /// All of its money is back.
        Refunded = "refunded",
        /// A part of its money is back, and no other part is on its way.
        PartiallyRefunded = "partially_refunded",
    }
}

impl OrderStatus {
    /// Whether it waits for the channel: for a payment, or for a refund.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(
            self,
            OrderStatus::Created | OrderStatus::Paying | OrderStatus::Refunding
        )
    }
}

words! {
    /// How the refund of an order, or of a part of it, stands.
    RefundStatus {
        /// The channel was asked, or is about to be.
        Pending = "pending",
        /// The channel has the payer's money back where it came from.
        Succeeded = "succeeded",
        /// The channel won't do it; the credits are back.
        Failed = "failed",
    }
}

/// Credits that a refund took back of one of the order's lots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// The lot.
    pub lot_id: Uuid,
    /// Credits taken, out of the lot or of those that came of it.
    pub taken: i64,
    /// Credits that were gone, and are taken when they come back to the lot.
    #[serde(default, skip_serializing_if = "super::account::is_zero")]
    pub forgiven: i64,
    /// Credits that were gone, and were booked as debt.
    #[serde(default, skip_serializing_if = "super::account::is_zero")]
    pub debt: i64,
}

/// One refund of an order: of all its money or of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRefund {
    /// 1, 2, 3 ... within its order.
    pub number: u32,
    /// Money that goes back, in minor units.
    pub minor: i64,
    /// How it stands.
    pub status: RefundStatus,
    /// What was taken back for it.
    pub lots: Vec<TakenBack>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The channel's own name for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<String>,
    /// What the channel has to say, where it did not just succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it was asked for.
    #[serde(rename = "created_at_us")]
    pub created_at: Timestamp,
    /// When it succeeded or failed.
    #[serde(default, rename = "settled_at_us", skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
}

impl OrderRefund {
    /// The number that the channel gets, so that repeating the request is safe: letters and digits, 34 at the most.
    #[must_use]
    pub fn refund_no(&self, order_no: OrderNo) -> String {
        format!("{order_no}R{}", self.number)
    }

    /// Credits that could not be taken back: forgiven, or booked as debt.
    #[must_use]
    pub fn shortfall(&self) -> i64 {
        self.lots.iter().map(|lot| lot.forgiven + lot.debt).sum()
    }
}

/// The part of an order that changes during its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderState {
    /// How it stands.
    pub status: OrderStatus,
    /// The channel's own name for the payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// When it was paid, as the channel says.
    #[serde(default, rename = "paid_at_us", skip_serializing_if = "Option::is_none")]
    pub paid_at: Option<Timestamp>,
    /// When it was closed, if it ever was.
    #[serde(default, rename = "closed_at_us", skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// The lot of the credits that were paid for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lot_id: Option<Uuid>,
    /// The lot of the credits on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bonus_lot_id: Option<Uuid>,
    /// Its refunds, in order of their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<OrderRefund>,
}

/// A purchase of a package. What it costs and brings is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub order_no: OrderNo,
    /// Who gets the credits.
    pub user_id: Uuid,
    /// The name of the payment channel.
    pub channel: String,
    /// What was bought,
    pub package_id: Uuid,
    /// and in which version.
    pub package_version: u32,
    /// The package's name: what the payer sees.
    pub subject: String,
    /// What it costs.
    pub price: Money,
    /// Credits that are paid for.
    pub credits: i64,
    /// Credits on top.
    pub bonus_credits: i64,
    /// How long these live, from the day they are granted on; for ever where `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity_days: Option<u32>,
    /// How many such packages the account may have; any number where `None`. Orders made before it was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase_limit: Option<u32>,
    /// When it was made.
    #[serde(rename = "created_at_us")]
    pub created_at: Timestamp,
    /// Until when it should be paid.
    #[serde(rename = "expires_at_us")]
    pub expires_at: Timestamp,
    /// What changes.
    pub state: OrderState,
}

impl Order {
    /// Whether the other one differs in nothing but its state.
    pub(super) fn is_same_as(&self, other: &Order) -> bool {
        let with_other_state = Order {
            state: other.state.clone(),
            ..self.clone()
        };
        with_other_state == *other
    }

    /// Whether it waits for a payment, and its time is not over.
    pub(crate) fn can_be_paid(&self, now: Timestamp) -> bool {
        matches!(self.state.status, OrderStatus::Created | OrderStatus::Paying) && now < self.expires_at
    }

    /// Whether somebody can still pay it, or has.
    pub(super) fn counts(&self, now: Timestamp) -> bool {
        match self.state.status {
            OrderStatus::Created | OrderStatus::Paying => self.can_be_paid(now),
            OrderStatus::Closed | OrderStatus::Refunded => false,
            OrderStatus::Paid | OrderStatus::Refunding | OrderStatus::PartiallyRefunded => true,
        }
    }

    /// The purchase limit, where it is for a payment at `now` to keep: the order was not paid, and has not counted since it
    /// was closed or its time was over.
    pub(crate) fn limit_when_late(&self, now: Timestamp) -> Option<u32> {
        let is_unpaid = self.state.transaction_id.is_none();
        self.purchase_limit.filter(|_| is_unpaid && !self.counts(now))
    }

    /// Money that is on its way back or is back, in minor units.
    #[must_use]
    pub fn refunded(&self) -> i64 {
        let refunds = self.state.refunds.iter();
        refunds
            .filter(|refund| refund.status != RefundStatus::Failed)
            .map(|refund| refund.minor)
            .sum()
    }

    /// The refund of this number, as [`OrderRefund::refund_no`] spells it.
    #[must_use]
    pub fn refund(&self, refund_no: &str) -> Option<&OrderRefund> {
        let number = refund_no
            .strip_prefix(&self.order_no.to_string())?
            .strip_prefix('R')?;
        let refunds = self.state.refunds.iter();
        refunds
            .into_iter()
            .find(|refund| refund.number.to_string() == number)
    }
}
