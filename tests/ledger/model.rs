//! The same random histories on every store and in the pure model: identical answers, identical states.

use crate::database::{Database, Kind};
use crate::history::{HOSTILE_KEYS, History, Rng, Step};
use crate::shop_auditor::ShopAuditor;
use crate::subject::{PureSubject, Subject};
use jointo_credits::ledger::{
    Action, Command, Order, OrderCommand, OrderNo, OrderPayment, OrderStatus, OrderStep, Rules, Target,
};
use jointo_credits::{Error, Ledger, ManualClock, Outcome, Refusal, Settings, Timestamp, Written};
use std::collections::BTreeMap;
use std::time::Duration;

/// How far the second process's clock is behind, in microseconds.
const BEHIND: i64 = 1_700_000;
/// What a clock shows that is far from any database's.
const ASTRAY: Timestamp = Timestamp::from_micros(4_000_000_000_000_000);

/// What histories have to be about, to be worth something.
const KINDS: [&str; 10] = [
    "a command by a clock that is behind the last entry",
    "a command by a clock beyond its bound",
    "a late payment of a closed order with a purchase limit, settled",
    "a late payment of an order whose time was over, with a purchase limit, settled",
    "a late payment of an order with a purchase limit, sent back",
    "a payment that has settled another order",
    "a hostile key, used first",
    "a hostile key, used again",
    "a key that is none",
    "an entry that continues another",
];

/// What was, before a command.
struct Before {
    last_entry: Option<Timestamp>,
    /// The order that it pays.
    order: Option<Order>,
}

impl Before {
    fn of(command: &Command, model: &PureSubject) -> Self {
        let state = match command.target() {
            Target::Account(user_id) => model.state(user_id),
            Target::Consumption(_) => None,
        };
        let order = match &command.action {
            Action::Order(order) => model.order(order.order_no),
            _ => None,
        };
        Before {
            last_entry: state.map(|state| state.account.updated_at),
            order,
        }
    }
}

fn payment(command: &Command) -> Option<&OrderPayment> {
    match &command.action {
        Action::Order(OrderCommand {
            step: OrderStep::Settle(payment),
            ..
        }) => Some(payment),
        _ => None,
    }
}

/// How often each of [`KINDS`] has occurred.
#[derive(Default)]
struct Seen {
    times: BTreeMap<&'static str, usize>,
    /// Which order a transaction has settled.
    paid: BTreeMap<String, OrderNo>,
}

impl Seen {
    fn note(&mut self, kind: &'static str) {
        assert!(KINDS.contains(&kind), "{kind}");
        *self.times.entry(kind).or_default() += 1;
    }

    fn command(&mut self, step: &Step, answer: &Result<Outcome, Refusal>, before: &Before) {
        let Step { command, now } = step;
        if answer.is_ok() && before.last_entry.is_some_and(|last| *now < last) {
            self.note("a command by a clock that is behind the last entry");
        }
        let hostile = |key: &str| HOSTILE_KEYS.contains(&key);
        match answer {
            Err(Refusal::Invalid {
                field: "idempotency_key",
                ..
            }) => self.note("a key that is none"),
            Err(Refusal::IdempotencyConflict { key }) if hostile(key) => {
                self.note("a hostile key, used again")
            }
            Ok(_) if command.idempotency_key.as_deref().is_some_and(hostile) => {
                self.note("a hostile key, used first");
            }
            _ => {}
        }
        let (Some(before), Some(payment)) = (&before.order, payment(command)) else {
            return;
        };
        let is_unpaid = before.state.transaction_id.is_none();
        let other = self
            .paid
            .get(&payment.transaction_id)
            .filter(|other| **other != before.order_no);
        if is_unpaid
            && other.is_some()
            && answer
                .as_ref()
                .is_err_and(|refusal| refusal.code() == "payment_verification")
        {
            self.note("a payment that has settled another order");
        }
        let Ok(Outcome::Order(after)) = answer else { return };
        self.paid.insert(payment.transaction_id.clone(), after.order_no);
        if !is_unpaid || before.purchase_limit.is_none() {
            return;
        }
        let was_closed = before.state.status == OrderStatus::Closed;
        match after.state.status {
            OrderStatus::Refunding if was_closed || before.expires_at <= *now => {
                self.note("a late payment of an order with a purchase limit, sent back");
            }
            OrderStatus::Paid if was_closed => {
                self.note("a late payment of a closed order with a purchase limit, settled");
            }
            OrderStatus::Paid if before.expires_at <= *now => {
                self.note("a late payment of an order whose time was over, with a purchase limit, settled");
            }
            _ => {}
        }
    }

