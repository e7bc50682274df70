//! Everything a batch needs, in one statement.
//!
//! Most accounts have nothing due and few open lots, and their accounts, open lots and keys are all there is to know.
//! So that is read first, and only where an account's row says that there is more, or where the first lots were not
//! enough, all of that account is read anew: in a second statement, which takes the place of everything that the first one
//! found for it. Each account's picture is then of one snapshot, and a command needs one account's only.
//!
//! Every look-up is a `CROSS JOIN LATERAL` with an index behind it, and `LIMIT` or `OFFSET 0` to keep it that: the
//! planner does not know how long an array is, plans while tables are still empty, and would otherwise turn the join
//! around and walk through a growing index. `MATERIALIZED` keeps it from folding the parts back into one another.

use super::rows::{
    Packed, account_columns, clock_columns, deadline_columns, entry_columns, hold_columns, lot_columns,
};
use super::{Statements, during_read};
use crate::ledger::{Hash, Hold, Lot, Order, OrderNo, OrderStatus, Prior, State, Timestamp};
use crate::store::{
    Claim, Extent, KeyScope, LOTS_FIRST, Loaded, LoadedAccount, Needs, OpenOrderRow, OrderNeed, OrderRow,
    StoreError, StoreResult,
};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

const ACCOUNT: i16 = 0;
const LOT: i16 = 1;
const BORROWER: i16 = 2;
const DUE: i16 = 3;
const NAMED: i16 = 4;
const NEXT: i16 = 5;
const PRIOR: i16 = 6;
const CLOCK: i16 = 7;
/// A lot that is due, of an account with more open lots than were read.
const DUE_LOT: i16 = 8;
/// The same, of a lot that is not due yet.
const EXPIRING: i16 = 9;
const NEXT_LOT: i16 = 10;

/// The order in which lots burn: what `credit_lots_open` is in, and [`Lot::burn_order`].
const BURN_ORDER: &str =
    "l.priority, l.expires_at, (l.source NOT IN ('bonus', 'gift')), l.created_at, l.lot_id";

/// Parts of the statement that a batch may not need.
const WITH_CONSUMPTIONS: u32 = 1;
const WITH_KEYS: u32 = 2;
const WITH_CONSUMPTION_KEYS: u32 = 4;
const WITH_LOTS: u32 = 8;
/// What is due and holds that have borrowed, and the lots that holds are pinned to.
const WITH_HOLDS: u32 = 16;
/// Lots that will expire.
const WITH_EXPIRING: u32 = 256;

/// Accounts of which nothing is wanted while their last entry is as it is known.
const WITH_KNOWN: u32 = 64;

/// What the server's clock shows.
const WITH_CLOCK: u32 = 128;

/// What a lone command needs: one account, or one consumption and its account, and at the most one key and one lot.
const LONE: u32 = 32;

/// Writes the statement part by part. `$1` is the accounts; then, as far as needed: the hashes that are known of them, the
/// number of lots; now and the numbers of due holds, of due lots and of borrowers; now and the number of lots that will
/// expire; `consumptions`, `key_accounts`, `keys`, `key_consumptions`, `consumption_keys`, `lot_accounts`, `lots`; of a
/// [`LONE`] one just the account or the consumption, the hash, the key, the number of lots, the lot, now and the number of
/// lots that will expire.
fn text(mask: u32) -> String {
    let mut text = if mask & LONE != 0 {
        lone_text(mask)
    } else {
        batch_text(mask)
    };
    if mask & WITH_CLOCK != 0 {
        text.push_str(&format!(
            " UNION ALL SELECT {} FROM (SELECT '00000000-0000-0000-0000-000000000000'::uuid AS user_id) c",
            clock_columns(CLOCK, "c")
        ));
    }
    text
}

