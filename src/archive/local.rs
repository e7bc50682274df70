//! An archive in a directory.

use super::{ArchiveError, Put, Sealed, blocking};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a temporary file's name begins and ends with. No segment's name begins so.
const PART_PREFIX: &str = ".";
const PART_SUFFIX: &str = ".part";

/// The directory, which was there when it was opened.
#[derive(Clone)]
pub(super) struct Directory {
    root: Arc<Path>,
}

impl Directory {
    /// Never makes it: where a disk is not mounted, what is archived would be hidden as soon as it is.
    pub(super) fn open(path: &str) -> Result<Self, ArchiveError> {
        if path.is_empty() {
            return Err(ArchiveError::location("is empty"));
        }
        // As it is now: a program may change its working directory.
        let root = std::path::absolute(path)
            .map_err(|error| ArchiveError::location(format!("{path} is no path: {error}")))?;
        if !root.is_dir() {
            return Err(ArchiveError::location(format!(
                "{} is no directory; make it, or mount its disk",
                root.display()
            )));
        }
        Ok(Directory { root: root.into() })
    }

    pub(super) async fn put(&self, name: &str, segment: &Sealed) -> Result<Put, ArchiveError> {
        let (root, file) = (Arc::clone(&self.root), Arc::clone(&segment.file));
        let path = root.join(name);
        let failed = failure(&path);
        blocking(move || store(&root, &path, &file).map_err(failed)).await
    }

    pub(super) async fn size(&self, name: &str) -> Result<u64, ArchiveError> {
        let path = self.root.join(name);
        self.look(name, move || {
            let about = fs::metadata(path)?;
            if about.is_file() {
                Ok(about.len())
            } else {
                Err(io::Error::other("it is no file"))
            }
        })
        .await
    }

    /// Fewer bytes, where the file has no more.
    pub(super) async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
        let path = self.root.join(name);
        self.look(name, move || {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok(bytes)
        })
        .await
    }

    /// Reads: what is not there, while the directory is, is no segment.
    async fn look<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let (root, name) = (Arc::clone(&self.root), name.to_owned());
        blocking(move || {
            work().map_err(|error| match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory if root.is_dir() => {
                    ArchiveError::not_found(&name)
                }
                _ => failure(&root.join(name))(error),
            })
        })
        .await
    }
}

/// Everything that blocks of a `put`.
fn store(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<Put> {
    let directory = path.parent().unwrap_or(root);
    let folders = make_folders(root, directory)?;
    let put = if fs::exists(path)? {
        // Whoever wrote it may have died before this.
        File::open(path)?.sync_all()?;
        Put::Taken
    } else {
        let mut file = tempfile::Builder::new();
        #[cfg(unix)]
        file.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask, as any other file
        let mut file = file
            .prefix(PART_PREFIX)
            .suffix(PART_SUFFIX)
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Put::Done,
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Put::Taken,
            Err(error) => return Err(error.error),
        }
    };
    // The names on the way: a file without one is lost.
    folders.iter().try_for_each(|folder| sync(folder))?;
    Ok(put)
}

/// Makes what is missing between the root and a directory; gives all of them, the innermost first.
fn make_folders(root: &Path, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let folders: Vec<PathBuf> = (directory.ancestors())
        .take_while(|folder| folder.starts_with(root))
        .map(Path::to_owned)
        .collect();
    // Not the root: see `open`.
    for folder in folders.iter().rev().skip(1) {
        match fs::create_dir(folder) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(folders)
}

/// Makes the names in a directory durable. Only Unix can.
fn sync(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()
    } else {
        Ok(())
    }
}

fn failure(path: &Path) -> impl FnOnce(io::Error) -> ArchiveError + Send + 'static {
    let path = path.display().to_string();
    move |error| ArchiveError::Store {
        remedy: match error.kind() {
            ErrorKind::NotFound => "check that the archive's disk is mounted",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "let this user write and read there"
            }
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room there, then try again",
            _ => "check the archive's disk, then try again",
        },
        problem: format!("the archive's file {path}: {error}"),
    }
}