    /// Fails where a history was about less than it should be.
    fn assert_all(&self) {
        let missing: Vec<_> = KINDS
            .iter()
            .filter(|kind| !self.times.contains_key(**kind))
            .collect();
        assert!(
            missing.is_empty(),
            "never occurred: {missing:#?}; {:#?}",
            self.times
        );
    }
}

/// Ledgers on one database, with a clock that the history moves. They stand for processes: each keeps accounts, and finds
/// them changed by the others. Each has a clock of its own: it is set for every command.
struct Store {
    database: Database,
    /// The one that runs the next command, and is read.
    ledger: Ledger,
    others: Vec<Ledger>,
    /// A process whose clock is wrong, and bound to the database's.
    astray: Option<Ledger>,
    clock: ManualClock,
}

impl Store {
    async fn open(kind: Kind, rules: &Rules, start: Timestamp, lots_first: Option<usize>) -> Self {
        let database = Database::fresh(kind).await;
        let clock = ManualClock::starting_at(start);
        let mut settings = by_rules(database.settings().clock(clock.clone()), rules);
        if let Some(lots) = lots_first {
            settings = settings.lots_first(lots);
        }
        let ledger = database.open(settings.clone()).await;
        let mut others = Vec::new();
        if !matches!(kind, Kind::Memory | Kind::SqliteMemory) {
            others.push(database.open(settings).await);
        }
        let mut astray = None;
        if kind == Kind::Postgres {
            let clock = ManualClock::starting_at(ASTRAY);
            let settings = by_rules(database.settings().clock(clock), rules);
            let bound = settings.max_clock_skew(Duration::from_secs(300));
            astray = Some(bound.connect().await.unwrap());
        }
        Store {
            database,
            ledger,
            others,
            astray,
            clock,
        }
    }

    /// A process whose clock is wrong tries the same, and does nothing.
    async fn go_astray(&self, command: &Command) -> bool {
        let Some(astray) = &self.astray else { return false };
        let answer = astray.run(command.clone()).await;
        let is_refused = matches!(
            &answer,
            Err(Error::Unavailable {
                outcome: Written::No,
                ..
            })
        );
        assert!(is_refused, "{command:?}: {answer:?}");
        true
    }

    /// Another process goes on.
    fn turn(&mut self) {
        self.others.push(self.ledger.clone());
        self.ledger = self.others.remove(0);
    }

    async fn run(&self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
        self.clock.set(now);
        self.ledger
            .run(command.clone())
            .await
            .map_err(|error| refusal(error, self.database.kind))
    }
}

/// The settings that make a ledger decide by `rules`.
pub fn by_rules(settings: Settings, rules: &Rules) -> Settings {
    settings
        .hold_ttl(rules.hold_ttl)
        .on_lot_expired_while_held(rules.on_lot_expired_while_held)
        .release_grace(rules.release_grace)
        .reversal_grace(rules.reversal_grace)
        .order_ttl(rules.order_ttl)
        .late_payment(rules.late_payment)
        .max_open_orders(rules.max_open_orders)
        .entry_room(rules.entry_room)
}

/// Nothing else is expected to go wrong.
pub fn refusal(error: Error, kind: Kind) -> Refusal {
    match error {
        Error::Refused(refusal) => refusal,
        other => panic!("{kind:?}: {other}"),
    }
}

