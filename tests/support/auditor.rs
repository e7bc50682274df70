//! An auditor that keeps its own books: what must be true after each command, worked out from `design.md` and the
//! documentation of `src/ledger` alone. It shares nothing with `decide` and `apply` but the types of questions and
//! answers, and it works the other way round:
//!
//! * The rules change figures (`available`, `held`, `debt`, `granted` ...) by differences. The auditor keeps *where
//!   every credit of every lot is* (free, in which consumption, expired, taken back, paid as debt, moved) and adds all
//!   figures up anew each time. Every lot's places must sum to its amount.
//! * The rules apply deadlines in two nested sweeps. The auditor lives through time event by event.
//! * The rules burn a sorted list. The auditor looks for the best lot, takes from it, and looks again.
//!
//! It is slow and simple on purpose. [`Auditor::check`] is told a command, when it was given and what was answered,
//! and says what is wrong with the answer.

use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Action, Balance, Clawback, ClawbackReceipt, Command, Confirm, Consume, Consumption, Expiring, Kind, Late,
    Lot, Matured, Metadata, Money, OnLotExpiredWhileHeld, Outcome, Overage, Pin, Receipt, Refund, Refusal,
    Rules, Shortfall, Source, State, Status, Target,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// 2^53 - 1.
const MOST: i64 = 9_007_199_254_740_991;

/// Where the credits of one lot are.
#[derive(Debug, Clone)]
struct LotPlaces {
    /// Unknown only for a `reversal` lot that nothing has named yet.
    id: Option<Uuid>,
    source: Source,
    amount: i64,
    priority: i32,
    expires: Option<Timestamp>,
    cost: Option<Money>,
    reference: Option<String>,
    origin: Option<usize>,
    created: Timestamp,
    /// Spendable.
    free: i64,
    expired: i64,
    /// Taken back by a clawback or a correction.
    taken: i64,
    /// Burned to pay what was owed for good.
    paid: i64,
    /// Gone to a `reversal` lot.
    moved: i64,
    /// Not a place: a clawback booked these as debt, wherever they are.
    booked: i64,
    /// Not a place: a clawback forgave these, and takes them should they come back.
    claim: i64,
}

/// One consumption and the credits it holds or has used.
#[derive(Debug, Clone)]
struct Use {
    id: Uuid,
    amount: i64,
    feature: Option<String>,
    reference: Option<String>,
    metadata: Option<Metadata>,
    created: Timestamp,
    deadline: Timestamp,
    settled: Option<Timestamp>,
    status: Status,
    captured: i64,
    reversed: i64,
    /// From which lots, first to last.
    tape: Vec<(usize, i64)>,
    /// On credit; it stands behind the whole tape.
    credit: i64,
}

#[derive(Debug, Clone)]
struct Book {
    user_id: Uuid,
    lots: Vec<LotPlaces>,
    uses: Vec<Use>,
    /// Debt for good, which no pending hold borrowed.
    owed: i64,
    limit: i64,
    /// How many entries the journal must have.
    entries: i64,
    /// What has passed since a command was last accepted: the next one that is writes it down.
    unwritten: Passed,
}

/// What passing time did.
type Passed = Matured;

impl Book {
    fn new(user_id: Uuid) -> Self {
        Book {
            user_id,
            lots: Vec::new(),
            uses: Vec::new(),
            owed: 0,
            limit: 0,
            entries: 0,
            unwritten: Passed::default(),
        }
    }

    // Figures: sums over places, each time.

    fn free(&self) -> i64 {
        self.lots.iter().map(|l| l.free).sum()
    }

    fn pending(&self) -> impl Iterator<Item = &Use> {
        self.uses.iter().filter(|u| u.status == Status::Pending)
    }

    fn borrowed(&self) -> i64 {
        self.pending().map(|u| u.credit).sum()
    }

    fn debt(&self) -> i64 {
        self.owed + self.borrowed()
    }

    fn available(&self) -> i64 {
        self.free() - self.debt()
    }

    fn held(&self) -> i64 {
        self.pending()
            .map(|u| u.tape.iter().map(|t| t.1).sum::<i64>() + u.credit)
            .sum()
    }

    fn granted(&self) -> i64 {
        let came: i64 = self
            .lots
            .iter()
            .filter(|l| l.source != Source::Reversal)
            .map(|l| l.amount)
            .sum();
        came - self.lots.iter().map(|l| l.taken + l.booked).sum::<i64>()
    }

    fn spent(&self) -> i64 {
        self.uses.iter().map(|u| u.captured - u.reversed).sum()
    }

