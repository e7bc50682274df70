//! What clean-ups read and remove.

use super::{Books, MemoryStore, later};
use crate::ledger::{Checkpoint, Hash, Hold, Status, Timestamp};
use crate::store::retention::{ArchiveFile, Removal, not_as_archived};
use crate::store::{Reading, Retention, StoredEntry};
use uuid::Uuid;

impl Retention for MemoryStore {
    fn archivable(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        limit: usize,
    ) -> Reading<'_, Vec<(Uuid, i64)>> {
        self.read(|books| {
            let found = later(&books.accounts, after).filter_map(|(user_id, _)| {
                let seq = books.checkpoints.get(user_id).map_or(0, |c| c.account.seq);
                let next = books.entry(*user_id, seq + 1)?;
                (next.created_at < before).then_some((*user_id, seq))
            });
            found.take(limit).collect()
        })
    }

    fn journals(&self, after: Vec<(Uuid, i64)>, each: usize) -> Reading<'_, Vec<StoredEntry>> {
        self.read(|books| {
            let journals = after
                .into_iter()
                .flat_map(|(user_id, seq)| books.journal_of(user_id, seq).take(each));
            journals.cloned().map(Ok).collect()
        })
    }

    fn first_pending(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<(Uuid, Timestamp)>> {
        self.read(|books| {
            let first = |user_id: Uuid| {
                let holds = books.holds_of(user_id);
                let pending = holds.filter(|hold| hold.state.status == Status::Pending);
                Some((user_id, pending.map(|hold| hold.created_at).min()?))
            };
            accounts.into_iter().filter_map(first).collect()
        })
    }

    fn checkpoints(&self, accounts: Vec<Uuid>) -> Reading<'_, Vec<Checkpoint>> {
        self.read(|books| {
            let found = accounts
                .iter()
                .filter_map(|user_id| books.checkpoints.get(user_id));
            found.cloned().collect()
        })
    }

    fn remove_entries(&self, removal: Removal) -> Reading<'_, bool> {
        self.write(|books| {
            let seq = |books: &Books, user_id| books.checkpoints.get(&user_id).map(|c| c.account.seq);
            if removal
                .accounts
                .iter()
                .any(|part| seq(books, part.user_id()) != part.expected)
            {
                return Ok(false);
            }
            let gone = removal
                .accounts
                .iter()
                .flat_map(|part| part.gone.iter().map(|(seq, hash)| (part.user_id(), *seq, *hash)));
            let is_there = |(user_id, seq, hash): &(Uuid, i64, Hash)| {
                books
                    .entry(*user_id, *seq)
                    .is_some_and(|entry| entry.hash == *hash)
            };
            let found = gone.clone().filter(is_there).count();
            if found < gone.clone().count() {
                return Err(not_as_archived(gone.count(), found));
            }
            for (user_id, seq, _) in gone {
                if let Some(key) = books
                    .entries
                    .remove(&(user_id, seq))
                    .and_then(|entry| entry.idempotency_key)
                {
                    books.keys.remove(&(user_id, key));
                }
            }
            for part in &removal.accounts {
                let kept = part
                    .kept
                    .iter()
                    .map(|(seq, hash)| ((part.user_id(), *seq), *hash));
                books.kept.extend(kept);
                books.checkpoints.insert(part.user_id(), part.checkpoint.clone());
            }
            for (counter_account, amount) in removal.sums {
                *books.archived_sums.entry(counter_account).or_default() += amount;
            }
            Ok(true)
        })
    }

    fn archivable_holds(
        &self,
        before: Timestamp,
        after: Option<Uuid>,
        limit: usize,
    ) -> Reading<'_, Vec<Hold>> {
        self.read(|books| {
            let named = |hold: &Hold| {
                let mut journal = books.journal_of(hold.user_id, 0);
                journal.any(|entry| {
                    let funded = entry
                        .effects
                        .funded
                        .iter()
                        .any(|(id, _)| *id == hold.consumption_id);
                    funded || entry.consumption_id == Some(hold.consumption_id)
                })
            };
            let old = books.holds.values().filter(|hold| {
                after.is_none_or(|after| hold.consumption_id > after)
                    && hold
                        .state
                        .settled_at
                        .is_some_and(|settled_at| settled_at < before)
                    && !named(hold)
            });
            let mut found: Vec<Hold> = old.cloned().collect();
            found.sort_by_key(|hold| hold.consumption_id);
            found.truncate(limit);
            found
        })
    }

    fn remove_holds(&self, holds: Vec<Hold>) -> Reading<'_, u64> {
        self.write(|books| {
            let mut removed = 0;
            for hold in holds {
                let key = (hold.user_id, hold.consumption_id);
                if books.holds.get(&key) == Some(&hold) {
                    books.holds.remove(&key);
                    books.owners.remove(&hold.consumption_id);
                    removed += 1;
                }
            }
            Ok(removed)
        })
    }

    fn archives(&self) -> Reading<'_, Vec<ArchiveFile>> {
        self.read(|books| books.archives.clone())
    }

    fn add_archive(&self, file: ArchiveFile) -> Reading<'_, ()> {
        self.write(|books| {
            if !books.archives.iter().any(|known| known.name == file.name) {
                books.archives.push(file);
            }
            Ok(())
        })
    }

    fn finish_archive(&self, name: String, at: Timestamp) -> Reading<'_, ()> {
        self.write(|books| {
            let file = books.archives.iter_mut().find(|file| file.name == name);
            file.into_iter().for_each(|file| file.removed_at = Some(at));
            Ok(())
        })
    }
}
