//! Every numeric limit of the request path, with its unit and its reason.
//!
//! What lives here: constants. What must not: limits an operator may change (they are in
//! `config::limits`). Invariant: a loop, buffer or wait on the request path names its bound here or
//! in the configuration.

use std::time::Duration;

/// Most header fields in one request.
pub const REQUEST_HEADERS_MAX: usize = 200;

/// What one connection, a client's or the store's, may hold unread or unsent, in bytes. Above the largest
/// `limits.header_size`, as a head is read into it whole; a body is pulled through it.
pub const CONNECTION_BUFFER_BYTES_MAX: usize = 320 * 1024;

/// What the kernel may hold of an answer that is not sent yet, in bytes, before the connection counts as
/// full: so that what a client takes is seen while it takes it.
pub const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// What a transfer under way may hold in memory, in bytes: the client's and the store's connection buffers,
/// a segment that fills and a sealed one, the buffers of two TLS connections, and the request itself.
/// docs/operations.md promises it, and `tests/faults/test_slow_uploads.py` measures it.
pub const TRANSFER_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(2 * CONNECTION_BUFFER_BYTES_MAX + 2 * 64 * 1024 + 128 * 1024 <= TRANSFER_BYTES_MAX);

/// Most threads that serve connections.
pub const LANES_MAX: usize = 64;

/// Largest XML request body in bytes: 10 000 parts with a ticket and checksums each.
pub const XML_REQUEST_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Request documents above this size, in bytes, wait for one of [`LARGE_DOCUMENTS_MAX`] places.
pub const SMALL_DOCUMENT_BYTES: u64 = 64 * 1024;

/// Large request documents held at a time: at most 192 MiB of memory.
pub const LARGE_DOCUMENTS_MAX: usize = 32;

/// A document about a bucket or an object, in bytes, either way. S3's largest, a lifecycle or a
/// replication configuration of 1000 rules, stays below.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// Largest XML answer of the store that is rewritten, in bytes: 1 000 keys of 1 024 escaped bytes each.
pub const XML_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Records that wait for the audit trail's writer at most: a few seconds of a busy gateway, 16 MiB with the
/// longest names.
pub const AUDIT_QUEUE_RECORDS: usize = 8192;

/// Requests that may have a place there in `require` mode; the rest is for key operations and events.
pub const AUDIT_SLOTS: usize = 4096;

/// Records that are written at once.
pub const AUDIT_BATCH_RECORDS: usize = 512;

/// How often the audit trail's writer looks up when there is nothing to write.
pub const AUDIT_LOOK: Duration = Duration::from_millis(250);

/// Between two attempts to write the audit trail.
pub const AUDIT_RETRY_WAIT: Duration = Duration::from_millis(500);

/// Attempts while the gateway stops, after which records are given up.
pub const AUDIT_LAST_ATTEMPTS: u32 = 10;

/// Largest error body read from the store, in bytes.
pub const ERROR_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How much of a refused body is read before the connection is closed, in bytes. Closing with unread
/// data makes the kernel reset the connection, and the client would lose the answer.
pub const DRAIN_BYTES_MAX: usize = 1024 * 1024;

/// How long a refused body is read before the connection is closed.
pub const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// How long a TLS handshake may take.
pub const TLS_HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How much of the end of a multipart object is asked for first, in bytes: holds the manifest of
/// 337 parts (docs/format/, "Trailer").
pub const TRAILER_GUESS_BYTES: u64 = 16 * 1024;

/// Largest sealed header value in S3 metadata: 2 KiB for the sum of names and values, less the
/// name `sceauh1`.
pub const S3_METADATA_BYTES_MAX: usize = 2048;

/// Stored bytes per store part when one client PUT is too large for one store PUT, in bytes.
pub const SPLIT_PART_BYTES: u64 = 1024 * 1024 * 1024;

/// Entries of the layout cache (manifests of multipart objects that were read lately).
pub const LAYOUT_CACHE_ENTRIES_MAX: usize = 256;

/// Manifest parts held by the whole layout cache; an entry is about 48 bytes.
pub const LAYOUT_CACHE_PARTS_MAX: usize = 100_000;

/// Opened states of uploads that are kept, each with one data key in memory.
pub const UPLOAD_CACHE_ENTRIES_MAX: usize = 1024;

/// How long an opened upload state is kept: it must not outlive an epoch key by much.
pub const UPLOAD_CACHE_AGE_MAX: Duration = Duration::from_secs(300);

/// Longest upload id of a store that is taken for one, in bytes.
pub const UPLOAD_ID_BYTES_MAX: usize = 2048;

/// Stash objects of one upload that are looked at.
pub const STASH_PARTS_MAX: usize = 9_999;

/// How long a request waits for a key provider before it is told to come back.
pub const KEY_WAIT: Duration = Duration::from_secs(5);

/// What `Retry-After` says when keys or the store are out of reach, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 1;

/// How often a read starts again because the object was replaced between two store requests.
pub const READ_ATTEMPTS_MAX: u32 = 3;

/// Exchanges of identity tokens worked on at once: each verifies a signature before anybody is known.
pub const EXCHANGES_MAX: usize = 32;

/// How long an exchange waits for one of these places.
pub const EXCHANGE_WAIT: Duration = Duration::from_secs(2);

/// How long the form of an exchange may take to arrive.
pub const FORM_WAIT: Duration = Duration::from_secs(10);

/// Longest session token that is looked at, in bytes: a policy of 2 KiB, escaped and encoded.
pub const SESSION_TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Keys in one issuer's key set.
pub const ISSUER_KEYS_MAX: usize = 64;

/// A discovery document or key set, in bytes.
pub const ISSUER_DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// How long an issuer may take for one document, connection included.
pub const ISSUER_WAIT: Duration = Duration::from_secs(5);

/// Age at which an issuer's keys are asked for again.
pub const ISSUER_KEYS_AGE: Duration = Duration::from_secs(15 * 60);

/// Age until which keys are used while their issuer does not answer.
pub const ISSUER_KEYS_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Least time between two looks at one issuer's keys: the sender of a token chooses the key it names.
pub const ISSUER_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// A form upload whose whole body is at most this long, in bytes, is received before it is judged: fields
/// behind its file are then ignored, as S3 does. Longer ones must end with their file.
pub const FORM_WHOLE_BYTES_MAX: u64 = 64 * 1024;

/// How long the fields in front of a form's file may take to arrive, or the whole of a short form.
pub const FORM_HEAD_WAIT: Duration = Duration::from_secs(60);

/// How long a bucket's CORS rules are kept, and the longest that a change made elsewhere goes unnoticed.
pub const CORS_AGE_MAX: Duration = Duration::from_secs(60);

/// Buckets whose CORS rules are kept.
pub const CORS_BUCKETS_MAX: usize = 1_000;

/// CORS rules fetched at once: anybody can ask for them.
pub const CORS_FETCHES_MAX: usize = 4;

/// How long a request waits for a bucket's CORS rules, its turn to fetch them included.
pub const CORS_WAIT: Duration = Duration::from_secs(5);

/// Keys of a DeleteObjects that are judged before other requests get their turn.
pub const KEYS_PER_TURN: usize = 8;
