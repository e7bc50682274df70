//! Payment channels as Python makes them: what they are configured with. A value that may be a key is never shown.

#![allow(clippy::too_many_arguments, reason = "as many as the configuration has")]

use crate::arguments::Any;
use crate::arguments::{duration, integer, optional, pairs, text};
use crate::errors::{invalid, raise};
use jointo_credits::payments::Pace;
use jointo_credits::payments::alipay::{self, AlipayConfig, AlipayKeys};
use jointo_credits::payments::wechat::{self, VerificationKey, WeChatConfig};
use jointo_credits::{Refusal, Settings};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// More channels, or certificates, than anybody has: what is iterated may have no end.
const SEVERAL_MAX: usize = 100;

/// How much a channel is asked, and how long it is waited for; as the library does where nothing is said.
fn pace(questions_at_once: Option<Any<'_, '_>>, patience: Option<Any<'_, '_>>) -> PyResult<Pace> {
    let usual = Pace::default();
    let questions = optional(questions_at_once, |number| integer("questions_at_once", number))?;
    let patience = optional(patience, |time| duration("patience", time))?;
    Ok(Pace {
        questions_at_once: questions.unwrap_or(usual.questions_at_once),
        patience: patience.unwrap_or(usual.patience),
    })
}

/// Text of a key or certificate, or the path of a file that has it.
fn pem(field: &'static str, value: Any<'_, '_>) -> PyResult<String> {
    let wrong = |problem| {
        let refusal = Refusal::Invalid {
            field,
            problem,
            limit: "the text of the file, or a pathlib.Path of it".into(),
            value: "not shown".into(),
        };
        raise(value.py(), refusal.into())
    };
    if value.is_instance_of::<PyString>() {
        return text(field, value).map_err(|_| wrong("is no text"));
    }
    if value.hasattr("__fspath__")? {
        let read = value.py().import("pathlib")?.getattr("Path")?.call1((value,))?;
        let read = read.call_method1("read_text", ("utf-8",));
        return read
            .and_then(|contents| contents.extract())
            .map_err(|_| wrong("can't be read"));
    }
    Err(wrong("is neither text nor a path"))
}

/// The library's error, with the name that the argument has here.
fn refused(py: Python<'_>, error: jointo_credits::Error, names: &[(&str, &'static str)]) -> PyErr {
    let renamed = match error {
        jointo_credits::Error::Refused(Refusal::Invalid {
            field,
            problem,
            limit,
            value,
        }) => {
            let here = names.iter().find(|(there, _)| *there == field);
            let field = here.map_or(field, |(_, here)| here);
            jointo_credits::Error::Refused(Refusal::Invalid {
                field,
                problem,
                limit,
                value,
            })
        }
        other => other,
    };
    raise(py, renamed)
}

/// WeChat Pay (APIv3), as the channel ``"wechat"``: one of the setting ``channels`` of ``Ledger.connect``.
///
/// Keys and certificates are text as PEM, or a ``pathlib.Path`` of the file. None of them is ever shown or logged.
///
/// Args:
///     merchant_id: The merchant (``mchid``).
///     app_id: The app that is bound to it (``appid``).
///     api_v3_key: The APIv3 key, 32 characters.
///     merchant_serial: The serial number of the merchant's certificate.
///     merchant_key: The private key of that certificate: ``apiclient_key.pem``.
///     notify_url: Where WeChat Pay shall tell of payments: ``https``, without a query.
///     public_keys: WeChat Pay's own keys, by their names ``PUB_KEY_ID_...``.
///     certificates: Platform certificates, for merchants that have these (also).
///     refund_notify_url: Where it shall tell of refunds; ``notify_url`` without.
///     base_url: Another address of WeChat Pay, for tests.
///     questions_at_once: How many orders ``reconcile_orders`` asks about side by side: 1 to 100, 8 by default.
///     patience: How long the ledger waits for an answer, in seconds or as a ``timedelta``: 1 ms to 10 min, 30 s by
///         default. A single request ends after 15 s; some questions need two.
///
/// Raises:
///     ValidationError: Something can't be right; ``field`` names it.
#[pyclass(frozen, name = "WeChatPay", module = "jointo_credits")]
pub(crate) struct WeChatPay {
    config: WeChatConfig,
}

