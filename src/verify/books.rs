//! What the entries make of one account, and how its rows compare.

use super::feed::{PAGE, Rows, place};
use super::{Fault, FaultKind, Past, Verification};
use crate::anchor::tree::Leaf;
use crate::ledger::{
    Account, Checkpoint, Entry, Hash, Hold, Kind, Lot, OpenLot, OrderNo, Source, State, Status, Timestamp,
    Witnessed, apply,
};
use crate::store::{CLOCKS_APART, Claim, GiftRow, StoreResult, StoredEntry, StoredOrder};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use uuid::Uuid;

/// How many lots, consumptions and gifts of an account are kept before those that stand as their rows say are put aside.
pub(super) const KEPT_MAX: usize = 20_000;

/// Ids, of which only their number and the sum of their hashes is kept: enough to tell whether two sets are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ids {
    count: i64,
    sum: u128,
}

impl Ids {
    fn part(id: Uuid) -> u128 {
        let Hash(bytes) = Hash::of(id.as_bytes());
        bytes
            .iter()
            .take(16)
            .fold(0, |n, byte| n << 8 | u128::from(*byte))
    }

    fn add(&mut self, id: Uuid) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(Ids::part(id));
    }

    fn remove(&mut self, id: Uuid) {
        self.count -= 1;
        self.sum = self.sum.wrapping_sub(Ids::part(id));
    }

    /// Whether an id of this kind can be in it.
    fn any(&self) -> bool {
        *self != Ids::default()
    }
}

/// One set for each kind of row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Aside {
    lots: Ids,
    holds: Ids,
    gifts: Ids,
}

/// Sums over the account's lots and holds, to compare its figures with.
#[derive(Default)]
struct Totals {
    remaining: i128,
    held: i128,
    borrowed: i128,
    first_lot: Option<Timestamp>,
    first_hold: Option<Timestamp>,
}

fn earlier(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

impl Totals {
    fn lot(&mut self, lot: &Lot) {
        self.remaining += i128::from(lot.remaining);
        if lot.remaining > 0 {
            self.first_lot = earlier(self.first_lot, lot.expires_at);
        }
    }

    fn hold(&mut self, hold: &Hold) {
        if hold.state.status == Status::Pending {
            self.held += i128::from(hold.amount);
            self.borrowed += i128::from(hold.state.borrowed);
            self.first_hold = earlier(self.first_hold, Some(hold.state.expires_at));
        }
    }
}

/// See the module.
pub(super) struct Books {
    /// The figures, and the lots and holds that are not put aside.
    state: State,
    /// Of those of these holds that have metadata or a quote: what their entries tell of them.
    texts: HashMap<Uuid, Texts>,
    /// Lots that the last entry granted with an order's number: the order is in that entry, or in the next one.
    bought: Vec<(OrderNo, Lot)>,
    /// Lots as they were granted by entries that are older than the checkpoint and stayed.
    granted_before: BTreeMap<Uuid, Lot>,
    /// The last entry that continues none, where it is known: its number and what those that continue it are to tell.
    to_continue: Option<(i64, Told)>,
    /// Orders whose payment is claimed for them.
    claimed: BTreeSet<OrderNo>,
    /// The gifts that are not put aside.
    gifts: BTreeMap<Uuid, GiftRow>,
    /// What was found to be as its row says, and is not kept any more.
    aside: Aside,
    /// Rows that were read at the end and were not kept. These must be what was put aside.
    not_kept: Aside,
    /// What `kept_max` is at the least.
    kept_floor: usize,
    kept_max: usize,
    totals: Totals,
    /// What stands for entries that have left, until the first one after it is replayed.
    checkpoint: Option<Checkpoint>,
    /// What the entries, which have been read from the archive, have to make.
    to_audit: Option<Checkpoint>,
    /// Entries up to the checkpoint that are to be there and were not met yet, each with the hash of the one before.
    to_stay: BTreeMap<i64, Hash>,
    /// What was made later is in the entries that are there.
    young_after: Option<Timestamp>,
    /// The entry that was anchored, until it is met.
    anchored: Option<Leaf>,
    /// That entry.
    met: Option<Met>,
    /// Where what has left the journal ends, if it is not read.
    left_until: Option<(i64, Hash)>,
    /// Once an entry does not follow, what comes after can't be derived any more.
    broken: bool,
}

/// What is told of an anchored entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    /// It is there.
    There { hash: Hash, available: i64, held: i64 },
    /// It is there and can't be read.
    Damaged,
    /// It has left the journal.
    Left,
}

