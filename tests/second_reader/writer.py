"""The writer that docs/format/vectors.md describes: with the stream of a seed it makes the vectors' bodies.

Of most bodies the vectors hold only a digest; the reader needs their bytes.
"""

import hashlib
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from . import reader


class Stream:
    """SHA-256(seed ‖ u64 0) ‖ SHA-256(seed ‖ u64 1) ‖ …"""

    def __init__(self, seed):
        self._seed, self._next, self._left = seed.encode(), 0, b""

    def take(self, count):
        while len(self._left) < count:
            self._left += hashlib.sha256(self._seed + struct.pack(">Q", self._next)).digest()
            self._next += 1
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def pattern(length):
    """Byte i is i modulo 251."""
    block = bytes(range(251))
    return (block * (length // 251 + 1))[:length]


def seal_segment(floe, stream, index, final, plain):
    iv = stream.take(12)
    sealed = iv + AESGCM(floe.segment_key(index)).encrypt(iv, plain, floe.segment_aad(index, final))
    return struct.pack(">I", len(sealed) + 4 if final else 0xFFFFFFFF) + sealed


def single_body(seed, dek, oid, plain):
    """The stored body of a single PUT, and its FLOE IV."""
    stream = Stream(seed)
    iv = stream.take(32)
    floe = reader.part_floe(dek, oid, 0, iv)
    count = reader.segments(len(plain))
    body = [floe.header]
    for index in range(count):
        body.append(seal_segment(floe, stream, index, index == count - 1, plain[index * reader.S : (index + 1) * reader.S]))
    n, z = len(plain), reader.padding_of(len(plain), [len(plain)])
    fields = reader.footer_fields(n, 1, z)
    entry = struct.pack(">HBBI", 0, 1, n >> 32, n & 0xFFFFFFFF) + iv + bytes(8)
    text = struct.pack(">QIBBH", n, 1, 0, 0, 0) + bytes(64) + entry
    manifest_iv = stream.take(12)
    manifest = manifest_iv + AESGCM(reader.prf(dek, "manifest", oid)).encrypt(manifest_iv, text, fields)
    mac = reader.prf(reader.prf(dek, "footer", oid), "footer-mac", fields)
    return b"".join(body) + bytes(z) + manifest + fields + mac, iv
