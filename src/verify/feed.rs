//! Rows for the audit, read ahead: while one page is audited, the next one is fetched and decoded.
//!
//! The audit is work for a processor and has a thread of its own; the snapshot is one connection, and waits for a
//! network or a disk. Between them stands a queue of requests: the audit asks for a table's next page when it begins
//! with the one before, so at the most two pages of each table are in memory. Decoding a page is done by a third thread.

use crate::anchor::tree::Leaf;
use crate::ledger::{Account, Checkpoint, Hash, Hold, Lot, OrderNo};
use crate::store::{
    Claim, GiftRow, Page, Reading, Snapshot, StoreError, StoreResult, StoredEntry, StoredOrder,
};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Rows of a page. Two pages of entries are some ten megabytes.
pub(super) const PAGE: usize = 4_096;

/// Where the answer to a request goes.
type Reply<T> = oneshot::Sender<StoreResult<Vec<T>>>;

enum Request {
    Accounts(Option<Uuid>, Reply<Account>),
    Entries(Option<(Uuid, i64)>, Reply<StoredEntry>),
    Lots(Option<(Uuid, Uuid)>, Reply<(Uuid, Lot)>),
    Holds(Option<(Uuid, Uuid)>, Reply<Hold>),
    Gifts(Option<(Uuid, Uuid)>, Reply<GiftRow>),
    Orders(Option<(Uuid, OrderNo)>, Reply<StoredOrder>),
    Claims(Option<(Uuid, OrderNo)>, Reply<Claim>),
    Checkpoints(Option<Uuid>, Reply<Checkpoint>),
    Kept(Option<(Uuid, i64)>, Reply<(Uuid, i64, Hash)>),
    /// As of the anchor with this number.
    Leaves(i64, Option<Uuid>, Reply<Leaf>),
    LotsOf(Uuid, Vec<Uuid>, Reply<(Uuid, Lot)>),
    HoldsOf(Uuid, Vec<Uuid>, Reply<Hold>),
    GiftsOf(Uuid, Vec<Uuid>, Reply<GiftRow>),
}

/// Answers what the other half asks for, until that is gone.
pub(super) struct Server(mpsc::UnboundedReceiver<Request>);

/// The asking half, for a thread that may block.
#[derive(Clone)]
struct Client(mpsc::UnboundedSender<Request>);

/// The two halves. The queue needs no bound: the audit has one request per table under way at the most.
/// `anchor`: the number of the one that the books are compared with.
pub(super) fn halves(anchor: Option<i64>) -> (Server, Tables) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Server(receiver), Tables::new(Client(sender), anchor))
}

impl Server {
    pub(super) async fn serve(mut self, snapshot: &mut dyn Snapshot) {
        async fn answer<T: Send + 'static>(reply: Reply<T>, reading: Reading<'_, Page<T>>) {
            let page = reading.await;
            // Decoded by a thread of its own, while the next page is fetched. An answer that nobody waits for any more
            // is dropped.
            tokio::task::spawn_blocking(|| reply.send(page.and_then(Page::decode)));
        }
        while let Some(request) = self.0.recv().await {
            match request {
                Request::Accounts(after, reply) => answer(reply, snapshot.accounts(after, PAGE)).await,
                Request::Entries(after, reply) => answer(reply, snapshot.entries(after, PAGE)).await,
                Request::Lots(after, reply) => answer(reply, snapshot.lots(after, PAGE)).await,
                Request::Holds(after, reply) => answer(reply, snapshot.holds(after, PAGE)).await,
                Request::Gifts(after, reply) => answer(reply, snapshot.gifts(after, PAGE)).await,
                Request::Orders(after, reply) => answer(reply, snapshot.orders(after, PAGE)).await,
                Request::Claims(after, reply) => answer(reply, snapshot.claims(after, PAGE)).await,
                Request::Checkpoints(after, reply) => answer(reply, snapshot.checkpoints(after, PAGE)).await,
                Request::Kept(after, reply) => answer(reply, snapshot.kept(after, PAGE)).await,
                Request::Leaves(number, after, reply) => {
                    answer(reply, snapshot.leaves(number, after, PAGE)).await
                }
                Request::LotsOf(user_id, ids, reply) => answer(reply, snapshot.lots_of(user_id, ids)).await,
                Request::HoldsOf(user_id, ids, reply) => answer(reply, snapshot.holds_of(user_id, ids)).await,
                Request::GiftsOf(user_id, ids, reply) => answer(reply, snapshot.gifts_of(user_id, ids)).await,
            }
        }
    }
}

