"""Promise: the page docs/format/ is enough to read what the gateway writes.

How: every golden vector is opened, and every altered twin refused, by a reader that was written from the page.
"""

import base64
import hashlib

import pytest

from harness.settings import ROOT
from second_reader import reader, writer
from second_reader.reader import Refused

FOLDER = ROOT / "gateway" / "envelope" / "tests" / "vectors"


class Vector:
    """The lines of one file."""

    def __init__(self, name):
        text = (FOLDER / name).read_text()
        head, _, self.document = text.partition("----\n")
        self.pairs = [tuple(line.split(" = ", 1)) for line in head.splitlines() if " = " in line]

    def all(self, name):
        return [value for key, value in self.pairs if key == name]

    def text(self, name):
        (value,) = self.all(name)
        return value

    def number(self, name):
        return int(self.text(name))

    def hex(self, name):
        return bytes.fromhex(self.text(name))

    def twins(self, data, open_it):
        """Opening must fail for each twin; it is shown to succeed without a change."""
        open_it(data)
        twins = self.all("twin")
        for twin in twins:
            at = int(twin.split()[0])
            changed = bytearray(data)
            changed[at] ^= 1
            with pytest.raises(Refused):
                open_it(bytes(changed))
        return len(twins)


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _site(vector):
    """The bucket and the record that a vector with an epoch key is under."""
    bucket = reader.Bucket("data", vector.hex("bucket"), 1, {}, 32)
    record = reader.Record(vector.hex("krid"), 1, vector.hex("tenant"), bucket.id, bytes(16), 1, 1, 1, [], b"", b"",
                           vector.hex("epoch-key"))  # fmt: skip
    return bucket, record


def derivations(vector):
    tenant, bucket, key = vector.hex("tenant"), vector.hex("bucket"), vector.hex("epoch-key")
    names = [vector.text("name").encode(), *(bytes.fromhex(name) for name in vector.all("other-name"))]
    hashes = [vector.text("context-hash"), *vector.all("other-hash")]
    assert [reader.context_hash(tenant, bucket, name).hex() for name in names] == hashes
    assert reader.prf(key, "ver") == vector.hex("version-key")
    assert reader.prf(key, "stash") == vector.hex("stash-key")
    return 0


def header(vector):
    bucket, record = _site(vector)
    name, value = vector.text("name").encode(), vector.text("value")

    def open_it(raw):
        return reader.open_header(encode(raw), {record.krid: record}, bucket, name)

    opened = open_it(reader.base64url(value))
    assert opened.context == vector.hex("context-hash")
    assert (opened.dek, opened.oid, opened.iv0) == (vector.hex("dek"), vector.hex("oid"), vector.hex("iv0"))
    assert (opened.time, opened.writer) == (vector.number("write-time-ms"), vector.hex("writer-id"))
    assert (opened.sequence, opened.digest) == (vector.number("writer-sequence"), vector.hex("digest"))
    assert opened.multi == (vector.text("multi") == "true")
    length = vector.text("plain-length")
    assert opened.n == (reader.UNKNOWN if length == "in the footer" else int(length))
    fields = b"".join(bytes([kind]) + len(value).to_bytes(2, "big") + value for kind, value in opened.metadata)
    assert fields == vector.hex("metadata")
    return vector.twins(reader.base64url(value), open_it)


def tags(vector):
    pairs = [tuple(piece.split(" = ", 1)) for piece in vector.all("piece")]
    joined = b"".join(reader.base64url(value) for _, value in sorted(pairs))

    def open_it(data):
        cut = [(f"sceaut1{letter}", encode(data[192 * i : 192 * (i + 1)])) for i, letter in enumerate("abcdefghij"[: len(pairs)])]
        return reader.open_tags(cut[::-1], vector.hex("dek"), vector.hex("oid"), vector.hex("context-hash"))

    told = dict(tag.partition(" =")[::2] for tag in vector.all("tag"))
    assert open_it(joined) == {key: value.strip() for key, value in told.items()}
    return vector.twins(joined, open_it)


def _object(vector, multi, n, iv0):
    return reader.Header(multi, False, b"", vector.hex("dek"), vector.hex("oid"), n, 0, b"", 0, iv0, [], b"", b"")


def body_single(vector):
    n = vector.number("plain-length")
    plain = writer.pattern(n)
    body, iv = writer.single_body(vector.text("seed"), vector.hex("dek"), vector.hex("oid"), plain)
    assert len(body) == vector.number("stored-length") == reader.stored_length(n)
    assert reader.plain_length(len(body)) == n
    assert iv == vector.hex("floe-iv") and body[:74] == vector.hex("part-header")
    assert hashlib.sha256(body).digest() == vector.hex("body-sha256") and body[-300:] == vector.hex("last-300-bytes")
    for whole in vector.all("body"):
        assert body.hex() == whole
    header = _object(vector, False, n, iv)
    assert reader.open_object(header, body)[0] == plain
    return vector.twins(body, lambda data: reader.open_object(header, data))


