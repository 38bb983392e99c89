//! Promise: the bytes of format 1 never change meaning.
//! How: every structure is made from fixed randomness and compared with a file in `tests/vectors/`,
//! whose inputs, bytes and refused twins docs/format/vectors.md describes. Set `UPDATE_VECTORS=1`
//! to write files that do not exist yet; existing ones are never overwritten.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod support;

use std::fmt::{Debug, Write};
use std::path::PathBuf;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use sceau_envelope::floe::{Floe, Parameters, SEGMENT_OVERHEAD, SEGMENT_PREFIX};
use sceau_envelope::keyring::*;
use sceau_envelope::metadata::DeclaredChecksum;
use sceau_envelope::multipart::SealedState;
use sceau_envelope::trailer::Suffix;
use sceau_envelope::*;
use sceau_keys::{BucketId, DomainId, Krid, Purpose, SecretKey, Wrap, WrapScheme};
use sha2::{Digest, Sha256};
use support::*;

const S: usize = 65_536;

/// The text of one vector file.
struct Vector(String);

impl Vector {
    fn new(title: &str) -> Self {
        Self(format!(
            "# SOF1 test vector: {title}. See docs/format/vectors.md.\n"
        ))
    }

    fn text(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        writeln!(self.0, "{name} = {value}").unwrap();
        self
    }

    fn hex(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.text(name, HEXLOWER.encode(value))
    }

    /// One changed byte at each offset, and how opening the twin is refused.
    fn twins<T, E: Debug>(&mut self, bytes: &[u8], offsets: &[usize], open: impl Fn(&[u8]) -> Result<T, E>) {
        assert!(open(bytes).is_ok(), "the vector itself opens");
        for at in offsets {
            let mut twin = bytes.to_vec();
            twin[*at] ^= 1;
            let refused = open(&twin)
                .err()
                .unwrap_or_else(|| panic!("the twin at {at} opens"));
            self.text("twin", format_args!("{at} {refused:?}"));
        }
    }