/// `lots_first`: how many lots of an account are read, and a few more of them kept, until a command takes more.
async fn agree(seed: u64, steps: usize, lots_first: Option<usize>, seen: &mut Seen) {
    seen.paid.clear();
    let mut process = 0;
    let mut history = History::of_a_shop(seed);
    let (mut rng, mut turns) = (Rng::new(seed), Rng::new(!seed));
    let mut model = PureSubject::new(history.rules);
    let mut auditor = ShopAuditor::new(history.rules);
    let mut stores = Vec::new();
    for kind in [Kind::Memory, Kind::SqliteFile, Kind::Postgres] {
        stores.push(Store::open(kind, &history.rules, history.now(), lots_first).await);
    }
    for n in 0..steps {
        let mut step = history.next(&mut rng);
        if turns.percent(25) {
            stores.iter_mut().for_each(Store::turn);
            process = 1 - process;
        }
        step.now = Timestamp::from_micros(step.now.as_micros() - process * BEHIND);
        let before = Before::of(&step.command, &model);
        let expected = model.run(&step.command, step.now);
        seen.command(&step, &expected, &before);
        let checked = auditor.check(&step.command, step.now, &expected);
        assert_eq!(checked, Ok(()), "seed {seed}, step {n}: {:?}", step.command);
        if expected.is_ok() && turns.percent(3) {
            for store in &stores {
                if store.go_astray(&step.command).await {
                    seen.note("a command by a clock beyond its bound");
                }
            }
        }
        for store in &stores {
            let answer = store.run(&step.command, step.now).await;
            assert_eq!(
                answer, expected,
                "seed {seed}, step {n}, {:?}: {:?}",
                store.database.kind, step.command
            );
        }
        if n % 25 == 0 || n + 1 == steps {
            for user_id in history.users() {
                let expected = model.balance(*user_id, step.now);
                for store in &stores {
                    let balance = store.ledger.balance(*user_id).await.unwrap();
                    assert_eq!(
                        balance, expected,
                        "seed {seed}, step {n}, {:?}",
                        store.database.kind
                    );
                }
            }
            for order_no in history.orders().take(20) {
                let expected = model.order(order_no);
                for store in &stores {
                    let read = store.ledger.order(order_no).await.ok();
                    assert_eq!(read, expected, "seed {seed}, step {n}, {:?}", store.database.kind);
                }
            }
            for id in history.consumptions().take(20) {
                let expected = model.consumption(id, step.now);
                for store in &stores {
                    let read = store.ledger.get_consumption(id).await.ok();
                    assert_eq!(read, expected, "seed {seed}, step {n}, {:?}", store.database.kind);
                }
            }
        }
        history.answered(&step, &expected);
    }
    let entries = model.journals.values().flatten();
    for _ in entries.filter(|entry| entry.effects.continues.is_some()) {
        seen.note("an entry that continues another");
    }
    for store in &stores {
        for round in 0..2 {
            let verification = store.ledger.verify().await.unwrap();
            let faults = &verification.faults;
            assert!(
                verification.is_clean(),
                "seed {seed}, {:?}, {round}: {faults:#?}",
                store.database.kind
            );
            assert!(store.ledger.trial_balance().await.unwrap().is_balanced());
            store.ledger.expire_pending(None).await.unwrap();
            store.ledger.expire_lots(None).await.unwrap();
        }
        for user_id in history.users() {
            let now = history.now();
            store.clock.set(now);
            // Sequence numbers differ now: the sweep wrote what the model has only thought of.
            let (swept, expected) = (
                store.ledger.balance(*user_id).await.unwrap(),
                model.balance(*user_id, now),
            );
            assert_eq!(
                (swept.available, swept.held, swept.debt),
                (expected.available, expected.held, expected.debt)
            );
            assert_eq!(swept.expiring, expected.expiring);
            // As of now, from the journal alone.
            let derived = store.ledger.balance_at(*user_id, now).await.unwrap();
            assert_eq!(
                (derived.available, derived.held, derived.debt),
                (swept.available, swept.held, swept.debt)
            );
        }
        for ledger in store.others.iter().chain([&store.ledger]).chain(&store.astray) {
            ledger.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_and_model_agree_on_random_histories() {
    let mut seen = Seen::default();
    for seed in 1..=4 {
        agree(seed, 700, None, &mut seen).await;
    }
    seen.assert_all();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_know_few_of_the_lots_agree_with_the_model() {
    for (seed, lots) in [(11, 1), (12, 2), (13, 1), (14, 3)] {
        agree(seed, 600, Some(lots), &mut Seen::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_and_model_agree_on_one_long_history() {
    agree(4_711, 2_500, None, &mut Seen::default()).await;
}
