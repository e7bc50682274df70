//! What went wrong: a number for programs that is for ever, and an object with the message and the facts.

use crate::strings::c_string;
use jointo_credits::{Error, OrderNo, Refusal, Written};
use serde_json::{Map, Value, json};
use std::ffi::{CStr, CString, c_char};

/// How a call ended: CREDITS_OK, or one of the other CREDITS_* numbers below. The numbers never change their meaning.
pub type credits_code = i32;

/// It was done.
pub const CREDITS_OK: i32 = 0;
/// An argument is malformed, missing or past a limit. The facts name the `field`, the `problem` and the `limit`.
pub const CREDITS_VALIDATION: i32 = 1;
/// There is no such consumption, lot, package, rate card or order.
pub const CREDITS_NOT_FOUND: i32 = 2;
/// More was asked for than is there: credits_error_required() and credits_error_available().
pub const CREDITS_INSUFFICIENT_CREDITS: i32 = 3;
/// The hold's deadline has passed. Consume again, or confirm with CREDITS_LATE_RECHARGE.
pub const CREDITS_HOLD_EXPIRED: i32 = 4;
/// The consumption or order is in a state that does not allow it: the facts name the `state`. Or too many orders of the account
/// wait for a payment: the facts name `open_orders` and `limit`.
pub const CREDITS_INVALID_STATE: i32 = 5;
/// The idempotency key was used before for another request.
pub const CREDITS_IDEMPOTENCY_CONFLICT: i32 = 6;
/// A payment channel's message is not what it claims to be, or a payment does not fit its order. The facts name the `channel`
/// or the `order_no`, and the `problem`.
pub const CREDITS_PAYMENT_VERIFICATION: i32 = 7;
/// The database or a payment channel, or the way to it, failed. Nothing has changed: try again.
pub const CREDITS_UNAVAILABLE: i32 = 8;
/// The database failed while it wrote, or a payment channel did not answer. Nobody can tell whether it was done; repeating
/// it with the same idempotency key is safe.
pub const CREDITS_UNKNOWN_OUTCOME: i32 = 9;
/// The ledger was opened before this process was forked: open it anew.
pub const CREDITS_FORKED: i32 = 10;
/// A fault of this library; please report it.
pub const CREDITS_INTERNAL: i32 = 11;
/// A payment channel said no. The facts name the `channel` and its own `reason`.
pub const CREDITS_PAYMENT_CHANNEL: i32 = 12;

/// What went wrong. Made by a call that fails, where its last argument is not NULL; freed by credits_error_free().
pub struct credits_error {
    code: credits_code,
    message: CString,
    facts: CString,
    required: i64,
    available: i64,
}

pub(crate) type Checked<T> = Result<T, credits_error>;

impl credits_error {
    fn new(code: credits_code, message: &str, facts: Map<String, Value>) -> Self {
        credits_error {
            code,
            message: c_string(message),
            facts: c_string(&Value::Object(facts).to_string()),
            required: 0,
            available: 0,
        }
    }

    pub(crate) fn code(&self) -> credits_code {
        self.code
    }

    pub(crate) fn message(&self) -> &CStr {
        &self.message
    }

    /// As part of an answer.
    pub(crate) fn json(&self) -> Value {
        json!({
            "code": name_of(self.code).to_string_lossy(),
            "message": self.message.to_string_lossy(),
            "facts": self.fact_object(),
        })
    }

    fn fact_object(&self) -> Map<String, Value> {
        serde_json::from_slice(self.facts.as_bytes()).unwrap_or_default()
    }

    /// Names the channel whose configuration is at fault: both have fields of the same name.
    pub(crate) fn of_channel(self, channel: &str) -> Self {
        let mut facts = self.fact_object();
        facts.insert("channel".to_owned(), json!(channel));
        let message = format!("{channel}: {}", self.message.to_string_lossy());
        credits_error::new(self.code, &message, facts)
    }

    pub(crate) fn required(&self) -> i64 {
        self.required
    }

    pub(crate) fn available(&self) -> i64 {
        self.available
    }

