//! The part of [`Ledger`] about orders: packages that somebody buys through a payment channel.
//!
//! The rules decide every step ([`ledger`](crate::ledger), `order.rs`); here the channel is asked, before or after. The
//! order of the two is what keeps money safe:
//!
//! | step | order of things | if we die in between |
//! | --- | --- | --- |
//! | paying begins | written down, then the channel is told | it is asked about and closed like any other |
//! | a payment | the channel vouches for it, then order and lots are written at once | the channel tells again, or is asked |
//! | closing | the channel closes it, then it is written down | closing it again is the same |
//! | a refund | credits are taken back and it is written down, then the channel is asked | it is asked again, with the same number |
//!
//! What the channel is asked can be repeated without harm, and [`Ledger::reconcile_orders`] repeats it.

mod reconcile;

use crate::error::{Error, Result, Written};
use crate::facade::{Ledger, Page, bad_cursor, page, page_limit, unexpected};
use crate::ledger::limits::REFERENCE_BYTES_MAX;
use crate::ledger::{
    Action, Command, Money, OpenOrder, Order, OrderCommand, OrderNo, OrderPayment, OrderRefund,
    OrderRefundRequest, OrderStatus, OrderStep, Outcome, RefundNote, RefundStatus, Refusal, Timestamp,
};
use crate::payments::{
    BILL_BYTES_MAX, BILL_LINES_MAX, BillLine, Channel, Checkout, Headers, NOTIFICATION_BYTES_MAX, Notice,
    Payment, Prepared, RefundNotice, RefundStanding, Reply, Standing,
};
use crate::pricing::Decimal;
use crate::store::OrderFilter as StoredFilter;
use reconcile::asked;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many orders are read at a time to compare a bill with.
const STATEMENT_PAGE: usize = 1_000;
/// How many differences a report has room for.
const DIFFERENCES_MAX: usize = 10_000;
/// How many problems a reconciliation names; all are counted.
const PROBLEMS_NAMED_MAX: usize = 100;
/// An order is paid within this time of being made, or is looked for in vain in a day's bill.
const PAID_WITHIN: Duration = Duration::from_secs(3 * 24 * 3600);

/// Which orders are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderFilter {
    /// Only of this account.
    pub user_id: Option<Uuid>,
    /// Only those that stand like this.
    pub status: Option<OrderStatus>,
    /// How many, 1 to [`PAGE_LINES_MAX`](crate::PAGE_LINES_MAX).
    pub limit: usize,
    /// The page before's `next_cursor`.
    pub cursor: Option<String>,
}

impl Default for OrderFilter {
    fn default() -> Self {
        OrderFilter {
            user_id: None,
            status: None,
            limit: 50,
            cursor: None,
        }
    }
}

/// What became of a notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What it meant.
    pub event: NotificationEvent,
    /// The order as it stands now; `None` where it was about none of ours.
    pub order: Option<Order>,
}

/// What a notification meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotificationEvent {
    /// An order was paid: now, or it was known already.
    Paid,
    /// Something about a refund.
    Refund,
    /// Nothing that the books have to know.
    Ignored,
}

impl NotificationEvent {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            NotificationEvent::Paid => "paid",
            NotificationEvent::Refund => "refund",
            NotificationEvent::Ignored => "ignored",
        }
    }
}

/// What a reconciliation did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Orders that were looked at.
    pub orders: u64,
    /// Orders found paid, and settled.
    pub settled: u64,
    /// Orders closed, because their time is over and nobody has paid.
    pub closed: u64,
    /// Refunds that were found to have ended.
    pub refunds: u64,
    /// Orders about which something went wrong; they are looked at again next time.
    pub failed: u64,
    /// What went wrong with the first of these.
    pub problems: Vec<(OrderNo, Error)>,
}

/// What a channel's bill and the books say differently.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementReport {
    /// Lines of the bill that are as the books say.
    pub matched: u64,
    /// What does not fit.
    pub differences: Vec<StatementDifference>,
}

