//! What a directory looks like afterwards, and what others may have left in it.

use super::*;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file below, by its path.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn segment_of(line: &str) -> Sealed {
    sealed(&[(id(1), line.to_owned())])
}

#[tokio::test]
async fn a_segment_is_one_file_and_nothing_else() {
    let (directory, archive) = archive();
    let segment = segment_of("1");
    archive.put("a/b/c.zst", &segment).await.unwrap();
    archive.put("d.zst", &segment).await.unwrap();
    let mut files = files(directory.path());
    files.sort();
    assert_eq!(
        files,
        [directory.path().join("a/b/c.zst"), directory.path().join("d.zst")]
    );
    for file in &files {
        assert_eq!(fs::read(file).unwrap(), segment.bytes());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::write(directory.path().join("other"), "").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(
            mode(&files[0]),
            mode(&directory.path().join("other")),
            "as any other file"
        );
    }
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let (directory, archive) = archive();
    let segment = segment_of("1");
    archive.put(NAME, &segment).await.unwrap();
    archive.put(NAME, &segment).await.unwrap();
    let path = directory.path().join(NAME);
    for other in [segment_of("2"), segment_of("100"), sealed(&[])] {
        let error = archive.put(NAME, &other).await.unwrap_err();
        assert_eq!(error, ArchiveError::Exists { name: NAME.into() });
        assert_eq!(fs::read(&path).unwrap(), segment.bytes());
    }
    // Nor what is damaged: somebody has to look at it.
    let half = &segment.bytes()[..40];
    fs::write(&path, half).unwrap();
    let error = archive.put(NAME, &segment).await.unwrap_err();
    assert_eq!(error, ArchiveError::Exists { name: NAME.into() });
    assert_eq!(fs::read(&path).unwrap(), half);
    assert_eq!(files(directory.path()), [path]);
}

#[tokio::test]
async fn of_many_at_once_one_is_stored() {
    let (directory, archive) = archive();
    let tasks: Vec<_> = (0..32)
        .map(|n| {
            let archive = archive.clone();
            // Two of each.
            let segment = segment_of(&(n / 2).to_string());
            tokio::spawn(async move { (archive.put(NAME, &segment).await, segment) })
        })
        .collect();
    let mut stored = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (Ok(()), segment) => stored.push(segment.bytes().to_vec()),
            (Err(error), _) => assert_eq!(error, ArchiveError::Exists { name: NAME.into() }),
        }
    }
    stored.dedup();
    let path = directory.path().join(NAME);
    assert_eq!(stored, [fs::read(&path).unwrap()]);
    assert_eq!(files(directory.path()), [path], "no temporary file is left");
}

#[tokio::test]
async fn what_a_crash_leaves_is_no_segment_and_in_nobodys_way() {
    let (directory, archive) = archive();
    let segment = segment_of("1");
    let folder = directory.path().join("journal");
    fs::create_dir(&folder).unwrap();
    let leftover = folder.join(".a1b2c3.part");
    fs::write(&leftover, segment.bytes()).unwrap();

    let error = archive.open_segment("journal/.a1b2c3.part").await.unwrap_err();
    assert!(matches!(error, ArchiveError::Invalid { .. }), "{error:?}");
    let error = archive.open_segment(NAME).await.unwrap_err();
    assert_eq!(error, ArchiveError::NotFound { name: NAME.into() });
    archive.put(NAME, &segment).await.unwrap();
    assert_eq!(read(&archive, NAME).await.unwrap().1.len(), 1);
    assert!(leftover.exists());
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_leaves_all_or_nothing() {
    let rows = many(1, 40, 100_000);
    let segment = sealed(&rows);
    for polls in 0..4 {
        let (_directory, archive) = archive();
        let mut put = Box::pin(archive.put(NAME, &segment));
        for _ in 0..polls {
            let _ = futures_poll(&mut put).await;
        }
        drop(put);
        match archive.open_segment(NAME).await {
            Err(error) => assert_eq!(error, ArchiveError::NotFound { name: NAME.into() }),
            Ok(_) => assert_eq!(read(&archive, NAME).await.unwrap().1, rows),
        }
        archive.put(NAME, &segment).await.unwrap();
        assert_eq!(read(&archive, NAME).await.unwrap().1, rows);
    }
}

/// Polls once.
async fn futures_poll<T>(future: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> Option<T> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn names_stay_inside() {
    let (directory, archive) = archive();
    fs::write(directory.path().join("real"), segment_of("1").bytes()).unwrap();
    let long = "x".repeat(201);
    for name in [
        "",
        ".",
        "..",
        "/",
        "/etc/passwd",
        "../x",
        "a/../real",
        "a//b",
        "a/",
        ".real",
        "a/.b",
        "a\\b",
        "a b",
        "a\0",
        "ä",
        &long,
    ] {
        let segment = segment_of("1");
        let refused = [
            archive.put(name, &segment).await.unwrap_err(),
            archive.open_segment(name).await.unwrap_err(),
            archive.check(name, &segment.sha256(), 1).await.unwrap_err(),
        ];
        for error in refused {
            assert!(
                matches!(error, ArchiveError::Invalid { .. }),
                "{name:?}: {error:?}"
            );
        }
    }
    assert_eq!(files(directory.path()).len(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (directory, archive) = archive();
    archive.put("a", &segment_of("1")).await.unwrap();
    for name in ["b", "b/c", "a/c"] {
        let not_found = ArchiveError::NotFound { name: name.into() };
        assert_eq!(archive.open_segment(name).await.unwrap_err(), not_found);
        assert_eq!(archive.check(name, &[0; 32], 1).await.unwrap_err(), not_found);
    }
    fs::create_dir(directory.path().join("folder")).unwrap();
    let error = archive.open_segment("folder").await.unwrap_err();
    assert!(matches!(error, ArchiveError::Store { .. }), "{error:?}");
}

#[tokio::test]
async fn a_disk_that_is_gone_is_not_an_empty_archive() {
    let (directory, archive) = archive();
    let segment = segment_of("1");
    archive.put("a", &segment).await.unwrap();
    let kept = directory.keep();
    let away = kept.with_extension("away");
    fs::rename(&kept, &away).unwrap();
    for error in [
        archive.open_segment("a").await.unwrap_err(),
        archive.check("a", &segment.sha256(), 1).await.unwrap_err(),
        archive.put("b", &segment).await.unwrap_err(),
        archive.put("b/c", &segment).await.unwrap_err(),
    ] {
        let ArchiveError::Store { remedy, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(remedy, "check that the archive's disk is mounted");
    }
    assert!(!kept.exists(), "and none is made in its place");
    fs::remove_dir_all(away).unwrap();
}
