//! What a caller can ask for, and whether it is well formed.

mod fingerprint;
mod metadata;
mod order;
mod requests;

pub use metadata::Metadata;
pub use order::{OpenOrder, OrderCommand, OrderPayment, OrderRefundRequest, OrderStep, RefundNote};
pub use requests::{
    Adjust, Clawback, Confirm, Consume, Extend, Gift, Grant, Late, Overage, Priced, Refund, SetCreditLimit,
    Shortfall,
};

use super::check::{amount, instant, invalid, length, money, name, price, reference, required, ttl};
use super::limits::*;
use super::{OrderNo, Refusal, Source};
use alloc::string::String;
use uuid::Uuid;

/// Everything that changes an account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Credits for an account.
    Grant(Grant),
    /// Credits as a present.
    Gift(Gift),
    /// A hold.
    Consume(Consume),
    /// The capture of a hold.
    Confirm(Confirm),
    /// The release of a hold, or the reversal of a capture.
    Refund(Refund),
    /// A later deadline for a hold.
    Extend(Extend),
    /// A correction.
    Adjust(Adjust),
    /// A new credit limit.
    SetCreditLimit(SetCreditLimit),
    /// Granted credits taken back.
    Clawback(Clawback),
    /// A step in the life of an order.
    Order(OrderCommand),
    /// Write down what has passed its deadline on this account.
    Mature {
        /// The account.
        user_id: Uuid,
    },
}

/// An action and the key that makes repeating it safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// The caller's key, at most [`KEY_BYTES_MAX`] bytes, scoped to the account.
    pub idempotency_key: Option<String>,
}

/// The account or the consumption that a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An account.
    Account(Uuid),
    /// A consumption, whose account the store knows.
    Consumption(Uuid),
}

impl Command {
    /// What the command names.
    #[must_use]
    pub fn target(&self) -> Target {
        match &self.action {
            Action::Grant(c) => Target::Account(c.user_id),
            Action::Gift(c) => Target::Account(c.user_id),
            Action::Consume(c) => Target::Account(c.user_id),
            Action::Confirm(c) => Target::Consumption(c.consumption_id),
            Action::Refund(c) => Target::Consumption(c.consumption_id),
            Action::Extend(c) => Target::Consumption(c.consumption_id),
            Action::Adjust(c) => Target::Account(c.user_id),
            Action::SetCreditLimit(c) => Target::Account(c.user_id),
            Action::Clawback(c) => Target::Account(c.user_id),
            Action::Order(c) => Target::Account(c.user_id),
            Action::Mature { user_id } => Target::Account(*user_id),
        }
    }

    /// The lot a command names.
    #[must_use]
    pub fn lot(&self) -> Option<Uuid> {
        match &self.action {
            Action::Clawback(c) => Some(c.lot_id),
            _ => None,
        }
    }

    /// The order a command names, and for a new one the package whose orders count.
    #[must_use]
    pub fn order(&self) -> Option<(OrderNo, Option<Uuid>)> {
        match &self.action {
            Action::Order(c) => Some((
                c.order_no,
                match &c.step {
                    OrderStep::Open(open) => open.purchase_limit.map(|_| open.package_id),
                    _ => None,
                },
            )),
            _ => None,
        }
    }

    /// The payment that is to settle an order: the order, and the channel's own name for the payment.
    #[must_use]
    pub fn payment(&self) -> Option<(OrderNo, &str)> {
        match &self.action {
            Action::Order(OrderCommand {
                order_no,
                step: OrderStep::Settle(payment),
                ..
            }) => Some((*order_no, &payment.transaction_id)),
            _ => None,
        }
    }

    /// Whether it makes an order.
    #[must_use]
    pub fn opens_an_order(&self) -> bool {
        matches!(&self.action, Action::Order(c) if matches!(c.step, OrderStep::Open(_)))
    }

    /// Whether it is well formed; needs no books, so it is asked before anything else.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming the field, the limit and the value.
    pub fn validate(&self) -> Result<(), Refusal> {
        if let Some(key) = &self.idempotency_key {
            if key.is_empty() {
                return Err(invalid(
                    "idempotency_key",
                    "must not be empty; leave it out instead",
                    "1 byte or more",
                    0,
                ));
            }
            length("idempotency_key", key, KEY_BYTES_MAX)?;
        }
        match &self.action {
            Action::Grant(c) => {
                amount("amount", c.amount)?;
                if c.source == Source::Reversal {
                    return Err(invalid(
                        "source",
                        "is the ledger's own; use adjustment",
                        "any other source",
                        c.source,
                    ));
                }
                if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&c.priority) {
                    return Err(invalid("priority", "is out of range", PRIORITY_MAX, c.priority));
                }
                instant("expires_at", c.expires_at)?;
                c.cost.as_ref().map_or(Ok(()), |cost| money("cost", cost))?;
                reference("reference", c.reference.as_deref())
            }
            Action::Gift(c) => {
                amount("amount", c.amount)?;
                required("reason", &c.reason)?;
                reference("operator", c.operator.as_deref())?;
                instant("expires_at", c.expires_at)
            }
            Action::Consume(c) => {
                match &c.priced {
                    Some(priced) => {
                        price("amount", c.amount)?;
                        length("quote", &priced.quote, QUOTE_BYTES_MAX)?;
                        priced.hold_ttl.map_or(Ok(()), |t| ttl("hold_ttl", t))?;
                    }
                    None => amount("amount", c.amount)?,
                }
                c.feature.as_deref().map_or(Ok(()), |f| name("feature", f))?;
                c.ttl.map_or(Ok(()), |t| ttl("ttl", t))?;
                reference("reference", c.reference.as_deref())
            }
            Action::Confirm(c) => match (c.amount, &c.used) {
                (Some(n), Some(used)) => {
                    price("amount", n)?;
                    length("used", used, QUOTE_BYTES_MAX)
                }
                (n, _) => n.map_or(Ok(()), |n| amount("amount", n)),
            },
            Action::Refund(c) => {
                c.amount.map_or(Ok(()), |n| amount("amount", n))?;
                reference("reason", c.reason.as_deref())?;
                reference("operator", c.operator.as_deref())
            }
            Action::Extend(c) => {
                ttl("ttl", c.ttl)?;
                reference("reason", c.reason.as_deref())
            }
            Action::Adjust(c) => {
                if c.amount == 0 {
                    return Err(invalid(
                        "amount",
                        "must not be 0",
                        "-2^53+1 .. 2^53-1 and not 0",
                        0,
                    ));
                }
                if c.amount.unsigned_abs() > CREDITS_MAX as u64 {
                    return Err(invalid("amount", "is too large", CREDITS_MAX, c.amount));
                }
                required("reason", &c.reason)?;
                reference("operator", c.operator.as_deref())
            }
            Action::SetCreditLimit(c) => {
                if (0..=CREDITS_MAX).contains(&c.credit_limit) {
                    Ok(())
                } else {
                    Err(invalid(
                        "credit_limit",
                        "must be 0 .. 2^53-1",
                        CREDITS_MAX,
                        c.credit_limit,
                    ))
                }
            }
            Action::Clawback(c) => {
                c.amount.map_or(Ok(()), |n| amount("amount", n))?;
                reference("reason", c.reason.as_deref())?;
                reference("operator", c.operator.as_deref())
            }
            Action::Order(c) => c.step.validate(),
            Action::Mature { .. } => Ok(()),
        }
    }
}
