//! What is for sale and what features cost: packages and rate cards, as a ledger keeps them.
//!
//! # Rules
//!
//! - A rate card is never edited. [`SetPricing`] adds a version that counts from an instant; it can't lie in the past,
//!   since what a call cost then has been charged. (Up to [`LENIENCE`] ago counts as now: the caller's clock, and the
//!   time it takes to ask.)
//! - Setting the card that is in force anyway, for as long as it is, adds nothing: a program may set its prices whenever
//!   it starts. Nor does a card of which the version that counts from `effective_from` says the same: so each call is
//!   safe to repeat, also after its time has come.
//! - A card that says `retired` ends its feature's price: from then on there is none. So does one for an account, for it.
//! - A package has an id for ever and a version that goes up with every change; every version is kept.
//! - Changes of the catalogue need no idempotency key, which belongs to an account's journal and there is no account here.
//!   They are safe to repeat by what they say: saving a package that is there in every field, or setting the card that
//!   is in force, adds nothing and returns what is there.
//! - [`seed`] adds what is not there, by id (packages) or feature (cards), and never changes what is.
//!
//! # How this can go wrong
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | two operators change the catalogue at once | a change names the revision it was planned on, and is planned again where that has passed |
//! | a process prices with a card that is no longer in force | the copy in `prices.rs` is compared with the database, and not used once it is a second old; versions that begin or end later are known before |
//! | a stored card can't be read any more | it is an error for its feature only, and until a newer version counts |
//! | the clocks of two operators differ | who comes second counts from no earlier than the first, up to [`LENIENCE`] |

use crate::error::{Error, Result};
use crate::ledger::limits::{CREDITS_MAX, REFERENCE_BYTES_MAX, VALIDITY_DAYS_MAX};
use crate::ledger::{Hash, Refusal, Timestamp};
use crate::pricing::shipped::{CARDS, PACKAGES};
use crate::pricing::{
    CardError, CardVersion, Decimal, InForce, PricingRef, Quantities, Quote, RateCard, in_force,
};
use crate::store::{CardRow, CatalogueChange, CatalogueRows};
use compact_str::CompactString;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long ago the instant may lie from which a new rate card counts; it is then taken for now.
pub const LENIENCE: Duration = Duration::from_secs(60);
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

