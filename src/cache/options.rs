//! A cache as it is configured: by names and numbers.

use super::Cache;
use crate::error::{Error, Result};
use std::time::Duration;

/// A cache option by option, as a program reads it from its configuration.
///
/// ```
/// # fn main() -> jointo_credits::Result<()> {
/// use jointo_credits::CacheOptions;
///
/// let cache = CacheOptions { cache: Some("process".into()), ..CacheOptions::default() }.chosen()?;
/// assert!(cache.is_some());
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct CacheOptions {
    /// `process`, or the URL of a Redis; without, there is none.
    pub cache: Option<String>,
    /// What its keys in Redis begin with: see `Cache::redis`.
    pub prefix: Option<String>,
    /// See [`Cache::max_age`].
    pub max_age: Option<Duration>,
    /// See `Cache::timeout`, which is for Redis.
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
