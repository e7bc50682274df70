//! The layout of a segment's file, as `mod.rs` describes it: frames, the index, the trailer. Pure.

use super::ArchiveError;
use crate::ledger::Hash;
use serde::{Deserialize, Serialize};
use std::io;
use uuid::Uuid;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::{CParameter, compress_bound};

/// The longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest header, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
/// A segment takes no more lines once it has so many compressed bytes.
pub const SEGMENT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// A segment takes no more lines once it has so many blocks: 16 GiB of lines.
pub const BLOCKS_MAX: usize = 65_536;

/// A block ends before the line with which it would be longer, in uncompressed bytes; but it has one line at least.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;
/// What stands around a line, or the header, at the most.
const AROUND_BYTES_MAX: usize = 64;
/// What a frame may hold, in uncompressed bytes.
pub(super) const BLOCK_RAW_MAX: usize = LINE_BYTES_MAX + AROUND_BYTES_MAX;
pub(super) const HEADER_RAW_MAX: usize = HEADER_BYTES_MAX + AROUND_BYTES_MAX;
pub(super) const INDEX_RAW_MAX: usize = 32 * 1024 * 1024;

pub(super) const FORMAT: u32 = 1;
pub(super) const TRAILER_BYTES: usize = 64;

/// `0x184D2A5C`, the number of a skippable frame, and the length of what is in it: little-endian, as everything in zstd.
const TRAILER_HEAD: [u8; 8] = [0x5C, 0x2A, 0x4D, 0x18, (TRAILER_BYTES - 8) as u8, 0, 0, 0];
const TRAILER_MARK: [u8; 8] = *b"CREDITS1";

const LEVEL: i32 = 3;

const ROW_START: &str = r#"{"account":""#;
const ROW_MIDDLE: &str = r#"","row":"#;
const HEADER_START: &str = r#"{"segment":"#;
/// After a header and after a row.
const END: &str = "}\n";

/// What is wrong with a file.
pub(super) type Problem = String;

/// Where a frame is, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Frame {
    /// Where it begins in the file.
    pub(super) offset: u64,
    /// How long it is there.
    pub(super) length: u64,
    /// How long it is uncompressed.
    pub(super) raw: u64,
    /// Of its bytes in the file.
    #[serde(with = "hex")]
    pub(super) sha256: Hash,
}

impl Frame {
    /// Compresses, and appends to the file.
    pub(super) fn append(file: &mut Vec<u8>, raw: &[u8]) -> io::Result<Self> {
        let mut compressor = Compressor::new(LEVEL)?;
        // For whoever has nothing but the zstd tool.
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        let stored = compressor.compress(raw)?;
        let frame = Frame {
            offset: file.len() as u64,
            length: stored.len() as u64,
            raw: raw.len() as u64,
            sha256: Hash::of(&stored),
        };
        file.extend_from_slice(&stored);
        Ok(frame)
    }

    /// Where the next one begins. Says no where it begins elsewhere than at `start`, or is larger than a writer makes it:
    /// so nothing is ever allocated that only a hostile file asks for.
    pub(super) fn checked(&self, start: u64, raw_max: usize) -> Result<u64, Problem> {
        let raw = usize::try_from(self.raw).unwrap_or(usize::MAX);
        if raw > raw_max {
            return Err(format!(
                "a frame claims {} bytes of text; {raw_max} are the limit",
                self.raw
            ));
        }
        if self.offset != start {
            return Err(format!("a frame begins at {}, not at {start}", self.offset));
        }
        if self.length > compress_bound(raw) as u64 {
            return Err(format!("a frame claims {} bytes for {raw} of text", self.length));
        }
        (self.offset.checked_add(self.length)).ok_or_else(|| "a frame ends beyond any file".into())
    }

