//! What the rules decide on: an account, its lots and its holds.

use super::limits::CREDITS_MAX;
use super::{Hash, Metadata, Order, OrderNo, Source, Status, Timestamp};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An account's figures and the end of its journal, as last written down.
///
/// `available` and `held` do not know yet what has passed its deadline since: [`super::mature`] adds that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The owner.
    pub user_id: Uuid,
    /// Number of the last entry; 0 where there is none.
    pub seq: i64,
    /// Hash of the last entry.
    pub hash: Hash,
    /// What is left in the lots, less `debt`.
    pub available: i64,
    /// Sum of the pending holds.
    pub held: i64,
    /// Credits owed: taken on credit, or booked by a clawback or an overage. Never beside spendable credits.
    pub debt: i64,
    /// The part of `debt` that pending holds borrowed: releasing them gives it back.
    pub borrowed: i64,
    /// How far below zero `consume` may take `available`.
    pub credit_limit: i64,
    /// Credits ever issued, less those clawed back or corrected away.
    pub granted: i64,
    /// Credits ever captured, less those reversed.
    pub spent: i64,
    /// No pending hold has an earlier deadline. Only a bound: it may lie before the first one.
    pub next_hold_deadline: Option<Timestamp>,
    /// No lot with something left has an earlier expiry. Only a bound, as above.
    pub next_lot_deadline: Option<Timestamp>,
    /// When the first entry was written.
    pub created_at: Timestamp,
    /// When the last entry was written.
    pub updated_at: Timestamp,
}

impl Account {
    /// An account nobody has used yet.
    #[must_use]
    pub fn new(user_id: Uuid, now: Timestamp) -> Self {
        Account {
            user_id,
            seq: 0,
            hash: Hash::genesis(user_id),
            available: 0,
            held: 0,
            debt: 0,
            borrowed: 0,
            credit_limit: 0,
            granted: 0,
            spent: 0,
            next_hold_deadline: None,
            next_lot_deadline: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// What a new hold can take: `available` and the credit limit. Never negative.
    #[must_use]
    pub fn spendable(&self) -> i64 {
        self.available.saturating_add(self.credit_limit).max(0)
    }
}

/// Money paid, in the currency's minor unit (fen, cents).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// The amount in minor units: 990 is 9.90 CNY.
    pub minor: i64,
    /// ISO 4217 code, three capital letters.
    pub currency: String,
}

/// Credits granted together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lot {
    /// The lot.
    #[serde(rename = "id")]
    pub lot_id: Uuid,
    /// Where the credits came from.
    pub source: Source,
    /// Credits granted.
    pub amount: i64,
    /// Credits neither held nor used, expired or taken back.
    pub remaining: i64,
    /// Credits that expired.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: i64,
    /// Credits taken back: out of this lot, or as debt booked for those that were held or used (which may come back).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clawed: i64,
    /// Credits a clawback could not find and forgave: what comes back to this lot is taken first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub claim: i64,
    /// Lower burns first.
    pub priority: i32,
    /// When what is left expires; never where `None`.
    #[serde(default, rename = "expires_at_us", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// What was paid for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
    /// The caller's own name for it, such as an order number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// For a `reversal` lot, the lot where these credits were granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Uuid>,
    /// When it was granted.
    #[serde(rename = "created_at_us")]
    pub created_at: Timestamp,
}

/// Where a lot stands in the order in which lots burn: by priority, expiry, whether it was paid for, age and id.
pub type BurnOrder = (i32, i64, bool, Timestamp, Uuid);

pub(crate) const BEFORE_EVERY_LOT: BurnOrder = (
    i32::MIN,
    i64::MIN,
    false,
    Timestamp::from_micros(i64::MIN),
    Uuid::nil(),
);
#[cfg(feature = "engine")]
pub(crate) const AFTER_EVERY_LOT: BurnOrder = (
    i32::MAX,
    i64::MAX,
    true,
    Timestamp::from_micros(i64::MAX),
    Uuid::max(),
);

