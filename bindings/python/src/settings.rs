//! The keyword arguments that a ledger is opened with.

use crate::arguments::Any;
use crate::arguments::{duration, integer, optional, text, word, word_of_truth};
use crate::clock::ManualClock;
use crate::errors::{invalid, raise};
use jointo_credits::CacheOptions;
use jointo_credits::{LatePayment, OnLotExpiredWhileHeld, Settings};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyDictMethods, PyString};

const LATE_PAYMENTS: [LatePayment; 2] = [LatePayment::Settle, LatePayment::Refund];
const WHEN_EXPIRED: [OnLotExpiredWhileHeld; 2] =
    [OnLotExpiredWhileHeld::Expire, OnLotExpiredWhileHeld::Grace];

const SETTINGS: &str = "hold_ttl, on_lot_expired_while_held, release_grace, reversal_grace, max_connections, committers, \
     batch_limit, queue_limit, account_memory_bytes, patience, connect_timeout, max_clock_skew, pgbouncer, order_ttl, \
     late_payment, max_open_orders, channels, cache, cache_prefix, cache_max_age, cache_timeout, cache_accounts";

/// Everything that is asked for.
pub(crate) fn chosen(
    url: Any<'_, '_>,
    schema: Option<Any<'_, '_>>,
    clock: Option<Any<'_, '_>>,
    settings: &Bound<'_, PyDict>,
) -> PyResult<Settings> {
    let url = text("url", url)?;
    let mut chosen = Settings::new(url);
    if let Some(schema) = schema {
        chosen = chosen.schema(text("schema", schema)?);
    }
    if let Some(clock) = clock {
        match clock.cast::<ManualClock>() {
            Ok(clock) => chosen = chosen.clock(clock.get().clock.clone()),
            Err(_) => {
                return Err(invalid(
                    clock,
                    "clock",
                    "is no clock",
                    "a ManualClock, or None for the system's",
                ));
            }
        }
    }
    let mut cache = CacheOptions::default();
    for (name, value) in settings.iter() {
        let name = text("settings", &name)?;
        let value = &value;
        if set_cache(&mut cache, &name, value)? {
            continue;
        }
        chosen = match name.as_str() {
            "hold_ttl" => chosen.hold_ttl(duration("hold_ttl", value)?),
            "on_lot_expired_while_held" => chosen.on_lot_expired_while_held(word(
                "on_lot_expired_while_held",
                value,
                &WHEN_EXPIRED,
                OnLotExpiredWhileHeld::as_str,
            )?),
            "release_grace" => chosen.release_grace(duration("release_grace", value)?),
            "reversal_grace" => chosen.reversal_grace(duration("reversal_grace", value)?),
            "max_connections" => chosen.max_connections(integer("max_connections", value)?),
            "committers" => chosen.committers(integer("committers", value)?),
            "batch_limit" => chosen.batch_limit(integer("batch_limit", value)?),
            "queue_limit" => chosen.queue_limit(integer("queue_limit", value)?),
            "account_memory_bytes" => chosen.account_memory_bytes(integer("account_memory_bytes", value)?),
            "patience" => chosen.patience(duration("patience", value)?),
            "connect_timeout" => chosen.connect_timeout(duration("connect_timeout", value)?),
            "max_clock_skew" => chosen.max_clock_skew(duration("max_clock_skew", value)?),
            "channels" => crate::channels::add(chosen, value)?,
            "order_ttl" => chosen.order_ttl(duration("order_ttl", value)?),
            "max_open_orders" => chosen.max_open_orders(integer("max_open_orders", value)?),
            "late_payment" => {
                chosen.late_payment(word("late_payment", value, &LATE_PAYMENTS, LatePayment::as_str)?)
            }
            "pgbouncer" => chosen.pgbouncer(word_of_truth("pgbouncer", value)?),
            _ => {
                // Its value may be a secret, and is not what is wrong.
                let name = PyString::new(settings.py(), &name);
                return Err(invalid(&name, "settings", "has an unknown name", SETTINGS));
            }
        };
    }
    Ok(
        match cache.chosen().map_err(|error| raise(settings.py(), error))? {
            Some(cache) => chosen.cache(cache),
            None => chosen,
        },
    )
}

/// Whether it is an option of the cache. `None` is as good as not said.
fn set_cache(cache: &mut CacheOptions, name: &str, value: Any<'_, '_>) -> PyResult<bool> {
    let value = Some(value).filter(|value| !value.is_none());
    match name {
        "cache" => cache.cache = optional(value, |value| text("cache", value))?,
        "cache_prefix" => cache.prefix = optional(value, |value| text("cache_prefix", value))?,
        "cache_max_age" => cache.max_age = optional(value, |value| duration("cache_max_age", value))?,
        "cache_timeout" => cache.timeout = optional(value, |value| duration("cache_timeout", value))?,
        "cache_accounts" => cache.accounts = optional(value, |value| integer("cache_accounts", value))?,
        _ => return Ok(false),
    }
    Ok(true)
}
