//! What is changed or deleted behind the ledger's back, `verify` names.

use crate::child::ALICE;
use crate::database::{Database, Kind};
use jointo_credits::{
    Action, Adjust, Confirm, Consume, ConsumptionFilter, FaultKind, Gift, Grant, Ledger, Metadata, Money,
    OpenOrder, OrderCommand, OrderNo, OrderPayment, OrderRefundRequest, OrderStep, Refund, Source,
    TransactionFilter,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use uuid::Uuid;

/// What is done, and the kind of fault that must be named. `{lot}` and `{hold}` are filled in.
const DAMAGE: &[(&str, FaultKind)] = &[
    (
        "UPDATE credit_accounts SET available = available + 1",
        FaultKind::Account,
    ),
    ("UPDATE credit_accounts SET held = held + 1", FaultKind::Account),
    ("UPDATE credit_accounts SET spent = spent + 1", FaultKind::Account),
    (
        "UPDATE credit_accounts SET granted = granted - 1",
        FaultKind::Account,
    ),
    ("UPDATE credit_accounts SET credit_limit = 5", FaultKind::Account),
    ("UPDATE credit_accounts SET seq = seq + 1", FaultKind::Account),
    (
        "UPDATE credit_accounts SET next_hold_deadline = NULL",
        FaultKind::Account,
    ),
    ("DELETE FROM credit_accounts", FaultKind::Account),
    ("UPDATE credit_lots SET remaining = remaining - 1", FaultKind::Lot),
    ("UPDATE credit_lots SET amount = amount + 1", FaultKind::Lot),
    ("UPDATE credit_lots SET source = 'gift'", FaultKind::Lot),
    ("UPDATE credit_lots SET priority = 9", FaultKind::Lot),
    ("DELETE FROM credit_lots", FaultKind::Lot),
    (
        "UPDATE credit_consumption_logs SET amount = amount + 1",
        FaultKind::Hold,
    ),
    ("UPDATE credit_consumption_logs SET borrowed = 1", FaultKind::Hold),
    (
        "UPDATE credit_consumption_logs SET captured = captured + 1 WHERE status = 'confirmed'",
        FaultKind::Hold,
    ),
    (
        "UPDATE credit_consumption_logs SET metadata = '{}'",
        FaultKind::Hold,
    ),
    (
        "UPDATE credit_consumption_logs SET feature = 'other'",
        FaultKind::Hold,
    ),
    ("DELETE FROM credit_consumption_logs", FaultKind::Hold),
    ("UPDATE credit_gifts SET amount = amount + 1", FaultKind::Gift),
    ("UPDATE credit_gifts SET reason = 'other'", FaultKind::Gift),
    ("UPDATE credit_gifts SET operator = NULL", FaultKind::Gift),
    ("DELETE FROM credit_gifts", FaultKind::Gift),
    ("UPDATE credit_orders SET status = 'paid'", FaultKind::Order),
    ("UPDATE credit_orders SET credits = credits + 1", FaultKind::Order),
    (
        "UPDATE credit_orders SET transaction_id = 'other'",
        FaultKind::Order,
    ),
    ("UPDATE credit_orders SET data = '{}'", FaultKind::Order),
    (
        "UPDATE credit_orders SET data = replace(data, 'opened by mistake', 'opened on purpose')",
        FaultKind::Order,
    ),
    ("DELETE FROM credit_orders", FaultKind::Order),
    ("DELETE FROM credit_payment_claims", FaultKind::Order),
    (
        "UPDATE credit_payment_claims SET transaction_id = 'other'",
        FaultKind::Order,
    ),
    (
        "UPDATE credit_payment_claims SET channel = 'other'",
        FaultKind::Order,
    ),
    (
        "UPDATE credit_payment_claims SET order_no = 'ffffffffffffffffffffffffffffffff'",
        FaultKind::Order,
    ),
    (
        "INSERT INTO credit_payment_claims (channel, transaction_id, order_no, user_id) \
         SELECT 'manual', 'extra', '00000000000000000000000000000009', user_id FROM credit_orders",
        FaultKind::Order,
    ),
    (
        "UPDATE credit_transactions SET change = change + 1 WHERE seq = 2",
        FaultKind::Hash,
    ),
    (
        "UPDATE credit_transactions SET reference = 'x' WHERE seq = 2",
        FaultKind::Hash,
    ),
    (
        "UPDATE credit_transactions SET counter_account = 'earned.x' WHERE seq = 3",
        FaultKind::Hash,
    ),
    (
        "UPDATE credit_transactions SET data = '{}' WHERE seq = 2",
        FaultKind::Hash,
    ),
    (
        "UPDATE credit_transactions SET data = 'no json' WHERE seq = 2",
        FaultKind::Entry,
    ),
    (
        "UPDATE credit_transactions SET hash = (SELECT hash FROM credit_transactions WHERE seq = 1) WHERE seq = 2",
        FaultKind::Hash,
    ),
    (
        "UPDATE credit_transactions SET seq = 40 WHERE seq = 5",
        FaultKind::Sequence,
    ),
    (
        "DELETE FROM credit_transactions WHERE seq = 2",
        FaultKind::Sequence,
    ),
    (
        "DELETE FROM credit_transactions WHERE seq = (SELECT max(seq) FROM credit_transactions)",
        FaultKind::Account,
    ),
    ("DELETE FROM credit_transactions", FaultKind::Account),
];

async fn books(database: &Database) -> Ledger {
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 100, Source::Purchase), None)
        .await
        .unwrap();
    let metadata = Metadata::parse(r#"{"model": "m1"}"#).unwrap();
    let hold = ledger
        .consume(Consume::new(ALICE, 30).feature("text").metadata(metadata), None)
        .await
        .unwrap();
    ledger.confirm(Confirm::amount(hold.id, 20), None).await.unwrap();
    ledger.consume(Consume::new(ALICE, 5), None).await.unwrap();
    ledger
        .gift(Gift::new(ALICE, 8, "welcome").operator("Zoë"), None)
        .await
        .unwrap();
    pay_for_a_package(&ledger).await;
    let verification = ledger.verify().await.unwrap();
    assert!(verification.is_clean(), "{verification:#?}");
    assert_eq!(verification.orders, 1);
    ledger
}

