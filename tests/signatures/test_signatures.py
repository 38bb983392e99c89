"""Promise: what botocore signs is accepted, and the same request with one changed byte is refused.

How: requests drawn from a fixed seed (SCEAU_TEST_SEED gives others) over keys and queries that are
hard to canonicalise, signed by botocore in the header or in the query, sent as raw bytes over kept
connections to a running gateway. Accepted means: answered by the operation (200, 204, 206, 304, 404,
412, or 400 and 501 for other reasons than the signature); refused means 403, or 400 for a change
that makes the request malformed. Nothing is written: an accepted request is a 404 as a rule, and a
204 where it deletes.
"""

import os
import random
import string
import urllib.parse
import xml.etree.ElementTree

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import settings
from harness.fronts import REGION
from harness.raw import Endpoint, read_answer

pytestmark = pytest.mark.gateway

REQUESTS = int(os.environ.get("SCEAU_TEST_REQUESTS", "20000" if settings.FULL else "400"))
SEED = int(os.environ.get("SCEAU_TEST_SEED", "20260314"))
# Requests on one connection.
KEPT = 200

PIECES = [
    "a", "photo", "2026", " ", "  ", "/", "//", ".", "..", "./", "../", "/../", "/./", "+", "++", "%", "%2F", "%2f",
    "%25", "%00", "%2E%2E", "~", "é", "é", "€", "日本", "🦀", "\u200b", "\u202e", "ı", "!", "'", "(", ")", "*", "&", "=",
    "?", "#", ";", ":", "@", "$", ",", "[", "]", '"', "<", ">", "\\", "^", "`", "|", "{", "}", "\t", "\x01", "\x7f",
]  # fmt: skip
# Bytes of a path that botocore escapes and other clients send as they are.
SAFE = ["/~", "/~", "/~", "/~!*'()"]
OBJECT_QUERIES = [
    {},
    {},
    {"response-content-type": "text/plain; charset=utf-8", "response-cache-control": "no-cache"},
    {"response-content-disposition": 'attachment; filename="a+b é.txt"'},
    {"response-content-language": "", "response-expires": ""},
    {"x-id": "GetObject"},
]
BUCKET_QUERIES = [
    {},
    {"list-type": "2", "prefix": "a+b c/é", "delimiter": "/"},
    {"list-type": "2", "prefix": "", "delimiter": "", "start-after": "%2F//.."},
    {"prefix": "~'!()*", "marker": "", "max-keys": "2"},
    {"delimiter": "+", "prefix": "x&y=z", "encoding-type": "url"},
    {"uploads": "", "prefix": ""},
    {"location": ""},
]
VALUES = ["plain", "two  spaces   here", "  edges  ", "semi;colon,comma", "=", "", "a:b", "+%2F", "x" * 300]
HEADERS = ["x-amz-meta-note", "x-amz-meta-empty", "x-sceau-test", "accept-language"]
# What an accepted request may be answered with for reasons of its own.
OPERATION_STATUS = {200, 204, 206, 304, 404, 412}
SIGNATURE_CODES = {
    "AccessDenied", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "ExpiredToken",
    "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "MissingSecurityHeader", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch",
}  # fmt: skip


class Request:
    """A signed request as bytes: method, path, query and header lines, in the order they are sent."""

    def __init__(self, method, path, query, lines):
        self.method, self.path, self.query, self.lines = method, path, query, lines

    def wire(self):
        target = self.path + (b"?" + self.query if self.query is not None else b"")
        lines = [name + b": " + value for name, value in self.lines]
        return b"\r\n".join([self.method.encode() + b" " + target + b" HTTP/1.1", *lines, b"", b""])


