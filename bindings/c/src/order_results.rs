//! Structs that go out of calls about orders: as in `results.rs`.

use crate::money::amount;
use crate::results::{
    CREDITS_LINK_TEXT, CREDITS_NAME_TEXT, CREDITS_NUMBER_TEXT, CREDITS_ORDER_NO_TEXT, CREDITS_TEXT,
};
use crate::strings::field;
use crate::text::time;
use crate::uuid::credits_uuid;
use jointo_credits::payments::{Prepared, Reply};
use jointo_credits::{
    Notification, NotificationEvent, Order, OrderNo, OrderRefund, OrderStatus, Reconciled, RefundStatus,
    StatementReport,
};
use std::ffi::c_char;

/// An order's status: written down; no channel knows of it.
pub const CREDITS_ORDER_CREATED: i32 = 1;
/// The channel was told, or is about to be.
pub const CREDITS_ORDER_PAYING: i32 = 2;
/// Paid, and the credits are granted.
pub const CREDITS_ORDER_PAID: i32 = 3;
/// Not paid in time, or given up.
pub const CREDITS_ORDER_CLOSED: i32 = 4;
/// Some of its money is on its way back.
pub const CREDITS_ORDER_REFUNDING: i32 = 5;
/// All of its money is back.
pub const CREDITS_ORDER_REFUNDED: i32 = 6;
/// A part of its money is back, and no other part is on its way.
pub const CREDITS_ORDER_PARTIALLY_REFUNDED: i32 = 7;
/// The status of an order's refund: the channel was asked, or is about to be.
pub const CREDITS_ORDER_REFUND_PENDING: i32 = 1;
/// The money is back where it came from.
pub const CREDITS_ORDER_REFUND_SUCCEEDED: i32 = 2;
/// The channel won't do it; the credits are back.
pub const CREDITS_ORDER_REFUND_FAILED: i32 = 3;
/// What a notification meant: an order was paid, now or before.
pub const CREDITS_NOTIFICATION_PAID: i32 = 1;
/// Something about a refund.
pub const CREDITS_NOTIFICATION_REFUND: i32 = 2;
/// Nothing that the books have to know.
pub const CREDITS_NOTIFICATION_IGNORED: i32 = 3;

pub(crate) fn order_status_number(status: OrderStatus) -> i32 {
    match status {
        OrderStatus::Created => CREDITS_ORDER_CREATED,
        OrderStatus::Paying => CREDITS_ORDER_PAYING,
        OrderStatus::Paid => CREDITS_ORDER_PAID,
        OrderStatus::Closed => CREDITS_ORDER_CLOSED,
        OrderStatus::Refunding => CREDITS_ORDER_REFUNDING,
        OrderStatus::Refunded => CREDITS_ORDER_REFUNDED,
        OrderStatus::PartiallyRefunded => CREDITS_ORDER_PARTIALLY_REFUNDED,
        _ => 0,
    }
}

fn refund_status_number(status: RefundStatus) -> i32 {
    match status {
        RefundStatus::Pending => CREDITS_ORDER_REFUND_PENDING,
        RefundStatus::Succeeded => CREDITS_ORDER_REFUND_SUCCEEDED,
        RefundStatus::Failed => CREDITS_ORDER_REFUND_FAILED,
        _ => 0,
    }
}

