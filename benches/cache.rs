//! What a cache for balances is worth: the same reads from the database, from Redis and from the process, in turns.
//!
//! ```text
//! scripts/with-redis -- scripts/with-postgres --durable -- bash -c 'cargo bench --all-features --bench cache -- \
//!     --database "$JOINTO_CREDITS_TEST_POSTGRES" --redis "$JOINTO_CREDITS_TEST_REDIS"'
//! ```
//!
//! Readers ask for balances of accounts that were all read before; with `--writers`, others spend on the same accounts
//! meanwhile. Prints one JSON object: the median round of each place, and the ratios to the database.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(missing_docs, clippy::disallowed_methods)]

#[path = "shared/accounts.rs"]
mod accounts;
#[path = "shared/latencies.rs"]
mod latencies;

use accounts::{account, account_of_call};
use clap::Parser;
use jointo_credits::{Cache, Consume, Grant, Ledger, Settings, Source};
use latencies::latencies;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "memory:")]
    database: String,
    /// Without, only the database and the process are measured.
    #[arg(long)]
    redis: Option<String>,
    #[arg(long, default_value_t = 1_000)]
    accounts: usize,
    #[arg(long, default_value_t = 64)]
    readers: usize,
    /// Callers that spend meanwhile.
    #[arg(long, default_value_t = 0)]
    writers: usize,
    /// How long each place is measured in each round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long)]
    bench: bool,
}

/// What a place did in a round.
struct Measured {
    reads: Vec<u64>,
    writes: usize,
}

async fn measure(ledger: &Ledger, options: &Options) -> Measured {
    let done = Arc::new(AtomicBool::new(false));
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    for caller in 0..options.readers {
        let (ledger, done, accounts) = (ledger.clone(), Arc::clone(&done), options.accounts);
        readers.spawn(async move {
            let mut micros = Vec::new();
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let begin = Instant::now();
                ledger
                    .balance(account_of_call(caller, n, accounts))
                    .await
                    .unwrap();
                micros.push(begin.elapsed().as_micros() as u64);
                // A balance that is there at once gives nobody else a turn.
                tokio::task::consume_budget().await;
            }
            micros
        });
    }
    for caller in 0..options.writers {
        let (ledger, done, accounts) = (ledger.clone(), Arc::clone(&done), options.accounts);
        writers.spawn(async move {
            let mut written = 0;
            for n in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let consume = Consume::new(account_of_call(caller, n, accounts), 1);
                ledger.consume(consume, None).await.unwrap();
                written += 1;
            }
            written
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    done.store(true, Ordering::Relaxed);
    Measured {
        reads: readers.join_all().await.concat(),
        writes: writers.join_all().await.into_iter().sum(),
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

#[tokio::main]
async fn main() {
    let mut options = Options::parse();
    if !options.bench {
        // cargo test --benches: only that it runs.
        (options.accounts, options.seconds, options.rounds) = (10, 0.01, 1);
    }
    let settings = || Settings::new(&options.database);
    let in_process = settings().cache(Cache::in_process().max_age(Duration::from_secs(3_600)));
    let mut places = vec![("database", settings()), ("process", in_process)];
    if let Some(url) = &options.redis {
        let cache = Cache::redis(url, "bench").max_age(Duration::from_secs(3_600));
        places.push(("redis", settings().cache(cache)));
    }
    let mut ledgers = Vec::new();
    for (name, settings) in places {
        let ledger = settings.connect().await.unwrap();
        ledger.migrate().await.unwrap();
        if ledgers.is_empty() {
            for n in 0..options.accounts {
                let grant = Grant::new(account(n as u64), 1_000_000_000, Source::Purchase);
                ledger.grant(grant, None).await.unwrap();
            }
            // Redis is asked once it has run for a while.
            tokio::time::sleep(Duration::from_secs(if options.redis.is_some() { 4 } else { 0 })).await;
        }
        for n in 0..options.accounts {
            ledger.balance(account(n as u64)).await.unwrap();
        }
        ledgers.push((name, ledger, Vec::new()));
    }
    for _ in 0..options.rounds {
        for (_, ledger, rounds) in &mut ledgers {
            rounds.push(measure(ledger, &options).await);
        }
    }
    let rate = |count: usize| count as f64 / options.seconds;
    let mut lines = Vec::new();
    let mut database = None;
    for (name, ledger, rounds) in ledgers {
        let reads = median(rounds.iter().map(|round| rate(round.reads.len())).collect());
        let writes = median(rounds.iter().map(|round| rate(round.writes)).collect());
        let (reads_then, writes_then) = *database.get_or_insert((reads, writes));
        let all = rounds.into_iter().flat_map(|round| round.reads).collect();
        let counts = ledger.stats().cache.unwrap_or_default();
        lines.push(format!(
            "\"{name}\": {{\"reads_per_second\": {reads:.0}, \"ratio\": {:.2}, \"writes_per_second\": {writes:.0}, \
             \"writes_ratio\": {:.2}, \"latencies\": {}, \"hits\": {}, \"misses\": {}, \"away\": {}}}",
            reads / reads_then,
            if writes_then > 0.0 { writes / writes_then } else { 1.0 },
            latencies(all),
            counts.hits,
            counts.misses,
            counts.away
        ));
        ledger.close().await;
    }
    println!("{{{}}}", lines.join(", "));
}
