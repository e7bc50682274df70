//! How an app of Alipay's open platform is configured, and the checks of it.

use super::Alipay;
use super::certificates::{certificate, root_serials};
use super::keys::{AlipayKey, AppKey};
use crate::error::{Error, Result};
use crate::payments::address::{self, length, origin};
use crate::payments::{Pace, http};
use std::fmt;

/// Alipay's gateway. That of the sandbox is `https://openapi-sandbox.dl.alipaydev.com/gateway.do`.
pub const ALIPAY_GATEWAY: &str = "https://openapi.alipay.com/gateway.do";

/// The longest address that Alipay takes, in bytes.
const URL_BYTES_MAX: usize = 256;

/// An app of Alipay's open platform.
///
/// ```no_run
/// use jointo_credits::payments::alipay::{Alipay, AlipayConfig, AlipayKeys};
///
/// # fn main() -> jointo_credits::Result<()> {
/// # let (app_private_key, alipay_public_key) = (String::new(), String::new());
/// let alipay = Alipay::new(AlipayConfig {
///     seller_id: Some("2088000000000000".into()),
///     ..AlipayConfig::new(
///         "2021000000000000",
///         app_private_key,
///         AlipayKeys::PublicKey(alipay_public_key),
///         "https://shop.example.com/alipay/notify",
///     )
/// })?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct AlipayConfig {
    /// The app's id.
    pub app_id: String,
    /// The app's own private key, PKCS#8 or PKCS#1, as PEM or as bare base64; RSA of 2048 bits or more.
    pub app_private_key: String,
    /// What Alipay is recognised by.
    pub keys: AlipayKeys,
    /// The seller's id ("PID"), which starts with 2088. Where given, notifications for others are refused.
    pub seller_id: Option<String>,
    /// Where Alipay sends its notifications: `https`, reachable from the internet, without a query. `http` is taken where the host is
    /// loopback, for tests.
    pub notify_url: String,
    /// Where requests go: [`ALIPAY_GATEWAY`], or that of the sandbox. `http` is taken where the host is loopback, for tests.
    pub gateway: String,
    /// `product_code` of orders that are paid by scanning a code, as the contract with Alipay says: `QR_CODE_OFFLINE`
    /// (订单码支付), or `FACE_TO_FACE_PAYMENT` (当面付).
    pub qr_product_code: String,
    /// How much Alipay is asked at once, and how long it is waited for.
    pub pace: Pace,
}

/// What Alipay is recognised by. An app has one or the other, as its settings at Alipay say.
#[derive(Clone)]
pub enum AlipayKeys {
    /// Alipay's public key for this app (支付宝公钥, not 应用公钥), as PEM or as bare base64.
    PublicKey(String),
    /// Certificate mode: the contents of the three files to be downloaded at Alipay's, in PEM.
    Certificates {
        /// `appCertPublicKey_*.crt`.
        app_cert: String,
        /// `alipayCertPublicKey_RSA2.crt`.
        alipay_cert: String,
        /// `alipayRootCert.crt`.
        alipay_root_cert: String,
    },
}

impl AlipayConfig {
    /// With the usual gateway and product, and for any seller.
    #[must_use]
    pub fn new(
        app_id: impl Into<String>,
        app_private_key: impl Into<String>,
        keys: AlipayKeys,
        notify_url: impl Into<String>,
    ) -> Self {
        AlipayConfig {
            app_id: app_id.into(),
            app_private_key: app_private_key.into(),
            keys,
            seller_id: None,
            notify_url: notify_url.into(),
            gateway: ALIPAY_GATEWAY.into(),
            qr_product_code: "QR_CODE_OFFLINE".into(),
            pace: Pace::default(),
        }
    }
}

impl fmt::Debug for AlipayConfig {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AlipayConfig")
            .field("app_id", &self.app_id)
            .field("keys", &self.keys)
            .field("seller_id", &self.seller_id)
            .field("notify_url", &self.notify_url)
            .field("gateway", &self.gateway)
            .field("qr_product_code", &self.qr_product_code)
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AlipayKeys {
    /// Which of them, without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AlipayKeys::PublicKey(_) => "PublicKey(..)",
            AlipayKeys::Certificates { .. } => "Certificates { .. }",
        })
    }
}

