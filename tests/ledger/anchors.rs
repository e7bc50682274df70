//! Anchors: made, chained, compared with, proved with. What they show of tampering: `tampering.rs`.

use crate::child::{ALICE, Role, account, start};
use crate::database::{self, Database, Kind, START};
use crate::on_every_database;
use crate::tampering::{anchor, key, trust};
use jointo_credits::{
    Anchor, AnchorKey, Cleanup, Consume, Error, FaultKind, Grant, Ledger, ManualClock, PublicKey, Signing,
    Source, Trust, check_proof,
};
use std::time::Duration;
use uuid::Uuid;

const BOB: Uuid = Uuid::from_u128(0xB0B);
/// For tests only.
const OTHER_KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
     MC4CAQAwBQYDK2VwBCIEIEKDC605vyc7Z46AHQectmZKxwlF3e+fyHsoyfuWmpiR\n\
     -----END PRIVATE KEY-----\n";
const DAY: Duration = Duration::from_secs(86_400);

async fn grant(ledger: &Ledger, user_id: Uuid) {
    ledger
        .grant(Grant::new(user_id, 5, Source::Bonus), None)
        .await
        .unwrap();
}

async fn is_clean(ledger: &Ledger, anchor: &Anchor, archive: Option<&str>) -> jointo_credits::Verification {
    let found = ledger.verify_anchored(anchor, &trust(), archive).await.unwrap();
    assert!(found.is_clean(), "{:#?}", found.faults);
    found
}

fn problem(result: Result<impl std::fmt::Debug, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code(), "validation", "{error}");
    error.to_string()
}

on_every_database! {
    async fn each_anchor_covers_everything_before_it(database: Database) {
        let ledger = database.ledger().await;
        let empty = anchor(&ledger).await;
        assert_eq!((empty.number, empty.accounts, empty.available, empty.previous), (1, 0, 0, None));
        for n in 0..50 {
            grant(&ledger, account(n)).await;
        }
        let first = anchor(&ledger).await;
        assert_eq!((first.number, first.accounts, first.available, first.held), (2, 50, 250, 0));
        assert_eq!(first.previous, Some(empty.hash()));
        ledger.consume(Consume::new(account(7), 2), None).await.unwrap();
        grant(&ledger, BOB).await;
        let second = anchor(&ledger).await;
        assert_eq!((second.accounts, second.available, second.held), (51, 253, 2));
        // Whether it looks at all accounts or at those that changed, the tree is the same.
        let whole = ledger.anchor(&Signing::With(key()), true).await.unwrap();
        assert_eq!((whole.root, whole.number), (second.root, 4));
        assert_ne!(first.root, second.root);
        for (anchor, accounts) in [(&empty, 0), (&first, 50), (&second, 51), (&whole, 51)] {
            let text = anchor.to_string();
            assert_eq!(Anchor::parse(&text).unwrap(), *anchor);
            assert_eq!(is_clean(&ledger, anchor, None).await.anchored, accounts);
        }
        ledger.close().await;
    }
}

on_every_database! {
    async fn only_the_anchors_of_this_ledger_and_this_key_are_believed(database: Database) {
        let ledger = database.ledger().await;
        grant(&ledger, ALICE).await;
        let made = anchor(&ledger).await;
        let other = Database::fresh(Kind::Memory).await.ledger().await;
        assert!(problem(other.verify_anchored(&made, &trust(), None).await).contains("is of another ledger"));
        assert!(problem(made.check(&Trust::Unsigned)).contains("is signed"));
        let stranger = PublicKey::parse(&"ab".repeat(32)).unwrap();
        assert!(problem(made.check(&Trust::Key(stranger))).contains("another key"));
        let unsigned = ledger.anchor(&Signing::Unsigned, false).await.unwrap();
        assert!(problem(unsigned.check(&trust())).contains("is not signed"));
        let found = ledger.verify_anchored(&unsigned, &Trust::Unsigned, None).await.unwrap();
        assert!(found.is_clean(), "{found:?}");
        // Every byte counts.
        let text = made.to_string();
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let believed = Anchor::parse(&changed).and_then(|anchor| anchor.check(&trust()));
            assert!(believed.is_err(), "byte {place}: {changed}");
        }
        ledger.close().await;
        other.close().await;
    }
}

