//! What Python passes, checked. Whatever is wrong becomes a `ValidationError` that names the argument.

use crate::answers::names;
use crate::failures::{invalid, or_invalid};
use jointo_credits::pricing::{Decimal, parse_decimal};
use jointo_credits::{Metadata, Timestamp, Usage};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple,
};
use std::time::Duration;
use uuid::Uuid;

/// A `UUID`, or text of one.
pub(crate) fn uuid(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Uuid> {
    let py = value.py();
    if value.is_instance(names(py)?.uuid.bind(py))? {
        let bytes = value
            .getattr("bytes")
            .and_then(|bytes| bytes.extract::<[u8; 16]>());
        let bytes = or_invalid(bytes, value, field, "is no UUID", "a uuid.UUID, or text of one")?;
        return Ok(Uuid::from_bytes(bytes));
    }
    let text = value.cast::<PyString>().ok().and_then(|text| text.to_cow().ok());
    match text.and_then(|text| Uuid::parse_str(&text).ok()) {
        Some(id) => Ok(id),
        None => Err(invalid(value, field, "is no UUID", "a uuid.UUID, or text of one")),
    }
}

/// A whole number.
pub(crate) fn integer<T>(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py, Error = PyErr>,
{
    if value.is_instance_of::<PyBool>() {
        return Err(invalid(value, field, "is no number", "an int"));
    }
    value.extract().map_err(|error: PyErr| {
        let whole = !error.is_instance_of::<PyTypeError>(value.py());
        let problem = if whole {
            "is out of range"
        } else {
            "is no whole number"
        };
        invalid(value, field, problem, "an int")
    })
}

/// Text.
pub(crate) fn text(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    let found = value.cast::<PyString>().ok().and_then(|text| text.extract().ok());
    found.ok_or_else(|| invalid(value, field, "is no text", "a str of valid Unicode"))
}

/// A path, or text of one.
pub(crate) fn path(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    match value.call_method0("__fspath__") {
        Ok(path) => text(field, &path),
        Err(_) => text(field, value),
    }
}

/// One of a few words.
pub(crate) fn word<T: Copy>(
    field: &'static str,
    value: &Bound<'_, PyAny>,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> PyResult<T> {
    let given = text(field, value)?;
    let found = all.iter().find(|meaning| as_str(**meaning) == given);
    found.copied().ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|meaning| as_str(*meaning)).collect();
        invalid(value, field, "is none of the words there are", &known.join(", "))
    })
}

/// An aware `datetime`.
pub(crate) fn timestamp(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let py = value.py();
    let names = names(py)?;
    let expected = "an aware datetime, such as datetime.now(timezone.utc)";
    if !value.is_instance(names.datetime.bind(py))? {
        return Err(invalid(value, field, "is no datetime", expected));
    }
    // The methods of `datetime` itself: subclasses have others of the same names.
    let micros = || -> PyResult<Option<i64>> {
        if value.call_method0("utcoffset")?.is_none() {
            return Ok(None);
        }
        let since = names
            .datetime
            .bind(py)
            .call_method1("__sub__", (value, names.epoch.bind(py)))?;
        Ok(Some(microseconds(&since)?))
    };
    match or_invalid(micros(), value, field, "is no possible time", expected)? {
        None => Err(invalid(value, field, "has no time zone", expected)),
        Some(micros) => match Timestamp::from_micros(micros) {
            at if at.in_range() => Ok(at),
            _ => Err(invalid(value, field, "is out of range", "the years 2000 to 9999")),
        },
    }
}

/// A `timedelta` in microseconds.
fn microseconds(delta: &Bound<'_, PyAny>) -> PyResult<i64> {
    let names = names(delta.py())?;
    let microsecond = names.microsecond.bind(delta.py());
    let timedelta = names.timedelta.bind(delta.py());
    timedelta
        .call_method1("__floordiv__", (delta, microsecond))?
        .extract()
}

