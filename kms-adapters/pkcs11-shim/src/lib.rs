//! Test tool: a PKCS#11 module that forwards every call to a real module and injects faults.
//!
//! What lives here: the module's only entry, `C_GetFunctionList`. What must not: anything a product
//! links; this library exists so that tests can see what clients see when an HSM fails. Invariant:
//! without a control file it changes nothing.
//!
//! It is configured by environment variables of the process that loads it:
//!
//! | variable | meaning |
//! |---|---|
//! | `SCEAU_SHIM_MODULE` | path of the real module; required |
//! | `SCEAU_SHIM_CONTROL` | path of the control file, read anew at every call; see [`control`] |
//! | `SCEAU_SHIM_TRACE` | a file to which every call is appended: process id, function, code |
//! | `SCEAU_SHIM_RESERVED` | text handed to the real `C_Initialize` as `pReserved` (NSS needs one) |
//!
//! # Why `unsafe`
//! PKCS#11 is a C interface: a table of functions over raw pointers. A library that stands in for a
//! module must export that table and call through another one, so this crate is excepted from the
//! workspace's prohibition. The blocks are in `table` and `effects`; each says why it is sound
//! under the contract of PKCS#11, which the callers and the real module are trusted to keep here.

pub mod control;
mod effects;
mod table;

use cryptoki_sys::{CK_FUNCTION_LIST_PTR_PTR, CK_RV, CKR_ARGUMENTS_BAD, CKR_GENERAL_ERROR, CKR_OK};

/// The entry of the module: hands out the table of functions.
///
/// There is no `C_GetInterface`, so callers use the functions of PKCS#11 2.40.
///
/// # Safety
/// `list` must be null or point to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: CK_FUNCTION_LIST_PTR_PTR) -> CK_RV {
    if list.is_null() {
        return CKR_ARGUMENTS_BAD;
    }
    match table::shim() {
        Some(table) => {
            // SAFETY: `list` is not null, and by contract points to a place for one pointer. The
            // table lives as long as the process and is not written to.
            unsafe { *list = std::ptr::from_ref(table).cast_mut() };
            CKR_OK
        }
        None => CKR_GENERAL_ERROR,
    }
}