/// What all entries tell that continue each other.
#[derive(PartialEq, Eq)]
struct Told {
    kind: Kind,
    consumption_id: Option<Uuid>,
    lot_id: Option<Uuid>,
    reference: Option<String>,
}

impl Told {
    fn by(entry: &Entry) -> Self {
        Told {
            kind: entry.kind,
            consumption_id: entry.consumption_id,
            lot_id: entry.lot_id,
            reference: entry.reference.clone(),
        }
    }
}

/// SHA-256 of the texts that only a hold's own row carries.
#[derive(PartialEq, Eq, Default)]
struct Texts {
    metadata: Option<String>,
    quote: Option<String>,
}

impl Texts {
    /// `None` where there are none.
    fn new(metadata: Option<String>, quote: Option<String>) -> Option<Self> {
        (metadata.is_some() || quote.is_some()).then_some(Texts { metadata, quote })
    }
}

/// The row without its texts, and the hashes of these: what entries tell.
fn without_texts(mut row: Hold) -> (Hold, Option<Texts>) {
    let hash = |text: &str| Hash::of(text.as_bytes()).to_string();
    let (metadata, quote) = (row.metadata.take(), row.quote.take());
    let texts = Texts::new(metadata.map(|m| hash(m.as_str())), quote.map(|q| hash(&q)));
    (row, texts)
}

/// Whether a row is what a lot older than the checkpoint has become: what had expired or was taken back before then is not
/// known.
fn continues(derived: &Lot, row: &Lot) -> bool {
    let same = Lot {
        expired: row.expired,
        clawed: row.clawed,
        ..derived.clone()
    };
    same == *row
        && row.expired >= derived.expired
        && row.clawed >= derived.clawed
        && row.remaining + row.expired <= row.amount
}

/// Whether a row is a lot that was granted so, whatever has become of it.
fn was_granted_as(granted: &Lot, row: &Lot) -> bool {
    let same = Lot {
        remaining: row.remaining,
        expired: row.expired,
        clawed: row.clawed,
        claim: row.claim,
        ..granted.clone()
    };
    same == *row
}

impl Books {
    pub(super) fn new(
        user_id: Uuid,
        kept_max: usize,
        past: Past,
        checkpoint: Option<Checkpoint>,
        to_stay: BTreeMap<i64, Hash>,
        anchored: Option<Leaf>,
    ) -> Self {
        let (checkpoint, to_audit) = match past {
            Past::Checkpoint => (checkpoint, None),
            Past::Archive => (None, checkpoint),
        };
        Books {
            young_after: checkpoint
                .as_ref()
                .map(|checkpoint| checkpoint.latest().plus(CLOCKS_APART)),
            left_until: checkpoint.as_ref().map(|c| (c.account.seq, c.account.hash)),
            checkpoint,
            to_audit,
            to_stay,
            anchored,
            met: None,
            state: State::new(user_id, Timestamp::MIN),
            texts: HashMap::new(),
            bought: Vec::new(),
            granted_before: BTreeMap::new(),
            to_continue: None,
            claimed: BTreeSet::new(),
            gifts: BTreeMap::new(),
            aside: Aside::default(),
            not_kept: Aside::default(),
            kept_floor: kept_max,
            kept_max,
            totals: Totals::default(),
            broken: false,
        }
    }

    fn fault(&self, seq: Option<i64>, id: Option<Uuid>, kind: FaultKind, detail: String) -> Fault {
        Fault {
            user_id: self.state.account.user_id,
            seq,
            id,
            kind,
            detail,
        }
    }

