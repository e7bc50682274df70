//! Through a real PgBouncer in transaction mode: the server behind a connection changes with every transaction.

use crate::child::account;
use crate::cluster::{free_port, server_user};
use crate::database::{Database, Kind};
use crate::prices::video;
use jointo_credits::{
    Cleanup, Clock, Confirm, Consume, Gift, Grant, ManualClock, SavePackage, SetPricing, Settings, Source,
    SystemClock, Timestamp,
};
use sqlx::{Connection, PgConnection};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct PgBouncer {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl PgBouncer {
    /// Before the database at `url`, with fewer servers than the test has connections, and no setting that would help.
    async fn before(url: &str) -> Self {
        let (server, database) = url.rsplit_once('/').unwrap();
        let (_, address) = server.rsplit_once('@').unwrap();
        let (host, port) = address.rsplit_once(':').unwrap();
        for _ in 0..20 {
            let listen = free_port();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pgbouncer.ini");
            let settings = format!(
                "[databases]\n{database} = host={host} port={port} user=postgres\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {listen}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = transaction\ndefault_pool_size = 3\nmax_client_conn = 100\n"
            );
            std::fs::write(&path, settings).unwrap();
            let program = ["/usr/sbin/pgbouncer", "pgbouncer"]
                .into_iter()
                .find(|program| !program.starts_with('/') || std::path::Path::new(program).exists());
            let mut command = Command::new(program.unwrap());
            command
                .arg("-q")
                .arg(&path)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if let Some((uid, gid)) = server_user() {
                std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
                command.uid(uid).gid(gid);
            }
            let mut pooler = PgBouncer {
                process: command.spawn().expect("needs PgBouncer: run scripts/setup"),
                url: format!("postgresql://postgres@127.0.0.1:{listen}/{database}"),
                _folder: folder,
            };
            while pooler.process.try_wait().unwrap().is_none() {
                if PgConnection::connect_with(&plain(&pooler.url)).await.is_ok() {
                    return pooler;
                }
                tokio::task::yield_now().await;
            }
            // It ended: somebody else has the port.
        }
        panic!("PgBouncer does not start");
    }
}

/// Without the start-up parameter that PgBouncer refuses.
fn plain(url: &str) -> sqlx::postgres::PgConnectOptions {
    url.parse::<sqlx::postgres::PgConnectOptions>()
        .unwrap()
        .extra_float_digits(None)
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ledgers_share_fewer_servers_than_they_have_connections_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let pooler = PgBouncer::before(&database.url).await;
    let settings = || Settings::new(&pooler.url).pgbouncer(true).max_connections(8);
    let ledgers = [
        database.open(settings()).await,
        settings().connect().await.unwrap(),
    ];
    for n in 0..4 {
        let grant = Grant::new(account(n), 10_000, Source::Purchase);
        ledgers[0].grant(grant, None).await.unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16u64 {
        let ledger = ledgers[task as usize % 2].clone();
        tasks.spawn(async move {
            for n in 0..10 {
                let user = account((task + n) % 4);
                let key = format!("{task}-{n}");
                let hold = ledger.consume(Consume::new(user, 3), Some(&key)).await.unwrap();
                assert_eq!(ledger.get_consumption(hold.id).await.unwrap(), hold);
                assert_eq!(
                    ledger.consume(Consume::new(user, 3), Some(&key)).await.unwrap(),
                    hold
                );
                ledger.confirm(Confirm::amount(hold.id, 2), None).await.unwrap();
                ledger.gift(Gift::new(user, 1, "welcome"), None).await.unwrap();
                let balance = ledger.balance(user).await.unwrap();
                assert!(balance.available <= 10_000 + 40, "{balance:?}");
            }
        });
    }
    tasks.join_all().await;
    for n in 0..4 {
        let balance = ledgers[1].balance(account(n)).await.unwrap();
        // 160 in all, spread evenly.
        assert_eq!(
            (balance.available, balance.held, balance.spent),
            (10_000 - 80 + 40, 0, 80)
        );
    }
    let verification = ledgers[0].verify().await.unwrap();
    assert!(verification.is_clean(), "{:#?}", verification.faults);

    // In the caller's transaction, on a connection that goes through the pooler as well.
    let options = plain(&pooler.url).statement_cache_capacity(0);
    let mut connection = PgConnection::connect_with(&options).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    ledgers[0]
        .within(&mut tx)
        .gift(Gift::new(account(9), 5, "welcome"), None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ledgers[1].balance(account(9)).await.unwrap().available, 5);

    // The catalogue, twice: another connection meets the same server.
    for ledger in &ledgers {
        ledger.set_pricing(SetPricing::new(video("1.5"))).await.unwrap();
        let package = SavePackage::new("a", "9.90".parse().unwrap(), 100);
        ledger.save_package(package).await.unwrap();
        ledger.seed_catalog().await.unwrap();
    }

    // A clean-up, when all of it is old.
    let (began, now) = (SystemClock.now().as_micros(), Duration::from_secs(100 * 86_400));
    let later = ManualClock::starting_at(Timestamp::from_micros(began).plus(now));
    let ledger = settings().clock(later).connect().await.unwrap();
    let archive = tempfile::tempdir().unwrap();
    let cleanup = Cleanup {
        older_than: Duration::from_secs(90 * 86_400),
        archive: archive.path().display().to_string(),
        limit: None,
        dry_run: false,
    };
    let done = ledger.cleanup_transactions(&cleanup).await.unwrap();
    assert_eq!(done.removed, verification.entries + 1);
    let found = ledger.verify_archived(&cleanup.archive).await.unwrap();
    assert!(
        found.is_clean() && found.entries == done.removed,
        "{:#?}",
        found.faults
    );
    ledger.close().await;
    for ledger in ledgers {
        ledger.close().await;
    }
}

/// Nobody is to find out by lost statements that the setting is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_no_ledger_opens_through_it_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let pooler = PgBouncer::before(&database.url).await;
    let error = Settings::new(&pooler.url).connect().await.unwrap_err();
    assert_eq!(error.code(), "unavailable");
    let text = error.to_string();
    assert!(text.contains("pgbouncer"), "{text}");
}

/// Sessions behind the pooler keep the temporary tables of all its clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_client_s_temporary_tables_stand_for_none_of_the_ledger_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let pooler = PgBouncer::before(&database.url).await;
    let ledger = database.open(Settings::new(&pooler.url).pgbouncer(true)).await;
    let options = plain(&pooler.url).statement_cache_capacity(0);
    // All three servers at once.
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let script = "BEGIN; CREATE TEMP TABLE credit_accounts (LIKE public.credit_accounts); \
             CREATE TEMP TABLE credit_lots (LIKE public.credit_lots)";
        sqlx::raw_sql(script).execute(&mut connection).await.unwrap();
        held.push(connection);
    }
    for connection in &mut held {
        sqlx::raw_sql("COMMIT").execute(connection).await.unwrap();
    }
    let granted = Grant::new(account(0), 10, Source::Purchase);
    ledger.grant(granted, None).await.unwrap();
    assert_eq!(ledger.balance(account(0)).await.unwrap().available, 10);
    let verification = ledger.verify().await.unwrap();
    assert!(
        verification.is_clean() && verification.accounts == 1,
        "{:#?}",
        verification.faults
    );
    ledger.close().await;
}
