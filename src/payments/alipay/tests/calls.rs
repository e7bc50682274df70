//! Calls of the gateway: what is asked, and what is made of the answers.

use super::settings::with_certificates;
use super::stand_in::*;
use super::*;
use crate::Written;
use serde_json::json;

fn checkout(method: &str) -> Checkout {
    Checkout {
        method: Some(method.into()),
        ..Checkout::default()
    }
}

const QUERY: &str = "alipay_trade_query_response";
const CLOSE: &str = "alipay_trade_close_response";
const PRECREATE: &str = "alipay_trade_precreate_response";
const REFUND: &str = "alipay_trade_refund_response";
const REFUND_QUERY: &str = "alipay_trade_fastpay_refund_query_response";

/// A success: `code` and `msg`, and these.
fn said(more: &str) -> String {
    format!(r#"{{"code":"10000","msg":"Success",{more}}}"#)
}

fn of_order(more: &str) -> String {
    said(&format!(r#""out_trade_no":"{ORDER_NO}"{more}"#))
}

/// A failure of the business, as Alipay writes it.
fn no(sub_code: &str) -> String {
    format!(
        r#"{{"code":"40004","msg":"Business Failed","sub_code":"{sub_code}","sub_msg":"出错","out_trade_no":"{ORDER_NO}"}}"#
    )
}

fn trade(status: &str) -> String {
    of_order(&format!(
        r#","trade_no":"{TRADE_NO}","trade_status":"{status}","total_amount":"9.90","receipt_amount":"8.80","buyer_pay_amount":"8.80","send_pay_date":"2026-11-22 16:10:00""#
    ))
}

fn paid() -> Standing {
    Standing::Paid(Payment {
        order_no: ORDER_NO.into(),
        transaction_id: TRADE_NO.into(),
        amount: yuan(990),
        paid_at: Some(t("2026-11-22T08:10:00Z")),
    })
}

async fn query(answer: Answers) -> Result<Standing> {
    Gateway::answering([answer])
        .channel()
        .query(&order(), now())
        .await
}

// ---- what is asked -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_page_is_a_signed_address_and_asks_nobody() {
    let alipay = alipay();
    let checkout = Checkout {
        return_url: Some("https://shop.example.com/thanks?order=1".into()),
        ..Checkout::default()
    };
    let prepared = alipay.prepare(&order(), &checkout, now()).await.unwrap();
    assert_eq!(prepared.expires_at, Some(order().expires_at));
    assert_eq!(prepared.parameters.keys().collect::<Vec<_>>(), ["url"]);
    let (gateway, query) = prepared.parameters["url"].split_once('?').unwrap();
    assert_eq!(gateway, ALIPAY_GATEWAY);
    let asked = verified(query, "");
    let expected = [
        ("app_id", APP_ID),
        ("biz_content", asked.parameters["biz_content"].as_str()),
        ("charset", "utf-8"),
        ("format", "JSON"),
        ("method", "alipay.trade.page.pay"),
        ("notify_url", "https://shop.example.com/alipay/notify"),
        ("return_url", "https://shop.example.com/thanks?order=1"),
        ("sign_type", "RSA2"),
        ("timestamp", "2026-11-22 16:00:00"),
        ("version", "1.0"),
    ];
    let sent: Vec<(&str, &str)> = asked
        .parameters
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    assert_eq!(sent, expected);
    let business = json!({
        "out_trade_no": ORDER_NO,
        "product_code": "FAST_INSTANT_TRADE_PAY",
        "subject": "1000 credits ／ 积分 ＆ more ＝ fun",
        "time_expire": "2026-11-22 16:30:00",
        "total_amount": "9.90",
    });
    assert_eq!(asked.business, business);
    // Again, it is the same.
    assert_eq!(
        alipay.prepare(&order(), &checkout, now()).await.unwrap(),
        prepared
    );
}

#[tokio::test]
async fn a_code_is_asked_for() {
    let answer = of_order(r#","qr_code":"https:\/\/qr.alipay.com\/bavh4wjlxf12tper3a""#);
    let gateway = Gateway::answering([signed(PRECREATE, &answer)]);
    let prepared = gateway
        .channel()
        .prepare(&order(), &checkout("qr"), now())
        .await
        .unwrap();
    assert_eq!(
        prepared.parameters["qr_code"],
        "https://qr.alipay.com/bavh4wjlxf12tper3a"
    );
    assert_eq!(prepared.expires_at, Some(order().expires_at));
    let asked = gateway.asked().remove(0);
    assert_eq!(asked.method(), "alipay.trade.precreate");
    assert_eq!(
        asked.parameters["notify_url"],
        "https://shop.example.com/alipay/notify"
    );
    assert_eq!(asked.business["product_code"], "QR_CODE_OFFLINE");
    assert_eq!(asked.business["time_expire"], "2026-11-22 16:30:00");
}

#[tokio::test]
async fn a_code_is_good_for_two_hours() {
    let answer = || signed(PRECREATE, &of_order(r#","qr_code":"x""#));
    let long = Order {
        expires_at: t("2026-11-23T08:00:00Z"),
        ..order()
    };
    let gateway = Gateway::answering([answer()]);
    let prepared = gateway
        .channel()
        .prepare(&long, &checkout("qr"), now())
        .await
        .unwrap();
    assert_eq!(prepared.expires_at, Some(t("2026-11-22T10:00:00Z")));
    assert_eq!(gateway.asked()[0].business["time_expire"], "2026-11-23 16:00:00");
}

#[tokio::test]
async fn nobody_waits_longer_than_fifteen_days() {
    let long = Order {
        expires_at: t("2027-11-22T08:00:00Z"),
        ..order()
    };
    // Whenever it is asked for, since an order that is told again must be the same.
    for now in [now(), t("2026-11-30T00:00:00Z")] {
        let prepared = alipay().prepare(&long, &Checkout::default(), now).await.unwrap();
        assert_eq!(prepared.expires_at, Some(t("2026-12-07T08:00:00Z")));
        assert!(prepared.parameters["url"].contains("2026-12-07"));
    }
    let error = alipay()
        .prepare(&long, &Checkout::default(), t("2026-12-07T08:00:00Z"))
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("expires_at: has passed"), "{error}");
}

#[tokio::test]
async fn what_can_not_be_asked_is_refused() {
    let alipay = alipay();
    let refused = async |order: &Order, checkout: &Checkout, now| {
        let error = alipay.prepare(order, checkout, now).await.unwrap_err();
        assert_eq!(error.code(), "validation");
        error.to_string()
    };
    let page = Checkout::default();
    let error = refused(&order(), &checkout("native"), now()).await;
    assert!(error.starts_with("method: "), "{error}");
    let error = refused(&order(), &page, order().expires_at).await;
    assert!(error.starts_with("expires_at: "), "{error}");
    let error = refused(&order(), &page, Timestamp::from_micros(i64::MIN)).await;
    assert!(error.starts_with("now: "), "{error}");
    let dollars = Order {
        price: Money {
            minor: 990,
            currency: "USD".into(),
        },
        ..order()
    };
    let error = refused(&dollars, &page, now()).await;
    assert!(error.starts_with("currency: "), "{error}");
    for url in [
        "javascript:alert(1)",
        "http://shop.example/thanks",
        "https://user@shop.example/thanks",
        "https://shop.example/thanks#top",
        "https://shop.example/a b",
    ] {
        let nowhere = Checkout {
            return_url: Some(url.into()),
            ..page.clone()
        };
        let error = refused(&order(), &nowhere, now()).await;
        assert!(error.starts_with("return_url: "), "{url}: {error}");
    }
}

#[tokio::test]
async fn long_titles_are_cut() {
    let order = Order {
        subject: format!("a\nb\u{0}{}", "积".repeat(300)),
        ..order()
    };
    let prepared = alipay()
        .prepare(&order, &Checkout::default(), now())
        .await
        .unwrap();
    let (_, query) = prepared.parameters["url"].split_once('?').unwrap();
    let subject = verified(query, "").business["subject"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(subject, format!("a b {}", "积".repeat(252)));
}

#[tokio::test]
async fn in_certificate_mode_requests_name_the_certificates() {
    let gateway = Gateway::answering([signed(QUERY, &trade("WAIT_BUYER_PAY"))]);
    let channel = gateway.channel_of(with_certificates());
    assert_eq!(channel.query(&order(), now()).await.unwrap(), Standing::Unpaid);
    let asked = gateway.asked().remove(0);
    assert_eq!(
        asked.parameters["app_cert_sn"],
        "245a9e4b84b12637b408e7a774d1aea9"
    );
    assert!(asked.parameters["alipay_root_cert_sn"].contains('_'));
    // The business part is in the body, the rest in the address.
    assert_eq!(asked.business, json!({ "out_trade_no": ORDER_NO }));
}

// ---- how an order stands ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_order_stands_as_alipay_says() {
    for (status, expected) in [
        ("WAIT_BUYER_PAY", Standing::Unpaid),
        ("TRADE_SUCCESS", paid()),
        ("TRADE_FINISHED", paid()),
        ("TRADE_CLOSED", Standing::Closed),
    ] {
        assert_eq!(
            query(signed(QUERY, &trade(status))).await.unwrap(),
            expected,
            "{status}"
        );
    }
    for code in ["ACQ.TRADE_NOT_EXIST", "TRADE_NOT_EXIST"] {
        assert_eq!(query(signed(QUERY, &no(code))).await.unwrap(), Standing::Unknown);
    }
}

#[tokio::test]
async fn amounts_can_be_numbers_and_are_exact_then_too() {
    for (amount, expected) in [
        ("9.90", Some(990)),
        ("9.9", Some(990)),
        ("88.88", Some(8888)),
        ("1e3", None),
        ("9.901", None),
        ("-9.90", None),
    ] {
        let answer = of_order(&format!(
            r#","trade_no":"{TRADE_NO}","trade_status":"TRADE_SUCCESS","total_amount":{amount}"#
        ));
        let found = query(signed(QUERY, &answer)).await.ok();
        let found = found.map(|standing| match standing {
            Standing::Paid(payment) => payment.amount.minor,
            other => panic!("{other:?}"),
        });
        assert_eq!(found, expected, "{amount}");
    }
}

#[tokio::test]
async fn an_answer_must_be_about_the_order_and_whole() {
    let status = r#""trade_status":"TRADE_SUCCESS""#;
    for (more, problem) in [
        (
            format!(r#"{status},"trade_no":"1","total_amount":"9.90""#),
            "another order",
        ),
        (
            format!(r#"{status},"out_trade_no":"other","trade_no":"1","total_amount":"9.90""#),
            "another order",
        ),
        (
            format!(r#"{status},"out_trade_no":"{ORDER_NO}","trade_no":"1""#),
            "total_amount",
        ),
        (
            format!(r#"{status},"out_trade_no":"{ORDER_NO}","trade_no":"1","total_amount":"9.90 ""#),
            "total_amount",
        ),
        (
            format!(r#"{status},"out_trade_no":"{ORDER_NO}","trade_no":"1","total_amount":["9.90"]"#),
            "can't be read",
        ),
        (
            format!(r#"{status},"out_trade_no":"{ORDER_NO}","trade_no":"","total_amount":"9.90""#),
            "trade_no",
        ),
        (
            format!(r#"{status},{status},"out_trade_no":"{ORDER_NO}""#),
            "can't be read",
        ),
        (format!(r#""out_trade_no":"{ORDER_NO}""#), "trade_status"),
        (
            format!(r#""out_trade_no":"{ORDER_NO}","trade_status":"TRADE_PENDING""#),
            "trade_status",
        ),
    ] {
        untrusted_because(query(signed(QUERY, &said(&more))).await, problem);
    }
}

// ---- how far an answer is believed -----------------------------------------------------------------------------------

#[tokio::test]
async fn the_signature_is_over_the_text_as_it_came() {
    let tricky = [
        // Braces, brackets and quotes in texts; spaces and line breaks between values; escapes that another writer of JSON
        // would spell otherwise.
        of_order(r#","trade_status":"WAIT_BUYER_PAY","subject":"}\",\"sign\":\"x\"{""#),
        of_order(r#","trade_status":"WAIT_BUYER_PAY","a":{"b":[{"c":"}"}],"d":"\\"},"e":"\u4f60\/""#),
        of_order(",\n \"trade_status\" : \"WAIT_BUYER_PAY\" ,\t\"x\":\"alipay_trade_query_response\""),
        of_order(r#","trade_status":"WAIT_BUYER_PAY","n":1.10,"z":1e2,"s":"\\\\\"""#),
    ];
    for inner in tricky {
        let signature = super::keys::sign(&THEIRS, inner.as_bytes());
        for body in [
            format!(r#"{{"{QUERY}":{inner},"sign":"{signature}"}}"#),
            format!(r#"{{"sign":"{signature}","{QUERY}":{inner}}}"#),
            format!(" {{\n \"{QUERY}\" :\n {inner}\n , \"sign\" : \"{signature}\" }}\n"),
            format!(
                r#"{{"{QUERY}":{inner},"alipay_cert_sn":"abc","sign":"{}"}}"#,
                signature.replace('/', "\\/")
            ),
            format!(r#"{{"alipay_trade\u005fquery_response":{inner},"sign":"{signature}"}}"#),
        ] {
            assert_eq!(
                query(Answers::Body(body.clone().into())).await.unwrap(),
                Standing::Unpaid,
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_alipays_is_not_believed() {
    let inner = trade("TRADE_SUCCESS");
    let signature = super::keys::sign(&THEIRS, inner.as_bytes());
    let forged = super::keys::sign(&super::keys::FORGERS, inner.as_bytes());
    let ours = super::keys::sign(&OURS, inner.as_bytes());
    let changed = inner.replace("9.90", "0.90");
    for (body, problem) in [
        (format!(r#"{{"{QUERY}":{inner}}}"#), "no signature"),
        (format!(r#"{{"{QUERY}":{inner},"sign":""}}"#), "no signature"),
        (format!(r#"{{"{QUERY}":{inner},"sign":null}}"#), "no signature"),
        (
            format!(r#"{{"{QUERY}":{inner},"sign":["{signature}"]}}"#),
            "no signature",
        ),
        (
            format!(r#"{{"{QUERY}":{inner},"sign":"{forged}"}}"#),
            "not Alipay's",
        ),
        (
            format!(r#"{{"{QUERY}":{inner},"sign":"{ours}"}}"#),
            "not Alipay's",
        ),
        (format!(r#"{{"{QUERY}":{inner},"sign":"*"}}"#), "not Alipay's"),
        (
            format!(r#"{{"{QUERY}":{changed},"sign":"{signature}"}}"#),
            "not Alipay's",
        ),
        (
            format!(r#"{{"{QUERY}":{inner} ,"sign":"{signature}","{QUERY}":{changed}}}"#),
            "JSON",
        ),
        (
            format!(r#"{{"{QUERY}":{inner},"sign":"{signature}","sign":"{forged}"}}"#),
            "JSON",
        ),
        (
            format!(r#"{{"{QUERY}":{inner},"error_response":{inner},"sign":"{signature}"}}"#),
            "no single response",
        ),
        (
            format!(r#"{{"alipay_trade_close_response":{inner},"sign":"{signature}"}}"#),
            "no single response",
        ),
        (
            format!(r#"{{"x":{{"{QUERY}":{inner}}},"sign":"{signature}"}}"#),
            "no single response",
        ),
        (
            format!(r#"{{"{QUERY}":"{}","sign":"{signature}"}}"#, "encrypted"),
            "not Alipay's",
        ),
        (
            format!(r#"{{"{QUERY}":{inner},"sign":"{signature}"}} and more"#),
            "JSON",
        ),
        ("<html>支付宝</html>".to_owned(), "JSON"),
        ("[]".to_owned(), "JSON"),
        (String::new(), "JSON"),
        ("[".repeat(100_000), "JSON"),
        (
            format!(r#"{{"{QUERY}":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)),
            "",
        ),
        // Of what is unsigned, a failure at the most is believed.
        (
            r#"{"error_response":{"code":"10000"}}"#.to_owned(),
            "no signature",
        ),
        (format!(r#"{{"{QUERY}":{{}}}}"#), "no signature"),
    ] {
        untrusted_because(query(Answers::Body(body.into())).await, problem);
    }
}

#[tokio::test]
async fn a_changed_certificate_is_named() {
    let inner = trade("TRADE_SUCCESS");
    let forged = super::keys::sign(&super::keys::FORGERS, inner.as_bytes());
    let body = format!(r#"{{"{QUERY}":{inner},"alipay_cert_sn":"new","sign":"{forged}"}}"#);
    let gateway = Gateway::answering([Answers::Body(body.into())]);
    let channel = gateway.channel_of(with_certificates());
    untrusted_because(
        channel.query(&order(), now()).await,
        "download Alipay's current one",
    );
}

#[tokio::test]
async fn every_changed_byte_of_an_answer_is_noticed() {
    let alipay = alipay();
    let Answers::Body(body) = signed(QUERY, &trade("TRADE_SUCCESS")) else {
        unreachable!()
    };
    let read = |body: Vec<u8>| {
        let response = http::Response {
            status: 200,
            headers: Headers::default(),
            body,
        };
        match answers::read(&requests::QUERY, &alipay.alipay_key, None, &response)? {
            Ok(said) => standing(&order(), said),
            Err(no) => Err(no.into_error()),
        }
    };
    assert_eq!(read(body.clone()).unwrap(), paid());
    for index in 0..body.len() {
        for change in [1_u8, 0x20, 0x80] {
            let mut changed = body.clone();
            changed[index] ^= change;
            untrusted_because(read(changed), "");
        }
    }
}

// ---- refusals ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn alipays_no_is_passed_on() {
    for answer in [
        signed(QUERY, &no("ACQ.INVALID_PARAMETER")),
        signed("error_response", &no("ACQ.INVALID_PARAMETER")),
    ] {
        match query(answer).await {
            Err(Error::PaymentChannel {
                channel,
                reason,
                message,
            }) => {
                assert_eq!(
                    (channel.as_str(), reason.as_str(), message.as_str()),
                    (NAME, "ACQ.INVALID_PARAMETER", "出错")
                );
            }
            other => panic!("{other:?}"),
        }
    }
    // As it came on 2026-09-11, without a signature.
    let invalid = r#"{"code":"40002","msg":"Invalid Arguments","sub_code":"isv.invalid-app-id","sub_msg":"无效的AppID参数"}"#;
    for name in [QUERY, "error_response"] {
        match query(unsigned(name, invalid)).await {
            Err(Error::PaymentChannel { reason, .. }) => assert_eq!(reason, "isv.invalid-app-id"),
            other => panic!("{other:?}"),
        }
    }
    let long = format!(r#"{{"code":"40002","msg":"{}"}}"#, "很".repeat(10_000));
    match query(unsigned(QUERY, &long)).await {
        Err(Error::PaymentChannel { reason, message, .. }) => {
            assert_eq!(reason, "40002");
            assert_eq!(message.chars().count(), 200);
        }
        other => panic!("{other:?}"),
    }
}

/// A body as the gateway writes it that has not looked at our `charset`.
fn gbk(answer: Answers) -> Answers {
    match answer {
        Answers::Body(body) => {
            let (bytes, _, unknown) = encoding_rs::GBK.encode(std::str::from_utf8(&body).unwrap());
            assert!(!unknown && bytes != body);
            Answers::Body(bytes.into_owned())
        }
        other => other,
    }
}

#[tokio::test]
async fn an_unsigned_no_keeps_its_code() {
    for code in [
        "ACQ.INVALID_PARAMETER",
        "ACQ.ACCESS_FORBIDDEN",
        "isv.invalid-app-id",
    ] {
        for name in [QUERY, "error_response"] {
            for answer in [
                unsigned(name, &no(code)),
                gbk(unsigned(name, &no(code))),
                gbk(signed(name, &no(code))),
            ] {
                match query(answer).await {
                    Err(Error::PaymentChannel { reason, message, .. }) => {
                        assert_eq!((reason.as_str(), message.as_str()), (code, "出错"));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

/// Nothing is lost by it: a payment that comes all the same settles an order that is closed.
#[tokio::test]
async fn an_order_that_is_unknown_can_be_closed_by_an_unsigned_no() {
    let unknown = no("ACQ.TRADE_NOT_EXIST");
    for answer in [
        unsigned(QUERY, &unknown),
        unsigned("error_response", &unknown),
        gbk(unsigned(QUERY, &unknown)),
    ] {
        assert_eq!(query(answer).await.unwrap(), Standing::Unknown);
    }
    let (standing, methods) = close([unsigned(CLOSE, &unknown)]).await;
    assert_eq!((standing.unwrap(), methods.len()), (Standing::Closed, 1));
}

/// Its credits would go back, perhaps with the money.
#[tokio::test]
async fn no_refund_has_failed_by_an_unsigned_no() {
    let unknown = no("ACQ.TRADE_NOT_EXIST");
    for answer in [
        unsigned(REFUND_QUERY, &unknown),
        gbk(signed(REFUND_QUERY, &unknown)),
    ] {
        let gateway = Gateway::answering([answer]);
        let error = (gateway.channel().query_refund(&order(), &refund(), now()).await).unwrap_err();
        assert!(
            matches!(&error, Error::PaymentChannel { reason, .. } if reason == "ACQ.TRADE_NOT_EXIST"),
            "{error:?}"
        );
    }
    let signed_one = signed(REFUND_QUERY, &unknown);
    let gateway = Gateway::answering([signed_one]);
    let notice = gateway
        .channel()
        .query_refund(&order(), &refund(), now())
        .await
        .unwrap();
    assert_eq!(notice.standing, RefundStanding::Unknown);
}

#[tokio::test]
async fn an_answer_that_is_not_in_utf8_is_no_success() {
    let paid = of_order(&format!(
        r#","trade_no":"{TRADE_NO}","trade_status":"TRADE_SUCCESS","total_amount":"9.90","subject":"积分""#
    ));
    assert!(query(signed(QUERY, &paid)).await.is_ok());
    // Nor is one that Alipay has signed, read as GBK because something beside it is no UTF-8.
    let Answers::Body(mut beside) = signed(QUERY, &paid) else {
        unreachable!()
    };
    beside.pop();
    beside.extend(b",\"\xb2\xbb\":1}");
    for answer in [
        gbk(unsigned(QUERY, &paid)),
        gbk(signed(QUERY, &paid)),
        Answers::Body(beside),
    ] {
        untrusted_because(query(answer).await, "no signature");
    }
    untrusted_because(query(Answers::Body(b"\xff\xff".to_vec())).await, "JSON");
    untrusted_because(query(Answers::Body(b"\xb2\xbb".to_vec())).await, "JSON");
}

#[tokio::test]
async fn where_alipay_does_not_know_it_can_be_asked_again() {
    let unavailable = || {
        [
            signed(REFUND, &no("ACQ.SYSTEM_ERROR")),
            signed(REFUND, &no("aop.ACQ.SYSTEM_ERROR")),
            signed(
                REFUND,
                r#"{"code":"20000","msg":"Service Currently Unavailable","sub_code":"isp.unknow-error"}"#,
            ),
            unsigned(
                REFUND,
                r#"{"code":"20000","msg":"Service Currently Unavailable","sub_code":"aop.unknow-error"}"#,
            ),
            unsigned(
                "error_response",
                r#"{"code":"40005","msg":"Call Limited","sub_code":"isv.app-call-limited"}"#,
            ),
            unsigned(REFUND, &no("ACQ.SYSTEM_ERROR")),
            gbk(unsigned(REFUND, &no("ACQ.SYSTEM_ERROR"))),
            gbk(unsigned(
                "error_response",
                r#"{"code":"20000","msg":"服务不可用","sub_code":"isp.unknow-error"}"#,
            )),
            Answers::Status(502),
            Answers::Status(302),
            Answers::Nothing,
        ]
    };
    for answer in unavailable() {
        let gateway = Gateway::answering([answer]);
        let error = gateway
            .channel()
            .refund(&order(), &refund(), now())
            .await
            .unwrap_err();
        let Error::Unavailable { outcome, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*outcome, Written::Unknown, "{error}");
        assert_eq!(gateway.methods(), ["alipay.trade.refund"]);
    }
    // Of a question, nothing is left behind.
    let error = query(signed(QUERY, &no("ACQ.SYSTEM_ERROR"))).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Unavailable {
                outcome: Written::No,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn where_nobody_listens_nothing_was_asked() {
    let gateway = Gateway::answering([]);
    // Its thread has ended, or is about to.
    while std::net::TcpStream::connect(
        gateway
            .url
            .trim_start_matches("http://")
            .trim_end_matches("/gateway.do"),
    )
    .is_ok()
    {}
    let error = gateway
        .channel()
        .refund(&order(), &refund(), now())
        .await
        .unwrap_err();
    let Error::Unavailable { outcome, reason, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*outcome, Written::No, "{error}");
    assert!(!reason.contains("sign="), "{reason}");
}

// ---- closing ---------------------------------------------------------------------------------------------------------

async fn close(answers: impl IntoIterator<Item = Answers>) -> (Result<Standing>, Vec<String>) {
    let gateway = Gateway::answering(answers);
    let standing = gateway.channel().close(&order(), now()).await;
    (standing, gateway.methods())
}

#[tokio::test]
async fn an_order_is_closed() {
    let closed = of_order(&format!(r#","trade_no":"{TRADE_NO}""#));
    for answer in [signed(CLOSE, &closed), signed(CLOSE, &no("ACQ.TRADE_NOT_EXIST"))] {
        let (standing, methods) = close([answer]).await;
        assert_eq!(standing.unwrap(), Standing::Closed);
        assert_eq!(methods, ["alipay.trade.close"]);
    }
    let other = said(r#""out_trade_no":"other""#);
    untrusted_because(close([signed(CLOSE, &other)]).await.0, "another order");
}

#[tokio::test]
async fn what_can_not_be_closed_is_asked_about() {
    for code in [
        "ACQ.TRADE_STATUS_ERROR",
        "ACQ.REASON_TRADE_STATUS_INVALID",
        "ACQ.REASON_ILLEGAL_STATUS",
    ] {
        for (answer, expected) in [
            (trade("TRADE_SUCCESS"), paid()),
            (trade("TRADE_FINISHED"), paid()),
            (trade("TRADE_CLOSED"), Standing::Closed),
            (no("ACQ.TRADE_NOT_EXIST"), Standing::Closed),
        ] {
            let (standing, methods) = close([signed(CLOSE, &no(code)), signed(QUERY, &answer)]).await;
            assert_eq!(standing.unwrap(), expected, "{code} {answer}");
            assert_eq!(methods, ["alipay.trade.close", "alipay.trade.query"]);
        }
    }
    // Alipay will not close it, and it waits: then the answer is no, and never that it is unpaid.
    let (standing, _) = close([
        signed(CLOSE, &no("ACQ.X")),
        signed(QUERY, &trade("WAIT_BUYER_PAY")),
    ])
    .await;
    assert!(matches!(standing, Err(Error::PaymentChannel { reason, .. }) if reason == "ACQ.X"));
}

// ---- refunds ---------------------------------------------------------------------------------------------------------

async fn give_back(answers: impl IntoIterator<Item = Answers>) -> (Result<RefundNotice>, Vec<Asked>) {
    let gateway = Gateway::answering(answers);
    let notice = gateway.channel().refund(&order(), &refund(), now()).await;
    (notice, gateway.asked())
}

fn refunded(amount: &str) -> String {
    of_order(&format!(
        r#","trade_no":"{TRADE_NO}","out_request_no":"{REFUND_NO}","total_amount":"9.90","refund_amount":"{amount}","refund_status":"REFUND_SUCCESS""#
    ))
}

/// As Alipay answers where it knows no such refund, though the order it does.
const EMPTY: &str = r#"{"code":"10000","msg":"Success"}"#;

fn notice(standing: RefundStanding, amount: Option<i64>) -> RefundNotice {
    RefundNotice {
        order_no: ORDER_NO.into(),
        refund_no: REFUND_NO.into(),
        channel_id: None,
        amount: amount.map(yuan),
        standing,
    }
}

#[tokio::test]
async fn money_goes_back() {
    // 6.60 are all refunds of the order so far, and so no amount of this one.
    let answer = of_order(&format!(
        r#","trade_no":"{TRADE_NO}","fund_change":"Y","refund_fee":"6.60""#
    ));
    let (found, asked) = give_back([signed(REFUND, &answer)]).await;
    assert_eq!(found.unwrap(), notice(RefundStanding::Succeeded, None));
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].method(), "alipay.trade.refund");
    let business = json!({ "out_trade_no": ORDER_NO, "out_request_no": REFUND_NO, "refund_amount": "3.30" });
    assert_eq!(asked[0].business, business);
    assert!(!asked[0].parameters.contains_key("notify_url"));
}

#[tokio::test]
async fn a_refund_that_moved_no_money_is_asked_about() {
    for change in [r#","fund_change":"N""#, ""] {
        let taken = signed(REFUND, &of_order(change));
        let (found, asked) = give_back([taken, signed(REFUND_QUERY, &refunded("3.30"))]).await;
        assert_eq!(found.unwrap(), notice(RefundStanding::Succeeded, Some(330)));
        assert_eq!(asked[1].method(), "alipay.trade.fastpay.refund.query");
        assert_eq!(
            asked[1].business,
            json!({ "out_trade_no": ORDER_NO, "out_request_no": REFUND_NO })
        );
        let taken = signed(REFUND, &of_order(change));
        let (found, _) = give_back([taken, signed(REFUND_QUERY, EMPTY)]).await;
        assert_eq!(
            found.unwrap(),
            notice(RefundStanding::Pending { problem: None }, None)
        );
    }
    let about_another = said(r#""out_trade_no":"other","fund_change":"Y""#);
    untrusted_because(
        give_back([signed(REFUND, &about_another)]).await.0,
        "another order",
    );
}

#[tokio::test]
async fn a_refusal_is_believed_where_no_earlier_call_succeeded() {
    for code in [
        "ACQ.TRADE_HAS_CLOSE",
        "ACQ.SELLER_BALANCE_NOT_ENOUGH",
        "ACQ.DISCORDANT_REPEAT_REQUEST",
    ] {
        let (found, _) =
            give_back([signed(REFUND, &no(code)), signed(REFUND_QUERY, &refunded("3.30"))]).await;
        assert_eq!(
            found.unwrap(),
            notice(RefundStanding::Succeeded, Some(330)),
            "{code}"
        );
        let (found, _) = give_back([signed(REFUND, &no(code)), signed(REFUND_QUERY, EMPTY)]).await;
        assert!(matches!(found, Err(Error::PaymentChannel { reason, .. }) if reason == code));
    }
    let (found, _) = give_back([signed(REFUND, &no("ACQ.X")), Answers::Nothing]).await;
    assert!(matches!(found, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn a_refund_stands_as_alipay_says() {
    let ask = async |answer: &str| {
        let gateway = Gateway::answering([signed(REFUND_QUERY, answer)]);
        gateway.channel().query_refund(&order(), &refund(), now()).await
    };
    assert_eq!(
        ask(&refunded("3.30")).await.unwrap(),
        notice(RefundStanding::Succeeded, Some(330))
    );
    assert_eq!(ask(EMPTY).await.unwrap(), notice(RefundStanding::Unknown, None));
    assert_eq!(
        ask(&no("ACQ.TRADE_NOT_EXIST")).await.unwrap(),
        notice(RefundStanding::Unknown, None)
    );
    let failed = refunded("3.30").replace("REFUND_SUCCESS", "REFUND_FAIL");
    let problem = "REFUND_FAIL".to_owned();
    assert_eq!(
        ask(&failed).await.unwrap(),
        notice(RefundStanding::Failed { problem }, Some(330))
    );
    let waits = refunded("3.30").replace("REFUND_SUCCESS", "REFUND_PROCESSING");
    let problem = Some("REFUND_PROCESSING".to_owned());
    assert_eq!(
        ask(&waits).await.unwrap(),
        notice(RefundStanding::Pending { problem }, Some(330))
    );
    // About another refund, another order, or nothing that can be compared.
    untrusted_because(ask(&refunded("3.30").replace("R1", "R2")).await, "another refund");
    untrusted_because(
        ask(&refunded("3.30").replace(ORDER_NO, "other")).await,
        "another order",
    );
    untrusted_because(ask(&refunded("3.3.0")).await, "how much");
}
