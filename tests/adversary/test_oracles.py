"""Promise: whoever tries forgeries learns from the answers whether one worked, and nothing else; the operator learns of it.

How: row O1 of the catalogue, and the answers to "not this key", "not this name", "corrupt" side by side.
"""

import re
import statistics
import time

import pytest

from adversary.catalogue import LEDGER
from adversary.conftest import hostile_front
from adversary.victim import Victim, alarms, log_place, multipart, security_events, single
from harness.process import wait_until
from harness.raw import Endpoint
from second_reader import reader

pytestmark = pytest.mark.gateway


def alarm(front):
    return int(re.search(r"^sceau_integrity_alarm (\d)", front.server.admin("/metrics")[1], re.M)[1])


def failures(front):
    return {kind: int(count) for kind, count in re.findall(r'sceau_integrity_failures_total\{kind="([a-z]+)"\} (\d+)', front.server.admin("/metrics")[1])}


def shown(answer):
    """What a client sees, less what differs in every answer."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("date", "x-amz-request-id")}
    return answer.status, headers, re.sub(rb"<RequestId>.*?</RequestId>", b"", answer.body)


@pytest.mark.row("O1")
def test_every_refusal_looks_the_same_to_a_client(hostile, den, content):
    victim, other = single(hostile, den, "k", content(500, 1)), single(hostile, den, "o", content(500, 2))
    elsewhere = single(hostile, hostile.new_bucket("den"), "k", content(500, 3))
    many = multipart(hostile, den, "k", [content(500, 4)])
    raw = reader.base64url(victim.header)
    encode = lambda data: reader.base64.urlsafe_b64encode(data).rstrip(b"=").decode()  # noqa: E731
    flip = lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]  # noqa: E731
    cases = {
        "not this key": ("policy", victim.body, elsewhere.header),
        "no such key": ("policy", victim.body, encode(raw[:8] + bytes(16) + raw[24:])),
        "not this name": ("context", victim.body, other.header),
        "another commitment": ("context", victim.body, encode(flip(raw, 60))),
        "corrupt": ("header", victim.body, encode(flip(raw, 150))),
        "malformed": ("header", victim.body, "AAAA"),
        "unknown suite": ("policy", victim.body, encode(flip(raw, 5))),
        "corrupt segment": ("tag", flip(victim.body, 100), victim.header),
        "another body": ("tag", other.body, victim.header),
        "wrong length": ("length", victim.body[:-1], victim.header),
        "corrupt trailer": ("trailer", flip(many.body, len(many.body) - 1), many.header),
    }
    answers, times = {}, {}
    for what, (kind, body, header) in cases.items():
        victim.become(body, header)
        place, before = log_place(hostile), failures(hostile)[kind]
        answers[what] = shown(victim.ask())
        assert wait_until(what, lambda: security_events(hostile, place), 5, 0.02)[0] == kind, what
        assert failures(hostile)[kind] == before + 1, what
        LEDGER.note("refused")
        spent = []
        for _ in range(9):
            begin = time.perf_counter()
            victim.ask()
            spent.append(time.perf_counter() - begin)
        times[what] = statistics.median(spent) * 1000
        victim.become(body, header)
        assert victim.ask("HEAD").status == 409 or kind == "tag"
    assert len({str(answer) for answer in answers.values()}) == 1, answers
    status, _, document = answers["corrupt"]
    assert status == 409 and b"ObjectIntegrityFailure" in document
    # Printed, not judged: the machine may be busy. What differs is requests to the store, which it sees anyway.
    print("median ms:", {what: round(value, 1) for what, value in times.items()})


@pytest.mark.row("O1")
def test_many_forgeries_raise_an_alarm(work, store, content):
    front, site = hostile_front(work, "forgeries", store)
    try:
        bucket = front.new_bucket("forged")
        victim = single(front, bucket, "k", content(70_000, 1))
        victim.check_right()
        assert alarm(front) == 0
        place, seen = log_place(front), set()
        for attempt in range(200):
            forged = victim.body[:78] + attempt.to_bytes(12, "big") + victim.body[90:]
            victim.become(forged)
            answer = Endpoint.of(front).send("GET", f"/{bucket}/k", headers={"range": "bytes=0-9"})
            seen.add(str(shown(answer)))
            LEDGER.note("refused")
        assert len(seen) == 1 and "409" in seen.pop()
        assert failures(front)["tag"] == 200 and alarm(front) == 1
        events = wait_until("all events", lambda: len(security_events(front, place)) >= 200 and security_events(front, place), 5)
        assert events.count("tag") == 200 and alarms(front, place) == 1
        victim.become()
        victim.check_right()
        Victim(front, bucket, "k", victim.plain)
    finally:
        site.stop()
        front.liar.stop()
