//! Orders: packages that are bought through a payment channel. Each call is documented once, for all languages, at
//! `jointo_credits::Ledger`; here with what C adds.

use crate::call::{Out, write_unless_null};
use crate::commands::shortfall;
use crate::error::{Checked, credits_code, credits_error};
use crate::handle::{credits_ledger, wait, with};
use crate::json;
use crate::money::decimal;
use crate::options::{Options, items, optional, required};
use crate::order_results::{
    credits_notification, credits_order, credits_order_refund, credits_payment_request, credits_reconciled,
    credits_reply, credits_statement_report, order_status_number,
};
use crate::reads::{chosen, credits_page_options, turn_over};
use crate::strings::give;
use crate::text::{optional_duration, optional_text, optional_time, text};
use crate::uuid::{credits_uuid, id, optional_id};
use jointo_credits::payments::{Checkout, Headers};
use jointo_credits::{OrderFilter, OrderNo, OrderPayment, OrderRefundRequest, OrderStatus, Timestamp, money};
use std::ffi::{c_char, c_void};

/// # Safety
/// NULL, or text that ends with a NUL.
unsafe fn order_no(given: *const c_char) -> Checked<OrderNo> {
    // SAFETY: the caller's promise.
    let given = unsafe { text("order_no", given) }?;
    given.parse().map_err(|_| {
        credits_error::invalid(
            "order_no",
            "is no order's number",
            "32 hexadecimal digits, in lower case",
        )
    })
}

fn needed_time(field: &'static str, micros: i64) -> Checked<Timestamp> {
    optional_time(micros)
        .ok_or_else(|| credits_error::invalid(field, "is missing", "microseconds since 1970 UTC"))
}

/// What somebody buys. Set it to CREDITS_CREATE_ORDER_INIT first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_create_order_options {
    /// sizeof(credits_create_order_options).
    pub size: usize,
    /// Who gets the credits.
    pub user_id: credits_uuid,
    /// The package.
    pub package_id: credits_uuid,
    /// Through which payment channel: "wechat" or "alipay", where the ledger was opened with it, or "manual".
    pub channel: *const c_char,
    /// Makes repeating it safe: the same key gives the first order again, as it was then. NULL for none.
    pub idempotency_key: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_create_order_options {}

/// Writes down that somebody buys a package. Price and credits are frozen; credits_pay_order() is next.
///
/// @param order  A place for it: its `order_no` is what every other call takes.
/// @return CREDITS_OK, CREDITS_VALIDATION (also: it is not for sale, or not to this account any more, or the channel takes
///         no such price), CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND (no such package), CREDITS_UNAVAILABLE,
///         CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_create_order(
    ledger: *const credits_ledger,
    options: *const credits_create_order_options,
    order: *mut credits_order,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let order = Out::new("order", order)?;
            let options = required(options)?;
            let user_id = id("user_id", options.user_id)?;
            let package_id = id("package_id", options.package_id)?;
            let channel = text("channel", options.channel)?;
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let made = wait(
                ledger,
                ledger.ledger.create_order(user_id, package_id, channel, key),
            )?;
            order.write((&made).into());
            Ok(())
        })
    }
}

/// How an order is going to be paid. Set it to CREDITS_PAY_ORDER_INIT first; NULL means not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_pay_order_options {
    /// sizeof(credits_pay_order_options).
    pub size: usize,
    /// The order.
    pub order_no: *const c_char,
    /// In which way: "native" (the default), "jsapi" or "h5" for WeChat Pay, "page" (the default) or "qr" for Alipay.
    pub method: *const c_char,
    /// The payer as the channel knows him, such as the openid of WeChat Pay's JSAPI.
    pub payer: *const c_char,
    /// The payer's IP address, which WeChat Pay's H5 wants.
    pub payer_ip: *const c_char,
    /// Where the payer's browser goes afterwards.
    pub return_url: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_pay_order_options {}

