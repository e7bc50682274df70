//! The two steps inside a transaction of somebody else's, on a connection that sqlx owns.
//!
//! sqlx and rusqlite link the same C library (cargo allows only one), so a connection of the one can be used by the
//! other as long as its owner lends it: sqlx keeps its worker thread away while the handle is locked.

use super::append::{Appended, append as write};
use super::failure::Failure;
use super::load::load as read;
use super::schema;
use crate::store::{Loaded, Needs, StoreError, StoreResult, Writes};
use rusqlite::Connection;
use sqlx::SqliteConnection;
use std::collections::BTreeSet;
use uuid::Uuid;

pub(crate) async fn load(owner: &mut SqliteConnection, needs: &Needs) -> StoreResult<Loaded> {
    lend(owner, |connection| {
        schema::no_temporary(connection)?;
        read(connection, needs)
    })
    .await
}

pub(crate) async fn append(owner: &mut SqliteConnection, rows: &Writes) -> StoreResult<Vec<Uuid>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    lend(owner, |connection| {
        // A statement that fails takes back itself and no more, and the caller may commit all the same.
        let savepoint = |sql| {
            connection
                .execute_batch(sql)
                .map_err(|error| Failure::from(error).explain(connection))
        };
        savepoint("SAVEPOINT jointo_credits")?;
        let written = stale(write(connection, rows, BTreeSet::new()));
        if written.is_err() && !connection.is_autocommit() {
            // Where SQLite has given up the whole transaction (disk full, I/O error) there is no savepoint any more.
            savepoint("ROLLBACK TO jointo_credits")?;
        }
        if !connection.is_autocommit() {
            savepoint("RELEASE jointo_credits")?;
        }
        written
    })
    .await
}

fn stale(written: StoreResult<Appended>) -> StoreResult<Vec<Uuid>> {
    match written? {
        Appended::But(stale) => Ok(stale.into_iter().collect()),
        // Looked up under the same lock, so only damaged books can have such a key.
        Appended::KeysTaken(_) => Err(StoreError::Failed {
            problem: "an idempotency key is taken by an entry that does not carry it".into(),
            remedy: "the books are damaged; run verify()",
        }),
    }
}

async fn lend<T>(
    owner: &mut SqliteConnection,
    work: impl FnOnce(&Connection) -> StoreResult<T>,
) -> StoreResult<T> {
    let lost = |e: &dyn std::fmt::Display| StoreError::Lost(e.to_string());
    let mut locked = owner.lock_handle().await.map_err(|e| lost(&e))?;
    let handle = locked.as_raw_handle().as_ptr();
    // SAFETY: `locked` keeps the handle open and every other user away until this function returns. The borrowed
    // `Connection` does not close it, and finalizes its statements when it is dropped below, before `locked` is.
    #[allow(unsafe_code)]
    let connection = unsafe { Connection::from_handle(handle) }.map_err(|e| lost(&e))?;
    let done = work(&connection);
    drop(connection);
    done
}
