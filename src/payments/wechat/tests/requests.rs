//! Requests, against the stand-in: what is asked, and what its answers come to.

use super::server::{Answer, Seal, Server, check_ours, no, ok, refusal};
use super::*;
use crate::error::Written;
use crate::payments::{Channel, Checkout, Payment, Prepared, RefundNotice, RefundStanding, Standing};

fn checkout(method: &str) -> Checkout {
    Checkout {
        method: Some(method.into()),
        payer: Some("oUpF8uMuAJO_M2pxb1Q9zNjWeS6o".into()),
        payer_ip: Some("203.0.113.7".into()),
        return_url: None,
    }
}

fn paid() -> Standing {
    Standing::Paid(Payment {
        order_no: ORDER_NO.into(),
        transaction_id: "4200000000202611220000000001".into(),
        amount: cny(990),
        paid_at: Some("2018-06-08T02:34:56Z".parse().unwrap()),
    })
}

fn in_state(state: &str) -> Value {
    let mut transaction = transaction();
    transaction["trade_state"] = state.into();
    if state == "NOTPAY" || state == "CLOSED" {
        let fields = transaction.as_object_mut().unwrap();
        for name in ["transaction_id", "success_time", "payer"] {
            fields.remove(name);
        }
    }
    transaction
}

fn refund_answer(status: &str) -> Value {
    json!({
        "refund_id": "50200207182018070300011301001",
        "out_refund_no": format!("{ORDER_NO}R1"),
        "transaction_id": "4200000000202611220000000001",
        "out_trade_no": ORDER_NO,
        "channel": "ORIGINAL",
        "user_received_account": "招商银行信用卡0403",
        "create_time": "2026-11-22T16:00:00+08:00",
        "status": status,
        "amount": { "total": 990, "refund": 490, "payer_total": 900, "payer_refund": 445, "currency": "CNY" },
    })
}

/// The reason for an answer that says nothing, and whether the request may have been done.
#[track_caller]
fn unavailable<T: std::fmt::Debug>(result: Result<T>) -> (Written, String) {
    match result {
        Err(Error::Unavailable { outcome, reason, .. }) => (outcome, reason),
        other => panic!("{other:?}"),
    }
}

/// WeChat Pay's own code for its refusal.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result {
        Err(Error::PaymentChannel {
            channel,
            reason,
            message,
        }) => {
            assert_eq!((channel.as_str(), message.as_str()), ("wechat", "as it says"));
            reason
        }
        other => panic!("{other:?}"),
    }
}

async fn query(answer: Answer) -> Result<Standing> {
    let (server, channel) = Server::start([answer]);
    let standing = channel.query(&order(), NOW).await;
    server.asked();
    standing
}

async fn prepare(answer: Answer, checkout: &Checkout) -> Result<Prepared> {
    let (server, channel) = Server::start([answer]);
    let prepared = channel.prepare(&order(), checkout, NOW).await;
    server.asked();
    prepared
}

async fn refund_with(answer: Answer) -> Result<RefundNotice> {
    let (server, channel) = Server::start([answer]);
    let notice = channel.refund(&order(), &refund(490), NOW).await;
    server.asked();
    notice
}

#[tokio::test]
async fn a_qr_code() {
    let url = "weixin://wxpay/bizpayurl?pr=p4lpSuKzz";
    let answers = [ok(json!({ "code_url": url })), ok(json!({ "code_url": url }))];
    let (server, channel) = Server::start(answers);
    let prepared = channel
        .prepare(&order(), &Checkout::default(), NOW)
        .await
        .unwrap();
    let again = channel.prepare(&order(), &checkout("native"), NOW).await.unwrap();
    assert_eq!(prepared, again);
    assert_eq!(prepared.parameters.get("code_url").map(String::as_str), Some(url));
    assert_eq!(prepared.parameters.len(), 1);
    // The order ends before the two hours of the code do.
    assert_eq!(prepared.expires_at, Some(order().expires_at));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v3/pay/transactions/native");
    assert_eq!(asked[0].serial.as_deref(), Some(KEY_ID));
    assert_eq!(asked[0].body, asked[1].body, "repeated, it is the same");
    assert_eq!(
        asked[0].body,
        json!({
            "appid": APP,
            "mchid": MERCHANT,
            "description": "1000 credits",
            "out_trade_no": ORDER_NO,
            "time_expire": "2026-11-22T16:30:00+08:00",
            "notify_url": "https://shop.example/wechat",
            "amount": { "total": 990, "currency": "CNY" },
        })
    );
}

