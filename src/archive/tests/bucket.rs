//! Segments in a bucket: a stand-in for S3 on this machine, which wants every request signed and fails when it is told to.

use super::*;
use crate::payments::loopback::{Heard, hear};
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, RetryConfig};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const KEY_ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI-throw-away";
const KEY: &str = "/bucket/old/rows/journal/2026-01.jsonl.zst";

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fails {
    /// Nothing.
    Not,
    /// Another status, and nothing is done.
    With(u16),
    /// The connection ends, and nothing is done.
    Before,
    /// The connection ends when everything is done.
    After,
    /// What is there is not seen.
    Blind,
    /// An answer with fewer bytes than were asked for.
    Short,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// `GET /bucket/key bytes=0-5`.
    asked: Vec<String>,
    fails: VecDeque<Fails>,
    knows_no_conditions: bool,
}

struct StandIn {
    url: String,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                serve(connection.unwrap(), &served);
            }
        });
        StandIn { url, state }
    }

    fn settings(&self) -> AmazonS3Builder {
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(1),
            max_backoff: Duration::from_millis(2),
            base: 2.0,
        };
        AmazonS3Builder::new()
            .with_endpoint(&self.url)
            .with_region("eu-test-1")
            .with_access_key_id(KEY_ID)
            .with_secret_access_key(SECRET)
            .with_retry(RetryConfig {
                backoff,
                max_retries: 3,
                retry_timeout: Duration::from_secs(60),
            })
    }

    fn archive(&self) -> Archive {
        Archive::in_bucket("bucket/old/rows", self.settings()).unwrap()
    }

    fn fails(&self, fails: impl IntoIterator<Item = Fails>) {
        self.state.lock().unwrap().fails.extend(fails);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }

    fn puts(&self) -> usize {
        self.asked()
            .iter()
            .filter(|line| line.starts_with("PUT "))
            .count()
    }

    fn stored(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.lock().unwrap().objects.clone()
    }
}

/// Signed as AWS wants it, with what was really sent.
fn is_signed(heard: &Heard) {
    let header = |name| {
        heard
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing"))
    };
    let (day, _) = header("x-amz-date").split_once('T').unwrap();
    let rest = (header("authorization"))
        .strip_prefix(&format!(
            "AWS4-HMAC-SHA256 Credential={KEY_ID}/{day}/eu-test-1/s3/aws4_request, "
        ))
        .unwrap();
    let (signed, signature) = rest.split_once(", Signature=").unwrap();
    for name in ["host", "x-amz-content-sha256", "x-amz-date"] {
        assert!(signed.contains(name), "{name} is not signed");
    }
    assert!(signature.len() == 64 && signature.bytes().all(|b| b.is_ascii_hexdigit()));
    let body = crate::ledger::Hash(Sha256::digest(&heard.body).into());
    assert_eq!(header("x-amz-content-sha256"), body.to_string());
}

fn serve(mut connection: TcpStream, state: &Mutex<State>) {
    let heard = hear(&connection);
    is_signed(&heard);
    let range = heard.headers.get("range").map(str::to_owned);
    let (method, key) = heard.line.split_once(' ').unwrap();
    let mut state = state.lock().unwrap();
    state.asked.push(
        [Some(heard.line.clone()), range.clone()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" "),
    );
    let fails = state.fails.pop_front().unwrap_or(Fails::Not);
    let there = state.objects.get(key).filter(|_| fails != Fails::Blind).cloned();
    let (status, mut body, headers) = match (fails, method, there) {
        (Fails::Before, ..) => return,
        (Fails::With(status), ..) => (
            status,
            format!("<Error><Code>{status}</Code></Error>").into(),
            String::new(),
        ),
        (_, "PUT", there) => {
            let create = heard.headers.get("if-none-match") == Some("*") && !state.knows_no_conditions;
            if create && there.is_some() {
                (412, Vec::new(), String::new())
            } else {
                state.objects.insert(key.to_owned(), heard.body);
                (200, Vec::new(), String::new())
            }
        }
        (_, _, None) => (
            404,
            b"<Error><Code>NoSuchKey</Code></Error>".to_vec(),
            String::new(),
        ),
        (_, _, Some(object)) => match range.and_then(|range| bounds(&range, object.len())) {
            Some((start, end)) => {
                let about = format!("content-range: bytes {start}-{}/{}\r\n", end - 1, object.len());
                (206, object[start..end].to_vec(), about)
            }
            None => (200, object, String::new()),
        },
    };
    if fails == Fails::After {
        return;
    }
    let head = format!(
        "HTTP/1.1 {status} X\r\n{headers}etag: \"e\"\r\nlast-modified: Mon, 23 Nov 2026 08:00:00 GMT\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    if method == "HEAD" {
        body.clear();
    }
    if fails == Fails::Short {
        body.truncate(body.len() / 2);
    }
    // The other side may have gone.
    let _ = connection.write_all(&[head.as_bytes(), &body].concat());
}

