//! The folder of a store that survives restarts.
//!
//! Layout: `buckets/<name>.json`, `objects/<xx>/<hash>.json`, `uploads/<id>.json`,
//! `uploads/<id>.<part>.json` and `data/<random>`. Names of objects appear only inside the JSON,
//! so no key can collide with another or leave the folder. What lives here: reading and writing
//! that layout. What must not: decisions. Invariant: every change that a reader can see is one
//! rename or one removal.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::blob::{Blob, Piece, replace_file};
use crate::record::{
    Bucket, BucketFile, FORM_VERSION, Object, ObjectFile, Part, PartFile, PieceFile, Upload, UploadFile,
    piece_files,
};

/// All buckets by name.
pub(crate) type Buckets = BTreeMap<String, Bucket>;

/// The folder's paths.
#[derive(Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Makes the folders that are missing.
    pub fn open(root: &Path) -> io::Result<Folder> {
        let folder = Folder {
            root: root.to_owned(),
        };
        for name in ["buckets", "objects", "uploads", "data"] {
            fs::create_dir_all(folder.root.join(name))?;
        }
        Ok(folder)
    }

    /// Where blobs are kept.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn bucket_path(&self, name: &str) -> PathBuf {
        // Bucket names are checked to be letters, digits, dots and hyphens.
        self.root.join("buckets").join(format!("{name}.json"))
    }

    fn object_path(&self, bucket: &str, key: &str) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(bucket.as_bytes());
        hash.update([0]);
        hash.update(key.as_bytes());
        let name = HEXLOWER.encode(&hash.finalize());
        let (shard, _) = name.split_at_checked(2).unwrap_or((&name, ""));
        self.root.join("objects").join(shard).join(format!("{name}.json"))
    }

    fn upload_path(&self, id: &str) -> PathBuf {
        self.root.join("uploads").join(format!("{id}.json"))
    }

    fn part_path(&self, id: &str, number: u32) -> PathBuf {
        self.root.join("uploads").join(format!("{id}.{number}.json"))
    }

    pub fn save_bucket(&self, name: &str, created_ms: u64) -> io::Result<()> {
        let form = BucketFile {
            version: FORM_VERSION,
            name: name.to_owned(),
            created_ms,
        };
        save(&self.bucket_path(name), &form)
    }

    pub fn remove_bucket(&self, name: &str) -> io::Result<()> {
        remove(&self.bucket_path(name))
    }

    pub fn save_object(&self, bucket: &str, key: &str, object: &Object) -> io::Result<()> {
        let path = self.object_path(bucket, key);
        if let Some(shard) = path.parent() {
            fs::create_dir_all(shard)?;
        }
        let form = ObjectFile {
            version: FORM_VERSION,
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            etag: object.etag.clone(),
            modified_ms: object.modified_ms,
            attributes: object.attributes.clone(),
            upload: object.upload.clone(),
            pieces: piece_files(&object.pieces),
        };
        save(&path, &form)
    }

    pub fn remove_object(&self, bucket: &str, key: &str) -> io::Result<()> {
        remove(&self.object_path(bucket, key))
    }

    pub fn save_upload(&self, bucket: &str, id: &str, upload: &Upload) -> io::Result<()> {
        let form = UploadFile {
            version: FORM_VERSION,
            bucket: bucket.to_owned(),
            key: upload.key.clone(),
            id: id.to_owned(),
            started_ms: upload.started_ms,
            attributes: upload.attributes.clone(),
        };
        save(&self.upload_path(id), &form)
    }

    pub fn save_part(&self, bucket: &str, id: &str, number: u32, part: &Part) -> io::Result<()> {
        let form = PartFile {
            version: FORM_VERSION,
            bucket: bucket.to_owned(),
            upload: id.to_owned(),
            number,
            etag: part.etag.clone(),
            modified_ms: part.modified_ms,
            pieces: piece_files(&part.pieces),
        };
        save(&self.part_path(id, number), &form)
    }

    /// Removes an upload; its own file goes first, and parts without one are swept at the next start.
    pub fn remove_upload(&self, id: &str, upload: &Upload) -> io::Result<()> {
        remove(&self.upload_path(id))?;
        for number in upload.parts.keys() {
            remove(&self.part_path(id, *number))?;
        }
        Ok(())
    }

    /// Reads everything, and removes what a crash left half done.
    pub fn load(&self) -> io::Result<Buckets> {
        let mut loader = Loader {
            folder: self,
            blobs: HashMap::new(),
            buckets: Buckets::new(),
        };
        loader.buckets()?;
        loader.objects()?;
        loader.uploads()?;
        loader.sweep()?;
        Ok(loader.buckets)
    }
}

struct Loader<'a> {
    folder: &'a Folder,
    blobs: HashMap<String, Arc<Blob>>,
    buckets: Buckets,
}

