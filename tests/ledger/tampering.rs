//! What somebody changes who may do everything in the database: each kind of it is found, by `verify` alone or with an
//! anchor. Triggers are passed by and put back, so that nothing else gives it away. (Rows of one account that do not fit
//! their entries: `damage.rs`.)

use crate::child::ALICE;
use crate::database::{Database, Kind, START};
use crate::prices::video;
use jointo_credits::{
    Action, Anchor, AnchorKey, Cleanup, Clock, Confirm, Consume, Entry, FaultKind, Gift, Grant, Ledger,
    ManualClock, Money, OpenOrder, OrderCommand, OrderNo, OrderPayment, OrderStep, PricedConsume,
    SavePackage, SetPricing, Signing, Source, TransactionFilter, Trust, Usage, Verification,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::time::Duration;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);
/// Whose entries have all left.
const OLD: Uuid = Uuid::from_u128(0x01D);
/// Whose entries are all new.
const NEW: Uuid = Uuid::from_u128(0x0E3);

/// Made for tests, with: openssl genpkey -algorithm ed25519
pub const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
     MC4CAQAwBQYDK2VwBCIEILqfQ6F0Ezi604RA2zOIY/YNCV4vzB5zn9Pa+pixOTgC\n\
     -----END PRIVATE KEY-----\n";

pub fn key() -> AnchorKey {
    AnchorKey::from_pem(KEY).unwrap()
}

pub fn trust() -> Trust {
    Trust::Key(key().public())
}

pub async fn anchor(ledger: &Ledger) -> Anchor {
    ledger.anchor(&Signing::With(key()), false).await.unwrap()
}

/// A database that was written to, and a way into it that no trigger is in.
struct Books {
    database: Database,
    ledger: Ledger,
    clock: ManualClock,
    archive: tempfile::TempDir,
}

impl Books {
    /// Old entries that have left, new ones, packages and rate cards in two versions, an order, a priced hold.
    async fn new(kind: Kind) -> Self {
        let database = Database::fresh(kind).await;
        let clock = ManualClock::starting_at(START);
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let archive = tempfile::tempdir().unwrap();
        for user_id in [ALICE, OLD] {
            ledger
                .grant(Grant::new(user_id, 500, Source::Purchase), None)
                .await
                .unwrap();
            let hold = ledger
                .consume(Consume::new(user_id, 30).feature("text"), None)
                .await
                .unwrap();
            ledger.confirm(Confirm::amount(hold.id, 20), None).await.unwrap();
        }
        clock.set(START.plus(DAY * 60));
        let cleanup = Cleanup {
            older_than: DAY * 40,
            archive: archive.path().display().to_string(),
            limit: None,
            dry_run: false,
        };
        assert_eq!(ledger.cleanup_transactions(&cleanup).await.unwrap().removed, 6);
        let books = Books {
            database,
            ledger,
            clock,
            archive,
        };
        books.trade().await;
        books
    }

    async fn trade(&self) {
        let ledger = &self.ledger;
        for rate in ["3", "5"] {
            ledger.set_pricing(SetPricing::new(video(rate))).await.unwrap();
            self.clock.advance(Duration::from_secs(61));
        }
        let package = SavePackage::new("starter", "9.90".parse().unwrap(), 100).bonus_credits(10);
        let saved = ledger.save_package(package.clone()).await.unwrap();
        self.clock.advance(Duration::from_secs(1));
        let cheaper = SavePackage {
            package_id: Some(saved.package_id),
            price: "8.90".parse().unwrap(),
            ..package
        };
        assert_eq!(ledger.save_package(cheaper).await.unwrap().version, 2);
        let step = OrderStep::Open(OpenOrder {
            channel: "manual".into(),
            package_id: saved.package_id,
            package_version: 2,
            subject: "starter".into(),
            price: Money {
                minor: 890,
                currency: "CNY".into(),
            },
            credits: 100,
            bonus_credits: 10,
            validity_days: None,
            purchase_limit: None,
        });
        let order = OrderCommand {
            user_id: NEW,
            order_no: OrderNo(Uuid::from_u128(0x0123_4567)),
            step,
        };
        ledger.run(Action::Order(order).with_key(None)).await.unwrap();
        for user_id in [ALICE, NEW] {
            ledger
                .gift(Gift::new(user_id, 800, "welcome"), None)
                .await
                .unwrap();
            let usage = Usage::of("video").quantity(2);
            ledger
                .consume_priced(PricedConsume::new(user_id, usage), None)
                .await
                .unwrap();
            let hold = ledger.consume(Consume::new(user_id, 30), None).await.unwrap();
            ledger.confirm(Confirm::amount(hold.id, 20), None).await.unwrap();
        }
        let found = ledger.verify().await.unwrap();
        assert!(found.is_clean(), "{found:#?}");
    }

