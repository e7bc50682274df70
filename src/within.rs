//! Commands inside a transaction that the caller owns.

use crate::engine::{Answer, Books, MORE_ROWS, needs};
use crate::error::{Error, Result, Written};
use crate::facade::{Ledger, commands, unexpected};
use crate::ledger::{
    Action, Adjust, Clawback, ClawbackReceipt, Command, Confirm, Consume, Consumption, Extend, Gift, Grant,
    Outcome, Receipt, Refund, SetCreditLimit,
};
use crate::store::{Loaded, Needs, StoreResult, Writes};
use uuid::Uuid;

/// A transaction that commands can run inside: `sqlx::Transaction` of PostgreSQL and, with the feature `sqlx-sqlite`,
/// of SQLite.
pub trait CallerTransaction: sealed::Lender {}

mod sealed {
    /// A connection on loan from a transaction.
    #[derive(Debug)]
    pub enum Lent<'t> {
        #[cfg(feature = "postgres")]
        Postgres(&'t mut sqlx::PgConnection),
        #[cfg(feature = "sqlx-sqlite")]
        Sqlite(&'t mut sqlx::SqliteConnection),
    }

    pub trait Lender {
        fn lend(&mut self) -> Lent<'_>;
    }
}
use sealed::{Lender, Lent};

#[cfg(feature = "postgres")]
impl CallerTransaction for sqlx::Transaction<'_, sqlx::Postgres> {}
#[cfg(feature = "postgres")]
impl Lender for sqlx::Transaction<'_, sqlx::Postgres> {
    fn lend(&mut self) -> Lent<'_> {
        Lent::Postgres(&mut *self)
    }
}

#[cfg(feature = "sqlx-sqlite")]
impl CallerTransaction for sqlx::Transaction<'_, sqlx::Sqlite> {}
#[cfg(feature = "sqlx-sqlite")]
impl Lender for sqlx::Transaction<'_, sqlx::Sqlite> {
    fn lend(&mut self) -> Lent<'_> {
        Lent::Sqlite(&mut *self)
    }
}

/// A ledger inside a caller's transaction: the same commands, committed or rolled back with the rest of it.
///
/// On PostgreSQL the accounts are locked until the transaction ends, so other writers of the same accounts wait for it:
/// keep it short, and touch accounts in the same order everywhere. On SQLite begin it with `BEGIN IMMEDIATE`
/// (`begin_with`), so that nobody can write between its first read and its first write. A command that is refused
/// changes nothing, and leaves the transaction usable. So does `unavailable` (all of a command is written or nothing of
/// it), but then PostgreSQL takes no more statements in this transaction: roll it back.
#[derive(Debug)]
pub struct Within<'t> {
    ledger: &'t Ledger,
    lent: Lent<'t>,
    /// Made with the first command.
    #[cfg(feature = "postgres")]
    statements: Option<crate::store::postgres::Statements>,
}

impl Ledger {
    /// Runs commands inside a transaction of yours, without committing it.
    ///
    /// ```no_run
    /// # async fn example(ledger: jointo_credits::Ledger, pool: sqlx::PgPool, job: uuid::Uuid, user: uuid::Uuid)
    /// # -> Result<(), Box<dyn std::error::Error>> {
    /// use jointo_credits::Consume;
    /// let mut tx = pool.begin().await?;
    /// let hold = ledger.within(&mut tx).consume(Consume::new(user, 75), None).await?;
    /// sqlx::query("UPDATE ai_jobs SET consumption_log_id = $1 WHERE id = $2")
    ///     .bind(hold.id).bind(job).execute(&mut *tx).await?;
    /// tx.commit().await?;
    /// # Ok(()) }
    /// ```
    pub fn within<'t>(&'t self, transaction: &'t mut impl CallerTransaction) -> Within<'t> {
        Within {
            ledger: self,
            lent: transaction.lend(),
            #[cfg(feature = "postgres")]
            statements: None,
        }
    }
}

impl Within<'_> {
    /// Runs a command of any kind.
    ///
    /// # Errors
    /// [`Error::Refused`] where the ledger says no, [`Error::Unavailable`] where the database failed.
    pub async fn run(&mut self, command: Command) -> Result<Outcome> {
        command.validate()?;
        let failed = |error| Error::store(&error, Written::No);
        // More than one round where the account is new and somebody else makes it at the same time, where more is due than
        // one round loads, or where the command takes more.
        let mut rows = None;
        loop {
            let now = self.ledger.now();
            let mut needs = needs(std::iter::once(&command), now);
            needs.clock = self.ledger.clock_bound(now);
            needs.lots_first = Some(self.ledger.lots_first());
            needs.more.extend(rows);
            let loaded = self.load(&needs).await.map_err(failed)?;
            let mut books = Books::new(now, self.ledger.rules());
            books.read(loaded);
            let (user_id, answer) = books.answer(&command);
            let mut writes = books.close().writes;
            writes.clock = self.ledger.clock_bound(now);
            if !self.append(&writes).await.map_err(failed)?.is_empty() {
                continue;
            }
            match answer {
                Answer::Done(outcome) => return Ok(outcome),
                Answer::Refused(refusal) => return Err(refusal.into()),
                Answer::Damaged(error) => return Err(failed(error)),
                Answer::Postponed => {}
                Answer::TakesMore => {
                    let before = rows.map_or(self.ledger.lots_first(), |(_, rows): (Uuid, usize)| rows);
                    rows = user_id.map(|user_id| (user_id, before.saturating_mul(MORE_ROWS)));
                }
            }
        }
    }

    commands!(&mut Self);

    async fn load(&mut self, needs: &Needs) -> StoreResult<Loaded> {
        match &mut self.lent {
            #[cfg(feature = "postgres")]
            Lent::Postgres(connection) => {
                let statements = known(&mut self.statements, self.ledger).await?;
                crate::store::postgres::within::load(connection, statements, needs).await
            }
            #[cfg(feature = "sqlx-sqlite")]
            Lent::Sqlite(connection) => crate::store::sqlite::within::load(connection, needs).await,
        }
    }

    async fn append(&mut self, rows: &Writes) -> StoreResult<Vec<Uuid>> {
        match &mut self.lent {
            #[cfg(feature = "postgres")]
            Lent::Postgres(connection) => {
                let statements = known(&mut self.statements, self.ledger).await?;
                crate::store::postgres::within::append(connection, statements, rows).await
            }
            #[cfg(feature = "sqlx-sqlite")]
            Lent::Sqlite(connection) => crate::store::sqlite::within::append(connection, rows).await,
        }
    }
}

/// The statements for a session that is not ours: its search path may be another one, and its temporary tables come first.
/// So they always name the schema that the ledger itself works in.
#[cfg(feature = "postgres")]
async fn known<'s>(
    statements: &'s mut Option<crate::store::postgres::Statements>,
    ledger: &Ledger,
) -> StoreResult<&'s crate::store::postgres::Statements> {
    let made = match statements.take() {
        Some(made) => made,
        None => {
            let schema = ledger.schema_in_use().await?;
            crate::store::postgres::Statements::new(schema.as_deref(), !ledger.pgbouncer())
        }
    };
    Ok(statements.insert(made))
}
