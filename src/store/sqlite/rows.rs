//! Rows to and from the ledger's types. Columns are read in the order in which the lists below name them.
//!
//! A row that can't be read is a [`Damage`], never a panic: the file may have been edited with other tools.

use super::failure::{Attempt, Failure};
use crate::anchor::tree::Leaf;
use crate::catalogue::CardRow;
use crate::catalogue::Package;
use crate::ledger::{
    Account, Checkpoint, Effects, Entry, Hash, Hold, HoldState, Kind, Lot, Metadata, Money, Order,
    OrderStatus, Source, Status, Timestamp,
};
use crate::pricing::Decimal;
use crate::store::anchors::{AnchorRow, Group};
use crate::store::retention::{ArchiveFile, ArchiveKind};
use crate::store::{Claim, DamagedEntry, GiftRow, OpenOrderRow, OrderRow, StoredEntry, StoredOrder};
use rusqlite::types::ValueRef;
use rusqlite::{Row, ToSql};
use std::borrow::Cow;
use uuid::Uuid;

macro_rules! account_columns {
    () => {
        "user_id, seq, hash, available, held, debt, borrowed, credit_limit, granted, spent, \
         next_hold_deadline, next_lot_deadline, created_at, updated_at"
    };
}

macro_rules! lot_columns {
    () => {
        "user_id, lot_id, source, amount, remaining, expired, clawed, claim, priority, expires_at, \
         cost_minor, cost_currency, reference, origin, created_at"
    };
}

macro_rules! hold_columns {
    () => {
        "consumption_id, user_id, status, amount, captured, reversed, borrowed, pins, feature, reference, \
         metadata, quote, created_at, expires_at, settled_at, used"
    };
}

macro_rules! entry_columns {
    () => {
        "user_id, seq, kind, change, held_change, available, held, counter_account, consumption_id, lot_id, \
         reference, idempotency_key, request_hash, data, created_at, hash"
    };
}

macro_rules! card_columns {
    () => {
        "pricing_id, feature, version, name, card, user_id, effective_from, effective_until, created_at"
    };
}

macro_rules! package_columns {
    () => {
        "package_id, version, name, description, price_minor, currency, credits, bonus_credits, validity_days, \
         sort_order, recommended, active, purchase_limit, created_at, updated_at"
    };
}

macro_rules! gift_columns {
    () => {
        "user_id, gift_id, amount, reason, operator, expires_at, created_at"
    };
}

macro_rules! order_columns {
    () => {
        "order_no, user_id, status, channel, package_id, price_minor, currency, credits, bonus_credits, \
         refunded_minor, transaction_id, lot_id, bonus_lot_id, data, created_at, expires_at, paid_at"
    };
}

pub(super) use {
    account_columns, card_columns, entry_columns, gift_columns, hold_columns, lot_columns, order_columns,
    package_columns,
};

/// What is wrong with a row.
struct Damage(String);

