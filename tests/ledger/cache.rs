//! The cache for balances: in the process, and in Redis.

use crate::child::ALICE;
use crate::database::{Database, Kind, START, clock};
use crate::history::{History, Rng};
use crate::model::{by_rules, refusal};
use crate::subject::{PureSubject, Subject};
use jointo_credits::{
    Adjust, Cache, Confirm, Consume, Grant, Ledger, ManualClock, Refund, SetCreditLimit, Settings, Source,
};
use std::time::Duration;
use uuid::Uuid;

/// Nothing ends by age in these tests, but where they say so.
const AGE: Duration = Duration::from_secs(3_600);

fn in_process() -> Cache {
    Cache::in_process().max_age(AGE)
}

/// What a process can be asked about an account; parent and child both do it through this. Each answer is the number of the
/// last entry that it knows of, and what the account has spent, where it tells: `grant`, `spend`, `adjust`, `read`, `fresh`.
pub async fn about_balances(ledger: &Ledger, what: &str) -> String {
    let (verb, user_id) = what.split_once(' ').unwrap();
    let user_id: Uuid = user_id.parse().unwrap();
    let balance = match verb {
        "grant" => {
            let grant = ledger
                .grant(Grant::new(user_id, 10, Source::Purchase), None)
                .await;
            return format!("{} 0", grant.unwrap().seq);
        }
        "adjust" => match ledger.adjust(Adjust::new(user_id, -1, "correction"), None).await {
            Ok(receipt) => return format!("{} 0", receipt.seq),
            Err(_) => return "0 0".into(),
        },
        "spend" => {
            let Ok(hold) = ledger.consume(Consume::new(user_id, 1), None).await else {
                return "0 0".into();
            };
            ledger.confirm(Confirm::all(hold.id), None).await.unwrap();
            return "0 1".into();
        }
        "fresh" => ledger.balance_fresh(user_id).await.unwrap(),
        "read" => ledger.balance(user_id).await.unwrap(),
        other => panic!("no such thing to do: {other}"),
    };
    format!("{} {}", balance.seq, balance.spent)
}

