//! One account's books: where every credit of every lot is, and what time does to them.

use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Balance, Consumption, Expiring, Lot, Matured, Metadata, Money, Pin, Source, Status,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// Where the credits of one lot are.
#[derive(Debug, Clone)]
pub(super) struct LotPlaces {
    /// Unknown only for a `reversal` lot that nothing has named yet.
    pub(super) id: Option<Uuid>,
    pub(super) source: Source,
    pub(super) amount: i64,
    pub(super) priority: i32,
    pub(super) expires: Option<Timestamp>,
    pub(super) cost: Option<Money>,
    pub(super) reference: Option<String>,
    pub(super) origin: Option<usize>,
    pub(super) created: Timestamp,
    /// Spendable.
    pub(super) free: i64,
    pub(super) expired: i64,
    /// Taken back by a clawback or a correction.
    pub(super) taken: i64,
    /// Burned to pay what was owed for good.
    pub(super) paid: i64,
    /// Gone to a `reversal` lot.
    pub(super) moved: i64,
    /// Not a place: a clawback booked these as debt, wherever they are.
    pub(super) booked: i64,
    /// Not a place: a clawback forgave these, and takes them should they come back.
    pub(super) claim: i64,
}

/// One consumption and the credits it holds or has used.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) id: Uuid,
    pub(super) amount: i64,
    pub(super) feature: Option<String>,
    pub(super) reference: Option<String>,
    pub(super) metadata: Option<Metadata>,
    pub(super) quote: Option<String>,
    pub(super) used: Option<String>,
    pub(super) created: Timestamp,
    pub(super) deadline: Timestamp,
    pub(super) settled: Option<Timestamp>,
    pub(super) status: Status,
    pub(super) captured: i64,
    pub(super) reversed: i64,
    /// From which lots, first to last.
    pub(super) tape: Vec<(usize, i64)>,
    /// On credit; it stands behind the whole tape.
    pub(super) credit: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Book {
    pub(super) user_id: Uuid,
    pub(super) lots: Vec<LotPlaces>,
    pub(super) uses: Vec<Use>,
    /// Debt for good, which no pending hold borrowed.
    pub(super) owed: i64,
    pub(super) limit: i64,
    /// How many entries the journal must have.
    pub(super) entries: i64,
    /// How many borrowers, and lots of theirs, an entry that pays for them tells of before another one continues it.
    room: usize,
    /// What has passed since a command was last accepted: the next one that is writes it down.
    pub(super) unwritten: Passed,
}

/// What passing time did.
pub(super) type Passed = Matured;

impl Book {
    pub(super) fn new(user_id: Uuid, room: usize) -> Self {
        Book {
            user_id,
            lots: Vec::new(),
            uses: Vec::new(),
            owed: 0,
            limit: 0,
            entries: 0,
            room,
            unwritten: Passed::default(),
        }
    }

    // Figures: sums over places, each time.

    pub(super) fn free(&self) -> i64 {
        self.lots.iter().map(|l| l.free).sum()
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter().filter(|u| u.status == Status::Pending)
    }

    pub(super) fn borrowed(&self) -> i64 {
        self.pending().map(|u| u.credit).sum()
    }

    pub(super) fn debt(&self) -> i64 {
        self.owed + self.borrowed()
    }

    pub(super) fn available(&self) -> i64 {
        self.free() - self.debt()
    }

    pub(super) fn held(&self) -> i64 {
        self.pending()
            .map(|u| u.tape.iter().map(|t| t.1).sum::<i64>() + u.credit)
            .sum()
    }

    pub(super) fn granted(&self) -> i64 {
        let came: i64 = self
            .lots
            .iter()
            .filter(|l| l.source != Source::Reversal)
            .map(|l| l.amount)
            .sum();
        came - self.lots.iter().map(|l| l.taken + l.booked).sum::<i64>()
    }

    pub(super) fn spent(&self) -> i64 {
        self.uses.iter().map(|u| u.captured - u.reversed).sum()
    }

    pub(super) fn spendable(&self) -> i64 {
        (self.available() + self.limit).max(0)
    }

