//! Notifications: what is believed, and what is not.

use super::*;
use crate::payments::{Channel, NOTIFICATION_BYTES_MAX, Notice, Payment, RefundNotice, RefundStanding};
use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256};

const PAID: &str = "TRANSACTION.SUCCESS";

fn payment() -> Notice {
    Notice::Paid(Payment {
        order_no: ORDER_NO.into(),
        transaction_id: "4200000000202611220000000001".into(),
        amount: cny(990),
        paid_at: Some("2018-06-08T02:34:56Z".parse().unwrap()),
    })
}

fn paid_body() -> Vec<u8> {
    envelope(
        PAID,
        "transaction",
        &transaction().to_string(),
        Some("transaction"),
    )
}

fn read(body: &[u8]) -> Result<Notice> {
    channel().notification(&signed(body), body, NOW)
}

/// A notification with this content, signed and encrypted as it should be.
fn content(event: &str, original_type: &str, content: &Value) -> Result<Notice> {
    read(&envelope(
        event,
        original_type,
        &content.to_string(),
        Some(original_type),
    ))
}

fn changed(mut content: Value, pointer: &str, value: Value) -> Value {
    *content.pointer_mut(pointer).unwrap() = value;
    content
}

fn added(mut content: Value, name: &str, value: Value) -> Value {
    content[name] = value;
    content
}

#[test]
fn a_payment_is_believed_and_believed_again() {
    let (channel, body) = (channel(), paid_body());
    let headers = signed(&body);
    for _ in 0..2 {
        assert_eq!(channel.notification(&headers, &body, NOW).unwrap(), payment());
    }
    let typed = with(
        &headers,
        "Wechatpay-Signature-Type",
        Some("WECHATPAY2-SHA256-RSA2048"),
    );
    assert_eq!(channel.notification(&typed, &body, NOW).unwrap(), payment());
}

#[test]
fn header_names_are_found_in_any_case() {
    let body = paid_body();
    let lower = signed(&body)
        .0
        .into_iter()
        .map(|(name, value)| (name.to_lowercase(), value));
    let lower = Headers::new(lower);
    assert_eq!(channel().notification(&lower, &body, NOW).unwrap(), payment());
}

#[test]
fn a_genuine_header_that_came_twice_is_refused() {
    let body = paid_body();
    let headers = signed(&body);
    for name in [
        "Wechatpay-Serial",
        "Wechatpay-Timestamp",
        "Wechatpay-Nonce",
        "Wechatpay-Signature",
        "Wechatpay-Signature-Type",
    ] {
        let value = headers.get(name).unwrap_or("WECHATPAY2-SHA256-RSA2048");
        let once: Vec<(String, String)> = (headers.0.iter())
            .filter(|(each, _)| each != name)
            .cloned()
            .chain([(name.to_owned(), value.to_owned())])
            .collect();
        assert!(
            channel()
                .notification(&Headers::new(once.clone()), &body, NOW)
                .is_ok()
        );
        for more in [value, "", "other"] {
            let twice = once
                .iter()
                .cloned()
                .chain([(name.to_lowercase(), more.to_owned())]);
            let problem = unbelieved(channel().notification(&Headers::new(twice), &body, NOW));
            assert!(problem.contains("came twice"), "{name}: {problem}");
        }
    }
}

#[test]
fn associated_data_may_be_empty_or_missing() {
    for aad in [None, Some("")] {
        let body = envelope(PAID, "transaction", &transaction().to_string(), aad);
        assert_eq!(read(&body).unwrap(), payment());
    }
}

#[test]
fn what_another_implementation_signed_is_believed() {
    let text = |pointer: &str| OTHER.pointer(pointer).unwrap().as_str().unwrap();
    let mut config = config();
    config.api_v3_key = text("/api_v3_key").into();
    config.verification_keys = vec![
        VerificationKey::Certificate {
            pem: text("/certificate/pem").into(),
        },
        VerificationKey::PublicKey {
            id: text("/public_key/id").into(),
            pem: text("/public_key/pem").into(),
        },
    ];
    let channel = WeChatPay::new(config).unwrap();
    let now = Timestamp::from_micros(OTHER["now"].as_i64().unwrap() * 1_000_000);
    let read = |name: &str| {
        let headers = OTHER[name]["headers"].as_object().unwrap();
        let headers = headers.iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap()));
        let body = OTHER[name]["body"].as_str().unwrap();
        channel.notification(&Headers::new(headers), body.as_bytes(), now)
    };
    assert_eq!(read("payment").unwrap(), payment());
    assert_eq!(read("payment_by_certificate").unwrap(), payment());
    assert!(matches!(read("refund").unwrap(), Notice::Refund(_)));
    for name in ["payment_with_sha1", "payment_with_pss"] {
        assert_eq!(unbelieved(read(name)), "the signature is wrong", "{name}");
    }
}

