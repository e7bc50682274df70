//! The commands. Each is documented once, for all languages, at `jointo_credits::Ledger`; here with what C adds.

use crate::call::{Out, write_unless_null};
use crate::error::{CREDITS_OK, Checked, credits_code, credits_error};
use crate::handle::{credits_ledger, wait, with};
use crate::options::{Options, items, number, required, sized_items};
use crate::prices::{credits_attribute, credits_number, usage};
use crate::results::{
    by_number, credits_clawed_back, credits_consumption, credits_matured, credits_outcome, credits_receipt,
    source_number,
};
use crate::strings::field;
use crate::text::{metadata, optional_amount, optional_duration, optional_text, optional_time, text};
use crate::uuid::{credits_uuid, id};
use jointo_credits::ledger::limits::BATCH_COMMANDS_MAX;
use jointo_credits::{
    Adjust, Clawback, Confirm, Consume, ConsumeItem, Consumption, Extend, Gift, Grant, Late, Money, Overage,
    PricedConfirm, PricedConsume, Refund, SetCreditLimit, Shortfall, Source,
};
use jointo_credits_bindings as bindings;
use std::ffi::c_char;

/// Where more was used than is held: refuse.
pub const CREDITS_OVERAGE_REJECT: i32 = 0;
/// Take what is available, or refuse.
pub const CREDITS_OVERAGE_AVAILABLE: i32 = 1;
/// Take it all, and book what is missing as debt.
pub const CREDITS_OVERAGE_DEBT: i32 = 2;
/// After the deadline: refuse.
pub const CREDITS_LATE_REJECT: i32 = 0;
/// Take the credits anew, if they are available.
pub const CREDITS_LATE_RECHARGE: i32 = 1;
/// Credits to be taken back that are spent: let them go.
pub const CREDITS_SHORTFALL_FORGIVE: i32 = 0;
/// Book them as debt.
pub const CREDITS_SHORTFALL_DEBT: i32 = 1;

/// What becomes of credits that can't be taken back.
pub(crate) fn shortfall(given: i32) -> Checked<Shortfall> {
    number(
        "shortfall",
        given,
        &[
            (CREDITS_SHORTFALL_FORGIVE, Shortfall::Forgive),
            (CREDITS_SHORTFALL_DEBT, Shortfall::Debt),
        ],
        "CREDITS_SHORTFALL_*",
    )
}

fn clash(field: &'static str, problem: &'static str) -> credits_error {
    credits_error::invalid(
        field,
        problem,
        "amount, or a feature with its quantity and attributes",
    )
}

/// What to hold. Set it to CREDITS_CONSUME_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_consume_options {
    /// sizeof(credits_consume_options).
    pub size: usize,
    /// Whose credits.
    pub user_id: credits_uuid,
    /// Credits. Either this, or `feature` with what its rate card meters.
    pub amount: i64,
    /// What it is for.
    pub feature: *const c_char,
    /// How much of it, a decimal number such as "12.5"; "1" where neither this nor `quantities` is given.
    pub quantity: *const c_char,
    /// Where the card meters several quantities: each by its name.
    pub quantities: *const credits_number,
    /// How many there are.
    pub quantities_count: usize,
    /// What the card wants to know besides.
    pub attributes: *const credits_attribute,
    /// How many there are.
    pub attributes_count: usize,
    /// How long the hold lives, in microseconds: 1 s to 30 d.
    pub ttl: i64,
    /// Your own name for it, up to 255 bytes.
    pub reference: *const c_char,
    /// A JSON object of your own, up to 16 KiB.
    pub metadata: *const c_char,
    /// Makes repeating it safe: the same key gives the first result. Up to 255 bytes, unique for the account.
    pub idempotency_key: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_consume_options {}

