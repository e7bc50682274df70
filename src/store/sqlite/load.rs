//! Reading what a batch needs to know, row by row with cached statements.

use super::failure::{Attempt, Failure};
use super::rows::{
    self, Shape, account_columns, blob, entry_columns, hold_columns, lot_columns, micros, order_columns,
};
use crate::ledger::{Account, Entry, Hash, Hold, Lot, Order, OrderNo, Prior, State, Timestamp};
use crate::store::{Extent, KeyScope, Loaded, LoadedAccount, Needs, OrderNeed, StoreResult};
use rusqlite::{Connection, Params, params};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Everything in `needs`, inside the transaction that the caller has begun.
pub(super) fn load(connection: &Connection, needs: &Needs) -> StoreResult<Loaded> {
    Books { connection }
        .load(needs)
        .map_err(|failure| failure.explain(connection))
}

/// An account, or `None` where it has no row.
pub(super) fn account(
    connection: &Connection,
    user_id: Uuid,
    now: Timestamp,
    extent: Extent,
) -> Attempt<Option<LoadedAccount>> {
    let loaded = Books { connection }.account(user_id, Some(now), Vec::new(), &[], extent)?;
    Ok(Some(loaded).filter(|loaded| loaded.exists))
}

/// The entry that carries a key of an account.
pub(super) fn prior(connection: &Connection, user_id: Uuid, key: String) -> Attempt<Option<Prior>> {
    let loaded = Books { connection }.load(&Needs::of_key(user_id, key))?;
    Ok(loaded.priors.into_values().next())
}

/// A consumption, whosever it is.
pub(super) fn hold(connection: &Connection, consumption_id: Uuid) -> Attempt<Option<Hold>> {
    const SQL: &str = concat!(
        "SELECT ",
        hold_columns!(),
        " FROM credit_consumption_logs WHERE consumption_id = ?1"
    );
    one(connection, SQL, [blob(&consumption_id)], rows::HOLD)
}

/// Those of these lots that an account has.
pub(super) fn lots(connection: &Connection, user_id: Uuid, lot_ids: &[Uuid]) -> Attempt<Vec<Lot>> {
    let books = Books { connection };
    let lots = lot_ids.iter().map(|id| books.lot(user_id, *id));
    lots.filter_map(Attempt::transpose).collect()
}

/// An order, whosever it is.
pub(super) fn order(connection: &Connection, order_no: OrderNo) -> Attempt<Option<Order>> {
    const SQL: &str = concat!(
        "SELECT ",
        order_columns!(),
        " FROM credit_orders WHERE order_no = ?1"
    );
    one(connection, SQL, [order_no.to_string()], rows::ORDER)
}

/// The rows of a query.
pub(super) fn many<T>(
    connection: &Connection,
    sql: &'static str,
    values: impl Params,
    shape: Shape<T>,
) -> Attempt<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(shape.read(row)?);
    }
    Ok(found)
}

/// The first row of a query.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &'static str,
    values: impl Params,
    shape: Shape<T>,
) -> Attempt<Option<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(|row| shape.read(row)).transpose()
}

/// A limit that shows whether there are more.
fn one_more(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX).saturating_add(1)
}

struct Books<'c> {
    connection: &'c Connection,
}

