//! Money as channels write it.

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
