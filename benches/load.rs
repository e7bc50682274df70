//! Load on one ledger: the Rust side of `scripts/bench`, which compares it with other ways of doing the same work.
//!
//! Prints one JSON object per measurement. Run it through `make bench`.

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
use clap::{Parser, ValueEnum};
use jointo_credits::{Confirm, Consume, Grant, Ledger, Settings, Source};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin};
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Work {
    /// `consume` with an idempotency key.
    Consume,
    /// `consume` here, `confirm` in a process of its own, which learns the ids through a pipe.
    Pairs,
    /// That process: confirms the consumptions whose ids it reads.
    Confirm,
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
    /// Makes the tables, the accounts and one consumption, and nothing more. In memory they are made in any case.
    #[arg(long)]
    setup: bool,
    #[arg(long)]
    bench: bool,
}

async fn connect(options: &Options) -> Ledger {
    let mut settings = Settings::new(&options.database).committers(options.committers);
    if let Some(schema) = &options.schema {
        settings = settings.schema(schema);
    }
    settings.connect().await.unwrap()
}

async fn set_up(options: &Options, ledger: &Ledger) {
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
    ledger
        .consume(
            Consume::new(account(0), 7).feature("text_processing"),
            Some("example"),
        )
        .await
        .unwrap();
}

/// When measuring begins and ends.
#[derive(Clone, Copy)]
struct Window {
    begin: Instant,
    end: Instant,
}

impl Window {
    /// Whether what ended `at` counts: its beginning does not matter, or slow calls would be counted too rarely.
    fn has(self, at: Instant) -> bool {
        (self.begin..=self.end).contains(&at)
    }
}

/// What one caller did within the window, in microseconds.
type Latencies = Vec<u64>;

#[tokio::main]
async fn main() {
    let options = Arc::new(Options::parse());
    let ledger = connect(&options).await;
    if options.setup || options.database == "memory:" {
        set_up(&options, &ledger).await;
    }
    if options.setup {
        ledger.close().await;
        return;
    }
    let mut confirmer = (options.work == Work::Pairs).then(|| start_confirmer(&options));
    let ids = confirmer
        .as_mut()
        .map(|child| ids_to(child.stdin.take().unwrap()));
    let begin = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let window = Window {
        begin,
        end: begin + Duration::from_secs_f64(options.seconds),
    };
    let named = (options.work == Work::Confirm).then(|| Arc::new(Mutex::new(ids_from_stdin())));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..options.callers as u64 {
        let (ledger, options) = (ledger.clone(), Arc::clone(&options));
        match &named {
            Some(named) => callers.spawn(confirm(ledger, Arc::clone(named), window)),
            None => callers.spawn(consume(ledger, options, caller, ids.clone(), window)),
        };
    }
    let mut latencies: Latencies = callers.join_all().await.concat();
    drop(ids);
    if let Some(mut confirmer) = confirmer {
        assert!(confirmer.wait().await.unwrap().success());
    } else {
        latencies.sort_unstable();
        let at = |q: f64| {
            latencies
                .get((latencies.len() as f64 * q) as usize)
                .copied()
                .unwrap_or(0)
        };
        println!(
            "{{\"callers\": {}, \"accounts\": {}, \"per_second\": {:.0}, \"p50_us\": {}, \"p99_us\": {}}}",
            options.callers,
            options.accounts,
            latencies.len() as f64 / options.seconds,
            at(0.5),
            at(0.99)
        );
    }
    ledger.close().await;
}

async fn consume(
    ledger: Ledger,
    options: Arc<Options>,
    caller: u64,
    ids: Option<mpsc::Sender<Uuid>>,
    window: Window,
) -> Latencies {
    let mut latencies = Vec::new();
    let mut random = (caller + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ options.run << 32;
    for n in 0u64.. {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let before = Instant::now();
        if before >= window.end {
            break;
        }
        let key = format!("run-{}-{caller}-{n}", options.run);
        let consume = Consume::new(account(random % options.accounts), 7).feature("text_processing");
        let hold = ledger.consume(consume, Some(&key)).await.unwrap();
        let after = Instant::now();
        if window.has(after) {
            latencies.push((after - before).as_micros() as u64);
        }
        if let Some(ids) = &ids {
            // Waits where the confirmer falls behind: holds are not made faster than they are confirmed.
            ids.send(hold.id).await.unwrap();
        }
    }
    latencies
}

fn start_confirmer(options: &Options) -> Child {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--work", "confirm", "--database", &options.database]);
    if let Some(schema) = &options.schema {
        command.args(["--schema", schema]);
    }
    for (name, value) in [
        ("--callers", options.callers.to_string()),
        ("--accounts", options.accounts.to_string()),
        ("--seconds", options.seconds.to_string()),
        ("--warm-up", options.warm_up.to_string()),
        ("--committers", options.committers.to_string()),
        ("--run", options.run.to_string()),
    ] {
        command.args([name, &value]);
    }
    command.stdin(std::process::Stdio::piped()).spawn().unwrap()
}

/// Writes ids to the other process, 16 bytes each, as many at a time as there are.
fn ids_to(mut pipe: ChildStdin) -> mpsc::Sender<Uuid> {
    let (sender, mut receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        let mut ids: Vec<Uuid> = Vec::new();
        while receiver.recv_many(&mut ids, 256).await > 0 {
            let bytes: Vec<u8> = ids.drain(..).flat_map(Uuid::into_bytes).collect();
            pipe.write_all(&bytes).await.unwrap();
        }
    });
    sender
}

fn ids_from_stdin() -> mpsc::Receiver<Uuid> {
    let (sender, receiver) = mpsc::channel(256);
    std::thread::spawn(move || {
        let mut input = std::io::BufReader::new(std::io::stdin());
        let mut bytes = [0; 16];
        while std::io::Read::read_exact(&mut input, &mut bytes).is_ok() {
            let _ = sender.blocking_send(Uuid::from_bytes(bytes));
        }
    });
    receiver
}

/// Goes on until there are no more ids, so that the other process can write all of its own.
async fn confirm(ledger: Ledger, ids: Arc<Mutex<mpsc::Receiver<Uuid>>>, window: Window) -> Latencies {
    let mut latencies = Vec::new();
    loop {
        let Some(id) = ids.lock().await.recv().await else {
            return latencies;
        };
        let before = Instant::now();
        ledger.confirm(Confirm::amount(id, 5), None).await.unwrap();
        let after = Instant::now();
        if window.has(after) {
            latencies.push((after - before).as_micros() as u64);
        }
    }
}