    fn check(&self, name: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/vectors")
            .join(name);
        if !path.exists() && std::env::var_os("UPDATE_VECTORS").is_some() {
            std::fs::write(&path, &self.0).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert!(expected == self.0, "{name} differs; now it would be:\n{}", self.0);
    }
}

/// A vector with the epoch key and context that most share.
fn with_epoch(title: &str, seed: &str) -> Vector {
    let mut vector = Vector::new(title);
    vector
        .text("seed", seed)
        .hex("epoch-key", epoch_key().expose())
        .hex("krid", &KRID.0)
        .hex("tenant", &TENANT.0)
        .hex("bucket", &BUCKET.0)
        .text("name", "folder/name")
        .hex("context-hash", context().as_bytes());
    vector
}

fn with_object(title: &str, seed: &str) -> Vector {
    let mut vector = Vector::new(title);
    vector
        .text("seed", seed)
        .hex("dek", &[0x40; 32])
        .hex("oid", &secrets().oid().0);
    vector
}

fn rich_metadata() -> Metadata {
    Metadata {
        content_type: Some(b"text/plain".to_vec()),
        cache_control: Some(b"no-cache".to_vec()),
        content_disposition: Some(b"inline".to_vec()),
        content_encoding: Some(b"gzip".to_vec()),
        content_language: Some(b"fr".to_vec()),
        expires: Some(b"Thu, 01 Dec 2033 16:00:00 GMT".to_vec()),
        website_redirect: Some(b"/elsewhere".to_vec()),
        user: vec![
            ("zulu".to_owned(), b"1".to_vec()),
            ("alpha".to_owned(), "\u{e9}".into()),
        ],
        checksums: vec![
            Checksum::full(ChecksumAlgorithm::Crc32, &[1, 2, 3, 4]).unwrap(),
            Checksum::composite(ChecksumAlgorithm::Sha256, &[5; 32]).unwrap(),
        ],
        client_etag: Some(b"etag".to_vec()),
        previous_digest: Some([6; 32]),
        declared_checksum: Some(DeclaredChecksum {
            algorithm: ChecksumAlgorithm::Crc64Nvme,
            composite: false,
        }),
    }
}

fn check_header(file: &str, seed: &str, header: &ObjectHeader) {
    let mut vector = with_epoch("object header", seed);
    let value = header
        .seal(&fixed_engine(seed), &keys(), &context(), HeaderLimit::S3, 32)
        .unwrap();
    let bytes = BASE64URL_NOPAD.decode(value.as_bytes()).unwrap();
    let sealed = SealedHeader::parse(&value).unwrap();
    for engine in [Engine::fastest(), fixed_engine("reader")] {
        let opened = sealed.open(&engine, &keys(), &context()).unwrap();
        assert_eq!(
            (&opened.metadata, opened.plain_len),
            (&header.metadata, header.plain_len)
        );
    }
    vector
        .hex("dek", &[0x40; 32])
        .hex("oid", &header.secrets.oid().0)
        .text("multi", header.is_multi)
        .text(
            "plain-length",
            header
                .plain_len
                .map_or("in the footer".to_owned(), |n| n.to_string()),
        )
        .text("write-time-ms", header.write_time_ms)
        .hex("writer-id", &header.writer_id)
        .text("writer-sequence", header.writer_seq)
        .hex("iv0", &header.iv0)
        .hex("metadata", &header.metadata.encode().unwrap())
        .text("padding", 32)
        .hex("digest", &sealed.digest())
        .text("value", &value);
    let last = bytes.len() - 1;
    vector.twins(
        &bytes,
        &[0, 4, 5, 6, 7, 8, 24, 56, 87, 88, 100, 132, 148, last - 16, last],
        |twin| {
            SealedHeader::parse(&BASE64URL_NOPAD.encode(twin))?.open(&Engine::fastest(), &keys(), &context())
        },
    );
    vector.check(file);
}

#[test]
fn derived_keys_and_contexts() {
    let mut vector = with_epoch("context hash and derivations", "none");
    vector
        .hex("version-key", EpochKeys::version_key(&epoch_key()).expose())
        .hex("stash-key", EpochKeys::stash_key(&epoch_key()).expose());
    for name in ["", "a//b", "a/../b", "e\u{301}", "\u{e9}"] {
        let context = Context::new(&TENANT, &BUCKET, name.as_bytes());
        vector
            .text("other-name", HEXLOWER.encode(name.as_bytes()))
            .hex("other-hash", context.as_bytes());
    }
    vector.check("derivations.txt");
}

#[test]
fn header_of_an_empty_object() {
    check_header(
        "header-empty.txt",
        "header-empty",
        &header_for(&secrets(), Some(0), [0x60; 32]),
    );
}

#[test]
fn header_with_all_metadata() {
    let header = ObjectHeader {
        metadata: rich_metadata(),
        ..header_for(&secrets(), Some(123_456_789), [0x60; 32])
    };
    check_header("header-metadata.txt", "header-metadata", &header);
}

#[test]
fn header_of_an_upload() {
    let header = header_for(&secrets(), None, [0; 32]);
    let metadata = Metadata {
        content_type: Some(b"a/b".to_vec()),
        ..Metadata::default()
    };
    check_header(
        "header-multi.txt",
        "header-multi",
        &ObjectHeader { metadata, ..header },
    );
}

#[test]
fn bodies_of_single_objects() {
    for length in [0, 1, S - 1, S, S + 1, 2 * S] {
        let seed = format!("body-{length}");
        let stored = write_single(&fixed_engine(&seed), &secrets(), &pattern(length));
        assert!(read(&Engine::fastest(), &stored, Extent::WholeAndTrailer).unwrap() == pattern(length));
        let mut vector = with_object("stored body of a single PUT", &seed);
        vector
            .text("plain-length", length)
            .text("stored-length", stored.body.len())
            .hex("floe-iv", &stored.header.iv0)
            .hex("part-header", &stored.body[..74])
            .hex("body-sha256", &Sha256::digest(&stored.body))
            .hex("last-300-bytes", &stored.body[stored.body.len() - 300..]);
        if length < 2 {
            vector.hex("body", &stored.body);
        }
        let end = stored.body.len();
        let twins = [
            0,
            5,
            10,
            42,
            74,
            78,
            90,
            end - 221,
            end - 220,
            end - 208,
            end - 64,
            end - 32,
            end - 1,
        ];
        vector.twins(&stored.body, &twins, |twin| {
            read(
                &Engine::fastest(),
                &Stored {
                    body: twin.to_vec(),
                    ..stored.clone()
                },
                Extent::WholeAndTrailer,
            )
        });
        vector.check(&format!("body-single-{length}.txt"));
    }
}

#[test]
fn body_of_an_upload_with_one_small_part() {
    let seed = "body-multi";
    let stored = write_multi(&fixed_engine(seed), &secrets(), &[PartInput(7, b"hello", true)]);
    let mut vector = with_object("stored body of a multipart object", seed);
    vector
        .text("part-number", 7)
        .hex("plain", b"hello")
        .hex("body", &stored.body);
    let end = stored.body.len();
    vector.twins(
        &stored.body,
        &[0, 42, 74, 95, 112, end - 220, end - 64, end - 1],
        |twin| {
            read(
                &Engine::fastest(),
                &Stored {
                    body: twin.to_vec(),
                    ..stored.clone()
                },
                Extent::WholeAndTrailer,
            )
        },
    );
    vector.check("body-multi-small.txt");
}

#[test]
fn trailer_of_an_upload_with_three_parts() {
    let seed = "trailer";
    let entry = |number, plain_len, iv, crc64| PartEntry {
        number: PartNumber::upload(number).unwrap(),
        plain_len,
        iv,
        crc64,
    };
    let parts = vec![
        entry(1, 5_242_880, Some([0x61; 32]), [1; 8]),
        entry(7, 5_242_881, None, [0; 8]),
        entry(9_999, 3, Some([0x63; 32]), [3; 8]),
    ];
    let checksum = Checksum::composite(ChecksumAlgorithm::Crc32c, &[9, 8, 7, 6]);
    let manifest = Manifest::multipart(parts, checksum).unwrap();
    let trailer = manifest.seal_trailer(&fixed_engine(seed), &secrets()).unwrap();
    let footer = manifest.footer().unwrap();
    let header = header_for(&secrets(), None, [0; 32]);
    let mut vector = with_object("trailer of a multipart object", seed);
    for part in manifest.layout().parts() {
        let iv = part.iv.map_or("unpinned".to_owned(), |iv| HEXLOWER.encode(&iv));
        let crc = HEXLOWER.encode(&part.crc64);
        vector.text(
            "part",
            format_args!("{} {} {iv} {crc}", part.number.get(), part.plain_len),
        );
    }
    vector
        .text("checksum", "crc32c composite 09080706")
        .text("padding", footer.pad())
        .text("manifest-length", footer.manifest_len())
        .hex("manifest-and-footer", &trailer[footer.pad() as usize..]);
    let tail = &trailer[footer.pad() as usize..];
    let offsets = [
        0, 12, 20, 92, 94, 251, 252, 256, 257, 258, 260, 268, 272, 276, 284, 315,
    ];
    vector.twins(tail, &offsets, |twin| {
        Suffix::open(&Engine::fastest(), &header, twin)
    });
    vector.check("trailer-multi.txt");
}

#[test]
fn ticket_of_a_part() {
    let ticket = Ticket {
        iv: [0x62; 32],
        plain_len: 5_242_880,
        crc64: [8, 7, 6, 5, 4, 3, 2, 1],
    };
    let part = PartNumber::upload(12).unwrap();
    let etag = "9a0364b9e99bb480dd25e1f0284c8555";
    let text = ticket.encode(&secrets(), part, etag).unwrap();
    let mut vector = with_object("part ticket", "none");
    vector
        .text("part-number", 12)
        .text("store-etag", etag)
        .hex("floe-iv", &ticket.iv)
        .text("plain-length", ticket.plain_len)
        .hex("crc64", &ticket.crc64)
        .text("client-etag", etag::join_part_etag(etag, Some(&text)))
        .text("ticket", &text);
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
    vector.twins(&bytes, &[0, 31, 32, 36, 37, 44, 45, 60], |twin| {
        Ticket::verify(&BASE64URL_NOPAD.encode(twin), &secrets(), part, etag)
    });
    vector.check("ticket.txt");
}

#[test]
fn checksum_of_a_part() {
    let part = PartNumber::upload(12).unwrap();
    let etag = "9a0364b9e99bb480dd25e1f0284c8555-ticket";
    let value = [0x64; 32];
    let text = ticket::encode_checksum(&secrets(), part, etag, &value);
    let mut vector = with_object("checksum of a part", "none");
    vector
        .text("part-number", 12)
        .text("part-etag", etag)
        .hex("checksum", &value)
        .text("client-etag", format_args!("{text}.{etag}"));
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).unwrap();
    vector.twins(&bytes, &[0, 31, 32, 47], |twin| {
        let twin = BASE64URL_NOPAD.encode(twin);
        ticket::verify_checksum(&twin, &secrets(), part, etag).ok_or("not authentic")
    });
    for (part, etag) in [(PartNumber::upload(13).unwrap(), etag), (part, "another-ticket")] {
        assert!(ticket::verify_checksum(&text, &secrets(), part, etag).is_none());
    }
    let opened = ticket::verify_checksum(&text, &secrets(), part, etag);
    assert_eq!(opened.as_deref(), Some(&value[..]));
    vector.check("ticket-checksum.txt");
}

