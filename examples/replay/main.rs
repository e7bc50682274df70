//! The main job on real input: an hour of AI usage, replayed against a ledger, and every credit accounted for.
//!
//! ```text
//! make demo                                                            # an hour of jobs on SQLite, in a temporary file
//! cargo run --release -p jointo-credits-replay                         # the same, with every database built in
//! cargo run --release -p jointo-credits-replay -- --database sqlite:///replay.db --speed 60
//! cargo run --release -p jointo-credits-replay -- --database postgresql://me@localhost/test --schema replay
//! ```
//!
//! # What it shows
//!
//! Customers buy the packages of the catalogue (`seed_catalog`): a lot that was paid for and never expires, and a bonus
//! lot that does. Each row of the input is one job of a language model for one of them (some are heavy users), priced by
//! the catalogue's rate card for `text_processing`:
//!
//! - `consume_priced` holds the price of an estimate before the job: its prompt's tokens are known, its answer's are
//!   guessed, by the product or else by the rate card;
//! - `confirm_priced` spends the price of what was really used, which may be more or less than was held;
//! - `refund` gives everything back when the job fails, and gives back a confirmed one that the customer complains about;
//! - nobody calls anything when the worker dies: the hold expires by itself;
//! - `InsufficientCredits` stops a customer who has run out; some of them buy again and go on.
//!
//! Calls are repeated with the same idempotency key now and then, as a caller does that has lost the answer; they must
//! return what the first one did. The ledger's clock is a [`ManualClock`] that the trace drives, so that deadlines of
//! minutes pass in a run of seconds. `job.rs` is the part to copy.
//!
//! At the end the example compares the ledger's books with its own count, made only from the answers it got, and has
//! the ledger audit itself. Exit status: 0 if every credit is accounted for, 1 if not (the report says which sum
//! differs), 2 if the replay could not be done.
//!
//! # Input
//!
//! A CSV with the columns `TIMESTAMP,ContextTokens,GeneratedTokens`, as in Microsoft's AzurePublicDataset ("Azure LLM
//! inference trace 2023", CC-BY; P. Patel, E. Choukse, C. Zhang, A. Shah, I. Goiri, S. Maleki, R. Bianchini,
//! "Splitwise: Efficient generative LLM inference using phase splitting", ISCA 2024). Without `--input` it is taken from
//! `../shared/traces/`; where that is missing, input of the same shape is made up.

#![allow(clippy::disallowed_methods, reason = "measures how long calls take")]

mod audit;
mod count;
mod job;
mod meter;
mod product;
mod report;
mod stage;
mod trace;

use audit::Audit;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use jointo_credits::{Ledger, ManualClock, Refusal, Settings};
use product::{Product, Visit};
use report::Head;
use stage::Stage;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Replays an hour of AI jobs against a credit ledger and accounts for every credit.
#[derive(Parser)]
pub struct Options {
    /// Where the ledger keeps its books: sqlite:///FILE, sqlite::memory:, memory: or postgresql://...; must have no
    /// books in it yet [default: SQLite in a temporary file, deleted at the end]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// PostgreSQL schema for the tables, made if it is missing
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// CSV with the columns TIMESTAMP,ContextTokens,GeneratedTokens [default: the Azure trace in ../shared/traces if it
    /// is there, else input of the same shape]
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Replay only the first N jobs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// How many customers there are
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    accounts: u32,
    /// How many of them are served at the same time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    concurrency: u32,
    /// How many times faster than real time the trace runs; 0 is as fast as the ledger can
    #[arg(long, value_name = "X", default_value = "0", value_parser = speed)]
    speed: f64,
    /// Who does what is drawn from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed >= 0.0 => Ok(speed),
        _ => Err("give a number such as 60, or 0 for as fast as possible".into()),
    }
}

