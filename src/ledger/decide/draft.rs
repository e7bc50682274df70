//! A command's work on the books before it is accepted.
//!
//! A draft copies what it touches and nothing else, so deciding stays cheap beside a thousand other holds. Every
//! change goes through a few primitives that record it in the entry under way; [`Draft::seal`] closes the entry.
//! Dropping the draft is the whole of a refusal.

use crate::ledger::apply::change_lot;
use crate::ledger::check::invalid;
use crate::ledger::limits::CREDITS_MAX;
use crate::ledger::{
    Account, BurnOrder, Command, Effects, Entry, Hash, Hold, HoldState, Kind, Lot, LotChange, Order, OrderNo,
    Pin, Refusal, Rules, State, Status, Timestamp, id,
};
use alloc::{
    borrow::{Cow, ToOwned},
    boxed::Box,
    collections::{BTreeMap, BTreeSet, VecDeque},
    string::String,
    sync::Arc,
    vec::{self, Vec},
};
use uuid::Uuid;

pub(super) struct Draft<'a> {
    base: &'a State,
    command: Option<&'a Command>,
    pub(super) now: Timestamp,
    pub(super) rules: &'a Rules,
    pub(super) account: Account,
    lots: BTreeMap<Uuid, Arc<Lot>>,
    holds: BTreeMap<Uuid, Arc<Hold>>,
    entries: Vec<Entry>,
    /// The entry under way.
    effects: Effects,
    change: i64,
    held_change: i64,
    ids: u64,
    /// As in [`State`]; `None` where the state is taken for all there is.
    lots_end: Option<BurnOrder>,
    borrowers_end: Option<Uuid>,
    /// Something was needed that the state does not know: whatever came of it does not count.
    lacks: bool,
    /// While deadlines are applied, of which there may be many.
    pub(super) queues: Option<Queues>,
    /// What the entry under way has left of a payment: the entries that continue it go on with it.
    unpaid: Option<Payment>,
}

/// Lots and holds in the orders in which they are asked for, so that none is looked for among all others again and again.
pub(super) struct Queues {
    /// Lots that may have something left at their expiry.
    pub(super) expiries: BTreeSet<(Timestamp, Uuid)>,
    /// Lots with something left.
    open: BTreeSet<BurnOrder>,
    /// Pending holds that have borrowed.
    borrowers: BTreeSet<Uuid>,
}

impl Queues {
    fn note_open(&mut self, lot: &Lot) {
        if lot.remaining > 0 {
            self.open.insert(lot.burn_order());
        } else {
            self.open.remove(&lot.burn_order());
        }
    }
}

/// Credits that are paid for what holds have borrowed.
struct Payment {
    purse: Purse,
    borrowers: vec::IntoIter<Arc<Hold>>,
}

/// The first lots that can be spent, in burn order, each with what is there to be spent.
type Purse = VecDeque<(BurnOrder, i64)>;

/// What an entry is about; the rest of it the draft knows.
#[derive(Default, Clone)]
pub(super) struct About {
    pub(super) consumption_id: Option<Uuid>,
    pub(super) lot_id: Option<Uuid>,
    pub(super) reference: Option<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(state: &'a State, command: &'a Command, now: Timestamp, rules: &'a Rules) -> Self {
        Draft {
            command: Some(command),
            ..Draft::without_command(state, now, rules)
        }
    }

    pub(super) fn without_command(state: &'a State, now: Timestamp, rules: &'a Rules) -> Self {
        Draft {
            base: state,
            command: None,
            now,
            rules,
            account: state.account.clone(),
            lots: BTreeMap::new(),
            holds: BTreeMap::new(),
            entries: Vec::new(),
            effects: Effects::default(),
            change: 0,
            held_change: 0,
            ids: 0,
            lots_end: None,
            borrowers_end: None,
            lacks: false,
            queues: None,
            unpaid: None,
        }
    }

    /// Takes the state for a part of what there is, as far as its ends say so.
    pub(super) fn of_part(mut self) -> Self {
        self.lots_end = self.base.lots_end;
        self.borrowers_end = self.base.borrowers_end;
        self
    }

