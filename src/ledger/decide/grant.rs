//! Credits that come in, are corrected, or are taken back.

use super::draft::{About, Draft};
use crate::ledger::command::invalid;
use crate::ledger::journal::issued;
use crate::ledger::limits::CREDITS_MAX;
use crate::ledger::{
    Adjust, Clawback, Gift, Grant, Kind, Lot, LotChange, Money, Outcome, Refusal, SetCreditLimit, Shortfall,
    Source, Timestamp,
};
use alloc::string::String;

/// Closes the entry that records the command, and tells what it did. Entries of these kinds always do.
fn sealed(draft: &mut Draft<'_>, kind: Kind, source: Source, about: About) -> Outcome {
    draft.seal_command(kind, issued(source), about);
    outcome(draft)
}

fn outcome(draft: &Draft<'_>) -> Outcome {
    let sealed = draft.entries().last().and_then(|entry| Outcome::of(entry, None));
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
fn add(
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
    // What expired is nobody's any more, and what was taken, booked or forgiven before is not taken twice; nor is more
    // taken than was ever granted (credits that moved to a `reversal` lot may have been taken there).
    let most = (lot.amount - lot.expired - lot.clawed - lot.claim)
        .min(draft.account.granted)
        .max(0);
    let wanted = c.amount.unwrap_or(most);
    if wanted > most {
        return Err(invalid(
            "amount",
            "is more than can still be taken back of this lot",
            most,
            wanted,
        ));
    }
    let taken = wanted.min(lot.free(draft.now));
    let shortfall = wanted - taken;
    let (source, reference) = (lot.source, lot.reference.clone());
    let mut change = LotChange {
        remaining: -taken,
        clawed: taken,
        ..LotChange::of(c.lot_id)
    };
    match c.shortfall {
        Shortfall::Forgive => change.claim = shortfall,
        Shortfall::Debt => {
            if draft.account.debt + shortfall > CREDITS_MAX {
                return Err(invalid(
                    "shortfall",
                    "would take the debt past the limit",
                    CREDITS_MAX,
                    shortfall,
                ));
            }
            change.clawed += shortfall;
            draft.effects().clawback_debt = Some(shortfall);
        }
    }
    draft.change_lot(change);
    draft.effects().shortfall = Some(shortfall);
    draft.effects().reason.clone_from(&c.reason);
    let debt = if c.shortfall == Shortfall::Debt {
        shortfall
    } else {
        0
    };
    draft.effects().granted = -(taken + debt);
    draft.change_debt(debt, 0);
    draft.pay_debt(draft.now);
    let about = About {
        lot_id: Some(c.lot_id),
        reference,
        ..About::default()
    };
    Ok(sealed(draft, Kind::Clawback, source, about))
}
