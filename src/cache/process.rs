//! Records in the process's own memory.

use super::Read;
use super::balance::Cached;
use super::record::{self, Brought, Record, Token};
use crate::clock::Moment;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// So that readers on several threads seldom wait for one another.
const SHARDS: usize = 16;

type Remembered = Record<Arc<Cached>>;

/// See the module.
pub(super) struct ProcessCache {
    shards: Box<[Mutex<Shard>]>,
    hasher: std::hash::RandomState,
    opened: Moment,
    tokens: AtomicU64,
    /// How many records each generation of a shard takes.
    records_max: usize,
}

/// Two generations: what was not used while the younger one filled goes with the older one.
#[derive(Default)]
struct Shard {
    young: HashMap<Uuid, Remembered>,
    old: HashMap<Uuid, Remembered>,
}

impl Shard {
    /// The account's record, which is young from now on.
    fn record(&mut self, user_id: Uuid, records_max: usize) -> Option<&mut Remembered> {
        if let Some(record) = self.old.remove(&user_id) {
            self.keep(user_id, record, records_max);
        }
        self.young.get_mut(&user_id)
    }

    fn keep(&mut self, user_id: Uuid, record: Remembered, records_max: usize) {
        if self.young.len() >= records_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(user_id, record);
    }
}

impl ProcessCache {
    pub(super) fn new(accounts: usize) -> Self {
        ProcessCache {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: std::hash::RandomState::new(),
            opened: Moment::now(),
            tokens: AtomicU64::new(0),
            records_max: (accounts / SHARDS / 2).max(1),
        }
    }

    pub(super) fn now(&self) -> record::Instant {
        record::millis(self.opened.age())
    }

    fn with_shard<T>(&self, user_id: Uuid, work: impl FnOnce(&mut Shard) -> T) -> T {
        let number = usize::try_from(self.hasher.hash_one(user_id) % SHARDS as u64).unwrap_or_default();
        #[allow(clippy::indexing_slicing)] // A remainder.
        let mut shard = self.shards[number].lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut shard)
    }

    pub(super) fn look_up(&self, user_id: Uuid) -> (Read, Option<Arc<Cached>>) {
        let now = self.now();
        let token: Token = self.tokens.fetch_add(1, Ordering::Relaxed);
        let found = self.with_shard(user_id, |shard| match shard.record(user_id, self.records_max) {
            Some(record) => record.look_up(token, now),
            None => {
                shard.keep(user_id, Record::begin(token, now), self.records_max);
                None
            }
        });
        let read = Read {
            token: Some(token),
            began: Some(now),
        };
        (read, found)
    }

    /// Of what is not here nothing old can be told, so nothing is put.
    pub(super) fn put(&self, user_id: Uuid, brought: Brought<Cached>) {
        let Brought { seq, balance, token } = brought;
        let balance = balance.map(|(balance, until)| (Arc::new(balance), until));
        self.with_shard(user_id, |shard| {
            if let Some(record) = shard.record(user_id, self.records_max) {
                record.put(Brought { seq, balance, token });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Balance, State, Timestamp};

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn brought(seq: i64, read: Read) -> Brought<Cached> {
        let state = State::new(Uuid::nil(), NOW);
        let cached = Cached::of(&state, &Balance::of(&state, NOW), None).unwrap();
        Brought {
            seq,
            balance: Some((cached, record::Instant::MAX)),
            token: read.token,
        }
    }

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache = ProcessCache::new(SHARDS * 2 * 10);
        let used = Uuid::from_u128(0);
        for id in 0..10_000 {
            let user_id = Uuid::from_u128(id);
            let (read, found) = cache.look_up(user_id);
            assert_eq!(found, None);
            cache.put(user_id, brought(1, read));
            assert!(cache.look_up(used).1.is_some());
        }
        let records: usize = cache
            .shards
            .iter()
            .map(|shard| {
                let shard = shard.lock().unwrap();
                shard.young.len() + shard.old.len()
            })
            .sum();
        assert!(records <= SHARDS * 2 * 10, "{records}");
    }

    #[test]
    fn a_read_that_outlives_its_record_puts_nothing() {
        let cache = ProcessCache::new(1);
        let user_id = Uuid::from_u128(1);
        let (read, _) = cache.look_up(user_id);
        for id in 2..1_000 {
            cache.look_up(Uuid::from_u128(id));
        }
        cache.put(user_id, brought(1, read));
        let (again, found) = cache.look_up(user_id);
        assert_eq!(found, None);
        // Nor where a new one has begun.
        cache.put(user_id, brought(1, read));
        assert_eq!(cache.look_up(user_id).1, None);
        cache.put(user_id, brought(1, again));
        assert!(cache.look_up(user_id).1.is_some());
    }
}
