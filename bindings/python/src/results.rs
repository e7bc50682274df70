//! What Python gets of each result of the ledger.

use crate::objects::{all, datetime, decimal, json, make, maybe, microseconds, uuid};
use crate::quote::Quote;
use jointo_credits::payments::{BillLine, Prepared, Reply};
use jointo_credits::pricing::Decimal;
use jointo_credits::{
    ArchiveFile, Balance, ClawbackReceipt, CleanedUp, Consumption, Entry, Explanation, FeatureTotal,
    Histogram, Inspection, KindTotal, Lot, Matured, Notification, Order, OrderNo, OrderRefund, Package, Page,
    PendingHolds, Pricing, Proved, Receipt, Reconciled, Statement, StatementBalance, StatementDifference,
    StatementReport, StatementTotals, Stats, TrialBalance, Verification,
};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::sync::{Mutex, PoisonError};
use std::vec::IntoIter;

pub(crate) fn balance(py: Python<'_>, of: Balance) -> PyResult<Py<PyAny>> {
    let expiring = all(
        py,
        of.expiring,
        |py, part| make!(py, Expiring { datetime(py, part.at)?, part.amount }),
    )?;
    make!(py, Balance {
        uuid(py, of.user_id)?, of.available, of.held, of.debt, of.credit_limit, of.granted, of.spent, expiring, of.seq,
        datetime(py, of.at)?, of.expiring_more,
    })
}

pub(crate) fn consumption(py: Python<'_>, of: Consumption) -> PyResult<Py<PyAny>> {
    let lots = all(
        py,
        of.lots,
        |py, pin| make!(py, Pin { uuid(py, pin.lot_id)?, pin.amount }),
    )?;
    make!(py, Consumption {
        uuid(py, of.id)?, uuid(py, of.user_id)?, of.status.as_str(), of.amount, of.captured, of.reversed, of.borrowed,
        lots, of.feature, of.reference, maybe(py, of.metadata, |py, metadata| json(py, metadata.as_str()))?,
        datetime(py, of.created_at)?, datetime(py, of.expires_at)?, maybe(py, of.settled_at, datetime)?,
    })
}

pub(crate) fn lot(py: Python<'_>, of: Lot) -> PyResult<Py<PyAny>> {
    let cost = maybe(
        py,
        of.cost,
        |py, cost| make!(py, Money { cost.minor, cost.currency }),
    )?;
    make!(py, Lot {
        uuid(py, of.lot_id)?, of.source.as_str(), of.amount, of.remaining, of.expired, of.clawed, of.claim, of.priority,
        maybe(py, of.expires_at, datetime)?, cost, of.reference, maybe(py, of.origin, uuid)?,
        datetime(py, of.created_at)?,
    })
}

pub(crate) fn transaction(py: Python<'_>, of: Entry) -> PyResult<Py<PyAny>> {
    make!(py, Transaction {
        uuid(py, of.user_id)?, of.seq, of.kind.as_str(), of.change, of.held_change, of.available, of.held,
        of.counter_account, maybe(py, of.consumption_id, uuid)?, maybe(py, of.lot_id, uuid)?, of.reference,
        of.idempotency_key, of.effects.feature, of.effects.reason, of.effects.operator, datetime(py, of.created_at)?,
        of.hash.to_string(),
    })
}

pub(crate) fn receipt(py: Python<'_>, of: Receipt) -> PyResult<Py<PyAny>> {
    make!(py, Receipt {
        uuid(py, of.user_id)?, of.seq, of.kind.as_str(), of.amount, maybe(py, of.lot, lot)?, of.available,
        of.credit_limit, datetime(py, of.created_at)?,
    })
}

pub(crate) fn clawback_receipt(py: Python<'_>, of: ClawbackReceipt) -> PyResult<Py<PyAny>> {
    make!(py, ClawbackReceipt {
        uuid(py, of.user_id)?, of.seq, uuid(py, of.lot_id)?, of.taken, of.shortfall, of.debt, of.available,
        datetime(py, of.created_at)?,
    })
}

pub(crate) fn matured(py: Python<'_>, of: Matured) -> PyResult<Py<PyAny>> {
    make!(py, Matured { of.holds, of.released, of.lots, of.expired })
}

