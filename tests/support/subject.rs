//! What a test runs commands against: the pure rules here, and the facade on any store elsewhere.

use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Balance, Command, Consumption, Entry, Hold, Lot, Order, OrderNo, Outcome, Prior, Refusal, Rules, State,
    Target, apply, decide, mature,
};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Something that keeps books by the rules. Object-safe: one script runs against many.
pub trait Subject {
    /// Does `command` at `now`.
    fn run(&mut self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal>;

    /// What the account's owner is told at `now`.
    fn balance(&mut self, user_id: Uuid, now: Timestamp) -> Balance;

    /// The consumption as it stands at `now`.
    fn consumption(&mut self, consumption_id: Uuid, now: Timestamp) -> Option<Consumption>;

    /// Every lot of the account as last written down, where the subject can tell.
    fn lots(&mut self, _user_id: Uuid) -> Option<Vec<Lot>> {
        None
    }
}

/// The rules alone: `decide` and `apply` on states in memory, as the engine calls them.
pub struct PureSubject {
    rules: Rules,
    states: BTreeMap<Uuid, State>,
    /// Whose the consumptions are.
    owners: HashMap<Uuid, Uuid>,
    /// Every entry, by account.
    pub journals: BTreeMap<Uuid, Vec<Entry>>,
    /// Where a key was recorded: the index into the account's journal.
    keys: HashMap<(Uuid, String), usize>,
    /// Payments that have settled an order, whosever.
    claims: BTreeMap<(String, String), OrderNo>,
}

impl PureSubject {
    pub fn new(rules: Rules) -> Self {
        PureSubject {
            rules,
            states: BTreeMap::new(),
            owners: HashMap::new(),
            journals: BTreeMap::new(),
            keys: HashMap::new(),
            claims: BTreeMap::new(),
        }
    }

    /// The books of an account as last written down.
    pub fn state(&self, user_id: Uuid) -> Option<&State> {
        self.states.get(&user_id)
    }

    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.values()
    }

    /// An order, whosever it is.
    pub fn order(&self, order_no: OrderNo) -> Option<Order> {
        self.states
            .values()
            .find_map(|state| state.orders.get(&order_no).cloned())
    }

    /// The books of an account with everything due at `now` applied, and not written down.
    pub fn matured(&self, user_id: Uuid, now: Timestamp) -> State {
        let mut state = self
            .states
            .get(&user_id)
            .cloned()
            .unwrap_or_else(|| State::new(user_id, now));
        for entry in mature(&state, now, &self.rules) {
            apply(&mut state, &entry).expect("what is due applies");
        }
        state
    }

    fn prior(&self, user_id: Uuid, key: &str) -> Option<Prior> {
        let at = *self.keys.get(&(user_id, key.to_owned()))?;
        let entry = self.journals[&user_id][at].clone();
        let hold = entry.consumption_id.and_then(|id| {
            let holds = &self.states[&user_id].holds;
            holds.get(&id).map(|hold| Hold::clone(hold))
        });
        Some(Prior { entry, hold })
    }

    fn write(&mut self, user_id: Uuid, now: Timestamp, entries: &[Entry]) {
        let state = self
            .states
            .entry(user_id)
            .or_insert_with(|| State::new(user_id, now));
        let journal = self.journals.entry(user_id).or_default();
        for entry in entries {
            assert_eq!(entry.seq, journal.len() as i64 + 1, "numbers have no gaps");
            assert_eq!(
                entry.change + entry.held_change + entry.counter_change(),
                0,
                "what goes out of one account comes into another"
            );
            apply(state, entry).unwrap_or_else(|e| panic!("{e}: {entry:?}"));
            if let Some(hold) = &entry.effects.new_hold {
                self.owners.insert(hold.consumption_id, user_id);
            }
            if let Some(order) = &entry.effects.order
                && let Some(transaction) = &order.state.transaction_id
            {
                let payment = (order.channel.clone(), transaction.clone());
                let first = *self.claims.entry(payment).or_insert(order.order_no);
                assert_eq!(first, order.order_no, "a payment settles one order");
            }
            if let Some(key) = &entry.idempotency_key {
                let before = self.keys.insert((user_id, key.clone()), journal.len());
                assert_eq!(before, None, "a key is recorded once per account");
            }
            journal.push(entry.clone());
        }
        state.note_deadlines(true, None);
    }
}

impl Subject for PureSubject {
    fn run(&mut self, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
        command.validate()?;
        let user_id = match command.target() {
            Target::Account(user_id) => user_id,
            Target::Consumption(id) => *self.owners.get(&id).ok_or(Refusal::NotFound {
                what: "consumption",
                id,
            })?,
        };
        if let Some(key) = &command.idempotency_key
            && let Some(prior) = self.prior(user_id, key)
        {
            return prior.replay(&command.fingerprint());
        }
        let nobody = State::new(user_id, now);
        let state = self.states.get(&user_id).unwrap_or(&nobody);
        let decision = if command.payment().is_some() {
            let mut state = state.clone();
            state.claims.clone_from(&self.claims);
            decide(&state, command, now, &self.rules)?
        } else {
            decide(state, command, now, &self.rules)?
        };
        if decision.entries.is_empty() {
            return Ok(decision.outcome);
        }
        self.write(user_id, now, &decision.entries);
        if let Some(prior) = command
            .idempotency_key
            .as_deref()
            .and_then(|key| self.prior(user_id, key))
        {
            let again = prior.replay(&command.fingerprint());
            assert_eq!(
                again.as_ref(),
                Ok(&decision.outcome),
                "a replay says what the first call said"
            );
        }
        Ok(decision.outcome)
    }

    fn balance(&mut self, user_id: Uuid, now: Timestamp) -> Balance {
        Balance::of(&self.matured(user_id, now), now)
    }

    fn consumption(&mut self, consumption_id: Uuid, now: Timestamp) -> Option<Consumption> {
        let user_id = *self.owners.get(&consumption_id)?;
        self.matured(user_id, now)
            .holds
            .get(&consumption_id)
            .map(|hold| Consumption::from_hold(hold))
    }

    fn lots(&mut self, user_id: Uuid) -> Option<Vec<Lot>> {
        Some(
            self.states
                .get(&user_id)
                .map(|s| s.lots.values().map(|lot| Lot::clone(lot)).collect())
                .unwrap_or_default(),
        )
    }
}
