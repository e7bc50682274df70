//! A price. Its parts become Python objects when they are read: it is made 200,000 times a second, and mostly only the
//! credits are looked at.

use crate::errors::invalid;
use crate::objects::{all, decimal, make, uuid};
use jointo_credits::pricing::{self, CardText, Decimal, Known};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};

/// The price of a call: whole credits, the exact figure behind them, and how it comes about.
#[pyclass(frozen, eq, module = "jointo_credits")]
#[derive(PartialEq)]
pub(crate) struct Quote {
    quote: pricing::Quote,
}

impl From<pricing::Quote> for Quote {
    fn from(quote: pricing::Quote) -> Self {
        Quote { quote }
    }
}

#[pymethods]
impl Quote {
    /// The price in whole credits.
    #[getter]
    fn credits(&self) -> i64 {
        self.quote.credits()
    }

    /// The exact figure before rounding.
    #[getter]
    fn exact(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        decimal(py, self.quote.exact())
    }

    /// What rounding added (positive) or dropped (negative): credits less exact.
    #[getter]
    fn remainder(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        decimal(py, self.quote.remainder())
    }

    /// The feature.
    #[getter]
    fn feature(&self) -> &str {
        self.quote.card().feature()
    }

    /// What people call the feature.
    #[getter]
    fn name(&self) -> &str {
        self.quote.card().name()
    }

    /// The id of the rate card that priced it.
    #[getter]
    fn pricing_id(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.quote
            .pricing()
            .map(|pricing| uuid(py, pricing.pricing_id))
            .transpose()
    }

    /// The version of the rate card.
    #[getter]
    fn version(&self) -> Option<u32> {
        self.quote.pricing().map(|pricing| pricing.version)
    }

    /// What the price went by, given or assumed.
    #[getter]
    fn attributes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let attributes = PyDict::new(py);
        for (name, value) in self.quote.attributes() {
            attributes.set_item(name, value)?;
        }
        Ok(attributes)
    }

    /// How much of each was priced, given or assumed, by the names that the rate card has for them.
    #[getter]
    fn quantities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let quantities = PyDict::new(py);
        let card = self.quote.card();
        for (component, measured) in card.components().iter().zip(self.quote.measured()) {
            let quantity = match measured.known {
                Known::PerCall => continue,
                Known::Capped { used } => used,
                _ => measured.quantity,
            };
            if let Some(name) = &component.quantity {
                quantities.set_item(name, decimal(py, quantity)?)?;
            }
        }
        Ok(quantities)
    }

    /// The steps; their amounts add up to the exact figure.
    #[getter]
    fn breakdown(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        all(py, self.quote.breakdown(), |py, line| {
            quote_line(py, line.to_string(), line.amount())
        })
    }

    /// The same as a dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("feature", self.feature())?;
        dict.set_item("name", self.name())?;
        dict.set_item("credits", self.credits())?;
        dict.set_item("exact", self.exact(py)?)?;
        dict.set_item("remainder", self.remainder(py)?)?;
        dict.set_item("pricing_id", self.pricing_id(py)?)?;
        dict.set_item("version", self.version())?;
        dict.set_item("attributes", self.attributes(py)?)?;
        let lines = self.quote.breakdown().map(|line| {
            let dict = PyDict::new(py);
            dict.set_item("text", line.to_string())?;
            dict.set_item("amount", decimal(py, line.amount())?)?;
            Ok(dict)
        });
        dict.set_item("breakdown", lines.collect::<PyResult<Vec<_>>>()?)?;
        Ok(dict)
    }

    /// The breakdown as people read it, line by line.
    fn __str__(&self) -> String {
        self.quote.to_string()
    }

    fn __repr__(&self) -> String {
        let pricing = self.quote.pricing();
        let version = pricing.map_or(String::new(), |pricing| format!(", version={}", pricing.version));
        format!(
            "Quote(feature='{}', credits={}, exact=Decimal('{}'){version})",
            self.feature(),
            self.credits(),
            self.quote.exact()
        )
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        let exact: Decimal = self.quote.exact();
        (self.feature(), self.credits(), exact).hash(&mut hasher);
        self.quote.pricing().hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (String,))> {
        let restore = slf.get_type().getattr("from_json")?;
        Ok((restore, (slf.get().quote.to_json(CardText::Included),)))
    }

    /// The quote as text, with its rate card: `from_json` reads it.
    fn to_json(&self) -> String {
        self.quote.to_json(CardText::Included)
    }

    /// Reads what `to_json` wrote; the price is worked out again and compared.
    #[classmethod]
    fn from_json(_class: &Bound<'_, PyType>, text: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wrong = || {
            invalid(
                text,
                "text",
                "is no quote with its rate card",
                "what Quote.to_json() wrote",
            )
        };
        let json: String = text
            .cast::<PyString>()
            .ok()
            .and_then(|text| text.extract().ok())
            .ok_or_else(wrong)?;
        pricing::Quote::from_json(&json, |_| None)
            .map(Quote::from)
            .map_err(|_| wrong())
    }
}

/// A step of a quote: `text` and `amount`.
fn quote_line(py: Python<'_>, text: String, amount: Decimal) -> PyResult<Py<PyAny>> {
    make!(py, QuoteLine { text, decimal(py, amount)? })
}
