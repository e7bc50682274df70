//! Where old rows go before they are removed from the database: *segments*, files that are written once and never
//! changed, in a directory or a bucket. What the rows mean is not known here: a segment is a list of lines of JSON, each
//! with the account it belongs to, sorted by account.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! use jointo_credits::archive::{Archive, SegmentWriter};
//! use uuid::Uuid;
//!
//! # let directory = tempfile::tempdir()?;
//! # let directory = directory.path().to_str().unwrap_or_default();
//! let archive = Archive::open(directory)?; // or "s3://bucket/prefix"
//! let mut writer = SegmentWriter::new(r#"{"rows":"journal"}"#);
//! writer.push(Uuid::from_u128(7), r#"{"seq":1}"#)?;
//! writer.push(Uuid::from_u128(7), r#"{"seq":2}"#)?;
//! let sealed = writer.seal()?;
//! archive.put("2026-11.jsonl.zst", &sealed).await?;
//! archive.check("2026-11.jsonl.zst", &sealed.sha256(), sealed.bytes().len() as u64).await?;
//!
//! let segment = archive.open_segment("2026-11.jsonl.zst").await?;
//! assert_eq!(segment.index_sha256(), sealed.index_sha256());
//! assert_eq!(segment.lines_of(Uuid::from_u128(7)).await?, [r#"{"seq":1}"#, r#"{"seq":2}"#]);
//! # Ok::<_, Box<dyn std::error::Error>>(()) })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # The file
//!
//! For whoever reads one without this library. It is a sequence of Zstandard frames (RFC 8878), so that `zstd -dc FILE`,
//! or any other tool for `.zst`, gives all of it as JSON Lines in UTF-8, each line ended by a line feed:
//!
//! | frame | what is in it |
//! | --- | --- |
//! | header | `{"segment":HEADER}`: what the writer said that this is |
//! | blocks, none or more | rows, `{"account":"UUID","row":ROW}` |
//! | index | `{"index":{"format":1,"header":FRAME,"blocks":[{"frame":FRAME,"lines":N,"first":"UUID","last":"UUID"},...],"lines":N}}` |
//! | end, a skippable frame | 64 bytes, which a tool leaves out |
//!
//! `HEADER` and `ROW` are as they were given, byte for byte. Rows are in ascending order of account (as bytes of the UUID),
//! and rows of one account in the order in which they were given. A block has up to 256 KiB of rows uncompressed, or one
//! row that is longer; rows are never divided, accounts may be.
//!
//! A `FRAME` of the index is `{"offset":N,"length":N,"raw":N,"sha256":"HEX"}`: where it begins in the file, how many bytes it
//! has there and how many uncompressed, and the SHA-256 of its bytes in the file. `first` and `last` are the accounts of a
//! block's first and last row. `lines` counts rows: of a block, then of all blocks. Frames follow one another without a gap.
//!
//! The last 64 bytes, numbers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 to 3 | `5C 2A 4D 18`, a skippable frame |
//! | 4 to 7 | 56, how long the rest is |
//! | 8 to 15 | where the index's frame begins |
//! | 16 to 19 | how many bytes it has |
//! | 20 to 23 | how many uncompressed |
//! | 24 to 55 | the SHA-256 of the index's frame |
//! | 56 to 63 | `CREDITS1` in ASCII |
//!
//! # What is checked
//!
//! Every byte is covered: frames by the SHA-256 in the index, the index by the one at the end, the end by its form and by the
//! length of the file. So whatever is changed, missing or added is found by whoever reads that part, before it is
//! decompressed; and nothing is allocated because a file claims to be large. That a file is the one that was sealed, and no
//! other whole segment, is what [`Archive::check`] and [`Segment::index_sha256`] are for.
//!
//! # How it is stored
//!
//! In a directory: a temporary file beside its place (`.XXXXXX.part`), fsync, a rename that
//! never replaces another file, fsync of the directories. What a crash leaves behind has a name that no segment can have,
//! and may be deleted when nobody writes. In a bucket: one PUT, which asks not to replace anything.

mod format;
mod local;
#[cfg(feature = "s3")]
mod s3;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use format::{BLOCKS_MAX, HEADER_BYTES_MAX, LINE_BYTES_MAX, SEGMENT_BYTES_MAX};
pub use segment::Segment;
pub use writer::{Sealed, SegmentWriter};

