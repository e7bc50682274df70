//! The books against an anchor.
//!
//! The leaves are the database's own; that they are the anchored ones is shown by their root. So an account's fault is named
//! where its leaf is as it was, and a leaf that was changed is found by the root alone.

use super::books::Met;
use super::{Anchored, Fault, FaultKind, Verification};
use crate::anchor::tree::{Growing, Leaf, root};
use crate::store::anchors::AnchorRow;
use uuid::Uuid;

pub(super) struct Comparison {
    anchored: Anchored,
    stored: Option<AnchorRow>,
    tree: Growing,
    accounts: u64,
    /// The sums again, of what the entries themselves say.
    available: i128,
    held: i128,
}

impl Comparison {
    pub(super) fn new(anchored: Anchored, stored: Option<AnchorRow>) -> Self {
        Comparison {
            anchored,
            stored,
            tree: Growing::new(),
            accounts: 0,
            available: 0,
            held: 0,
        }
    }

    /// What was written after a young anchor is in the journal. `until`: the last entry that has left; 0 where none has.
    pub(super) fn left(&self, user_id: Uuid, leaf: Option<&Leaf>, until: i64, found: &mut Verification) {
        let anchored = leaf.map_or(0, |leaf| leaf.seq);
        if self.anchored.is_recent && until > anchored {
            found.fault(Fault {
                user_id,
                seq: Some(until),
                id: None,
                kind: FaultKind::Anchor,
                detail: format!(
                    "its checkpoint stands for entries up to this one; when the anchor was made its last was {anchored}, and \
                     what came after that is too young to have left the journal"
                ),
            });
        }
    }

    /// `met`: what the journal says of the leaf's entry.
    pub(super) fn account(&mut self, leaf: &Leaf, met: Option<Met>, found: &mut Verification) {
        found.anchored += 1;
        self.accounts += 1;
        self.tree.add(leaf);
        let (available, held) = match met {
            Some(Met::There { available, held, .. }) => (available, held),
            other => {
                found.anchored_archived += u64::from(other == Some(Met::Left));
                (leaf.available, leaf.held)
            }
        };
        self.available += i128::from(available);
        self.held += i128::from(held);
    }

    /// A rate card, or a version of a package: as it was anchored, and as it is.
    pub(super) fn item(&mut self, leaf: &Leaf, item: &Leaf, found: &mut Verification) {
        self.tree.add(leaf);
        if leaf.hash != item.hash {
            found.fault(Fault {
                user_id: Uuid::nil(),
                seq: None,
                id: None,
                kind: FaultKind::Anchor,
                detail: format!(
                    "version {} of a rate card or package (leaf {}) is not what it was when it was anchored",
                    leaf.seq, leaf.user_id
                ),
            });
        }
    }

    pub(super) fn finish(self, found: &mut Verification) {
        let anchored = &self.anchored;
        let mut fault = |detail: String| {
            found.fault(Fault {
                user_id: Uuid::nil(),
                seq: None,
                id: None,
                kind: FaultKind::Anchor,
                detail,
            });
        };
        match &self.stored {
            None => fault(format!(
                "the database does not know anchor {}: it is an older copy, or the anchor was removed",
                anchored.number
            )),
            Some(row) if row.record != anchored.record => fault(format!(
                "the database has another anchor {} than this one",
                anchored.number
            )),
            Some(_) => {}
        }
        for (name, now, then) in [
            ("accounts", i128::from(self.accounts), anchored.accounts.into()),
            ("available", self.available, anchored.available),
            ("held", self.held, anchored.held),
        ] {
            if now != then {
                fault(format!(
                    "{name} of what the database has of anchor {} is {now}, and was {then}",
                    anchored.number
                ));
            }
        }
        let root = root(self.tree.buckets());
        if root != anchored.root {
            fault(format!(
                "what the database has of anchor {} leads to the root {root}, and the anchor's is {}: accounts are missing, \
                 or their anchored entries were changed",
                anchored.number, anchored.root
            ));
        }
    }
}
