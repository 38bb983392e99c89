//! What the effects do: before a call, to its handles, after it.
//!
//! What lives here: delays, ends, lost sessions and logins, handles that change, IVs made by the
//! token. What must not: the table. Invariant: a handle of another generation never reaches the real
//! module as it is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cryptoki_sys::{
    CK_ATTRIBUTE, CK_OBJECT_HANDLE, CK_RV, CK_SESSION_HANDLE, CK_SESSION_INFO, CKA_CLASS, CKO_SECRET_KEY,
    CKR_BUFFER_TOO_SMALL, CKR_KEY_HANDLE_INVALID, CKR_OK,
};

use crate::control::Effect;
use crate::table::real;

/// Bits of a handle that hold the real one.
const HANDLE_BITS: u32 = 32;
/// Length of an IV in bytes.
pub(crate) const IV_BYTES: usize = 12;

/// Counts `change-handles` and `swap-handles`.
static GENERATION: AtomicU64 = AtomicU64::new(0);
/// What every call of this process fails with, 0 for none.
static STUCK: AtomicU64 = AtomicU64::new(0);
/// Stands in [`STUCK`] for calls that hang instead of failing.
const WEDGED: u64 = u64::MAX;
/// Whether old handles name another key, instead of being invalid.
static SWAPPED: AtomicBool = AtomicBool::new(false);
/// IVs of operations whose output gets them appended.
static APPENDED: Mutex<Option<HashMap<CK_SESSION_HANDLE, [u8; IV_BYTES]>>> = Mutex::new(None);

/// Applies what comes before a call; a code means: do not make it.
pub(crate) fn before(effects: &[Effect], session: Option<CK_SESSION_HANDLE>) -> Option<CK_RV> {
    match STUCK.load(Ordering::SeqCst) {
        0 => {}
        WEDGED => hang(),
        stuck => return Some(stuck),
    }
    for effect in effects {
        match *effect {
            Effect::Code(code) => return Some(code),
            Effect::Stuck(code) => {
                STUCK.store(code, Ordering::SeqCst);
                return Some(code);
            }
            Effect::Delay(time) => wait(time),
            Effect::Hang => hang(),
            Effect::Wedge => {
                STUCK.store(WEDGED, Ordering::SeqCst);
                hang();
            }
            Effect::Abort => std::process::abort(),
            Effect::LoseSessions => session.into_iter().for_each(lose_sessions),
            Effect::LoseLogin => session.into_iter().for_each(lose_login),
            Effect::ChangeHandles => {
                GENERATION.fetch_add(1, Ordering::SeqCst);
                SWAPPED.store(false, Ordering::SeqCst);
            }
            Effect::SwapHandles => {
                GENERATION.fetch_add(1, Ordering::SeqCst);
                SWAPPED.store(true, Ordering::SeqCst);
            }
            Effect::Short(_) | Effect::Flip | Effect::Empty | Effect::Refuse(_) | Effect::Flags(_) => {}
        }
    }
    None
}

fn hang() -> ! {
    loop {
        wait(Duration::from_secs(3600));
    }
}

/// The code that callers get for a failure of the real module. Too short a buffer is no failure.
pub(crate) fn recode(effects: &[Effect], code: CK_RV) -> CK_RV {
    let told = effects.iter().find_map(|effect| {
        if let Effect::Refuse(told) = effect {
            Some(*told)
        } else {
            None
        }
    });
    if code == CKR_OK || code == CKR_BUFFER_TOO_SMALL {
        code
    } else {
        told.unwrap_or(code)
    }
}

