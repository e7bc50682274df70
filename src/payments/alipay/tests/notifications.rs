//! Notifications, signed as Alipay would.

use super::keys::{FORGERS, sign};
use super::settings::with_certificates;
use super::*;
use crate::payments::alipay::certificates::certificate;
use crate::payments::alipay::notice::NOTICE_BYTES_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Names and values as bytes: a notification before it is signed.
type Parameters = Vec<(&'static str, Vec<u8>)>;

/// As pages that quote the vendor's show it, its useless parameters too.
fn payment() -> Parameters {
    let texts = [
        ("gmt_create", "2026-11-22 16:09:50"),
        ("charset", "utf-8"),
        ("seller_email", "shop@example.com"),
        ("subject", "1000 credits ／ 积分"),
        ("body", ""),
        ("buyer_id", "2088102116773037"),
        ("invoice_amount", "9.90"),
        ("notify_id", "2026112200222160950007001234567890"),
        (
            "fund_bill_list",
            r#"[{"amount":"9.90","fundChannel":"ALIPAYACCOUNT"}]"#,
        ),
        ("notify_type", "trade_status_sync"),
        ("trade_status", "TRADE_SUCCESS"),
        ("receipt_amount", "8.80"),
        ("buyer_pay_amount", "8.80"),
        ("app_id", APP_ID),
        ("sign_type", "RSA2"),
        ("seller_id", SELLER_ID),
        ("gmt_payment", "2026-11-22 16:10:00"),
        ("notify_time", "2026-11-22 16:10:01"),
        ("passback_params", "a%3D1%26b%3D%2B "),
        ("version", "1.0"),
        ("out_trade_no", ORDER_NO),
        ("total_amount", "9.90"),
        ("trade_no", TRADE_NO),
        ("auth_app_id", APP_ID),
        ("point_amount", "0.00"),
    ];
    texts
        .map(|(name, value)| (name, value.as_bytes().to_vec()))
        .into()
}

/// With a parameter set to another value, or a new one.
fn with(mut parameters: Parameters, name: &'static str, value: &str) -> Parameters {
    parameters.retain(|(each, _)| *each != name);
    parameters.push((name, value.as_bytes().to_vec()));
    parameters
}

fn without(mut parameters: Parameters, name: &str) -> Parameters {
    parameters.retain(|(each, _)| *each != name);
    parameters
}

/// What is signed; written down here once more, so that it is compared.
fn content(parameters: &Parameters) -> Vec<u8> {
    let mut signed: Vec<_> = parameters
        .iter()
        .filter(|(name, _)| !["sign", "sign_type"].contains(name))
        .collect();
    signed.sort();
    let joined: Vec<Vec<u8>> = signed
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value].concat())
        .collect();
    joined.join(&b'&')
}

fn encode(parameters: &Parameters) -> Vec<u8> {
    let mut body = String::new();
    for (name, value) in parameters {
        let and = if body.is_empty() { "" } else { "&" };
        body.extend([and, name, "="]);
        body.extend(form_urlencoded::byte_serialize(value));
    }
    body.into_bytes()
}

fn signed_by(key: &aws_lc_rs::rsa::KeyPair, mut parameters: Parameters) -> Vec<u8> {
    let signature = sign(key, &content(&parameters));
    parameters.push(("sign", signature.into_bytes()));
    encode(&parameters)
}

fn signed(parameters: Parameters) -> Vec<u8> {
    signed_by(&THEIRS, parameters)
}

fn read(body: &[u8]) -> Result<Notice> {
    alipay().notification(&Headers::default(), body, now())
}

fn paid() -> Notice {
    Notice::Paid(Payment {
        order_no: ORDER_NO.into(),
        transaction_id: TRADE_NO.into(),
        amount: yuan(990),
        paid_at: Some(t("2026-11-22T08:10:00Z")),
    })
}

fn other(event: &str) -> Notice {
    Notice::Other {
        order_no: Some(ORDER_NO.into()),
        event: event.into(),
    }
}

fn refunded(refund_no: &str) -> Notice {
    Notice::Refund(RefundNotice {
        order_no: ORDER_NO.into(),
        refund_no: refund_no.into(),
        channel_id: None,
        amount: None,
        standing: RefundStanding::Succeeded,
    })
}

