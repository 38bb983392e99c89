"""Promise: how often the HSM is asked: hardly ever while keys are held, once for each request where they are not.

How: the fault shim writes down every call that reaches the module; HSM operations are the encryptions and
decryptions begun there. Health checks every ten seconds are among them.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site
from harness.process import wait_until
from harness.raw import Endpoint
from harness.softhsm import FaultyToken

pytestmark = pytest.mark.gateway

REQUESTS = 20_000
OFF_REQUESTS = 200
CACHE_SECONDS = 300
# A health check unwraps one canary; checks come every ten seconds.
PROBE_SECONDS = 10
PROBE_OPERATIONS = 1


@pytest.fixture(scope="module")
def front(work, store):
    site = Site(work / "operations-site", store, FaultyToken(work / "operations-token"), "operations-control")
    policy = site.folder / "policy.toml"
    policy.write_text(policy.read_text() + '\n[[bucket]]\nbuckets = ["never-held-*"]\nkey_cache = "off"\n')
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    gateway = site.start("operations", keys=f'cache_ttl = "{CACHE_SECONDS}s"')
    yield Front("operations", gateway, work / "operations", store)
    site.stop()


def operations(front):
    token = front.server.site.token
    return token.calls("C_EncryptInit") + token.calls("C_DecryptInit")


def probes(front):
    """Operations of health checks so far, by the gateway's own count of checks."""
    lines = front.server.admin("/metrics")[1].splitlines()
    checks = sum(float(line.rsplit(" ", 1)[1]) for line in lines
                 if line.startswith('sceau_kms_requests_total{op="probe"'))
    return int(checks) * PROBE_OPERATIONS


def exchange(front, requests, bucket):
    """So many PUTs and as many GETs of small objects; answers how long it took."""
    def one(number):
        endpoint, path = Endpoint.of(front), f"/{bucket}/k-{number % 50}"
        body = b"%d" % (number % 50)
        put = endpoint.send("PUT", path, body=body)
        got = endpoint.send("GET", path)
        assert (put.status, got.status, got.body) == (200, 200, body), (put, got)

    begun = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(requests // 2)))
    return time.monotonic() - begun


def test_held_keys_cost_the_hsm_nothing_per_request(front):
    bucket = front.new_bucket("held")
    exchange(front, 2, bucket)
    before, probed = operations(front), probes(front)
    seconds = exchange(front, REQUESTS, bucket)
    used = operations(front) - before
    ours = used - (probes(front) - probed)
    print(f"{REQUESTS} requests in {seconds:.0f} s: {used} HSM operations, {ours} of them not health checks")
    # The one key of the bucket is unwrapped anew when its time is over, and not for requests.
    assert ours <= seconds // CACHE_SECONDS + 1
    # Between two expiries there is one unwrapping; a million requests at this rate see so many expiries.
    rate = REQUESTS / seconds
    per_million = 1_000_000 / rate / CACHE_SECONDS
    print(f"at {rate:.0f} requests/s a million take {1_000_000 / rate:.0f} s: {per_million:.1f} unwrappings, and "
          f"{1_000_000 / rate / PROBE_SECONDS * PROBE_OPERATIONS:.0f} operations of health checks")


def test_keys_that_are_never_held_are_unwrapped_once_for_each_request(front):
    bucket = f"never-held-{time.time_ns()}"
    assert Endpoint.of(front).send("PUT", f"/{bucket}").status == 200
    before, probed = operations(front), probes(front)
    exchange(front, OFF_REQUESTS, bucket)
    used = operations(front) - before - (probes(front) - probed)
    # A check may be under way at either end.
    assert abs(used - OFF_REQUESTS) <= PROBE_OPERATIONS, used
    # Disabled is refused at once: nothing was held.
    token = front.server.site.token
    token.faults("C_DecryptInit code=CKR_KEY_FUNCTION_NOT_PERMITTED")
    answer = Endpoint.of(front).send("GET", f"/{bucket}/k-1")
    token.faults()
    assert answer.status in (403, 503), answer
    wait_until("keys", lambda: Endpoint.of(front).send("GET", f"/{bucket}/k-1").status == 200, 15)


def test_uploads_to_such_buckets_hold_nothing_either(front, content):
    bucket = f"never-held-{time.time_ns()}"
    front.s3.create_bucket(Bucket=bucket)
    upload = front.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    before, probed = operations(front), probes(front)
    parts = []
    for number in (1, 2, 3):
        body = content(5 << 20, number)
        made = front.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": made["ETag"]})
    used = operations(front) - before - (probes(front) - probed)
    assert abs(used - len(parts)) <= PROBE_OPERATIONS, used
    front.s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert front.s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"".join(
        content(5 << 20, number) for number in (1, 2, 3)
    )
