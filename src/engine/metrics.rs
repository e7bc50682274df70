//! What a committer counts as it works: a few additions for each command, without a lock.
//!
//! Each committer has its own, so no two threads wait for one cache line; [`Stats`] is their sum. The figures of one
//! reading are not of one instant: a command may be counted in one and not yet in the other.

use crate::clock::Moment;
use crate::error::Result;
use crate::ledger::{Action, Matured, OrderStep, Outcome};
use crate::stats::{Answers, Histogram, Stats};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const OPERATIONS: [&str; 16] = [
    "grant",
    "gift",
    "consume",
    "confirm",
    "refund",
    "extend",
    "adjust",
    "set_credit_limit",
    "clawback",
    "expire",
    "open_order",
    "begin_order",
    "settle_order",
    "close_order",
    "refund_order",
    "note_refund",
];
/// How a command can end: `ok`, or the code of its error.
const OUTCOMES: [&str; 9] = [
    "ok",
    "insufficient_credits",
    "validation",
    "idempotency_conflict",
    "not_found",
    "invalid_state",
    "hold_expired",
    "payment_verification",
    "unavailable",
];
/// Upper bounds, in microseconds.
const LATENCIES: [u64; 13] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];
/// Upper bounds, in commands.
const BATCHES: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// The place of a command in the table.
pub(super) fn operation(action: &Action) -> usize {
    match action {
        Action::Grant(_) => 0,
        Action::Gift(_) => 1,
        Action::Consume(_) => 2,
        Action::Confirm(_) => 3,
        Action::Refund(_) => 4,
        Action::Extend(_) => 5,
        Action::Adjust(_) => 6,
        Action::SetCreditLimit(_) => 7,
        Action::Clawback(_) => 8,
        Action::Mature { .. } => 9,
        Action::Order(order) => match order.step {
            OrderStep::Open(_) => 10,
            OrderStep::Begin => 11,
            OrderStep::Settle(_) => 12,
            OrderStep::Close { .. } => 13,
            OrderStep::Refund(_) => 14,
            OrderStep::NoteRefund(_) => 15,
        },
    }
}

/// Counts into buckets by upper bound; what is above all of them has the last one.
#[derive(Debug)]
struct Counter<const BOUNDS: usize> {
    buckets: [AtomicU64; BOUNDS],
    above: AtomicU64,
    sum: AtomicU64,
}

