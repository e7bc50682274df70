//! What can be configured, and what is refused.

use super::keys::*;
use super::*;
use crate::payments::alipay::certificates::{certificate, root_serials};
use std::time::Duration;

const APP_CERT: &str = include_str!("vectors/app.pem");
const ALIPAY_CERT: &str = include_str!("vectors/alipay.pem");
const ROOT_CERTS: &str = include_str!("vectors/roots.pem");

/// What Java says of the certificates beside this file (made with OpenSSL, for this test only): the MD5 of
/// `getIssuerX500Principal().getName() + getSerialNumber()`. Their issuer has characters that must be escaped, and an
/// attribute that RFC 2253 has no word for; one of the roots is not RSA.
const APP_SERIAL: &str = "a4467989fbda831037cd3767ef82d7cf";
const ALIPAY_SERIAL: &str = "9ab7dcc4535a9645f1ade9c4d28010bf";
const ROOT_SERIALS: &str = "0f75dcd12a505cc8d69ecc35b8edaffb_ad0cd385d9c7982f577e86b270a3eb74";

#[test]
fn certificates_are_called_as_java_calls_them() {
    assert_eq!(certificate("app_cert", APP_CERT).unwrap().0, APP_SERIAL);
    assert_eq!(certificate("alipay_cert", ALIPAY_CERT).unwrap().0, ALIPAY_SERIAL);
    assert_eq!(
        root_serials("alipay_root_cert", ROOT_CERTS).unwrap(),
        ROOT_SERIALS
    );
    // A chain: the first is the one.
    let chain = format!("{ALIPAY_CERT}\n{APP_CERT}");
    assert_eq!(certificate("alipay_cert", &chain).unwrap().0, ALIPAY_SERIAL);
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

/// A certificate that nobody signed, for a key: what is read of one is in it.
pub(super) fn certificate_of(spki: &[u8], serial_number: u8) -> String {
    let algorithm = tlv(
        0x30,
        &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0],
    );
    let name = tlv(
        0x30,
        &tlv(0x31, &tlv(0x30, &[0x06, 3, 0x55, 4, 3, 0x0c, 2, b'C', b'A'])),
    );
    let signed = [
        tlv(0xa0, &[2, 1, 2]),
        tlv(0x02, &[serial_number]),
        algorithm.clone(),
        name.clone(),
        tlv(0x30, b""),
        name,
        spki.to_vec(),
    ];
    let certificate = [tlv(0x30, &signed.concat()), algorithm, tlv(0x03, b"\0")];
    pem("CERTIFICATE", &tlv(0x30, &certificate.concat()))
}

pub(super) fn with_certificates() -> AlipayConfig {
    AlipayConfig {
        keys: AlipayKeys::Certificates {
            app_cert: certificate_of(&spki(&OURS), 1),
            alipay_cert: certificate_of(&spki(&THEIRS), 2),
            alipay_root_cert: ROOT_CERTS.into(),
        },
        ..config()
    }
}

#[test]
fn both_modes_are_taken() {
    let alipay = Alipay::new(config()).unwrap();
    assert!(alipay.serials.is_none());
    assert_eq!(alipay.gateway, ALIPAY_GATEWAY);
    let alipay = Alipay::new(with_certificates()).unwrap();
    let serials = alipay.serials.unwrap();
    assert_eq!(serials.root, ROOT_SERIALS);
    // What md5sum says of `CN=CA1` and `CN=CA2`.
    assert_eq!(serials.app, "245a9e4b84b12637b408e7a774d1aea9");
    assert_eq!(serials.alipay, "117d4ab58546a7f0b70166856380ffd4");
}

type Change = fn(&mut AlipayConfig);

