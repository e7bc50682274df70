//! What every program that calls a [`Ledger`] relies on, on every database.

use crate::database::{self, Database, START, clock};
use crate::on_every_database;
use jointo_credits::{
    Adjust, Clawback, Clock, Confirm, Consume, ConsumptionFilter, Error, Extend, Gift, Grant, Kind, Late,
    Metadata, Money, Overage, Refund, Refusal, SetCreditLimit, Shortfall, Source, Status, TransactionFilter,
};
use std::time::Duration;
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(0xA11CE);
const BOB: Uuid = Uuid::from_u128(0xB0B);
const DAY: Duration = Duration::from_secs(24 * 3600);

on_every_database! {
    async fn the_life_of_a_credit(database: Database) {
        let ledger = database.ledger().await;
        let receipt = ledger.grant(Grant::new(ALICE, 500, Source::Purchase), Some("order-1")).await.unwrap();
        assert_eq!((receipt.amount, receipt.available, receipt.seq), (500, 500, 1));
        let hold = ledger.consume(Consume::new(ALICE, 75).feature("image_generation"), Some("job-1")).await.unwrap();
        assert_eq!((hold.status, hold.amount, hold.captured), (Status::Pending, 75, 0));
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.held, balance.granted, balance.spent), (425, 75, 500, 0));
        let done = ledger.confirm(Confirm::amount(hold.id, 60), None).await.unwrap();
        assert_eq!((done.status, done.captured, done.feature.as_deref()), (Status::Confirmed, 60, Some("image_generation")));
        let other = ledger.consume(Consume::new(ALICE, 40), None).await.unwrap();
        let back = ledger.refund(Refund::all(other.id).reason("it failed"), None).await.unwrap();
        assert_eq!(back.status, Status::Refunded);
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.held, balance.spent), (440, 0, 60));
        assert!(ledger.verify().await.unwrap().is_clean());
        let trial = ledger.trial_balance().await.unwrap();
        assert!(trial.is_balanced());
        assert_eq!(trial.counter_accounts["earned.image_generation"], 60);
        assert_eq!(trial.counter_accounts["issued.purchase"], -500);
        ledger.close().await;
    }
}

on_every_database! {
    async fn twenty_consumes_of_75_on_500_grant_exactly_6(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 500, Source::Purchase), None).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..20 {
            let ledger = ledger.clone();
            tasks.spawn(async move { ledger.consume(Consume::new(ALICE, 75), Some(&format!("job-{n}"))).await });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 6);
        for error in results.into_iter().filter_map(Result::err) {
            let Error::Refused(Refusal::Insufficient { required: 75, available }) = error else { panic!("{error}") };
            assert!(available < 75);
        }
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.held), (50, 450));
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_key_returns_the_first_result_whatever_happened_since(database: Database) {
        let ledger = database.ledger().await;
        let grant = Grant::new(ALICE, 100, Source::Purchase).reference("order-7");
        let first = ledger.grant(grant.clone(), Some("g")).await.unwrap();
        let consume = Consume::new(ALICE, 60).metadata(Metadata::parse(r#"{"b": 1, "a": [true]}"#).unwrap());
        let hold = ledger.consume(consume.clone(), Some("c")).await.unwrap();
        assert_eq!(hold.metadata.as_ref().unwrap().as_str(), r#"{"a":[true],"b":1}"#);
        let captured = ledger.confirm(Confirm::amount(hold.id, 50), Some("k")).await.unwrap();
        let reversed = ledger.refund(Refund::part(hold.id, 20), Some("r")).await.unwrap();
        assert_eq!(reversed.reversed, 20);
        ledger.refund(Refund::all(hold.id), None).await.unwrap();

        assert_eq!(ledger.grant(grant, Some("g")).await.unwrap(), first);
        assert_eq!(ledger.consume(consume, Some("c")).await.unwrap(), hold);
        assert_eq!(ledger.confirm(Confirm::amount(hold.id, 50), Some("k")).await.unwrap(), captured);
        assert_eq!(ledger.refund(Refund::part(hold.id, 20), Some("r")).await.unwrap(), reversed);

        let conflict = ledger.consume(Consume::new(ALICE, 61), Some("c")).await.unwrap_err();
        assert_eq!(conflict.code(), "idempotency_conflict");
        // Keys are scoped to the account.
        ledger.grant(Grant::new(BOB, 1, Source::Gift), Some("g")).await.unwrap();
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100);
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_replay_is_found_before_a_refusal(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 75, Source::Purchase), None).await.unwrap();
        let hold = ledger.consume(Consume::new(ALICE, 75), Some("job")).await.unwrap();
        // Nothing is left, and yet the same request with the same key is no refusal.
        assert_eq!(ledger.consume(Consume::new(ALICE, 75), Some("job")).await.unwrap(), hold);
        // A refused command does not burn its key.
        let refused = ledger.consume(Consume::new(ALICE, 75), Some("job-2")).await.unwrap_err();
        assert_eq!(refused.code(), "insufficient_credits");
        ledger.grant(Grant::new(ALICE, 80, Source::Purchase), None).await.unwrap();
        ledger.consume(Consume::new(ALICE, 80), Some("job-2")).await.unwrap();
        ledger.close().await;
    }
}