/// A purchase of a package. What it costs and brings is frozen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_order {
    /// Who gets the credits.
    pub user_id: credits_uuid,
    /// The package.
    pub package_id: credits_uuid,
    /// The lot of the credits that were paid for; all zeros before that.
    pub lot_id: credits_uuid,
    /// The lot of the credits on top; all zeros where there is none.
    pub bonus_lot_id: credits_uuid,
    /// The package's version.
    pub package_version: i64,
    /// Credits that are paid for.
    pub credits: i64,
    /// Credits on top.
    pub bonus_credits: i64,
    /// How many days these live from the day they are granted on; 0 for ever.
    pub validity_days: u32,
    /// CREDITS_ORDER_*.
    pub status: i32,
    /// How many refunds it has: credits_order_refunds().
    pub refunds: u32,
    /// ISO 4217 code.
    pub currency: [c_char; 4],
    /// When it was made.
    pub created_at: i64,
    /// Until when it should be paid.
    pub expires_at: i64,
    /// When it was paid, as the channel says; 0 where it was not, or the channel does not say.
    pub paid_at: i64,
    /// When it was closed; 0 where it never was.
    pub closed_at: i64,
    /// 32 hexadecimal digits: what the channel, the payer and support know it by.
    pub order_no: [c_char; CREDITS_ORDER_NO_TEXT],
    /// The name of the payment channel.
    pub channel: [c_char; CREDITS_NAME_TEXT],
    /// What it costs, with two decimals, such as "9.90".
    pub price: [c_char; CREDITS_NUMBER_TEXT],
    /// Money that is back, or on its way back, with two decimals.
    pub refunded: [c_char; CREDITS_NUMBER_TEXT],
    /// The package's name: what the payer sees.
    pub subject: [c_char; CREDITS_TEXT],
    /// The channel's own name for the payment; "" before that.
    pub transaction_id: [c_char; CREDITS_TEXT],
}

impl From<&Order> for credits_order {
    fn from(of: &Order) -> Self {
        credits_order {
            user_id: of.user_id.into(),
            package_id: of.package_id.into(),
            lot_id: of.state.lot_id.into(),
            bonus_lot_id: of.state.bonus_lot_id.into(),
            package_version: i64::from(of.package_version),
            credits: of.credits,
            bonus_credits: of.bonus_credits,
            validity_days: of.validity_days.unwrap_or(0),
            status: order_status_number(of.state.status),
            refunds: u32::try_from(of.state.refunds.len()).unwrap_or(u32::MAX),
            currency: field(Some(&of.price.currency)),
            created_at: of.created_at.as_micros(),
            expires_at: of.expires_at.as_micros(),
            paid_at: time(of.state.paid_at),
            closed_at: time(of.state.closed_at),
            order_no: field(Some(&of.order_no.to_string())),
            channel: field(Some(&of.channel)),
            price: field(Some(&amount(of.price.minor))),
            refunded: field(Some(&amount(of.refunded()))),
            subject: field(Some(&of.subject)),
            transaction_id: field(of.state.transaction_id.as_deref()),
        }
    }
}

/// Money of an order that goes back.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_order_refund {
    /// CREDITS_ORDER_REFUND_*.
    pub status: i32,
    /// Zero.
    pub reserved: i32,
    /// Credits taken back for it.
    pub taken: i64,
    /// Credits that were spent already: forgiven, or booked as debt.
    pub shortfall: i64,
    /// When it was asked for.
    pub created_at: i64,
    /// When it succeeded or failed; 0 before that.
    pub settled_at: i64,
    /// What the channel knows it by.
    pub refund_no: [c_char; CREDITS_ORDER_NO_TEXT],
    /// How much, in the order's currency, with two decimals.
    pub amount: [c_char; CREDITS_NUMBER_TEXT],
    /// Why.
    pub reason: [c_char; CREDITS_TEXT],
    /// Who asked for it.
    pub operator_name: [c_char; CREDITS_TEXT],
    /// The channel's own name for it.
    pub channel_id: [c_char; CREDITS_TEXT],
    /// What the channel has to say, where it did not just succeed.
    pub problem: [c_char; CREDITS_TEXT],
}

impl credits_order_refund {
    pub(crate) fn of(order_no: OrderNo, refund: &OrderRefund) -> Self {
        credits_order_refund {
            status: refund_status_number(refund.status),
            reserved: 0,
            taken: refund.lots.iter().map(|lot| lot.taken).sum(),
            shortfall: refund.shortfall(),
            created_at: refund.created_at.as_micros(),
            settled_at: time(refund.settled_at),
            refund_no: field(Some(&refund.refund_no(order_no))),
            amount: field(Some(&amount(refund.minor))),
            reason: field(refund.reason.as_deref()),
            operator_name: field(refund.operator.as_deref()),
            channel_id: field(refund.channel_id.as_deref()),
            problem: field(refund.problem.as_deref()),
        }
    }
}

