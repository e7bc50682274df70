//! What a command costs an account with very many lots: a small consume, a balance and a sweep that finds one lot due, at 1,
//! 1,000 and 20,000 open lots; and a sweep of all of them.
//!
//! ```text
//! scripts/with-postgres --durable -- bash -c 'cargo bench --bench lots -- --database "$JOINTO_CREDITS_TEST_POSTGRES"'
//! ```
//!
//! In an empty database. Everything is measured in turns, so that what else the machine does falls on all alike. Prints one
//! JSON object: medians in microseconds, and how many times what it costs at one lot.

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

use accounts::account;
use clap::Parser;
use jointo_credits::{Consume, Grant, Ledger, ManualClock, Settings, Source, Timestamp};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "memory:")]
    database: String,
    #[arg(long)]
    schema: Option<String>,
    /// How often each is measured.
    #[arg(long, default_value_t = 200)]
    rounds: usize,
    /// 0: every command reads its account.
    #[arg(long)]
    account_memory_bytes: Option<usize>,
    #[arg(long)]
    bench: bool,
}

const DAY: Duration = Duration::from_secs(86_400);

/// Lots that expire one after the other, from the next day on.
async fn grant_all(ledger: &Ledger, user: Uuid, lots: usize, first: Timestamp) {
    for begin in (0..lots).step_by(1_000) {
        let mut grants = JoinSet::new();
        for n in begin..lots.min(begin + 1_000) {
            let ledger = ledger.clone();
            let expires_at = Some(first.plus(Duration::from_secs(n as u64)));
            let grant = Grant {
                expires_at,
                ..Grant::new(user, 1_000, Source::Purchase)
            };
            grants.spawn(async move { ledger.grant(grant, None).await.unwrap() });
        }
        grants.join_all().await;
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> u64 {
    let begin = Instant::now();
    work.await;
    begin.elapsed().as_nanos() as u64
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1_000.0
}

#[tokio::main]
async fn main() {
    let mut options = Options::parse();
    let mut sizes = [1, 1_000, 20_000];
    if !options.bench {
        // cargo test --benches: only that it runs.
        (options.rounds, sizes) = (2, [1, 10, 100]);
    }
    let start = Timestamp::from_micros(1_790_000_000_000_000);
    let clock = ManualClock::starting_at(start);
    let mut settings = Settings::new(&options.database).clock(clock.clone());
    if let Some(schema) = &options.schema {
        settings = settings.schema(schema);
    }
    if let Some(bytes) = options.account_memory_bytes {
        settings = settings.account_memory_bytes(bytes);
    }
    let ledger = settings.connect().await.unwrap();
    ledger.migrate().await.unwrap();
    let first = start.plus(100 * DAY);
    for (n, lots) in sizes.into_iter().enumerate() {
        grant_all(&ledger, account(n as u64), lots, first).await;
    }
    let mut times: [[Vec<u64>; 3]; 3] = Default::default();
    let mut now = start;
    for _ in 0..options.rounds {
        for (n, [consume, balance, sweep]) in times.iter_mut().enumerate() {
            let user = account(n as u64);
            consume.push(timed(ledger.consume(Consume::new(user, 1), None)).await);
            balance.push(timed(ledger.balance(user)).await);
            // One more lot, whose time is over at once.
            now = now.plus(Duration::from_millis(2));
            let grant = Grant {
                expires_at: Some(now),
                ..Grant::new(user, 1, Source::Gift)
            };
            ledger.grant(grant, None).await.unwrap();
            clock.set(now);
            sweep.push(timed(ledger.expire_lots(None)).await);
        }
    }
    let medians = times.map(|of_size| of_size.map(|mut times| median(&mut times)));
    // All of them expire: the largest account's first.
    clock.set(first.plus(100 * DAY));
    let swept = timed(ledger.expire_lots(None)).await as f64 / 1_000.0;
    let all: usize = sizes.iter().sum();
    let row = |(n, lots): (usize, usize)| {
        let [consume, balance, sweep] = medians[n];
        let [one_consume, one_balance, one_sweep] = medians[0];
        serde_json::json!({
            "lots": lots,
            "consume_us": consume, "consume_ratio": consume / one_consume,
            "balance_us": balance, "balance_ratio": balance / one_balance,
            "sweep_of_one_us": sweep, "sweep_of_one_ratio": sweep / one_sweep,
        })
    };
    let rows: Vec<_> = sizes.into_iter().enumerate().map(row).collect();
    println!(
        "{}",
        serde_json::json!({"sizes": rows, "swept_lots": all, "sweep_us_a_lot": swept / all as f64})
    );
    ledger.close().await;
}
