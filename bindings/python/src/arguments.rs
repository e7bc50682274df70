//! What Python passes, checked. Whatever is wrong becomes a `ValidationError` that names the argument.

use crate::answers::names;
use crate::failures::invalid;
use jointo_credits::pricing::{Decimal, parse_decimal};
use jointo_credits::{Metadata, Timestamp, Usage};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyMapping, PyString};
use std::time::Duration;
use uuid::Uuid;

/// A `UUID`, or text of one.
pub(crate) fn uuid(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Uuid> {
    let py = value.py();
    if value.is_instance(names(py)?.uuid.bind(py))? {
        let bytes: [u8; 16] = value.getattr("bytes")?.extract()?;
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

/// One of a few words.
pub(crate) fn word<T: Copy>(
    field: &'static str,
    value: &Bound<'_, PyAny>,
    words: &[(&'static str, T)],
) -> PyResult<T> {
    let given = text(field, value)?;
    match words.iter().find(|(word, _)| *word == given) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(invalid(
                value,
                field,
                "is none of the words there are",
                &known.join(", "),
            ))
        }
    }
}

/// An aware `datetime`.
pub(crate) fn timestamp(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Timestamp> {
    let py = value.py();
    let names = names(py)?;
    let expected = "an aware datetime, such as datetime.now(timezone.utc)";
    if !value.is_instance(names.datetime.bind(py))? {
        return Err(invalid(value, field, "is no datetime", expected));
    }
    if value.call_method0("utcoffset")?.is_none() {
        return Err(invalid(value, field, "has no time zone", expected));
    }
    let since = value.sub(names.epoch.bind(py))?;
    let micros: i64 = since.floor_div(names.microsecond.bind(py))?.extract()?;
    Ok(Timestamp::from_micros(micros))
}

/// A `timedelta`, or a number of seconds; at least zero.
pub(crate) fn duration(field: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let py = value.py();
    let names = names(py)?;
    let expected = "a timedelta, or a number of seconds, of 0 or more";
    let wrong = |problem| Err(invalid(value, field, problem, expected));
    if value.is_instance(names.timedelta.bind(py))? {
        let micros: i64 = value.floor_div(names.microsecond.bind(py))?.extract()?;
        return match u64::try_from(micros) {
            Ok(micros) => Ok(Duration::from_micros(micros)),
            Err(_) => wrong("is negative"),
        };
    }
    let number = value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
    if !number || value.is_instance_of::<PyBool>() {
        return wrong("is no duration");
    }
    match Duration::try_from_secs_f64(value.extract().unwrap_or(f64::NAN)) {
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
    let a_number = value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>();
    let a_decimal = a_number || value.is_instance(names(py)?.decimal.bind(py))?;
    if !a_decimal && !value.is_instance_of::<PyString>() {
        return Err(invalid(value, field, "is no exact number", expected));
    }
    let number = value.str()?.extract::<String>().ok();
    let number = number.and_then(|number| parse_decimal(&number.replace("E+", "e")).ok());
    number.ok_or_else(|| invalid(value, field, "is no number of at most 28 digits", expected))
}

/// A JSON object, as a mapping.
pub(crate) fn metadata(value: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    let py = value.py();
    let expected = "a dict that json.dumps takes";
    let wrong = |problem| invalid(value, "metadata", problem, expected);
    if !value.is_instance_of::<PyMapping>() {
        return Err(wrong("is no mapping"));
    }
    let plain = PyDict::new(py);
    plain.update(value.cast::<PyMapping>()?)?;
    let options = PyDict::new(py);
    options.set_item("allow_nan", false)?;
    options.set_item("ensure_ascii", false)?;
    let dumped = names(py)?.dumps.bind(py).call((plain,), Some(&options));
    let json = dumped.map_err(|_| wrong("can't be written as JSON"))?;
    Metadata::parse(&text("metadata", &json)?).map_err(|refusal| crate::failures::raise(py, refusal.into()))
}

/// A call to be priced. `quantity` is a number, or a mapping of numbers by name.
pub(crate) fn usage(
    feature: &str,
    quantity: Option<&Bound<'_, PyAny>>,
    attributes: Option<&Bound<'_, PyAny>>,
) -> PyResult<Usage> {
    let mut usage = metered(Usage::of(feature), quantity)?;
    if let Some(attributes) = attributes {
        if let Ok(given) = attributes.cast::<PyDict>() {
            for (name, value) in given {
                usage = usage.attribute(text("attributes", &name)?, text("attributes", &value)?);
            }
            return Ok(usage);
        }
        let expected = "a dict of texts by name";
        let Ok(given) = attributes.cast::<PyMapping>() else {
            return Err(invalid(attributes, "attributes", "is no mapping", expected));
        };
        for pair in given.items()?.iter() {
            let (name, value) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
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
    let Ok(named) = quantity.cast::<PyMapping>() else {
        return Ok(None);
    };
    let pair = |pair: Bound<'_, PyAny>| {
        let (name, number) = pair.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        Ok((text("quantity", &name)?, decimal("quantity", &number)?))
    };
    named.items()?.iter().map(pair).collect::<PyResult<_>>().map(Some)
}

/// An argument that may be left out.
pub(crate) fn optional<'py, T>(
    value: Option<&Bound<'py, PyAny>>,
    convert: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    value.map(convert).transpose()
}
