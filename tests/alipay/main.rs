//! The checks of the fuzz targets (`fuzz/`) on stable Rust: notifications and bills that are nearly right.
#![cfg(feature = "payments")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

#[path = "../../fuzz/alipay.rs"]
mod alipay;

use proptest::prelude::*;

/// Pieces that turn up in notifications, and that break them.
const PARAMETERS: &[&str] = &[
    "trade_status=TRADE_SUCCESS",
    "trade_status=TRADE_FINISHED",
    "trade_status=TRADE_CLOSED",
    "trade_status=WAIT_BUYER_PAY",
    "out_trade_no=019aab00000070008000000000000001",
    "trade_no=2026112222001400000000000001",
    "total_amount=9.90",
    "total_amount=1e3",
    "gmt_payment=2026-11-22 16:10:00",
    "gmt_refund=2026-11-22 16:20:00.631",
    "refund_fee=0.00",
    "refund_fee=3.30",
    "out_biz_no=019aab00000070008000000000000001R1",
    "charset=GBK",
    "charset=utf-8",
    "charset=utf-7",
    "seller_id=2088000000000000",
    "app_id=2021000000000001",
    "alipay_cert_sn=117d4ab58546a7f0b70166856380ffd4",
    "msg_method=alipay.trade.refund.depositback.completed",
    "sign=AAAA",
    "sign_type=RSA",
    "passback_params=",
    "subject=积分",
    "subject=%",
    "=",
    "",
];

/// And of bills.
const LINES: &[&str] = &[
    "支付宝交易号,商户订单号,业务类型,完成时间,订单金额（元）,退款批次号/请求号",
    "2026112222001400000000000001\t,1\t,交易\t,2026-11-22 16:10:00,9.90,\t",
    "2026112222001400000000000001\t,1\t,退款\t,2026-11-22 16:20:00,-3.30,1R1\t",
    "#-----------------------------------------业务明细列表结束------------------------------------",
    "#交易合计：1笔，商家实收共9.90元",
    "#退款合计：1笔，商家实收退款共-3.30元",
    "#",
    "",
    "\"",
    ",,,,,",
    "PK",
];

/// Some of the pieces, joined, with a few bytes changed.
fn nearly(pieces: &'static [&'static str], joint: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let some = prop::collection::vec(prop::sample::select(pieces), 0..10);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (some, changes).prop_map(move |(some, changes)| {
        let mut bytes = some.join(joint).into_bytes();
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn notifications_that_are_nearly_right(body in nearly(PARAMETERS, "&")) {
        alipay::notification(&body);
    }

    #[test]
    fn bills_that_are_nearly_right(bytes in nearly(LINES, "\n")) {
        alipay::bill(&bytes);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        alipay::notification(&bytes);
        alipay::bill(&bytes);
    }
}

#[test]
fn whole_ones_are_read() {
    // So that what is nearly right starts from something that is.
    alipay::notification(
        PARAMETERS[..1]
            .iter()
            .chain(&PARAMETERS[4..7])
            .copied()
            .collect::<Vec<_>>()
            .join("&")
            .as_bytes(),
    );
    alipay::bill(LINES[..4].join("\n").as_bytes());
}
