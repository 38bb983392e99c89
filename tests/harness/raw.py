"""Requests by hand: an own SigV4 signer and plain sockets, so that every byte can be wrong on purpose."""

import base64
import datetime
import hashlib
import hmac
import http.client
import socket
import ssl
import urllib.parse
import xml.etree.ElementTree
import zlib

from .fronts import REGION

UNSIGNED = "UNSIGNED-PAYLOAD"
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()
SECONDS = 60


def quote(text, safe=""):
    return urllib.parse.quote(text, safe="-._~" + safe)


def crc32(data):
    """The value of x-amz-checksum-crc32."""
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def md5(data):
    """The value of Content-MD5."""
    return base64.b64encode(hashlib.md5(data).digest()).decode()


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self):
        """The S3 error code, or None."""
        try:
            return xml.etree.ElementTree.fromstring(self.body).findtext("Code")
        except xml.etree.ElementTree.ParseError:
            return None

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Signature:
    """A signed request, and what its chunk signatures continue from."""

    def __init__(self, endpoint, method, path, query, headers, payload, now=None, region=REGION, hide=()):
        now = now or datetime.datetime.now(datetime.timezone.utc)
        self.date = now.strftime("%Y%m%dT%H%M%SZ")
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.headers.update({"host": endpoint.host, "x-amz-date": self.date, "x-amz-content-sha256": payload})
        names = sorted(name for name in self.headers if name not in hide)
        self.scope = f"{self.date[:8]}/{region}/s3/aws4_request"
        pairs = sorted((quote(name), quote(value)) for name, value in query)
        canonical = "\n".join(
            [
                method,
                quote(path, "/"),
                "&".join(f"{name}={value}" for name, value in pairs),
                *(f"{name}:{' '.join(str(self.headers[name]).split())}" for name in names),
                "",
                ";".join(names),
                payload,
            ]
        )
        key = f"AWS4{endpoint.secret_key}".encode()
        for text in self.scope.split("/"):
            key = hmac.new(key, text.encode(), hashlib.sha256).digest()
        self.key = key
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        self.value = self._sign(f"AWS4-HMAC-SHA256\n{self.date}\n{self.scope}\n{digest}")
        self.headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={endpoint.access_key}/{self.scope},"
            f"SignedHeaders={';'.join(names)},Signature={self.value}"
        )

    def _sign(self, text):
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def chunk(self, data, wrong=False):
        """One signed chunk."""
        return self.chunk_line(len(data), hashlib.sha256(data).hexdigest(), wrong) + data + b"\r\n"

    def chunk_line(self, length, digest, wrong=False):
        """The line before the data of a chunk."""
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.date}\n{self.scope}\n{self.value}\n{EMPTY}\n{digest}"
        self.value = self._sign(text)
        shown = "0" * 64 if wrong else self.value
        return f"{length:x};chunk-signature={shown}\r\n".encode()

    def trailer(self, lines, wrong=False):
        """The signature line of a signed trailer."""
        digest = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
        value = self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{self.date}\n{self.scope}\n{self.value}\n{digest}")
        return f"x-amz-trailer-signature:{'0' * 64 if wrong else value}\r\n"


class Endpoint:
    """Where raw requests go."""

    def __init__(self, url, access_key, secret_key, ca=None):
        self.scheme, self.host = url.split("://")
        self.access_key, self.secret_key, self.ca = access_key, secret_key, ca

    @classmethod
    def of(cls, front):
        return cls(front.url, front.access_key, front.secret_key, front.ca)

    @classmethod
    def behind(cls, front):
        """The bare store."""
        return cls(front.store.url, front.store.access_key, front.store.secret_key)

    def connect(self):
        name, port = self.host.split(":")
        connection = socket.create_connection((name, int(port)), timeout=SECONDS)
        if self.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.ca))
            connection = context.wrap_socket(connection, server_hostname=name)
        return connection

    def signed(self, method, path, query=(), headers=None, payload=UNSIGNED, **options):
        return Signature(self, method, path, query, headers or {}, payload, **options)

    def head(self, method, path, query, headers):
        """The bytes of a request head."""
        target = quote(path, "/")
        if query:
            target += "?" + "&".join(f"{quote(name)}={quote(value)}" for name, value in query)
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode()

    def exchange(self, request, method="GET", finish=False):
        """Sends bytes as they are and reads one answer; None if the connection ends without one."""
        with self.connect() as connection:
            try:
                connection.sendall(request)
                if finish and self.scheme == "http":
                    connection.shutdown(socket.SHUT_WR)
            except OSError:
                # The server may answer and close before everything was sent.
                pass
            return read_answer(connection, method)

    def send(self, method, path, query=(), headers=None, body=b"", payload=None, sign=True, after=None, **options):
        """Signs and sends one request; `after` may change the headers once they are signed."""
        query = [(name, value) for name, value in (query.items() if isinstance(query, dict) else query)]
        payload = payload or hashlib.sha256(body).hexdigest()
        headers = {"content-length": str(len(body)), **(headers or {})}
        if sign:
            headers = self.signed(method, path, query, headers, payload, hide=("content-length",), **options).headers
        else:
            headers["host"] = self.host
        if after:
            after(headers)
        return self.exchange(self.head(method, path, query, headers) + body, method)


def read_answer(connection, method="GET"):
    """One final answer from a socket, interim ones skipped."""
    try:
        while True:
            answer = http.client.HTTPResponse(connection, method=method)
            answer.begin()
            if answer.status != 100:
                break
        body = answer.read()
    except (http.client.HTTPException, OSError):
        return None
    headers = {}
    for name, value in answer.getheaders():
        headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
    return Response(answer.status, headers, body)


def frames(chunks):
    """aws-chunked framing without signatures, without the final chunk."""
    return b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in chunks)


def in_http_chunks(data, step=1000):
    """HTTP's own chunked transfer coding."""
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    return b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces) + b"0\r\n\r\n"
