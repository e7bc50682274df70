//! Retention: old rows leave the database through an archive, and the books lose nothing by it.
//!
//! # What leaves, and what stays
//!
//! | | |
//! | --- | --- |
//! | an entry older than `older_than` | leaves, if all entries of its account before it do: a journal gets shorter from its beginning only |
//! | entries since the oldest hold that is pending | stay |
//! | entries of orders, and the grants of what they bought | stay, for as long as the order: they go to the archive like the others, and are not removed |
//! | idempotency keys | stay for [`KEYS_KEPT`]: nothing younger leaves |
//! | consumptions | leave when they are over, unchanged since `older_than`, and all their entries have left |
//! | accounts, lots, orders, gifts | stay |
//!
//! In the place of what left stands a [checkpoint](crate::ledger::Checkpoint) for each account, from which its journal goes
//! on: `verify`, balances as of a time, and what counter-accounts add up to are as they were.
//!
//! # How it is done, and what a crash leaves
//!
//! 1. Old entries are read and written into a file of the archive, which is read back. A crash before this leaves at the
//!    most a file that nobody names.
//! 2. The file is entered into `credit_archives`. From here on the next clean-up goes on with it, whoever calls it.
//! 3. *The file is read*, and what it says is removed, [`BATCH`] entries in a transaction: each entry's hash is computed
//!    from its line and the checkpoint, the row has to have the same, and the checkpoint moves with it. So nothing is
//!    removed that the archive does not have, to the byte; and what a crash has interrupted is found out from the
//!    checkpoints.
//!
//! Two clean-ups at once hinder each other and nobody else: a checkpoint that has moved makes the second one look again.
//! Traffic is not waited for and does not wait: it adds to the end of journals, and what is removed is at the beginning.
//! A clean-up works for a quarter of its time and rests in between ([`REST`]), so that it takes no more than a share of a
//! busy machine.

mod merged;

use crate::archive::{Archive, ArchiveError, Sealed, SegmentWriter};
use crate::clock::Moment;
use crate::error::{Error, Result, Written};
use crate::facade::{Ledger, Page, Piece, TransactionFilter, page_limit};
use crate::ledger::{Checkpoint, Entry, Hash, Hold, Refusal, Timestamp};
use crate::lines;
pub use crate::store::retention::KEYS_KEPT;
use crate::store::retention::{AccountRemoval, ArchiveFile, ArchiveKind, Removal};
use crate::store::{Reader, StoreError, StoreResult, StoredEntry};
use crate::verify::{Anchored, Facts, Fault, FaultKind, Past, Scope, Verification, verify};
use merged::Archived;
pub(crate) use merged::entries_of;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Rows removed in one transaction.
const BATCH: usize = 1_000;
/// Accounts that are looked at together.
const ACCOUNTS: usize = 100;
/// Entries of each that are read at first; of one that has more, the rest comes in larger parts.
const FEW: usize = 64;
const MANY: usize = 2_000;
/// A file of the archive is full with so many rows, or so many bytes.
const FILE_ROWS: u64 = 50_000;
const FILE_BYTES: usize = 16 * 1024 * 1024;
/// How long it rests after so much work: nobody waits for a clean-up, and traffic goes on beside it.
const REST: u32 = 3;
/// How often a transaction is tried that others get in the way of.
const TRIES: u32 = 20;

/// What a clean-up is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleanup {
    /// How old a row must be to leave: [`KEYS_KEPT`] at the least.
    pub older_than: Duration,
    /// Where the archive is: a directory, or `s3://bucket/prefix`.
    pub archive: String,
    /// Ends once so many rows have been archived, or a few more; the next call goes on.
    pub limit: Option<u64>,
    /// Counts what would leave, and changes nothing.
    pub dry_run: bool,
}

