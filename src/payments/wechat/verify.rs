//! Whether WeChat Pay has signed something: a notification, or an answer.
//!
//! `Wechatpay-Signature` is a signature, in base64, over the lines `Wechatpay-Timestamp`, `Wechatpay-Nonce` and the
//! body as it came: <https://pay.weixin.qq.com/doc/v3/partner/4019605946>. `Wechatpay-Serial` names the key, and the
//! key is one of the configuration or the message is refused: nothing is fetched because of what a message says.
//!
//! * The algorithm is pinned. `Wechatpay-Signature-Type` may be missing, which means the same (`core/notify` of the
//!   official Go SDK); `WECHATPAY2-SM2-WITH-SM3` and others are refused.
//! * A signature that is deliberately wrong (`WECHATPAY/SIGNTEST/`, a probe of WeChat Pay's,
//!   <https://pay.weixin.qq.com/doc/v3/merchant/4016241880>) is wrong.
//! * A header that came twice is refused, whatever it says: a proxy could have looked at the other one.
//! * The lines before the body have no line breaks, so that the text which is signed has one reading.
//! * What is older than five minutes, or that much in the future, is refused, as the official Go SDK does.

use super::sign::SIGNATURE_TYPE;
use crate::ledger::Timestamp;
use crate::payments::Headers;
use aws_lc_rs::signature::ParsedPublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;

/// The longest header that is looked at, in bytes: a signature of RSA with 4,096 bits, in base64.
const HEADER_BYTES_MAX: usize = 684;
/// How far its clock and ours may be apart, with the time on the way, in seconds.
const APART_S_MAX: u64 = 300;

/// WeChat Pay's keys.
pub(super) struct Platform {
    /// By their names, as `Wechatpay-Serial` spells them.
    pub(super) keys: BTreeMap<String, ParsedPublicKey>,
    /// The public key that answers shall be signed with; `None` where there are only certificates.
    pub(super) preferred: Option<String>,
}

impl Platform {
    /// Verifies a notification or an answer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn verify(&self, headers: &Headers, body: &[u8], now: Timestamp) -> Result<(), String> {
        // Of two, somebody before us could have looked at the other one.
        let get = |name| {
            let mut found = headers.all(name);
            match (found.next(), found.next()) {
                (_, Some(_)) => Err(format!("the header {name} came twice")),
                (value, None) => Ok(value),
            }
        };
        let want = |name| match get(name)?.filter(|value| !value.is_empty()) {
            None => Err(format!("the header {name} is missing")),
            Some(value) if value.len() > HEADER_BYTES_MAX => {
                Err(format!("the header {name} is too long to be one"))
            }
            Some(value) => Ok(value),
        };
        let kind = get("Wechatpay-Signature-Type")?.unwrap_or(SIGNATURE_TYPE);
        if kind != SIGNATURE_TYPE {
            return Err(format!("a signature of another type than {SIGNATURE_TYPE}"));
        }
        let serial = want("Wechatpay-Serial")?;
        let stamp = want("Wechatpay-Timestamp")?;
        let nonce = want("Wechatpay-Nonce")?;
        let signature = want("Wechatpay-Signature")?;

        let Some(key) = self.keys.get(serial) else {
            return Err("signed with a key that the configuration does not have".into());
        };
        let sent_s: i64 = stamp.parse().map_err(|_| "Wechatpay-Timestamp is no time")?;
        let apart_s = seconds(now).abs_diff(sent_s);
        if apart_s > APART_S_MAX {
            return Err(format!("{apart_s} seconds from now, {APART_S_MAX} at the most"));
        }
        // A newline in it could pass for the one before the body.
        if !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("Wechatpay-Nonce is none".into());
        }
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| "the signature is not base64")?;
        let mut message = format!("{stamp}\n{nonce}\n").into_bytes();
        message.extend_from_slice(body);
        message.push(b'\n');
        key.verify_sig(&message, &signature)
            .map_err(|_| "the signature is wrong".into())
    }
}

/// Seconds since the Unix epoch.
pub(super) fn seconds(at: Timestamp) -> i64 {
    at.as_micros().div_euclid(1_000_000)
}
