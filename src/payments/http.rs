//! Requests to payment channels: with time limits, without redirects, and without retries of their own.

use crate::error::{Error, Result, Written};
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The largest answer that is read, in bytes: all of them are about one order.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);

/// How a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Asks.
    Get,
    /// Tells.
    Post,
}

impl Method {
    /// As HTTP spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }
}

/// What is asked of a channel.
#[derive(Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Where.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    /// Without headers and body: signatures and payers are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.method.as_str(),
            self.url.split('?').next().unwrap_or_default()
        )
    }
}

/// What it answered.
#[derive(Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Names and values.
    pub headers: super::Headers,
    /// The body, as it came.
    pub body: Vec<u8>,
}

/// The connections of this process to one channel. A child of a fork makes its own.
#[derive(Default)]
pub struct Client {
    of_process: Mutex<Option<(u32, reqwest::Client)>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    fn connections(&self) -> reqwest::Result<reqwest::Client> {
        let mut mine = self.of_process.lock().unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        if let Some((owner, client)) = &*mine
            && *owner == pid
        {
            return Ok(client.clone());
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("jointo_credits/", env!("CARGO_PKG_VERSION")))
            .build()?;
        // What a parent had is left alone: its tasks are not in this process.
        std::mem::forget(mine.replace((pid, client.clone())));
        Ok(client)
    }

    /// Sends a request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// [`Error::Unavailable`], whose `outcome` says whether the channel may have got the request.
    pub async fn send(&self, channel: &str, request: Request) -> Result<Response> {
        let away = |error: &reqwest::Error, outcome| {
            // Its own text may hold the URL, and that the whole signed request.
            later(outcome, format!("{channel} can't be reached: {}", cause(error)))
        };
        let client = self.connections().map_err(|error| away(&error, Written::No))?;
        let mut asked = match request.method {
            Method::Get => client.get(&request.url),
            Method::Post => client.post(&request.url),
        };
        for (name, value) in request.headers {
            asked = asked.header(name, value);
        }
        let mut answer = asked.body(request.body).send().await.map_err(|error| {
            let never_sent = error.is_connect() || error.is_builder();
            away(&error, if never_sent { Written::No } else { Written::Unknown })
        })?;
        let status = answer.status().as_u16();
        let headers = answer.headers().iter();
        let headers = super::Headers::new(
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
        );
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|error| away(&error, Written::Unknown))?
        {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::Unavailable {
                    outcome: Written::Unknown,
                    reason: format!("{channel} answers with more than {ANSWER_BYTES_MAX} bytes"),
                    remedy: "check the address of the channel".into(),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response {
            status,
            headers,
            body,
        })
    }
}

/// The innermost reason.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    if error.is_timeout() {
        "it takes too long".into()
    } else if std::ptr::addr_eq(inner, error) {
        "the request failed".into()
    } else {
        inner.to_string()
    }
}

/// A channel can't be asked, or does not say what became of a request.
pub(super) fn later(outcome: Written, reason: String) -> Error {
    Error::Unavailable {
        outcome,
        reason,
        remedy: "try again later; repeating the call is safe".into(),
    }
}
