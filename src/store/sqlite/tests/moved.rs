//! Files that are deleted, moved or replaced while they are open: nothing is acknowledged that nobody will find again, and
//! nothing is told that is no longer so.

#![cfg(unix)]

use super::*;
use std::fs;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

fn away(path: &Path) {
    fs::rename(path, beside(path, ".away")).unwrap();
}

/// Puts a copy in the file's place: what has the same content, and is another file.
fn replace(path: &Path) {
    let copy = beside(path, ".copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(copy, path).unwrap();
}

/// What can happen to the files of `credits.db`, and what is told of it.
type Harm = (&'static str, fn(&Path), &'static str);

const HARMS: [Harm; 11] = [
    ("deleted", remove, "was deleted or moved"),
    ("moved", away, "was deleted or moved"),
    (
        "moved with all it has",
        |path| {
            ["", "-wal", "-shm"]
                .iter()
                .for_each(|suffix| away(&beside(path, suffix)))
        },
        "was deleted or moved",
    ),
    (
        "its folder moved",
        |path| {
            let folder = path.parent().unwrap();
            fs::rename(folder, beside(folder, ".away")).unwrap();
        },
        "was deleted or moved",
    ),
    (
        "replaced beside the old log",
        replace,
        "beside it is the old one's log",
    ),
    (
        "emptied",
        |path| {
            fs::OpenOptions::new()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(0)
                .unwrap()
        },
        "was emptied",
    ),
    (
        "its log deleted",
        |path| remove(&beside(path, "-wal")),
        "write-ahead log",
    ),
    (
        "its log replaced",
        |path| replace(&beside(path, "-wal")),
        "write-ahead log",
    ),
    (
        "its log moved",
        |path| away(&beside(path, "-wal")),
        "write-ahead log",
    ),
    (
        "its index deleted",
        |path| remove(&beside(path, "-shm")),
        "index of the log",
    ),
    (
        "its index replaced",
        |path| replace(&beside(path, "-shm")),
        "index of the log",
    ),
];

/// In a folder of its own, which can be moved.
async fn in_inner_folder() -> (TempDir, PathBuf, SqliteStore) {
    let folder = TempDir::new().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let path = inner.join("credits.db");
    let store = open(&path);
    store.migrate().await.unwrap();
    (folder, path, store)
}

#[tokio::test]
async fn what_goes_into_a_file_that_is_gone_is_not_acknowledged() {
    for (name, harm, told) in HARMS {
        let (_folder, path, store) = in_inner_folder().await;
        let mut committer = store.committer();
        run(&mut committer, grant(5)).await.unwrap();
        assert_eq!(figures(&store).await.available, 5);
        let mut snapshot = store.snapshot().await.unwrap();
        // One that was decided on what was kept, without a load.
        let (kept, _) = decided(&mut committer, consume(1)).await.unwrap();
        committer.append(&Writes::default()).await.unwrap();
        harm(&path);
        for round in 0..2 {
            let (problem, _) = failed(committer.append(&kept).await);
            assert!(problem.contains(told), "{name}, a write, {round}: {problem}");
            let (problem, _) = failed(store.account(USER, T0, Extent::WHOLE).await.map(|_| ()));
            assert!(problem.contains(told), "{name}, a read, {round}: {problem}");
            let refused = match committer.load(&needs(USER)).await {
                Ok(_) => committer.append(&Writes::default()).await.map(drop),
                Err(error) => Err(error),
            };
            let (problem, _) = failed(refused);
            assert!(problem.contains(told), "{name}, a refusal, {round}: {problem}");
            let (problem, _) = failed(committer.reconnect().await);
            assert!(problem.contains(told), "{name}, anew, {round}: {problem}");
        }
        let (problem, _) = failed(snapshot.accounts(None, 10).await.map(|_| ()));
        assert!(problem.contains(told), "{name}, a snapshot: {problem}");
        failed(store.snapshot().await.map(|_| ()));
        failed(
            store
                .change_catalogue(CatalogueChange::default())
                .await
                .map(|_| ()),
        );
    }
}

#[tokio::test]
async fn a_file_that_goes_during_the_commit_leaves_the_outcome_unknown() {
    for (name, harm, told) in HARMS {
        let (_folder, path, store) = in_inner_folder().await;
        let mut committer = store.committer();
        run(&mut committer, grant(5)).await.unwrap();
        // Without the look before the commit: as if it happened right after that.
        let lease = committer.lease().unwrap();
        let connection = lease.connection().unwrap();
        connection
            .execute_batch("BEGIN IMMEDIATE; UPDATE credit_migrations SET applied_at = applied_at")
            .unwrap();
        harm(&path);
        committer.commit(connection).unwrap();
        let moved = lease.check_place().unwrap_err().unknown();
        assert!(
            matches!(&moved, StoreError::Unknown(why) if why.contains(told)),
            "{name}: {moved:?}"
        );
    }
}

#[tokio::test]
async fn what_is_back_is_used_again_and_nothing_is_lost() {
    for suffixes in [&[""][..], &["-wal"], &["-shm"], &["", "-wal", "-shm"]] {
        let (_folder, path, store) = in_inner_folder().await;
        let mut committer = store.committer();
        run(&mut committer, grant(5)).await.unwrap();
        let files = || suffixes.iter().map(|suffix| beside(&path, suffix));
        files().for_each(|file| away(&file));
        failed(run(&mut committer, grant(5)).await);
        failed(store.account(USER, T0, Extent::WHOLE).await.map(|_| ()));
        files().for_each(|file| fs::rename(beside(&file, ".away"), file).unwrap());
        run(&mut committer, grant(5)).await.unwrap();
        assert_eq!(figures(&store).await.available, 10, "{suffixes:?}");
    }
}

#[tokio::test]
async fn another_database_is_opened_when_it_stands_by_itself() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&subject.store).await.available, 5);
    let (kept, _) = decided(&mut committer, consume(1)).await.unwrap();
    committer.append(&Writes::default()).await.unwrap();
    // A backup of before.
    let backup = in_folder().await;
    run(&mut backup.store.committer(), grant(3)).await.unwrap();
    backup.store.close().await.unwrap();
    fs::rename(backup.path(), subject.path()).unwrap();
    let (problem, remedy) = failed(committer.append(&kept).await);
    assert!(problem.contains("beside it is the old one's log"), "{problem}");
    assert!(remedy.contains("move its -wal and -shm away"), "{remedy}");
    for suffix in ["-wal", "-shm"] {
        remove(&beside(&subject.path(), suffix));
    }
    // Nothing of it was done; the committer connects anew, and finds the account changed.
    let lost = committer.append(&kept).await;
    assert!(matches!(lost, Err(StoreError::Lost(_))), "{lost:?}");
    committer.reconnect().await.unwrap();
    assert_eq!(committer.append(&kept).await.unwrap(), [USER]);
    assert_eq!(figures(&subject.store).await.available, 3);
    run(&mut committer, grant(4)).await.unwrap();
    assert_eq!(figures(&subject.store).await.available, 7);
}

