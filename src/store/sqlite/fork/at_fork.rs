//! Takes every process-wide lock while its thread forks.

#![allow(unsafe_code, reason = "SQLite's locks and pthread_atfork are C")]

use super::{OPEN, Open};
use rusqlite::ffi;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

/// SQLite's own static locks (<https://www.sqlite.org/c3ref/c_mutex_fast.html>); those of applications are not ours.
const STATIC: [c_int; 9] = [
    ffi::SQLITE_MUTEX_STATIC_MAIN,
    ffi::SQLITE_MUTEX_STATIC_MEM,
    ffi::SQLITE_MUTEX_STATIC_OPEN,
    ffi::SQLITE_MUTEX_STATIC_PRNG,
    ffi::SQLITE_MUTEX_STATIC_LRU,
    ffi::SQLITE_MUTEX_STATIC_PMEM,
    ffi::SQLITE_MUTEX_STATIC_VFS1,
    ffi::SQLITE_MUTEX_STATIC_VFS2,
    ffi::SQLITE_MUTEX_STATIC_VFS3,
];
/// Their owners have them for microseconds, unless they have to wait for a processor.
const PAUSE: Duration = Duration::from_micros(50);
/// After so many pauses (some seconds) somebody is stuck in SQLite: a child without its locks is no worse off.
const PAUSES_MAX: u32 = 40_000;

thread_local! {
    /// What this thread, which forks, has taken: it finds it in the child too.
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

struct Held {
    _open: MutexGuard<'static, BTreeMap<PathBuf, Open>>,
    sqlite: Vec<*mut ffi::sqlite3_mutex>,
}

impl Drop for Held {
    fn drop(&mut self) {
        for lock in self.sqlite.drain(..).rev() {
            // SAFETY: this thread has entered it.
            unsafe { ffi::sqlite3_mutex_leave(lock) };
        }
    }
}

/// From now on, for every fork of this process. Cheap to repeat.
pub(super) fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.load(Ordering::Acquire) {
        return;
    }
    // Two threads may both come here: a second registration finds the locks taken, and a third party that forks
    // meanwhile must not leave a child with a half-done `Once`.
    // SAFETY: it may be called at any time, and the three functions live as long as the process.
    let refused = unsafe {
        ffi::sqlite3_initialize();
        libc::pthread_atfork(Some(before), Some(after), Some(after))
    };
    REGISTERED.store(refused == 0, Ordering::Release);
}

extern "C" fn before() {
    held(|held| {
        if held.is_none() {
            *held = Some(Held {
                _open: OPEN.lock().unwrap_or_else(PoisonError::into_inner),
                sqlite: sqlite(),
            });
        }
    });
}

extern "C" fn after() {
    held(|held| *held = None);
}

/// Does nothing in a thread that is just ending: nothing may panic here.
fn held(change: impl FnOnce(&mut Option<Held>)) {
    let _ = HELD.try_with(|held| held.try_borrow_mut().map(|mut held| change(&mut held)));
}

/// All or none: SQLite's threads may take one while they have another, in an order of their own.
fn sqlite() -> Vec<*mut ffi::sqlite3_mutex> {
    let mut taken = Vec::with_capacity(STATIC.len());
    for _ in 0..PAUSES_MAX {
        for id in STATIC {
            // SAFETY: a static lock is there once SQLite is initialised, and never freed.
            let (lock, answer) = unsafe {
                let lock = ffi::sqlite3_mutex_alloc(id);
                (lock, ffi::sqlite3_mutex_try(lock))
            };
            if answer != ffi::SQLITE_OK {
                break;
            }
            taken.push(lock);
        }
        if taken.len() == STATIC.len() {
            break;
        }
        for lock in taken.drain(..) {
            // SAFETY: this thread has just entered it.
            unsafe { ffi::sqlite3_mutex_leave(lock) };
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "a thread that forks is no task of a runtime"
        )]
        std::thread::sleep(PAUSE);
    }
    taken
}
