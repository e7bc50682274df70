//! Payment channels: what a ledger is told of them when it is opened. Nothing here shows a key.

use crate::error::{Checked, credits_error};
use crate::options::{Options, items, required};
use crate::text::{optional_duration, optional_text, text};
use jointo_credits::payments::Pace;
use jointo_credits::payments::alipay::{Alipay, AlipayConfig, AlipayKeys};
use jointo_credits::payments::wechat::{VerificationKey, WeChatConfig, WeChatPay};
use jointo_credits::{Error, Refusal};
use std::ffi::c_char;

/// A public key of WeChat Pay's by its name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_public_key {
    /// Such as "PUB_KEY_ID_0119000001092024".
    pub id: *const c_char,
    /// The key, as PEM.
    pub pem: *const c_char,
}

/// WeChat Pay (APIv3), as the channel "wechat". Set it to CREDITS_WECHAT_INIT first; NULL means not given.
///
/// Keys and certificates are the text of their files, in PEM. They are copied, and never shown or logged.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_wechat_options {
    /// sizeof(credits_wechat_options).
    pub size: usize,
    /// The merchant (mchid).
    pub merchant_id: *const c_char,
    /// The app that is bound to it (appid).
    pub app_id: *const c_char,
    /// The APIv3 key, 32 characters.
    pub api_v3_key: *const c_char,
    /// The serial number of the merchant's certificate.
    pub merchant_serial: *const c_char,
    /// The private key of that certificate: apiclient_key.pem.
    pub merchant_key: *const c_char,
    /// WeChat Pay's own keys. Either these, or `certificates`, or both while a merchant moves from the ones to the others.
    pub public_keys: *const credits_public_key,
    /// How many there are.
    pub public_keys_count: usize,
    /// Platform certificates, for merchants that have these; each says its serial number itself.
    pub certificates: *const *const c_char,
    /// How many there are.
    pub certificates_count: usize,
    /// Where WeChat Pay shall tell of payments: https, without a query.
    pub notify_url: *const c_char,
    /// Where it shall tell of refunds; `notify_url` without.
    pub refund_notify_url: *const c_char,
    /// Another address of WeChat Pay, for tests.
    pub base_url: *const c_char,
    /// How long the ledger waits for an answer: 1 ms to 10 min; 30 s without. A single request ends after 15 s.
    pub patience: i64,
    /// How many orders a reconciliation asks about side by side: 1 to 100; 8 without.
    pub questions_at_once: u32,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_wechat_options {}

/// Alipay, as the channel "alipay". Set it to CREDITS_ALIPAY_INIT first; NULL means not given.
///
/// Keys and certificates are the text of their files. They are copied, and never shown or logged.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_alipay_options {
    /// sizeof(credits_alipay_options).
    pub size: usize,
    /// The app.
    pub app_id: *const c_char,
    /// Its private key, as PEM or bare base64.
    pub app_private_key: *const c_char,
    /// Alipay's public key for this app, which is not the app's own. Either this, or the three certificates.
    pub alipay_public_key: *const c_char,
    /// In certificate mode: appCertPublicKey_*.crt.
    pub app_certificate: *const c_char,
    /// alipayCertPublicKey_RSA2.crt.
    pub alipay_certificate: *const c_char,
    /// alipayRootCert.crt.
    pub root_certificate: *const c_char,
    /// The seller ("PID"): notifications for others are refused. Any seller without.
    pub seller_id: *const c_char,
    /// Where Alipay shall tell of payments: https, without a query.
    pub notify_url: *const c_char,
    /// Another address of Alipay's, such as the sandbox's.
    pub gateway: *const c_char,
    /// "QR_CODE_OFFLINE" (the default) or "FACE_TO_FACE_PAYMENT", as the contract says.
    pub qr_product_code: *const c_char,
    /// How long the ledger waits for an answer: 1 ms to 10 min; 30 s without. A single request ends after 15 s.
    pub patience: i64,
    /// How many orders a reconciliation asks about side by side: 1 to 100; 8 without.
    pub questions_at_once: u32,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_alipay_options {}

/// The channel "wechat", where a program wants it.
///
/// # Safety
/// The pointers are what lib.rs says.
pub(crate) unsafe fn wechat(given: *const credits_wechat_options) -> Checked<Option<WeChatPay>> {
    if given.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let made = unsafe { wechat_config(given) }.and_then(|config| {
        let keys = match config.verification_keys.first() {
            Some(VerificationKey::Certificate { .. }) => "certificates",
            _ => "public_keys",
        };
        WeChatPay::new(config).map_err(|error| refused(error, &[("verification_keys", keys)]))
    });
    made.map(Some).map_err(|error| error.of_channel("wechat"))
}

