//! Footer and manifest: any bytes, and any content under the right keys.

use sceau_envelope::error::TrailerError;
use sceau_envelope::trailer::Suffix;
use sceau_envelope::{Metadata, ObjectHeader, size};

use crate::forge;
use crate::input::Input;
use crate::memory::within;

const MEBIBYTE: u64 = 1 << 20;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    let header = header(&mut input, mode);
    let tail = match mode & 3 {
        0 => input.rest().to_vec(),
        1 => {
            let footer = input.array::<32>();
            authentic(&footer, input.rest())
        }
        _ => consistent(&mut input),
    };
    let engine = forge::engine();
    let limit = 256 * 1024 + 64 * tail.len();
    let opened = within(limit, || Suffix::open(&engine, &header, &tail));
    match opened {
        Ok(Suffix::Complete(footer, manifest)) => {
            assert_eq!(manifest.footer(), Some(footer));
            let parts = manifest.layout().parts();
            assert_eq!(parts.len(), footer.parts() as usize);
            assert_eq!(parts.iter().map(|part| part.plain_len).sum::<u64>(), footer.plain_len());
            assert_eq!(size::stored_len(footer.plain_len()).is_some(), true);
            if footer.pad() > 4 * MEBIBYTE {
                return;
            }
            let sealed = manifest.seal_trailer(&engine, &header.secrets).unwrap();
            assert_eq!(sealed.len() as u64, footer.pad() + footer.suffix_len());
            let again = Suffix::open(&engine, &header, &sealed);
            assert_eq!(again, Ok(Suffix::Complete(footer, manifest)));
        }
        Ok(Suffix::Need(footer, count)) => {
            assert!(count > tail.len() as u64 && count == footer.suffix_len());
        }
        Err(TrailerError::NotAuthentic) => assert_ne!(mode & 3, 2, "the authenticators are right"),
        Err(_) => {}
    }
}

fn header(input: &mut Input<'_>, mode: u8) -> ObjectHeader {
    let is_multi = mode & 4 != 0;
    let has_length = mode & 8 != 0 || !is_multi;
    ObjectHeader {
        secrets: forge::secrets(),
        is_multi,
        is_name_hidden: false,
        plain_len: has_length.then(|| u64::from(input.u32())),
        write_time_ms: 0,
        writer_id: [0; 8],
        writer_seq: 0,
        iv0: if is_multi { [0; 32] } else { [3; 32] },
        metadata: Metadata::default(),
    }
}

/// A tail with this footer and this manifest text, both authentic.
fn authentic(footer: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let key = forge::prf(&forge::DEK, "footer", &[&forge::OID]);
    let mac = forge::prf(&key, "footer-mac", &[footer]);
    let manifest = forge::seal(&forge::prf(&forge::DEK, "manifest", &[&forge::OID]), footer, text);
    [&manifest[..], footer, &mac].concat()
}

/// A manifest whose counts and lengths agree with its footer, unless the input says otherwise.
fn consistent(input: &mut Input<'_>) -> Vec<u8> {
    let count = 1 + u32::from(input.u8() % 40);
    let mut entries = Vec::new();
    let (mut plain, mut stored, mut number) = (0_u64, 0_u64, 0_u16);
    for index in 1..=count {
        let step = input.u8();
        number = if step == 255 { input.u16() } else { number.wrapping_add(u16::from(step % 8)) };
        let mut length = u64::from(input.u16());
        length += if index < count && step & 0x80 == 0 { 5 * MEBIBYTE } else { 0 };
        let pinned = input.u8();
        entries.extend_from_slice(&number.to_be_bytes());
        entries.push(pinned % 3);
        entries.extend_from_slice(&length.to_be_bytes()[3..]);
        entries.extend_from_slice(&if pinned % 3 == 1 { [3; 32] } else { [0; 32] });
        entries.extend_from_slice(&input.array::<8>());
        plain += length;
        stored += size::part_stored_len(length).unwrap_or(0);
    }
    let pad = size::pad_len(plain, count, stored).unwrap_or(0).wrapping_add(u64::from(input.u8() / 200));
    let manifest_len = size::manifest_len(count).unwrap_or(0) as u32;
    let mut footer = b"SOFF\x01\x01\0\0".to_vec();
    footer.extend_from_slice(&plain.to_be_bytes());
    footer.extend_from_slice(&count.to_be_bytes());
    footer.extend_from_slice(&manifest_len.to_be_bytes());
    footer.extend_from_slice(&pad.to_be_bytes());
    let checksum = if input.bool() { input.array::<68>() } else { [0; 68] };
    let text = [&plain.to_be_bytes()[..], &count.to_be_bytes(), &checksum, &entries].concat();
    authentic(&footer.try_into().unwrap(), &text)
}