/// The flags that a token has on top of its own.
pub(crate) fn more_flags(effects: &[Effect]) -> u64 {
    effects.iter().fold(0, |sum, effect| {
        if let Effect::Flags(flags) = effect {
            sum | flags
        } else {
            sum
        }
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the thread is the module's caller's, and slowness is asked for"
)]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn lose_sessions(session: CK_SESSION_HANDLE) {
    let (Some(info), Some(close)) = (real().C_GetSessionInfo, real().C_CloseAllSessions) else {
        return;
    };
    let mut facts = CK_SESSION_INFO::default();
    // SAFETY: `facts` is a place for the answer; both are functions of the real module, which was
    // initialised by the caller who has a session.
    unsafe {
        if info(session, &raw mut facts) == CKR_OK {
            close(facts.slotID);
        }
    }
}

fn lose_login(session: CK_SESSION_HANDLE) {
    if let Some(logout) = real().C_Logout {
        // SAFETY: a function of the real module, with a session of the caller's.
        unsafe { logout(session) };
    }
}

/// A handle as callers see it.
pub(crate) fn outward(handle: CK_OBJECT_HANDLE) -> CK_OBJECT_HANDLE {
    let generation = GENERATION.load(Ordering::SeqCst);
    handle | generation.checked_shl(HANDLE_BITS).unwrap_or(0)
}

/// The real handle behind what a caller gives.
pub(crate) fn inward(
    session: CK_SESSION_HANDLE,
    handle: CK_OBJECT_HANDLE,
) -> Result<CK_OBJECT_HANDLE, CK_RV> {
    let generation = handle.checked_shr(HANDLE_BITS).unwrap_or(0);
    let inner = handle & u64::from(u32::MAX);
    if generation == GENERATION.load(Ordering::SeqCst) {
        Ok(inner)
    } else if SWAPPED.load(Ordering::SeqCst) {
        another_key(session, inner).ok_or(CKR_KEY_HANDLE_INVALID)
    } else {
        Err(CKR_KEY_HANDLE_INVALID)
    }
}

/// Some secret key of the token that is not `handle`.
fn another_key(session: CK_SESSION_HANDLE, handle: CK_OBJECT_HANDLE) -> Option<CK_OBJECT_HANDLE> {
    let table = real();
    let (start, next, end) = (
        table.C_FindObjectsInit?,
        table.C_FindObjects?,
        table.C_FindObjectsFinal?,
    );
    let mut class = CKO_SECRET_KEY;
    let mut template = CK_ATTRIBUTE {
        type_: CKA_CLASS,
        pValue: (&raw mut class).cast(),
        ulValueLen: size_of_val(&class) as u64,
    };
    let mut found: [CK_OBJECT_HANDLE; 16] = [0; 16];
    let mut count = 0;
    // SAFETY: functions of the real module; the template and the places for answers live through the
    // calls, and the count given is that of the places.
    unsafe {
        if start(session, &raw mut template, 1) != CKR_OK {
            return None;
        }
        next(session, found.as_mut_ptr(), 16, &raw mut count);
        end(session);
    }
    let count = usize::try_from(count).unwrap_or(0);
    found.iter().take(count).copied().find(|other| *other != handle)
}

/// Twelve bytes for an IV. Unpredictable enough for a test tool, and never the same twice.
pub(crate) fn fresh_iv(session: CK_SESSION_HANDLE) -> [u8; IV_BYTES] {
    let mut iv = [0; IV_BYTES];
    if let Some(random) = real().C_GenerateRandom {
        // SAFETY: the real module fills the twelve bytes it is told of.
        unsafe { random(session, iv.as_mut_ptr(), IV_BYTES as u64) };
    }
    iv
}

/// Remembers the IV that the answer of `session`'s operation ends with.
pub(crate) fn remember_iv(session: CK_SESSION_HANDLE, iv: Option<[u8; IV_BYTES]>) {
    let mut table = APPENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let table = table.get_or_insert_default();
    match iv {
        Some(iv) => table.insert(session, iv),
        None => table.remove(&session),
    };
}

/// The IV that the answer of `session`'s operation ends with.
pub(crate) fn remembered_iv(session: CK_SESSION_HANDLE) -> Option<[u8; IV_BYTES]> {
    let table = APPENDED.lock().unwrap_or_else(PoisonError::into_inner);
    table.as_ref().and_then(|table| table.get(&session).copied())
}

/// Cuts or damages an answer of `length` bytes at `output`.
pub(crate) fn after(effects: &[Effect], output: *mut u8, length: *mut u64) {
    if output.is_null() || length.is_null() {
        return;
    }
    for effect in effects {
        match *effect {
            // SAFETY: the caller gave `length` as a place to write to.
            Effect::Short(cut) => unsafe { *length = (*length).saturating_sub(cut) },
            // SAFETY: the call has just written `*length` bytes at `output`; the first is turned over
            // if there is one.
            Effect::Flip => unsafe {
                if *length > 0 {
                    *output ^= 1;
                }
            },
            // SAFETY: as for `Short`.
            Effect::Empty => unsafe { *length = 0 },
            Effect::Code(_)
            | Effect::Stuck(_)
            | Effect::Refuse(_)
            | Effect::Flags(_)
            | Effect::Delay(_)
            | Effect::Hang
            | Effect::Wedge
            | Effect::Abort
            | Effect::LoseSessions
            | Effect::LoseLogin
            | Effect::ChangeHandles
            | Effect::SwapHandles => {}
        }
    }
}
