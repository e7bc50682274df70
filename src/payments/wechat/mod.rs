//! WeChat Pay, APIv3, for a merchant in mainland China who is connected directly: QR codes (`native`), inside WeChat and
//! in mini programs (`jsapi`), and in other browsers of a phone (`h5`).
//!
//! The facts are from WeChat Pay's documentation, of which each file names its pages, and from its official SDK for Go,
//! <https://github.com/wechatpay-apiv3/wechatpay-go>.
//!
//! | file | what is in it | I/O |
//! | --- | --- | --- |
//! | `config` | the configuration and its checks | |
//! | `sign` | signatures of requests, `paySign` | randomness |
//! | `verify` | signatures of notifications and answers | |
//! | `notice` | the envelope of a notification | |
//! | `answers` | transactions and refunds | |
//! | `requests` | paths and bodies | |
//! | `refusals` | what an answer means before it is read | |
//! | `bill` | the trade bill of a day | |
//! | this one | the channel | requests |
//!
//! # What is trusted
//!
//! A notification or an answer counts when one of the configured keys has signed it within five minutes of the ledger's
//! clock. An answer without a good signature to a request that changes something leaves its outcome unknown: it may have
//! been done. Errors 401, 429 and 5xx need no signature, because nothing follows from them but that it was not
//! confirmed; WeChat Pay signs the others once it has verified ours.
//!
//! # What is not here
//!
//! SM2 and SM4 (`WECHATPAY2-SM2-WITH-SM3`): aws-lc-rs has neither, and such a notification is refused. Payment codes,
//! service providers and combined orders. Downloading keys, certificates and bills: a host puts the first two into the
//! configuration, and hands over the third.

mod answers;
mod bill;
mod config;
mod notice;
mod refusals;
mod requests;
mod sign;
#[cfg(test)]
mod tests;
mod verify;

pub use config::{BASE_URL, VerificationKey, WeChatConfig};

use super::address;
use super::http::{Client, Request};
use super::{
    Asking, BillLines, Channel, Checkout, Headers, NOTIFICATION_BYTES_MAX, Notice, Pace, Prepared,
    RefundNotice, RefundStanding, Reply, Standing,
};
use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Money, Order, OrderRefund};
use answers::Transaction;
use aws_lc_rs::aead::LessSafeKey;
use refusals::Answer;
use requests::{Call, Way};
use serde_json::Value;
use sign::Merchant;
use std::collections::BTreeMap;
use std::fmt;
use verify::Platform;

/// What the channel is called.
const NAME: &str = "wechat";
/// The only currency of a merchant in mainland China.
const CURRENCY: &str = "CNY";

/// The longest address that a payer is sent to afterwards, in bytes. WeChat Pay names no limit.
const RETURN_URL_BYTES_MAX: usize = 2048;

/// Who we are, and where we hear.
struct Identity {
    merchant_id: String,
    app_id: String,
    notify_url: String,
    refund_notify_url: String,
}

/// WeChat Pay as a [`Channel`].
///
/// # Examples
///
/// ```no_run
/// use jointo_credits::payments::Pace;
/// use jointo_credits::payments::wechat::{VerificationKey, WeChatConfig, WeChatPay};
///
/// # fn main() -> jointo_credits::Result<()> {
/// # let (merchant_key, wechat_key, api_v3_key) = (String::new(), String::new(), String::new());
/// let channel = WeChatPay::new(WeChatConfig {
///     merchant_id: "1900000109".into(),
///     app_id: "wxd678efh567hg6787".into(),
///     api_v3_key,
///     merchant_serial: "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C".into(),
///     merchant_key,
///     verification_keys: vec![VerificationKey::PublicKey {
///         id: "PUB_KEY_ID_0119000001092024112000000000000001".into(),
///         pem: wechat_key,
///     }],
///     notify_url: "https://shop.example/wechat".into(),
///     refund_notify_url: None,
///     base_url: None,
///     pace: Pace::default(),
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct WeChatPay {
    identity: Identity,
    merchant: Merchant,
    platform: Platform,
    resource_key: LessSafeKey,
    base_url: String,
    client: Client,
    pace: Pace,
}

impl fmt::Debug for WeChatPay {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeChatPay")
            .field("merchant_id", &self.identity.merchant_id)
            .field("app_id", &self.identity.app_id)
            .field("base_url", &self.base_url)
            .field("verification_keys", &self.platform.keys.keys())
            .finish_non_exhaustive()
    }
}