type Answer<T> = oneshot::Receiver<StoreResult<Vec<T>>>;

fn wait<T>(answer: Answer<T>) -> StoreResult<Vec<T>> {
    // The other half goes first only where the caller gave up.
    answer
        .blocking_recv()
        .unwrap_or_else(|_| Err(StoreError::Lost("the audit was broken off".into())))
}

impl Client {
    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        // Where nobody listens, `reply` is dropped and the answer says so.
        let _ = self.0.send(request(reply));
        answer
    }
}

/// A table, page by page in the order of its key.
struct Pages<K, T> {
    client: Client,
    request: Box<dyn Fn(Option<K>, Reply<T>) -> Request + Send>,
    key: fn(&T) -> K,
    /// The page that was asked for and is not here yet; `None` after the last one.
    next: Option<Answer<T>>,
}

impl<K, T> Pages<K, T> {
    fn new(
        client: &Client,
        request: impl Fn(Option<K>, Reply<T>) -> Request + Send + 'static,
        key: fn(&T) -> K,
    ) -> Self {
        Pages {
            client: client.clone(),
            next: Some(client.ask(|reply| request(None, reply))),
            request: Box::new(request),
            key,
        }
    }

    /// The next page; empty after the last.
    fn next(&mut self) -> StoreResult<Vec<T>> {
        let Some(next) = self.next.take() else {
            return Ok(Vec::new());
        };
        let rows = wait(next)?;
        if let Some(last) = rows.last().filter(|_| rows.len() == PAGE) {
            let (after, request) = ((self.key)(last), &self.request);
            self.next = Some(self.client.ask(|reply| request(Some(after), reply)));
        }
        Ok(rows)
    }
}

/// A table, row by row.
pub(super) struct Ahead<K, T> {
    pages: Pages<K, T>,
    rows: std::vec::IntoIter<T>,
}

impl<K, T> Ahead<K, T> {
    fn new(
        client: &Client,
        request: impl Fn(Option<K>, Reply<T>) -> Request + Send + 'static,
        key: fn(&T) -> K,
    ) -> Self {
        Ahead {
            pages: Pages::new(client, request, key),
            rows: Vec::new().into_iter(),
        }
    }

    /// A table that nobody asked for.
    fn none(client: &Client, key: fn(&T) -> K, request: fn(Option<K>, Reply<T>) -> Request) -> Self
    where
        K: 'static,
        T: 'static,
    {
        Ahead {
            pages: Pages {
                client: client.clone(),
                request: Box::new(request),
                key,
                next: None,
            },
            rows: Vec::new().into_iter(),
        }
    }

    /// The row that [`take`](Self::take) would give.
    pub(super) fn peek(&mut self) -> StoreResult<Option<&T>> {
        if self.rows.as_slice().is_empty() {
            self.rows = self.pages.next()?.into_iter();
        }
        Ok(self.rows.as_slice().first())
    }

    /// The next row, if `wanted` wants it.
    pub(super) fn take(&mut self, wanted: impl FnOnce(&T) -> bool) -> StoreResult<Option<T>> {
        if self.peek()?.is_some_and(wanted) {
            Ok(self.rows.next())
        } else {
            Ok(None)
        }
    }
}

/// The entries, in order of account and number, each with the hash that it should have; without, where the one before it
/// is not there.
///
/// An entry's hash is over itself and the *stored* hash of the one before, so that one fault is named once. Entries are
/// large: they are lent where they lie.
pub(super) struct Journal {
    pages: Pages<(Uuid, i64), StoredEntry>,
    page: Vec<StoredEntry>,
    /// As many of the page as were lent.
    done: usize,
    /// The last entry that could be read: its account, number and hash.
    before: Option<(Uuid, i64, Hash)>,
}

fn position(entry: &StoredEntry) -> (Uuid, i64) {
    match entry {
        Ok(entry) => (entry.user_id, entry.seq),
        Err(damaged) => (damaged.user_id, damaged.seq),
    }
}

impl Journal {
    fn new(client: &Client) -> Self {
        Journal {
            pages: Pages::new(client, Request::Entries, position),
            page: Vec::new(),
            done: 0,
            before: None,
        }
    }

    /// The account that the next entry belongs to.
    pub(super) fn user_id(&mut self) -> StoreResult<Option<Uuid>> {
        if self.done == self.page.len() {
            self.page = self.pages.next()?;
            self.done = 0;
        }
        Ok(self.page.get(self.done).map(|entry| position(entry).0))
    }

