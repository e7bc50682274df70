//! What an answer means, before it is read: done, refused, or nobody can tell.
//!
//! WeChat Pay signs its answers, refusals among them, once it has verified the request's own signature
//! (<https://pay.weixin.qq.com/wiki/doc/apiv3/wechatpay/wechatpay4_1.shtml>); to a request that it can't verify it
//! answers 401 without a signature.

use super::NAME;
use crate::error::{Error, Result, Written};
use crate::payments::http;
use crate::payments::http::Response;
use serde::Deserialize;

/// Codes that mean: the same once more, later. The documentation has the first two in both spellings and the third;
/// the last one is from APIv2, where it also asks for the same refund number once more.
const LATER: [&str; 4] = [
    "SYSTEM_ERROR",
    "SYSTEMERROR",
    "FREQUENCY_LIMITED",
    "BIZERR_NEED_RETRY",
];
const CODE_CHARS_MAX: usize = 64;
const MESSAGE_CHARS_MAX: usize = 256;

/// An answer that can be trusted.
pub(super) enum Answer {
    /// Done; with the body.
    Done(Vec<u8>),
    /// Refused.
    Refused(Refused),
}

impl Answer {
    /// The body.
    pub(super) fn done(self) -> Result<Vec<u8>> {
        match self {
            Answer::Done(body) => Ok(body),
            Answer::Refused(refused) => Err(refused.into()),
        }
    }
}

/// Why WeChat Pay does not do something.
#[derive(Default, Deserialize)]
pub(super) struct Refused {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Refused {
    fn of(response: &Response) -> Self {
        let Refused { code, message } = serde_json::from_slice(&response.body).unwrap_or_default();
        let code = if code.is_empty() {
            format!("HTTP_{}", response.status)
        } else {
            shown(&code, CODE_CHARS_MAX)
        };
        let message = shown(&message, MESSAGE_CHARS_MAX);
        Refused { code, message }
    }

    /// `ORDERNOTEXIST` in the documentation, `ORDER_NOT_EXIST` in what merchants report.
    pub(super) fn order_is_unknown(&self) -> bool {
        matches!(self.code.as_str(), "ORDER_NOT_EXIST" | "ORDERNOTEXIST")
    }

    /// Nobody can pay it any more, and nobody has.
    pub(super) fn order_is_closed(&self) -> bool {
        matches!(self.code.as_str(), "ORDER_CLOSED" | "ORDERCLOSED")
    }

    /// Of a query by the refund's number.
    pub(super) fn refund_is_unknown(&self) -> bool {
        self.code == "RESOURCE_NOT_EXISTS"
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Error::PaymentChannel {
            channel: NAME.into(),
            reason: refused.code,
            message: refused.message,
        }
    }
}

/// Says what an answer means. `writes`: whether the request changes something; `verified`: whether it is signed.
pub(super) fn weigh(writes: bool, response: &Response, verified: Result<(), String>) -> Result<Answer> {
    let refused = Refused::of(response);
    let good = matches!(response.status, 200 | 204);
    let overloaded = response.status >= 500 || response.status == 429;
    if overloaded || (!good && LATER.contains(&refused.code.as_str())) {
        let reason = format!(
            "{NAME} answers {}: {} {}",
            response.status, refused.code, refused.message
        );
        return Err(later(writes, reason));
    }
    let signed = response.headers.get("Wechatpay-Signature").is_some();
    match verified {
        Ok(()) if good => Ok(Answer::Done(response.body.clone())),
        Ok(()) => Ok(Answer::Refused(refused)),
        // It has not even found out who asks, so it has done nothing.
        Err(_) if response.status == 401 && !signed => Ok(Answer::Refused(refused)),
        Err(problem) if good => Err(useless(writes, &problem)),
        Err(problem) => Err(useless(
            writes,
            &format!(
                "{problem}; it says {} {} {}",
                response.status, refused.code, refused.message
            ),
        )),
    }
}

/// The error for an answer that can't be used, though the request may have been done.
pub(super) fn useless(writes: bool, problem: &str) -> Error {
    if writes {
        later(true, format!("{NAME}: the answer can't be trusted: {problem}"))
    } else {
        untrusted(problem)
    }
}

/// The error for what can't be trusted.
pub(super) fn untrusted(problem: &str) -> Error {
    Error::PaymentVerification {
        channel: NAME.into(),
        problem: problem.into(),
    }
}

fn later(writes: bool, reason: String) -> Error {
    http::later(if writes { Written::Unknown } else { Written::No }, reason)
}

/// One line of it, not too long.
fn shown(text: &str, chars_max: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(chars_max).collect()
}
