//! One call of the ledger: made with the GIL, run without it, answered with it.
//!
//! # How a call can go wrong, and what prevents it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | a thread waits for a command with the GIL, and the engine for the GIL | `wait` releases it; the engine's threads never take it |
//! | Ctrl-C waits for the database | `wait` looks for signals every [`SIGNALS`] |
//! | an asyncio task is cancelled while its command is on its way | the command belongs to the engine; what it answers is dropped |
//! | an event loop is closed meanwhile | its inbox takes what nobody fetches, and goes with the last of it |
//! | a thousand answers wake a loop a thousand times | the inbox wakes it once for all that are there |
//!
//! # Few threads
//!
//! A call is a future, and a thread that hands it to another one to be run pays for two switches. So the caller's own
//! thread polls it: in `wait` it sleeps in between, and in `start` the event loop polls again what its inbox names. That
//! takes a moment each time, since the work itself is done by the engine's threads; the runtime is only entered, for the
//! tasks and timers that a future may need.

use crate::records::hand_over;
use crate::session::Session;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How often a waiting thread looks for signals.
const SIGNALS: Duration = Duration::from_millis(100);

/// Makes the Python object of a result, or its exception; with the GIL.
pub(crate) type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;
type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A call that has not begun. It is good for one `wait` or one `start`.
#[pyclass(frozen, module = "jointo_credits._native")]
pub(crate) struct Operation {
    runtime: Handle,
    running: Mutex<Option<Running>>,
}

impl Operation {
    pub(crate) fn new(session: &Session, running: impl Future<Output = Answer> + Send + 'static) -> Self {
        Operation {
            runtime: session.runtime().clone(),
            running: Mutex::new(Some(Box::pin(running))),
        }
    }

    fn take(&self) -> PyResult<Running> {
        let used_up = || PyRuntimeError::new_err("this operation has been started before");
        lock(&self.running).take().ok_or_else(used_up)
    }
}

#[pymethods]
impl Operation {
    /// Runs it in this thread, with the GIL released.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut running = self.take()?;
        let answer = loop {
            match py.detach(|| poll_for(&mut running, &self.runtime, SIGNALS)) {
                Poll::Ready(answer) => break answer,
                Poll::Pending => py.check_signals()?,
            }
        };
        let answer = answer(py);
        hand_over(py);
        answer
    }

    /// Runs it while the inbox's event loop runs; `future`, an `asyncio.Future` of that loop, gets the answer.
    fn start(&self, py: Python<'_>, inbox: &Inbox, future: Py<PyAny>) -> PyResult<()> {
        let letter = Arc::new(Letter {
            future,
            running: Mutex::new(Some(self.take()?)),
            runtime: self.runtime.clone(),
            letters: Arc::clone(&inbox.letters),
        });
        letter.poll(py)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a thread that sleeps in [`poll_for`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a thread sleeps is no matter of the ledger's clock"
)]
fn now() -> Instant {
    Instant::now()
}

/// Polls, and sleeps in between, until there is an answer or `time` is over.
fn poll_for(running: &mut Running, runtime: &Handle, time: Duration) -> Poll<Answer> {
    let _inside = runtime.enter();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut ends = None;
    loop {
        if let Poll::Ready(answer) = running.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Poll::Ready(answer);
        }
        let ends = *ends.get_or_insert_with(|| now() + time);
        let left = ends.saturating_duration_since(now());
        if left.is_zero() {
            return Poll::Pending;
        }
        thread::park_timeout(left);
    }
}

/// A call that an event loop runs. Its waker puts it into the loop's inbox.
struct Letter {
    future: Py<PyAny>,
    running: Mutex<Option<Running>>,
    runtime: Handle,
    letters: Arc<Letters>,
}

impl Letter {
    /// In the event loop's thread.
    fn poll(self: Arc<Self>, py: Python<'_>) -> PyResult<()> {
        // Cancelled: whoever waited has gone. What was done is done.
        let answer = if self.future.call_method0(py, "done")?.is_truthy(py)? {
            *lock(&self.running) = None;
            None
        } else {
            let waker = Waker::from(Arc::clone(&self));
            let _inside = self.runtime.enter();
            let mut running = lock(&self.running);
            match running
                .as_mut()
                .map(|running| running.as_mut().poll(&mut Context::from_waker(&waker)))
            {
                Some(Poll::Ready(answer)) => {
                    *running = None;
                    Some(answer)
                }
                // Or it was woken once more than it has had to be.
                Some(Poll::Pending) | None => None,
            }
        };
        match answer.map(|answer| answer(py)) {
            Some(Ok(value)) => self.future.call_method1(py, "set_result", (value,)).map(drop),
            Some(Err(error)) => self
                .future
                .call_method1(py, "set_exception", (error.into_value(py),))
                .map(drop),
            None => Ok(()),
        }
    }
}

impl Wake for Letter {
    fn wake(self: Arc<Self>) {
        let letters = Arc::clone(&self.letters);
        letters.put(self);
    }
}

struct Letters {
    waiting: Mutex<Vec<Arc<Letter>>>,
    bell: UnixStream,
}

impl Letters {
    fn put(&self, letter: Arc<Letter>) {
        let mut waiting = lock(&self.waiting);
        waiting.push(letter);
        if waiting.len() == 1 {
            // A bell that is full has rung already; one whose loop is gone wakes nobody.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

/// What an event loop has to look at: its file descriptor is readable when there is something.
#[pyclass(frozen, module = "jointo_credits._native")]
pub(crate) struct Inbox {
    letters: Arc<Letters>,
    heard: UnixStream,
}

#[pymethods]
impl Inbox {
    #[new]
    fn new() -> PyResult<Self> {
        let (bell, heard) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        heard.set_nonblocking(true)?;
        let letters = Arc::new(Letters {
            waiting: Mutex::default(),
            bell,
        });
        Ok(Inbox { letters, heard })
    }

    /// For `loop.add_reader`.
    fn fileno(&self) -> i32 {
        self.heard.as_raw_fd()
    }

    /// Goes on with every call that can.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        // First the bell: what arrives after this rings again.
        let _ = (&self.heard).read(&mut [0; 16]);
        let letters = std::mem::take(&mut *lock(&self.letters.waiting));
        for letter in letters {
            letter.poll(py)?;
        }
        hand_over(py);
        Ok(())
    }
}
