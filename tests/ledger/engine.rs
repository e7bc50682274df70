//! The engine around the rules: queues, batches, shutdown.

use crate::child::account;
use crate::database::{self, Database};
use crate::on_every_database;
use jointo_credits::{Consume, Error, Grant, Source};

on_every_database! {
    async fn closing_answers_everyone(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(account(0), 1_000, Source::Purchase), None).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let ledger = ledger.clone();
            tasks.spawn(async move { ledger.consume(Consume::new(account(0), 1), None).await });
        }
        tokio::task::yield_now().await;
        ledger.close().await;
        let results = tasks.join_all().await;
        let done = results.iter().filter(|r| r.is_ok()).count() as i64;
        let told = results.iter().filter(|r| matches!(r, Err(Error::Unavailable { .. }))).count();
        assert_eq!(done as usize + told, 500);
        ledger.close().await; // Twice does no harm.
        assert_eq!(ledger.consume(Consume::new(account(0), 1), None).await.unwrap_err().code(), "unavailable");
        if matches!(database.kind, database::Kind::SqliteFile | database::Kind::Postgres) {
            let ledger = database.ledger().await;
            assert_eq!(ledger.balance(account(0)).await.unwrap().held, done, "what was answered was done");
            ledger.close().await;
        }
    }
}

on_every_database! {
    async fn a_full_queue_makes_callers_wait(database: Database) {
        let ledger = database.open(database.settings().queue_limit(2).batch_limit(3)).await;
        ledger.grant(Grant::new(account(0), 1_000, Source::Purchase), None).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let ledger = ledger.clone();
            tasks.spawn(async move { ledger.consume(Consume::new(account(0), 1), None).await });
        }
        assert!(tasks.join_all().await.iter().all(Result::is_ok));
        assert_eq!(ledger.balance(account(0)).await.unwrap().held, 200);
        ledger.close().await;
    }
}

on_every_database! {
    async fn the_same_key_many_times_in_one_batch(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(account(0), 100, Source::Purchase), None).await.unwrap();
        let same = (Consume::new(account(0), 10), Some("job".to_owned()));
        let other = (Consume::new(account(0), 11), Some("job".to_owned()));
        let mut consumes = vec![same; 50];
        consumes.push(other);
        let results = ledger.consume_many(consumes).await.unwrap();
        let first = results[0].clone().unwrap();
        assert!(results[..50].iter().all(|r| r.as_ref() == Ok(&first)));
        assert_eq!(results[50].as_ref().unwrap_err().code(), "idempotency_conflict");
        assert_eq!(ledger.balance(account(0)).await.unwrap().held, 10);
        let too_many = vec![(Consume::new(account(0), 1), None); 1_001];
        assert_eq!(ledger.consume_many(too_many).await.unwrap_err().code(), "validation");
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_refused_command_fails_none_of_its_neighbours(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(account(0), 100, Source::Purchase), None).await.unwrap();
        let amounts = [60, 50, 0, 30, i64::MAX, 10, 1];
        let consumes = amounts.iter().map(|n| (Consume::new(account(0), *n), None)).collect();
        let results = ledger.consume_many(consumes).await.unwrap();
        let codes: Vec<_> = results.iter().map(|r| r.as_ref().map_or_else(Error::code, |_| "ok")).collect();
        assert_eq!(
            codes,
            ["ok", "insufficient_credits", "validation", "ok", "validation", "ok", "insufficient_credits"]
        );
        ledger.close().await;
    }
}
