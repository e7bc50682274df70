//! What is SQLite's own: files and processes, migrations, damage, and a disk that is full.

#![allow(
    clippy::disallowed_methods,
    reason = "tests tell their own child processes what to do, and wait for them"
)]

use super::*;
use crate::ledger::{Account, Action, Command, Consume, Grant, Outcome, Rules, Source, State, apply, decide};
use crate::store::contract_tests::Subject;
use crate::store::migrations::Migration;
use crate::store::{AccountWrite, Committer, Needs, Writes};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A store and the folder it lives in.
struct InFolder {
    store: SqliteStore,
    folder: TempDir,
}

impl Subject for InFolder {
    type Committer = SqliteCommitter;

    fn reader(&self) -> &dyn Reader {
        &self.store
    }

    fn committer(&self) -> SqliteCommitter {
        self.store.committer()
    }
}

impl Subject for SqliteStore {
    type Committer = SqliteCommitter;

    fn reader(&self) -> &dyn Reader {
        self
    }

    fn committer(&self) -> SqliteCommitter {
        SqliteStore::committer(self)
    }
}

fn open(path: impl Into<PathBuf>) -> SqliteStore {
    let settings = SqliteSettings {
        busy_timeout: Duration::from_secs(30),
        ..SqliteSettings::default()
    };
    SqliteStore::open(Location::File(path.into()), settings).unwrap()
}

async fn in_folder() -> InFolder {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path().join("credits.db"));
    store.migrate().await.unwrap();
    InFolder { store, folder }
}

async fn in_memory() -> SqliteStore {
    let store = SqliteStore::open(Location::Memory, SqliteSettings::default()).unwrap();
    store.migrate().await.unwrap();
    store
}

mod file {
    crate::store::contract_tests::contract_tests!(super::in_folder().await);
}

mod memory {
    crate::store::contract_tests::contract_tests!(super::in_memory().await);
}

impl InFolder {
    fn path(&self) -> PathBuf {
        self.folder.path().join("credits.db")
    }

