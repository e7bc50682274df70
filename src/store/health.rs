//! What is told of a database itself.

use crate::inspect::Problem;
use crate::ledger::Timestamp;
use uuid::Uuid;

/// How many rows [`Reader::odd_times`] names.
pub(crate) const TIMES_NAMED_MAX: usize = 1_000;

/// A row whose `updated_at` can't be: an entry's, which is never changed; or a consumption's that does not lie between its
/// last change and its account's, and is of no entry's time either. (Where clocks differ, an entry's time may lie outside.)
/// Where entries have left the database it can't be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OddTime {
    pub(crate) user_id: Uuid,
    pub(crate) seq: Option<i64>,
    pub(crate) consumption_id: Option<Uuid>,
}

/// What a store can tell about its database.
#[derive(Debug, Clone)]
pub(crate) struct Inspected {
    /// Its name and version.
    pub(crate) database: String,
    /// What its own clock shows, where it has one.
    pub(crate) time: Option<Timestamp>,
    /// What is not as the migrations make it: tables, constraints, indexes, triggers, functions.
    pub(crate) missing: Vec<String>,
    /// Settings that can cost acknowledged commits, and versions that are too old.
    pub(crate) risks: Vec<Problem>,
}
