//! Promise: a payload is accepted only whole, in its framing, with every announced digest right.
//! How: S3's documented chunked examples, one test per kind of damage, and arbitrary split points.
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
use http::HeaderMap;
use sceau_s3wire::checksum::{Algorithm, Hasher};
use sceau_s3wire::error::ErrorCode;
use sceau_s3wire::payload::{BodyRole, ChecksumOrigin, ChunkEncoder, PayloadError, PayloadPlan};
use sceau_s3wire::sigv4::PayloadHash;
use sha2::{Digest, Sha256};
use sig_support::uploads::{CRC32C, encode, read, unsigned_trailer, upload};
use sig_support::*;

fn code(error: PayloadError) -> ErrorCode {
    error.code()
}

/// The example "chunked upload" of S3's documentation: headers, chunk signatures and body.
#[test]
fn the_documented_chunked_upload_is_read() {
    let names = "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
                 x-amz-decoded-content-length;x-amz-storage-class";
    let map = headers(&[
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", DATE),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
        (
            "authorization",
            &authorization(
                names,
                "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            ),
        ),
    ]);
    let data = [b'a'; 66_560];
    let body = [
        b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n",
        &data[..65_536],
        b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
        &data[..1024],
        b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
    ]
    .concat();
    assert_eq!(body.len(), 66_824);
    for piece in [body.len(), 1, 7, 65_536] {
        let verified = check("PUT", "/examplebucket/chunkObject.txt", &map).unwrap();
        let plan = PayloadPlan::from(&verified, &map).unwrap();
        assert!(plan.is_chunked());
        assert_eq!(plan.decoded_length(), 66_560);
        let (payload, verdict) = read(plan, body.chunks(piece)).unwrap();
        assert_eq!(payload, data);
        assert_eq!(verdict.length(), 66_560);
        assert_eq!(verdict.checksums(), []);
    }
}

/// The example "trailing header" of S3's documentation, in both layouts of its trailer.
#[test]
fn the_documented_trailer_upload_is_read() {
    let names = "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                 x-amz-storage-class;x-amz-trailer";
    let map = headers(&[
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", DATE),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        (
            "x-amz-content-sha256",
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        ),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        CRC32C,
        (
            "authorization",
            &authorization(
                names,
                "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
            ),
        ),
    ]);
    let data = [b'a'; 66_560];
    let front = [
        b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n",
        &data[..65_536],
        b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n",
        &data[..1024],
        b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n",
    ]
    .concat();
    let signature =
        "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435";
    for trailer in [
        format!("x-amz-checksum-crc32c:sOO8/Q==\r\n{signature}\r\n\r\n"),
        format!("x-amz-checksum-crc32c:sOO8/Q==\n\r\n{signature}\r\n\r\n"),
    ] {
        let body = [front.as_slice(), trailer.as_bytes()].concat();
        let verified = check("PUT", "/examplebucket/chunkObject.txt", &map).unwrap();
        let plan = PayloadPlan::from(&verified, &map).unwrap();
        let (payload, verdict) = read(plan, body.chunks(1000)).unwrap();
        assert_eq!(payload, data);
        let checksum = verdict.checksum(Algorithm::Crc32c).unwrap();
        assert_eq!(
            (checksum.origin, checksum.value.to_base64().as_str()),
            (ChecksumOrigin::Trailer, "sOO8/Q==")
        );
    }
}

