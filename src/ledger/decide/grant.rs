//! Credits that come in, are corrected, or are taken back.

use super::draft::{About, Draft};
use crate::ledger::check::invalid;
use crate::ledger::journal::issued;
use crate::ledger::limits::CREDITS_MAX;
use crate::ledger::{
    Adjust, Clawback, Gift, Grant, Kind, Lot, LotChange, Money, Outcome, Refusal, SetCreditLimit, Shortfall,
    Source, TakenBack, Timestamp,
};
use alloc::{string::String, vec::Vec};
use uuid::Uuid;

/// Closes the entry that records the command, and tells what it did. Entries of these kinds always do.
fn sealed(draft: &mut Draft<'_>, kind: Kind, source: Source, about: About) -> Outcome {
    draft.seal_command(kind, issued(source), about);
    outcome(draft)
}

fn outcome(draft: &Draft<'_>) -> Outcome {
    let mut entries = draft.entries().iter().rev();
    let sealed = entries.find(|entry| entry.effects.continues.is_none());
    let sealed = sealed.and_then(|entry| Outcome::of(entry, None));
    sealed.unwrap_or(Outcome::Matured(Default::default()))
}

pub(super) fn grant(draft: &mut Draft<'_>, c: &Grant) -> Result<Outcome, Refusal> {
    let about = add(
        draft,
        c.amount,
        c.source,
        c.priority,
        c.expires_at,
        c.cost.clone(),
        c.reference.clone(),
    )?;
    Ok(sealed(draft, Kind::Grant, c.source, about))
}

pub(super) fn gift(draft: &mut Draft<'_>, c: &Gift) -> Result<Outcome, Refusal> {
    let about = add(draft, c.amount, Source::Gift, 0, c.expires_at, None, None)?;
    draft.effects().reason = Some(c.reason.clone());
    draft.effects().operator.clone_from(&c.operator);
    Ok(sealed(draft, Kind::Gift, Source::Gift, about))
}

/// A new lot, which pays debt first.
pub(super) fn add(
    draft: &mut Draft<'_>,
    amount: i64,
    source: Source,
    priority: i32,
    expires_at: Option<Timestamp>,
    cost: Option<Money>,
    reference: Option<String>,
) -> Result<About, Refusal> {
    if let Some(expiry) = expires_at.filter(|e| draft.now >= *e) {
        return Err(invalid("expires_at", "has passed already", draft.now, expiry));
    }
    draft.check_ceiling("amount", draft.account.available, amount)?;
    draft.check_ceiling("amount", draft.account.granted, amount)?;
    let lot_id = draft.new_id(draft.now);
    let lot = Lot {
        lot_id,
        source,
        amount,
        remaining: amount,
        expired: 0,
        clawed: 0,
        claim: 0,
        priority,
        expires_at,
        cost,
        reference: reference.clone(),
        origin: None,
        created_at: draft.now,
    };
    draft.add_lot(lot);
    draft.effects().granted = amount;
    draft.pay_debt(draft.now);
    Ok(About {
        lot_id: Some(lot_id),
        reference,
        ..About::default()
    })
}

pub(super) fn adjust(draft: &mut Draft<'_>, c: &Adjust) -> Result<Outcome, Refusal> {
    let about = if c.amount > 0 {
        add(draft, c.amount, Source::Adjustment, 0, None, None, None)?
    } else {
        let required = -c.amount;
        let available = draft.account.available.max(0);
        if required > available {
            return Err(Refusal::Insufficient { required, available });
        }
        // Taken back, so that a later clawback of these lots does not take the same credits again.
        for pin in draft.burn(required, draft.now) {
            let taken = draft.lot(pin.lot_id).map_or(0, |lot| lot.clawed + lot.claim);
            draft.check_ceiling("amount", taken, pin.amount)?;
            draft.change_lot(LotChange {
                clawed: pin.amount,
                ..LotChange::of(pin.lot_id)
            });
        }
        draft.effects().granted = -required;
        About::default()
    };
    draft.effects().reason = Some(c.reason.clone());
    draft.effects().operator.clone_from(&c.operator);
    Ok(sealed(draft, Kind::Adjust, Source::Adjustment, about))
}

pub(super) fn set_credit_limit(draft: &mut Draft<'_>, c: &SetCreditLimit) -> Outcome {
    draft.effects().credit_limit = Some(c.credit_limit);
    draft.seal_command(Kind::CreditLimit, "none".into(), About::default());
    outcome(draft)
}