#[tokio::test]
async fn inside_wechat() {
    let (server, channel) = Server::start([ok(json!({ "prepay_id": "wx26112209395522657a690389285100" }))]);
    let prepared = channel.prepare(&order(), &checkout("jsapi"), NOW).await.unwrap();
    let of = |name: &str| prepared.parameters.get(name).unwrap().as_str();
    assert_eq!(prepared.parameters.len(), 6);
    assert_eq!((of("appId"), of("signType")), (APP, "RSA"));
    assert_eq!(of("timeStamp"), NOW_S.to_string());
    assert_eq!(of("package"), "prepay_id=wx26112209395522657a690389285100");
    assert_eq!(of("nonceStr").len(), 32);
    let message = format!("{APP}\n{NOW_S}\n{}\n{}\n", of("nonceStr"), of("package"));
    check_ours(&message, of("paySign"));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v3/pay/transactions/jsapi");
    assert_eq!(
        asked[0].body["payer"],
        json!({ "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o" })
    );
}

#[tokio::test]
async fn in_a_browser() {
    let url = "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx2016&package=2150917749";
    let (server, channel) = Server::start([ok(json!({ "h5_url": url })), ok(json!({ "h5_url": url }))]);
    let mut checkout = checkout("h5");
    let prepared = channel.prepare(&order(), &checkout, NOW).await.unwrap();
    assert_eq!(prepared.parameters.get("h5_url").map(String::as_str), Some(url));
    assert_eq!(
        prepared.expires_at,
        Some(Timestamp::from_micros((NOW_S + 300) * 1_000_000))
    );

    checkout.return_url = Some("https://shop.example/done?order=1&x=2".into());
    checkout.payer_ip = Some("2001:db8::7".into());
    let prepared = channel.prepare(&order(), &checkout, NOW).await.unwrap();
    let expected = format!("{url}&redirect_url=https%3A%2F%2Fshop.example%2Fdone%3Forder%3D1%26x%3D2");
    assert_eq!(prepared.parameters.get("h5_url"), Some(&expected));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v3/pay/transactions/h5");
    let scene = |ip: &str| json!({ "payer_client_ip": ip, "h5_info": { "type": "Wap" } });
    assert_eq!(asked[0].body["scene_info"], scene("203.0.113.7"));
    assert_eq!(asked[1].body["scene_info"], scene("2001:db8::7"));
}

#[tokio::test]
async fn requests_that_can_not_be() {
    let channel = channel();
    let field =
        async |order: &Order, checkout: &Checkout| invalid(channel.prepare(order, checkout, NOW).await).0;
    let anyone = Checkout {
        payer: None,
        payer_ip: None,
        ..checkout("jsapi")
    };
    assert_eq!(field(&order(), &anyone).await, "payer");
    for url in [
        "javascript:alert(1)",
        "http://shop.example/",
        "https://user@shop.example/",
        "/thanks",
    ] {
        let nowhere = Checkout {
            return_url: Some(url.into()),
            ..checkout("h5")
        };
        assert_eq!(field(&order(), &nowhere).await, "return_url", "{url}");
    }
    assert_eq!(
        field(
            &order(),
            &Checkout {
                payer: Some(String::new()),
                ..checkout("jsapi")
            }
        )
        .await,
        "payer"
    );
    assert_eq!(
        field(
            &order(),
            &Checkout {
                payer_ip: None,
                ..checkout("h5")
            }
        )
        .await,
        "payer_ip"
    );
    let name = Some("localhost".into());
    assert_eq!(
        field(
            &order(),
            &Checkout {
                payer_ip: name,
                ..checkout("h5")
            }
        )
        .await,
        "payer_ip"
    );
    assert_eq!(field(&order(), &checkout("app")).await, "method");
    let expired = Order {
        expires_at: NOW,
        ..order()
    };
    assert_eq!(field(&expired, &checkout("native")).await, "expires_at");
    for (minor, currency, named) in [
        (0, "CNY", "minor"),
        (-1, "CNY", "minor"),
        (990, "USD", "currency"),
    ] {
        let price = Money {
            minor,
            currency: currency.into(),
        };
        assert_eq!(invalid(channel.check(&price)).0, named);
        assert_eq!(
            field(&Order { price, ..order() }, &checkout("native")).await,
            named
        );
    }
    assert!(channel.check(&cny(1)).is_ok());
    for minor in [0, -1, 991, i64::MAX] {
        assert_eq!(
            invalid(channel.refund(&order(), &refund(minor), NOW).await).0,
            "minor"
        );
    }
}