impl WeChatPay {
    /// Signs a request, sends it, verifies the answer and says what it means.
    async fn ask(&self, call: Call, now: Timestamp) -> Result<Answer> {
        let writes = call.writes();
        let nonce = sign::nonce()?;
        let signed = (call.method, call.target.as_str(), call.body.as_slice());
        let seconds = verify::seconds(now);
        let authorization =
            self.merchant
                .authorization(&self.identity.merchant_id, signed, &nonce, seconds)?;
        let mut headers = vec![
            ("Authorization", authorization),
            ("Accept", "application/json".into()),
            ("Content-Type", "application/json".into()),
        ];
        // Which key answers shall be signed with, <https://pay.weixin.qq.com/doc/brand/4015433973>.
        if let Some(key) = &self.platform.preferred {
            headers.push(("Wechatpay-Serial", key.clone()));
        }
        let request = Request {
            method: call.method,
            url: format!("{}{}", self.base_url, call.target),
            headers,
            body: call.body,
        };
        let response = self.client.send(NAME, request).await?;
        let verified = self.platform.verify(&response.headers, &response.body, now);
        refusals::weigh(writes, &response, verified)
    }

    async fn prepare_order(&self, order: &Order, checkout: &Checkout, now: Timestamp) -> Result<Prepared> {
        self.check(&order.price)?;
        let way = Way::of(checkout)?;
        let page = checkout.return_url.as_deref().filter(|_| way == Way::H5);
        if let Some(page) = page {
            address::address("return_url", page, RETURN_URL_BYTES_MAX)?;
        }
        let call = requests::prepay(&self.identity, way, order, checkout, now)?;
        let body = self.ask(call, now).await?.done()?;
        let body: Option<Value> = serde_json::from_slice(&body).ok();
        let found = body.as_ref().and_then(|body| body.get(way.field())?.as_str());
        let found = found.filter(|found| !found.is_empty());
        let found = found.ok_or_else(|| refusals::useless(true, "it lacks what the payer needs"))?;
        Ok(Prepared {
            parameters: match way {
                Way::Native => BTreeMap::from([("code_url".into(), found.into())]),
                Way::Jsapi => self.bridge(found, now)?,
                Way::H5 => BTreeMap::from([("h5_url".into(), returning(found, page)?)]),
            },
            expires_at: Some(now.plus(way.lives()).min(order.expires_at)),
        })
    }

    /// What `WeixinJSBridge` and `wx.requestPayment` take.
    fn bridge(&self, prepay_id: &str, now: Timestamp) -> Result<BTreeMap<String, String>> {
        let app_id = &self.identity.app_id;
        let nonce = sign::nonce()?;
        let package = format!("prepay_id={prepay_id}");
        let seconds = verify::seconds(now);
        let signature = self.merchant.pay_sign(app_id, seconds, &nonce, &package)?;
        Ok(BTreeMap::from([
            ("appId".into(), app_id.clone()),
            ("timeStamp".into(), seconds.to_string()),
            ("nonceStr".into(), nonce),
            ("package".into(), package),
            ("signType".into(), "RSA".into()),
            ("paySign".into(), signature),
        ]))
    }

    async fn query_order(&self, order: &Order, now: Timestamp) -> Result<Standing> {
        let body = match self.ask(requests::query(&self.identity, order), now).await? {
            Answer::Done(body) => body,
            Answer::Refused(refused) if refused.order_is_unknown() => return Ok(Standing::Unknown),
            Answer::Refused(refused) if refused.order_is_closed() => return Ok(Standing::Closed),
            Answer::Refused(refused) => return Err(refused.into()),
        };
        let transaction = Transaction::parse(&body, &self.identity).and_then(|transaction| {
            if transaction.out_trade_no == order.order_no.to_string() {
                transaction.standing()
            } else {
                Err("it is about another order".into())
            }
        });
        transaction.map_err(|problem| refusals::useless(false, &problem))
    }

    async fn close_order(&self, order: &Order, now: Timestamp) -> Result<Standing> {
        let refused = match self.ask(requests::close(&self.identity, order), now).await? {
            Answer::Done(_) => return Ok(Standing::Closed),
            Answer::Refused(refused) => refused,
        };
        // Paid, closed or unknown: codes differ between the pages of the documentation, the order's own state does not.
        match self.query_order(order, now).await? {
            Standing::Unknown => Ok(Standing::Closed),
            Standing::Unpaid => Err(refused.into()),
            ended => Ok(ended),
        }
    }

    async fn refund_order(
        &self,
        order: &Order,
        refund: &OrderRefund,
        now: Timestamp,
    ) -> Result<RefundNotice> {
        let call = requests::refund(&self.identity, order, refund)?;
        let body = self.ask(call, now).await?.done()?;
        refund_of(true, &body, order, refund)
    }

