//! Orders: see `ledger/order.rs` for their states and for what can go wrong.

use super::draft::{About, Draft};
use super::grant::{add, take_back};
use crate::ledger::check::invalid;
use crate::ledger::journal::issued;
use crate::ledger::limits::REFUNDS_MAX;
use crate::ledger::{
    Kind, LotChange, OpenOrder, Order, OrderCommand, OrderPayment, OrderRefund, OrderRefundRequest,
    OrderState, OrderStatus, OrderStep, Outcome, RefundNote, RefundStatus, Refusal, Source, TakenBack,
};
use crate::ledger::{LatePayment, Timestamp};
use alloc::{boxed::Box, format, string::ToString, vec::Vec};
use core::time::Duration;
use uuid::Uuid;

pub(super) fn order(draft: &mut Draft<'_>, c: &OrderCommand) -> Result<Outcome, Refusal> {
    let known = draft.order(c.order_no).cloned();
    let unknown = Refusal::NotFound {
        what: "order",
        id: c.order_no.0,
    };
    match (&c.step, known) {
        (OrderStep::Open(new), None) => open(draft, c, new),
        (OrderStep::Open(_), Some(order)) => Err(wrong(&order, "this number is taken; draw another one")),
        (_, None) => Err(unknown),
        (OrderStep::Begin, Some(order)) => begin(draft, order),
        (OrderStep::Settle(payment), Some(order)) => settle(draft, order, payment),
        (OrderStep::Close { channel_agrees }, Some(order)) => close(draft, order, *channel_agrees),
        (OrderStep::Refund(request), Some(order)) => refund(draft, order, request),
        (OrderStep::NoteRefund(note), Some(order)) => note_refund(draft, order, note),
    }
}

fn wrong(order: &Order, problem: &'static str) -> Refusal {
    Refusal::InvalidOrder {
        order_no: order.order_no,
        state: order.state.status,
        problem,
    }
}

/// Nothing to write down: the order is as the command wants it. A key is recorded nevertheless.
fn repeat(draft: &mut Draft<'_>, order: Order) -> Result<Outcome, Refusal> {
    if draft.has_key() {
        return Ok(written(draft, order));
    }
    Ok(Outcome::Order(Box::new(order)))
}

/// Closes the entry that records the command, which moves no credits (any more).
fn written(draft: &mut Draft<'_>, order: Order) -> Outcome {
    let about = About {
        reference: Some(order.order_no.to_string()),
        ..About::default()
    };
    draft.set_order(order.clone());
    draft.seal_command(Kind::Order, "none".into(), about);
    Outcome::Order(Box::new(order))
}

fn open(draft: &mut Draft<'_>, c: &OrderCommand, new: &OpenOrder) -> Result<Outcome, Refusal> {
    if let Some(limit) = new.purchase_limit {
        let bought = bought(draft, new.package_id);
        if bought >= limit as usize {
            return Err(invalid(
                "package_id",
                "can't be bought any more by this account; an open order counts until it is paid or closed",
                limit,
                bought + 1,
            ));
        }
    }
    let waiting = draft.orders().filter(|order| order.can_be_paid(draft.now));
    let (open, limit) = (waiting.count(), draft.rules.max_open_orders);
    if open >= limit as usize {
        return Err(Refusal::TooManyOrders { open, limit });
    }
    let order = Order {
        order_no: c.order_no,
        user_id: c.user_id,
        channel: new.channel.clone(),
        package_id: new.package_id,
        package_version: new.package_version,
        subject: new.subject.clone(),
        price: new.price.clone(),
        credits: new.credits,
        bonus_credits: new.bonus_credits,
        validity_days: new.validity_days,
        purchase_limit: new.purchase_limit,
        created_at: draft.now,
        expires_at: draft.now.plus(draft.rules.order_ttl),
        state: OrderState {
            status: OrderStatus::Created,
            transaction_id: None,
            paid_at: None,
            closed_at: None,
            lot_id: None,
            bonus_lot_id: None,
            refunds: Vec::new(),
        },
    };
    Ok(written(draft, order))
}

/// How many of a package the account has bought, or can still pay in time.
fn bought(draft: &Draft<'_>, package_id: Uuid) -> usize {
    let of_package = draft.orders().filter(|order| order.package_id == package_id);
    of_package.filter(|order| order.counts(draft.now)).count()
}

