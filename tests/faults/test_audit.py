"""Promise: with an audit trail every request has one record, and nobody changes a record unseen.

How: gateways with trails of their own; clients that go away, a process that is killed, a disk that is full (a limit on the
size of files); files altered as somebody without the key could; exports read by a CEF parser and an OCSF schema of others.
"""

import collections
import json
import re
import resource
import threading
import time

import jsonschema
import pytest
from cefp import CEFParser
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from harness.fronts import Front
from harness.gateway import run
from harness.process import wait_until
from harness.raw import UNSIGNED, Endpoint

pytestmark = pytest.mark.gateway

# What a killed process may take with it, beside requests in flight: docs/operations.md.
QUEUE_RECORDS = 8192


class Trailed:
    """A gateway with a trail, and its front."""

    def __init__(self, site, work, store, mode, more=""):
        self.folder = work / f"trail-{len(site.gateways)}"
        table = f'[audit]\nmode = "{mode}"\ndirectory = "{self.folder}"\ncheckpoint_records = 20\n{more}\n'
        self.gateway = site.start(f"audit-{len(site.gateways)}", more=table)
        self.front = Front(self.gateway.name, self.gateway, work / self.gateway.name, store)

    def files(self):
        return sorted(self.folder.glob("audit-*.jsonl"))

    def records(self, event=None):
        lines = b"".join(path.read_bytes() for path in self.files()).splitlines()
        every = [json.loads(line) for line in lines]
        return [record for record in every if event in (None, record["event"])]

    def audit(self, command, *arguments, check=True):
        words = ["audit", command, "--config", self.gateway.config, *arguments]
        return run(words, self.gateway.site.env, check=check)

    def verify(self, *arguments):
        done = self.audit("verify", "--output", "json", *arguments, check=False)
        assert done.returncode in (0, 1), done.stderr
        report = json.loads(done.stdout)
        assert report["whole"] == (done.returncode == 0)
        return report

    def metric(self, name):
        text = self.gateway.admin("/metrics")[1]
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


@pytest.fixture
def trailed(site, work, store):
    made = []

    def start(mode, more=""):
        made.append(Trailed(site, work, store, mode, more))
        return made[-1]

    yield start
    for one in made:
        one.gateway.stop()


def send(front, method, path, body=b""):
    answer = Endpoint.of(front).send(method, path, body=body)
    return (0, None) if answer is None else (answer.status, answer.headers.get("x-amz-request-id"))


def test_every_request_has_one_record_also_when_clients_go_away(trailed, content):
    trail = trailed("require")
    bucket = trail.front.new_bucket("audit")
    odd = "a|b\\c=d\n é %00 \U0001f512 x"
    trail.front.s3.put_object(Bucket=bucket, Key=odd, Body=b"odd")
    asked = [send(trail.front, "GET", f"/{bucket}/{name}")[1] for name in ("missing", "x") for _ in range(5)]
    asked.append(send(trail.front, "GET", "/sceau-control/x")[1])
    endpoint, body = Endpoint.of(trail.front), content(3_000_000, 1)
    trail.front.s3.put_object(Bucket=bucket, Key="big", Body=body)
    for cut in range(6):
        signed = endpoint.signed("PUT", f"/{bucket}/cut-{cut}", (), {}, UNSIGNED).headers
        head = endpoint.head("PUT", f"/{bucket}/cut-{cut}", (), {**signed, "content-length": str(len(body))})
        connection = endpoint.connect()
        connection.sendall(head + body[: 100_000 * cut])
        connection.close()
        signed = endpoint.signed("GET", f"/{bucket}/big", (), {}, UNSIGNED).headers
        connection = endpoint.connect()
        connection.sendall(endpoint.head("GET", f"/{bucket}/big", (), signed))
        connection.recv(1 + cut)
        connection.close()
    wait_until("no request in flight", lambda: trail.metric("sceau_requests_in_flight") == 0, 60)
    served = trail.metric("sceau_access_log_records_total")
    operations = trail.metric("sceau_key_operations_total")
    trail.gateway.stop()
    requests = trail.records("request")
    ids = collections.Counter(record["request_id"] for record in requests)
    assert len(ids) == len(requests) == served
    assert set(asked) <= set(ids)
    assert any(record["outcome"] == "cut" for record in requests)
    assert any(record.get("key") == odd for record in requests)
    # The gateway's own health checks may come between the two counts.
    assert len(trail.records("key")) >= operations
    assert [record["event"] for record in trail.records()][-2:] == ["stop", "checkpoint"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in trail.files())
    report = trail.verify()
    assert report["findings"] == [] and report["checkpoints_verified"]
    check_cef(trail.audit("export", "--format", "cef").stdout, trail, odd)
    check_ocsf(trail.audit("export", "--format", "ocsf").stdout, trail)
    whole = trail.audit("export", "--format", "json").stdout
    assert whole.encode() == b"".join(path.read_bytes() for path in trail.files())
    check_tampering(trail)


