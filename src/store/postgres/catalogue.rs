//! Rate cards and packages.

use super::writing::{begin, commit, execute, find};
use super::{Statements, during_read};
use crate::catalogue::Package;
use crate::catalogue::{CardRow, CatalogueChange};
use crate::pricing::parse_decimal;
use crate::store::{StoreError, StoreResult};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row};

pub(super) const REVISION: &str = "SELECT revision FROM {s}credit_catalogue";
pub(super) const CARDS: &str = "SELECT pricing_id, feature::text, version, name, card, user_id, effective_from, \
     effective_until, created_at FROM {s}credit_pricing ORDER BY feature, version";
/// When a package was saved says its version: the table's own column is set by a trigger, and by the database's clock.
pub(super) const PACKAGES: &str = "SELECT p.package_id, p.version, p.name, p.description, p.price::text, \
     p.currency::text, p.credits::int8, p.bonus_credits::int8, p.validity_days, p.sort_order, p.recommended, p.active, \
     p.purchase_limit, p.created_at, coalesce(v.updated_at, p.updated_at) FROM {s}credit_packages p \
     LEFT JOIN {s}credit_package_versions v USING (package_id, version)";
pub(super) const ALL_VERSIONS: &str = "SELECT package_id, version, name, description, price::text, \
     currency::text, credits::int8, bonus_credits::int8, validity_days, sort_order, recommended, active, \
     purchase_limit, created_at, updated_at FROM {s}credit_package_versions";
pub(super) const PACKAGE_VERSIONS: &str = "SELECT package_id, version, name, description, price::text, \
     currency::text, credits::int8, bonus_credits::int8, validity_days, sort_order, recommended, active, \
     purchase_limit, created_at, updated_at FROM {s}credit_package_versions WHERE package_id = $1 ORDER BY version";

const INSERT_CARD: &str = "INSERT INTO {s}credit_pricing (pricing_id, feature, version, name, card, user_id, \
     effective_from, effective_until, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)";
const COLUMNS: &str = "package_id, version, name, description, price, currency, credits, bonus_credits, \
     validity_days, sort_order, recommended, active, purchase_limit, created_at, updated_at";
const VALUES: &str = "$1, $2, $3, $4, $5::text::numeric, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15";

fn unreadable(what: &str, error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed {
        problem: format!("a {what} can't be read: {error}"),
        remedy: "the catalogue is damaged, or of another version",
    }
}

pub(super) fn card(row: &PgRow) -> StoreResult<CardRow> {
    let read = || -> Result<CardRow, sqlx::Error> {
        Ok(CardRow {
            pricing_id: row.try_get(0)?,
            feature: row.try_get(1)?,
            version: row.try_get::<i32, _>(2)?.unsigned_abs(),
            name: row.try_get(3)?,
            card: row.try_get(4)?,
            user_id: row.try_get(5)?,
            effective_from: row.try_get(6)?,
            effective_until: row.try_get(7)?,
            created_at: row.try_get(8)?,
        })
    };
    read().map_err(|error| unreadable("rate card", error))
}

pub(super) fn package(row: &PgRow) -> StoreResult<Package> {
    let positive = |n: i32| n.unsigned_abs(); // The table's CHECKs say so.
    let read = || -> Result<Package, sqlx::Error> {
        let price: String = row.try_get(4)?;
        Ok(Package {
            package_id: row.try_get(0)?,
            version: positive(row.try_get(1)?),
            name: row.try_get(2)?,
            description: row.try_get(3)?,
            price: parse_decimal(&price)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?
                .normalize(),
            currency: row.try_get(5)?,
            credits: row.try_get(6)?,
            bonus_credits: row.try_get(7)?,
            validity_days: row.try_get::<Option<i32>, _>(8)?.map(positive),
            sort_order: row.try_get(9)?,
            recommended: row.try_get(10)?,
            active: row.try_get(11)?,
            purchase_limit: row.try_get::<Option<i32>, _>(12)?.map(positive),
            created_at: row.try_get(13)?,
            updated_at: row.try_get(14)?,
        })
    };
    read().map_err(|error| unreadable("package", error))
}

/// All of it, or nothing where the catalogue has moved on. The connection is not to be used after an error.
pub(super) async fn change(
    connection: &mut PgConnection,
    statements: &Statements,
    change: &CatalogueChange,
) -> StoreResult<bool> {
    begin(connection).await?;
    let revision = statements.text("lock_catalogue", 0, || format!("{REVISION} FOR UPDATE"));
    let row = find(connection, sqlx::query(revision)).await?;
    let found: Option<i64> = row.map(|row| row.try_get(0)).transpose().map_err(during_read)?;
    if found != Some(change.expected_revision) {
        return Ok(false);
    }
    for card in &change.cards {
        let text = statements.text("insert_card", 0, || INSERT_CARD.into());
        let statement = sqlx::query(text)
            .bind(card.pricing_id)
            .bind(&card.feature)
            .bind(whole(card.version))
            .bind(&card.name)
            .bind(&card.card)
            .bind(card.user_id)
            .bind(card.effective_from)
            .bind(card.effective_until)
            .bind(card.created_at);
        execute(connection, statement).await?;
    }
    for package in &change.packages {
        let current = statements.text("save_package", 0, || {
            let sets: Vec<String> = COLUMNS
                .split(", ")
                .filter(|column| !["package_id", "created_at"].contains(column))
                .map(|column| format!("{column} = EXCLUDED.{column}"))
                .collect();
            format!(
                "INSERT INTO {{s}}credit_packages ({COLUMNS}) VALUES ({VALUES}) \
                 ON CONFLICT (package_id) DO UPDATE SET {}",
                sets.join(", ")
            )
        });
        let version = statements.text("keep_package", 0, || {
            format!("INSERT INTO {{s}}credit_package_versions ({COLUMNS}) VALUES ({VALUES})")
        });
        for text in [current, version] {
            execute(connection, bind(sqlx::query(text), package)).await?;
        }
    }
    commit(connection).await?;
    Ok(true)
}

fn whole(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    package: &'q Package,
) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(package.package_id)
        .bind(whole(package.version))
        .bind(&package.name)
        .bind(&package.description)
        .bind(package.price.to_string())
        .bind(&package.currency)
        .bind(package.credits)
        .bind(package.bonus_credits)
        .bind(package.validity_days.map(whole))
        .bind(package.sort_order)
        .bind(package.recommended)
        .bind(package.active)
        .bind(package.purchase_limit.map(whole))
        .bind(package.created_at)
        .bind(package.updated_at)
}
