"""Promise: after all keys were dropped, no key is left in the memory of an idle gateway; before, held keys are
in locked memory that no core dump has in it.

How: the gateway's memory is read as root through /proc/PID/mem, every map that can be read, and searched
for the bytes of keys that the test computed itself from the keyring, the key file and stored headers. The
search finds them while they are held, so it can fail.
"""

import os
import re
import struct
import time
import urllib.request

import pytest

from harness import sof1_keys
from harness.fronts import Front, boto
from harness.gateway import Site
from harness.process import free_port
from harness.raw import Endpoint
from harness.settings import tool
from harness.softhsm import KEY_LABEL, LABEL, PIN, Token
from harness.software import SoftwareSite

pytestmark = [
    pytest.mark.gateway,
    pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory takes root"),
]


class ImportedKey(Token):
    """A SoftHSM token whose key-encryption key the test knows: imported, and then dressed up in SoftHSM's own files as
    one that was made in the token, because enrolment refuses imported ones."""

    # CKA_WRAP, CKA_NEVER_EXTRACTABLE, CKA_ALWAYS_SENSITIVE
    FLAGS = {0x106: False, 0x164: True, 0x165: True}

    def __init__(self, folder):
        super().__init__(folder)
        # softhsm2-util ends a key that it reads from a file at its first zero byte or line end, and says nothing.
        self.kek = os.urandom(16).hex().encode()
        file = folder / "kek.raw"
        file.write_bytes(self.kek)
        words = ["--import", file, "--aes", "--token", LABEL, "--label", KEY_LABEL, "--id", "01", "--pin", PIN]
        self._run([str(word) for word in [tool("softhsm2-util"), *words]])
        for path in (folder / "tokens").rglob("*.object"):
            raw = path.read_bytes()
            for attribute, value in self.FLAGS.items():
                head = struct.pack(">QQ", attribute, 1)
                # SoftHSM writes true as 255.
                raw = raw.replace(head + (b"\0" if value else b"\xff"), head + (b"\xff" if value else b"\0"))
            path.write_bytes(raw)


def hsm_site(work, store):
    """A site on such a token. Its key file is the test's own note of the key."""
    site = Site(work / "memory-hsm-site", store, ImportedKey(work / "memory-hsm"), "memory-hsm-control")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.config("admin", data=free_port(), admin=free_port())
    site.command("keys enrol")
    site.key_file = site.folder / "note"
    site.key_file.write_text(f"key 1 {site.token.kek.hex()}\n")
    return site


@pytest.fixture(scope="module", params=["software", "pkcs11"])
def front(request, work, store):
    if request.param == "software":
        site = SoftwareSite(work / "memory-site", store, "memory-control").begin()
    else:
        site = hsm_site(work, store)
    gateway = site.start("memory", keys='cache_ttl = "300s"\nrefresh = "60s"')
    yield Front(f"memory-{request.param}", gateway, work / f"memory-{request.param}", store)
    site.stop()


def processes(front):
    """The gateway, and its helper where it has one."""
    pids = {"gateway": front.server.server.pid}
    if front.server.helper_pid():
        pids["helper"] = front.server.helper_pid()
    return pids


def maps(pid):
    """Every map that can be read: its range, its name and its flags."""
    found = []
    with open(f"/proc/{pid}/smaps") as lines:
        for line in lines:
            head = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
            if head:
                start, end, rights, name = head.groups()
                found.append([int(start, 16), int(end, 16), rights, name, set()])
            elif line.startswith("VmFlags:"):
                found[-1][4] = set(line.split()[1:])
    return [entry for entry in found if entry[2].startswith("r") and entry[3] not in ("[vvar]", "[vsyscall]")]


def search(pid, secrets):
    """Where each secret is: name to a list of maps. And how many bytes were looked at."""
    found, looked = {}, 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, _, name, flags in maps(pid):
            at, tail = start, b""
            while at < end:
                memory.seek(at)
                try:
                    piece = memory.read(min(end - at, 16 << 20))
                except OSError:
                    break
                if not piece:
                    break
                looked += len(piece)
                for label, secret in secrets.items():
                    if secret in tail + piece:
                        found.setdefault(label, []).append((name or "anonymous", flags))
                tail, at = piece[-64:], at + len(piece)
    return found, looked


def post_drop(front):
    request = urllib.request.Request(f"http://127.0.0.1:{front.server.admin_port}/keys/drop", method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200


def load(front, bucket, content, upload):
    """Reads, writes, ranges and a part, so that every kind of key passes through."""
    endpoint = Endpoint.of(front)
    for number in range(40):
        assert endpoint.send("PUT", f"/{bucket}/w-{number}", body=b"x" * 1000).status == 200
        got = endpoint.send("GET", f"/{bucket}/k", headers={"range": f"bytes={number}-{number + 70000}"})
        assert got.status == 206
        assert endpoint.send("GET", f"/{bucket}/k").status == 200
    front.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=content(6 << 20, 1))


def test_no_key_is_left_after_a_drop(front, content):
    pid = front.server.server.pid
    bucket = front.new_bucket("memory")
    front.s3.put_object(Bucket=bucket, Key="k", Body=content(200_000, 9))
    upload = front.s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    load(front, bucket, content, upload)
    secrets = known_secrets(front, bucket, upload)
    before, looked = search(pid, secrets)
    print(f"{looked >> 20} MiB looked at; while held: {sorted(before)}")
    assert {"epoch key", "upload's DEK"} <= set(before), "the search must be able to find what is held"
    # The cached key is where it should be: locked, out of dumps, not given to children.
    assert any({"lo", "dd", "dc"} <= flags for _, flags in before["epoch key"]), before["epoch key"]
    left(front, secrets)
    # It still works, and forgets again.
    load(front, bucket, content, upload)
    left(front, secrets)


def left(front, secrets):
    """Drops all keys; nothing is left of them, in the gateway nor in the helper."""
    post_drop(front)
    time.sleep(2)
    for name, pid in processes(front).items():
        after, looked = search(pid, secrets)
        assert looked > 1 << 20, name
        assert not after, (name, {label: [place for place, _ in places] for label, places in after.items()})


def known_secrets(front, bucket, upload):
    """What the test can compute: epoch keys, keys derived from them, data keys."""
    site = front.server.site
    all_records = sof1_keys.records(site.folder / "memory-keyring", site.key_file)
    record = [record for record in all_records if record.purpose == sof1_keys.DATA][-1]
    mac = next(record for record in all_records if record.purpose == sof1_keys.MAC)
    at_store = front.at_store()
    header = at_store.head_object(Bucket=bucket, Key="k")["Metadata"]["sceauh1"]
    states = at_store.list_objects_v2(Bucket=site.control_bucket, Prefix="mpu/")["Contents"]
    state = next(entry["Key"] for entry in states if "/" not in entry["Key"][4:])
    state = at_store.get_object(Bucket=site.control_bucket, Key=state)["Body"].read()
    return {
        "epoch key": record.key,
        "MAC key": mac.key,
        "object's DEK": record.object_dek(header, "k"),
        "upload's DEK": record.upload_dek(state, "m", upload),
        **{f"K_{label}": key for label, key in record.derived().items()},
    }


def test_the_process_writes_no_core_file(front):
    for pid in processes(front).values():
        limits = open(f"/proc/{pid}/limits").read()
        assert re.search(r"Max core file size\s+0\s+0\s", limits), limits