pub(super) fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl Lot {
    /// Whether its expiry has passed at `t`.
    #[must_use]
    pub fn has_expired(&self, t: Timestamp) -> bool {
        self.expires_at.is_some_and(|e| t >= e)
    }

    /// Expiry and id, where it expires: the order in which lots expire.
    pub(super) fn expiry(&self) -> Option<(Timestamp, Uuid)> {
        self.expires_at.map(|at| (at, self.lot_id))
    }

    /// What can be spent from it at `t`.
    pub(super) fn free(&self, t: Timestamp) -> i64 {
        if self.has_expired(t) {
            0
        } else {
            (self.remaining - self.claim).max(0)
        }
    }

    /// Sorts lots as rule **burn-order** says.
    #[must_use]
    pub fn burn_order(&self) -> BurnOrder {
        let expiry = self.expires_at.map_or(i64::MAX, Timestamp::as_micros);
        (
            self.priority,
            expiry,
            !self.source.is_promotional(),
            self.created_at,
            self.lot_id,
        )
    }
}

/// Credits of one lot that a consumption holds or has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Uuid, i64)", into = "(Uuid, i64)")]
pub struct Pin {
    /// The lot.
    pub lot_id: Uuid,
    /// Credits from it.
    pub amount: i64,
}

impl From<(Uuid, i64)> for Pin {
    fn from((lot_id, amount): (Uuid, i64)) -> Self {
        Pin { lot_id, amount }
    }
}

impl From<Pin> for (Uuid, i64) {
    fn from(pin: Pin) -> Self {
        (pin.lot_id, pin.amount)
    }
}

/// The part of a consumption that changes during its life, as the journal records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldState {
    /// How it stands.
    pub status: Status,
    /// Credits captured; more or less than `amount` where the real use differed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub captured: i64,
    /// Credits given back after capture.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reversed: i64,
    /// The part taken on credit. With `pins` it makes up what is held, or captured and not reversed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub borrowed: i64,
    /// The part taken from lots, in burn order.
    pub pins: Vec<Pin>,
    /// The deadline.
    #[serde(rename = "expires_at_us")]
    pub expires_at: Timestamp,
    /// When it was confirmed, refunded or expired.
    #[serde(default, rename = "settled_at_us", skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// The quantities really used, where what was captured is their price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
}

/// A consumption: a hold while pending, then confirmed, refunded or expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The consumption.
    pub consumption_id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// Credits held at first.
    pub amount: i64,
    /// What the credits are for.
    pub feature: Option<String>,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// The caller's own facts.
    pub metadata: Option<Metadata>,
    /// The quote that its amount came from, frozen.
    pub quote: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What changes.
    pub state: HoldState,
}

impl Hold {
    /// As it stands at `now`, whether or not anybody has written down yet that it expired.
    #[must_use]
    pub fn as_of(mut self, now: Timestamp) -> Self {
        if self.state.status == Status::Pending && now >= self.state.expires_at {
            self.state.status = Status::Expired;
            self.state.settled_at = Some(self.state.expires_at);
            self.state.borrowed = 0;
            self.state.pins.clear();
        }
        self
    }

    /// Whether it waits, and has borrowed something.
    pub(crate) fn is_borrowing(&self) -> bool {
        self.state.status == Status::Pending && self.state.borrowed > 0
    }

    /// Credits it keeps from being spent: its amount while pending, else none.
    pub(super) fn held(&self) -> i64 {
        if self.state.status == Status::Pending {
            self.amount
        } else {
            0
        }
    }
}

