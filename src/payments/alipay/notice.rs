//! What a notification says, once its signature is known to be Alipay's.
//!
//! | parameter | what it is good for |
//! | --- | --- |
//! | `sign`, `sign_type` | the signature, over everything but these two; `sign_type` must be `RSA2` |
//! | `charset` | what the text is written in: UTF-8, or GBK or GB18030 where a merchant asked for it |
//! | `app_id`, `seller_id` | whom it is for |
//! | `trade_status` | `TRADE_SUCCESS`: paid. `TRADE_FINISHED`: paid, and past refunds. `TRADE_CLOSED`: not paid in time, or all of it went back. `WAIT_BUYER_PAY` |
//! | `out_trade_no`, `trade_no` | the order, and the payment as Alipay calls it |
//! | `total_amount` | what the order costs, in yuan; coupons of Alipay's are not taken off it |
//! | `gmt_payment` | when it was paid |
//! | `gmt_refund`, `refund_fee`, `out_biz_no` | there are refunds: when, all of them together, and the number of the one that this is about |
//!
//! `refund_fee` is `0.00` in what is no refund at all, and otherwise the sum of all the order's refunds ("总退款金额"), so it
//! does not say how much this one is. The names are those of <https://opendocs.alipay.com/open/203/105286>, read in pages
//! and source that quote it; notices of whole refunds and of unpaid trades that were closed were compared with samples
//! that others published.
//!
//! Whether parameters without a value are signed, Alipay's own SDKs disagree: that for Java keeps them
//! (`getSignCheckContentV1`), that for PHP drops them (`getSignContent`), and notices of both kinds were reported
//! (smartwalle/alipay#83, yansongda/laravel-pay#82). Either will do: a parameter without a value is none here, so nothing
//! is decided by one.

use super::form::{Empty, Form};
use super::keys::SIGN_TYPE;
use super::{Alipay, money, untrusted};
use crate::error::Result;
use crate::payments::china_time;
use crate::payments::money::fen;
use crate::payments::{Notice, Payment, RefundNotice, RefundStanding};
use encoding_rs::{Encoding, GB18030, UTF_8};

/// The largest notification that is looked at, in bytes: forms of Alipay's have a few thousand.
pub(super) const NOTICE_BYTES_MAX: usize = 32 * 1024;
/// The longest signature that is looked at: one of RSA with 4,096 bits, in base64.
const SIGNATURE_BYTES_MAX: usize = 684;

/// Reads a notification.
///
/// # Errors
/// [`Error::PaymentVerification`](crate::Error::PaymentVerification).
pub(super) fn read(alipay: &Alipay, body: &[u8]) -> Result<Notice> {
    if body.len() > NOTICE_BYTES_MAX {
        return Err(untrusted(format!(
            "a notification of {} bytes; at most {NOTICE_BYTES_MAX} are looked at",
            body.len()
        )));
    }
    let form = Form::read(body).map_err(|problem| untrusted(format!("the notification {problem}")))?;
    verify(alipay, &form)?;
    let said = Said::of(&form)?;
    for (name, ours) in [
        ("app_id", Some(&alipay.app_id)),
        ("seller_id", alipay.seller_id.as_ref()),
    ] {
        if let Some(ours) = ours
            && said.text(name)?.as_deref() != Some(ours)
        {
            return Err(untrusted(format!("the notification is for another {name}")));
        }
    }
    said.notice()
}

/// Whether Alipay signed it.
fn verify(alipay: &Alipay, form: &Form) -> Result<()> {
    if form.get("sign_type") != Some(SIGN_TYPE.as_bytes()) {
        return Err(untrusted(format!(
            "the notification is not signed with {SIGN_TYPE}"
        )));
    }
    let Some(signature) = form.get("sign") else {
        return Err(untrusted("the notification has no signature"));
    };
    if signature.len() > SIGNATURE_BYTES_MAX {
        return Err(untrusted("the notification's signature is not Alipay's"));
    }
    let verifies = |left_out: &[&str]| {
        let whole = form.signed_content(left_out, Empty::Signed);
        let shorter = form.signed_content(left_out, Empty::LeftOut);
        alipay.alipay_key.verifies(&whole, signature)
            || shorter != whole && alipay.alipay_key.verifies(&shorter, signature)
    };
    let Some(serial) = form.get("alipay_cert_sn") else {
        return if verifies(&["sign", "sign_type"]) {
            Ok(())
        } else {
            Err(untrusted("the notification's signature is not Alipay's"))
        };
    };
    // Whether this parameter is signed too, SDKs disagree: Alipay's for Java signs it, smartwalle/alipay does not. Nothing
    // is decided by it, so either will do.
    if verifies(&["sign", "sign_type"]) || verifies(&["sign", "sign_type", "alipay_cert_sn"]) {
        return Ok(());
    }
    let ours = alipay.serials.as_ref().map(|serials| serials.alipay.as_bytes());
    Err(untrusted(if ours.is_some_and(|ours| ours != serial) {
        "the notification is signed with another certificate than alipay_cert: download Alipay's current one"
    } else {
        "the notification's signature is not Alipay's"
    }))
}