fn bounds(range: &str, length: usize) -> Option<(usize, usize)> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, (end.parse::<usize>().ok()? + 1).min(length)))
}

fn one(line: &str) -> Sealed {
    sealed(&[(id(1), line.to_owned())])
}

#[tokio::test]
async fn a_bucket_is_as_good_as_a_directory() {
    let stand_in = StandIn::new();
    let archive = stand_in.archive();
    assert_eq!(archive.location(), "s3://bucket/old/rows");
    for (name, rows) in [
        ("empty", Vec::new()),
        ("small", many(3, 2, 16)),
        ("large", many(5, 20, 20_000)),
    ] {
        agree(&archive, name, &sealed(&rows), &rows).await;
    }
    let keys: Vec<String> = stand_in.stored().into_keys().collect();
    assert_eq!(
        keys,
        [
            "/bucket/old/rows/empty",
            "/bucket/old/rows/large",
            "/bucket/old/rows/small"
        ]
    );

    let whole = Archive::in_bucket("bucket", stand_in.settings()).unwrap();
    assert_eq!(read(&whole, "old/rows/small").await.unwrap().1, many(3, 2, 16));
    let error = whole.open_segment("small").await.unwrap_err();
    assert_eq!(error, ArchiveError::NotFound { name: "small".into() });
}

#[tokio::test]
async fn only_what_is_needed_is_fetched() {
    let stand_in = StandIn::new();
    let archive = stand_in.archive();
    let rows = many(30, 10, 20_000);
    let segment = sealed(&rows);
    archive.put(NAME, &segment).await.unwrap();
    assert_eq!(stand_in.asked(), [format!("HEAD {KEY}"), format!("PUT {KEY}")]);

    let mut stored = archive.open_segment(NAME).await.unwrap();
    let length = segment.bytes().len();
    let asked = stand_in.asked();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert_eq!(asked[0], format!("HEAD {KEY}"));
    assert_eq!(
        asked[1],
        format!("GET {KEY} bytes={}-{}", length - 65_536, length - 1)
    );
    assert!(
        asked[2].starts_with(&format!("GET {KEY} bytes=0-")),
        "the header: {asked:?}"
    );

    let lines = stored.lines_of(id(7 << 64)).await.unwrap();
    assert_eq!(lines.len(), 10);
    assert!(stand_in.asked().len() <= 3, "200 kB of 6 MB");
    assert!(stored.lines_of(id(1)).await.unwrap().is_empty());
    assert_eq!(stand_in.asked().len(), 0);
    let blocks = blocks(&mut stored).await.unwrap();
    assert_eq!(stand_in.asked().len(), blocks.len());
    assert_eq!(blocks.concat(), rows);

    archive.put("small", &one("1")).await.unwrap();
    stand_in.asked();
    assert_eq!(read(&archive, "small").await.unwrap().1.len(), 1);
    assert_eq!(
        stand_in.asked().len(),
        3,
        "a look, the file's end, which is the whole, and the block"
    );
}

