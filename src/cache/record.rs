//! What a cache remembers of one account: the rules, without time, memory or network. `look_up.lua` and `put.lua` are the
//! same rules for Redis, and a test compares them (`redis/tests.rs`).
//!
//! A record begins with a reader who found nothing: it notes who reads the database now, and knows no number yet. From then
//! on every write and every read of the account raises `seq`, the lowest number that may be told any more. The first balance
//! is the note's reader's own, since only that one was surely read after the record began; what others bring may be from
//! before, when a record that is forgotten now knew more. From the first balance on, whoever brings one that is not older
//! than `seq` may put it.

use std::time::Duration;

/// How long others leave a first read of the database to the reader who is at it; afterwards it counts as lost.
pub(super) const READING_MAX: Duration = Duration::from_millis(250);

/// An instant of a cache's own clock, in milliseconds.
pub(super) type Instant = i64;

/// A reader's name for its read.
pub(super) type Token = u64;

/// One account in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record<V> {
    /// No balance with a lower number may be told.
    seq: i64,
    /// Whether a balance was put that was read after the record began.
    is_known: bool,
    /// The balance of number `seq`, and until when it may be told.
    balance: Option<(V, Instant)>,
    /// Who reads the database for the first balance, and since when.
    reading: (Token, Instant),
}

/// What somebody who wrote or read an account brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Brought<V> {
    /// The number of the account's last entry.
    pub(super) seq: i64,
    /// The balance of that number, and until when it may be told; `None` where it can't be told any longer than now.
    pub(super) balance: Option<(V, Instant)>,
    /// The name of the read, where it began with looking it up here.
    pub(super) token: Option<Token>,
}

impl<V: Clone> Record<V> {
    /// The record of an account of which nothing was known.
    pub(super) fn begin(token: Token, now: Instant) -> Self {
        Record {
            seq: 0,
            is_known: false,
            balance: None,
            reading: (token, now),
        }
    }

    /// The balance that may be told at `now`. Without one the caller reads the database, and puts what it finds.
    pub(super) fn look_up(&mut self, token: Token, now: Instant) -> Option<V> {
        if let Some((balance, until)) = &self.balance
            && *until > now
        {
            return Some(balance.clone());
        }
        if !self.is_known && self.reading.1 + millis(READING_MAX) <= now {
            self.reading = (token, now);
        }
        None
    }

    /// The reader who is at it began long ago.
    #[cfg(all(test, feature = "redis"))]
    pub(super) fn keep_waiting(&mut self) {
        self.reading.1 = 0;
    }

    /// Takes up what somebody brings.
    pub(super) fn put(&mut self, brought: Brought<V>) {
        if brought.seq < self.seq {
            return;
        }
        let is_first = brought.token == Some(self.reading.0);
        if brought.balance.is_some() && (self.is_known || is_first) {
            self.is_known = true;
            self.balance = brought.balance;
        } else if brought.seq > self.seq {
            self.balance = None;
        }
        self.seq = brought.seq;
    }
}

pub(super) fn millis(duration: Duration) -> Instant {
    Instant::try_from(duration.as_millis()).unwrap_or(Instant::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Token = 7;
    const ANOTHER: Token = 8;

    fn brought(seq: i64, token: Option<Token>) -> Brought<i64> {
        Brought {
            seq,
            balance: Some((seq * 10, 1_000)),
            token,
        }
    }

    fn number(seq: i64) -> Brought<i64> {
        Brought {
            seq,
            balance: None,
            token: None,
        }
    }

    fn known(seq: i64) -> Record<i64> {
        let mut record = Record::begin(READ, 0);
        record.put(brought(seq, Some(READ)));
        record
    }

    #[test]
    fn the_first_balance_is_that_of_the_reader_who_began() {
        let mut record = Record::begin(READ, 0);
        record.put(brought(5, None));
        record.put(brought(5, Some(ANOTHER)));
        assert_eq!(record.look_up(READ, 0), None);
        record.put(brought(5, Some(READ)));
        assert_eq!(record.look_up(READ, 0), Some(50));
    }

    #[test]
    fn the_first_balance_is_not_older_than_what_was_written_meanwhile() {
        let mut record = Record::begin(READ, 0);
        record.put(brought(6, None));
        record.put(brought(5, Some(READ)));
        assert_eq!(record.look_up(READ, 0), None);
        // Its reader may try again, and has seen the write.
        record.put(brought(6, Some(READ)));
        assert_eq!(record.look_up(READ, 0), Some(60));
    }

    #[test]
    fn a_reader_who_never_came_back_is_followed_by_another() {
        let mut record: Record<i64> = Record::begin(READ, 0);
        assert_eq!(record.look_up(ANOTHER, millis(READING_MAX) - 1), None);
        record.put(brought(5, Some(ANOTHER)));
        assert_eq!(record.look_up(ANOTHER, millis(READING_MAX)), None);
        record.put(brought(5, Some(READ)));
        assert_eq!(record.look_up(READ, 0), None, "the first reader's place is taken");
        record.put(brought(5, Some(ANOTHER)));
        assert_eq!(record.look_up(READ, 0), Some(50));
    }

    #[test]
    fn an_older_number_never_replaces_a_newer_one() {
        let mut record = known(5);
        record.put(brought(6, None));
        assert_eq!(record.look_up(READ, 0), Some(60));
        record.put(brought(5, None));
        record.put(brought(5, Some(READ)));
        record.put(number(5));
        assert_eq!(record.look_up(READ, 0), Some(60));
    }

    #[test]
    fn a_higher_number_alone_ends_a_balance() {
        let mut record = known(5);
        record.put(number(5));
        assert_eq!(record.look_up(READ, 0), Some(50));
        record.put(number(6));
        assert_eq!(record.look_up(READ, 0), None);
        record.put(brought(5, Some(READ)));
        assert_eq!(record.look_up(READ, 0), None);
        record.put(brought(6, None));
        assert_eq!(record.look_up(READ, 0), Some(60));
    }

    #[test]
    fn a_balance_is_told_until_its_time_is_over() {
        let mut record = known(5);
        assert_eq!(record.look_up(READ, 999), Some(50));
        assert_eq!(record.look_up(READ, 1_000), None);
        // Known it is: anybody may bring it again.
        let balance = Some((51, 2_000));
        record.put(Brought { balance, ..number(5) });
        assert_eq!(record.look_up(READ, 1_000), Some(51));
    }
}
