//! What an accepted command returns. It is derived from the entry that recorded it, so that a replay of the same
//! key, years later, says exactly what the first call said.

use super::limits::EXPIRING_LOTS_MAX;
use super::{Entry, Hash, Hold, Kind, Lot, Metadata, Order, Pin, Refusal, State, Status, Timestamp};
use alloc::{boxed::Box, string::String, vec::Vec};
use uuid::Uuid;

/// A consumption as it was after one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumption {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// How it stands.
    pub status: Status,
    /// Credits held at first.
    pub amount: i64,
    /// Credits captured.
    pub captured: i64,
    /// Credits given back after capture.
    pub reversed: i64,
    /// The part of what is held, or captured and not reversed, that was taken on credit.
    pub borrowed: i64,
    /// The lots that pay for what is held, or captured and not reversed.
    pub lots: Vec<Pin>,
    /// What for.
    pub feature: Option<String>,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// The caller's own facts.
    pub metadata: Option<Metadata>,
    /// The quote that its amount came from, frozen. See [`crate::pricing::Quote::from_json`].
    pub quote: Option<String>,
    /// The quantities really used, where what was captured is their price.
    pub used: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The hold's deadline.
    pub expires_at: Timestamp,
    /// When it was confirmed, refunded or expired.
    pub settled_at: Option<Timestamp>,
}

impl Consumption {
    /// As the books say.
    #[must_use]
    pub fn from_hold(hold: &Hold) -> Self {
        Consumption {
            id: hold.consumption_id,
            user_id: hold.user_id,
            status: hold.state.status,
            amount: hold.amount,
            captured: hold.state.captured,
            reversed: hold.state.reversed,
            borrowed: hold.state.borrowed,
            lots: hold.state.pins.clone(),
            feature: hold.feature.clone(),
            reference: hold.reference.clone(),
            metadata: hold.metadata.clone(),
            quote: hold.quote.clone(),
            used: hold.state.used.clone(),
            created_at: hold.created_at,
            expires_at: hold.state.expires_at,
            settled_at: hold.state.settled_at,
        }
    }
}

/// What a grant, gift, adjustment or credit limit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The account.
    pub user_id: Uuid,
    /// Number of the entry that records it.
    pub seq: i64,
    /// What was done.
    pub kind: Kind,
    /// Credits that came (positive) or went (negative).
    pub amount: i64,
    /// The lot that was granted, as it was before it paid any debt.
    pub lot: Option<Lot>,
    /// `available` afterwards.
    pub available: i64,
    /// The credit limit that was set.
    pub credit_limit: Option<i64>,
    /// When.
    pub created_at: Timestamp,
}

/// What a clawback took and what it could not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClawbackReceipt {
    /// The account.
    pub user_id: Uuid,
    /// Number of the entry that records it.
    pub seq: i64,
    /// The lot.
    pub lot_id: Uuid,
    /// Credits taken out of the lot.
    pub taken: i64,
    /// Credits that were used or held and so could not be taken.
    pub shortfall: i64,
    /// The part of the shortfall that was booked as debt: all or nothing.
    pub debt: i64,
    /// `available` afterwards.
    pub available: i64,
    /// When.
    pub created_at: Timestamp,
}

/// What was written down as past its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matured {
    /// Holds that expired.
    pub holds: u64,
    /// Credits that these gave back.
    pub released: i64,
    /// Lots (or parts of one that came back after its expiry) that expired.
    pub lots: u64,
    /// Credits that expired with them.
    pub expired: i64,
}

impl Matured {
    /// Counts an entry.
    pub fn count(&mut self, entry: &Entry) {
        match entry.kind {
            _ if entry.effects.continues.is_some() => {}
            Kind::ExpireHold => {
                self.holds += 1;
                self.released -= entry.held_change;
            }
            Kind::ExpireLot => {
                self.lots += 1;
                self.expired -= entry.change;
            }
            _ => {}
        }
    }

    /// Adds another sum to this one.
    pub fn add(&mut self, other: Matured) {
        self.holds += other.holds;
        self.released += other.released;
        self.lots += other.lots;
        self.expired += other.expired;
    }
}

/// The result of an accepted command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of consume, confirm, refund and extend.
    Consumption(Consumption),
    /// Of grant, gift, adjust and set_credit_limit.
    Receipt(Receipt),
    /// Of clawback.
    Clawback(ClawbackReceipt),
    /// Of every step of an order.
    Order(Box<Order>),
    /// Of writing down deadlines.
    Matured(Matured),
}