impl StatementReport {
    fn differ(&mut self, difference: StatementDifference) -> Result<()> {
        if self.differences.len() >= DIFFERENCES_MAX {
            let problem = "differs from the books in more places than can be told: it is of another time, or of another merchant";
            let more = DIFFERENCES_MAX + 1;
            return Err(Error::invalid(
                "bill",
                problem,
                DIFFERENCES_MAX,
                format!("{more} or more"),
            ));
        }
        self.differences.push(difference);
        Ok(())
    }
}

/// One thing that a bill and the books say differently.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementDifference {
    /// The bill has it, and the books don't know the order, or the refund.
    Unknown(BillLine),
    /// The books have the order, and not as paid.
    NotSettled(BillLine, Order),
    /// The books have it with another amount, currency or transaction, or not (yet) as a refund that has succeeded.
    Different(BillLine, Order),
    /// The books have the payment of that time, and the bill does not.
    MissingPayment(Order),
    /// The books have the refund, and the bill does not: its number.
    MissingRefund(Order, String),
}

fn channel_error(channel: &str, problem: impl Into<String>) -> Error {
    Error::PaymentVerification {
        channel: channel.into(),
        problem: problem.into(),
    }
}

fn not_found(order_no: OrderNo) -> Error {
    Error::Refused(Refusal::NotFound {
        what: "order",
        id: order_no.0,
    })
}

/// A number that nobody can guess: 74 random bits after the time.
fn draw(now: Timestamp) -> Result<OrderNo> {
    let mut random = [0; 10];
    #[allow(
        clippy::disallowed_methods,
        reason = "an order's number must not be derived from anything"
    )]
    getrandom::fill(&mut random).map_err(|error| Error::Unavailable {
        outcome: Written::No,
        reason: format!("the system has no random numbers: {error}"),
        remedy: "try again".into(),
    })?;
    let millis = u64::try_from(now.as_micros() / 1_000).unwrap_or(0);
    let number = uuid::Builder::from_unix_timestamp_millis(millis, &random);
    Ok(OrderNo(number.into_uuid()))
}

/// Before every number drawn at this time.
fn first_number_at(at: Timestamp) -> OrderNo {
    let millis = u64::try_from(at.as_micros() / 1_000).unwrap_or(0);
    OrderNo(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
}

/// An amount as it is written, in the minor units that orders count in: hundredths, whatever the currency.
///
/// ```
/// use jointo_credits::{money, pricing::parse_decimal};
/// assert_eq!(money(parse_decimal("9.90")?, "CNY")?.minor, 990);
/// assert!(money(parse_decimal("9.905")?, "CNY").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `validation` where it has more than two digits behind the point, or is too large.
pub fn money(amount: Decimal, currency: &str) -> Result<Money> {
    let cents = amount
        .checked_mul(Decimal::ONE_HUNDRED)
        .map(|cents| cents.normalize());
    match cents
        .filter(|cents| cents.is_integer())
        .and_then(|cents| i64::try_from(cents).ok())
    {
        Some(minor) => Ok(Money {
            minor,
            currency: currency.to_owned(),
        }),
        None => Err(Error::invalid(
            "amount",
            "can't be paid",
            "two digits behind the point",
            amount,
        )),
    }
}

fn order_command(user_id: Uuid, order_no: OrderNo, step: OrderStep, key: Option<&str>) -> Command {
    let command = OrderCommand {
        user_id,
        order_no,
        step,
    };
    Action::Order(command).with_key(key)
}

fn ordered(outcome: Outcome) -> Result<Order> {
    match outcome {
        Outcome::Order(order) => Ok(*order),
        other => Err(unexpected(&other)),
    }
}

/// As much of a text as an entry can keep.
fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(REFERENCE_BYTES_MAX);
    text.get(..end).unwrap_or_default().replace('\0', " ")
}

