//! What has to be known to use WeChat Pay, and the checks of it.

use super::sign::Merchant;
use super::verify::Platform;
use super::{Identity, WeChatPay};
use crate::error::{Error, Result};
use crate::payments::Pace;
use crate::payments::address::{is_safe, length, origin};
use crate::payments::http::Client;
use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use aws_lc_rs::rsa::{KeyPair, PublicEncryptingKey};
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use reqwest::Url;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use std::collections::BTreeMap;
use std::fmt;

/// Where WeChat Pay answers, unless the configuration names another address: the main one of the two in its
/// documentation, <https://pay.weixin.qq.com/doc/v3/merchant/4012791834>.
pub const BASE_URL: &str = "https://api.mch.weixin.qq.com";

/// How a public key of WeChat Pay is named.
const PUBLIC_KEY_PREFIX: &str = "PUB_KEY_ID_";
/// The documentation says `string(32)` of both, and 8 to 10 digits of the merchant.
const ID_CHARS_MAX: usize = 32;
/// 255 on some pages of the documentation and 256 on others.
const NOTIFY_URL_BYTES_MAX: usize = 255;
const SERIAL_CHARS_MAX: usize = 40;
const RSA_BITS_MIN: usize = 2048;

/// A key of WeChat Pay's own: what its notifications and answers are verified with.
#[derive(Clone)]
pub enum VerificationKey {
    /// A public key, which every merchant gets since 2024. It never expires.
    PublicKey {
        /// Its name, which starts with `PUB_KEY_ID_`.
        id: String,
        /// The key, as PEM: `-----BEGIN PUBLIC KEY-----`.
        pem: String,
    },
    /// A platform certificate, which older merchants have. Its serial number is read from it. When it expires is not
    /// looked at: that it is listed here is what makes it good.
    Certificate {
        /// The certificate, as PEM: `-----BEGIN CERTIFICATE-----`.
        pem: String,
    },
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerificationKey::PublicKey { id, .. } => write!(f, "PublicKey({id})"),
            VerificationKey::Certificate { .. } => f.write_str("Certificate"),
        }
    }
}

/// What has to be known to use WeChat Pay.
#[derive(Clone)]
pub struct WeChatConfig {
    /// The merchant (`mchid`): digits.
    pub merchant_id: String,
    /// The app that is bound to the merchant (`appid`).
    pub app_id: String,
    /// The APIv3 key that notifications are encrypted with: 32 ASCII characters.
    pub api_v3_key: String,
    /// The serial number of the merchant's own certificate: hexadecimal digits.
    pub merchant_serial: String,
    /// The private key of that certificate, as PEM: `apiclient_key.pem`. PKCS#8 or PKCS#1, RSA, 2048 bits or more.
    pub merchant_key: String,
    /// WeChat Pay's own keys. While a merchant moves from the certificate to the public key, notifications use either
    /// for seven days: both have to be here. See
    /// <https://pay.weixin.qq.com/docs/partner/products/platform-certificate/update-pub-key>.
    pub verification_keys: Vec<VerificationKey>,
    /// Where WeChat Pay shall tell of payments: `https`, without a query. `http` is taken where the host is loopback,
    /// for tests.
    pub notify_url: String,
    /// Where it shall tell of refunds; [`notify_url`](Self::notify_url) where `None`.
    pub refund_notify_url: Option<String>,
    /// The address of WeChat Pay; [`BASE_URL`] where `None`. `http` is taken where the host is loopback, for tests.
    pub base_url: Option<String>,
    /// How much WeChat Pay is asked at once, and how long it is waited for.
    pub pace: Pace,
}

impl fmt::Debug for WeChatConfig {
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeChatConfig")
            .field("merchant_id", &self.merchant_id)
            .field("app_id", &self.app_id)
            .field("merchant_serial", &self.merchant_serial)
            .field("verification_keys", &self.verification_keys)
            .field("notify_url", &self.notify_url)
            .field("refund_notify_url", &self.refund_notify_url)
            .field("base_url", &self.base_url)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl WeChatPay {
    /// The channel of a configuration. Nothing is asked of WeChat Pay.
    ///
    /// # Errors
    /// `validation`, which names the field. It never holds a key.
    pub fn new(config: WeChatConfig) -> Result<WeChatPay> {
        config.pace.check()?;
        digits("merchant_id", &config.merchant_id)?;
        let app_id_is_one = !config.app_id.is_empty()
            && config.app_id.len() <= ID_CHARS_MAX
            && config
                .app_id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !app_id_is_one {
            return Err(Error::invalid(
                "app_id",
                "is not an app's id",
                format!("1 to {ID_CHARS_MAX} letters, digits or underscores"),
                length(&config.app_id),
            ));
        }
        let refund_notify_url = match &config.refund_notify_url {
            Some(url) => notify_url("refund_notify_url", url)?,
            None => notify_url("notify_url", &config.notify_url)?,
        };
        Ok(WeChatPay {
            identity: Identity {
                notify_url: notify_url("notify_url", &config.notify_url)?,
                refund_notify_url,
                app_id: config.app_id,
                merchant_id: config.merchant_id,
            },
            merchant: Merchant {
                serial: serial(&config.merchant_serial)?,
                key: merchant_key(&config.merchant_key)?,
            },
            platform: platform(&config.verification_keys)?,
            resource_key: resource_key(&config.api_v3_key)?,
            base_url: base_url(config.base_url.as_deref().unwrap_or(BASE_URL))?,
            client: Client::default(),
            pace: config.pace,
        })
    }
}

fn digits(field: &'static str, value: &str) -> Result<()> {
    if value.is_empty() || value.len() > ID_CHARS_MAX || !value.bytes().all(|b| b.is_ascii_digit()) {
        let limit = format!("1 to {ID_CHARS_MAX} digits");
        return Err(Error::invalid(
            field,
            "is not a merchant's number",
            limit,
            length(value),
        ));
    }
    Ok(())
}

fn serial(value: &str) -> Result<String> {
    if value.is_empty() || value.len() > SERIAL_CHARS_MAX || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::invalid(
            "merchant_serial",
            "is not the serial number of a certificate",
            format!("1 to {SERIAL_CHARS_MAX} hexadecimal digits"),
            length(value),
        ));
    }
    Ok(value.to_ascii_uppercase())
}

