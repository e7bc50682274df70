//! Orders: every step in every state, what a refund takes back and gives back, and random lives of orders.

use crate::support::subject::{PureSubject, Subject};
use jointo_credits::ledger::{
    Action, Adjust, Balance, Command, Confirm, Consume, Grant, LatePayment, Money, OpenOrder, Order,
    OrderCommand, OrderNo, OrderPayment, OrderRefundRequest, OrderStatus, OrderStep, Outcome, Refund,
    RefundNote, RefundStatus, Refusal, Rules, Shortfall, Source, Timestamp,
};
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);
const PACKAGE: Uuid = Uuid::from_u128(77);

/// Books at a time that moves on.
struct Shop {
    books: PureSubject,
    now: Timestamp,
}

fn number(n: u128) -> OrderNo {
    OrderNo(Uuid::from_u128(n))
}

fn cny(minor: i64) -> Money {
    Money {
        minor,
        currency: "CNY".into(),
    }
}

/// 9.90 CNY for 100 credits and 10 on top, 365 days long.
fn package() -> OpenOrder {
    OpenOrder {
        channel: "wechat".into(),
        package_id: PACKAGE,
        package_version: 3,
        subject: "入门套餐".into(),
        price: cny(990),
        credits: 100,
        bonus_credits: 10,
        validity_days: Some(365),
        purchase_limit: None,
    }
}

fn payment(transaction: &str) -> OrderPayment {
    OrderPayment {
        transaction_id: transaction.into(),
        amount: cny(990),
        paid_at: Some(Timestamp::from_micros(1_790_000_000_000_000)),
    }
}

fn part(minor: i64) -> OrderRefundRequest {
    OrderRefundRequest {
        minor: Some(minor),
        ..OrderRefundRequest::default()
    }
}

fn note(number: u32, status: RefundStatus) -> OrderStep {
    OrderStep::NoteRefund(RefundNote {
        number,
        status,
        channel_id: Some("503".into()),
        problem: None,
    })
}

const CLOSE: OrderStep = OrderStep::Close { channel_agrees: true };

impl Shop {
    fn new(late_payment: LatePayment) -> Self {
        let rules = Rules {
            late_payment,
            ..Rules::default()
        };
        Shop {
            books: PureSubject::new(rules),
            now: Timestamp::from_micros(1_790_000_000_000_000),
        }
    }

    fn run(&mut self, action: Action, key: Option<&str>) -> Result<Outcome, Refusal> {
        let command = Command {
            action,
            idempotency_key: key.map(str::to_owned),
        };
        self.books.run(&command, self.now)
    }

    fn keyed(&mut self, n: u128, step: OrderStep, key: Option<&str>) -> Result<Order, Refusal> {
        let command = OrderCommand {
            user_id: ALICE,
            order_no: number(n),
            step,
        };
        match self.run(Action::Order(command), key)? {
            Outcome::Order(order) => Ok(*order),
            other => panic!("{other:?}"),
        }
    }

    fn step(&mut self, n: u128, step: OrderStep) -> Result<Order, Refusal> {
        self.keyed(n, step, None)
    }

    /// A step of an order of another account.
    fn of_bob(&mut self, n: u128, step: OrderStep) -> Result<Order, Refusal> {
        let command = OrderCommand {
            user_id: BOB,
            order_no: number(n),
            step,
        };
        match self.run(Action::Order(command), None)? {
            Outcome::Order(order) => Ok(*order),
            other => panic!("{other:?}"),
        }
    }

    fn paid(late_payment: LatePayment) -> Self {
        let mut shop = Shop::new(late_payment);
        shop.step(1, OrderStep::Open(package())).unwrap();
        shop.step(1, OrderStep::Begin).unwrap();
        shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
        shop
    }

    fn balance(&mut self) -> Balance {
        self.books.balance(ALICE, self.now)
    }

    fn use_up(&mut self, amount: i64) -> Uuid {
        let Ok(Outcome::Consumption(held)) = self.run(Action::Consume(Consume::new(ALICE, amount)), None)
        else {
            panic!("{amount} credits are not there");
        };
        self.run(Action::Confirm(Confirm::all(held.id)), None).unwrap();
        held.id
    }

    fn entries(&self) -> usize {
        self.books.journals.get(&ALICE).map_or(0, Vec::len)
    }
}