    /// Every credit is in one place; nothing is owed beside something free.
    pub(super) fn assert_sound(&self) {
        let mut used = vec![0; self.lots.len()];
        self.uses
            .iter()
            .flat_map(|u| &u.tape)
            .for_each(|(lot, n)| used[*lot] += n);
        for (lot, used) in self.lots.iter().zip(used) {
            let places = lot.free + lot.expired + lot.taken + lot.paid + lot.moved + used;
            assert_eq!(places, lot.amount, "auditor: places of {lot:?}");
            assert!(
                lot.free >= 0 && lot.claim >= 0 && lot.booked >= 0,
                "auditor: {lot:?}"
            );
        }
        for u in &self.uses {
            let on_tape: i64 = u.tape.iter().map(|t| t.1).sum::<i64>() + u.credit;
            let expected = match u.status {
                Status::Pending => u.amount,
                Status::Confirmed => u.captured - u.reversed,
                _ => 0,
            };
            assert_eq!(on_tape, expected, "auditor: tape of {u:?}");
        }
        assert!(
            self.debt() == 0 || self.free() == 0,
            "auditor: debt beside free credits"
        );
    }

    // Burning.

    pub(super) fn better(&self, a: usize, b: usize) -> Ordering {
        let (x, y) = (&self.lots[a], &self.lots[b]);
        x.priority
            .cmp(&y.priority)
            .then_with(|| match (x.expires, y.expires) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(e), Some(f)) => e.cmp(&f),
            })
            .then_with(|| {
                let promotional = |l: &LotPlaces| matches!(l.source, Source::Gift | Source::Bonus);
                promotional(y).cmp(&promotional(x))
            })
            .then_with(|| x.created.cmp(&y.created))
            // Ids sort in the order lots were made.
            .then_with(|| a.cmp(&b))
    }

    /// Takes up to `n` free credits at `t`.
    pub(super) fn burn(&mut self, mut n: i64, t: Timestamp) -> Vec<(usize, i64)> {
        let mut taken = Vec::new();
        while n > 0 {
            let best = (0..self.lots.len())
                .filter(|i| self.lots[*i].free > 0 && self.lots[*i].expires.is_none_or(|e| e > t))
                .min_by(|a, b| self.better(*a, *b));
            let Some(best) = best else { break };
            let some = n.min(self.lots[best].free);
            self.lots[best].free -= some;
            n -= some;
            taken.push((best, some));
        }
        taken
    }

    /// Whatever is free pays debt: for good first, then what pending holds borrowed, by consumption id. The entry that tells of
    /// it has been counted; those that continue it are counted here.
    pub(super) fn pay(&mut self, t: Timestamp) {
        for (lot, n) in self.burn(self.owed, t) {
            self.lots[lot].paid += n;
            self.owed -= n;
        }
        if self.owed > 0 {
            return;
        }
        let mut borrowers: Vec<(Uuid, usize)> = (0..self.uses.len())
            .filter(|i| self.uses[*i].status == Status::Pending && self.uses[*i].credit > 0)
            .map(|i| (self.uses[i].id, i))
            .collect();
        borrowers.sort_unstable();
        let mut told = 0;
        for (_, i) in borrowers {
            let pins = self.burn(self.uses[i].credit, t);
            if pins.is_empty() {
                return;
            }
            if told >= self.room {
                self.entries += 1;
                told = 0;
            }
            for (lot, n) in pins {
                self.uses[i].credit -= n;
                splice(&mut self.uses[i].tape, lot, n);
            }
            told += 1 + self.uses[i].tape.len();
        }
    }

    // Giving back.

    /// Credits come back at `t` and pay debt. With a `grace`, those of an expired lot live on in a new lot; without,
    /// they expire. Claims are taken in turn, as long as there is something granted that nobody took; then they lapse.
    pub(super) fn come_back(
        &mut self,
        tape: Vec<(usize, i64)>,
        t: Timestamp,
        grace: Option<Duration>,
        names: &mut Names,
    ) -> Passed {
        let mut passed = Passed::default();
        let (mut claimed_lots, mut expired_lots) = (BTreeSet::new(), BTreeSet::new());
        let mut lapsed = Vec::new();
        for (i, n) in tape {
            let claimed = n.min(self.lots[i].claim);
            if claimed > 0 {
                let takable = claimed.min(self.granted());
                self.lots[i].claim -= claimed;
                self.lots[i].taken += takable;
                claimed_lots.insert(i);
                lapsed.push((i, claimed - takable));
            }
            let rest = n - claimed;
            if rest == 0 {
                continue;
            }
            match (self.lots[i].expires.is_some_and(|e| e <= t), grace) {
                (false, _) => self.lots[i].free += rest,
                (true, None) => {
                    self.lots[i].expired += rest;
                    expired_lots.insert(i);
                    passed.expired += rest;
                }
                (true, Some(grace)) => {
                    self.lots[i].moved += rest;
                    let (priority, reference) = (self.lots[i].priority, self.lots[i].reference.clone());
                    self.add_reversal(rest, t, grace, priority, reference, Some(i), names);
                }
            }
        }
        self.pay(t);
        for (i, n) in lapsed.into_iter().filter(|(_, n)| *n > 0) {
            if self.lots[i].expires.is_some_and(|e| e <= t) {
                self.lots[i].expired += n;
                expired_lots.insert(i);
                passed.expired += n;
            } else {
                self.lots[i].free += n;
                self.pay(t);
            }
        }
        // Each is an entry of its own.
        self.entries += (claimed_lots.len() + expired_lots.len()) as i64;
        passed.lots = expired_lots.len() as u64;
        passed
    }

    #[allow(clippy::too_many_arguments, reason = "a lot has that many facts")]
    pub(super) fn add_reversal(
        &mut self,
        amount: i64,
        t: Timestamp,
        grace: Duration,
        priority: i32,
        reference: Option<String>,
        origin: Option<usize>,
        names: &mut Names,
    ) {
        // Where the credits were granted, however often they have moved.
        let origin = origin.map(|o| match self.lots[o].source {
            Source::Reversal => self.lots[o].origin.unwrap_or(o),
            _ => o,
        });
        let origin_id = origin.and_then(|o| self.lots[o].id);
        self.lots.push(LotPlaces {
            id: names.reversal(amount, t, origin_id),
            source: Source::Reversal,
            amount,
            priority,
            expires: Some(t.plus(grace)),
            cost: None,
            reference,
            origin,
            created: t,
            free: amount,
            expired: 0,
            taken: 0,
            paid: 0,
            moved: 0,
            booked: 0,
            claim: 0,
        });
    }

    /// A pending hold ends at `t` and everything goes back.
    pub(super) fn release(
        &mut self,
        i: usize,
        status: Status,
        t: Timestamp,
        grace: Option<Duration>,
        names: &mut Names,
    ) -> Passed {
        let tape = std::mem::take(&mut self.uses[i].tape);
        self.uses[i].credit = 0;
        self.uses[i].status = status;
        self.uses[i].settled = Some(t);
        self.entries += 1;
        self.come_back(tape, t, grace, names)
    }

    // Time.

    /// Lives through everything up to and including `now`, one event at a time; at one instant lots go first.
    pub(super) fn pass_time(&mut self, now: Timestamp, grace: Option<Duration>, names: &mut Names) -> Passed {
        let mut passed = Passed::default();
        loop {
            let lot = (0..self.lots.len())
                .filter(|i| self.lots[*i].free > 0)
                .filter_map(|i| Some((self.lots[i].expires?, i)))
                .min();
            let hold = (0..self.uses.len())
                .filter(|i| self.uses[*i].status == Status::Pending)
                .map(|i| (self.uses[i].deadline, self.uses[i].id, i))
                .min();
            let lot_is_next = match (lot, hold) {
                (Some((e, _)), Some((d, ..))) => e <= d,
                (lot, _) => lot.is_some(),
            };
            if lot_is_next {
                let Some((_, i)) = lot.filter(|(e, _)| *e <= now) else {
                    return passed;
                };
                let gone = std::mem::take(&mut self.lots[i].free);
                self.lots[i].expired += gone;
                self.entries += 1;
                passed.add(Passed {
                    lots: 1,
                    expired: gone,
                    ..Passed::default()
                });
            } else {
                let Some((deadline, _, i)) = hold.filter(|(d, ..)| *d <= now) else {
                    return passed;
                };
                passed.add(Passed {
                    holds: 1,
                    released: self.uses[i].amount,
                    ..Passed::default()
                });
                passed.add(self.release(i, Status::Expired, deadline, grace, names));
            }
        }
    }

    /// Names what came to be at a refused command, which wrote nothing down.
    pub(super) fn named(&mut self, lots: Option<&[Lot]>) -> Names {
        let known: BTreeSet<Uuid> = self.lots.iter().filter_map(|l| l.id).collect();
        let mut names = Names::new(lots, &known);
        for i in 0..self.lots.len() {
            let LotPlaces {
                id,
                amount,
                created,
                origin,
                ..
            } = self.lots[i];
            if id.is_none() {
                self.lots[i].id = names.reversal(amount, created, origin.and_then(|o| self.lots[o].id));
            }
        }
        names
    }

    // What is told.

    pub(super) fn consumption(&self, i: usize) -> Consumption {
        let u = &self.uses[i];
        Consumption {
            id: u.id,
            user_id: self.user_id,
            status: u.status,
            amount: u.amount,
            captured: u.captured,
            reversed: u.reversed,
            borrowed: u.credit,
            lots: u
                .tape
                .iter()
                .map(|(lot, n)| Pin {
                    lot_id: self.lots[*lot].id.unwrap_or_default(),
                    amount: *n,
                })
                .collect(),
            feature: u.feature.clone(),
            reference: u.reference.clone(),
            metadata: u.metadata.clone(),
            quote: u.quote.clone(),
            used: u.used.clone(),
            created_at: u.created,
            expires_at: u.deadline,
            settled_at: u.settled,
        }
    }

    pub(super) fn lot(&self, i: usize) -> Lot {
        let l = &self.lots[i];
        Lot {
            lot_id: l.id.unwrap_or_default(),
            source: l.source,
            amount: l.amount,
            remaining: l.free,
            expired: l.expired,
            clawed: l.taken + l.booked,
            claim: l.claim,
            priority: l.priority,
            expires_at: l.expires,
            cost: l.cost.clone(),
            reference: l.reference.clone(),
            origin: l.origin.and_then(|o| self.lots[o].id),
            created_at: l.created,
        }
    }

    pub(super) fn balance(&self, now: Timestamp) -> Balance {
        // The hundred lots that expire first, oldest id first where they do so together.
        let mut in_turn: Vec<(Timestamp, Uuid, i64)> = Vec::new();
        for lot in self.lots.iter().filter(|l| l.free > 0) {
            if let Some(e) = lot.expires {
                in_turn.push((e, lot.id.unwrap_or_default(), lot.free));
            }
        }
        in_turn.sort_unstable();
        let mut expiring: BTreeMap<Timestamp, i64> = BTreeMap::new();
        for (e, _, free) in in_turn.iter().take(100) {
            *expiring.entry(*e).or_default() += free;
        }
        Balance {
            user_id: self.user_id,
            available: self.available(),
            held: self.held(),
            debt: self.debt(),
            credit_limit: self.limit,
            granted: self.granted(),
            spent: self.spent(),
            expiring: expiring
                .into_iter()
                .map(|(at, amount)| Expiring { at, amount })
                .collect(),
            expiring_more: in_turn.len() > 100,
            seq: self.entries,
            at: now,
        }
    }
}