/// A lone command waits for every node that an executor sets up, so its look-ups are plain ones.
fn lone_text(mask: u32) -> String {
    let mut parameters = 0;
    let mut parameter = || {
        parameters += 1;
        format!("${parameters}")
    };
    let mut with = String::new();
    let mut select = Vec::new();
    let target = parameter();
    let account = if mask & WITH_CONSUMPTIONS == 0 {
        format!("{target}::uuid")
    } else {
        with = format!(
            "WITH named AS MATERIALIZED (SELECT * FROM {{s}}credit_consumption_logs h \
             WHERE h.consumption_id = {target}::uuid LIMIT 1) "
        );
        select.push(format!("SELECT {} FROM named h", hold_columns(NAMED, "h")));
        select.push(format!(
            "SELECT {} FROM named n CROSS JOIN LATERAL unnest(n.lot_ids) AS p(lot_id) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = n.user_id AND l.lot_id = p.lot_id LIMIT 1) l",
            lot_columns(LOT, "l")
        ));
        "(SELECT user_id FROM named)".to_owned()
    };
    let (accounts, lots_of) = if mask & WITH_KNOWN == 0 {
        (
            format!("{{s}}credit_accounts a WHERE a.user_id = {account}"),
            account.clone(),
        )
    } else {
        with = format!(
            "WITH acc AS MATERIALIZED (SELECT * FROM {{s}}credit_accounts a \
             WHERE a.user_id = {account} AND a.hash <> {}::bytea) ",
            parameter()
        );
        ("acc a".into(), "(SELECT user_id FROM acc)".into())
    };
    select.push(format!(
        "SELECT {} FROM {accounts}",
        account_columns(ACCOUNT, "a")
    ));
    if mask & (WITH_KEYS | WITH_CONSUMPTION_KEYS) != 0 {
        select.push(format!(
            "SELECT {} FROM {{s}}credit_transactions e WHERE e.user_id = {account} AND e.idempotency_key = {}::text",
            entry_columns(PRIOR, "e"),
            parameter()
        ));
    }
    select.push(format!(
        "(SELECT {} FROM {{s}}credit_lots l WHERE l.user_id = {lots_of} AND l.open ORDER BY {BURN_ORDER} LIMIT {})",
        lot_columns(LOT, "l"),
        parameter()
    ));
    if mask & WITH_LOTS != 0 {
        select.push(format!(
            "SELECT {} FROM {{s}}credit_lots l WHERE l.user_id = {account} AND l.lot_id = {}::uuid",
            lot_columns(LOT, "l"),
            parameter()
        ));
    }
    if mask & WITH_EXPIRING != 0 {
        select.push(format!(
            "(SELECT {} FROM {{s}}credit_lots l WHERE l.user_id = {lots_of} AND l.open AND l.expires_at > {} \
             ORDER BY l.expires_at, l.lot_id LIMIT {})",
            lot_columns(EXPIRING, "l"),
            parameter(),
            parameter()
        ));
    }
    format!("{with}{}", select.join(" UNION ALL "))
}

