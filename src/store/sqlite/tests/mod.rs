//! What is SQLite's own: files and processes, migrations, damage, and a disk that is full.

#![allow(
    clippy::disallowed_methods,
    reason = "tests tell their own child processes what to do, and wait for them"
)]

mod files;
mod migrations;
mod moved;
mod processes;
mod rows;

use super::*;
use crate::ledger::{Account, Action, Command, Consume, Grant, Outcome, Rules, Source, State, apply, decide};
use crate::store::contract_tests::Subject;
use crate::store::migrations::Migration;
use crate::store::{AccountWrite, Committer, Extent, Needs, Writes};
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
        writes.new_lots.extend(
            entry
                .effects
                .new_lots
                .iter()
                .map(|lot| (USER, lot.clone().into())),
        );
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
    let before = account.exists.then(|| account.state.account.clone());
    writes.accounts.push(AccountWrite {
        account: state.account,
        before,
    });
    Ok((writes, decision.outcome))
}

async fn run(committer: &mut SqliteCommitter, action: Action) -> StoreResult<()> {
    let (writes, _) = decided(committer, action).await?;
    assert!(committer.append(&writes).await?.is_empty());
    Ok(())
}

async fn figures(store: &SqliteStore) -> Account {
    store
        .account(USER, T0, Extent::WHOLE)
        .await
        .unwrap()
        .unwrap()
        .state
        .account
}

/// The problem and the remedy of what can't be done.
fn failed<T>(result: StoreResult<T>) -> (String, &'static str) {
    match result {
        Err(StoreError::Failed { problem, remedy }) => (problem, remedy),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it worked"),
    }
}
