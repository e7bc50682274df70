//! Commands inside a transaction that the caller owns.

use crate::engine::{Answer, needs, plan};
use crate::error::{Error, Result, Written};
use crate::facade::{Ledger, commands, unexpected};
use crate::ledger::{
    Action, Adjust, Clawback, ClawbackReceipt, Command, Confirm, Consume, Consumption, Extend, Gift, Grant,
    Outcome, Receipt, Refund, SetCreditLimit,
};
use crate::store::postgres::Statements;
use crate::store::postgres::within;
use sqlx::{PgConnection, Postgres, Transaction};

/// A ledger inside a caller's PostgreSQL transaction: the same commands, committed or rolled back with the rest of it.
///
/// The accounts are locked until the transaction ends, so other writers of the same accounts wait for it: keep it
/// short. To avoid deadlocks between your own transactions, touch accounts in the same order everywhere. A command
/// that is refused changes nothing, and leaves the transaction usable; after `unavailable` roll it back.
#[derive(Debug)]
pub struct Within<'t> {
    ledger: &'t Ledger,
    connection: &'t mut PgConnection,
    statements: Statements,
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
    pub fn within<'t>(&'t self, transaction: &'t mut Transaction<'_, Postgres>) -> Within<'t> {
        let statements = Statements::new(self.schema(), true);
        Within { ledger: self, connection: &mut *transaction, statements }
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
        // More than one round where the account is new and somebody else makes it at the same time, or where more
        // holds are due than one round loads.
        loop {
            let now = self.ledger.now();
            let needs = needs(std::iter::once(&command), now);
            let loaded = within::load(self.connection, &self.statements, &needs).await.map_err(failed)?;
            let plan = plan(loaded, std::iter::once(&command), now, self.ledger.rules());
            let stale =
                within::append(self.connection, &self.statements, &plan.writes).await.map_err(failed)?;
            if !stale.is_empty() {
                continue;
            }
            match plan.answers.into_iter().next() {
                Some((_, Answer::Done(outcome))) => return Ok(outcome),
                Some((_, Answer::Refused(refusal))) => return Err(refusal.into()),
                Some((_, Answer::Damaged(error))) => return Err(failed(error)),
                Some((_, Answer::Postponed)) | None => {}
            }
        }
    }

    commands!(&mut Self);
}
