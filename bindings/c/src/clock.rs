//! A clock that tests move.

use crate::call::{Out, guard};
use crate::error::{credits_code, credits_error, null};
use crate::text::optional_duration;
use jointo_credits::{Clock, ManualClock, Timestamp};

/// A clock that stands still until it is moved: a test runs a year in a second. Made by credits_clock_new(), freed by
/// credits_clock_free(); ledgers that use it keep it alive. Safe in all threads.
pub struct credits_clock {
    pub(crate) clock: ManualClock,
}

/// Makes a clock that shows `start`, in microseconds since 1970 UTC.
#[unsafe(no_mangle)]
pub extern "C" fn credits_clock_new(start: i64) -> *mut credits_clock {
    let clock = ManualClock::starting_at(Timestamp::from_micros(start));
    Box::into_raw(Box::new(credits_clock { clock }))
}

/// Frees a clock. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_clock_free(clock: *mut credits_clock) {
    if !clock.is_null() {
        // SAFETY: it came from `credits_clock_new`, and is freed once.
        drop(unsafe { Box::from_raw(clock) });
    }
}

/// What a clock shows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_clock_now(
    clock: *const credits_clock,
    now: *mut i64,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        guard(error, || {
            let clock = clock.as_ref().ok_or_else(|| null("clock"))?;
            Out::new("now", now)?.write(clock.clock.now().as_micros());
            Ok(())
        })
    }
}

/// Moves a clock forward by so many microseconds.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_clock_advance(
    clock: *const credits_clock,
    by: i64,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        guard(error, || {
            let clock = clock.as_ref().ok_or_else(|| null("clock"))?;
            clock
                .clock
                .advance(optional_duration("by", by)?.unwrap_or_default());
            Ok(())
        })
    }
}

/// Sets a clock, to any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_clock_set(
    clock: *const credits_clock,
    to: i64,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        guard(error, || {
            let clock = clock.as_ref().ok_or_else(|| null("clock"))?;
            clock.clock.set(Timestamp::from_micros(to));
            Ok(())
        })
    }
}
