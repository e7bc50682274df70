//! libcredits: the ledger for programs in C, or in any language that can call C. `include/credits.h` is made from this
//! crate by cbindgen (`scripts/make-header`), with the documentation of every function.
//!
//! How a function is made:
//!
//! - It takes pointers, checks each for NULL, copies what it needs, and keeps none ([`text`], [`options`]).
//! - Its body runs behind [`call::guard`], or [`handle::with`] a ledger: a panic becomes an error with the code
//!   `CREDITS_INTERNAL`.
//! - Results are written through the last pointers, all of them, only when everything has succeeded.
//! - Structs that come in begin with their size: a field that an old program does not know is zero, which always means the
//!   default. An array of them is walked by that size too ([`options::sized_items`]). Structs in arrays without a size (a name
//!   and what it stands for) never get another field. Structs that go out have no pointers: nothing in them has to be freed.

#![allow(non_camel_case_types, reason = "the names are C's")]
#![allow(
    clippy::missing_safety_doc,
    reason = "lib.rs and the header say what every pointer must be"
)]

mod call;
mod channels;
mod clock;
mod commands;
mod error;
mod handle;
mod json;
mod ledger;
mod log;
mod money;
mod options;
mod order_results;
mod orders;
mod prices;
mod reads;
mod results;
mod settings;
mod strings;
mod text;
mod uuid;

use std::ffi::c_char;

/// The version of this header: 10000 * major + 100 * minor + patch.
pub const CREDITS_VERSION_NUMBER: u32 = 100;

/// The version of the library that is running, as CREDITS_VERSION_NUMBER is of the header. A program that was compiled with
/// another minor version should refuse to go on.
#[unsafe(no_mangle)]
pub extern "C" fn credits_version_number() -> u32 {
    CREDITS_VERSION_NUMBER
}

/// The version of the library that is running, such as "0.1.0". Never NULL; not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn credits_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_number_is_that_of_the_package() {
        let parts: Vec<u32> = env!("CARGO_PKG_VERSION")
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect();
        assert_eq!(
            parts.iter().fold(0, |sum, part| sum * 100 + part),
            super::CREDITS_VERSION_NUMBER
        );
    }
}