#[test]
fn keys_are_read_as_openssl_writes_them() {
    let public = key().public();
    assert_eq!(PublicKey::parse(&public.to_string()).unwrap(), public);
    for wrong in [
        "",
        "abc",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    ] {
        assert!(problem(PublicKey::parse(wrong)).contains("openssl"));
        let refused = problem(AnchorKey::from_pem(wrong));
        assert!(refused.contains("openssl") && !refused.contains("AAAA"));
    }
}

on_every_database! {
    async fn an_account_is_proved_to_whoever_has_only_the_anchor(database: Database) {
        let ledger = database.ledger().await;
        for n in 0..300 {
            grant(&ledger, account(n)).await;
        }
        let hold = ledger.consume(Consume::new(ALICE, 1).reference("早"), None).await;
        hold.unwrap_err();
        grant(&ledger, ALICE).await;
        ledger.consume(Consume::new(ALICE, 2), Some("job")).await.unwrap();
        let made = anchor(&ledger).await;
        grant(&ledger, ALICE).await;
        anchor(&ledger).await;
        let text = made.to_string();
        let proof = ledger.prove(ALICE, &made, None).await.unwrap();
        let proved = check_proof(&text, &proof, &trust()).unwrap();
        assert_eq!((proved.user_id, proved.first_seq, proved.entries), (ALICE, 1, 2));
        assert_eq!((proved.last.seq, proved.last.available, proved.last.held), (2, 3, 2));
        let absent = ledger.prove(BOB, &made, None).await.unwrap_err();
        assert_eq!(absent.code(), "not_found");
        // Nothing in it can be changed, left out or said twice.
        let lines: Vec<&str> = proof.lines().collect();
        for changed in [
            proof.replace("\"available\":3", "\"available\":4"),
            proof.replace(&ALICE.to_string(), &BOB.to_string()),
            proof.replace("\"place\":0", "\"place\":1"),
            lines[..2].join("\n"),
            [lines[0], lines[2]].join("\n"),
            [lines[0], lines[1], lines[1], lines[2]].join("\n"),
            lines[0].into(),
            String::new(),
        ] {
            problem(check_proof(&text, &changed, &trust()));
        }
        let others = ledger.anchor(&Signing::With(key()), false).await.unwrap();
        assert!(problem(check_proof(&others.to_string(), &proof, &trust())).contains("another anchor"));
        ledger.close().await;
    }
}

on_every_database! {
    async fn anchors_at_once_are_one_chain(database: Database) {
        let ledger = database.ledger().await;
        for n in 0..20 {
            grant(&ledger, account(n)).await;
        }
        let same = match database.kind {
            Kind::Memory | Kind::SqliteMemory => ledger.clone(),
            _ => database.ledger().await,
        };
        let traffic = async {
            for n in 0..200 {
                grant(&same, account(n % 30)).await;
            }
        };
        let make = |ledger: Ledger| async move {
            let mut made = Vec::new();
            for _ in 0..5 {
                made.push(anchor(&ledger).await);
            }
            made
        };
        let (mut made, more, ()) = tokio::join!(make(ledger.clone()), make(same.clone()), traffic);
        made.extend(more);
        made.sort_by_key(|anchor| anchor.number);
        let numbers: Vec<i64> = made.iter().map(|anchor| anchor.number).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
        for pair in made.windows(2) {
            assert_eq!(pair[1].previous, Some(pair[0].hash()));
            assert!(pair[1].accounts >= pair[0].accounts);
        }
        for anchor in &made {
            is_clean(&ledger, anchor, None).await;
        }
        same.close().await;
        ledger.close().await;
    }
}