fn page<T>(
    py: Python<'_>,
    of: Page<T>,
    convert: fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    make!(py, Page { all(py, of.items, convert)?, of.next_cursor })
}

pub(crate) fn transactions(py: Python<'_>, of: Page<Entry>) -> PyResult<Py<PyAny>> {
    page(py, of, transaction)
}

pub(crate) fn consumptions(py: Python<'_>, of: Page<Consumption>) -> PyResult<Py<PyAny>> {
    page(py, of, consumption)
}

pub(crate) fn quote(py: Python<'_>, of: jointo_credits::pricing::Quote) -> PyResult<Py<PyAny>> {
    Quote::from(of).into_py_any(py)
}

pub(crate) fn package(py: Python<'_>, of: Package) -> PyResult<Py<PyAny>> {
    let mut price = of.price;
    price.rescale(2); // it has no more digits, and is written with two
    make!(py, Package {
        uuid(py, of.package_id)?, of.version, of.name, of.description, decimal(py, price)?, of.currency, of.credits,
        of.bonus_credits, of.validity_days, of.sort_order, of.recommended, of.active, of.purchase_limit,
        datetime(py, of.created_at)?, datetime(py, of.updated_at)?,
    })
}

pub(crate) fn packages(py: Python<'_>, of: Vec<Package>) -> PyResult<Py<PyAny>> {
    all(py, of, package)
}

pub(crate) fn pricing(py: Python<'_>, of: Pricing) -> PyResult<Py<PyAny>> {
    let version = of.version;
    make!(py, Pricing {
        uuid(py, version.pricing.pricing_id)?, version.card.feature(), version.pricing.version, version.card.name(),
        maybe(py, version.account, uuid)?, datetime(py, version.effective_from)?,
        maybe(py, version.effective_until, datetime)?, json(py, version.card.canonical_json())?,
        datetime(py, of.created_at)?,
    })
}

pub(crate) fn pricings(py: Python<'_>, of: Vec<Pricing>) -> PyResult<Py<PyAny>> {
    all(py, of, pricing)
}

pub(crate) fn explanation(py: Python<'_>, of: Explanation) -> PyResult<Py<PyAny>> {
    let lots = all(
        py,
        of.lots,
        |py, paid| make!(py, PaidFrom { lot(py, paid.lot)?, paid.amount }),
    )?;
    make!(py, Explanation {
        consumption(py, of.consumption)?, maybe(py, of.held, quote)?, maybe(py, of.charged, quote)?, lots,
    })
}

fn statement_balance(py: Python<'_>, of: StatementBalance) -> PyResult<Py<PyAny>> {
    make!(py, StatementBalance { of.available, of.held })
}

fn statement_totals(py: Python<'_>, of: StatementTotals) -> PyResult<Py<PyAny>> {
    make!(py, StatementTotals { of.granted, of.taken_back, of.spent, of.refunded, of.expired })
}

fn kind_total(py: Python<'_>, of: KindTotal) -> PyResult<Py<PyAny>> {
    make!(py, KindTotal { of.kind.as_str(), of.entries, of.change, of.held_change })
}

fn feature_total(py: Python<'_>, of: FeatureTotal) -> PyResult<Py<PyAny>> {
    make!(py, FeatureTotal { of.feature, of.captures, of.spent, of.refunded })
}

/// A statement's entries. Python takes them in pieces: to make 100,000 objects at once would hold an event loop up.
#[pyclass(frozen, module = "jointo_credits._native")]
pub(crate) struct Entries {
    left: Mutex<IntoIter<Entry>>,
}

#[pymethods]
impl Entries {
    /// The next ones, `count` at the most; none after the last.
    fn take(&self, py: Python<'_>, count: usize) -> PyResult<Py<PyAny>> {
        // Nothing that holds it panics half-way.
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let next: Vec<Entry> = left.by_ref().take(count).collect();
        drop(left);
        all(py, next, transaction)
    }
}

