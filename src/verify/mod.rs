//! The audit: everything the tables say is derived from the journal again, in one pass and page by page.
//!
//! For each account, in order of id, its entries are replayed. Checked are, entry by entry, the number, the hash chain
//! and that the balance follows; and at the end that the account's figures, every lot, every consumption and every line
//! in the register of gifts are what the entries made them, that nothing is there without an entry, and that the
//! figures agree with one another. So is every order; that each settled one has the lots that it was paid for, and
//! no others; and that its payment is claimed for it, and for no other order.
//!
//! # What runs beside what
//!
//! `feed.rs` fetches and decodes the next pages while a thread audits those before (`books.rs`).
//!
//! # Memory
//!
//! It does not grow with the number of accounts, nor with the length of a journal:
//!
//! - two pages of each table ([`feed::PAGE`] rows), and
//! - of one account, up to [`books::KEPT_MAX`] lots, consumptions and gifts; more only where more of them are *open*
//!   at once, at any place in its journal: then twice as many as are open; and
//! - of one account, all its orders.
//!
//! For a consumption that was settled may be reversed years later, and a lot that is empty can get credits back, so
//! nothing is ever done with while there are entries to come. But the rows already say how everything will end. When
//! too much is kept, the rows of all of it are looked up by id: what stands as its row says is put aside, and what
//! does not (the open ones) will be changed by an entry to come, or is a fault. An entry that changes something that
//! was put aside finds it in its row again: it was put aside because it was the same.
//!
//! Of what was put aside there remain two numbers for each table: how many, and the sum of their ids' hashes. At the
//! end the rows that were read and not kept must have the same two numbers; else there are rows without an entry. That
//! is the one fault which, in an account with more rows than are kept, is named without the row's id.
//!
//! The price is a second look-up, by id, of every row of such an account.
//!
//! # Where old entries have left the database
//!
//! The account's [checkpoint](crate::ledger::Checkpoint) takes their place: its figures have to add up, and the entries after
//! it are replayed from there. Entries before it that had to stay, an order's, hash to what they were; none is missing
//! and there are no others. What rows say of the time before can't be derived any more: of lots, that nothing is left which
//! the checkpoint does not know; of consumptions, that they are over. The archive knows the rest.

mod anchored;
mod books;
mod feed;
#[cfg(test)]
mod tests;
mod whole;

use crate::ledger::words;
use crate::ledger::{Entry, Hash, Hold, Lot, OpenLot, State, Status, Timestamp, apply};
use crate::store::anchors::AnchorRow;
use crate::store::{Snapshot, StoreError, StoreResult, Sums};
use anchored::Comparison;
use books::Books;
use feed::Tables;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use uuid::Uuid;
pub(crate) use whole::Facts;
use whole::Whole;
#[cfg(feature = "anchors")]
pub(crate) use whole::catalogue;

/// How many faults are named; all are counted.
pub const FAULTS_NAMED_MAX: usize = 1_000;

words! {
    /// What kind of fault.
    FaultKind {
        /// An entry is missing, or stands twice.
        Sequence = "sequence",
        /// An entry is not what it was when it was written.
        Hash = "hash",
        /// An entry can't be read, or does not follow from those before.
        Entry = "entry",
        /// The account's row is not what the entries make it.
        Account = "account",
        /// A lot is not what the entries make it.
        Lot = "lot",
        /// A consumption is not what the entries make it.
        Hold = "hold",
        /// A line in the register of gifts is not what the entries make it.
        Gift = "gift",
        /// An order is not what the entries make it, has not the lots that it was paid for, or its payment is not claimed for it.
        Order = "order",
        /// A file of the archive is gone, or not what was written; or what is said of the archive does not fit what has left.
        Archive = "archive",
        /// The account's checkpoint is not what the entries that left have made.
        Checkpoint = "checkpoint",
        /// A package, or one of its versions, is not what was saved.
        Package = "package",
        /// A rate card is not what was saved, or is gone.
        Pricing = "pricing",
        /// A table, constraint, index, trigger or function is not what the migrations make.
        Schema = "schema",
        /// Something is not as it was when the anchor was made.
        Anchor = "anchor",
    }
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The account; the nil UUID where it is about none.
    pub user_id: Uuid,
    /// The entry, where it is about one.
    pub seq: Option<i64>,
    /// The lot, consumption, order, package or rate card, where it is about one; for a gift, the lot that was given.
    pub id: Option<Uuid>,
    /// What kind.
    pub kind: FaultKind,
    /// What is there, and what should be.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user_id.is_nil() {
            true => write!(f, "{}", self.kind)?,
            false => write!(f, "account {}", self.user_id)?,
        }
        if let Some(seq) = self.seq {
            write!(f, ", entry {seq}")?;
        }
        match self.id {
            Some(id) if self.user_id.is_nil() => write!(f, " {id}")?,
            Some(id) => write!(f, ", {} {id}", self.kind)?,
            None => {}
        }
        write!(f, ": {}", self.detail)
    }
}

