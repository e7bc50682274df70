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

mod change;
mod package;
mod pricing;
mod usage;

pub(crate) use change::{CardRow, CatalogueChange, CatalogueRows};
pub use package::{Package, SavePackage};
pub use pricing::{Pricing, SetPricing};
pub use usage::Usage;

use crate::error::{Error, Result};
use crate::ledger::{Hash, Refusal, Timestamp};
use crate::pricing::shipped::{CARDS, PACKAGES};
use crate::pricing::{CardError, CardVersion, InForce, PricingRef, Quote, RateCard, in_force};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// How long ago the instant may lie from which a new rate card counts; it is then taken for now.
pub const LENIENCE: Duration = Duration::from_secs(60);

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