/// How a kind of row is read, and what it is called where it can't be.
pub(super) struct Shape<T> {
    what: &'static str,
    decode: fn(&Row<'_>) -> Decoded<T>,
}

/// [`account_columns`]
pub(super) const ACCOUNT: Shape<Account> = Shape {
    what: "account",
    decode: account,
};
/// [`lot_columns`]
pub(super) const LOT: Shape<(Uuid, Lot)> = Shape {
    what: "lot",
    decode: lot,
};
/// [`hold_columns`]
pub(super) const HOLD: Shape<Hold> = Shape {
    what: "consumption",
    decode: hold,
};
/// [`entry_columns`]
pub(super) const ENTRY: Shape<Entry> = Shape {
    what: "entry",
    decode: entry,
};
/// [`entry_columns`], where a damaged row is reported and not an end to reading.
pub(super) const STORED_ENTRY: Shape<StoredEntry> = Shape {
    what: "entry",
    decode: |row| reported(row, entry(row)),
};
/// The same, but for the effects, which are in the data: [`with_effects`].
pub(super) const BARE_ENTRY: Shape<StoredEntry> = Shape {
    what: "entry",
    decode: |row| reported(row, bare_entry(row)),
};
/// [`gift_columns`]
pub(super) const GIFT: Shape<GiftRow> = Shape {
    what: "gift",
    decode: gift,
};
/// [`order_columns`]
pub(super) const ORDER: Shape<Order> = Shape {
    what: "order",
    decode: |row| order_row(row)?.sound().map_err(|e| Damage(e.to_string())),
};
/// [`order_columns`], where a damaged row is reported and not an end to reading.
pub(super) const STORED_ORDER: Shape<StoredOrder> = Shape {
    what: "order",
    decode: |row| order_row(row)?.stored().map_err(|e| Damage(e.to_string())),
};
/// `order_no, user_id, channel, status, expires_at`
pub(super) const OPEN_ORDER: Shape<OpenOrderRow> = Shape {
    what: "order",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok(OpenOrderRow {
            order_no: f.word(|text| text.parse().ok())?,
            user_id: f.id()?,
            channel: f.text()?.to_owned(),
            status: f.word(OrderStatus::parse)?,
            expires_at: f.time()?,
        })
    },
};
/// `channel, transaction_id, order_no, user_id`
pub(super) const CLAIM: Shape<Claim> = Shape {
    what: "claim of a payment",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok(Claim {
            channel: f.text()?.to_owned(),
            transaction_id: f.text()?.to_owned(),
            order_no: f.word(|text| text.parse().ok())?,
            user_id: f.id()?,
        })
    },
};
/// [`card_columns`]
pub(super) const CARD: Shape<CardRow> = Shape {
    what: "rate card",
    decode: card,
};
/// [`package_columns`]
pub(super) const PACKAGE: Shape<Package> = Shape {
    what: "package",
    decode: package,
};
/// A count.
pub(super) const COUNT: Shape<i64> = Shape {
    what: "count",
    decode: |row| Fields::of(row).integer(),
};
/// A number that may be absent.
pub(super) const OPTIONAL_COUNT: Shape<Option<i64>> = Shape {
    what: "count",
    decode: |row| Fields::of(row).optional_integer(),
};
/// A time.
pub(super) const TIME: Shape<Timestamp> = Shape {
    what: "deadline",
    decode: time,
};
/// A deadline and an account.
pub(super) const DEADLINE: Shape<(Timestamp, Uuid)> = Shape {
    what: "deadline",
    decode: deadline,
};
/// An account, and the number of an entry.
pub(super) const POSITION: Shape<(Uuid, i64)> = Shape {
    what: "account",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok((f.id()?, f.integer()?))
    },
};
/// An account, and the id of something of its.
pub(super) const OWNED: Shape<(Uuid, Uuid)> = Shape {
    what: "consumption",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok((f.id()?, f.id()?))
    },
};
/// An account, and a time.
pub(super) const MOMENT: Shape<(Uuid, Timestamp)> = Shape {
    what: "account",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok((f.id()?, f.time()?))
    },
};
/// `user_id, seq, hash, data, created_at`
pub(super) const CHECKPOINT: Shape<Checkpoint> = Shape {
    what: "checkpoint",
    decode: |row| {
        let mut f = Fields::of(row);
        let (user_id, seq, hash, data, at) = (f.id()?, f.integer()?, f.hash()?, f.text()?, f.time()?);
        Checkpoint::parse(user_id, seq, hash, at, data).map_err(|e| f.wrong(e))
    },
};
/// `user_id, seq, previous_hash`
pub(super) const KEPT: Shape<(Uuid, i64, Hash)> = Shape {
    what: "entry that stayed",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok((f.id()?, f.integer()?, f.hash()?))
    },
};
/// `user_id, seq, hash, created_at`
pub(super) const LEFT: Shape<(Uuid, i64, Hash, Timestamp)> = Shape {
    what: "checkpoint",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok((f.id()?, f.integer()?, f.hash()?, f.time()?))
    },
};
/// `number, record, mark`
pub(super) const ANCHOR: Shape<AnchorRow> = Shape {
    what: "anchor",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok(AnchorRow {
            number: f.integer()?,
            record: f.text()?.to_owned(),
            mark: f.text()?.to_owned(),
        })
    },
};
/// `user_id, seq, hash, available, held`
pub(super) const LEAF: Shape<Leaf> = Shape {
    what: "anchored account",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok(Leaf {
            user_id: f.id()?,
            seq: f.integer()?,
            hash: f.hash()?,
            available: f.integer()?,
            held: f.integer()?,
        })
    },
};
/// `group_no, root, buckets`
pub(super) const GROUP: Shape<Group> = Shape {
    what: "group of anchored accounts",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok(Group {
            number: f.number()?,
            root: f.hash()?,
            buckets: f.bytes()?.to_vec(),
        })
    },
};
/// `group_no, root`
pub(super) const GROUP_ROOT: Shape<(i32, Hash)> = Shape {
    what: "group of anchored accounts",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok((f.number()?, f.hash()?))
    },
};
/// An id.
pub(super) const ID: Shape<Uuid> = Shape {
    what: "id",
    decode: |row| Fields::of(row).id(),
};
/// `name, kind, older_than, lines, bytes, sha256, created_at, removed_at`
pub(super) const ARCHIVE: Shape<ArchiveFile> = Shape {
    what: "archive",
    decode: |row| {
        let mut f = Fields::of(row);
        Ok(ArchiveFile {
            name: f.text()?.to_owned(),
            kind: f.word(ArchiveKind::parse)?,
            older_than: f.time()?,
            lines: f.integer()?.unsigned_abs(),
            bytes: f.integer()?.unsigned_abs(),
            sha256: f.hash()?,
            created_at: f.time()?,
            removed_at: f.optional_time()?,
        })
    },
};