impl<const BOUNDS: usize> Default for Counter<BOUNDS> {
    fn default() -> Self {
        Counter {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            above: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }
}

impl<const BOUNDS: usize> Counter<BOUNDS> {
    fn count(&self, bounds: &[u64; BOUNDS], value: u64) {
        let place = bounds.iter().position(|bound| value <= *bound);
        let bucket = place
            .and_then(|place| self.buckets.get(place))
            .unwrap_or(&self.above);
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn add_to(&self, bounds: &[u64; BOUNDS], sum: &mut Histogram) {
        if sum.buckets.is_empty() {
            sum.buckets = bounds.iter().map(|bound| (*bound, 0)).collect();
        }
        for ((_, count), bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *count += bucket.load(Ordering::Relaxed);
        }
        sum.above += self.above.load(Ordering::Relaxed);
        sum.sum += self.sum.load(Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Operation {
    outcomes: [AtomicU64; OUTCOMES.len()],
    latency: Counter<{ LATENCIES.len() }>,
}

/// The counters of one committer.
#[derive(Debug, Default)]
pub(super) struct Meters {
    operations: [Operation; OPERATIONS.len()],
    batches: Counter<{ BATCHES.len() }>,
    expired_holds: AtomicU64,
    released: AtomicI64,
    expired_lots: AtomicU64,
    expired: AtomicI64,
}

impl Meters {
    /// A command was answered.
    pub(super) fn answered(&self, operation: usize, asked: Moment, result: &Result<Outcome>) {
        let Some(operation) = self.operations.get(operation) else {
            return;
        };
        let code = result.as_ref().map_or_else(|error| error.code(), |_| "ok");
        let place = OUTCOMES.iter().position(|outcome| *outcome == code);
        if let Some(count) = place.and_then(|place| operation.outcomes.get(place)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let waited = u64::try_from(asked.age().as_micros()).unwrap_or(u64::MAX);
        operation.latency.count(&LATENCIES, waited);
    }

    /// Commands were read, decided and written together.
    pub(super) fn batch(&self, commands: usize) {
        self.batches
            .count(&BATCHES, u64::try_from(commands).unwrap_or(u64::MAX));
    }

    /// Deadlines were written down.
    pub(super) fn matured(&self, matured: &Matured) {
        if *matured == Matured::default() {
            return;
        }
        self.expired_holds.fetch_add(matured.holds, Ordering::Relaxed);
        self.released.fetch_add(matured.released, Ordering::Relaxed);
        self.expired_lots.fetch_add(matured.lots, Ordering::Relaxed);
        self.expired.fetch_add(matured.expired, Ordering::Relaxed);
    }
}

/// The sum of all committers.
pub(super) fn sum<'a>(meters: impl Iterator<Item = &'a Meters>, queued: usize) -> Stats {
    let mut stats = Stats {
        answers: Vec::new(),
        latencies: Vec::new(),
        batches: Histogram::default(),
        queued: u64::try_from(queued).unwrap_or(u64::MAX),
        matured: Matured::default(),
        cache: None,
    };
    let mut outcomes = [[0; OUTCOMES.len()]; OPERATIONS.len()];
    let mut latencies: [Histogram; OPERATIONS.len()] = Default::default();
    for meters in meters {
        for ((operation, counts), latency) in meters.operations.iter().zip(&mut outcomes).zip(&mut latencies)
        {
            for (outcome, count) in operation.outcomes.iter().zip(counts) {
                *count += outcome.load(Ordering::Relaxed);
            }
            operation.latency.add_to(&LATENCIES, latency);
        }
        meters.batches.add_to(&BATCHES, &mut stats.batches);
        stats.matured.add(Matured {
            holds: meters.expired_holds.load(Ordering::Relaxed),
            released: meters.released.load(Ordering::Relaxed),
            lots: meters.expired_lots.load(Ordering::Relaxed),
            expired: meters.expired.load(Ordering::Relaxed),
        });
    }
    for ((operation, counts), latency) in OPERATIONS.into_iter().zip(outcomes).zip(latencies) {
        let asked = OUTCOMES.into_iter().zip(counts).filter(|(_, count)| *count > 0);
        let before = stats.answers.len();
        stats.answers.extend(asked.map(|(outcome, count)| Answers {
            operation,
            outcome,
            count,
        }));
        if stats.answers.len() > before {
            stats.latencies.push((operation, latency));
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Written};
    use crate::ledger::Refusal;

    #[test]
    fn every_bucket_ends_at_its_bound_and_nothing_is_lost() {
        let counter = Counter::<11>::default();
        for value in [0, 1, 2, 3, 64, 65, 1024, 1025, u64::from(u32::MAX)] {
            counter.count(&BATCHES, value);
        }
        let mut sum = Histogram::default();
        counter.add_to(&BATCHES, &mut sum);
        counter.add_to(&BATCHES, &mut sum);
        let counts: Vec<u64> = sum.buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [4, 2, 2, 0, 0, 0, 2, 2, 0, 0, 2]);
        assert_eq!(sum.above, 4);
        assert_eq!(sum.count(), 18);
        assert_eq!(
            sum.sum,
            2 * (1 + 2 + 3 + 64 + 65 + 1024 + 1025 + u64::from(u32::MAX))
        );
    }

    #[test]
    fn every_error_of_a_command_has_its_place() {
        let errors: Vec<Error> = vec![
            Refusal::Insufficient {
                required: 2,
                available: 1,
            }
            .into(),
            Error::invalid("amount", "is none", "1", 0),
            Error::Unavailable {
                outcome: Written::No,
                reason: String::new(),
                remedy: String::new(),
            },
            Error::closed(),
        ];
        let meters = [Meters::default(), Meters::default()];
        for error in errors {
            meters[1].answered(2, Moment::now(), &Err(error));
        }
        let stats = sum(meters.iter(), 3);
        let counts: Vec<_> = stats
            .answers
            .iter()
            .map(|each| (each.operation, each.outcome, each.count))
            .collect();
        assert_eq!(
            counts,
            [
                ("consume", "insufficient_credits", 1),
                ("consume", "validation", 1),
                ("consume", "unavailable", 2),
            ]
        );
        assert_eq!(stats.latencies.len(), 1);
        assert_eq!(stats.latencies[0].1.count(), 4);
        assert_eq!(stats.queued, 3);
    }
}
