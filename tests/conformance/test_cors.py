"""Promise: a page of another origin learns what the bucket's CORS rules say, and gets in no further by them.

How: rules set through the gateway; preflights and requests with an `Origin`, by hand.
"""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.fronts import boto
from harness.gateway import ACCESS_KEY, SECRET_KEY, Site
from harness.raw import Endpoint
from harness.recorder import Recorder
from harness.softhsm import Token

pytestmark = pytest.mark.gateway

PAGE = "https://app.example"
RULES = {
    "CORSRules": [
        {
            "AllowedOrigins": [PAGE, "https://*.trusted.example"],
            "AllowedMethods": ["GET", "PUT"],
            "AllowedHeaders": ["x-amz-*", "content-type"],
            "ExposeHeaders": ["ETag", "x-amz-request-id"],
            "MaxAgeSeconds": 120,
        },
        {"AllowedOrigins": ["*"], "AllowedMethods": ["HEAD"]},
    ]
}


@pytest.fixture
def endpoint(plain):
    return Endpoint.of(plain)


@pytest.fixture
def shared(plain):
    bucket = plain.new_bucket()
    plain.s3.put_bucket_cors(Bucket=bucket, CORSConfiguration=RULES)
    plain.s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    return bucket


def preflight(endpoint, bucket, origin=PAGE, method="GET", names=None):
    headers = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": names}
    headers = {name: value for name, value in headers.items() if value}
    return endpoint.send("OPTIONS", f"/{bucket}/k", headers=headers, sign=False)


def test_a_preflight_is_answered_by_the_buckets_rules(endpoint, shared):
    answer = preflight(endpoint, shared, method="PUT", names="X-Amz-Date, Content-Type")
    assert (answer.status, answer.body) == (200, b"")
    told = {name: value for name, value in answer.headers.items() if name.startswith("access-control")}
    assert told == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-amz-date, content-type",
        "access-control-expose-headers": "ETag, x-amz-request-id",
        "access-control-max-age": "120",
    }
    assert "Origin" in answer.headers["vary"]
    assert preflight(endpoint, shared, "https://a.trusted.example").status == 200
    anybody = preflight(endpoint, shared, "https://any.example", "HEAD").headers
    assert anybody["access-control-allow-origin"] == "*" and "access-control-allow-credentials" not in anybody


def test_what_no_rule_allows_is_forbidden(endpoint, shared, plain):
    def refusal(*arguments, **options):
        answer = preflight(endpoint, *arguments, **options)
        assert not any(name.startswith("access-control") for name in answer.headers)
        return answer.status, answer.code

    forbidden = (403, "AccessForbidden")
    assert refusal(shared, "https://evil.example") == forbidden
    assert refusal(shared, f"{PAGE}.evil.example") == forbidden
    assert refusal(shared, method="DELETE") == forbidden
    assert refusal(shared, names="authorization") == forbidden
    # A bucket without rules, one that is not there, and the gateway's own cannot be told apart.
    bare = plain.new_bucket()
    messages = {preflight(endpoint, name).body.split(b"<Resource>")[0] for name in (bare, "not-there", "sceau-control")}
    assert len(messages) == 1
    assert refusal(bare) == forbidden
    assert refusal(shared, method="PATCH") == (400, "BadRequest")
    assert refusal(shared, origin=None) == (400, "BadRequest")


def test_answers_tell_a_page_what_it_may_read(endpoint, shared):
    def ask(path, origin=PAGE, **options):
        return endpoint.send("GET", path, headers={"origin": origin}, **options)

    found = ask(f"/{shared}/k")
    assert found.body == b"data" and found.headers["access-control-allow-origin"] == PAGE
    assert found.headers["access-control-expose-headers"] == "ETag, x-amz-request-id"
    # Errors too: a page has to be able to read why.
    missing = ask(f"/{shared}/missing")
    assert (missing.status, missing.headers["access-control-allow-origin"]) == (404, PAGE)
    # Rules open nothing: without credentials it is denied all the same.
    assert ask(f"/{shared}/k", sign=False).status == 403
    other = ask(f"/{shared}/k", "https://evil.example")
    assert other.body == b"data" and not any(name.startswith("access-control") for name in other.headers)


def test_changed_rules_count_at_once_where_they_were_changed(endpoint, shared, plain):
    assert preflight(endpoint, shared).status == 200
    plain.s3.delete_bucket_cors(Bucket=shared)
    assert preflight(endpoint, shared).status == 403
    plain.s3.put_bucket_cors(Bucket=shared, CORSConfiguration=RULES)
    assert preflight(endpoint, shared).status == 200


class Mute(Recorder):
    """A store that never says what a bucket's CORS rules are."""

    def _copy(self, source, sink, keep):
        try:
            while data := source.recv(65536):
                if not (keep and b"?cors" in data.split(b"\r\n", 1)[0]):
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_strangers_do_not_queue_for_rules_that_the_store_keeps_to_itself(work, store):
    mute = Mute(store)
    site = Site(work / "cors", mute, Token(work / "cors-token"), control_bucket="sceau-cors-control")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    try:
        site.enrol()
        gateway = site.start("cors")
        boto(gateway.url, ACCESS_KEY, SECRET_KEY).create_bucket(Bucket="cors-mute")

        def ask(_):
            began = time.monotonic()
            endpoint = Endpoint(gateway.url, ACCESS_KEY, SECRET_KEY)
            status = preflight(endpoint, "cors-mute").status
            return status, time.monotonic() - began

        # Four ask the store at once; the others wait for a turn, though no longer than the first do.
        with ThreadPoolExecutor(24) as pool:
            answers = list(pool.map(ask, range(24)))
        assert {status for status, _ in answers} == {403}
        assert max(seconds for _, seconds in answers) < 9
    finally:
        site.stop()
        mute.stop()
