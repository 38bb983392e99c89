//! Tags of the store: any pairs, and any set under the right keys.

use data_encoding::BASE64URL_NOPAD;
use sceau_envelope::tags;

use crate::forge;
use crate::input::Input;
use crate::memory::within;

/// Lengths of a set's plaintext, by the number of pieces.
const ROOMS: [usize; 3] = [354, 930, 1_890];

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.u8();
    if mode % 4 == 0 {
        let pairs: Vec<_> = (0..input.below(12)).map(|_| (input.text(), input.text())).collect();
        open(&pairs);
        return;
    }
    let mut plain = input.rest().to_vec();
    plain.resize(ROOMS[usize::from(mode % 4) - 1], 0);
    let aad = [&b"sof1/tags\0\x01\x01"[..], &forge::OID, forge::context().as_bytes()].concat();
    let key = forge::prf(&forge::DEK, "tags", &[&forge::OID]);
    let sealed = [&[1, 1][..], &forge::seal(&key, &aad, &plain)].concat();
    let letters = 'a'..='j';
    let pairs: Vec<_> =
        sealed.chunks(192).zip(letters).map(|(piece, letter)| (format!("sceaut1{letter}"), BASE64URL_NOPAD.encode(piece))).collect();
    if let Some(opened) = open(&pairs) {
        let mut canonical = vec![opened.len() as u8];
        for text in opened.iter().flat_map(|(key, value)| [key, value]) {
            canonical.extend((text.len() as u16).to_be_bytes());
            canonical.extend(text.as_bytes());
        }
        let padding = plain.strip_prefix(&canonical[..]).expect("what opens is canonical");
        assert!(padding.iter().all(|byte| *byte == 0));
        let room = ROOMS.iter().find(|room| **room >= canonical.len());
        assert_eq!(room, Some(&plain.len()), "the least that holds it");
    }
}

fn open(pairs: &[tags::TagPair]) -> Option<Vec<tags::TagPair>> {
    let (engine, secrets, context) = (forge::engine(), forge::secrets(), forge::context());
    let held: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
    within(64 * 1024 + 64 * held, || {
        let _ = tags::form(pairs);
        let opened = tags::open(&engine, &secrets, &context, pairs).ok()?;
        assert!(opened.windows(2).all(|two| two[0].0.as_bytes() < two[1].0.as_bytes()));
        let again = tags::seal(&engine, &secrets, &context, &opened).expect("what was opened is sealed");
        assert_eq!(tags::open(&engine, &secrets, &context, &again).as_ref(), Ok(&opened));
        Some(opened)
    })
}
