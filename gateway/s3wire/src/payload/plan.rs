//! What must hold for a request's body, from its verified head.
//!
//! What lives here: framing, declared length, announced digests. What must not: body bytes.
//! Invariant: the framing follows `x-amz-content-sha256` alone, never `content-encoding`, and no
//! checksum that the client announced is left out of the plan.

use data_encoding::BASE64;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use super::error::PayloadError;
use super::reader::PayloadReader;
use crate::checksum::{Algorithm, HeaderMeaning, Value};
use crate::post::FormFile;
use crate::sigv4::{ChainSeed, PayloadMode, Verified};

const DECODED_LENGTH: &str = "x-amz-decoded-content-length";
const SDK_ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";
const TRAILER: &str = "x-amz-trailer";

/// What the request's headers say about this body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRole {
    /// The operation takes no body: an undeclared length means none, and checksum headers are not
    /// about it (GetObject, CopyObject, CreateMultipartUpload).
    Absent,
    /// Checksum headers are about this body: objects, parts, and most XML documents.
    Described,
    /// There is a body, and checksum headers are about something else (CompleteMultipartUpload:
    /// they are about the whole object).
    Document,
}

/// What must hold for a body.
pub struct PayloadPlan {
    pub(super) decoded_length: u64,
    pub(super) framing: Framing,
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) md5: Option<[u8; 16]>,
    pub(super) header_checksum: Option<Value>,
    pub(super) computed: Vec<Algorithm>,
}

pub(super) enum Framing {
    /// The HTTP body is the payload.
    Plain,
    /// aws-chunked, with a chain of signatures or without, and with a trailer or without.
    Chunked {
        chain: Option<ChainSeed>,
        trailer: Option<Trailer>,
    },
    /// The payload is the file of a form.
    Form(Box<FormFile>),
}

/// What the trailer must hold: a checksum, if one was announced.
#[derive(Clone, Copy)]
pub(super) struct Trailer {
    pub(super) announced: Option<Algorithm>,
}

impl PayloadPlan {
    /// The plan for the body of an object, a part or a document that its headers describe.
    pub fn from(verified: &Verified, headers: &HeaderMap) -> Result<Self, PayloadError> {
        Self::for_body(verified, headers, BodyRole::Described)
    }

    /// The plan for a body in `role`.
    pub fn for_body(verified: &Verified, headers: &HeaderMap, role: BodyRole) -> Result<Self, PayloadError> {
        Self::for_mode(verified.payload_mode(), verified.chain().cloned(), headers, role)
    }

    fn for_mode(
        mode: PayloadMode,
        chain: Option<ChainSeed>,
        headers: &HeaderMap,
        role: BodyRole,
    ) -> Result<Self, PayloadError> {
        let decoded_length = declared_length(headers, mode, role)?;
        let checksums = match role {
            BodyRole::Absent | BodyRole::Document => Announced {
                header: None,
                trailer: trailer_checksum(headers)?,
            },
            BodyRole::Described => announced_checksums(headers)?,
        };
        let md5 = content_md5(headers)?;
        let has_header_digest = checksums.header.is_some() || md5.is_some();
        let framing = framing(mode, chain, checksums.trailer, has_header_digest)?;
        let sha256 = match mode {
            PayloadMode::Sha256(digest) => Some(digest),
            PayloadMode::StreamingSigned
            | PayloadMode::StreamingSignedTrailer
            | PayloadMode::StreamingUnsignedTrailer
            | PayloadMode::Unsigned => None,
        };
        Ok(Self {
            decoded_length,
            framing,
            sha256,
            md5,
            header_checksum: checksums.header,
            computed: Vec::new(),
        })
    }

    /// The plan for the file of a form. `headers` are those that the form's fields stand for.
    pub fn for_form(file: FormFile, headers: &HeaderMap) -> Result<Self, PayloadError> {
        Ok(Self {
            decoded_length: file.length(),
            sha256: None,
            md5: content_md5(headers)?,
            header_checksum: announced_checksums(headers)?.header,
            computed: Vec::new(),
            framing: Framing::Form(Box::new(file)),
        })
    }

