//! What anchors read and write.
//!
//! What was written since the last anchor is found by time, with a BRIN index on the journal. Times are those of the processes
//! that wrote. What is missed by that is anchored with the account's next entry, or by an anchor that looks at all accounts.

use super::fields::{Fields, OfRow, Unreadable};
use super::read::limit;
use super::snapshot::{PostgresSnapshot, all};
use super::writing::{begin, commit, execute};
use super::{PostgresStore, during_read};
use crate::anchor::tree::{Leaf, bucket_of};
use crate::ledger::{Hash, Timestamp};
use crate::store::anchors::{AnchorReads, AnchorRow, AnchorWrite, Anchors, ChangedHeads, Group};
use crate::store::{Page, Reading, StoreResult};
use sqlx::Row;
use uuid::Uuid;

const LEAF: &str = "user_id, seq, hash, available, held";

fn leaf<'r>(c: &mut impl Fields<'r>) -> Result<Leaf, Unreadable> {
    Ok(Leaf {
        user_id: c.get()?,
        seq: c.get()?,
        hash: c.get()?,
        available: c.get()?,
        held: c.get()?,
    })
}

impl AnchorReads for PostgresSnapshot {
    fn ledger_id(&mut self) -> Reading<'_, Uuid> {
        Box::pin(async move {
            let text = self.text("ledger_id", || "SELECT ledger_id FROM {s}credit_ledger".into());
            let rows = self.rows(sqlx::query(text)).await?;
            let found = rows.first().map(|row| row.try_get(0)).transpose();
            Ok(found.map_err(during_read)?.unwrap_or_default())
        })
    }

    fn anchor(&mut self, number: Option<i64>) -> Reading<'_, Option<AnchorRow>> {
        Box::pin(async move {
            let text = self.text("anchor", || {
                "SELECT number, record, mark FROM {s}credit_anchors WHERE number = coalesce($1, \
                 (SELECT max(number) FROM {s}credit_anchors))"
                    .into()
            });
            let rows = self.rows(sqlx::query(text).bind(number)).await?;
            let found = rows.first().map(|row| -> Result<_, sqlx::Error> {
                Ok(AnchorRow {
                    number: row.try_get(0)?,
                    record: row.try_get(1)?,
                    mark: row.try_get(2)?,
                })
            });
            found.transpose().map_err(during_read)
        })
    }

    fn mark(&mut self) -> Reading<'_, String> {
        Box::pin(std::future::ready(Ok(String::new())))
    }

    fn changed(&mut self, _: String, since: Timestamp) -> Reading<'_, Option<ChangedHeads>> {
        Box::pin(async move {
            let text = self.text("changed_accounts", || {
                format!(
                    "SELECT {LEAF} FROM {{s}}credit_accounts WHERE user_id IN (SELECT DISTINCT user_id \
                     FROM {{s}}credit_transactions WHERE created_at >= $1)"
                )
            });
            // A BRIN index is read by a bitmap, which pages along the keys are better off without.
            self.set("enable_bitmapscan", true).await?;
            let rows = self.rows(sqlx::query(text).bind(since)).await?;
            self.set("enable_bitmapscan", false).await?;
            let mut found = all(&rows, "an account", |c: &mut OfRow<'_>| leaf(c))?;
            found.sort_by_key(|leaf| leaf.user_id);
            Ok(Some(ChangedHeads {
                heads: found,
                believed: None,
            }))
        })
    }

    fn has_anchor_of(&mut self, key: String) -> Reading<'_, bool> {
        Box::pin(async move {
            let text = self.text("has_anchor_of", || {
                "SELECT 1 FROM {s}credit_anchors WHERE position($1 IN record) > 0 LIMIT 1".into()
            });
            Ok(!self.rows(sqlx::query(text).bind(key)).await?.is_empty())
        })
    }

    fn leaves(&mut self, number: i64, after: Option<Uuid>, count: usize) -> Reading<'_, Page<Leaf>> {
        Box::pin(async move {
            let (mask, than) = if after.is_some() { (0, ">") } else { (1, ">=") };
            let text = self.text_of("leaves", mask, || {
                format!(
                    "SELECT {LEAF} FROM {{s}}credit_anchor_leaves WHERE user_id {than} $1 AND number <= $2 \
                     AND (until IS NULL OR until > $2) ORDER BY user_id LIMIT $3"
                )
            });
            let query = sqlx::query(text)
                .bind(after.unwrap_or_default())
                .bind(number)
                .bind(limit(count));
            let rows = self.rows(query).await?;
            Ok(Page::of(move || {
                all(&rows, "an anchored account", |c: &mut OfRow<'_>| leaf(c))
            }))
        })
    }

    fn leaves_in(&mut self, buckets: Vec<u16>) -> Reading<'_, Vec<Leaf>> {
        Box::pin(async move {
            let text = self.text("leaves_in", || {
                format!(
                    "SELECT {LEAF} FROM unnest($1::int4[]) AS b(place) CROSS JOIN LATERAL (SELECT * \
                     FROM {{s}}credit_anchor_leaves l WHERE l.bucket = b.place AND l.until IS NULL \
                     ORDER BY l.user_id) found"
                )
            });
            let buckets: Vec<i32> = buckets.into_iter().map(i32::from).collect();
            let rows = self.rows(sqlx::query(text).bind(buckets)).await?;
            let mut found = all(&rows, "an anchored account", |c: &mut OfRow<'_>| leaf(c))?;
            found.sort_by_key(|leaf| leaf.user_id);
            Ok(found)
        })
    }

    fn group_roots(&mut self) -> Reading<'_, Vec<(i32, Hash)>> {
        Box::pin(async move {
            let text = self.text("group_roots", || {
                "SELECT group_no, root FROM {s}credit_anchor_groups".into()
            });
            let rows = self.rows(sqlx::query(text)).await?;
            all(&rows, "a group of anchored accounts", |c: &mut OfRow<'_>| {
                Ok((c.get()?, c.get()?))
            })
        })
    }

    fn groups(&mut self, numbers: Vec<i32>) -> Reading<'_, Vec<Group>> {
        Box::pin(async move {
            let text = self.text("groups", || {
                "SELECT group_no, root, buckets FROM {s}credit_anchor_groups WHERE group_no = ANY($1)".into()
            });
            let rows = self.rows(sqlx::query(text).bind(numbers)).await?;
            let group = |row: &sqlx::postgres::PgRow| -> Result<Group, sqlx::Error> {
                let root: &[u8] = row.try_get(1)?;
                Ok(Group {
                    number: row.try_get(0)?,
                    root: Hash::from_slice(root)
                        .ok_or_else(|| sqlx::Error::Decode("a hash has 32 bytes".into()))?,
                    buckets: row.try_get(2)?,
                })
            };
            rows.iter().map(|row| group(row).map_err(during_read)).collect()
        })
    }

    fn left_until(&mut self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, i64, Hash, Timestamp)>> {
        Box::pin(async move {
            let text = self.text("left_until", || {
                "SELECT user_id, seq, hash, created_at FROM {s}credit_checkpoints WHERE user_id = ANY($1)"
                    .into()
            });
            let rows = self.rows(sqlx::query(text).bind(accounts)).await?;
            all(&rows, "a checkpoint", |c: &mut OfRow<'_>| {
                Ok((c.get()?, c.get()?, c.get()?, c.get()?))
            })
        })
    }

    fn heads_at(&mut self, entries: Vec<(Uuid, i64)>) -> Reading<'_, Vec<Leaf>> {
        Box::pin(async move {
            let text = self.text("heads_at", || {
                "SELECT e.user_id, e.seq, e.hash, e.available, e.held FROM unnest($1::uuid[], $2::int8[]) \
                 AS a(owner, number) JOIN {s}credit_transactions e ON e.user_id = a.owner AND e.seq = a.number"
                    .into()
            });
            let (users, numbers): (Vec<Uuid>, Vec<i64>) = entries.into_iter().unzip();
            let rows = self.rows(sqlx::query(text).bind(users).bind(numbers)).await?;
            all(&rows, "an entry", |c: &mut OfRow<'_>| leaf(c))
        })
    }
}

