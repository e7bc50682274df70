//! Rule **confirm**: a hold becomes spent credits.

use super::consume::repeat;
use super::draft::{About, Draft, merge};
use super::{expired, named, wrong_state};
use crate::ledger::check::invalid;
use crate::ledger::journal::earned;
use crate::ledger::{
    Confirm, Consumption, Hold, HoldState, Kind, Late, Outcome, Overage, Pin, Refusal, Status,
};
use alloc::vec::Vec;

pub(super) fn confirm(draft: &mut Draft<'_>, c: &Confirm) -> Result<Outcome, Refusal> {
    let hold = named(draft, c.consumption_id)?.clone();
    let amount = c.amount.unwrap_or(hold.amount);
    match (hold.state.status, c.late) {
        (Status::Pending, _) => capture(draft, &hold, amount, c),
        (Status::Expired, Late::Recharge) => recharge(draft, &hold, amount, c),
        (Status::Expired, Late::Reject) => Err(expired(&hold)),
        (Status::Confirmed, _) if hold.state.captured == amount => repeat(draft, &hold, Kind::Confirm),
        (Status::Confirmed, _) => Err(wrong_state(&hold, "it was confirmed with another amount")),
        (Status::Refunded, _) => Err(wrong_state(&hold, "its credits were given back; consume again")),
    }
}

/// Captures a live hold: `amount` of it, and the rest goes back; or all of it and more.
fn capture(draft: &mut Draft<'_>, hold: &Hold, amount: i64, c: &Confirm) -> Result<Outcome, Refusal> {
    let more = (amount - hold.amount).max(0);
    check_overage(draft, hold, amount, 0, more, c.overage)?;
    let mut kept = split(hold, amount);
    draft.change_debt(-kept.rest_borrowed, -hold.state.borrowed);
    let grace = draft.release_grace();
    let returned = draft.give_back(&kept.rest, draft.now, grace);
    kept.borrowed += take(draft, more, &mut kept.pins);
    let state = captured(draft, hold, amount, kept.pins, kept.borrowed, c);
    settle(draft, hold, state, &returned)
}

/// Takes the credits of an expired hold afresh.
fn recharge(draft: &mut Draft<'_>, hold: &Hold, amount: i64, c: &Confirm) -> Result<Outcome, Refusal> {
    let base = amount.min(hold.amount);
    check_overage(draft, hold, amount, base, amount - base, c.overage)?;
    let mut pins = Vec::new();
    let borrowed = take(draft, amount, &mut pins);
    let state = captured(draft, hold, amount, pins, borrowed, c);
    settle(draft, hold, state, &[])
}

/// Whether `base` can be taken, and `more` beyond what was held.
fn check_overage(
    draft: &Draft<'_>,
    hold: &Hold,
    amount: i64,
    base: i64,
    more: i64,
    overage: Overage,
) -> Result<(), Refusal> {
    let required = match overage {
        Overage::Reject if more > 0 => {
            return Err(invalid(
                "amount",
                "is more than is held; pass overage=available or overage=debt to take the difference",
                hold.amount,
                amount,
            ));
        }
        Overage::Reject | Overage::Debt => base,
        Overage::Available => base + more,
    };
    let available = draft.account.spendable();
    if required > available {
        return Err(Refusal::Insufficient { required, available });
    }
    // What the lots lack becomes debt: of `more`, and of `base` where it is taken on credit.
    let lacking = (base + more - draft.account.available.max(0)).max(0);
    draft.check_ceiling("amount", draft.account.debt, lacking)?;
    draft.check_ceiling("amount", draft.account.spent, amount)
}

/// Takes `amount` from the lots, and what they lack as debt. Returns that part.
fn take(draft: &mut Draft<'_>, amount: i64, pins: &mut Vec<Pin>) -> i64 {
    let burned = draft.burn(amount, draft.now);
    let lacking = amount - burned.iter().map(|pin| pin.amount).sum::<i64>();
    merge(pins, burned);
    draft.change_debt(lacking, 0);
    lacking
}

fn captured(
    draft: &Draft<'_>,
    hold: &Hold,
    amount: i64,
    pins: Vec<Pin>,
    borrowed: i64,
    c: &Confirm,
) -> HoldState {
    HoldState {
        status: Status::Confirmed,
        captured: amount,
        reversed: 0,
        borrowed,
        pins,
        expires_at: hold.state.expires_at,
        settled_at: Some(draft.now),
        used: c.used.clone(),
    }
}

fn settle(
    draft: &mut Draft<'_>,
    hold: &Hold,
    state: HoldState,
    returned: &[uuid::Uuid],
) -> Result<Outcome, Refusal> {
    let amount = state.captured;
    let after = Hold {
        state: state.clone(),
        ..hold.clone()
    };
    draft.set_hold(hold, state);
    draft.effects().spent = amount;
    draft.pay_debt(draft.now);
    draft.seal_command(
        Kind::Confirm,
        earned(hold.feature.as_deref()),
        About::consumption(hold),
    );
    draft.after_return(returned, draft.now);
    Ok(Outcome::Consumption(Consumption::from_hold(&after)))
}

struct Split {
    pins: Vec<Pin>,
    borrowed: i64,
    rest: Vec<Pin>,
    rest_borrowed: i64,
}

/// The first `amount` of what is held, in burn order and credit last; and the rest.
fn split(hold: &Hold, amount: i64) -> Split {
    let mut left = amount;
    let mut split = Split {
        pins: Vec::new(),
        borrowed: 0,
        rest: Vec::new(),
        rest_borrowed: 0,
    };
    for &Pin { lot_id, amount } in &hold.state.pins {
        let kept = amount.min(left);
        left -= kept;
        if kept > 0 {
            split.pins.push(Pin { lot_id, amount: kept });
        }
        if amount > kept {
            split.rest.push(Pin {
                lot_id,
                amount: amount - kept,
            });
        }
    }
    split.borrowed = hold.state.borrowed.min(left);
    split.rest_borrowed = hold.state.borrowed - split.borrowed;
    split
}
