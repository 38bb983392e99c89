//! Messages of a KMIP server.

use sceau_kms_ttlv::{Item, MESSAGE_BYTES_MAX, decode, encode, message_bytes};

use crate::memory::within;

pub fn run(data: &[u8]) {
    if let Some(head) = data.first_chunk() {
        let length = message_bytes(head);
        assert!(length.is_err() || length.is_ok_and(|length| (8..=MESSAGE_BYTES_MAX).contains(&length)));
    }
    // An item in memory takes a few words; vectors grow by doubling.
    within(16 * 1024 + 32 * data.len(), || {
        let Ok(item) = decode(data) else { return };
        assert_eq!(&*encode(&item).unwrap(), data, "what is read is written the same");
        look(&item);
    });
    // The first promise again, where the message is framed by its own head.
    if let Some(length) = data.first_chunk().and_then(|head| message_bytes(head).ok())
        && let Some(message) = data.get(..length)
        && let Ok(item) = decode(message)
    {
        assert_eq!(item.items().is_empty(), length == 8);
    }
}

fn look(item: &Item) {
    for inner in item.items() {
        let same = item.all(inner.tag).count();
        assert_eq!(item.one(inner.tag).is_some(), same == 1);
        look(inner);
    }
}
