//! The database and its archive read as one, as if nothing had ever left.

use crate::anchor::tree::Leaf;
use crate::archive::{Archive, ArchiveError, Segment};
use crate::ledger::{Account, Checkpoint, Entry, Hash, Hold, Lot, OrderNo, Timestamp};
use crate::lines;
use crate::store::anchors::{AnchorReads, AnchorRow, ChangedHeads, Group};
use crate::store::retention::{ArchiveFile, ArchiveKind};
use crate::store::{
    Claim, DamagedEntry, GiftRow, Page, Reading, Snapshot, StoreError, StoreResult, StoredEntry, StoredOrder,
    Sums,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use uuid::Uuid;

fn failed(error: ArchiveError) -> StoreError {
    StoreError::Failed {
        problem: format!("the archive: {error}"),
        remedy: "see to the archive, then try again",
    }
}

fn unreadable(name: &str, problem: &str) -> StoreError {
    StoreError::Failed {
        problem: format!("a line of the archive's file `{name}` can't be read: {problem}"),
        remedy: "restore the file from a backup",
    }
}

/// The archived entries of one account, by number.
pub(crate) async fn entries_of(
    archive: &Archive,
    files: &[ArchiveFile],
    user_id: Uuid,
) -> StoreResult<BTreeMap<i64, Entry>> {
    let mut found = BTreeMap::new();
    for file in files.iter().filter(|file| file.kind == ArchiveKind::Transactions) {
        let segment = archive.open_segment(&file.name).await.map_err(failed)?;
        for line in segment.lines_of(user_id).await.map_err(failed)? {
            let entry = lines::entry(&line).map_err(|problem| unreadable(&file.name, &problem))?;
            found.insert(entry.seq, entry);
        }
    }
    Ok(found)
}

/// A row that is in the database, in the archive, or for a while in both.
trait Row: Sized + Send + 'static {
    type Key: Ord + Copy + Send;

    fn key(&self) -> Self::Key;

    fn parse(line: &str) -> Result<Self, String>;

    fn stored(snapshot: &mut dyn Snapshot, after: Option<Self::Key>, limit: usize)
    -> Reading<'_, Page<Self>>;

    /// What is to be believed of a row that is in the database, too.
    fn with_archived(self, archived: Self) -> Self;
}

impl Row for StoredEntry {
    type Key = (Uuid, i64);

    fn key(&self) -> (Uuid, i64) {
        super::place(self)
    }

    fn parse(line: &str) -> Result<Self, String> {
        lines::entry(line).map(Ok)
    }

    fn stored(
        snapshot: &mut dyn Snapshot,
        after: Option<(Uuid, i64)>,
        limit: usize,
    ) -> Reading<'_, Page<Self>> {
        snapshot.entries(after, limit)
    }

    fn with_archived(self, archived: Self) -> Self {
        match (self, archived) {
            (Ok(stored), Ok(archived)) if stored != archived => Err(DamagedEntry {
                user_id: stored.user_id,
                seq: stored.seq,
                problem: "the archive has it otherwise".into(),
            }),
            (stored, _) => stored,
        }
    }
}

impl Row for Hold {
    type Key = (Uuid, Uuid);

    fn key(&self) -> (Uuid, Uuid) {
        (self.user_id, self.consumption_id)
    }

    fn parse(line: &str) -> Result<Self, String> {
        lines::hold(line)
    }

    fn stored(
        snapshot: &mut dyn Snapshot,
        after: Option<(Uuid, Uuid)>,
        limit: usize,
    ) -> Reading<'_, Page<Self>> {
        snapshot.holds(after, limit)
    }

    /// It changed after it was archived, and so it stayed.
    fn with_archived(self, _: Self) -> Self {
        self
    }
}

/// A file, row by row.
struct Stream<T> {
    name: String,
    segment: Segment,
    rows: VecDeque<T>,
}

