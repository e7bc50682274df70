//! What is audited of the database as a whole, beside its accounts: the catalogue, what is said of the archive, the schema,
//! and times that only the library writes.

use super::{Fault, FaultKind, Past, Verification};
use crate::anchor::items::items;
use crate::anchor::tree::Leaf;
use crate::catalogue::CatalogueRows;
use crate::catalogue::Package;
use crate::ledger::{Checkpoint, Entry, Hash, Hold, Order, Timestamp};
use crate::pricing::{Decimal, RateCard};
use crate::store::retention::{ArchiveFile, ArchiveKind, may_have_left};
use crate::store::{OddTime, Reader, StoreError, StoreResult, TIMES_NAMED_MAX};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// How often the catalogue is read, where somebody changes it.
const CATALOGUE_TRIES: u32 = 20;

/// What is read beside the snapshot, after it was taken: cards, versions and files are only ever added.
#[derive(Debug)]
pub(crate) struct Facts {
    catalogue: CatalogueRows,
    /// Every version of every package, oldest first.
    versions: Vec<Package>,
    archives: Vec<ArchiveFile>,
    /// What is not as the migrations make it.
    schema: Vec<String>,
    times: Vec<OddTime>,
    archived_sums: BTreeMap<String, i128>,
    now: Timestamp,
}

impl Facts {
    /// The leaves of what is anchored of the catalogue.
    pub(super) fn items(&self) -> BTreeMap<Uuid, Leaf> {
        let items = items(&self.catalogue.cards, &self.versions);
        items.into_iter().map(|leaf| (leaf.user_id, leaf)).collect()
    }

    pub(crate) async fn read(
        reader: &dyn Reader,
        archived_sums: BTreeMap<String, i128>,
        now: Timestamp,
    ) -> StoreResult<Self> {
        let (catalogue, versions) = catalogue(reader).await?;
        Ok(Facts {
            catalogue,
            versions,
            archives: reader.archives().await?,
            schema: reader.inspect().await?.missing,
            times: reader.odd_times().await?,
            archived_sums,
            now,
        })
    }
}

/// Cards, packages and versions of one moment.
pub(crate) async fn catalogue(reader: &dyn Reader) -> StoreResult<(CatalogueRows, Vec<Package>)> {
    for _ in 0..CATALOGUE_TRIES {
        let catalogue = reader.catalogue().await?;
        let versions = reader.package_history().await?;
        if reader.revision().await? == catalogue.revision {
            return Ok((catalogue, versions));
        }
    }
    Err(StoreError::Busy("the catalogue changes all the time".into()))
}

/// The part of a frozen quote that names its card.
#[derive(Deserialize)]
struct Quoted<'a> {
    pricing_id: Option<Uuid>,
    version: Option<u32>,
    #[serde(borrow)]
    card_sha256: Cow<'a, str>,
}

fn fault(user_id: Uuid, id: Option<Uuid>, kind: FaultKind, detail: String) -> Fault {
    Fault {
        user_id,
        seq: None,
        id,
        kind,
        detail,
    }
}

/// What a version of a package costs and brings: price in the minor unit, currency, credits and bonus credits.
type Terms = (Option<i64>, String, i64, i64);

pub(super) struct Whole {
    past: Past,
    /// Version and hash of every rate card.
    cards: HashMap<Uuid, (u32, String)>,
    /// Of every version of every package.
    versions: HashMap<(Uuid, u32), Terms>,
    packages: BTreeSet<Uuid>,
    /// Everything that has left is older.
    archived_before: Option<Timestamp>,
    /// Entries in the files of the archive, of which some may stand in two.
    archived_lines: u64,
    archived_sums: BTreeMap<String, i128>,
    now: Timestamp,
    /// Up to the checkpoints.
    left: u64,
    /// What accounts hold, and what the entries that are there moved; sums.
    holds: i128,
    moved: i128,
    /// What the entries that have left booked on each counter-account.
    booked: BTreeMap<String, i128>,
}