/// A verified notification.
struct Said<'a> {
    form: &'a Form,
    charset: &'static Encoding,
}

impl<'a> Said<'a> {
    fn of(form: &'a Form) -> Result<Self> {
        let charset = match form.get("charset").map(<[u8]>::to_ascii_lowercase).as_deref() {
            None | Some(b"utf-8" | b"utf8") => UTF_8,
            // Each of these has all characters of those before it.
            Some(b"gb2312" | b"gbk" | b"gb18030") => GB18030,
            Some(_) => {
                return Err(untrusted(
                    "the notification is in a charset other than UTF-8, GBK and GB18030",
                ));
            }
        };
        Ok(Said { form, charset })
    }

    /// A parameter that has a value.
    fn text(&self, name: &str) -> Result<Option<String>> {
        let Some(value) = self.form.get(name) else {
            return Ok(None);
        };
        let text = self
            .charset
            .decode_without_bom_handling_and_without_replacement(value);
        let text =
            text.ok_or_else(|| untrusted(format!("the notification's {name} is not in its charset")))?;
        Ok(Some(text.into_owned()))
    }

    fn must_have(&self, name: &str) -> Result<String> {
        let text = self.text(name)?;
        text.ok_or_else(|| untrusted(format!("the notification has no {name}")))
    }

    /// Whether any of the order's money went back. What can't be read counts: then this is no payment.
    fn has_refunds(&self) -> Result<bool> {
        let refunded = self.text("refund_fee")?;
        Ok(self.form.get("gmt_refund").is_some() || refunded.is_some_and(|yuan| fen(&yuan) != Some(0)))
    }

    fn notice(&self) -> Result<Notice> {
        let Some(status) = self.text("trade_status")? else {
            // Messages of the open platform about other things than trades.
            let event = self.text("msg_method")?.or(self.text("notify_type")?);
            return Ok(Notice::Other {
                order_no: self.text("out_trade_no")?,
                event: event.unwrap_or_else(|| "no trade_status".into()),
            });
        };
        let paid = matches!(status.as_str(), "TRADE_SUCCESS" | "TRADE_FINISHED");
        if self.has_refunds()? {
            let refund_no = self.text("out_biz_no")?;
            return match refund_no.filter(|_| paid || status == "TRADE_CLOSED") {
                Some(refund_no) => Ok(Notice::Refund(self.refund(refund_no)?)),
                None => self.other(status),
            };
        }
        if paid {
            Ok(Notice::Paid(self.payment()?))
        } else {
            self.other(status)
        }
    }

    fn payment(&self) -> Result<Payment> {
        let amount = self.must_have("total_amount")?;
        let amount = money::money(&amount)
            .ok_or_else(|| untrusted("the notification's total_amount is no amount in yuan"))?;
        Ok(Payment {
            order_no: self.must_have("out_trade_no")?,
            transaction_id: self.must_have("trade_no")?,
            amount,
            paid_at: self
                .text("gmt_payment")?
                .and_then(|time| china_time::instant(&time)),
        })
    }

    /// Alipay notifies of refunds that succeeded, of no others.
    fn refund(&self, refund_no: String) -> Result<RefundNotice> {
        Ok(RefundNotice {
            order_no: self.must_have("out_trade_no")?,
            refund_no,
            channel_id: None,
            amount: None,
            standing: RefundStanding::Succeeded,
        })
    }

    fn other(&self, event: String) -> Result<Notice> {
        Ok(Notice::Other {
            order_no: self.text("out_trade_no")?,
            event,
        })
    }
}
