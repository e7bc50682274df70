//! The committers' queues: which committer a command belongs to, and how that changes without a command overtaking another.
//!
//! Every account has one committer, by its route, so that commands of one account are decided in the order they came in.
//! How many committers take part can change while commands wait. Then everybody's queue gets a [`Waiting::Change`]: what
//! came before it is answered by all before anything that came after it is begun by anyone.

use super::committer::Job;
use crate::error::{Error, Result};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::{mpsc, watch};

/// What waits in a committer's queue.
pub(super) enum Waiting {
    Job(Box<Job>),
    /// From here on accounts belong to other committers.
    Change(Change),
}

/// One committer's part in a change.
pub(super) struct Change {
    /// What it holds until it is done with what came before; gone as well where the committer is.
    before: watch::Receiver<()>,
    everybody: Arc<watch::Sender<()>>,
}

impl Change {
    /// Waits until all committers are done with what came before the change.
    pub(super) async fn wait(self) {
        drop(self.before);
        self.everybody.closed().await;
    }
}

/// See the module.
pub(super) struct Queues(RwLock<Inner>);

struct Inner {
    /// Empty once closed.
    all: Vec<mpsc::Sender<Waiting>>,
    /// So many of them, the first ones, get commands.
    active: usize,
}

impl Inner {
    fn of(&self, route: u16) -> Result<&mpsc::Sender<Waiting>> {
        let number = usize::from(route) * self.active / (usize::from(u16::MAX) + 1);
        self.all.get(number).ok_or_else(Error::closed)
    }
}