impl PostgresStore {
    /// The connection is closed whatever comes of it, which undoes what was not committed.
    async fn put(&self, write: AnchorWrite) -> StoreResult<bool> {
        let mut connection = self.own_connection().await?;
        begin(&mut connection).await?;
        let number = write.anchor.number;
        let text = self.statements.text("put_anchor", 0, || {
            "INSERT INTO {s}credit_anchors (number, record, mark, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (number) DO NOTHING"
                .into()
        });
        let statement = sqlx::query(text)
            .bind(number)
            .bind(write.anchor.record)
            .bind(write.anchor.mark)
            .bind(write.at);
        if execute(&mut connection, statement).await? == 0 {
            return Ok(false);
        }
        let text = self.statements.text("end_leaves", 0, || {
            "UPDATE {s}credit_anchor_leaves l SET until = $2 FROM unnest($1::uuid[]) AS u(owner) \
             WHERE l.user_id = u.owner AND l.until IS NULL"
                .into()
        });
        let users: Vec<Uuid> = write.leaves.iter().map(|leaf| leaf.user_id).collect();
        let statement = sqlx::query(text).bind(users.clone()).bind(number);
        execute(&mut connection, statement).await?;
        let text = self.statements.text("put_leaves", 0, || {
            "INSERT INTO {s}credit_anchor_leaves (user_id, number, bucket, seq, hash, available, held) \
             SELECT u.user_id, $2, u.bucket, u.seq, u.hash, u.available, u.held \
             FROM unnest($1::uuid[], $3::int4[], $4::int8[], $5::bytea[], $6::int8[], $7::int8[]) \
                 AS u(user_id, bucket, seq, hash, available, held)"
                .into()
        });
        let leaves = || write.leaves.iter();
        let statement = sqlx::query(text)
            .bind(users)
            .bind(number)
            .bind(
                leaves()
                    .map(|leaf| i32::from(bucket_of(leaf.user_id)))
                    .collect::<Vec<_>>(),
            )
            .bind(leaves().map(|leaf| leaf.seq).collect::<Vec<_>>())
            .bind(leaves().map(|leaf| leaf.hash.0.to_vec()).collect::<Vec<_>>())
            .bind(leaves().map(|leaf| leaf.available).collect::<Vec<_>>())
            .bind(leaves().map(|leaf| leaf.held).collect::<Vec<_>>());
        execute(&mut connection, statement).await?;
        let text = self.statements.text("put_groups", 0, || {
            "INSERT INTO {s}credit_anchor_groups (group_no, root, buckets) \
             SELECT * FROM unnest($1::int4[], $2::bytea[], $3::bytea[]) \
             ON CONFLICT (group_no) DO UPDATE SET root = EXCLUDED.root, buckets = EXCLUDED.buckets"
                .into()
        });
        let groups = || write.groups.iter();
        let statement = sqlx::query(text)
            .bind(groups().map(|group| group.number).collect::<Vec<_>>())
            .bind(groups().map(|group| group.root.0.to_vec()).collect::<Vec<_>>())
            .bind(groups().map(|group| group.buckets.clone()).collect::<Vec<_>>());
        execute(&mut connection, statement).await?;
        commit(&mut connection).await?;
        Ok(true)
    }

    async fn prune(&self, oldest: i64) -> StoreResult<u64> {
        let mut connection = self.own_connection().await?;
        begin(&mut connection).await?;
        let text = self.statements.text("prune_leaves", 0, || {
            "DELETE FROM {s}credit_anchor_leaves WHERE until <= $1".into()
        });
        execute(&mut connection, sqlx::query(text).bind(oldest)).await?;
        let text = self.statements.text("prune_anchors", 0, || {
            "DELETE FROM {s}credit_anchors WHERE number < $1".into()
        });
        let removed = execute(&mut connection, sqlx::query(text).bind(oldest)).await?;
        commit(&mut connection).await?;
        Ok(removed)
    }
}

impl Anchors for PostgresStore {
    fn put_anchor(&self, write: AnchorWrite) -> Reading<'_, bool> {
        Box::pin(async move {
            let put = self.put(write).await;
            self.told(put).await
        })
    }

    fn prune_anchors(&self, oldest: i64) -> Reading<'_, u64> {
        Box::pin(async move {
            let pruned = self.prune(oldest).await;
            self.told(pruned).await
        })
    }
}
