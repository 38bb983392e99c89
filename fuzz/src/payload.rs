//! Bodies of uploads, in every payload mode, in pieces of any size.
//!
//! Input: mode, role and shape bytes, then either the bytes of a body, or a payload that is framed
//! and signed properly and then altered in one place.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use sceau_s3wire::checksum::{Algorithm, Hasher};
use sceau_s3wire::payload::{BodyRole, ChunkEncoder, PayloadError, PayloadPlan};
use sceau_s3wire::sigv4::{
    ChainSeed, Credentials, PayloadHash, Presented, RequestHead, SecretAccessKey, SignInput, Verified,
    VerifyRules, sign, verify,
};
use sceau_s3wire::target::RequestTarget;
use sha2::{Digest, Sha256};

use crate::input::{Input, Sequence};
use crate::memory::within;

const NOW: u64 = 1_369_353_600;
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Sha256, Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Sha1, Algorithm::Crc64Nvme];
const STREAMS: [PayloadHash; 4] = [
    PayloadHash::StreamingSigned,
    PayloadHash::StreamingSignedTrailer,
    PayloadHash::StreamingUnsignedTrailer,
    PayloadHash::Unsigned,
];

struct Signed {
    verified: Verified,
    seed: ChainSeed,
}

fn signed(payload: PayloadHash) -> Signed {
    let secret = SecretAccessKey::new("secret-of-the-fuzz-targets".to_owned());
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("s3.example.com"));
    let credentials = Credentials { access_key: "FUZZ", secret: &secret, session_token: None, cache: None };
    let seed = sign(SignInput {
        method: &Method::PUT,
        path: "/b/k",
        query: &[],
        headers: &mut headers,
        payload,
        credentials,
        region: "us-east-1",
        service: "s3",
        now: NOW,
    })
    .unwrap();
    let target = RequestTarget::parse(b"/b/k").unwrap();
    let Ok(Presented::Signed(presented)) = Presented::parse(&target, &headers) else {
        panic!("our own signature is not read");
    };
    let head = RequestHead { method: &Method::PUT, target: &target, headers: &headers };
    let verified = verify(&head, &presented, &secret, NOW, &VerifyRules::default());
    Signed { verified: verified.unwrap_or_else(|_| panic!("our own signature does not verify")), seed }
}

fn streams() -> &'static [Signed] {
    static STREAMS_SIGNED: OnceLock<Vec<Signed>> = OnceLock::new();
    STREAMS_SIGNED.get_or_init(|| STREAMS.iter().map(|mode| signed(*mode)).collect())
}

pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.below(5);
    let shape = input.u8();
    let algorithm = ALGORITHMS[input.below(5)];
    let chunk = 1 + usize::from(input.u8());
    let splits = input.u16();
    let alteration = Alteration { kind: input.u8(), at: input.u16(), byte: input.u8() };
    let length = input.u16();
    let data = input.rest();
    let is_raw = shape & 1 == 1;
    let own;
    let signed = match STREAMS.get(mode) {
        Some(_) => &streams()[mode],
        None => {
            own = self::signed(PayloadHash::Sha256(Sha256::digest(data).into()));
            &own
        }
    };
    let length = if is_raw { u64::from(length) } else { data.len() as u64 };
    let has_header = mode >= 3 || (mode == 2 && shape & 2 != 0);
    let headers = headers(mode, length, algorithm, has_header, data, shape);
    let role = [BodyRole::Described, BodyRole::Described, BodyRole::Document, BodyRole::Absent][usize::from(shape >> 6)];
    let plan = || PayloadPlan::for_body(&signed.verified, &headers, role);
    if plan().is_err() {
        return;
    }
    let (body, is_altered) = if is_raw {
        (data.to_vec(), true)
    } else {
        let whole = encode(mode, signed, chunk, algorithm, data, has_header);
        let altered = alteration.apply(&whole);
        let is_altered = altered != whole;
        (altered, is_altered)
    };
    let read = |pieces: Pieces| within(64 * 1024 + 8 * body.len(), || read(plan().unwrap(), &body, pieces));
    let whole = read(Pieces::Whole);
    for pieces in [Pieces::Single, Pieces::Random(splits), Pieces::Undrained(splits)] {
        let other = read(pieces);
        assert_eq!(whole, other, "the verdict depends on how the body is cut");
    }
    let is_strong = mode == 0 || mode == 1 || mode == 4 || matches!(algorithm, Algorithm::Sha256 | Algorithm::Sha1);
    match whole {
        Ok((payload, length)) => {
            assert_eq!(payload.len() as u64, length);
            if !is_raw && is_strong && role == BodyRole::Described {
                assert!(payload == data, "an altered payload was accepted");
            }
        }
        Err(error) => assert!(is_altered, "an honest body was refused: {error:?}"),
    }
}