on_every_database! {
    async fn deadlines_need_no_sweep(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.grant(Grant::new(ALICE, 100, Source::Bonus).expires_at(START.plus(10 * DAY)), None).await.unwrap();
        let ttl = Duration::from_secs(60);
        let hold = ledger.consume(Consume::new(ALICE, 75).ttl(ttl), None).await.unwrap();
        let other = ledger.consume(Consume::new(ALICE, 5).ttl(ttl), None).await.unwrap();
        ledger.extend(Extend::new(other.id, 2 * DAY), None).await.unwrap();
        clock.advance(ttl);
        let late = ledger.confirm(Confirm::all(hold.id), None).await.unwrap_err();
        assert_eq!(late.code(), "hold_expired");
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.held), (95, 5));
        assert_eq!(balance.expiring.len(), 1);
        assert_eq!(ledger.get_consumption(hold.id).await.unwrap().status, Status::Expired);
        let expired = ConsumptionFilter { status: Some(Status::Expired), ..Default::default() };
        assert_eq!(ledger.consumptions(ALICE, expired.clone()).await.unwrap().items.len(), 1);
        // The credits are there for others, in the same instant.
        let again = ledger.consume(Consume::new(ALICE, 95), None).await.unwrap();
        ledger.refund(Refund::all(again.id), None).await.unwrap();
        let recharged = ledger.confirm(Confirm::all(hold.id).late(Late::Recharge), None).await.unwrap();
        assert_eq!((recharged.status, recharged.captured), (Status::Confirmed, 75));
        clock.advance(3 * DAY);
        let swept = ledger.expire_pending(None).await.unwrap();
        assert_eq!((swept.holds, swept.released), (1, 5));
        clock.advance(10 * DAY);
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 0);
        let swept = ledger.expire_lots(None).await.unwrap();
        assert_eq!((swept.lots, swept.expired), (1, 25));
        assert_eq!(ledger.expire_lots(None).await.unwrap().lots, 0);
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_sweep_of_many_due_holds_of_one_account(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.grant(Grant::new(ALICE, 1_000, Source::Purchase), None).await.unwrap();
        // More than one load brings, so that they are written down in parts.
        let consumes = (0..350).map(|_| (Consume::new(ALICE, 2).ttl(Duration::from_secs(5)), None)).collect();
        assert!(ledger.consume_many(consumes).await.unwrap().iter().all(Result::is_ok));
        ledger.consume(Consume::new(ALICE, 100).ttl(DAY), None).await.unwrap();
        clock.advance(Duration::from_secs(10));
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 900);
        // A live command comes first, and waits for all of them.
        ledger.consume(Consume::new(ALICE, 900), None).await.unwrap();
        assert_eq!(ledger.expire_pending(None).await.unwrap().holds, 0);
        clock.advance(2 * DAY);
        let swept = ledger.expire_pending(None).await.unwrap();
        assert_eq!((swept.holds, swept.released), (2, 1_000));
        assert!(ledger.verify().await.unwrap().is_clean());

        let consumes = (0..350).map(|_| (Consume::new(ALICE, 2).ttl(Duration::from_secs(5)), None)).collect();
        ledger.consume_many(consumes).await.unwrap();
        clock.advance(Duration::from_secs(10));
        let swept = ledger.expire_pending(None).await.unwrap();
        assert_eq!((swept.holds, swept.released), (350, 700));
        assert_eq!(ledger.expire_pending(None).await.unwrap().holds, 0);
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

on_every_database! {
    async fn every_command_writes_what_verify_derives(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let bought = ledger
            .grant(
                Grant::new(ALICE, 100, Source::Purchase)
                    .priority(5)
                    .cost(Money { minor: 990, currency: "CNY".into() })
                    .reference("order-1"),
                None,
            )
            .await
            .unwrap();
        ledger.gift(Gift::new(ALICE, 10, "新用户").operator("ops").expires_at(START.plus(DAY)), Some("gift")).await.unwrap();
        ledger.adjust(Adjust::new(ALICE, -5, "counted twice"), None).await.unwrap();
        ledger.adjust(Adjust::new(ALICE, 7, "counted too little"), None).await.unwrap();
        ledger.set_credit_limit(SetCreditLimit { user_id: ALICE, credit_limit: 50 }, None).await.unwrap();
        let hold = ledger.consume(Consume::new(ALICE, 140).reference("job"), None).await.unwrap();
        assert_eq!(hold.borrowed, 28);
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, -28);
        let more = ledger.confirm(Confirm::amount(hold.id, 150).overage(Overage::Debt), None).await.unwrap();
        assert_eq!(more.captured, 150);
        assert_eq!(ledger.balance(ALICE).await.unwrap().debt, 38);
        let lot_id = bought.lot.unwrap().lot_id;
        let taken = ledger.clawback(Clawback::all(ALICE, lot_id).shortfall(Shortfall::Debt), None).await.unwrap();
        assert_eq!((taken.taken, taken.shortfall, taken.debt), (0, 100, 100));
        ledger.grant(Grant::new(ALICE, 200, Source::Purchase), None).await.unwrap();
        let balance = ledger.balance(ALICE).await.unwrap();
        assert_eq!((balance.available, balance.debt), (62, 0));
        clock.advance(2 * DAY);
        ledger.refund(Refund::all(hold.id), None).await.unwrap();
        let verification = ledger.verify().await.unwrap();
        assert!(verification.is_clean(), "{:?}", verification.faults);
        assert!(ledger.trial_balance().await.unwrap().is_balanced());
        ledger.close().await;
    }
}

