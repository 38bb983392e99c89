//! The calls of a PKCS#11 module that the safe wrapper cannot make, or makes wrongly.
//!
//! What lives here: encryption, decryption, signing and wrapping in one call each, with a buffer of ours;
//! reading a token's facts and its list of mechanisms as they are. What must not: sessions, logins,
//! objects, which the wrapper (`cryptoki`) does well; the choice of a mechanism; anything of keys and
//! records. Invariant: the module is never told of more room than there is, and what it says it wrote is
//! believed only within that room.
//!
//! Why not the wrapper: it asks the module for the length of each answer first, which costs a round trip
//! on a network HSM and fails where a module names a length that is too short (AES-GCM on NSS softokn);
//! it does not cut a wrapped key to its length; it refuses a whole token whose clock it cannot read
//! (openCryptoki); it hides mechanisms that it does not know.
//!
//! # Why `unsafe`
//! PKCS#11 is a C interface. Sessions and keys come as the wrapper's own types, so a session is used by one
//! thread at a time and a handle was given out by a module; a module must itself refuse a handle that it
//! does not know. Each block says why it is sound under the contract of PKCS#11, which the module, vendor's
//! code in the same process, is trusted to keep: a module that does not could do anything anyway. That is
//! why it runs in a process of its own.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod mechanism;
mod token;

use std::ffi::OsStr;
use std::ptr;

use cryptoki::context::Function;
use cryptoki::error::{Error, Rv, RvError};
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki_sys::{
    CK_BYTE_PTR, CK_FUNCTION_LIST, CK_MECHANISM_PTR, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_ULONG,
    CK_ULONG_PTR, Pkcs11,
};
use zeroize::Zeroizing;

pub use mechanism::Mechanism;
pub use token::TokenFacts;

/// Bytes that are wiped when dropped.
pub type Bytes = Zeroizing<Vec<u8>>;

/// Room in bytes for an answer beyond the length of what was given: a tag, an appended IV, and more.
const ROOM: usize = 64;

/// `C_EncryptInit` and its like.
type Begin = unsafe extern "C" fn(CK_SESSION_HANDLE, CK_MECHANISM_PTR, CK_OBJECT_HANDLE) -> CK_RV;
/// `C_Encrypt` and its like.
type Finish =
    unsafe extern "C" fn(CK_SESSION_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR) -> CK_RV;

/// The functions of a loaded module.
pub struct Calls {
    table: CK_FUNCTION_LIST,
    // Keeps the module loaded.
    _module: Pkcs11,
}

impl Calls {
    /// The functions of the module at `path`. Loaded a second time in a process it is the same module with
    /// the same state, so sessions of the wrapper's are valid here.
    ///
    /// # Errors
    /// The library cannot be loaded, or is no PKCS#11 module.
    pub fn of(path: impl AsRef<OsStr>) -> Result<Self, Error> {
        // SAFETY: loading runs the library's constructors. The caller chose the module to run its code, and
        // has loaded it before.
        let module = unsafe { Pkcs11::new(path.as_ref()) }.map_err(Error::LibraryLoading)?;
        if module.C_GetFunctionList.is_err() {
            return Err(Error::MissingSymbol("C_GetFunctionList"));
        }
        let mut list = ptr::null_mut();
        // SAFETY: the symbol is there, and `list` is a place for one pointer.
        let code = unsafe { module.C_GetFunctionList(&raw mut list) };
        check(code, Function::GetFunctionList)?;
        if list.is_null() {
            return Err(Error::NullFunctionPointer);
        }
        // SAFETY: after success `list` points to the module's table, which lives as long as the module.
        let table = unsafe { *list };
        Ok(Self {
            table,
            _module: module,
        })
    }

    /// Encrypts `input` with `key` in one call.
    ///
    /// # Errors
    /// What the module says; `GeneralError` for an answer that is longer than the room it had.
    pub fn encrypt(
        &self,
        session: &Session,
        key: ObjectHandle,
        mechanism: Mechanism<'_>,
        input: &[u8],
    ) -> Result<Bytes, Error> {
        let (begin, finish) = (self.table.C_EncryptInit, self.table.C_Encrypt);
        let names = (Function::EncryptInit, Function::Encrypt);
        operate(session, key, mechanism, input, (begin, finish), names)
    }

