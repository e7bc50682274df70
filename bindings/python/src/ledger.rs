//! The calls. Each checks its arguments and gives an [`Operation`], which the caller waits for or awaits.

#![allow(clippy::too_many_arguments, reason = "as many as Python's methods have")]

use crate::anchors;
use crate::arguments::{
    Any, SHORTFALLS, decimal, duration, integer, key, metadata, optional, path, text, timestamp, usage, uuid,
    word, word_of_truth,
};
use crate::errors::{clash, invalid, is_ours, raise};
use crate::objects;
use crate::operation::{Answer, Operation};
use crate::orders::NativeOrders;
use crate::results;
use crate::session::Sessions;
use crate::settings;
use jointo_credits::ledger::limits::BATCH_COMMANDS_MAX;
use jointo_credits::pricing::Quote;
use jointo_credits::{
    Adjust, Clawback, Cleanup, Confirm, Consume, ConsumeItem, Consumption, ConsumptionFilter, Extend, Gift,
    Grant, Kind, Late, Ledger, Money, Overage, PricedConfirm, PricedConsume, Refund, Refusal, SavePackage,
    SetCreditLimit, SetPricing, Shortfall, Source, Status, Timestamp, TransactionFilter, Usage,
};
use jointo_credits_bindings as bindings;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyDictMethods};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use uuid::Uuid;

const OVERAGES: [Overage; 3] = [Overage::Reject, Overage::Available, Overage::Debt];
const LATES: [Late; 2] = [Late::Reject, Late::Recharge];

/// A ledger in any process that has the object: each gets connections of its own.
#[pyclass(frozen, weakref, module = "jointo_credits._native")]
pub(crate) struct NativeLedger {
    sessions: Arc<Sessions>,
}

/// What `consume` is asked for.
fn asked(
    py: Python<'_>,
    user_id: Any<'_, '_>,
    feature: Option<Any<'_, '_>>,
    quantity: Option<Any<'_, '_>>,
    attributes: Option<Any<'_, '_>>,
    amount: Option<Any<'_, '_>>,
    ttl: Option<Any<'_, '_>>,
    reference: Option<Any<'_, '_>>,
    given: Option<Any<'_, '_>>,
) -> PyResult<ConsumeItem> {
    let user_id = uuid("user_id", user_id)?;
    let feature = optional(feature, |feature| text("feature", feature))?;
    let ttl = optional(ttl, |ttl| duration("ttl", ttl))?;
    let reference = optional(reference, |reference| text("reference", reference))?;
    let metadata = optional(given, metadata)?;
    match (amount, feature) {
        (Some(amount), feature) => {
            if quantity.is_some() || attributes.is_some() {
                let limit = "amount, or feature with quantity and attributes";
                let given = match (quantity.is_some(), attributes.is_some()) {
                    (true, true) => "amount, quantity and attributes",
                    (true, false) => "amount and quantity",
                    (false, _) => "amount and attributes",
                };
                return Err(clash(
                    py,
                    "amount",
                    "can't be given together with a quantity or attributes",
                    limit,
                    given,
                ));
            }
            let amount = integer("amount", amount)?;
            Ok(ConsumeItem::Amount(Consume {
                feature,
                ttl,
                reference,
                metadata,
                ..Consume::new(user_id, amount)
            }))
        }
        (None, Some(feature)) => {
            let mut consume = PricedConsume::new(user_id, usage(&feature, quantity, attributes)?);
            if let Some(ttl) = ttl {
                consume = consume.ttl(ttl);
            }
            if let Some(reference) = reference {
                consume = consume.reference(reference);
            }
            if let Some(metadata) = metadata {
                consume = consume.metadata(metadata);
            }
            Ok(ConsumeItem::Priced(consume))
        }
        (None, None) => {
            let limit = "amount, or feature with quantity and attributes";
            Err(clash(
                py,
                "amount",
                "is missing, and there is no feature to price it by",
                limit,
                "neither",
            ))
        }
    }
}

#[pymethods]
impl NativeLedger {
    #[new]
    #[pyo3(signature = (url, schema, clock, settings))]
    fn new(
        url: Any<'_, '_>,
        schema: Option<Any<'_, '_>>,
        clock: Option<Any<'_, '_>>,
        settings: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let settings = settings::chosen(url, schema, clock, settings)?;
        Ok(NativeLedger {
            sessions: Sessions::new(settings),
        })
    }

