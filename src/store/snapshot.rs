//! A picture of the whole database that does not move while it is read.

use super::{AnchorReads, Claim, GiftRow, Reading, StoreResult, StoredOrder};
use crate::ledger::{Account, Checkpoint, Entry, Hash, Hold, Lot, OrderNo};
use std::collections::BTreeMap;
use uuid::Uuid;

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
