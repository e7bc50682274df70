//! Opening and closing, and what concerns the whole ledger.

use crate::call::{Out, guard, wait, with, write_unless_null};
use crate::channels::{self, credits_alipay_options, credits_wechat_options};
use crate::clock::credits_clock;
use crate::error::{credits_code, credits_error};
use crate::json;
use crate::options::{Options, number, optional};
use crate::results::credits_pending;
use crate::text::{give, optional_duration, optional_text, text};
use jointo_credits::bindings::{CacheOptions, worker_threads};
use jointo_credits::{LatePayment, Ledger, OnLotExpiredWhileHeld, Settings};
use std::ffi::c_char;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

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

/// What becomes of credits of a hold that is released after their lot's expiry: they expire at once.
pub const CREDITS_EXPIRED_LOTS_EXPIRE: i32 = 0;
/// They live for `release_grace`.
pub const CREDITS_EXPIRED_LOTS_GRACE: i32 = 1;

/// What becomes of a payment that arrives when its order is closed: the order is settled.
pub const CREDITS_LATE_PAYMENT_SETTLE: i32 = 0;
/// The money is sent back.
pub const CREDITS_LATE_PAYMENT_REFUND: i32 = 1;

/// How a ledger is opened. Set it to CREDITS_SETTINGS_INIT first; zero and NULL mean the default. Durations are in
/// microseconds.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_settings {
    /// sizeof(credits_settings).
    pub size: usize,
    /// The PostgreSQL schema of the tables; the connection's default without.
    pub schema: *const c_char,
    /// A clock of your own; the system's without.
    pub clock: *const credits_clock,
    /// How long a hold lives where neither the call nor the feature's rate card says: 1 s to 30 d, 1 h by default.
    pub hold_ttl: i64,
    /// CREDITS_EXPIRED_LOTS_EXPIRE or CREDITS_EXPIRED_LOTS_GRACE.
    pub on_lot_expired_while_held: i32,
    /// Whether a pooler in transaction mode (PgBouncer) stands before PostgreSQL: 1 or 0.
    pub pgbouncer: i32,
    /// How long credits of an expired lot live that come back with CREDITS_EXPIRED_LOTS_GRACE: 7 d by default.
    pub release_grace: i64,
    /// How long reversed credits live whose lot has expired: 30 d by default.
    pub reversal_grace: i64,
    /// Connections for reads: 8 by default. Commands have their own.
    pub max_connections: u32,
    /// Connections for commands on PostgreSQL: 2 by default.
    pub committers: u32,
    /// The most commands in one write: 1,000 by default.
    pub batch_limit: u32,
    /// The most commands that wait; further callers wait to be let in. 10,000 by default.
    pub queue_limit: u32,
    /// How long a database that is away is tried again before calls fail: 10 s by default.
    pub patience: i64,
    /// How long to wait for a connection, and for another process that writes a SQLite file: 5 s by default.
    pub connect_timeout: i64,
    /// The channel "wechat"; NULL for none. Every ledger has the channel "manual".
    pub wechat: *const credits_wechat_options,
    /// The channel "alipay"; NULL for none.
    pub alipay: *const credits_alipay_options,
    /// How long an order can be paid: 1 min to 15 d, 30 min by default.
    pub order_ttl: i64,
    /// CREDITS_LATE_PAYMENT_SETTLE or CREDITS_LATE_PAYMENT_REFUND.
    pub late_payment: i32,
    /// How many orders of an account may wait for a payment at once: 20 by default, 1,000 at the most.
    pub max_open_orders: u32,
    /// How much memory, in bytes, the ledger has to keep accounts in from one command to the next: 32 MiB by default; less
    /// than 0 keeps none. A command of a kept account needs no read. No answer depends on it.
    pub account_memory: i64,
    /// A cache for credits_get_balance(): "process", or the URL of a Redis or Valkey ("redis://host:6379/0", "rediss://");
    /// NULL for none. No command asks it. docs/cache.md.
    pub cache: *const c_char,
    /// What its keys in Redis begin with: the same in all processes of this ledger, another one for every other ledger.
    pub cache_prefix: *const c_char,
    /// How long a balance is told after it was read or written, at the most: 1 s by default in the process, 30 s in Redis.
    pub cache_max_age: i64,
    /// How long a call waits for Redis, before the database answers: 20 ms by default.
    pub cache_timeout: i64,
    /// How many accounts are remembered with "process": 100,000 by default.
    pub cache_accounts: u64,
    /// How far the database's clock may be from the process's, before or behind: 1 s to 3,650 d, 5 min by default; with a
    /// clock of your own none, unless it is set. Beyond it no command is done. docs/clocks.md.
    pub max_clock_skew: i64,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_settings {}

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

