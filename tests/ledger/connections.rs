//! What a URL and a role can do: as whom, where and how a ledger connects to PostgreSQL.

use crate::child::{ALICE, account};
use crate::database::{Database, Kind, server};
use jointo_credits::payments::Checkout;
use jointo_credits::{
    Clawback, Cleanup, Clock, Confirm, Consume, Error, Gift, Grant, ManualClock, SavePackage, SetPricing,
    Settings, Source, SystemClock, Timestamp,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::time::Duration;

async fn admin(url: &str, sql: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

/// The URL of a database for another role.
fn as_role(url: &str, role: &str) -> String {
    let (_, place) = url.rsplit_once('@').unwrap();
    format!("postgresql://{role}@{place}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_url_says_counts_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let url = format!(
        "{}?schema=books&application_name=shop-1&connect_timeout=9",
        database.url
    );
    let ledger = database.open(Settings::new(&url)).await;
    ledger.gift(Gift::new(ALICE, 5, "welcome"), None).await.unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let found: i64 = sqlx::query_scalar("SELECT count(*) FROM books.credit_gifts")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(found, 1);
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT application_name FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(names, ["shop-1"]);
    ledger.close().await;
    for settings in [
        Settings::new(&url).schema("others"),
        Settings::new(&url).connect_timeout(Duration::from_secs(8)),
        Settings::new(format!("{}?pgbouncer=false", database.url)).pgbouncer(true),
    ] {
        let refused = settings.connect().await.unwrap_err();
        assert!(refused.to_string().contains("say it once"), "{refused}");
    }
    Settings::new(&url)
        .schema("books")
        .connect()
        .await
        .unwrap()
        .close()
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ipv6_address_is_connected_to() {
    let Ok(listener) = tokio::net::TcpListener::bind("[::1]:0").await else {
        return; // This machine has no IPv6.
    };
    let url = format!("postgresql://app@{}/shop", listener.local_addr().unwrap());
    let connecting = tokio::spawn(async move { Settings::new(url).connect().await });
    drop(listener.accept().await.unwrap());
    drop(listener);
    assert_eq!(connecting.await.unwrap().unwrap_err().code(), "unavailable");
}

/// Roles are the whole server's: gone when dropped, after the database that knows them.
struct Roles(Vec<String>);

impl Drop for Roles {
    fn drop(&mut self) {
        let sql = format!("DROP ROLE IF EXISTS {}", self.0.join(", "));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(admin(&server(), &sql));
        });
        let _ = dropped.join();
    }
}

/// The SQL of `docs/production.md`, block by block.
fn page() -> Vec<&'static str> {
    let page = include_str!("../../docs/production.md");
    let blocks = page.split("```sql\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).collect()
}

/// One role migrates and another one runs, with the rights of the page and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_need_the_rights_of_the_page_on_postgres() {
    let unique = std::process::id();
    let (owner, app) = (format!("credits_owner_{unique}"), format!("credits_app_{unique}"));
    let _roles = Roles(vec![owner.clone(), app.clone()]);
    let database = Database::fresh(Kind::Postgres).await;
    let sql = |block: usize| {
        page()[block]
            .replace("credits_owner", &owner)
            .replace("credits_app", &app)
    };
    let settings = |role: &str| {
        Settings::new(as_role(&database.url, role))
            .schema("credits")
            .max_connections(2)
    };

    admin(
        &database.url,
        &format!("CREATE ROLE {owner} LOGIN; CREATE ROLE {app} LOGIN"),
    )
    .await;
    let ledger = settings(&owner).connect().await.unwrap();
    let refused = ledger.migrate().await.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("`{owner}` lacks CREATE on database")),
        "{refused}"
    );
    ledger.close().await;
    admin(&database.url, &format!("DROP ROLE {owner}, {app}")).await;

    admin(&database.url, &sql(0)).await;
    let ledger = settings(&owner).connect().await.unwrap();
    ledger.migrate().await.unwrap();
    ledger.migrate().await.unwrap();
    ledger.close().await;
    admin(&database.url, &sql(1)).await;

    // All that a process does.
    let ledger = settings(&app).connect().await.unwrap();
    ledger.migrate().await.unwrap(); // There is nothing to do.
    let found = ledger.inspect().await.unwrap();
    assert!(
        !found
            .problems
            .iter()
            .any(|problem| problem.what.contains("lacks")),
        "{found:?}"
    );
    ledger.seed_catalog().await.unwrap();
    ledger
        .set_pricing(SetPricing::new(crate::prices::video("1.5")))
        .await
        .unwrap();
    let package = ledger
        .save_package(SavePackage::new("a", "9.90".parse().unwrap(), 100))
        .await
        .unwrap();
    let granted = ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    ledger.gift(Gift::new(ALICE, 1, "welcome"), None).await.unwrap();
    let hold = ledger.consume(Consume::new(ALICE, 20), Some("k")).await.unwrap();
    ledger.confirm(Confirm::amount(hold.id, 10), None).await.unwrap();
    ledger
        .clawback(Clawback::all(ALICE, granted.lot.unwrap().lot_id), None)
        .await
        .unwrap();
    let order = ledger
        .create_order(ALICE, package.package_id, "manual", None)
        .await
        .unwrap();
    ledger
        .pay_order(order.order_no, &Checkout::default())
        .await
        .unwrap();
    let mut connection = PgConnection::connect(&as_role(&database.url, &app))
        .await
        .unwrap();
    let mut tx = connection.begin().await.unwrap();
    ledger
        .within(&mut tx)
        .gift(Gift::new(account(1), 1, "welcome"), None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert!(ledger.verify().await.unwrap().is_clean());
    ledger.expire_pending(None).await.unwrap();

    // A clean-up needs the third block.
    let later = Timestamp::from_micros(SystemClock.now().as_micros()).plus(Duration::from_secs(100 * 86_400));
    let cleaner = settings(&app)
        .clock(ManualClock::starting_at(later))
        .connect()
        .await
        .unwrap();
    let archive = tempfile::tempdir().unwrap();
    let cleanup = Cleanup {
        older_than: Duration::from_secs(90 * 86_400),
        archive: archive.path().display().to_string(),
        limit: None,
        dry_run: false,
    };
    let refused = cleaner
        .cleanup_transactions(&cleanup)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains(&format!("the role `{app}` lacks DELETE on credit_transactions;")),
        "{refused}"
    );
    admin(&database.url, &sql(2)).await;
    assert!(cleaner.cleanup_transactions(&cleanup).await.unwrap().removed > 0);
    cleaner.cleanup_consumption_logs(&cleanup).await.unwrap();
    for _ in 0..3 {
        cleaner
            .anchor(&jointo_credits::Signing::Unsigned, false)
            .await
            .unwrap();
    }
    cleaner.close().await;
    admin(
        &database.url,
        &format!("REVOKE DELETE ON credits.credit_anchor_leaves FROM {app}"),
    )
    .await;
    let refused = ledger.prune_anchors(1).await.unwrap_err().to_string();
    assert!(
        refused.contains("lacks DELETE on credit_anchor_leaves;"),
        "{refused}"
    );

    // It can't take the guards away.
    for forbidden in [
        "ALTER TABLE credits.credit_transactions DISABLE TRIGGER ALL",
        "TRUNCATE credits.credit_transactions",
        "DROP TABLE credits.credit_lots",
        "UPDATE credits.credit_migrations SET checksum = ''",
    ] {
        let refused = connection.execute(forbidden).await.unwrap_err();
        let code = refused
            .into_database_error()
            .unwrap()
            .code()
            .unwrap()
            .into_owned();
        assert_eq!(code, "42501", "{forbidden}");
    }

    // What is missing is named, and nothing else.
    admin(
        &database.url,
        &format!("REVOKE UPDATE ON credits.credit_lots FROM {app}"),
    )
    .await;
    let grant = Grant::new(account(2), 1, Source::Bonus);
    ledger.grant(grant, None).await.unwrap();
    let refused = ledger
        .consume(Consume::new(account(2), 1), None)
        .await
        .unwrap_err();
    let Error::Unavailable { reason, remedy, .. } = &refused else {
        panic!("{refused}")
    };
    assert!(
        reason.ends_with(&format!("the role `{app}` lacks UPDATE on credit_lots")),
        "{reason}"
    );
    assert!(
        remedy.contains("docs/production.md") && !reason.contains("at line"),
        "{refused}"
    );
    let found = ledger.inspect().await.unwrap();
    assert!(
        found
            .problems
            .iter()
            .any(|problem| problem.what.ends_with("lacks UPDATE on credit_lots")),
        "{found:?}"
    );
    // Of several, those that this is about; the others are for `inspect`.
    admin(
        &database.url,
        &format!("REVOKE ALL ON credits.credit_lots, credits.credit_gifts FROM {app}"),
    )
    .await;
    let refused = ledger
        .gift(Gift::new(account(3), 1, "x"), None)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused.matches("credit_gifts").count() > 0,
        refused.matches("credit_lots").count() == 0
    );
    let found = ledger.inspect().await.unwrap();
    let rights = found
        .problems
        .iter()
        .find(|problem| problem.what.contains("lacks"))
        .unwrap();
    assert!(
        rights.what.contains("credit_gifts") && rights.what.contains("credit_lots"),
        "{found:?}"
    );

    // A role that may not look is not told to make tables.
    for (sql, lacks) in [
        (
            "REVOKE SELECT ON credits.credit_migrations FROM",
            "lacks SELECT on credit_migrations;",
        ),
        (
            "REVOKE USAGE ON SCHEMA credits FROM",
            "lacks USAGE on schema credits;",
        ),
    ] {
        admin(&database.url, &format!("{sql} {app}")).await;
        let refused = ledger.migrate().await.unwrap_err().to_string();
        assert!(refused.contains(lacks), "{refused}");
    }
    let refused = ledger.balance(ALICE).await.unwrap_err().to_string();
    assert!(refused.contains("USAGE on schema credits"), "{refused}");
    ledger.close().await;
    connection.close().await.unwrap();
}