/// A statement without its entries, and these.
pub(crate) fn statement(py: Python<'_>, of: Statement) -> PyResult<Py<PyAny>> {
    let entries = Entries {
        left: Mutex::new(of.entries.into_iter()),
    };
    let statement = make!(py, Statement {
        uuid(py, of.user_id)?, datetime(py, of.since)?, datetime(py, of.until)?, datetime(py, of.drawn_up_at)?,
        statement_balance(py, of.opening)?, statement_balance(py, of.closing)?,
        maybe(py, of.effective, statement_balance)?, statement_totals(py, of.totals)?,
        all(py, of.kinds, kind_total)?, all(py, of.features, feature_total)?, PyTuple::empty(py),
    })?;
    (statement, entries).into_py_any(py)
}

pub(crate) fn verification(py: Python<'_>, of: Verification) -> PyResult<Py<PyAny>> {
    let faults = all(py, of.faults, |py, fault| {
        make!(py, Fault {
            uuid(py, fault.user_id)?, fault.seq, maybe(py, fault.id, uuid)?, fault.kind.to_string(), fault.detail,
        })
    })?;
    make!(py, Verification {
        of.accounts, of.entries, of.lots, of.holds, of.orders, of.anchored, of.anchored_archived, of.fault_count, faults,
    })
}

pub(crate) fn proved(py: Python<'_>, of: Proved) -> PyResult<Py<PyAny>> {
    let last = transaction(py, of.last)?;
    make!(py, Proved { uuid(py, of.user_id)?, last, of.first_seq, of.entries })
}

pub(crate) fn cleaned_up(py: Python<'_>, of: CleanedUp) -> PyResult<Py<PyAny>> {
    let files = PyTuple::new(py, of.files)?;
    make!(py, CleanedUp { datetime(py, of.before)?, of.archived, of.removed, of.kept, files, of.bytes, of.more })
}

pub(crate) fn archives(py: Python<'_>, of: Vec<ArchiveFile>) -> PyResult<Py<PyAny>> {
    let files = all(py, of, |py, file| {
        make!(py, ArchiveFile {
            file.name, file.kind.as_str(), datetime(py, file.older_than)?, file.lines, file.bytes,
            file.sha256.to_string(), datetime(py, file.created_at)?, maybe(py, file.removed_at, datetime)?,
        })
    })?;
    files.into_py_any(py)
}

pub(crate) fn trial_balance(py: Python<'_>, of: TrialBalance) -> PyResult<Py<PyAny>> {
    let counter_accounts = PyDict::new(py);
    for (name, sum) in of.counter_accounts {
        counter_accounts.set_item(name, sum)?;
    }
    make!(py, TrialBalance { of.available, of.held, counter_accounts })
}

pub(crate) fn inspection(py: Python<'_>, of: Inspection) -> PyResult<Py<PyAny>> {
    let problems = all(
        py,
        of.problems,
        |py, problem| make!(py, Problem { problem.what, problem.remedy }),
    )?;
    let round_trip = i64::try_from(of.round_trip.as_micros()).unwrap_or(i64::MAX);
    make!(py, Inspection {
        of.database, microseconds(py, round_trip)?, maybe(py, of.clock_skew_us, microseconds)?, problems,
    })
}

fn histogram(py: Python<'_>, name: &str, of: Histogram) -> PyResult<Py<PyAny>> {
    let buckets = PyTuple::new(py, of.buckets)?;
    make!(py, Histogram { name, buckets, of.above, of.sum })
}

pub(crate) fn stats(py: Python<'_>, of: Stats) -> PyResult<Py<PyAny>> {
    let answers = all(
        py,
        of.answers,
        |py, answers| make!(py, Answers { answers.operation, answers.outcome, answers.count }),
    )?;
    let latencies = all(py, of.latencies, |py, (name, latency)| {
        histogram(py, name, latency)
    })?;
    let batches = histogram(py, "batches", of.batches)?;
    let cache = of
        .cache
        .map(|of| make!(py, CacheStats { of.hits, of.misses, of.away }));
    make!(py, Stats { answers, latencies, batches, of.queued, matured(py, of.matured)?, cache.transpose()? })
}

pub(crate) fn pending_holds(py: Python<'_>, of: PendingHolds) -> PyResult<Py<PyAny>> {
    make!(py, PendingHolds { of.holds, of.credits, of.overdue })
}

