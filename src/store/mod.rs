//! Stores load and append; they know no rules. Memory, SQLite and PostgreSQL keep the same contract, and the same
//! suite runs against all three (`contract_tests/`).
//!
//! # The contract
//!
//! A [`Committer`] does [`load`](Committer::load) and [`append`](Committer::append); each `append` ends what a `load`
//! before it began, also where there is nothing to write. An `append` may come without a `load`.
//!
//! - `load` returns one consistent picture of everything in [`Needs`]: for each account what [`State`] asks for, and
//!   for each key the entry that carries it.
//! - `append` writes, account by account, all of an account's rows or none. It writes an account only while the last
//!   entry is still the one that was known ([`AccountWrite::before`]), and only where none of the keys that were not
//!   looked up ([`Writes::keys`]) is in its journal; the others it returns as stale. An `Ok` means that what was written is
//!   durable, as far as the database's own settings say so.
//! - An error from either leaves nothing written, but for [`StoreError::Unknown`], where nobody can tell yet;
//!   [`landed`](Committer::landed) finds out by looking for the entries.
//!
//! # How a store can fail, and what the engine does
//!
//! | [`StoreError`] | example | engine |
//! | --- | --- | --- |
//! | `Busy` | serialization failure, deadlock, a locked file | decides again, after a pause |
//! | `Lost` | connection refused or gone while reading | reconnects, then decides again |
//! | `Unknown` | connection gone while writing | reconnects, asks `landed`, then decides again what did not land |
//! | `Skewed` | the database's clock is not near the ledger's | answers `Unavailable`, unless the batch has just grown old |
//! | `Failed` | disk full, read-only, tables missing, no permission | answers `Unavailable` and says why |

#[cfg_attr(not(feature = "anchors"), allow(dead_code))]
pub(crate) mod anchors;
#[cfg(test)]
pub(crate) mod contract_tests;
pub(crate) mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod migrations;
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
mod order_row;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
pub(crate) mod retention;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use crate::catalogue::{CatalogueChange, CatalogueRows, Package};
use crate::inspect::Problem;
use crate::ledger::limits::EXPIRING_LOTS_MAX;
use crate::ledger::{
    Account, Checkpoint, Entry, Hash, Hold, Kind, Lot, Order, OrderNo, OrderStatus, Prior, State, Status,
    Timestamp,
};
use crate::stats::PendingHolds;
pub(crate) use anchors::{AnchorReads, Anchors};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use order_row::OrderRow;
pub(crate) use order_row::StoredOrder;
#[cfg(feature = "archive")]
pub use retention::{ArchiveFile, ArchiveKind};
pub(crate) use retention::{CLOCKS_APART, Retention};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How many due holds of one account a `load` brings at the most; the rest follow in the next rounds.
pub(crate) const DUE_HOLDS_MAX: usize = 100;
/// The same for due lots of an account that has more lots than are loaded.
pub(crate) const DUE_LOTS_MAX: usize = 250;
/// How many open lots of one account a `load` brings at first. Where a command takes more, it is decided again.
pub(crate) const LOTS_FIRST: usize = 32;

/// How much of each account is read: no more than so many rows of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Open lots, first in burn order.
    pub(crate) lots: usize,
    /// Pending holds that have borrowed, in order of ids.
    pub(crate) borrowers: usize,
    pub(crate) due_holds: usize,
    /// Of accounts with more open lots than `lots`; of the others, all are known.
    pub(crate) due_lots: usize,
    /// Of these, too: lots that will expire, first in order of expiry. Only readers want them.
    pub(crate) expiring: Option<usize>,
}

impl Extent {
    /// Everything.
    pub(crate) const WHOLE: Extent = Extent {
        lots: ALL,
        borrowers: ALL,
        due_holds: ALL,
        due_lots: ALL,
        expiring: None,
    };

    /// What a balance tells: it takes lots in burn order only where something that is due pays a debt.
    pub(crate) const OUTLINE: Extent = Extent {
        lots: 0,
        borrowers: 0,
        expiring: Some(EXPIRING_LOTS_MAX),
        ..Extent::WHOLE
    };

    /// The same with so many lots and borrowing holds.
    pub(crate) fn outline_with(rows: usize) -> Self {
        Extent {
            lots: rows,
            borrowers: rows,
            ..Extent::OUTLINE
        }
    }