    fn archive(&self) -> String {
        self.archive.path().display().to_string()
    }

    /// Does it behind everybody's back: `{NEW}` and the like are accounts; triggers are passed by, and put back.
    async fn behind(&self, sql: &str) {
        let id = |id: Uuid| match self.database.kind {
            Kind::Postgres => format!("'{id}'"),
            _ => format!("x'{}'", id.simple()),
        };
        let sql = sql
            .replace("{NEW}", &id(NEW))
            .replace("{OLD}", &id(OLD))
            .replace("{ALICE}", &id(ALICE));
        if self.database.kind == Kind::Postgres {
            let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
            connection
                .execute("SET session_replication_role = replica")
                .await
                .unwrap();
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
            connection.close().await.unwrap();
            return;
        }
        let connection = rusqlite::Connection::open(self.database.sqlite_path()).unwrap();
        let triggers: Vec<(String, String)> = connection
            .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let is_about_schema = ["TRIGGER", "INDEX", "ALTER"]
            .iter()
            .any(|word| sql.contains(word));
        for (name, _) in triggers.iter().filter(|_| !is_about_schema) {
            connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
        }
        connection
            .execute_batch(&sql)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        for (_, text) in triggers.iter().filter(|_| !is_about_schema) {
            connection.execute_batch(text).unwrap();
        }
    }

    /// What SQLite's store keeps with an anchor: the journal's last row.
    fn mark_of_last(&self) -> String {
        if self.database.kind == Kind::Postgres {
            return "'0'".into();
        }
        let connection = rusqlite::Connection::open(self.database.sqlite_path()).unwrap();
        let sql = "SELECT rowid, user_id, seq FROM credit_transactions ORDER BY rowid DESC LIMIT 1";
        let read = |row: &rusqlite::Row<'_>| {
            let user_id = Uuid::from_slice(&row.get::<_, Vec<u8>>(1)?).unwrap();
            Ok(format!(
                "'{}:{user_id}:{}'",
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(2)?
            ))
        };
        connection.query_row(sql, [], read).unwrap()
    }

    async fn journal(&self, user_id: Uuid) -> Vec<Entry> {
        let filter = TransactionFilter {
            limit: 200,
            ..TransactionFilter::default()
        };
        let mut entries = self.ledger.transactions(user_id, filter).await.unwrap().items;
        entries.reverse();
        entries
    }

    fn bytes(&self, hash: &jointo_credits::Hash) -> String {
        match self.database.kind {
            Kind::Postgres => format!("decode('{hash}', 'hex')"),
            _ => format!("x'{hash}'"),
        }
    }
}

fn has(found: &Verification, kind: FaultKind) -> bool {
    found.faults.iter().any(|fault| fault.kind == kind)
}

