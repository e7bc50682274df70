//! Builds a segment in memory.

use super::ArchiveError;
use super::format::{
    BLOCK_BYTES, BLOCKS_MAX, Block, FORMAT, Frame, HEADER_BYTES_MAX, Index, LINE_BYTES_MAX,
    SEGMENT_BYTES_MAX, check_line, header_text, push_row, row_bytes, trailer,
};
use crate::ledger::Hash;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

/// The block that is being filled.
struct Open {
    text: String,
    lines: u64,
    first: Uuid,
}

/// Builds a segment in memory. Lines come in ascending order of account; several lines of one account come one after the
/// other, and are given back in that order.
pub struct SegmentWriter {
    header: String,
    file: Vec<u8>,
    /// The header's frame, once it is written.
    head: Option<Frame>,
    blocks: Vec<Block>,
    open: Option<Open>,
    last: Uuid,
    lines: u64,
}

impl fmt::Debug for SegmentWriter {
    /// Without the lines: they are nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SegmentWriter({} lines)", self.lines)
    }
}

impl SegmentWriter {
    /// An empty one. `header`, one line of JSON, says what this is; it is looked at when the first line comes.
    #[must_use]
    pub fn new(header: &str) -> Self {
        SegmentWriter {
            header: header.to_owned(),
            file: Vec::new(),
            head: None,
            blocks: Vec::new(),
            open: None,
            last: Uuid::nil(),
            lines: 0,
        }
    }

    /// Appends a line of JSON. What is refused changes nothing.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] where the line is no JSON, has a line break in it or more than [`LINE_BYTES_MAX`], belongs
    /// to an account before the last one, or does not fit into this segment any more ([`SEGMENT_BYTES_MAX`],
    /// [`BLOCKS_MAX`]): then it is time for the next segment. The same for the header.
    pub fn push(&mut self, account: Uuid, line: &str) -> Result<(), ArchiveError> {
        check_line("a line", line, LINE_BYTES_MAX)?;
        if account < self.last {
            return Err(invalid(format!(
                "account {account} comes after {}; lines come in ascending order of account",
                self.last
            )));
        }
        if self.head.is_none() {
            self.head = Some(self.begin()?);
        }
        let bytes = row_bytes(line);
        if let Some(open) = &self.open
            && open.text.len() + bytes > BLOCK_BYTES
        {
            // The open block is one of them.
            if self.file.len() >= SEGMENT_BYTES_MAX || self.blocks.len() + 1 >= BLOCKS_MAX {
                return Err(invalid(format!(
                    "the segment is full; {SEGMENT_BYTES_MAX} bytes and {BLOCKS_MAX} blocks are the limits"
                )));
            }
            self.close_block()?;
        }
        let open = self.open.get_or_insert_with(|| Open {
            text: String::with_capacity(bytes.max(BLOCK_BYTES)),
            lines: 0,
            first: account,
        });
        push_row(&mut open.text, account, line);
        open.lines += 1;
        self.lines += 1;
        self.last = account;
        Ok(())
    }

    /// How many lines it has so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// How large its file is so far, without the block that is being filled.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.file.len()
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`ArchiveError::Invalid`] where the header is no line of JSON, or longer than [`HEADER_BYTES_MAX`].
    pub fn seal(mut self) -> Result<Sealed, ArchiveError> {
        let header = match self.head {
            Some(header) => header,
            None => self.begin()?,
        };
        self.close_block()?;
        let index = Index {
            format: FORMAT,
            header,
            blocks: self.blocks,
            lines: self.lines,
        };
        let index = index.to_text().map_err(|error| invalid(error.to_string()))?;
        let index = Frame::append(&mut self.file, index.as_bytes()).map_err(|error| failed(&error))?;
        let end = trailer(&index).map_err(invalid)?;
        self.file.extend_from_slice(&end);
        Ok(Sealed {
            sha256: Hash::of(&self.file),
            index_sha256: index.sha256,
            file: Arc::new(self.file),
            lines: self.lines,
        })
    }

    fn begin(&mut self) -> Result<Frame, ArchiveError> {
        check_line("the header", &self.header, HEADER_BYTES_MAX)?;
        Frame::append(&mut self.file, header_text(&self.header).as_bytes()).map_err(|error| failed(&error))
    }

    fn close_block(&mut self) -> Result<(), ArchiveError> {
        let Some(open) = &self.open else {
            return Ok(());
        };
        let frame = Frame::append(&mut self.file, open.text.as_bytes()).map_err(|error| failed(&error))?;
        self.blocks.push(Block {
            frame,
            lines: open.lines,
            first: open.first,
            last: self.last,
        });
        self.open = None;
        Ok(())
    }
}

fn invalid(problem: String) -> ArchiveError {
    ArchiveError::Invalid { problem }
}

/// Only a lack of memory makes compression fail.
fn failed(error: &std::io::Error) -> ArchiveError {
    ArchiveError::Store {
        problem: format!("the lines can't be compressed: {error}"),
        remedy: "give the process more memory, or make smaller segments",
    }
}

/// A finished segment in memory. A clone shares the bytes.
#[derive(Clone)]
pub struct Sealed {
    pub(super) file: Arc<Vec<u8>>,
    lines: u64,
    sha256: Hash,
    index_sha256: Hash,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} lines, {} bytes)", self.lines, self.file.len())
    }
}

impl Sealed {
    /// The whole file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.file
    }

    /// How many lines it has.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Of the whole file: for [`Archive::check`](super::Archive::check).
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256.0
    }

    /// Stands for the whole file too, and is known once a segment is opened: see
    /// [`Segment::index_sha256`](super::Segment::index_sha256).
    #[must_use]
    pub fn index_sha256(&self) -> [u8; 32] {
        self.index_sha256.0
    }
}
