"""Bytes and helpers that several areas use."""

import re

from harness.raw import md5

MIB = 1024 * 1024
BODY = bytes(range(256)) * 40
PART = bytes(range(251)) * (5 * MIB // 251 + 1)
PART = PART[: 5 * MIB]
OTHER_TAG = '"00000000000000000000000000000000"'
PAST, FUTURE = "Mon, 01 Jan 2001 00:00:00 GMT", "Mon, 01 Jan 2035 00:00:00 GMT"


def tag_of(answer):
    """The entity tag as it came."""
    return answer.headers.get("etag", "") if answer is not None else ""


def element(answer, name):
    """The text of the first element of this name, or nothing."""
    found = re.search(f"<{name}>([^<]*)</{name}>".encode(), answer.body if answer is not None else b"")
    return found[1].decode() if found else ""


def delete_document(items, quiet=False, mark=""):
    """A Delete document."""
    entries = "".join(f"<Object>{item}</Object>" for item in items)
    return f"<Delete>{'<Quiet>true</Quiet>' if quiet else ''}{entries}{mark}</Delete>".encode()


def delete_many(side, step, body, says=200, digest=True):
    headers = {"content-md5": md5(body)} if digest else {}
    return side(step, "POST", query={"delete": ""}, headers=headers, body=body, says=says)
