//! Which request a command is: what its key stands for.

use super::{Action, Command, OrderStep};
use crate::ledger::journal::Canonical;
use crate::ledger::{Hash, Timestamp};
use core::time::Duration;

impl Command {
    /// SHA-256 of what was asked for, the key left out: the same for the same request whenever it is made.
    ///
    /// Nothing that the ledger fills in goes in, such as a default TTL or the price of the day: a retry across a
    /// change of those is still the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        let mut form = Canonical::with_capacity(128);
        match &self.action {
            Action::Grant(c) => {
                form.text("grant");
                form.integer(c.amount);
                form.text(c.source.as_str());
                form.integer(c.priority.into());
                form.optional_integer(c.expires_at.map(Timestamp::as_micros));
                form.optional_integer(c.cost.as_ref().map(|m| m.minor));
                form.optional(c.cost.as_ref().map(|m| m.currency.as_bytes()));
                form.optional(c.reference.as_ref().map(|s| s.as_bytes()));
            }
            Action::Gift(c) => {
                form.text("gift");
                form.integer(c.amount);
                form.text(&c.reason);
                form.optional(c.operator.as_ref().map(|s| s.as_bytes()));
                form.optional_integer(c.expires_at.map(Timestamp::as_micros));
            }
            Action::Consume(c) => {
                match &c.priced {
                    Some(priced) => {
                        form.text("consume_priced");
                        form.text(&priced.request);
                    }
                    None => {
                        form.text("consume");
                        form.integer(c.amount);
                    }
                }
                form.optional(c.feature.as_ref().map(|s| s.as_bytes()));
                form.optional_integer(c.ttl.map(micros));
                form.optional(c.reference.as_ref().map(|s| s.as_bytes()));
                form.optional(c.metadata.as_ref().map(|m| m.as_str().as_bytes()));
            }
            Action::Confirm(c) => {
                match &c.used {
                    Some(used) => {
                        form.text("confirm_used");
                        form.text(used);
                    }
                    None => form.text("confirm"),
                }
                form.optional(Some(c.consumption_id.as_bytes()));
                form.optional_integer(c.amount);
                form.text(c.overage.as_str());
                form.text(c.late.as_str());
            }
            Action::Refund(c) => {
                form.text("refund");
                form.optional(Some(c.consumption_id.as_bytes()));
                form.optional_integer(c.amount);
                form.optional(c.reason.as_ref().map(|s| s.as_bytes()));
                if c.pending_only {
                    form.text("pending_only");
                }
                write_operator(&mut form, c.operator.as_deref());
            }
            Action::Extend(c) => {
                form.text("extend");
                form.optional(Some(c.consumption_id.as_bytes()));
                form.integer(micros(c.ttl));
                if let Some(reason) = &c.reason {
                    form.text(reason);
                }
            }
            Action::Adjust(c) => {
                form.text("adjust");
                form.integer(c.amount);
                form.text(&c.reason);
                form.optional(c.operator.as_ref().map(|s| s.as_bytes()));
            }
            Action::SetCreditLimit(c) => {
                form.text("credit_limit");
                form.integer(c.credit_limit);
            }
            Action::Clawback(c) => {
                form.text("clawback");
                form.optional(Some(c.lot_id.as_bytes()));
                form.optional_integer(c.amount);
                form.text(c.shortfall.as_str());
                form.optional(c.reason.as_ref().map(|s| s.as_bytes()));
                write_operator(&mut form, c.operator.as_deref());
            }
            Action::Order(c) => {
                form.text("order");
                if !matches!(c.step, OrderStep::Open(_)) {
                    form.optional(Some(c.order_no.0.as_bytes()));
                }
                c.step.write(&mut form);
            }
            Action::Mature { .. } => form.text("mature"),
        }
        form.hash()
    }
}

/// Only where there is one: requests of before this could be said have to stay what they were.
fn write_operator(form: &mut Canonical, operator: Option<&str>) {
    if let Some(operator) = operator {
        form.text("operator");
        form.text(operator);
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}