    /// What commands are decided on at first.
    pub(crate) fn first(lots: usize) -> Self {
        Extent {
            lots,
            borrowers: 0,
            due_holds: DUE_HOLDS_MAX,
            due_lots: DUE_LOTS_MAX,
            expiring: None,
        }
    }

    /// What they are decided on where that was not enough.
    pub(crate) fn more(rows: usize) -> Self {
        Extent {
            borrowers: rows,
            ..Extent::first(rows)
        }
    }
}

/// More than there can be; and one more is still a number.
const ALL: usize = u32::MAX as usize;

/// How far the database's clock may be from the one that a batch is decided by. A process whose clock is wrong would end
/// for good what is not over yet, or bring back what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockBound {
    pub(crate) now: Timestamp,
    pub(crate) max: Duration,
}

impl ClockBound {
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn earliest(self) -> Timestamp {
        let max = i64::try_from(self.max.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.now.as_micros().saturating_sub(max))
    }

    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn latest(self) -> Timestamp {
        self.now.plus(self.max)
    }

    /// Whether the database's clock agrees, which shows `database`.
    pub(crate) fn check(self, database: Timestamp) -> StoreResult<()> {
        if u128::from(self.now.as_micros().abs_diff(database.as_micros())) <= self.max.as_micros() {
            return Ok(());
        }
        Err(StoreError::Skewed {
            bound: self,
            database,
        })
    }
}

/// A key and the account it is scoped to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum KeyScope {
    /// The account itself.
    Account(Uuid),
    /// The account of this consumption.
    Consumption(Uuid),
}

/// Orders of an account that a batch needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OrderNeed {
    /// This one, and its lots.
    Number(OrderNo),
    /// Those of this package that are not closed.
    OfPackage(Uuid),
    /// Those that wait for a payment and whose time is not over.
    Waiting,
}

/// Greater than every order's number, as text.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn after_every_number() -> String {
    "g".into()
}

/// A payment, and the order that it settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) channel: String,
    /// The channel's own name for the payment.
    pub(crate) transaction_id: String,
    pub(crate) order_no: OrderNo,
    pub(crate) user_id: Uuid,
}

impl Claim {
    /// The claim of a settled order; `None` where it is not settled.
    pub(crate) fn of(order: &Order) -> Option<Self> {
        Some(Claim {
            channel: order.channel.clone(),
            transaction_id: order.state.transaction_id.clone()?,
            order_no: order.order_no,
            user_id: order.user_id,
        })
    }

    /// What no other claim has.
    pub(crate) fn payment(&self) -> (String, String) {
        (self.channel.clone(), self.transaction_id.clone())
    }
}

/// What a sweep has to know of an order that waits for a payment or a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenOrderRow {
    pub(crate) order_no: OrderNo,
    pub(crate) user_id: Uuid,
    pub(crate) channel: String,
    pub(crate) status: OrderStatus,
    pub(crate) expires_at: Timestamp,
}

/// What a batch needs to know. Lists hold no duplicates.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    /// The instant at which holds count as due; none is where `None`.
    pub(crate) now: Option<Timestamp>,
    /// Accounts by id.
    pub(crate) accounts: Vec<Uuid>,
    /// Of these accounts, those that are known already, with the hash of their last entry: of one whose row still has this
    /// hash nothing is found, unless a consumption leads to it as well.
    pub(crate) known: Vec<(Uuid, Hash)>,
    /// Consumptions by id; their accounts are needed too.
    pub(crate) consumptions: Vec<Uuid>,
    /// Lots of an account, by id, whether anything is left in them or not.
    pub(crate) lots: Vec<(Uuid, Uuid)>,
    /// Orders, by account.
    pub(crate) orders: Vec<(Uuid, OrderNeed)>,
    /// Payments that are to settle an order, which is among `orders`: whether its channel's payment of this name is claimed,
    /// and, where the order is paid late, what counts against its purchase limit.
    pub(crate) payments: Vec<(Uuid, OrderNo, String)>,
    /// Keys that may be there already.
    pub(crate) keys: Vec<(KeyScope, String)>,
    /// How many open lots of each account; [`LOTS_FIRST`] where `None`.
    pub(crate) lots_first: Option<usize>,
    /// Accounts of which that was not enough, with how many open lots and borrowing holds are wanted now.
    pub(crate) more: HashMap<Uuid, usize>,
    /// Lock the accounts, so that the `append` can't find them stale. For accounts that lost too many races.
    pub(crate) lock: bool,
    /// What the database's clock has to agree with, where it has one.
    pub(crate) clock: Option<ClockBound>,
}

