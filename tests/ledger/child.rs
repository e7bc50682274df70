//! Tests that need another process start this very program again, with one ignored test selected: [`main`].

use crate::database::Database;
use crate::prices::video;
use jointo_credits::{
    Adjust, Clawback, Confirm, Consume, Error, Extend, Gift, Grant, Ledger, ManualClock, Overage,
    PricedConfirm, PricedConsume, Refund, SetPricing, Settings, Source, Usage,
};
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use uuid::Uuid;

pub const ALICE: Uuid = Uuid::from_u128(0xA11CE);

const ROLE: &str = "JOINTO_CREDITS_TEST_CHILD";
const URL: &str = "JOINTO_CREDITS_TEST_CHILD_URL";
const NUMBER: &str = "JOINTO_CREDITS_TEST_CHILD_NUMBER";
const REDIS: &str = "JOINTO_CREDITS_TEST_CHILD_REDIS";

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Role {
    /// Twenty consumes of 75 at once, from [`ALICE`].
    Twenty,
    /// All commands, mixed, on ten accounts.
    Mixed,
    /// Consumes and more until it is killed; says what was acknowledged.
    Endless,
    /// What it is asked to: see [`about_prices`].
    Prices,
    /// Cleans up into the archive that it is told of, when most of what there is is old.
    CleanUp,
    /// Makes anchors, and what they are of, until it is killed.
    Anchors,
    /// What it is asked to, with a cache in the Redis that it is told of: see [`crate::cache::about_balances`].
    Balances,
}

pub struct Running {
    pub child: Child,
    pub lines: Lines<BufReader<ChildStdout>>,
}

/// Starts a child. It says `ready` and waits for a line on its standard input, so that several begin together.
pub async fn start(role: Role, database: &Database, number: u64) -> Running {
    start_with_cache(role, database, number, None).await
}

/// The same, with a cache in Redis.
pub async fn start_with_cache(role: Role, database: &Database, number: u64, redis: Option<&str>) -> Running {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .envs(redis.map(|url| (REDIS, url)))
        .args([
            "child::main",
            "--exact",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, format!("{role:?}"))
        .env(URL, &database.url)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut running = Running { child, lines };
    running.until("ready").await;
    running
}

impl Running {
    pub async fn until(&mut self, word: &str) -> Vec<String> {
        let mut before = Vec::new();
        loop {
            let line = self
                .lines
                .next_line()
                .await
                .unwrap()
                .expect("the child ended early");
            if line.ends_with(word) {
                return before;
            }
            before.push(line);
        }
    }

    pub fn go(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Tells it something that it begins with.
    pub async fn tell(&mut self, what: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{what}\n").as_bytes()).await.unwrap();
    }

    /// Has it do something, and returns what it answers.
    pub async fn ask(&mut self, what: &str) -> String {
        self.tell(what).await;
        self.lines
            .next_line()
            .await
            .unwrap()
            .expect("the child ended early")
    }

    /// Everything it says until it ends.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            lines.push(line);
        }
        lines
    }
}

#[allow(clippy::disallowed_methods)] // How the parent says what to do.
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn say(line: std::fmt::Arguments<'_>) {
    // One write, so that a kill never leaves half a line that looks like a whole one.
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

/// A line from the parent; empty where it has nothing more to say.
async fn heard() -> String {
    let line = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    line.await.unwrap().unwrap().trim_end().to_owned()
}

#[ignore = "started by other tests as a process of its own"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let Some(role) = told(ROLE) else { return };
    let number: u64 = told(NUMBER).unwrap().parse().unwrap();
    let patience = Duration::from_secs(60);
    let mut settings = Settings::new(told(URL).unwrap())
        .max_connections(2)
        .patience(patience)
        .connect_timeout(patience);
    if role == "CleanUp" {
        settings = settings.clock(ManualClock::starting_at(crate::retention::LATER));
    }
    #[cfg(feature = "redis")]
    if let Some(redis) = told(REDIS) {
        settings = settings.cache(crate::cache::in_redis(redis));
    }
    let ledger = settings.connect().await.unwrap();
    say(format_args!("ready"));
    let first = heard().await;
    match role.as_str() {
        "Twenty" => twenty(&ledger, number).await,
        // Eight of these are 12,800 commands on ten accounts: every kind of command meets every other, many times.
        "Mixed" => mixed(&ledger, number, 100, 16).await,
        "Endless" => endless(&ledger, number).await,
        "Prices" => prices(&ledger).await,
        "Balances" => {
            let mut what = first;
            while !what.is_empty() {
                say(format_args!(
                    "{}",
                    crate::cache::about_balances(&ledger, &what).await
                ));
                what = heard().await;
            }
        }
        "CleanUp" => crate::retention::clean_up(&ledger, first.as_ref()).await,
        "Anchors" => loop {
            let granted = ledger
                .grant(Grant::new(account(number), 1, Source::Bonus), None)
                .await;
            granted.unwrap();
            crate::tampering::anchor(&ledger).await;
            say(format_args!("anchored"));
        },
        other => panic!("no role {other}"),
    }
    ledger.close().await;
    say(format_args!("done"));
}

async fn twenty(ledger: &Ledger, number: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            match ledger
                .consume(Consume::new(ALICE, 75), Some(&format!("{number}-{n}")))
                .await
            {
                Ok(hold) => say(format_args!("granted {}", hold.id)),
                Err(Error::Refused(refusal)) => say(format_args!("refused {}", refusal.code())),
                Err(other) => say(format_args!("failed {other}")),
            }
        });
    }
    tasks.join_all().await;
}

