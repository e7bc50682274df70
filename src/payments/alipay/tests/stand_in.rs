//! A stand-in of Alipay's gateway on this machine: it verifies what it is asked as Alipay would, and answers as told.

use super::keys::{OURS, THEIRS, sign, verifies};
use super::*;
use crate::payments::loopback::{Heard, hear};
use std::collections::VecDeque;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A call that was verified.
#[derive(Debug, Clone)]
pub struct Asked {
    /// All parameters, `sign` left out.
    pub parameters: BTreeMap<String, String>,
    /// `biz_content`.
    pub business: serde_json::Value,
}

impl Asked {
    pub fn method(&self) -> &str {
        &self.parameters["method"]
    }
}

/// What it answers.
pub enum Answers {
    /// A body, with HTTP status 200.
    Body(Vec<u8>),
    /// Another status.
    Status(u16),
    /// Nothing: the connection ends.
    Nothing,
}

/// `{"<name>":<inner>,"sign":...}`, signed by Alipay.
pub fn signed(name: &str, inner: &str) -> Answers {
    let signature = sign(&THEIRS, inner.as_bytes());
    Answers::Body(format!(r#"{{"{name}":{inner},"sign":"{signature}"}}"#).into())
}

/// The same without a signature.
pub fn unsigned(name: &str, inner: &str) -> Answers {
    Answers::Body(format!(r#"{{"{name}":{inner}}}"#).into())
}

pub struct Gateway {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Gateway {
    /// One that gives these answers, in this order.
    pub fn answering(answers: impl IntoIterator<Item = Answers>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/gateway.do", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let mut answers: VecDeque<Answers> = answers.into_iter().collect();
        std::thread::spawn(move || {
            while let Some(answer) = answers.pop_front() {
                let Ok((connection, _)) = listener.accept() else {
                    return;
                };
                serve(connection, &heard, answer);
            }
        });
        Gateway { url, asked }
    }

    /// A channel that asks it.
    pub fn channel(&self) -> Alipay {
        self.channel_of(config())
    }

    pub fn channel_of(&self, config: AlipayConfig) -> Alipay {
        Alipay::new(AlipayConfig {
            gateway: self.url.clone(),
            ..config
        })
        .unwrap()
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// In the words of the methods alone.
    pub fn methods(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|asked| asked.method().to_owned())
            .collect()
    }
}

fn serve(mut connection: TcpStream, heard: &Mutex<Vec<Asked>>, answer: Answers) {
    let Heard { line, headers, body } = hear(&connection);
    assert_eq!(
        headers.get("content-type"),
        Some("application/x-www-form-urlencoded;charset=utf-8")
    );
    let query = line.strip_prefix("POST /gateway.do?").expect("a query");
    heard
        .lock()
        .unwrap()
        .push(verified(query, std::str::from_utf8(&body).unwrap()));

    let (status, body) = match answer {
        Answers::Body(body) => (200, body),
        Answers::Status(status) => (status, b"<html>".to_vec()),
        Answers::Nothing => return,
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: text/html;charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(&[head.as_bytes(), &body].concat()).unwrap();
}

/// Takes a request apart and verifies it, with nothing of the channel's own code.
pub fn verified(query: &str, body: &str) -> Asked {
    let pairs = [query, body].join("&");
    let pairs: Vec<(String, String)> = (form_urlencoded::parse(pairs.as_bytes()))
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect();
    let mut parameters: BTreeMap<String, String> = pairs.iter().cloned().collect();
    assert_eq!(
        parameters.len(),
        pairs.len(),
        "a parameter is there twice: {pairs:?}"
    );
    let signature = parameters.remove("sign").expect("a signature");
    let content: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert!(
        verifies(&OURS, content.join("&").as_bytes(), &signature),
        "{content:?}"
    );
    let business = serde_json::from_str(&parameters["biz_content"]).unwrap();
    Asked { parameters, business }
}