impl Needs {
    /// Whether one key is there.
    pub(crate) fn of_key(user_id: Uuid, key: String) -> Self {
        Needs {
            accounts: vec![user_id],
            keys: vec![(KeyScope::Account(user_id), key)],
            ..Needs::default()
        }
    }

    /// How much of an account is wanted.
    pub(crate) fn extent(&self, user_id: &Uuid) -> Extent {
        match self.more.get(user_id) {
            Some(rows) => Extent::more(*rows),
            None => Extent::first(self.lots_first.unwrap_or(LOTS_FIRST)),
        }
    }
}

/// One account as loaded.
#[derive(Debug, Clone)]
pub(crate) struct LoadedAccount {
    /// What the rules decide on.
    pub(crate) state: State,
    /// Whether the account has a row. Where it has none, `state` is a new one's.
    pub(crate) exists: bool,
    /// Whether due holds were looked up: they are where `next_hold_deadline <= now`.
    pub(crate) looked_up_due: bool,
    /// Where they were: the first deadline among pending holds later than `now`.
    pub(crate) next_pending: Option<Timestamp>,
    /// Where not all open lots are known and `next_lot_deadline <= now`, so that due ones were looked up: the first expiry
    /// among open lots later than `now`.
    pub(crate) next_lot: Option<Option<Timestamp>>,
}

impl LoadedAccount {
    /// An account of which a store has found no row.
    pub(crate) fn new(user_id: Uuid, now: Timestamp) -> Self {
        LoadedAccount {
            state: State::new(user_id, now),
            exists: false,
            looked_up_due: false,
            next_pending: None,
            next_lot: None,
        }
    }
}

/// What a `load` found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Every account asked for, directly or through a consumption.
    pub(crate) accounts: BTreeMap<Uuid, LoadedAccount>,
    /// Whose the consumptions are. One that is not there does not exist.
    pub(crate) owners: HashMap<Uuid, Uuid>,
    /// Keys that are there already, by account.
    pub(crate) priors: HashMap<(Uuid, String), Prior>,
}

/// An account's row, and what it must have been before.
#[derive(Debug, Clone)]
pub(crate) struct AccountWrite {
    /// The new figures.
    pub(crate) account: Account,
    /// The account as it was known; `None` where it had no row. It is written only where its last entry still has this hash.
    /// (The number would not do: where a database is set back to an older copy, a number can come a second time.)
    pub(crate) before: Option<Account>,
}

/// A line of the register of gifts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GiftRow {
    pub(crate) user_id: Uuid,
    pub(crate) lot_id: Uuid,
    pub(crate) amount: i64,
    pub(crate) reason: String,
    pub(crate) operator: Option<String>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) created_at: Timestamp,
}

impl GiftRow {
    /// The line that a gift's entry adds to the register.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let lot = entry
            .effects
            .new_lots
            .first()
            .filter(|_| entry.kind == Kind::Gift)?;
        Some(GiftRow {
            user_id: entry.user_id,
            lot_id: lot.lot_id,
            amount: lot.amount,
            reason: entry.effects.reason.clone().unwrap_or_default(),
            operator: entry.effects.operator.clone(),
            expires_at: lot.expires_at,
            created_at: entry.created_at,
        })
    }
}

/// Everything one batch writes, sorted by account.
#[derive(Debug, Clone, Default)]
pub(crate) struct Writes {
    pub(crate) accounts: Vec<AccountWrite>,
    pub(crate) new_lots: Vec<(Uuid, Arc<Lot>)>,
    /// Only `remaining`, `expired`, `clawed` and `claim` differ from what is stored.
    pub(crate) lots: Vec<(Uuid, Arc<Lot>)>,
    /// Of these lots, only `remaining` does.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) only_remaining: bool,
    pub(crate) new_holds: Vec<Arc<Hold>>,
    /// Only `state` differs from what is stored.
    pub(crate) holds: Vec<Arc<Hold>>,
    pub(crate) gifts: Vec<GiftRow>,
    /// New ones, and others of which only `state` differs from what is stored.
    pub(crate) orders: Vec<Order>,
    /// Of orders that are settled. Never written twice: an account with one that is there already is stale, or nothing is
    /// written and the store is busy.
    pub(crate) claims: Vec<Claim>,
    pub(crate) entries: Vec<Entry>,
    /// Keys of these accounts that were not looked up.
    pub(crate) keys: Vec<(Uuid, String)>,
    /// What the database's clock has to agree with, where it has one: else nothing is written.
    pub(crate) clock: Option<ClockBound>,
}

