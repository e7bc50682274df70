//! Reading JSON that money depends on: numbers from their own text, no name twice, and where a fault is.
//!
//! `serde_json` turns numbers into floats on the way to its `Value`, and keeps the last of two equal names. So a card
//! is read layer by layer from the text itself ([`RawValue`]): only what the card's own shape asks for is opened, which
//! bounds the depth as well.

use super::fault::{listed, shortened};
use super::limits::TEXT_BYTES_MAX;
use super::{CardError, CardFault, parse_decimal};
use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt;
use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Where we are, as a list from the inside out.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Member(&'p Path<'p>, &'p str),
    Element(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => f.write_str("$"),
            Path::Element(parent, index) => write!(f, "{parent}[{index}]"),
            Path::Member(parent, name) => {
                let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                    && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
                if plain && name.len() <= TEXT_BYTES_MAX {
                    write!(f, "{parent}.{name}")
                } else {
                    let escaped = shortened(name).replace('\\', "\\\\").replace('\'', "\\'");
                    write!(f, "{parent}['{escaped}']")
                }
            }
        }
    }
}

/// A JSON value and its place.
#[derive(Clone, Copy)]
pub(super) struct Node<'p, 'j> {
    path: Path<'p>,
    raw: &'j RawValue,
}

/// The members of an object, no name twice.
pub(super) struct Object<'p, 'j> {
    path: Path<'p>,
    members: Vec<(String, &'j RawValue)>,
}

/// Opens a text.
pub(super) fn root(text: &str, bytes_max: usize) -> Result<Node<'static, '_>, CardError> {
    let at_root = |fault| CardError {
        path: Path::Root.to_string(),
        fault,
    };
    if text.len() > bytes_max {
        return Err(at_root(CardFault::TooLong {
            bytes: text.len(),
            bytes_max,
        }));
    }
    match serde_json::from_str(text) {
        Ok(raw) => Ok(Node {
            path: Path::Root,
            raw,
        }),
        Err(e) => Err(at_root(CardFault::NotJson { why: e.to_string() })),
    }
}

struct Members<'j>(Vec<(String, &'j RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

impl<'p, 'j> Node<'p, 'j> {
    pub(super) fn fault(&self, fault: CardFault) -> CardError {
        CardError {
            path: self.path.to_string(),
            fault,
        }
    }

    fn kind(&self) -> &'static str {
        match self.raw.get().bytes().next() {
            Some(b'{') => "an object",
            Some(b'[') => "a list",
            Some(b'"') => "a text",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    pub(super) fn is_text(&self) -> bool {
        self.kind() == "a text"
    }

    fn expect(&self, expected: &'static str) -> Result<(), CardError> {
        let found = self.kind();
        if found == expected {
            Ok(())
        } else {
            Err(self.fault(CardFault::WrongType { expected, found }))
        }
    }

    fn read<T: Deserialize<'j>>(&self) -> Result<T, CardError> {
        // The outer parser has accepted the syntax; what it passes over unread are lone surrogates in texts.
        serde_json::from_str(self.raw.get())
            .map_err(|e| self.fault(CardFault::NotJson { why: e.to_string() }))
    }

    /// An object whose fields are all among `known`.
    pub(super) fn object(&self, known: &[&str]) -> Result<Object<'p, 'j>, CardError> {
        let object = self.map()?;
        for (name, _) in &object.members {
            if !known.contains(&name.as_str()) {
                return Err(object.fault(
                    name,
                    CardFault::UnknownField {
                        known: listed(known.iter().copied()),
                    },
                ));
            }
        }
        Ok(object)
    }

    /// An object whose names are the caller's.
    pub(super) fn map(&self) -> Result<Object<'p, 'j>, CardError> {
        self.expect("an object")?;
        let Members(members) = self.read()?;
        let object = Object {
            path: self.path,
            members,
        };
        let mut names: Vec<&str> = object.members.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            if let [a, b] = pair
                && a == b
            {
                return Err(object.fault(a, CardFault::DuplicateKey));
            }
        }
        Ok(object)
    }

    /// The elements of a list of 1 to `count_max`, each given to `read`.
    pub(super) fn list<T>(
        &self,
        count_max: usize,
        mut read: impl FnMut(Node<'_, 'j>) -> Result<T, CardError>,
    ) -> Result<Vec<T>, CardError> {
        self.expect("a list")?;
        let elements: Vec<&'j RawValue> = self.read()?;
        self.check_count(elements.len(), count_max)?;
        elements
            .into_iter()
            .enumerate()
            .map(|(index, raw)| {
                read(Node {
                    path: Path::Element(&self.path, index),
                    raw,
                })
            })
            .collect()
    }