fn batch_text(mask: u32) -> String {
    let holds = mask & WITH_HOLDS != 0;
    let mut next = 1;
    let mut parameter = || {
        next += 1;
        format!("${next}")
    };
    let mut with = Vec::new();
    let mut select = Vec::new();
    let (mut wanted, known, changed) = if mask & WITH_KNOWN == 0 {
        ("SELECT unnest($1::uuid[]) AS user_id".to_owned(), "", "")
    } else {
        (
            format!(
                "SELECT unnest($1::uuid[]) AS user_id, unnest({}::bytea[]) AS known",
                parameter()
            ),
            ", NULL",
            " AND a.hash IS DISTINCT FROM w.known",
        )
    };
    let lots_max = parameter();
    let (now, due_max, due_lots_max, borrowers_max) = if holds {
        (parameter(), parameter(), parameter(), parameter())
    } else {
        Default::default()
    };
    let (later_than, expiring_max) = if mask & WITH_EXPIRING == 0 {
        Default::default()
    } else {
        (parameter(), parameter())
    };
    let named = mask & WITH_CONSUMPTIONS != 0;
    if named {
        with.push(format!(
            "named AS MATERIALIZED (SELECT h.* FROM unnest({}::uuid[]) AS n(id) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_consumption_logs h WHERE h.consumption_id = n.id LIMIT 1) h)",
            parameter()
        ));
        wanted.push_str(&format!(" UNION SELECT user_id{known} FROM named"));
        select.push(format!("SELECT {} FROM named h", hold_columns(NAMED, "h")));
    }
    with.push(format!("wanted AS MATERIALIZED ({wanted})"));
    with.push(format!(
        "acc AS MATERIALIZED (SELECT a.* FROM wanted w CROSS JOIN LATERAL \
         (SELECT * FROM {{s}}credit_accounts a WHERE a.user_id = w.user_id{changed} LIMIT 1) a)"
    ));
    if holds {
        // The first condition holds or not for a whole account, so nothing is looked up where nothing is due.
        with.push(format!(
            "due AS MATERIALIZED (SELECT h.* FROM acc a CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_consumption_logs h WHERE a.next_hold_deadline <= {now} AND h.user_id = a.user_id \
              AND h.status = 'pending' AND h.expires_at <= {now} ORDER BY h.expires_at, h.consumption_id LIMIT {due_max}) h)"
        ));
        with.push(format!(
            "borrowers AS MATERIALIZED (SELECT h.* FROM acc a CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_consumption_logs h WHERE a.borrowed > 0 AND h.user_id = a.user_id \
              AND h.status = 'pending' AND h.borrowed > 0 ORDER BY h.consumption_id LIMIT {borrowers_max}) h)"
        ));
    }
    select.push(format!("SELECT {} FROM acc a", account_columns(ACCOUNT, "a")));
    select.push(format!(
        "SELECT {} FROM acc a CROSS JOIN LATERAL \
         (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = a.user_id AND l.open \
          ORDER BY {BURN_ORDER} LIMIT {lots_max}) l",
        lot_columns(LOT, "l")
    ));
    if mask & WITH_EXPIRING != 0 {
        select.push(format!(
            "SELECT {} FROM acc a CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = a.user_id AND l.open AND l.expires_at > {later_than} \
              ORDER BY l.expires_at, l.lot_id LIMIT {expiring_max}) l",
            lot_columns(EXPIRING, "l")
        ));
    }
    let mut pinned = Vec::new();
    if named {
        pinned.push("SELECT user_id, unnest(lot_ids) AS lot_id FROM named");
    }
    if holds {
        pinned.push("SELECT user_id, unnest(lot_ids) AS lot_id FROM due");
        pinned.push("SELECT user_id, unnest(lot_ids) AS lot_id FROM borrowers");
        select.push(format!("SELECT {} FROM due h", hold_columns(DUE, "h")));
        select.push(format!("SELECT {} FROM borrowers h", hold_columns(BORROWER, "h")));
        select.push(format!(
            "SELECT {} FROM acc a CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_lots l WHERE a.next_lot_deadline <= {now} AND l.user_id = a.user_id AND l.open \
              AND l.expires_at <= {now} ORDER BY l.expires_at, l.lot_id LIMIT {due_lots_max}) l",
            lot_columns(DUE_LOT, "l")
        ));
        select.push(format!(
            "SELECT {} FROM acc a CROSS JOIN LATERAL \
             (SELECT l.user_id, l.expires_at FROM {{s}}credit_lots l WHERE a.next_lot_deadline <= {now} \
              AND l.user_id = a.user_id AND l.open AND l.expires_at > {now} ORDER BY l.expires_at LIMIT 1) l",
            deadline_columns(NEXT_LOT, "l")
        ));
        select.push(format!(
            "SELECT {} FROM acc a CROSS JOIN LATERAL \
             (SELECT h.user_id, h.expires_at FROM {{s}}credit_consumption_logs h WHERE a.next_hold_deadline <= {now} \
              AND h.user_id = a.user_id AND h.status = 'pending' AND h.expires_at > {now} \
              ORDER BY h.expires_at LIMIT 1) h",
            deadline_columns(NEXT, "h")
        ));
    }
    if !pinned.is_empty() {
        select.push(format!(
            "SELECT {} FROM ({}) p CROSS JOIN LATERAL (SELECT * FROM {{s}}credit_lots l \
             WHERE l.user_id = p.user_id AND l.lot_id = p.lot_id LIMIT 1) l",
            lot_columns(LOT, "l"),
            pinned.join(" UNION ")
        ));
    }
    if mask & WITH_KEYS != 0 {
        let (accounts, keys) = (parameter(), parameter());
        select.push(format!(
            "SELECT {} FROM unnest({accounts}::uuid[], {keys}::text[]) AS k(user_id, key) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_transactions e WHERE e.user_id = k.user_id AND e.idempotency_key = k.key \
              LIMIT 1) e",
            entry_columns(PRIOR, "e")
        ));
    }
    if mask & WITH_CONSUMPTION_KEYS != 0 {
        let (consumptions, keys) = (parameter(), parameter());
        select.push(format!(
            "SELECT {} FROM unnest({consumptions}::uuid[], {keys}::text[]) AS k(id, key) \
             CROSS JOIN LATERAL (SELECT user_id FROM named n WHERE n.consumption_id = k.id LIMIT 1) n \
             CROSS JOIN LATERAL (SELECT * FROM {{s}}credit_transactions e \
              WHERE e.user_id = n.user_id AND e.idempotency_key = k.key LIMIT 1) e",
            entry_columns(PRIOR, "e")
        ));
    }
    if mask & WITH_LOTS != 0 {
        let (accounts, lots) = (parameter(), parameter());
        select.push(format!(
            "SELECT {} FROM unnest({accounts}::uuid[], {lots}::uuid[]) AS n(user_id, id) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = n.user_id AND l.lot_id = n.id LIMIT 1) l",
            lot_columns(LOT, "l")
        ));
    }
    format!("WITH {} {}", with.join(", "), select.join(" UNION ALL "))
}

/// Takes the rows of all accounts that exist, in order of id, so that nobody else can write them.
pub(super) async fn lock(
    connection: &mut PgConnection,
    statements: &Statements,
    needs: &Needs,
) -> StoreResult<()> {
    let text = statements.text("lock", 0, || {
        "SELECT user_id FROM {s}credit_accounts WHERE user_id = ANY(ARRAY(SELECT unnest($1::uuid[]) UNION \
         SELECT h.user_id FROM unnest($2::uuid[]) AS n(id) CROSS JOIN LATERAL \
         (SELECT user_id FROM {s}credit_consumption_logs h WHERE h.consumption_id = n.id LIMIT 1) h)) \
         ORDER BY user_id FOR UPDATE"
            .into()
    });
    sqlx::query(text)
        .persistent(statements.persistent)
        .bind(&needs.accounts)
        .bind(&needs.consumptions)
        .execute(connection)
        .await
        .map_err(during_read)?;
    Ok(())
}

