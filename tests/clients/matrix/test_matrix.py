"""Promise: whatever a client does with a store, it does through the gateway, over HTTPS.

How: every client does every action that it has. What it wrote is read back by boto3 and what it reads
was written by boto3, so that no client checks itself; contents are compared byte for byte, listed
sizes with the plaintext's.
"""

import base64
import os
import time

import pytest

from clients.matrix.client import ACTIONS, MIB, Client, Missing
from clients.matrix.gaps import GAPS, KNOWN
from clients.matrix.libraries import LIBRARIES
from clients.matrix.programs import PROGRAMS
from clients.matrix.sdks import SDKS
from harness import settings

CLIENTS = [*PROGRAMS, *LIBRARIES, *SDKS]
# Three parts of 5 MiB and one of a byte.
LARGE = 15 * MIB + 1
SIZES = {"empty": 0, "one": 1, "segment more.txt": 65_537, "deep/er/some.bin": MIB + 3}
UNICODE = "ümläut/日本 語 + 100%/größe ~!'().txt"


def cells(action):
    """The clients that have an action, as parameters of a test."""
    return [parameter(client, action) for client in CLIENTS if client.can(action)]


def parameter(client, action):
    marks = [pytest.mark.slow] if client.full else []
    return pytest.param(client, action, id=f"{client.name}-{action}", marks=marks)


def matrix(action):
    return pytest.mark.parametrize(("client", "action"), cells(action))


@pytest.fixture(scope="session")
def target(_fronts):
    """The gateway over https; or the bare store, to try the matrix itself."""
    return _fronts("store" if settings.DIRECT else "https")


@pytest.fixture(scope="session")
def _started(target, work, cells):
    """Each client, started when the first cell asks for it."""
    made = {}

    def start(kind):
        if kind not in made:
            folder = work / "matrix" / kind.__name__
            try:
                made[kind] = kind(target, folder)
                cells.versions[kind.name] = made[kind].version
            except (Missing, AssertionError) as error:
                made[kind] = error
        return made[kind]

    yield start
    for client in made.values():
        if isinstance(client, Client):
            client.close()


@pytest.fixture
def it(client, _started):
    """The running client."""
    started = _started(client)
    if isinstance(started, Missing):
        pytest.skip(f"{client.name}: {started}")
    if isinstance(started, AssertionError):
        raise started
    return started


@pytest.fixture
def made(it, content):
    """Content that the client can carry."""

    def make(size, seed=0):
        if not it.text:
            return content(size, seed)
        lines = base64.encodebytes(b"line" + content(size, seed)).decode().splitlines()
        return "".join(f"{line}\n" for line in lines).encode()[: max(size - 1, 0)] + b"\n" * (size > 0)

    return make


def seed(it, key, data):
    """What the client is to find."""
    it.front.s3.put_object(Bucket=it.bucket, Key=key, Body=data)


def listed(it, prefix):
    sizes = it.front.listed_sizes(it.bucket)
    return {key: size for key, size in sizes.items() if key.startswith(prefix) and not key.endswith(("/", "/.keep"))}


def written(it, key, data, back):
    """What the client wrote is there, for others too."""
    if it.opaque:
        it.get(key, back)
        assert back.read_bytes() == data
        return
    assert it.front.fetch(it.bucket, key) == data
    assert listed(it, key)[key] == len(data)


@matrix("put")
def test_put(it, action, made, tmp_path):
    source = tmp_path / "source"
    for number, (name, size) in enumerate(SIZES.items()):
        if size < it.smallest:
            continue
        data = made(size, number)
        source.write_bytes(data)
        it.put(source, f"put/{name}")
        written(it, f"put/{name}", data, tmp_path / "back")


@matrix("get")
def test_get(it, action, made, tmp_path):
    back = tmp_path / "back"
    for number, (name, size) in enumerate(SIZES.items()):
        if it.opaque or size < it.smallest:
            continue
        data = made(size, number)
        seed(it, f"get/{name}", data)
        it.get(f"get/{name}", back)
        assert back.read_bytes() == data, name
        back.unlink()
    if it.opaque:
        data = made(MIB + 3, 9)
        (tmp_path / "source").write_bytes(data)
        it.put(tmp_path / "source", "get")
        written(it, "get", data, back)


@matrix("range")
def test_range(it, action, made):
    data = made(300_001, 5)
    seed(it, "range/object", data)
    for first, last in [(0, 0), (65_530, 131_080), (200_000, 300_000), (300_000, 300_000)]:
        assert it.range("range/object", first, last) == data[first : last + 1], (first, last)


@matrix("multipart")
def test_multipart(it, action, made, tmp_path):
    data, key = made(LARGE, 6), "multipart/large"
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(data)
    it.multipart(source, key)
    written(it, key, data, back)
    if not it.opaque:
        # The ETag of an upload counts its parts; that of a single PUT ends in -0.
        etag = it.front.s3.head_object(Bucket=it.bucket, Key=key)["ETag"].strip('"')
        assert int(etag.rpartition("-")[2]) >= 2, etag
        it.get(key, back)
        assert back.read_bytes() == data