#[test]
fn state_of_an_upload() {
    let seed = "state";
    let metadata = rich_metadata();
    let state = UploadState {
        secrets: secrets(),
        created_ms: 1_700_000_000_000,
        metadata,
    };
    let sealed = state
        .seal(&fixed_engine(seed), &keys(), &context(), b"upload-id")
        .unwrap();
    let mut vector = with_epoch("upload state object", seed);
    let name = multipart::state_name(&keys(), &context(), b"upload-id");
    vector
        .text("upload-id", "upload-id")
        .text("object-name", &name)
        .text(
            "stash-name-of-part-3",
            multipart::stash_name(&name, PartNumber::upload(3).unwrap()),
        )
        .hex("dek", &[0x40; 32])
        .hex("oid", &secrets().oid().0)
        .text("created-ms", state.created_ms)
        .hex("metadata", &state.metadata.encode().unwrap())
        .hex("state", &sealed);
    let last = sealed.len() - 1;
    vector.twins(
        &sealed,
        &[0, 4, 5, 6, 8, 24, 56, 88, 100, 148, 156, last],
        |twin| SealedState::parse(twin)?.open(&Engine::fastest(), &keys(), &context(), b"upload-id"),
    );
    vector.check("state.txt");
}

fn record(krid: u8, purpose: Purpose, bucket: BucketId, key: &SecretKey) -> KeyRecord {
    let mut record = KeyRecord {
        krid: Krid([krid; 16]),
        purpose,
        tenant: TENANT,
        bucket,
        domain: DomainId([0x70; 16]),
        epoch: 3,
        suite_mask: 1,
        state: RecordState::EncryptDecrypt,
        not_before_ms: 1_600_000_000_000,
        not_after_ms: u64::MAX,
        wraps: vec![Wrap {
            provider: "token-1".to_owned(),
            key_label: "kek".to_owned(),
            key_version: 2,
            scheme: WrapScheme::AesGcmCallerIv,
            iv: vec![0x71; 12],
            blob: vec![0x72; 48],
        }],
        check: [0; 32],
    };
    record.set_check(key);
    record
}

