"""Promise: whatever a client does with a store, it does through the gateway, over HTTPS.

How: every client does every action that it has. What it wrote is read back by boto3 and what it reads
was written by boto3, so that no client checks itself; contents are compared byte for byte, listed
sizes with the plaintext's.
"""

import os
import time

from clients.matrix.cells import (
    CLIENTS, LARGE, SIZES, UNICODE, listed, matrix, objects, seed, seed_parts, written,
)  # fmt: skip
from clients.matrix.client import ACTIONS, MIB
from clients.matrix.gaps import GAPS


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
    seed_parts(it, "list/parts", [content(5 * MIB + 1, 1), content(77, 2)])
    expected["list/parts"] = 5 * MIB + 78
    assert it.sizes("list/") == expected


@matrix("copy")
def test_copy(it, action, made):
    data = made(MIB + 3, 7)
    seed(it, "copy/from", data)
    it.copy("copy/from", "copy/to")
    assert it.front.fetch(it.bucket, "copy/to") == data
    assert listed(it, "copy/to") == {"copy/to": len(data)}


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
