//! Orders: rows of their own, written with the account's.

use super::*;
use crate::ledger::{
    OpenOrder, Order, OrderCommand, OrderNo, OrderPayment, OrderRefundRequest, OrderStatus, OrderStep,
};
use crate::store::{OrderFilter, OrderNeed};

const PACKAGE: Uuid = Uuid::from_u128(77);

fn number(n: u64) -> OrderNo {
    OrderNo(Uuid::from_u128(u128::from(n)))
}

fn step(user_id: Uuid, n: u64, step: OrderStep) -> Command {
    command(Action::Order(OrderCommand {
        user_id,
        order_no: number(n),
        step,
    }))
}

fn open(bonus_credits: i64, purchase_limit: Option<u32>) -> OrderStep {
    OrderStep::Open(OpenOrder {
        channel: "wechat".into(),
        package_id: PACKAGE,
        package_version: 3,
        subject: "入门套餐".into(),
        price: Money {
            minor: 990,
            currency: "CNY".into(),
        },
        credits: 100,
        bonus_credits,
        validity_days: Some(30),
        purchase_limit,
    })
}

fn settle(transaction: &str) -> OrderStep {
    OrderStep::Settle(OrderPayment {
        transaction_id: transaction.into(),
        amount: Money {
            minor: 990,
            currency: "CNY".into(),
        },
        paid_at: Some(at(5)),
    })
}

fn order_of(outcome: Outcome) -> Order {
    match outcome {
        Outcome::Order(order) => *order,
        other => panic!("{other:?}"),
    }
}

async fn every_order(store: &impl Subject) -> Vec<Order> {
    let mut snapshot = store.reader().snapshot().await.unwrap();
    let orders = snapshot.orders(None, 100).await.unwrap().decode().unwrap();
    orders.into_iter().map(Result::unwrap).collect()
}

pub(crate) async fn orders_come_back_with_their_lots(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    assert_eq!(store.reader().order(number(1)).await.unwrap(), None);
    let refund = OrderStep::Refund(OrderRefundRequest {
        minor: Some(500),
        reason: Some("换了".into()),
        ..OrderRefundRequest::default()
    });
    for each in [open(10, None), OrderStep::Begin, settle("4200"), refund] {
        let order = order_of(run(&mut committer, at(1), step(user, 1, each)).await);
        assert_eq!(
            store.reader().order(number(1)).await.unwrap().as_ref(),
            Some(&order)
        );
        assert_eq!(every_order(&store).await, [order]);
    }
    // Empty lots too: both were spent.
    for _ in 0..2 {
        run(&mut committer, at(2), command(Action::Consume(consume(user, 27)))).await;
    }
    let needs = needs(&step(user, 1, OrderStep::Begin), at(3));
    let account = load_one(&mut committer, &needs).await;
    let order = store.reader().order(number(1)).await.unwrap().unwrap();
    assert_eq!(account.state.orders, BTreeMap::from([(number(1), order.clone())]));
    let lots: BTreeSet<Uuid> = [order.state.lot_id, order.state.bonus_lot_id]
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(lots.len(), 2);
    assert!(lots.is_subset(&account.state.lots.keys().copied().collect()));
    // Another account's order is not there.
    let mut other = needs_account(id(2), at(3));
    other.orders = vec![(id(2), OrderNeed::Number(number(1)))];
    assert!(load_one(&mut committer, &other).await.state.orders.is_empty());
}

pub(crate) async fn orders_are_read_in_pages_and_filtered(store: impl Subject) {
    let mut committer = store.committer();
    // Users take turns; the first of each is paid, the second closed, the third waits.
    for n in 1..=6 {
        let user = id(n % 2 + 1);
        run(&mut committer, at(n), step(user, n, open(0, None))).await;
        let next = match n {
            1 => settle("4200"),
            2 => settle("4201"),
            3 | 4 => OrderStep::Close {
                channel_agrees: false,
            },
            _ => OrderStep::Begin,
        };
        run(&mut committer, at(n), step(user, n, next)).await;
    }
    let reader = store.reader();
    let numbers =
        |orders: Vec<Order>| -> Vec<u128> { orders.iter().map(|order| order.order_no.0.as_u128()).collect() };
    let all = OrderFilter {
        limit: 100,
        ..OrderFilter::default()
    };
    let read = async |filter: OrderFilter| numbers(reader.orders(filter).await.unwrap());
    assert_eq!(read(all.clone()).await, [6, 5, 4, 3, 2, 1]);
    let before = OrderFilter {
        before: Some(number(5)),
        limit: 2,
        ..all.clone()
    };
    assert_eq!(read(before).await, [4, 3]);
    let of_one = OrderFilter {
        user_id: Some(id(1)),
        ..all.clone()
    };
    assert_eq!(read(of_one.clone()).await, [6, 4, 2]);
    let closed = OrderFilter {
        status: Some(OrderStatus::Closed),
        before: Some(number(6)),
        ..of_one
    };
    assert_eq!(read(closed).await, [4]);
    let waiting = async |until, before, limit| -> Vec<u128> {
        let open = reader.open_orders(until, before, limit).await.unwrap();
        for row in &open {
            let order = reader.order(row.order_no).await.unwrap().unwrap();
            assert_eq!(
                (row.user_id, &row.channel, row.status, row.expires_at),
                (
                    order.user_id,
                    &order.channel,
                    order.state.status,
                    order.expires_at
                )
            );
        }
        open.iter().map(|order| order.order_no.0.as_u128()).collect()
    };
    assert_eq!(waiting(at(100), None, 100).await, [6, 5]);
    assert_eq!(waiting(at(5), None, 100).await, [5]);
    assert_eq!(waiting(at(100), Some(number(6)), 100).await, [5]);
    assert_eq!(waiting(at(100), None, 1).await, [6]);
    // What counts against a limit: everything but what was closed.
    let needs = needs(&step(id(1), 9, open(0, Some(1))), at(9));
    let account = load_one(&mut committer, &needs).await;
    let counted: Vec<OrderNo> = account.state.orders.keys().copied().collect();
    assert_eq!(counted, [number(2), number(6)]);
    let (mut claims, mut after) = (Vec::new(), None);
    let mut snapshot = reader.snapshot().await.unwrap();
    loop {
        let page = snapshot.claims(after, 1).await.unwrap().decode().unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.user_id, last.order_no));
        claims.extend(page);
    }
    let mut expected = [(id(2), 1, "4200"), (id(1), 2, "4201")];
    expected.sort_unstable();
    let found: Vec<_> = claims
        .iter()
        .map(|claim| {
            (
                claim.user_id,
                claim.order_no.0.as_u128(),
                claim.transaction_id.as_str(),
            )
        })
        .collect();
    assert_eq!(found, expected);
    // By account, then by number.
    let mut sorted: Vec<(Uuid, OrderNo)> = (1..=6).map(|n| (id(n % 2 + 1), number(n))).collect();
    sorted.sort_unstable();
    let mut snapshot = reader.snapshot().await.unwrap();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = snapshot.orders(after, 2).await.unwrap().decode().unwrap();
        let page: Vec<Order> = page.into_iter().map(Result::unwrap).collect();
        let Some(last) = page.last() else { break };
        after = Some((last.user_id, last.order_no));
        found.extend(page.iter().map(|order| (order.user_id, order.order_no)));
    }
    assert_eq!(found, sorted);
}