/// The state that every step leads to from every state; `None`: refused, and nothing is written.
#[test]
fn every_step_in_every_state() {
    use OrderStatus::*;
    let prepare: [(OrderStatus, &[OrderStep]); 7] = [
        (Created, &[]),
        (Paying, &[OrderStep::Begin]),
        (Paid, &[OrderStep::Settle(payment("4200"))]),
        (Closed, &[CLOSE]),
        (
            Refunding,
            &[OrderStep::Settle(payment("4200")), OrderStep::Refund(part(330))],
        ),
        (
            Refunded,
            &[
                OrderStep::Settle(payment("4200")),
                OrderStep::Refund(part(990)),
                note(1, RefundStatus::Succeeded),
            ],
        ),
        (
            PartiallyRefunded,
            &[
                OrderStep::Settle(payment("4200")),
                OrderStep::Refund(part(330)),
                note(1, RefundStatus::Succeeded),
            ],
        ),
    ];
    let unasked = OrderStep::Close {
        channel_agrees: false,
    };
    let steps: [(&str, OrderStep, [Option<OrderStatus>; 7]); 10] = [
        ("open", OrderStep::Open(package()), [None; 7]),
        (
            "begin",
            OrderStep::Begin,
            [Some(Paying), Some(Paying), None, None, None, None, None],
        ),
        (
            "settle",
            OrderStep::Settle(payment("4200")),
            [
                Some(Paid),
                Some(Paid),
                Some(Paid),
                Some(Paid),
                Some(Refunding),
                Some(Refunded),
                Some(PartiallyRefunded),
            ],
        ),
        (
            "settle with another transaction",
            OrderStep::Settle(payment("4201")),
            [Some(Paid), Some(Paid), None, Some(Paid), None, None, None],
        ),
        (
            "close",
            CLOSE,
            [Some(Closed), Some(Closed), None, Some(Closed), None, None, None],
        ),
        (
            "close without asking",
            unasked,
            [Some(Closed), None, None, Some(Closed), None, None, None],
        ),
        (
            "refund all",
            OrderStep::Refund(OrderRefundRequest::default()),
            [
                None,
                None,
                Some(Refunding),
                None,
                Some(Refunding),
                Some(Refunded),
                Some(Refunding),
            ],
        ),
        (
            "refund a part",
            OrderStep::Refund(part(330)),
            [
                None,
                None,
                Some(Refunding),
                None,
                Some(Refunding),
                None,
                Some(PartiallyRefunded),
            ],
        ),
        (
            "refund 1 succeeded",
            note(1, RefundStatus::Succeeded),
            [
                None,
                None,
                None,
                None,
                Some(PartiallyRefunded),
                Some(Refunded),
                Some(PartiallyRefunded),
            ],
        ),
        (
            "refund 1 failed",
            note(1, RefundStatus::Failed),
            [None, None, None, None, Some(Paid), None, None],
        ),
    ];
    for (from, (status, before)) in prepare.iter().enumerate() {
        for (name, step, expected) in &steps {
            let mut shop = Shop::new(LatePayment::Settle);
            shop.step(1, OrderStep::Open(package())).unwrap();
            for each in *before {
                shop.step(1, each.clone()).unwrap();
            }
            assert_eq!(
                shop.books.state(ALICE).unwrap().orders[&number(1)].state.status,
                *status
            );
            let entries = shop.entries();
            let answer = shop.step(1, step.clone());
            let reached = answer.as_ref().ok().map(|order| order.state.status);
            assert_eq!(
                reached, expected[from],
                "{name} an order that is {status}: {answer:?}"
            );
            if answer.is_err() {
                assert_eq!(
                    shop.entries(),
                    entries,
                    "{name} an order that is {status} wrote something"
                );
            } else {
                let again = shop.step(1, step.clone());
                assert_eq!(again, answer, "{name} twice, an order that is {status}");
            }
        }
    }
}

#[test]
fn a_payment_brings_both_lots_once() {
    let mut shop = Shop::new(LatePayment::Settle);
    let order = shop.step(1, OrderStep::Open(package())).unwrap();
    assert_eq!(order.expires_at, shop.now.plus(Duration::from_secs(30 * 60)));
    shop.step(1, OrderStep::Begin).unwrap();
    for _ in 0..3 {
        let order = shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
        assert_eq!(order.state.status, OrderStatus::Paid);
        let state = shop.books.state(ALICE).unwrap();
        let (paid, bonus) = (
            &state.lots[&order.state.lot_id.unwrap()],
            &state.lots[&order.state.bonus_lot_id.unwrap()],
        );
        assert_eq!((paid.amount, bonus.amount, state.lots.len()), (100, 10, 2));
        assert_eq!((paid.source, bonus.source), (Source::Purchase, Source::Bonus));
        assert_eq!((paid.cost.clone(), bonus.cost.clone()), (Some(cny(990)), None));
        assert_eq!(paid.reference, Some(order.order_no.to_string()));
        let year = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(
            [paid.expires_at, bonus.expires_at],
            [Some(shop.now.plus(year)); 2]
        );
    }
    assert_eq!(shop.balance().available, 110);
    assert_eq!(shop.entries(), 4);
}