#[tokio::test]
async fn a_link_that_leads_elsewhere_is_another_database() {
    let (one, two) = (in_folder().await, in_folder().await);
    run(&mut two.store.committer(), grant(3)).await.unwrap();
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("credits.db");
    std::os::unix::fs::symlink(one.path(), &link).unwrap();
    let store = open(&link);
    let mut committer = store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&store).await.available, 5);
    remove(&link);
    std::os::unix::fs::symlink(two.path(), &link).unwrap();
    let told = run(&mut committer, grant(5)).await;
    assert!(matches!(told, Err(StoreError::Lost(_))), "{told:?}");
    committer.reconnect().await.unwrap();
    run(&mut committer, grant(4)).await.unwrap();
    assert_eq!(figures(&store).await.available, 7);
    assert_eq!(figures(&one.store).await.available, 5);
}

#[tokio::test]
async fn a_database_with_two_names_is_not_opened() {
    let subject = in_folder().await;
    run(&mut subject.store.committer(), grant(5)).await.unwrap();
    subject.store.close().await.unwrap();
    let other = beside(&subject.path(), ".other");
    fs::hard_link(subject.path(), &other).unwrap();
    for name in [&subject.path(), &other] {
        let store = open(name);
        let (problem, remedy) = failed(store.account(USER, T0, Extent::WHOLE).await.map(drop));
        assert!(problem.contains("another name (a hard link)"), "{problem}");
        assert!(remedy.contains("remove the other name"), "{remedy}");
        failed(store.migrate().await);
        failed(run(&mut store.committer(), grant(5)).await);
    }
    remove(&other);
    let again = open(subject.path());
    run(&mut again.committer(), grant(5)).await.unwrap();
    assert_eq!(figures(&again).await.available, 10);
}

#[tokio::test]
async fn the_log_of_a_database_that_is_gone_is_not_deleted() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    // As a crash leaves it.
    let left: Vec<(PathBuf, Vec<u8>)> = ["", "-wal"]
        .map(|suffix| beside(&subject.path(), suffix))
        .map(|file| (file.clone(), fs::read(&file).unwrap()))
        .into();
    drop(committer);
    subject.store.close().await.unwrap();
    for empty in [false, true] {
        let put_back = || {
            left.iter()
                .for_each(|(file, content)| fs::write(file, content).unwrap())
        };
        put_back();
        remove(&subject.path());
        if empty {
            fs::write(subject.path(), "").unwrap();
        }
        let (problem, remedy) = failed(open(subject.path()).migrate().await);
        assert!(problem.contains("beside it the log"), "{problem}");
        assert!(remedy.contains("put the database back"), "{remedy}");
        assert_eq!(fs::read(&left[1].0).unwrap(), left[1].1, "the log is as it was");
        put_back();
        let again = open(subject.path());
        assert_eq!(figures(&again).await.available, 5);
        again.close().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_closes_last_saves_what_was_in_a_log_that_is_gone() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    figures(&subject.store).await;
    remove(&beside(&subject.path(), "-wal"));
    let (_, remedy) = failed(run(&mut committer, grant(5)).await);
    assert!(
        remedy.contains("the last one saves what was in the log"),
        "{remedy}"
    );
    // Nobody makes another log beside it, in this process.
    let (problem, _) = failed(open(subject.path()).migrate().await);
    assert!(problem.contains("write-ahead log"), "{problem}");
    drop(committer);
    subject.store.close().await.unwrap();
    let again = open(subject.path());
    assert_eq!(figures(&again).await.available, 5);
    run(&mut again.committer(), grant(5)).await.unwrap();
}

#[tokio::test]
async fn vacuum_makes_a_file_shorter_and_nobody_suffers() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    let tool = subject.tool();
    tool.execute_batch(
        "CREATE TABLE other (a BLOB); INSERT INTO other VALUES (zeroblob(1000000)); PRAGMA wal_checkpoint(TRUNCATE)",
    )
    .unwrap();
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&subject.store).await.available, 10);
    tool.execute_batch("DROP TABLE other; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    assert_eq!(figures(&subject.store).await.available, 10);
    let told = run(&mut committer, grant(5)).await;
    assert!(matches!(told, Err(StoreError::Lost(_))), "{told:?}");
    committer.reconnect().await.unwrap();
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&subject.store).await.available, 15);
}
