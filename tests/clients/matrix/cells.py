"""What the tests of the matrix share: the clients, what they move, and what of it can be seen.

What lives here: tables and small helpers. What must not: actions of clients.
"""

import pytest

from clients.matrix.client import MIB
from clients.matrix.gaps import KNOWN, KNOWN_AT_STORE
from clients.matrix.libraries import LIBRARIES
from clients.matrix.programs import PROGRAMS
from clients.matrix.sdks import SDKS
from harness import settings

CLIENTS = [*PROGRAMS, *LIBRARIES, *SDKS]
# Three parts of 5 MiB and one of a byte.
LARGE = 15 * MIB + 1
SIZES = {"empty": 0, "one": 1, "segment more.txt": 65_537, "deep/er/some.bin": MIB + 3}
UNICODE = "ümläut/日本 語 + 100%/größe ~!'().txt"


def matrix(action, clients=None):
    """Parameters of a test: the clients that have an action, or those given."""
    chosen = clients if clients is not None else [client for client in CLIENTS if client.can(action)]
    return pytest.mark.parametrize(("client", "action"), [_parameter(client, action) for client in chosen])


def having(method):
    """The clients with a method of their own."""
    return [client for client in CLIENTS if hasattr(client, method)]


def _parameter(client, action):
    marks = [pytest.mark.slow] if client.full else []
    return pytest.param(client, action, id=f"{client.name}-{action}", marks=marks)


def expect(it, action, call):
    """Calls; what is known to fail must fail."""
    reason = (KNOWN_AT_STORE if settings.DIRECT else KNOWN).get((it.name, action))
    if not reason:
        return call()
    with pytest.raises((AssertionError, OSError)):
        call()
    pytest.xfail(reason)


def seed(it, key, data):
    """What the client is to find."""
    it.front.s3.put_object(Bucket=it.bucket, Key=key, Body=data)


def seed_parts(it, key, parts):
    """An object of several parts."""
    names = {"Bucket": it.bucket, "Key": key}
    names["UploadId"] = it.front.s3.create_multipart_upload(**names)["UploadId"]
    done = []
    for number, body in enumerate(parts, 1):
        etag = it.front.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]
        done.append({"PartNumber": number, "ETag": etag})
    it.front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": done})


def listed(it, prefix):
    """Sizes by key; without the folders that clients make for themselves."""
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


def objects(it, prefix):
    """ETags by key: every write makes a new one."""
    pages = it.front.s3.get_paginator("list_objects_v2").paginate(Bucket=it.bucket, Prefix=prefix)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}
