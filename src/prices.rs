//! What features cost and what is for sale: the part of [`Ledger`] about the catalogue.
//!
//! Cards and packages are kept in the process. A copy is asked for its revision again once it is [`FRESH`] old, in the
//! background, and is not used any more once it is [`EXPIRED`]: so a change is seen within that time, and a busy
//! process waits for no look-up. Versions that begin or end at a later time are part of the copy: those are exact to
//! the microsecond, whatever its age.
//!
//! PostgreSQL also tells of changes ([`Reader::watch`]): the next call then compares before it prices. That makes a change
//! be seen sooner, as a rule; the limits of age are what can be relied on.

use crate::catalogue::CatalogueChange;
use crate::catalogue::{Catalogue, Package, Pricing, SavePackage, SetPricing, Usage};
use crate::clock::Moment;
use crate::error::{Error, Result, Written};
use crate::facade::{Ledger, unexpected};
use crate::ledger::limits::BATCH_COMMANDS_MAX;
use crate::ledger::{
    Action, Confirm, Consume, Consumption, Hold, Late, Lot, Metadata, Outcome, Overage, Priced, Refusal,
    Timestamp,
};
use crate::pricing::{CardText, FrozenError, Quote, RateCard};
use crate::store::{Reader, StoreError, StoreResult};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use uuid::Uuid;

/// A copy of this age is compared with the database, while it is used on.
const FRESH: Duration = Duration::from_millis(250);
/// A copy of this age is not used any more.
const EXPIRED: Duration = Duration::from_millis(1000);
/// How often a change is planned anew because somebody else was quicker.
const TRIES: u32 = 100;

/// The copy of the catalogue that a ledger prices with.
pub(crate) struct Prices {
    reader: Arc<dyn Reader>,
    copy: RwLock<Option<Known>>,
    /// See [`FRESH`].
    fresh: Duration,
    /// See [`EXPIRED`].
    expired: Duration,
    watching: AtomicBool,
    /// How often the database has told of a change.
    told: AtomicU64,
    /// One at a time reads; the others use what that one found.
    reading: tokio::sync::Mutex<()>,
    refreshing: AtomicBool,
}

#[derive(Clone)]
struct Known {
    catalogue: Arc<Catalogue>,
    /// When it was last compared with the database.
    checked: Moment,
    /// What `told` was then: with one that was told of later, this copy has to be compared again.
    told: u64,
}

impl Prices {
    pub(crate) fn new(reader: Arc<dyn Reader>) -> Self {
        Prices::with_ages(reader, FRESH, EXPIRED)
    }

    fn with_ages(reader: Arc<dyn Reader>, fresh: Duration, expired: Duration) -> Self {
        Prices {
            reader,
            copy: RwLock::default(),
            fresh,
            expired,
            watching: AtomicBool::new(false),
            told: AtomicU64::new(0),
            reading: tokio::sync::Mutex::default(),
            refreshing: AtomicBool::new(false),
        }
    }