#[tokio::test]
async fn nothing_is_overwritten_whatever_the_store_knows() {
    for knows_no_conditions in [false, true] {
        for on_condition in [S3ConditionalPut::ETagMatch, S3ConditionalPut::Disabled] {
            let stand_in = StandIn::new();
            stand_in.state.lock().unwrap().knows_no_conditions = knows_no_conditions;
            let settings = stand_in.settings().with_conditional_put(on_condition);
            let archive = Archive::in_bucket("bucket/old/rows", settings).unwrap();
            let segment = one("1");
            archive.put(NAME, &segment).await.unwrap();
            archive.put(NAME, &segment).await.unwrap();
            for other in [one("2"), one("100")] {
                let error = archive.put(NAME, &other).await.unwrap_err();
                assert_eq!(error, ArchiveError::Exists { name: NAME.into() });
            }
            assert_eq!(stand_in.puts(), 1);
            assert_eq!(stand_in.stored()[KEY], segment.bytes());
        }
    }
}

#[tokio::test]
async fn who_comes_second_between_look_and_put_is_told_so() {
    let stand_in = StandIn::new();
    let archive = stand_in.archive();
    let segment = one("1");
    archive.put(NAME, &segment).await.unwrap();
    stand_in.fails([Fails::Blind]);
    archive.put(NAME, &segment).await.unwrap();
    stand_in.fails([Fails::Blind]);
    let error = archive.put(NAME, &one("2")).await.unwrap_err();
    assert_eq!(error, ArchiveError::Exists { name: NAME.into() });
    assert_eq!(stand_in.puts(), 3);
    assert_eq!(stand_in.stored()[KEY], segment.bytes());

    // There for the PUT, and gone for the comparison.
    stand_in.fails([Fails::Blind, Fails::Not, Fails::Blind]);
    let error = archive.put(NAME, &segment).await.unwrap_err();
    assert!(error.to_string().contains("is not any more"), "{error}");
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let stand_in = StandIn::new();
    let archive = stand_in.archive();
    let segment = one("1");
    stand_in.fails([Fails::With(503), Fails::Not, Fails::With(503), Fails::With(500)]);
    archive.put(NAME, &segment).await.unwrap();
    assert_eq!(stand_in.puts(), 3);
    let bytes = segment.bytes().len() as u64;
    stand_in.fails([
        Fails::With(503),
        Fails::Before,
        Fails::With(429),
        Fails::Not,
        Fails::With(503),
    ]);
    archive.check(NAME, &segment.sha256(), bytes).await.unwrap();
    stand_in.fails([Fails::With(503), Fails::Before, Fails::With(503)]);
    assert_eq!(read(&archive, NAME).await.unwrap().1.len(), 1);
    stand_in.fails([Fails::Not, Fails::Short]);
    assert_eq!(read(&archive, NAME).await.unwrap().1.len(), 1);
}

#[tokio::test]
async fn an_answer_that_got_lost_is_no_second_segment() {
    for lost in [Fails::Before, Fails::After] {
        let stand_in = StandIn::new();
        let archive = stand_in.archive();
        let segment = one("1");
        stand_in.fails([Fails::Not, lost]);
        archive.put(NAME, &segment).await.unwrap();
        assert_eq!(stand_in.stored()[KEY], segment.bytes());
        assert_eq!(stand_in.puts(), 2);
    }
}

