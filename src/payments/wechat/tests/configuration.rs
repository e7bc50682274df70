//! What a configuration may be, and that none of its keys is ever shown.

use super::*;
use std::time::Duration;

/// A change that must be refused, and the field that must be named.
type Case = (&'static str, fn(&mut WeChatConfig));

fn public(id: &str, pem: &str) -> VerificationKey {
    VerificationKey::PublicKey {
        id: id.into(),
        pem: pem.into(),
    }
}

#[test]
fn each_field_is_checked_and_named() {
    let cases: &[Case] = &[
        ("questions_at_once", |c| c.pace.questions_at_once = 0),
        ("questions_at_once", |c| c.pace.questions_at_once = 101),
        ("patience", |c| c.pace.patience = Duration::from_micros(999)),
        ("patience", |c| c.pace.patience = Duration::from_secs(601)),
        ("merchant_id", |c| c.merchant_id.clear()),
        ("merchant_id", |c| c.merchant_id = "19000001\"9".into()),
        ("merchant_id", |c| c.merchant_id = "1".repeat(33)),
        ("app_id", |c| c.app_id.clear()),
        ("app_id", |c| c.app_id = "wx\n1".into()),
        ("app_id", |c| c.app_id = "w".repeat(33)),
        ("api_v3_key", |c| c.api_v3_key.clear()),
        ("api_v3_key", |c| c.api_v3_key = "k".repeat(31)),
        ("api_v3_key", |c| c.api_v3_key = "k".repeat(33)),
        ("api_v3_key", |c| c.api_v3_key = "é".repeat(16)),
        ("merchant_serial", |c| {
            c.merchant_serial = "not hexadecimal".into()
        }),
        ("merchant_serial", |c| c.merchant_serial.clear()),
        ("merchant_serial", |c| c.merchant_serial = "A".repeat(41)),
        ("merchant_key", |c| c.merchant_key.clear()),
        ("merchant_key", |c| c.merchant_key = public_pem(&OURS)),
        ("merchant_key", |c| {
            c.merchant_key = pem("PRIVATE KEY", b"rubbish")
        }),
        ("merchant_key", |c| {
            c.merchant_key = pem("EC PRIVATE KEY", b"rubbish")
        }),
        ("verification_keys", |c| c.verification_keys.clear()),
        ("verification_keys", |c| {
            c.verification_keys = vec![public("", &public_pem(&THEIRS))]
        }),
        ("verification_keys", |c| {
            c.verification_keys = vec![public("PUB_KEY_ID_", &public_pem(&THEIRS))]
        }),
        ("verification_keys", |c| {
            c.verification_keys = vec![public("PUB_KEY_ID_1\n", &public_pem(&THEIRS))]
        }),
        ("verification_keys", |c| {
            c.verification_keys = vec![public(SERIAL, &public_pem(&THEIRS))]
        }),
        ("verification_keys", |c| {
            c.verification_keys = vec![public(KEY_ID, "")]
        }),
        ("verification_keys", |c| {
            c.verification_keys = vec![public(KEY_ID, &c.merchant_key)]
        }),
        ("verification_keys", |c| {
            c.verification_keys = vec![public(KEY_ID, OTHER["small_public_key"].as_str().unwrap())];
        }),
        ("verification_keys", |c| {
            c.verification_keys.push(public(KEY_ID, &public_pem(&OURS)))
        }),
        ("verification_keys", |c| {
            let pem = pem("CERTIFICATE", b"rubbish");
            c.verification_keys = vec![VerificationKey::Certificate { pem }];
        }),
        ("verification_keys", |c| {
            let pem = public_pem(&THEIRS);
            c.verification_keys = vec![VerificationKey::Certificate { pem }];
        }),
        ("notify_url", |c| {
            c.notify_url = "http://shop.example/wechat".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://shop.example/wechat?order=1".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "http://127.0.0.1/wechat?order=1".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://shop.example/#wechat".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://user:password@shop.example/wechat".into()
        }),
        ("notify_url", |c| c.notify_url = "shop.example".into()),
        ("notify_url", |c| {
            c.notify_url = format!("https://shop.example/{}", "a".repeat(255))
        }),
        ("notify_url", |c| {
            c.notify_url = "http://127.0.0.1.shop.example/".into()
        }),
        ("refund_notify_url", |c| {
            c.refund_notify_url = Some("ftp://shop.example/".into())
        }),
        ("base_url", |c| {
            c.base_url = Some("http://api.mch.weixin.qq.com".into())
        }),
        ("base_url", |c| {
            c.base_url = Some("https://api.mch.weixin.qq.com/v3".into())
        }),
        ("base_url", |c| {
            c.base_url = Some("https://api.mch.weixin.qq.com?a".into())
        }),
        ("base_url", |c| c.base_url = Some(String::new())),
    ];
    for (number, (field, change)) in cases.iter().enumerate() {
        let mut config = config();
        change(&mut config);
        let (named, message) = invalid(WeChatPay::new(config.clone()));
        assert_eq!(named, *field, "case {number}: {message}");
        silent(&config, &message);
    }
}

#[test]
fn a_key_in_the_wrong_place_is_not_shown() {
    const KEY: &str = "a-key-in-the-wrong-place-1234567";
    let places: &[fn(&mut WeChatConfig, String)] = &[
        |c, key| c.merchant_id = key,
        |c, key| c.app_id = key,
        |c, key| c.merchant_serial = key,
        |c, key| c.merchant_key = key,
        |c, key| c.verification_keys = vec![public(&key, "")],
        |c, key| c.verification_keys = vec![public(KEY_ID, &key)],
        |c, key| c.notify_url = key,
        |c, key| c.notify_url = format!("https://user:{key}@shop.example/"),
        |c, key| c.base_url = Some(key),
    ];
    for place in places {
        let mut config = config();
        place(&mut config, KEY.into());
        let (field, message) = invalid(WeChatPay::new(config));
        assert!(!message.contains(KEY), "{field}: {message}");
    }
}

#[test]
fn what_is_fine() {
    let fine: &[fn(&mut WeChatConfig)] = &[
        |_| (),
        |c| c.merchant_serial = SERIAL.to_lowercase(),
        |c| c.notify_url = "http://localhost:8000/wechat".into(),
        |c| c.notify_url = "http://127.0.0.1/wechat".into(),
        |c| c.notify_url = "http://[::1]/wechat".into(),
        |c| c.refund_notify_url = Some("https://shop.example/refunds".into()),
        |c| c.base_url = Some("https://api2.mch.weixin.qq.com/".into()),
        |c| c.base_url = Some("http://127.0.0.1:1".into()),
        // PKCS#1 is what PKCS#8 has after its first 26 bytes.
        |c| c.merchant_key = pem("RSA PRIVATE KEY", &private_der(&OURS)[26..]),
        |c| c.merchant_key = c.merchant_key.replace('\n', "\r\n"),
    ];
    for (number, change) in fine.iter().enumerate() {
        let mut config = config();
        change(&mut config);
        assert!(WeChatPay::new(config).is_ok(), "case {number}");
    }
}

#[test]
fn a_certificate_is_known_by_its_serial_number() {
    let mut config = config();
    let pem = OTHER["certificate"]["pem"].as_str().unwrap().to_owned();
    config
        .verification_keys
        .push(VerificationKey::Certificate { pem });
    let channel = WeChatPay::new(config.clone()).unwrap();
    let serial = OTHER["certificate"]["serial"].as_str().unwrap();
    let names: Vec<&str> = channel.platform.keys.keys().map(String::as_str).collect();
    assert_eq!(names, [serial, KEY_ID]);
    assert_eq!(channel.platform.preferred.as_deref(), Some(KEY_ID));

    config.verification_keys.remove(0);
    let channel = WeChatPay::new(config).unwrap();
    assert_eq!(channel.platform.preferred, None);
}

#[test]
fn debug_says_nothing_of_keys() {
    let config = config();
    silent(&config, &format!("{config:?} {config:#?}"));
    let channel = WeChatPay::new(config.clone()).unwrap();
    silent(&config, &format!("{channel:?} {channel:#?}"));
}

/// Nothing of a key is in the text.
fn silent(config: &WeChatConfig, text: &str) {
    assert!(
        config.api_v3_key.is_empty() || !text.contains(&config.api_v3_key),
        "{text}"
    );
    assert!(!text.contains("BEGIN"), "{text}");
    for line in config.merchant_key.lines().filter(|line| line.len() > 20) {
        assert!(!text.contains(line), "{text}");
    }
}
