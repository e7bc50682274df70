//! The tables of `tests/rules` once more, through the facade on every database: what the pure rules say is what a
//! program is told.

use crate::database::{Database, Kind};
use crate::model::{by_rules, refusal};
use crate::script;
use crate::subject::Subject;
use jointo_credits::ledger::{Balance, Command, Consumption, Outcome, Refusal, Rules};
use jointo_credits::{Ledger, ManualClock, Timestamp};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::runtime::Runtime;
use uuid::Uuid;

#[path = "../rules/burn_order.rs"]
mod burn_order;
#[path = "../rules/clawback.rs"]
mod clawback;
#[path = "../rules/confirm.rs"]
mod confirm;
#[path = "../rules/credit_limit.rs"]
mod credit_limit;
#[path = "../rules/hold_at_consume.rs"]
mod hold_at_consume;
#[path = "../rules/idempotency.rs"]
mod idempotency;
#[path = "../rules/lazy_deadlines.rs"]
mod lazy_deadlines;
#[path = "../rules/limits.rs"]
mod limits;
#[path = "../rules/lot_expires_while_held.rs"]
mod lot_expires_while_held;
#[path = "../rules/one_instant.rs"]
mod one_instant;
#[path = "../rules/refund.rs"]
mod refund;
#[path = "../rules/refusals.rs"]
mod refusals;

/// A ledger with a clock of its own, which a table sets line by line.
struct Facade {
    kind: Kind,
    ledger: Ledger,
    clock: ManualClock,
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

impl Facade {
    fn open(database: &Database, rules: Rules) -> Self {
        let clock = ManualClock::starting_at(script::EPOCH);
        let settings = by_rules(database.settings().clock(clock.clone()), &rules);
        Facade {
            kind: database.kind,
            ledger: runtime().block_on(database.open(settings)),
            clock,
        }
    }
}

impl Subject for Facade {
    fn run(&mut self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
        self.clock.set(now);
        runtime()
            .block_on(self.ledger.run(command.clone()))
            .map_err(|error| refusal(error, self.kind))
    }

    fn balance(&mut self, user_id: Uuid, now: Timestamp) -> Balance {
        self.clock.set(now);
        runtime().block_on(self.ledger.balance(user_id)).unwrap()
    }

    fn consumption(&mut self, consumption_id: Uuid, now: Timestamp) -> Option<Consumption> {
        self.clock.set(now);
        match runtime().block_on(self.ledger.get_consumption(consumption_id)) {
            Ok(consumption) => Some(consumption),
            Err(error) => {
                assert_eq!(refusal(error, self.kind).code(), "not_found");
                None
            }
        }
    }
}

impl Drop for Facade {
    fn drop(&mut self) {
        runtime().block_on(self.ledger.close());
    }
}

/// Runs a table on every kind of database. Those on PostgreSQL share one, with accounts of their own: making a database
/// takes longer than a table.
pub fn check(table: &str) {
    static POSTGRES: OnceLock<Database> = OnceLock::new();
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let postgres = POSTGRES.get_or_init(|| runtime().block_on(Database::fresh(Kind::Postgres)));
    for kind in [Kind::Memory, Kind::SqliteMemory] {
        let database = runtime().block_on(Database::fresh(kind));
        script::run(table, &mut |rules| Box::new(Facade::open(&database, rules)));
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    script::run_apart(table, number, &mut |rules| {
        Box::new(Facade::open(postgres, rules))
    });
}