    /// The calls about orders.
    #[getter]
    fn orders(&self) -> NativeOrders {
        NativeOrders::new(Arc::clone(&self.sessions))
    }

    /// Opens the database.
    fn connect(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(py, |_| async { Ok(()) }, objects::nothing)
    }

    fn migrate(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(
            py,
            |ledger| async move { ledger.migrate().await },
            objects::nothing,
        )
    }

    fn check(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions
            .call(py, |ledger| async move { ledger.check().await }, objects::nothing)
    }

    fn seed_catalog(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(
            py,
            |ledger| async move { ledger.seed_catalog().await },
            objects::nothing,
        )
    }

    /// What closes it; `None` where there is nothing to close.
    fn close(&self) -> Option<Operation> {
        let session = self.sessions.close()?;
        let running = Arc::clone(&session);
        let sessions = Arc::clone(&self.sessions);
        Some(Operation::new(session.runtime(), async move {
            if let Some(ledger) = running.connected() {
                ledger.close().await;
            }
            sessions.give_back();
            let answer: Answer = Box::new(|py| Ok(py.None()));
            answer
        }))
    }

    fn balance(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        at: Option<Any<'_, '_>>,
        fresh: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let user_id = uuid("user_id", user_id)?;
        let at = optional(at, |at| timestamp("at", at))?;
        let fresh = word_of_truth("fresh", fresh)?;
        let call = move |ledger: Ledger| async move {
            match at {
                Some(at) => ledger.balance_at(user_id, at).await,
                None if fresh => ledger.balance_fresh(user_id).await,
                None => ledger.balance(user_id).await,
            }
        };
        self.sessions.call(py, call, results::balance)
    }

    fn transactions(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        kind: Option<Any<'_, '_>>,
        since: Option<Any<'_, '_>>,
        until: Option<Any<'_, '_>>,
        limit: Any<'_, '_>,
        cursor: Option<Any<'_, '_>>,
        archive: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let user_id = uuid("user_id", user_id)?;
        let archive = optional(archive, |archive| path("archive", archive))?;
        let filter = TransactionFilter {
            kind: optional(kind, |kind| word("kind", kind, Kind::ALL, Kind::as_str))?,
            since: optional(since, |since| timestamp("since", since))?,
            until: optional(until, |until| timestamp("until", until))?,
            limit: integer("limit", limit)?,
            cursor: optional(cursor, |cursor| text("cursor", cursor))?,
        };
        let call = move |ledger: Ledger| async move {
            match archive {
                None => ledger.transactions(user_id, filter).await,
                Some(archive) => ledger.archived_transactions(user_id, filter, &archive).await,
            }
        };
        self.sessions.call(py, call, results::transactions)
    }

    fn statement(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        since: Any<'_, '_>,
        until: Any<'_, '_>,
        limit: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let user_id = uuid("user_id", user_id)?;
        let since = timestamp("since", since)?;
        let until = timestamp("until", until)?;
        let limit = integer("limit", limit)?;
        let call =
            move |ledger: Ledger| async move { ledger.statement_within(user_id, since, until, limit).await };
        self.sessions.call(py, call, results::statement)
    }

    fn consumption(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        status: Option<Any<'_, '_>>,
        limit: Any<'_, '_>,
        cursor: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let user_id = uuid("user_id", user_id)?;
        let filter = ConsumptionFilter {
            status: optional(status, |status| {
                word("status", status, Status::ALL, Status::as_str)
            })?,
            limit: integer("limit", limit)?,
            cursor: optional(cursor, |cursor| text("cursor", cursor))?,
        };
        let call = move |ledger: Ledger| async move { ledger.consumptions(user_id, filter).await };
        self.sessions.call(py, call, results::consumptions)
    }

    fn get_consumption(&self, py: Python<'_>, consumption_id: Any<'_, '_>) -> PyResult<Operation> {
        let id = uuid("consumption_id", consumption_id)?;
        let call = move |ledger: Ledger| async move { ledger.get_consumption(id).await };
        self.sessions.call(py, call, results::consumption)
    }