fn begin(draft: &mut Draft<'_>, mut order: Order) -> Result<Outcome, Refusal> {
    match order.state.status {
        OrderStatus::Created | OrderStatus::Paying if draft.now >= order.expires_at => {
            Err(wrong(&order, "its time is over; make a new one"))
        }
        OrderStatus::Created => {
            order.state.status = OrderStatus::Paying;
            Ok(written(draft, order))
        }
        OrderStatus::Paying => repeat(draft, order),
        _ => Err(wrong(&order, "it can't be paid any more")),
    }
}

fn close(draft: &mut Draft<'_>, mut order: Order, channel_agrees: bool) -> Result<Outcome, Refusal> {
    match order.state.status {
        OrderStatus::Paying if !channel_agrees => Err(wrong(
            &order,
            "the channel knows it and has to be asked first; try again",
        )),
        OrderStatus::Created | OrderStatus::Paying => {
            order.state.status = OrderStatus::Closed;
            order.state.closed_at = Some(draft.now);
            Ok(written(draft, order))
        }
        OrderStatus::Closed => repeat(draft, order),
        _ => Err(wrong(&order, "it was paid; refund it instead")),
    }
}

fn settle(draft: &mut Draft<'_>, mut order: Order, payment: &OrderPayment) -> Result<Outcome, Refusal> {
    let mismatch = |problem, expected: &dyn core::fmt::Display, value: &dyn core::fmt::Display| {
        Err(Refusal::WrongPayment {
            order_no: order.order_no,
            problem,
            expected: expected.to_string(),
            value: value.to_string(),
        })
    };
    if payment.amount != order.price {
        let text = |minor: i64, currency: &str| format!("{minor} {currency}");
        return mismatch(
            if payment.amount.currency == order.price.currency {
                "is of another amount"
            } else {
                "is in another currency"
            },
            &text(order.price.minor, &order.price.currency),
            &text(payment.amount.minor, &payment.amount.currency),
        );
    }
    if let Some(known) = &order.state.transaction_id {
        if *known == payment.transaction_id {
            return repeat(draft, order);
        }
        return mismatch("is a second one", known, &payment.transaction_id);
    }
    let claimed = draft.claimed_by(&order.channel, &payment.transaction_id);
    if let Some(other) = claimed.filter(|other| *other != order.order_no) {
        let value = format!("{} of order {other}", payment.transaction_id);
        return mismatch("has settled another order", &"a transaction of its own", &value);
    }
    // An order that did not count any more has to find its place anew.
    let limit = order.limit_when_late(draft.now);
    let is_over_limit = limit.is_some_and(|limit| bought(draft, order.package_id) >= limit as usize);
    if is_over_limit && order.price.minor == 0 {
        return Err(wrong(
            &order,
            "its package can't be bought any more by this account, and nothing was paid for it",
        ));
    }
    let was_closed = order.state.status == OrderStatus::Closed;
    let sent_back = if is_over_limit {
        Some("paid late, when the package could not be bought any more")
    } else if was_closed && draft.rules.late_payment == LatePayment::Refund && order.price.minor > 0 {
        Some("paid after it was closed")
    } else {
        None
    };
    order.state.transaction_id = Some(payment.transaction_id.clone());
    order.state.paid_at = payment.paid_at;
    if let Some(reason) = sent_back {
        order.state.status = OrderStatus::Refunding;
        order.state.refunds.push(OrderRefund {
            number: 1,
            minor: order.price.minor,
            status: RefundStatus::Pending,
            lots: Vec::new(),
            reason: Some(reason.into()),
            operator: None,
            channel_id: None,
            problem: None,
            created_at: draft.now,
            settled_at: None,
        });
        return Ok(written(draft, order));
    }
    grant(draft, order)
}

/// The order's lots: what it was paid for, and what comes on top. The order stands in the last entry.
fn grant(draft: &mut Draft<'_>, mut order: Order) -> Result<Outcome, Refusal> {
    const DAY: u64 = 24 * 60 * 60;
    let reference = order.order_no.to_string();
    let days = order.validity_days.map(u64::from);
    let expires_at = days.map(|days| draft.now.plus(Duration::from_secs(days * DAY)));
    let (credits, cost) = (order.credits, Some(order.price.clone()));
    let about = add(
        draft,
        credits,
        Source::Purchase,
        0,
        expires_at,
        cost,
        Some(reference.clone()),
    )?;
    order.state.lot_id = about.lot_id;
    order.state.status = OrderStatus::Paid;
    if order.bonus_credits == 0 {
        draft.set_order(order.clone());
        draft.seal_command(Kind::Grant, issued(Source::Purchase), about);
        return Ok(Outcome::Order(Box::new(order)));
    }
    draft.seal(Kind::Grant, issued(Source::Purchase), about);
    let bonus = order.bonus_credits;
    let about = add(draft, bonus, Source::Bonus, 0, expires_at, None, Some(reference))?;
    order.state.bonus_lot_id = about.lot_id;
    draft.set_order(order.clone());
    draft.seal_command(Kind::Grant, issued(Source::Bonus), about);
    Ok(Outcome::Order(Box::new(order)))
}

