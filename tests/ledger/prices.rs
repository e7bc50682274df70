//! Rate cards, quotes, packages, and holds that are prices, on every database.

use crate::child::{self, Dice, Role, Running, about_prices};
use crate::database::{self, Database, Kind, START, clock};
use crate::on_every_database;
use jointo_credits::pricing::{CardFault, Decimal, QuoteError};
use jointo_credits::{
    Confirm, Consume, ConsumeItem, Error, Grant, Late, Ledger, Overage, PricedConfirm, PricedConsume, Refund,
    Refusal, SavePackage, SetCreditLimit, SetPricing, Source, Status, Timestamp, Usage,
};
use sqlx::{Connection, Executor};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(0xA11CE);
const BOB: Uuid = Uuid::from_u128(0xB0B);
const HOUR: Duration = Duration::from_secs(3600);

/// Seconds of video at `rate` credits each.
pub fn video(rate: &str) -> String {
    format!(
        r#"{{"feature": "video", "name": "视频", "components": [
            {{"quantity": "seconds", "model": "per_unit", "rate": "{rate}", "estimate": {{"default": 10}}}}
        ]}}"#
    )
}

fn earlier(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() - seconds * 1_000_000)
}

async fn price(ledger: &Ledger, seconds: i64) -> i64 {
    let usage = Usage::of("video").quantity(seconds);
    ledger.calculate(&usage, None).await.unwrap().credits()
}

on_every_database! {
    async fn a_feature_is_retired_and_sold_again(database: Database) {
        let ledger = database.ledger().await;
        ledger.seed_catalog().await.unwrap();
        let usage = Usage::of("subtitle_generation").quantity(1);
        ledger.calculate(&usage, None).await.unwrap();
        let retired = r#"{"feature": "subtitle_generation", "name": "字幕生成", "retired": true}"#;
        // For one account only,
        ledger.set_pricing(SetPricing::new(retired).user_id(BOB)).await.unwrap();
        assert!(matches!(ledger.calculate(&usage, Some(BOB)).await, Err(Error::NotPriced { .. })));
        ledger.calculate(&usage, Some(ALICE)).await.unwrap();
        // and for everybody. Neither another retirement nor the catalogue that ships changes anything then.
        let ended = ledger.set_pricing(SetPricing::new(retired)).await.unwrap();
        assert_eq!(ledger.set_pricing(SetPricing::new(retired)).await.unwrap(), ended);
        ledger.seed_catalog().await.unwrap();
        assert!(matches!(ledger.calculate(&usage, Some(ALICE)).await, Err(Error::NotPriced { .. })));
        let refused = ledger.consume_priced(PricedConsume::new(ALICE, usage.clone()), None).await;
        assert!(matches!(refused, Err(Error::NotPriced { .. })));
        let sold = r#"{"feature": "subtitle_generation", "name": "字幕生成", "components": [{"model": "flat", "rate": 3}]}"#;
        ledger.set_pricing(SetPricing::new(sold)).await.unwrap();
        assert_eq!(ledger.calculate(&Usage::of("subtitle_generation"), Some(ALICE)).await.unwrap().credits(), 3);
        // A card that has no price says none.
        let both = r#"{"feature": "f", "name": "n", "retired": true, "minimum": 1}"#;
        let Err(Error::Card(fault)) = ledger.set_pricing(SetPricing::new(both)).await else { panic!() };
        assert_eq!((fault.path.as_str(), fault.fault), ("$.minimum", CardFault::PriceOfRetired));
    }
}

on_every_database! {
    async fn a_change_of_the_catalogue_is_safe_to_repeat(database: Database) {
        let ledger = database.ledger().await;
        let new = SavePackage::new("尝鲜", "1.00".parse().unwrap(), 10);
        let saved = ledger.save_package(new.clone()).await.unwrap();
        assert_eq!(ledger.save_package(new.clone()).await.unwrap(), saved);
        assert_eq!(ledger.save_package(SavePackage::of(&saved)).await.unwrap(), saved);
        assert_eq!(ledger.packages().await.unwrap().len(), 1);
        assert_eq!(ledger.package_versions(saved.package_id).await.unwrap().len(), 1);
        let other = ledger.save_package(new.bonus_credits(1)).await.unwrap();
        assert_ne!(other.package_id, saved.package_id);
        let changed = ledger.save_package(SavePackage::of(&saved).active(false)).await.unwrap();
        assert_eq!((changed.package_id, changed.version), (saved.package_id, 2));
    }
}