#[test]
fn key_record() {
    let record = record(0x30, Purpose::Data, BUCKET, &epoch_key());
    let bytes = record.encode().unwrap();
    let mut vector = Vector::new("key record");
    vector
        .hex("key", epoch_key().expose())
        .hex("check", &record.check)
        .hex("record", &bytes);
    let end = bytes.len();
    let refused = [0, 17, 18, 34, 50, 66, 70, end - 1];
    vector.twins(&bytes, &refused, |twin| {
        KeyRecord::decode(twin)?.check_key(&epoch_key())
    });
    vector.check("key-record.txt");
}

#[test]
fn keyring_document() {
    let mac_key = SecretKey::new([0x77; 32]);
    let policy = BucketPolicy {
        mode: EncryptionMode::EncryptedOnly,
        suite_mask: 1,
        names: NameMode::Clear,
        freshness: FreshnessLevel::R0,
        pinning: Pinning::Tolerant,
        exposure: MetadataExposure::Sealed,
        metadata_padding: 32,
    };
    let entry = |id, name: &str, state| BucketEntry {
        name: name.to_owned(),
        bucket: id,
        state,
        policy,
    };
    let content = KeyringContent {
        tenant: TENANT,
        generation: 9,
        keks: vec![EnrolledKek {
            provider: "token-1".to_owned(),
            label: "kek".to_owned(),
            version: 2,
            scheme: WrapScheme::AesGcmCallerIv,
            canary_iv: vec![0x73; 12],
            canary_blob: vec![0x74; 48],
            fingerprint: [0x75; 32],
            module_sha256: "7f".repeat(32),
        }],
        records: vec![
            record(0x31, Purpose::KeyringMac, BucketId([0; 16]), &mac_key),
            record(0x30, Purpose::Data, BUCKET, &epoch_key()),
        ],
        buckets: vec![
            entry(BUCKET, "data", BucketState::Active),
            entry(BucketId([0x21; 16]), "old", BucketState::Removed),
        ],
    };
    let document = content.encode(&mac_key).unwrap();
    let mut vector = Vector::new("keyring document; its text follows the line of hyphens");
    vector.hex("mac-key", mac_key.expose());
    vector.hex("canonical-hmac-sha384", &{
        let start = document.rfind("\"mac\": \"").unwrap() + 8;
        HEXLOWER.decode(&document.as_bytes()[start..start + 96]).unwrap()
    });
    let at = |text: &str| document.find(text).unwrap() + text.len() - 1;
    let offsets = [
        0,
        at("\"format\": 1"),
        at("\"generation\": 9"),
        at("\"label\": \"k"),
        document.len() - 5,
    ];
    vector.twins(document.as_bytes(), &offsets, |twin| {
        UnverifiedKeyring::parse(twin)?.verify(&mac_key, 9).map(|_| ())
    });
    writeln!(vector.0, "----").unwrap();
    vector.0.push_str(&document);
    vector.check("keyring.txt");
}

