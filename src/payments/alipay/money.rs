//! Yuan, as Alipay writes them, and fen, as the books count them. Without floats: an amount is exact or it is none.

use crate::ledger::Money;
use crate::payments::money::fen;

/// The only currency of the products that are used here.
pub(super) const CURRENCY: &str = "CNY";

/// The smallest amount that Alipay takes, in fen: 0.01 yuan.
pub(super) const FEN_MIN: i64 = 1;
/// The largest amount that Alipay takes, in fen: 100,000,000 yuan.
pub(super) const FEN_MAX: i64 = 10_000_000_000;

/// What a text says, as money.
pub(super) fn money(yuan: &str) -> Option<Money> {
    Some(Money {
        minor: fen(yuan)?,
        currency: CURRENCY.into(),
    })
}

/// Fen as Alipay wants them: yuan with two digits behind the point.
pub(super) fn yuan(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    let fen = fen.unsigned_abs();
    format!("{sign}{}.{:02}", fen / 100, fen % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_exact() {
        for (text, expected) in [
            ("0.01", 1),
            ("0.1", 10),
            ("0.10", 10),
            ("9.90", 990),
            ("9.9", 990),
            ("9", 900),
            ("0", 0),
            ("0.00", 0),
            ("007.50", 750),
            ("100000000.00", FEN_MAX),
            ("92233720368547758.07", i64::MAX),
        ] {
            assert_eq!(fen(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.234",
            "1.230",
            "1.2.3",
            "-1",
            "+1",
            "1e3",
            "1E3",
            " 1",
            "1 ",
            "1,000.00",
            "1_0",
            "９.90",
            "9.９0",
            "٩",
            "0x10",
            "NaN",
            "inf",
            "¥1",
            "1.0f",
            "1\0",
            "92233720368547758.08",
            "99999999999999999999",
        ] {
            assert_eq!(fen(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_the_way_there_and_back(amount in 0..=i64::MAX) {
            prop_assert_eq!(fen(&yuan(amount)), Some(amount));
        }

        #[test]
        fn no_text_is_an_amount_by_accident(text in "[0-9.eE+ -]{0,12}") {
            if let Some(amount) = fen(&text) {
                let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
                let padded = format!("{whole}{fraction:0<2}");
                prop_assert_eq!(padded.parse::<i64>().unwrap(), amount);
            }
        }
    }

    #[test]
    fn yuan_have_two_digits() {
        assert_eq!(yuan(990), "9.90");
        assert_eq!(yuan(1), "0.01");
        assert_eq!(yuan(-5), "-0.05");
        assert_eq!(yuan(i64::MIN), "-92233720368547758.08");
    }
}