on_every_database! {
    async fn what_leaves_for_the_archive_is_still_anchored(database: Database) {
        let clock = ManualClock::starting_at(START);
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        for user_id in [ALICE, ALICE, BOB] {
            grant(&ledger, user_id).await;
        }
        let old = anchor(&ledger).await;
        clock.set(START.plus(DAY * 50));
        grant(&ledger, ALICE).await;
        let archive = tempfile::tempdir().unwrap();
        let archive = archive.path().display().to_string();
        let cleanup = Cleanup { older_than: DAY * 40, archive: archive.clone(), limit: None, dry_run: false };
        assert_eq!(ledger.cleanup_transactions(&cleanup).await.unwrap().removed, 3);
        // A checkpoint at the anchored entry has its hash; behind it only the archive has.
        let found = is_clean(&ledger, &old, None).await;
        assert_eq!((found.anchored, found.anchored_archived), (2, 0));
        let new = anchor(&ledger).await;
        clock.set(START.plus(DAY * 100));
        grant(&ledger, ALICE).await;
        assert_eq!(ledger.cleanup_transactions(&cleanup).await.unwrap().removed, 1);
        let newest = anchor(&ledger).await;
        for (anchor, left) in [(&old, 1), (&new, 0), (&newest, 0)] {
            assert_eq!(is_clean(&ledger, anchor, None).await.anchored_archived, left);
            assert_eq!(is_clean(&ledger, anchor, Some(&archive)).await.anchored_archived, 0);
        }
        let whole = ledger.prove(ALICE, &newest, Some(&archive)).await.unwrap();
        let proved = check_proof(&newest.to_string(), &whole, &trust()).unwrap();
        assert_eq!((proved.first_seq, proved.entries, proved.last.available), (1, 4, 20));
        let rest = ledger.prove(ALICE, &newest, None).await.unwrap();
        let proved = check_proof(&newest.to_string(), &rest, &trust()).unwrap();
        assert_eq!((proved.first_seq, proved.entries, proved.last.available), (4, 1, 20));
        let gone = ledger.prove(BOB, &newest, None).await.unwrap_err();
        assert!(gone.to_string().contains("archive"), "{gone}");
        let back = ledger.prove(BOB, &newest, Some(&archive)).await.unwrap();
        assert_eq!(check_proof(&newest.to_string(), &back, &trust()).unwrap().entries, 1);
        ledger.close().await;
    }
}

on_every_database! {
    async fn old_anchors_can_be_given_up(database: Database) {
        let ledger = database.ledger().await;
        let mut made = Vec::new();
        for n in 0..6 {
            grant(&ledger, ALICE).await;
            grant(&ledger, account(n)).await;
            made.push(anchor(&ledger).await);
        }
        assert_eq!(ledger.prune_anchors(3).await.unwrap(), 3);
        assert_eq!(ledger.prune_anchors(3).await.unwrap(), 0);
        for anchor in &made[3..] {
            is_clean(&ledger, anchor, None).await;
        }
        let found = ledger.verify_anchored(&made[2], &trust(), None).await.unwrap();
        assert!(found.faults.iter().all(|fault| fault.kind == FaultKind::Anchor), "{:#?}", found.faults);
        assert!(found.faults[0].detail.contains("does not know anchor 3"));
        is_clean(&ledger, &anchor(&ledger).await, None).await;
        ledger.close().await;
    }
}

on_every_database! {
    /// The next one can't tell by its time what was written since, and looks at everything.
    async fn an_anchor_by_a_clock_that_was_ahead_hides_nothing(database: Database) {
        let clock = ManualClock::starting_at(START.plus(DAY * 366));
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        grant(&ledger, ALICE).await;
        assert_eq!(anchor(&ledger).await.available, 5);
        clock.set(START);
        grant(&ledger, ALICE).await;
        for hours in [1_u32, 5] {
            grant(&ledger, BOB).await;
            clock.set(START.plus(Duration::from_secs(3_600) * hours));
            let made = anchor(&ledger).await;
            assert_eq!(made.available, ledger.trial_balance().await.unwrap().available);
            is_clean(&ledger, &made, None).await;
        }
        ledger.close().await;
    }
}

/// In steady state an anchor reads and writes what changed, however many accounts there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anchor_writes_what_changed() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    for n in 0..2_000 {
        grant(&ledger, account(n)).await;
    }
    anchor(&ledger).await;
    for n in 0..5 {
        grant(&ledger, account(n)).await;
    }
    anchor(&ledger).await;
    let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(
        count("SELECT count(*) FROM credit_anchor_leaves WHERE number = 1"),
        2_000
    );
    assert_eq!(
        count("SELECT count(*) FROM credit_anchor_leaves WHERE number = 2"),
        5
    );
    assert_eq!(
        count("SELECT count(*) FROM credit_anchor_leaves WHERE until = 2"),
        5
    );
    // Found by the journal's own order: nothing but the five entries is read.
    let plan: String = connection
        .query_row(
            "EXPLAIN QUERY PLAN SELECT DISTINCT user_id FROM credit_transactions NOT INDEXED WHERE rowid > 5",
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("INTEGER PRIMARY KEY (rowid>?)"), "{plan}");
    ledger.close().await;
}