/// Segment keys change with the index: seen here with 2 low bits cleared in place of 20.
#[test]
fn key_rotation_at_our_segment_length() {
    let seed = "rotation";
    let engine = fixed_engine(seed);
    let parameters = Parameters::new(65_568, 2).unwrap();
    let key = SecretKey::new([0x80; 32]);
    let mut floe = Floe::new(&engine, parameters, &key, [0x81; 32], b"This is AAD");
    let mut hash = Sha256::new_with_prefix(floe.header());
    for index in 0..9 {
        let length = if index == 8 { 5 } else { S };
        let mut segment = vec![0; length + SEGMENT_OVERHEAD];
        segment[SEGMENT_PREFIX..SEGMENT_PREFIX + length].copy_from_slice(&pattern(length));
        floe.seal_segment(index, index == 8, &mut segment).unwrap();
        hash.update(&segment);
    }
    let mut vector = Vector::new("FLOE with 65 568-byte segments and key rotation every 4 segments");
    vector
        .text("seed", seed)
        .hex("key", key.expose())
        .hex("floe-iv", &[0x81; 32])
        .hex("aad", b"This is AAD")
        .text(
            "segments",
            "8 full, each the pattern of 65536 bytes, then a final one of 5",
        )
        .hex("header", &floe.header())
        .hex("sha256", &hash.finalize());
    vector.check("floe-rotation.txt");
}

#[test]
fn tags_vector() {
    let tags = [("équipe", "зелёный"), ("classification", "secret"), ("empty", "")];
    let tags: Vec<_> = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut vector = with_object("sealed tag set", "tags");
    vector.hex("context-hash", context().as_bytes());
    let pieces = tags::seal(&fixed_engine("tags"), &secrets(), &context(), &tags).unwrap();
    for (key, value) in &tags {
        vector.text("tag", format_args!("{key} = {value}"));
    }
    for (name, value) in &pieces {
        vector.text("piece", format_args!("{name} = {value}"));
    }
    let sealed: Vec<u8> = pieces
        .iter()
        .flat_map(|(_, value)| BASE64URL_NOPAD.decode(value.as_bytes()).unwrap())
        .collect();
    vector.twins(&sealed, &[0, 1, 2, 14, 100, 200, 367, 383], |bytes| {
        let stored: Vec<_> = pieces
            .iter()
            .zip(bytes.chunks(192))
            .map(|((name, _), bytes)| (name.clone(), BASE64URL_NOPAD.encode(bytes)))
            .collect();
        tags::open(&Engine::fastest(), &secrets(), &context(), &stored)
    });
    vector.check("tags.txt");
}
