//! Reads: balances, pages, audits.

use crate::call::{Out, guard, write_unless_null};
use crate::error::{Checked, credits_code, credits_error};
use crate::handle::{credits_ledger, wait, with};
use crate::json;
use crate::options::{Options, optional};
use crate::results::{
    CREDITS_CURSOR_TEXT, by_number, credits_balance, credits_consumption, credits_sums, credits_transaction,
    credits_verification, kind_number, status_number,
};
use crate::strings::{field, give};
use crate::text::{optional_text, optional_time, text};
use crate::uuid::{credits_uuid, id};
use jointo_credits::{
    Anchor, AnchorKey, ConsumptionFilter, Kind, Page, PublicKey, Signing, Status, TransactionFilter, Trust,
    check_proof,
};
use std::ffi::c_char;

/// What an account has. One that was never used has nothing. With a cache the answer may come from there.
///
/// @param at  As of which time, in microseconds since 1970 UTC; 0 for now.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_get_balance(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    at: i64,
    balance: *mut credits_balance,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let balance = Out::new("balance", balance)?;
            let user_id = id("user_id", user_id)?;
            let found = match optional_time(at) {
                None => wait(ledger, ledger.ledger.balance(user_id)),
                Some(at) => wait(ledger, ledger.ledger.balance_at(user_id, at)),
            };
            balance.write((&found?).into());
            Ok(())
        })
    }
}

/// What an account has now, from the database, whatever a cache says; what it finds is cached from then on.
///
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_get_fresh_balance(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    balance: *mut credits_balance,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let balance = Out::new("balance", balance)?;
            let found = wait(ledger, ledger.ledger.balance_fresh(id("user_id", user_id)?));
            balance.write((&found?).into());
            Ok(())
        })
    }
}

/// Which lines of a list. Set it to CREDITS_PAGE_INIT first; zero and NULL mean all.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_page_options {
    /// sizeof(credits_page_options).
    pub size: usize,
    /// Of transactions: only of this kind, CREDITS_KIND_*.
    pub kind: i32,
    /// Of consumptions and orders: only those that stand like this now, CREDITS_PENDING and so on, or CREDITS_ORDER_*.
    pub status: i32,
    /// Of transactions: from this time on.
    pub since: i64,
    /// Of transactions: before this time.
    pub until: i64,
    /// The page before's next cursor; NULL or "" for the first page.
    pub cursor: *const c_char,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_page_options {}

impl credits_page_options {
    /// # Safety
    /// The pointers are what lib.rs says.
    pub(crate) unsafe fn cursor(&self) -> Checked<Option<String>> {
        // SAFETY: the caller's promise.
        let cursor = unsafe { optional_text("cursor", self.cursor) }?;
        Ok(cursor.filter(|cursor| !cursor.is_empty()).map(str::to_owned))
    }

    pub(crate) fn without_kind_and_times(&self) -> Checked<()> {
        if self.kind == 0 && self.since == 0 && self.until == 0 {
            Ok(())
        } else {
            Err(credits_error::invalid(
                "kind",
                "and times are for transactions only",
                "0",
            ))
        }
    }
}

pub(crate) fn chosen<T: Copy>(
    field: &'static str,
    all: &[T],
    number_of: fn(T) -> i32,
    given: i32,
) -> Checked<Option<T>> {
    if given == 0 {
        return Ok(None);
    }
    by_number(all, number_of, given)
        .map(Some)
        .ok_or_else(|| credits_error::invalid(field, "is none of the numbers there are", "see credits.h"))
}

/// # Safety
/// `places` has room for `page`'s items, and `next` for a cursor.
pub(crate) unsafe fn turn_over<T, U: for<'a> From<&'a T>>(
    page: &Page<T>,
    places: *mut U,
    count: Out<usize>,
    next: *mut [c_char; CREDITS_CURSOR_TEXT],
) {
    // SAFETY: the caller's promise.
    unsafe {
        for (place, item) in page.items.iter().enumerate() {
            places.add(place).write(item.into());
        }
        count.write(page.items.len());
        write_unless_null(next, || field(page.next_cursor.as_deref()));
    }
}

