//! The loop of one committer: drain the queue, load, decide, append, answer everyone.
//!
//! A job owns its command and the way back to its caller; nobody else holds a piece of its work, so a caller that goes
//! away can't leave anything half-done. Jobs that have to be decided again go in front of those that came later: the
//! commands of one account are decided in the order of arrival, whatever happens in between.

use super::account_cache::{Kept, Lent};
use super::batch::{self, After, Answer, Books, Plan};
use super::metrics::{self, Meters};
use super::queues::{Change, Queues, Waiting};
use crate::cache::{Balances, Known, Read};
use crate::clock::{Clock, Moment, Patience};
use crate::error::Error;
use crate::ledger::{Action, Command, Matured, Outcome, Rules, State, Timestamp};
use crate::store::{ClockBound, Committer, Loaded, StoreError};
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use uuid::Uuid;

/// After so many lost races in a row a job's accounts are locked before they are read, so that nobody starves.
const STALE_BEFORE_LOCK: u32 = 3;
/// Where a command takes more of an account than was read, so many times as many rows are read next.
pub(crate) const MORE_ROWS: usize = 16;
/// The longest pause before the database is tried again.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// A command on its way through the engine.
pub(super) struct Job {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
    /// When its caller began to wait.
    pub(super) asked: Moment,
    /// Until when the database is tried again on behalf of this job.
    pub(super) patience: Patience,
    /// Races lost in a row.
    pub(super) stale: u32,
    /// What a sweep has written down in parts.
    pub(super) matured: Matured,
    /// How many open lots and borrowing holds its account is to be read with, where the first ones were not enough.
    pub(super) rows: Option<(Uuid, usize)>,
}

impl Job {
    fn answer(self, meters: &Meters, result: Result<Outcome, Error>) {
        meters.answered(metrics::operation(&self.command.action), self.asked, &result);
        // A caller that has gone away does not want to know.
        let _ = self.reply.send(result);
    }

    fn fail(self, meters: &Meters, error: &StoreError) {
        self.answer(meters, Err(error.clone().into()));
    }
}

#[cfg(test)]
impl Job {
    /// One that nobody waits for.
    pub(super) fn of(command: Command) -> Self {
        Job {
            command,
            reply: oneshot::channel().0,
            asked: Moment::now(),
            patience: Patience::begins(Duration::ZERO),
            stale: 0,
            matured: Matured::default(),
            rows: None,
        }
    }
}

/// A command's account, where it has one, and what becomes of it.
type Answered = (Option<Uuid>, Answer);
/// A command and what its caller is told.
type Told = (Job, Result<Outcome, Error>);

/// A batch that is being written.
struct Batch {
    decided: Vec<(Job, Answered)>,
    plan: Plan,
    now: Timestamp,
    /// When the write began, for the cache.
    began: Option<Read>,
}

/// What all committers of a ledger share.
pub(super) struct Context {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: Rules,
    pub(super) batch_limit: usize,
    /// How far the database's clock may be from this one.
    pub(super) max_clock_skew: Option<Duration>,
    pub(super) lots_first: usize,
    /// How much memory a committer has for the accounts it keeps.
    pub(super) kept_bytes_max: usize,
    /// Not held: a committer ends when its ledger, which holds them, is gone.
    pub(super) queues: Weak<Queues>,
    pub(super) cache: Option<Arc<Balances>>,
    /// Where callers are answered whose answer waits for the cache.
    pub(super) runtime: Handle,
}

impl Context {
    fn bound(&self, now: Timestamp) -> Option<ClockBound> {
        self.max_clock_skew.map(|max| ClockBound { now, max })
    }
}

/// Serves until the queue is closed and empty.
pub(super) async fn serve<C: Committer>(
    number: usize,
    store: C,
    mut queue: mpsc::Receiver<Waiting>,
    context: Arc<Context>,
    meters: Arc<Meters>,
) {
    let limit = context.batch_limit;
    let mut committer = Serving {
        store,
        kept: Kept::new(context.kept_bytes_max, context.lots_first),
        context,
        meters,
        failures: 0,
        telling: JoinSet::new(),
    };
    let mut jobs: Vec<Job> = Vec::new();
    let mut change = None;
    loop {
        // Whoever was just answered may ask again: those that can, before the next batch is made up.
        tokio::task::yield_now().await;
        // What comes after a change waits until all that came before it is done.
        if change.is_none() && !fill(&mut jobs, limit, &mut queue, &mut change).await {
            while committer.telling.join_next().await.is_some() {}
            return;
        }
        // Nothing has begun for these: a caller that has gone away takes its command along.
        jobs.retain(|job| !job.reply.is_closed());
        jobs = committer.round(jobs).await;
        if jobs.is_empty()
            && let Some(change) = change.take()
        {
            change.wait().await;
        }
        // The first committer always takes part, so it can tell.
        if number == 0 {
            committer.share_out();
        }
    }
}

