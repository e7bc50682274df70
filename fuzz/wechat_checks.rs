//! What must hold for whatever a fuzzer finds about WeChat Pay: shared by the cargo-fuzz target beside this file and by
//! `tests/wechat`, which runs the same checks on stable Rust with every test run.
//!
//! Everything here is well signed, or the parsers would never see it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jointo_credits::payments::wechat::{VerificationKey, WeChatConfig, WeChatPay};
use jointo_credits::payments::{Channel, Headers, Notice, Pace};
use jointo_credits::{Error, Timestamp};
use serde_json::{Value, json};

/// The merchant.
pub const MERCHANT: &str = "1900000109";
/// Its app.
pub const APP: &str = "wxd678efh567hg6787";

const API_V3_KEY: &str = "throw-away-key-0123456789abcdefg";
const KEY_ID: &str = "PUB_KEY_ID_1";
const NOW_S: i64 = 1_795_334_400;

/// A channel, and the key of the WeChat Pay that it believes.
pub struct Stand {
    channel: WeChatPay,
    theirs: KeyPair,
}

impl Stand {
    /// With new keys.
    pub fn new() -> Self {
        let theirs = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let ours: Pkcs8V1Der<'_> = KeyPair::generate(KeySize::Rsa2048)
            .expect("a key")
            .as_der()
            .expect("its DER");
        let public: PublicKeyX509Der<'_> = theirs.public_key().as_der().expect("its DER");
        let channel = WeChatPay::new(WeChatConfig {
            merchant_id: MERCHANT.into(),
            app_id: APP.into(),
            api_v3_key: API_V3_KEY.into(),
            merchant_serial: "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C".into(),
            merchant_key: pem("PRIVATE KEY", ours.as_ref()),
            verification_keys: vec![VerificationKey::PublicKey {
                id: KEY_ID.into(),
                pem: pem("PUBLIC KEY", public.as_ref()),
            }],
            notify_url: "https://shop.example/wechat".into(),
            refund_notify_url: None,
            base_url: None,
            pace: Pace::default(),
        });
        Stand {
            channel: channel.expect("a channel"),
            theirs,
        }
    }

    /// Any body: a notice that means something, or an error that says that it is not believed; never a panic.
    pub fn body(&self, body: &[u8]) -> Option<Notice> {
        let mut message = format!("{NOW_S}\nnonce\n").into_bytes();
        message.extend_from_slice(body);
        message.push(b'\n');
        let mut signature = vec![0; self.theirs.public_modulus_len()];
        let signed = self
            .theirs
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature);
        signed.expect("a signature");
        let headers = Headers::new([
            ("Wechatpay-Serial", KEY_ID),
            ("Wechatpay-Timestamp", &NOW_S.to_string()),
            ("Wechatpay-Nonce", "nonce"),
            ("Wechatpay-Signature", &STANDARD.encode(signature)),
        ]);
        let now = Timestamp::from_micros(NOW_S * 1_000_000);
        match self.channel.notification(&headers, body, now) {
            Ok(notice) => {
                meaningful(&notice);
                Some(notice)
            }
            Err(Error::PaymentVerification { problem, .. }) => {
                assert!(!problem.contains(API_V3_KEY));
                None
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Any content of a notification. What becomes of it is compared with what can be seen in it.
    pub fn content(&self, event: &str, original_type: &str, content: &[u8]) -> Option<Notice> {
        let key = UnboundKey::new(&AES_256_GCM, API_V3_KEY.as_bytes()).expect("a key");
        let nonce = Nonce::assume_unique_for_key(*b"n0nceN0NCE12");
        let mut text = content.to_vec();
        let sealed = LessSafeKey::new(key).seal_in_place_append_tag(nonce, Aad::from(b"data"), &mut text);
        sealed.expect("a ciphertext");
        let body = json!({
            "id": "EV-1",
            "event_type": event,
            "resource_type": "encrypt-resource",
            "resource": {
                "algorithm": "AEAD_AES_256_GCM",
                "original_type": original_type,
                "associated_data": "data",
                "nonce": "n0nceN0NCE12",
                "ciphertext": STANDARD.encode(text),
            },
        });
        let notice = self.body(body.to_string().as_bytes());
        let seen: Value = serde_json::from_slice(content).unwrap_or_default();
        let is = |name: &str, value: &str| seen.get(name).and_then(Value::as_str) == Some(value);
        let has = |name: &str| seen.get(name).is_some_and(|value| !value.is_null());
        match &notice {
            Some(Notice::Paid(payment)) => {
                assert_eq!((event, original_type), ("TRANSACTION.SUCCESS", "transaction"));
                assert!(
                    is("trade_state", "SUCCESS") && is("appid", APP) && is("mchid", MERCHANT),
                    "{seen}"
                );
                assert!(
                    !has("refund_id") && !has("out_refund_no") && !has("refund_status"),
                    "{seen}"
                );
                assert!(is("out_trade_no", &payment.order_no), "{seen}");
                assert_eq!(seen["amount"]["total"], payment.amount.minor);
                assert_eq!(seen["amount"]["currency"], payment.amount.currency);
            }
            Some(Notice::Refund(refund)) => {
                assert_eq!(original_type, "refund");
                assert!(is("mchid", MERCHANT) && !has("trade_state"), "{seen}");
                assert!(
                    is("out_trade_no", &refund.order_no) && is("out_refund_no", &refund.refund_no),
                    "{seen}"
                );
                assert!(
                    is("refund_status", event.strip_prefix("REFUND.").expect("a refund")),
                    "{seen}"
                );
            }
            Some(Notice::Other { .. }) | None => {}
        }
        notice
    }

    /// Any bytes: a bill or a validation error; a bill without its end is none.
    pub fn bill(&self, bill: &[u8]) {
        let read = |bill: &[u8]| {
            self.channel
                .read_bill(bill)
                .and_then(|lines| lines.collect::<Result<Vec<_>, _>>())
        };
        match read(bill) {
            Ok(lines) => {
                let mut last = 1;
                for line in &lines {
                    assert!(line.line > last, "in order");
                    last = line.line;
                    assert!(line.amount.minor >= 0 && !line.amount.currency.is_empty());
                    assert!(!line.order_no.is_empty() && !line.transaction_id.is_empty());
                }
                let kept = bill.iter().filter(|byte| **byte == b'\n').count();
                assert!(kept as u64 > last, "the sums are two lines more");
                let text = String::from_utf8(bill.to_vec()).expect("a bill is UTF-8");
                let whole = text.trim_end();
                let sums = whole.rfind('\n').expect("the sums");
                assert!(read(&whole.as_bytes()[..=sums]).is_err(), "without its sums");
            }
            Err(error) => assert_eq!(error.code(), "validation", "{error}"),
        }
    }
}

fn meaningful(notice: &Notice) {
    match notice {
        Notice::Paid(payment) => {
            assert!(payment.amount.minor > 0 && !payment.amount.currency.is_empty());
            assert!(!payment.transaction_id.is_empty());
        }
        Notice::Refund(refund) => assert!(refund.amount.as_ref().is_none_or(|amount| amount.minor > 0)),
        Notice::Other { .. } => {}
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
