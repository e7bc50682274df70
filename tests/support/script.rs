//! Tests as readable tables: one command per line, and what must come of it.
//!
//! ```text
//! rules on_lot_expired_while_held grace        # settings, before everything else
//! at 0s   grant   alice 100 purchase expires 10d   -> ok available 100
//! at 0s   consume alice 75 ttl 60s as h1           -> pending available 25 held 75
//! at 61s  confirm h1                               -> refused hold_expired at 60s
//! at 61s  balance alice                            -> available 100 held 0
//! ```
//!
//! Times count from the start of the script: `61s`, `10d-1us`, `1h+5m`. `as` names the lot or the consumption that a
//! command makes; a name that nothing was given stands for an id that does not exist. Behind the arrow stand the first
//! words of the answer, then names and values that must be in it or in the account's balance afterwards; what is not
//! named there is not looked at. `replay` says that the answer is what the key's first command was answered, as it was.
//! `"..."` is text with spaces or escapes, `x*256` is 256 times `x`.
//!
//! | command | options |
//! | --- | --- |
//! | `grant USER N SOURCE` | `priority expires cost reference` |
//! | `gift USER N` | `reason operator expires` |
//! | `consume USER N` | `ttl for reference metadata`; for a price also `request quote card_ttl` |
//! | `confirm HOLD` | `amount overage late used` |
//! | `refund HOLD` | `amount reason operator` |
//! | `extend HOLD TTL` | `reason` |
//! | `adjust USER N` | `reason operator` |
//! | `limit USER N` | |
//! | `clawback USER LOT` | `amount shortfall reason operator` |
//! | `mature USER` | |
//! | `balance USER`, `show HOLD` | (reads) |
//!
//! Every command takes `key` and `as`.

use super::render::{self, Names};
use super::subject::Subject;
use jointo_credits::Timestamp;
use jointo_credits::ledger::{
    Action, Adjust, Clawback, Command, Confirm, Consume, Extend, Gift, Grant, Late, Metadata, Money,
    OnLotExpiredWhileHeld, Outcome, Overage, Priced, Refund, Refusal, Rules, SetCreditLimit, Shortfall,
    Source,
};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use uuid::Uuid;

/// When scripts start: 2026-11-22T08:00:00Z.
pub const EPOCH: Timestamp = Timestamp::from_micros(1_795_334_400_000_000);

/// Runs `script` on what `make` makes for its settings. Panics with the script, the line and the difference.
pub fn run(script: &str, make: &mut dyn FnMut(Rules) -> Box<dyn Subject>) {
    run_apart(script, 0, make);
}

/// The same, with accounts that no other run with another `number` has: several can share a database.
pub fn run_apart(script: &str, number: u64, make: &mut dyn FnMut(Rules) -> Box<dyn Subject>) {
    let mut run = Run {
        number,
        names: Names::new(EPOCH),
        first: HashMap::new(),
        owners: HashMap::new(),
    };
    let mut rules = Rules::default();
    let mut subject = None;
    for (number, line) in script.lines().enumerate() {
        let text = line.split(" # ").next().unwrap_or_default().trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let result = match text.strip_prefix("rules ") {
            Some(setting) => {
                assert!(subject.is_none(), "settings stand before everything else");
                set(&mut rules, &words(setting))
            }
            None => run.line(text, subject.get_or_insert_with(|| make(rules)).as_mut()),
        };
        if let Err(problem) = result {
            panic!("\n{}\n{problem}\n", marked(script, number));
        }
    }
}

/// The instant that `text` stands for in a script.
pub fn time(text: &str) -> Timestamp {
    Timestamp::from_micros(EPOCH.as_micros() + span(text))
}

fn marked(script: &str, number: usize) -> String {
    script
        .lines()
        .enumerate()
        .map(|(i, line)| format!("{} {line}", if i == number { ">>>" } else { "   " }))
        .collect::<Vec<_>>()
        .join("\n")
}

struct Run {
    number: u64,
    names: Names,
    /// What the first command with a key was answered.
    first: HashMap<String, Outcome>,
    /// Whose a consumption is.
    owners: HashMap<Uuid, Uuid>,
}