#[test]
fn a_payment_that_does_not_fit_settles_nothing() {
    let mut shop = Shop::new(LatePayment::Settle);
    shop.step(1, OrderStep::Open(package())).unwrap();
    for amount in [
        cny(989),
        cny(991),
        cny(0),
        Money {
            minor: 990,
            currency: "USD".into(),
        },
    ] {
        let wrong = OrderPayment {
            amount: amount.clone(),
            ..payment("4200")
        };
        let refusal = shop.step(1, OrderStep::Settle(wrong)).unwrap_err();
        assert_eq!(refusal.code(), "payment_verification", "{amount:?}: {refusal}");
        let is_yuan = amount.currency == "CNY";
        let problem = if is_yuan {
            "of another amount"
        } else {
            "in another currency"
        };
        assert!(refusal.to_string().contains(problem), "{refusal}");
    }
    let unknown = shop.step(2, OrderStep::Settle(payment("4200"))).unwrap_err();
    assert_eq!(unknown.to_string(), "no order 00000000000000000000000000000002");
    assert_eq!((shop.balance().available, shop.entries()), (0, 1));
}

#[test]
fn the_time_to_pay_is_over_for_us_and_not_for_the_payer() {
    let mut shop = Shop::new(LatePayment::Settle);
    shop.step(1, OrderStep::Open(package())).unwrap();
    shop.now = shop.now.plus(Duration::from_secs(30 * 60));
    let refusal = shop.step(1, OrderStep::Begin).unwrap_err();
    assert_eq!(refusal.code(), "invalid_state");
    // Money is money.
    shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
    assert_eq!(shop.balance().available, 110);
}

#[test]
fn a_late_payment_goes_back_where_the_rules_say_so() {
    let mut shop = Shop::new(LatePayment::Refund);
    shop.step(1, OrderStep::Open(package())).unwrap();
    shop.step(1, CLOSE).unwrap();
    let order = shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
    assert_eq!(order.state.status, OrderStatus::Refunding);
    assert_eq!(order.state.refunds[0].minor, 990);
    assert_eq!(shop.balance().available, 0);
    let order = shop.step(1, note(1, RefundStatus::Succeeded)).unwrap();
    assert_eq!(order.state.status, OrderStatus::Refunded);

    // Where the channel can't, the money buys what it was paid for.
    shop.step(2, OrderStep::Open(package())).unwrap();
    shop.step(2, CLOSE).unwrap();
    shop.step(2, OrderStep::Settle(payment("4201"))).unwrap();
    let order = shop.step(2, note(1, RefundStatus::Failed)).unwrap();
    assert_eq!(order.state.status, OrderStatus::Paid);
    assert_eq!(shop.balance().available, 110);
}

#[test]
fn refunds_take_back_in_proportion_and_nothing_twice() {
    let mut shop = Shop::paid(LatePayment::Settle);
    // A third, a third, and the rest; each is asked for twice.
    for (key, minor, left) in [("a", 330, 74), ("b", 330, 38), ("c", 330, 0)] {
        for _ in 0..2 {
            let order = shop.keyed(1, OrderStep::Refund(part(minor)), Some(key)).unwrap();
            assert_eq!(order.state.status, OrderStatus::Refunding);
            assert_eq!(shop.balance().available, left, "{key}");
        }
    }
    let more = shop.keyed(1, OrderStep::Refund(part(1)), Some("d")).unwrap_err();
    assert_eq!(more.code(), "invalid_state");
    for n in [2, 1, 3] {
        shop.step(1, note(n, RefundStatus::Succeeded)).unwrap();
    }
    let state = shop.books.state(ALICE).unwrap();
    assert_eq!(state.orders[&number(1)].state.status, OrderStatus::Refunded);
    assert_eq!((state.account.granted, state.account.available), (0, 0));
}

