//! What the null store keeps.
//!
//! What lives here: buckets, objects and uploads in memory. What must not: HTTP. Invariant: a bucket never
//! keeps more than its bound: the objects written first go first, so a load that writes for ever needs no
//! more memory than one that stops. Small buckets, such as a gateway's own, never come near the bound.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use sceau_s3wire::error::ErrorCode;

use super::receive::{Blocks, Content};

/// An object as it was written.
#[derive(Debug, Clone, Default)]
pub struct Object {
    /// Its bytes; none when they were too many to keep.
    pub content: Content,
    /// Entity tag, in quotes. It says nothing about the content: hashing would be most of the cost.
    pub etag: String,
    /// Headers that go back as they came.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Unix time of the write.
    pub modified: u64,
}

/// An upload under way.
#[derive(Debug, Default)]
pub struct Pending {
    /// Its key.
    pub key: String,
    /// Headers for the object.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The parts by number.
    pub parts: BTreeMap<u16, Arc<Object>>,
}

#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, (u64, Arc<Object>)>,
    /// Writes in order, by number; one that was overwritten since is skipped.
    written: VecDeque<(u64, String)>,
    bytes: u64,
    uploads: BTreeMap<String, Pending>,
}

/// One page of names.
pub struct Page {
    /// Objects in order.
    pub objects: Vec<(String, Arc<Object>)>,
    /// Names rolled up under the delimiter.
    pub prefixes: Vec<String>,
    /// Last name of the page, when there are more.
    pub next: Option<String>,
}

/// All buckets.
pub struct Shelf {
    buckets: Mutex<BTreeMap<String, Bucket>>,
    numbers: std::sync::atomic::AtomicU64,
    bucket_bytes_max: u64,
    asked: Mutex<BTreeMap<&'static str, u64>>,
    /// Memory for bodies.
    pub blocks: Blocks,
}

/// What must hold for a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    None,
    /// There is no such object.
    Absent,
    /// The object has this entity tag.
    Tag(String),
}

impl Shelf {
    /// Empty, with a bound for the bytes of each bucket.
    pub fn new(bucket_bytes_max: u64) -> Self {
        Self {
            buckets: Mutex::default(),
            numbers: std::sync::atomic::AtomicU64::new(1),
            bucket_bytes_max,
            asked: Mutex::default(),
            blocks: Blocks::default(),
        }
    }

    /// Largest object whose bytes are kept.
    pub fn object_bytes_max(&self) -> u64 {
        self.bucket_bytes_max
    }

    /// A number that was not given before; entity tags and uploads are made of it.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    /// Counts a request.
    pub fn count(&self, kind: &'static str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let count = asked.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    /// Requests until now, by kind.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }

    /// Makes a bucket; one that is there stays as it is.
    pub fn create(&self, bucket: &str) {
        self.lock().entry(bucket.to_owned()).or_default();
    }

    /// Names of the buckets.
    pub fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Whether the bucket is there.
    pub fn check(&self, bucket: &str) -> Result<(), ErrorCode> {
        self.with(bucket, |_| Ok(()))
    }

    /// Removes an empty bucket.
    pub fn remove_bucket(&self, bucket: &str) -> Result<(), ErrorCode> {
        let mut buckets = self.lock();
        let found = buckets.get(bucket).ok_or(ErrorCode::NoSuchBucket)?;
        if !found.objects.is_empty() {
            return Err(ErrorCode::BucketNotEmpty);
        }
        buckets.remove(bucket);
        Ok(())
    }

    /// The object of this name.
    pub fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, ErrorCode> {
        self.with(bucket, |bucket| {
            let found = bucket.objects.get(key).ok_or(ErrorCode::NoSuchKey)?;
            Ok(Arc::clone(&found.1))
        })
    }

    /// Writes an object; gives its entity tag.
    pub fn put(
        &self,
        bucket: &str,
        key: &str,
        mut object: Object,
        condition: &Condition,
    ) -> Result<String, ErrorCode> {
        let number = self.number();
        if object.etag.is_empty() {
            object.etag = tag(number);
        }
        object.modified = now();
        let etag = object.etag.clone();
        self.with(bucket, |bucket| {
            let old = bucket.objects.get(key).map(|(_, old)| old.etag.as_str());
            match condition {
                Condition::Absent if old.is_some() => return Err(ErrorCode::PreconditionFailed),
                Condition::Tag(_) if old.is_none() => return Err(ErrorCode::NoSuchKey),
                Condition::Tag(tag) if old != Some(tag) => return Err(ErrorCode::PreconditionFailed),
                Condition::None | Condition::Absent | Condition::Tag(_) => {}
            }
            bucket.remove(key);
            bucket.add(key, number, object, self.bucket_bytes_max);
            Ok(())
        })?;
        Ok(etag)
    }

    /// Removes an object; one that is not there is removed already.
    pub fn delete(&self, bucket: &str, key: &str) -> Result<(), ErrorCode> {
        self.with(bucket, |bucket| {
            bucket.remove(key);
            Ok(())
        })
    }

    /// Starts an upload; gives its id.
    pub fn start(&self, bucket: &str, pending: Pending) -> Result<String, ErrorCode> {
        let id = format!("upload-{}", self.number());
        self.with(bucket, |bucket| {
            bucket.uploads.insert(id.clone(), pending);
            Ok(())
        })?;
        Ok(id)
    }

    /// Works on an upload.
    pub fn upload<T>(
        &self,
        bucket: &str,
        id: &str,
        work: impl FnOnce(&mut Pending) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        self.with(bucket, |bucket| {
            work(bucket.uploads.get_mut(id).ok_or(ErrorCode::NoSuchUpload)?)
        })
    }

    /// Takes an upload away.
    pub fn end(&self, bucket: &str, id: &str) -> Result<Pending, ErrorCode> {
        self.with(bucket, |bucket| {
            bucket.uploads.remove(id).ok_or(ErrorCode::NoSuchUpload)
        })
    }

    /// Uploads under way: id and key.
    pub fn uploads(&self, bucket: &str, prefix: &str) -> Result<Vec<(String, String)>, ErrorCode> {
        self.with(bucket, |bucket| {
            let all = bucket.uploads.iter();
            Ok(all
                .filter(|(_, pending)| pending.key.starts_with(prefix))
                .map(|(id, pending)| (id.clone(), pending.key.clone()))
                .collect())
        })
    }

    /// Names after `after` that begin with `prefix`.
    pub fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: &str,
        after: &str,
        max: usize,
    ) -> Result<Page, ErrorCode> {
        self.with(bucket, |bucket| Ok(bucket.list(prefix, delimiter, after, max)))
    }