    /// Whether something was needed that the state does not know.
    pub(super) fn lacks(&self) -> bool {
        self.lacks
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn finish(self) -> Vec<Entry> {
        self.entries
    }

    /// Whether the command under way came with a key.
    pub(super) fn has_key(&self) -> bool {
        self.command.is_some_and(|c| c.idempotency_key.is_some())
    }

    // What the books say, with the draft's changes.

    pub(super) fn lot(&self, lot_id: Uuid) -> Option<&Arc<Lot>> {
        self.lots.get(&lot_id).or_else(|| self.base.lots.get(&lot_id))
    }

    pub(super) fn hold(&self, consumption_id: Uuid) -> Option<&Arc<Hold>> {
        self.holds
            .get(&consumption_id)
            .or_else(|| self.base.holds.get(&consumption_id))
    }

    /// As it was when the command came: a command changes its order once.
    pub(super) fn order(&self, order_no: OrderNo) -> Option<&Order> {
        self.base.orders.get(&order_no)
    }

    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.base.orders.values()
    }

    /// The order that a payment has settled.
    pub(super) fn claimed_by(&self, channel: &str, transaction_id: &str) -> Option<OrderNo> {
        let payment = (channel.to_owned(), transaction_id.to_owned());
        self.base.claims.get(&payment).copied()
    }

    pub(super) fn lots(&self) -> impl Iterator<Item = &Arc<Lot>> {
        let untouched = self
            .base
            .lots
            .values()
            .filter(|lot| !self.lots.contains_key(&lot.lot_id));
        self.lots.values().chain(untouched)
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Arc<Hold>> {
        let untouched = self
            .base
            .holds
            .values()
            .filter(|h| !self.holds.contains_key(&h.consumption_id));
        self.holds
            .values()
            .chain(untouched)
            .filter(|h| h.state.status == Status::Pending)
    }

    // Changes, each recorded in the entry under way.

    /// An id for something that the entry under way makes at `at`.
    pub(super) fn new_id(&mut self, at: Timestamp) -> Uuid {
        let id = id::derive(
            self.account.user_id,
            self.account.seq + 1,
            &self.account.hash,
            self.ids,
            at,
        );
        self.ids += 1;
        id
    }

    pub(super) fn add_lot(&mut self, lot: Lot) {
        self.change += lot.remaining;
        if let Some(queues) = &mut self.queues {
            queues.expiries.extend(lot.expiry());
            queues.note_open(&lot);
        }
        self.effects.new_lots.push(lot.clone());
        self.lots.insert(lot.lot_id, Arc::new(lot));
    }

    /// Changes a lot; the caller has made sure that it is there and that it has what is taken. Where the books are damaged
    /// that may fail: [`apply`](crate::ledger::apply) says so of the entry, which has the change in any case.
    pub(super) fn change_lot(&mut self, change: LotChange) {
        let Some(mut lot) = self.lot(change.lot).cloned() else {
            self.effects.lots.push(change);
            return;
        };
        let _ = change_lot(Arc::make_mut(&mut lot), &change);
        if let Some(queues) = &mut self.queues {
            queues.note_open(&lot);
        }
        self.change += change.remaining;
        self.effects.lots.push(change);
        self.lots.insert(lot.lot_id, lot);
    }

    pub(super) fn add_hold(&mut self, hold: Hold) {
        self.held_change += hold.held();
        self.effects.hold = Some(hold.state.clone());
        self.account.note_hold_deadline(hold.state.expires_at);
        let hold = Arc::new(hold);
        self.holds.insert(hold.consumption_id, Arc::clone(&hold));
        self.effects.new_hold = Some(hold);
    }

    /// The consumption that the entry is about stands like this afterwards.
    pub(super) fn set_hold(&mut self, hold: &Hold, state: HoldState) {
        let after = Hold {
            state,
            ..hold.clone()
        };
        self.held_change += after.held() - hold.held();
        self.effects.hold = Some(after.state.clone());
        self.put_hold(Arc::new(after));
    }

    fn put_hold(&mut self, hold: Arc<Hold>) {
        if let Some(queues) = self.queues.as_mut().filter(|_| !hold.is_borrowing()) {
            queues.borrowers.remove(&hold.consumption_id);
        }
        self.holds.insert(hold.consumption_id, hold);
    }

    /// The order stands like this afterwards.
    pub(super) fn set_order(&mut self, order: Order) {
        self.effects.order = Some(Box::new(order));
    }

    /// `borrowed` is the part of the change that belongs to pending holds.
    pub(super) fn change_debt(&mut self, debt: i64, borrowed: i64) {
        self.change -= debt;
        self.effects.debt += debt;
        self.effects.borrowed += borrowed;
    }

    pub(super) fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }

