//! A tiny honest writer and reader for the suites, and fixed randomness.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use sceau_envelope::error::OpenError;
use sceau_envelope::trailer::Suffix;
use sceau_envelope::*;
use sceau_keys::{BucketId, Krid, Oid, SecretKey, TenantId};
use sha2::{Digest, Sha256};

/// The deterministic stream of docs/format/vectors.md: SHA-256(seed ‖ u64 block), block after block.
pub struct FixedRandom(Mutex<(String, u64, Vec<u8>)>);

impl FixedRandom {
    pub fn new(seed: &str) -> Arc<Self> {
        Arc::new(Self(Mutex::new((seed.to_owned(), 0, Vec::new()))))
    }
}

impl Random for FixedRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomError> {
        let mut state = self.0.lock().unwrap();
        while state.2.len() < out.len() {
            let block = Sha256::new_with_prefix(&state.0)
                .chain_update(state.1.to_be_bytes())
                .finalize();
            state.1 += 1;
            state.2.extend_from_slice(&block);
        }
        let rest = state.2.split_off(out.len());
        out.copy_from_slice(&state.2);
        state.2 = rest;
        Ok(())
    }
}

pub fn fixed_engine(seed: &str) -> Engine {
    Engine::with_random(EngineKind::Reference, FixedRandom::new(seed))
}

pub const TENANT: TenantId = TenantId([0x10; 16]);
pub const BUCKET: BucketId = BucketId([0x20; 16]);
pub const KRID: Krid = Krid([0x30; 16]);

pub fn epoch_key() -> SecretKey {
    SecretKey::new(std::array::from_fn(|i| i as u8))
}

pub fn keys() -> EpochKeys {
    EpochKeys::derive(KRID, &epoch_key())
}

pub fn context() -> Context {
    Context::new(&TENANT, &BUCKET, b"folder/name")
}

pub fn secrets() -> Arc<ObjectSecrets> {
    Arc::new(ObjectSecrets::from_parts(
        SecretKey::new([0x40; 32]),
        Oid([0x50; 16]),
    ))
}

/// The plaintext of the vectors: byte i is i modulo 251.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// Seals one part; returns its stored bytes and its IV.
pub fn seal_part(
    engine: &Engine,
    secrets: &ObjectSecrets,
    part: PartNumber,
    data: &[u8],
) -> (Vec<u8>, FloeIv) {
    let mut sealer = BodySealer::new(engine, secrets, part, data.len() as u64).unwrap();
    let mut stored = sealer.header().to_vec();
    let mut source = Bytes::copy_from_slice(data);
    let mut spare = SegmentBuf::new();
    while !sealer.is_done() {
        let mut buffer = spare;
        buffer.fill(&mut source);
        let sealed = sealer.seal(buffer).unwrap();
        stored.extend_from_slice(&sealed);
        spare = SegmentBuf::reuse(sealed);
    }
    (stored, sealer.iv())
}

/// An object as the store would hold it, with the opened header.
#[derive(Clone)]
pub struct Stored {
    pub header: ObjectHeader,
    pub body: Vec<u8>,
}

pub fn header_for(secrets: &Arc<ObjectSecrets>, plain_len: Option<u64>, iv0: FloeIv) -> ObjectHeader {
    ObjectHeader {
        secrets: Arc::clone(secrets),
        is_multi: plain_len.is_none(),
        is_name_hidden: false,
        plain_len,
        write_time_ms: 1_700_000_000_000,
        writer_id: *b"writer-1",
        writer_seq: 7,
        iv0,
        metadata: Metadata::default(),
    }
}

pub fn write_single(engine: &Engine, secrets: &Arc<ObjectSecrets>, data: &[u8]) -> Stored {
    let (mut body, iv) = seal_part(engine, secrets, PartNumber::SINGLE, data);
    let manifest = Manifest::single(data.len() as u64, iv, None).unwrap();
    body.extend_from_slice(&manifest.seal_trailer(engine, secrets).unwrap());
    Stored {
        header: header_for(secrets, Some(data.len() as u64), iv),
        body,
    }
}

/// One part to write: number, bytes, whether its entry is pinned.
pub struct PartInput<'a>(pub u16, pub &'a [u8], pub bool);

pub fn write_multi(engine: &Engine, secrets: &Arc<ObjectSecrets>, parts: &[PartInput<'_>]) -> Stored {
    let mut body = Vec::new();
    let mut entries = Vec::new();
    for PartInput(number, data, is_pinned) in parts {
        let number = PartNumber::upload(*number).unwrap();
        let (stored, iv) = seal_part(engine, secrets, number, data);
        body.extend_from_slice(&stored);
        let iv = is_pinned.then_some(iv);
        entries.push(PartEntry {
            number,
            plain_len: data.len() as u64,
            iv,
            crc64: [0; 8],
        });
    }
    let manifest = Manifest::multipart(entries, None).unwrap();
    body.extend_from_slice(&manifest.seal_trailer(engine, secrets).unwrap());
    Stored {
        header: header_for(secrets, None, [0; 32]),
        body,
    }
}

/// Why a read was refused, in the order a reader meets it.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadError {
    StoredLength,
    Trailer,
    Open(OpenError),
    Short,
}

/// Reads through the crate as a gateway would, from bytes that may have been tampered with.
pub fn read(engine: &Engine, stored: &Stored, extent: Extent) -> Result<Vec<u8>, ReadError> {
    let length = stored.body.len() as u64;
    stored
        .header
        .check_stored_len(length)
        .map_err(|_| ReadError::StoredLength)?;
    let layout = match Layout::single(&stored.header) {
        Some(layout) => layout,
        None => match Suffix::open(engine, &stored.header, &stored.body).map_err(|_| ReadError::Trailer)? {
            Suffix::Complete(footer, manifest) => {
                footer.check_stored_len(length).map_err(|_| ReadError::Trailer)?;
                manifest.layout().clone()
            }
            Suffix::Need(..) => return Err(ReadError::Trailer),
        },
    };
    read_layout(engine, stored, &layout, extent)
}

pub fn read_layout(
    engine: &Engine,
    stored: &Stored,
    layout: &Layout,
    extent: Extent,
) -> Result<Vec<u8>, ReadError> {
    let mut opener = Opener::new(engine, &stored.header.secrets, layout, extent).map_err(ReadError::Open)?;
    if let Some(range) = opener.needs_part_header() {
        let header = stored
            .body
            .get(range.first as usize..=range.last as usize)
            .ok_or(ReadError::Short)?;
        opener
            .supply_part_header(header.try_into().unwrap())
            .map_err(ReadError::Open)?;
    }
    let range = opener.stored_range();
    let end = stored.body.len().min(range.last as usize + 1);
    let mut rest = stored
        .body
        .get(range.first as usize..end)
        .ok_or(ReadError::Short)?;
    let mut plain = Vec::new();
    while let Need::Exactly(count) = opener.need() {
        let (head, tail) = rest.split_at_checked(count).ok_or(ReadError::Short)?;
        rest = tail;
        if let Some(segment) = opener.supply(BytesMut::from(head)).map_err(ReadError::Open)? {
            plain.extend_from_slice(&segment.into_bytes());
        }
    }
    assert!(rest.is_empty(), "the stored range is exactly what is needed");
    assert_eq!(plain.len() as u64, opener.plain_len());
    Ok(plain)
}
