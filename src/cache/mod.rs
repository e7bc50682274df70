//! A cache for balances, in the process or in Redis. Only [`Ledger::balance`](crate::Ledger::balance) asks it; no command
//! ever does.
//!
//! # Rules
//!
//! - **No time travel.** Who is told a balance, or is answered a command, never finds an older balance in the cache afterwards,
//!   in any process. So the answer waits for the cache: a commit's new balances are put before its callers hear of it, and a
//!   balance that was read is put before it is told. `record.rs` has the rules of what may be put; an older number never
//!   takes the place of a newer one.
//! - **Exact.** What is cached is the answer a read of the same entries would give: a balance is told only within the time in
//!   which none of its deadlines falls (an expiring lot, a due hold), by the reader's clock.
//! - **Bounded.** However the cache fails, a balance is told no longer than `max_age` after it was read or written.
//! - **Dispensable.** Where the cache is slow, full, damaged or gone, the database answers, two `timeout`s later at the most.
//!
//! # How this can go wrong
//!
//! | failure | what happens |
//! | --- | --- |
//! | a process ends between its commit and its put | nobody was answered; others tell the balance before, up to `max_age` |
//! | a put comes late, after newer ones | its number is lower: it is void |
//! | a put comes late, and the record of the newer one is gone | a new record takes its first balance only from the reader it began with |
//! | a put fails or is not answered in time | the epoch ends: all that is cached is void, from the moment Redis can be reached again. Until then a process that still reaches it may tell an older balance, up to `max_age` |
//! | Redis restarts with old data | keys carry the run's id: nobody looks at them |
//! | Redis is full | what can't be replaced is removed; what can't be begun is not |
//! | Redis does not answer | calls under way wait for `timeout`, and as long again for a new connection; those after them for nothing, until there is one |
//! | the clocks of two hosts differ | a cached balance's deadlines are held against the clock of whoever reads; its age against the cache's own |
//! | somebody writes whom the cache does not know: `within` a caller's transaction, a process without the cache, an SQL console | told after `max_age`; at once with `balance_fresh`, which also puts what it reads |
//! | a bit of a cached balance is wrong | what can't be read back counts as not there; what can is believed, by readers of balances alone |

mod balance;
mod options;
mod process;
mod record;
#[cfg(feature = "redis")]
mod redis;

use crate::error::{Error, Result};
use crate::ledger::{Balance, State, Timestamp};
use crate::settings::check_range;
use balance::Cached;
pub use options::CacheOptions;
use record::Token;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// The longest age that can be chosen.
const AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Where balances are cached: see [`Settings::cache`](crate::Settings::cache).
#[derive(Clone, PartialEq, Eq)]
pub struct Cache {
    place: Place,
    max_age: Duration,
}

#[derive(Clone, PartialEq, Eq)]
enum Place {
    Process {
        accounts: usize,
    },
    #[cfg(feature = "redis")]
    Redis {
        url: String,
        prefix: String,
        timeout: Duration,
    },
}

impl std::fmt::Debug for Cache {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Cache");
        match &self.place {
            Place::Process { accounts } => shown.field("accounts", accounts),
            #[cfg(feature = "redis")]
            Place::Redis { prefix, timeout, .. } => shown.field("prefix", prefix).field("timeout", timeout),
        };
        shown.field("max_age", &self.max_age).finish_non_exhaustive()
    }
}

impl Cache {
    /// In the process's own memory: the fastest there is, and exact where no other process writes to the database. Where
    /// others do, their writes are seen after [`max_age`](Cache::max_age) at the latest, 1 s by default.
    #[must_use]
    pub fn in_process() -> Self {
        Cache {
            place: Place::Process { accounts: 100_000 },
            max_age: Duration::from_secs(1),
        }
    }

