//! Addresses that are configured, or given by a payer: https only, and of a length that channels take.

use crate::error::{Error, Result};
use reqwest::Url;
use std::net::IpAddr;

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
