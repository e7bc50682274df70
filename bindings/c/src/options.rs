//! Structs that come in: read by their size, so that programs that were compiled with fewer fields still work.

use crate::error::credits_error;
use crate::text::{Checked, null};
use std::mem::size_of;

/// A struct that begins with its size in bytes, whose fields are numbers and pointers, and for which all zeros is valid.
///
/// # Safety
/// Exactly that: it is made of zeros and of a C program's bytes.
pub(crate) unsafe trait Options: Copy {}

/// # Safety
/// NULL, or a pointer to a struct whose first field says how large it is.
pub(crate) unsafe fn optional<T: Options>(options: *const T) -> Checked<T> {
    // SAFETY: `Options` promises that zeros are valid.
    let mut read: T = unsafe { std::mem::zeroed() };
    if options.is_null() {
        return Ok(read);
    }
    // SAFETY: the caller's promise.
    let given = unsafe { options.cast::<usize>().read() };
    if given < size_of::<usize>() || given > 64 * 1024 {
        return Err(credits_error::invalid(
            "size",
            "is not the struct's",
            "sizeof the struct, as the CREDITS_*_INIT macros set it",
        ));
    }
    let known = given.min(size_of::<T>());
    let bytes = options.cast::<u8>();
    // What a newer program says and we don't know must not be passed over in silence.
    for place in known..given {
        // SAFETY: within the size that the caller has given.
        if unsafe { bytes.add(place).read() } != 0 {
            return Err(credits_error::invalid(
                "size",
                "is that of a newer version of the library, whose fields are used",
                "the fields of this version",
            ));
        }
    }
    // SAFETY: `known` bytes are there on both sides.
    unsafe { std::ptr::copy_nonoverlapping(bytes, (&raw mut read).cast::<u8>(), known) };
    Ok(read)
}

/// # Safety
/// As [`optional`].
pub(crate) unsafe fn required<T: Options>(options: *const T) -> Checked<T> {
    if options.is_null() {
        return Err(null("options"));
    }
    // SAFETY: the caller's promise.
    unsafe { optional(options) }
}

/// The items of an array.
///
/// # Safety
/// NULL with a count of zero, or a pointer to so many items.
pub(crate) unsafe fn items<'a, T>(field: &'static str, items: *const T, count: usize) -> Checked<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if items.is_null() {
        return Err(null(field));
    }
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(credits_error::invalid(
            field,
            "are too many",
            "what memory can hold",
        ));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// What a number that a program gives stands for.
pub(crate) fn number<T: Copy>(
    field: &'static str,
    given: i32,
    choices: &[(i32, T)],
    all: &str,
) -> Checked<T> {
    let found = choices.iter().find(|(number, _)| *number == given);
    found
        .map(|(_, choice)| *choice)
        .ok_or_else(|| credits_error::invalid(field, "is none of the numbers there are", all))
}
