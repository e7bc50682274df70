//! The channel as a whole: settings, notifications as Alipay would send them, and calls to a stand-in of its gateway.

mod calls;
pub(super) mod keys;
mod notifications;
mod settings;
mod stand_in;

use super::*;
use crate::ledger::{OrderNo, OrderState, OrderStatus, RefundStatus};
use keys::{OURS, THEIRS, private, public};
use uuid::Uuid;

const APP_ID: &str = "2021000000000000";
const SELLER_ID: &str = "2088000000000000";

fn config() -> AlipayConfig {
    AlipayConfig {
        seller_id: Some(SELLER_ID.into()),
        ..AlipayConfig::new(
            APP_ID,
            private(&OURS),
            AlipayKeys::PublicKey(public(&THEIRS)),
            "https://shop.example.com/alipay/notify",
        )
    }
}

fn alipay() -> Alipay {
    Alipay::new(config()).unwrap()
}

fn t(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    t("2026-11-22T08:00:00Z")
}

fn yuan(minor: i64) -> Money {
    Money {
        minor,
        currency: "CNY".into(),
    }
}

/// 9.90 yuan, to be paid within half an hour from now.
fn order() -> Order {
    Order {
        order_no: OrderNo(Uuid::from_u128(0x019a_ab00_0000_7000_8000_0000_0000_0001)),
        user_id: Uuid::nil(),
        channel: NAME.into(),
        package_id: Uuid::nil(),
        package_version: 1,
        subject: "1000 credits / 积分 & more = fun".into(),
        price: yuan(990),
        credits: 1000,
        bonus_credits: 0,
        validity_days: None,
        purchase_limit: None,
        created_at: now(),
        expires_at: t("2026-11-22T08:30:00Z"),
        state: OrderState {
            status: OrderStatus::Paying,
            transaction_id: None,
            paid_at: None,
            closed_at: None,
            lot_id: None,
            bonus_lot_id: None,
            refunds: Vec::new(),
        },
    }
}

const ORDER_NO: &str = "019aab00000070008000000000000001";
const REFUND_NO: &str = "019aab00000070008000000000000001R1";
const TRADE_NO: &str = "2026112222001400000000000001";

/// 3.30 yuan of it.
fn refund() -> OrderRefund {
    OrderRefund {
        number: 1,
        minor: 330,
        status: RefundStatus::Pending,
        lots: Vec::new(),
        reason: Some("an operator's own words".into()),
        operator: None,
        channel_id: None,
        problem: None,
        created_at: now(),
        settled_at: None,
    }
}

/// What a verification error says.
#[track_caller]
fn untrusted_because<T: std::fmt::Debug>(result: Result<T>, problem: &str) {
    match result {
        Err(Error::PaymentVerification {
            channel,
            problem: said,
        }) => {
            assert_eq!(channel, NAME);
            assert!(said.contains(problem), "{said}; expected: {problem}");
        }
        other => panic!("{other:?}; expected: {problem}"),
    }
}

#[test]
fn the_order_is_what_these_tests_call_it() {
    assert_eq!(order().order_no.to_string(), ORDER_NO);
    assert_eq!(refund().refund_no(order().order_no), REFUND_NO);
}

#[test]
fn prices_are_checked() {
    let alipay = alipay();
    assert_eq!(alipay.name(), "alipay");
    for minor in [1, 990, 10_000_000_000] {
        alipay.check(&yuan(minor)).unwrap();
    }
    for minor in [0, -1, 10_000_000_001, i64::MAX, i64::MIN] {
        assert_eq!(alipay.check(&yuan(minor)).unwrap_err().code(), "validation");
    }
    let dollars = Money {
        minor: 990,
        currency: "USD".into(),
    };
    let error = alipay.check(&dollars).unwrap_err().to_string();
    assert!(error.contains("currency") && error.contains("CNY"), "{error}");
}
