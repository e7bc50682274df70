//! Structs that come in: read by their size, so that programs that were compiled with fewer fields still work.

use crate::error::{Checked, credits_error, null};
use std::mem::{align_of, size_of};

/// No struct is larger, in any version.
const SIZE_MAX: usize = 64 * 1024;

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
    let given = unsafe { size(options) }?;
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

/// What a struct says its size is.
///
/// # Safety
/// A pointer to a struct whose first field is that.
unsafe fn size<T: Options>(options: *const T) -> Checked<usize> {
    // SAFETY: the caller's promise.
    let given = unsafe { options.cast::<usize>().read() };
    // A struct with a size in it is a whole number of those: what follows it in an array is aligned as well.
    let is_possible = (size_of::<usize>()..=SIZE_MAX).contains(&given);
    if is_possible && given.is_multiple_of(align_of::<T>()) {
        Ok(given)
    } else {
        Err(credits_error::invalid(
            "size",
            "is not the struct's",
            "sizeof the struct, as the CREDITS_*_INIT macros set it",
        ))
    }
}

/// The structs of an array, each as [`required`] reads it. It is walked by the caller's size of a struct: that of this
/// version would find the second one of an older or newer program at the wrong place.
///
/// # Safety
/// NULL with a count of zero, or a pointer to so many structs, each of which says how large it is.
pub(crate) unsafe fn sized_items<T: Options>(
    field: &'static str,
    items: *const T,
    count: usize,
) -> Checked<Vec<Checked<T>>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if items.is_null() {
        return Err(null(field));
    }
    // SAFETY: the caller's promise.
    let step = unsafe { size(items) }?;
    if count > isize::MAX as usize / step {
        return Err(too_many(field));
    }
    let place = |n: usize| items.wrapping_byte_add(n * step);
    for n in 1..count {
        // SAFETY: the caller's promise, as long as every struct before was as large as the first.
        if unsafe { place(n).cast::<usize>().read() } != step {
            return Err(credits_error::invalid(
                "size",
                "is not that of the first struct of the array",
                "the same in every struct: set each to its CREDITS_*_INIT",
            ));
        }
    }
    // SAFETY: the caller's promise.
    Ok((0..count).map(|n| unsafe { required(place(n)) }).collect())
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

fn too_many(field: &'static str) -> credits_error {
    credits_error::invalid(field, "are too many", "what memory can hold")
}

/// The items of an array whose structs have no size in them, and never get another field.
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
        return Err(too_many(field));
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
