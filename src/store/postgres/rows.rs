//! Between rows and the ledger's types.

use crate::ledger::{
    Account, Effects, Entry, Hash, Hold, HoldState, Kind, Lot, Metadata, Money, Pin, Source, Status,
    Timestamp,
};
use crate::store::{DamagedEntry, StoreError, StoreResult, StoredEntry};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row, Type};
use uuid::Uuid;

/// Microseconds between 1970-01-01 and 2000-01-01, where PostgreSQL's time begins.
const EPOCH_2000_US: i64 = 946_684_800_000_000;

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("TIMESTAMPTZ")
    }
}

impl PgHasArrayType for Timestamp {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("_TIMESTAMPTZ")
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

/// The columns of every kind of row that `load` returns in one result, packed by type.
pub(super) struct Packed {
    pub(super) tag: i16,
    pub(super) user_id: Uuid,
    pub(super) id: Option<Uuid>,
    numbers: Vec<Option<i64>>,
    times: Vec<Option<Timestamp>>,
    texts: Vec<Option<String>>,
    bytes: Option<Vec<u8>>,
    ids: Vec<Option<Uuid>>,
    amounts: Vec<i64>,
}

/// `SELECT` lists that [`Packed`] unpacks; `t` is the table's alias.
pub(super) fn account_columns(tag: i16, t: &str) -> String {
    format!(
        "{tag}::int2, {t}.user_id, NULL::uuid, ARRAY[{t}.seq, {t}.available, {t}.held, {t}.debt, {t}.borrowed, \
         {t}.credit_limit, {t}.granted, {t}.spent], ARRAY[{t}.next_hold_deadline, {t}.next_lot_deadline, \
         {t}.created_at, {t}.updated_at], NULL::text[], {t}.hash, NULL::uuid[], NULL::int8[]"
    )
}

pub(super) fn lot_columns(tag: i16, t: &str) -> String {
    format!(
        "{tag}::int2, {t}.user_id, {t}.lot_id, ARRAY[{t}.amount, {t}.remaining, {t}.expired, {t}.clawed, \
         {t}.claim, {t}.priority::int8, {t}.cost_minor], ARRAY[{t}.expires_at, {t}.created_at], \
         ARRAY[{t}.source, {t}.cost_currency, {t}.reference], NULL::bytea, ARRAY[{t}.origin], NULL::int8[]"
    )
}

pub(super) fn hold_columns(tag: i16, t: &str) -> String {
    format!(
        "{tag}::int2, {t}.user_id, {t}.consumption_id, ARRAY[{t}.amount, {t}.captured, {t}.reversed, {t}.borrowed], \
         ARRAY[{t}.created_at, {t}.expires_at, {t}.settled_at], ARRAY[{t}.status, {t}.feature, {t}.reference, \
         {t}.metadata], NULL::bytea, {t}.lot_ids, {t}.lot_amounts"
    )
}

pub(super) fn entry_columns(tag: i16, t: &str) -> String {
    format!(
        "{tag}::int2, {t}.user_id, {t}.consumption_id, ARRAY[{t}.seq, {t}.change, {t}.held_change, {t}.available, \
         {t}.held], ARRAY[{t}.created_at], ARRAY[{t}.kind, {t}.counter_account, {t}.reference, \
         {t}.idempotency_key, {t}.data], {t}.hash || coalesce({t}.request_hash, ''), ARRAY[{t}.lot_id], NULL::int8[]"
    )
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed {
        problem: format!("can't read {what}: {error}"),
        remedy: "the books are damaged, or of another version; run verify()",
    }
}

impl Packed {
    pub(super) fn read(row: &PgRow) -> StoreResult<Self> {
        let read = || -> Result<Self, sqlx::Error> {
            Ok(Packed {
                tag: row.try_get(0)?,
                user_id: row.try_get(1)?,
                id: row.try_get(2)?,
                numbers: row.try_get::<Option<_>, _>(3)?.unwrap_or_default(),
                times: row.try_get::<Option<_>, _>(4)?.unwrap_or_default(),
                texts: row.try_get::<Option<_>, _>(5)?.unwrap_or_default(),
                bytes: row.try_get(6)?,
                ids: row.try_get::<Option<_>, _>(7)?.unwrap_or_default(),
                amounts: row.try_get::<Option<_>, _>(8)?.unwrap_or_default(),
            })
        };
        read().map_err(|e| unreadable("a row", e))
    }