    fn spendable(&self) -> i64 {
        (self.available() + self.limit).max(0)
    }

    /// Every credit is in one place; nothing is owed beside something free.
    fn assert_sound(&self) {
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

    fn better(&self, a: usize, b: usize) -> Ordering {
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
    fn burn(&mut self, mut n: i64, t: Timestamp) -> Vec<(usize, i64)> {
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

    /// Whatever is free pays debt: for good first, then what pending holds borrowed, by consumption id.
    fn pay(&mut self, t: Timestamp) {
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
        for (_, i) in borrowers {
            for (lot, n) in self.burn(self.uses[i].credit, t) {
                self.uses[i].credit -= n;
                splice(&mut self.uses[i].tape, lot, n);
            }
        }
    }

    // Giving back.

    /// Credits come back at `t`. With a `grace`, those of an expired lot live on in a new lot; without, they expire.
    fn come_back(
        &mut self,
        tape: Vec<(usize, i64)>,
        t: Timestamp,
        grace: Option<Duration>,
        names: &mut Names,
    ) -> Passed {
        let mut passed = Passed::default();
        let (mut claimed_lots, mut expired_lots) = (BTreeSet::new(), BTreeSet::new());
        for (i, n) in tape {
            let claimed = n.min(self.lots[i].claim);
            if claimed > 0 {
                self.lots[i].claim -= claimed;
                self.lots[i].taken += claimed;
                claimed_lots.insert(i);
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
        // Each is an entry of its own.
        self.entries += (claimed_lots.len() + expired_lots.len()) as i64;
        passed.lots = expired_lots.len() as u64;
        passed
    }

    #[allow(clippy::too_many_arguments, reason = "a lot has that many facts")]
    fn add_reversal(
        &mut self,
        amount: i64,
        t: Timestamp,
        grace: Duration,
        priority: i32,
        reference: Option<String>,
        origin: Option<usize>,
        names: &mut Names,
    ) {
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
    fn release(
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
        let passed = self.come_back(tape, t, grace, names);
        self.pay(t);
        passed
    }

    // Time.

    /// Lives through everything up to and including `now`, one event at a time; at one instant lots go first.
    fn pass_time(&mut self, now: Timestamp, grace: Option<Duration>, names: &mut Names) -> Passed {
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
    fn named(&mut self, lots: Option<&[Lot]>) -> Names {
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

    fn consumption(&self, i: usize) -> Consumption {
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
            created_at: u.created,
            expires_at: u.deadline,
            settled_at: u.settled,
        }
    }

    fn lot(&self, i: usize) -> Lot {
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

    fn balance(&self, now: Timestamp) -> Balance {
        let mut expiring: BTreeMap<Timestamp, i64> = BTreeMap::new();
        for lot in self.lots.iter().filter(|l| l.free > 0) {
            if let Some(e) = lot.expires {
                *expiring.entry(e).or_default() += lot.free;
            }
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
            seq: self.entries,
            at: now,
        }
    }
}

/// One lot stands on a tape once, at its first place.
fn splice(tape: &mut Vec<(usize, i64)>, lot: usize, n: i64) {
    match tape.iter_mut().find(|(l, _)| *l == lot) {
        Some((_, m)) => *m += n,
        None => tape.push((lot, n)),
    }
}

/// Ids that the ledger derived and the auditor can't: of lots that came out of releases and reversals.
struct Names {
    /// Unnamed `reversal` lots, in order of id.
    unnamed: Vec<Lot>,
}

impl Names {
    fn new(lots: Option<&[Lot]>, known: &BTreeSet<Uuid>) -> Self {
        let mut unnamed: Vec<Lot> = lots
            .unwrap_or_default()
            .iter()
            .filter(|l| l.source == Source::Reversal && !known.contains(&l.lot_id))
            .cloned()
            .collect();
        unnamed.sort_by_key(|l| l.lot_id);
        Names { unnamed }
    }

    fn none() -> Self {
        Names { unnamed: Vec::new() }
    }

    fn reversal(&mut self, amount: i64, t: Timestamp, origin: Option<Uuid>) -> Option<Uuid> {
        let at = self
            .unnamed
            .iter()
            .position(|l| l.amount == amount && l.created_at == t && l.origin == origin)?;
        Some(self.unnamed.remove(at).lot_id)
    }
}

/// What the ledger made in the answer that is being checked: ids nobody can know before.
#[derive(Default)]
struct Made {
    consumption: Option<Uuid>,
    lot: Option<Uuid>,
}

impl Made {
    fn by(answer: &Result<Outcome, Refusal>) -> Self {
        match answer {
            Ok(Outcome::Consumption(c)) => Made {
                consumption: Some(c.id),
                lot: None,
            },
            Ok(Outcome::Receipt(r)) => Made {
                lot: r.lot.as_ref().map(|l| l.lot_id),
                consumption: None,
            },
            _ => Made::default(),
        }
    }
}

/// The books of all accounts, as they must be.
pub struct Auditor {
    rules: Rules,
    books: BTreeMap<Uuid, Book>,
    owners: HashMap<Uuid, Uuid>,
    /// What was asked with each key, and what was answered.
    keys: HashMap<(Uuid, String), (Action, Outcome)>,
}

impl Auditor {
    pub fn new(rules: Rules) -> Self {
        Auditor {
            rules,
            books: BTreeMap::new(),
            owners: HashMap::new(),
            keys: HashMap::new(),
        }
    }

    fn release_grace(&self) -> Option<Duration> {
        match self.rules.on_lot_expired_while_held {
            OnLotExpiredWhileHeld::Expire => None,
            OnLotExpiredWhileHeld::Grace => Some(self.rules.release_grace),
        }
    }

    /// What is wrong with `answer` to `command` at `now`. `lots` are the account's lots afterwards, where known.
    pub fn check(
        &mut self,
        command: &Command,
        now: Timestamp,
        answer: &Result<Outcome, Refusal>,
        lots: Option<&[Lot]>,
    ) -> Result<(), String> {
        let faults = malformed(command);
        if !faults.is_empty() {
            return match answer {
                Err(Refusal::Invalid {
                    field, limit, value, ..
                }) if faults.iter().any(|f| f.is(field, limit, value)) => Ok(()),
                other => Err(format!("one of {faults:?} was expected, not {other:?}")),
            };
        }
        let user_id = match command.target() {
            Target::Account(user_id) => user_id,
            Target::Consumption(id) => match self.owners.get(&id) {
                Some(user_id) => *user_id,
                None => {
                    return same(
                        &Err(Refusal::NotFound {
                            what: "consumption",
                            id,
                        }),
                        answer,
                    );
                }
            },
        };
        let key = command.idempotency_key.clone().map(|key| (user_id, key));
        if let Some((action, first)) = key.as_ref().and_then(|key| self.keys.get(key)) {
            let expected = if *action == command.action {
                Ok(first.clone())
            } else {
                Err(Refusal::IdempotencyConflict {
                    key: command.idempotency_key.clone().unwrap_or_default(),
                })
            };
            return same(&expected, answer);
        }
        // Time passes whatever comes of the command; a refusal changes nothing else.
        let mut book = self.books.remove(&user_id).unwrap_or_else(|| Book::new(user_id));
        let mut names = book.named(lots);
        let expected = self.play(&mut book, command, now, &Made::by(answer), &mut names);
        book.assert_sound();
        if expected.is_ok() {
            book.unwritten = Passed::default();
        }
        if let (Action::Consume(_), Ok(Outcome::Consumption(c))) = (&command.action, &expected) {
            self.owners.insert(c.id, user_id);
        }
        self.books.insert(user_id, book);
        same(&expected, answer)?;
        let Ok(outcome) = answer else { return Ok(()) };
        if let (Some(key), false) = (key, matches!(command.action, Action::Mature { .. })) {
            self.keys.insert(key, (command.action.clone(), outcome.clone()));
        }
        Ok(())
    }

    fn play(
        &self,
        book: &mut Book,
        command: &Command,
        now: Timestamp,
        made: &Made,
        names: &mut Names,
    ) -> Result<Outcome, Refusal> {
        let passed = book.pass_time(now, self.release_grace(), names);
        book.unwritten.add(passed);
        let keyed = command.idempotency_key.is_some();
        match &command.action {
            Action::Grant(c) => {
                let lot = Fresh {
                    source: c.source,
                    amount: c.amount,
                    priority: c.priority,
                    expires: c.expires_at,
                    cost: c.cost.clone(),
                    reference: c.reference.clone(),
                };
                grant(book, lot, Kind::Grant, now, made)
            }
            Action::Gift(c) => {
                let lot = Fresh::plain(Source::Gift, c.amount, c.expires_at);
                grant(book, lot, Kind::Gift, now, made)
            }
            Action::Adjust(c) if c.amount > 0 => {
                let lot = Fresh::plain(Source::Adjustment, c.amount, None);
                grant(book, lot, Kind::Adjust, now, made)
            }
            Action::Adjust(c) => {
                let available = book.available().max(0);
                if -c.amount > available {
                    return Err(Refusal::Insufficient {
                        required: -c.amount,
                        available,
                    });
                }
                for (lot, n) in book.burn(-c.amount, now) {
                    book.lots[lot].taken += n;
                }
                Ok(receipt(book, Kind::Adjust, c.amount, None, None, now))
            }
            Action::SetCreditLimit(c) => {
                book.limit = c.credit_limit;
                Ok(receipt(
                    book,
                    Kind::CreditLimit,
                    0,
                    None,
                    Some(c.credit_limit),
                    now,
                ))
            }
            Action::Clawback(c) => clawback(book, c, now),
            Action::Consume(c) => self.consume(book, c, now, made),
            Action::Confirm(c) => self.confirm(book, c, keyed, now, names),
            Action::Refund(c) => self.refund(book, c, keyed, now, names),
            Action::Extend(c) => {
                let i = find(book, c.consumption_id)?;
                let u = &mut book.uses[i];
                match u.status {
                    Status::Pending => {
                        u.deadline = u.deadline.max(now.plus(c.ttl));
                        book.entries += 1;
                        Ok(Outcome::Consumption(book.consumption(i)))
                    }
                    Status::Expired => Err(Refusal::HoldExpired {
                        id: u.id,
                        expired_at: u.deadline,
                    }),
                    state => Err(wrong(u.id, state)),
                }
            }
            Action::Mature { .. } => Ok(Outcome::Matured(book.unwritten)),
            other => panic!("the auditor does not know {other:?}"),
        }
    }

    fn consume(&self, book: &mut Book, c: &Consume, now: Timestamp, made: &Made) -> Result<Outcome, Refusal> {
        let available = book.spendable();
        if c.amount > available {
            return Err(Refusal::Insufficient {
                required: c.amount,
                available,
            });
        }
        ceiling("amount", book.held(), c.amount)?;
        let tape = book.burn(c.amount, now);
        let credit = c.amount - tape.iter().map(|t| t.1).sum::<i64>();
        book.entries += 1;
        book.uses.push(Use {
            id: made.consumption.unwrap_or_default(),
            amount: c.amount,
            feature: c.feature.clone(),
            reference: c.reference.clone(),
            metadata: c.metadata.clone(),
            created: now,
            deadline: now.plus(c.ttl.unwrap_or(self.rules.hold_ttl)),
            settled: None,
            status: Status::Pending,
            captured: 0,
            reversed: 0,
            tape,
            credit,
        });
        Ok(Outcome::Consumption(book.consumption(book.uses.len() - 1)))
    }

    fn confirm(
        &self,
        book: &mut Book,
        c: &Confirm,
        keyed: bool,
        now: Timestamp,
        names: &mut Names,
    ) -> Result<Outcome, Refusal> {
        let i = find(book, c.consumption_id)?;
        let Use {
            id,
            amount: held,
            status,
            deadline,
            captured,
            ..
        } = book.uses[i];
        let amount = c.amount.unwrap_or(held);
        match status {
            Status::Confirmed if captured == amount => return Ok(repeat(book, i, keyed)),
            Status::Confirmed | Status::Refunded => return Err(wrong(id, status)),
            Status::Expired if c.late == Late::Reject => {
                return Err(Refusal::HoldExpired {
                    id,
                    expired_at: deadline,
                });
            }
            _ => {}
        }
        // What must be found among free credits and credit limit: beyond what is held, or all of it when late.
        let over = (amount - held).max(0);
        if over > 0 && c.overage == Overage::Reject {
            return Err(Refusal::Invalid {
                field: "amount",
                problem: "",
                limit: held.to_string(),
                value: amount.to_string(),
            });
        }
        let to_take = if status == Status::Expired { amount } else { over };
        let required = if c.overage == Overage::Debt {
            to_take - over
        } else {
            to_take
        };
        if required > book.spendable() {
            return Err(Refusal::Insufficient {
                required,
                available: book.spendable(),
            });
        }
        let on_debt = (to_take - book.free()).max(0);
        ceiling("amount", book.debt(), on_debt)?;
        ceiling("amount", book.spent(), amount)?;

        book.entries += 1;
        let mut tape = std::mem::take(&mut book.uses[i].tape);
        let mut credit = std::mem::take(&mut book.uses[i].credit);
        book.uses[i].status = Status::Confirmed;
        book.uses[i].captured = amount;
        book.uses[i].settled = Some(now);
        if status == Status::Pending {
            // The front of the tape stays, credit is what stands last.
            let mut keep = amount.min(held);
            let mut back = Vec::new();
            for (lot, n) in &mut tape {
                let kept = keep.min(*n);
                if *n > kept {
                    back.push((*lot, *n - kept));
                }
                *n = kept;
                keep -= kept;
            }
            tape.retain(|(_, n)| *n > 0);
            credit = credit.min(keep);
            book.owed += credit;
            book.come_back(back, now, self.release_grace(), names);
        }
        let found = book.burn(to_take, now);
        let lacking = to_take - found.iter().map(|f| f.1).sum::<i64>();
        found.into_iter().for_each(|(lot, n)| splice(&mut tape, lot, n));
        book.owed += lacking;
        book.uses[i].tape = tape;
        book.uses[i].credit = credit + lacking;
        book.pay(now);
        Ok(Outcome::Consumption(book.consumption(i)))
    }

    fn refund(
        &self,
        book: &mut Book,
        c: &Refund,
        keyed: bool,
        now: Timestamp,
        names: &mut Names,
    ) -> Result<Outcome, Refusal> {
        let i = find(book, c.consumption_id)?;
        let Use {
            id,
            amount: held,
            status,
            captured,
            reversed,
            ..
        } = book.uses[i];
        let most = match status {
            Status::Expired => return Ok(repeat(book, i, keyed)),
            Status::Pending => {
                if c.amount.is_some_and(|n| n != held) {
                    return Err(Refusal::Invalid {
                        field: "amount",
                        problem: "",
                        limit: held.to_string(),
                        value: c.amount.unwrap_or_default().to_string(),
                    });
                }
                book.release(i, Status::Refunded, now, self.release_grace(), names);
                return Ok(Outcome::Consumption(book.consumption(i)));
            }
            Status::Refunded => {
                let was = if captured > 0 { captured } else { held };
                return match c.amount {
                    Some(n) if n != was => Err(wrong(id, status)),
                    _ => Ok(repeat(book, i, keyed)),
                };
            }
            _ => captured - reversed,
        };
        // Confirmed. Without a key only one part can be given back; asking for it again is a retry.
        if let (Some(n), false, true) = (c.amount, keyed, reversed > 0) {
            return if n == reversed {
                Ok(repeat(book, i, keyed))
            } else {
                Err(wrong(id, status))
            };
        }
        let amount = c.amount.unwrap_or(most);
        if amount > most {
            return Err(Refusal::Invalid {
                field: "amount",
                problem: "",
                limit: most.to_string(),
                value: amount.to_string(),
            });
        }
        book.entries += 1;
        let u = &mut book.uses[i];
        u.reversed += amount;
        if u.reversed == u.captured {
            u.status = Status::Refunded;
            u.settled = Some(now);
        }
        // Backwards along the tape, credit first.
        let of_credit = amount.min(u.credit);
        u.credit -= of_credit;
        let mut left = amount - of_credit;
        let mut back = Vec::new();
        while left > 0 {
            let (lot, n) = u
                .tape
                .pop()
                .expect("a tape holds what was captured and not reversed");
            let given = n.min(left);
            left -= given;
            back.push((lot, given));
            if n > given {
                u.tape.push((lot, n - given));
            }
        }
        // Credit is given back to what is owed; where that was paid meanwhile, as a lot.
        let off = of_credit.min(book.owed);
        book.owed -= off;
        if of_credit > off {
            book.add_reversal(
                of_credit - off,
                now,
                self.rules.reversal_grace,
                0,
                None,
                None,
                names,
            );
        }
        book.come_back(back, now, Some(self.rules.reversal_grace), names);
        book.pay(now);
        Ok(Outcome::Consumption(book.consumption(i)))
    }

    // Reads.

    fn at(&self, user_id: Uuid, now: Timestamp) -> Book {
        let mut book = self
            .books
            .get(&user_id)
            .cloned()
            .unwrap_or_else(|| Book::new(user_id));
        book.pass_time(now, self.release_grace(), &mut Names::none());
        book
    }

    /// What is wrong with a balance read at `now`.
    pub fn check_balance(&self, balance: &Balance, now: Timestamp) -> Result<(), String> {
        let mut expected = self.at(balance.user_id, now).balance(now);
        // What a balance is based on depends on what was written down, which is no rule.
        expected.seq = balance.seq;
        equal("balance", &expected, balance)
    }

    /// What is wrong with a consumption read at `now`.
    pub fn check_consumption(
        &self,
        id: Uuid,
        read: Option<&Consumption>,
        now: Timestamp,
    ) -> Result<(), String> {
        let expected = self.owners.get(&id).and_then(|user_id| {
            let book = self.at(*user_id, now);
            let i = book.uses.iter().position(|u| u.id == id)?;
            Some(book.consumption(i))
        });
        match (expected, read) {
            (Some(e), Some(r)) => same(&Ok(Outcome::Consumption(e)), &Ok(Outcome::Consumption(r.clone()))),
            (e, r) => equal("consumption", &e.as_ref(), &r),
        }
    }

    /// What is wrong with the books of one account as written down by the last command, which was accepted.
    pub fn check_state(&self, state: &State) -> Result<(), String> {
        self.check_figures(state)?;
        let a = &state.account;
        let empty = Book::new(a.user_id);
        let book = self.books.get(&a.user_id).unwrap_or(&empty);
        let expected: BTreeMap<Uuid, Lot> = (0..book.lots.len())
            .map(|i| book.lot(i))
            .map(|lot| (lot.lot_id, lot))
            .collect();
        equal("lots", &expected, &state.lots)?;
        let expected: BTreeMap<Uuid, Consumption> = (0..book.uses.len())
            .map(|i| book.consumption(i))
            .map(|c| (c.id, c))
            .collect();
        let told: BTreeMap<Uuid, Consumption> = state
            .holds
            .iter()
            .map(|(id, h)| (*id, Consumption::from_hold(h)))
            .collect();
        equal("holds", &expected, &told)?;

        let first = book.pending().map(|u| u.deadline).min();
        if first.is_some_and(|d| a.next_hold_deadline.is_none_or(|bound| bound > d)) {
            return Err(format!(
                "next_hold_deadline {:?} is after {first:?}",
                a.next_hold_deadline
            ));
        }
        let first = book
            .lots
            .iter()
            .filter(|l| l.free > 0)
            .filter_map(|l| l.expires)
            .min();
        equal("next_lot_deadline", &first, &a.next_lot_deadline)
    }

    /// The account's figures only.
    pub fn check_figures(&self, state: &State) -> Result<(), String> {
        let a = &state.account;
        let empty = Book::new(a.user_id);
        let book = self.books.get(&a.user_id).unwrap_or(&empty);
        let figures = |b: &Book| {
            (
                b.available(),
                b.held(),
                b.debt(),
                b.borrowed(),
                b.limit,
                b.granted(),
                b.spent(),
                b.entries,
            )
        };
        let told = (
            a.available,
            a.held,
            a.debt,
            a.borrowed,
            a.credit_limit,
            a.granted,
            a.spent,
            a.seq,
        );
        equal(
            "(available, held, debt, borrowed, limit, granted, spent, seq)",
            &figures(book),
            &told,
        )
    }

    /// What the counter-accounts of one account's journal must sum to.
    pub fn counter_accounts(&self, user_id: Uuid) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        if let Some(book) = self.books.get(&user_id) {
            sums.insert("expired".to_owned(), book.lots.iter().map(|l| l.expired).sum());
            sums.insert("issued.".to_owned(), -book.granted());
            for u in &book.uses {
                let name = u
                    .feature
                    .as_ref()
                    .map_or("earned".to_owned(), |f| format!("earned.{f}"));
                *sums.entry(name).or_default() += u.captured - u.reversed;
            }
        }
        sums.retain(|_, n| *n != 0);
        sums
    }
}

/// A lot to be granted.
struct Fresh {
    source: Source,
    amount: i64,
    priority: i32,
    expires: Option<Timestamp>,
    cost: Option<Money>,
    reference: Option<String>,
}

impl Fresh {
    fn plain(source: Source, amount: i64, expires: Option<Timestamp>) -> Self {
        Fresh {
            source,
            amount,
            priority: 0,
            expires,
            cost: None,
            reference: None,
        }
    }
}

fn grant(book: &mut Book, lot: Fresh, kind: Kind, now: Timestamp, made: &Made) -> Result<Outcome, Refusal> {
    if let Some(expiry) = lot.expires.filter(|e| *e <= now) {
        return Err(Refusal::Invalid {
            field: "expires_at",
            problem: "",
            limit: now.to_string(),
            value: expiry.to_string(),
        });
    }
    ceiling("amount", book.available(), lot.amount)?;
    ceiling("amount", book.granted(), lot.amount)?;
    let amount = lot.amount;
    book.lots.push(LotPlaces {
        id: made.lot,
        source: lot.source,
        amount,
        priority: lot.priority,
        expires: lot.expires,
        cost: lot.cost,
        reference: lot.reference,
        origin: None,
        created: now,
        free: amount,
        expired: 0,
        taken: 0,
        paid: 0,
        moved: 0,
        booked: 0,
        claim: 0,
    });
    // A receipt shows the lot as it was granted, before it paid debt.
    let granted = book.lot(book.lots.len() - 1);
    book.pay(now);
    Ok(receipt(book, kind, amount, Some(granted), None, now))
}

fn receipt(
    book: &mut Book,
    kind: Kind,
    amount: i64,
    lot: Option<Lot>,
    limit: Option<i64>,
    now: Timestamp,
) -> Outcome {
    book.entries += 1;
    Outcome::Receipt(Receipt {
        user_id: book.user_id,
        seq: book.entries,
        kind,
        amount,
        lot,
        available: book.available(),
        credit_limit: limit,
        created_at: now,
    })
}

fn clawback(book: &mut Book, c: &Clawback, now: Timestamp) -> Result<Outcome, Refusal> {
    let Some(i) = book.lots.iter().position(|l| l.id == Some(c.lot_id)) else {
        return Err(Refusal::NotFound {
            what: "lot",
            id: c.lot_id,
        });
    };
    let lot = &book.lots[i];
    // Each credit of a lot is taken, booked or forgiven once, unless it expired; and no more than was ever granted.
    let once = lot.amount - lot.expired - lot.taken - lot.booked - lot.claim;
    let most = once.min(book.granted()).max(0);
    let wanted = c.amount.unwrap_or(most);
    if wanted > most {
        return Err(Refusal::Invalid {
            field: "amount",
            problem: "",
            limit: most.to_string(),
            value: wanted.to_string(),
        });
    }
    let taken = wanted.min(lot.free);
    let shortfall = wanted - taken;
    let mut debt = 0;
    if c.shortfall == Shortfall::Debt {
        ceiling("shortfall", book.debt(), shortfall)?;
        debt = shortfall;
    }
    let lot = &mut book.lots[i];
    lot.free -= taken;
    lot.taken += taken;
    lot.booked += debt;
    lot.claim += shortfall - debt;
    book.owed += debt;
    book.pay(now);
    book.entries += 1;
    Ok(Outcome::Clawback(ClawbackReceipt {
        user_id: book.user_id,
        seq: book.entries,
        lot_id: c.lot_id,
        taken,
        shortfall,
        debt,
        available: book.available(),
        created_at: now,
    }))
}

/// The outcome is there already. A key makes that an entry.
fn repeat(book: &mut Book, i: usize, keyed: bool) -> Outcome {
    book.entries += i64::from(keyed);
    Outcome::Consumption(book.consumption(i))
}

fn find(book: &Book, id: Uuid) -> Result<usize, Refusal> {
    book.uses
        .iter()
        .position(|u| u.id == id)
        .ok_or(Refusal::NotFound {
            what: "consumption",
            id,
        })
}

fn wrong(id: Uuid, state: Status) -> Refusal {
    Refusal::InvalidState {
        id,
        state,
        problem: "",
    }
}

fn ceiling(field: &'static str, figure: i64, more: i64) -> Result<(), Refusal> {
    if i128::from(figure) + i128::from(more) <= i128::from(MOST) {
        Ok(())
    } else {
        Err(Refusal::Invalid {
            field,
            problem: "",
            limit: MOST.to_string(),
            value: more.to_string(),
        })
    }
}

// Well-formedness, from rule **limits**.

/// What is wrong with one field.
#[derive(Debug)]
struct Fault(&'static str, String, String);

impl Fault {
    fn is(&self, field: &str, limit: &str, value: &str) -> bool {
        self.0 == field && self.1 == limit && self.2 == value
    }
}

fn malformed(command: &Command) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault =
        |field: &'static str, limit: &str, value: String| faults.push(Fault(field, limit.to_owned(), value));
    let text = |field: &'static str,
                text: Option<&str>,
                least: usize,
                fault: &mut dyn FnMut(&'static str, &str, String)| {
        let Some(text) = text else { return };
        if text.len() > 255 {
            fault(field, "255 bytes", format!("{} bytes", text.len()));
        }
        if text.contains('\0') {
            fault(field, "text without NUL", "text with NUL".to_owned());
        }
        if least > 0 && text.trim().is_empty() {
            fault(field, "1 character or more", "nothing".to_owned());
        }
    };
    let positive = |n: i64, fault: &mut dyn FnMut(&'static str, &str, String)| {
        if n < 1 {
            fault("amount", "1", n.to_string());
        }
        if n > MOST {
            fault("amount", &MOST.to_string(), n.to_string());
        }
    };
    let life = |ttl: Duration, fault: &mut dyn FnMut(&'static str, &str, String)| {
        if ttl < Duration::from_secs(1) || ttl > Duration::from_secs(2_592_000) {
            fault("ttl", "1 s .. 2592000 s", format!("{} s", ttl.as_secs_f64()));
        }
    };
    let expiry = |t: Option<Timestamp>, fault: &mut dyn FnMut(&'static str, &str, String)| {
        if let Some(t) = t.filter(|t| *t < Timestamp::MIN || *t > Timestamp::MAX) {
            fault(
                "expires_at",
                "2000-01-01T00:00:00Z .. 9999-12-30T00:00:00Z",
                t.to_string(),
            );
        }
    };
    if let Some(key) = &command.idempotency_key {
        if key.is_empty() {
            fault("idempotency_key", "1 byte or more", "0".to_owned());
        }
        text("idempotency_key", Some(key), 0, &mut fault);
    }
    match &command.action {
        Action::Grant(c) => {
            positive(c.amount, &mut fault);
            if c.source == Source::Reversal {
                fault("source", "any other source", "reversal".to_owned());
            }
            if c.priority.abs() > 1_000_000 {
                fault("priority", "1000000", c.priority.to_string());
            }
            expiry(c.expires_at, &mut fault);
            if let Some(cost) = &c.cost {
                if cost.minor < 0 || cost.minor > MOST {
                    fault("cost", &MOST.to_string(), cost.minor.to_string());
                }
                if cost.currency.len() != 3 || cost.currency.chars().any(|c| !c.is_ascii_uppercase()) {
                    fault("cost", "three capital letters", cost.currency.clone());
                }
            }
            text("reference", c.reference.as_deref(), 0, &mut fault);
        }
        Action::Gift(c) => {
            positive(c.amount, &mut fault);
            text("reason", Some(&c.reason), 1, &mut fault);
            text("operator", c.operator.as_deref(), 0, &mut fault);
            expiry(c.expires_at, &mut fault);
        }
        Action::Consume(c) => {
            positive(c.amount, &mut fault);
            text("feature", c.feature.as_deref(), 0, &mut fault);
            text("reference", c.reference.as_deref(), 0, &mut fault);
            if let Some(ttl) = c.ttl {
                life(ttl, &mut fault);
            }
        }
        Action::Confirm(c) => {
            if let Some(n) = c.amount {
                positive(n, &mut fault);
            }
        }
        Action::Refund(c) => {
            if let Some(n) = c.amount {
                positive(n, &mut fault);
            }
            text("reason", c.reason.as_deref(), 0, &mut fault);
        }
        Action::Extend(c) => life(c.ttl, &mut fault),
        Action::Adjust(c) => {
            if c.amount == 0 {
                fault("amount", "-2^53+1 .. 2^53-1 and not 0", "0".to_owned());
            }
            if c.amount.unsigned_abs() > MOST as u64 {
                fault("amount", &MOST.to_string(), c.amount.to_string());
            }
            text("reason", Some(&c.reason), 1, &mut fault);
            text("operator", c.operator.as_deref(), 0, &mut fault);
        }
        Action::SetCreditLimit(c) => {
            if c.credit_limit < 0 || c.credit_limit > MOST {
                fault("credit_limit", &MOST.to_string(), c.credit_limit.to_string());
            }
        }
        Action::Clawback(c) => {
            if let Some(n) = c.amount {
                positive(n, &mut fault);
            }
            text("reason", c.reason.as_deref(), 0, &mut fault);
        }
        _ => {}
    }
    faults
}

// Comparing.

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, told: &T) -> Result<(), String> {
    if expected == told {
        Ok(())
    } else {
        Err(format!("{what}\n  auditor: {expected:?}\n  ledger:  {told:?}"))
    }
}

/// Wording is free: problems are not compared. Lots that nothing has named yet are compared by what they sum to.
fn same(expected: &Result<Outcome, Refusal>, told: &Result<Outcome, Refusal>) -> Result<(), String> {
    let (mut expected, mut told) = (expected.clone(), told.clone());
    for answer in [&mut expected, &mut told] {
        match answer {
            Err(Refusal::Invalid { problem, .. } | Refusal::InvalidState { problem, .. }) => *problem = "",
            _ => {}
        }
    }
    if let (Ok(Outcome::Consumption(e)), Ok(Outcome::Consumption(t))) = (&mut expected, &mut told)
        && e.lots.iter().any(|pin| pin.lot_id.is_nil())
    {
        for c in [e, t] {
            c.lots = vec![Pin {
                lot_id: Uuid::nil(),
                amount: c.lots.iter().map(|p| p.amount).sum(),
            }];
        }
    }
    equal("answer", &expected, &told)
}