#[pymethods]
impl WeChatPay {
    #[new]
    #[pyo3(signature = (*, merchant_id, app_id, api_v3_key, merchant_serial, merchant_key, notify_url, public_keys=None,
        certificates=None, refund_notify_url=None, base_url=None, questions_at_once=None, patience=None))]
    fn new(
        py: Python<'_>,
        merchant_id: Any<'_, '_>,
        app_id: Any<'_, '_>,
        api_v3_key: Any<'_, '_>,
        merchant_serial: Any<'_, '_>,
        merchant_key: Any<'_, '_>,
        notify_url: Any<'_, '_>,
        public_keys: Option<Any<'_, '_>>,
        certificates: Option<Any<'_, '_>>,
        refund_notify_url: Option<Any<'_, '_>>,
        base_url: Option<Any<'_, '_>>,
        questions_at_once: Option<Any<'_, '_>>,
        patience: Option<Any<'_, '_>>,
    ) -> PyResult<Self> {
        let mut verification_keys = Vec::new();
        if let Some(keys) = public_keys {
            let expected = "a dict of PUB_KEY_ID_... to the key";
            let Some(keys) = pairs("public_keys", keys, expected)? else {
                return Err(invalid(
                    keys.get_type().as_any(),
                    "public_keys",
                    "are no mapping",
                    expected,
                ));
            };
            for (id, key) in keys {
                verification_keys.push(VerificationKey::PublicKey {
                    id: text("public_keys", &id)?,
                    pem: pem("public_keys", &key)?,
                });
            }
        }
        if let Some(certificates) = certificates {
            for (n, certificate) in certificates.try_iter()?.enumerate() {
                if n == SEVERAL_MAX {
                    return Err(invalid(
                        certificates.get_type().as_any(),
                        "certificates",
                        "are too many",
                        &SEVERAL_MAX.to_string(),
                    ));
                }
                verification_keys.push(VerificationKey::Certificate {
                    pem: pem("certificates", &certificate?)?,
                });
            }
        }
        let config = WeChatConfig {
            merchant_id: text("merchant_id", merchant_id)?,
            app_id: text("app_id", app_id)?,
            api_v3_key: pem("api_v3_key", api_v3_key)?,
            merchant_serial: text("merchant_serial", merchant_serial)?,
            merchant_key: pem("merchant_key", merchant_key)?,
            verification_keys,
            notify_url: text("notify_url", notify_url)?,
            refund_notify_url: optional(refund_notify_url, |url| text("refund_notify_url", url))?,
            base_url: optional(base_url, |url| text("base_url", url))?,
            pace: pace(questions_at_once, patience)?,
        };
        let keys = if certificates.is_some() && public_keys.is_none() {
            "certificates"
        } else {
            "public_keys"
        };
        wechat::WeChatPay::new(config.clone())
            .map_err(|error| refused(py, error, &[("verification_keys", keys)]))?;
        Ok(WeChatPay { config })
    }

    fn __repr__(&self) -> String {
        format!(
            "WeChatPay(merchant_id={:?}, app_id={:?})",
            self.config.merchant_id, self.config.app_id
        )
    }
}

/// Alipay, as the channel ``"alipay"``: one of the setting ``channels`` of ``Ledger.connect``.
///
/// Keys and certificates are text, or a ``pathlib.Path`` of the file. None of them is ever shown or logged. Give
/// ``alipay_public_key``, or in certificate mode the three certificates.
///
/// Args:
///     app_id: The app.
///     app_private_key: Its private key, as PEM or bare base64.
///     notify_url: Where Alipay shall tell of payments: ``https``, without a query.
///     alipay_public_key: Alipay's public key for this app (支付宝公钥, not 应用公钥).
///     app_certificate: ``appCertPublicKey_*.crt``.
///     alipay_certificate: ``alipayCertPublicKey_RSA2.crt``.
///     root_certificate: ``alipayRootCert.crt``.
///     seller_id: The seller ("PID"): notifications for others are refused.
///     gateway: Another address of Alipay's, such as the sandbox's.
///     qr_product_code: ``QR_CODE_OFFLINE`` (the default) or ``FACE_TO_FACE_PAYMENT``, as the contract says.
///     questions_at_once: How many orders ``reconcile_orders`` asks about side by side: 1 to 100, 8 by default.
///     patience: How long the ledger waits for an answer, in seconds or as a ``timedelta``: 1 ms to 10 min, 30 s by
///         default. A single request ends after 15 s; some questions need two.
///
/// Raises:
///     ValidationError: Something can't be right; ``field`` names it.
#[pyclass(frozen, name = "Alipay", module = "jointo_credits")]
pub(crate) struct Alipay {
    config: AlipayConfig,
}