impl Ledger {
    /// Writes down that somebody buys a package. Price and credits are frozen; [`Ledger::pay_order`] is next.
    ///
    /// With a `key`, repeating it gives the first order again, as it was then.
    ///
    /// # Errors
    /// `validation` where the package is not for sale or the channel takes no such price; `not_found`,
    /// `idempotency_conflict`, `unavailable`.
    pub async fn create_order(
        &self,
        user_id: Uuid,
        package_id: Uuid,
        channel: &str,
        key: Option<&str>,
    ) -> Result<Order> {
        let payments = self.channel(channel)?;
        let package = self.package(package_id).await?;
        let price = money(package.price, &package.currency)?;
        let refused = if package.active {
            payments.check(&price).err()
        } else {
            let limit = "an active package";
            Some(Error::invalid(
                "package_id",
                "is not for sale any more",
                limit,
                package_id,
            ))
        };
        let step = OrderStep::Open(OpenOrder {
            channel: channel.to_owned(),
            package_id,
            package_version: package.version,
            price,
            subject: package.name,
            credits: package.credits,
            bonus_credits: package.bonus_credits,
            validity_days: package.validity_days,
            purchase_limit: package.purchase_limit,
        });
        let command = order_command(user_id, draw(self.now())?, step, key);
        if let Some(error) = refused {
            // What was ordered with this key before it went off sale is ordered.
            let before = match key {
                Some(key) => self.prior(user_id, key).await?,
                None => None,
            };
            return match before {
                Some(prior) => ordered(prior.replay(&command.fingerprint())?),
                None => Err(error),
            };
        }
        ordered(self.run(command).await?)
    }

    /// Tells the channel of an order and gets what the payer needs. Repeated, it gets that anew; so a payer can change
    /// his mind about how to pay.
    ///
    /// # Errors
    /// `not_found`, `invalid_state` where the order can't be paid (any more), `validation` for what the channel needs,
    /// `payment_channel`, `payment_verification`, `unavailable`.
    pub async fn pay_order(&self, order_no: OrderNo, checkout: &Checkout) -> Result<Prepared> {
        let order = self.order(order_no).await?;
        let channel = self.channel(&order.channel)?;
        let order = self.step(order.user_id, order_no, OrderStep::Begin, None).await?;
        let prepared = asked(&*channel, channel.prepare(&order, checkout, self.now())).await;
        if !matches!(prepared, Err(Error::PaymentChannel { .. })) {
            return prepared;
        }
        // Perhaps because it is paid, and nobody has told us.
        match asked(&*channel, channel.query(&order, self.now())).await {
            Ok(Standing::Paid(payment)) => Err(Error::Refused(Refusal::InvalidOrder {
                order_no,
                state: self.settle(&order, payment).await?.state.status,
                problem: "it was paid already",
            })),
            Ok(Standing::Returned) => Err(returned(&order)),
            _ => prepared,
        }
    }