#[test]
fn a_further_part_needs_a_key() {
    let mut shop = Shop::paid(LatePayment::Settle);
    shop.step(1, OrderStep::Refund(part(330))).unwrap();
    shop.step(1, OrderStep::Refund(part(330))).unwrap();
    assert_eq!(shop.balance().available, 74);
    let refusal = shop.step(1, OrderStep::Refund(part(331))).unwrap_err();
    assert_eq!(refusal.code(), "invalid_state");
    let refusal = shop
        .keyed(1, OrderStep::Refund(part(661)), Some("k"))
        .unwrap_err();
    assert_eq!(refusal.code(), "validation");
}

#[test]
fn what_was_used_is_a_shortfall() {
    let mut shop = Shop::paid(LatePayment::Settle);
    shop.use_up(60);
    let all = OrderStep::Refund(OrderRefundRequest::default());
    let order = shop.step(1, all.clone()).unwrap();
    assert_eq!(order.state.refunds[0].shortfall(), 60);
    assert_eq!((shop.balance().available, shop.balance().debt), (0, 0));

    let mut shop = Shop::paid(LatePayment::Settle);
    shop.use_up(60);
    let owed = OrderRefundRequest {
        shortfall: Shortfall::Debt,
        ..OrderRefundRequest::default()
    };
    let order = shop.step(1, OrderStep::Refund(owed)).unwrap();
    assert_eq!(order.state.refunds[0].shortfall(), 60);
    assert_eq!((shop.balance().available, shop.balance().debt), (-60, 60));
    // The channel fails: nobody owes anything.
    shop.step(1, note(1, RefundStatus::Failed)).unwrap();
    assert_eq!((shop.balance().available, shop.balance().debt), (50, 0));
    shop.step(1, all).unwrap();
    assert_eq!(shop.balance().available, 0);
}

