//! What a caller can ask for, and whether it is well formed.

use super::journal::Canonical;
use super::limits::*;
use super::{Hash, Money, OrderNo, RefundStatus, Refusal, Source, Timestamp};
use alloc::{
    format,
    string::{String, ToString},
};
use core::{fmt, time::Duration};
use uuid::Uuid;

/// A JSON object of the caller's, in canonical form: compact, keys sorted.
#[derive(Clone, PartialEq, Eq)]
pub struct Metadata(String);

impl Metadata {
    /// Checks and keeps a JSON object given as text.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where it is no JSON object, longer than [`METADATA_BYTES_MAX`], or nested in more than
    /// [`METADATA_LEVELS_MAX`] levels.
    pub fn parse(json: &str) -> Result<Self, Refusal> {
        // A bound on the text first: parsing must not be the costly part.
        if json.len() > 4 * METADATA_BYTES_MAX {
            return Err(metadata_too_long(json.len()));
        }
        if nesting(json) > METADATA_LEVELS_MAX {
            return Err(invalid(
                "metadata",
                "is nested too deeply; keep a reference instead",
                format!("{METADATA_LEVELS_MAX} levels"),
                format!("{} levels", nesting(json)),
            ));
        }
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|e| invalid("metadata", "is not JSON", "a JSON object", e))?;
        if !value.is_object() {
            return Err(invalid(
                "metadata",
                "must be a JSON object",
                "a JSON object",
                kind_of(&value),
            ));
        }
        let mut text = String::with_capacity(json.len());
        write_sorted(&value, &mut text);
        if text.len() > METADATA_BYTES_MAX {
            Err(metadata_too_long(text.len()))
        } else {
            Ok(Metadata(text))
        }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From text that [`Metadata::parse`] made before, such as a store's.
    #[must_use]
    pub fn from_canonical(text: String) -> Self {
        Metadata(text)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn metadata_too_long(len: usize) -> Refusal {
    invalid(
        "metadata",
        "is too long; keep a reference instead",
        format!("{METADATA_BYTES_MAX} bytes"),
        len,
    )
}

/// How many levels of objects and arrays a JSON text has.
fn nesting(json: &str) -> usize {
    let (mut levels, mut most) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                levels += 1;
                most = most.max(levels);
            }
            b'}' | b']' => levels = levels.saturating_sub(1),
            // A text, in which brackets are none.
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    most
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// Sorted here and not by the map's type: a feature of `serde_json` that any crate can turn on would undo that.
fn write_sorted(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut pairs: alloc::vec::Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in pairs.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, value) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_sorted(value, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

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

/// A step in the life of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderCommand {
    /// Whose order.
    pub user_id: Uuid,
    /// Its number.
    pub order_no: OrderNo,
    /// The step.
    pub step: OrderStep,
}

/// What can happen to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OrderStep {
    /// It is made.
    Open(OpenOrder),
    /// The channel is about to be told.
    Begin,
    /// The channel vouches for a payment.
    Settle(OrderPayment),
    /// Nobody can pay it any more.
    Close {
        /// Whether the channel says so: it need not be asked where it was never told of the order.
        channel_agrees: bool,
    },
    /// Money is to go back.
    Refund(OrderRefundRequest),
    /// The channel says how a refund stands.
    NoteRefund(RefundNote),
}

/// A package that somebody wants to buy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOrder {
    /// The name of the payment channel: 1 to 32 lower-case letters, digits and underscores.
    pub channel: String,
    /// What is bought,
    pub package_id: Uuid,
    /// and in which version.
    pub package_version: u32,
    /// What the payer sees.
    pub subject: String,
    /// What it costs.
    pub price: Money,
    /// Credits that are paid for.
    pub credits: i64,
    /// Credits on top; 0 for none.
    pub bonus_credits: i64,
    /// How long these live; for ever where `None`.
    pub validity_days: Option<u32>,
    /// How many such packages an account may have; any number where `None`.
    pub purchase_limit: Option<u32>,
}

/// A payment that a channel vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderPayment {
    /// The channel's own name for it.
    pub transaction_id: String,
    /// How much.
    pub amount: Money,
    /// When, as the channel says.
    pub paid_at: Option<Timestamp>,
}

/// Money of an order that is to go back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderRefundRequest {
    /// How much, in minor units; all that has not gone back yet where `None`.
    pub minor: Option<i64>,
    /// What about credits that are no longer there.
    pub shortfall: Shortfall,
    /// Why.
    pub reason: Option<String>,
    /// Who asks for it.
    pub operator: Option<String>,
}

