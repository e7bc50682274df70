//! What the ledger is measured against on PostgreSQL, for `scripts/bench`: the same rows without the rules.
//!
//! - `rows`: what accepted `consume`s write, written bare: one statement over arrays for 500 operations, no reads, no
//!   checks, no hashing, nothing that could be refused. The contents have the shape of a real entry of the journal.
//! - `function`: one caller and one PL/pgSQL function that does all that a `consume` does (`consume_function.sql`).
//!
//! Both want a schema with accounts, as `load --setup` makes it, and print one JSON object.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]
#![allow(missing_docs, clippy::disallowed_methods)]

use clap::{Parser, ValueEnum};
use jointo_credits::Timestamp;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime};
use uuid::Uuid;

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Work {
    Rows,
    Function,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Shape {
    /// One statement with four parts.
    One,
    /// A statement for each table, all in one transaction.
    Transaction,
    /// A statement for each table, each in autocommit.
    Four,
}

#[derive(Parser, Clone)]
struct Options {
    #[arg(long)]
    database: String,
    #[arg(long, default_value = "public")]
    schema: String,
    #[arg(long, value_enum, default_value = "rows")]
    work: Work,
    /// For `rows`.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// For `rows`: operations in one statement.
    #[arg(long, default_value_t = 500)]
    operations: usize,
    /// For `rows`.
    #[arg(long, value_enum, default_value = "one")]
    shape: Shape,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warm_up: f64,
    #[arg(long)]
    bench: bool,
}

impl Options {
    /// The sessions are set up like those of the ledger's own committers.
    async fn connect(&self) -> PgConnection {
        PgConnectOptions::from_str(&self.database)
            .unwrap()
            .log_statements(log::LevelFilter::Off)
            .log_slow_statements(log::LevelFilter::Off, Duration::MAX)
            .options([
                ("search_path", self.schema.as_str()),
                ("jit", "off"),
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
            ])
            .connect()
            .await
            .unwrap()
    }
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_micros() as i64
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..4).flat_map(|_| self.next().to_be_bytes()).collect()
    }
}

struct Account {
    user_id: Uuid,
    lot_id: Uuid,
    seq: i64,
    available: i64,
    held: i64,
    remaining: i64,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    match options.work {
        Work::Rows => rows(options).await,
        Work::Function => function(options).await,
    }
}

// --- rows -----------------------------------------------------------------------------------------------------------

const ACCOUNTS: &str = "UPDATE credit_accounts a SET seq = u.seq, hash = u.hash, available = u.available, \
     held = u.held, updated_at = u.at \
     FROM unnest($1::uuid[], $2::int8[], $3::bytea[], $4::int8[], $5::int8[], $6::timestamptz[]) \
     AS u(user_id, seq, hash, available, held, at) WHERE a.user_id = u.user_id";
const LOTS: &str = "UPDATE credit_lots l SET remaining = u.remaining FROM unnest($1::uuid[], $2::uuid[], $3::int8[]) \
     AS u(user_id, lot_id, remaining) WHERE l.user_id = u.user_id AND l.lot_id = u.lot_id";
const LOGS: &str = "INSERT INTO credit_consumption_logs (consumption_id, user_id, status, amount, captured, reversed, \
     borrowed, lot_ids, lot_amounts, feature, created_at, expires_at, updated_at) \
     SELECT u.id, u.user_id, 'pending', 7, 0, 0, 0, ARRAY[u.lot_id], '{7}'::int8[], 'text_processing', u.at, \
     u.at + interval '1 hour', u.at FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) \
     AS u(id, user_id, lot_id, at)";
const ENTRIES: &str = "INSERT INTO credit_transactions (user_id, seq, kind, change, held_change, available, held, \
     counter_account, consumption_id, idempotency_key, request_hash, data, created_at, hash) \
     SELECT u.user_id, u.seq, 'consume', -7, 7, u.available, u.held, 'held', u.id, u.key, u.request, u.data, u.at, \
     u.hash FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::uuid[], $6::text[], $7::bytea[], \
     $8::text[], $9::timestamptz[], $10::bytea[]) \
     AS u(user_id, seq, available, held, id, key, request, data, at, hash)";