#[tokio::test]
async fn long_names_and_reasons_are_cut() {
    let answers = [
        ok(json!({ "code_url": "weixin://1" })),
        ok(refund_answer("PROCESSING")),
    ];
    let (server, channel) = Server::start(answers);
    let order = Order {
        subject: format!("a\nb{}", "点".repeat(200)),
        ..order()
    };
    channel.prepare(&order, &checkout("native"), NOW).await.unwrap();
    let mut refund = refund(490);
    refund.reason = Some("点".repeat(200));
    channel.refund(&order, &refund, NOW).await.unwrap();
    let asked = server.asked();
    let description = asked[0].body["description"].as_str().unwrap();
    assert_eq!(description, format!("a b{}", "点".repeat(124)));
    assert_eq!(asked[1].body["reason"].as_str().unwrap(), "点".repeat(26));
}

#[tokio::test]
async fn how_an_order_stands() {
    let (server, channel) = Server::start([ok(in_state("SUCCESS"))]);
    assert_eq!(channel.query(&order(), NOW).await.unwrap(), paid());
    let line = format!("GET /v3/pay/transactions/out-trade-no/{ORDER_NO}?mchid={MERCHANT}");
    assert_eq!(server.asked()[0].line, line);

    assert_eq!(query(ok(in_state("REFUND"))).await.unwrap(), Standing::Returned);
    assert_eq!(query(ok(in_state("NOTPAY"))).await.unwrap(), Standing::Unpaid);
    assert_eq!(query(ok(in_state("USERPAYING"))).await.unwrap(), Standing::Unpaid);
    assert_eq!(query(ok(in_state("PAYERROR"))).await.unwrap(), Standing::Unpaid);
    assert_eq!(query(ok(in_state("CLOSED"))).await.unwrap(), Standing::Closed);
    assert_eq!(query(ok(in_state("REVOKED"))).await.unwrap(), Standing::Closed);
    unbelieved(query(ok(in_state("ACCEPT"))).await);
    for code in ["ORDER_NOT_EXIST", "ORDERNOTEXIST"] {
        assert_eq!(query(no(404, code)).await.unwrap(), Standing::Unknown);
    }
    assert_eq!(query(no(400, "ORDER_CLOSED")).await.unwrap(), Standing::Closed);
    assert_eq!(refused(query(no(400, "PARAM_ERROR")).await), "PARAM_ERROR");
    assert_eq!(refused(query(no(403, "NO_AUTH")).await), "NO_AUTH");
}

#[tokio::test]
async fn a_query_believes_only_what_is_about_its_order() {
    for (pointer, value) in [
        ("/out_trade_no", "019a9f2e8c4d7b3aa1b2c3d4e5f60719"),
        ("/appid", "wxother"),
        ("/mchid", "1900000110"),
    ] {
        let mut other = transaction();
        *other.pointer_mut(pointer).unwrap() = value.into();
        unbelieved(query(ok(other)).await);
    }
    unbelieved(query(ok(refund_answer("SUCCESS"))).await);
    unbelieved(query(Answer::Text(200, Seal::Good, "rubbish")).await);
    unbelieved(query(Answer::Text(204, Seal::Good, "")).await);
}

#[tokio::test]
async fn an_answer_without_a_good_signature() {
    for seal in [Seal::Wrong, Seal::Probe, Seal::Old, Seal::UnknownKey, Seal::None] {
        // To a question: it is not believed.
        unbelieved(query(Answer::Json(200, seal, in_state("SUCCESS"))).await);
        unbelieved(query(refusal(404, "ORDER_NOT_EXIST", seal)).await);
        // To a request that changes something: it may have been done.
        let (outcome, reason) =
            unavailable(refund_with(Answer::Json(200, seal, refund_answer("SUCCESS"))).await);
        assert_eq!(outcome, Written::Unknown);
        assert!(reason.contains("can't be trusted"), "{reason}");
        let (outcome, reason) = unavailable(refund_with(refusal(403, "NOT_ENOUGH", seal)).await);
        assert_eq!(outcome, Written::Unknown);
        assert!(reason.contains("403 NOT_ENOUGH"), "{reason}");
        let url = json!({ "code_url": "weixin://wxpay/bizpayurl?pr=forged" });
        let prepared = prepare(Answer::Json(200, seal, url), &checkout("native")).await;
        assert_eq!(unavailable(prepared).0, Written::Unknown);
        let (server, channel) = Server::start([Answer::Text(204, seal, "")]);
        assert_eq!(
            unavailable(channel.close(&order(), NOW).await).0,
            Written::Unknown
        );
        server.asked();
    }
}