/// What is done, and what names it: without an anchor, and else with one.
const EVERYWHERE: &[(&str, FaultKind)] = &[
    // Packages and their history.
    (
        "UPDATE credit_packages SET credits = credits + 1",
        FaultKind::Package,
    ),
    (
        "UPDATE credit_packages SET purchase_limit = 1",
        FaultKind::Package,
    ),
    ("UPDATE credit_packages SET version = 1", FaultKind::Package),
    ("DELETE FROM credit_packages", FaultKind::Package),
    (
        "UPDATE credit_package_versions SET credits = 1000 WHERE version = 2",
        FaultKind::Package,
    ),
    (
        "DELETE FROM credit_package_versions WHERE version = 1",
        FaultKind::Package,
    ),
    (
        "DELETE FROM credit_package_versions WHERE version = 2",
        FaultKind::Package,
    ),
    (
        "DELETE FROM credit_package_versions WHERE version = 2; UPDATE credit_packages SET version = 1, \
         updated_at = (SELECT v.updated_at FROM credit_package_versions v), \
         {price} = (SELECT v.{price} FROM credit_package_versions v)",
        FaultKind::Package,
    ),
    // Rate cards.
    (
        "UPDATE credit_pricing SET card = replace(card, '\"5\"', '\"6\"') WHERE version = 2",
        FaultKind::Pricing,
    ),
    (
        "UPDATE credit_pricing SET card = replace(card, 'rate', 'tare') WHERE version = 1",
        FaultKind::Pricing,
    ),
    ("DELETE FROM credit_pricing WHERE version = 1", FaultKind::Pricing),
    ("DELETE FROM credit_pricing WHERE version = 2", FaultKind::Pricing),
    (
        "UPDATE credit_pricing SET version = 9 WHERE version = 2",
        FaultKind::Pricing,
    ),
    ("UPDATE credit_catalogue SET revision = 1", FaultKind::Pricing),
    // Times that only the library writes.
    (
        "UPDATE credit_transactions SET updated_at = created_at WHERE seq = 2 AND user_id = {NEW}",
        FaultKind::Entry,
    ),
    (
        "UPDATE credit_consumption_logs SET updated_at = {early}",
        FaultKind::Hold,
    ),
    (
        "UPDATE credit_consumption_logs SET updated_at = {late}",
        FaultKind::Hold,
    ),
    // What has left.
    ("DELETE FROM credit_archives", FaultKind::Archive),
    ("DELETE FROM credit_archives", FaultKind::Checkpoint),
    ("UPDATE credit_archives SET lines = 1", FaultKind::Archive),
    (
        "UPDATE credit_archives SET older_than = created_at - older_than + {early}",
        FaultKind::Checkpoint,
    ),
    (
        "DELETE FROM credit_archived_sums WHERE counter_account = 'issued.purchase'",
        FaultKind::Archive,
    ),
    (
        "UPDATE credit_checkpoints SET data = replace(data, '\"witness\":', '\"nothing\":')",
        FaultKind::Checkpoint,
    ),
    // A checkpoint that has a million more, in all the places that have to agree.
    (
        "UPDATE credit_checkpoints SET data = replace(replace(data, '\"available\":480', '\"available\":1000480'), \
         ':[480,0]', ':[1000480,0]') WHERE user_id = {OLD}; \
         UPDATE credit_accounts SET available = 1000480, granted = 1000500 WHERE user_id = {OLD}; \
         UPDATE credit_lots SET remaining = 1000480, amount = 1000500 WHERE user_id = {OLD}; \
         UPDATE credit_archived_sums SET amount = {less_a_million} WHERE counter_account = 'issued.purchase'",
        FaultKind::Checkpoint,
    ),
    (
        "UPDATE credit_checkpoints SET created_at = created_at - {one} WHERE user_id = {OLD}",
        FaultKind::Checkpoint,
    ),
    // The schema.
    ("DROP INDEX credit_transactions_key", FaultKind::Schema),
    ("DROP INDEX credit_lots_open", FaultKind::Schema),
    (
        "ALTER TABLE credit_gifts ADD COLUMN more text; ALTER TABLE credit_gifts RENAME COLUMN reason TO why; \
      ALTER TABLE credit_gifts RENAME COLUMN more TO reason; UPDATE credit_gifts SET reason = why",
        FaultKind::Schema,
    ),
    (
        "CREATE UNIQUE INDEX mine ON credit_lots (user_id, lot_id, source)",
        FaultKind::Schema,
    ),
    (
        "UPDATE credit_migrations SET name = 'other' WHERE version = 2",
        FaultKind::Schema,
    ),
    (
        "UPDATE credit_migrations SET checksum = 'other' WHERE version = 2",
        FaultKind::Schema,
    ),
    (
        "DELETE FROM credit_migrations WHERE version = 6",
        FaultKind::Schema,
    ),
];

const ON_SQLITE: &[(&str, FaultKind)] = &[
    ("DROP TRIGGER credit_transactions_no_update", FaultKind::Schema),
    (
        "CREATE TRIGGER mine AFTER INSERT ON credit_accounts BEGIN SELECT 1; END",
        FaultKind::Schema,
    ),
    (
        "DROP TRIGGER credit_pricing_no_delete; CREATE TRIGGER credit_pricing_no_delete BEFORE DELETE ON credit_pricing \
         BEGIN SELECT 1; END",
        FaultKind::Schema,
    ),
];