pub(super) async fn load(
    connection: &mut PgConnection,
    statements: &Statements,
    needs: &Needs,
) -> StoreResult<Loaded> {
    let first = Extent::first(needs.lots_first.unwrap_or(LOTS_FIRST));
    load_with(connection, statements, needs, first).await
}

/// `extent`: how much is read of accounts of which no more is wanted.
pub(super) async fn load_with(
    connection: &mut PgConnection,
    statements: &Statements,
    needs: &Needs,
    extent: Extent,
) -> StoreResult<Loaded> {
    let mut loaded = read(connection, statements, needs, extent, 0).await?;
    let mut unknown: BTreeMap<Option<usize>, HashSet<Uuid>> = BTreeMap::new();
    for (user_id, found) in &loaded.accounts {
        let rows = needs.more.get(user_id).copied();
        let account = &found.state.account;
        let now = needs.now.unwrap_or(Timestamp::MIN);
        let lots_due = found.state.lots_end.is_some() && is_due(account.next_lot_deadline, now);
        let borrowers = extent.borrowers > 0 && account.borrowed > 0;
        if rows.is_some() || found.looked_up_due || lots_due || borrowers {
            unknown.entry(rows).or_default().insert(*user_id);
        }
    }
    for (rows, accounts) in unknown {
        let more = about(needs, &loaded, &accounts);
        let extent = rows.map_or(extent, Extent::more);
        let again = read(connection, statements, &more, extent, WITH_HOLDS).await?;
        loaded
            .priors
            .retain(|(user_id, _), _| !again.accounts.contains_key(user_id));
        loaded.accounts.extend(again.accounts);
        loaded.owners.extend(again.owners);
        loaded.priors.extend(again.priors);
    }
    name_holds_of_priors(connection, statements, &mut loaded).await?;
    if !needs.orders.is_empty() {
        let now = needs.now.unwrap_or(Timestamp::MIN);
        load_orders(connection, statements, &needs.orders, now, &mut loaded).await?;
        if !needs.payments.is_empty() {
            load_claims(connection, statements, needs, &mut loaded).await?;
            let late = of_late_payments(needs, now, &loaded);
            if !late.is_empty() {
                load_orders(connection, statements, &late, now, &mut loaded).await?;
            }
        }
    }
    Ok(loaded)
}

/// What `needs` asks about these accounts.
fn about(needs: &Needs, loaded: &Loaded, accounts: &HashSet<Uuid>) -> Needs {
    let unknown = |user_id: &Uuid| accounts.contains(user_id);
    let owner_unknown = |id: &Uuid| loaded.owners.get(id).is_some_and(unknown);
    let scope_unknown = |scope: &KeyScope| match scope {
        KeyScope::Account(user_id) => unknown(user_id),
        KeyScope::Consumption(id) => owner_unknown(id),
    };
    Needs {
        now: needs.now,
        consumptions: needs
            .consumptions
            .iter()
            .filter(|id| owner_unknown(id))
            .copied()
            .collect(),
        lots: needs
            .lots
            .iter()
            .filter(|(user_id, _)| unknown(user_id))
            .copied()
            .collect(),
        keys: needs
            .keys
            .iter()
            .filter(|(scope, _)| scope_unknown(scope))
            .cloned()
            .collect(),
        accounts: accounts.iter().copied().collect(),
        lock: needs.lock,
        ..Needs::default()
    }
}

