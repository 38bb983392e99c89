"""Promise: a store cannot make an upload into anything but what its client uploaded and completed.

How: rows P of the catalogue: upload states, tickets, part lists and stashed parts are changed, exchanged and replayed.
"""

import re
import urllib.request

import pytest

from adversary.catalogue import LEDGER
from adversary.victim import MIN, log_place, security_events
from harness import sof1
from harness.process import wait_until
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway


def forget(front):
    """Opened states are held; a drop makes the gateway read them again."""
    request = urllib.request.Request(f"http://127.0.0.1:{front.server.admin_port}/keys/drop", method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


class Upload:
    """An open upload."""

    def __init__(self, front, bucket, key):
        self.front, self.bucket, self.key, self.endpoint = front, bucket, key, Endpoint.of(front)
        control = front.server.site.control_bucket
        before = set(states(front))
        answer = self.endpoint.send("POST", f"/{bucket}/{key}", {"uploads": ""}, {"x-amz-meta-m": "v"})
        self.id = re.search(rb"<UploadId>(.*?)</UploadId>", answer.body)[1].decode()
        (self.state,) = set(states(front)) - before
        self.control = {"Bucket": control, "Key": self.state}

    def part(self, number, body):
        return self.endpoint.send("PUT", f"/{self.bucket}/{self.key}", {"partNumber": str(number), "uploadId": self.id}, body=body)

    def complete(self, etags):
        rows = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag></Part>" for n, e in etags.items())
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        return self.endpoint.send("POST", f"/{self.bucket}/{self.key}", {"uploadId": self.id}, body=body)

    def abort(self):
        return self.endpoint.send("DELETE", f"/{self.bucket}/{self.key}", {"uploadId": self.id})


def states(front):
    found = front.at_store().list_objects_v2(Bucket=front.server.site.control_bucket, Prefix="mpu/").get("Contents", [])
    return [entry["Key"] for entry in found if "/" not in entry["Key"][4:]]


@pytest.mark.row("P1")
def test_upload_states_that_were_changed(hostile, den):
    store, other_bucket = hostile.at_store(), hostile.new_bucket("den")
    one, other, foreign = Upload(hostile, den, "k"), Upload(hostile, den, "k"), Upload(hostile, other_bucket, "k")
    named = Upload(hostile, den, "name")
    raw = store.get_object(**one.control)["Body"].read()
    swapped = {what: store.get_object(**upload.control)["Body"].read()
               for what, upload in {"another upload": other, "another bucket": foreign, "another name": named}.items()}  # fmt: skip
    cases = {
        **swapped,
        "cut": raw[:-1],
        "cut to its head": raw[:100],
        "empty": b"",
        "longer": raw + b"\0",
        **{f"bit of byte {at}": raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :] for at in (0, 4, 5, 6, 8, 24, 56, 88, 100, 132, 148, len(raw) - 1)},
        "huge": raw + bytes(20_000),
    }
    assert one.part(1, b"x").status == 200
    for what, state in cases.items():
        store.put_object(**one.control, Body=state)
        forget(hostile)
        place = log_place(hostile)
        answer = one.part(1, b"x")
        assert (answer.status, answer.code) == (404, "NoSuchUpload"), f"{what}: {answer}"
        LEDGER.note("refused")
        assert wait_until(what, lambda: security_events(hostile, place), 5, 0.02) == ["state"], what
    store.delete_object(**one.control)
    forget(hostile)
    assert one.part(1, b"x").code == "NoSuchUpload"
    LEDGER.note("refused")
    store.put_object(**one.control, Body=raw)
    forget(hostile)
    etag = one.part(1, b"x").headers["etag"]
    assert one.complete({1: etag}).status == 200
    # Replayed after it was completed: the state opens again, and the store has no such upload.
    store.put_object(**one.control, Body=raw)
    forget(hostile)
    assert one.part(2, bytes(MIN)).status == 404
    # A part so small that it waits in the stash is taken, and no completion can use it.
    small = one.part(2, b"y")
    assert small.status == 200
    answer = one.complete({2: small.headers["etag"]})
    assert (answer.status, answer.code) == (404, "NoSuchUpload"), answer
    assert Endpoint.of(hostile).send("GET", f"/{den}/k").body == b"x"
    LEDGER.note("refused")
    store.delete_object(**one.control)
    for upload in (other, foreign, named):
        upload.abort()


@pytest.mark.row("P2")
def test_tickets_that_are_of_something_else(hostile, den, content):
    one, other = Upload(hostile, den, "k"), Upload(hostile, den, "k")
    etags = {number: one.part(number, content(MIN, number)).headers["etag"].strip('"') for number in (3, 4)}
    theirs = other.part(3, content(MIN, 3)).headers["etag"].strip('"')
    ticket, store = etags[3][-82:], etags[3][:-83]

    def edited(at):
        letter = "A" if ticket[at] != "A" else "B"
        return f"{store}-{ticket[:at]}{letter}{ticket[at + 1 :]}"

    cases = {
        "part 3 as part 4": {3: etags[3], 4: etags[3]},
        "exchanged": {3: etags[4], 4: etags[3]},
        "another upload's": {3: theirs},
        "another upload's ticket": {3: f"{store}-{theirs[-82:]}"},
        **{f"edited at {at}": {3: edited(at)} for at in (0, 20, 43, 45, 50, 60, 81)},
        "without": {3: store},
        "cut": {3: etags[3][:-1]},
    }
    for what, chosen in cases.items():
        answer = one.complete(chosen)
        assert (answer.status, answer.code) == (400, "InvalidPart"), f"{what}: {answer}"
        LEDGER.note("refused")
    assert one.complete(etags).status == 200
    got = Endpoint.of(hostile).send("GET", f"/{den}/k")
    assert got.body == content(MIN, 3) + content(MIN, 4)
    other.abort()


