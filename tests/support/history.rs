//! Random histories: which command to give next, chosen from what has been answered so far.
//!
//! A history is a list of numbers, one per step; each seeds the choices of its step. So any list is a history, a
//! shorter list is one too (which is how a failing one is made small), and the same list gives the same commands to
//! every subject that gives the same answers.

use jointo_credits::Timestamp;
use jointo_credits::ledger::limits::{CREDITS_MAX, ENTRY_ROOM, PRIORITY_MAX};
use jointo_credits::ledger::{
    Action, Adjust, Clawback, Command, Confirm, Consume, Extend, Gift, Grant, Late, LatePayment, Metadata,
    Money, OnLotExpiredWhileHeld, OpenOrder, OrderCommand, OrderNo, OrderPayment, OrderRefundRequest,
    OrderStep, Outcome, Overage, Priced, Refund, RefundNote, RefundStatus, Refusal, Rules, SetCreditLimit,
    Shortfall, Source, Status,
};
use std::time::Duration;
use uuid::Uuid;

/// SplitMix64: small, and the same everywhere.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    pub fn percent(&mut self, p: usize) -> bool {
        self.below(100) < p
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

fn cny(minor: i64) -> Money {
    Money {
        minor,
        currency: "CNY".to_owned(),
    }
}

/// Keys that are none of the well-behaved ones, and yet are keys: nearly those of others, or what a database, JSON or a
/// terminal might take for something else.
pub const HOSTILE_KEYS: &[&str] = &[
    "key-1 ",
    " key-1",
    "KEY-1",
    "\u{feff}key-1",
    "k\u{e9}y-1",
    "ke\u{301}y-1",
    "\u{202e}1-yek",
    "'; DROP TABLE credit_accounts; --",
    "{\"a\",NULL}",
    "\\",
    "%",
    "NULL",
    "\u{1f511}",
];

/// A command and the instant it is given at.
#[derive(Debug, Clone)]
pub struct Step {
    pub command: Command,
    pub now: Timestamp,
}

/// A consumption as the caller last heard of it.
#[derive(Debug, Clone)]
struct Heard {
    id: Uuid,
    user_id: Uuid,
    status: Status,
    amount: i64,
    captured: i64,
    reversed: i64,
    deadline: Timestamp,
}

/// A history under way.
pub struct History {
    pub rules: Rules,
    users: Vec<Uuid>,
    now: Timestamp,
    /// Amounts are chosen among these.
    amounts: Vec<i64>,
    uses: Vec<Heard>,
    lots: Vec<(Uuid, Uuid)>,
    /// Deadlines that have not passed yet, soonest first.
    deadlines: Vec<Timestamp>,
    keyed: Vec<Command>,
    keys: u64,
    /// How often somebody sends nonsense, in percent.
    nonsense: usize,
    /// Whether packages are bought as well.
    is_shop: bool,
    /// Orders that were asked for: whose, their numbers and prices.
    orders: Vec<(Uuid, OrderNo, i64)>,
    /// The one of these that was just closed: its payment may be on its way.
    closed: Option<(Uuid, OrderNo, i64)>,
}

