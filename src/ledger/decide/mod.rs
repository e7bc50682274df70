//! What a command does to the books, or why it is refused. One file per family of commands.

mod confirm;
mod consume;
mod deadlines;
mod draft;
mod grant;
mod order;
mod refund;

pub use deadlines::{mature, mature_loaded};

use super::{Action, Command, Entry, Hold, Matured, Outcome, Refusal, Rules, State, Status, Timestamp};
use alloc::{sync::Arc, vec::Vec};
use draft::Draft;
use uuid::Uuid;

/// An accepted command: what is written, and what the caller is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The entries, in order. Empty only where nothing was due, or where a repeated confirm or refund without a key
    /// found its outcome there already.
    pub entries: Vec<Entry>,
    /// The result.
    pub outcome: Outcome,
}

/// Why a command could not be decided on a part of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undecided {
    /// It is refused.
    Refused(Refusal),
    /// It takes more lots, or borrowing holds, than the state knows. Nobody is told: it is decided again on a larger part.
    KnowsTooLittle,
}

impl From<Refusal> for Undecided {
    fn from(refusal: Refusal) -> Self {
        Undecided::Refused(refusal)
    }
}

/// Decides `command` on `state` at `now`, as [`decide`] does, for a state that may be a part of what there is: see [`State`].
///
/// The answer is the same as on the whole, or [`Undecided::KnowsTooLittle`].
///
/// # Errors
/// [`Undecided`]. Nothing is changed then.
pub fn decide_on_part(
    state: &State,
    command: &Command,
    now: Timestamp,
    rules: &Rules,
) -> Result<Decision, Undecided> {
    command.validate()?;
    let mut draft = Draft::new(state, command, now, rules).of_part();
    let outcome = act(&mut draft, command, now);
    // Also a refusal may rest on what is not known.
    if draft.lacks() {
        return Err(Undecided::KnowsTooLittle);
    }
    Ok(Decision {
        outcome: outcome?,
        entries: draft.finish(),
    })
}

/// Decides `command` on `state` at `now`. The state is taken for all there is.
///
/// The idempotency key is recorded, not looked up: a store says whether an entry carries it already
/// ([`super::Prior::replay`]).
///
/// # Errors
/// The first [`Refusal`] in order of precedence. Nothing is changed then.
pub fn decide(state: &State, command: &Command, now: Timestamp, rules: &Rules) -> Result<Decision, Refusal> {
    command.validate()?;
    let mut draft = Draft::new(state, command, now, rules);
    let outcome = act(&mut draft, command, now)?;
    Ok(Decision {
        entries: draft.finish(),
        outcome,
    })
}

fn act(draft: &mut Draft<'_>, command: &Command, now: Timestamp) -> Result<Outcome, Refusal> {
    draft.mature(now);
    let outcome = match &command.action {
        Action::Grant(c) => grant::grant(draft, c)?,
        Action::Gift(c) => grant::gift(draft, c)?,
        Action::Adjust(c) => grant::adjust(draft, c)?,
        Action::SetCreditLimit(c) => grant::set_credit_limit(draft, c),
        Action::Clawback(c) => grant::clawback(draft, c)?,
        Action::Consume(c) => consume::consume(draft, c)?,
        Action::Extend(c) => consume::extend(draft, c)?,
        Action::Confirm(c) => confirm::confirm(draft, c)?,
        Action::Refund(c) => refund::refund(draft, c)?,
        Action::Order(c) => order::order(draft, c)?,
        Action::Mature { .. } => {
            let mut matured = Matured::default();
            draft.entries().iter().for_each(|entry| matured.count(entry));
            Outcome::Matured(matured)
        }
    };
    draft.check_figures()?;
    Ok(outcome)
}

/// The consumption, as it is now, or the refusal that there is none.
fn named<'a>(draft: &'a Draft<'_>, consumption_id: Uuid) -> Result<&'a Arc<Hold>, Refusal> {
    draft.hold(consumption_id).ok_or(Refusal::NotFound {
        what: "consumption",
        id: consumption_id,
    })
}

fn wrong_state(hold: &Hold, problem: &'static str) -> Refusal {
    Refusal::InvalidState {
        id: hold.consumption_id,
        state: hold.state.status,
        problem,
    }
}

fn expired(hold: &Hold) -> Refusal {
    Refusal::HoldExpired {
        id: hold.consumption_id,
        expired_at: hold.state.expires_at,
    }
}

fn is_live(hold: &Hold) -> bool {
    hold.state.status == Status::Pending
}
