//! Bills: the three kinds of them, and every line that is none.

use super::*;
use crate::payments::{BillLine, Channel};

const ALL: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
    付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,\
    商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const SUCCESS: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
    付款银行,货币种类,应结订单金额,代金券金额,商品名称,商户数据包,手续费,费率,订单金额,费率备注";
const REFUND: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
    付款银行,货币种类,应结订单金额,代金券金额,退款申请时间,退款成功时间,微信退款单号,商户退款单号,退款金额,\
    充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const SUMS: &str = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n\
    `2,`9.90,`4.90,`0.00,`0.06000,`9.90,`4.90\r\n";

const PAID: &str = "`2026-11-22 16:00:00,`wxd678efh567hg6787,`1900000109,`0,`,`4200000000202611220000000001,\
    `019a9f2e8c4d7b3aa1b2c3d4e5f60718,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`NATIVE,`SUCCESS,`OTHERS,`CNY,`9.00,`0.90,`0,`0,\
    `0.00,`0.00,`,`,`1000 credits, and more,`,`0.06000,`0.60%,`9.90,`0.00,`";
const BACK: &str = "`2026-11-22 17:30:01,`wxd678efh567hg6787,`1900000109,`0,`,`4200000000202611220000000001,\
    `019a9f2e8c4d7b3aa1b2c3d4e5f60718,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`NATIVE,`REFUND,`OTHERS,`CNY,`0.00,`0.00,\
    `50200207182018070300011301001,`019a9f2e8c4d7b3aa1b2c3d4e5f60718R1,`4.45,`0.00,`ORIGINAL,`PROCESSING,`1000 credits,\
    `,`-0.03000,`0.60%,`0.00,`4.90,`";

fn bill(header: &str, lines: &[&str]) -> String {
    format!("\u{feff}{header}\r\n{}\r\n{SUMS}", lines.join("\r\n"))
}

fn read(bill: &str) -> Result<Vec<BillLine>> {
    channel().read_bill(bill.as_bytes())?.collect()
}

fn line(line: u64, refund_no: Option<&str>, minor: i64, at: &str) -> BillLine {
    BillLine {
        line,
        refund_no: refund_no.map(Into::into),
        order_no: ORDER_NO.into(),
        transaction_id: "4200000000202611220000000001".into(),
        amount: cny(minor),
        at: Some(at.parse().unwrap()),
    }
}

#[test]
fn all_of_a_day() {
    let expected = [
        line(2, None, 990, "2026-11-22T08:00:00Z"),
        line(
            3,
            Some("019a9f2e8c4d7b3aa1b2c3d4e5f60718R1"),
            490,
            "2026-11-22T09:30:01Z",
        ),
    ];
    let text = bill(ALL, &[PAID, BACK]);
    assert_eq!(read(&text).unwrap(), expected);
    // Without the mark, with lines as Unix ends them, and without the last end.
    let unix = text.trim_start_matches('\u{feff}').replace('\r', "");
    assert_eq!(read(&unix).unwrap(), expected);
    assert_eq!(read(unix.trim_end()).unwrap(), expected);
    assert_eq!(read(&format!("{unix}\n\n")).unwrap(), expected);
}

#[test]
fn payments_only_and_refunds_only() {
    let paid = PAID
        .replace("`0,`0,`0.00,`0.00,`,`,`1000", "`1000")
        .replace("`9.90,`0.00,`", "`9.90,`");
    let lines = read(&bill(SUCCESS, &[&paid])).unwrap();
    assert_eq!(lines, [line(2, None, 990, "2026-11-22T08:00:00Z")]);

    let times = "`2026-11-22 17:30:00,`2026-11-22 17:31:00,`50200207182018070300011301001";
    let back = BACK.replace("`50200207182018070300011301001", times);
    let lines = read(&bill(REFUND, &[&back])).unwrap();
    let no = Some("019a9f2e8c4d7b3aa1b2c3d4e5f60718R1");
    assert_eq!(lines, [line(2, no, 490, "2026-11-22T09:30:00Z")]);
}

#[test]
fn a_day_without_sales() {
    let text = format!("{ALL}\r\n{SUMS}");
    assert_eq!(read(&text).unwrap(), []);
}

