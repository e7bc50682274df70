//! Rows as lines of the archive, and of proofs: JSON that can be read with nothing but this page.
//!
//! Times are microseconds since 1970 (UTC), hashes hexadecimal. An entry's `data` is the text that its hash is over.

use crate::ledger::{Effects, Entry, Hash, Hold, HoldState, Kind, Metadata, Timestamp};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
struct EntryLine<'a> {
    user_id: Uuid,
    seq: i64,
    kind: Cow<'a, str>,
    change: i64,
    held_change: i64,
    available: i64,
    held: i64,
    counter_account: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consumption_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lot_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_hash: Option<String>,
    data: Cow<'a, str>,
    #[serde(rename = "created_at_us")]
    created_at: Timestamp,
    hash: String,
}

pub(crate) fn of_entry(entry: &Entry) -> String {
    line(&EntryLine {
        user_id: entry.user_id,
        seq: entry.seq,
        kind: entry.kind.as_str().into(),
        change: entry.change,
        held_change: entry.held_change,
        available: entry.available,
        held: entry.held,
        counter_account: entry.counter_account.as_ref().into(),
        consumption_id: entry.consumption_id,
        lot_id: entry.lot_id,
        reference: entry.reference.as_deref().map(Cow::Borrowed),
        idempotency_key: entry.idempotency_key.as_deref().map(Cow::Borrowed),
        request_hash: entry.request_hash.map(|hash| hash.to_string()),
        data: entry.data.as_str().into(),
        created_at: entry.created_at,
        hash: entry.hash.to_string(),
    })
}

pub(crate) fn entry(line: &str) -> Result<Entry, String> {
    let line: EntryLine<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let effects: Effects = serde_json::from_str(&line.data).map_err(|error| format!("its data: {error}"))?;
    Ok(Entry {
        user_id: line.user_id,
        seq: line.seq,
        kind: Kind::parse(&line.kind)
            .ok_or_else(|| format!("unknown kind `{}`", line.kind.escape_debug()))?,
        change: line.change,
        held_change: line.held_change,
        available: line.available,
        held: line.held,
        counter_account: line.counter_account.into_owned().into(),
        consumption_id: line.consumption_id,
        lot_id: line.lot_id,
        reference: line.reference.map(Cow::into_owned),
        idempotency_key: line.idempotency_key.map(Cow::into_owned),
        request_hash: line.request_hash.as_deref().map(hash).transpose()?,
        effects,
        data: line.data.into_owned(),
        created_at: line.created_at,
        hash: hash(&line.hash)?,
    })
}

#[derive(Serialize, Deserialize)]
struct HoldLine<'a> {
    user_id: Uuid,
    id: Uuid,
    amount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feature: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quote: Option<Cow<'a, str>>,
    #[serde(rename = "created_at_us")]
    created_at: Timestamp,
    state: Cow<'a, HoldState>,
}

pub(crate) fn of_hold(hold: &Hold) -> String {
    line(&HoldLine {
        user_id: hold.user_id,
        id: hold.consumption_id,
        amount: hold.amount,
        feature: hold.feature.as_deref().map(Cow::Borrowed),
        reference: hold.reference.as_deref().map(Cow::Borrowed),
        metadata: hold.metadata.as_ref().map(|metadata| metadata.as_str().into()),
        quote: hold.quote.as_deref().map(Cow::Borrowed),
        created_at: hold.created_at,
        state: Cow::Borrowed(&hold.state),
    })
}

pub(crate) fn hold(line: &str) -> Result<Hold, String> {
    let line: HoldLine<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    Ok(Hold {
        consumption_id: line.id,
        user_id: line.user_id,
        amount: line.amount,
        feature: line.feature.map(Cow::into_owned),
        reference: line.reference.map(Cow::into_owned),
        metadata: line
            .metadata
            .map(|text| Metadata::from_canonical(text.into_owned())),
        quote: line.quote.map(Cow::into_owned),
        created_at: line.created_at,
        state: line.state.into_owned(),
    })
}

/// Numbers, strings and lists only; serialising those can't fail.
fn line(row: &impl Serialize) -> String {
    serde_json::to_string(row).unwrap_or_default()
}

fn hash(text: &str) -> Result<Hash, String> {
    Hash::parse(text).ok_or_else(|| format!("`{}` is no SHA-256", text.escape_debug()))
}