async fn read(
    connection: &mut PgConnection,
    statements: &Statements,
    needs: &Needs,
    extent: Extent,
    holds: u32,
) -> StoreResult<Loaded> {
    // One more than is wanted tells whether there are more.
    let one_more = |max: usize| i64::try_from(max).unwrap_or(i64::MAX).saturating_add(1);
    let now = needs.now.unwrap_or(Timestamp::MIN);
    let (mut key_accounts, mut keys) = (Vec::new(), Vec::new());
    let (mut key_consumptions, mut consumption_keys) = (Vec::new(), Vec::new());
    for (scope, key) in &needs.keys {
        match scope {
            KeyScope::Account(id) => {
                key_accounts.push(*id);
                keys.push(key.as_str());
            }
            KeyScope::Consumption(id) => {
                key_consumptions.push(*id);
                consumption_keys.push(key.as_str());
            }
        }
    }
    let flag = |on: bool, mask: u32| if on { mask } else { 0 };
    let mask = holds
        | flag(!needs.consumptions.is_empty(), WITH_CONSUMPTIONS)
        | flag(!keys.is_empty(), WITH_KEYS)
        | flag(!consumption_keys.is_empty(), WITH_CONSUMPTION_KEYS)
        | flag(!needs.lots.is_empty(), WITH_LOTS)
        | flag(!needs.known.is_empty(), WITH_KNOWN)
        | flag(needs.clock.is_some(), WITH_CLOCK)
        | flag(extent.expiring.is_some(), WITH_EXPIRING);
    let lone = holds == 0
        && needs.accounts.len() + needs.consumptions.len() == 1
        && needs.keys.len() <= 1
        && needs.lots.len() <= 1;
    let mask = mask | flag(lone, LONE);
    let query = sqlx::query(statements.text("load", mask, || text(mask))).persistent(statements.persistent);
    if lone {
        let mut query = query.bind(needs.accounts.first().or(needs.consumptions.first()));
        if let Some((_, hash)) = needs.known.first() {
            query = query.bind(hash.0.as_slice());
        }
        if let Some((_, key)) = needs.keys.first() {
            query = query.bind(key);
        }
        query = query.bind(one_more(extent.lots));
        if let Some((_, lot)) = needs.lots.first() {
            query = query.bind(lot);
        }
        if let Some(max) = extent.expiring {
            query = query.bind(now).bind(one_more(max));
        }
        let rows = query.fetch_all(&mut *connection).await.map_err(during_read)?;
        return collect(&rows, needs, now, extent, mask);
    }
    let known: HashMap<Uuid, &[u8]> = needs
        .known
        .iter()
        .map(|(user_id, hash)| (*user_id, hash.0.as_slice()))
        .collect();
    let mut query = query.bind(&needs.accounts);
    if mask & WITH_KNOWN != 0 {
        let hashes = needs.accounts.iter().map(|id| known.get(id).copied());
        query = query.bind(hashes.collect::<Vec<Option<&[u8]>>>());
    }
    query = query.bind(one_more(extent.lots));
    if mask & WITH_HOLDS != 0 {
        query = query.bind(now).bind(one_more(extent.due_holds));
        query = query
            .bind(one_more(extent.due_lots))
            .bind(one_more(extent.borrowers));
    }
    if let Some(max) = extent.expiring {
        query = query.bind(now).bind(one_more(max));
    }
    if mask & WITH_CONSUMPTIONS != 0 {
        query = query.bind(&needs.consumptions);
    }
    if mask & WITH_KEYS != 0 {
        query = query.bind(key_accounts).bind(keys);
    }
    if mask & WITH_CONSUMPTION_KEYS != 0 {
        query = query.bind(key_consumptions).bind(consumption_keys);
    }
    if mask & WITH_LOTS != 0 {
        let (accounts, lots): (Vec<Uuid>, Vec<Uuid>) = needs.lots.iter().copied().unzip();
        query = query.bind(accounts).bind(lots);
    }
    let rows = query.fetch_all(&mut *connection).await.map_err(during_read)?;
    collect(&rows, needs, now, extent, mask)
}

fn collect(rows: &[PgRow], needs: &Needs, now: Timestamp, extent: Extent, mask: u32) -> StoreResult<Loaded> {
    let mut loaded = Loaded::default();
    let known: HashSet<Uuid> = needs.known.iter().map(|(user_id, _)| *user_id).collect();
    for user_id in needs.accounts.iter().filter(|id| !known.contains(id)) {
        loaded
            .accounts
            .insert(*user_id, LoadedAccount::new(*user_id, now));
    }
    let mut rest = Vec::with_capacity(rows.len());
    for row in rows {
        let packed = Packed::read(row)?;
        if let (CLOCK, Some(bound)) = (packed.tag, needs.clock) {
            if let Some(time) = packed.time(0) {
                bound.check(time)?;
            }
            continue;
        }
        if packed.tag != ACCOUNT {
            rest.push(packed);
            continue;
        }
        let account = packed.account()?;
        let looked_up_due = is_due(account.next_hold_deadline, now);
        let mut found = LoadedAccount::new(account.user_id, now);
        found.state.account = account;
        (found.exists, found.looked_up_due) = (true, looked_up_due);
        loaded.accounts.insert(packed.user_id, found);
    }
    let mut parts: HashMap<Uuid, Parts> = HashMap::new();
    for packed in rest {
        let user_id = packed.user_id;
        match packed.tag {
            PRIOR => {
                let entry = packed.entry().map_err(|damaged| StoreError::Failed {
                    problem: format!(
                        "entry {} of account {}: {}",
                        damaged.seq, damaged.user_id, damaged.problem
                    ),
                    remedy: "the books are damaged; run verify()",
                })?;
                let key = (user_id, entry.idempotency_key.clone().unwrap_or_default());
                loaded.priors.insert(key, Prior { entry, hold: None });
                continue;
            }
            NAMED => {
                if let Some(id) = packed.id() {
                    loaded.owners.insert(id, user_id);
                }
            }
            _ => {}
        }
        let account = loaded
            .accounts
            .entry(user_id)
            .or_insert_with(|| LoadedAccount::new(user_id, now));
        match packed.tag {
            LOT => account.state.put_lot(packed.lot()?),
            DUE_LOT => parts.entry(user_id).or_default().due_lots.push(packed.lot()?),
            EXPIRING => parts.entry(user_id).or_default().expiring.push(packed.lot()?),
            NEXT_LOT => parts.entry(user_id).or_default().next_lot = packed.time(0),
            NEXT => account.next_pending = packed.time(0),
            DUE => parts.entry(user_id).or_default().due.push(packed.hold()?),
            BORROWER => parts.entry(user_id).or_default().borrowers.push(packed.hold()?),
            _ => account.state.put_hold(packed.hold()?),
        }
    }
    for (user_id, account) in &mut loaded.accounts {
        let state = &mut account.state;
        state.note_open(extent.lots);
        let part = parts.remove(user_id).unwrap_or_default();
        if mask & WITH_HOLDS == 0 {
            state.borrowers_end = (state.account.borrowed > 0).then(Uuid::nil);
        } else if state.lots_end.is_some() && is_due(state.account.next_lot_deadline, now) {
            account.next_lot = Some(part.next_lot);
        }
        part.put(state, extent);
    }
    Ok(loaded)
}

