//! Records in Redis, each a hash; the rules are `look_up.lua` and `put.lua`.
//!
//! One connection for all calls. When one of them fails or is not answered in time, the connection is given up, and a
//! background task makes a new one. Whatever was not put meanwhile is made up for at once and for all accounts: before anybody
//! uses the new connection, the task ends the *epoch*, of which every record is. Reads go on without the cache at once; puts
//! wait until `timeout` after the loss, since a new connection is there within milliseconds as a rule.
//!
//! Redis can come back for one process earlier than for another, which still writes without putting. So nothing is told over
//! a connection that takes the place of a lost one, nor from a run of Redis that has just begun, for [`GRACE`]: by then every
//! process has found it.
//!
//! Keys are `PREFIX:1:RUN:USER` and `PREFIX:1:RUN:epoch`, `1` being the version of the records and `RUN` Redis's own id of its
//! run: after a restart, or on a replica that takes over, nobody looks at what was there before.

use super::Read;
use super::balance::Cached;
use super::record::{self, Brought, READING_MAX};
use crate::clock::Moment;
use crate::error::{Error, Result};
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisError, RedisResult, Script,
    Value,
};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The version of the records; another one for every change of the scripts or of what a balance is written as.
const VERSION: u32 = 1;
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest pause before Redis is tried again.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long Redis has to have been there before anything is told.
const GRACE: Duration = Duration::from_secs(3);
/// How long an epoch lives that nobody ends.
const EPOCH_LIFE: Duration = Duration::from_secs(24 * 3600);
/// A look at Redis's clock counts for this long: clocks drift.
const TIME_LIFE: Duration = Duration::from_secs(10);
/// How many records are put together: each part has its own `timeout`.
const TOGETHER: usize = 200;
/// The longest prefix.
const PREFIX_BYTES_MAX: usize = 64;

pub(super) fn validate(url: &str, prefix: &str) -> Result<()> {
    client(url)?;
    let word = |c: char| c.is_ascii_alphanumeric() || "_-.:{}".contains(c);
    let problem = if prefix.is_empty() {
        "is missing: say what this ledger's keys in Redis begin with"
    } else if prefix.len() > PREFIX_BYTES_MAX || !prefix.chars().all(word) {
        "can't begin a key"
    } else {
        return Ok(());
    };
    let limit = format!("1 to {PREFIX_BYTES_MAX} of A-Z, a-z, 0-9, _ - . : {{ }}");
    Err(Error::invalid("cache_prefix", problem, limit, prefix))
}

fn client(url: &str) -> Result<Client> {
    // The parser's own message may quote the URL, and the URL may hold a password.
    let wrong = |_| {
        let given = "a malformed or unknown URL";
        Error::invalid(
            "cache",
            "is no address of a Redis",
            "redis://[user:password@]host[:port][/number]",
            given,
        )
    };
    let info = url.into_connection_info().map_err(wrong)?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        // rustls has to know which implementation; where the program has chosen one, that is it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    Client::open(info).map_err(wrong)
}

/// See the module.
pub(super) struct RedisCache {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
}

impl Drop for RedisCache {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

struct Shared {
    client: Client,
    prefix: String,
    timeout: Duration,
    /// How long a record lives.
    life: record::Instant,
    look_up: Script,
    put: Script,
    state: Mutex<State>,
    /// The connection was given up.
    given_up: Notify,
    /// There is a connection.
    linked: Notify,
    tokens: AtomicU64,
}

struct State {
    link: Option<Link>,
    /// Since when there was no connection at last.
    lost: Moment,
    /// Whether the next one comes after an outage.
    is_again: bool,
    /// Something may be cached that is not true any more.
    owes: bool,
    /// Redis's clock, and when it showed that at the latest.
    time: Option<(record::Instant, Moment)>,
}

/// A connection to one run of Redis.
#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// Up to the account.
    keys: Arc<str>,
    connected: Moment,
    /// For how long nothing is told.
    grace: Duration,
}

impl Link {
    fn epoch(&self) -> String {
        format!("{}epoch", self.keys)
    }

    fn is_young(&self) -> bool {
        self.connected.age() < self.grace
    }