LISTS = {
    "a part missing": lambda text: re.sub(rb"<Part>.*?</Part>", b"", text, count=1, flags=re.S),
    "no parts": lambda text: re.sub(rb"<Part>.*</Part>", b"", text, flags=re.S),
    "other sizes": lambda text: re.sub(rb"<Size>\d+</Size>", f"<Size>{sof1.stored_part(MIN + 1)}</Size>".encode(), text),
    "impossible sizes": lambda text: re.sub(rb"<Size>\d+</Size>", b"<Size>17</Size>", text),
    "other ETags": lambda text: re.sub(rb"<ETag>.*?</ETag>", b'<ETag>"ffffffffffffffffffffffffffffffff"</ETag>', text),
    "other numbers": lambda text: text.replace(b"<PartNumber>1<", b"<PartNumber>7<"),
    "a part twice": lambda text: re.sub(rb"(<Part>.*?</Part>)", rb"\1\1", text, count=1, flags=re.S),
    "no document": lambda text: b"",
}


@pytest.mark.row("P6")
@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "unpinned"])
@pytest.mark.parametrize("lie", LISTS)
def test_lies_about_the_list_of_parts(hostile, den, content, lie, pinned):
    upload = Upload(hostile, den, "k")
    parts = {1: content(MIN, 1), 2: content(MIN, 2)}
    etags = {number: upload.part(number, body).headers["etag"].strip('"') for number, body in parts.items()}
    if not pinned:
        etags = {number: etag[:-83] + "-u" for number, etag in etags.items()}

    def rule(request, answer):
        if request.method == "GET" and "uploadId" in request.query:
            answer.body = LISTS[lie](answer.body)

    whole = parts[1] + parts[2]
    with hostile.liar.lying(rule):
        answer = upload.complete(etags)
    done = answer is not None and answer.status == 200 and b"<Error>" not in answer.body
    got = Endpoint.of(hostile).send("GET", f"/{den}/k")
    if done:
        assert got is None or got.status == 409 or got.body == whole, f"{lie}: {got}"
    else:
        assert got.status in (404, 409) or got.body == whole
        upload.abort()
    LEDGER.note("right" if got is not None and got.status == 200 else "refused")


@pytest.mark.row("P7")
def test_stashed_parts_that_were_changed(hostile, den, content):
    store = hostile.at_store()
    upload = Upload(hostile, den, "k")
    etag = upload.part(1, content(70_000, 1)).headers["etag"].strip('"')
    stash = {"Bucket": upload.control["Bucket"], "Key": f"{upload.state}/1"}
    raw = store.get_object(**stash)["Body"].read()
    honest_etag = store.head_object(**stash)["ETag"]
    attempt = upload.part(1, content(70_000, 2))
    newer = store.get_object(**stash)["Body"].read()
    assert attempt.status == 200 and newer != raw
    cases = {
        "another attempt": newer,
        "a bit": raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
        "the header": raw[:20] + bytes([raw[20] ^ 1]) + raw[21:],
        "cut": raw[:-1],
        "longer": raw + b"\0",
        "empty": b"",
    }
    for what, body in cases.items():
        for claimed in (False, True):
            store.put_object(**stash, Body=body)

            def rule(request, answer, claimed=claimed):
                if claimed and request.path.endswith(f"{upload.state}/1") and request.method in ("GET", "HEAD"):
                    answer.set("ETag", honest_etag)
                if claimed and upload.state in request.query.get("prefix", ""):
                    text = re.sub(rb"<ETag>.*?</ETag>", f"<ETag>{honest_etag}</ETag>".encode(), answer.body)
                    answer.body = re.sub(rb"<Size>\d+</Size>", f"<Size>{len(raw)}</Size>".encode(), text)

            # Also a store that claims that these are the bytes that were stored.
            with hostile.liar.lying(rule):
                answer = upload.complete({1: etag})
            assert answer.status in (400, 409), f"{what}, claimed: {claimed}: {answer}"
            assert Endpoint.of(hostile).send("GET", f"/{den}/k").status == 404
            LEDGER.note("refused")
    store.delete_object(**stash)
    assert upload.complete({1: etag}).status >= 400
    LEDGER.note("refused")
    store.put_object(**stash, Body=raw)
    assert upload.complete({1: etag}).status == 200
    assert Endpoint.of(hostile).send("GET", f"/{den}/k").body == content(70_000, 1)
