//! The calls about orders.

#![allow(clippy::too_many_arguments, reason = "as many as Python's methods have")]

use crate::arguments::{Any, SHORTFALLS};
use crate::arguments::{
    bytes, decimal, duration, integer, key, optional, pairs, text, timestamp, uuid, word,
};
use crate::errors::{invalid, or_invalid};
use crate::operation::Operation;
use crate::results;
use crate::session::Sessions;
use jointo_credits::payments::{Checkout, Headers};
use jointo_credits::{
    Ledger, OrderFilter, OrderNo, OrderPayment, OrderRefundRequest, OrderStatus, Shortfall, money,
};
use pyo3::prelude::*;
use std::sync::Arc;

/// The calls about orders of a `NativeLedger`.
#[pyclass(frozen, module = "jointo_credits._native")]
pub(crate) struct NativeOrders {
    sessions: Arc<Sessions>,
}

impl NativeOrders {
    pub(crate) fn new(sessions: Arc<Sessions>) -> Self {
        NativeOrders { sessions }
    }
}

/// The number of an order.
fn order_no(value: Any<'_, '_>) -> PyResult<OrderNo> {
    let expected = "32 hexadecimal digits, as Order.order_no";
    let parsed = text("order_no", value)?.parse();
    parsed.map_err(|_| invalid(value, "order_no", "is no order's number", expected))
}

/// Names and values: of a mapping, or of pairs as frameworks give them.
fn headers(value: Any<'_, '_>) -> PyResult<Headers> {
    let expected = "a mapping of names to values";
    let Some(pairs) = pairs("headers", value, expected)? else {
        return Err(invalid(value, "headers", "can't be read", expected));
    };
    let read = pairs
        .iter()
        .map(|(name, value)| Ok((name.extract()?, value.extract()?)));
    let read: PyResult<Vec<(String, String)>> = read.collect();
    Ok(Headers::new(or_invalid(
        read,
        value,
        "headers",
        "can't be read",
        expected,
    )?))
}

#[pymethods]
impl NativeOrders {
    fn create(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        package_id: Any<'_, '_>,
        channel: Any<'_, '_>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let (user_id, package_id) = (uuid("user_id", user_id)?, uuid("package_id", package_id)?);
        let (channel, key) = (text("channel", channel)?, self::key(key)?);
        let call = move |ledger: Ledger| async move {
            ledger
                .create_order(user_id, package_id, &channel, key.as_deref())
                .await
        };
        self.sessions.call(py, call, results::order)
    }

    fn pay(
        &self,
        py: Python<'_>,
        order_no: Any<'_, '_>,
        method: Option<Any<'_, '_>>,
        payer: Option<Any<'_, '_>>,
        payer_ip: Option<Any<'_, '_>>,
        return_url: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let order_no = self::order_no(order_no)?;
        let checkout = Checkout {
            method: optional(method, |method| text("method", method))?,
            payer: optional(payer, |payer| text("payer", payer))?,
            payer_ip: optional(payer_ip, |ip| text("payer_ip", ip))?,
            return_url: optional(return_url, |url| text("return_url", url))?,
        };
        let call = move |ledger: Ledger| async move { ledger.pay_order(order_no, &checkout).await };
        self.sessions.call(py, call, results::prepared)
    }

    fn get(&self, py: Python<'_>, order_no: Any<'_, '_>) -> PyResult<Operation> {
        let order_no = self::order_no(order_no)?;
        let call = move |ledger: Ledger| async move { ledger.order(order_no).await };
        self.sessions.call(py, call, results::order)
    }

    fn list(
        &self,
        py: Python<'_>,
        user_id: Option<Any<'_, '_>>,
        status: Option<Any<'_, '_>>,
        limit: Any<'_, '_>,
        cursor: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let filter = OrderFilter {
            user_id: optional(user_id, |user_id| uuid("user_id", user_id))?,
            status: optional(status, |status| {
                word("status", status, OrderStatus::ALL, OrderStatus::as_str)
            })?,
            limit: integer("limit", limit)?,
            cursor: optional(cursor, |cursor| text("cursor", cursor))?,
        };
        let call = move |ledger: Ledger| async move { ledger.orders(filter).await };
        self.sessions.call(py, call, results::orders)
    }