#[test]
fn one_wrong_byte_anywhere_is_refused() {
    let (channel, body) = (channel(), paid_body());
    let headers = signed(&body);
    for (at, _) in body.iter().enumerate() {
        for mask in [0x01, 0x20, 0x80] {
            let mut body = body.clone();
            body[at] ^= mask;
            unbelieved(channel.notification(&headers, &body, NOW));
        }
        unbelieved(channel.notification(&headers, &body[..at], NOW));
    }
    for name in [
        "Wechatpay-Signature",
        "Wechatpay-Timestamp",
        "Wechatpay-Nonce",
        "Wechatpay-Serial",
    ] {
        let value = headers.get(name).unwrap();
        for (at, _) in value.bytes().enumerate() {
            for mask in [0x01, 0x02, 0x20] {
                let mut value = value.as_bytes().to_vec();
                value[at] ^= mask;
                let value = String::from_utf8(value).unwrap();
                let headers = with(&headers, name, Some(&value));
                unbelieved(channel.notification(&headers, &body, NOW));
            }
            let headers = with(&headers, name, Some(&value[..at]));
            unbelieved(channel.notification(&headers, &body, NOW));
        }
        let missing = with(&headers, name, None);
        assert!(unbelieved(channel.notification(&missing, &body, NOW)).contains(name));
    }
}

#[test]
fn five_minutes_either_way_and_no_more() {
    let (channel, body) = (channel(), paid_body());
    let at = |seconds: i64| channel.notification(&signed_at(seconds, &body), &body, NOW);
    for good in [-300, -1, 0, 1, 300] {
        assert_eq!(at(NOW_S + good).unwrap(), payment(), "{good}");
    }
    for bad in [NOW_S - 301, NOW_S + 301, 0, -NOW_S, i64::MIN, i64::MAX] {
        assert!(unbelieved(at(bad)).contains("300 at the most"), "{bad}");
    }
    let headers = signed(&body);
    for odd in ["", " 1795334400", "1795334400.0", "now", "9223372036854775808"] {
        let headers = with(&headers, "Wechatpay-Timestamp", Some(odd));
        unbelieved(channel.notification(&headers, &body, NOW));
    }
    for now in [i64::MIN, i64::MAX] {
        unbelieved(channel.notification(&headers, &body, Timestamp::from_micros(now)));
    }
}

#[test]
fn only_our_keys_and_our_algorithm() {
    let (channel, body) = (channel(), paid_body());
    let headers = signed(&body);
    let message = [format!("{NOW_S}\n{NONCE}\n").as_bytes(), &body, b"\n"].concat();
    let of = |signature: &str| {
        let headers = with(&headers, "Wechatpay-Signature", Some(signature));
        unbelieved(channel.notification(&headers, &body, NOW))
    };
    assert_eq!(
        of(&sign_with(&OURS, &RSA_PKCS1_SHA256, &message)),
        "the signature is wrong"
    );
    assert_eq!(
        of(&sign_with(&THEIRS, &RSA_PKCS1_SHA512, &message)),
        "the signature is wrong"
    );
    assert_eq!(
        of(&sign_with(&THEIRS, &RSA_PSS_SHA256, &message)),
        "the signature is wrong"
    );
    // WeChat Pay's probe: https://pay.weixin.qq.com/doc/v3/merchant/4016241880.
    of("WECHATPAY/SIGNTEST/SkUtc2VjdXJpdHktdGVzdA==");
    of(&format!(
        "WECHATPAY/SIGNTEST/{}",
        headers.get("Wechatpay-Signature").unwrap()
    ));
    of("not base64");

    let serial = with(&headers, "Wechatpay-Serial", Some("PUB_KEY_ID_2"));
    assert!(unbelieved(channel.notification(&serial, &body, NOW)).contains("does not have"));
    let lower = with(&headers, "Wechatpay-Serial", Some(&KEY_ID.to_lowercase()));
    unbelieved(channel.notification(&lower, &body, NOW));
    for kind in ["WECHATPAY2-SM2-WITH-SM3", "WECHATPAY2-SHA1-RSA2048", "", "none"] {
        let typed = with(&headers, "Wechatpay-Signature-Type", Some(kind));
        assert!(unbelieved(channel.notification(&typed, &body, NOW)).contains("another type"));
    }
}

