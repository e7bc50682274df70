//! What clean-ups read and remove.

use super::failure::{Attempt, Failure};
use super::load::many;
use super::rows::{self, blob, entry_columns, hold_columns, micros};
use super::waiting::in_transaction;
use super::{SqliteStore, blocking};
use crate::ledger::{Checkpoint, Hold, Timestamp, id};
use crate::store::retention::{ArchiveFile, Removal, not_as_archived};
use crate::store::{CLOCKS_APART, Reading, Retention, StoreError, StoredEntry};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use uuid::Uuid;

impl SqliteStore {
    /// Does `work` in a transaction that writes, all of it or nothing.
    pub(super) fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Attempt<T> + Send + 'static,
    ) -> Reading<'_, T> {
        let shared = Arc::clone(&self.shared);
        Box::pin(blocking(move || {
            shared.write(|connection, timeout| in_transaction(connection, timeout, work))
        }))
    }
}

impl Retention for SqliteStore {
    fn archivable(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        limit: usize,
    ) -> Reading<'_, Vec<(Uuid, i64)>> {
        const SQL: &str = "SELECT a.user_id, coalesce(c.seq, 0) FROM credit_accounts a \
             LEFT JOIN credit_checkpoints c ON c.user_id = a.user_id \
             WHERE a.user_id > ?1 AND a.created_at < ?2 AND (SELECT e.created_at FROM credit_transactions e \
             WHERE e.user_id = a.user_id AND e.seq = coalesce(c.seq, 0) + 1) < ?2 ORDER BY a.user_id LIMIT ?3";
        self.read(move |connection| {
            let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
            let values = params![after, micros(before), super::read::rows_max(limit)];
            many(connection, SQL, values, rows::POSITION)
        })
    }

    fn journals(&self, after: Vec<(Uuid, i64)>, each: usize) -> Reading<'_, Vec<StoredEntry>> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM credit_transactions WHERE user_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
        );
        self.read(move |connection| {
            let mut found = Vec::new();
            for (user_id, seq) in &after {
                let values = params![blob(user_id), seq, super::read::rows_max(each)];
                found.append(&mut many(connection, SQL, values, rows::STORED_ENTRY)?);
            }
            Ok(found)
        })
    }

    fn first_pending(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, Timestamp)>> {
        const SQL: &str = "SELECT ?1, min(created_at) FROM credit_consumption_logs \
             WHERE user_id = ?1 AND status = 'pending' HAVING min(created_at) IS NOT NULL";
        self.read(move |connection| {
            let mut found = Vec::new();
            for user_id in &accounts {
                found.append(&mut many(connection, SQL, [blob(user_id)], rows::MOMENT)?);
            }
            Ok(found)
        })
    }

    fn checkpoints(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<Checkpoint>> {
        self.read(move |connection| {
            let mut found = Vec::new();
            for user_id in &accounts {
                found.extend(checkpoint(connection, *user_id)?);
            }
            Ok(found)
        })
    }

    fn remove_entries(&self, removal: Removal) -> Reading<'_, bool> {
        self.change(move |connection| remove(connection, &removal))
    }

    fn archivable_holds(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        limit: usize,
    ) -> Reading<'_, Vec<Hold>> {
        const SQL: &str = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM credit_consumption_logs h WHERE consumption_id > ?1 AND consumption_id < ?2 \
              AND status <> 'pending' AND updated_at < ?3 AND updated_at < (SELECT c.created_at - ?4 \
              FROM credit_checkpoints c WHERE c.user_id = h.user_id) ORDER BY consumption_id LIMIT ?5"
        );
        self.read(move |connection| {
            let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
            let until = id::first_at(before);
            let apart = i64::try_from(CLOCKS_APART.as_micros()).unwrap_or(i64::MAX);
            let values = params![
                after,
                blob(&until),
                micros(before),
                apart,
                super::read::rows_max(limit)
            ];
            many(connection, SQL, values, rows::HOLD)
        })
    }

    fn remove_holds(&self, holds: Vec<Hold>) -> Reading<'_, u64> {
        const SQL: &str = "DELETE FROM credit_consumption_logs WHERE consumption_id = ?1 AND user_id = ?2 \
             AND status = ?3 AND captured = ?4 AND reversed = ?5 AND status <> 'pending'";
        self.change(move |connection| {
            let mut removed = 0;
            let mut statement = connection.prepare_cached(SQL)?;
            for hold in &holds {
                let state = &hold.state;
                let changed = statement.execute(params![
                    blob(&hold.consumption_id),
                    blob(&hold.user_id),
                    state.status.as_str(),
                    state.captured,
                    state.reversed
                ])?;
                removed += changed as u64;
            }
            Ok(removed)
        })
    }

    fn archives(&self) -> Reading<'_, Vec<ArchiveFile>> {
        const SQL: &str = "SELECT name, kind, older_than, lines, bytes, sha256, created_at, removed_at \
             FROM credit_archives ORDER BY created_at, name";
        self.read(|connection| many(connection, SQL, [], rows::ARCHIVE))
    }

    fn add_archive(&self, file: ArchiveFile) -> Reading<'_, ()> {
        const SQL: &str = "INSERT INTO credit_archives (name, kind, older_than, lines, bytes, sha256, created_at) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM credit_archives WHERE name = ?1)";
        self.change(move |connection| {
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            connection.prepare_cached(SQL)?.execute(params![
                file.name,
                file.kind.as_str(),
                micros(file.older_than),
                count(file.lines),
                count(file.bytes),
                file.sha256.0.as_slice(),
                micros(file.created_at)
            ])?;
            Ok(())
        })
    }

    fn finish_archive(&self, name: String, at: Timestamp) -> Reading<'_, ()> {
        self.change(move |connection| {
            connection
                .prepare_cached("UPDATE credit_archives SET removed_at = ?2 WHERE name = ?1")?
                .execute(params![name, micros(at)])?;
            Ok(())
        })
    }
}