/// A small generator: the same numbers for the same seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

pub fn account(n: u64) -> Uuid {
    Uuid::from_u128(0xACC0_0000 + u128::from(n))
}

/// Every command, at random, by `tasks` tasks of `steps` steps each, on ten accounts.
pub async fn mixed(ledger: &Ledger, number: u64, steps: u64, tasks: u64) {
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let ledger = ledger.clone();
        running.spawn(async move {
            let mut dice = Dice::new(number * 1_000 + task);
            let mut holds: Vec<Uuid> = Vec::new();
            let mut lots: Vec<(Uuid, Uuid)> = Vec::new();
            for step in 0..steps {
                let user = account(dice.roll(10));
                let key = format!("{number}-{task}-{}", step / 2); // Half of the keys come twice.
                let hold = holds.get(dice.roll(holds.len().max(1) as u64) as usize).copied();
                let amount = dice.roll(50) as i64 + 1;
                let result = match (dice.roll(40), hold) {
                    (0, _) => ledger
                        .grant(Grant::new(user, amount, Source::Purchase), Some(&key))
                        .await
                        .map(|r| {
                            lots.push((user, r.lot.unwrap().lot_id));
                        }),
                    (1, _) => ledger
                        .gift(Gift::new(user, amount, "welcome"), None)
                        .await
                        .map(drop),
                    (2 | 3, Some(id)) => ledger
                        .extend(Extend::new(id, Duration::from_secs(5)), None)
                        .await
                        .map(drop),
                    (4, _) => ledger
                        .adjust(Adjust::new(user, -amount, "correction"), None)
                        .await
                        .map(drop),
                    (5..=9, Some(id)) => ledger.refund(Refund::all(id), None).await.map(drop),
                    (10..=20, Some(id)) => {
                        let confirm = Confirm::amount(id, amount).overage(Overage::Available);
                        ledger.confirm(confirm, None).await.map(drop)
                    }
                    (21, _) if !lots.is_empty() => {
                        let (user, lot) = lots.remove(0);
                        ledger
                            .clawback(Clawback::all(user, lot).amount(1), None)
                            .await
                            .map(drop)
                    }
                    _ => ledger
                        .consume(
                            Consume::new(user, amount).ttl(Duration::from_secs(1 + dice.roll(3))),
                            Some(&key),
                        )
                        .await
                        .map(|hold| holds.push(hold.id)),
                };
                if let Err(error @ Error::Unavailable { .. }) = result {
                    panic!("{error}");
                }
            }
        });
    }
    running.join_all().await;
}

/// How many callers an endless child has.
pub const ENDLESS_CALLERS: u64 = 16;

/// What caller `caller` of child `number` asks for in step `n`: always the same.
pub fn endless_step(number: u64, caller: u64, n: u64) -> (Consume, String) {
    let amount = (caller * 7 + n * 3) % 11 + 1;
    let user = account((caller + n) % 10);
    (
        Consume::new(user, amount as i64).ttl(Duration::from_secs(3600 * 24)),
        format!("{number}-{caller}-{n}"),
    )
}

async fn endless(ledger: &Ledger, number: u64) {
    let mut running = tokio::task::JoinSet::new();
    for caller in 0..ENDLESS_CALLERS {
        let ledger = ledger.clone();
        running.spawn(async move {
            for n in 0u64.. {
                let (consume, key) = endless_step(number, caller, n);
                let hold = ledger.consume(consume, Some(&key)).await.unwrap();
                say(format_args!("ack {caller} {n} {}", hold.id));
            }
        });
    }
    running.join_all().await;
}

/// What a process can be asked about the price of [`video`]; parent and child both do it through this.
///
/// `set RATE`, `price SECONDS`, `hold SECONDS` (for [`ALICE`]) and `confirm ID SECONDS` answer with a number of credits;
/// `hold` says the hold's id first.
pub async fn about_prices(ledger: &Ledger, what: &str) -> String {
    let words: Vec<&str> = what.split(' ').collect();
    let number = |n: usize| -> i64 { words[n].parse().unwrap() };
    match words[0] {
        "set" => {
            ledger
                .set_pricing(SetPricing::new(video(words[1])))
                .await
                .unwrap();
            words[1].to_owned()
        }
        "price" => {
            let usage = Usage::of("video").quantity(number(1));
            let quote = ledger.calculate(&usage, Some(ALICE)).await.unwrap();
            quote.credits().to_string()
        }
        "hold" => {
            let usage = Usage::of("video").quantity(number(1));
            let hold = ledger
                .consume_priced(PricedConsume::new(ALICE, usage), None)
                .await
                .unwrap();
            format!("{} {}", hold.id, hold.amount)
        }
        "confirm" => {
            let used = PricedConfirm::quantity(words[1].parse().unwrap(), number(2));
            let done = ledger
                .confirm_priced(used.overage(Overage::Available), None)
                .await
                .unwrap();
            done.captured.to_string()
        }
        other => panic!("no such thing to do: {other}"),
    }
}

async fn prices(ledger: &Ledger) {
    loop {
        let what = heard().await;
        if what.is_empty() {
            break;
        }
        say(format_args!("{}", about_prices(ledger, &what).await));
    }
}
