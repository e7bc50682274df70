//! Payments that people see to: an operator who gets a bank transfer settles the order, and one who has sent the money
//! back has it refunded. Also what tests pay with.

use super::{
    Asking, BillLines, Channel, Checkout, Headers, Notice, Prepared, RefundNotice, RefundStanding, Reply,
    Standing,
};
use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Money, Order, OrderRefund};

/// The channel `manual`, which every ledger has. Nobody can be asked: an order waits until it is settled
/// ([`Ledger::settle_order`](crate::Ledger::settle_order)) or its time is over, and a refund has happened when it is asked for. A payment that came too late waits in the order's state
/// `refunding` until somebody has sent the money back and says so by asking for the refund.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manual;

impl Manual {
    /// Its name.
    pub const NAME: &'static str = "manual";
}

fn done<'a, T: Send + 'a>(result: T) -> Asking<'a, T> {
    Box::pin(std::future::ready(Ok(result)))
}

fn returned(order: &Order, refund: &OrderRefund) -> RefundNotice {
    RefundNotice {
        order_no: order.order_no.to_string(),
        refund_no: refund.refund_no(order.order_no),
        channel_id: None,
        amount: None,
        standing: RefundStanding::Succeeded,
    }
}

impl Channel for Manual {
    fn name(&self) -> &str {
        Manual::NAME
    }

    fn check(&self, _: &Money) -> Result<()> {
        Ok(())
    }

    fn prepare<'a>(&'a self, order: &'a Order, _: &'a Checkout, _: Timestamp) -> Asking<'a, Prepared> {
        done(Prepared {
            parameters: [("reference".to_owned(), order.order_no.to_string())].into(),
            expires_at: Some(order.expires_at),
        })
    }

    fn query<'a>(&'a self, _: &'a Order, _: Timestamp) -> Asking<'a, Standing> {
        done(Standing::Unpaid)
    }

    fn close<'a>(&'a self, _: &'a Order, _: Timestamp) -> Asking<'a, Standing> {
        done(Standing::Closed)
    }

    fn refunds_by_hand(&self) -> bool {
        true
    }

    fn refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        _: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        done(returned(order, refund))
    }

    fn query_refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        _: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        done(returned(order, refund))
    }

    fn notification(&self, _: &Headers, _: &[u8], _: Timestamp) -> Result<Notice> {
        Err(Error::PaymentVerification {
            channel: Manual::NAME.into(),
            problem: "nobody notifies of manual payments; settle_order does".into(),
        })
    }

    fn reply(&self, taken: bool) -> Reply {
        Reply {
            status: if taken { 200 } else { 400 },
            content_type: "text/plain",
            body: String::new(),
        }
    }

    fn read_bill<'a>(&'a self, _: &'a [u8]) -> Result<BillLines<'a>> {
        Err(Error::invalid(
            "bill",
            "can't be: nobody publishes one",
            "another channel",
            Manual::NAME,
        ))
    }
}
