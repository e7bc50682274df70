//! Arithmetic on decimals that is exact or an error.
//!
//! `rust_decimal`'s operators, the `checked_` ones too, round a result that needs more digits than there are. Here a
//! result is worked out on the integers underneath (mantissa and scale), in 128 bits, and fits or does not:
//!
//! | operation | how it could go wrong | what is done |
//! | --- | --- | --- |
//! | [`add`] | bringing both to one scale overflows | tried again without trailing zeros; if that overflows too, the sum has no form that fits |
//! | [`mul`] | the product overflows 128 bits although it ends in zeros that could be dropped | the twos of one and the fives of the other are cancelled first |
//! | [`div`] | most quotients are no decimals | the denominator in lowest terms must be made of twos and fives |
//! | [`blocks`] | quotient rounds to a whole number from above | integer division of both at one scale |
//! | [`round`] | a half is compared inexactly | remainder of an integer division, compared doubled |

use super::Rounding;
use super::limits::DIGITS_MAX;
use alloc::string::String;
use core::cmp::Ordering;
use rust_decimal::Decimal;

/// The largest mantissa: 28 digits. A [`Decimal`] would hold most numbers of 29, but not all; a figure that was written
/// down has to be readable again.
const MANTISSA_MAX: u128 = 10_u128.pow(DIGITS_MAX) - 1;
const SCALE_MAX: u32 = DIGITS_MAX;

/// The true result is no figure of at most 28 digits, altogether and behind the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotExact;

/// 10^0 to 10^38, all that 128 bits hold.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut i = 1;
    #[allow(
        clippy::indexing_slicing,
        reason = "evaluated by the compiler, which would refuse a wrong index"
    )]
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

fn power(exponent: u32) -> Result<i128, NotExact> {
    POWERS.get(exponent as usize).copied().ok_or(NotExact)
}

/// `mantissa / 10^scale`, dropping trailing zeros only as far as it takes to fit.
#[inline]
fn fit(mut mantissa: i128, mut scale: u32) -> Result<Decimal, NotExact> {
    while scale > 0 && (scale > SCALE_MAX || mantissa.unsigned_abs() > MANTISSA_MAX) && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    if mantissa.unsigned_abs() > MANTISSA_MAX {
        return Err(NotExact);
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).map_err(|_| NotExact)
}

/// The number itself, if it has no more digits than a figure can have.
pub(super) fn figure(number: Decimal) -> Result<Decimal, NotExact> {
    fit(number.mantissa(), number.scale())
}

/// Both mantissas at the larger of the two scales.
#[inline]
fn align(a: Decimal, b: Decimal) -> Option<(i128, i128, u32)> {
    let (x, y) = (a.mantissa(), b.mantissa());
    match a.scale().cmp(&b.scale()) {
        Ordering::Equal => Some((x, y, a.scale())),
        Ordering::Less => Some((x.checked_mul(power(b.scale() - a.scale()).ok()?)?, y, b.scale())),
        Ordering::Greater => Some((x, y.checked_mul(power(a.scale() - b.scale()).ok()?)?, a.scale())),
    }
}

/// `a + b`.
#[inline]
pub(super) fn add(a: Decimal, b: Decimal) -> Result<Decimal, NotExact> {
    // Sums begin at zero, and a factor of 1 adds it: half of all additions.
    if a.is_zero() {
        return Ok(b);
    }
    if b.is_zero() {
        return Ok(a);
    }
    if let Some((x, y, scale)) = align(a, b)
        && let Some(sum) = x.checked_add(y)
    {
        return fit(sum, scale);
    }
    // Without trailing zeros the sum of two different scales can't end in zero: what does not fit now never will.
    let (x, y, scale) = align(a.normalize(), b.normalize()).ok_or(NotExact)?;
    fit(x.checked_add(y).ok_or(NotExact)?, scale)
}

/// `a - b`.
#[inline]
pub(super) fn sub(a: Decimal, b: Decimal) -> Result<Decimal, NotExact> {
    add(a, -b)
}

/// `a * b`.
#[inline]
pub(super) fn mul(a: Decimal, b: Decimal) -> Result<Decimal, NotExact> {
    if let Some(product) = a.mantissa().checked_mul(b.mantissa()) {
        return fit(product, a.scale() + b.scale());
    }
    let (mut x, mut y) = (a.mantissa(), b.mantissa());
    let mut scale = a.scale() + b.scale();
    while scale > 0 {
        if x % 10 == 0 {
            x /= 10;
        } else if y % 10 == 0 {
            y /= 10;
        } else if x % 2 == 0 && y % 5 == 0 {
            (x, y) = (x / 2, y / 5);
        } else if x % 5 == 0 && y % 2 == 0 {
            (x, y) = (x / 5, y / 2);
        } else {
            break;
        }
        scale -= 1;
    }
    fit(x.checked_mul(y).ok_or(NotExact)?, scale)
}