fn is_due(deadline: Option<Timestamp>, now: Timestamp) -> bool {
    deadline.is_some_and(|deadline| deadline <= now)
}

/// Rows of an account of which there may be more than were wanted.
#[derive(Default)]
struct Parts {
    due: Vec<Hold>,
    borrowers: Vec<Hold>,
    due_lots: Vec<Lot>,
    expiring: Vec<Lot>,
    next_lot: Option<Timestamp>,
}

impl Parts {
    fn put(mut self, state: &mut State, extent: Extent) {
        self.due
            .sort_by_key(|hold| (hold.state.expires_at, hold.consumption_id));
        state.note_due(&mut self.due, extent.due_holds);
        self.borrowers.sort_by_key(|hold| hold.consumption_id);
        state.note_borrowers(&mut self.borrowers, extent.borrowers);
        let holds = self.due.into_iter().chain(self.borrowers);
        holds.for_each(|hold| state.put_hold(hold));
        // Where all lots are known, these are among them.
        if state.lots_end.is_some() {
            let in_order = |lots: &mut Vec<Lot>| lots.sort_by_key(|lot| (lot.expires_at, lot.lot_id));
            in_order(&mut self.due_lots);
            state.note_due_lots(&mut self.due_lots, extent.due_lots);
            in_order(&mut self.expiring);
            state.note_expiring(&mut self.expiring, extent.expiring.unwrap_or_default());
            let lots = self.due_lots.into_iter().chain(self.expiring);
            lots.for_each(|lot| state.put_lot(lot));
        }
    }
}

/// Replays are rare, so the consumptions they name are fetched when there is one. Only what never changes in them is
/// used, so a later snapshot does no harm.
async fn name_holds_of_priors(
    connection: &mut PgConnection,
    statements: &Statements,
    loaded: &mut Loaded,
) -> StoreResult<()> {
    let ids: Vec<Uuid> = loaded
        .priors
        .values()
        .filter_map(|prior| prior.entry.consumption_id)
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let text = statements.text("holds", 0, || {
        format!(
            "SELECT {} FROM unnest($1::uuid[]) AS n(id) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_consumption_logs h WHERE h.consumption_id = n.id LIMIT 1) h",
            hold_columns(NAMED, "h")
        )
    });
    let rows = sqlx::query(text)
        .persistent(statements.persistent)
        .bind(ids)
        .fetch_all(connection)
        .await
        .map_err(during_read)?;
    let mut holds = HashMap::new();
    for row in &rows {
        let hold = Packed::read(row)?.hold()?;
        holds.insert(hold.consumption_id, hold);
    }
    for prior in loaded.priors.values_mut() {
        prior.hold = prior.entry.consumption_id.and_then(|id| holds.get(&id).cloned());
    }
    Ok(())
}

/// The columns of [`order_row`].
pub(super) const ORDER: &str = "order_no::text, user_id, status::text, channel::text, package_id, price_minor::int8, \
     currency::text, credits::int8, bonus_credits::int8, refunded_minor::int8, transaction_id::text, lot_id, \
     bonus_lot_id, data, created_at, expires_at, paid_at";

pub(super) fn order_row(row: &PgRow) -> StoreResult<OrderRow> {
    let read = || -> Result<OrderRow, sqlx::Error> {
        Ok(OrderRow {
            order_no: row.try_get(0)?,
            user_id: row.try_get(1)?,
            status: row.try_get(2)?,
            channel: row.try_get(3)?,
            package_id: row.try_get(4)?,
            price_minor: row.try_get(5)?,
            currency: row.try_get(6)?,
            credits: row.try_get(7)?,
            bonus_credits: row.try_get(8)?,
            refunded_minor: row.try_get(9)?,
            transaction_id: row.try_get(10)?,
            lot_id: row.try_get(11)?,
            bonus_lot_id: row.try_get(12)?,
            data: row.try_get(13)?,
            created_at: row.try_get(14)?,
            expires_at: row.try_get(15)?,
            paid_at: row.try_get(16)?,
        })
    };
    read().map_err(during_read)
}