impl History {
    /// `seed` decides the ledger's settings, the accounts and the size of amounts.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rules = Rules {
            hold_ttl: Duration::from_secs(rng.pick(&[1, 60, 3600])),
            on_lot_expired_while_held: rng
                .pick(&[OnLotExpiredWhileHeld::Expire, OnLotExpiredWhileHeld::Grace]),
            release_grace: Duration::from_secs(rng.pick(&[1, 60, 7 * 86_400])),
            reversal_grace: Duration::from_secs(rng.pick(&[1, 60, 30 * 86_400])),
            order_ttl: Duration::from_secs(60),
            late_payment: if seed.is_multiple_of(2) {
                LatePayment::Settle
            } else {
                LatePayment::Refund
            },
            max_open_orders: if seed.is_multiple_of(3) { 3 } else { 20 },
            entry_room: if seed.is_multiple_of(5) { ENTRY_ROOM } else { 1 },
        };
        let users = (0..rng.pick(&[1, 1, 2, 4]))
            .map(|i| Uuid::from_u64_pair(rng.next(), 0x8000_0000_0000_0000 | i))
            .collect();
        let amounts = match rng.below(5) {
            0 => vec![
                1,
                100,
                CREDITS_MAX / 3,
                CREDITS_MAX / 2,
                CREDITS_MAX / 2 + 1,
                CREDITS_MAX - 100,
                CREDITS_MAX - 1,
                CREDITS_MAX,
                CREDITS_MAX,
            ],
            1 => vec![1, 2, 3],
            _ => vec![1, 2, 5, 10, 25, 50, 74, 75, 76, 99, 100, 101, 150, 500],
        };
        History {
            rules,
            users,
            now: Timestamp::from_micros(1_790_000_000_000_000 + (rng.next() % 1_000_000) as i64),
            amounts,
            uses: Vec::new(),
            lots: Vec::new(),
            deadlines: Vec::new(),
            keyed: Vec::new(),
            keys: 0,
            nonsense: 3,
            is_shop: false,
            orders: Vec::new(),
            closed: None,
        }
    }

    /// A history in which packages are bought too. (The auditor's books know no orders.)
    pub fn of_a_shop(seed: u64) -> Self {
        History {
            is_shop: true,
            ..History::new(seed)
        }
    }

    pub fn users(&self) -> &[Uuid] {
        &self.users
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Consumptions heard of.
    pub fn consumptions(&self) -> impl Iterator<Item = Uuid> {
        self.uses.iter().map(|u| u.id)
    }

    /// Orders that were asked for, the newest first.
    pub fn orders(&self) -> impl Iterator<Item = OrderNo> {
        self.orders.iter().rev().map(|(_, order_no, _)| *order_no)
    }

    /// The next command.
    pub fn next(&mut self, rng: &mut Rng) -> Step {
        self.pass_time(rng);
        let command = if !self.keyed.is_empty() && rng.percent(7) {
            self.again(rng)
        } else {
            let action = self.action(rng);
            let idempotency_key = match rng.below(100) {
                0..45 => {
                    self.keys += 1;
                    Some(format!("key-{}", self.keys))
                }
                // A key that may have been used, here or by another account.
                45..48 => Some(format!("key-{}", rng.below(self.keys as usize + 1))),
                48..52 => Some(rng.pick(HOSTILE_KEYS).to_owned()),
                _ => None,
            };
            Command {
                action,
                idempotency_key,
            }
        };
        let mut command = command;
        if matches!(command.action, Action::Mature { .. }) {
            command.idempotency_key = None;
        } else if rng.percent(self.nonsense) {
            self.spoil(&mut command, rng);
        }
        if command.idempotency_key.is_some() {
            self.keyed.push(command.clone());
        }
        Step {
            command,
            now: self.now,
        }
    }

    /// What came of it.
    pub fn answered(&mut self, step: &Step, answer: &Result<Outcome, Refusal>) {
        match answer {
            Ok(Outcome::Consumption(c)) => {
                self.note(c.expires_at);
                for pin in &c.lots {
                    if !self.lots.contains(&(c.user_id, pin.lot_id)) {
                        self.lots.push((c.user_id, pin.lot_id));
                    }
                }
                let heard = Heard {
                    id: c.id,
                    user_id: c.user_id,
                    status: c.status,
                    amount: c.amount,
                    captured: c.captured,
                    reversed: c.reversed,
                    deadline: c.expires_at,
                };
                match self.uses.iter_mut().find(|u| u.id == c.id) {
                    Some(before) => *before = heard,
                    None => self.uses.push(heard),
                }
                if c.settled_at == Some(step.now) {
                    self.note(step.now.plus(self.rules.reversal_grace));
                    self.note(step.now.plus(self.rules.release_grace));
                }
            }
            Ok(Outcome::Receipt(r)) => {
                if let Some(lot) = &r.lot {
                    lot.expires_at.into_iter().for_each(|e| self.note(e));
                    if !self.lots.contains(&(r.user_id, lot.lot_id)) {
                        self.lots.push((r.user_id, lot.lot_id));
                    }
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, deadline: Timestamp) {
        if deadline > self.now
            && let Err(at) = self.deadlines.binary_search(&deadline)
        {
            self.deadlines.insert(at, deadline);
        }
    }

    // Choices.

    fn pass_time(&mut self, rng: &mut Rng) {
        let now = self.now.as_micros();
        let soon = self.deadlines.get(rng.below(3)).map(|d| d.as_micros());
        let then = match (rng.below(100), soon) {
            (0..50, _) => now,
            (50..55, _) => now + 1,
            (55..60, _) => now + rng.pick(&[1_000, 500_000, 999_999]),
            (60..70, _) => now + 1_000_000 * rng.pick(&[1, 2, 30, 59, 60, 61]),
            (70..77, Some(d)) => d,
            (77..80, Some(d)) => d - 1,
            (80..83, Some(d)) => d + 1,
            (83..97, _) => now,
            (97..99, _) => now + 86_400_000_000 * rng.pick(&[1, 7, 10]),
            (99, _) => now + 86_400_000_000 * rng.pick(&[30, 31, 365]),
            _ => now,
        };
        self.now = Timestamp::from_micros(then.max(now)).min(Timestamp::from_micros(4_000_000_000_000_000));
        self.deadlines.retain(|d| *d > self.now);
    }

    /// An earlier keyed command: the same, or another with its key, or the same without or with a new key.
    fn again(&mut self, rng: &mut Rng) -> Command {
        let from = self.keyed.len().saturating_sub(rng.pick(&[1, 5, 1000]));
        let at = from + rng.below(self.keyed.len() - from);
        let mut command = self.keyed[at].clone();
        match rng.below(10) {
            0..6 => {}
            6..8 => command.action = self.action(rng),
            8 => command.idempotency_key = None,
            _ => {
                self.keys += 1;
                command.idempotency_key = Some(format!("key-{}", self.keys));
            }
        }
        command
    }

    fn amount(&self, rng: &mut Rng) -> i64 {
        rng.pick(&self.amounts)
    }

    fn near(&self, n: i64, rng: &mut Rng) -> i64 {
        match rng.below(8) {
            0..3 => n,
            3 => n - 1,
            4 => n + 1,
            5 => n / 2,
            6 => n.saturating_mul(2),
            _ => self.amount(rng),
        }
        .clamp(1, CREDITS_MAX)
    }

    fn user(&self, rng: &mut Rng) -> Uuid {
        rng.pick(&self.users)
    }

    /// A consumption: most often a recent one, or one that was pending.
    fn use_(&self, rng: &mut Rng) -> Option<Heard> {
        if self.uses.is_empty() {
            return None;
        }
        let recent = match rng.below(10) {
            0..7 => 6,
            7..9 => 30,
            _ => self.uses.len(),
        };
        let from = self.uses.len().saturating_sub(recent);
        Some(rng.pick(&self.uses[from..]))
    }

    fn expiry(&self, rng: &mut Rng) -> Option<Timestamp> {
        let at = |micros: i64| Some(Timestamp::from_micros(self.now.as_micros() + micros));
        match rng.below(10) {
            0..2 => None,
            2 => at(1_000_000),
            3..5 => at(60_000_000),
            5 => at(3_600_000_000),
            6 => at(10 * 86_400_000_000),
            7 => at(rng.pick(&[1, 30_000_000, 61_000_000])),
            _ if !self.deadlines.is_empty() => Some(rng.pick(&self.deadlines)),
            _ => None,
        }
    }

    fn ttl(&self, rng: &mut Rng) -> Duration {
        let soon = self
            .deadlines
            .first()
            .map(|d| d.as_micros().saturating_sub(self.now.as_micros()) as u64);
        match (rng.below(8), soon) {
            (0..2, _) => Duration::from_secs(1),
            (2..4, _) => Duration::from_secs(60),
            (4, _) => Duration::from_secs(3600),
            (5, _) => Duration::from_secs(30 * 86_400),
            // To end exactly when something else does.
            (_, Some(us)) => Duration::from_micros(us.clamp(1_000_000, 2_592_000_000_000)),
            _ => Duration::from_secs(2),
        }
    }

    fn note_text(rng: &mut Rng) -> Option<String> {
        match rng.below(4) {
            0 => Some(rng.pick(&["a", "order-1", "\u{5145}\u{503c}"]).to_owned()),
            _ => None,
        }
    }

    fn action(&mut self, rng: &mut Rng) -> Action {
        if self.is_shop && rng.percent(25) {
            return self.order(rng);
        }
        let dice = rng.below(100);
        // Before anything was granted or held, there is little to ask for.
        let too_early = match dice {
            38..81 => self.uses.is_empty() && !rng.percent(5),
            90..97 => self.lots.is_empty() && !rng.percent(5),
            _ => false,
        };
        match dice {
            0..12 => self.grant(rng),
            _ if too_early => self.grant(rng),
            12..15 => Action::Gift(Gift {
                user_id: self.user(rng),
                amount: self.amount(rng),
                reason: "welcome".to_owned(),
                operator: Self::note_text(rng),
                expires_at: self.expiry(rng),
            }),
            15..20 => self.priced(rng),
            20..38 => Action::Consume(Consume {
                user_id: self.user(rng),
                amount: self.amount(rng),
                feature: rng.pick(&[None, Some("image"), Some("video")]).map(str::to_owned),
                ttl: if rng.percent(70) {
                    Some(self.ttl(rng))
                } else {
                    None
                },
                reference: Self::note_text(rng),
                metadata: rng
                    .percent(10)
                    .then(|| Metadata::parse(r#"{"job": [1, {"b": 2, "a": null}]}"#).unwrap()),
                priced: None,
            }),
            38..60 => self.confirm(rng),
            60..77 => self.refund(rng),
            77..81 => Action::Extend(Extend {
                consumption_id: self.use_(rng).map_or(Uuid::nil(), |u| u.id),
                ttl: self.ttl(rng),
                reason: Self::note_text(rng),
            }),
            81..86 => {
                let amount = self.amount(rng);
                Action::Adjust(Adjust {
                    user_id: self.user(rng),
                    amount: if rng.percent(65) { -amount } else { amount },
                    reason: "correction".to_owned(),
                    operator: Self::note_text(rng),
                })
            }
            86..90 => Action::SetCreditLimit(SetCreditLimit {
                user_id: self.user(rng),
                credit_limit: if rng.percent(30) { 0 } else { self.amount(rng) },
            }),
            90..97 => self.clawback(rng),
            _ => Action::Mature {
                user_id: self.user(rng),
            },
        }
    }

    /// A step of an order, mostly of one of the last.
    fn order(&mut self, rng: &mut Rng) -> Action {
        let last = self.orders.len().saturating_sub(rng.pick(&[2, 5, 1000]));
        let known = self.orders.get(last..).filter(|orders| !orders.is_empty());
        let known = known.map(|orders| rng.pick(orders));
        let package_id = Uuid::from_u128(rng.below(3) as u128);
        let closed = self.closed.take().filter(|_| rng.percent(50));
        let (user_id, order_no, price) = match (closed, known) {
            (Some(closed), _) => closed,
            (None, Some(known)) if rng.percent(75) => known,
            _ => {
                let number = Uuid::from_u64_pair(self.now.as_micros() as u64, rng.next());
                let opened = (self.user(rng), OrderNo(number), rng.pick(&[0, 1, 99, 990]));
                self.orders.push(opened);
                let step = OrderStep::Open(OpenOrder {
                    channel: "wechat".to_owned(),
                    package_id,
                    package_version: 1,
                    subject: "\u{5165}\u{95e8}\u{5957}\u{9910}".to_owned(),
                    price: cny(opened.2),
                    credits: self.amount(rng),
                    bonus_credits: if rng.percent(40) { 0 } else { self.amount(rng) },
                    validity_days: rng.pick(&[None, Some(1), Some(30)]),
                    purchase_limit: rng.pick(&[None, Some(1), Some(1), Some(2)]),
                });
                return Action::Order(OrderCommand {
                    user_id: opened.0,
                    order_no: opened.1,
                    step,
                });
            }
        };
        let dice = match closed {
            Some(_) => 3,
            None => rng.below(20),
        };
        let step = match dice {
            0..3 => OrderStep::Begin,
            3..10 => OrderStep::Settle(OrderPayment {
                // Its own; now and then another one of its own, or one that others are paid with too.
                transaction_id: match rng.below(20) {
                    0..16 => format!("t-{order_no}"),
                    16 => format!("u-{order_no}"),
                    _ => rng.pick(&["4200", "4201", "4202"]).to_owned(),
                },
                amount: cny(if rng.percent(95) { price } else { price + 1 }),
                paid_at: Some(self.now),
            }),
            10..12 => {
                self.closed = Some((user_id, order_no, price));
                OrderStep::Close {
                    channel_agrees: rng.percent(70),
                }
            }
            12..16 => OrderStep::Refund(OrderRefundRequest {
                minor: rng.pick(&[None, Some(price), Some(price / 3 + 1), Some(1)]),
                shortfall: rng.pick(&[Shortfall::Forgive, Shortfall::Debt]),
                reason: Self::note_text(rng),
                operator: None,
            }),
            _ => OrderStep::NoteRefund(RefundNote {
                number: rng.pick(&[1, 1, 2, 3]),
                status: rng.pick(&[
                    RefundStatus::Succeeded,
                    RefundStatus::Succeeded,
                    RefundStatus::Failed,
                    RefundStatus::Pending,
                ]),
                channel_id: Self::note_text(rng),
                problem: None,
            }),
        };
        Action::Order(OrderCommand {
            user_id,
            order_no,
            step,
        })
    }

    fn grant(&self, rng: &mut Rng) -> Action {
        let sources = [
            Source::Purchase,
            Source::Purchase,
            Source::Bonus,
            Source::Gift,
            Source::Subscription,
            Source::Opening,
        ];
        Action::Grant(Grant {
            user_id: self.user(rng),
            amount: self.amount(rng),
            source: rng.pick(&sources),
            priority: rng.pick(&[0, 0, 0, 0, 1, -1, PRIORITY_MAX, -PRIORITY_MAX]),
            expires_at: self.expiry(rng),
            cost: rng.percent(20).then(|| Money {
                minor: 990,
                currency: "CNY".to_owned(),
            }),
            reference: Self::note_text(rng),
        })
    }

    /// The price of a feature, which may be nothing.
    fn priced(&self, rng: &mut Rng) -> Action {
        let amount = if rng.percent(40) { 0 } else { self.amount(rng) };
        let card_ttl = rng.percent(30).then(|| self.ttl(rng));
        Action::Consume(Consume {
            user_id: self.user(rng),
            amount,
            feature: Some("video".to_owned()),
            ttl: rng.percent(50).then(|| self.ttl(rng)),
            reference: None,
            metadata: None,
            priced: Some(Priced {
                request: rng.pick(&["5 seconds", "9 seconds"]).to_owned(),
                quote: format!("a quote of {amount}"),
                hold_ttl: card_ttl,
            }),
        })
    }

    fn confirm(&self, rng: &mut Rng) -> Action {
        let heard = self.use_(rng);
        let used = rng.percent(20).then(|| "3 seconds".to_owned());
        let amount = heard.as_ref().and_then(|u| match rng.below(10) {
            0..4 => None,
            4 if u.captured > 0 => Some(u.captured),
            _ => Some(self.near(u.amount, rng)),
        });
        let amount = match used {
            Some(_) if rng.percent(40) => Some(0),
            Some(_) => amount.or(Some(1)),
            None => amount,
        };
        let late_is_likely = heard.as_ref().is_some_and(|u| u.deadline <= self.now);
        Action::Confirm(Confirm {
            consumption_id: heard.map_or(Uuid::nil(), |u| u.id),
            amount,
            overage: rng.pick(&[
                Overage::Reject,
                Overage::Available,
                Overage::Available,
                Overage::Debt,
                Overage::Debt,
            ]),
            late: if rng.percent(if late_is_likely { 75 } else { 30 }) {
                Late::Recharge
            } else {
                Late::Reject
            },
            used,
        })
    }

    fn refund(&self, rng: &mut Rng) -> Action {
        let heard = self.use_(rng);
        let amount = heard.as_ref().and_then(|u| {
            let most = if u.status == Status::Pending {
                u.amount
            } else {
                u.captured
            };
            match rng.below(10) {
                0..4 => None,
                4..6 => Some(self.near(most, rng)),
                6 if u.reversed > 0 => Some(u.reversed),
                6..8 => Some((most - u.reversed).max(1)),
                _ => Some((most / rng.pick(&[2, 3, 10])).max(1)),
            }
        });
        Action::Refund(Refund {
            consumption_id: heard.map_or(Uuid::nil(), |u| u.id),
            amount,
            reason: Self::note_text(rng),
            operator: Self::note_text(rng),
            pending_only: rng.pick(&[false, false, false, true]),
        })
    }

    fn clawback(&self, rng: &mut Rng) -> Action {
        let recent = self.lots.len().saturating_sub(rng.pick(&[3, 10, 1000]));
        let (user_id, lot_id) = if self.lots.is_empty() {
            (self.users[0], Uuid::nil())
        } else {
            rng.pick(&self.lots[recent..])
        };
        Action::Clawback(Clawback {
            // Now and then a lot of somebody else.
            user_id: if rng.percent(5) { self.user(rng) } else { user_id },
            lot_id,
            amount: if rng.percent(50) {
                None
            } else {
                Some(self.amount(rng))
            },
            shortfall: rng.pick(&[Shortfall::Forgive, Shortfall::Debt]),
            reason: Self::note_text(rng),
            operator: Self::note_text(rng),
        })
    }

    /// Nonsense: an argument out of its limits, an unknown id, somebody else's id.
    fn spoil(&self, command: &mut Command, rng: &mut Rng) {
        let bad_amount = rng.pick(&[0, -1, i64::MIN, i64::MAX, CREDITS_MAX + 1, -CREDITS_MAX - 1]);
        let bad_ttl = rng.pick(&[
            Duration::ZERO,
            Duration::from_micros(999_999),
            Duration::MAX,
            Duration::from_secs(2_592_001),
        ]);
        let bad_text = rng.pick(&["x".repeat(256), "a\0b".to_owned(), "\u{1F600}".repeat(64)]);
        let bad_time = rng.pick(&[
            Timestamp::from_micros(i64::MIN),
            Timestamp::from_micros(Timestamp::MIN.as_micros() - 1),
            Timestamp::from_micros(Timestamp::MAX.as_micros() + 1),
            self.now,
        ]);
        let nobody = Uuid::from_u64_pair(rng.next(), rng.next());
        if rng.percent(20) {
            command.idempotency_key = Some(rng.pick(&[String::new(), bad_text]));
            return;
        }
        let which = rng.below(4);
        match &mut command.action {
            Action::Grant(c) => match which {
                0 => c.amount = bad_amount,
                1 => c.expires_at = Some(bad_time),
                2 => c.priority = rng.pick(&[PRIORITY_MAX + 1, -PRIORITY_MAX - 1]),
                _ => c.source = Source::Reversal,
            },
            Action::Gift(c) => match which {
                0 => c.amount = bad_amount,
                1 => c.expires_at = Some(bad_time),
                2 => c.reason = rng.pick(&[String::new(), "  ".to_owned(), bad_text]),
                _ => c.operator = Some(bad_text),
            },
            Action::Consume(c) => match which {
                0 => c.amount = bad_amount,
                1 => c.ttl = Some(bad_ttl),
                2 => {
                    c.feature = Some(rng.pick(&[bad_text, String::new(), " ".to_owned(), "a\nb".to_owned()]))
                }
                _ => c.reference = Some(bad_text),
            },
            Action::Confirm(c) => match which {
                0 => c.consumption_id = nobody,
                _ => c.amount = Some(bad_amount),
            },
            Action::Refund(c) => match which {
                0 => c.consumption_id = nobody,
                1 => c.reason = Some(bad_text),
                2 => c.operator = Some(bad_text),
                _ => c.amount = Some(bad_amount),
            },
            Action::Extend(c) => match which {
                0 => c.consumption_id = nobody,
                1 => c.reason = Some(bad_text),
                _ => c.ttl = bad_ttl,
            },
            Action::Adjust(c) => match which {
                0 => c.reason = rng.pick(&[String::new(), "\t".to_owned(), bad_text]),
                1 => c.operator = Some(bad_text),
                _ => c.amount = rng.pick(&[0, i64::MIN, i64::MAX, -CREDITS_MAX - 1]),
            },
            Action::SetCreditLimit(c) => c.credit_limit = rng.pick(&[-1, CREDITS_MAX + 1, i64::MIN]),
            Action::Clawback(c) => match which {
                0 => c.lot_id = nobody,
                1 => c.reason = Some(bad_text),
                2 => c.operator = Some(bad_text),
                _ => c.amount = Some(bad_amount),
            },
            _ => {}
        }
    }
}
