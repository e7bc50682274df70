//! Alipay's open platform (开放平台): payment in a browser (`page`, 电脑网站支付) and by scanning a code (`qr`, 订单码支付 or
//! 当面付), refunds, notifications and the daily bill. In CNY.
//!
//! | file | what it does |
//! | --- | --- |
//! | `config` | settings and their checks |
//! | `keys`, `certificates` | RSA2, and what certificates are called |
//! | `form`, `notice` | notifications: what is signed, and what it says |
//! | `requests`, `answers` | calls of the gateway: how they are signed, and how far an answer is believed |
//! | `bill` | the bill of a day |
//! | `money` | yuan |
//!
//! Everything but the sending is pure. Where the facts come from: Alipay's SDKs (alipay-sdk-nodejs-all 4.14.0,
//! alipay-easysdk), other libraries in use, and pages that quote <https://opendocs.alipay.com>. Nothing was tried against
//! Alipay itself.
//!
//! # What Alipay does not know, and what that means
//!
//! A browser's order exists at Alipay only once its payer has got as far as the payment, and a code's once it was
//! scanned: before that, queries know nothing of it, and there is nothing to close. The address and the code remain
//! payable until the order's end, which goes with them (`time_expire`), so an order that is closed before it can still be
//! paid, late.
//!
//! `TRADE_CLOSED` is said of an order that nobody paid as well as of one whose money all went back, and an answer does
//! not tell which (both have been seen with `send_pay_date`). Either way there is no money of the order's at Alipay:
//! [`Standing::Closed`].

mod answers;
mod bill;
mod certificates;
mod config;
mod form;
mod keys;
mod money;
mod notice;
mod requests;
#[cfg(test)]
mod tests;

pub use config::{ALIPAY_GATEWAY, AlipayConfig, AlipayKeys};

use self::answers::{Answer, Fields};
use self::config::Serials;
use self::keys::{AlipayKey, AppKey};
use self::requests::{Api, Signed};
use super::china_time;
use super::{
    Asking, BillLines, Channel, Checkout, Headers, Notice, Pace, Payment, Prepared, RefundNotice,
    RefundStanding, Reply, Standing, http,
};
use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Money, Order, OrderRefund};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the channel is called.
const NAME: &str = "alipay";

/// What requests are written in, and what answers are asked for in.
const CHARSET: &str = "utf-8";

/// How long a code to be scanned is good, from when it was made.
const QR_LIFETIME: Duration = Duration::from_secs(2 * 3600);

/// `product_code` of payment in a browser.
const PAGE_PRODUCT_CODE: &str = "FAST_INSTANT_TRADE_PAY";

/// The payment channel `alipay`.
pub struct Alipay {
    app_id: String,
    seller_id: Option<String>,
    notify_url: String,
    gateway: String,
    qr_product_code: String,
    pace: Pace,
    app_key: AppKey,
    alipay_key: AlipayKey,
    /// In certificate mode.
    serials: Option<Serials>,
    client: http::Client,
}

