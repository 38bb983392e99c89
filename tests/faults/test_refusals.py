"""Promise: a request that is not what its sender signed and announced leaves nothing in the store.

How: requests by hand, wrong in one way each; S3's own error code is expected, and the store behind
the gateway is looked at directly.
"""

import base64
import datetime
import hashlib

import pytest

from harness import gateway as gateways
from harness import raw
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway

BODY = bytes(range(256)) * 600
SHORT = b"not even a segment"
WRONG_CRC = base64.b64encode(b"\0\0\0\1").decode()


class Target:
    """A place to write to, as an object or as a part of an upload, and the store behind it."""

    def __init__(self, front, kind):
        self.front, self.kind = front, kind
        self.endpoint, self.bucket = Endpoint.of(front), front.new_bucket("refuse")
        self.path, self.query, self.upload = f"/{self.bucket}/k", [], None
        if kind == "part":
            self.upload = front.s3.create_multipart_upload(Bucket=self.bucket, Key="k")["UploadId"]
            self.query = [("partNumber", "1"), ("uploadId", self.upload)]
        self.control = self._control()

    def _control(self):
        """Names in the control bucket: a small part would be stashed there."""
        pages = self.front.at_store().get_paginator("list_objects_v2").paginate(Bucket=gateways.CONTROL_BUCKET)
        return {item["Key"] for page in pages for item in page.get("Contents", [])}

    def put(self, body=BODY, headers=None, **options):
        return self.endpoint.send("PUT", self.path, self.query, headers, body, **options)

    def stream(self, wire, mode, headers=None, length=len(BODY), finish=False, chunked=False):
        """Sends a body that is framed already; `wire` gets the signature to continue from."""
        all_headers = {"x-amz-decoded-content-length": str(length), **(headers or {})}
        signature = self.endpoint.signed("PUT", self.path, self.query, all_headers, mode)
        body = wire(signature)
        framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
        head = self.endpoint.head("PUT", self.path, self.query, {**signature.headers, **framing})
        return self.endpoint.exchange(head + (raw.in_http_chunks(body) if chunked else body), "PUT", finish)

    def nothing_new(self):
        """The store holds no object, no part and no stash."""
        store = self.front.at_store()
        assert not store.list_objects_v2(Bucket=self.bucket).get("Contents")
        assert self._control() == self.control
        if self.upload:
            uploads = store.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
            for upload in uploads:
                parts = store.list_parts(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                assert not parts.get("Parts")
        else:
            assert not store.list_multipart_uploads(Bucket=self.bucket).get("Uploads")

    def refused(self, answer, code, status=None):
        assert answer is not None, "the connection was closed without an answer"
        assert (answer.code, answer.status) == (code, status or answer.status), answer
        assert answer.status >= 400
        self.nothing_new()

    def written(self, data=BODY):
        """The body arrived; a positive control for each way of sending."""
        if self.upload:
            assert self.front.s3.list_parts(Bucket=self.bucket, Key="k", UploadId=self.upload)["Parts"][0]["Size"] == len(data)
        else:
            assert self.front.fetch(self.bucket, "k") == data


@pytest.fixture(params=["object", "part"])
def target(plain, request):
    return Target(plain, request.param)


@pytest.fixture
def an_object(plain):
    return Target(plain, "object")


# --- who asks, and for what ---------------------------------------------------------------------


def test_a_wrong_signature(target):
    def spoil(headers):
        text = headers["authorization"]
        headers["authorization"] = text[:-1] + ("0" if text[-1] != "0" else "1")

    target.refused(target.put(after=spoil), "SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_skewed_clock(an_object, minutes):
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    an_object.refused(an_object.put(now=now), "RequestTimeTooSkewed", 403)


def test_a_changed_signed_header(an_object):
    def change(headers):
        headers["x-amz-meta-one"] = "2"

    answer = an_object.put(headers={"x-amz-meta-one": "1"}, after=change)
    an_object.refused(answer, "SignatureDoesNotMatch", 403)


def test_a_changed_path_or_query(an_object):
    signed = an_object.endpoint.signed("PUT", an_object.path, (), {}, raw.UNSIGNED)
    headers = {**signed.headers, "content-length": "1"}
    for path, query in [(an_object.path + "2", ()), (an_object.path, [("x", "y")])]:
        answer = an_object.endpoint.exchange(an_object.endpoint.head("PUT", path, query, headers) + b"x")
        an_object.refused(answer, "SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("name, value", [("x-amz-copy-source", None), ("x-amz-meta-more", "1"), ("x-amz-acl", "public-read")])
def test_an_added_unsigned_header(an_object, name, value):
    other = an_object.front.new_bucket("secret")
    an_object.front.s3.put_object(Bucket=other, Key="s", Body=b"secret")
    an_object.control = an_object._control()

    def add(headers):
        headers[name] = value or f"/{other}/s"

    an_object.refused(an_object.put(body=b"", after=add), "AccessDenied", 403)


def test_an_unknown_access_key_and_none_at_all(an_object):
    an_object.refused(an_object.put(sign=False), "AccessDenied", 403)
    an_object.endpoint.access_key = "NOBODY"
    an_object.refused(an_object.put(), "InvalidAccessKeyId", 403)


def test_the_policy_holds(an_object):
    endpoint = an_object.endpoint
    endpoint.access_key, endpoint.secret_key = gateways.LIMITED_ACCESS_KEY, gateways.LIMITED_SECRET_KEY
    an_object.refused(an_object.put(), "AccessDenied", 403)
    copy = {"x-amz-copy-source": f"/{an_object.bucket}/k"}
    answer = endpoint.send("PUT", f"/{an_object.bucket}/open/copy", headers=copy)
    an_object.refused(answer, "AccessDenied", 403)
    assert endpoint.send("PUT", f"/{an_object.bucket}/open/k", body=SHORT).status == 200
    assert endpoint.send("GET", f"/{an_object.bucket}/open/k").body == SHORT
    assert endpoint.send("DELETE", f"/{an_object.bucket}/open/k").code == "AccessDenied"
    assert endpoint.send("GET", f"/{an_object.bucket}").code == "AccessDenied"


@pytest.mark.parametrize("expires, code", [("604801", "AuthorizationQueryParametersError"), ("1", "AccessDenied")])
def test_presigned_urls_end(an_object, expires, code):
    import time
    import urllib.parse

    s3 = an_object.front.boto("when_required")
    names = {"Bucket": an_object.bucket, "Key": "k"}
    url = urllib.parse.urlsplit(s3.generate_presigned_url("put_object", Params=names, ExpiresIn=int(expires)))
    if expires == "1":
        time.sleep(3)
    request = f"PUT {url.path}?{url.query} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-length: 1\r\n\r\nx".encode()
    an_object.refused(an_object.endpoint.exchange(request), code)


def test_two_ways_of_signing_at_once(an_object):
    query = [("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", "x")]
    signed = an_object.endpoint.signed("PUT", an_object.path, query, {}, raw.UNSIGNED)
    head = an_object.endpoint.head("PUT", an_object.path, query, {**signed.headers, "content-length": "1"})
    answer = an_object.endpoint.exchange(head + b"x")
    assert 400 <= answer.status < 500
    an_object.nothing_new()


@pytest.mark.parametrize(
    "query", [{"torrent": ""}, {"renameObject": ""}, {"select": "", "select-type": "2"}, {"somethingNew": ""}, {"append": ""}]
)
def test_what_is_not_recognised_is_not_implemented(an_object, query):
    answer = an_object.endpoint.send("PUT", an_object.path, query, body=SHORT)
    an_object.refused(answer, "NotImplemented", 501)


@pytest.mark.parametrize(
    "name", ["x-amz-server-side-encryption-customer-algorithm", "x-amz-write-offset-bytes", "x-minio-extract"]
)
def test_features_that_would_break_sealing_are_refused(an_object, name):
    answer = an_object.put(headers={name: "1"})
    assert answer.status in (400, 501), answer
    an_object.nothing_new()


def test_the_reserved_metadata_name(an_object):
    answer = an_object.put(headers={"x-amz-meta-sceauh1": "AAAA"})
    assert answer.status == 400, answer
    an_object.nothing_new()


def test_the_control_bucket_is_out_of_reach(an_object):
    before = an_object._control()
    for method, path in [("GET", ""), ("PUT", "/k"), ("GET", "/keyring"), ("DELETE", "/keyring")]:
        answer = an_object.endpoint.send(method, f"/{gateways.CONTROL_BUCKET}{path}", body=b"x" if method == "PUT" else b"")
        assert answer.status in (403, 404), answer
    copy = {"x-amz-copy-source": f"/{gateways.CONTROL_BUCKET}/keyring"}
    assert an_object.put(body=b"", headers=copy).status in (403, 404)
    assert an_object._control() == before
    an_object.nothing_new()


def test_a_refusal_comes_before_the_body_is_asked_for(an_object):
    headers = {"expect": "100-continue", "content-length": str(len(BODY))}
    signed = an_object.endpoint.signed("PUT", an_object.path, (), {}, raw.UNSIGNED).headers
    signed["authorization"] = signed["authorization"][:-4] + "0000"
    with an_object.endpoint.connect() as connection:
        connection.sendall(an_object.endpoint.head("PUT", an_object.path, (), {**signed, **headers}))
        first = connection.recv(20)
    assert first.startswith(b"HTTP/1.1 403")
    an_object.nothing_new()


def test_errors_do_not_show_the_store(an_object):
    for answer in [
        an_object.put(headers={"content-md5": raw.md5(b"other")}),
        an_object.endpoint.send("GET", "/no-such-bucket-0/k"),
        an_object.endpoint.send("GET", f"/{an_object.bucket}/none"),
    ]:
        text = answer.body.decode() + str(answer.headers)
        for secret in (an_object.front.store.access_key, an_object.front.store.url.split("//")[1], "SeaweedFS"):
            assert secret not in text


# --- what was announced about the body ----------------------------------------------------------


def test_a_wrong_content_sha256(target):
    answer = target.put(payload=hashlib.sha256(b"other").hexdigest())
    target.refused(answer, "XAmzContentSHA256Mismatch", 400)


@pytest.mark.parametrize("body", [BODY, SHORT, b""], ids=["long", "short", "empty"])
def test_a_wrong_content_md5(target, body):
    answer = target.put(body, headers={"content-md5": raw.md5(b"other")})
    target.refused(answer, "BadDigest", 400)


def test_a_malformed_content_md5(target):
    target.refused(target.put(headers={"content-md5": "nonsense"}), "InvalidDigest", 400)


@pytest.mark.parametrize("body", [BODY, SHORT, b""], ids=["long", "short", "empty"])
@pytest.mark.parametrize("name", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
def test_a_wrong_checksum(an_object, name, body):
    length = {"crc32": 4, "crc32c": 4, "crc64nvme": 8, "sha1": 20, "sha256": 32}[name]
    value = base64.b64encode(b"\1" * length).decode()
    answer = an_object.put(body, headers={f"x-amz-checksum-{name}": value})
    an_object.refused(answer, "BadDigest", 400)


def test_a_wrong_checksum_of_a_part(plain):
    target = Target(plain, "part")
    target.refused(target.put(headers={"x-amz-checksum-crc32": WRONG_CRC}), "BadDigest", 400)


@pytest.mark.parametrize("missing", [1, 100, 65_536, len(BODY)])
def test_a_short_body(target, missing):
    headers = target.endpoint.signed("PUT", target.path, target.query, {}, raw.UNSIGNED).headers
    head = target.endpoint.head("PUT", target.path, target.query, {**headers, "content-length": str(len(BODY))})
    answer = target.endpoint.exchange(head + BODY[:-missing], "PUT", finish=True)
    # A client that closed its side may find the connection gone.
    assert answer is None or answer.code in ("IncompleteBody", "RequestTimeout"), answer
    target.nothing_new()


def test_a_body_without_any_length(an_object):
    headers = an_object.endpoint.signed("PUT", an_object.path, (), {}, raw.UNSIGNED).headers
    head = an_object.endpoint.head("PUT", an_object.path, (), {**headers, "transfer-encoding": "chunked"})
    answer = an_object.endpoint.exchange(head + raw.in_http_chunks(BODY), "PUT")
    an_object.refused(answer, "MissingContentLength", 411)


# --- streaming payloads -------------------------------------------------------------------------

CHUNKS = [BODY[:65_536], BODY[65_536:131_072], BODY[131_072:]]
CRC_TRAILER = {"x-amz-trailer": "x-amz-checksum-crc32"}


def unsigned_stream(chunks=CHUNKS, final=b"0\r\n", trailer=None, end=b"\r\n"):
    crc = raw.crc32(b"".join(chunks)) if trailer is None else trailer
    line = f"x-amz-checksum-crc32:{crc}\r\n".encode() if crc else b""
    return lambda signature: raw.frames(chunks) + final + line + end


def signed_stream(chunks=CHUNKS, final=True, wrong=None, trailers=None, wrong_trailer=False):
    def wire(signature):
        out = b"".join(signature.chunk(chunk, wrong == number) for number, chunk in enumerate(chunks))
        if not final:
            return out
        last = signature.chunk(b"", wrong == "final")
        if trailers is None:
            return out + last
        lines = "".join(f"{line}\r\n" for line in trailers) + signature.trailer(trailers, wrong_trailer)
        return out + last[:-2] + lines.encode() + b"\r\n"

    return wire


CRC_LINE = f"x-amz-checksum-crc32:{raw.crc32(BODY)}"
# mode, headers, wire
RIGHT = {
    "unsigned trailer": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream()),
    "unsigned, one chunk": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream([BODY])),
    "signed": (raw.STREAMING, {}, signed_stream()),
    "signed, small chunks": (raw.STREAMING, {}, signed_stream([BODY[n : n + 8192] for n in range(0, len(BODY), 8192)])),
    "signed trailer": (raw.STREAMING_TRAILER, CRC_TRAILER, signed_stream(trailers=[CRC_LINE])),
}


@pytest.mark.parametrize("way", RIGHT)
@pytest.mark.parametrize("coding", [None, "aws-chunked", "aws-chunked,gzip"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "http-chunked"])
def test_right_streams_are_stored(target, way, coding, chunked):
    mode, headers, wire = RIGHT[way]
    headers = {**headers, **({"content-encoding": coding} if coding else {})}
    answer = target.stream(wire, mode, headers, chunked=chunked)
    assert answer.status == 200, answer
    target.written()
    if target.kind == "object":
        kept = target.front.s3.head_object(Bucket=target.bucket, Key="k").get("ContentEncoding")
        assert kept == ("gzip" if coding == "aws-chunked,gzip" else None)


def test_a_right_empty_stream_is_stored(an_object):
    answer = an_object.stream(unsigned_stream([]), raw.UNSIGNED_TRAILER, CRC_TRAILER, length=0)
    assert answer.status == 200, answer
    an_object.written(b"")


WRONG = {
    # name: (mode, headers, wire, announced length, code)
    "no final chunk, unsigned": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream(final=b"", trailer="", end=b""), len(BODY), "IncompleteBody"),
    "no final chunk, signed": (raw.STREAMING, {}, signed_stream(final=False), len(BODY), "IncompleteBody"),
    "announced trailer missing, unsigned": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream(trailer=""), len(BODY), "MalformedTrailerError"),
    "announced trailer missing, signed": (raw.STREAMING_TRAILER, CRC_TRAILER, signed_stream(trailers=[]), len(BODY), "MalformedTrailerError"),
    "another trailer than announced": (raw.UNSIGNED_TRAILER, {"x-amz-trailer": "x-amz-checksum-sha256"}, unsigned_stream(), len(BODY), "MalformedTrailerError"),
    "wrong trailer checksum, unsigned": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream(trailer=WRONG_CRC), len(BODY), "BadDigest"),
    "wrong trailer checksum, signed": (raw.STREAMING_TRAILER, CRC_TRAILER, signed_stream(trailers=[f"x-amz-checksum-crc32:{WRONG_CRC}"]), len(BODY), "BadDigest"),
    "wrong trailer signature": (raw.STREAMING_TRAILER, CRC_TRAILER, signed_stream(trailers=[CRC_LINE], wrong_trailer=True), len(BODY), "SignatureDoesNotMatch"),
    "wrong first chunk signature": (raw.STREAMING, {}, signed_stream(wrong=0), len(BODY), "SignatureDoesNotMatch"),
    "wrong last chunk signature": (raw.STREAMING, {}, signed_stream(wrong=2), len(BODY), "SignatureDoesNotMatch"),
    "wrong final chunk signature": (raw.STREAMING, {}, signed_stream(wrong="final"), len(BODY), "SignatureDoesNotMatch"),
    "more than announced": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream(), len(BODY) - 1, "IncompleteBody"),
    "less than announced": (raw.UNSIGNED_TRAILER, CRC_TRAILER, unsigned_stream(), len(BODY) + 1, "IncompleteBody"),
    "less than announced, signed": (raw.STREAMING, {}, signed_stream(), len(BODY) + 70_000, "IncompleteBody"),
}  # fmt: skip


