"""A second reader of the stored format: written from docs/format/ alone, with no code of the gateway in view.

What lives here: opening of keyrings, records, headers, tags, bodies, trailers, upload states and tickets, section
by section. What must not: anything that the page does not say. Invariant: plaintext, lengths and metadata leave
only what authenticated; everything else raises Refused.
"""

import base64
import hashlib
import hmac
import json
import re
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Section 2.
S, E = 65_536, 65_568
SUITE = 1
# Sections 4.2, 5.1 and 8.1.
UNKNOWN = 2**64 - 1
PART_MIN, PART_MAX, SINGLE_MAX = 5_242_880, 5_366_088_854, 5_368_709_120
PARTS_MAX, HEADER_CHARACTERS_MAX, STATE_MAX, RECORD_MAX = 9_999, 8_185, 16_384, 32_768
KEYRING_MAX = 8 * 1024 * 1024
# Section 5.3: lengths of checksums by their codes.
CHECKSUMS = {1: 4, 2: 4, 3: 8, 4: 20, 5: 32, 6: 16, 7: 64}


class Refused(Exception):
    """What the page calls an error; its text is the error's name there."""


def need(condition, name):
    if not condition:
        raise Refused(name)


# --- section 2 ----------------------------------------------------------------------------------


def number(data):
    return int.from_bytes(data, "big")


def lp(data):
    return struct.pack(">I", len(data)) + data


def base64url(text):
    """Without padding; foreign characters and non-zero trailing bits are refused."""
    need(re.fullmatch(r"[A-Za-z0-9_-]*", text) and len(text) % 4 != 1, "malformed")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    need(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text, "malformed")
    return data


def same(one, two):
    return hmac.compare_digest(one, two)


def gcm_open(key, sealed, aad, error):
    """IV 12, ciphertext, tag 16."""
    need(len(sealed) >= 28, error)
    try:
        return AESGCM(key).decrypt(sealed[:12], sealed[12:], aad)
    except InvalidTag:
        raise Refused(error) from None


# --- section 3 ----------------------------------------------------------------------------------


def prf(key, label, fields=b"", length=32):
    message = b"sof1/" + label.encode() + b"\0" + bytes([SUITE]) + fields + b"\x01"
    return hmac.new(key, message, hashlib.sha384).digest()[:length]


def context_hash(tenant, bucket, name):
    return hashlib.sha384(b"sof1/ctx\0" + lp(tenant) + lp(bucket) + lp(name)).digest()


# --- section 4 ----------------------------------------------------------------------------------


