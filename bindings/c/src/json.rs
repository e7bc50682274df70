//! What has no fixed form, as JSON.

use crate::error::credits_error;
use crate::money::amount;
use jointo_credits::payments::{BillLine, Prepared};
use jointo_credits::pricing::Quote;
use jointo_credits::{
    Explanation, Fault, Histogram, Inspection, Order, Pricing, Reconciled, StatementDifference,
    StatementReport, Stats, TrialBalance,
};
use serde_json::{Value, json};

pub(crate) fn inspection(of: &Inspection) -> Value {
    let problems: Vec<Value> = of
        .problems
        .iter()
        .map(|problem| json!({ "what": problem.what, "remedy": problem.remedy }))
        .collect();
    json!({
        "database": of.database,
        "round_trip_us": u64::try_from(of.round_trip.as_micros()).unwrap_or(u64::MAX),
        "clock_skew_us": of.clock_skew_us,
        "problems": problems,
    })
}

fn histogram(of: &Histogram) -> Value {
    let buckets: Vec<Value> = of
        .buckets
        .iter()
        .map(|(bound, count)| json!({ "up_to": bound, "count": count }))
        .collect();
    json!({ "buckets": buckets, "above": of.above, "sum": of.sum })
}

pub(crate) fn stats(of: &Stats) -> Value {
    let answers: Vec<Value> = of
        .answers
        .iter()
        .map(|each| json!({ "operation": each.operation, "outcome": each.outcome, "count": each.count }))
        .collect();
    let latencies: serde_json::Map<String, Value> = of
        .latencies
        .iter()
        .map(|(operation, latency)| ((*operation).to_owned(), histogram(latency)))
        .collect();
    json!({
        "answers": answers,
        "latencies_us": latencies,
        "batches": histogram(&of.batches),
        "queued": of.queued,
        "expired_holds": of.matured.holds,
        "released_credits": of.matured.released,
        "expired_lots": of.matured.lots,
        "expired_credits": of.matured.expired,
        "cache": of
            .cache
            .map(|cache| json!({ "hits": cache.hits, "misses": cache.misses, "away": cache.away })),
    })
}

pub(crate) fn faults(of: &[Fault]) -> Value {
    of.iter()
        .map(|fault| {
            json!({
                "user_id": fault.user_id.to_string(),
                "seq": fault.seq,
                "id": fault.id.map(|id| id.to_string()),
                "kind": fault.kind.to_string(),
                "detail": fault.detail,
            })
        })
        .collect()
}

/// As text where a number of JSON's would not be exact.
pub(crate) fn counter_accounts(of: &TrialBalance) -> Value {
    let sum = |sum: &i128| match i64::try_from(*sum) {
        Ok(sum) if sum.unsigned_abs() < 1 << 53 => json!(sum),
        _ => json!(sum.to_string()),
    };
    Value::Object(
        of.counter_accounts
            .iter()
            .map(|(name, total)| (name.clone(), sum(total)))
            .collect(),
    )
}

pub(crate) fn lines(of: &Quote) -> Value {
    of.breakdown()
        .map(|line| json!({ "text": line.to_string(), "amount": line.amount().to_string() }))
        .collect()
}

fn quote(of: &Quote) -> Value {
    json!({
        "credits": of.credits(),
        "exact": of.exact().to_string(),
        "lines": lines(of),
    })
}

pub(crate) fn explanation(of: &Explanation) -> Value {
    let lots: Vec<Value> = of
        .lots
        .iter()
        .map(|paid| {
            json!({
                "lot_id": paid.lot.lot_id.to_string(),
                "source": paid.lot.source.as_str(),
                "amount": paid.amount,
            })
        })
        .collect();
    json!({
        "consumption_id": of.consumption.id.to_string(),
        "status": of.consumption.status.as_str(),
        "held": of.held.as_ref().map(quote),
        "charged": of.charged.as_ref().map(quote),
        "lots": lots,
    })
}

pub(crate) fn parameters(of: &Prepared) -> Value {
    json!(of.parameters)
}

pub(crate) fn problems(of: &Reconciled) -> Value {
    of.problems
        .iter()
        .map(|(order_no, error)| {
            json!({
                "order_no": order_no.to_string(),
                "error": credits_error::from(error.clone()).json(),
            })
        })
        .collect()
}

fn bill_line(of: &BillLine) -> Value {
    json!({
        "line": of.line,
        "order_no": of.order_no,
        "transaction_id": of.transaction_id,
        "refund_no": of.refund_no,
        "amount": amount(of.amount.minor),
        "currency": of.amount.currency,
        "at": of.at.map(|at| at.to_string()),
    })
}

/// What somebody who compares it with a bill wants to know; credits_get_order() has the rest.
fn order(of: &Order) -> Value {
    json!({
        "order_no": of.order_no.to_string(),
        "user_id": of.user_id.to_string(),
        "status": of.state.status.as_str(),
        "price": amount(of.price.minor),
        "currency": of.price.currency,
        "refunded": amount(of.refunded()),
        "transaction_id": of.state.transaction_id,
        "paid_at": of.state.paid_at.map(|at| at.to_string()),
    })
}

pub(crate) fn differences(of: &StatementReport) -> Value {
    of.differences
        .iter()
        .map(|difference| {
            let (kind, line, found, refund_no) = match difference {
                StatementDifference::Unknown(line) => ("unknown", Some(line), None, None),
                StatementDifference::NotSettled(line, order) => {
                    ("not_settled", Some(line), Some(order), None)
                }
                StatementDifference::Different(line, order) => ("different", Some(line), Some(order), None),
                StatementDifference::MissingPayment(order) => ("missing_payment", None, Some(order), None),
                StatementDifference::MissingRefund(order, refund_no) => {
                    ("missing_refund", None, Some(order), Some(refund_no))
                }
                _ => ("other", None, None, None),
            };
            json!({
                "kind": kind,
                "line": line.map(bill_line),
                "order": found.map(order),
                "refund_no": refund_no,
            })
        })
        .collect()
}

/// A card is JSON already, and stays as it is.
pub(crate) fn pricings(of: &[Pricing]) -> String {
    let each: Vec<String> = of
        .iter()
        .map(|pricing| {
            let version = &pricing.version;
            let facts = json!({
                "id": version.pricing.pricing_id.to_string(),
                "feature": version.card.feature(),
                "version": version.pricing.version,
                "user_id": version.account.map(|id| id.to_string()),
                "effective_from": version.effective_from.to_string(),
                "effective_until": version.effective_until.map(|at| at.to_string()),
            })
            .to_string();
            let facts = facts.strip_suffix('}').unwrap_or_default();
            format!("{facts},\"card\":{}}}", version.card.canonical_json())
        })
        .collect();
    format!("[{}]", each.join(","))
}