// ---- genuine ones ----------------------------------------------------------------------------------------------------

#[test]
fn a_payment_is_read() {
    assert_eq!(read(&signed(payment())).unwrap(), paid());
    let finished = with(payment(), "trade_status", "TRADE_FINISHED");
    assert_eq!(read(&signed(finished)).unwrap(), paid());
    // Samples of payments have these, empty of refunds.
    let with_marks = with(
        with(payment(), "refund_fee", "0.00"),
        "gmt_close",
        "2026-11-22 16:10:00",
    );
    assert_eq!(read(&signed(with_marks)).unwrap(), paid());
    let empty = with(with(payment(), "gmt_refund", ""), "refund_fee", "");
    assert_eq!(read(&signed(empty)).unwrap(), paid());
}

#[test]
fn the_time_of_a_payment_may_be_missing() {
    for parameters in [
        without(payment(), "gmt_payment"),
        with(payment(), "gmt_payment", "soon"),
    ] {
        let Notice::Paid(payment) = read(&signed(parameters)).unwrap() else {
            panic!()
        };
        assert_eq!(payment.paid_at, None);
    }
}

#[test]
fn every_way_to_write_a_space_is_the_same() {
    let body = String::from_utf8(signed(with(payment(), "subject", " a + b  "))).unwrap();
    assert!(body.contains("subject=+a+%2B+b++"), "{body}");
    assert_eq!(read(body.as_bytes()).unwrap(), paid());
    assert_eq!(read(body.replace('+', "%20").as_bytes()).unwrap(), paid());
    assert_eq!(read(body.replace("%2B", "%2b").as_bytes()).unwrap(), paid());
    untrusted_because(read(body.replace("%2B", "+").as_bytes()), "not Alipay's");
    untrusted_because(read(body.replace("b++&", "b+&").as_bytes()), "not Alipay's");
    untrusted_because(read(body.replace("b++&", "b&").as_bytes()), "not Alipay's");
}

#[test]
fn text_is_decoded_after_it_is_verified() {
    let (gbk, _, _) = encoding_rs::GBK.encode("积分，一千");
    let mut parameters = without(payment(), "subject");
    parameters.push(("subject", gbk.into_owned()));
    for charset in ["GBK", "gbk", "gb2312", "gb18030", "GB18030"] {
        assert_eq!(
            read(&signed(with(parameters.clone(), "charset", charset))).unwrap(),
            paid()
        );
    }
    // What nobody reads need not be text.
    assert_eq!(read(&signed(parameters.clone())).unwrap(), paid());
    // What somebody reads must be.
    let (gbk, _, _) = encoding_rs::GBK.encode("退款一");
    parameters.push(("out_biz_no", gbk.into_owned()));
    let parameters = with(parameters, "gmt_refund", "2026-11-22 16:20:00.123");
    // With a character that GBK does not have.
    let mut rare = without(parameters.clone(), "out_biz_no");
    rare.push(("out_biz_no", encoding_rs::GB18030.encode("退款𠮷").0.into_owned()));
    let rare = with(rare, "charset", "GB18030");
    assert_eq!(read(&signed(rare)).unwrap(), refunded("退款𠮷"));
    assert_eq!(
        read(&signed(with(parameters.clone(), "charset", "GBK"))).unwrap(),
        refunded("退款一")
    );
    untrusted_because(
        read(&signed(parameters.clone())),
        "out_biz_no is not in its charset",
    );
    untrusted_because(
        read(&signed(with(parameters, "charset", "utf-7"))),
        "a charset other than",
    );
}

#[test]
fn a_notice_without_a_charset_is_utf8() {
    assert_eq!(read(&signed(without(payment(), "charset"))).unwrap(), paid());
}