def segments(n):
    return max(1, -(-n // S))


def stored_length(n):
    return n + 32 * segments(n) + 160 * (1 + min(n // PART_MIN, 9_998) + 1)


def part_length(p):
    return 74 + p + 32 * segments(p)


def manifest_length(m):
    return 108 + 48 * m


def plain_length(s):
    """The inverse of F, or a refusal."""
    need(s >= 352, "wrong stored length")
    first = min((s - 352) // 5_245_600 + 1, 9_998)
    for q in range(first, first - 3, -1):
        if q < 0:
            continue
        y = s - 160 * (q + 2)
        n = y - 32 * max(1, -(-y // E))
        if n >= 0 and min(n // PART_MIN, 9_998) == q and stored_length(n) == s:
            return n
    raise Refused("wrong stored length")


# --- section 5: header --------------------------------------------------------------------------


@dataclass
class Header:
    multi: bool
    hidden: bool
    krid: bytes
    dek: bytes
    oid: bytes
    n: int
    time: int
    writer: bytes
    sequence: int
    iv0: bytes
    metadata: list
    digest: bytes
    context: bytes


def parse_metadata(data):
    """Section 5.3: a list of types and values."""
    found, at, last = [], 0, 0
    while at < len(data):
        kind = data[at]
        if kind == 0:
            need(not any(data[at:]), "corrupted")
            break
        need(kind <= 12 and at + 3 <= len(data), "corrupted")
        length = number(data[at + 1 : at + 3])
        value = data[at + 3 : at + 3 + length]
        need(len(value) == length <= 8_192, "corrupted")
        need(kind > last or (kind == last and kind in (8, 9)), "corrupted")
        _check_value(kind, value, found)
        found.append((kind, value))
        last, at = kind, at + 3 + length
    need(sum(kind == 8 for kind, _ in found) <= 1_000, "corrupted")
    return found


def _check_value(kind, value, before):
    if kind == 8:
        size = number(value[:2])
        name = value[2 : 2 + size]
        need(len(value) >= 2 and len(name) == size > 0, "corrupted")
        need(all(0x20 < c < 0x7F or c == 0x20 for c in name) and name == name.lower(), "corrupted")
    elif kind == 9:
        need(len(value) > 2 and value[1] <= 1 and CHECKSUMS.get(value[0]) == len(value) - 2, "corrupted")
        need(all(value[0] > other[0] for also, other in before if also == 9), "corrupted")
    elif kind == 11:
        need(len(value) == 32, "corrupted")
    elif kind == 12:
        need(len(value) == 2 and value[0] in CHECKSUMS and value[1] <= 1, "corrupted")


def user_metadata(metadata):
    pairs = {}
    for kind, value in metadata:
        if kind == 8:
            size = number(value[:2])
            pairs[value[2 : 2 + size].decode()] = value[2 + size :]
    return pairs


def open_header(value, records, bucket, name, stored=None):
    """Sections 5.1 and 5.4. `records`: unwrapped data keys by KRID (see Keyring), `bucket`: the bucket's entry."""
    need(len(value) <= HEADER_CHARACTERS_MAX, "malformed")
    raw = base64url(value)
    need(len(raw) >= 228 and raw[:4] == b"SOF1" and raw[4] == 1, "malformed")
    flags = number(raw[6:8])
    need(flags < 8 and bool(flags & 2) == (len(raw) > 228), "malformed")
    need(raw[5] == SUITE, "unknown suite")
    need(bucket.suites & 1, "suite not allowed")
    record = records.get(raw[8:24])
    need(record is not None and record.purpose == 1 and record.bucket == bucket.id, "key record")
    need(record.state in (1, 2), "key record")
    context = context_hash(record.tenant, bucket.id, name)
    k_hdr = prf(record.key, "hdr")
    need(same(prf(k_hdr, "hdr-commit", raw[:56] + context), raw[56:88]), "not for this name")
    payload = gcm_open(prf(k_hdr, "hdr-key", raw[:56] + context), raw[88:], raw[:88], "corrupted")
    header = Header(
        multi=bool(flags & 1), hidden=bool(flags & 4), krid=raw[8:24], dek=payload[:32], oid=payload[32:48],
        n=number(payload[48:56]), time=number(payload[56:64]), writer=payload[64:72], sequence=number(payload[72:80]),
        iv0=payload[80:112], metadata=parse_metadata(payload[112:]), digest=hashlib.sha384(raw).digest()[:32], context=context,
    )  # fmt: skip
    if header.multi:
        need(not any(header.iv0), "corrupted")
    else:
        need(header.n <= SINGLE_MAX, "corrupted")
    if stored is not None:
        need(plain_length(stored) == header.n if header.n != UNKNOWN else plain_length(stored) >= 0, "wrong stored length")
    return header


# --- section 5.5: tags --------------------------------------------------------------------------


def open_tags(pairs, dek, oid, context):
    """The client's tags out of the store's, or None if they are not sealed."""
    reserved = [key for key, _ in pairs if key.lower().startswith("sceaut")]
    if not reserved:
        return None
    need(len(reserved) == len(pairs) and len(pairs) in (2, 5, 10), "malformed")
    by_key = dict(pairs)
    keys = [f"sceaut1{letter}" for letter in "abcdefghij"[: len(pairs)]]
    need(sorted(by_key) == keys and all(len(by_key[key]) == 256 for key in keys), "malformed")
    sealed = b"".join(base64url(by_key[key]) for key in keys)
    need(sealed[0] == 1 and sealed[1] == SUITE, "malformed")
    aad = b"sof1/tags\0" + sealed[:2] + oid + context
    text = gcm_open(prf(dek, "tags", oid), sealed[2:], aad, "not authentic")
    return _tag_set(text)


def _tag_set(text):
    fields, at = [], 1
    for _ in range(2 * text[0]):
        size = number(text[at : at + 2])
        fields.append(text[at + 2 : at + 2 + size])
        need(len(fields[-1]) == size, "not authentic")
        at += 2 + size
    keys = fields[0::2]
    need(text[0] <= 10 and keys == sorted(set(keys)) and not any(text[at:]), "not authentic")
    need(len(text) == min(size for size in (354, 930, 1_890) if size >= at), "not authentic")
    return {key.decode(): value.decode() for key, value in zip(keys, fields[1::2])}


# --- section 6: payload -------------------------------------------------------------------------

PARAMETERS = bytes.fromhex("00000001002000000020")


class Floe:
    """One FLOE ciphertext (section 6.1)."""

    def __init__(self, key, iv, aad, parameters=PARAMETERS, rotation_bits=20):
        self.parameters, self.iv, self.aad, self.bits = parameters, iv, aad, rotation_bits
        self.header = parameters + iv + self._x(key, b"HEADER_TAG:", 32)
        self._message_key = self._x(key, b"MESSAGE_KEY:", 48)

    def _x(self, key, purpose, length):
        message = self.parameters + self.iv + purpose + self.aad + b"\x01"
        return hmac.new(key, message, hashlib.sha384).digest()[:length]

    def segment_key(self, index):
        first = index >> self.bits << self.bits
        return self._x(self._message_key, b"DEK:" + struct.pack(">Q", first), 32)

    @staticmethod
    def segment_aad(index, final):
        return struct.pack(">Q", index) + bytes([final])

    def open_segment(self, index, final, segment):
        need(len(segment) >= 32, "corrupted")
        marker = struct.pack(">I", len(segment) if final else 0xFFFFFFFF)
        need(segment[:4] == marker, "corrupted")
        return gcm_open(self.segment_key(index), segment[4:], self.segment_aad(index, final), "corrupted")


def part_floe(dek, oid, part, iv):
    aad = b"sof1/body\0" + bytes([SUITE]) + oid + struct.pack(">H", part)
    return Floe(prf(dek, "part", oid + struct.pack(">H", part)), iv, aad)


def open_part(dek, oid, entry, stored):
    """Yields the segments of one whole stored part (section 6.3)."""
    floe = part_floe(dek, oid, entry.number, entry.iv or stored[10:42])
    need(len(stored) == part_length(entry.length) and same(stored[:74], floe.header), "corrupted")
    count = segments(entry.length)
    for index in range(count):
        yield floe.open_segment(index, index == count - 1, stored[74 + E * index : 74 + E * (index + 1)])


# --- section 7: trailer -------------------------------------------------------------------------


@dataclass
class Entry:
    number: int
    length: int
    iv: bytes
    crc64: bytes = bytes(8)


@dataclass
class Layout:
    n: int
    entries: list
    z: int
    checksum: tuple = None


def footer_fields(n, m, z):
    return b"SOFF" + bytes([1, SUITE, 0, 0]) + struct.pack(">QIIQ", n, m, manifest_length(m), z)


def padding_of(n, lengths):
    return stored_length(n) - sum(map(part_length, lengths)) - manifest_length(len(lengths)) - 64


def open_trailer(dek, oid, multi, n, iv0, tail):
    """The layout, from the end of a body. `n`: the header's."""
    footer = tail[-64:]
    need(len(footer) == 64, "malformed")
    need(same(prf(prf(dek, "footer", oid), "footer-mac", footer[:32]), footer[32:]), "not authentic")
    said_n, m, length, z = struct.unpack(">QIIQ", footer[8:32])
    need(footer[:8] == b"SOFF" + bytes([1, SUITE, 0, 0]), "malformed")
    need(1 <= m <= PARTS_MAX and length == manifest_length(m), "malformed")
    if not multi:
        need(footer[:32] == footer_fields(n, 1, padding_of(n, [n])), "inconsistent")
    need(n in (UNKNOWN, said_n), "inconsistent")
    sealed = tail[-64 - length : -64]
    need(len(sealed) == length, "truncated")
    text = gcm_open(prf(dek, "manifest", oid), sealed, footer[:32], "not authentic")
    layout = _manifest(text, m)
    need(layout.n == said_n and number(text[8:12]) == m, "inconsistent")
    _check_layout(layout, multi, iv0)
    need(z == padding_of(said_n, [entry.length for entry in layout.entries]), "inconsistent")
    layout.z = z
    return layout


def _manifest(text, m):
    need(len(text) == 80 + 48 * m, "inconsistent")
    algorithm, size, flags = text[12], text[13], number(text[14:16])
    need((algorithm == 0 and size == 0 and flags == 0) or (CHECKSUMS.get(algorithm) == size and flags < 2), "inconsistent")
    need(not any(text[16 + size : 80]), "inconsistent")
    entries = []
    for at in range(80, len(text), 48):
        raw = text[at : at + 48]
        need(raw[2] <= 1 and (raw[2] == 1 or not any(raw[8:40])), "inconsistent")
        entries.append(Entry(number(raw[:2]), number(raw[3:8]), raw[8:40] if raw[2] else None, raw[40:48]))
    checksum = (algorithm, bool(flags), text[16 : 16 + size]) if algorithm else None
    return Layout(number(text[:8]), entries, 0, checksum)


def _check_layout(layout, multi, iv0):
    entries = layout.entries
    need(sum(entry.length for entry in entries) == layout.n, "inconsistent")
    if not multi:
        need(len(entries) == 1 and entries[0].number == 0 and entries[0].iv == iv0, "inconsistent")
        return
    numbers = [entry.number for entry in entries]
    need(numbers == sorted(set(numbers)) and 1 <= numbers[0] and numbers[-1] <= PARTS_MAX, "inconsistent")
    need(all(entry.length >= PART_MIN for entry in entries[:-1]), "inconsistent")
    need(all(entry.length <= PART_MAX for entry in entries), "inconsistent")


def open_object(header, body):
    """All plaintext of an object, and its layout: sections 6.3 and 7.3, trailer and padding verified."""
    layout = open_trailer(header.dek, header.oid, header.multi, header.n, header.iv0, body)
    need(len(body) == stored_length(layout.n), "wrong stored length")
    plain, at = [], 0
    for entry in layout.entries:
        size = part_length(entry.length)
        plain.extend(open_part(header.dek, header.oid, entry, body[at : at + size]))
        at += size
    need(not any(body[at : at + layout.z]), "padding")
    need(at + layout.z + manifest_length(len(layout.entries)) + 64 == len(body), "wrong stored length")
    return b"".join(plain), layout


# --- section 8: uploads -------------------------------------------------------------------------


def state_name(epoch_key, context, upload):
    return "mpu/" + prf(prf(epoch_key, "mpu"), "mpu-name", context + lp(upload), 16).hex()


def open_state(raw, record, context, upload):
    """DEK, OID, time of creation and metadata of an open upload."""
    need(160 + 16 <= len(raw) <= STATE_MAX and raw[:8] == b"SOFU" + bytes([1, SUITE, 0, 0]), "malformed")
    need(record.krid == raw[8:24], "not for this upload")
    k_mpu = prf(record.key, "mpu")
    fields = raw[:56] + context + lp(upload)
    need(same(prf(k_mpu, "mpu-commit", fields), raw[56:88]), "not for this upload")
    text = gcm_open(prf(k_mpu, "mpu-key", fields), raw[88:], raw[:88], "corrupted")
    need(number(text[56:60]) == len(text) - 60, "corrupted")
    return text[:32], text[32:48], number(text[48:56]), parse_metadata(text[60:])


def split_part_etag(etag):
    """Section 8.3: checksum text or None, the store's ETag, ticket text or None."""
    checksum, rest = etag.split(".", 1) if "." in etag else (None, etag)
    if len(rest) <= 82 and rest.endswith("-u"):
        return checksum, rest[:-2], None
    need(len(rest) > 83 and rest[-83] == "-", "malformed")
    return checksum, rest[:-83], rest[-82:]


def open_ticket(dek, oid, part, store_etag, text):
    raw = base64url(text)
    need(len(raw) == 61, "malformed")
    fields = struct.pack(">H", part) + raw[:45] + lp(store_etag.encode())
    need(same(prf(prf(dek, "ticket", oid), "ticket-mac", fields, 16), raw[45:]), "not authentic")
    return Entry(part, number(raw[32:37]), raw[:32], raw[37:45])


def open_part_checksum(dek, oid, part, text, etag):
    raw = base64url(text)
    need(len(raw) > 16, "malformed")
    fields = struct.pack(">H", part) + lp(etag.encode()) + lp(raw[:-16])
    need(same(prf(prf(dek, "ticket", oid), "ticket-sum", fields, 16), raw[-16:]), "not authentic")
    return raw[:-16]


def client_etag(etag):
    return f"{etag}-0" if re.fullmatch("[0-9a-fA-F]{32}", etag) else etag


# --- section 9: key records ---------------------------------------------------------------------


@dataclass
class Wrap:
    provider: str
    label: str
    version: int
    scheme: int
    iv: bytes
    blob: bytes


@dataclass
class Record:
    krid: bytes
    purpose: int
    tenant: bytes
    bucket: bytes
    domain: bytes
    epoch: int
    suites: int
    state: int
    wraps: list
    fixed: bytes
    check: bytes
    key: bytes = field(default=None, repr=False)

    def context(self):
        return b"sof1/wrap" + self.krid + self.tenant + self.bucket + struct.pack(">I", self.epoch)

    def accept(self, key):
        """The check value decides whether a key is this record's (9.2, 9.3)."""
        need(len(key) == 32 and same(prf(key, "record", self.fixed), self.check), "check")
        self.key = key
        return self

    def unwrap(self, keks):
        """Under the keys of the software key provider, by version: scheme `insecure-local`."""
        for wrap in self.wraps:
            if wrap.scheme == 0x7F000001 and wrap.version in keks:
                key = gcm_open(keks[wrap.version], wrap.iv + wrap.blob, self.context(), "wrap")
                return self.accept(key)
        raise Refused("no wrap of a known key")


def parse_record(raw):
    need(len(raw) <= RECORD_MAX and len(raw) >= 124, "malformed")
    need(raw[16] == 1 and raw[17] in (1, 2, 3) and raw[74] in (1, 2, 3, 4), "malformed")
    at, wraps = 92, []

    def take(count):
        nonlocal at
        need(at + count <= len(raw), "malformed")
        at += count
        return raw[at - count : at]

    def text(limit):
        data = take(number(take(4)))
        need(len(data) <= limit, "malformed")
        return data

    need(raw[91] <= 16, "malformed")
    for _ in range(raw[91]):
        provider, label = text(255).decode(), text(255).decode()
        version, scheme = number(take(4)), number(take(4))
        wraps.append(Wrap(provider, label, version, scheme, text(64), text(512)))
    check = take(32)
    need(at == len(raw), "malformed")
    return Record(raw[:16], raw[17], raw[18:34], raw[34:50], raw[50:66], number(raw[66:70]), number(raw[70:74]), raw[74],
                  wraps, raw[:74], check)  # fmt: skip


# --- section 10: keyring ------------------------------------------------------------------------

SCHEMES = {"aes-gcm/caller-iv": 1, "aes-gcm/hsm-iv": 2, "hmac-kdf": 3, "aes-kw": 4, "rsa-oaep-sha256": 5, "aes-cbc-kdf": 6,
           "transit": 7, "insecure-local": 0x7F000001}  # fmt: skip
CODES = {
    "state": {"active": 1, "removed": 2},
    "mode": {"encrypted-only": 1, "migration": 2},
    "names": {"clear": 1, "hidden": 2},
    "freshness": {"r0": 0, "r1": 1, "r2": 2, "r3": 3, "r4": 4},
    "pinning": {"strict": 1, "tolerant": 2},
    "exposure": {"sealed": 1, "tags-clear": 2, "tags-once-clear": 3},
}
MEMBERS = {"format", "tenant", "generation", "keys", "records", "buckets", "mac"}
KEY_MEMBERS = {"provider", "label", "version", "scheme", "canary_iv", "canary_blob", "fingerprint", "module_sha256"}
BUCKET_MEMBERS = {"name", "id", "suites", "metadata_padding", *CODES}


@dataclass
class Bucket:
    name: str
    id: bytes
    suites: int
    codes: dict
    padding: int


def _unhex(text, length=None):
    need(isinstance(text, str) and re.fullmatch("([0-9a-f]{2})*", text), "malformed")
    data = bytes.fromhex(text)
    need(length is None or len(data) == length, "malformed")
    return data


def _members(pairs):
    need(len({name for name, _ in pairs}) == len(pairs), "malformed")
    return dict(pairs)


class Keyring:
    """A keyring document that verified, or a refusal."""

    def __init__(self, text, mac_key=None, keks=None, minimum=0):
        need(len(text) <= KEYRING_MAX, "malformed")
        try:
            document = json.loads(text, object_pairs_hook=_members)
        except ValueError:
            raise Refused("malformed") from None
        need(isinstance(document, dict) and set(document) == MEMBERS, "malformed")
        need(document["format"] == 1, "unknown version")
        self.tenant, self.generation = _unhex(document["tenant"], 16), document["generation"]
        self._parse(document)
        self._check()
        canonical = self._canonical()
        (mac_record,) = [record for record in self.records.values() if record.purpose == 3]
        if mac_key is None:
            mac_key = mac_record.unwrap(keks).key
        mac = hmac.new(mac_key, canonical, hashlib.sha384).digest()
        need(same(mac, _unhex(document["mac"], 48)), "not authentic")
        mac_record.accept(mac_key)
        need(self.generation >= minimum, "rollback")

    def _parse(self, document):
        self.keys, self.buckets = [], []
        for key in document["keys"]:
            need(set(key) == KEY_MEMBERS and key["scheme"] in SCHEMES, "malformed")
            _unhex(key["module_sha256"])
            self.keys.append(key)
        self.raw_records = [base64.b64decode(text, validate=True) for text in document["records"]]
        parsed = [parse_record(raw) for raw in self.raw_records]
        self.records = {record.krid: record for record in parsed}
        need(len(self.records) == len(parsed), "inconsistent")
        for entry in document["buckets"]:
            need(set(entry) == BUCKET_MEMBERS, "malformed")
            need(all(entry[name] in codes for name, codes in CODES.items()), "malformed")
            codes = {name: codes[entry[name]] for name, codes in CODES.items()}
            need(1 <= entry["metadata_padding"] <= 1_024, "malformed")
            self.buckets.append(Bucket(entry["name"], _unhex(entry["id"], 16), entry["suites"], codes, entry["metadata_padding"]))

    def _check(self):
        records = self.records.values()
        need(self.generation >= 1, "inconsistent")
        macs = [record for record in records if record.purpose == 3]
        need(len(macs) == 1 and not any(macs[0].bucket), "inconsistent")
        ids = [bucket.id for bucket in self.buckets]
        need(len(set(ids)) == len(ids) and bytes(16) not in ids, "inconsistent")
        for record in records:
            need(record.tenant == self.tenant and record.epoch >= 1, "inconsistent")
            need(record.purpose == 3 or record.bucket in ids, "inconsistent")
        places = [(record.bucket, record.domain, record.purpose, record.epoch) for record in records]
        need(len(set(places)) == len(places), "inconsistent")
        active = [bucket.name for bucket in self.buckets if bucket.codes["state"] == 1]
        need(len(set(active)) == len(active), "inconsistent")
        keys = [(key["provider"], key["label"], key["version"]) for key in self.keys]
        need(len(set(keys)) == len(keys), "inconsistent")

    def _canonical(self):
        def u32(value):
            return struct.pack(">I", value)

        out = [b"sof1/keyring\0", u32(1), self.tenant, struct.pack(">Q", self.generation), u32(len(self.keys))]
        for key in self.keys:
            out += [lp(key["provider"].encode()), lp(key["label"].encode()), u32(key["version"]), u32(SCHEMES[key["scheme"]])]
            out += [lp(_unhex(key["canary_iv"])), lp(_unhex(key["canary_blob"])), _unhex(key["fingerprint"], 32)]
            out += [lp(key["module_sha256"].encode())]
        out += [u32(len(self.raw_records)), *map(lp, self.raw_records), u32(len(self.buckets))]
        for bucket in self.buckets:
            codes = bucket.codes
            out += [lp(bucket.name.encode()), bucket.id, bytes([codes["state"], codes["mode"]]), u32(bucket.suites)]
            out += [bytes(codes[name] for name in ("names", "freshness", "pinning", "exposure"))]
            out += [struct.pack(">H", bucket.padding)]
        return b"".join(out)

    def bucket(self, name):
        """The active bucket of a name, with its data keys by KRID still to be unwrapped."""
        (entry,) = [bucket for bucket in self.buckets if bucket.name == name and bucket.codes["state"] == 1]
        return entry

    def unwrap(self, keks):
        """All data keys that are not destroyed, by KRID."""
        return {krid: record.unwrap(keks) for krid, record in self.records.items() if record.purpose == 1 and record.state != 4}
