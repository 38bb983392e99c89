//! What a header is bound to: tenant, bucket and name (§3.2).
//!
//! What lives here: the context hash. What must not: any normalisation of names. Invariant: two
//! names that differ in one byte have different contexts.

use sceau_keys::{BucketId, TenantId};
use sha2::{Digest, Sha384};

use crate::prf::Lp;

/// The context hash `H`. Public: it is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context([u8; 48]);

impl Context {
    /// Binds to `key_name`: the exact bytes of the object's key after percent-decoding.
    pub fn new(tenant: &TenantId, bucket: &BucketId, key_name: &[u8]) -> Self {
        let mut hash = Sha384::new();
        hash.update(b"sof1/ctx\0");
        for field in [&tenant.0[..], &bucket.0[..], key_name] {
            for piece in Lp::new(field).pieces() {
                hash.update(piece);
            }
        }
        Self(hash.finalize().into())
    }

    /// The 48 bytes of `H`.
    pub fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_and_places_have_different_contexts() {
        let tenant = TenantId([1; 16]);
        let bucket = BucketId([2; 16]);
        let names = [
            "a//b", "a/b", "a/./b", "a/../a/b", "a/b/", "a%2Fb", "\u{e9}", "e\u{301}", "",
        ];
        let mut seen = std::collections::HashSet::new();
        for name in names {
            assert!(seen.insert(*Context::new(&tenant, &bucket, name.as_bytes()).as_bytes()));
        }
        assert!(seen.insert(*Context::new(&tenant, &BucketId([3; 16]), b"a/b").as_bytes()));
        assert!(seen.insert(*Context::new(&TenantId([2; 16]), &bucket, b"a/b").as_bytes()));
    }
}