#[pymethods]
impl Alipay {
    #[new]
    #[pyo3(signature = (*, app_id, app_private_key, notify_url, alipay_public_key=None, app_certificate=None,
        alipay_certificate=None, root_certificate=None, seller_id=None, gateway=None, qr_product_code=None,
        questions_at_once=None, patience=None))]
    fn new(
        py: Python<'_>,
        app_id: Any<'_, '_>,
        app_private_key: Any<'_, '_>,
        notify_url: Any<'_, '_>,
        alipay_public_key: Option<Any<'_, '_>>,
        app_certificate: Option<Any<'_, '_>>,
        alipay_certificate: Option<Any<'_, '_>>,
        root_certificate: Option<Any<'_, '_>>,
        seller_id: Option<Any<'_, '_>>,
        gateway: Option<Any<'_, '_>>,
        qr_product_code: Option<Any<'_, '_>>,
        questions_at_once: Option<Any<'_, '_>>,
        patience: Option<Any<'_, '_>>,
    ) -> PyResult<Self> {
        let keys = match (
            alipay_public_key,
            app_certificate,
            alipay_certificate,
            root_certificate,
        ) {
            (Some(key), None, None, None) => AlipayKeys::PublicKey(pem("alipay_public_key", key)?),
            (None, Some(app), Some(alipay), Some(root)) => AlipayKeys::Certificates {
                app_cert: pem("app_certificate", app)?,
                alipay_cert: pem("alipay_certificate", alipay)?,
                alipay_root_cert: pem("root_certificate", root)?,
            },
            _ => {
                let refusal = Refusal::Invalid {
                    field: "alipay_public_key",
                    problem: "goes without certificates, and the three certificates go together",
                    limit: "alipay_public_key, or app_certificate, alipay_certificate and root_certificate"
                        .into(),
                    value: "not shown".into(),
                };
                return Err(raise(py, refusal.into()));
            }
        };
        let private_key = pem("app_private_key", app_private_key)?;
        let mut config = AlipayConfig::new(
            text("app_id", app_id)?,
            private_key,
            keys,
            text("notify_url", notify_url)?,
        );
        config.seller_id = optional(seller_id, |id| text("seller_id", id))?;
        config.pace = pace(questions_at_once, patience)?;
        if let Some(gateway) = gateway {
            config.gateway = text("gateway", gateway)?;
        }
        if let Some(code) = qr_product_code {
            config.qr_product_code = text("qr_product_code", code)?;
        }
        let names = [
            ("app_cert", "app_certificate"),
            ("alipay_cert", "alipay_certificate"),
            ("alipay_root_cert", "root_certificate"),
        ];
        alipay::Alipay::new(config.clone()).map_err(|error| refused(py, error, &names))?;
        Ok(Alipay { config })
    }

    fn __repr__(&self) -> String {
        format!("Alipay(app_id={:?})", self.config.app_id)
    }
}

/// The setting `channels`.
pub(crate) fn add(mut settings: Settings, channels: Any<'_, '_>) -> PyResult<Settings> {
    let py = channels.py();
    let expected = "a list of WeChatPay(...) and Alipay(...)";
    let each = channels
        .try_iter()
        .map_err(|_| invalid(channels, "channels", "can't be iterated", expected))?;
    for (n, channel) in each.enumerate() {
        if n == SEVERAL_MAX {
            return Err(invalid(
                channels.get_type().as_any(),
                "channels",
                "are too many",
                &SEVERAL_MAX.to_string(),
            ));
        }
        let channel = channel?;
        settings = if let Ok(wechat) = channel.cast::<WeChatPay>() {
            let made = wechat::WeChatPay::new(wechat.get().config.clone());
            settings.channel(made.map_err(|error| raise(py, error))?)
        } else if let Ok(alipay) = channel.cast::<Alipay>() {
            let made = alipay::Alipay::new(alipay.get().config.clone());
            settings.channel(made.map_err(|error| raise(py, error))?)
        } else {
            return Err(invalid(
                &channel,
                "channels",
                "have something that is no channel",
                expected,
            ));
        };
    }
    Ok(settings)
}
