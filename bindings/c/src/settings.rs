//! How a ledger is opened.

use crate::channels::{self, credits_alipay_options, credits_wechat_options};
use crate::clock::credits_clock;
use crate::error::credits_error;
use crate::options::{Options, number};
use crate::text::{optional_duration, optional_text};
use jointo_credits::CacheOptions;
use jointo_credits::{LatePayment, OnLotExpiredWhileHeld, Settings};
use std::ffi::c_char;
use std::time::Duration;

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

/// # Safety
/// The pointers are what lib.rs says.
pub(crate) unsafe fn chosen(url: &str, given: credits_settings) -> Result<Settings, credits_error> {
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
