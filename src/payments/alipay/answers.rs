//! What Alipay's gateway answers: `{"alipay_trade_query_response":{...},"sign":"..."}`.
//!
//! The signature is over the text of the inner object exactly as it came, so nothing is written anew before it is
//! verified. `code` is `10000` where the call was understood, which says nothing of trades and refunds yet.
//!
//! # Without a signature
//!
//! The gateway itself answers unsigned where it does not get as far as the app (`isv.invalid-app-id` and the like, tried by others
//! on 2026-09-11), and Alipay's own SDKs take any failure unsigned. What is concluded from one:
//!
//! | unsigned | what follows |
//! | --- | --- |
//! | a success | nothing: it is refused |
//! | `20000`, `40005`, `SYSTEM_ERROR` | the call is asked again, later |
//! | another failure | it is told with its code, as a signed one would be |
//! | ... that a trade is unknown, of a query or a closing | the order can be closed. Should it be paid all the same, the payment settles it |
//! | ... that a trade is unknown, of a refund | it is told with its code. A refund counts as failed only where that is signed: its credits go back then |
//!
//! We ask for UTF-8, so an app's answer is in UTF-8. One in GBK is the gateway's own, of something that went wrong before it
//! has looked at `charset`: it counts as unsigned, whatever it has for a signature.

use super::keys::AlipayKey;
use super::requests::Api;
use super::{NAME, untrusted};
use crate::Written;
use crate::error::{Error, Result};
use crate::payments::http;
use crate::payments::http::Response;
use encoding_rs::GB18030;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

const UNDERSTOOD: &str = "10000";
const UNAVAILABLE: &str = "20000";
const TOO_MANY_CALLS: &str = "40005";

/// The longest message of Alipay's that is passed on, in characters: some repeat the whole request.
const MESSAGE_CHARACTERS_MAX: usize = 200;

/// An answer: what it holds, which is signed, or Alipay's no.
pub(super) type Answer = std::result::Result<Fields, No>;

/// Why Alipay says no.
#[derive(Debug)]
pub(super) struct No {
    /// `sub_code`, such as `ACQ.TRADE_NOT_EXIST`; `code` where there is none.
    pub(super) reason: String,
    /// `sub_msg`, or `msg`.
    pub(super) message: String,
    /// Whether Alipay has signed it.
    pub(super) is_signed: bool,
}

impl No {
    /// Whether Alipay does not know the trade. In the tables of some calls the prefix is missing.
    pub(super) fn is_unknown_trade(&self) -> bool {
        matches!(self.reason.as_str(), "ACQ.TRADE_NOT_EXIST" | "TRADE_NOT_EXIST")
    }

    /// As callers are told.
    pub(super) fn into_error(self) -> Error {
        Error::PaymentChannel {
            channel: NAME.into(),
            reason: self.reason,
            message: self.message,
        }
    }
}

/// What answers hold, as far as it is looked at. Amounts are texts, or numbers in the vendor's own examples; either way
/// what counts is how they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    #[serde(deserialize_with = "written")]
    code: Option<String>,
    #[serde(deserialize_with = "written")]
    msg: Option<String>,
    #[serde(deserialize_with = "written")]
    sub_code: Option<String>,
    #[serde(deserialize_with = "written")]
    sub_msg: Option<String>,
    /// The order.
    #[serde(deserialize_with = "written")]
    pub(super) out_trade_no: Option<String>,
    /// The payment.
    #[serde(deserialize_with = "written")]
    pub(super) trade_no: Option<String>,
    /// How it stands.
    #[serde(deserialize_with = "written")]
    pub(super) trade_status: Option<String>,
    /// What the order costs, in yuan.
    #[serde(deserialize_with = "written")]
    pub(super) total_amount: Option<String>,
    /// When it was paid.
    #[serde(deserialize_with = "written")]
    pub(super) send_pay_date: Option<String>,
    /// What the payer scans.
    #[serde(deserialize_with = "written")]
    pub(super) qr_code: Option<String>,
    /// `Y` where this very call moved money.
    #[serde(deserialize_with = "written")]
    pub(super) fund_change: Option<String>,
    /// The refund.
    #[serde(deserialize_with = "written")]
    pub(super) out_request_no: Option<String>,
    /// How much of it, in yuan.
    #[serde(deserialize_with = "written")]
    pub(super) refund_amount: Option<String>,
    /// How it stands.
    #[serde(deserialize_with = "written")]
    pub(super) refund_status: Option<String>,
}