/// What a clean-up did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanedUp {
    /// What is older has left, unless it had to stay.
    pub before: Timestamp,
    /// Rows that were written into the archive; with `dry_run`, that would be.
    pub archived: u64,
    /// Rows that left the database; with `dry_run`, that would.
    pub removed: u64,
    /// Rows that are in the archive and stayed, because an order needs them, or because they changed meanwhile.
    pub kept: u64,
    /// Files that were written.
    pub files: Vec<String>,
    /// Their size.
    pub bytes: u64,
    /// Whether the limit ended it: another call goes on, if anything is left.
    pub more: bool,
}

impl From<ArchiveError> for Error {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::Location { problem } => Error::Refused(Refusal::Invalid {
                field: "archive",
                problem: "is no place for an archive",
                limit: "a directory, or s3://bucket/prefix".into(),
                value: problem,
            }),
            other => Error::Unavailable {
                outcome: Written::No,
                reason: format!("the archive: {other}"),
                remedy: "see to the archive, then call it again: it goes on where it was".into(),
            },
        }
    }
}

fn damaged(name: &str, problem: impl std::fmt::Display) -> Error {
    Error::Unavailable {
        outcome: Written::No,
        reason: format!("the archive's file `{name}` does not fit the books: {problem}"),
        remedy: "nothing that it does not fit was removed; run verify()".into(),
    }
}

impl Ledger {
    /// Moves old entries of the journal into an archive. Safe at any time, from several processes, and to be broken off: what
    /// one call has left half-done the next one goes on with.
    ///
    /// # Errors
    /// `validation` for an age that is too low or an archive that is none; `unavailable` where the archive or the database
    /// fails, or what is archived does not fit the journal.
    pub async fn cleanup_transactions(&self, cleanup: &Cleanup) -> Result<CleanedUp> {
        let mut run = Run::begin(self, cleanup, ArchiveKind::Transactions).await?;
        run.archive_entries().await?;
        Ok(run.done)
    }

    /// Moves consumptions that are over into an archive, once all their entries have left the journal. As
    /// [`cleanup_transactions`](Ledger::cleanup_transactions) in everything else.
    ///
    /// A consumption that has left can't be refunded any more.
    ///
    /// # Errors
    /// As [`cleanup_transactions`](Ledger::cleanup_transactions).
    pub async fn cleanup_consumption_logs(&self, cleanup: &Cleanup) -> Result<CleanedUp> {
        let mut run = Run::begin(self, cleanup, ArchiveKind::Consumptions).await?;
        run.archive_holds().await?;
        Ok(run.done)
    }

    /// [`verify`](Ledger::verify) of database and archive as one chain, from each account's first entry; and every file of the
    /// archive is what was written.
    ///
    /// # Errors
    /// `validation` for an archive that is none; `unavailable`. Files that are damaged or gone are faults, no errors; where
    /// there are any, the database is audited without the archive.
    pub async fn verify_archived(&self, archive: &str) -> Result<Verification> {
        self.audit_archived(archive, None).await
    }

    pub(crate) async fn audit_archived(
        &self,
        archive: &str,
        anchored: Option<Anchored>,
    ) -> Result<Verification> {
        let archive = Archive::open(archive)?;
        let now = self.now();
        let begin = move |reader: Arc<dyn Reader>| async move {
            // First the snapshot, then the files: so there is one for everything that has left it.
            let mut snapshot = reader.snapshot().await?;
            let facts = Facts::read(reader.as_ref(), snapshot.archived_sums().await?, now).await?;
            StoreResult::Ok((snapshot, facts, reader.archives().await?))
        };
        let (mut snapshot, facts, files) = self.read(begin).await?;
        let mut faults = Vec::new();
        for file in &files {
            match archive.check(&file.name, &file.sha256.0, file.bytes).await {
                Ok(()) => {}
                Err(error @ ArchiveError::Store { .. }) => return Err(error.into()),
                Err(error) => faults.push(Fault {
                    user_id: Uuid::nil(),
                    seq: None,
                    id: None,
                    kind: FaultKind::Archive,
                    detail: error.to_string(),
                }),
            }
        }
        let scope = |past| Scope {
            past,
            anchored,
            facts: Some(facts),
        };
        let mut found = if faults.is_empty() {
            let mut whole = Archived::open(snapshot, &archive, &files).await?;
            verify(&mut whole, scope(Past::Archive)).await?
        } else {
            verify(snapshot.as_mut(), scope(Past::Checkpoint)).await?
        };
        faults.into_iter().for_each(|fault| found.fault(fault));
        Ok(found)
    }

