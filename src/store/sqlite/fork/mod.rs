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

use super::place::{Moved, Place};
use crate::store::{StoreError, StoreResult};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

#[cfg(unix)]
mod at_fork;

/// The files that have open connections, how many, and in which process.
static OPEN: Mutex<BTreeMap<PathBuf, Open>> = Mutex::new(BTreeMap::new());
/// A connection to some file was closed.
static CLOSED: Condvar = Condvar::new();

#[derive(Debug)]
struct Open {
    process: u32,
    connections: usize,
    /// Of the connections: nobody may open the database beside one whose files are gone.
    places: Vec<Weak<Place>>,
}

/// A connection that is counted while it is open.
#[derive(Debug)]
pub(super) struct Counted {
    // The fields are dropped in this order: it is closed before its files are forgotten and it is no longer counted.
    connection: Connection,
    /// Of a file, once its first read is done.
    place: Option<Arc<Place>>,
    count: Option<Count>,
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
        wait_beside(&real(path))?;
        #[cfg(unix)]
        at_fork::register();
        // Counted from before it is open, for a fork in between. Only then is there certainly a file whose real name can
        // be found out.
        let _opening = Count::up(real(path), process);
        let connection = open()?;
        let count = Count::up(real(path), process);
        Ok(Counted {
            connection,
            place: None,
            count: Some(count),
        })
    }

    /// From now on the connection's files are compared with these.
    pub(super) fn settle(&mut self, place: Place) {
        let Some(count) = &self.count else { return };
        let place = Arc::new(place);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = open.get_mut(&count.file) {
            open.places.retain(|place| place.strong_count() > 0);
            open.places.push(Arc::downgrade(&place));
        }
        self.place = Some(place);
    }

    /// Of its files, whether the database is still where it was.
    pub(super) fn check_database(&self) -> Result<(), Moved> {
        self.place.as_ref().map_or(Ok(()), |place| place.check_database())
    }

    /// Whether its files are still where they were. What is in memory is.
    pub(super) fn check_place(&self) -> Result<(), Moved> {
        self.place.as_ref().map_or(Ok(()), |place| place.check())
    }

    /// Opens a database in memory with `open`: a child has a copy of its own.
    pub(super) fn memory<E>(open: impl FnOnce() -> Result<Connection, E>) -> Result<Self, E> {
        #[cfg(unix)]
        at_fork::register();
        Ok(Counted {
            connection: open()?,
            place: None,
            count: None,
        })
    }
}

impl Drop for Counted {
    /// Says so, and then the connection is closed.
    fn drop(&mut self) {
        let Some(place) = &self.place else { return };
        // With this lock: who looks at the files knows why they vanish.
        let _open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        place.set_closing();
        if place.knows_too_little_of_its_log() {
            // It is closed in any case; where this failed, as before.
            let without_log = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = self.connection.set_db_config(without_log, true);
        }
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

/// Whether this process has it open.
pub(super) fn is_open(path: &Path) -> bool {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.contains_key(&real(path))
}

fn opened_by_another(file: &Path, process: u32) -> bool {
    let open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    open.get(file).is_some_and(|open| open.process != process)
}

/// Waits until a database may be opened beside the connections that this process has to it; an error where it may not.
fn wait_beside(file: &Path) -> StoreResult<()> {
    let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        match all.get(file).map_or(Beside::May, Open::beside) {
            Beside::May => return Ok(()),
            Beside::MayNot(error) => return Err(error),
            Beside::Wait => all = CLOSED.wait(all).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Whether a database may be opened beside a connection.
#[derive(Debug)]
enum Beside {
    May,
    /// Its files are gone, and it is being closed. The last connection to a file writes the log into the database and deletes it,
    /// so the files may be gone for that reason alone; and one that lost its log to somebody else can save what was in it only
    /// while nobody else has the database open.
    Wait,
    MayNot(StoreError),
}

impl Open {
    fn beside(&self) -> Beside {
        let mut all = Beside::May;
        for place in self.places.iter().filter_map(Weak::upgrade) {
            match place.check_beside() {
                Ok(()) => {}
                Err(_) if place.is_closing() => all = Beside::Wait,
                Err(error) => return Beside::MayNot(error),
            }
        }
        all
    }
}

impl Count {
    fn up(file: PathBuf, process: u32) -> Self {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(file.clone())
            .or_insert(Open {
                process,
                connections: 0,
                places: Vec::new(),
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
        CLOSED.notify_all();
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

    #[test]
    fn who_opens_waits_for_a_connection_that_is_closed_and_is_refused_beside_one_that_lost_its_log() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("credits.db");
        let log = folder.path().join("credits.db-wal");
        std::fs::write(&path, "the database").unwrap();
        std::fs::write(&log, "its log").unwrap();
        let place = Arc::new(Place::of(&path, &path).unwrap());
        let open = Open {
            process: std::process::id(),
            connections: 1,
            places: vec![Arc::downgrade(&place)],
        };
        assert!(matches!(open.beside(), Beside::May));
        std::fs::remove_file(&log).unwrap();
        assert!(matches!(open.beside(), Beside::MayNot(error) if error.to_string().contains("-wal")));
        place.set_closing();
        assert!(matches!(open.beside(), Beside::Wait));
        drop(place);
        assert!(matches!(open.beside(), Beside::May));
    }

    #[test]
    fn a_file_is_opened_by_one_thread_while_another_closes_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("credits.db");
        let settings = super::super::SqliteSettings::default();
        let open = |purpose| super::super::open::file(&path, purpose, &settings).unwrap();
        drop(open(super::super::Purpose::Migrate));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..300).for_each(|_| drop(open(super::super::Purpose::Write))));
            }
        });
    }
}
