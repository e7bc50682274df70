//! How a body runs: behind a guard against panics.

use crate::error::{CREDITS_OK, Checked, credits_code, credits_error, null};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