const ON_POSTGRES: &[(&str, FaultKind)] = &[
    (
        "DROP TRIGGER credit_transactions_append_only ON credit_transactions",
        FaultKind::Schema,
    ),
    (
        "ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_no_truncate",
        FaultKind::Schema,
    ),
    (
        "ALTER TABLE credit_accounts DROP CONSTRAINT credit_accounts_debt",
        FaultKind::Schema,
    ),
    (
        "ALTER TABLE credit_accounts ALTER COLUMN updated_at DROP NOT NULL",
        FaultKind::Schema,
    ),
    (
        "ALTER TABLE credit_packages ALTER COLUMN bonus_credits SET DEFAULT 1000",
        FaultKind::Schema,
    ),
    (
        "ALTER DOMAIN credit_ledger_amount DROP CONSTRAINT credit_ledger_amount_check",
        FaultKind::Schema,
    ),
    (
        "CREATE OR REPLACE FUNCTION credit_journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RETURN NEW; END'",
        FaultKind::Schema,
    ),
    (
        "CREATE TRIGGER mine AFTER INSERT ON credit_lots FOR EACH STATEMENT EXECUTE FUNCTION \
         credit_catalogue_has_changed()",
        FaultKind::Schema,
    ),
    (
        "CREATE RULE mine AS ON DELETE TO credit_gifts DO INSTEAD NOTHING",
        FaultKind::Schema,
    ),
    (
        "ALTER TABLE credit_lots ENABLE ROW LEVEL SECURITY",
        FaultKind::Schema,
    ),
    ("CREATE TABLE mine () INHERITS (credit_lots)", FaultKind::Schema),
    ("ALTER TABLE credit_lots SET UNLOGGED", FaultKind::Schema),
    (
        "ALTER TABLE credit_gifts ADD COLUMN more text NOT NULL DEFAULT ''; \
         ALTER TABLE credit_gifts ALTER COLUMN more DROP DEFAULT",
        FaultKind::Schema,
    ),
    (
        "ALTER TABLE credit_gifts ADD CONSTRAINT mine CHECK (amount < 100000)",
        FaultKind::Schema,
    ),
    (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET session_replication_role = replica', current_database()); END $$",
        FaultKind::Schema,
    ),
];

/// What a host may do to the tables without changing what is in them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_the_hosts_own_affair_is_no_fault_on_postgres() {
    let books = Books::new(Kind::Postgres).await;
    books
        .behind(
            "CREATE INDEX mine ON credit_lots (reference); ALTER TABLE credit_gifts ADD COLUMN more text; \
             ALTER TABLE credit_gifts ADD COLUMN stamp timestamptz NOT NULL DEFAULT now(); \
             CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
             CREATE VIEW my_lots AS SELECT * FROM credit_lots; \
             CREATE TABLE mine_too (user_id uuid REFERENCES credit_accounts)",
        )
        .await;
    let found = books.ledger.verify().await.unwrap();
    assert!(found.is_clean(), "{:#?}", found.faults);
    books.ledger.close().await;
}

