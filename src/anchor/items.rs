//! What is anchored of the catalogue: every rate card and every version of every package, each as a leaf of its own.
//!
//! Its leaf is made as an account's is. In the place of the account's id stand the first 16 bytes of the SHA-256 of
//! `jointo_credits card ` or `jointo_credits package `, the id, a space and the version; in the place of the last entry's number the
//! version; and of its hash the SHA-256 of the row as a JSON array, which begins with `"card"` or `"package"`. When a card ends is not a
//! part of it: that may still be said.

use super::tree::Leaf;
use crate::catalogue::CardRow;
use crate::catalogue::Package;
use crate::ledger::Hash;
use serde::Serialize;
use uuid::Uuid;

/// In the order of the leaves.
pub(crate) fn items(cards: &[CardRow], versions: &[Package]) -> Vec<Leaf> {
    let mut items: Vec<Leaf> = cards
        .iter()
        .map(card)
        .chain(versions.iter().map(package))
        .collect();
    items.sort_by_key(|leaf| leaf.user_id);
    items
}

fn leaf(kind: &str, id: Uuid, version: u32, row: &impl Serialize) -> Leaf {
    let Hash(name) = Hash::of(format!("jointo_credits {kind} {id} {version}").as_bytes());
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name).for_each(|(to, from)| *to = from);
    // Numbers and strings only; serialising those can't fail.
    let row = serde_json::to_string(row).unwrap_or_default();
    Leaf {
        user_id: Uuid::from_bytes(bytes),
        seq: i64::from(version),
        hash: Hash::of(row.as_bytes()),
        available: 0,
        held: 0,
    }
}

fn card(row: &CardRow) -> Leaf {
    let form = (
        "card",
        row.pricing_id,
        row.version,
        &row.feature,
        &row.name,
        &row.card,
        row.user_id,
        row.effective_from,
        row.created_at,
    );
    leaf("card", row.pricing_id, row.version, &form)
}

fn package(row: &Package) -> Leaf {
    let form = (
        "package",
        row.package_id,
        row.version,
        &row.name,
        &row.description,
        row.price.normalize().to_string(),
        &row.currency,
        row.credits,
        row.bonus_credits,
        row.validity_days,
        row.sort_order,
        row.recommended,
        row.active,
        row.purchase_limit,
        row.created_at,
        row.updated_at,
    );
    leaf("package", row.package_id, row.version, &form)
}
