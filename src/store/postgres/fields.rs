//! Rows as the wire has them: fields in PostgreSQL's binary format, out of a result or out of `COPY`.
//!
//! Pages of an audit are the one place where millions of rows are read. There each field is decoded where it lies, by its
//! place and without a look at its type: the lists of columns name them, and the migrations give them their types.
//! (`src/backend/utils/adt/*.c` of PostgreSQL, functions `*_send`, and "COPY", section "Binary Format", of its manual.)

use super::rows::EPOCH_2000_US;
use crate::ledger::{Hash, Timestamp};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

/// What can't be read, and why.
#[derive(Debug)]
pub(super) struct Unreadable(pub(super) String);

impl Unreadable {
    fn cut_off() -> Self {
        Unreadable("it is cut off".into())
    }
}

/// The fields of a row, one after the other; `None` for NULL.
pub(super) trait Fields<'r> {
    fn next(&mut self) -> Result<Option<&'r [u8]>, Unreadable>;

    fn get<V: Value<'r>>(&mut self) -> Result<V, Unreadable>
    where
        Self: Sized,
    {
        V::read(self.next()?)
    }

    fn word<T>(&mut self, parse: fn(&str) -> Option<T>) -> Result<T, Unreadable>
    where
        Self: Sized,
    {
        let word: &str = self.get()?;
        parse(word).ok_or_else(|| Unreadable(format!("unknown word `{}`", word.escape_debug())))
    }
}

/// Of a row of a query's result.
pub(super) struct OfRow<'r> {
    row: &'r PgRow,
    next: usize,
}

impl<'r> OfRow<'r> {
    pub(super) fn new(row: &'r PgRow) -> Self {
        OfRow { row, next: 0 }
    }
}

impl<'r> Fields<'r> for OfRow<'r> {
    fn next(&mut self) -> Result<Option<&'r [u8]>, Unreadable> {
        let unreadable = |error: &dyn std::fmt::Display| Unreadable(error.to_string());
        let value = self.row.try_get_raw(self.next).map_err(|e| unreadable(&e))?;
        self.next += 1;
        if sqlx::ValueRef::is_null(&value) {
            return Ok(None);
        }
        value.as_bytes().map(Some).map_err(|e| unreadable(&e))
    }
}

/// What `COPY ... TO STDOUT (FORMAT binary)` has sent, all of it.
pub(super) struct Copied(pub(super) Vec<u8>);

impl Copied {
    /// Every row, decoded.
    pub(super) fn rows<T>(
        &self,
        decode: impl Fn(&mut OfCopy<'_>) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
        let mut rest = OfCopy(&self.0);
        if rest.take(SIGNATURE.len())? != SIGNATURE {
            return Err(Unreadable("it does not begin as COPY does".into()));
        }
        let (_flags, extension) = (rest.int4()?, rest.length()?);
        rest.take(extension)?;
        let mut rows = Vec::new();
        while let Some(fields) = rest.begin_row()? {
            // Wherever decoding a row ends, the next one begins behind its last field.
            let row = rest.row(fields)?;
            rows.push(decode(&mut OfCopy(row))?);
        }
        Ok(rows)
    }
}

/// Of a row out of `COPY`.
pub(super) struct OfCopy<'r>(&'r [u8]);

impl<'r> OfCopy<'r> {
    fn take(&mut self, count: usize) -> Result<&'r [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(Unreadable::cut_off)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(Unreadable::cut_off)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn int4(&mut self) -> Result<i32, Unreadable> {
        self.array().map(i32::from_be_bytes)
    }

    fn length(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(self.int4()?).map_err(|_| Unreadable::cut_off())
    }

    /// How many fields the next row has; `None` after the last.
    fn begin_row(&mut self) -> Result<Option<i16>, Unreadable> {
        let fields = self.array().map(i16::from_be_bytes)?;
        Ok((fields >= 0).then_some(fields))
    }

    /// The bytes of so many fields.
    fn row(&mut self, fields: i16) -> Result<&'r [u8], Unreadable> {
        let mut behind = OfCopy(self.0);
        for _ in 0..fields {
            behind.next()?;
        }
        self.take(self.0.len() - behind.0.len())
    }
}

impl<'r> Fields<'r> for OfCopy<'r> {
    fn next(&mut self) -> Result<Option<&'r [u8]>, Unreadable> {
        match self.int4()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Unreadable::cut_off())?;
                self.take(length).map(Some)
            }
        }
    }
}

/// A value of one of the types that rows are made of.
pub(super) trait Value<'r>: Sized {
    fn read(field: Option<&'r [u8]>) -> Result<Self, Unreadable> {
        Self::decode(field.ok_or_else(|| Unreadable("a value is missing".into()))?)
    }

    fn decode(bytes: &'r [u8]) -> Result<Self, Unreadable>;
}

impl<'r, V: Value<'r>> Value<'r> for Option<V> {
    fn read(field: Option<&'r [u8]>) -> Result<Self, Unreadable> {
        field.map(V::decode).transpose()
    }

    fn decode(bytes: &'r [u8]) -> Result<Self, Unreadable> {
        V::decode(bytes).map(Some)
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Unreadable> {
    bytes
        .try_into()
        .map_err(|_| Unreadable(format!("a value has {} bytes, and should have {N}", bytes.len())))
}

impl Value<'_> for i64 {
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        sized(bytes).map(i64::from_be_bytes)
    }
}

