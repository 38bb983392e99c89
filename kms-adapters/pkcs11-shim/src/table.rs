//! The two tables of functions: the real module's and ours.
//!
//! What lives here: loading the real module, and one wrapper for each function a fault can be injected
//! into. What must not: what the faults are. Invariant: a function that is not wrapped is the real
//! module's own.

#![expect(non_snake_case, reason = "the names are PKCS#11's")]

use std::ffi::CString;
use std::sync::OnceLock;

use cryptoki_sys::{
    CK_ATTRIBUTE_PTR, CK_BBOOL, CK_BYTE_PTR, CK_C_INITIALIZE_ARGS, CK_FLAGS, CK_FUNCTION_LIST, CK_GCM_PARAMS,
    CK_MECHANISM, CK_MECHANISM_PTR, CK_NOTIFY, CK_OBJECT_HANDLE, CK_OBJECT_HANDLE_PTR, CK_RV,
    CK_SESSION_HANDLE, CK_SESSION_HANDLE_PTR, CK_SESSION_INFO_PTR, CK_SLOT_ID, CK_SLOT_ID_PTR,
    CK_TOKEN_INFO_PTR, CK_ULONG, CK_ULONG_PTR, CK_USER_TYPE, CK_UTF8CHAR_PTR, CK_VOID_PTR, CKF_OS_LOCKING_OK,
    CKM_AES_GCM, CKR_BUFFER_TOO_SMALL, CKR_FUNCTION_NOT_SUPPORTED, CKR_MECHANISM_PARAM_INVALID, CKR_OK,
    Pkcs11,
};

use crate::control::{self, Effect, GcmIv};
use crate::effects::{
    IV_BYTES, after, before, fresh_iv, inward, more_flags, outward, recode, remember_iv, remembered_iv,
};

/// Environment variable that names the real module.
const MODULE: &str = "SCEAU_SHIM_MODULE";
/// Environment variable with the text for `pReserved`.
const RESERVED: &str = "SCEAU_SHIM_RESERVED";

/// Both tables, made once.
static TABLES: OnceLock<Option<Tables>> = OnceLock::new();

struct Tables {
    real: CK_FUNCTION_LIST,
    shim: CK_FUNCTION_LIST,
    // Keeps the real module loaded.
    _module: Pkcs11,
}

fn tables() -> Option<&'static Tables> {
    TABLES.get_or_init(load).as_ref()
}

/// Our table; `None` when the real module does not load.
pub(crate) fn shim() -> Option<&'static CK_FUNCTION_LIST> {
    tables().map(|tables| &tables.shim)
}

/// The real table. Empty when there is none, which only a caller without our table could see.
pub(crate) fn real() -> &'static CK_FUNCTION_LIST {
    static NONE: OnceLock<CK_FUNCTION_LIST> = OnceLock::new();
    tables().map_or_else(
        || NONE.get_or_init(CK_FUNCTION_LIST::default),
        |tables| &tables.real,
    )
}

fn load() -> Option<Tables> {
    let path = std::env::var_os(MODULE)?;
    // SAFETY: loading a library runs its constructors; the path is the test's own choice.
    let module = unsafe { Pkcs11::new(path) }.ok()?;
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a place for one pointer.
    if unsafe { module.C_GetFunctionList(&raw mut list) } != CKR_OK || list.is_null() {
        return None;
    }
    // SAFETY: the module answered success, so `list` points to its table, which lives as long as it.
    let real = unsafe { *list };
    Some(Tables {
        real,
        shim: over(real),
        _module: module,
    })
}

/// Puts our wrappers over the real functions.
fn over(real: CK_FUNCTION_LIST) -> CK_FUNCTION_LIST {
    CK_FUNCTION_LIST {
        C_Initialize: Some(C_Initialize),
        C_Finalize: Some(C_Finalize),
        C_GetFunctionList: Some(crate::C_GetFunctionList),
        C_GetSlotList: Some(C_GetSlotList),
        C_GetTokenInfo: Some(C_GetTokenInfo),
        C_GetMechanismList: Some(C_GetMechanismList),
        C_OpenSession: Some(C_OpenSession),
        C_CloseSession: Some(C_CloseSession),
        C_GetSessionInfo: Some(C_GetSessionInfo),
        C_Login: Some(C_Login),
        C_Logout: Some(C_Logout),
        C_CreateObject: Some(C_CreateObject),
        C_DestroyObject: Some(C_DestroyObject),
        C_GetAttributeValue: Some(C_GetAttributeValue),
        C_FindObjectsInit: Some(C_FindObjectsInit),
        C_FindObjects: Some(C_FindObjects),
        C_FindObjectsFinal: Some(C_FindObjectsFinal),
        C_EncryptInit: Some(C_EncryptInit),
        C_Encrypt: Some(C_Encrypt),
        C_DecryptInit: Some(C_DecryptInit),
        C_Decrypt: Some(C_Decrypt),
        C_SignInit: Some(C_SignInit),
        C_Sign: Some(C_Sign),
        C_GenerateKey: Some(C_GenerateKey),
        C_GenerateKeyPair: Some(C_GenerateKeyPair),
        C_WrapKey: Some(C_WrapKey),
        C_UnwrapKey: Some(C_UnwrapKey),
        C_GenerateRandom: Some(C_GenerateRandom),
        ..real
    }
}