    fn explain(&self, py: Python<'_>, consumption_id: Any<'_, '_>) -> PyResult<Operation> {
        let id = uuid("consumption_id", consumption_id)?;
        let call = move |ledger: Ledger| async move { ledger.explain(id).await };
        self.sessions.call(py, call, results::explanation)
    }

    /// The quote, or where it takes longer an operation that has it.
    fn calculate(
        &self,
        py: Python<'_>,
        feature: Any<'_, '_>,
        quantity: Option<Any<'_, '_>>,
        attributes: Option<Any<'_, '_>>,
        user_id: Option<Any<'_, '_>>,
        at: Option<Any<'_, '_>>,
    ) -> PyResult<Py<PyAny>> {
        let usage = usage(&text("feature", feature)?, quantity, attributes)?;
        let user_id = optional(user_id, |user_id| uuid("user_id", user_id))?;
        let at = optional(at, |at| timestamp("at", at))?;
        let session = self.sessions.get(py)?;
        // With a fresh copy of the prices nothing is waited for: that is worth an operation less.
        if let Some(ledger) = session.connected() {
            let _inside = session.runtime().enter();
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(price) = pin!(calculate(ledger, &usage, user_id, at)).poll(&mut context) {
                return match price {
                    Ok(price) => results::quote(py, price),
                    Err(error) => Err(raise(py, error)),
                };
            }
        }
        let call = move |ledger: Ledger| async move { calculate(&ledger, &usage, user_id, at).await };
        self.sessions.call(py, call, results::quote)?.into_py_any(py)
    }

    fn consume(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        feature: Option<Any<'_, '_>>,
        quantity: Option<Any<'_, '_>>,
        attributes: Option<Any<'_, '_>>,
        amount: Option<Any<'_, '_>>,
        ttl: Option<Any<'_, '_>>,
        reference: Option<Any<'_, '_>>,
        metadata: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let asked = asked(
            py, user_id, feature, quantity, attributes, amount, ttl, reference, metadata,
        )?;
        let key = self::key(key)?;
        let call =
            move |ledger: Ledger| async move { bindings::consume(&ledger, asked, key.as_deref()).await };
        self.sessions.call(py, call, results::consumption)
    }

    /// Each item is a mapping of `consume`'s arguments.
    fn consume_many(&self, py: Python<'_>, items: Any<'_, '_>) -> PyResult<Operation> {
        let expected = "an iterable of dicts of consume()'s arguments";
        let wrong = |_| invalid(items, "items", "can't be iterated", expected);
        let mut asked = Vec::new();
        // No further than it takes to know that it is too much: an iterable may have no end.
        for item in items.try_iter().map_err(wrong)?.take(BATCH_COMMANDS_MAX + 1) {
            let item = one_of_many(py, &item?);
            match &item {
                Err(error) if !is_ours(py, error)? => return Err(error.clone_ref(py)),
                // What is wrong with one concerns the others no more than what the ledger refuses.
                _ => asked.push(item),
            }
        }
        if asked.len() > BATCH_COMMANDS_MAX {
            let refusal = Refusal::Invalid {
                field: "items",
                problem: "are too many at once",
                limit: BATCH_COMMANDS_MAX.to_string(),
                value: "more".to_owned(),
            };
            return Err(raise(py, refusal.into()));
        }
        let call = move |ledger: Ledger| async move { bindings::consume_many(&ledger, asked).await };
        self.sessions.call(py, call, |py, outcomes: Vec<Outcome>| {
            objects::all(py, outcomes, |py, outcome| match outcome {
                Ok(Ok(held)) => results::consumption(py, held),
                Ok(Err(error)) => crate::errors::exception(py, &error),
                Err(malformed) => malformed.into_value(py).into_py_any(py),
            })
        })
    }