on_every_database! {
    async fn the_catalogue_is_installed_once(database: Database) {
        let ledger = database.ledger().await;
        ledger.seed_catalog().await.unwrap();
        let packages = ledger.packages().await.unwrap();
        let told: Vec<(String, String, i64, i64, bool)> = packages
            .iter()
            .map(|p| (p.name.clone(), p.price.to_string(), p.credits, p.bonus_credits, p.recommended))
            .collect();
        assert_eq!(
            told,
            [
                ("入门套餐".into(), "9.9".into(), 100, 10, false),
                ("超值套餐".into(), "49.9".into(), 600, 100, true),
                ("专业套餐".into(), "99.9".into(), 1300, 300, false),
                ("企业套餐".into(), "299.9".into(), 4500, 1500, false),
            ]
        );
        assert_eq!(ledger.pricing(None).await.unwrap().len(), 10);
        assert_eq!(packages[0].description, "适合新手用户体验");
        // What an operator changes stays changed.
        let dearer = SavePackage::of(&packages[0]).active(false);
        let dearer = ledger.save_package(SavePackage { price: "12.50".parse().unwrap(), ..dearer }).await.unwrap();
        assert_eq!(dearer.version, 2);
        let card = r#"{"feature": "video_generation", "name": "视频生成", "components": [{"model": "flat", "rate": 7}]}"#;
        ledger.set_pricing(SetPricing::new(card)).await.unwrap();
        ledger.seed_catalog().await.unwrap();
        assert_eq!(ledger.package(packages[0].package_id).await.unwrap(), dearer);
        assert_eq!(ledger.packages().await.unwrap().len(), 4);
        assert_eq!(ledger.pricing(None).await.unwrap().len(), 11);
        let quote = ledger.calculate(&Usage::of("video_generation"), None).await.unwrap();
        assert_eq!(quote.credits(), 7);
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_priced_hold_is_confirmed_with_what_was_used(database: Database) {
        let ledger = database.ledger().await;
        ledger.set_pricing(SetPricing::new(video("1.5"))).await.unwrap();
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase), None).await.unwrap();
        let consume = PricedConsume::new(ALICE, Usage::of("video")).reference("job-1");
        let hold = ledger.consume_priced(consume, Some("job-1")).await.unwrap();
        assert_eq!((hold.amount, hold.feature.as_deref(), hold.status), (15, Some("video"), Status::Pending));
        let done = ledger.confirm_priced(PricedConfirm::quantity(hold.id, 3), None).await.unwrap();
        assert_eq!((done.status, done.captured), (Status::Confirmed, 5));
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 95);
        let why = ledger.explain(hold.id).await.unwrap();
        assert_eq!(why.consumption, ledger.get_consumption(hold.id).await.unwrap());
        assert_eq!(why.held.unwrap().exact().to_string(), "15");
        let charged = why.charged.unwrap();
        assert_eq!((charged.exact().to_string(), charged.credits()), ("4.5".into(), 5));
        assert!(charged.to_string().contains("3 at 1.5"), "{charged}");
        assert_eq!(why.lots.len(), 1);
        assert_eq!((why.lots[0].amount, why.lots[0].lot.source), (5, Source::Purchase));
        // Several at once, each at its price.
        let mut many = Vec::new();
        for seconds in [1, 2] {
            let priced = ledger.price_consume(PricedConsume::new(ALICE, Usage::of("video").quantity(seconds))).await;
            many.push((priced.unwrap(), None));
        }
        let holds = ledger.consume_many(many).await.unwrap();
        let amounts: Vec<i64> = holds.iter().map(|hold| hold.as_ref().unwrap().amount).collect();
        assert_eq!(amounts, [2, 3]);
        for hold in holds {
            ledger.refund(Refund::all(hold.unwrap().id), None).await.unwrap();
        }
        // More than was held needs the caller's word.
        let hold = ledger.consume_priced(PricedConsume::new(ALICE, Usage::of("video").quantity(2)), None).await.unwrap();
        let more = PricedConfirm::quantity(hold.id, 4);
        let refused = ledger.confirm_priced(more.clone(), None).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::Invalid { field: "amount", .. })), "{refused}");
        let done = ledger.confirm_priced(more.overage(Overage::Available), None).await.unwrap();
        assert_eq!(done.captured, 6);
        // A refund of a part, a hold that was not priced, and one that is not there.
        let back = ledger.refund(Refund::part(hold.id, 2), None).await.unwrap();
        assert_eq!(back.reversed, 2);
        let plain = ledger.consume(jointo_credits::Consume::new(ALICE, 5), None).await.unwrap();
        let refused = ledger.confirm_priced(PricedConfirm::quantity(plain.id, 1), None).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::Invalid { field: "quantity", .. })), "{refused}");
        let why = ledger.explain(plain.id).await.unwrap();
        assert_eq!((why.held, why.charged), (None, None));
        let nobody = Uuid::from_u128(7);
        assert_eq!(ledger.confirm_priced(PricedConfirm::quantity(nobody, 1), None).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.explain(nobody).await.unwrap_err().code(), "not_found");
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

