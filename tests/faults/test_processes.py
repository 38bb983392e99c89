"""Promise: processes may die at any moment; what was answered stays true and service returns.

How: real gateways and a real helper, killed with SIGKILL under load; wrong PINs; peak memory.
"""

import os
import signal
import threading
import time

import pytest

from harness import settings
from harness.fronts import Front, error_of
from harness.gateway import run
from harness.process import free_port, wait_until
from harness.raw import UNSIGNED, Endpoint

pytestmark = pytest.mark.gateway

MIB = 1024 * 1024
MIN = 5 * MIB
# How soon service must be back after the helper died.
HELPER_BACK_SECONDS = 2
# How soon a gateway with a wrong PIN must have given up.
WRONG_PIN_SECONDS = 30


@pytest.fixture
def pair(site, work, store):
    """Two gateways of their own on the shared store."""
    number = len(site.gateways)
    gateways = [site.start(f"pair-{number}-{side}") for side in "ab"]
    yield [Front(gateway.name, gateway, work / gateway.name, store) for gateway in gateways]
    for gateway in gateways:
        gateway.stop()


def test_two_gateways_share_an_upload_and_one_dies_in_mid_part(pair, content):
    one, two = pair
    bucket = one.new_bucket("shared")
    names = {"Bucket": bucket, "Key": "big"}
    names["UploadId"] = one.s3.create_multipart_upload(**names)["UploadId"]
    bodies = {number: content(MIN + number, number) for number in range(1, 6)}
    bodies[6] = content(333, 6)
    etags = {}
    for number in (1, 2, 3, 4):
        front = one if number % 2 else two
        etags[number] = front.s3.upload_part(**names, PartNumber=number, Body=bodies[number])["ETag"]
    half_sent(one, names, 5, bodies[5])
    one.server.server.kill()
    for number in (5, 6):
        etags[number] = two.s3.upload_part(**names, PartNumber=number, Body=bodies[number])["ETag"]
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(etags.items())]
    two.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    whole = b"".join(bodies[number] for number in sorted(bodies))
    assert two.fetch(bucket, "big") == whole
    assert two.listed_sizes(bucket) == {"big": len(whole)}


