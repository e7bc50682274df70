//! The example's own count, made only from the answers that callers got: a second opinion on the ledger's books.
//!
//! It is kept by lot. Each answer names the lots that paid (`Consumption::lots`), so at the end what a lot has left is
//! what was granted less what it paid for; and that either has expired with the lot or is there. Nothing depends on the
//! order in which answers are noted.

use crate::Failure;
use crate::stage::lock;
use jointo_credits::{Consumption, Matured, Pin, Receipt, Timestamp};
use std::collections::HashMap;
use std::sync::Mutex;
use uuid::Uuid;

#[derive(Default)]
pub struct Count {
    notes: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    outcomes: Outcomes,
    granted: HashMap<Uuid, Granted>,
    /// What each lot paid for jobs that stand confirmed.
    paid: HashMap<Uuid, i64>,
    spent: i64,
    /// Holds that nobody has confirmed or refunded.
    unanswered: Vec<Consumption>,
    /// What went back to lots after it had been spent, and when.
    reversed: Vec<(Pin, Option<Timestamp>)>,
    swept: Matured,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Granted {
    amount: i64,
    expires_at: Option<Timestamp>,
}

/// How jobs ended.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcomes {
    pub confirmed: u64,
    /// Of the confirmed: for more than was held, for less, and for what was held though more was used.
    pub for_more: u64,
    pub for_less: u64,
    pub capped: u64,
    pub reversed: u64,
    pub refunded: u64,
    /// Of the expired: those whose worker answered too late.
    pub late: u64,
    pub expired: u64,
    pub held: u64,
    pub refused: u64,
}

impl Outcomes {
    pub fn jobs(&self) -> u64 {
        self.confirmed + self.reversed + self.refunded + self.expired + self.held + self.refused
    }

    /// Jobs that the ledger has a consumption of.
    pub fn accepted(&self) -> u64 {
        self.jobs() - self.refused
    }
}

/// Where all credits are. The first is the sum of the others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Credits {
    pub issued: i128,
    pub spent: i128,
    pub held: i128,
    pub expired: i128,
    pub left: i128,
}

impl Credits {
    pub fn lines(&self) -> [(&'static str, i128); 5] {
        [
            ("issued", self.issued),
            ("spent", self.spent),
            ("held", self.held),
            ("expired", self.expired),
            ("left", self.left),
        ]
    }

    /// Zero, or credits that nobody knows anything about.
    pub fn unaccounted(&self) -> i128 {
        self.issued - self.spent - self.held - self.expired - self.left
    }
}

/// The result of counting.
pub struct Counted {
    pub outcomes: Outcomes,
    pub credits: Credits,
    pub swept: Matured,
    pub lots: u64,
    /// Lots that paid for more than they had, and the like.
    pub faults: Vec<String>,
}

impl Count {
    /// Noted by the lot's id, so an answer that comes twice counts once.
    pub fn granted(&self, receipt: &Receipt) -> Result<(), Failure> {
        let Some(lot) = &receipt.lot else {
            return Err(Failure::Broken(format!("a grant made no lot: {receipt:?}")));
        };
        let granted = Granted {
            amount: lot.amount,
            expires_at: lot.expires_at,
        };
        match lock(&self.notes).granted.insert(lot.lot_id, granted) {
            Some(before) if before != granted => Err(Failure::Broken(format!(
                "a repeated grant was answered differently: {receipt:?}"
            ))),
            _ => Ok(()),
        }
    }

    pub fn refused(&self) {
        lock(&self.notes).outcomes.refused += 1;
    }

    pub fn refunded(&self) {
        lock(&self.notes).outcomes.refunded += 1;
    }

    /// Held, and nobody says what became of it: it has expired or will.
    pub fn unanswered(&self, hold: Consumption) {
        lock(&self.notes).unanswered.push(hold);
    }

    /// The same, and the ledger has said that it has expired.
    pub fn late(&self, hold: Consumption) {
        let mut notes = lock(&self.notes);
        notes.outcomes.late += 1;
        notes.unanswered.push(hold);
    }

