//! Packages: what is sold.

use crate::error::{Error, Result};
use crate::ledger::Timestamp;
use crate::ledger::limits::{CREDITS_MAX, REFERENCE_BYTES_MAX, VALIDITY_DAYS_MAX};
use crate::pricing::Decimal;
use uuid::Uuid;

/// The longest description of a package, in bytes of UTF-8.
pub const DESCRIPTION_BYTES_MAX: usize = 4096;

/// A package of credits that can be bought, or could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its id, for ever.
    pub package_id: Uuid,
    /// 1, 2, 3 ... with every change.
    pub version: u32,
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub description: String,
    /// What it costs, in `currency`; at most two digits behind the point.
    pub price: Decimal,
    /// ISO 4217 code.
    pub currency: String,
    /// Credits that are bought.
    pub credits: i64,
    /// Credits on top.
    pub bonus_credits: i64,
    /// How many days the credits live; for ever where `None`.
    pub validity_days: Option<u32>,
    /// Lower stands first.
    pub sort_order: i32,
    /// Whether shops should point it out.
    pub recommended: bool,
    /// Whether it can be bought.
    pub active: bool,
    /// How often one account can buy it.
    pub purchase_limit: Option<u32>,
    /// When it was first saved.
    pub created_at: Timestamp,
    /// When this version was saved.
    pub updated_at: Timestamp,
}

/// A package to save: a new one, or all of an old one anew.
///
/// ```
/// use jointo_credits::{SavePackage, pricing::parse_decimal};
/// let package = SavePackage::new("入门套餐", parse_decimal("9.90")?, 100).bonus_credits(10).validity_days(365);
/// assert_eq!(package.currency, "CNY");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct SavePackage {
    /// Which one to change; a new one where `None`.
    pub package_id: Option<Uuid>,
    /// See [`Package::name`]: 1 to 255 bytes.
    pub name: String,
    /// See [`Package::description`].
    pub description: String,
    /// See [`Package::price`].
    pub price: Decimal,
    /// See [`Package::currency`]; CNY by default.
    pub currency: String,
    /// See [`Package::credits`].
    pub credits: i64,
    /// See [`Package::bonus_credits`].
    pub bonus_credits: i64,
    /// See [`Package::validity_days`].
    pub validity_days: Option<u32>,
    /// See [`Package::sort_order`].
    pub sort_order: i32,
    /// See [`Package::recommended`].
    pub recommended: bool,
    /// See [`Package::active`].
    pub active: bool,
    /// See [`Package::purchase_limit`].
    pub purchase_limit: Option<u32>,
}

impl SavePackage {
    /// A new package that can be bought, in CNY, whose credits never expire.
    pub fn new(name: impl Into<String>, price: Decimal, credits: i64) -> Self {
        SavePackage {
            package_id: None,
            name: name.into(),
            description: String::new(),
            price,
            currency: "CNY".into(),
            credits,
            bonus_credits: 0,
            validity_days: None,
            sort_order: 0,
            recommended: false,
            active: true,
            purchase_limit: None,
        }
    }

    /// A package as it is, to change something about it.
    pub fn of(package: &Package) -> Self {
        SavePackage {
            package_id: Some(package.package_id),
            name: package.name.clone(),
            description: package.description.clone(),
            price: package.price,
            currency: package.currency.clone(),
            credits: package.credits,
            bonus_credits: package.bonus_credits,
            validity_days: package.validity_days,
            sort_order: package.sort_order,
            recommended: package.recommended,
            active: package.active,
            purchase_limit: package.purchase_limit,
        }
    }

    /// What it is good for.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// ISO 4217 code.
    pub fn currency(mut self, currency: impl Into<String>) -> Self {
        self.currency = currency.into();
        self
    }

    pub(super) fn validate(&self) -> Result<()> {
        text("name", &self.name, REFERENCE_BYTES_MAX)?;
        if self.name.trim().is_empty() {
            return Err(Error::invalid(
                "name",
                "must say something",
                "1 character or more",
                "nothing",
            ));
        }
        text("description", &self.description, DESCRIPTION_BYTES_MAX)?;
        let price = self.price.normalize();
        if price.is_sign_negative() || price.scale() > 2 || price > Decimal::from(CREDITS_MAX / 100) {
            return Err(Error::invalid(
                "price",
                "must be an amount of money with at most two digits behind the point",
                format!("0 .. {}", CREDITS_MAX / 100),
                self.price,
            ));
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            let given: String = self.currency.chars().take(16).collect();
            return Err(Error::invalid(
                "currency",
                "needs an ISO 4217 code",
                "three capital letters",
                given,
            ));
        }
        between("credits", self.credits, 1, CREDITS_MAX)?;
        between("bonus_credits", self.bonus_credits, 0, CREDITS_MAX - self.credits)?;
        if let Some(days) = self.validity_days {
            between("validity_days", days.into(), 1, VALIDITY_DAYS_MAX.into())?;
        }
        if let Some(limit) = self.purchase_limit {
            between("purchase_limit", limit.into(), 1, i32::MAX.into())?;
        }
        Ok(())
    }

    pub(super) fn saved(self, package_id: Uuid, old: Option<&Package>, now: Timestamp) -> Package {
        Package {
            package_id,
            version: old.map_or(1, |old| old.version + 1),
            name: self.name,
            description: self.description,
            price: self.price.normalize(),
            currency: self.currency,
            credits: self.credits,
            bonus_credits: self.bonus_credits,
            validity_days: self.validity_days,
            sort_order: self.sort_order,
            recommended: self.recommended,
            active: self.active,
            purchase_limit: self.purchase_limit,
            created_at: old.map_or(now, |old| old.created_at),
            updated_at: now,
        }
    }
}

fn text(field: &'static str, text: &str, bytes_max: usize) -> Result<()> {
    if text.len() > bytes_max {
        let (limit, given) = (format!("{bytes_max} bytes"), format!("{} bytes", text.len()));
        return Err(Error::invalid(field, "is too long", limit, given));
    }
    if text.contains('\0') {
        let problem = "must not contain a NUL character";
        return Err(Error::invalid(
            field,
            problem,
            "text without NUL",
            "text with NUL",
        ));
    }
    Ok(())
}

fn between(field: &'static str, n: i64, min: i64, max: i64) -> Result<()> {
    if (min..=max).contains(&n) {
        Ok(())
    } else {
        Err(Error::invalid(
            field,
            "is out of range",
            format!("{min} .. {max}"),
            n,
        ))
    }
}

with!(SavePackage {
    /// Credits on top.
    bonus_credits: i64,
    /// How many days the credits live.
    validity_days: u32 => Some,
    /// Lower stands first.
    sort_order: i32,
    /// Whether shops should point it out.
    recommended: bool,
    /// Whether it can be bought.
    active: bool,
    /// How often one account can buy it.
    purchase_limit: u32 => Some,
});
