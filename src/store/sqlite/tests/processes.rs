//! Several processes on one file.

use super::*;

const ROLE: &str = "JOINTO_CREDITS_TEST_ROLE";
const DATABASE: &str = "JOINTO_CREDITS_TEST_DATABASE";

/// This program again, to do `role` with a database. `shell` goes before it in the same shell.
fn child(role: &str, database: &Path, shell: &str) -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$0\" --exact store::sqlite::tests::processes::child_of_a_test --nocapture")])
        .arg(program)
        .env(ROLE, role)
        .env(DATABASE, database)
        // Kept to be shown if it fails; it must not be counted among the tests that ran here.
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    command
}

fn succeeds(child: std::process::Child) {
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

/// No test by itself: what the children of other tests do.
#[tokio::test]
async fn child_of_a_test() {
    let (Ok(role), Ok(database)) = (std::env::var(ROLE), std::env::var(DATABASE)) else {
        return;
    };
    let store = open(database);
    match role.as_str() {
        "migrate and consume" => {
            store.migrate().await.unwrap();
            let mut committer = store.committer();
            for _ in 0..40 {
                run(&mut committer, grant(1)).await.unwrap();
                run(&mut committer, consume(1)).await.unwrap();
            }
        }
        "is refused" => {
            let (problem, remedy) = failed(store.account(USER, T0, Extent::WHOLE).await.map(drop));
            assert!(problem.contains("another process has"), "{problem}");
            assert!(remedy.contains("without killing any"), "{remedy}");
        }
        // As another program does, which does not look.
        "write past the ledger" => {
            let connection = rusqlite::Connection::open(std::env::var(DATABASE).unwrap()).unwrap();
            connection
                .execute("UPDATE credit_migrations SET applied_at = 42", [])
                .unwrap();
        }
        "write until it fails" => {
            let mut committer = store.committer();
            for _ in 0..100_000 {
                let (writes, _) = decided(&mut committer, grant(1)).await.unwrap();
                match committer.append(&writes).await {
                    Ok(_) => continue,
                    Err(StoreError::Unknown(_)) => {}
                    Err(other) => panic!("{other:?}"),
                }
                let entry = &writes.entries[0];
                committer.reconnect().await.unwrap();
                assert!(!committer.landed(&[(USER, entry.seq, entry.hash)]).await.unwrap()[0]);
                run(&mut committer, grant(1)).await.unwrap();
                return;
            }
            panic!("it never failed");
        }
        other => panic!("no such role: {other}"),
    }
}

#[tokio::test]
async fn eight_processes_share_a_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("credits.db");
    let children: Vec<_> = (0..8)
        .map(|_| child("migrate and consume", &path, "").spawn().unwrap())
        .collect();
    children.into_iter().for_each(succeeds);
    let account = figures(&open(&path)).await;
    assert_eq!((account.seq, account.available, account.held), (640, 0, 320));
}

/// A COMMIT that fails in the middle of writing: here because files may not grow past 1 MiB.
#[cfg(unix)]
#[tokio::test]
async fn a_commit_that_fails_is_looked_up_and_can_be_repeated() {
    let subject = in_folder().await;
    run(&mut subject.store.committer(), grant(1)).await.unwrap();
    subject.store.close().await.unwrap();
    let mut child = child(
        "write until it fails",
        &subject.path(),
        "ulimit -f 1024; trap '' XFSZ;",
    );
    succeeds(child.spawn().unwrap());
    let store = open(subject.path());
    let account = figures(&store).await;
    assert!(account.seq > 20);
    assert_eq!(account.available, account.seq, "each entry granted one credit");
    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(
        snapshot
            .lots(None, 1_000_000)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .len(),
        account.seq as usize
    );
    let check: String = subject
        .tool()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(check, "ok");
}

/// Its locks are in the index: beside a connection without it, others would write as if they were alone.
#[cfg(unix)]
#[tokio::test]
async fn a_database_whose_index_is_gone_is_not_opened_by_another_process() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    let index = subject.path().with_extension("db-shm");
    let log = subject.path().with_extension("db-wal");
    let away = subject.path().with_extension("away");
    for gone in [&index, &log] {
        std::fs::rename(gone, &away).unwrap();
        succeeds(child("is refused", &subject.path(), "").spawn().unwrap());
        std::fs::rename(&away, gone).unwrap();
    }
    run(&mut committer, grant(5)).await.unwrap();
    assert_eq!(figures(&subject.store).await.available, 10);
}

/// Who closes last writes the log into the database and deletes it, as far as its index knows the log.
#[cfg(unix)]
#[tokio::test]
async fn what_others_wrote_with_a_new_index_is_not_deleted_with_the_log() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    std::fs::remove_file(subject.path().with_extension("db-shm")).unwrap();
    succeeds(
        child("write past the ledger", &subject.path(), "")
            .spawn()
            .unwrap(),
    );
    failed(run(&mut committer, grant(5)).await);
    drop(committer);
    subject.store.close().await.unwrap();
    let connection = rusqlite::Connection::open(subject.path()).unwrap();
    let written = connection.query_row("SELECT min(applied_at) FROM credit_migrations", [], |row| {
        row.get(0)
    });
    assert_eq!(written, Ok(42));
    drop(connection);
    assert_eq!(figures(&open(subject.path())).await.available, 5);
}
