//! What a payment channel must do, and the values that it is asked with and answers with.

use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::{Money, Order, OrderRefund};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A call to a channel that is under way.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The largest body of a notification that is looked at, in bytes.
pub const NOTIFICATION_BYTES_MAX: usize = 256 * 1024;

/// The largest bill that is read, in bytes.
pub const BILL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most lines of a bill that are read.
pub const BILL_LINES_MAX: usize = 1_000_000;

/// The lines of a bill, read one after the other; where one can't be read, or the bill is not whole, the last is an error.
pub type BillLines<'a> = Box<dyn Iterator<Item = Result<BillLine>> + Send + 'a>;

/// How much a channel is asked at once, and how long the ledger waits for its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many questions [`reconcile_orders`](crate::Ledger::reconcile_orders) may have under way at once: 1 to
    /// [`Pace::QUESTIONS_MAX`], 8 by default. The contract with a channel may name a rate.
    pub questions_at_once: usize,
    /// How long the ledger waits for the channel, whatever it asks: 1 ms to [`Pace::PATIENCE_MAX`], 30 s by default. WeChat Pay and
    /// Alipay are given 15 s at the most for a single request; some questions need two.
    pub patience: Duration,
}

impl Pace {
    /// The most questions at once.
    pub const QUESTIONS_MAX: usize = 100;
    /// The longest patience.
    pub const PATIENCE_MAX: Duration = Duration::from_secs(10 * 60);

    /// Whether each of them is within its bounds.
    ///
    /// # Errors
    /// `validation`, which names the field.
    pub fn check(&self) -> Result<()> {
        if !(1..=Self::QUESTIONS_MAX).contains(&self.questions_at_once) {
            let limit = format!("1 to {}", Self::QUESTIONS_MAX);
            let problem = "is out of range";
            return Err(Error::invalid(
                "questions_at_once",
                problem,
                limit,
                self.questions_at_once,
            ));
        }
        if !(Duration::from_millis(1)..=Self::PATIENCE_MAX).contains(&self.patience) {
            let limit = format!("1ms to {:?}", Self::PATIENCE_MAX);
            let given = format!("{:?}", self.patience);
            return Err(Error::invalid("patience", "is out of range", limit, given));
        }
        Ok(())
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            questions_at_once: 8,
            patience: Duration::from_secs(30),
        }
    }
}

/// How somebody is going to pay; each channel says what it understands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checkout {
    /// In which way: `native`, `jsapi` or `h5` for WeChat Pay, `page` or `qr` for Alipay; the channel's first where `None`.
    pub method: Option<String>,
    /// The payer as the channel knows him, such as the `openid` of WeChat Pay's JSAPI.
    pub payer: Option<String>,
    /// The payer's IP address, which WeChat Pay's H5 wants.
    pub payer_ip: Option<String>,
    /// Where the payer's browser goes afterwards.
    pub return_url: Option<String>,
}

/// What the payer's side needs to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// By name, as the channel's own documentation calls them: `code_url`, `h5_url`, `qr_code`, `url`, or what
    /// `WeixinJSBridge` takes.
    pub parameters: BTreeMap<String, String>,
    /// Until when they are good, where the channel says so.
    pub expires_at: Option<Timestamp>,
}

/// A payment that a channel vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The order, as the channel spells it.
    pub order_no: String,
    /// The channel's own name for the payment.
    pub transaction_id: String,
    /// What the order cost the payer: never less than its price because of the channel's own coupons.
    pub amount: Money,
    /// When.
    pub paid_at: Option<Timestamp>,
}

/// How a refund stands with the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundStanding {
    /// The channel has taken the request, or has not ended it yet. With what stands in the way, if anything does.
    Pending {
        /// What somebody has to look after, such as a closed bank card.
        problem: Option<String>,
    },
    /// The money is back.
    Succeeded,
    /// The channel will never do it.
    Failed {
        /// Why.
        problem: String,
    },
    /// The channel does not know of it.
    Unknown,
}

/// What a channel says of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundNotice {
    /// The order, as the channel spells it.
    pub order_no: String,
    /// The refund's number, as the channel spells it.
    pub refund_no: String,
    /// The channel's own name for it.
    pub channel_id: Option<String>,
    /// How much goes back; `None` where the channel does not say.
    pub amount: Option<Money>,
    /// How it stands.
    pub standing: RefundStanding,
}

/// A genuine notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An order was paid.
    Paid(Payment),
    /// Something about a refund.
    Refund(RefundNotice),
    /// Nothing that the books have to know: a payment that was closed or is still waited for.
    Other {
        /// The order, as the channel spells it, if it says so.
        order_no: Option<String>,
        /// What it says.
        event: String,
    },
}

