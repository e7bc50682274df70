//! An embeddable prepaid-credit ledger: it runs inside your process and keeps its books in your database.
//!
//! Credits are granted in lots, held before a job ([`Ledger::consume`]), kept when it succeeds
//! ([`Ledger::confirm`]) and given back when it fails ([`Ledger::refund`]); forgotten holds expire by themselves. Every
//! accepted command appends to a hash-chained journal from which everything else can be derived again
//! ([`Ledger::verify`]).
//!
//! Start with [`Ledger::connect`]. The rules are in [`ledger`], pure and without I/O; what a feature costs is worked out
//! in [`pricing`], which is so too.

#![cfg_attr(not(feature = "engine"), no_std)]

extern crate alloc;

pub mod ledger;
pub mod pricing;

/// The Rust code of the page is compiled with the documentation's examples.
#[cfg(all(doctest, feature = "engine"))]
#[doc = include_str!("../docs/rate-cards.md")]
mod rate_cards_page {}

#[cfg(all(doctest, feature = "redis"))]
#[doc = include_str!("../docs/cache.md")]
mod cache_page {}

#[cfg(feature = "engine")]
mod anchor;
#[cfg(feature = "archive")]
pub mod archive;
#[cfg(feature = "engine")]
mod cache;
#[cfg(feature = "engine")]
mod catalogue;
#[cfg(feature = "engine")]
mod clock;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod error;
#[cfg(feature = "engine")]
mod facade;
#[cfg(feature = "engine")]
mod inspect;
#[cfg(any(feature = "anchors", feature = "archive"))]
#[cfg_attr(not(feature = "archive"), allow(dead_code))]
mod lines;
#[cfg(feature = "engine")]
mod orders;
#[cfg(feature = "engine")]
pub mod payments;
#[cfg(feature = "engine")]
mod prices;
#[cfg(feature = "archive")]
mod retention;
#[cfg(feature = "engine")]
mod settings;
#[cfg(feature = "engine")]
mod statement;
#[cfg(feature = "engine")]
mod stats;
#[cfg(feature = "engine")]
mod store;
#[cfg(feature = "engine")]
mod url;
#[cfg(feature = "engine")]
mod verify;
#[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
mod within;

#[cfg(feature = "anchors")]
pub use anchor::{Anchor, AnchorKey, Proved, PublicKey, Signing, Trust, check_proof};
#[cfg(feature = "engine")]
pub use cache::{Cache, CacheOptions, CacheStats};
#[cfg(feature = "engine")]
pub use catalogue::{Package, Pricing, SavePackage, SetPricing, Usage};
#[cfg(feature = "engine")]
pub use clock::{Clock, ManualClock, SystemClock};
#[cfg(feature = "engine")]
pub use error::{Error, Result, Written};
#[cfg(feature = "engine")]
pub use facade::{ConsumptionFilter, Ledger, PAGE_LINES_MAX, Page, TransactionFilter};
#[cfg(feature = "engine")]
pub use inspect::{Inspection, Problem};
pub use ledger::{
    Action, Adjust, Balance, Clawback, ClawbackReceipt, Command, Confirm, Consume, Consumption, Entry,
    Expiring, Extend, Gift, Grant, Hash, Kind, Late, LatePayment, Lot, Matured, Metadata, Money,
    OnLotExpiredWhileHeld, OpenOrder, Order, OrderCommand, OrderNo, OrderPayment, OrderRefund,
    OrderRefundRequest, OrderState, OrderStatus, OrderStep, Outcome, Overage, ParseOrderNoError,
    ParseTimestampError, Pin, Priced, Receipt, Refund, RefundNote, RefundStatus, Refusal, SetCreditLimit,
    Shortfall, Source, Status, TakenBack, Timestamp,
};
#[cfg(feature = "engine")]
pub use orders::{
    Notification, NotificationEvent, OrderFilter, Reconciled, StatementDifference, StatementReport, money,
};
#[cfg(feature = "engine")]
pub use prices::{ConsumeItem, Explanation, PaidFrom, PricedConfirm, PricedConsume};
#[cfg(feature = "archive")]
pub use retention::{CleanedUp, Cleanup, KEYS_KEPT};
#[cfg(feature = "engine")]
pub use settings::Settings;
#[cfg(feature = "engine")]
pub use statement::{
    FeatureTotal, KindTotal, STATEMENT_ENTRIES_MAX, Statement, StatementBalance, StatementTotals,
};
#[cfg(feature = "engine")]
pub use stats::{Answers, Histogram, PendingHolds, Stats};
#[cfg(feature = "archive")]
pub use store::{ArchiveFile, ArchiveKind};
#[cfg(feature = "engine")]
pub use verify::{FAULTS_NAMED_MAX, Fault, FaultKind, TrialBalance, Verification};
#[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
pub use within::{CallerTransaction, Within};
