//! Commands and answers as short text, with names for ids: for scripts, and to show a failing history.

use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Action, Balance, Command, Consumption, Late, Lot, Outcome, Overage, Pin, Refusal, Shortfall,
};
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;
use uuid::Uuid;

/// Names for ids, and the instant that times are counted from.
pub struct Names {
    by_id: HashMap<Uuid, String>,
    pub epoch: Timestamp,
    unnamed: usize,
}

impl Names {
    pub fn new(epoch: Timestamp) -> Self {
        Names {
            by_id: HashMap::new(),
            epoch,
            unnamed: 0,
        }
    }

    pub fn set(&mut self, id: Uuid, name: &str) {
        self.by_id.insert(id, name.to_owned());
    }

    /// The id that was given this name.
    pub fn id(&self, name: &str) -> Option<Uuid> {
        self.by_id.iter().find(|(_, n)| *n == name).map(|(id, _)| *id)
    }

    /// The name of an id; what has none is numbered in order of appearance.
    pub fn of(&mut self, id: Uuid, what: &str) -> String {
        if let Some(name) = self.by_id.get(&id) {
            return name.clone();
        }
        self.unnamed += 1;
        let name = format!("{what}{}", self.unnamed);
        self.by_id.insert(id, name.clone());
        name
    }

    /// An instant: what has passed since the epoch.
    pub fn time(&self, t: Timestamp) -> String {
        span(t.as_micros().saturating_sub(self.epoch.as_micros()))
    }
}

/// Microseconds as the largest units that say them exactly: `10d`, `61s`, `1d+1us`.
pub fn span(micros: i64) -> String {
    let mut left = micros.unsigned_abs();
    let mut parts = Vec::new();
    for (unit, size) in [("d", 86_400_000_000), ("s", 1_000_000), ("us", 1)] {
        if left >= size {
            parts.push(format!("{}{unit}", left / size));
            left %= size;
        }
    }
    let text = if parts.is_empty() {
        "0s".to_owned()
    } else {
        parts.join("+")
    };
    if micros < 0 { format!("-({text})") } else { text }
}

fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([' ', '"', '{', '\0']) {
        format!("{text:?}")
    } else {
        text.to_owned()
    }
}

/// A command as a line of a script.
pub fn command(c: &Command, now: Timestamp, names: &mut Names) -> String {
    let mut line = format!("at {:<12} ", names.time(now));
    let ttl = |d: Duration| span(i64::try_from(d.as_micros()).unwrap_or(i64::MAX));
    macro_rules! add { ($($arg:tt)*) => {{ let _ = write!(line, $($arg)*); }} }
    match &c.action {
        Action::Grant(c) => {
            add!("grant {} {} {}", names.of(c.user_id, "user"), c.amount, c.source);
            if c.priority != 0 {
                add!(" priority {}", c.priority);
            }
            if let Some(t) = c.expires_at {
                add!(" expires {}", names.time(t));
            }
            if let Some(m) = &c.cost {
                add!(" cost {}{}", m.minor, m.currency);
            }
            if let Some(r) = &c.reference {
                add!(" reference {}", quoted(r));
            }
        }
        Action::Gift(c) => {
            add!(
                "gift {} {} reason {}",
                names.of(c.user_id, "user"),
                c.amount,
                quoted(&c.reason)
            );
            if let Some(t) = c.expires_at {
                add!(" expires {}", names.time(t));
            }
            if let Some(o) = &c.operator {
                add!(" operator {}", quoted(o));
            }
        }
        Action::Consume(c) => {
            add!("consume {} {}", names.of(c.user_id, "user"), c.amount);
            if let Some(t) = c.ttl {
                add!(" ttl {}", ttl(t));
            }
            if let Some(f) = &c.feature {
                add!(" for {}", quoted(f));
            }
            if let Some(r) = &c.reference {
                add!(" reference {}", quoted(r));
            }
            if let Some(m) = &c.metadata {
                add!(" metadata {:?}", m.as_str());
            }
            if let Some(p) = &c.priced {
                add!(" request {:?} quote {:?}", p.request, p.quote);
                if let Some(t) = p.hold_ttl {
                    add!(" card_ttl {}", ttl(t));
                }
            }
        }
        Action::Confirm(c) => {
            add!("confirm {}", names.of(c.consumption_id, "hold"));
            if let Some(n) = c.amount {
                add!(" amount {n}");
            }
            match c.overage {
                Overage::Available => add!(" overage available"),
                Overage::Debt => add!(" overage debt"),
                _ => {}
            }
            if c.late == Late::Recharge {
                add!(" late recharge");
            }
            if let Some(u) = &c.used {
                add!(" used {u:?}");
            }
        }
        Action::Refund(c) => {
            add!("refund {}", names.of(c.consumption_id, "hold"));
            if let Some(n) = c.amount {
                add!(" amount {n}");
            }
            if let Some(r) = &c.reason {
                add!(" reason {}", quoted(r));
            }
            if let Some(o) = &c.operator {
                add!(" operator {}", quoted(o));
            }
            if c.pending_only {
                add!(" pending_only yes");
            }
        }
        Action::Extend(c) => {
            add!("extend {} {}", names.of(c.consumption_id, "hold"), ttl(c.ttl));
            if let Some(reason) = &c.reason {
                add!(" reason {}", quoted(reason));
            }
        }
        Action::Adjust(c) => {
            add!(
                "adjust {} {} reason {}",
                names.of(c.user_id, "user"),
                c.amount,
                quoted(&c.reason)
            );
            if let Some(o) = &c.operator {
                add!(" operator {}", quoted(o));
            }
        }
        Action::SetCreditLimit(c) => add!("limit {} {}", names.of(c.user_id, "user"), c.credit_limit),
        Action::Clawback(c) => {
            add!(
                "clawback {} {}",
                names.of(c.user_id, "user"),
                names.of(c.lot_id, "lot")
            );
            if let Some(n) = c.amount {
                add!(" amount {n}");
            }
            if c.shortfall == Shortfall::Debt {
                add!(" shortfall debt");
            }
            if let Some(r) = &c.reason {
                add!(" reason {}", quoted(r));
            }
            if let Some(o) = &c.operator {
                add!(" operator {}", quoted(o));
            }
        }
        Action::Mature { user_id } => add!("mature {}", names.of(*user_id, "user")),
        other => add!("{other:?}"),
    }
    if let Some(key) = &c.idempotency_key {
        add!(" key {}", quoted(key));
    }
    line
}