impl Writes {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }
}

/// Why a store could not do it.
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))] // Memory has no wire to lose.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing was written; trying again may help.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// Nothing was written, and the connection is of no use any more.
    #[error("the database can't be reached: {0}")]
    Lost(String),
    /// The connection was lost, or an I/O error came, while committing: written or not.
    #[error("the database failed while committing: {0}")]
    Unknown(String),
    /// Nothing was written: the database's clock and the ledger's are too far from one another.
    #[error(
        "this process's clock shows {}, and the database's {database}: they differ by {:.0} s, and max_clock_skew is {:.0} s",
        bound.now, seconds(bound.now, *database), bound.max.as_secs_f64()
    )]
    Skewed {
        /// What the ledger's clock showed, and how far the database's may be.
        bound: ClockBound,
        /// What the database's clock showed.
        database: Timestamp,
    },
    /// Nothing was written; trying again won't help until somebody does something.
    #[error("{problem}; {remedy}")]
    Failed {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
}

fn seconds(one: Timestamp, other: Timestamp) -> f64 {
    Duration::from_micros(one.as_micros().abs_diff(other.as_micros())).as_secs_f64()
}

pub(crate) type StoreResult<T> = Result<T, StoreError>;

/// The writing side: one committer owns one of these.
pub(crate) trait Committer: Send + 'static {
    /// Everything in `needs`, in one consistent picture.
    fn load(&mut self, needs: &Needs) -> impl Future<Output = StoreResult<Loaded>> + Send;

    /// Writes what still fits and returns the accounts that were stale, of which nothing was written.
    fn append(&mut self, writes: &Writes) -> impl Future<Output = StoreResult<Vec<Uuid>>> + Send;

    /// For each account: whether its journal has this entry with this hash. The answer is final: a write that was
    /// lost sight of and is not there will never come. Where that can't be told: [`StoreError::Unknown`].
    fn landed(
        &mut self,
        entries: &[(Uuid, i64, Hash)],
    ) -> impl Future<Output = StoreResult<Vec<bool>>> + Send;

    /// Drops whatever was under way and connects anew.
    fn reconnect(&mut self) -> impl Future<Output = StoreResult<()>> + Send;
}

/// A future of the reading side, which is not hot enough to be generic over.
pub(crate) type Reading<'a, T> = Pin<Box<dyn Future<Output = StoreResult<T>> + Send + 'a>>;

/// Called when the catalogue may have changed: quick, and on any thread.
pub(crate) type Changed = Box<dyn Fn() + Send + Sync>;

/// Which lines of a journal are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct EntryFilter {
    pub(crate) kind: Option<Kind>,
    /// `seq > after`; all where it is 0.
    pub(crate) after: i64,
    /// `created_at < until`: for the last one from before then.
    pub(crate) until: Option<Timestamp>,
    /// `seq < before`.
    pub(crate) before: Option<i64>,
    pub(crate) limit: usize,
}

/// Which consumptions are wanted, newest id first.
#[derive(Debug, Clone)]
pub(crate) struct HoldFilter {
    /// As it stands at `now`: a pending hold whose deadline has passed counts as expired.
    pub(crate) status: Option<Status>,
    pub(crate) now: Timestamp,
    /// `consumption_id < before`.
    pub(crate) before: Option<Uuid>,
    pub(crate) limit: usize,
}

/// Which orders are wanted, newest number first.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderFilter {
    /// Of one account; of all where `None`.
    pub(crate) user_id: Option<Uuid>,
    pub(crate) status: Option<OrderStatus>,
    /// `order_no < before`.
    pub(crate) before: Option<OrderNo>,
    pub(crate) limit: usize,
}

/// What a sweep looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Accounts whose `next_hold_deadline` has passed.
    Holds,
    /// Accounts whose `next_lot_deadline` has passed.
    Lots,
}