    pub(super) fn check_count(&self, count: usize, count_max: usize) -> Result<(), CardError> {
        match count {
            0 => Err(self.fault(CardFault::Empty)),
            count if count > count_max => Err(self.fault(CardFault::TooMany { count, count_max })),
            _ => Ok(()),
        }
    }

    /// A text as it is.
    pub(super) fn any_text(&self) -> Result<String, CardError> {
        self.expect("a text")?;
        self.read()
    }

    /// A text that names or describes something.
    pub(super) fn text(&self) -> Result<String, CardError> {
        let text = self.any_text()?;
        match text_fault(&text) {
            None => Ok(text),
            Some(fault) => Err(self.fault(fault)),
        }
    }

    /// Whether something is so.
    pub(super) fn truth(&self) -> Result<bool, CardError> {
        self.expect("true or false")?;
        self.read()
    }

    /// One of a few words.
    pub(super) fn word<T>(
        &self,
        expected: &'static str,
        find: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, CardError> {
        let word = self.any_text()?;
        find(&word).ok_or_else(|| {
            self.fault(CardFault::UnknownWord {
                found: shortened(&word),
                expected,
            })
        })
    }

    /// A number, or a text that holds one: every digit counts but zeros at the end.
    pub(super) fn decimal(&self) -> Result<Decimal, CardError> {
        let number = match self.kind() {
            "a number" => parse_decimal(self.raw.get()),
            "a text" => parse_decimal(&self.any_text()?),
            found => {
                return Err(self.fault(CardFault::WrongType {
                    expected: "a number",
                    found,
                }));
            }
        };
        match number {
            Ok(number) => Ok(number.normalize()),
            Err(e) => Err(self.fault(CardFault::Number(e))),
        }
    }
}

/// What is wrong with a text that names or describes something.
fn text_fault(text: &str) -> Option<CardFault> {
    if text.is_empty() || text.trim() != text {
        Some(CardFault::Blank)
    } else if text.len() > TEXT_BYTES_MAX {
        Some(CardFault::TooLong {
            bytes: text.len(),
            bytes_max: TEXT_BYTES_MAX,
        })
    } else if text.chars().any(char::is_control) {
        Some(CardFault::ControlCharacter)
    } else {
        None
    }
}

impl<'j> Object<'_, 'j> {
    /// A fault of the member `name`, there or not.
    pub(super) fn fault(&self, name: &str, fault: CardFault) -> CardError {
        CardError {
            path: Path::Member(&self.path, name).to_string(),
            fault,
        }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The member `name`, given to `read` if it is there.
    pub(super) fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(Node<'_, 'j>) -> Result<T, CardError>,
    ) -> Result<Option<T>, CardError> {
        match self.members.iter().find(|(n, _)| n == name) {
            None => Ok(None),
            Some((_, raw)) => read(Node {
                path: Path::Member(&self.path, name),
                raw,
            })
            .map(Some),
        }
    }

    /// The member `name`, which has to be there.
    pub(super) fn required<T>(
        &self,
        name: &str,
        read: impl FnOnce(Node<'_, 'j>) -> Result<T, CardError>,
    ) -> Result<T, CardError> {
        self.optional(name, read)?
            .ok_or_else(|| self.fault(name, CardFault::Missing))
    }

    /// Every member with its name, which is checked like any text.
    pub(super) fn each(
        &self,
        mut read: impl FnMut(&str, Node<'_, 'j>) -> Result<(), CardError>,
    ) -> Result<(), CardError> {
        for (name, raw) in &self.members {
            if let Some(fault) = text_fault(name) {
                return Err(self.fault(name, fault));
            }
            read(
                name,
                Node {
                    path: Path::Member(&self.path, name),
                    raw,
                },
            )?;
        }
        Ok(())
    }
}

/// Writes an object of JSON member by member, in the order of the calls.
pub(super) struct Writer {
    out: String,
    first: bool,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer {
            out: String::from("{"),
            first: true,
        }
    }

    /// A member whose value is JSON already.
    pub(super) fn json(&mut self, name: &str, json: &str) {
        if !self.first {
            self.out.push(',');
        }
        self.first = false;
        self.out.push_str(&quoted(name));
        self.out.push(':');
        self.out.push_str(json);
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.json(name, &quoted(text));
    }

    /// As a text, so that no reader makes a float of it, and without trailing zeros.
    pub(super) fn decimal(&mut self, name: &str, number: Decimal) {
        self.text(name, &number.normalize().to_string());
    }

    pub(super) fn list(&mut self, name: &str, elements: &[String]) {
        self.json(name, &format!("[{}]", elements.join(",")));
    }

    pub(super) fn finish(mut self) -> String {
        self.out.push('}');
        self.out
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
