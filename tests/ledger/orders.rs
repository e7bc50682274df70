//! Orders on every database, through a channel that a test can make do anything.

use crate::child::ALICE;
use crate::database::{self, Database, Kind, START, clock};
use crate::on_every_database;
use jointo_credits::payments::{
    Asking, BillLine, BillLines, Channel, Checkout, Headers, Notice, Pace, Payment, Prepared, RefundNotice,
    RefundStanding, Reply, Standing,
};
use jointo_credits::{
    Consume, Error, Grant, LatePayment, Ledger, ManualClock, Money, NotificationEvent, Order, OrderFilter,
    OrderNo, OrderPayment, OrderRefund, OrderRefundRequest, OrderStatus, RefundStatus, Refusal, Result,
    SavePackage, Source, StatementDifference, Timestamp, Written, pricing::parse_decimal,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

/// How a stand-in channel behaves, and what it has.
#[derive(Default)]
struct Bank {
    /// What it knows of orders.
    orders: BTreeMap<String, Standing>,
    refunds: BTreeMap<String, RefundStanding>,
    /// What it answers to a new refund; succeeds where `None`.
    refunds_end: Option<RefundStanding>,
    /// It refuses refunds.
    refuses: bool,
    /// Nobody can reach it.
    is_away: bool,
    /// It takes questions and never answers.
    hangs: bool,
    /// What it was asked.
    asked: Vec<String>,
    /// Questions that it has taken and not answered, and the most that it had.
    under_way: usize,
    most_under_way: usize,
    /// It answers none before it has had so many under way.
    answers_from: usize,
}

#[derive(Clone, Default)]
struct StandIn(Arc<Mutex<Bank>>);

fn cny(minor: i64) -> Money {
    Money {
        minor,
        currency: "CNY".into(),
    }
}

fn payment(order: &Order) -> Payment {
    Payment {
        order_no: order.order_no.to_string(),
        transaction_id: format!("t-{}", order.order_no),
        amount: order.price.clone(),
        paid_at: Some(START),
    }
}

impl StandIn {
    fn bank<T>(&self, f: impl FnOnce(&mut Bank) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn pays(&self, order: &Order) {
        self.bank(|bank| {
            bank.orders
                .insert(order.order_no.to_string(), Standing::Paid(payment(order)))
        });
    }

    fn ask<'a, T: Send + 'a>(
        &'a self,
        what: String,
        f: impl FnOnce(&mut Bank) -> Result<T>,
    ) -> Asking<'a, T> {
        let answer = self.bank(|bank| {
            bank.asked.push(what);
            if bank.hangs {
                return Ok(None);
            }
            bank.under_way += 1;
            bank.most_under_way = bank.most_under_way.max(bank.under_way);
            if bank.is_away {
                return Err(Error::Unavailable {
                    outcome: Written::Unknown,
                    reason: "the bank is away".into(),
                    remedy: "wait".into(),
                });
            }
            f(bank).map(Some)
        });
        let Some(answer) = answer.transpose() else {
            return Box::pin(std::future::pending());
        };
        Box::pin(async move {
            while self.bank(|bank| bank.most_under_way < bank.answers_from) {
                tokio::task::yield_now().await;
            }
            self.bank(|bank| bank.under_way -= 1);
            answer
        })
    }

    fn notice(order: &Order, refund: &OrderRefund, standing: RefundStanding) -> RefundNotice {
        RefundNotice {
            order_no: order.order_no.to_string(),
            refund_no: refund.refund_no(order.order_no),
            channel_id: Some("c-1".into()),
            amount: Some(cny(refund.minor)),
            standing,
        }
    }
}

/// `990` or `990USD`.
fn fen(text: &str) -> Money {
    let digits = text.trim_end_matches(char::is_alphabetic);
    Money {
        currency: text
            .get(digits.len()..)
            .filter(|c| !c.is_empty())
            .unwrap_or("CNY")
            .into(),
        ..cny(digits.parse().unwrap())
    }
}

impl Channel for StandIn {
    fn name(&self) -> &str {
        "bank"
    }

    fn pace(&self) -> Pace {
        let usual = Pace::default();
        let patience = if self.bank(|bank| bank.hangs) {
            Duration::from_millis(5)
        } else {
            usual.patience
        };
        Pace { patience, ..usual }
    }

    fn check(&self, price: &Money) -> Result<()> {
        if price.currency == "CNY" {
            return Ok(());
        }
        Err(Error::Refused(Refusal::Invalid {
            field: "currency",
            problem: "is not taken",
            limit: "CNY".into(),
            value: price.currency.clone(),
        }))
    }

    fn prepare<'a>(&'a self, order: &'a Order, _: &'a Checkout, _: Timestamp) -> Asking<'a, Prepared> {
        let number = order.order_no.to_string();
        self.ask(format!("prepare {number}"), |bank| {
            if *bank.orders.entry(number.clone()).or_insert(Standing::Unpaid) != Standing::Unpaid {
                return Err(Error::PaymentChannel {
                    channel: "bank".into(),
                    reason: "ORDERPAID".into(),
                    message: "订单已支付".into(),
                });
            }
            Ok(Prepared {
                parameters: [("code_url".to_owned(), format!("bank://{number}"))].into(),
                expires_at: None,
            })
        })
    }

    fn query<'a>(&'a self, order: &'a Order, _: Timestamp) -> Asking<'a, Standing> {
        let number = order.order_no.to_string();
        self.ask(format!("query {number}"), |bank| {
            Ok(bank.orders.get(&number).cloned().unwrap_or(Standing::Unknown))
        })
    }

    fn close<'a>(&'a self, order: &'a Order, _: Timestamp) -> Asking<'a, Standing> {
        let number = order.order_no.to_string();
        self.ask(format!("close {number}"), |bank| {
            let standing = bank.orders.entry(number.clone()).or_insert(Standing::Closed);
            if *standing == Standing::Unpaid {
                *standing = Standing::Closed;
            }
            Ok(standing.clone())
        })
    }

    fn refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        _: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        let number = refund.refund_no(order.order_no);
        self.ask(format!("refund {number}"), |bank| {
            if bank.refuses {
                return Err(Error::PaymentChannel {
                    channel: "bank".into(),
                    reason: "NOT_ENOUGH".into(),
                    message: "余额不足".into(),
                });
            }
            let end = bank.refunds_end.clone().unwrap_or(RefundStanding::Succeeded);
            bank.refunds.insert(number.clone(), end.clone());
            Ok(StandIn::notice(order, refund, end))
        })
    }

    fn query_refund<'a>(
        &'a self,
        order: &'a Order,
        refund: &'a OrderRefund,
        _: Timestamp,
    ) -> Asking<'a, RefundNotice> {
        let number = refund.refund_no(order.order_no);
        self.ask(format!("query {number}"), |bank| {
            let standing = bank
                .refunds
                .get(&number)
                .cloned()
                .unwrap_or(RefundStanding::Unknown);
            Ok(StandIn::notice(order, refund, standing))
        })
    }

    /// `paid NUMBER AMOUNT TRANSACTION`, `refund NUMBER REFUND AMOUNT STATUS`, or something else; signed with "ours".
    fn notification(&self, headers: &Headers, body: &[u8], _: Timestamp) -> Result<Notice> {
        if headers.get("signature") != Some("ours") {
            return Err(Error::PaymentVerification {
                channel: "bank".into(),
                problem: "its signature is not the bank's".into(),
            });
        }
        let words: Vec<String> = String::from_utf8_lossy(body)
            .split(' ')
            .map(str::to_owned)
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Ok(match words.as_slice() {
            ["paid", order_no, amount, transaction_id] => Notice::Paid(Payment {
                order_no: (*order_no).into(),
                transaction_id: (*transaction_id).into(),
                amount: fen(amount),
                paid_at: None,
            }),
            ["refund", order_no, refund_no, amount, status] => Notice::Refund(RefundNotice {
                order_no: (*order_no).into(),
                refund_no: (*refund_no).into(),
                channel_id: None,
                amount: Some(fen(amount)),
                standing: match *status {
                    "succeeded" => RefundStanding::Succeeded,
                    "failed" => RefundStanding::Failed {
                        problem: "账户注销".into(),
                    },
                    problem => RefundStanding::Pending {
                        problem: Some(problem.into()),
                    },
                },
            }),
            event => Notice::Other {
                order_no: None,
                event: event.join(" "),
            },
        })
    }

    fn reply(&self, taken: bool) -> Reply {
        Reply {
            status: if taken { 204 } else { 500 },
            content_type: "text/plain",
            body: String::new(),
        }
    }

    /// `NUMBER TRANSACTION AMOUNT [REFUND]`, a line each.
    fn read_bill<'a>(&'a self, bill: &'a [u8]) -> Result<BillLines<'a>> {
        let text = std::str::from_utf8(bill).unwrap();
        let read = |(at, line): (usize, &str)| {
            let words: Vec<&str> = line.split(' ').collect();
            BillLine {
                line: at as u64 + 1,
                order_no: words[0].into(),
                transaction_id: words[1].into(),
                amount: cny(words[2].parse().unwrap()),
                refund_no: words.get(3).map(|refund| (*refund).to_owned()),
                at: None,
            }
        };
        Ok(Box::new(text.lines().enumerate().map(move |line| Ok(read(line)))))
    }
}