impl Run {
    fn line(&mut self, text: &str, subject: &mut dyn Subject) -> Result<(), String> {
        let (asked, expected) = text.split_once("->").ok_or("no `->` in this line")?;
        let (asked, expected) = (words(asked), words(expected));
        let ["at", when, verb, target, ..] = asked.iter().map(String::as_str).collect::<Vec<_>>()[..] else {
            return Err("a line is `at TIME COMMAND TARGET ... -> EXPECTED`".to_owned());
        };
        let now = time(when);
        match verb {
            "balance" => {
                let user = self.user(target);
                let told = render::balance(&subject.balance(user, now), &self.names);
                self.matches(&told, "", &expected)
            }
            "show" => {
                let told = match subject.consumption(self.id(target), now) {
                    Some(c) => render::consumption(&c, &mut self.names),
                    None => "nothing".to_owned(),
                };
                self.matches(&told, "", &expected)
            }
            _ => {
                let mut options = options(verb, &asked[3..])?;
                let command = self.command(verb, &mut options)?;
                let name = options.remove("as");
                if !options.is_empty() {
                    return Err(format!(
                        "{verb} takes no {:?}",
                        options.keys().collect::<Vec<_>>()
                    ));
                }
                let command = match command {
                    Ok(command) => command,
                    // Refused while being put together: metadata.
                    Err(refusal) => {
                        let told = render::refused(&refusal, &mut self.names);
                        return self.matches(&told, "", &expected);
                    }
                };
                self.give(&command, now, name.as_deref(), &expected, subject)
            }
        }
    }

    fn give(
        &mut self,
        command: &Command,
        now: Timestamp,
        name: Option<&str>,
        expected: &[String],
        subject: &mut dyn Subject,
    ) -> Result<(), String> {
        let answer = subject.run(command, now);
        let user = match (&answer, command.target()) {
            (Ok(Outcome::Consumption(c)), _) => {
                self.owners.insert(c.id, c.user_id);
                if let Some(name) = name {
                    self.names.set(c.id, name);
                }
                Some(c.user_id)
            }
            (Ok(Outcome::Receipt(r)), _) => {
                if let (Some(name), Some(lot)) = (name, &r.lot) {
                    self.names.set(lot.lot_id, name);
                }
                Some(r.user_id)
            }
            (_, jointo_credits::ledger::Target::Account(user)) => Some(user),
            (_, jointo_credits::ledger::Target::Consumption(id)) => self.owners.get(&id).copied(),
        };
        let mut expected = expected.to_vec();
        if let (Ok(outcome), Some(key)) = (&answer, &command.idempotency_key) {
            let first = self.first.entry(key.clone()).or_insert_with(|| outcome.clone());
            if expected.first().is_some_and(|word| word == "replay") {
                expected.remove(0);
                if first != outcome {
                    return Err(format!("first:  {first:?}\nreplay: {outcome:?}"));
                }
                expected.insert(0, "*".to_owned());
            }
        }
        let told = render::answer(&answer, &mut self.names);
        let balance = match user {
            Some(user) if answer.is_ok() => render::balance(&subject.balance(user, now), &self.names),
            _ => String::new(),
        };
        self.matches(&told, &balance, &expected)
    }

    /// Whether the first words are the same, and what is named has the value it should have.
    fn matches(&self, told: &str, balance: &str, expected: &[String]) -> Result<(), String> {
        let differs = || {
            Err(format!(
                "expected: {}\nactual:   {told} {balance}",
                expected.join(" ")
            ))
        };
        let (told_words, balance_words) = (words(told), words(balance));
        let head = match told_words.first().map(String::as_str) {
            Some("refused") => 2,
            Some("available") | None => 0,
            _ => 1,
        };
        let anything = expected.first().is_some_and(|word| word == "*");
        let skip = if anything { 1 } else { head };
        if expected.len() < skip || (!anything && expected[..head] != told_words[..head]) {
            return differs();
        }
        let mut facts: BTreeMap<&str, &str> = BTreeMap::new();
        for list in [&balance_words[..], &told_words[head..]] {
            facts.extend(
                list.chunks(2)
                    .filter_map(|c| Some((c.first()?.as_str(), c.get(1)?.as_str()))),
            );
        }
        for pair in expected[skip..].chunks(2) {
            let [name, value] = pair else {
                return Err(format!("no value for {pair:?}"));
            };
            if facts.get(name.as_str()) != Some(&value.as_str()) {
                return differs();
            }
        }
        Ok(())
    }

    fn user(&mut self, name: &str) -> Uuid {
        let id = Uuid::from_u128(u128::from_be_bytes(padded(name)) ^ u128::from(self.number));
        self.names.set(id, name);
        id
    }

