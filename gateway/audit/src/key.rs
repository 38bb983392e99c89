//! The key of the trail: authenticates checkpoints and masks names.
//!
//! What lives here: [`AuditKey`] and its labels. What must not: where the key comes from (it is derived from
//! the keyring's MAC key). Invariant: each use of the key begins with a label of its own, so that a mask of a
//! name can never be passed off as the authenticator of a checkpoint.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use sceau_keys::SecretKey;
use sha2::Sha256;

const CHECKPOINT_LABEL: &[u8] = b"sceau/audit/checkpoint/1\0";
const NAME_LABEL: &[u8] = b"sceau/audit/name/1\0";
const ID_LABEL: &[u8] = b"sceau/audit/key-id/1\0";

/// Digits of a key's id.
const ID_TEXT_BYTES: usize = 16;

/// The key of one keyring's audit trails.
pub struct AuditKey(SecretKey);

impl AuditKey {
    /// From the key that was derived for this purpose.
    pub fn new(root: SecretKey) -> Self {
        Self(root)
    }

    /// Tells keys apart and nothing else about them: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        let mut id = self.text(&[ID_LABEL]);
        id.truncate(ID_TEXT_BYTES);
        id
    }

    /// The authenticator of a checkpoint's bytes, 64 hexadecimal digits.
    pub fn authenticate(&self, checkpoint: &[u8]) -> String {
        self.text(&[CHECKPOINT_LABEL, checkpoint])
    }

    /// Whether `mac` authenticates these bytes; compared in constant time.
    pub fn is_authentic(&self, checkpoint: &[u8], mac: &str) -> bool {
        let Ok(mac) = HEXLOWER.decode(mac.as_bytes()) else {
            return false;
        };
        self.mac(&[CHECKPOINT_LABEL, checkpoint])
            .is_some_and(|computed| computed.verify_slice(&mac).is_ok())
    }

    /// What stands for an object's key where names are masked: equal for equal names of a bucket, and telling
    /// nothing to whoever lacks the key. Who has it can try names. 64 hexadecimal digits.
    pub fn mask(&self, bucket: &str, key: &str) -> String {
        // A bucket's name holds no zero byte, so no two pairs are the same input.
        self.text(&[NAME_LABEL, bucket.as_bytes(), b"\0", key.as_bytes()])
    }

    fn text(&self, pieces: &[&[u8]]) -> String {
        let mac = self.mac(pieces);
        mac.map_or_else(String::new, |mac| HEXLOWER.encode(&mac.finalize().into_bytes()))
    }

    /// HMAC takes keys of every length, so there always is one; none could never verify.
    fn mac(&self, pieces: &[&[u8]]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose()).ok()?;
        for piece in pieces {
            mac.update(piece);
        }
        Some(mac)
    }
}