    pub(crate) fn invalid(field: &'static str, problem: &'static str, limit: &str) -> Self {
        let refusal = Refusal::Invalid {
            field,
            problem,
            limit: limit.to_owned(),
            value: String::new(),
        };
        let facts = facts([
            ("field", json!(field)),
            ("problem", json!(problem)),
            ("limit", json!(limit)),
        ]);
        credits_error::new(CREDITS_VALIDATION, &refusal.to_string(), facts)
    }

    pub(crate) fn forked() -> Self {
        credits_error::new(
            CREDITS_FORKED,
            "this process was forked from the one that opened the ledger; open it anew",
            Map::new(),
        )
    }

    pub(crate) fn panicked(what: &str) -> Self {
        credits_error::new(
            CREDITS_INTERNAL,
            &format!("a fault of libcredits, please report it: {what}"),
            Map::new(),
        )
    }

    pub(crate) fn threads(error: &std::io::Error) -> Self {
        credits_error::new(
            CREDITS_UNAVAILABLE,
            &format!("the threads of the ledger can't be started: {error}; check the limits on processes"),
            Map::new(),
        )
    }
}

pub(crate) fn null(field: &'static str) -> credits_error {
    credits_error::invalid(field, "is NULL", "a pointer to one")
}

fn facts<const N: usize>(of: [(&str, Value); N]) -> Map<String, Value> {
    of.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

impl From<Refusal> for credits_error {
    fn from(refusal: Refusal) -> Self {
        Error::from(refusal).into()
    }
}

impl From<Error> for credits_error {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (code, facts) = match &error {
            Error::Refused(refusal) => of_refusal(refusal),
            Error::NotPriced { feature } => (
                CREDITS_NOT_FOUND,
                facts([("what", json!("rate card")), ("id", json!(feature))]),
            ),
            Error::Card(fault) => (
                CREDITS_VALIDATION,
                facts([("field", json!("card")), ("problem", json!(fault.to_string()))]),
            ),
            Error::Quote(fault) => (
                CREDITS_VALIDATION,
                facts([("field", json!("usage")), ("problem", json!(fault.to_string()))]),
            ),
            Error::Unavailable {
                outcome,
                reason,
                remedy,
            } => (
                match outcome {
                    Written::No => CREDITS_UNAVAILABLE,
                    Written::Unknown => CREDITS_UNKNOWN_OUTCOME,
                },
                facts([
                    ("outcome", json!(outcome.as_str())),
                    ("reason", json!(reason)),
                    ("remedy", json!(remedy)),
                ]),
            ),
            Error::PaymentVerification { channel, problem } => (
                CREDITS_PAYMENT_VERIFICATION,
                facts([("channel", json!(channel)), ("problem", json!(problem))]),
            ),
            Error::PaymentChannel {
                channel,
                reason,
                message,
            } => (
                CREDITS_PAYMENT_CHANNEL,
                facts([
                    ("channel", json!(channel)),
                    ("reason", json!(reason)),
                    ("channel_message", json!(message)),
                ]),
            ),
            _ => (CREDITS_INTERNAL, Map::new()),
        };
        let mut made = credits_error::new(code, &message, facts);
        if let Error::Refused(Refusal::Insufficient { required, available }) = error {
            (made.required, made.available) = (required, available);
        }
        made
    }
}