    fn confirm(
        &self,
        py: Python<'_>,
        consumption_id: Any<'_, '_>,
        amount: Option<Any<'_, '_>>,
        quantity: Option<Any<'_, '_>>,
        overage: Any<'_, '_>,
        late: Any<'_, '_>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let id = uuid("consumption_id", consumption_id)?;
        let overage = word("overage", overage, &OVERAGES, Overage::as_str)?;
        let late = word("late", late, &LATES, Late::as_str)?;
        let key = self::key(key)?;
        match (amount, quantity) {
            (Some(_), Some(_)) => Err(clash(
                py,
                "amount",
                "can't be given together with a quantity",
                "amount or quantity",
                "both",
            )),
            (None, Some(quantity)) => {
                let confirm = match crate::arguments::by_name(quantity)? {
                    None => PricedConfirm::quantity(id, decimal("quantity", quantity)?),
                    Some(named) => PricedConfirm::metered(
                        id,
                        named.iter().map(|(name, number)| (name.as_str(), *number)),
                    ),
                };
                let confirm = confirm.overage(overage).late(late);
                let call =
                    move |ledger: Ledger| async move { ledger.confirm_priced(confirm, key.as_deref()).await };
                self.sessions.call(py, call, results::consumption)
            }
            (amount, None) => {
                let confirm = match optional(amount, |amount| integer("amount", amount))? {
                    None => Confirm::all(id),
                    Some(amount) => Confirm::amount(id, amount),
                };
                let confirm = confirm.overage(overage).late(late);
                let call = move |ledger: Ledger| async move { ledger.confirm(confirm, key.as_deref()).await };
                self.sessions.call(py, call, results::consumption)
            }
        }
    }

