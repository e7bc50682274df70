//! A stand-in for WeChat Pay on the loopback interface. It believes requests only if the merchant has signed them, as
//! the documentation says, and answers what it was told to.

use super::*;
use crate::payments::loopback::{Heard, hear};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// How an answer is signed.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Seal {
    Good,
    Wrong,
    Probe,
    Old,
    UnknownKey,
    None,
}

/// What happens to a request.
pub(super) enum Answer {
    Json(u16, Seal, Value),
    Text(u16, Seal, &'static str),
    /// The connection ends without an answer.
    HangUp,
    /// It ends in the middle of the answer.
    Half,
}

pub(super) fn ok(body: Value) -> Answer {
    Answer::Json(200, Seal::Good, body)
}

pub(super) fn no(status: u16, code: &str) -> Answer {
    refusal(status, code, Seal::Good)
}

pub(super) fn refusal(status: u16, code: &str, seal: Seal) -> Answer {
    Answer::Json(status, seal, json!({ "code": code, "message": "as it says" }))
}

/// A request that was believed.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) line: String,
    pub(super) body: Value,
    pub(super) serial: Option<String>,
}

pub(super) struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    thread: JoinHandle<()>,
}

impl Server {
    /// One that gives these answers, one after the other, and then is gone.
    pub(super) fn start(answers: impl IntoIterator<Item = Answer>) -> (Server, WeChatPay) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let answers: Vec<Answer> = answers.into_iter().collect();
        let heard = Arc::clone(&asked);
        let thread = std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                serve(stream, answer, &heard);
            }
        });
        let mut config = config();
        config.base_url = Some(url.clone());
        let server = Server { url, asked, thread };
        let channel = WeChatPay::new(config).unwrap();
        assert!(format!("{channel:?}").contains(&server.url));
        (server, channel)
    }

    /// What was asked, when all answers have been given.
    pub(super) fn asked(self) -> Vec<Asked> {
        self.thread.join().unwrap();
        Arc::try_unwrap(self.asked).unwrap().into_inner().unwrap()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, heard: &Mutex<Vec<Asked>>) {
    let Heard { line, headers, body } = hear(&stream);
    believe(&line, &headers, &body);
    assert_eq!(headers.get("accept"), Some("application/json"));
    assert!(headers.get("user-agent").is_some());
    heard.lock().unwrap().push(Asked {
        line,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        serial: headers.get("wechatpay-serial").map(Into::into),
    });
    let (status, seal, body) = match answer {
        Answer::Json(status, seal, body) => (status, seal, body.to_string()),
        Answer::Text(status, seal, body) => (status, seal, body.to_owned()),
        Answer::HangUp => return,
        Answer::Half => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
                .unwrap();
            return;
        }
    };
    let mut text = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n");
    if status != 204 {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in &sealed(seal, body.as_bytes()).0 {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text += &body;
    stream.write_all(text.as_bytes()).unwrap();
}

fn sealed(seal: Seal, body: &[u8]) -> Headers {
    let good = signed(body);
    match seal {
        Seal::Good => good,
        Seal::Wrong => signed(b"another body"),
        Seal::Probe => {
            let probe = format!("WECHATPAY/SIGNTEST/{}", good.get("Wechatpay-Signature").unwrap());
            with(&good, "Wechatpay-Signature", Some(&probe))
        }
        Seal::Old => signed_at(NOW_S - 301, body),
        Seal::UnknownKey => with(&good, "Wechatpay-Serial", Some("PUB_KEY_ID_2")),
        Seal::None => Headers::default(),
    }
}

/// The header `Authorization`, by the documentation alone.
fn believe(line: &str, headers: &Headers, body: &[u8]) {
    let (method, target) = line.split_once(' ').unwrap();
    let given = headers.get("authorization").unwrap();
    let given = given.strip_prefix("WECHATPAY2-SHA256-RSA2048 ").unwrap();
    let field = |name: &str| {
        let value = given
            .split(',')
            .find_map(|pair| pair.strip_prefix(&format!("{name}=\"")));
        value.unwrap().strip_suffix('"').unwrap()
    };
    assert_eq!(field("mchid"), MERCHANT);
    assert_eq!(field("serial_no"), SERIAL);
    assert_eq!(field("timestamp"), NOW_S.to_string());
    let nonce = field("nonce_str");
    assert_eq!(nonce.len(), 32);
    let body = str::from_utf8(body).unwrap();
    let message = format!("{method}\n{target}\n{NOW_S}\n{nonce}\n{body}\n");
    check_ours(&message, field("signature"));
}

/// Whether the merchant has signed this.
#[track_caller]
pub(super) fn check_ours(message: &str, signature: &str) {
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, OURS.public_key().as_ref().to_vec());
    let signature = STANDARD.decode(signature).unwrap();
    key.verify(message.as_bytes(), &signature).unwrap();
}
