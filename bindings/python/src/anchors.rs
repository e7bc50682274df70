//! What anchors are signed with and checked with, and the check that needs no ledger.

use crate::arguments::Any;
use crate::arguments::{optional, text, word_of_truth};
use crate::errors::raise;
use crate::results;
use jointo_credits::{Anchor, AnchorKey, Error, PublicKey, Refusal, Signing, Trust};
use pyo3::prelude::*;

fn missing(field: &'static str, limit: &str) -> Error {
    Error::Refused(Refusal::Invalid {
        field,
        problem: "is missing",
        limit: limit.into(),
        value: "None".into(),
    })
}

/// A key, or the word that there is none on purpose.
fn either<T>(
    py: Python<'_>,
    field: &'static str,
    key: Option<Any<'_, '_>>,
    unsigned: Any<'_, '_>,
    read: impl FnOnce(&str) -> Result<T, Error>,
    none: T,
) -> PyResult<T> {
    let unsigned = word_of_truth("unsigned", unsigned)?;
    let found = match optional(key, |key| text(field, key))? {
        Some(_) if unsigned => Err(Error::Refused(Refusal::Invalid {
            field: "unsigned",
            problem: "goes without a key",
            limit: "a key, or unsigned=True".into(),
            value: "True".into(),
        })),
        Some(key) => read(&key),
        None if unsigned => Ok(none),
        None => Err(missing(
            field,
            "a key; or unsigned=True, where anchors are kept where nobody can change them",
        )),
    };
    found.map_err(|error| raise(py, error))
}

pub(crate) fn signing(py: Python<'_>, key: Option<Any<'_, '_>>, unsigned: Any<'_, '_>) -> PyResult<Signing> {
    let read = |pem: &str| AnchorKey::from_pem(pem).map(Signing::With);
    either(py, "key", key, unsigned, read, Signing::Unsigned)
}

pub(crate) fn trust(py: Python<'_>, key: Option<Any<'_, '_>>, unsigned: Any<'_, '_>) -> PyResult<Trust> {
    let read = |key: &str| PublicKey::parse(key).map(Trust::Key);
    either(py, "public_key", key, unsigned, read, Trust::Unsigned)
}

pub(crate) fn anchor(py: Python<'_>, given: Any<'_, '_>) -> PyResult<Anchor> {
    Anchor::parse(&text("anchor", given)?).map_err(|error| raise(py, error))
}

#[pyfunction]
pub(crate) fn check_proof(
    py: Python<'_>,
    anchor: Any<'_, '_>,
    proof: Any<'_, '_>,
    public_key: Option<Any<'_, '_>>,
    unsigned: Any<'_, '_>,
) -> PyResult<Py<PyAny>> {
    let (anchor, proof) = (text("anchor", anchor)?, text("proof", proof)?);
    let trust = trust(py, public_key, unsigned)?;
    let found = py.detach(|| jointo_credits::check_proof(&anchor, &proof, &trust));
    results::proved(py, found.map_err(|error| raise(py, error))?)
}