use sha2::{Digest, Sha256};
use std::fmt;

/// The longest name of a segment, in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// How much is read at once to check a file.
const CHECK_BYTES: u64 = 4 * 1024 * 1024;

/// Why an archive did not do what it was asked for. What was not done may always be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// There is no segment of this name.
    #[error("the archive has no segment `{name}`")]
    NotFound {
        /// The name.
        name: String,
    },
    /// Another segment has this name. It is left as it is.
    #[error("the archive has another segment `{name}`, which is not overwritten")]
    Exists {
        /// The name.
        name: String,
    },
    /// A stored segment is not what was written.
    #[error("segment `{name}` is damaged: {problem}")]
    Damaged {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What shall be stored can't be.
    #[error("this can't be archived: {problem}")]
    Invalid {
        /// What is wrong with it.
        problem: String,
    },
    /// There can be no archive at this location.
    #[error("the archive's location {problem}")]
    Location {
        /// What is wrong with it.
        problem: String,
    },
    /// The disk, the bucket, or the way to it failed.
    #[error("{problem}; {remedy}")]
    Store {
        /// What failed.
        problem: String,
        /// What to do.
        remedy: &'static str,
    },
}

impl ArchiveError {
    fn damaged(name: &str, problem: String) -> Self {
        ArchiveError::Damaged {
            name: name.to_owned(),
            problem,
        }
    }

    fn not_found(name: &str) -> Self {
        ArchiveError::NotFound {
            name: name.to_owned(),
        }
    }

    fn location(problem: impl Into<String>) -> Self {
        ArchiveError::Location {
            problem: problem.into(),
        }
    }
}

/// Whether a name was free.
enum Put {
    Done,
    /// Something is there already.
    Taken,
}

/// What a location is.
#[derive(Clone)]
enum Place {
    Directory(local::Directory),
    #[cfg(feature = "s3")]
    Bucket(s3::Bucket),
}

impl Place {
    /// Stores where nothing is yet.
    async fn put(&self, name: &str, segment: &Sealed) -> Result<Put, ArchiveError> {
        match self {
            Place::Directory(directory) => directory.put(name, segment).await,
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => bucket.put(name, segment).await,
        }
    }

    /// How many bytes are stored under a name.
    async fn size(&self, name: &str) -> Result<u64, ArchiveError> {
        match self {
            Place::Directory(directory) => directory.size(name).await,
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => bucket.size(name).await,
        }
    }

    /// Exactly so many of them.
    async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        let bytes = match self {
            Place::Directory(directory) => directory.read(name, offset, length).await,
            #[cfg(feature = "s3")]
            Place::Bucket(bucket) => bucket.read(name, offset, length).await,
        }?;
        if bytes.len() as u64 != length {
            return Err(ArchiveError::damaged(
                name,
                format!("{length} bytes at {offset} are wanted, {} are there", bytes.len()),
            ));
        }
        Ok(bytes)
    }
}

/// Where segments are kept: a directory, or a bucket. A clone is the same archive.
#[derive(Clone)]
pub struct Archive {
    location: String,
    place: Place,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Archive({})", self.location)
    }
}

impl Archive {
    /// An archive at `/var/archive` or `file:///var/archive`, which must be a directory; or, with the feature `s3`, at
    /// `s3://bucket/prefix`. Credentials, region and endpoint of a bucket come from the environment, as for other programs
    /// on AWS: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL`, a role of the
    /// machine, and what else `object_store` reads there (`AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true`, where the
    /// endpoint is the bucket's own; `AWS_CONDITIONAL_PUT=disabled`, where a store refuses `If-None-Match`). The bucket is not
    /// asked for anything yet.
    ///
    /// # Errors
    /// [`ArchiveError::Location`].
    pub fn open(location: &str) -> Result<Archive, ArchiveError> {
        match location.split_once("://") {
            None => Archive::in_directory(location, location),
            Some(("file", path)) => {
                if !path.starts_with('/') || path.contains('%') {
                    return Err(ArchiveError::location(
                        "must be like file:///var/archive, without `%`; or write the path alone",
                    ));
                }
                Archive::in_directory(location, path)
            }
            #[cfg(feature = "s3")]
            Some(("s3", rest)) => Archive::in_bucket(rest, s3::of_environment()),
            #[cfg(not(feature = "s3"))]
            Some(("s3", _)) => Err(ArchiveError::location(
                "is a bucket, and this build has none; build it with the feature `s3`",
            )),
            // What stands there may be an URL with a password in it.
            Some(_) => Err(ArchiveError::location(
                "must be a directory, a file:// or an s3:// address",
            )),
        }
    }