/// Hundredths as they are written.
fn amount(py: Python<'_>, minor: i64) -> PyResult<Py<PyAny>> {
    decimal(py, Decimal::new(minor, 2))
}

fn order_refund(py: Python<'_>, order_no: OrderNo, of: OrderRefund) -> PyResult<Py<PyAny>> {
    let taken: i64 = of.lots.iter().map(|lot| lot.taken).sum();
    make!(py, OrderRefund {
        of.refund_no(order_no), amount(py, of.minor)?, of.status.as_str(), taken, of.shortfall(), of.reason,
        of.operator, of.channel_id, of.problem, datetime(py, of.created_at)?, maybe(py, of.settled_at, datetime)?,
    })
}

pub(crate) fn order(py: Python<'_>, of: Order) -> PyResult<Py<PyAny>> {
    let (order_no, refunded, state) = (of.order_no, of.refunded(), of.state);
    let refunds = all(py, state.refunds, |py, refund| order_refund(py, order_no, refund))?;
    make!(py, Order {
        order_no.to_string(), uuid(py, of.user_id)?, state.status.as_str(), of.channel, uuid(py, of.package_id)?,
        of.package_version, of.subject, amount(py, of.price.minor)?, of.price.currency, of.credits, of.bonus_credits,
        of.validity_days, amount(py, refunded)?, refunds, state.transaction_id, maybe(py, state.lot_id, uuid)?,
        maybe(py, state.bonus_lot_id, uuid)?, datetime(py, of.created_at)?, datetime(py, of.expires_at)?,
        maybe(py, state.paid_at, datetime)?, maybe(py, state.closed_at, datetime)?,
    })
}

pub(crate) fn orders(py: Python<'_>, of: Page<Order>) -> PyResult<Py<PyAny>> {
    page(py, of, order)
}

pub(crate) fn prepared(py: Python<'_>, of: Prepared) -> PyResult<Py<PyAny>> {
    let parameters = PyDict::new(py);
    for (name, value) in of.parameters {
        parameters.set_item(name, value)?;
    }
    make!(py, PaymentRequest { parameters, maybe(py, of.expires_at, datetime)? })
}

pub(crate) fn notification(py: Python<'_>, of: Notification) -> PyResult<Py<PyAny>> {
    make!(py, Notification { of.event.as_str(), maybe(py, of.order, order)? })
}

pub(crate) fn reply(py: Python<'_>, of: Reply) -> PyResult<Py<PyAny>> {
    make!(py, NotificationReply { of.status, of.content_type, of.body })
}

pub(crate) fn reconciled(py: Python<'_>, of: Reconciled) -> PyResult<Py<PyAny>> {
    let problems = all(py, of.problems, |py, (order_no, error)| {
        let error = crate::errors::exception(py, &error)?;
        make!(py, OrderProblem { order_no.to_string(), error })
    })?;
    make!(py, Reconciled { of.orders, of.settled, of.closed, of.refunds, of.failed, problems })
}

fn bill_line(py: Python<'_>, of: BillLine) -> PyResult<Py<PyAny>> {
    make!(py, BillLine {
        of.line, of.order_no, of.transaction_id, of.refund_no, amount(py, of.amount.minor)?, of.amount.currency,
        maybe(py, of.at, datetime)?,
    })
}

pub(crate) fn statement_report(py: Python<'_>, of: StatementReport) -> PyResult<Py<PyAny>> {
    let differences = all(py, of.differences, |py, difference| {
        let (kind, line, found, refund_no) = match difference {
            StatementDifference::Unknown(line) => ("unknown", Some(line), None, None),
            StatementDifference::NotSettled(line, order) => ("not_settled", Some(line), Some(order), None),
            StatementDifference::Different(line, order) => ("different", Some(line), Some(order), None),
            StatementDifference::MissingPayment(order) => ("missing_payment", None, Some(order), None),
            StatementDifference::MissingRefund(order, no) => ("missing_refund", None, Some(order), Some(no)),
            _ => ("other", None, None, None),
        };
        make!(py, StatementDifference { kind, maybe(py, line, bill_line)?, maybe(py, found, order)?, refund_no })
    })?;
    make!(py, StatementReport { of.matched, differences })
}