    async fn query_order_refund(
        &self,
        order: &Order,
        refund: &OrderRefund,
        now: Timestamp,
    ) -> Result<RefundNotice> {
        match self.ask(requests::query_refund(order, refund), now).await? {
            Answer::Done(body) => refund_of(false, &body, order, refund),
            Answer::Refused(refused) if refused.refund_is_unknown() => Ok(RefundNotice {
                order_no: order.order_no.to_string(),
                refund_no: refund.refund_no(order.order_no),
                channel_id: None,
                amount: None,
                standing: RefundStanding::Unknown,
            }),
            Answer::Refused(refused) => Err(refused.into()),
        }
    }
}

fn refund_of(writes: bool, body: &[u8], order: &Order, refund: &OrderRefund) -> Result<RefundNotice> {
    let refund_no = refund.refund_no(order.order_no);
    answers::refund_answer(body, &order.order_no.to_string(), &refund_no)
        .map_err(|problem| refusals::useless(writes, &problem))
}

/// `h5_url`, with the page that the payer comes back to: `redirect_url`,
/// <https://pay.weixin.qq.com/wiki/doc/api/H5.php?chapter=15_4>.
fn returning(h5_url: &str, page: Option<&str>) -> Result<String> {
    let Some(page) = page else {
        return Ok(h5_url.into());
    };
    let mut url =
        reqwest::Url::parse(h5_url).map_err(|_| refusals::useless(true, "its h5_url is no address"))?;
    url.query_pairs_mut().append_pair("redirect_url", page);
    Ok(url.into())
}

impl Channel for WeChatPay {
    fn name(&self) -> &str {
        NAME
    }

    fn pace(&self) -> Pace {
        self.pace
    }

    /// Yuan, from one fen on.
    fn check(&self, price: &Money) -> Result<()> {
        if price.currency != CURRENCY {
            return Err(Error::invalid(
                "currency",
                "can't be paid with WeChat Pay",
                CURRENCY,
                &price.currency,
            ));
        }
        if price.minor < 1 {
            return Err(Error::invalid(
                "minor",
                "can't be paid",
                "1 fen or more",
                price.minor,
            ));
        }
        Ok(())
    }

    /// `native` has the parameter `code_url`, `h5` has `h5_url`, and `jsapi` those that `WeixinJSBridge` takes: `appId`,
    /// `timeStamp`, `nonceStr`, `package`, `signType` and `paySign`.
    fn prepare<'a>(
        &'a self,
        order: &'a Order,
        checkout: &'a Checkout,
        now: Timestamp,
    ) -> Asking<'a, Prepared> {
        Box::pin(self.prepare_order(order, checkout, now))
    }

    fn query<'a>(&'a self, order: &'a Order, now: Timestamp) -> Asking<'a, Standing> {
        Box::pin(self.query_order(order, now))
    }

    fn close<'a>(&'a self, order: &'a Order, now: Timestamp) -> Asking<'a, Standing> {
        Box::pin(self.close_order(order, now))
    }

    fn refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        now: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        Box::pin(self.refund_order(order, refund, now))
    }

    fn query_refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        now: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        Box::pin(self.query_order_refund(order, refund, now))
    }

    fn notification(&self, headers: &Headers, body: &[u8], now: Timestamp) -> Result<Notice> {
        if body.len() > NOTIFICATION_BYTES_MAX {
            let problem = format!("{} bytes, {NOTIFICATION_BYTES_MAX} at the most", body.len());
            return Err(refusals::untrusted(&problem));
        }
        self.platform
            .verify(headers, body, now)
            .and_then(|()| notice::read(body, &self.resource_key, &self.identity))
            .map_err(|problem| refusals::untrusted(&problem))
    }

    /// Its status is what counts: <https://pay.weixin.qq.com/docs/merchant/products/notification/introduction.html>. WeChat Pay waits five seconds
    /// for it, and notifies again, 15 times within 24 hours, unless it is a good one.
    fn reply(&self, taken: bool) -> Reply {
        let (status, body) = if taken {
            (200, r#"{"code":"SUCCESS"}"#)
        } else {
            (500, r#"{"code":"FAIL","message":"not taken, send it again"}"#)
        };
        Reply {
            status,
            content_type: "application/json",
            body: body.into(),
        }
    }

    fn read_bill<'a>(&'a self, bill: &'a [u8]) -> Result<BillLines<'a>> {
        Ok(Box::new(bill::lines(bill, &self.identity.merchant_id)?))
    }
}