#[test]
fn refunds_are_no_payments() {
    let part = with(payment(), "gmt_refund", "2026-11-22 16:20:00.631");
    let part = with(with(part, "refund_fee", "3.30"), "out_biz_no", REFUND_NO);
    assert_eq!(read(&signed(part.clone())).unwrap(), refunded(REFUND_NO));
    let whole = with(
        with(part.clone(), "trade_status", "TRADE_CLOSED"),
        "refund_fee",
        "9.90",
    );
    let whole = with(whole, "gmt_close", "2026-11-22 16:20:00");
    assert_eq!(read(&signed(whole)).unwrap(), refunded(REFUND_NO));
    let finished = with(part.clone(), "trade_status", "TRADE_FINISHED");
    assert_eq!(read(&signed(finished)).unwrap(), refunded(REFUND_NO));
    // One mark is enough, and one that can't be read is one.
    for (name, mark) in [
        ("gmt_refund", "2026-11-22 16:20:00"),
        ("refund_fee", "0.01"),
        ("refund_fee", "much"),
    ] {
        let marked = with(with(payment(), name, mark), "out_biz_no", REFUND_NO);
        assert_eq!(read(&signed(marked)).unwrap(), refunded(REFUND_NO), "{name}");
        // A refund that is not named is still no payment.
        let unnamed = with(payment(), name, mark);
        assert_eq!(read(&signed(unnamed)).unwrap(), other("TRADE_SUCCESS"), "{name}");
    }
    // Somebody else's number, as refunds by hand have it, is passed on as it is.
    assert_eq!(
        read(&signed(with(part, "out_biz_no", TRADE_NO))).unwrap(),
        refunded(TRADE_NO)
    );
}

#[test]
fn what_is_neither_is_something_else() {
    for status in ["WAIT_BUYER_PAY", "TRADE_CLOSED", "TRADE_PENDING", "trade_success"] {
        let parameters = with(payment(), "trade_status", status);
        assert_eq!(read(&signed(parameters)).unwrap(), other(status));
    }
    // As one looks like whose trade nobody paid in time.
    let late = with(
        with(payment(), "trade_status", "TRADE_CLOSED"),
        "refund_fee",
        "0.00",
    );
    let late = without(with(late, "gmt_close", "2026-11-22 16:30:00"), "gmt_payment");
    assert_eq!(read(&signed(late)).unwrap(), other("TRADE_CLOSED"));
    let odd = with(
        with(payment(), "trade_status", "WAIT_BUYER_PAY"),
        "refund_fee",
        "1.00",
    );
    assert_eq!(
        read(&signed(with(odd, "out_biz_no", REFUND_NO))).unwrap(),
        other("WAIT_BUYER_PAY")
    );
    let message = with(
        without(payment(), "trade_status"),
        "msg_method",
        "alipay.trade.refund.depositback.completed",
    );
    assert_eq!(
        read(&signed(message)).unwrap(),
        other("alipay.trade.refund.depositback.completed")
    );
    let silent = without(without(payment(), "trade_status"), "notify_type");
    assert_eq!(read(&signed(silent)).unwrap(), other("no trade_status"));
}

#[test]
fn a_payment_must_be_whole() {
    for name in ["out_trade_no", "trade_no", "total_amount"] {
        untrusted_because(read(&signed(without(payment(), name))), name);
        untrusted_because(read(&signed(with(payment(), name, ""))), name);
    }
    for amount in [
        "1.234", "-9.90", "1e3", "９.90", "9,90", "9.90 ", " 9.90", "0x9", "NaN", "9.90元",
    ] {
        untrusted_because(
            read(&signed(with(payment(), "total_amount", amount))),
            "total_amount",
        );
    }
    for (amount, minor) in [
        ("0.1", 10),
        ("9", 900),
        ("0.01", 1),
        ("100000000.00", 10_000_000_000),
    ] {
        let Notice::Paid(payment) = read(&signed(with(payment(), "total_amount", amount))).unwrap() else {
            panic!()
        };
        assert_eq!(payment.amount, yuan(minor));
    }
}

// ---- others ----------------------------------------------------------------------------------------------------------

#[test]
fn what_is_for_others_is_refused() {
    untrusted_because(
        read(&signed(with(payment(), "app_id", "2021000000000001"))),
        "another app_id",
    );
    untrusted_because(read(&signed(without(payment(), "app_id"))), "another app_id");
    untrusted_because(
        read(&signed(with(payment(), "seller_id", "2088000000000001"))),
        "another seller_id",
    );
    untrusted_because(
        read(&signed(without(payment(), "seller_id"))),
        "another seller_id",
    );
    let any_seller = AlipayConfig {
        seller_id: None,
        ..config()
    };
    let any_seller = Alipay::new(any_seller).unwrap();
    let body = signed(without(payment(), "seller_id"));
    assert_eq!(
        any_seller
            .notification(&Headers::default(), &body, now())
            .unwrap(),
        paid()
    );
}

