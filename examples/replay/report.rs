//! The summary.

use crate::Options;
use crate::audit::Audit;
use crate::meter::{Call, Latency};
use crate::product::Product;
use jointo_credits::{Timestamp, Verification};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What was replayed.
pub struct Head {
    pub source: String,
    pub start: Timestamp,
    pub end: Timestamp,
    pub took: Duration,
}

/// The whole text, to be printed at once.
pub fn text(options: &Options, head: &Head, product: &Product, audit: &Audit) -> String {
    let mut out = Vec::new();
    replayed(&mut out, options, head);
    outcomes(&mut out, product, audit);
    credits(&mut out, audit);
    latencies(&mut out, product, head.took);
    audited(&mut out, audit);
    verdict(&mut out, audit);
    out.push(String::new());
    out.join("\n")
}

fn replayed(out: &mut Vec<String>, options: &Options, head: &Head) {
    let Head {
        source,
        start,
        end,
        took,
    } = head;
    let seconds = |t: &Timestamp| t.as_micros().div_euclid(1_000_000);
    let from = Timestamp::from_micros(seconds(start) * 1_000_000);
    let span = seconds(end) - seconds(start);
    let database = options
        .database
        .as_deref()
        .map_or("SQLite in a temporary file", without_secrets);
    out.push(format!(
        "replayed  {source}: {span} s from {from} on, in {:.1} s",
        took.as_secs_f64()
    ));
    let (accounts, concurrency) = (group(options.accounts), group(options.concurrency));
    out.push(format!(
        "ledger    {database}; {accounts} accounts, concurrency {concurrency}"
    ));
}

fn outcomes(out: &mut Vec<String>, product: &Product, audit: &Audit) {
    let o = &audit.counted.outcomes;
    let (more, less, capped) = (group(o.for_more), group(o.for_less), group(o.capped));
    let (late, swept) = (group(o.late), group(audit.counted.swept.holds));
    let repeated = product.repeated.load(Ordering::Relaxed);
    out.push(String::new());
    out.push(format!("{:<24}{:>10}", "jobs", group(o.jobs())));
    let notes = [
        (
            "confirmed",
            o.confirmed,
            format!("   {more} for more than was held, {less} for less, {capped} capped"),
        ),
        ("confirmed and reversed", o.reversed, String::new()),
        ("refunded", o.refunded, String::new()),
        (
            "expired",
            o.expired,
            format!("   {late} answered too late; {swept} written down by the housekeeping"),
        ),
        ("still held", o.held, String::new()),
        ("refused", o.refused, "   not enough credits".into()),
    ];
    out.extend(notes.map(|(name, n, note)| format!("  {name:<22}{:>10}{note}", group(n))));
    let note = "with the same key; each got the first answer again";
    out.push(format!(
        "{:<24}{:>10}   {note}",
        "calls repeated",
        group(repeated)
    ));
}

fn credits(out: &mut Vec<String>, audit: &Audit) {
    out.push(String::new());
    out.push(format!(
        "{:<20}{:>14}{:>18}",
        "credits", "the ledger", "counted here"
    ));
    let figures = audit.books.lines().into_iter().zip(audit.counted.credits.lines());
    for (sign, ((name, books), (_, counted))) in [' ', '=', '+', '+', '+'].into_iter().zip(figures) {
        let note = if books == counted { "" } else { "   DIFFERENT" };
        out.push(format!(
            "{sign} {name:<18}{:>14}{:>18}{note}",
            group(books),
            group(counted)
        ));
    }
}

fn latencies(out: &mut Vec<String>, product: &Product, took: Duration) {
    let row = |name: &str, Latency { calls, p50, p99, max }: &Latency| {
        let [p50, p99, max] = [p50, p99, max].map(|d| d.as_secs_f64() * 1_000.0);
        format!(
            "  {name:<18}{:>14}{p50:>12.2}{p99:>12.2}{max:>12.2}",
            group(*calls)
        )
    };
    out.push(String::new());
    out.push(format!(
        "{:<20}{:>14}{:>12}{:>12}{:>12}",
        "commands", "calls", "p50 ms", "p99 ms", "max ms"
    ));
    for call in Call::ALL {
        out.extend(
            product
                .meter
                .latency(Some(call))
                .map(|latency| row(call.name(), &latency)),
        );
    }
    if let Some(all) = product.meter.latency(None) {
        out.push(row("all", &all));
        let rate = all.calls as f64 / took.as_secs_f64().max(1e-6);
        out.push(format!(
            "{:<20}{:>14} commands a second",
            "throughput",
            group(rate as u64)
        ));
    }
}

fn audited(out: &mut Vec<String>, audit: &Audit) {
    let Verification {
        accounts,
        entries,
        lots,
        holds,
        fault_count,
        faults,
        .. // the replay sells nothing and anchors nothing
    } = &audit.verification;
    let verdict = if audit.verification.is_clean() {
        "clean".into()
    } else {
        format!("FAULTS, {}", group(*fault_count))
    };
    let [accounts, entries, lots, holds] = [accounts, entries, lots, holds].map(|n| group(*n));
    out.push(String::new());
    out.push(format!(
        "verify              {verdict}: {accounts} accounts, {entries} entries, {lots} lots, {holds} consumptions, {:.1} s",
        audit.took.as_secs_f64()
    ));
    out.extend(faults.iter().take(10).map(|fault| format!("    {fault}")));
    let verdict = if audit.trial.is_balanced() {
        "balanced"
    } else {
        "NOT BALANCED"
    };
    let total = group(audit.trial.total());
    out.push(format!(
        "trial balance       {verdict}: accounts and counter-accounts together are {total}"
    ));
    let accounts = [("available", audit.trial.available), ("held", audit.trial.held)];
    let counter_accounts = audit
        .trial
        .counter_accounts
        .iter()
        .filter(|(_, credits)| **credits != 0);
    out.extend(
        accounts
            .map(|(name, credits)| format!("  {:<22}{:>14}", "accounts, ".to_owned() + name, group(credits))),
    );
    out.extend(counter_accounts.map(|(name, credits)| format!("  {name:<22}{:>14}", group(*credits))));
}

fn verdict(out: &mut Vec<String>, audit: &Audit) {
    out.push(String::new());
    if audit.faults.is_empty() {
        let issued = group(audit.counted.credits.issued);
        out.push(format!("Every one of {issued} credits is accounted for."));
    } else {
        out.push("NOT EVERY CREDIT IS ACCOUNTED FOR:".into());
        out.extend(audit.faults.iter().map(|fault| format!("  {fault}")));
    }
}

/// Thousands apart: 1,234,567.
fn group(n: impl ToString) -> String {
    let digits = n.to_string();
    let mut grouped = String::new();
    for (i, c) in digits.char_indices() {
        let left = digits.len() - i;
        if left.is_multiple_of(3) && grouped.ends_with(|before: char| before.is_ascii_digit()) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    grouped
}

/// A URL may hold a password; what is behind it says enough.
fn without_secrets(url: &str) -> &str {
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    place.split_once('?').map_or(place, |(place, _)| place)
}
