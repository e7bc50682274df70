//! How often a command goes to the server and back, seen by a proxy that reads what the ledger sends.

use crate::child::{ALICE, account};
use crate::database::{Database, Kind};
use jointo_credits::{Confirm, Consume, Grant, Settings, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Messages that clients sent (PostgreSQL's protocol, "Message Formats").
#[derive(Default)]
struct Sent {
    /// `Sync` and `Query`: the client waits for what comes back.
    round_trips: AtomicUsize,
    /// `Query`: a statement as text, such as BEGIN.
    simple: AtomicUsize,
    /// `Parse`: a statement that was not prepared yet.
    parsed: AtomicUsize,
    executed: AtomicUsize,
}

#[derive(Debug, PartialEq)]
struct Counts {
    round_trips: usize,
    simple: usize,
    parsed: usize,
    executed: usize,
}

impl Sent {
    /// Since the last time.
    fn take(&self) -> Counts {
        let take = |n: &AtomicUsize| n.swap(0, Ordering::SeqCst);
        Counts {
            round_trips: take(&self.round_trips),
            simple: take(&self.simple),
            parsed: take(&self.parsed),
            executed: take(&self.executed),
        }
    }

    /// Passes on what a client sends, and counts it before the server can answer.
    async fn pass(self: Arc<Self>, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> std::io::Result<()> {
        let mut started = false;
        loop {
            let mut message = Vec::new();
            if started {
                message.push(from.read_u8().await?);
                match message[0] {
                    b'S' => drop(self.round_trips.fetch_add(1, Ordering::SeqCst)),
                    b'Q' => {
                        self.round_trips.fetch_add(1, Ordering::SeqCst);
                        self.simple.fetch_add(1, Ordering::SeqCst);
                    }
                    b'P' => drop(self.parsed.fetch_add(1, Ordering::SeqCst)),
                    b'E' => drop(self.executed.fetch_add(1, Ordering::SeqCst)),
                    _ => {}
                }
            }
            let length = from.read_u32().await?;
            message.extend(length.to_be_bytes());
            let body = message.len();
            message.resize(body + length as usize - 4, 0);
            from.read_exact(&mut message[body..]).await?;
            // Before the start-up message (version 3.0) there may be a request for TLS.
            started = started || message[body..].starts_with(&[0, 3, 0, 0]);
            to.write_all(&message).await?;
        }
    }
}

/// A proxy before the server at `url`; the URL that leads through it.
async fn proxy(url: &str, sent: &Arc<Sent>) -> String {
    let (server, database) = url.rsplit_once('/').unwrap();
    let (user, address) = server.rsplit_once('@').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sent, address) = (Arc::clone(sent), address.to_owned());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&address).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (from_client, mut to_client) = client.into_split();
            let (mut from_server, to_server) = server.into_split();
            // Both end when one side hangs up.
            tokio::spawn(Arc::clone(&sent).pass(from_client, to_server));
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    format!("{user}@127.0.0.1:{port}/{database}")
}

/// So many, each prepared before, and a round trip by itself.
fn statements(count: usize) -> Counts {
    Counts {
        round_trips: count,
        simple: 0,
        parsed: 0,
        executed: count,
    }
}

/// On one thread, so that the committer does not begin before all of a batch is in its queue.
#[tokio::test]
async fn a_batch_of_any_size_is_one_load_and_one_append_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let sent = Arc::new(Sent::default());
    let url = proxy(&database.url, &sent).await;
    let settings = Settings::new(url).committers(1).account_memory_bytes(0);
    let ledger = database.open(settings).await;
    let two_statements = statements(2);
    for n in 0..50 {
        ledger
            .grant(Grant::new(account(n), 100, Source::Purchase), None)
            .await
            .unwrap();
    }
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let batch = |round: u64| -> Vec<_> {
        let key = move |n| Some(format!("{round}-{n}"));
        (0..50)
            .map(|n| (Consume::new(account(n), 1).feature("text"), key(n)))
            .collect()
    };
    // The first of each kind prepares the statements.
    let hold = ledger
        .consume(Consume::new(ALICE, 1).feature("text"), Some("first"))
        .await
        .unwrap();
    ledger.confirm(Confirm::amount(hold.id, 1), None).await.unwrap();
    ledger.consume_many(batch(0)).await.unwrap();

    sent.take();
    let hold = ledger
        .consume(Consume::new(ALICE, 1).feature("text"), Some("second"))
        .await
        .unwrap();
    assert_eq!(sent.take(), two_statements, "consume");
    ledger.confirm(Confirm::amount(hold.id, 1), None).await.unwrap();
    assert_eq!(sent.take(), two_statements, "confirm");
    for consumed in ledger.consume_many(batch(1)).await.unwrap() {
        consumed.unwrap();
    }
    assert_eq!(sent.take(), two_statements, "fifty consumes at once");
    ledger.close().await;
}

/// What a committer knows it does not read; what it refuses it has read.
#[tokio::test]
async fn accounts_that_are_kept_need_no_load_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let sent = Arc::new(Sent::default());
    let url = proxy(&database.url, &sent).await;
    let ledger = database.open(Settings::new(url).committers(1)).await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let consume = async |amount, key: &str| {
        let consume = Consume::new(ALICE, amount).feature("text");
        ledger.consume(consume, Some(key)).await
    };
    let confirm = async |id| ledger.confirm(Confirm::amount(id, 1), None).await;
    // The first of each kind prepares the statements.
    let hold = consume(1, "first").await.unwrap();
    confirm(hold.id).await.unwrap();
    confirm(hold.id).await.unwrap();
    consume(1_000, "never").await.unwrap_err();
    consume(1, "first").await.unwrap();
    // A write that found something else than was kept: the account is read the next time.
    for key in ["again", "and again"] {
        consume(1, key).await.unwrap();
    }

    sent.take();
    let hold = consume(1, "second").await.unwrap();
    assert_eq!(sent.take(), statements(1), "consume: an append");
    confirm(hold.id).await.unwrap();
    assert_eq!(sent.take(), statements(1), "confirm: an append");
    confirm(hold.id).await.unwrap();
    assert_eq!(sent.take(), statements(1), "confirm of a settled hold: a load");
    let hold = consume(1, "third").await.unwrap();
    assert_eq!(sent.take(), statements(1), "consume: an append");
    assert_eq!(
        consume(1_000, "fourth").await.unwrap_err().code(),
        "insufficient_credits"
    );
    assert_eq!(
        sent.take(),
        statements(1),
        "refused: a load, which only compares, and nothing to append"
    );
    assert_eq!(consume(1, "third").await.unwrap().id, hold.id);
    assert_eq!(
        sent.take().round_trips,
        2,
        "a replay is looked up: its key, and the hold"
    );
    ledger.close().await;
}
