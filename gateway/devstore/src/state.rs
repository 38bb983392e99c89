//! The store's state: the index in memory, kept in step with the folder.
//!
//! What lives here: every change to buckets, objects and uploads, each one whole or not at all.
//! What must not: HTTP. Invariant: changes are made one at a time, on disk first and in the index
//! second, by code that runs to its end even when the client has left.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sceau_s3wire::error::ErrorCode;

use crate::DataLocation;
use crate::blob::{BlobRoom, Piece, random_id};
use crate::condition::WriteCondition;
use crate::disk::{Buckets, Folder};
use crate::multipart::{CompletedPart, assemble};
use crate::record::{Attributes, Bucket, Object, Part, Upload};

/// Shared by all connections.
pub(crate) struct State {
    index: Mutex<Buckets>,
    /// Held for the whole of a change.
    turn: Mutex<()>,
    folder: Option<Folder>,
    room: BlobRoom,
}

/// What an object is made of, before it gets its place.
pub(crate) struct NewObject {
    pub bucket: String,
    pub key: String,
    pub etag: String,
    pub attributes: Attributes,
    pub pieces: Vec<Piece>,
    pub condition: WriteCondition,
}

/// A failed change.
type Change<T> = Result<T, ErrorCode>;

impl State {
    /// Reads the folder, or starts empty.
    pub fn open(location: DataLocation) -> io::Result<State> {
        let (folder, index, room) = match location {
            DataLocation::Memory => (
                None,
                Buckets::new(),
                BlobRoom::Memory(Arc::new(AtomicU64::new(0))),
            ),
            DataLocation::Directory(path) => {
                let folder = Folder::open(&path)?;
                let index = folder.load()?;
                let room = BlobRoom::Folder(folder.data());
                (Some(folder), index, room)
            }
        };
        Ok(State {
            index: Mutex::new(index),
            turn: Mutex::new(()),
            folder,
            room,
        })
    }

    /// Where new bytes go.
    pub fn room(&self) -> &BlobRoom {
        &self.room
    }