/// One call: effects before, the call, the trace.
fn call(name: &str, session: Option<CK_SESSION_HANDLE>, inner: impl FnOnce(&[Effect]) -> CK_RV) -> CK_RV {
    let effects = control::effects(name);
    let code = before(&effects, session).unwrap_or_else(|| recode(&effects, inner(&effects)));
    control::trace(name, code);
    code
}

/// The real function, called; `CKR_FUNCTION_NOT_SUPPORTED` where it has none.
macro_rules! forward {
    ($name:ident($($argument:expr),*)) => {
        match real().$name {
            // SAFETY: the real module's function, with the arguments of our caller, who keeps the
            // contract of PKCS#11 for them; handles were put back to the real module's own.
            Some(function) => unsafe { function($($argument),*) },
            None => CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}

/// Wrappers that only delay, fail, hang or die.
macro_rules! plain {
    ($($name:ident($session:expr; $($argument:ident: $kind:ty),*);)*) => {
        $(unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            call(stringify!($name), $session, |_| forward!($name($($argument),*)))
        })*
    };
}

plain! {
    C_Finalize(None; reserved: CK_VOID_PTR);
    C_GetMechanismList(None; slot: CK_SLOT_ID, list: *mut u64, count: CK_ULONG_PTR);
    C_OpenSession(None; slot: CK_SLOT_ID, flags: CK_FLAGS, application: CK_VOID_PTR, notify: CK_NOTIFY, session: CK_SESSION_HANDLE_PTR);
    C_CloseSession(Some(session); session: CK_SESSION_HANDLE);
    C_GetSessionInfo(Some(session); session: CK_SESSION_HANDLE, info: CK_SESSION_INFO_PTR);
    C_Login(Some(session); session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: CK_UTF8CHAR_PTR, length: CK_ULONG);
    C_Logout(Some(session); session: CK_SESSION_HANDLE);
    C_FindObjectsInit(Some(session); session: CK_SESSION_HANDLE, template: CK_ATTRIBUTE_PTR, count: CK_ULONG);
    C_FindObjectsFinal(Some(session); session: CK_SESSION_HANDLE);
}

/// Wrappers of functions that begin an operation with a key.
macro_rules! with_key {
    ($($name:ident;)*) => {
        $(unsafe extern "C" fn $name(session: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) -> CK_RV {
            call(stringify!($name), Some(session), |_| match inward(session, key) {
                Ok(key) => forward!($name(session, mechanism, key)),
                Err(code) => code,
            })
        })*
    };
}

with_key! {
    C_DecryptInit;
    C_SignInit;
}

/// Wrappers of functions that answer bytes.
macro_rules! with_output {
    ($($name:ident;)*) => {
        $(unsafe extern "C" fn $name(session: CK_SESSION_HANDLE, input: CK_BYTE_PTR, input_length: CK_ULONG, output: CK_BYTE_PTR, length: CK_ULONG_PTR) -> CK_RV {
            call(stringify!($name), Some(session), |effects| {
                let code = forward!($name(session, input, input_length, output, length));
                if code == CKR_OK {
                    after(effects, output, length);
                }
                code
            })
        })*
    };
}

with_output! {
    C_Decrypt;
    C_Sign;
}

unsafe extern "C" fn C_Initialize(arguments: CK_VOID_PTR) -> CK_RV {
    call("C_Initialize", None, |_| {
        let Ok(text) = std::env::var(RESERVED) else {
            return forward!(C_Initialize(arguments));
        };
        let Ok(text) = CString::new(text) else {
            return CKR_FUNCTION_NOT_SUPPORTED;
        };
        let mut ours = CK_C_INITIALIZE_ARGS {
            flags: CKF_OS_LOCKING_OK,
            pReserved: text.as_ptr().cast_mut().cast(),
            ..CK_C_INITIALIZE_ARGS::default()
        };
        forward!(C_Initialize((&raw mut ours).cast()))
    })
}

unsafe extern "C" fn C_GetSlotList(present: CK_BBOOL, list: CK_SLOT_ID_PTR, count: CK_ULONG_PTR) -> CK_RV {
    call("C_GetSlotList", None, |effects| {
        let code = forward!(C_GetSlotList(present, list, count));
        if effects.contains(&Effect::Empty) && !count.is_null() {
            // SAFETY: the caller gave `count` as a place to write to.
            unsafe { *count = 0 };
        }
        code
    })
}

unsafe extern "C" fn C_GetTokenInfo(slot: CK_SLOT_ID, info: CK_TOKEN_INFO_PTR) -> CK_RV {
    call("C_GetTokenInfo", None, |effects| {
        let code = forward!(C_GetTokenInfo(slot, info));
        if code == CKR_OK {
            // SAFETY: after success `info` points to the token's facts.
            unsafe { (*info).flags |= more_flags(effects) };
        }
        code
    })
}

unsafe extern "C" fn C_GetAttributeValue(
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
) -> CK_RV {
    call("C_GetAttributeValue", Some(session), |_| {
        match inward(session, object) {
            Ok(object) => forward!(C_GetAttributeValue(session, object, template, count)),
            Err(code) => code,
        }
    })
}

unsafe extern "C" fn C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) -> CK_RV {
    call("C_DestroyObject", Some(session), |_| {
        match inward(session, object) {
            Ok(object) => forward!(C_DestroyObject(session, object)),
            Err(code) => code,
        }
    })
}