fn resource_key(value: &str) -> Result<LessSafeKey> {
    let key = Some(value.as_bytes()).filter(|_| value.is_ascii());
    let key = key.and_then(|bytes| UnboundKey::new(&AES_256_GCM, bytes).ok());
    key.map(LessSafeKey::new).ok_or_else(|| {
        let given = length(value);
        Error::invalid("api_v3_key", "is not an APIv3 key", "32 ASCII characters", given)
    })
}

fn merchant_key(pem: &str) -> Result<KeyPair> {
    let key = match PrivateKeyDer::from_pem_slice(pem.as_bytes()) {
        Ok(PrivateKeyDer::Pkcs8(der)) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
        Ok(PrivateKeyDer::Pkcs1(der)) => KeyPair::from_der(der.secret_pkcs1_der()).ok(),
        _ => None,
    };
    key.ok_or_else(|| {
        Error::invalid(
            "merchant_key",
            "is not a private key",
            "PEM, PKCS#8 or PKCS#1, RSA, 2048 bits or more",
            "something else",
        )
    })
}

/// The keys by their names.
fn platform(keys: &[VerificationKey]) -> Result<Platform> {
    let invalid = |problem, value: &str| {
        let limit = "RSA keys of 2048 bits or more as PEM, each under its own name";
        Error::invalid("verification_keys", problem, limit, value)
    };
    let mut platform = Platform {
        keys: BTreeMap::new(),
        preferred: None,
    };
    for key in keys {
        let (name, der) = match key {
            VerificationKey::PublicKey { id, pem } => {
                let digits = id.strip_prefix(PUBLIC_KEY_PREFIX).unwrap_or_default();
                if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
                    let problem = "the name of a public key starts with PUB_KEY_ID_";
                    return Err(invalid(problem, &length(id)));
                }
                platform.preferred.get_or_insert_with(|| id.clone());
                (
                    id.clone(),
                    SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok(),
                )
            }
            VerificationKey::Certificate { pem } => match certificate(pem) {
                Some((name, der)) => (name, Some(der)),
                None => return Err(invalid("is not a certificate", "something else")),
            },
        };
        // A short key would be taken here, and refuse every signature.
        let long = |der: &SubjectPublicKeyInfoDer<'_>| {
            PublicEncryptingKey::from_der(der).is_ok_and(|key| key.key_size_bits() >= RSA_BITS_MIN)
        };
        let der = der.filter(long);
        let key = der.and_then(|der| ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &*der).ok());
        let key = key.ok_or_else(|| invalid("is not a public key", &name))?;
        if platform.keys.insert(name.clone(), key).is_some() {
            return Err(invalid("is there twice", &name));
        }
    }
    if platform.keys.is_empty() {
        return Err(invalid("there is none, so that nothing can be verified", "none"));
    }
    Ok(platform)
}

/// The serial number of a certificate, as WeChat Pay writes it, and its key.
fn certificate(pem: &str) -> Option<(String, SubjectPublicKeyInfoDer<'static>)> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let certificate = webpki::EndEntityCert::try_from(&der).ok()?;
    let serial: String = certificate
        .serial()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    // A number whose first bit is set has a zero byte before it.
    let serial = serial.strip_prefix("00").unwrap_or(&serial).to_owned();
    Some((serial, certificate.subject_public_key_info()))
}

/// An address that WeChat Pay can reach; the text as it was given, which the documentation wants without a query.
fn notify_url(field: &'static str, text: &str) -> Result<String> {
    let good = Url::parse(text).is_ok_and(|url| {
        is_safe(&url)
            && url.query().is_none()
            && url.fragment().is_none()
            && text.len() <= NOTIFY_URL_BYTES_MAX
    });
    if !good {
        return Err(Error::invalid(
            field,
            "is not an address that WeChat Pay calls",
            format!("https, no query, no fragment, no password, {NOTIFY_URL_BYTES_MAX} bytes at the most"),
            origin(text),
        ));
    }
    Ok(text.to_owned())
}

/// Scheme, host and port.
fn base_url(text: &str) -> Result<String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| is_safe(url) && url.path() == "/" && url.query().is_none() && url.fragment().is_none());
    let url = url.ok_or_else(|| {
        let limit = "https and a host, such as https://api.mch.weixin.qq.com";
        Error::invalid(
            "base_url",
            "is not the address of WeChat Pay",
            limit,
            origin(text),
        )
    })?;
    Ok(url.origin().ascii_serialization())
}