    fn number(&self, i: usize) -> Option<i64> {
        self.numbers.get(i).copied().flatten()
    }

    pub(super) fn time(&self, i: usize) -> Option<Timestamp> {
        self.times.get(i).copied().flatten()
    }

    fn text(&mut self, i: usize) -> Option<String> {
        self.texts.get_mut(i).and_then(Option::take)
    }

    pub(super) fn account(&self) -> StoreResult<Account> {
        let read = || {
            Some(Account {
                user_id: self.user_id,
                seq: self.number(0)?,
                hash: Hash::from_slice(self.bytes.as_deref()?)?,
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
        read().ok_or_else(|| unreadable("account", self.user_id))
    }

    pub(super) fn lot(mut self) -> StoreResult<Lot> {
        let (source, currency, reference) = (self.text(0), self.text(1), self.text(2));
        let read = || {
            Some(Lot {
                lot_id: self.id?,
                source: Source::parse(source.as_deref()?)?,
                amount: self.number(0)?,
                remaining: self.number(1)?,
                expired: self.number(2)?,
                clawed: self.number(3)?,
                claim: self.number(4)?,
                priority: i32::try_from(self.number(5)?).ok()?,
                expires_at: self.time(0),
                cost: self
                    .number(6)
                    .zip(currency)
                    .map(|(minor, currency)| Money { minor, currency }),
                reference,
                origin: self.ids.first().copied().flatten(),
                created_at: self.time(1)?,
            })
        };
        let id = self.id.unwrap_or_default();
        read().ok_or_else(|| unreadable("lot", id))
    }

    pub(super) fn hold(mut self) -> StoreResult<Hold> {
        let (status, feature, reference, metadata) = (self.text(0), self.text(1), self.text(2), self.text(3));
        let read = || {
            let lots = self.ids.iter().copied().flatten();
            let pins = lots
                .zip(&self.amounts)
                .map(|(lot_id, amount)| Pin {
                    lot_id,
                    amount: *amount,
                })
                .collect();
            Some(Hold {
                consumption_id: self.id?,
                user_id: self.user_id,
                amount: self.number(0)?,
                feature,
                reference,
                metadata: metadata.map(Metadata::from_canonical),
                created_at: self.time(0)?,
                state: HoldState {
                    status: Status::parse(status.as_deref()?)?,
                    captured: self.number(1)?,
                    reversed: self.number(2)?,
                    borrowed: self.number(3)?,
                    pins,
                    expires_at: self.time(1)?,
                    settled_at: self.time(2),
                },
            })
        };
        let id = self.id.unwrap_or_default();
        read().ok_or_else(|| unreadable("consumption", id))
    }

    pub(super) fn entry(mut self) -> StoredEntry {
        let (user_id, seq) = (self.user_id, self.number(0).unwrap_or_default());
        let (kind, counter, reference, key, data) = (
            self.text(0),
            self.text(1),
            self.text(2),
            self.text(3),
            self.text(4),
        );
        let damaged = |problem: String| DamagedEntry {
            user_id,
            seq,
            problem,
        };
        let data = data.ok_or_else(|| damaged("it has no data".into()))?;
        let effects: Effects =
            serde_json::from_str(&data).map_err(|e| damaged(format!("its data can't be read: {e}")))?;
        let hashes = self.bytes.as_deref().unwrap_or_default();
        let (hash, request_hash) = hashes.split_at_checked(32).unwrap_or_default();
        let read = || {
            Some(Entry {
                user_id,
                seq,
                kind: Kind::parse(kind.as_deref()?)?,
                change: self.number(1)?,
                held_change: self.number(2)?,
                available: self.number(3)?,
                held: self.number(4)?,
                counter_account: counter?.into(),
                consumption_id: self.id,
                lot_id: self.ids.first().copied().flatten(),
                reference,
                idempotency_key: key,
                request_hash: Hash::from_slice(request_hash),
                effects,
                data,
                created_at: self.time(0)?,
                hash: Hash::from_slice(hash)?,
            })
        };
        read().ok_or_else(|| damaged("a column can't be read".into()))
    }
}