    /// `chained`: the hash that it should have.
    pub(super) fn replay(
        &mut self,
        entry: &mut StoredEntry,
        chained: Option<Hash>,
        rows: &Rows,
        found: &mut Verification,
    ) -> StoreResult<()> {
        let seq = match entry {
            Ok(entry) => entry.seq,
            Err(damaged) => damaged.seq,
        };
        if self.anchored.take_if(|leaf| leaf.seq == seq).is_some() {
            self.met = Some(match entry {
                Ok(entry) => Met::There {
                    hash: entry.hash,
                    available: entry.available,
                    held: entry.held,
                },
                Err(_) => Met::Damaged,
            });
        }
        if self.checkpoint.as_ref().is_some_and(|c| seq <= c.account.seq) {
            self.check_kept(seq, entry, found);
            return Ok(());
        }
        self.begin_at_checkpoint(rows, found)?;
        let expected = self.state.account.seq + 1;
        if seq != expected {
            let detail = format!("entry {expected} should be here");
            found.fault(self.fault(Some(seq), None, FaultKind::Sequence, detail));
            self.broken = true;
            self.state.account.seq = seq - 1;
        }
        match entry {
            Err(damaged) => {
                found.fault(self.fault(Some(seq), None, FaultKind::Entry, damaged.problem.clone()));
                self.broken = true;
            }
            Ok(entry) => {
                let chained = chained.unwrap_or_else(|| entry.chained(&self.state.account.hash));
                if chained != entry.hash {
                    let detail = format!("its hash is {}, and should be {chained}", entry.hash);
                    found.fault(self.fault(Some(seq), None, FaultKind::Hash, detail));
                }
                if self
                    .to_stay
                    .remove(&seq)
                    .is_some_and(|previous| previous != self.state.account.hash)
                {
                    let detail = "credit_kept_entries has another hash for the entry before it".into();
                    found.fault(self.fault(Some(seq), None, FaultKind::Hash, detail));
                }
                if !self.broken {
                    self.derive(entry, rows, found)?;
                }
                // Goes on from what is stored, so that one fault is named once.
                self.state.account.hash = entry.hash;
            }
        }
        self.state.account.seq = seq;
        self.audit_checkpoint(found);
        Ok(())
    }

    /// Compares the checkpoint of this entry with what the entries up to here have made.
    fn audit_checkpoint(&mut self, found: &mut Verification) {
        let seq = self.state.account.seq;
        let Some(checkpoint) = self.to_audit.take_if(|checkpoint| checkpoint.account.seq <= seq) else {
            return;
        };
        if self.broken {
            return;
        }
        let made = Checkpoint {
            witness: checkpoint.witness.clone(),
            latest: checkpoint.latest,
            ..Checkpoint::of(&self.state)
        };
        // What was put aside is not compared: a row says how it ends, not how it stood here.
        let is_all_there = self.aside == Aside::default();
        if made.account != checkpoint.account || (is_all_there && made != checkpoint) {
            let detail = format!("its checkpoint is {checkpoint:?}, and the entries make it {made:?}");
            found.fault(self.fault(Some(seq), None, FaultKind::Checkpoint, detail));
        }
    }

    /// An entry that is older than the checkpoint and stayed: it tells of orders, and of what their lots were granted as.
    fn check_kept(&mut self, seq: i64, entry: &StoredEntry, found: &mut Verification) {
        let mut fault = |kind, detail| found.fault(self.fault(Some(seq), None, kind, detail));
        let entry = match (entry, self.to_stay.get(&seq)) {
            (Err(damaged), _) => return fault(FaultKind::Entry, damaged.problem.clone()),
            (Ok(_), None) => {
                return fault(
                    FaultKind::Sequence,
                    "it is older than the checkpoint, and was not to stay".into(),
                );
            }
            (Ok(entry), Some(previous)) => {
                let chained = entry.chained(previous);
                if chained != entry.hash {
                    let detail = format!("its hash is {}, and should be {chained}", entry.hash);
                    fault(FaultKind::Hash, detail);
                }
                entry
            }
        };
        self.to_stay.remove(&seq);
        let granted = entry.effects.new_lots.iter();
        self.granted_before
            .extend(granted.map(|lot| (lot.lot_id, lot.clone())));
        self.match_order(entry, found);
        if let Err(problem) = self.state.note_order(entry) {
            found.fault(self.fault(Some(seq), None, FaultKind::Entry, problem.into()));
        }
    }

    /// After the last entry.
    pub(super) fn end_of_journal(&mut self, rows: &Rows, found: &mut Verification) -> StoreResult<()> {
        if let Some(checkpoint) = self.to_audit.take() {
            let detail = "it has a checkpoint, and its entries end before that".into();
            found.fault(self.fault(Some(checkpoint.account.seq), None, FaultKind::Sequence, detail));
        }
        self.begin_at_checkpoint(rows, found)
    }

