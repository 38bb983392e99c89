//! What a return code of the module means.
//!
//! What lives here: [`classify`], a pure function. What must not: calls of the module. Invariant: no
//! code that altered input provokes on some token is taken for a device fault; the canary decides
//! that.

use cryptoki::error::{Error, RvError};

/// What to do about a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The credential: a person must act, and nothing is tried again.
    Credential,
    /// The input, the key or the device: ask the canary which.
    Refusal,
    /// The session or a handle is gone for sure: renew it, then try once more.
    Session,
}

/// Sorts `error`; `learnt` are the codes this token gave for input altered on purpose.
pub(super) fn classify(error: &Error, learnt: &[RvError]) -> Fault {
    let Error::Pkcs11(code, _) = error else {
        return Fault::Refusal;
    };
    if learnt.contains(code) {
        return Fault::Refusal;
    }
    if is_credential(*code) {
        return Fault::Credential;
    }
    let is_session = matches!(
        code,
        RvError::CryptokiNotInitialized
            | RvError::DeviceRemoved
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::OperationActive
            | RvError::OperationNotInitialized
            | RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::SlotIdInvalid
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::UserNotLoggedIn
    );
    if is_session {
        Fault::Session
    } else {
        Fault::Refusal
    }
}

fn is_credential(code: RvError) -> bool {
    matches!(
        code,
        RvError::PinExpired
            | RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
    )
}

/// Whether `error` says that this very PIN is wrong, so that trying it again brings a lock nearer.
pub(super) fn is_wrong_pin(error: &Error) -> bool {
    matches!(
        error,
        Error::Pkcs11(
            RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
            _
        )
    )
}

/// What an operator reads about a refused credential.
pub(super) fn credential_advice(error: &Error) -> &'static str {
    let Error::Pkcs11(code, _) = error else {
        return "the HSM refused the login";
    };
    if matches!(code, RvError::PinLocked) {
        "the user PIN is locked; unlock it with the HSM's tools, then restart"
    } else if matches!(code, RvError::PinExpired) {
        "the user PIN has expired; change it with the HSM's tools, then restart"
    } else if matches!(code, RvError::UserPinNotInitialized) {
        "the token has no user PIN yet; set it with the HSM's tools, then restart"
    } else {
        "the HSM refused the PIN; correct the PIN file; this one is not tried again"
    }
}

/// The code's name, for logs and the enrolment record. Holds no input.
pub(super) fn name(error: &Error) -> String {
    if let Error::Pkcs11(code, function) = error {
        format!("{function:?}: {code:?}")
    } else {
        format!("wrapper: {error}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cryptoki::context::Function;

    fn sort(code: RvError, learnt: &[RvError]) -> Fault {
        classify(&Error::Pkcs11(code, Function::Decrypt), learnt)
    }

    #[test]
    fn codes_that_altered_input_provokes_never_count_as_device_faults() {
        for code in [
            RvError::ArgumentsBad,
            RvError::DataLenRange,
            RvError::DeviceError,
            RvError::EncryptedDataInvalid,
            RvError::EncryptedDataLenRange,
            RvError::FunctionFailed,
            RvError::GeneralError,
            RvError::VendorDefined(0x8000_0001),
        ] {
            assert_eq!(sort(code, &[]), Fault::Refusal, "{code:?}");
        }
        assert_eq!(sort(RvError::KeyHandleInvalid, &[]), Fault::Session);
        assert_eq!(
            sort(RvError::KeyHandleInvalid, &[RvError::KeyHandleInvalid]),
            Fault::Refusal
        );
    }

    #[test]
    fn credentials_and_lost_sessions_are_told_apart() {
        assert_eq!(sort(RvError::PinIncorrect, &[]), Fault::Credential);
        assert_eq!(sort(RvError::PinLocked, &[]), Fault::Credential);
        assert_eq!(sort(RvError::SessionHandleInvalid, &[]), Fault::Session);
        assert_eq!(sort(RvError::UserNotLoggedIn, &[]), Fault::Session);
    }
}