/// A ledger with the stand-in and a package of 9.90 for 100 and 10 credits.
struct Shop {
    ledger: Ledger,
    bank: StandIn,
    clock: ManualClock,
    package_id: Uuid,
}

impl Shop {
    async fn open(database: &Database, late: LatePayment) -> Self {
        let (bank, clock) = (StandIn::default(), clock());
        let settings = database
            .settings()
            .clock(clock.clone())
            .channel(bank.clone())
            .late_payment(late);
        let ledger = database.open(settings).await;
        let package = SavePackage::new("入门套餐", parse_decimal("9.90").unwrap(), 100).bonus_credits(10);
        let package_id = ledger.save_package(package).await.unwrap().package_id;
        Shop {
            ledger,
            bank,
            clock,
            package_id,
        }
    }

    async fn order(&self, key: Option<&str>) -> Order {
        self.ledger
            .create_order(ALICE, self.package_id, "bank", key)
            .await
            .unwrap()
    }

    /// An order that the bank knows.
    async fn paying(&self) -> Order {
        let order = self.order(None).await;
        let prepared = self
            .ledger
            .pay_order(order.order_no, &Checkout::default())
            .await
            .unwrap();
        assert_eq!(
            prepared.parameters["code_url"],
            format!("bank://{}", order.order_no)
        );
        self.ledger.order(order.order_no).await.unwrap()
    }

