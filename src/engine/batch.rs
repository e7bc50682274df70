//! A batch on paper: from what is known and what was asked to what is written and what is answered. Pure.

use crate::ledger::{
    Account, Action, Command, Entry, Hash, Hold, Inconsistent, Matured, OrderNo, Outcome, Prior, Refusal,
    Rules, State, Target, Timestamp, Undecided, apply, decide_on_part, mature_loaded,
};
use crate::store::{
    AccountWrite, Claim, GiftRow, KeyScope, Loaded, LoadedAccount, Needs, OrderNeed, StoreError, Writes,
};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use uuid::Uuid;

/// What to load for these commands.
pub(crate) fn needs<'a>(commands: impl Iterator<Item = &'a Command>, now: Timestamp) -> Needs {
    let mut needs = Needs {
        now: Some(now),
        ..Needs::default()
    };
    let (mut accounts, mut consumptions, mut lots) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut keys, mut orders, mut payments) = (HashSet::new(), HashSet::new(), HashSet::new());
    for command in commands {
        let scope = match command.target() {
            Target::Account(user_id) => {
                if accounts.insert(user_id) {
                    needs.accounts.push(user_id);
                }
                if let Some(lot) = command.lot().filter(|lot| lots.insert((user_id, *lot))) {
                    needs.lots.push((user_id, lot));
                }
                if let Some((order_no, package_id)) = command.order() {
                    let number = OrderNeed::Number(order_no);
                    let package = package_id.map(OrderNeed::OfPackage);
                    let waiting = command.opens_an_order().then_some(OrderNeed::Waiting);
                    for order in [Some(number), package, waiting].into_iter().flatten() {
                        if orders.insert((user_id, order)) {
                            needs.orders.push((user_id, order));
                        }
                    }
                }
                if let Some((order_no, transaction_id)) = command.payment() {
                    let payment = (user_id, order_no, transaction_id.to_owned());
                    if payments.insert(payment.clone()) {
                        needs.payments.push(payment);
                    }
                }
                KeyScope::Account(user_id)
            }
            Target::Consumption(id) => {
                if consumptions.insert(id) {
                    needs.consumptions.push(id);
                }
                KeyScope::Consumption(id)
            }
        };
        if let Some(key) = &command.idempotency_key {
            let key = (scope, key.clone());
            if keys.insert(key.clone()) {
                needs.keys.push(key);
            }
        }
    }
    needs
}

/// What becomes of one command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It is accepted, or was before.
    Done(Outcome),
    /// It is refused.
    Refused(Refusal),
    /// To be decided again: more is due of its account than was loaded, and a first part is written down now. Or its
    /// payment settles another account's order in this batch. Or it is unclear, and nothing is.
    Postponed,
    /// To be decided again, on more of its account than was loaded: it takes more, or one before it does.
    TakesMore,
    /// The books don't fit together.
    Damaged(StoreError),
}

/// What a batch writes, and how its accounts stand then.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) writes: Writes,
    /// Every account that is written, as it is then.
    pub(crate) after: Vec<After>,
    /// The others that there are, each with the number of its last entry.
    pub(crate) unwritten: Vec<(Uuid, i64)>,
}

/// An account that is written.
#[derive(Debug)]
pub(crate) struct After {
    pub(crate) state: State,
    /// Whether it was decided on what was remembered.
    pub(crate) was_remembered: bool,
}

impl Plan {
    /// The last entry of every account that is written: found in the journal, the write landed.
    pub(crate) fn landmarks(&self) -> Vec<(Uuid, i64, Hash)> {
        self.writes
            .accounts
            .iter()
            .map(|w| (w.account.user_id, w.account.seq, w.account.hash))
            .collect()
    }
}