/// # Safety
/// The pointers are what lib.rs says.
unsafe fn asked<'a>(options: &credits_consume_options) -> Checked<(ConsumeItem, Option<&'a str>)> {
    // SAFETY: the caller's promise.
    unsafe {
        let user_id = id("user_id", options.user_id)?;
        let feature = optional_text("feature", options.feature)?;
        let ttl = optional_duration("ttl", options.ttl)?;
        let reference = optional_text("reference", options.reference)?;
        let metadata = metadata(options.metadata)?;
        let key = optional_text("idempotency_key", options.idempotency_key)?;
        let meters =
            !options.quantity.is_null() || options.quantities_count > 0 || options.attributes_count > 0;
        let asked = match (options.amount, feature) {
            (0, None) => {
                return Err(clash(
                    "amount",
                    "is missing, and there is no feature to price it by",
                ));
            }
            (0, Some(feature)) => {
                let usage = usage(
                    feature,
                    options.quantity,
                    items("quantities", options.quantities, options.quantities_count)?,
                    items("attributes", options.attributes, options.attributes_count)?,
                )?;
                let mut consume = PricedConsume::new(user_id, usage);
                if let Some(ttl) = ttl {
                    consume = consume.ttl(ttl);
                }
                if let Some(reference) = reference {
                    consume = consume.reference(reference);
                }
                if let Some(metadata) = metadata {
                    consume = consume.metadata(metadata);
                }
                ConsumeItem::Priced(consume)
            }
            (_, _) if meters => {
                return Err(clash(
                    "amount",
                    "can't be given together with a quantity or attributes",
                ));
            }
            (amount, feature) => ConsumeItem::Amount(Consume {
                feature: feature.map(str::to_owned),
                ttl,
                reference: reference.map(str::to_owned),
                metadata,
                ..Consume::new(user_id, amount)
            }),
        };
        Ok((asked, key))
    }
}

/// Holds credits for a job that is about to begin.
///
/// @param held  NULL, or a place for the hold.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND (no rate card),
///         CREDITS_INSUFFICIENT_CREDITS, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_consume(
    ledger: *const credits_ledger,
    options: *const credits_consume_options,
    held: *mut credits_consumption,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let (asked, key) = asked(&required(options)?)?;
            let done = wait(ledger, bindings::consume(&ledger.ledger, asked, key))?;
            write_unless_null(held, || (&done).into());
            Ok(())
        })
    }
}

/// Holds credits for many jobs, up to 1,000. Each is accepted or refused on its own.
///
/// @param options   An array of them, all of the same size: it is walked by the size that the first one says.
/// @param count     How many.
/// @param outcomes  As many places, in the same order.
/// @return CREDITS_OK where every item has an outcome, whatever it is; CREDITS_VALIDATION, CREDITS_FORKED: none has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_consume_many(
    ledger: *const credits_ledger,
    options: *const credits_consume_options,
    count: usize,
    outcomes: *mut credits_outcome,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            if count > BATCH_COMMANDS_MAX {
                let limit = BATCH_COMMANDS_MAX.to_string();
                return Err(credits_error::invalid("count", "is too many at once", &limit));
            }
            let given = sized_items("options", options, count)?;
            let places = Out::new("outcomes", outcomes);
            if count > 0 {
                places?;
            }
            let read = |one: Checked<credits_consume_options>| -> Checked<_> {
                let options = one?;
                let (item, key) = asked(&options)?;
                Ok((item, key.map(str::to_owned)))
            };
            let items = given.into_iter().map(read).collect();
            let done = wait(ledger, bindings::consume_many(&ledger.ledger, items))?;
            for (place, result) in done.into_iter().enumerate() {
                let result = result.and_then(|outcome| Ok(outcome?));
                outcomes.add(place).write(outcome(&result));
            }
            Ok(())
        })
    }
}

fn outcome(result: &Checked<Consumption>) -> credits_outcome {
    // SAFETY: it is numbers, for which zeros are valid.
    let nothing: credits_consumption = unsafe { std::mem::zeroed() };
    match result {
        Ok(held) => credits_outcome {
            code: CREDITS_OK,
            required: 0,
            available: 0,
            consumption: held.into(),
            message: field(None),
        },
        Err(error) => credits_outcome {
            code: error.code(),
            required: error.required(),
            available: error.available(),
            consumption: nothing,
            message: field(error.message().to_str().ok()),
        },
    }
}

