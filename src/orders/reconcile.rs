//! Asking the channels about open orders: side by side, and in an order in which nobody waits for somebody else's many.
//!
//! Open orders cost nothing, and each is a question to a channel. So a sweep reads what it has to know of them, the newest
//! first, [`READ_AT_ONCE`] at a time; of these it asks about those first that are likely to be paid, and about one order of
//! every account before it asks about a second one of any. Each channel has its questions side by side, as many as it takes,
//! and no channel waits for another one. One that does not answer any more is left alone until the next sweep.

use super::{AskedBy, PROBLEMS_NAMED_MAX, Reconciled, pending_refunds, returned};
use crate::error::{Error, Result, Written};
use crate::facade::Ledger;
use crate::ledger::{Order, OrderNo, OrderStatus, OrderStep, Timestamp};
use crate::payments::{Asking, Channel, Standing};
use crate::store::OpenOrderRow;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// How many orders a sweep knows of at a time: about a megabyte.
const READ_AT_ONCE: usize = 10_000;
/// How many orders are closed at once that no channel has to be asked about.
const CLOSED_AT_ONCE: usize = 8;
/// After so many questions in a row that were not answered a channel is away.
const AWAY_AFTER: usize = 16;

/// Where an order's questions go: to its channel; to nobody, where none knows of it.
type Lane = Option<String>;

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Settled,
    Closed,
    Refunds(u64),
}

impl Ledger {
    /// Asks the channels about every open order made at least `min_age` ago: settles the paid, closes those whose time is
    /// over, follows up refunds. Orders are independent of one another; what fails is counted and looked at next time.
    ///
    /// Asked about first are orders that are likely to be paid, the newest first, and one of every account before a second
    /// one of any. Each channel is asked [`Pace::questions_at_once`](crate::payments::Pace::questions_at_once) questions side by side.
    ///
    /// # Errors
    /// `unavailable` where the database is away.
    pub async fn reconcile_orders(&self, min_age: Duration) -> Result<Reconciled> {
        self.check_clock().await?;
        let micros = i64::try_from(min_age.as_micros()).unwrap_or(i64::MAX);
        let until = Timestamp::from_micros(self.now().as_micros().saturating_sub(micros));
        let mut done = Reconciled::default();
        let mut before = None;
        loop {
            let open = self
                .read(move |reader| async move { reader.open_orders(until, before, READ_AT_ONCE).await })
                .await?;
            let is_last = open.len() < READ_AT_ONCE;
            before = open.last().map(|order| order.order_no);
            done.orders += u64::try_from(open.len()).unwrap_or(u64::MAX);
            let lanes = lanes(open, self.now()).into_iter();
            let mut parts: FuturesUnordered<_> = lanes
                .map(|(lane, orders)| self.look_through(lane, orders))
                .collect();
            while let Some(part) = parts.next().await {
                done.add(part);
            }
            if is_last {
                return Ok(done);
            }
        }
    }

    /// Goes through the orders of one channel.
    async fn look_through(&self, lane: Lane, orders: Vec<OrderNo>) -> Reconciled {
        let at_once = match &lane {
            // Where the channel is none of this ledger's, each order says so.
            Some(channel) => self
                .channels()
                .get(channel)
                .map_or(1, |c| c.pace().questions_at_once),
            None => CLOSED_AT_ONCE,
        };
        let unanswered = AtomicUsize::new(0);
        let mut done = Reconciled::default();
        let (all, mut begun) = (orders.len(), 0);
        let is_away = || unanswered.load(Ordering::Relaxed) >= AWAY_AFTER;
        let to_ask = orders
            .into_iter()
            .take_while(|_| !is_away())
            .inspect(|_| begun += 1);
        let ask = |order_no| async move { (order_no, self.look_at(order_no).await) };
        let mut answers = stream::iter(to_ask).map(ask).buffer_unordered(at_once.max(1));
        while let Some((order_no, found)) = answers.next().await {
            let found = found.inspect_err(|error| {
                tracing::warn!(%order_no, %error, "an order could not be reconciled");
            });
            if matches!(found, Err(Error::Unavailable { .. })) {
                unanswered.fetch_add(1, Ordering::Relaxed);
            } else {
                unanswered.store(0, Ordering::Relaxed);
            }
            done.count(order_no, found);
        }
        drop(answers);
        if let Some(left) = all.checked_sub(begun).filter(|left| *left > 0) {
            tracing::error!(
                channel = lane,
                orders = left,
                "the channel is away; its orders wait for the next sweep"
            );
            done.failed += u64::try_from(left).unwrap_or(u64::MAX);
        }
        done
    }

    /// Asks about an order, as it stands now: it may have been paid since the sweep read of it.
    async fn look_at(&self, order_no: OrderNo) -> Result<Found> {
        let Some(order) = self.find_order(order_no).await? else {
            return Ok(Found::Nothing);
        };
        match order.state.status {
            OrderStatus::Created if self.now() >= order.expires_at => {
                self.close_order(order_no).await?;
                Ok(Found::Closed)
            }
            OrderStatus::Paying => self.ask_about(&order).await,
            OrderStatus::Refunding => {
                let before = pending_refunds(&order);
                let pushed = self.push_refunds(order, AskedBy::Nobody).await;
                let ended = before.saturating_sub(pending_refunds(&pushed.order));
                match pushed.problem {
                    Some(error) if ended == 0 => Err(error),
                    _ => Ok(Found::Refunds(u64::try_from(ended).unwrap_or(0))),
                }
            }
            _ => Ok(Found::Nothing),
        }
    }

