//! What each scheme puts into the IV and the blob of a wrap: lengths, and the ladder's order.
//!
//! What lives here: facts of docs/format/ section 9.1 that gateway and helper share. What must not:
//! calls of a token. Invariant: a wrap of another form is refused before the token is asked.

use sceau_keys::{KEY_BYTES, WrapScheme};

/// Length of a GCM IV in bytes.
pub(crate) const IV_BYTES: usize = 12;
/// Length of a GCM tag in bytes.
pub(crate) const TAG_BYTES: usize = 16;
/// Length in bytes of the salt of schemes that derive or bind.
pub(crate) const SALT_BYTES: usize = 32;
/// Length in bytes of a key wrapped by GCM.
pub(crate) const SEALED_BYTES: usize = KEY_BYTES + TAG_BYTES;
/// Length in bytes of a key with the digest of its context.
pub(crate) const BOUND_BYTES: usize = KEY_BYTES + 32;
/// Length in bytes of that after RFC 3394.
pub(crate) const KW_BYTES: usize = BOUND_BYTES + 8;
/// Shortest and longest RSA modulus in bytes.
pub(crate) const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// The schemes of PKCS#11 keys, best first. The last one is never chosen unless it is asked for: it
/// needs no secret to wrap, so it cannot tell who did (docs/format/ section 11, *Limits*).
pub(crate) const LADDER: [WrapScheme; 6] = [
    WrapScheme::AesGcmCallerIv,
    WrapScheme::AesGcmHsmIv,
    WrapScheme::HmacKdf,
    WrapScheme::AesKw,
    WrapScheme::AesCbcKdf,
    WrapScheme::RsaOaepSha256,
];

/// Whether the ladder may stop at `scheme` by itself.
pub(crate) fn may_be_chosen(scheme: WrapScheme) -> bool {
    scheme != WrapScheme::RsaOaepSha256
}

/// Whether IV and blob have the lengths of `scheme`.
pub(crate) fn fits(scheme: WrapScheme, iv: &[u8], blob: &[u8]) -> bool {
    match scheme {
        WrapScheme::AesGcmCallerIv | WrapScheme::AesGcmHsmIv => {
            iv.len() == IV_BYTES && blob.len() == SEALED_BYTES
        }
        WrapScheme::HmacKdf | WrapScheme::AesCbcKdf => iv.len() == SALT_BYTES && blob.len() == SEALED_BYTES,
        WrapScheme::AesKw => iv.len() == SALT_BYTES && blob.len() == KW_BYTES,
        WrapScheme::RsaOaepSha256 => iv.is_empty() && MODULUS_BYTES.contains(&blob.len()),
        WrapScheme::Transit | WrapScheme::KmipGcm | WrapScheme::AwsKms | WrapScheme::InsecureLocal => false,
    }
}
