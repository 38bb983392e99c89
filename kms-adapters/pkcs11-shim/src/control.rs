//! The control file: which call gets which fault, and how often.
//!
//! What lives here: its grammar, the count of hits, the trace of calls. What must not: PKCS#11 calls.
//! Invariant: hits are counted over all processes that share the file, so that `times=1` means once,
//! whoever restarts the loader.
//!
//! ```text
//! # function      effect                 how often
//! C_Decrypt       code=CKR_DEVICE_ERROR  times=1        the next one fails, later ones do not
//! C_Decrypt       code=0x80000001        skip=10        all but the first ten fail
//! *               delay=5000                            milliseconds before every call
//! C_Sign          hang                                  never returns
//! C_Sign          abort                                 the process dies
//! C_Decrypt       stuck=CKR_GENERAL_ERROR               from now on every call of this process fails so
//! C_Decrypt       wedge                                 from now on every call of this process hangs
//! C_Decrypt       refuse=CKR_DEVICE_ERROR               where the real module fails, it fails so
//! C_GetTokenInfo  flags=0x20000                         these flags are set as well ("final try" here)
//! C_Decrypt       short=8                               the answer lacks its last 8 bytes
//! C_Decrypt       flip                                  one bit of the answer is turned over
//! C_Login         code=CKR_PIN_INCORRECT                a refused login
//! C_DecryptInit   lose-sessions                         the token closes all sessions first
//! C_DecryptInit   lose-login                            the token logs out first
//! C_DecryptInit   change-handles                        object handles given out so far are void
//! C_DecryptInit   swap-handles                          they name another key of the token from now on
//! C_GetSlotList   empty                                 no slots
//! gcm-iv=written-back                                   GCM as on tokens that make the IV and
//! gcm-iv=appended                                       write it back, or append it to the output
//! ```
//! `C_EncryptInit` and `C_Encrypt` are two functions here as in PKCS#11. Lines that match are applied in
//! order. Deleting `CONTROL.hits` beside the file resets the counts.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This code is returned and the real module is not called.
    Code(u64),
    /// This code is returned by this call and every later one of this process.
    Stuck(u64),
    /// This call and every later one of this process never returns.
    Wedge,
    /// A failure of the real module gets this code.
    Refuse(u64),
    /// A token has these flags as well.
    Flags(u64),
    /// The call waits before it goes on.
    Delay(Duration),
    /// The call never returns.
    Hang,
    /// The process dies at once.
    Abort,
    /// The output lacks so many bytes at its end.
    Short(u64),
    /// One bit of the output is turned over.
    Flip,
    /// All sessions of the token are closed first, and with them the login.
    LoseSessions,
    /// The user is logged out first.
    LoseLogin,
    /// Object handles given out before are invalid.
    ChangeHandles,
    /// Object handles given out before name another key.
    SwapHandles,
    /// The answer is an empty list.
    Empty,
}

/// How the token treats the IV of AES-GCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GcmIv {
    /// As the real module does.
    #[default]
    Untouched,
    /// An IV of zeros is required; the token makes its own and writes it into the parameter.
    WrittenBack,
    /// No IV is given; the token makes its own and appends it after the tag.
    Appended,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    text: String,
    function: String,
    effect: Effect,
    skip: usize,
    times: Option<usize>,
}

/// Environment variable that names the control file.
const CONTROL: &str = "SCEAU_SHIM_CONTROL";
/// Environment variable that names the trace.
const TRACE: &str = "SCEAU_SHIM_TRACE";

/// Return codes that may be given by name.
const CODES: &[(&str, u64)] = &[
    ("CKR_HOST_MEMORY", 0x02),
    ("CKR_SLOT_ID_INVALID", 0x03),
    ("CKR_GENERAL_ERROR", 0x05),
    ("CKR_FUNCTION_FAILED", 0x06),
    ("CKR_ARGUMENTS_BAD", 0x07),
    ("CKR_DEVICE_ERROR", 0x30),
    ("CKR_DEVICE_MEMORY", 0x31),
    ("CKR_DEVICE_REMOVED", 0x32),
    ("CKR_DATA_LEN_RANGE", 0x21),
    ("CKR_ENCRYPTED_DATA_INVALID", 0x40),
    ("CKR_FUNCTION_NOT_SUPPORTED", 0x54),
    ("CKR_KEY_HANDLE_INVALID", 0x60),
    ("CKR_KEY_FUNCTION_NOT_PERMITTED", 0x68),
    ("CKR_MECHANISM_INVALID", 0x70),
    ("CKR_MECHANISM_PARAM_INVALID", 0x71),
    ("CKR_OBJECT_HANDLE_INVALID", 0x82),
    ("CKR_OPERATION_ACTIVE", 0x90),
    ("CKR_PIN_INCORRECT", 0xa0),
    ("CKR_PIN_EXPIRED", 0xa3),
    ("CKR_PIN_LOCKED", 0xa4),
    ("CKR_SESSION_CLOSED", 0xb0),
    ("CKR_SESSION_COUNT", 0xb1),
    ("CKR_SESSION_HANDLE_INVALID", 0xb3),
    ("CKR_TOKEN_NOT_PRESENT", 0xe0),
    ("CKR_TOKEN_NOT_RECOGNIZED", 0xe1),
    ("CKR_USER_NOT_LOGGED_IN", 0x101),
    ("CKR_USER_PIN_NOT_INITIALIZED", 0x102),
    ("CKR_WRAPPED_KEY_INVALID", 0x110),
    ("CKR_FUNCTION_REJECTED", 0x200),
    ("CKR_BUFFER_TOO_SMALL", 0x150),
    ("CKR_CRYPTOKI_NOT_INITIALIZED", 0x190),
];

