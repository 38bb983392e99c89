"""A malicious store: a proxy in front of a real one that changes answers, and requests, by rule, and keeps what it saw.

A rule is a function. `on_answer(request, answer)` may change the answer in place; `on_request(request)` may change a
request, which is then signed again with the store's own credentials, or return an Answer of its own making. What an
operator does to objects at rest needs no proxy: tests do it at the real store directly.
"""

import http.client
import threading
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .raw import UNSIGNED, Endpoint

HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
SECONDS = 60


class Request:
    """One request of the gateway to the store."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.is_changed = False

    @property
    def path(self):
        """Bucket and key, decoded."""
        return urllib.parse.unquote(self.target.partition("?")[0])

    @property
    def query(self):
        pairs = urllib.parse.parse_qsl(self.target.partition("?")[2], keep_blank_values=True)
        return dict(pairs)

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def is_read_of(self, bucket, key):
        """A GET of an object itself."""
        return self.method == "GET" and self.path == f"/{bucket}/{key}" and not set(self.query) - {"versionId"}

    def change(self, headers=None, body=None):
        """Other headers (None removes one), another body."""
        self.is_changed = True
        for name, value in (headers or {}).items():
            self.headers = [(key, old) for key, old in self.headers if key.lower() != name]
            if value is not None:
                self.headers.append((name, value))
        if body is not None:
            self.body = body


class Answer:
    """One answer to the gateway. `announce`: the Content-Length to claim; `cut`: bytes after which the connection ends."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        self.announce = self.cut = None

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def set(self, name, *values):
        """One header with these values, in the place of all of its name."""
        self.headers = [(key, old) for key, old in self.headers if key.lower() != name.lower()]
        self.headers += [(name, value) for value in values]

    def become(self, other):
        """Another answer, remembered from before."""
        self.status, self.headers, self.body = other.status, list(other.headers), other.body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = SECONDS

    def log_message(self, *_):
        pass

    def _serve(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            # The gateway took the request back: no store may make anything of it.
            self.server.adversary.note(Request(self.command, self.path, self.headers.items(), body), None)
            self.close_connection = True
            return
        request = Request(self.command, self.path, list(self.headers.items()), body)
        try:
            answer = self.server.adversary.answer(request, self._upstream)
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        self._send(answer)

    def _upstream(self, request):
        """The real store's answer."""
        connection = getattr(self, "_store", None)
        headers = [(name, value) for name, value in request.headers if name.lower() not in HOP]
        for attempt in (0, 1):
            if connection is None:
                connection = http.client.HTTPConnection(self.server.adversary.target, timeout=SECONDS)
            try:
                connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers:
                    connection.putheader(name, value)
                connection.endheaders(request.body)
                got = connection.getresponse()
                body = got.read()
                break
            except (OSError, http.client.HTTPException):
                connection = None
                if attempt:
                    raise
        self._store = connection
        return Answer(got.status, got.getheaders(), body)

    def _send(self, answer):
        body = b"" if self.command == "HEAD" or answer.status in (204, 304) else answer.body
        lines = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, '-')}"]
        claimed = answer.announce if answer.announce is not None else len(body)
        for name, value in answer.headers:
            if name.lower() in HOP or (name.lower() == "content-length" and self.command != "HEAD"):
                continue
            lines.append(f"{name}: {value}")
        if self.command != "HEAD" and answer.status not in (204, 304):
            lines.append(f"Content-Length: {claimed}")
        if answer.cut is not None:
            body, self.close_connection = body[: answer.cut], True
        if claimed != len(body):
            self.close_connection = True
        try:
            self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        except OSError:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass


class Adversary:
    """The proxy. It has what tests expect of a store, and `real` is the honest one."""

    name = "adversary"

    def __init__(self, real, keep_bodies=False):
        self.real, self.access_key, self.secret_key = real, real.access_key, real.secret_key
        self.gateway_lines = getattr(real, "gateway_lines", "")
        self.target = real.url.split("//")[1]
        self.on_answer = self.on_request = None
        self.keep_bodies, self._seen, self._lock = keep_bodies, [], threading.Lock()
        self.mutations = 0
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.adversary = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request, upstream):
        """What the gateway gets."""
        own = None
        if self.on_request is not None:
            own = self.on_request(request)
        if own is not None:
            self.note(request, own)
            return own
        if request.is_changed:
            self._sign_again(request)
        answer = upstream(request)
        self.note(request, answer)
        if self.on_answer is not None:
            self.on_answer(request, answer)
        return answer

    def _sign_again(self, request):
        dropped = {"authorization", "x-amz-date", "x-amz-content-sha256", "host", "content-length", *HOP}
        headers = {name: value for name, value in request.headers if name.lower() not in dropped}
        headers["content-length"] = str(len(request.body))
        endpoint = Endpoint(self.url, self.access_key, self.secret_key)
        pairs = urllib.parse.parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
        signed = endpoint.signed(request.method, request.path, pairs, headers, UNSIGNED, hide=("content-length",))
        request.headers = list(signed.headers.items())

    def note(self, request, answer):
        """Remembers what came and what went."""
        head = [f"{request.method} {request.target}", *(f"{name}: {value}" for name, value in request.headers)]
        with self._lock:
            if self.keep_bodies:
                self._seen.append("\n".join(head).encode() + b"\n\n" + bytes(request.body) + b"\n")
            else:
                self._seen = [*self._seen[-200:], "\n".join(head).encode()]

    @property
    def seen(self):
        """Everything that the store received: request lines, headers and, if kept, bodies."""
        with self._lock:
            return b"".join(self._seen)

    def forget(self):
        with self._lock:
            self._seen = []

    @contextmanager
    def lying(self, on_answer=None, on_request=None):
        """Rules for as long as the block runs."""
        self.on_answer, self.on_request = on_answer, on_request
        try:
            yield self
        finally:
            self.on_answer = self.on_request = None

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
