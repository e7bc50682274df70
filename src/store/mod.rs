//! Stores load and append; they know no rules. Memory, SQLite and PostgreSQL keep the same contract, and the same
//! suite runs against all three (`contract_tests/`).
//!
//! # The contract
//!
//! A [`Committer`] does [`load`](Committer::load) and [`append`](Committer::append); each `append` ends what a `load`
//! before it began, also where there is nothing to write. An `append` may come without a `load`.
//!
//! - `load` returns one consistent picture of everything in [`Needs`]: for each account what [`State`] asks for, and
//!   for each key the entry that carries it.
//! - `append` writes, account by account, all of an account's rows or none. It writes an account only while the last
//!   entry is still the one that was known ([`AccountWrite::before`]), and only where none of the keys that were not
//!   looked up ([`Writes::keys`]) is in its journal; the others it returns as stale. An `Ok` means that what was written is
//!   durable, as far as the database's own settings say so.
//! - An error from either leaves nothing written, but for [`StoreError::Unknown`], where nobody can tell yet;
//!   [`landed`](Committer::landed) finds out by looking for the entries.
//!
//! # How a store can fail, and what the engine does
//!
//! | [`StoreError`] | example | engine |
//! | --- | --- | --- |
//! | `Busy` | serialization failure, deadlock, a locked file | decides again, after a pause |
//! | `Lost` | connection refused or gone while reading | reconnects, then decides again |
//! | `Unknown` | connection gone while writing | reconnects, asks `landed`, then decides again what did not land |
//! | `Skewed` | the database's clock is not near the ledger's | answers `Unavailable`, unless the batch has just grown old |
//! | `Failed` | disk full, read-only, tables missing, no permission | answers `Unavailable` and says why |

#[cfg_attr(not(feature = "anchors"), allow(dead_code))]
pub(crate) mod anchors;
mod batch;
#[cfg(test)]
pub(crate) mod contract_tests;
mod error;
mod health;
pub(crate) mod memory;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod migrations;
#[cfg_attr(not(any(feature = "postgres", feature = "sqlite")), allow(dead_code))]
mod order_row;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod reader;
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
pub(crate) mod retention;
mod snapshot;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

pub(crate) use anchors::{AnchorReads, Anchors};
pub(crate) use batch::{
    AccountWrite, Claim, Committer, Extent, GiftRow, KeyScope, LOTS_FIRST, Loaded, LoadedAccount, Needs,
    OrderNeed, Writes,
};
#[cfg(test)]
pub(crate) use batch::{DUE_HOLDS_MAX, DUE_LOTS_MAX};
pub(crate) use error::{ClockBound, Reading, StoreError, StoreResult};
pub(crate) use health::{Inspected, OddTime, TIMES_NAMED_MAX};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use order_row::OrderRow;
pub(crate) use order_row::StoredOrder;
#[cfg(feature = "postgres")]
pub(crate) use reader::Changed;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use reader::after_every_number;
pub(crate) use reader::{Due, EntryFilter, HoldFilter, OpenOrderRow, OrderFilter, Reader};
#[cfg(feature = "archive")]
pub use retention::{ArchiveFile, ArchiveKind};
pub(crate) use retention::{CLOCKS_APART, Retention};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) use snapshot::DamagedEntry;
pub(crate) use snapshot::{Page, Snapshot, StoredEntry, Sums};