#[test]
fn what_is_wrong_is_named() {
    let changes: &[(&str, Change)] = &[
        ("app_id", |c| c.app_id = String::new()),
        ("app_id", |c| c.app_id = "2021x".into()),
        ("app_id", |c| c.app_id = "２０２１".into()),
        ("app_id", |c| c.app_id = "1".repeat(33)),
        ("seller_id", |c| c.seller_id = Some(String::new())),
        ("seller_id", |c| c.seller_id = Some("shop@example.com".into())),
        ("qr_product_code", |c| c.qr_product_code = String::new()),
        ("qr_product_code", |c| c.qr_product_code = "QR CODE".into()),
        ("app_private_key", |c| c.app_private_key = String::new()),
        ("app_private_key", |c| c.app_private_key = public(&OURS)),
        ("alipay_public_key", |c| {
            c.keys = AlipayKeys::PublicKey(String::new())
        }),
        ("alipay_public_key", |c| {
            c.keys = AlipayKeys::PublicKey(private(&THEIRS))
        }),
        ("alipay_public_key", |c| {
            c.keys = AlipayKeys::PublicKey(public(&OURS))
        }),
        ("alipay_public_key", |c| {
            c.keys = AlipayKeys::PublicKey(ALIPAY_CERT.into())
        }),
        ("questions_at_once", |c| c.pace.questions_at_once = 0),
        ("questions_at_once", |c| c.pace.questions_at_once = 101),
        ("patience", |c| c.pace.patience = Duration::ZERO),
        ("patience", |c| c.pace.patience = Duration::from_secs(601)),
        ("notify_url", |c| c.notify_url = String::new()),
        ("notify_url", |c| c.notify_url = "shop.example.com/notify".into()),
        ("notify_url", |c| {
            c.notify_url = "ftp://shop.example.com/notify".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://shop.example.com/notify?id=1".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://shop.example.com/notify#here".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://shop.example.com/no tify".into()
        }),
        ("notify_url", |c| {
            c.notify_url = format!("https://shop.example.com/{}", "x".repeat(256))
        }),
        ("gateway", |c| {
            c.gateway = "http://openapi.alipay.com/gateway.do".into()
        }),
        ("gateway", |c| {
            c.gateway = "https://openapi.alipay.com/gateway.do?a=b".into()
        }),
        ("gateway", |c| {
            c.gateway = "http://127.0.0.1.example.com/gateway.do".into()
        }),
        ("gateway", |c| c.gateway = "gateway".into()),
        ("gateway", |c| {
            c.gateway = "https://openapi.alipay.com/gateway.do#here".into()
        }),
        ("gateway", |c| {
            c.gateway = "https://user@openapi.alipay.com/gateway.do".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "http://shop.example.com/notify".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://user@shop.example.com/notify".into()
        }),
        ("notify_url", |c| {
            c.notify_url = "https://:secret@shop.example.com/notify".into()
        }),
        ("app_cert", |c| certificates(c).0.clear()),
        ("app_cert", |c| {
            *certificates(c).0 = certificate_of(&spki(&THEIRS), 1)
        }),
        ("app_cert", |c| *certificates(c).0 = APP_CERT.into()),
        ("alipay_cert", |c| *certificates(c).1 = public(&THEIRS)),
        ("alipay_cert", |c| {
            *certificates(c).1 = certificate_of(&spki(&OURS), 1)
        }),
        ("alipay_cert", |c| {
            *certificates(c).1 = certificate_of(&spki(&THEIRS), 0x80)
        }),
        ("alipay_cert", |c| {
            *certificates(c).1 = certificate_of(&tlv(0x30, b"no key"), 1)
        }),
        ("alipay_root_cert", |c| certificates(c).2.clear()),
        ("alipay_root_cert", |c| {
            certificates(c).2.push_str("-----BEGIN CERTIFICATE-----\n")
        }),
    ];
    for (field, change) in changes {
        let mut config = config();
        change(&mut config);
        let error = Alipay::new(config).expect_err(field);
        assert_eq!(error.code(), "validation", "{field}: {error}");
        assert!(
            error.to_string().starts_with(&format!("{field}: ")),
            "{field}: {error}"
        );
    }
}

#[test]
fn within_this_machine_an_address_may_be_plain() {
    for host in ["localhost", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000"] {
        let mut config = config();
        config.notify_url = format!("http://{host}/notify");
        config.gateway = format!("http://{host}/gateway.do");
        Alipay::new(config).unwrap();
    }
}

/// The certificates of a configuration, which has them from now on.
fn certificates(config: &mut AlipayConfig) -> (&mut String, &mut String, &mut String) {
    config.keys = with_certificates().keys;
    match &mut config.keys {
        AlipayKeys::Certificates {
            app_cert,
            alipay_cert,
            alipay_root_cert,
        } => (app_cert, alipay_cert, alipay_root_cert),
        AlipayKeys::PublicKey(_) => panic!("it has certificates now"),
    }
}

#[test]
fn certificates_that_are_cut_off_are_refused() {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let base64: String = ALIPAY_CERT
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let der = STANDARD.decode(base64).unwrap();
    for length in 0..der.len() {
        let error = certificate("alipay_cert", &pem("CERTIFICATE", &der[..length]))
            .err()
            .unwrap();
        assert_eq!(error.code(), "validation", "{length}");
    }
}

#[test]
fn nothing_that_is_shown_has_a_key_in_it() {
    for config in [config(), with_certificates()] {
        let alipay = Alipay::new(config.clone()).unwrap();
        let shown = format!("{config:?} {config:#?} {alipay:?} {alipay:#?}");
        assert!(shown.contains(APP_ID), "{shown}");
        for secret in [
            private(&OURS),
            public(&THEIRS),
            public(&OURS),
            certificate_of(&spki(&THEIRS), 2),
        ] {
            for line in secret
                .lines()
                .filter(|line| line.len() > 20 && !line.starts_with('-'))
            {
                assert!(!shown.contains(&line[..20]), "{shown}");
            }
        }
    }
}

/// A key in the wrong place, or a password in an address: an error says which setting it is, and nothing of the value.
#[test]
fn no_error_shows_what_was_given() {
    type Set = fn(&mut AlipayConfig, String);
    let fields: [(&str, Set); 5] = [
        ("app_id", |config, value| config.app_id = value),
        ("seller_id", |config, value| config.seller_id = Some(value)),
        ("qr_product_code", |config, value| config.qr_product_code = value),
        ("notify_url", |config, value| config.notify_url = value),
        ("gateway", |config, value| config.gateway = value),
    ];
    let address = "http://user:secretpw@shop.example/pay?secretpw";
    for (field, set) in fields {
        for secret in [private(&OURS), address.to_owned()] {
            let mut config = config();
            set(&mut config, secret.clone());
            let error = Alipay::new(config).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(field), "{shown}");
            for piece in ["secretpw", secret.get(40..60).unwrap_or(&secret)] {
                assert!(!shown.contains(piece), "{shown}");
            }
        }
    }
}
