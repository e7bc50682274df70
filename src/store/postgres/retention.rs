//! What clean-ups read and remove.

use super::read::limit;
use super::snapshot::{ENTRY, HOLD, all, hold, stored_entry};
use super::writing::{begin, commit, execute};
use super::{PostgresStore, Statements, during_read};
use crate::ledger::{Checkpoint, Hash, Hold, Timestamp, id};
use crate::store::retention::{AccountRemoval, ArchiveFile, ArchiveKind, Removal, not_as_archived};
use crate::store::{CLOCKS_APART, Reading, Retention, StoreResult, StoredEntry};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row, SqlStr};
use uuid::Uuid;

/// What [`checkpoint`] reads.
pub(super) const CHECKPOINT: &str = "user_id, seq, hash, data, created_at";

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// The checkpoints of the accounts `$1`.
pub(super) fn checkpoints_of(statements: &Statements) -> SqlStr {
    statements.text("checkpoints_of", 0, || {
        format!("SELECT {CHECKPOINT} FROM {{s}}credit_checkpoints WHERE user_id = ANY($1)")
    })
}

pub(super) fn checkpoint(row: &PgRow) -> StoreResult<Checkpoint> {
    let read = || -> Result<_, sqlx::Error> {
        let data: String = row.try_get(3)?;
        Ok((
            row.try_get(0)?,
            row.try_get(1)?,
            hash(row, 2)?,
            row.try_get(4)?,
            data,
        ))
    };
    let (user_id, seq, hash, at, data) = read().map_err(during_read)?;
    crate::store::retention::checkpoint(user_id, seq, hash, at, &data)
}

fn hash(row: &PgRow, column: usize) -> Result<Hash, sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    Hash::from_slice(bytes).ok_or_else(|| sqlx::Error::Decode("a hash has 32 bytes".into()))
}

fn file(row: &PgRow) -> Result<ArchiveFile, sqlx::Error> {
    let kind: String = row.try_get(1)?;
    Ok(ArchiveFile {
        name: row.try_get(0)?,
        kind: ArchiveKind::parse(&kind)
            .ok_or_else(|| sqlx::Error::Decode(format!("unknown kind `{kind}`").into()))?,
        older_than: row.try_get(2)?,
        lines: row.try_get::<i64, _>(3)?.unsigned_abs(),
        bytes: row.try_get::<i64, _>(4)?.unsigned_abs(),
        sha256: hash(row, 5)?,
        created_at: row.try_get(6)?,
        removed_at: row.try_get(7)?,
    })
}

impl PostgresStore {
    /// Runs one statement that writes, on a connection of its own. In a transaction, which behind PgBouncer keeps the server.
    async fn change(&self, statement: Statement<'_>) -> StoreResult<u64> {
        let change = async {
            let mut connection = self.own_connection().await?;
            begin(&mut connection).await?;
            let changed = execute(&mut connection, statement).await?;
            commit(&mut connection).await?;
            Ok(changed)
        };
        let changed = change.await;
        self.told(changed).await
    }

    /// The connection is closed whatever comes of it, which undoes what was not committed.
    async fn remove(&self, removal: &Removal) -> StoreResult<bool> {
        let mut connection = self.own_connection().await?;
        begin(&mut connection).await?;
        let saved = self.save_checkpoints(&mut connection, removal).await?;
        if !saved {
            return Ok(false);
        }
        self.keep(&mut connection, removal).await?;
        self.delete(&mut connection, removal).await?;
        let text = self.statements.text("archived_sums", 0, || {
            "INSERT INTO {s}credit_archived_sums AS s (counter_account, amount) \
             SELECT * FROM unnest($1::text[], $2::text[]::numeric[]) \
             ON CONFLICT (counter_account) DO UPDATE SET amount = s.amount + EXCLUDED.amount"
                .into()
        });
        let (names, amounts): (Vec<&String>, Vec<String>) = removal
            .sums
            .iter()
            .map(|(name, amount)| (name, amount.to_string()))
            .unzip();
        execute(&mut connection, sqlx::query(text).bind(names).bind(amounts)).await?;
        commit(&mut connection).await?;
        Ok(true)
    }