/// A copy that was made before the anchor is told from the books that were anchored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_is_found() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    grant(&ledger, ALICE).await;
    let before = anchor(&ledger).await;
    let copy = database.folder().join("copy.db");
    let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    connection
        .execute("VACUUM INTO ?1", [copy.display().to_string()])
        .unwrap();
    grant(&ledger, ALICE).await;
    let after = anchor(&ledger).await;
    ledger.close().await;
    let restored = Ledger::connect(&format!("sqlite:///{}", copy.display()))
        .await
        .unwrap();
    is_clean(&restored, &before, None).await;
    let found = restored.verify_anchored(&after, &trust(), None).await.unwrap();
    assert!(
        found.faults[0].detail.contains("does not know anchor 2"),
        "{:#?}",
        found.faults
    );
    // The books that go on from the copy are another history with the same number.
    grant(&restored, BOB).await;
    let fork = anchor(&restored).await;
    assert_eq!(fork.number, after.number);
    let found = restored.verify_anchored(&after, &trust(), None).await.unwrap();
    assert!(
        found.faults[0].detail.contains("another anchor 2"),
        "{:#?}",
        found.faults
    );
    restored.close().await;
}

/// A process that is killed while it makes anchors leaves a whole one or none.
async fn killed(kind: Kind) {
    let database = Database::fresh(kind).await;
    let ledger = database.ledger().await;
    for n in 0..300 {
        grant(&ledger, account(n)).await;
    }
    for round in 0..3 {
        let mut child = start(Role::Anchors, &database, round).await;
        child.go();
        child.until("anchored").await;
        child.child.kill().await.unwrap();
        let made = anchor(&ledger).await;
        is_clean(&ledger, &made, None).await;
    }
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_a_whole_anchor_or_none_on_sqlite() {
    killed(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_leaves_a_whole_anchor_or_none_on_postgres() {
    killed(Kind::Postgres).await;
}

on_every_database! {
    /// What was written after an old anchor may have left before the next one is made.
    async fn anchors_far_apart_miss_nothing(database: Database) {
        let clock = database::clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let archive = tempfile::tempdir().unwrap();
        grant(&ledger, ALICE).await;
        anchor(&ledger).await;
        for _ in 0..3 {
            clock.advance(DAY);
            grant(&ledger, ALICE).await;
            grant(&ledger, BOB).await;
            clock.advance(DAY * 45);
            let cleanup = Cleanup {
                older_than: DAY * 31,
                archive: archive.path().display().to_string(),
                limit: None,
                dry_run: false,
            };
            ledger.cleanup_transactions(&cleanup).await.unwrap();
            let made = anchor(&ledger).await;
            is_clean(&ledger, &made, None).await;
        }
        ledger.close().await;
    }
}

on_every_database! {
    /// Whoever has no key can't take the place of anchors that were signed with it.
    async fn a_signed_anchor_goes_on_from_one_of_its_key(database: Database) {
        let ledger = database.ledger().await;
        grant(&ledger, ALICE).await;
        // Before the first with a key there may be others.
        ledger.anchor(&Signing::Unsigned, false).await.unwrap();
        anchor(&ledger).await;
        anchor(&ledger).await;
        ledger.anchor(&Signing::Unsigned, false).await.unwrap();
        for all in [false, true] {
            let told = ledger.anchor(&Signing::With(key()), all).await.unwrap_err().to_string();
            assert!(told.contains("is not signed with the key of others before it"), "{told}");
        }
        let other = AnchorKey::from_pem(OTHER_KEY).unwrap();
        let trust = Trust::Key(other.public());
        let made = ledger.anchor(&Signing::With(other), false).await.unwrap();
        assert!(ledger.verify_anchored(&made, &trust, None).await.unwrap().is_clean());
        ledger.close().await;
    }
}