    fn copy(&self) -> Option<Known> {
        self.copy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a copy may be used: it is younger than this, and no change was told of since.
    fn is_good(&self, copy: &Known, age_max: Duration) -> bool {
        copy.told == self.told.load(Ordering::Acquire) && copy.checked.age() < age_max
    }

    /// A copy that is not older than [`EXPIRED`].
    async fn current(self: &Arc<Self>) -> Result<Arc<Catalogue>> {
        match self.copy().filter(|copy| self.is_good(copy, self.expired)) {
            Some(copy) => {
                if !self.is_good(&copy, self.fresh) && !self.refreshing.swap(true, Ordering::AcqRel) {
                    let prices = Arc::clone(self);
                    tokio::spawn(async move {
                        if let Err(error) = prices.check(prices.fresh).await {
                            tracing::warn!(%error, "the catalogue can't be read");
                        }
                        prices.refreshing.store(false, Ordering::Release);
                    });
                }
                Ok(copy.catalogue)
            }
            None => self.in_task(self.expired).await,
        }
    }

    /// What the database has now.
    async fn newest(self: &Arc<Self>) -> Result<Arc<Catalogue>> {
        self.in_task(Duration::ZERO).await
    }

    /// In a task of its own: a caller that goes away can't leave a connection half-used.
    async fn in_task(self: &Arc<Self>, age_max: Duration) -> Result<Arc<Catalogue>> {
        self.watch();
        let prices = Arc::clone(self);
        match tokio::spawn(async move { prices.check(age_max).await }).await {
            Ok(read) => Ok(read?),
            Err(error) => Err(StoreError::Lost(format!("a read was cut off: {error}")).into()),
        }
    }

    /// Asks to be told of changes, when prices are used for the first time.
    fn watch(self: &Arc<Self>) {
        if !self.watching.swap(true, Ordering::AcqRel) {
            // Whoever watches must not keep the ledger alive, which would keep it watching.
            let prices = Arc::downgrade(self);
            self.reader.watch(Box::new(move || {
                if let Some(prices) = prices.upgrade() {
                    prices.told.fetch_add(1, Ordering::AcqRel);
                }
            }));
        }
    }

    /// Compares the copy with the database, unless somebody else has just done so.
    async fn check(&self, age_max: Duration) -> StoreResult<Arc<Catalogue>> {
        let _reading = self.reading.lock().await;
        let copy = self.copy();
        if let Some(copy) = copy.as_ref().filter(|copy| self.is_good(copy, age_max)) {
            return Ok(Arc::clone(&copy.catalogue));
        }
        // Before the database is asked: what changes or is told of after this counts as not seen yet.
        let (checked, told) = (Moment::now(), self.told.load(Ordering::Acquire));
        let revision = self.reader.revision().await?;
        let before = copy.map(|copy| copy.catalogue);
        let catalogue = match before.as_ref().filter(|before| before.revision == revision) {
            Some(same) => Arc::clone(same),
            None => {
                let rows = self.reader.catalogue().await?;
                Arc::new(Catalogue::read(rows, before.as_deref()))
            }
        };
        *self.copy.write().unwrap_or_else(PoisonError::into_inner) = Some(Known {
            catalogue: Arc::clone(&catalogue),
            checked,
            told,
        });
        Ok(catalogue)
    }

    /// Plans a change on the newest catalogue and writes it; again where somebody else was quicker.
    async fn change<T>(
        self: &Arc<Self>,
        plan: impl Fn(&Catalogue) -> Result<(T, CatalogueChange)>,
    ) -> Result<T> {
        for _ in 0..TRIES {
            let (planned, change) = plan(&*self.newest().await?)?;
            if change.is_empty() {
                return Ok(planned);
            }
            let reader = Arc::clone(&self.reader);
            let written = tokio::spawn(async move { reader.change_catalogue(change).await }).await;
            match written {
                Ok(Ok(true)) => {
                    // Written it is, whether or not it can be read again at once.
                    let _ = self.newest().await;
                    return Ok(planned);
                }
                Ok(Ok(false)) => {}
                Ok(Err(StoreError::Busy(why))) => tracing::debug!(why, "changing the catalogue again"),
                Ok(Err(error @ StoreError::Unknown(_))) => {
                    return Err(Error::store(&error, Written::Unknown));
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(error) => {
                    let error = StoreError::Unknown(format!("a change was cut off: {error}"));
                    return Err(Error::store(&error, Written::Unknown));
                }
            }
        }
        Err(StoreError::Busy("the catalogue is being changed all the time".into()).into())
    }
}

/// A hold for a call of a feature, at the price of its rate card.
///
/// ```
/// use jointo_credits::{PricedConsume, Usage};
/// # let alice = uuid::Uuid::from_u128(1);
/// let request = PricedConsume::new(alice, Usage::of("image_generation").quantity(2)).reference("job-1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PricedConsume {
    user_id: Uuid,
    usage: Usage,
    ttl: Option<Duration>,
    reference: Option<String>,
    metadata: Option<Metadata>,
}

impl PricedConsume {
    /// A hold for `usage`.
    pub fn new(user_id: Uuid, usage: Usage) -> Self {
        PricedConsume {
            user_id,
            usage,
            ttl: None,
            reference: None,
            metadata: None,
        }
    }