fn of_refusal(refusal: &Refusal) -> (credits_code, Map<String, Value>) {
    match refusal {
        Refusal::Invalid {
            field,
            problem,
            limit,
            value,
        } => (
            CREDITS_VALIDATION,
            facts([
                ("field", json!(field)),
                ("problem", json!(problem)),
                ("limit", json!(limit)),
                ("value", json!(value)),
            ]),
        ),
        Refusal::Insufficient { required, available } => (
            CREDITS_INSUFFICIENT_CREDITS,
            facts([("required", json!(required)), ("available", json!(available))]),
        ),
        Refusal::InvalidState { id, state, .. } => (
            CREDITS_INVALID_STATE,
            facts([
                ("consumption_id", json!(id.to_string())),
                ("state", json!(state.as_str())),
            ]),
        ),
        Refusal::InvalidOrder { order_no, state, .. } => (
            CREDITS_INVALID_STATE,
            facts([
                ("order_no", json!(order_no.to_string())),
                ("state", json!(state.as_str())),
            ]),
        ),
        Refusal::TooManyOrders { open, limit } => (
            CREDITS_INVALID_STATE,
            facts([("open_orders", json!(open)), ("limit", json!(limit))]),
        ),
        Refusal::WrongPayment {
            order_no,
            problem,
            expected,
            value,
        } => (
            CREDITS_PAYMENT_VERIFICATION,
            facts([
                ("order_no", json!(order_no.to_string())),
                ("problem", json!(problem)),
                ("expected", json!(expected)),
                ("value", json!(value)),
            ]),
        ),
        Refusal::HoldExpired { id, expired_at } => (
            CREDITS_HOLD_EXPIRED,
            facts([
                ("consumption_id", json!(id.to_string())),
                ("expired_at", json!(expired_at.to_string())),
            ]),
        ),
        // Orders are known by their numbers, which have no dashes.
        Refusal::NotFound { what: "order", id } => (
            CREDITS_NOT_FOUND,
            facts([
                ("what", json!("order")),
                ("order_no", json!(OrderNo(*id).to_string())),
            ]),
        ),
        Refusal::NotFound { what, id } => (
            CREDITS_NOT_FOUND,
            facts([("what", json!(what)), ("id", json!(id.to_string()))]),
        ),
        other => (
            match other.code() {
                "idempotency_conflict" => CREDITS_IDEMPOTENCY_CONFLICT,
                "validation" => CREDITS_VALIDATION,
                _ => CREDITS_INTERNAL,
            },
            Map::new(),
        ),
    }
}

/// Frees an error. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_error_free(error: *mut credits_error) {
    if !error.is_null() {
        // SAFETY: it came from a call of ours, which gave it away, and is freed once.
        drop(unsafe { Box::from_raw(error) });
    }
}

/// The error's number; CREDITS_OK for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_error_code(error: *const credits_error) -> credits_code {
    // SAFETY: NULL, or one of ours that was not freed.
    unsafe { error.as_ref() }.map_or(CREDITS_OK, |error| error.code)
}

/// What is wrong and what to do, for people; "" for NULL. It belongs to the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_error_message(error: *const credits_error) -> *const c_char {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(c"".as_ptr(), |error| error.message.as_ptr())
}

/// The facts as a JSON object, such as {"required":75,"available":60}; "{}" for NULL. It belongs to the error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_error_facts(error: *const credits_error) -> *const c_char {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(c"{}".as_ptr(), |error| error.facts.as_ptr())
}

/// Of CREDITS_INSUFFICIENT_CREDITS: the credits that the call needs; 0 else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_error_required(error: *const credits_error) -> i64 {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(0, |error| error.required)
}

/// Of CREDITS_INSUFFICIENT_CREDITS: the credits that can be spent, the credit limit included; 0 else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_error_available(error: *const credits_error) -> i64 {
    // SAFETY: as above.
    unsafe { error.as_ref() }.map_or(0, |error| error.available)
}

/// A code's stable word, such as "insufficient_credits"; "" for a number that is none. Never NULL; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn credits_code_name(code: credits_code) -> *const c_char {
    name_of(code).as_ptr()
}

fn name_of(code: credits_code) -> &'static CStr {
    match code {
        CREDITS_OK => c"ok",
        CREDITS_VALIDATION => c"validation",
        CREDITS_NOT_FOUND => c"not_found",
        CREDITS_INSUFFICIENT_CREDITS => c"insufficient_credits",
        CREDITS_HOLD_EXPIRED => c"hold_expired",
        CREDITS_INVALID_STATE => c"invalid_state",
        CREDITS_IDEMPOTENCY_CONFLICT => c"idempotency_conflict",
        CREDITS_PAYMENT_VERIFICATION => c"payment_verification",
        CREDITS_UNAVAILABLE => c"unavailable",
        CREDITS_UNKNOWN_OUTCOME => c"unknown_outcome",
        CREDITS_FORKED => c"forked",
        CREDITS_INTERNAL => c"internal",
        CREDITS_PAYMENT_CHANNEL => c"payment_channel",
        _ => c"",
    }
}
