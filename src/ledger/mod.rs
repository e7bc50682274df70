//! The ledger's rules: pure functions from what the books say to what is written next.
//!
//! ```text
//! decide(state, command, now, rules) -> entries and an outcome | a refusal
//! apply(state, entry)                -> the next state
//! ```
//!
//! Nothing here does I/O, waits, reads a clock, draws a random number or knows SQL: time comes in as an argument and
//! ids are derived (`id.rs`). Without the crate's features this module is all there is of it, built `no_std`.
//!
//! # How the rules can be broken, and what stands against it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | credits made or lost | figures change only through [`Effects`], one small set of primitives that `decide` and [`apply`] share; each entry's changes and its counter-account sum to zero |
//! | spent twice | `consume` takes the credits out of their lots in the same entry that makes the hold |
//! | a deadline that depends on when somebody looks | every command first applies what is due, in order of deadline, at the deadlines and not at `now` |
//! | credits that outlive their lot | what comes back to an expired lot expires with it or moves to a lot with a grace period |
//! | an entry of megabytes, of a grant that pays for thousands of holds | it is continued: entries of its kind follow it (`Draft::close`) |
//! | overflow | each figure is checked against 2^53 - 1 before anything is recorded |
//! | money paid and no credits, or credits twice | an order's settlement is one decision with the grants of its lots (`order.rs`) |
//! | a refusal that changes something | `decide` works on a draft; a refusal drops it |

mod account;
mod apply;
mod check;
mod checkpoint;
mod command;
mod decide;
pub(crate) mod id;
mod journal;
pub mod limits;
mod order;
mod outcome;
mod refusal;
mod time;
mod words;

#[cfg(feature = "engine")]
pub(crate) use account::{AFTER_EVERY_LOT, BEFORE_EVERY_LOT};
pub use account::{Account, BurnOrder, Hold, HoldState, Lot, Money, Pin, State};
pub use apply::{Inconsistent, apply};
#[cfg(feature = "engine")]
pub(crate) use check::{is_invisible, ttl as check_ttl};
pub use checkpoint::{Checkpoint, OpenLot, Witness, Witnessed};
pub use command::{
    Action, Adjust, Clawback, Command, Confirm, Consume, Extend, Gift, Grant, Late, Metadata, OpenOrder,
    OrderCommand, OrderPayment, OrderRefundRequest, OrderStep, Overage, Priced, Refund, RefundNote,
    SetCreditLimit, Shortfall, Target,
};
pub use decide::{Decision, Undecided, decide, decide_on_part, mature, mature_loaded};
pub use journal::{Effects, Entry, Hash, LotChange};
pub use order::{
    Order, OrderNo, OrderRefund, OrderState, OrderStatus, ParseOrderNoError, RefundStatus, TakenBack,
};
pub use outcome::{Balance, ClawbackReceipt, Consumption, Expiring, Matured, Outcome, Prior, Receipt};
pub use refusal::Refusal;
pub use time::{ParseTimestampError, Timestamp};
#[cfg(feature = "engine")]
pub(crate) use words::words;
pub use words::{Kind, Source, Status};

use core::time::Duration;

/// What happens to credits of a hold that is released after their lot's expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnLotExpiredWhileHeld {
    /// They expire at that moment.
    #[default]
    Expire,
    /// They live on for [`Rules::release_grace`].
    Grace,
}

impl OnLotExpiredWhileHeld {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            OnLotExpiredWhileHeld::Expire => "expire",
            OnLotExpiredWhileHeld::Grace => "grace",
        }
    }
}

/// What becomes of a payment that arrives when its order is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatePayment {
    /// The order is settled after all.
    #[default]
    Settle,
    /// The money goes back.
    Refund,
}

impl LatePayment {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            LatePayment::Settle => "settle",
            LatePayment::Refund => "refund",
        }
    }
}

/// The choices that a ledger's settings make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// How long a hold lives where the caller does not say.
    pub hold_ttl: Duration,
    /// What happens to credits of a hold that is released after their lot's expiry.
    pub on_lot_expired_while_held: OnLotExpiredWhileHeld,
    /// How long such credits live with [`OnLotExpiredWhileHeld::Grace`].
    pub release_grace: Duration,
    /// How long reversed credits live whose lot has expired.
    pub reversal_grace: Duration,
    /// How long an order can be paid.
    pub order_ttl: Duration,
    /// What becomes of a payment that arrives when its order is closed.
    pub late_payment: LatePayment,
    /// How many orders of an account may wait for a payment at once.
    pub max_open_orders: u32,
    /// How many holds whose borrowed credits are paid one entry tells of: [`limits::ENTRY_ROOM`]. No answer depends on it.
    pub entry_room: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            hold_ttl: Duration::from_secs(3600),
            on_lot_expired_while_held: OnLotExpiredWhileHeld::Expire,
            release_grace: Duration::from_secs(7 * 24 * 3600),
            reversal_grace: Duration::from_secs(30 * 24 * 3600),
            order_ttl: Duration::from_secs(30 * 60),
            late_payment: LatePayment::Settle,
            max_open_orders: 20,
            entry_room: limits::ENTRY_ROOM,
        }
    }
}