    fn id(&self, name: &str) -> Uuid {
        self.names
            .id(name)
            .unwrap_or_else(|| Uuid::from_u128(u128::from_be_bytes(padded(name))))
    }

    #[allow(
        clippy::type_complexity,
        reason = "the inner one is the ledger's refusal, the outer a mistake in the script"
    )]
    fn command(
        &mut self,
        verb: &str,
        o: &mut BTreeMap<&'static str, String>,
    ) -> Result<Result<Command, Refusal>, String> {
        let mut text = |name: &str| o.remove(name);
        let number = |text: Option<String>| -> Result<Option<i64>, String> {
            text.map(|t| t.parse().map_err(|e| format!("{t}: {e}")))
                .transpose()
        };
        let target = text("target").unwrap_or_default();
        let amount = number(text("amount"))?;
        let all = amount.unwrap_or_default();
        let expires_at = text("expires").map(|t| time(&t));
        let (reference, reason, operator) = (text("reference"), text("reason"), text("operator"));
        let action = match verb {
            "grant" => Action::Grant(Grant {
                user_id: self.user(&target),
                amount: all,
                source: Source::parse(&text("source").unwrap_or_default()).ok_or("no such source")?,
                priority: number(text("priority"))?.unwrap_or(0) as i32,
                expires_at,
                cost: text("cost").map(|t| {
                    let digits = t
                        .trim_start_matches('-')
                        .bytes()
                        .take_while(u8::is_ascii_digit)
                        .count();
                    let (minor, currency) = t.split_at(digits + usize::from(t.starts_with('-')));
                    Money {
                        minor: minor.parse().expect("minor units"),
                        currency: currency.to_owned(),
                    }
                }),
                reference,
            }),
            "gift" => Action::Gift(Gift {
                user_id: self.user(&target),
                amount: all,
                reason: reason.unwrap_or_else(|| "welcome".to_owned()),
                operator,
                expires_at,
            }),
            "consume" => Action::Consume(Consume {
                user_id: self.user(&target),
                amount: all,
                feature: text("for"),
                ttl: text("ttl").map(|t| duration(&t)),
                reference,
                metadata: match text("metadata").map(|t| Metadata::parse(&t)).transpose() {
                    Ok(metadata) => metadata,
                    Err(refusal) => {
                        o.clear();
                        return Ok(Err(refusal));
                    }
                },
                priced: text("quote").map(|quote| Priced {
                    request: text("request").unwrap_or_default(),
                    quote,
                    hold_ttl: text("card_ttl").map(|t| duration(&t)),
                }),
            }),
            "confirm" => Action::Confirm(Confirm {
                consumption_id: self.id(&target),
                amount,
                overage: match text("overage").as_deref() {
                    None | Some("reject") => Overage::Reject,
                    Some("available") => Overage::Available,
                    Some("debt") => Overage::Debt,
                    Some(other) => return Err(format!("no overage {other}")),
                },
                late: match text("late").as_deref() {
                    None | Some("reject") => Late::Reject,
                    Some("recharge") => Late::Recharge,
                    Some(other) => return Err(format!("no late {other}")),
                },
                used: text("used"),
            }),
            "refund" => Action::Refund(Refund {
                consumption_id: self.id(&target),
                amount,
                reason,
                operator,
                pending_only: text("pending_only").is_some(),
            }),
            "extend" => Action::Extend(Extend {
                consumption_id: self.id(&target),
                ttl: duration(&text("ttl").unwrap_or_default()),
                reason,
            }),
            "adjust" => Action::Adjust(Adjust {
                user_id: self.user(&target),
                amount: all,
                reason: reason.unwrap_or_else(|| "correction".to_owned()),
                operator,
            }),
            "limit" => Action::SetCreditLimit(SetCreditLimit {
                user_id: self.user(&target),
                credit_limit: all,
            }),
            "clawback" => Action::Clawback(Clawback {
                user_id: self.user(&target),
                lot_id: self.id(&text("lot").unwrap_or_default()),
                amount,
                shortfall: match text("shortfall").as_deref() {
                    None | Some("forgive") => Shortfall::Forgive,
                    Some("debt") => Shortfall::Debt,
                    Some(other) => return Err(format!("no shortfall {other}")),
                },
                reason,
                operator,
            }),
            "mature" => Action::Mature {
                user_id: self.user(&target),
            },
            other => return Err(format!("no command {other}")),
        };
        Ok(Ok(Command {
            action,
            idempotency_key: text("key"),
        }))
    }
}