@pytest.mark.parametrize("way", WRONG)
def test_wrong_streams_are_refused(target, way):
    mode, headers, wire, length, code = WRONG[way]
    target.refused(target.stream(wire, mode, headers, length), code)


GARBAGE = {
    "no framing at all": lambda _: BODY,
    "size not hexadecimal": lambda _: b"xyz\r\n" + BODY,
    "size too large": lambda _: b"ffffffffffffffffff\r\n" + BODY,
    "no line end after data": lambda _: b"%x\r\n" % len(BODY) + BODY + b"0\r\n\r\n",
    "an endless size line": lambda _: b"0" * 100_000,
    "an endless trailer": lambda _: raw.frames([BODY]) + b"0\r\n" + b"x-amz-checksum-crc32:" + b"A" * 100_000,
    "bytes after the end": lambda s: unsigned_stream()(s) + b"more",
    "negative size": lambda _: b"-1\r\n" + BODY,
}


@pytest.mark.parametrize("way", GARBAGE)
def test_broken_framing_is_refused(target, way):
    answer = target.stream(GARBAGE[way], raw.UNSIGNED_TRAILER, CRC_TRAILER)
    assert answer is not None and 400 <= answer.status < 500, answer
    target.nothing_new()


def test_a_stream_cut_at_any_point_is_refused(an_object):
    whole = signed_stream([SHORT, SHORT], trailers=[f"x-amz-checksum-crc32:{raw.crc32(SHORT + SHORT)}"])
    for cut in range(0, 360, 7):

        def wire(signature):
            body = whole(signature)
            return body[: max(0, len(body) - 1 - cut)]

        answer = an_object.stream(wire, raw.STREAMING_TRAILER, CRC_TRAILER, length=2 * len(SHORT))
        assert answer is not None and 400 <= answer.status < 500, (cut, answer)
    an_object.nothing_new()


