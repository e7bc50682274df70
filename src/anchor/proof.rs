//! The proof of one account's entries, for somebody who has only the anchor.
//!
//! A text of lines. The first is a JSON object:
//!
//! | member | |
//! | --- | --- |
//! | `jointo_credits_proof` | 1 |
//! | `anchor` | the SHA-256 of the anchor's line |
//! | `user_id` | the account |
//! | `previous` | the hash before the first entry that follows; `null` where that is the account's first |
//! | `place` | which leaf of its bucket the account is, from 0 |
//! | `leaves` | the hashes of all leaves in its bucket |
//! | `path` | the other node at each level, from the bucket up to the root |
//!
//! Then one line for each entry, oldest first, as in the archive. The last one is the head that was anchored.

use super::record::{Anchor, Trust};
use super::tree;
use crate::error::Error;
use crate::ledger::{Entry, Hash};
use crate::lines;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use uuid::Uuid;

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(rename = "jointo_credits_proof")]
    version: u32,
    anchor: String,
    user_id: Uuid,
    previous: Option<String>,
    place: usize,
    leaves: Vec<String>,
    path: Vec<String>,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    /// The account.
    pub user_id: Uuid,
    /// Its last entry when the anchor was made.
    pub last: Entry,
    /// The number of the first entry that the proof has: 1, unless older ones have left the database.
    pub first_seq: i64,
    /// How many entries it has.
    pub entries: u64,
}

/// A proof that is being written.
pub(super) struct Proof(String);

impl Proof {
    pub(super) fn begin(
        anchor: &Anchor,
        user_id: Uuid,
        previous: Option<Hash>,
        place: usize,
        leaves: &[Hash],
        path: &[Hash],
    ) -> Self {
        let texts = |hashes: &[Hash]| hashes.iter().map(Hash::to_string).collect();
        let head = Head {
            version: VERSION,
            anchor: anchor.hash().to_string(),
            user_id,
            previous: previous.map(|hash| hash.to_string()),
            place,
            leaves: texts(leaves),
            path: texts(path),
        };
        // Numbers and strings only; serialising those can't fail.
        let mut text = serde_json::to_string(&head).unwrap_or_default();
        text.push('\n');
        Proof(text)
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        let _ = writeln!(self.0, "{}", lines::of_entry(entry)); // a String takes everything
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn wrong(problem: &'static str, value: impl ToString) -> Error {
    let value: String = value.to_string().chars().take(120).collect();
    Error::invalid("proof", problem, "what prove() gave for this anchor", value)
}

/// Checks a proof against an anchor: with these two texts and a public key alone, without a database.
///
/// # Errors
/// `validation` where either is not what it should be, and what is wrong with it.
pub fn check_proof(anchor: &str, proof: &str, trust: &Trust) -> Result<Proved, Error> {
    let anchor = Anchor::parse(anchor)?;
    anchor.check(trust)?;
    let mut lines = proof.lines();
    let head = lines.next().unwrap_or_default();
    let head: Head = serde_json::from_str(head).map_err(|error| wrong("is no proof", error))?;
    if head.version != VERSION {
        return Err(wrong(
            "is of a version that this release can't read",
            head.version,
        ));
    }
    if head.anchor != anchor.hash().to_string() {
        return Err(wrong("is for another anchor", head.anchor));
    }
    let hash = |digits: &String| {
        Hash::parse(digits).ok_or_else(|| wrong("holds no SHA-256 where one should be", digits))
    };
    let leaves = head.leaves.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
    let path = head.path.iter().map(hash).collect::<Result<Vec<_>, _>>()?;
    let previous = head.previous.as_ref().map(hash).transpose()?;

    let mut before: Option<Entry> = None;
    let (mut first_seq, mut entries) = (0, 0);
    for line in lines {
        let entry = lines::entry(line).map_err(|problem| wrong("has a line that is no entry", problem))?;
        if entry.user_id != head.user_id {
            return Err(wrong("has an entry of another account", entry.user_id));
        }
        let (chained, follows) = match (&before, previous) {
            (Some(before), _) => (
                entry.chained(&before.hash),
                entry.seq == before.seq + 1
                    && i128::from(entry.available) == i128::from(before.available) + i128::from(entry.change)
                    && i128::from(entry.held) == i128::from(before.held) + i128::from(entry.held_change),
            ),
            (None, Some(previous)) => (entry.chained(&previous), entry.seq > 1),
            (None, None) => (
                entry.chained(&Hash::genesis(entry.user_id)),
                entry.seq == 1 && entry.available == entry.change && entry.held == entry.held_change,
            ),
        };
        if chained != entry.hash {
            return Err(wrong("has an entry that is not what its hash says", entry.seq));
        }
        if !follows {
            return Err(wrong(
                "has an entry that does not follow from the one before",
                entry.seq,
            ));
        }
        if entries == 0 {
            first_seq = entry.seq;
        }
        entries += 1;
        before = Some(entry);
    }
    let last = before.ok_or_else(|| wrong("has no entries", head.user_id))?;
    let leaf = tree::Leaf {
        user_id: last.user_id,
        seq: last.seq,
        hash: last.hash,
        available: last.available,
        held: last.held,
    };
    if leaves.get(head.place) != Some(&leaf.digest()) {
        return Err(wrong("ends with an entry that is not the anchored one", last.seq));
    }
    let root = tree::follow(tree::bucket_of(last.user_id), tree::bucket(leaves), &path);
    if path.len() != tree::DEPTH as usize || root != anchor.root {
        return Err(wrong("does not lead to the anchor's root", root));
    }
    Ok(Proved {
        user_id: last.user_id,
        last,
        first_seq,
        entries,
    })
}
