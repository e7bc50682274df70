//! How an anchor is made, and how one account is proved with it.
//!
//! All heads are read in one picture of the database. The first anchor looks at all accounts, the next ones at those with
//! entries since, and at the leaves that share a bucket with them. What they go on from has to lead to the root of the anchor
//! before, and each account that changed has to go on from the entry that was anchored: so an anchor never covers up what
//! the one before would have shown. Where that entry is not in the journal any more, the checkpoint has to be at it: what was
//! written after an anchor leaves 30 days later at the earliest. What is signed of an account is what its last entry says.

use super::items::items;
use super::proof::Proof;
use super::record::{Anchor, PublicKey, Signing, Trust};
use super::tree::{self, BUCKETS, GROUP, Growing, Leaf, bucket_of};
#[cfg(feature = "archive")]
use crate::archive::Archive;
use crate::error::{Error, Result};
use crate::facade::Ledger;
use crate::ledger::{Entry, Hash, Refusal, Timestamp};
#[cfg(feature = "archive")]
use crate::retention::entries_of;
use crate::store::anchors::{AnchorRow, AnchorWrite, ChangedHeads, Group};
use crate::store::retention::may_have_left;
use crate::store::{CLOCKS_APART, Reader, Snapshot, StoreError, StoreResult};
use crate::verify::{Anchored, Past, Verification, catalogue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How often it is tried to be the next anchor, where others are made at the same time.
const TRIES: u32 = 20;
/// Rows that are read at a time.
const PAGE: usize = 4_096;
/// How many entries a proof may have. It is a text in memory.
const PROVED_MAX: usize = 1_000_000;
/// How many anchors are kept at the least, whatever is asked for.
const ANCHORS_KEPT_MIN: u64 = 2;
fn changed_outside(problem: String) -> StoreError {
    StoreError::Failed {
        problem,
        remedy: "no anchor was made, which would have covered it up: run verify() with the last anchor that you keep",
    }
}

/// An anchor that is not signed yet.
struct Draft {
    ledger_id: Uuid,
    number: i64,
    previous: Option<Hash>,
    mark: String,
    accounts: u64,
    available: i128,
    held: i128,
    root: Hash,
    leaves: Vec<Leaf>,
    groups: Vec<Group>,
    now: Timestamp,
    /// Whether entries that were written after the last anchor can have left the journal by now.
    may_have_left: bool,
}

impl Ledger {
    /// Makes an anchor: a line of text over everything in the books, to be kept where whoever can write to the database can't.
    ///
    /// It costs what changed since the last one. `all`: looks at every account, whether anything seems to have changed or not;
    /// so does the first one.
    ///
    /// # Errors
    /// `unavailable`; also where what is there does not go on from what the last anchor saw: no anchor is made of that.
    ///
    /// ```
    /// # use jointo_credits::{Ledger, Signing, Trust};
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// let ledger = Ledger::connect("memory:").await?;
    /// let anchor = ledger.anchor(&Signing::Unsigned, false).await?;
    /// assert!(ledger.verify_anchored(&anchor, &Trust::Unsigned, None).await?.is_clean());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn anchor(&self, signing: &Signing, all: bool) -> Result<Anchor> {
        // The next anchor looks at what was written since this one, by the time.
        self.check_clock().await?;
        let apart = self
            .max_clock_skew()
            .map_or(CLOCKS_APART, |skew| CLOCKS_APART.max(skew * 2));
        let mut tries = TRIES;
        loop {
            let now = self.now();
            let key = match signing {
                Signing::With(key) => Some(key.public()),
                Signing::Unsigned => None,
            };
            let asked = Asked { now, apart, all, key };
            let draft = self
                .read(move |reader| async move { draft(reader.as_ref(), asked).await })
                .await?;
            let anchor = Anchor::sign(
                draft.ledger_id,
                draft.number,
                now,
                (draft.accounts, draft.available, draft.held),
                draft.root,
                draft.previous,
                signing,
            );
            let write = AnchorWrite {
                anchor: AnchorRow {
                    number: draft.number,
                    record: anchor.to_string(),
                    mark: draft.mark,
                },
                at: now,
                leaves: draft.leaves,
                groups: draft.groups,
            };
            let put = |reader: Arc<dyn Reader>| async move { Ok(reader.put_anchor(write).await) };
            match self.read(put).await? {
                Ok(true) => return Ok(anchor),
                Ok(false) | Err(StoreError::Busy(_)) if tries > 0 => tries -= 1,
                Ok(false) => return Err(StoreError::Busy("others make anchors".into()).into()),
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes all but the newest `keep` anchors from the database, 2 at the least, and what only they need. Says how many. An anchor
    /// that was removed can't be verified with any more; the ones that are kept elsewhere stay what they are.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn prune_anchors(&self, keep: u64) -> Result<u64> {
        let keep = i64::try_from(keep.max(ANCHORS_KEPT_MIN)).unwrap_or(i64::MAX);
        self.read(move |reader| async move {
            let newest = reader.snapshot().await?.anchor(None).await?;
            match newest.map(|row| row.number.saturating_sub(keep - 1)) {
                Some(oldest) if oldest > 1 => reader.prune_anchors(oldest).await,
                _ => Ok(0),
            }
        })
        .await
    }

    /// [`verify`](Ledger::verify), and everything before the anchor is what it was when the anchor was made: nothing is missing
    /// from the end of a journal, no account is gone, and no chain was written anew.
    ///
    /// With an archive, database and archive are audited as one chain, as by `verify_archived`.
    ///
    /// # Errors
    /// `validation` where the anchor is not signed by whom is trusted, or is another ledger's; `unavailable`.
    pub async fn verify_anchored(
        &self,
        anchor: &Anchor,
        trust: &Trust,
        archive: Option<&str>,
    ) -> Result<Verification> {
        anchor.check(trust)?;
        let found = self
            .read(|reader| async move { reader.snapshot().await?.ledger_id().await })
            .await?;
        if found != anchor.ledger_id {
            return Err(Error::invalid(
                "anchor",
                "is of another ledger",
                format!("an anchor of ledger {found}"),
                anchor.ledger_id,
            ));
        }
        let anchored = Anchored {
            number: anchor.number,
            record: anchor.to_string(),
            root: anchor.root,
            accounts: anchor.accounts,
            available: anchor.available,
            held: anchor.held,
            is_recent: is_recent(anchor, self.now()),
        };
        match archive {
            None => self.audit(Past::Checkpoint, Some(anchored)).await,
            #[cfg(feature = "archive")]
            Some(archive) => self.audit_archived(archive, Some(anchored)).await,
            #[cfg(not(feature = "archive"))]
            Some(archive) => Err(no_archive(archive)),
        }
    }

    /// Proves an account's entries, up to the one that was anchored, to somebody who has only the anchor:
    /// [`check_proof`](crate::check_proof). Where old entries have left for an archive, the proof begins after them, unless the
    /// archive is given.
    ///
    /// # Errors
    /// `not_found` for an account that the anchor does not cover; `validation` where the anchor is not this ledger's, or the
    /// account has too many entries; `unavailable`, also where an entry that has to be shown is not there.
    pub async fn prove(&self, user_id: Uuid, anchor: &Anchor, archive: Option<&str>) -> Result<String> {
        let (root, number, ledger_id) = (anchor.root, anchor.number, anchor.ledger_id);
        let find = move |reader: Arc<dyn Reader>| async move {
            let mut snapshot = reader.snapshot().await?;
            if snapshot.ledger_id().await? != ledger_id {
                return Ok(None);
            }
            let way = way_of(snapshot.as_mut(), user_id, number).await?;
            let Some(way) = way else { return Ok(Some(None)) };
            let entries = journal_until(snapshot.as_mut(), user_id, way.leaf.seq).await?;
            StoreResult::Ok(Some(Some((way, entries))))
        };
        let Some(found) = self.read(find).await? else {
            return Err(Error::invalid(
                "anchor",
                "is of another ledger",
                "an anchor of this ledger",
                ledger_id,
            ));
        };
        let Some((way, entries)) = found else {
            return Err(Error::Refused(Refusal::NotFound {
                what: "account in this anchor",
                id: user_id,
            }));
        };
        if way.root != root {
            return Err(tampered(number).into());
        }
        let mut all: BTreeMap<i64, Entry> = match archive {
            None => BTreeMap::new(),
            #[cfg(feature = "archive")]
            Some(archive) => {
                let archive = Archive::open(archive)?;
                entries_of(&archive, &self.archives().await?, user_id).await?
            }
            #[cfg(not(feature = "archive"))]
            Some(archive) => return Err(no_archive(archive)),
        };
        all.retain(|seq, _| *seq <= way.leaf.seq);
        all.extend(entries.into_iter().map(|entry| (entry.seq, entry)));
        if all.len() > PROVED_MAX {
            return Err(Error::invalid(
                "user_id",
                "has too many entries for a proof",
                PROVED_MAX,
                all.len(),
            ));
        }
        // The entries that hang together, back from the anchored one.
        let mut first = way.leaf.seq;
        while all.contains_key(&(first - 1)) {
            first -= 1;
        }
        let previous = match all.get(&first).filter(|_| first > 1) {
            None => None,
            Some(_) => Some(self.hash_before(user_id, first).await?),
        };
        let mut proof = Proof::begin(anchor, user_id, previous, way.place, &way.leaves, &way.path);
        all.range(first..).for_each(|(_, entry)| proof.add(entry));
        if !all.contains_key(&way.leaf.seq) {
            return Err(changed_outside(format!(
                "entry {} of account {user_id}, which was anchored, is not there; if it has left for the archive, give that",
                way.leaf.seq
            ))
            .into());
        }
        Ok(proof.finish())
    }

    /// The hash before an entry whose predecessor has left: the checkpoint's, or the one that is kept with an entry that stayed.
    async fn hash_before(&self, user_id: Uuid, seq: i64) -> Result<Hash> {
        self.read(move |reader| async move {
            let mut snapshot = reader.snapshot().await?;
            let checkpoint = snapshot.checkpoint(user_id).await?;
            if let Some(checkpoint) = checkpoint.filter(|c| c.account.seq + 1 == seq) {
                return Ok(checkpoint.account.hash);
            }
            let kept = snapshot.kept(Some((user_id, seq - 1)), 1).await?.decode()?;
            match kept.first() {
                Some((owner, number, hash)) if (*owner, *number) == (user_id, seq) => Ok(*hash),
                _ => Err(changed_outside(format!(
                    "entry {} of account {user_id} is not there",
                    seq - 1
                ))),
            }
        })
        .await
    }
}

#[cfg(not(feature = "archive"))]
fn no_archive(archive: &str) -> Error {
    Error::invalid("archive", "can't be read by this build", "none", archive)
}

/// Whether an anchor is so young that nothing can have left the journal that was written after it.
fn is_recent(anchor: &Anchor, now: Timestamp) -> bool {
    !may_have_left(anchor.at, now)
}

/// What was written after an anchor is not older than this.
fn since(at: Timestamp, apart: Duration) -> Timestamp {
    let apart = i64::try_from(apart.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.as_micros().saturating_sub(apart))
}

/// What kind of anchor is asked for.
#[derive(Clone, Copy)]
struct Asked {
    now: Timestamp,
    /// How far the clocks of two processes may differ.
    apart: Duration,
    /// Whether all accounts are looked at.
    all: bool,
    key: Option<PublicKey>,
}

async fn draft(reader: &dyn Reader, asked: Asked) -> StoreResult<Draft> {
    let Asked { now, apart, all, key } = asked;
    let mut snapshot = reader.snapshot().await?;
    let snapshot = snapshot.as_mut();
    // Cards and versions are only ever added.
    let (catalogue, versions) = catalogue(reader).await?;
    let items = items(&catalogue.cards, &versions);
    let ledger_id = snapshot.ledger_id().await?;
    let last = snapshot.anchor(None).await?;
    let before = last.as_ref().map(|last| known(last, key)).transpose()?;
    if let (Some(before), Some(key)) = (&before, key)
        && before.key != Some(key)
        && snapshot.has_anchor_of(key.to_string()).await?
    {
        return Err(changed_outside(format!(
            "the database's anchor {} is not signed with the key of others before it; where you have changed the key, use one \
             that was never used",
            before.number
        )));
    }
    if let Some(other) = before.as_ref().filter(|before| before.ledger_id != ledger_id) {
        return Err(changed_outside(format!(
            "the database says it is ledger {ledger_id}, and its anchor {} is of ledger {}",
            other.number, other.ledger_id
        )));
    }
    let mark = snapshot.mark().await?;
    let changed = match (&last, &before) {
        // An anchor of a time to come was made by a clock that was wrong: what was written since can't be told by it. Nor by an
        // old one, for some of that may have left.
        (Some(last), Some(before)) if !all && before.at <= now && is_recent(before, now) => {
            snapshot
                .changed(last.mark.clone(), since(before.at, apart))
                .await?
        }
        _ => None,
    };
    let number = last.as_ref().map_or(0, |last| last.number) + 1;
    let mut draft = Draft {
        ledger_id,
        number,
        previous: last.as_ref().map(|last| Hash::of(last.record.as_bytes())),
        mark,
        accounts: 0,
        available: 0,
        held: 0,
        root: Hash([0; 32]),
        leaves: Vec::new(),
        groups: Vec::new(),
        now,
        // Without an anchor before nothing has to go on from it.
        may_have_left: before.as_ref().is_none_or(|before| !is_recent(before, now)),
    };
    match (before, changed) {
        (Some(before), Some(changed)) => draft.advance(snapshot, &before, changed, items).await?,
        (before, _) => draft.begin(snapshot, before.as_ref(), items).await?,
    }
    Ok(draft)
}

/// The last anchor, as the database has it. One that says it is signed with our key has to be.
fn known(last: &AnchorRow, key: Option<PublicKey>) -> StoreResult<Anchor> {
    let problem = |error| changed_outside(format!("the database's anchor {}: {error}", last.number));
    let anchor = Anchor::parse(&last.record).map_err(problem)?;
    if let Some(key) = key.filter(|key| anchor.key == Some(*key)) {
        anchor.check(&Trust::Key(key)).map_err(problem)?;
    }
    if anchor.number != last.number {
        return Err(changed_outside(format!(
            "the database's anchor {} is number {}",
            last.number, anchor.number
        )));
    }
    Ok(anchor)
}

impl Draft {
    /// Looks at all accounts, and at all leaves: these have to lead to the root of the last anchor.
    async fn begin(
        &mut self,
        snapshot: &mut dyn Snapshot,
        last: Option<&Anchor>,
        items: Vec<Leaf>,
    ) -> StoreResult<()> {
        let of_catalogue = users_of(&items);
        let (count, mut items) = (items.len() as u64, items.into_iter().peekable());
        let (mut tree, mut before) = (Growing::new(), Growing::new());
        let (mut after, mut after_leaf) = (None, None);
        let (mut leaves, mut ended) = (Vec::new().into_iter().peekable(), false);
        loop {
            let accounts = snapshot.accounts(after, PAGE).await?.decode()?;
            let is_last = accounts.len() < PAGE;
            after = accounts.last().map(|account| account.user_id).or(after);
            let mut heads: Vec<Leaf> = accounts
                .into_iter()
                .map(|account| Leaf {
                    user_id: account.user_id,
                    seq: account.seq,
                    hash: account.hash,
                    available: account.available,
                    held: account.held,
                })
                .collect();
            while let Some(item) = items.next_if(|item| is_last || Some(item.user_id) < after) {
                heads.push(item);
            }
            heads.sort_by_key(|head| head.user_id);
            let mut known = BTreeMap::new();
            for head in &heads {
                loop {
                    if leaves.peek().is_none() && !ended {
                        let page = snapshot.leaves(self.number, after_leaf, PAGE).await?.decode()?;
                        ended = page.len() < PAGE;
                        after_leaf = page.last().map(|leaf: &Leaf| leaf.user_id).or(after_leaf);
                        leaves = page.into_iter().peekable();
                    }
                    match leaves.next_if(|leaf| leaf.user_id <= head.user_id) {
                        Some(leaf) if leaf.user_id < head.user_id => return Err(gone(leaf.user_id)),
                        Some(leaf) => {
                            before.add(&leaf);
                            known.insert(leaf.user_id, leaf);
                        }
                        None => break,
                    }
                }
            }
            heads.iter().for_each(|head| tree.add(head));
            self.change(snapshot, heads, &known, &of_catalogue).await?;
            if is_last {
                break;
            }
        }
        let more = match leaves.next() {
            None if !ended => snapshot.leaves(self.number, after_leaf, 1).await?.decode()?.pop(),
            left => left,
        };
        if let Some(leaf) = more {
            return Err(gone(leaf.user_id));
        }
        let root_before = last.map_or_else(|| tree::root(Growing::new().buckets()), |last| last.root);
        if tree::root(before.buckets()) != root_before {
            return Err(tampered(self.number - 1));
        }
        (self.accounts, self.available, self.held) = (tree.accounts - count, tree.available, tree.held);
        let groups = (0..).zip(
            tree.buckets()
                .chunks(GROUP)
                .map(<[Hash]>::to_vec)
                .collect::<Vec<_>>(),
        );
        self.groups = groups.map(|(number, buckets)| group(number, &buckets)).collect();
        self.root = tree::root(self.groups.iter().map(|group| group.root).collect());
        Ok(())
    }

    /// Takes up those of the heads that are not as they were; with the leaves that these accounts had, as their entries say.
    async fn change(
        &mut self,
        snapshot: &mut dyn Snapshot,
        heads: Vec<Leaf>,
        known: &BTreeMap<Uuid, Leaf>,
        of_catalogue: &BTreeSet<Uuid>,
    ) -> StoreResult<Vec<(Leaf, Option<Leaf>)>> {
        let changed: Vec<Leaf> = heads
            .into_iter()
            .filter(|head| known.get(&head.user_id) != Some(head))
            .collect();
        let wanted = changed.iter().flat_map(|head| {
            let before = known.get(&head.user_id).map(|leaf| leaf.seq);
            [Some(head.seq), before]
                .into_iter()
                .flatten()
                .map(|seq| (head.user_id, seq))
        });
        let wanted: BTreeSet<(Uuid, i64)> = wanted.collect();
        let found = snapshot.heads_at(wanted.into_iter().collect()).await?;
        let found: BTreeMap<(Uuid, i64), Leaf> = found
            .into_iter()
            .map(|entry| ((entry.user_id, entry.seq), entry))
            .collect();
        let users = changed.iter().map(|head| head.user_id).collect();
        let left: BTreeMap<Uuid, (i64, Hash, Timestamp)> = snapshot
            .left_until(users)
            .await?
            .into_iter()
            .map(|(user_id, seq, hash, at)| (user_id, (seq, hash, at)))
            .collect();
        let mut made = Vec::with_capacity(changed.len());
        for head in changed {
            let (user_id, leaf) = (head.user_id, known.get(&head.user_id));
            let (anchored, left) = (leaf.map_or(0, |leaf| leaf.seq), left.get(&user_id));
            if let Some((seq, ..)) = left
                && left.is_some_and(|(seq, _, at)| {
                    !may_have_left(*at, self.now) || (*seq > anchored && !self.may_have_left)
                })
            {
                return Err(changed_outside(format!(
                    "account {user_id} was anchored at {anchored}, and its entries up to {seq} have left the journal, which \
                     are too young to leave"
                )));
            }
            let said = found.get(&(user_id, head.seq));
            let is_confirmed = match (said, left) {
                _ if of_catalogue.contains(&user_id) => true,
                (Some(entry), _) => *entry == head,
                (None, left) => left.is_some_and(|(seq, hash, _)| (*seq, *hash) == (head.seq, head.hash)),
            };
            if !is_confirmed {
                return Err(changed_outside(format!(
                    "the row of account {user_id} is not what its last entry, {}, says",
                    head.seq
                )));
            }
            let before = leaf.map(|leaf| found.get(&(user_id, leaf.seq)).unwrap_or(leaf));
            if leaf.is_some_and(|leaf| (leaf.seq, leaf.hash) == (head.seq, head.hash)) {
                // Only the leaf's figures were others, which its hash is not over.
                made.push((head, before.copied()));
                continue;
            }
            let goes_on = leaf.is_none_or(|leaf| match (found.get(&(user_id, leaf.seq)), left) {
                (Some(entry), _) => entry.hash == leaf.hash,
                (None, Some((seq, hash, _))) if *seq == leaf.seq => *hash == leaf.hash,
                (None, left) => left.is_some_and(|(seq, ..)| *seq > leaf.seq),
            });
            if head.seq <= anchored || !goes_on {
                return Err(changed_outside(format!(
                    "account (or part of the catalogue) {user_id} was anchored at {anchored} with another entry, from which it \
                     does not go on"
                )));
            }
            made.push((head, before.copied()));
        }
        self.leaves.extend(made.iter().map(|(head, _)| head));
        Ok(made)
    }

    /// Goes on from the last anchor.
    async fn advance(
        &mut self,
        snapshot: &mut dyn Snapshot,
        last: &Anchor,
        changed: ChangedHeads,
        items: Vec<Leaf>,
    ) -> StoreResult<()> {
        let tampered = || tampered(last.number);
        let empty = tree::bucket([]);
        let empty_group = tree::root(vec![empty; GROUP]);
        let mut roots = vec![empty_group; BUCKETS / GROUP];
        for (number, root) in snapshot.group_roots().await? {
            let place = usize::try_from(number)
                .ok()
                .and_then(|number| roots.get_mut(number));
            *place.ok_or_else(tampered)? = root;
        }
        if tree::root(roots.clone()) != last.root {
            return Err(tampered());
        }
        let of_catalogue = users_of(&items);
        let ChangedHeads { mut heads, believed } = changed;
        heads.extend(items);
        heads.sort_by_key(|head| head.user_id);
        // All that is in their buckets; also where nothing has changed, for it is by their leaves that that is told.
        let places: BTreeSet<u16> = heads.iter().map(|head| bucket_of(head.user_id)).collect();
        let mut buckets: BTreeMap<u16, BTreeMap<Uuid, Leaf>> =
            places.iter().map(|place| (*place, BTreeMap::new())).collect();
        for leaf in snapshot.leaves_in(places.iter().copied().collect()).await? {
            let bucket = buckets.get_mut(&bucket_of(leaf.user_id)).ok_or_else(tampered)?;
            if bucket.insert(leaf.user_id, leaf).is_some() {
                return Err(tampered());
            }
        }
        let numbers: BTreeSet<i32> = places
            .iter()
            .map(|place| i32::from(place / GROUP as u16))
            .collect();
        let stored = snapshot.groups(numbers.iter().copied().collect()).await?;
        let mut groups: BTreeMap<i32, Vec<Hash>> = numbers
            .iter()
            .map(|number| (*number, vec![empty; GROUP]))
            .collect();
        for group in stored {
            let hashes = group
                .buckets
                .chunks(32)
                .map(Hash::from_slice)
                .collect::<Option<Vec<_>>>();
            groups.insert(group.number, hashes.ok_or_else(tampered)?);
        }
        let digest = |bucket: &BTreeMap<Uuid, Leaf>| tree::bucket(bucket.values().map(Leaf::digest));
        for (number, hashes) in &groups {
            let above = usize::try_from(*number).ok().and_then(|number| roots.get(number));
            if above != Some(&tree::root(hashes.clone())) {
                return Err(tampered());
            }
        }
        for (place, bucket) in &buckets {
            let (number, within) = (i32::from(*place) / GROUP as i32, usize::from(*place) % GROUP);
            let hash = groups.get(&number).and_then(|hashes| hashes.get(within));
            if hash != Some(&digest(bucket)) {
                return Err(tampered());
            }
        }
        // From here on the leaves are those that were anchored.
        let known = |user_id: &Uuid| buckets.get(&bucket_of(*user_id))?.get(user_id).copied();
        if believed.is_some_and(|(user_id, seq)| known(&user_id).is_none_or(|leaf| leaf.seq != seq)) {
            return Err(tampered());
        }
        let known: BTreeMap<Uuid, Leaf> = heads
            .iter()
            .filter_map(|head| Some((head.user_id, known(&head.user_id)?)))
            .collect();
        let changed = self.change(snapshot, heads, &known, &of_catalogue).await?;
        (self.accounts, self.available, self.held) = (last.accounts, last.available, last.held);
        for (head, before) in changed {
            let place = bucket_of(head.user_id);
            let (number, within) = (i32::from(place) / GROUP as i32, usize::from(place) % GROUP);
            let bucket = buckets.get_mut(&place).ok_or_else(tampered)?;
            bucket.insert(head.user_id, head);
            let hash = groups.get_mut(&number).and_then(|hashes| hashes.get_mut(within));
            *hash.ok_or_else(tampered)? = digest(bucket);
            self.accounts += u64::from(before.is_none() && !of_catalogue.contains(&head.user_id));
            let (available, held) = before.map_or((0, 0), |leaf| (leaf.available, leaf.held));
            self.available += i128::from(head.available) - i128::from(available);
            self.held += i128::from(head.held) - i128::from(held);
        }
        for (number, hashes) in groups {
            let group = group(number, &hashes);
            let above = usize::try_from(number)
                .ok()
                .and_then(|number| roots.get_mut(number));
            *above.ok_or_else(tampered)? = group.root;
            self.groups.push(group);
        }
        self.root = tree::root(roots);
        Ok(())
    }
}

fn users_of(leaves: &[Leaf]) -> BTreeSet<Uuid> {
    leaves.iter().map(|leaf| leaf.user_id).collect()
}

fn group(number: i32, buckets: &[Hash]) -> Group {
    Group {
        number,
        root: tree::root(buckets.to_vec()),
        buckets: buckets.iter().flat_map(|hash| hash.0).collect(),
    }
}

/// `number`: 0 where there is no anchor.
fn tampered(number: i64) -> StoreError {
    changed_outside(match number {
        0 => "the database keeps what belongs to an anchor, and has none".into(),
        _ => format!("what the database keeps of anchor {number} does not lead to its root"),
    })
}

fn gone(user_id: Uuid) -> StoreError {
    changed_outside(format!(
        "account (or part of the catalogue) {user_id} was anchored and is gone"
    ))
}

/// The way from an account's leaf to the root.
struct Way {
    leaf: Leaf,
    place: usize,
    leaves: Vec<Hash>,
    path: Vec<Hash>,
    root: Hash,
}

/// Reads all leaves: of an older anchor nothing else is kept.
async fn way_of(snapshot: &mut dyn Snapshot, user_id: Uuid, number: i64) -> StoreResult<Option<Way>> {
    let (mut tree, mut after) = (Growing::new(), None);
    let (mut leaf, mut leaves, mut place) = (None, Vec::new(), 0);
    let bucket = bucket_of(user_id);
    loop {
        let page = snapshot.leaves(number, after, PAGE).await?.decode()?;
        let Some(last) = page.last() else { break };
        after = Some(last.user_id);
        for here in &page {
            tree.add(here);
            if here.user_id == user_id {
                (leaf, place) = (Some(*here), leaves.len());
            }
            if bucket_of(here.user_id) == bucket {
                leaves.push(here.digest());
            }
        }
    }
    let buckets = tree.buckets();
    Ok(leaf.map(|leaf| Way {
        leaf,
        place,
        leaves,
        path: tree::path(buckets.clone(), bucket),
        root: tree::root(buckets),
    }))
}

/// The account's entries up to this one, as far as they are in the database.
async fn journal_until(snapshot: &mut dyn Snapshot, user_id: Uuid, until: i64) -> StoreResult<Vec<Entry>> {
    let (mut entries, mut after): (Vec<Entry>, i64) = (Vec::new(), 0);
    loop {
        let page = snapshot.journal(user_id, after, PAGE).await?;
        let more = page.len() == PAGE;
        for entry in page {
            let entry = entry.map_err(|damaged| {
                changed_outside(format!(
                    "entry {} of account {user_id}: {}",
                    damaged.seq, damaged.problem
                ))
            })?;
            if entry.seq > until {
                return Ok(entries);
            }
            after = entry.seq;
            entries.push(entry);
        }
        if !more || entries.len() > PROVED_MAX {
            return Ok(entries);
        }
    }
}
