//! Promise: a keyring or key record that anyone changed, rolled back or mixed is refused.
//! How: a keyring with every kind of entry, edited field by field.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use proptest::prelude::*;
use sceau_envelope::error::{KeyringError, RecordError};
use sceau_envelope::keyring::*;
use sceau_envelope::*;
use sceau_keys::{BucketId, DomainId, Krid, Purpose, SecretKey, TenantId, Wrap, WrapScheme};
use support::{BUCKET, TENANT, epoch_key};

fn mac_key() -> SecretKey {
    SecretKey::new([0x77; 32])
}

fn record(krid: u8, purpose: Purpose, bucket: BucketId, epoch: u32, key: &SecretKey) -> KeyRecord {
    let wrap = Wrap {
        provider: "token-1".to_owned(),
        key_label: "kek".to_owned(),
        key_version: 1,
        scheme: WrapScheme::AesGcmCallerIv,
        iv: vec![1; 12],
        blob: vec![2; 48],
    };
    let mut record = KeyRecord {
        krid: Krid([krid; 16]),
        purpose,
        tenant: TENANT,
        bucket,
        domain: DomainId([0; 16]),
        epoch,
        suite_mask: Suite::FloeAes256Gcm.mask(),
        state: RecordState::EncryptDecrypt,
        not_before_ms: 0,
        not_after_ms: u64::MAX,
        wraps: vec![
            wrap.clone(),
            Wrap {
                provider: "token-2".to_owned(),
                ..wrap
            },
        ],
        check: [0; 32],
    };
    record.set_check(key);
    record
}

fn bucket(id: u8, name: &str, state: BucketState) -> BucketEntry {
    let policy = BucketPolicy {
        mode: EncryptionMode::EncryptedOnly,
        suite_mask: 1,
        names: NameMode::Clear,
        freshness: FreshnessLevel::R0,
        pinning: Pinning::Tolerant,
        exposure: MetadataExposure::Sealed,
        metadata_padding: 32,
    };
    BucketEntry {
        name: name.to_owned(),
        bucket: BucketId([id; 16]),
        state,
        policy,
    }
}

fn content() -> KeyringContent {
    KeyringContent {
        tenant: TENANT,
        generation: 5,
        keks: vec![EnrolledKek {
            provider: "token-1".to_owned(),
            label: "kek".to_owned(),
            version: 1,
            scheme: WrapScheme::AesGcmCallerIv,
            canary_iv: vec![3; 12],
            canary_blob: vec![4; 48],
            fingerprint: [5; 32],
            module_sha256: "ab".repeat(32),
        }],
        records: vec![
            record(1, Purpose::KeyringMac, BucketId([0; 16]), 1, &mac_key()),
            record(2, Purpose::Data, BUCKET, 1, &epoch_key()),
            record(3, Purpose::Data, BUCKET, 2, &epoch_key()),
        ],
        buckets: vec![
            bucket(0x20, "data", BucketState::Active),
            bucket(0x21, "data", BucketState::Removed),
        ],
    }
}

fn open(document: &str, generation_min: u64) -> Result<Keyring, KeyringError> {
    UnverifiedKeyring::parse(document.as_bytes())?.verify(&mac_key(), generation_min)
}

#[test]
fn a_keyring_reads_back_and_counts_generations() {
    let document = content().encode(&mac_key()).unwrap();
    let keyring = open(&document, 5).unwrap();
    assert_eq!(keyring.content(), &content());
    assert_eq!(keyring.next_generation().generation, 6);
    assert_eq!(open(&document, 6).err(), Some(KeyringError::Rollback));
    let unverified = UnverifiedKeyring::parse(document.as_bytes()).unwrap();
    assert_eq!(unverified.mac_record().unwrap().krid, Krid([1; 16]));
    assert_eq!(
        unverified.verify(&epoch_key(), 0).err(),
        Some(KeyringError::NotAuthentic)
    );
}

#[test]
fn a_mac_key_that_is_not_its_records_key_is_refused() {
    let mut content = content();
    content.records[0].check[0] ^= 1;
    let document = content.encode(&mac_key()).unwrap();
    assert_eq!(open(&document, 0).err(), Some(KeyringError::NotAuthentic));
}

#[test]
fn the_newest_usable_epoch_seals() {
    let mut content = content();
    let sealing = |content: &KeyringContent| content.sealing_record(BUCKET, 1_000).map(|record| record.epoch);
    assert_eq!(sealing(&content), Some(2));
    content.records[2].state = RecordState::DecryptOnly;
    assert_eq!(sealing(&content), Some(1));
    content.records[1].not_before_ms = 2_000;
    assert_eq!(sealing(&content), None);
    assert!(content.records[2].may_open() && !content.records[2].may_seal(0));
    assert_eq!(content.active_bucket("data").unwrap().bucket, BUCKET);
    assert!(content.active_bucket("other").is_none());
}

