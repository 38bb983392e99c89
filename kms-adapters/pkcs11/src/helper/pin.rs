//! The PIN: reading it, and remembering that one was refused.
//!
//! What lives here: [`Pin`] and the latch file. What must not: logging in. Invariant: a PIN that the
//! token refused is not offered to it again, by this helper or any later one, until the PIN file holds
//! another; and neither the PIN nor anything it could be found from is written anywhere.
//!
//! Attack considered: most tokens lock after three to ten wrong PINs, and service managers restart what
//! fails. Without a memory that outlives the process, a mistyped PIN file locks the HSM within a minute.
//! So the helper writes a tag of the refused PIN beside the keyring. The tag has 16 bits of a salted
//! hash: enough to know the same PIN again (a new one is mistaken for it once in 65 536 times, and
//! removing the file helps), too little to tell a PIN of six digits from fifteen others. Who may read
//! that file may read the PIN file as well.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cryptoki::types::RawAuthPin;
use data_encoding::HEXLOWER;
use sceau_keys::{KEY_BYTES, LockedKey, SecretKey};
use sceau_kms::KeyError;
use sceau_kms::secret_file::is_private;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::note;
use crate::config::{PinSource, misconfigured};
use crate::terminal::ask_on_terminal;

/// Longest PIN in bytes, with its newline.
const PIN_BYTES_MAX: usize = 257;
/// Length of the latch's salt in bytes.
const SALT_BYTES: usize = 16;
/// Length of the latch's tag in bytes.
const TAG_BYTES: usize = 2;

/// A PIN in memory. Wiped when dropped.
pub(super) struct Pin(Zeroizing<Vec<u8>>);

/// The PIN that was typed, until the helper ends: pieces in locked memory, and their length together.
static TYPED: Mutex<Option<(Vec<LockedKey>, usize)>> = Mutex::new(None);

impl Pin {
    /// The PIN for one login. From a file it is read anew each time, so that it is not kept; one that was typed
    /// is kept in locked memory, because nobody may be there when the token wants it again.
    pub(super) fn read(source: &PinSource, question: &str) -> Result<Self, KeyError> {
        match source {
            PinSource::File(path) | PinSource::Credential(path) => Self::read_file(path),
            PinSource::Prompt => Self::ask(question),
        }
    }

    fn ask(question: &str) -> Result<Self, KeyError> {
        let mut typed = TYPED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((pieces, length)) = typed.as_ref() {
            return Ok(Self(joined(pieces, *length)));
        }
        let answer = ask_on_terminal(question).map_err(|error| KeyError::NeedsOperator {
            what: format!(
                "the PIN is to be typed (`prompt:`, or `credential:` outside of a unit with LoadCredential=), but: {error}"
            ),
        })?;
        if answer.is_empty() {
            return Err(KeyError::NeedsOperator {
                what: "no PIN was typed".to_owned(),
            });
        }
        *typed = Some((pieces_of(&answer), answer.len()));
        Ok(Self(answer))
    }

    /// Every copy made here is wiped.
    fn read_file(path: &Path) -> Result<Self, KeyError> {
        let unreadable = |error| misconfigured(format!("the PIN file: {error}"));
        let mut file = File::open(path).map_err(unreadable)?;
        let facts = file.metadata().map_err(unreadable)?;
        if !is_private(&facts) {
            return Err(misconfigured(
                "the PIN file must be a plain file that only its owner may read (mode 0600, or 0640 if root owns it)",
            ));
        }
        let mut text = Zeroizing::new([0_u8; PIN_BYTES_MAX]);
        let mut length: usize = 0;
        loop {
            let room = text.get_mut(length..).unwrap_or_default();
            if room.is_empty() {
                return Err(misconfigured("the PIN file is too long"));
            }
            match file.read(room).map_err(unreadable)? {
                0 => break,
                more => length = length.saturating_add(more),
            }
        }
        let text = text.get(..length).unwrap_or_default();
        let pin = text.strip_suffix(b"\n").unwrap_or(text);
        if pin.is_empty() {
            return Err(misconfigured("the PIN file is empty"));
        }
        Ok(Self(Zeroizing::new(pin.to_vec())))
    }

    /// The PIN as the wrapper wants it; its copy is wiped as well.
    pub(super) fn for_login(&self) -> RawAuthPin {
        RawAuthPin::new(Box::new(self.0.to_vec()))
    }

    fn tag(&self, salt: &[u8]) -> [u8; TAG_BYTES] {
        let mut hash = Sha256::new();
        hash.update(b"sceau/refused-pin");
        hash.update(salt);
        hash.update(self.0.as_slice());
        let hash = hash.finalize();
        hash.first_chunk().copied().unwrap_or_default()
    }
}

