//! The object header: the value of the metadata entry `sceauh1` (§5).
//!
//! What lives here: parsing before any key, sealing and opening. What must not: the body. Invariant:
//! the name is in the sealing key, so a header opens only for the tenant, bucket and name that it
//! was sealed for, and only after its commitment matched.

use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use sceau_keys::{Krid, Oid, SecretKey};
use sha2::{Digest, Sha384};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::bytes_io::Cursor;
use crate::context::Context;
use crate::engine::{Engine, TAG_BYTES};
use crate::epoch::EpochKeys;
use crate::error::{HeaderError, SealError};
use crate::metadata::{self, Metadata};
use crate::prf::KeyedHmac;
use crate::secrets::{FloeIv, ObjectSecrets};
use crate::size;

/// Name of the metadata entry in the store, without the store's prefix.
pub const METADATA_NAME: &str = "sceauh1";
/// Longest header value that is parsed, in characters: what GCS and Azure can hold.
pub const VALUE_CHARS_MAX: usize = 8_185;

const MAGIC: [u8; 4] = *b"SOF1";
const VERSION: u8 = 1;
const FLAG_MULTI: u16 = 1;
const FLAG_METADATA: u16 = 1 << 1;
const FLAG_NAME_HIDDEN: u16 = 1 << 2;
const FLAGS_KNOWN: u16 = FLAG_MULTI | FLAG_METADATA | FLAG_NAME_HIDDEN;
/// Magic to salt: what the sealing key and the commitment cover.
const PREFIX: usize = 56;
/// Prefix and commitment: the AAD.
const AAD: usize = 88;
/// Fixed part of the sealed payload.
const PAYLOAD_FIXED: usize = 112;
/// Length without metadata: prefix, commitment, IV, payload, tag.
const FIXED: usize = 228;
/// `n` when the footer carries it.
const LENGTH_IN_FOOTER: u64 = u64::MAX;

/// A set of algorithms. Part of every key derivation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Suite {
    /// 0x01: FLOE over AES-256-GCM with SHA-384 and 65 568-byte segments.
    FloeAes256Gcm = 1,
}

impl Suite {
    /// The suite with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        (code == Self::FloeAes256Gcm.code()).then_some(Self::FloeAes256Gcm)
    }

    /// Its code in headers and derivations.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Its bit in a suite allow-mask: bit `code - 1`.
    pub const fn mask(self) -> u32 {
        match self {
            Self::FloeAes256Gcm => 1,
        }
    }
}

/// How long the header value may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderLimit {
    /// S3: 2 KiB for names and values of all metadata, our name included.
    S3,
    /// GCS and Azure: 8 KiB, our name included.
    Wide,
}

impl HeaderLimit {
    /// Longest value in characters.
    pub const fn value_chars(self) -> usize {
        match self {
            Self::S3 => 2_048_usize.saturating_sub(METADATA_NAME.len()),
            Self::Wide => VALUE_CHARS_MAX,
        }
    }

    /// Most bytes of encoded metadata.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "constants: both limits are far above FIXED"
    )]
    pub const fn metadata_bytes(self) -> usize {
        // n bytes become ceil(4n/3) characters, so c characters hold floor(3c/4) bytes.
        self.value_chars() * 3 / 4 - FIXED
    }
}

/// A header as the store returned it: parsed, nothing verified.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedHeader {
    bytes: Vec<u8>,
    suite: Suite,
    flags: u16,
    krid: Krid,
}

/// Everything an authentic header says. Clones share the secrets.
#[derive(Clone)]
pub struct ObjectHeader {
    /// Data key and object identifier.
    pub secrets: Arc<ObjectSecrets>,
    /// Whether the object has the multipart layout.
    pub is_multi: bool,
    /// Whether the stored name is a sealed form of the key name.
    pub is_name_hidden: bool,
    /// Plaintext length; `None` if the footer carries it.
    pub plain_len: Option<u64>,
    /// Time of writing in ms since 1970.
    pub write_time_ms: u64,
    /// The gateway that wrote it.
    pub writer_id: [u8; 8],
    /// That gateway's running number.
    pub writer_seq: u64,
    /// FLOE IV of part 0, all zero for the multipart layout.
    pub iv0: FloeIv,
    /// Sealed metadata.
    pub metadata: Metadata,
}