    /// The text of a checked frame.
    pub(super) fn text(&self, stored: &[u8]) -> Result<String, Problem> {
        if Hash::of(stored) != self.sha256 {
            return Err(format!("the frame at {} has another SHA-256", self.offset));
        }
        let raw = usize::try_from(self.raw).map_err(|_| "a frame is larger than memory")?;
        let text = Decompressor::new()
            .and_then(|mut zstd| zstd.decompress(stored, raw))
            .map_err(|error| format!("the frame at {} can't be decompressed: {error}", self.offset))?;
        if text.len() != raw {
            return Err(format!("the frame at {} has another length", self.offset));
        }
        String::from_utf8(text).map_err(|_| format!("the frame at {} is no UTF-8", self.offset))
    }
}

/// A frame of rows, and what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Block {
    pub(super) frame: Frame,
    pub(super) lines: u64,
    /// The account of its first line.
    pub(super) first: Uuid,
    /// The account of its last line.
    pub(super) last: Uuid,
}

impl Block {
    /// The rows of its text.
    pub(super) fn rows(&self, text: &str) -> Result<Vec<(Uuid, String)>, Problem> {
        let rows: Option<Vec<(Uuid, String)>> = text
            .split_inclusive('\n')
            .map(|row| {
                let row = row.strip_prefix(ROW_START)?.strip_suffix(END)?;
                let (account, line) = row.split_once(ROW_MIDDLE)?;
                Some((Uuid::try_parse(account).ok()?, line.to_owned()))
            })
            .collect();
        let rows =
            rows.ok_or_else(|| format!("the block at {} has a line of another form", self.frame.offset))?;
        let ends = (rows.first().map(|row| row.0), rows.last().map(|row| row.0));
        if rows.len() as u64 != self.lines
            || ends != (Some(self.first), Some(self.last))
            || !rows.is_sorted_by_key(|row| row.0)
        {
            return Err(format!(
                "the block at {} has not the lines that the index names",
                self.frame.offset
            ));
        }
        Ok(rows)
    }
}

/// What a segment consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    /// [`FORMAT`].
    pub(super) format: u32,
    pub(super) header: Frame,
    pub(super) blocks: Vec<Block>,
    /// Of all blocks.
    pub(super) lines: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexLine<I> {
    index: I,
}

#[derive(Deserialize)]
struct Version {
    format: u32,
}

impl Index {
    pub(super) fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&IndexLine { index: self }).map(|line| line + "\n")
    }

    /// Reads the index that begins at `start`, and compares whatever can be compared without reading the blocks.
    pub(super) fn from_text(text: &str, start: u64) -> Result<Self, Problem> {
        let unreadable = |error| format!("its index can't be read: {error}");
        // What another version of the library has written may have other fields; its number is there.
        let version: IndexLine<Version> = serde_json::from_str(text).map_err(unreadable)?;
        if version.index.format != FORMAT {
            let found = version.index.format;
            return Err(format!(
                "it has format {found}; this version of the library reads {FORMAT}"
            ));
        }
        let IndexLine { index }: IndexLine<Index> = serde_json::from_str(text).map_err(unreadable)?;
        if index.blocks.len() > BLOCKS_MAX {
            return Err(format!("its index has more than {BLOCKS_MAX} blocks"));
        }
        let mut end = index.header.checked(0, HEADER_RAW_MAX)?;
        let mut lines = 0_u64;
        let mut last = Uuid::nil();
        for block in &index.blocks {
            end = block.frame.checked(end, BLOCK_RAW_MAX)?;
            if block.first < last || block.last < block.first {
                return Err("its blocks are not in order of accounts".into());
            }
            last = block.last;
            lines = lines.saturating_add(block.lines);
        }
        if end != start {
            return Err(format!(
                "its last block ends at {end}, its index begins at {start}"
            ));
        }
        if lines != index.lines {
            return Err(format!(
                "its blocks have {lines} lines, its index says {}",
                index.lines
            ));
        }
        Ok(index)
    }
}