/// An answer as words: a first word, then names and values.
pub fn answer(a: &Result<Outcome, Refusal>, names: &mut Names) -> String {
    match a {
        Ok(Outcome::Consumption(c)) => consumption(c, names),
        Ok(Outcome::Receipt(r)) => {
            let mut text = format!("ok amount {} seq {}", r.amount, r.seq);
            if let Some(lot) = &r.lot {
                let _ = write!(text, " lot {}", describe(lot, names));
            }
            if let Some(n) = r.credit_limit {
                let _ = write!(text, " limit {n}");
            }
            text
        }
        Ok(Outcome::Clawback(c)) => {
            format!(
                "ok taken {} shortfall {} booked {} seq {}",
                c.taken, c.shortfall, c.debt, c.seq
            )
        }
        Ok(Outcome::Matured(m)) => {
            format!(
                "ok holds {} released {} lots {} expired {}",
                m.holds, m.released, m.lots, m.expired
            )
        }
        Ok(other) => format!("{other:?}"),
        Err(refusal) => refused(refusal, names),
    }
}

pub fn refused(refusal: &Refusal, names: &mut Names) -> String {
    let rest = match refusal {
        Refusal::Invalid {
            field, limit, value, ..
        } => {
            format!("field {field} limit {} value {}", quoted(limit), quoted(value))
        }
        Refusal::IdempotencyConflict { key } => format!("key {}", quoted(key)),
        Refusal::NotFound { what, .. } => format!("what {what}"),
        Refusal::InvalidState { state, .. } => format!("state {state}"),
        Refusal::HoldExpired { expired_at, .. } => format!("at {}", names.time(*expired_at)),
        Refusal::Insufficient { required, available } => format!("required {required} available {available}"),
        other => format!("{other:?}"),
    };
    format!("refused {} {rest}", refusal.code())
}

pub fn consumption(c: &Consumption, names: &mut Names) -> String {
    names.of(c.id, "hold");
    let mut text = format!(
        "{} amount {} captured {} reversed {} borrowed {} lots {} expires {} settled {}",
        c.status,
        c.amount,
        c.captured,
        c.reversed,
        c.borrowed,
        pins(&c.lots, names),
        names.time(c.expires_at),
        c.settled_at.map_or("none".to_owned(), |t| names.time(t)),
    );
    if let Some(f) = &c.feature {
        let _ = write!(text, " for {}", quoted(f));
    }
    if let Some(r) = &c.reference {
        let _ = write!(text, " reference {}", quoted(r));
    }
    if let Some(m) = &c.metadata {
        let _ = write!(text, " metadata {:?}", m.as_str());
    }
    if let Some(q) = &c.quote {
        let _ = write!(text, " quote {q:?}");
    }
    if let Some(u) = &c.used {
        let _ = write!(text, " used {u:?}");
    }
    text
}

fn pins(pins: &[Pin], names: &mut Names) -> String {
    if pins.is_empty() {
        return "none".to_owned();
    }
    pins.iter()
        .map(|p| format!("{}:{}", names.of(p.lot_id, "lot"), p.amount))
        .collect::<Vec<_>>()
        .join("+")
}

fn describe(lot: &Lot, names: &mut Names) -> String {
    names.of(lot.lot_id, "lot")
}

pub fn balance(b: &Balance, names: &Names) -> String {
    let expiring: Vec<String> = b
        .expiring
        .iter()
        .map(|e| format!("{}@{}", e.amount, names.time(e.at)))
        .collect();
    format!(
        "available {} held {} debt {} limit {} granted {} spent {} expiring {}",
        b.available,
        b.held,
        b.debt,
        b.credit_limit,
        b.granted,
        b.spent,
        if expiring.is_empty() {
            "none".to_owned()
        } else {
            expiring.join("+")
        }
    )
}
