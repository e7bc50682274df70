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

mod book;
mod malformed;
pub mod shop;

use book::{Book, LotPlaces, Names, Passed, Use, splice};
use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Action, Balance, Clawback, ClawbackReceipt, Command, Confirm, Consume, Consumption, Kind, Late, Lot,
    Money, OnLotExpiredWhileHeld, Outcome, Overage, Pin, Receipt, Refund, Refusal, Rules, Shortfall, Source,
    State, Status, Target,
};
use malformed::malformed;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// 2^53 - 1.
const MOST: i64 = 9_007_199_254_740_991;

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
            let expected = if asked(action) == asked(&command.action) {
                Ok(first.clone())
            } else {
                Err(Refusal::IdempotencyConflict {
                    key: command.idempotency_key.clone().unwrap_or_default(),
                })
            };
            return same(&expected, answer);
        }
        // Time passes whatever comes of the command; a refusal changes nothing else.
        let mut book = self
            .books
            .remove(&user_id)
            .unwrap_or_else(|| Book::new(user_id, self.rules.entry_room));
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
                for (lot, n) in book.clone().burn(-c.amount, now) {
                    let of_lot = &book.lots[lot];
                    ceiling("amount", of_lot.taken + of_lot.booked + of_lot.claim, n)?;
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
            quote: c.priced.as_ref().map(|p| p.quote.clone()),
            used: None,
            created: now,
            // The caller's word comes before the rate card's, and that before the ledger's.
            deadline: now.plus(match (c.ttl, &c.priced) {
                (Some(ttl), _) => ttl,
                (None, Some(priced)) if priced.hold_ttl.is_some() => priced.hold_ttl.unwrap_or_default(),
                _ => self.rules.hold_ttl,
            }),
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
        book.uses[i].used.clone_from(&c.used);
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
            // A capture is not what was meant.
            Status::Confirmed if c.pending_only => return Err(wrong(id, status)),
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
        Ok(Outcome::Consumption(book.consumption(i)))
    }

    // Reads.

    fn at(&self, user_id: Uuid, now: Timestamp) -> Book {
        let mut book = self
            .books
            .get(&user_id)
            .cloned()
            .unwrap_or_else(|| Book::new(user_id, self.rules.entry_room));
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
        let empty = Book::new(a.user_id, self.rules.entry_room);
        let book = self.books.get(&a.user_id).unwrap_or(&empty);
        let expected: BTreeMap<Uuid, Arc<Lot>> = (0..book.lots.len())
            .map(|i| book.lot(i))
            .map(|lot| (lot.lot_id, lot.into()))
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
        let empty = Book::new(a.user_id, self.rules.entry_room);
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

/// What was asked for, without what the day's prices made of it.
fn asked(action: &Action) -> Action {
    let mut action = action.clone();
    if let Action::Consume(c) = &mut action
        && let Some(priced) = &mut c.priced
    {
        c.amount = 0;
        priced.quote.clear();
        priced.hold_ttl = None;
    }
    action
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
    let receipt = receipt(book, kind, amount, Some(granted), None, now);
    book.pay(now);
    Ok(receipt)
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
    book.entries += 1;
    let seq = book.entries;
    book.pay(now);
    Ok(Outcome::Clawback(ClawbackReceipt {
        user_id: book.user_id,
        seq,
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
        if let Err(Refusal::Invalid { problem, .. } | Refusal::InvalidState { problem, .. }) = answer {
            *problem = "";
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