/// One account in a batch: how it stands, and what the batch did to it so far.
struct AccountBooks {
    state: State,
    /// As in [`LoadedAccount`].
    looked_up_due: bool,
    next_pending: Option<Timestamp>,
    next_lot: Option<Option<Timestamp>>,
    /// It was not loaded for this batch: the keys of its commands are not looked up.
    remembered: bool,
    /// The account before the batch, where it has a row.
    before: Option<Account>,
    entries: Vec<Entry>,
    new_lots: Vec<Uuid>,
    lots: Vec<Uuid>,
    /// More than what is left in a lot has changed.
    beyond_remaining: bool,
    new_holds: Vec<Uuid>,
    holds: Vec<Uuid>,
    orders: Vec<OrderNo>,
    /// Of the orders that the batch has settled.
    claims: Vec<Claim>,
    /// Keys of its commands that nobody has looked up.
    keys: Vec<String>,
    /// More is due than was loaded, or a payment was claimed in this batch: the account's commands wait.
    postponed: bool,
    /// A command takes more than was loaded: it and those after it wait.
    takes_more: bool,
    /// A sweep came by and found nothing due: the bounds that brought it here are written anew.
    swept: bool,
}

/// Decides a batch's commands, one after the other, on what is known of their accounts.
pub(crate) struct Books<'r> {
    now: Timestamp,
    rules: &'r Rules,
    accounts: HashMap<Uuid, AccountBooks>,
    owners: HashMap<Uuid, Uuid>,
    priors: HashMap<(Uuid, String), Prior>,
    /// Accounts whose commands are postponed.
    unclear: HashSet<Uuid>,
    /// Accounts whose rows don't fit together, and what is wrong. Nothing of them is written.
    damaged: HashMap<Uuid, String>,
    /// Hashes of the keys used within this batch, each with its account.
    used: HashSet<u64>,
    /// Payments that have settled an order within this batch, and whose.
    claimed: HashMap<(String, String), Uuid>,
}

impl<'r> Books<'r> {
    pub(crate) fn new(now: Timestamp, rules: &'r Rules) -> Self {
        Books {
            now,
            rules,
            accounts: HashMap::new(),
            owners: HashMap::new(),
            priors: HashMap::new(),
            unclear: HashSet::new(),
            damaged: HashMap::new(),
            used: HashSet::new(),
            claimed: HashMap::new(),
        }
    }

    /// Takes up an account as an earlier batch left it. What is decided on it holds only where the write finds it unchanged.
    pub(crate) fn remember(&mut self, state: State) {
        self.know(state, true);
    }

    /// Takes up an account as an earlier batch left it, and as the read found it still to be.
    pub(crate) fn confirm(&mut self, state: State) {
        self.know(state, false);
    }

    fn know(&mut self, state: State, remembered: bool) {
        let user_id = state.account.user_id;
        let account = LoadedAccount {
            state,
            exists: true,
            looked_up_due: false,
            next_pending: None,
            next_lot: None,
        };
        self.accounts
            .insert(user_id, AccountBooks::of(account, remembered));
    }

    /// Whether an account is remembered.
    pub(crate) fn remembers(&self, user_id: Uuid) -> bool {
        self.accounts
            .get(&user_id)
            .is_some_and(|account| account.remembered)
    }

    /// Takes note of whose a consumption is.
    pub(crate) fn note_owner(&mut self, consumption_id: Uuid, user_id: Uuid) {
        self.owners.insert(consumption_id, user_id);
    }

    /// Takes up what was loaded. An account that is remembered as well (a consumption led to it whose id did not tell)
    /// has been decided on two pictures: all of its commands are postponed.
    pub(crate) fn read(&mut self, loaded: Loaded) {
        for (user_id, account) in loaded.accounts {
            if self.forget(user_id).is_some() {
                self.unclear.insert(user_id);
            } else if let Err(problem) = account.state.check_ranges() {
                self.damaged.insert(user_id, problem.to_owned());
            } else {
                self.accounts.insert(user_id, AccountBooks::of(account, false));
            }
        }
        self.owners.extend(loaded.owners);
        self.priors.extend(loaded.priors);
    }