def check_cef(text, trail, odd):
    lines = text.rstrip("\n").split("\n")
    records = [record for record in trail.records() if record["event"] != "checkpoint"]
    assert len(lines) == len(records)
    for line, record in zip(lines, records):
        parsed = CEFParser.parse(line)
        assert (parsed["version"], parsed["device"]["vendor"]) == ("0", "Sceau")
        assert parsed["name"] == record.get("operation", record["event"])
        extension = parsed["extension"]
        assert int(extension["externalId"]) == record["seq"]
        assert extension.get("filePath", "") == record.get("key", "")
        assert extension.get("suser", "") == record.get("principal", "")
        assert extension.get("cs1", "") == record.get("bucket", "")
    assert any(record.get("key") == odd for record in records)


def check_ocsf(text, trail):
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.5.0"))
    classes = {6005: "datastore_activity", 6003: "api_activity"}
    checks = {uid: jsonschema.Draft202012Validator(schema.get_class_schema(name)) for uid, name in classes.items()}
    events = [json.loads(line) for line in text.splitlines()]
    assert {event["class_uid"] for event in events} == set(classes)
    for event in events:
        faults = [error.message for error in checks[event["class_uid"]].iter_errors(event)]
        assert not faults, (event, faults)
    assert len(events) == sum(record["event"] != "checkpoint" for record in trail.records())
    broken = {**events[0], "activity_id": 4711}
    assert list(checks[broken["class_uid"]].iter_errors(broken)), "the schema checks nothing"


def check_tampering(trail):
    path = trail.files()[-1]
    lines = path.read_bytes().splitlines(keepends=True)
    middle = next(n for n, line in enumerate(lines) if n > 5 and b'"request"' in line)
    swapped = [*lines]
    swapped[middle], swapped[middle + 1] = lines[middle + 1], lines[middle]
    sealed = max(n for n, line in enumerate(lines[:-1]) if b'"mac"' in line)
    cases = {
        "removed": (lines[:middle] + lines[middle + 1 :], "missing"),
        "changed": (lines[:middle] + [lines[middle].replace(b"tester", b"nobody", 1)] + lines[middle + 1 :], "changed"),
        "reordered": (swapped, "out of order"),
        "cut": (lines[:-1], "what followed is missing"),
    }
    for name, (altered, words) in cases.items():
        assert altered != lines, name
        path.write_bytes(b"".join(altered))
        report = trail.verify()
        assert any(words in found["finding"] for found in report["findings"]), (name, report)
    last = trail_end(trail, path, lines)
    path.write_bytes(b"".join(lines[: sealed + 1]))
    assert trail.verify()["findings"] == [], "cut behind a checkpoint: the files alone do not show it"
    assert not trail.verify("--contains", last)["whole"]
    path.write_bytes(b"".join(lines))
    assert trail.verify("--contains", last)["whole"]


def trail_end(trail, path, lines):
    path.write_bytes(b"".join(lines))
    chain = trail.verify()["chains"][0]
    return f"{chain['instance']}:{chain['last_seq']}:{chain['last_hash']}"