pub(super) fn checkpoint(connection: &Connection, user_id: Uuid) -> Attempt<Option<Checkpoint>> {
    let sql = "SELECT user_id, seq, hash, data, created_at FROM credit_checkpoints WHERE user_id = ?1";
    Ok(many(connection, sql, [blob(&user_id)], rows::CHECKPOINT)?.pop())
}

fn remove(connection: &Connection, removal: &Removal) -> Attempt<bool> {
    let mut read = connection.prepare_cached("SELECT seq FROM credit_checkpoints WHERE user_id = ?1")?;
    for part in &removal.accounts {
        let found: Option<i64> = read
            .query_row([blob(&part.user_id())], |row| row.get(0))
            .optional()?;
        if found != part.expected {
            return Ok(false);
        }
    }
    let mut save = connection.prepare_cached(
        "INSERT INTO credit_checkpoints (user_id, seq, hash, data, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let mut advance = connection.prepare_cached(
        "UPDATE credit_checkpoints SET seq = ?2, hash = ?3, data = ?4, created_at = ?5 WHERE user_id = ?1",
    )?;
    let mut keep = connection.prepare_cached(
        "INSERT INTO credit_kept_entries (user_id, seq, previous_hash) VALUES (?1, ?2, ?3)",
    )?;
    let mut delete = connection
        .prepare_cached("DELETE FROM credit_transactions WHERE user_id = ?1 AND seq = ?2 AND hash = ?3")?;
    let (mut wanted, mut found) = (0, 0);
    for part in &removal.accounts {
        let (user_id, account) = (part.user_id(), &part.checkpoint.account);
        let statement = if part.expected.is_some() {
            &mut advance
        } else {
            &mut save
        };
        statement.execute(params![
            blob(&user_id),
            account.seq,
            account.hash.0.as_slice(),
            part.checkpoint.data(),
            micros(account.updated_at)
        ])?;
        for (seq, hash) in &part.kept {
            keep.execute(params![blob(&user_id), seq, hash.0.as_slice()])?;
        }
        for (seq, hash) in &part.gone {
            wanted += 1;
            found += delete.execute(params![blob(&user_id), seq, hash.0.as_slice()])?;
        }
    }
    if found < wanted {
        return Err(Failure::Store(not_as_archived(wanted, found)));
    }
    let mut read =
        connection.prepare_cached("SELECT amount FROM credit_archived_sums WHERE counter_account = ?1")?;
    let mut add = connection.prepare_cached(
        "INSERT INTO credit_archived_sums (counter_account, amount) VALUES (?1, ?2) \
         ON CONFLICT (counter_account) DO UPDATE SET amount = ?2",
    )?;
    for (counter_account, amount) in &removal.sums {
        let before: Option<String> = read.query_row([counter_account], |row| row.get(0)).optional()?;
        let before = before.map_or(Ok(0), |text| sum(&text))?;
        add.execute(params![counter_account, (before + amount).to_string()])?;
    }
    Ok(true)
}

/// A sum of `credit_archived_sums`.
pub(super) fn sum(text: &str) -> Attempt<i128> {
    text.parse().map_err(|_| {
        Failure::Store(StoreError::Failed {
            problem: format!("a sum in credit_archived_sums is `{}`", text.escape_debug()),
            remedy: "restore the table from a backup",
        })
    })
}
