//! Between rows and the ledger's types.

use crate::ledger::{
    Account, Effects, Entry, Hash, Hold, HoldState, Kind, Lot, Metadata, Money, Pin, Source, Status,
    Timestamp,
};
use crate::store::{DamagedEntry, StoreError, StoreResult, StoredEntry};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row, Type};
use std::cell::Cell;
use uuid::Uuid;

/// Microseconds between 1970-01-01 and 2000-01-01, where PostgreSQL's time begins.
pub(super) const EPOCH_2000_US: i64 = 946_684_800_000_000;

/// Numbers of built-in types never change (PostgreSQL's `pg_type.dat`).
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self
            .as_micros()
            .checked_sub(EPOCH_2000_US)
            .ok_or("time out of range")?;
        buffer.extend_from_slice(&micros.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => {
                let micros = i64::from_be_bytes(value.as_bytes()?.try_into()?);
                Ok(Timestamp::from_micros(
                    micros.checked_add(EPOCH_2000_US).ok_or("time out of range")?,
                ))
            }
            PgValueFormat::Text => Err("times are read in binary form only".into()),
        }
    }
}

/// One row of any kind: `load` returns accounts, lots, holds and entries in one result, so they share columns by type.
pub(super) struct Packed<'r> {
    row: &'r PgRow,
    pub(super) tag: i16,
    pub(super) user_id: Uuid,
    /// A column holds what can't be read, such as the time `infinity`.
    unreadable: Cell<bool>,
}

const ID: usize = 2;
const NUMBERS: usize = 3;
const TIMES: usize = NUMBERS + 8;
const TEXTS: usize = TIMES + 4;
const BYTES: usize = TEXTS + 6;
const LINK: usize = BYTES + 1;
const LOT_IDS: usize = LINK + 1;
const LOT_AMOUNTS: usize = LOT_IDS + 1;

/// What a kind of row has in the shared columns: expressions, as many as it needs.
#[derive(Default)]
struct Shape<'a> {
    id: Option<&'a str>,
    numbers: &'a [&'a str],
    times: &'a [&'a str],
    texts: &'a [&'a str],
    bytes: Option<&'a str>,
    link: Option<&'a str>,
    pins: bool,
}

impl Shape<'_> {
    /// The `SELECT` list; `t` is the table's alias. The casts make all kinds agree, whatever a column's domain.
    fn list(&self, tag: i16, t: &str) -> String {
        let mut list = vec![format!("{tag}::int2"), format!("{t}.user_id")];
        let mut add = |given: &[&str], places: usize, kind: &str| {
            for i in 0..places {
                list.push(match given.get(i) {
                    Some(column) if column.starts_with('(') => format!("{column}::{kind}"),
                    Some(column) => format!("{t}.{column}::{kind}"),
                    None => format!("NULL::{kind}"),
                });
            }
        };
        add(self.id.as_slice(), 1, "uuid");
        add(self.numbers, TIMES - NUMBERS, "int8");
        add(self.times, TEXTS - TIMES, "timestamptz");
        add(self.texts, BYTES - TEXTS, "text");
        add(self.bytes.as_slice(), 1, "bytea");
        add(self.link.as_slice(), 1, "uuid");
        let (ids, amounts): (&[&str], &[&str]) = if self.pins {
            (&["lot_ids"], &["lot_amounts"])
        } else {
            (&[], &[])
        };
        add(ids, 1, "uuid[]");
        add(amounts, 1, "int8[]");
        list.join(", ")
    }
}

/// What the server's clock shows.
pub(super) fn clock_columns(tag: i16, t: &str) -> String {
    let shape = Shape {
        times: &["(statement_timestamp())"],
        ..Shape::default()
    };
    shape.list(tag, t)
}