/// What a channel says of a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundNote {
    /// The refund's number within its order.
    pub number: u32,
    /// How it stands.
    pub status: RefundStatus,
    /// The channel's own name for it.
    pub channel_id: Option<String>,
    /// What stands in its way.
    pub problem: Option<String>,
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

/// Everything that changes an account.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Credits for an account.
    Grant(Grant),
    /// Credits as a present.
    Gift(Gift),
    /// A hold.
    Consume(Consume),
    /// The capture of a hold.
    Confirm(Confirm),
    /// The release of a hold, or the reversal of a capture.
    Refund(Refund),
    /// A later deadline for a hold.
    Extend(Extend),
    /// A correction.
    Adjust(Adjust),
    /// A new credit limit.
    SetCreditLimit(SetCreditLimit),
    /// Granted credits taken back.
    Clawback(Clawback),
    /// A step in the life of an order.
    Order(OrderCommand),
    /// Write down what has passed its deadline on this account.
    Mature {
        /// The account.
        user_id: Uuid,
    },
}

/// An action and the key that makes repeating it safe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// What to do.
    pub action: Action,
    /// The caller's key, at most [`KEY_BYTES_MAX`] bytes, scoped to the account.
    pub idempotency_key: Option<String>,
}

/// The account or the consumption that a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An account.
    Account(Uuid),
    /// A consumption, whose account the store knows.
    Consumption(Uuid),
}

impl Command {
    /// What the command names.
    #[must_use]
    pub fn target(&self) -> Target {
        match &self.action {
            Action::Grant(c) => Target::Account(c.user_id),
            Action::Gift(c) => Target::Account(c.user_id),
            Action::Consume(c) => Target::Account(c.user_id),
            Action::Confirm(c) => Target::Consumption(c.consumption_id),
            Action::Refund(c) => Target::Consumption(c.consumption_id),
            Action::Extend(c) => Target::Consumption(c.consumption_id),
            Action::Adjust(c) => Target::Account(c.user_id),
            Action::SetCreditLimit(c) => Target::Account(c.user_id),
            Action::Clawback(c) => Target::Account(c.user_id),
            Action::Order(c) => Target::Account(c.user_id),
            Action::Mature { user_id } => Target::Account(*user_id),
        }
    }

    /// The lot a command names.
    #[must_use]
    pub fn lot(&self) -> Option<Uuid> {
        match &self.action {
            Action::Clawback(c) => Some(c.lot_id),
            _ => None,
        }
    }

    /// The order a command names, and for a new one the package whose orders count.
    #[must_use]
    pub fn order(&self) -> Option<(OrderNo, Option<Uuid>)> {
        match &self.action {
            Action::Order(c) => Some((
                c.order_no,
                match &c.step {
                    OrderStep::Open(open) => open.purchase_limit.map(|_| open.package_id),
                    _ => None,
                },
            )),
            _ => None,
        }
    }

    /// The payment that is to settle an order: the order, and the channel's own name for the payment.
    #[must_use]
    pub fn payment(&self) -> Option<(OrderNo, &str)> {
        match &self.action {
            Action::Order(OrderCommand {
                order_no,
                step: OrderStep::Settle(payment),
                ..
            }) => Some((*order_no, &payment.transaction_id)),
            _ => None,
        }
    }

    /// Whether it makes an order.
    #[must_use]
    pub fn opens_an_order(&self) -> bool {
        matches!(&self.action, Action::Order(c) if matches!(c.step, OrderStep::Open(_)))
    }