impl Value<'_> for i32 {
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        sized(bytes).map(i32::from_be_bytes)
    }
}

impl Value<'_> for Uuid {
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        sized(bytes).map(Uuid::from_bytes)
    }
}

impl Value<'_> for Hash {
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        sized(bytes).map(Hash)
    }
}

impl Value<'_> for Timestamp {
    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let micros = sized(bytes).map(i64::from_be_bytes)?;
        let micros = micros.checked_add(EPOCH_2000_US);
        // `infinity` is the greatest number, `-infinity` the least.
        match micros.filter(|micros| *micros != i64::MIN + EPOCH_2000_US) {
            Some(micros) => Ok(Timestamp::from_micros(micros)),
            None => Err(Unreadable("time out of range".into())),
        }
    }
}

impl<'r> Value<'r> for &'r str {
    fn decode(bytes: &'r [u8]) -> Result<Self, Unreadable> {
        std::str::from_utf8(bytes).map_err(|error| Unreadable(error.to_string()))
    }
}

impl<'r> Value<'r> for String {
    fn decode(bytes: &'r [u8]) -> Result<Self, Unreadable> {
        <&str>::decode(bytes).map(str::to_owned)
    }
}

/// One dimension, no NULLs: `array_send`.
impl<'r, V: Value<'r>> Value<'r> for Vec<V> {
    fn decode(bytes: &'r [u8]) -> Result<Self, Unreadable> {
        let mut rest = OfCopy(bytes);
        let (dimensions, _has_nulls, _kind) = (rest.int4()?, rest.int4()?, rest.int4()?);
        if dimensions == 0 {
            return Ok(Vec::new());
        }
        if dimensions != 1 {
            return Err(Unreadable(format!("an array has {dimensions} dimensions")));
        }
        let (count, _first) = (rest.length()?, rest.int4()?);
        // The count is only a claim: room is made for what is there.
        let mut values = Vec::with_capacity(count.min(rest.0.len() / size_of::<i32>()));
        for _ in 0..count {
            values.push(rest.get()?);
        }
        Ok(values)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn field(bytes: Option<&[u8]>) -> Vec<u8> {
        let Some(bytes) = bytes else {
            return (-1i32).to_be_bytes().to_vec();
        };
        let mut field = (bytes.len() as i32).to_be_bytes().to_vec();
        field.extend(bytes);
        field
    }

    fn copied(rows: &[&[Option<&[u8]>]]) -> Copied {
        let mut bytes = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
        for row in rows {
            bytes.extend((row.len() as i16).to_be_bytes());
            row.iter().for_each(|value| bytes.extend(field(*value)));
        }
        bytes.extend((-1i16).to_be_bytes());
        Copied(bytes)
    }

    type Row = (i64, Option<String>, Vec<i64>);

    fn read(copied: &Copied) -> Result<Vec<Row>, Unreadable> {
        copied.rows(|fields| Ok((fields.get()?, fields.get()?, fields.get()?)))
    }

    fn array(values: &[i64]) -> Vec<u8> {
        let mut bytes: Vec<u8> = [1, 0, 20, values.len() as i32, 1]
            .iter()
            .flat_map(|n: &i32| n.to_be_bytes())
            .collect();
        values
            .iter()
            .for_each(|value| bytes.extend(field(Some(&value.to_be_bytes()))));
        bytes
    }

    #[test]
    fn rows_and_fields_are_found_where_they_lie() {
        let (seven, two) = (7i64.to_be_bytes(), array(&[1, -2]));
        let none = [0i32, 0, 20]
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect::<Vec<u8>>();
        let rows = copied(&[
            &[Some(&seven), Some(b"text"), Some(&two)],
            &[Some(&seven), None, Some(&none)],
        ]);
        assert_eq!(
            read(&rows).unwrap(),
            [(7, Some("text".to_owned()), vec![1, -2]), (7, None, vec![])]
        );
        assert!(read(&copied(&[])).unwrap().is_empty());
        // A row whose decoding stops early does not move the next one.
        let firsts = rows.rows(|fields| fields.get::<i64>()).unwrap();
        assert_eq!(firsts, [7, 7]);
    }

    /// Whatever is cut off or changed: an error or other values, never a panic, nor room for what is only claimed.
    #[test]
    fn damage_is_an_error() {
        let (seven, two) = (7i64.to_be_bytes(), array(&[1, -2]));
        let whole = copied(&[&[Some(&seven), Some(b"text"), Some(&two)]]);
        for end in 0..whole.0.len() {
            assert!(read(&Copied(whole.0[..end].to_vec())).is_err(), "{end}");
        }
        for at in 0..whole.0.len() {
            for byte in [0, 1, 0x7F, 0x80, 0xFF] {
                let mut bytes = whole.0.clone();
                bytes[at] = byte;
                let _ = read(&Copied(bytes));
            }
        }
        let missing = copied(&[&[None, None, Some(&two)]]);
        assert!(read(&missing).unwrap_err().0.contains("missing"));
        for infinity in [i64::MAX, i64::MIN] {
            assert!(Timestamp::decode(&infinity.to_be_bytes()).is_err());
        }
    }
}