unsafe extern "C" fn C_FindObjects(
    session: CK_SESSION_HANDLE,
    objects: CK_OBJECT_HANDLE_PTR,
    most: CK_ULONG,
    count: CK_ULONG_PTR,
) -> CK_RV {
    call("C_FindObjects", Some(session), |effects| {
        let code = forward!(C_FindObjects(session, objects, most, count));
        if code != CKR_OK {
            return code;
        }
        // SAFETY: after success `count` tells how many handles were written at `objects`.
        unsafe {
            if effects.contains(&Effect::Empty) {
                *count = 0;
            }
            rename(objects, *count);
        }
        code
    })
}

/// Turns `count` real handles into ours.
///
/// # Safety
/// `objects` points to `count` handles.
unsafe fn rename(objects: CK_OBJECT_HANDLE_PTR, count: CK_ULONG) {
    for at in 0..usize::try_from(count).unwrap_or(0) {
        // SAFETY: `at` is below the count that the caller vouches for.
        unsafe {
            let place = objects.add(at);
            *place = outward(*place);
        }
    }
}

unsafe extern "C" fn C_CreateObject(
    session: CK_SESSION_HANDLE,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    object: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_CreateObject", Some(session), |_| {
        let code = forward!(C_CreateObject(session, template, count, object));
        if code == CKR_OK {
            // SAFETY: after success `object` points to one handle.
            unsafe { rename(object, 1) };
        }
        code
    })
}

unsafe extern "C" fn C_GenerateKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_GenerateKey", Some(session), |_| {
        let code = forward!(C_GenerateKey(session, mechanism, template, count, key));
        if code == CKR_OK {
            // SAFETY: after success `key` points to one handle.
            unsafe { rename(key, 1) };
        }
        code
    })
}

unsafe extern "C" fn C_GenerateKeyPair(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    public: CK_ATTRIBUTE_PTR,
    public_count: CK_ULONG,
    private: CK_ATTRIBUTE_PTR,
    private_count: CK_ULONG,
    public_key: CK_OBJECT_HANDLE_PTR,
    private_key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_GenerateKeyPair", Some(session), |_| {
        let code = forward!(C_GenerateKeyPair(
            session,
            mechanism,
            public,
            public_count,
            private,
            private_count,
            public_key,
            private_key
        ));
        if code == CKR_OK {
            // SAFETY: after success both point to one handle.
            unsafe {
                rename(public_key, 1);
                rename(private_key, 1);
            }
        }
        code
    })
}

unsafe extern "C" fn C_WrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    wrapping: CK_OBJECT_HANDLE,
    key: CK_OBJECT_HANDLE,
    output: CK_BYTE_PTR,
    length: CK_ULONG_PTR,
) -> CK_RV {
    call("C_WrapKey", Some(session), |effects| {
        let (wrapping, key) = match (inward(session, wrapping), inward(session, key)) {
            (Ok(wrapping), Ok(key)) => (wrapping, key),
            (Err(code), _) | (_, Err(code)) => return code,
        };
        let code = forward!(C_WrapKey(session, mechanism, wrapping, key, output, length));
        if code == CKR_OK {
            after(effects, output, length);
        }
        code
    })
}

unsafe extern "C" fn C_UnwrapKey(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    unwrapping: CK_OBJECT_HANDLE,
    input: CK_BYTE_PTR,
    input_length: CK_ULONG,
    template: CK_ATTRIBUTE_PTR,
    count: CK_ULONG,
    key: CK_OBJECT_HANDLE_PTR,
) -> CK_RV {
    call("C_UnwrapKey", Some(session), |_| {
        let unwrapping = match inward(session, unwrapping) {
            Ok(unwrapping) => unwrapping,
            Err(code) => return code,
        };
        let code = forward!(C_UnwrapKey(
            session,
            mechanism,
            unwrapping,
            input,
            input_length,
            template,
            count,
            key
        ));
        if code == CKR_OK {
            // SAFETY: after success `key` points to one handle.
            unsafe { rename(key, 1) };
        }
        code
    })
}

