//! The journal: what an entry holds, and the hash that chains it to the one before.

use super::account::is_zero;
use super::{Account, Hold, HoldState, Kind, Lot, Order, OrderNo, Source, Timestamp};
use alloc::{
    borrow::Cow,
    boxed::Box,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};
use core::fmt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before an account's first entry.
    #[must_use]
    pub fn genesis(user_id: Uuid) -> Self {
        let mut sha = Sha256::new();
        sha.update(b"jointo_credits journal 1\n");
        sha.update(user_id.as_bytes());
        Hash(sha.finalize().into())
    }

    /// The hash of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Hash(Sha256::digest(bytes).into())
    }

    /// From 64 hexadecimal digits, as [`Display`](fmt::Display) writes them.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        Some(Hash(bytes))
    }

    /// From stored bytes; `None` unless there are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Hash)
    }

    pub(super) fn leading_u64(&self) -> u64 {
        self.0.iter().take(8).fold(0, |n, b| (n << 8) | u64::from(*b))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What an entry did to one lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LotChange {
    /// The lot.
    pub lot: Uuid,
    /// Change of what is left in it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remaining: i64,
    /// Change of what expired.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: i64,
    /// Change of what was taken back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub clawed: i64,
    /// Change of what is still to be taken back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub claim: i64,
}

/// Everything an entry changed, in full: from the entries alone every lot and hold can be derived again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Effects {
    /// Lots that it changed, in order; one lot can stand here twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lots: Vec<LotChange>,
    /// Lots that it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub new_lots: Vec<Lot>,
    /// The consumption it is about, afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldState>,
    /// Other pending holds whose borrowed credits were paid from a lot, afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub funded: Vec<(Uuid, HoldState)>,
    /// The number of the entry that this one continues: that had no room for all holds that were paid for. Between the two
    /// are only others that continue it. All are of its kind and about the same; it alone moves credits and has the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues: Option<i64>,
    /// Change of the debt.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub debt: i64,
    /// Change of the part of the debt that pending holds borrowed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub borrowed: i64,
    /// Change of the lifetime figure.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub granted: i64,
    /// Change of the lifetime figure.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spent: i64,
    /// The new credit limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit_limit: Option<i64>,
    /// What a clawback could not find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shortfall: Option<i64>,
    /// The part of the shortfall that was booked as debt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clawback_debt: Option<i64>,
    /// For a new hold: what it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<String>,
    /// For a new hold: SHA-256 of its metadata, which only its own row carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_sha256: Option<String>,
    /// For a new hold: SHA-256 of its frozen quote, which only its own row carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_sha256: Option<String>,
    /// The order that it made, or changed: the whole of it, afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<Order>>,
    /// Why, in the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who, in the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// For a new hold: the whole of it (stored as its own row, so not in the entry).
    #[serde(skip)]
    pub new_hold: Option<Arc<Hold>>,
}

/// One line of an account's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose journal.
    pub user_id: Uuid,
    /// Its number: 1, 2, 3 ... without gaps.
    pub seq: i64,
    /// What it records.
    pub kind: Kind,
    /// Change of `available`.
    pub change: i64,
    /// Change of `held`.
    pub held_change: i64,
    /// `available` afterwards.
    pub available: i64,
    /// `held` afterwards.
    pub held: i64,
    /// Where the credits came from or went to; `-(change + held_change)` is booked there.
    pub counter_account: Cow<'static, str>,
    /// The consumption it is about.
    pub consumption_id: Option<Uuid>,
    /// The lot it is about.
    pub lot_id: Option<Uuid>,
    /// The caller's own name for the lot or consumption.
    pub reference: Option<String>,
    /// The caller's key.
    pub idempotency_key: Option<String>,
    /// SHA-256 of the request that came with the key.
    pub request_hash: Option<Hash>,
    /// What it changed.
    pub effects: Effects,
    /// `effects` as they are stored: compact JSON.
    pub data: String,
    /// When it was decided.
    pub created_at: Timestamp,
    /// The hash that chains it.
    pub hash: Hash,
}

impl Entry {
    /// What is booked on the counter-account.
    #[must_use]
    pub fn counter_change(&self) -> i64 {
        -(self.change + self.held_change)
    }

    /// Whether an order is told by it: such entries stay in the database for as long as the order.
    #[must_use]
    pub fn is_of_an_order(&self) -> bool {
        self.effects.order.is_some() || self.lots_bought().next().is_some()
    }

    /// The lots that it granted for an order, with the order's number.
    pub(crate) fn lots_bought(&self) -> impl Iterator<Item = (OrderNo, &Lot)> {
        let granted = self.effects.new_lots.iter().filter(|_| self.kind == Kind::Grant);
        let bought = granted.filter(|lot| matches!(lot.source, Source::Purchase | Source::Bonus));
        bought.filter_map(|lot| Some((lot.reference.as_ref()?.parse().ok()?, lot)))
    }

