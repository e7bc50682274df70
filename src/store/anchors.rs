//! What anchors ask of a store: what changed since the last one, the tree as it was then, and to write the new one whole.

use super::{Page, Reading};
use crate::anchor::tree::Leaf;
use crate::ledger::{Hash, Timestamp};
use uuid::Uuid;

/// An anchor as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnchorRow {
    pub(crate) number: i64,
    /// Its line.
    pub(crate) record: String,
    /// Where the journal was; only the store that wrote it can read it. Empty where the anchor's time says it.
    pub(crate) mark: String,
}

/// 256 buckets that are stored together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) number: i32,
    /// The node above them.
    pub(crate) root: Hash,
    /// Their hashes, one after the other.
    pub(crate) buckets: Vec<u8>,
}

/// What a new anchor writes.
#[derive(Debug, Clone)]
pub(crate) struct AnchorWrite {
    pub(crate) anchor: AnchorRow,
    pub(crate) at: Timestamp,
    /// Leaves that are new, or other than they were.
    pub(crate) leaves: Vec<Leaf>,
    /// Groups that changed.
    pub(crate) groups: Vec<Group>,
}

/// What was written since the newest anchor.
#[derive(Debug)]
pub(crate) struct ChangedHeads {
    /// The heads of at least the accounts with entries that were written since, in order of id.
    pub(crate) heads: Vec<Leaf>,
    /// The leaf by which the mark was believed: the account, which is among the heads, and its number.
    pub(crate) believed: Option<(Uuid, i64)>,
}

/// The part of a snapshot that anchors read.
pub(crate) trait AnchorReads: Send {
    /// Which ledger this is.
    fn ledger_id(&mut self) -> Reading<'_, Uuid>;

    /// The anchor with this number; the newest one where `None`.
    fn anchor(&mut self, number: Option<i64>) -> Reading<'_, Option<AnchorRow>>;

    /// Where the journal is now, for [`changed`](AnchorReads::changed).
    fn mark(&mut self) -> Reading<'_, String>;

    /// What was written since the newest anchor. `None` where that can't be told: then all accounts have to be looked at.
    /// `mark`: that anchor's. `since`: when it was made, or earlier, for clocks differ.
    ///
    /// The mark stands in the database and is not signed. It may be believed only as far as a leaf confirms it, which is then
    /// compared with the root.
    fn changed(&mut self, mark: String, since: Timestamp) -> Reading<'_, Option<ChangedHeads>>;

    /// Whether there is an anchor that says it is signed with this key, in hexadecimal.
    fn has_anchor_of(&mut self, key: String) -> Reading<'_, bool>;

    /// The leaves as of an anchor, of accounts with an id greater than `after`.
    fn leaves(&mut self, number: i64, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Leaf>>;

    /// The leaves that are in these buckets now, in order of account.
    fn leaves_in(&mut self, buckets: Vec<u16>) -> Reading<'_, Vec<Leaf>>;

    /// The root of every group that is there.
    fn group_roots(&mut self) -> Reading<'_, Vec<(i32, Hash)>>;

    /// Those of these groups that are there.
    fn groups(&mut self, numbers: Vec<i32>) -> Reading<'_, Vec<Group>>;

    /// The last entries that have left the journals of these accounts: number, hash and time of each.
    fn left_until(&mut self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, i64, Hash, Timestamp)>>;

    /// What those of these entries say that are in the journal.
    fn heads_at(&mut self, entries: Vec<(Uuid, i64)>) -> Reading<'_, Vec<Leaf>>;
}

/// The part of a store that writes anchors.
pub(crate) trait Anchors: Send + Sync {
    /// Writes all of it; or nothing, and `false`, where there is an anchor with this number already.
    fn put_anchor(&self, write: AnchorWrite) -> Reading<'_, bool>;

    /// Removes anchors older than this one, and leaves that only those need. Says how many anchors.
    fn prune_anchors(&self, oldest: i64) -> Reading<'_, u64>;
}