/// Takes jobs up to a change; waits for one where there is none. `false` where none will ever come.
async fn fill(
    jobs: &mut Vec<Job>,
    limit: usize,
    queue: &mut mpsc::Receiver<Waiting>,
    change: &mut Option<Change>,
) -> bool {
    if jobs.is_empty() {
        match queue.recv().await {
            None => return false,
            Some(Waiting::Job(job)) => jobs.push(*job),
            Some(Waiting::Change(part)) => *change = Some(part),
        }
    }
    while change.is_none() && jobs.len() < limit {
        match queue.try_recv() {
            Ok(Waiting::Job(job)) => jobs.push(*job),
            Ok(Waiting::Change(part)) => *change = Some(part),
            Err(_) => break,
        }
    }
    true
}

struct Serving<C> {
    store: C,
    context: Arc<Context>,
    meters: Arc<Meters>,
    kept: Kept,
    /// Failed attempts in a row.
    failures: u32,
    /// Callers whose answer waits for the cache.
    telling: JoinSet<()>,
}

impl<C: Committer> Serving<C> {
    /// Leaves the work to fewer committers while other processes have committers at work on the same accounts.
    fn share_out(&self) {
        let Some(queues) = self.context.queues.upgrade() else {
            return;
        };
        let all = queues.len();
        let active = if self.kept.others_write() { all / 2 } else { all };
        // Where a queue is full it is tried again after the next round.
        let _ = queues.let_take_part(active);
    }

    /// At the most one load, and one append. Returns the jobs to decide again, in order.
    async fn round(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        if jobs.is_empty() {
            return jobs;
        }
        self.meters.batch(jobs.len());
        let context = Arc::clone(&self.context);
        let now = context.clock.now();
        let mut books = Books::new(now, &context.rules);
        let lock = jobs.iter().any(|job| job.stale >= STALE_BEFORE_LOCK);
        let (mut answers, mut to_compare) = if lock {
            (jobs.iter().map(|_| None).collect(), Vec::new())
        } else {
            self.decide_on_kept(&jobs, now, &mut books)
        };
        if answers.iter().any(Option::is_none) {
            let asked = jobs.iter().zip(&answers).filter(|(_, answer)| answer.is_none());
            let mut needs = batch::needs(asked.map(|(job, _)| &job.command), now);
            needs.lock = lock;
            needs.clock = context.bound(now);
            needs.lots_first = Some(context.lots_first);
            for (user_id, rows) in jobs.iter().filter_map(|job| job.rows) {
                let most = needs.more.entry(user_id).or_default();
                *most = rows.max(*most);
            }
            // An account that only a consumption leads to is read whole.
            let asked: HashSet<Uuid> = needs.accounts.iter().copied().collect();
            to_compare.retain(|state| asked.contains(&state.account.user_id));
            let known = to_compare.iter().map(|state| &state.account);
            needs
                .known
                .extend(known.map(|account| (account.user_id, account.hash)));
            match self.store.load(&needs).await {
                Ok(loaded) => self.take_up(loaded, to_compare, &mut books),
                Err(error) => return self.nothing_written(jobs, error).await,
            }
        }
        for (job, answer) in jobs.iter().zip(&mut answers) {
            let unclear = |(user_id, _): &Answered| user_id.is_some_and(|id| books.is_unclear(id));
            if answer.as_ref().is_none_or(unclear) {
                *answer = Some(books.answer(&job.command));
            }
        }
        for (user_id, answer) in answers.iter_mut().flatten() {
            if let Some(damage) = user_id.and_then(|user_id| books.damage(user_id)) {
                *answer = Answer::Damaged(damage);
            }
        }
        let decided: Vec<(Job, Answered)> = jobs
            .into_iter()
            .zip(answers)
            .filter_map(|(job, answer)| Some((job, answer?)))
            .collect();
        let mut plan = books.close();
        plan.writes.clock = context.bound(now);
        let batch = Batch {
            decided,
            plan,
            now,
            began: self.context.cache.as_ref().map(|cache| cache.begin()),
        };
        match self.store.append(&batch.plan.writes).await {
            Ok(stale) => {
                self.failures = 0;
                self.settle(batch, &stale.into_iter().collect()).await
            }
            Err(StoreError::Unknown(why)) => self.find_out(batch, why).await,
            Err(error) => {
                let jobs = batch.decided.into_iter().map(|(job, _)| job).collect();
                self.nothing_written(jobs, error).await
            }
        }
    }

