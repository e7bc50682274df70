//! The journal's guard, the plans of the reads, and rows that are damaged.

use super::*;

#[tokio::test]
async fn the_journal_refuses_every_way_to_change_it() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(5)).await.unwrap();
    run(&mut committer, consume(2)).await.unwrap();
    let tool = subject.tool();
    for sql in [
        "UPDATE credit_transactions SET change = 6 WHERE seq = 1",
        "UPDATE credit_transactions SET change = change",
        "UPDATE OR IGNORE credit_transactions SET seq = 9 WHERE seq = 1",
        "DELETE FROM credit_transactions WHERE seq = 2",
        "DELETE FROM credit_transactions",
        "REPLACE INTO credit_transactions SELECT * FROM credit_transactions WHERE seq = 2",
        "INSERT OR REPLACE INTO credit_transactions SELECT * FROM credit_transactions",
        "INSERT INTO credit_transactions SELECT * FROM credit_transactions WHERE true \
         ON CONFLICT DO UPDATE SET change = 7",
    ] {
        let refused = tool.execute(sql, []).unwrap_err();
        let code = refused.sqlite_error().unwrap().extended_code;
        assert_eq!(code, rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER, "{sql}: {refused}");
        assert!(refused.to_string().contains("append-only"), "{sql}: {refused}");
    }
    let entries = subject
        .store
        .entries(
            USER,
            EntryFilter {
                limit: 10,
                ..EntryFilter::default()
            },
        )
        .await;
    assert_eq!(
        entries
            .unwrap()
            .iter()
            .map(|entry| entry.change)
            .collect::<Vec<_>>(),
        [-2, 5]
    );
}

