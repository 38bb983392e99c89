"""Clients that read and write while something goes wrong, and what each of their requests got."""

import threading
import time
from dataclasses import dataclass
from concurrent.futures import ThreadPoolExecutor

from .raw import Endpoint

# Pause after a refusal, as a client has it that was told to come back.
REFUSED_PAUSE = 0.05


@dataclass
class Request:
    """One request: `cold` needs the HSM, others do not."""

    cold: bool
    method: str
    path: str
    begun: float
    seconds: float
    answer: object
    # `right`, `refused`, `wrong`, or `closed` without an answer.
    outcome: str


class Load:
    """Readers and writers of two buckets: of the one, keys are never held; of the other, they are."""

    def __init__(self, front, cold, warm, clients=3):
        self.front, self.requests, self.tag = front, [], f"{time.time_ns():x}"
        self._stop, self._lock, self._count = threading.Event(), threading.Lock(), 0
        self._threads = [
            threading.Thread(target=self._client, args=(bucket, bucket == cold, number), daemon=True)
            for bucket in (cold, warm)
            for number in range(clients)
        ]
        self.bodies = {}
        for bucket in (cold, warm):
            path, body = f"/{bucket}/{self.tag}-read", f"read {bucket} ".encode() * 5000
            answer = Endpoint.of(front).send("PUT", path, body=body)
            assert answer.status == 200, answer
            self.bodies[path] = body

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a request hangs for a minute"

    def _client(self, bucket, is_cold, number):
        endpoint = Endpoint.of(self.front)
        turn = 0
        while not self._stop.is_set():
            turn += 1
            if turn % 2:
                self._send(endpoint, is_cold, "GET", f"/{bucket}/{self.tag}-read")
            else:
                with self._lock:
                    self._count += 1
                    path = f"/{bucket}/{self.tag}-{self._count}"
                    self.bodies[path] = f"{path} {number}".encode() * 1000
                self._send(endpoint, is_cold, "PUT", path)

    def _send(self, endpoint, is_cold, method, path):
        body = self.bodies[path]
        begun = time.monotonic()
        try:
            answer = endpoint.send(method, path, body=body if method == "PUT" else b"")
        except OSError:
            answer = None
        request = Request(is_cold, method, path, begun, time.monotonic() - begun, answer, "refused")
        if answer is None:
            request.outcome = "closed"
        elif answer.status == 200:
            request.outcome = "right" if method == "PUT" or answer.body == body else "wrong"
        with self._lock:
            self.requests.append(request)
        if request.outcome != "right":
            time.sleep(REFUSED_PAUSE)

    def since(self, moment=0.0):
        """The requests that ended after `moment`."""
        with self._lock:
            return [request for request in self.requests if request.begun + request.seconds >= moment]

    def unwell_until(self, moment):
        """For how long after `moment` requests were refused that need the HSM; 0 if none was."""
        ends = [request.begun + request.seconds - moment for request in self.since(moment)
                if request.cold and request.outcome != "right"]
        return max(ends, default=0.0)

    def well_since(self):
        """For how long requests that need the HSM were all answered right by now, both kinds of them."""
        cold = [request for request in self.since() if request.cold]
        bad = max((request.begun + request.seconds for request in cold if request.outcome != "right"), default=0.0)
        good = [request for request in cold if request.outcome == "right" and request.begun >= bad]
        if {request.method for request in good} != {"GET", "PUT"}:
            return 0.0
        return time.monotonic() - min(request.begun for request in good)

    def half_written(self):
        """Objects that are there although their writer was refused, or are not what an acknowledged one wrote."""
        puts = [request for request in self.since() if request.method == "PUT"]
        store = self.front.at_store()
        there = set()
        for bucket in {request.path.split("/")[1] for request in puts}:
            for page in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{self.tag}-"):
                there.update(f"/{bucket}/{entry['Key']}" for entry in page.get("Contents", []))
        found = [request.path for request in puts if (request.outcome == "right") != (request.path in there)
                 # Without an answer the client cannot know.
                 and request.outcome != "closed"]
        acknowledged = [request.path for request in puts if request.outcome == "right"][-40:]

        def differs(path):
            answer = Endpoint.of(self.front).send("GET", path)
            return answer.status != 200 or answer.body != self.bodies[path]

        with ThreadPoolExecutor(4) as pool:
            return found + [path for path, wrong in zip(acknowledged, pool.map(differs, acknowledged)) if wrong]
