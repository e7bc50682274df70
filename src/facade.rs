//! [`Ledger`]: the one thing that programs and bindings call.

use crate::cache::{Balances, Known, LookedUp, Read};
use crate::clock::Clock;
use crate::engine::{Engine, Stage};
use crate::error::{Error, Result};
use crate::ledger::{
    Action, Adjust, Balance, Clawback, ClawbackReceipt, Command, Confirm, Consume, Consumption, Entry,
    Extend, Gift, Grant, Hold, Kind, Matured, Outcome, Prior, Receipt, Refund, Refusal, Rules,
    SetCreditLimit, State, Status, Timestamp, apply, mature, mature_loaded,
};
use crate::payments::Channel;
use crate::prices::Prices;
use crate::settings::Settings;
use crate::statement::last_before;
use crate::store::{
    ClockBound, Due, EntryFilter, Extent, HoldFilter, LoadedAccount, Reader, Snapshot, StoreResult,
};
use crate::url::Location;
use crate::verify::{self, TrialBalance, Verification};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The most lines on one page.
pub const PAGE_LINES_MAX: usize = 1_000;
/// How many accounts a sweep hands to the engine at a time: small, so that live traffic waits for one batch at the most.
const SWEEP_ACCOUNTS: usize = 64;
/// How many open lots and borrowing holds a balance reads where something that is due takes some of them.
const OUTLINE_ROWS: usize = 512;
/// How many entries a balance as of a time reads at once.
const JOURNAL_PAGE: usize = 5_000;

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The lines.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last one.
    pub next_cursor: Option<String>,
}

/// Which lines of a journal are wanted.
#[derive(Debug, Clone)]
pub struct TransactionFilter {
    /// Only this kind.
    pub kind: Option<Kind>,
    /// From this time on: after the last entry from before it.
    pub since: Option<Timestamp>,
    /// Before this time: up to the last entry from before it. As in a [`Ledger::statement`], one with another time may stand
    /// between two of the interval where clocks differ.
    pub until: Option<Timestamp>,
    /// How many, 1 to [`PAGE_LINES_MAX`].
    pub limit: usize,
    /// The page before's `next_cursor`.
    pub cursor: Option<String>,
}

impl Default for TransactionFilter {
    fn default() -> Self {
        TransactionFilter {
            kind: None,
            since: None,
            until: None,
            limit: 50,
            cursor: None,
        }
    }
}

/// Which consumptions are wanted.
#[derive(Debug, Clone)]
pub struct ConsumptionFilter {
    /// Only those that stand like this now.
    pub status: Option<Status>,
    /// How many, 1 to [`PAGE_LINES_MAX`].
    pub limit: usize,
    /// The page before's `next_cursor`.
    pub cursor: Option<String>,
}

impl Default for ConsumptionFilter {
    fn default() -> Self {
        ConsumptionFilter {
            status: None,
            limit: 50,
            cursor: None,
        }
    }
}