#[test]
fn every_changed_byte_of_a_document_is_refused_or_means_the_same() {
    let document = content().encode(&mac_key()).unwrap();
    for at in 0..document.len() {
        for change in [1, 2, 0x20] {
            let mut twin = document.clone().into_bytes();
            twin[at] ^= change;
            // White space may become other white space; nothing else may change.
            if let Ok(keyring) = String::from_utf8(twin)
                .map_err(|_| ())
                .and_then(|t| open(&t, 0).map_err(|_| ()))
            {
                assert_eq!(keyring.content(), &content());
                assert!(document.as_bytes()[at].is_ascii_whitespace(), "byte {at}");
            }
        }
    }
}

#[test]
fn every_field_is_under_the_authenticator() {
    let document = content().encode(&mac_key()).unwrap();
    let edit = |from: &str, to: &str| {
        assert!(document.contains(from), "{from}");
        open(&document.replacen(from, to, 1), 0).err()
    };
    for (from, to) in [
        ("\"generation\": 5", "\"generation\": 6"),
        ("\"encrypted-only\"", "\"migration\""),
        ("\"suites\": 1", "\"suites\": 3"),
        ("\"names\": \"clear\"", "\"names\": \"hidden\""),
        ("\"r0\"", "\"r1\""),
        ("\"tolerant\"", "\"strict\""),
        ("\"sealed\"", "\"tags-clear\""),
        ("\"metadata_padding\": 32", "\"metadata_padding\": 64"),
        ("\"removed\"", "\"active\""),
        ("\"name\": \"data\"", "\"name\": \"date\""),
        ("\"label\": \"kek\"", "\"label\": \"kak\""),
        ("\"version\": 1", "\"version\": 2"),
        ("\"aes-gcm/caller-iv\"", "\"insecure-local\""),
        ("0303", "0304"),
        ("0404", "0405"),
        ("0505", "0506"),
        ("abab", "abac"),
    ] {
        let refused = edit(from, to);
        let expected = [Some(KeyringError::NotAuthentic), Some(KeyringError::Inconsistent)];
        assert!(expected.contains(&refused), "{from}: {refused:?}");
    }
    assert_eq!(
        edit("\"format\": 1", "\"format\": 2"),
        Some(KeyringError::UnknownVersion)
    );
    for (from, to) in [
        ("\"generation\": 5", "\"generation\": 5, \"extra\": 0"),
        ("\"generation\": 5", "\"generation\": 5, \"generation\": 5"),
        ("\"generation\": 5,", ""),
        ("\"generation\": 5", "\"generation\": -5"),
        ("\"encrypted-only\"", "\"Encrypted-only\""),
        ("\"name\": \"data\"", "\"name\": \"data\", \"x\": 1"),
    ] {
        assert_eq!(edit(from, to), Some(KeyringError::Malformed), "{from} -> {to}");
    }
    assert!(open(&format!("{document}x"), 0).is_err());
}

#[test]
fn a_keyring_that_contradicts_itself_is_neither_written_nor_read() {
    let edits: [&dyn Fn(&mut KeyringContent); 12] = [
        &|c| c.generation = 0,
        &|c| c.records[1].tenant = TenantId([9; 16]),
        &|c| c.records[1].bucket = BucketId([9; 16]),
        &|c| c.records[1].krid = c.records[2].krid,
        &|c| c.records[1].epoch = 2,
        &|c| c.records[1].epoch = 0,
        &|c| drop(c.records.remove(0)),
        &|c| {
            c.records.push(KeyRecord {
                krid: Krid([8; 16]),
                epoch: 2,
                ..c.records[0].clone()
            })
        },
        &|c| c.buckets[1].state = BucketState::Active,
        &|c| c.buckets[1].bucket = c.buckets[0].bucket,
        &|c| c.keks.push(c.keks[0].clone()),
        &|c| c.records[0].bucket = BUCKET,
    ];
    for (index, edit) in edits.iter().enumerate() {
        let mut twin = content();
        edit(&mut twin);
        assert_eq!(
            twin.encode(&mac_key()).err(),
            Some(KeyringError::Inconsistent),
            "edit {index}"
        );
    }
    let limits: [&dyn Fn(&mut KeyringContent); 6] = [
        &|c| c.buckets[0].name = String::new(),
        &|c| c.buckets[0].policy.metadata_padding = 0,
        &|c| c.keks[0].module_sha256 = "AB".repeat(32),
        &|c| c.keks[0].label = "x".repeat(256),
        &|c| c.keks[0].canary_blob = vec![0; 513],
        &|c| c.records[0].wraps[0].iv = vec![0; 65],
    ];
    for (index, edit) in limits.iter().enumerate() {
        let mut twin = content();
        edit(&mut twin);
        assert_eq!(
            twin.encode(&mac_key()).err(),
            Some(KeyringError::Malformed),
            "limit {index}"
        );
    }
}