    /// In order of account, as every writer.
    async fn save_checkpoints(&self, connection: &mut PgConnection, removal: &Removal) -> StoreResult<bool> {
        let text = self.statements.text("save_checkpoints", 0, || {
            "INSERT INTO {s}credit_checkpoints AS c (user_id, seq, hash, data, created_at) \
             SELECT u.user_id, u.seq, u.hash, u.data, u.created_at \
             FROM unnest($1::uuid[], $2::int8[], $3::bytea[], $4::text[], $5::timestamptz[]) \
                 AS u(user_id, seq, hash, data, created_at) \
             WHERE NOT EXISTS (SELECT 1 FROM {s}credit_checkpoints o WHERE o.user_id = u.user_id) \
             ORDER BY u.user_id ON CONFLICT (user_id) DO NOTHING"
                .into()
        });
        let forward = self.statements.text("move_checkpoints", 0, || {
            "UPDATE {s}credit_checkpoints c SET seq = u.seq, hash = u.hash, data = u.data, created_at = u.created_at \
             FROM unnest($1::uuid[], $2::int8[], $3::bytea[], $4::text[], $5::timestamptz[], $6::int8[]) \
                 AS u(user_id, seq, hash, data, created_at, expected) \
             WHERE c.user_id = u.user_id AND c.seq = u.expected"
                .into()
        });
        let (known, new): (Vec<_>, Vec<_>) =
            removal.accounts.iter().partition(|part| part.expected.is_some());
        for (text, parts) in [(text, new), (forward, known)] {
            if parts.is_empty() {
                continue;
            }
            let accounts = || parts.iter().map(|part| &part.checkpoint.account);
            let mut statement = sqlx::query(text)
                .bind(accounts().map(|account| account.user_id).collect::<Vec<_>>())
                .bind(accounts().map(|account| account.seq).collect::<Vec<_>>())
                .bind(
                    accounts()
                        .map(|account| account.hash.0.to_vec())
                        .collect::<Vec<_>>(),
                )
                .bind(
                    parts
                        .iter()
                        .map(|part| part.checkpoint.data())
                        .collect::<Vec<_>>(),
                )
                .bind(accounts().map(|account| account.updated_at).collect::<Vec<_>>());
            let expected: Vec<i64> = parts.iter().filter_map(|part| part.expected).collect();
            if !expected.is_empty() {
                statement = statement.bind(expected);
            }
            if execute(connection, statement).await? < parts.len() as u64 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn keep(&self, connection: &mut PgConnection, removal: &Removal) -> StoreResult<()> {
        let text = self.statements.text("keep_entries", 0, || {
            "INSERT INTO {s}credit_kept_entries (user_id, seq, previous_hash) \
             SELECT * FROM unnest($1::uuid[], $2::int8[], $3::bytea[])"
                .into()
        });
        let rows = Rows::of(removal, |part| &part.kept);
        execute(connection, rows.bind(sqlx::query(text))).await?;
        Ok(())
    }

    async fn delete(&self, connection: &mut PgConnection, removal: &Removal) -> StoreResult<()> {
        let text = self.statements.text("remove_entries", 0, || {
            "DELETE FROM {s}credit_transactions e USING unnest($1::uuid[], $2::int8[], $3::bytea[]) \
                 AS gone(user_id, seq, hash) \
             WHERE e.user_id = gone.user_id AND e.seq = gone.seq AND e.hash = gone.hash"
                .into()
        });
        let rows = Rows::of(removal, |part| &part.gone);
        let wanted = rows.users.len();
        let found = execute(connection, rows.bind(sqlx::query(text))).await?;
        if found == wanted as u64 {
            return Ok(());
        }
        Err(not_as_archived(wanted, usize::try_from(found).unwrap_or(wanted)))
    }
}

/// Entries by account, number and a hash, column by column.
#[derive(Default)]
struct Rows {
    users: Vec<Uuid>,
    numbers: Vec<i64>,
    hashes: Vec<Vec<u8>>,
}

impl Rows {
    fn of(removal: &Removal, entries: impl Fn(&AccountRemoval) -> &Vec<(i64, Hash)>) -> Self {
        let mut rows = Rows::default();
        for part in &removal.accounts {
            for (seq, hash) in entries(part) {
                rows.users.push(part.user_id());
                rows.numbers.push(*seq);
                rows.hashes.push(hash.0.to_vec());
            }
        }
        rows
    }

    fn bind<'q>(self, statement: Statement<'q>) -> Statement<'q> {
        statement.bind(self.users).bind(self.numbers).bind(self.hashes)
    }
}

