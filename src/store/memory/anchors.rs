//! What anchors read and write.

use super::{Books, MemoryStore, ready};
use crate::anchor::tree::{Leaf, bucket_of};
use crate::ledger::{Account, Hash, Timestamp};
use crate::store::anchors::{AnchorReads, AnchorRow, AnchorWrite, Anchors, ChangedHeads, Group};
use crate::store::{Page, Reading};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is kept of anchors.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    ledger_id: Uuid,
    anchors: BTreeMap<i64, AnchorRow>,
    /// By account and the number of the first anchor that has it.
    leaves: BTreeMap<(Uuid, i64), Leaf>,
    groups: BTreeMap<i32, Group>,
}

impl Default for Tree {
    fn default() -> Self {
        let mut id = [0; 16];
        #[allow(
            clippy::disallowed_methods,
            reason = "the id of a ledger must not be derived from anything; without randomness those in memory can't be told apart"
        )]
        let _ = getrandom::fill(&mut id);
        Tree {
            ledger_id: Uuid::from_bytes(id),
            anchors: BTreeMap::new(),
            leaves: BTreeMap::new(),
            groups: BTreeMap::new(),
        }
    }
}

impl Tree {
    fn as_of(&self, user_id: Uuid, number: i64) -> Option<Leaf> {
        let of_account = self.leaves.range((user_id, i64::MIN)..=(user_id, number));
        of_account.last().map(|(_, leaf)| *leaf)
    }

    fn accounts(&self) -> impl Iterator<Item = Uuid> {
        let mut before = None;
        let ids = self.leaves.keys().map(|(user_id, _)| *user_id);
        ids.filter(move |user_id| before.replace(*user_id) != Some(*user_id))
    }
}

fn head(account: &Account) -> Leaf {
    Leaf {
        user_id: account.user_id,
        seq: account.seq,
        hash: account.hash,
        available: account.available,
        held: account.held,
    }
}

impl AnchorReads for Books {
    fn ledger_id(&mut self) -> Reading<'_, Uuid> {
        ready(Ok(self.tree.ledger_id))
    }

    fn anchor(&mut self, number: Option<i64>) -> Reading<'_, Option<AnchorRow>> {
        let anchors = &self.tree.anchors;
        let found = match number {
            Some(number) => anchors.get(&number),
            None => anchors.values().last(),
        };
        ready(Ok(found.cloned()))
    }

    fn mark(&mut self) -> Reading<'_, String> {
        ready(Ok(String::new()))
    }

    fn changed(&mut self, _: String, _: Timestamp) -> Reading<'_, Option<ChangedHeads>> {
        ready(Ok(Some(ChangedHeads {
            heads: self.accounts.values().map(head).collect(),
            believed: None,
        })))
    }

    fn has_anchor_of(&mut self, key: String) -> Reading<'_, bool> {
        let mut anchors = self.tree.anchors.values();
        ready(Ok(anchors.any(|anchor| anchor.record.contains(&key))))
    }

    fn leaves(&mut self, number: i64, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Leaf>> {
        let later = self
            .tree
            .accounts()
            .filter(|user_id| after.is_none_or(|after| *user_id > after));
        let found = later.filter_map(|user_id| self.tree.as_of(user_id, number));
        ready(Ok(Page::ready(found.take(limit).collect())))
    }

    fn leaves_in(&mut self, buckets: Vec<u16>) -> Reading<'_, Vec<Leaf>> {
        let within = self
            .tree
            .accounts()
            .filter(|user_id| buckets.contains(&bucket_of(*user_id)));
        let found = within.filter_map(|user_id| self.tree.as_of(user_id, i64::MAX));
        ready(Ok(found.collect()))
    }

    fn group_roots(&mut self) -> Reading<'_, Vec<(i32, Hash)>> {
        let groups = self.tree.groups.values();
        ready(Ok(groups.map(|group| (group.number, group.root)).collect()))
    }

    fn groups(&mut self, numbers: Vec<i32>) -> Reading<'_, Vec<Group>> {
        let found = numbers.iter().filter_map(|number| self.tree.groups.get(number));
        ready(Ok(found.cloned().collect()))
    }

    fn left_until(&mut self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, i64, Hash, Timestamp)>> {
        let found = accounts
            .iter()
            .filter_map(|user_id| self.checkpoints.get(user_id))
            .map(|checkpoint| &checkpoint.account)
            .map(|account| (account.user_id, account.seq, account.hash, account.updated_at));
        ready(Ok(found.collect()))
    }

    fn heads_at(&mut self, entries: Vec<(Uuid, i64)>) -> Reading<'_, Vec<Leaf>> {
        let head = |(user_id, seq)| {
            let entry = self.entry(user_id, seq)?;
            Some(Leaf {
                user_id,
                seq,
                hash: entry.hash,
                available: entry.available,
                held: entry.held,
            })
        };
        ready(Ok(entries.into_iter().filter_map(head).collect()))
    }
}

impl Anchors for MemoryStore {
    fn put_anchor(&self, write: AnchorWrite) -> Reading<'_, bool> {
        self.write(|books| {
            let (tree, number) = (&mut books.tree, write.anchor.number);
            if tree.anchors.contains_key(&number) {
                return Ok(false);
            }
            tree.anchors.insert(number, write.anchor);
            let leaves = write
                .leaves
                .into_iter()
                .map(|leaf| ((leaf.user_id, number), leaf));
            tree.leaves.extend(leaves);
            let groups = write.groups.into_iter().map(|group| (group.number, group));
            tree.groups.extend(groups);
            Ok(true)
        })
    }

    fn prune_anchors(&self, oldest: i64) -> Reading<'_, u64> {
        self.write(|books| {
            let tree = &mut books.tree;
            let before = tree.anchors.len();
            tree.anchors.retain(|number, _| *number >= oldest);
            let needed: BTreeMap<(Uuid, i64), Leaf> = tree
                .leaves
                .iter()
                .filter(|((user_id, number), _)| {
                    // A range that ends before it begins is a panic.
                    *number >= oldest
                        || tree
                            .leaves
                            .range((*user_id, number + 1)..=(*user_id, oldest))
                            .next()
                            .is_none()
                })
                .map(|(key, leaf)| (*key, *leaf))
                .collect();
            tree.leaves = needed;
            Ok((before - tree.anchors.len()) as u64)
        })
    }
}