impl<T> Shape<T> {
    pub(super) fn read(&self, row: &Row<'_>) -> Attempt<T> {
        (self.decode)(row).map_err(|damage| {
            Failure::Damaged(format!("{} {} is damaged: {}", self.what, key(row), damage.0))
        })
    }
}

/// The first two columns of a row, which are its key in every table, whatever is in them.
fn key(row: &Row<'_>) -> String {
    let name = |index: usize| match row.get_ref(index) {
        Ok(ValueRef::Blob(bytes)) => {
            Uuid::from_slice(bytes).map_or_else(|_| format!("{} bytes", bytes.len()), |id| id.to_string())
        }
        Ok(ValueRef::Integer(n)) => n.to_string(),
        Ok(ValueRef::Text(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Ok(other) => other.data_type().to_string(),
        Err(_) => "?".into(),
    };
    format!("({}, {})", name(0), name(1))
}

type Decoded<T> = Result<T, Damage>;

/// The columns of a row, one after the other.
struct Fields<'r> {
    row: &'r Row<'r>,
    next: usize,
}

impl<'r> Fields<'r> {
    fn of(row: &'r Row<'r>) -> Self {
        Fields { row, next: 0 }
    }

    fn value(&mut self) -> Decoded<ValueRef<'r>> {
        let index = self.next;
        self.next += 1;
        self.row
            .get_ref(index)
            .map_err(|e| Damage(format!("column {index}: {e}")))
    }

    /// What is wrong with the column read last.
    fn wrong(&self, why: impl std::fmt::Display) -> Damage {
        let column = self
            .row
            .as_ref()
            .column_name(self.next.saturating_sub(1))
            .unwrap_or("?");
        Damage(format!("{column}: {why}"))
    }

    fn optional_integer(&mut self) -> Decoded<Option<i64>> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(n) => Ok(Some(n)),
            other => Err(self.wrong(format_args!(
                "{} where an integer was expected",
                other.data_type()
            ))),
        }
    }

    fn optional_text(&mut self) -> Decoded<Option<&'r str>> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|e| self.wrong(e)),
            other => Err(self.wrong(format_args!("{} where text was expected", other.data_type()))),
        }
    }

    fn optional_bytes<const N: usize>(&mut self) -> Decoded<Option<[u8; N]>> {
        match self.value()? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(bytes) => bytes
                .try_into()
                .map(Some)
                .map_err(|_| self.wrong(format_args!("{} bytes where {N} were expected", bytes.len()))),
            other => Err(self.wrong(format_args!("{} where bytes were expected", other.data_type()))),
        }
    }

    fn bytes(&mut self) -> Decoded<&'r [u8]> {
        match self.value()? {
            ValueRef::Blob(bytes) => Ok(bytes),
            other => Err(self.wrong(other.data_type())),
        }
    }

    fn there<T>(&self, value: Option<T>) -> Decoded<T> {
        value.ok_or_else(|| self.wrong("is missing"))
    }

    fn integer(&mut self) -> Decoded<i64> {
        let value = self.optional_integer()?;
        self.there(value)
    }

    fn optional_number<N: TryFrom<i64>>(&mut self) -> Decoded<Option<N>> {
        match self.optional_integer()? {
            None => Ok(None),
            Some(n) => N::try_from(n)
                .map(Some)
                .map_err(|_| self.wrong(format_args!("{n} is out of range"))),
        }
    }

    fn number<N: TryFrom<i64>>(&mut self) -> Decoded<N> {
        let value = self.optional_number()?;
        self.there(value)
    }

    fn text(&mut self) -> Decoded<&'r str> {
        let value = self.optional_text()?;
        self.there(value)
    }

    fn optional_string(&mut self) -> Decoded<Option<String>> {
        Ok(self.optional_text()?.map(String::from))
    }

    fn optional_id(&mut self) -> Decoded<Option<Uuid>> {
        Ok(self.optional_bytes()?.map(Uuid::from_bytes))
    }

    fn id(&mut self) -> Decoded<Uuid> {
        let value = self.optional_id()?;
        self.there(value)
    }

    fn optional_hash(&mut self) -> Decoded<Option<Hash>> {
        Ok(self.optional_bytes()?.map(Hash))
    }

    fn hash(&mut self) -> Decoded<Hash> {
        let value = self.optional_hash()?;
        self.there(value)
    }

    fn optional_time(&mut self) -> Decoded<Option<Timestamp>> {
        Ok(self.optional_integer()?.map(Timestamp::from_micros))
    }

    fn time(&mut self) -> Decoded<Timestamp> {
        self.integer().map(Timestamp::from_micros)
    }

    fn word<T>(&mut self, parse: fn(&str) -> Option<T>) -> Decoded<T> {
        let word = self.text()?;
        parse(word).ok_or_else(|| self.wrong(format_args!("unknown word `{}`", word.escape_debug())))
    }

    fn json<T: serde::de::DeserializeOwned>(&self, text: &str) -> Decoded<T> {
        serde_json::from_str(text).map_err(|e| self.wrong(e))
    }
}

