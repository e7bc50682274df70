//! What the ledger is measured against on SQLite, for `scripts/bench`: the same rows without the rules.
//!
//! What accepted `consume`s write, written bare through prepared statements: no reads, no checks, no hashing, nothing
//! that could be refused. Wants a file with accounts, as `load --setup` makes it, and prints one JSON object.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(missing_docs, clippy::disallowed_methods)]

use clap::Parser;
use rusqlite::{Connection, params};
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    file: std::path::PathBuf,
    /// Operations in one transaction.
    #[arg(long, default_value_t = 64)]
    operations: usize,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[arg(long)]
    bench: bool,
}

struct Account {
    user_id: Uuid,
    lot_id: Uuid,
    seq: i64,
    available: i64,
    held: i64,
    remaining: i64,
}

fn uuid(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    Ok(Uuid::from_slice(row.get_ref(column)?.as_blob().unwrap()).unwrap())
}

fn main() {
    let options = Options::parse();
    let connection = Connection::open(&options.file).unwrap();
    // Durable like the ledger's own connection, with the same cache.
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    connection.pragma_update(None, "fullfsync", true).unwrap();
    connection.pragma_update(None, "cache_size", -65_536).unwrap();
    let (example, lot, pins): (String, Uuid, String) = connection
        .query_row(
            "SELECT e.data, l.lot_id, h.pins FROM credit_transactions e \
             JOIN credit_consumption_logs h USING (consumption_id) JOIN credit_lots l ON l.user_id = e.user_id \
             WHERE e.kind = 'consume' LIMIT 1",
            [],
            |row| Ok((row.get(0)?, uuid(row, 1)?, row.get(2)?)),
        )
        .expect("no entry to take as an example; run `load --setup` first");
    let around = |text: &str| {
        text.split(&lot.to_string())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (example, pins) = (around(&example), around(&pins));
    let mut accounts: Vec<Account> = connection
        .prepare(
            "SELECT a.user_id, l.lot_id, a.seq, a.available, a.held, l.remaining FROM credit_accounts a \
             JOIN credit_lots l USING (user_id) WHERE l.open = 1",
        )
        .unwrap()
        .query_map([], |row| {
            Ok(Account {
                user_id: uuid(row, 0)?,
                lot_id: uuid(row, 1)?,
                seq: row.get(2)?,
                available: row.get(3)?,
                held: row.get(4)?,
                remaining: row.get(5)?,
            })
        })
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut begin = connection.prepare("BEGIN IMMEDIATE").unwrap();
    let mut commit = connection.prepare("COMMIT").unwrap();
    let mut account = connection
        .prepare(
            "UPDATE credit_accounts SET seq = ?2, hash = ?3, available = ?4, held = ?5, updated_at = ?6 \
             WHERE user_id = ?1",
        )
        .unwrap();
    let mut lots = connection
        .prepare("UPDATE credit_lots SET remaining = ?3 WHERE user_id = ?1 AND lot_id = ?2")
        .unwrap();
    let mut log = connection
        .prepare(
            "INSERT INTO credit_consumption_logs (consumption_id, user_id, status, amount, captured, reversed, \
             borrowed, pins, feature, created_at, expires_at, updated_at) \
             VALUES (?1, ?2, 'pending', 7, 0, 0, 0, ?3, 'text_processing', ?4, ?5, ?4)",
        )
        .unwrap();
    let mut entry = connection
        .prepare(
            "INSERT INTO credit_transactions (user_id, seq, kind, change, held_change, available, held, \
             counter_account, consumption_id, idempotency_key, request_hash, data, created_at, hash) \
             VALUES (?1, ?2, 'consume', -7, 7, ?3, ?4, 'held', ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .unwrap();
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let start = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = start + Duration::from_secs_f64(options.seconds);
    let mut latencies = Vec::new();
    for block in 0u64.. {
        let before = Instant::now();
        if before >= end {
            break;
        }
        let at = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_micros() as i64;
        begin.execute([]).unwrap();
        for n in 0..options.operations {
            let number = random.next() as usize % accounts.len();
            let a = &mut accounts[number];
            a.seq += 1;
            a.available -= 7;
            a.held += 7;
            a.remaining -= 7;
            let (user, lot_id, hash, request) =
                (a.user_id.as_bytes(), a.lot_id, random.bytes(), random.bytes());
            let high = ((at as u64 / 1000) << 16) | 0x7000 | (a.seq as u64 & 0xFFF);
            let id = Uuid::from_u64_pair(high, random.next() >> 2 | 1 << 63);
            let text = lot_id.to_string();
            account
                .execute(params![user, a.seq, hash, a.available, a.held, at])
                .unwrap();
            lots.execute(params![user, lot_id.as_bytes(), a.remaining])
                .unwrap();
            log.execute(params![
                id.as_bytes(),
                user,
                pins.join(&text),
                at,
                at + 3_600_000_000
            ])
            .unwrap();
            entry
                .execute(params![
                    user,
                    a.seq,
                    a.available,
                    a.held,
                    id.as_bytes(),
                    format!("run-0-{block}-{n}"),
                    request,
                    example.join(&text),
                    at,
                    hash,
                ])
                .unwrap();
        }
        commit.execute([]).unwrap();
        let after = Instant::now();
        if (start..=end).contains(&after) {
            latencies.push((after - before).as_micros() as u64);
        }
    }
    latencies.sort_unstable();
    println!(
        "{{\"per_second\": {:.0}, \"p50_us\": {}}}",
        (latencies.len() * options.operations) as f64 / options.seconds,
        latencies.get(latencies.len() / 2).copied().unwrap_or(0)
    );
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes
            .chunks_mut(8)
            .for_each(|part| part.copy_from_slice(&self.next().to_be_bytes()));
        bytes
    }
}