    /// The index, for reading; never held across an await.
    pub fn read(&self) -> MutexGuard<'_, Buckets> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a change on a thread that may block, to its end.
    pub async fn change<T, F>(self: &Arc<Self>, change: F) -> Change<T>
    where
        T: Send + 'static,
        F: FnOnce(&State) -> Change<T> + Send + 'static,
    {
        let state = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _turn = state.turn.lock().unwrap_or_else(PoisonError::into_inner);
            change(&state)
        });
        task.await.unwrap_or(Err(ErrorCode::InternalError))
    }

    fn save(&self, save: impl FnOnce(&Folder) -> io::Result<()>) -> Change<()> {
        self.folder
            .as_ref()
            .map_or(Ok(()), save)
            .map_err(|error| failed(&error))
    }

    /// Makes a bucket; one that exists stays as it is, as in `us-east-1`.
    pub fn create_bucket(&self, name: &str) -> Change<()> {
        if self.read().contains_key(name) {
            return Ok(());
        }
        let created_ms = now_ms();
        self.save(|folder| folder.save_bucket(name, created_ms))?;
        let bucket = Bucket {
            created_ms,
            ..Bucket::default()
        };
        self.read().insert(name.to_owned(), bucket);
        Ok(())
    }

    /// Removes an empty bucket and the uploads left open in it.
    pub fn delete_bucket(&self, name: &str) -> Change<()> {
        let uploads = {
            let index = self.read();
            let bucket = index.get(name).ok_or(ErrorCode::NoSuchBucket)?;
            if !bucket.objects.is_empty() {
                return Err(ErrorCode::BucketNotEmpty);
            }
            bucket.uploads.keys().cloned().collect::<Vec<_>>()
        };
        for id in uploads {
            self.drop_upload(name, &id)?;
        }
        self.save(|folder| folder.remove_bucket(name))?;
        self.read().remove(name);
        Ok(())
    }

    /// Puts an object in its place.
    pub fn put(&self, new: NewObject) -> Change<Object> {
        self.put_completed(new, None)
    }

    fn put_completed(&self, new: NewObject, upload: Option<String>) -> Change<Object> {
        {
            let index = self.read();
            let bucket = index.get(&new.bucket).ok_or(ErrorCode::NoSuchBucket)?;
            new.condition.check(bucket.objects.get(&new.key))?;
        }
        let object = Object {
            etag: new.etag,
            modified_ms: now_ms(),
            attributes: new.attributes,
            upload,
            pieces: new.pieces,
        };
        // Counted before they are saved: a saved record must never name a removed blob.
        retain(&object.pieces);
        let saved = self.save(|folder| folder.save_object(&new.bucket, &new.key, &object));
        if let Err(error) = saved {
            release(&object.pieces);
            return Err(error);
        }
        let mut index = self.read();
        let bucket = index.get_mut(&new.bucket).ok_or(ErrorCode::NoSuchBucket)?;
        if let Some(old) = bucket.objects.insert(new.key, object.clone()) {
            release(&old.pieces);
        }
        Ok(object)
    }

    /// Replaces the tags of an object.
    pub fn set_tags(&self, bucket: &str, key: &str, tags: BTreeMap<String, String>) -> Change<()> {
        let mut object = {
            let index = self.read();
            let objects = &index.get(bucket).ok_or(ErrorCode::NoSuchBucket)?.objects;
            objects.get(key).cloned().ok_or(ErrorCode::NoSuchKey)?
        };
        object.attributes.tags = tags;
        self.save(|folder| folder.save_object(bucket, key, &object))?;
        let mut index = self.read();
        let place = index.get_mut(bucket).ok_or(ErrorCode::NoSuchBucket)?;
        // The same pieces as before: none is retained or released.
        place.objects.insert(key.to_owned(), object);
        Ok(())
    }

    /// Removes an object; one that is not there is no error.
    pub fn delete(&self, bucket: &str, key: &str, condition: &WriteCondition) -> Change<()> {
        {
            let index = self.read();
            let found = index.get(bucket).ok_or(ErrorCode::NoSuchBucket)?.objects.get(key);
            condition.check(found)?;
            if found.is_none() {
                return Ok(());
            }
        }
        self.save(|folder| folder.remove_object(bucket, key))?;
        let removed = self
            .read()
            .get_mut(bucket)
            .and_then(|bucket| bucket.objects.remove(key));
        if let Some(object) = removed {
            release(&object.pieces);
        }
        Ok(())
    }

    /// Opens an upload and returns its id.
    pub fn create_upload(&self, bucket: &str, key: &str, attributes: Attributes) -> Change<String> {
        if !self.read().contains_key(bucket) {
            return Err(ErrorCode::NoSuchBucket);
        }
        let id = random_id().map_err(|error| failed(&error))?;
        let upload = Upload {
            key: key.to_owned(),
            started_ms: now_ms(),
            attributes,
            parts: BTreeMap::new(),
        };
        self.save(|folder| folder.save_upload(bucket, &id, &upload))?;
        let mut index = self.read();
        let place = index.get_mut(bucket).ok_or(ErrorCode::NoSuchBucket)?;
        place.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Adds a part, replacing an earlier one of the same number.
    pub fn put_part(
        &self,
        target: &UploadName,
        number: u32,
        etag: String,
        pieces: Vec<Piece>,
    ) -> Change<Part> {
        self.upload(target)?;
        let part = Part {
            etag,
            modified_ms: now_ms(),
            pieces,
        };
        retain(&part.pieces);
        if let Err(error) = self.save(|folder| folder.save_part(&target.bucket, &target.id, number, &part)) {
            release(&part.pieces);
            return Err(error);
        }
        let mut index = self.read();
        let upload = index
            .get_mut(&target.bucket)
            .and_then(|bucket| bucket.uploads.get_mut(&target.id));
        let upload = upload.ok_or(ErrorCode::NoSuchUpload)?;
        if let Some(old) = upload.parts.insert(number, part.clone()) {
            release(&old.pieces);
        }
        Ok(part)
    }

    /// The upload of this bucket, key and id.
    pub fn upload(&self, target: &UploadName) -> Change<Upload> {
        let index = self.read();
        let bucket = index.get(&target.bucket).ok_or(ErrorCode::NoSuchBucket)?;
        let upload = bucket
            .uploads
            .get(&target.id)
            .filter(|upload| upload.key == target.key);
        upload.cloned().ok_or(ErrorCode::NoSuchUpload)
    }

    /// Makes the object out of the parts named.
    pub fn complete(
        &self,
        target: &UploadName,
        parts: &[CompletedPart],
        condition: WriteCondition,
    ) -> Change<Object> {
        let upload = self.upload(target)?;
        let (etag, pieces) = assemble(&upload, parts)?;
        let new = NewObject {
            bucket: target.bucket.clone(),
            key: target.key.clone(),
            etag,
            attributes: upload.attributes,
            pieces,
            condition,
        };
        let object = self.put_completed(new, Some(target.id.clone()))?;
        self.drop_upload(&target.bucket, &target.id)?;
        Ok(object)
    }

    /// Forgets an upload and its parts.
    pub fn abort(&self, target: &UploadName) -> Change<()> {
        self.upload(target)?;
        self.drop_upload(&target.bucket, &target.id)
    }

    fn drop_upload(&self, bucket: &str, id: &str) -> Change<()> {
        let removed = self
            .read()
            .get_mut(bucket)
            .and_then(|bucket| bucket.uploads.remove(id));
        let Some(upload) = removed else { return Ok(()) };
        self.save(|folder| folder.remove_upload(id, &upload))?;
        for part in upload.parts.values() {
            release(&part.pieces);
        }
        Ok(())
    }
}

/// Names one upload; all three must agree.
pub(crate) struct UploadName {
    pub bucket: String,
    pub key: String,
    pub id: String,
}

fn retain(pieces: &[Piece]) {
    pieces.iter().for_each(|piece| piece.blob.retain());
}

fn release(pieces: &[Piece]) {
    pieces.iter().for_each(|piece| piece.blob.release());
}

/// Logs a failure of the file system and says what the client is told.
pub(crate) fn failed(error: &io::Error) -> ErrorCode {
    if error.kind() == io::ErrorKind::StorageFull {
        tracing::warn!(%error, "embedded store is full");
        return ErrorCode::SlowDown;
    }
    tracing::error!(%error, "embedded store cannot use its folder");
    ErrorCode::InternalError
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