fn account(row: &Row<'_>) -> Decoded<Account> {
    let mut f = Fields::of(row);
    Ok(Account {
        user_id: f.id()?,
        seq: f.integer()?,
        hash: f.hash()?,
        available: f.integer()?,
        held: f.integer()?,
        debt: f.integer()?,
        borrowed: f.integer()?,
        credit_limit: f.integer()?,
        granted: f.integer()?,
        spent: f.integer()?,
        next_hold_deadline: f.optional_time()?,
        next_lot_deadline: f.optional_time()?,
        created_at: f.time()?,
        updated_at: f.time()?,
    })
}

fn lot(row: &Row<'_>) -> Decoded<(Uuid, Lot)> {
    let mut f = Fields::of(row);
    let user_id = f.id()?;
    let lot = Lot {
        lot_id: f.id()?,
        source: f.word(Source::parse)?,
        amount: f.integer()?,
        remaining: f.integer()?,
        expired: f.integer()?,
        clawed: f.integer()?,
        claim: f.integer()?,
        priority: {
            let priority = f.integer()?;
            i32::try_from(priority).map_err(|e| f.wrong(e))?
        },
        expires_at: f.optional_time()?,
        cost: match (f.optional_integer()?, f.optional_string()?) {
            (None, None) => None,
            (Some(minor), Some(currency)) => Some(Money { minor, currency }),
            _ => return Err(f.wrong("an amount of money needs a currency, and a currency an amount")),
        },
        reference: f.optional_string()?,
        origin: f.optional_id()?,
        created_at: f.time()?,
    };
    Ok((user_id, lot))
}

fn gift(row: &Row<'_>) -> Decoded<GiftRow> {
    let mut f = Fields::of(row);
    Ok(GiftRow {
        user_id: f.id()?,
        lot_id: f.id()?,
        amount: f.integer()?,
        reason: f.text()?.to_owned(),
        operator: f.optional_string()?,
        expires_at: f.optional_time()?,
        created_at: f.time()?,
    })
}

fn order_row(row: &Row<'_>) -> Decoded<OrderRow> {
    let mut f = Fields::of(row);
    Ok(OrderRow {
        order_no: f.text()?.to_owned(),
        user_id: f.id()?,
        status: f.text()?.to_owned(),
        channel: f.text()?.to_owned(),
        package_id: f.id()?,
        price_minor: f.integer()?,
        currency: f.text()?.to_owned(),
        credits: f.integer()?,
        bonus_credits: f.integer()?,
        refunded_minor: f.integer()?,
        transaction_id: f.optional_string()?,
        lot_id: f.optional_id()?,
        bonus_lot_id: f.optional_id()?,
        data: f.text()?.to_owned(),
        created_at: f.time()?,
        expires_at: f.time()?,
        paid_at: f.optional_time()?,
    })
}