    /// A plain connection, as any other tool would open.
    fn tool(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

const USER: Uuid = Uuid::from_u128(7);
const T0: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

fn needs(user_id: Uuid) -> Needs {
    Needs {
        now: Some(T0),
        accounts: vec![user_id],
        ..Needs::default()
    }
}

fn grant(amount: i64) -> Action {
    Action::Grant(Grant {
        user_id: USER,
        amount,
        source: Source::Purchase,
        priority: 0,
        expires_at: None,
        cost: None,
        reference: None,
    })
}

fn consume(amount: i64) -> Action {
    let metadata = None;
    Action::Consume(Consume {
        user_id: USER,
        amount,
        feature: None,
        ttl: None,
        reference: None,
        metadata,
        priced: None,
    })
}

/// Loads and decides. Of rows, only what these two actions write.
async fn decided(committer: &mut SqliteCommitter, action: Action) -> StoreResult<(Writes, Outcome)> {
    let loaded = committer.load(&needs(USER)).await?;
    let account = &loaded.accounts[&USER];
    let command = Command {
        action,
        idempotency_key: None,
    };
    let decision = decide(&account.state, &command, T0, &Rules::default()).unwrap();
    let mut state: State = account.state.clone();
    let mut writes = Writes::default();
    for entry in &decision.entries {
        apply(&mut state, entry).unwrap();
        writes
            .new_lots
            .extend(entry.effects.new_lots.iter().map(|lot| (USER, lot.clone())));
        writes.lots.extend(
            entry
                .effects
                .lots
                .iter()
                .map(|change| (USER, state.lots[&change.lot].clone())),
        );
        writes.new_holds.extend(entry.effects.new_hold.clone());
    }
    state.note_deadlines(false, None);
    writes.entries = decision.entries;
    let expected_seq = account.exists.then_some(account.state.account.seq);
    writes.accounts.push(AccountWrite {
        account: state.account,
        expected_seq,
    });
    Ok((writes, decision.outcome))
}

async fn run(committer: &mut SqliteCommitter, action: Action) -> StoreResult<()> {
    let (writes, _) = decided(committer, action).await?;
    assert!(committer.append(&writes).await?.is_empty());
    Ok(())
}

async fn figures(store: &SqliteStore) -> Account {
    store.account(USER, T0).await.unwrap().unwrap().state.account
}

/// The problem and the remedy of what can't be done.
fn failed<T>(result: StoreResult<T>) -> (String, &'static str) {
    match result {
        Err(StoreError::Failed { problem, remedy }) => (problem, remedy),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it worked"),
    }
}

// --- migrations -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_database_that_was_never_migrated_says_so() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("credits.db");
    let store = open(&path);
    let missing = |result: (String, &str)| {
        assert!(result.0.starts_with("there is no database "), "{result:?}");
        assert_eq!(result.1, "run migrate(), or check the path");
    };
    missing(failed(store.check_schema().await));
    missing(failed(store.account(USER, T0).await));
    missing(failed(store.committer().load(&needs(USER)).await));
    assert!(!path.exists(), "nothing but migrate() creates a file");

    // Somebody else's database.
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE users (id)")
        .unwrap();
    let untouched = ("the database has no credit tables".to_owned(), "run migrate()");
    assert_eq!(failed(store.check_schema().await), untouched);
    assert_eq!(failed(store.account(USER, T0).await), untouched);
    let mut committer = store.committer();
    assert_eq!(failed(committer.load(&needs(USER)).await), untouched);
    store.migrate().await.unwrap();
    store.check_schema().await.unwrap();
    run(&mut committer, grant(1)).await.unwrap();
    assert_eq!(figures(&store).await.available, 1);

    let unmigrated = SqliteStore::open(Location::Memory, SqliteSettings::default()).unwrap();
    assert_eq!(failed(unmigrated.check_schema().await), untouched);
    assert_eq!(failed(unmigrated.account(USER, T0).await), untouched);
    assert_eq!(failed(unmigrated.committer().load(&needs(USER)).await), untouched);
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let subject = in_folder().await;
    run(&mut subject.store.committer(), grant(5)).await.unwrap();
    let history = || -> (i64, String, String, i64) {
        let sql = "SELECT version, name, checksum, applied_at FROM credit_migrations";
        subject
            .tool()
            .query_row(sql, [], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
            .unwrap()
    };
    let before = history();
    assert_eq!((before.0, before.1.as_str(), before.2.len()), (1, "ledger", 64));
    assert!(before.3 > 1_700_000_000_000_000, "microseconds");
    subject.store.migrate().await.unwrap();
    open(subject.path()).migrate().await.unwrap();
    assert_eq!(history(), before);
    assert_eq!(figures(&subject.store).await.available, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_can_migrate_at_once() {
    for _ in 0..5 {
        let folder = TempDir::new().unwrap();
        let stores: Vec<SqliteStore> = (0..8).map(|_| open(folder.path().join("credits.db"))).collect();
        let migrating: Vec<_> = stores
            .iter()
            .map(|store| {
                tokio::spawn({
                    let store = store.clone();
                    async move { store.migrate().await }
                })
            })
            .collect();
        for done in migrating {
            done.await.unwrap().unwrap();
        }
        for store in stores {
            store.check_schema().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_newer_an_edited_and_a_lost_schema_are_told_apart() {
    let subject = in_folder().await;
    let tool = subject.tool();
    let fresh = || open(subject.path());
    let check = async || failed(fresh().check_schema().await);

    tool.execute("INSERT INTO credit_migrations VALUES (9, 'future', 'x', 0)", [])
        .unwrap();
    let newer = (
        "the database has migration 9, this library knows up to 1".to_owned(),
        "upgrade jointo_credits",
    );
    assert_eq!(check().await, newer);
    assert_eq!(failed(fresh().migrate().await), newer);
    assert_eq!(failed(fresh().committer().load(&needs(USER)).await), newer);
    tool.execute("DELETE FROM credit_migrations WHERE version = 9", [])
        .unwrap();

    tool.execute("UPDATE credit_migrations SET checksum = 'other'", [])
        .unwrap();
    let edited = check().await;
    assert_eq!(
        edited.0,
        "migration 1 (ledger) was applied to the database in another form"
    );
    assert_eq!(failed(fresh().migrate().await), edited);
    tool.execute(
        "UPDATE credit_migrations SET checksum = ?1",
        [schema::MIGRATIONS[0].checksum()],
    )
    .unwrap();
    fresh().check_schema().await.unwrap();

    tool.execute_batch("DROP TABLE credit_gifts").unwrap();
    assert_eq!(check().await.0, "the database has lost its table credit_gifts");
    tool.execute_batch("DROP TABLE credit_migrations").unwrap();
    assert_eq!(check().await.1, "run migrate()");
    let (problem, remedy) = failed(fresh().migrate().await);
    assert!(
        problem.contains("migration 1 (ledger)") && problem.contains("already exists"),
        "{problem}"
    );
    assert!(remedy.contains("names begin with credit_"), "{remedy}");
}

#[test]
fn a_migration_that_fails_leaves_nothing_behind() {
    let connection = Connection::open_in_memory().unwrap();
    let known = [
        schema::MIGRATIONS[0],
        Migration {
            version: 2,
            name: "broken",
            sql: "CREATE TABLE credit_orders (id); SELECT nonsense;",
        },
    ];
    let timeout = Duration::from_secs(1);
    assert!(
        failed(schema::migrate_to(&connection, &known, timeout))
            .0
            .contains("migration 2 (broken)")
    );
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
        .unwrap();
    assert_eq!(tables, 0);
    // The next release mends it, and older databases catch up.
    schema::migrate_to(&connection, &known[..1], timeout).unwrap();
    let mended = [
        known[0],
        Migration {
            sql: "CREATE TABLE credit_orders (id);",
            ..known[1]
        },
    ];
    let (problem, remedy) = failed(schema::check_against(&connection, &mended));
    assert_eq!(
        (problem.as_str(), remedy),
        (
            "the database has migration 1, this library needs 2",
            "run migrate()"
        )
    );
    schema::migrate_to(&connection, &mended, timeout).unwrap();
    schema::check_against(&connection, &mended).unwrap();
    failed(schema::check_against(&connection, &known[..1]));
}

// --- files that can't be written, or read ---------------------------------------------------------------------------

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

// --- the journal ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_journal_refuses_every_way_to_change_it() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    run(&mut committer, consume(2)).await.unwrap();
    let tool = subject.tool();
    for sql in [
        "UPDATE credit_transactions SET change = 6 WHERE seq = 1",
        "UPDATE credit_transactions SET change = change",
        "UPDATE OR IGNORE credit_transactions SET seq = 9 WHERE seq = 1",
        "DELETE FROM credit_transactions WHERE seq = 2",
        "DELETE FROM credit_transactions",
        "REPLACE INTO credit_transactions SELECT * FROM credit_transactions WHERE seq = 2",
        "INSERT OR REPLACE INTO credit_transactions SELECT * FROM credit_transactions",
        "INSERT INTO credit_transactions SELECT * FROM credit_transactions WHERE true \
         ON CONFLICT DO UPDATE SET change = 7",
    ] {
        let refused = tool.execute(sql, []).unwrap_err();
        let code = refused.sqlite_error().unwrap().extended_code;
        assert_eq!(code, rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER, "{sql}: {refused}");
        assert!(refused.to_string().contains("append-only"), "{sql}: {refused}");
    }
    let entries = subject
        .store
        .entries(
            USER,
            EntryFilter {
                limit: 10,
                ..EntryFilter::default()
            },
        )
        .await;
    assert_eq!(
        entries
            .unwrap()
            .iter()
            .map(|entry| entry.change)
            .collect::<Vec<_>>(),
        [-2, 5]
    );
}

// --- plans ----------------------------------------------------------------------------------------------------------

/// Every statement of the library that reads is answered from an index, also when the planner knows nothing of the data.
#[tokio::test]
async fn reads_use_the_index_that_was_made_for_them() {
    let subject = in_folder().await;
    let tool = subject.tool();
    let plan = |sql: &str| -> String {
        let mut statement = tool.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let unknown = vec![rusqlite::types::Null; statement.parameter_count()];
        let parameters = rusqlite::params_from_iter(unknown);
        let lines = statement
            .query_map(parameters, |row| row.get::<_, String>(3))
            .unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for (sql, index) in [
        (
            "SELECT amount FROM credit_lots INDEXED BY credit_lots_open WHERE user_id = ?1 AND open = 1",
            "credit_lots_open",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE user_id = ?1 AND status = 'pending' AND expires_at <= ?2 \
             ORDER BY expires_at, consumption_id LIMIT ?3",
            "credit_consumption_logs_pending",
        ),
        (
            "SELECT expires_at FROM credit_consumption_logs \
             WHERE user_id = ?1 AND status = 'pending' AND expires_at > ?2 ORDER BY expires_at LIMIT 1",
            "credit_consumption_logs_pending",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE user_id = ?1 AND status = 'pending' AND borrowed > 0",
            "credit_consumption_logs_pending",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE user_id = ?1 AND consumption_id < ?2 \
             ORDER BY consumption_id DESC LIMIT ?3",
            "credit_consumption_logs_user",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE (user_id, consumption_id) > (?1, ?2) \
             ORDER BY user_id, consumption_id LIMIT ?3",
            "credit_consumption_logs_user",
        ),
        (
            "SELECT change FROM credit_transactions WHERE user_id = ?1 AND idempotency_key = ?2",
            "credit_transactions_key",
        ),
        (
            "SELECT next_hold_deadline, user_id FROM credit_accounts \
             WHERE next_hold_deadline <= ?1 AND (next_hold_deadline, user_id) > (?2, ?3) \
             ORDER BY next_hold_deadline, user_id LIMIT ?4",
            "credit_accounts_hold_deadline",
        ),
        (
            "SELECT next_lot_deadline, user_id FROM credit_accounts \
             WHERE next_lot_deadline <= ?1 AND (next_lot_deadline, user_id) > (?2, ?3) \
             ORDER BY next_lot_deadline, user_id LIMIT ?4",
            "credit_accounts_lot_deadline",
        ),
        (
            "SELECT change FROM credit_transactions WHERE user_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
            "sqlite_autoindex_credit_transactions_1",
        ),
        (
            "SELECT change FROM credit_transactions WHERE (user_id, seq) > (?1, ?2) ORDER BY user_id, seq LIMIT ?3",
            "sqlite_autoindex_credit_transactions_1",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE consumption_id = ?1",
            "consumption_id=?",
        ),
    ] {
        let plan = plan(sql);
        assert!(
            plan.contains(index) && !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
            "{sql}: {plan}"
        );
    }
}

// --- damage ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn damaged_rows_are_named_and_never_a_panic() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(50)).await.unwrap();
    run(&mut committer, consume(2)).await.unwrap();
    run(&mut committer, consume(3)).await.unwrap();
    let tool = subject.tool();
    tool.execute_batch("PRAGMA ignore_check_constraints = ON; DROP TRIGGER credit_transactions_no_update")
        .unwrap();

    let every = || EntryFilter {
        limit: 10,
        ..EntryFilter::default()
    };
    for (column, value, why) in [
        ("kind", "'nonsense'", "kind: unknown word `nonsense`"),
        ("data", "'{'", "data: EOF while parsing"),
        ("data", "'{\"lots\": 5}'", "data: invalid type"),
        ("data", "CAST(x'ff' AS TEXT)", "data: invalid utf-8"),
        ("hash", "x'00'", "hash: 1 bytes where 32 were expected"),
        (
            "consumption_id",
            "x'0011'",
            "consumption_id: 2 bytes where 16 were expected",
        ),
        (
            "request_hash",
            "x'0011'",
            "request_hash: 2 bytes where 32 were expected",
        ),
    ] {
        let before: rusqlite::types::Value = tool
            .query_row(
                &format!("SELECT {column} FROM credit_transactions WHERE seq = 2"),
                [],
                |row| row.get(0),
            )
            .unwrap();
        tool.execute(
            &format!("UPDATE credit_transactions SET {column} = {value} WHERE seq = 2"),
            [],
        )
        .unwrap();
        let (problem, remedy) = failed(subject.store.entries(USER, every()).await);
        assert!(
            problem.contains(&format!("entry ({USER}, 2) is damaged: {why}")),
            "{problem}"
        );
        assert!(remedy.contains("verify()"));
        let mut snapshot = subject.store.snapshot().await.unwrap();
        for entries in [
            snapshot.entries(None, 10).await.unwrap().decode().unwrap(),
            snapshot.journal(USER, 0, 10).await.unwrap(),
        ] {
            assert_eq!(
                entries.iter().map(Result::is_ok).collect::<Vec<_>>(),
                [true, false, true]
            );
            let damaged = entries[1].as_ref().unwrap_err();
            assert_eq!((damaged.user_id, damaged.seq), (USER, 2));
            assert!(damaged.problem.contains(why), "{}", damaged.problem);
        }
        drop(snapshot);
        tool.execute(
            &format!("UPDATE credit_transactions SET {column} = ?1 WHERE seq = 2"),
            [before],
        )
        .unwrap();
    }
    assert_eq!(subject.store.entries(USER, every()).await.unwrap().len(), 3);

    // What a command needs to know and can't read is an error; the next one may be about another account.
    for (table, column, value, why) in [
        ("credit_accounts", "hash", "x'00'", "account"),
        ("credit_lots", "source", "'found'", "lot"),
        ("credit_lots", "cost_currency", "'CNY'", "lot"),
        ("credit_lots", "priority", "99999999999", "lot"),
        ("credit_lots", "origin", "x'00'", "lot"),
    ] {
        let before: rusqlite::types::Value = tool
            .query_row(&format!("SELECT {column} FROM {table}"), [], |row| row.get(0))
            .unwrap();
        tool.execute(&format!("UPDATE {table} SET {column} = {value}"), [])
            .unwrap();
        let (problem, _) = failed(committer.load(&needs(USER)).await);
        assert!(problem.starts_with(why) && problem.contains(column), "{problem}");
        failed(subject.store.account(USER, T0).await);
        committer.load(&needs(Uuid::from_u128(8))).await.unwrap();
        committer.append(&Writes::default()).await.unwrap();
        tool.execute(&format!("UPDATE {table} SET {column} = ?1"), [before])
            .unwrap();
    }
    for (column, value) in [("pins", "'[[1,2]]'"), ("pins", "'x'"), ("status", "'lost'")] {
        tool.execute(
            &format!("UPDATE credit_consumption_logs SET {column} = {value}"),
            [],
        )
        .unwrap();
        let filter = HoldFilter {
            status: None,
            now: T0,
            before: None,
            limit: 10,
        };
        let (problem, _) = failed(subject.store.holds(USER, filter).await);
        assert!(
            problem.starts_with("consumption (") && problem.contains(column),
            "{problem}"
        );
    }
    tool.execute("UPDATE credit_consumption_logs SET pins = '[[\"00000000-0000-0000-0000-000000000009\",1]]', status = 'pending'", [])
        .unwrap();
    let id = subject
        .store
        .holds(
            USER,
            HoldFilter {
                status: None,
                now: T0,
                before: None,
                limit: 1,
            },
        )
        .await
        .unwrap();
    let named = Needs {
        consumptions: vec![id[0].consumption_id],
        ..needs(USER)
    };
    let (problem, _) = failed(committer.load(&named).await);
    assert!(
        problem.contains("has lost lot 00000000-0000-0000-0000-000000000009"),
        "{problem}"
    );
    tool.execute_batch("DELETE FROM credit_lots").unwrap();
    let mut writes = decided(&mut committer, grant(1)).await.unwrap().0;
    let (_, mut lot) = writes.new_lots.remove(0);
    lot.lot_id = Uuid::from_u128(9);
    writes.lots.push((USER, lot));
    let (problem, _) = failed(committer.append(&writes).await);
    assert!(problem.contains("has lost lot"), "{problem}");
    assert_eq!(figures(&subject.store).await.seq, 3, "nothing of it is written");
}

// --- processes ------------------------------------------------------------------------------------------------------

const ROLE: &str = "JOINTO_CREDITS_TEST_ROLE";
const DATABASE: &str = "JOINTO_CREDITS_TEST_DATABASE";

/// This program again, to do `role` with a database. `shell` goes before it in the same shell.
fn child(role: &str, database: &Path, shell: &str) -> std::process::Command {
    let program = std::env::current_exe().unwrap();
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", &format!("{shell} exec \"$0\" --exact store::sqlite::tests::child_of_a_test --nocapture")])
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