#[test]
fn a_failed_refund_gives_back_what_it_took() {
    let mut shop = Shop::paid(LatePayment::Settle);
    let job = shop.use_up(60);
    shop.step(1, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    // 30 come back to a lot that has a claim on them.
    shop.run(Action::Refund(Refund::part(job, 30)), None).unwrap();
    assert_eq!(shop.balance().available, 0);
    let order = shop.step(1, note(1, RefundStatus::Failed)).unwrap();
    assert_eq!(order.state.status, OrderStatus::Paid);
    let balance = shop.balance();
    assert_eq!((balance.available, balance.spent, balance.granted), (80, 30, 110));
    // And they are taken where they are now.
    let order = shop
        .step(1, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    assert_eq!(order.state.refunds[1].shortfall(), 30);
    let balance = shop.balance();
    assert_eq!((balance.available, balance.granted), (0, 30));
    // The last word about the first one has been said.
    let refusal = shop.step(1, note(1, RefundStatus::Succeeded)).unwrap_err();
    assert_eq!(refusal.code(), "invalid_state");
}

#[test]
fn credits_that_came_back_elsewhere_are_found() {
    let mut shop = Shop::paid(LatePayment::Settle);
    let job = shop.use_up(110);
    shop.now = shop.now.plus(Duration::from_secs(366 * 24 * 3600));
    // Its lots have expired, so the credits come back in lots of their own.
    shop.run(Action::Refund(Refund::all(job)), None).unwrap();
    assert_eq!(shop.balance().available, 110);
    let order = shop
        .step(1, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    assert_eq!(
        (shop.balance().available, order.state.refunds[0].shortfall()),
        (0, 0)
    );
    // Another order's credits are left alone.
    let mut shop = Shop::paid(LatePayment::Settle);
    shop.step(2, OrderStep::Open(package())).unwrap();
    shop.step(2, OrderStep::Settle(payment("4201"))).unwrap();
    shop.step(1, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    assert_eq!(shop.balance().available, 110);
}

#[test]
fn a_package_with_a_limit_is_bought_so_often() {
    let mut shop = Shop::new(LatePayment::Settle);
    let once = OpenOrder {
        purchase_limit: Some(1),
        ..package()
    };
    let open = OrderStep::Open(once);
    shop.keyed(1, open.clone(), Some("first")).unwrap();
    assert_eq!(shop.step(2, open.clone()).unwrap_err().code(), "validation");
    // The same request gets its order; another number was drawn for it.
    assert_eq!(
        shop.keyed(3, open.clone(), Some("first")).unwrap().order_no,
        number(1)
    );
    // An order that nobody paid in time does not count.
    shop.now = shop.now.plus(Duration::from_secs(30 * 60));
    shop.step(2, open.clone()).unwrap();
    shop.step(2, OrderStep::Settle(payment("4200"))).unwrap();
    assert_eq!(shop.step(4, open.clone()).unwrap_err().code(), "validation");
    shop.step(2, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    assert_eq!(shop.step(4, open.clone()).unwrap_err().code(), "validation");
    shop.step(2, note(1, RefundStatus::Succeeded)).unwrap();
    shop.step(4, open).unwrap();
}

fn once() -> OpenOrder {
    OpenOrder {
        purchase_limit: Some(1),
        ..package()
    }
}

/// Orders of a package that may be bought once, none of which counts any more.
fn over(late_payment: LatePayment, numbers: &[u128]) -> Shop {
    let mut shop = Shop::new(late_payment);
    for (i, n) in numbers.iter().enumerate() {
        shop.step(*n, OrderStep::Open(once())).unwrap();
        if i % 2 == 0 {
            shop.step(*n, CLOSE).unwrap();
        } else {
            shop.step(*n, OrderStep::Begin).unwrap();
            shop.now = shop.now.plus(Duration::from_secs(30 * 60));
        }
    }
    shop
}

#[test]
fn a_purchase_limit_holds_for_late_payments() {
    // In whatever order they are paid, and whether they were closed or their time was over.
    for paid in [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [2, 4, 1, 3, 5]] {
        let mut shop = over(LatePayment::Settle, &[1, 2, 3, 4, 5]);
        for (i, n) in paid.into_iter().enumerate() {
            let order = shop
                .step(n, OrderStep::Settle(payment(&format!("t{n}"))))
                .unwrap();
            if i == 0 {
                assert_eq!(
                    (order.state.status, order.state.lot_id.is_some()),
                    (OrderStatus::Paid, true)
                );
                continue;
            }
            assert_eq!(
                (order.state.status, order.state.lot_id),
                (OrderStatus::Refunding, None),
                "{n}"
            );
            let refund = &order.state.refunds[0];
            assert_eq!((refund.number, refund.minor, refund.lots.len()), (1, 990, 0));
            assert_eq!(
                refund.reason.as_deref(),
                Some("paid late, when the package could not be bought any more")
            );
            // Told once more, it is the same.
            assert_eq!(
                shop.step(n, OrderStep::Settle(payment(&format!("t{n}")))),
                Ok(order)
            );
        }
        assert_eq!(shop.balance().available, 110);
    }
}

#[test]
fn a_late_payment_finds_its_place_anew() {
    // Another order has taken the place, and can still be paid: the late one goes back.
    let mut shop = over(LatePayment::Settle, &[1]);
    shop.step(2, OrderStep::Open(once())).unwrap();
    let late = shop.step(1, OrderStep::Settle(payment("t1"))).unwrap();
    assert_eq!(late.state.status, OrderStatus::Refunding);
    // The one that is in time has its place.
    shop.step(1, note(1, RefundStatus::Succeeded)).unwrap();
    let in_time = shop.step(2, OrderStep::Settle(payment("t2"))).unwrap();
    assert_eq!(in_time.state.status, OrderStatus::Paid);
    assert_eq!(shop.balance().available, 110);

    // Late, and there is room: it is settled, or sent back because all late payments are.
    for (policy, status) in [
        (LatePayment::Settle, OrderStatus::Paid),
        (LatePayment::Refund, OrderStatus::Refunding),
    ] {
        let mut shop = over(policy, &[1]);
        let order = shop.step(1, OrderStep::Settle(payment("t1"))).unwrap();
        assert_eq!(order.state.status, status);
    }

    // The limit that counts is the order's own, and an order without one has none.
    let mut shop = Shop::new(LatePayment::Settle);
    for n in [1, 2] {
        shop.step(n, OrderStep::Open(package())).unwrap();
        shop.step(n, CLOSE).unwrap();
        let order = shop
            .step(n, OrderStep::Settle(payment(&format!("t{n}"))))
            .unwrap();
        assert_eq!(order.state.status, OrderStatus::Paid);
    }

    // Where the channel can't send it back, the money buys what it was paid for.
    let mut shop = over(LatePayment::Settle, &[1, 2]);
    shop.step(1, OrderStep::Settle(payment("t1"))).unwrap();
    shop.step(2, OrderStep::Settle(payment("t2"))).unwrap();
    let order = shop.step(2, note(1, RefundStatus::Failed)).unwrap();
    assert_eq!(
        (order.state.status, shop.balance().available),
        (OrderStatus::Paid, 220)
    );
}

#[test]
fn a_late_order_that_costs_nothing_does_not_pass_the_limit() {
    let free = OpenOrder {
        price: cny(0),
        ..once()
    };
    let nothing = |transaction: &str| {
        OrderStep::Settle(OrderPayment {
            amount: cny(0),
            ..payment(transaction)
        })
    };
    let mut shop = Shop::new(LatePayment::Refund);
    for n in [1, 2] {
        shop.step(n, OrderStep::Open(free.clone())).unwrap();
        shop.step(n, CLOSE).unwrap();
    }
    shop.step(1, nothing("t1")).unwrap();
    let refusal = shop.step(2, nothing("t2")).unwrap_err();
    assert_eq!(refusal.code(), "invalid_state", "{refusal}");
    assert_eq!(shop.balance().available, 110);
}

#[test]
fn one_payment_settles_one_order() {
    let mut shop = Shop::new(LatePayment::Settle);
    for n in [1, 2] {
        shop.step(n, OrderStep::Open(package())).unwrap();
    }
    shop.of_bob(3, OrderStep::Open(package())).unwrap();
    shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
    // Not another order of the same account, nor one of another.
    let refusals = [
        shop.step(2, OrderStep::Settle(payment("4200"))).unwrap_err(),
        shop.of_bob(3, OrderStep::Settle(payment("4200"))).unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code(), "payment_verification");
        let expected = format!("4200 of order {}", number(1));
        assert!(
            matches!(&refusal, Refusal::WrongPayment { value, .. } if *value == expected),
            "{refusal}"
        );
    }
    // The first order may hear of it again, another channel may use the same name, and another payment settles the second.
    shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
    let elsewhere = OpenOrder {
        channel: "alipay".into(),
        ..package()
    };
    shop.of_bob(4, OrderStep::Open(elsewhere)).unwrap();
    shop.of_bob(4, OrderStep::Settle(payment("4200"))).unwrap();
    shop.step(2, OrderStep::Settle(payment("4201"))).unwrap();

    // One that was sent back has had its payment.
    let mut shop = Shop::new(LatePayment::Refund);
    shop.step(1, OrderStep::Open(package())).unwrap();
    shop.step(1, CLOSE).unwrap();
    shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
    shop.of_bob(3, OrderStep::Open(package())).unwrap();
    let refusal = shop.of_bob(3, OrderStep::Settle(payment("4200"))).unwrap_err();
    assert_eq!(refusal.code(), "payment_verification");
}

/// What nobody can see would make another payment of it.
#[test]
fn a_payment_has_one_way_to_be_written() {
    let mut shop = Shop::new(LatePayment::Settle);
    shop.step(1, OrderStep::Open(package())).unwrap();
    for unseen in [
        "",
        " ",
        " 4200",
        "4200 ",
        "4200\n",
        "42\t00",
        "a  b",
        "4200\u{200b}",
        "\u{feff}4200",
        "42\u{202e}00",
        "42\u{a0}00",
        "42\u{3000}00",
        "42\u{0}00",
    ] {
        match shop.step(1, OrderStep::Settle(payment(unseen))) {
            Err(Refusal::Invalid { field, .. }) => assert_eq!(field, "transaction_id", "{unseen:?}"),
            other => panic!("{unseen:?}: {other:?}"),
        }
    }
    shop.step(1, OrderStep::Settle(payment("网银 转账-42 00")))
        .unwrap();
}

#[test]
fn so_many_orders_wait_for_a_payment_at_once() {
    let mut shop = Shop::new(LatePayment::Settle);
    for n in 1..=20 {
        shop.step(n, OrderStep::Open(package())).unwrap();
    }
    shop.step(1, OrderStep::Begin).unwrap();
    let entries = shop.entries();
    let refusal = shop.step(21, OrderStep::Open(package())).unwrap_err();
    assert_eq!(refusal, Refusal::TooManyOrders { open: 20, limit: 20 });
    assert_eq!((refusal.code(), shop.entries()), ("invalid_state", entries));
    // Another account has its own; one that is paid or closed waits no more; nor does one whose time is over.
    shop.of_bob(22, OrderStep::Open(package())).unwrap();
    shop.step(1, OrderStep::Settle(payment("t1"))).unwrap();
    shop.step(21, OrderStep::Open(package())).unwrap();
    shop.step(2, CLOSE).unwrap();
    shop.step(23, OrderStep::Open(package())).unwrap();
    shop.step(24, OrderStep::Open(package())).unwrap_err();
    shop.now = shop.now.plus(Duration::from_secs(30 * 60));
    shop.step(24, OrderStep::Open(package())).unwrap();
}

#[test]
fn a_reference_that_is_an_order_s_number_makes_no_lot_the_order_s() {
    let mut shop = Shop::new(LatePayment::Settle);
    // Credits of a day with the number of an order, which come back in a lot of their own.
    let granted = Grant::new(ALICE, 50, Source::Purchase)
        .priority(1)
        .expires_at(shop.now.plus(Duration::from_secs(24 * 3600)))
        .reference(number(1).to_string());
    shop.run(Action::Grant(granted), None).unwrap();
    let job = shop.use_up(50);
    shop.now = shop.now.plus(Duration::from_secs(2 * 24 * 3600));
    shop.run(Action::Refund(Refund::all(job)), None).unwrap();
    shop.step(1, OrderStep::Open(package())).unwrap();
    shop.step(1, OrderStep::Settle(payment("4200"))).unwrap();
    shop.use_up(110);
    assert_eq!(shop.balance().available, 50);
    let order = shop
        .step(1, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    assert_eq!(
        (order.state.refunds[0].shortfall(), shop.balance().available),
        (110, 50)
    );
}

/// Credits that moved twice are still known by where they were granted.
#[test]
fn credits_that_moved_twice_are_found() {
    let mut shop = Shop::paid(LatePayment::Settle);
    for _ in 0..2 {
        let job = shop.use_up(110);
        shop.now = shop.now.plus(Duration::from_secs(366 * 24 * 3600));
        shop.run(Action::Refund(Refund::all(job)), None).unwrap();
    }
    assert_eq!(shop.balance().available, 110);
    let order = shop
        .step(1, OrderStep::Refund(OrderRefundRequest::default()))
        .unwrap();
    assert_eq!(
        (shop.balance().available, order.state.refunds[0].shortfall()),
        (0, 0)
    );
}

#[test]
fn bad_orders_are_refused_by_field() {
    let mut shop = Shop::new(LatePayment::Settle);
    let cases: [(&str, OpenOrder); 8] = [
        (
            "channel",
            OpenOrder {
                channel: "WeChat".into(),
                ..package()
            },
        ),
        (
            "channel",
            OpenOrder {
                channel: String::new(),
                ..package()
            },
        ),
        (
            "subject",
            OpenOrder {
                subject: " ".into(),
                ..package()
            },
        ),
        (
            "price",
            OpenOrder {
                price: cny(-1),
                ..package()
            },
        ),
        (
            "credits",
            OpenOrder {
                credits: 0,
                ..package()
            },
        ),
        (
            "bonus_credits",
            OpenOrder {
                bonus_credits: -1,
                ..package()
            },
        ),
        (
            "credits",
            OpenOrder {
                credits: (1 << 53) - 1,
                ..package()
            },
        ),
        (
            "validity_days",
            OpenOrder {
                validity_days: Some(0),
                ..package()
            },
        ),
    ];
    for (field, open) in cases {
        match shop.step(1, OrderStep::Open(open)) {
            Err(Refusal::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    assert_eq!(shop.entries(), 0);
}

#[test]
fn numbers_are_read_exactly_as_they_are_written() {
    let text = number(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef).to_string();
    assert_eq!(text, "0123456789abcdef0123456789abcdef");
    assert_eq!(
        text.parse(),
        Ok(number(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef))
    );
    for wrong in [
        "0123456789ABCDEF0123456789ABCDEF",
        "01234567-89ab-cdef-0123-456789abcdef",
        "{01234567-89ab-cdef-0123-456789abcdef}",
        "0123456789abcdef0123456789abcde",
        "",
    ] {
        assert!(wrong.parse::<OrderNo>().is_err(), "{wrong}");
    }
    let mut shop = Shop::paid(LatePayment::Settle);
    let order = shop.step(1, OrderStep::Refund(part(1))).unwrap();
    let refund_no = order.state.refunds[0].refund_no(order.order_no);
    assert_eq!(refund_no, format!("{}R1", order.order_no));
    assert_eq!(order.refund(&refund_no), order.state.refunds.first());
    for wrong in [
        "",
        "R1",
        "00000000000000000000000000000001R01",
        "00000000000000000000000000000002R1",
    ] {
        assert_eq!(order.refund(wrong), None, "{wrong}");
    }
}

/// What can happen to three orders of an account and to its credits.
#[derive(Debug, Clone)]
enum Happening {
    Order(u128, u8, i64),
    Use(i64),
    Return(usize, i64),
    Adjust(i64),
    Time(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (1..4_u128, 0..10_u8, 1..1000_i64).prop_map(|(n, what, minor)| Happening::Order(n, what, minor)),
        3 => (1..120_i64).prop_map(Happening::Use),
        2 => (any::<usize>(), 1..120_i64).prop_map(|(which, amount)| Happening::Return(which, amount)),
        1 => (-50..50_i64).prop_map(Happening::Adjust),
        1 => prop_oneof![Just(60), Just(40 * 60), Just(200 * 24 * 3600_u64)].prop_map(Happening::Time),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: nothing panics, the entries derive the state, and what an order brought is what its lots were
    /// granted with; no refund takes more than that, and none that failed has taken anything.
    #[test]
    fn orders_live_as_they_like(happenings in prop::collection::vec(happening(), 1..60), refund_late in any::<bool>()) {
        let late = if refund_late { LatePayment::Refund } else { LatePayment::Settle };
        let mut shop = Shop::new(late);
        let mut jobs = Vec::new();
        for (i, happening) in happenings.iter().enumerate() {
            match happening {
                Happening::Order(n, what, minor) => {
                    let which = u32::try_from(minor % 4).unwrap() + 1;
                    let transaction = format!("t{n}");
                    let step = match what {
                        0 | 1 => OrderStep::Open(package()),
                        2 => OrderStep::Begin,
                        3 | 4 => OrderStep::Settle(payment(&transaction)),
                        5 => CLOSE,
                        6 => OrderStep::Refund(OrderRefundRequest {
                            shortfall: if minor % 2 == 0 { Shortfall::Debt } else { Shortfall::Forgive },
                            ..part(*minor)
                        }),
                        7 => OrderStep::Refund(OrderRefundRequest::default()),
                        8 => note(which, RefundStatus::Succeeded),
                        _ => note(which, RefundStatus::Failed),
                    };
                    let _ = shop.keyed(*n, step, (*what == 6).then(|| format!("k{i}")).as_deref());
                }
                Happening::Use(amount) => {
                    if let Ok(Outcome::Consumption(held)) = shop.run(Action::Consume(Consume::new(ALICE, *amount)), None) {
                        jobs.push(held.id);
                        let _ = shop.run(Action::Confirm(Confirm::all(held.id)), None);
                    }
                }
                Happening::Return(which, amount) => {
                    if let Some(job) = jobs.get(which % jobs.len().max(1)) {
                        let _ = shop.run(Action::Refund(Refund::part(*job, *amount)), Some(&format!("k{i}")));
                    }
                }
                Happening::Adjust(amount) => {
                    let _ = shop.run(Action::Adjust(Adjust::new(ALICE, *amount, "because")), None);
                }
                Happening::Time(seconds) => shop.now = shop.now.plus(Duration::from_secs(*seconds)),
            }
            let balance = shop.balance();
            let state = shop.books.matured(ALICE, shop.now);
            let remaining: i64 = state.lots.values().map(|lot| lot.remaining).sum();
            prop_assert_eq!(state.account.available, remaining - state.account.debt);
            prop_assert!(balance.granted >= 0 && balance.spent >= 0 && balance.debt >= 0);
            for order in state.orders.values() {
                let granted = [(order.state.lot_id, order.credits), (order.state.bonus_lot_id, order.bonus_credits)];
                for (lot_id, credits) in granted {
                    let Some(lot_id) = lot_id else { continue };
                    prop_assert_eq!(state.lots[&lot_id].amount, credits);
                    let taken: i64 = order.state.refunds.iter()
                        .filter(|refund| refund.status != RefundStatus::Failed)
                        .flat_map(|refund| &refund.lots)
                        .filter(|lot| lot.lot_id == lot_id)
                        .map(|lot| lot.taken + lot.forgiven + lot.debt)
                        .sum();
                    prop_assert!(taken <= credits, "{} of {} taken back", taken, credits);
                }
                prop_assert!(order.refunded() <= order.price.minor);
                let settled = matches!(order.state.status, OrderStatus::Paid | OrderStatus::PartiallyRefunded);
                prop_assert!(!settled || order.state.lot_id.is_some());
            }
        }
    }
}