#[test]
fn plain_bodies_are_checked_against_everything_announced() {
    let data = b"Welcome to Amazon S3.";
    let sha: [u8; 32] = Sha256::digest(data).into();
    let md5 = data_encoding::BASE64.encode(&md5::Md5::digest(data));
    let crc = Hasher::of(Algorithm::Crc64Nvme, data).to_base64();
    let extra = [
        ("content-md5", md5.as_str()),
        ("x-amz-checksum-crc64nvme", &crc),
        ("x-amz-sdk-checksum-algorithm", "CRC64NVME"),
    ];
    let whole = upload(PayloadHash::Sha256(sha), data.len(), &extra);
    assert_eq!(
        whole.plan().unwrap().client_algorithm(),
        Some(Algorithm::Crc64Nvme)
    );
    let (payload, verdict) = whole.read(data, 5).unwrap();
    assert_eq!(payload, data);
    assert_eq!(verdict.checksums()[0].origin, ChecksumOrigin::Header);
    let wrong = b"Welcome to Amazon S4.";
    assert_eq!(
        whole.read(wrong, 5).unwrap_err(),
        PayloadError::ContentSha256Mismatch
    );
    let by_md5 = upload(PayloadHash::Unsigned, data.len(), &extra[..1]);
    assert_eq!(code(by_md5.read(wrong, 5).unwrap_err()), ErrorCode::BadDigest);
    let by_crc = upload(PayloadHash::Unsigned, data.len(), &extra[1..]);
    assert_eq!(
        by_crc.read(wrong, 5).unwrap_err(),
        PayloadError::ChecksumMismatch(Algorithm::Crc64Nvme)
    );
    for body in [&data[..20], b"Welcome to Amazon S3. ", b""] {
        assert_eq!(code(whole.read(body, 7).unwrap_err()), ErrorCode::IncompleteBody);
    }
}

#[test]
fn the_hash_of_nothing_does_not_cover_something() {
    let empty = upload(PayloadHash::Empty, 1, &[]);
    assert_eq!(
        empty.read(b"x", 1).unwrap_err(),
        PayloadError::ContentSha256Mismatch
    );
    assert_eq!(
        upload(PayloadHash::Empty, 0, &[])
            .read(b"", 1)
            .unwrap()
            .1
            .length(),
        0
    );
}

#[test]
fn a_checksum_can_be_computed_that_nobody_sent() {
    let one = upload(PayloadHash::Unsigned, 3, &[]);
    let plan = one
        .plan()
        .unwrap()
        .compute_also(Algorithm::Crc64Nvme)
        .compute_also(Algorithm::Crc64Nvme);
    let (_, verdict) = read(plan, [b"abc".as_slice()].into_iter()).unwrap();
    assert_eq!(verdict.checksums().len(), 1);
    assert_eq!(verdict.checksums()[0].origin, ChecksumOrigin::Computed);
    assert_eq!(
        verdict.checksums()[0].value,
        Hasher::of(Algorithm::Crc64Nvme, b"abc")
    );
}