def test_the_chain_goes_on_after_a_kill_and_the_loss_is_told(trailed):
    trail = trailed("require")
    bucket = trail.front.new_bucket("audit-kill")
    answered, stopped = set(), threading.Event()

    def client():
        while not stopped.is_set():
            try:
                status, number = send(trail.front, "PUT", f"/{bucket}/k-{time.time_ns()}", b"x" * 100)
            except OSError:
                continue
            if status == 200:
                answered.add(number)

    threads = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until("load", lambda: len(answered) > 100, 60)
    trail.gateway.server.kill()
    stopped.set()
    for thread in threads:
        thread.join(60)
    recorded = {record["request_id"] for record in whole_records(trail)}
    assert len(answered - recorded) <= QUEUE_RECORDS + len(threads)
    assert len(answered & recorded) > 50
    trail.gateway.start()
    assert send(trail.front, "GET", f"/{bucket}/nothing")[0] == 404
    assert trail.verify("--live")["whole"]
    trail.gateway.stop()
    report = trail.verify()
    assert report["findings"] == []
    (chain,) = report["chains"]
    assert chain["unclean_starts"] == 1
    assert [r["detail"].split("before=")[1] for r in whole_records(trail, "start")] == ["none", "killed"]


def whole_records(trail, event="request"):
    """Records of lines that were finished."""
    lines = [line for path in trail.files() for line in path.read_bytes().splitlines(keepends=True)]
    records = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [record for record in records if record["event"] == event]


@pytest.mark.parametrize("mode", ["require", "prefer"])
def test_a_full_disk(trailed, mode):
    trail = trailed(mode, 'wait = "500ms"')
    bucket = trail.front.new_bucket("audit-full")
    # The log grows in a file too, and is behind the limit as well: what cannot be logged is of no concern here.
    limit = resource.prlimit(trail.gateway.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(trail.gateway.server.pid, resource.RLIMIT_FSIZE, (1000, limit[1]))
    name = f"/{bucket}/while-full"
    if mode == "require":
        wait_until("refusals", lambda: send(trail.front, "GET", f"/{bucket}/x")[0] == 503, 60)
        answer = Endpoint.of(trail.front).send("PUT", name, body=b"x")
        assert (answer.status, answer.code) == (503, "ServiceUnavailable") and "retry-after" in answer.headers
    else:
        send(trail.front, "GET", f"/{bucket}/x")
        wait_until("failures", lambda: trail.metric("sceau_audit_write_failures_total") > 0, 60)
        assert send(trail.front, "PUT", name, b"x")[0] == 200
    assert trail.metric("sceau_audit_write_failures_total") > 0
    resource.prlimit(trail.gateway.server.pid, resource.RLIMIT_FSIZE, limit)
    served = 404 if mode == "require" else 200
    wait_until("service", lambda: send(trail.front, "GET", name)[0] == served, 60)
    wait_until("no request in flight", lambda: trail.metric("sceau_requests_in_flight") == 0, 60)
    requests = trail.metric("sceau_access_log_records_total")
    trail.gateway.stop()
    report = trail.verify()
    assert report["findings"] == []
    assert len(trail.records("request")) == requests
    assert report["chains"][0]["lost"] == 0


def test_names_can_be_masked_and_a_folder_has_one_gateway(trailed, site):
    trail = trailed("prefer", 'names = "hashed"')
    bucket = trail.front.new_bucket("audit-names")
    for _ in range(2):
        trail.front.s3.put_object(Bucket=bucket, Key="payroll/2026", Body=b"x")
    second = site.config("audit-second", data=0, admin=0, more=trail.gateway.config.read_text().split('level = "debug"')[1])
    done = run(["serve", "--config", second], site.env, check=False)
    assert done.returncode == 2 and "E-AUDIT-002" in done.stderr
    trail.gateway.stop()
    assert not any(b"payroll" in path.read_bytes() for path in trail.files())
    hashes = [record["key_hash"] for record in trail.records("request") if "key_hash" in record]
    assert len(hashes) >= 2 and len(set(hashes)) == 1 and re.fullmatch("[0-9a-f]{64}", hashes[0])
    shown = trail.audit("tail", "-n", "3").stdout
    assert "stop" in shown and "payroll" not in shown