/// Tells the channel of an order and gets what the payer needs. Repeated, it gets that anew; so a payer can change his mind
/// about how to pay. Waits for the channel, which is asked over the network (but for "manual", and Alipay's "page").
///
/// @param request     NULL, or a place for what the payer scans, opens or is told.
/// @param parameters  NULL, or a place for all of it as a JSON object of texts, by the channel's names, such as what
///                    WeixinJSBridge takes; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION (also: what the channel needs), CREDITS_NOT_FOUND, CREDITS_INVALID_STATE (it can't
///         be paid any more), CREDITS_PAYMENT_CHANNEL, CREDITS_PAYMENT_VERIFICATION, CREDITS_UNAVAILABLE,
///         CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_pay_order(
    ledger: *const credits_ledger,
    options: *const credits_pay_order_options,
    request: *mut credits_payment_request,
    parameters: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let order_no = order_no(options.order_no)?;
            let checkout = Checkout {
                method: optional_text("method", options.method)?.map(str::to_owned),
                payer: optional_text("payer", options.payer)?.map(str::to_owned),
                payer_ip: optional_text("payer_ip", options.payer_ip)?.map(str::to_owned),
                return_url: optional_text("return_url", options.return_url)?.map(str::to_owned),
            };
            let prepared = wait(ledger, ledger.ledger.pay_order(order_no, &checkout))?;
            write_unless_null(request, || (&prepared).into());
            write_unless_null(parameters, || give(&json::parameters(&prepared).to_string()));
            Ok(())
        })
    }
}

/// One order, as it stands.
///
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_get_order(
    ledger: *const credits_ledger,
    order_no: *const c_char,
    order: *mut credits_order,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("order", order)?;
            let found = wait(ledger, ledger.ledger.order(self::order_no(order_no)?))?;
            place.write((&found).into());
            Ok(())
        })
    }
}

/// The refunds of an order, the first one first.
///
/// @param items     An array with room for `capacity` of them; NULL where `capacity` is 0.
/// @param capacity  How many fit; an order has 50 at the most.
/// @param count     How many there are, which may be more than fit: then none is written beyond `capacity`.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_order_refunds(
    ledger: *const credits_ledger,
    order_no: *const c_char,
    items: *mut credits_order_refund,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let count = Out::new("count", count)?;
            if capacity > 0 {
                Out::new("items", items)?;
            }
            let order_no = self::order_no(order_no)?;
            let refunds = wait(ledger, ledger.ledger.order(order_no))?.state.refunds;
            for (place, refund) in refunds.iter().take(capacity).enumerate() {
                items.add(place).write(credits_order_refund::of(order_no, refund));
            }
            count.write(refunds.len());
            Ok(())
        })
    }
}

/// A page of orders, newest first. Cursors stay valid while orders are added.
///
/// @param user_id   Only this account's; all zeros for everybody's.
/// @param options   NULL for all; `status` is one of CREDITS_ORDER_*, and only `cursor` may be given besides.
/// @param items     An array with room for `capacity` of them.
/// @param capacity  1 to 1,000.
/// @param count     How many there are.
/// @param next      NULL, or room for CREDITS_CURSOR_TEXT bytes: where the next page begins; "" after the last one.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_orders(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    options: *const credits_page_options,
    items: *mut credits_order,
    capacity: usize,
    count: *mut usize,
    next: *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let count = Out::new("count", count)?;
            Out::new("items", items)?;
            let options = optional(options)?;
            options.without_kind_and_times()?;
            let filter = OrderFilter {
                user_id: optional_id(user_id),
                status: chosen("status", OrderStatus::ALL, order_status_number, options.status)?,
                limit: capacity,
                cursor: options.cursor()?,
            };
            let page = wait(ledger, ledger.ledger.orders(filter))?;
            turn_over(&page, items, count, next.cast());
            Ok(())
        })
    }
}

/// A header of an HTTP request.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_header {
    /// Such as "Wechatpay-Signature", in any case.
    pub name: *const c_char,
    /// Its value.
    pub value: *const c_char,
}