on_every_database! {
    /// What another hold's deadline has set free pays for what this one had borrowed, before anybody wrote it down.
    async fn an_explanation_is_of_what_is_so_now(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap();
        ledger.grant(Grant::new(ALICE, 10, Source::Purchase), None).await.unwrap();
        ledger.set_credit_limit(SetCreditLimit { user_id: ALICE, credit_limit: 10 }, None).await.unwrap();
        let first = PricedConsume::new(ALICE, Usage::of("video").quantity(10)).ttl(Duration::from_secs(60));
        ledger.consume_priced(first, None).await.unwrap();
        let second = PricedConsume::new(ALICE, Usage::of("video").quantity(5)).ttl(HOUR);
        let second = ledger.consume_priced(second, None).await.unwrap();
        assert_eq!((second.borrowed, second.lots.len()), (5, 0));
        clock.set(START.plus(Duration::from_secs(60)));
        let why = ledger.explain(second.id).await.unwrap();
        assert_eq!(why.consumption, ledger.get_consumption(second.id).await.unwrap());
        assert_eq!(why.consumption.borrowed, 0);
        let paid: Vec<(Source, i64)> = why.lots.iter().map(|paid| (paid.lot.source, paid.amount)).collect();
        assert_eq!(paid, [(Source::Purchase, 5)]);
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_hold_keeps_its_price(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap();
        ledger.grant(Grant::new(ALICE, 1000, Source::Purchase), None).await.unwrap();
        let request = || PricedConsume::new(ALICE, Usage::of("video").quantity(10));
        let old = ledger.consume_priced(request(), Some("job")).await.unwrap();
        // A version that waits counts from its instant on, to the microsecond and without another look.
        let next = SetPricing::new(video("3")).effective_from(START.plus(HOUR));
        let next = ledger.set_pricing(next).await.unwrap();
        assert_eq!(next.version.pricing.version, 2);
        clock.set(START.plus(HOUR - Duration::from_micros(1)));
        assert_eq!(price(&ledger, 10).await, 10);
        clock.set(START.plus(HOUR));
        assert_eq!(price(&ledger, 10).await, 30);
        let usage = Usage::of("video").quantity(10);
        assert_eq!(ledger.calculate_at(&usage, None, START).await.unwrap().credits(), 10);
        assert_eq!(ledger.calculate_at(&usage, None, START.plus(2 * HOUR)).await.unwrap().credits(), 30);
        // A retry is the same request, whatever it would cost now.
        assert_eq!(ledger.consume_priced(request(), Some("job")).await.unwrap(), old);
        let other = PricedConsume::new(ALICE, Usage::of("video").quantity(11));
        assert_eq!(ledger.consume_priced(other, Some("job")).await.unwrap_err().code(), "idempotency_conflict");
        let new = ledger.consume_priced(request(), None).await.unwrap();
        assert_eq!((old.amount, new.amount), (10, 30));
        // Also where the call can't be priced any more: the card of today knows no seconds.
        let flat = r#"{"feature": "video", "name": "v", "components": [{"model": "flat", "rate": 5}]}"#;
        ledger.set_pricing(SetPricing::new(flat)).await.unwrap();
        assert_eq!(ledger.consume_priced(request(), Some("job")).await.unwrap(), old);
        let other = PricedConsume::new(ALICE, Usage::of("video").quantity(11));
        assert_eq!(ledger.consume_priced(other, Some("job")).await.unwrap_err().code(), "idempotency_conflict");
        assert_eq!(ledger.consume_priced(request(), Some("new")).await.unwrap_err().code(), "validation");
        // The same among many: priced and not, in order, and what is wrong with one is its own.
        let amount = Consume::new(ALICE, 7);
        let plain = ledger.consume(amount.clone(), Some("plain")).await.unwrap();
        let item = |item: ConsumeItem, key: &str| (item, Some(key.to_owned()));
        let other = PricedConsume::new(ALICE, Usage::of("video").quantity(11));
        let nothing = PricedConsume::new(ALICE, Usage::of("nothing"));
        let flat = PricedConsume::new(ALICE, Usage::of("video"));
        let many = vec![
            item(request().into(), "job"),
            item(amount.into(), "plain"),
            item(other.into(), "job"),
            item(request().into(), "newer"),
            item(nothing.into(), "nothing"),
            item(flat.into(), "flat"),
        ];
        let outcomes = ledger.consume_many(many).await.unwrap();
        let told: Vec<_> = outcomes.iter().map(|one| one.as_ref().map_err(Error::code)).collect();
        assert_eq!(told[..2], [Ok(&old), Ok(&plain)]);
        assert_eq!(told[2..5], [Err("idempotency_conflict"), Err("validation"), Err("not_found")]);
        assert_eq!(told[5].map(|held| held.amount), Ok(5));
        let too_many = vec![(request(), None); 1001];
        assert_eq!(ledger.consume_many(too_many).await.unwrap_err().code(), "validation");
        let late = |id| PricedConfirm::quantity(id, 4).late(Late::Recharge);
        assert_eq!(ledger.confirm_priced(late(old.id), None).await.unwrap().captured, 4);
        assert_eq!(ledger.confirm_priced(late(new.id), None).await.unwrap().captured, 12);
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_call_may_cost_nothing(database: Database) {
        let ledger = database.ledger().await;
        let card = r#"{"feature": "text", "name": "t", "components": [
            {"quantity": "tokens", "model": "per_unit", "rate": 1, "per": 1000, "free_units": 500}
        ]}"#;
        ledger.set_pricing(SetPricing::new(card)).await.unwrap();
        let free = PricedConsume::new(ALICE, Usage::of("text").quantity(400));
        let hold = ledger.consume_priced(free, Some("k")).await.unwrap();
        assert_eq!((hold.amount, hold.status), (0, Status::Pending));
        assert_eq!(ledger.confirm(Confirm::all(hold.id), None).await.unwrap().status, Status::Confirmed);
        ledger.grant(Grant::new(BOB, 10, Source::Gift), None).await.unwrap();
        let hold = ledger.consume_priced(PricedConsume::new(BOB, Usage::of("text").quantity(2500)), None).await.unwrap();
        assert_eq!(hold.amount, 2);
        let done = ledger.confirm_priced(PricedConfirm::quantity(hold.id, 100), Some("c")).await.unwrap();
        assert_eq!((done.status, done.captured), (Status::Confirmed, 0));
        assert_eq!(ledger.confirm_priced(PricedConfirm::quantity(hold.id, 100), Some("c")).await.unwrap(), done);
        assert_eq!(ledger.balance(BOB).await.unwrap().available, 10);
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

on_every_database! {
    async fn an_account_can_have_its_own_price(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.set_pricing(SetPricing::new(video("2"))).await.unwrap();
        let special = SetPricing::new(video("1")).user_id(ALICE).effective_until(START.plus(HOUR));
        ledger.set_pricing(special).await.unwrap();
        let usage = Usage::of("video").quantity(10);
        let of = |user| ledger.calculate(&usage, user);
        assert_eq!(of(Some(ALICE)).await.unwrap().credits(), 10);
        assert_eq!(of(Some(BOB)).await.unwrap().credits(), 20);
        assert_eq!(of(None).await.unwrap().credits(), 20);
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase), None).await.unwrap();
        assert_eq!(ledger.consume_priced(PricedConsume::new(ALICE, usage.clone()), None).await.unwrap().amount, 10);
        clock.set(START.plus(HOUR));
        assert_eq!(of(Some(ALICE)).await.unwrap().credits(), 20);
        let versions = ledger.pricing(Some("video")).await.unwrap();
        let told: Vec<(u32, Option<Uuid>)> =
            versions.iter().map(|p| (p.version.pricing.version, p.version.account)).collect();
        assert_eq!(told, [(1, None), (2, Some(ALICE))]);
        ledger.close().await;
    }
}

