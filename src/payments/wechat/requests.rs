//! What is asked of WeChat Pay: paths and bodies. Everything is made of the order and the configuration alone, so that a
//! request that is repeated is the same request.

use super::{CURRENCY, Identity};
use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Order, OrderRefund};
use crate::payments::Checkout;
use crate::payments::china_time::BEIJING;
use crate::payments::http::Method;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

/// The longest `description`, in characters: <https://pay.weixin.qq.com/doc/v3/merchant/4012791834>.
const DESCRIPTION_CHARS_MAX: usize = 127;
/// The longest `reason`: the documentation says `string(80)`, and whether it counts characters or bytes is not said.
const REASON_BYTES_MAX: usize = 80;

/// In which way somebody pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A QR code.
    Native,
    /// Inside WeChat, or in a mini program.
    Jsapi,
    /// In another browser of a phone.
    H5,
}

impl Way {
    /// What a checkout asks for.
    pub(super) fn of(checkout: &Checkout) -> Result<Self> {
        match checkout.method.as_deref() {
            None | Some("native") => Ok(Way::Native),
            Some("jsapi") => Ok(Way::Jsapi),
            Some("h5") => Ok(Way::H5),
            Some(other) => {
                let limit = "native, jsapi or h5";
                Err(Error::invalid(
                    "method",
                    "is no way to pay with WeChat Pay",
                    limit,
                    other,
                ))
            }
        }
    }

    /// The end of the path.
    const fn as_str(self) -> &'static str {
        match self {
            Way::Native => "native",
            Way::Jsapi => "jsapi",
            Way::H5 => "h5",
        }
    }

    /// The field of the answer that is needed.
    pub(super) const fn field(self) -> &'static str {
        match self {
            Way::Native => "code_url",
            Way::Jsapi => "prepay_id",
            Way::H5 => "h5_url",
        }
    }

    /// How long that is good, as the vendor answers merchants in its forum: two hours, and five minutes for H5. What is
    /// asked for again is new.
    pub(super) const fn lives(self) -> Duration {
        match self {
            Way::Native | Way::Jsapi => Duration::from_secs(2 * 60 * 60),
            Way::H5 => Duration::from_secs(5 * 60),
        }
    }
}

/// A request, before it is signed.
pub(super) struct Call {
    /// How.
    pub(super) method: Method,
    /// The path and the query.
    pub(super) target: String,
    /// The body: JSON, or nothing.
    pub(super) body: Vec<u8>,
}

impl Call {
    fn get(target: String) -> Self {
        Call {
            method: Method::Get,
            target,
            body: Vec::new(),
        }
    }

    fn post(target: String, body: &Value) -> Self {
        Call {
            method: Method::Post,
            target,
            body: body.to_string().into_bytes(),
        }
    }

    /// Whether it changes something there.
    pub(super) fn writes(&self) -> bool {
        self.method == Method::Post
    }
}

/// Tells WeChat Pay of an order: `POST /v3/pay/transactions/{native|jsapi|h5}`.
pub(super) fn prepay(
    us: &Identity,
    way: Way,
    order: &Order,
    checkout: &Checkout,
    now: Timestamp,
) -> Result<Call> {
    if order.expires_at <= now {
        let limit = format!("later than {now}");
        return Err(Error::invalid(
            "expires_at",
            "the order has expired",
            limit,
            order.expires_at,
        ));
    }
    let mut body = json!({
        "appid": us.app_id,
        "mchid": us.merchant_id,
        "description": description(&order.subject),
        "out_trade_no": order.order_no.to_string(),
        "time_expire": beijing(order.expires_at)?,
        "notify_url": us.notify_url,
        "amount": { "total": order.price.minor, "currency": order.price.currency },
    });
    let more = match way {
        Way::Native => None,
        Way::Jsapi => {
            let payer = checkout.payer.as_deref().filter(|payer| !payer.is_empty());
            let payer = payer.ok_or_else(|| {
                Error::invalid(
                    "payer",
                    "jsapi needs to know who pays",
                    "the openid of the payer",
                    "nothing",
                )
            })?;
            Some(("payer", json!({ "openid": payer })))
        }
        Way::H5 => {
            let ip = checkout.payer_ip.as_deref().unwrap_or_default();
            let ip: IpAddr = ip.parse().map_err(|_| {
                Error::invalid(
                    "payer_ip",
                    "h5 needs the address of the payer",
                    "IPv4 or IPv6",
                    ip,
                )
            })?;
            let scene = json!({ "payer_client_ip": ip.to_string(), "h5_info": { "type": "Wap" } });
            Some(("scene_info", scene))
        }
    };
    if let (Some((name, value)), Value::Object(fields)) = (more, &mut body) {
        fields.insert(name.into(), value);
    }
    Ok(Call::post(
        format!("/v3/pay/transactions/{}", way.as_str()),
        &body,
    ))
}

