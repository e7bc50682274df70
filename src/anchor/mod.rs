//! Anchors: what the heads of all journals were at a moment, signed, and kept where whoever can write to the database can't.
//!
//! A database alone can't show that its newest entries, or a whole account, are missing, nor that a chain was written and
//! hashed anew: what is there then fits together. An [`Anchor`] is one line of text over everything before it, and with it
//! [`verify_anchored`](crate::Ledger::verify_anchored) finds all of these. `tree.rs` says what is hashed, `record.rs` what is
//! signed, `proof.rs` how one account's entries are shown to somebody who has only the anchor.
//!
//! The tables behind it ([`store::anchors`](crate::store)) are believed by nobody: an anchor is made of what they say only
//! where that leads to the root of the anchor before, and whatever is changed in them later leads to another root than the
//! signed one.

pub(crate) mod items;
#[cfg(feature = "anchors")]
mod make;
#[cfg(feature = "anchors")]
mod proof;
#[cfg(feature = "anchors")]
mod record;
#[cfg_attr(not(feature = "anchors"), allow(dead_code))]
pub(crate) mod tree;

#[cfg(feature = "anchors")]
pub use proof::{Proved, check_proof};
#[cfg(feature = "anchors")]
pub use record::{Anchor, AnchorKey, PublicKey, Signing, Trust};
