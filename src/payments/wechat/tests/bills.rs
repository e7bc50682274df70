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
const PAID: &str = "`2026-11-22 16:00:00,`wxd678efh567hg6787,`1900000109,`0,`,`4200000000202611220000000001,\
    `019a9f2e8c4d7b3aa1b2c3d4e5f60718,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`NATIVE,`SUCCESS,`OTHERS,`CNY,`9.00,`0.90,`0,`0,\
    `0.00,`0.00,`,`,`1000 credits, and more,`,`0.06000,`0.60%,`9.90,`0.00,`";
const BACK: &str = "`2026-11-22 17:30:01,`wxd678efh567hg6787,`1900000109,`0,`,`4200000000202611220000000001,\
    `019a9f2e8c4d7b3aa1b2c3d4e5f60718,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`NATIVE,`REFUND,`OTHERS,`CNY,`0.00,`0.00,\
    `50200207182018070300011301001,`019a9f2e8c4d7b3aa1b2c3d4e5f60718R1,`4.45,`0.00,`ORIGINAL,`PROCESSING,`1000 credits,\
    `,`-0.03000,`0.60%,`0.00,`4.90,`";

/// Of payments of 9.90 yuan and refunds of 4.90.
fn sums(payments: i64, refunds: i64) -> String {
    let yuan = |fen: i64| format!("{}.{:02}", fen / 100, fen % 100);
    let (paid, back) = (yuan(payments * 990), yuan(refunds * 490));
    format!(
        "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额\r\n\
         `{},`{paid},`{back},`0.00,`0.06000,`{paid},`{back}\r\n",
        payments + refunds
    )
}

fn bill(header: &str, lines: &[&str]) -> String {
    let payments = lines
        .iter()
        .filter(|line| line.contains("`SUCCESS,`OTHERS"))
        .count();
    let refunds = i64::try_from(lines.len() - payments).unwrap();
    let sums = sums(i64::try_from(payments).unwrap(), refunds);
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("\u{feff}{header}\r\n{lines}{sums}")
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
    assert_eq!(read(&bill(ALL, &[])).unwrap(), []);
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
    assert!(message.contains("line 3)"), "{message}");
    // However it is cut, it is never mistaken for a whole bill.
    let whole = text.find("`2,`9.90").unwrap();
    for end in (0..whole).filter(|end| text.is_char_boundary(*end)) {
        invalid(read(&text[..end]));
    }
}

#[test]
fn the_sums_have_to_be_those_of_the_lines() {
    let text = bill(ALL, &[PAID, BACK]);
    let of_two = sums(1, 1);
    // Those that nobody needs are not compared, and a bill of one kind has fewer of them.
    let others = "`2,`0.00,`0.00,`1.00,`-1,`9.90,`4.90";
    assert_eq!(
        read(&text.replace("`2,`9.90,`4.90,`0.00,`0.06000,`9.90,`4.90", others))
            .unwrap()
            .len(),
        2
    );
    let success = "总交易单数,应结订单总金额,手续费总金额,订单总金额\r\n`2,`9.00,`0.06000,`14.80";
    let success = text.replace(sums(1, 1).trim_end(), success);
    invalid(read(&success));
    assert_eq!(read(&success.replace("`14.80", "`9.90")).unwrap().len(), 2);
    for (said, other, name) in [
        ("`2,`9.90", "`3,`9.90", "总交易单数"),
        ("`2,`9.90", "`1,`9.90", "总交易单数"),
        ("`2,`9.90", "`,`9.90", "总交易单数"),
        ("`0.06000,`9.90", "`0.06000,`9.91", "订单总金额"),
        ("`0.06000,`9.90", "`0.06000,`", "订单总金额"),
        ("`9.90,`4.90\r\n", "`9.90,`0.00\r\n", "申请退款总金额"),
        (",`9.90,`4.90\r\n", ",`9.90\r\n", "申请退款总金额"),
    ] {
        let place = text.rfind(said).unwrap();
        let changed = format!("{}{other}{}", &text[..place], &text[place + said.len()..]);
        let (_, message) = invalid(read(&changed));
        assert!(
            message.contains("has a sum") && message.contains("line 5: "),
            "{message}"
        );
        assert!(message.contains(name), "{message}");
    }
    // A line that is lost, or there twice.
    for lines in [&[PAID][..], &[PAID, BACK, BACK]] {
        let lines = lines.join("\n");
        let (_, message) = invalid(read(&format!("{ALL}\n{lines}\n{of_two}")));
        assert!(message.contains("has a sum"), "{message}");
    }
}