    fn refund(
        &self,
        py: Python<'_>,
        consumption_id: Any<'_, '_>,
        amount: Option<Any<'_, '_>>,
        reason: Option<Any<'_, '_>>,
        operator: Option<Any<'_, '_>>,
        pending_only: Any<'_, '_>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let refund = Refund {
            consumption_id: uuid("consumption_id", consumption_id)?,
            amount: optional(amount, |amount| integer("amount", amount))?,
            reason: optional(reason, |reason| text("reason", reason))?,
            operator: optional(operator, |operator| text("operator", operator))?,
            pending_only: word_of_truth("pending_only", pending_only)?,
        };
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.refund(refund, key.as_deref()).await };
        self.sessions.call(py, call, results::consumption)
    }

    fn extend(
        &self,
        py: Python<'_>,
        consumption_id: Any<'_, '_>,
        ttl: Any<'_, '_>,
        reason: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let extend = Extend {
            consumption_id: uuid("consumption_id", consumption_id)?,
            ttl: duration("ttl", ttl)?,
            reason: optional(reason, |reason| text("reason", reason))?,
        };
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.extend(extend, key.as_deref()).await };
        self.sessions.call(py, call, results::consumption)
    }

    fn gift(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        amount: Any<'_, '_>,
        reason: Any<'_, '_>,
        operator: Option<Any<'_, '_>>,
        expires_at: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let gift = Gift {
            operator: optional(operator, |operator| text("operator", operator))?,
            expires_at: optional(expires_at, |at| timestamp("expires_at", at))?,
            ..Gift::new(
                uuid("user_id", user_id)?,
                integer("amount", amount)?,
                text("reason", reason)?,
            )
        };
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.gift(gift, key.as_deref()).await };
        self.sessions.call(py, call, results::receipt)
    }

    fn grant(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        amount: Any<'_, '_>,
        source: Any<'_, '_>,
        priority: Any<'_, '_>,
        expires_at: Option<Any<'_, '_>>,
        cost: Option<Any<'_, '_>>,
        reference: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let money = |cost: Any<'_, '_>| -> PyResult<Money> {
            let part = |name: &str| {
                let missing = |_| invalid(cost, "cost", "is no money", "a Money, such as Money(990, 'CNY')");
                cost.getattr(name).map_err(missing)
            };
            Ok(Money {
                minor: integer("cost", &part("minor")?)?,
                currency: text("cost", &part("currency")?)?,
            })
        };
        let source = word("source", source, Source::ALL, Source::as_str)?;
        let grant = Grant {
            priority: integer("priority", priority)?,
            expires_at: optional(expires_at, |at| timestamp("expires_at", at))?,
            cost: optional(cost, money)?,
            reference: optional(reference, |reference| text("reference", reference))?,
            ..Grant::new(uuid("user_id", user_id)?, integer("amount", amount)?, source)
        };
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.grant(grant, key.as_deref()).await };
        self.sessions.call(py, call, results::receipt)
    }

    fn adjust(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        amount: Any<'_, '_>,
        reason: Any<'_, '_>,
        operator: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let adjust = Adjust {
            operator: optional(operator, |operator| text("operator", operator))?,
            ..Adjust::new(
                uuid("user_id", user_id)?,
                integer("amount", amount)?,
                text("reason", reason)?,
            )
        };
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.adjust(adjust, key.as_deref()).await };
        self.sessions.call(py, call, results::receipt)
    }

    fn set_credit_limit(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        credit_limit: Any<'_, '_>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let limit = SetCreditLimit {
            user_id: uuid("user_id", user_id)?,
            credit_limit: integer("credit_limit", credit_limit)?,
        };
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.set_credit_limit(limit, key.as_deref()).await };
        self.sessions.call(py, call, results::receipt)
    }

    fn clawback(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        lot_id: Any<'_, '_>,
        amount: Option<Any<'_, '_>>,
        shortfall: Any<'_, '_>,
        reason: Option<Any<'_, '_>>,
        operator: Option<Any<'_, '_>>,
        key: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let clawback = Clawback {
            amount: optional(amount, |amount| integer("amount", amount))?,
            reason: optional(reason, |reason| text("reason", reason))?,
            operator: optional(operator, |operator| text("operator", operator))?,
            ..Clawback::all(uuid("user_id", user_id)?, uuid("lot_id", lot_id)?)
        };
        let clawback = clawback.shortfall(word("shortfall", shortfall, &SHORTFALLS, Shortfall::as_str)?);
        let key = self::key(key)?;
        let call = move |ledger: Ledger| async move { ledger.clawback(clawback, key.as_deref()).await };
        self.sessions.call(py, call, results::clawback_receipt)
    }

    fn expire_pending(&self, py: Python<'_>, limit: Option<Any<'_, '_>>) -> PyResult<Operation> {
        let limit = optional(limit, |limit| integer("limit", limit))?;
        let call = move |ledger: Ledger| async move { ledger.expire_pending(limit).await };
        self.sessions.call(py, call, results::matured)
    }

    fn expire_lots(&self, py: Python<'_>, limit: Option<Any<'_, '_>>) -> PyResult<Operation> {
        let limit = optional(limit, |limit| integer("limit", limit))?;
        let call = move |ledger: Ledger| async move { ledger.expire_lots(limit).await };
        self.sessions.call(py, call, results::matured)
    }

    fn packages(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(
            py,
            |ledger| async move { ledger.packages().await },
            results::packages,
        )
    }

    fn package(&self, py: Python<'_>, package_id: Any<'_, '_>) -> PyResult<Operation> {
        let id = uuid("package_id", package_id)?;
        let call = move |ledger: Ledger| async move { ledger.package(id).await };
        self.sessions.call(py, call, results::package)
    }

    fn package_versions(&self, py: Python<'_>, package_id: Any<'_, '_>) -> PyResult<Operation> {
        let id = uuid("package_id", package_id)?;
        let call = move |ledger: Ledger| async move { ledger.package_versions(id).await };
        self.sessions.call(py, call, results::packages)
    }

    fn save_package(
        &self,
        py: Python<'_>,
        package_id: Option<Any<'_, '_>>,
        name: Any<'_, '_>,
        description: Any<'_, '_>,
        price: Any<'_, '_>,
        currency: Any<'_, '_>,
        credits: Any<'_, '_>,
        bonus_credits: Any<'_, '_>,
        validity_days: Option<Any<'_, '_>>,
        sort_order: Any<'_, '_>,
        recommended: Any<'_, '_>,
        active: Any<'_, '_>,
        purchase_limit: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let package = SavePackage {
            package_id: optional(package_id, |id| uuid("package_id", id))?,
            description: text("description", description)?,
            currency: text("currency", currency)?,
            bonus_credits: integer("bonus_credits", bonus_credits)?,
            validity_days: optional(validity_days, |days| integer("validity_days", days))?,
            sort_order: integer("sort_order", sort_order)?,
            recommended: word_of_truth("recommended", recommended)?,
            active: word_of_truth("active", active)?,
            purchase_limit: optional(purchase_limit, |limit| integer("purchase_limit", limit))?,
            ..SavePackage::new(
                text("name", name)?,
                decimal("price", price)?,
                integer("credits", credits)?,
            )
        };
        let call = move |ledger: Ledger| async move { ledger.save_package(package).await };
        self.sessions.call(py, call, results::package)
    }

    fn pricing(&self, py: Python<'_>, feature: Option<Any<'_, '_>>) -> PyResult<Operation> {
        let feature = optional(feature, |feature| text("feature", feature))?;
        let call = move |ledger: Ledger| async move { ledger.pricing(feature.as_deref()).await };
        self.sessions.call(py, call, results::pricings)
    }

    fn set_pricing(
        &self,
        py: Python<'_>,
        card: Any<'_, '_>,
        user_id: Option<Any<'_, '_>>,
        effective_from: Option<Any<'_, '_>>,
        effective_until: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let pricing = SetPricing {
            user_id: optional(user_id, |user_id| uuid("user_id", user_id))?,
            effective_from: optional(effective_from, |at| timestamp("effective_from", at))?,
            effective_until: optional(effective_until, |at| timestamp("effective_until", at))?,
            ..SetPricing::new(text("card", card)?)
        };
        let call = move |ledger: Ledger| async move { ledger.set_pricing(pricing).await };
        self.sessions.call(py, call, results::pricing)
    }

    fn stats(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions
            .call(py, |ledger| async move { Ok(ledger.stats()) }, results::stats)
    }

    fn pending_holds(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(
            py,
            |ledger| async move { ledger.pending_holds().await },
            results::pending_holds,
        )
    }

    fn inspect(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(
            py,
            |ledger| async move { ledger.inspect().await },
            results::inspection,
        )
    }

    fn cleanup_transactions(
        &self,
        py: Python<'_>,
        older_than: Any<'_, '_>,
        archive: Any<'_, '_>,
        limit: Option<Any<'_, '_>>,
        dry_run: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let cleanup = cleanup(older_than, archive, limit, dry_run)?;
        let call = move |ledger: Ledger| async move { ledger.cleanup_transactions(&cleanup).await };
        self.sessions.call(py, call, results::cleaned_up)
    }

    fn cleanup_consumption_logs(
        &self,
        py: Python<'_>,
        older_than: Any<'_, '_>,
        archive: Any<'_, '_>,
        limit: Option<Any<'_, '_>>,
        dry_run: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let cleanup = cleanup(older_than, archive, limit, dry_run)?;
        let call = move |ledger: Ledger| async move { ledger.cleanup_consumption_logs(&cleanup).await };
        self.sessions.call(py, call, results::cleaned_up)
    }

    fn archives(&self, py: Python<'_>) -> PyResult<Operation> {
        let call = |ledger: Ledger| async move { ledger.archives().await };
        self.sessions.call(py, call, results::archives)
    }

    fn verify(
        &self,
        py: Python<'_>,
        archive: Option<Any<'_, '_>>,
        anchor: Option<Any<'_, '_>>,
        public_key: Option<Any<'_, '_>>,
        unsigned: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let archive = optional(archive, |archive| path("archive", archive))?;
        let anchor = match anchor {
            Some(anchor) => Some((
                anchors::anchor(py, anchor)?,
                anchors::trust(py, public_key, unsigned)?,
            )),
            None => None,
        };
        let call = move |ledger: Ledger| async move {
            match (anchor, archive) {
                (Some((anchor, trust)), archive) => {
                    ledger.verify_anchored(&anchor, &trust, archive.as_deref()).await
                }
                (None, None) => ledger.verify().await,
                (None, Some(archive)) => ledger.verify_archived(&archive).await,
            }
        };
        self.sessions.call(py, call, results::verification)
    }

    fn anchor(
        &self,
        py: Python<'_>,
        key: Option<Any<'_, '_>>,
        unsigned: Any<'_, '_>,
        all_accounts: Any<'_, '_>,
    ) -> PyResult<Operation> {
        let signing = anchors::signing(py, key, unsigned)?;
        let all = word_of_truth("all_accounts", all_accounts)?;
        let call = move |ledger: Ledger| async move { ledger.anchor(&signing, all).await };
        self.sessions
            .call(py, call, |py, anchor| anchor.to_string().into_py_any(py))
    }

    fn prune_anchors(&self, py: Python<'_>, keep: Any<'_, '_>) -> PyResult<Operation> {
        let keep = integer("keep", keep)?;
        let call = move |ledger: Ledger| async move { ledger.prune_anchors(keep).await };
        self.sessions
            .call(py, call, |py, removed: u64| removed.into_py_any(py))
    }

    fn prove(
        &self,
        py: Python<'_>,
        user_id: Any<'_, '_>,
        anchor: Any<'_, '_>,
        archive: Option<Any<'_, '_>>,
    ) -> PyResult<Operation> {
        let user_id = uuid("user_id", user_id)?;
        let anchor = anchors::anchor(py, anchor)?;
        let archive = optional(archive, |archive| path("archive", archive))?;
        let call =
            move |ledger: Ledger| async move { ledger.prove(user_id, &anchor, archive.as_deref()).await };
        self.sessions
            .call(py, call, |py, proof: String| proof.into_py_any(py))
    }

    fn trial_balance(&self, py: Python<'_>) -> PyResult<Operation> {
        self.sessions.call(
            py,
            |ledger| async move { ledger.trial_balance().await },
            results::trial_balance,
        )
    }
}