fn refund(draft: &mut Draft<'_>, mut order: Order, request: &OrderRefundRequest) -> Result<Outcome, Refusal> {
    let refundable = order.price.minor - order.refunded();
    let mut newest_first = order.state.refunds.iter().rev();
    let last = newest_first.find(|refund| refund.status != RefundStatus::Failed);
    match (order.state.status, last) {
        (OrderStatus::Created | OrderStatus::Paying | OrderStatus::Closed, _) => {
            return Err(wrong(&order, "it was not paid; close it instead"));
        }
        // It is on its way without anybody having asked, for it was paid too late.
        (OrderStatus::Refunding, Some(last))
            if last.status == RefundStatus::Pending
                && order.state.lot_id.is_none()
                && request.minor.is_none_or(|minor| minor == last.minor) =>
        {
            return repeat(draft, order);
        }
        // Without a key, the same again is taken for a retry: no money ever goes back twice by mistake.
        (_, Some(last)) if !draft.has_key() => match request.minor {
            Some(minor) if minor == last.minor => return repeat(draft, order),
            Some(_) => {
                return Err(wrong(
                    &order,
                    "a part was refunded before; pass an idempotency_key with each further part",
                ));
            }
            None if refundable == 0 => return repeat(draft, order),
            None => {}
        },
        _ => {}
    }
    if refundable == 0 {
        return Err(wrong(&order, "all of its money went back, or is on its way"));
    }
    let minor = request.minor.unwrap_or(refundable);
    if minor > refundable {
        let problem = "is more than was paid and has not gone back";
        return Err(invalid("amount", problem, refundable, minor));
    }
    if order.state.refunds.len() >= REFUNDS_MAX {
        let problem = "has as many as a channel takes";
        return Err(invalid("refunds", problem, REFUNDS_MAX, REFUNDS_MAX + 1));
    }
    let refunded = order.refunded() + minor;
    let mut lots = Vec::new();
    let all: Vec<Uuid> = order_lots(&order).into_iter().map(|(lot_id, _)| lot_id).collect();
    for (lot_id, credits) in order_lots(&order) {
        let before: i64 = taken_so_far(&order, lot_id);
        // In proportion to the money, over all refunds together: the last one takes what rounding left.
        let due = i128::from(credits) * i128::from(refunded) / i128::from(order.price.minor);
        let wanted = i64::try_from(due).unwrap_or(credits) - before;
        let taken = take_back(draft, lot_id, wanted.max(0), request.shortfall, &all)?;
        if taken.taken + taken.forgiven + taken.debt == 0 {
            continue;
        }
        draft.effects().reason.clone_from(&request.reason);
        draft.effects().operator.clone_from(&request.operator);
        let about = About {
            lot_id: Some(lot_id),
            reference: Some(order.order_no.to_string()),
            ..About::default()
        };
        let source = draft.lot(lot_id).map_or(Source::Purchase, |lot| lot.source);
        draft.seal(Kind::Clawback, issued(source), about);
        lots.push(taken);
    }
    order.state.status = OrderStatus::Refunding;
    let number = u32::try_from(order.state.refunds.len()).unwrap_or(u32::MAX) + 1;
    order.state.refunds.push(OrderRefund {
        number,
        minor,
        status: RefundStatus::Pending,
        lots,
        reason: request.reason.clone(),
        operator: request.operator.clone(),
        channel_id: None,
        problem: None,
        created_at: draft.now,
        settled_at: None,
    });
    Ok(written(draft, order))
}

/// The lots that a settled order has, and how many credits each was granted with.
fn order_lots(order: &Order) -> Vec<(Uuid, i64)> {
    let paid = order.state.lot_id.map(|lot| (lot, order.credits));
    let bonus = order.state.bonus_lot_id.map(|lot| (lot, order.bonus_credits));
    paid.into_iter().chain(bonus).collect()
}