    /// Whether it is well formed; needs no books, so it is asked before anything else.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] naming the field, the limit and the value.
    pub fn validate(&self) -> Result<(), Refusal> {
        if let Some(key) = &self.idempotency_key {
            if key.is_empty() {
                return Err(invalid(
                    "idempotency_key",
                    "must not be empty; leave it out instead",
                    "1 byte or more",
                    0,
                ));
            }
            length("idempotency_key", key, KEY_BYTES_MAX)?;
        }
        match &self.action {
            Action::Grant(c) => {
                amount("amount", c.amount)?;
                if c.source == Source::Reversal {
                    return Err(invalid(
                        "source",
                        "is the ledger's own; use adjustment",
                        "any other source",
                        c.source,
                    ));
                }
                if !(-PRIORITY_MAX..=PRIORITY_MAX).contains(&c.priority) {
                    return Err(invalid("priority", "is out of range", PRIORITY_MAX, c.priority));
                }
                instant("expires_at", c.expires_at)?;
                c.cost.as_ref().map_or(Ok(()), |cost| money("cost", cost))?;
                reference("reference", c.reference.as_deref())
            }
            Action::Gift(c) => {
                amount("amount", c.amount)?;
                required("reason", &c.reason)?;
                reference("operator", c.operator.as_deref())?;
                instant("expires_at", c.expires_at)
            }
            Action::Consume(c) => {
                match &c.priced {
                    Some(priced) => {
                        price("amount", c.amount)?;
                        length("quote", &priced.quote, QUOTE_BYTES_MAX)?;
                        priced.hold_ttl.map_or(Ok(()), |t| ttl("hold_ttl", t))?;
                    }
                    None => amount("amount", c.amount)?,
                }
                c.feature.as_deref().map_or(Ok(()), |f| name("feature", f))?;
                c.ttl.map_or(Ok(()), |t| ttl("ttl", t))?;
                reference("reference", c.reference.as_deref())
            }
            Action::Confirm(c) => match (c.amount, &c.used) {
                (Some(n), Some(used)) => {
                    price("amount", n)?;
                    length("used", used, QUOTE_BYTES_MAX)
                }
                (n, _) => n.map_or(Ok(()), |n| amount("amount", n)),
            },
            Action::Refund(c) => {
                c.amount.map_or(Ok(()), |n| amount("amount", n))?;
                reference("reason", c.reason.as_deref())?;
                reference("operator", c.operator.as_deref())
            }
            Action::Extend(c) => {
                ttl("ttl", c.ttl)?;
                reference("reason", c.reason.as_deref())
            }
            Action::Adjust(c) => {
                if c.amount == 0 {
                    return Err(invalid(
                        "amount",
                        "must not be 0",
                        "-2^53+1 .. 2^53-1 and not 0",
                        0,
                    ));
                }
                if c.amount.unsigned_abs() > CREDITS_MAX as u64 {
                    return Err(invalid("amount", "is too large", CREDITS_MAX, c.amount));
                }
                required("reason", &c.reason)?;
                reference("operator", c.operator.as_deref())
            }
            Action::SetCreditLimit(c) => {
                if (0..=CREDITS_MAX).contains(&c.credit_limit) {
                    Ok(())
                } else {
                    Err(invalid(
                        "credit_limit",
                        "must be 0 .. 2^53-1",
                        CREDITS_MAX,
                        c.credit_limit,
                    ))
                }
            }
            Action::Clawback(c) => {
                c.amount.map_or(Ok(()), |n| amount("amount", n))?;
                reference("reason", c.reason.as_deref())?;
                reference("operator", c.operator.as_deref())
            }
            Action::Order(c) => c.step.validate(),
            Action::Mature { .. } => Ok(()),
        }
    }

    /// SHA-256 of what was asked for, the key left out: the same for the same request whenever it is made.
    ///
    /// Nothing that the ledger fills in goes in, such as a default TTL or the price of the day: a retry across a
    /// change of those is still the same request.
    #[must_use]
    pub fn fingerprint(&self) -> Hash {
        let mut form = Canonical::with_capacity(128);
        match &self.action {
            Action::Grant(c) => {
                form.text("grant");
                form.integer(c.amount);
                form.text(c.source.as_str());
                form.integer(c.priority.into());
                form.optional_integer(c.expires_at.map(Timestamp::as_micros));
                form.optional_integer(c.cost.as_ref().map(|m| m.minor));
                form.optional(c.cost.as_ref().map(|m| m.currency.as_bytes()));
                form.optional(c.reference.as_ref().map(|s| s.as_bytes()));
            }
            Action::Gift(c) => {
                form.text("gift");
                form.integer(c.amount);
                form.text(&c.reason);
                form.optional(c.operator.as_ref().map(|s| s.as_bytes()));
                form.optional_integer(c.expires_at.map(Timestamp::as_micros));
            }
            Action::Consume(c) => {
                match &c.priced {
                    Some(priced) => {
                        form.text("consume_priced");
                        form.text(&priced.request);
                    }
                    None => {
                        form.text("consume");
                        form.integer(c.amount);
                    }
                }
                form.optional(c.feature.as_ref().map(|s| s.as_bytes()));
                form.optional_integer(c.ttl.map(micros));
                form.optional(c.reference.as_ref().map(|s| s.as_bytes()));
                form.optional(c.metadata.as_ref().map(|m| m.as_str().as_bytes()));
            }
            Action::Confirm(c) => {
                match &c.used {
                    Some(used) => {
                        form.text("confirm_used");
                        form.text(used);
                    }
                    None => form.text("confirm"),
                }
                form.optional(Some(c.consumption_id.as_bytes()));
                form.optional_integer(c.amount);
                form.text(c.overage.as_str());
                form.text(c.late.as_str());
            }
            Action::Refund(c) => {
                form.text("refund");
                form.optional(Some(c.consumption_id.as_bytes()));
                form.optional_integer(c.amount);
                form.optional(c.reason.as_ref().map(|s| s.as_bytes()));
                if c.pending_only {
                    form.text("pending_only");
                }
                write_operator(&mut form, c.operator.as_deref());
            }
            Action::Extend(c) => {
                form.text("extend");
                form.optional(Some(c.consumption_id.as_bytes()));
                form.integer(micros(c.ttl));
                if let Some(reason) = &c.reason {
                    form.text(reason);
                }
            }
            Action::Adjust(c) => {
                form.text("adjust");
                form.integer(c.amount);
                form.text(&c.reason);
                form.optional(c.operator.as_ref().map(|s| s.as_bytes()));
            }
            Action::SetCreditLimit(c) => {
                form.text("credit_limit");
                form.integer(c.credit_limit);
            }
            Action::Clawback(c) => {
                form.text("clawback");
                form.optional(Some(c.lot_id.as_bytes()));
                form.optional_integer(c.amount);
                form.text(c.shortfall.as_str());
                form.optional(c.reason.as_ref().map(|s| s.as_bytes()));
                write_operator(&mut form, c.operator.as_deref());
            }
            Action::Order(c) => {
                form.text("order");
                if !matches!(c.step, OrderStep::Open(_)) {
                    form.optional(Some(c.order_no.0.as_bytes()));
                }
                c.step.write(&mut form);
            }
            Action::Mature { .. } => form.text("mature"),
        }
        form.hash()
    }
}

