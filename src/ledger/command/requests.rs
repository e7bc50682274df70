//! What can be asked for of an account.

use super::Metadata;
use crate::ledger::{Money, Source, Timestamp};
use alloc::string::String;
use core::time::Duration;
use uuid::Uuid;

/// What `confirm` does when more was used than held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overage {
    /// Refuse.
    #[default]
    Reject,
    /// Take the difference if it is there, else refuse.
    Available,
    /// Take what is there and book the rest as debt.
    Debt,
}

impl Overage {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Overage::Reject => "reject",
            Overage::Available => "available",
            Overage::Debt => "debt",
        }
    }
}

/// What `confirm` does after the hold's deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Late {
    /// Refuse.
    #[default]
    Reject,
    /// Take the credits afresh if they are available, else refuse.
    Recharge,
}

impl Late {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Late::Reject => "reject",
            Late::Recharge => "recharge",
        }
    }
}

/// What a clawback does about credits that are no longer in the lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Shortfall {
    /// Let them go; but what comes back to the lot later is taken.
    #[default]
    Forgive,
    /// Book them as debt.
    Debt,
}

impl Shortfall {
    /// The stable spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Shortfall::Forgive => "forgive",
            Shortfall::Debt => "debt",
        }
    }
}

/// Credits for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The account.
    pub user_id: Uuid,
    /// Credits.
    pub amount: i64,
    /// Where they come from.
    pub source: Source,
    /// Lower burns first; 0 by default.
    pub priority: i32,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
    /// What was paid for them.
    pub cost: Option<Money>,
    /// The caller's own name, such as an order number.
    pub reference: Option<String>,
}

/// Credits as a present, written into the register of gifts as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gift {
    /// The account.
    pub user_id: Uuid,
    /// Credits.
    pub amount: i64,
    /// Why.
    pub reason: String,
    /// Who gave it.
    pub operator: Option<String>,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consume {
    /// The account.
    pub user_id: Uuid,
    /// Credits.
    pub amount: i64,
    /// What for.
    pub feature: Option<String>,
    /// How long the hold lives; the ledger's setting where `None`.
    pub ttl: Option<Duration>,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// The caller's own facts.
    pub metadata: Option<Metadata>,
    /// Where `amount` is the price of a feature: how it came about.
    pub priced: Option<Priced>,
}

/// How a price came about, for a hold whose amount is one. The rules keep it and never look into it; it is made and
/// read by whoever prices (see [`crate::pricing`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    /// What was asked for, in a form that is the same for the same request: it stands for the amount in the
    /// fingerprint, so that a retry after a change of prices is still the same request.
    pub request: String,
    /// The quote, frozen, at most [`QUOTE_BYTES_MAX`] bytes.
    pub quote: String,
    /// How long the rate card lets a hold live, for calls that don't say.
    pub hold_ttl: Option<Duration>,
}

/// The capture of a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirm {
    /// Which.
    pub consumption_id: Uuid,
    /// Credits really used; all that is held where `None`.
    pub amount: Option<i64>,
    /// What to do when that is more than is held.
    pub overage: Overage,
    /// What to do when the deadline has passed.
    pub late: Late,
    /// Where `amount` is the price of what was really used: the quantities, at most [`QUOTE_BYTES_MAX`] bytes. Kept,
    /// and never looked into.
    pub used: Option<String>,
}

/// The release of a hold, or the reversal of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Which.
    pub consumption_id: Uuid,
    /// Credits to give back of a confirmed one; all where `None`.
    pub amount: Option<i64>,
    /// Why.
    pub reason: Option<String>,
    /// Who asks for it.
    pub operator: Option<String>,
    /// Refuses to reverse a capture: for whoever gives up a job and can't know whether somebody else has finished it.
    pub pending_only: bool,
}

/// A later deadline for a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    /// Which.
    pub consumption_id: Uuid,
    /// It lives at least this long from now.
    pub ttl: Duration,
    /// Why, or for whom. Part of the request: of two that give one key for one hold, and different reasons, one gets it.
    pub reason: Option<String>,
}

/// A correction by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjust {
    /// The account.
    pub user_id: Uuid,
    /// Credits to add (positive) or to take away (negative).
    pub amount: i64,
    /// Why.
    pub reason: String,
    /// Who.
    pub operator: Option<String>,
}

/// A new credit limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetCreditLimit {
    /// The account.
    pub user_id: Uuid,
    /// How far below zero `consume` may go; 0 for not at all.
    pub credit_limit: i64,
}

/// Granted credits taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clawback {
    /// The account.
    pub user_id: Uuid,
    /// The lot that was granted.
    pub lot_id: Uuid,
    /// How many; all that has not expired or been taken back already where `None`.
    pub amount: Option<i64>,
    /// What about those that are no longer there.
    pub shortfall: Shortfall,
    /// Why.
    pub reason: Option<String>,
    /// Who.
    pub operator: Option<String>,
}

