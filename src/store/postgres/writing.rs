//! Transactions that write beside the committers: each on a connection of its own, which is closed afterwards and so undoes
//! what was not committed.

use super::{during_write, pin_path};
use crate::store::{StoreError, StoreResult};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// Anything but a failed COMMIT has written nothing.
fn before_commit(error: sqlx::Error) -> StoreError {
    match during_write(error) {
        StoreError::Unknown(why) => StoreError::Lost(why),
        other => other,
    }
}

pub(super) async fn begin(connection: &mut PgConnection) -> StoreResult<()> {
    let text = format!("BEGIN ISOLATION LEVEL READ COMMITTED; SELECT {}", pin_path(true));
    let begin = sqlx::raw_sql(AssertSqlSafe(text));
    begin.execute(connection).await.map_err(before_commit)?;
    Ok(())
}

pub(super) async fn commit(connection: &mut PgConnection) -> StoreResult<()> {
    let commit = sqlx::raw_sql("COMMIT");
    commit.execute(connection).await.map_err(during_write)?;
    Ok(())
}

/// How many rows it has changed. Without a name, as everything here: the connection is closed afterwards, and behind
/// PgBouncer its server is not.
pub(super) async fn execute(connection: &mut PgConnection, statement: Statement<'_>) -> StoreResult<u64> {
    let statement = statement.persistent(false);
    let done = statement.execute(connection).await.map_err(before_commit)?;
    Ok(done.rows_affected())
}

/// The row that it finds, if there is one.
pub(super) async fn find(
    connection: &mut PgConnection,
    statement: Statement<'_>,
) -> StoreResult<Option<PgRow>> {
    let statement = statement.persistent(false);
    statement.fetch_optional(connection).await.map_err(before_commit)
}