/// A page of an account's journal, newest first. Cursors stay valid while entries are added.
///
/// @param options   NULL for everything.
/// @param items     An array with room for `capacity` of them.
/// @param capacity  1 to 1,000.
/// @param count     How many there are.
/// @param next      NULL, or room for CREDITS_CURSOR_TEXT bytes: where the next page begins; "" after the last one.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_transactions(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    options: *const credits_page_options,
    items: *mut credits_transaction,
    capacity: usize,
    count: *mut usize,
    next: *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let count = Out::new("count", count)?;
            Out::new("items", items)?;
            let options = optional(options)?;
            if options.status != 0 {
                return Err(credits_error::invalid(
                    "status",
                    "is for consumptions and orders only",
                    "0",
                ));
            }
            let filter = TransactionFilter {
                kind: chosen("kind", Kind::ALL, kind_number, options.kind)?,
                since: optional_time(options.since),
                until: optional_time(options.until),
                limit: capacity,
                cursor: options.cursor()?,
            };
            let page = wait(
                ledger,
                ledger.ledger.transactions(id("user_id", user_id)?, filter),
            )?;
            turn_over(&page, items, count, next.cast());
            Ok(())
        })
    }
}

/// A page of an account's consumptions, newest first: as credits_transactions().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_consumptions(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    options: *const credits_page_options,
    items: *mut credits_consumption,
    capacity: usize,
    count: *mut usize,
    next: *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let count = Out::new("count", count)?;
            Out::new("items", items)?;
            let options = optional(options)?;
            options.without_kind_and_times()?;
            let filter = ConsumptionFilter {
                status: chosen("status", Status::ALL, status_number, options.status)?,
                limit: capacity,
                cursor: options.cursor()?,
            };
            let page = wait(
                ledger,
                ledger.ledger.consumptions(id("user_id", user_id)?, filter),
            )?;
            turn_over(&page, items, count, next.cast());
            Ok(())
        })
    }
}

/// One consumption, as it stands now.
///
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_get_consumption(
    ledger: *const credits_ledger,
    consumption_id: credits_uuid,
    consumption: *mut credits_consumption,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("consumption", consumption)?;
            let id = id("consumption_id", consumption_id)?;
            place.write((&wait(ledger, ledger.ledger.get_consumption(id))?).into());
            Ok(())
        })
    }
}

/// The metadata that was given with a consumption.
///
/// @param metadata  JSON, "{}" where there is none; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_metadata(
    ledger: *const credits_ledger,
    consumption_id: credits_uuid,
    metadata: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("metadata", metadata)?;
            let id = id("consumption_id", consumption_id)?;
            let found = wait(ledger, ledger.ledger.get_consumption(id))?;
            place.write(give(
                found.metadata.as_ref().map_or("{}", |metadata| metadata.as_str()),
            ));
            Ok(())
        })
    }
}

/// Derives every balance, lot, hold, number and hash from the journal again. Faults are no error but the result.
///
/// @param faults  NULL, or a place for the first faults as JSON: [{"user_id", "seq", "id", "kind", "detail"}]; free it with
///                credits_string_free().
/// @return CREDITS_OK, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_verify(
    ledger: *const credits_ledger,
    verification: *mut credits_verification,
    faults: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("verification", verification)?;
            let found = wait(ledger, ledger.ledger.verify())?;
            write_unless_null(faults, || give(&json::faults(&found.faults).to_string()));
            place.write((&found).into());
            Ok(())
        })
    }
}

