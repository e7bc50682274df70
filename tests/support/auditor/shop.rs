//! What must become of orders: which may be made, which payment settles which, and what is sent back. Worked out from what the
//! documentation says and from the orders as they were last told; it follows no credits.

use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Action, Command, LatePayment, OpenOrder, Order, OrderCommand, OrderNo, OrderPayment, OrderStatus,
    OrderStep, Outcome, Refusal, Rules,
};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// The orders of all accounts, and the payments that have settled one.
pub struct ShopAuditor {
    rules: Rules,
    orders: BTreeMap<(Uuid, OrderNo), Order>,
    limits: BTreeMap<(Uuid, OrderNo), u32>,
    payments: BTreeMap<(String, String), OrderNo>,
    keys: BTreeSet<(Uuid, String)>,
}

/// What an answer has to be.
#[derive(Debug)]
enum Must {
    /// Refused, with this code.
    Refuse(&'static str),
    /// Settled with its lots, unless a figure would pass its limit.
    Grant,
    /// Settled, and on its way back without lots.
    SendBack,
    /// As it was.
    Repeat,
    /// Made.
    Open,
}

impl ShopAuditor {
    pub fn new(rules: Rules) -> Self {
        ShopAuditor {
            rules,
            orders: BTreeMap::new(),
            limits: BTreeMap::new(),
            payments: BTreeMap::new(),
            keys: BTreeSet::new(),
        }
    }

    /// What is wrong with `answer` to `command` at `now`.
    pub fn check(
        &mut self,
        command: &Command,
        now: Timestamp,
        answer: &Result<Outcome, Refusal>,
    ) -> Result<(), String> {
        let user_id = match &command.action {
            Action::Order(c) => Some(c.user_id),
            Action::Grant(c) => Some(c.user_id),
            Action::Consume(c) => Some(c.user_id),
            Action::Gift(c) => Some(c.user_id),
            Action::Adjust(c) => Some(c.user_id),
            Action::SetCreditLimit(c) => Some(c.user_id),
            Action::Clawback(c) => Some(c.user_id),
            _ => None,
        };
        let key = user_id.zip(command.idempotency_key.clone());
        if key.as_ref().is_some_and(|key| self.keys.contains(key)) {
            return Ok(()); // A replay or a conflict: the other auditor's.
        }
        self.keys.extend(key.filter(|_| answer.is_ok()));
        let Action::Order(c) = &command.action else {
            return Ok(());
        };
        // Keys of consumptions are not followed here, so a conflict may come unexpected; malformed keys are the other auditor's.
        let of_key = |refusal: &Refusal| {
            matches!(refusal, Refusal::IdempotencyConflict { .. })
                || matches!(refusal, Refusal::Invalid { field, .. } if *field == "idempotency_key")
        };
        if answer.as_ref().is_err_and(of_key) {
            return Ok(());
        }
        let told = match answer {
            Ok(Outcome::Order(order)) => Some(&**order),
            _ => None,
        };
        if told.is_some_and(|order| order.order_no != c.order_no) {
            return Ok(()); // An order that the key has made before.
        }
        let must = match &c.step {
            OrderStep::Open(new) => Some(self.open(c, new, now)),
            OrderStep::Settle(payment) => Some(self.settle(c, payment, now)),
            _ => None,
        };
        let fits = match (&must, answer, told) {
            (None, ..) => true,
            (Some(Must::Refuse(code)), Err(refusal), _) => refusal.code() == *code,
            (Some(Must::Grant), Err(refusal), _) => refusal.code() == "validation",
            (Some(Must::Grant), _, Some(order)) => {
                order.state.status == OrderStatus::Paid && order.state.lot_id.is_some()
            }
            (Some(Must::SendBack), _, Some(order)) => {
                let all = order.state.refunds.len() == 1 && order.refunded() == order.price.minor;
                order.state.status == OrderStatus::Refunding && order.state.lot_id.is_none() && all
            }
            (Some(Must::Repeat), _, Some(order)) => self.orders.get(&(c.user_id, c.order_no)) == Some(order),
            (Some(Must::Open), _, Some(order)) => order.state.status == OrderStatus::Created,
            _ => false,
        };
        if !fits {
            return Err(format!("an order\n  auditor: {must:?}\n  ledger:  {answer:?}"));
        }
        if let Some(order) = told {
            if let Some(transaction) = &order.state.transaction_id {
                let payment = (order.channel.clone(), transaction.clone());
                let first = self.payments.entry(payment).or_insert(order.order_no);
                if *first != order.order_no {
                    return Err(format!(
                        "payment {transaction} has settled {first} and {}",
                        order.order_no
                    ));
                }
            }
            if let OrderStep::Open(new) = &c.step {
                let limit = new.purchase_limit.map(|limit| ((c.user_id, c.order_no), limit));
                self.limits.extend(limit);
            }
            self.orders.insert((c.user_id, c.order_no), order.clone());
        }
        Ok(())
    }