/// The reading side, shared by everybody.
pub(crate) trait Reader: Anchors + Retention + Send + Sync + 'static {
    /// The account, or `None` where it has no row.
    fn account(&self, user_id: Uuid, now: Timestamp, extent: Extent) -> Reading<'_, Option<LoadedAccount>>;

    /// The same at the present: where the database has a clock, it has to agree about that.
    fn account_now(
        &self,
        user_id: Uuid,
        now: Timestamp,
        extent: Extent,
    ) -> Reading<'_, Option<LoadedAccount>> {
        self.account(user_id, now, extent)
    }

    /// Lines of an account's journal, newest first.
    fn entries(&self, user_id: Uuid, filter: EntryFilter) -> Reading<'_, Vec<Entry>>;

    /// Consumptions of an account, newest id first.
    fn holds(&self, user_id: Uuid, filter: HoldFilter) -> Reading<'_, Vec<Hold>>;

    /// One consumption.
    fn hold(&self, consumption_id: Uuid) -> Reading<'_, Option<Hold>>;

    /// Those of these lots that an account has.
    fn lots(&self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Vec<Lot>>;

    /// One order.
    fn order(&self, order_no: OrderNo) -> Reading<'_, Option<Order>>;

    /// Those of these orders that are there, in any order.
    fn orders_by_number(&self, numbers: Vec<OrderNo>) -> Reading<'_, Vec<Order>>;

    /// Orders, newest first.
    fn orders(&self, filter: OrderFilter) -> Reading<'_, Vec<Order>>;

    /// Orders that wait for a payment or a refund, made at or before `until`, newest number first, before the given one.
    fn open_orders(
        &self,
        until: Timestamp,
        before: Option<OrderNo>,
        limit: usize,
    ) -> Reading<'_, Vec<OpenOrderRow>>;

    /// The entry that carries a key of an account.
    fn prior(&self, user_id: Uuid, key: String) -> Reading<'_, Option<Prior>>;

    /// Accounts with a deadline at or before `now`, in order of (deadline, account), after the given position.
    fn due(
        &self,
        what: Due,
        now: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Reading<'_, Vec<(Timestamp, Uuid)>>;

    /// The holds of all accounts that are pending.
    fn pending_holds(&self, now: Timestamp) -> Reading<'_, PendingHolds>;

    /// A picture of the whole database that does not move while it is read.
    fn snapshot(&self) -> Reading<'_, Box<dyn Snapshot>>;

    /// How often the catalogue has changed.
    fn revision(&self) -> Reading<'_, i64>;

    /// Every rate card and every package, in one consistent picture.
    fn catalogue(&self) -> Reading<'_, CatalogueRows>;

    /// Every version of a package, oldest first.
    fn package_versions(&self, package_id: Uuid) -> Reading<'_, Vec<Package>>;

    /// Every version of every package, by package, oldest first.
    fn package_history(&self) -> Reading<'_, Vec<Package>>;

    /// Entries and consumptions whose `updated_at` can't be: [`TIMES_NAMED_MAX`] of them at the most.
    fn odd_times(&self) -> Reading<'_, Vec<OddTime>>;

    /// Writes all of it, or nothing where the catalogue is no more at the revision it was planned on: then `false`.
    fn change_catalogue(&self, change: CatalogueChange) -> Reading<'_, bool>;

    /// From now on, calls `changed` when somebody changes the catalogue, and whenever a change may have been missed;
    /// until the store is closed or dropped. A store that is not told of changes does nothing: nobody may rely on it.
    fn watch(&self, changed: Changed) {
        drop(changed);
    }

    /// Gets ready for a fork: gives back what a child must not inherit, and takes nothing up until
    /// [`resume`](Reader::resume). `false` where something was not given back in time.
    fn suspend(&self, timeout: Duration) -> bool {
        let _ = timeout;
        true
    }

    /// Ends [`suspend`](Reader::suspend).
    fn resume(&self) {}

    /// Creates or updates the tables.
    fn migrate(&self) -> Reading<'_, ()>;

    /// Checks that the tables are there and of a version this library knows.
    fn check_schema(&self) -> Reading<'_, ()>;

    /// What the database's clock shows, where it has one.
    fn time(&self) -> Reading<'_, Option<Timestamp>> {
        Box::pin(async { Ok(None) })
    }

    /// The schema that the tables are in, where there are schemas and tables.
    #[cfg(feature = "postgres")]
    fn schema_in_use(&self) -> Reading<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }

    /// Looks at the database: see [`Inspected`]. The tables need not be there.
    fn inspect(&self) -> Reading<'_, Inspected>;

    /// Gives connections back. Reads after it fail with `Lost`.
    fn close(&self) -> Reading<'_, ()>;
}

/// How many rows [`Reader::odd_times`] names.
pub(crate) const TIMES_NAMED_MAX: usize = 1_000;