    /// How long the hold lives, 1 s to 30 d; the rate card's or the ledger's word without it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The caller's own name for it.
    pub fn reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// The caller's own facts.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

/// One item of [`Ledger::consume_many`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumeItem {
    /// A hold of an amount.
    Amount(Consume),
    /// A hold at the price of a rate card.
    Priced(PricedConsume),
}

impl From<Consume> for ConsumeItem {
    fn from(consume: Consume) -> Self {
        ConsumeItem::Amount(consume)
    }
}

impl From<PricedConsume> for ConsumeItem {
    fn from(consume: PricedConsume) -> Self {
        ConsumeItem::Priced(consume)
    }
}

impl PricedConsume {
    /// The plain request, at a price.
    fn at(self, amount: i64, quote: String, hold_ttl: Option<Duration>) -> Consume {
        Consume {
            user_id: self.user_id,
            amount,
            feature: Some(self.usage.feature().to_owned()),
            ttl: self.ttl,
            reference: self.reference,
            metadata: self.metadata,
            priced: Some(Priced {
                request: self.usage.canonical(),
                quote,
                hold_ttl,
            }),
        }
    }
}

/// The capture of a priced hold, at the price of what was really used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct PricedConfirm {
    consumption_id: Uuid,
    usage: Usage,
    overage: Overage,
    late: Late,
}

impl PricedConfirm {
    /// What was used of a card that meters one quantity.
    pub fn quantity(consumption_id: Uuid, quantity: impl Into<crate::pricing::Decimal>) -> Self {
        PricedConfirm {
            usage: Usage::of("").quantity(quantity),
            ..PricedConfirm::nothing_new(consumption_id)
        }
    }

    /// What was used, by name; the quantities that are not named stay as they were held.
    pub fn metered<'a>(
        consumption_id: Uuid,
        quantities: impl IntoIterator<Item = (&'a str, crate::pricing::Decimal)>,
    ) -> Self {
        let usage = quantities
            .into_iter()
            .fold(Usage::of(""), |usage, (name, quantity)| {
                usage.metered(name, quantity)
            });
        PricedConfirm {
            usage,
            ..PricedConfirm::nothing_new(consumption_id)
        }
    }

    fn nothing_new(consumption_id: Uuid) -> Self {
        PricedConfirm {
            consumption_id,
            usage: Usage::of(""),
            overage: Overage::Reject,
            late: Late::Reject,
        }
    }

    /// What to do when the price is more than is held.
    pub fn overage(mut self, overage: Overage) -> Self {
        self.overage = overage;
        self
    }

    /// What to do when the deadline has passed.
    pub fn late(mut self, late: Late) -> Self {
        self.late = late;
        self
    }
}

/// Credits of one lot that paid for a consumption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidFrom {
    /// The lot, as it is now.
    pub lot: Lot,
    /// Credits from it that are held, or captured and not reversed.
    pub amount: i64,
}

/// Why a consumption cost what it did, and what paid for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The consumption as it stands now.
    pub consumption: Consumption,
    /// The price that was held; `None` where an amount was given.
    pub held: Option<Quote>,
    /// The price of what was really used; `None` where that was not said.
    pub charged: Option<Quote>,
    /// The lots that pay for it, in burn order. What they lack was taken on credit.
    pub lots: Vec<PaidFrom>,
}

impl Ledger {
    /// What a call would cost now, for an account with cards of its own where there are any. Changes nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
    /// use jointo_credits::{Ledger, Usage};
    /// let ledger = Ledger::connect("sqlite::memory:").await?;
    /// ledger.migrate().await?;
    /// ledger.seed_catalog().await?;
    /// let quote = ledger.calculate(&Usage::of("image_generation").quantity(2).attribute("quality", "hd"), None).await?;
    /// assert_eq!(quote.credits(), 12);
    /// # ledger.close().await;
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// `not_found` where no card is in force, `validation` where the card does not price such a call, `unavailable`.
    pub async fn calculate(&self, usage: &Usage, user_id: Option<Uuid>) -> Result<Quote> {
        self.calculate_at(usage, user_id, self.now()).await
    }

    /// What a call cost, or will cost, at a time.
    ///
    /// # Errors
    /// As [`Ledger::calculate`].
    pub async fn calculate_at(&self, usage: &Usage, user_id: Option<Uuid>, at: Timestamp) -> Result<Quote> {
        self.prices().current().await?.quote(usage, user_id, at)
    }

