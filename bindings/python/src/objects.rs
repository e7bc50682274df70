//! Objects of Python's, and the package's classes of results: instances are made field by field in their order.

use jointo_credits::Timestamp;
use jointo_credits::pricing::Decimal;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};
use uuid::Uuid;

/// Objects of Python's that are needed all the time.
pub(crate) struct Names {
    pub(crate) uuid: Py<PyType>,
    pub(crate) datetime: Py<PyType>,
    pub(crate) timedelta: Py<PyType>,
    /// 1970-01-01T00:00:00Z.
    pub(crate) epoch: Py<PyAny>,
    /// `timedelta(microseconds=1)`.
    pub(crate) microsecond: Py<PyAny>,
    pub(crate) decimal: Py<PyType>,
    pub(crate) loads: Py<PyAny>,
    pub(crate) dumps: Py<PyAny>,
    pub(crate) errors: Py<PyAny>,
    pub(crate) results: Results,
}

macro_rules! results {
    ($($name:ident),+ $(,)?) => {
        /// The classes of results.
        #[allow(non_snake_case)]
        pub(crate) struct Results { $(pub(crate) $name: Py<PyAny>),+ }

        impl Results {
            fn import(py: Python<'_>) -> PyResult<Self> {
                let module = py.import("jointo_credits")?;
                Ok(Results { $($name: module.getattr(stringify!($name))?.unbind()),+ })
            }
        }
    };
}

results!(
    Balance,
    Expiring,
    Consumption,
    Pin,
    Lot,
    Money,
    Transaction,
    Receipt,
    ClawbackReceipt,
    CleanedUp,
    ArchiveFile,
    CacheStats,
    Matured,
    Page,
    QuoteLine,
    Package,
    Order,
    OrderRefund,
    PaymentRequest,
    Notification,
    NotificationReply,
    OrderProblem,
    Reconciled,
    BillLine,
    StatementDifference,
    StatementReport,
    Pricing,
    PaidFrom,
    Explanation,
    Statement,
    StatementBalance,
    StatementTotals,
    KindTotal,
    FeatureTotal,
    Fault,
    Histogram,
    Answers,
    Stats,
    PendingHolds,
    Verification,
    Proved,
    TrialBalance,
    Problem,
    Inspection,
);

static NAMES: PyOnceLock<Names> = PyOnceLock::new();

pub(crate) fn names(py: Python<'_>) -> PyResult<&Names> {
    NAMES.get_or_try_init(py, || {
        let datetime = py.import("datetime")?;
        let class = |module: &str, name: &str| -> PyResult<Py<PyType>> {
            Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?.unbind())
        };
        let timedelta = datetime.getattr("timedelta")?;
        let utc = datetime.getattr("timezone")?.getattr("utc")?;
        let json = py.import("json")?;
        Ok(Names {
            uuid: class("uuid", "UUID")?,
            datetime: class("datetime", "datetime")?,
            timedelta: class("datetime", "timedelta")?,
            epoch: datetime
                .getattr("datetime")?
                .call1((1970, 1, 1, 0, 0, 0, 0, utc))?
                .unbind(),
            microsecond: timedelta.call1((0, 0, 1))?.unbind(),
            decimal: class("decimal", "Decimal")?,
            loads: json.getattr("loads")?.unbind(),
            dumps: json.getattr("dumps")?.unbind(),
            errors: py.import("jointo_credits._errors")?.into_any().unbind(),
            results: Results::import(py)?,
        })
    })
}

/// An instance of a result's class, from its fields in order.
macro_rules! make {
    ($py:ident, $class:ident { $($value:expr),+ $(,)? }) => {{
        let class = &$crate::objects::names($py)?.results.$class;
        let fields = [$(pyo3::IntoPyObjectExt::into_bound_py_any($value, $py)?),+];
        class.call1($py, pyo3::types::PyTuple::new($py, fields)?)
    }};
}
pub(crate) use make;

pub(crate) fn uuid(py: Python<'_>, id: Uuid) -> PyResult<Py<PyAny>> {
    let nothing = py.None();
    let bytes = pyo3::types::PyBytes::new(py, id.as_bytes());
    names(py)?.uuid.call1(py, (&nothing, bytes))
}

/// An aware datetime in UTC.
pub(crate) fn datetime(py: Python<'_>, at: Timestamp) -> PyResult<Py<PyAny>> {
    let since = microseconds(py, at.as_micros())?;
    Ok(names(py)?.epoch.bind(py).add(since)?.unbind())
}

/// A timedelta.
pub(crate) fn microseconds(py: Python<'_>, micros: i64) -> PyResult<Py<PyAny>> {
    let seconds = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    names(py)?.timedelta.call1(py, (0, seconds.0, seconds.1))
}

pub(crate) fn decimal(py: Python<'_>, number: Decimal) -> PyResult<Py<PyAny>> {
    names(py)?.decimal.call1(py, (number.to_string(),))
}

pub(crate) fn maybe<T>(
    py: Python<'_>,
    value: Option<T>,
    convert: fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    value.map_or_else(|| Ok(py.None()), |value| convert(py, value))
}

/// A tuple, each item converted.
pub(crate) fn all<T>(
    py: Python<'_>,
    items: impl IntoIterator<Item = T>,
    convert: impl Fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let items: Vec<Py<PyAny>> = items
        .into_iter()
        .map(|item| convert(py, item))
        .collect::<PyResult<_>>()?;
    PyTuple::new(py, items)?.into_py_any(py)
}

pub(crate) fn json(py: Python<'_>, text: &str) -> PyResult<Py<PyAny>> {
    names(py)?.loads.call1(py, (text,))
}

pub(crate) fn nothing(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}
