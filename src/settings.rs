//! How a ledger is opened.

use crate::cache::Cache;
use crate::clock::{Clock, SystemClock};
use crate::engine::EngineSettings;
use crate::error::{Error, Result};
use crate::ledger::limits::{GRACE_MAX, OPEN_ORDERS_MAX, ORDER_TTL_MAX, ORDER_TTL_MIN, TTL_MAX, TTL_MIN};
use crate::ledger::{LatePayment, OnLotExpiredWhileHeld, Rules, check_ttl};
use crate::payments::{Channel, Manual};
use crate::store::LOTS_FIRST;
use crate::url::{Location, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// With the system's clock. Machines whose clocks are kept differ by less than a second; this is what Kerberos asks for too.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(300);
const CLOCK_SKEW_LEAST: Duration = Duration::from_secs(1);
const CLOCK_SKEW_MOST: Duration = Duration::from_secs(3_650 * 86_400);

/// Everything that can be chosen about a ledger; [`Settings::new`] has sensible values for the rest.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
/// use jointo_credits::Settings;
/// use std::time::Duration;
///
/// let ledger = Settings::new("sqlite::memory:").hold_ttl(Duration::from_secs(900)).connect().await?;
/// ledger.migrate().await?;
/// # ledger.close().await;
/// # Ok(()) }) }
/// ```
#[derive(Clone)]
pub struct Settings {
    pub(crate) url: String,
    pub(crate) schema: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    /// As it was chosen; without, it depends on the clock.
    pub(crate) max_clock_skew: Option<Duration>,
    pub(crate) is_system_clock: bool,
    pub(crate) channels: BTreeMap<String, Arc<dyn Channel>>,
    pub(crate) rules: Rules,
    pub(crate) max_connections: u32,
    pub(crate) committers: usize,
    pub(crate) batch_limit: usize,
    pub(crate) queue_limit: usize,
    pub(crate) patience: Duration,
    /// 5 s where nobody says.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) pgbouncer: bool,
    pub(crate) account_memory_bytes: usize,
    pub(crate) lots_first: usize,
    pub(crate) cache: Option<Cache>,
}

impl std::fmt::Debug for Settings {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("schema", &self.schema)
            .field("channels", &self.channels.keys())
            .field("rules", &self.rules)
            .field("max_connections", &self.max_connections)
            .field("committers", &self.committers)
            .field("batch_limit", &self.batch_limit)
            .field("queue_limit", &self.queue_limit)
            .field("max_clock_skew", &self.clock_bound())
            .field("patience", &self.patience)
            .field("connect_timeout", &self.connect_timeout)
            .field("pgbouncer", &self.pgbouncer)
            .field("account_memory_bytes", &self.account_memory_bytes)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Settings for a database.
    ///
    /// | URL | database |
    /// | --- | --- |
    /// | `sqlite:///credits.db` | SQLite file, path relative to the working directory |
    /// | `sqlite:////var/lib/app/credits.db` | SQLite file, absolute path |
    /// | `sqlite::memory:` | SQLite in memory, gone with the ledger |
    /// | `postgresql://user:password@host:5432/database?sslmode=verify-full` | PostgreSQL 14 or newer |
    /// | `memory:` | no database at all: for your tests |
    ///
    /// Every part of a URL is honoured or refused by name: `docs/production.md` has the list.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Settings {
            url: url.into(),
            schema: None,
            clock: Arc::new(SystemClock),
            max_clock_skew: None,
            is_system_clock: true,
            channels: [(Manual::NAME.to_owned(), Arc::new(Manual) as Arc<dyn Channel>)].into(),
            rules: Rules::default(),
            max_connections: 8,
            committers: 2,
            batch_limit: 1_000,
            queue_limit: 10_000,
            patience: Duration::from_secs(10),
            connect_timeout: None,
            pgbouncer: false,
            account_memory_bytes: 32 << 20,
            lots_first: LOTS_FIRST,
            cache: None,
        }
    }

    /// PostgreSQL schema that the tables are in; the role's `search_path` decides without.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// The clock that decides every deadline.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self.is_system_clock = false;
        self
    }

    /// How far the database's clock may be from the ledger's, before or behind: 5 min by default, 1 s to 3,650 d. Beyond that
    /// no command is done, no sweep, clean-up or change of the catalogue: a process whose clock is wrong would end for good
    /// what is not over yet. `docs/clocks.md`.
    ///
    /// With a [`clock`](Self::clock) of your own there is no bound unless you set one. SQLite has no clock but the process's.
    #[must_use]
    pub fn max_clock_skew(mut self, skew: Duration) -> Self {
        self.max_clock_skew = Some(skew);
        self
    }

    /// The bound that counts.
    pub(crate) fn clock_bound(&self) -> Option<Duration> {
        self.max_clock_skew
            .or(self.is_system_clock.then_some(MAX_CLOCK_SKEW))
    }

    /// How long a hold lives where neither `consume` nor the feature's rate card says: 1 s to 30 d, 1 h by default.
    #[must_use]
    pub fn hold_ttl(mut self, ttl: Duration) -> Self {
        self.rules.hold_ttl = ttl;
        self
    }

    /// What happens to credits of a hold that is released after their lot's expiry.
    #[must_use]
    pub fn on_lot_expired_while_held(mut self, choice: OnLotExpiredWhileHeld) -> Self {
        self.rules.on_lot_expired_while_held = choice;
        self
    }

    /// How long such credits live with [`OnLotExpiredWhileHeld::Grace`]: 7 d by default.
    #[must_use]
    pub fn release_grace(mut self, grace: Duration) -> Self {
        self.rules.release_grace = grace;
        self
    }

    /// How long reversed credits live whose lot has expired: 30 d by default.
    #[must_use]
    pub fn reversal_grace(mut self, grace: Duration) -> Self {
        self.rules.reversal_grace = grace;
        self
    }

    /// A payment channel that orders can be paid through, besides [`Manual`]; another one of the same name is replaced.
    #[must_use]
    pub fn channel(mut self, channel: impl Channel) -> Self {
        self.channels.insert(channel.name().to_owned(), Arc::new(channel));
        self
    }

    /// How long an order can be paid: 30 min by default.
    #[must_use]
    pub fn order_ttl(mut self, ttl: Duration) -> Self {
        self.rules.order_ttl = ttl;
        self
    }

    /// What becomes of a payment that arrives when its order is closed.
    #[must_use]
    pub fn late_payment(mut self, choice: LatePayment) -> Self {
        self.rules.late_payment = choice;
        self
    }

    /// How many orders of an account may wait for a payment at once: 20 by default, 1 to
    /// [`OPEN_ORDERS_MAX`](crate::limits::OPEN_ORDERS_MAX). A further one is refused. Orders whose time is over do not count.
    #[must_use]
    pub fn max_open_orders(mut self, orders: u32) -> Self {
        self.rules.max_open_orders = orders;
        self
    }

    /// Connections for reads; committers have their own, and on PostgreSQL so has what listens for changes of prices. 8 by
    /// default.
    #[must_use]
    pub fn max_connections(mut self, connections: u32) -> Self {
        self.max_connections = connections;
        self
    }

    /// Committers side by side on PostgreSQL: 2 by default. More help only where the database has cores to spare.
    #[must_use]
    pub fn committers(mut self, committers: usize) -> Self {
        self.committers = committers;
        self
    }

    /// The most commands in one write: 1,000 by default.
    #[must_use]
    pub fn batch_limit(mut self, commands: usize) -> Self {
        self.batch_limit = commands;
        self
    }

    /// The most commands that wait; further callers wait to be let in. 10,000 by default.
    #[must_use]
    pub fn queue_limit(mut self, commands: usize) -> Self {
        self.queue_limit = commands;
        self
    }

    /// How long a database that is away is tried again before callers get `Unavailable`: 10 s by default.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How long to wait for a connection, and for another process that writes a SQLite file: 5 s by default.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// Whether a pooler in transaction mode (PgBouncer) stands before PostgreSQL.
    ///
    /// Nothing then outlives a transaction: no prepared statements, no session settings. Each step is a transaction of
    /// its own, which costs two more round trips. PgBouncer itself needs no settings for it.
    #[must_use]
    pub fn pgbouncer(mut self, pgbouncer: bool) -> Self {
        self.pgbouncer = pgbouncer;
        self
    }

    /// How much memory the ledger has to keep accounts in from one command to the next: 32 MiB by default, enough for some
    /// 10,000 to 20,000 accounts in use at a time; 0 keeps none.
    ///
    /// A command of a kept account is decided without a read; its write is void where anybody else has changed the account
    /// meanwhile, and then the account is read. No answer depends on it: what is refused has always been read. Processes
    /// that share their accounts notice that keeping does not pay, and read.
    #[must_use]
    pub fn account_memory_bytes(mut self, bytes: usize) -> Self {
        self.account_memory_bytes = bytes;
        self
    }

    /// How many of an account's lots are read at first. For tests: no answer depends on it.
    #[doc(hidden)]
    #[must_use]
    pub fn lots_first(mut self, lots: usize) -> Self {
        self.lots_first = lots.max(1);
        self
    }

    /// How many holds, whose borrowed credits are paid, one entry tells of. For tests: no answer depends on it.
    #[doc(hidden)]
    #[must_use]
    pub fn entry_room(mut self, holds: usize) -> Self {
        self.rules.entry_room = holds;
        self
    }

    /// A cache for [`Ledger::balance`](crate::Ledger::balance); without, every balance is read from the database. No command
    /// asks it.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Whether the database goes with the ledger, and no other process can reach it.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        match self.target().map(|target| target.location) {
            Ok(Location::Memory) => true,
            #[cfg(feature = "sqlite")]
            Ok(Location::Sqlite(crate::store::sqlite::Location::Memory)) => true,
            _ => false,
        }
    }

    /// Checks everything that can be checked without a connection, and takes over what the URL says.
    pub(crate) fn validate(&mut self) -> Result<Location> {
        check_ttl("hold_ttl", self.rules.hold_ttl)?;
        check_range("order_ttl", self.rules.order_ttl, ORDER_TTL_MIN, ORDER_TTL_MAX)?;
        for (field, grace) in [
            ("release_grace", self.rules.release_grace),
            ("reversal_grace", self.rules.reversal_grace),
        ] {
            check_range(field, grace, TTL_MIN, GRACE_MAX)?;
        }
        let counts = [
            ("max_connections", self.max_connections as usize, 1_000),
            ("committers", self.committers, 64),
            ("batch_limit", self.batch_limit, 10_000),
            ("queue_limit", self.queue_limit, 10_000_000),
            (
                "max_open_orders",
                self.rules.max_open_orders as usize,
                OPEN_ORDERS_MAX as usize,
            ),
        ];
        for (field, n, most) in counts {
            if n == 0 || n > most {
                return Err(Error::invalid(
                    field,
                    "is out of range",
                    format!("1 .. {most}"),
                    n,
                ));
            }
        }
        if self.patience > TTL_MAX {
            let given = format!("{:?}", self.patience);
            return Err(Error::invalid(
                "patience",
                "is out of range",
                format!("{TTL_MAX:?}"),
                given,
            ));
        }
        if let Some(skew) = self.max_clock_skew {
            check_range("max_clock_skew", skew, CLOCK_SKEW_LEAST, CLOCK_SKEW_MOST)?;
        }
        if let Some(cache) = &self.cache {
            cache.validate()?;
        }
        let target = self.target()?;
        let location = self.adopt(target)?;
        let timeout = self.connect_timeout_or_default();
        if timeout.is_zero() || timeout > TTL_MAX {
            let limit = format!("more than 0, up to {TTL_MAX:?}");
            return Err(Error::invalid(
                "connect_timeout",
                "is out of range",
                limit,
                format!("{timeout:?}"),
            ));
        }
        if let Some(schema) = &self.schema {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if schema.is_empty() || schema.len() > 63 || !schema.chars().all(word) {
                let limit = "1 to 63 letters, digits and underscores";
                return Err(Error::invalid("schema", "is no plain name", limit, schema));
            }
            #[cfg(feature = "postgres")]
            let has_schemas = matches!(location, Location::Postgres(_));
            #[cfg(not(feature = "postgres"))]
            let has_schemas = false;
            if !has_schemas {
                return Err(Error::invalid(
                    "schema",
                    "is for PostgreSQL only; leave it out",
                    "none",
                    schema,
                ));
            }
        }
        Ok(location)
    }

    fn target(&self) -> Result<Target> {
        crate::url::parse(&self.url, &|variable| {
            #[allow(
                clippy::disallowed_methods,
                reason = "PostgreSQL's own variables, which sqlx reads too"
            )]
            std::env::var(variable).ok()
        })
    }

    /// Takes over the settings that the URL has in it. Said twice and differently, nobody knows which one is meant.
    fn adopt(&mut self, target: Target) -> Result<Location> {
        let Target {
            location,
            schema,
            pgbouncer,
            connect_timeout,
        } = target;
        let twice = |name: &str| {
            let problem = "says something else than the setting of the same name; say it once";
            Err(Error::invalid(
                "url",
                problem,
                "one of the two",
                format!("`{name}`"),
            ))
        };
        match (&self.schema, schema) {
            (Some(chosen), Some(schema)) if *chosen != schema => return twice("schema"),
            (None, schema) => self.schema = schema,
            _ => {}
        }
        match (self.connect_timeout, connect_timeout) {
            (Some(chosen), Some(timeout)) if chosen != timeout => return twice("connect_timeout"),
            (None, timeout) => self.connect_timeout = timeout,
            _ => {}
        }
        match pgbouncer {
            Some(false) if self.pgbouncer => return twice("pgbouncer"),
            Some(pgbouncer) => self.pgbouncer = pgbouncer,
            None => {}
        }
        Ok(location)
    }

    pub(crate) fn connect_timeout_or_default(&self) -> Duration {
        self.connect_timeout.unwrap_or(Duration::from_secs(5))
    }

    pub(crate) fn engine(&self) -> EngineSettings {
        EngineSettings {
            rules: self.rules,
            batch_limit: self.batch_limit,
            max_clock_skew: self.clock_bound(),
            queue_limit: self.queue_limit,
            patience: self.patience,
            account_memory_bytes: self.account_memory_bytes,
            lots_first: self.lots_first,
        }
    }
}

/// Both ends are allowed.
pub(crate) fn check_range(
    field: &'static str,
    given: Duration,
    least: Duration,
    most: Duration,
) -> Result<()> {
    if (least..=most).contains(&given) {
        return Ok(());
    }
    let limit = format!("{least:?} .. {most:?}");
    Err(Error::invalid(
        field,
        "is out of range",
        limit,
        format!("{given:?}"),
    ))
}