/// Asks how an order stands: `GET /v3/pay/transactions/out-trade-no/{out_trade_no}`.
pub(super) fn query(us: &Identity, order: &Order) -> Call {
    Call::get(format!(
        "/v3/pay/transactions/out-trade-no/{}?mchid={}",
        order.order_no, us.merchant_id
    ))
}

/// Closes an order: `POST /v3/pay/transactions/out-trade-no/{out_trade_no}/close`.
pub(super) fn close(us: &Identity, order: &Order) -> Call {
    let target = format!("/v3/pay/transactions/out-trade-no/{}/close", order.order_no);
    Call::post(target, &json!({ "mchid": us.merchant_id }))
}

/// Asks for a refund: `POST /v3/refund/domestic/refunds`. The payment is named by WeChat Pay's own name for it where it
/// is known, as the documentation recommends.
pub(super) fn refund(us: &Identity, order: &Order, refund: &OrderRefund) -> Result<Call> {
    let price = &order.price;
    if price.currency != CURRENCY || !(1..=price.minor).contains(&refund.minor) {
        let limit = format!("1 to {} fen", price.minor);
        return Err(Error::invalid("minor", "can't be refunded", limit, refund.minor));
    }
    let mut body = json!({
        "out_refund_no": refund.refund_no(order.order_no),
        "notify_url": us.refund_notify_url,
        "amount": { "refund": refund.minor, "total": price.minor, "currency": price.currency },
    });
    let payment = match &order.state.transaction_id {
        Some(id) => ("transaction_id", id.clone()),
        None => ("out_trade_no", order.order_no.to_string()),
    };
    let reason = refund
        .reason
        .as_deref()
        .map(printable)
        .filter(|text| !text.is_empty());
    if let Value::Object(fields) = &mut body {
        fields.insert(payment.0.into(), payment.1.into());
        if let Some(mut reason) = reason {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            fields.insert("reason".into(), reason.into());
        }
    }
    Ok(Call::post("/v3/refund/domestic/refunds".into(), &body))
}

/// Asks how a refund stands: `GET /v3/refund/domestic/refunds/{out_refund_no}`.
pub(super) fn query_refund(order: &Order, refund: &OrderRefund) -> Call {
    Call::get(format!(
        "/v3/refund/domestic/refunds/{}",
        refund.refund_no(order.order_no)
    ))
}

fn description(subject: &str) -> String {
    printable(subject).chars().take(DESCRIPTION_CHARS_MAX).collect()
}

/// Without line breaks and the like, which would break the lines of a bill.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A time to the second, as the documentation writes it: `2018-06-08T10:34:56+08:00`.
fn beijing(at: Timestamp) -> Result<String> {
    let time = jiff::Timestamp::from_second(super::verify::seconds(at));
    let time = time.map_err(|_| Error::invalid("expires_at", "is no time", Timestamp::MAX, at))?;
    Ok(time.display_with_offset(BEIJING).to_string())
}