fn code(text: &str) -> Option<u64> {
    let named = CODES.iter().find(|(name, _)| *name == text);
    named.map(|(_, code)| *code).or_else(|| {
        let digits = text.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    })
}

fn effect(text: &str) -> Option<Effect> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Some(match name {
        "code" => Effect::Code(code(value)?),
        "stuck" => Effect::Stuck(code(value)?),
        "refuse" => Effect::Refuse(code(value)?),
        "flags" => Effect::Flags(code(value)?),
        "delay" => Effect::Delay(Duration::from_millis(value.parse().ok()?)),
        "short" => Effect::Short(value.parse().ok()?),
        "hang" => Effect::Hang,
        "wedge" => Effect::Wedge,
        "abort" => Effect::Abort,
        "flip" => Effect::Flip,
        "lose-sessions" => Effect::LoseSessions,
        "lose-login" => Effect::LoseLogin,
        "change-handles" => Effect::ChangeHandles,
        "swap-handles" => Effect::SwapHandles,
        "empty" => Effect::Empty,
        _ => return None,
    })
}

fn rule(line: &str) -> Option<Rule> {
    let mut words = line.split_whitespace();
    let function = words.next()?.to_owned();
    let effect = effect(words.next()?)?;
    let (mut skip, mut times) = (0, None);
    for word in words {
        match word.split_once('=')? {
            ("skip", count) => skip = count.parse().ok()?,
            ("times", count) => times = Some(count.parse().ok()?),
            _ => return None,
        }
    }
    Some(Rule {
        text: line.to_owned(),
        function,
        effect,
        skip,
        times,
    })
}

/// The lines of a control file that mean something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}

fn control_path() -> Option<PathBuf> {
    std::env::var_os(CONTROL).map(PathBuf::from)
}

fn control_text() -> String {
    let path = control_path();
    path.and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default()
}

/// The effects on this call of `function`, counted. A line that cannot be read kills the process: a
/// test that injects nothing by mistake would pass for the wrong reason.
pub fn effects(function: &str) -> Vec<Effect> {
    let text = control_text();
    let mut found = Vec::new();
    for line in lines(&text).filter(|line| !line.starts_with("gcm-iv=")) {
        let Some(rule) = rule(line) else {
            std::process::abort()
        };
        if (rule.function == function || rule.function == "*") && is_due(&rule) {
            found.push(rule.effect);
        }
    }
    found
}

/// How the token is to treat IVs.
pub fn gcm_iv() -> GcmIv {
    let text = control_text();
    let mode = lines(&text).find_map(|line| line.strip_prefix("gcm-iv="));
    match mode {
        Some("written-back") => GcmIv::WrittenBack,
        Some("appended") => GcmIv::Appended,
        Some(_) | None => GcmIv::Untouched,
    }
}

/// Counts a hit of `rule` and answers whether its turn has come and not passed.
fn is_due(rule: &Rule) -> bool {
    if rule.skip == 0 && rule.times.is_none() {
        return true;
    }
    let hits = control_path().and_then(|path| count(&path, &rule.text).ok());
    let Some(hits) = hits else { return false };
    hits >= rule.skip
        && rule
            .times
            .is_none_or(|times| hits < rule.skip.saturating_add(times))
}

/// How often `line` was hit before, over all processes.
fn count(control: &Path, line: &str) -> std::io::Result<usize> {
    let mut path = control.as_os_str().to_owned();
    path.push(".hits");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    file.seek(SeekFrom::End(0))?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(text.lines().filter(|hit| *hit == line).count())
}

/// Appends one call to the trace, if there is one.
pub fn trace(function: &str, code: u64) {
    let Some(path) = std::env::var_os(TRACE) else {
        return;
    };
    let open: std::io::Result<File> = OpenOptions::new().create(true).append(true).open(path);
    if let Ok(mut file) = open {
        let line = format!("{} {function} {code:#x}\n", std::process::id());
        // A trace that cannot be written is seen by the test that reads it.
        let _ = file.write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let read = rule("C_Decrypt code=CKR_DEVICE_ERROR skip=2 times=1").unwrap();
        assert_eq!(
            (read.effect, read.skip, read.times),
            (Effect::Code(0x30), 2, Some(1))
        );
        assert_eq!(
            rule("* delay=50").unwrap().effect,
            Effect::Delay(Duration::from_millis(50))
        );
        assert_eq!(
            rule("C_Sign code=0x80000001").unwrap().effect,
            Effect::Code(0x8000_0001)
        );
        for wrong in [
            "C_Sign",
            "C_Sign explode",
            "C_Sign code=CKR_NONSENSE",
            "C_Sign hang often",
        ] {
            assert_eq!(rule(wrong), None, "{wrong}");
        }
        let text = "# only a remark\n\n C_Sign hang # and why\n";
        assert_eq!(lines(text).collect::<Vec<_>>(), ["C_Sign hang"]);
    }

    #[test]
    fn hits_are_counted_over_all_who_share_the_file() {
        let control = std::env::temp_dir().join(format!("sceau-shim-{}", std::process::id()));
        assert_eq!(count(&control, "C_Sign hang times=1").unwrap(), 0);
        assert_eq!(count(&control, "C_Sign hang times=1").unwrap(), 1);
        assert_eq!(count(&control, "C_Sign abort times=1").unwrap(), 0);
        std::fs::remove_file(control.with_extension("hits")).unwrap();
    }
}
