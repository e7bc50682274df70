//! TLS to PostgreSQL, with a certificate that vouches for itself.

use crate::child::ALICE;
use crate::cluster::{Cluster, server_user};
use crate::database::server;
use jointo_credits::{Grant, Ledger, Settings, Source};
use sqlx::{Connection, PgConnection};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate for `localhost`, and its key.
fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("needs openssl: run scripts/setup");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

async fn works(url: &str) -> Ledger {
    let ledger = Settings::new(url)
        .connect()
        .await
        .unwrap_or_else(|e| panic!("{url}: {e}"));
    ledger.migrate().await.unwrap();
    ledger
        .grant(Grant::new(ALICE, 1, Source::Bonus), None)
        .await
        .unwrap();
    ledger
}

async fn refused(url: &str) -> String {
    let error = Settings::new(url).connect().await.unwrap_err();
    assert_eq!(error.code(), "unavailable", "{error}");
    let text = error.to_string();
    assert!(
        text.contains("check sslmode and the certificates"),
        "{url}: {text}"
    );
    text
}

/// Without `postgres` in its name, by which the tests for other versions are chosen: those servers are built without TLS,
/// and what is tried here is the client's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_trusted_as_far_as_sslmode_says() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = certificate(folder.path());
    let cluster = Cluster::start_with(|data| {
        for from in [&certificate, &key] {
            let to = data.join(from.file_name().unwrap());
            std::fs::copy(from, &to).unwrap();
            if let Some((uid, gid)) = server_user() {
                std::os::unix::fs::chown(&to, Some(uid), Some(gid)).unwrap();
            }
        }
        let settings = data.join("postgresql.conf");
        let mut settings = std::fs::OpenOptions::new().append(true).open(settings).unwrap();
        writeln!(settings, "ssl = on").unwrap();
        // Nobody gets in without TLS.
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
    });
    let root = format!("sslrootcert={}", certificate.display());
    let (by_name, by_address) = (cluster.url_by("localhost"), cluster.url());

    // Any certificate will do.
    let ledger = works(&format!("{by_address}?sslmode=require")).await;
    let mut connection = PgConnection::connect(&format!("{by_address}?sslmode=require"))
        .await
        .unwrap();
    let plain: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'jointo_credits' AND NOT ssl",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(plain, 0);
    ledger.close().await;

    // Only the one that is known, and of this name.
    works(&format!("{by_name}?sslmode=verify-full&{root}"))
        .await
        .close()
        .await;
    works(&format!("{by_address}?sslmode=verify-ca&{root}"))
        .await
        .close()
        .await;
    let unknown = refused(&format!("{by_name}?sslmode=verify-full")).await;
    assert!(unknown.contains("certificate"), "{unknown}");
    let other_name = refused(&format!("{by_address}?sslmode=verify-full&{root}")).await;
    assert!(other_name.contains("certificate"), "{other_name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_tls_is_refused_where_it_is_required_on_postgres() {
    refused(&format!("{}?sslmode=require", server())).await;
}