/// What a hold is settled with. Set it to CREDITS_CONFIRM_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_confirm_options {
    /// sizeof(credits_confirm_options).
    pub size: usize,
    /// The hold.
    pub consumption_id: credits_uuid,
    /// Credits that were really used; all that is held where neither this nor a quantity is given.
    pub amount: i64,
    /// How much was really used, priced by the card that the hold was made with.
    pub quantity: *const c_char,
    /// Where the card meters several quantities: each by its name.
    pub quantities: *const credits_number,
    /// How many there are.
    pub quantities_count: usize,
    /// CREDITS_OVERAGE_*.
    pub overage: i32,
    /// CREDITS_LATE_*.
    pub late: i32,
    /// Makes repeating it safe.
    pub idempotency_key: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_confirm_options {}

/// Spends what a hold keeps, or what was really used; the rest goes back.
///
/// @param done  NULL, or a place for how the consumption stands then.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE,
///         CREDITS_HOLD_EXPIRED, CREDITS_INSUFFICIENT_CREDITS, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_confirm(
    ledger: *const credits_ledger,
    options: *const credits_confirm_options,
    done: *mut credits_consumption,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let id = id("consumption_id", options.consumption_id)?;
            let overage = number(
                "overage",
                options.overage,
                &[
                    (CREDITS_OVERAGE_REJECT, Overage::Reject),
                    (CREDITS_OVERAGE_AVAILABLE, Overage::Available),
                    (CREDITS_OVERAGE_DEBT, Overage::Debt),
                ],
                "CREDITS_OVERAGE_*",
            )?;
            let late = number(
                "late",
                options.late,
                &[
                    (CREDITS_LATE_REJECT, Late::Reject),
                    (CREDITS_LATE_RECHARGE, Late::Recharge),
                ],
                "CREDITS_LATE_*",
            )?;
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let named = items("quantities", options.quantities, options.quantities_count)?;
            let priced = match optional_text("quantity", options.quantity)? {
                Some(_) if !named.is_empty() => {
                    return Err(clash("quantity", "can't be given together with quantities"));
                }
                Some(quantity) => Some(PricedConfirm::quantity(
                    id,
                    crate::money::decimal("quantity", quantity)?,
                )),
                None if named.is_empty() => None,
                None => {
                    let named = crate::prices::named(named)?;
                    Some(PricedConfirm::metered(id, named))
                }
            };
            let result = match (priced, optional_amount(options.amount)) {
                (Some(_), Some(_)) => return Err(clash("amount", "can't be given together with a quantity")),
                (Some(confirm), None) => {
                    let confirm = confirm.overage(overage).late(late);
                    wait(ledger, ledger.ledger.confirm_priced(confirm, key))?
                }
                (None, amount) => {
                    let confirm =
                        amount.map_or_else(|| Confirm::all(id), |amount| Confirm::amount(id, amount));
                    let confirm = confirm.overage(overage).late(late);
                    wait(ledger, ledger.ledger.confirm(confirm, key))?
                }
            };
            write_unless_null(done, || (&result).into());
            Ok(())
        })
    }
}

/// What is given back. Set it to CREDITS_REFUND_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_refund_options {
    /// sizeof(credits_refund_options).
    pub size: usize,
    /// The consumption.
    pub consumption_id: credits_uuid,
    /// A part of what was captured; all of it where none is given.
    pub amount: i64,
    /// Why, up to 255 bytes.
    pub reason: *const c_char,
    /// Whether only a hold is released, and a capture stays (CREDITS_INVALID_STATE): 1 or 0.
    pub pending_only: i32,
    /// Zero.
    pub reserved: i32,
    /// Makes repeating it safe.
    pub idempotency_key: *const c_char,
    /// By whom, up to 255 bytes.
    pub operator_name: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_refund_options {}

/// Gives credits back: of a hold all, of a confirmed consumption all or a part, of an expired one nothing.
///
/// @param done  NULL, or a place for how the consumption stands then.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE,
///         CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_refund(
    ledger: *const credits_ledger,
    options: *const credits_refund_options,
    done: *mut credits_consumption,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let refund = Refund {
                consumption_id: id("consumption_id", options.consumption_id)?,
                amount: optional_amount(options.amount),
                reason: optional_text("reason", options.reason)?.map(str::to_owned),
                operator: optional_text("operator_name", options.operator_name)?.map(str::to_owned),
                pending_only: options.pending_only != 0,
            };
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let result = wait(ledger, ledger.ledger.refund(refund, key))?;
            write_unless_null(done, || (&result).into());
            Ok(())
        })
    }
}

