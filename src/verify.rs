//! The audit: everything the tables say is derived from the journal again, in one pass and page by page.
//!
//! For each account, in order of id, its entries are replayed. Checked are, entry by entry, the number, the hash chain
//! and that the balance follows; and at the end that the account's figures, every lot and every consumption are what
//! the entries made them, that nothing is there without an entry, and that the figures agree with one another.
//!
//! Memory: one page of each table, and the lots and consumptions of one account.

use crate::ledger::{Account, Entry, Hash, Hold, Lot, State, Status, Timestamp, apply};
use crate::store::{DamagedEntry, Snapshot, StoreResult, StoredEntry, Sums};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use uuid::Uuid;

const PAGE: usize = 5_000;
/// How many faults are named; all are counted.
pub const FAULTS_NAMED_MAX: usize = 1_000;

/// What kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// An entry is missing, or stands twice.
    Sequence,
    /// An entry is not what it was when it was written.
    Hash,
    /// An entry can't be read, or does not follow from those before.
    Entry,
    /// The account's row is not what the entries make it.
    Account,
    /// A lot is not what the entries make it.
    Lot,
    /// A consumption is not what the entries make it.
    Hold,
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Sequence => "sequence",
            FaultKind::Hash => "hash",
            FaultKind::Entry => "entry",
            FaultKind::Account => "account",
            FaultKind::Lot => "lot",
            FaultKind::Hold => "hold",
        })
    }
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The account.
    pub user_id: Uuid,
    /// The entry, where it is about one.
    pub seq: Option<i64>,
    /// The lot or consumption, where it is about one.
    pub id: Option<Uuid>,
    /// What kind.
    pub kind: FaultKind,
    /// What is there, and what should be.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account {}", self.user_id)?;
        if let Some(seq) = self.seq {
            write!(f, ", entry {seq}")?;
        }
        if let Some(id) = self.id {
            write!(f, ", {} {id}", self.kind)?;
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

    fn fault(&mut self, fault: Fault) {
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

/// Rows of one table that were read and not used yet.
struct Ahead<T> {
    rows: VecDeque<T>,
    ended: bool,
}

impl<T> Ahead<T> {
    fn new() -> Self {
        Ahead {
            rows: VecDeque::new(),
            ended: false,
        }
    }

    fn wants(&self) -> bool {
        self.rows.is_empty() && !self.ended
    }

    fn got(&mut self, rows: Vec<T>) {
        self.ended = rows.len() < PAGE;
        self.rows.extend(rows);
    }
}

fn entry_position(entry: &StoredEntry) -> (Uuid, i64) {
    match entry {
        Ok(entry) => (entry.user_id, entry.seq),
        Err(damaged) => (damaged.user_id, damaged.seq),
    }
}

struct Audit<'s> {
    snapshot: &'s mut dyn Snapshot,
    accounts: Ahead<Account>,
    entries: Ahead<StoredEntry>,
    lots: Ahead<(Uuid, Lot)>,
    holds: Ahead<Hold>,
    after_account: Option<Uuid>,
    after_entry: Option<(Uuid, i64)>,
    after_lot: Option<(Uuid, Uuid)>,
    after_hold: Option<(Uuid, Uuid)>,
}

impl Audit<'_> {
    async fn account(&mut self) -> StoreResult<Option<&Account>> {
        if self.accounts.wants() {
            let rows = self.snapshot.accounts(self.after_account, PAGE).await?;
            self.after_account = rows.last().map(|a| a.user_id);
            self.accounts.got(rows);
        }
        Ok(self.accounts.rows.front())
    }

    async fn entry(&mut self) -> StoreResult<Option<&StoredEntry>> {
        if self.entries.wants() {
            let rows = self.snapshot.entries(self.after_entry, PAGE).await?;
            self.after_entry = rows.last().map(entry_position);
            self.entries.got(rows);
        }
        Ok(self.entries.rows.front())
    }

    async fn lot(&mut self) -> StoreResult<Option<&(Uuid, Lot)>> {
        if self.lots.wants() {
            let rows = self.snapshot.lots(self.after_lot, PAGE).await?;
            self.after_lot = rows.last().map(|(user_id, lot)| (*user_id, lot.lot_id));
            self.lots.got(rows);
        }
        Ok(self.lots.rows.front())
    }

    async fn hold(&mut self) -> StoreResult<Option<&Hold>> {
        if self.holds.wants() {
            let rows = self.snapshot.holds(self.after_hold, PAGE).await?;
            self.after_hold = rows.last().map(|hold| (hold.user_id, hold.consumption_id));
            self.holds.got(rows);
        }
        Ok(self.holds.rows.front())
    }

    /// The first account that any table still has rows of.
    async fn next_user(&mut self) -> StoreResult<Option<Uuid>> {
        let heads = [
            self.account().await?.map(|a| a.user_id),
            self.entry().await?.map(|e| entry_position(e).0),
            self.lot().await?.map(|(user_id, _)| *user_id),
            self.hold().await?.map(|h| h.user_id),
        ];
        Ok(heads.into_iter().flatten().min())
    }
}

