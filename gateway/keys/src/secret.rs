//! Owned secrets on the heap.
//!
//! What lives here: [`SecretKey`] and [`SecretText`]. What must not: any way to print, clone or
//! serialise them. Invariant: the bytes live in one heap allocation for the value's whole life, so
//! that moving the value copies a pointer and the wipe on drop reaches every copy we made.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// Length of every symmetric key in the hierarchy, in bytes (256 bits).
pub const KEY_BYTES: usize = 32;

/// A 256-bit symmetric key: epoch key, data key, part key or any key derived from them.
///
/// No `Debug`, `Clone`, `Display`, `Serialize` or `PartialEq`: see the crate's invariant.
///
/// ```compile_fail
/// let key = sceau_keys::SecretKey::new([1; 32]);
/// println!("{key:?}");
/// ```
/// ```compile_fail
/// let key = sceau_keys::SecretKey::new([1; 32]);
/// let copy = key.clone();
/// ```
pub struct SecretKey(Box<Zeroizing<[u8; KEY_BYTES]>>);

impl SecretKey {
    /// Takes over `bytes`; the caller's own copy is wiped before this returns.
    pub fn new(mut bytes: [u8; KEY_BYTES]) -> Self {
        let mut held = Box::new(Zeroizing::new([0; KEY_BYTES]));
        held.copy_from_slice(&bytes);
        bytes.zeroize();
        Self(held)
    }

    /// A key that `write` puts where it stays: no copy is left on the stack, as returning it would.
    pub fn written_by(write: impl FnOnce(&mut [u8; KEY_BYTES])) -> Self {
        let mut held = Box::new(Zeroizing::new([0; KEY_BYTES]));
        write(&mut held);
        Self(held)
    }

    /// Copies a key out of `bytes`; `None` unless there are exactly [`KEY_BYTES`].
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == KEY_BYTES).then(|| {
            let mut held = Box::new(Zeroizing::new([0; KEY_BYTES]));
            held.copy_from_slice(bytes);
            Self(held)
        })
    }

    /// The key's bytes, for a cryptographic call only.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Whether two keys are equal, in time that does not depend on where they differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }

    /// Whether every byte is zero: the mark of a broken generator or a key provider that lied.
    pub fn is_zero(&self) -> bool {
        self.0.as_slice().ct_eq(&[0; KEY_BYTES]).into()
    }
}

/// A secret text: a PIN, a secret access key, a password.
///
/// ```compile_fail
/// let pin = sceau_keys::SecretText::new("1234".to_owned());
/// println!("{pin:?}");
/// ```
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes over `text`.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one call that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_the_wrong_length_is_refused() {
        assert!(SecretKey::from_slice(&[7; 31]).is_none());
        assert!(SecretKey::from_slice(&[7; 33]).is_none());
        assert!(SecretKey::from_slice(&[7; 32]).is_some());
    }

    #[test]
    fn equality_and_zero_are_seen() {
        assert!(SecretKey::new([3; 32]).ct_eq(&SecretKey::new([3; 32])));
        assert!(!SecretKey::new([3; 32]).ct_eq(&SecretKey::new([4; 32])));
        assert!(SecretKey::new([0; 32]).is_zero());
        assert!(!SecretKey::new([1; 32]).is_zero());
    }
}
