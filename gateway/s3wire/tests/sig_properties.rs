//! Promise: what holds for the examples holds for any key, query, body, damage and split point.
//! How: property tests over the signer, the verifier, the encoder and the reader.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

mod sig_support;

use bytes::Bytes;
use http::{HeaderValue, Method};
use proptest::prelude::*;
use sceau_s3wire::checksum::Algorithm;
use sceau_s3wire::payload::ChunkEncoder;
use sceau_s3wire::sigv4::{
    Credentials, EMPTY_SHA256_HEX, PayloadHash, Presented, PresignInput, SignInput, presign, sign,
};
use sceau_s3wire::target::{QueryPair, RequestTarget, encode_path};
use sig_support::requests::HOST;
use sig_support::uploads::{CRC32C, encode, read, unsigned_trailer, upload};
use sig_support::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// What the signer signs, the verifier accepts, in both forms, for any key and query; and
    /// another key or method is refused.
    #[test]
    fn what_is_signed_verifies(
        key in prop_oneof![any::<String>(), "[a-z/.+%~ é€*'()!&=?#-]{1,40}"],
        query in prop::collection::vec((any::<String>(), any::<String>()), 0..4),
    ) {
        let query: Vec<QueryPair> = query
            .into_iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, value)| QueryPair { name, value })
            .collect();
        let path = encode_path(&format!("/bucket/{key}"));
        let mut map = headers(&[("host", HOST)]);
        let secret = secret();
        let credentials = Credentials { access_key: ACCESS_KEY, secret: &secret, session_token: None, cache: None };
        let url = presign(&PresignInput {
            method: &Method::PUT, path: &path, query: &query, headers: &map, credentials, region: REGION,
            expires_seconds: 60, now: NOW,
        }).unwrap();
        let target = format!("{path}?{url}");
        prop_assert!(check("PUT", &target, &map).is_ok());
        prop_assert!(check("GET", &target, &map).is_err());
        sign(SignInput {
            method: &Method::PUT, path: &path, query: &query, headers: &mut map, payload: PayloadHash::Unsigned,
            credentials, region: REGION, service: "s3", now: NOW,
        }).unwrap();
        let encode = sceau_s3wire::target::encode_component;
        let sent: Vec<String> =
            query.iter().map(|pair| format!("{}={}", encode(&pair.name), encode(&pair.value))).collect();
        let sent = sent.join("&");
        let (target, other) = (format!("{path}?{sent}"), format!("{path}x?{sent}"));
        prop_assert!(check("PUT", &target, &map).is_ok());
        prop_assert!(check("PUT", &other, &map).is_err());
    }

    /// No input makes the parsers panic.
    #[test]
    fn any_header_is_handled(value in any::<Vec<u8>>(), target in "/[ -~]{0,60}") {
        let mut map = headers(&[("host", HOST), ("x-amz-date", DATE), ("x-amz-content-sha256", EMPTY_SHA256_HEX)]);
        let text = [b"AWS4-HMAC-SHA256 ".as_slice(), &value].concat();
        if let (Ok(value), Ok(target)) = (HeaderValue::from_bytes(&text), RequestTarget::parse(target.as_bytes())) {
            map.insert("authorization", value);
            prop_assert!(Presented::parse(&target, &map).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// However a body is cut on its way, the payload and the verdict are the same.
    #[test]
    fn split_points_do_not_matter(
        data in prop::collection::vec(any::<u8>(), 0..3000),
        chunk in 1_usize..700,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        mode in 0_u8..3,
    ) {
        let trailer = [CRC32C];
        let (payload, extra) = match mode {
            0 => (PayloadHash::StreamingSigned, &trailer[..0]),
            1 => (PayloadHash::StreamingSignedTrailer, &trailer[..]),
            _ => (PayloadHash::StreamingUnsignedTrailer, &trailer[..]),
        };
        let up = upload(payload, data.len(), extra);
        let (encoder, algorithm) = match mode {
            0 => (ChunkEncoder::signed(up.seed.clone()), None),
            1 => (ChunkEncoder::signed_with_trailer(up.seed.clone()), Some(Algorithm::Crc32c)),
            _ => (ChunkEncoder::unsigned_with_trailer(), Some(Algorithm::Crc32c)),
        };
        let body = encode(encoder, &data, chunk, algorithm);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]);
        prop_assert_eq!(read(up.plan().unwrap(), pieces).unwrap().0, data.clone());
        prop_assert_eq!(up.read(&body, 1).unwrap().0, data);
    }

    /// Any change of one byte of a signed body is refused.
    #[test]
    fn no_byte_of_a_signed_body_can_be_changed(at in any::<prop::sample::Index>(), flip in 1_u8..=255) {
        let data = [7_u8; 50];
        let up = upload(PayloadHash::StreamingSignedTrailer, 50, &[CRC32C]);
        let mut body = encode(ChunkEncoder::signed_with_trailer(up.seed.clone()), &data, 20, Some(Algorithm::Crc32c));
        let at = at.index(body.len());
        let before = body[at];
        body[at] ^= flip;
        // The case of a size digit or of a trailer's name, and a line end of the trailer, have two spellings.
        let same_meaning = before.eq_ignore_ascii_case(&body[at]) || before == b'\r';
        let outcome = up.read(&body, 13);
        prop_assert!(same_meaning || outcome.is_err(), "{}: {} became {}", at, before, body[at]);
        if let Ok((payload, _)) = outcome {
            prop_assert_eq!(payload, data);
        }
    }

    /// Garbage never panics and never yields more than was declared.
    #[test]
    fn garbage_is_bounded(body in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'5'), Just(b'0'), Just(b';'), any::<u8>()], 0..200), piece in 1_usize..50) {
        let mut reader = unsigned_trailer(5).plan().unwrap().into_reader();
        let mut taken = 0;
        'pieces: for piece in body.chunks(piece) {
            reader.push(Bytes::copy_from_slice(piece));
            loop {
                match reader.next() {
                    Ok(Some(bytes)) => taken += bytes.len(),
                    Ok(None) => break,
                    Err(_) => break 'pieces,
                }
            }
        }
        prop_assert!(taken <= 5);
        drop(reader.finish());
    }
}