/// What an audit found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verification {
    /// Accounts audited.
    pub accounts: u64,
    /// Entries audited.
    pub entries: u64,
    /// Lots audited.
    pub lots: u64,
    /// Consumptions audited.
    pub holds: u64,
    /// Orders audited.
    pub orders: u64,
    /// Accounts that were compared with an anchor.
    pub anchored: u64,
    /// Of these, those whose anchored entry has left the database, so that only the archive can show it.
    pub anchored_archived: u64,
    /// Faults found.
    pub fault_count: u64,
    /// The first [`FAULTS_NAMED_MAX`] of them.
    pub faults: Vec<Fault>,
}

impl Verification {
    /// Whether everything fits.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.fault_count == 0
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_NAMED_MAX {
            self.faults.push(fault);
        }
    }
}

/// All accounts against all counter-accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialBalance {
    /// Sum of all `available`.
    pub available: i128,
    /// Sum of all `held`.
    pub held: i128,
    /// What was booked on each counter-account: negative where credits came from, positive where they went.
    pub counter_accounts: BTreeMap<String, i128>,
}

impl TrialBalance {
    pub(crate) fn of(sums: Sums) -> Self {
        TrialBalance {
            available: sums.available,
            held: sums.held,
            counter_accounts: sums.counter_accounts,
        }
    }

    /// Everything together: zero, or credits came from nowhere.
    #[must_use]
    pub fn total(&self) -> i128 {
        self.available + self.held + self.counter_accounts.values().sum::<i128>()
    }

    /// Whether the total is zero.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.total() == 0
    }
}

/// What stands for entries that have left the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// Its checkpoint: it is believed.
    Checkpoint,
    /// The entries themselves, from the archive: the checkpoint is audited.
    #[cfg_attr(not(feature = "archive"), allow(dead_code))]
    Archive,
}

/// What an anchor says, whose signature was checked.
#[cfg_attr(not(feature = "anchors"), allow(dead_code))]
#[derive(Debug, Clone)]
pub(crate) struct Anchored {
    pub(crate) number: i64,
    /// Its line.
    pub(crate) record: String,
    pub(crate) root: Hash,
    pub(crate) accounts: u64,
    pub(crate) available: i128,
    pub(crate) held: i128,
    /// Whether it is so young that nothing can have left the journal that was written after it.
    pub(crate) is_recent: bool,
}

/// What is audited, and against what.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) past: Past,
    pub(crate) anchored: Option<Anchored>,
    /// `None`: only the accounts are audited.
    pub(crate) facts: Option<Facts>,
}

impl From<Past> for Scope {
    fn from(past: Past) -> Self {
        Scope {
            past,
            anchored: None,
            facts: None,
        }
    }
}

pub(crate) async fn verify(snapshot: &mut dyn Snapshot, scope: Scope) -> StoreResult<Verification> {
    verify_keeping(snapshot, scope, books::KEPT_MAX).await
}

async fn verify_keeping(
    snapshot: &mut dyn Snapshot,
    scope: Scope,
    kept_max: usize,
) -> StoreResult<Verification> {
    let stored = match &scope.anchored {
        Some(anchored) => snapshot.anchor(Some(anchored.number)).await?,
        None => None,
    };
    let (server, tables) = feed::halves(scope.anchored.as_ref().map(|anchored| anchored.number));
    let auditing = tokio::task::spawn_blocking(move || audit(tables, scope, stored, kept_max));
    server.serve(snapshot).await;
    auditing
        .await
        .unwrap_or_else(|stopped| Err(StoreError::Lost(stopped.to_string())))
}

