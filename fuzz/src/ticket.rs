//! Tickets of parts, and the entity tags that carry them.

use data_encoding::BASE64URL_NOPAD;
use sceau_envelope::etag::{join_part_etag, split_part_etag};
use sceau_envelope::{PartNumber, Ticket};
use sceau_s3wire::etag::{to_client, to_store};

use crate::forge;
use crate::input::Input;
use crate::memory::within;

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let is_forged = input.bool();
    let part = PartNumber::upload(input.u16()).unwrap_or(PartNumber::SINGLE);
    if is_forged {
        let fields = input.array::<45>();
        let store_etag = String::from_utf8_lossy(input.rest()).into_owned();
        forged(part, &fields, &store_etag);
    } else if let Ok(text) = std::str::from_utf8(input.rest()) {
        within(16 * 1024 + 16 * text.len(), || tags(part, text));
    }
}

fn tags(part: PartNumber, text: &str) {
    let secrets = forge::secrets();
    let _ = Ticket::verify(text, &secrets, part, "tag");
    // A tag of an MD5's form is always shown with its mark, so the mapping is undone for all others.
    let shown = to_client(text);
    if shown != text || to_store(text) == text {
        assert_eq!(to_store(&shown), text);
    }
    let Some(split) = split_part_etag(text) else { return };
    assert!(!split.store.is_empty());
    assert_eq!(join_part_etag(split.store, split.ticket), text);
    let Some(ticket) = split.ticket else { return };
    if let Ok(ticket) = Ticket::verify(ticket, &secrets, part, split.store) {
        let encoded = ticket.encode(&secrets, part, split.store).unwrap();
        assert_eq!(split.ticket, Some(&*encoded));
    }
}

/// A ticket with these fields and the right authenticator.
fn forged(part: PartNumber, fields: &[u8; 45], store_etag: &str) {
    let key = forge::prf(&forge::DEK, "ticket", &[&forge::OID]);
    let number = part.get().to_be_bytes();
    let length = (store_etag.len() as u32).to_be_bytes();
    let mac = forge::prf(&key, "ticket-mac", &[&number, fields, &length, store_etag.as_bytes()]);
    let text = BASE64URL_NOPAD.encode(&[&fields[..], &mac[..16]].concat());
    let secrets = forge::secrets();
    let ticket = Ticket::verify(&text, &secrets, part, store_etag).expect("the authenticator is right");
    assert_eq!(ticket.encode(&secrets, part, store_etag).as_deref(), Some(&*text));
    assert!(Ticket::verify(&text, &secrets, part, &format!("{store_etag}x")).is_err());
    if !store_etag.is_empty() {
        let joined = join_part_etag(store_etag, Some(&text));
        let split = split_part_etag(&joined).unwrap();
        assert_eq!((split.store, split.ticket), (store_etag, Some(&*text)));
    }
}