fn headers(mode: usize, length: u64, algorithm: Algorithm, has_header: bool, data: &[u8], shape: u8) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let name = if mode < 3 { "x-amz-decoded-content-length" } else { "content-length" };
    headers.insert(name, HeaderValue::from(length));
    if has_header {
        let value = Hasher::of(algorithm, data).to_base64();
        headers.insert(HeaderName::from_static(algorithm.header_name()), value.parse().unwrap());
    } else if mode == 1 || mode == 2 {
        headers.insert("x-amz-trailer", HeaderValue::from_static(algorithm.header_name()));
    }
    if shape & 4 != 0 {
        headers.insert("x-amz-sdk-checksum-algorithm", HeaderValue::from_static(algorithm.name()));
    }
    if shape & 8 != 0 {
        headers.insert("content-md5", sceau_s3wire::checksum::md5_base64(data).parse().unwrap());
    }
    headers
}

fn encode(mode: usize, signed: &Signed, chunk: usize, algorithm: Algorithm, data: &[u8], has_header: bool) -> Vec<u8> {
    let mut encoder = match mode {
        0 => ChunkEncoder::signed(signed.seed.clone()),
        1 => ChunkEncoder::signed_with_trailer(signed.seed.clone()),
        2 => ChunkEncoder::unsigned_with_trailer(),
        _ => return data.to_vec(),
    };
    let mut body = Vec::new();
    for piece in data.chunks(chunk) {
        body.extend(encoder.chunk(Bytes::copy_from_slice(piece)).unwrap().concat());
    }
    let checksum = (mode != 0 && !has_header).then(|| Hasher::of(algorithm, data));
    body.extend(encoder.finish(checksum));
    body
}

/// One change of a body.
struct Alteration {
    kind: u8,
    at: u16,
    byte: u8,
}

impl Alteration {
    fn apply(&self, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        let at = usize::from(self.at) % (body.len() + 1);
        match self.kind % 6 {
            1 if at < body.len() => body[at] ^= self.byte,
            2 if at < body.len() => drop(body.remove(at)),
            3 => body.insert(at, self.byte),
            4 => body.truncate(at),
            5 => {
                let from = at.saturating_sub(usize::from(self.byte));
                let again = body[from..at].to_vec();
                body.splice(at..at, again);
            }
            _ => {}
        }
        body
    }
}

#[derive(Clone, Copy)]
enum Pieces {
    Whole,
    Single,
    Random(u16),
    /// Random pieces, of which several are pushed before anything is taken.
    Undrained(u16),
}

fn read(plan: PayloadPlan, body: &[u8], pieces: Pieces) -> Result<(Vec<u8>, u64), PayloadError> {
    let mut reader = plan.into_reader();
    let mut payload = Vec::new();
    let mut sequence = match pieces {
        Pieces::Random(seed) | Pieces::Undrained(seed) => Sequence(u64::from(seed)),
        Pieces::Whole | Pieces::Single => Sequence(0),
    };
    let mut rest = body;
    while !rest.is_empty() {
        let length = match pieces {
            Pieces::Whole => rest.len(),
            Pieces::Single => 1,
            Pieces::Random(_) | Pieces::Undrained(_) => 1 + sequence.below(90),
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        reader.push(Bytes::copy_from_slice(piece));
        if matches!(pieces, Pieces::Undrained(_)) && sequence.below(3) > 0 && !rest.is_empty() {
            continue;
        }
        loop {
            match reader.next() {
                Ok(Some(piece)) => {
                    assert!(!piece.is_empty());
                    payload.extend_from_slice(&piece);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(), Err(error), "an error is not kept");
                    assert_eq!(reader.finish().err(), Some(error), "an error is forgotten at the end");
                    return Err(error);
                }
            }
        }
    }
    assert!(payload.len() <= body.len());
    let verified = reader.finish()?;
    Ok((payload, verified.length()))
}