fn audit(
    mut tables: Tables,
    scope: Scope,
    stored: Option<AnchorRow>,
    kept_max: usize,
) -> StoreResult<Verification> {
    let mut found = Verification::default();
    let items = scope.facts.as_ref().map(Facts::items).unwrap_or_default();
    let mut whole = scope.facts.map(|facts| Whole::new(facts, scope.past, &mut found));
    let mut anchor = scope.anchored.map(|anchored| Comparison::new(anchored, stored));
    while let Some(user_id) = next_user(&mut tables)? {
        let leaf = tables.leaves.take(|leaf| leaf.user_id == user_id)?;
        if let (Some(anchor), Some(leaf), Some(item)) = (&mut anchor, leaf, items.get(&user_id)) {
            anchor.item(&leaf, item, &mut found);
            continue;
        }
        let checkpoint = tables.checkpoints.take(|c| c.account.user_id == user_id)?;
        let left_until = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.account.seq);
        if let Some(anchor) = &anchor {
            anchor.left(user_id, leaf.as_ref(), left_until, &mut found);
        }
        if let (Some(whole), Some(checkpoint)) = (&mut whole, &checkpoint) {
            whole.checkpoint(checkpoint, &mut found);
        }
        let mut kept = BTreeMap::new();
        while let Some((_, seq, previous)) = tables.kept.take(|(owner, ..)| *owner == user_id)? {
            kept.insert(seq, previous);
        }
        let stayed: BTreeSet<i64> = kept.keys().copied().collect();
        let mut books = Books::new(user_id, kept_max, scope.past, checkpoint, kept, leaf);
        while let Some((entry, chained)) = tables.journal.take(user_id)? {
            found.entries += 1;
            if let (Some(whole), Ok(entry)) = (&mut whole, &*entry) {
                whole.entry(entry, entry.seq <= left_until && !stayed.contains(&entry.seq));
            }
            books.replay(entry, chained, &tables.rows, &mut found)?;
        }
        books.end_of_journal(&tables.rows, &mut found)?;
        while let Some((_, lot)) = tables.lots.take(|(owner, _)| *owner == user_id)? {
            found.lots += 1;
            books.check_lot(&lot, &mut found);
        }
        while let Some(hold) = tables.holds.take(|hold| hold.user_id == user_id)? {
            found.holds += 1;
            if let Some(whole) = &whole {
                whole.hold(&hold, &mut found);
            }
            books.check_hold(hold, &mut found);
        }
        while let Some(gift) = tables.gifts.take(|gift| gift.user_id == user_id)? {
            books.check_gift(&gift, &mut found);
        }
        while let Some(claim) = tables.claims.take(|claim| claim.user_id == user_id)? {
            books.check_claim(&claim, &mut found);
        }
        while let Some(order) = tables.orders.take(|order| feed::place(order).0 == user_id)? {
            found.orders += 1;
            if let (Some(whole), Ok(order)) = (&whole, &order) {
                whole.order(order, &mut found);
            }
            books.check_order(order, &mut found);
        }
        books.check_missing(&mut found);
        let row = tables.accounts.take(|account| account.user_id == user_id)?;
        if let Some(row) = &row {
            found.accounts += 1;
            if let Some(whole) = &mut whole {
                whole.account(row.available, row.held);
            }
        }
        books.check_account(row.as_ref(), &mut found);
        if let (Some(anchor), Some(leaf)) = (&mut anchor, leaf) {
            anchor.account(&leaf, books.check_anchored(&leaf, &mut found), &mut found);
        }
    }
    if let Some(anchor) = anchor {
        anchor.finish(&mut found);
    }
    if let Some(whole) = whole {
        whole.finish(&mut found);
    }
    Ok(found)
}

/// The first account that any table still has rows of.
fn next_user(tables: &mut Tables) -> StoreResult<Option<Uuid>> {
    let heads = [
        tables.accounts.peek()?.map(|account| account.user_id),
        tables.journal.user_id()?,
        tables.lots.peek()?.map(|(user_id, _)| *user_id),
        tables.holds.peek()?.map(|hold| hold.user_id),
        tables.gifts.peek()?.map(|gift| gift.user_id),
        tables.orders.peek()?.map(|order| feed::place(order).0),
        tables.claims.peek()?.map(|claim| claim.user_id),
        tables
            .checkpoints
            .peek()?
            .map(|checkpoint| checkpoint.account.user_id),
        tables.kept.peek()?.map(|(user_id, ..)| *user_id),
        tables.leaves.peek()?.map(|leaf| leaf.user_id),
    ];
    Ok(heads.into_iter().flatten().min())
}