/// `a / b`, for cards when they are saved and not for quotes: it is slow. `b` must not be zero.
pub(super) fn div(a: Decimal, b: Decimal) -> Result<Decimal, NotExact> {
    let (a, b) = (a.normalize(), b.normalize());
    let (mut numerator, mut denominator) = (a.mantissa(), b.mantissa());
    let common = gcd(numerator.unsigned_abs(), denominator.unsigned_abs());
    let common = i128::try_from(common).map_err(|_| NotExact)?;
    numerator = numerator.checked_div(common).ok_or(NotExact)?;
    denominator = denominator.checked_div(common).ok_or(NotExact)?;
    // In lowest terms it is a decimal if and only if the denominator has no other factors than 2 and 5.
    let mut scale = i64::from(a.scale()) - i64::from(b.scale());
    while denominator != 1 {
        let by = match denominator {
            d if d % 10 == 0 => (10, 1),
            d if d % 5 == 0 => (5, 2),
            d if d % 2 == 0 => (2, 5),
            _ => return Err(NotExact),
        };
        denominator /= by.0;
        numerator = numerator.checked_mul(by.1).ok_or(NotExact)?;
        scale += 1;
    }
    match u32::try_from(scale) {
        Ok(scale) => fit(numerator, scale),
        Err(_) => {
            let up = power(u32::try_from(-scale).map_err(|_| NotExact)?)?;
            fit(numerator.checked_mul(up).ok_or(NotExact)?, 0)
        }
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Quotient and remainder. Division of 128 bits is a call and slow; most figures fit half of them.
#[inline]
fn div_rem(a: i128, b: i128) -> Option<(i128, i128)> {
    match (u64::try_from(a), u64::try_from(b)) {
        (Ok(a), Ok(b)) => Some((a.checked_div(b)?.into(), a.checked_rem(b)?.into())),
        _ => Some((a.checked_div(b)?, a.checked_rem(b)?)),
    }
}

/// How many blocks of `size` are started by `quantity`, both at least zero and `size` above it.
pub(super) fn blocks(quantity: Decimal, size: Decimal) -> Result<Decimal, NotExact> {
    let (quantity, size, _) = align(quantity, size)
        .or_else(|| align(quantity.normalize(), size.normalize()))
        .ok_or(NotExact)?;
    let (whole, rest) = div_rem(quantity, size).ok_or(NotExact)?;
    fit(whole + i128::from(rest != 0), 0)
}

/// The whole number next to `exact`, which is zero or more; `None` where it passes `i64`.
pub(super) fn round(exact: Decimal, rounding: Rounding) -> Option<i64> {
    let unit = power(exact.scale()).ok()?;
    let (whole, rest) = div_rem(exact.mantissa(), unit)?;
    let up = match rounding {
        Rounding::Up => rest > 0,
        Rounding::Down => false,
        Rounding::HalfUp => rest * 2 >= unit,
        Rounding::HalfEven => rest * 2 > unit || (rest * 2 == unit && whole % 2 != 0),
    };
    i64::try_from(whole + i128::from(up)).ok()
}

/// Why a text is no decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotADecimal {
    /// It is not written as a number of JSON is: digits, a point, an exponent; no `+`, no leading zeros, no `NaN`.
    #[error("`{text}` is not a number such as 12, 0.5 or 2e-3")]
    Malformed {
        /// The text, shortened.
        text: String,
    },
    /// It has more digits than can be worked with exactly.
    #[error("has {digits} digits; 28 are possible, altogether and behind the point")]
    TooManyDigits {
        /// As many digits as it would take.
        digits: u64,
    },
}

/// Reads a decimal, exactly or not at all: every digit that is written counts.
///
/// The grammar is JSON's (RFC 8259, section 6), so `1200`, `0.25`, `-3` and `2e-3` are read, and `+1`, `.5`, `1_000`,
/// `NaN` are not. Use it for numbers that arrive as text; a float has to become text first, and shows then what it
/// really is.
///
/// # Errors
/// [`NotADecimal`] where it is no number, or has more than 28 digits altogether or behind the point.
///
/// ```
/// use jointo_credits::pricing::{NotADecimal, parse_decimal};
/// assert_eq!(parse_decimal("0.30")?.to_string(), "0.30");
/// assert_eq!(parse_decimal("2.5e3")?.to_string(), "2500");
/// assert!(matches!(parse_decimal("0x10"), Err(NotADecimal::Malformed { .. })));
/// # Ok::<(), NotADecimal>(())
/// ```
pub fn parse_decimal(text: &str) -> Result<Decimal, NotADecimal> {
    let malformed = || NotADecimal::Malformed {
        text: super::fault::shortened(text),
    };
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (number, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => {
            let (number, exponent) = unsigned.split_at(at);
            (number, Some(exponent.get(1..).unwrap_or_default()))
        }
        None => (unsigned, None),
    };
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(malformed()),
        None => (number, ""),
    };
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || (whole.len() > 1 && whole.starts_with('0'))
    {
        return Err(malformed());
    }
    let exponent: i64 = match exponent {
        None => 0,
        Some(text) => {
            let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
            if unsigned.is_empty() || !digits(unsigned) {
                return Err(malformed());
            }
            // Far beyond anything that fits; a longer one saturates to the same answer.
            let size = unsigned.parse::<i64>().unwrap_or(1 << 32).min(1 << 32);
            if text.starts_with('-') { -size } else { size }
        }
    };
    let all = whole.bytes().chain(fraction.bytes());
    let significant = all.clone().skip_while(|b| *b == b'0').count() as u64;
    let behind = fraction.len() as i64 - exponent;
    // Written without an exponent: zeros behind the digits where it shifts them up, in front where it shifts down.
    let width = significant + u64::try_from(-behind).unwrap_or(0);
    let width = width.max(u64::try_from(behind).unwrap_or(0));
    if width > u64::from(DIGITS_MAX) {
        return Err(NotADecimal::TooManyDigits { digits: width });
    }
    let mut mantissa: i128 = 0;
    for digit in all {
        mantissa = mantissa * 10 + i128::from(digit - b'0'); // at most 28 significant digits
    }
    if let Ok(up) = u32::try_from(-behind) {
        mantissa *= power(up).map_err(|_| malformed())?;
    }
    let scale = u32::try_from(behind).unwrap_or(0);
    fit(if negative { -mantissa } else { mantissa }, scale).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    fn d(text: &str) -> Decimal {
        parse_decimal(text).unwrap()
    }

    fn shown(result: Result<Decimal, NotExact>) -> String {
        result.map_or("not exact".into(), |d| d.normalize().to_string())
    }

    const LARGEST: &str = "9999999999999999999999999999"; // 28 digits

    #[test]
    fn sums_are_exact_or_refused() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("1", "-1", "0"),
            (
                "9007199254740991",
                "0.000000000001",
                "9007199254740991.000000000001",
            ),
            (LARGEST, "1", "not exact"),
            (LARGEST, "0.1", "not exact"),
            (
                "1000000000000000",
                "0.000000000001",
                "1000000000000000.000000000001",
            ),
            ("1000000000000000", "0.0000000000001", "not exact"), // 29 digits, though a `Decimal` holds these
            // One scale would take 10^53; without trailing zeros it takes none.
            (
                "5000000000000000000000000000",
                "1.0000000000000000000000000",
                "5000000000000000000000000001",
            ),
        ] {
            assert_eq!(shown(add(d(a), d(b))), sum, "{a} + {b}");
            assert_eq!(shown(add(d(b), d(a))), sum, "{b} + {a}");
        }
    }

    #[test]
    fn products_are_exact_or_refused() {
        for (a, b, product) in [
            ("1.1", "1.1", "1.21"),
            ("0", LARGEST, "0"),
            ("0.0002", "9007199254740991", "1801439850948.1982"),
            (
                "0.00000000000001",
                "0.00000000000001",
                "0.0000000000000000000000000001",
            ),
            ("0.00000000000001", "0.000000000000001", "not exact"),
            // 2^80 * 5^20 / 10^20 passes 128 bits before its zeros are dropped, and fits after.
            (
                "1208925819614629174706176",
                "0.000095367431640625",
                "115292150460684697600",
            ),
            ("1208925819614629174706176", "0.0000953674316406251", "not exact"),
            ("99999999999999", "99999999999999", "9999999999999800000000000001"),
            (LARGEST, "10", "not exact"),
            (LARGEST, "0.1", "999999999999999999999999999.9"),
            (LARGEST, "1.1", "not exact"),
        ] {
            assert_eq!(shown(mul(d(a), d(b))), product, "{a} * {b}");
            assert_eq!(shown(mul(d(b), d(a))), product, "{b} * {a}");
        }
    }

    /// 2^63 * -2^64 is the one number of 128 bits that has no absolute value.
    #[test]
    fn the_smallest_number_of_128_bits_is_refused() {
        let (a, b) = (Decimal::from(1_u64 << 63), Decimal::from(-(1_i128 << 64)));
        assert_eq!(mul(a, b), Err(NotExact));
    }

    #[test]
    fn quotients_are_exact_or_refused() {
        for (a, b, quotient) in [
            ("0.2", "1000", "0.0002"),
            ("0.6", "60", "0.01"),
            ("1", "60", "not exact"),
            ("1", "3", "not exact"),
            ("3", "0.00000003", "100000000"),
            ("0", "7", "0"),
            ("1", "268435456", "0.0000000037252902984619140625"),
            ("1", "536870912", "not exact"), // 2^-29 has 29 digits behind the point
            (LARGEST, "0.1", "not exact"),
        ] {
            assert_eq!(shown(div(d(a), d(b))), quotient, "{a} / {b}");
        }
    }

    #[test]
    fn a_started_block_counts_as_a_whole_one() {
        for (quantity, size, count) in [
            ("0", "100", "0"),
            ("0.000000001", "100", "1"),
            ("100", "100", "1"),
            ("100.000000001", "100", "2"),
            ("0.3", "0.1", "3"), // 0.1 + 0.2 of floats would start a fourth
            ("9007199254740991", "0.0000000001", "90071992547409910000000000"),
            ("9007199254740991", "0.0000000000000000000000000003", "not exact"),
        ] {
            assert_eq!(
                shown(blocks(d(quantity), d(size))),
                count,
                "{quantity} in blocks of {size}"
            );
        }
    }

    #[test]
    fn rounding() {
        use Rounding::*;
        for (exact, up, half_up, half_even, down) in [
            ("0", 0, 0, 0, 0),
            ("0.0000000000000000000000000001", 1, 0, 0, 0),
            ("0.4999999999999999999999999999", 1, 0, 0, 0),
            ("0.5", 1, 1, 0, 0),
            ("0.5000000000000000000000000001", 1, 1, 1, 0),
            ("1.5", 2, 2, 2, 1),
            ("2.5", 3, 3, 2, 2),
            ("2.500", 3, 3, 2, 2),
            ("7.00", 7, 7, 7, 7),
            ("0.9999999999999999999999999999", 1, 1, 1, 0),
            (
                "9007199254740991.5",
                9007199254740992,
                9007199254740992,
                9007199254740992,
                9007199254740991,
            ),
        ] {
            for (rounding, credits) in [(Up, up), (HalfUp, half_up), (HalfEven, half_even), (Down, down)] {
                assert_eq!(round(d(exact), rounding), Some(credits), "{exact} {rounding:?}");
            }
        }
        assert_eq!(round(d(LARGEST), Down), None);
    }

    #[test]
    fn numbers_are_read_from_their_text() {
        for (text, number) in [
            ("0", "0"),
            ("-0", "0"),
            ("0.10", "0.10"),
            ("-1.5", "-1.5"),
            ("1e3", "1000"),
            ("1.25E+1", "12.5"),
            ("125e-4", "0.0125"),
            ("1e27", "1000000000000000000000000000"),
            ("1e-28", "0.0000000000000000000000000001"),
            (LARGEST, LARGEST),
        ] {
            assert_eq!(d(text).to_string(), number, "{text}");
        }
        for text in [
            "", "-", "+1", ".5", "1.", "01", "00.1", "1e", "1e+", "1e1.5", "1 ", " 1", "1_0", "NaN", "inf",
            "0x1", "--1", "1.2.3", "１",
        ] {
            assert!(
                matches!(parse_decimal(text), Err(NotADecimal::Malformed { .. })),
                "{text}"
            );
        }
        for (text, digits) in [
            ("10000000000000000000000000000", 29),
            ("1.0000000000000000000000000000", 29),
            ("0.00000000000000000000000000001", 29),
            ("1e28", 29),
            ("1e-29", 29),
            ("1e99999999999999999999", (1 << 32) + 1),
            ("1e-99999999999999999999", 1 << 32),
        ] {
            assert_eq!(
                parse_decimal(text),
                Err(NotADecimal::TooManyDigits { digits }),
                "{text}"
            );
        }
    }
}
