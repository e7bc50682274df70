//! Being told of changes of the catalogue, by `LISTEN`.
//!
//! The triggers of the catalogue's tables send a notification, which PostgreSQL delivers when the change is committed.
//! It only brings forward what comparing revisions finds anyway, so nothing here is an error for anybody: a connection
//! that can't be had or gets lost is logged and tried again, after a pause that grows.
//!
//! It is a connection of its own, since one that listens is never idle. Not behind a pooler in transaction mode: there
//! the server behind a connection changes, and with it who listens.

use super::{PostgresStore, session_options};
use crate::store::Changed;
use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use std::sync::PoisonError;
use std::time::Duration;

/// The triggers of `migrations/` send to it; the payload is the schema.
const CHANNEL: &str = "credit_catalogue";
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

impl PostgresStore {
    /// Calls `changed` from a task of its own, which ends with the store's pool.
    pub(super) fn listen(&self, changed: Changed) {
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.settings.pgbouncer || self.pool.is_closed() || listening.is_some() {
            return;
        }
        let timeout = self.settings.connect_timeout;
        let connections = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(session_options(&self.settings, false));
        let schema = self.settings.schema.clone();
        // The task must not own the pool, whose end it waits for.
        let mut end = self.pool.close_event();
        *listening = Some(tokio::spawn(async move {
            let work = keep_listening(&connections, schema.as_deref(), &changed);
            // An error is that the pool was closed.
            let _ = end.do_until(work).await;
            // Waits for the listener's connection; a server that is away does not get to hold up the end.
            let _ = tokio::time::timeout(timeout, connections.close()).await;
        }));
    }

    /// After the pool was closed: waits for the connection to be closed too.
    pub(super) async fn stop_listening(&self) {
        let listening = self
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(task) = listening {
            let _ = task.await; // It fails where the runtime ends, and the task with it.
        }
    }
}

async fn keep_listening(connections: &PgPool, schema: Option<&str>, changed: &Changed) {
    let mut pause = PAUSE_MIN;
    loop {
        let lost = match subscribe(connections).await {
            Ok(listener) => {
                pause = PAUSE_MIN;
                changed(); // There may have been some before.
                until_lost(listener, schema, changed).await
            }
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            lost,
            ?pause,
            "nobody tells of changes of the catalogue; they are looked for until somebody does"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn subscribe(connections: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(connections).await?;
    // After a loss we want to know, and a listener that failed in another way would not connect anew.
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Returns why the connection is of no use any more.
async fn until_lost(mut listener: PgListener, schema: Option<&str>, changed: &Changed) -> String {
    loop {
        match listener.try_recv().await {
            Ok(Some(told)) if schema.is_none_or(|schema| schema == told.payload()) => changed(),
            Ok(Some(_)) => {} // Another ledger's, in another schema of this database.
            Ok(None) => return "the connection was closed".into(),
            Err(error) => return error.to_string(),
        }
    }
}
