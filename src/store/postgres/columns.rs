//! Rows as a statement's parameters, column by column: one array for each column, or for a lone row its plain values.
//!
//! A table's columns are declared once, as calls on [`Columns`]; [`Texts`] makes the statement's text of them and
//! [`Values`] the parameters, so the two can't get out of step. Values are written straight into the message.

use crate::ledger::Timestamp;
use sqlx::encode::Encode;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgBindIterExt, PgHasArrayType};
use sqlx::{Arguments, Postgres, Type};
use std::fmt::{Display, Write};
use uuid::Uuid;

/// Takes the columns of a table's rows, in order.
pub(super) trait Columns {
    /// A column: its name, and its value in each row.
    fn column<'r, R, V: Value<'r>>(&mut self, name: &'static str, rows: &'r [R], value: impl Fn(&'r R) -> V);

    /// A column that travels as text and is cast to `kind`.
    fn literal<'r, R>(
        &mut self,
        name: &'static str,
        kind: &'static str,
        rows: &'r [R],
        value: impl Fn(&'r R) -> String,
    );

    /// A column of arrays that have one element each.
    fn single<'r, R, V: Value<'r>>(&mut self, name: &'static str, rows: &'r [R], value: impl Fn(&'r R) -> V);
}

/// What is made of a value that has arrived.
#[derive(Clone, Copy)]
enum Made {
    AsIs,
    Cast(&'static str),
    Array,
}

/// The names of a table's columns and where their values come from.
pub(super) struct From {
    pub(super) names: Vec<&'static str>,
    made: Vec<Made>,
    /// For a `FROM` clause: a relation `u` with these columns.
    pub(super) text: String,
}

impl From {
    fn value(&self, name: &str) -> String {
        let place = self.names.iter().position(|n| *n == name);
        match place.and_then(|i| self.made.get(i)) {
            Some(Made::Cast(kind)) => format!("u.{name}::{kind}"),
            Some(Made::Array) => format!("ARRAY[u.{name}]"),
            Some(Made::AsIs) | None => format!("u.{name}"),
        }
    }

    /// What `SELECT` says for all columns.
    pub(super) fn values(&self) -> String {
        let values: Vec<String> = self.names.iter().map(|name| self.value(name)).collect();
        values.join(", ")
    }

    /// What `SET` says for these.
    pub(super) fn sets(&self, names: &[&str]) -> String {
        let sets = names.iter().map(|name| format!("{name} = {}", self.value(name)));
        sets.collect::<Vec<_>>().join(", ")
    }
}

/// Numbers the parameters of a statement.
pub(super) struct Texts {
    lone: bool,
    parameters: usize,
    columns: Vec<(&'static str, &'static str, Made)>,
}

impl Texts {
    pub(super) fn new(lone: bool) -> Self {
        Texts {
            lone,
            parameters: 0,
            columns: Vec::new(),
        }
    }

    /// A parameter that is no column, but the same for all rows.
    pub(super) fn scalar<'r, V: Value<'r>>(&mut self) -> String {
        self.parameters += 1;
        format!("${}::{}", self.parameters, V::KIND)
    }

    /// The relation of the columns that `declare` declares.
    ///
    /// Arrays are unpacked side by side in a `SELECT` list, row by row; as functions of a `FROM` clause each would first
    /// be unpacked whole, into a store of its own.
    pub(super) fn from(&mut self, declare: impl FnOnce(&mut Self)) -> From {
        declare(self);
        let columns = std::mem::take(&mut self.columns);
        let mut parameters = Vec::new();
        for (name, kind, _) in &columns {
            self.parameters += 1;
            let parameter = self.parameters;
            parameters.push(if self.lone {
                format!("${parameter}::{kind} AS {name}")
            } else {
                format!("unnest(${parameter}::{kind}[]) AS {name}")
            });
        }
        let text = format!("(SELECT {}) AS u", parameters.join(", "));
        From {
            names: columns.iter().map(|(name, ..)| *name).collect(),
            made: columns.iter().map(|(.., made)| *made).collect(),
            text,
        }
    }
}

impl Columns for Texts {
    fn column<'r, R, V: Value<'r>>(&mut self, name: &'static str, _: &'r [R], _: impl Fn(&'r R) -> V) {
        self.columns.push((name, V::KIND, Made::AsIs));
    }

    fn literal<'r, R>(
        &mut self,
        name: &'static str,
        kind: &'static str,
        _: &'r [R],
        _: impl Fn(&'r R) -> String,
    ) {
        self.columns
            .push((name, <String as Value<'_>>::KIND, Made::Cast(kind)));
    }

    fn single<'r, R, V: Value<'r>>(&mut self, name: &'static str, _: &'r [R], _: impl Fn(&'r R) -> V) {
        self.columns.push((name, V::KIND, Made::Array));
    }
}

/// Collects the parameters of a statement.
pub(super) struct Values {
    lone: bool,
    arguments: PgArguments,
    failed: Option<BoxDynError>,
}

impl Values {
    pub(super) fn new(lone: bool) -> Self {
        Values {
            lone,
            arguments: PgArguments::default(),
            failed: None,
        }
    }

    pub(super) fn scalar<'r>(&mut self, value: impl Value<'r> + 'r) {
        if let Err(error) = self.arguments.add(value) {
            self.failed.get_or_insert(error);
        }
    }

    pub(super) fn finish(self) -> Result<PgArguments, sqlx::Error> {
        match self.failed {
            None => Ok(self.arguments),
            Some(error) => Err(sqlx::Error::Encode(error)),
        }
    }
}

impl Columns for Values {
    fn column<'r, R, V: Value<'r>>(&mut self, _: &'static str, rows: &'r [R], value: impl Fn(&'r R) -> V) {
        let added = match rows {
            [row] if self.lone => self.arguments.add(value(row)),
            rows => self.arguments.add(rows.iter().map(value).bind_iter()),
        };
        if let Err(error) = added {
            self.failed.get_or_insert(error);
        }
    }

    fn literal<'r, R>(
        &mut self,
        name: &'static str,
        _: &'static str,
        rows: &'r [R],
        value: impl Fn(&'r R) -> String,
    ) {
        self.column(name, rows, value);
    }

    fn single<'r, R, V: Value<'r>>(&mut self, name: &'static str, rows: &'r [R], value: impl Fn(&'r R) -> V) {
        self.column(name, rows, value);
    }
}

/// A value of one of the types that rows are made of.
pub(super) trait Value<'r>: Encode<'r, Postgres> + Type<Postgres> + PgHasArrayType {
    /// The type's name.
    const KIND: &'static str;
}

macro_rules! values {
    ($($type:ty: $kind:literal),* $(,)?) => {
        $(impl<'r> Value<'r> for $type {
            const KIND: &'static str = $kind;
        })*
    };
}

values! {
    i64: "int8",
    i32: "int4",
    Uuid: "uuid",
    &'r str: "text",
    String: "text",
    &'r [u8]: "bytea",
    Timestamp: "timestamptz",
}

impl<'r, V: Value<'r> + 'r> Value<'r> for Option<V> {
    const KIND: &'static str = V::KIND;
}

/// An array written as text, `{a,b}`, for elements that need no quotes.
pub(super) fn array_literal(items: impl Iterator<Item = impl Display>) -> String {
    let mut text = "{".to_owned();
    for (i, item) in items.enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{item}"); // Writing to a String can't fail.
    }
    text.push('}');
    text
}
