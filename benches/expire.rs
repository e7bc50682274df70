//! How fast `expire_pending` writes down holds that are due, and what live traffic notices: design, budget
//! `expire_pending`.
//!
//! ```text
//! scripts/with-postgres --durable -- bash -c 'cargo bench --bench expire -- --database "$JOINTO_CREDITS_TEST_POSTGRES"'
//! ```
//!
//! In an empty database it makes holds on accounts, lets their time pass on a clock of its own, and sweeps, while other
//! callers go on with `consume` on the same accounts. Prints one JSON object.

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
use jointo_credits::{Consume, Grant, Ledger, ManualClock, Settings, Source, Timestamp};
use latencies::latencies;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value = "memory:")]
    database: String,
    #[arg(long)]
    schema: Option<String>,
    #[arg(long, default_value_t = 100_000)]
    holds: usize,
    #[arg(long, default_value_t = 10_000)]
    accounts: usize,
    /// Callers that go on meanwhile.
    #[arg(long, default_value_t = 16)]
    callers: usize,
    /// How long they are watched before the sweep.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    #[arg(long)]
    bench: bool,
}

const TTL: Duration = Duration::from_secs(60);
/// How many holds are asked for at a time.
const TOGETHER: usize = 1_000;

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
    for begin in (0..options.holds).step_by(TOGETHER) {
        let holds = (begin..options.holds.min(begin + TOGETHER)).map(|n| {
            (
                Consume::new(account((n % options.accounts) as u64), 7).ttl(TTL),
                None,
            )
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
        (options.holds, options.accounts, options.seconds) = (100, 10, 0.01);
    }
    let clock = ManualClock::starting_at(Timestamp::from_micros(1_790_000_000_000_000));
    let mut settings = Settings::new(&options.database).clock(clock.clone());
    if let Some(schema) = &options.schema {
        settings = settings.schema(schema);
    }
    let ledger = settings.connect().await.unwrap();
    ledger.migrate().await.unwrap();
    fill(&options, &ledger).await;
    let (sweeping, ended) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for caller in 0..options.callers {
        let (ledger, sweeping, ended) = (ledger.clone(), Arc::clone(&sweeping), Arc::clone(&ended));
        let accounts = options.accounts;
        callers.spawn(async move {
            let (mut before, mut during) = (Vec::new(), Vec::new());
            for n in 0.. {
                let began_in_sweep = sweeping.load(Ordering::SeqCst);
                let begin = Instant::now();
                let user = account_of_call(caller, n, accounts);
                let consume = Consume::new(user, 1).ttl(Duration::from_secs(86_400));
                ledger.consume(consume, None).await.unwrap();
                let micros = begin.elapsed().as_micros() as u64;
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                match (began_in_sweep, sweeping.load(Ordering::SeqCst)) {
                    (true, true) => during.push(micros),
                    (false, false) => before.push(micros),
                    _ => {}
                }
            }
            (before, during)
        });
    }
    tokio::time::sleep(Duration::from_secs_f64(options.seconds)).await;
    clock.advance(TTL);
    sweeping.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    let swept = ledger.expire_pending(None).await.unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    ended.store(true, Ordering::SeqCst);
    let (before, during): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().unzip();
    // Commands of live callers write down what is due on their accounts too: the sweep finds the rest.
    println!(
        "{{\"holds\": {}, \"swept\": {}, \"seconds\": {seconds:.2}, \"per_second\": {:.0}, \"live_before\": {}, \"live_during\": {}}}",
        options.holds,
        swept.holds,
        swept.holds as f64 / seconds,
        latencies(before.concat()),
        latencies(during.concat()),
    );
    assert!(ledger.verify().await.unwrap().is_clean());
    ledger.close().await;
}
