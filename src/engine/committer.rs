//! The loop of one committer: drain the queue, load, decide, append, answer everyone.
//!
//! A job owns its command and the way back to its caller; nobody else holds a piece of its work, so a caller that goes
//! away can't leave anything half-done. Jobs that have to be decided again go in front of those that came later: the
//! commands of one account are decided in the order of arrival, whatever happens in between.

use super::meters::{self, Meters};
use super::plan::{self, Answer, Plan};
use crate::clock::{Clock, Moment, Patience};
use crate::error::{Error, Written};
use crate::ledger::{Action, Command, Matured, Outcome, Rules};
use crate::store::{Committer, StoreError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// After so many lost races in a row a job's accounts are locked before they are read, so that nobody starves.
const STALE_BEFORE_LOCK: u32 = 3;
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
}

impl Job {
    fn answer(self, meters: &Meters, result: Result<Outcome, Error>) {
        meters.answered(meters::operation(&self.command.action), self.asked, &result);
        // A caller that has gone away does not want to know.
        let _ = self.reply.send(result);
    }

    fn fail(self, meters: &Meters, error: &StoreError) {
        let outcome = if matches!(error, StoreError::Unknown(_)) {
            Written::Unknown
        } else {
            Written::No
        };
        self.answer(meters, Err(Error::store(error, outcome)));
    }
}

/// What all committers of a ledger share.
pub(super) struct Context {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: Rules,
    pub(super) batch_limit: usize,
}

/// Serves until the queue is closed and empty.
pub(super) async fn serve<C: Committer>(
    store: C,
    mut queue: mpsc::Receiver<Job>,
    context: Arc<Context>,
    meters: Arc<Meters>,
) {
    let mut committer = Serving {
        store,
        context,
        meters,
        failures: 0,
    };
    let mut jobs: Vec<Job> = Vec::new();
    loop {
        let limit = committer.context.batch_limit;
        if jobs.is_empty() {
            if queue.recv_many(&mut jobs, limit).await == 0 {
                return;
            }
        } else {
            while jobs.len() < limit {
                match queue.try_recv() {
                    Ok(job) => jobs.push(job),
                    Err(_) => break,
                }
            }
        }
        // Nothing has begun for these: a caller that has gone away takes its command along.
        jobs.retain(|job| !job.reply.is_closed());
        jobs = committer.round(jobs).await;
    }
}

struct Serving<C> {
    store: C,
    context: Arc<Context>,
    meters: Arc<Meters>,
    /// Failed attempts in a row.
    failures: u32,
}

impl<C: Committer> Serving<C> {
    /// One load and one append. Returns the jobs to decide again, in order.
    async fn round(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        if jobs.is_empty() {
            return jobs;
        }
        self.meters.batch(jobs.len());
        let now = self.context.clock.now();
        let mut needs = plan::needs(jobs.iter().map(|job| &job.command), now);
        needs.lock = jobs.iter().any(|job| job.stale >= STALE_BEFORE_LOCK);
        let loaded = match self.store.load(&needs).await {
            Ok(loaded) => loaded,
            Err(StoreError::Failed { .. }) if jobs.len() > 1 => return self.one_by_one(jobs).await,
            Err(error) => return self.nothing_done(jobs, error).await,
        };
        let plan = plan::plan(
            loaded,
            jobs.iter().map(|job| &job.command),
            now,
            &self.context.rules,
        );
        match self.store.append(&plan.writes).await {
            Ok(stale) => {
                self.failures = 0;
                self.settle(jobs, plan, &stale.into_iter().collect())
            }
            Err(StoreError::Unknown(why)) => self.find_out(jobs, plan, why).await,
            Err(StoreError::Failed { .. }) if jobs.len() > 1 => self.one_by_one(jobs).await,
            Err(error) => self.nothing_done(jobs, error).await,
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

    /// Nothing was written. Either the database is tried again, or the callers are told.
    async fn nothing_done(&mut self, jobs: Vec<Job>, error: StoreError) -> Vec<Job> {
        if matches!(error, StoreError::Failed { .. }) {
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
    async fn find_out(&mut self, jobs: Vec<Job>, plan: Plan, why: String) -> Vec<Job> {
        tracing::warn!(
            why,
            jobs = jobs.len(),
            "lost sight of a write; looking for it in the journal"
        );
        let landmarks = plan.landmarks();
        loop {
            let found = match self.store.reconnect().await {
                Ok(()) => self.store.landed(&landmarks).await,
                Err(error) => Err(error),
            };
            match found {
                Ok(landed) => {
                    let missing = landmarks.iter().zip(landed).filter(|(_, there)| !there);
                    return self.settle(jobs, plan, &missing.map(|((id, ..), _)| *id).collect());
                }
                Err(StoreError::Busy(_) | StoreError::Lost(_))
                    if jobs.iter().any(|job| !job.patience.is_over()) =>
                {
                    self.sleep().await;
                }
                Err(_) => {
                    let written = landmarks.iter().map(|(id, ..)| *id).collect();
                    let error = StoreError::Unknown(why);
                    self.settle(jobs, plan, &written)
                        .into_iter()
                        .for_each(|job| job.fail(&self.meters, &error));
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
    fn settle(&self, jobs: Vec<Job>, plan: Plan, stale: &HashSet<uuid::Uuid>) -> Vec<Job> {
        let mut matured = Matured::default();
        let written = plan.writes.entries.iter();
        written
            .filter(|entry| !stale.contains(&entry.user_id))
            .for_each(|entry| matured.count(entry));
        self.meters.matured(&matured);
        let mut again = Vec::new();
        for (mut job, (user_id, answer)) in jobs.into_iter().zip(plan.answers) {
            if user_id.is_some_and(|id| stale.contains(&id)) {
                job.stale += 1;
                again.push(job);
                continue;
            }
            job.stale = 0;
            match answer {
                Answer::Postponed => {
                    if let (Action::Mature { .. }, Some(user_id)) = (&job.command.action, user_id) {
                        job.matured.add(plan::matured(&plan.writes, user_id));
                    }
                    again.push(job);
                }
                Answer::Done(Outcome::Matured(mut matured)) => {
                    matured.add(job.matured);
                    job.answer(&self.meters, Ok(Outcome::Matured(matured)));
                }
                Answer::Done(outcome) => job.answer(&self.meters, Ok(outcome)),
                Answer::Refused(refusal) => job.answer(&self.meters, Err(refusal.into())),
                Answer::Damaged(error) => job.fail(&self.meters, &error),
            }
        }
        again
    }
}