/// Ledgers on one database, which stand for processes, against the pure model: every balance that is told is the one the
/// model tells, whichever ledger wrote last.
async fn agree(kind: Kind, seed: u64, steps: usize, caches: Vec<Cache>) {
    let mut history = History::of_a_shop(seed);
    let (mut rng, mut turns) = (Rng::new(seed), Rng::new(!seed));
    let mut model = PureSubject::new(history.rules);
    let database = Database::fresh(kind).await;
    let clock = ManualClock::starting_at(history.now());
    let mut ledgers = Vec::new();
    for cache in caches {
        let settings = by_rules(database.settings().clock(clock.clone()), &history.rules);
        ledgers.push(database.open(settings.cache(cache)).await);
    }
    for n in 0..steps {
        let step = history.next(&mut rng);
        clock.set(step.now);
        let expected = model.run(&step.command, step.now);
        let answer = turns.pick(&ledgers).run(step.command.clone()).await;
        assert_eq!(
            answer.map_err(|error| refusal(error, kind)),
            expected,
            "seed {seed}, step {n}"
        );
        for user_id in history.users() {
            let reader = turns.pick(&ledgers);
            let told = if turns.percent(5) {
                reader.balance_fresh(*user_id).await
            } else {
                reader.balance(*user_id).await
            };
            let expected = model.balance(*user_id, step.now);
            assert_eq!(
                told.unwrap(),
                expected,
                "seed {seed}, step {n}: {:?}",
                step.command
            );
        }
        history.answered(&step, &expected);
    }
    let (mut hits, mut misses) = (0, 0);
    for ledger in ledgers {
        let stats = ledger.stats().cache.unwrap();
        (hits, misses) = (hits + stats.hits, misses + stats.misses);
        ledger.close().await;
    }
    assert!(hits > misses && misses > 0, "{hits} hits, {misses} misses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_process_every_balance_is_the_model_s_sqlite() {
    for seed in 1..=3 {
        agree(Kind::SqliteFile, seed, 400, vec![in_process()]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_process_every_balance_is_the_model_s_postgres() {
    agree(Kind::Postgres, 11, 500, vec![in_process()]).await;
}

/// An account with credits, of which the ledger has cached the balance.
async fn cached(settings: Settings, grant: Grant) -> Ledger {
    let ledger = settings.connect().await.unwrap();
    ledger.migrate().await.unwrap();
    ledger.grant(grant, None).await.unwrap();
    ledger.balance(ALICE).await.unwrap();
    let before = ledger.stats().cache.unwrap().hits;
    ledger.balance(ALICE).await.unwrap();
    assert_eq!(ledger.stats().cache.unwrap().hits, before + 1, "it is cached");
    ledger
}

fn purchase(amount: i64) -> Grant {
    Grant::new(ALICE, amount, Source::Purchase)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_puts_the_new_balance() {
    let ledger = cached(Settings::new("memory:").cache(in_process()), purchase(100)).await;
    let available = async || ledger.balance(ALICE).await.unwrap().available;
    let hold = ledger.consume(Consume::new(ALICE, 30), None).await.unwrap();
    assert_eq!(available().await, 70);
    ledger.confirm(Confirm::amount(hold.id, 20), None).await.unwrap();
    assert_eq!(available().await, 80);
    ledger.refund(Refund::all(hold.id), None).await.unwrap();
    assert_eq!(available().await, 100);
    ledger
        .adjust(Adjust::new(ALICE, -1, "correction"), None)
        .await
        .unwrap();
    assert_eq!(available().await, 99);
    let limit = SetCreditLimit {
        user_id: ALICE,
        credit_limit: 5,
    };
    ledger.set_credit_limit(limit, None).await.unwrap();
    assert_eq!(ledger.balance(ALICE).await.unwrap().credit_limit, 5);
    // None of these was read from the database: what a command leaves is known.
    assert_eq!(ledger.stats().cache.unwrap().misses, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_cached_balance() {
    let clock = clock();
    let settings = Settings::new("memory:").clock(clock.clone()).cache(in_process());
    let expires = START.plus(Duration::from_secs(100));
    let expiring = Grant {
        expires_at: Some(expires),
        ..purchase(100)
    };
    let ledger = cached(settings, expiring).await;
    let hold = Consume::new(ALICE, 30).ttl(Duration::from_secs(60));
    ledger.consume(hold, None).await.unwrap();
    let available = async || ledger.balance(ALICE).await.unwrap().available;
    clock.advance(Duration::from_micros(59_999_999));
    assert_eq!(available().await, 70);
    clock.advance(Duration::from_micros(1));
    assert_eq!(available().await, 100, "the hold is due");
    clock.advance(Duration::from_micros(39_999_999));
    assert_eq!(available().await, 100);
    clock.advance(Duration::from_micros(1));
    assert_eq!(available().await, 0, "the lot has expired");
    // A clock that runs behind sees what was true then.
    clock.set(START.plus(Duration::from_secs(61)));
    assert_eq!(available().await, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_writes_is_seen_when_the_copy_is_too_old() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let cache = Cache::in_process().max_age(Duration::from_millis(200));
    let ledger = cached(database.settings().cache(cache), purchase(100)).await;
    let other = database.ledger().await;
    other.grant(purchase(1), None).await.unwrap();
    assert_eq!(
        ledger.balance_fresh(ALICE).await.unwrap().available,
        101,
        "at once"
    );
    assert_eq!(
        ledger.balance(ALICE).await.unwrap().available,
        101,
        "and from then on"
    );
    other.grant(purchase(1), None).await.unwrap();
    while ledger.balance(ALICE).await.unwrap().available != 102 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_make_no_sense_are_refused() {
    for cache in [
        Cache::in_process().max_age(Duration::from_millis(9)),
        Cache::in_process().max_age(Duration::from_secs(86_401)),
        Cache::in_process().accounts(0),
    ] {
        let error = Settings::new("memory:").cache(cache).connect().await.unwrap_err();
        assert_eq!(error.code(), "validation");
        assert!(error.to_string().contains("cache_"), "{error}");
    }
}

#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use crate::child::{Dice, Role, Running, account, start_with_cache};
    use crate::redis_server::Redis;
    use ::redis::Commands;
    use sqlx::Connection;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
    use tokio::sync::Mutex;

    pub fn in_redis(url: String) -> Cache {
        // Longer than the pauses of a busy machine: what is tried here is not how long it takes.
        Cache::redis(url, "test")
            .timeout(Duration::from_secs(1))
            .max_age(AGE)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_balance_is_the_model_s_whoever_wrote_sqlite() {
        let redis = Redis::start().await;
        let cache = in_redis(redis.url());
        agree(Kind::SqliteFile, 21, 300, vec![cache.clone(), cache]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_balance_is_the_model_s_whoever_wrote_postgres() {
        let redis = Redis::start().await;
        let cache = in_redis(redis.url());
        agree(Kind::Postgres, 22, 400, vec![cache.clone(), cache.clone(), cache]).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_command_believes_a_cached_balance() {
        let redis = Redis::start().await;
        let settings = Settings::new("memory:").cache(in_redis(redis.url()));
        let ledger = cached(settings, purchase(100)).await;
        let mut admin = redis.connection();
        let keys: Vec<String> = admin.keys(format!("test:1:*:{ALICE}")).unwrap();
        let rich = r#"{"n":1,"b":[1000000,0,0,0,1000000,0]}"#;
        let _: () = admin.hset(&keys[0], "balance", rich).unwrap();
        assert_eq!(
            ledger.balance(ALICE).await.unwrap().available,
            1_000_000,
            "it is believed by readers"
        );
        let refused = ledger.consume(Consume::new(ALICE, 101), None).await.unwrap_err();
        assert_eq!(refused.code(), "insufficient_credits");
        // A refusal told of the account, so nothing older may be told; of the same number it is.
        assert_eq!(ledger.balance_fresh(ALICE).await.unwrap().available, 100);
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres_a_transaction_of_the_caller_s_is_seen_with_the_next_fresh_read() {
        let redis = Redis::start().await;
        let database = Database::fresh(Kind::Postgres).await;
        let settings = || database.settings().cache(in_redis(redis.url()));
        let ledger = cached(settings(), purchase(100)).await;
        let other = settings().connect().await.unwrap();
        let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
        let mut tx = connection.begin().await.unwrap();
        ledger
            .within(&mut tx)
            .consume(Consume::new(ALICE, 1), None)
            .await
            .unwrap();
        assert_eq!(other.balance(ALICE).await.unwrap().available, 100);
        tx.commit().await.unwrap();
        assert_eq!(ledger.balance_fresh(ALICE).await.unwrap().available, 99);
        assert_eq!(other.balance(ALICE).await.unwrap().available, 99);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_is_away_changes_nothing() {
        // Nobody listens there.
        let cache = Cache::redis("redis://127.0.0.1:1", "test");
        let ledger = Settings::new("memory:").cache(cache).connect().await.unwrap();
        ledger.grant(purchase(100), None).await.unwrap();
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100);
        let stats = ledger.stats().cache.unwrap();
        assert_eq!((stats.hits, stats.misses), (0, 0));
        assert!(stats.away >= 2, "{stats:?}");
        let wrong = Cache::redis("http://localhost", "test");
        let error = Settings::new("memory:").cache(wrong).connect().await.unwrap_err();
        assert_eq!(error.code(), "validation");
        let unnamed = Cache::redis("redis://localhost", "");
        let error = Settings::new("memory:")
            .cache(unnamed)
            .connect()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("cache_prefix"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_stands_still_holds_nobody_up_for_ever() {
        let redis = Redis::start().await;
        let cache = in_redis(redis.url()).timeout(Duration::from_millis(50));
        let ledger = cached(Settings::new("memory:").cache(cache), purchase(100)).await;
        redis.signal("STOP");
        for spent in 1..=20 {
            let hold = ledger.consume(Consume::new(ALICE, 1), None).await.unwrap();
            ledger.confirm(Confirm::all(hold.id), None).await.unwrap();
            assert_eq!(ledger.balance(ALICE).await.unwrap().spent, spent);
        }
        // Callers whose answer waits for it are answered when the ledger closes.
        let late = tokio::spawn({
            let ledger = ledger.clone();
            async move { ledger.consume(Consume::new(ALICE, 1), None).await }
        });
        while ledger
            .stats()
            .answers
            .iter()
            .all(|a| a.operation != "consume" || a.count < 20)
        {
            tokio::task::yield_now().await;
        }
        ledger.close().await;
        let answer = late.await.unwrap();
        assert!(answer.is_ok() || answer.unwrap_err().code() == "unavailable");
        redis.signal("CONT");
    }

    /// Processes that share a database and a Redis: this one and others.
    struct Processes {
        own: Ledger,
        children: Vec<Mutex<Running>>,
        /// How often any of them was asked.
        asked: AtomicU64,
        /// Nobody asks any more.
        done: AtomicBool,
        _database: Database,
    }

    impl Processes {
        async fn start(kind: Kind, redis: &Redis, children: u64) -> Arc<Self> {
            let database = Database::fresh(kind).await;
            let own = database
                .open(database.settings().cache(in_redis(redis.url())))
                .await;
            let mut running = Vec::new();
            for number in 0..children {
                let url = redis.url();
                let mut child = start_with_cache(Role::Balances, &database, number, Some(&url)).await;
                child.ask(&format!("read {ALICE}")).await;
                running.push(Mutex::new(child));
            }
            Arc::new(Processes {
                own,
                children: running,
                asked: AtomicU64::new(0),
                done: AtomicBool::new(false),
                _database: database,
            })
        }

        /// Asks one of them: the number of an entry, and what was spent.
        async fn ask(&self, process: u64, what: &str) -> (i64, i64) {
            let answer = match self.children.get(process as usize) {
                Some(child) => child.lock().await.ask(what).await,
                None => about_balances(&self.own, what).await,
            };
            self.asked.fetch_add(1, Ordering::SeqCst);
            let (seq, spent) = answer.split_once(' ').unwrap();
            (seq.parse().unwrap(), spent.parse().unwrap())
        }

        async fn until_asked(&self, more: u64) {
            let enough = self.asked.load(Ordering::SeqCst) + more;
            while self.asked.load(Ordering::SeqCst) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }

        async fn until_hit(&self, more: u64) {
            let hits = || self.own.stats().cache.unwrap().hits;
            let enough = hits() + more;
            while hits() < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// What somebody was told of an account, or what was acknowledged to them.
    #[derive(Default)]
    struct Seen {
        seq: AtomicI64,
        spent: AtomicI64,
        acknowledged: AtomicI64,
    }

    /// Commands and reads at random, through processes at random: no balance is older than what anybody knew before asking.
    async fn nobody_goes_back_in_time(processes: &Arc<Processes>, rounds: u64) {
        const ACCOUNTS: u64 = 4;
        let seen: Arc<Vec<Seen>> = Arc::new((0..ACCOUNTS).map(|_| Seen::default()).collect());
        let mut askers = tokio::task::JoinSet::new();
        for asker in 0..8 {
            let (processes, seen) = (Arc::clone(processes), Arc::clone(&seen));
            askers.spawn(async move {
                let mut dice = Dice::new(asker);
                for _ in 0..rounds {
                    if processes.done.load(Ordering::SeqCst) {
                        break;
                    }
                    let number = dice.roll(ACCOUNTS);
                    let (user_id, seen) = (account(number), &seen[number as usize]);
                    let process = dice.roll(processes.children.len() as u64 + 1);
                    let verb = ["grant", "grant", "adjust", "spend", "spend", "fresh"];
                    let verb = verb.get(dice.roll(16) as usize).unwrap_or(&"read");
                    let known = seen.seq.load(Ordering::SeqCst);
                    let spent = seen.spent.load(Ordering::SeqCst);
                    let spent = spent.max(seen.acknowledged.load(Ordering::SeqCst));
                    let told = processes.ask(process, &format!("{verb} {user_id}")).await;
                    if *verb == "spend" {
                        seen.acknowledged.fetch_add(told.1, Ordering::SeqCst);
                    } else if ["read", "fresh"].contains(verb) {
                        assert!(
                            told >= (known, spent),
                            "process {process}: {told:?} after {:?}",
                            (known, spent)
                        );
                        assert!(told.1 >= spent);
                        seen.spent.fetch_max(told.1, Ordering::SeqCst);
                    }
                    seen.seq.fetch_max(told.0, Ordering::SeqCst);
                }
            });
        }
        while let Some(asker) = askers.join_next().await {
            asker.unwrap();
        }
    }

    async fn many_processes(kind: Kind) {
        let redis = Redis::start().await;
        let processes = Processes::start(kind, &redis, 3).await;
        nobody_goes_back_in_time(&processes, 400).await;
        let stats = processes.own.stats().cache.unwrap();
        assert!(stats.hits > 0 && stats.away == 0, "{stats:?}");
        assert!(processes.own.verify().await.unwrap().is_clean());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_goes_back_in_time_in_four_processes_postgres() {
        many_processes(Kind::Postgres).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_goes_back_in_time_in_four_processes_sqlite() {
        many_processes(Kind::SqliteFile).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_goes_back_in_time_while_redis_is_killed_and_started_again_postgres() {
        let mut redis = Redis::start_durable().await;
        let processes = Processes::start(Kind::Postgres, &redis, 3).await;
        let others = Arc::clone(&processes);
        let killing = tokio::spawn(async move {
            for _ in 0..3 {
                others.until_asked(100).await;
                redis.kill();
                others.until_asked(100).await;
                redis.start_again().await;
                redis.until_old().await;
                others.until_hit(20).await;
            }
            others.done.store(true, Ordering::SeqCst);
        });
        nobody_goes_back_in_time(&processes, u64::MAX).await;
        killing.await.unwrap();
        let stats = processes.own.stats().cache.unwrap();
        assert!(stats.hits >= 60 && stats.away > 0, "{stats:?}");
        assert!(processes.own.verify().await.unwrap().is_clean());
    }
}

#[cfg(feature = "redis")]
pub use redis::in_redis;
