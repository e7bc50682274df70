//! Callers that go away at any moment leave the ledger right and usable.

use crate::child::{Dice, account};
use crate::database::{self, Database};
use crate::on_every_database;
use jointo_credits::{Confirm, Consume, Grant, Source};
use std::time::Duration;

on_every_database! {
    async fn callers_that_go_away_leave_nothing_half_done(database: Database) {
        let ledger = database.ledger().await;
        for n in 0..10 {
            ledger.grant(Grant::new(account(n), 1_000_000, Source::Purchase), None).await.unwrap();
        }
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..32u64 {
            let ledger = ledger.clone();
            tasks.spawn(async move {
                let mut dice = Dice::new(caller);
                let mut answered = 0;
                for n in 0..40u64 {
                    let user = account(dice.roll(10));
                    let patience = Duration::from_micros(1 << dice.roll(13));
                    let key = format!("{caller}-{n}");
                    let work = async {
                        let hold = ledger.consume(Consume::new(user, 3), Some(&key)).await.unwrap();
                        ledger.confirm(Confirm::amount(hold.id, 2), Some(&format!("{key}-c"))).await.unwrap();
                        ledger.balance(user).await.unwrap();
                    };
                    answered += u64::from(tokio::time::timeout(patience, work).await.is_ok());
                }
                answered
            });
        }
        let answered: u64 = tasks.join_all().await.into_iter().sum();
        // Whatever happened to each of them, repeating it with its key completes it once.
        for caller in 0..32u64 {
            let mut dice = Dice::new(caller);
            for n in 0..40u64 {
                let user = account(dice.roll(10));
                let _ = dice.roll(13);
                let key = format!("{caller}-{n}");
                let hold = ledger.consume(Consume::new(user, 3), Some(&key)).await.unwrap();
                ledger.confirm(Confirm::amount(hold.id, 2), Some(&format!("{key}-c"))).await.unwrap();
            }
        }
        let (mut spent, mut held) = (0, 0);
        for n in 0..10 {
            let balance = ledger.balance(account(n)).await.unwrap();
            spent += balance.spent;
            held += balance.held;
        }
        assert_eq!((spent, held), (32 * 40 * 2, 0), "{answered} were answered in time");
        let verification = ledger.verify().await.unwrap();
        assert!(verification.is_clean(), "{:#?}", verification.faults);
        ledger.close().await;
    }
}