    async fn paid(&self) -> Order {
        let order = self.paying().await;
        self.bank.pays(&order);
        self.told(&format!("paid {} 990 t-{}", order.order_no, order.order_no))
            .await
            .unwrap()
            .unwrap()
    }

    /// The bank notifies us, and means it.
    async fn told(&self, body: &str) -> Result<Option<Order>> {
        let headers = Headers::new([("Signature", "ours")]);
        let told = self
            .ledger
            .handle_notification("bank", &headers, body.as_bytes())
            .await;
        told.map(|notification| notification.order)
    }

    async fn available(&self) -> i64 {
        self.ledger.balance(ALICE).await.unwrap().available
    }

    async fn close(self) {
        let verification = self.ledger.verify().await.unwrap();
        assert!(verification.is_clean(), "{verification:#?}");
        assert!(self.ledger.trial_balance().await.unwrap().is_balanced());
        self.ledger.close().await;
    }
}

fn code(error: &Error) -> &'static str {
    error.code()
}

on_every_database! {
    async fn a_package_is_bought(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let order = shop.order(Some("checkout-1")).await;
        assert_eq!((order.state.status, &order.price, order.credits, order.bonus_credits), (OrderStatus::Created, &cny(990), 100, 10));
        // The package changes and goes; what was ordered is ordered.
        let mut dearer = SavePackage::new("入门套餐", parse_decimal("99.90").unwrap(), 1).active(false);
        dearer.package_id = Some(shop.package_id);
        shop.ledger.save_package(dearer).await.unwrap();
        assert_eq!(shop.order(Some("checkout-1")).await, order);
        let refused = shop.ledger.create_order(ALICE, shop.package_id, "bank", None).await.unwrap_err();
        assert_eq!(code(&refused), "validation");

        for _ in 0..2 {
            shop.ledger.pay_order(order.order_no, &Checkout::default()).await.unwrap();
        }
        assert_eq!(shop.ledger.order(order.order_no).await.unwrap().state.status, OrderStatus::Paying);
        shop.clock.advance(Duration::from_secs(60));
        for _ in 0..3 {
            let paid = shop.told(&format!("paid {} 990 4200", order.order_no)).await.unwrap().unwrap();
            assert_eq!(paid.state.status, OrderStatus::Paid);
        }
        assert_eq!(shop.available().await, 110);
        let trial = shop.ledger.trial_balance().await.unwrap();
        assert_eq!((trial.counter_accounts["issued.purchase"], trial.counter_accounts["issued.bonus"]), (-100, -10));
        let listed = shop.ledger.orders(OrderFilter { user_id: Some(ALICE), ..OrderFilter::default() }).await.unwrap();
        assert_eq!((listed.items.len(), listed.next_cursor), (1, None));
        assert_eq!(shop.ledger.notification_reply("bank", true).unwrap().status, 204);
        shop.close().await;
    }
}

on_every_database! {
    async fn what_a_channel_says_is_not_always_true(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let (order, paid) = (shop.paying().await, shop.paid().await);
        let (mine, other) = (order.order_no, paid.order_no);
        let number = OrderNo(Uuid::from_u128(5));
        for (body, expected) in [
            (format!("paid {mine} 989 4200"), "payment_verification"),
            (format!("paid {mine} 0 4200"), "payment_verification"),
            (format!("paid {other} 990 another"), "payment_verification"),
            (format!("paid {number} 990 4200"), "not_found"),
            (format!("paid {}- 990 4200", &mine.to_string()[1..]), "payment_verification"),
            (format!("paid {} 990 4200", mine.to_string().to_uppercase()), "payment_verification"),
            (format!("refund {mine} {mine}R1 990 succeeded"), "payment_verification"),
            (format!("refund {other} {mine}R1 990 succeeded"), "payment_verification"),
        ] {
            assert_eq!(code(&shop.told(&body).await.unwrap_err()), expected, "{body}");
        }
        let forged = shop.ledger.handle_notification("bank", &Headers::default(), format!("paid {mine} 990 4200").as_bytes()).await;
        assert_eq!(code(&forged.unwrap_err()), "payment_verification");
        let long = vec![b'x'; 256 * 1024 + 1];
        assert_eq!(code(&shop.ledger.handle_notification("bank", &Headers::new([("signature", "ours")]), &long).await.unwrap_err()), "payment_verification");
        assert_eq!(code(&shop.ledger.handle_notification("manual", &Headers::default(), b"").await.unwrap_err()), "payment_verification");
        assert_eq!(code(&shop.ledger.handle_notification("paypal", &Headers::default(), b"").await.unwrap_err()), "validation");
        let ignored = shop.ledger.handle_notification("bank", &Headers::new([("SIGNATURE", "ours")]), b"hello").await.unwrap();
        assert_eq!((ignored.event, ignored.order), (NotificationEvent::Ignored, None));
        // An order of another channel.
        let by_hand = shop.ledger.create_order(ALICE, shop.package_id, "manual", None).await.unwrap();
        let error = shop.told(&format!("paid {} 990 4200", by_hand.order_no)).await.unwrap_err();
        assert_eq!(code(&error), "payment_verification");
        assert_eq!(shop.available().await, 110);
        assert_eq!(shop.ledger.order(mine).await.unwrap(), order);
        shop.close().await;
    }
}