#[test]
fn what_alipay_did_not_sign_is_refused() {
    untrusted_because(read(&signed_by(&FORGERS, payment())), "not Alipay's");
    untrusted_because(read(&signed_by(&OURS, payment())), "not Alipay's");
    untrusted_because(read(&encode(&payment())), "no signature");
    for signature in ["", "*", "AAAA", "success"] {
        let mut parameters = payment();
        parameters.push(("sign", signature.as_bytes().to_vec()));
        untrusted_because(read(&encode(&parameters)), "");
    }
    // Signed, but over sign_type as well, as some other products do.
    let mut parameters = payment();
    parameters.sort();
    let everything: Vec<Vec<u8>> = parameters
        .iter()
        .map(|(name, value)| [name.as_bytes(), b"=", value].concat())
        .collect();
    let signature = sign(&THEIRS, &everything.join(&b'&'));
    parameters.push(("sign", signature.into_bytes()));
    untrusted_because(read(&encode(&parameters)), "not Alipay's");
}

#[test]
fn only_rsa2_will_do() {
    for sign_type in ["RSA", "rsa2", "RSA2 ", "SM2", "MD5", "none", ""] {
        untrusted_because(
            read(&signed(with(payment(), "sign_type", sign_type))),
            "not signed with RSA2",
        );
    }
    untrusted_because(
        read(&signed(without(payment(), "sign_type"))),
        "not signed with RSA2",
    );
}

/// Made with `openssl dgst -sha256 -sign` and `-sha1 -sign`, over this text and with the key of `vectors/alipay.pem`.
#[test]
fn openssl_agrees_and_sha1_is_refused() {
    let content = "app_id=2021000000000000&charset=utf-8&gmt_payment=2026-11-22 16:30:00&note=a+b %26 = 你 \
                   &notify_type=trade_status_sync&out_trade_no=019aab00000070008000000000000001&passback_params=\
                   &total_amount=9.90&trade_no=2026112222001400000000000001&trade_status=TRADE_SUCCESS";
    let body = |signature: &str| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        // From the end: what is signed is sorted, what is sent is not.
        for pair in content.rsplit('&') {
            let (name, value) = pair.split_once('=').unwrap();
            form.append_pair(name, value);
        }
        form.append_pair("sign_type", "RSA2")
            .append_pair("sign", signature)
            .finish()
    };
    let mut alipay = Alipay::new(AlipayConfig {
        seller_id: None,
        ..config()
    })
    .unwrap();
    alipay.alipay_key = certificate("alipay_cert", include_str!("vectors/alipay.pem"))
        .unwrap()
        .1;
    let read = |body: String| alipay.notification(&Headers::default(), body.as_bytes(), now());
    let Notice::Paid(payment) = read(body(include_str!("vectors/notice.sha256"))).unwrap() else {
        panic!()
    };
    assert_eq!(payment.paid_at, Some(t("2026-11-22T08:30:00Z")));
    let sha1 = include_str!("vectors/notice.sha1");
    assert_eq!(STANDARD.decode(sha1).unwrap().len(), 256);
    untrusted_because(read(body(sha1)), "not Alipay's");
}

#[test]
fn a_parameter_that_is_there_twice_is_refused() {
    let body = String::from_utf8(signed(payment())).unwrap();
    for more in [
        "total_amount=9.90",
        "total_amount=0.01",
        "total%5Famount=0.01",
        "sign=x",
        "sign_type=RSA2",
        "app_id=2021000000000000",
    ] {
        untrusted_because(read(format!("{body}&{more}").as_bytes()), "twice");
        untrusted_because(read(format!("{more}&{body}").as_bytes()), "twice");
    }
}