    /// Decides the commands whose accounts are kept; the others have no answer. Besides, the accounts that are to be
    /// compared first.
    fn decide_on_kept(
        &mut self,
        jobs: &[Job],
        now: Timestamp,
        books: &mut Books<'_>,
    ) -> (Vec<Option<Answered>>, Vec<State>) {
        let Lent {
            unread,
            mut to_compare,
        } = self.kept.lend(jobs, now, books);
        let mut damaged = HashSet::new();
        let mut answers: Vec<Option<Answered>> = Vec::with_capacity(jobs.len());
        for (job, user_id) in jobs.iter().zip(&unread) {
            let answer = user_id.map(|_| books.answer(&job.command));
            if let Some((Some(user_id), Answer::Damaged(_) | Answer::Postponed | Answer::TakesMore)) = &answer
            {
                damaged.insert(*user_id);
            }
            answers.push(answer);
        }
        // The write finds out whether an account is still as it was kept. Where there is nothing to write, nobody would.
        let written = |id: &Uuid| books.has_entries(*id) && !damaged.contains(id);
        let unsure: HashSet<Uuid> = unread
            .iter()
            .flatten()
            .filter(|id| !written(id))
            .copied()
            .collect();
        for user_id in unsure {
            let state = books.forget(user_id);
            to_compare.extend(state.filter(|_| !damaged.contains(&user_id)));
            for (answer, unread) in answers.iter_mut().zip(&unread) {
                if *unread == Some(user_id) {
                    *answer = None;
                }
            }
        }
        (answers, to_compare)
    }

    /// Hands what was read to `books`; and of what was compared, what is still the same.
    fn take_up(&mut self, loaded: Loaded, compared: Vec<State>, books: &mut Books<'_>) {
        for state in compared {
            let account = &state.account;
            let found = loaded.accounts.get(&account.user_id);
            let is_changed = found.is_some_and(|found| found.state.account.hash != account.hash);
            self.kept.found(account.user_id, is_changed);
            if found.is_none() {
                books.confirm(state);
            }
        }
        books.read(loaded);
    }

    /// Nothing was written of a batch. Where that can be one command's fault, each is tried on its own.
    async fn nothing_written(&mut self, jobs: Vec<Job>, error: StoreError) -> Vec<Job> {
        self.kept.clear();
        if matches!(error, StoreError::Failed { .. }) && jobs.len() > 1 {
            self.one_by_one(jobs).await
        } else {
            self.nothing_done(jobs, error).await
        }
    }

    /// One command's rows may be what the database can't give or take; its neighbours must not suffer.
    async fn one_by_one(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let mut again = Vec::new();
        for job in jobs {
            again.extend(Box::pin(self.round(vec![job])).await);
        }
        again
    }

    /// Whether the clocks still disagree: a batch that was held up on its way was decided long ago.
    fn is_skewed(&self, error: &StoreError) -> bool {
        let StoreError::Skewed { database, .. } = error else {
            return false;
        };
        let bound = self.context.bound(self.context.clock.now());
        bound.is_some_and(|bound| bound.check(*database).is_err())
    }

    /// Nothing was written. Either the database is tried again, or the callers are told.
    async fn nothing_done(&mut self, jobs: Vec<Job>, error: StoreError) -> Vec<Job> {
        if matches!(error, StoreError::Failed { .. }) || self.is_skewed(&error) {
            tracing::error!(%error, jobs = jobs.len(), "the database can't do it");
            self.failures = 0;
            jobs.into_iter().for_each(|job| job.fail(&self.meters, &error));
            return Vec::new();
        }
        tracing::warn!(%error, jobs = jobs.len(), "trying again");
        let jobs = self.pause(jobs, &error).await;
        if matches!(error, StoreError::Lost(_)) && !jobs.is_empty() {
            self.reconnect(jobs).await
        } else {
            jobs
        }
    }

    async fn reconnect(&mut self, mut jobs: Vec<Job>) -> Vec<Job> {
        while !jobs.is_empty() {
            match self.store.reconnect().await {
                Ok(()) => return jobs,
                Err(error @ StoreError::Failed { .. }) => {
                    jobs.into_iter().for_each(|job| job.fail(&self.meters, &error));
                    return Vec::new();
                }
                Err(error) => jobs = self.pause(jobs, &error).await,
            }
        }
        jobs
    }