/// What requests call the certificates.
pub(super) struct Serials {
    pub(super) app: String,
    pub(super) alipay: String,
    pub(super) root: String,
}

impl Alipay {
    /// The channel of an app. Asks Alipay nothing.
    ///
    /// # Errors
    /// `validation`, which names the setting at fault and never shows a key.
    pub fn new(config: AlipayConfig) -> Result<Self> {
        digits("app_id", &config.app_id, 32)?;
        if let Some(seller_id) = &config.seller_id {
            digits("seller_id", seller_id, 28)?;
        }
        word("qr_product_code", &config.qr_product_code)?;
        config.pace.check()?;
        let app_key = AppKey::read(&config.app_private_key)?;
        let (alipay_key, serials) = trusted(&config.keys, &app_key)?;
        let notify_url = address("notify_url", &config.notify_url)?;
        if notify_url.query().is_some() {
            let problem = "has a query, which Alipay does not take";
            return Err(Error::invalid(
                "notify_url",
                problem,
                "no `?`",
                origin(&config.notify_url),
            ));
        }
        let gateway = address("gateway", &config.gateway)?;
        if gateway.query().is_some() {
            let problem = "must be an address without a query";
            return Err(Error::invalid(
                "gateway",
                problem,
                ALIPAY_GATEWAY,
                origin(&config.gateway),
            ));
        }
        Ok(Alipay {
            app_id: config.app_id,
            seller_id: config.seller_id,
            notify_url: config.notify_url,
            gateway: config.gateway,
            qr_product_code: config.qr_product_code,
            pace: config.pace,
            app_key,
            alipay_key,
            serials,
            client: http::Client::default(),
        })
    }
}

/// The key that Alipay signs with, and what requests call the certificates. Checks that the app's key and Alipay's were
/// not confused, which is what most often goes wrong.
fn trusted(keys: &AlipayKeys, app_key: &AppKey) -> Result<(AlipayKey, Option<Serials>)> {
    match keys {
        AlipayKeys::PublicKey(key) => {
            let key = AlipayKey::read("alipay_public_key", key)?;
            if key.public() == app_key.public() {
                let problem = "is the app's own public key";
                let wanted = "Alipay's key for this app";
                return Err(Error::invalid(
                    "alipay_public_key",
                    problem,
                    wanted,
                    "the app's key",
                ));
            }
            Ok((key, None))
        }
        AlipayKeys::Certificates {
            app_cert,
            alipay_cert,
            alipay_root_cert,
        } => {
            let (app, certified) = certificate("app_cert", app_cert)?;
            if certified.public() != app_key.public() {
                let problem = "is a certificate of another key";
                let wanted = "that of app_private_key";
                return Err(Error::invalid("app_cert", problem, wanted, "another key"));
            }
            let (alipay, key) = certificate("alipay_cert", alipay_cert)?;
            if key.public() == app_key.public() {
                let problem = "is the app's own certificate";
                return Err(Error::invalid(
                    "alipay_cert",
                    problem,
                    "Alipay's certificate",
                    "the app's",
                ));
            }
            let root = root_serials("alipay_root_cert", alipay_root_cert)?;
            Ok((key, Some(Serials { app, alipay, root })))
        }
    }
}

fn digits(field: &'static str, text: &str, digits_max: usize) -> Result<()> {
    if !(1..=digits_max).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let limit = format!("1 .. {digits_max} digits");
        return Err(Error::invalid(field, "must be a number", limit, length(text)));
    }
    Ok(())
}

fn word(field: &'static str, text: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !(1..=64).contains(&text.len()) || !text.bytes().all(fits) {
        let limit = "1 .. 64 letters, digits and underscores";
        return Err(Error::invalid(field, "must be one word", limit, length(text)));
    }
    Ok(())
}

/// An address that Alipay or a browser can be given.
pub(super) fn address(field: &'static str, text: &str) -> Result<reqwest::Url> {
    let url = address::address(field, text, URL_BYTES_MAX)?;
    if url.fragment().is_some() {
        return Err(Error::invalid(field, "has a fragment", "no `#`", origin(text)));
    }
    Ok(url)
}
