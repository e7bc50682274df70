//! WeChat Pay with keys that live as long as the test: what it signs, what it believes, and what it asks.

mod bills;
mod configuration;
mod notices;
mod requests;
mod server;

use super::{VerificationKey, WeChatConfig, WeChatPay};
use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Money, Order, OrderNo, OrderRefund, OrderState, OrderStatus, RefundStatus};
use crate::payments::{Headers, Pace};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::LazyLock;

const MERCHANT: &str = "1900000109";
const APP: &str = "wxd678efh567hg6787";
const SERIAL: &str = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C";
const KEY_ID: &str = "PUB_KEY_ID_0119000001092024112000000000000001";
const API_V3_KEY: &str = "throw-away-key-0123456789abcdefg";
const NONCE: &str = "593BEC0C930BF1AFEB40B4A08C8FB242";
const ORDER_NO: &str = "019a9f2e8c4d7b3aa1b2c3d4e5f60718";
/// 2026-11-22T08:00:00Z.
const NOW_S: i64 = 1_795_334_400;
const NOW: Timestamp = Timestamp::from_micros(NOW_S * 1_000_000);

static OURS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());
static THEIRS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

/// What another implementation has made, and one that the other way round accepts it: `made` says which.
static OTHER: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(include_str!("other.json")).unwrap());

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn private_der(key: &KeyPair) -> Vec<u8> {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    der.as_ref().to_vec()
}

fn public_pem(key: &KeyPair) -> String {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    pem("PUBLIC KEY", der.as_ref())
}

fn config() -> WeChatConfig {
    WeChatConfig {
        merchant_id: MERCHANT.into(),
        app_id: APP.into(),
        api_v3_key: API_V3_KEY.into(),
        merchant_serial: SERIAL.into(),
        merchant_key: pem("PRIVATE KEY", &private_der(&OURS)),
        verification_keys: vec![VerificationKey::PublicKey {
            id: KEY_ID.into(),
            pem: public_pem(&THEIRS),
        }],
        notify_url: "https://shop.example/wechat".into(),
        refund_notify_url: None,
        base_url: None,
        pace: Pace::default(),
    }
}

fn channel() -> WeChatPay {
    WeChatPay::new(config()).unwrap()
}

fn sign_with(key: &KeyPair, how: &'static dyn RsaEncoding, message: &[u8]) -> String {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(how, &SystemRandom::new(), message, &mut signature)
        .unwrap();
    STANDARD.encode(signature)
}

/// Headers as WeChat Pay sends them at that second.
fn signed_at(seconds: i64, body: &[u8]) -> Headers {
    let mut message = format!("{seconds}\n{NONCE}\n").into_bytes();
    message.extend_from_slice(body);
    message.push(b'\n');
    let signature = sign_with(&THEIRS, &RSA_PKCS1_SHA256, &message);
    Headers::new([
        ("Content-Type", "application/json"),
        ("Wechatpay-Serial", KEY_ID),
        ("Wechatpay-Timestamp", &seconds.to_string()),
        ("Wechatpay-Nonce", NONCE),
        ("Wechatpay-Signature", &signature),
    ])
}

fn signed(body: &[u8]) -> Headers {
    signed_at(NOW_S, body)
}

/// The same headers but for one.
fn with(headers: &Headers, name: &str, value: Option<&str>) -> Headers {
    let kept = headers
        .0
        .iter()
        .filter(|(each, _)| !each.eq_ignore_ascii_case(name))
        .cloned();
    let new = value.map(|value| (name.to_owned(), value.to_owned()));
    Headers::new(kept.chain(new))
}

/// A notification's body.
fn envelope(event: &str, original_type: &str, content: &str, associated_data: Option<&str>) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, API_V3_KEY.as_bytes()).unwrap());
    let mut text = content.as_bytes().to_vec();
    let nonce = Nonce::try_assume_unique_for_key(b"n0nceN0NCE12").unwrap();
    let aad = Aad::from(associated_data.unwrap_or_default().as_bytes());
    key.seal_in_place_append_tag(nonce, aad, &mut text).unwrap();
    let mut resource = json!({
        "original_type": original_type,
        "algorithm": "AEAD_AES_256_GCM",
        "ciphertext": STANDARD.encode(text),
        "nonce": "n0nceN0NCE12",
    });
    if let Some(aad) = associated_data {
        resource["associated_data"] = aad.into();
    }
    let body = json!({
        "id": "EV-2018022511223320873",
        "create_time": "2015-05-20T13:29:35+08:00",
        "resource_type": "encrypt-resource",
        "event_type": event,
        "summary": "支付成功",
        "resource": resource,
    });
    body.to_string().into_bytes()
}

fn transaction() -> Value {
    json!({
        "transaction_id": "4200000000202611220000000001",
        "amount": { "payer_total": 900, "total": 990, "currency": "CNY", "payer_currency": "CNY" },
        "mchid": MERCHANT,
        "trade_state": "SUCCESS",
        "bank_type": "CMC",
        "promotion_detail": [],
        "success_time": "2018-06-08T10:34:56+08:00",
        "payer": { "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o" },
        "out_trade_no": ORDER_NO,
        "appid": APP,
        "trade_state_desc": "支付成功",
        "trade_type": "NATIVE",
        "attach": "",
    })
}

fn refund_content() -> Value {
    json!({
        "mchid": MERCHANT,
        "transaction_id": "4200000000202611220000000001",
        "out_trade_no": ORDER_NO,
        "refund_id": "50200207182018070300011301001",
        "out_refund_no": format!("{ORDER_NO}R1"),
        "refund_status": "SUCCESS",
        "success_time": "2018-06-08T10:34:56+08:00",
        "user_received_account": "招商银行信用卡0403",
        "amount": { "total": 990, "refund": 490, "payer_total": 900, "payer_refund": 445 },
    })
}

fn order() -> Order {
    let order_no: OrderNo = ORDER_NO.parse().unwrap();
    Order {
        order_no,
        user_id: order_no.0,
        channel: "wechat".into(),
        package_id: order_no.0,
        package_version: 1,
        subject: "1000 credits".into(),
        price: cny(990),
        credits: 1000,
        bonus_credits: 0,
        validity_days: None,
        purchase_limit: None,
        created_at: NOW,
        expires_at: Timestamp::from_micros((NOW_S + 1800) * 1_000_000 + 999_999),
        state: OrderState {
            status: OrderStatus::Created,
            transaction_id: None,
            paid_at: None,
            closed_at: None,
            lot_id: None,
            bonus_lot_id: None,
            refunds: Vec::new(),
        },
    }
}

fn refund(minor: i64) -> OrderRefund {
    OrderRefund {
        number: 1,
        minor,
        status: RefundStatus::Pending,
        lots: Vec::new(),
        reason: None,
        operator: None,
        channel_id: None,
        problem: None,
        created_at: NOW,
        settled_at: None,
    }
}

fn cny(minor: i64) -> Money {
    Money {
        minor,
        currency: "CNY".into(),
    }
}

/// The problem of a message that is not believed.
#[track_caller]
fn unbelieved<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::PaymentVerification { channel, problem }) => {
            assert_eq!(channel, "wechat");
            problem
        }
        other => panic!("{other:?}"),
    }
}

/// The field of an argument that can't be.
#[track_caller]
fn invalid<T: std::fmt::Debug>(result: Result<T>) -> (&'static str, String) {
    match result {
        Err(error) if error.code() == "validation" => match error.refusal() {
            Some(crate::Refusal::Invalid { field, .. }) => (field, error.to_string()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