    /// A page of an account's journal, newest first, with what has left for the archive: [`transactions`](Ledger::transactions)
    /// from the first entry on.
    ///
    /// # Errors
    /// As [`transactions`](Ledger::transactions); `unavailable` also where the archive can't be read.
    pub async fn archived_transactions(
        &self,
        user_id: Uuid,
        filter: TransactionFilter,
        archive: &str,
    ) -> Result<Page<Entry>> {
        let archive = Archive::open(archive)?;
        let limit = page_limit(filter.limit)?;
        let stored = self.transactions(user_id, filter.clone()).await?;
        let files = self.archives().await?;
        let before = filter.cursor.as_deref().and_then(|cursor| cursor.parse().ok());
        let (since, until) = (filter.since, filter.until);
        let piece = self
            .read(move |reader| async move { Piece::of(reader.as_ref(), user_id, since, until).await })
            .await?;
        let mut entries = entries_of(&archive, &files, user_id).await?;
        let piece = piece.with(since, until, entries.values());
        let wanted = |entry: &Entry| {
            filter.kind.is_none_or(|kind| entry.kind == kind)
                && (entry.seq > piece.after && entry.seq <= piece.end)
                && before.is_none_or(|before: i64| entry.seq < before)
        };
        let more_stored = stored.next_cursor.is_some();
        let last_stored = stored.items.last().map_or(0, |entry| entry.seq);
        entries.extend(stored.items.into_iter().map(|entry| (entry.seq, entry)));
        entries.retain(|_, entry| wanted(entry));
        if more_stored {
            // What is older than this page of the journal may have newer entries of the journal before it.
            entries.retain(|seq, _| *seq >= last_stored);
        }
        let more = more_stored || entries.len() > limit;
        let items: Vec<Entry> = entries.into_values().rev().take(limit).collect();
        let next_cursor = items.last().filter(|_| more).map(|entry| entry.seq.to_string());
        Ok(Page { items, next_cursor })
    }

    /// The files of the archive, oldest first.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn archives(&self) -> Result<Vec<ArchiveFile>> {
        self.read(|reader| async move { reader.archives().await }).await
    }
}

/// A clean-up under way.
struct Run<'l> {
    ledger: &'l Ledger,
    archive: Archive,
    kind: ArchiveKind,
    limit: u64,
    dry_run: bool,
    now: Timestamp,
    /// Since when it has been at work.
    working: Moment,
    done: CleanedUp,
}