    /// An order, as it stands.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn order(&self, order_no: OrderNo) -> Result<Order> {
        let found = self.find_order(order_no).await?;
        found.ok_or_else(|| not_found(order_no))
    }

    /// A page of orders, newest first.
    ///
    /// # Errors
    /// `validation` for a limit or cursor that is none; `unavailable`.
    pub async fn orders(&self, filter: OrderFilter) -> Result<Page<Order>> {
        let limit = page_limit(filter.limit)?;
        let before = match &filter.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse::<OrderNo>().map_err(|_| bad_cursor(cursor))?),
        };
        let wanted = StoredFilter {
            user_id: filter.user_id,
            status: filter.status,
            before,
            limit: limit + 1,
        };
        let items = self
            .read(move |reader| async move { reader.orders(wanted).await })
            .await?;
        Ok(page(items, limit, |order| order.order_no.to_string()))
    }

    /// Reads what a channel sends, and settles what it says is paid: once, however often it comes.
    ///
    /// `body` is the request's, byte for byte. Answer with [`Ledger::notification_reply`]: taken where this is `Ok`.
    ///
    /// # Errors
    /// `payment_verification` where it is not genuine or not about what we sold; `not_found` where the order is not ours;
    /// `validation` for a channel that there is not; `unavailable`: the channel will send it again.
    pub async fn handle_notification(
        &self,
        channel: &str,
        headers: &Headers,
        body: &[u8],
    ) -> Result<Notification> {
        let payments = self.channel(channel)?;
        if body.len() > NOTIFICATION_BYTES_MAX {
            return Err(channel_error(channel, "the notification is too long to be one"));
        }
        let notice = payments.notification(headers, body, self.now())?;
        match notice {
            Notice::Paid(payment) => {
                let order = self.order_of(channel, &payment.order_no).await?;
                let order = self.settle(&order, payment).await?;
                Ok(Notification {
                    event: NotificationEvent::Paid,
                    order: Some(order),
                })
            }
            Notice::Refund(notice) => {
                let order = self.order_of(channel, &notice.order_no).await?;
                let order = self.note(&order, &notice).await?;
                Ok(Notification {
                    event: NotificationEvent::Refund,
                    order: Some(order),
                })
            }
            Notice::Other { order_no, event } => {
                tracing::info!(channel, order_no, event, "a notification that changes nothing");
                Ok(Notification {
                    event: NotificationEvent::Ignored,
                    order: None,
                })
            }
        }
    }

    /// What to answer to a channel's notification: that it was taken, or that it shall come again.
    ///
    /// # Errors
    /// `validation` for a channel that there is not.
    pub fn notification_reply(&self, channel: &str, taken: bool) -> Result<Reply> {
        Ok(self.channel(channel)?.reply(taken))
    }

    /// Settles an order by hand: for channels without notifications, and for operators who see the money.
    ///
    /// # Errors
    /// `not_found`; `payment_verification` where amount or transaction are not the order's; `validation`, `unavailable`.
    pub async fn settle_order(&self, order_no: OrderNo, payment: OrderPayment) -> Result<Order> {
        let order = self.order(order_no).await?;
        self.step(order.user_id, order_no, OrderStep::Settle(payment), None)
            .await
    }

    /// Makes sure that nobody can pay an order any more. One that was paid meanwhile is settled, and returned as that;
    /// one whose payment was sent back by hand, at the channel, before the books knew of it, is closed.
    ///
    /// # Errors
    /// `not_found`, `invalid_state` where it was paid; `payment_channel`, `payment_verification`, `unavailable`.
    pub async fn close_order(&self, order_no: OrderNo) -> Result<Order> {
        let order = self.order(order_no).await?;
        let channel_agrees = match order.state.status {
            OrderStatus::Paying => {
                let channel = self.channel(&order.channel)?;
                match asked(&*channel, channel.close(&order, self.now())).await? {
                    Standing::Paid(payment) => return self.settle(&order, payment).await,
                    Standing::Closed | Standing::Returned | Standing::Unknown => true,
                    Standing::Unpaid => return Err(still_open(&order)),
                }
            }
            _ => false,
        };
        let step = OrderStep::Close { channel_agrees };
        self.step(order.user_id, order_no, step, None).await
    }

    /// Sends money of an order back, and takes the credits back that it bought, in proportion: first in the books, then
    /// the channel is asked. What the channel has not ended yet is `refunding`; [`Ledger::reconcile_orders`] follows it up.
    ///
    /// # Errors
    /// `not_found`, `invalid_state`, `validation`, `idempotency_conflict`, `unavailable`; `payment_channel` where the
    /// channel refuses, and then the credits are back.
    pub async fn refund_order(
        &self,
        order_no: OrderNo,
        request: OrderRefundRequest,
        key: Option<&str>,
    ) -> Result<Order> {
        let order = self.order(order_no).await?;
        self.channel(&order.channel)?;
        let order = self
            .step(order.user_id, order_no, OrderStep::Refund(request), key)
            .await?;
        // With a key that is repeated this is the order of then; the refund may have gone on, and may have failed.
        let mut newest_first = order.state.refunds.iter().rev();
        let asked = newest_first.find(|refund| refund.status != RefundStatus::Failed);
        let asked = asked.map(|refund| refund.number);
        // What the channel can't be asked now stays pending: it is written down, and followed up.
        let order = self.order(order.order_no).await?;
        let order = self.push_refunds(order, AskedBy::Caller).await.order;
        let failed =
            |refund: &&OrderRefund| Some(refund.number) == asked && refund.status == RefundStatus::Failed;
        match order.state.refunds.iter().find(failed) {
            None => Ok(order),
            Some(refund) => Err(refund_failed(&order.channel, refund)),
        }
    }

    /// Compares a channel's bill with the books. `from` and `until` are the time that the bill is of: payments of that time
    /// which it does not have are told as well. Changes nothing.
    ///
    /// # Errors
    /// `validation` where it is no bill, `unavailable`.
    pub async fn reconcile_statement(
        &self,
        channel: &str,
        bill: &[u8],
        from: Timestamp,
        until: Timestamp,
    ) -> Result<StatementReport> {
        let too_long = |limit: String, given: String| Error::invalid("bill", "is too long", limit, given);
        let payments = self.channel(channel)?;
        if bill.len() > BILL_BYTES_MAX {
            let (limit, given) = (format!("{BILL_BYTES_MAX} bytes"), format!("{} bytes", bill.len()));
            return Err(too_long(limit, given));
        }
        let mut lines = payments.read_bill(bill)?;
        let (mut report, mut read) = (StatementReport::default(), 0);
        // Payments and refunds of ours that it has, by order and number: 0 for the payment.
        let mut billed = BTreeSet::new();
        loop {
            let page = lines.by_ref().take(STATEMENT_PAGE).collect::<Result<Vec<_>>>()?;
            if page.is_empty() {
                break;
            }
            read += page.len();
            if read > BILL_LINES_MAX {
                return Err(too_long(format!("{BILL_LINES_MAX} lines"), "more".into()));
            }
            let orders = self.orders_of(&page).await?;
            for line in page {
                let order = line
                    .order_no
                    .parse()
                    .ok()
                    .and_then(|order_no| orders.get(&order_no));
                let Some(order) = order.filter(|order| order.channel == channel) else {
                    report.differ(StatementDifference::Unknown(line))?;
                    continue;
                };
                let number = match &line.refund_no {
                    None => Some(0),
                    Some(refund_no) => order.refund(refund_no).map(|refund| refund.number),
                };
                billed.extend(number.map(|number| (order.order_no, number)));
                match compare(line, order) {
                    None => report.matched += 1,
                    Some(difference) => report.differ(difference)?,
                }
            }
        }
        self.find_missing(channel, (from, until), &billed, &mut report)
            .await?;
        Ok(report)
    }

    /// Those of our orders that these lines name, by their numbers.
    async fn orders_of(&self, lines: &[BillLine]) -> Result<BTreeMap<OrderNo, Order>> {
        let numbers: BTreeSet<OrderNo> = lines
            .iter()
            .filter_map(|line| line.order_no.parse().ok())
            .collect();
        if numbers.is_empty() {
            return Ok(BTreeMap::new());
        }
        let numbers: Vec<OrderNo> = numbers.into_iter().collect();
        let orders = self
            .read(move |reader| async move { reader.orders_by_number(numbers).await })
            .await?;
        Ok(orders.into_iter().map(|order| (order.order_no, order)).collect())
    }

    /// What the books have of that time and the bill does not, the newest order first.
    async fn find_missing(
        &self,
        channel: &str,
        (from, until): (Timestamp, Timestamp),
        billed: &BTreeSet<(OrderNo, u32)>,
        report: &mut StatementReport,
    ) -> Result<()> {
        let micros = i64::try_from(PAID_WITHIN.as_micros()).unwrap_or(i64::MAX);
        let oldest = first_number_at(Timestamp::from_micros(from.as_micros().saturating_sub(micros)));
        let within = |at: Option<Timestamp>| at.is_some_and(|at| from <= at && at < until);
        let mut filter = StoredFilter {
            before: Some(first_number_at(until)),
            limit: STATEMENT_PAGE,
            ..StoredFilter::default()
        };
        loop {
            let wanted = filter.clone();
            let orders = self
                .read(move |reader| async move { reader.orders(wanted).await })
                .await?;
            filter.before = orders.last().map(|order| order.order_no);
            let is_last = orders.len() < filter.limit || filter.before.is_none_or(|last| last < oldest);
            for order in orders.into_iter().filter(|order| order.channel == channel) {
                for refund in &order.state.refunds {
                    let is_due = refund.status == RefundStatus::Succeeded && within(refund.settled_at);
                    if is_due && !billed.contains(&(order.order_no, refund.number)) {
                        let refund_no = refund.refund_no(order.order_no);
                        report.differ(StatementDifference::MissingRefund(order.clone(), refund_no))?;
                    }
                }
                if within(order.state.paid_at) && !billed.contains(&(order.order_no, 0)) {
                    report.differ(StatementDifference::MissingPayment(order))?;
                }
            }
            if is_last {
                return Ok(());
            }
        }
    }

    async fn find_order(&self, order_no: OrderNo) -> Result<Option<Order>> {
        self.read(move |reader| async move { reader.order(order_no).await })
            .await
    }

    fn channel(&self, name: &str) -> Result<Arc<dyn Channel>> {
        self.channels().get(name).cloned().ok_or_else(|| {
            let known: Vec<&str> = self.channels().keys().map(String::as_str).collect();
            let shown: String = name.chars().take(64).collect();
            Error::invalid("channel", "is not one of this ledger's", known.join(", "), shown)
        })
    }

    async fn step(
        &self,
        user_id: Uuid,
        order_no: OrderNo,
        step: OrderStep,
        key: Option<&str>,
    ) -> Result<Order> {
        ordered(self.run(order_command(user_id, order_no, step, key)).await?)
    }

    /// The order that a channel means.
    async fn order_of(&self, channel: &str, order_no: &str) -> Result<Order> {
        let Ok(number) = order_no.parse() else {
            return Err(channel_error(channel, "it is about an order that is not ours"));
        };
        let order = self.order(number).await?;
        if order.channel == channel {
            Ok(order)
        } else {
            Err(channel_error(
                channel,
                format!("order {number} is to be paid through {}", order.channel),
            ))
        }
    }

    async fn settle(&self, order: &Order, payment: Payment) -> Result<Order> {
        if payment.order_no != order.order_no.to_string() {
            let problem = format!(
                "it was asked about order {} and answers about another",
                order.order_no
            );
            return Err(channel_error(&order.channel, problem));
        }
        let step = OrderStep::Settle(OrderPayment {
            transaction_id: payment.transaction_id,
            amount: payment.amount,
            paid_at: payment.paid_at,
        });
        let settled = self.step(order.user_id, order.order_no, step, None).await;
        if let Err(error) = &settled {
            tracing::error!(order_no = %order.order_no, %error, "a payment was not settled");
        }
        settled
    }

    /// Writes down what a channel says of a refund.
    async fn note(&self, order: &Order, notice: &RefundNotice) -> Result<Order> {
        let Some(refund) = order.refund(&notice.refund_no) else {
            // Made by hand at the channel, perhaps. The books know nothing of it, so somebody has to look into it.
            tracing::error!(
                order_no = %order.order_no,
                refund_no = notice.refund_no,
                "the channel tells of a refund that nobody has asked for here"
            );
            return Err(channel_error(
                &order.channel,
                format!("order {} has no such refund", order.order_no),
            ));
        };
        if let Some(amount) = &notice.amount
            && (amount.minor, &amount.currency) != (refund.minor, &order.price.currency)
        {
            return Err(Error::Refused(Refusal::WrongPayment {
                order_no: order.order_no,
                problem: if amount.currency == order.price.currency {
                    "goes back with another amount"
                } else {
                    "goes back in another currency"
                },
                expected: format!("{} {}", refund.minor, order.price.currency),
                value: format!("{} {}", amount.minor, amount.currency),
            }));
        }
        let (status, problem) = match &notice.standing {
            RefundStanding::Pending { problem } => (RefundStatus::Pending, problem.as_deref()),
            RefundStanding::Succeeded => (RefundStatus::Succeeded, None),
            RefundStanding::Failed { problem } => (RefundStatus::Failed, Some(problem.as_str())),
            RefundStanding::Unknown => return Ok(order.clone()),
        };
        let step = OrderStep::NoteRefund(RefundNote {
            number: refund.number,
            status,
            channel_id: notice.channel_id.as_deref().map(cut),
            problem: problem.map(cut),
        });
        self.step(order.user_id, order.order_no, step, None).await
    }

    /// Asks the channel for the refunds that it has not ended. One that it does not know of it is asked for, again.
    async fn push_refunds(&self, mut order: Order, asked_by: AskedBy) -> Pushed {
        let pending: Vec<OrderRefund> = order
            .state
            .refunds
            .iter()
            .filter(|refund| refund.status == RefundStatus::Pending)
            .cloned()
            .collect();
        let mut problem = None;
        for refund in pending {
            match self.push_refund(&order, &refund, asked_by).await {
                Ok(after) => order = after,
                Err(error) => {
                    tracing::warn!(order_no = %order.order_no, %error, "a refund is asked for again later");
                    problem = Some(error);
                }
            }
        }
        Pushed { order, problem }
    }

    async fn push_refund(&self, order: &Order, refund: &OrderRefund, asked_by: AskedBy) -> Result<Order> {
        let channel = self.channel(&order.channel)?;
        if channel.refunds_by_hand() && asked_by == AskedBy::Nobody && order.state.lot_id.is_none() {
            let waits = RefundNotice {
                order_no: order.order_no.to_string(),
                refund_no: refund.refund_no(order.order_no),
                channel_id: None,
                amount: None,
                standing: RefundStanding::Pending {
                    problem: Some(SEND_BACK.into()),
                },
            };
            return self.note(order, &waits).await;
        }
        let known = asked(&*channel, channel.query_refund(order, refund, self.now())).await?;
        if known.standing != RefundStanding::Unknown {
            return self.note(order, &known).await;
        }
        let (reason, message) = match asked(&*channel, channel.refund(order, refund, self.now())).await {
            Ok(notice) => return self.note(order, &notice).await,
            Err(Error::PaymentChannel { reason, message, .. }) => (reason, message),
            Err(error) => return Err(error),
        };
        // A refusal counts as one only where the channel, asked once more, still does not know of the refund.
        let notice = asked(&*channel, channel.query_refund(order, refund, self.now())).await?;
        if notice.standing != RefundStanding::Unknown {
            return self.note(order, &notice).await;
        }
        let refused = RefundNotice {
            standing: RefundStanding::Failed {
                problem: format!("{reason}: {message}"),
            },
            ..notice
        };
        self.note(order, &refused).await
    }
}