impl Whole {
    pub(super) fn new(facts: Facts, past: Past, found: &mut Verification) -> Self {
        let nobody = Uuid::nil();
        for problem in &facts.schema {
            found.fault(fault(nobody, None, FaultKind::Schema, problem.clone()));
        }
        for time in &facts.times {
            found.fault(Fault {
                user_id: time.user_id,
                seq: time.seq,
                id: time.consumption_id,
                kind: match time.consumption_id {
                    Some(_) => FaultKind::Hold,
                    None => FaultKind::Entry,
                },
                detail: match time.consumption_id {
                    Some(_) => {
                        "its updated_at is earlier than its last change, or later than the account's".into()
                    }
                    None => "it has an updated_at, so it was changed after it was written".into(),
                },
            });
        }
        if facts.times.len() >= TIMES_NAMED_MAX {
            let detail = format!(
                "there are {TIMES_NAMED_MAX} or more rows whose updated_at can't be; no more are named"
            );
            found.fault(fault(nobody, None, FaultKind::Entry, detail));
        }
        check_packages(&facts, found);
        let cards = check_cards(&facts, found);
        check_revision(&facts, found);
        let transactions = || {
            facts
                .archives
                .iter()
                .filter(|file| file.kind == ArchiveKind::Transactions)
        };
        Whole {
            past,
            cards,
            packages: facts.versions.iter().map(|package| package.package_id).collect(),
            versions: facts
                .versions
                .iter()
                .map(|p| {
                    (
                        (p.package_id, p.version),
                        (minor(p.price), p.currency.clone(), p.credits, p.bonus_credits),
                    )
                })
                .collect(),
            archived_before: transactions().map(|file| file.older_than).max(),
            archived_lines: transactions().map(|file| file.lines).sum(),
            archived_sums: facts.archived_sums,
            now: facts.now,
            left: 0,
            holds: 0,
            moved: 0,
            booked: BTreeMap::new(),
        }
    }

    /// What has left of an account is older than some file of the archive.
    pub(super) fn checkpoint(&mut self, checkpoint: &Checkpoint, found: &mut Verification) {
        let account = &checkpoint.account;
        self.left = self.left.saturating_add(account.seq.unsigned_abs());
        if self
            .archived_before
            .is_none_or(|before| account.updated_at >= before)
        {
            let detail = format!(
                "its checkpoint is of {}, and no file in credit_archives has entries of that time",
                account.updated_at
            );
            found.fault(Fault {
                seq: Some(account.seq),
                ..fault(account.user_id, None, FaultKind::Checkpoint, detail)
            });
        }
        if !may_have_left(checkpoint.latest(), self.now) {
            let detail = format!(
                "its checkpoint stands for entries up to {}, which are too young to have left the journal",
                checkpoint.latest()
            );
            found.fault(Fault {
                seq: Some(account.seq),
                ..fault(account.user_id, None, FaultKind::Checkpoint, detail)
            });
        }
    }

    /// `has_left`: whether only the archive has it.
    pub(super) fn entry(&mut self, entry: &Entry, has_left: bool) {
        let change = i128::from(entry.change) + i128::from(entry.held_change);
        if !has_left {
            self.moved += change;
        } else if let Some(sum) = self.booked.get_mut(entry.counter_account.as_ref()) {
            *sum -= change;
        } else {
            self.booked.insert(entry.counter_account.to_string(), -change);
        }
    }

    pub(super) fn account(&mut self, available: i64, held: i64) {
        self.holds += i128::from(available) + i128::from(held);
    }

