//! What the library logs, on its way to the program.

use crate::strings::c_string;
use jointo_credits_bindings::text_of;
use std::ffi::{c_char, c_void};
use std::sync::{Once, PoisonError, RwLock};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// A record's level: something failed.
pub const CREDITS_LOG_ERROR: i32 = 1;
/// Something went wrong, and is tried again.
pub const CREDITS_LOG_WARN: i32 = 2;
/// Something worth knowing.
pub const CREDITS_LOG_INFO: i32 = 3;
/// For whoever looks for a fault.
pub const CREDITS_LOG_DEBUG: i32 = 4;

/// What is called with each record, from any of the library's threads, possibly several at once. `target` is the part of
/// the library. The texts are valid until it returns. It must not call the library.
pub type credits_logger = Option<
    unsafe extern "C" fn(level: i32, target: *const c_char, message: *const c_char, context: *mut c_void),
>;

struct Logger {
    call: credits_logger,
    context: *mut c_void,
}

// SAFETY: the program promises that its function may be called from any thread with its context.
unsafe impl Send for Logger {}
// SAFETY: likewise.
unsafe impl Sync for Logger {}

static LOGGER: RwLock<Logger> = RwLock::new(Logger {
    call: None,
    context: std::ptr::null_mut(),
});

/// Has every record of the library's given to `logger`, for the whole process; NULL ends that. When it returns the logger
/// before is not called any more. Without a logger nothing is logged.
///
/// @param logger   The function.
/// @param context  Passed on to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_set_logger(logger: credits_logger, context: *mut c_void) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::registry().with(Collector.with_filter(LevelFilter::DEBUG));
        // A Rust program that has a subscriber of its own has our records there already.
        let _ = tracing::subscriber::set_global_default(subscriber);
    });
    *LOGGER.write().unwrap_or_else(PoisonError::into_inner) = Logger {
        call: logger,
        context,
    };
}

struct Collector;

impl<S: Subscriber + for<'s> LookupSpan<'s>> Layer<S> for Collector {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !event.metadata().target().starts_with("jointo_credits") {
            return;
        }
        let logger = LOGGER.read().unwrap_or_else(PoisonError::into_inner);
        let Some(call) = logger.call else { return };
        let level = match *event.metadata().level() {
            Level::ERROR => CREDITS_LOG_ERROR,
            Level::WARN => CREDITS_LOG_WARN,
            Level::INFO => CREDITS_LOG_INFO,
            Level::DEBUG | Level::TRACE => CREDITS_LOG_DEBUG,
        };
        let (target, message) = (c_string(event.metadata().target()), c_string(&text_of(event)));
        // SAFETY: the program's promise.
        unsafe { call(level, target.as_ptr(), message.as_ptr(), logger.context) };
    }
}
