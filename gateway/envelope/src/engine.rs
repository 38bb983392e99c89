//! The AEAD engines behind one small interface.
//!
//! What lives here: AES-256-GCM from two libraries, and the choice between them. What must not:
//! segments, headers, any layout. Invariant: nobody passes an IV in to be sealed with; an engine
//! draws it and says which; a buffer that does not open is wiped.

use std::sync::Arc;

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce as AwsNonce, RandomizedNonceKey};
use sceau_keys::SecretKey;
use zeroize::Zeroize;

use crate::error::SealError;
use crate::random::{CheckedRandom, OsRandom, Random};

/// Length of a GCM IV in bytes.
pub(crate) const IV_BYTES: usize = 12;
/// Length of a GCM tag in bytes.
pub(crate) const TAG_BYTES: usize = 16;

/// Which library does the AEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// `aws-lc-rs` with its key type that draws its own IVs.
    AwsLc,
    /// `aes-gcm`: portable, the reference that tests compare against.
    Reference,
}

impl EngineKind {
    /// The stable name for logs and configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::AwsLc => "aws-lc",
            Self::Reference => "reference",
        }
    }
}

/// The chosen AEAD and the random source. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    kind: EngineKind,
    random: Arc<CheckedRandom>,
}

impl Engine {
    /// The engine that is fastest here, with the system's generator. That is `aws-lc` on every
    /// machine measured so far; the reference engine remains available through [`Engine::pinned`].
    pub fn fastest() -> Self {
        Self::pinned(EngineKind::AwsLc)
    }

    /// The engine the operator named, with the system's generator.
    pub fn pinned(kind: EngineKind) -> Self {
        Self::with_random(kind, Arc::new(OsRandom))
    }

    /// An engine with another random source, for vectors and fault tests. The health check applies
    /// to it. Only [`EngineKind::Reference`] draws segment IVs from it.
    pub fn with_random(kind: EngineKind, random: Arc<dyn Random>) -> Self {
        Self {
            kind,
            random: Arc::new(CheckedRandom::new(random)),
        }
    }

    /// Which library this is.
    pub fn kind(&self) -> EngineKind {
        self.kind
    }

    /// The health-checked random source, for keys, salts and identifiers.
    pub fn random(&self) -> &dyn Random {
        &*self.random
    }

    /// Draws `N` random bytes.
    pub(crate) fn draw<const N: usize>(&self) -> Result<[u8; N], SealError> {
        let mut out = [0; N];
        self.random.fill(&mut out)?;
        Ok(out)
    }

    /// Prepares `key` for use.
    pub(crate) fn key(&self, key: &SecretKey) -> Result<AeadKey, SealError> {
        let cipher = match self.kind {
            EngineKind::AwsLc => Cipher::AwsLc(Box::new(
                RandomizedNonceKey::new(&AES_256_GCM, key.expose()).map_err(|_| SealError::Engine)?,
            )),
            EngineKind::Reference => Cipher::Reference(Box::new(Aes256Gcm::new(key.expose().into()))),
        };
        Ok(AeadKey {
            cipher,
            random: Arc::clone(&self.random),
        })
    }
}

enum Cipher {
    AwsLc(Box<RandomizedNonceKey>),
    Reference(Box<Aes256Gcm>),
}

/// One AEAD key, ready for use. No way to pass an IV in for sealing.
pub(crate) struct AeadKey {
    cipher: Cipher,
    random: Arc<CheckedRandom>,
}

/// The bytes did not authenticate. They have been wiped.
pub(crate) struct NotAuthentic;

impl AeadKey {
    /// Seals `in_out` in place; returns the IV it drew and the tag.
    pub(crate) fn seal(
        &self,
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<([u8; IV_BYTES], [u8; TAG_BYTES]), SealError> {
        match &self.cipher {
            Cipher::AwsLc(key) => {
                let (iv, tag) = key
                    .seal_in_place_separate_tag(Aad::from(aad), in_out)
                    .map_err(|_| SealError::Engine)?;
                self.random.observe(iv.as_ref())?;
                Ok((
                    *iv.as_ref(),
                    *tag.as_ref().first_chunk().ok_or(SealError::Engine)?,
                ))
            }
            Cipher::Reference(key) => {
                let mut iv = [0; IV_BYTES];
                self.random.fill(&mut iv)?;
                let tag = key
                    .encrypt_inout_detached(&Nonce::from(iv), aad, InOutBuf::from(in_out))
                    .map_err(|_| SealError::Engine)?;
                Ok((iv, tag.into()))
            }
        }
    }

    /// Opens `in_out` (ciphertext then tag) in place; the plaintext then fills all but the last
    /// [`TAG_BYTES`]. On failure all of `in_out` is wiped.
    pub(crate) fn open(
        &self,
        iv: &[u8; IV_BYTES],
        aad: &[u8],
        in_out: &mut [u8],
    ) -> Result<(), NotAuthentic> {
        let opened = match &self.cipher {
            Cipher::AwsLc(key) => key
                .open_in_place(AwsNonce::assume_unique_for_key(*iv), Aad::from(aad), in_out)
                .map(|_| ())
                .map_err(|_| NotAuthentic),
            Cipher::Reference(key) => match in_out.split_last_chunk_mut::<TAG_BYTES>() {
                Some((text, tag)) => key
                    .decrypt_inout_detached(&Nonce::from(*iv), aad, InOutBuf::from(text), &Tag::from(*tag))
                    .map_err(|_| NotAuthentic),
                None => Err(NotAuthentic),
            },
        };
        if opened.is_err() {
            in_out.zeroize();
        }
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [EngineKind; 2] = [EngineKind::AwsLc, EngineKind::Reference];

    #[test]
    fn what_one_engine_seals_the_other_opens() {
        for (sealer, opener) in [(KINDS[0], KINDS[1]), (KINDS[1], KINDS[0]), (KINDS[0], KINDS[0])] {
            let secret = SecretKey::new([3; 32]);
            let mut buffer = b"some text".to_vec();
            let (iv, tag) = Engine::pinned(sealer)
                .key(&secret)
                .ok()
                .unwrap()
                .seal(b"aad", &mut buffer)
                .unwrap();
            buffer.extend_from_slice(&tag);
            let key = Engine::pinned(opener).key(&secret).ok().unwrap();
            assert!(key.open(&iv, b"aad", &mut buffer).is_ok());
            assert_eq!(&buffer[..9], b"some text");
        }
    }

    #[test]
    fn a_buffer_that_does_not_open_is_wiped() {
        for kind in KINDS {
            let key = Engine::pinned(kind).key(&SecretKey::new([3; 32])).ok().unwrap();
            let mut buffer = b"some text".to_vec();
            let (iv, tag) = key.seal(b"aad", &mut buffer).unwrap();
            buffer.extend_from_slice(&tag);
            assert!(key.open(&iv, b"add", &mut buffer).is_err());
            assert!(buffer.iter().all(|byte| *byte == 0), "{kind:?}");
        }
    }

    #[test]
    fn too_short_is_refused_by_both() {
        for kind in KINDS {
            let key = Engine::pinned(kind).key(&SecretKey::new([3; 32])).ok().unwrap();
            for length in 0..16 {
                assert!(key.open(&[0; 12], b"", &mut vec![1; length]).is_err());
            }
        }
    }
}