/// A `timedelta`, or a number of seconds; at least zero.
pub(crate) fn duration(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let py = value.py();
    let names = names(py)?;
    let expected = "a timedelta, or a number of seconds, of 0 or more";
    let wrong = |problem| Err(invalid(value, field, problem, expected));
    if value.is_instance(names.timedelta.bind(py))? {
        let micros = or_invalid(microseconds(value), value, field, "is out of range", expected)?;
        return match u64::try_from(micros) {
            Ok(micros) => Ok(Duration::from_micros(micros)),
            Err(_) => wrong("is negative"),
        };
    }
    if value.is_instance_of::<PyBool>() || value.is_instance_of::<PyString>() {
        return wrong("is no duration");
    }
    let Ok(seconds) = value.extract::<f64>() else {
        return wrong("is no duration");
    };
    match Duration::try_from_secs_f64(seconds) {
        // Rounded: a float of seconds is seldom a whole number of microseconds.
        Ok(duration) => Ok(Duration::from_micros(
            u64::try_from((duration.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX),
        )),
        Err(_) => wrong("is no possible duration"),
    }
}

/// An exact number: `Decimal`, `int`, or text of one. A float is refused: `0.1` is not what it says.
pub(crate) fn decimal(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Decimal> {
    let py = value.py();
    let expected = "a Decimal, an int, or text such as '0.5'";
    if value.is_instance_of::<PyFloat>() {
        return Err(invalid(value, field, "is a float, which is not exact", expected));
    }
    let a_decimal = value.is_instance(names(py)?.decimal.bind(py))?;
    let written = || -> PyResult<String> {
        if a_decimal || value.is_instance_of::<PyString>() {
            return value.str()?.extract();
        }
        // Whatever can be an index is a whole number; a bool is none here.
        if value.is_instance_of::<PyBool>() {
            return Err(PyTypeError::new_err("a bool"));
        }
        Ok(value.extract::<i128>()?.to_string())
    };
    let number = or_invalid(written(), value, field, "is no exact number", expected)?;
    let number = parse_decimal(&number.replace("E+", "e"));
    number.map_err(|_| invalid(value, field, "is no number of at most 28 digits", expected))
}

/// A JSON object, as a mapping.
pub(crate) fn metadata(value: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    let py = value.py();
    let expected = "a dict that json.dumps takes";
    let wrong = |problem| invalid(value, "metadata", problem, expected);
    let mapping = value.cast::<PyMapping>().map_err(|_| wrong("is no mapping"))?;
    let plain = PyDict::new(py);
    let copied = plain.update(mapping);
    or_invalid(copied, value, "metadata", "can't be read", expected)?;
    let options = PyDict::new(py);
    options.set_item("allow_nan", false)?;
    options.set_item("ensure_ascii", false)?;
    let dumped = names(py)?.dumps.bind(py).call((&plain,), Some(&options));
    let json = or_invalid(dumped, value, "metadata", "can't be written as JSON", expected)?;
    // Only now: what could be written has no cycles.
    if !is_kept(plain.as_any()) {
        return Err(wrong(
            "would not be kept as it is: names must be text, and whole numbers within 64 bits",
        ));
    }
    Metadata::parse(&text("metadata", &json)?).map_err(|refusal| crate::failures::raise(py, refusal.into()))
}

/// Whether JSON keeps it: it writes other names than text as text, and larger numbers as floats.
fn is_kept(value: &Bound<'_, PyAny>) -> bool {
    if let Ok(dict) = value.cast::<PyDict>() {
        return dict
            .iter()
            .all(|(name, value)| name.is_instance_of::<PyString>() && is_kept(&value));
    }
    if let Ok(list) = value.cast::<PyList>() {
        return list.iter().all(|item| is_kept(&item));
    }
    if let Ok(tuple) = value.cast::<PyTuple>() {
        return tuple.iter().all(|item| is_kept(&item));
    }
    !value.is_instance_of::<PyInt>() || value.extract::<i64>().is_ok() || value.extract::<u64>().is_ok()
}

/// A call to be priced. `quantity` is a number, or a mapping of numbers by name.
pub(crate) fn usage(
    feature: &str,
    quantity: Option<&Bound<'_, PyAny>>,
    attributes: Option<&Bound<'_, PyAny>>,
) -> PyResult<Usage> {
    let mut usage = metered(Usage::of(feature), quantity)?;
    if let Some(attributes) = attributes {
        let expected = "a dict of texts by name";
        let Some(given) = pairs("attributes", attributes, expected)? else {
            return Err(invalid(attributes, "attributes", "is no mapping", expected));
        };
        for (name, value) in given {
            usage = usage.attribute(text("attributes", &name)?, text("attributes", &value)?);
        }
    }
    Ok(usage)
}

fn metered(usage: Usage, quantity: Option<&Bound<'_, PyAny>>) -> PyResult<Usage> {
    let Some(quantity) = quantity else {
        return Ok(usage);
    };
    match by_name(quantity)? {
        None => Ok(usage.quantity(decimal("quantity", quantity)?)),
        Some(named) => Ok(named
            .into_iter()
            .fold(usage, |usage, (name, quantity)| usage.metered(name, quantity))),
    }
}

/// The quantities of a mapping; `None` where it is none.
pub(crate) fn by_name(quantity: &Bound<'_, PyAny>) -> PyResult<Option<Vec<(String, Decimal)>>> {
    // Most are numbers; the check for a mapping asks Python.
    if quantity.is_instance_of::<PyInt>() || quantity.is_instance_of::<PyString>() {
        return Ok(None);
    }
    let Some(named) = pairs("quantity", quantity, "a dict of numbers by name")? else {
        return Ok(None);
    };
    named
        .into_iter()
        .map(|(name, number)| Ok((text("quantity", &name)?, decimal("quantity", &number)?)))
        .collect::<PyResult<_>>()
        .map(Some)
}

type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// What a mapping has; `None` where it is none.
fn pairs<'py>(
    field: &'static str,
    of: &Bound<'py, PyAny>,
    expected: &str,
) -> PyResult<Option<Vec<Pair<'py>>>> {
    // Most are dicts; whether something else is a mapping has to be asked of Python.
    if let Ok(dict) = of.cast::<PyDict>() {
        return Ok(Some(dict.iter().collect()));
    }
    let Ok(mapping) = of.cast::<PyMapping>() else {
        return Ok(None);
    };
    let read = || mapping.items()?.iter().map(|pair| pair.extract()).collect();
    or_invalid(read(), of, field, "can't be read", expected).map(Some)
}

/// An argument that may be left out.
pub(crate) fn optional<'py, T>(
    value: Option<&Bound<'py, PyAny>>,
    convert: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    value.map(convert).transpose()
}

/// An idempotency key, which may be left out.
pub(crate) fn key(key: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    optional(key, |key| text("idempotency_key", key))
}

/// `bytes`, or what is as good: exactly as they came.
pub(crate) fn bytes(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let given = if value.is_instance_of::<PyBytes>() || value.is_instance_of::<PyByteArray>() {
        value.extract().ok()
    } else {
        None
    };
    given.ok_or_else(|| invalid(value, field, "is not what came over the wire", "bytes"))
}

pub(crate) fn word_of_truth(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value
        .extract()
        .map_err(|_| invalid(value, field, "is neither True nor False", "a bool"))
}