/// How an order stands with the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It does not know of it.
    Unknown,
    /// It waits for the payer.
    Unpaid,
    /// It was paid.
    Paid(Payment),
    /// It was paid, and money of it has gone back since, all or a part. Where the books know of no payment, somebody has
    /// done that by hand.
    Returned,
    /// Nobody can pay it any more, and nobody has.
    Closed,
}

/// What the channel wants to hear when it has notified us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The type of the body.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

/// A line of a channel's bill of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillLine {
    /// The number of the line in the file, the first one being 1.
    pub line: u64,
    /// Whether it is a refund; else it is a payment.
    pub refund_no: Option<String>,
    /// The order, as the channel spells it.
    pub order_no: String,
    /// The channel's own name for the payment.
    pub transaction_id: String,
    /// How much was paid, or went back.
    pub amount: Money,
    /// When.
    pub at: Option<Timestamp>,
}

/// The headers of a notification, found whatever case they are written in.
#[derive(Clone, Default)]
pub struct Headers(pub(super) Vec<(String, String)>);

impl Headers {
    /// From names and values. Give all that came, also those of one name: a channel refuses a signature that came twice.
    pub fn new<N: Into<String>, V: Into<String>>(headers: impl IntoIterator<Item = (N, V)>) -> Self {
        Headers(headers.into_iter().map(|(n, v)| (n.into(), v.into())).collect())
    }

    /// The value of one; of several with this name, the first.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all with this name, in their order.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let found = self
            .0
            .iter()
            .filter(move |(each, _)| each.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

impl fmt::Debug for Headers {
    /// Names only: a host may hand over cookies and credentials with the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// A payment channel.
///
/// Every request may be repeated with the same order or refund, and must then mean the same. Errors:
/// [`Error::PaymentVerification`](crate::Error::PaymentVerification) where a notification or an answer is not to be
/// trusted, [`Error::PaymentChannel`](crate::Error::PaymentChannel) where the channel says no,
/// [`Error::Unavailable`](crate::Error::Unavailable) where it can't be reached (`outcome` says whether it may have taken
/// the request), and `validation` where the request can't be one.
pub trait Channel: Send + Sync + 'static {
    /// What it is called: lower-case letters, digits and underscores. Orders keep it.
    fn name(&self) -> &str;

    /// Whether an order of this price can be paid here.
    ///
    /// # Errors
    /// `validation`.
    fn check(&self, price: &Money) -> Result<()>;

    /// Tells the channel of an order, and gets what the payer needs. Repeated, it gets that anew.
    fn prepare<'a>(
        &'a self,
        order: &'a Order,
        checkout: &'a Checkout,
        now: Timestamp,
    ) -> Asking<'a, Prepared>;

    /// Asks how an order stands.
    fn query<'a>(&'a self, order: &'a Order, now: Timestamp) -> Asking<'a, Standing>;

    /// Makes sure that nobody can pay an order any more. An order that was paid meanwhile stays so, and an order that
    /// the channel does not know is closed: what it returns is how the order stands afterwards, never
    /// [`Standing::Unpaid`].
    fn close<'a>(&'a self, order: &'a Order, now: Timestamp) -> Asking<'a, Standing>;

    /// Asks for the refund of a part of an order, or of all of it.
    fn refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        now: Timestamp,
    ) -> Asking<'a, RefundNotice>;

    /// Asks how a refund stands.
    fn query_refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        now: Timestamp,
    ) -> Asking<'a, RefundNotice>;

    /// How many questions it takes at once, and how long the ledger waits for it. What the ledger does when the time is over is what it
    /// does when the channel can't be reached, and can't tell whether it has got the request.
    fn pace(&self) -> Pace {
        Pace::default()
    }

    /// Whether money goes back only where a person sends it. What such a channel says of a refund is true once somebody has
    /// asked for it ([`Ledger::refund_order`](crate::Ledger::refund_order)). A refund that nobody asked for, of a payment that
    /// came too late, waits until somebody does.
    fn refunds_by_hand(&self) -> bool {
        false
    }

    /// Reads a notification: verified, decrypted, of our app and merchant; or an error. Pure.
    ///
    /// # Errors
    /// [`Error::PaymentVerification`](crate::Error::PaymentVerification).
    fn notification(&self, headers: &Headers, body: &[u8], now: Timestamp) -> Result<Notice>;

    /// What to answer to a notification: that it was taken, or that it shall come again.
    fn reply(&self, taken: bool) -> Reply;

    /// Reads the bill of a day, as the channel publishes it, line by line: it may be long. Pure.
    ///
    /// # Errors
    /// `validation`, where it is none.
    fn read_bill<'a>(&'a self, bill: &'a [u8]) -> Result<BillLines<'a>>;
}
