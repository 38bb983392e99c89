"""Promise: after a key was disabled in the HSM and keys were dropped, no gateway reads or writes with it.

How: two gateways on one token behind the fault shim, which refuses the key as an HSM does where it was
disabled. Keys are cached for five minutes, so that only the drop can be what ends their use.
"""

import json
import signal
import time
import urllib.error
import urllib.request

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site
from harness.process import wait_until
from harness.raw import Endpoint
from harness.softhsm import FaultyToken

pytestmark = pytest.mark.gateway

REFRESH_SECONDS = 1
KEYS = f'cache_ttl = "300s"\nrefresh = "{REFRESH_SECONDS}s"'
DISABLED = [f"{name} code=CKR_KEY_FUNCTION_NOT_PERMITTED" for name in ("C_DecryptInit", "C_EncryptInit")]


@pytest.fixture(scope="module")
def replicas(work, store):
    """Two gateways of one site."""
    site = Site(work / "revoke-site", store, FaultyToken(work / "revoke-token"), "revoke-control")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    fronts = [Front(name, site.start(name, keys=KEYS), work / name, store) for name in ("revoke-1", "revoke-2")]
    yield site, fronts
    site.token.faults()
    site.stop()


@pytest.fixture
def reading(replicas, content):
    """A site, and a function that says which replicas read an object; all do when the test begins."""
    site, fronts = replicas
    site.token.faults()
    body = content(100_000, 3)
    # After the faults of the test before: as soon as the canary was tried again.
    bucket = f"revoke-{time.time_ns()}"
    wait_until("a new bucket", lambda: Endpoint.of(fronts[0]).send("PUT", f"/{bucket}").status == 200, 15)
    wait_until("a new object", lambda: put(fronts[0], bucket, body), 10)

    def read():
        answers = [Endpoint.of(front).send("GET", f"/{bucket}/k") for front in fronts]
        for answer in answers:
            if answer.status == 200:
                assert answer.body == body
            else:
                assert answer.status in (403, 503), answer
                assert body[:64] not in answer.body
        return [answer.status == 200 for answer in answers]

    wait_until("both replicas read", lambda: read() == [True, True], 15)
    yield site, fronts, bucket, read
    site.token.faults()


def put(front, bucket, body):
    return Endpoint.of(front).send("PUT", f"/{bucket}/k", body=body).status == 200


def post(gateway, headers=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{gateway.admin_port}/keys/drop", method="POST", headers=headers or {}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_held_keys_serve_on_until_they_are_dropped(reading):
    site, fronts, _, read = reading
    site.token.faults(*DISABLED)
    for _ in range(3):
        assert read() == [True, True], "a held key outlives its disabling, which is what the drop is for"
        time.sleep(REFRESH_SECONDS)
    status, text = post(fronts[0].server)
    assert status == 200 and "keys were held" in text
    assert read() == [False, True], "the admin call is for one gateway"
    fronts[1].server.server.child.send_signal(signal.SIGUSR1)
    wait_until("the signal", lambda: read() == [False, False], 2, 0.02)
    site.token.faults()
    wait_until("the key works again", lambda: read() == [True, True], 10)


def test_a_call_reaches_every_replica_although_the_key_is_disabled_already(reading):
    site, fronts, bucket, read = reading
    site.token.faults(*DISABLED)
    begun = time.monotonic()
    done = site.command("keys drop-all", "--output", "json")
    called = time.monotonic()
    wait_until("the last replica refuses", lambda: read() == [False, False], REFRESH_SECONDS + 5, 0.02)
    took = time.monotonic() - begun
    print(f"key disabled, then drop-all: the last replica refused {took:.2f} s after the command began "
          f"({called - begun:.2f} s of it the command), refresh {REFRESH_SECONDS} s")
    assert json.loads(done.stdout)["called"] is True
    assert json.loads(done.stdout)["generation"] is None, "nothing can be authenticated without the key"
    assert not put(fronts[0], bucket, b"x"), "writing ends with it"


def test_a_call_while_the_key_works_is_put_on_record(reading):
    site, fronts, _, read = reading
    before = generation(fronts[0])
    done = json.loads(site.command("keys drop-all", "--output", "json").stdout)
    assert done["generation"] == before + 1
    for front in fronts:
        wait_until("the generation", lambda: generation(front) == before + 1, 10)
    assert read() == [True, True], "a drop alone costs nobody an answer"


def test_pages_cannot_drop_keys(reading):
    _, fronts, _, _ = reading
    before = drops(fronts[0])
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(fronts[0].server, {"Origin": "http://evil.example"})
    assert refused.value.code == 403
    assert fronts[0].server.admin("/keys/drop")[0] == 405
    assert drops(fronts[0]) == before


def test_without_the_hsm_held_keys_serve_for_their_time_and_no_longer(replicas, work, store, content):
    """What fails first is what needs a new key; reading and writing go on until keys.cache_ttl is over."""
    site, _ = replicas
    site.token.faults()
    ttl = 6
    gateway = site.start("revoke-outage", keys=f'cache_ttl = "{ttl}s"\nrefresh = "{REFRESH_SECONDS}s"')
    endpoint = Endpoint.of(Front("revoke-outage", gateway, work / "revoke-outage", store))
    bucket, body = f"outage-{time.time_ns()}", content(100_000, 5)
    wait_until("a bucket", lambda: endpoint.send("PUT", f"/{bucket}").status == 200, 15)
    time.sleep(ttl + 1)
    unwrapped = time.monotonic()
    assert endpoint.send("PUT", f"/{bucket}/k", body=body).status == 200
    site.token.faults("* code=CKR_DEVICE_REMOVED")
    try:
        refused = endpoint.send("PUT", f"/{bucket}-2")
        assert refused.status == 503 and int(refused.headers["retry-after"]) >= 1, refused
        print(f"no new bucket {time.monotonic() - unwrapped:.1f} s after the unwrapping")
        ended = {}
        while len(ended) < 2 and time.monotonic() < unwrapped + ttl + 6:
            for method in {"GET", "PUT"} - set(ended):
                answer = endpoint.send(method, f"/{bucket}/k", body=body if method == "PUT" else b"")
                if answer.status != 200:
                    assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1, answer
                    ended[method] = time.monotonic() - unwrapped
                elif method == "GET":
                    assert answer.body == body
            time.sleep(0.05)
        print("refused after:", {method: f"{after:.1f} s" for method, after in ended.items()})
        assert all(ttl - 0.5 <= after <= ttl + 5.5 for after in ended.values()) and len(ended) == 2, ended
        # Names and deletions need no key.
        assert endpoint.send("GET", f"/{bucket}", query={"list-type": "2"}).status == 200
        assert endpoint.send("DELETE", f"/{bucket}/k").status == 204
    finally:
        site.token.faults()
        gateway.stop()


def metric(front, start):
    lines = front.server.admin("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


def generation(front):
    return int(metric(front, "sceau_keyring_generation"))


def drops(front):
    return metric(front, 'sceau_key_drops_total{cause="admin"}')