    /// The plan for a body that nobody signed. Its framing, length and digests are held to all the same.
    pub fn for_anonymous(headers: &HeaderMap, role: BodyRole) -> Result<Self, PayloadError> {
        let unknown = PayloadError::ConflictingChecksums("this payload mode needs a signature");
        let mode = match single(headers, "x-amz-content-sha256", unknown)? {
            None => PayloadMode::Unsigned,
            Some(text) => PayloadMode::parse(text).map_err(|_| unknown)?,
        };
        match mode {
            PayloadMode::StreamingSigned | PayloadMode::StreamingSignedTrailer => Err(unknown),
            PayloadMode::Sha256(_) | PayloadMode::StreamingUnsignedTrailer | PayloadMode::Unsigned => {
                Self::for_mode(mode, None, headers, role)
            }
        }
    }

    /// Length of the payload in bytes, without any framing.
    pub fn decoded_length(&self) -> u64 {
        self.decoded_length
    }

    /// The checksum that the client declared in a header, before the body. Verified only when the
    /// body was read whole.
    pub fn header_checksum(&self) -> Option<Value> {
        self.header_checksum
    }

    /// Whether the body is in aws-chunked framing.
    pub fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked { .. })
    }

    /// The checksum algorithm the client uses for this body, in header or trailer.
    pub fn client_algorithm(&self) -> Option<Algorithm> {
        let announced = match &self.framing {
            Framing::Chunked {
                trailer: Some(trailer),
                ..
            } => trailer.announced,
            Framing::Chunked { trailer: None, .. } | Framing::Plain | Framing::Form(_) => None,
        };
        self.header_checksum.map(|value| value.algorithm()).or(announced)
    }

    /// Also computes `algorithm`, whatever the client announced; it is found in
    /// [`super::VerifiedPayload::checksum`].
    #[must_use]
    pub fn compute_also(mut self, algorithm: Algorithm) -> Self {
        if !self.computed.contains(&algorithm) {
            self.computed.push(algorithm);
        }
        self
    }

    /// Starts to read the body.
    pub fn into_reader(self) -> PayloadReader {
        PayloadReader::new(self)
    }
}

fn framing(
    mode: PayloadMode,
    chain: Option<ChainSeed>,
    trailer: Option<Algorithm>,
    has_header_digest: bool,
) -> Result<Framing, PayloadError> {
    let with_trailer = Some(Trailer { announced: trailer });
    match mode {
        PayloadMode::Sha256(_) | PayloadMode::Unsigned | PayloadMode::StreamingSigned
            if trailer.is_some() =>
        {
            Err(PayloadError::ConflictingChecksums(
                "x-amz-trailer needs a payload mode with a trailer",
            ))
        }
        PayloadMode::Sha256(_) | PayloadMode::Unsigned => Ok(Framing::Plain),
        PayloadMode::StreamingSigned => Ok(Framing::Chunked { chain, trailer: None }),
        PayloadMode::StreamingSignedTrailer => Ok(Framing::Chunked {
            chain,
            trailer: with_trailer,
        }),
        // Without signatures the trailer's checksum is all the integrity there is.
        PayloadMode::StreamingUnsignedTrailer if trailer.is_none() && !has_header_digest => {
            Err(PayloadError::ConflictingChecksums(
                "an unsigned streaming payload needs a checksum in x-amz-trailer",
            ))
        }
        PayloadMode::StreamingUnsignedTrailer => Ok(Framing::Chunked {
            chain: None,
            trailer: with_trailer,
        }),
    }
}