impl fmt::Debug for Alipay {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alipay")
            .field("app_id", &self.app_id)
            .field("seller_id", &self.seller_id)
            .field("notify_url", &self.notify_url)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// A message that is not to be trusted.
fn untrusted(problem: impl Into<String>) -> Error {
    Error::PaymentVerification {
        channel: NAME.into(),
        problem: problem.into(),
    }
}

/// An answer must be about what was asked.
fn same(name: &str, said: Option<&str>, asked: &str) -> Result<()> {
    if said == Some(asked) {
        Ok(())
    } else {
        Err(untrusted(format!(
            "the answer is about another {name}, or does not say which"
        )))
    }
}

impl Alipay {
    /// Calls the gateway.
    async fn ask(&self, api: &Api, business: (&'static str, String), now: Timestamp) -> Result<Answer> {
        self.send(api, Signed::new(self, api, [business], now)?).await
    }

    async fn send(&self, api: &Api, signed: Signed<'_>) -> Result<Answer> {
        let response = self.client.send(NAME, signed.into_request()).await?;
        let serial = self.serials.as_ref().map(|serials| serials.alipay.as_str());
        answers::read(api, &self.alipay_key, serial, &response)
    }

    /// An address that takes the payer's browser to Alipay. Nothing is asked.
    fn page(&self, order: &Order, checkout: &Checkout, until: Timestamp, now: Timestamp) -> Result<Prepared> {
        let mut own = vec![
            requests::trade(order, PAGE_PRODUCT_CODE, until)?,
            ("notify_url", self.notify_url.clone()),
        ];
        if let Some(return_url) = &checkout.return_url {
            config::address("return_url", return_url)?;
            own.push(("return_url", return_url.clone()));
        }
        let url = Signed::new(self, &requests::PAGE_PAY, own, now)?.into_url();
        Ok(prepared("url", url, until))
    }

    /// A code for the payer's app.
    async fn qr(&self, order: &Order, until: Timestamp, now: Timestamp) -> Result<Prepared> {
        let own = [
            requests::trade(order, &self.qr_product_code, until)?,
            ("notify_url", self.notify_url.clone()),
        ];
        let signed = Signed::new(self, &requests::PRECREATE, own, now)?;
        match self.send(&requests::PRECREATE, signed).await? {
            Err(no) => Err(no.into_error()),
            Ok(said) => {
                same("order", said.out_trade_no.as_deref(), &order.order_no.to_string())?;
                let code = said
                    .qr_code
                    .ok_or_else(|| untrusted("the answer has no qr_code"))?;
                Ok(prepared("qr_code", code, until.min(now.plus(QR_LIFETIME))))
            }
        }
    }

    async fn standing(&self, order: &Order, now: Timestamp) -> Result<Standing> {
        match self.ask(&requests::QUERY, requests::order(order), now).await? {
            Ok(said) => standing(order, said),
            Err(no) if no.is_unknown_trade() => Ok(Standing::Unknown),
            Err(no) => Err(no.into_error()),
        }
    }

    /// An order that is not waiting for its payer can't be closed, and is asked about instead.
    async fn close_now(&self, order: &Order, now: Timestamp) -> Result<Standing> {
        let no = match self.ask(&requests::CLOSE, requests::order(order), now).await? {
            Ok(said) => {
                same("order", said.out_trade_no.as_deref(), &order.order_no.to_string())?;
                return Ok(Standing::Closed);
            }
            Err(no) if no.is_unknown_trade() => return Ok(Standing::Closed),
            Err(no) => no,
        };
        match self.standing(order, now).await? {
            Standing::Unpaid => Err(no.into_error()),
            Standing::Unknown => Ok(Standing::Closed),
            ended => Ok(ended),
        }
    }

    /// `fund_change` is `Y` where this call moved the money. Whatever else is said, an earlier call with the same number
    /// may have done so, and only asking tells.
    async fn refund_now(&self, order: &Order, refund: &OrderRefund, now: Timestamp) -> Result<RefundNotice> {
        let no = match self
            .ask(&requests::REFUND, requests::refund(order, refund), now)
            .await?
        {
            Ok(said) => {
                same("order", said.out_trade_no.as_deref(), &order.order_no.to_string())?;
                if said.fund_change.as_deref() == Some("Y") {
                    return Ok(notice_of(order, refund, RefundStanding::Succeeded));
                }
                None
            }
            Err(no) => Some(no),
        };
        let notice = self.refund_standing(order, refund, now).await?;
        match (no, &notice.standing) {
            (Some(no), RefundStanding::Unknown) => Err(no.into_error()),
            (None, RefundStanding::Unknown) => {
                // Taken, and not done yet: to be asked about later.
                Ok(notice_of(
                    order,
                    refund,
                    RefundStanding::Pending { problem: None },
                ))
            }
            _ => Ok(notice),
        }
    }

    async fn refund_standing(
        &self,
        order: &Order,
        refund: &OrderRefund,
        now: Timestamp,
    ) -> Result<RefundNotice> {
        let business = requests::refund_of(order, refund);
        let said = match self.ask(&requests::REFUND_QUERY, business, now).await? {
            Ok(said) => said,
            Err(no) if no.is_unknown_trade() && no.is_signed => {
                return Ok(notice_of(order, refund, RefundStanding::Unknown));
            }
            Err(no) => return Err(no.into_error()),
        };
        // An answer without a status: Alipay has not got the request, or the refund failed and can be asked for again.
        let Some(status) = &said.refund_status else {
            return Ok(notice_of(order, refund, RefundStanding::Unknown));
        };
        same("order", said.out_trade_no.as_deref(), &order.order_no.to_string())?;
        let refund_no = refund.refund_no(order.order_no);
        same("refund", said.out_request_no.as_deref(), &refund_no)?;
        let amount = said.refund_amount.as_deref().and_then(money::money);
        let standing = match status.as_str() {
            "REFUND_SUCCESS" => RefundStanding::Succeeded,
            "REFUND_FAIL" => RefundStanding::Failed {
                problem: status.clone(),
            },
            _ => RefundStanding::Pending {
                problem: Some(status.clone()),
            },
        };
        if standing == RefundStanding::Succeeded && amount.is_none() {
            return Err(untrusted("the answer does not say how much was refunded"));
        }
        Ok(RefundNotice {
            amount,
            ..notice_of(order, refund, standing)
        })
    }
}

fn prepared(name: &str, value: String, until: Timestamp) -> Prepared {
    Prepared {
        parameters: BTreeMap::from([(name.to_owned(), value)]),
        expires_at: Some(until),
    }
}

/// Of this refund, without an amount: `refund_fee` in Alipay's answer is the sum of all the order's refunds.
fn notice_of(order: &Order, refund: &OrderRefund, standing: RefundStanding) -> RefundNotice {
    RefundNotice {
        order_no: order.order_no.to_string(),
        refund_no: refund.refund_no(order.order_no),
        channel_id: None,
        amount: None,
        standing,
    }
}

/// What `trade_status` means.
fn standing(order: &Order, said: Fields) -> Result<Standing> {
    let order_no = order.order_no.to_string();
    same("order", said.out_trade_no.as_deref(), &order_no)?;
    match said.trade_status.as_deref() {
        Some("WAIT_BUYER_PAY") => Ok(Standing::Unpaid),
        Some("TRADE_CLOSED") => Ok(Standing::Closed),
        Some("TRADE_SUCCESS" | "TRADE_FINISHED") => {
            let amount = said.total_amount.as_deref().and_then(money::money);
            let transaction_id = said
                .trade_no
                .ok_or_else(|| untrusted("the answer has no trade_no"))?;
            let paid_at = said.send_pay_date.as_deref().and_then(china_time::instant);
            Ok(Standing::Paid(Payment {
                order_no,
                transaction_id,
                amount: amount.ok_or_else(|| untrusted("the answer has no total_amount in yuan"))?,
                paid_at,
            }))
        }
        _ => Err(untrusted("the answer has no trade_status that is known")),
    }
}

impl Channel for Alipay {
    fn name(&self) -> &str {
        NAME
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    fn check(&self, price: &Money) -> Result<()> {
        if price.currency != money::CURRENCY {
            let problem = "is none that Alipay takes here";
            return Err(Error::invalid(
                "currency",
                problem,
                money::CURRENCY,
                &price.currency,
            ));
        }
        if !(money::FEN_MIN..=money::FEN_MAX).contains(&price.minor) {
            let limit = format!("{} .. {}", money::FEN_MIN, money::FEN_MAX);
            return Err(Error::invalid(
                "price",
                "is out of Alipay's range",
                limit,
                price.minor,
            ));
        }
        Ok(())
    }

    /// Takes `page` (the first; gives `url`) and `qr` (gives `qr_code`). `url` holds no secret, but whoever has it can
    /// pay the order.
    fn prepare<'a>(
        &'a self,
        order: &'a Order,
        checkout: &'a Checkout,
        now: Timestamp,
    ) -> Asking<'a, Prepared> {
        Box::pin(async move {
            self.check(&order.price)?;
            let until = requests::payable_until(order, now)?;
            match checkout.method.as_deref() {
                None | Some("page") => self.page(order, checkout, until, now),
                Some("qr") => self.qr(order, until, now).await,
                Some(other) => {
                    let other: String = other.chars().take(32).collect();
                    Err(Error::invalid(
                        "method",
                        "is none of Alipay's",
                        "page or qr",
                        other,
                    ))
                }
            }
        })
    }