on_every_database! {
    async fn a_lost_notification_is_found_out(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let (paid, unpaid, unknown, created) = (shop.paying().await, shop.paying().await, shop.paying().await, shop.order(None).await);
        shop.bank.pays(&paid);
        shop.bank.bank(|bank| bank.orders.remove(&unknown.order_no.to_string()));
        // Too young to be asked about.
        let none = shop.ledger.reconcile_orders(Duration::from_secs(60)).await.unwrap();
        assert_eq!(none.orders, 0);
        shop.clock.advance(Duration::from_secs(61));
        let first = shop.ledger.reconcile_orders(Duration::from_secs(60)).await.unwrap();
        assert_eq!((first.orders, first.settled, first.closed, first.failed), (4, 1, 0, 0));
        assert_eq!(shop.available().await, 110);
        shop.clock.advance(Duration::from_secs(30 * 60));
        shop.bank.bank(|bank| bank.is_away = true);
        let away = shop.ledger.reconcile_orders(Duration::from_secs(60)).await.unwrap();
        assert_eq!((away.orders, away.closed, away.failed), (3, 1, 2));
        assert!(away.problems.iter().all(|(_, error)| code(error) == "unavailable"));
        shop.bank.bank(|bank| bank.is_away = false);
        let last = shop.ledger.reconcile_orders(Duration::from_secs(60)).await.unwrap();
        assert_eq!((last.orders, last.closed, last.failed), (2, 2, 0));
        for order in [&unpaid, &unknown, &created] {
            assert_eq!(shop.ledger.order(order.order_no).await.unwrap().state.status, OrderStatus::Closed);
        }
        let nothing = shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap();
        assert_eq!(nothing.orders, 0);
        shop.close().await;
    }
}

on_every_database! {
    async fn money_that_was_sent_back_by_hand_buys_nothing(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        // Paid, and the notification is lost; the customer complains, and somebody sends the money back at the channel.
        let (first, second) = (shop.paying().await, shop.paying().await);
        for order in [&first, &second] {
            shop.bank.bank(|bank| bank.orders.insert(order.order_no.to_string(), Standing::Returned));
        }
        for _ in 0..2 {
            let found = shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap();
            assert_eq!((found.orders, found.settled, found.closed, found.failed), (2, 0, 0, 2));
            assert!(found.problems.iter().all(|(_, error)| code(error) == "invalid_state"));
            shop.clock.advance(Duration::from_secs(31 * 60));
        }
        assert_eq!(shop.available().await, 0);
        // It is for people to say what is to become of them.
        let closed = shop.ledger.close_order(first.order_no).await.unwrap();
        assert_eq!(closed.state.status, OrderStatus::Closed);
        let by_hand = OrderPayment { transaction_id: "4200".into(), amount: second.price.clone(), paid_at: None };
        assert_eq!(shop.ledger.settle_order(second.order_no, by_hand).await.unwrap().state.status, OrderStatus::Paid);
        assert_eq!(shop.available().await, 110);
        assert_eq!(shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap().orders, 0);
        shop.close().await;
    }
}

on_every_database! {
    async fn a_payment_that_comes_too_late(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let order = shop.paying().await;
        let closed = shop.ledger.close_order(order.order_no).await.unwrap();
        assert_eq!(closed.state.status, OrderStatus::Closed);
        assert_eq!(code(&shop.ledger.pay_order(order.order_no, &Checkout::default()).await.unwrap_err()), "invalid_state");
        shop.told(&format!("paid {} 990 4200", order.order_no)).await.unwrap();
        assert_eq!(shop.available().await, 110);
        // Nor can it be paid twice: the channel says no, and then why.
        let twice = shop.paying().await;
        shop.bank.pays(&twice);
        let refused = shop.ledger.pay_order(twice.order_no, &Checkout::default()).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refusal::InvalidOrder { state: OrderStatus::Paid, .. })), "{refused}");
        assert_eq!(shop.available().await, 220);
        // Who closes what was just paid is told so.
        let raced = shop.paying().await;
        shop.bank.pays(&raced);
        assert_eq!(shop.ledger.close_order(raced.order_no).await.unwrap().state.status, OrderStatus::Paid);
        assert_eq!(code(&shop.ledger.close_order(raced.order_no).await.unwrap_err()), "invalid_state");
        shop.close().await;
    }
}

