//! The channels' times: as clocks in Beijing show them, which have had no summer time since 1991.

use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

pub(super) const BEIJING: Offset = Offset::constant(8);

/// An instant as Alipay writes it, `yyyy-MM-dd HH:mm:ss`; what is less than a second is cut off.
///
/// # Errors
/// `validation`, where it is past the years that can be written.
pub(super) fn text(field: &'static str, instant: Timestamp) -> Result<String> {
    let outside = |_| Error::invalid(field, "is out of range", "the years 2000 .. 9999", instant);
    let instant = jiff::Timestamp::from_microsecond(instant.as_micros()).map_err(outside)?;
    Ok(BEIJING
        .to_datetime(instant)
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string())
}

/// What Alipay wrote, if it is a time. Refunds come with a fraction of a second (`2021-07-14 09:51:36.631`).
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let shape = |byte: u8| if byte.is_ascii_digit() { b'0' } else { byte };
    if !seconds.bytes().map(shape).eq(*b"0000-00-00 00:00:00")
        || !(1..=9).contains(&fraction.len())
        || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let shown: DateTime = text.parse().ok()?;
    let instant = BEIJING.to_timestamp(shown).ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beijing_is_eight_hours_ahead() {
        let at: Timestamp = "2026-11-22T16:30:05.999Z".parse().unwrap();
        assert_eq!(text("now", at).unwrap(), "2026-11-23 00:30:05");
        let back = instant("2026-11-23 00:30:05").unwrap();
        assert_eq!(back, "2026-11-22T16:30:05Z".parse().unwrap());
    }

    #[test]
    fn the_whole_range_can_be_written() {
        assert_eq!(text("now", Timestamp::MIN).unwrap(), "2000-01-01 08:00:00");
        assert_eq!(text("now", Timestamp::MAX).unwrap(), "9999-12-30 08:00:00");
        let error = text("now", Timestamp::from_micros(i64::MAX)).unwrap_err();
        assert_eq!(error.code(), "validation");
    }

    #[test]
    fn fractions_are_read() {
        let at = instant("2021-07-14 09:51:36.631").unwrap();
        assert_eq!(at, "2021-07-14T01:51:36.631Z".parse().unwrap());
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "2021-07-14",
            "2021-07-14T09:51:36",
            "2021-07-14 09:51",
            "2021-13-14 09:51:36",
            "2021-02-30 09:51:36",
            "2021-07-14 24:51:36",
            "2021-07-14 09:51:36Z",
            "2021-07-14 09:51:36+08:00",
            "2021-07-14 09:51:36.",
            "2021-07-14 09:51:36.1234567890",
            " 2021-07-14 09:51:36",
            "２021-07-14 09:51:36",
        ] {
            assert_eq!(instant(text), None, "{text:?}");
        }
    }
}