fn pieces_of(pin: &[u8]) -> Vec<LockedKey> {
    let piece = |bytes: &[u8]| {
        LockedKey::new(SecretKey::written_by(|room| {
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
        }))
    };
    pin.chunks(KEY_BYTES).map(piece).collect()
}

fn joined(pieces: &[LockedKey], length: usize) -> Zeroizing<Vec<u8>> {
    // The whole at once: a growing buffer would leave unwiped copies behind.
    let mut pin = Zeroizing::new(Vec::with_capacity(pieces.len().saturating_mul(KEY_BYTES)));
    for piece in pieces {
        piece.with(|bytes| pin.extend_from_slice(bytes));
    }
    pin.truncate(length);
    pin
}

/// Refuses a PIN that the token refused before, by the latch file's word.
pub(super) fn refuse_known_wrong(latch: Option<&str>, pin: &Pin) -> Result<(), KeyError> {
    let Some(path) = latch else { return Ok(()) };
    let Ok(text) = std::fs::read_to_string(path) else {
        return Ok(());
    };
    let kept = HEXLOWER.decode(text.trim().as_bytes()).unwrap_or_default();
    let (salt, tag) = kept.split_at_checked(SALT_BYTES).unwrap_or_default();
    if tag != pin.tag(salt) {
        return Ok(());
    }
    note("login: not tried, this PIN was refused before");
    Err(KeyError::NeedsOperator {
        what: format!(
            "the HSM refused this PIN before, and it is not tried again; correct the PIN file, or remove {path} \
             if the PIN was changed in the HSM instead"
        ),
    })
}

/// Remembers that the token refused `pin`. Failing to is noted: the next start would try again.
pub(super) fn remember_wrong(latch: Option<&str>, pin: &Pin) {
    let Some(path) = latch else { return };
    if write_latch(Path::new(path), pin).is_err() {
        note("the refused PIN could not be remembered; do not restart before it is corrected");
    }
}

fn write_latch(path: &Path, pin: &Pin) -> std::io::Result<()> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(std::io::Error::other)?;
    let mut kept = salt.to_vec();
    kept.extend_from_slice(&pin.tag(&salt));
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(HEXLOWER.encode(&kept).as_bytes())?;
    file.sync_all()
}

/// Forgets a refused PIN after a login.
pub(super) fn forget_wrong(latch: Option<&str>) {
    if let Some(path) = latch {
        // Usually there is none.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_typed_pin_is_kept_in_pieces_and_comes_back_whole() {
        for length in [1, 31, 32, 33, 64, 255] {
            let pin: Vec<u8> = (0..length).map(|n| (n % 251) as u8 + 1).collect();
            assert_eq!(joined(&pieces_of(&pin), pin.len()).as_slice(), pin);
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_wherever_it_is() {
        let path = std::env::temp_dir().join(format!("sceau-pin-mode-{}", std::process::id()));
        std::fs::write(&path, "4711\n").unwrap();
        for (mode, is_read) in [
            (0o400, true),
            (0o600, true),
            (0o460, false),
            (0o404, false),
            (0o644, false),
        ] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let read =
                |source: PinSource| Pin::read(&source, "").is_ok_and(|pin| pin.0.as_slice() == b"4711");
            for source in [PinSource::File(path.clone()), PinSource::Credential(path.clone())] {
                assert_eq!(read(source), is_read, "{mode:o}");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn only_the_refused_pin_is_latched() {
        let path = std::env::temp_dir().join(format!("sceau-latch-{}", std::process::id()));
        let latch = path.to_str();
        let wrong = Pin(Zeroizing::new(b"123456".to_vec()));
        assert!(refuse_known_wrong(latch, &wrong).is_ok());
        remember_wrong(latch, &wrong);
        assert!(matches!(
            refuse_known_wrong(latch, &wrong),
            Err(KeyError::NeedsOperator { .. })
        ));
        let facts = std::fs::metadata(&path).unwrap();
        assert_eq!(facts.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            facts.len(),
            2 * 18,
            "salt and 16 bits, so that the PIN cannot be searched for"
        );
        // Of 200 others at most one may be taken for it, and that is unlikely enough.
        let others = (0..200).map(|n| Pin(Zeroizing::new(format!("other-{n}").into_bytes())));
        let mistaken = others
            .filter(|pin| refuse_known_wrong(latch, pin).is_err())
            .count();
        assert!(mistaken <= 1, "{mistaken}");
        forget_wrong(latch);
        assert!(!path.exists() && refuse_known_wrong(latch, &wrong).is_ok());
    }
}