    /// The next entry, if it is one of this account, and the hash it should have, where that is known.
    pub(super) fn take(&mut self, user_id: Uuid) -> StoreResult<Option<(&mut StoredEntry, Option<Hash>)>> {
        if self.user_id()? != Some(user_id) {
            return Ok(None);
        }
        let Some(entry) = self.page.get_mut(self.done) else {
            return Ok(None);
        };
        self.done += 1;
        let mut hash = None;
        if let Ok(entry) = &*entry {
            let previous = match self.before {
                Some((user_id, seq, hash)) if (user_id, seq + 1) == (entry.user_id, entry.seq) => Some(hash),
                _ => (entry.seq == 1).then(|| Hash::genesis(entry.user_id)),
            };
            hash = previous.map(|previous| entry.chained(&previous));
            self.before = Some((entry.user_id, entry.seq, entry.hash));
        }
        Ok(Some((entry, hash)))
    }
}

/// Everything that is audited.
pub(super) struct Tables {
    pub(super) accounts: Ahead<Uuid, Account>,
    pub(super) journal: Journal,
    pub(super) lots: Ahead<(Uuid, Uuid), (Uuid, Lot)>,
    pub(super) holds: Ahead<(Uuid, Uuid), Hold>,
    pub(super) gifts: Ahead<(Uuid, Uuid), GiftRow>,
    pub(super) orders: Ahead<(Uuid, OrderNo), StoredOrder>,
    pub(super) claims: Ahead<(Uuid, OrderNo), Claim>,
    pub(super) checkpoints: Ahead<Uuid, Checkpoint>,
    pub(super) kept: Ahead<(Uuid, i64), (Uuid, i64, Hash)>,
    /// Without an anchor, none.
    pub(super) leaves: Ahead<Uuid, Leaf>,
    pub(super) rows: Rows,
}

/// Where an order stands in the table.
pub(super) fn place(order: &StoredOrder) -> (Uuid, OrderNo) {
    match order {
        Ok(order) => (order.user_id, order.order_no),
        Err(damaged) => (damaged.user_id, damaged.order_no),
    }
}

impl Tables {
    fn new(client: Client, anchor: Option<i64>) -> Self {
        let user_id = |leaf: &Leaf| leaf.user_id;
        let leaves = match anchor {
            Some(number) => Ahead::new(
                &client,
                move |after, reply| Request::Leaves(number, after, reply),
                user_id,
            ),
            None => Ahead::none(&client, user_id, |after, reply| Request::Leaves(0, after, reply)),
        };
        Tables {
            leaves,
            journal: Journal::new(&client),
            accounts: Ahead::new(&client, Request::Accounts, |account| account.user_id),
            lots: Ahead::new(&client, Request::Lots, |(user_id, lot)| (*user_id, lot.lot_id)),
            holds: Ahead::new(&client, Request::Holds, |hold| {
                (hold.user_id, hold.consumption_id)
            }),
            gifts: Ahead::new(&client, Request::Gifts, |gift| (gift.user_id, gift.lot_id)),
            orders: Ahead::new(&client, Request::Orders, place),
            claims: Ahead::new(&client, Request::Claims, |claim| (claim.user_id, claim.order_no)),
            checkpoints: Ahead::new(&client, Request::Checkpoints, |checkpoint| {
                checkpoint.account.user_id
            }),
            kept: Ahead::new(&client, Request::Kept, |(user_id, seq, _)| (*user_id, *seq)),
            rows: Rows(client),
        }
    }
}

/// Single rows by their ids, [`PAGE`] of them at the most; those that are not there are left out.
pub(super) struct Rows(Client);

impl Rows {
    pub(super) fn lots(&self, user_id: Uuid, ids: Vec<Uuid>) -> StoreResult<Vec<(Uuid, Lot)>> {
        wait(self.0.ask(|reply| Request::LotsOf(user_id, ids, reply)))
    }

    pub(super) fn holds(&self, user_id: Uuid, ids: Vec<Uuid>) -> StoreResult<Vec<Hold>> {
        wait(self.0.ask(|reply| Request::HoldsOf(user_id, ids, reply)))
    }

    pub(super) fn gifts(&self, user_id: Uuid, ids: Vec<Uuid>) -> StoreResult<Vec<GiftRow>> {
        wait(self.0.ask(|reply| Request::GiftsOf(user_id, ids, reply)))
    }
}
