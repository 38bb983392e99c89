"""Promise: what sets one client apart works too: signed URLs, tables read in part, streams of unknown
length, checksums, conditions, copies of large objects, and the programs' own comparisons.
"""

import base64
import ssl
import urllib.request
import zlib

import pytest

from clients.matrix.cells import (
    LARGE, UNICODE, expect, having, listed, matrix, seed, seed_parts,
)  # fmt: skip
from clients.matrix.client import MIB, Missing
from clients.matrix.libraries import Boto3, DuckDb, Obstore, Polars, PyArrow
from clients.matrix.programs import AwsCli, Rclone, RcloneDebian, S3fs
from clients.matrix.sdks import Go, Java, JavaScript
from harness import settings

COPIERS = having("copy")


@matrix("copy-unicode", COPIERS)
def test_copies_of_any_name(it, action, made):
    data, source = made(1_234, 7), f"copy-unicode/{UNICODE}"
    seed(it, source, data)
    expect(it, action, lambda: it.copy(source, source + "+"))
    assert it.front.fetch(it.bucket, source + "+") == data


@matrix("copy-large", COPIERS)
def test_copies_of_objects_of_many_parts(it, action, content):
    data = content(LARGE, 3)
    seed_parts(it, "copy-large/from", [data[: 7 * MIB + 1], data[7 * MIB + 1 :]])
    expect(it, action, lambda: it.copy("copy-large/from", "copy-large/to"))
    assert it.front.fetch(it.bucket, "copy-large/to") == data


@matrix("folders", having("make_folder"))
def test_folders(it, action):
    expect(it, action, lambda: it.make_folder("folders"))
    (it.mount / "folders" / "file").write_bytes(b"in it")
    assert [path.name for path in (it.mount / "folders").iterdir()] == ["file"]
    assert it.front.fetch(it.bucket, "folders/file") == b"in it"
    sizes = it.front.listed_sizes(it.bucket)
    assert (sizes["folders/"], sizes["folders/file"]) == (0, 5)


def fetch(it, url, data=None):
    context = ssl.create_default_context(cafile=str(it.front.ca)) if it.front.ca else None
    request = urllib.request.Request(url, data=data, method="PUT" if data else "GET")
    with urllib.request.urlopen(request, timeout=60, context=context) as answer:
        return answer.read()


@matrix("presign", having("presign"))
def test_signed_urls_read(it, action, made):
    data, key = made(70_001, 4), f"presign/{UNICODE}"
    seed(it, key, data)
    assert fetch(it, it.presign(key)) == data


@matrix("presign-put", having("presign_put"))
def test_signed_urls_write(it, action, made):
    data, key = made(70_001, 4), f"presign/{UNICODE}"
    fetch(it, it.presign_put(key), data)
    assert it.front.fetch(it.bucket, key) == data


@matrix("check", [Rclone, RcloneDebian])
def test_rclone_compares(it, action, content, tmp_path):
    for number, size in enumerate([0, 65_537, LARGE]):
        (tmp_path / f"{number} file").write_bytes(content(size, number))
    it.sync_up(tmp_path, "check/")
    for options in (["--download"], ["--size-only"], []):
        done = it.compare(tmp_path, "check/", *options)
        assert done.returncode == 0, done.stderr
    seed(it, "check/1 file", content(65_537, 99))
    assert it.compare(tmp_path, "check/", "--download").returncode != 0


@matrix("checksum", [AwsCli, Boto3, JavaScript, Go, Java])
def test_checksums_of_the_default_come_back(it, action, content, tmp_path):
    data = content(100_001, 2)
    (tmp_path / "source").write_bytes(data)
    it.put(tmp_path / "source", "checksum")
    head = it.front.s3.head_object(Bucket=it.bucket, Key="checksum", ChecksumMode="ENABLED")
    found = {name: value for name, value in head.items() if name.startswith("Checksum") and name != "ChecksumType"}
    # The newer ones choose CRC64NVME; the gateway has verified that one before it was stored.
    crc32 = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    assert found.keys() == {"ChecksumCRC64NVME"} or found == {"ChecksumCRC32": crc32}
    assert head["ChecksumType"] == "FULL_OBJECT"


@matrix("stream", having("stream"))
def test_streams_of_unknown_length(it, action, content, tmp_path):
    data = content(LARGE, 5)
    (tmp_path / "source").write_bytes(data)
    it.stream(tmp_path / "source", "stream")
    assert it.front.fetch(it.bucket, "stream") == data


@matrix("create", [Obstore])
def test_what_is_there_is_not_written_over(it, action, content, tmp_path):
    (tmp_path / "source").write_bytes(b"first")
    assert it.create(tmp_path / "source", "create") is False
    (tmp_path / "source").write_bytes(b"second")
    assert it.create(tmp_path / "source", "create") is True
    assert it.front.fetch(it.bucket, "create") == b"first"


ROWS, GROUP = 400_000, 20_000
FIRST, LAST = 250_123, 250_130


def text(n):
    return f"row {n * 7919}"


def sent(front):
    """Bytes that the gateway has sent to clients."""
    for line in front.server.admin("/metrics")[1].splitlines():
        if line.startswith("sceau_bytes_total") and 'direction="client_out"' in line:
            return float(line.split()[-1])
    raise AssertionError("the metric has another name")


@matrix("parquet", [PyArrow, DuckDb, Polars])
def test_tables_are_written_and_read_in_part(it, action):
    """A few rows of twenty groups: the footer, then the one group, by ranges."""
    import pyarrow
    import pyarrow.parquet

    key = "parquet/table.parquet"
    it.write_parquet(key, ROWS, GROUP)
    read = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(it.front.fetch(it.bucket, key)))
    assert (read.metadata.num_rows, read.metadata.num_row_groups) == (ROWS, ROWS // GROUP)
    assert read.read(columns=["text"])["text"][LAST].as_py() == text(LAST)
    before = None if settings.DIRECT else sent(it.front)
    rows = it.read_parquet(key, FIRST, LAST)
    assert [tuple(row) for row in rows] == [(n, text(n)) for n in range(FIRST, LAST + 1)]
    if before is not None:
        size = listed(it, key)[key]
        assert 0 < sent(it.front) - before < size / 2, "the table was read whole"


def test_s3cmd_with_signature_version_2_is_told_why(target):
    if settings.DIRECT:
        pytest.skip("the refusal is the gateway's")
    bucket = target.new_bucket("v2")
    done = target.s3cmd("--signature-v2", "ls", f"s3://{bucket}/", check=False)
    assert done.returncode != 0
    assert "please use AWS4-HMAC-SHA256" in done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.gateway
def test_s3fs_makes_folders_where_the_store_keeps_them(_fronts, work):
    """The counterpart of its cell: the embedded store keeps objects whose name ends in a slash, and they are sealed."""
    try:
        client = S3fs(_fronts("dev"), work / "matrix" / "s3fs-dev")
    except Missing as missing:
        pytest.skip(f"s3fs: {missing}")
    try:
        client.make_folder("folder")
        (client.mount / "folder" / "file").write_bytes(b"in it")
        assert [path.name for path in (client.mount / "folder").iterdir()] == ["file"]
        assert client.front.fetch(client.bucket, "folder/file") == b"in it"
    finally:
        client.close()