    /// Whether what was answered to this account's commands does not count any more.
    pub(crate) fn is_unclear(&self, user_id: Uuid) -> bool {
        self.unclear.contains(&user_id)
    }

    /// Why no command of this account is answered otherwise, even if it was decided on before that was seen.
    pub(crate) fn damage(&self, user_id: Uuid) -> Option<StoreError> {
        self.damaged.get(&user_id).map(|problem| StoreError::Failed {
            problem: format!("the books of account {user_id} are damaged: {problem}"),
            remedy: "run verify() and restore what it names",
        })
    }

    /// Forgets an account and what was decided on it: how it stood after that.
    pub(crate) fn forget(&mut self, user_id: Uuid) -> Option<State> {
        self.damaged.remove(&user_id);
        self.accounts.remove(&user_id).map(|account| account.state)
    }

    /// Whether the batch writes entries of this account.
    pub(crate) fn has_entries(&self, user_id: Uuid) -> bool {
        let account = self.accounts.get(&user_id);
        account.is_some_and(|account| !account.entries.is_empty())
    }

    /// Decides the next command: its account, where it has one, and the answer.
    pub(crate) fn answer(&mut self, command: &Command) -> (Option<Uuid>, Answer) {
        let user_id = match command.target() {
            Target::Account(user_id) => user_id,
            Target::Consumption(id) => match self.owners.get(&id) {
                Some(owner) => *owner,
                None => {
                    return (
                        None,
                        Answer::Refused(Refusal::NotFound {
                            what: "consumption",
                            id,
                        }),
                    );
                }
            },
        };
        (Some(user_id), self.answer_for(user_id, command))
    }

    fn answer_for(&mut self, user_id: Uuid, command: &Command) -> Answer {
        if self.unclear.contains(&user_id) {
            return Answer::Postponed;
        }
        if let Some(damage) = self.damage(user_id) {
            return Answer::Damaged(damage);
        }
        let Some(account) = self.accounts.get_mut(&user_id) else {
            return Answer::Damaged(StoreError::Failed {
                problem: format!("account {user_id} was not loaded"),
                remedy: "this is a fault of jointo_credits; please report it",
            });
        };
        let key = command.idempotency_key.as_deref();
        let used = key.map(|key| self.used.hasher().hash_one((user_id, key)));
        let prior = key.and_then(|key| {
            if let Some(prior) = looked_up(&self.priors, user_id, key) {
                return Some(Cow::Borrowed(prior));
            }
            let may_be = used.is_some_and(|hash| self.used.contains(&hash));
            account.prior(key).filter(|_| may_be).map(Cow::Owned)
        });
        if let Some(prior) = prior {
            let replayed = prior.replay(&command.fingerprint());
            return replayed.map_or_else(Answer::Refused, Answer::Done);
        }
        // Whether another account's settlement is written is known after this batch, and only then can this one be refused.
        if let Some(payment) = account.payment(command)
            && self.claimed.get(&payment).is_some_and(|owner| *owner != user_id)
        {
            account.postponed = true;
        }
        let before = account.claims.len();
        let answer = account.answer(command, self.now, self.rules);
        let claims = account.claims.get(before..).unwrap_or_default();
        self.claimed
            .extend(claims.iter().map(|claim| (claim.payment(), user_id)));
        self.used.extend(used);
        match answer {
            Ok(answer) => answer,
            Err(problem) => {
                // What was applied of it can't be taken back.
                self.accounts.remove(&user_id);
                self.damaged.insert(user_id, problem.to_string());
                self.damage(user_id).map_or(Answer::Postponed, Answer::Damaged)
            }
        }
    }