#[tokio::test]
async fn a_request_whose_signature_wechat_pay_does_not_believe() {
    let unsigned = || refusal(401, "SIGN_ERROR", Seal::None);
    assert_eq!(refused(query(unsigned()).await), "SIGN_ERROR");
    assert_eq!(refused(refund_with(unsigned()).await), "SIGN_ERROR");
    unbelieved(query(refusal(401, "SIGN_ERROR", Seal::Wrong)).await);
}

#[tokio::test]
async fn later() {
    for seal in [Seal::Good, Seal::None, Seal::Wrong] {
        for (status, code) in [
            (500, "SYSTEM_ERROR"),
            (502, "BAD_GATEWAY"),
            (429, "FREQUENCY_LIMITED"),
        ] {
            let (outcome, reason) = unavailable(query(refusal(status, code, seal)).await);
            assert_eq!(outcome, Written::No);
            assert!(reason.contains(code), "{reason}");
            let (outcome, _) = unavailable(refund_with(refusal(status, code, seal)).await);
            assert_eq!(outcome, Written::Unknown);
        }
    }
    for code in ["SYSTEM_ERROR", "FREQUENCY_LIMITED", "BIZERR_NEED_RETRY"] {
        unavailable(refund_with(no(400, code)).await);
    }
    let (_, reason) = unavailable(query(Answer::Text(503, Seal::None, "<html>\r\n</html>")).await);
    assert!(reason.contains("503: HTTP_503"), "{reason}");
}

#[tokio::test]
async fn a_connection_that_fails() {
    assert_eq!(unavailable(refund_with(Answer::HangUp).await).0, Written::Unknown);
    assert_eq!(unavailable(refund_with(Answer::Half).await).0, Written::Unknown);
    let (server, channel) = Server::start([]);
    server.asked();
    let (outcome, reason) = unavailable(channel.refund(&order(), &refund(490), NOW).await);
    assert_eq!(outcome, Written::No, "{reason}");
}

#[tokio::test]
async fn answers_that_lack_what_is_needed() {
    for body in [
        json!({}),
        json!({ "code_url": "" }),
        json!({ "code_url": 1 }),
        json!([]),
    ] {
        let (outcome, _) = unavailable(prepare(ok(body), &checkout("native")).await);
        assert_eq!(outcome, Written::Unknown);
    }
    let back = Checkout {
        return_url: Some("https://shop.example/".into()),
        ..checkout("h5")
    };
    unavailable(prepare(ok(json!({ "h5_url": "no address" })), &back).await);
    assert_eq!(
        refused(prepare(no(403, "NO_AUTH"), &checkout("native")).await),
        "NO_AUTH"
    );
}

#[tokio::test]
async fn closing() {
    let (server, channel) = Server::start([Answer::Text(204, Seal::Good, "")]);
    assert_eq!(channel.close(&order(), NOW).await.unwrap(), Standing::Closed);
    let asked = server.asked();
    assert_eq!(
        asked[0].line,
        format!("POST /v3/pay/transactions/out-trade-no/{ORDER_NO}/close")
    );
    assert_eq!(asked[0].body, json!({ "mchid": MERCHANT }));

    for (code, then, expected) in [
        ("ORDERPAID", ok(in_state("SUCCESS")), paid()),
        ("ORDER_PAID", ok(in_state("REFUND")), Standing::Returned),
        ("ORDER_CLOSED", ok(in_state("CLOSED")), Standing::Closed),
        ("ORDER_CLOSED", no(400, "ORDER_CLOSED"), Standing::Closed),
        ("ORDER_NOT_EXIST", no(404, "ORDER_NOT_EXIST"), Standing::Closed),
    ] {
        let (server, channel) = Server::start([no(400, code), then]);
        assert_eq!(channel.close(&order(), NOW).await.unwrap(), expected, "{code}");
        assert_eq!(
            server.asked()[1]
                .line
                .split('?')
                .next()
                .unwrap()
                .split(' ')
                .next(),
            Some("GET")
        );
    }
    // It can still be paid, and WeChat Pay would not close it: never `Unpaid`.
    let (server, channel) = Server::start([no(403, "RULE_LIMIT"), ok(in_state("NOTPAY"))]);
    assert_eq!(refused(channel.close(&order(), NOW).await), "RULE_LIMIT");
    server.asked();
    let (server, channel) = Server::start([no(400, "ORDERPAID"), no(500, "SYSTEM_ERROR")]);
    unavailable(channel.close(&order(), NOW).await);
    server.asked();
}