/// A ledger in a database. Cheap to clone; all clones share queues and connections.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    reader: Arc<dyn Reader>,
    prices: Arc<Prices>,
    cache: Option<Arc<Balances>>,
    clock: Arc<dyn Clock>,
    channels: BTreeMap<String, Arc<dyn Channel>>,
    rules: Rules,
    /// How far the database's clock may be from `clock`.
    max_clock_skew: Option<Duration>,
    #[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
    lots_first: usize,
    /// The schema that the tables are in, once it is known.
    #[cfg(feature = "postgres")]
    schema: std::sync::OnceLock<String>,
    #[cfg(feature = "postgres")]
    pgbouncer: bool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger")
            .field("rules", &self.inner.rules)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Opens the ledger. The tables need not be there yet: see [`Ledger::migrate`].
    ///
    /// Must be called inside a tokio runtime, which must live as long as the ledger is used.
    ///
    /// # Errors
    /// [`Error::Refused`] with a `validation` reason that names the setting or the `url`;
    /// [`Error::Unavailable`] where the database can't be reached or opened.
    pub async fn connect(mut self) -> Result<Ledger> {
        let engine = self.engine();
        let max_clock_skew = engine.max_clock_skew;
        let clock = Arc::clone(&self.clock);
        let location = self.validate()?;
        let cache = match self.cache.take() {
            Some(cache) => Some(Arc::new(cache.open().await?)),
            None => None,
        };
        let (engine, reader): (Engine, Arc<dyn Reader>) = match location {
            Location::Memory => {
                let store = crate::store::memory::MemoryStore::new();
                (
                    Engine::start(
                        vec![store.committer()],
                        Stage::Thread,
                        &engine,
                        Arc::clone(&clock),
                        cache.clone(),
                    )?,
                    Arc::new(store),
                )
            }
            #[cfg(feature = "sqlite")]
            Location::Sqlite(location) => {
                let settings = crate::store::sqlite::SqliteSettings {
                    max_connections: self.max_connections as usize,
                    busy_timeout: self.connect_timeout_or_default(),
                };
                let store = crate::store::sqlite::SqliteStore::open(location, settings)?;
                (
                    Engine::start(
                        vec![store.committer()],
                        Stage::Thread,
                        &engine,
                        Arc::clone(&clock),
                        cache.clone(),
                    )?,
                    Arc::new(store),
                )
            }
            #[cfg(feature = "postgres")]
            Location::Postgres(options) => {
                use crate::store::postgres::{PostgresSettings, PostgresStore};
                let store = PostgresStore::connect(PostgresSettings {
                    options: *options,
                    schema: self.schema.clone(),
                    pgbouncer: self.pgbouncer,
                    max_connections: self.max_connections,
                    max_clock_skew,
                    connect_timeout: self.connect_timeout_or_default(),
                })
                .await?;
                let committers = (0..self.committers).map(|_| store.committer()).collect();
                (
                    Engine::start(
                        committers,
                        Stage::Task,
                        &engine,
                        Arc::clone(&clock),
                        cache.clone(),
                    )?,
                    Arc::new(store),
                )
            }
        };
        Ok(Ledger {
            inner: Arc::new(Inner {
                engine,
                prices: Arc::new(Prices::new(Arc::clone(&reader))),
                reader,
                cache,
                clock,
                channels: self.channels,
                rules: self.rules,
                max_clock_skew,
                #[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
                lots_first: self.lots_first,
                #[cfg(feature = "postgres")]
                schema: self.schema.map_or_else(std::sync::OnceLock::new, Into::into),
                #[cfg(feature = "postgres")]
                pgbouncer: self.pgbouncer,
            }),
        })
    }
}

