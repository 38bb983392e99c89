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

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import settings
from harness.fronts import REGION
from harness.raw import Endpoint
from harness.twins import SIGNATURE_CODES, Connection, Request, changed, code_of

pytestmark = pytest.mark.gateway

REQUESTS = int(os.environ.get("SCEAU_TEST_REQUESTS", "20000" if settings.FULL else "400"))
SEED = int(os.environ.get("SCEAU_TEST_SEED", "20260314"))

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
VALUES = ["plain", "two  spaces   here", "  edges  ", "\ttabs\tand \t spaces\t", "semi;colon,comma", "=", "", "a:b", "+%2F", "x" * 300]
HEADERS = ["x-amz-meta-note", "x-amz-meta-empty", "x-sceau-test", "accept-language"]
# What an accepted request may be answered with for reasons of its own.
OPERATION_STATUS = {200, 204, 206, 304, 404, 412}


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