    /// Begins to keep [`Queues`], with the lots that expire up to `until`. Also those that are empty: what a hold gives back
    /// may come to them.
    pub(super) fn queue_up(&mut self, until: Timestamp) {
        let expiries = self.lots().filter_map(|lot| lot.expiry());
        let open = self.lots().filter(|lot| lot.remaining > 0);
        let borrowers = self.pending().filter(|hold| hold.is_borrowing());
        self.queues = Some(Queues {
            expiries: expiries.filter(|(at, _)| *at <= until).collect(),
            open: open.map(|lot| lot.burn_order()).collect(),
            borrowers: borrowers.map(|hold| hold.consumption_id).collect(),
        });
    }

    /// The first lots that can be spent at `t`, in burn order: those that hold `wanted`, or all that there are. As far as all
    /// before them are known.
    fn purse(&self, wanted: i64, t: Timestamp) -> Purse {
        let end = self.lots_end;
        let spendable = |lot: &Arc<Lot>| {
            let (order, free) = (lot.burn_order(), lot.free(t));
            (free > 0 && end.is_none_or(|end| order <= end)).then_some((order, free))
        };
        let Some(queues) = &self.queues else {
            let mut lots: Vec<_> = self.lots().filter_map(spendable).collect();
            lots.sort_unstable();
            return lots.into();
        };
        let open = queues.open.iter().filter_map(|(.., lot_id)| self.lot(*lot_id));
        enough(open.filter_map(spendable), wanted, |(_, free)| *free).collect()
    }

    /// Takes up to `amount` out of the lots that can be spent at `t`, in burn order. Less where there is less.
    pub(super) fn burn(&mut self, amount: i64, t: Timestamp) -> Vec<Pin> {
        if amount == 0 {
            return Vec::new();
        }
        self.draw(&mut self.purse(amount, t), amount)
    }

    /// Takes up to `amount` out of a purse, and out of its lots.
    fn draw(&mut self, purse: &mut Purse, amount: i64) -> Vec<Pin> {
        let mut left = amount;
        let mut pins = Vec::new();
        while let Some(((.., lot_id), free)) = purse.front_mut().filter(|_| left > 0) {
            let (lot_id, taken) = (*lot_id, left.min(*free));
            *free -= taken;
            left -= taken;
            if *free == 0 {
                purse.pop_front();
            }
            pins.push(Pin {
                lot_id,
                amount: taken,
            });
            self.change_lot(LotChange {
                remaining: -taken,
                ..LotChange::of(lot_id)
            });
        }
        self.lacks |= left > 0 && self.lots_end.is_some();
        pins
    }

    /// Pays debt with what can be spent at `t`, so that the two never stand beside each other: first what is owed
    /// for good, then what pending holds borrowed, which from then on are pinned to the lots that paid.
    pub(super) fn pay_debt(&mut self, t: Timestamp) {
        let debt = self.account.debt + self.effects.debt;
        if debt == 0 {
            return;
        }
        let owed = debt - self.account.borrowed - self.effects.borrowed;
        let mut purse = self.purse(debt, t);
        let paid: i64 = self.draw(&mut purse, owed).iter().map(|pin| pin.amount).sum();
        self.change_debt(-paid, 0);
        if paid < owed || debt == owed {
            return;
        }
        // Mostly there is nothing to pay with, and borrowers may be many.
        let borrowers = if purse.is_empty() {
            Vec::new()
        } else {
            self.borrowers(purse.iter().map(|(_, free)| free).sum())
        };
        self.pay_borrowers(Payment {
            purse,
            borrowers: borrowers.into_iter(),
        });
    }