async fn all_are_named(kind: Kind, more: &[(&str, FaultKind)]) {
    let postgres = kind == Kind::Postgres;
    for (sql, expected) in EVERYWHERE.iter().chain(more) {
        let books = Books::new(kind).await;
        let sql = sql
            .replace("{price}", if postgres { "price" } else { "price_minor" })
            .replace(
                "{early}",
                if postgres {
                    "'2020-01-01T00:00:00Z'"
                } else {
                    "1577836800000000"
                },
            )
            .replace(
                "{late}",
                if postgres {
                    "'2120-01-01T00:00:00Z'"
                } else {
                    "4733510400000000"
                },
            )
            .replace("created_at - older_than +", if postgres { "" } else { "0 *" })
            .replace(
                "{one}",
                if postgres {
                    "interval '1 second'"
                } else {
                    "1000000"
                },
            )
            .replace(
                "{less_a_million}",
                if postgres {
                    "amount - 1000000"
                } else {
                    "CAST(amount - 1000000 AS TEXT)"
                },
            );
        books.behind(&sql).await;
        let found = books.ledger.verify().await.unwrap();
        assert!(has(&found, *expected), "{sql}: {:#?}", found.faults);
        books.ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_shows_by_itself_is_named_on_sqlite() {
    all_are_named(Kind::SqliteFile, ON_SQLITE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_database_shows_by_itself_is_named_on_postgres() {
    all_are_named(Kind::Postgres, ON_POSTGRES).await;
}

const TABLES: [&str; 9] = [
    "credit_accounts",
    "credit_lots",
    "credit_consumption_logs",
    "credit_transactions",
    "credit_gifts",
    "credit_orders",
    "credit_anchors",
    "credit_anchor_leaves",
    "credit_anchor_groups",
];

/// What only an anchor shows: the books fit together without what is gone.
async fn only_an_anchor_shows(kind: Kind) {
    type Work = for<'b> fn(&'b Books) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'b>>;
    let deletions: [(&str, Work); 8] = [
        ("the newest entries are gone, everything else put back", |books| {
            Box::pin(async {
                let (mut sql, mut back) = (String::new(), String::new());
                for table in &TABLES[..6] {
                    sql += &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table};");
                    back += &format!(
                        "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table};"
                    );
                }
                books.behind(&sql).await;
                books
                    .ledger
                    .grant(Grant::new(NEW, 5, Source::Bonus), None)
                    .await
                    .unwrap();
                let anchored = anchor(&books.ledger).await;
                books.behind(&back).await;
                assert!(books.ledger.verify().await.unwrap().is_clean());
                let found = books
                    .ledger
                    .verify_anchored(&anchored, &trust(), None)
                    .await
                    .unwrap();
                let named =
                    |fault: &jointo_credits::Fault| fault.kind == FaultKind::Anchor && fault.user_id == NEW;
                assert!(found.faults.iter().any(named), "{:#?}", found.faults);
                let refused = books.ledger.anchor(&Signing::With(key()), true).await;
                assert!(refused.unwrap_err().to_string().contains("does not go on"));
            })
        }),
        ("a whole account is gone", |books| {
            Box::pin(async {
                let gone = TABLES[..6]
                    .iter()
                    .map(|table| format!("DELETE FROM {table} WHERE user_id = {{NEW}};"));
                books.behind(&gone.collect::<String>()).await;
                let refused = books.ledger.anchor(&Signing::With(key()), true).await;
                assert!(refused.unwrap_err().to_string().contains("is gone"));
            })
        }),
        ("a whole account is gone, and its leaves", |books| {
            Box::pin(async {
                let gone = TABLES[..6]
                    .iter()
                    .map(|table| format!("DELETE FROM {table} WHERE user_id = {{NEW}};"));
                let leaves = "DELETE FROM credit_anchor_leaves WHERE user_id = {NEW};";
                books.behind(&(gone.collect::<String>() + leaves)).await;
            })
        }),
        ("a chain is written anew", |books| {
            Box::pin(async {
                let mut previous = jointo_credits::Hash::genesis(NEW);
                let mut sql = String::new();
                for mut entry in books.journal(NEW).await {
                    if entry.seq == 4 {
                        entry.idempotency_key = Some("mine".into());
                        entry.request_hash = Some(previous);
                        let request = books.bytes(&previous);
                        sql += &format!(
                            "UPDATE credit_transactions SET idempotency_key = 'mine', request_hash = {request} \
                             WHERE user_id = {{NEW}} AND seq = 4;"
                        );
                    }
                    previous = entry.chained(&previous);
                    let hash = books.bytes(&previous);
                    sql += &format!(
                        "UPDATE credit_transactions SET hash = {hash} WHERE user_id = {{NEW}} AND seq = {}; \
                         UPDATE credit_accounts SET hash = {hash} WHERE user_id = {{NEW}};",
                        entry.seq
                    );
                }
                books.behind(&sql).await;
            })
        }),
        (
            "a package is gone with its versions, and the order that was made of it",
            |books| {
                Box::pin(async {
                    books
                        .behind("DELETE FROM credit_packages; DELETE FROM credit_package_versions")
                        .await;
                })
            },
        ),
        ("a package was always cheaper", |books| {
            Box::pin(async {
                books
                    .behind(
                        "UPDATE credit_package_versions SET purchase_limit = 99; \
                         UPDATE credit_packages SET purchase_limit = 99",
                    )
                    .await;
            })
        }),
        ("a card that priced nothing is another", |books| {
            Box::pin(async {
                books
                    .behind(
                        "UPDATE credit_pricing SET name = 'other', created_at = created_at WHERE version = 1",
                    )
                    .await;
            })
        }),
        ("a head that was anchored is another", |books| {
            Box::pin(async {
                books
                    .behind("UPDATE credit_anchor_leaves SET seq = seq - 1 WHERE user_id = {NEW}")
                    .await;
            })
        }),
    ];
    for (what, work) in deletions {
        let books = Books::new(kind).await;
        let anchored = anchor(&books.ledger).await;
        let found = books
            .ledger
            .verify_anchored(&anchored, &trust(), None)
            .await
            .unwrap();
        assert!(found.is_clean(), "{what}: {:#?}", found.faults);
        assert_eq!((found.anchored, found.anchored_archived), (3, 0));
        work(&books).await;
        assert!(books.ledger.verify().await.unwrap().is_clean(), "{what}");
        for archive in [None, Some(books.archive())] {
            let found = books
                .ledger
                .verify_anchored(&anchored, &trust(), archive.as_deref())
                .await
                .unwrap();
            // What was put back is before this anchor, and was compared with a later one.
            if !what.starts_with("the newest") {
                assert!(has(&found, FaultKind::Anchor), "{what}: {:#?}", found.faults);
            }
        }
        books.ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_an_anchor_shows_on_sqlite() {
    only_an_anchor_shows(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_an_anchor_shows_on_postgres() {
    only_an_anchor_shows(Kind::Postgres).await;
}

/// An anchor is not made of what the last one would show to be changed.
async fn an_anchor_covers_nothing_up(kind: Kind) {
    let books = Books::new(kind).await;
    anchor(&books.ledger).await;
    let of_new = |tables: &[&str]| -> (String, String) {
        let all = tables.iter().map(|table| {
            let gone = format!(
                "CREATE TABLE kept_{table} AS SELECT * FROM {table}; DELETE FROM {table} WHERE user_id = {{NEW}};"
            );
            let back = format!(
                "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table};"
            );
            (gone, back)
        });
        all.unzip()
    };
    let account = [&TABLES[..6], &["credit_anchor_leaves"]].concat();
    let account = of_new(&account);
    let changes: [(&str, (String, String), bool, &str); 5] = [
        (
            "it is said to be another ledger",
            (
                "CREATE TABLE kept AS SELECT * FROM credit_ledger; UPDATE credit_ledger SET ledger_id = {NEW}".into(),
                "DELETE FROM credit_ledger; INSERT INTO credit_ledger SELECT * FROM kept; DROP TABLE kept".into(),
            ),
            false,
            "it is ledger",
        ),
        (
            "the anchors are gone",
            (
                "CREATE TABLE kept AS SELECT * FROM credit_anchors; DELETE FROM credit_anchors".into(),
                "INSERT INTO credit_anchors SELECT * FROM kept; DROP TABLE kept".into(),
            ),
            false,
            "and has none",
        ),
        ("an account is gone, and its leaf", account, true, "does not lead to its root"),
        (
            "a leaf is another, and nothing is new in its bucket",
            (
                "UPDATE credit_anchor_leaves SET seq = seq - 1 WHERE user_id = {ALICE}".into(),
                "UPDATE credit_anchor_leaves SET seq = seq + 1 WHERE user_id = {ALICE}".into(),
            ),
            true,
            "does not go on",
        ),
        (
            "the last row is said to be one from after the anchor, and its leaf to be of then",
            (
                "CREATE TABLE kept AS SELECT * FROM credit_anchors; UPDATE credit_anchors SET mark = {last}; UPDATE \
                 credit_anchor_leaves SET seq = (SELECT seq FROM credit_accounts a WHERE a.user_id = {ALICE}), hash = \
                 (SELECT hash FROM credit_accounts a WHERE a.user_id = {ALICE}) WHERE user_id = {ALICE}"
                    .into(),
                String::new(),
            ),
            false,
            "does not lead to its root",
        ),
    ];
    for (what, (change, undo), all, expected) in changes {
        let mut change = change;
        if change.contains("{last}") {
            books
                .ledger
                .grant(Grant::new(ALICE, 5, Source::Bonus), None)
                .await
                .unwrap();
            change = change.replace("{last}", &books.mark_of_last());
        }
        books.behind(&change).await;
        let made = books.ledger.anchor(&Signing::With(key()), all).await;
        let refused = made.expect_err(what).to_string();
        assert!(refused.contains(expected), "{what}: {refused}");
        books.behind(&undo).await;
    }
    books.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anchor_covers_nothing_up_on_sqlite() {
    an_anchor_covers_nothing_up(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anchor_covers_nothing_up_on_postgres() {
    an_anchor_covers_nothing_up(Kind::Postgres).await;
}

/// Where the next anchor begins to look stands in the database: whoever moves it hides nothing.
async fn the_mark_hides_nothing(kind: Kind) {
    let books = Books::new(kind).await;
    for mark in ["''", "'9000000000000000'", "{last}"] {
        anchor(&books.ledger).await;
        books
            .ledger
            .grant(Grant::new(NEW, 5, Source::Bonus), None)
            .await
            .unwrap();
        let mark = mark.replace("{last}", &books.mark_of_last());
        books
            .behind(&format!("UPDATE credit_anchors SET mark = {mark}"))
            .await;
        let next = anchor(&books.ledger).await;
        let whole = books.ledger.anchor(&Signing::With(key()), true).await.unwrap();
        assert_eq!(
            (next.root, next.available),
            (whole.root, whole.available),
            "{mark}"
        );
    }
    books.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_hides_nothing_on_sqlite() {
    the_mark_hides_nothing(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mark_hides_nothing_on_postgres() {
    the_mark_hides_nothing(Kind::Postgres).await;
}

/// Checkpoints that are right in themselves, for entries that nobody ever wrote or that were too young to leave: made with the
/// library and a clock that is wrong.
/// The entries that granted them stay for their order.
async fn a_bought_lot_is_compared_with_its_grant(kind: Kind) {
    let late = if kind == Kind::Postgres {
        "'2120-01-01T00:00:00Z'"
    } else {
        "4733510400000000"
    };
    for harm in [
        format!("UPDATE credit_lots SET expires_at = {late}"),
        "UPDATE credit_lots SET priority = 7".into(),
        "UPDATE credit_lots SET source = 'gift'".into(),
        "UPDATE credit_lots SET amount = amount + 1".into(),
        "DELETE FROM credit_lots".into(),
    ] {
        let database = Database::fresh(kind).await;
        let clock = ManualClock::starting_at(START);
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let order_no = OrderNo(Uuid::from_u128(0x0123_4567));
        let price = || Money {
            minor: 890,
            currency: "CNY".into(),
        };
        let open = OpenOrder {
            channel: "manual".into(),
            package_id: Uuid::from_u128(77),
            package_version: 1,
            subject: "starter".into(),
            price: price(),
            credits: 100,
            bonus_credits: 10,
            validity_days: None,
            purchase_limit: None,
        };
        let payment = OrderPayment {
            transaction_id: "4200".into(),
            amount: price(),
            paid_at: None,
        };
        for step in [OrderStep::Open(open), OrderStep::Settle(payment)] {
            let order = OrderCommand {
                user_id: NEW,
                order_no,
                step,
            };
            ledger.run(Action::Order(order).with_key(None)).await.unwrap();
        }
        let hold = ledger.consume(Consume::new(NEW, 110), None).await.unwrap();
        ledger.confirm(Confirm::all(hold.id), None).await.unwrap();
        clock.set(START.plus(DAY * 60));
        let archive = tempfile::tempdir().unwrap();
        let cleanup = Cleanup {
            older_than: DAY * 40,
            archive: archive.path().display().to_string(),
            limit: None,
            dry_run: false,
        };
        assert!(ledger.cleanup_transactions(&cleanup).await.unwrap().removed > 0);
        let books = Books {
            database,
            ledger,
            clock,
            archive,
        };
        assert!(books.ledger.verify().await.unwrap().is_clean());
        books.behind(&harm).await;
        let found = books.ledger.verify().await.unwrap();
        assert!(has(&found, FaultKind::Lot), "{harm}: {:#?}", found.faults);
        books.ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bought_lot_is_compared_with_its_grant_on_sqlite() {
    a_bought_lot_is_compared_with_its_grant(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bought_lot_is_compared_with_its_grant_on_postgres() {
    a_bought_lot_is_compared_with_its_grant(Kind::Postgres).await;
}

/// Only leaves that lead to the root are believed: not a second one of an account, which stands where nobody looks.
async fn a_second_leaf_covers_nothing_up(kind: Kind) {
    let books = Books::new(kind).await;
    let (mut sql, mut back) = (String::new(), String::new());
    for table in &TABLES[..6] {
        sql += &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table};");
        back += &format!(
            "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table};"
        );
    }
    books.behind(&sql).await;
    let spend = Consume::new(NEW, 5);
    let hold = books.ledger.consume(spend, None).await.unwrap();
    books.ledger.confirm(Confirm::all(hold.id), None).await.unwrap();
    let anchored = anchor(&books.ledger).await;
    books.behind(&back).await;
    books
        .behind(
            "INSERT INTO credit_anchor_leaves (user_id, number, until, bucket, seq, hash, available, held) \
             SELECT l.user_id, l.number + 1, NULL, (l.bucket + 1) % 65536, a.seq, a.hash, a.available, a.held \
             FROM credit_anchor_leaves l JOIN credit_accounts a ON a.user_id = l.user_id WHERE l.user_id = {NEW}",
        )
        .await;
    books.clock.advance(Duration::from_secs(1));
    books
        .ledger
        .grant(Grant::new(NEW, 1, Source::Bonus), None)
        .await
        .unwrap();
    for all in [false, true] {
        let refused = books.ledger.anchor(&Signing::With(key()), all).await.unwrap_err();
        assert!(
            refused.to_string().contains("no anchor was made"),
            "{all}: {refused}"
        );
    }
    let found = books
        .ledger
        .verify_anchored(&anchored, &trust(), None)
        .await
        .unwrap();
    assert!(has(&found, FaultKind::Anchor), "{:#?}", found.faults);
    books.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_leaf_covers_nothing_up_on_sqlite() {
    a_second_leaf_covers_nothing_up(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_leaf_covers_nothing_up_on_postgres() {
    a_second_leaf_covers_nothing_up(Kind::Postgres).await;
}

/// What is signed of an account is what its last entry says.
async fn figures_are_signed_as_the_entries_say(kind: Kind) {
    let books = Books::new(kind).await;
    anchor(&books.ledger).await;
    books
        .behind("UPDATE credit_anchor_leaves SET available = available + 7, held = held + 1 WHERE user_id = {NEW}")
        .await;
    books.clock.advance(Duration::from_secs(1));
    books
        .ledger
        .grant(Grant::new(NEW, 1, Source::Bonus), None)
        .await
        .unwrap();
    let next = anchor(&books.ledger).await;
    let found = books.ledger.verify_anchored(&next, &trust(), None).await.unwrap();
    assert!(found.is_clean(), "{:#?}", found.faults);
    // A row that is changed for as long as the anchor is made.
    books.clock.advance(Duration::from_secs(1));
    books
        .ledger
        .grant(Grant::new(NEW, 1, Source::Bonus), None)
        .await
        .unwrap();
    for (change, back) in [
        ("available + 3", "available - 3"),
        ("available - 1", "available + 1"),
    ] {
        books
            .behind(&format!(
                "UPDATE credit_accounts SET available = {change} WHERE user_id = {{NEW}}"
            ))
            .await;
        for all in [false, true] {
            let refused = books.ledger.anchor(&Signing::With(key()), all).await.unwrap_err();
            assert!(
                refused.to_string().contains("is not what its last entry"),
                "{refused}"
            );
        }
        books
            .behind(&format!(
                "UPDATE credit_accounts SET available = {back} WHERE user_id = {{NEW}}"
            ))
            .await;
    }
    let next = anchor(&books.ledger).await;
    let found = books.ledger.verify_anchored(&next, &trust(), None).await.unwrap();
    assert!(found.is_clean(), "{:#?}", found.faults);
    books.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_signed_as_the_entries_say_on_sqlite() {
    figures_are_signed_as_the_entries_say(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_signed_as_the_entries_say_on_postgres() {
    figures_are_signed_as_the_entries_say(Kind::Postgres).await;
}

async fn a_forged_checkpoint_is_found(kind: Kind) {
    for user_id in [NEW, Uuid::from_u128(0xBAD)] {
        let books = Books::new(kind).await;
        let anchored = anchor(&books.ledger).await;
        let forged = tempfile::tempdir().unwrap();
        let now = books.clock.now();
        let wrong = ManualClock::starting_at(now);
        let forger = books
            .database
            .open(books.database.settings().clock(wrong.clone()))
            .await;
        forger
            .grant(Grant::new(user_id, 1_000_000, Source::Purchase), None)
            .await
            .unwrap();
        forger.expire_pending(None).await.unwrap();
        wrong.set(now.plus(DAY * 100));
        forger.expire_pending(None).await.unwrap();
        let cleanup = Cleanup {
            older_than: DAY * 40,
            archive: forged.path().display().to_string(),
            limit: None,
            dry_run: false,
        };
        assert!(forger.cleanup_transactions(&cleanup).await.unwrap().removed > 0);
        forger.close().await;

        let named = |found: &Verification| {
            let detail = "too young to have left";
            let mut faults = found.faults.iter();
            faults.any(|fault| fault.user_id == user_id && fault.detail.contains(detail))
        };
        let found = books.ledger.verify().await.unwrap();
        assert!(named(&found), "{:#?}", found.faults);
        let found = books
            .ledger
            .verify_anchored(&anchored, &trust(), None)
            .await
            .unwrap();
        assert!(named(&found), "{:#?}", found.faults);
        let refused = books
            .ledger
            .anchor(&Signing::With(key()), true)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("too young"), "{refused}");
        // A month later it may well have left: only the archive can show it.
        books.clock.set(now.plus(DAY * 30));
        let found = books
            .ledger
            .verify_anchored(&anchored, &trust(), None)
            .await
            .unwrap();
        assert!(found.is_clean(), "{:#?}", found.faults);
        books.ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_checkpoint_is_found_on_sqlite() {
    a_forged_checkpoint_is_found(Kind::SqliteFile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_checkpoint_is_found_on_postgres() {
    a_forged_checkpoint_is_found(Kind::Postgres).await;
}