    /// `price` is that of what was used, whatever was held.
    pub fn confirmed(&self, hold: &Consumption, confirmed: &Consumption, price: i64) -> Result<(), Failure> {
        let from_lots: i64 = confirmed.lots.iter().map(|pin| pin.amount).sum();
        if confirmed.captured != from_lots {
            let broken = format!(
                "{} spent and {from_lots} taken from lots: {confirmed:?}",
                confirmed.captured
            );
            return Err(Failure::Broken(broken));
        }
        // Less than the price only where the difference was not there: then it is what was held.
        if confirmed.captured != price && (confirmed.captured != hold.amount || price < hold.amount) {
            let broken = format!(
                "a price of {price} was confirmed as {}: {confirmed:?}",
                confirmed.captured
            );
            return Err(Failure::Broken(broken));
        }
        let mut notes = lock(&self.notes);
        notes.outcomes.confirmed += 1;
        notes.outcomes.for_more += u64::from(confirmed.captured > hold.amount);
        notes.outcomes.for_less += u64::from(confirmed.captured < hold.amount);
        notes.outcomes.capped += u64::from(confirmed.captured < price);
        notes.spent += confirmed.captured;
        for pin in &confirmed.lots {
            *notes.paid.entry(pin.lot_id).or_default() += pin.amount;
        }
        Ok(())
    }

    /// A confirmed one was given back in full.
    pub fn reversed(&self, confirmed: &Consumption, reversed: &Consumption) {
        let mut notes = lock(&self.notes);
        notes.outcomes.confirmed -= 1;
        notes.outcomes.reversed += 1;
        notes.spent -= reversed.reversed;
        for &pin in &confirmed.lots {
            *notes.paid.entry(pin.lot_id).or_default() -= pin.amount;
            notes.reversed.push((pin, reversed.settled_at));
        }
    }

    pub fn swept(&self, matured: Matured) {
        lock(&self.notes).swept.add(matured);
    }

    /// How everything stands at `end`.
    pub fn at(&self, end: Timestamp) -> Counted {
        let notes = lock(&self.notes);
        let mut outcomes = notes.outcomes;
        let mut credits = Credits {
            spent: notes.spent.into(),
            ..Credits::default()
        };
        let mut paid = notes.paid.clone();
        for hold in &notes.unanswered {
            if hold.expires_at <= end {
                outcomes.expired += 1;
                continue;
            }
            outcomes.held += 1;
            credits.held += i128::from(hold.amount);
            for pin in &hold.lots {
                *paid.entry(pin.lot_id).or_default() += pin.amount;
            }
        }
        // Spent credits that come back after their lot has expired live on in a lot that the ledger makes for them.
        let mut faults = Vec::new();
        let mut moved: HashMap<Uuid, i64> = HashMap::new();
        let mut in_new_lots = 0;
        for (pin, at) in &notes.reversed {
            let lot_expiry = notes.granted.get(&pin.lot_id).and_then(|lot| lot.expires_at);
            if lot_expiry.is_some_and(|expiry| at.is_some_and(|at| at >= expiry)) {
                *moved.entry(pin.lot_id).or_default() += pin.amount;
                in_new_lots += pin.amount;
            }
        }
        for (id, lot) in &notes.granted {
            credits.issued += i128::from(lot.amount);
            let gone = paid.remove(id).unwrap_or(0) + moved.get(id).copied().unwrap_or(0);
            let rest = lot.amount - gone;
            if rest < 0 {
                faults.push(format!(
                    "lot {id} had {} credits and {gone} were taken from it",
                    lot.amount
                ));
            }
            if lot.expires_at.is_some_and(|expiry| expiry <= end) {
                credits.expired += i128::from(rest);
            } else {
                credits.left += i128::from(rest);
            }
        }
        // What is left of `paid` was paid by lots that nobody was granted: those new lots.
        let rest = in_new_lots - paid.values().sum::<i64>();
        if rest < 0 {
            faults.push(format!(
                "{} credits were taken from lots that nobody was granted",
                -rest
            ));
        }
        credits.left += i128::from(rest);
        Counted {
            outcomes,
            credits,
            swept: notes.swept,
            lots: notes.granted.len() as u64,
            faults,
        }
    }
}