impl Retention for PostgresStore {
    fn archivable(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        count: usize,
    ) -> Reading<'_, Vec<(Uuid, i64)>> {
        Box::pin(async move {
            let (mask, than) = if after.is_some() { (0, ">") } else { (1, ">=") };
            let text = self.statements.text("archivable", mask, || {
                format!(
                    "SELECT a.user_id, coalesce(c.seq, 0) FROM {{s}}credit_accounts a \
                     LEFT JOIN {{s}}credit_checkpoints c ON c.user_id = a.user_id \
                     WHERE a.user_id {than} $1 AND a.created_at < $2 AND (SELECT e.created_at \
                     FROM {{s}}credit_transactions e WHERE e.user_id = a.user_id AND e.seq = coalesce(c.seq, 0) + 1) < $2 \
                     ORDER BY a.user_id LIMIT $3"
                )
            });
            let make = || {
                self.query(text.clone())
                    .bind(after.unwrap_or_default())
                    .bind(before)
                    .bind(limit(count))
            };
            let rows = self.rows(make).await?;
            let read = |row: &PgRow| -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
            rows.iter().map(|row| read(row).map_err(during_read)).collect()
        })
    }

    fn journals(&self, after: Vec<(Uuid, i64)>, each: usize) -> Reading<'_, Vec<StoredEntry>> {
        Box::pin(async move {
            let text = self.statements.text("journals", 0, || {
                format!(
                    "SELECT {ENTRY} FROM (SELECT e.* FROM unnest($1::uuid[], $2::int8[]) AS a(owner, number) \
                     CROSS JOIN LATERAL (SELECT * FROM {{s}}credit_transactions t \
                     WHERE t.user_id = a.owner AND t.seq > a.number ORDER BY t.seq LIMIT $3) e) found \
                     ORDER BY user_id, seq"
                )
            });
            let (users, numbers): (Vec<Uuid>, Vec<i64>) = after.into_iter().unzip();
            let make = || {
                self.query(text.clone())
                    .bind(users.clone())
                    .bind(numbers.clone())
                    .bind(limit(each))
            };
            all(&self.rows(make).await?, "an entry", |c| stored_entry(c))
        })
    }

    fn first_pending(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, Timestamp)>> {
        Box::pin(async move {
            let text = self.statements.text("first_pending", 0, || {
                "SELECT user_id, min(created_at) FROM {s}credit_consumption_logs \
                 WHERE user_id = ANY($1) AND status = 'pending' GROUP BY user_id"
                    .into()
            });
            let rows = self
                .rows(|| self.query(text.clone()).bind(accounts.clone()))
                .await?;
            let read = |row: &PgRow| -> Result<_, sqlx::Error> { Ok((row.try_get(0)?, row.try_get(1)?)) };
            rows.iter().map(|row| read(row).map_err(during_read)).collect()
        })
    }

    fn checkpoints(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<Checkpoint>> {
        Box::pin(async move {
            let text = checkpoints_of(&self.statements);
            let rows = self
                .rows(|| self.query(text.clone()).bind(accounts.clone()))
                .await?;
            rows.iter().map(checkpoint).collect()
        })
    }

    fn remove_entries(&self, removal: Removal) -> Reading<'_, bool> {
        Box::pin(async move {
            let removed = self.remove(&removal).await;
            self.told(removed).await
        })
    }

    fn archivable_holds(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        count: usize,
    ) -> Reading<'_, Vec<Hold>> {
        Box::pin(async move {
            let text = self.statements.text("archivable_holds", 0, || {
                format!(
                    "SELECT {HOLD} FROM {{s}}credit_consumption_logs h WHERE consumption_id > $1 AND consumption_id < $2 \
                     AND status <> 'pending' AND updated_at < $3 AND updated_at < (SELECT c.created_at - $4 * interval \
                     '1 second' FROM {{s}}credit_checkpoints c WHERE c.user_id = h.user_id) \
                     ORDER BY consumption_id LIMIT $5"
                )
            });
            let apart = i32::try_from(CLOCKS_APART.as_secs()).unwrap_or(i32::MAX);
            let make = || {
                self.query(text.clone())
                    .bind(after.unwrap_or_default())
                    .bind(id::first_at(before))
                    .bind(before)
                    .bind(apart)
                    .bind(limit(count))
            };
            all(&self.rows(make).await?, "a consumption", |c| hold(c))
        })
    }

    fn remove_holds(&self, holds: Vec<Hold>) -> Reading<'_, u64> {
        Box::pin(async move {
            let text = self.statements.text("remove_holds", 0, || {
                "DELETE FROM {s}credit_consumption_logs h \
                 USING unnest($1::uuid[], $2::uuid[], $3::text[], $4::int8[], $5::int8[]) \
                     AS gone(consumption_id, user_id, status, captured, reversed) \
                 WHERE h.consumption_id = gone.consumption_id AND h.user_id = gone.user_id \
                 AND h.status = gone.status AND h.captured = gone.captured AND h.reversed = gone.reversed \
                 AND h.status <> 'pending'"
                    .into()
            });
            let states = || holds.iter().map(|hold| &hold.state);
            let statement = sqlx::query(text)
                .bind(holds.iter().map(|hold| hold.consumption_id).collect::<Vec<_>>())
                .bind(holds.iter().map(|hold| hold.user_id).collect::<Vec<_>>())
                .bind(states().map(|state| state.status.as_str()).collect::<Vec<_>>())
                .bind(states().map(|state| state.captured).collect::<Vec<_>>())
                .bind(states().map(|state| state.reversed).collect::<Vec<_>>());
            self.change(statement).await
        })
    }

    fn archives(&self) -> Reading<'_, Vec<ArchiveFile>> {
        Box::pin(async move {
            let text = self.statements.text("archives", 0, || {
                "SELECT name, kind, older_than, lines, bytes, sha256, created_at, removed_at \
                 FROM {s}credit_archives ORDER BY created_at, name"
                    .into()
            });
            let rows = self.rows(|| self.query(text.clone())).await?;
            rows.iter().map(|row| file(row).map_err(during_read)).collect()
        })
    }

    fn add_archive(&self, file: ArchiveFile) -> Reading<'_, ()> {
        Box::pin(async move {
            let text = self.statements.text("add_archive", 0, || {
                "INSERT INTO {s}credit_archives (name, kind, older_than, lines, bytes, sha256, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING"
                    .into()
            });
            let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
            let statement = sqlx::query(text)
                .bind(&file.name)
                .bind(file.kind.as_str())
                .bind(file.older_than)
                .bind(count(file.lines))
                .bind(count(file.bytes))
                .bind(file.sha256.0.to_vec())
                .bind(file.created_at);
            self.change(statement).await?;
            Ok(())
        })
    }

    fn finish_archive(&self, name: String, at: Timestamp) -> Reading<'_, ()> {
        Box::pin(async move {
            let text = self.statements.text("finish_archive", 0, || {
                "UPDATE {s}credit_archives SET removed_at = $2 WHERE name = $1".into()
            });
            self.change(sqlx::query(text).bind(name).bind(at)).await?;
            Ok(())
        })
    }
}
