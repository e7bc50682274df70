//! Rate cards and packages.

use super::failure::{Attempt, Failure};
use super::load::{many, one};
use super::rows::{self, blob, card_columns, micros, package_columns};
use super::waiting::in_transaction;
use crate::catalogue::Package;
use crate::catalogue::{CatalogueChange, CatalogueRows};
use crate::pricing::Decimal;
use crate::store::StoreResult;
use rusqlite::{Connection, params};
use std::time::Duration;
use uuid::Uuid;

pub(super) fn revision(connection: &Connection) -> Attempt<i64> {
    let found = one(
        connection,
        "SELECT revision FROM credit_catalogue",
        [],
        rows::COUNT,
    )?;
    found.ok_or_else(|| Failure::Damaged("the database has lost the row of credit_catalogue".into()))
}

/// In the read transaction of the caller, which is what makes it one picture.
pub(super) fn read(connection: &Connection) -> Attempt<CatalogueRows> {
    const CARDS: &str = concat!(
        "SELECT ",
        card_columns!(),
        " FROM credit_pricing ORDER BY feature, version"
    );
    const PACKAGES: &str = concat!("SELECT ", package_columns!(), " FROM credit_packages");
    Ok(CatalogueRows {
        revision: revision(connection)?,
        cards: many(connection, CARDS, [], rows::CARD)?,
        packages: many(connection, PACKAGES, [], rows::PACKAGE)?,
    })
}

pub(super) fn package_versions(connection: &Connection, package_id: Uuid) -> Attempt<Vec<Package>> {
    const SQL: &str = concat!(
        "SELECT ",
        package_columns!(),
        " FROM credit_package_versions WHERE package_id = ?1 ORDER BY version"
    );
    many(connection, SQL, [blob(&package_id)], rows::PACKAGE)
}

pub(super) fn package_history(connection: &Connection) -> Attempt<Vec<Package>> {
    const SQL: &str = concat!(
        "SELECT ",
        package_columns!(),
        " FROM credit_package_versions ORDER BY package_id, version"
    );
    many(connection, SQL, [], rows::PACKAGE)
}

/// All of it, or nothing where the catalogue has moved on.
pub(super) fn change(
    connection: &Connection,
    change: &CatalogueChange,
    timeout: Duration,
) -> StoreResult<bool> {
    in_transaction(connection, timeout, |connection| write(connection, change))
}

fn write(connection: &Connection, change: &CatalogueChange) -> Attempt<bool> {
    if revision(connection)? != change.expected_revision {
        return Ok(false);
    }
    for card in &change.cards {
        connection.execute(
            concat!(
                "INSERT INTO credit_pricing (",
                card_columns!(),
                ", updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)"
            ),
            params![
                blob(&card.pricing_id),
                card.feature,
                card.version,
                card.name,
                card.card,
                card.user_id.as_ref().map(blob),
                micros(card.effective_from),
                card.effective_until.map(micros),
                micros(card.created_at),
            ],
        )?;
    }
    for package in &change.packages {
        let values = params![
            blob(&package.package_id),
            package.version,
            package.name,
            package.description,
            minor(package)?,
            package.currency,
            package.credits,
            package.bonus_credits,
            package.validity_days,
            package.sort_order,
            package.recommended,
            package.active,
            package.purchase_limit,
            micros(package.created_at),
            micros(package.updated_at),
        ];
        connection.execute(
            concat!(
                "INSERT INTO credit_packages (",
                package_columns!(),
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) \
                 ON CONFLICT (package_id) DO UPDATE SET version = ?2, name = ?3, description = ?4, price_minor = ?5, \
                 currency = ?6, credits = ?7, bonus_credits = ?8, validity_days = ?9, sort_order = ?10, \
                 recommended = ?11, active = ?12, purchase_limit = ?13, updated_at = ?15"
            ),
            values,
        )?;
        connection.execute(
            concat!(
                "INSERT INTO credit_package_versions (",
                package_columns!(),
                ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
            ),
            values,
        )?;
    }
    Ok(true)
}

/// The price in hundredths, which it was checked to be.
fn minor(package: &Package) -> Attempt<i64> {
    let hundredths = package
        .price
        .checked_mul(Decimal::ONE_HUNDRED)
        .map(|p| p.normalize());
    hundredths
        .filter(|p| p.scale() == 0)
        .and_then(|p| i64::try_from(p.mantissa()).ok())
        .ok_or_else(|| Failure::Damaged(format!("the price {} has no hundredths", package.price)))
}
