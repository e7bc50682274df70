//! Ids.

use crate::call::{Out, guard};
use crate::error::{CREDITS_OK, Checked, credits_code, credits_error};
use crate::strings::field;
use crate::text::text;
use std::ffi::c_char;
use uuid::Uuid;

/// The bytes of an id in text, with its NUL.
pub const CREDITS_UUID_TEXT: usize = 37;

/// An id. All zeros stands for none.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct credits_uuid {
    /// In the order in which it is written.
    pub bytes: [u8; 16],
}

impl From<Uuid> for credits_uuid {
    fn from(id: Uuid) -> Self {
        credits_uuid {
            bytes: *id.as_bytes(),
        }
    }
}

impl From<Option<Uuid>> for credits_uuid {
    fn from(id: Option<Uuid>) -> Self {
        id.unwrap_or(Uuid::nil()).into()
    }
}

/// Reads an id such as "0191d8f0-0000-7000-8000-000000000001".
///
/// @return CREDITS_OK, CREDITS_VALIDATION.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_uuid_parse(
    written: *const c_char,
    id: *mut credits_uuid,
    error: *mut *mut credits_error,
) -> credits_code {
    // SAFETY: the pointers are what lib.rs says.
    unsafe {
        guard(error, || {
            let id = Out::new("id", id)?;
            let parsed = Uuid::parse_str(text("written", written)?).map_err(|_| {
                credits_error::invalid("written", "is no UUID", "32 hexadecimal digits and 4 dashes")
            })?;
            id.write(parsed.into());
            Ok(())
        })
    }
}

/// Writes an id with its NUL into `written`, which has room for CREDITS_UUID_TEXT bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn credits_uuid_format(id: credits_uuid, written: *mut c_char) -> credits_code {
    if written.is_null() {
        return crate::error::CREDITS_VALIDATION;
    }
    let text: [c_char; CREDITS_UUID_TEXT] = field(Some(&Uuid::from_bytes(id.bytes).to_string()));
    // SAFETY: the caller has room for it.
    unsafe { written.cast::<[c_char; CREDITS_UUID_TEXT]>().write(text) };
    CREDITS_OK
}

/// The nil id stands for none.
pub(crate) fn optional_id(id: credits_uuid) -> Option<Uuid> {
    Some(Uuid::from_bytes(id.bytes)).filter(|id| !id.is_nil())
}

pub(crate) fn id(field: &'static str, id: credits_uuid) -> Checked<Uuid> {
    optional_id(id).ok_or_else(|| credits_error::invalid(field, "is missing", "an id that is not all zeros"))
}