pub(super) fn order(row: &PgRow) -> StoreResult<Order> {
    order_row(row)?.sound()
}

pub(super) fn open_order(row: &PgRow) -> StoreResult<OpenOrderRow> {
    let status: String = row.try_get(3).map_err(during_read)?;
    Ok(OpenOrderRow {
        order_no: number(row, 0)?,
        user_id: row.try_get(1).map_err(during_read)?,
        channel: row.try_get(2).map_err(during_read)?,
        status: OrderStatus::parse(&status).ok_or_else(|| StoreError::Failed {
            problem: format!("`{status}` is no state of an order"),
            remedy: "the books are damaged; restore them from a backup",
        })?,
        expires_at: row.try_get(4).map_err(during_read)?,
    })
}

/// Orders are rare beside consumptions, so they are read in statements of their own. Every change of an order moves its
/// account's journal on: what is read here is at least as new as the account's row, and where it is newer the write finds
/// the account stale.
async fn load_orders(
    connection: &mut PgConnection,
    statements: &Statements,
    needs: &[(Uuid, OrderNeed)],
    now: Timestamp,
    loaded: &mut Loaded,
) -> StoreResult<()> {
    let text = statements.text("orders", 0, || {
        format!(
            "SELECT {ORDER} FROM unnest($1::uuid[], $2::text[]) AS n(owner, number) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_orders o WHERE o.order_no = n.number AND o.user_id = n.owner LIMIT 1) o \
             UNION ALL SELECT {ORDER} FROM unnest($3::uuid[], $4::uuid[]) AS n(owner, package) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_orders o WHERE o.user_id = n.owner AND o.package_id = n.package \
              AND o.status <> 'closed' OFFSET 0) o \
             UNION ALL SELECT {ORDER} FROM unnest($5::uuid[]) AS n(owner) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_orders o WHERE o.user_id = n.owner AND o.status IN ('created', 'paying') \
              AND o.expires_at > $6 OFFSET 0) o"
        )
    });
    let (mut owners, mut numbers) = (Vec::new(), Vec::new());
    let (mut buyers, mut packages, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
    for (user_id, need) in needs {
        match need {
            OrderNeed::Number(order_no) => {
                owners.push(*user_id);
                numbers.push(order_no.to_string());
            }
            OrderNeed::OfPackage(package_id) => {
                buyers.push(*user_id);
                packages.push(*package_id);
            }
            OrderNeed::Waiting => waiting.push(*user_id),
        }
    }
    let rows = sqlx::query(text)
        .persistent(statements.persistent)
        .bind(&owners)
        .bind(&numbers)
        .bind(buyers)
        .bind(packages)
        .bind(waiting)
        .bind(now)
        .fetch_all(&mut *connection)
        .await
        .map_err(during_read)?;
    let (mut accounts, mut lots) = (Vec::new(), Vec::new());
    for row in &rows {
        let order = order(row)?;
        for lot_id in [order.state.lot_id, order.state.bonus_lot_id]
            .into_iter()
            .flatten()
        {
            accounts.push(order.user_id);
            lots.push(lot_id);
        }
        if let Some(account) = loaded.accounts.get_mut(&order.user_id) {
            account.state.orders.insert(order.order_no, order);
        }
    }
    if lots.is_empty() {
        return Ok(());
    }
    let text = statements.text("order_lots", 0, || {
        let columns = lot_columns(LOT, "l");
        format!(
            "SELECT {columns} FROM unnest($1::uuid[], $2::uuid[]) AS n(user_id, id) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = n.user_id AND l.lot_id = n.id LIMIT 1) l \
             UNION ALL SELECT {columns} FROM unnest($3::uuid[], $4::text[]) AS n(user_id, number) CROSS JOIN LATERAL \
             (SELECT * FROM {{s}}credit_lots l WHERE l.user_id = n.user_id AND l.reference = n.number AND l.open \
              AND l.source = 'reversal' OFFSET 0) l"
        )
    });
    let rows = sqlx::query(text)
        .persistent(statements.persistent)
        .bind(accounts)
        .bind(lots)
        .bind(owners)
        .bind(numbers)
        .fetch_all(&mut *connection)
        .await
        .map_err(during_read)?;
    for row in &rows {
        let packed = Packed::read(row)?;
        if let Some(account) = loaded.accounts.get_mut(&packed.user_id) {
            account.state.put_lot(packed.lot()?);
        }
    }
    Ok(())
}

/// What counts against the purchase limits of orders that are paid late.
fn of_late_payments(needs: &Needs, now: Timestamp, loaded: &Loaded) -> Vec<(Uuid, OrderNeed)> {
    let mut late = Vec::new();
    for (user_id, order_no, _) in &needs.payments {
        let account = loaded.accounts.get(user_id);
        let order = account.and_then(|account| account.state.orders.get(order_no));
        if let Some(order) = order.filter(|order| order.limit_when_late(now).is_some()) {
            let need = (*user_id, OrderNeed::OfPackage(order.package_id));
            if !late.contains(&need) {
                late.push(need);
            }
        }
    }
    late
}

/// Which of the payments have settled an order. An account's own claims are as new as its orders. Another's may be newer than
/// what is found here: then the write finds them.
async fn load_claims(
    connection: &mut PgConnection,
    statements: &Statements,
    needs: &Needs,
    loaded: &mut Loaded,
) -> StoreResult<()> {
    let text = statements.text("claims", 0, || {
        "SELECT n.owner, c.channel::text, c.transaction_id::text, c.order_no::text \
         FROM unnest($1::uuid[], $2::text[], $3::text[]) AS n(owner, channel, transaction) CROSS JOIN LATERAL \
         (SELECT * FROM {s}credit_payment_claims c WHERE c.channel = n.channel \
          AND c.transaction_id = n.transaction LIMIT 1) c"
            .into()
    });
    let (mut owners, mut channels, mut transactions) = (Vec::new(), Vec::new(), Vec::new());
    for (user_id, order_no, transaction_id) in &needs.payments {
        let account = loaded.accounts.get(user_id);
        if let Some(order) = account.and_then(|account| account.state.orders.get(order_no)) {
            owners.push(*user_id);
            channels.push(order.channel.clone());
            transactions.push(transaction_id.clone());
        }
    }
    let rows = sqlx::query(text)
        .persistent(statements.persistent)
        .bind(owners)
        .bind(channels)
        .bind(transactions)
        .fetch_all(connection)
        .await
        .map_err(during_read)?;
    for row in &rows {
        let owner: Uuid = row.try_get(0).map_err(during_read)?;
        let payment = (
            row.try_get(1).map_err(during_read)?,
            row.try_get(2).map_err(during_read)?,
        );
        let order_no = number(row, 3)?;
        if let Some(account) = loaded.accounts.get_mut(&owner) {
            account.state.claims.insert(payment, order_no);
        }
    }
    Ok(())
}

pub(super) fn claim(row: &PgRow) -> StoreResult<Claim> {
    Ok(Claim {
        channel: row.try_get(0).map_err(during_read)?,
        transaction_id: row.try_get(1).map_err(during_read)?,
        order_no: number(row, 2)?,
        user_id: row.try_get(3).map_err(during_read)?,
    })
}

/// The number of an order in a column.
pub(super) fn number(row: &PgRow, column: usize) -> StoreResult<OrderNo> {
    let text: String = row.try_get(column).map_err(during_read)?;
    text.parse().map_err(|_| StoreError::Failed {
        problem: format!("`{text}` is no order's number"),
        remedy: "the books are damaged; restore them from a backup",
    })
}

/// Waits until the server process `pid` is gone, so that no write of it can land any more.
pub(super) async fn outlive(connection: &mut PgConnection, pid: i32, began: i64) -> StoreResult<()> {
    for pause_ms in [0, 1, 5, 20, 50, 100, 200, 400, 800, 1600] {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        // Its client is gone; ending it only brings forward what it will notice itself. Allowed for the same role.
        let row = sqlx::query(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
             WHERE pid = $1 AND (extract(epoch FROM backend_start) * 1000000)::bigint = $2",
        )
        .bind(pid)
        .bind(began)
        .fetch_one(&mut *connection)
        .await
        .map_err(during_read)?;
        if row.try_get::<i64, _>(0).map_err(during_read)? == 0 {
            return Ok(());
        }
    }
    Err(StoreError::Unknown(
        "the server still runs the process that a write was lost with".into(),
    ))
}

/// Whether each entry is in the journal, with that hash.
pub(super) async fn landed(
    connection: &mut PgConnection,
    statements: &Statements,
    entries: &[(Uuid, i64, Hash)],
) -> StoreResult<Vec<bool>> {
    let text = statements.text("landed", 0, || {
        "SELECT EXISTS (SELECT 1 FROM {s}credit_transactions e WHERE e.user_id = n.user_id AND e.seq = n.seq \
         AND e.hash = n.hash) FROM unnest($1::uuid[], $2::int8[], $3::bytea[]) WITH ORDINALITY \
         AS n(user_id, seq, hash, nr) ORDER BY nr"
            .into()
    });
    let rows = sqlx::query(text)
        .persistent(statements.persistent)
        .bind(entries.iter().map(|e| e.0).collect::<Vec<_>>())
        .bind(entries.iter().map(|e| e.1).collect::<Vec<_>>())
        .bind(entries.iter().map(|e| e.2.0.as_slice()).collect::<Vec<_>>())
        .fetch_all(connection)
        .await
        .map_err(during_read)?;
    rows.iter()
        .map(|row| row.try_get(0).map_err(during_read))
        .collect()
}