pub(super) fn clawback(draft: &mut Draft<'_>, c: &Clawback) -> Result<Outcome, Refusal> {
    let Some(lot) = draft.lot(c.lot_id) else {
        return Err(Refusal::NotFound {
            what: "lot",
            id: c.lot_id,
        });
    };
    let (source, reference) = (lot.source, lot.reference.clone());
    let most = most_to_take(draft, lot);
    let wanted = c.amount.unwrap_or(most);
    if wanted > most {
        return Err(invalid(
            "amount",
            "is more than can still be taken back of this lot",
            most,
            wanted,
        ));
    }
    take(draft, c.lot_id, wanted, c.shortfall, &[])?;
    draft.effects().reason.clone_from(&c.reason);
    draft.effects().operator.clone_from(&c.operator);
    let about = About {
        lot_id: Some(c.lot_id),
        reference,
        ..About::default()
    };
    Ok(sealed(draft, Kind::Clawback, source, about))
}

/// What expired is nobody's any more, and what was taken, booked or forgiven before is not taken twice; nor is more
/// taken than was ever granted (credits that moved to a `reversal` lot may have been taken there).
fn most_to_take(draft: &Draft<'_>, lot: &Lot) -> i64 {
    (lot.amount - lot.expired - lot.clawed - lot.claim)
        .min(draft.account.granted)
        .max(0)
}

/// Takes up to `wanted` credits of one of an order's `lots` back, also out of those that came of these. (That a lot has the
/// order's number as its reference tells nothing: anybody may grant credits with that.)
pub(super) fn take_back(
    draft: &mut Draft<'_>,
    lot_id: Uuid,
    wanted: i64,
    shortfall: Shortfall,
    lots: &[Uuid],
) -> Result<TakenBack, Refusal> {
    let Some(lot) = draft.lot(lot_id) else {
        return Err(Refusal::NotFound {
            what: "lot",
            id: lot_id,
        });
    };
    let wanted = wanted.min(most_to_take(draft, lot));
    let mut came_of_it: Vec<(Timestamp, Uuid)> = draft
        .lots()
        .filter(|lot| lot.source == Source::Reversal && lot.origin.is_some_and(|id| lots.contains(&id)))
        .map(|lot| (lot.created_at, lot.lot_id))
        .collect();
    came_of_it.sort_unstable();
    let came_of_it: Vec<Uuid> = came_of_it.into_iter().map(|(_, lot_id)| lot_id).collect();
    if wanted == 0 {
        return Ok(TakenBack {
            lot_id,
            taken: 0,
            forgiven: 0,
            debt: 0,
        });
    }
    take(draft, lot_id, wanted, shortfall, &came_of_it)
}

/// Takes `wanted` credits out of a lot, then out of `others`; what is missing is forgiven or booked as debt.
fn take(
    draft: &mut Draft<'_>,
    lot_id: Uuid,
    wanted: i64,
    policy: Shortfall,
    others: &[Uuid],
) -> Result<TakenBack, Refusal> {
    let free = |draft: &Draft<'_>, id: Uuid| draft.lot(id).map_or(0, |lot| lot.free(draft.now));
    let taken = wanted.min(free(draft, lot_id));
    let mut missing = wanted - taken;
    let mut elsewhere = Vec::new();
    for &other in others {
        let amount = missing.min(free(draft, other));
        if amount > 0 {
            missing -= amount;
            elsewhere.push((other, amount));
        }
    }
    let debt = match policy {
        Shortfall::Forgive => 0,
        Shortfall::Debt => missing,
    };
    if draft.account.debt + debt > CREDITS_MAX {
        return Err(invalid(
            "shortfall",
            "would take the debt past the limit",
            CREDITS_MAX,
            missing,
        ));
    }
    let found = wanted - missing;
    draft.change_lot(LotChange {
        remaining: -taken,
        // Also what was found elsewhere, or is owed now: it is not taken twice.
        clawed: found + debt,
        claim: missing - debt,
        ..LotChange::of(lot_id)
    });
    for (other, amount) in elsewhere {
        draft.change_lot(LotChange {
            remaining: -amount,
            clawed: amount,
            ..LotChange::of(other)
        });
    }
    draft.effects().shortfall = Some(missing);
    if policy == Shortfall::Debt {
        draft.effects().clawback_debt = Some(debt);
    }
    draft.effects().granted = -(found + debt);
    draft.change_debt(debt, 0);
    draft.pay_debt(draft.now);
    Ok(TakenBack {
        lot_id,
        taken: found,
        forgiven: missing - debt,
        debt,
    })
}
