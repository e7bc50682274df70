//! A batch on paper: from what was loaded and what was asked to what is written and what is answered. Pure.

use crate::ledger::{
    Action, Command, Entry, Hash, Hold, Lot, Matured, OrderNo, Outcome, Refusal, Rules, Target, Timestamp,
    apply, decide, mature_loaded,
};
use crate::store::{
    AccountWrite, GiftRow, KeyScope, Loaded, LoadedAccount, Needs, OrderNeed, StoreError, Writes,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// What to load for these commands.
pub(crate) fn needs<'a>(commands: impl Iterator<Item = &'a Command>, now: Timestamp) -> Needs {
    let mut needs = Needs {
        now: Some(now),
        ..Needs::default()
    };
    let (mut accounts, mut consumptions, mut lots) = (HashSet::new(), HashSet::new(), HashSet::new());
    let (mut keys, mut orders) = (HashSet::new(), HashSet::new());
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
                    for order in [Some(number), package].into_iter().flatten() {
                        if orders.insert((user_id, order)) {
                            needs.orders.push((user_id, order));
                        }
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
    /// Its account has more due holds than were loaded. A first part is written down now; decide it again after.
    Postponed,
    /// The books don't fit together.
    Damaged(StoreError),
}

/// A batch, decided.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) writes: Writes,
    /// For each command, in order: its account where it has one, and the answer.
    pub(crate) answers: Vec<(Option<Uuid>, Answer)>,
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

/// Decides commands in order on what was loaded.
pub(crate) fn plan<'a>(
    loaded: Loaded,
    commands: impl Iterator<Item = &'a Command>,
    now: Timestamp,
    rules: &Rules,
) -> Plan {
    let mut books = Books {
        loaded,
        drafts: BTreeMap::new(),
        fresh: HashMap::new(),
    };
    let answers = commands
        .map(|command| books.answer(command, now, rules))
        .collect();
    Plan {
        writes: books.writes(),
        answers,
    }
}

/// What a batch did to one account so far.
#[derive(Default)]
struct AccountDraft {
    entries: Vec<Entry>,
    new_lots: BTreeSet<Uuid>,
    lots: BTreeSet<Uuid>,
    new_holds: BTreeSet<Uuid>,
    holds: BTreeSet<Uuid>,
    orders: BTreeSet<OrderNo>,
    /// Holds beyond those loaded are due: the account's commands wait.
    postponed: bool,
    /// A sweep came by and found nothing due: the bounds that brought it here are written anew.
    swept: bool,
}

struct Books {
    loaded: Loaded,
    drafts: BTreeMap<Uuid, AccountDraft>,
    /// Keys used within this batch.
    fresh: HashMap<(Uuid, String), (Hash, Outcome)>,
}

