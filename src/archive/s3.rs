//! An archive in a bucket of S3, or of something that speaks its protocol.

use super::{ArchiveError, Put, Sealed};
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientConfigKey, Error, ObjectStore, ObjectStoreExt, PutMode, RetryConfig,
};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// For the whole of a request and its answer: a large segment takes its time on a slow line.
const TIMEOUT: &str = "300 seconds";
const CONNECT_TIMEOUT: &str = "5 seconds";
/// Of one request, where the bucket is busy or can't be reached.
const TRIES_AGAIN_MAX: usize = 5;
const TRIES_FOR: Duration = Duration::from_secs(60);
/// What of an error's text is passed on, in characters: a bucket may answer with a page of HTML.
const PROBLEM_CHARS_MAX: usize = 400;

/// A part of a bucket.
#[derive(Clone)]
pub(super) struct Bucket {
    inner: Arc<Inner>,
}

struct Inner {
    settings: AmazonS3Builder,
    prefix: Path,
    /// The connections of this process. A child of a fork makes its own.
    of_process: Mutex<Option<(u32, AmazonS3)>>,
}

/// Lends a segment's bytes, so that they are sent without a copy.
struct Whole(Arc<Vec<u8>>);

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Credentials and whatever else the environment says, with our limits of time.
pub(super) fn of_environment() -> AmazonS3Builder {
    let client = AmazonS3ConfigKey::Client;
    AmazonS3Builder::from_env()
        .with_config(client(ClientConfigKey::Timeout), TIMEOUT)
        .with_config(client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT)
        .with_retry(RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: TRIES_AGAIN_MAX,
            retry_timeout: TRIES_FOR,
        })
}

impl Bucket {
    /// `rest` is `bucket/prefix`, where the prefix may be missing.
    pub(super) fn open(rest: &str, settings: AmazonS3Builder) -> Result<Self, ArchiveError> {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        // Not shown: somebody may have written `s3://key:secret@bucket`.
        if bucket.is_empty() || !bucket.bytes().all(good) {
            return Err(ArchiveError::location(
                "must be like s3://bucket/prefix; keys belong into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        if prefix.contains(['?', '#', '%', '@']) {
            return Err(ArchiveError::location(
                "has a prefix with `?`, `#`, `%` or `@`; settings belong into AWS_* variables",
            ));
        }
        let prefix = Path::parse(prefix)
            .map_err(|error| ArchiveError::location(format!("has a prefix that can't be: {error}")))?;
        let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
            .iter()
            .find_map(|key| settings.get_config_value(key));
        if endpoint.as_ref().is_some_and(|endpoint| endpoint.contains('@')) {
            return Err(ArchiveError::location(
                "has an endpoint with a password in it (AWS_ENDPOINT_URL), which would be shown in errors",
            ));
        }
        // Whoever writes http:// means it.
        let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
        let settings = settings.with_bucket_name(bucket);
        let bucket = Bucket {
            inner: Arc::new(Inner {
                settings: if plain {
                    settings.with_allow_http(true)
                } else {
                    settings
                },
                prefix,
                of_process: Mutex::new(None),
            }),
        };
        bucket.connections().map_err(|error| {
            ArchiveError::location(format!("has settings that can't be: {}", text(&error)))
        })?;
        Ok(bucket)
    }

    fn connections(&self) -> object_store::Result<AmazonS3> {
        let mut mine = (self.inner.of_process.lock()).unwrap_or_else(PoisonError::into_inner);
        let pid = std::process::id();
        if let Some((owner, store)) = &*mine
            && *owner == pid
        {
            return Ok(store.clone());
        }
        let store = self.inner.settings.clone().build()?;
        // What a parent had is left alone: its tasks are not in this process.
        std::mem::forget(mine.replace((pid, store.clone())));
        Ok(store)
    }

    fn key(&self, name: &str) -> Path {
        name.split('/')
            .fold(self.inner.prefix.clone(), |key, part| key.join(part))
    }

    pub(super) async fn put(&self, name: &str, segment: &Sealed) -> Result<Put, ArchiveError> {
        // What is not found by a PUT is the bucket.
        self.create(name, segment).await.map_err(|error| failed(&error))
    }

    /// Looks first, because some stores that speak S3's protocol don't know `If-None-Match`; for the others, that header
    /// decides. So a request may be repeated whose answer got lost: it finds its own segment there.
    async fn create(&self, name: &str, segment: &Sealed) -> object_store::Result<Put> {
        let (store, key) = (self.connections()?, self.key(name));
        match store.head(&key).await {
            Ok(_) => return Ok(Put::Taken),
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let payload = || Bytes::from_owner(Whole(Arc::clone(&segment.file))).into();
        let put = store.put_opts(&key, payload(), PutMode::Create.into()).await;
        match put {
            Ok(_) => Ok(Put::Done),
            Err(Error::AlreadyExists { .. }) => Ok(Put::Taken),
            // As the settings say (AWS_CONDITIONAL_PUT=disabled): the look above is all there is.
            Err(Error::NotImplemented { .. }) => store.put(&key, payload()).await.map(|_| Put::Done),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn size(&self, name: &str) -> Result<u64, ArchiveError> {
        let store = self.connections().map_err(|error| failed(&error))?;
        let about = store.head(&self.key(name)).await;
        Ok(about.map_err(|error| failure(name, &error))?.size)
    }

    pub(super) async fn read(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
        let store = self.connections().map_err(|error| failed(&error))?;
        let range = offset..offset.saturating_add(length);
        let bytes = store.get_range(&self.key(name), range).await;
        Ok(bytes.map_err(|error| failure(name, &error))?.into())
    }
}

fn failure(name: &str, error: &Error) -> ArchiveError {
    match error {
        Error::NotFound { .. } => ArchiveError::not_found(name),
        other => failed(other),
    }
}

fn failed(error: &Error) -> ArchiveError {
    ArchiveError::Store {
        problem: format!("the archive's bucket: {}", text(error)),
        remedy: match error {
            Error::NotFound { .. } => "make the bucket, or correct its name and AWS_ENDPOINT_URL",
            // Without the right to list, S3 answers so for what is not there.
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                "check the credentials; they need s3:GetObject, s3:PutObject and s3:ListBucket"
            }
            _ => "check that the bucket can be reached, then try again",
        },
    }
}

/// What happened, and the innermost reason where that is not part of it.
fn text(error: &Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let (mut text, cause) = (error.to_string(), inner.to_string());
    if !text.contains(&cause) {
        text = format!("{text}: {cause}");
    }
    match text.char_indices().nth(PROBLEM_CHARS_MAX) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "...",
        None => text,
    }
}