    fn handle_notification(
        &self,
        py: Python<'_>,
        channel: Any<'_, '_>,
        headers: Any<'_, '_>,
        body: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let (channel, headers) = (text("channel", channel)?, self::headers(headers)?);
        let body = bytes("body", body)?;
        let call =
            move |ledger: Ledger| async move { ledger.handle_notification(&channel, &headers, &body).await };
        self.sessions.call(py, call, results::notification)
    }

    fn notification_reply(&self, py: Python<'_>, channel: Any<'_, '_>, taken: bool) -> PyResult<Operation> {
        let channel = text("channel", channel)?;
        let call = move |ledger: Ledger| async move { ledger.notification_reply(&channel, taken) };
        self.sessions.call(py, call, results::reply)
    }

    fn settle(
        &self,
        py: Python<'_>,
        order_no: Any<'_, '_>,
        transaction_id: Any<'_, '_>,
        amount: Any<'_, '_>,
        currency: Any<'_, '_>,
        paid_at: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let order_no = self::order_no(order_no)?;
        let (amount, currency) = (decimal("amount", amount)?, text("currency", currency)?);
        let (transaction_id, paid_at) = (
            text("transaction_id", transaction_id)?,
            optional(paid_at, |at| timestamp("paid_at", at))?,
        );
        let call = move |ledger: Ledger| async move {
            let payment = OrderPayment {
                transaction_id,
                amount: money(amount, &currency)?,
                paid_at,
            };
            ledger.settle_order(order_no, payment).await
        };
        self.sessions.call(py, call, results::order)
    }

    fn close(&self, py: Python<'_>, order_no: Any<'_, '_>) -> PyResult<Operation> {
        let order_no = self::order_no(order_no)?;
        let call = move |ledger: Ledger| async move { ledger.close_order(order_no).await };
        self.sessions.call(py, call, results::order)
    }

    fn refund(
        &self,
        py: Python<'_>,
        order_no: Any<'_, '_>,
        amount: Option<Any<'_, '_>>,
        shortfall: Any<'_, '_>,
        reason: Option<Any<'_, '_>>,
        operator: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let order_no = self::order_no(order_no)?;
        let amount = optional(amount, |amount| decimal("amount", amount))?;
        let shortfall = word("shortfall", shortfall, &SHORTFALLS, Shortfall::as_str)?;
        let reason = optional(reason, |reason| text("reason", reason))?;
        let operator = optional(operator, |operator| text("operator", operator))?;
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move {
            // The currency is the order's.
            let minor = amount.map(|amount| money(amount, "")).transpose()?;
            let request = OrderRefundRequest {
                minor: minor.map(|money| money.minor),
                shortfall,
                reason,
                operator,
            };
            ledger.refund_order(order_no, request, key.as_deref()).await
        };
        self.sessions.call(py, call, results::order)
    }

    fn reconcile(&self, py: Python<'_>, min_age: Any<'_, '_>) -> PyResult<Operation> {
        let min_age = duration("min_age", min_age)?;
        let call = move |ledger: Ledger| async move { ledger.reconcile_orders(min_age).await };
        self.sessions.call(py, call, results::reconciled)
    }

    fn reconcile_statement(
        &self,
        py: Python<'_>,
        channel: Any<'_, '_>,
        bill: Any<'_, '_>,
        since: Any<'_, '_>,
        until: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let (channel, bill) = (text("channel", channel)?, bytes("bill", bill)?);
        let (since, until) = (timestamp("since", since)?, timestamp("until", until)?);
        let call = move |ledger: Ledger| async move {
            ledger.reconcile_statement(&channel, &bill, since, until).await
        };
        self.sessions.call(py, call, results::statement_report)
    }
}