def half_sent(front, names, number, body):
    """Sends half a part and leaves the connection open until the gateway is gone."""
    endpoint = Endpoint.of(front)
    path = f"/{names['Bucket']}/{names['Key']}"
    query = [("partNumber", str(number)), ("uploadId", names["UploadId"])]
    headers = endpoint.signed("PUT", path, query, {}, UNSIGNED).headers
    head = endpoint.head("PUT", path, query, {**headers, "content-length": str(len(body))})
    connection = endpoint.connect()
    connection.sendall(head + body[: len(body) // 2])
    time.sleep(0.5)


def test_an_object_is_old_or_new_when_its_gateway_dies(pair, content):
    one, two = pair
    bucket = one.new_bucket("old-or-new")
    one.s3.put_object(Bucket=bucket, Key="k", Body=content(70_000, 1))
    endpoint, body = Endpoint.of(one), content(8 * MIB, 2)
    headers = endpoint.signed("PUT", f"/{bucket}/k", (), {}, UNSIGNED).headers
    connection = endpoint.connect()
    head = endpoint.head("PUT", f"/{bucket}/k", (), {**headers, "content-length": str(len(body))})
    connection.sendall(head + body[:-1])
    time.sleep(0.5)
    one.server.server.kill()
    assert two.fetch(bucket, "k") == content(70_000, 1)


def test_keys_made_by_one_gateway_are_known_to_the_other(pair, content):
    one, two = pair
    for writer, reader in ((one, two), (two, one)):
        bucket = writer.new_bucket("keys")
        writer.s3.put_object(Bucket=bucket, Key="k", Body=content(1_000, 5))
        assert reader.fetch(bucket, "k") == content(1_000, 5)
        reader.s3.put_object(Bucket=bucket, Key="l", Body=b"2")
        assert writer.fetch(bucket, "l") == b"2"


class Load:
    """Clients that write and read until told to stop, each answer checked."""

    def __init__(self, front, content, clients=4):
        self.front, self.content = front, content
        self.stopped = threading.Event()
        self.wrong, self.right, self.refused = [], 0, 0
        self.threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _work(self, number):
        endpoint, turn = Endpoint.of(self.front), 0
        while not self.stopped.is_set():
            turn += 1
            bucket, body = f"load-{os.getpid()}-{number}-{time.time_ns()}", self.content(70_000 + turn, number)
            steps = [("PUT", f"/{bucket}", b""), ("PUT", f"/{bucket}/k", body), ("GET", f"/{bucket}/k", b"")]
            for method, path, sent in steps:
                answer = endpoint.send(method, path, body=sent)
                if not self._judge(method, answer, body):
                    break

    def _judge(self, method, answer, body):
        """Whether the step was done; a refusal must say when to come back."""
        if answer is None:
            self.wrong.append("connection closed without an answer")
            return False
        if answer.status == 503 and "retry-after" in answer.headers:
            self.refused += 1
            return False
        if answer.status != 200 or (method == "GET" and answer.body != body):
            self.wrong.append(f"{method} {answer.status} {answer.code}")
            return False
        self.right += 1
        return True

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join(60)


def test_the_helper_may_be_killed_under_load(pair, content):
    front = pair[0]
    load = Load(front, content)
    try:
        time.sleep(2)
        for _ in range(3):
            helper = front.server.helper_pid()
            assert helper, front.server.server.children()
            os.kill(helper, signal.SIGKILL)
            killed = time.monotonic()
            # A new bucket needs a key wrapped in the token.
            wait_until("a new bucket", lambda: makes_a_bucket(front), HELPER_BACK_SECONDS + 5, 0.05)
            assert time.monotonic() - killed <= HELPER_BACK_SECONDS
            assert front.server.helper_pid() not in (None, helper)
            time.sleep(1)
    finally:
        load.stop()
    assert not load.wrong, load.wrong[:5]
    assert load.right > 10


def makes_a_bucket(front):
    answer = Endpoint.of(front).send("PUT", f"/probe-{time.time_ns()}")
    assert answer is not None and answer.status in (200, 503), answer
    return answer.status == 200


def test_a_wrong_pin_stops_with_a_message_and_is_not_tried_again(site):
    pin = site.folder / "wrong-pin"
    pin.write_text("000000-wrong")
    pin.chmod(0o600)
    config = site.config("wrong-pin", free_port(), free_port(), pin_file=pin)
    begun = time.monotonic()
    done = run(["serve", "--config", config], site.env, check=False, timeout=WRONG_PIN_SECONDS)
    assert done.returncode not in (0, None)
    text = (done.stderr + done.stdout).lower()
    assert "pin" in text and "000000-wrong" not in text
    assert text.count("pin incorrect") + text.count("ckr_pin_incorrect") + text.count("wrong pin") <= 2
    assert time.monotonic() - begun < WRONG_PIN_SECONDS


def test_a_store_that_is_away_is_said_so(site, work):
    """The store stops answering: 503 and not ready, and right answers again when it is back."""

    from harness.gateway import Site
    from harness.process import Server

    class Nowhere:
        name, access_key, secret_key = "nowhere", site.store.access_key, site.store.secret_key
        url = f"http://127.0.0.1:{free_port()}"

    lost = Site(work / "lost", Nowhere, site.token)
    (lost.folder / "keyring").write_bytes((site.folder / "keyring").read_bytes())
    config = lost.config("lost", free_port(), free_port())
    server = Server("lost", [settings.BINARY, "serve", "--config", config], lost.folder, lost.env)
    time.sleep(3)
    running, log = server.is_running(), server.tail()
    server.stop()
    assert running or server.child.returncode != 0, log
    assert "store" in log.lower() or "control bucket" in log.lower(), log


def test_metrics_count_every_request(pair):
    front = pair[0]
    bucket = front.new_bucket("metrics")
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert error_of(front.s3.get_object, Bucket=bucket, Key="none") == "NoSuchKey"
    status, text = front.server.admin("/metrics")
    assert status == 200 and "sceau_" in text
    assert front.server.admin("/livez")[0] == 200


# --- memory -------------------------------------------------------------------------------------


def throttled_put(front, path, size, mib_per_second, failures):
    """Sends generated bytes slowly."""
    block = bytes(range(256)) * 4096
    endpoint = Endpoint.of(front)
    try:
        headers = endpoint.signed("PUT", path, (), {}, UNSIGNED).headers
        with endpoint.connect() as connection:
            connection.settimeout(300)
            connection.sendall(endpoint.head("PUT", path, (), {**headers, "content-length": str(size)}))
            begun, sent = time.monotonic(), 0
            while sent < size:
                piece = block[: min(len(block), size - sent)]
                connection.sendall(piece)
                sent += len(piece)
                ahead = sent / MIB / mib_per_second - (time.monotonic() - begun)
                if ahead > 0:
                    time.sleep(ahead)
            answer = connection.recv(64)
        assert answer.startswith(b"HTTP/1.1 200"), answer
    except Exception as error:  # noqa: BLE001 - reported by the test
        failures.append(repr(error))


def throttled_get(front, path, size, mib_per_second, failures):
    """Reads slowly and compares."""
    block = bytes(range(256)) * 4096
    endpoint = Endpoint.of(front)
    try:
        headers = endpoint.signed("GET", path, (), {}, UNSIGNED).headers
        with endpoint.connect() as connection:
            connection.settimeout(300)
            connection.sendall(endpoint.head("GET", path, (), headers))
            stream = connection.makefile("rb", buffering=MIB)
            while stream.readline().strip():
                pass
            begun, got = time.monotonic(), 0
            while got < size:
                want = min(len(block), size - got)
                assert stream.read(want) == block[:want], f"wrong or short after {got}"
                got += want
                ahead = got / MIB / mib_per_second - (time.monotonic() - begun)
                if ahead > 0:
                    time.sleep(ahead)
    except Exception as error:  # noqa: BLE001 - reported by the test
        failures.append(repr(error))


def test_memory_stays_bounded_with_many_throttled_transfers(pair):
    front = pair[0]
    bucket = front.new_bucket("memory")
    size = min(settings.MEMORY_OBJECT_MIB, 5 * 1024) * MIB
    rate = max(6.0, settings.MEMORY_OBJECT_MIB / 300)
    for transfer in (throttled_put, throttled_get):
        failures = []
        arguments = [(front, f"/{bucket}/{n}", size, rate, failures) for n in range(settings.MEMORY_TRANSFERS)]
        threads = [threading.Thread(target=transfer, args=one) for one in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
    peak = front.server.server.peak_resident_mib()
    print(f"peak resident memory with {settings.MEMORY_TRANSFERS} x {size // MIB} MiB: {peak:.0f} MiB")
    assert peak < settings.MEMORY_LIMIT_MIB


@pytest.mark.slow
def test_objects_of_five_and_six_gibibytes(pair, tmp_path):
    import hashlib
    import subprocess

    from harness.settings import tool

    front = pair[0]
    bucket = front.new_bucket("large")
    size = 6 * 1024 * MIB
    command = [tool("aws"), "--endpoint-url", front.url, "s3", "cp"]
    sent, got = hashlib.sha256(), hashlib.sha256()
    up = subprocess.Popen([*command, "-", f"s3://{bucket}/six", "--expected-size", str(size)], stdin=subprocess.PIPE, env=front.env())
    block = os.urandom(MIB)
    for number in range(size // MIB):
        piece = number.to_bytes(8, "big") + block[8:]
        sent.update(piece)
        up.stdin.write(piece)
    up.stdin.close()
    assert up.wait() == 0
    assert front.listed_sizes(bucket) == {"six": size}
    down = subprocess.Popen([*command, f"s3://{bucket}/six", "-"], stdout=subprocess.PIPE, env=front.env())
    while piece := down.stdout.read(MIB):
        got.update(piece)
    assert down.wait() == 0 and got.digest() == sent.digest()
    failures = []
    # More than one request of the store may carry: the gateway makes an upload of it.
    five = 5 * 1024 * MIB
    throttled_put(front, f"/{bucket}/five", five, 10_000, failures)
    throttled_get(front, f"/{bucket}/five", five, 10_000, failures)
    assert not failures, failures
    peak = front.server.server.peak_resident_mib()
    print(f"peak resident memory with 6 GiB and {five // MIB} MiB objects: {peak:.0f} MiB")
    assert peak < settings.MEMORY_LIMIT_MIB
