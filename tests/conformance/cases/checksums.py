"""Checksums in headers and in trailers: kept, verified, refused."""

import base64
import hashlib
import zlib

from harness.differential import Side, add, case
from harness.raw import UNSIGNED_TRAILER, STREAMING, frames, md5

from .bodies import BODY


def crc(data, polynomial, bits):
    """A reflected CRC, bit by bit."""
    mask = (1 << bits) - 1
    value = mask
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
    return base64.b64encode((value ^ mask).to_bytes(bits // 8, "big")).decode()


SMALL = b"123456789"
ALGORITHMS = {
    "crc32": lambda data: base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
    "crc32c": lambda data: crc(data, 0x82F63B78, 32),
    "crc64nvme": lambda data: crc(data, 0x9A6C9329AC4BC9B5, 64),
    "sha1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),
    "sha256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
}


def header(name, value, says=200):
    def tell(side):
        shows = {"x-amz-checksum-type": "FULL_OBJECT"} if says == 200 else None
        side("put", "PUT", "k", headers={f"x-amz-checksum-{name}": value}, body=SMALL, says=says, shows=shows)
        side("get", "GET", "k", gives=SMALL if says == 200 else None, says=200 if says == 200 else "NoSuchKey")

    return tell


def shown(name, value):
    def tell(side):
        field = f"x-amz-checksum-{name}"
        side("put", "PUT", "k", headers={field: value}, body=SMALL, shows={field: value, "x-amz-checksum-type": "FULL_OBJECT"})
        side("get", "GET", "k", headers={"x-amz-checksum-mode": "ENABLED"}, shows={field: value, "x-amz-checksum-type": "FULL_OBJECT"})
        side("head", "HEAD", "k", headers={"x-amz-checksum-mode": "ENABLED"}, shows={field: value, "x-amz-checksum-type": "FULL_OBJECT"})
        side("not asked", "HEAD", "k", shows={field: None})
        side("range", "GET", "k", headers={"x-amz-checksum-mode": "ENABLED", "range": "bytes=1-2"}, says=206, gives=SMALL[1:3])

    return tell


def trailer(side, step, name, value, says, body=SMALL, announced=None, decoded=None):
    """A PUT whose checksum comes behind the data."""
    data = frames([body]) + b"0\r\n" + (f"x-amz-checksum-{name}:{value}\r\n".encode() if value else b"") + b"\r\n"
    headers = {
        "content-encoding": "aws-chunked",
        "x-amz-decoded-content-length": str(len(body) if decoded is None else decoded),
        "x-amz-trailer": announced or f"x-amz-checksum-{name}",
    }
    shows = {f"x-amz-checksum-{name}": value, "x-amz-checksum-type": "FULL_OBJECT"} if says == 200 else None
    side(step, "PUT", "k", headers=headers, body=data, payload=UNSIGNED_TRAILER, says=says, shows=shows)


def trailed(name, value, says=200, **more):
    def tell(side):
        trailer(side, "put", name, value, says, **more)
        shows = {"content-encoding": None} if says == 200 else None
        side("get", "GET", "k", gives=SMALL if says == 200 else None, says=200 if says == 200 else "NoSuchKey", shows=shows)

    return tell


for name, digest in ALGORITHMS.items():
    right, wrong = digest(SMALL), digest(b"something else")
    add("checksums", f"{name} header", header(name, right))
    add("checksums", f"{name} header of other bytes", header(name, wrong, "BadDigest"))
    add("checksums", f"{name} header cut", header(name, right[:4], "InvalidRequest"))
    add("checksums", f"{name} is shown again", shown(name, right))
    add("checksums", f"{name} trailer", trailed(name, right))
    add("checksums", f"{name} trailer of other bytes", trailed(name, wrong, "BadDigest"))

add("checksums", "trailer announced and not sent", trailed("crc32", "", "MalformedTrailerError"))
add("checksums", "decoded length too long", trailed("crc32", ALGORITHMS["crc32"](SMALL), "IncompleteBody", decoded=10))
add("checksums", "header of no algorithm", header("none", "AAAAAA==", "InvalidRequest"))


@case("checksums")
def two_headers(side):
    headers = {f"x-amz-checksum-{name}": ALGORITHMS[name](SMALL) for name in ("crc32", "sha256")}
    side("put", "PUT", "k", headers=headers, body=SMALL, says="InvalidRequest")


@case("checksums")
def of_nothing(side):
    shows = {"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT"}
    side("put", "PUT", "k", headers={"x-amz-checksum-crc32": "AAAAAA=="}, shows=shows)
    side("get", "GET", "k", headers={"x-amz-checksum-mode": "ENABLED"}, gives=b"", shows=shows)


@case("checksums")
def signed_chunks(side: Side):
    path = f"/{side.bucket}/{side.key('k')}"
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(BODY))}
    signed = side.endpoint.signed("PUT", path, [], headers, STREAMING)
    body = signed.chunk(BODY[:8192]) + signed.chunk(BODY[8192:]) + signed.chunk(b"")
    signed.headers["content-length"] = str(len(body))
    answer = side.endpoint.exchange(side.endpoint.head("PUT", path, [], signed.headers) + body, "PUT")
    side.record("put", "PUT", "k", [], {}, answer, 200)
    side("get", "GET", "k", gives=BODY, shows={"content-encoding": None})