#[test]
fn a_nonce_can_not_swallow_the_start_of_a_body() {
    // "a\n{...}" as nonce "a" and that body, or as nonce "a\n{..." and the rest of it.
    let text = format!("{}\n", String::from_utf8(paid_body()).unwrap());
    let body = format!("first\n{text}");
    let whole = signed(body.as_bytes());
    let moved = with(&whole, "Wechatpay-Nonce", Some(&format!("{NONCE}\nfirst")));
    let problem = unbelieved(channel().notification(&moved, text.as_bytes(), NOW));
    assert_eq!(problem, "Wechatpay-Nonce is none");
}

#[test]
fn another_app_and_another_merchant_are_refused() {
    let app = changed(transaction(), "/appid", "wxother".into());
    assert_eq!(
        unbelieved(content(PAID, "transaction", &app)),
        "it is about another app"
    );
    let merchant = changed(transaction(), "/mchid", "1900000110".into());
    assert_eq!(
        unbelieved(content(PAID, "transaction", &merchant)),
        "it is about another merchant"
    );
    let merchant = changed(refund_content(), "/mchid", "1900000110".into());
    assert_eq!(
        unbelieved(content("REFUND.SUCCESS", "refund", &merchant)),
        "it is about another merchant"
    );
}

#[test]
fn a_refund_never_becomes_a_payment() {
    let refund = refund_content();
    let both = json!({
        "appid": APP, "mchid": MERCHANT, "out_trade_no": ORDER_NO, "transaction_id": "1", "trade_state": "SUCCESS",
        "amount": { "total": 990, "currency": "CNY", "refund": 990 },
        "refund_id": "1", "out_refund_no": format!("{ORDER_NO}R1"), "refund_status": "SUCCESS",
    });
    for (event, kind, text) in [
        (PAID, "transaction", &refund),
        (PAID, "refund", &refund),
        ("REFUND.SUCCESS", "transaction", &refund),
        (PAID, "transaction", &both),
        ("REFUND.SUCCESS", "refund", &both),
        ("REFUND.SUCCESS", "refund", &transaction()),
        (PAID, "refund", &transaction()),
        ("REFUND.SUCCESS", "transaction", &transaction()),
        ("COUPON.USE", "transaction", &transaction()),
        ("COUPON.USE", "refund", &refund),
        (PAID, "coupon", &transaction()),
    ] {
        unbelieved(content(event, kind, text));
    }
    for sign in ["refund_id", "out_refund_no", "refund_status"] {
        let text = added(transaction(), sign, "1".into());
        assert_eq!(
            unbelieved(content(PAID, "transaction", &text)),
            "a refund in the place of a payment"
        );
    }
}

#[test]
fn only_success_is_a_payment() {
    for state in [
        "NOTPAY",
        "CLOSED",
        "REVOKED",
        "USERPAYING",
        "PAYERROR",
        "",
        "success",
        "SUCCESS ",
    ] {
        unbelieved(content(
            PAID,
            "transaction",
            &changed(transaction(), "/trade_state", state.into()),
        ));
    }
    let other = |event: &str| Notice::Other {
        order_no: Some(ORDER_NO.into()),
        event: event.into(),
    };
    let refunded = changed(transaction(), "/trade_state", "REFUND".into());
    assert_eq!(content(PAID, "transaction", &refunded).unwrap(), other(PAID));
    let failed = "TRANSACTION.FAIL";
    assert_eq!(
        content(failed, "transaction", &transaction()).unwrap(),
        other(failed)
    );
}

#[test]
fn events_that_are_nothing_to_us() {
    let notice = content("COUPON.USE", "coupon", &json!({ "stock_id": "9865888" }));
    let expected = Notice::Other {
        order_no: None,
        event: "COUPON.USE".into(),
    };
    assert_eq!(notice.unwrap(), expected);
}

#[test]
fn refunds_by_their_states() {
    let refund = |status: &str| {
        let text = changed(refund_content(), "/refund_status", status.into());
        content(&format!("REFUND.{status}"), "refund", &text)
    };
    let expected = |standing| {
        Notice::Refund(RefundNotice {
            order_no: ORDER_NO.into(),
            refund_no: format!("{ORDER_NO}R1"),
            channel_id: Some("50200207182018070300011301001".into()),
            amount: Some(cny(490)),
            standing,
        })
    };
    assert_eq!(refund("SUCCESS").unwrap(), expected(RefundStanding::Succeeded));
    assert!(matches!(
        refund("ABNORMAL").unwrap(),
        Notice::Refund(RefundNotice {
            standing: RefundStanding::Pending { problem: Some(_) },
            ..
        })
    ));
    assert!(matches!(
        refund("CLOSED").unwrap(),
        Notice::Refund(RefundNotice {
            standing: RefundStanding::Failed { .. },
            ..
        })
    ));
    unbelieved(refund("CHANGED"));
    unbelieved(content(
        "REFUND.SUCCESS",
        "refund",
        &changed(refund_content(), "/refund_status", "CLOSED".into()),
    ));
    unbelieved(content("REFUND.CLOSED", "refund", &refund_content()));
}