/// Reads what a channel sends, and settles what it says is paid: once, however often it comes. Answer with
/// credits_notification_reply(), whatever this returns.
///
/// @param channel        Whose notification it is; each channel has a URL of its own.
/// @param headers        The request's; those that begin with "Wechatpay-" are enough. NULL where `headers_count` is 0.
/// @param headers_count  How many there are.
/// @param body           The request's, byte for byte. NULL where `body_length` is 0.
/// @param body_length    Its bytes, 256 KiB at the most.
/// @param notification   NULL, or a place for what became of it.
/// @return CREDITS_OK, CREDITS_VALIDATION (no such channel, text that is no UTF-8), CREDITS_PAYMENT_VERIFICATION (it is not
///         genuine, or not about what was sold), CREDITS_NOT_FOUND (the order is not one of ours), CREDITS_INVALID_STATE,
///         CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME (the channel will send it again).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_handle_notification(
    ledger: *const credits_ledger,
    channel: *const c_char,
    headers: *const credits_header,
    headers_count: usize,
    body: *const c_void,
    body_length: usize,
    notification: *mut credits_notification,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let channel = text("channel", channel)?;
            let headers = items("headers", headers, headers_count)?
                .iter()
                .map(|header| Ok((text("headers", header.name)?, text("headers", header.value)?)))
                .collect::<Checked<Vec<_>>>()?;
            let body = items("body", body.cast::<u8>(), body_length)?;
            let taken = wait(
                ledger,
                ledger
                    .ledger
                    .handle_notification(channel, &Headers::new(headers), body),
            )?;
            write_unless_null(notification, || (&taken).into());
            Ok(())
        })
    }
}

/// What to answer to a channel's notification.
///
/// @param taken  1 where credits_handle_notification() gave CREDITS_OK; 0: the channel shall send it again.
/// @return CREDITS_OK, CREDITS_VALIDATION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_notification_reply(
    ledger: *const credits_ledger,
    channel: *const c_char,
    taken: i32,
    reply: *mut credits_reply,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("reply", reply)?;
            let channel = text("channel", channel)?;
            let reply = ledger.ledger.notification_reply(channel, taken != 0)?;
            place.write((&reply).into());
            Ok(())
        })
    }
}

/// A payment that somebody has seen. Set it to CREDITS_SETTLE_ORDER_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_settle_order_options {
    /// sizeof(credits_settle_order_options).
    pub size: usize,
    /// The order.
    pub order_no: *const c_char,
    /// What names the payment, up to 255 bytes. Another one for a settled order is refused.
    pub transaction_id: *const c_char,
    /// What was paid; it has to be the order's price.
    pub amount: *const c_char,
    /// ISO 4217 code; NULL for "CNY".
    pub currency: *const c_char,
    /// When it was paid.
    pub paid_at: i64,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_settle_order_options {}

/// Settles an order by hand: for the channel "manual", and for operators who see the money. May be repeated.
///
/// @param settled  NULL, or a place for the order as it stands then.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_PAYMENT_VERIFICATION (amount, currency or transaction are
///         not the order's), CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_settle_order(
    ledger: *const credits_ledger,
    options: *const credits_settle_order_options,
    settled: *mut credits_order,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let order_no = order_no(options.order_no)?;
            let amount = decimal("amount", text("amount", options.amount)?)?;
            let currency = optional_text("currency", options.currency)?.unwrap_or("CNY");
            let payment = OrderPayment {
                transaction_id: text("transaction_id", options.transaction_id)?.to_owned(),
                amount: money(amount, currency)?,
                paid_at: optional_time(options.paid_at),
            };
            let order = wait(ledger, ledger.ledger.settle_order(order_no, payment))?;
            write_unless_null(settled, || (&order).into());
            Ok(())
        })
    }
}

/// Makes sure that nobody can pay an order any more. Waits for the channel, where that knows of the order.
///
/// @param closed  NULL, or a place for the order as it stands then: one that was paid meanwhile is settled.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE (it was paid), CREDITS_PAYMENT_CHANNEL,
///         CREDITS_PAYMENT_VERIFICATION, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_close_order(
    ledger: *const credits_ledger,
    order_no: *const c_char,
    closed: *mut credits_order,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let order = wait(ledger, ledger.ledger.close_order(self::order_no(order_no)?))?;
            write_unless_null(closed, || (&order).into());
            Ok(())
        })
    }
}

/// Money of an order that is to go back. Set it to CREDITS_REFUND_ORDER_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_refund_order_options {
    /// sizeof(credits_refund_order_options).
    pub size: usize,
    /// The order.
    pub order_no: *const c_char,
    /// How much, in the order's currency; all that has not gone back yet without.
    pub amount: *const c_char,
    /// About credits that are spent: CREDITS_SHORTFALL_*.
    pub shortfall: i32,
    /// Zero.
    pub reserved: i32,
    /// Why, up to 255 bytes.
    pub reason: *const c_char,
    /// Who asks for it.
    pub operator_name: *const c_char,
    /// Makes repeating it safe. Further parts of an order need one each.
    pub idempotency_key: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_refund_order_options {}