on_every_database! {
    async fn a_late_payment_is_sent_back(database: Database) {
        let shop = Shop::open(&database, LatePayment::Refund).await;
        let order = shop.paying().await;
        shop.ledger.close_order(order.order_no).await.unwrap();
        let late = shop.told(&format!("paid {} 990 4200", order.order_no)).await.unwrap().unwrap();
        assert_eq!(late.state.status, OrderStatus::Refunding);
        let done = shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap();
        assert_eq!((done.orders, done.refunds, done.failed), (1, 1, 0));
        assert_eq!(shop.ledger.order(order.order_no).await.unwrap().state.status, OrderStatus::Refunded);
        assert_eq!(shop.available().await, 0);
        shop.close().await;
    }
}

on_every_database! {
    async fn money_goes_back(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let order = shop.paid().await;
        let part = |minor| OrderRefundRequest { minor: Some(minor), reason: Some("不满意".into()), ..OrderRefundRequest::default() };
        let back = shop.ledger.refund_order(order.order_no, part(495), Some("r-1")).await.unwrap();
        assert_eq!((back.state.status, back.state.refunds[0].status), (OrderStatus::PartiallyRefunded, RefundStatus::Succeeded));
        assert_eq!(shop.available().await, 55);
        let again = shop.ledger.refund_order(order.order_no, part(495), Some("r-1")).await.unwrap();
        assert_eq!(again, back);

        // The channel takes its time, and then can't: the credits are back.
        shop.bank.bank(|bank| bank.refunds_end = Some(RefundStanding::Pending { problem: None }));
        let slow = shop.ledger.refund_order(order.order_no, part(99), Some("r-2")).await.unwrap();
        assert_eq!((slow.state.status, shop.available().await), (OrderStatus::Refunding, 44));
        let number = order.order_no;
        shop.told(&format!("refund {number} {number}R2 99 卡已注销")).await.unwrap();
        let stuck = shop.ledger.order(number).await.unwrap();
        assert_eq!(stuck.state.refunds[1].problem.as_deref(), Some("卡已注销"));
        for (amount, problem) in [("100", "with another amount"), ("99USD", "in another currency")] {
            let error = shop.told(&format!("refund {number} {number}R2 {amount} succeeded")).await.unwrap_err();
            assert_eq!(code(&error), "payment_verification");
            assert!(error.to_string().contains(problem), "{error}");
        }
        shop.bank.bank(|bank| bank.refunds.insert(format!("{number}R2"), RefundStanding::Failed { problem: "退款关闭".into() }));
        let done = shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap();
        assert_eq!((done.refunds, done.failed), (1, 0));
        assert_eq!(shop.available().await, 55);

        // It refuses: nothing is on its way, and the caller knows why.
        shop.bank.bank(|bank| bank.refuses = true);
        let refused = shop.ledger.refund_order(number, part(99), Some("r-3")).await.unwrap_err();
        assert!(matches!(&refused, Error::PaymentChannel { reason, .. } if reason == "NOT_ENOUGH"), "{refused}");
        assert_eq!(shop.available().await, 55);
        assert_eq!(shop.ledger.order(number).await.unwrap().state.status, OrderStatus::PartiallyRefunded);
        let again = shop.ledger.refund_order(number, part(99), Some("r-3")).await.unwrap_err();
        assert_eq!(again, refused);

        // It is away: the refund is asked for when it is back, with the same number.
        shop.bank.bank(|bank| (bank.refuses, bank.is_away, bank.refunds_end) = (false, true, None));
        let waits = shop.ledger.refund_order(number, OrderRefundRequest::default(), Some("r-4")).await.unwrap();
        assert_eq!((waits.state.status, shop.available().await), (OrderStatus::Refunding, 0));
        shop.bank.bank(|bank| bank.is_away = false);
        assert_eq!(shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap().refunds, 1);
        let whole = shop.ledger.order(number).await.unwrap();
        assert_eq!(whole.state.status, OrderStatus::Refunded);
        let asked = shop.bank.bank(|bank| bank.asked.clone());
        assert_eq!(asked.iter().filter(|what| **what == format!("refund {number}R4")).count(), 1);
        shop.close().await;
    }
}

on_every_database! {
    async fn an_operator_settles_and_refunds_by_hand(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let order = shop.ledger.create_order(ALICE, shop.package_id, "manual", None).await.unwrap();
        shop.ledger.pay_order(order.order_no, &Checkout::default()).await.unwrap();
        let paid = OrderPayment { transaction_id: "bank transfer 7".into(), amount: cny(990), paid_at: None };
        shop.ledger.settle_order(order.order_no, paid).await.unwrap();
        assert_eq!(shop.available().await, 110);
        let back = shop.ledger.refund_order(order.order_no, OrderRefundRequest::default(), None).await.unwrap();
        assert_eq!((back.state.status, shop.available().await), (OrderStatus::Refunded, 0));
        shop.close().await;
    }
}