/// Why a replay ended early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The ledger refused what it should not have, or could not be reached.
    #[error(transparent)]
    Ledger(#[from] jointo_credits::Error),
    /// The input, or the surroundings, can't be used.
    #[error("{0}")]
    Unusable(String),
    /// The ledger broke a promise.
    #[error("the ledger broke a promise: {0}")]
    Broken(String),
    /// A task was lost.
    #[error("a task of the replay was lost: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Failure {
    /// What the ledger said, if it is that the ledger said no.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Failure::Ledger(error) => error.refusal(),
            _ => None,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok((report, sound)) => {
            // A reader that has gone away (`| head`) changes nothing about the verdict.
            let _ = std::io::stdout().write_all(report.as_bytes());
            if sound {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(1)
            }
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(if matches!(failure, Failure::Broken(_)) {
                1
            } else {
                2
            })
        }
    }
}

/// The report, and whether every credit is accounted for.
async fn run(options: &Options) -> Result<(String, bool), Failure> {
    let trace = trace::load(options.input.as_deref(), options.jobs, options.seed)?;
    // Deleted when it is dropped, whichever way this function ends.
    let folder = tempfile::tempdir().map_err(|e| {
        Failure::Unusable(format!(
            "can't make a temporary folder: {e}; set TMPDIR to another place"
        ))
    })?;
    let url = match &options.database {
        Some(url) => url.clone(),
        None => format!("sqlite:///{}", folder.path().join("replay.db").display()),
    };
    let clock = ManualClock::starting_at(trace.start());
    let ledger = open(&url, options, clock.clone()).await?;
    let result = replay(options, &ledger, clock, trace).await;
    ledger.close().await;
    result
}

/// Connects, makes the tables, and makes sure that nobody's real books are replayed into.
async fn open(url: &str, options: &Options, clock: ManualClock) -> Result<Ledger, Failure> {
    let mut settings = Settings::new(url).clock(clock);
    if let Some(schema) = &options.schema {
        settings = settings.schema(schema);
    }
    let ledger = settings.connect().await?;
    ledger.migrate().await?;
    if !ledger.trial_balance().await?.counter_accounts.is_empty() {
        ledger.close().await;
        let problem =
            "the database has books in it already; name an empty one with --database (or a new --schema)";
        return Err(Failure::Unusable(problem.into()));
    }
    Ok(ledger)
}

async fn replay(
    options: &Options,
    ledger: &Ledger,
    clock: ManualClock,
    trace: trace::Trace,
) -> Result<(String, bool), Failure> {
    let (start, end) = (trace.start(), trace.end());
    let jobs = trace.rows.len();
    let stage = Stage::new(clock, end, options.concurrency, options.speed);
    let progress = progress(options, jobs);
    let product = Product::open(ledger.clone(), stage, options.accounts, options.seed, progress).await?;
    let product = Arc::new(product);

    // Who comes when: everybody at the start, to buy a first package; the housekeeping; then the trace, row by row.
    let openings = (0..product.customers.len()).map(|n| (start, Visit::Opening(n)));
    let housekeeping = std::iter::once((start, Visit::Housekeeping));
    let rows = (1..)
        .zip(trace.rows)
        .map(|(n, row)| (row.at, Visit::Job(product.plan(n, &row))));
    let began = Instant::now();
    product
        .stage
        .play(openings.chain(housekeeping).chain(rows), |visit, turn| {
            Arc::clone(&product).serve(visit, turn)
        })
        .await?;
    let took = began.elapsed();
    product.progress.finish_and_clear();

    // Nothing below depends on this: it only writes down what has been true since each deadline passed.
    product.sweep().await?;
    let audit = Audit::of(&product, jobs, options.concurrency as usize).await?;
    let head = Head {
        source: trace.source,
        start,
        end,
        took,
    };
    Ok((
        report::text(options, &head, &product, &audit),
        audit.faults.is_empty(),
    ))
}

/// On stderr, and only where somebody looks at it.
fn progress(options: &Options, jobs: usize) -> ProgressBar {
    if options.quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(jobs as u64);
    let template = "{elapsed} [{bar:40}] {human_pos}/{human_len} jobs, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}
