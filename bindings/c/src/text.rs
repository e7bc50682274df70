//! What comes in and goes out: text, numbers in text, ids, times.

use crate::error::credits_error;
use crate::results::credits_uuid;
use jointo_credits::pricing::{Decimal, parse_decimal};
use jointo_credits::{Metadata, Timestamp};
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;
use uuid::Uuid;

pub(crate) type Checked<T> = Result<T, credits_error>;

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

pub(crate) fn null(field: &'static str) -> credits_error {
    credits_error::invalid(field, "is NULL", "a pointer to one")
}

pub(crate) fn decimal(field: &'static str, text: &str) -> Checked<Decimal> {
    parse_decimal(text)
        .map_err(|_| credits_error::invalid(field, "is no exact number", "a decimal number such as 12.5"))
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

/// The nil id stands for none.
pub(crate) fn optional_id(id: credits_uuid) -> Option<Uuid> {
    Some(Uuid::from_bytes(id.bytes)).filter(|id| !id.is_nil())
}

pub(crate) fn id(field: &'static str, id: credits_uuid) -> Checked<Uuid> {
    optional_id(id).ok_or_else(|| credits_error::invalid(field, "is missing", "an id that is not all zeros"))
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

/// Text in a field of fixed size. What does not fit, which the ledger's limits exclude, is cut off between characters.
pub(crate) fn field<const N: usize>(text: Option<&str>) -> [c_char; N] {
    let mut field = [0; N];
    let text = text.unwrap_or_default();
    let end = text.floor_char_boundary(N - 1);
    for (place, byte) in field.iter_mut().zip(text.bytes().take(end)) {
        *place = byte.cast_signed() as c_char;
    }
    field
}

/// Text that the caller frees with credits_string_free().
pub(crate) fn give(text: &str) -> *mut c_char {
    crate::error::c_string(text).into_raw()
}

/// Frees text that a function of this library has given. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: it came from `give`, and is freed once.
        drop(unsafe { CString::from_raw(text) });
    }
}