on_every_database! {
    async fn a_bill_is_compared_with_the_books(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let (fits, unpaid, other, missing, refunded) =
            (shop.paid().await, shop.paying().await, shop.paid().await, shop.paid().await, shop.paid().await);
        shop.bank.pays(&missing);
        let settle = |order: &Order| OrderPayment { transaction_id: payment(order).transaction_id, amount: cny(990), paid_at: Some(START) };
        // Those that have a time are looked for.
        let dated = shop.paying().await;
        shop.ledger.settle_order(dated.order_no, settle(&dated)).await.unwrap();
        shop.ledger.refund_order(refunded.order_no, OrderRefundRequest { minor: Some(90), ..Default::default() }, None).await.unwrap();
        let bill = format!(
            "{f} t-{f} 990\n{u} t-{u} 990\n{o} t-{o} 991\n{r} t-{r} 990\n{r} t-{r} 90 {r}R1\n{r} t-{r} 90 {r}R2\nnobody t-1 5",
            f = fits.order_no, u = unpaid.order_no, o = other.order_no, r = refunded.order_no,
        );
        let day = Duration::from_secs(24 * 3600);
        let report = shop.ledger.reconcile_statement("bank", bill.as_bytes(), START, START.plus(day)).await.unwrap();
        assert_eq!(report.matched, 3);
        let told: Vec<String> = report.differences.iter().map(|difference| match difference {
            StatementDifference::Unknown(line) => format!("unknown {}", line.line),
            StatementDifference::NotSettled(line, order) => format!("not settled {} {}", line.line, order.order_no),
            StatementDifference::Different(line, order) => format!("different {} {}", line.line, order.order_no),
            StatementDifference::MissingPayment(order) => format!("no payment {}", order.order_no),
            StatementDifference::MissingRefund(_, refund_no) => format!("no refund {refund_no}"),
            other => format!("{other:?}"),
        }).collect();
        assert_eq!(told, [
            format!("not settled 2 {}", unpaid.order_no),
            format!("different 3 {}", other.order_no),
            "unknown 6".into(),
            "unknown 7".into(),
            format!("no payment {}", dated.order_no),
        ]);
        let empty = shop.ledger.reconcile_statement("bank", b"", START, START.plus(day)).await.unwrap();
        assert!(empty.differences.iter().any(|d| matches!(d, StatementDifference::MissingRefund(_, no) if *no == format!("{}R1", refunded.order_no))));
        shop.close().await;
    }
}

on_every_database! {
    async fn one_payment_settles_one_order(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        // As another process would.
        let other = match database.kind {
            Kind::SqliteFile | Kind::Postgres => database.ledger().await,
            _ => shop.ledger.clone(),
        };
        for round in 0..10 {
            let mut orders = Vec::new();
            for n in 0..4_u128 {
                let owner = Uuid::from_u128(n);
                orders.push(shop.ledger.create_order(owner, shop.package_id, "manual", None).await.unwrap());
            }
            let payment = OrderPayment { transaction_id: format!("transfer {round}"), amount: cny(990), paid_at: None };
            let mut settling = tokio::task::JoinSet::new();
            for (n, order) in orders.iter().enumerate() {
                let ledger = if n % 2 == 0 { shop.ledger.clone() } else { other.clone() };
                let (order_no, payment) = (order.order_no, payment.clone());
                settling.spawn(async move { ledger.settle_order(order_no, payment).await });
                // A neighbour in the same write, which is not concerned.
                let (ledger, package_id) = (shop.ledger.clone(), shop.package_id);
                settling.spawn(async move {
                    let order = ledger.create_order(ALICE, package_id, "manual", None).await?;
                    ledger.close_order(order.order_no).await
                });
            }
            let (mut paid, mut refused, mut closed) = (0, 0, 0);
            for settled in settling.join_all().await {
                match settled {
                    Ok(order) if order.state.status == OrderStatus::Paid => paid += 1,
                    Ok(order) => closed += usize::from(order.state.status == OrderStatus::Closed),
                    Err(error) => {
                        assert!(matches!(error, Error::Refused(Refusal::WrongPayment { .. })), "{error}");
                        refused += 1;
                    }
                }
            }
            assert_eq!((paid, refused, closed), (1, 3, 4), "round {round}");
            // The one that has it may hear of it again; the others never get it.
            for order in &orders {
                let again = other.settle_order(order.order_no, payment.clone()).await;
                let now = shop.ledger.order(order.order_no).await.unwrap();
                assert_eq!(again.is_ok(), now.state.status == OrderStatus::Paid);
            }
        }
        if matches!(database.kind, Kind::SqliteFile | Kind::Postgres) {
            other.close().await;
        }
        shop.close().await;
    }
}

