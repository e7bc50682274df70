//! The checks of the fuzz target (`fuzz/fuzz_targets/wechat.rs`) on stable Rust: notifications and bills of WeChat Pay
//! that are nearly right.
#![cfg(feature = "payments")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../../fuzz/wechat_checks.rs"]
mod checks;

use checks::{APP, MERCHANT, Stand};
use jointo_credits::payments::Notice;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

static STAND: LazyLock<Stand> = LazyLock::new(Stand::new);

const BILL: &str = "\u{feff}交易时间,商户号,微信订单号,商户订单号,交易状态,货币种类,商户退款单号,订单金额,申请退款金额\r\n\
    `2026-11-22 16:00:00,`1900000109,`4200000000202611220000000001,`019a9f2e8c4d7b3aa1b2c3d4e5f60718,`SUCCESS,`CNY,`0,\
    `9.90,`0.00\r\n\
    `2026-11-22 17:30:01,`1900000109,`4200000000202611220000000001,`019a9f2e8c4d7b3aa1b2c3d4e5f60718,`REFUND,`CNY,\
    `019a9f2e8c4d7b3aa1b2c3d4e5f60718R1,`0.00,`4.90\r\n\
    总交易单数,订单总金额,申请退款总金额\r\n\
    `2,`9.90,`4.90\r\n";

fn transaction() -> Value {
    json!({
        "appid": APP, "mchid": MERCHANT, "out_trade_no": "019a9f2e8c4d7b3aa1b2c3d4e5f60718",
        "transaction_id": "4200000000202611220000000001", "trade_state": "SUCCESS",
        "success_time": "2026-11-22T16:00:00+08:00",
        "amount": { "total": 990, "payer_total": 900, "currency": "CNY" },
    })
}

fn refund() -> Value {
    json!({
        "mchid": MERCHANT, "out_trade_no": "019a9f2e8c4d7b3aa1b2c3d4e5f60718",
        "out_refund_no": "019a9f2e8c4d7b3aa1b2c3d4e5f60718R1", "refund_id": "50200207182018070300011301001",
        "refund_status": "SUCCESS", "amount": { "total": 990, "refund": 490 },
    })
}

/// A value that a field might have.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "SUCCESS", "REFUND", "CLOSED", "NOTPAY", "CNY", APP, MERCHANT
        ])
        .prop_map(Value::from),
        Just(json!({ "total": 1, "refund": 1, "currency": "CNY" })),
    ]
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "appid",
        "mchid",
        "out_trade_no",
        "transaction_id",
        "trade_state",
        "success_time",
        "amount",
        "refund_id",
        "out_refund_no",
        "refund_status",
        "more",
    ])
}

fn event() -> impl Strategy<Value = (&'static str, &'static str)> {
    let events = vec![
        "TRANSACTION.SUCCESS",
        "REFUND.SUCCESS",
        "REFUND.ABNORMAL",
        "REFUND.CLOSED",
        "COUPON.USE",
        "",
    ];
    (
        prop::sample::select(events),
        prop::sample::select(vec!["transaction", "refund", "coupon", ""]),
    )
}

#[test]
fn what_is_right_is_believed() {
    let paid = STAND.content(
        "TRANSACTION.SUCCESS",
        "transaction",
        transaction().to_string().as_bytes(),
    );
    assert!(matches!(paid, Some(Notice::Paid(_))));
    let refunded = STAND.content("REFUND.SUCCESS", "refund", refund().to_string().as_bytes());
    assert!(matches!(refunded, Some(Notice::Refund(_))));
    STAND.bill(BILL.as_bytes());
}

proptest! {
    #[test]
    fn contents_that_are_nearly_right(
        (event, original_type) in event(),
        base in prop::bool::ANY,
        changes in prop::collection::vec((field(), prop::option::of(value())), 0..3),
    ) {
        let mut content = if base { transaction() } else { refund() };
        for (name, value) in changes {
            let fields = content.as_object_mut().unwrap();
            match value {
                Some(value) => drop(fields.insert(name.into(), value)),
                None => drop(fields.remove(name)),
            }
        }
        STAND.content(event, original_type, content.to_string().as_bytes());
    }

    #[test]
    fn contents_with_other_bytes(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in prop::bool::ANY) {
        let mut content = transaction().to_string().into_bytes();
        let at = at.index(content.len());
        if cut { content.truncate(at) } else { content[at] = byte }
        STAND.content("TRANSACTION.SUCCESS", "transaction", &content);
    }

    #[test]
    fn any_body(body in prop::collection::vec(any::<u8>(), 0..200)) {
        STAND.body(&body);
    }

    #[test]
    fn bills_with_other_bytes(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'`'), Just(b','), Just(b'\n')], 0..3),
        removed in 0_usize..4,
    ) {
        let mut bill = BILL.as_bytes().to_vec();
        let at = at.index(bill.len());
        let end = (at + removed).min(bill.len());
        bill.splice(at..end, bytes);
        STAND.bill(&bill);
    }

    #[test]
    fn any_text_as_a_bill(text in "[`,\\n0-9.交易单数]{0,100}") {
        STAND.bill(text.as_bytes());
    }
}
