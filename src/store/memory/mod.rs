//! A store in memory, for tests: ordered maps under one lock, and nothing that could be clever.

mod anchors;
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
mod retention;

use super::retention::ArchiveFile;
use super::{
    Claim, Committer, Due, EntryFilter, Extent, GiftRow, HoldFilter, Inspected, KeyScope, Loaded,
    LoadedAccount, Needs, OddTime, OpenOrderRow, OrderFilter, OrderNeed, Page, Reader, Reading, Snapshot,
    StoreError, StoreResult, StoredEntry, StoredOrder, Sums, Writes,
};
use crate::catalogue::{CatalogueChange, CatalogueRows, Package};
use crate::ledger::{
    AFTER_EVERY_LOT, Account, BEFORE_EVERY_LOT, BurnOrder, Checkpoint, Effects, Entry, Hash, Hold, Lot,
    Order, OrderNo, OrderStatus, Prior, Source, State, Status, Timestamp,
};
use crate::stats::PendingHolds;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::{Bound, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Books in memory. Clones share them, so that several ledgers can work on the same books as several processes on one
/// database would; they last as long as the last clone.
#[derive(Debug, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    /// Of this clone only: a ledger that is closed leaves the books to the others.
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Shared {
    books: Mutex<Books>,
    unlocked: Condvar,
    committers: AtomicU64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Books {
    pub(crate) accounts: BTreeMap<Uuid, Account>,
    pub(crate) lots: BTreeMap<(Uuid, Uuid), Lot>,
    pub(crate) holds: BTreeMap<(Uuid, Uuid), Hold>,
    /// Lots with something left, in burn order, by account; and those of them that expire, in order of that.
    open: BTreeSet<(Uuid, BurnOrder)>,
    expiring: BTreeSet<(Uuid, (Timestamp, Uuid))>,
    /// Of these, `reversal` lots by reference.
    reversed: BTreeSet<(Uuid, String, Uuid)>,
    /// Pending holds by deadline, by account; and those of them that have borrowed, by id.
    pending: BTreeSet<(Uuid, (Timestamp, Uuid))>,
    borrowing: BTreeSet<(Uuid, Uuid)>,
    /// Whose a consumption is.
    owners: HashMap<Uuid, Uuid>,
    /// By account and number.
    pub(crate) entries: BTreeMap<(Uuid, i64), Entry>,
    /// The number of the entry that carries a key.
    keys: HashMap<(Uuid, String), i64>,
    pub(crate) gifts: BTreeMap<(Uuid, Uuid), GiftRow>,
    pub(crate) orders: BTreeMap<(Uuid, OrderNo), Order>,
    /// By channel and transaction.
    pub(crate) claims: BTreeMap<(String, String), Claim>,
    checkpoints: BTreeMap<Uuid, Checkpoint>,
    /// The hash of the entry before each one that stayed.
    kept: BTreeMap<(Uuid, i64), Hash>,
    archived_sums: BTreeMap<String, i128>,
    #[cfg_attr(not(feature = "archive"), allow(dead_code))]
    archives: Vec<ArchiveFile>,
    catalogue: CatalogueRows,
    package_versions: BTreeMap<(Uuid, u32), Package>,
    tree: anchors::Tree,
    /// The committer that asked for a lock and has not appended yet.
    locked_by: Option<u64>,
}

impl MemoryStore {
    /// Empty books.
    #[must_use]
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// The writing side.
    pub(crate) fn committer(&self) -> MemoryCommitter {
        let number = self.shared.committers.fetch_add(1, Ordering::Relaxed);
        MemoryCommitter {
            number,
            shared: Arc::clone(&self.shared),
        }
    }

    /// The books as they are now, for a test to damage.
    #[cfg(test)]
    pub(crate) fn copy(&self) -> Books {
        self.shared.books().clone()
    }

    fn read<T: Send + 'static>(&self, f: impl FnOnce(&Books) -> T) -> Reading<'_, T> {
        let result = if self.closed.load(Ordering::SeqCst) {
            Err(StoreError::Lost("the store is closed".into()))
        } else {
            Ok(f(&self.shared.books()))
        };
        ready(result)
    }

    fn write<T: Send + 'static>(&self, f: impl FnOnce(&mut Books) -> StoreResult<T>) -> Reading<'_, T> {
        if self.closed.load(Ordering::SeqCst) {
            return ready(Err(StoreError::Lost("the store is closed".into())));
        }
        ready(f(&mut self.shared.books()))
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        MemoryStore {
            shared: Arc::clone(&self.shared),
            closed: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// A panic while the lock was held can't have left half a write: `append` checks everything before it writes.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books, once no other committer has them locked.
    fn books_for(&self, committer: u64) -> MutexGuard<'_, Books> {
        let mut books = self.books();
        while books.locked_by.is_some_and(|other| other != committer) {
            books = self.unlocked.wait(books).unwrap_or_else(PoisonError::into_inner);
        }
        books
    }

    fn unlock(&self, committer: u64) {
        let mut books = self.books();
        if books.locked_by == Some(committer) {
            books.locked_by = None;
            self.unlocked.notify_all();
        }
    }
}

/// The writing side of a [`MemoryStore`].
#[derive(Debug)]
pub(crate) struct MemoryCommitter {
    number: u64,
    shared: Arc<Shared>,
}

impl Drop for MemoryCommitter {
    fn drop(&mut self) {
        self.shared.unlock(self.number);
    }
}

impl Committer for MemoryCommitter {
    async fn load(&mut self, needs: &Needs) -> StoreResult<Loaded> {
        if !needs.lock {
            self.shared.unlock(self.number);
            return Ok(self.shared.books().load(needs));
        }
        let mut books = self.shared.books_for(self.number);
        books.locked_by = Some(self.number);
        Ok(books.load(needs))
    }

    async fn append(&mut self, writes: &Writes) -> StoreResult<Vec<Uuid>> {
        let stale = self.shared.books_for(self.number).append(writes);
        self.shared.unlock(self.number);
        Ok(stale)
    }

    async fn landed(&mut self, entries: &[(Uuid, i64, Hash)]) -> StoreResult<Vec<bool>> {
        let books = self.shared.books();
        let landed = |(user_id, seq, hash): &(Uuid, i64, Hash)| {
            books
                .entry(*user_id, *seq)
                .is_some_and(|entry| entry.hash == *hash)
        };
        Ok(entries.iter().map(landed).collect())
    }

    async fn reconnect(&mut self) -> StoreResult<()> {
        self.shared.unlock(self.number);
        Ok(())
    }
}

impl Books {
    fn load(&self, needs: &Needs) -> Loaded {
        let mut loaded = Loaded::default();
        let mut named: BTreeMap<Uuid, Vec<Hold>> = BTreeMap::new();
        for id in &needs.consumptions {
            if let Some(hold) = self.hold(*id) {
                loaded.owners.insert(*id, hold.user_id);
                named.entry(hold.user_id).or_default().push(hold.clone());
            }
        }
        let wanted: BTreeSet<Uuid> = needs.accounts.iter().chain(named.keys()).copied().collect();
        let known: HashMap<Uuid, Hash> = needs.known.iter().copied().collect();
        for user_id in wanted {
            let is_as_known = |account: &Account| known.get(&user_id) == Some(&account.hash);
            let unchanged = self.accounts.get(&user_id).is_some_and(is_as_known);
            if unchanged && !named.contains_key(&user_id) {
                continue;
            }
            let extent = needs.extent(&user_id);
            let mut account = self.account(user_id, needs.now, named.remove(&user_id), extent);
            for (_, lot_id) in needs.lots.iter().filter(|(owner, _)| *owner == user_id) {
                if let Some(lot) = self.lots.get(&(user_id, *lot_id)) {
                    account.state.put_lot(lot.clone());
                }
            }
            let now = needs.now.unwrap_or(Timestamp::MIN);
            for (_, need) in needs.orders.iter().filter(|(owner, _)| *owner == user_id) {
                self.put_orders(*need, now, &mut account.state);
                if let OrderNeed::Number(order_no) = need {
                    let number = order_no.to_string();
                    let range = (user_id, number.clone(), Uuid::nil())..=(user_id, number, Uuid::max());
                    let lots = self.reversed.range(range);
                    let lots = lots.filter_map(|(_, _, lot_id)| self.lots.get(&(user_id, *lot_id)));
                    lots.for_each(|lot| account.state.put_lot(lot.clone()));
                }
            }
            for (_, order_no, transaction_id) in needs.payments.iter().filter(|(owner, ..)| *owner == user_id)
            {
                self.put_payment(*order_no, transaction_id, now, &mut account.state);
            }
            loaded.accounts.insert(user_id, account);
        }
        for (scope, key) in &needs.keys {
            let owner = match scope {
                KeyScope::Account(user_id) => Some(*user_id),
                KeyScope::Consumption(id) => self.owners.get(id).copied(),
            };
            let Some(user_id) = owner else { continue };
            let carried = self
                .keys
                .get(&(user_id, key.clone()))
                .and_then(|seq| self.entry(user_id, *seq));
            if let Some(entry) = carried {
                let hold = entry
                    .consumption_id
                    .and_then(|id| self.holds.get(&(user_id, id)))
                    .cloned();
                loaded.priors.insert(
                    (user_id, key.clone()),
                    Prior {
                        entry: entry.clone(),
                        hold,
                    },
                );
            }
        }
        loaded
    }

    /// Adds the orders that are needed, and their lots.
    fn put_orders(&self, need: OrderNeed, now: Timestamp, state: &mut State) {
        let user_id = state.account.user_id;
        for order in self.needed_orders(user_id, need, now) {
            let lots = [order.state.lot_id, order.state.bonus_lot_id];
            for lot_id in lots.into_iter().flatten() {
                if let Some(lot) = self.lots.get(&(user_id, lot_id)) {
                    state.put_lot(lot.clone());
                }
            }
            state.orders.insert(order.order_no, order.clone());
        }
    }

    /// Adds what a payment of an order, which is there already, asks for.
    fn put_payment(&self, order_no: OrderNo, transaction_id: &str, now: Timestamp, state: &mut State) {
        let Some(order) = state.orders.get(&order_no) else {
            return;
        };
        let payment = (order.channel.clone(), transaction_id.to_owned());
        let of_package = order.limit_when_late(now).map(|_| order.package_id);
        if let Some(claim) = self.claims.get(&payment) {
            state.claims.insert(payment, claim.order_no);
        }
        if let Some(package_id) = of_package {
            self.put_orders(OrderNeed::OfPackage(package_id), now, state);
        }
    }

    fn needed_orders(&self, user_id: Uuid, need: OrderNeed, now: Timestamp) -> impl Iterator<Item = &Order> {
        let range = (user_id, OrderNo(Uuid::nil()))..=(user_id, OrderNo(Uuid::max()));
        let orders = self.orders.range(range).map(|(_, order)| order);
        orders.filter(move |order| match need {
            OrderNeed::Number(order_no) => order.order_no == order_no,
            OrderNeed::OfPackage(package_id) => {
                order.package_id == package_id && order.state.status != OrderStatus::Closed
            }
            OrderNeed::Waiting => order.can_be_paid(now),
        })
    }

    /// An account with `named` and whatever else [`State`] asks for, as far as `extent` goes.
    fn account(
        &self,
        user_id: Uuid,
        now: Option<Timestamp>,
        named: Option<Vec<Hold>>,
        extent: Extent,
    ) -> LoadedAccount {
        let mut loaded = LoadedAccount::new(user_id, now.unwrap_or(Timestamp::MIN));
        let state = &mut loaded.state;
        if let Some(account) = self.accounts.get(&user_id) {
            state.account = account.clone();
            loaded.exists = true;
        }
        let lot = |lot_id: &Uuid| self.lots.get(&(user_id, *lot_id)).cloned();
        let hold = |id: &Uuid| self.holds.get(&(user_id, *id)).cloned();
        let is_due =
            |deadline: Option<Timestamp>| now.filter(|now| deadline.is_some_and(|first| first <= *now));

        let all = (user_id, BEFORE_EVERY_LOT)..=(user_id, AFTER_EVERY_LOT);
        let open = self.open.range(all).filter_map(|(_, order)| lot(&order.4));
        let open = open.take(extent.lots.saturating_add(1));
        open.for_each(|lot| state.put_lot(lot));
        state.note_open(extent.lots);
        let mut lots = Vec::new();
        if let (Some(now), Some(_)) = (now, state.lots_end) {
            if is_due(state.account.next_lot_deadline).is_some() {
                let due = self
                    .expiring
                    .range(until(user_id, now))
                    .filter_map(|(_, at)| lot(&at.1));
                let mut due = due.take(extent.due_lots.saturating_add(1)).collect();
                state.note_due_lots(&mut due, extent.due_lots);
                lots.append(&mut due);
                loaded.next_lot = Some(
                    self.expiring
                        .range(after(user_id, now))
                        .next()
                        .map(|(_, at)| at.0),
                );
            }
            if let Some(max) = extent.expiring {
                let later = self
                    .expiring
                    .range(after(user_id, now))
                    .filter_map(|(_, at)| lot(&at.1));
                let mut later = later.take(max.saturating_add(1)).collect();
                state.note_expiring(&mut later, max);
                lots.append(&mut later);
            }
        }
        let mut holds = named.unwrap_or_default();
        if let Some(now) = is_due(state.account.next_hold_deadline) {
            let due = self
                .pending
                .range(until(user_id, now))
                .filter_map(|(_, at)| hold(&at.1));
            let mut due = due.take(extent.due_holds.saturating_add(1)).collect();
            state.note_due(&mut due, extent.due_holds);
            holds.append(&mut due);
            loaded.looked_up_due = true;
            loaded.next_pending = self.pending.range(after(user_id, now)).next().map(|(_, at)| at.0);
        }
        if state.account.borrowed > 0 {
            let all = (user_id, Uuid::nil())..=(user_id, Uuid::max());
            let borrowers = self.borrowing.range(all).filter_map(|(_, id)| hold(id));
            let mut borrowers = borrowers.take(extent.borrowers.saturating_add(1)).collect();
            state.note_borrowers(&mut borrowers, extent.borrowers);
            holds.append(&mut borrowers);
        }
        let pins = holds.iter().flat_map(|hold| &hold.state.pins);
        lots.extend(pins.filter_map(|pin| lot(&pin.lot_id)));
        lots.into_iter().for_each(|lot| state.put_lot(lot));
        holds.into_iter().for_each(|hold| state.put_hold(hold));
        loaded
    }

    fn put_lot(&mut self, user_id: Uuid, lot: &Lot) {
        let place = (user_id, lot.burn_order());
        let expiry = lot.expires_at.map(|at| (user_id, (at, lot.lot_id)));
        let number = lot.reference.as_ref().filter(|_| lot.source == Source::Reversal);
        let number = number.map(|number| (user_id, number.clone(), lot.lot_id));
        if lot.remaining > 0 {
            self.open.insert(place);
            self.expiring.extend(expiry);
            self.reversed.extend(number);
        } else {
            self.open.remove(&place);
            expiry.map(|expiry| self.expiring.remove(&expiry));
            number.map(|number| self.reversed.remove(&number));
        }
        self.lots.insert((user_id, lot.lot_id), lot.clone());
    }

    fn put_hold(&mut self, hold: &Hold) {
        let (user_id, id) = (hold.user_id, hold.consumption_id);
        self.owners.insert(id, user_id);
        if let Some(before) = self.holds.insert((user_id, id), hold.clone()) {
            self.pending.remove(&(user_id, (before.state.expires_at, id)));
            self.borrowing.remove(&(user_id, id));
        }
        if hold.state.status == Status::Pending {
            self.pending.insert((user_id, (hold.state.expires_at, id)));
            if hold.state.borrowed > 0 {
                self.borrowing.insert((user_id, id));
            }
        }
    }

    fn append(&mut self, writes: &Writes) -> Vec<Uuid> {
        let mut stale: BTreeSet<Uuid> = BTreeSet::new();
        for write in &writes.accounts {
            let user_id = write.account.user_id;
            let expected = write.before.as_ref().map(|account| account.hash);
            if self.accounts.get(&user_id).map(|account| account.hash) != expected {
                stale.insert(user_id);
            }
        }
        let carried = writes.entries.iter().filter_map(|entry| {
            let key = entry.idempotency_key.clone()?;
            Some((entry.user_id, key))
        });
        for key in writes.keys.iter().cloned().chain(carried) {
            if self.keys.contains_key(&key) {
                stale.insert(key.0);
            }
        }
        let claimed = writes.claims.iter();
        let claimed = claimed.filter(|claim| self.claims.contains_key(&claim.payment()));
        stale.extend(claimed.map(|claim| claim.user_id));
        let fresh = |user_id: &Uuid| !stale.contains(user_id);
        for write in writes
            .accounts
            .iter()
            .filter(|write| fresh(&write.account.user_id))
        {
            self.accounts.insert(write.account.user_id, write.account.clone());
        }
        for (user_id, lot) in writes
            .new_lots
            .iter()
            .chain(&writes.lots)
            .filter(|(id, _)| fresh(id))
        {
            self.put_lot(*user_id, lot);
        }
        for hold in writes
            .new_holds
            .iter()
            .chain(&writes.holds)
            .filter(|hold| fresh(&hold.user_id))
        {
            self.put_hold(hold);
        }
        let gifts = writes.gifts.iter().filter(|gift| fresh(&gift.user_id));
        self.gifts
            .extend(gifts.map(|gift| ((gift.user_id, gift.lot_id), gift.clone())));
        let orders = writes.orders.iter().filter(|order| fresh(&order.user_id));
        self.orders
            .extend(orders.map(|order| ((order.user_id, order.order_no), order.clone())));
        let claims = writes.claims.iter().filter(|claim| fresh(&claim.user_id));
        self.claims
            .extend(claims.map(|claim| (claim.payment(), claim.clone())));
        for entry in writes.entries.iter().filter(|entry| fresh(&entry.user_id)) {
            if let Some(key) = &entry.idempotency_key {
                self.keys.insert((entry.user_id, key.clone()), entry.seq);
            }
            // As from a database: a new hold has a row of its own and is no part of the entry.
            let effects = Effects {
                new_hold: None,
                ..entry.effects.clone()
            };
            let entry = Entry {
                effects,
                ..entry.clone()
            };
            self.entries.insert((entry.user_id, entry.seq), entry);
        }
        stale.into_iter().collect()
    }

    fn holds_of(&self, user_id: Uuid) -> impl DoubleEndedIterator<Item = &Hold> {
        self.holds
            .range((user_id, Uuid::nil())..=(user_id, Uuid::max()))
            .map(|(_, hold)| hold)
    }

    fn hold(&self, consumption_id: Uuid) -> Option<&Hold> {
        self.holds
            .get(&(*self.owners.get(&consumption_id)?, consumption_id))
    }

    fn entry(&self, user_id: Uuid, seq: i64) -> Option<&Entry> {
        self.entries.get(&(user_id, seq))
    }

    /// An account's entries after a number.
    fn journal_of(&self, user_id: Uuid, after: i64) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries
            .range((
                Bound::Excluded((user_id, after)),
                Bound::Included((user_id, i64::MAX)),
            ))
            .map(|(_, entry)| entry)
    }
}

/// Of an account, what has its deadline at `now` or before.
fn until(user_id: Uuid, now: Timestamp) -> RangeInclusive<(Uuid, (Timestamp, Uuid))> {
    (user_id, (Timestamp::from_micros(i64::MIN), Uuid::nil()))..=(user_id, (now, Uuid::max()))
}

/// Of an account, what has its deadline after `now`.
fn after(user_id: Uuid, now: Timestamp) -> RangeInclusive<(Uuid, (Timestamp, Uuid))> {
    let next = Timestamp::from_micros(now.as_micros().saturating_add(1));
    (user_id, (next, Uuid::nil()))..=(user_id, (Timestamp::from_micros(i64::MAX), Uuid::max()))
}

fn ready<T: Send + 'static>(result: StoreResult<T>) -> Reading<'static, T> {
    Box::pin(std::future::ready(result))
}

/// How a consumption stands at `now`: a pending hold whose deadline has passed counts as expired.
fn status_at(hold: &Hold, now: Timestamp) -> Status {
    match hold.state.status {
        Status::Pending if hold.state.expires_at <= now => Status::Expired,
        status => status,
    }
}

impl Books {
    fn change_catalogue(&mut self, change: CatalogueChange) -> bool {
        let catalogue = &mut self.catalogue;
        if catalogue.revision != change.expected_revision {
            return false;
        }
        catalogue.revision += 1;
        catalogue.cards.extend(change.cards);
        catalogue
            .cards
            .sort_by(|a, b| (&a.feature, a.version).cmp(&(&b.feature, b.version)));
        for package in change.packages {
            let key = (package.package_id, package.version);
            self.package_versions.insert(key, package.clone());
            catalogue
                .packages
                .retain(|old| old.package_id != package.package_id);
            catalogue.packages.push(package);
        }
        true
    }
}

impl Reader for MemoryStore {
    fn account(&self, user_id: Uuid, now: Timestamp, extent: Extent) -> Reading<'_, Option<LoadedAccount>> {
        self.read(|books| Some(books.account(user_id, Some(now), None, extent)).filter(|found| found.exists))
    }

    fn entries(&self, user_id: Uuid, filter: EntryFilter) -> Reading<'_, Vec<Entry>> {
        let wanted = |entry: &&Entry| {
            filter.kind.is_none_or(|kind| entry.kind == kind)
                && entry.seq > filter.after
                && filter.until.is_none_or(|until| entry.created_at < until)
                && filter.before.is_none_or(|before| entry.seq < before)
        };
        self.read(|books| {
            let journal = books.journal_of(user_id, 0).rev();
            journal.filter(wanted).take(filter.limit).cloned().collect()
        })
    }

    fn holds(&self, user_id: Uuid, filter: HoldFilter) -> Reading<'_, Vec<Hold>> {
        let wanted = |hold: &&Hold| {
            filter
                .status
                .is_none_or(|status| status_at(hold, filter.now) == status)
                && filter.before.is_none_or(|before| hold.consumption_id < before)
        };
        self.read(|books| {
            books
                .holds_of(user_id)
                .rev()
                .filter(wanted)
                .take(filter.limit)
                .cloned()
                .collect()
        })
    }

    fn hold(&self, consumption_id: Uuid) -> Reading<'_, Option<Hold>> {
        self.read(|books| books.hold(consumption_id).cloned())
    }

    fn lots(&self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Vec<Lot>> {
        self.read(|books| named(&books.lots, user_id, lot_ids).collect())
    }

    fn order(&self, order_no: OrderNo) -> Reading<'_, Option<Order>> {
        self.read(|books| {
            books
                .orders
                .values()
                .find(|order| order.order_no == order_no)
                .cloned()
        })
    }

    fn orders_by_number(&self, numbers: Vec<OrderNo>) -> Reading<'_, Vec<Order>> {
        let numbers: BTreeSet<OrderNo> = numbers.into_iter().collect();
        self.read(|books| {
            let orders = books.orders.values();
            orders
                .filter(|order| numbers.contains(&order.order_no))
                .cloned()
                .collect()
        })
    }

    fn orders(&self, filter: OrderFilter) -> Reading<'_, Vec<Order>> {
        self.read(|books| {
            let mut orders: Vec<Order> = books
                .orders
                .values()
                .filter(|order| {
                    filter.user_id.is_none_or(|user_id| order.user_id == user_id)
                        && filter.status.is_none_or(|status| order.state.status == status)
                        && filter.before.is_none_or(|before| order.order_no < before)
                })
                .cloned()
                .collect();
            orders.sort_by_key(|order| std::cmp::Reverse(order.order_no));
            orders.truncate(filter.limit);
            orders
        })
    }

    fn open_orders(
        &self,
        until: Timestamp,
        before: Option<OrderNo>,
        limit: usize,
    ) -> Reading<'_, Vec<OpenOrderRow>> {
        self.read(|books| {
            let mut orders: Vec<OpenOrderRow> = books
                .orders
                .values()
                .filter(|order| order.state.status.is_open() && order.created_at <= until)
                .filter(|order| before.is_none_or(|before| order.order_no < before))
                .map(|order| OpenOrderRow {
                    order_no: order.order_no,
                    user_id: order.user_id,
                    channel: order.channel.clone(),
                    status: order.state.status,
                    expires_at: order.expires_at,
                })
                .collect();
            orders.sort_by_key(|order| std::cmp::Reverse(order.order_no));
            orders.truncate(limit);
            orders
        })
    }

    fn pending_holds(&self, now: Timestamp) -> Reading<'_, PendingHolds> {
        self.read(|books| {
            let mut sum = PendingHolds::default();
            for hold in books
                .holds
                .values()
                .filter(|hold| hold.state.status == Status::Pending)
            {
                if now < hold.state.expires_at {
                    sum.holds += 1;
                    sum.credits = sum.credits.saturating_add(hold.amount);
                } else {
                    sum.overdue += 1;
                }
            }
            sum
        })
    }

    fn prior(&self, user_id: Uuid, key: String) -> Reading<'_, Option<Prior>> {
        self.read(|books| {
            let loaded = books.load(&Needs::of_key(user_id, key));
            loaded.priors.into_values().next()
        })
    }

    fn due(
        &self,
        what: Due,
        now: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Reading<'_, Vec<(Timestamp, Uuid)>> {
        let deadline = |account: &Account| match what {
            Due::Holds => account.next_hold_deadline,
            Due::Lots => account.next_lot_deadline,
        };
        self.read(|books| {
            let mut due: Vec<(Timestamp, Uuid)> = books
                .accounts
                .values()
                .filter_map(|account| Some((deadline(account)?, account.user_id)))
                .filter(|at| at.0 <= now && after.is_none_or(|after| *at > after))
                .collect();
            due.sort_unstable();
            due.truncate(limit);
            due
        })
    }

    fn revision(&self) -> Reading<'_, i64> {
        self.read(|books| books.catalogue.revision)
    }

    fn catalogue(&self) -> Reading<'_, CatalogueRows> {
        self.read(|books| books.catalogue.clone())
    }

    fn package_versions(&self, package_id: Uuid) -> Reading<'_, Vec<Package>> {
        self.read(|books| {
            let versions = books
                .package_versions
                .range((package_id, 0)..=(package_id, u32::MAX));
            versions.map(|(_, package)| package.clone()).collect()
        })
    }

    fn package_history(&self) -> Reading<'_, Vec<Package>> {
        self.read(|books| books.package_versions.values().cloned().collect())
    }

    /// There is no such column.
    fn odd_times(&self) -> Reading<'_, Vec<OddTime>> {
        self.read(|_| Vec::new())
    }

    fn change_catalogue(&self, change: CatalogueChange) -> Reading<'_, bool> {
        if self.closed.load(Ordering::SeqCst) {
            return ready(Err(StoreError::Lost("the store is closed".into())));
        }
        ready(Ok(self.shared.books().change_catalogue(change)))
    }

    fn snapshot(&self) -> Reading<'_, Box<dyn Snapshot>> {
        self.read(|books| -> Box<dyn Snapshot> { Box::new(books.clone()) })
    }

    fn migrate(&self) -> Reading<'_, ()> {
        self.read(|_| ())
    }

    fn check_schema(&self) -> Reading<'_, ()> {
        self.read(|_| ())
    }

    fn inspect(&self) -> Reading<'_, Inspected> {
        ready(Ok(Inspected {
            database: "memory".into(),
            time: None,
            missing: Vec::new(),
            risks: Vec::new(),
        }))
    }

    fn close(&self) -> Reading<'_, ()> {
        self.closed.store(true, Ordering::SeqCst);
        ready(Ok(()))
    }
}

