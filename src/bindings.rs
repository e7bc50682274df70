//! What every binding needs, whatever language it is for. Not for programs.

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
