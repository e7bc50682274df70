//! One call of the ledger: made with the GIL, run without it, answered with it.
//!
//! # How a call can go wrong, and what prevents it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | a thread waits for a command with the GIL, and the engine for the GIL | `wait` releases it; the engine's threads never take it |
//! | Ctrl-C waits for the database | `wait` looks for signals every [`SIGNALS`] |
//! | an asyncio task is cancelled while its command is on its way | the command belongs to the engine; what it answers is dropped |
//! | an event loop is closed meanwhile | its inbox takes answers that nobody fetches, and goes with the last of them |
//! | a thousand answers wake a loop a thousand times | the inbox wakes it once for all that are there |

use crate::records::hand_over;
use crate::session::Session;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
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
}

impl Operation {
    pub(crate) fn new(session: &Session, running: impl Future<Output = Answer> + Send + 'static) -> Self {
        Operation {
            runtime: session.runtime().clone(),
            running: Mutex::new(Some(Box::pin(running))),
        }
    }

    fn take(&self) -> PyResult<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let used_up = || PyRuntimeError::new_err("this operation has been started before");
        running.take().ok_or_else(used_up)
    }

    /// What needs no database is answered at once.
    fn poll_once(&self, running: &mut Running) -> Poll<Answer> {
        let _inside = self.runtime.enter();
        running.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }
}

#[pymethods]
impl Operation {
    /// Runs it in this thread, with the GIL released.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut running = self.take()?;
        let mut polled = self.poll_once(&mut running);
        let answer = loop {
            match polled {
                Poll::Ready(answer) => break answer,
                Poll::Pending => py.check_signals()?,
            }
            polled = py.detach(|| {
                let waiting = async { tokio::time::timeout(SIGNALS, &mut running).await };
                self.runtime.block_on(waiting).map_or(Poll::Pending, Poll::Ready)
            });
        };
        let answer = answer(py);
        hand_over(py);
        answer
    }

    /// Runs it in the background; `future`, an `asyncio.Future` of the inbox's loop, gets the answer.
    fn start(&self, py: Python<'_>, inbox: &Inbox, future: Py<PyAny>) -> PyResult<()> {
        let mut running = self.take()?;
        if let Poll::Ready(answer) = self.poll_once(&mut running) {
            return settle(py, &future, answer);
        }
        let letters = Arc::clone(&inbox.letters);
        self.runtime.spawn(async move {
            let answer = running.await;
            letters.put(Letter { future, answer });
        });
        Ok(())
    }
}

struct Letter {
    future: Py<PyAny>,
    answer: Answer,
}

struct Letters {
    waiting: Mutex<Vec<Letter>>,
    bell: UnixStream,
}

impl Letters {
    fn put(&self, letter: Letter) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(letter);
        if waiting.len() == 1 {
            // A bell that is full has rung already; one whose loop is gone wakes nobody.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

/// Where the answers for one event loop arrive: its file descriptor is readable when there are some.
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

    /// Gives every answer that has arrived to its future.
    fn deliver(&self, py: Python<'_>) -> PyResult<()> {
        // First the bell: what arrives after this rings again.
        let _ = (&self.heard).read(&mut [0; 16]);
        let letters = {
            let mut waiting = self
                .letters
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *waiting)
        };
        for Letter { future, answer } in letters {
            settle(py, &future, answer)?;
        }
        hand_over(py);
        Ok(())
    }
}

fn settle(py: Python<'_>, future: &Py<PyAny>, answer: Answer) -> PyResult<()> {
    // Cancelled: whoever waited has gone. What was done is done.
    if future.call_method0(py, "done")?.is_truthy(py)? {
        return Ok(());
    }
    match answer(py) {
        Ok(value) => future.call_method1(py, "set_result", (value,))?,
        Err(error) => future.call_method1(py, "set_exception", (error.into_value(py),))?,
    };
    Ok(())
}