#[test]
fn no_mark_of_a_refund_hides_in_another_parameter() {
    let part = with(payment(), "gmt_refund", "2026-11-22 16:20:00.631");
    let part = with(with(part, "refund_fee", "3.30"), "out_biz_no", REFUND_NO);
    let mut sorted: Parameters = part.clone();
    sorted.push(("sign", sign(&THEIRS, &content(&part)).into_bytes()));
    sorted.sort();
    let body = String::from_utf8(encode(&sorted)).unwrap();
    assert_eq!(read(body.as_bytes()).unwrap(), refunded(REFUND_NO));
    // What is signed stays the same: each parameter that can be moved into the value, or the name, of the one before.
    for hidden in [
        "gmt_refund",
        "refund_fee",
        "out_biz_no",
        "gmt_payment",
        "trade_status",
    ] {
        let in_the_value = body.replace(&format!("&{hidden}="), &format!("%26{hidden}%3D"));
        untrusted_because(read(in_the_value.as_bytes()), "two ways");
        let (before, rest) = body.split_once(&format!("&{hidden}=")).unwrap();
        let (others, name_before) = before.rsplit_once('&').unwrap();
        let in_the_name = format!("{others}&{}%26{hidden}={rest}", name_before.replace('=', "%3D"));
        untrusted_because(read(in_the_name.as_bytes()), "name is none");
    }
    let both = body.replace("&refund_fee=", "%26refund_fee%3D");
    let both = both.replace("&gmt_refund=", "%26gmt_refund%3D");
    untrusted_because(read(both.as_bytes()), "two ways");
    // Nor is another one, which the payer or the shop wrote, taken out of a value.
    let subject = with(payment(), "subject", "a&subject_2=b");
    untrusted_because(read(&signed(subject)), "two ways");
    let subject = with(payment(), "subject", "Tom&Jerry, A & B = C");
    assert_eq!(read(&signed(subject)).unwrap(), paid());
}

#[test]
fn a_parameter_without_a_value_may_be_signed_or_not() {
    let empty = |parameters: &Parameters| -> Parameters {
        let mut parameters = parameters.clone();
        for name in ["token", "refund_fee", "gmt_refund", "alipay_cert_sn"] {
            parameters.push((name, Vec::new()));
        }
        parameters
    };
    let whole = empty(&payment());
    assert_eq!(read(&signed(whole.clone())).unwrap(), paid());
    let valued = whole
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .cloned()
        .collect();
    let signature = sign(&THEIRS, &content(&valued)).into_bytes();
    let mut unsigned = whole.clone();
    unsigned.push(("sign", signature));
    assert_eq!(read(&encode(&unsigned)).unwrap(), paid());
    // All of them, or none; and nothing that has a value is left out.
    let mut some = without(whole, "token");
    some.push(("sign", sign(&THEIRS, &content(&empty(&payment()))).into_bytes()));
    untrusted_because(read(&encode(&some)), "not Alipay's");
    untrusted_because(read(&encode(&with(unsigned, "token", " "))), "not Alipay's");
}

#[test]
fn a_notice_of_too_many_parameters_is_refused_before_any_work() {
    // Within the limit of bytes, and beyond it: what is wrong with what stands behind them is not seen.
    for count in [200, 16_000, 33_000] {
        let body = format!("{}%", "&".repeat(count));
        let problem = if count > NOTICE_BYTES_MAX {
            "at most"
        } else {
            "more than 128"
        };
        untrusted_because(read(body.as_bytes()), problem);
    }
}

#[test]
fn what_was_added_or_taken_away_is_noticed() {
    let body = String::from_utf8(signed(payment())).unwrap();
    untrusted_because(read(format!("{body}&new=1").as_bytes()), "not Alipay's");
    untrusted_because(read(format!("{body}&=").as_bytes()), "name is none");
    untrusted_because(read(format!("{body}&").as_bytes()), "no form");
    untrusted_because(read(format!("{body}\n").as_bytes()), "");
    untrusted_because(read(format!("?{body}").as_bytes()), "name is none");
    for (name, _) in payment() {
        let parts: Vec<&str> = body
            .split('&')
            .filter(|part| !part.starts_with(&format!("{name}=")))
            .collect();
        untrusted_because(read(parts.join("&").as_bytes()), "");
    }
    // An empty value that Alipay signed can't be left out, nor one added.
    untrusted_because(read(body.replace("&body=&", "&").as_bytes()), "not Alipay's");
    untrusted_because(read(format!("{body}&empty=").as_bytes()), "not Alipay's");
    for nothing in ["", "{}", "<xml/>", "\0", "sign", "=&="] {
        untrusted_because(read(nothing.as_bytes()), "");
    }
}

