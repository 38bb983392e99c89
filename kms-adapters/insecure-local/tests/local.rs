//! The conformance kit on software keys, and what the key file refuses.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sceau_keys::{BucketId, Krid, SecretKey, TenantId, WrapContext};
use sceau_kms::{KeyError, KeyProvider, Reason, Residency, conformance};
use sceau_kms_insecure_local::InsecureLocalProvider;

const TIME: Duration = Duration::from_secs(1);

fn context() -> WrapContext {
    WrapContext {
        krid: Krid([1; 16]),
        tenant: TenantId([2; 16]),
        bucket: BucketId([3; 16]),
        epoch: 1,
    }
}

/// A directory of this test alone, removed at the end.
struct Room(PathBuf);

impl Room {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sceau-local-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn software_keys_conform() {
    let room = Room::new("conform");
    let path = room.0.join("keys");
    InsecureLocalProvider::create(&path, "dev-kek").unwrap();
    for provider in [
        InsecureLocalProvider::open(&path).unwrap(),
        InsecureLocalProvider::in_memory("mem").unwrap(),
    ] {
        assert!(!provider.info().is_production_grade);
        assert_eq!(provider.info().residency, Residency::Process);
        conformance::run(Arc::new(provider)).await.unwrap();
    }
}

#[tokio::test]
async fn an_old_version_still_opens_and_new_wraps_use_the_new_one() {
    let room = Room::new("versions");
    let path = room.0.join("keys");
    InsecureLocalProvider::create(&path, "dev-kek").unwrap();
    let key = SecretKey::new([7; 32]);
    let before = InsecureLocalProvider::open(&path).unwrap();
    let old = before.wrap(&key, &context(), Reason::Rewrap, TIME).await.unwrap();
    assert_eq!(InsecureLocalProvider::add_version(&path), Ok(2));
    let after = InsecureLocalProvider::open(&path).unwrap();
    assert!(
        after
            .unwrap(&old, &context(), Reason::Rewrap, TIME)
            .await
            .unwrap()
            .ct_eq(&key)
    );
    let new = after.wrap(&key, &context(), Reason::Rewrap, TIME).await.unwrap();
    assert_eq!((old.key_version, new.key_version), (1, 2));
    // A provider that was opened before looks into the file again, so that running gateways follow.
    let followed = before.unwrap(&new, &context(), Reason::Rewrap, TIME).await;
    assert!(followed.unwrap().ct_eq(&key));
    let unknown = sceau_keys::Wrap {
        key_version: 3,
        ..new
    };
    assert!(matches!(
        before.unwrap(&unknown, &context(), Reason::Rewrap, TIME).await,
        Err(KeyError::KeyNotFound)
    ));
    // A wrap moved to another version does not open under it.
    let moved = sceau_keys::Wrap {
        key_version: 2,
        ..old
    };
    assert!(matches!(
        after.unwrap(&moved, &context(), Reason::Rewrap, TIME).await,
        Err(KeyError::InvalidCiphertext)
    ));
}

#[test]
fn a_key_file_open_to_others_is_refused_and_none_is_overwritten() {
    let room = Room::new("modes");
    let path = room.0.join("keys");
    InsecureLocalProvider::create(&path, "dev-kek").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(InsecureLocalProvider::create(&path, "dev-kek").is_err());
    for mode in [0o644, 0o604, 0o620] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(InsecureLocalProvider::open(&path).is_err(), "mode {mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(InsecureLocalProvider::open(&path).is_ok());
}

#[test]
fn a_damaged_key_file_is_refused_without_telling_its_keys() {
    let room = Room::new("damage");
    let path = room.0.join("keys");
    InsecureLocalProvider::create(&path, "dev-kek").unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let digits = good.trim_end().rsplit(' ').next().unwrap().to_owned();
    for bad in [
        good.replace("sceau-insecure-local 1", "sceau-insecure-local 2"),
        good.replace("key 1 ", "key 0 "),
        good.trim_end().trim_end_matches(|_: char| true).to_owned(),
        good[..good.len() - 3].to_owned(),
        format!("{good}key 1 {digits}\n"),
        format!("{good}junk\n"),
    ] {
        fs::write(&path, bad).unwrap();
        let error = InsecureLocalProvider::open(&path).err().unwrap();
        assert!(!error.to_string().contains(&digits[..8]));
    }
}