    async fn ask_about(&self, order: &Order) -> Result<Found> {
        let channel = self.channel(&order.channel)?;
        match asked(&*channel, channel.query(order, self.now())).await? {
            Standing::Paid(payment) => {
                self.settle(order, payment).await?;
                Ok(Found::Settled)
            }
            Standing::Closed => {
                let step = OrderStep::Close { channel_agrees: true };
                self.step(order.user_id, order.order_no, step, None).await?;
                Ok(Found::Closed)
            }
            Standing::Unknown | Standing::Unpaid if self.now() >= order.expires_at => {
                match self.close_order(order.order_no).await?.state.status {
                    OrderStatus::Closed => Ok(Found::Closed),
                    _ => Ok(Found::Settled),
                }
            }
            Standing::Unknown | Standing::Unpaid => Ok(Found::Nothing),
            Standing::Returned => Err(returned(order)),
        }
    }
}

impl Reconciled {
    fn count(&mut self, order_no: OrderNo, found: Result<Found>) {
        match found {
            Ok(Found::Nothing) => {}
            Ok(Found::Settled) => self.settled += 1,
            Ok(Found::Closed) => self.closed += 1,
            Ok(Found::Refunds(ended)) => self.refunds += ended,
            Err(error) => {
                self.failed += 1;
                self.name(order_no, error);
            }
        }
    }

    fn name(&mut self, order_no: OrderNo, error: Error) {
        if self.problems.len() < PROBLEMS_NAMED_MAX {
            self.problems.push((order_no, error));
        }
    }

    fn add(&mut self, other: Reconciled) {
        self.orders += other.orders;
        self.settled += other.settled;
        self.closed += other.closed;
        self.refunds += other.refunds;
        self.failed += other.failed;
        for (order_no, error) in other.problems {
            self.name(order_no, error);
        }
    }
}

/// A channel's answer, for which nobody waits without end.
pub(super) async fn asked<T>(channel: &dyn Channel, question: Asking<'_, T>) -> Result<T> {
    let patience = channel.pace().patience;
    let Ok(answer) = tokio::time::timeout(patience, question).await else {
        return Err(Error::Unavailable {
            outcome: Written::Unknown,
            reason: format!("{} has not answered within {patience:?}", channel.name()),
            remedy: "try again later; repeating the call is safe".into(),
        });
    };
    answer
}

/// The orders to look at, by where they are asked about. Each list is in the order of asking: what is likely to be paid
/// before what waits for a refund; the first order of each account, the newest of these first, before anybody's second.
fn lanes(newest_first: Vec<OpenOrderRow>, now: Timestamp) -> BTreeMap<Lane, Vec<OrderNo>> {
    let mut turns: HashMap<(Uuid, OrderStatus), u32> = HashMap::new();
    let mut lanes: BTreeMap<Lane, Vec<(bool, u32, OrderNo)>> = BTreeMap::new();
    for order in newest_first {
        let lane = match order.status {
            OrderStatus::Created if now >= order.expires_at => None,
            // Its channel knows nothing of it.
            OrderStatus::Created => continue,
            _ => Some(order.channel),
        };
        let turn = turns.entry((order.user_id, order.status)).or_default();
        let place = (order.status != OrderStatus::Paying, *turn, order.order_no);
        *turn += 1;
        lanes.entry(lane).or_default().push(place);
    }
    let in_order = |mut places: Vec<(bool, u32, OrderNo)>| {
        // Stable: the newest stay first.
        places.sort_by_key(|(is_unlikely, turn, _)| (*is_unlikely, *turn));
        places.into_iter().map(|(.., order_no)| order_no).collect()
    };
    lanes
        .into_iter()
        .map(|(lane, places)| (lane, in_order(places)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u128, user: u128, channel: &str, status: OrderStatus, expires: i64) -> OpenOrderRow {
        OpenOrderRow {
            order_no: OrderNo(Uuid::from_u128(n)),
            user_id: Uuid::from_u128(user),
            channel: channel.into(),
            status,
            expires_at: Timestamp::from_micros(expires),
        }
    }

    #[test]
    fn one_account_s_many_orders_wait_for_everybody_s_first() {
        use OrderStatus::{Created, Paying, Refunding};
        let now = Timestamp::from_micros(100);
        // The newest first: somebody's many, then others.
        let mut open: Vec<OpenOrderRow> = (20..50).rev().map(|n| row(n, 1, "wechat", Paying, 200)).collect();
        open.push(row(19, 2, "wechat", Refunding, 200));
        open.push(row(18, 2, "wechat", Paying, 200));
        open.push(row(17, 3, "wechat", Paying, 50));
        open.push(row(16, 3, "alipay", Paying, 200));
        open.push(row(15, 3, "wechat", Created, 200));
        open.push(row(14, 3, "wechat", Created, 100));
        let lanes = lanes(open, now);
        let numbers = |lane: Option<&str>| -> Vec<u128> {
            let lane = lanes.get(&lane.map(str::to_owned)).unwrap();
            lane.iter().map(|order_no| order_no.0.as_u128()).collect()
        };
        let wechat = numbers(Some("wechat"));
        assert_eq!(wechat[..5], [49, 18, 17, 48, 47]);
        assert_eq!((wechat.len(), wechat.last()), (33, Some(&19)));
        assert_eq!(numbers(Some("alipay")), [16]);
        // Over, and no channel knows of it; one that is not over needs nothing.
        assert_eq!(numbers(None), [14]);
    }
}
