//! The keyring as a JSON text (§10.1).
//!
//! What lives here: the text form, which people may read and copy. What must not: any rule about
//! the content, any trust. Invariant: a field that is missing, unknown, twice there or of another
//! form refuses the whole document.

use data_encoding::{BASE64, Encoding, HEXLOWER};
use sceau_keys::{BucketId, TenantId, WrapScheme};
use serde::{Deserialize, Serialize};

use super::{
    BUCKETS_MAX, BucketEntry, BucketPolicy, BucketState, EncryptionMode, EnrolledKek, FreshnessLevel,
    KEKS_MAX, KEYRING_BYTES_MAX, KeyringContent, MetadataExposure, NameMode, Pinning, RECORDS_MAX,
};
use crate::error::KeyringError;
use crate::keyring::canonical::VERSION;
use crate::record::{KeyRecord, RECORD_BYTES_MAX};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    tenant: String,
    generation: u64,
    keys: Vec<Kek>,
    records: Vec<String>,
    buckets: Vec<Bucket>,
    mac: String,
}

/// Only the version, to tell a newer document from a damaged one.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kek {
    provider: String,
    label: String,
    version: u32,
    scheme: String,
    canary_iv: String,
    canary_blob: String,
    fingerprint: String,
    module_sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bucket {
    name: String,
    id: String,
    state: BucketState,
    mode: EncryptionMode,
    suites: u32,
    names: NameMode,
    freshness: FreshnessLevel,
    pinning: Pinning,
    exposure: MetadataExposure,
    metadata_padding: u16,
}

/// Parses a document; returns its claims and its authenticator.
pub(super) fn read(document: &[u8]) -> Result<(KeyringContent, [u8; 48]), KeyringError> {
    if document.len() > KEYRING_BYTES_MAX {
        return Err(KeyringError::Malformed);
    }
    let version: Version = serde_json::from_slice(document).map_err(|_| KeyringError::Malformed)?;
    if version.format != VERSION {
        return Err(KeyringError::UnknownVersion);
    }
    let document: Document = serde_json::from_slice(document).map_err(|_| KeyringError::Malformed)?;
    let mac = fixed(&HEXLOWER, &document.mac).ok_or(KeyringError::Malformed)?;
    let content = document.into_content().ok_or(KeyringError::Malformed)?;
    Ok((content, mac))
}

/// Writes a document with its authenticator.
pub(super) fn write(content: &KeyringContent, mac: &[u8; 48]) -> Result<String, KeyringError> {
    let document = Document::from_content(content, mac).ok_or(KeyringError::Malformed)?;
    let mut text = serde_json::to_string_pretty(&document).map_err(|_| KeyringError::Malformed)?;
    text.push('\n');
    if text.len() > KEYRING_BYTES_MAX {
        Err(KeyringError::Malformed)
    } else {
        Ok(text)
    }
}

impl Document {
    fn into_content(self) -> Option<KeyringContent> {
        let fits = self.keys.len() <= KEKS_MAX
            && self.records.len() <= RECORDS_MAX
            && self.buckets.len() <= BUCKETS_MAX;
        if !fits {
            return None;
        }
        Some(KeyringContent {
            tenant: TenantId(fixed(&HEXLOWER, &self.tenant)?),
            generation: self.generation,
            keks: self
                .keys
                .into_iter()
                .map(Kek::into_content)
                .collect::<Option<_>>()?,
            records: self
                .records
                .iter()
                .map(|text| read_record(text))
                .collect::<Option<_>>()?,
            buckets: self
                .buckets
                .into_iter()
                .map(Bucket::into_content)
                .collect::<Option<_>>()?,
        })
    }

    fn from_content(content: &KeyringContent, mac: &[u8; 48]) -> Option<Self> {
        let records = content
            .records
            .iter()
            .map(|record| Some(BASE64.encode(&record.encode().ok()?)));
        Some(Self {
            format: VERSION,
            tenant: HEXLOWER.encode(&content.tenant.0),
            generation: content.generation,
            keys: content.keks.iter().map(Kek::from_content).collect(),
            records: records.collect::<Option<_>>()?,
            buckets: content.buckets.iter().map(Bucket::from_content).collect(),
            mac: HEXLOWER.encode(mac),
        })
    }
}

fn read_record(text: &str) -> Option<KeyRecord> {
    // Base64 is four characters for three bytes; no record is longer than this.
    if text.len() > RECORD_BYTES_MAX.saturating_mul(2) {
        return None;
    }
    KeyRecord::decode(&BASE64.decode(text.as_bytes()).ok()?).ok()
}

impl Kek {
    fn into_content(self) -> Option<EnrolledKek> {
        Some(EnrolledKek {
            scheme: WrapScheme::from_name(&self.scheme)?,
            canary_iv: HEXLOWER.decode(self.canary_iv.as_bytes()).ok()?,
            canary_blob: HEXLOWER.decode(self.canary_blob.as_bytes()).ok()?,
            fingerprint: fixed(&HEXLOWER, &self.fingerprint)?,
            provider: self.provider,
            label: self.label,
            version: self.version,
            module_sha256: self.module_sha256,
        })
    }

    fn from_content(kek: &EnrolledKek) -> Self {
        Self {
            provider: kek.provider.clone(),
            label: kek.label.clone(),
            version: kek.version,
            scheme: kek.scheme.name().to_owned(),
            canary_iv: HEXLOWER.encode(&kek.canary_iv),
            canary_blob: HEXLOWER.encode(&kek.canary_blob),
            fingerprint: HEXLOWER.encode(&kek.fingerprint),
            module_sha256: kek.module_sha256.clone(),
        }
    }
}

impl Bucket {
    fn into_content(self) -> Option<BucketEntry> {
        Some(BucketEntry {
            bucket: BucketId(fixed(&HEXLOWER, &self.id)?),
            name: self.name,
            state: self.state,
            policy: BucketPolicy {
                mode: self.mode,
                suite_mask: self.suites,
                names: self.names,
                freshness: self.freshness,
                pinning: self.pinning,
                exposure: self.exposure,
                metadata_padding: self.metadata_padding,
            },
        })
    }

    fn from_content(entry: &BucketEntry) -> Self {
        Self {
            name: entry.name.clone(),
            id: HEXLOWER.encode(&entry.bucket.0),
            state: entry.state,
            mode: entry.policy.mode,
            suites: entry.policy.suite_mask,
            names: entry.policy.names,
            freshness: entry.policy.freshness,
            pinning: entry.policy.pinning,
            exposure: entry.policy.exposure,
            metadata_padding: entry.policy.metadata_padding,
        }
    }
}

/// Decodes exactly `N` bytes.
fn fixed<const N: usize>(encoding: &Encoding, text: &str) -> Option<[u8; N]> {
    let most = N.checked_mul(2)?;
    (text.len() <= most)
        .then(|| encoding.decode(text.as_bytes()).ok())??
        .try_into()
        .ok()
}
