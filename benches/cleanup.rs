//! How fast `cleanup_transactions` moves old entries into an archive, and what live traffic notices.
//!
//! ```text
//! scripts/with-postgres --durable -- bash -c 'cargo bench --bench cleanup -- --database "$JOINTO_CREDITS_TEST_POSTGRES"'
//! ```
//!
//! In an empty database it makes entries, lets 100 days pass on a clock of its own, and cleans up, while callers go on with
//! `consume` on the same accounts: first without the clean-up, then beside it. Prints one JSON object.

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
use jointo_credits::{Cleanup, Consume, Grant, Ledger, ManualClock, Settings, Source, Timestamp};
use latencies::latencies;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "memory:")]
    database: String,
    /// Old entries.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    #[arg(long, default_value_t = 10_000)]
    accounts: usize,
    /// Callers that go on meanwhile.
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// How long they are watched before the clean-up.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    #[arg(long)]
    bench: bool,
}

const DAY: Duration = Duration::from_secs(86_400);
/// How many entries are asked for at a time.
const TOGETHER: usize = 1_000;
/// What the callers' commands are counted as.
const NEITHER: u8 = 0;
const BEFORE: u8 = 1;
const DURING: u8 = 2;
const ENDED: u8 = 3;

async fn fill(options: &Options, ledger: &Ledger) {
    let mut grants = JoinSet::new();
    for n in 0..options.accounts {
        let ledger = ledger.clone();
        grants.spawn(async move {
            let grant = Grant::new(account(n as u64), 1_000_000_000, Source::Purchase);
            ledger.grant(grant, None).await.unwrap();
        });
    }
    grants.join_all().await;
    for begin in (0..options.rows).step_by(TOGETHER) {
        let holds = (begin..options.rows.min(begin + TOGETHER)).map(|n| {
            let user = account((n % options.accounts) as u64);
            (Consume::new(user, 7).ttl(DAY), None)
        });
        for held in ledger.consume_many(holds.collect()).await.unwrap() {
            held.unwrap();
        }
    }
}

#[tokio::main]
async fn main() {
    let mut options = Options::parse();
    if !options.bench {
        // cargo test --benches: only that it runs.
        (options.rows, options.accounts, options.seconds) = (100, 10, 0.01);
    }
    let clock = ManualClock::starting_at(Timestamp::from_micros(1_790_000_000_000_000));
    let ledger = Settings::new(&options.database)
        .clock(clock.clone())
        .connect()
        .await
        .unwrap();
    ledger.migrate().await.unwrap();
    fill(&options, &ledger).await;
    clock.advance(DAY * 100);
    ledger.expire_pending(None).await.unwrap();
    let phase = Arc::new(AtomicU8::new(NEITHER));
    let mut callers = JoinSet::new();
    for caller in 0..options.callers {
        let (ledger, phase, accounts) = (ledger.clone(), Arc::clone(&phase), options.accounts);
        callers.spawn(async move {
            let (mut before, mut during) = (Vec::new(), Vec::new());
            for n in 0.. {
                let began_in = phase.load(Ordering::SeqCst);
                let begin = Instant::now();
                let user = account_of_call(caller, n, accounts);
                ledger.consume(Consume::new(user, 1), None).await.unwrap();
                let micros = begin.elapsed().as_micros() as u64;
                match (began_in, phase.load(Ordering::SeqCst)) {
                    (BEFORE, BEFORE) => before.push(micros),
                    (DURING, DURING) => during.push(micros),
                    (_, ENDED) => break,
                    _ => {}
                }
            }
            (before, during)
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(options.seconds / 5.0)).await;
    phase.store(BEFORE, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().display().to_string();
    let cleanup = Cleanup {
        older_than: DAY * 90,
        archive: archive.clone(),
        limit: None,
        dry_run: false,
    };
    phase.store(DURING, Ordering::SeqCst);
    let begin = Instant::now();
    let cleaned = ledger.cleanup_transactions(&cleanup).await.unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    phase.store(ENDED, Ordering::SeqCst);
    let (before, during): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().unzip();
    let (before, during) = (before.concat(), during.concat());
    let (rate_before, rate_during) = (
        before.len() as f64 / options.seconds,
        during.len() as f64 / seconds,
    );
    println!(
        "{{\"removed\": {}, \"seconds\": {seconds:.2}, \"per_second\": {:.0}, \"archive_bytes\": {}, \
         \"live_before_per_second\": {rate_before:.0}, \"live_during_per_second\": {rate_during:.0}, \"ratio\": {:.2}, \
         \"live_before\": {}, \"live_during\": {}}}",
        cleaned.removed,
        cleaned.removed as f64 / seconds,
        cleaned.bytes,
        rate_during / rate_before,
        latencies(before),
        latencies(during),
    );
    assert!(cleaned.removed >= options.rows as u64);
    assert!(ledger.verify_archived(&archive).await.unwrap().is_clean());
    ledger.close().await;
}
