//! Files that are not what was written: by accident, or on purpose. Each is found, and nobody panics.

use super::*;
use crate::archive::format::{
    BLOCK_RAW_MAX, Block, FORMAT, Frame, HEADER_RAW_MAX, Index, TRAILER_BYTES, header_text, push_row, trailer,
};
use crate::ledger::Hash;
use std::fs;

/// Puts any bytes where a segment should be, and reads all of it in every way. Lines come only where they are right.
async fn read_all(bytes: &[u8]) -> Result<(String, Rows), ArchiveError> {
    let (directory, archive) = archive();
    fs::write(directory.path().join("x"), bytes).unwrap();
    let (header, rows) = read(&archive, "x").await?;
    let lines = archive.open_segment("x").await?.lines_of(id(2)).await?;
    assert_eq!(lines.len(), rows.iter().filter(|row| row.0 == id(2)).count());
    Ok((header, rows))
}

/// Two blocks, as small as no writer makes them.
fn small() -> Vec<u8> {
    Forged::new().file(|_| {})
}

async fn is_found(bytes: &[u8], what: &str) {
    match read_all(bytes).await {
        Err(ArchiveError::Damaged { name, problem }) => assert!(name == "x" && !problem.is_empty()),
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn every_changed_byte_is_found() {
    let whole = small();
    assert_eq!(read_all(&whole).await.unwrap().1.len(), 4);
    for at in 0..whole.len() {
        for change in [1, 0x80, 0xFF] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            is_found(&bytes, &format!("byte {at} changed by {change}")).await;
        }
    }
}

#[tokio::test]
async fn every_missing_and_every_added_byte_is_found() {
    let bytes = &small()[..];
    for at in 0..bytes.len() {
        is_found(&bytes[..at], &format!("cut after {at}")).await;
        is_found(&bytes[at + 1..], &format!("cut before {}", at + 1)).await;
        is_found(
            &[&bytes[..at], &bytes[at + 1..]].concat(),
            &format!("without byte {at}"),
        )
        .await;
    }
    for at in 0..=bytes.len() {
        for more in [0, b'\n', 0xFD] {
            is_found(
                &[&bytes[..at], &[more], &bytes[at..]].concat(),
                &format!("{more} at {at}"),
            )
            .await;
        }
    }
    is_found(&[bytes, bytes].concat(), "twice").await;
    is_found(&[sealed(&[]).bytes(), bytes].concat(), "another one before").await;
}

#[tokio::test]
async fn every_difference_is_found_by_check() {
    let segment = sealed(&[(id(1), "1".into())]);
    let (directory, archive) = archive();
    let (sha256, bytes) = (segment.sha256(), segment.bytes().len() as u64);
    let path = directory.path().join("x");
    fs::write(&path, segment.bytes()).unwrap();
    archive.check("x", &sha256, bytes).await.unwrap();

    let mut changed = segment.bytes().to_vec();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let longer = [segment.bytes(), b"x"].concat();
    for other in [&changed, &longer, &segment.bytes()[1..].to_vec(), &Vec::new()] {
        fs::write(&path, other).unwrap();
        let error = archive.check("x", &sha256, bytes).await.unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_large_file_is_checked_to_its_end() {
    let (directory, archive) = archive();
    let segment = sealed(&many(2, 100, 50_000));
    let (sha256, bytes) = (segment.sha256(), segment.bytes().len() as u64);
    assert!(bytes > super::super::CHECK_BYTES);
    archive.put("x", &segment).await.unwrap();
    archive.check("x", &sha256, bytes).await.unwrap();
    let mut changed = segment.bytes().to_vec();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(directory.path().join("x"), changed).unwrap();
    assert!(archive.check("x", &sha256, bytes).await.is_err());
}

#[tokio::test]
async fn another_whole_segment_under_the_name_is_found() {
    let segment = sealed(&[(id(1), "1".into())]);
    let (directory, archive) = archive();
    let other = sealed(&[(id(2), "1".into())]);
    fs::write(directory.path().join("x"), other.bytes()).unwrap();
    let stored = archive.open_segment("x").await.unwrap();
    assert_ne!(stored.index_sha256(), segment.index_sha256());
    assert_eq!(stored.index_sha256(), other.index_sha256());
    let bytes = segment.bytes().len() as u64;
    assert!(archive.check("x", &segment.sha256(), bytes).await.is_err());
}

/// Only blocks that can have them: the others may even be damaged.
#[tokio::test]
async fn lines_of_reads_the_needed_blocks_only() {
    let rows = many(30, 10, 20_000);
    let segment = sealed(&rows);
    let (directory, archive) = archive();
    archive.put("x", &segment).await.unwrap();
    let stored = archive.open_segment("x").await.unwrap();
    let index = index_of(&segment);
    assert!(index.blocks.len() > 20);
    for account in (0..32).map(|n| id(n << 64)) {
        let needed: Vec<&Block> = (index.blocks.iter())
            .filter(|block| block.first <= account && account <= block.last)
            .collect();
        assert!(needed.len() <= 3);
        // Everything but the needed blocks is overwritten, then one needed block after the other.
        let mut bytes = vec![0xAA; segment.bytes().len()];
        for block in &needed {
            let range = place(block);
            bytes[range.clone()].copy_from_slice(&segment.bytes()[range]);
        }
        fs::write(directory.path().join("x"), &bytes).unwrap();
        let lines = stored.lines_of(account).await.unwrap();
        assert_eq!(lines.len(), rows.iter().filter(|row| row.0 == account).count());
        for block in needed {
            let mut bytes = segment.bytes().to_vec();
            bytes[place(block).start] ^= 1;
            fs::write(directory.path().join("x"), &bytes).unwrap();
            assert!(stored.lines_of(account).await.is_err());
        }
    }
}

fn place(block: &Block) -> std::ops::Range<usize> {
    let start = block.frame.offset as usize;
    start..start + block.frame.length as usize
}

fn index_of(segment: &Sealed) -> Index {
    let text = decompressed(segment.bytes());
    let frame = super::super::format::index_of(
        &segment.bytes()[segment.bytes().len() - TRAILER_BYTES..],
        segment.bytes().len() as u64,
    );
    Index::from_text(text.lines().last().unwrap(), frame.unwrap().offset).unwrap()
}

/// A file whose checksums are all right, with whatever was made of its parts.
struct Forged {
    header: String,
    /// The text of each block, and what the index says of it.
    blocks: Vec<(String, u64, Uuid, Uuid)>,
}

impl Forged {
    fn new() -> Self {
        let block = |n: u128| {
            let mut text = String::new();
            push_row(&mut text, id(n), "1");
            push_row(&mut text, id(n + 1), "2");
            (text, 2, id(n), id(n + 1))
        };
        Forged {
            header: header_text(HEADER),
            blocks: vec![block(1), block(2)],
        }
    }

    /// The file; `change` may falsify its index.
    fn file(&self, change: impl FnOnce(&mut Index)) -> Vec<u8> {
        self.file_with(change, |text| text)
    }

    fn file_with(&self, change: impl FnOnce(&mut Index), rewrite: impl FnOnce(String) -> String) -> Vec<u8> {
        let mut file = Vec::new();
        let mut index = Index {
            format: FORMAT,
            header: Frame::append(&mut file, self.header.as_bytes()).unwrap(),
            blocks: Vec::new(),
            lines: 0,
        };
        for (text, lines, first, last) in &self.blocks {
            index.lines += lines;
            index.blocks.push(Block {
                frame: Frame::append(&mut file, text.as_bytes()).unwrap(),
                lines: *lines,
                first: *first,
                last: *last,
            });
        }
        change(&mut index);
        let text = rewrite(index.to_text().unwrap());
        let index = Frame::append(&mut file, text.as_bytes()).unwrap();
        let end = trailer(&index).unwrap();
        file.extend_from_slice(&end);
        file
    }
}

#[tokio::test]
async fn files_with_good_checksums_and_bad_contents_are_refused() {
    type Change = fn(&mut Index);
    let changes: [(&str, Change); 14] = [
        ("another format", |index| index.format = 2),
        ("too many lines", |index| index.lines += 1),
        ("a sum beyond 64 bits", |index| {
            index.blocks[0].lines = u64::MAX;
            index.blocks[1].lines = u64::MAX;
        }),
        ("a block left out", |index| {
            index.blocks.remove(0);
        }),
        ("a block twice", |index| {
            let block = index.blocks[1];
            index.blocks.push(block);
        }),
        ("blocks in another order", |index| index.blocks.swap(0, 1)),
        ("a block beyond the file", |index| {
            index.blocks[1].frame.offset = u64::MAX
        }),
        ("a block that ends beyond everything", |index| {
            index.blocks[1].frame.length = u64::MAX;
        }),
        ("a bomb", |index| index.blocks[1].frame.raw = u64::MAX),
        ("a smaller bomb", |index| {
            index.blocks[1].frame.raw = BLOCK_RAW_MAX as u64
        }),
        ("a block that is longer than it says", |index| {
            index.blocks[1].frame.raw -= 1
        }),
        ("a large header", |index| {
            index.header.raw = HEADER_RAW_MAX as u64 + 1
        }),
        ("other accounts", |index| index.blocks[1].last = id(9)),
        ("accounts from high to low", |index| index.blocks[1].first = id(4)),
    ];
    for (what, change) in changes {
        is_found(&Forged::new().file(change), what).await;
    }

    let mut row = String::new();
    push_row(&mut row, id(2), "1");
    for (what, text) in [
        ("no text", String::new()),
        ("a line without its end", row.trim_end().to_owned()),
        ("another line", "{}\n".into()),
        ("no account", row.replace("00", "0x")),
        ("an empty line", row.clone() + "\n"),
        ("lines from high to low", {
            let (mut text, mut low) = (row.clone(), String::new());
            push_row(&mut low, id(1), "1");
            text.push_str(&low);
            text.push_str(&row);
            text
        }),
    ] {
        let mut forged = Forged::new();
        let lines = text.lines().count() as u64;
        forged.blocks[1] = (text, lines, id(2), id(2));
        is_found(&forged.file(|_| {}), what).await;
    }

    for header in ["", "{}", "{}\n", "{\"segment\":1}"] {
        let mut forged = Forged::new();
        forged.header = header.into();
        is_found(&forged.file(|_| {}), &format!("header {header:?}")).await;
    }
    for index in [
        "",
        "{}",
        "null",
        r#"{"index":{"format":1}}"#,
        r#"{"index":{"format":-1}}"#,
        &"[".repeat(100_000),
        &format!(r#"{{"index":{{"format":1,"header":{}}}}}"#, "[".repeat(100_000)),
    ] {
        is_found(&Forged::new().file_with(|_| {}, |_| index.to_owned()), index).await;
    }
    let unknown = |text: String| text.replacen("\"lines\"", "\"more\":1,\"lines\"", 1);
    is_found(&Forged::new().file_with(|_| {}, unknown), "an unknown field").await;
    let digits = |text: String| text.replacen("\"sha256\":\"", "\"sha256\":\"+", 1);
    is_found(&Forged::new().file_with(|_| {}, digits), "a SHA-256 with a sign").await;
    let later = |text: String| text.replace("\"format\":1", "\"format\":2,\"dictionary\":true");
    match read_all(&Forged::new().file_with(|_| {}, later)).await {
        Err(ArchiveError::Damaged { problem, .. }) => {
            assert_eq!(problem, "it has format 2; this version of the library reads 1");
        }
        other => panic!("{other:?}"),
    }
}

/// 16 MiB of text is the most that any frame is given room for, whatever it would become.
#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let bomb = "x".repeat(BLOCK_RAW_MAX * 4);
    let mut forged = Forged::new();
    forged.blocks[1].0 = bomb;
    is_found(&forged.file(|_| {}), "a bomb that says so").await;
    is_found(
        &forged.file(|index| index.blocks[1].frame.raw = BLOCK_RAW_MAX as u64),
        "a bomb that says less",
    )
    .await;
    // A frame of an index of 4 GiB, in a file of 64 bytes and a bit.
    let mut file = Vec::new();
    let mut index = Frame::append(&mut file, b"{}").unwrap();
    index.raw = u32::MAX.into();
    file.extend(trailer(&index).unwrap());
    is_found(&file, "an index that claims 4 GiB").await;
}

fn around_a_segment() -> impl Strategy<Value = Vec<u8>> {
    let whole = small();
    let length = whole.len();
    let changes = prop::collection::vec((0..length, any::<u8>(), 0..4_u8), 1..8);
    changes.prop_map(move |changes| {
        let mut bytes = whole.clone();
        for (at, byte, kind) in changes {
            let at = at.min(bytes.len().saturating_sub(1));
            match kind {
                0 if !bytes.is_empty() => bytes[at] = byte,
                1 if !bytes.is_empty() => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(length / 2)),
            }
        }
        bytes
    })
}

/// A frame of any bytes behind a good end: the reader comes as far as decompressing and parsing.
fn behind_a_good_end() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 0..300), any::<u16>()).prop_map(|(stored, raw)| {
        let frame = Frame {
            offset: 0,
            length: stored.len() as u64,
            raw: raw.into(),
            sha256: Hash::of(&stored),
        };
        [stored, trailer(&frame).unwrap()].concat()
    })
}

/// Any text as an index.
fn any_index() -> impl Strategy<Value = Vec<u8>> {
    "\\PC{0,200}".prop_map(|text| Forged::new().file_with(|_| {}, |_| text))
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop_oneof![
        prop::collection::vec(any::<u8>(), 0..400),
        around_a_segment(),
        behind_a_good_end(),
        any_index(),
    ]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        match runtime.block_on(read_all(&bytes)) {
            // Changes may undo one another.
            Ok(_) => prop_assert_eq!(bytes, small()),
            Err(error) => prop_assert!(matches!(error, ArchiveError::Damaged { .. }), "{error:?}"),
        }
    }
}