    /// Holds the price of a call. The quote is frozen in the hold: [`Ledger::confirm_priced`] prices by the same card.
    ///
    /// A call may cost nothing; it is held and confirmed like others. With a `key`, what is compared at a repetition is
    /// what was asked for and not its price.
    ///
    /// # Errors
    /// Those of [`Ledger::calculate`] and of [`Ledger::consume`].
    pub async fn consume_priced(&self, consume: PricedConsume, key: Option<&str>) -> Result<Consumption> {
        match self.priced_or_answered(consume, key).await {
            Ok(priced) => self.consume(priced, key).await,
            Err(answer) => answer,
        }
    }

    /// The hold at its price. Where it has none: what its key was answered before, or why it has none.
    async fn priced_or_answered(
        &self,
        consume: PricedConsume,
        key: Option<&str>,
    ) -> std::result::Result<Consume, Result<Consumption>> {
        match (self.price_consume(consume.clone()).await, key) {
            (Ok(priced), _) => Ok(priced),
            (Err(error @ Error::Unavailable { .. }), _) | (Err(error), None) => Err(Err(error)),
            (Err(error), Some(key)) => match self.held_before(consume, key).await {
                Ok(before) => Err(before.unwrap_or(Err(error))),
                Err(failure) => Err(Err(failure)),
            },
        }
    }

    /// Holds credits for many jobs, of an amount or at the price of a rate card. Each is accepted or refused on its own;
    /// results in the same order. What can't be priced any more and has a key that was answered before gets that answer, as
    /// with [`Ledger::consume_priced`].
    ///
    /// # Errors
    /// `validation` where there are more than 1,000; else each result has its own.
    pub async fn consume_many<C: Into<ConsumeItem>>(
        &self,
        items: Vec<(C, Option<String>)>,
    ) -> Result<Vec<Result<Consumption>>> {
        if items.len() > BATCH_COMMANDS_MAX {
            let (problem, given) = ("are too many at once", items.len());
            return Err(Error::invalid("items", problem, BATCH_COMMANDS_MAX, given));
        }
        let mut together = Vec::with_capacity(items.len());
        let mut answers = Vec::with_capacity(items.len());
        for (item, key) in items {
            let priced = match item.into() {
                ConsumeItem::Amount(consume) => Ok(consume),
                ConsumeItem::Priced(consume) => self.priced_or_answered(consume, key.as_deref()).await,
            };
            match priced {
                Ok(consume) => {
                    together.push((consume, key));
                    answers.push(None);
                }
                Err(answer) => answers.push(Some(answer)),
            }
        }
        let mut held = self.hold_together(together).await.into_iter();
        // As many are held as have no answer yet.
        Ok(answers
            .into_iter()
            .filter_map(|answer| answer.or_else(|| held.next()))
            .collect())
    }

    /// The first answer to a call that can't be priced any more (rule **idempotency**: it is the same years later).
    async fn held_before(&self, consume: PricedConsume, key: &str) -> Result<Option<Result<Consumption>>> {
        let user_id = consume.user_id;
        // The price is no part of what is compared.
        let command = Action::Consume(consume.at(0, String::new(), None)).with_key(Some(key));
        command.validate()?;
        let prior = self.prior(user_id, key).await?;
        Ok(prior.map(|prior| match prior.replay(&command.fingerprint())? {
            Outcome::Consumption(consumption) => Ok(consumption),
            other => Err(unexpected(&other)),
        }))
    }

    /// The hold that [`Ledger::consume_priced`] would make now: for a transaction of the caller's.
    ///
    /// # Errors
    /// As [`Ledger::calculate`].
    pub async fn price_consume(&self, consume: PricedConsume) -> Result<Consume> {
        let quote = self.calculate(&consume.usage, Some(consume.user_id)).await?;
        Ok(consume.at(
            quote.credits(),
            quote.to_json(CardText::Omitted),
            quote.card().hold_ttl(),
        ))
    }

    /// Spends the price of what was really used, by the card that the hold was made with.
    ///
    /// # Errors
    /// Those of [`Ledger::confirm`]; `validation` where the hold was not priced, or its card does not price this.
    pub async fn confirm_priced(&self, confirm: PricedConfirm, key: Option<&str>) -> Result<Consumption> {
        let confirm = self.price_confirm(confirm).await?;
        self.confirm(confirm, key).await
    }

