//! How a body runs: behind a guard against panics, with the ledger's runtime, in the caller's thread.

use crate::error::{CREDITS_OK, credits_code, credits_error};
use crate::ledger::credits_ledger;
use crate::text::{Checked, null};
use jointo_credits::bindings::thread_waker;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Runs a body. Its error goes to `error`, where that is not NULL, and its number is the result.
///
/// # Safety
/// `error` is NULL or a pointer to a place for a pointer.
pub(crate) unsafe fn guard(
    error: *mut *mut credits_error,
    body: impl FnOnce() -> Checked<()>,
) -> credits_code {
    // What the body writes are results, all at once and last: nothing is half-done where it panics.
    let done = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned());
        Err(credits_error::panicked(&what.unwrap_or_default()))
    });
    match done {
        Ok(()) => CREDITS_OK,
        Err(failure) => {
            let code = failure.code();
            if !error.is_null() {
                // SAFETY: the caller's promise.
                unsafe { error.write(Box::into_raw(Box::new(failure))) };
            }
            code
        }
    }
}

/// As [`guard`], for what is done with a ledger: one that is there, and of this process.
///
/// # Safety
/// As [`guard`]; `ledger` is NULL, or one that was opened and not closed.
pub(crate) unsafe fn with(
    ledger: *const credits_ledger,
    error: *mut *mut credits_error,
    body: impl FnOnce(&credits_ledger) -> Checked<()>,
) -> credits_code {
    // SAFETY: the caller's promise.
    unsafe {
        guard(error, || {
            let ledger = ledger.as_ref().ok_or_else(|| null("ledger"))?;
            if ledger.process == std::process::id() {
                body(ledger)
            } else {
                Err(credits_error::forked())
            }
        })
    }
}

/// A place for a result, checked before anything is done.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    pub(crate) fn new(field: &'static str, place: *mut T) -> Checked<Self> {
        if place.is_null() {
            Err(null(field))
        } else {
            Ok(Out(place))
        }
    }

    /// # Safety
    /// The place that was given is one.
    pub(crate) unsafe fn write(self, value: T) {
        // SAFETY: the caller's promise; it is not NULL.
        unsafe { self.0.write(value) };
    }
}

/// Writes a result that the caller may not want: made only where there is a place for it.
///
/// # Safety
/// NULL, or a place for one.
pub(crate) unsafe fn write_unless_null<T>(place: *mut T, result: impl FnOnce() -> T) {
    if !place.is_null() {
        // SAFETY: the caller's promise.
        unsafe { place.write(result()) };
    }
}

/// Waits for a future in this thread. Unlike tokio's own it may be called inside of another runtime, as a Rust program does
/// that calls a C library that calls us.
pub(crate) fn wait<T>(
    ledger: &credits_ledger,
    future: impl Future<Output = jointo_credits::Result<T>>,
) -> Checked<T> {
    let _inside = ledger.runtime.enter();
    let mut future = pin!(future);
    // What is there already needs nobody to wake anybody.
    if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return Ok(done?);
    }
    let waker = thread_waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Ok(done?);
        }
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CREDITS_INTERNAL, credits_error_code, credits_error_free, credits_error_message};
    use std::ffi::CStr;
    use std::ptr::null_mut;

    /// No argument of C's makes the library panic, as far as anybody knows. Should one do so, C must not be unwound.
    #[test]
    fn a_panic_becomes_an_error() {
        let mut error = null_mut();
        // SAFETY: a place for a pointer, or none.
        unsafe {
            let code = guard(&raw mut error, || panic!("it is {}", "broken"));
            assert_eq!(code, CREDITS_INTERNAL);
            assert_eq!(credits_error_code(error), CREDITS_INTERNAL);
            let message = CStr::from_ptr(credits_error_message(error));
            assert!(message.to_str().unwrap().ends_with("it is broken"));
            credits_error_free(error);
            assert_eq!(guard(null_mut(), || panic!("for nobody")), CREDITS_INTERNAL);
        }
    }
}