/// The commands, for everything that has a `run`: documented once, the same everywhere.
macro_rules! commands {
    ($this:ty) => {
        /// Grants credits. `key` makes repeating it safe.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `unavailable`.
        pub async fn grant(self: $this, grant: Grant, key: Option<&str>) -> Result<Receipt> {
            self.receipt(Action::Grant(grant), key).await
        }

        /// Grants credits as a present, and writes it into the register of gifts.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `unavailable`.
        pub async fn gift(self: $this, gift: Gift, key: Option<&str>) -> Result<Receipt> {
            self.receipt(Action::Gift(gift), key).await
        }

        /// Corrects a balance.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `insufficient_credits`, `unavailable`.
        pub async fn adjust(self: $this, adjust: Adjust, key: Option<&str>) -> Result<Receipt> {
            self.receipt(Action::Adjust(adjust), key).await
        }

        /// Sets how far below zero `consume` may take the balance.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `unavailable`.
        pub async fn set_credit_limit(
            self: $this,
            limit: SetCreditLimit,
            key: Option<&str>,
        ) -> Result<Receipt> {
            self.receipt(Action::SetCreditLimit(limit), key).await
        }

        /// Takes granted credits back.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `not_found`, `unavailable`.
        pub async fn clawback(self: $this, clawback: Clawback, key: Option<&str>) -> Result<ClawbackReceipt> {
            match self.run(Action::Clawback(clawback).with_key(key)).await? {
                Outcome::Clawback(receipt) => Ok(receipt),
                other => Err(unexpected(&other)),
            }
        }

        /// Holds credits for a job that is about to begin.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `insufficient_credits`, `unavailable`.
        pub async fn consume(self: $this, consume: Consume, key: Option<&str>) -> Result<Consumption> {
            self.consumed(Action::Consume(consume), key).await
        }

        /// Spends what a hold keeps, or what was really used.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `not_found`, `invalid_state`, `hold_expired`,
        /// `insufficient_credits`, `unavailable`.
        pub async fn confirm(self: $this, confirm: Confirm, key: Option<&str>) -> Result<Consumption> {
            self.consumed(Action::Confirm(confirm), key).await
        }

        /// Gives credits back: of a hold all, of a confirmed consumption all or a part.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `not_found`, `invalid_state`, `unavailable`.
        pub async fn refund(self: $this, refund: Refund, key: Option<&str>) -> Result<Consumption> {
            self.consumed(Action::Refund(refund), key).await
        }

        /// Gives a hold more time; never less.
        ///
        /// # Errors
        /// `validation`, `idempotency_conflict`, `not_found`, `invalid_state`, `hold_expired`, `unavailable`.
        pub async fn extend(self: $this, extend: Extend, key: Option<&str>) -> Result<Consumption> {
            self.consumed(Action::Extend(extend), key).await
        }

        async fn receipt(self: $this, action: Action, key: Option<&str>) -> Result<Receipt> {
            match self.run(action.with_key(key)).await? {
                Outcome::Receipt(receipt) => Ok(receipt),
                other => Err(unexpected(&other)),
            }
        }

        async fn consumed(self: $this, action: Action, key: Option<&str>) -> Result<Consumption> {
            match self.run(action.with_key(key)).await? {
                Outcome::Consumption(consumption) => Ok(consumption),
                other => Err(unexpected(&other)),
            }
        }
    };
}
#[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
pub(crate) use commands;

/// An outcome of another family than the command's: a replay can't bring one, since the key's request is compared.
pub(crate) fn unexpected(outcome: &Outcome) -> Error {
    Error::Unavailable {
        outcome: crate::error::Written::Unknown,
        reason: format!("the ledger answered with {outcome:?}"),
        remedy: "this is a fault of jointo_credits; please report it".into(),
    }
}

impl Action {
    /// The action with the caller's key.
    #[must_use]
    pub fn with_key(self, key: Option<&str>) -> Command {
        Command {
            action: self,
            idempotency_key: key.map(str::to_owned),
        }
    }
}

impl Ledger {
    /// Opens the ledger in the database at `url` with default [`Settings`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
    /// use jointo_credits::{Consume, Confirm, Grant, Ledger, Source};
    /// use uuid::Uuid;
    ///
    /// let ledger = Ledger::connect("sqlite::memory:").await?;
    /// ledger.migrate().await?;
    /// let alice = Uuid::from_u128(1);
    /// ledger.grant(Grant::new(alice, 100, Source::Purchase), Some("order-1")).await?;
    /// let hold = ledger.consume(Consume::new(alice, 75), Some("job-1")).await?;
    /// assert_eq!(ledger.balance(alice).await?.available, 25);
    /// ledger.confirm(Confirm::amount(hold.id, 60), None).await?;
    /// assert_eq!(ledger.balance(alice).await?.available, 40);
    /// # ledger.close().await;
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// As [`Settings::connect`].
    pub async fn connect(url: &str) -> Result<Self> {
        Settings::new(url).connect().await
    }

    /// Makes the tables, or brings them up to date. Safe to run twice, and from several processes at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`] where the database can't be changed, or is newer than this library.
    pub async fn migrate(&self) -> Result<()> {
        self.read(|reader| async move { reader.migrate().await }).await
    }