/// What the payer's side needs to pay.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_payment_request {
    /// Until when it is good; 0 where the channel does not say.
    pub expires_at: i64,
    /// What it is, as the channel calls it: "code_url" and "qr_code" are for a QR code, "h5_url" and "url" for a browser,
    /// "reference" (of "manual") is for people. "" where the payer needs several parameters, as with "jsapi", or more than
    /// fits here: they are in the JSON.
    pub name: [c_char; CREDITS_NAME_TEXT],
    /// The parameter of that name.
    pub value: [c_char; CREDITS_LINK_TEXT],
}

impl From<&Prepared> for credits_payment_request {
    fn from(of: &Prepared) -> Self {
        let mut parameters = of.parameters.iter();
        // Half of an address would be worse than none.
        let only = match (parameters.next(), parameters.next()) {
            (Some((name, value)), None) if value.len() < CREDITS_LINK_TEXT => Some((name, value)),
            _ => None,
        };
        credits_payment_request {
            expires_at: time(of.expires_at),
            name: field(only.map(|(name, _)| name.as_str())),
            value: field(only.map(|(_, value)| value.as_str())),
        }
    }
}

/// What became of a channel's notification.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_notification {
    /// CREDITS_NOTIFICATION_*.
    pub event: i32,
    /// Whether it is about an order: 1 or 0.
    pub has_order: i32,
    /// The order as it stands now; all zeros where it is about none.
    pub order: credits_order,
}

impl From<&Notification> for credits_notification {
    fn from(of: &Notification) -> Self {
        credits_notification {
            event: match of.event {
                NotificationEvent::Paid => CREDITS_NOTIFICATION_PAID,
                NotificationEvent::Refund => CREDITS_NOTIFICATION_REFUND,
                NotificationEvent::Ignored => CREDITS_NOTIFICATION_IGNORED,
                _ => 0,
            },
            has_order: i32::from(of.order.is_some()),
            order: match &of.order {
                Some(order) => order.into(),
                // SAFETY: it is numbers, for which zeros are valid.
                None => unsafe { std::mem::zeroed() },
            },
        }
    }
}

/// What to answer to a channel's notification.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_reply {
    /// The HTTP status.
    pub status: i32,
    /// Zero.
    pub reserved: i32,
    /// The type of the body.
    pub content_type: [c_char; CREDITS_NAME_TEXT],
    /// The body.
    pub body: [c_char; CREDITS_TEXT],
}

impl From<&Reply> for credits_reply {
    fn from(of: &Reply) -> Self {
        credits_reply {
            status: i32::from(of.status),
            reserved: 0,
            content_type: field(Some(of.content_type)),
            body: field(Some(&of.body)),
        }
    }
}

/// What a reconciliation of orders did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_reconciled {
    /// Orders that were looked at.
    pub orders: u64,
    /// Orders found paid, and settled.
    pub settled: u64,
    /// Orders closed, because their time is over and nobody has paid.
    pub closed: u64,
    /// Refunds that were found to have ended.
    pub refunds: u64,
    /// Orders about which something went wrong; they are looked at again next time.
    pub failed: u64,
}

impl From<&Reconciled> for credits_reconciled {
    fn from(of: &Reconciled) -> Self {
        credits_reconciled {
            orders: of.orders,
            settled: of.settled,
            closed: of.closed,
            refunds: of.refunds,
            failed: of.failed,
        }
    }
}

/// What a channel's bill and the books say.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_statement_report {
    /// Lines of the bill that are as the books say.
    pub matched: u64,
    /// Differences found: 0 where everything fits.
    pub differences: u64,
}

impl From<&StatementReport> for credits_statement_report {
    fn from(of: &StatementReport) -> Self {
        credits_statement_report {
            matched: of.matched,
            differences: u64::try_from(of.differences.len()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::check;

    #[test]
    fn every_word_has_a_number_of_its_own() {
        check(OrderStatus::ALL, order_status_number);
        check(RefundStatus::ALL, refund_status_number);
    }
}