# --- HTTP itself --------------------------------------------------------------------------------

SMUGGLING = {
    "length and coding": ["content-length: 5", "transfer-encoding: chunked"],
    "two lengths": ["content-length: 5", "content-length: 6"],
    "two lengths in one": ["content-length: 5, 6"],
    "signed length": ["content-length: +5"],
    "coding with a space": ["transfer-encoding : chunked"],
    "unknown coding": ["transfer-encoding: gzip, chunked"],
    "coding twice": ["transfer-encoding: chunked", "transfer-encoding: identity"],
    "two hosts": ["host: elsewhere", "content-length: 5"],
}


@pytest.mark.parametrize("way", SMUGGLING)
def test_ambiguous_framing_is_refused(an_object, way):
    signed = an_object.endpoint.signed("PUT", an_object.path, (), {"x-amz-decoded-content-length": "5"}, raw.UNSIGNED)
    lines = [f"PUT {an_object.path} HTTP/1.1", *(f"{name}: {value}" for name, value in signed.headers.items())]
    second = f"\r\nGET /{an_object.bucket} HTTP/1.1\r\nhost: {an_object.endpoint.host}\r\n\r\n"
    request = "\r\n".join([*lines, *SMUGGLING[way], "", "5"]) + "\r\nhello\r\n0\r\n" + second
    answer = an_object.endpoint.exchange(request.encode(), "PUT")
    assert answer is None or 400 <= answer.status <= 501, answer
    an_object.nothing_new()


