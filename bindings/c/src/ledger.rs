//! Opening and closing, and what concerns the whole ledger.

use crate::call::{Out, guard, write_unless_null};
use crate::error::{credits_code, credits_error};
use crate::handle::credits_ledger;
use crate::handle::{wait, with};
use crate::json;
use crate::options::optional;
use crate::results::credits_pending;
use crate::settings::{chosen, credits_settings};
use crate::strings::give;
use crate::text::{optional_duration, text};
use jointo_credits_bindings::worker_threads;
use std::ffi::c_char;
use std::time::Duration;
use tokio::runtime::Builder;

/// Opens a ledger. Its tables need not be there yet: credits_migrate().
///
/// @param url       "sqlite:///path/to/credits.db", "sqlite::memory:", or "postgresql://user@host/database".
/// @param settings  NULL for the defaults.
/// @param opened    The ledger; close it with credits_close().
/// @param error     NULL, or a place for what went wrong; free it with credits_error_free(). So for every call below.
/// @return CREDITS_OK, CREDITS_VALIDATION (the url, a setting, a channel's: the facts name the `channel`),
///         CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_open(
    url: *const c_char,
    settings: *const credits_settings,
    opened: *mut *mut credits_ledger,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        guard(error, || {
            let opened = Out::new("opened", opened)?;
            let chosen = chosen(text("url", url)?, optional(settings)?)?;
            let runtime = Builder::new_multi_thread()
                .worker_threads(worker_threads())
                .thread_name("credits")
                .enable_all()
                .build()
                .map_err(|error| credits_error::threads(&error))?;
            let ledger = runtime.block_on(runtime.spawn(chosen.connect()));
            let ledger = ledger.map_err(|error| credits_error::panicked(&error.to_string()))??;
            opened.write(Box::into_raw(Box::new(credits_ledger {
                process: std::process::id(),
                runtime,
                ledger,
            })));
            Ok(())
        })
    }
}

/// Takes no more commands, waits until those under way are answered, and frees the ledger. NULL is allowed. No other call
/// may be under way or follow. In a child that was forked it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_close(ledger: *mut credits_ledger) {
    if ledger.is_null() {
        return;
    }
    // SAFETY: it came from `credits_open`, and is closed once.
    unsafe {
        guard(std::ptr::null_mut(), || {
            if (*ledger).process != std::process::id() {
                return Ok(());
            }
            let ledger = Box::from_raw(ledger);
            wait(&ledger, async {
                ledger.ledger.close().await;
                Ok(())
            })?;
            let credits_ledger { runtime, ledger, .. } = *ledger;
            drop(ledger);
            if tokio::runtime::Handle::try_current().is_ok() {
                // Inside of somebody's runtime nothing may wait.
                runtime.shutdown_background();
            } else {
                runtime.shutdown_timeout(Duration::from_secs(5));
            }
            Ok(())
        })
    };
}

/// Makes the tables, or brings them up to date. Safe to repeat, and from several processes at once.
///
/// @return CREDITS_OK, CREDITS_UNAVAILABLE (the database can't be changed, or is newer than this library).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_migrate(
    ledger: *const credits_ledger,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe { with(ledger, error, |ledger| wait(ledger, ledger.ledger.migrate())) }
}

/// Checks that the tables are there and of this library's version.
///
/// @return CREDITS_OK, CREDITS_UNAVAILABLE: they are not, or the database is away.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_check(
    ledger: *const credits_ledger,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe { with(ledger, error, |ledger| wait(ledger, ledger.ledger.check())) }
}

/// Installs the packages and rate cards that the library comes with, where they are not there yet.
///
/// @return CREDITS_OK, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_seed_catalog(
    ledger: *const credits_ledger,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe { with(ledger, error, |ledger| wait(ledger, ledger.ledger.seed_catalog())) }
}

/// Gets ready for fork(): waits up to `timeout` microseconds until no connection to a SQLite file is in use, and closes
/// them. Other threads' calls wait until credits_after_fork().
///
/// @param ready  NULL, or a place for 1: everything was closed in time, or 0: a child can't open the file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_before_fork(
    ledger: *const credits_ledger,
    timeout: i64,
    ready: *mut i32,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let timeout = optional_duration("timeout", timeout)?.unwrap_or_default();
            let is_ready = ledger.ledger.before_fork(timeout);
            write_unless_null(ready, || i32::from(is_ready));
            Ok(())
        })
    }
}

/// Goes on after fork(), in the parent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_after_fork(
    ledger: *const credits_ledger,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            ledger.ledger.after_fork();
            Ok(())
        })
    }
}

/// Looks at the database: version, round trip, clock, and what should be put right.
///
/// @param found  JSON: {"database", "round_trip_us", "clock_skew_us", "problems": [{"what", "remedy"}]}; free it with
///               credits_string_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_inspect(
    ledger: *const credits_ledger,
    found: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let found = Out::new("found", found)?;
            let inspection = wait(ledger, ledger.ledger.inspect())?;
            found.write(give(&json::inspection(&inspection).to_string()));
            Ok(())
        })
    }
}

/// What this process's ledger has done since it was opened: commands by outcome, how long they took, how many shared a
/// write. Asks no database.
///
/// @param stats  JSON; free it with credits_string_free().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_stats(
    ledger: *const credits_ledger,
    stats: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let stats = Out::new("stats", stats)?;
            stats.write(give(&json::stats(&ledger.ledger.stats()).to_string()));
            Ok(())
        })
    }
}

/// How many holds wait for their job's end, in the whole database. The cost grows with their number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_pending_holds(
    ledger: *const credits_ledger,
    pending: *mut credits_pending,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let pending = Out::new("pending", pending)?;
            pending.write(wait(ledger, ledger.ledger.pending_holds())?.into());
            Ok(())
        })
    }
}
