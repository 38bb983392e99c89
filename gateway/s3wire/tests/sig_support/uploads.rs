//! Uploads in every payload mode, and a way to read them in pieces.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use sceau_s3wire::checksum::{Algorithm, Hasher};
use sceau_s3wire::payload::{BodyRole, ChunkEncoder, PayloadError, PayloadPlan, VerifiedPayload};
use sceau_s3wire::sigv4::{ChainSeed, Credentials, PayloadHash, SignInput, sign};

use super::*;

pub const CRC32C: (&str, &str) = ("x-amz-trailer", "x-amz-checksum-crc32c");

pub struct Upload {
    pub headers: HeaderMap,
    pub seed: ChainSeed,
}

pub fn upload(payload: PayloadHash, length: usize, extra: &[(&str, &str)]) -> Upload {
    let mut map = headers(&[("host", "s3.amazonaws.com")]);
    map.extend(headers(extra));
    let name = match payload {
        PayloadHash::Empty | PayloadHash::Sha256(_) | PayloadHash::Unsigned => "content-length",
        PayloadHash::StreamingSigned
        | PayloadHash::StreamingSignedTrailer
        | PayloadHash::StreamingUnsignedTrailer => "x-amz-decoded-content-length",
    };
    map.insert(name, HeaderValue::from(length));
    let seed = sign(SignInput {
        method: &Method::PUT,
        path: "/b/k",
        query: &[],
        headers: &mut map,
        payload,
        credentials: Credentials {
            access_key: ACCESS_KEY,
            secret: &secret(),
            session_token: None,
            cache: None,
        },
        region: REGION,
        service: "s3",
        now: NOW,
    })
    .unwrap();
    Upload { headers: map, seed }
}

impl Upload {
    pub fn plan_for(&self, role: BodyRole) -> Result<PayloadPlan, PayloadError> {
        let verified = check("PUT", "/b/k", &self.headers).expect("the signer's requests verify");
        PayloadPlan::for_body(&verified, &self.headers, role)
    }

    pub fn plan(&self) -> Result<PayloadPlan, PayloadError> {
        self.plan_for(BodyRole::Described)
    }

    pub fn refused(&self) -> PayloadError {
        self.plan().err().expect("the plan must be refused")
    }

    pub fn read(&self, body: &[u8], piece: usize) -> Result<(Vec<u8>, VerifiedPayload), PayloadError> {
        read(self.plan()?, body.chunks(piece.max(1)))
    }
}

pub fn read<'a>(
    plan: PayloadPlan,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, VerifiedPayload), PayloadError> {
    let mut reader = plan.into_reader();
    let mut payload = Vec::new();
    for piece in pieces {
        reader.push(Bytes::copy_from_slice(piece));
        while let Some(piece) = reader.next()? {
            assert!(!piece.is_empty());
            payload.extend_from_slice(&piece);
        }
    }
    Ok((payload, reader.finish()?))
}

pub fn encode(mut encoder: ChunkEncoder, data: &[u8], chunk: usize, algorithm: Option<Algorithm>) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in data.chunks(chunk) {
        body.extend(encoder.chunk(Bytes::copy_from_slice(piece)).unwrap().concat());
    }
    body.extend(encoder.finish(algorithm.map(|algorithm| Hasher::of(algorithm, data))));
    body
}

pub fn unsigned_trailer(length: usize) -> Upload {
    upload(
        PayloadHash::StreamingUnsignedTrailer,
        length,
        &[("x-amz-trailer", "x-amz-checksum-crc32")],
    )
}