/// What the entries make of one account.
struct Derived {
    state: State,
    /// SHA-256 of each hold's metadata.
    metadata: HashMap<Uuid, Option<String>>,
    /// Once an entry does not follow, what comes after can't be derived any more.
    broken: bool,
}

pub(crate) async fn verify(snapshot: &mut dyn Snapshot) -> StoreResult<Verification> {
    let mut audit = Audit {
        snapshot,
        accounts: Ahead::new(),
        entries: Ahead::new(),
        lots: Ahead::new(),
        holds: Ahead::new(),
        after_account: None,
        after_entry: None,
        after_lot: None,
        after_hold: None,
    };
    let mut found = Verification::default();
    while let Some(user_id) = audit.next_user().await? {
        found.accounts += 1;
        let mut derived = Derived {
            state: State::new(user_id, Timestamp::MIN),
            metadata: HashMap::new(),
            broken: false,
        };
        while audit
            .entry()
            .await?
            .is_some_and(|e| entry_position(e).0 == user_id)
        {
            if let Some(entry) = audit.entries.rows.pop_front() {
                found.entries += 1;
                derived.replay(entry, &mut found);
            }
        }
        let mut row = None;
        if audit.account().await?.is_some_and(|a| a.user_id == user_id) {
            row = audit.accounts.rows.pop_front();
        }
        derived.check_account(row.as_ref(), &mut found);
        while audit.lot().await?.is_some_and(|(owner, _)| *owner == user_id) {
            if let Some((_, lot)) = audit.lots.rows.pop_front() {
                found.lots += 1;
                derived.check_lot(&lot, &mut found);
            }
        }
        while audit.hold().await?.is_some_and(|hold| hold.user_id == user_id) {
            if let Some(hold) = audit.holds.rows.pop_front() {
                found.holds += 1;
                derived.check_hold(&hold, &mut found);
            }
        }
        derived.check_missing(&mut found);
    }
    Ok(found)
}

impl Derived {
    fn fault(&self, seq: Option<i64>, id: Option<Uuid>, kind: FaultKind, detail: String) -> Fault {
        Fault {
            user_id: self.state.account.user_id,
            seq,
            id,
            kind,
            detail,
        }
    }

