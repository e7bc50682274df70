//! What every binding needs, whatever language it is for. Not for programs.

use crate::cache::Cache;
use crate::error::{Error, Result};
use crate::facade::Ledger;
use crate::ledger::Consumption;
use crate::prices::ConsumeItem;
use std::fmt::Write;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use tracing::Event;
use tracing::field::{Field, Visit};

/// More would mostly wait for one another: they wait for the database, and decide.
const WORKERS_MAX: usize = 4;

/// How many threads a binding's runtime should have.
#[must_use]
pub fn worker_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.clamp(2, WORKERS_MAX)
}

/// A cache as a program names it, option by option.
#[derive(Debug, Default)]
pub struct CacheOptions {
    /// `process`, or the URL of a Redis; without, there is none.
    pub cache: Option<String>,
    /// See [`Cache::redis`](crate::Cache).
    pub prefix: Option<String>,
    /// See [`Cache::max_age`].
    pub max_age: Option<Duration>,
    /// See [`Cache::timeout`](crate::Cache).
    pub timeout: Option<Duration>,
    /// See [`Cache::accounts`].
    pub accounts: Option<usize>,
}

impl CacheOptions {
    /// What is asked for.
    ///
    /// # Errors
    /// [`Error::Refused`] that names the option which does not go with the others. Values are checked later.
    pub fn chosen(self) -> Result<Option<Cache>> {
        let is_process = self.cache.as_deref() == Some("process");
        let is_redis = self.cache.is_some() && !is_process;
        let (process, redis) = (
            "with `cache` \"process\" only",
            "with the URL of a Redis as `cache` only",
        );
        for (option, is_given, may_be, limit) in [
            ("cache_prefix", self.prefix.is_some(), is_redis, redis),
            ("cache_timeout", self.timeout.is_some(), is_redis, redis),
            ("cache_accounts", self.accounts.is_some(), is_process, process),
            (
                "cache_max_age",
                self.max_age.is_some(),
                self.cache.is_some(),
                "with a `cache` only",
            ),
        ] {
            if is_given && !may_be {
                let given = self.cache.as_ref().map_or("no cache", |_| "another cache");
                return Err(Error::invalid(
                    option,
                    "means nothing here; leave it out",
                    limit,
                    given,
                ));
            }
        }
        let Some(place) = self.cache else {
            return Ok(None);
        };
        let mut cache = if is_process {
            Cache::in_process()
        } else {
            in_redis(place, self.prefix.unwrap_or_default(), self.timeout)?
        };
        if let Some(accounts) = self.accounts {
            cache = cache.accounts(accounts);
        }
        if let Some(age) = self.max_age {
            cache = cache.max_age(age);
        }
        Ok(Some(cache))
    }
}

#[cfg(feature = "redis")]
fn in_redis(url: String, prefix: String, timeout: Option<Duration>) -> Result<Cache> {
    let cache = Cache::redis(url, prefix);
    Ok(match timeout {
        Some(timeout) => cache.timeout(timeout),
        None => cache,
    })
}

#[cfg(not(feature = "redis"))]
fn in_redis(_: String, _: String, _: Option<Duration>) -> Result<Cache> {
    let limit = "\"process\", or the crate's feature `redis`";
    Err(Error::invalid("cache", "is not built in", limit, "another cache"))
}

/// A hold of an amount, or at the price of a rate card.
///
/// # Errors
/// As [`Ledger::consume`] and [`Ledger::consume_priced`].
pub async fn consume(ledger: &Ledger, item: ConsumeItem, key: Option<&str>) -> Result<Consumption> {
    match item {
        ConsumeItem::Amount(consume) => ledger.consume(consume, key).await,
        ConsumeItem::Priced(consume) => ledger.consume_priced(consume, key).await,
    }
}

/// [`Ledger::consume_many`] of what a program has given: what is malformed (`M` says how) concerns the other items no more
/// than what the ledger refuses.
///
/// # Errors
/// As [`Ledger::consume_many`]; no item has an outcome then.
pub async fn consume_many<M>(
    ledger: &Ledger,
    items: Vec<std::result::Result<(ConsumeItem, Option<String>), M>>,
) -> Result<Vec<std::result::Result<Result<Consumption>, M>>> {
    let mut well_formed = Vec::with_capacity(items.len());
    let places: Vec<Option<M>> = items
        .into_iter()
        .map(|item| item.map(|item| well_formed.push(item)).err())
        .collect();
    let mut outcomes = ledger.consume_many(well_formed).await?.into_iter();
    Ok(places
        .into_iter()
        .filter_map(|malformed| match malformed {
            Some(malformed) => Some(Err(malformed)),
            None => outcomes.next().map(Ok),
        })
        .collect())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Wakes this thread where it is parked: for a thread that polls a future itself.
#[must_use]
pub fn thread_waker() -> Waker {
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// `message` first, then the other fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string can't fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// What a log record says: its message, then its fields as `name=value`.
#[must_use]
pub fn text_of(event: &Event<'_>) -> String {
    let mut text = Text::default();
    event.record(&mut text);
    text.message + &text.fields
}