unsafe extern "C" fn C_GenerateRandom(
    session: CK_SESSION_HANDLE,
    bytes: CK_BYTE_PTR,
    length: CK_ULONG,
) -> CK_RV {
    call("C_GenerateRandom", Some(session), |_| {
        forward!(C_GenerateRandom(session, bytes, length))
    })
}

unsafe extern "C" fn C_EncryptInit(
    session: CK_SESSION_HANDLE,
    mechanism: CK_MECHANISM_PTR,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    call("C_EncryptInit", Some(session), |_| {
        let key = match inward(session, key) {
            Ok(key) => key,
            Err(code) => return code,
        };
        remember_iv(session, None);
        // SAFETY: by contract the mechanism is one, and GCM's parameter is a `CK_GCM_PARAMS`.
        match unsafe { gcm_parameters(mechanism) } {
            // SAFETY: as above; the parameters are the caller's, who expects them to be written to.
            Some(parameters) => unsafe { gcm_init(session, key, parameters) },
            None => forward!(C_EncryptInit(session, mechanism, key)),
        }
    })
}

/// The parameters of GCM, when the token is to make the IV.
///
/// # Safety
/// `mechanism` is null or points to a mechanism with the parameters of its kind.
unsafe fn gcm_parameters<'a>(mechanism: CK_MECHANISM_PTR) -> Option<&'a mut CK_GCM_PARAMS> {
    if mechanism.is_null() || control::gcm_iv() == GcmIv::Untouched {
        return None;
    }
    // SAFETY: not null, so a mechanism; GCM's parameter is null or what is named here.
    unsafe {
        let mechanism: &CK_MECHANISM = &*mechanism;
        if mechanism.mechanism != CKM_AES_GCM {
            return None;
        }
        mechanism.pParameter.cast::<CK_GCM_PARAMS>().as_mut()
    }
}

/// Begins a GCM encryption whose IV the token makes.
///
/// # Safety
/// `parameters` tell the truth about the buffers they point to.
unsafe fn gcm_init(
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    parameters: &mut CK_GCM_PARAMS,
) -> CK_RV {
    let mut iv = fresh_iv(session);
    if control::gcm_iv() == GcmIv::WrittenBack {
        if parameters.ulIvLen != IV_BYTES as u64 || parameters.pIv.is_null() {
            return CKR_MECHANISM_PARAM_INVALID;
        }
        // SAFETY: the IV has the twelve bytes it claims.
        let given = unsafe { std::slice::from_raw_parts_mut(parameters.pIv, IV_BYTES) };
        if given.iter().any(|byte| *byte != 0) {
            return CKR_MECHANISM_PARAM_INVALID;
        }
        given.copy_from_slice(&iv);
    } else {
        if parameters.ulIvLen != 0 {
            return CKR_MECHANISM_PARAM_INVALID;
        }
        remember_iv(session, Some(iv));
    }
    let mut inner = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: IV_BYTES as u64,
        ulIvBits: 96,
        ..*parameters
    };
    let mut mechanism = CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw mut inner).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as u64,
    };
    forward!(C_EncryptInit(session, &raw mut mechanism, key))
}

unsafe extern "C" fn C_Encrypt(
    session: CK_SESSION_HANDLE,
    input: CK_BYTE_PTR,
    input_length: CK_ULONG,
    output: CK_BYTE_PTR,
    length: CK_ULONG_PTR,
) -> CK_RV {
    call("C_Encrypt", Some(session), |effects| {
        let iv = remembered_iv(session);
        // SAFETY: the caller gave `length` as the place that tells the room at `output`, or null.
        let room = unsafe { length.as_ref() }.copied().unwrap_or(0);
        let code = forward!(C_Encrypt(session, input, input_length, output, length));
        if code != CKR_OK {
            return code;
        }
        if let Some(iv) = iv {
            // SAFETY: after success `length` holds the output's length, and what is written beyond it is
            // within the room that the caller told of.
            unsafe {
                let end = *length;
                *length = end.saturating_add(IV_BYTES as u64);
                if !output.is_null() {
                    if *length > room {
                        return CKR_BUFFER_TOO_SMALL;
                    }
                    std::ptr::copy_nonoverlapping(
                        iv.as_ptr(),
                        output.add(usize::try_from(end).unwrap_or(0)),
                        IV_BYTES,
                    );
                }
            }
        }
        after(effects, output, length);
        code
    })
}
