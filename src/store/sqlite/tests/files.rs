//! Files that can't be written, or read, and who has them open.

use super::*;

#[tokio::test]
async fn a_missing_folder_a_folder_and_a_text_are_no_databases() {
    let folder = TempDir::new().unwrap();
    let missing = Location::File(folder.path().join("missing/credits.db"));
    let (problem, remedy) = failed(SqliteStore::open(missing, SqliteSettings::default()));
    assert!(
        problem.starts_with("there is no folder for ") && problem.contains("missing/credits.db"),
        "{problem}"
    );
    assert_eq!(remedy, "make the folder, or check the path");
    // One that goes away later, and a folder where a file should be.
    std::fs::create_dir(folder.path().join("gone")).unwrap();
    let gone = open(folder.path().join("gone/credits.db"));
    std::fs::remove_dir(folder.path().join("gone")).unwrap();
    for result in [
        gone.migrate().await,
        gone.check_schema().await,
        open(folder.path()).migrate().await,
    ] {
        let (problem, remedy) = failed(result);
        assert!(problem.contains("unable to open database file"), "{problem}");
        assert_eq!(
            remedy,
            "check the path, and that this user may read and write the folder"
        );
    }

    let text = folder.path().join("text");
    std::fs::write(
        &text,
        "this is not a database, and long enough to be taken for one".repeat(20),
    )
    .unwrap();
    for result in [open(&text).migrate().await, open(&text).check_schema().await] {
        assert_eq!(
            failed(result).1,
            "name another file; this one is not an SQLite database, or is encrypted"
        );
    }
    failed(SqliteStore::open(
        Location::File(PathBuf::new()),
        SqliteSettings::default(),
    ));
}

#[tokio::test]
async fn names_that_sqlite_takes_for_something_else_are_files() {
    let folder = TempDir::new().unwrap();
    for name in [":memory:", "file:credits.db?mode=memory", "a b%20c#d?e.db"] {
        let path = folder.path().join(name);
        open(&path).migrate().await.unwrap();
        assert!(path.is_file(), "{name}");
    }
}

#[tokio::test]
async fn a_read_only_file_can_be_read() {
    let subject = in_folder().await;
    run(&mut subject.store.committer(), grant(5)).await.unwrap();
    subject.store.close().await.unwrap();
    let mut permissions = std::fs::metadata(subject.path()).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(subject.path(), permissions).unwrap();
    let is_root = std::fs::OpenOptions::new()
        .write(true)
        .open(subject.path())
        .is_ok();

    let store = open(subject.path());
    store.check_schema().await.unwrap();
    store.migrate().await.unwrap();
    assert_eq!(figures(&store).await.available, 5);
    assert_eq!(
        store
            .snapshot()
            .await
            .unwrap()
            .accounts(None, 10)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .len(),
        1
    );
    let mut committer = store.committer();
    if is_root {
        // Nothing is read-only for root; this brings the same error.
        committer.load(&needs(USER)).await.unwrap();
        committer.append(&Writes::default()).await.unwrap();
        let lease = committer.connections.lease(|| unreachable!()).unwrap();
        lease
            .connection()
            .unwrap()
            .pragma_update(None, "query_only", true)
            .unwrap();
        drop(lease);
    }
    read_only(committer.load(&needs(USER)).await);
}

fn read_only<T>(result: StoreResult<T>) {
    let (problem, remedy) = failed(result);
    assert!(problem.contains("readonly"), "{problem}");
    assert_eq!(remedy, "make the file and its folder writable for this user");
}

#[tokio::test]
async fn a_full_disk_writes_nothing_and_is_over_when_there_is_room() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(1_000_000)).await.unwrap();
    {
        let lease = committer.connections.lease(|| unreachable!()).unwrap();
        let connection = lease.connection().unwrap();
        connection.pragma_update(None, "cache_spill", false).unwrap();
        let pages: i64 = connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        connection
            .query_row("PRAGMA max_page_count", [], |_| Ok(()))
            .unwrap();
        connection
            .query_row(&format!("PRAGMA max_page_count = {}", pages + 3), [], |_| Ok(()))
            .unwrap();
    }
    let mut done = 0;
    let error = loop {
        match run(&mut committer, consume(1)).await {
            Ok(()) => done += 1,
            error => break failed(error),
        }
    };
    assert!(error.0.contains("full"), "{error:?}");
    assert_eq!(error.1, "free space on the disk");
    assert!(done > 5);
    let stored = async || {
        let mut snapshot = subject.store.snapshot().await.unwrap();
        let account = snapshot
            .accounts(None, 10)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .remove(0);
        (
            account.held,
            account.seq,
            snapshot
                .entries(None, 1_000)
                .await
                .unwrap()
                .decode()
                .unwrap()
                .len(),
            snapshot.holds(None, 1_000).await.unwrap().decode().unwrap().len(),
        )
    };
    assert_eq!(stored().await, (done, done + 1, done as usize + 1, done as usize));
    // The connection was replaced, and with it the limit went.
    run(&mut committer, consume(1)).await.unwrap();
    assert_eq!(
        stored().await,
        (done + 1, done + 2, done as usize + 2, done as usize + 1)
    );
}

