//! From an entry to the next state. `decide` drafts with the same primitives, so the two can't drift apart.

use super::{Account, Entry, Hold, HoldState, Kind, Lot, LotChange, State, Status, Timestamp};
use alloc::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// An entry does not fit the state it is applied to. Only damaged books can cause it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq} of account {user_id} does not fit the books: {problem}")]
pub struct Inconsistent {
    /// The account.
    pub user_id: Uuid,
    /// The entry's number.
    pub seq: i64,
    /// What does not fit.
    pub problem: &'static str,
}

/// The next state after `entry`.
///
/// # Errors
/// [`Inconsistent`] where the entry does not follow from the state; the state is then not to be used any more.
pub fn apply(state: &mut State, entry: &Entry) -> Result<(), Inconsistent> {
    let broken = |problem| Inconsistent {
        user_id: entry.user_id,
        seq: entry.seq,
        problem,
    };
    if state.account.user_id != entry.user_id || state.account.seq + 1 != entry.seq {
        return Err(broken("the number does not follow"));
    }
    let effects = &entry.effects;
    for lot in &effects.new_lots {
        state.put_lot(lot.clone());
    }
    for change in &effects.lots {
        let lot = state
            .lots
            .get_mut(&change.lot)
            .ok_or_else(|| broken("it changes an unknown lot"))?;
        let lot = Arc::make_mut(lot);
        if state.floating.contains(&change.lot) {
            change_floating(lot, change).map_err(broken)?;
        } else {
            change_lot(lot, change).map_err(broken)?;
        }
    }
    if let Some(hold) = &effects.new_hold {
        state.put_hold(Arc::clone(hold));
    }
    if let Some(after) = &effects.hold {
        let id = entry
            .consumption_id
            .ok_or_else(|| broken("it changes a hold it does not name"))?;
        change_hold(&mut state.holds, id, after).map_err(broken)?;
    }
    for (id, after) in &effects.funded {
        change_hold(&mut state.holds, *id, after).map_err(broken)?;
    }
    state.note_order(entry).map_err(broken)?;
    let account = &mut state.account;
    change_account(account, entry).map_err(broken)?;
    if account.available != entry.available || account.held != entry.held {
        return Err(broken("its balance does not follow"));
    }
    account.seq = entry.seq;
    account.hash = entry.hash;
    account.updated_at = entry.created_at;
    if entry.seq == 1 {
        account.created_at = entry.created_at;
    }
    if let (Kind::Consume, Some(hold)) = (entry.kind, &effects.hold) {
        account.note_hold_deadline(hold.expires_at);
    }
    Ok(())
}

fn change_hold(
    holds: &mut BTreeMap<Uuid, Arc<Hold>>,
    id: Uuid,
    after: &HoldState,
) -> Result<(), &'static str> {
    let hold = holds.get_mut(&id).ok_or("it changes an unknown hold")?;
    // A new hold comes with the state that its entry gives it.
    if hold.state != *after {
        Arc::make_mut(hold).state.clone_from(after);
    }
    Ok(())
}

/// The one place where a lot's figures change.
pub(super) fn change_lot(lot: &mut Lot, change: &LotChange) -> Result<(), &'static str> {
    lot.remaining += change.remaining;
    lot.expired += change.expired;
    lot.clawed += change.clawed;
    lot.claim += change.claim;
    if lot.remaining < 0
        || lot.expired < 0
        || lot.clawed < 0
        || lot.claim < 0
        // Not `clawed`: it counts what was booked as debt while held or used, which may come back (and be taken).
        || lot.remaining + lot.expired > lot.amount
        || lot.claim > lot.amount
    {
        return Err("a lot would hold less than nothing, or more than it was granted");
    }
    Ok(())
}

/// A lot of which `expired` and `clawed` are only known as changes since a checkpoint.
fn change_floating(lot: &mut Lot, change: &LotChange) -> Result<(), &'static str> {
    lot.remaining += change.remaining;
    lot.expired += change.expired;
    lot.clawed += change.clawed;
    lot.claim += change.claim;
    if lot.remaining < 0 || lot.claim < 0 || lot.remaining > lot.amount || lot.claim > lot.amount {
        return Err("a lot would hold less than nothing, or more than it was granted");
    }
    Ok(())
}

/// The one place where an account's figures change.
pub(super) fn change_account(account: &mut Account, entry: &Entry) -> Result<(), &'static str> {
    let effects = &entry.effects;
    let add = |a: i64, b: i64| a.checked_add(b).ok_or("a figure would overflow");
    account.available = add(account.available, entry.change)?;
    account.held = add(account.held, entry.held_change)?;
    account.debt = add(account.debt, effects.debt)?;
    account.borrowed = add(account.borrowed, effects.borrowed)?;
    account.granted = add(account.granted, effects.granted)?;
    account.spent = add(account.spent, effects.spent)?;
    if let Some(limit) = effects.credit_limit {
        account.credit_limit = limit;
    }
    if account.granted < 0
        || account.spent < 0
        || account.held < 0
        || account.debt < 0
        || account.borrowed < 0
        || account.borrowed > account.debt
    {
        return Err("a figure would be negative");
    }
    Ok(())
}

impl Account {
    /// Keeps the bound on the first hold's deadline.
    pub(super) fn note_hold_deadline(&mut self, deadline: Timestamp) {
        self.next_hold_deadline = Some(self.next_hold_deadline.map_or(deadline, |d| d.min(deadline)));
    }

    pub(super) fn record(&mut self, entry: &Entry) -> Result<(), &'static str> {
        change_account(self, entry)
    }
}

impl State {
    /// Takes up the order that an entry made or changed.
    pub(crate) fn note_order(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let Some(order) = &entry.effects.order else {
            return Ok(());
        };
        let before = self.orders.get(&order.order_no);
        if before.is_some_and(|before| !before.is_same_as(order)) {
            return Err("it changes what an order is about");
        }
        self.orders.insert(order.order_no, (**order).clone());
        Ok(())
    }

    /// Sets the bounds that depend on all lots and on the holds that are still pending, after deadlines were applied.
    ///
    /// `next_pending` is the first deadline among the pending holds that were not loaded, where that was looked up.
    pub fn note_deadlines(&mut self, looked_up: bool, next_pending: Option<Timestamp>) {
        // Where not all lots are known, none that is not has an earlier expiry than the bound says.
        let unknown = self.account.next_lot_deadline.filter(|_| self.lots_end.is_some());
        let open = self.lots.values().filter(|lot| lot.remaining > 0);
        self.account.next_lot_deadline = open.filter_map(|lot| lot.expires_at).chain(unknown).min();
        if looked_up {
            self.account.next_hold_deadline = self
                .holds
                .values()
                .filter(|hold| hold.state.status == Status::Pending)
                .map(|hold| hold.state.expires_at)
                .chain(next_pending)
                .min();
        }
    }
}
