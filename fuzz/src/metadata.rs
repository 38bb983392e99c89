//! Sealed metadata: what decodes is canonical, but for its padding.

use sceau_envelope::Metadata;

use crate::memory::within;

pub fn run(data: &[u8]) {
    within(64 * 1024 + 64 * data.len(), || {
        let Some(metadata) = Metadata::decode(data) else { return };
        canonical(&metadata, data);
    });
}

/// `metadata` came from `data`, and goes back to it.
pub fn canonical(metadata: &Metadata, data: &[u8]) {
    let encoded = metadata.encode().expect("what was decoded is encoded");
    let padding = data.strip_prefix(&encoded[..]).expect("the encoding is canonical");
    assert!(padding.iter().all(|byte| *byte == 0));
}
