//! Object headers: any text, and any content under the right keys.

use data_encoding::BASE64URL_NOPAD;
use sceau_envelope::{HeaderLimit, ObjectHeader, SealedHeader, size};

use crate::forge;
use crate::input::Input;
use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.bool() {
        let flags = input.array::<2>();
        let payload = input.rest();
        let prefix = [&b"SOF1\x01\x01"[..], &flags, &forge::KRID.0, &[7; 32]].concat();
        let value = forge::committed("hdr", "hdr", &prefix, &[], payload);
        open(&BASE64URL_NOPAD.encode(&value), Some(payload));
    } else if let Ok(text) = std::str::from_utf8(input.rest()) {
        open(text, None);
    }
}

fn open(value: &str, payload: Option<&[u8]>) {
    let (engine, keys, context) = (forge::engine(), forge::keys(), forge::context());
    within(64 * 1024 + 64 * value.len(), || {
        let Ok(sealed) = SealedHeader::parse(value) else { return };
        let _ = (sealed.digest(), sealed.krid(), sealed.suite());
        let Ok(header) = sealed.open(&engine, &keys, &context) else { return };
        assert_eq!((sealed.is_multi(), sealed.is_name_hidden()), (header.is_multi, header.is_name_hidden));
        if let Some(payload) = payload {
            crate::metadata::canonical(&header.metadata, &payload[112..]);
        }
        for stored in [0, 352, header.writer_seq, u64::MAX] {
            if header.check_stored_len(stored).is_ok() {
                let plain = header.plain_len.or_else(|| size::plain_len(stored)).unwrap();
                assert_eq!(size::stored_len(plain), Some(stored));
            }
        }
        let again = match header.seal(&engine, &keys, &context, HeaderLimit::Wide, 32) {
            Ok(again) => again,
            Err(error) => {
                assert!(matches!(error, sceau_envelope::error::SealError::MetadataTooLarge), "{error:?}");
                return;
            }
        };
        let again = SealedHeader::parse(&again).unwrap().open(&engine, &keys, &context).unwrap();
        assert!(fields(&again) == fields(&header));
    });
}

#[allow(clippy::type_complexity)]
fn fields(header: &ObjectHeader) -> ([u8; 16], bool, bool, Option<u64>, u64, [u8; 8], u64, [u8; 32], sceau_envelope::Metadata) {
    (
        header.secrets.oid().0,
        header.is_multi,
        header.is_name_hidden,
        header.plain_len,
        header.write_time_ms,
        header.writer_id,
        header.writer_seq,
        header.iv0,
        header.metadata.clone(),
    )
}