impl SealedHeader {
    /// Parses the metadata value, without any key.
    ///
    /// # Errors
    /// [`HeaderError::Malformed`], [`HeaderError::UnknownSuite`].
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        if value.len() > VALUE_CHARS_MAX {
            return Err(HeaderError::Malformed);
        }
        let bytes = BASE64URL_NOPAD
            .decode(value.as_bytes())
            .map_err(|_| HeaderError::Malformed)?;
        let mut cursor = Cursor::new(&bytes);
        let fields = (
            cursor.array::<4>(),
            cursor.u8(),
            cursor.u8(),
            cursor.u16(),
            cursor.array::<16>(),
        );
        let (Some(MAGIC), Some(VERSION), Some(suite), Some(flags), Some(krid)) = fields else {
            return Err(HeaderError::Malformed);
        };
        let has_metadata = bytes.len() > FIXED;
        let flagged = flags & FLAG_METADATA != 0;
        if bytes.len() < FIXED || flags & !FLAGS_KNOWN != 0 || has_metadata != flagged {
            return Err(HeaderError::Malformed);
        }
        let suite = Suite::from_code(suite).ok_or(HeaderError::UnknownSuite)?;
        Ok(Self {
            bytes,
            suite,
            flags,
            krid: Krid(krid),
        })
    }

    /// The suite it names; compare with the bucket's allow-list before opening.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The key record it names.
    pub fn krid(&self) -> Krid {
        self.krid
    }

    /// Whether it claims the multipart layout; authentic only after opening.
    pub fn is_multi(&self) -> bool {
        self.flags & FLAG_MULTI != 0
    }

    /// Whether it claims a hidden name; authentic only after opening.
    pub fn is_name_hidden(&self) -> bool {
        self.flags & FLAG_NAME_HIDDEN != 0
    }

    /// Its digest, for the previous-header field and for freshness: the first 32 bytes of SHA-384.
    pub fn digest(&self) -> [u8; 32] {
        let digest = Sha384::digest(&self.bytes);
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// Opens it for one name.
    ///
    /// # Errors
    /// [`HeaderError::NotForThisName`] when key, tenant, bucket, name, suite or layout are others;
    /// [`HeaderError::Corrupted`] when they are right and the rest is not.
    pub fn open(
        &self,
        engine: &Engine,
        keys: &EpochKeys,
        context: &Context,
    ) -> Result<ObjectHeader, HeaderError> {
        let (prefix, commitment) = self
            .bytes
            .split_first_chunk::<PREFIX>()
            .ok_or(HeaderError::Malformed)?;
        let keyed = KeyedHmac::new(keys.header());
        let expected = commit(&keyed, prefix, context);
        let matches = commitment
            .first_chunk::<32>()
            .is_some_and(|found| found.ct_eq(&expected).into());
        if self.krid != keys.krid() || !matches {
            return Err(HeaderError::NotForThisName);
        }
        let (aad, rest) = self.bytes.split_at_checked(AAD).ok_or(HeaderError::Malformed)?;
        let (iv, sealed) = rest.split_first_chunk().ok_or(HeaderError::Malformed)?;
        let mut payload = Zeroizing::new(sealed.to_vec());
        let key = sealing_key(&keyed, prefix, context);
        let key = engine.key(&key).map_err(|_| HeaderError::Corrupted)?;
        key.open(iv, aad, &mut payload)
            .map_err(|_| HeaderError::Corrupted)?;
        let (payload, _tag) = payload
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(HeaderError::Corrupted)?;
        self.read_payload(payload).ok_or(HeaderError::Corrupted)
    }

    /// The sealed fields, if they agree with each other and with the flags.
    fn read_payload(&self, payload: &[u8]) -> Option<ObjectHeader> {
        let mut cursor = Cursor::new(payload);
        let dek = SecretKey::from_slice(cursor.take(32)?)?;
        let oid = Oid(cursor.array()?);
        let plain_len = Some(cursor.u64()?).filter(|length| *length != LENGTH_IN_FOOTER);
        let header = ObjectHeader {
            secrets: Arc::new(ObjectSecrets::from_parts(dek, oid)),
            is_multi: self.is_multi(),
            is_name_hidden: self.is_name_hidden(),
            plain_len,
            write_time_ms: cursor.u64()?,
            writer_id: cursor.array()?,
            writer_seq: cursor.u64()?,
            iv0: cursor.array()?,
            metadata: Metadata::decode(cursor.rest())?,
        };
        header.is_consistent().then_some(header)
    }
}

