//! The scripts against `record.rs`, on a real Redis.

use super::*;
use crate::cache::record::{Record, Token};
use crate::ledger::{self, Timestamp};
use ::redis::{Commands, Connection};
use proptest::prelude::*;
use server::Redis;

#[allow(dead_code)] // Of what other tests need.
#[path = "../../../tests/support/redis.rs"]
mod server;

const USER: Uuid = Uuid::from_u128(1);
const LIFE: record::Instant = 3_600_000;

/// The scripts, called one by one.
struct Scripts {
    connection: Connection,
    look_up: Script,
    put: Script,
}

impl Scripts {
    fn on(redis: &Redis) -> Self {
        Scripts {
            connection: redis.connection(),
            look_up: Script::new(include_str!("look_up.lua")),
            put: Script::new(include_str!("put.lua")),
        }
    }

    fn look_up(&mut self, token: Token) -> (record::Instant, Option<String>) {
        let mut call = self.look_up.key("record");
        call.key("epoch").arg(token).arg(LIFE);
        call.arg(record::millis(READING_MAX)).arg(LIFE);
        told(call.invoke(&mut self.connection).unwrap()).unwrap()
    }

    fn put(&mut self, brought: &Brought<String>) {
        let (balance, until) = brought.balance.clone().unwrap_or_default();
        let mut call = self.put.key("record");
        call.key("epoch").arg(brought.seq);
        call.arg(brought.token.map(|token| token.to_string()).unwrap_or_default());
        call.arg(LIFE).arg(balance).arg(until);
        call.invoke::<record::Instant>(&mut self.connection).unwrap();
    }
}

#[derive(Debug, Clone)]
enum Step {
    LookUp(Token),
    Put {
        seq: i64,
        balance: Option<bool>,
        token: Option<Token>,
    },
    KeepWaiting,
    EndEpoch,
    Evict,
}

fn step() -> impl Strategy<Value = Step> {
    let token = 0..4u64;
    prop_oneof![
        4 => token.clone().prop_map(Step::LookUp),
        6 => (0..6i64, proptest::option::weighted(0.8, prop::bool::weighted(0.8)), proptest::option::of(token))
            .prop_map(|(seq, balance, token)| Step::Put { seq, balance, token }),
        1 => Just(Step::KeepWaiting),
        1 => Just(Step::EndEpoch),
        1 => Just(Step::Evict),
    ]
}

#[tokio::test]
async fn the_scripts_are_the_rules() {
    let redis = Redis::start().await;
    let scripts = std::cell::RefCell::new(Scripts::on(&redis));
    let mut config = ProptestConfig::with_cases(400);
    config.failure_persistence = None;
    proptest!(config, |(steps in prop::collection::vec(step(), 1..40))| {
        let scripts = &mut *scripts.borrow_mut();
        let _: () = ::redis::cmd("FLUSHALL").query(&mut scripts.connection).unwrap();
        let mut model: Option<Record<String>> = None;
        let mut now = 0;
        for step in steps {
            match step {
                Step::LookUp(token) => {
                    let (time, found) = scripts.look_up(token);
                    now = time;
                    let expected = match &mut model {
                        Some(record) => record.look_up(token, now),
                        None => {
                            model = Some(Record::begin(token, now));
                            None
                        }
                    };
                    prop_assert_eq!(found, expected);
                }
                Step::Put { seq, balance, token } => {
                    // What has an end has it in an hour, or had it before.
                    let until = |lives: bool| if lives { now + LIFE } else { now };
                    let balance = balance.map(|lives| (format!("{seq} {token:?}"), until(lives)));
                    let brought = Brought { seq, balance, token };
                    scripts.put(&brought);
                    if let Some(record) = &mut model {
                        record.put(brought);
                    }
                }
                Step::KeepWaiting => {
                    if let Some(record) = &mut model {
                        record.keep_waiting();
                        let _: () = scripts.connection.hset("record", "since", 0).unwrap();
                    }
                }
                Step::EndEpoch => {
                    let _: () = scripts.connection.del("epoch").unwrap();
                    model = None;
                }
                Step::Evict => {
                    let _: () = scripts.connection.del("record").unwrap();
                    model = None;
                }
            }
        }
    });
}

fn cached(seq: i64) -> Cached {
    let now = Timestamp::from_micros(1_790_000_000_000_000);
    let mut state = ledger::State::new(USER, now);
    state.account.seq = seq;
    Cached::of(&state, &ledger::Balance::of(&state, now), None).unwrap()
}

async fn put(cache: &RedisCache, seq: i64, read: Option<Read>) -> bool {
    let brought = Brought {
        seq,
        balance: Some((cached(seq), record::Instant::MAX)),
        token: read.and_then(|read| read.token),
    };
    cache.put(vec![(USER, brought)]).await
}

/// A cache that knows of a balance.
async fn open(redis: &Redis) -> RedisCache {
    let patience = Duration::from_secs(60);
    let cache = RedisCache::connect(&redis.url(), "test", patience, patience)
        .await
        .unwrap();
    let (read, _) = cache.look_up(USER).await.unwrap();
    assert!(put(&cache, 1, Some(read)).await);
    assert_eq!(cache.look_up(USER).await.unwrap().1, Some(cached(1)));
    cache
}

