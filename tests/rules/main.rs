//! The rules of `design.md`, section 2: one module for each, as readable tables (`tests/support/script.rs` says how to
//! read them). Each table runs on the pure rules, and the auditor agrees with every line of it.
//!
//! What rivals' users report and the rules can prevent has a test that names it, `rival_<product>_<issue>_...`. Those
//! that need a database, a process that dies, or true concurrency belong elsewhere:
//!
//! * crash between amount and status, a lost reservation (new-api #5556, #4429): the stores' fault injection. Here,
//!   amount and status are one entry.
//! * retries after a timeout, twice in one batch (midaz #2279, #2485, formance stack #1633): the engine. Here, the same
//!   key never counts twice.
//! * 50 spends at once that pass one check (new-api #5690, litellm #34732, one-api #2440): the engine and the stores.
//!   Here, the check and the hold are one decision.
//! * payment callbacks (lago-api #5870, #3703, new-api #4830), prices that round to zero (openmeter #5083): payments and
//!   pricing.
//! * deadlocks, hot accounts, query plans (cala #532, #684, #776, #835): the stores and the benchmarks.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../support"]
mod support {
    #![allow(dead_code, reason = "each test crate uses its part")]
    pub mod auditor;
    pub mod render;
    pub mod script;
    pub mod subject;
}

mod burn_order;
mod clawback;
mod confirm;
mod credit_limit;
mod hold_at_consume;
mod idempotency;
mod journal;
mod lazy_deadlines;
mod limits;
mod lot_expires_while_held;
mod one_instant;
mod orders;
mod priced;
mod refund;
mod refusals;

use jointo_credits::Timestamp;
use jointo_credits::ledger::{Balance, Command, Consumption, Lot, Outcome, Refusal, Rules, Target};
use support::auditor::Auditor;
use support::subject::{PureSubject, Subject};
use uuid::Uuid;

/// The pure rules, every answer of which the auditor must agree with.
struct Audited {
    ledger: PureSubject,
    auditor: Auditor,
}

impl Subject for Audited {
    fn run(&mut self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
        let answer = self.ledger.run(command, now);
        let user_id = match (command.target(), &answer) {
            (Target::Account(user_id), _) => Some(user_id),
            (_, Ok(Outcome::Consumption(c))) => Some(c.user_id),
            _ => None,
        };
        let lots = user_id.and_then(|user_id| self.ledger.lots(user_id));
        if let Err(problem) = self.auditor.check(command, now, &answer, lots.as_deref()) {
            panic!("the auditor does not agree: {command:?}\n{problem}");
        }
        answer
    }

    fn balance(&mut self, user_id: Uuid, now: Timestamp) -> Balance {
        let balance = self.ledger.balance(user_id, now);
        if let Err(problem) = self.auditor.check_balance(&balance, now) {
            panic!("the auditor does not agree: {problem}");
        }
        balance
    }

    fn consumption(&mut self, consumption_id: Uuid, now: Timestamp) -> Option<Consumption> {
        let consumption = self.ledger.consumption(consumption_id, now);
        if let Err(problem) = self
            .auditor
            .check_consumption(consumption_id, consumption.as_ref(), now)
        {
            panic!("the auditor does not agree: {problem}");
        }
        consumption
    }

    fn lots(&mut self, user_id: Uuid) -> Option<Vec<Lot>> {
        self.ledger.lots(user_id)
    }
}

/// Runs a table.
fn check(script: &str) {
    support::script::run(script, &mut |rules| {
        Box::new(Audited {
            ledger: PureSubject::new(rules),
            auditor: Auditor::new(rules),
        })
    });
}

/// Runs a table on the pure rules and returns what they wrote.
fn books(script: &str) -> PureSubject {
    /// Keeps the subject where the test can take it from.
    struct Lent(std::rc::Rc<std::cell::RefCell<PureSubject>>);

    impl Subject for Lent {
        fn run(&mut self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
            self.0.borrow_mut().run(command, now)
        }

        fn balance(&mut self, user_id: Uuid, now: Timestamp) -> Balance {
            self.0.borrow_mut().balance(user_id, now)
        }

        fn consumption(&mut self, consumption_id: Uuid, now: Timestamp) -> Option<Consumption> {
            self.0.borrow_mut().consumption(consumption_id, now)
        }
    }

    let kept = std::rc::Rc::new(std::cell::RefCell::new(PureSubject::new(Rules::default())));
    support::script::run(script, &mut |rules| {
        *kept.borrow_mut() = PureSubject::new(rules);
        Box::new(Lent(kept.clone()))
    });
    kept.replace(PureSubject::new(Rules::default()))
}