    /// Waits a little longer each time; jobs that have waited long enough are answered.
    async fn pause(&mut self, jobs: Vec<Job>, error: &StoreError) -> Vec<Job> {
        self.sleep().await;
        let (over, on): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.patience.is_over());
        over.into_iter().for_each(|job| job.fail(&self.meters, error));
        on
    }

    /// The connection broke while writing. The journal tells: the entries are there, or will never be.
    async fn find_out(&mut self, batch: Batch, why: String) -> Vec<Job> {
        tracing::warn!(
            why,
            jobs = batch.decided.len(),
            "lost sight of a write; looking for it in the journal"
        );
        self.kept.clear();
        let landmarks = batch.plan.landmarks();
        loop {
            let found = match self.store.reconnect().await {
                Ok(()) => self.store.landed(&landmarks).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(landed) => {
                    let missing = landmarks.iter().zip(landed).filter(|(_, there)| !there);
                    let missing = missing.map(|((id, ..), _)| *id).collect();
                    return self.settle(batch, &missing).await;
                }
                Err(StoreError::Busy(_) | StoreError::Lost(_))
                    if batch.decided.iter().any(|(job, _)| !job.patience.is_over()) =>
                {
                    self.sleep().await;
                }
                Err(_) => {
                    let written = landmarks.iter().map(|(id, ..)| *id).collect();
                    let error = StoreError::Unknown(why);
                    let unknown = self.settle(batch, &written).await;
                    unknown.into_iter().for_each(|job| job.fail(&self.meters, &error));
                    return Vec::new();
                }
            }
        }
    }

    async fn sleep(&mut self) {
        let pause = Duration::from_millis(1 << self.failures.min(8)).min(PAUSE_MAX);
        self.failures += 1;
        tokio::time::sleep(pause).await;
    }

    /// Answers what is settled; returns the jobs whose account was stale, or that were postponed.
    async fn settle(&mut self, batch: Batch, stale: &HashSet<Uuid>) -> Vec<Job> {
        let Batch {
            decided, plan, now, ..
        } = batch;
        let mut matured = Matured::default();
        let written = plan.writes.entries.iter();
        written
            .filter(|entry| !stale.contains(&entry.user_id))
            .for_each(|entry| matured.count(entry));
        self.meters.matured(&matured);
        let (mut again, mut answers) = (Vec::new(), Vec::with_capacity(decided.len()));
        for (mut job, (user_id, answer)) in decided {
            if user_id.is_some_and(|id| stale.contains(&id)) {
                job.stale += 1;
                again.push(job);
                continue;
            }
            job.stale = 0;
            let result = match answer {
                Answer::Postponed => {
                    if let (Action::Mature { .. }, Some(user_id)) = (&job.command.action, user_id) {
                        job.matured.add(batch::matured(&plan.writes, user_id));
                    }
                    again.push(job);
                    continue;
                }
                Answer::TakesMore => {
                    let rows = job.rows.map_or(self.context.lots_first, |(_, rows)| rows);
                    job.rows = user_id.map(|user_id| (user_id, rows.saturating_mul(MORE_ROWS)));
                    again.push(job);
                    continue;
                }
                Answer::Done(Outcome::Matured(mut matured)) => {
                    matured.add(job.matured);
                    Ok(Outcome::Matured(matured))
                }
                Answer::Done(outcome) => Ok(outcome),
                Answer::Refused(refusal) => Err(refusal.into()),
                Answer::Damaged(error) => Err(error.into()),
            };
            answers.push((job, result));
        }
        if let (Some(cache), Some(began)) = (self.context.cache.clone(), batch.began) {
            let after = plan.after.iter().map(|after| &after.state);
            let after = after.filter(|state| !stale.contains(&state.account.user_id));
            let unwritten = plan.unwritten.iter();
            let known = after
                .map(|state| Known::written(state, now))
                .chain(unwritten.map(|(user_id, seq)| Known::number(*user_id, *seq)))
                .collect();
            self.put(cache, began, known, answers).await;
        } else {
            tell(answers, &self.meters);
        }
        for After {
            state,
            was_remembered,
        } in plan.after
        {
            let user_id = state.account.user_id;
            let is_stale = stale.contains(&user_id);
            if is_stale || was_remembered {
                self.kept.found(user_id, is_stale);
            }
            if !is_stale {
                self.kept.put(state);
            }
        }
        again
    }

    /// Answers when what is known now is in the cache: whoever reads it then finds nothing older. The next batch does not
    /// wait for that.
    async fn put(&mut self, cache: Arc<Balances>, began: Read, known: Vec<Known>, answers: Vec<Told>) {
        if cache.is_immediate() {
            cache.put(began, known).await;
            tell(answers, &self.meters);
            return;
        }
        while self.telling.try_join_next().is_some() {}
        let meters = Arc::clone(&self.meters);
        let putting = async move {
            cache.put(began, known).await;
            tell(answers, &meters);
        };
        self.telling.spawn_on(putting, &self.context.runtime);
    }
}

fn tell(answers: Vec<Told>, meters: &Meters) {
    for (job, result) in answers {
        job.answer(meters, result);
    }
}
