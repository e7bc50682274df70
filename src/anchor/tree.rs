//! The Merkle tree of an anchor: fixed in shape, so that a changed account changes its bucket and the 16 nodes above it.
//!
//! All hashes are SHA-256. A byte in front says what is hashed, so that nothing can be taken for something else.
//!
//! - leaf: `00`, the account's id (16 bytes), the number of its last entry (8 bytes, big-endian), that entry's hash
//! - bucket: `01`, the leaves in it, in the order of the accounts' ids; an account's bucket is the first two bytes of its id's hash
//! - node: `02`, the node or bucket on the left, the one on the right
//!
//! There are 65,536 buckets, most of them empty in a small ledger, and 16 levels of nodes above; the last node is the root.

use crate::ledger::Hash;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Levels of nodes above the buckets.
pub(crate) const DEPTH: u32 = 16;
/// All of them.
pub(crate) const BUCKETS: usize = 1 << DEPTH;
/// Buckets that are stored together, with the node above them.
pub(crate) const GROUP: usize = 256;

/// An account as it stands in an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) user_id: Uuid,
    /// The number of its last entry.
    pub(crate) seq: i64,
    /// That entry's hash.
    pub(crate) hash: Hash,
    /// `available` after that entry. Not a part of the leaf's hash: the entry's hash is over it.
    pub(crate) available: i64,
    /// `held` after that entry; as `available`.
    pub(crate) held: i64,
}

impl Leaf {
    pub(crate) fn digest(&self) -> Hash {
        let mut sha = Sha256::new();
        sha.update([0]);
        sha.update(self.user_id.as_bytes());
        sha.update(self.seq.to_be_bytes());
        sha.update(self.hash.0);
        Hash(sha.finalize().into())
    }
}

/// The bucket that an account belongs to.
pub(crate) fn bucket_of(user_id: Uuid) -> u16 {
    let Hash(bytes) = Hash::of(user_id.as_bytes());
    bytes.iter().take(2).fold(0, |n, byte| n << 8 | u16::from(*byte))
}

/// A bucket's hash, leaf after leaf.
#[derive(Clone)]
pub(crate) struct Bucket(Sha256);

impl Default for Bucket {
    fn default() -> Self {
        let mut sha = Sha256::new();
        sha.update([1]);
        Bucket(sha)
    }
}

impl Bucket {
    pub(crate) fn add(&mut self, leaf: &Hash) {
        self.0.update(leaf.0);
    }

    pub(crate) fn hash(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

/// The hash of the bucket that these leaves are in, in the order of their accounts' ids.
pub(crate) fn bucket(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut bucket = Bucket::default();
    leaves.into_iter().for_each(|leaf| bucket.add(&leaf));
    bucket.hash()
}

pub(crate) fn node(left: &Hash, right: &Hash) -> Hash {
    let mut sha = Sha256::new();
    sha.update([2]);
    sha.update(left.0);
    sha.update(right.0);
    Hash(sha.finalize().into())
}

/// The node above these nodes, of which there are as many as a power of two.
pub(crate) fn root(mut level: Vec<Hash>) -> Hash {
    while level.len() > 1 {
        level = above(&level);
    }
    level.pop().unwrap_or(Hash([0; 32]))
}

fn above(level: &[Hash]) -> Vec<Hash> {
    let pairs = level.chunks(2).map(|pair| match pair {
        [left, right] => node(left, right),
        _ => Hash([0; 32]),
    });
    pairs.collect()
}

/// The other node at each level on the way from a bucket to the root, from below.
pub(crate) fn path(buckets: Vec<Hash>, bucket: u16) -> Vec<Hash> {
    let (mut level, mut place) = (buckets, usize::from(bucket));
    let mut path = Vec::with_capacity(DEPTH as usize);
    while level.len() > 1 {
        path.extend(level.get(place ^ 1));
        level = above(&level);
        place /= 2;
    }
    path
}

/// The root, as this way leads to it.
pub(crate) fn follow(bucket: u16, hash: Hash, path: &[Hash]) -> Hash {
    let (mut place, mut here) = (bucket, hash);
    for other in path {
        here = match place % 2 {
            0 => node(&here, other),
            _ => node(other, &here),
        };
        place /= 2;
    }
    here
}

/// The whole tree, of leaves that come in the order of their accounts' ids: some eight megabytes, however many there are.
pub(crate) struct Growing {
    /// A bucket without leaves is `None`.
    buckets: Vec<Option<Box<Bucket>>>,
    pub(crate) accounts: u64,
    pub(crate) available: i128,
    pub(crate) held: i128,
}

impl Growing {
    pub(crate) fn new() -> Self {
        Growing {
            buckets: vec![None; BUCKETS],
            accounts: 0,
            available: 0,
            held: 0,
        }
    }

    pub(crate) fn add(&mut self, leaf: &Leaf) {
        if let Some(bucket) = self.buckets.get_mut(usize::from(bucket_of(leaf.user_id))) {
            bucket.get_or_insert_default().add(&leaf.digest());
        }
        self.accounts += 1;
        self.available += i128::from(leaf.available);
        self.held += i128::from(leaf.held);
    }

    /// The hash of every bucket.
    pub(crate) fn buckets(self) -> Vec<Hash> {
        let empty = Bucket::default().hash();
        let hash = |bucket: Option<Box<Bucket>>| bucket.map_or(empty, |bucket| bucket.hash());
        self.buckets.into_iter().map(hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_leads_from_every_bucket_to_the_root() {
        let mut tree = Growing::new();
        for n in 0..500 {
            tree.add(&Leaf {
                user_id: Uuid::from_u128(n),
                seq: 1,
                hash: Hash::of(&[1]),
                available: 5,
                held: 1,
            });
        }
        assert_eq!((tree.accounts, tree.available, tree.held), (500, 2_500, 500));
        let buckets = tree.buckets();
        let whole = root(buckets.clone());
        let full = bucket_of(Uuid::nil());
        for place in [full, 0, 1, 255, 256, 40_000, 65_535] {
            let way = path(buckets.clone(), place);
            assert_eq!(way.len(), 16);
            assert_eq!(follow(place, buckets[usize::from(place)], &way), whole);
        }
        let way = path(buckets.clone(), full);
        assert_ne!(follow(full ^ 1, buckets[usize::from(full)], &way), whole);
        let groups: Vec<Hash> = buckets.chunks(GROUP).map(|group| root(group.to_vec())).collect();
        assert_eq!(root(groups), whole, "a group's root is a node of the tree");
    }
}