impl OrderStep {
    fn validate(&self) -> Result<(), Refusal> {
        match self {
            OrderStep::Open(c) => {
                let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                if !(1..=CHANNEL_BYTES_MAX).contains(&c.channel.len()) || !c.channel.bytes().all(plain) {
                    let limit = "1 to 32 lower-case letters, digits and underscores";
                    return Err(invalid("channel", "is no plain name", limit, c.channel.len()));
                }
                required("subject", &c.subject)?;
                money("price", &c.price)?;
                amount("credits", c.credits)?;
                price("bonus_credits", c.bonus_credits)?;
                price("credits", c.credits.saturating_add(c.bonus_credits))?;
                if c.validity_days
                    .is_some_and(|days| !(1..=VALIDITY_DAYS_MAX).contains(&days))
                {
                    let given = c.validity_days.unwrap_or_default();
                    return Err(invalid(
                        "validity_days",
                        "is out of range",
                        VALIDITY_DAYS_MAX,
                        given,
                    ));
                }
                Ok(())
            }
            OrderStep::Settle(c) => {
                transaction_id(&c.transaction_id)?;
                money("amount", &c.amount)?;
                instant("paid_at", c.paid_at)
            }
            OrderStep::Refund(c) => {
                match c.minor {
                    Some(n) if !(1..=CREDITS_MAX).contains(&n) => {
                        return Err(invalid("amount", "must be 1 or more minor units", CREDITS_MAX, n));
                    }
                    _ => {}
                }
                reference("reason", c.reason.as_deref())?;
                reference("operator", c.operator.as_deref())
            }
            OrderStep::NoteRefund(c) => {
                reference("channel_id", c.channel_id.as_deref())?;
                reference("problem", c.problem.as_deref())
            }
            OrderStep::Begin | OrderStep::Close { .. } => Ok(()),
        }
    }

    /// What was asked for. Of a new order the package and the channel only: a retry after the package has changed is
    /// still the same request, and the number of the first one counts.
    fn write(&self, form: &mut Canonical) {
        match self {
            OrderStep::Open(c) => {
                form.text("open");
                form.text(&c.channel);
                form.optional(Some(c.package_id.as_bytes()));
            }
            OrderStep::Begin => form.text("begin"),
            OrderStep::Settle(c) => {
                form.text("settle");
                form.text(&c.transaction_id);
                form.integer(c.amount.minor);
                form.text(&c.amount.currency);
            }
            OrderStep::Close { .. } => form.text("close"),
            OrderStep::Refund(c) => {
                form.text("refund");
                form.optional_integer(c.minor);
                form.text(c.shortfall.as_str());
                form.optional(c.reason.as_ref().map(|s| s.as_bytes()));
                form.optional(c.operator.as_ref().map(|s| s.as_bytes()));
            }
            OrderStep::NoteRefund(c) => {
                form.text("note_refund");
                form.integer(c.number.into());
                form.text(c.status.as_str());
                form.optional(c.channel_id.as_ref().map(|s| s.as_bytes()));
                form.optional(c.problem.as_ref().map(|s| s.as_bytes()));
            }
        }
    }
}

