//! What a committer keeps of accounts changes no answer, whatever others do to them meanwhile.
//!
//! Two ledgers stand for two processes. The first one keeps the account; the second one then does what must not be missed.

use crate::child::ALICE;
use crate::database::{Database, Kind, clock};
use jointo_credits::{
    Clawback, Confirm, Consume, Grant, Ledger, ManualClock, Receipt, Refund, Settings, Source, Status,
};
use std::time::Duration;

struct Two {
    keeping: Ledger,
    other: Ledger,
    clock: ManualClock,
    lot: Receipt,
    _database: Database,
}

impl Two {
    /// 100 credits, of which `keeping` has just taken one: it knows the account.
    async fn on(kind: Kind) -> Self {
        Two::with(kind, |settings| settings).await
    }

    async fn with(kind: Kind, change: impl Fn(Settings) -> Settings) -> Self {
        let database = Database::fresh(kind).await;
        let clock = clock();
        let settings = change(database.settings().clock(clock.clone()));
        let keeping = database.open(settings.clone()).await;
        let other = database.open(settings).await;
        let grant = Grant::new(ALICE, 100, Source::Purchase);
        let lot = keeping.grant(grant, None).await.unwrap();
        keeping.consume(Consume::new(ALICE, 1), None).await.unwrap();
        Two {
            keeping,
            other,
            clock,
            lot,
            _database: database,
        }
    }

    async fn close(self) {
        assert!(self.keeping.verify().await.unwrap().is_clean());
        assert!(self.keeping.trial_balance().await.unwrap().is_balanced());
        self.keeping.close().await;
        self.other.close().await;
    }
}

macro_rules! on_both {
    ($(async fn $name:ident($two:ident: Two) $body:block)+) => {
        $(mod $name {
            use super::*;

            async fn body($two: Two) {
                $body
                $two.close().await;
            }

            #[tokio::test]
            async fn sqlite() {
                body(Two::on(Kind::SqliteFile).await).await;
            }

            #[tokio::test]
            async fn postgres() {
                body(Two::on(Kind::Postgres).await).await;
            }
        })+
    };
}