on_every_database! {
    async fn what_can_t_be_priced_or_saved_says_why(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let unknown = ledger.calculate(&Usage::of("video"), None).await.unwrap_err();
        assert_eq!(unknown, Error::NotPriced { feature: "video".into() });
        assert_eq!(unknown.code(), "not_found");
        let Error::Card(error) = ledger.set_pricing(SetPricing::new(video("-1"))).await.unwrap_err() else {
            panic!("a negative rate was taken");
        };
        assert_eq!(error.path, "$.components[0].rate");
        assert!(matches!(error.fault, CardFault::OutOfRange { .. }));
        // The past has been charged. A moment ago is now.
        let passed = SetPricing::new(video("1")).effective_from(START);
        clock.set(START.plus(Duration::from_secs(61)));
        let refused = ledger.set_pricing(passed.clone()).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::Invalid { field: "effective_from", .. })), "{refused}");
        clock.set(START.plus(Duration::from_secs(60)));
        let set = ledger.set_pricing(passed).await.unwrap();
        assert_eq!(set.version.effective_from, START.plus(Duration::from_secs(60)));
        let backwards = SetPricing::new(video("1")).effective_from(START.plus(HOUR)).effective_until(START.plus(HOUR));
        let refused = ledger.set_pricing(backwards).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::Invalid { field: "effective_until", .. })), "{refused}");
        // The card that is in force anyway adds nothing, until another one waits.
        assert_eq!(ledger.set_pricing(SetPricing::new(video("1.0"))).await.unwrap(), set);
        ledger.set_pricing(SetPricing::new(video("9")).effective_from(START.plus(HOUR))).await.unwrap();
        assert_eq!(ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap().version.pricing.version, 3);
        let refused = ledger.calculate(&Usage::of("video").attribute("quality", "hd"), None).await.unwrap_err();
        assert!(matches!(refused, Error::Quote(QuoteError::UnknownAttribute { .. })), "{refused}");
        let both = Usage::of("video").quantity(1).metered("seconds", 1);
        let refused = ledger.calculate(&both, None).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::Invalid { field: "quantity", .. })), "{refused}");
        let poor = ledger.consume_priced(PricedConsume::new(ALICE, Usage::of("video").quantity(5)), None).await.unwrap_err();
        assert_eq!(poor, Error::Refused(Refusal::Insufficient { required: 5, available: 0 }));
        ledger.close().await;
    }
}