#[tokio::test]
async fn a_writer_in_the_way_is_waited_for_and_then_named() {
    let subject = in_folder().await;
    let settings = SqliteSettings {
        busy_timeout: Duration::from_millis(50),
        ..SqliteSettings::default()
    };
    let store = SqliteStore::open(Location::File(subject.path()), settings).unwrap();
    let mut committer = store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    let tool = subject.tool();
    tool.execute_batch("BEGIN IMMEDIATE").unwrap();
    for _ in 0..2 {
        let busy = committer.load(&needs(USER)).await;
        assert!(matches!(busy, Err(StoreError::Busy(_))), "{busy:?}");
    }
    assert_eq!(figures(&store).await.available, 5, "readers don't wait");
    tool.execute_batch("ROLLBACK").unwrap();
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&store).await.available, 10);
}

#[tokio::test]
async fn more_readers_than_connections_take_turns() {
    let subject = in_folder().await;
    run(&mut subject.store.committer(), grant(5)).await.unwrap();
    let settings = SqliteSettings {
        max_connections: 2,
        ..SqliteSettings::default()
    };
    let store = SqliteStore::open(Location::File(subject.path()), settings).unwrap();
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { figures(&store).await.available })
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), 5);
    }
}

#[tokio::test]
async fn whoever_closes_last_leaves_one_file() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    figures(&subject.store).await;
    let files = || std::fs::read_dir(subject.folder.path()).unwrap().count();
    assert_eq!(files(), 3, "the database, its log, and the log's index");
    drop(committer);
    subject.store.close().await.unwrap();
    assert_eq!(files(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_store_has_nothing_open_and_goes_on_afterwards() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    figures(&subject.store).await;
    let files = || std::fs::read_dir(subject.folder.path()).unwrap().count();
    assert!(subject.store.suspend(Duration::from_secs(5)));
    assert_eq!(files(), 1, "the last one has closed the database");
    let waiting = tokio::spawn({
        let store = subject.store.clone();
        async move { figures(&store).await.available }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    subject.store.resume();
    assert_eq!(waiting.await.unwrap(), 5);
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&subject.store).await.available, 10);

    committer.load(&needs(USER)).await.unwrap();
    assert!(
        !subject.store.suspend(Duration::from_millis(20)),
        "a batch is under way"
    );
    subject.store.resume();
    committer.append(&Writes::default()).await.unwrap();
    assert!(in_memory().await.suspend(Duration::ZERO));
}

/// Opened as SQLite opens a file that this user may not write; the tests' user may be one who may write all.
#[tokio::test]
async fn a_file_that_can_only_be_read_is_seen() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("credits.db");
    open(&path).migrate().await.unwrap();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    for (connection, problems) in [
        (Connection::open(&path).unwrap(), 0),
        (Connection::open_with_flags(&path, flags).unwrap(), 1),
    ] {
        let found = super::super::schema::inspect(&connection).unwrap();
        assert_eq!(found.risks.len(), problems, "{found:?}");
        assert!(
            found.risks.iter().all(|risk| risk.what.contains("only be read")),
            "{found:?}"
        );
    }
}

/// Planning a statement costs more than running it does.
#[tokio::test]
async fn a_statement_is_planned_once_whatever_its_limit() {
    let file = in_folder().await;
    let memory = SqliteStore::open(Location::Memory, SqliteSettings::default()).unwrap();
    memory.migrate().await.unwrap();
    for store in [&file.store, &memory] {
        let lease = store.committer().lease().unwrap();
        let connection = lease.connection().unwrap();
        for limit in [1, 5, 9] {
            let mut statement = connection
                .prepare_cached("SELECT lot_id FROM credit_lots ORDER BY lot_id LIMIT ?1")
                .unwrap();
            assert!(!statement.exists([limit]).unwrap());
            assert_eq!(
                statement.get_status(rusqlite::StatementStatus::RePrepare),
                0,
                "{limit}"
            );
        }
    }
}