    /// The checkpoint's entry, which the hash in the chain is over, says what was left then.
    fn check_witness(&self, checkpoint: &Checkpoint, found: &mut Verification) {
        let account = &checkpoint.account;
        let detail = match &checkpoint.witness {
            None => "its checkpoint lacks the entry that it stands at; only the archive can show what was left then".into(),
            Some(witness) if witness.hash() != account.hash => {
                "the entry in its checkpoint has not the hash that its journal goes on from".into()
            }
            Some(witness) => {
                let stands = Witnessed {
                    user_id: account.user_id,
                    seq: account.seq,
                    created_at: account.updated_at,
                    available: account.available,
                    held: account.held,
                };
                match witness.says() {
                    Some(says) if says == stands => return,
                    says => format!("its checkpoint is {stands:?}, and the entry in it says {says:?}"),
                }
            }
        };
        found.fault(self.fault(Some(account.seq), None, FaultKind::Checkpoint, detail));
    }

    fn begin_at_checkpoint(&mut self, rows: &Rows, found: &mut Verification) -> StoreResult<()> {
        let Some(checkpoint) = self.checkpoint.take() else {
            return Ok(());
        };
        for seq in std::mem::take(&mut self.to_stay).into_keys() {
            let detail = format!("entry {seq} should be here: it was to stay");
            found.fault(self.fault(Some(seq), None, FaultKind::Sequence, detail));
        }
        self.check_witness(&checkpoint, found);
        let account = &checkpoint.account;
        let lots = checkpoint.lots.values().map(|lot| i128::from(lot.remaining));
        let pending = || checkpoint.holds.values();
        let held = pending().map(|hold| i128::from(hold.amount));
        let borrowed = pending().map(|hold| i128::from(hold.state.borrowed));
        for (name, stored, sum) in [
            (
                "available",
                account.available,
                lots.sum::<i128>() - i128::from(account.debt),
            ),
            ("held", account.held, held.sum()),
            ("borrowed", account.borrowed, borrowed.sum()),
        ] {
            if i128::from(stored) != sum {
                let detail =
                    format!("{name} is {stored} at its checkpoint, whose lots and holds make it {sum}");
                found.fault(self.fault(Some(account.seq), None, FaultKind::Checkpoint, detail));
            }
        }
        let mut there = Vec::new();
        let ids: Vec<Uuid> = checkpoint.lots.keys().copied().collect();
        for ids in ids.chunks(PAGE) {
            there.extend(
                rows.lots(account.user_id, ids.to_vec())?
                    .into_iter()
                    .map(|(_, lot)| lot),
            );
        }
        let orders = std::mem::take(&mut self.state.orders);
        match checkpoint.state(there) {
            Ok(state) => self.state = State { orders, ..state },
            Err(id) => {
                let detail = "its row is gone, and the checkpoint names it".into();
                found.fault(self.fault(None, Some(id), FaultKind::Lot, detail));
                self.state.account = checkpoint.account;
                self.broken = true;
            }
        }
        Ok(())
    }

    /// Whether something made then is in an entry that is there. What is older may be in one that has left.
    fn is_young(&self, created_at: Timestamp) -> bool {
        self.young_after.is_none_or(|after| created_at > after)
    }

    fn derive(&mut self, entry: &mut Entry, rows: &Rows, found: &mut Verification) -> StoreResult<()> {
        entry.effects.new_hold = entry.made_hold().map(Into::into);
        self.recall(entry, rows)?;
        if let Some(hold) = &entry.effects.new_hold {
            let texts = Texts::new(
                entry.effects.metadata_sha256.clone(),
                entry.effects.quote_sha256.clone(),
            );
            self.texts.extend(texts.map(|texts| (hold.consumption_id, texts)));
        }
        if let Some(gift) = GiftRow::of(entry) {
            self.gifts.insert(gift.lot_id, gift);
        }
        self.match_continued(entry, found);
        self.match_order(entry, found);
        if let Err(problem) = apply(&mut self.state, entry) {
            found.fault(self.fault(Some(entry.seq), None, FaultKind::Entry, problem.problem.into()));
            self.broken = true;
        }
        if !self.broken && self.kept() > self.kept_max {
            self.put_aside(rows)?;
            // Twice what can't be put aside yet: so the work is shared out over as many entries again.
            self.kept_max = self.kept_floor.max(self.kept() * 2);
        }
        Ok(())
    }

