"""Promise: two hundred slow uploads at once cost the memory that docs/operations.md states, and each comes
out whole or not at all.

How: raw sockets, all open at the same time, in aws-chunked framing: signed chunks of 64 KiB, signed chunks
of 8 MiB, unsigned chunks with a checksum in the trailer. Clients send 64 KiB at a time and pause. A
quarter of them end their objects, which are read back; the others are cut. `./test --full` sends 64 MiB each.
"""

import asyncio
import hashlib
import re

import pytest

from harness import settings
from harness.fronts import Front
from harness.process import wait_until
from harness.raw import STREAMING, UNSIGNED_TRAILER, Endpoint, crc32

pytestmark = pytest.mark.gateway

KIB = 1024
MIB = 1024 * KIB
CLIENTS = 200
# What docs/operations.md states: "memory = base + limits.in_flight x 1 MiB".
UPLOAD_LIMIT_MIB = 1
BASE_LIMIT_MIB = 64
PIECE = 64 * KIB
TICK_SECONDS = 0.25
# Longest time that a client spends on waiting between its pieces, but for `--full`.
SLOW_SECONDS = 60 if settings.FULL else 6
# What a client that is cut announces, and what it sends of it.
CUT_SIZE = 64 * MIB
CUT_SENT = 64 * MIB - PIECE if settings.FULL else 512 * KIB
WHOLE_SIZE = 64 * MIB if settings.FULL else 768 * KIB + 1
PATIENCE_SECONDS = 900 if settings.FULL else 90


class Upload:
    """One client: its object, its kind of framing, and whether it ends what it began."""

    KINDS = [(STREAMING, 64 * KIB), (STREAMING, 8 * MIB), (UNSIGNED_TRAILER, 64 * KIB)]

    def __init__(self, number, bucket):
        self.payload, self.chunk = self.KINDS[number % len(self.KINDS)]
        self.is_whole = number % 4 == 0
        self.size = max(WHOLE_SIZE, self.chunk + 1) if self.is_whole else CUT_SIZE
        self.key, self.path = f"o/{number}", f"/{bucket}/o/{number}"
        self.answer = None

    def pieces(self, endpoint, content):
        """The request in pieces of 64 KiB; the head comes first, by itself."""
        is_signed = self.payload == STREAMING
        headers = {"x-amz-decoded-content-length": str(self.size), "content-encoding": "aws-chunked"}
        if not is_signed:
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        signature = endpoint.signed("PUT", self.path, (), headers, self.payload)
        yield endpoint.head("PUT", self.path, (), {**signature.headers, "transfer-encoding": "chunked"})
        for start in range(0, self.size, self.chunk):
            data = content[start : min(start + self.chunk, self.size)]
            digest = hashlib.sha256(data).hexdigest() if is_signed else ""
            line = signature.chunk_line(len(data), digest) if is_signed else f"{len(data):x}\r\n".encode()
            framed = b"".join([line, data, b"\r\n"])
            for offset in range(0, len(framed), PIECE):
                yield in_chunk(framed[offset : offset + PIECE])
        if is_signed:
            yield in_chunk(signature.chunk(b"")) + b"0\r\n\r\n"
        else:
            trailer = f"0\r\nx-amz-checksum-crc32:{crc32(content[: self.size])}\r\n\r\n"
            yield in_chunk(trailer.encode()) + b"0\r\n\r\n"

    async def run(self, endpoint, content, opened):
        name, port = endpoint.host.split(":")
        reader, writer = await asyncio.open_connection(name, int(port))
        sent, pause = 0, min(TICK_SECONDS, SLOW_SECONDS * PIECE / self.size if self.is_whole else TICK_SECONDS)
        for piece in self.pieces(endpoint, content):
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            if sent > PIECE and not opened.is_over(self):
                await opened.wait(self)
            if not self.is_whole and sent > CUT_SENT:
                break
            await asyncio.sleep(pause)
        if self.is_whole:
            self.answer = await asyncio.wait_for(reader.readline(), PATIENCE_SECONDS)
        writer.transport.abort()


class AllOpen:
    """Where every client waits, in the middle of its body, until all have come so far."""

    def __init__(self, check):
        self.here, self.passed, self.event, self.check = set(), set(), asyncio.Event(), check

    def is_over(self, client):
        return client in self.passed

    async def wait(self, client):
        self.here.add(client)
        if len(self.here) == CLIENTS:
            await asyncio.to_thread(self.check)
            self.event.set()
        await asyncio.wait_for(self.event.wait(), PATIENCE_SECONDS)
        self.passed.add(client)


def in_chunk(data):
    """HTTP's own chunked coding around a piece."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def in_flight(gateway):
    return int(re.search(r"^sceau_requests_in_flight(?:[{][^}]*[}])? (\d+)", gateway.admin("/metrics")[1], re.MULTILINE)[1])


@pytest.fixture
def fresh(site, work, store):
    """A gateway of its own, so that the peak is of this test."""
    gateway = site.start("slow-uploads")
    yield Front("slow-uploads", gateway, work / "slow-uploads", store)
    gateway.stop()


def test_two_hundred_slow_uploads_cost_their_bound_and_come_out_whole_or_not_at_all(fresh, content):
    bucket = fresh.new_bucket("slow")
    content = content(max(WHOLE_SIZE, CUT_SIZE))
    fresh.s3.put_object(Bucket=bucket, Key="first", Body=content[:MIB])
    process = fresh.server.server
    before = process.peak_resident_mib()
    uploads = [Upload(number, bucket) for number in range(CLIENTS)]

    async def run_all():
        opened = AllOpen(lambda: wait_until("all uploads to be under way", lambda: in_flight(fresh.server) >= CLIENTS, 30))
        await asyncio.gather(*(upload.run(Endpoint.of(fresh), content, opened) for upload in uploads))

    asyncio.run(run_all())
    peak = process.peak_resident_mib()
    print(f"peak resident memory: {before:.0f} MiB before, {peak:.0f} MiB with {CLIENTS} uploads, {(peak - before) / CLIENTS * KIB:.0f} KiB each")
    whole = [upload for upload in uploads if upload.is_whole]
    assert [upload.answer for upload in whole] == [b"HTTP/1.1 200 OK\r\n"] * len(whole)
    for upload in whole:
        body = fresh.s3.get_object(Bucket=bucket, Key=upload.key)["Body"].read()
        assert body == content[: upload.size], upload.key
    stored = {entry["Key"] for entry in fresh.at_store().list_objects_v2(Bucket=bucket)["Contents"]}
    assert stored == {"first"} | {upload.key for upload in whole}
    wait_until("the cut uploads to be over", lambda: in_flight(fresh.server) == 0, 30)
    assert before < BASE_LIMIT_MIB and peak < before + CLIENTS * UPLOAD_LIMIT_MIB