/// Only where there is one: requests of before this could be said have to stay what they were.
fn write_operator(form: &mut Canonical, operator: Option<&str>) {
    if let Some(operator) = operator {
        form.text("operator");
        form.text(operator);
    }
}

fn money(field: &'static str, money: &Money) -> Result<(), Refusal> {
    if !(0..=CREDITS_MAX).contains(&money.minor) {
        return Err(invalid(
            field,
            "must be 0 or more minor units",
            CREDITS_MAX,
            money.minor,
        ));
    }
    if money.currency.len() != 3 || !money.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(invalid(
            field,
            "needs an ISO 4217 currency",
            "three capital letters",
            &money.currency,
        ));
    }
    Ok(())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(super) fn invalid(
    field: &'static str,
    problem: &'static str,
    limit: impl ToString,
    value: impl ToString,
) -> Refusal {
    Refusal::Invalid {
        field,
        problem,
        limit: limit.to_string(),
        value: value.to_string(),
    }
}

fn amount(field: &'static str, n: i64) -> Result<(), Refusal> {
    match n {
        1..=CREDITS_MAX => Ok(()),
        n if n < 1 => Err(invalid(field, "must be a positive number of credits", 1, n)),
        n => Err(invalid(field, "is too large", CREDITS_MAX, n)),
    }
}

/// A price may be nothing.
fn price(field: &'static str, n: i64) -> Result<(), Refusal> {
    match n {
        0..=CREDITS_MAX => Ok(()),
        n if n < 0 => Err(invalid(field, "must not be negative", 0, n)),
        n => Err(invalid(field, "is too large", CREDITS_MAX, n)),
    }
}

/// Long values are named by their length: an error must not carry a megabyte back.
fn length(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.len() > bytes_max {
        return Err(invalid(
            field,
            "is too long",
            format!("{bytes_max} bytes"),
            format!("{} bytes", text.len()),
        ));
    }
    if text.contains('\0') {
        return Err(invalid(
            field,
            "must not contain a NUL character",
            "text without NUL",
            "text with NUL",
        ));
    }
    Ok(())
}

fn reference(field: &'static str, text: Option<&str>) -> Result<(), Refusal> {
    text.map_or(Ok(()), |t| length(field, t, REFERENCE_BYTES_MAX))
}

/// What things are listed by: it has to fit into a line of a table, and to be seen there.
fn name(field: &'static str, text: &str) -> Result<(), Refusal> {
    length(field, text, REFERENCE_BYTES_MAX)?;
    let wrong = match text {
        _ if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) => "nothing",
        _ if !is_one_line(text) => "text with a line break or another control character",
        _ => return Ok(()),
    };
    Err(invalid(
        field,
        "must be a name in one line",
        "one line of text",
        wrong,
    ))
}

/// A payment's name, which is compared character by character: what people can't see must make no difference.
fn transaction_id(text: &str) -> Result<(), Refusal> {
    let field = "transaction_id";
    required(field, text)?;
    let wrong = match text {
        _ if text.trim() != text => "white space at an end",
        _ if text.contains("  ") || text.contains(|c: char| c.is_whitespace() && c != ' ') => {
            "white space that is more than one blank"
        }
        _ if text.contains(|c: char| c.is_control() || is_invisible(c)) => "a character that can't be seen",
        _ => return Ok(()),
    };
    Err(invalid(
        field,
        "must be as the channel or the bank writes it",
        "text in one line, with single blanks inside at the most",
        wrong,
    ))
}

/// What comes along where text is copied, and can't be seen: joiners, marks of direction, a byte order mark.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Whether it has no control characters, line breaks among them.
fn is_one_line(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fn required(field: &'static str, text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        return Err(invalid(
            field,
            "must say something",
            "1 character or more",
            "nothing",
        ));
    }
    length(field, text, REFERENCE_BYTES_MAX)
}

pub(crate) fn ttl(field: &'static str, ttl: Duration) -> Result<(), Refusal> {
    if (TTL_MIN..=TTL_MAX).contains(&ttl) {
        Ok(())
    } else {
        Err(invalid(
            field,
            "must be 1 s to 30 d",
            "1 s .. 2592000 s",
            format!("{} s", ttl.as_secs_f64()),
        ))
    }
}

fn instant(field: &'static str, t: Option<Timestamp>) -> Result<(), Refusal> {
    match t {
        Some(t) if !t.in_range() => Err(invalid(
            field,
            "is out of range",
            format!("{} .. {}", Timestamp::MIN, Timestamp::MAX),
            t,
        )),
        _ => Ok(()),
    }
}
