//! What the merchant signs: its requests, and what the payer's WeChat takes.
//!
//! RSA PKCS#1 v1.5 with SHA-256, in base64, over lines that each end with a newline:
//! <https://pay.weixin.qq.com/docs/partner/development/generate-request-signature-verification/request-body-parameters-signature.html>.

use super::NAME;
use crate::error::{Error, Result, Written};
use crate::payments::http::Method;
use crate::payments::{http, rsa};
use aws_lc_rs::rsa::KeyPair;

/// The type of the signature, as headers name it.
pub(super) const SIGNATURE_TYPE: &str = "WECHATPAY2-SHA256-RSA2048";

const NONCE_BYTES: usize = 16;

/// Who signs.
pub(super) struct Merchant {
    /// The serial number of the certificate.
    pub(super) serial: String,
    /// Its key.
    pub(super) key: KeyPair,
}

impl Merchant {
    /// The header `Authorization` of a request. `target` is the path with the query, `now` is in seconds.
    pub(super) fn authorization(
        &self,
        merchant_id: &str,
        request: (Method, &str, &[u8]),
        nonce: &str,
        now: i64,
    ) -> Result<String> {
        let (method, target, body) = request;
        let mut message = format!("{}\n{target}\n{now}\n{nonce}\n", method.as_str()).into_bytes();
        message.extend_from_slice(body);
        message.push(b'\n');
        Ok(format!(
            "{SIGNATURE_TYPE} mchid=\"{merchant_id}\",nonce_str=\"{nonce}\",timestamp=\"{now}\",serial_no=\"{}\",\
             signature=\"{}\"",
            self.serial,
            self.sign(&message)?
        ))
    }

    /// `paySign`: what `WeixinJSBridge` and `wx.requestPayment` want to see signed,
    /// <https://pay.weixin.qq.com/wiki/doc/apiv3/apis/chapter5_1_8.shtml>.
    pub(super) fn pay_sign(&self, app_id: &str, now: i64, nonce: &str, package: &str) -> Result<String> {
        self.sign(format!("{app_id}\n{now}\n{nonce}\n{package}\n").as_bytes())
    }

    fn sign(&self, message: &[u8]) -> Result<String> {
        rsa::sign(&self.key, message).ok_or_else(|| unsigned("the merchant's key can't sign"))
    }
}

/// 32 characters that nobody can guess.
pub(super) fn nonce() -> Result<String> {
    let mut bytes = [0; NONCE_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| unsigned("the system has no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn unsigned(reason: &str) -> Error {
    http::later(Written::No, format!("{NAME}: {reason}"))
}
