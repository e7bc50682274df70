//! Holds: made, and given more time.

use super::draft::{About, Draft};
use super::{expired, is_live, named, wrong_state};
use crate::ledger::{Consume, Consumption, Extend, Hash, Hold, HoldState, Kind, Outcome, Refusal, Status};
use alloc::string::ToString;

/// Rule **hold-at-consume**: the check and the hold are one step.
pub(super) fn consume(draft: &mut Draft<'_>, c: &Consume) -> Result<Outcome, Refusal> {
    let available = draft.account.spendable();
    if c.amount > available {
        return Err(Refusal::Insufficient {
            required: c.amount,
            available,
        });
    }
    draft.check_ceiling("amount", draft.account.held, c.amount)?;
    let consumption_id = draft.new_id(draft.now);
    let pins = draft.burn(c.amount, draft.now);
    let borrowed = c.amount - pins.iter().map(|pin| pin.amount).sum::<i64>();
    draft.change_debt(borrowed, borrowed);
    let ttl = c.ttl.or(c.priced.as_ref().and_then(|priced| priced.hold_ttl));
    let hold = Hold {
        consumption_id,
        user_id: c.user_id,
        amount: c.amount,
        feature: c.feature.clone(),
        reference: c.reference.clone(),
        metadata: c.metadata.clone(),
        quote: c.priced.as_ref().map(|priced| priced.quote.clone()),
        created_at: draft.now,
        state: HoldState {
            status: Status::Pending,
            captured: 0,
            reversed: 0,
            borrowed,
            pins,
            expires_at: draft.now.plus(ttl.unwrap_or(draft.rules.hold_ttl)),
            settled_at: None,
            used: None,
        },
    };
    let outcome = Outcome::Consumption(Consumption::from_hold(&hold));
    draft.effects().feature.clone_from(&c.feature);
    draft.effects().metadata_sha256 = c
        .metadata
        .as_ref()
        .map(|m| Hash::of(m.as_str().as_bytes()).to_string());
    draft.effects().quote_sha256 = hold.quote.as_ref().map(|q| Hash::of(q.as_bytes()).to_string());
    draft.add_hold(hold);
    let about = About {
        consumption_id: Some(consumption_id),
        reference: c.reference.clone(),
        ..About::default()
    };
    draft.seal_command(Kind::Consume, "held".into(), about);
    Ok(outcome)
}

/// Never makes a deadline earlier.
pub(super) fn extend(draft: &mut Draft<'_>, c: &Extend) -> Result<Outcome, Refusal> {
    let hold = named(draft, c.consumption_id)?.clone();
    match hold.state.status {
        Status::Expired => return Err(expired(&hold)),
        _ if !is_live(&hold) => return Err(wrong_state(&hold, "only a pending hold can be extended")),
        _ => {}
    }
    let expires_at = hold.state.expires_at.max(draft.now.plus(c.ttl));
    draft.effects().reason.clone_from(&c.reason);
    record(
        draft,
        &hold,
        Kind::Extend,
        HoldState {
            expires_at,
            ..hold.state.clone()
        },
    )
}

/// An entry that moves no credits: it records how the consumption stands, and the command's key.
pub(super) fn record(
    draft: &mut Draft<'_>,
    hold: &Hold,
    kind: Kind,
    state: HoldState,
) -> Result<Outcome, Refusal> {
    let after = Hold {
        state: state.clone(),
        ..hold.clone()
    };
    draft.set_hold(hold, state);
    draft.seal_command(kind, "none".into(), About::consumption(hold));
    Ok(Outcome::Consumption(Consumption::from_hold(&after)))
}

/// A confirm or refund whose outcome is there already. With a key, it is recorded that this key got this answer.
pub(super) fn repeat(draft: &mut Draft<'_>, hold: &Hold, kind: Kind) -> Result<Outcome, Refusal> {
    if draft.has_key() {
        record(draft, hold, kind, hold.state.clone())
    } else {
        Ok(Outcome::Consumption(Consumption::from_hold(hold)))
    }
}

impl About {
    pub(super) fn consumption(hold: &Hold) -> Self {
        About {
            consumption_id: Some(hold.consumption_id),
            reference: hold.reference.clone(),
            ..About::default()
        }
    }
}
