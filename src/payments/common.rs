//! What the channels that ship have in common.

use crate::error::{Error, Result, Written};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use std::net::IpAddr;

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

/// Whether an address is encrypted, or within this machine; and without a name or password that would end in logs.
pub(super) fn is_safe(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    let scheme = url.scheme();
    !host.is_empty()
        && (scheme == "https" || (scheme == "http" && loopback))
        && url.username().is_empty()
        && url.password().is_none()
}

/// An address that a channel or a browser can be given.
///
/// # Errors
/// `validation`, which shows no more of it than its origin.
pub(super) fn address(field: &'static str, text: &str, bytes_max: usize) -> Result<Url> {
    let refused = |problem| {
        let limit = format!("https, no user, no password, {bytes_max} bytes at the most");
        Err(Error::invalid(field, problem, limit, origin(text)))
    };
    if text.len() > bytes_max {
        return refused("is too long");
    }
    if text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ') {
        return refused("must not contain spaces");
    }
    match Url::parse(text) {
        Ok(url) if is_safe(&url) => Ok(url),
        _ => refused(
            "must be an address with https://; http:// is taken where the host is loopback, for tests",
        ),
    }
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