fn cleanup(
    older_than: Any<'_, '_>,
    archive: Any<'_, '_>,
    limit: Option<Any<'_, '_>>,
    dry_run: Any<'_, '_>,
) -> PyResult<Cleanup> {
    Ok(Cleanup {
        older_than: duration("older_than", older_than)?,
        archive: path("archive", archive)?,
        limit: optional(limit, |limit| integer("limit", limit))?,
        dry_run: word_of_truth("dry_run", dry_run)?,
    })
}

async fn calculate(
    ledger: &Ledger,
    usage: &Usage,
    user_id: Option<Uuid>,
    at: Option<Timestamp>,
) -> jointo_credits::Result<Quote> {
    match at {
        None => ledger.calculate(usage, user_id).await,
        Some(at) => ledger.calculate_at(usage, user_id, at).await,
    }
}

/// The outer error is an item's that was malformed.
type Outcome = Result<jointo_credits::Result<Consumption>, PyErr>;

fn one_of_many(py: Python<'_>, item: Any<'_, '_>) -> PyResult<(ConsumeItem, Option<String>)> {
    const KNOWN: [&str; 9] = [
        "user_id",
        "feature",
        "quantity",
        "attributes",
        "amount",
        "ttl",
        "reference",
        "metadata",
        "idempotency_key",
    ];
    let no_dict = || {
        invalid(
            item,
            "items",
            "have one that is no dict",
            "a dict of consume()'s arguments",
        )
    };
    let plain = PyDict::new(py);
    let pairs = crate::arguments::pairs("items", item, "a dict of consume()'s arguments")?;
    for (name, value) in pairs.ok_or_else(no_dict)? {
        plain.set_item(name, value).map_err(|_| no_dict())?;
    }
    for name in plain.keys() {
        let known = name
            .extract::<String>()
            .is_ok_and(|name| KNOWN.contains(&name.as_str()));
        if !known {
            return Err(invalid(
                &name,
                "items",
                "have an argument that consume() has not",
                &KNOWN.join(", "),
            ));
        }
    }
    let part = |name: &str| -> PyResult<Option<Bound<'_, PyAny>>> {
        Ok(plain.get_item(name)?.filter(|value| !value.is_none()))
    };
    let Some(user_id) = part("user_id")? else {
        return Err(invalid(
            item,
            "user_id",
            "is missing",
            "a uuid.UUID, or text of one",
        ));
    };
    let consume = asked(
        py,
        &user_id,
        part("feature")?.as_ref(),
        part("quantity")?.as_ref(),
        part("attributes")?.as_ref(),
        part("amount")?.as_ref(),
        part("ttl")?.as_ref(),
        part("reference")?.as_ref(),
        part("metadata")?.as_ref(),
    )?;
    Ok((consume, key(part("idempotency_key")?.as_ref())?))
}