/// All four at once, in the one transaction that a statement is; every array travels once.
const ALL: &str = "WITH accounts AS (UPDATE credit_accounts a SET seq = u.seq, hash = u.hash, \
     available = u.available, held = u.held, updated_at = u.at \
     FROM unnest($1::uuid[], $2::int8[], $10::bytea[], $3::int8[], $4::int8[], $9::timestamptz[]) \
     AS u(user_id, seq, hash, available, held, at) WHERE a.user_id = u.user_id), \
     lots AS (UPDATE credit_lots l SET remaining = u.remaining FROM unnest($1::uuid[], $11::uuid[], $12::int8[]) \
     AS u(user_id, lot_id, remaining) WHERE l.user_id = u.user_id AND l.lot_id = u.lot_id), \
     logs AS (INSERT INTO credit_consumption_logs (consumption_id, user_id, status, amount, captured, reversed, \
     borrowed, lot_ids, lot_amounts, feature, created_at, expires_at, updated_at) \
     SELECT u.id, u.user_id, 'pending', 7, 0, 0, 0, ARRAY[u.lot_id], '{7}'::int8[], 'text_processing', u.at, \
     u.at + interval '1 hour', u.at FROM unnest($5::uuid[], $1::uuid[], $11::uuid[], $9::timestamptz[]) \
     AS u(id, user_id, lot_id, at)) \
     INSERT INTO credit_transactions (user_id, seq, kind, change, held_change, available, held, \
     counter_account, consumption_id, idempotency_key, request_hash, data, created_at, hash) \
     SELECT u.user_id, u.seq, 'consume', -7, 7, u.available, u.held, 'held', u.id, u.key, u.request, u.data, u.at, \
     u.hash FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::uuid[], $6::text[], $7::bytea[], \
     $8::text[], $9::timestamptz[], $10::bytea[]) \
     AS u(user_id, seq, available, held, id, key, request, data, at, hash)";

/// The rows of one statement, by column.
#[derive(Default)]
struct Columns {
    user_id: Vec<Uuid>,
    lot_id: Vec<Uuid>,
    seq: Vec<i64>,
    available: Vec<i64>,
    held: Vec<i64>,
    remaining: Vec<i64>,
    id: Vec<Uuid>,
    key: Vec<String>,
    request: Vec<Vec<u8>>,
    data: Vec<String>,
    at: Vec<Timestamp>,
    hash: Vec<Vec<u8>>,
}

/// The `data` of a real entry with the lot's id cut out.
#[derive(Clone)]
struct Template(Vec<String>);

impl Template {
    async fn read(connection: &mut PgConnection) -> Self {
        let row = sqlx::query(
            "SELECT e.data, h.lot_ids[1] FROM credit_transactions e JOIN credit_consumption_logs h \
             USING (consumption_id) WHERE e.kind = 'consume' LIMIT 1",
        )
        .fetch_one(connection)
        .await
        .expect("no entry to take as an example; run `load --setup` first");
        let data: String = row.get(0);
        let lot = row.get::<Uuid, _>(1).to_string();
        Template(data.split(&lot).map(str::to_owned).collect())
    }
}

