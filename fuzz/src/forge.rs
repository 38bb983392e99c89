//! Structures with the right keys and any content: what a faulty writer of ours could have stored.
//!
//! The derivations are written a second time here, from docs/format, because the crate under test
//! seals nothing that it would not open.

use std::sync::Arc;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use hmac::{Hmac, Mac};
use sceau_envelope::{Context, Engine, EngineKind, EpochKeys, ObjectSecrets};
use sceau_keys::{BucketId, Krid, Oid, SecretKey, TenantId};
use sha2::Sha384;

pub const TENANT: TenantId = TenantId([0x10; 16]);
pub const BUCKET: BucketId = BucketId([0x20; 16]);
pub const KRID: Krid = Krid([0x30; 16]);
pub const DEK: [u8; 32] = [0x40; 32];
pub const OID: [u8; 16] = [0x50; 16];
pub const UPLOAD_ID: &[u8] = b"upload-id";

pub fn epoch_key() -> [u8; 32] {
    std::array::from_fn(|i| i as u8)
}

pub fn keys() -> EpochKeys {
    EpochKeys::derive(KRID, &SecretKey::new(epoch_key()))
}

pub fn context() -> Context {
    Context::new(&TENANT, &BUCKET, b"folder/name")
}

pub fn secrets() -> Arc<ObjectSecrets> {
    Arc::new(ObjectSecrets::from_parts(SecretKey::new(DEK), Oid(OID)))
}

pub fn engine() -> Engine {
    Engine::pinned(EngineKind::AwsLc)
}

/// The format's PRF, cut to 32 bytes.
pub fn prf(key: &[u8], label: &str, fields: &[&[u8]]) -> [u8; 32] {
    let mut mac = <Hmac<Sha384> as hmac::KeyInit>::new_from_slice(key).unwrap();
    for piece in [b"sof1/", label.as_bytes(), &[0, 1]].into_iter().chain(fields.iter().copied()).chain([&[1][..]]) {
        mac.update(piece);
    }
    mac.finalize().into_bytes()[..32].try_into().unwrap()
}

/// IV, ciphertext, tag.
pub fn seal(key: &[u8; 32], aad: &[u8], text: &[u8]) -> Vec<u8> {
    let iv = [9; 12];
    let cipher = Aes256Gcm::new(key.into());
    let sealed = cipher.encrypt(&Nonce::from(iv), Payload { msg: text, aad }).unwrap();
    [&iv[..], &sealed].concat()
}

/// A header or state object with this prefix: `kind` is the label of the second-level key.
pub fn committed(kind: &str, label: &str, prefix: &[u8], fields: &[&[u8]], payload: &[u8]) -> Vec<u8> {
    let key = prf(&epoch_key(), kind, &[]);
    let context = context();
    let fields: Vec<&[u8]> = [prefix, context.as_bytes()].into_iter().chain(fields.iter().copied()).collect();
    let commitment = prf(&key, &format!("{label}-commit"), &fields);
    let aad = [prefix, &commitment].concat();
    let sealing = prf(&key, &format!("{label}-key"), &fields);
    [aad.clone(), seal(&sealing, &aad, payload)].concat()
}