impl<T: Row> Stream<T> {
    async fn fill(&mut self) -> StoreResult<()> {
        while self.rows.is_empty() {
            let Some(block) = self.segment.next_block().await.map_err(failed)? else {
                return Ok(());
            };
            let rows = block.iter().map(|(_, line)| T::parse(line));
            let rows: Result<_, String> = rows.collect();
            self.rows = rows.map_err(|problem| unreadable(&self.name, &problem))?;
        }
        Ok(())
    }
}

/// Files and a table, merged by key.
struct Merge<T: Row> {
    files: Vec<Stream<T>>,
    /// The first row of each file that has one.
    heads: BinaryHeap<Reverse<(T::Key, usize)>>,
    stored: VecDeque<T>,
    /// The last row that was fetched from the table.
    after: Option<T::Key>,
    ended: bool,
}

impl<T: Row> Merge<T> {
    async fn open(archive: &Archive, files: &[ArchiveFile], kind: ArchiveKind) -> StoreResult<Self> {
        let mut merge = Merge {
            files: Vec::new(),
            heads: BinaryHeap::new(),
            stored: VecDeque::new(),
            after: None,
            ended: false,
        };
        for file in files.iter().filter(|file| file.kind == kind) {
            merge.files.push(Stream {
                name: file.name.clone(),
                segment: archive.open_segment(&file.name).await.map_err(failed)?,
                rows: VecDeque::new(),
            });
            merge.refill(merge.files.len() - 1).await?;
        }
        Ok(merge)
    }

    async fn refill(&mut self, index: usize) -> StoreResult<()> {
        if let Some(file) = self.files.get_mut(index) {
            file.fill().await?;
            if let Some(head) = file.rows.front() {
                self.heads.push(Reverse((head.key(), index)));
            }
        }
        Ok(())
    }

    /// The next rows, `limit` of them if there are as many.
    async fn page(&mut self, snapshot: &mut dyn Snapshot, limit: usize) -> StoreResult<Vec<T>> {
        let mut page: Vec<T> = Vec::with_capacity(limit);
        while page.len() < limit {
            if self.stored.is_empty() && !self.ended {
                let rows = T::stored(snapshot, self.after, limit).await?.decode()?;
                self.ended = rows.len() < limit;
                self.after = rows.last().map(Row::key).or(self.after);
                self.stored = rows.into();
            }
            let archived = self.heads.peek().map(|Reverse((key, _))| *key);
            let stored = self.stored.front().map(Row::key);
            let Some(key) = archived.into_iter().chain(stored).min() else {
                break;
            };
            let mut row = None;
            // Of files more than one may have it, where two clean-ups were at work.
            while let Some(index) = self
                .heads
                .peek()
                .filter(|head| head.0.0 == key)
                .map(|head| head.0.1)
            {
                self.heads.pop();
                row = self.files.get_mut(index).and_then(|file| file.rows.pop_front());
                self.refill(index).await?;
            }
            if stored == Some(key) {
                let found = self.stored.pop_front();
                row = match (found, row) {
                    (Some(stored), Some(archived)) => Some(stored.with_archived(archived)),
                    (stored, archived) => stored.or(archived),
                };
            }
            page.extend(row);
        }
        Ok(page)
    }
}

/// A snapshot with what has left it. Entries and consumptions are read from the beginning, page after page.
pub(crate) struct Archived {
    inner: Box<dyn Snapshot>,
    entries: Merge<StoredEntry>,
    holds: Merge<Hold>,
}

impl Archived {
    /// `files`: at least those that the snapshot knows of.
    pub(crate) async fn open(
        inner: Box<dyn Snapshot>,
        archive: &Archive,
        files: &[ArchiveFile],
    ) -> StoreResult<Self> {
        Ok(Archived {
            inner,
            entries: Merge::open(archive, files, ArchiveKind::Transactions).await?,
            holds: Merge::open(archive, files, ArchiveKind::Consumptions).await?,
        })
    }
}

