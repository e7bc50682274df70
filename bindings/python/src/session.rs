//! The runtime and the ledger of one process.
//!
//! # Forks
//!
//! A child inherits memory but no threads: a runtime of its parent's would wait for ever, locks may be held by threads
//! that are gone, and connections belong to the parent. So a session belongs to one process. Whoever finds one of
//! another process leaves it alone, not even dropping it, and makes a new one, without taking a lock.
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | the child waits for the parent's threads | a session is used only where its process id is this one's |
//! | a lock was held at the fork | sessions are exchanged atomically; the list of all ledgers is locked with the GIL only, which the thread that forks has |
//! | two threads of the child make a session at once | one wins, the other's is dropped unused |
//! | the parent's locks on a SQLite file get lost | it gives its connections back before it forks ([`before_fork`]) |
//! | another thread is inside SQLite, whose locks the child would find taken | the store takes them all while its thread forks |
//! | a thread makes a ledger, or a signal arrives, just then | one call without Python in it suspends all there are; each knows how many forks it waits for |
//! | a child finds an empty database in place of one in memory | it gets an error: such a database belongs to one process |

use crate::clock::now;
use crate::errors::raise;
use crate::operation::{Answer, Operation};
use arc_swap::ArcSwapOption;
use jointo_credits::{Error, Ledger, Result, Settings, Written};
use jointo_credits_bindings::worker_threads;
use pyo3::prelude::*;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::OnceCell;

/// How long a fork waits for what is in use.
const FORK_PATIENCE: Duration = Duration::from_secs(30);

/// The runtime and the ledger of one process.
pub(crate) struct Session {
    process: u32,
    runtime: Option<Runtime>,
    handle: Handle,
    settings: Settings,
    ledger: OnceCell<Ledger>,
}