impl Loader<'_> {
    fn buckets(&mut self) -> io::Result<()> {
        for path in json_files(&self.folder.root.join("buckets"))? {
            let form: BucketFile = load(&path)?;
            version(&path, form.version)?;
            let bucket = Bucket {
                created_ms: form.created_ms,
                ..Bucket::default()
            };
            self.buckets.insert(form.name, bucket);
        }
        Ok(())
    }

    fn objects(&mut self) -> io::Result<()> {
        for shard in fs::read_dir(self.folder.root.join("objects"))? {
            for path in json_files(&shard?.path())? {
                let form: ObjectFile = load(&path)?;
                version(&path, form.version)?;
                let pieces = self.pieces(&form.pieces)?;
                let Some(bucket) = self.buckets.get_mut(&form.bucket) else {
                    return Err(damaged(&path, "its bucket is missing"));
                };
                let object = Object {
                    etag: form.etag,
                    modified_ms: form.modified_ms,
                    attributes: form.attributes,
                    upload: form.upload,
                    pieces,
                };
                bucket.objects.insert(form.key, object);
            }
        }
        Ok(())
    }

    fn uploads(&mut self) -> io::Result<()> {
        let mut parts = Vec::new();
        for path in json_files(&self.folder.root.join("uploads"))? {
            let is_part = path
                .file_stem()
                .is_some_and(|stem| stem.to_string_lossy().contains('.'));
            if is_part {
                parts.push(path);
            } else {
                self.upload(&path)?;
            }
        }
        for path in parts {
            let form: PartFile = load(&path)?;
            version(&path, form.version)?;
            self.part(&path, form)?;
        }
        Ok(())
    }

    /// An upload that its object names was completed just before the process ended: what is left
    /// of it is removed.
    fn upload(&mut self, path: &Path) -> io::Result<()> {
        let form: UploadFile = load(path)?;
        version(path, form.version)?;
        let Some(bucket) = self.buckets.get_mut(&form.bucket) else {
            return remove(path);
        };
        let object = bucket.objects.get(&form.key);
        if object.is_some_and(|object| object.upload.as_ref() == Some(&form.id)) {
            return remove(path);
        }
        let upload = Upload {
            key: form.key,
            started_ms: form.started_ms,
            attributes: form.attributes,
            parts: BTreeMap::new(),
        };
        bucket.uploads.insert(form.id, upload);
        Ok(())
    }

    fn part(&mut self, path: &Path, form: PartFile) -> io::Result<()> {
        let known = self
            .buckets
            .get(&form.bucket)
            .is_some_and(|bucket| bucket.uploads.contains_key(&form.upload));
        if !known {
            return remove(path);
        }
        let pieces = self.pieces(&form.pieces)?;
        let part = Part {
            etag: form.etag,
            modified_ms: form.modified_ms,
            pieces,
        };
        let bucket = self.buckets.get_mut(&form.bucket);
        if let Some(upload) = bucket.and_then(|bucket| bucket.uploads.get_mut(&form.upload)) {
            upload.parts.insert(form.number, part);
        }
        Ok(())
    }

    fn pieces(&mut self, forms: &[PieceFile]) -> io::Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        for form in forms {
            let blob = match self.blobs.get(&form.blob) {
                Some(blob) => Arc::clone(blob),
                None => {
                    let blob = Blob::found(&self.folder.data(), &form.blob)?;
                    self.blobs.insert(form.blob.clone(), Arc::clone(&blob));
                    blob
                }
            };
            blob.retain();
            if form
                .offset
                .checked_add(form.bytes)
                .is_none_or(|end| end > blob.bytes())
            {
                return Err(damaged(
                    &self.folder.data().join(&form.blob),
                    "it is shorter than its record says",
                ));
            }
            pieces.push(Piece {
                blob,
                offset: form.offset,
                bytes: form.bytes,
            });
        }
        Ok(pieces)
    }

    /// Removes data files that no record names: uploads that were under way, and replaced objects.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.folder.data())? {
            let entry = entry?;
            if !self
                .blobs
                .contains_key(entry.file_name().to_string_lossy().as_ref())
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn json_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => paths.push(path),
            Some("tmp") => fs::remove_file(&path)?,
            Some(_) | None => {}
        }
    }
    Ok(paths)
}

fn save<T: Serialize>(path: &Path, form: &T) -> io::Result<()> {
    replace_file(path, &serde_json::to_vec(form)?)
}

fn load<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?).map_err(|error| damaged(path, &error.to_string()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn version(path: &Path, version: u32) -> io::Result<()> {
    if version == FORM_VERSION {
        Ok(())
    } else {
        Err(damaged(path, "its version is not known"))
    }
}

fn damaged(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", path.display()))
}
