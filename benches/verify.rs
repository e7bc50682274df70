//! How fast `verify` audits, and in how much memory: fills an empty database through the ledger, then audits it.
//!
//! Prints one JSON object per audit. `docs/benchmarks.md` says how to run it.

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
use jointo_credits::{Confirm, Consume, Grant, Ledger, Settings, Source};
use std::time::Instant;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    database: String,
    /// Entries to write, where the database is empty.
    #[arg(long, default_value_t = 300_000)]
    entries: u64,
    #[arg(long, default_value_t = 10_000)]
    accounts: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long)]
    bench: bool,
}

/// One grant for each account, then holds with a key, every second one confirmed in part.
async fn fill(options: &Options, ledger: &Ledger) {
    const CALLERS: u64 = 512;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (ledger, accounts) = (ledger.clone(), options.accounts);
        callers.spawn(async move {
            for n in (caller..accounts).step_by(CALLERS as usize) {
                let grant = Grant::new(account(n), 1_000_000_000, Source::Purchase);
                ledger.grant(grant, Some("opening")).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let (ledger, accounts) = (ledger.clone(), options.accounts);
        // Three entries for two holds.
        let holds = options.entries.saturating_sub(accounts) * 2 / 3 / CALLERS;
        callers.spawn(async move {
            for n in 0..holds {
                let user_id = account((caller + n * CALLERS) % accounts);
                let consume = Consume::new(user_id, 7).feature("text_processing");
                let key = format!("caller-{caller}-{n}");
                let hold = ledger.consume(consume, Some(&key)).await.unwrap();
                if n % 2 == 0 {
                    ledger.confirm(Confirm::amount(hold.id, 5), None).await.unwrap();
                }
            }
        });
    }
    callers.join_all().await;
}

/// A line of `/proc/self/status`, in MiB; nothing where there is none.
fn memory_mib(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024)
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let ledger = Settings::new(&options.database).connect().await.unwrap();
    ledger.migrate().await.unwrap();
    if ledger.trial_balance().await.unwrap().counter_accounts.is_empty() {
        fill(&options, &ledger).await;
        // The memory of filling would hide that of the audit: run it again.
        println!("filled");
        ledger.close().await;
        return;
    }
    for _ in 0..options.rounds {
        let before = Instant::now();
        let found = ledger.verify().await.unwrap();
        let seconds = before.elapsed().as_secs_f64();
        assert!(found.is_clean(), "{:?}", found.faults);
        println!(
            "{{\"accounts\": {}, \"entries\": {}, \"seconds\": {seconds:.2}, \"per_second\": {:.0}, \"peak_mib\": {}}}",
            found.accounts,
            found.entries,
            found.entries as f64 / seconds,
            memory_mib("VmHWM:").map_or("null".into(), |mib| mib.to_string()),
        );
    }
    ledger.close().await;
}
