//! Segments in directories: what comes back, and what is refused. `damage` changes files, `bucket` is about S3.

#[cfg(feature = "s3")]
mod bucket;
mod damage;
mod directory;

use super::{Archive, ArchiveError, HEADER_BYTES_MAX, LINE_BYTES_MAX, Sealed, Segment, SegmentWriter};
use proptest::prelude::*;
use serde_json::Value;
use std::io::Read;
use tempfile::TempDir;
use uuid::Uuid;

const HEADER: &str = r#"{"rows":"journal","until":"2026-01-01T00:00:00Z"}"#;
const NAME: &str = "journal/2026-01.jsonl.zst";

type Rows = Vec<(Uuid, String)>;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn sealed(rows: &[(Uuid, String)]) -> Sealed {
    let mut writer = SegmentWriter::new(HEADER);
    for (account, line) in rows {
        writer.push(*account, line).unwrap();
    }
    assert_eq!(writer.lines(), rows.len() as u64);
    writer.seal().unwrap()
}

/// `accounts` of them, with `each` lines of about `bytes` bytes that don't compress well.
fn many(accounts: u128, each: u64, bytes: usize) -> Rows {
    let mut state = 88_172_645_463_325_252_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let line = |n| {
        let noise: String = (0..bytes / 16).map(|_| format!("{:016x}", noise())).collect();
        format!(r#"{{"seq":{n},"noise":"{noise}"}}"#)
    };
    let order = (1..=accounts).flat_map(|account| (0..each).map(move |n| (id(account << 64), n)));
    let lines: Vec<(Uuid, u64)> = order.collect();
    let texts: Vec<String> = lines.iter().map(|(_, n)| *n).map(line).collect();
    lines.iter().map(|(account, _)| *account).zip(texts).collect()
}

fn archive() -> (TempDir, Archive) {
    let directory = tempfile::tempdir().unwrap();
    let archive = Archive::open(directory.path().to_str().unwrap()).unwrap();
    (directory, archive)
}

async fn blocks(segment: &mut Segment) -> Result<Vec<Rows>, ArchiveError> {
    let mut blocks = Vec::new();
    while let Some(block) = segment.next_block().await? {
        blocks.push(block);
    }
    assert_eq!(segment.next_block().await, Ok(None));
    Ok(blocks)
}

async fn read(archive: &Archive, name: &str) -> Result<(String, Rows), ArchiveError> {
    let mut segment = archive.open_segment(name).await?;
    let rows = blocks(&mut segment).await?.concat();
    assert_eq!(segment.lines(), rows.len() as u64);
    Ok((segment.header().to_owned(), rows))
}

/// What any tool for `.zst` makes of it.
fn decompressed(file: &[u8]) -> String {
    let mut text = String::new();
    let mut decoder = zstd::stream::read::Decoder::new(file).unwrap();
    decoder.read_to_string(&mut text).unwrap();
    text
}

/// Everything that can be asked of a stored segment, against what was written.
async fn agree(archive: &Archive, name: &str, segment: &Sealed, rows: &[(Uuid, String)]) {
    archive.put(name, segment).await.unwrap();
    let bytes = segment.bytes().len() as u64;
    archive.check(name, &segment.sha256(), bytes).await.unwrap();
    assert_eq!(read(archive, name).await, Ok((HEADER.to_owned(), rows.to_vec())));

    let stored = archive.open_segment(name).await.unwrap();
    assert_eq!(stored.bytes(), bytes);
    assert_eq!(stored.index_sha256(), segment.index_sha256());
    let mut accounts: Vec<Uuid> = rows.iter().map(|(account, _)| *account).collect();
    accounts.extend([Uuid::nil(), Uuid::max(), id(1)]);
    accounts.dedup();
    for account in accounts {
        let wanted: Vec<&String> = (rows.iter().filter(|row| row.0 == account).map(|row| &row.1)).collect();
        assert_eq!(
            stored.lines_of(account).await.unwrap().iter().collect::<Vec<_>>(),
            wanted
        );
    }
}

/// The documentation's promise to whoever has no library of ours.
fn plain(segment: &Sealed, rows: &[(Uuid, String)]) {
    let text = decompressed(segment.bytes());
    assert!(text.ends_with('\n'));
    let lines: Vec<&str> = text.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    assert_eq!(first, format!(r#"{{"segment":{HEADER}}}"#));
    let index: Value = serde_json::from_str(last).unwrap();
    assert_eq!(index["index"]["lines"], rows.len());
    assert_eq!(lines.len(), rows.len() + 2);
    for (line, (account, row)) in lines[1..].iter().zip(rows) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["account"], account.to_string());
        assert_eq!(line["row"], serde_json::from_str::<Value>(row).unwrap());
    }
}

fn json() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}".prop_map(|text| Value::from(text).to_string()),
        any::<i64>().prop_map(|n| format!(r#" {{ "user_id" : "x","amount":{n} }} "#)),
        // What stands around rows may stand in them.
        (1..3_000_usize)
            .prop_map(|n| serde_json::json!(["\",\"row\":", "}", "}\n{", "7".repeat(n)]).to_string()),
        Just("[1.50, 0.00000000000000000000000000001, 1e3]".to_owned()),
        (0..200_000_usize).prop_map(|n| format!("\"{}\"", "z".repeat(n))),
        Just(r#"{"account":"00000000-0000-0000-0000-000000000000","row":{}}"#.to_owned()),
        Just("null".to_owned()),
    ]
}

/// So many cases, unless whoever runs the tests says how many.
#[allow(
    clippy::disallowed_methods,
    reason = "PROPTEST_CASES is for whoever runs the tests"
)]
fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    config
}