    /// Decrypts `input` with `key` in one call.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn decrypt(
        &self,
        session: &Session,
        key: ObjectHandle,
        mechanism: Mechanism<'_>,
        input: &[u8],
    ) -> Result<Bytes, Error> {
        let (begin, finish) = (self.table.C_DecryptInit, self.table.C_Decrypt);
        let names = (Function::DecryptInit, Function::Decrypt);
        operate(session, key, mechanism, input, (begin, finish), names)
    }

    /// Signs `input` with `key`, or computes its MAC, in one call.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn sign(
        &self,
        session: &Session,
        key: ObjectHandle,
        mechanism: Mechanism<'_>,
        input: &[u8],
    ) -> Result<Bytes, Error> {
        let (begin, finish) = (self.table.C_SignInit, self.table.C_Sign);
        let names = (Function::SignInit, Function::Sign);
        operate(session, key, mechanism, input, (begin, finish), names)
    }

    /// Wraps `key`, whose value has `length` bytes, with `wrapping` in one call.
    ///
    /// # Errors
    /// As [`Self::encrypt`].
    pub fn wrap_key(
        &self,
        session: &Session,
        wrapping: ObjectHandle,
        mut mechanism: Mechanism<'_>,
        key: ObjectHandle,
        length: usize,
    ) -> Result<Bytes, Error> {
        let wrap = self.table.C_WrapKey.ok_or(Error::NullFunctionPointer)?;
        mechanism.with(|mechanism| {
            answer(length, Function::WrapKey, |output, room| {
                // SAFETY: `mechanism` and its parameters live through the call; `output` has the room that
                // `room` points to; session and keys are handles that a module gave out.
                unsafe {
                    wrap(
                        session.handle(),
                        mechanism,
                        wrapping.handle(),
                        key.handle(),
                        output,
                        room,
                    )
                }
            })
        })
    }
}

/// One operation: begun, and finished with one buffer.
fn operate(
    session: &Session,
    key: ObjectHandle,
    mut mechanism: Mechanism<'_>,
    input: &[u8],
    (begin, finish): (Option<Begin>, Option<Finish>),
    (beginning, finishing): (Function, Function),
) -> Result<Bytes, Error> {
    let (begin, finish) = begin.zip(finish).ok_or(Error::NullFunctionPointer)?;
    let length = CK_ULONG::try_from(input.len()).map_err(|_| Error::InvalidValue)?;
    mechanism.with(|mechanism| {
        // SAFETY: `mechanism` and its parameters live until the operation is finished below; session and
        // key are handles that a module gave out.
        let code = unsafe { begin(session.handle(), mechanism, key.handle()) };
        check(code, beginning)?;
        answer(input.len(), finishing, |output, room| {
            // SAFETY: `input` has `length` bytes, which the module only reads although its type is not
            // const; `output` has the room that `room` points to.
            unsafe { finish(session.handle(), input.as_ptr().cast_mut(), length, output, room) }
        })
    })
}

/// Makes room for an answer to `length` bytes, lets `call` fill it, and cuts it to what was written.
fn answer(
    length: usize,
    function: Function,
    call: impl FnOnce(CK_BYTE_PTR, CK_ULONG_PTR) -> CK_RV,
) -> Result<Bytes, Error> {
    let mut output = Zeroizing::new(vec![0; length.saturating_add(ROOM)]);
    let mut written = CK_ULONG::try_from(output.len()).map_err(|_| Error::InvalidValue)?;
    check(call(output.as_mut_ptr(), &raw mut written), function)?;
    match usize::try_from(written) {
        Ok(written) if written <= output.len() => {
            output.truncate(written);
            Ok(output)
        }
        Ok(_) | Err(_) => Err(Error::Pkcs11(RvError::GeneralError, function)),
    }
}

fn check(code: CK_RV, function: Function) -> Result<(), Error> {
    Rv::from(code).into_result(function)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki_sys::{CKR_BUFFER_TOO_SMALL, CKR_OK};

    #[test]
    fn answers_are_cut_to_what_was_written_and_never_believed_beyond_their_room() {
        let cut = answer(8, Function::Encrypt, |output, room| {
            // SAFETY: the buffer has eight bytes and more.
            unsafe {
                assert_eq!(*room, 8 + ROOM as CK_ULONG);
                output.write_bytes(7, 3);
                *room = 3;
            }
            CKR_OK
        });
        assert_eq!(cut.unwrap().as_slice(), [7; 3]);
        let long = answer(8, Function::Encrypt, |_, room| {
            // SAFETY: `room` is a place to write to.
            unsafe { *room += 1 };
            CKR_OK
        });
        assert!(matches!(
            long,
            Err(Error::Pkcs11(RvError::GeneralError, Function::Encrypt))
        ));
        let refused = answer(8, Function::Decrypt, |_, _| CKR_BUFFER_TOO_SMALL);
        assert!(matches!(
            refused,
            Err(Error::Pkcs11(RvError::BufferTooSmall, Function::Decrypt))
        ));
    }

    #[test]
    fn what_is_no_module_is_an_error() {
        assert!(matches!(
            Calls::of("/nowhere/module.so"),
            Err(Error::LibraryLoading(_))
        ));
    }
}