impl Books {
    fn answer(&mut self, command: &Command, now: Timestamp, rules: &Rules) -> (Option<Uuid>, Answer) {
        let user_id = match command.target() {
            Target::Account(user_id) => user_id,
            Target::Consumption(id) => match self.loaded.owners.get(&id) {
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
        (Some(user_id), self.answer_for(user_id, command, now, rules))
    }

    fn answer_for(&mut self, user_id: Uuid, command: &Command, now: Timestamp, rules: &Rules) -> Answer {
        let key = command.idempotency_key.as_ref().map(|key| (user_id, key.clone()));
        if let Some(answer) = key.as_ref().and_then(|key| self.replay(key, command)) {
            return answer;
        }
        let Some(account) = self.loaded.accounts.get_mut(&user_id) else {
            return Answer::Damaged(StoreError::Failed {
                problem: format!("account {user_id} was not loaded"),
                remedy: "this is a fault of jointo_credits; please report it",
            });
        };
        let draft = self.drafts.entry(user_id).or_default();
        if account.state.due_end.is_some() && !draft.postponed {
            draft.postponed = true;
            let entries = mature_loaded(&account.state, now, rules);
            if let Err(problem) = draft.take(account, entries) {
                return Answer::Damaged(problem);
            }
        }
        if draft.postponed {
            return Answer::Postponed;
        }
        match decide(&account.state, command, now, rules) {
            Err(refusal) => Answer::Refused(refusal),
            Ok(decision) => {
                draft.swept |= matches!(command.action, Action::Mature { .. });
                let fingerprint = decision.entries.iter().find_map(|entry| entry.request_hash);
                if let Err(problem) = draft.take(account, decision.entries) {
                    return Answer::Damaged(problem);
                }
                if let (Some(key), Some(fingerprint)) = (key, fingerprint) {
                    self.fresh.insert(key, (fingerprint, decision.outcome.clone()));
                }
                Answer::Done(decision.outcome)
            }
        }
    }

    /// The answer where the key was used before, in the books or in this batch (rule **idempotency**).
    fn replay(&self, key: &(Uuid, String), command: &Command) -> Option<Answer> {
        let replayed = match (self.loaded.priors.get(key), self.fresh.get(key)) {
            (Some(prior), _) => prior.replay(&command.fingerprint()),
            (None, Some((same, outcome))) if *same == command.fingerprint() => Ok(outcome.clone()),
            (None, Some(_)) => Err(Refusal::IdempotencyConflict { key: key.1.clone() }),
            (None, None) => return None,
        };
        Some(replayed.map_or_else(Answer::Refused, Answer::Done))
    }

    fn writes(mut self) -> Writes {
        let mut writes = Writes::default();
        for (user_id, draft) in self.drafts {
            let Some(account) = self.loaded.accounts.get_mut(&user_id) else {
                continue;
            };
            draft.write(account, &mut writes);
        }
        writes
    }
}

impl AccountDraft {
    fn take(&mut self, account: &mut LoadedAccount, entries: Vec<Entry>) -> Result<(), StoreError> {
        for entry in entries {
            apply(&mut account.state, &entry).map_err(|problem| StoreError::Failed {
                problem: problem.to_string(),
                remedy: "run verify() and restore what it names",
            })?;
            let effects = &entry.effects;
            self.new_lots
                .extend(effects.new_lots.iter().map(|lot| lot.lot_id));
            self.lots.extend(effects.lots.iter().map(|change| change.lot));
            self.new_holds
                .extend(effects.new_hold.iter().map(|hold| hold.consumption_id));
            self.holds
                .extend(entry.consumption_id.filter(|_| effects.hold.is_some()));
            self.holds.extend(effects.funded.iter().map(|(id, _)| *id));
            self.orders
                .extend(effects.order.iter().map(|order| order.order_no));
            self.entries.push(entry);
        }
        Ok(())
    }

    fn write(self, loaded: &mut LoadedAccount, writes: &mut Writes) {
        let state = &mut loaded.state;
        let first = self
            .entries
            .first()
            .map_or(state.account.seq + 1, |entry| entry.seq);
        let before = (state.account.next_hold_deadline, state.account.next_lot_deadline);
        state.note_deadlines(
            loaded.looked_up_due && state.due_end.is_none(),
            loaded.next_pending,
        );
        let moved = before != (state.account.next_hold_deadline, state.account.next_lot_deadline);
        if self.entries.is_empty() && !(self.swept && moved && loaded.exists) {
            return;
        }
        let user_id = state.account.user_id;
        writes.accounts.push(AccountWrite {
            account: state.account.clone(),
            expected_seq: loaded.exists.then_some(first - 1),
        });
        let lot = |id: &Uuid| -> Option<(Uuid, Lot)> { Some((user_id, state.lots.get(id)?.clone())) };
        writes.new_lots.extend(self.new_lots.iter().filter_map(lot));
        writes
            .lots
            .extend(self.lots.difference(&self.new_lots).filter_map(lot));
        let hold = |id: &Uuid| -> Option<Hold> { state.holds.get(id).cloned() };
        writes.new_holds.extend(self.new_holds.iter().filter_map(hold));
        writes
            .holds
            .extend(self.holds.difference(&self.new_holds).filter_map(hold));
        let orders = self.orders.iter();
        writes
            .orders
            .extend(orders.filter_map(|number| state.orders.get(number).cloned()));
        writes.gifts.extend(self.entries.iter().filter_map(GiftRow::of));
        writes.entries.extend(self.entries);
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