on_every_database! {
    /// A call that was repeated, because its answer was lost, adds nothing: sooner or later.
    async fn a_price_that_was_set_is_not_set_again(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let at = |hours: u32| START.plus(HOUR * hours);
        let calls = [
            SetPricing::new(video("1")),
            SetPricing::new(video("2")).effective_from(at(2)),
            SetPricing::new(video("3")).effective_from(at(3)).effective_until(at(5)),
            SetPricing::new(video("4")).effective_until(at(1)),
            SetPricing::new(video("5")).user_id(ALICE).effective_from(at(2)),
        ];
        let mut first = Vec::new();
        for call in &calls {
            let set = ledger.set_pricing(call.clone()).await.unwrap();
            assert_eq!(ledger.set_pricing(call.clone()).await.unwrap(), set);
            first.push(set);
        }
        // Once their time has come, too, as long as they are what counts from then.
        clock.set(at(4));
        for (call, set) in calls.iter().zip(&first).filter(|(call, _)| call.effective_from.is_some()) {
            assert_eq!(ledger.set_pricing(call.clone()).await.unwrap(), *set);
        }
        let other = SetPricing::new(video("2")).effective_from(at(2)).effective_until(at(9));
        let refused = ledger.set_pricing(other).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::Invalid { field: "effective_from", .. })), "{refused}");
        // Between two that say the same there was another one: the last word counts.
        for (rate, version) in [("6", 6), ("7", 7), ("6", 8)] {
            let set = SetPricing::new(video(rate)).effective_from(at(8));
            assert_eq!(ledger.set_pricing(set).await.unwrap().version.pricing.version, version);
        }
        ledger.close().await;
    }
}

on_every_database! {
    /// Two processes set prices whose clocks differ by a second: who came second has the last word.
    async fn a_clock_that_is_behind_sets_prices_too(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap();
        clock.set(earlier(1));
        let second = ledger.set_pricing(SetPricing::new(video("2"))).await.unwrap();
        assert_eq!(second.version.effective_from, START);
        let third = SetPricing::new(video("3")).effective_from(earlier(2));
        assert_eq!(ledger.set_pricing(third).await.unwrap().version.effective_from, START);
        clock.set(START);
        assert_eq!(price(&ledger, 10).await, 30);
        // A price that was told to wait goes on waiting.
        ledger.set_pricing(SetPricing::new(video("9")).effective_from(START.plus(Duration::from_secs(5)))).await.unwrap();
        ledger.set_pricing(SetPricing::new(video("4"))).await.unwrap();
        assert_eq!(price(&ledger, 10).await, 40);
        clock.set(START.plus(Duration::from_secs(5)));
        assert_eq!(price(&ledger, 10).await, 90);
        ledger.close().await;
    }
}