/// Whoever makes a temporary table of a ledger's name changes neither the books nor what guards them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_temporary_table_stands_for_no_table_of_the_ledger_on_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT tablename::text FROM pg_tables WHERE tablename LIKE 'credit%'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert!(tables.len() > 10);
    for table in tables {
        let sql = format!("CREATE TEMP TABLE {table} (LIKE public.{table} INCLUDING ALL)");
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    // The guard of the journal: a checkpoint of the caller's own opens no door.
    connection
        .execute(AssertSqlSafe(format!(
            "INSERT INTO credit_checkpoints VALUES ('{ALICE}', 1000, decode(repeat('ab', 32), 'hex'), '', now())"
        )))
        .await
        .unwrap();
    let refused = connection
        .execute("DELETE FROM public.credit_transactions")
        .await
        .unwrap_err();
    let refused = refused.into_database_error().unwrap();
    assert_eq!(refused.code().unwrap(), "23001", "{refused}");

    let mut tx = connection.begin().await.unwrap();
    let hold = ledger
        .within(&mut tx)
        .consume(Consume::new(ALICE, 60), None)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(ledger.get_consumption(hold.id).await.unwrap(), hold);
    let row = connection
        .fetch_one("SELECT count(*) FROM credit_accounts")
        .await
        .unwrap();
    assert_eq!(row.get::<i64, _>(0), 0, "the temporary table is as it was");
    assert!(ledger.verify().await.unwrap().is_clean());
    ledger.close().await;
}