/// # Safety
/// The pointers are what lib.rs says.
unsafe fn chosen(url: &str, given: credits_settings) -> Result<Settings, credits_error> {
    let mut chosen = Settings::new(url);
    // SAFETY: the caller's promise.
    let cache = unsafe {
        CacheOptions {
            cache: optional_text("cache", given.cache)?.map(str::to_owned),
            prefix: optional_text("cache_prefix", given.cache_prefix)?.map(str::to_owned),
            max_age: optional_duration("cache_max_age", given.cache_max_age)?,
            timeout: optional_duration("cache_timeout", given.cache_timeout)?,
            accounts: (given.cache_accounts > 0)
                .then(|| usize::try_from(given.cache_accounts).unwrap_or(usize::MAX)),
        }
    };
    if let Some(cache) = cache.chosen()? {
        chosen = chosen.cache(cache);
    }
    // SAFETY: the caller's promise.
    unsafe {
        if let Some(schema) = optional_text("schema", given.schema)? {
            chosen = chosen.schema(schema);
        }
        if let Some(clock) = given.clock.as_ref() {
            chosen = chosen.clock(clock.clock.clone());
        }
        if let Some(wechat) = channels::wechat(given.wechat)? {
            chosen = chosen.channel(wechat);
        }
        if let Some(alipay) = channels::alipay(given.alipay)? {
            chosen = chosen.channel(alipay);
        }
    }
    type Set<T> = fn(Settings, T) -> Settings;
    let durations: [(&'static str, i64, Set<Duration>); 7] = [
        ("hold_ttl", given.hold_ttl, Settings::hold_ttl),
        ("order_ttl", given.order_ttl, Settings::order_ttl),
        ("release_grace", given.release_grace, Settings::release_grace),
        ("reversal_grace", given.reversal_grace, Settings::reversal_grace),
        ("patience", given.patience, Settings::patience),
        ("max_clock_skew", given.max_clock_skew, Settings::max_clock_skew),
        (
            "connect_timeout",
            given.connect_timeout,
            Settings::connect_timeout,
        ),
    ];
    for (field, micros, set) in durations {
        if let Some(duration) = optional_duration(field, micros)? {
            chosen = set(chosen, duration);
        }
    }
    if given.max_connections > 0 {
        chosen = chosen.max_connections(given.max_connections);
    }
    if given.max_open_orders > 0 {
        chosen = chosen.max_open_orders(given.max_open_orders);
    }
    let numbers: [(u32, Set<usize>); 3] = [
        (given.committers, Settings::committers),
        (given.batch_limit, Settings::batch_limit),
        (given.queue_limit, Settings::queue_limit),
    ];
    for (number, set) in numbers {
        if number > 0 {
            chosen = set(chosen, number as usize);
        }
    }
    if given.account_memory != 0 {
        let bytes = usize::try_from(given.account_memory.max(0)).unwrap_or(usize::MAX);
        chosen = chosen.account_memory_bytes(bytes);
    }
    let on_lot_expired_while_held = number(
        "on_lot_expired_while_held",
        given.on_lot_expired_while_held,
        &[
            (CREDITS_EXPIRED_LOTS_EXPIRE, OnLotExpiredWhileHeld::Expire),
            (CREDITS_EXPIRED_LOTS_GRACE, OnLotExpiredWhileHeld::Grace),
        ],
        "CREDITS_EXPIRED_LOTS_*",
    )?;
    let late_payment = number(
        "late_payment",
        given.late_payment,
        &[
            (CREDITS_LATE_PAYMENT_SETTLE, LatePayment::Settle),
            (CREDITS_LATE_PAYMENT_REFUND, LatePayment::Refund),
        ],
        "CREDITS_LATE_PAYMENT_*",
    )?;
    chosen = chosen
        .on_lot_expired_while_held(on_lot_expired_while_held)
        .late_payment(late_payment);
    Ok(chosen.pgbouncer(given.pgbouncer != 0))
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
