//! What Python passes, checked. Whatever is wrong becomes a `ValidationError` that names the argument.

use crate::errors::{invalid, or_invalid};
use crate::objects::names;
use jointo_credits::ledger::limits::{METADATA_BYTES_MAX, METADATA_LEVELS_MAX};
use jointo_credits::pricing::{Decimal, parse_decimal};
use jointo_credits::{Metadata, Shortfall, Timestamp, Usage};
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
            _ => Err(invalid(
                value,
                field,
                "is out of range",
                "2000-01-01 to 9999-12-30",
            )),
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
///
/// Every container is read once, into a plain copy: what is checked is what is written, whatever a subclass would say when
/// it is asked again. The copy has no more levels and no more in it than metadata may have, so one that contains itself, or
/// the same part over and over, ends there.
pub(crate) fn metadata(value: &Bound<'_, PyAny>) -> PyResult<Metadata> {
    let py = value.py();
    let expected = "a dict of what JSON can say";
    let Some(pairs) = pairs("metadata", value, expected)? else {
        return Err(invalid(value, "metadata", "is no mapping", expected));
    };
    let mut room = METADATA_BYTES_MAX;
    let plain = plain_dict(py, pairs, 1, &mut room).map_err(|fault| match fault {
        Unkept::Form(problem) => invalid(value, "metadata", problem, expected),
        Unkept::Deep => invalid(
            value,
            "metadata",
            "is nested too deeply; keep a reference instead",
            &format!("{METADATA_LEVELS_MAX} levels"),
        ),
        Unkept::Long => invalid(
            value,
            "metadata",
            "is too long; keep a reference instead",
            &format!("{METADATA_BYTES_MAX} bytes"),
        ),
        Unkept::Python(error) => error,
    })?;
    let options = PyDict::new(py);
    options.set_item("allow_nan", false)?;
    options.set_item("ensure_ascii", false)?;
    let dumped = names(py)?.dumps.bind(py).call((&plain,), Some(&options));
    let json = or_invalid(dumped, value, "metadata", "can't be written as JSON", expected)?;
    Metadata::parse(&text("metadata", &json)?).map_err(|refusal| crate::errors::raise(py, refusal.into()))
}

/// Why something would not be kept as it is.
enum Unkept {
    Form(&'static str),
    Deep,
    Long,
    Python(PyErr),
}

impl From<PyErr> for Unkept {
    fn from(error: PyErr) -> Self {
        Unkept::Python(error)
    }
}

fn plain_dict<'py>(
    py: Python<'py>,
    pairs: Vec<Pair<'py>>,
    level: usize,
    room: &mut usize,
) -> Result<Bound<'py, PyDict>, Unkept> {
    if level > METADATA_LEVELS_MAX {
        return Err(Unkept::Deep);
    }
    let copy = PyDict::new(py);
    for (name, value) in pairs {
        let Ok(name) = name.cast::<PyString>() else {
            return Err(Unkept::Form("has a name that is no text"));
        };
        let name = plain_text(name, room)?;
        copy.set_item(name, plain(&value, level, room)?)?;
    }
    Ok(copy)
}

/// A copy without classes of others, as JSON keeps it.
fn plain<'py>(
    value: &Bound<'py, PyAny>,
    level: usize,
    room: &mut usize,
) -> Result<Bound<'py, PyAny>, Unkept> {
    let py = value.py();
    // In JSON each takes a byte at the least.
    *room = room.checked_sub(1).ok_or(Unkept::Long)?;
    if value.is_none() || value.is_instance_of::<PyBool>() {
        return Ok(value.clone());
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(plain_text(text, room)?.into_any());
    }
    if value.is_instance_of::<PyInt>() {
        if let Ok(number) = value.extract::<i64>() {
            return Ok(number.into_pyobject(py).map_err(PyErr::from)?.into_any());
        }
        if let Ok(number) = value.extract::<u64>() {
            return Ok(number.into_pyobject(py).map_err(PyErr::from)?.into_any());
        }
        return Err(Unkept::Form(
            "would not be kept as it is: whole numbers must be within 64 bits",
        ));
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return match number.value() {
            number if number.is_finite() => Ok(PyFloat::new(py, number).into_any()),
            _ => Err(Unkept::Form("has a number that JSON can't say")),
        };
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return Ok(plain_dict(py, dict.iter().collect(), level + 1, room)?.into_any());
    }
    let items: Vec<Bound<'py, PyAny>> = if let Ok(list) = value.cast::<PyList>() {
        list.iter().collect()
    } else if let Ok(tuple) = value.cast::<PyTuple>() {
        tuple.iter().collect()
    } else {
        return Err(Unkept::Form("has something that JSON can't say"));
    };
    if level >= METADATA_LEVELS_MAX {
        return Err(Unkept::Deep);
    }
    let copy = PyList::empty(py);
    for item in items {
        copy.append(plain(&item, level + 1, room)?)?;
    }
    Ok(copy.into_any())
}

fn plain_text<'py>(text: &Bound<'py, PyString>, room: &mut usize) -> Result<Bound<'py, PyString>, Unkept> {
    *room = room
        .checked_sub(text.len().unwrap_or(usize::MAX))
        .ok_or(Unkept::Long)?;
    match text.to_cow() {
        Ok(plain) => Ok(PyString::new(text.py(), &plain)),
        Err(_) => Err(Unkept::Form("has text that is no valid Unicode")),
    }
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

pub(crate) type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// More than any mapping here may have.
const PAIRS_MAX: usize = METADATA_BYTES_MAX;

/// What a mapping has; `None` where it is none. One of another class than `dict` may have no end.
pub(crate) fn pairs<'py>(
    field: &'static str,
    of: &Bound<'py, PyAny>,
    expected: &str,
) -> PyResult<Option<Vec<Pair<'py>>>> {
    // Most are dicts; whether something else is a mapping has to be asked of Python.
    if let Ok(dict) = of.cast::<PyDict>() {
        return Ok(Some(dict.iter().collect()));
    }
    if of.cast::<PyMapping>().is_err() {
        return Ok(None);
    }
    let read = || -> PyResult<Vec<Pair<'py>>> {
        let items = of.call_method0("items")?.try_iter()?.take(PAIRS_MAX + 1);
        items.map(|pair| pair?.extract()).collect()
    };
    match or_invalid(read(), of, field, "can't be read", expected)? {
        pairs if pairs.len() > PAIRS_MAX => {
            Err(invalid(of, field, "has too many names", &PAIRS_MAX.to_string()))
        }
        pairs => Ok(Some(pairs)),
    }
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

pub(crate) type Any<'a, 'py> = &'a Bound<'py, PyAny>;

pub(crate) const SHORTFALLS: [Shortfall; 2] = [Shortfall::Forgive, Shortfall::Debt];