    /// Checks that the tables are there and of this library's version.
    ///
    /// # Errors
    /// [`Error::Unavailable`] that says what is missing.
    pub async fn check(&self) -> Result<()> {
        self.read(|reader| async move { reader.check_schema().await })
            .await
    }

    /// Takes no more commands, answers those that wait, and gives the connections back.
    pub async fn close(&self) {
        self.inner.engine.close().await;
        if let Some(cache) = &self.inner.cache {
            cache.close();
        }
        // Reads that come later fail, which is what closing means.
        let _ = self.inner.reader.close().await;
    }

    /// Gets ready for `fork`: waits until no connection to a SQLite file is in use, and closes them all. Calls wait
    /// until [`Ledger::after_fork`]. `false` where something was still in use after `timeout`; a child then can't open
    /// the file, and is told so.
    ///
    /// A child must not touch a ledger of its parent's, not even drop it: it connects anew. SQLite keeps count of a
    /// process's locks in its memory, which a child inherits without the locks
    /// (<https://www.sqlite.org/howtocorrupt.html>, section 2.6). Connections to PostgreSQL are simply left alone.
    pub fn before_fork(&self, timeout: Duration) -> bool {
        self.inner.reader.suspend(timeout)
    }

    /// Goes on after a fork, in the parent.
    pub fn after_fork(&self) {
        self.inner.reader.resume();
    }

    /// Runs a command of any kind.
    ///
    /// Dropping the future never leaves a command half-done: it is done or not, as if nobody had left. Repeating it
    /// with the same key is always safe.
    ///
    /// # Errors
    /// [`Error::Refused`] where the ledger says no, [`Error::Unavailable`] where the database failed.
    pub async fn run(&self, command: Command) -> Result<Outcome> {
        self.inner.engine.run(command).await
    }

    commands!(&Self);

    /// Holds, each accepted or refused on its own, in the same order.
    pub(crate) async fn hold_together(
        &self,
        consumes: Vec<(Consume, Option<String>)>,
    ) -> Vec<Result<Consumption>> {
        let commands = consumes
            .into_iter()
            .map(|(consume, idempotency_key)| Command {
                action: Action::Consume(consume),
                idempotency_key,
            })
            .collect();
        let results = self.inner.engine.run_many(commands).await;
        let consumption = |result: Result<Outcome>| match result? {
            Outcome::Consumption(consumption) => Ok(consumption),
            other => Err(unexpected(&other)),
        };
        results.into_iter().map(consumption).collect()
    }