/// An order that was paid, and of which a part is on its way back.
async fn pay_for_a_package(ledger: &Ledger) {
    let cny = |minor| Money {
        minor,
        currency: "CNY".into(),
    };
    let order_no = OrderNo(Uuid::from_u128(0x0123_4567));
    for step in [
        OrderStep::Open(OpenOrder {
            channel: "manual".into(),
            package_id: Uuid::from_u128(77),
            package_version: 1,
            subject: "入门套餐".into(),
            price: cny(990),
            credits: 100,
            bonus_credits: 10,
            validity_days: None,
            purchase_limit: None,
        }),
        OrderStep::Settle(OrderPayment {
            transaction_id: "4200".into(),
            amount: cny(990),
            paid_at: None,
        }),
        OrderStep::Refund(OrderRefundRequest {
            minor: Some(99),
            reason: Some("opened by mistake".into()),
            ..OrderRefundRequest::default()
        }),
    ] {
        let order = OrderCommand {
            user_id: ALICE,
            order_no,
            step,
        };
        ledger.run(Action::Order(order).with_key(None)).await.unwrap();
    }
}

async fn assert_named(ledger: &Ledger, sql: &str, kind: FaultKind) {
    let verification = ledger.verify().await.unwrap();
    let named = verification
        .faults
        .iter()
        .any(|fault| fault.user_id == ALICE && fault.kind == kind);
    assert!(named, "{sql}: {:#?}", verification.faults);
    assert_eq!(verification.is_clean(), verification.fault_count == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    for (sql, kind) in DAMAGE {
        let database = Database::fresh(Kind::Postgres).await;
        let ledger = books(&database).await;
        let mut connection = PgConnection::connect(&database.url).await.unwrap();
        if sql.contains("credit_transactions") && !sql.contains("accounts") {
            let refused = connection.execute(*sql).await.unwrap_err();
            assert!(refused.to_string().contains("append-only"), "{refused}");
            connection
                .execute("TRUNCATE credit_transactions")
                .await
                .unwrap_err();
            assert!(ledger.verify().await.unwrap().is_clean());
            connection
                .execute("ALTER TABLE credit_transactions DISABLE TRIGGER ALL")
                .await
                .unwrap();
        }
        connection.execute(*sql).await.unwrap();
        assert_named(&ledger, sql, *kind).await;
        ledger.close().await;
        connection.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    for (sql, kind) in DAMAGE {
        let database = Database::fresh(Kind::SqliteFile).await;
        let ledger = books(&database).await;
        let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
        if sql.contains("credit_transactions") && !sql.contains("accounts") {
            connection.execute(sql, []).unwrap_err();
            assert!(ledger.verify().await.unwrap().is_clean());
            let mut triggers = connection
                .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'credit_transactions'")
                .unwrap();
            let names: Vec<String> = triggers
                .query_map([], |row| row.get(0))
                .unwrap()
                .map(Result::unwrap)
                .collect();
            assert!(!names.is_empty());
            for name in names {
                connection.execute(&format!("DROP TRIGGER {name}"), []).unwrap();
            }
        }
        connection.execute(sql, []).unwrap();
        assert_named(&ledger, sql, *kind).await;
        ledger.close().await;
    }
}

/// A whole account that was moved aside, rows and entries, is missed by nobody but the trial balance's sums; one whose
/// rows were forged without entries is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_without_entries_are_named() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = books(&database).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    for table in [
        "credit_accounts",
        "credit_lots",
        "credit_consumption_logs",
        "credit_gifts",
        "credit_orders",
    ] {
        let columns = sqlx::query_scalar::<_, String>(
            "SELECT string_agg(column_name, ', ') FROM information_schema.columns \
             WHERE table_name = $1 AND column_name <> 'user_id'",
        )
        .bind(table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        let sql = format!(
            "INSERT INTO {table} (user_id, {columns}) SELECT gen_uuid_v7(), {columns} FROM {table} LIMIT 1"
        );
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
    }
    let verification = ledger.verify().await.unwrap();
    for kind in [
        FaultKind::Account,
        FaultKind::Lot,
        FaultKind::Hold,
        FaultKind::Gift,
    ] {
        assert!(
            verification
                .faults
                .iter()
                .any(|f| f.kind == kind && f.user_id != ALICE),
            "{kind}"
        );
    }
    ledger.close().await;
}

/// One account's damaged row is that account's error. Nothing panics, and its neighbours in the same batch go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row_stops_nobody_else() {
    let database = Database::fresh(Kind::SqliteFile).await;
    books(&database).await.close().await;
    let sound = std::fs::read(database.sqlite_path()).unwrap();
    for table in [
        "credit_accounts",
        "credit_lots",
        "credit_consumption_logs",
        "credit_orders",
        "credit_gifts",
        "credit_transactions",
    ] {
        for column in columns_of(&database, table) {
            for value in DAMAGED_VALUES {
                std::fs::write(database.sqlite_path(), &sound).unwrap();
                let sql = format!("UPDATE {table} SET {column} = {value}");
                if is_done(&database, &sql) {
                    others_go_on(&database, &sql).await;
                }
            }
        }
    }
}