    /// A price that was frozen names a card that is there, as it was.
    pub(super) fn hold(&self, hold: &Hold, found: &mut Verification) {
        // A host may freeze a text of its own. Whoever changes a quote is found out by the entry, which has it too.
        let quote = hold.quote.as_deref().map(serde_json::from_str::<Quoted<'_>>);
        let Some(Ok(quoted)) = quote else { return };
        let Some(card) = quoted.pricing_id else { return };
        let detail = match self.cards.get(&card) {
            None => format!("rate card {card}, which priced it, is gone"),
            Some((version, hash)) if Some(*version) != quoted.version || *hash != quoted.card_sha256 => {
                format!("rate card {card} is not the one that priced it")
            }
            Some(_) => return,
        };
        let id = Some(hold.consumption_id);
        found.fault(fault(hold.user_id, id, FaultKind::Pricing, detail));
    }

    /// An order is of a version of a package that is there, and costs what that says. (A host may sell what is no package here.)
    pub(super) fn order(&self, order: &Order, found: &mut Verification) {
        if !self.packages.contains(&order.package_id) {
            return;
        }
        let (id, version) = (order.package_id, order.package_version);
        let detail = match self.versions.get(&(id, version)) {
            None => format!("version {version} of package {id}, which it is of, is gone"),
            Some((minor, currency, credits, bonus)) => {
                let same = *minor == Some(order.price.minor)
                    && *currency == order.price.currency
                    && (*credits, *bonus) == (order.credits, order.bonus_credits);
                if same {
                    return;
                }
                format!("version {version} of package {id} is not what was sold")
            }
        };
        found.fault(fault(
            order.user_id,
            Some(order.order_no.0),
            FaultKind::Package,
            detail,
        ));
    }

    /// After the last account.
    pub(super) fn finish(self, found: &mut Verification) {
        let mut archive = |detail: String| found.fault(fault(Uuid::nil(), None, FaultKind::Archive, detail));
        if self.left > self.archived_lines {
            archive(format!(
                "checkpoints stand for {} entries, and the files in credit_archives have {}",
                self.left, self.archived_lines
            ));
        }
        match self.past {
            Past::Checkpoint => {
                let archived: i128 = self.archived_sums.values().sum();
                let total = self.holds - self.moved + archived;
                if total != 0 {
                    archive(format!(
                        "accounts, entries and credit_archived_sums together make {total}, and should make nothing"
                    ));
                }
            }
            Past::Archive => {
                let names: BTreeSet<&String> = self.booked.keys().chain(self.archived_sums.keys()).collect();
                for name in names {
                    let sum = |sums: &BTreeMap<String, i128>| sums.get(name).copied().unwrap_or(0);
                    let (stored, made) = (sum(&self.archived_sums), sum(&self.booked));
                    if stored != made {
                        archive(format!(
                            "credit_archived_sums has {stored} on {name}, and the entries that left booked {made}"
                        ));
                    }
                }
            }
        }
    }
}

/// A price in hundredths.
fn minor(price: Decimal) -> Option<i64> {
    let hundredths = price.checked_mul(Decimal::ONE_HUNDRED)?.normalize();
    (hundredths.scale() == 0)
        .then_some(hundredths.mantissa())
        .and_then(|minor| i64::try_from(minor).ok())
}

/// Versions count from 1 without gaps, and each package is what its last one says.
fn check_packages(facts: &Facts, found: &mut Verification) {
    let mut fault = |id, detail| found.fault(fault(Uuid::nil(), Some(id), FaultKind::Package, detail));
    let mut versions: BTreeMap<Uuid, BTreeMap<u32, &Package>> = BTreeMap::new();
    for version in &facts.versions {
        versions
            .entry(version.package_id)
            .or_default()
            .insert(version.version, version);
    }
    for package in &facts.catalogue.packages {
        let of_package = versions.remove(&package.package_id).unwrap_or_default();
        if let Some(gap) = (1..=package.version).find(|version| !of_package.contains_key(version)) {
            fault(package.package_id, format!("its version {gap} is gone"));
        }
        if of_package
            .get(&package.version)
            .is_some_and(|version| *version != package)
        {
            fault(
                package.package_id,
                format!("it is not what its version {} says", package.version),
            );
        }
        if let Some(later) = of_package.keys().find(|version| **version > package.version) {
            fault(
                package.package_id,
                format!("it is version {}, and has a version {later}", package.version),
            );
        }
    }
    for id in versions.into_keys() {
        fault(id, "it has versions, and its row is gone".into());
    }
}

/// Versions count from 1 without gaps, and every card can be read.
fn check_cards(facts: &Facts, found: &mut Verification) -> HashMap<Uuid, (u32, String)> {
    let mut fault = |id, detail| found.fault(fault(Uuid::nil(), id, FaultKind::Pricing, detail));
    let mut cards = HashMap::new();
    let mut versions: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for row in &facts.catalogue.cards {
        versions.entry(&row.feature).or_default().insert(row.version);
        match RateCard::parse(&row.card) {
            Ok(card) => {
                cards.insert(row.pricing_id, (row.version, Hash(*card.hash()).to_string()));
            }
            Err(error) => {
                cards.insert(row.pricing_id, (row.version, String::new()));
                fault(
                    Some(row.pricing_id),
                    format!("its rate card can't be read: {error}"),
                );
            }
        }
    }
    for (feature, versions) in versions {
        let last = versions.last().copied().unwrap_or(0);
        if let Some(gap) = (1..=last).find(|version| !versions.contains(version)) {
            fault(
                None,
                format!("version {gap} of the rate card of `{feature}` is gone"),
            );
        }
    }
    cards
}

/// The revision has counted at least every instant at which a card or a package was saved.
fn check_revision(facts: &Facts, found: &mut Verification) {
    let cards = facts.catalogue.cards.iter().map(|card| card.created_at);
    let packages = facts.catalogue.packages.iter().map(|package| package.updated_at);
    let saved: BTreeSet<Timestamp> = cards.chain(packages).collect();
    let revision = facts.catalogue.revision;
    if usize::try_from(revision).unwrap_or(0) < saved.len() {
        let detail = format!(
            "the catalogue's revision is {revision}, and it was changed {} times at the least",
            saved.len()
        );
        found.fault(fault(Uuid::nil(), None, FaultKind::Pricing, detail));
    }
}