/// A row whose `updated_at` can't be: an entry's, which is never changed; or a consumption's that does not lie between its
/// last change and its account's, and is of no entry's time either. (Where clocks differ, an entry's time may lie outside.)
/// Where entries have left the database it can't be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OddTime {
    pub(crate) user_id: Uuid,
    pub(crate) seq: Option<i64>,
    pub(crate) consumption_id: Option<Uuid>,
}

/// What a store can tell about its database.
#[derive(Debug, Clone)]
pub(crate) struct Inspected {
    /// Its name and version.
    pub(crate) database: String,
    /// What its own clock shows, where it has one.
    pub(crate) time: Option<Timestamp>,
    /// What is not as the migrations make it: tables, constraints, indexes, triggers, functions.
    pub(crate) missing: Vec<String>,
    /// Settings that can cost acknowledged commits, and versions that are too old.
    pub(crate) risks: Vec<Problem>,
}

/// Rows that were fetched and are not decoded yet. Decoding is work for a processor: not for a task of the runtime.
pub(crate) struct Page<T>(Box<dyn FnOnce() -> StoreResult<Vec<T>> + Send>);

impl<T: Send + 'static> Page<T> {
    pub(crate) fn of(decode: impl FnOnce() -> StoreResult<Vec<T>> + Send + 'static) -> Self {
        Page(Box::new(decode))
    }

    /// Rows that had to be decoded to be fetched.
    pub(crate) fn ready(rows: Vec<T>) -> Self {
        Page::of(move || Ok(rows))
    }

    pub(crate) fn decode(self) -> StoreResult<Vec<T>> {
        self.0()
    }
}

/// Pages of whole tables in the order of their keys, and single rows.
pub(crate) trait Snapshot: AnchorReads {
    /// Accounts with an id greater than `after`.
    fn accounts(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Account>>;
    /// Entries after the given (account, number), by account and number. As stored: `effects` parsed from `data`.
    fn entries(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<StoredEntry>>;
    /// Lots after the given (account, lot), by account and lot.
    fn lots(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<(Uuid, Lot)>>;
    /// Consumptions after the given (account, consumption), by account and consumption.
    fn holds(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<Hold>>;
    /// Orders after the given (account, number), by account and number.
    fn orders(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<StoredOrder>>;
    /// Claims of payments after the given (account, order), by account and order.
    fn claims(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<Claim>>;
    /// Gifts after the given (account, lot), by account and lot.
    fn gifts(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<GiftRow>>;
    /// Checkpoints of accounts with an id greater than `after`.
    fn checkpoints(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Checkpoint>>;
    /// Entries up to a checkpoint that stayed, after the given (account, number), by account and number: each with the hash of
    /// the entry before it.
    fn kept(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<(Uuid, i64, Hash)>>;
    /// Those of these lots of an account that are there, in any order.
    fn lots_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<(Uuid, Lot)>>;
    /// Those of these consumptions of an account that are there, in any order.
    fn holds_of(&mut self, user_id: Uuid, consumption_ids: Vec<Uuid>) -> Reading<'_, Page<Hold>>;
    /// Those of these gifts of an account that are there, in any order.
    fn gifts_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<GiftRow>>;
    /// Entries of one account after a number, oldest first: for balances as of a time.
    fn journal(&mut self, user_id: Uuid, after: i64, limit: usize) -> Reading<'_, Vec<StoredEntry>>;
    /// An account's checkpoint.
    fn checkpoint(&mut self, user_id: Uuid) -> Reading<'_, Option<Checkpoint>>;
    /// What the accounts hold and what the journal, and the entries that left it, booked on each counter-account.
    fn sums(&mut self) -> Reading<'_, Sums>;
    /// What the entries that left the journal had booked on each counter-account.
    fn archived_sums(&mut self) -> Reading<'_, BTreeMap<String, i128>>;
}

/// An entry read back, which need not be sound.
pub(crate) type StoredEntry = Result<Entry, DamagedEntry>;

/// A row of the journal that can't be an entry.
#[derive(Debug, Clone)]
pub(crate) struct DamagedEntry {
    pub(crate) user_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) problem: String,
}

/// The two sides of the trial balance. `i128`: a sum over all accounts can pass 2^63.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) available: i128,
    pub(crate) held: i128,
    /// `-(sum of change + held_change)` by counter-account.
    pub(crate) counter_accounts: BTreeMap<String, i128>,
}
