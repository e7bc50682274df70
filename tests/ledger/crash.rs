//! Processes and servers that die under load: what was acknowledged is there once, the rest can be repeated.

use crate::child::{Dice, ENDLESS_CALLERS, Role, account, endless_step, start};
use crate::cluster::Cluster;
use crate::database::{Database, Kind};
use jointo_credits::{Consume, Error, Grant, Ledger, Source, Status};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

async fn opening(ledger: &Ledger) {
    for n in 0..10 {
        ledger
            .grant(
                Grant::new(account(n), 100_000_000, Source::Purchase),
                Some("opening"),
            )
            .await
            .unwrap();
    }
}

async fn held(ledger: &Ledger) -> i64 {
    let mut sum = 0;
    for n in 0..10 {
        sum += ledger.balance(account(n)).await.unwrap().held;
    }
    sum
}

async fn assert_sound(ledger: &Ledger) {
    let verification = ledger.verify().await.unwrap();
    assert!(verification.is_clean(), "{:#?}", verification.faults);
    assert!(ledger.trial_balance().await.unwrap().is_balanced());
}

/// A child under load is killed, again and again.
async fn killed_under_load(kind: Kind) {
    let database = Database::fresh(kind).await;
    let ledger = database.ledger().await;
    opening(&ledger).await;
    let mut expected = 0;
    for round in 0..6 {
        let mut child = start(Role::Endless, &database, round).await;
        child.go();
        let mut acknowledged: HashMap<(u64, u64), Uuid> = HashMap::new();
        let enough = 40 + 60 * round as usize;
        while acknowledged.len() < enough {
            let line = child
                .lines
                .next_line()
                .await
                .unwrap()
                .expect("the child ended early");
            acknowledged.extend(acknowledgement(&line));
        }
        child.child.kill().await.unwrap(); // SIGKILL
        for line in child.rest().await {
            acknowledged.extend(acknowledgement(&line));
        }
        // Each caller goes on where it was: one step beyond what was acknowledged may have been under way.
        for caller in 0..ENDLESS_CALLERS {
            let steps = (0..)
                .take_while(|n| acknowledged.contains_key(&(caller, *n)))
                .count() as u64;
            for n in 0..=steps {
                let (consume, key) = endless_step(round, caller, n);
                expected += consume.amount;
                let hold = ledger.consume(consume.clone(), Some(&key)).await.unwrap();
                if let Some(id) = acknowledged.get(&(caller, n)) {
                    assert_eq!(hold.id, *id, "an acknowledged command is there, and is the same");
                }
                assert_eq!(ledger.consume(consume, Some(&key)).await.unwrap(), hold);
            }
        }
        assert_eq!(
            held(&ledger).await,
            expected,
            "nothing is there twice, and nothing is missing"
        );
        assert_sound(&ledger).await;
    }
    ledger.close().await;
}

fn acknowledgement(line: &str) -> Option<((u64, u64), Uuid)> {
    let mut words = line.strip_prefix("ack ")?.split(' ');
    Some((
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?),
        words.next()?.parse().ok()?,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_under_load_on_postgres() {
    killed_under_load(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_under_load_on_sqlite() {
    killed_under_load(Kind::SqliteFile).await;
}

/// Callers go on while the server dies and comes back; the engine reconnects and finds out what had landed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_stopped_immediately_under_load() {
    let cluster = Cluster::start();
    let database = Database::on(&cluster.url()).await;
    let ledger = database
        .open(database.settings().patience(Duration::from_secs(60)))
        .await;
    opening(&ledger).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..24u64 {
        let (ledger, stop) = (ledger.clone(), Arc::clone(&stop));
        callers.spawn(async move {
            let mut dice = Dice::new(caller);
            let mut sum = 0;
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let consume = Consume::new(account(dice.roll(10)), dice.roll(9) as i64 + 1);
                // Half of the callers have no key: the engine alone must do each of theirs once.
                let key = (caller % 2 == 0).then(|| format!("{caller}-{n}"));
                sum += consume.amount;
                let mut tries = 0;
                loop {
                    match ledger.consume(consume.clone(), key.as_deref()).await {
                        Ok(hold) => {
                            assert_eq!(hold.status, Status::Pending);
                            break;
                        }
                        Err(Error::Unavailable { .. }) if key.is_some() && tries < 100 => tries += 1,
                        Err(error) => panic!("caller {caller}: {error}"),
                    }
                }
            }
            sum
        });
    }
    for _ in 0..5 {
        let before = held(&ledger).await;
        while held(&ledger).await < before + 300 {
            tokio::task::yield_now().await;
        }
        cluster.stop_immediately();
        cluster.up();
    }
    stop.store(true, Ordering::Relaxed);
    let asked: i64 = callers.join_all().await.into_iter().sum();
    assert_eq!(held(&ledger).await, asked);
    assert_sound(&ledger).await;
    ledger.close().await;
    drop(database);
}

/// A database that stays away: callers are told after their patience, and nothing was done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stays_away() {
    let cluster = Cluster::start();
    let database = Database::on(&cluster.url()).await;
    let ledger = database
        .open(database.settings().patience(Duration::from_millis(300)))
        .await;
    opening(&ledger).await;
    cluster.stop_immediately();
    let error = ledger
        .consume(Consume::new(account(1), 5), Some("k"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), "unavailable", "{error}");
    assert_eq!(
        ledger.balance(account(1)).await.unwrap_err().code(),
        "unavailable"
    );
    cluster.up();
    let hold = ledger
        .consume(Consume::new(account(1), 5), Some("k"))
        .await
        .unwrap();
    assert_eq!(
        ledger
            .consume(Consume::new(account(1), 5), Some("k"))
            .await
            .unwrap(),
        hold
    );
    assert_eq!(ledger.balance(account(1)).await.unwrap().held, 5);
    ledger.close().await;
}
