//! Whether the files that a connection has open are still those that their names lead to.
//!
//! A file can be deleted, moved or replaced while it is open. SQLite goes on with it: commits succeed, and what they wrote is
//! gone when the last connection closes, or is read by nobody. The same goes for the write-ahead log (`-wal`) and its index
//! (`-shm`), in which the locks are: without them two processes write as if they were alone.
//!
//! So each connection knows its files by device and inode, and they are compared with what their names lead to:
//!
//! - before a commit: what has changed until then was certainly not done;
//! - after a commit, before anybody is told: what has changed meanwhile may have got lost with the commit;
//! - after each read, before anybody is told what it found.
//!
//! | what is found | what is done |
//! | --- | --- |
//! | the database is missing | everything is refused until it is back. The connection stays open: it has the only way to what was in the file |
//! | the database is another one, and so is the log, or there is none | the connection is closed, and the new database opened: it stands by itself |
//! | the database is another one beside the old log | everything is refused: whoever opens it would write the old log into it |
//! | the log or its index is missing, or another one | everything is refused until it is back. The connection stays open: when the last one to the file is closed, SQLite writes what it has of the log into the database. A new one beside it would begin another log |
//! | the database is empty | everything is refused |
//! | the database is shorter than it was | the connection is closed, and another one opened, which has nothing in its memory. (VACUUM may do that) |
//!
//! Before a process opens a database for the first time, it looks at what is there: [`check_before_opening`]; and whether
//! others have it open although its log or index is gone ([`super::open`]): they write what nobody else would see. Where
//! a connection's index is gone and its log is not, it is closed without writing the log into the database, for others may
//! have written to the log since.
//!
//! What can't be seen: a file whose content somebody overwrites in place; a log that belonged to another database of the
//! same name; a file that is reached by two folders (a bind mount), each with a log of its own.
//!
//! On Windows a file that SQLite has open can't be deleted, moved or replaced, and nothing is compared.

use crate::store::{StoreError, StoreResult};
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Which file it is, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(FileId(metadata.dev(), metadata.ino()))
    }

    #[cfg(not(unix))]
    fn of(_: &Metadata) -> Option<Self> {
        None
    }

    /// The file that a name leads to.
    pub(super) fn at(path: &Path) -> Option<Self> {
        FileId::of(&std::fs::metadata(path).ok()?)
    }
}

const LOG: &str = "-wal";
const INDEX: &str = "-shm";
const JOURNAL: &str = "-journal";

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// The file that is open.
    Ours,
    Nothing,
    Another,
}

/// The log or its index: made with the first read, at the latest.
#[derive(Debug)]
struct Companion {
    path: PathBuf,
    id: OnceLock<FileId>,
}

impl Companion {
    fn of(database: &Path, suffix: &str) -> Self {
        let path = beside(database, suffix);
        let id = OnceLock::new();
        if let Some(found) = FileId::at(&path) {
            id.get_or_init(|| found);
        }
        Companion { path, id }
    }

    fn look(&self) -> Found {
        match (FileId::at(&self.path), self.id.get()) {
            // There was none when the connection was opened: the database was not one yet.
            (found, None) => {
                if let Some(found) = found {
                    self.id.get_or_init(|| found);
                }
                Found::Ours
            }
            (None, Some(_)) => Found::Nothing,
            (Some(found), Some(ours)) if found == *ours => Found::Ours,
            (Some(_), Some(_)) => Found::Another,
        }
    }
}

/// The files of a connection.
#[derive(Debug)]
pub(super) struct Place {
    /// As the ledger was told: it may lead through links.
    path: PathBuf,
    database: FileId,
    /// The most bytes that the database was seen to have.
    size: AtomicU64,
    log: Companion,
    index: Companion,
    /// The connection is being closed, which may delete the log and its index.
    closing: AtomicBool,
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) enum Moved {
    /// Close it, and open the database anew.
    Reopen(String),
    /// Leave it open, and refuse everything.
    Refuse(StoreError),
}

impl Moved {
    /// Where nothing was written, or nothing was told.
    pub(super) fn not_done(self) -> StoreError {
        match self {
            Moved::Reopen(problem) => StoreError::Lost(problem),
            Moved::Refuse(error) => error,
        }
    }

    /// Where a commit has just succeeded.
    pub(super) fn unknown(self) -> StoreError {
        StoreError::Unknown(match self {
            Moved::Reopen(problem) => problem,
            Moved::Refuse(error) => error.to_string(),
        })
    }
}