macro_rules! with {
    ($name:ident { $($(#[$doc:meta])* $field:ident: $kind:ty $(=> $wrap:path)?),+ $(,)? }) => {
        impl $name {
            $($(#[$doc])*
            pub fn $field(mut self, $field: $kind) -> Self {
                self.$field = $($wrap)?($field);
                self
            })+
        }
    };
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

    fn validate(&self) -> Result<()> {
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

    fn saved(self, package_id: Uuid, old: Option<&Package>, now: Timestamp) -> Package {
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

/// A new version of a feature's rate card.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct SetPricing {
    /// The card, as JSON (docs/rate-card.schema.json). It names the feature.
    pub card: String,
    /// The account it is for; everybody where `None`.
    pub user_id: Option<Uuid>,
    /// From when it counts; from now on where `None`.
    pub effective_from: Option<Timestamp>,
    /// Until when; as long as no later one counts where `None`.
    pub effective_until: Option<Timestamp>,
}

impl SetPricing {
    /// A card for everybody, from now on.
    pub fn new(card: impl Into<String>) -> Self {
        SetPricing {
            card: card.into(),
            user_id: None,
            effective_from: None,
            effective_until: None,
        }
    }
}

with!(SetPricing {
    /// The account it is for.
    user_id: Uuid => Some,
    /// From when it counts.
    effective_from: Timestamp => Some,
    /// Until when.
    effective_until: Timestamp => Some,
});

/// A stored rate card, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pricing {
    /// Its id, version, dates and card.
    pub version: CardVersion,
    /// When it was added.
    pub created_at: Timestamp,
}

/// A call to be priced: a feature, how much of it, and what the price depends on.
///
/// ```
/// use jointo_credits::Usage;
/// let usage = Usage::of("text_processing").metered("input_tokens", 1200).metered("output_tokens", 700);
/// let images = Usage::of("image_generation").quantity(2).attribute("quality", "hd");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Usage {
    feature: CompactString,
    quantity: Option<Decimal>,
    metered: SmallVec<[(CompactString, Decimal); 2]>,
    attributes: SmallVec<[(CompactString, CompactString); 2]>,
}

impl Usage {
    /// One call of a feature whose quantities are not known yet.
    pub fn of(feature: impl AsRef<str>) -> Self {
        Usage {
            feature: feature.as_ref().into(),
            quantity: None,
            metered: SmallVec::new(),
            attributes: SmallVec::new(),
        }
    }

    /// How much, for a card that meters one quantity.
    pub fn quantity(mut self, quantity: impl Into<Decimal>) -> Self {
        self.quantity = Some(quantity.into());
        self
    }

    /// How much of one of the card's quantities, by name.
    pub fn metered(mut self, name: impl AsRef<str>, quantity: impl Into<Decimal>) -> Self {
        self.metered.push((name.as_ref().into(), quantity.into()));
        self
    }

    /// What the price depends on.
    pub fn attribute(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        (self.attributes).push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    pub(crate) fn feature(&self) -> &str {
        &self.feature
    }

    /// Refuses what says both how much, and how much of what.
    fn quantities<T>(&self, then: impl FnOnce(Quantities<'_>) -> T) -> Result<T> {
        let named: SmallVec<[(&str, Decimal); 4]> =
            self.metered.iter().map(|(n, q)| (n.as_str(), *q)).collect();
        match (self.quantity, named.is_empty()) {
            (Some(_), false) => Err(Error::invalid(
                "quantity",
                "was given both without a name and with names",
                "one of the two",
                "both",
            )),
            (Some(quantity), true) => Ok(then(Quantities::One(quantity))),
            (None, true) => Ok(then(Quantities::Unknown)),
            (None, false) => Ok(then(Quantities::Named(&named))),
        }
    }

    fn price(&self, version: &CardVersion) -> Result<Quote> {
        let attributes: SmallVec<[(&str, &str); 4]> = self
            .attributes
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        Ok(self.quantities(|quantities| version.quote(quantities, &attributes))??)
    }

    /// The price once more, with these quantities.
    pub(crate) fn reprice(&self, held: &Quote) -> Result<Quote> {
        Ok(self.quantities(|quantities| held.reprice(quantities))??)
    }

    /// The same text for the same request, in whatever order it was put together.
    pub(crate) fn canonical(&self) -> String {
        let quantity = |q: &Decimal| serde_json::Value::String(q.normalize().to_string());
        let metered: BTreeMap<&str, _> = self
            .metered
            .iter()
            .map(|(n, q)| (n.as_str(), quantity(q)))
            .collect();
        let attributes: BTreeMap<&str, &str> = self
            .attributes
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        serde_json::json!({
            "attributes": attributes,
            "feature": self.feature(),
            "metered": metered,
            "quantity": self.quantity.as_ref().map(quantity),
        })
        .to_string()
    }

    /// What [`Usage::canonical`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        struct Form {
            attributes: BTreeMap<String, String>,
            feature: String,
            metered: BTreeMap<String, String>,
            quantity: Option<String>,
        }
        let form: Form = serde_json::from_str(text).ok()?;
        let number = |text: &str| crate::pricing::parse_decimal(text).ok();
        Some(Usage {
            feature: form.feature.into(),
            quantity: form
                .quantity
                .as_deref()
                .map(number)
                .map_or(Some(None), |n| n.map(Some))?,
            metered: (form.metered.into_iter())
                .map(|(name, text)| Some((name.into(), number(&text)?)))
                .collect::<Option<_>>()?,
            attributes: (form.attributes.into_iter())
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        })
    }
}

/// A version whose card can't be read: what it would say must not be made up of an older one.
#[derive(Debug)]
struct Unreadable {
    version: u32,
    account: Option<Uuid>,
    effective_from: Timestamp,
    effective_until: Option<Timestamp>,
    error: CardError,
}

impl Unreadable {
    /// Whether it would stand in front of `found`, now or when it begins.
    fn comes_before(&self, found: Option<&CardVersion>) -> bool {
        let rank = (self.account.is_some(), self.effective_from, self.version);
        found.is_none_or(|v| rank > (v.account.is_some(), v.effective_from, v.pricing.version))
    }

    fn has_ended(&self, at: Timestamp) -> bool {
        self.effective_until.is_some_and(|until| until <= at)
    }
}

/// The catalogue as this process last read it.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) revision: i64,
    /// By feature.
    versions: HashMap<String, Vec<CardVersion>>,
    by_id: HashMap<Uuid, Arc<RateCard>>,
    created: HashMap<Uuid, Timestamp>,
    /// Versions whose cards can't be read, by feature.
    unreadable: HashMap<String, Vec<Unreadable>>,
    /// In the order in which a shop shows them.
    packages: Vec<Package>,
}

impl Catalogue {
    /// Parses what `before` has not parsed already.
    pub(crate) fn read(rows: CatalogueRows, before: Option<&Catalogue>) -> Self {
        let mut catalogue = Catalogue {
            revision: rows.revision,
            versions: HashMap::new(),
            by_id: HashMap::new(),
            created: HashMap::new(),
            unreadable: HashMap::new(),
            packages: rows.packages,
        };
        catalogue.packages.sort_by_key(|p| (p.sort_order, p.package_id));
        for row in rows.cards {
            // A stored card never changes.
            let card = match before.and_then(|before| before.by_id.get(&row.pricing_id)) {
                Some(card) => Arc::clone(card),
                None => match RateCard::parse(&row.card) {
                    Ok(card) => Arc::new(card),
                    Err(error) => {
                        tracing::error!(feature = row.feature, version = row.version, %error, "a stored rate card can't be read");
                        let unreadable = Unreadable {
                            version: row.version,
                            account: row.user_id,
                            effective_from: row.effective_from,
                            effective_until: row.effective_until,
                            error,
                        };
                        catalogue
                            .unreadable
                            .entry(row.feature)
                            .or_default()
                            .push(unreadable);
                        continue;
                    }
                },
            };
            catalogue.by_id.insert(row.pricing_id, Arc::clone(&card));
            catalogue.created.insert(row.pricing_id, row.created_at);
            catalogue
                .versions
                .entry(row.feature)
                .or_default()
                .push(CardVersion {
                    pricing: PricingRef {
                        pricing_id: row.pricing_id,
                        version: row.version,
                    },
                    account: row.user_id,
                    effective_from: row.effective_from,
                    effective_until: row.effective_until,
                    card,
                });
        }
        catalogue
    }

    fn versions(&self, feature: &str) -> &[CardVersion] {
        self.versions.get(feature).map_or(&[], Vec::as_slice)
    }

    fn unreadable(&self, feature: &str) -> &[Unreadable] {
        self.unreadable.get(feature).map_or(&[], Vec::as_slice)
    }

    /// The number of a feature's next version, which no other one has, readable or not.
    fn next_version(&self, feature: &str) -> u32 {
        let readable = self.versions(feature).iter().map(|v| v.pricing.version);
        let unreadable = self.unreadable(feature).iter().map(|v| v.version);
        readable.chain(unreadable).max().unwrap_or(0) + 1
    }

    /// From when a card counts that is set at `now`: no earlier than one that was set before it, by a clock that is a
    /// little ahead. That one would stand in front of it otherwise, for good. One that was told to wait stays one.
    fn begins(&self, feature: &str, account: Option<Uuid>, now: Timestamp) -> Timestamp {
        let set_at_once = |v: &&CardVersion| {
            v.account == account && self.created.get(&v.pricing.pricing_id) == Some(&v.effective_from)
        };
        (self.versions(feature).iter().filter(set_at_once))
            .map(|v| v.effective_from)
            .filter(|begun| *begun <= now.plus(LENIENCE))
            .fold(now, Timestamp::max)
    }

    pub(crate) fn card(&self, pricing: PricingRef) -> Option<Arc<RateCard>> {
        self.by_id.get(&pricing.pricing_id).cloned()
    }

    /// What `usage` costs `account` at `at`.
    pub(crate) fn quote(&self, usage: &Usage, account: Option<Uuid>, at: Timestamp) -> Result<Quote> {
        let feature = usage.feature();
        let InForce { version, .. } = in_force(self.versions(feature), account, at);
        let damaged = self.unreadable(feature).iter().find(|u| {
            let relevant = u.account.is_none() || u.account == account;
            relevant && u.effective_from <= at && !u.has_ended(at) && u.comes_before(version)
        });
        if let Some(damaged) = damaged {
            return Err(Error::damaged(
                format_args!("the rate card of {feature}"),
                &damaged.error.clone().into(),
            ));
        }
        match version {
            Some(version) if !version.card.is_retired() => usage.price(version),
            _ => Err(Error::NotPriced {
                feature: feature.chars().take(64).collect(),
            }),
        }
    }

    /// Every version of one feature's card, or of all, by feature and version.
    pub(crate) fn pricing(&self, feature: Option<&str>) -> Vec<Pricing> {
        let mut features: Vec<&String> = self.versions.keys().collect();
        features.retain(|name| feature.is_none_or(|wanted| wanted == name.as_str()));
        features.sort_unstable();
        (features.into_iter())
            .flat_map(|name| self.versions(name))
            .map(|version| Pricing {
                version: version.clone(),
                created_at: (self.created.get(&version.pricing.pricing_id).copied())
                    .unwrap_or(version.effective_from),
            })
            .collect()
    }

    pub(crate) fn packages(&self) -> &[Package] {
        &self.packages
    }

    pub(crate) fn package(&self, package_id: Uuid) -> Option<&Package> {
        self.packages.iter().find(|p| p.package_id == package_id)
    }

    // Changes, planned on this revision.

    fn change(&self) -> CatalogueChange {
        CatalogueChange {
            expected_revision: self.revision,
            ..CatalogueChange::default()
        }
    }

    /// An id for something new: a UUID version 7 whose random bits are a hash of what is unique already.
    fn new_id(&self, name: &str, now: Timestamp) -> Uuid {
        let hash = Hash::of(format!("{} {} {name}", self.revision, now.as_micros()).as_bytes());
        let mut bytes = [0; 16];
        bytes
            .iter_mut()
            .zip(hash.0)
            .for_each(|(byte, random)| *byte = random);
        let millis = now.as_micros().max(0).unsigned_abs() / 1_000;
        let (high, low) = Uuid::from_bytes(bytes).as_u64_pair();
        Uuid::from_u64_pair(
            (millis << 16) | 0x7000 | (high & 0xFFF),
            (0b10 << 62) | (low & (u64::MAX >> 2)),
        )
    }

    /// A package, saved; nothing to write where it is there as it is.
    pub(crate) fn save(&self, package: SavePackage, now: Timestamp) -> Result<(Package, CatalogueChange)> {
        package.validate()?;
        let old = match package.package_id {
            None => None,
            Some(id) => Some(
                self.package(id)
                    .ok_or(Refusal::NotFound { what: "package", id })?,
            ),
        };
        // Also of a new one: the answer to the first call may have been lost.
        let is_there = |there: &&Package| {
            let as_new = SavePackage {
                package_id: package.package_id,
                ..SavePackage::of(there)
            };
            as_new == package
        };
        let same = match old {
            Some(old) => Some(old).filter(is_there),
            None => self.packages.iter().find(is_there),
        };
        if let Some(same) = same {
            return Ok((same.clone(), CatalogueChange::default()));
        }
        let package_id = old.map_or_else(|| self.new_id(&package.name, now), |old| old.package_id);
        let saved = package.saved(package_id, old, now);
        let change = CatalogueChange {
            packages: vec![saved.clone()],
            ..self.change()
        };
        Ok((saved, change))
    }

    /// The version that says already what is asked for: the first call's, where that was repeated.
    fn set_before(&self, set: &SetPricing, card: &RateCard, now: Timestamp) -> Option<Uuid> {
        // What may be taken for now is.
        let from = set
            .effective_from
            .filter(|from| *from >= now || from.plus(LENIENCE) < now);
        let at = from.unwrap_or(now);
        let own: Vec<CardVersion> = self
            .versions(card.feature())
            .iter()
            .filter(|v| v.account == set.user_id)
            .cloned()
            .collect();
        let InForce { version, until } = in_force(&own, set.user_id, at);
        let damaged = self
            .unreadable(card.feature())
            .iter()
            .any(|u| u.account == set.user_id && !u.has_ended(at) && u.comes_before(version));
        let same = version.filter(|v| match from {
            Some(from) => v.effective_from == from && v.effective_until == set.effective_until,
            None => until == set.effective_until,
        });
        same.filter(|v| !damaged && v.card.hash() == card.hash())
            .map(|v| v.pricing.pricing_id)
    }

    /// A card, added; nothing to write where that is set already.
    pub(crate) fn set(
        &self,
        set: &SetPricing,
        card: &RateCard,
        now: Timestamp,
    ) -> Result<(Uuid, Option<CatalogueChange>)> {
        if let Some(same) = self.set_before(set, card, now) {
            return Ok((same, None));
        }
        let begins = self.begins(card.feature(), set.user_id, now);
        let effective_from = match set.effective_from {
            None => begins,
            Some(from) if from >= now => from,
            Some(from) if from.plus(LENIENCE) >= now => begins,
            Some(from) => {
                return Err(Error::invalid(
                    "effective_from",
                    "has passed, and what was charged since can't be priced anew",
                    now,
                    from,
                ));
            }
        };
        if let Some(until) = set.effective_until.filter(|until| *until <= effective_from) {
            let problem = "must be later than effective_from";
            return Err(Error::invalid("effective_until", problem, effective_from, until));
        }
        for (field, t) in [
            ("effective_from", Some(effective_from)),
            ("effective_until", set.effective_until),
        ] {
            if let Some(t) = t.filter(|t| !t.in_range()) {
                let limit = format!("{} .. {}", Timestamp::MIN, Timestamp::MAX);
                return Err(Error::invalid(field, "is out of range", limit, t));
            }
        }
        let pricing_id = self.new_id(card.feature(), now);
        let row = CardRow {
            pricing_id,
            feature: card.feature().to_owned(),
            version: self.next_version(card.feature()),
            name: card.name().to_owned(),
            card: card.canonical_json().to_owned(),
            user_id: set.user_id,
            effective_from,
            effective_until: set.effective_until,
            created_at: now,
        };
        let change = CatalogueChange {
            cards: vec![row],
            ..self.change()
        };
        Ok((pricing_id, Some(change)))
    }

    /// What the shipped catalogue has and this one has not.
    pub(crate) fn seed(&self, now: Timestamp) -> Result<CatalogueChange> {
        let mut change = self.change();
        for package in PACKAGES.iter().filter(|p| self.package(p.id).is_none()) {
            let new = SavePackage::new(package.name, package.price, package.credits)
                .description(package.description)
                .currency(package.currency)
                .bonus_credits(package.bonus_credits)
                .sort_order(package.sort_order)
                .recommended(package.recommended);
            change.packages.push(new.saved(package.id, None, now));
        }
        for shipped in &CARDS {
            let versions = self.versions(shipped.feature);
            if versions.iter().any(|v| v.account.is_none()) || self.unreadable.contains_key(shipped.feature) {
                continue;
            }
            let card = RateCard::parse(shipped.json)?;
            change.cards.push(CardRow {
                pricing_id: shipped.id,
                feature: shipped.feature.into(),
                version: self.next_version(shipped.feature),
                name: card.name().to_owned(),
                card: card.canonical_json().to_owned(),
                user_id: None,
                effective_from: now,
                effective_until: None,
                created_at: now,
            });
        }
        Ok(change)
    }
}