/// What a line of a bill says differently than its order.
fn compare(line: BillLine, order: &Order) -> Option<StatementDifference> {
    let fits = match &line.refund_no {
        None if order.state.transaction_id.is_none() => {
            return Some(StatementDifference::NotSettled(line, order.clone()));
        }
        None => {
            order.price == line.amount
                && order.state.transaction_id.as_deref() == Some(line.transaction_id.as_str())
        }
        Some(refund_no) => {
            let Some(refund) = order.refund(refund_no) else {
                return Some(StatementDifference::Unknown(line));
            };
            (refund.minor, &order.price.currency) == (line.amount.minor, &line.amount.currency)
                && refund.status == RefundStatus::Succeeded
        }
    };
    (!fits).then(|| StatementDifference::Different(line, order.clone()))
}

/// Who wants the refunds of an order to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskedBy {
    /// Somebody who asks for the refund.
    Caller,
    /// The ledger, which follows up what is under way.
    Nobody,
}

/// Of money that a person has to send.
const SEND_BACK: &str = "it was paid too late: send the money back by hand, then ask for its refund";

/// What became of an order whose refunds were asked for.
struct Pushed {
    order: Order,
    /// What went wrong with one of them, which is still pending.
    problem: Option<Error>,
}

fn pending_refunds(order: &Order) -> usize {
    let refunds = order.state.refunds.iter();
    refunds
        .filter(|refund| refund.status == RefundStatus::Pending)
        .count()
}

/// The channel's own code stands before what it says, where it gave one.
fn refund_failed(channel: &str, refund: &OrderRefund) -> Error {
    let problem = refund.problem.as_deref().unwrap_or_default();
    let is_code = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"._".contains(&b))
    };
    let (reason, message) = match problem.split_once(": ") {
        Some((reason, message)) if is_code(reason) => (reason, message),
        _ => ("REFUND_FAILED", problem),
    };
    Error::PaymentChannel {
        channel: channel.into(),
        reason: reason.into(),
        message: message.into(),
    }
}

/// The channel says that it was paid and sent back, and the books know of neither.
fn returned(order: &Order) -> Error {
    Error::Refused(Refusal::InvalidOrder {
        order_no: order.order_no,
        state: order.state.status,
        problem: "its payment was sent back by hand, at the channel, before the books knew of it: close it, or settle it for \
                  what was kept",
    })
}

fn still_open(order: &Order) -> Error {
    Error::Unavailable {
        outcome: Written::Unknown,
        reason: format!("{} has not closed order {}", order.channel, order.order_no),
        remedy: "try again".into(),
    }
}