#[tokio::test]
async fn a_store_that_stays_away_is_an_error_that_says_what_to_do() {
    let stand_in = StandIn::new();
    let archive = stand_in.archive();
    let segment = one("1");
    for (status, wanted) in [
        (503, "check that the bucket can be reached, then try again"),
        (
            403,
            "check the credentials; they need s3:GetObject, s3:PutObject and s3:ListBucket",
        ),
        (301, "check that the bucket can be reached, then try again"),
    ] {
        stand_in.fails([Fails::With(status); 8]);
        let put = archive.put(NAME, &segment).await.unwrap_err();
        let check = archive.check(NAME, &segment.sha256(), 1).await.unwrap_err();
        let asked = stand_in.asked().len();
        assert_eq!(
            asked,
            if status == 503 { 8 } else { 2 },
            "{status}: a refusal is not asked again"
        );
        stand_in.state.lock().unwrap().fails.clear();
        for error in [put, check] {
            let text = error.to_string();
            let ArchiveError::Store { remedy, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!(remedy, wanted, "{text}");
            assert!(!text.contains(SECRET) && !text.contains(KEY_ID), "{text}");
        }
    }
    // No bucket: nothing is there, and nothing can be put.
    stand_in.state.lock().unwrap().fails = [Fails::With(404); 2].into();
    let error = archive.put(NAME, &segment).await.unwrap_err();
    assert!(error.to_string().contains("make the bucket"), "{error}");
    assert!(stand_in.stored().is_empty());

    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let settings = stand_in.settings().with_endpoint(format!("http://{nobody}"));
    let archive = Archive::in_bucket("bucket", settings).unwrap();
    let error = archive.put(NAME, &segment).await.unwrap_err();
    assert!(
        error.to_string().contains("efused"),
        "the innermost reason: {error}"
    );
    assert!(matches!(error, ArchiveError::Store { .. }), "{error:?}");
}

#[tokio::test]
async fn damage_in_a_bucket_is_found() {
    let stand_in = StandIn::new();
    let archive = stand_in.archive();
    let segment = sealed(&many(2, 20, 10_000));
    archive.put(NAME, &segment).await.unwrap();
    let length = segment.bytes().len();
    let change = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = segment.bytes().to_vec();
        change(&mut bytes);
        stand_in.state.lock().unwrap().objects.insert(KEY.into(), bytes);
    };
    for at in [0, 10, 100, length / 2, length - 70, length - 1] {
        change(&|bytes| bytes[at] ^= 1);
        let error = read(&archive, NAME).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{at}: {error:?}");
        let error = archive
            .check(NAME, &segment.sha256(), length as u64)
            .await
            .unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{at}: {error:?}");
    }
    for to in [0, 1, 63, 64, 100, length - 1] {
        change(&|bytes| bytes.truncate(to));
        let error = read(&archive, NAME).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{to}: {error:?}");
    }
    // Cut, or taken away, after it was opened.
    change(&|_| {});
    let mut stored = archive.open_segment(NAME).await.unwrap();
    change(&|bytes| bytes.truncate(1_000));
    assert!(blocks(&mut stored).await.is_err());
    stand_in.state.lock().unwrap().objects.clear();
    assert_eq!(
        blocks(&mut stored).await,
        Err(ArchiveError::NotFound { name: NAME.into() })
    );
    change(&|_| {});
    assert_eq!(
        blocks(&mut stored).await.unwrap().concat().len(),
        40,
        "an error does not lose the place"
    );
}

#[test]
fn a_bucket_and_its_settings_have_limits() {
    let stand_in = StandIn::new();
    for rest in [
        "",
        "/prefix",
        "key:secret@bucket",
        "bucket?x=secret",
        "bucket/a?x=secret",
        "bucket/a/../b",
        "bucket/a//b",
    ] {
        let error = Archive::in_bucket(rest, stand_in.settings()).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Location { .. }),
            "{rest}: {error:?}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let half = AmazonS3Builder::new().with_access_key_id(KEY_ID);
    let password = stand_in.settings().with_endpoint("http://me:secret@localhost");
    for settings in [half, password] {
        let error = Archive::in_bucket("bucket", settings).unwrap_err();
        assert!(matches!(error, ArchiveError::Location { .. }), "{error:?}");
        assert!(!error.to_string().contains("secret@"), "{error}");
    }
    for rest in ["bucket", "bucket/", "bucket/a/b/", "my.bucket-1/a b/ä"] {
        Archive::in_bucket(rest, stand_in.settings()).unwrap();
    }
    let shown = format!("{:?}", stand_in.archive());
    assert_eq!(shown, "Archive(s3://bucket/old/rows)");
}