    /// The capture that [`Ledger::confirm_priced`] would make: for a transaction of the caller's.
    ///
    /// # Errors
    /// `not_found`, `unavailable`; `validation` where the hold was not priced, or its card does not price this.
    pub async fn price_confirm(&self, confirm: PricedConfirm) -> Result<Confirm> {
        let hold = self.hold(confirm.consumption_id).await?;
        let Some(held) = self.held_quote(&hold).await? else {
            return Err(Error::invalid(
                "quantity",
                "was given for a hold that was not priced by a rate card; confirm an amount",
                "a hold made by consume_priced()",
                hold.consumption_id,
            ));
        };
        let charged = confirm.usage.reprice(&held)?;
        Ok(Confirm {
            consumption_id: confirm.consumption_id,
            amount: Some(charged.credits()),
            overage: confirm.overage,
            late: confirm.late,
            used: Some(confirm.usage.canonical()),
        })
    }

    /// Why a consumption cost what it did, and which lots paid for it.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn explain(&self, consumption_id: Uuid) -> Result<Explanation> {
        let hold = self.hold(consumption_id).await?;
        let held = self.held_quote(&hold).await?;
        let charged = match (&held, &hold.state.used) {
            (Some(held), Some(used)) => {
                let unreadable = || FrozenError::CardNotFound {
                    pricing: held.pricing(),
                };
                let usage = Usage::parse(used).ok_or_else(|| {
                    Error::damaged(format_args!("consumption {consumption_id}"), &unreadable())
                })?;
                Some(usage.reprice(held)?)
            }
            _ => None,
        };
        let consumption = self.as_of_now(hold).await?;
        let (user_id, pins) = (consumption.user_id, consumption.lots.clone());
        let ids = pins.iter().map(|pin| pin.lot_id).collect();
        let found = self
            .read(move |reader| async move { reader.lots(user_id, ids).await })
            .await?;
        let mut found: HashMap<Uuid, Lot> = found.into_iter().map(|lot| (lot.lot_id, lot)).collect();
        let lots = pins.iter().filter_map(|pin| {
            Some(PaidFrom {
                lot: found.remove(&pin.lot_id)?,
                amount: pin.amount,
            })
        });
        Ok(Explanation {
            lots: lots.collect(),
            consumption,
            held,
            charged,
        })
    }

    /// The quote that a hold was made with.
    async fn held_quote(&self, hold: &Hold) -> Result<Option<Quote>> {
        let Some(frozen) = &hold.quote else {
            return Ok(None);
        };
        // A stored card never changes, so any copy that has it will do.
        let copy = self.prices().copy().map(|copy| copy.catalogue);
        let known = copy.and_then(|copy| Quote::from_json(frozen, |pricing| copy.card(pricing)).ok());
        if known.is_some() {
            return Ok(known);
        }
        let newest = self.prices().newest().await?;
        match Quote::from_json(frozen, |pricing| newest.card(pricing)) {
            Ok(quote) => Ok(Some(quote)),
            Err(error) => Err(Error::damaged(
                format_args!("consumption {}", hold.consumption_id),
                &error,
            )),
        }
    }

    /// The packages, in the order in which a shop shows them; those that can't be bought too.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn packages(&self) -> Result<Vec<Package>> {
        Ok(self.prices().current().await?.packages().to_vec())
    }

    /// One package as it is now.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn package(&self, package_id: Uuid) -> Result<Package> {
        let catalogue = self.prices().current().await?;
        let refusal = Refusal::NotFound {
            what: "package",
            id: package_id,
        };
        Ok(catalogue.package(package_id).cloned().ok_or(refusal)?)
    }

    /// Every version of a package, oldest first.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn package_versions(&self, package_id: Uuid) -> Result<Vec<Package>> {
        let versions = self
            .read(move |reader| async move { reader.package_versions(package_id).await })
            .await?;
        if versions.is_empty() {
            // One that somebody made without this library has no history.
            return Ok(vec![self.package(package_id).await?]);
        }
        Ok(versions)
    }

    /// Saves a package: a new one, or a new version of an old one.
    ///
    /// # Errors
    /// `validation`, `not_found`, `unavailable`.
    pub async fn save_package(&self, package: SavePackage) -> Result<Package> {
        self.check_clock().await?;
        let now = self.now();
        self.prices()
            .change(|catalogue| catalogue.save(package.clone(), now))
            .await
    }

    /// Every version of a feature's rate card, or of all features', by feature and version.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn pricing(&self, feature: Option<&str>) -> Result<Vec<Pricing>> {
        Ok(self.prices().current().await?.pricing(feature))
    }

    /// Adds a version of a feature's rate card. Returns it; where that says nothing new, the version that is there: so it is safe to repeat.
    ///
    /// # Errors
    /// `validation` with the path of the fault in the card, or for an instant that has passed; `unavailable`.
    pub async fn set_pricing(&self, pricing: SetPricing) -> Result<Pricing> {
        let card = RateCard::parse(&pricing.card)?;
        self.check_clock().await?;
        let now = self.now();
        let set = self
            .prices()
            .change(|catalogue| {
                let (id, change) = catalogue.set(&pricing, &card, now)?;
                Ok((id, change.unwrap_or_default()))
            })
            .await?;
        let versions = self.prices().current().await?.pricing(Some(card.feature()));
        let found = versions.into_iter().find(|p| p.version.pricing.pricing_id == set);
        found.ok_or_else(|| Error::NotPriced {
            feature: card.feature().to_owned(),
        })
    }

    /// Installs the packages and rate cards that the library comes with, where they are not there yet. What an operator
    /// has changed stays as it is, however often this runs.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn seed_catalog(&self) -> Result<()> {
        self.check_clock().await?;
        let now = self.now();
        self.prices()
            .change(|catalogue| Ok(((), catalogue.seed(now)?)))
            .await
    }
}

