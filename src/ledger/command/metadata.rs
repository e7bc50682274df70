//! What a caller says of a consumption.

use crate::ledger::Refusal;
use crate::ledger::check::invalid;
use crate::ledger::limits::{METADATA_BYTES_MAX, METADATA_LEVELS_MAX};
use alloc::{
    format,
    string::{String, ToString},
};
use core::fmt;

/// A JSON object of the caller's, in canonical form: compact, keys sorted.
#[derive(Clone, PartialEq, Eq)]
pub struct Metadata(String);

impl Metadata {
    /// Checks and keeps a JSON object given as text.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] where it is no JSON object, longer than [`METADATA_BYTES_MAX`], or nested in more than
    /// [`METADATA_LEVELS_MAX`] levels.
    pub fn parse(json: &str) -> Result<Self, Refusal> {
        // A bound on the text first: parsing must not be the costly part.
        if json.len() > 4 * METADATA_BYTES_MAX {
            return Err(metadata_too_long(json.len()));
        }
        if nesting(json) > METADATA_LEVELS_MAX {
            return Err(invalid(
                "metadata",
                "is nested too deeply; keep a reference instead",
                format!("{METADATA_LEVELS_MAX} levels"),
                format!("{} levels", nesting(json)),
            ));
        }
        let value: serde_json::Value =
            serde_json::from_str(json).map_err(|e| invalid("metadata", "is not JSON", "a JSON object", e))?;
        if !value.is_object() {
            return Err(invalid(
                "metadata",
                "must be a JSON object",
                "a JSON object",
                kind_of(&value),
            ));
        }
        let mut text = String::with_capacity(json.len());
        write_sorted(&value, &mut text);
        if text.len() > METADATA_BYTES_MAX {
            Err(metadata_too_long(text.len()))
        } else {
            Ok(Metadata(text))
        }
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From text that [`Metadata::parse`] made before, such as a store's.
    #[must_use]
    pub fn from_canonical(text: String) -> Self {
        Metadata(text)
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn metadata_too_long(len: usize) -> Refusal {
    invalid(
        "metadata",
        "is too long; keep a reference instead",
        format!("{METADATA_BYTES_MAX} bytes"),
        len,
    )
}

/// How many levels of objects and arrays a JSON text has.
fn nesting(json: &str) -> usize {
    let (mut levels, mut most) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                levels += 1;
                most = most.max(levels);
            }
            b'}' | b']' => levels = levels.saturating_sub(1),
            // A text, in which brackets are none.
            b'"' => {
                while let Some(byte) = bytes.next() {
                    match byte {
                        b'\\' => {
                            bytes.next();
                        }
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    most
}

fn kind_of(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "a boolean",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

/// Sorted here and not by the map's type: a feature of `serde_json` that any crate can turn on would undo that.
fn write_sorted(value: &serde_json::Value, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut pairs: alloc::vec::Vec<_> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (i, (key, value)) in pairs.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, value) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_sorted(value, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}