on_every_database! {
    async fn packages_keep_their_history(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let new = SavePackage::new("月卡", "30".parse().unwrap(), 300)
            .bonus_credits(30).validity_days(31).purchase_limit(2).sort_order(5).description("每月一次");
        let first = ledger.save_package(new.clone()).await.unwrap();
        assert_eq!((first.version, first.created_at, first.updated_at), (1, START, START));
        assert_eq!((first.validity_days, first.purchase_limit, first.active), (Some(31), Some(2), true));
        clock.set(START.plus(HOUR));
        let second = SavePackage { price: "28.88".parse().unwrap(), ..SavePackage::of(&first).active(false) };
        let second = ledger.save_package(second).await.unwrap();
        assert_eq!((second.version, second.created_at, second.updated_at), (2, START, START.plus(HOUR)));
        assert_eq!(second.price, Decimal::new(2888, 2));
        assert_eq!(ledger.packages().await.unwrap(), std::slice::from_ref(&second));
        assert_eq!(ledger.package_versions(first.package_id).await.unwrap(), [first, second]);
        // Another of the same name is another package.
        let another = ledger.save_package(new.clone()).await.unwrap();
        assert_ne!(another.package_id, ledger.packages().await.unwrap()[0].package_id);
        assert_eq!(ledger.packages().await.unwrap().len(), 2);
        for (field, bad) in [
            ("name", SavePackage { name: " ".into(), ..new.clone() }),
            ("name", SavePackage { name: "x".repeat(256), ..new.clone() }),
            ("description", SavePackage { description: "x\0".into(), ..new.clone() }),
            ("price", SavePackage { price: "9.999".parse().unwrap(), ..new.clone() }),
            ("price", SavePackage { price: "-1".parse().unwrap(), ..new.clone() }),
            ("currency", SavePackage { currency: "yuan".into(), ..new.clone() }),
            ("credits", SavePackage { credits: 0, ..new.clone() }),
            ("bonus_credits", SavePackage { bonus_credits: -1, ..new.clone() }),
            ("bonus_credits", SavePackage { bonus_credits: i64::MAX, ..new.clone() }),
            ("validity_days", SavePackage { validity_days: Some(0), ..new.clone() }),
            ("purchase_limit", SavePackage { purchase_limit: Some(0), ..new.clone() }),
        ] {
            let Error::Refused(Refusal::Invalid { field: named, .. }) = ledger.save_package(bad).await.unwrap_err() else {
                panic!("{field} was taken");
            };
            assert_eq!(named, field);
        }
        let nobody = SavePackage { package_id: Some(Uuid::from_u128(7)), ..new };
        assert_eq!(ledger.save_package(nobody).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.package(Uuid::from_u128(7)).await.unwrap_err().code(), "not_found");
        assert_eq!(ledger.package_versions(Uuid::from_u128(7)).await.unwrap_err().code(), "not_found");
        ledger.close().await;
    }
}

on_every_database! {
    async fn operators_at_once_lose_nothing(database: Database) {
        let ledger = database.ledger().await;
        ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap();
        let package = ledger.save_package(SavePackage::new("p", Decimal::ONE, 1)).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 2..10 {
            let (ledger, package) = (ledger.clone(), package.clone());
            tasks.spawn(async move {
                ledger.set_pricing(SetPricing::new(video(&n.to_string()))).await.unwrap();
                ledger.save_package(SavePackage::of(&package).sort_order(n)).await.unwrap();
            });
        }
        tasks.join_all().await;
        let versions = ledger.pricing(Some("video")).await.unwrap();
        let numbers: Vec<u32> = versions.iter().map(|p| p.version.pricing.version).collect();
        assert_eq!(numbers, (1..=9).collect::<Vec<u32>>());
        let versions = ledger.package_versions(package.package_id).await.unwrap();
        assert_eq!(versions.iter().map(|p| p.version).collect::<Vec<u32>>(), (1..=9).collect::<Vec<u32>>());
        ledger.close().await;
    }
}