    /// An entry that continues another follows it, or one that does too. It tells the same, and moves nothing: it only pays for
    /// what holds have borrowed. Beyond a checkpoint nobody knows which one it continues.
    fn match_continued(&mut self, entry: &Entry, found: &mut Verification) {
        let Some(continued) = entry.effects.continues else {
            self.to_continue = Some((entry.seq, Told::by(entry)));
            return;
        };
        let follows = match &self.to_continue {
            Some((seq, told)) => *seq == continued && *told == Told::by(entry),
            None => self.left_until.is_some_and(|(seq, _)| continued <= seq),
        };
        let moves = (entry.change, entry.held_change) != (0, 0) || entry.idempotency_key.is_some();
        if !follows || moves || entry.effects.funded.is_empty() {
            let detail = format!("it does not continue entry {continued}");
            found.fault(self.fault(Some(entry.seq), None, FaultKind::Entry, detail));
        }
    }

    /// A settled order names its lots, each of which was granted with it: in the entry that names it, or, where a second
    /// one follows, in the entry before (or in the one that this continues). Which lots are an order's the entries say. That
    /// a lot has its number for a reference says nothing: anybody may grant credits with that.
    fn match_order(&mut self, entry: &Entry, found: &mut Verification) {
        if entry.effects.continues.is_some() {
            return;
        }
        let mut granted = std::mem::take(&mut self.bought);
        let just_now: Vec<_> = entry
            .lots_bought()
            .map(|(order_no, lot)| (order_no, lot.clone()))
            .collect();
        granted.extend(just_now.iter().cloned());
        let Some(order) = &entry.effects.order else {
            self.bought = just_now;
            return;
        };
        let names = |lot: &Lot| [order.state.lot_id, order.state.bonus_lot_id].contains(&Some(lot.lot_id));
        for (_, lot) in just_now.iter().filter(|(_, lot)| !names(lot)) {
            let detail = format!(
                "a {} lot was granted with order {}, which does not name it",
                lot.source, order.order_no
            );
            found.fault(self.fault(Some(entry.seq), Some(lot.lot_id), FaultKind::Lot, detail));
        }
        let before = self.state.orders.get(&order.order_no).map(|order| &order.state);
        for (named, known, source, credits) in [
            (
                order.state.lot_id,
                before.and_then(|b| b.lot_id),
                Source::Purchase,
                order.credits,
            ),
            (
                order.state.bonus_lot_id,
                before.and_then(|b| b.bonus_lot_id),
                Source::Bonus,
                order.bonus_credits,
            ),
        ] {
            let lot = match (named, known) {
                (named, known) if named == known => continue,
                (Some(lot_id), None) => granted
                    .iter()
                    .find(|(order_no, lot)| *order_no == order.order_no && lot.lot_id == lot_id),
                _ => None,
            };
            if lot.is_none_or(|(_, lot)| lot.source != source || lot.amount != credits) {
                let detail =
                    format!("it names no {source} lot of {credits} credits that was granted with it");
                let id = Some(order.order_no.0);
                found.fault(self.fault(Some(entry.seq), id, FaultKind::Order, detail));
            }
        }
    }

    fn kept(&self) -> usize {
        self.state.lots.len() + self.state.holds.len() + self.gifts.len()
    }