fn card(row: &Row<'_>) -> Decoded<CardRow> {
    let mut f = Fields::of(row);
    Ok(CardRow {
        pricing_id: f.id()?,
        feature: f.text()?.to_owned(),
        version: f.number()?,
        name: f.text()?.to_owned(),
        card: f.text()?.to_owned(),
        user_id: f.optional_id()?,
        effective_from: f.time()?,
        effective_until: f.optional_time()?,
        created_at: f.time()?,
    })
}

fn package(row: &Row<'_>) -> Decoded<Package> {
    let mut f = Fields::of(row);
    Ok(Package {
        package_id: f.id()?,
        version: f.number()?,
        name: f.text()?.to_owned(),
        description: f.text()?.to_owned(),
        price: Decimal::new(f.integer()?, 2).normalize(),
        currency: f.text()?.to_owned(),
        credits: f.integer()?,
        bonus_credits: f.integer()?,
        validity_days: f.optional_number()?,
        sort_order: f.number()?,
        recommended: f.integer()? != 0,
        active: f.integer()? != 0,
        purchase_limit: f.optional_number()?,
        created_at: f.time()?,
        updated_at: f.time()?,
    })
}

fn hold(row: &Row<'_>) -> Decoded<Hold> {
    let mut f = Fields::of(row);
    let consumption_id = f.id()?;
    let user_id = f.id()?;
    let status = f.word(Status::parse)?;
    let amount = f.integer()?;
    let (captured, reversed, borrowed) = (f.integer()?, f.integer()?, f.integer()?);
    let pins = f.text()?;
    let pins = f.json(pins)?;
    Ok(Hold {
        consumption_id,
        user_id,
        amount,
        feature: f.optional_string()?,
        reference: f.optional_string()?,
        metadata: f.optional_string()?.map(Metadata::from_canonical),
        quote: f.optional_string()?,
        created_at: f.time()?,
        state: HoldState {
            status,
            captured,
            reversed,
            borrowed,
            pins,
            expires_at: f.time()?,
            settled_at: f.optional_time()?,
            used: f.optional_string()?,
        },
    })
}

/// An entry whose key can be read but not the rest is reported by that key. One whose key can't be read is an error:
/// nobody could ask for the page after it.
fn reported(row: &Row<'_>, entry: Decoded<Entry>) -> Decoded<StoredEntry> {
    match entry {
        Ok(entry) => Ok(Ok(entry)),
        Err(Damage(problem)) => {
            let mut f = Fields::of(row);
            Ok(Err(DamagedEntry {
                user_id: f.id()?,
                seq: f.integer()?,
                problem,
            }))
        }
    }
}

fn entry(row: &Row<'_>) -> Decoded<Entry> {
    with_effects(bare_entry(row)?).map_err(Damage)
}

/// What an entry did, read from its data: half of the work of decoding it, and for any thread.
pub(super) fn with_effects(mut entry: Entry) -> Result<Entry, String> {
    entry.effects = serde_json::from_str(&entry.data).map_err(|e| format!("data: {e}"))?;
    Ok(entry)
}

fn bare_entry(row: &Row<'_>) -> Decoded<Entry> {
    let mut f = Fields::of(row);
    Ok(Entry {
        user_id: f.id()?,
        seq: f.integer()?,
        kind: f.word(Kind::parse)?,
        change: f.integer()?,
        held_change: f.integer()?,
        available: f.integer()?,
        held: f.integer()?,
        counter_account: Cow::Owned(f.text()?.to_owned()),
        consumption_id: f.optional_id()?,
        lot_id: f.optional_id()?,
        reference: f.optional_string()?,
        idempotency_key: f.optional_string()?,
        request_hash: f.optional_hash()?,
        effects: Effects::default(),
        data: f.text()?.to_owned(),
        created_at: f.time()?,
        hash: f.hash()?,
    })
}

/// A time as it is stored.
pub(super) fn micros(t: Timestamp) -> i64 {
    t.as_micros()
}

/// An id as it is stored.
pub(super) fn blob(id: &Uuid) -> impl ToSql + '_ {
    id.as_bytes().as_slice()
}

fn time(row: &Row<'_>) -> Decoded<Timestamp> {
    Fields::of(row).time()
}

fn deadline(row: &Row<'_>) -> Decoded<(Timestamp, Uuid)> {
    let mut f = Fields::of(row);
    Ok((f.time()?, f.id()?))
}
