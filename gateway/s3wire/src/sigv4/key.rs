//! Secret access keys and the signing keys derived from them.
//!
//! What lives here: both secret types, HMAC, the cache of derived keys. What must not: access keys'
//! owners. Invariant: secrets are wiped on drop and have no way to be printed or cloned.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Scope, TERMINATOR};

/// Most signing keys a [`SigningKeyCache`] holds. One entry is one access key on one day in one
/// region, and takes less than 1 KiB.
pub const SIGNING_KEYS_MAX: usize = 1024;

const SHA256_BLOCK_BYTES: usize = 64;

/// The secret half of an access key.
///
/// ```compile_fail
/// let secret = sceau_s3wire::sigv4::SecretAccessKey::new("secret".to_owned());
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = sceau_s3wire::sigv4::SecretAccessKey::new("secret".to_owned());
/// let copy = secret.clone();
/// ```
pub struct SecretAccessKey {
    text: Zeroizing<Vec<u8>>,
    /// SHA-256 of the text: tells a rotated secret from the one a cached key was derived from.
    fingerprint: Zeroizing<[u8; 32]>,
}

impl SecretAccessKey {
    /// Takes over `text` without copying it.
    pub fn new(text: String) -> Self {
        let text = Zeroizing::new(text.into_bytes());
        let fingerprint = Zeroizing::new(Sha256::digest(text.as_slice()).into());
        Self { text, fingerprint }
    }
}

/// Key of one access key for one day, region and service.
pub struct SigningKey(Box<Zeroizing<[u8; 32]>>);

impl SigningKey {
    /// Derives the key; `date` is `YYYYMMDD`.
    pub fn derive(secret: &SecretAccessKey, date: &str, region: &str, service: &str) -> Self {
        let mut initial = Zeroizing::new(Vec::with_capacity(secret.text.len().saturating_add(4)));
        initial.extend_from_slice(b"AWS4");
        initial.extend_from_slice(&secret.text);
        let mut key = Zeroizing::new(hmac_sha256(&initial, &[date.as_bytes()]));
        for part in [region, service, TERMINATOR] {
            key = Zeroizing::new(hmac_sha256(key.as_slice(), &[part.as_bytes()]));
        }
        Self(Box::new(key))
    }

    /// Signature of the concatenation of `parts`.
    pub(crate) fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        hmac_sha256(self.0.as_slice(), parts)
    }
}

/// A bounded cache of signing keys, for one set of credentials or for all.
///
/// A key is found only with the secret it was derived from, so a rotated secret takes effect at
/// once. Removing an access key is the caller's business: it must not ask for one it no longer knows.
#[derive(Default)]
pub struct SigningKeyCache {
    inner: Mutex<CacheInner>,
}

#[derive(Default)]
struct CacheInner {
    keys: HashMap<String, CacheEntry>,
    /// Insertion order; the oldest key makes room.
    order: VecDeque<String>,
}

struct CacheEntry {
    fingerprint: Zeroizing<[u8; 32]>,
    key: Arc<SigningKey>,
}

impl SigningKeyCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys
            .len()
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cached key, or a new one that is not yet kept.
    pub(crate) fn find_or_derive(
        &self,
        access_key: &str,
        secret: &SecretAccessKey,
        scope: &Scope,
    ) -> Arc<SigningKey> {
        let name = cache_name(access_key, scope);
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = inner.keys.get(&name)
            && bool::from(entry.fingerprint.as_slice().ct_eq(secret.fingerprint.as_slice()))
        {
            return Arc::clone(&entry.key);
        }
        drop(inner);
        Arc::new(SigningKey::derive(
            secret,
            &scope.date,
            &scope.region,
            &scope.service,
        ))
    }

    /// Keeps a key that has proved useful: one that verified a signature or made one. Keys of failed
    /// attempts never get here, so that nobody can flush the cache without a valid secret.
    pub(crate) fn keep(
        &self,
        access_key: &str,
        secret: &SecretAccessKey,
        scope: &Scope,
        key: &Arc<SigningKey>,
    ) {
        let name = cache_name(access_key, scope);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner
            .keys
            .get(&name)
            .is_some_and(|entry| Arc::ptr_eq(&entry.key, key))
        {
            return;
        }
        let entry = CacheEntry {
            fingerprint: secret.fingerprint.clone(),
            key: Arc::clone(key),
        };
        if inner.keys.insert(name.clone(), entry).is_none() {
            inner.order.push_back(name);
        }
        while inner.keys.len() > SIGNING_KEYS_MAX {
            let Some(oldest) = inner.order.pop_front() else {
                break;
            };
            inner.keys.remove(&oldest);
        }
    }
}

fn cache_name(access_key: &str, scope: &Scope) -> String {
    format!("{access_key}/{scope}")
}

fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // RFC 2104 pads the key to a block, hashing it first when it is longer. Done here, because the
    // library's constructor for keys of any length has an error that cannot happen.
    let mut block = Zeroizing::new([0_u8; SHA256_BLOCK_BYTES]);
    if key.len() > SHA256_BLOCK_BYTES {
        let mut digest: [u8; 32] = Sha256::digest(key).into();
        block.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        digest.zeroize();
    } else {
        block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    }
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    #[test]
    fn hmac_agrees_with_rfc_4231() {
        let long = HEXLOWER.encode(&hmac_sha256(
            &[0xaa; 131],
            &[b"Test Using Larger Than Block-Size Key", b" - Hash Key First"],
        ));
        assert_eq!(
            long,
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        let short = HEXLOWER.encode(&hmac_sha256(b"Jefe", &[b"what do ya want ", b"for nothing?"]));
        assert_eq!(
            short,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_rotated_secret_is_not_served_the_old_key_and_the_cache_is_bounded() {
        let cache = SigningKeyCache::new();
        let (old, new) = (
            SecretAccessKey::new("old".into()),
            SecretAccessKey::new("new".into()),
        );
        let scope = Scope {
            date: "20130524".into(),
            region: "r".into(),
            service: "s3".into(),
        };
        let key = cache.find_or_derive("AK", &old, &scope);
        assert!(cache.is_empty());
        cache.keep("AK", &old, &scope, &key);
        assert!(Arc::ptr_eq(&key, &cache.find_or_derive("AK", &old, &scope)));
        assert_ne!(cache.find_or_derive("AK", &new, &scope).sign(&[]), key.sign(&[]));
        for n in 0..SIGNING_KEYS_MAX + 5 {
            cache.keep(&format!("AK{n}"), &old, &scope, &key);
        }
        assert_eq!(cache.len(), SIGNING_KEYS_MAX);
    }
}