    fn record(&self, user_id: Uuid) -> String {
        format!("{}{user_id}", self.keys)
    }
}

impl RedisCache {
    /// Waits for the first attempt to connect, and no longer.
    pub(super) async fn connect(
        url: &str,
        prefix: &str,
        timeout: Duration,
        max_age: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            client: client(url)?,
            prefix: prefix.to_owned(),
            timeout,
            life: record::millis(max_age.max(READING_MAX * 4)),
            look_up: Script::new(include_str!("look_up.lua")),
            put: Script::new(include_str!("put.lua")),
            state: Mutex::new(State {
                link: None,
                lost: Moment::now(),
                is_again: false,
                owes: false,
                time: None,
            }),
            given_up: Notify::new(),
            linked: Notify::new(),
            // Another process's must be others, as good as ever.
            tokens: AtomicU64::new(random()?),
        });
        let is_there = shared.link_up().await;
        shared.state().is_again = !is_there;
        Ok(RedisCache {
            keeper: tokio::spawn(keep(Arc::clone(&shared))),
            shared,
        })
    }

    /// Redis's time now, or a little less; `None` where it was not seen lately.
    pub(super) fn now(&self) -> Option<record::Instant> {
        let (time, seen) = self.shared.state().time?;
        let age = seen.age();
        (age < TIME_LIFE).then(|| time + record::millis(age))
    }

    /// `None` where Redis can't be asked.
    pub(super) async fn look_up(&self, user_id: Uuid) -> Option<(Read, Option<Cached>)> {
        let shared = &self.shared;
        let mut link = shared.state().link.clone().filter(|link| !link.is_young())?;
        let token = shared.tokens.fetch_add(1, Ordering::Relaxed);
        let mut call = shared.look_up.key(link.record(user_id));
        call.key(link.epoch());
        call.arg(token).arg(shared.life);
        call.arg(record::millis(READING_MAX))
            .arg(record::millis(EPOCH_LIFE));
        let answer = shared.in_time(call.invoke_async(&mut link.connection)).await;
        let (time, balance): (record::Instant, Option<String>) = match answer.and_then(told) {
            Ok(told) => told,
            Err(error) => {
                // Nothing was put, so nothing is owed.
                shared.give_up(&error, false);
                return None;
            }
        };
        shared.saw(time);
        let read = Read {
            token: Some(token),
            began: Some(time),
        };
        // One that can't be is as good as none: the database has it.
        let balance = balance.and_then(|json| serde_json::from_str::<Cached>(&json).ok());
        Some((read, balance.filter(Cached::is_possible)))
    }

    /// Whether nothing older is told from now on.
    pub(super) async fn put(&self, brought: Vec<(Uuid, Brought<Cached>)>) -> bool {
        let shared = &self.shared;
        let link = {
            let mut state = shared.state();
            state.owes |= state.link.is_none();
            state.link.clone()
        };
        let Some(mut link) = link else {
            return shared.makes_up().await;
        };
        for part in brought.chunks(TOGETHER) {
            let mut calls = redis::pipe();
            for (user_id, brought) in part {
                calls.add_command(shared.call_put(&link, *user_id, brought));
            }
            let times: RedisResult<Vec<record::Instant>> =
                shared.in_time(calls.query_async(&mut link.connection)).await;
            match times {
                Ok(times) => times.last().into_iter().for_each(|time| shared.saw(*time)),
                Err(error) => {
                    shared.give_up(&error, true);
                    return shared.makes_up().await;
                }
            }
        }
        true
    }
}

/// What `look_up.lua` returns.
fn told(answer: Value) -> RedisResult<(record::Instant, Option<String>)> {
    let mut parts: Vec<Value> = redis::from_redis_value(answer)?;
    let balance = if parts.len() > 1 { parts.pop() } else { None };
    let time = parts.pop().unwrap_or(Value::Nil);
    Ok((
        redis::from_redis_value(time)?,
        balance.map(redis::from_redis_value).transpose()?,
    ))
}

fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::Unavailable {
        outcome: crate::error::Written::No,
        reason: format!("there are no random numbers: {error}"),
        remedy: "check the operating system's random number generator".into(),
    })
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call_put(&self, link: &Link, user_id: Uuid, brought: &Brought<Cached>) -> Cmd {
        let (balance, until) = match &brought.balance {
            Some((balance, until)) => (serde_json::to_string(balance).unwrap_or_default(), *until),
            None => (String::new(), 0),
        };
        let mut call = redis::cmd("EVALSHA");
        call.arg(self.put.get_hash()).arg(2);
        call.arg(link.record(user_id)).arg(link.epoch());
        call.arg(brought.seq);
        call.arg(brought.token.map(|token| token.to_string()).unwrap_or_default());
        call.arg(self.life).arg(balance).arg(until);
        call
    }

    async fn in_time<T>(&self, call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(RedisError::from(std::io::Error::from(
                std::io::ErrorKind::TimedOut,
            ))),
        }
    }

    fn saw(&self, time: record::Instant) {
        self.state().time = Some((time, Moment::now()));
    }

    fn give_up(&self, error: &RedisError, owes: bool) {
        let mut state = self.state();
        state.owes |= owes;
        if state.link.take().is_some() {
            (state.lost, state.is_again) = (Moment::now(), true);
            // The next server may have another clock.
            state.time = None;
            tracing::warn!(%error, "the cache is away: balances are read from the database");
        }
        drop(state);
        self.given_up.notify_one();
    }

    /// Waits for a new connection, with which what is owed is made up for. `false` where it takes too long.
    async fn makes_up(&self) -> bool {
        loop {
            let mut linked = pin!(self.linked.notified());
            linked.as_mut().enable();
            let left = {
                let state = self.state();
                if state.link.is_some() {
                    return true;
                }
                self.timeout.saturating_sub(state.lost.age())
            };
            if tokio::time::timeout(left, linked).await.is_err() {
                return false;
            }
        }
    }

    /// Tries to get a connection. Before anybody uses it, what could not be put is made up for.
    async fn link_up(&self) -> bool {
        let link = match tokio::time::timeout(CONNECT_TIMEOUT, self.connected()).await {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the cache can't be reached");
                return false;
            }
            Err(_) => return false,
        };
        loop {
            {
                let mut state = self.state();
                if !state.owes {
                    state.link = Some(link);
                    drop(state);
                    self.linked.notify_waiters();
                    return true;
                }
                state.owes = false;
            }
            let mut connection = link.connection.clone();
            let mut end = redis::cmd("DEL");
            end.arg(link.epoch());
            if let Err(error) = self.in_time(end.query_async::<()>(&mut connection)).await {
                tracing::debug!(%error, "the cache can't be reached");
                self.state().owes = true;
                return false;
            }
        }
    }

    async fn connected(&self) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let server: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut connection)
            .await?;
        let told = |name| server.lines().find_map(|line| line.strip_prefix(name));
        let age = told("uptime_in_seconds:").and_then(|seconds| seconds.parse().ok());
        let (Some(run), Some(age)) = (told("run_id:"), age) else {
            let what = "INFO tells no run_id and uptime_in_seconds: not a Redis";
            return Err(RedisError::from((redis::ErrorKind::InvalidClientConfig, what)));
        };
        let grace = match self.state().is_again {
            true => GRACE,
            false => GRACE.saturating_sub(Duration::from_secs(age)),
        };
        self.look_up.load_async(&mut connection).await?;
        self.put.load_async(&mut connection).await?;
        Ok(Link {
            connection,
            keys: format!("{}:{VERSION}:{run}:", self.prefix).into(),
            connected: Moment::now(),
            grace,
        })
    }
}

/// Connects again whenever the connection was given up.
async fn keep(shared: Arc<Shared>) {
    let mut pause = Duration::ZERO;
    loop {
        if shared.state().link.is_some() {
            pause = Duration::ZERO;
            shared.given_up.notified().await;
            continue;
        }
        tokio::time::sleep(pause).await;
        if shared.link_up().await {
            tracing::info!("the cache is there");
        }
        pause = (pause * 2).clamp(Duration::from_millis(5), PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests;