on_every_database! {
    async fn pages_are_stable_and_complete(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.grant(Grant::new(ALICE, 1_000, Source::Purchase), None).await.unwrap();
        for n in 0..23 {
            clock.advance(Duration::from_secs(1));
            let hold = ledger.consume(Consume::new(ALICE, 10), None).await.unwrap();
            if n % 2 == 0 {
                ledger.confirm(Confirm::all(hold.id), None).await.unwrap();
            }
        }
        let mut filter = TransactionFilter { limit: 7, ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let page = ledger.transactions(ALICE, filter.clone()).await.unwrap();
            seen.extend(page.items.iter().map(|e| e.seq));
            // What comes in meanwhile does not shift the pages.
            ledger.grant(Grant::new(ALICE, 1, Source::Bonus), None).await.unwrap();
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(seen, (1..=36).rev().collect::<Vec<i64>>());
        let confirms = TransactionFilter { kind: Some(Kind::Confirm), limit: 100, ..Default::default() };
        assert_eq!(ledger.transactions(ALICE, confirms).await.unwrap().items.len(), 12);
        let early = TransactionFilter {
            since: Some(START),
            until: Some(START.plus(Duration::from_secs(2))),
            limit: 100,
            ..Default::default()
        };
        assert_eq!(ledger.transactions(ALICE, early).await.unwrap().items.len(), 3);

        let mut filter = ConsumptionFilter { limit: 5, status: Some(Status::Pending), ..Default::default() };
        let mut seen = Vec::new();
        loop {
            let page = ledger.consumptions(ALICE, filter.clone()).await.unwrap();
            seen.extend(page.items.iter().map(|c| c.id));
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
        assert_eq!(seen.len(), 11);
        assert!(seen.windows(2).all(|pair| pair[0] > pair[1]));
        for (limit, cursor) in [(0, None), (1_001, None), (1, Some("nonsense".to_owned()))] {
            let error = ledger.transactions(ALICE, TransactionFilter { limit, cursor: cursor.clone(), ..Default::default() }).await;
            assert_eq!(error.unwrap_err().code(), "validation");
            let error = ledger.consumptions(ALICE, ConsumptionFilter { limit, cursor, ..Default::default() }).await;
            assert_eq!(error.unwrap_err().code(), "validation");
        }
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_balance_as_of_a_time(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let at = |seconds: u64| START.plus(Duration::from_secs(seconds));
        ledger.grant(Grant::new(ALICE, 100, Source::Gift).expires_at(at(500)), None).await.unwrap();
        clock.set(at(10));
        let hold = ledger.consume(Consume::new(ALICE, 30).ttl(Duration::from_secs(100)), None).await.unwrap();
        clock.set(at(20));
        ledger.consume(Consume::new(ALICE, 20).ttl(Duration::from_secs(1000)), None).await.unwrap();
        clock.set(at(50));
        ledger.confirm(Confirm::amount(hold.id, 25), None).await.unwrap();
        clock.set(at(2_000));
        ledger.expire_pending(None).await.unwrap();
        for (seconds, available, held) in
            [(0, 100, 0), (9, 100, 0), (10, 70, 30), (20, 50, 50), (50, 55, 20), (499, 55, 20), (500, 0, 20), (1_020, 0, 0)]
        {
            let balance = ledger.balance_at(ALICE, at(seconds)).await.unwrap();
            assert_eq!((balance.available, balance.held), (available, held), "after {seconds} s");
        }
        assert_eq!(ledger.balance_at(ALICE, START.plus(3_000 * DAY)).await.unwrap().available, ledger.balance(ALICE).await.unwrap().available);
        assert_eq!(clock.now(), at(2_000));
        ledger.close().await;
    }
}

on_every_database! {
    async fn what_is_unknown_is_not_found(database: Database) {
        let ledger = database.ledger().await;
        let nobody = Uuid::from_u128(99);
        assert_eq!(ledger.balance(nobody).await.unwrap().available, 0);
        assert!(ledger.transactions(nobody, Default::default()).await.unwrap().items.is_empty());
        assert_eq!(ledger.get_consumption(nobody).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.confirm(Confirm::all(nobody), Some("k")).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.refund(Refund::all(nobody), None).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.clawback(Clawback::all(ALICE, nobody), None).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.consume(Consume::new(nobody, 1), None).await.unwrap_err().code(), "insufficient_credits");
        // None of this made an account.
        assert_eq!(ledger.verify().await.unwrap().accounts, 0);
        ledger.close().await;
    }
}
