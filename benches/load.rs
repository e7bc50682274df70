//! Load on one ledger: the Rust side of `scripts/bench`, which compares it with other ways of doing the same work.
//!
//! Prints one JSON object per measurement. Run it through `make bench`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)]
#![allow(missing_docs, clippy::disallowed_methods)]

use clap::{Parser, ValueEnum};
use jointo_credits::{Confirm, Consume, Grant, Ledger, Settings, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Work {
    /// `consume` with an idempotency key.
    Consume,
    /// `consume`, then `confirm` through another ledger (its own connections, as another process has).
    Pairs,
}

#[derive(Parser)]
struct Options {
    #[arg(long)]
    database: String,
    #[arg(long)]
    schema: Option<String>,
    #[arg(long, value_enum, default_value = "consume")]
    work: Work,
    #[arg(long, default_value_t = 64)]
    callers: usize,
    #[arg(long, default_value_t = 10_000)]
    accounts: u64,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[arg(long, default_value_t = 2)]
    committers: usize,
    /// Makes keys of this run different from those of other processes.
    #[arg(long, default_value_t = 0)]
    run: u64,
    /// Accounts have been made before.
    #[arg(long)]
    no_setup: bool,
    #[arg(long)]
    bench: bool,
}

fn account(n: u64) -> Uuid {
    // Spread like random ids, and the same in every process.
    Uuid::from_u64_pair(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), n.wrapping_mul(0xC2B2_AE3D_27D4_EB4F) | 1 << 63)
}

async fn connect(options: &Options) -> Ledger {
    let mut settings = Settings::new(&options.database).committers(options.committers);
    if let Some(schema) = &options.schema {
        settings = settings.schema(schema);
    }
    settings.connect().await.unwrap()
}

#[tokio::main]
async fn main() {
    let options = Arc::new(Options::parse());
    let ledger = connect(&options).await;
    let other = if options.work == Work::Pairs { connect(&options).await } else { ledger.clone() };
    if !options.no_setup {
        ledger.migrate().await.unwrap();
        let mut grants = tokio::task::JoinSet::new();
        for n in 0..options.accounts {
            let ledger = ledger.clone();
            grants.spawn(async move {
                let grant = Grant::new(account(n), 1_000_000_000, Source::Purchase);
                ledger.grant(grant, Some("opening")).await.unwrap();
            });
        }
        grants.join_all().await;
    }
    let done = Arc::new(AtomicU64::new(0));
    let begin = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = begin + Duration::from_secs_f64(options.seconds);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..options.callers as u64 {
        let (ledger, other, options, done) =
            (ledger.clone(), other.clone(), Arc::clone(&options), Arc::clone(&done));
        callers.spawn(async move {
            let mut latencies = Vec::new();
            let mut random = (caller + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ options.run << 32;
            for n in 0u64.. {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let before = Instant::now();
                if before >= end {
                    break;
                }
                let key = format!("run-{}-{caller}-{n}", options.run);
                let consume = Consume::new(account(random % options.accounts), 7).feature("text_processing");
                let hold = ledger.consume(consume, Some(&key)).await.unwrap();
                if options.work == Work::Pairs {
                    other.confirm(Confirm::amount(hold.id, 5), None).await.unwrap();
                }
                let after = Instant::now();
                if before >= begin && after <= end {
                    latencies.push((after - before).as_micros() as u64);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            latencies
        });
    }
    let mut latencies: Vec<u64> = callers.join_all().await.concat();
    latencies.sort_unstable();
    let at = |q: f64| latencies.get((latencies.len() as f64 * q) as usize).copied().unwrap_or(0);
    println!(
        "{{\"callers\": {}, \"accounts\": {}, \"per_second\": {:.0}, \"p50_us\": {}, \"p99_us\": {}}}",
        options.callers,
        options.accounts,
        done.load(Ordering::Relaxed) as f64 / options.seconds,
        at(0.5),
        at(0.99)
    );
    other.close().await;
    ledger.close().await;
}