    /// What all of it comes to.
    pub(crate) fn close(self) -> Plan {
        let mut accounts: Vec<AccountBooks> = self.accounts.into_values().collect();
        // Whoever writes takes accounts in this order.
        accounts.sort_unstable_by_key(|account| account.state.account.user_id);
        // Entries are large: none is moved because a list grew.
        let entries = accounts.iter().map(|account| account.entries.len()).sum();
        let mut writes = Writes {
            only_remaining: !accounts.iter().any(|account| account.beyond_remaining),
            accounts: Vec::with_capacity(accounts.len()),
            entries: Vec::with_capacity(entries),
            ..Writes::default()
        };
        let (mut after, mut unwritten) = (Vec::with_capacity(accounts.len()), Vec::new());
        for account in accounts {
            let known = account.before.as_ref().map(|before| (before.user_id, before.seq));
            match account.write(&mut writes) {
                Some(written) => after.push(written),
                None => unwritten.extend(known),
            }
        }
        Plan {
            writes,
            after,
            unwritten,
        }
    }
}

/// The entry that carries a key, and was loaded.
fn looked_up<'p>(priors: &'p HashMap<(Uuid, String), Prior>, user_id: Uuid, key: &str) -> Option<&'p Prior> {
    if priors.is_empty() {
        return None; // As ever, but for repeated commands.
    }
    priors.get(&(user_id, key.to_owned()))
}

impl AccountBooks {
    fn of(loaded: LoadedAccount, remembered: bool) -> Self {
        AccountBooks {
            before: loaded.exists.then(|| loaded.state.account.clone()),
            state: loaded.state,
            looked_up_due: loaded.looked_up_due,
            next_pending: loaded.next_pending,
            next_lot: loaded.next_lot,
            remembered,
            entries: Vec::new(),
            new_lots: Vec::new(),
            lots: Vec::new(),
            beyond_remaining: false,
            new_holds: Vec::new(),
            holds: Vec::new(),
            orders: Vec::new(),
            claims: Vec::new(),
            keys: Vec::new(),
            postponed: false,
            takes_more: false,
            swept: false,
        }
    }

    /// The entry of this batch that carries a key.
    fn prior(&self, key: &str) -> Option<Prior> {
        let mut entries = self.entries.iter();
        let entry = entries.find(|entry| entry.idempotency_key.as_deref() == Some(key))?;
        let hold = entry.consumption_id.and_then(|id| self.state.holds.get(&id));
        Some(Prior {
            entry: entry.clone(),
            hold: hold.map(|hold| Hold::clone(hold)),
        })
    }

    /// The payment that the command is to settle an order with, where the order is known.
    fn payment(&self, command: &Command) -> Option<(String, String)> {
        let (order_no, transaction_id) = command.payment()?;
        let order = self.state.orders.get(&order_no)?;
        Some((order.channel.clone(), transaction_id.to_owned()))
    }

    fn answer(&mut self, command: &Command, now: Timestamp, rules: &Rules) -> Result<Answer, Inconsistent> {
        if self.remembered {
            self.keys.extend(command.idempotency_key.clone());
        }
        if self.takes_more {
            return Ok(Answer::TakesMore);
        }
        if self.state.is_due_in_parts() && !self.postponed {
            let Some(entries) = mature_loaded(&self.state, now, rules) else {
                self.takes_more = true;
                return Ok(Answer::TakesMore);
            };
            self.postponed = true;
            self.take(entries)?;
        }
        if self.postponed {
            return Ok(Answer::Postponed);
        }
        match decide_on_part(&self.state, command, now, rules) {
            Err(Undecided::Refused(refusal)) => Ok(Answer::Refused(refusal)),
            Err(Undecided::KnowsTooLittle) => {
                self.takes_more = true;
                Ok(Answer::TakesMore)
            }
            Ok(decision) => {
                self.swept |= matches!(command.action, Action::Mature { .. });
                self.take(decision.entries)?;
                Ok(Answer::Done(decision.outcome))
            }
        }
    }

