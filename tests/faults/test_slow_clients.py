"""Promise: a client that stops sending or reading, or does so too slowly, is cut off and leaves nothing
behind; one that is slow is served.

How: raw sockets against gateways whose patience is a second or two.
"""

import hashlib
import select
import socket
import time

import pytest

from harness.fronts import Front
from harness.process import wait_until
from harness.raw import UNSIGNED, Endpoint, md5, read_answer

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


# --- slow, but never silent ---------------------------------------------------------------------

FLOOR = (
    '[limits]\nbody_idle_timeout = "10s"\nbody_rate_min = "16 KiB"\nbody_rate_window = "2s"\nheader_read_timeout = "30s"\n'
)
KIB = 1024


@pytest.fixture(scope="module")
def floor(site, work, store):
    """A gateway that wants 16 KiB a second."""
    gateway = site.start("floor", more=FLOOR)
    front = Front("floor", gateway, work / "floor", store)
    yield front, Endpoint(gateway.url, gateway.access_key, gateway.secret_key)
    gateway.stop()


def send_slowly(endpoint, method, path, query, body, size, pause):
    """Sends `body` in pieces of `size` with pauses, until there is an answer; the answer and the time it took."""
    digest = hashlib.sha256(body).hexdigest()
    headers = {"content-md5": md5(body)} if query else {}
    headers = {**endpoint.signed(method, path, query, headers, digest).headers, "content-length": str(len(body))}
    begun = time.monotonic()
    with endpoint.connect() as connection:
        connection.sendall(endpoint.head(method, path, query, headers))
        for start in range(0, len(body), size):
            connection.sendall(body[start : start + size])
            readable, _, _ = select.select([connection], [], [], pause)
            if readable:
                break
        return read_answer(connection, method), time.monotonic() - begun


def test_a_client_that_sends_a_trickle_is_cut_and_leaves_nothing(floor):
    front, endpoint = floor
    bucket = front.new_bucket("trickle")
    answer, seconds = send_slowly(endpoint, "PUT", f"/{bucket}/k", (), bytes(MIB), 100, 0.1)
    assert (answer.status, answer.code) == (400, "RequestTimeout") and 1.5 < seconds < CUT_SECONDS
    keys = "".join(f"<Object><Key>{number:04}</Key></Object>" for number in range(1000))
    document = f"<Delete>{keys}</Delete>".encode()
    answer, seconds = send_slowly(endpoint, "POST", f"/{bucket}", [("delete", "")], document, 1, 0.1)
    assert (answer.status, answer.code) == (400, "RequestTimeout") and 1.5 < seconds < CUT_SECONDS
    assert not front.at_store().list_objects_v2(Bucket=bucket).get("Contents")


def test_a_client_that_sends_slowly_is_served(floor, content):
    front, endpoint = floor
    bucket = front.new_bucket("slow-sender")
    body = content(192 * KIB)
    # 32 KiB a second, over three windows.
    answer, seconds = send_slowly(endpoint, "PUT", f"/{bucket}/k", (), body, 16 * KIB, 0.5)
    assert answer.status == 200 and seconds > 5
    assert front.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


def read_slowly(endpoint, path, size, pause, seconds):
    """Reads `size` bytes at a time with pauses for `seconds`, then the rest at once; how much came."""
    with endpoint.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(endpoint.head("GET", path, (), endpoint.signed("GET", path, (), {}, UNSIGNED).headers))
        received, begun = 0, time.monotonic()
        try:
            while data := connection.recv(size if time.monotonic() - begun < seconds else MIB):
                received += len(data)
                if time.monotonic() - begun < seconds:
                    time.sleep(pause)
        except ConnectionError:
            pass
        return received


def test_a_client_that_reads_a_trickle_is_cut_and_a_slow_one_is_served(floor, content):
    front, endpoint = floor
    bucket = front.new_bucket("slow-reader")
    front.s3.put_object(Bucket=bucket, Key="k", Body=content(32 * MIB))
    # 4 KiB a second; then 64 KiB a second.
    assert read_slowly(endpoint, f"/{bucket}/k", KIB, 0.25, 8) < 30 * MIB
    assert read_slowly(endpoint, f"/{bucket}/k", 32 * KIB, 0.5, 8) > 32 * MIB
