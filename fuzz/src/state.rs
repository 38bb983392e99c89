//! State objects of uploads: any bytes, and any content under the right keys.

use sceau_envelope::multipart::SealedState;

use crate::forge;
use crate::input::Input;
use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.bool() {
        let prefix = [&b"SOFU\x01\x01\0\0"[..], &forge::KRID.0, &[7; 32]].concat();
        let length = (forge::UPLOAD_ID.len() as u32).to_be_bytes();
        let payload = input.rest();
        let bytes = forge::committed("mpu", "mpu", &prefix, &[&length, forge::UPLOAD_ID], payload);
        open(&bytes, Some(payload));
    } else {
        open(input.rest(), None);
    }
}

fn open(bytes: &[u8], payload: Option<&[u8]>) {
    let (engine, keys, context) = (forge::engine(), forge::keys(), forge::context());
    within(64 * 1024 + 64 * bytes.len(), || {
        let Ok(sealed) = SealedState::parse(bytes) else { return };
        let Ok(state) = sealed.open(&engine, &keys, &context, forge::UPLOAD_ID) else { return };
        if let Some(payload) = payload {
            crate::metadata::canonical(&state.metadata, &payload[60..]);
        }
        let again = state.seal(&engine, &keys, &context, forge::UPLOAD_ID).expect("what was opened is sealed");
        let again = SealedState::parse(&again).unwrap().open(&engine, &keys, &context, forge::UPLOAD_ID).unwrap();
        assert_eq!(again.secrets.oid(), state.secrets.oid());
        assert_eq!((again.created_ms, &again.metadata), (state.created_ms, &state.metadata));
        assert!(sealed.open(&engine, &keys, &context, b"another upload").is_err());
    });
}
