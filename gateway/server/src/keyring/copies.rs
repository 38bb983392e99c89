//! The two copies of the keyring document: an object in the control bucket and a file here.
//!
//! What lives here: reading and writing bytes. What must not: what the bytes mean. Invariant: the
//! local file is replaced as a whole and reaches the disk before anyone relies on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sceau_envelope::keyring::KEYRING_BYTES_MAX;
use sceau_kms::BoxFuture;

use super::error::KeyringFault;
use crate::upstream::{Condition, ControlBucket, PutOutcome, StoreError};

/// Name of the keyring's object in the control bucket.
pub const KEYRING_OBJECT: &str = "keyring";

/// Name of the object whose every change makes gateways drop their unwrapped keys.
pub const DROP_OBJECT: &str = "keys-dropped";

/// The copy of the keyring in the control bucket.
pub trait ControlCopy: Send + Sync {
    /// Name of the control bucket.
    fn bucket(&self) -> &str;

    /// The document and its entity tag, `None` when there is none.
    fn read(&self) -> BoxFuture<'_, Result<Option<(Bytes, String)>, KeyringFault>>;

    /// Writes the document if the object still has the entity tag `replaces`, or is absent when that
    /// is `None`. Answers whether it was written; `false` means that someone else was faster.
    fn write<'a>(
        &'a self,
        document: Bytes,
        replaces: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool, KeyringFault>>;

    /// What tells the last call of [`ControlCopy::call_drop`] from those before it; `None` before the first.
    fn last_drop(&self) -> BoxFuture<'_, Result<Option<String>, KeyringFault>>;

    /// Calls on every gateway to drop its unwrapped keys. `call` must be unlike all calls before.
    fn call_drop(&self, call: Bytes) -> BoxFuture<'_, Result<(), KeyringFault>>;
}

impl ControlCopy for ControlBucket {
    fn bucket(&self) -> &str {
        self.name()
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(Bytes, String)>, KeyringFault>> {
        Box::pin(async { self.get(KEYRING_OBJECT).await.map_err(control_fault) })
    }

    fn write<'a>(
        &'a self,
        document: Bytes,
        replaces: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool, KeyringFault>> {
        let condition = replaces.map_or(Condition::IfAbsent, |etag| Condition::IfMatch(etag.to_owned()));
        Box::pin(async move {
            let outcome = self.put(KEYRING_OBJECT, document, condition).await;
            outcome
                .map(|outcome| matches!(outcome, PutOutcome::Written { .. }))
                .map_err(control_fault)
        })
    }

    fn last_drop(&self) -> BoxFuture<'_, Result<Option<String>, KeyringFault>> {
        Box::pin(async {
            let found = self.get(DROP_OBJECT).await.map_err(control_fault)?;
            Ok(found.map(|(_, etag)| etag))
        })
    }

    fn call_drop(&self, call: Bytes) -> BoxFuture<'_, Result<(), KeyringFault>> {
        Box::pin(async {
            let outcome = self.put(DROP_OBJECT, call, Condition::None).await;
            match outcome.map_err(control_fault)? {
                PutOutcome::Written { .. } => Ok(()),
                PutOutcome::Conflict => Err(KeyringFault::Contended),
            }
        })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn control_fault(error: StoreError) -> KeyringFault {
    KeyringFault::Control {
        why: error.to_string(),
    }
}

/// Stands in for the control bucket where there is no store: the local copy is all there is, and
/// nothing can be changed.
pub struct OfflineCopy(LocalCopy);

impl OfflineCopy {
    /// Answers with the local copy at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self(LocalCopy::new(path))
    }
}

impl ControlCopy for OfflineCopy {
    fn bucket(&self) -> &str {
        ""
    }

    fn read(&self) -> BoxFuture<'_, Result<Option<(Bytes, String)>, KeyringFault>> {
        Box::pin(async { Ok(self.0.read()?.map(|document| (document, String::new()))) })
    }

    fn write<'a>(
        &'a self,
        _document: Bytes,
        _replaces: Option<&'a str>,
    ) -> BoxFuture<'a, Result<bool, KeyringFault>> {
        Box::pin(async { Ok(false) })
    }

    fn last_drop(&self) -> BoxFuture<'_, Result<Option<String>, KeyringFault>> {
        Box::pin(async { Ok(None) })
    }

    fn call_drop(&self, _call: Bytes) -> BoxFuture<'_, Result<(), KeyringFault>> {
        Box::pin(async { Ok(()) })
    }
}

/// The copy of the keyring on this host.
#[derive(Debug, Clone)]
pub struct LocalCopy {
    path: PathBuf,
}

impl LocalCopy {
    /// The copy at `path`; nothing is opened yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The document, `None` when the file does not exist.
    ///
    /// # Errors
    /// [`KeyringFault::Local`].
    pub fn read(&self) -> Result<Option<Bytes>, KeyringFault> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.fault(&error)),
        };
        let limit = u64::try_from(KEYRING_BYTES_MAX)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let mut document = Vec::new();
        file.take(limit)
            .read_to_end(&mut document)
            .map_err(|error| self.fault(&error))?;
        Ok(Some(document.into()))
    }

    /// Replaces the document; it is on the disk when this returns.
    ///
    /// # Errors
    /// [`KeyringFault::Local`]; the old document is then still there.
    pub async fn write(&self, document: Bytes) -> Result<(), KeyringFault> {
        let path = self.path.clone();
        let outcome = tokio::task::spawn_blocking(move || replace(&path, &document)).await;
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.fault(&error)),
            Err(_) => Err(self.fault(&io::Error::other("the write was cut short"))),
        }
    }

    fn fault(&self, error: &io::Error) -> KeyringFault {
        KeyringFault::Local {
            path: self.path.clone(),
            why: error.to_string(),
        }
    }
}

/// Writes beside the file, then renames: a crash leaves the old or the new document, never half of one.
fn replace(path: &Path, document: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut beside = path.as_os_str().to_owned();
    // The process id keeps two gateways on one host from writing into each other's file.
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(document).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first error matters; a file left over is overwritten next time.
        let _ = fs::remove_file(&beside);
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}