pub(crate) async fn an_order_of_a_stale_account_is_not_written(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, at(1), step(user, 1, open(0, None))).await;
    let (late, _) = decided(&mut committer, at(2), &step(user, 1, settle("4200"))).await;
    assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
    run(&mut committer, at(2), step(user, 1, settle("4201"))).await;
    committer.load(&needs_account(user, at(3))).await.unwrap();
    assert_eq!(committer.append(&late).await.unwrap(), [user]);
    let order = store.reader().order(number(1)).await.unwrap().unwrap();
    assert_eq!(order.state.transaction_id.as_deref(), Some("4201"));
}

pub(crate) async fn a_payment_is_claimed_once(store: impl Subject) {
    let (one, other) = (id(1), id(2));
    let mut committer = store.committer();
    run(&mut committer, at(1), step(one, 1, open(0, None))).await;
    run(&mut committer, at(1), step(other, 2, open(10, None))).await;
    // Decided while nobody had claimed it.
    let (late, _) = decided(&mut committer, at(2), &step(other, 2, settle("4200"))).await;
    assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
    run(&mut committer, at(2), step(one, 1, settle("4200"))).await;
    committer.load(&needs_account(other, at(3))).await.unwrap();
    // Nothing of it is written; a neighbour in the same write loses nothing for good.
    match committer.append(&late).await {
        Ok(stale) => assert_eq!(stale, [other]),
        Err(error) => assert!(matches!(error, StoreError::Busy(_)), "{error}"),
    }
    let order = store.reader().order(number(2)).await.unwrap().unwrap();
    assert_eq!(order.state.status, OrderStatus::Created);
    // Whoever looks finds whose it is.
    let account = load_one(&mut committer, &needs(&step(other, 2, settle("4200")), at(3))).await;
    let payment = ("wechat".to_owned(), "4200".to_owned());
    assert_eq!(account.state.claims, BTreeMap::from([(payment, number(1))]));
    let account = load_one(&mut committer, &needs(&step(other, 2, settle("4201")), at(3))).await;
    assert_eq!(account.state.claims, BTreeMap::new());
    run(&mut committer, at(4), step(other, 2, settle("4201"))).await;
}

pub(crate) async fn late_payments_bring_what_counts_against_the_limit(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let close = || OrderStep::Close { channel_agrees: true };
    for n in 1..=3 {
        run(&mut committer, at(1), step(user, n, open(0, Some(1)))).await;
        run(&mut committer, at(1), step(user, n, close())).await;
    }
    run(&mut committer, at(1), step(user, 4, open(0, Some(2)))).await;
    let loaded = async |committer: &mut _, n: u64, now| -> Vec<OrderNo> {
        let account = load_one(committer, &needs(&step(user, n, settle("4200")), now)).await;
        account.state.orders.keys().copied().collect()
    };
    assert_eq!(loaded(&mut committer, 1, at(2)).await, [number(1), number(4)]);
    // In time it has its place; when its time is over it has not.
    assert_eq!(loaded(&mut committer, 4, at(2)).await, [number(4)]);
    let order = order_of(run(&mut committer, at(2), step(user, 2, settle("t2"))).await);
    assert_eq!(order.state.status, OrderStatus::Refunding);
    assert_eq!(loaded(&mut committer, 4, at(1_801)).await, [number(2), number(4)]);
}

pub(crate) async fn orders_that_wait_are_loaded_for_a_new_one(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    for n in 1..=4 {
        run(&mut committer, at(n), step(user, n, open(0, None))).await;
    }
    run(&mut committer, at(5), step(user, 1, settle("4200"))).await;
    run(&mut committer, at(5), step(user, 2, OrderStep::Begin)).await;
    let loaded = async |committer: &mut _, now| -> Vec<OrderNo> {
        let account = load_one(committer, &needs(&step(user, 9, open(0, None)), now)).await;
        account.state.orders.keys().copied().collect()
    };
    assert_eq!(
        loaded(&mut committer, at(6)).await,
        [number(2), number(3), number(4)]
    );
    // The time of the second is over.
    assert_eq!(loaded(&mut committer, at(1_802)).await, [number(3), number(4)]);
}