#[tokio::test]
async fn refunding() {
    let (server, channel) = Server::start([ok(refund_answer("PROCESSING")), ok(refund_answer("SUCCESS"))]);
    let notice = channel.refund(&order(), &refund(490), NOW).await.unwrap();
    let expected = |standing| RefundNotice {
        order_no: ORDER_NO.into(),
        refund_no: format!("{ORDER_NO}R1"),
        channel_id: Some("50200207182018070300011301001".into()),
        amount: Some(cny(490)),
        standing,
    };
    assert_eq!(notice, expected(RefundStanding::Pending { problem: None }));
    let mut paid = order();
    paid.state.transaction_id = Some("4200000000202611220000000001".into());
    let mut reasoned = refund(490);
    reasoned.reason = Some("not used".into());
    let notice = channel.refund(&paid, &reasoned, NOW).await.unwrap();
    assert_eq!(notice, expected(RefundStanding::Succeeded));
    let asked = server.asked();
    assert_eq!(asked[0].line, "POST /v3/refund/domestic/refunds");
    let common = json!({
        "out_refund_no": format!("{ORDER_NO}R1"),
        "notify_url": "https://shop.example/wechat",
        "amount": { "refund": 490, "total": 990, "currency": "CNY" },
    });
    let mut first = common.clone();
    first["out_trade_no"] = ORDER_NO.into();
    assert_eq!(asked[0].body, first);
    let mut second = common;
    second["transaction_id"] = "4200000000202611220000000001".into();
    second["reason"] = "not used".into();
    assert_eq!(asked[1].body, second);

    assert_eq!(refused(refund_with(no(403, "NOT_ENOUGH")).await), "NOT_ENOUGH");
    assert_eq!(
        refused(refund_with(no(404, "RESOURCE_NOT_EXISTS")).await),
        "RESOURCE_NOT_EXISTS"
    );
    for (pointer, value) in [
        ("/out_refund_no", "other"),
        ("/out_trade_no", "other"),
        ("/status", "CHANGE"),
    ] {
        let mut other = refund_answer("SUCCESS");
        *other.pointer_mut(pointer).unwrap() = value.into();
        let (outcome, _) = unavailable(refund_with(ok(other)).await);
        assert_eq!(outcome, Written::Unknown);
    }
}

#[tokio::test]
async fn how_a_refund_stands() {
    let query = async |answer: Answer| {
        let (server, channel) = Server::start([answer]);
        let notice = channel.query_refund(&order(), &refund(490), NOW).await;
        let line = format!("GET /v3/refund/domestic/refunds/{ORDER_NO}R1");
        assert_eq!(server.asked()[0].line, line);
        notice
    };
    let standing = async |answer: Answer| query(answer).await.unwrap().standing;
    assert_eq!(
        standing(ok(refund_answer("SUCCESS"))).await,
        RefundStanding::Succeeded
    );
    assert_eq!(
        standing(ok(refund_answer("PROCESSING"))).await,
        RefundStanding::Pending { problem: None }
    );
    let abnormal = standing(ok(refund_answer("ABNORMAL"))).await;
    assert!(matches!(abnormal, RefundStanding::Pending { problem: Some(_) }));
    assert!(matches!(
        standing(ok(refund_answer("CLOSED"))).await,
        RefundStanding::Failed { .. }
    ));
    let unknown = query(no(404, "RESOURCE_NOT_EXISTS")).await.unwrap();
    assert_eq!(
        (unknown.standing, unknown.refund_no),
        (RefundStanding::Unknown, format!("{ORDER_NO}R1"))
    );
    assert_eq!(refused(query(no(400, "PARAM_ERROR")).await), "PARAM_ERROR");
    unbelieved(query(ok(json!({}))).await);
    unbelieved(query(Answer::Json(200, Seal::Wrong, refund_answer("SUCCESS"))).await);
}
