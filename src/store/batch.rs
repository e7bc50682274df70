//! What a batch needs, what was loaded for it, and what it writes.

use super::{ClockBound, StoreResult};
use crate::ledger::limits::EXPIRING_LOTS_MAX;
use crate::ledger::{Account, Entry, Hash, Hold, Kind, Lot, Order, OrderNo, Prior, State, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
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