    /// The pending holds that borrowed `credits`, or all that there are, in order of ids: as far as all before them are known.
    fn borrowers(&self, credits: i64) -> Vec<Arc<Hold>> {
        let end = self.borrowers_end;
        let is_known = |hold: &&Arc<Hold>| end.is_none_or(|end| hold.consumption_id <= end);
        let Some(queues) = &self.queues else {
            let borrowing = self.pending().filter(|hold| hold.is_borrowing());
            let mut borrowing: Vec<Arc<Hold>> = borrowing.filter(is_known).cloned().collect();
            borrowing.sort_unstable_by_key(|hold| hold.consumption_id);
            return borrowing;
        };
        let borrowing = queues.borrowers.iter().filter_map(|id| self.hold(*id));
        enough(borrowing.filter(is_known), credits, |hold| hold.state.borrowed)
            .cloned()
            .collect()
    }

    /// Pays for what holds have borrowed, one after the other: as many as an entry has room for. Others wait for the entry
    /// that continues it.
    fn pay_borrowers(&mut self, mut payment: Payment) {
        let mut room = self.rules.entry_room;
        while let Some(mut hold) = payment.borrowers.next() {
            let pins = self.draw(&mut payment.purse, hold.state.borrowed);
            let paid: i64 = pins.iter().map(|pin| pin.amount).sum();
            if paid == 0 {
                return;
            }
            let state = &mut Arc::make_mut(&mut hold).state;
            merge(&mut state.pins, pins);
            state.borrowed -= paid;
            room = room.saturating_sub(1 + state.pins.len());
            self.change_debt(-paid, -paid);
            self.effects
                .funded
                .push((hold.consumption_id, hold.state.clone()));
            self.put_hold(hold);
            if room == 0 && !payment.purse.is_empty() && !payment.borrowers.as_slice().is_empty() {
                self.unpaid = Some(payment);
                return;
            }
        }
        let borrowed = self.account.borrowed + self.effects.borrowed;
        let may_be_more = self.borrowers_end.is_some() && !payment.purse.is_empty();
        self.lacks |= borrowed > 0 && (self.lots_end.is_some() || may_be_more);
    }

    /// Closes the entry under way. `t` is when it takes effect (a deadline may lie before `now`).
    pub(super) fn seal(&mut self, kind: Kind, counter_account: Cow<'static, str>, about: About) {
        self.close(kind, counter_account, about, None);
    }

    /// Closes the entry that records the command itself: it carries the command's key.
    pub(super) fn seal_command(&mut self, kind: Kind, counter_account: Cow<'static, str>, about: About) {
        let key = self
            .command
            .and_then(|c| Some((c.idempotency_key.clone()?, c.fingerprint())));
        self.close(kind, counter_account, about, key);
    }

    /// Closes the entry under way, and writes those that continue it: of its kind and about the same, but without credits and
    /// without a key. So no entry is longer than [`Rules::entry_room`] lets it be, however many holds a payment is for.
    fn close(
        &mut self,
        kind: Kind,
        counter_account: Cow<'static, str>,
        about: About,
        key: Option<(String, Hash)>,
    ) {
        let same = self.unpaid.is_some().then(|| about.clone());
        self.record(kind, counter_account, about, key);
        let first = self.account.seq;
        while let (Some(payment), Some(about)) = (self.unpaid.take(), &same) {
            self.effects.continues = Some(first);
            self.pay_borrowers(payment);
            self.record(kind, Cow::Borrowed("none"), about.clone(), None);
        }
    }

