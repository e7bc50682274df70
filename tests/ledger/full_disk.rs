//! A server whose disk is full. `scripts/test` runs it where it may mount a small file system, and counts it as skipped
//! where it may not.

use crate::cluster::{Cluster, server_user};
use crate::database::Database;
use jointo_credits::{Confirm, Consume, Error, Grant, Ledger, Metadata, Source, Written};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::io::Write;
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(0xA11CE);
const BOB: Uuid = Uuid::from_u128(0xB0B);

/// Takes all the room that is left in `folder`, until it is removed.
fn fill(folder: &std::path::Path) -> std::path::PathBuf {
    let path = folder.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![0; size];
        let full = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }
    path
}

/// An id that looks like chance (the finalizer of SplitMix64).
fn noise(n: u64) -> Uuid {
    let mix = |n: u64| {
        let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        n ^ (n >> 31)
    };
    let n = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Uuid::from_u64_pair(mix(n), mix(!n))
}

async fn sound(ledger: &Ledger, available: i64, held: i64) {
    let balance = ledger.balance(ALICE).await.unwrap();
    assert_eq!((balance.available, balance.held), (available, held));
    let verification = ledger.verify().await.unwrap();
    assert!(verification.is_clean(), "{:#?}", verification.faults);
    assert!(ledger.trial_balance().await.unwrap().is_balanced());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a small file system: scripts/test mounts one where it may"]
async fn nothing_is_lost_or_half_written() {
    #[allow(clippy::disallowed_methods)] // What `scripts/test` has mounted.
    let small: std::path::PathBuf = std::env::var("JOINTO_CREDITS_TEST_SMALL_DISK")
        .expect("run `make test`")
        .into();
    let space = small.join("space");
    std::fs::create_dir(&space).unwrap();
    if let Some((uid, gid)) = server_user() {
        std::os::unix::fs::chown(&space, Some(uid), Some(gid)).unwrap();
    }
    let cluster = Cluster::start();
    let mut admin = PgConnection::connect(&cluster.url()).await.unwrap();
    let tablespace = format!("CREATE TABLESPACE small LOCATION '{}'", space.display());
    admin.execute(AssertSqlSafe(tablespace)).await.unwrap();
    let database = Database::on_tablespace(&cluster.url(), "small").await;
    let ledger = database.ledger().await;
    for user in [ALICE, BOB] {
        ledger
            .grant(Grant::new(user, 1_000_000, Source::Purchase), None)
            .await
            .unwrap();
    }

    let ballast = fill(&small);
    // Ids that compress badly, so that each hold needs room soon: what the pages at hand have is used up first.
    let consume = |n: u32| {
        let noise = (0..200).map(|i| noise(u64::from(n) * 200 + i).to_string());
        let noise: Vec<String> = noise.collect();
        let metadata = Metadata::parse(&format!("{{\"noise\":\"{}\"}}", noise.join(" "))).unwrap();
        Consume::new(ALICE, 10).metadata(metadata)
    };
    let key = |n: u32| format!("job-{n}");
    let mut done = Vec::new();
    let refused = loop {
        let n = done.len() as u32;
        assert!(n < 10_000, "the disk is not full");
        match ledger.consume(consume(n), Some(&key(n))).await {
            Ok(hold) => done.push(hold),
            Err(error) => break error,
        }
    };
    let Error::Unavailable { outcome, remedy, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(
        (*outcome, remedy.as_str()),
        (Written::No, "make room on the server's disk")
    );
    let n = done.len() as u32;
    let held = 10 * i64::from(n);
    sound(&ledger, 1_000_000 - held, held).await;
    // Many at once: whatever is answered, the books are whole.
    let many = (n..n + 50).map(|n| (consume(n), Some(key(n)))).collect();
    let answers = ledger.consume_many(many).await.unwrap();
    assert!(answers.iter().any(Result::is_err), "the disk is not full");
    for (answer, n) in answers.into_iter().zip(n..) {
        match answer {
            Ok(hold) => done.push(hold),
            Err(error) => assert_eq!(error.code(), "unavailable", "job {n}: {error}"),
        }
    }
    let held = 10 * done.len() as i64;
    sound(&ledger, 1_000_000 - held, held).await;

    // With room again the same callers go on, each once.
    std::fs::remove_file(ballast).unwrap();
    for n in 0..n + 50 {
        let hold = ledger.consume(consume(n), Some(&key(n))).await.unwrap();
        assert_eq!(
            ledger
                .confirm(Confirm::all(hold.id), None)
                .await
                .unwrap()
                .captured,
            10
        );
    }
    for hold in done {
        assert_eq!(ledger.get_consumption(hold.id).await.unwrap().captured, 10);
    }
    sound(&ledger, 1_000_000 - 10 * (i64::from(n) + 50), 0).await;
    ledger.close().await;
}
