//! Errors as Python knows them: `jointo_credits._errors`.

use crate::objects::{datetime, names, uuid};
use jointo_credits::{Error, Refusal};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyTuple};

/// A `ValidationError` for an argument.
pub(crate) fn invalid(
    value: &Bound<'_, PyAny>,
    field: &'static str,
    problem: &'static str,
    limit: &str,
) -> PyErr {
    const CHARS_MAX: usize = 80;
    // A `__repr__` may fail, or have surrogates; there is an error to report already.
    let shown = described(value).unwrap_or_default();
    let shown = match shown.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", shown.get(..at).unwrap_or_default()),
        None => shown,
    };
    let refusal = Refusal::Invalid {
        field,
        problem,
        limit: limit.to_owned(),
        value: shown,
    };
    raise(value.py(), refusal.into())
}

/// What is shown of a value. Of a container only its beginning is looked at: its own `__repr__` would write out all of it,
/// and the same part as often as it is in it.
fn described(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let py = value.py();
    let is_container = value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PySet>();
    if !is_container {
        return Ok(value.repr()?.to_string_lossy().into_owned());
    }
    if value.is_exact_instance_of::<PyDict>()
        || value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PySet>()
    {
        let shown = py.import("reprlib")?.call_method1("repr", (value,))?;
        return Ok(shown.str()?.to_string_lossy().into_owned());
    }
    Ok(format!("a {}", value.get_type().name()?))
}

/// Whether it is a `CreditsError`.
pub(crate) fn is_ours(py: Python<'_>, error: &PyErr) -> PyResult<bool> {
    Ok(error.is_instance(py, &names(py)?.errors.bind(py).getattr("CreditsError")?))
}

/// What a conversion has raised becomes a `ValidationError`; interrupts and the like stay what they are.
pub(crate) fn or_invalid<T>(
    result: PyResult<T>,
    value: &Bound<'_, PyAny>,
    field: &'static str,
    problem: &'static str,
    limit: &str,
) -> PyResult<T> {
    result.map_err(|error| {
        let py = value.py();
        if error.is_instance_of::<PyException>(py) && !is_ours(py, &error).unwrap_or(false) {
            invalid(value, field, problem, limit)
        } else {
            error
        }
    })
}

/// A `ValidationError` about arguments that do not go together: `given` says which were there.
pub(crate) fn clash(
    py: Python<'_>,
    field: &'static str,
    problem: &'static str,
    limit: &str,
    given: &str,
) -> PyErr {
    let refusal = Refusal::Invalid {
        field,
        problem,
        limit: limit.to_owned(),
        value: given.to_owned(),
    };
    raise(py, refusal.into())
}

/// The exception for an error.
pub(crate) fn raise(py: Python<'_>, error: Error) -> PyErr {
    match exception(py, &error) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        Err(broken) => broken,
    }
}

/// The exception, not raised: an outcome of `consume_many`.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyResult<Py<PyAny>> {
    let facts = PyDict::new(py);
    let class = match error {
        Error::Refused(refusal) => refusal_facts(py, refusal, &facts)?,
        Error::Card(card) => {
            facts.set_item("field", "card")?;
            facts.set_item("problem", card.fault.to_string())?;
            facts.set_item("path", &card.path)?;
            "ValidationError"
        }
        Error::Quote(quote) => {
            let refusal = Refusal::from(quote);
            refusal_facts(py, &refusal, &facts)?
        }
        Error::NotPriced { feature } => {
            facts.set_item("what", "rate card")?;
            facts.set_item("id", feature)?;
            "NotFoundError"
        }
        Error::PaymentVerification { channel, problem } => {
            facts.set_item("channel", channel)?;
            facts.set_item("problem", problem)?;
            "PaymentVerificationError"
        }
        Error::PaymentChannel {
            channel,
            reason,
            message,
        } => {
            facts.set_item("channel", channel)?;
            facts.set_item("reason", reason)?;
            facts.set_item("channel_message", message)?;
            "PaymentChannelError"
        }
        Error::Unavailable {
            outcome,
            reason,
            remedy,
        } => {
            facts.set_item("outcome", outcome.as_str())?;
            facts.set_item("reason", reason)?;
            facts.set_item("remedy", remedy)?;
            "UnavailableError"
        }
        other => {
            facts.set_item("outcome", "unknown")?;
            facts.set_item("reason", other.to_string())?;
            facts.set_item("remedy", "this is a fault of jointo_credits; please report it")?;
            "UnavailableError"
        }
    };
    let class = names(py)?.errors.bind(py).getattr(class)?;
    Ok(class.call((error.to_string(),), Some(&facts))?.unbind())
}

fn refusal_facts(py: Python<'_>, refusal: &Refusal, facts: &Bound<'_, PyDict>) -> PyResult<&'static str> {
    let class = match refusal {
        Refusal::Invalid {
            field,
            problem,
            limit,
            value,
        } => {
            facts.set_item("field", field)?;
            facts.set_item("problem", problem)?;
            facts.set_item("limit", limit)?;
            facts.set_item("value", value)?;
            "ValidationError"
        }
        Refusal::IdempotencyConflict { key } => {
            facts.set_item("key", key)?;
            "IdempotencyConflictError"
        }
        Refusal::NotFound { what, id } => {
            facts.set_item("what", what)?;
            facts.set_item("id", uuid(py, *id)?)?;
            "NotFoundError"
        }
        Refusal::InvalidState { id, state, .. } => {
            facts.set_item("consumption_id", uuid(py, *id)?)?;
            facts.set_item("state", state.as_str())?;
            "InvalidStateError"
        }
        Refusal::InvalidOrder { order_no, state, .. } => {
            facts.set_item("order_no", order_no.to_string())?;
            facts.set_item("state", state.as_str())?;
            "InvalidStateError"
        }
        Refusal::TooManyOrders { open, limit } => {
            facts.set_item("open_orders", open)?;
            facts.set_item("limit", limit)?;
            "InvalidStateError"
        }
        Refusal::WrongPayment {
            order_no,
            problem,
            expected,
            value,
        } => {
            facts.set_item("order_no", order_no.to_string())?;
            facts.set_item("problem", problem)?;
            facts.set_item("expected", expected)?;
            facts.set_item("value", value)?;
            "PaymentVerificationError"
        }
        Refusal::HoldExpired { id, expired_at } => {
            facts.set_item("consumption_id", uuid(py, *id)?)?;
            facts.set_item("expired_at", datetime(py, *expired_at)?)?;
            "HoldExpiredError"
        }
        Refusal::Insufficient { required, available } => {
            facts.set_item("required", required)?;
            facts.set_item("available", available)?;
            "InsufficientCreditsError"
        }
        other => {
            facts.set_item("problem", other.to_string())?;
            "ValidationError"
        }
    };
    Ok(class)
}