async fn rows(options: Options) {
    let mut connection = options.connect().await;
    let template = Template::read(&mut connection).await;
    let mut shares: Vec<Vec<Account>> = (0..options.connections).map(|_| Vec::new()).collect();
    let all = sqlx::query(
        "SELECT a.user_id, l.lot_id, a.seq, a.available, a.held, l.remaining FROM credit_accounts a \
         JOIN credit_lots l USING (user_id) WHERE l.open ORDER BY md5(a.user_id::text)",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for (n, row) in all.iter().enumerate() {
        shares[n % options.connections].push(Account {
            user_id: row.get(0),
            lot_id: row.get(1),
            seq: row.get(2),
            available: row.get(3),
            held: row.get(4),
            remaining: row.get(5),
        });
    }
    connection.close().await.unwrap();
    let begin = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = begin + Duration::from_secs_f64(options.seconds);
    let mut writers = tokio::task::JoinSet::new();
    for (number, accounts) in shares.into_iter().enumerate() {
        let (options, template) = (options.clone(), template.clone());
        writers.spawn(async move { write(options, template, accounts, number as u64, begin, end).await });
    }
    let done: u64 = writers.join_all().await.iter().sum();
    println!("{{\"per_second\": {:.0}}}", done as f64 / options.seconds);
}

async fn write(
    options: Options,
    template: Template,
    mut accounts: Vec<Account>,
    number: u64,
    begin: Instant,
    end: Instant,
) -> u64 {
    let mut connection = options.connect().await;
    let mut random = Random((number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut done = 0;
    let mut next = 0;
    for block in 0u64.. {
        let before = Instant::now();
        if before >= end {
            break;
        }
        let mut c = Columns::default();
        let at = now();
        for n in 0..options.operations.min(accounts.len()) {
            let account = &mut accounts[next];
            account.seq += 1;
            account.available -= 7;
            account.held += 7;
            account.remaining -= 7;
            c.user_id.push(account.user_id);
            c.lot_id.push(account.lot_id);
            c.seq.push(account.seq);
            c.available.push(account.available);
            c.held.push(account.held);
            c.remaining.push(account.remaining);
            let high = ((at as u64 / 1000) << 16) | 0x7000 | (account.seq as u64 & 0xFFF);
            c.id.push(Uuid::from_u64_pair(high, random.next() >> 2 | 1 << 63));
            c.key.push(format!("run-{number}-{block}-{n}"));
            c.request.push(random.bytes());
            c.data.push(template.0.join(&account.lot_id.to_string()));
            c.at.push(Timestamp::from_micros(at));
            c.hash.push(random.bytes());
            next += 1;
            if next == accounts.len() {
                next = 0;
            }
        }
        let written = c.user_id.len() as u64;
        execute(&mut connection, options.shape, &c).await;
        if (begin..=end).contains(&Instant::now()) {
            done += written;
        }
    }
    connection.close().await.unwrap();
    done
}

async fn execute(connection: &mut PgConnection, shape: Shape, c: &Columns) {
    if shape == Shape::One {
        entries(ALL, c)
            .bind(&c.lot_id)
            .bind(&c.remaining)
            .execute(connection)
            .await
            .unwrap();
        return;
    }
    if shape == Shape::Transaction {
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await.unwrap();
    }
    sqlx::query(ACCOUNTS)
        .bind(&c.user_id)
        .bind(&c.seq)
        .bind(&c.hash)
        .bind(&c.available)
        .bind(&c.held)
        .bind(&c.at)
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query(LOTS)
        .bind(&c.user_id)
        .bind(&c.lot_id)
        .bind(&c.remaining)
        .execute(&mut *connection)
        .await
        .unwrap();
    sqlx::query(LOGS)
        .bind(&c.id)
        .bind(&c.user_id)
        .bind(&c.lot_id)
        .bind(&c.at)
        .execute(&mut *connection)
        .await
        .unwrap();
    entries(ENTRIES, c).execute(&mut *connection).await.unwrap();
    if shape == Shape::Transaction {
        sqlx::raw_sql("COMMIT").execute(&mut *connection).await.unwrap();
    }
}

fn entries<'c>(
    text: &'static str,
    c: &'c Columns,
) -> sqlx::query::Query<'c, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(text)
        .bind(&c.user_id)
        .bind(&c.seq)
        .bind(&c.available)
        .bind(&c.held)
        .bind(&c.id)
        .bind(&c.key)
        .bind(&c.request)
        .bind(&c.data)
        .bind(&c.at)
        .bind(&c.hash)
}

// --- function -------------------------------------------------------------------------------------------------------

async fn function(options: Options) {
    let mut connection = options.connect().await;
    sqlx::raw_sql(AssertSqlSafe(include_str!("consume_function.sql")))
        .execute(&mut connection)
        .await
        .unwrap();
    let accounts: Vec<Uuid> = sqlx::query_scalar("SELECT user_id FROM credit_accounts")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let begin = Instant::now() + Duration::from_secs_f64(options.warm_up);
    let end = begin + Duration::from_secs_f64(options.seconds);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut latencies = Vec::new();
    for n in 0u64.. {
        let before = Instant::now();
        if before >= end {
            break;
        }
        let key = format!("run-0-0-{n}");
        let _: Uuid = sqlx::query_scalar("SELECT bench_consume($1, $2, $3, $4, $5)")
            .bind(accounts[random.next() as usize % accounts.len()])
            .bind(7i64)
            .bind("text_processing")
            .bind(&key)
            .bind(&key.as_bytes().repeat(4)[..32]) // The ledger hashes the request; the function gets that for free.
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let after = Instant::now();
        if (begin..=end).contains(&after) {
            latencies.push((after - before).as_micros() as u64);
        }
    }
    latencies.sort_unstable();
    let at = |q: f64| {
        latencies
            .get((latencies.len() as f64 * q) as usize)
            .copied()
            .unwrap_or(0)
    };
    println!(
        "{{\"per_second\": {:.0}, \"p50_us\": {}, \"p99_us\": {}}}",
        latencies.len() as f64 / options.seconds,
        at(0.5),
        at(0.99)
    );
    connection.close().await.unwrap();
}
