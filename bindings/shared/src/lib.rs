//! What the bindings share, whatever language they are for: threads, wakers, the text of log records.

use jointo_credits::{ConsumeItem, Consumption, Ledger, Result};
use std::fmt::Write;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use tracing::Event;
use tracing::field::{Field, Visit};

/// More would mostly wait for one another: they wait for the database, and decide.
const WORKERS_MAX: usize = 4;

/// How many threads a binding's runtime should have.
#[must_use]
pub fn worker_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(2, WORKERS_MAX)
}

/// A hold of an amount, or at the price of a rate card.
///
/// # Errors
/// As [`Ledger::consume`] and [`Ledger::consume_priced`].
pub async fn consume(ledger: &Ledger, item: ConsumeItem, key: Option<&str>) -> Result<Consumption> {
    match item {
        ConsumeItem::Amount(consume) => ledger.consume(consume, key).await,
        ConsumeItem::Priced(consume) => ledger.consume_priced(consume, key).await,
    }
}

/// [`Ledger::consume_many`] of what a program has given: what is malformed (`M` says how) concerns the other items no more
/// than what the ledger refuses.
///
/// # Errors
/// As [`Ledger::consume_many`]; no item has an outcome then.
pub async fn consume_many<M>(
    ledger: &Ledger,
    items: Vec<std::result::Result<(ConsumeItem, Option<String>), M>>,
) -> Result<Vec<std::result::Result<Result<Consumption>, M>>> {
    let mut well_formed = Vec::with_capacity(items.len());
    let places: Vec<Option<M>> = items
        .into_iter()
        .map(|item| item.map(|item| well_formed.push(item)).err())
        .collect();
    let mut outcomes = ledger.consume_many(well_formed).await?.into_iter();
    Ok(places
        .into_iter()
        .filter_map(|malformed| match malformed {
            Some(malformed) => Some(Err(malformed)),
            None => outcomes.next().map(Ok),
        })
        .collect())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Wakes this thread where it is parked: for a thread that polls a future itself.
#[must_use]
pub fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// `message` first, then the other fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// What a log record says: its message, then its fields as `name=value`.
#[must_use]
pub fn text_of(event: &Event<'_>) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    text.message + &text.fields
}