/// `SELECT` lists that [`Packed`] unpacks; `t` is the table's alias.
pub(super) fn account_columns(tag: i16, t: &str) -> String {
    let shape = Shape {
        numbers: &[
            "seq",
            "available",
            "held",
            "debt",
            "borrowed",
            "credit_limit",
            "granted",
            "spent",
        ],
        times: &[
            "next_hold_deadline",
            "next_lot_deadline",
            "created_at",
            "updated_at",
        ],
        bytes: Some("hash"),
        ..Shape::default()
    };
    shape.list(tag, t)
}

pub(super) fn lot_columns(tag: i16, t: &str) -> String {
    let shape = Shape {
        id: Some("lot_id"),
        numbers: &[
            "amount",
            "remaining",
            "expired",
            "clawed",
            "claim",
            "priority",
            "cost_minor",
        ],
        times: &["expires_at", "created_at"],
        texts: &["source", "cost_currency", "reference"],
        link: Some("origin"),
        ..Shape::default()
    };
    shape.list(tag, t)
}

pub(super) fn hold_columns(tag: i16, t: &str) -> String {
    let shape = Shape {
        id: Some("consumption_id"),
        numbers: &["amount", "captured", "reversed", "borrowed"],
        times: &["created_at", "expires_at", "settled_at"],
        texts: &["status", "feature", "reference", "metadata", "quote", "used"],
        pins: true,
        ..Shape::default()
    };
    shape.list(tag, t)
}

pub(super) fn entry_columns(tag: i16, t: &str) -> String {
    let shape = Shape {
        id: Some("consumption_id"),
        numbers: &["seq", "change", "held_change", "available", "held"],
        times: &["created_at"],
        texts: &["kind", "counter_account", "reference", "idempotency_key", "data"],
        bytes: Some(&format!("({t}.hash || coalesce({t}.request_hash, ''))")),
        link: Some("lot_id"),
        ..Shape::default()
    };
    shape.list(tag, t)
}

/// A row of the first deadline, as a hold that is nothing else: `t.expires_at` is all there is.
pub(super) fn deadline_columns(tag: i16, t: &str) -> String {
    let shape = Shape {
        times: &["expires_at"],
        ..Shape::default()
    };
    shape.list(tag, t)
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed {
        problem: format!("can't read {what}: {error}"),
        remedy: "the books are damaged, or of another version; run verify()",
    }
}

impl<'r> Packed<'r> {
    pub(super) fn read(row: &'r PgRow) -> StoreResult<Self> {
        let read = || -> Result<Self, sqlx::Error> {
            Ok(Packed {
                row,
                tag: row.try_get(0)?,
                user_id: row.try_get(1)?,
                unreadable: Cell::new(false),
            })
        };
        read().map_err(|e| unreadable("a row", e))
    }