impl Snapshot for Archived {
    fn accounts(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Account>> {
        self.inner.accounts(after, limit)
    }

    fn entries(&mut self, _: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<StoredEntry>> {
        Box::pin(async move { Ok(Page::ready(self.entries.page(self.inner.as_mut(), limit).await?)) })
    }

    fn lots(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<(Uuid, Lot)>> {
        self.inner.lots(after, limit)
    }

    fn holds(&mut self, _: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<Hold>> {
        Box::pin(async move { Ok(Page::ready(self.holds.page(self.inner.as_mut(), limit).await?)) })
    }

    fn orders(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<StoredOrder>> {
        self.inner.orders(after, limit)
    }

    fn claims(&mut self, after: Option<(Uuid, OrderNo)>, limit: usize) -> Reading<'_, Page<Claim>> {
        self.inner.claims(after, limit)
    }

    fn gifts(&mut self, after: Option<(Uuid, Uuid)>, limit: usize) -> Reading<'_, Page<GiftRow>> {
        self.inner.gifts(after, limit)
    }

    fn checkpoints(&mut self, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Checkpoint>> {
        self.inner.checkpoints(after, limit)
    }

    fn kept(&mut self, after: Option<(Uuid, i64)>, limit: usize) -> Reading<'_, Page<(Uuid, i64, Hash)>> {
        self.inner.kept(after, limit)
    }

    fn lots_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<(Uuid, Lot)>> {
        self.inner.lots_of(user_id, lot_ids)
    }

    /// Only those of the database: what has left is kept by the audit, and not looked up again.
    fn holds_of(&mut self, user_id: Uuid, consumption_ids: Vec<Uuid>) -> Reading<'_, Page<Hold>> {
        self.inner.holds_of(user_id, consumption_ids)
    }

    fn gifts_of(&mut self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Page<GiftRow>> {
        self.inner.gifts_of(user_id, lot_ids)
    }

    fn journal(&mut self, user_id: Uuid, after: i64, limit: usize) -> Reading<'_, Vec<StoredEntry>> {
        self.inner.journal(user_id, after, limit)
    }

    fn checkpoint(&mut self, user_id: Uuid) -> Reading<'_, Option<Checkpoint>> {
        self.inner.checkpoint(user_id)
    }

    fn sums(&mut self) -> Reading<'_, Sums> {
        self.inner.sums()
    }

    fn archived_sums(&mut self) -> Reading<'_, BTreeMap<String, i128>> {
        self.inner.archived_sums()
    }
}

/// As the database has them.
impl AnchorReads for Archived {
    fn ledger_id(&mut self) -> Reading<'_, Uuid> {
        self.inner.ledger_id()
    }

    fn anchor(&mut self, number: Option<i64>) -> Reading<'_, Option<AnchorRow>> {
        self.inner.anchor(number)
    }

    fn mark(&mut self) -> Reading<'_, String> {
        self.inner.mark()
    }

    fn changed(&mut self, mark: String, since: Timestamp) -> Reading<'_, Option<ChangedHeads>> {
        self.inner.changed(mark, since)
    }

    fn has_anchor_of(&mut self, key: String) -> Reading<'_, bool> {
        self.inner.has_anchor_of(key)
    }

    fn leaves(&mut self, number: i64, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Leaf>> {
        self.inner.leaves(number, after, limit)
    }

    fn leaves_in(&mut self, buckets: Vec<u16>) -> Reading<'_, Vec<Leaf>> {
        self.inner.leaves_in(buckets)
    }

    fn group_roots(&mut self) -> Reading<'_, Vec<(i32, Hash)>> {
        self.inner.group_roots()
    }

    fn groups(&mut self, numbers: Vec<i32>) -> Reading<'_, Vec<Group>> {
        self.inner.groups(numbers)
    }

    fn left_until(&mut self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, i64, Hash, Timestamp)>> {
        self.inner.left_until(accounts)
    }

    fn heads_at(&mut self, entries: Vec<(Uuid, i64)>) -> Reading<'_, Vec<Leaf>> {
        self.inner.heads_at(entries)
    }
}
