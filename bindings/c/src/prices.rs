//! Prices and packages.

use crate::call::{Out, write_unless_null};
use crate::error::{Checked, credits_code, credits_error};
use crate::handle::{credits_ledger, wait, with};
use crate::json;
use crate::money::decimal;
use crate::options::{Options, items, required};
use crate::results::{credits_package, credits_quote};
use crate::strings::{field, give};
use crate::text::{optional_text, optional_time, text};
use crate::uuid::{credits_uuid, id, optional_id};
use jointo_credits::pricing::Decimal;
use jointo_credits::{SavePackage, SetPricing, Usage};
use std::ffi::c_char;

/// A quantity by its name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_number {
    /// Such as "input_tokens".
    pub name: *const c_char,
    /// A decimal number, such as "1200".
    pub number: *const c_char,
}

/// An attribute by its name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_attribute {
    /// Such as "quality".
    pub name: *const c_char,
    /// Such as "hd".
    pub value: *const c_char,
}

/// # Safety
/// The pointers are what lib.rs says.
pub(crate) unsafe fn named<'a>(given: &[credits_number]) -> Checked<Vec<(&'a str, Decimal)>> {
    // SAFETY: the caller's promise.
    let read = |one: &credits_number| unsafe {
        let number = text("quantities", one.number)?;
        Ok((text("quantities", one.name)?, decimal("quantities", number)?))
    };
    given.iter().map(read).collect()
}

/// # Safety
/// The pointers are what lib.rs says.
pub(crate) unsafe fn usage(
    feature: &str,
    quantity: *const c_char,
    quantities: &[credits_number],
    attributes: &[credits_attribute],
) -> Checked<Usage> {
    let mut usage = Usage::of(feature);
    // SAFETY: the caller's promise.
    unsafe {
        match optional_text("quantity", quantity)? {
            Some(_) if !quantities.is_empty() => {
                return Err(credits_error::invalid(
                    "quantity",
                    "can't be given together with quantities",
                    "one of them",
                ));
            }
            Some(quantity) => usage = usage.quantity(decimal("quantity", quantity)?),
            None if quantities.is_empty() => usage = usage.quantity(Decimal::ONE),
            None => {
                for (name, number) in named(quantities)? {
                    usage = usage.metered(name, number);
                }
            }
        }
        for one in attributes {
            usage = usage.attribute(text("attributes", one.name)?, text("attributes", one.value)?);
        }
    }
    Ok(usage)
}

/// Something to be priced. Set it to CREDITS_USAGE_INIT first; zero and NULL mean not given.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_usage {
    /// sizeof(credits_usage).
    pub size: usize,
    /// What it is.
    pub feature: *const c_char,
    /// How much of it, a decimal number such as "12.5"; "1" where neither this nor `quantities` is given.
    pub quantity: *const c_char,
    /// Where the card meters several quantities: each by its name.
    pub quantities: *const credits_number,
    /// How many there are.
    pub quantities_count: usize,
    /// What the card wants to know besides.
    pub attributes: *const credits_attribute,
    /// How many there are.
    pub attributes_count: usize,
    /// The account, for cards of its own.
    pub user_id: credits_uuid,
    /// At the prices of which time; now without.
    pub at: i64,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_usage {}

/// What something would cost. Changes nothing.
///
/// @param quote  What it costs.
/// @param lines  NULL, or a place for how that comes about, as JSON: [{"text", "amount"}]; free it with
///               credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND (no rate card), CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_calculate(
    ledger: *const credits_ledger,
    asked: *const credits_usage,
    quote: *mut credits_quote,
    lines: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("quote", quote)?;
            let asked = required(asked)?;
            let usage = usage(
                text("feature", asked.feature)?,
                asked.quantity,
                items("quantities", asked.quantities, asked.quantities_count)?,
                items("attributes", asked.attributes, asked.attributes_count)?,
            )?;
            let user_id = optional_id(asked.user_id);
            let found = match optional_time(asked.at) {
                None => wait(ledger, ledger.ledger.calculate(&usage, user_id)),
                Some(at) => wait(ledger, ledger.ledger.calculate_at(&usage, user_id, at)),
            }?;
            write_unless_null(lines, || give(&json::lines(&found).to_string()));
            let pricing = found.pricing();
            place.write(credits_quote {
                credits: found.credits(),
                version: pricing.map_or(0, |pricing| i64::from(pricing.version)),
                pricing_id: pricing.map(|pricing| pricing.pricing_id).into(),
                exact: field(Some(&found.exact().to_string())),
            });
            Ok(())
        })
    }
}

/// Why a consumption cost what it did, and what paid for it.
///
/// @param explanation  JSON: {"consumption_id", "held", "charged", "lots"}; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_explain(
    ledger: *const credits_ledger,
    consumption_id: credits_uuid,
    explanation: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("explanation", explanation)?;
            let id = id("consumption_id", consumption_id)?;
            let found = wait(ledger, ledger.ledger.explain(id))?;
            place.write(give(&json::explanation(&found).to_string()));
            Ok(())
        })
    }
}