/// Gives a hold more time, never less.
///
/// @param ttl              From now on, in microseconds: 1 s to 30 d.
/// @param idempotency_key  NULL, or what makes repeating it safe.
/// @param done             NULL, or a place for how the consumption stands then.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_INVALID_STATE,
///         CREDITS_HOLD_EXPIRED, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_extend(
    ledger: *const credits_ledger,
    consumption_id: credits_uuid,
    ttl: i64,
    idempotency_key: *const c_char,
    done: *mut credits_consumption,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let id = id("consumption_id", consumption_id)?;
            let extend = Extend::new(id, optional_duration("ttl", ttl)?.unwrap_or_default());
            let key = optional_text("idempotency_key", idempotency_key)?;
            let result = wait(ledger, ledger.ledger.extend(extend, key))?;
            write_unless_null(done, || (&result).into());
            Ok(())
        })
    }
}

/// Credits for an account. Set it to CREDITS_GRANT_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_grant_options {
    /// sizeof(credits_grant_options).
    pub size: usize,
    /// The account.
    pub user_id: credits_uuid,
    /// How many.
    pub amount: i64,
    /// CREDITS_SOURCE_*.
    pub source: i32,
    /// Lower burns first.
    pub priority: i32,
    /// When they expire; never without.
    pub expires_at: i64,
    /// What was paid for them, in the currency's minor unit; with `cost_currency`.
    pub cost_minor: i64,
    /// ISO 4217 code.
    pub cost_currency: *const c_char,
    /// Your own name for it, such as an order's number.
    pub reference: *const c_char,
    /// Makes repeating it safe.
    pub idempotency_key: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_grant_options {}

/// Grants credits.
///
/// @param receipt  NULL, or a place for what was done.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_grant(
    ledger: *const credits_ledger,
    options: *const credits_grant_options,
    receipt: *mut credits_receipt,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let source = by_number(Source::ALL, source_number, options.source).ok_or_else(|| {
                credits_error::invalid("source", "is none of the numbers there are", "CREDITS_SOURCE_*")
            })?;
            let cost = optional_text("cost_currency", options.cost_currency)?.map(|currency| Money {
                minor: options.cost_minor,
                currency: currency.to_owned(),
            });
            if cost.is_none() && options.cost_minor != 0 {
                return Err(credits_error::invalid(
                    "cost_currency",
                    "is missing",
                    "an ISO 4217 code",
                ));
            }
            let grant = Grant {
                priority: options.priority,
                expires_at: optional_time(options.expires_at),
                cost,
                reference: optional_text("reference", options.reference)?.map(str::to_owned),
                ..Grant::new(id("user_id", options.user_id)?, options.amount, source)
            };
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let result = wait(ledger, ledger.ledger.grant(grant, key))?;
            write_unless_null(receipt, || (&result).into());
            Ok(())
        })
    }
}

/// A present, or a correction. Set it to CREDITS_GIFT_INIT or CREDITS_ADJUST_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_gift_options {
    /// sizeof(credits_gift_options).
    pub size: usize,
    /// The account.
    pub user_id: credits_uuid,
    /// How many credits; of a correction, below zero takes away.
    pub amount: i64,
    /// Why, up to 255 bytes.
    pub reason: *const c_char,
    /// By whom.
    pub operator_name: *const c_char,
    /// Of a present: when it expires; never without.
    pub expires_at: i64,
    /// Makes repeating it safe.
    pub idempotency_key: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_gift_options {}

/// Gives credits away, and writes it into the register of gifts.
///
/// @param receipt  NULL, or a place for what was done.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_gift(
    ledger: *const credits_ledger,
    options: *const credits_gift_options,
    receipt: *mut credits_receipt,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let gift = Gift {
                operator: optional_text("operator_name", options.operator_name)?.map(str::to_owned),
                expires_at: optional_time(options.expires_at),
                ..Gift::new(
                    id("user_id", options.user_id)?,
                    options.amount,
                    text("reason", options.reason)?,
                )
            };
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let result = wait(ledger, ledger.ledger.gift(gift, key))?;
            write_unless_null(receipt, || (&result).into());
            Ok(())
        })
    }
}