/// The end of a file, which says where its index is.
pub(super) fn trailer(index: &Frame) -> Result<Vec<u8>, Problem> {
    let narrow = |n: u64| u32::try_from(n).map_err(|_| Problem::from("the index is too large"));
    let mut trailer = Vec::with_capacity(TRAILER_BYTES);
    trailer.extend_from_slice(&TRAILER_HEAD);
    trailer.extend_from_slice(&index.offset.to_le_bytes());
    trailer.extend_from_slice(&narrow(index.length)?.to_le_bytes());
    trailer.extend_from_slice(&narrow(index.raw)?.to_le_bytes());
    trailer.extend_from_slice(&index.sha256.0);
    trailer.extend_from_slice(&TRAILER_MARK);
    Ok(trailer)
}

/// Where the index is, in a file of `bytes` that ends like this.
pub(super) fn index_of(trailer: &[u8], bytes: u64) -> Result<Frame, Problem> {
    let frame = parts(trailer).ok_or("it does not end as a segment does")?;
    // The claimed beginning is compared with where the last block ends, later.
    let end = frame.checked(frame.offset, INDEX_RAW_MAX)?;
    if end.checked_add(TRAILER_BYTES as u64) != Some(bytes) {
        return Err(format!("its {bytes} bytes are not as many as its end says"));
    }
    Ok(frame)
}

fn parts(trailer: &[u8]) -> Option<Frame> {
    let rest = trailer.strip_prefix(&TRAILER_HEAD)?.strip_suffix(&TRAILER_MARK)?;
    let (offset, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (raw, sha256) = rest.split_first_chunk()?;
    Some(Frame {
        offset: u64::from_le_bytes(*offset),
        length: u32::from_le_bytes(*length).into(),
        raw: u32::from_le_bytes(*raw).into(),
        sha256: Hash::from_slice(sha256)?,
    })
}

/// Appends a row.
pub(super) fn push_row(text: &mut String, account: Uuid, line: &str) {
    let mut id = Uuid::encode_buffer();
    let id: &str = account.hyphenated().encode_lower(&mut id);
    for part in [ROW_START, id, ROW_MIDDLE, line, END] {
        text.push_str(part);
    }
}

/// How long a row is.
pub(super) const fn row_bytes(line: &str) -> usize {
    ROW_START.len() + uuid::fmt::Hyphenated::LENGTH + ROW_MIDDLE.len() + line.len() + END.len()
}

pub(super) fn header_text(header: &str) -> String {
    [HEADER_START, header, END].concat()
}

pub(super) fn header_of(text: &str) -> Result<String, Problem> {
    let header = text
        .strip_prefix(HEADER_START)
        .and_then(|rest| rest.strip_suffix(END));
    Ok(header.ok_or("its header has another form")?.to_owned())
}

/// Says no to text that would make the file no JSON Lines, or is too long.
pub(super) fn check_line(what: &str, line: &str, bytes_max: usize) -> Result<(), ArchiveError> {
    let invalid = |problem| Err(ArchiveError::Invalid { problem });
    if line.len() > bytes_max {
        return invalid(format!(
            "{what} has {} bytes; {bytes_max} are the limit",
            line.len()
        ));
    }
    if line.contains(['\n', '\r']) {
        return invalid(format!("{what} has a line break in it"));
    }
    if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(line) {
        return invalid(format!("{what} is no JSON: {error}"));
    }
    Ok(())
}

/// A SHA-256 as text.
mod hex {
    use crate::ledger::Hash;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &Hash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(hash)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Hash, D::Error> {
        let text = String::deserialize(from)?;
        let digits = text.as_bytes().chunks(2).map(|pair| {
            let pair = str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Vec<u8>> = digits.collect();
        // What would be written otherwise, such as `+1`, is not what was hashed.
        bytes
            .and_then(|bytes| Hash::from_slice(&bytes))
            .filter(|hash| hash.to_string() == text)
            .ok_or_else(|| D::Error::custom("a SHA-256 has 64 hexadecimal digits"))
    }
}