    fn record(
        &mut self,
        kind: Kind,
        counter_account: Cow<'static, str>,
        about: About,
        key: Option<(String, Hash)>,
    ) {
        let (idempotency_key, request_hash) = key.unzip();
        let entry = Entry {
            user_id: self.account.user_id,
            seq: 0,
            kind,
            change: core::mem::take(&mut self.change),
            held_change: core::mem::take(&mut self.held_change),
            available: 0,
            held: 0,
            counter_account,
            consumption_id: about.consumption_id,
            lot_id: about.lot_id,
            reference: about.reference,
            idempotency_key,
            request_hash,
            effects: core::mem::take(&mut self.effects),
            data: String::new(),
            created_at: self.now,
            hash: self.account.hash,
        };
        // Where the books are damaged this may fail; `apply` says so.
        let _ = self.account.record(&entry);
        self.ids = 0;
        // Mostly there is just one, and room for more would be large.
        self.entries.reserve_exact(1);
        self.entries.push(entry.seal(&mut self.account));
    }

    /// Refuses what would take any figure past 2^53 - 1: what no rule has foreseen must not get into the books. What becomes
    /// due later takes none there: it moves credits between figures whose sums are looked at here.
    pub(super) fn check_figures(&self) -> Result<(), Refusal> {
        let a = &self.account;
        let account = [
            a.available,
            a.held,
            a.available.saturating_add(a.held),
            a.debt,
            a.borrowed,
            a.credit_limit,
            a.granted,
            a.spent,
        ];
        let lots = self.lots.values().map(|lot| lot.clawed.saturating_add(lot.claim));
        let holds = self.holds.values().map(|hold| &hold.state);
        let holds = holds.flat_map(|state| [state.captured, state.reversed, state.borrowed]);
        let past = |figure: &i64| figure.unsigned_abs() > CREDITS_MAX.unsigned_abs();
        match account.into_iter().chain(lots).chain(holds).find(past) {
            None => Ok(()),
            Some(figure) => Err(invalid(
                "amount",
                "would take a figure of the account past the limit",
                CREDITS_MAX,
                figure,
            )),
        }
    }

    /// Refuses what would take a figure past 2^53 - 1: not exact in JSON any more.
    pub(super) fn check_ceiling(&self, field: &'static str, figure: i64, more: i64) -> Result<(), Refusal> {
        if figure
            .checked_add(more)
            .is_some_and(|sum| sum.abs() <= CREDITS_MAX)
        {
            Ok(())
        } else {
            Err(invalid(
                field,
                "would take a figure of the account past the limit",
                CREDITS_MAX,
                more,
            ))
        }
    }
}

/// The first of these whose `credits` are `wanted` or more together; all where they are less.
fn enough<T>(
    from: impl Iterator<Item = T>,
    wanted: i64,
    credits: impl Fn(&T) -> i64,
) -> impl Iterator<Item = T> {
    from.scan(wanted, move |left, next| {
        let more = *left > 0;
        *left = left.saturating_sub(credits(&next));
        more.then_some(next)
    })
}

/// Adds pins, each of another lot: one for each lot, at its first place.
pub(super) fn merge(pins: &mut Vec<Pin>, more: Vec<Pin>) {
    if pins.is_empty() {
        *pins = more;
        return;
    }
    let mut more: Vec<(usize, Pin)> = more.into_iter().enumerate().collect();
    more.sort_unstable_by_key(|(_, pin)| pin.lot_id);
    for pin in pins.iter_mut() {
        if let Ok(place) = more.binary_search_by_key(&pin.lot_id, |(_, pin)| pin.lot_id)
            && let Some((_, same)) = more.get_mut(place)
        {
            pin.amount += core::mem::take(&mut same.amount);
        }
    }
    more.sort_unstable_by_key(|(place, _)| *place);
    let new = more.into_iter().map(|(_, pin)| pin);
    pins.extend(new.filter(|pin| pin.amount > 0));
}

impl LotChange {
    pub(super) fn of(lot: Uuid) -> Self {
        LotChange {
            lot,
            remaining: 0,
            expired: 0,
            clawed: 0,
            claim: 0,
        }
    }
}
