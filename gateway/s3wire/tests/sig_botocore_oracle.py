#!/usr/bin/env python3
"""Writes tests/vectors/botocore_sigv4.json: requests signed by botocore, for our verifier.

Needs botocore. The output is the same on each run with the same botocore: the requests are drawn
from a fixed seed, and the clock is fixed.

    python3 tests/sig_botocore_oracle.py > tests/vectors/botocore_sigv4.json
"""

import datetime
import hashlib
import json
import random
from unittest import mock
from urllib.parse import quote

import botocore
import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 14, 15, 9, 26, tzinfo=datetime.timezone.utc)
ACCESS_KEY, SECRET, TOKEN = "AKIDORACLE", "oracle/secret+key=0123456789abcdefghijklmn", "tok/en+with=signs"
REQUESTS = 240
PIECES = [
    "a", "photo", "2026", " ", "  ", "/", "//", ".", "..", "./", "../", "+", "%", "%2F", "%25", "~", "é", "€", "日本",
    "🦀", "!", "'", "(", ")", "*", "&", "=", "?", "#", ";", ":", "@", "$", ",", "\t", "\x01", '"', "<", "\\", "^", "|", "{",
]
BUCKET_QUERIES = [
    {}, {"acl": ""}, {"list-type": "2", "prefix": "a+b c/é"}, {"versions": "", "key-marker": "x&y=z", "prefix": ""},
    {"delimiter": "/", "prefix": "%2F", "encoding-type": "url"}, {"max-keys": "2", "marker": "~'!()*"},
]
OBJECT_QUERIES = [
    {}, {"uploads": ""}, {"partNumber": "1", "uploadId": "ab+/=~_-."}, {"versionId": "null"}, {"tagging": ""},
    {"response-content-type": "text/plain; charset=utf-8", "response-cache-control": "no-cache"},
]
# No tab inside a value: botocore signs it as a space, other SDKs and our verifier as it is.
META = ["plain", "two  spaces   here", " edges ", "\ttab edges\t", "semi;colon,comma", "=", ""]


class FixedClock(datetime.datetime):
    """The clock that botocore sees."""

    @classmethod
    def utcnow(cls):
        return NOW.replace(tzinfo=None)

    @classmethod
    def now(cls, tz=None):
        return NOW if tz else NOW.replace(tzinfo=None)


def draw(rng, number):
    key = "".join(rng.choice(PIECES) for _ in range(rng.randint(0, 7)))
    bucket, host = rng.choice([("/bucket-1", "s3.example.com"), ("/bucket-1", "127.0.0.1:9000"), ("", "b.s3.example.com")])
    path = f"{bucket}/{quote(key, safe='/~')}"
    query = rng.choice(OBJECT_QUERIES if key else BUCKET_QUERIES)
    if rng.random() < 0.2:
        query = {**query, rng.choice(PIECES) + "q": "".join(rng.choice(PIECES) for _ in range(3))}
    raw = "&".join(f"{quote(k, safe='-_.~')}={quote(v, safe='-_.~')}" for k, v in query.items())
    headers = {}
    if rng.random() < 0.5:
        headers["x-amz-meta-note"] = rng.choice(META)
    if rng.random() < 0.3:
        headers["Content-Type"] = "application/x;  q=1"
    if rng.random() < 0.2:
        headers["Range"] = "bytes=0-9"
    body = rng.choice([b"", b"hello", bytes(range(256))])
    method = rng.choice(["GET", "PUT", "HEAD", "DELETE", "POST"])
    return method, host, path, raw, headers, body, number


def sign(rng, method, host, path, raw, headers, body, number):
    credentials = Credentials(ACCESS_KEY, SECRET, TOKEN if rng.random() < 0.3 else None)
    url = f"http://{host}{path}" + (f"?{raw}" if raw else "")
    is_presigned = number % 3 == 0
    # A presigned URL does not cover a body, and botocore reads one as a form.
    request = AWSRequest(method=method, url=url, headers=headers, data=b"" if is_presigned else body)
    if is_presigned:
        auth = botocore.auth.S3SigV4QueryAuth(credentials, "s3", "eu-central-1", expires=3600)
    else:
        auth = botocore.auth.S3SigV4Auth(credentials, "s3", "eu-central-1")
        unsigned = rng.random() < 0.3
        request.context["client_config"] = mock.Mock(s3={"payload_signing_enabled": not unsigned})
    auth.add_auth(request)
    sent = {name.lower(): value for name, value in request.headers.items()}
    sent["host"] = host
    target = request.url.split(host, 1)[1]
    return {
        "method": method,
        "target": target,
        "headers": sorted(sent.items()),
        "presigned": is_presigned,
        "body_sha256": hashlib.sha256(body).hexdigest(),
    }


def main():
    rng = random.Random(20260314)
    clock = mock.Mock(wraps=datetime)
    clock.datetime = FixedClock
    patches = [mock.patch.object(botocore.auth, "datetime", clock)] if hasattr(botocore.auth, "datetime") else []
    if hasattr(botocore.auth, "get_current_datetime"):
        patches.append(mock.patch.object(
            botocore.auth, "get_current_datetime",
            lambda remove_tzinfo=True: NOW.replace(tzinfo=None) if remove_tzinfo else NOW))
    for patch in patches:
        patch.start()
    requests = [sign(rng, *draw(rng, number)) for number in range(REQUESTS)]
    head = {
        "source": f"botocore {botocore.__version__}, tests/sig_botocore_oracle.py",
        "access_key": ACCESS_KEY, "secret": SECRET, "region": "eu-central-1", "now": int(NOW.timestamp()),
    }
    lines = ",\n".join(json.dumps(request) for request in requests)
    print(json.dumps(head)[:-1] + ', "requests": [\n' + lines + "\n]}")


if __name__ == "__main__":
    main()
