//! Many callers, in one process and in several, on the same accounts.

use crate::child::{ALICE, Role, account, mixed, start};
use crate::database::{self, Database, Kind};
use crate::on_every_database;
use jointo_credits::{Confirm, Consume, Grant, Ledger, Source};

async fn assert_sound(ledger: &Ledger) {
    let verification = ledger.verify().await.unwrap();
    assert!(verification.is_clean(), "{:#?}", verification.faults);
    let trial = ledger.trial_balance().await.unwrap();
    assert!(trial.is_balanced(), "{trial:?}");
}

on_every_database! {
    async fn sixty_four_tasks_mix_all_commands_on_ten_accounts(database: Database) {
        let ledger = database.ledger().await;
        for n in 0..10 {
            ledger.grant(Grant::new(account(n), 20_000, Source::Purchase), None).await.unwrap();
        }
        mixed(&ledger, 7, 320, 64).await; // More than 20,000 commands.
        ledger.expire_pending(None).await.unwrap();
        assert_sound(&ledger).await;
        ledger.close().await;
    }
}

on_every_database! {
    async fn commands_of_one_account_are_decided_in_the_order_of_arrival(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 10_000, Source::Purchase), None).await.unwrap();
        // Polled once in this order, each consume is queued before the next; some may be answered as quickly.
        let mut calls: Vec<_> = (1..=100)
            .map(|n| {
                let ledger = ledger.clone();
                Box::pin(async move { ledger.consume(Consume::new(ALICE, n), None).await })
            })
            .collect();
        let mut answers = Vec::new();
        for call in &mut calls {
            let answer = std::future::poll_fn(|context| std::task::Poll::Ready(match call.as_mut().poll(context) {
                std::task::Poll::Ready(answer) => Some(answer),
                std::task::Poll::Pending => None,
            }));
            answers.push(answer.await);
        }
        let mut holds = Vec::new();
        for (call, answer) in calls.into_iter().zip(answers) {
            let answer = match answer {
                Some(answer) => answer,
                None => call.await,
            };
            holds.push(answer.unwrap());
        }
        let page = jointo_credits::TransactionFilter { limit: 1_000, ..Default::default() };
        let entries = ledger.transactions(ALICE, page).await.unwrap().items;
        let journal: Vec<_> = entries.iter().rev().filter_map(|e| e.consumption_id).collect();
        assert_eq!(journal, holds.iter().map(|h| h.id).collect::<Vec<_>>());
        ledger.close().await;
    }
}

/// Twenty consumes of 75 in each of `processes` processes; 500 is enough for six of all of them.
async fn twenty_in_each(kind: Kind, processes: u64) {
    let database = Database::fresh(kind).await;
    let ledger = database.ledger().await;
    ledger
        .grant(Grant::new(ALICE, 500, Source::Purchase), None)
        .await
        .unwrap();
    let mut children = Vec::new();
    for number in 0..processes {
        children.push(start(Role::Twenty, &database, number).await);
    }
    children.iter_mut().for_each(|child| child.go());
    let mut lines = Vec::new();
    for child in &mut children {
        lines.extend(child.until("done").await);
    }
    let granted = lines.iter().filter(|line| line.starts_with("granted")).count();
    let refused = lines
        .iter()
        .filter(|line| line.starts_with("refused insufficient_credits"))
        .count();
    assert_eq!((granted, refused), (6, 20 * processes as usize - 6), "{lines:#?}");
    let balance = ledger.balance(ALICE).await.unwrap();
    assert_eq!((balance.available, balance.held), (50, 450));
    assert_sound(&ledger).await;
    ledger.close().await;
}

#[tokio::test]
async fn twenty_in_each_of_two_processes_on_postgres() {
    twenty_in_each(Kind::Postgres, 2).await;
}

#[tokio::test]
async fn twenty_in_each_of_eight_processes_on_postgres() {
    twenty_in_each(Kind::Postgres, 8).await;
}

#[tokio::test]
async fn twenty_in_each_of_two_processes_on_sqlite() {
    twenty_in_each(Kind::SqliteFile, 2).await;
}

#[tokio::test]
async fn twenty_in_each_of_eight_processes_on_sqlite() {
    twenty_in_each(Kind::SqliteFile, 8).await;
}

/// Grants, consumes, confirms, refunds and more for the same ten accounts from each process.
async fn mixed_in_each(kind: Kind, processes: u64) {
    let database = Database::fresh(kind).await;
    let ledger = database.ledger().await;
    for n in 0..10 {
        ledger
            .grant(Grant::new(account(n), 1_000, Source::Purchase), None)
            .await
            .unwrap();
    }
    let mut children = Vec::new();
    for number in 0..processes {
        children.push(start(Role::Mixed, &database, number).await);
    }
    children.iter_mut().for_each(|child| child.go());
    // Reads that spend right after: what a balance shows can be spent, whoever put it there.
    let mut refused = 0;
    for n in 0..200 {
        let user = account(n % 10);
        let balance = ledger.balance(user).await.unwrap();
        if balance.available > 0 {
            match ledger.consume(Consume::new(user, 1), None).await {
                Ok(hold) => drop(ledger.confirm(Confirm::all(hold.id), None).await.unwrap()),
                Err(error) => {
                    assert_eq!(error.code(), "insufficient_credits");
                    refused += 1; // Somebody was faster.
                }
            }
        }
    }
    assert!(refused < 200);
    for child in &mut children {
        child.until("done").await;
    }
    ledger.expire_pending(None).await.unwrap();
    assert_sound(&ledger).await;
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_from_two_processes_on_postgres() {
    mixed_in_each(Kind::Postgres, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_from_eight_processes_on_postgres() {
    mixed_in_each(Kind::Postgres, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_from_two_processes_on_sqlite() {
    mixed_in_each(Kind::SqliteFile, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_commands_from_eight_processes_on_sqlite() {
    mixed_in_each(Kind::SqliteFile, 8).await;
}

/// A key is used by two processes at once: one does it, the other gets the same answer.
async fn the_same_keys_in_two_ledgers(kind: Kind) {
    let database = Database::fresh(kind).await;
    let one = database.ledger().await;
    let two = database.ledger().await;
    one.grant(Grant::new(ALICE, 1_000, Source::Purchase), None)
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200 {
        let ledger = if n % 2 == 0 { one.clone() } else { two.clone() };
        tasks.spawn(async move {
            let key = format!("key-{}", n / 4);
            (
                n / 4,
                ledger.consume(Consume::new(ALICE, 10), Some(&key)).await.unwrap(),
            )
        });
    }
    let mut ids = std::collections::HashMap::new();
    for (key, hold) in tasks.join_all().await {
        assert_eq!(*ids.entry(key).or_insert(hold.id), hold.id);
    }
    assert_eq!(one.balance(ALICE).await.unwrap().available, 500);
    assert_sound(&one).await;
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_keys_in_two_ledgers_on_postgres() {
    the_same_keys_in_two_ledgers(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_keys_in_two_ledgers_on_sqlite() {
    the_same_keys_in_two_ledgers(Kind::SqliteFile).await;
}