    /// In Redis 6 or newer, or Valkey: for many processes. All that use the database should have it, or else what the others
    /// write is seen after [`max_age`](Cache::max_age) at the latest, 30 s by default.
    ///
    /// `url` is `redis://user:password@host:6379/0`, with TLS `rediss://`. `prefix` begins every key: the same in all
    /// processes of this ledger, and another one for every other ledger on the same Redis. The user needs
    /// `+@connection +@scripting +info +time +get +set +del +pexpire +hmget +hset +hdel` on keys that begin so. Not for Redis
    /// Cluster.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn redis(url: impl Into<String>, prefix: impl Into<String>) -> Self {
        Cache {
            place: Place::Redis {
                url: url.into(),
                prefix: prefix.into(),
                timeout: Duration::from_millis(20),
            },
            max_age: Duration::from_secs(30),
        }
    }

    /// How long a balance is told after it was read or written, at the most: 10 ms to 24 h.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// How many accounts are remembered in the process: 100,000 by default, some 30 MiB when all are in use. Nothing in
    /// Redis, which has `maxmemory` for that.
    #[must_use]
    pub fn accounts(mut self, most: usize) -> Self {
        #[cfg_attr(not(feature = "redis"), allow(irrefutable_let_patterns))]
        if let Place::Process { accounts } = &mut self.place {
            *accounts = most;
        }
        self
    }

    /// How long a call waits for Redis, 1 ms to 10 s: 20 ms by default. Nothing in the process.
    #[cfg(feature = "redis")]
    #[must_use]
    pub fn timeout(mut self, longest: Duration) -> Self {
        if let Place::Redis { timeout, .. } = &mut self.place {
            *timeout = longest;
        }
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_range("cache_max_age", self.max_age, Duration::from_millis(10), AGE_MAX)?;
        match &self.place {
            Place::Process { accounts: 0 } => Err(Error::invalid(
                "cache_accounts",
                "is out of range",
                "at least 1",
                0,
            )),
            Place::Process { .. } => Ok(()),
            #[cfg(feature = "redis")]
            Place::Redis { url, prefix, timeout } => {
                let (least, most) = (Duration::from_millis(1), Duration::from_secs(10));
                check_range("cache_timeout", *timeout, least, most)?;
                redis::validate(url, prefix)
            }
        }
    }

    /// Begins it. A Redis that can't be reached is tried again in the background, and is no error.
    pub(crate) async fn open(self) -> Result<Balances> {
        let place = match self.place {
            Place::Process { accounts } => Kept::Process(process::ProcessCache::new(accounts)),
            #[cfg(feature = "redis")]
            Place::Redis { url, prefix, timeout } => {
                Kept::Redis(redis::RedisCache::connect(&url, &prefix, timeout, self.max_age).await?)
            }
        };
        Ok(Balances {
            kept: place,
            max_age: record::millis(self.max_age),
            counts: Counts::default(),
            closed: AtomicBool::new(false),
        })
    }
}

/// What a process's cache has done. Counts only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Balances that were told from the cache.
    pub hits: u64,
    /// Balances that were looked up in the cache, and read.
    pub misses: u64,
    /// Calls that the cache was away for: balances that were read without it, and batches whose balances were not put.
    pub away: u64,
}

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    away: AtomicU64,
}

impl Counts {
    fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Balances in a cache.
pub(crate) struct Balances {
    kept: Kept,
    max_age: record::Instant,
    counts: Counts,
    closed: AtomicBool,
}

enum Kept {
    Process(process::ProcessCache),
    #[cfg(feature = "redis")]
    Redis(redis::RedisCache),
}

/// What a look-up came to.
pub(crate) enum LookedUp {
    /// The balance.
    Found(Balance),
    /// It has to be read; afterwards, it is put with this.
    Absent(Read),
}

/// A read or write of the database that has yet to begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    token: Option<Token>,
    /// The cache's time, from before it began; `None` where that is not known.
    began: Option<record::Instant>,
}