/// Makes an anchor: a line of text over everything in the books, to be kept where whoever can write to the database can't change
/// it. It costs what changed since the last one.
///
/// @param key           A private key, PEM: openssl genpkey -algorithm ed25519. It is used and not stored. NULL for an anchor that is
///                      not signed.
/// @param all_accounts  1 looks at every account, whether anything seems to have changed or not; 0 for what has.
/// @param anchor        The line; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE: also where the books do not go on from the last anchor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_anchor(
    ledger: *const credits_ledger,
    key: *const c_char,
    all_accounts: i32,
    anchor: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("anchor", anchor)?;
            let signing = match optional_text("key", key)? {
                None => Signing::Unsigned,
                Some(pem) => Signing::With(AnchorKey::from_pem(pem)?),
            };
            let made = wait(ledger, ledger.ledger.anchor(&signing, all_accounts != 0))?;
            place.write(give(&made.to_string()));
            Ok(())
        })
    }
}

/// credits_verify(), and everything before the anchor is what it was when the anchor was made: nothing is missing from the end of a
/// journal, no account is gone, and no chain was written anew.
///
/// @param anchor      The line that credits_anchor() gave, from where it was kept.
/// @param public_key  Whose anchors are believed: 64 hexadecimal digits, or PEM. NULL for an anchor that is not signed.
/// @param faults      As of credits_verify().
/// @return CREDITS_OK, CREDITS_VALIDATION where it is no anchor of this ledger, or not signed with that key; CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_verify_anchored(
    ledger: *const credits_ledger,
    anchor: *const c_char,
    public_key: *const c_char,
    verification: *mut credits_verification,
    faults: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("verification", verification)?;
            let anchor = Anchor::parse(text("anchor", anchor)?)?;
            let trust = trust(public_key)?;
            let found = wait(ledger, ledger.ledger.verify_anchored(&anchor, &trust, None))?;
            write_unless_null(faults, || give(&json::faults(&found.faults).to_string()));
            place.write((&found).into());
            Ok(())
        })
    }
}

/// Proves an account's entries, up to the one that was anchored, to somebody who has only the anchor: credits_check_proof().
///
/// @param proof  Text; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND where the anchor does not cover the account, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_prove(
    ledger: *const credits_ledger,
    user_id: credits_uuid,
    anchor: *const c_char,
    proof: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("proof", proof)?;
            let user_id = id("user_id", user_id)?;
            let anchor = Anchor::parse(text("anchor", anchor)?)?;
            let made = wait(ledger, ledger.ledger.prove(user_id, &anchor, None))?;
            place.write(give(&made));
            Ok(())
        })
    }
}

/// Checks a proof against an anchor: with these texts alone, without a ledger or a database.
///
/// @param public_key  As of credits_verify_anchored().
/// @param last        NULL, or a place for the account's last entry when the anchor was made.
/// @return CREDITS_OK, CREDITS_VALIDATION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_check_proof(
    anchor: *const c_char,
    proof: *const c_char,
    public_key: *const c_char,
    last: *mut credits_transaction,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        guard(error, || {
            let anchor = text("anchor", anchor)?;
            let proof = text("proof", proof)?;
            let found = check_proof(anchor, proof, &trust(public_key)?)?;
            write_unless_null(last, || (&found.last).into());
            Ok(())
        })
    }
}

unsafe fn trust(public_key: *const c_char) -> Checked<Trust> {
    // SAFETY: the caller's.
    match unsafe { optional_text("public_key", public_key) }? {
        None => Ok(Trust::Unsigned),
        Some(key) => Ok(Trust::Key(PublicKey::parse(key)?)),
    }
}

/// Sums all accounts and all counter-accounts.
///
/// @param counter_accounts  NULL, or a place for their sums as JSON, by name; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_trial_balance(
    ledger: *const credits_ledger,
    sums: *mut credits_sums,
    counter_accounts: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("sums", sums)?;
            let found = wait(ledger, ledger.ledger.trial_balance())?;
            write_unless_null(counter_accounts, || {
                give(&json::counter_accounts(&found).to_string())
            });
            place.write((&found).into());
            Ok(())
        })
    }
}