#[test]
fn contradictions_between_headers_are_refused_at_once() {
    let crc = ("x-amz-checksum-crc32", "AAAAAA==");
    let sha1 = ("x-amz-checksum-sha1", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let sdk = |name| ("x-amz-sdk-checksum-algorithm", name);
    for (extra, expected) in [
        (vec![crc, sha1], ErrorCode::InvalidRequest),
        (vec![crc, crc], ErrorCode::InvalidRequest),
        (vec![crc, CRC32C], ErrorCode::InvalidRequest),
        (vec![CRC32C], ErrorCode::InvalidRequest),
        (vec![crc, sdk("SHA1")], ErrorCode::InvalidRequest),
        (vec![sdk("CRC32")], ErrorCode::InvalidRequest),
        (vec![("x-amz-checksum-crc32", "AAAA")], ErrorCode::InvalidRequest),
        (vec![("x-amz-checksum-blake3", "AAAA")], ErrorCode::InvalidRequest),
        (vec![("x-amz-checksum-sha512", "AAAA")], ErrorCode::InvalidRequest),
        (
            vec![("x-amz-checksum-xxhash3", "AAAAAA==")],
            ErrorCode::InvalidRequest,
        ),
        (vec![crc, sdk("XXHASH3")], ErrorCode::InvalidRequest),
        (vec![("content-md5", "AAAA")], ErrorCode::InvalidDigest),
        (vec![("content-md5", "")], ErrorCode::InvalidDigest),
    ] {
        assert_eq!(
            code(upload(PayloadHash::Unsigned, 0, &extra).refused()),
            expected,
            "{extra:?}"
        );
    }
    assert!(
        upload(
            PayloadHash::Unsigned,
            0,
            &[crc, sdk("crc32"), ("x-amz-checksum-mode", "ENABLED")]
        )
        .plan()
        .is_ok()
    );
    // At Complete the checksum is the object's, not the document's.
    assert!(
        upload(PayloadHash::Unsigned, 0, &[crc])
            .plan_for(BodyRole::Document)
            .unwrap()
            .client_algorithm()
            .is_none()
    );
}

#[test]
fn trailers_are_announced_one_by_one_and_in_trailer_modes_only() {
    for (mode, trailer, expected) in [
        (
            PayloadHash::StreamingSigned,
            "x-amz-checksum-crc32",
            ErrorCode::InvalidRequest,
        ),
        (
            PayloadHash::StreamingUnsignedTrailer,
            "x-amz-meta-a",
            ErrorCode::InvalidRequest,
        ),
        (
            PayloadHash::StreamingUnsignedTrailer,
            "x-amz-checksum-crc32,x-amz-checksum-sha1",
            ErrorCode::InvalidRequest,
        ),
        (
            PayloadHash::StreamingUnsignedTrailer,
            "x-amz-checksum-blake3",
            ErrorCode::InvalidRequest,
        ),
        (
            PayloadHash::StreamingSignedTrailer,
            "x-amz-checksum-type",
            ErrorCode::InvalidRequest,
        ),
    ] {
        assert_eq!(
            code(upload(mode, 0, &[("x-amz-trailer", trailer)]).refused()),
            expected,
            "{trailer}"
        );
    }
    // Trap: an unsigned streaming body without a checksum would have no integrity at all.
    assert_eq!(
        code(upload(PayloadHash::StreamingUnsignedTrailer, 0, &[]).refused()),
        ErrorCode::InvalidRequest
    );
}

#[test]
fn the_length_must_be_declared_as_a_number() {
    for mode in [PayloadHash::Unsigned, PayloadHash::StreamingSigned] {
        let name = if mode == PayloadHash::Unsigned {
            "content-length"
        } else {
            "x-amz-decoded-content-length"
        };
        let verified = check("PUT", "/b/k", &upload(mode, 0, &[]).headers).unwrap();
        let plan = |map: &HeaderMap, role| {
            PayloadPlan::for_body(&verified, map, role).map(|plan| plan.decoded_length())
        };
        let none = HeaderMap::new();
        assert_eq!(plan(&none, BodyRole::Described), Err(PayloadError::MissingLength));
        assert_eq!(plan(&none, BodyRole::Document), Err(PayloadError::MissingLength));
        assert_eq!(plan(&none, BodyRole::Absent), Ok(0));
        for text in ["", "+1", "-1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(
                plan(&headers(&[(name, text)]), BodyRole::Described),
                Err(PayloadError::InvalidLength),
                "{text:?}"
            );
        }
        // Trap: lengths beyond 32 bits.
        assert_eq!(
            plan(&headers(&[(name, "5497558138880")]), BodyRole::Described),
            Ok(5_497_558_138_880)
        );
        assert!(plan(&headers(&[(name, "1"), (name, "1")]), BodyRole::Described).is_err());
    }
}