impl ObjectHeader {
    /// Seals it under fresh salt and IV for one name. Used for writing, copying and re-wrapping.
    /// `padding` is the bucket's metadata padding multiple.
    ///
    /// # Errors
    /// [`SealError::MetadataTooLarge`] beyond `limit`, [`SealError::MetadataInvalid`],
    /// [`SealError::InvalidParts`] if length, IV and layout contradict each other,
    /// [`SealError::Random`], [`SealError::Engine`].
    pub fn seal(
        &self,
        engine: &Engine,
        keys: &EpochKeys,
        context: &Context,
        limit: HeaderLimit,
        padding: u16,
    ) -> Result<String, SealError> {
        if !self.is_consistent() {
            return Err(SealError::InvalidParts);
        }
        let mut fields = self.metadata.encode()?;
        if fields.len() > limit.metadata_bytes() {
            return Err(SealError::MetadataTooLarge);
        }
        metadata::pad(&mut fields, padding, limit.metadata_bytes());
        let prefix = self.prefix(keys.krid(), !fields.is_empty(), &engine.draw()?);
        let keyed = KeyedHmac::new(keys.header());
        let mut aad = prefix.to_vec();
        aad.extend_from_slice(&commit(&keyed, &prefix, context));
        let mut payload = self.payload(&fields);
        let key = engine.key(&sealing_key(&keyed, &prefix, context))?;
        let (iv, tag) = key.seal(&aad, &mut payload)?;
        let value = [&aad[..], &iv, &payload, &tag].concat();
        Ok(BASE64URL_NOPAD.encode(&value))
    }

    /// Checks the authenticated length against the length that the store reports, where the header
    /// carries one.
    ///
    /// # Errors
    /// [`HeaderError::WrongStoredLength`].
    pub fn check_stored_len(&self, stored: u64) -> Result<(), HeaderError> {
        match self.plain_len {
            Some(plain) if size::stored_len(plain) != Some(stored) => Err(HeaderError::WrongStoredLength),
            Some(_) => Ok(()),
            None => size::plain_len(stored)
                .map(|_| ())
                .ok_or(HeaderError::WrongStoredLength),
        }
    }

    /// Whether length and IV suit the layout. A multipart header may know its length: stores that
    /// take metadata at the end of an upload have it.
    fn is_consistent(&self) -> bool {
        if self.is_multi {
            return self.iv0 == [0; 32] && self.plain_len != Some(LENGTH_IN_FOOTER);
        }
        self.plain_len
            .is_some_and(|length| length <= size::PART_PLAIN_MAX)
    }

    fn prefix(&self, krid: Krid, has_metadata: bool, salt: &[u8; 32]) -> [u8; PREFIX] {
        let mut flags = 0;
        for (is_set, flag) in [
            (self.is_multi, FLAG_MULTI),
            (has_metadata, FLAG_METADATA),
            (self.is_name_hidden, FLAG_NAME_HIDDEN),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let mut prefix = [0; PREFIX];
        let fields = MAGIC
            .into_iter()
            .chain([VERSION, Suite::FloeAes256Gcm.code()])
            .chain(flags.to_be_bytes())
            .chain(krid.0)
            .chain(*salt);
        for (to, from) in prefix.iter_mut().zip(fields) {
            *to = from;
        }
        prefix
    }

    fn payload(&self, fields: &[u8]) -> Zeroizing<Vec<u8>> {
        // Allocated once at its full length: growing would leave copies of the data key behind.
        let capacity = fields.len().saturating_add(PAYLOAD_FIXED);
        let mut payload = Zeroizing::new(Vec::with_capacity(capacity));
        payload.extend_from_slice(self.secrets.dek().expose());
        payload.extend_from_slice(&self.secrets.oid().0);
        payload.extend_from_slice(&self.plain_len.unwrap_or(LENGTH_IN_FOOTER).to_be_bytes());
        payload.extend_from_slice(&self.write_time_ms.to_be_bytes());
        payload.extend_from_slice(&self.writer_id);
        payload.extend_from_slice(&self.writer_seq.to_be_bytes());
        payload.extend_from_slice(&self.iv0);
        payload.extend_from_slice(fields);
        payload
    }
}

fn commit(keyed: &KeyedHmac, prefix: &[u8; PREFIX], context: &Context) -> [u8; 32] {
    keyed.prf_bytes("hdr-commit", &[prefix, context.as_bytes()])
}

fn sealing_key(keyed: &KeyedHmac, prefix: &[u8; PREFIX], context: &Context) -> SecretKey {
    keyed.prf_key("hdr-key", &[prefix, context.as_bytes()])
}
