//! Rule **refund**: a hold is released, or a capture given back.

use super::consume::repeat;
use super::draft::{About, Draft};
use super::{named, wrong_state};
use crate::ledger::check::invalid;
use crate::ledger::journal::earned;
use crate::ledger::{Consumption, Hold, HoldState, Kind, Outcome, Pin, Refund, Refusal, Status};
use alloc::vec::Vec;

pub(super) fn refund(draft: &mut Draft<'_>, c: &Refund) -> Result<Outcome, Refusal> {
    let hold = named(draft, c.consumption_id)?.clone();
    let state = &hold.state;
    match state.status {
        Status::Pending => release(draft, &hold, c),
        Status::Expired => repeat(draft, &hold, Kind::Refund),
        Status::Confirmed if c.pending_only => Err(wrong_state(
            &hold,
            "it was confirmed in the meantime, and only a hold was to be given back",
        )),
        Status::Confirmed => match c.amount {
            // Without a key, the same amount again is taken for a retry: nothing is ever given back twice by mistake.
            Some(amount) if !draft.has_key() && state.reversed > 0 => {
                if amount == state.reversed {
                    repeat(draft, &hold, Kind::Reverse)
                } else {
                    Err(wrong_state(
                        &hold,
                        "a part was given back before; pass an idempotency_key with each further part",
                    ))
                }
            }
            amount => reverse(draft, &hold, amount, c),
        },
        Status::Refunded => {
            let given_back = if state.reversed > 0 {
                state.reversed
            } else {
                hold.amount
            };
            if c.amount.is_none_or(|n| n == given_back) {
                repeat(draft, &hold, Kind::Refund)
            } else {
                Err(wrong_state(&hold, "it was given back with another amount"))
            }
        }
    }
}

fn release(draft: &mut Draft<'_>, hold: &Hold, c: &Refund) -> Result<Outcome, Refusal> {
    if let Some(amount) = c.amount.filter(|n| *n != hold.amount) {
        return Err(invalid(
            "amount",
            "must be all of a pending hold; to keep a part, confirm that part",
            hold.amount,
            amount,
        ));
    }
    let returned = draft.release(hold, Status::Refunded, draft.now);
    draft.effects().reason.clone_from(&c.reason);
    draft.effects().operator.clone_from(&c.operator);
    draft.seal_command(Kind::Refund, "held".into(), About::consumption(hold));
    draft.after_return(&returned, draft.now);
    now(draft, hold)
}

fn reverse(draft: &mut Draft<'_>, hold: &Hold, amount: Option<i64>, c: &Refund) -> Result<Outcome, Refusal> {
    let most = hold.state.captured - hold.state.reversed;
    let amount = amount.unwrap_or(most);
    if amount > most {
        return Err(invalid(
            "amount",
            "is more than was captured and not yet given back",
            most,
            amount,
        ));
    }
    // What came last goes back first: what was taken on credit, then the lots in reverse burn order.
    let from_credit = hold.state.borrowed.min(amount);
    let (pins, back) = unwind(&hold.state.pins, amount - from_credit);
    let reversed = hold.state.reversed + amount;
    let whole = reversed == hold.state.captured;
    let state = HoldState {
        status: if whole {
            Status::Refunded
        } else {
            Status::Confirmed
        },
        reversed,
        borrowed: hold.state.borrowed - from_credit,
        pins,
        settled_at: if whole {
            Some(draft.now)
        } else {
            hold.state.settled_at
        },
        ..hold.state.clone()
    };
    draft.set_hold(hold, state);
    draft.effects().spent = -amount;
    draft.effects().reason.clone_from(&c.reason);
    draft.effects().operator.clone_from(&c.operator);

    let grace_end = Some(draft.now.plus(draft.rules.reversal_grace));
    let owed = draft.account.debt - draft.account.borrowed;
    let forgiven = from_credit.min(owed);
    draft.change_debt(-forgiven, 0);
    if from_credit > forgiven {
        // The debt was paid meanwhile, from a lot nobody can name any more.
        draft.add_reversal_lot(from_credit - forgiven, draft.now, grace_end, 0, None, None);
    }
    let returned = draft.give_back(&back, draft.now, Some(draft.rules.reversal_grace));
    draft.pay_debt(draft.now);
    draft.seal_command(
        Kind::Reverse,
        earned(hold.feature.as_deref()),
        About::consumption(hold),
    );
    draft.after_return(&returned, draft.now);
    now(draft, hold)
}

/// `pins` without the last `amount` credits, and those.
fn unwind(pins: &[Pin], amount: i64) -> (Vec<Pin>, Vec<Pin>) {
    let mut left = amount;
    let mut kept = pins.to_vec();
    let mut back = Vec::new();
    while let Some(pin) = kept.last_mut().filter(|_| left > 0) {
        let given = pin.amount.min(left);
        left -= given;
        pin.amount -= given;
        back.push(Pin {
            lot_id: pin.lot_id,
            amount: given,
        });
        if pin.amount == 0 {
            kept.pop();
        }
    }
    (kept, back)
}

fn now(draft: &Draft<'_>, hold: &Hold) -> Result<Outcome, Refusal> {
    Ok(Outcome::Consumption(Consumption::from_hold(named(
        draft,
        hold.consumption_id,
    )?)))
}