impl Books<'_> {
    fn load(&self, needs: &Needs) -> Attempt<Loaded> {
        let mut loaded = Loaded::default();
        // Sorted by account, as is everything below: two readers of one page then go through it in the same order.
        let mut wanted: BTreeMap<Uuid, Vec<Hold>> =
            needs.accounts.iter().map(|id| (*id, Vec::new())).collect();
        for id in &needs.consumptions {
            if let Some(hold) = hold(self.connection, *id)? {
                loaded.owners.insert(*id, hold.user_id);
                wanted.entry(hold.user_id).or_default().push(hold);
            }
        }
        let known: HashMap<Uuid, Hash> = needs.known.iter().copied().collect();
        let now = needs.now.unwrap_or(Timestamp::MIN);
        for (user_id, named) in wanted {
            if let Some(hash) = known.get(&user_id).filter(|_| named.is_empty())
                && self.is_as_known(user_id, hash)?
            {
                continue;
            }
            let extent = needs.extent(&user_id);
            let mut account = self.account(user_id, needs.now, named, &needs.lots, extent)?;
            for (_, need) in needs.orders.iter().filter(|(owner, _)| *owner == user_id) {
                self.orders(*need, now, &mut account.state)?;
            }
            for (_, order_no, transaction_id) in needs.payments.iter().filter(|(owner, ..)| *owner == user_id)
            {
                self.payment(*order_no, transaction_id, now, &mut account.state)?;
            }
            loaded.accounts.insert(user_id, account);
        }
        for (scope, key) in &needs.keys {
            let owner = match scope {
                KeyScope::Account(user_id) => Some(*user_id),
                KeyScope::Consumption(id) => match loaded.owners.get(id) {
                    Some(owner) => Some(*owner),
                    None => hold(self.connection, *id)?.map(|hold| hold.user_id),
                },
            };
            let Some(user_id) = owner else { continue };
            if let Some(entry) = self.entry_with_key(user_id, key)? {
                let hold = match entry.consumption_id {
                    Some(id) => hold(self.connection, id)?,
                    None => None,
                };
                loaded
                    .priors
                    .insert((user_id, key.clone()), Prior { entry, hold });
            }
        }
        Ok(loaded)
    }

    /// An account with `named` holds, those of `lots` that are its own, and whatever else [`State`] asks for, as far as
    /// `extent` goes.
    fn account(
        &self,
        user_id: Uuid,
        now: Option<Timestamp>,
        named: Vec<Hold>,
        lots: &[(Uuid, Uuid)],
        extent: Extent,
    ) -> Attempt<LoadedAccount> {
        let mut loaded = LoadedAccount::new(user_id, now.unwrap_or(Timestamp::MIN));
        let state = &mut loaded.state;
        if let Some(account) = self.account_row(user_id)? {
            state.account = account;
            loaded.exists = true;
        }
        let is_due =
            |deadline: Option<Timestamp>| now.filter(|now| deadline.is_some_and(|first| first <= *now));
        for lot in self.open_lots(user_id, extent.lots)? {
            state.put_lot(lot);
        }
        state.note_open(extent.lots);
        let mut timely = Vec::new();
        if let (Some(now), Some(_)) = (now, state.lots_end) {
            if is_due(state.account.next_lot_deadline).is_some() {
                let mut due = self.due_lots(user_id, now, extent.due_lots)?;
                state.note_due_lots(&mut due, extent.due_lots);
                timely.append(&mut due);
                loaded.next_lot = Some(self.next_lot(user_id, now)?);
            }
            if let Some(max) = extent.expiring {
                let mut later = self.expiring_lots(user_id, now, max)?;
                state.note_expiring(&mut later, max);
                timely.append(&mut later);
            }
        }
        timely.into_iter().for_each(|lot| state.put_lot(lot));
        let mut holds = named;
        if let Some(now) = is_due(state.account.next_hold_deadline) {
            let mut due = self.due_holds(user_id, now, extent.due_holds)?;
            state.note_due(&mut due, extent.due_holds);
            holds.append(&mut due);
            loaded.looked_up_due = true;
            loaded.next_pending = self.next_pending(user_id, now)?;
        }
        if state.account.borrowed > 0 {
            let mut borrowers = self.borrowing_holds(user_id, extent.borrowers)?;
            state.note_borrowers(&mut borrowers, extent.borrowers);
            holds.append(&mut borrowers);
        }
        for (_, lot_id) in lots.iter().filter(|(owner, _)| *owner == user_id) {
            if let Some(lot) = self.lot(user_id, *lot_id)? {
                state.put_lot(lot);
            }
        }
        for hold in holds {
            for pin in &hold.state.pins {
                if state.lots.contains_key(&pin.lot_id) {
                    continue;
                }
                let lot = self.lot(user_id, pin.lot_id)?.ok_or_else(|| {
                    Failure::Damaged(format!(
                        "the database has lost lot {}, which consumption {} is pinned to",
                        pin.lot_id, hold.consumption_id
                    ))
                })?;
                state.put_lot(lot);
            }
            state.put_hold(hold);
        }
        Ok(loaded)
    }

    /// Adds the orders that are needed, and their lots.
    fn orders(&self, need: OrderNeed, now: Timestamp, state: &mut State) -> Attempt<()> {
        const OF_PACKAGE: &str = concat!(
            "SELECT ",
            order_columns!(),
            " FROM credit_orders WHERE user_id = ?1 AND package_id = ?2 AND status <> 'closed'"
        );
        // By `credit_orders_waiting`; without statistics the planner may think that an account has few orders.
        const WAITING: &str = concat!(
            "SELECT ",
            order_columns!(),
            " FROM credit_orders INDEXED BY credit_orders_waiting \
              WHERE user_id = ?1 AND status IN ('created', 'paying') AND expires_at > ?2"
        );
        let user_id = state.account.user_id;
        let orders = match need {
            OrderNeed::Number(order_no) => order(self.connection, order_no)?
                .filter(|order| order.user_id == user_id)
                .into_iter()
                .collect(),
            OrderNeed::OfPackage(package_id) => many(
                self.connection,
                OF_PACKAGE,
                [blob(&user_id), blob(&package_id)],
                rows::ORDER,
            )?,
            OrderNeed::Waiting => many(
                self.connection,
                WAITING,
                params![blob(&user_id), micros(now)],
                rows::ORDER,
            )?,
        };
        if let OrderNeed::Number(order_no) = need {
            for lot in self.reversed_lots(user_id, order_no)? {
                state.put_lot(lot);
            }
        }
        for order in orders {
            for lot_id in [order.state.lot_id, order.state.bonus_lot_id]
                .into_iter()
                .flatten()
            {
                if let Some(lot) = self.lot(user_id, lot_id)? {
                    state.put_lot(lot);
                }
            }
            state.orders.insert(order.order_no, order);
        }
        Ok(())
    }

    /// Adds what a payment of an order, which is there already, asks for.
    fn payment(
        &self,
        order_no: OrderNo,
        transaction_id: &str,
        now: Timestamp,
        state: &mut State,
    ) -> Attempt<()> {
        const CLAIM: &str = "SELECT channel, transaction_id, order_no, user_id FROM credit_payment_claims \
             WHERE channel = ?1 AND transaction_id = ?2";
        let Some(order) = state.orders.get(&order_no) else {
            return Ok(());
        };
        let of_package = order.limit_when_late(now).map(|_| order.package_id);
        let claim = one(
            self.connection,
            CLAIM,
            params![order.channel, transaction_id],
            rows::CLAIM,
        )?;
        if let Some(claim) = claim {
            state.claims.insert(claim.payment(), claim.order_no);
        }
        match of_package {
            Some(package_id) => self.orders(OrderNeed::OfPackage(package_id), now, state),
            None => Ok(()),
        }
    }

    fn is_as_known(&self, user_id: Uuid, hash: &Hash) -> Attempt<bool> {
        const SQL: &str = "SELECT 1 FROM credit_accounts WHERE user_id = ?1 AND hash = ?2";
        let mut statement = self.connection.prepare_cached(SQL)?;
        Ok(statement.exists(params![blob(&user_id), hash.0.as_slice()])?)
    }

    fn account_row(&self, user_id: Uuid) -> Attempt<Option<Account>> {
        const SQL: &str = concat!(
            "SELECT ",
            account_columns!(),
            " FROM credit_accounts WHERE user_id = ?1"
        );
        one(self.connection, SQL, [blob(&user_id)], rows::ACCOUNT)
    }

    /// In burn order, one more than `max` where there is one. Closed lots of old accounts are many: without statistics the
    /// planner would rather read them all.
    fn open_lots(&self, user_id: Uuid, max: usize) -> Attempt<Vec<Lot>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots INDEXED BY credit_lots_open WHERE user_id = ?1 AND open = 1 \
              ORDER BY priority, ifnull(expires_at, 9223372036854775807), \
              CASE source WHEN 'bonus' THEN 0 WHEN 'gift' THEN 0 ELSE 1 END, created_at, lot_id LIMIT ?2"
        );
        self.lots(SQL, params![blob(&user_id), one_more(max)])
    }

    fn due_lots(&self, user_id: Uuid, now: Timestamp, max: usize) -> Attempt<Vec<Lot>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots INDEXED BY credit_lots_expiry WHERE user_id = ?1 AND open = 1 AND expires_at <= ?2 \
              ORDER BY expires_at, lot_id LIMIT ?3"
        );
        self.lots(SQL, params![blob(&user_id), micros(now), one_more(max)])
    }

    fn expiring_lots(&self, user_id: Uuid, now: Timestamp, max: usize) -> Attempt<Vec<Lot>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots INDEXED BY credit_lots_expiry WHERE user_id = ?1 AND open = 1 AND expires_at > ?2 \
              ORDER BY expires_at, lot_id LIMIT ?3"
        );
        self.lots(SQL, params![blob(&user_id), micros(now), one_more(max)])
    }

    fn next_lot(&self, user_id: Uuid, now: Timestamp) -> Attempt<Option<Timestamp>> {
        const SQL: &str = "SELECT expires_at FROM credit_lots INDEXED BY credit_lots_expiry \
             WHERE user_id = ?1 AND open = 1 AND expires_at > ?2 ORDER BY expires_at LIMIT 1";
        one(
            self.connection,
            SQL,
            params![blob(&user_id), micros(now)],
            rows::TIME,
        )
    }

    /// `reversal` lots that came of an order.
    fn reversed_lots(&self, user_id: Uuid, order_no: OrderNo) -> Attempt<Vec<Lot>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots INDEXED BY credit_lots_reversed \
              WHERE user_id = ?1 AND reference = ?2 AND open = 1 AND source = 'reversal'"
        );
        self.lots(SQL, params![blob(&user_id), order_no.to_string()])
    }

    fn lots(&self, sql: &'static str, values: impl Params) -> Attempt<Vec<Lot>> {
        let found = many(self.connection, sql, values, rows::LOT)?;
        Ok(found.into_iter().map(|(_, lot)| lot).collect())
    }

    fn lot(&self, user_id: Uuid, lot_id: Uuid) -> Attempt<Option<Lot>> {
        const SQL: &str = concat!(
            "SELECT ",
            lot_columns!(),
            " FROM credit_lots WHERE user_id = ?1 AND lot_id = ?2"
        );
        let found = one(self.connection, SQL, [blob(&user_id), blob(&lot_id)], rows::LOT)?;
        Ok(found.map(|(_, lot)| lot))
    }

    /// By `credit_consumption_logs_pending`. One more than `max`, where there is one.
    fn due_holds(&self, user_id: Uuid, now: Timestamp, max: usize) -> Attempt<Vec<Hold>> {
        const SQL: &str = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM credit_consumption_logs WHERE user_id = ?1 AND status = 'pending' AND expires_at <= ?2 \
              ORDER BY expires_at, consumption_id LIMIT ?3"
        );
        many(
            self.connection,
            SQL,
            params![blob(&user_id), micros(now), one_more(max)],
            rows::HOLD,
        )
    }

    /// By `credit_consumption_logs_pending`.
    fn next_pending(&self, user_id: Uuid, now: Timestamp) -> Attempt<Option<Timestamp>> {
        const SQL: &str = "SELECT expires_at FROM credit_consumption_logs \
             WHERE user_id = ?1 AND status = 'pending' AND expires_at > ?2 ORDER BY expires_at LIMIT 1";
        one(
            self.connection,
            SQL,
            params![blob(&user_id), micros(now)],
            rows::TIME,
        )
    }

    /// One more than `max`, where there is one.
    fn borrowing_holds(&self, user_id: Uuid, max: usize) -> Attempt<Vec<Hold>> {
        const SQL: &str = concat!(
            "SELECT ",
            hold_columns!(),
            " FROM credit_consumption_logs INDEXED BY credit_consumption_logs_borrowing \
              WHERE user_id = ?1 AND status = 'pending' AND borrowed > 0 ORDER BY consumption_id LIMIT ?2"
        );
        many(
            self.connection,
            SQL,
            params![blob(&user_id), one_more(max)],
            rows::HOLD,
        )
    }

    fn entry_with_key(&self, user_id: Uuid, key: &str) -> Attempt<Option<Entry>> {
        const SQL: &str = concat!(
            "SELECT ",
            entry_columns!(),
            " FROM credit_transactions WHERE user_id = ?1 AND idempotency_key = ?2"
        );
        one(self.connection, SQL, params![blob(&user_id), key], rows::ENTRY)
    }
}
