//! Key records: what decodes is canonical.

use sceau_envelope::KeyRecord;
use sceau_keys::SecretKey;

use crate::memory::within;

pub fn run(data: &[u8]) {
    within(64 * 1024 + 64 * data.len(), || {
        let Ok(mut record) = KeyRecord::decode(data) else { return };
        assert_eq!(record.encode().expect("what was decoded is encoded"), data);
        let _ = (record.may_open(), record.may_seal(0), record.wrap_context().to_bytes());
        let key = SecretKey::new([5; 32]);
        record.set_check(&key);
        assert!(record.check_key(&key).is_ok());
        record.epoch ^= 1;
        assert!(record.check_key(&key).is_err());
    });
}