/// The packages, as shops show them.
///
/// @param items     An array with room for `capacity` of them; NULL where `capacity` is 0.
/// @param capacity  How many fit.
/// @param count     How many there are, which may be more than fit: then none is written beyond `capacity`.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_packages(
    ledger: *const credits_ledger,
    items: *mut credits_package,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let count = Out::new("count", count)?;
            if capacity > 0 {
                Out::new("items", items)?;
            }
            let found = wait(ledger, ledger.ledger.packages())?;
            for (place, package) in found.iter().take(capacity).enumerate() {
                items.add(place).write(package.into());
            }
            count.write(found.len());
            Ok(())
        })
    }
}

/// One package, also where it can't be bought any more.
///
/// @param package      A place for it.
/// @param description  NULL, or a place for its description; free it with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_get_package(
    ledger: *const credits_ledger,
    package_id: credits_uuid,
    package: *mut credits_package,
    description: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("package", package)?;
            let found = wait(ledger, ledger.ledger.package(id("package_id", package_id)?))?;
            write_unless_null(description, || give(&found.description));
            place.write((&found).into());
            Ok(())
        })
    }
}

/// A package to save: a new one, or all of an old one anew. Set it to CREDITS_SAVE_PACKAGE_INIT first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_save_package_options {
    /// sizeof(credits_save_package_options).
    pub size: usize,
    /// Which one to change; all zeros for a new one.
    pub package_id: credits_uuid,
    /// What people call it, up to 255 bytes.
    pub name: *const c_char,
    /// More about it; NULL for nothing.
    pub description: *const c_char,
    /// A decimal number with two decimals at the most, such as "9.90".
    pub price: *const c_char,
    /// ISO 4217 code; NULL for "CNY".
    pub currency: *const c_char,
    /// Credits that are bought.
    pub credits: i64,
    /// Credits on top.
    pub bonus_credits: i64,
    /// How many days the credits live; 0 for ever.
    pub validity_days: u32,
    /// How often one account can buy it; 0 as often as it likes.
    pub purchase_limit: u32,
    /// Lower stands first.
    pub sort_order: i32,
    /// Whether shops should point it out: 1 or 0.
    pub recommended: i32,
    /// Whether it can't be bought any more: 1 or 0.
    pub inactive: i32,
    /// Zero.
    pub reserved: i32,
}

// SAFETY: numbers and pointers; zeros are valid.
unsafe impl Options for credits_save_package_options {}

/// Saves a package as a new version.
///
/// @param saved  NULL, or a place for it.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_NOT_FOUND, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_save_package(
    ledger: *const credits_ledger,
    options: *const credits_save_package_options,
    saved: *mut credits_package,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let options = required(options)?;
            let price = decimal("price", text("price", options.price)?)?;
            let given = SavePackage::new(text("name", options.name)?, price, options.credits);
            let package = SavePackage {
                package_id: optional_id(options.package_id),
                description: optional_text("description", options.description)?
                    .unwrap_or_default()
                    .to_owned(),
                currency: optional_text("currency", options.currency)?
                    .map_or_else(|| given.currency.clone(), str::to_owned),
                bonus_credits: options.bonus_credits,
                validity_days: Some(options.validity_days).filter(|days| *days > 0),
                sort_order: options.sort_order,
                recommended: options.recommended != 0,
                active: options.inactive == 0,
                purchase_limit: Some(options.purchase_limit).filter(|limit| *limit > 0),
                ..given
            };
            let done = wait(ledger, ledger.ledger.save_package(package))?;
            write_unless_null(saved, || (&done).into());
            Ok(())
        })
    }
}

/// Every version of a feature's rate card, or of all features', by feature and version.
///
/// @param feature  NULL for all.
/// @param cards    JSON: [{"id", "feature", "version", "user_id", "effective_from", "effective_until", "card"}]; free it
///                 with credits_string_free().
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_pricing(
    ledger: *const credits_ledger,
    feature: *const c_char,
    cards: *mut *mut c_char,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let place = Out::new("cards", cards)?;
            let feature = optional_text("feature", feature)?;
            let found = wait(ledger, ledger.ledger.pricing(feature))?;
            place.write(give(&json::pricings(&found)));
            Ok(())
        })
    }
}

/// Adds a version of a feature's rate card.
///
/// @param card             JSON, in the form of docs/rate-cards.md; it names the feature.
/// @param user_id          The account it is for; all zeros for everybody.
/// @param effective_from   From when it counts; 0 for now.
/// @param effective_until  Until when; 0 as long as no later one counts.
/// @param version          NULL, or a place for its number.
/// @return CREDITS_OK, CREDITS_VALIDATION, CREDITS_UNAVAILABLE, CREDITS_UNKNOWN_OUTCOME.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_set_pricing(
    ledger: *const credits_ledger,
    card: *const c_char,
    user_id: credits_uuid,
    effective_from: i64,
    effective_until: i64,
    version: *mut i64,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        with(ledger, error, |ledger| {
            let pricing = SetPricing {
                user_id: optional_id(user_id),
                effective_from: optional_time(effective_from),
                effective_until: optional_time(effective_until),
                ..SetPricing::new(text("card", card)?)
            };
            let done = wait(ledger, ledger.ledger.set_pricing(pricing))?;
            write_unless_null(version, || i64::from(done.version.pricing.version));
            Ok(())
        })
    }
}