#[test]
fn amounts_are_positive_integers_of_fen() {
    for bad in [
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(9.9),
        json!(1e30),
        json!("990"),
        json!(null),
    ] {
        unbelieved(content(
            PAID,
            "transaction",
            &changed(transaction(), "/amount/total", bad.clone()),
        ));
        unbelieved(content(
            "REFUND.SUCCESS",
            "refund",
            &changed(refund_content(), "/amount/refund", bad),
        ));
    }
    let huge = content(
        PAID,
        "transaction",
        &changed(transaction(), "/amount/total", i64::MAX.into()),
    );
    assert!(matches!(huge.unwrap(), Notice::Paid(paid) if paid.amount == cny(i64::MAX)));
    let dollars = content(
        PAID,
        "transaction",
        &changed(transaction(), "/amount/currency", "USD".into()),
    );
    assert!(matches!(dollars.unwrap(), Notice::Paid(paid) if paid.amount.currency == "USD"));
    unbelieved(content(
        PAID,
        "transaction",
        &changed(transaction(), "/amount/currency", "".into()),
    ));
    unbelieved(content(
        PAID,
        "transaction",
        &changed(transaction(), "/amount", json!({ "total": 990 })),
    ));
    unbelieved(content(
        PAID,
        "transaction",
        &changed(transaction(), "/amount", json!(null)),
    ));
    unbelieved(content(
        PAID,
        "transaction",
        &changed(transaction(), "/transaction_id", "".into()),
    ));
    unbelieved(content(
        PAID,
        "transaction",
        &changed(transaction(), "/success_time", "yesterday".into()),
    ));
    unbelieved(content(
        PAID,
        "transaction",
        &changed(transaction(), "/success_time", "1066-10-14T09:00:00Z".into()),
    ));
}

#[test]
fn signed_rubbish_is_an_error() {
    let body = String::from_utf8(paid_body()).unwrap();
    let twice = body.replacen("{", r#"{"event_type":"REFUND.SUCCESS","#, 1);
    for rubbish in [
        "",
        "null",
        "[]",
        "{}",
        "\u{feff}{}",
        "<xml/>",
        &twice,
        &body.replace("encrypt-resource", "plain"),
        &body.replace("AEAD_AES_256_GCM", "AEAD_SM4_GCM"),
        &body.replace("n0nceN0NCE12", "n0nceN0NCE1"),
        &body.replace("n0nceN0NCE12", "n0nceN0NCE13"),
        &body.replace(
            r#""associated_data":"transaction""#,
            r#""associated_data":"refund""#,
        ),
        &format!("{body}{body}"),
    ] {
        unbelieved(read(rubbish.as_bytes()));
    }
    unbelieved(read(&[0xff, 0xfe]));
    for inner in ["", "null", "{", "{}", "[]", "\u{0}"] {
        unbelieved(read(&envelope(PAID, "transaction", inner, None)));
    }
    let deep = "[".repeat(100_000);
    unbelieved(read(deep.as_bytes()));
    unbelieved(read(&envelope(PAID, "transaction", &deep, None)));
}

#[test]
fn a_huge_body_is_not_looked_at() {
    let largest = vec![b' '; NOTIFICATION_BYTES_MAX];
    assert_eq!(unbelieved(read(&largest)), "the body is not a notification");
    let larger = vec![b' '; NOTIFICATION_BYTES_MAX + 1];
    assert!(unbelieved(read(&larger)).contains("262144 at the most"));
}

#[test]
fn another_merchants_key_does_not_open_it() {
    let mut config = config();
    config.api_v3_key = "another-key-0123456789abcdefghij".into();
    let body = paid_body();
    let read = WeChatPay::new(config)
        .unwrap()
        .notification(&signed(&body), &body, NOW);
    assert_eq!(unbelieved(read), "the APIv3 key does not open it");
}

#[test]
fn what_wechat_pay_hears() {
    let taken = channel().reply(true);
    assert_eq!(
        (taken.status, taken.body.as_str()),
        (200, r#"{"code":"SUCCESS"}"#)
    );
    let again = channel().reply(false);
    assert_eq!(again.status, 500);
    assert_eq!(
        serde_json::from_str::<Value>(&again.body).unwrap()["code"],
        "FAIL"
    );
}