/// What is known of an account after a read or write.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    user_id: Uuid,
    seq: i64,
    balance: Option<Cached>,
}

impl Known {
    /// Only the number of its last entry.
    pub(crate) fn number(user_id: Uuid, seq: i64) -> Self {
        Known {
            user_id,
            seq,
            balance: None,
        }
    }

    /// The account as a batch left it at `now`.
    ///
    /// What a committer knows of many lots is those that burn first, and a balance tells which expire first: so it has
    /// none of these accounts. The next read has.
    pub(crate) fn written(state: &State, now: Timestamp) -> Self {
        if state.lots_end.is_some() {
            return Known::number(state.account.user_id, state.account.seq);
        }
        Known {
            user_id: state.account.user_id,
            seq: state.account.seq,
            balance: Cached::of(state, &Balance::of(state, now), None),
        }
    }

    /// The account as it was read, when its last entry had the number `seq`, and with everything applied that is due; and the
    /// balance that this makes.
    pub(crate) fn read(state: &State, balance: &Balance, seq: i64) -> Self {
        let matured = state.account.seq > seq;
        Known {
            user_id: state.account.user_id,
            seq,
            balance: Cached::of(state, balance, matured.then_some(balance.at)),
        }
    }
}

impl Balances {
    /// The balance that may be told at `now`.
    pub(crate) async fn look_up(&self, user_id: Uuid, now: Timestamp) -> LookedUp {
        let at = |found: Option<&Cached>| found.and_then(|found| found.at(user_id, now));
        let asked = match &self.kept {
            _ if self.closed.load(Ordering::Relaxed) => None,
            Kept::Process(cache) => {
                let (read, found) = cache.look_up(user_id);
                Some((read, at(found.as_deref())))
            }
            #[cfg(feature = "redis")]
            Kept::Redis(cache) => {
                let asked = cache.look_up(user_id).await;
                asked.map(|(read, found)| (read, at(found.as_ref())))
            }
        };
        let Some((read, balance)) = asked else {
            Counts::add(&self.counts.away);
            return LookedUp::Absent(Read {
                token: None,
                began: None,
            });
        };
        match balance {
            Some(balance) => {
                Counts::add(&self.counts.hits);
                LookedUp::Found(balance)
            }
            None => {
                Counts::add(&self.counts.misses);
                LookedUp::Absent(read)
            }
        }
    }

    /// For a read or write that does not begin with looking a balance up.
    pub(crate) fn begin(&self) -> Read {
        Read {
            token: None,
            began: match &self.kept {
                Kept::Process(cache) => Some(cache.now()),
                #[cfg(feature = "redis")]
                Kept::Redis(cache) => cache.now(),
            },
        }
    }

    /// Puts what is known after `read`. Whoever tells of it waits for this first.
    pub(crate) async fn put(&self, read: Read, known: Vec<Known>) {
        if known.is_empty() {
            return;
        }
        let until = read.began.map(|began| began.saturating_add(self.max_age));
        let brought = known.into_iter().map(|known| {
            let balance = known.balance.zip(until);
            (
                known.user_id,
                record::Brought {
                    seq: known.seq,
                    balance,
                    token: read.token,
                },
            )
        });
        match &self.kept {
            Kept::Process(cache) => brought.for_each(|(user_id, brought)| cache.put(user_id, brought)),
            #[cfg(feature = "redis")]
            Kept::Redis(cache) => {
                if !cache.put(brought.collect()).await {
                    Counts::add(&self.counts.away);
                }
            }
        }
    }

    /// Whether putting takes no time that others could use.
    pub(crate) fn is_immediate(&self) -> bool {
        matches!(self.kept, Kept::Process(_))
    }

    /// From now on nothing is told: reads of a ledger that is closed fail.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.counts.hits.load(Ordering::Relaxed),
            misses: self.counts.misses.load(Ordering::Relaxed),
            away: self.counts.away.load(Ordering::Relaxed),
        }
    }
}