    fn of_user(&self, user_id: Uuid) -> impl Iterator<Item = &Order> {
        self.orders.values().filter(move |order| order.user_id == user_id)
    }

    fn waits(order: &Order, now: Timestamp) -> bool {
        let unpaid = [OrderStatus::Created, OrderStatus::Paying];
        unpaid.contains(&order.state.status) && order.expires_at > now
    }

    fn bought(&self, user_id: Uuid, package_id: Uuid, now: Timestamp) -> usize {
        let paid = [
            OrderStatus::Paid,
            OrderStatus::Refunding,
            OrderStatus::PartiallyRefunded,
        ];
        let counts = |order: &&Order| paid.contains(&order.state.status) || Self::waits(order, now);
        let of_package = self
            .of_user(user_id)
            .filter(|order| order.package_id == package_id);
        of_package.filter(counts).count()
    }

    fn open(&self, c: &OrderCommand, new: &OpenOrder, now: Timestamp) -> Must {
        if new.credits < 1 || new.credits.saturating_add(new.bonus_credits) > 9_007_199_254_740_991 {
            return Must::Refuse("validation");
        }
        if self.orders.contains_key(&(c.user_id, c.order_no)) {
            return Must::Refuse("invalid_state");
        }
        let bought = self.bought(c.user_id, new.package_id, now);
        if new.purchase_limit.is_some_and(|limit| bought >= limit as usize) {
            return Must::Refuse("validation");
        }
        let waiting = self.of_user(c.user_id).filter(|order| Self::waits(order, now));
        if waiting.count() >= self.rules.max_open_orders as usize {
            return Must::Refuse("invalid_state");
        }
        Must::Open
    }

    fn settle(&self, c: &OrderCommand, payment: &OrderPayment, now: Timestamp) -> Must {
        let place = (c.user_id, c.order_no);
        let Some(order) = self.orders.get(&place) else {
            return Must::Refuse("not_found");
        };
        if order.price != payment.amount {
            return Must::Refuse("payment_verification");
        }
        match &order.state.transaction_id {
            Some(known) if *known == payment.transaction_id => return Must::Repeat,
            Some(_) => return Must::Refuse("payment_verification"),
            None => {}
        }
        let named = (order.channel.clone(), payment.transaction_id.clone());
        if self
            .payments
            .get(&named)
            .is_some_and(|other| *other != c.order_no)
        {
            return Must::Refuse("payment_verification");
        }
        let limit = self.limits.get(&place).filter(|_| !Self::waits(order, now));
        if limit.is_some_and(|limit| self.bought(c.user_id, order.package_id, now) >= *limit as usize) {
            return if order.price.minor == 0 {
                Must::Refuse("invalid_state")
            } else {
                Must::SendBack
            };
        }
        let is_closed = order.state.status == OrderStatus::Closed;
        if is_closed && self.rules.late_payment == LatePayment::Refund && order.price.minor > 0 {
            Must::SendBack
        } else {
            Must::Grant
        }
    }
}