/// Two ledgers on one database, as in two processes: a change of one is seen by the other within its copy's age, and a
/// hold made before is confirmed at the old price there too.
async fn another_process_sees_a_change(kind: Kind) {
    let database = Database::fresh(kind).await;
    let (here, there) = (database.ledger().await, database.ledger().await);
    here.set_pricing(SetPricing::new(video("1"))).await.unwrap();
    here.grant(Grant::new(ALICE, 1000, Source::Purchase), None)
        .await
        .unwrap();
    let request = || PricedConsume::new(ALICE, Usage::of("video").quantity(10));
    let old = here.consume_priced(request(), None).await.unwrap();
    assert_eq!(price(&there, 10).await, 10);
    here.set_pricing(SetPricing::new(video("3"))).await.unwrap();
    assert_eq!(price(&here, 10).await, 30);
    // Asked again and again, as a busy process does, the copy is renewed in the background.
    while price(&there, 10).await == 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let new = there.consume_priced(request(), None).await.unwrap();
    assert_eq!((old.amount, new.amount), (10, 30));
    assert_eq!(
        there
            .confirm_priced(PricedConfirm::quantity(old.id, 4), None)
            .await
            .unwrap()
            .captured,
        4
    );
    assert_eq!(
        here.confirm_priced(PricedConfirm::quantity(new.id, 4), None)
            .await
            .unwrap()
            .captured,
        12
    );
    // A third one that has never priced anything explains both.
    let third = database.ledger().await;
    assert_eq!(third.explain(old.id).await.unwrap().charged.unwrap().credits(), 4);
    assert_eq!(
        third.explain(new.id).await.unwrap().charged.unwrap().credits(),
        12
    );
    for ledger in [here, there, third] {
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_sees_a_change_on_postgres() {
    another_process_sees_a_change(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_sees_a_change_on_sqlite() {
    another_process_sees_a_change(Kind::SqliteFile).await;
}

/// Either of two processes: this one, or the child.
struct Processes {
    here: Ledger,
    there: Running,
}

impl Processes {
    async fn ask(&mut self, which: u64, what: &str) -> String {
        match which {
            0 => about_prices(&self.here, what).await,
            _ => self.there.ask(what).await,
        }
    }
}

/// Two processes change a price in turns, in an order that is drawn, make holds and confirm each other's. What a hold
/// costs is the price that was in force when it was made, in whichever process, and whichever one confirms it.
async fn holds_keep_their_price_across_processes(kind: Kind) {
    const SEED: u64 = 3;
    const CHANGES: i64 = 8;
    let database = Database::fresh(kind).await;
    let here = database.ledger().await;
    here.grant(Grant::new(ALICE, 1_000_000, Source::Purchase), None)
        .await
        .unwrap();
    about_prices(&here, "set 1").await;
    let mut there = child::start(Role::Prices, &database, 0).await;
    there
        .child
        .stdin
        .as_mut()
        .unwrap()
        .write_all(b"go\n")
        .await
        .unwrap();
    let mut processes = Processes { here, there };
    let mut dice = Dice::new(SEED);
    let (mut open, mut spent): (Vec<(String, i64)>, i64) = (Vec::new(), 0);
    for change in 0..=CHANGES {
        // The first card is there already. No rate comes twice, so a price tells which card it is of.
        let rate = change * 3 + 1;
        if change > 0 {
            let operator = dice.roll(2);
            processes.ask(operator, &format!("set {rate}")).await;
            // At once where it was made; the other process, which has a copy of the old card, follows.
            let seen = processes.ask(operator, "price 10").await;
            assert_eq!(seen, (rate * 10).to_string(), "seed {SEED}, change {change}");
            while processes.ask(1 - operator, "price 10").await != seen {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        for process in [0, 1] {
            let seconds = dice.roll(20) as i64 + 1;
            let held = processes.ask(process, &format!("hold {seconds}")).await;
            let (id, amount) = held.split_once(' ').unwrap();
            assert_eq!(
                amount,
                (rate * seconds).to_string(),
                "seed {SEED}, change {change}"
            );
            open.push((id.to_owned(), rate));
        }
        // Some of those of this price, and of the ones before; in the end all.
        while open.len() as i64 > if change == CHANGES { 0 } else { 4 } {
            let (id, rate) = open.swap_remove(dice.roll(open.len() as u64) as usize);
            let (process, seconds) = (dice.roll(2), dice.roll(30) as i64);
            let captured = processes.ask(process, &format!("confirm {id} {seconds}")).await;
            assert_eq!(
                captured,
                (rate * seconds).to_string(),
                "seed {SEED}, change {change}"
            );
            let why = processes.here.explain(id.parse().unwrap()).await.unwrap();
            assert_eq!(why.charged.unwrap().credits(), rate * seconds);
            spent += rate * seconds;
        }
    }
    processes.there.go();
    processes.there.rest().await;
    assert_eq!(processes.here.balance(ALICE).await.unwrap().spent, spent);
    assert!(processes.here.verify().await.unwrap().is_clean());
    processes.here.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_keep_their_price_across_processes_on_postgres() {
    holds_keep_their_price_across_processes(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_keep_their_price_across_processes_on_sqlite() {
    holds_keep_their_price_across_processes(Kind::SqliteFile).await;
}

/// A program may end without closing: what listens for changes then ends with the runtime.
#[test]
fn a_runtime_may_end_under_a_ledger_on_postgres() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    };
    let keeper = runtime();
    let database = keeper.block_on(Database::fresh(Kind::Postgres));
    for kept in [true, false] {
        let own = runtime();
        let ledger = own.block_on(async {
            let ledger = database.ledger().await;
            ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap();
            ledger
        });
        if kept {
            drop(own);
            drop(ledger);
        } else {
            drop(ledger);
            drop(own);
        }
    }
}

/// Without the database, a copy serves for a moment and not longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_copy_prices_nothing() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger.set_pricing(SetPricing::new(video("1"))).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("ALTER TABLE credit_catalogue RENAME TO gone")
        .await
        .unwrap();
    let usage = Usage::of("video").quantity(1);
    let error = loop {
        match ledger.calculate(&usage, None).await {
            Ok(quote) => assert_eq!(quote.credits(), 1),
            Err(error) => break error,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(error.code(), "unavailable", "{error}");
    connection
        .execute("ALTER TABLE gone RENAME TO credit_catalogue")
        .await
        .unwrap();
    assert_eq!(ledger.calculate(&usage, None).await.unwrap().credits(), 1);
    ledger.close().await;
}

/// What an operator does with SQL is seen; what must never be done is refused by the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_cards_are_never_changed_in_postgres() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger.seed_catalog().await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    for refused in [
        "UPDATE credit_pricing SET card = '{}'",
        "UPDATE credit_pricing SET effective_from = now()",
        "UPDATE credit_pricing SET user_id = gen_uuid_v7()",
        "DELETE FROM credit_pricing",
        "TRUNCATE credit_pricing",
        "UPDATE credit_package_versions SET price = 1",
        "DELETE FROM credit_package_versions",
    ] {
        let error = connection.execute(refused).await.unwrap_err();
        assert!(
            error.to_string().contains("is never changed or removed"),
            "{refused}: {error}"
        );
    }
    connection
        .execute("UPDATE credit_pricing SET effective_until = effective_from + interval '1 us' WHERE feature = 'image_generation'")
        .await
        .unwrap();
    connection
        .execute("UPDATE credit_packages SET price = 1.5 WHERE sort_order = 1")
        .await
        .unwrap();
    let images = Usage::of("image_generation").quantity(1);
    while ledger.calculate(&images, None).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ledger.packages().await.unwrap()[0].price, Decimal::new(15, 1));
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_cards_are_never_changed_in_sqlite() {
    let database = Database::fresh(Kind::SqliteFile).await;
    let ledger = database.ledger().await;
    ledger.seed_catalog().await.unwrap();
    let url = format!("sqlite://{}", database.sqlite_path().display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    for refused in [
        "UPDATE credit_pricing SET card = '{}'",
        "UPDATE credit_pricing SET effective_from = 1",
        "DELETE FROM credit_pricing",
        "UPDATE credit_package_versions SET price_minor = 1",
        "DELETE FROM credit_package_versions",
    ] {
        let error = connection.execute(refused).await.unwrap_err();
        assert!(error.to_string().contains("is never"), "{refused}: {error}");
    }
    connection
        .execute("UPDATE credit_packages SET price_minor = 150 WHERE sort_order = 1")
        .await
        .unwrap();
    while ledger.packages().await.unwrap()[0].price != Decimal::new(15, 1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    connection.close().await.unwrap();
    ledger.close().await;
}

/// One damaged card is an error for its feature, and for no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_can_t_be_read_stops_its_feature_only() {
    let database = Database::fresh(Kind::Postgres).await;
    let ledger = database.ledger().await;
    ledger.seed_catalog().await.unwrap();
    let mut connection = sqlx::PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute(
            "INSERT INTO credit_pricing (feature, version, card, effective_from) \
             VALUES ('text_processing', 2, '{\"model\": \"free\"}', now())",
        )
        .await
        .unwrap();
    let text = Usage::of("text_processing")
        .metered("input_tokens", 1)
        .metered("output_tokens", 1);
    let error = loop {
        match ledger.calculate(&text, None).await {
            Err(error) => break error,
            Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(
        error.to_string().contains("the rate card of text_processing"),
        "{error}"
    );
    assert!(
        ledger
            .calculate(&Usage::of("image_generation").quantity(1), None)
            .await
            .is_ok()
    );
    // What was charged before it began can be priced still; and a newer version ends the damage.
    let before = ledger.pricing(Some("text_processing")).await.unwrap();
    let first = &before[0].version;
    assert!(
        ledger
            .calculate_at(&text, None, first.effective_from)
            .await
            .is_ok()
    );
    let again = SetPricing::new(first.card.canonical_json());
    let set = ledger.set_pricing(again.clone()).await.unwrap();
    assert_eq!(set.version.pricing.version, 3);
    assert_eq!(
        ledger.calculate(&text, None).await.unwrap().pricing(),
        Some(set.version.pricing)
    );
    assert_eq!(
        ledger.set_pricing(again).await.unwrap(),
        set,
        "it is in force anyway"
    );
    ledger.close().await;
}

/// The same inputs at the same time give the same quote, whatever keeps the cards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_quote_on_every_database() {
    let mut told: Vec<Vec<String>> = Vec::new();
    for kind in [Kind::Memory, Kind::SqliteMemory, Kind::SqliteFile, Kind::Postgres] {
        let database = Database::fresh(kind).await;
        let ledger = database.open(database.settings().clock(clock())).await;
        ledger.seed_catalog().await.unwrap();
        let mut quotes = Vec::new();
        for pricing in ledger.pricing(None).await.unwrap() {
            let card = &pricing.version.card;
            for quantity in ["0", "1", "17.5", "1000", "123456"] {
                let quantity: Decimal = quantity.parse().unwrap();
                let usage = Usage::of(card.feature());
                let named = card.components().iter().filter_map(|c| c.quantity.as_deref());
                let usage = named.fold(usage, |usage, name| usage.metered(name, quantity));
                let quote = ledger.calculate(&usage, Some(ALICE)).await;
                quotes.push(quote.map_or_else(
                    |error| error.to_string(),
                    |quote| {
                        format!(
                            "{quote} {:?} {}",
                            quote.pricing(),
                            quote.to_json(jointo_credits::pricing::CardText::Included)
                        )
                    },
                ));
            }
        }
        ledger.close().await;
        told.push(quotes);
    }
    assert!(told[0].len() >= 50);
    assert!(told.iter().all(|quotes| *quotes == told[0]), "{told:#?}");
}
