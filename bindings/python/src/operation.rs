//! One call of the ledger: made with the GIL, run without it, answered with it.
//!
//! # How a call can go wrong, and what prevents it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | a thread waits for a command with the GIL, and the engine for the GIL | `wait` releases it; the engine's threads never take it |
//! | Ctrl-C waits for the database | `wait` looks for signals every [`SIGNALS`] |
//! | an asyncio task is cancelled while its command is on its way | the command belongs to the engine; what it answers is dropped |
//! | whoever waited for a call has gone, while it waits for its turn | the call is dropped, and with it what it had: a place in the queue, or the right to connect |
//! | an event loop is closed meanwhile | its inbox goes with it, and nothing that is under way keeps either |
//! | one answer can't be given (an interrupt, a closed loop) | the others are given all the same |
//! | a loop of before a fork is used in the child | it is refused: two processes would wake each other's loops |
//! | a thousand answers wake a loop a thousand times | the inbox wakes it once for all that are there |
//!
//! # Few threads
//!
//! A call is a future, and a thread that hands it to another one to be run pays for two switches. So the caller's own
//! thread polls it: in `wait` it sleeps in between, and in `start` the event loop polls again what its inbox names. That
//! takes a moment each time, since the work itself is done by the engine's threads; the runtime is only entered, for the
//! tasks and timers that a future may need.

use crate::clock::now;
use crate::records::hand_over;
use jointo_credits_bindings::thread_waker;
use pyo3::exceptions::{PyException, PyRuntimeError};
use pyo3::prelude::*;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;
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
    letter: OnceLock<Arc<Letter>>,
}

impl Operation {
    pub(crate) fn new(runtime: &Handle, running: impl Future<Output = Answer> + Send + 'static) -> Self {
        Operation {
            runtime: runtime.clone(),
            running: Mutex::new(Some(Box::pin(running))),
            letter: OnceLock::new(),
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
        if inbox.process != std::process::id() {
            return Err(PyRuntimeError::new_err(
                "this event loop was made before the process was forked, and would share what wakes it with its parent: \
                 make one in the child, as asyncio.run() does",
            ));
        }
        let letter = Arc::new(Letter {
            future: Mutex::new(Some(future)),
            running: Mutex::new(Some(self.take()?)),
            runtime: self.runtime.clone(),
            letters: Arc::downgrade(&inbox.letters),
        });
        let letter = self.letter.get_or_init(|| letter);
        Arc::clone(letter).poll(py)
    }

    /// Nobody waits for it any more: it gives back what it has of the engine's. What the engine has begun it finishes.
    fn cancel(&self) {
        if let Some(letter) = self.letter.get() {
            letter.drop_running();
            drop(lock(&letter.future).take());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds one of these panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Polls, and sleeps in between, until there is an answer or `time` is over.
fn poll_for(running: &mut Running, runtime: &Handle, time: Duration) -> Poll<Answer> {
    let _inside = runtime.enter();
    let waker = thread_waker();
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
    /// Until it has the answer: an exception's traceback leads back to the operation, and so to this letter.
    future: Mutex<Option<Py<PyAny>>>,
    running: Mutex<Option<Running>>,
    runtime: Handle,
    /// Not the inbox's for ever: a call that nobody goes on with must not keep its loop alive.
    letters: Weak<Letters>,
}

impl Letter {
    fn drop_running(&self) {
        let _inside = self.runtime.enter();
        let running = lock(&self.running).take();
        drop(running);
    }

    /// In the event loop's thread. The error is one that its future can't be told, or that concerns the loop as well.
    fn poll(self: Arc<Self>, py: Python<'_>) -> PyResult<()> {
        // Cancelled: whoever waited has gone. What was done is done.
        let waiting = lock(&self.future).as_ref().map(|future| future.clone_ref(py));
        let Some(future) = waiting else {
            return Ok(());
        };
        let answer = if future.call_method0(py, "done")?.is_truthy(py)? {
            self.drop_running();
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
        if answer.is_some() {
            drop(lock(&self.future).take());
        }
        let told = match answer.map(|answer| answer(py)) {
            None => return Ok(()),
            Some(Ok(value)) => future.call_method1(py, "set_result", (value,)),
            Some(Err(error)) => {
                let own = error.is_instance_of::<PyException>(py);
                let told = future.call_method1(py, "set_exception", (error.clone_ref(py).into_value(py),));
                // An interrupt that came just now is not the call's.
                if own { told } else { Err(error) }
            }
        };
        told.map(drop).inspect_err(|_| {
            // Whoever waits must not wait for ever; where this fails too, there is no loop any more.
            let _ = future.call_method0(py, "cancel");
        })
    }
}

impl Wake for Letter {
    fn wake(self: Arc<Self>) {
        if let Some(letters) = self.letters.upgrade() {
            letters.put(self);
        }
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
    process: u32,
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
        Ok(Inbox {
            letters,
            heard,
            process: std::process::id(),
        })
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
        // Each of them, whatever becomes of one: a letter that is left out is never looked at again.
        let mut failed = None;
        for letter in letters {
            if let Err(error) = letter.poll(py) {
                failed.get_or_insert(error);
            }
        }
        hand_over(py);
        failed.map_or(Ok(()), Err)
    }
}