/// # Safety
/// The pointers are what lib.rs says.
unsafe fn wechat_config(given: *const credits_wechat_options) -> Checked<WeChatConfig> {
    // SAFETY: the caller's promise.
    unsafe {
        let given = required(given)?;
        let mut verification_keys = Vec::new();
        for key in items("public_keys", given.public_keys, given.public_keys_count)? {
            verification_keys.push(VerificationKey::PublicKey {
                id: owned("public_keys", key.id)?,
                pem: owned("public_keys", key.pem)?,
            });
        }
        for certificate in items("certificates", given.certificates, given.certificates_count)? {
            verification_keys.push(VerificationKey::Certificate {
                pem: owned("certificates", *certificate)?,
            });
        }
        Ok(WeChatConfig {
            merchant_id: owned("merchant_id", given.merchant_id)?,
            app_id: owned("app_id", given.app_id)?,
            api_v3_key: owned("api_v3_key", given.api_v3_key)?,
            merchant_serial: owned("merchant_serial", given.merchant_serial)?,
            merchant_key: owned("merchant_key", given.merchant_key)?,
            verification_keys,
            notify_url: owned("notify_url", given.notify_url)?,
            refund_notify_url: optional_text("refund_notify_url", given.refund_notify_url)?
                .map(str::to_owned),
            base_url: optional_text("base_url", given.base_url)?.map(str::to_owned),
            pace: pace(given.questions_at_once, given.patience)?,
        })
    }
}

/// The channel "alipay", where a program wants it.
///
/// # Safety
/// The pointers are what lib.rs says.
pub(crate) unsafe fn alipay(given: *const credits_alipay_options) -> Checked<Option<Alipay>> {
    if given.is_null() {
        return Ok(None);
    }
    let names = [
        ("app_cert", "app_certificate"),
        ("alipay_cert", "alipay_certificate"),
        ("alipay_root_cert", "root_certificate"),
    ];
    // SAFETY: the caller's promise.
    let made = unsafe { alipay_config(given) }
        .and_then(|config| Alipay::new(config).map_err(|error| refused(error, &names)));
    made.map(Some).map_err(|error| error.of_channel("alipay"))
}

/// # Safety
/// The pointers are what lib.rs says.
unsafe fn alipay_config(given: *const credits_alipay_options) -> Checked<AlipayConfig> {
    // SAFETY: the caller's promise.
    unsafe {
        let given = required(given)?;
        let keys = match (
            optional_text("alipay_public_key", given.alipay_public_key)?,
            optional_text("app_certificate", given.app_certificate)?,
            optional_text("alipay_certificate", given.alipay_certificate)?,
            optional_text("root_certificate", given.root_certificate)?,
        ) {
            (Some(key), None, None, None) => AlipayKeys::PublicKey(key.to_owned()),
            (None, Some(app), Some(alipay), Some(root)) => AlipayKeys::Certificates {
                app_cert: app.to_owned(),
                alipay_cert: alipay.to_owned(),
                alipay_root_cert: root.to_owned(),
            },
            _ => {
                return Err(credits_error::invalid(
                    "alipay_public_key",
                    "goes without certificates, and the three certificates go together",
                    "alipay_public_key, or app_certificate, alipay_certificate and root_certificate",
                ));
            }
        };
        let mut config = AlipayConfig::new(
            owned("app_id", given.app_id)?,
            owned("app_private_key", given.app_private_key)?,
            keys,
            owned("notify_url", given.notify_url)?,
        );
        config.pace = pace(given.questions_at_once, given.patience)?;
        config.seller_id = optional_text("seller_id", given.seller_id)?.map(str::to_owned);
        if let Some(gateway) = optional_text("gateway", given.gateway)? {
            config.gateway = gateway.to_owned();
        }
        if let Some(code) = optional_text("qr_product_code", given.qr_product_code)? {
            config.qr_product_code = code.to_owned();
        }
        Ok(config)
    }
}

/// How much a channel is asked, and how long it is waited for; as the library does where 0 is given.
fn pace(questions_at_once: u32, patience: i64) -> Checked<Pace> {
    let usual = Pace::default();
    Ok(Pace {
        questions_at_once: match questions_at_once {
            0 => usual.questions_at_once,
            number => usize::try_from(number).unwrap_or(usize::MAX),
        },
        patience: optional_duration("patience", patience)?.unwrap_or(usual.patience),
    })
}

/// # Safety
/// As [`text`].
unsafe fn owned(field: &'static str, given: *const c_char) -> Checked<String> {
    // SAFETY: the caller's promise.
    unsafe { text(field, given) }.map(str::to_owned)
}

/// The channel's error, with the name that the field has here.
fn refused(error: Error, names: &[(&str, &'static str)]) -> credits_error {
    match error {
        Error::Refused(Refusal::Invalid {
            field,
            problem,
            limit,
            value,
        }) => {
            let here = names.iter().find(|(there, _)| *there == field);
            Refusal::Invalid {
                field: here.map_or(field, |(_, here)| here),
                problem,
                limit,
                value,
            }
            .into()
        }
        other => other.into(),
    }
}
