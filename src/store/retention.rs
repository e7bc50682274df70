//! What a clean-up asks of a store: to name what is old, and to remove what is in the archive.
//!
//! A store removes nothing but what it is given, entry by entry with its hash, together with the checkpoint that stands
//! for it, in one transaction: see [`Removal`].

use super::{Reading, StoreError, StoreResult, StoredEntry};
use crate::ledger::{Checkpoint, Hash, Hold, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How long an idempotency key is kept at the least, and with it everything else.
pub const KEYS_KEPT: Duration = Duration::from_secs(30 * 86_400);

/// For clocks that differ, where it matters how long ago something was.
const MARGIN: Duration = Duration::from_secs(86_400);

/// Whether what was written at `at` can have left the journal by `now`. Not for another day, where it can't.
pub(crate) fn may_have_left(at: Timestamp, now: Timestamp) -> bool {
    now >= at.plus(KEYS_KEPT - MARGIN)
}

/// How far the clocks of two processes may differ: what is compared by time, and not by number, is that much older.
pub(crate) const CLOCKS_APART: Duration = Duration::from_secs(3_600);

/// One transaction of a clean-up of the journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct Removal {
    pub(crate) accounts: Vec<AccountRemoval>,
    /// What the entries had booked on each counter-account.
    pub(crate) sums: BTreeMap<String, i128>,
}

/// One account's part of it.
#[derive(Debug, Clone)]
pub(crate) struct AccountRemoval {
    /// The number of the checkpoint before this one; `None` where it is the first.
    pub(crate) expected: Option<i64>,
    pub(crate) checkpoint: Checkpoint,
    /// Entries up to the checkpoint that stay, each with the hash of the one before.
    pub(crate) kept: Vec<(i64, Hash)>,
    /// Entries that leave, each with its hash.
    pub(crate) gone: Vec<(i64, Hash)>,
}

impl AccountRemoval {
    pub(crate) fn user_id(&self) -> Uuid {
        self.checkpoint.account.user_id
    }
}

/// What is in a file of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// Entries of the journal.
    Transactions,
    /// Consumptions.
    Consumptions,
}

impl ArchiveKind {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ArchiveKind::Transactions => "transactions",
            ArchiveKind::Consumptions => "consumptions",
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn parse(word: &str) -> Option<Self> {
        [ArchiveKind::Transactions, ArchiveKind::Consumptions]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// A file of the archive, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub kind: ArchiveKind,
    /// Everything in it is older.
    pub older_than: Timestamp,
    /// Rows.
    pub lines: u64,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Hash,
    /// When it was written.
    pub created_at: Timestamp,
    /// When everything in it had left the database.
    pub removed_at: Option<Timestamp>,
}

/// The part of a store that clean-ups use.
pub(crate) trait Retention: Send + Sync {
    /// Accounts whose first entry after their checkpoint was written before `before`, by id, after the given one. With the
    /// number of the checkpoint; 0 where there is none.
    fn archivable(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        limit: usize,
    ) -> Reading<'_, Vec<(Uuid, i64)>>;

    /// The `each` entries after each of these numbers, by account and number.
    fn journals(&self, after: Vec<(Uuid, i64)>, each: usize) -> Reading<'_, Vec<StoredEntry>>;

    /// When the oldest pending hold of each of these accounts was made, where there is one.
    fn first_pending(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, Timestamp)>>;

    /// The checkpoints of these accounts, where there are any.
    fn checkpoints(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<Checkpoint>>;

    /// Writes the checkpoints and removes the entries, all or nothing: nothing, and `false`, where a checkpoint has moved.
    /// An entry that is not there, or not as it was archived, is an error.
    fn remove_entries(&self, removal: Removal) -> Reading<'_, bool>;

    /// Consumptions that are over and did not change since `before`, all of whose entries have left, by id, after the given
    /// one.
    fn archivable_holds(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        limit: usize,
    ) -> Reading<'_, Vec<Hold>>;

    /// Removes those of these consumptions that are still as given, and says how many.
    fn remove_holds(&self, holds: Vec<Hold>) -> Reading<'_, u64>;

    /// Every file of the archive, oldest first.
    fn archives(&self) -> Reading<'_, Vec<ArchiveFile>>;

    /// Takes note of a file that is in the archive, unless that is known.
    fn add_archive(&self, file: ArchiveFile) -> Reading<'_, ()>;

    /// Takes note that everything in a file has left the database.
    fn finish_archive(&self, name: String, at: Timestamp) -> Reading<'_, ()>;
}

/// Entries that are to leave and are not there as they were archived.
pub(crate) fn not_as_archived(wanted: usize, found: usize) -> StoreError {
    StoreError::Failed {
        problem: format!(
            "of {wanted} archived entries only {found} are in the journal as they were archived"
        ),
        remedy: "nothing was removed; run verify()",
    }
}

/// A checkpoint as stored.
pub(crate) fn checkpoint(
    user_id: Uuid,
    seq: i64,
    hash: Hash,
    at: Timestamp,
    data: &str,
) -> StoreResult<Checkpoint> {
    Checkpoint::parse(user_id, seq, hash, at, data).map_err(|error| StoreError::Failed {
        problem: format!("the checkpoint of account {user_id} can't be read: {error}"),
        remedy: "restore the table credit_checkpoints from a backup",
    })
}