/// The words behind a verb by name: first those that have a place, then pairs.
fn options(verb: &str, words: &[String]) -> Result<BTreeMap<&'static str, String>, String> {
    let places: &[&'static str] = match verb {
        "grant" => &["target", "amount", "source"],
        "gift" | "consume" | "adjust" | "limit" => &["target", "amount"],
        "extend" => &["target", "ttl"],
        "clawback" => &["target", "lot"],
        _ => &["target"],
    };
    let names = [
        "amount",
        "priority",
        "expires",
        "cost",
        "reference",
        "reason",
        "operator",
        "ttl",
        "for",
        "metadata",
        "overage",
        "late",
        "pending_only",
        "shortfall",
        "request",
        "quote",
        "card_ttl",
        "used",
        "key",
        "as",
    ];
    if words.len() < places.len() || !(words.len() - places.len()).is_multiple_of(2) {
        return Err(format!("{verb} needs {places:?}, then pairs"));
    }
    let (fixed, pairs) = words.split_at(places.len());
    let mut options: BTreeMap<&'static str, String> =
        places.iter().copied().zip(fixed.iter().cloned()).collect();
    for pair in pairs.chunks(2) {
        let name = names
            .iter()
            .find(|n| **n == pair[0])
            .ok_or_else(|| format!("no option {}", pair[0]))?;
        options.insert(name, pair[1].clone());
    }
    Ok(options)
}

fn set(rules: &mut Rules, words: &[String]) -> Result<(), String> {
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hold_ttl", t] => rules.hold_ttl = duration(t),
        ["release_grace", t] => rules.release_grace = duration(t),
        ["reversal_grace", t] => rules.reversal_grace = duration(t),
        ["entry_room", n] => rules.entry_room = n.parse().map_err(|_| format!("no number {n}"))?,
        ["on_lot_expired_while_held", "grace"] => {
            rules.on_lot_expired_while_held = OnLotExpiredWhileHeld::Grace;
        }
        ["on_lot_expired_while_held", "expire"] => {
            rules.on_lot_expired_while_held = OnLotExpiredWhileHeld::Expire;
        }
        _ => return Err(format!("no setting {words:?}")),
    }
    Ok(())
}

/// Splits at spaces; quoted text is one word, `x*256` is repeated.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = if let Some(quoted) = rest.strip_prefix('"') {
            let mut escaped = false;
            let inside = quoted.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            inside.map_or(rest.len(), |i| i + 2)
        } else {
            rest.find(' ').unwrap_or(rest.len())
        };
        let (word, after) = rest.split_at(end);
        words.push(match word.split_once('*') {
            _ if word.starts_with('"') => unquoted(word),
            Some((unit, n)) if n.parse::<usize>().is_ok() => unit.repeat(n.parse().unwrap_or(1)),
            _ => word.to_owned(),
        });
        rest = after.trim_start();
    }
    words
}

fn unquoted(word: &str) -> String {
    // Rust writes `\0` and `\u{..}`, JSON `\u0000`; scripts need no more than this of both.
    let inside = word
        .strip_prefix('"')
        .and_then(|w| w.strip_suffix('"'))
        .unwrap_or(word);
    inside
        .replace("\\0", "\0")
        .replace("\\n", "\n")
        .replace("\\t", "\t")
        .replace("\\\"", "\"")
        .replace("\\\\", "\\")
}

fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [b'-'; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(b, n)| *b = n);
    bytes
}

/// `10d-1us` in microseconds.
fn span(text: &str) -> i64 {
    let signed = text.replace('-', "+-");
    signed
        .split('+')
        .filter(|term| !term.is_empty())
        .map(|term| {
            let digits = term
                .trim_start_matches('-')
                .bytes()
                .take_while(u8::is_ascii_digit)
                .count();
            let (number, unit) = term.split_at(digits + usize::from(term.starts_with('-')));
            let size = match unit {
                "us" => 1,
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "d" => 86_400_000_000,
                other => panic!("no unit of time `{other}` in {text}"),
            };
            number
                .parse::<i64>()
                .expect("a number of units")
                .saturating_mul(size)
        })
        .fold(0, i64::saturating_add)
}

fn duration(text: &str) -> Duration {
    Duration::from_micros(span(text).unsigned_abs())
}