@case("checksums")
def wrongly_signed_chunk(side: Side):
    path = f"/{side.bucket}/{side.key('k')}"
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(BODY))}
    signed = side.endpoint.signed("PUT", path, [], headers, STREAMING)
    body = signed.chunk(BODY[:8192]) + signed.chunk(BODY[8192:], wrong=True) + signed.chunk(b"")
    signed.headers["content-length"] = str(len(body))
    answer = side.endpoint.exchange(side.endpoint.head("PUT", path, [], signed.headers) + body, "PUT")
    side.record("put", "PUT", "k", [], {}, answer, "SignatureDoesNotMatch")
    side("get", "GET", "k", says="NoSuchKey")


@case("digests")
def md5_header(side):
    side("put", "PUT", "k", headers={"content-md5": md5(BODY)}, body=BODY)
    side("get", "GET", "k", gives=BODY)


@case("digests")
def md5_of_other_bytes(side):
    side("put", "PUT", "k", headers={"content-md5": md5(b"other")}, body=BODY, says="BadDigest")
    side("get", "GET", "k", says="NoSuchKey")


for label, value in {"not base64": "???", "too short": "AAAA", "hexadecimal": "d41d8cd98f00b204e9800998ecf8427e", "empty": ""}.items():
    add("digests", f"md5 {label}", lambda side, value=value: side("put", "PUT", "k", headers={"content-md5": value}, body=b"x", says="InvalidDigest"))


@case("digests")
def sha256_of_other_bytes(side):
    side("put", "PUT", "k", body=BODY, payload=hashlib.sha256(b"other").hexdigest(), says="XAmzContentSHA256Mismatch")
    side("get", "GET", "k", says="NoSuchKey")


@case("digests")
def unsigned_payload(side):
    side("put", "PUT", "k", body=BODY, payload="UNSIGNED-PAYLOAD")
    side("get", "GET", "k", gives=BODY)


@case("digests")
def payload_digest_that_is_none(side):
    side("put", "PUT", "k", body=BODY, payload="nonsense", says="InvalidArgument")


@case("digests")
def part_with_md5(side):
    from .uploads import complete, create, part

    upload = create(side)
    part(side, upload, 1, BODY, step="wrong", headers={"content-md5": md5(b"other")}, says="BadDigest")
    tag = part(side, upload, 1, BODY, headers={"content-md5": md5(BODY)})
    complete(side, upload, [(1, tag)])
    side("get", "GET", "k", gives=BODY)


@case("digests")
def part_with_crc32(side):
    from .uploads import complete, create, part

    announced = {"x-amz-checksum-algorithm": "CRC32"}
    upload = create(side, headers=announced, shows={**announced, "x-amz-checksum-type": "COMPOSITE"})
    value = ALGORITHMS["crc32"](SMALL)
    part(side, upload, 1, SMALL, step="wrong", headers={"x-amz-checksum-crc32": "AAAAAA=="}, says="BadDigest")
    tag = part(side, upload, 1, SMALL, headers={"x-amz-checksum-crc32": value}, shows={"x-amz-checksum-crc32": value})
    complete(side, upload, [(1, tag)])
    side("get", "GET", "k", gives=SMALL)