/// The account as its entries up to number `last` made it, the last one from before or at `at`; or, where those have left the database, since when it can be told.
pub(crate) async fn state_at(
    snapshot: &mut dyn Snapshot,
    user_id: Uuid,
    at: Timestamp,
    last: i64,
    page: usize,
) -> StoreResult<Result<State, Timestamp>> {
    let checkpoint = snapshot.checkpoint(user_id).await?;
    let is_whole = checkpoint.is_none();
    let mut state = match checkpoint {
        None => State::new(user_id, at),
        Some(checkpoint) if at < checkpoint.account.updated_at => {
            return Ok(Err(checkpoint.account.updated_at));
        }
        Some(checkpoint) => {
            let lots = lots_of(snapshot, user_id, checkpoint.lots.keys().copied().collect()).await?;
            let seq = checkpoint.account.seq;
            let missing = |id| damaged_books(user_id, seq, &format!("the row of its lot {id} is gone"));
            let mut state = checkpoint.state(lots).map_err(missing)?;
            // A checkpoint has no deadlines: those of its holds may have passed at `at`.
            state.note_deadlines(true, None);
            state
        }
    };
    loop {
        let entries = snapshot.journal(user_id, state.account.seq, page).await?;
        let more = entries.len() == page;
        for entry in entries {
            let entry = entry.map_err(|damaged| damaged_books(user_id, damaged.seq, &damaged.problem))?;
            if entry.seq > last {
                return Ok(Ok(state));
            }
            if !is_whole {
                recall(&mut state, snapshot, &entry).await?;
            }
            replay(&mut state, entry)?;
        }
        if !more {
            return Ok(Ok(state));
        }
    }
}

/// Takes up the lots that the entry changes and that were empty at the checkpoint.
async fn recall(state: &mut State, snapshot: &mut dyn Snapshot, entry: &Entry) -> StoreResult<()> {
    let missing = state.lots_missing(entry);
    if !missing.is_empty() {
        for row in lots_of(snapshot, entry.user_id, missing).await? {
            state.recall(row, OpenLot::default());
        }
    }
    Ok(())
}

async fn lots_of(snapshot: &mut dyn Snapshot, user_id: Uuid, ids: Vec<Uuid>) -> StoreResult<Vec<Lot>> {
    let rows = snapshot.lots_of(user_id, ids).await?.decode()?;
    Ok(rows.into_iter().map(|(_, lot)| lot).collect())
}

/// Applies an entry and keeps of the holds only those that are pending: nothing else matters to a balance.
fn replay(state: &mut State, mut entry: Entry) -> StoreResult<()> {
    entry.effects.new_hold = entry.made_hold().map(Into::into);
    if let (Some(id), Some(after), None) =
        (entry.consumption_id, &entry.effects.hold, &entry.effects.new_hold)
    {
        // One that was settled before, and is looked at again: what it held does not count any more.
        let settled = || Hold {
            consumption_id: id,
            user_id: entry.user_id,
            amount: after.captured,
            feature: None,
            reference: None,
            metadata: None,
            quote: None,
            created_at: entry.created_at,
            state: after.clone(),
        };
        state.holds.entry(id).or_insert_with(|| settled().into());
    }
    apply(state, &entry).map_err(|problem| damaged_books(entry.user_id, entry.seq, problem.problem))?;
    state.orders.clear();
    let settled = |id: &Uuid| {
        state
            .holds
            .get(id)
            .is_some_and(|hold| hold.state.status != Status::Pending)
    };
    if let Some(id) = entry.consumption_id.filter(settled) {
        state.holds.remove(&id);
    }
    Ok(())
}

fn damaged_books(user_id: Uuid, seq: i64, problem: &str) -> StoreError {
    StoreError::Failed {
        problem: format!("entry {seq} of account {user_id}: {problem}"),
        remedy: "the books are damaged; run verify()",
    }
}
