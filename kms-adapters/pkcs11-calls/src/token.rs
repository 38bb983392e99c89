//! What a token says of itself.
//!
//! What lives here: [`TokenFacts`] and the list of mechanisms. What must not: judgement of them. Invariant:
//! a field that is not needed cannot make the token unreadable.

use cryptoki::context::Function;
use cryptoki::error::Error;
use cryptoki::slot::Slot;
use cryptoki_sys::{
    CK_FLAGS, CK_MECHANISM_TYPE, CK_TOKEN_INFO, CK_ULONG, CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_INITIALIZED,
    CKF_USER_PIN_LOCKED, CKF_USER_PIN_TO_BE_CHANGED,
};

use crate::{Calls, check};

/// Most mechanisms that are listed; the longest list seen has 161.
const MECHANISMS_MAX: usize = 4096;

/// What a token says of itself. Texts are without the blanks at their ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// Its label.
    pub label: String,
    /// Its manufacturer.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Major and minor version of its firmware.
    pub firmware: (u8, u8),
    flags: CK_FLAGS,
}

impl TokenFacts {
    /// Whether the user's PIN is locked.
    pub fn user_pin_locked(&self) -> bool {
        self.flags & CKF_USER_PIN_LOCKED != 0
    }

    /// Whether one more wrong PIN locks it.
    pub fn user_pin_final_try(&self) -> bool {
        self.flags & CKF_USER_PIN_FINAL_TRY != 0
    }

    /// Whether the user's PIN must be changed before it is of use.
    pub fn user_pin_to_be_changed(&self) -> bool {
        self.flags & CKF_USER_PIN_TO_BE_CHANGED != 0
    }

    /// Whether the user has a PIN.
    pub fn user_pin_initialized(&self) -> bool {
        self.flags & CKF_USER_PIN_INITIALIZED != 0
    }
}

fn text(padded: &[u8]) -> String {
    // Some tokens end their texts with a zero byte.
    let end = padded.iter().position(|byte| *byte == 0);
    let padded = padded.get(..end.unwrap_or(padded.len())).unwrap_or_default();
    String::from_utf8_lossy(padded).trim().to_owned()
}

impl Calls {
    /// The token in `slot`. Unlike the wrapper's answer it does not depend on the token's clock.
    ///
    /// # Errors
    /// What the module says.
    pub fn token(&self, slot: Slot) -> Result<TokenFacts, Error> {
        let ask = self.table.C_GetTokenInfo.ok_or(Error::NullFunctionPointer)?;
        let mut info = CK_TOKEN_INFO::default();
        // SAFETY: `info` is a place for the answer.
        check(unsafe { ask(slot.id(), &raw mut info) }, Function::GetTokenInfo)?;
        Ok(TokenFacts {
            label: text(&info.label),
            manufacturer: text(&info.manufacturerID),
            model: text(&info.model),
            serial: text(&info.serialNumber),
            firmware: (info.firmwareVersion.major, info.firmwareVersion.minor),
            flags: info.flags,
        })
    }

    /// Every mechanism that the token in `slot` lists, known here or not.
    ///
    /// # Errors
    /// What the module says.
    pub fn mechanisms(&self, slot: Slot) -> Result<Vec<CK_MECHANISM_TYPE>, Error> {
        let ask = self.table.C_GetMechanismList.ok_or(Error::NullFunctionPointer)?;
        let mut list: Vec<CK_MECHANISM_TYPE> = vec![0; MECHANISMS_MAX];
        let mut count = CK_ULONG::try_from(list.len()).map_err(|_| Error::InvalidValue)?;
        // SAFETY: `list` has room for as many as `count` says.
        let code = unsafe { ask(slot.id(), list.as_mut_ptr(), &raw mut count) };
        check(code, Function::GetMechanismList)?;
        list.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_lose_blanks_and_what_follows_a_zero() {
        assert_eq!(text(b"sceau test      "), "sceau test");
        assert_eq!(text(b"0123\0\0\0\0????"), "0123");
        assert_eq!(text(b"\xff "), "\u{fffd}");
        assert_eq!(text(b""), "");
    }
}