    fn replay(&mut self, entry: StoredEntry, found: &mut Verification) {
        let seq = entry_position(&entry).1;
        let expected = self.state.account.seq + 1;
        if seq != expected {
            let detail = format!("entry {expected} should be here");
            found.fault(self.fault(Some(seq), None, FaultKind::Sequence, detail));
            self.broken = true;
            self.state.account.seq = seq - 1;
        }
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(DamagedEntry { problem, .. }) => {
                found.fault(self.fault(Some(seq), None, FaultKind::Entry, problem));
                self.broken = true;
                self.state.account.seq = seq;
                return;
            }
        };
        let chained = entry.chained(&self.state.account.hash);
        if chained != entry.hash {
            let detail = format!("its hash is {}, and should be {chained}", entry.hash);
            found.fault(self.fault(Some(seq), None, FaultKind::Hash, detail));
        }
        if !self.broken {
            entry.effects.new_hold = entry.made_hold();
            if let Some(hold) = &entry.effects.new_hold {
                self.metadata
                    .insert(hold.consumption_id, entry.effects.metadata_sha256.clone());
            }
            if let Err(problem) = apply(&mut self.state, &entry) {
                found.fault(self.fault(Some(seq), None, FaultKind::Entry, problem.problem.into()));
                self.broken = true;
            }
        }
        // Goes on from what is stored, so that one fault is named once.
        self.state.account.seq = seq;
        self.state.account.hash = entry.hash;
    }

    fn check_account(&self, row: Option<&Account>, found: &mut Verification) {
        let derived = &self.state.account;
        let Some(row) = row else {
            found.fault(self.fault(None, None, FaultKind::Account, "it has entries and no row".into()));
            return;
        };
        if derived.seq == 0 {
            found.fault(self.fault(
                None,
                None,
                FaultKind::Account,
                "it has a row and no entries".into(),
            ));
            return;
        }
        let mut differ = |name: &str, stored: &dyn fmt::Display, derived: &dyn fmt::Display| {
            let (stored, derived) = (stored.to_string(), derived.to_string());
            if stored != derived {
                let detail = format!("{name} is {stored}, and its entries make it {derived}");
                found.fault(self.fault(None, None, FaultKind::Account, detail));
            }
        };
        differ("seq", &row.seq, &derived.seq);
        differ("hash", &row.hash, &derived.hash);
        if self.broken {
            return;
        }
        differ("available", &row.available, &derived.available);
        differ("held", &row.held, &derived.held);
        differ("debt", &row.debt, &derived.debt);
        differ("borrowed", &row.borrowed, &derived.borrowed);
        differ("credit_limit", &row.credit_limit, &derived.credit_limit);
        differ("granted", &row.granted, &derived.granted);
        differ("spent", &row.spent, &derived.spent);
        differ("created_at", &row.created_at, &derived.created_at);
        differ("updated_at", &row.updated_at, &derived.updated_at);
        let lots = self.state.lots.values();
        let pending = || {
            self.state
                .holds
                .values()
                .filter(|h| h.state.status == Status::Pending)
        };
        let remaining: i64 = lots.clone().map(|lot| lot.remaining).sum();
        differ("available", &row.available, &(remaining - derived.debt));
        differ("held", &row.held, &pending().map(|h| h.amount).sum::<i64>());
        differ(
            "borrowed",
            &row.borrowed,
            &pending().map(|h| h.state.borrowed).sum::<i64>(),
        );
        let first_hold = pending().map(|h| h.state.expires_at).min();
        let first_lot = lots
            .filter(|lot| lot.remaining > 0)
            .filter_map(|lot| lot.expires_at)
            .min();
        for (name, bound, first) in [
            ("next_hold_deadline", row.next_hold_deadline, first_hold),
            ("next_lot_deadline", row.next_lot_deadline, first_lot),
        ] {
            if let Some(first) = first.filter(|first| bound.is_none_or(|bound| bound > *first)) {
                let bound = bound.map_or("none".into(), |b| b.to_string());
                differ(name, &bound, &format!("{first} at the latest"));
            }
        }
    }

    fn check_lot(&mut self, row: &Lot, found: &mut Verification) {
        let derived = self.state.lots.remove(&row.lot_id);
        if self.broken || derived.as_ref() == Some(row) {
            return;
        }
        let detail = match derived {
            None => "it is in no entry".into(),
            Some(derived) => format!("it is {row:?}, and the entries make it {derived:?}"),
        };
        found.fault(self.fault(None, Some(row.lot_id), FaultKind::Lot, detail));
    }

    fn check_hold(&mut self, row: &Hold, found: &mut Verification) {
        let id = row.consumption_id;
        let derived = self.state.holds.remove(&id);
        if self.broken {
            return;
        }
        let Some(mut derived) = derived else {
            found.fault(self.fault(None, Some(id), FaultKind::Hold, "it is in no entry".into()));
            return;
        };
        let stored = row
            .metadata
            .as_ref()
            .map(|m| Hash::of(m.as_str().as_bytes()).to_string());
        if self.metadata.get(&id).is_some_and(|written| *written != stored) {
            let detail = "its metadata is not what it was made with".into();
            found.fault(self.fault(None, Some(id), FaultKind::Hold, detail));
        }
        derived.metadata.clone_from(&row.metadata);
        if derived != *row {
            let detail = format!("it is {row:?}, and the entries make it {derived:?}");
            found.fault(self.fault(None, Some(id), FaultKind::Hold, detail));
        }
    }

    /// What entries made and no row shows.
    fn check_missing(&self, found: &mut Verification) {
        if self.broken {
            return;
        }
        for id in self.state.lots.keys() {
            found.fault(self.fault(None, Some(*id), FaultKind::Lot, "its row is gone".into()));
        }
        for id in self.state.holds.keys() {
            found.fault(self.fault(None, Some(*id), FaultKind::Hold, "its row is gone".into()));
        }
    }
}

/// The account as its entries up to `at` made it.
pub(crate) async fn state_at(
    snapshot: &mut dyn Snapshot,
    user_id: Uuid,
    at: Timestamp,
    page: usize,
) -> StoreResult<State> {
    let mut state = State::new(user_id, at);
    loop {
        let entries = snapshot.journal(user_id, state.account.seq, page).await?;
        let more = entries.len() == page;
        for entry in entries {
            let entry = entry.map_err(|damaged| damaged_books(user_id, damaged.seq, &damaged.problem))?;
            if entry.created_at > at {
                return Ok(state);
            }
            replay(&mut state, entry)?;
        }
        if !more {
            return Ok(state);
        }
    }
}

/// Applies an entry and keeps of the holds only those that are pending: nothing else matters to a balance.
fn replay(state: &mut State, mut entry: Entry) -> StoreResult<()> {
    entry.effects.new_hold = entry.made_hold();
    if let (Some(id), Some(after), None) =
        (entry.consumption_id, &entry.effects.hold, &entry.effects.new_hold)
    {
        // One that was settled before, and is looked at again: what it held does not count any more.
        state.holds.entry(id).or_insert_with(|| Hold {
            consumption_id: id,
            user_id: entry.user_id,
            amount: after.captured,
            feature: None,
            reference: None,
            metadata: None,
            created_at: entry.created_at,
            state: after.clone(),
        });
    }
    apply(state, &entry).map_err(|problem| damaged_books(entry.user_id, entry.seq, problem.problem))?;
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

fn damaged_books(user_id: Uuid, seq: i64, problem: &str) -> crate::store::StoreError {
    crate::store::StoreError::Failed {
        problem: format!("entry {seq} of account {user_id}: {problem}"),
        remedy: "the books are damaged; run verify()",
    }
}
