"""Promise: every use of a key has a reason that the policy may refuse, and every operation of the HSM a record.

How: a gateway on a token behind the fault shim, which counts what reaches the module; the gateway's log, in
which the records are numbered; and a policy file with and without tables about the use of keys.
"""

import re
import time

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site
from harness.process import wait_until
from harness.raw import Endpoint
from harness.softhsm import FaultyToken

pytestmark = pytest.mark.gateway

RECORD = re.compile(r"sceau::keys: .*key operation|key operation.*seq=")


@pytest.fixture(scope="module")
def front(work, store):
    site = Site(work / "reasons-site", store, FaultyToken(work / "reasons-token"), "reasons-control")
    policy = site.folder / "policy.toml"
    rules, _, _ = policy.read_text().partition("[[key_use]]")
    policy.write_text(
        rules + '[[bucket]]\nbuckets = ["no-*"]\nkey_cache = "off"\n'
        '[[key_use]]\nbuckets = ["no-ranges-*"]\nprincipals = ["tester"]\ndeny = ["range-read", "copy"]\n'
        '[[key_use]]\nbuckets = ["scanned-*"]\nallow = ["scan"]\n'
    )
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    yield Front("reasons", site.start("reasons"), work / "reasons", store)
    site.stop()


def records(front):
    """The fields of each record of a key operation in the log."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", front.server.server.log.read_text()).splitlines()
    found = []
    for line in lines:
        if "sceau::keys" in line and "key operation" in line:
            found.append(dict(re.findall(r'(\w+)="?([^" ]*)"?', line)))
    return found


def operations(front):
    token = front.server.site.token
    return token.calls("C_EncryptInit") + token.calls("C_DecryptInit")


def make(front, label):
    bucket = f"{label}-{time.time_ns()}"
    assert Endpoint.of(front).send("PUT", f"/{bucket}").status == 200
    assert Endpoint.of(front).send("PUT", f"/{bucket}/k", body=b"0123456789").status == 200
    return bucket


def test_a_denied_reason_never_reaches_the_hsm(front):
    bucket = make(front, "no-ranges")
    endpoint = Endpoint.of(front)
    assert endpoint.send("GET", f"/{bucket}/k").body == b"0123456789"
    before, seen = operations(front), len([r for r in records(front) if r["op"] == "probe"])
    for headers, method, path in [
        ({"range": "bytes=1-2"}, "GET", "/k"),
        ({"x-amz-copy-source": f"/{bucket}/k"}, "PUT", "/copy"),
    ]:
        answer = endpoint.send(method, f"/{bucket}{path}", headers=headers)
        assert (answer.status, answer.code) == (403, "AccessDenied"), answer
    probes = len([r for r in records(front) if r["op"] == "probe"]) - seen
    assert operations(front) - before <= probes + 1
    assert not [r for r in records(front) if r.get("reason") in ("range-read", "copy")]
    text = front.server.admin("/metrics")[1]
    assert 'sceau_key_uses_total{decision="denied",reason="range-read"} 1' in text


def test_every_operation_has_a_record_that_says_who_and_why(front):
    bucket = make(front, "no-cache")
    endpoint = Endpoint.of(front)
    answer = endpoint.send("GET", f"/{bucket}/k")
    wait_until("the record", lambda: [r for r in records(front) if r["request_id"] == answer.headers["x-amz-request-id"]], 5)
    (record,) = [r for r in records(front) if r["request_id"] == answer.headers["x-amz-request-id"]]
    expected = {"op": "unwrap", "reason": "client-read", "principal": "tester", "operation": "GetObject",
                "bucket": bucket, "outcome": "ok", "epoch": "1"}
    assert {name: record[name] for name in expected} == expected
    numbers = sorted(int(record["seq"]) for record in records(front))
    assert numbers == list(range(1, len(numbers) + 1)), "no number is missing"


def test_records_can_be_compared_with_the_hsms_own_log(front):
    """What the module saw is what was written down, but for the canary after each wrap."""
    bucket = make(front, "no-cache")
    time.sleep(0.2)
    before, recorded = operations(front), len(records(front))
    for _ in range(50):
        assert Endpoint.of(front).send("GET", f"/{bucket}/k").status == 200
    wait_until("records", lambda: len(records(front)) - recorded >= 50, 5)
    assert abs((operations(front) - before) - (len(records(front)) - recorded)) <= 1


def test_operators_read_nothing_until_the_policy_lets_them(front):
    site = front.server.site
    closed, opened = make(front, "closed"), make(front, "scanned")
    for command in (("verify", f"s3://{closed}/"), ("inspect", f"s3://{closed}/k")):
        refused = site.command(*command, check=False)
        assert refused.returncode == 3 and "key_use" in refused.stderr, refused.stderr
    done = site.command("verify", f"s3://{opened}/")
    assert "1 objects verified" in done.stdout
    assert 'reason="scan"' in done.stderr and 'principal="operator"' in done.stderr, done.stderr