on_both! {
    async fn credits_that_others_took_are_not_spent_again(two: Two) {
        two.other.consume(Consume::new(ALICE, 99), None).await.unwrap();
        let error = two.keeping.consume(Consume::new(ALICE, 1), None).await.unwrap_err();
        assert_eq!(error.code(), "insufficient_credits");
    }

    async fn credits_that_others_granted_can_be_spent(two: Two) {
        two.other.grant(Grant::new(ALICE, 50, Source::Gift), None).await.unwrap();
        two.keeping.consume(Consume::new(ALICE, 140), None).await.unwrap();
    }

    async fn a_key_that_others_used_is_replayed(two: Two) {
        let first = two.other.consume(Consume::new(ALICE, 10), Some("job")).await.unwrap();
        let again = two.keeping.consume(Consume::new(ALICE, 10), Some("job")).await.unwrap();
        assert_eq!(again, first);
        // Also where it would be refused today, and beside others in a batch.
        two.other.consume(Consume::new(ALICE, 89), None).await.unwrap();
        two.keeping.grant(Grant::new(ALICE, 5, Source::Gift), None).await.unwrap();
        let same = (Consume::new(ALICE, 10), Some("job".to_owned()));
        let fits = (Consume::new(ALICE, 5), Some("fits".to_owned()));
        let results = two.keeping.consume_many(vec![fits, same.clone(), same]).await.unwrap();
        assert!(results[0].is_ok());
        assert_eq!(results[1].as_ref().unwrap(), &first);
        assert_eq!(results[2].as_ref().unwrap(), &first);
        let other = two.keeping.consume(Consume::new(ALICE, 1), Some("job")).await.unwrap_err();
        assert_eq!(other.code(), "idempotency_conflict");
        assert_eq!(two.other.balance(ALICE).await.unwrap().held, 1 + 10 + 89 + 5);
    }

    async fn a_hold_that_others_settled_is_settled(two: Two) {
        let confirmed = two.keeping.consume(Consume::new(ALICE, 10), None).await.unwrap();
        let refunded = two.keeping.consume(Consume::new(ALICE, 10), None).await.unwrap();
        two.other.confirm(Confirm::amount(confirmed.id, 4), None).await.unwrap();
        two.other.refund(Refund::all(refunded.id), None).await.unwrap();
        let error = two.keeping.confirm(Confirm::amount(confirmed.id, 5), None).await.unwrap_err();
        assert_eq!(error.code(), "invalid_state");
        let again = two.keeping.confirm(Confirm::amount(confirmed.id, 4), None).await.unwrap();
        assert_eq!((again.status, again.captured), (Status::Confirmed, 4));
        let error = two.keeping.confirm(Confirm::all(refunded.id), None).await.unwrap_err();
        assert_eq!(error.code(), "invalid_state");
    }

    async fn a_refused_confirm_has_read_the_hold(two: Two) {
        let hold = two.keeping.consume(Consume::new(ALICE, 10), None).await.unwrap();
        let error = two.keeping.confirm(Confirm::amount(hold.id, 11), None).await.unwrap_err();
        assert_eq!(error.code(), "validation");
        two.keeping.confirm(Confirm::amount(hold.id, 10), None).await.unwrap();
        let hold = two.keeping.consume(Consume::new(ALICE, 10), None).await.unwrap();
        two.other.refund(Refund::all(hold.id), None).await.unwrap();
        let error = two.keeping.confirm(Confirm::amount(hold.id, 11), None).await.unwrap_err();
        assert_eq!(error.code(), "invalid_state", "as it is, and not as it was kept");
    }

    async fn a_lot_that_others_took_back_is_gone(two: Two) {
        let lot = two.lot.lot.as_ref().unwrap().lot_id;
        two.other.clawback(Clawback::all(ALICE, lot), None).await.unwrap();
        let error = two.keeping.consume(Consume::new(ALICE, 1), None).await.unwrap_err();
        assert_eq!(error.code(), "insufficient_credits");
    }

    async fn deadlines_pass_for_what_is_kept(two: Two) {
        let hold = Consume::new(ALICE, 99).ttl(Duration::from_secs(60));
        let hold = two.keeping.consume(hold, None).await.unwrap();
        let dear = two.keeping.consume(Consume::new(ALICE, 1), None).await.unwrap_err();
        assert_eq!(dear.code(), "insufficient_credits");
        two.clock.advance(Duration::from_secs(60));
        two.keeping.consume(Consume::new(ALICE, 99), None).await.unwrap();
        let late = two.keeping.confirm(Confirm::all(hold.id), None).await.unwrap_err();
        assert_eq!(late.code(), "hold_expired");
        // A lot that expires while the account is kept.
        let soon = two.clock_at(Duration::from_secs(10));
        two.keeping.grant(Grant::new(ALICE, 30, Source::Gift).expires_at(soon), None).await.unwrap();
        two.keeping.consume(Consume::new(ALICE, 1), None).await.unwrap();
        two.clock.advance(Duration::from_secs(10));
        let gone = two.keeping.consume(Consume::new(ALICE, 1), None).await.unwrap_err();
        assert_eq!(gone.code(), "insufficient_credits");
    }

    async fn holds_that_others_made_are_found_beside_those_that_are_kept(two: Two) {
        let own = two.keeping.consume(Consume::new(ALICE, 10), None).await.unwrap();
        let foreign = two.other.consume(Consume::new(ALICE, 20), None).await.unwrap();
        // Both at once, and a consume of the same account: one picture for all of them.
        let (consumed, own, foreign) = tokio::join!(
            two.keeping.consume(Consume::new(ALICE, 5), None),
            two.keeping.confirm(Confirm::all(own.id), None),
            two.keeping.confirm(Confirm::all(foreign.id), None),
        );
        assert_eq!(consumed.unwrap().amount, 5);
        assert_eq!((own.unwrap().captured, foreign.unwrap().captured), (10, 20));
        let balance = two.other.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.held, balance.spent), (64, 6, 30));
    }
}

impl Two {
    fn clock_at(&self, later: Duration) -> jointo_credits::Timestamp {
        use jointo_credits::Clock;
        jointo_credits::Timestamp::from_micros(self.clock.now().as_micros() + later.as_micros() as i64)
    }
}

/// However little memory there is, and with none.
#[tokio::test]
async fn the_bound_on_memory_changes_no_answer() {
    for bytes in [0, 1, 2_000, 20_000] {
        let two = Two::with(Kind::SqliteFile, |settings| settings.account_memory_bytes(bytes)).await;
        let users: Vec<_> = (0..40).map(crate::child::account).collect();
        let mut holds = Vec::new();
        for round in 0..4 {
            for user in &users {
                let ledger = if round == 2 { &two.other } else { &two.keeping };
                ledger
                    .grant(Grant::new(*user, 10, Source::Gift), None)
                    .await
                    .unwrap();
                let hold = ledger.consume(Consume::new(*user, 7), None).await.unwrap();
                holds.push(hold.id);
            }
        }
        for (n, id) in holds.into_iter().enumerate() {
            let ledger = if n % 3 == 0 { &two.other } else { &two.keeping };
            ledger.confirm(Confirm::amount(id, 5), None).await.unwrap();
        }
        for user in &users {
            let balance = two.other.balance(*user).await.unwrap();
            assert_eq!(
                (balance.available, balance.held, balance.spent),
                (20, 0, 20),
                "{bytes}"
            );
        }
        two.close().await;
    }
}