@matrix("list")
def test_list(it, action, content):
    expected = {f"list/{name}": size for name, size in SIZES.items()}
    for key, size in expected.items():
        seed(it, key, content(size, 1))
    upload = it.front.s3.create_multipart_upload(Bucket=it.bucket, Key="list/parts")["UploadId"]
    names = {"Bucket": it.bucket, "Key": "list/parts", "UploadId": upload}
    parts = []
    for number, size in [(1, 5 * MIB + 1), (2, 77)]:
        etag = it.front.s3.upload_part(**names, PartNumber=number, Body=content(size, number))["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    it.front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    expected["list/parts"] = 5 * MIB + 78
    assert it.sizes("list/") == expected


@matrix("copy")
def test_copy(it, action, made):
    data = made(MIB + 3, 7)
    seed(it, "copy/from", data)
    it.copy("copy/from", "copy/to")
    assert it.front.fetch(it.bucket, "copy/to") == data
    assert listed(it, "copy/to") == {"copy/to": len(data)}


@pytest.mark.parametrize(("client", "action"), [parameter(client, "copy-unicode") for client in CLIENTS if client.can("copy")])
def test_copy_unicode(it, action, made):
    data, source = made(1_234, 7), f"copy-unicode/{UNICODE}"
    seed(it, source, data)
    reason = KNOWN.get((it.name, action))
    if reason:
        with pytest.raises(AssertionError):
            it.copy(source, source + "+")
        pytest.xfail(reason)
    it.copy(source, source + "+")
    assert it.front.fetch(it.bucket, source + "+") == data


@pytest.mark.parametrize(("client", "action"), [parameter(client, "folders") for client in CLIENTS if hasattr(client, "make_folder")])
def test_folders(it, action):
    reason = KNOWN.get((it.name, action))
    if reason:
        with pytest.raises(OSError):
            it.make_folder("folders")
        pytest.xfail(reason)
    it.make_folder("folders")


@matrix("delete")
def test_delete(it, action, made, tmp_path):
    if it.opaque:
        for number in (1, 2):
            data = made(MIB + number, number)
            (tmp_path / "source").write_bytes(data)
            it.put(tmp_path / "source", "delete")
        before = listed(it, "delete/")
        it.delete("delete")
        assert before.keys() - listed(it, "delete/").keys()
        written(it, "delete", data, tmp_path / "back")
        return
    for name in ("gone", "kept"):
        seed(it, f"delete/{name}", made(10))
    it.delete("delete/gone")
    assert list(listed(it, "delete/")) == ["delete/kept"]


def objects(it, prefix):
    """ETags by key: every write makes a new one."""
    pages = it.front.s3.get_paginator("list_objects_v2").paginate(Bucket=it.bucket, Prefix=prefix)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


def files(folder):
    """What tells files that were written again."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@matrix("sync")
def test_sync(it, action, content, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    trees = {**SIZES, "deep/large.bin": 6 * MIB + 1, "gone": 5}
    for number, (name, size) in enumerate(trees.items()):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(size, number))
        # Programs compare with times that the store keeps in whole seconds.
        os.utime(path, (time.time() - 3600,) * 2)
    it.sync_up(source, "sync/")
    assert listed(it, "sync/") == {f"sync/{name}": size for name, size in trees.items()}
    before = objects(it, "sync/")
    it.sync_up(source, "sync/")
    assert objects(it, "sync/") == before, "a second run wrote again"
    (source / "gone").unlink()
    (source / "one").write_bytes(b"changed")
    it.sync_up(source, "sync/")
    after = objects(it, "sync/")
    assert before.keys() - after.keys() == {"sync/gone"}
    assert {key for key in after if after[key] != before[key]} == {"sync/one"}
    it.sync_down("sync/", back)
    assert {name: (back / name).read_bytes() for name in files(back)} == {
        name: (source / name).read_bytes() for name in files(source)
    }
    before = files(back)
    time.sleep(0.01)
    it.sync_down("sync/", back)
    assert files(back) == before, "a second run fetched again"


@matrix("unicode")
def test_unicode(it, action, made, tmp_path):
    source, back = tmp_path / "source", tmp_path / "back"
    data, key = made(1_234, 8), f"unicode/{UNICODE}"
    source.write_bytes(data)
    it.put(source, key)
    written(it, key, data, tmp_path / "again")
    it.get(key, back)
    assert back.read_bytes() == data
    if it.can("list"):
        assert it.sizes("unicode/") == {key: len(data)}
    if it.can("delete") and not it.opaque:
        it.delete(key)
        assert key not in listed(it, "unicode/")


def test_every_gap_has_its_reason():
    missing = {
        client.name: {action for action in ACTIONS if not client.can(action)}
        for client in CLIENTS
        if not all(client.can(action) for action in ACTIONS)
    }
    assert missing == {client: set(actions) for client, actions in GAPS.items()}
    assert all(reason for actions in GAPS.values() for reason in actions.values())