on_every_database! {
    async fn late_payments_keep_the_purchase_limit(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let mut once = SavePackage::new("首充", parse_decimal("9.90").unwrap(), 100);
        once.purchase_limit = Some(1);
        let once = shop.ledger.save_package(once).await.unwrap().package_id;
        let mut orders = Vec::new();
        for n in 0..5 {
            let order = shop.ledger.create_order(ALICE, once, "bank", None).await.unwrap();
            shop.ledger.pay_order(order.order_no, &Checkout::default()).await.unwrap();
            if n % 2 == 0 {
                shop.ledger.close_order(order.order_no).await.unwrap();
            } else {
                shop.clock.advance(Duration::from_secs(30 * 60));
            }
            shop.bank.pays(&order);
            orders.push(order);
        }
        // The package changes; what was ordered keeps its limit.
        let mut often = SavePackage::new("首充", parse_decimal("9.90").unwrap(), 100);
        often.package_id = Some(once);
        shop.ledger.save_package(often).await.unwrap();
        let mut telling = tokio::task::JoinSet::new();
        for order in &orders {
            let (ledger, body) = (shop.ledger.clone(), format!("paid {0} 990 t-{0}", order.order_no));
            telling.spawn(async move {
                let headers = Headers::new([("signature", "ours")]);
                ledger.handle_notification("bank", &headers, body.as_bytes()).await
            });
        }
        let told = telling.join_all().await;
        let stands = |status| {
            let orders = told.iter().filter_map(|told| told.as_ref().unwrap().order.as_ref());
            orders.filter(|order| order.state.status == status).count()
        };
        assert_eq!((stands(OrderStatus::Paid), stands(OrderStatus::Refunding)), (1, 4));
        assert_eq!(shop.available().await, 100);
        let done = shop.ledger.reconcile_orders(Duration::ZERO).await.unwrap();
        assert_eq!((done.refunds, done.failed), (4, 0), "{done:?}");
        shop.close().await;
    }
}

on_every_database! {
    async fn a_late_payment_by_hand_goes_back_when_somebody_has_sent_it(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let mut once = SavePackage::new("首充", parse_decimal("9.90").unwrap(), 100);
        once.purchase_limit = Some(1);
        let once = ledger.save_package(once).await.unwrap().package_id;
        let first = ledger.create_order(ALICE, once, "manual", None).await.unwrap();
        ledger.close_order(first.order_no).await.unwrap();
        let second = ledger.create_order(ALICE, once, "manual", None).await.unwrap();
        let price = Money { minor: 990, currency: "CNY".into() };
        let paid = |number: &str| OrderPayment {
            transaction_id: number.into(),
            amount: price.clone(),
            paid_at: None,
        };
        ledger.settle_order(second.order_no, paid("b-2")).await.unwrap();
        let late = ledger.settle_order(first.order_no, paid("b-1")).await.unwrap();
        assert_eq!(late.state.status, OrderStatus::Refunding);
        // Nobody has sent the money yet, so it is not back, however often the ledger looks.
        for _ in 0..2 {
            let done = ledger.reconcile_orders(Duration::ZERO).await.unwrap();
            assert_eq!(done.refunds, 0, "{done:?}");
            let waits = ledger.order(first.order_no).await.unwrap();
            assert_eq!(waits.state.status, OrderStatus::Refunding);
            let problem = waits.state.refunds[0].problem.clone().unwrap();
            assert!(problem.contains("send the money back by hand"), "{problem}");
        }
        let part = OrderRefundRequest { minor: Some(100), ..OrderRefundRequest::default() };
        ledger.refund_order(first.order_no, part, Some("part")).await.unwrap_err();
        let all = OrderRefundRequest { operator: Some("Zoë".into()), ..OrderRefundRequest::default() };
        let back = ledger.refund_order(first.order_no, all, Some("sent")).await.unwrap();
        assert_eq!(back.state.status, OrderStatus::Refunded);
        assert_eq!(back.state.refunds.len(), 1);
        assert_eq!(ledger.balance(ALICE).await.unwrap().available, 100);
        assert!(ledger.verify().await.unwrap().is_clean());
        ledger.close().await;
    }
}