#[test]
fn a_record_knows_its_key_and_its_immutable_fields() {
    let honest = record(2, Purpose::Data, BUCKET, 1, &epoch_key());
    assert_eq!(honest.check_key(&epoch_key()), Ok(()));
    assert_eq!(honest.check_key(&mac_key()), Err(RecordError::CheckFailed));
    let edits: [&dyn Fn(&mut KeyRecord); 7] = [
        &|r| r.krid = Krid([9; 16]),
        &|r| r.purpose = Purpose::Names,
        &|r| r.tenant = TenantId([9; 16]),
        &|r| r.bucket = BucketId([9; 16]),
        &|r| r.domain = DomainId([9; 16]),
        &|r| r.epoch = 9,
        &|r| r.suite_mask = 3,
    ];
    for edit in edits {
        let mut twin = honest.clone();
        edit(&mut twin);
        assert_eq!(twin.check_key(&epoch_key()), Err(RecordError::CheckFailed));
    }
    // What changes in a record's life is not the check value's affair but the authenticator's.
    let mut later = honest.clone();
    later.state = RecordState::DecryptOnly;
    later.wraps.clear();
    later.not_after_ms = 7;
    assert_eq!(later.check_key(&epoch_key()), Ok(()));
}

#[test]
fn records_are_strict_and_bounded() {
    let bytes = record(2, Purpose::Data, BUCKET, 1, &epoch_key())
        .encode()
        .unwrap();
    for cut in 0..bytes.len() {
        assert!(KeyRecord::decode(&bytes[..cut]).is_err());
    }
    assert!(KeyRecord::decode(&[&bytes[..], &[0]].concat()).is_err());
    for (at, value) in [(16, 2), (17, 0), (17, 4), (74, 0), (74, 5), (91, 17), (92, 255)] {
        let mut twin = bytes.clone();
        twin[at] = value;
        assert_eq!(KeyRecord::decode(&twin), Err(RecordError::Malformed), "byte {at}");
    }
    let mut large = record(2, Purpose::Data, BUCKET, 1, &epoch_key());
    large.wraps = vec![large.wraps[0].clone(); 17];
    assert_eq!(large.encode(), Err(RecordError::TooLarge));
}

fn any_record() -> impl Strategy<Value = KeyRecord> {
    let wrap = (
        "[ -~]{0,40}",
        "\\PC{0,40}",
        any::<u32>(),
        proptest::collection::vec(any::<u8>(), 0..=64),
    );
    let wraps = proptest::collection::vec((wrap, proptest::collection::vec(any::<u8>(), 0..=512)), 0..=16);
    let times = (any::<u64>(), any::<u64>(), 1u8..=4);
    (any::<[u8; 16]>(), 1u8..=3, any::<(u32, u32)>(), times, wraps).prop_map(
        |(id, purpose, (epoch, mask), (before, after, state), wraps)| KeyRecord {
            krid: Krid(id),
            purpose: Purpose::from_code(purpose).unwrap(),
            tenant: TENANT,
            bucket: BUCKET,
            domain: DomainId(id),
            epoch,
            suite_mask: mask,
            state: RecordState::from_code(state).unwrap(),
            not_before_ms: before,
            not_after_ms: after,
            wraps: wraps
                .into_iter()
                .map(|((provider, key_label, key_version, iv), blob)| Wrap {
                    provider,
                    key_label,
                    key_version,
                    scheme: WrapScheme::InsecureLocal,
                    iv,
                    blob,
                })
                .collect(),
            check: [id[0]; 32],
        },
    )
}

proptest! {
    #[test]
    fn a_record_reads_back(record in any_record()) {
        let bytes = record.encode().unwrap();
        prop_assert!(bytes.len() <= sceau_envelope::record::RECORD_BYTES_MAX);
        prop_assert_eq!(KeyRecord::decode(&bytes), Ok(record));
    }
}
