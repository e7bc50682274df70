//! A ledger that is closed, or dropped, gives back its threads and descriptors. In a process of its own: what other tests
//! have open would be counted too.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use jointo_credits::{Grant, Ledger, Source};
use std::time::Duration;
use uuid::Uuid;

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count()
}

fn threads_and_descriptors() -> (usize, usize) {
    (count("task"), count("fd"))
}

/// What is left when everything has had the time to end.
async fn settled(at_most: (usize, usize)) -> (usize, usize) {
    for _ in 0..1_000 {
        let (threads, descriptors) = threads_and_descriptors();
        if threads <= at_most.0 && descriptors <= at_most.1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    threads_and_descriptors()
}

async fn used(url: &str) -> Ledger {
    let ledger = Ledger::connect(url).await.unwrap();
    ledger.migrate().await.unwrap();
    let user = Uuid::from_u128(7);
    ledger
        .grant(Grant::new(user, 5, Source::Purchase), None)
        .await
        .unwrap();
    ledger.seed_catalog().await.unwrap();
    assert!(ledger.balance(user).await.unwrap().available >= 5);
    ledger
}

#[test]
fn a_ledger_gives_back_what_it_took() {
    let folder = tempfile::TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Those that block are as many from the first ledger on.
        .max_blocking_threads(1)
        .thread_keep_alive(Duration::from_secs(3_600))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let file = format!("sqlite:///{}", folder.path().join("credits.db").display());
        for url in ["memory:", "sqlite::memory:", &file] {
            used(url).await.close().await;
            let before = threads_and_descriptors();
            for round in 0..20 {
                let ledger = used(url).await;
                if round % 2 == 0 {
                    ledger.close().await;
                }
            }
            // The first ledger's thread may have been counted while it was ending.
            let after = settled(before).await;
            assert!(
                after.0 <= before.0 && after.1 <= before.1,
                "{url}: {before:?}, then {after:?}"
            );
        }
    });
}
