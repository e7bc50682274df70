//! The same random histories on every store and in the pure model: identical answers, identical states.

use crate::database::{Database, Kind};
use crate::history::{History, Rng};
use crate::shop_auditor::ShopAuditor;
use crate::subject::{PureSubject, Subject};
use jointo_credits::ledger::{Command, Rules};
use jointo_credits::{Error, Ledger, ManualClock, Outcome, Refusal, Settings, Timestamp};

/// Ledgers on one database, with a clock that the history moves. They stand for processes: each keeps accounts, and finds
/// them changed by the others.
struct Store {
    database: Database,
    /// The one that runs the next command, and is read.
    ledger: Ledger,
    others: Vec<Ledger>,
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
        Store {
            database,
            ledger,
            others,
            clock,
        }
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
}

/// Nothing else is expected to go wrong.
pub fn refusal(error: Error, kind: Kind) -> Refusal {
    match error {
        Error::Refused(refusal) => refusal,
        other => panic!("{kind:?}: {other}"),
    }
}

/// `lots_first`: how many lots of an account are read, and a few more of them kept, until a command takes more.
async fn agree(seed: u64, steps: usize, lots_first: Option<usize>) {
    let mut history = History::of_a_shop(seed);
    let (mut rng, mut turns) = (Rng::new(seed), Rng::new(!seed));
    let mut model = PureSubject::new(history.rules);
    let mut auditor = ShopAuditor::new(history.rules);
    let mut stores = Vec::new();
    for kind in [Kind::Memory, Kind::SqliteFile, Kind::Postgres] {
        stores.push(Store::open(kind, &history.rules, history.now(), lots_first).await);
    }
    for n in 0..steps {
        let step = history.next(&mut rng);
        let expected = model.run(&step.command, step.now);
        let checked = auditor.check(&step.command, step.now, &expected);
        assert_eq!(checked, Ok(()), "seed {seed}, step {n}: {:?}", step.command);
        if turns.percent(25) {
            stores.iter_mut().for_each(Store::turn);
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
        for ledger in store.others.iter().chain([&store.ledger]) {
            ledger.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_and_model_agree_on_random_histories() {
    for seed in 1..=4 {
        agree(seed, 700, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_that_know_few_of_the_lots_agree_with_the_model() {
    for (seed, lots) in [(11, 1), (12, 2), (13, 1), (14, 3)] {
        agree(seed, 600, Some(lots)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_and_model_agree_on_one_long_history() {
    agree(4_711, 2_500, None).await;
}