/// One account as the rules see it: its figures, its open lots, and those of its holds that matter to a command.
///
/// An account may have more of everything than a command needs, so a state may know a *part* of it. Its ends say which
/// part: nothing that they do not cover is decided upon ([`decide_on_part`](super::decide_on_part) says so instead).
///
/// What a store must load: the lots with something left, all of them or, with `lots_end`, the first in burn order; every
/// lot that a loaded hold is pinned to; the holds and lots that commands name; every pending hold that is due (or, with
/// `due_end`, the first of them); with `lots_end`, every lot that is due (or, with `due_lots_end`, the first of them);
/// and, where `account.borrowed > 0`, every pending hold that borrowed (or, with `borrowers_end`, the first of them). For
/// an order that a command names: the order, its lots, and the `reversal` lots with its number that have something left.
/// For a new order: the account's orders that wait for a payment and whose time is not over. For one of a package that
/// can't be bought without limit, and for a late payment of one: the account's orders of that package that are not closed.
/// For a payment: whether it was claimed before.
///
/// More may be known than the ends cover: lots that were loaded for another reason, or have just been made. What is known
/// beyond an end is not burned, or paid for, before everything up to it is known: the order would not be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The figures.
    pub account: Account,
    /// Lots by id. Shared: what is written, and what is kept, need no copies.
    pub lots: BTreeMap<Uuid, Arc<Lot>>,
    /// Holds by consumption id.
    pub holds: BTreeMap<Uuid, Arc<Hold>>,
    /// Lots of which only the changes of `expired` and `clawed` since a [checkpoint](super::Checkpoint) are known.
    pub floating: BTreeSet<Uuid>,
    /// Orders by number.
    pub orders: BTreeMap<OrderNo, Order>,
    /// Payments that settled an order before, whosever: channel and transaction, and the order. Of those that commands name.
    pub claims: BTreeMap<(String, String), OrderNo>,
    /// Where more holds are due than were loaded: deadline and id of the last that was, in order of these. Others
    /// that are due may have been loaded for another reason; only [`super::mature_loaded`] may be done.
    pub due_end: Option<(Timestamp, Uuid)>,
    /// Where more lots have something left than are known: where the last of those stands before which all are known.
    pub lots_end: Option<BurnOrder>,
    /// Where more lots are due than are known: expiry and id of the last that is, in order of these. As with `due_end`,
    /// only [`super::mature_loaded`] may be done.
    pub due_lots_end: Option<(Timestamp, Uuid)>,
    /// Where more pending holds have borrowed than are known: the id of the last of those, in order of ids, before which all
    /// are. Nil where none is.
    pub borrowers_end: Option<Uuid>,
    /// For balances, where `lots_end` is set. Where more lots will expire than are known: expiry and id of the last that is.
    pub expiring_end: Option<(Timestamp, Uuid)>,
}

impl State {
    /// An account nobody has used yet.
    #[must_use]
    pub fn new(user_id: Uuid, now: Timestamp) -> Self {
        State {
            account: Account::new(user_id, now),
            lots: BTreeMap::new(),
            holds: BTreeMap::new(),
            floating: BTreeSet::new(),
            orders: BTreeMap::new(),
            claims: BTreeMap::new(),
            due_end: None,
            lots_end: None,
            due_lots_end: None,
            borrowers_end: None,
            expiring_end: None,
        }
    }

