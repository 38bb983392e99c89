//! Keyring documents: any text, and any content that can be written.

use sceau_envelope::keyring::*;
use sceau_envelope::{KeyRecord, Keyring, KeyringContent, RecordState, UnverifiedKeyring};
use sceau_keys::{BucketId, DomainId, Krid, Purpose, SecretKey, TenantId, Wrap, WrapScheme};

use crate::input::Input;
use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mac_key = SecretKey::new([0x77; 32]);
    if input.bool() {
        let content = content(&mut input);
        let Ok(document) = content.encode(&mac_key) else { return };
        let keyring = verified(document.as_bytes(), &mac_key).expect("what was written is read");
        assert_eq!(keyring.content(), &content);
        let at = input.u16() as usize % document.len();
        let mut twin = document.into_bytes();
        twin[at] ^= 1 << input.below(8);
        if let Some(keyring) = verified(&twin, &mac_key) {
            assert_eq!(keyring.content(), &content, "an altered keyring verifies");
        }
    } else {
        verified(input.rest(), &mac_key);
    }
}

fn verified(document: &[u8], mac_key: &SecretKey) -> Option<Keyring> {
    within(256 * 1024 + 64 * document.len(), || {
        let parsed = UnverifiedKeyring::parse(document).ok()?;
        let _ = (parsed.mac_record(), parsed.keks().len());
        let generation = parsed.generation();
        let keyring = parsed.verify(mac_key, generation).ok()?;
        let document = keyring.content().encode(mac_key).expect("what was read is written");
        let again = UnverifiedKeyring::parse(document.as_bytes()).unwrap();
        assert!(again.verify(mac_key, generation).unwrap() == keyring);
        let again = UnverifiedKeyring::parse(document.as_bytes()).unwrap();
        assert!(again.verify(mac_key, generation.saturating_add(1)).is_err() || generation == u64::MAX);
        Some(keyring)
    })
}

fn content(input: &mut Input<'_>) -> KeyringContent {
    let (keks, records, buckets) = (input.below(4), input.below(6), input.below(4));
    KeyringContent {
        tenant: TenantId([0x10; 16]),
        generation: input.u64() >> input.below(64),
        keks: (0..keks).map(|_| kek(input)).collect(),
        records: (0..records).map(|index| record(input, index)).collect(),
        buckets: (0..buckets).map(|_| bucket(input)).collect(),
    }
}

fn kek(input: &mut Input<'_>) -> EnrolledKek {
    EnrolledKek {
        provider: input.text(),
        label: input.text(),
        version: u32::from(input.u8()),
        scheme: scheme(input),
        canary_iv: input.bytes(),
        canary_blob: input.bytes(),
        fingerprint: [input.u8(); 32],
        module_sha256: if input.bool() { "7f".repeat(32) } else { String::new() },
    }
}

fn scheme(input: &mut Input<'_>) -> WrapScheme {
    if input.bool() { WrapScheme::AesGcmCallerIv } else { WrapScheme::InsecureLocal }
}

fn record(input: &mut Input<'_>, index: usize) -> KeyRecord {
    let purposes = [Purpose::KeyringMac, Purpose::Data, Purpose::Names];
    let purpose = if index == 0 { Purpose::KeyringMac } else { purposes[input.below(3)] };
    let bucket = if purpose == Purpose::KeyringMac { 0 } else { input.u8() % 4 };
    let wraps = input.below(3);
    let mut record = KeyRecord {
        krid: Krid([input.u8(); 16]),
        purpose,
        tenant: TenantId([0x10; 16]),
        bucket: BucketId([bucket; 16]),
        domain: DomainId([input.u8(); 16]),
        epoch: u32::from(input.u16()),
        suite_mask: u32::from(input.u8()),
        state: RecordState::from_code(input.u8() % 8).unwrap_or(RecordState::EncryptDecrypt),
        not_before_ms: input.u64(),
        not_after_ms: input.u64(),
        wraps: (0..wraps).map(|_| wrap(input)).collect(),
        check: [0; 32],
    };
    record.set_check(&SecretKey::new([0x77; 32]));
    record
}

fn wrap(input: &mut Input<'_>) -> Wrap {
    Wrap {
        provider: input.text(),
        key_label: input.text(),
        key_version: u32::from(input.u8()),
        scheme: scheme(input),
        iv: input.take(12).to_vec(),
        blob: input.bytes(),
    }
}

fn bucket(input: &mut Input<'_>) -> BucketEntry {
    BucketEntry {
        name: input.text(),
        bucket: BucketId([input.u8() % 4; 16]),
        state: if input.bool() { BucketState::Active } else { BucketState::Removed },
        policy: BucketPolicy {
            mode: EncryptionMode::EncryptedOnly,
            suite_mask: u32::from(input.u8()),
            names: NameMode::Clear,
            freshness: FreshnessLevel::R0,
            pinning: if input.bool() { Pinning::Strict } else { Pinning::Tolerant },
            exposure: MetadataExposure::Sealed,
            metadata_padding: input.u16(),
        },
    }
}