    /// `None` where there is no value, and where it can't be read: [`sound`](Self::sound) tells the two apart. The
    /// statement's casts have settled the types.
    fn get<T: Decode<'r, Postgres>>(&self, column: usize) -> Option<T> {
        match self.row.try_get_unchecked::<Option<T>, _>(column) {
            Ok(value) => value,
            Err(_) => {
                self.unreadable.set(true);
                None
            }
        }
    }

    /// What was made of the columns, if all of them could be read.
    fn sound<T>(&self, made: Option<T>) -> Option<T> {
        made.filter(|_| !self.unreadable.get())
    }

    pub(super) fn id(&self) -> Option<Uuid> {
        self.get(ID)
    }

    fn number(&self, i: usize) -> Option<i64> {
        self.get(NUMBERS + i)
    }

    pub(super) fn time(&self, i: usize) -> Option<Timestamp> {
        self.get(TIMES + i)
    }

    fn text(&self, i: usize) -> Option<&'r str> {
        self.get(TEXTS + i)
    }

    fn owned(&self, i: usize) -> Option<String> {
        self.text(i).map(str::to_owned)
    }

    fn bytes(&self) -> Option<&'r [u8]> {
        self.get(BYTES)
    }

    fn link(&self) -> Option<Uuid> {
        self.get(LINK)
    }

    pub(super) fn account(&self) -> StoreResult<Account> {
        let read = || {
            Some(Account {
                user_id: self.user_id,
                seq: self.number(0)?,
                hash: Hash::from_slice(self.bytes()?)?,
                available: self.number(1)?,
                held: self.number(2)?,
                debt: self.number(3)?,
                borrowed: self.number(4)?,
                credit_limit: self.number(5)?,
                granted: self.number(6)?,
                spent: self.number(7)?,
                next_hold_deadline: self.time(0),
                next_lot_deadline: self.time(1),
                created_at: self.time(2)?,
                updated_at: self.time(3)?,
            })
        };
        self.sound(read())
            .ok_or_else(|| unreadable("account", self.user_id))
    }

    pub(super) fn lot(&self) -> StoreResult<Lot> {
        let read = || {
            Some(Lot {
                lot_id: self.id()?,
                source: Source::parse(self.text(0)?)?,
                amount: self.number(0)?,
                remaining: self.number(1)?,
                expired: self.number(2)?,
                clawed: self.number(3)?,
                claim: self.number(4)?,
                priority: i32::try_from(self.number(5)?).ok()?,
                expires_at: self.time(0),
                cost: self
                    .number(6)
                    .zip(self.owned(1))
                    .map(|(minor, currency)| Money { minor, currency }),
                reference: self.owned(2),
                origin: self.link(),
                created_at: self.time(1)?,
            })
        };
        self.sound(read())
            .ok_or_else(|| unreadable("lot", self.id().unwrap_or_default()))
    }

    pub(super) fn hold(&self) -> StoreResult<Hold> {
        let read = || {
            let (ids, amounts) = (
                self.get::<Vec<Uuid>>(LOT_IDS)?,
                self.get::<Vec<i64>>(LOT_AMOUNTS)?,
            );
            let pins = ids.into_iter().zip(amounts);
            let pins = pins.map(|(lot_id, amount)| Pin { lot_id, amount }).collect();
            Some(Hold {
                consumption_id: self.id()?,
                user_id: self.user_id,
                amount: self.number(0)?,
                feature: self.owned(1),
                reference: self.owned(2),
                metadata: self.owned(3).map(Metadata::from_canonical),
                quote: self.owned(4),
                created_at: self.time(0)?,
                state: HoldState {
                    status: Status::parse(self.text(0)?)?,
                    captured: self.number(1)?,
                    reversed: self.number(2)?,
                    borrowed: self.number(3)?,
                    pins,
                    expires_at: self.time(1)?,
                    settled_at: self.time(2),
                    used: self.owned(5),
                },
            })
        };
        self.sound(read())
            .ok_or_else(|| unreadable("consumption", self.id().unwrap_or_default()))
    }

    pub(super) fn entry(&self) -> StoredEntry {
        let (user_id, seq) = (self.user_id, self.number(0).unwrap_or_default());
        let damaged = |problem: String| DamagedEntry {
            user_id,
            seq,
            problem,
        };
        let data = self.owned(4).ok_or_else(|| damaged("it has no data".into()))?;
        let effects: Effects =
            serde_json::from_str(&data).map_err(|e| damaged(format!("its data can't be read: {e}")))?;
        let (hash, request_hash) = self
            .bytes()
            .unwrap_or_default()
            .split_at_checked(32)
            .unwrap_or_default();
        let read = || {
            Some(Entry {
                user_id,
                seq,
                kind: Kind::parse(self.text(0)?)?,
                change: self.number(1)?,
                held_change: self.number(2)?,
                available: self.number(3)?,
                held: self.number(4)?,
                counter_account: self.owned(1)?.into(),
                consumption_id: self.id(),
                lot_id: self.link(),
                reference: self.owned(2),
                idempotency_key: self.owned(3),
                request_hash: Hash::from_slice(request_hash),
                effects,
                data,
                created_at: self.time(0)?,
                hash: Hash::from_slice(hash)?,
            })
        };
        self.sound(read())
            .ok_or_else(|| damaged("a column can't be read".into()))
    }
}
