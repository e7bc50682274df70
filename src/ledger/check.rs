//! Whether a value is within its limits. A refusal names the field, the limit and the value.

use super::limits::*;
use super::{Money, Refusal, Timestamp};
use alloc::{format, string::ToString};
use core::time::Duration;

pub(super) fn money(field: &'static str, money: &Money) -> Result<(), Refusal> {
    if !(0..=CREDITS_MAX).contains(&money.minor) {
        return Err(invalid(
            field,
            "must be 0 or more minor units",
            CREDITS_MAX,
            money.minor,
        ));
    }
    if money.currency.len() != 3 || !money.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(invalid(
            field,
            "needs an ISO 4217 currency",
            "three capital letters",
            &money.currency,
        ));
    }
    Ok(())
}

pub(super) fn invalid(
    field: &'static str,
    problem: &'static str,
    limit: impl ToString,
    value: impl ToString,
) -> Refusal {
    Refusal::Invalid {
        field,
        problem,
        limit: limit.to_string(),
        value: value.to_string(),
    }
}

pub(super) fn amount(field: &'static str, n: i64) -> Result<(), Refusal> {
    match n {
        1..=CREDITS_MAX => Ok(()),
        n if n < 1 => Err(invalid(field, "must be a positive number of credits", 1, n)),
        n => Err(invalid(field, "is too large", CREDITS_MAX, n)),
    }
}

/// A price may be nothing.
pub(super) fn price(field: &'static str, n: i64) -> Result<(), Refusal> {
    match n {
        0..=CREDITS_MAX => Ok(()),
        n if n < 0 => Err(invalid(field, "must not be negative", 0, n)),
        n => Err(invalid(field, "is too large", CREDITS_MAX, n)),
    }
}

/// Long values are named by their length: an error must not carry a megabyte back.
pub(super) fn length(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(invalid(
            field,
            "is too long",
            format!("{bytes_max} bytes"),
            format!("{} bytes", text.len()),
        ));
    }
    if text.contains('\0') {
        return Err(invalid(
            field,
            "must not contain a NUL character",
            "text without NUL",
            "text with NUL",
        ));
    }
    Ok(())
}

pub(super) fn reference(field: &'static str, text: Option<&str>) -> Result<(), Refusal> {
    text.map_or(Ok(()), |t| length(field, t, REFERENCE_BYTES_MAX))
}

/// What things are listed by: it has to fit into a line of a table, and to be seen there.
pub(super) fn name(field: &'static str, text: &str) -> Result<(), Refusal> {
    length(field, text, REFERENCE_BYTES_MAX)?;
    let wrong = match text {
        _ if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) => "nothing",
        _ if !is_one_line(text) => "text with a line break or another control character",
        _ => return Ok(()),
    };
    Err(invalid(
        field,
        "must be a name in one line",
        "one line of text",
        wrong,
    ))
}

/// A payment's name, which is compared character by character: what people can't see must make no difference.
pub(super) fn transaction_id(text: &str) -> Result<(), Refusal> {
    let field = "transaction_id";
    required(field, text)?;
    let wrong = match text {
        _ if text.trim() != text => "white space at an end",
        _ if text.contains("  ") || text.contains(|c: char| c.is_whitespace() && c != ' ') => {
            "white space that is more than one blank"
        }
        _ if text.contains(|c: char| c.is_control() || is_invisible(c)) => "a character that can't be seen",
        _ => return Ok(()),
    };
    Err(invalid(
        field,
        "must be as the channel or the bank writes it",
        "text in one line, with single blanks inside at the most",
        wrong,
    ))
}

/// What comes along where text is copied, and can't be seen: joiners, marks of direction, a byte order mark.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether it has no control characters, line breaks among them.
fn is_one_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

pub(super) fn required(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(invalid(
            field,
            "must say something",
            "1 character or more",
            "nothing",
        ));
    }
    length(field, text, REFERENCE_BYTES_MAX)
}

pub(crate) fn ttl(field: &'static str, ttl: Duration) -> Result<(), Refusal> {
    if (TTL_MIN..=TTL_MAX).contains(&ttl) {
        Ok(())
    } else {
        Err(invalid(
            field,
            "must be 1 s to 30 d",
            "1 s .. 2592000 s",
            format!("{} s", ttl.as_secs_f64()),
        ))
    }
}

pub(super) fn instant(field: &'static str, t: Option<Timestamp>) -> Result<(), Refusal> {
    match t {
        Some(t) if !t.in_range() => Err(invalid(
            field,
            "is out of range",
            format!("{} .. {}", Timestamp::MIN, Timestamp::MAX),
            t,
        )),
        _ => Ok(()),
    }
}
