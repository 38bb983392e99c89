"""Promise: stores accept what the gateway's signer signs, and refuse the same request with one changed byte.

How: the example program `signed_requests` of the signer's crate draws requests from a fixed seed
(SCEAU_TEST_SEED gives others) and signs them as the gateway signs for its store. Their signatures are
compared with botocore's, and they are sent as raw bytes over kept connections to SeaweedFS and to the
JuiceFS gateway (MinIO's front end), which have signature checks of their own. Accepted means: any answer
that is not about the signature. Refused means 403, 400 for a change that makes the request malformed, or
a closed connection.

Stores refuse keys with dot segments before they look at the signature: an honest request and a forged
one get the same 400. Those requests are counted apart, with the few on which a store itself fails; more
are drawn in their place.
"""

import json
import os
import random
import re
import subprocess
import urllib.parse
from collections import Counter

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import settings
from harness.fronts import REGION, boto
from harness.raw import Endpoint
from harness.stores import JuiceFS
from harness.twins import CHANGES, SIGNATURE_CODES, Connection, Request, changed, code_of, signed_names

# Accepted requests. JuiceFS, which writes each object through SQLite, gets fewer.
REQUESTS = int(os.environ.get("SCEAU_TEST_REQUESTS", "20000" if settings.FULL else "400"))
REQUESTS_JUICEFS = min(REQUESTS, 4000)
SEED = int(os.environ.get("SCEAU_TEST_SEED", "20260314"))
# Requests drawn in the worst case, for one that counts.
DRAWN_PER_COUNTED = 3
BUCKET = "signed-by-us"
# What stores say of keys and prefixes with dot segments, before they look at the signature.
KEY_CODES = {"InvalidRequest", "XMinioInvalidResourceName", "XMinioInvalidObjectName"}
DOT_SEGMENT = re.compile(rb"(^|[/\\])[.]{1,2}([/\\]|$)")
# Requests at most on which a store fails by itself (a key that is a folder too), in a thousand.
FAILURES_PER_MILLE = 20


class Signer:
    """Requests from the gateway's signer, made as they are taken: signatures do not grow old in a queue."""

    def __init__(self, endpoint, seed, count):
        cargo = ["cargo", "run", "--quiet", "--locked", "-p", "sceau-s3wire", "--example", "signed_requests", "--"]
        values = [seed, count, endpoint.host, BUCKET, endpoint.access_key, endpoint.secret_key, REGION]
        self.program = subprocess.Popen(cargo + [str(value) for value in values], cwd=settings.ROOT, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # It ends when nobody reads any more.
        self.program.stdout.close()
        self.program.wait(60)

    def requests(self):
        """Each request, and whether its signature is in the query."""
        for line in self.program.stdout:
            drawn = json.loads(line)
            lines = [(name.encode(), value.encode()) for name, value in drawn["headers"]]
            query = None if drawn["query"] is None else drawn["query"].encode()
            request = Request(drawn["method"], drawn["path"].encode(), query, lines, drawn["body"].encode())
            yield request, drawn["form"] == "query"


def signature_by_botocore(endpoint, request, is_presigned):
    """The signature that botocore makes for the request, from the fields that ours covers."""
    query = (request.query or b"").decode().split("&X-Amz-Signature=")[0]
    plain = AWSRequest(method=request.method, url=f"http://{endpoint.host}{request.path.decode()}?{query}")
    names = signed_names(request, is_presigned)
    for name, value in request.lines:
        if name in names:
            plain.headers.add_header(name.decode(), value.decode())
    auth = botocore.auth.S3SigV4Auth(Credentials(endpoint.access_key, endpoint.secret_key), "s3", REGION)
    if is_presigned:
        date = re.search("X-Amz-Date=([0-9TZ]+)", query)[1]
        auth.payload = lambda _: "UNSIGNED-PAYLOAD"
    else:
        date = plain.headers["x-amz-date"]
    plain.context["timestamp"] = date
    return auth.signature(auth.string_to_sign(plain, auth.canonical_request(plain)), plain).encode()


def verdict(request, answer):
    """What a store's answer to an honest request says of the signature: accepted, refused, or why nothing."""
    if answer is None:
        return "the store closes the connection"
    code = code_of(answer)
    if answer.status in (301, 302, 307, 403) or code in SIGNATURE_CODES:
        return "refused"
    if answer.status >= 500 and code != "NotImplemented":
        return "the store fails"
    # The answer to HEAD has no code.
    has_dots = DOT_SEGMENT.search(urllib.parse.unquote_to_bytes(request.path))
    if answer.status == 400 and (code in KEY_CODES or (request.method == "HEAD" and has_dots)):
        return "the store refuses such keys"
    return "accepted"


def is_refused(answer):
    """Whether a request with one changed byte was refused; MinIO reads part numbers before signatures."""
    if answer is None or answer.status in (400, 403):
        return True
    return answer.status == 500 and b"strconv.Atoi" in answer.body


@pytest.fixture(params=["seaweedfs", "juicefs"])
def judge(request, work):
    """A store, and how many requests it is to accept."""
    if request.param == "seaweedfs":
        yield request.getfixturevalue("store"), REQUESTS
        return
    juicefs = JuiceFS(work / "signed-by-us")
    yield juicefs, REQUESTS_JUICEFS
    juicefs.stop()


def test_a_store_accepts_what_we_sign_and_refuses_one_changed_byte(judge):
    store, requests = judge
    endpoint = Endpoint(store.url, store.access_key, store.secret_key)
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=BUCKET)
    connection, rng = Connection(endpoint), random.Random(SEED)
    verdicts, answers, changes = Counter(), Counter(), Counter()
    with Signer(endpoint, SEED, DRAWN_PER_COUNTED * requests) as signer:
        for request, is_presigned in signer.requests():
            wire = request.wire()
            assert signature_by_botocore(endpoint, request, is_presigned) in wire, wire
            answer = connection.try_send(request)
            verdicts[verdict(request, answer)] += 1
            assert not verdicts["refused"], (wire, answer)
            if verdict(request, answer) != "accepted":
                continue
            answers[code_of(answer) or answer.status] += 1
            twin, where = changed(rng, request, is_presigned)
            answer = connection.try_send(twin)
            assert is_refused(answer), (where, wire, twin.wire(), answer)
            changes[where] += 1
            if verdicts["accepted"] == requests:
                break
    connection.close()
    print(f"\n{store.name}: {dict(verdicts)}; answers {dict(answers)}; one byte changed and refused: {dict(changes)}")
    assert verdicts["accepted"] == requests and min(changes[where] for where in CHANGES) > requests // 20
    failures = verdicts["the store fails"] + verdicts["the store closes the connection"]
    assert failures <= max(2, requests * FAILURES_PER_MILLE // 1000)
