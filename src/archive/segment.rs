//! Reads a stored segment: the index first, then only the blocks that are asked for.

use super::format::{Block, Index, Problem, TRAILER_BYTES, header_of, index_of};
use super::{ArchiveError, Place, blocking};
use crate::ledger::Hash;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// How much of a file's end is fetched at once: small segments whole, and the index of larger ones.
const TAIL_BYTES: u64 = 64 * 1024;

/// A stored segment. Every call checks what it reads.
pub struct Segment {
    place: Place,
    name: Arc<str>,
    header: String,
    index: Index,
    index_sha256: Hash,
    bytes: u64,
    /// The number of the block that comes next.
    next: usize,
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Segment({}, {} lines)", self.name, self.index.lines)
    }
}

/// The end of a file, and where it begins.
struct Tail {
    start: u64,
    bytes: Vec<u8>,
}

impl Tail {
    /// A part of the file, where it is in here.
    fn part(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let length = usize::try_from(length).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }
}

impl Segment {
    pub(super) async fn open(place: &Place, name: &str) -> Result<Self, ArchiveError> {
        let damaged = |problem: Problem| ArchiveError::damaged(name, problem);
        let bytes = place.size(name).await?;
        let trailer = (bytes.checked_sub(TRAILER_BYTES as u64))
            .ok_or_else(|| damaged(format!("it has {bytes} bytes: too few for a segment")))?;
        let start = bytes.saturating_sub(TAIL_BYTES);
        let tail = Tail {
            start,
            bytes: place.read(name, start, bytes - start).await?,
        };
        let end = tail.part(trailer, TRAILER_BYTES as u64).unwrap_or_default();
        let frame = index_of(end, bytes).map_err(damaged)?;
        let stored = part(place, name, &tail, frame.offset, frame.length).await?;
        let index = blocking(move || {
            Ok(frame
                .text(&stored)
                .and_then(|text| Index::from_text(&text, frame.offset)))
        })
        .await?
        .map_err(damaged)?;

        let head = index.header;
        let stored = part(place, name, &tail, head.offset, head.length).await?;
        let header = head.text(&stored).and_then(|text| header_of(&text));
        Ok(Segment {
            place: place.clone(),
            name: name.into(),
            header: header.map_err(damaged)?,
            index,
            index_sha256: frame.sha256,
            bytes,
            next: 0,
        })
    }

    /// What was given to [`SegmentWriter::new`](super::SegmentWriter::new).
    #[must_use]
    pub fn header(&self) -> &str {
        &self.header
    }

    /// How many lines it has.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.index.lines
    }

    /// How large its file is.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The SHA-256 of the index, which names the SHA-256 of everything else. Where it is what
    /// [`Sealed::index_sha256`](super::Sealed::index_sha256) was, this is the segment that was sealed, and what is read of
    /// it is what was written; no other one can be under its name. [`Archive::check`](super::Archive::check) says the same
    /// by reading the whole file.
    #[must_use]
    pub fn index_sha256(&self) -> [u8; 32] {
        self.index_sha256.0
    }

    /// The next block of lines in order, and `None` after the last. Only one block is in memory at a time. After an error,
    /// and after a future that was dropped, the same block comes again.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`] where the block is not what the index says; [`ArchiveError::NotFound`] and
    /// [`ArchiveError::Store`] where it can't be read.
    pub async fn next_block(&mut self) -> Result<Option<Vec<(Uuid, String)>>, ArchiveError> {
        let Some(block) = self.index.blocks.get(self.next) else {
            return Ok(None);
        };
        let rows = self.rows(block).await?;
        self.next += 1;
        Ok(Some(rows))
    }

    /// All lines of one account, in the order in which they were pushed. Reads only the blocks that can have them.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block).
    pub async fn lines_of(&self, account: Uuid) -> Result<Vec<String>, ArchiveError> {
        let mut lines = Vec::new();
        let before = self.index.blocks.partition_point(|block| block.last < account);
        let blocks = self.index.blocks.iter().skip(before);
        for block in blocks.take_while(|block| block.first <= account) {
            let rows = self.rows(block).await?.into_iter();
            lines.extend(rows.filter(|row| row.0 == account).map(|row| row.1));
        }
        Ok(lines)
    }

    async fn rows(&self, block: &Block) -> Result<Vec<(Uuid, String)>, ArchiveError> {
        let block = *block;
        let stored = (self.place)
            .read(&self.name, block.frame.offset, block.frame.length)
            .await?;
        blocking(move || Ok(block.frame.text(&stored).and_then(|text| block.rows(&text))))
            .await?
            .map_err(|problem| ArchiveError::damaged(&self.name, problem))
    }
}

async fn part(
    place: &Place,
    name: &str,
    tail: &Tail,
    offset: u64,
    length: u64,
) -> Result<Vec<u8>, ArchiveError> {
    match tail.part(offset, length) {
        Some(part) => Ok(part.to_vec()),
        None => place.read(name, offset, length).await,
    }
}
