//! Text that goes out.

use std::ffi::{CString, c_char};

/// Text for C: up to the first NUL, which none of ours has.
pub(crate) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(text.get(..end).unwrap_or_default()).unwrap_or_default()
}

/// Text in a field of fixed size. What does not fit, which the ledger's limits exclude, is cut off between characters.
pub(crate) fn field<const N: usize>(text: Option<&str>) -> [c_char; N] {
    let mut field = [0; N];
    let text = text.unwrap_or_default();
    let end = text.floor_char_boundary(N - 1);
    for (place, byte) in field.iter_mut().zip(text.bytes().take(end)) {
        *place = byte.cast_signed() as c_char;
    }
    field
}

/// Text that the caller frees with credits_string_free().
pub(crate) fn give(text: &str) -> *mut c_char {
    c_string(text).into_raw()
}

/// Frees text that a function of this library has given. NULL is allowed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: it came from `give`, and is freed once.
        drop(unsafe { CString::from_raw(text) });
    }
}