impl Queues {
    pub(super) fn new(all: Vec<mpsc::Sender<Waiting>>) -> Self {
        let active = all.len();
        Queues(RwLock::new(Inner { all, active }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job where its account belongs; waits while there is no room.
    pub(super) async fn put(&self, route: u16, job: Job) -> Result<()> {
        let mut job = Waiting::Job(Box::new(job));
        loop {
            // With the lock held, so that a change comes before it or after it.
            let queue = {
                let queues = self.read();
                let queue = queues.of(route)?;
                match queue.try_send(job) {
                    Ok(()) => return Ok(()),
                    Err(mpsc::error::TrySendError::Closed(_)) => return Err(Error::closed()),
                    Err(mpsc::error::TrySendError::Full(back)) => job = back,
                }
                queue.clone()
            };
            let room = queue.reserve().await.map_err(|_| Error::closed())?;
            let queues = self.read();
            if queues.of(route)?.same_channel(&queue) {
                room.send(job);
                return Ok(());
            }
        }
    }

    /// Lets so many committers take part. `false` where that has to be tried again later: a queue was full.
    pub(super) fn let_take_part(&self, active: usize) -> bool {
        let active = active.clamp(1, self.len().max(1));
        if self.read().active == active {
            return true;
        }
        let mut queues = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Inner { all, active: now } = &mut *queues;
        let rooms: std::result::Result<Vec<_>, _> = all.iter().map(mpsc::Sender::try_reserve).collect();
        let Ok(rooms) = rooms else { return false };
        let (sender, receiver) = watch::channel(());
        let everybody = Arc::new(sender);
        for room in rooms {
            room.send(Waiting::Change(Change {
                before: receiver.clone(),
                everybody: Arc::clone(&everybody),
            }));
        }
        *now = active;
        true
    }

    /// How many committers there are.
    pub(super) fn len(&self) -> usize {
        self.read().all.len()
    }

    /// How many jobs wait.
    pub(super) fn waiting(&self) -> usize {
        let waiting = |queue: &mpsc::Sender<Waiting>| queue.max_capacity() - queue.capacity();
        self.read().all.iter().map(waiting).sum()
    }

    /// Lets nothing more in. What waits is still done.
    pub(super) fn close(&self) {
        let mut queues = self.0.write().unwrap_or_else(PoisonError::into_inner);
        queues.all.clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::engine::{Engine, EngineSettings, Stage};
    use crate::ledger::{Action, Command, Consume, Grant, Outcome, Rules, Source, Timestamp, id};
    use crate::store::memory::MemoryStore;
    use crate::store::{EntryFilter, Reader};
    use std::time::Duration;
    use uuid::Uuid;

    fn user(n: u64) -> Uuid {
        Uuid::from_u64_pair(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), n)
    }

    fn consume(n: u64, amount: i64) -> Command {
        Action::Consume(Consume::new(user(n), amount)).with_key(None)
    }

    fn grant(n: u64, amount: i64) -> Command {
        Action::Grant(Grant::new(user(n), amount, Source::Purchase)).with_key(None)
    }

    /// What is in a queue: `true` for a job.
    fn content(queue: &mut mpsc::Receiver<Waiting>) -> Vec<bool> {
        let mut content = Vec::new();
        while let Ok(waiting) = queue.try_recv() {
            content.push(matches!(waiting, Waiting::Job(_)));
        }
        content
    }

    #[tokio::test]
    async fn a_change_stands_between_what_came_before_it_and_after() {
        let (first, mut of_first) = mpsc::channel(4);
        let (second, mut of_second) = mpsc::channel(4);
        let queues = Queues::new(vec![first, second]);
        queues.put(0, Job::of(consume(1, 1))).await.unwrap();
        queues.put(u16::MAX, Job::of(consume(1, 1))).await.unwrap();
        assert!(queues.let_take_part(1));
        assert!(queues.let_take_part(0), "one at the least: nothing changes");
        queues.put(u16::MAX, Job::of(consume(1, 1))).await.unwrap();
        assert_eq!(queues.waiting(), 5);
        assert_eq!(content(&mut of_first), [true, false, true]);
        assert_eq!(content(&mut of_second), [true, false]);
        assert!(queues.let_take_part(9), "as many as there are");
        queues.put(u16::MAX, Job::of(consume(1, 1))).await.unwrap();
        assert_eq!(content(&mut of_first), [false]);
        assert_eq!(content(&mut of_second), [false, true]);
    }

    #[tokio::test]
    async fn a_full_queue_is_changed_later_and_who_waits_for_it_goes_elsewhere() {
        let (first, mut of_first) = mpsc::channel(2);
        let (second, mut of_second) = mpsc::channel(2);
        let queues = Queues::new(vec![first, second]);
        for _ in 0..2 {
            queues.put(u16::MAX, Job::of(consume(1, 1))).await.unwrap();
        }
        assert!(!queues.let_take_part(1));
        let mut waits = Box::pin(queues.put(u16::MAX, Job::of(consume(1, 1))));
        std::future::poll_fn(|context| {
            assert!(waits.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        // There is room for the change, since the one who waits is given the first place that becomes free.
        for _ in 0..2 {
            of_second.recv().await.unwrap();
        }
        assert!(queues.let_take_part(1));
        waits.await.unwrap();
        assert_eq!(content(&mut of_first), [false, true]);
        assert_eq!(content(&mut of_second), [false]);
        queues.close();
        assert_eq!(
            queues.put(0, Job::of(consume(1, 1))).await.unwrap_err().code(),
            "unavailable"
        );
    }

    /// Also where one of them is gone.
    #[tokio::test]
    async fn a_change_waits_for_everybody() {
        let (senders, mut receivers): (Vec<_>, Vec<_>) = (0..3).map(|_| mpsc::channel(4)).unzip();
        let queues = Queues::new(senders);
        assert!(queues.let_take_part(1));
        let mut parts: Vec<_> = Vec::new();
        for receiver in &mut receivers {
            match receiver.recv().await.unwrap() {
                Waiting::Change(change) => parts.push(change),
                Waiting::Job(_) => panic!("a job"),
            }
        }
        let (last, gone) = (parts.pop().unwrap(), parts.pop().unwrap());
        let mut first = Box::pin(parts.pop().unwrap().wait());
        let mut is_pending = async || {
            std::future::poll_fn(|context| std::task::Poll::Ready(first.as_mut().poll(context).is_pending()))
                .await
        };
        assert!(is_pending().await);
        drop(gone);
        assert!(is_pending().await);
        last.wait().await;
        assert!(!is_pending().await);
    }

    /// Three committers, and another number of them at work all the time: no command overtakes another of its account.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn commands_of_an_account_stay_in_order_whoever_takes_part() {
        const ACCOUNTS: u64 = 8;
        const EACH: i64 = 400;
        let store = MemoryStore::new();
        let settings = EngineSettings {
            lots_first: 32,
            rules: Rules::default(),
            batch_limit: 7,
            max_clock_skew: None,
            queue_limit: 30,
            patience: Duration::from_secs(10),
            account_memory_bytes: 1 << 20,
        };
        let clock = ManualClock::starting_at(Timestamp::from_micros(1_790_000_000_000_000));
        let committers = (0..3).map(|_| store.committer()).collect();
        let engine =
            Arc::new(Engine::start(committers, Stage::Thread, &settings, Arc::new(clock), None).unwrap());
        let routes: std::collections::BTreeSet<usize> = (0..ACCOUNTS)
            .map(|n| usize::from(id::route(user(n))) * 3 / 65_536)
            .collect();
        assert_eq!(routes.len(), 3, "they belong to all of them");
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..ACCOUNTS {
            let engine = Arc::clone(&engine);
            callers.spawn(async move {
                engine.run(grant(n, 1_000_000)).await.unwrap();
                // The amounts say which came first.
                let commands = (1..=EACH).map(|amount| consume(n, amount)).collect();
                for done in engine.run_many(commands).await {
                    assert!(matches!(done.unwrap(), Outcome::Consumption(_)));
                }
            });
        }
        let mut changes = 0;
        for n in [1, 2, 3, 1, 3, 2].into_iter().cycle() {
            if callers.try_join_next().is_some_and(|joined| joined.is_err()) {
                panic!("a caller failed");
            }
            if callers.is_empty() {
                break;
            }
            changes += usize::from(engine.queues.let_take_part(n));
            tokio::task::yield_now().await;
        }
        assert!(changes > 10, "{changes}");
        for n in 0..ACCOUNTS {
            let all = EntryFilter {
                limit: usize::MAX,
                ..EntryFilter::default()
            };
            let entries = store.entries(user(n), all).await.unwrap();
            let amounts: Vec<i64> = entries
                .iter()
                .rev()
                .skip(1)
                .map(|entry| entry.held_change)
                .collect();
            assert_eq!(amounts, (1..=EACH).collect::<Vec<_>>());
        }
        engine.close().await;
    }
}