/// The part of `table` after the key `after`.
fn later<K: Ord, V>(table: &BTreeMap<K, V>, after: Option<K>) -> impl Iterator<Item = (&K, &V)> {
    table.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
}

/// The rows of `table` with these ids.
fn named<V: Clone>(
    table: &BTreeMap<(Uuid, Uuid), V>,
    user_id: Uuid,
    ids: Vec<Uuid>,
) -> impl Iterator<Item = V> {
    ids.into_iter()
        .filter_map(move |id| table.get(&(user_id, id)).cloned())
}

fn page<T: Send + 'static>(rows: impl Iterator<Item = T>) -> Reading<'static, Page<T>> {
    ready(Ok(Page::ready(rows.collect())))
}

impl Snapshot for Books {
    fn accounts(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Account>> {
        page(
            later(&self.accounts, after)
                .take(limit)
                .map(|(_, account)| account.clone()),
        )
    }

    fn entries(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<StoredEntry>> {
        page(
            later(&self.entries, after)
                .take(limit)
                .map(|(_, entry)| Ok(entry.clone())),
        )
    }

    fn lots(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<(Uuid, Lot)>> {
        let lots = later(&self.lots, after).map(|((user_id, _), lot)| (*user_id, lot.clone()));
        page(lots.take(limit))
    }

    fn holds(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<Hold>> {
        page(
            later(&self.holds, after)
                .take(limit)
                .map(|(_, hold)| hold.clone()),
        )
    }

    fn orders(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<StoredOrder>> {
        page(
            later(&self.orders, after)
                .take(limit)
                .map(|(_, order)| Ok(order.clone())),
        )
    }

    fn claims(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<Claim>> {
        let place = |claim: &Claim| (claim.user_id, claim.order_no);
        let mut claims: Vec<Claim> = self.claims.values().cloned().collect();
        claims.retain(|claim| after.is_none_or(|after| place(claim) > after));
        claims.sort_by_key(place);
        page(claims.into_iter().take(limit))
    }

    fn gifts(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<GiftRow>> {
        page(
            later(&self.gifts, after)
                .take(limit)
                .map(|(_, gift)| gift.clone()),
        )
    }

    fn checkpoints(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Checkpoint>> {
        page(
            later(&self.checkpoints, after)
                .take(limit)
                .map(|(_, checkpoint)| checkpoint.clone()),
        )
    }

    fn kept(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<(Uuid, i64, Hash)>> {
        page(
            later(&self.kept, after)
                .take(limit)
                .map(|((user_id, seq), hash)| (*user_id, *seq, *hash)),
        )
    }

    fn lots_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<(Uuid, Lot)>> {
        page(named(&self.lots, user_id, lot_ids).map(move |lot| (user_id, lot)))
    }

    fn holds_of(&mut self, user_id: Uuid, consumption_ids: Vec<Uuid>) -> Reading<'_, Page<Hold>> {
        page(named(&self.holds, user_id, consumption_ids))
    }

    fn gifts_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<GiftRow>> {
        page(named(&self.gifts, user_id, lot_ids))
    }

    fn journal(&mut self, user_id: Uuid, after: i64, limit: usize) -> Reading<'_, Vec<StoredEntry>> {
        let journal = self.journal_of(user_id, after);
        ready(Ok(journal.take(limit).cloned().map(Ok).collect()))
    }

    fn checkpoint(&mut self, user_id: Uuid) -> Reading<'_, Option<Checkpoint>> {
        ready(Ok(self.checkpoints.get(&user_id).cloned()))
    }

    fn archived_sums(&mut self) -> Reading<'_, BTreeMap<String, i128>> {
        ready(Ok(self.archived_sums.clone()))
    }

    fn sums(&mut self) -> Reading<'_, Sums> {
        let mut sums = Sums::default();
        for account in self.accounts.values() {
            sums.available += i128::from(account.available);
            sums.held += i128::from(account.held);
        }
        sums.counter_accounts.clone_from(&self.archived_sums);
        for entry in self.entries.values() {
            *sums
                .counter_accounts
                .entry(entry.counter_account.to_string())
                .or_default() -= i128::from(entry.change) + i128::from(entry.held_change);
        }
        ready(Ok(sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract_tests::{Subject, contract_tests};

    impl Subject for MemoryStore {
        type Committer = MemoryCommitter;

        fn reader(&self) -> &dyn Reader {
            self
        }

        fn committer(&self) -> MemoryCommitter {
            MemoryStore::committer(self)
        }
    }

    contract_tests!(MemoryStore::new());

    #[tokio::test]
    async fn a_clone_outlives_the_ledger_that_is_closed() {
        let (one, other) = (MemoryStore::new(), MemoryStore::new());
        let clone = one.clone();
        one.close().await.unwrap();
        assert!(matches!(one.hold(Uuid::nil()).await, Err(StoreError::Lost(_))));
        assert!(clone.hold(Uuid::nil()).await.unwrap().is_none());
        assert!(other.hold(Uuid::nil()).await.unwrap().is_none());
    }
}