/// Traps: a missing final chunk, missing or foreign trailers, wrong lengths, broken line ends.
#[test]
fn broken_framing_is_refused_however_it_is_split() {
    use ErrorCode::{BadDigest, IncompleteBody, InvalidRequest, MalformedTrailer};
    let crc = Hasher::of(Algorithm::Crc32, b"hello").to_base64();
    let good = format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n");
    let long_line = format!("{}5\r\nhello\r\n", "0".repeat(1025));
    let long_trailer = format!("5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{}", " ".repeat(17_000));
    let fields = |text: &str| good.replace("\r\n\r\n", &format!("\r\n{text}\r\n\r\n"));
    let cases = [
        (String::new(), IncompleteBody),
        ("5\r\nhello\r\n".into(), IncompleteBody),
        ("5\r\nhello".into(), IncompleteBody),
        ("5\r\nhel".into(), IncompleteBody),
        ("5\r\nhello\r\n0\r\n".into(), IncompleteBody),
        (good.trim_end().into(), IncompleteBody),
        (good[..good.len() - 2].into(), IncompleteBody),
        (format!("{good}\r"), IncompleteBody),
        ("5\r\nhello\r\n0\r\n\r\n".into(), MalformedTrailer),
        ("4\r\nhell\r\n0\r\n\r\n".into(), IncompleteBody),
        ("6\r\nhello!\r\n0\r\n\r\n".into(), IncompleteBody),
        ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n".into(), IncompleteBody),
        ("ffffffffffffffff\r\nhello".into(), IncompleteBody),
        ("10000000000000005\r\nhello".into(), InvalidRequest),
        ("5\nhello\r\n".into(), InvalidRequest),
        ("5\r\nhello\n0\r\n".into(), InvalidRequest),
        ("5\r\nhello0\r\n".into(), InvalidRequest),
        ("-5\r\nhello\r\n".into(), InvalidRequest),
        ("+5\r\nhello\r\n".into(), InvalidRequest),
        ("\r\nhello\r\n".into(), InvalidRequest),
        ("5 \r\nhello\r\n".into(), InvalidRequest),
        ("0x5\r\nhello\r\n".into(), InvalidRequest),
        ("5;chunk-signature=00\r\nhello\r\n".into(), InvalidRequest),
        (long_line, InvalidRequest),
        (long_trailer, MalformedTrailer),
        (format!("{good}GET / HTTP/1.1\r\n"), MalformedTrailer),
        (format!("{good}\r\n\r\n"), MalformedTrailer),
        (
            fields("x-amz-checksum-sha1:qvTGHdzF6KLavt4PO0gs2a6pQ00="),
            MalformedTrailer,
        ),
        (fields("x-amz-meta-a:b"), MalformedTrailer),
        (
            fields(&format!("x-amz-trailer-signature:{}", "0".repeat(64))),
            MalformedTrailer,
        ),
        (fields(&format!("x-amz-checksum-crc32:{crc}")), MalformedTrailer),
        (good.replace(&crc, "AAAAAA=="), BadDigest),
        (good.replace(&crc, "AAAA"), InvalidRequest),
        (good.replace(&crc, ""), InvalidRequest),
        (good.replace("hello", "jello"), BadDigest),
    ];
    for (body, expected) in cases {
        for piece in [body.len(), 1, 3] {
            let error = unsigned_trailer(5)
                .read(body.as_bytes(), piece)
                .map(drop)
                .unwrap_err();
            assert_eq!(
                error.code(),
                expected,
                "{piece} {error:?} {:?}",
                body.get(..60).unwrap_or(&body)
            );
        }
    }
    for body in [
        good.clone(),
        format!("{good}\r\n"),
        good.replace("\r\n\r\n", "\n\n"),
        good.replace("x-amz-c", "X-Amz-C"),
    ] {
        assert_eq!(
            unsigned_trailer(5).read(body.as_bytes(), 2).unwrap().0,
            b"hello",
            "{body:?}"
        );
    }
}