fn declared_length(headers: &HeaderMap, mode: PayloadMode, role: BodyRole) -> Result<u64, PayloadError> {
    let name = if mode.is_streaming() {
        DECODED_LENGTH
    } else {
        CONTENT_LENGTH.as_str()
    };
    match (single(headers, name, PayloadError::InvalidLength)?, role) {
        (Some(text), _) => parse_length(text).ok_or(PayloadError::InvalidLength),
        (None, BodyRole::Absent) => Ok(0),
        (None, BodyRole::Described | BodyRole::Document) => Err(PayloadError::MissingLength),
    }
}

fn parse_length(text: &[u8]) -> Option<u64> {
    // The standard parser would also take a leading plus.
    text.first().filter(|digit| digit.is_ascii_digit())?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, PayloadError> {
    let Some(text) = single(headers, "content-md5", PayloadError::InvalidContentMd5)? else {
        return Ok(None);
    };
    let digest = BASE64.decode(text).ok().and_then(|digest| digest.try_into().ok());
    digest.map(Some).ok_or(PayloadError::InvalidContentMd5)
}

struct Announced {
    header: Option<Value>,
    trailer: Option<Algorithm>,
}

fn announced_checksums(headers: &HeaderMap) -> Result<Announced, PayloadError> {
    let header = header_checksum(headers)?;
    let trailer = trailer_checksum(headers)?;
    if header.is_some() && trailer.is_some() {
        return Err(PayloadError::ConflictingChecksums(
            "expecting a single x-amz-checksum- header or trailer",
        ));
    }
    let used = header.map(|value| value.algorithm()).or(trailer);
    let conflict = PayloadError::ConflictingChecksums(
        "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer \
         headers were found",
    );
    if let Some(name) = single(headers, SDK_ALGORITHM, conflict)? {
        let named = known(
            Algorithm::from_name(std::str::from_utf8(name).map_err(|_| conflict)?),
            conflict,
        )?;
        if used != Some(named) {
            return Err(conflict);
        }
    }
    Ok(Announced { header, trailer })
}

fn header_checksum(headers: &HeaderMap) -> Result<Option<Value>, PayloadError> {
    let conflict = PayloadError::ConflictingChecksums("expecting a single x-amz-checksum- header");
    let unknown = PayloadError::ConflictingChecksums("an x-amz-checksum- header names no known algorithm");
    let mut found = None;
    // The iterator repeats the name of a repeated header, which is refused like two algorithms.
    for (name, text) in headers {
        let meaning = Algorithm::of_header(name.as_str());
        if meaning == HeaderMeaning::NotAValue {
            continue;
        }
        let algorithm = known(meaning, unknown)?;
        let value =
            Value::from_base64(algorithm, text.as_bytes()).ok_or(PayloadError::InvalidChecksum(algorithm))?;
        if found.replace(value).is_some() {
            return Err(conflict);
        }
    }
    Ok(found)
}

fn trailer_checksum(headers: &HeaderMap) -> Result<Option<Algorithm>, PayloadError> {
    let conflict = PayloadError::ConflictingChecksums("x-amz-trailer must name exactly one checksum");
    let Some(text) = single(headers, TRAILER, conflict)? else {
        return Ok(None);
    };
    let name = std::str::from_utf8(text)
        .map_err(|_| conflict)?
        .trim()
        .to_ascii_lowercase();
    known(Algorithm::of_header(&name), conflict).map(Some)
}

fn known(meaning: HeaderMeaning, otherwise: PayloadError) -> Result<Algorithm, PayloadError> {
    match meaning {
        HeaderMeaning::Value(algorithm) => Ok(algorithm),
        HeaderMeaning::NotAValue | HeaderMeaning::Unknown => Err(otherwise),
    }
}

/// The value of a header that may appear once; `repeated` if it appears more often.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &str,
    repeated: PayloadError,
) -> Result<Option<&'a [u8]>, PayloadError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(repeated),
        (value, None) => Ok(value.map(http::HeaderValue::as_bytes)),
    }
}
