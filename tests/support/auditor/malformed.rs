//! Rule **limits**: what is wrong with a command by itself.

use super::MOST;
use jointo_credits::Timestamp;
use jointo_credits::ledger::{Action, Command, Source};
use std::time::Duration;

/// What is wrong with one field.
#[derive(Debug)]
pub(super) struct Fault(&'static str, String, String);

impl Fault {
    pub(super) fn is(&self, field: &str, limit: &str, value: &str) -> bool {
        self.0 == field && self.1 == limit && self.2 == value
    }
}

pub(super) fn malformed(command: &Command) -> Vec<Fault> {
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
    let price = |n: i64, fault: &mut dyn FnMut(&'static str, &str, String)| {
        if n < 0 {
            fault("amount", "0", n.to_string());
        }
        if n > MOST {
            fault("amount", &MOST.to_string(), n.to_string());
        }
    };
    let document = |field: &'static str, text: &str, fault: &mut dyn FnMut(&'static str, &str, String)| {
        if text.len() > 16_384 {
            fault(field, "16384 bytes", format!("{} bytes", text.len()));
        }
    };
    let life = |field: &'static str, ttl: Duration, fault: &mut dyn FnMut(&'static str, &str, String)| {
        if ttl < Duration::from_secs(1) || ttl > Duration::from_secs(2_592_000) {
            fault(field, "1 s .. 2592000 s", format!("{} s", ttl.as_secs_f64()));
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
            if let Some(priced) = &c.priced {
                price(c.amount, &mut fault);
                document("quote", &priced.quote, &mut fault);
                if let Some(ttl) = priced.hold_ttl {
                    life("hold_ttl", ttl, &mut fault);
                }
            } else {
                positive(c.amount, &mut fault);
            }
            text("feature", c.feature.as_deref(), 0, &mut fault);
            if let Some(feature) = &c.feature {
                let breaks = |c: char| {
                    c < ' ' || ('\u{7f}'..='\u{9f}').contains(&c) || c == '\u{2028}' || c == '\u{2029}'
                };
                let unseen = |c: char| {
                    let marks = ['\u{ad}', '\u{feff}'];
                    let ranges = [
                        '\u{200b}'..='\u{200f}',
                        '\u{2028}'..='\u{202e}',
                        '\u{2060}'..='\u{206f}',
                    ];
                    marks.contains(&c) || ranges.iter().any(|range| range.contains(&c))
                };
                if feature.chars().all(|c| c.is_whitespace() || unseen(c)) {
                    fault("feature", "one line of text", "nothing".to_owned());
                } else if feature.chars().any(breaks) {
                    let given = "text with a line break or another control character";
                    fault("feature", "one line of text", given.to_owned());
                }
            }
            text("reference", c.reference.as_deref(), 0, &mut fault);
            if let Some(ttl) = c.ttl {
                life("ttl", ttl, &mut fault);
            }
        }
        Action::Confirm(c) => match (c.amount, &c.used) {
            (Some(n), Some(used)) => {
                price(n, &mut fault);
                document("used", used, &mut fault);
            }
            (Some(n), None) => positive(n, &mut fault),
            (None, _) => {}
        },
        Action::Refund(c) => {
            if let Some(n) = c.amount {
                positive(n, &mut fault);
            }
            text("reason", c.reason.as_deref(), 0, &mut fault);
            text("operator", c.operator.as_deref(), 0, &mut fault);
        }
        Action::Extend(c) => {
            life("ttl", c.ttl, &mut fault);
            text("reason", c.reason.as_deref(), 0, &mut fault);
        }
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
        Action::SetCreditLimit(c) if c.credit_limit < 0 || c.credit_limit > MOST => {
            fault("credit_limit", &MOST.to_string(), c.credit_limit.to_string());
        }
        Action::Clawback(c) => {
            if let Some(n) = c.amount {
                positive(n, &mut fault);
            }
            text("reason", c.reason.as_deref(), 0, &mut fault);
            text("operator", c.operator.as_deref(), 0, &mut fault);
        }
        _ => {}
    }
    faults
}