on_every_database! {
    async fn an_account_s_open_orders_are_bounded(database: Database) {
        let settings = database.settings().clock(clock()).max_open_orders(3);
        let ledger = database.open(settings.clone()).await;
        let package = SavePackage::new("入门套餐", parse_decimal("9.90").unwrap(), 100);
        let package_id = ledger.save_package(package).await.unwrap().package_id;
        let mut making = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let ledger = ledger.clone();
            making.spawn(async move { ledger.create_order(ALICE, package_id, "manual", None).await });
        }
        let (mut made, mut refused) = (Vec::new(), 0);
        for order in making.join_all().await {
            match order {
                Ok(order) => made.push(order),
                Err(error) => {
                    assert_eq!(error, Error::Refused(Refusal::TooManyOrders { open: 3, limit: 3 }));
                    refused += 1;
                }
            }
        }
        assert_eq!((made.len(), refused), (3, 7));
        ledger.close_order(made[0].order_no).await.unwrap();
        ledger.create_order(ALICE, package_id, "manual", None).await.unwrap();
        ledger.close().await;
        for wrong in [0, 1_001] {
            let error = settings.clone().max_open_orders(wrong).connect().await.unwrap_err();
            assert_eq!(error.code(), "validation");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_account_s_many_orders_hold_up_nobody() {
    let database = Database::fresh(Kind::SqliteMemory).await;
    let bank = StandIn::default();
    let settings = database.settings().clock(clock()).channel(bank.clone());
    let ledger = database.open(settings.max_open_orders(1_000)).await;
    let package = SavePackage::new("入门套餐", parse_decimal("9.90").unwrap(), 100);
    let package_id = ledger.save_package(package).await.unwrap().package_id;
    let order = async |user_id| {
        let order = ledger
            .create_order(user_id, package_id, "bank", None)
            .await
            .unwrap();
        ledger
            .pay_order(order.order_no, &Checkout::default())
            .await
            .unwrap();
        order
    };
    let others = Uuid::from_u128(0xB0B);
    let paid = order(others).await;
    for _ in 0..200 {
        order(ALICE).await;
    }
    bank.pays(&paid);
    bank.bank(|bank| {
        bank.asked.clear();
        (bank.most_under_way, bank.answers_from) = (0, 8);
    });
    let done = ledger.reconcile_orders(Duration::ZERO).await.unwrap();
    assert_eq!((done.orders, done.settled, done.failed), (201, 1, 0));
    // As many side by side as the channel takes, and no more.
    assert_eq!(bank.bank(|bank| bank.most_under_way), 8);
    let asked = bank.bank(|bank| std::mem::take(&mut bank.asked));
    let place = asked
        .iter()
        .position(|what| *what == format!("query {}", paid.order_no));
    // Among the first that are asked side by side.
    assert_eq!(asked.len(), 201);
    assert!(place.is_some_and(|place| place < 8), "{place:?}");

    // A channel that never answers is left alone after a while, and nothing waits for it without end.
    bank.bank(|bank| bank.hangs = true);
    let done = ledger.reconcile_orders(Duration::ZERO).await.unwrap();
    assert_eq!((done.orders, done.failed), (200, 200));
    let asked = bank.bank(|bank| std::mem::take(&mut bank.asked)).len();
    assert!(asked <= 32, "{asked}");
    assert_eq!(done.problems.len(), asked);
    ledger.close().await;
}

on_every_database! {
    async fn a_reference_that_is_an_order_s_number_is_no_fault(database: Database) {
        let shop = Shop::open(&database, LatePayment::Settle).await;
        let order = shop.paying().await;
        let grant = |source| Grant::new(ALICE, 5, source).reference(order.order_no.to_string());
        for source in [Source::Purchase, Source::Bonus, Source::Gift] {
            shop.ledger.grant(grant(source), None).await.unwrap();
        }
        shop.told(&format!("paid {} 990 4200", order.order_no)).await.unwrap();
        for source in [Source::Purchase, Source::Bonus] {
            shop.ledger.grant(grant(source), None).await.unwrap();
        }
        let consume = Consume::new(ALICE, 5).reference(order.order_no.to_string());
        shop.ledger.consume(consume, None).await.unwrap();
        shop.close().await;
    }
}

/// A bill of many lines that are none of ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bill_is_bounded() {
    let database = Database::fresh(Kind::Memory).await;
    let shop = Shop::open(&database, LatePayment::Settle).await;
    let (fits, day) = (shop.paid().await, Duration::from_secs(24 * 3600));
    let compare = async |bill: &str| {
        shop.ledger
            .reconcile_statement("bank", bill.as_bytes(), START, START.plus(day))
            .await
    };
    let ours = format!("{0} t-{0} 990\n", fits.order_no);
    let report = compare(&format!("{}{ours}", "nobody t-1 5\n".repeat(10_000)))
        .await
        .unwrap();
    assert_eq!((report.matched, report.differences.len()), (1, 10_000));
    let refused = compare(&"nobody t-1 5\n".repeat(10_001)).await.unwrap_err();
    assert!(refused.to_string().contains("10000"), "{refused}");
    // More lines than a bill has; all of them fit.
    let refused = compare(&ours.repeat(1_000_001)).await.unwrap_err();
    assert!(refused.to_string().contains("is too long"), "{refused}");
    let refused = compare(&" ".repeat(64 * 1024 * 1024 + 1)).await.unwrap_err();
    assert!(refused.to_string().contains("is too long"), "{refused}");
    shop.close().await;
}

/// 100 copies of a notification at once, through four ledgers: one settlement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_comes_a_hundred_times_at_once() {
    let database = Database::fresh(Kind::Postgres).await;
    let shop = Shop::open(&database, LatePayment::Settle).await;
    let order = shop.paying().await;
    let mut ledgers = vec![shop.ledger.clone()];
    for _ in 0..3 {
        ledgers.push(
            database
                .open(database.settings().channel(StandIn::default()))
                .await,
        );
    }
    let body = format!("paid {} 990 4200", order.order_no);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (ledger, body) = (ledgers[n % 4].clone(), body.clone());
        tasks.spawn(async move {
            let headers = Headers::new([("signature", "ours")]);
            ledger
                .handle_notification("bank", &headers, body.as_bytes())
                .await
        });
    }
    for told in tasks.join_all().await {
        assert_eq!(told.unwrap().order.unwrap().state.status, OrderStatus::Paid);
    }
    assert_eq!(shop.available().await, 110);
    for ledger in ledgers.drain(1..) {
        ledger.close().await;
    }
    shop.close().await;
}
