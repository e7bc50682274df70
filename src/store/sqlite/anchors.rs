//! What anchors read and write.
//!
//! The journal's rows have numbers of their own that only grow, so what was written since the last anchor is what stands
//! behind the row that was the last one then. That row was the last entry of its account, which the account's leaf shows too.
//! Where it is gone (a clean-up removed it, so numbers may come again), or the leaf shows another, all accounts are looked at.

use super::SqliteStore;
use super::failure::Attempt;
use super::load::{many, one};
use super::read::rows_max;
use super::rows::{self, blob, micros};
use super::snapshot::{SqliteSnapshot, key};
use crate::anchor::tree::{Leaf, bucket_of};
use crate::ledger::{Hash, Timestamp};
use crate::store::anchors::{AnchorReads, AnchorRow, AnchorWrite, Anchors, ChangedHeads, Group};
use crate::store::{Page, Reading};
use rusqlite::{Connection, params};
use uuid::Uuid;

/// An account's leaf, as of the newest anchor.
const LEAF_NOW: &str = "SELECT user_id, seq, hash, available, held FROM credit_anchor_leaves \
     WHERE user_id = ?1 AND until IS NULL ORDER BY number DESC LIMIT 1";

impl AnchorReads for SqliteSnapshot {
    fn ledger_id(&mut self) -> Reading<'_, Uuid> {
        self.read(|connection| {
            let found = one(connection, "SELECT ledger_id FROM credit_ledger", [], rows::ID)?;
            Ok(found.unwrap_or_default())
        })
    }

    fn anchor(&mut self, number: Option<i64>) -> Reading<'_, Option<AnchorRow>> {
        const NEWEST: &str = "SELECT number, record, mark FROM credit_anchors ORDER BY number DESC LIMIT 1";
        const ONE: &str = "SELECT number, record, mark FROM credit_anchors WHERE number = ?1";
        self.read(move |connection| match number {
            None => one(connection, NEWEST, [], rows::ANCHOR),
            Some(number) => one(connection, ONE, [number], rows::ANCHOR),
        })
    }

    fn mark(&mut self) -> Reading<'_, String> {
        self.read(|connection| Ok(last_row(connection)?.unwrap_or_default()))
    }

    fn changed(&mut self, mark: String, _: Timestamp) -> Reading<'_, Option<ChangedHeads>> {
        // With the row that was the last one: its account's leaf is what the mark is believed for.
        const SQL: &str = "SELECT user_id, seq, hash, available, held FROM credit_accounts \
             WHERE user_id IN (SELECT DISTINCT user_id FROM credit_transactions NOT INDEXED \
             WHERE rowid >= ?1) ORDER BY user_id";
        self.read(move |connection| {
            let row = mark
                .split(':')
                .next()
                .and_then(|number| number.parse::<i64>().ok());
            let Some(row) = row else { return Ok(None) };
            let Some((user_id, seq)) = entry_at(connection, row)? else {
                return Ok(None);
            };
            let leaf = one(connection, LEAF_NOW, [blob(&user_id)], rows::LEAF)?;
            if mark != mark_of(row, user_id, seq) || leaf.is_none_or(|leaf| leaf.seq != seq) {
                return Ok(None);
            }
            Ok(Some(ChangedHeads {
                heads: many(connection, SQL, [row], rows::LEAF)?,
                believed: Some((user_id, seq)),
            }))
        })
    }

    fn has_anchor_of(&mut self, key: String) -> Reading<'_, bool> {
        const SQL: &str =
            "SELECT number, record, mark FROM credit_anchors WHERE instr(record, ?1) > 0 LIMIT 1";
        self.read(move |connection| Ok(one(connection, SQL, [&key], rows::ANCHOR)?.is_some()))
    }

    fn leaves(&mut self, number: i64, after: Option<Uuid>, limit: usize) -> Reading<'_, Page<Leaf>> {
        const SQL: &str = "SELECT user_id, seq, hash, available, held FROM credit_anchor_leaves \
             WHERE user_id > ?1 AND number <= ?2 AND (until IS NULL OR until > ?2) ORDER BY user_id LIMIT ?3";
        self.page(move |connection| {
            let values = params![key(after.as_ref()), number, rows_max(limit)];
            many(connection, SQL, values, rows::LEAF)
        })
    }

    fn leaves_in(&mut self, buckets: Vec<u16>) -> Reading<'_, Vec<Leaf>> {
        const SQL: &str = "SELECT user_id, seq, hash, available, held FROM credit_anchor_leaves \
             WHERE bucket = ?1 AND until IS NULL ORDER BY user_id";
        self.read(move |connection| {
            let mut found = Vec::new();
            for bucket in &buckets {
                found.append(&mut many(connection, SQL, [bucket], rows::LEAF)?);
            }
            found.sort_by_key(|leaf| leaf.user_id);
            Ok(found)
        })
    }

    fn group_roots(&mut self) -> Reading<'_, Vec<(i32, Hash)>> {
        const SQL: &str = "SELECT group_no, root FROM credit_anchor_groups";
        self.read(|connection| many(connection, SQL, [], rows::GROUP_ROOT))
    }

    fn groups(&mut self, numbers: Vec<i32>) -> Reading<'_, Vec<Group>> {
        const SQL: &str = "SELECT group_no, root, buckets FROM credit_anchor_groups WHERE group_no = ?1";
        self.read(move |connection| {
            let mut found = Vec::new();
            for number in &numbers {
                found.extend(one(connection, SQL, [number], rows::GROUP)?);
            }
            Ok(found)
        })
    }

    fn left_until(&mut self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, i64, Hash, Timestamp)>> {
        const SQL: &str = "SELECT user_id, seq, hash, created_at FROM credit_checkpoints WHERE user_id = ?1";
        self.read(move |connection| {
            let mut found = Vec::new();
            for user_id in &accounts {
                found.extend(one(connection, SQL, [blob(user_id)], rows::LEFT)?);
            }
            Ok(found)
        })
    }

    fn heads_at(&mut self, entries: Vec<(Uuid, i64)>) -> Reading<'_, Vec<Leaf>> {
        const SQL: &str = "SELECT user_id, seq, hash, available, held FROM credit_transactions \
             WHERE user_id = ?1 AND seq = ?2";
        self.read(move |connection| {
            let mut found = Vec::new();
            for (user_id, seq) in &entries {
                found.extend(one(connection, SQL, params![blob(user_id), seq], rows::LEAF)?);
            }
            Ok(found)
        })
    }
}