#[test]
fn signed_chunks_cannot_be_changed_reordered_dropped_or_forged() {
    let data: Vec<u8> = (0..100).collect();
    let up = upload(PayloadHash::StreamingSigned, 100, &[]);
    let body = encode(ChunkEncoder::signed(up.seed.clone()), &data, 40, None);
    assert_eq!(up.read(&body, 9).unwrap().0, data);
    let line = b"28;chunk-signature=".len() + 64 + 2;
    let chunk = line + 40 + 2;
    let mut changed = body.clone();
    changed[line] ^= 1;
    let swapped = [&body[chunk..2 * chunk], &body[..chunk], &body[2 * chunk..]].concat();
    let mut forged = body.clone();
    forged[line - 3] = if forged[line - 3] == b'0' { b'1' } else { b'0' };
    for (body, what) in [(changed, "changed"), (swapped, "swapped"), (forged, "forged")] {
        let error = up.read(&body, 11).unwrap_err();
        assert_eq!(
            (error, error.code()),
            (
                PayloadError::ChunkSignatureMismatch,
                ErrorCode::SignatureDoesNotMatch
            ),
            "{what}"
        );
    }
    // A body that ends early stays incomplete, even where all declared bytes have come.
    for cut in 1..(line - 17) {
        assert!(up.read(&body[..body.len() - cut], 50).is_err(), "{cut}");
    }
    assert_eq!(
        up.read(&[body.as_slice(), b"x"].concat(), 50).unwrap_err().code(),
        ErrorCode::InvalidRequest
    );
    // Another request's chunks do not fit: the chain starts at the request's own signature.
    let other = upload(PayloadHash::StreamingSigned, 100, &[("x-amz-meta-a", "b")]);
    assert_eq!(
        other.read(&body, 50).unwrap_err(),
        PayloadError::ChunkSignatureMismatch
    );
    let unsigned = b"64\r\n".to_vec();
    assert_eq!(
        up.read(&unsigned, 50).unwrap_err().code(),
        ErrorCode::InvalidRequest
    );
}

#[test]
fn a_signed_trailer_needs_its_signature() {
    let up = upload(PayloadHash::StreamingSignedTrailer, 5, &[CRC32C]);
    let body = encode(
        ChunkEncoder::signed_with_trailer(up.seed.clone()),
        b"hello",
        5,
        Some(Algorithm::Crc32c),
    );
    let text = String::from_utf8(body).unwrap();
    assert!(up.read(text.as_bytes(), 3).is_ok());
    let (front, signature) = text.split_once("x-amz-trailer-signature:").unwrap();
    let without = format!("{front}\r\n");
    let wrong = format!("{front}x-amz-trailer-signature:{}\r\n\r\n", "0".repeat(64));
    let short = format!("{front}x-amz-trailer-signature:00\r\n\r\n");
    let value = Hasher::of(Algorithm::Crc32c, b"hello").to_base64();
    let changed = text.replace(&value, "AAAAAA==");
    let after = text.replace("\r\n\r\n", &format!("\r\nx-amz-checksum-crc32c:{value}\r\n\r\n"));
    let alone = format!(
        "{}x-amz-trailer-signature:{signature}",
        front.split("x-amz-checksum").next().unwrap()
    );
    for (body, expected) in [
        (without, ErrorCode::IncompleteBody),
        (wrong, ErrorCode::SignatureDoesNotMatch),
        (short, ErrorCode::SignatureDoesNotMatch),
        (changed, ErrorCode::SignatureDoesNotMatch),
        (after, ErrorCode::MalformedTrailer),
        (alone, ErrorCode::MalformedTrailer),
    ] {
        assert_eq!(
            up.read(body.as_bytes(), 10).unwrap_err().code(),
            expected,
            "{body}"
        );
    }
}

#[test]
fn an_error_is_final() {
    let mut reader = unsigned_trailer(5).plan().unwrap().into_reader();
    reader.push(Bytes::from_static(b"zz\r\n"));
    let error = reader.next().unwrap_err();
    reader.push(Bytes::from_static(b"5\r\nhello"));
    assert_eq!(reader.next().unwrap_err(), error);
    assert_eq!(reader.finish().unwrap_err(), error);
}

#[test]
fn payload_that_was_not_taken_is_not_accepted() {
    let mut reader = upload(PayloadHash::Unsigned, 5, &[])
        .plan()
        .unwrap()
        .into_reader();
    reader.push(Bytes::from_static(b"hello"));
    assert_eq!(reader.finish().unwrap_err(), PayloadError::Incomplete);
}

#[test]
fn payload_slices_share_the_pushed_memory() {
    let body = Bytes::from_static(b"5\r\nhello\r\n0\r\n");
    let mut reader = unsigned_trailer(5).plan().unwrap().into_reader();
    reader.push(body.clone());
    let piece = reader.next().unwrap().unwrap();
    assert_eq!(piece.as_ptr(), body[3..].as_ptr());
}