    /// What an account has now. One that was never used has nothing. With a [cache](Settings::cache) the answer may come
    /// from there.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn balance(&self, user_id: Uuid) -> Result<Balance> {
        let now = self.inner.clock.now();
        match &self.inner.cache {
            None => Ok(Balance::of(&self.state_and_number(user_id, now).await?.0, now)),
            Some(cache) => match cache.look_up(user_id, now).await {
                LookedUp::Found(balance) => Ok(balance),
                LookedUp::Absent(read) => self.read_balance(cache, read, user_id, now).await,
            },
        }
    }

    /// The same from the database, whatever a cache says: after a transaction of yours that wrote [`within`](Ledger::within)
    /// itself. What it finds is cached from then on.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn balance_fresh(&self, user_id: Uuid) -> Result<Balance> {
        let now = self.inner.clock.now();
        match &self.inner.cache {
            None => self.balance(user_id).await,
            Some(cache) => self.read_balance(cache, cache.begin(), user_id, now).await,
        }
    }

    /// Reads a balance, and puts it before it is told.
    async fn read_balance(
        &self,
        cache: &Balances,
        read: Read,
        user_id: Uuid,
        now: Timestamp,
    ) -> Result<Balance> {
        let (state, seq) = self.state_and_number(user_id, now).await?;
        let balance = Balance::of(&state, now);
        cache.put(read, vec![Known::read(&state, &balance, seq)]).await;
        Ok(balance)
    }

    /// The account as it is now, for a balance: [`outline`](Self::outline). An error where this process's clock and the
    /// database's differ too much.
    async fn state_and_number(&self, user_id: Uuid, now: Timestamp) -> Result<(State, i64)> {
        self.outline(user_id, now, true).await
    }

    /// The account with everything applied that is due at `at`, and the number of the last entry that was written. With
    /// `compare_clocks` it is an error where this process's clock and the database's differ too much.
    pub(crate) async fn outline(
        &self,
        user_id: Uuid,
        at: Timestamp,
        compare_clocks: bool,
    ) -> Result<(State, i64)> {
        // More of its lots and borrowing holds, and then all, where something that is due takes them.
        for extent in [Extent::OUTLINE, Extent::outline_with(OUTLINE_ROWS), Extent::WHOLE] {
            let loaded = self
                .read(move |reader| async move {
                    if compare_clocks {
                        reader.account_now(user_id, at, extent).await
                    } else {
                        reader.account(user_id, at, extent).await
                    }
                })
                .await?;
            let loaded = loaded.unwrap_or_else(|| LoadedAccount::new(user_id, at));
            let mut state = loaded.state;
            state
                .check_ranges()
                .map_err(|problem| damaged(user_id, problem))?;
            let seq = state.account.seq;
            let Some(entries) = mature_loaded(&state, at, &self.inner.rules) else {
                continue;
            };
            apply_all(&mut state, &entries)?;
            if let Some(next) = loaded.next_lot {
                state.account.next_lot_deadline = next;
            }
            state.note_deadlines(loaded.looked_up_due, loaded.next_pending);
            return Ok((state, seq));
        }
        Err(Error::Unavailable {
            outcome: crate::error::Written::No,
            reason: format!("account {user_id} was not read whole"),
            remedy: "this is a fault of jointo_credits; please report it".into(),
        })
    }

    /// The account as [`stands`] wants it, for those of its holds.
    ///
    /// Its own deadline a hold knows. But what another's deadline sets free pays for what pending holds have borrowed.
    async fn state_of(&self, user_id: Uuid, holds: &[Hold], now: Timestamp) -> Result<Option<State>> {
        if holds.iter().any(Hold::is_borrowing) {
            Ok(Some(self.state_and_number(user_id, now).await?.0))
        } else {
            Ok(None)
        }
    }

    /// A consumption as last written down.
    pub(crate) async fn hold(&self, consumption_id: Uuid) -> Result<Hold> {
        let found = self
            .read(move |reader| async move { reader.hold(consumption_id).await })
            .await?;
        let missing = Refusal::NotFound {
            what: "consumption",
            id: consumption_id,
        };
        Ok(found.ok_or(missing)?)
    }

    /// The entry that carries a key of an account.
    pub(crate) async fn prior(&self, user_id: Uuid, key: &str) -> Result<Option<Prior>> {
        let wanted = key.to_owned();
        self.read(move |reader| async move { reader.prior(user_id, wanted).await })
            .await
    }

    /// How a consumption stands now, whether or not anybody has written down what is due.
    pub(crate) async fn as_of_now(&self, hold: Hold) -> Result<Consumption> {
        let now = self.inner.clock.now();
        let state = self
            .state_of(hold.user_id, std::slice::from_ref(&hold), now)
            .await?;
        Ok(stands(hold, state.as_ref(), now))
    }

    /// What an account had at a time, deadlines up to then included.
    ///
    /// Up to `at` is everything up to the last entry, by number, that was written at `at` or before; as in a
    /// [`statement`](Ledger::statement). Derived from the journal: the cost grows with the account's entries.
    ///
    /// # Errors
    /// `validation` for a time whose entries are in the archive; `unavailable`.
    pub async fn balance_at(&self, user_id: Uuid, at: Timestamp) -> Result<Balance> {
        let mut state = self
            .read(move |reader| async move {
                let after = at.plus(Duration::from_micros(1));
                let last = last_before(reader.as_ref(), user_id, after, None).await?;
                let last = last.map_or(0, |entry| entry.seq);
                // Entries never change, so those up to this one are the same in a later picture.
                let mut snapshot = reader.snapshot().await?;
                verify::state_at(snapshot.as_mut(), user_id, at, last, JOURNAL_PAGE).await
            })
            .await?
            .map_err(|since| Error::archived("at", since, at))?;
        let seq = state.account.seq;
        self.bring_up_to(&mut state, at)?;
        if let Some(cache) = &self.inner.cache {
            cache.put(cache.begin(), vec![Known::number(user_id, seq)]).await;
        }
        Ok(Balance::of(&state, at))
    }

    /// Applies, in memory only, what is due.
    pub(crate) fn bring_up_to(&self, state: &mut State, now: Timestamp) -> Result<()> {
        let entries = mature(state, now, &self.inner.rules);
        apply_all(state, &entries)
    }

    /// A page of an account's journal, newest first. Cursors stay valid while entries are added.
    ///
    /// # Errors
    /// `validation` for a limit or cursor that is none; `unavailable`.
    pub async fn transactions(&self, user_id: Uuid, filter: TransactionFilter) -> Result<Page<Entry>> {
        let limit = page_limit(filter.limit)?;
        let before = match &filter.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse::<i64>().map_err(|_| bad_cursor(cursor))?),
        };
        let TransactionFilter {
            kind, since, until, ..
        } = filter;
        let items = self
            .read(move |reader| async move {
                let piece = Piece::of(reader.as_ref(), user_id, since, until).await?;
                let wanted = EntryFilter {
                    kind,
                    after: piece.after,
                    before: Some(before.unwrap_or(i64::MAX).min(piece.end.saturating_add(1))),
                    until: None,
                    limit: limit + 1,
                };
                reader.entries(user_id, wanted).await
            })
            .await?;
        Ok(page(items, limit, |entry| entry.seq.to_string()))
    }

    /// A page of an account's consumptions, newest first.
    ///
    /// # Errors
    /// `validation` for a limit or cursor that is none; `unavailable`.
    pub async fn consumptions(&self, user_id: Uuid, filter: ConsumptionFilter) -> Result<Page<Consumption>> {
        let limit = page_limit(filter.limit)?;
        let before = match &filter.cursor {
            None => None,
            Some(cursor) => Some(cursor.parse::<Uuid>().map_err(|_| bad_cursor(cursor))?),
        };
        let now = self.inner.clock.now();
        let wanted = HoldFilter {
            status: filter.status,
            now,
            before,
            limit: limit + 1,
        };
        let holds = self
            .read(move |reader| async move { reader.holds(user_id, wanted).await })
            .await?;
        let state = self.state_of(user_id, &holds, now).await?;
        let items = holds
            .into_iter()
            .map(|hold| stands(hold, state.as_ref(), now))
            .collect();
        Ok(page(items, limit, |consumption: &Consumption| {
            consumption.id.to_string()
        }))
    }

    /// One consumption, as it stands now.
    ///
    /// # Errors
    /// `not_found`, `unavailable`.
    pub async fn get_consumption(&self, consumption_id: Uuid) -> Result<Consumption> {
        self.as_of_now(self.hold(consumption_id).await?).await
    }

    /// Writes down the holds that have expired; with a `limit`, at least that many if there are, and then stops.
    ///
    /// Nothing depends on when it runs. Safe from several processes at once.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn expire_pending(&self, limit: Option<u64>) -> Result<Matured> {
        self.sweep(Due::Holds, limit, |matured| matured.holds).await
    }

    /// Writes down the lots that have expired; with a `limit`, at least that many if there are, and then stops.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn expire_lots(&self, limit: Option<u64>) -> Result<Matured> {
        self.sweep(Due::Lots, limit, |matured| matured.lots).await
    }

    async fn sweep(&self, due: Due, limit: Option<u64>, count: fn(&Matured) -> u64) -> Result<Matured> {
        // Also where nothing is due by this clock: somebody should be told that it is wrong.
        self.check_clock().await?;
        let limit = limit.unwrap_or(u64::MAX);
        let mut sum = Matured::default();
        let mut after = None;
        while count(&sum) < limit {
            let now = self.inner.clock.now();
            let wanted = SWEEP_ACCOUNTS.min(usize::try_from(limit - count(&sum)).unwrap_or(usize::MAX));
            let accounts = self
                .read(move |reader| async move { reader.due(due, now, after, wanted).await })
                .await?;
            let Some(last) = accounts.last() else { break };
            after = Some(*last);
            let commands = accounts
                .iter()
                .map(|(_, user_id)| Action::Mature { user_id: *user_id }.with_key(None))
                .collect();
            for result in self.inner.engine.run_many(commands).await {
                match result? {
                    Outcome::Matured(matured) => sum.add(matured),
                    other => return Err(unexpected(&other)),
                }
            }
        }
        Ok(sum)
    }

    /// Derives every balance, lot, hold, number and hash from the journal again, and names what does not fit.
    ///
    /// Also the catalogue, what is said of the archive, and whether the schema is what the migrations make. What a database
    /// can't show by itself (that the newest entries or a whole account are missing, a chain that was hashed anew) needs an
    /// anchor: `verify_anchored`.
    ///
    /// Reads one picture of the database while traffic goes on, page by page.
    ///
    /// # Errors
    /// `unavailable`. Faults in the books are no error but the result.
    pub async fn verify(&self) -> Result<Verification> {
        self.audit(verify::Past::Checkpoint, None).await
    }

    pub(crate) async fn audit(
        &self,
        past: verify::Past,
        anchored: Option<verify::Anchored>,
    ) -> Result<Verification> {
        let now = self.now();
        self.read(move |reader| async move {
            let mut snapshot = reader.snapshot().await?;
            let facts = verify::Facts::read(reader.as_ref(), snapshot.archived_sums().await?, now).await?;
            let scope = verify::Scope {
                past,
                anchored,
                facts: Some(facts),
            };
            verify::verify(snapshot.as_mut(), scope).await
        })
        .await
    }

    /// Sums all accounts and all counter-accounts. Together they are zero.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn trial_balance(&self) -> Result<TrialBalance> {
        let sums = self
            .read(|reader| async move {
                let mut snapshot: Box<dyn Snapshot> = reader.snapshot().await?;
                snapshot.sums().await
            })
            .await?;
        Ok(TrialBalance::of(sums))
    }

    /// Runs a read in a task of its own: a caller that goes away can't leave a connection half-used.
    pub(crate) async fn read<T, F, R>(&self, work: R) -> Result<T>
    where
        T: Send + 'static,
        R: FnOnce(Arc<dyn Reader>) -> F,
        F: Future<Output = StoreResult<T>> + Send + 'static,
    {
        match tokio::spawn(work(Arc::clone(&self.inner.reader))).await {
            Ok(result) => Ok(result?),
            Err(e) => Err(Error::Unavailable {
                outcome: crate::error::Written::No,
                reason: format!("a read was cut off: {e}"),
                remedy: "try again".into(),
            }),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn cache(&self) -> Option<&Balances> {
        self.inner.cache.as_deref()
    }

    pub(crate) fn prices(&self) -> &Arc<Prices> {
        &self.inner.prices
    }

    pub(crate) fn channels(&self) -> &BTreeMap<String, Arc<dyn Channel>> {
        &self.inner.channels
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// What the database's clock has to agree with, for what is decided at `now`.
    pub(crate) fn clock_bound(&self, now: Timestamp) -> Option<ClockBound> {
        self.inner.max_clock_skew.map(|max| ClockBound { now, max })
    }

    pub(crate) fn max_clock_skew(&self) -> Option<Duration> {
        self.inner.max_clock_skew
    }

    /// Whether the database's clock agrees with ours: asked before anything but a command goes by the time.
    pub(crate) async fn check_clock(&self) -> Result<()> {
        if self.inner.max_clock_skew.is_none() {
            return Ok(());
        }
        let time = self.read(|reader| async move { reader.time().await }).await?;
        match (time, self.clock_bound(self.now())) {
            (Some(time), Some(bound)) => Ok(bound.check(time)?),
            _ => Ok(()),
        }
    }

    #[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
    pub(crate) fn rules(&self) -> &Rules {
        &self.inner.rules
    }

    #[cfg(any(feature = "postgres", feature = "sqlx-sqlite"))]
    pub(crate) fn lots_first(&self) -> usize {
        self.inner.lots_first
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn schema_in_use(&self) -> StoreResult<Option<String>> {
        if let Some(schema) = self.inner.schema.get() {
            return Ok(Some(schema.clone()));
        }
        let found = self.inner.reader.schema_in_use().await?;
        if let Some(schema) = &found {
            let _ = self.inner.schema.set(schema.clone()); // Another call was quicker, with the same.
        }
        Ok(found)
    }

    #[cfg(feature = "postgres")]
    pub(crate) fn pgbouncer(&self) -> bool {
        self.inner.pgbouncer
    }
}

/// The entries that were written in an interval: a piece of the journal without gaps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// It begins after this number.
    pub(crate) after: i64,
    /// It ends with this one.
    pub(crate) end: i64,
}

impl Piece {
    /// As far as the database has the entries.
    pub(crate) async fn of(
        reader: &dyn Reader,
        user_id: Uuid,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> StoreResult<Self> {
        let number = |entry: Option<Entry>| entry.map_or(0, |entry| entry.seq);
        Ok(Piece {
            after: match since {
                Some(since) => number(last_before(reader, user_id, since, None).await?),
                None => 0,
            },
            end: match until {
                Some(until) => number(last_before(reader, user_id, until, None).await?),
                None => i64::MAX,
            },
        })
    }

    /// With entries that have left the database.
    #[cfg(feature = "archive")]
    pub(crate) fn with<'e>(
        mut self,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        entries: impl Iterator<Item = &'e Entry>,
    ) -> Self {
        for entry in entries {
            if since.is_some_and(|since| entry.created_at < since) {
                self.after = self.after.max(entry.seq);
            }
            if until.is_some_and(|until| entry.created_at < until) {
                self.end = self.end.max(entry.seq);
            }
        }
        self
    }
}

fn apply_all(state: &mut State, entries: &[Entry]) -> Result<()> {
    entries
        .iter()
        .try_for_each(|entry| apply(state, entry).map_err(|problem| damaged(entry.user_id, problem.problem)))
}

fn damaged(user_id: Uuid, problem: &str) -> Error {
    Error::Unavailable {
        outcome: crate::error::Written::No,
        reason: format!("the books of account {user_id} are damaged: {problem}"),
        remedy: "run verify() and restore what it names".into(),
    }
}

/// How a hold stands at `now`; `state` is needed where it is borrowing.
fn stands(hold: Hold, state: Option<&State>, now: Timestamp) -> Consumption {
    let matured = state.and_then(|state| state.holds.get(&hold.consumption_id));
    match matured.filter(|_| hold.is_borrowing()) {
        Some(matured) => Consumption::from_hold(matured),
        None => Consumption::from_hold(&hold.as_of(now)),
    }
}

pub(crate) fn page_limit(limit: usize) -> Result<usize> {
    if (1..=PAGE_LINES_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Error::invalid(
            "limit",
            "is out of range",
            format!("1 .. {PAGE_LINES_MAX}"),
            limit,
        ))
    }
}

pub(crate) fn bad_cursor(cursor: &str) -> Error {
    let shown: String = cursor.chars().take(64).collect();
    Error::invalid("cursor", "is not one of ours", "a page's next_cursor", shown)
}

pub(crate) fn page<T>(mut items: Vec<T>, limit: usize, cursor: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = if more { items.last().map(cursor) } else { None };
    Page { items, next_cursor }
}