/// Sends money of an order back, and takes back the credits that it bought, in proportion. Waits for the channel; what that
/// has not ended yet is CREDITS_ORDER_REFUNDING, and credits_reconcile_orders() follows it up.
///
/// @param refunded  NULL, or a place for the order as it stands then.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE (it was not
///         paid, or all of it went back), CREDITS_PAYMENT_CHANNEL (it refuses; the credits are back), CREDITS_UNAVAILABLE,
///         CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_refund_order(
    ledger: *const credits_ledger,
    options: *const credits_refund_order_options,
    refunded: *mut credits_order,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let order_no = order_no(options.order_no)?;
            let minor = match optional_text("amount", options.amount)? {
                None => None,
                // The currency is the order's.
                Some(amount) => Some(money(decimal("amount", amount)?, "")?.minor),
            };
            let request = OrderRefundRequest {
                minor,
                shortfall: shortfall(options.shortfall)?,
                reason: optional_text("reason", options.reason)?.map(str::to_owned),
                operator: optional_text("operator_name", options.operator_name)?.map(str::to_owned),
            };
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let order = wait(ledger, ledger.ledger.refund_order(order_no, request, key))?;
            write_unless_null(refunded, || (&order).into());
            Ok(())
        })
    }
}

/// Asks the channels about every order that waits: settles the paid ones whose notification never came, closes those whose
/// time is over, follows up refunds. Run it every few minutes, from as many processes as you like.
///
/// @param min_age   Younger orders are left alone, since their notification may be on its way: a minute is good. 0 for all.
/// @param done      NULL, or a place for the counts.
/// @param problems  NULL, or a place for the first hundred orders about which something went wrong, as JSON: [{"order_no",
///                  "error": {"code", "message", "facts"}}]; free it with credits_string_free().
/// @return CREDITS_OK, whatever went wrong about single orders; CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_reconcile_orders(
    ledger: *const credits_ledger,
    min_age: i64,
    done: *mut credits_reconciled,
    problems: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let min_age = optional_duration("min_age", min_age)?.unwrap_or_default();
            let reconciled = wait(ledger, ledger.ledger.reconcile_orders(min_age))?;
            write_unless_null(done, || (&reconciled).into());
            write_unless_null(problems, || give(&json::problems(&reconciled).to_string()));
            Ok(())
        })
    }
}

/// Compares a channel's bill with the books. Changes nothing.
///
/// @param bill         The file, as the channel publishes it, unpacked.
/// @param bill_length  Its bytes.
/// @param since        The time that the bill is of begins here,
/// @param until        and ends before this.
/// @param report       NULL, or a place for the counts.
/// @param differences  NULL, or a place for what does not fit, as JSON: [{"kind", "line", "order", "refund_no"}]; free it
///                     with credits_string_free(). `kind` is "unknown" (the bill has it, and the books don't know the order
///                     or the refund), "not_settled" (the books have the order, and not as paid), "different" (with another
///                     amount or transaction, or not as a refund that has succeeded), "missing_payment" or "missing_refund"
///                     (the books have it, and the bill does not).
/// @return CREDITS_OK, CREDITS_VALIDATION (also: it is no bill of this channel's; the message names the line),
///         CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_reconcile_statement(
    ledger: *const credits_ledger,
    channel: *const c_char,
    bill: *const c_void,
    bill_length: usize,
    since: i64,
    until: i64,
    report: *mut credits_statement_report,
    differences: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let channel = text("channel", channel)?;
            let bill = items("bill", bill.cast::<u8>(), bill_length)?;
            let (since, until) = (needed_time("since", since)?, needed_time("until", until)?);
            let found = wait(
                ledger,
                ledger.ledger.reconcile_statement(channel, bill, since, until),
            )?;
            write_unless_null(report, || (&found).into());
            write_unless_null(differences, || give(&json::differences(&found).to_string()));
            Ok(())
        })
    }
}
