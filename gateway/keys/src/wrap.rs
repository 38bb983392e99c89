//! The wrapped form of an epoch key, and the context it is wrapped in.
//!
//! What lives here: plain data that a key provider makes and a key record stores. What must not:
//! the wrapping itself. Invariant: a wrap names everything that is needed to unwrap it except the
//! key-encryption key; integrity never rests on it alone (the key record's check value proves the
//! key and its context after unwrapping, docs/format/ section "Key record").

use crate::id::{BucketId, Epoch, Krid, TenantId};

/// Largest wrapped blob in bytes: an RSA-4096 ciphertext.
pub const WRAP_BLOB_BYTES_MAX: usize = 512;

/// Length in bytes of the canonical wrap context.
pub const WRAP_CONTEXT_BYTES: usize = 9 + 16 + 16 + 16 + 4;

/// What a wrapped key is for. One key, one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Epoch key: seals object headers.
    Data = 1,
    /// Name key: seals object names where they are hidden.
    Names = 2,
    /// Authenticates the keyring document.
    KeyringMac = 3,
}

impl Purpose {
    /// The purpose with this code in a key record.
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Data),
            2 => Some(Self::Names),
            3 => Some(Self::KeyringMac),
            _ => None,
        }
    }
}

/// How a wrap was made. Chosen once when a key-encryption key is enrolled, then pinned. What each puts
/// into IV and blob is in docs/format/ section 9.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum WrapScheme {
    /// AES-256-GCM in the token, 12-byte IV from the caller, 16-byte tag appended, context as AAD.
    AesGcmCallerIv = 1,
    /// The same with an IV that the token made.
    AesGcmHsmIv = 2,
    /// HMAC-SHA-256 in the token derives a key per wrap; AES-256-GCM under that key in software.
    HmacKdf = 3,
    /// AES key wrap (RFC 3394) in the token, of the key and the digest of its context.
    AesKw = 4,
    /// RSA-OAEP with SHA-256, of the key and the digest of its context; only unwrapping needs the token.
    RsaOaepSha256 = 5,
    /// As [`Self::HmacKdf`], with AES-CBC as the derivation function.
    AesCbcKdf = 6,
    /// The transit engine of OpenBao or Vault, with the digest of the context as associated data.
    Transit = 7,
    /// AES-256-GCM in a KMIP server, IV chosen by the caller, with the digest of the context as AAD.
    KmipGcm = 8,
    /// The key management service of AWS, with the context as encryption context.
    AwsKms = 9,
    /// AES-256-GCM in software under a key file: development only.
    InsecureLocal = 0x7f00_0001,
}

impl WrapScheme {
    /// Every scheme.
    pub const ALL: [Self; 10] = [
        Self::AesGcmCallerIv,
        Self::AesGcmHsmIv,
        Self::HmacKdf,
        Self::AesKw,
        Self::RsaOaepSha256,
        Self::AesCbcKdf,
        Self::Transit,
        Self::KmipGcm,
        Self::AwsKms,
        Self::InsecureLocal,
    ];

    /// The scheme's code in a key record.
    pub fn code(self) -> u32 {
        self as u32
    }

    /// The scheme with this code in a key record.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.code() == code)
    }

    /// The scheme with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.name() == name)
    }

    /// The stable name shown to operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcmCallerIv => "aes-gcm/caller-iv",
            Self::AesGcmHsmIv => "aes-gcm/hsm-iv",
            Self::HmacKdf => "hmac-kdf",
            Self::AesKw => "aes-kw",
            Self::RsaOaepSha256 => "rsa-oaep-sha256",
            Self::AesCbcKdf => "aes-cbc-kdf",
            Self::Transit => "transit",
            Self::KmipGcm => "kmip-gcm",
            Self::AwsKms => "aws-kms",
            Self::InsecureLocal => "insecure-local",
        }
    }
}

/// One wrap of one key. Public: it may be printed and stored in the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    /// Which key provider made it: the token's serial number, or another stable name.
    pub provider: String,
    /// Label of the key-encryption key there.
    pub key_label: String,
    /// Version of that key-encryption key, counted from 1.
    pub key_version: u32,
    /// How it was made.
    pub scheme: WrapScheme,
    /// IV or salt, empty where the scheme has none.
    pub iv: Vec<u8>,
    /// The wrapped key, [`WRAP_BLOB_BYTES_MAX`] bytes at most.
    pub blob: Vec<u8>,
}

/// What a wrap is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WrapContext {
    /// Record that holds the wrap.
    pub krid: Krid,
    /// Owner of the keyring.
    pub tenant: TenantId,
    /// Bucket, all zero for keys that belong to none.
    pub bucket: BucketId,
    /// Epoch of the record.
    pub epoch: Epoch,
}

impl WrapContext {
    /// The bytes given as AAD where the scheme has one:
    /// `"sof1/wrap" ‖ KRID ‖ tenant ‖ bucket ‖ epoch (u32, big-endian)`.
    pub fn to_bytes(&self) -> [u8; WRAP_CONTEXT_BYTES] {
        let mut bytes = [0; WRAP_CONTEXT_BYTES];
        let fields = b"sof1/wrap"
            .iter()
            .chain(&self.krid.0)
            .chain(&self.tenant.0)
            .chain(&self.bucket.0)
            .copied()
            .chain(self.epoch.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_laid_out_as_documented() {
        let context = WrapContext {
            krid: Krid([1; 16]),
            tenant: TenantId([2; 16]),
            bucket: BucketId([3; 16]),
            epoch: 0x0405_0607,
        };
        let bytes = context.to_bytes();
        assert_eq!(&bytes[..9], b"sof1/wrap");
        assert_eq!(&bytes[9..25], [1; 16]);
        assert_eq!(&bytes[25..41], [2; 16]);
        assert_eq!(&bytes[41..57], [3; 16]);
        assert_eq!(&bytes[57..], [4, 5, 6, 7]);
    }

    #[test]
    fn codes_read_back() {
        for purpose in [Purpose::Data, Purpose::Names, Purpose::KeyringMac] {
            assert_eq!(Purpose::from_code(purpose as u8), Some(purpose));
        }
        for scheme in WrapScheme::ALL {
            assert_eq!(WrapScheme::from_code(scheme.code()), Some(scheme));
            assert_eq!(WrapScheme::from_name(scheme.name()), Some(scheme));
        }
        assert_eq!(Purpose::from_code(0), None);
        assert_eq!(WrapScheme::from_code(0), None);
    }
}