fn columns_of(database: &Database, table: &str) -> Vec<String> {
    let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    let mut columns = connection
        .prepare("SELECT name FROM pragma_table_info(?1) WHERE name <> 'user_id'")
        .unwrap();
    let columns: Vec<String> = columns
        .query_map([table], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(columns.len() > 5, "{table}: {columns:?}");
    columns
}

/// Past checks and triggers. What a column's type does not take can't get into it.
fn is_done(database: &Database, sql: &str) -> bool {
    let connection = rusqlite::Connection::open(database.sqlite_path()).unwrap();
    let mut triggers = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        .unwrap();
    let triggers: Vec<String> = triggers
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for trigger in triggers {
        connection
            .execute(&format!("DROP TRIGGER {trigger}"), [])
            .unwrap();
    }
    connection
        .execute_batch("PRAGMA ignore_check_constraints = ON")
        .unwrap();
    connection.execute(sql, []).is_ok()
}

const DAMAGED_VALUES: [&str; 5] = [
    "9223372036854775807",
    "-9223372036854775808",
    "9007199254740991",
    "-1",
    "'x'",
];

async fn others_go_on(database: &Database, sql: &str) {
    const BOB: Uuid = Uuid::from_u128(0xB0B);
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(BOB, 100, Source::Purchase), None)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let of_alice = async || {
        let _ = ledger.balance(ALICE).await;
        let _ = ledger.consume(Consume::new(ALICE, 1), None).await;
        let _ = ledger.consume(Consume::new(ALICE, 120), None).await;
        let _ = ledger.grant(Grant::new(ALICE, 7, Source::Gift), None).await;
        let _ = ledger.adjust(Adjust::new(ALICE, -3, "too many"), None).await;
        let holds = ledger.consumptions(ALICE, ConsumptionFilter::default()).await;
        for hold in holds.map(|page| page.items).unwrap_or_default() {
            let _ = ledger.confirm(Confirm::amount(hold.id, 1), None).await;
            let _ = ledger.refund(Refund::all(hold.id), None).await;
        }
        let _ = ledger.transactions(ALICE, TransactionFilter::default()).await;
        let _ = ledger.expire_pending(None).await;
        let _ = ledger.expire_lots(None).await;
        let _ = ledger.verify().await;
    };
    let of_bob = async || {
        for _ in 0..8 {
            let done = ledger.consume(Consume::new(BOB, 1), None).await;
            assert!(done.is_ok(), "{sql}: {done:?}");
        }
    };
    tokio::join!(of_alice(), of_bob());
    assert!(ledger.balance(BOB).await.is_ok(), "{sql}");
    let after = ledger.consume(Consume::new(BOB, 1), None).await;
    assert!(after.is_ok(), "{sql}: {after:?}");
    ledger.close().await;
}