impl<'l> Run<'l> {
    /// Finishes what others have left, unless nothing is to change.
    async fn begin(ledger: &'l Ledger, cleanup: &Cleanup, kind: ArchiveKind) -> Result<Run<'l>> {
        let now = ledger.now();
        if cleanup.older_than < KEYS_KEPT {
            return Err(Error::invalid(
                "older_than",
                "would remove idempotency keys that are still promised",
                format!("{} d at the least", KEYS_KEPT.as_secs() / 86_400),
                format!("{} s", cleanup.older_than.as_secs()),
            ));
        }
        ledger.check_clock().await?;
        let age = i64::try_from(cleanup.older_than.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now.as_micros().saturating_sub(age));
        let mut run = Run {
            ledger,
            archive: Archive::open(&cleanup.archive)?,
            kind,
            limit: cleanup.limit.unwrap_or(u64::MAX).max(1),
            dry_run: cleanup.dry_run,
            now,
            working: Moment::now(),
            done: CleanedUp {
                before,
                archived: 0,
                removed: 0,
                kept: 0,
                files: Vec::new(),
                bytes: 0,
                more: false,
            },
        };
        if !run.dry_run {
            for file in ledger.archives().await? {
                if file.kind == kind && file.removed_at.is_none() {
                    run.archive.check(&file.name, &file.sha256.0, file.bytes).await?;
                    run.remove(&file).await?;
                }
            }
        }
        Ok(run)
    }

    fn writer(&self) -> SegmentWriter {
        let kind = self.kind.as_str();
        let header = serde_json::json!({
            "jointo_credits": kind,
            "version": 1,
            "older_than_us": self.done.before,
            "created_at_us": self.now,
        });
        SegmentWriter::new(&header.to_string())
    }

    /// Stores a file and removes what is in it. A new one takes its place.
    async fn close(&mut self, writer: &mut SegmentWriter) -> Result<()> {
        let full = std::mem::replace(writer, self.writer());
        if full.lines() == 0 {
            return Ok(());
        }
        let sealed = full.seal()?;
        let file = self.store(&sealed).await?;
        self.done.files.push(file.name.clone());
        self.done.bytes += file.bytes;
        self.remove(&file).await
    }

    async fn store(&self, sealed: &Sealed) -> Result<ArchiveFile> {
        let sha256 = Hash(sealed.sha256());
        let digits: String = sha256.to_string().chars().take(16).collect();
        let day: String = self.done.before.to_string().chars().take(10).collect();
        let file = ArchiveFile {
            name: format!("{}-{day}-{digits}.jsonl.zst", self.kind.as_str()),
            kind: self.kind,
            older_than: self.done.before,
            lines: sealed.lines(),
            bytes: sealed.bytes().len() as u64,
            sha256,
            created_at: self.now,
            removed_at: None,
        };
        self.archive.put(&file.name, sealed).await?;
        self.archive.check(&file.name, &sha256.0, file.bytes).await?;
        let entered = file.clone();
        let store = |reader: Arc<dyn Reader>| async move { reader.add_archive(entered).await };
        self.ledger.read(store).await?;
        Ok(file)
    }

    /// Leaves the machine to others for a while.
    async fn rest(&mut self) {
        tokio::time::sleep(self.working.age() * REST).await;
        self.working = Moment::now();
    }

    /// Whether enough was done. More rows follow.
    fn is_enough(&mut self) -> bool {
        self.done.more = self.done.archived >= self.limit;
        self.done.more
    }

    // --- entries ----------------------------------------------------------------------------------------------------

    async fn archive_entries(&mut self) -> Result<()> {
        let mut writer = self.writer();
        let (before, mut after) = (self.done.before, None);
        loop {
            let find = move |reader: Arc<dyn Reader>| async move {
                let accounts = reader.archivable(before, after, ACCOUNTS).await?;
                let ids = accounts.iter().map(|(user_id, _)| *user_id).collect();
                let pending: BTreeMap<Uuid, Timestamp> =
                    reader.first_pending(ids).await?.into_iter().collect();
                let entries = reader.journals(accounts.clone(), FEW).await?;
                StoreResult::Ok((accounts, pending, entries))
            };
            let (accounts, pending, entries) = self.ledger.read(find).await?;
            let Some((last, _)) = accounts.last() else { break };
            after = Some(*last);
            let mut entries = entries.into_iter().peekable();
            for (user_id, seq) in accounts {
                let until = pending.get(&user_id).map_or(before, |first| before.min(*first));
                let mut of_account = Vec::new();
                while let Some(entry) = entries.next_if(|entry| place(entry).0 == user_id) {
                    of_account.push(entry);
                }
                self.archive_account(&mut writer, user_id, seq, until, of_account)
                    .await?;
                if self.is_enough() {
                    return self.close(&mut writer).await;
                }
            }
            self.rest().await;
        }
        self.close(&mut writer).await
    }

    /// The entries of one account after number `seq` up to the first that was not written before `until`.
    async fn archive_account(
        &mut self,
        writer: &mut SegmentWriter,
        user_id: Uuid,
        mut seq: i64,
        until: Timestamp,
        mut entries: Vec<StoredEntry>,
    ) -> Result<()> {
        let mut wanted = FEW;
        loop {
            let is_last = entries.len() < wanted;
            for entry in entries {
                let entry = entry.map_err(|damaged| StoreError::Failed {
                    problem: format!("entry {} of account {user_id}: {}", damaged.seq, damaged.problem),
                    remedy: "the books are damaged; run verify()",
                })?;
                // Not the next one: another clean-up is at work, and removes it.
                if entry.created_at >= until || entry.seq != seq + 1 {
                    return Ok(());
                }
                seq = entry.seq;
                self.count(entry.is_of_an_order());
                if self.dry_run {
                    continue;
                }
                writer.push(user_id, &lines::of_entry(&entry))?;
                if writer.lines() >= FILE_ROWS || writer.bytes() >= FILE_BYTES {
                    self.close(writer).await?;
                }
            }
            if is_last || self.done.archived >= self.limit {
                return Ok(());
            }
            wanted = MANY;
            let find = move |reader: Arc<dyn Reader>| async move {
                reader.journals(vec![(user_id, seq)], MANY).await
            };
            entries = self.ledger.read(find).await?;
        }
    }

    fn count(&mut self, stays: bool) {
        self.done.archived += 1;
        if self.dry_run {
            match stays {
                true => self.done.kept += 1,
                false => self.done.removed += 1,
            }
        }
    }

    // --- removing ---------------------------------------------------------------------------------------------------

    /// Removes what a file of the archive says, which was checked, as far as that has not been done.
    async fn remove(&mut self, file: &ArchiveFile) -> Result<()> {
        let mut segment = self.archive.open_segment(&file.name).await?;
        while let Some(block) = segment.next_block().await? {
            for lines in block.chunks(BATCH) {
                match file.kind {
                    ArchiveKind::Transactions => self.remove_entries(&file.name, lines).await?,
                    ArchiveKind::Consumptions => self.remove_holds(&file.name, lines).await?,
                }
            }
        }
        let (name, at) = (file.name.clone(), self.now);
        let finish = move |reader: Arc<dyn Reader>| async move { reader.finish_archive(name, at).await };
        self.ledger.read(finish).await
    }

    async fn remove_entries(&mut self, name: &str, lines: &[(Uuid, String)]) -> Result<()> {
        let entries = lines.iter().map(|(_, line)| lines::entry(line));
        let entries: Vec<Entry> = entries.collect::<Result<_, _>>().map_err(|e| damaged(name, e))?;
        let mut tries = TRIES;
        loop {
            let ids: Vec<Uuid> = entries
                .chunk_by(|a, b| a.user_id == b.user_id)
                .filter_map(|of| Some(of.first()?.user_id))
                .collect();
            let find = |reader: Arc<dyn Reader>| async move { reader.checkpoints(ids).await };
            let checkpoints = self.ledger.read(find).await?;
            let removal = plan(checkpoints, &entries).map_err(|problem| damaged(name, problem))?;
            let size = |part: fn(&AccountRemoval) -> usize| removal.accounts.iter().map(part).sum::<usize>();
            let (gone, kept) = (size(|part| part.gone.len()), size(|part| part.kept.len()));
            if removal.accounts.is_empty() {
                return Ok(());
            }
            let remove =
                move |reader: Arc<dyn Reader>| async move { Ok(reader.remove_entries(removal).await) };
            match self.ledger.read(remove).await? {
                Ok(true) => {
                    self.done.removed += gone as u64;
                    self.done.kept += kept as u64;
                    self.rest().await;
                    return Ok(());
                }
                Ok(false) | Err(StoreError::Busy(_)) if tries > 0 => tries -= 1,
                Ok(false) => return Err(StoreError::Busy("another clean-up is at work".into()).into()),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn remove_holds(&mut self, name: &str, lines: &[(Uuid, String)]) -> Result<()> {
        let holds = lines.iter().map(|(_, line)| lines::hold(line));
        let holds: Vec<Hold> = holds.collect::<Result<_, _>>().map_err(|e| damaged(name, e))?;
        let remove = |reader: Arc<dyn Reader>| async move { reader.remove_holds(holds).await };
        self.done.removed += self.ledger.read(remove).await?;
        self.rest().await;
        Ok(())
    }

    // --- consumptions -----------------------------------------------------------------------------------------------

    async fn archive_holds(&mut self) -> Result<()> {
        let (before, mut after) = (self.done.before, None);
        loop {
            let limit = usize::try_from(FILE_ROWS.min(self.limit - self.done.archived)).unwrap_or(1);
            let find = move |reader: Arc<dyn Reader>| async move {
                reader.archivable_holds(before, after, limit).await
            };
            let mut holds = self.ledger.read(find).await?;
            let Some(last) = holds.last() else { return Ok(()) };
            after = Some(last.consumption_id);
            holds.sort_by_key(|hold| (hold.user_id, hold.consumption_id));
            let mut writer = self.writer();
            for hold in &holds {
                self.count(false);
                if !self.dry_run {
                    writer.push(hold.user_id, &lines::of_hold(hold))?;
                    if writer.bytes() >= FILE_BYTES {
                        self.close(&mut writer).await?;
                    }
                }
            }
            self.close(&mut writer).await?;
            if self.is_enough() {
                return Ok(());
            }
        }
    }
}

/// The account and number of an entry.
fn place(entry: &StoredEntry) -> (Uuid, i64) {
    match entry {
        Ok(entry) => (entry.user_id, entry.seq),
        Err(damaged) => (damaged.user_id, damaged.seq),
    }
}

/// One transaction that removes those of these archived entries that the checkpoints have not passed.
fn plan(checkpoints: Vec<Checkpoint>, entries: &[Entry]) -> Result<Removal, String> {
    let mut checkpoints: BTreeMap<Uuid, Checkpoint> = checkpoints
        .into_iter()
        .map(|checkpoint| (checkpoint.account.user_id, checkpoint))
        .collect();
    let mut removal = Removal::default();
    for of_account in entries.chunk_by(|a, b| a.user_id == b.user_id) {
        let Some(user_id) = of_account.first().map(|entry| entry.user_id) else {
            continue;
        };
        let known = checkpoints.remove(&user_id);
        let expected = known.as_ref().map(|checkpoint| checkpoint.account.seq);
        let mut part = AccountRemoval {
            expected,
            checkpoint: known.unwrap_or_else(|| Checkpoint::new(user_id)),
            kept: Vec::new(),
            gone: Vec::new(),
        };
        for entry in of_account
            .iter()
            .filter(|entry| entry.seq > expected.unwrap_or(0))
        {
            let previous = part.checkpoint.account.hash;
            if entry.chained(&previous) != entry.hash {
                return Err(format!(
                    "the hash of entry {} of account {user_id} does not follow from the one before",
                    entry.seq
                ));
            }
            part.checkpoint
                .advance(entry)
                .map_err(|problem| problem.to_string())?;
            if entry.is_of_an_order() {
                part.kept.push((entry.seq, previous));
            } else {
                part.gone.push((entry.seq, entry.hash));
                *removal.sums.entry(entry.counter_account.to_string()).or_default() +=
                    i128::from(entry.counter_change());
            }
        }
        if Some(part.checkpoint.account.seq) != expected && part.checkpoint.account.seq > 0 {
            removal.accounts.push(part);
        }
    }
    Ok(removal)
}
