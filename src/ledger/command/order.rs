//! What can be asked for of an order.

use super::Shortfall;
use crate::ledger::check::{amount, instant, invalid, money, price, reference, required, transaction_id};
use crate::ledger::journal::Canonical;
use crate::ledger::limits::*;
use crate::ledger::{Money, OrderNo, RefundStatus, Refusal, Timestamp};
use alloc::string::String;
use uuid::Uuid;

/// A step in the life of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderCommand {
    /// Whose order.
    pub user_id: Uuid,
    /// Its number.
    pub order_no: OrderNo,
    /// The step.
    pub step: OrderStep,
}

/// What can happen to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderStep {
    /// It is made.
    Open(OpenOrder),
    /// The channel is about to be told.
    Begin,
    /// The channel vouches for a payment.
    Settle(OrderPayment),
    /// Nobody can pay it any more.
    Close {
        /// Whether the channel says so: it need not be asked where it was never told of the order.
        channel_agrees: bool,
    },
    /// Money is to go back.
    Refund(OrderRefundRequest),
    /// The channel says how a refund stands.
    NoteRefund(RefundNote),
}

/// A package that somebody wants to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOrder {
    /// The name of the payment channel: 1 to 32 lower-case letters, digits and underscores.
    pub channel: String,
    /// What is bought,
    pub package_id: Uuid,
    /// and in which version.
    pub package_version: u32,
    /// What the payer sees.
    pub subject: String,
    /// What it costs.
    pub price: Money,
    /// Credits that are paid for.
    pub credits: i64,
    /// Credits on top; 0 for none.
    pub bonus_credits: i64,
    /// How long these live; for ever where `None`.
    pub validity_days: Option<u32>,
    /// How many such packages an account may have; any number where `None`.
    pub purchase_limit: Option<u32>,
}

/// A payment that a channel vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPayment {
    /// The channel's own name for it.
    pub transaction_id: String,
    /// How much.
    pub amount: Money,
    /// When, as the channel says.
    pub paid_at: Option<Timestamp>,
}

/// Money of an order that is to go back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderRefundRequest {
    /// How much, in minor units; all that has not gone back yet where `None`.
    pub minor: Option<i64>,
    /// What about credits that are no longer there.
    pub shortfall: Shortfall,
    /// Why.
    pub reason: Option<String>,
    /// Who asks for it.
    pub operator: Option<String>,
}

/// What a channel says of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundNote {
    /// The refund's number within its order.
    pub number: u32,
    /// How it stands.
    pub status: RefundStatus,
    /// The channel's own name for it.
    pub channel_id: Option<String>,
    /// What stands in its way.
    pub problem: Option<String>,
}

impl OrderStep {
    pub(super) fn validate(&self) -> Result<(), Refusal> {
        match self {
            OrderStep::Open(c) => {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                if !(1..=CHANNEL_BYTES_MAX).contains(&c.channel.len()) || !c.channel.bytes().all(plain) {
                    let limit = "1 to 32 lower-case letters, digits and underscores";
                    return Err(invalid("channel", "is no plain name", limit, c.channel.len()));
                }
                required("subject", &c.subject)?;
                money("price", &c.price)?;
                amount("credits", c.credits)?;
                price("bonus_credits", c.bonus_credits)?;
                price("credits", c.credits.saturating_add(c.bonus_credits))?;
                if c.validity_days
                    .is_some_and(|days| !(1..=VALIDITY_DAYS_MAX).contains(&days))
                {
                    let given = c.validity_days.unwrap_or_default();
                    return Err(invalid(
                        "validity_days",
                        "is out of range",
                        VALIDITY_DAYS_MAX,
                        given,
                    ));
                }
                Ok(())
            }
            OrderStep::Settle(c) => {
                transaction_id(&c.transaction_id)?;
                money("amount", &c.amount)?;
                instant("paid_at", c.paid_at)
            }
            OrderStep::Refund(c) => {
                match c.minor {
                    Some(n) if !(1..=CREDITS_MAX).contains(&n) => {
                        return Err(invalid("amount", "must be 1 or more minor units", CREDITS_MAX, n));
                    }
                    _ => {}
                }
                reference("reason", c.reason.as_deref())?;
                reference("operator", c.operator.as_deref())
            }
            OrderStep::NoteRefund(c) => {
                reference("channel_id", c.channel_id.as_deref())?;
                reference("problem", c.problem.as_deref())
            }
            OrderStep::Begin | OrderStep::Close { .. } => Ok(()),
        }
    }

    /// What was asked for. Of a new order the package and the channel only: a retry after the package has changed is
    /// still the same request, and the number of the first one counts.
    pub(super) fn write(&self, form: &mut Canonical) {
        match self {
            OrderStep::Open(c) => {
                form.text("open");
                form.text(&c.channel);
                form.optional(Some(c.package_id.as_bytes()));
            }
            OrderStep::Begin => form.text("begin"),
            OrderStep::Settle(c) => {
                form.text("settle");
                form.text(&c.transaction_id);
                form.integer(c.amount.minor);
                form.text(&c.amount.currency);
            }
            OrderStep::Close { .. } => form.text("close"),
            OrderStep::Refund(c) => {
                form.text("refund");
                form.optional_integer(c.minor);
                form.text(c.shortfall.as_str());
                form.optional(c.reason.as_ref().map(|s| s.as_bytes()));
                form.optional(c.operator.as_ref().map(|s| s.as_bytes()));
            }
            OrderStep::NoteRefund(c) => {
                form.text("note_refund");
                form.integer(c.number.into());
                form.text(c.status.as_str());
                form.optional(c.channel_id.as_ref().map(|s| s.as_bytes()));
                form.optional(c.problem.as_ref().map(|s| s.as_bytes()));
            }
        }
    }
}