/// Credits of a lot that refunds have taken back and not given back since.
fn taken_so_far(order: &Order, lot_id: Uuid) -> i64 {
    let refunds = order.state.refunds.iter();
    refunds
        .filter(|refund| refund.status != RefundStatus::Failed)
        .flat_map(|refund| &refund.lots)
        .filter(|lot| lot.lot_id == lot_id)
        .map(|lot| lot.taken + lot.forgiven + lot.debt)
        .sum()
}

fn note_refund(draft: &mut Draft<'_>, mut order: Order, note: &RefundNote) -> Result<Outcome, Refusal> {
    let place = order.state.refunds.iter().position(|r| r.number == note.number);
    let Some((place, before)) = place.and_then(|i| Some((i, order.state.refunds.get(i)?.clone()))) else {
        return Err(Refusal::NotFound {
            what: "refund of order",
            id: order.order_no.0,
        });
    };
    let mut after = OrderRefund {
        status: note.status,
        channel_id: note.channel_id.clone().or(before.channel_id.clone()),
        problem: note.problem.clone(),
        ..before.clone()
    };
    match (before.status, note.status) {
        (RefundStatus::Pending, RefundStatus::Pending) if after == before => return repeat(draft, order),
        (RefundStatus::Pending, _) => {}
        // Old news, or the same again.
        (_, RefundStatus::Pending) => return repeat(draft, order),
        (before, now) if before == now => return repeat(draft, order),
        _ => {
            return Err(wrong(
                &order,
                "its refund has ended otherwise before; ask the channel",
            ));
        }
    }
    if note.status != RefundStatus::Pending {
        after.settled_at = Some(draft.now);
    }
    if let Some(refund) = order.state.refunds.get_mut(place) {
        *refund = after;
    }
    order.state.status = status_of(&order);
    if note.status == RefundStatus::Failed {
        if order.state.lot_id.is_none() {
            // Paid late, and the money can't go back: so it buys what it was paid for.
            return grant(draft, order);
        }
        for taken in &before.lots {
            restore(draft, taken, draft.now)?;
        }
    }
    Ok(written(draft, order))
}

/// How an order stands that was paid, by its refunds.
fn status_of(order: &Order) -> OrderStatus {
    let pending = order
        .state
        .refunds
        .iter()
        .any(|r| r.status == RefundStatus::Pending);
    match order.refunded() {
        _ if pending => OrderStatus::Refunding,
        0 => OrderStatus::Paid,
        back if back < order.price.minor => OrderStatus::PartiallyRefunded,
        _ => OrderStatus::Refunded,
    }
}

/// Gives back what a refund took that has failed: in a lot of its own, which lives as long as its lot, or the grace of
/// reversals where that has expired. What was forgiven is claimed no more.
fn restore(draft: &mut Draft<'_>, back: &TakenBack, now: Timestamp) -> Result<(), Refusal> {
    let Some(lot) = draft.lot(back.lot_id).cloned() else {
        return Err(Refusal::NotFound {
            what: "lot",
            id: back.lot_id,
        });
    };
    let unclaimed = lot.claim.min(back.forgiven);
    // A claim that was met in the meantime has become credits taken back.
    let booked = back.taken + back.debt;
    let met = (back.forgiven - unclaimed).min((lot.clawed - booked).max(0));
    let credits = booked.min(lot.clawed) + met;
    if credits + unclaimed == 0 {
        return Ok(());
    }
    draft.check_ceiling("amount", draft.account.granted, credits)?;
    draft.change_lot(LotChange {
        clawed: -credits,
        claim: -unclaimed,
        ..LotChange::of(back.lot_id)
    });
    if credits == 0 {
        return Ok(());
    }
    let expires_at = match lot.expires_at {
        Some(_) if lot.has_expired(now) => Some(now.plus(draft.rules.reversal_grace)),
        other => other,
    };
    let origin = Some(back.lot_id);
    let lot_id = draft.add_reversal_lot(
        credits,
        now,
        expires_at,
        lot.priority,
        lot.reference.clone(),
        origin,
    );
    draft.effects().granted = credits;
    draft.pay_debt(now);
    let about = About {
        lot_id: Some(lot_id),
        reference: lot.reference.clone(),
        ..About::default()
    };
    draft.seal(Kind::Grant, issued(lot.source), about);
    Ok(())
}