    /// Whether every figure and time is one that the rules could have made. The rules count on it: what they add up then
    /// stays far from the largest `i64`. Rows that somebody has changed may break it, and only those.
    ///
    /// # Errors
    /// What is out of range.
    pub fn check_ranges(&self) -> Result<(), &'static str> {
        let credits = |figure: i64| (0..=CREDITS_MAX).contains(&figure);
        let a = &self.account;
        let is_ok = [
            a.held,
            a.debt,
            a.borrowed,
            a.credit_limit,
            a.granted,
            a.spent,
            a.seq,
        ]
        .into_iter()
        .all(credits)
            && (-CREDITS_MAX..=CREDITS_MAX).contains(&a.available);
        if !is_ok {
            return Err("a figure of the account is out of range");
        }
        let mut left = 0_i64;
        for lot in self.lots.values() {
            if ![lot.amount, lot.remaining, lot.expired, lot.clawed, lot.claim]
                .into_iter()
                .all(credits)
            {
                return Err("a figure of a lot is out of range");
            }
            left = left.saturating_add(lot.remaining);
        }
        let (mut held, mut borrowed) = (0_i64, 0_i64);
        for hold in self.holds.values() {
            let state = &hold.state;
            let pinned = state.pins.iter().map(|pin| pin.amount);
            if ![hold.amount, state.captured, state.reversed, state.borrowed]
                .into_iter()
                .chain(pinned)
                .all(credits)
            {
                return Err("a figure of a consumption is out of range");
            }
            if state.status == Status::Pending {
                held = held.saturating_add(hold.amount);
                borrowed = borrowed.saturating_add(state.borrowed);
            }
        }
        // What is left pays for the debt too, so there may be as much as both together.
        if left > 2 * CREDITS_MAX || held > CREDITS_MAX || borrowed > CREDITS_MAX {
            return Err("its lots or holds are more than an account can have");
        }
        for order in self.orders.values() {
            let state = &order.state;
            let refunds = state.refunds.iter();
            let refunded = refunds.clone().map(|refund| refund.minor);
            let taken = refunds.flat_map(|refund| &refund.lots);
            let taken = taken.flat_map(|lot| [lot.taken, lot.forgiven, lot.debt]);
            if ![order.credits, order.bonus_credits, order.price.minor]
                .into_iter()
                .chain(refunded)
                .chain(taken)
                .all(credits)
            {
                return Err("a figure of an order is out of range");
            }
        }
        let times = [
            Some(a.created_at),
            Some(a.updated_at),
            a.next_hold_deadline,
            a.next_lot_deadline,
        ];
        let of_lots = self
            .lots
            .values()
            .flat_map(|lot| [Some(lot.created_at), lot.expires_at]);
        let of_holds = self.holds.values().flat_map(|hold| {
            [
                Some(hold.created_at),
                Some(hold.state.expires_at),
                hold.state.settled_at,
            ]
        });
        let mut times = times.into_iter().chain(of_lots).chain(of_holds).flatten();
        if times.any(|at| !at.in_range()) {
            return Err("a time is out of range");
        }
        Ok(())
    }

    /// Adds a lot, or takes the place of the one with its id.
    pub fn put_lot(&mut self, lot: impl Into<Arc<Lot>>) {
        let lot = lot.into();
        self.lots.insert(lot.lot_id, lot);
    }

    /// Adds a hold, or takes the place of the one with its id.
    pub fn put_hold(&mut self, hold: impl Into<Arc<Hold>>) {
        let hold = hold.into();
        self.holds.insert(hold.consumption_id, hold);
    }

    /// Takes note of the holds that are due, given in order, of which only the first `max` are to be loaded.
    pub fn note_due(&mut self, due: &mut Vec<Hold>, max: usize) {
        if due.len() > max {
            due.truncate(max);
            self.due_end = due
                .last()
                .map(|hold| (hold.state.expires_at, hold.consumption_id));
        }
    }

    /// Takes note that of the lots with something left only the first `max` in burn order are surely known: those, and one
    /// more where there is one.
    pub fn note_open(&mut self, max: usize) {
        if self.lots.len() <= max {
            return;
        }
        let open = self.lots.values().filter(|lot| lot.remaining > 0);
        let mut open: Vec<BurnOrder> = open.map(|lot| lot.burn_order()).collect();
        if open.len() > max {
            open.sort_unstable();
            let last = max.checked_sub(1).and_then(|last| open.get(last));
            self.lots_end = Some(last.copied().unwrap_or(BEFORE_EVERY_LOT));
        }
    }

    /// The same as for holds that are due for lots, in order of expiry and id.
    pub fn note_due_lots(&mut self, due: &mut Vec<Lot>, max: usize) {
        if due.len() > max {
            due.truncate(max);
            self.due_lots_end = due.last().and_then(Lot::expiry);
        }
    }

    /// The same for lots that will expire.
    pub fn note_expiring(&mut self, expiring: &mut Vec<Lot>, max: usize) {
        if expiring.len() > max {
            expiring.truncate(max);
            self.expiring_end = expiring.last().and_then(Lot::expiry);
        }
    }

    /// The same for pending holds that have borrowed, in order of ids.
    pub fn note_borrowers(&mut self, borrowers: &mut Vec<Hold>, max: usize) {
        if borrowers.len() > max {
            borrowers.truncate(max);
            self.borrowers_end = Some(borrowers.last().map_or(Uuid::nil(), |hold| hold.consumption_id));
        }
    }

    /// Whether more is due than is known.
    #[must_use]
    pub fn is_due_in_parts(&self) -> bool {
        self.due_end.is_some() || self.due_lots_end.is_some()
    }
}
