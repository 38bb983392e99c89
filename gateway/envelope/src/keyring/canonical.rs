//! The bytes that the keyring's authenticator covers (§10.2).
//!
//! What lives here: the one encoding of a keyring's whole content. What must not: the JSON text,
//! which may be laid out in many ways. Invariant: every field of the content is in here, so that
//! no field can be changed without the key.

use super::{BucketEntry, EnrolledKek, KeyringContent};
use crate::bytes_io::put_lp;

/// Begins the encoding, so that the key's other use (a record's check value) shares no input with it.
const DOMAIN: &[u8] = b"sof1/keyring\0";

/// Version of this encoding and of the document.
pub(super) const VERSION: u32 = 1;

/// The canonical bytes; `None` if a field exceeds its limit.
pub(super) fn encode(content: &KeyringContent) -> Option<Vec<u8>> {
    // Every field by name: a field added to the content does not compile until it is encoded.
    let KeyringContent {
        tenant,
        generation,
        keks,
        records,
        buckets,
    } = content;
    let mut out = DOMAIN.to_vec();
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&tenant.0);
    out.extend_from_slice(&generation.to_be_bytes());
    put_count(&mut out, keks.len())?;
    for kek in keks {
        put_kek(&mut out, kek)?;
    }
    put_count(&mut out, records.len())?;
    for record in records {
        put_lp(&mut out, &record.encode().ok()?)?;
    }
    put_count(&mut out, buckets.len())?;
    for bucket in buckets {
        put_bucket(&mut out, bucket)?;
    }
    Some(out)
}

fn put_count(out: &mut Vec<u8>, count: usize) -> Option<()> {
    out.extend_from_slice(&u32::try_from(count).ok()?.to_be_bytes());
    Some(())
}

fn put_kek(out: &mut Vec<u8>, kek: &EnrolledKek) -> Option<()> {
    let EnrolledKek {
        provider,
        label,
        version,
        scheme,
        canary_iv,
        canary_blob,
        fingerprint,
        module_sha256,
    } = kek;
    put_lp(out, provider.as_bytes())?;
    put_lp(out, label.as_bytes())?;
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&scheme.code().to_be_bytes());
    put_lp(out, canary_iv)?;
    put_lp(out, canary_blob)?;
    out.extend_from_slice(fingerprint);
    put_lp(out, module_sha256.as_bytes())
}

fn put_bucket(out: &mut Vec<u8>, entry: &BucketEntry) -> Option<()> {
    let BucketEntry {
        name,
        bucket,
        state,
        policy,
    } = entry;
    let super::BucketPolicy {
        mode,
        suite_mask,
        names,
        freshness,
        pinning,
        exposure,
        metadata_padding,
    } = policy;
    put_lp(out, name.as_bytes())?;
    out.extend_from_slice(&bucket.0);
    out.push(*state as u8);
    out.push(*mode as u8);
    out.extend_from_slice(&suite_mask.to_be_bytes());
    out.extend_from_slice(&[*names as u8, *freshness as u8, *pinning as u8, *exposure as u8]);
    out.extend_from_slice(&metadata_padding.to_be_bytes());
    Some(())
}