proptest! {
    #![proptest_config(config(32))]

    #[test]
    fn what_was_written_is_read(
        mut rows in prop::collection::vec((prop_oneof![0..4_u128, any::<u128>()], json()), 0..60)
    ) {
        rows.sort_by_key(|row| row.0);
        let rows: Rows = rows.into_iter().map(|(account, line)| (id(account), line)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, archive) = archive();
            let segment = sealed(&rows);
            plain(&segment, &rows);
            agree(&archive, NAME, &segment, &rows).await;
        });
    }
}

#[tokio::test]
async fn a_segment_may_be_empty() {
    let (_directory, archive) = archive();
    let segment = sealed(&[]);
    plain(&segment, &[]);
    agree(&archive, NAME, &segment, &[]).await;
}

#[tokio::test]
async fn an_account_may_have_many_blocks() {
    let (_directory, archive) = archive();
    let rows = many(3, 100, 10_000);
    let segment = sealed(&rows);
    plain(&segment, &rows);
    agree(&archive, NAME, &segment, &rows).await;

    let blocks = blocks(&mut archive.open_segment(NAME).await.unwrap())
        .await
        .unwrap();
    assert_eq!(blocks.len(), 12, "3 MB in blocks of 256 KiB");
    for block in &blocks {
        assert!(block.iter().map(|row| row.1.len()).sum::<usize>() < 256 * 1024);
    }
}

#[tokio::test]
async fn many_accounts_may_share_a_block() {
    let (_directory, archive) = archive();
    let rows = many(20_000, 2, 16);
    let segment = sealed(&rows);
    archive.put(NAME, &segment).await.unwrap();
    assert_eq!(read(&archive, NAME).await.unwrap().1, rows);
    let stored = archive.open_segment(NAME).await.unwrap();
    for (account, _) in rows.iter().step_by(1_999) {
        assert_eq!(stored.lines_of(*account).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_line_may_be_as_long_as_the_limit() {
    let (_directory, archive) = archive();
    let longest = format!("\"{}\"", "x".repeat(LINE_BYTES_MAX - 2));
    let rows = vec![
        (id(1), "1".to_owned()),
        (id(1), longest.clone()),
        (id(2), "2".to_owned()),
    ];
    let segment = sealed(&rows);
    plain(&segment, &rows);
    agree(&archive, NAME, &segment, &rows).await;

    let mut writer = SegmentWriter::new(HEADER);
    let error = writer.push(id(1), &(longest + " ")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "this can't be archived: a line has 16777217 bytes; 16777216 are the limit"
    );
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut writer = SegmentWriter::new(HEADER);
    writer.push(id(5), "1").unwrap();
    let deep = "[".repeat(10_000);
    for (account, line, problem) in [
        (4, "2", "ascending order"),
        (5, "{\n}", "a line break"),
        (5, "{\r}", "a line break"),
        (5, "", "no JSON"),
        (5, "{}{}", "no JSON"),
        (5, "{\"a\":\"\t\"}", "no JSON"),
        (5, "NaN", "no JSON"),
        (5, &deep, "no JSON"),
    ] {
        let error = writer.push(id(account), line).unwrap_err();
        assert!(matches!(error, ArchiveError::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains(problem), "{error} for {line:?}");
    }
    writer.push(id(5), "2").unwrap();
    let rows = [(id(5), "1".to_owned()), (id(5), "2".to_owned())];
    let segment = writer.seal().unwrap();
    assert_eq!(segment.sha256(), sealed(&rows).sha256());
}

#[test]
fn a_header_is_one_line_of_json() {
    let longest = format!("\"{}\"", "x".repeat(HEADER_BYTES_MAX - 2));
    assert!(SegmentWriter::new(&longest).seal().is_ok());
    for header in ["", "{", "{\n}", &(longest + " ")] {
        let error = SegmentWriter::new(header).seal().unwrap_err();
        assert!(error.to_string().contains("the header"), "{error}");
        assert_eq!(SegmentWriter::new(header).push(id(1), "1").unwrap_err(), error);
    }
}

#[test]
fn the_size_so_far_is_told() {
    let mut writer = SegmentWriter::new(HEADER);
    assert_eq!(writer.bytes(), 0);
    for (account, line) in many(3, 100, 10_000) {
        writer.push(account, &line).unwrap();
    }
    let so_far = writer.bytes();
    let segment = writer.seal().unwrap();
    assert!(so_far < segment.bytes().len() && segment.bytes().len() - so_far < 300_000);
    assert!(so_far > 1_000_000, "{so_far}");
}

#[test]
fn neither_lines_nor_secrets_are_shown() {
    let segment = sealed(&[(id(1), r#""secret""#.to_owned())]);
    assert_eq!(
        format!("{segment:?}"),
        format!("Sealed(1 lines, {} bytes)", segment.bytes().len())
    );
    let mut writer = SegmentWriter::new(HEADER);
    writer.push(id(1), r#""secret""#).unwrap();
    assert_eq!(format!("{writer:?}"), "SegmentWriter(1 lines)");
}

#[test]
fn a_location_is_a_directory_or_a_bucket() {
    let (directory, archive) = archive();
    let path = directory.path().to_str().unwrap();
    assert_eq!(archive.location(), path);
    assert_eq!(format!("{archive:?}"), format!("Archive({path})"));
    let url = format!("file://{path}");
    assert_eq!(Archive::open(&url).unwrap().location(), url);

    let missing = format!("{path}/missing");
    for location in [
        "",
        &missing,
        "file://relative",
        "file:///a%20b",
        "https://key:secret@bucket/",
        "s3://key:secret@bucket/",
        "gs://bucket",
        "://",
    ] {
        let error = Archive::open(location).unwrap_err();
        assert!(
            matches!(error, ArchiveError::Location { .. }),
            "{location}: {error:?}"
        );
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