    /// Lets go of everything that stands as its row says. Later entries may change it, and change it back:
    /// [`recall`](Self::recall).
    fn put_aside(&mut self, rows: &Rows) -> StoreResult<()> {
        let user_id = self.state.account.user_id;
        let lots = self.state.lots.values();
        let ids: Vec<Uuid> = lots
            .filter(|lot| self.is_young(lot.created_at))
            .map(|lot| lot.lot_id)
            .collect();
        for ids in ids.chunks(PAGE) {
            for (_, row) in rows.lots(user_id, ids.to_vec())? {
                if self.state.lots.get(&row.lot_id).is_some_and(|lot| **lot == row) {
                    self.state.lots.remove(&row.lot_id);
                    self.aside.lots.add(row.lot_id);
                }
            }
        }
        let holds = self.state.holds.values();
        let ids: Vec<Uuid> = holds
            .filter(|hold| self.is_young(hold.created_at))
            .map(|hold| hold.consumption_id)
            .collect();
        for ids in ids.chunks(PAGE) {
            for row in rows.holds(user_id, ids.to_vec())? {
                let (row, texts) = without_texts(row);
                let id = row.consumption_id;
                if self.state.holds.get(&id).is_some_and(|hold| **hold == row)
                    && self.texts.get(&id) == texts.as_ref()
                {
                    self.state.holds.remove(&id);
                    self.texts.remove(&id);
                    self.aside.holds.add(id);
                }
            }
        }
        let gifts = self.gifts.values();
        let ids: Vec<Uuid> = gifts
            .filter(|gift| self.is_young(gift.created_at))
            .map(|gift| gift.lot_id)
            .collect();
        for ids in ids.chunks(PAGE) {
            for row in rows.gifts(user_id, ids.to_vec())? {
                if self.gifts.get(&row.lot_id) == Some(&row) {
                    self.gifts.remove(&row.lot_id);
                    self.aside.gifts.add(row.lot_id);
                }
            }
        }
        Ok(())
    }

