//! Why a command was refused. A refusal is data: it changes nothing and says what the caller should do.

use super::{OrderNo, OrderStatus, Status, Timestamp};
use alloc::{
    format,
    string::{String, ToString},
};
use uuid::Uuid;

/// The reasons a command can be refused for, in order of precedence: where several hold, the first is given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Malformed, or past a limit.
    #[error("{field}: {problem} ({})", bounds(limit, value))]
    Invalid {
        /// The argument at fault.
        field: &'static str,
        /// What is wrong and what to do.
        problem: &'static str,
        /// The limit it passes, or the form that is expected.
        limit: String,
        /// The value that was given.
        value: String,
    },
    /// The idempotency key was used before, for another request.
    #[error("idempotency key `{key}` was used for a different request; use a new key for a new request")]
    IdempotencyConflict {
        /// The key.
        key: String,
    },
    /// There is no such thing.
    #[error("no {what} {}", written(what, id))]
    NotFound {
        /// `consumption`, `lot` or `order`.
        what: &'static str,
        /// The id that was asked for.
        id: Uuid,
    },
    /// The consumption is not in a state that allows this.
    #[error("consumption {id} is {state}: {problem}")]
    InvalidState {
        /// The consumption.
        id: Uuid,
        /// The state it is in.
        state: Status,
        /// What can't be done, and what to do.
        problem: &'static str,
    },
    /// The order is not in a state that allows this.
    #[error("order {order_no} is {state}: {problem}")]
    InvalidOrder {
        /// The order.
        order_no: OrderNo,
        /// The state it is in.
        state: OrderStatus,
        /// What can't be done, and what to do.
        problem: &'static str,
    },
    /// The account has too many orders that wait for a payment.
    #[error(
        "{open} orders of this account wait for a payment, and {limit} may; pay or close one, or wait until its time is over"
    )]
    TooManyOrders {
        /// How many wait.
        open: usize,
        /// How many may ([`Rules::max_open_orders`](super::Rules::max_open_orders)).
        limit: u32,
    },
    /// A payment does not fit the order that it names.
    #[error(
        "the payment of order {order_no} {problem} (expected {expected}, got {value}); somebody has to look into it"
    )]
    WrongPayment {
        /// The order.
        order_no: OrderNo,
        /// What does not fit.
        problem: &'static str,
        /// What the order says.
        expected: String,
        /// What the payment says.
        value: String,
    },
    /// The hold's deadline has passed.
    #[error(
        "the hold {id} expired at {expired_at}; its credits are back. Consume again, or confirm with late=recharge"
    )]
    HoldExpired {
        /// The consumption.
        id: Uuid,
        /// Its deadline.
        expired_at: Timestamp,
    },
    /// More was asked for than is there.
    #[error("{required} credits are required and {available} are available; grant credits or ask for less")]
    Insufficient {
        /// What the command needs.
        required: i64,
        /// What the account can spend now, its credit limit included.
        available: i64,
    },
}

/// A number is a limit, and a form is what was expected. Some values are not shown at all.
fn bounds(limit: &str, value: &str) -> String {
    let is_number = limit.starts_with(|first: char| first.is_ascii_digit() || first == '-');
    let introduced = if is_number { "limit" } else { "expected" };
    match value {
        "" => format!("{introduced} {limit}"),
        value => format!("{introduced} {limit}, got {value}"),
    }
}

/// Orders are known by 32 digits without dashes.
fn written(what: &str, id: &Uuid) -> String {
    if what.ends_with("order") {
        OrderNo(*id).to_string()
    } else {
        id.to_string()
    }
}

impl Refusal {
    /// A stable word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid { .. } => "validation",
            Refusal::IdempotencyConflict { .. } => "idempotency_conflict",
            Refusal::NotFound { .. } => "not_found",
            Refusal::InvalidState { .. } | Refusal::InvalidOrder { .. } | Refusal::TooManyOrders { .. } => {
                "invalid_state"
            }
            Refusal::WrongPayment { .. } => "payment_verification",
            Refusal::HoldExpired { .. } => "hold_expired",
            Refusal::Insufficient { .. } => "insufficient_credits",
        }
    }
}
