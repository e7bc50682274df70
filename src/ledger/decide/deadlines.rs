//! Rule **lazy-deadlines**: what has passed its deadline is so at once, whoever writes it down and when.
//!
//! Deadlines are applied in order of time, each at its own instant and not at the time somebody looked. Where two
//! fall together, lots go first: a lot has expired at its expiry, so a hold released at that instant finds it expired.

use super::draft::{About, Draft};
use crate::ledger::journal::issued;
use crate::ledger::{
    Entry, Hold, HoldState, Kind, Lot, LotChange, OnLotExpiredWhileHeld, Pin, Rules, Source, State, Status,
    Timestamp,
};
use alloc::{borrow::Cow, vec::Vec};
use core::time::Duration;
use uuid::Uuid;

/// The entries that write down everything due at `now`.
#[must_use]
pub fn mature(state: &State, now: Timestamp, rules: &Rules) -> Vec<Entry> {
    let mut draft = Draft::without_command(state, now, rules);
    draft.mature(now);
    draft.finish()
}

/// The same for a state that is a part of what there is: as far as it goes, where it has a [`State::due_end`] or a
/// [`State::due_lots_end`]. `None` where that takes lots or borrowing holds that it does not know.
#[must_use]
pub fn mature_loaded(state: &State, now: Timestamp, rules: &Rules) -> Option<Vec<Entry>> {
    let mut draft = Draft::without_command(state, now, rules).of_part();
    draft.mature_to(
        state.due_end.unwrap_or((now, Uuid::max())),
        state.due_lots_end.unwrap_or((Timestamp::MAX, Uuid::max())),
    );
    (!draft.lacks()).then(|| draft.finish())
}