#[test]
fn a_payment_code_that_was_revoked_is_money_that_went_back() {
    let revoked = BACK
        .replace("`REFUND", "`REVOKED")
        .replace("`019a9f2e8c4d7b3aa1b2c3d4e5f60718R1", "`0");
    let lines = read(&bill(ALL, &[&revoked])).unwrap();
    assert_eq!(lines, [line(2, Some("0"), 490, "2026-11-22T09:30:01Z")]);
}

#[test]
fn every_line_that_is_none_is_named() {
    let broken = |from: &str, to: &str| {
        assert!(PAID.contains(from), "{from}");
        bill(ALL, &[PAID, &PAID.replace(from, to), BACK])
    };
    let second = [
        broken("`SUCCESS", "`SOMETHING"),
        broken("`9.90,", "`9.999,"),
        broken("`9.90,", "`-9.90,"),
        broken("`9.90,", "`,"),
        broken("`9.90,", "`9.,"),
        broken("`9.90,", "`.9,"),
        broken("`9.90,", "`1e2,"),
        broken("`9.90,", "`92233720368547758.08,"),
        broken("`9.90,", "`99999999999999999999,"),
        broken("`2026-11-22 16:00:00", "`2026-11-32 16:00:00"),
        broken("`2026-11-22 16:00:00", "`2026-11-22T16:00:00+08:00"),
        broken("`2026-11-22 16:00:00", "`1999-12-31 16:00:00"),
        broken("`2026-11-22 16:00:00", "`"),
        broken("`1900000109", "`1900000110"),
        broken("`CNY", "`"),
        broken("`4200000000202611220000000001", "`"),
        broken("`019a9f2e8c4d7b3aa1b2c3d4e5f60718", "`"),
        broken("`NATIVE,", ""),
        broken("`NATIVE,", "`NATIVE,`NATIVE,"),
        broken("credits, and", "credits,`and"),
        broken("`2026", "2026"),
        bill(ALL, &[PAID, "", BACK]),
        bill(
            ALL,
            &[
                PAID,
                &BACK.replace("`019a9f2e8c4d7b3aa1b2c3d4e5f60718R1", "`"),
                BACK,
            ],
        ),
        bill(
            ALL,
            &[
                PAID,
                &BACK.replace("`019a9f2e8c4d7b3aa1b2c3d4e5f60718R1", "`0"),
                BACK,
            ],
        ),
    ];
    for text in second {
        let (field, message) = invalid(read(&text));
        assert_eq!(field, "bill");
        assert!(message.contains("line 3"), "{message}");
    }
}

#[test]
fn what_is_no_bill_or_not_all_of_it() {
    let text = bill(ALL, &[PAID, BACK]);
    for (line, bad) in [
        (1, String::new()),
        (1, "\u{feff}".into()),
        (1, r#"{"code":"NO_STATEMENT_EXIST"}"#.into()),
        (1, text.replace("商户订单号", "订单")),
        (2, bill(&ALL.replace(",订单金额", ",金额"), &[PAID])),
        (3, format!("{ALL}\n{PAID}\n{BACK}")),
        (3, format!("{ALL}\n{PAID}\n{}", BACK.replacen('`', "", 1))),
        (4, text.rsplit_once("`2,").unwrap().0.into()),
        (5, text.replace("`2,", "2,")),
        (6, format!("{text}{PAID}")),
    ] {
        let (field, message) = invalid(read(&bad));
        assert_eq!(field, "bill");
        assert!(message.contains(&format!("line {line}:")), "{line}: {message}");
    }
    let mut bytes = text.clone().into_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'O').unwrap();
    bytes[at] = 0xff;
    let (_, message) = invalid(
        channel()
            .read_bill(&bytes)
            .and_then(|lines| lines.collect::<Result<Vec<_>>>()),
    );
    assert!(message.contains("line 3: "), "{message}");
    // However it is cut, it is never mistaken for a whole bill.
    let whole = text.find("`2,`9.90").unwrap();
    for end in (0..whole).filter(|end| text.is_char_boundary(*end)) {
        invalid(read(&text[..end]));
    }
}