#[cfg(test)]
#[cfg(feature = "postgres")]
mod tests {
    use super::*;
    use crate::store::postgres::PostgresStore;
    use crate::store::postgres::tests::in_database;
    use sqlx::{Connection, PgConnection};

    /// Copies that are never too old: only a notification can make them be compared.
    fn ageless(store: PostgresStore) -> Arc<Prices> {
        Arc::new(Prices::with_ages(Arc::new(store), Duration::MAX, Duration::MAX))
    }

    async fn until(mut done: impl AsyncFnMut() -> bool) {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn price(prices: &Arc<Prices>) -> i64 {
        let usage = Usage::of("video");
        let catalogue = prices.current().await.unwrap();
        catalogue.quote(&usage, None, NOW).unwrap().credits()
    }

    async fn set_price(prices: &Arc<Prices>, rate: i64) {
        let card = format!(
            r#"{{"feature": "video", "name": "v", "components": [{{"model": "flat", "rate": {rate}}}]}}"#
        );
        let (set, card) = (SetPricing::new(&card), RateCard::parse(&card).unwrap());
        let change = |catalogue: &Catalogue| {
            let (id, change) = catalogue.set(&set, &card, NOW)?;
            Ok((id, change.unwrap()))
        };
        prices.change(change).await.unwrap();
    }

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
    const CONNECTIONS: &str = "SELECT pid FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'jointo_credits' AND query LIKE $1";

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn postgres_tells_of_a_change() {
        let database = in_database().await;
        let told = |prices: &Arc<Prices>| prices.told.load(Ordering::Acquire);
        let here = ageless(database.another_store().await);
        let there = ageless(database.another_store().await);
        set_price(&here, 1).await;
        assert_eq!(price(&there).await, 1);
        let mut admin = PgConnection::connect(&database.url()).await.unwrap();
        let mut connections = async |query: &'static str| {
            let pids = sqlx::query_scalar::<_, i32>(CONNECTIONS).bind(query);
            pids.fetch_all(&mut admin).await.unwrap()
        };
        // Listening begins with a word that there may have been changes. From then on there is none without a change.
        until(async || told(&here) > 0 && told(&there) > 0).await;
        assert_eq!(price(&there).await, 1);
        let before = told(&there);
        set_price(&here, 3).await;
        until(async || told(&there) > before).await;
        assert_eq!((price(&there).await, price(&here).await), (3, 3));
        // Without a connection nothing is told; a new one makes up for it.
        let before = (told(&here), told(&there));
        for pid in connections("LISTEN%").await {
            let end = format!("SELECT pg_terminate_backend({pid})");
            crate::store::postgres::tests::admin(&database.server, end).await;
        }
        set_price(&here, 5).await;
        until(async || told(&here) > before.0 && told(&there) > before.1).await;
        until(async || connections("LISTEN%").await.len() == 2).await;
        assert_eq!(price(&there).await, 5);
        // The connection ends with the ledger, whether it is closed or only dropped.
        here.reader.close().await.unwrap();
        drop(there);
        until(async || connections("%").await.is_empty()).await;
    }
}