def body_multi(vector):
    header = _object(vector, True, reader.UNKNOWN, bytes(32))
    plain, layout = reader.open_object(header, vector.hex("body"))
    assert plain == vector.hex("plain") and [entry.number for entry in layout.entries] == [vector.number("part-number")]
    return vector.twins(vector.hex("body"), lambda data: reader.open_object(header, data))


def trailer(vector):
    def open_it(data):
        return reader.open_trailer(vector.hex("dek"), vector.hex("oid"), True, reader.UNKNOWN, bytes(32), data)

    data = vector.hex("manifest-and-footer")
    layout = open_it(data)
    told = [part.split() for part in vector.all("part")]
    seen = [[str(e.number), str(e.length), e.iv.hex() if e.iv else "unpinned", e.crc64.hex()] for e in layout.entries]
    assert seen == told and layout.z == vector.number("padding")
    assert layout.checksum == (2, True, bytes.fromhex(vector.text("checksum").split()[2]))
    assert len(data) - 64 == vector.number("manifest-length")
    return vector.twins(data, open_it)


def state(vector):
    _, record = _site(vector)
    context, upload = vector.hex("context-hash"), vector.text("upload-id").encode()
    name = reader.state_name(record.key, context, upload)
    assert name == vector.text("object-name") and f"{name}/3" == vector.text("stash-name-of-part-3")
    dek, oid, created, _ = reader.open_state(vector.hex("state"), record, context, upload)
    assert (dek, oid, created) == (vector.hex("dek"), vector.hex("oid"), vector.number("created-ms"))
    return vector.twins(vector.hex("state"), lambda data: reader.open_state(data, record, context, upload))


def ticket(vector):
    dek, oid, part = vector.hex("dek"), vector.hex("oid"), vector.number("part-number")
    checksum, etag, text = reader.split_part_etag(vector.text("client-etag"))
    assert (checksum, etag, text) == (None, vector.text("store-etag"), vector.text("ticket"))
    entry = reader.open_ticket(dek, oid, part, etag, text)
    assert (entry.iv, entry.length, entry.crc64) == (vector.hex("floe-iv"), vector.number("plain-length"), vector.hex("crc64"))
    return vector.twins(reader.base64url(text), lambda data: reader.open_ticket(dek, oid, part, etag, encode(data)))


def ticket_checksum(vector):
    dek, oid, part, etag = vector.hex("dek"), vector.hex("oid"), vector.number("part-number"), vector.text("part-etag")
    text = vector.text("client-etag").removesuffix("." + etag)
    assert reader.open_part_checksum(dek, oid, part, text, etag) == vector.hex("checksum")
    return vector.twins(reader.base64url(text), lambda data: reader.open_part_checksum(dek, oid, part, encode(data), etag))


def key_record(vector):
    record = reader.parse_record(vector.hex("record"))
    assert record.check == vector.hex("check") and (record.epoch, record.suites, record.state) == (3, 1, 1)
    assert [(wrap.provider, wrap.label, wrap.version, wrap.scheme) for wrap in record.wraps] == [("token-1", "kek", 2, 1)]
    return vector.twins(vector.hex("record"), lambda data: reader.parse_record(data).accept(vector.hex("key")))


def keyring(vector):
    document, mac_key = vector.document.encode(), vector.hex("mac-key")
    opened = reader.Keyring(document, mac_key)
    assert opened.generation == 9 and [bucket.name for bucket in opened.buckets] == ["data", "old"]
    with pytest.raises(Refused, match="rollback"):
        reader.Keyring(document, mac_key, minimum=10)
    return vector.twins(document, lambda data: reader.Keyring(data, mac_key))


def floe_rotation(vector):
    floe = reader.Floe(vector.hex("key"), vector.hex("floe-iv"), vector.hex("aad"), rotation_bits=2)
    assert floe.header == vector.hex("header")
    stream, plains = writer.Stream(vector.text("seed")), [writer.pattern(reader.S)] * 8 + [writer.pattern(5)]
    sealed = [writer.seal_segment(floe, stream, index, index == 8, plain) for index, plain in enumerate(plains)]
    assert hashlib.sha256(floe.header + b"".join(sealed)).digest() == vector.hex("sha256")
    for index, plain in enumerate(plains):
        assert floe.open_segment(index, index == 8, sealed[index]) == plain
    return 0


READERS = {
    "body-multi-small.txt": body_multi,
    "derivations.txt": derivations,
    "floe-rotation.txt": floe_rotation,
    "header-empty.txt": header,
    "header-metadata.txt": header,
    "header-multi.txt": header,
    "key-record.txt": key_record,
    "keyring.txt": keyring,
    "state.txt": state,
    "tags.txt": tags,
    "ticket-checksum.txt": ticket_checksum,
    "ticket.txt": ticket,
    "trailer-multi.txt": trailer,
}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.txt")))
def test_a_golden_vector_is_opened_and_its_twins_are_refused(name):
    read = body_single if name.startswith("body-single-") else READERS[name]
    print(f"{name}: opened, {read(Vector(name))} twins refused")
