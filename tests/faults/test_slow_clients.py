"""Promise: a client that stops sending or stops reading is cut off, and leaves nothing behind.

How: raw sockets against a gateway whose patience is one second.
"""

import socket
import time

import pytest

from harness.fronts import Front
from harness.process import wait_until
from harness.raw import UNSIGNED, Endpoint

pytestmark = pytest.mark.gateway

MIB = 1024 * 1024
PATIENCE = '[limits]\nbody_idle_timeout = "1s"\nheader_read_timeout = "1s"\n'
# Patience, and time for a busy machine to act on it.
CUT_SECONDS = 15


@pytest.fixture(scope="module")
def impatient(site, work, store):
    gateway = site.start("impatient", more=PATIENCE)
    front = Front("impatient", gateway, work / "impatient", store)
    yield front, Endpoint(gateway.url, gateway.access_key, gateway.secret_key)
    gateway.stop()


def ended(connection):
    """Whether the other side has closed."""
    try:
        return connection.recv(65536) == b""
    except (ConnectionError, socket.timeout) as error:
        return isinstance(error, ConnectionError)


def test_a_client_that_stops_reading_is_cut(impatient, content):
    front, endpoint = impatient
    bucket = front.new_bucket("stops-reading")
    front.s3.put_object(Bucket=bucket, Key="k", Body=content(64 * MIB))
    path = f"/{bucket}/k"
    with endpoint.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        headers = endpoint.signed("GET", path, (), {}, UNSIGNED).headers
        connection.sendall(endpoint.head("GET", path, (), headers))
        assert connection.recv(12) == b"HTTP/1.1 200"
        time.sleep(4)
        # What is left in the two kernels' buffers still comes; the whole object does not.
        received, begun = 0, time.monotonic()
        connection.settimeout(CUT_SECONDS)
        while time.monotonic() - begun < CUT_SECONDS:
            try:
                data = connection.recv(MIB)
            except ConnectionError:
                break
            if not data:
                break
            received += len(data)
        assert received < 60 * MIB


def test_a_client_that_stops_sending_is_cut_and_leaves_nothing(impatient):
    front, endpoint = impatient
    bucket = front.new_bucket("stops-sending")
    path = f"/{bucket}/k"
    with endpoint.connect() as connection:
        headers = endpoint.signed("PUT", path, (), {"content-length": str(MIB)}, UNSIGNED).headers
        headers["content-length"] = str(MIB)
        connection.sendall(endpoint.head("PUT", path, (), headers) + bytes(1000))
        connection.settimeout(CUT_SECONDS)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 400") and b"RequestTimeout" in answer, answer
    assert not front.at_store().list_objects_v2(Bucket=bucket).get("Contents")


def test_a_client_that_never_ends_its_head_is_cut(impatient):
    _, endpoint = impatient
    with endpoint.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n")
        connection.settimeout(1)
        wait_until("the connection to be closed", lambda: ended(connection), CUT_SECONDS)