#[test]
fn every_changed_byte_is_noticed_or_changes_nothing() {
    let body = signed(payment());
    let expected = read(&body).unwrap();
    assert_eq!(expected, paid());
    let alipay = alipay();
    let mut harmless = 0;
    for index in 0..body.len() {
        for bit in 0..8 {
            let mut changed = body.clone();
            changed[index] ^= 1 << bit;
            match alipay.notification(&Headers::default(), &changed, now()) {
                // `%2f` for `%2F`: the same byte.
                Ok(notice) => {
                    assert_eq!(notice, expected, "byte {index}, bit {bit}");
                    assert_eq!(bit, 5, "byte {index}");
                    harmless += 1;
                }
                Err(error) => assert_eq!(error.code(), "payment_verification"),
            }
        }
        let mut shorter = body.clone();
        shorter.remove(index);
        assert!(
            alipay.notification(&Headers::default(), &shorter, now()).is_err(),
            "without byte {index}"
        );
        assert!(
            alipay
                .notification(&Headers::default(), &body[..index], now())
                .is_err(),
            "until byte {index}"
        );
    }
    let digits = body
        .windows(3)
        .filter(|w| w[0] == b'%')
        .flat_map(|w| &w[1..])
        .filter(|d| d.is_ascii_alphabetic());
    assert_eq!(harmless, digits.count());
}

#[test]
fn a_body_has_a_limit() {
    let fitting = |length: usize| {
        let empty = signed(with(payment(), "body", "")).len();
        let body = signed(with(payment(), "body", &"x".repeat(length - empty)));
        // Signatures differ in how many of their characters are escaped.
        let by = length.abs_diff(body.len());
        assert!(by < 300, "{by}");
        body
    };
    assert_eq!(read(&fitting(NOTICE_BYTES_MAX - 300)).unwrap(), paid());
    untrusted_because(read(&fitting(NOTICE_BYTES_MAX + 600)), "at most");
    untrusted_because(read(&vec![b'&'; NOTICE_BYTES_MAX + 1]), "at most");
    untrusted_because(read(&vec![b'&'; NOTICE_BYTES_MAX]), "more than 128 parameters");
}

#[test]
fn an_old_notice_is_read_like_a_new_one() {
    // The order's state is what stands against repetitions.
    let body = signed(payment());
    let later = t("2036-11-22T08:00:00Z");
    assert_eq!(
        alipay().notification(&Headers::default(), &body, later).unwrap(),
        paid()
    );
}

// ---- certificate mode ------------------------------------------------------------------------------------------------

#[test]
fn the_name_of_the_certificate_may_be_signed_or_not() {
    let alipay = Alipay::new(with_certificates()).unwrap();
    let read = |body: &[u8]| alipay.notification(&Headers::default(), body, now());
    let ours = "117d4ab58546a7f0b70166856380ffd4";
    assert_eq!(read(&signed(payment())).unwrap(), paid());
    assert_eq!(
        read(&signed(with(payment(), "alipay_cert_sn", ours))).unwrap(),
        paid()
    );
    let body = String::from_utf8(signed(payment())).unwrap();
    assert_eq!(
        read(format!("{body}&alipay_cert_sn={ours}").as_bytes()).unwrap(),
        paid()
    );
    // It changes nothing whatever it says, but explains what can't be verified.
    let forged = |serial: &str| signed_by(&FORGERS, with(payment(), "alipay_cert_sn", serial));
    untrusted_because(read(&forged(ours)), "signature is not Alipay's");
    untrusted_because(read(&forged("another")), "download Alipay's current one");
}

// ---- the reply -------------------------------------------------------------------------------------------------------

#[test]
fn alipay_hears_success_and_nothing_else() {
    let reply = alipay().reply(true);
    assert_eq!(
        (reply.status, reply.content_type, reply.body.as_str()),
        (200, "text/plain", "success")
    );
    let reply = alipay().reply(false);
    assert_eq!(
        (reply.status, reply.content_type, reply.body.as_str()),
        (200, "text/plain", "failure")
    );
}
