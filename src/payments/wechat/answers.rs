//! What WeChat Pay says of payments and refunds, in notifications and in answers alike.

use super::{CURRENCY, Identity};
use crate::ledger::Money;
use crate::ledger::Timestamp;
use crate::payments::{Payment, RefundNotice, RefundStanding, Standing};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// What is wrong with a message.
pub(super) type Problem = String;

/// A transaction: <https://pay.weixin.qq.com/doc/v3/merchant/4013070356>. Fields that nothing depends on are left out.
#[derive(Deserialize)]
pub(super) struct Transaction {
    appid: String,
    mchid: String,
    /// The order's number.
    pub(super) out_trade_no: String,
    transaction_id: Option<String>,
    /// How it stands.
    pub(super) trade_state: String,
    success_time: Option<String>,
    amount: Option<TransactionAmount>,
    // Only refunds have these.
    refund_id: Option<IgnoredAny>,
    out_refund_no: Option<IgnoredAny>,
    refund_status: Option<IgnoredAny>,
}

/// `total` is the order's price; `payer_total`, what is left of it after coupons, is not looked at.
#[derive(Deserialize)]
struct TransactionAmount {
    total: i64,
    currency: String,
}

impl Transaction {
    /// Reads one that is about our app and merchant.
    pub(super) fn parse(json: &[u8], us: &Identity) -> Result<Self, Problem> {
        let read: Transaction = serde_json::from_slice(json).map_err(|_| "it holds no transaction")?;
        if read.refund_id.is_some() || read.out_refund_no.is_some() || read.refund_status.is_some() {
            return Err("a refund in the place of a payment".into());
        }
        if read.appid != us.app_id {
            return Err("it is about another app".into());
        }
        if read.mchid != us.merchant_id {
            return Err("it is about another merchant".into());
        }
        Ok(read)
    }

    /// The payment, whatever its state is called.
    pub(super) fn payment(self) -> Result<Payment, Problem> {
        let transaction_id = self.transaction_id.filter(|id| !id.is_empty());
        let amount = self.amount.ok_or("a payment without an amount")?;
        let amount = money(amount.total, amount.currency)?;
        Ok(Payment {
            order_no: self.out_trade_no,
            transaction_id: transaction_id.ok_or("a payment without a transaction_id")?,
            amount,
            paid_at: self.success_time.as_deref().map(time).transpose()?,
        })
    }

    /// How the order stands.
    ///
    /// `REVOKED`, `USERPAYING` and `PAYERROR` are for payment codes, which are not used here; should one come, nothing
    /// is said that could lose money.
    pub(super) fn standing(self) -> Result<Standing, Problem> {
        match self.trade_state.as_str() {
            "SUCCESS" => self.payment().map(Standing::Paid),
            "REFUND" => Ok(Standing::Returned),
            "NOTPAY" | "USERPAYING" | "PAYERROR" => Ok(Standing::Unpaid),
            "CLOSED" | "REVOKED" => Ok(Standing::Closed),
            _ => Err("a trade_state that is not in the documentation".into()),
        }
    }
}

/// A refund, as an answer tells of it: <https://pay.weixin.qq.com/doc/v3/merchant/4012552567>.
#[derive(Deserialize)]
struct RefundAnswer {
    refund_id: String,
    out_refund_no: String,
    out_trade_no: String,
    status: String,
    amount: RefundAmount,
}

/// A refund, as a notification tells of it: <https://pay.weixin.qq.com/wiki/doc/apiv3/apis/chapter3_1_11.shtml>.
#[derive(Deserialize)]
struct RefundNotification {
    mchid: String,
    refund_id: String,
    out_refund_no: String,
    out_trade_no: String,
    refund_status: String,
    amount: RefundAmount,
    // Only transactions have this.
    trade_state: Option<IgnoredAny>,
}

/// Notifications of refunds name no currency. There is only one, as the official Go SDK says of this field.
#[derive(Deserialize)]
struct RefundAmount {
    refund: i64,
    currency: Option<String>,
}

impl RefundAmount {
    fn money(self) -> Result<Money, Problem> {
        money(self.refund, self.currency.unwrap_or_else(|| CURRENCY.into()))
    }
}

/// Reads the answer about one of our refunds.
pub(super) fn refund_answer(json: &[u8], order_no: &str, refund_no: &str) -> Result<RefundNotice, Problem> {
    let read: RefundAnswer = serde_json::from_slice(json).map_err(|_| "it holds no refund")?;
    if read.out_trade_no != order_no || read.out_refund_no != refund_no {
        return Err("it is about another refund".into());
    }
    Ok(RefundNotice {
        order_no: read.out_trade_no,
        refund_no: read.out_refund_no,
        channel_id: Some(read.refund_id),
        amount: Some(read.amount.money()?),
        standing: refund_standing(&read.status)?,
    })
}

/// Reads the notification of a refund, whose event was `REFUND.` and `status`.
pub(super) fn refund_notification(json: &[u8], status: &str, us: &Identity) -> Result<RefundNotice, Problem> {
    let read: RefundNotification = serde_json::from_slice(json).map_err(|_| "it holds no refund")?;
    if read.trade_state.is_some() {
        return Err("a payment in the place of a refund".into());
    }
    if read.mchid != us.merchant_id {
        return Err("it is about another merchant".into());
    }
    if read.refund_status != status {
        return Err("its event says something else than its content".into());
    }
    Ok(RefundNotice {
        order_no: read.out_trade_no,
        refund_no: read.out_refund_no,
        channel_id: Some(read.refund_id),
        amount: Some(read.amount.money()?),
        standing: refund_standing(status)?,
    })
}

/// `ABNORMAL` is not the end: somebody has to say in the merchant platform where the money goes.
/// <https://pay.weixin.qq.com/doc/v3/merchant/4013080623>.
fn refund_standing(status: &str) -> Result<RefundStanding, Problem> {
    match status {
        "SUCCESS" => Ok(RefundStanding::Succeeded),
        "PROCESSING" => Ok(RefundStanding::Pending { problem: None }),
        "ABNORMAL" => Ok(RefundStanding::Pending {
            problem: Some(
                "ABNORMAL: the payer's card or account does not take it; finish it in the merchant platform"
                    .into(),
            ),
        }),
        "CLOSED" => Ok(RefundStanding::Failed {
            problem: "CLOSED: WeChat Pay has closed the refund".into(),
        }),
        _ => Err("a status of a refund that is not in the documentation".into()),
    }
}

fn money(minor: i64, currency: String) -> Result<Money, Problem> {
    if minor <= 0 || currency.is_empty() {
        return Err("an amount that is none".into());
    }
    Ok(Money { minor, currency })
}

fn time(text: &str) -> Result<Timestamp, Problem> {
    let at = text.parse::<Timestamp>().ok().filter(|at| at.in_range());
    at.ok_or_else(|| "success_time is no time".into())
}