    fn in_directory(location: &str, path: &str) -> Result<Archive, ArchiveError> {
        Ok(Archive {
            location: location.to_owned(),
            place: Place::Directory(local::Directory::open(path)?),
        })
    }

    /// `rest` is what follows `s3://`.
    #[cfg(feature = "s3")]
    fn in_bucket(rest: &str, settings: object_store::aws::AmazonS3Builder) -> Result<Archive, ArchiveError> {
        Ok(Archive {
            place: Place::Bucket(s3::Bucket::open(rest, settings)?),
            location: format!("s3://{rest}"),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Stores a segment under a name: when this returns, it is stored whole and durably. After an error, and after a
    /// future that was dropped, it is there whole or not at all, and putting it again is safe. A name has up to
    /// [`NAME_BYTES_MAX`] letters (`a` to `z`, `A` to `Z`), digits, and `.`, `_`, `-`; `/` makes folders; no part begins with `.`.
    ///
    /// # Errors
    /// [`ArchiveError::Exists`] where something else is stored under this name; the same segment again is fine.
    /// [`ArchiveError::Invalid`] where the name is none; [`ArchiveError::Store`].
    pub async fn put(&self, name: &str, segment: &Sealed) -> Result<(), ArchiveError> {
        check_name(name)?;
        if let Put::Done = self.place.put(name, segment).await? {
            return Ok(());
        }
        let there = self
            .check(name, &segment.sha256(), segment.bytes().len() as u64)
            .await;
        match there {
            Err(ArchiveError::Damaged { name, .. }) => Err(ArchiveError::Exists { name }),
            Err(ArchiveError::NotFound { name }) => Err(ArchiveError::Store {
                problem: format!("segment `{name}` was there, and is not any more"),
                remedy: "find out who removes segments, then try again",
            }),
            there => there,
        }
    }

    /// Opens a segment for reading: fetches and checks its index and its header only.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`], [`ArchiveError::Damaged`], [`ArchiveError::Invalid`] where the name is none,
    /// [`ArchiveError::Store`].
    pub async fn open_segment(&self, name: &str) -> Result<Segment, ArchiveError> {
        check_name(name)?;
        Segment::open(&self.place, name).await
    }

    /// Reads a whole file back, and compares its size and its SHA-256 with what was sealed.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] where they differ; otherwise as [`open_segment`](Self::open_segment).
    pub async fn check(&self, name: &str, sha256: &[u8; 32], bytes: u64) -> Result<(), ArchiveError> {
        check_name(name)?;
        let size = self.place.size(name).await?;
        if size != bytes {
            return Err(ArchiveError::damaged(
                name,
                format!("it has {size} bytes, not {bytes}"),
            ));
        }
        let mut sha = Sha256::new();
        let mut offset = 0;
        while offset < bytes {
            let length = CHECK_BYTES.min(bytes - offset);
            let part = self.place.read(name, offset, length).await?;
            sha = blocking(move || {
                sha.update(&part);
                Ok(sha)
            })
            .await?;
            offset += length;
        }
        if <[u8; 32]>::from(sha.finalize()) != *sha256 {
            return Err(ArchiveError::damaged(name, "it has another SHA-256".into()));
        }
        Ok(())
    }
}

/// Says no to names that would be no file, a temporary one, or one somewhere else.
fn check_name(name: &str) -> Result<(), ArchiveError> {
    let good = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && (part.bytes()).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    if name.len() > NAME_BYTES_MAX || !name.split('/').all(good) {
        return Err(ArchiveError::Invalid {
            problem: format!(
                "a segment's name has up to {NAME_BYTES_MAX} letters, digits, `.`, `_`, `-` and `/`, and no part begins with `.`"
            ),
        });
    }
    Ok(())
}

/// Runs `work` where it may block, or think for a while.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T, ArchiveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime is shutting down, or the work panicked.
        Err(error) => Err(ArchiveError::Store {
            problem: error.to_string(),
            remedy: "try again",
        }),
    }
}