impl Session {
    fn new(settings: Settings) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(worker_threads())
            .thread_name("jointo_credits")
            .enable_all()
            .build()?;
        Ok(Session {
            process: std::process::id(),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
            settings,
            ledger: OnceCell::new(),
        })
    }

    /// The ledger, if it was connected.
    pub(crate) fn connected(&self) -> Option<&Ledger> {
        self.ledger.get()
    }

    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.handle
    }

    /// The ledger, connected when it is first needed; where that fails, the next call tries again.
    ///
    /// In a task of its own: a caller that goes away, or whose event loop stands still, must not keep others waiting.
    pub(crate) async fn ledger(self: &Arc<Self>) -> Result<Ledger> {
        if let Some(ledger) = self.ledger.get() {
            return Ok(ledger.clone());
        }
        let session = Arc::clone(self);
        let connecting = self.handle.spawn(async move {
            let connect = || session.settings.clone().connect();
            session.ledger.get_or_try_init(connect).await.cloned()
        });
        connecting.await.unwrap_or_else(|error| {
            Err(unavailable(
                &format!("connecting was cut off: {error}"),
                "try again",
            ))
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Without waiting for anything: this may be the garbage collector.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The session of whichever process this is.
pub(crate) struct Sessions {
    settings: Settings,
    closed: AtomicBool,
    current: ArcSwapOption<Session>,
    /// Forks under way: several threads may fork at once.
    forks: AtomicUsize,
}

impl Sessions {
    /// A call of the ledger, and what becomes of its result.
    pub(crate) fn call<T: Send + 'static, F>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(Ledger) -> F + Send + 'static,
        convert: fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
    ) -> PyResult<Operation>
    where
        F: Future<Output = jointo_credits::Result<T>> + Send,
    {
        let session = self.get(py)?;
        let running = Arc::clone(&session);
        Ok(Operation::new(session.runtime(), async move {
            let result = match running.ledger().await {
                Ok(ledger) => call(ledger).await,
                Err(error) => Err(error),
            };
            let answer: Answer = Box::new(move |py| match result {
                Ok(value) => convert(py, value),
                Err(error) => Err(raise(py, error)),
            });
            answer
        }))
    }

    /// One more that forks have to wait for.
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        let sessions = Arc::new(Sessions {
            settings,
            closed: AtomicBool::new(false),
            current: ArcSwapOption::empty(),
            forks: AtomicUsize::new(0),
        });
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sessions| sessions.strong_count() > 0);
        all.push(Arc::downgrade(&sessions));
        sessions
    }

    /// This process's session; `None` where it has none yet.
    fn existing(&self) -> Option<Arc<Session>> {
        let session = self.current.load_full()?;
        if session.is_of_this_process() {
            Some(session)
        } else {
            std::mem::forget(session); // the parent's
            None
        }
    }

    /// This process's session.
    pub(crate) fn get(&self, py: Python<'_>) -> PyResult<Arc<Session>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(raise(py, unavailable("the ledger is closed", "connect anew")));
        }
        match self.existing() {
            Some(session) => Ok(session),
            None => self.make(py),
        }
    }

    fn make(&self, py: Python<'_>) -> PyResult<Arc<Session>> {
        let before = self.current.load_full();
        if let Some(session) = before.as_ref().filter(|session| session.is_of_this_process()) {
            return Ok(Arc::clone(session)); // another thread has just made it
        }
        if before.is_some() && self.settings.is_in_memory() {
            std::mem::forget(before);
            let reason =
                "a ledger in memory belongs to the process that made it, and this one was forked from it";
            return Err(raise(
                py,
                unavailable(reason, "use a file or PostgreSQL, or connect after the fork"),
            ));
        }
        let new = Session::new(self.settings.clone()).map_err(|error| {
            let reason = format!("the threads of the ledger can't be started: {error}");
            raise(
                py,
                unavailable(&reason, "check the limits on processes and open files"),
            )
        })?;
        let new = Arc::new(new);
        let found = self.current.compare_and_swap(&before, Some(Arc::clone(&new)));
        let is_ours = match (&*found, &before) {
            (Some(found), Some(before)) => Arc::ptr_eq(found, before),
            (found, before) => found.is_none() && before.is_none(),
        };
        drop(found);
        // Never dropped here: the parent's, if it is one.
        std::mem::forget(before);
        if is_ours { Ok(new) } else { self.get(py) }
    }

    /// Gives no session from now on; what remains to be closed, also when asked again.
    pub(crate) fn close(&self) -> Option<Arc<Session>> {
        self.closed.store(true, Ordering::Release);
        self.existing()
    }

    /// Ends the session's threads, once its ledger is closed; another process's is left alone.
    pub(crate) fn give_back(&self) {
        if let Some(session) = self.current.swap(None)
            && !session.is_of_this_process()
        {
            std::mem::forget(session);
        }
    }

    fn before_fork(&self, patience: Duration) {
        self.forks.fetch_add(1, Ordering::AcqRel);
        if let Some(ledger) = self.existing().as_ref().and_then(|session| session.connected()) {
            ledger.before_fork(patience);
        }
    }

    fn after_fork_in_parent(&self) {
        if self.forks.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(ledger) = self.existing().as_ref().and_then(|session| session.connected())
        {
            ledger.after_fork();
        }
    }
}

/// Every ledger of the process. Locked for a moment only, by threads that have the GIL: so it is free when one forks.
static ALL: Mutex<Vec<Weak<Sessions>>> = Mutex::new(Vec::new());

thread_local! {
    /// Those that this thread has suspended: it is about to fork, or has just done so.
    static SUSPENDED: RefCell<Vec<Vec<Arc<Sessions>>>> = const { RefCell::new(Vec::new()) };
}

/// For `os.register_at_fork`. One call for all ledgers: between two a signal handler could cut it off.
#[pyfunction]
pub(crate) fn before_fork(py: Python<'_>) {
    let all: Vec<Arc<Sessions>> = {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|sessions| sessions.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    py.detach(|| {
        let ends = now() + FORK_PATIENCE;
        for sessions in &all {
            sessions.before_fork(ends.saturating_duration_since(now()));
        }
    });
    SUSPENDED.with_borrow_mut(|suspended| suspended.push(all));
}

/// For `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_parent() {
    let suspended = SUSPENDED.with_borrow_mut(Vec::pop).unwrap_or_default();
    for sessions in suspended {
        sessions.after_fork_in_parent();
    }
}

/// For `os.register_at_fork`.
#[pyfunction]
pub(crate) fn after_fork_in_child() {
    SUSPENDED.with_borrow_mut(Vec::clear);
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    for sessions in all.iter().filter_map(Weak::upgrade) {
        sessions.forks.store(0, Ordering::Release);
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn unavailable(reason: &str, remedy: &str) -> Error {
    Error::Unavailable {
        outcome: Written::No,
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}