/// One lot stands on a tape once, at its first place.
pub(super) fn splice(tape: &mut Vec<(usize, i64)>, lot: usize, n: i64) {
    match tape.iter_mut().find(|(l, _)| *l == lot) {
        Some((_, m)) => *m += n,
        None => tape.push((lot, n)),
    }
}

/// Ids that the ledger derived and the auditor can't: of lots that came out of releases and reversals.
pub(super) struct Names {
    /// Unnamed `reversal` lots, in order of id.
    pub(super) unnamed: Vec<Lot>,
}

impl Names {
    pub(super) fn new(lots: Option<&[Lot]>, known: &BTreeSet<Uuid>) -> Self {
        let mut unnamed: Vec<Lot> = lots
            .unwrap_or_default()
            .iter()
            .filter(|l| l.source == Source::Reversal && !known.contains(&l.lot_id))
            .cloned()
            .collect();
        unnamed.sort_by_key(|l| l.lot_id);
        Names { unnamed }
    }

    pub(super) fn none() -> Self {
        Names { unnamed: Vec::new() }
    }

    pub(super) fn reversal(&mut self, amount: i64, t: Timestamp, origin: Option<Uuid>) -> Option<Uuid> {
        let at = self
            .unnamed
            .iter()
            .position(|l| l.amount == amount && l.created_at == t && l.origin == origin)?;
        Some(self.unnamed.remove(at).lot_id)
    }
}