@pytest.mark.parametrize("path", ["an object", "nothing"])
def test_an_answer_without_100_continue_ends_the_connection(an_object, path):
    """aws-cli keeps such an answer's status for the next request of the connection, and then misreads that."""
    bucket = an_object.bucket if path == "an object" else "no-such-bucket-0"
    headers = an_object.endpoint.signed("PUT", f"/{bucket}/empty", (), {}, raw.UNSIGNED).headers
    headers = {**headers, "expect": "100-continue", "content-length": "0"}
    with an_object.endpoint.connect() as connection:
        connection.sendall(an_object.endpoint.head("PUT", f"/{bucket}/empty", (), headers))
        first = connection.recv(4096)
    assert first.startswith(b"HTTP/1.1 100") or b"connection: close" in first.lower(), first


@pytest.mark.parametrize(("method", "path", "status"), [
    ("HEAD", "/{}/nothing", 404), ("GET", "/{}/nothing", 404), ("HEAD", "/no-such-bucket-0", 404),
    ("DELETE", "/no-such-bucket-0", 404),
])  # fmt: skip
def test_a_refusal_of_a_request_without_a_body_keeps_the_connection(an_object, method, path, status):
    """Programs that look before they write would pay for a handshake with each name that is free."""
    path = path.format(an_object.bucket)
    with an_object.endpoint.connect() as connection:
        for _ in range(3):
            headers = an_object.endpoint.signed(method, path, (), {}, raw.EMPTY).headers
            connection.sendall(an_object.endpoint.head(method, path, (), headers))
            answer = raw.read_answer(connection, method)
            assert answer is not None and answer.status == status, answer
            assert answer.headers.get("connection") != "close"


def test_old_http_is_refused(an_object):
    headers = an_object.endpoint.signed("PUT", an_object.path, (), {}, raw.UNSIGNED).headers
    head = an_object.endpoint.head("PUT", an_object.path, (), {**headers, "content-length": "5"})
    answer = an_object.endpoint.exchange(head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello", "PUT")
    assert answer is None or answer.status >= 400, answer
    an_object.nothing_new()


def test_too_many_and_too_long_headers_are_refused(an_object):
    for headers in ({f"x-{n}": "1" for n in range(5_000)}, {"x-long": "a" * 200_000}):
        answer = an_object.put(headers=headers)
        assert answer is None or 400 <= answer.status < 500, answer
    an_object.nothing_new()


def test_too_much_metadata_is_refused(an_object):
    answer = an_object.put(headers={"x-amz-meta-one": "a" * 2_100})
    an_object.refused(answer, "MetadataTooLarge", 400)