    /// Takes back what was put aside and this entry changes: it was as its row says, so the row says how it was. And what is
    /// older than the checkpoint, which says how it was.
    fn recall(&mut self, entry: &Entry, rows: &Rows) -> StoreResult<()> {
        let (user_id, effects) = (self.state.account.user_id, &entry.effects);
        let since_checkpoint = self.young_after.is_some();
        if self.aside.holds.any() || since_checkpoint {
            let settled = entry
                .consumption_id
                .filter(|_| effects.hold.is_some() && effects.new_hold.is_none());
            let mut ids: Vec<Uuid> = settled
                .into_iter()
                .chain(effects.funded.iter().map(|(id, _)| *id))
                .collect();
            ids.retain(|id| !self.state.holds.contains_key(id));
            if !ids.is_empty() {
                for row in rows.holds(user_id, ids)? {
                    let (row, texts) = without_texts(row);
                    let id = row.consumption_id;
                    if self.is_young(row.created_at) {
                        self.aside.holds.remove(id);
                    }
                    self.texts.extend(texts.map(|texts| (id, texts)));
                    self.state.put_hold(row);
                }
            }
        }
        if self.aside.lots.any() || since_checkpoint {
            let ids = self.state.lots_missing(entry);
            if !ids.is_empty() {
                for (_, row) in rows.lots(user_id, ids)? {
                    if self.is_young(row.created_at) {
                        self.aside.lots.remove(row.lot_id);
                        self.state.put_lot(row);
                    } else {
                        // What the checkpoint does not name was empty.
                        self.state.recall(row, OpenLot::default());
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn check_lot(&mut self, row: &Lot, found: &mut Verification) {
        let derived = self.state.lots.remove(&row.lot_id);
        if self.broken {
            return;
        }
        self.totals.lot(derived.as_deref().unwrap_or(row));
        if let Some(granted) = self.granted_before.remove(&row.lot_id)
            && !was_granted_as(&granted, row)
        {
            let detail = format!("it is {row:?}, and was granted as {granted:?}");
            return found.fault(self.fault(None, Some(row.lot_id), FaultKind::Lot, detail));
        }
        let detail = match derived {
            Some(derived) if *derived == *row => return,
            Some(derived) if self.state.floating.contains(&row.lot_id) && continues(&derived, row) => return,
            Some(derived) => format!("it is {row:?}, and the entries make it {derived:?}"),
            None if !self.is_young(row.created_at) && row.remaining == 0 && row.claim == 0 => return,
            None if !self.is_young(row.created_at) => {
                "it has something left, of which the checkpoint does not know".into()
            }
            None if self.aside.lots.any() => return self.not_kept.lots.add(row.lot_id),
            None => "it is in no entry".into(),
        };
        found.fault(self.fault(None, Some(row.lot_id), FaultKind::Lot, detail));
    }

    pub(super) fn check_hold(&mut self, row: Hold, found: &mut Verification) {
        let id = row.consumption_id;
        let derived = self.state.holds.remove(&id);
        if self.broken {
            return;
        }
        self.totals.hold(derived.as_deref().unwrap_or(&row));
        let Some(derived) = derived else {
            if !self.is_young(row.created_at) && row.state.status != Status::Pending {
                // All its entries have left.
            } else if self.aside.holds.any() {
                self.not_kept.holds.add(id);
            } else {
                found.fault(self.fault(None, Some(id), FaultKind::Hold, "it is in no entry".into()));
            }
            return;
        };
        let (row, texts) = without_texts(row);
        // What it was made with is in an entry that has left, where it is older than the checkpoint.
        let made_with = self.texts.remove(&id);
        if made_with != texts && (made_with.is_some() || self.is_young(row.created_at)) {
            let detail = "its metadata or its quote is not what it was made with".into();
            found.fault(self.fault(None, Some(id), FaultKind::Hold, detail));
        }
        if *derived != row {
            let detail = format!("it is {row:?}, and the entries make it {derived:?}");
            found.fault(self.fault(None, Some(id), FaultKind::Hold, detail));
        }
    }

    pub(super) fn check_gift(&mut self, row: &GiftRow, found: &mut Verification) {
        let derived = self.gifts.remove(&row.lot_id);
        if self.broken {
            return;
        }
        let detail = match derived {
            Some(derived) if derived == *row => return,
            Some(derived) => format!("it is {row:?}, and the entries make it {derived:?}"),
            None if !self.is_young(row.created_at) => return,
            None if self.aside.gifts.any() => return self.not_kept.gifts.add(row.lot_id),
            None => "it is in no entry".into(),
        };
        found.fault(self.fault(None, Some(row.lot_id), FaultKind::Gift, detail));
    }

    /// Before the orders are checked.
    pub(super) fn check_claim(&mut self, claim: &Claim, found: &mut Verification) {
        if self.broken {
            return;
        }
        let order = self.state.orders.get(&claim.order_no);
        if order.and_then(Claim::of).as_ref() == Some(claim) {
            self.claimed.insert(claim.order_no);
            return;
        }
        let detail = format!(
            "payment {} of {} is claimed for it, and its entries settle it with no such payment",
            claim.transaction_id, claim.channel
        );
        found.fault(self.fault(None, Some(claim.order_no.0), FaultKind::Order, detail));
    }

    pub(super) fn check_order(&mut self, row: StoredOrder, found: &mut Verification) {
        let derived = self.state.orders.remove(&place(&row).1);
        let row = match row {
            Ok(row) => row,
            Err(damaged) => {
                let id = Some(damaged.order_no.0);
                return found.fault(self.fault(None, id, FaultKind::Order, damaged.problem));
            }
        };
        if self.broken {
            return;
        }
        let claim = derived.as_ref().and_then(Claim::of);
        if let Some(claim) = claim.filter(|claim| !self.claimed.contains(&claim.order_no)) {
            let detail = format!(
                "payment {} of {}, which settled it, is not claimed for it: it has settled another order too, or the claim is gone",
                claim.transaction_id, claim.channel
            );
            found.fault(self.fault(None, Some(row.order_no.0), FaultKind::Order, detail));
        }
        let detail = match derived {
            Some(derived) if derived == row => return,
            Some(derived) => format!("it is {row:?}, and the entries make it {derived:?}"),
            None => "it is in no entry".into(),
        };
        found.fault(self.fault(None, Some(row.order_no.0), FaultKind::Order, detail));
    }

    /// What entries made and no row shows; after all rows were checked.
    pub(super) fn check_missing(&mut self, found: &mut Verification) {
        if self.broken {
            return;
        }
        let gone = |id: &Uuid, kind| self.fault(None, Some(*id), kind, "its row is gone".into());
        let granted_before = self.granted_before.keys();
        let granted_before = granted_before.filter(|id| !self.state.lots.contains_key(*id));
        let lots = self.state.lots.keys().chain(granted_before);
        let lots = lots.map(|id| gone(id, FaultKind::Lot));
        let holds = self.state.holds.keys().map(|id| gone(id, FaultKind::Hold));
        let gifts = self.gifts.keys().map(|id| gone(id, FaultKind::Gift));
        let orders = self.state.orders.keys().map(|id| gone(&id.0, FaultKind::Order));
        lots.chain(holds)
            .chain(gifts)
            .chain(orders)
            .for_each(|fault| found.fault(fault));
        self.state.lots.values().for_each(|lot| self.totals.lot(lot));
        self.state.holds.values().for_each(|hold| self.totals.hold(hold));
        for (kind, aside, read) in [
            (FaultKind::Lot, self.aside.lots, self.not_kept.lots),
            (FaultKind::Hold, self.aside.holds, self.not_kept.holds),
            (FaultKind::Gift, self.aside.gifts, self.not_kept.gifts),
        ] {
            if aside != read {
                let detail = format!(
                    "beside those named, its entries made {} rows of this kind ({kind}), and {} others are there",
                    aside.count, read.count
                );
                found.fault(self.fault(None, None, kind, detail));
            }
        }
    }

    /// Whether the entry that was anchored is the one that is there now; after all rows were checked.
    pub(super) fn check_anchored(&self, leaf: &Leaf, found: &mut Verification) -> Option<Met> {
        let met = self.met.or(match self.left_until {
            Some((seq, hash)) if seq == leaf.seq => Some(Met::There {
                hash,
                available: leaf.available,
                held: leaf.held,
            }),
            Some((seq, _)) if seq > leaf.seq => Some(Met::Left),
            _ => None,
        });
        let detail = match met {
            Some(Met::There { hash, .. }) if hash == leaf.hash => return met,
            Some(Met::Left) => return met,
            Some(Met::Damaged) => return met,
            Some(Met::There { hash, .. }) => {
                format!("its hash is {hash}, and was {} when it was anchored", leaf.hash)
            }
            None => format!(
                "it was anchored, and is gone; the journal ends with {} (or it was of a rate card or package)",
                self.state.account.seq
            ),
        };
        found.fault(self.fault(Some(leaf.seq), None, FaultKind::Anchor, detail));
        met
    }

    /// The figures; after all rows were checked.
    pub(super) fn check_account(&self, row: Option<&Account>, found: &mut Verification) {
        let derived = &self.state.account;
        let mut fault = |detail: String| found.fault(self.fault(None, None, FaultKind::Account, detail));
        let Some(row) = row else {
            if derived.seq > 0 {
                fault("it has entries and no row".into());
            }
            return;
        };
        if derived.seq == 0 {
            return fault("it has a row and no entries".into());
        }
        let mut differ = |name: &str, stored: &dyn fmt::Display, derived: &dyn fmt::Display| {
            fault(format!("{name} is {stored}, and its entries make it {derived}"));
        };
        if row.seq != derived.seq {
            differ("seq", &row.seq, &derived.seq);
        }
        if row.hash != derived.hash {
            differ("hash", &row.hash, &derived.hash);
        }
        if self.broken {
            return;
        }
        let totals = &self.totals;
        for (name, stored, derived) in [
            ("available", row.available, i128::from(derived.available)),
            ("held", row.held, derived.held.into()),
            ("debt", row.debt, derived.debt.into()),
            ("borrowed", row.borrowed, derived.borrowed.into()),
            ("credit_limit", row.credit_limit, derived.credit_limit.into()),
            ("granted", row.granted, derived.granted.into()),
            ("spent", row.spent, derived.spent.into()),
            (
                "available",
                row.available,
                totals.remaining - i128::from(derived.debt),
            ),
            ("held", row.held, totals.held),
            ("borrowed", row.borrowed, totals.borrowed),
        ] {
            if i128::from(stored) != derived {
                differ(name, &stored, &derived);
            }
        }
        for (name, stored, derived) in [
            ("created_at", row.created_at, derived.created_at),
            ("updated_at", row.updated_at, derived.updated_at),
        ] {
            if stored != derived {
                differ(name, &stored, &derived);
            }
        }
        for (name, bound, first) in [
            ("next_hold_deadline", row.next_hold_deadline, totals.first_hold),
            ("next_lot_deadline", row.next_lot_deadline, totals.first_lot),
        ] {
            if let Some(first) = first.filter(|first| bound.is_none_or(|bound| bound > *first)) {
                let bound = bound.map_or("none".into(), |b| b.to_string());
                differ(name, &bound, &format_args!("{first} at the latest"));
            }
        }
    }
}
