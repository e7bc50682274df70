//! What comes in: text, and numbers, times and metadata in it.

use crate::error::{Checked, credits_error, null};
use jointo_credits::{Metadata, Timestamp};
use std::ffi::{CStr, c_char};
use std::time::Duration;

/// Text that may be left out; the caller's own, for as long as its call takes.
///
/// # Safety
/// NULL, or text that ends with a NUL.
pub(crate) unsafe fn optional_text<'a>(field: &'static str, text: *const c_char) -> Checked<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    match text.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(credits_error::invalid(
            field,
            "is no UTF-8",
            "UTF-8 that ends with a NUL",
        )),
    }
}

/// Text that must be there.
///
/// # Safety
/// As [`optional_text`].
pub(crate) unsafe fn text<'a>(field: &'static str, text: *const c_char) -> Checked<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { optional_text(field, text) }?.ok_or_else(|| null(field))
}

/// # Safety
/// As [`optional_text`].
pub(crate) unsafe fn metadata(json: *const c_char) -> Checked<Option<Metadata>> {
    // SAFETY: the caller's promise.
    match unsafe { optional_text("metadata", json) }? {
        None => Ok(None),
        Some(json) => Ok(Some(Metadata::parse(json)?)),
    }
}

/// Zero stands for none.
pub(crate) fn optional_time(micros: i64) -> Option<Timestamp> {
    (micros != 0).then(|| Timestamp::from_micros(micros))
}

pub(crate) fn time(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::as_micros)
}

/// Zero stands for the default.
pub(crate) fn optional_duration(field: &'static str, micros: i64) -> Checked<Option<Duration>> {
    match u64::try_from(micros) {
        Ok(0) => Ok(None),
        Ok(micros) => Ok(Some(Duration::from_micros(micros))),
        Err(_) => Err(credits_error::invalid(field, "is negative", "microseconds")),
    }
}

/// Zero stands for none.
pub(crate) fn optional_amount(amount: i64) -> Option<i64> {
    (amount != 0).then_some(amount)
}
