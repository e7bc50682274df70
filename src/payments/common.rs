//! What the channels that ship have in common.

use crate::error::{Error, Written};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

/// A channel can't be asked, or does not say what became of a request.
pub(super) fn later(outcome: Written, reason: String) -> Error {
    Error::Unavailable {
        outcome,
        reason,
        remedy: "try again later; repeating the call is safe".into(),
    }
}

/// A signature in base64: RSA PKCS#1 v1.5 with SHA-256, which is all that either channel takes. `None` where the
/// cryptographic library fails; it has no reason to.
pub(super) fn sign(key: &KeyPair, message: &[u8]) -> Option<String> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .ok()?;
    Some(STANDARD.encode(signature))
}

/// What an error says of a setting. Never the value itself: a key may have been put into the wrong place.
pub(super) fn length(value: &str) -> String {
    format!("{} bytes", value.len())
}

/// What an error says of an address, which may hold a password.
pub(super) fn origin(text: &str) -> String {
    Url::parse(text).map_or_else(|_| length(text), |url| url.origin().ascii_serialization())
}

/// Fen of a text such as `9.9`, `9.90` or `9`: digits, and at most two of them behind a point. Without floats: an amount
/// is exact or it is none.
pub(super) fn fen(yuan: &str) -> Option<i64> {
    let (whole, fraction) = yuan.split_once('.').unwrap_or((yuan, "00"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let tenths = if fraction.len() == 1 { 10 } else { 1 };
    let hundredths = fraction.parse::<i64>().ok()? * tenths;
    whole
        .parse::<i64>()
        .ok()?
        .checked_mul(100)?
        .checked_add(hundredths)
}