/// Corrects a balance.
///
/// @param receipt  NULL, or a place for what was done.
/// @return CREDITS_OK, CREDITS_VALIDATION (also `expires_at`), CREDITS_IDEMPOTENCY_CONFLICT,
///         CREDITS_INSUFFICIENT_CREDITS, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_adjust(
    ledger: *const credits_ledger,
    options: *const credits_gift_options,
    receipt: *mut credits_receipt,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            if options.expires_at != 0 {
                return Err(credits_error::invalid("expires_at", "is for presents only", "0"));
            }
            let adjust = Adjust {
                operator: optional_text("operator_name", options.operator_name)?.map(str::to_owned),
                ..Adjust::new(
                    id("user_id", options.user_id)?,
                    options.amount,
                    text("reason", options.reason)?,
                )
            };
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let result = wait(ledger, ledger.ledger.adjust(adjust, key))?;
            write_unless_null(receipt, || (&result).into());
            Ok(())
        })
    }
}

/// Sets how far below zero credits_consume() may take a balance.
///
/// @param credit_limit     0 or more.
/// @param idempotency_key  NULL, or what makes repeating it safe.
/// @param receipt          NULL, or a place for what was done.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_set_credit_limit(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    credit_limit: i64,
    idempotency_key: *const c_char,
    receipt: *mut credits_receipt,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let user_id = id("user_id", user_id)?;
            let key = optional_text("idempotency_key", idempotency_key)?;
            let limit = SetCreditLimit {
                user_id,
                credit_limit,
            };
            let result = wait(ledger, ledger.ledger.set_credit_limit(limit, key))?;
            write_unless_null(receipt, || (&result).into());
            Ok(())
        })
    }
}

/// Granted credits to take back. Set it to CREDITS_CLAWBACK_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_clawback_options {
    /// sizeof(credits_clawback_options).
    pub size: usize,
    /// The account.
    pub user_id: credits_uuid,
    /// The lot that was granted.
    pub lot_id: credits_uuid,
    /// How many of its credits; all of them where none is given.
    pub amount: i64,
    /// Why, up to 255 bytes.
    pub reason: *const c_char,
    /// CREDITS_SHORTFALL_*.
    pub shortfall: i32,
    /// Zero.
    pub reserved: i32,
    /// Makes repeating it safe.
    pub idempotency_key: *const c_char,
    /// By whom, up to 255 bytes.
    pub operator_name: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_clawback_options {}

/// Takes granted credits back.
///
/// @param done  NULL, or a place for what was found.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_IDEMPOTENCY_CONFLICT, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE,
///         CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_clawback(
    ledger: *const credits_ledger,
    options: *const credits_clawback_options,
    done: *mut credits_clawed_back,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let shortfall = shortfall(options.shortfall)?;
            let clawback = Clawback {
                amount: optional_amount(options.amount),
                reason: optional_text("reason", options.reason)?.map(str::to_owned),
                operator: optional_text("operator_name", options.operator_name)?.map(str::to_owned),
                ..Clawback::all(id("user_id", options.user_id)?, id("lot_id", options.lot_id)?)
            };
            let key = optional_text("idempotency_key", options.idempotency_key)?;
            let result = wait(ledger, ledger.ledger.clawback(clawback.shortfall(shortfall), key))?;
            write_unless_null(done, || (&result).into());
            Ok(())
        })
    }
}

/// Writes down the holds that have expired. Nothing depends on when it runs; safe from several processes at once.
///
/// @param limit  After at least so many it stops; 0 for all.
/// @param done   NULL, or a place for the counts.
/// @return CREDITS_OK, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_expire_pending(
    ledger: *const credits_ledger,
    limit: u64,
    done: *mut credits_matured,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let limit = (limit > 0).then_some(limit);
            let matured = wait(ledger, ledger.ledger.expire_pending(limit))?;
            write_unless_null(done, || matured.into());
            Ok(())
        })
    }
}

/// Writes down the lots that have expired: as credits_expire_pending().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_expire_lots(
    ledger: *const credits_ledger,
    limit: u64,
    done: *mut credits_matured,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let limit = (limit > 0).then_some(limit);
            let matured = wait(ledger, ledger.ledger.expire_lots(limit))?;
            write_unless_null(done, || matured.into());
            Ok(())
        })
    }
}
