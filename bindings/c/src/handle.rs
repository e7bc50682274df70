//! An open ledger, and how calls are made on it: with its runtime, in the caller's thread.

use crate::call::guard;
use crate::error::{Checked, credits_code, credits_error, null};
use jointo_credits::Ledger;
use jointo_credits_bindings::thread_waker;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use tokio::runtime::Runtime;

/// A ledger in a database. Safe in all threads at once. Opened by credits_open(), closed by credits_close(), once, when no
/// other call is under way.
///
/// A process that forks: call credits_before_fork() before and credits_after_fork() after it in the parent. The child must
/// open a ledger of its own; on the parent's every call gives CREDITS_FORKED, and credits_close() does nothing.
pub struct credits_ledger {
    pub(crate) process: u32,
    pub(crate) runtime: Runtime,
    pub(crate) ledger: Ledger,
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
