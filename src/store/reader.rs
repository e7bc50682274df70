//! What is read outside of batches.

use super::{Anchors, Extent, Inspected, LoadedAccount, OddTime, Reading, Retention, Snapshot};
use crate::catalogue::{CatalogueChange, CatalogueRows, Package};
use crate::ledger::{Entry, Hold, Kind, Lot, Order, OrderNo, OrderStatus, Prior, Status, Timestamp};
use crate::stats::PendingHolds;
use std::time::Duration;
use uuid::Uuid;

/// Greater than every order's number, as text.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn after_every_number() -> String {
    "g".into()
}

/// What a sweep has to know of an order that waits for a payment or a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OpenOrderRow {
    pub(crate) order_no: OrderNo,
    pub(crate) user_id: Uuid,
    pub(crate) channel: String,
    pub(crate) status: OrderStatus,
    pub(crate) expires_at: Timestamp,
}

/// Called when the catalogue may have changed: quick, and on any thread.
pub(crate) type Changed = Box<dyn Fn() + Send + Sync>;

/// Which lines of a journal are wanted, newest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct EntryFilter {
    pub(crate) kind: Option<Kind>,
    /// `seq > after`; all where it is 0.
    pub(crate) after: i64,
    /// `created_at < until`: for the last one from before then.
    pub(crate) until: Option<Timestamp>,
    /// `seq < before`.
    pub(crate) before: Option<i64>,
    pub(crate) limit: usize,
}

/// Which consumptions are wanted, newest id first.
#[derive(Debug, Clone)]
pub(crate) struct HoldFilter {
    /// As it stands at `now`: a pending hold whose deadline has passed counts as expired.
    pub(crate) status: Option<Status>,
    pub(crate) now: Timestamp,
    /// `consumption_id < before`.
    pub(crate) before: Option<Uuid>,
    pub(crate) limit: usize,
}

/// Which orders are wanted, newest number first.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderFilter {
    /// Of one account; of all where `None`.
    pub(crate) user_id: Option<Uuid>,
    pub(crate) status: Option<OrderStatus>,
    /// `order_no < before`.
    pub(crate) before: Option<OrderNo>,
    pub(crate) limit: usize,
}

/// What a sweep looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Accounts whose `next_hold_deadline` has passed.
    Holds,
    /// Accounts whose `next_lot_deadline` has passed.
    Lots,
}

/// The reading side, shared by everybody.
pub(crate) trait Reader: Anchors + Retention + Send + Sync + 'static {
    /// The account, or `None` where it has no row.
    fn account(&self, user_id: Uuid, now: Timestamp, extent: Extent) -> Reading<'_, Option<LoadedAccount>>;

    /// The same at the present: where the database has a clock, it has to agree about that.
    fn account_now(
        &self,
        user_id: Uuid,
        now: Timestamp,
        extent: Extent,
    ) -> Reading<'_, Option<LoadedAccount>> {
        self.account(user_id, now, extent)
    }

    /// Lines of an account's journal, newest first.
    fn entries(&self, user_id: Uuid, filter: EntryFilter) -> Reading<'_, Vec<Entry>>;

    /// Consumptions of an account, newest id first.
    fn holds(&self, user_id: Uuid, filter: HoldFilter) -> Reading<'_, Vec<Hold>>;

    /// One consumption.
    fn hold(&self, consumption_id: Uuid) -> Reading<'_, Option<Hold>>;

    /// Those of these lots that an account has.
    fn lots(&self, user_id: Uuid, lot_ids: Vec<Uuid>) -> Reading<'_, Vec<Lot>>;

    /// One order.
    fn order(&self, order_no: OrderNo) -> Reading<'_, Option<Order>>;

    /// Those of these orders that are there, in any order.
    fn orders_by_number(&self, numbers: Vec<OrderNo>) -> Reading<'_, Vec<Order>>;

    /// Orders, newest first.
    fn orders(&self, filter: OrderFilter) -> Reading<'_, Vec<Order>>;

    /// Orders that wait for a payment or a refund, made at or before `until`, newest number first, before the given one.
    fn open_orders(
        &self,
        until: Timestamp,
        before: Option<OrderNo>,
        limit: usize,
    ) -> Reading<'_, Vec<OpenOrderRow>>;

    /// The entry that carries a key of an account.
    fn prior(&self, user_id: Uuid, key: String) -> Reading<'_, Option<Prior>>;

    /// Accounts with a deadline at or before `now`, in order of (deadline, account), after the given position.
    fn due(
        &self,
        what: Due,
        now: Timestamp,
        after: Option<(Timestamp, Uuid)>,
        limit: usize,
    ) -> Reading<'_, Vec<(Timestamp, Uuid)>>;

    /// The holds of all accounts that are pending.
    fn pending_holds(&self, now: Timestamp) -> Reading<'_, PendingHolds>;

    /// A picture of the whole database that does not move while it is read.
    fn snapshot(&self) -> Reading<'_, Box<dyn Snapshot>>;

    /// How often the catalogue has changed.
    fn revision(&self) -> Reading<'_, i64>;

    /// Every rate card and every package, in one consistent picture.
    fn catalogue(&self) -> Reading<'_, CatalogueRows>;

    /// Every version of a package, oldest first.
    fn package_versions(&self, package_id: Uuid) -> Reading<'_, Vec<Package>>;

    /// Every version of every package, by package, oldest first.
    fn package_history(&self) -> Reading<'_, Vec<Package>>;

    /// Entries and consumptions whose `updated_at` can't be: [`TIMES_NAMED_MAX`] of them at the most.
    fn odd_times(&self) -> Reading<'_, Vec<OddTime>>;

    /// Writes all of it, or nothing where the catalogue is no more at the revision it was planned on: then `false`.
    fn change_catalogue(&self, change: CatalogueChange) -> Reading<'_, bool>;

    /// From now on, calls `changed` when somebody changes the catalogue, and whenever a change may have been missed;
    /// until the store is closed or dropped. A store that is not told of changes does nothing: nobody may rely on it.
    fn watch(&self, changed: Changed) {
        drop(changed);
    }

    /// Gets ready for a fork: gives back what a child must not inherit, and takes nothing up until
    /// [`resume`](Reader::resume). `false` where something was not given back in time.
    fn suspend(&self, timeout: Duration) -> bool {
        let _ = timeout;
        true
    }

    /// Ends [`suspend`](Reader::suspend).
    fn resume(&self) {}

    /// Creates or updates the tables.
    fn migrate(&self) -> Reading<'_, ()>;

    /// Checks that the tables are there and of a version this library knows.
    fn check_schema(&self) -> Reading<'_, ()>;

    /// What the database's clock shows, where it has one.
    fn time(&self) -> Reading<'_, Option<Timestamp>> {
        Box::pin(async { Ok(None) })
    }

    /// The schema that the tables are in, where there are schemas and tables.
    #[cfg(feature = "postgres")]
    fn schema_in_use(&self) -> Reading<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }

    /// Looks at the database: see [`Inspected`]. The tables need not be there.
    fn inspect(&self) -> Reading<'_, Inspected>;

    /// Gives connections back. Reads after it fail with `Lost`.
    fn close(&self) -> Reading<'_, ()>;
}
