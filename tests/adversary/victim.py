"""One object, the bytes the store holds of it, and what readers get of it.

Every read after a mutation is counted in the ledger: refused, or right. Anything else fails the test.
"""

import re

from adversary.catalogue import LEDGER, R0
from harness import sof1
from harness.process import wait_until
from harness.raw import Endpoint

HEADER = "sceauh1"
MIN = 5 * 1024 * 1024


def security_events(front, since):
    """Classes of the refusals that the gateway logged after a place in its log; the alarm of many is none."""
    text = front.server.server.log.read_bytes()[since:].decode(errors="replace")
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return [kind for kind in re.findall(r"sceau::security.*?\bclass=\"?([a-z-]+)", text) if kind != "alarm"]


def alarms(front, since):
    """How often the alarm of many refusals was logged after a place in the log."""
    return front.server.server.log.read_bytes()[since:].count(b"many stored objects are refused")


def log_place(front):
    return front.server.server.log.stat().st_size


class Victim:
    """One object."""

    def __init__(self, front, bucket, key, plain):
        self.front, self.bucket, self.key, self.plain = front, bucket, key, plain
        self.store, self.endpoint = front.at_store(), Endpoint.of(front)
        answer = self.store.get_object(Bucket=bucket, Key=key)
        self.body, self.header = answer["Body"].read(), answer["Metadata"][HEADER]
        assert set(answer["Metadata"]) == {HEADER}
        assert answer["ContentType"] == "application/octet-stream"
        assert len(self.body) == sof1.stored(len(plain))

    def become(self, body=None, header=None, key=None):
        """What the store holds from now on."""
        metadata = {HEADER: self.header if header is None else header}
        body = self.body if body is None else body
        self.store.put_object(Bucket=self.bucket, Key=key or self.key, Body=body, Metadata=metadata)

    def ask(self, method="GET", span=None, key=None, **options):
        headers = {"range": f"bytes={span[0]}-{span[1]}"} if span else {}
        return self.endpoint.send(method, f"/{self.bucket}/{key or self.key}", headers=headers, **options)

    def read(self, span=None, key=None):
        """The bytes a reader gets, or None when the read is refused or broken off."""
        answer = self.ask(span=span, key=key)
        if answer is None or answer.status >= 400:
            assert answer is None or answer.status in (409, 416) or answer.status >= 500 or answer.code, answer
            return None
        assert answer.status == (206 if span else 200)
        assert len(answer.body) == int(answer.headers["content-length"])
        return answer.body

    def spans(self):
        """The first and the last bytes, and the middle."""
        size = len(self.plain)
        return [(0, min(3, size - 1)), (size // 2, size // 2), (max(0, size - 4), size - 1)]

    def check(self, what, key=None, ranges_may_be_right=True, classes=None):
        """A whole read is refused; ranges are refused or right. `classes`: of the events that this may log."""
        place = log_place(self.front) if classes else 0
        assert self.read(key=key) is None, f"{what}: whole read answered"
        LEDGER.note("refused")
        if classes:
            found = wait_until(f"{what}: a security event", lambda: security_events(self.front, place), 5, 0.02)
            assert set(found) <= set(classes), f"{what}: {found}"
        for first, last in self.spans() if self.plain else ():
            got = self.read((first, last), key)
            if got is not None:
                assert ranges_may_be_right, f"{what}: range {first}-{last} answered"
                assert got == self.plain[first : last + 1], f"{what}: range {first}-{last} is wrong"
            LEDGER.note("refused" if got is None else "right")

    def check_right(self):
        """What every case begins with: without a mutation the same reads succeed."""
        assert self.read() == self.plain
        for first, last in self.spans() if self.plain else ():
            assert self.read((first, last)) == self.plain[first : last + 1]

    def check_undetected(self, what, plain):
        """Documented: the store may do this. What comes is one honest object, whole."""
        assert self.read() == plain, what
        LEDGER.note(R0)


def single(front, bucket, key, plain):
    front.s3.put_object(Bucket=bucket, Key=key, Body=plain, Metadata={"m": "v"})
    return Victim(front, bucket, key, plain)


def multipart(front, bucket, key, parts):
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = front.s3.create_multipart_upload(**names)["UploadId"]
    done = []
    for number, body in enumerate(parts, 1):
        etag = front.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]
        done.append({"PartNumber": number, "ETag": etag})
    front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": done})
    return Victim(front, bucket, key, b"".join(parts))
