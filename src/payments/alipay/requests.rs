//! What is asked of Alipay's gateway: parameters that are sorted, signed and sent, the business part of them as JSON.
//!
//! As Alipay's SDKs do, the common parameters and the signature go into the URL, `biz_content` into the body. What is
//! signed are all of them, `sign_type` too.

use super::{Alipay, CHARSET, form, keys, money};
use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Order, OrderRefund};
use crate::payments::china_time;
use crate::payments::http::{Method, Request};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest title of an order, in characters, as the tables of these calls say.
const SUBJECT_CHARACTERS_MAX: usize = 256;

/// How long a trade can wait for its payer at the most (`time_expire`: 1m to 15d).
const WAITING_MAX: Duration = Duration::from_secs(15 * 24 * 3600);

/// A method of the gateway.
#[derive(Debug)]
pub(super) struct Api {
    /// As the gateway calls it.
    pub(super) method: &'static str,
    /// Whether it changes anything at Alipay's.
    pub(super) writes: bool,
}

/// Makes an order payable in a browser.
pub(super) const PAGE_PAY: Api = Api {
    method: "alipay.trade.page.pay",
    writes: true,
};
/// Makes it payable by scanning a code.
pub(super) const PRECREATE: Api = Api {
    method: "alipay.trade.precreate",
    writes: true,
};
/// Asks how an order stands.
pub(super) const QUERY: Api = Api {
    method: "alipay.trade.query",
    writes: false,
};
/// Ends the waiting for a payer.
pub(super) const CLOSE: Api = Api {
    method: "alipay.trade.close",
    writes: true,
};
/// Gives money back.
pub(super) const REFUND: Api = Api {
    method: "alipay.trade.refund",
    writes: true,
};
/// Asks how a refund stands.
pub(super) const REFUND_QUERY: Api = Api {
    method: "alipay.trade.fastpay.refund.query",
    writes: false,
};

impl Api {
    /// What the answer calls its inner object.
    pub(super) fn response_name(&self) -> String {
        format!("{}_response", self.method.replace('.', "_"))
    }
}

/// A signed request.
pub(super) struct Signed<'a> {
    gateway: &'a str,
    parameters: BTreeMap<&'static str, String>,
}

impl<'a> Signed<'a> {
    /// Signs the common parameters with these of the call.
    ///
    /// # Errors
    /// `validation`, where `now` is no time.
    pub(super) fn new(
        alipay: &'a Alipay,
        api: &Api,
        own: impl IntoIterator<Item = (&'static str, String)>,
        now: Timestamp,
    ) -> Result<Self> {
        let mut parameters = BTreeMap::from([
            ("app_id", alipay.app_id.clone()),
            ("charset", CHARSET.to_owned()),
            ("format", "JSON".to_owned()),
            ("method", api.method.to_owned()),
            ("sign_type", keys::SIGN_TYPE.to_owned()),
            ("timestamp", china_time::text("now", now)?),
            ("version", "1.0".to_owned()),
        ]);
        if let Some(serials) = &alipay.serials {
            parameters.insert("app_cert_sn", serials.app.clone());
            parameters.insert("alipay_root_cert_sn", serials.root.clone());
        }
        parameters.extend(own);
        let sorted = parameters.iter();
        let content = form::content(sorted.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let signature = alipay.app_key.sign(&content)?;
        parameters.insert("sign", signature);
        Ok(Signed {
            gateway: &alipay.gateway,
            parameters,
        })
    }

    /// Where to send a browser.
    pub(super) fn into_url(self) -> String {
        url(self.gateway, self.parameters.iter())
    }

    /// What to send from here.
    pub(super) fn into_request(mut self) -> Request {
        let business = self.parameters.remove_entry("biz_content");
        Request {
            method: Method::Post,
            url: url(self.gateway, self.parameters.iter()),
            headers: vec![(
                "content-type",
                format!("application/x-www-form-urlencoded;charset={CHARSET}"),
            )],
            body: encoded(business.iter().map(|(name, value)| (name, value))).into_bytes(),
        }
    }
}

fn url<'a>(gateway: &str, parameters: impl Iterator<Item = (&'a &'static str, &'a String)>) -> String {
    format!("{gateway}?{}", encoded(parameters))
}

fn encoded<'a>(parameters: impl Iterator<Item = (&'a &'static str, &'a String)>) -> String {
    let mut text = form_urlencoded::Serializer::new(String::new());
    text.extend_pairs(parameters).finish()
}

/// Until when an order can be paid: its own end, or the latest that Alipay takes. The same whenever it is asked, since
/// Alipay refuses an order that is told again with other values.
///
/// # Errors
/// `validation`, where that has passed.
pub(super) fn payable_until(order: &Order, now: Timestamp) -> Result<Timestamp> {
    let until = order.expires_at.min(order.created_at.plus(WAITING_MAX));
    if until <= now {
        let problem = "has passed: nobody can pay this order any more";
        return Err(Error::invalid(
            "expires_at",
            problem,
            format!("after {now}"),
            until,
        ));
    }
    Ok(until)
}

/// `biz_content` of an order that is to be paid.
///
/// # Errors
/// `validation`.
pub(super) fn trade(order: &Order, product_code: &str, until: Timestamp) -> Result<(&'static str, String)> {
    let business = json!({
        "out_trade_no": order.order_no.to_string(),
        "product_code": product_code,
        "subject": subject(&order.subject),
        "time_expire": china_time::text("expires_at", until)?,
        "total_amount": money::yuan(order.price.minor),
    });
    Ok(("biz_content", business.to_string()))
}

/// `biz_content` that names an order.
pub(super) fn order(order: &Order) -> (&'static str, String) {
    let business = json!({ "out_trade_no": order.order_no.to_string() });
    ("biz_content", business.to_string())
}

/// `biz_content` of a refund. Its number is what makes a repeated request the same one. Without a reason: Alipay shows
/// that to the payer, and ours is the operator's.
pub(super) fn refund(order: &Order, refund: &OrderRefund) -> (&'static str, String) {
    let business = json!({
        "out_request_no": refund.refund_no(order.order_no),
        "out_trade_no": order.order_no.to_string(),
        "refund_amount": money::yuan(refund.minor),
    });
    ("biz_content", business.to_string())
}

/// `biz_content` that names a refund.
pub(super) fn refund_of(order: &Order, refund: &OrderRefund) -> (&'static str, String) {
    let business = json!({
        "out_request_no": refund.refund_no(order.order_no),
        "out_trade_no": order.order_no.to_string(),
    });
    ("biz_content", business.to_string())
}

/// A title that Alipay takes: without `/`, `=` and `&`, which its tables forbid, and without line breaks and the like.
/// What it forbids looks the same in full width.
fn subject(title: &str) -> String {
    let allowed = title.chars().map(|character| match character {
        '/' => '／',
        '=' => '＝',
        '&' => '＆',
        control if control.is_control() => ' ',
        other => other,
    });
    allowed.take(SUBJECT_CHARACTERS_MAX).collect()
}