impl Outcome {
    /// What the command that made `entry` returned. `hold` is the consumption that the entry names, in any later
    /// state: only what never changes is read from it.
    #[must_use]
    pub fn of(entry: &Entry, hold: Option<&Hold>) -> Option<Outcome> {
        if let Some(order) = &entry.effects.order {
            return Some(Outcome::Order(order.clone()));
        }
        if let Some(state) = &entry.effects.hold {
            let hold = hold?;
            let then = Hold {
                state: state.clone(),
                ..hold.clone()
            };
            return Some(Outcome::Consumption(Consumption::from_hold(&then)));
        }
        match entry.kind {
            Kind::Clawback => Some(Outcome::Clawback(ClawbackReceipt {
                user_id: entry.user_id,
                seq: entry.seq,
                lot_id: entry.lot_id?,
                taken: -entry.effects.lots.first().map_or(0, |l| l.remaining.min(0)),
                shortfall: entry.effects.shortfall.unwrap_or(0),
                debt: entry.effects.clawback_debt.unwrap_or(0),
                available: entry.available,
                created_at: entry.created_at,
            })),
            Kind::Grant | Kind::Gift | Kind::Adjust | Kind::CreditLimit => Some(Outcome::Receipt(Receipt {
                user_id: entry.user_id,
                seq: entry.seq,
                kind: entry.kind,
                amount: entry.change,
                lot: entry.effects.new_lots.first().cloned(),
                available: entry.available,
                credit_limit: entry.effects.credit_limit,
                created_at: entry.created_at,
            })),
            _ => None,
        }
    }
}

/// An entry that already carries the key a command came with, and the consumption it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prior {
    /// The entry.
    pub entry: Entry,
    /// The consumption that the entry names.
    pub hold: Option<Hold>,
}

impl Prior {
    /// The first result again, where the request is the same (rule **idempotency**).
    ///
    /// # Errors
    /// [`Refusal::IdempotencyConflict`] where the key came with another request.
    pub fn replay(&self, fingerprint: &Hash) -> Result<Outcome, Refusal> {
        let conflict = || Refusal::IdempotencyConflict {
            key: self.entry.idempotency_key.clone().unwrap_or_default(),
        };
        if self.entry.request_hash.as_ref() != Some(fingerprint) {
            return Err(conflict());
        }
        Outcome::of(&self.entry, self.hold.as_ref()).ok_or_else(conflict)
    }
}

/// What an account's owner can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The account.
    pub user_id: Uuid,
    /// Credits that can be spent now, less debt. Negative only with a credit limit or after a clawback.
    pub available: i64,
    /// Credits in live holds.
    pub held: i64,
    /// Credits owed.
    pub debt: i64,
    /// How far below zero `consume` may take `available`.
    pub credit_limit: i64,
    /// Credits ever issued, less those clawed back or corrected away.
    pub granted: i64,
    /// Credits ever captured, less those reversed.
    pub spent: i64,
    /// What will expire and when, soonest first: of the [`EXPIRING_LOTS_MAX`](super::limits::EXPIRING_LOTS_MAX) lots that
    /// expire first.
    pub expiring: Vec<Expiring>,
    /// Whether other lots expire after those: at the last of these times, or later.
    pub expiring_more: bool,
    /// Number of the last entry that this includes. Where a deadline has passed and its entry is not written yet, it is the
    /// number that this entry will have: a later balance never has a smaller number.
    pub seq: i64,
    /// The instant this is true at.
    pub at: Timestamp,
}

/// Credits that will expire together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiring {
    /// When.
    pub at: Timestamp,
    /// How many, if they are not spent before.
    pub amount: i64,
}

impl Balance {
    /// Of a state whose deadlines up to `at` have been applied. Where it knows a part of the lots only, it knows those that
    /// expire first ([`State::expiring_end`]).
    #[must_use]
    pub fn of(state: &State, at: Timestamp) -> Self {
        let account = &state.account;
        let free = state.lots.values().filter(|lot| lot.free(at) > 0);
        let mut lots: Vec<((Timestamp, Uuid), i64)> = free
            .filter_map(|lot| Some((lot.expiry()?, lot.free(at))))
            .filter(|(expiry, _)| state.expiring_end.is_none_or(|end| *expiry <= end))
            .collect();
        lots.sort_unstable();
        let expiring_more = state.expiring_end.is_some() || lots.len() > EXPIRING_LOTS_MAX;
        lots.truncate(EXPIRING_LOTS_MAX);
        let mut expiring: Vec<Expiring> = Vec::new();
        for ((at, _), amount) in lots {
            match expiring.last_mut() {
                Some(last) if last.at == at => last.amount += amount,
                _ => expiring.push(Expiring { at, amount }),
            }
        }
        Balance {
            user_id: account.user_id,
            available: account.available,
            held: account.held,
            debt: account.debt,
            credit_limit: account.credit_limit,
            granted: account.granted,
            spent: account.spent,
            expiring,
            expiring_more,
            seq: account.seq,
            at,
        }
    }
}