class Source:
    """Draws requests and signs them."""

    def __init__(self, front, bucket, seed):
        self.rng = random.Random(seed)
        self.host, self.bucket = front.host, bucket
        self.credentials = Credentials(front.access_key, front.secret_key)

    def key(self):
        if self.rng.random() < 0.1:
            return "".join(self.rng.choice(string.printable) for _ in range(self.rng.randint(1, 60)))
        return "".join(self.rng.choice(PIECES) for _ in range(self.rng.randint(0, 9)))

    def query(self, key):
        query = dict(self.rng.choice(OBJECT_QUERIES if key else BUCKET_QUERIES))
        if not key and "prefix" in query and self.rng.random() < 0.7:
            query["prefix"] = self.key()
        for name in query:
            if name.startswith("response-content-disposition") and self.rng.random() < 0.5:
                query[name] = "".join(self.rng.choice(["a", "+", "é", "%2F", "=", "&", " ", "/"]) for _ in range(5))
        pairs = list(query.items())
        self.rng.shuffle(pairs)
        text = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
        # `?acl=` and `?acl` are the same.
        return text[:-1] if text.endswith("=") and self.rng.random() < 0.5 else text

    def headers(self):
        headers = []
        for name in HEADERS:
            if self.rng.random() < 0.25:
                count = 2 if name.startswith("x-amz-meta") and self.rng.random() < 0.3 else 1
                headers += [(name, self.rng.choice(VALUES)) for _ in range(count)]
        if self.rng.random() < 0.2:
            headers.append(("Range", "bytes=0-9"))
        if self.rng.random() < 0.2:
            headers.append(("If-None-Match", '"9e107d9d372bb6826bd81d3542a419d6-0"'))
        return headers

    def next(self):
        """A signed request, and whether the signature is in the query."""
        key = self.key()
        path = f"/{self.bucket}" + (f"/{quote(key, self.rng.choice(SAFE))}" if key else self.rng.choice(["", "/"]))
        query, headers = self.query(key), self.headers()
        method = self.rng.choice(["GET", "GET", "HEAD", "DELETE"]) if key else "GET"
        if method == "DELETE":
            query, headers = "", [(name, value) for name, value in headers if not name.startswith("If-")]
        is_presigned = self.rng.random() < 0.4
        url = f"http://{self.host}{path}" + (f"?{query}" if query else "")
        request = AWSRequest(method=method, url=url)
        for name, value in headers:
            request.headers.add_header(name, value)
        if is_presigned:
            auth = botocore.auth.S3SigV4QueryAuth(self.credentials, "s3", REGION, expires=self.rng.randint(60, 604800))
        else:
            auth = botocore.auth.S3SigV4Auth(self.credentials, "s3", REGION)
        auth.add_auth(request)
        target = request.url.split(self.host, 1)[1].encode()
        sent_path, _, sent_query = target.partition(b"?")
        lines = [(b"host", self.host.encode())]
        lines += [(name.lower().encode(), str(value).encode()) for name, value in request.headers.items()]
        if is_presigned:
            # botocore signs no header of a presigned GET but the host; others would be refused unsigned.
            signed = urllib.parse.parse_qs(sent_query.decode())["X-Amz-SignedHeaders"][0].split(";")
            lines = [(name, value) for name, value in lines if name.decode() in signed]
        return Request(method, sent_path, sent_query or None, lines), is_presigned


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


CHANGES = ["path", "query", "header", "signature"]


def changed(rng, request, is_presigned):
    """The request with one byte changed in what is signed, or in the signature; and what was changed."""
    for _ in range(100):
        where = rng.choice(CHANGES)
        twin = Request(request.method, request.path, request.query, list(request.lines))
        if where == "path":
            # The bucket stays: another bucket is refused for its own sake.
            start = request.path.index(b"/", 1) + 1 if b"/" in request.path[1:] else len(request.path)
            if start >= len(request.path):
                continue
            twin.path = flip(rng, request.path, start, len(request.path))
        elif where == "query":
            if request.query is None:
                continue
            end = request.query.find(b"&X-Amz-Signature=")
            twin.query = flip(rng, request.query, 0, end if end >= 0 else len(request.query))
        elif where == "header":
            names = signed_names(request, is_presigned)
            places = [n for n, (name, value) in enumerate(twin.lines) if name in names and value.strip()]
            place = rng.choice(places)
            name, value = twin.lines[place]
            twin.lines[place] = (name, flip(rng, value, 0, len(value)))
        else:
            twin = forged(rng, twin, is_presigned)
        if meaning(twin) != meaning(request):
            return twin, where
    raise AssertionError(f"nothing to change in {request.wire()!r}")