#[test]
fn a_line_break_in_a_name_does_not_refuse_the_bill() {
    let text = bill(ALL, &[PAID, BACK]);
    let expected = read(&text).unwrap();
    for name in [
        "1000\n\ncredits",
        "1000\r\n\r\ncredits",
        "\n\n",
        "1000,\n2026,\n,",
    ] {
        let lines = read(&text.replacen("1000 credits, and more", name, 1)).unwrap();
        assert_eq!(lines[0], expected[0], "{name}");
        assert_eq!(
            lines[1],
            BillLine {
                line: 5,
                ..expected[1].clone()
            },
            "{name}"
        );
    }
    // Where it does not get whole, the line that began it is named.
    for name in ["1000\n`2026", "1000\n总交易单数", &"\n".repeat(100)] {
        let (_, message) = invalid(read(&text.replacen("1000 credits, and more", name, 1)));
        assert!(message.contains("line 2: "), "{message}");
    }
}

#[test]
fn a_bill_saved_from_the_platform_may_be_gbk() {
    let text = bill(ALL, &[&PAID.replace("and more", "积分"), BACK]);
    let (gbk, _, unknown) = encoding_rs::GBK.encode(text.trim_start_matches('\u{feff}'));
    assert!(!unknown);
    let lines: Result<Vec<BillLine>> = channel().read_bill(&gbk).unwrap().collect();
    assert_eq!(lines.unwrap(), read(&text).unwrap());
}

#[test]
fn what_is_handed_over_in_the_place_of_a_bill_is_named() {
    for (bill, problem) in [
        (&b"\x1f\x8b\x08\0"[..], "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (
            br#"{"code":"NO_STATEMENT_EXIST","message":"?"}"#,
            "no bill of that day",
        ),
        (br#"{"code":"SIGN_ERROR"}"#, "SIGN_ERROR"),
    ] {
        let (field, message) = invalid(channel().read_bill(bill).map(drop));
        assert_eq!(field, "bill");
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn an_early_bill_has_one_amount_for_the_order() {
    let header = "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,\
        货币种类,总金额,企业红包金额,微信退款单号,商户退款单号,退款金额,企业红包退款金额,退款类型,退款状态,商品名称,\
        商户数据包,手续费,费率";
    let start = "`2026-11-22 16:00:00,`wxd678efh567hg6787,`1900000109,`0,`1000,`4200000000202611220000000001,\
        `019a9f2e8c4d7b3aa1b2c3d4e5f60718,`oUpF8uMuAJO_M2pxb1Q9zNjWeS6o,`MICROPAY";
    let paid = format!("{start},`SUCCESS,`OTHERS,`CNY,`9.9,`0.0,`0,`0,`0,`0,`,`,`积分,`,`0,`0.60%");
    let back = format!(
        "{start},`REFUND,`OTHERS,`CNY,`0.0,`0.0,`50200207182018070300011301001,\
         `019a9f2e8c4d7b3aa1b2c3d4e5f60718R1,`4.9,`0.0,`ORIGINAL,`SUCCESS,`积分,`,`0,`0.60%"
    );
    let sums = "总交易单数,总交易额,总退款金额,总企业红包退款金额,手续费总金额\n`2,`9.9,`4.9,`0.0,`0\n";
    let text = format!("{header}\n{paid}\n{back}\n{sums}");
    let expected = [
        line(2, None, 990, "2026-11-22T08:00:00Z"),
        line(
            3,
            Some("019a9f2e8c4d7b3aa1b2c3d4e5f60718R1"),
            490,
            "2026-11-22T08:00:00Z",
        ),
    ];
    assert_eq!(read(&text).unwrap(), expected);
    let (_, message) = invalid(read(&text.replace("`9.9,`4.9,", "`9.9,`4.8,")));
    assert!(message.contains("总退款金额"), "{message}");
    // 退款金额 of today is after coupons: never what the order's refund was.
    let today = text.replace("总金额,企业红包金额", "应结订单金额,代金券金额");
    let (_, message) = invalid(read(&today));
    assert!(message.contains("no column for its amount"), "{message}");
}