/// Every statement of the library that reads is answered from an index, also when the planner knows nothing of the data.
#[tokio::test]
async fn reads_use_the_index_that_was_made_for_them() {
    let subject = in_folder().await;
    let tool = subject.tool();
    let plan = |sql: &str| -> String {
        let mut statement = tool.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let unknown = vec![rusqlite::types::Null; statement.parameter_count()];
        let parameters = rusqlite::params_from_iter(unknown);
        let lines = statement
            .query_map(parameters, |row| row.get::<_, String>(3))
            .unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    for (sql, index) in [
        (
            "SELECT amount FROM credit_lots INDEXED BY credit_lots_open WHERE user_id = ?1 AND open = 1 \
             ORDER BY priority, ifnull(expires_at, 9223372036854775807), \
             CASE source WHEN 'bonus' THEN 0 WHEN 'gift' THEN 0 ELSE 1 END, created_at, lot_id LIMIT ?2",
            "credit_lots_open",
        ),
        (
            "SELECT amount FROM credit_lots INDEXED BY credit_lots_expiry WHERE user_id = ?1 AND open = 1 \
             AND expires_at <= ?2 ORDER BY expires_at, lot_id LIMIT ?3",
            "credit_lots_expiry (user_id=? AND expires_at<?)",
        ),
        (
            "SELECT amount FROM credit_lots INDEXED BY credit_lots_expiry WHERE user_id = ?1 AND open = 1 \
             AND expires_at > ?2 ORDER BY expires_at, lot_id LIMIT ?3",
            "credit_lots_expiry (user_id=? AND expires_at>?)",
        ),
        (
            "SELECT amount FROM credit_lots INDEXED BY credit_lots_reversed \
             WHERE user_id = ?1 AND reference = ?2 AND open = 1 AND source = 'reversal'",
            "credit_lots_reversed (user_id=? AND reference=?)",
        ),
        (
            "UPDATE credit_lots SET remaining = ?3 WHERE user_id = ?1 AND lot_id = ?2 AND open = (?3 > 0)",
            "PRIMARY KEY (user_id=? AND lot_id=?)",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE user_id = ?1 AND status = 'pending' AND expires_at <= ?2 \
             ORDER BY expires_at, consumption_id LIMIT ?3",
            "credit_consumption_logs_pending",
        ),
        (
            "SELECT expires_at FROM credit_consumption_logs \
             WHERE user_id = ?1 AND status = 'pending' AND expires_at > ?2 ORDER BY expires_at LIMIT 1",
            "credit_consumption_logs_pending",
        ),
        (
            "SELECT amount FROM credit_consumption_logs INDEXED BY credit_consumption_logs_borrowing \
             WHERE user_id = ?1 AND status = 'pending' AND borrowed > 0 ORDER BY consumption_id LIMIT ?2",
            "credit_consumption_logs_borrowing",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE user_id = ?1 AND consumption_id < ?2 \
             ORDER BY consumption_id DESC LIMIT ?3",
            "credit_consumption_logs_user",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE (user_id, consumption_id) > (?1, ?2) \
             ORDER BY user_id, consumption_id LIMIT ?3",
            "credit_consumption_logs_user",
        ),
        (
            "SELECT change FROM credit_transactions WHERE user_id = ?1 AND idempotency_key = ?2",
            "credit_transactions_key",
        ),
        (
            "SELECT next_hold_deadline, user_id FROM credit_accounts \
             WHERE next_hold_deadline <= ?1 AND (next_hold_deadline, user_id) > (?2, ?3) \
             ORDER BY next_hold_deadline, user_id LIMIT ?4",
            "credit_accounts_hold_deadline",
        ),
        (
            "SELECT next_lot_deadline, user_id FROM credit_accounts \
             WHERE next_lot_deadline <= ?1 AND (next_lot_deadline, user_id) > (?2, ?3) \
             ORDER BY next_lot_deadline, user_id LIMIT ?4",
            "credit_accounts_lot_deadline",
        ),
        (
            "SELECT change FROM credit_transactions WHERE user_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3",
            "sqlite_autoindex_credit_transactions_1",
        ),
        (
            "SELECT change FROM credit_transactions WHERE (user_id, seq) > (?1, ?2) ORDER BY user_id, seq LIMIT ?3",
            "sqlite_autoindex_credit_transactions_1",
        ),
        (
            "SELECT amount FROM credit_consumption_logs WHERE consumption_id = ?1",
            "consumption_id=?",
        ),
        (
            "SELECT data FROM credit_orders WHERE user_id = ?1 AND order_no < ?2 ORDER BY order_no DESC LIMIT ?3",
            "credit_orders_user",
        ),
        (
            "SELECT data FROM credit_orders WHERE user_id = ?1 AND package_id = ?2 AND status <> 'closed'",
            "credit_orders_user",
        ),
        (
            "SELECT channel FROM credit_orders WHERE status IN ('created', 'paying', 'refunding') AND order_no < ?1 \
             AND created_at <= ?2 ORDER BY order_no DESC LIMIT ?3",
            "credit_orders_open",
        ),
        (
            "SELECT data FROM credit_orders INDEXED BY credit_orders_waiting \
             WHERE user_id = ?1 AND status IN ('created', 'paying') AND expires_at > ?2",
            "credit_orders_waiting",
        ),
        (
            "SELECT order_no FROM credit_payment_claims WHERE channel = ?1 AND transaction_id = ?2",
            "channel=? AND transaction_id=?",
        ),
        (
            "SELECT channel FROM credit_payment_claims WHERE (user_id, order_no) > (?1, ?2) \
             ORDER BY user_id, order_no LIMIT ?3",
            "credit_payment_claims_order",
        ),
        ("SELECT data FROM credit_orders WHERE order_no = ?1", "order_no=?"),
    ] {
        let plan = plan(sql);
        assert!(
            plan.contains(index) && !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
            "{sql}: {plan}"
        );
    }
}

#[tokio::test]
async fn damaged_rows_are_named_and_never_a_panic() {
    let subject = in_folder().await;
    let mut committer = subject.store.committer();
    run(&mut committer, grant(50)).await.unwrap();
    run(&mut committer, consume(2)).await.unwrap();
    run(&mut committer, consume(3)).await.unwrap();
    let tool = subject.tool();
    tool.execute_batch("PRAGMA ignore_check_constraints = ON; DROP TRIGGER credit_transactions_no_update")
        .unwrap();

    let every = || EntryFilter {
        limit: 10,
        ..EntryFilter::default()
    };
    for (column, value, why) in [
        ("kind", "'nonsense'", "kind: unknown word `nonsense`"),
        ("data", "'{'", "data: EOF while parsing"),
        ("data", "'{\"lots\": 5}'", "data: invalid type"),
        ("data", "CAST(x'ff' AS TEXT)", "data: invalid utf-8"),
        ("hash", "x'00'", "hash: 1 bytes where 32 were expected"),
        (
            "consumption_id",
            "x'0011'",
            "consumption_id: 2 bytes where 16 were expected",
        ),
        (
            "request_hash",
            "x'0011'",
            "request_hash: 2 bytes where 32 were expected",
        ),
    ] {
        let before: rusqlite::types::Value = tool
            .query_row(
                &format!("SELECT {column} FROM credit_transactions WHERE seq = 2"),
                [],
                |row| row.get(0),
            )
            .unwrap();
        tool.execute(
            &format!("UPDATE credit_transactions SET {column} = {value} WHERE seq = 2"),
            [],
        )
        .unwrap();
        let (problem, remedy) = failed(subject.store.entries(USER, every()).await);
        assert!(
            problem.contains(&format!("entry ({USER}, 2) is damaged: {why}")),
            "{problem}"
        );
        assert!(remedy.contains("verify()"));
        let mut snapshot = subject.store.snapshot().await.unwrap();
        for entries in [
            snapshot.entries(None, 10).await.unwrap().decode().unwrap(),
            snapshot.journal(USER, 0, 10).await.unwrap(),
        ] {
            assert_eq!(
                entries.iter().map(Result::is_ok).collect::<Vec<_>>(),
                [true, false, true]
            );
            let damaged = entries[1].as_ref().unwrap_err();
            assert_eq!((damaged.user_id, damaged.seq), (USER, 2));
            assert!(damaged.problem.contains(why), "{}", damaged.problem);
        }
        drop(snapshot);
        tool.execute(
            &format!("UPDATE credit_transactions SET {column} = ?1 WHERE seq = 2"),
            [before],
        )
        .unwrap();
    }
    assert_eq!(subject.store.entries(USER, every()).await.unwrap().len(), 3);

    // What a command needs to know and can't read is an error; the next one may be about another account.
    for (table, column, value, why) in [
        ("credit_accounts", "hash", "x'00'", "account"),
        ("credit_lots", "source", "'found'", "lot"),
        ("credit_lots", "cost_currency", "'CNY'", "lot"),
        ("credit_lots", "priority", "99999999999", "lot"),
        ("credit_lots", "origin", "x'00'", "lot"),
    ] {
        let before: rusqlite::types::Value = tool
            .query_row(&format!("SELECT {column} FROM {table}"), [], |row| row.get(0))
            .unwrap();
        tool.execute(&format!("UPDATE {table} SET {column} = {value}"), [])
            .unwrap();
        let (problem, _) = failed(committer.load(&needs(USER)).await);
        assert!(problem.starts_with(why) && problem.contains(column), "{problem}");
        failed(subject.store.account(USER, T0, Extent::WHOLE).await);
        committer.load(&needs(Uuid::from_u128(8))).await.unwrap();
        committer.append(&Writes::default()).await.unwrap();
        tool.execute(&format!("UPDATE {table} SET {column} = ?1"), [before])
            .unwrap();
    }
    for (column, value) in [("pins", "'[[1,2]]'"), ("pins", "'x'"), ("status", "'lost'")] {
        tool.execute(
            &format!("UPDATE credit_consumption_logs SET {column} = {value}"),
            [],
        )
        .unwrap();
        let filter = HoldFilter {
            status: None,
            now: T0,
            before: None,
            limit: 10,
        };
        let (problem, _) = failed(subject.store.holds(USER, filter).await);
        assert!(
            problem.starts_with("consumption (") && problem.contains(column),
            "{problem}"
        );
    }
    tool.execute("UPDATE credit_consumption_logs SET pins = '[[\"00000000-0000-0000-0000-000000000009\",1]]', status = 'pending'", [])
        .unwrap();
    let id = subject
        .store
        .holds(
            USER,
            HoldFilter {
                status: None,
                now: T0,
                before: None,
                limit: 1,
            },
        )
        .await
        .unwrap();
    let named = Needs {
        consumptions: vec![id[0].consumption_id],
        ..needs(USER)
    };
    let (problem, _) = failed(committer.load(&named).await);
    assert!(
        problem.contains("has lost lot 00000000-0000-0000-0000-000000000009"),
        "{problem}"
    );
    tool.execute_batch("DELETE FROM credit_lots").unwrap();
    let mut writes = decided(&mut committer, grant(1)).await.unwrap().0;
    let (_, mut lot) = writes.new_lots.remove(0);
    std::sync::Arc::make_mut(&mut lot).lot_id = Uuid::from_u128(9);
    writes.lots.push((USER, lot));
    let (problem, _) = failed(committer.append(&writes).await);
    assert!(problem.contains("has lost lot"), "{problem}");
    assert_eq!(figures(&subject.store).await.seq, 3, "nothing of it is written");
}