impl Place {
    /// The files of a connection that was just opened, after its first read. `path` is the ledger's name for the database,
    /// `real` SQLite's, beside which the log is.
    pub(super) fn of(path: &Path, real: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Place {
            path: path.to_owned(),
            database: FileId::of(&metadata)?,
            size: AtomicU64::new(metadata.len()),
            log: Companion::of(real, LOG),
            index: Companion::of(real, INDEX),
            closing: AtomicBool::new(false),
        })
    }

    pub(super) fn set_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    pub(super) fn database(&self) -> FileId {
        self.database
    }

    /// Whether the files are still where they were.
    pub(super) fn check(&self) -> Result<(), Moved> {
        self.check_database()?;
        for (companion, what) in [(&self.log, "write-ahead log"), (&self.index, "index of the log")] {
            if companion.look() != Found::Ours {
                return Err(refuse(
                    format!(
                        "the {what} {} was deleted, moved or replaced while the ledger had it open",
                        companion.path.display()
                    ),
                    "put the file back; or close the ledger in every process that uses it, without killing any: \
                     the last one saves what was in the log",
                ));
            }
        }
        Ok(())
    }

    /// Of the files, the database alone.
    pub(super) fn check_database(&self) -> Result<(), Moved> {
        let name = self.path.display();
        let metadata = match std::fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refuse(
                    format!("the database {name} was deleted or moved while the ledger had it open"),
                    "put the file back, together with its -wal and -shm, or stop the process and restore a backup",
                ));
            }
            Err(error) => {
                return Err(refuse(
                    format!("nobody can tell whether the database {name} is still there: {error}"),
                    "check the path, and that this user may read and write the folder",
                ));
            }
        };
        if FileId::of(&metadata) != Some(self.database) {
            // Where the name leads through a link, the old log may lie elsewhere.
            let real = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
            let log = FileId::at(&beside(&real, LOG));
            return Err(match log {
                Some(log) if self.log.id.get() == Some(&log) => refuse(
                    format!(
                        "the database {name} was replaced while the ledger had it open, and beside it is the old one's log"
                    ),
                    "put the old file back; or stop every process that uses it, move its -wal and -shm away as well, and start again",
                ),
                _ => Moved::Reopen(format!(
                    "the database {name} was replaced while the ledger had it open"
                )),
            });
        }
        let seen = self.size.fetch_max(metadata.len(), Ordering::Relaxed);
        if metadata.len() >= seen {
            return Ok(());
        }
        Err(if metadata.len() == 0 {
            refuse(
                format!("the database {name} was emptied while the ledger had it open"),
                "stop every process that uses it, move its -wal and -shm away, and restore a backup",
            )
        } else {
            Moved::Reopen(format!("the database {name} is shorter than it was"))
        })
    }

    /// Whether the log is still under its name, and another index may be beside it: others may have written to the log what
    /// this connection's index does not know.
    pub(super) fn knows_too_little_of_its_log(&self) -> bool {
        self.log.look() == Found::Ours && self.index.look() != Found::Ours
    }

    /// Whether another connection may be opened beside this one.
    pub(super) fn check_beside(&self) -> StoreResult<()> {
        match self.check() {
            Ok(()) | Err(Moved::Reopen(_)) => Ok(()),
            // There is nothing that a new database could be mixed up with.
            Err(Moved::Refuse(_))
                if FileId::at(&self.path) != Some(self.database) && FileId::at(&self.log.path).is_none() =>
            {
                Ok(())
            }
            Err(Moved::Refuse(error)) => Err(error),
        }
    }
}

/// Whether a database may be opened of which this process has no connection yet: `Ok(Some(why))` where others may be about
/// to make its files, so that it may be tried again in a moment.
///
/// | what is found | why nothing is opened |
/// | --- | --- |
/// | the file has another name (a hard link) | each name has a log of its own, and who writes by one knows nothing of the other |
/// | no database, or an empty one, beside a log | SQLite would delete the log, which may be all that is left of commands |
pub(super) fn check_before_opening(path: &Path) -> Result<Option<StoreError>, StoreError> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let metadata = std::fs::metadata(&real).ok();
    #[cfg(unix)]
    if let Some(metadata) = &metadata {
        use std::os::unix::fs::MetadataExt;
        if metadata.is_file() && metadata.nlink() > 1 {
            return Err(StoreError::Failed {
                problem: format!(
                    "the database {} has another name (a hard link): whoever opens it by that name has another log",
                    path.display()
                ),
                remedy: "remove the other name; to have a second one, use a symbolic link",
            });
        }
    }
    if metadata.is_some_and(|metadata| metadata.len() > 0) {
        return Ok(None);
    }
    let left = [LOG, JOURNAL].map(|suffix| beside(&real, suffix));
    let left = left
        .iter()
        .find(|left| std::fs::metadata(left).is_ok_and(|left| left.len() > 0));
    Ok(left.map(|left| StoreError::Failed {
        problem: format!(
            "there is no database {}, or an empty one, and beside it the log {} of another, which may have commands that \
             are nowhere else",
            path.display(),
            left.display()
        ),
        remedy: "put the database back that the log belongs to; or, if it is not missed, move the log away",
    }))
}

/// Whether a database lacks its log or the log's index, as it does when nobody has it open.
pub(super) fn lacks_companions(path: &Path) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    std::fs::metadata(&real).is_ok_and(|metadata| metadata.len() > 0)
        && [LOG, INDEX]
            .iter()
            .any(|suffix| FileId::at(&beside(&real, suffix)).is_none())
}

/// Of a database that others have open and whose log or index is gone.
pub(super) fn open_elsewhere(path: &Path) -> StoreError {
    StoreError::Failed {
        problem: format!(
            "another process has {} open, and the database's log (-wal) or the log's index (-shm) is not beside it",
            path.display()
        ),
        remedy: "put the file back; or close the database in every process that uses it, without killing any: the last \
                 one saves what was in the log",
    }
}

fn refuse(problem: String, remedy: &'static str) -> Moved {
    Moved::Refuse(StoreError::Failed { problem, remedy })
}