    /// The hold that a `consume` entry made, as far as the entry tells (its metadata and its quote only the hold's row has).
    #[must_use]
    pub fn made_hold(&self) -> Option<Hold> {
        let state = self.effects.hold.clone().filter(|_| self.kind == Kind::Consume)?;
        Some(Hold {
            consumption_id: self.consumption_id?,
            user_id: self.user_id,
            amount: self.held_change,
            feature: self.effects.feature.clone(),
            reference: self.reference.clone(),
            metadata: None,
            quote: None,
            created_at: self.created_at,
            state,
        })
    }

    /// The hash of this entry after one with hash `previous`.
    ///
    /// SHA-256 over, in this order: the byte 1 (version of the form), `previous`, the account's id, then as
    /// big-endian 64-bit integers `seq`, `created_at` in microseconds, `change`, `held_change`, `available`, `held`;
    /// then, each as a 32-bit big-endian length and bytes (length `FFFFFFFF` and no bytes where absent), `kind`,
    /// `counter_account`, `consumption_id`, `lot_id`, `reference`, `idempotency_key`, `request_hash` and `data`.
    #[must_use]
    pub fn chained(&self, previous: &Hash) -> Hash {
        let mut bytes = Vec::with_capacity(320 + self.data.len());
        self.write_canonical(previous, &mut bytes);
        Hash::of(&bytes)
    }

    /// Appends what [`chained`](Self::chained) hashes.
    pub(crate) fn write_canonical(&self, previous: &Hash, bytes: &mut Vec<u8>) {
        bytes.push(1);
        bytes.extend_from_slice(&previous.0);
        bytes.extend_from_slice(self.user_id.as_bytes());
        let mut form = Canonical {
            bytes: core::mem::take(bytes),
        };
        for n in [
            self.seq,
            self.created_at.as_micros(),
            self.change,
            self.held_change,
            self.available,
            self.held,
        ] {
            form.integer(n);
        }
        form.text(self.kind.as_str());
        form.text(&self.counter_account);
        form.optional(self.consumption_id.as_ref().map(|id| id.as_bytes().as_slice()));
        form.optional(self.lot_id.as_ref().map(|id| id.as_bytes().as_slice()));
        form.optional(self.reference.as_ref().map(|s| s.as_bytes()));
        form.optional(self.idempotency_key.as_ref().map(|s| s.as_bytes()));
        form.optional(self.request_hash.as_ref().map(|h| h.0.as_slice()));
        form.text(&self.data);
        *bytes = form.bytes;
    }

    /// Numbers, figures and hashes it as the next entry of `account`, whose figures already include it.
    pub(super) fn seal(mut self, account: &mut Account) -> Entry {
        self.seq = account.seq + 1;
        self.available = account.available;
        self.held = account.held;
        // Effects hold numbers, strings and lists only; serialising those can't fail.
        self.data = serde_json::to_string(&self.effects).unwrap_or_default();
        self.hash = self.chained(&account.hash);
        account.seq = self.seq;
        account.hash = self.hash;
        account.updated_at = self.created_at;
        if self.seq == 1 {
            account.created_at = self.created_at;
        }
        self
    }
}

/// Bytes that are the same for the same meaning, whatever made them: the form that is hashed.
pub(super) struct Canonical {
    bytes: Vec<u8>,
}

impl Canonical {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Canonical {
            bytes: Vec::with_capacity(capacity),
        }
    }

    pub(super) fn integer(&mut self, n: i64) {
        self.bytes.extend_from_slice(&n.to_be_bytes());
    }

    pub(super) fn text(&mut self, text: &str) {
        self.optional(Some(text.as_bytes()));
    }

    pub(super) fn optional(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => {
                // Limits keep every field far below 4 GiB; a longer one could not be told from "absent".
                self.bytes.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
                self.bytes.extend_from_slice(bytes);
            }
            None => self.bytes.extend_from_slice(&u32::MAX.to_be_bytes()),
        }
    }

    pub(super) fn optional_integer(&mut self, n: Option<i64>) {
        self.optional(n.map(i64::to_be_bytes).as_ref().map(|b| b.as_slice()));
    }

    pub(super) fn hash(&self) -> Hash {
        Hash::of(&self.bytes)
    }
}

/// `earned.<feature>`: where captured credits go.
pub(super) fn earned(feature: Option<&str>) -> Cow<'static, str> {
    match feature {
        None => Cow::Borrowed("earned"),
        Some(feature) => Cow::Owned(["earned.", feature].concat().to_string()),
    }
}

/// `issued.<source>`: where granted credits come from.
pub(super) fn issued(source: Source) -> Cow<'static, str> {
    Cow::Borrowed(match source {
        Source::Purchase => "issued.purchase",
        Source::Bonus => "issued.bonus",
        Source::Gift => "issued.gift",
        Source::Subscription => "issued.subscription",
        Source::Adjustment => "issued.adjustment",
        Source::Reversal => "issued.reversal",
        Source::Opening => "issued.opening",
    })
}
