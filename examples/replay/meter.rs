//! How long calls take.

use crate::stage::lock;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What is measured separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Grant,
    Gift,
    Consume,
    Confirm,
    Refund,
    Reverse,
}

impl Call {
    pub const ALL: [Call; 6] = [
        Call::Grant,
        Call::Gift,
        Call::Consume,
        Call::Confirm,
        Call::Refund,
        Call::Reverse,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Call::Grant => "grant",
            Call::Gift => "gift",
            Call::Consume => "consume",
            Call::Confirm => "confirm",
            Call::Refund => "refund",
            Call::Reverse => "refund, confirmed",
        }
    }
}

/// All latencies, in microseconds.
#[derive(Default)]
pub struct Meter {
    taken: Mutex<Vec<(Call, u32)>>,
}

/// The latencies of one kind of call, or of all.
pub struct Latency {
    pub calls: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Meter {
    pub async fn time<T>(&self, call: Call, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let result = work.await;
        let micros = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
        lock(&self.taken).push((call, micros));
        result
    }

    /// `None` where there was no such call.
    pub fn latency(&self, call: Option<Call>) -> Option<Latency> {
        let taken = lock(&self.taken);
        let of_call = taken
            .iter()
            .filter(|(c, _)| call.is_none_or(|wanted| *c == wanted));
        let mut micros: Vec<u32> = of_call.map(|(_, micros)| *micros).collect();
        micros.sort_unstable();
        let at = |percent: usize| {
            let rank = (micros.len() * percent).div_ceil(100).max(1);
            micros
                .get(rank - 1)
                .map(|&micros| Duration::from_micros(micros.into()))
        };
        Some(Latency {
            calls: micros.len(),
            p50: at(50)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }
}
