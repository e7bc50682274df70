//! What the library logs, on its way to Python's `logging`.
//!
//! The engine's threads must never wait for the GIL: whoever holds it may be waiting for them. So they leave records
//! in a bounded queue, and every call takes what is there along when it has the GIL anyway. A record of an idle process
//! therefore appears with its next call, or at exit. The queue has no lock, which a fork could leave locked.
//!
//! Where it is full the record is dropped; the next one that fits says how many were.

use crossbeam_queue::ArrayQueue;
use jointo_credits_bindings::text_of;
use pyo3::prelude::*;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterExt, LevelFilter, filter_fn};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

const RECORDS_MAX: usize = 1_000;

struct Record {
    level: u8,
    target: &'static str,
    text: String,
}

static RECORDS: LazyLock<ArrayQueue<Record>> = LazyLock::new(|| ArrayQueue::new(RECORDS_MAX));
static WAITING: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);

struct Collector;

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // The numbers of the module `logging`.
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            Level::INFO => 20,
            Level::DEBUG | Level::TRACE => 10,
        };
        let record = Record {
            level,
            target: event.metadata().target(),
            text: text_of(event),
        };
        if RECORDS.push(record).is_err() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        WAITING.store(true, Ordering::Release);
    }
}

/// Begins to collect. Only this library's own records: what its dependencies log is theirs.
pub(crate) fn collect() {
    let ours = filter_fn(|metadata| metadata.target().starts_with("jointo_credits"));
    let layer = Collector.with_filter(ours.and(LevelFilter::DEBUG));
    // Another copy of this module in the process has its own; a second import of this one changes nothing.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

/// Hands over what was collected, if there is anything. Cheap when there is not.
pub(crate) fn hand_over(py: Python<'_>) {
    if WAITING.swap(false, Ordering::AcqRel)
        && let Err(error) = flush_records(py)
    {
        // A handler of the host's has failed; that must not become the failure of a call. An interrupt that arrived just
        // then is seen by the next look for signals, if it is pressed again.
        error.write_unraisable(py, None);
    }
}

/// Hands everything that was collected to `logging`.
#[pyfunction]
pub(crate) fn flush_records(py: Python<'_>) -> PyResult<()> {
    let get_logger = py.import("logging")?.getattr("getLogger")?;
    let dropped = DROPPED.swap(0, Ordering::Relaxed);
    if dropped > 0 {
        let text = format!("{dropped} log records were dropped: too many at once");
        get_logger
            .call1(("jointo_credits",))?
            .call_method1("warning", (text,))?;
    }
    while let Some(record) = RECORDS.pop() {
        let name = record.target.replace("::", ".");
        // The text is an argument: a percent sign in it is none.
        let logger = get_logger.call1((name,))?;
        logger.call_method1("log", (record.level, "%s", record.text))?;
    }
    Ok(())
}
