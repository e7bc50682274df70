//! What a process inherits by `fork` while a database is open, and why it must not open that database then.
//!
//! SQLite keeps, for each file, which locks this process has; a child inherits the list but not the locks. A new
//! connection of the child believes it, so the parent can take itself for the last user, move the log into the
//! database and delete it, while the child goes on writing to the deleted log: commits that were acknowledged are
//! gone. And if the parent was in the middle of a transaction, the child waits for it for ever. (Both were tried out.
//! <https://www.sqlite.org/howtocorrupt.html>, section 2.6.)
//!
//! So a parent closes its connections before it forks ([`super::SqliteStore::suspend`]). A child whose parent did not
//! is told so, when it opens the file.
//!
//! # Locks that nobody gives back
//!
//! SQLite and this module have locks for the whole process, whatever the file. A thread that has one while another
//! thread forks does not exist in the child, so whoever wants it there would wait for ever. Hence the thread that forks
//! takes them all, just before, and gives them back in both processes ([`at_fork`], by `pthread_atfork`: it is called
//! whoever forks, and by nothing that happens in between).

use crate::store::{StoreError, StoreResult};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

#[cfg(unix)]
mod at_fork;

/// The files that have open connections, how many, and in which process.
static OPEN: Mutex<BTreeMap<PathBuf, Open>> = Mutex::new(BTreeMap::new());

#[derive(Debug, Clone, Copy)]
struct Open {
    process: u32,
    connections: usize,
}

/// A connection that is counted while it is open.
#[derive(Debug)]
pub(super) struct Counted {
    // Dropped, and so closed, before it is no longer counted.
    connection: Connection,
    _count: Option<Count>,
}

#[derive(Debug)]
struct Count {
    file: PathBuf,
    process: u32,
}

impl Counted {
    /// Opens a file with `open`.
    pub(super) fn file(path: &Path, open: impl FnOnce() -> StoreResult<Connection>) -> StoreResult<Self> {
        Counted::in_process(std::process::id(), path, open)
    }

    fn in_process(
        process: u32,
        path: &Path,
        open: impl FnOnce() -> StoreResult<Connection>,
    ) -> StoreResult<Self> {
        if opened_by_another(&real(path), process) {
            return Err(StoreError::Failed {
                problem: format!(
                    "this process was forked while its parent had {} open, and can't use it safely",
                    path.display()
                ),
                remedy: "close the ledger before forking, or start processes by spawning",
            });
        }
        #[cfg(unix)]
        at_fork::register();
        // Counted from before it is open, for a fork in between. Only then is there certainly a file whose real name can
        // be found out.
        let _opening = Count::up(real(path), process);
        let connection = open()?;
        let count = Count::up(real(path), process);
        Ok(Counted {
            connection,
            _count: Some(count),
        })
    }

    /// Opens a database in memory with `open`: a child has a copy of its own.
    pub(super) fn memory<E>(open: impl FnOnce() -> Result<Connection, E>) -> Result<Self, E> {
        #[cfg(unix)]
        at_fork::register();
        Ok(Counted {
            connection: open()?,
            _count: None,
        })
    }
}

impl Deref for Counted {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

fn real(path: &Path) -> PathBuf {
    let made = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    path.canonicalize()
        .ok()
        .or_else(made)
        .unwrap_or_else(|| path.to_owned())
}

fn opened_by_another(file: &Path, process: u32) -> bool {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.get(file).is_some_and(|open| open.process != process)
}

impl Count {
    fn up(file: PathBuf, process: u32) -> Self {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(file.clone())
            .or_insert(Open {
                process,
                connections: 0,
            })
            .connections += 1;
        Count { file, process }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        // Dropping an inherited connection makes nothing right again.
        let Some(entry) = open
            .get_mut(&self.file)
            .filter(|_| self.process == std::process::id())
        else {
            return;
        };
        entry.connections -= 1;
        if entry.connections == 0 {
            open.remove(&self.file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_may_open_what_its_parent_has_closed() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("credits.db");
        let open = || Connection::open(&path).map_err(|e| super::super::failure::from_code(&e));
        let parent = std::process::id();
        let child = parent + 1;
        let (one, two) = (
            Counted::file(&path, open).unwrap(),
            Counted::file(&path, open).unwrap(),
        );
        let link = folder.path().join("link.db");
        #[cfg(unix)]
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for name in [&path, &link] {
            let refused = Counted::in_process(child, name, open).unwrap_err().to_string();
            assert!(
                refused.contains("forked") && refused.contains("before forking"),
                "{refused}"
            );
        }
        Counted::in_process(child, &folder.path().join("other.db"), open).unwrap();
        drop(one);
        Counted::in_process(child, &path, open).unwrap_err();
        drop(two);
        Counted::file(&path, open).unwrap();
        Counted::in_process(child, &path, open).unwrap();
    }
}