/// A text, or a number as it is written; `None` for an empty text or `null`.
fn written<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<String>, D::Error> {
    let Some(value) = Option::<&'de RawValue>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let text = match value.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(value.get()).map_err(D::Error::custom)?,
        Some(b'-' | b'0'..=b'9') => value.get().to_owned(),
        _ => return Err(D::Error::custom("neither a text nor a number")),
    };
    Ok((!text.is_empty()).then_some(text))
}

/// The outer object: every name once, every value as it came.
struct Envelope<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.iter().any(|(each, _)| *each == name) {
                        return Err(A::Error::custom("a member is there twice"));
                    }
                    members.push((name, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Envelope)
    }
}

impl<'a> Envelope<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        let found = self.0.iter().find(|(each, _)| each == name);
        found.map(|(_, value)| *value)
    }

    fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }
}

/// Verifies an answer, then reads it. `serial` is what our certificate of Alipay's is called, in certificate mode.
///
/// # Errors
/// [`Error::PaymentVerification`] where it can't be trusted, and [`Error::Unavailable`] where Alipay does not say what
/// became of the call.
pub(super) fn read(api: &Api, key: &AlipayKey, serial: Option<&str>, response: &Response) -> Result<Answer> {
    if response.status != 200 {
        return Err(unavailable(api, &format!("HTTP status {}", response.status)));
    }
    let no_json = || untrusted(format!("the answer to {} is not Alipay's JSON", api.method));
    let in_utf8 = std::str::from_utf8(&response.body).ok();
    let text = match in_utf8 {
        Some(text) => Cow::Borrowed(text),
        None => GB18030
            .decode_without_bom_handling_and_without_replacement(&response.body)
            .ok_or_else(no_json)?,
    };
    let envelope: Envelope<'_> = serde_json::from_str(&text).map_err(|_| no_json())?;
    let own = envelope.get(&api.response_name());
    let inner = match (own, envelope.get("error_response")) {
        (Some(inner), None) | (None, Some(inner)) => inner.get(),
        _ => {
            return Err(untrusted(format!(
                "the answer to {} has no single response",
                api.method
            )));
        }
    };
    let signature = envelope
        .text("sign")
        .filter(|text| !text.is_empty() && in_utf8.is_some());
    if let Some(signature) = &signature
        && !key.verifies(inner.as_bytes(), signature.as_bytes())
    {
        let other = envelope.text("alipay_cert_sn");
        let other = other.filter(|other| serial.is_some_and(|ours| ours != other));
        return Err(untrusted(match other {
            Some(_) => format!(
                "the answer to {} is signed with another certificate than alipay_cert: download Alipay's current one",
                api.method
            ),
            None => format!("the signature of the answer to {} is not Alipay's", api.method),
        }));
    }
    let fields: Fields = serde_json::from_str(inner)
        .map_err(|_| untrusted(format!("the answer to {} can't be read", api.method)))?;
    let code = fields.code.as_deref().unwrap_or_default();
    let reason = fields.sub_code.as_deref().unwrap_or(code);
    if signature.is_none() && matches!(code, UNDERSTOOD | "") {
        return Err(untrusted(format!(
            "the answer to {} has no signature",
            api.method
        )));
    }
    if own.is_some() && code == UNDERSTOOD {
        return Ok(Ok(fields));
    }
    if matches!(code, UNAVAILABLE | TOO_MANY_CALLS) || reason.contains("SYSTEM_ERROR") {
        return Err(unavailable(api, reason));
    }
    let message = fields.sub_msg.as_deref().or(fields.msg.as_deref());
    Ok(Err(No {
        reason: shortened(reason),
        message: shortened(message.unwrap_or_default()),
        is_signed: signature.is_some(),
    }))
}

fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_CHARACTERS_MAX).collect()
}

/// Alipay does not say what became of a call.
fn unavailable(api: &Api, reason: &str) -> Error {
    let outcome = if api.writes { Written::Unknown } else { Written::No };
    let reason = format!("{NAME} can't answer {} now: {}", api.method, shortened(reason));
    http::later(outcome, reason)
}