/// Until there is a connection over which something may be told.
async fn until_told(cache: &RedisCache) {
    let may_be = |state: MutexGuard<'_, State>| state.link.as_ref().is_some_and(|link| !link.is_young());
    while !may_be(cache.shared.state()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_memory_is_full_nothing_old_is_told() {
    let redis = Redis::start().await;
    let cache = open(&redis).await;
    let mut admin = redis.connection();
    let mut limit = |bytes: &str| {
        let mut set = ::redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.query::<()>(&mut admin).unwrap();
    };
    limit("1");
    assert_eq!(
        cache.look_up(USER).await.unwrap().1,
        Some(cached(1)),
        "reading needs no memory"
    );
    assert!(put(&cache, 2, None).await);
    let (read, found) = cache.look_up(USER).await.unwrap();
    assert_eq!(found, None);
    assert!(put(&cache, 2, Some(read)).await);
    assert_eq!(cache.look_up(USER).await.unwrap().1, None);
    // Nor where the epoch has ended, and no new one can begin.
    let mut other = redis.connection();
    let keys: Vec<String> = other.keys("test:*:epoch").unwrap();
    assert_eq!(keys.len(), 1);
    let _: () = other.del(keys).unwrap();
    assert_eq!(cache.look_up(USER).await.unwrap().1, None);
    limit("0");
    let (read, _) = cache.look_up(USER).await.unwrap();
    assert!(put(&cache, 2, Some(read)).await);
    assert_eq!(cache.look_up(USER).await.unwrap().1, Some(cached(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_put_ends_all_that_is_cached() {
    let redis = Redis::start().await;
    let (cache, other) = (open(&redis).await, open(&redis).await);
    // Only this connection breaks; the other process still reads.
    cache.shared.give_up(
        &RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        true,
    );
    until_told(&cache).await;
    let (read, found) = other.look_up(USER).await.unwrap();
    assert_eq!(found, None);
    assert!(put(&other, 2, Some(read)).await);
    assert_eq!(cache.look_up(USER).await.unwrap().1, Some(cached(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_saved_before_a_restart_is_not_looked_at() {
    let mut redis = Redis::start().await;
    let cache = open(&redis).await;
    let _: () = ::redis::cmd("SAVE").query(&mut redis.connection()).unwrap();
    put(&cache, 2, None).await;
    redis.kill();
    redis.start_again().await;
    assert_eq!(
        redis.connection().keys::<_, Vec<String>>("test:*").unwrap().len(),
        2,
        "it has its old data"
    );
    // The broken connection is noticed by the first call.
    while cache.look_up(USER).await.is_none() {
        until_told(&cache).await;
    }
    assert_eq!(cache.look_up(USER).await.unwrap().1, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_not_there() {
    let redis = Redis::start().await;
    let cache = open(&redis).await;
    let mut admin = redis.connection();
    let key = cache.shared.state().link.as_ref().unwrap().record(USER);
    for damage in ["", "nonsense", r#"{"n":1}"#, r#"{"n":1,"b":[0,0,0,0,0,0],"x":1}"#] {
        let _: () = admin.hset(&key, "balance", damage).unwrap();
        assert_eq!(cache.look_up(USER).await.unwrap().1, None, "{damage}");
    }
    // Something else under its key is a fault of the connection's, as far as anybody can tell.
    let _: () = admin.set(&key, "text").unwrap();
    assert!(cache.look_up(USER).await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_were_forgotten_are_loaded_again() {
    let redis = Redis::start().await;
    let cache = open(&redis).await;
    let forget = || {
        ::redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query::<()>(&mut redis.connection())
            .unwrap()
    };
    forget();
    assert_eq!(cache.look_up(USER).await.unwrap().1, Some(cached(1)));
    forget();
    // This put is lost, and a new connection makes up for it.
    assert!(put(&cache, 2, None).await);
    assert!(cache.look_up(USER).await.is_none(), "not at once");
    until_told(&cache).await;
    assert_eq!(cache.look_up(USER).await.unwrap().1, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let redis = Redis::start().await;
    let rights = "+@connection +@scripting +info +time +get +set +del +pexpire +hmget +hset +hdel";
    let mut user = ::redis::cmd("ACL");
    user.arg("SETUSER")
        .arg("app")
        .arg("on")
        .arg(">secret")
        .arg("~test:*");
    let user = rights.split(' ').fold(&mut user, |user, right| user.arg(right));
    user.query::<()>(&mut redis.connection()).unwrap();
    let url = redis.url().replace("://", "://app:secret@");
    let cache = RedisCache::connect(&url, "test", GRACE, GRACE).await.unwrap();
    let (read, _) = cache.look_up(USER).await.unwrap();
    assert!(put(&cache, 1, Some(read)).await);
    assert_eq!(cache.look_up(USER).await.unwrap().1, Some(cached(1)));
    // And what an outage makes it do.
    cache.shared.give_up(
        &RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)),
        true,
    );
    until_told(&cache).await;
    assert_eq!(cache.look_up(USER).await.unwrap().1, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_none_for_rediss() {
    let redis = Redis::start().await;
    let url = redis.url().replace("redis:", "rediss:");
    let cache = RedisCache::connect(&url, "test", GRACE, GRACE).await.unwrap();
    assert!(cache.look_up(USER).await.is_none());
}

#[test]
fn addresses_and_prefixes() {
    for url in [
        "",
        "postgresql://localhost",
        "redis://",
        "http://localhost",
        "localhost:6379",
    ] {
        let error = validate(url, "shop").unwrap_err();
        assert!(error.to_string().contains("cache"), "{error}");
    }
    for url in [
        "redis://localhost",
        "rediss://u:p@redis.example:6380/2",
        "valkey://localhost",
        "redis+unix:///run/redis.sock",
    ] {
        validate(url, "shop").unwrap();
    }
    for prefix in ["", "a b", "a*", &"x".repeat(65)] {
        assert!(validate("redis://localhost", prefix).is_err(), "{prefix}");
    }
}
