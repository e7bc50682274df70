//! What must hold for whatever Alipay's channel is sent: shared by the cargo-fuzz targets beside this file and by
//! `tests/alipay`, which runs the same checks on stable Rust with every test run.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jointo_credits::payments::alipay::{Alipay, AlipayConfig, AlipayKeys};
use jointo_credits::payments::{Channel, Headers, Notice, RefundStanding};
use jointo_credits::{Error, Result, Timestamp};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const APP_ID: &str = "2021000000000000";

/// Alipay's key, for this run.
static THEIRS: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).expect("a key"));

static CHANNEL: LazyLock<Alipay> = LazyLock::new(|| {
    let ours = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let ours: Pkcs8V1Der<'_> = ours.as_der().expect("DER");
    let theirs: PublicKeyX509Der<'_> = THEIRS.public_key().as_der().expect("DER");
    let keys = AlipayKeys::PublicKey(STANDARD.encode(theirs.as_ref()));
    let notify_url = "https://shop.example.com/notify";
    let config = AlipayConfig::new(APP_ID, STANDARD.encode(ours.as_ref()), keys, notify_url);
    Alipay::new(config).expect("a configuration")
});

fn read(body: &[u8]) -> Result<Notice> {
    CHANNEL.notification(&Headers::default(), body, Timestamp::MIN)
}

fn encoded(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

/// Any body: as it is it is refused, since nobody but Alipay can sign; signed, it is a notice or refused, never a panic,
/// and nothing can be added to it but what has no value and changes nothing.
pub fn notification(body: &[u8]) {
    match read(body) {
        Err(Error::PaymentVerification { .. }) => {}
        other => panic!("nobody signed this: {other:?}"),
    }
    let mut parameters: BTreeMap<&[u8], &[u8]> = body
        .split(|&byte| byte == b'&')
        .filter_map(|pair| {
            let place = pair.iter().position(|&byte| byte == b'=')?;
            Some((&pair[..place], &pair[place + 1..]))
        })
        .filter(|(name, _)| *name != b"sign" && *name != b"sign_type")
        .collect();
    parameters.insert(b"app_id", APP_ID.as_bytes());
    let content: Vec<Vec<u8>> = (parameters.iter())
        .map(|(name, value)| [*name, b"=", *value].concat())
        .collect();
    let mut signature = vec![0; THEIRS.public_modulus_len()];
    (THEIRS.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        &content.join(&b'&'),
        &mut signature,
    ))
    .expect("a signature");
    let form: Vec<String> = (parameters.iter())
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let sign = encoded(STANDARD.encode(signature).as_bytes());
    let signed = format!("{}&sign_type=RSA2&sign={sign}", form.join("&"));
    let told = read(signed.as_bytes());
    assert!(read(format!("{signed}&one-more=1").as_bytes()).is_err());
    for empty in ["one-more", "gmt_refund", "trade_status"] {
        if let Ok(more) = read(format!("{signed}&{empty}=").as_bytes()) {
            assert_eq!(Some(&more), told.as_ref().ok());
        }
    }
    match told {
        Ok(Notice::Paid(payment)) => {
            let status = parameters[&b"trade_status"[..]];
            assert!(status == b"TRADE_SUCCESS" || status == b"TRADE_FINISHED");
            assert!(
                parameters
                    .get(&b"gmt_refund"[..])
                    .is_none_or(|time| time.is_empty())
            );
            assert!(payment.amount.minor >= 0 && payment.amount.currency == "CNY");
            assert!(!payment.order_no.is_empty() && !payment.transaction_id.is_empty());
        }
        Ok(Notice::Refund(refund)) => {
            assert!(!refund.order_no.is_empty() && !refund.refund_no.is_empty());
            assert_eq!(refund.standing, RefundStanding::Succeeded);
        }
        Ok(Notice::Other { .. }) => {}
        Err(Error::PaymentVerification { problem, .. }) => {
            assert!(!problem.contains("not Alipay's"), "this is signed: {signed}");
        }
        Err(error) => panic!("{error:?}"),
    }
}

/// Any bytes: the lines of a bill, in their order, or a refusal; never a panic.
pub fn bill(bytes: &[u8]) {
    match CHANNEL
        .read_bill(bytes)
        .and_then(|lines| lines.collect::<Result<Vec<_>, _>>())
    {
        Ok(lines) => {
            let count = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
            let mut before = 0;
            for line in lines {
                assert!(before < line.line && line.line <= count);
                before = line.line;
                assert!(line.amount.minor >= 0 && line.at.is_some());
                assert!(!line.order_no.is_empty() && !line.transaction_id.is_empty());
            }
        }
        Err(error) => assert_eq!(error.code(), "validation"),
    }
}
