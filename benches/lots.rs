//! What an account with very many lots costs: a small consume, a balance, a short statement, what explains the consume, and a
//! sweep that finds one lot due, at 1, 1,000 and 20,000 open lots. A small consume and a small grant beside 10,000 holds that
//! have borrowed. And what touches all of these: one consume that takes all lots, its refund, a grant that pays for all holds,
//! a sweep of all lots; with how long a neighbour waits meanwhile.
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
use jointo_credits::{
    Consume, Grant, Ledger, ManualClock, Refund, SetCreditLimit, Settings, Source, Timestamp,
};
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
    /// The sizes of the accounts that are compared.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000, 20_000])]
    lots: Vec<usize>,
    /// How many holds have borrowed.
    #[arg(long, default_value_t = 10_000)]
    borrowers: usize,
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
                ..Grant::new(user, 100_000, Source::Purchase)
            };
            grants.spawn(async move { ledger.grant(grant, None).await.unwrap() });
        }
        grants.join_all().await;
    }
}

async fn timed<T>(work: impl Future<Output = T>) -> (u64, T) {
    let begin = Instant::now();
    let result = work.await;
    (begin.elapsed().as_nanos() as u64, result)
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64 / 1_000.0
}

/// What is measured at each size.
const WHAT: [&str; 5] = ["consume", "balance", "statement", "explain", "sweep_of_one"];

/// How long `work` takes, and how long a neighbour, who consumes one after the other, waits for each meanwhile.
async fn beside_a_neighbour<T>(ledger: &Ledger, work: impl Future<Output = T>) -> (serde_json::Value, T) {
    let neighbour = account(900);
    let (over, mut is_over) = tokio::sync::watch::channel(false);
    let consumes = ledger.clone();
    let waits = tokio::spawn(async move {
        let mut waits = Vec::new();
        loop {
            waits.push(timed(consumes.consume(Consume::new(neighbour, 1), None)).await.0);
            if *is_over.borrow_and_update() {
                return waits;
            }
        }
    });
    let (took, result) = timed(work).await;
    over.send(true).unwrap();
    let mut waits = waits.await.unwrap();
    let waited = median(&mut waits);
    let longest = waits.last().copied().unwrap_or_default() as f64 / 1_000_000.0;
    let told = serde_json::json!({
        "ms": took as f64 / 1_000_000.0,
        "neighbour_median_us": waited, "neighbour_longest_ms": longest, "neighbour_consumes": waits.len(),
    });
    (told, result)
}

async fn lend(ledger: &Ledger, user: Uuid, holds: usize) {
    let limit = SetCreditLimit {
        user_id: user,
        credit_limit: 1_000_000_000,
    };
    ledger.set_credit_limit(limit, None).await.unwrap();
    for begin in (0..holds).step_by(1_000) {
        let mut consumes = JoinSet::new();
        for _ in begin..holds.min(begin + 1_000) {
            let ledger = ledger.clone();
            let consume = Consume::new(user, 10).ttl(20 * DAY);
            consumes.spawn(async move { ledger.consume(consume, None).await.unwrap() });
        }
        consumes.join_all().await;
    }
}

#[tokio::main]
async fn main() {
    let mut options = Options::parse();
    if !options.bench {
        // cargo test --benches: only that it runs.
        (options.rounds, options.lots, options.borrowers) = (2, vec![1, 10, 100], 100);
    }
    let sizes = options.lots;
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
    for (n, lots) in sizes.iter().copied().enumerate() {
        grant_all(&ledger, account(n as u64), lots, first).await;
    }
    let borrowers = account(800);
    lend(&ledger, borrowers, options.borrowers).await;
    ledger
        .grant(Grant::new(account(900), 1_000_000_000, Source::Purchase), None)
        .await
        .unwrap();
    let mut times: Vec<[Vec<u64>; WHAT.len()]> = vec![Default::default(); sizes.len()];
    let mut beside_borrowers: [Vec<u64>; 2] = Default::default();
    let mut now = start;
    for _ in 0..options.rounds {
        for (n, times) in times.iter_mut().enumerate() {
            let user = account(n as u64);
            let (consume, hold) = timed(ledger.consume(Consume::new(user, 1), None)).await;
            let balance = timed(ledger.balance(user)).await.0;
            let since = now;
            let statement = timed(ledger.statement(user, since, since.plus(DAY))).await.0;
            let explain = timed(ledger.explain(hold.unwrap().id)).await.0;
            // One more lot, whose time is over at once.
            now = now.plus(Duration::from_millis(2));
            let grant = Grant {
                expires_at: Some(now),
                ..Grant::new(user, 1, Source::Gift)
            };
            ledger.grant(grant, None).await.unwrap();
            clock.set(now);
            let sweep = timed(ledger.expire_lots(None)).await.0;
            for (times, time) in times
                .iter_mut()
                .zip([consume, balance, statement, explain, sweep])
            {
                times.push(time);
            }
        }
        let [consumes, grants] = &mut beside_borrowers;
        consumes.push(timed(ledger.consume(Consume::new(borrowers, 1), None)).await.0);
        grants.push(
            timed(ledger.grant(Grant::new(borrowers, 10, Source::Purchase), None))
                .await
                .0,
        );
    }
    let medians: Vec<_> = times
        .into_iter()
        .map(|of_size| of_size.map(|mut times| median(&mut times)))
        .collect();
    let [small_consume, small_grant] = beside_borrowers.map(|mut times| median(&mut times));

    // What touches all of them.
    let largest = account(sizes.len() as u64 - 1);
    let available = ledger.balance(largest).await.unwrap().available;
    let everything = Consume::new(largest, available).ttl(20 * DAY);
    let (one_consume, hold) = beside_a_neighbour(&ledger, ledger.consume(everything, None)).await;
    let hold = hold.unwrap();
    let (explained, _) = timed(ledger.explain(hold.id)).await;
    let (one_refund, _) = beside_a_neighbour(&ledger, ledger.refund(Refund::all(hold.id), None)).await;
    let debt = ledger.balance(borrowers).await.unwrap().debt;
    let pay = (options.borrowers > 0).then(|| Grant::new(borrowers, debt, Source::Purchase));
    let mut one_grant = serde_json::Value::Null;
    if let Some(pay) = pay {
        one_grant = beside_a_neighbour(&ledger, ledger.grant(pay, None)).await.0;
    }
    clock.set(first.plus(100 * DAY));
    let (swept, _) = beside_a_neighbour(&ledger, ledger.expire_lots(None)).await;
    let row = |(n, lots): (usize, usize)| {
        let mut row = serde_json::json!({ "lots": lots });
        for ((what, time), at_first) in WHAT.into_iter().zip(medians[n]).zip(medians[0]) {
            row[format!("{what}_us")] = time.into();
            row[format!("{what}_ratio")] = (time / at_first).into();
        }
        row
    };
    let rows: Vec<_> = sizes.iter().copied().enumerate().map(row).collect();
    println!(
        "{:#}",
        serde_json::json!({
            "sizes": rows,
            "beside_borrowers": {"holds": options.borrowers, "consume_us": small_consume, "grant_us": small_grant},
            "all": {
                "lots": sizes.last(),
                "consume": one_consume,
                "lots_taken": hold.lots.len(),
                "explain_ms": explained as f64 / 1_000_000.0,
                "refund": one_refund,
                "grant_to_borrowers": one_grant,
                "sweep": swept,
            },
        })
    );
    ledger.close().await;
}