macro_rules! setters {
    ($name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty),+ $(,)? }) => {
        impl $name {
            $($(#[$doc])*
            #[must_use]
            pub fn $field(mut self, $field: impl Into<$kind>) -> Self {
                self.$field = Some($field.into());
                self
            })+
        }
    };
}

impl Grant {
    /// `amount` credits that never expire.
    #[must_use]
    pub fn new(user_id: Uuid, amount: i64, source: Source) -> Self {
        Grant {
            user_id,
            amount,
            source,
            priority: 0,
            expires_at: None,
            cost: None,
            reference: None,
        }
    }

    /// Lower burns first; 0 by default.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

setters!(Grant {
    /// When they expire.
    expires_at: Timestamp,
    /// What was paid for them.
    cost: Money,
    /// The caller's own name, such as an order number.
    reference: String,
});

impl Gift {
    /// `amount` credits that never expire.
    #[must_use]
    pub fn new(user_id: Uuid, amount: i64, reason: impl Into<String>) -> Self {
        Gift {
            user_id,
            amount,
            reason: reason.into(),
            operator: None,
            expires_at: None,
        }
    }
}

setters!(Gift {
    /// Who gave it.
    operator: String,
    /// When they expire.
    expires_at: Timestamp,
});

impl Consume {
    /// A hold of `amount` credits.
    #[must_use]
    pub fn new(user_id: Uuid, amount: i64) -> Self {
        Consume {
            user_id,
            amount,
            feature: None,
            ttl: None,
            reference: None,
            metadata: None,
            priced: None,
        }
    }
}

setters!(Consume {
    /// What for.
    feature: String,
    /// How long the hold lives, 1 s to 30 d.
    ttl: Duration,
    /// The caller's own name for it.
    reference: String,
    /// The caller's own facts.
    metadata: Metadata,
    /// How the amount came about.
    priced: Priced,
});

impl Confirm {
    /// All that is held.
    #[must_use]
    pub fn all(consumption_id: Uuid) -> Self {
        Confirm {
            consumption_id,
            amount: None,
            overage: Overage::Reject,
            late: Late::Reject,
            used: None,
        }
    }

    /// What was really used.
    #[must_use]
    pub fn amount(consumption_id: Uuid, amount: i64) -> Self {
        Confirm {
            amount: Some(amount),
            ..Confirm::all(consumption_id)
        }
    }

    /// What to do when that is more than is held.
    #[must_use]
    pub fn overage(mut self, overage: Overage) -> Self {
        self.overage = overage;
        self
    }

    /// What to do when the deadline has passed.
    #[must_use]
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }
}

setters!(Confirm {
    /// The quantities that `amount` is the price of.
    used: String,
});

impl Refund {
    /// All of it.
    #[must_use]
    pub fn all(consumption_id: Uuid) -> Self {
        Refund {
            consumption_id,
            amount: None,
            reason: None,
            operator: None,
            pending_only: false,
        }
    }

    /// All of a hold; one that was confirmed in the meantime stays so.
    #[must_use]
    pub fn pending(consumption_id: Uuid) -> Self {
        Refund {
            pending_only: true,
            ..Refund::all(consumption_id)
        }
    }

    /// A part of a confirmed consumption.
    #[must_use]
    pub fn part(consumption_id: Uuid, amount: i64) -> Self {
        Refund {
            amount: Some(amount),
            ..Refund::all(consumption_id)
        }
    }
}

setters!(Refund {
    /// Why.
    reason: String,
    /// Who asks for it.
    operator: String,
});

impl Extend {
    /// `ttl` more from now.
    #[must_use]
    pub fn new(consumption_id: Uuid, ttl: Duration) -> Self {
        Extend {
            consumption_id,
            ttl,
            reason: None,
        }
    }
}

setters!(Extend {
    /// Why, or for whom.
    reason: String,
});

impl Adjust {
    /// `amount` more credits, or fewer where it is negative.
    #[must_use]
    pub fn new(user_id: Uuid, amount: i64, reason: impl Into<String>) -> Self {
        Adjust {
            user_id,
            amount,
            reason: reason.into(),
            operator: None,
        }
    }
}

setters!(Adjust {
    /// Who.
    operator: String,
});

impl Clawback {
    /// All that has not expired or been taken back; what is missing is forgiven.
    #[must_use]
    pub fn all(user_id: Uuid, lot_id: Uuid) -> Self {
        Clawback {
            user_id,
            lot_id,
            amount: None,
            shortfall: Shortfall::Forgive,
            reason: None,
            operator: None,
        }
    }

    /// What about credits that are no longer there.
    #[must_use]
    pub fn shortfall(mut self, shortfall: Shortfall) -> Self {
        self.shortfall = shortfall;
        self
    }
}

setters!(Clawback {
    /// How many.
    amount: i64,
    /// Why.
    reason: String,
    /// Who.
    operator: String,
});
