"""The keys of the stored format (docs/format, sections 3, 5, 8 and 9), computed independently of the code under test.

For keyrings of software keys, whose key-encryption key lies in a file.
"""

import base64
import hashlib
import hmac
import json
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITE = b"\x01"
DATA, MAC = 1, 3


def prf(key, label, fields, length=32):
    message = b"sof1/" + label.encode() + b"\0" + SUITE + fields + b"\x01"
    return hmac.new(key, message, hashlib.sha384).digest()[:length]


def lp(field):
    return struct.pack(">I", len(field)) + field


class Record:
    """One key record and its unwrapped key."""

    def __init__(self, text, keks):
        raw = base64.b64decode(text)
        self.krid, self.purpose = raw[:16], raw[17]
        self.tenant, self.bucket = raw[18:34], raw[34:50]
        epoch = raw[66:70]
        at = 16 + 2 + 48 + 4 + 4 + 1 + 16
        assert raw[at] == 1, "one wrap"
        at += 1
        fields = []
        for fixed in (None, None, 4, 4, None, None):
            if fixed is None:
                (fixed,) = struct.unpack(">I", raw[at : at + 4])
                at += 4
            fields.append(raw[at : at + fixed])
            at += fixed
        _, _, version, _, iv, blob = fields
        context = b"sof1/wrap" + self.krid + self.tenant + self.bucket + epoch
        self.key = AESGCM(keks[int.from_bytes(version, "big")]).decrypt(iv, blob, context)

    def context(self, name):
        """The context hash of an object of this record's bucket."""
        fields = lp(self.tenant) + lp(self.bucket) + lp(name.encode())
        return hashlib.sha384(b"sof1/ctx\0" + fields).digest()

    def object_dek(self, value, name):
        """The data key in an object's header."""
        header = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        key = prf(prf(self.key, "hdr", b""), "hdr-key", header[:56] + self.context(name))
        return AESGCM(key).decrypt(header[88:100], header[100:], header[:88])[:32]

    def upload_dek(self, state, name, upload_id):
        """The data key in the state of an open upload."""
        fields = state[:56] + self.context(name) + lp(upload_id.encode())
        key = prf(prf(self.key, "mpu", b""), "mpu-key", fields)
        return AESGCM(key).decrypt(state[88:100], state[100:], state[:88])[:32]

    def derived(self):
        """The second-level keys."""
        return {label: prf(self.key, label, b"") for label in ("hdr", "mpu", "ver", "stash")}


def records(keyring, key_file):
    """All records of a keyring document under the keys of a key file."""
    keks = {}
    for line in key_file.read_text().splitlines():
        words = line.split()
        if words[0] == "key":
            keks[int(words[1])] = bytes.fromhex(words[2])
    return [Record(text, keks) for text in json.loads(keyring.read_text())["records"]]