def signed_names(request, is_presigned):
    if is_presigned:
        text = dict(urllib.parse.parse_qsl(request.query.decode()))["X-Amz-SignedHeaders"]
    else:
        text = dict(request.lines)[b"authorization"].decode().split("SignedHeaders=")[1].split(",")[0]
    return {name.encode() for name in text.split(";")}


def forged(rng, twin, is_presigned):
    """One byte of the signature changed."""
    if is_presigned:
        start = twin.query.index(b"X-Amz-Signature=") + len(b"X-Amz-Signature=")
        twin.query = flip(rng, twin.query, start, len(twin.query))
        return twin
    for place, (name, value) in enumerate(twin.lines):
        if name == b"authorization":
            start = value.index(b"Signature=") + len(b"Signature=")
            twin.lines[place] = (name, flip(rng, value, start, len(value)))
    return twin


# Bytes that may stand in a request line and in a header without ending either.
LETTERS = (string.ascii_letters + string.digits + "-._~%/+=&;:,!").encode()


def flip(rng, data, start, end):
    place = rng.randrange(start, end)
    byte = rng.choice([byte for byte in LETTERS if byte != data[place]])
    return data[:place] + bytes([byte]) + data[place + 1 :]


def meaning(request):
    """What the signature covers, decoded: a change that leaves it the same is no change."""
    query = sorted(
        tuple(urllib.parse.unquote_to_bytes(half) for half in (piece.partition(b"=")[0], piece.partition(b"=")[2]))
        for piece in (request.query or b"").split(b"&")
        if piece
    )
    headers = [(name, b" ".join(value.split())) for name, value in request.lines]
    return request.method, urllib.parse.unquote_to_bytes(request.path), query, headers


class Connection:
    """Sends one request after another, and connects again when the server has closed."""

    def __init__(self, endpoint):
        self.endpoint, self.socket, self.used = endpoint, None, 0

    def send(self, request):
        for _ in range(3):
            if self.socket is None or self.used >= KEPT:
                self.close()
                self.socket, self.used = self.endpoint.connect(), 0
            self.used += 1
            try:
                self.socket.sendall(request.wire())
                answer = read_answer(self.socket, request.method)
            except OSError:
                answer = None
            if answer is None or answer.headers.get("connection") == "close":
                self.close()
            if answer is not None:
                return answer
        raise AssertionError(f"no answer to {request.wire()!r}")

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def code_of(answer):
    try:
        return xml.etree.ElementTree.fromstring(answer.body).findtext("Code")
    except xml.etree.ElementTree.ParseError:
        return None


def is_accepted(answer):
    """Whether the signature was accepted, whatever became of the operation."""
    if answer.status in OPERATION_STATUS:
        return True
    return answer.status in (400, 416, 501) and code_of(answer) not in {None, *SIGNATURE_CODES}


@pytest.mark.parametrize("name", ["dev"])
def test_what_botocore_signs_is_accepted_and_one_changed_byte_is_refused(_fronts, name):
    front = _fronts(name)
    source = Source(front, front.new_bucket("sign"), SEED)
    connection = Connection(Endpoint.of(front))
    accepted, refused = {}, {}
    for number in range(REQUESTS):
        request, is_presigned = source.next()
        answer = connection.send(request)
        assert is_accepted(answer), (number, request.wire(), answer)
        accepted[answer.status] = accepted.get(answer.status, 0) + 1
        twin, where = changed(source.rng, request, is_presigned)
        answer = connection.send(twin)
        assert answer.status in (400, 403), (number, where, request.wire(), twin.wire(), answer)
        why = f"{where}: {code_of(answer) or answer.status}"
        refused[why] = refused.get(why, 0) + 1
    connection.close()
    print(f"\n{sum(accepted.values())} accepted {accepted}, {sum(refused.values())} refused {refused}")
