//! Promise: the payload is FLOE as published, not a dialect.
//! How: the public vectors of four languages run on the same code with their own parameters.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout
)]

use std::path::PathBuf;

use data_encoding::HEXLOWER_PERMISSIVE;
use sceau_envelope::floe::{Floe, HEADER_BYTES, Parameters, SEGMENT_OVERHEAD, SEGMENT_PREFIX};
use sceau_envelope::{Engine, EngineKind};
use sceau_keys::SecretKey;

const AAD: &[u8] = b"This is AAD";

fn folder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors/floe");
    if !folder.is_dir() {
        println!("SKIPPED: the public FLOE vectors are not beside the workspace (shared/vectors/floe)");
        return None;
    }
    Some(folder)
}

fn parameters(name: &str) -> Parameters {
    match name {
        name if name.ends_with("_64") => Parameters::new(64, 20),
        name if name.ends_with("_4K") => Parameters::new(4_096, 20),
        name if name.ends_with("_rotation") => Parameters::new(40, 2),
        name if name.contains("_lastSeg") => Parameters::new(40, 20),
        name => panic!("vector {name} has unknown parameters"),
    }
    .unwrap()
}

fn read(path: &std::path::Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
    HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).unwrap()
}

/// Opens a whole ciphertext; positions come from its length, as everywhere.
fn open(engine: &Engine, parameters: Parameters, ciphertext: &[u8]) -> Option<Vec<u8>> {
    let key = SecretKey::new([0; 32]);
    let (header, body) = ciphertext.split_first_chunk::<HEADER_BYTES>()?;
    let mut floe = Floe::from_header(engine, parameters, &key, header, AAD).ok()?;
    let segments: Vec<&[u8]> = body.chunks(parameters.segment_stored()).collect();
    let mut plain = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let mut segment = segment.to_vec();
        floe.open_segment(index as u64, index + 1 == segments.len(), &mut segment)
            .ok()?;
        plain.extend_from_slice(&segment[SEGMENT_PREFIX..segment.len() - 16]);
    }
    Some(plain)
}

#[test]
fn the_public_vectors_open_with_every_engine() {
    let Some(folder) = folder() else { return };
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .strip_suffix("_ct.txt")
        else {
            continue;
        };
        let plain = read(&path.with_file_name(format!("{name}_pt.txt")));
        let ciphertext = read(&path);
        for kind in [EngineKind::AwsLc, EngineKind::Reference] {
            let engine = Engine::pinned(kind);
            let opened = open(&engine, parameters(name), &ciphertext);
            assert!(opened.as_ref() == Some(&plain), "{name} with {kind:?}");
            for at in [0, 9, 10, 41, 42, 73, 74, 78, 90, ciphertext.len() - 1] {
                let mut twin = ciphertext.clone();
                twin[at] ^= 1;
                assert!(
                    open(&engine, parameters(name), &twin).is_none(),
                    "{name}, byte {at} changed"
                );
            }
        }
        count += 1;
    }
    assert!(count >= 16, "{count} vectors found");
}

#[test]
fn what_is_sealed_with_any_parameters_opens() {
    let key = SecretKey::new([0; 32]);
    for (segment, rotation) in [(40, 2), (64, 20), (4_096, 20), (33, 0), (65_568, 1)] {
        let parameters = Parameters::new(segment, rotation).unwrap();
        let full = parameters.segment_plain();
        for length in [0, 1, full - 1, full, full * 5, full * 9 + 1] {
            let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut floe = Floe::new(&Engine::fastest(), parameters, &key, [length as u8; 32], AAD);
            let mut ciphertext = floe.header().to_vec();
            let count = length.div_ceil(full).max(1);
            for index in 0..count {
                let chunk = &plain[index * full..length.min((index + 1) * full)];
                let mut buffer = vec![0; chunk.len() + SEGMENT_OVERHEAD];
                buffer[SEGMENT_PREFIX..SEGMENT_PREFIX + chunk.len()].copy_from_slice(chunk);
                floe.seal_segment(index as u64, index + 1 == count, &mut buffer)
                    .unwrap();
                ciphertext.extend_from_slice(&buffer);
            }
            let engine = Engine::pinned(EngineKind::Reference);
            assert!(open(&engine, parameters, &ciphertext).as_ref() == Some(&plain));
        }
    }
}

#[test]
fn parameters_without_room_are_refused() {
    assert!(Parameters::new(32, 20).is_none());
    assert!(Parameters::new(u32::MAX, 20).is_none());
    assert!(Parameters::new(64, 64).is_none());
}