    fn with<T>(
        &self,
        bucket: &str,
        work: impl FnOnce(&mut Bucket) -> Result<T, ErrorCode>,
    ) -> Result<T, ErrorCode> {
        work(self.lock().get_mut(bucket).ok_or(ErrorCode::NoSuchBucket)?)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn remove(&mut self, key: &str) {
        if let Some((_, old)) = self.objects.remove(key) {
            self.bytes = self.bytes.saturating_sub(old.content.length);
        }
    }

    fn add(&mut self, key: &str, number: u64, object: Object, bytes_max: u64) {
        self.bytes = self.bytes.saturating_add(object.content.length);
        self.objects.insert(key.to_owned(), (number, Arc::new(object)));
        self.written.push_back((number, key.to_owned()));
        // Numbers of what was overwritten or deleted would pile up.
        if self.written.len() > self.objects.len().saturating_mul(2).saturating_add(64) {
            let objects = &self.objects;
            self.written
                .retain(|(number, key)| objects.get(key).is_some_and(|(of, _)| of == number));
        }
        while self.bytes > bytes_max {
            let Some((first, key)) = self.written.pop_front() else {
                break;
            };
            if first != number && self.objects.get(&key).is_some_and(|(of, _)| *of == first) {
                self.remove(&key);
            } else if first == number {
                break;
            }
        }
    }

    fn list(&self, prefix: &str, delimiter: &str, after: &str, max: usize) -> Page {
        let start = if after > prefix || (after == prefix && !after.is_empty()) {
            Bound::Excluded(after)
        } else {
            Bound::Included(prefix)
        };
        let mut page = Page {
            objects: Vec::new(),
            prefixes: Vec::new(),
            next: None,
        };
        let mut last = String::new();
        for (key, (_, object)) in self.objects.range::<str, _>((start, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else {
                break;
            };
            let common = (!delimiter.is_empty())
                .then(|| rest.split_once(delimiter))
                .flatten()
                .map(|(name, _)| format!("{prefix}{name}{delimiter}"));
            if let Some(common) = &common
                && (common == after || page.prefixes.last() == Some(common))
            {
                continue;
            }
            if page.objects.len().saturating_add(page.prefixes.len()) == max {
                page.next = Some(last);
                return page;
            }
            match common {
                Some(common) => {
                    last.clone_from(&common);
                    page.prefixes.push(common);
                }
                None => {
                    last.clone_from(key);
                    page.objects.push((key.clone(), Arc::clone(object)));
                }
            }
        }
        page
    }
}

/// An entity tag of the usual form.
pub fn tag(number: u64) -> String {
    format!("\"{number:032x}\"")
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn object(length: usize) -> Object {
        Object {
            content: Content {
                pieces: vec![Bytes::from(vec![0; length])],
                length: length as u64,
            },
            ..Object::default()
        }
    }

    fn keys(shelf: &Shelf) -> Vec<String> {
        let page = shelf.list("b", "", "", "", 1000).unwrap();
        page.objects.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn the_objects_written_first_go_first_and_the_newest_stays() {
        let shelf = Shelf::new(100);
        shelf.create("b");
        for key in ["a", "b", "a", "c"] {
            shelf.put("b", key, object(40), &Condition::None).unwrap();
        }
        assert_eq!(keys(&shelf), ["a", "c"]);
        shelf.put("b", "d", object(1000), &Condition::None).unwrap();
        assert_eq!(keys(&shelf), ["d"]);
    }

    #[test]
    fn conditions_hold_back_a_write() {
        let shelf = Shelf::new(100);
        shelf.create("b");
        let put = |condition| shelf.put("b", "k", object(1), &condition);
        assert_eq!(put(Condition::Tag("\"x\"".to_owned())), Err(ErrorCode::NoSuchKey));
        let tag = put(Condition::Absent).unwrap();
        assert_eq!(put(Condition::Absent), Err(ErrorCode::PreconditionFailed));
        assert_ne!(put(Condition::Tag(tag.clone())).unwrap(), tag);
        assert_eq!(put(Condition::Tag(tag)), Err(ErrorCode::PreconditionFailed));
    }

    #[test]
    fn pages_name_everything_once() {
        let shelf = Shelf::new(100);
        shelf.create("b");
        for key in ["a/1", "a/2", "b", "c/1", "d"] {
            shelf.put("b", key, object(1), &Condition::None).unwrap();
        }
        for max in 1..6 {
            let (mut names, mut after) = (Vec::new(), String::new());
            loop {
                let page = shelf.list("b", "", "/", &after, max).unwrap();
                names.extend(page.prefixes);
                names.extend(page.objects.into_iter().map(|(key, _)| key));
                let Some(next) = page.next else { break };
                after = next;
            }
            names.sort();
            assert_eq!(names, ["a/", "b", "c/", "d"], "{max}");
        }
    }
}