    /// The account is not to be used any more where an entry does not fit.
    fn take(&mut self, entries: Vec<Entry>) -> Result<(), Inconsistent> {
        for entry in &entries {
            let claim = self.new_claim(entry);
            apply(&mut self.state, entry)?;
            if let Some(claim) = claim {
                self.state.claims.insert(claim.payment(), claim.order_no);
                self.claims.push(claim);
            }
            let effects = &entry.effects;
            self.new_lots
                .extend(effects.new_lots.iter().map(|lot| lot.lot_id));
            self.new_holds
                .extend(effects.new_hold.iter().map(|hold| hold.consumption_id));
            for change in &effects.lots {
                self.beyond_remaining |= (change.expired, change.clawed, change.claim) != (0, 0, 0);
                self.lots.push(change.lot);
            }
            let about = entry.consumption_id.filter(|_| effects.hold.is_some());
            self.holds.extend(about);
            self.holds.extend(effects.funded.iter().map(|(id, _)| *id));
            self.orders
                .extend(effects.order.iter().map(|order| order.order_no));
        }
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.extend(entries);
        }
        Ok(())
    }

    /// The claim of the payment that the entry settles its order with; before it is applied.
    fn new_claim(&self, entry: &Entry) -> Option<Claim> {
        let order = entry.effects.order.as_deref()?;
        let before = self.state.orders.get(&order.order_no);
        let was_settled = before.is_some_and(|before| before.state.transaction_id.is_some());
        Claim::of(order).filter(|claim| !was_settled && !self.state.claims.contains_key(&claim.payment()))
    }

    /// Adds what is to be written of the account, if anything is; then, how it stands.
    fn write(mut self, writes: &mut Writes) -> Option<After> {
        let deadlines = |account: &Account| (account.next_hold_deadline, account.next_lot_deadline);
        let before = deadlines(&self.state.account);
        let all_due = !self.state.is_due_in_parts();
        if let Some(next) = self.next_lot.filter(|_| all_due) {
            self.state.account.next_lot_deadline = next;
        }
        self.state
            .note_deadlines(self.looked_up_due && all_due, self.next_pending);
        let moved = before != deadlines(&self.state.account);
        if self.entries.is_empty() && !(self.swept && moved && self.before.is_some()) {
            return None;
        }
        let state = self.state;
        only_changed(&mut self.lots, &self.new_lots);
        only_changed(&mut self.holds, &self.new_holds);
        let user_id = state.account.user_id;
        writes.accounts.push(AccountWrite {
            account: state.account.clone(),
            before: self.before,
        });
        let lot = |id: &Uuid| Some((user_id, Arc::clone(state.lots.get(id)?)));
        writes.new_lots.extend(self.new_lots.iter().filter_map(lot));
        writes.lots.extend(self.lots.iter().filter_map(lot));
        let hold = |id: &Uuid| state.holds.get(id).cloned();
        writes.new_holds.extend(self.new_holds.iter().filter_map(hold));
        writes.holds.extend(self.holds.iter().filter_map(hold));
        self.orders.sort_unstable();
        self.orders.dedup();
        let orders = self.orders.iter();
        writes
            .orders
            .extend(orders.filter_map(|number| state.orders.get(number).cloned()));
        writes.claims.extend(self.claims);
        writes.gifts.extend(self.entries.iter().filter_map(GiftRow::of));
        writes
            .keys
            .extend(self.keys.into_iter().map(|key| (user_id, key)));
        writes.entries.extend(self.entries);
        Some(After {
            state,
            was_remembered: self.remembered,
        })
    }
}

/// Leaves each id once, and those out that were made.
fn only_changed(changed: &mut Vec<Uuid>, made: &[Uuid]) {
    changed.sort_unstable();
    changed.dedup();
    if !made.is_empty() {
        let made: HashSet<&Uuid> = made.iter().collect();
        changed.retain(|id| !made.contains(id));
    }
}

/// What a sweep wrote in a part that was postponed.
pub(crate) fn matured(writes: &Writes, user_id: Uuid) -> Matured {
    let mut matured = Matured::default();
    writes
        .entries
        .iter()
        .filter(|entry| entry.user_id == user_id)
        .for_each(|entry| matured.count(entry));
    matured
}