impl Draft<'_> {
    pub(super) fn mature(&mut self, until: Timestamp) {
        self.mature_to((until, Uuid::max()), (Timestamp::MAX, Uuid::max()));
    }

    /// Applies what is due up to the hold `end` and the lot `lots_end`, themselves included, in order of deadline and id.
    /// Of those whose deadline is that lot's expiry, holds come after all lots, of which others may follow.
    fn mature_to(&mut self, end: (Timestamp, Uuid), lots_end: (Timestamp, Uuid)) {
        let until = end.0;
        let due = |deadline: Option<Timestamp>| deadline.is_some_and(|d| d <= until);
        let lots_due = self.lots().any(|lot| lot.remaining > 0 && lot.has_expired(until));
        if !lots_due && !due(self.account.next_hold_deadline) {
            return;
        }
        let mut holds: Vec<(Timestamp, Uuid)> = self
            .pending()
            .map(|h| (h.state.expires_at, h.consumption_id))
            .filter(|due| *due <= end && due.0 < lots_end.0)
            .collect();
        holds.sort_unstable();
        self.queue_up(until);
        for (deadline, consumption_id) in holds {
            self.expire_lots((deadline, Uuid::max()));
            self.expire_hold(consumption_id);
        }
        self.expire_lots((until, Uuid::max()).min(lots_end));
        self.queues = None;
    }

    /// What has expired by then gets nothing back any more: it would expire at once.
    fn expire_lots(&mut self, until: (Timestamp, Uuid)) {
        let next = |draft: &mut Self| {
            let expiries = &mut draft.queues.as_mut()?.expiries;
            let first = *expiries.first().filter(|first| **first <= until)?;
            expiries.remove(&first);
            Some(first.1)
        };
        while let Some(lot_id) = next(self) {
            if self.lot(lot_id).is_some_and(|lot| lot.remaining > 0) {
                self.expire_lot(lot_id);
            }
        }
    }

    fn expire_lot(&mut self, lot_id: Uuid) {
        let Some(lot) = self.lot(lot_id) else { return };
        let (left, reference) = (lot.remaining, lot.reference.clone());
        self.change_lot(LotChange {
            remaining: -left,
            expired: left,
            ..LotChange::of(lot_id)
        });
        let about = About {
            lot_id: Some(lot_id),
            reference,
            ..About::default()
        };
        self.seal(Kind::ExpireLot, Cow::Borrowed("expired"), about);
    }

    fn expire_hold(&mut self, consumption_id: Uuid) {
        let Some(hold) = self.hold(consumption_id).cloned() else {
            return;
        };
        let at = hold.state.expires_at;
        let returned = self.release(&hold, Status::Expired, at);
        let reference = hold.reference.clone();
        let about = About {
            consumption_id: Some(consumption_id),
            reference,
            ..About::default()
        };
        self.seal(Kind::ExpireHold, Cow::Borrowed("held"), about);
        self.after_return(&returned, at);
    }

    /// Gives everything that a pending hold has back to where it came from, at `t`. Returns the lots that got some,
    /// for [`Draft::after_return`] once the entry is sealed.
    pub(super) fn release(&mut self, hold: &Hold, status: Status, t: Timestamp) -> Vec<Uuid> {
        self.set_hold(
            hold,
            HoldState {
                status,
                pins: Vec::new(),
                borrowed: 0,
                settled_at: Some(t),
                ..hold.state.clone()
            },
        );
        self.change_debt(-hold.state.borrowed, -hold.state.borrowed);
        let returned = self.give_back(&hold.state.pins, t, self.release_grace());
        self.pay_debt(t);
        returned
    }

    /// How long credits live on that a hold gives back after their lot's expiry, if they do.
    pub(super) fn release_grace(&self) -> Option<Duration> {
        match self.rules.on_lot_expired_while_held {
            OnLotExpiredWhileHeld::Expire => None,
            OnLotExpiredWhileHeld::Grace => Some(self.rules.release_grace),
        }
    }

    /// Puts credits back into their lots at `t`; with a `grace`, those of an expired lot into a new one.
    pub(super) fn give_back(&mut self, pins: &[Pin], t: Timestamp, grace: Option<Duration>) -> Vec<Uuid> {
        let mut returned = Vec::new();
        for pin in pins {
            let Some(lot) = self.lot(pin.lot_id) else {
                // Damaged books: `apply` says so.
                self.change_lot(LotChange {
                    remaining: pin.amount,
                    ..LotChange::of(pin.lot_id)
                });
                continue;
            };
            // What a clawback has a claim on goes back to the lot, expired or not, to be taken there.
            let moved = match grace {
                Some(_) if lot.has_expired(t) => pin.amount - lot.claim.min(pin.amount),
                _ => 0,
            };
            let (priority, reference) = (lot.priority, lot.reference.clone());
            // Where the credits were granted: that stays known, however often they move.
            let origin = match lot.source {
                Source::Reversal => lot.origin.unwrap_or(pin.lot_id),
                _ => pin.lot_id,
            };
            if moved < pin.amount {
                let remaining = pin.amount - moved;
                self.change_lot(LotChange {
                    remaining,
                    ..LotChange::of(pin.lot_id)
                });
                returned.push(pin.lot_id);
            }
            if let (Some(grace), 1..) = (grace, moved) {
                let until = Some(t.plus(grace));
                self.add_reversal_lot(moved, t, until, priority, reference, Some(origin));
            }
        }
        returned
    }

    pub(super) fn add_reversal_lot(
        &mut self,
        amount: i64,
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
        priority: i32,
        reference: Option<alloc::string::String>,
        origin: Option<Uuid>,
    ) -> Uuid {
        let lot_id = self.new_id(created_at);
        let lot = Lot {
            lot_id,
            source: Source::Reversal,
            amount,
            remaining: amount,
            expired: 0,
            clawed: 0,
            claim: 0,
            priority,
            expires_at,
            cost: None,
            reference,
            origin,
            created_at,
        };
        self.add_lot(lot);
        lot_id
    }

    /// What lots can't keep of what came back to them at `t`: what a clawback still claims is taken, and what is left
    /// in an expired lot expires. Each in an entry of its own, since each goes to a counter-account of its own.
    ///
    /// No more is taken than was ever granted: clawbacks of other lots may have booked all of it by now. The rest of
    /// the claim is then void, and its credits are the account's again.
    pub(super) fn after_return(&mut self, returned: &[Uuid], t: Timestamp) {
        for &lot_id in returned {
            let Some(lot) = self.lot(lot_id) else { continue };
            let claimed = lot.claim.min(lot.remaining);
            if claimed > 0 {
                let (source, reference) = (lot.source, lot.reference.clone());
                let taken = claimed.min(self.account.granted);
                self.change_lot(LotChange {
                    remaining: -taken,
                    clawed: taken,
                    claim: -claimed,
                    ..LotChange::of(lot_id)
                });
                self.effects().granted = -taken;
                self.pay_debt(t);
                let about = About {
                    lot_id: Some(lot_id),
                    reference,
                    ..About::default()
                };
                self.seal(Kind::Clawback, issued(source), about);
            }
            if self
                .lot(lot_id)
                .is_some_and(|lot| lot.remaining > 0 && lot.has_expired(t))
            {
                self.expire_lot(lot_id);
            }
        }
    }
}