/// The last row of the journal: its number, and whose entry it is.
fn last_row(connection: &Connection) -> Attempt<Option<String>> {
    let found = one(
        connection,
        "SELECT max(rowid) FROM credit_transactions",
        [],
        rows::OPTIONAL_COUNT,
    )?;
    let Some(row) = found.flatten() else {
        return Ok(None);
    };
    let entry = entry_at(connection, row)?;
    Ok(entry.map(|(user_id, seq)| mark_of(row, user_id, seq)))
}

fn mark_of(row: i64, user_id: Uuid, seq: i64) -> String {
    format!("{row}:{user_id}:{seq}")
}

/// Whose entry it is, and its number.
fn entry_at(connection: &Connection, row: i64) -> Attempt<Option<(Uuid, i64)>> {
    const SQL: &str = "SELECT user_id, seq FROM credit_transactions WHERE rowid = ?1";
    one(connection, SQL, [row], rows::POSITION)
}

impl Anchors for SqliteStore {
    fn put_anchor(&self, write: AnchorWrite) -> Reading<'_, bool> {
        self.change(move |connection| put(connection, &write))
    }

    fn prune_anchors(&self, oldest: i64) -> Reading<'_, u64> {
        self.change(move |connection| {
            connection
                .prepare_cached("DELETE FROM credit_anchor_leaves WHERE until <= ?1")?
                .execute([oldest])?;
            let removed = connection
                .prepare_cached("DELETE FROM credit_anchors WHERE number < ?1")?
                .execute([oldest])?;
            Ok(removed as u64)
        })
    }
}

fn put(connection: &Connection, write: &AnchorWrite) -> Attempt<bool> {
    let AnchorRow { number, record, mark } = &write.anchor;
    let added = connection
        .prepare_cached(
            "INSERT INTO credit_anchors (number, record, mark, created_at) SELECT ?1, ?2, ?3, ?4 \
             WHERE NOT EXISTS (SELECT 1 FROM credit_anchors WHERE number = ?1)",
        )?
        .execute(params![number, record, mark, micros(write.at)])?;
    if added == 0 {
        return Ok(false);
    }
    let mut end = connection
        .prepare_cached("UPDATE credit_anchor_leaves SET until = ?2 WHERE user_id = ?1 AND until IS NULL")?;
    let mut add = connection.prepare_cached(
        "INSERT INTO credit_anchor_leaves (user_id, number, bucket, seq, hash, available, held) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for leaf in &write.leaves {
        end.execute(params![blob(&leaf.user_id), number])?;
        add.execute(params![
            blob(&leaf.user_id),
            number,
            bucket_of(leaf.user_id),
            leaf.seq,
            leaf.hash.0.as_slice(),
            leaf.available,
            leaf.held
        ])?;
    }
    let mut save = connection.prepare_cached(
        "INSERT INTO credit_anchor_groups (group_no, root, buckets) VALUES (?1, ?2, ?3) \
         ON CONFLICT (group_no) DO UPDATE SET root = ?2, buckets = ?3",
    )?;
    for group in &write.groups {
        save.execute(params![group.number, group.root.0.as_slice(), group.buckets])?;
    }
    Ok(true)
}