    fn query<'a>(&'a self, order: &'a Order, now: Timestamp) -> Asking<'a, Standing> {
        Box::pin(self.standing(order, now))
    }

    fn close<'a>(&'a self, order: &'a Order, now: Timestamp) -> Asking<'a, Standing> {
        Box::pin(self.close_now(order, now))
    }

    fn refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        now: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        Box::pin(self.refund_now(order, refund, now))
    }

    fn query_refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        now: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        Box::pin(self.refund_standing(order, refund, now))
    }

    /// The body is all that counts: headers and times are not signed. Alipay sends the same notification up to eight
    /// times within 25 hours, and anybody could send it again later; the order's state is what stands against that.
    fn notification(&self, _headers: &Headers, body: &[u8], _now: Timestamp) -> Result<Notice> {
        notice::read(self, body)
    }

    /// `success` and nothing else, or Alipay sends it again.
    fn reply(&self, taken: bool) -> Reply {
        Reply {
            status: 200,
            content_type: "text/plain",
            body: if taken { "success" } else { "failure" }.into(),
        }
    }

    /// Takes the file `业务明细` out of the ZIP that Alipay publishes for a day (`bill_type` `trade`).
    fn read_bill<'a>(&'a self, bill: &'a [u8]) -> Result<BillLines<'a>> {
        Ok(Box::new(bill::lines(bill)?))
    }
}
