"""Signed requests as bytes, the same with one byte changed, and a connection that sends them."""

import string
import urllib.parse
import xml.etree.ElementTree

from .raw import read_answer

# Requests on one connection.
KEPT = 200
# What a refused signature is called.
SIGNATURE_CODES = {
    "AccessDenied", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "ExpiredToken",
    "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "MissingSecurityHeader", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "XAmzContentSHA256Mismatch",
}  # fmt: skip


class Request:
    """A signed request as bytes: method, path, query and header lines, in the order they are sent."""

    def __init__(self, method, path, query, lines, body=b""):
        self.method, self.path, self.query, self.lines, self.body = method, path, query, lines, body

    def wire(self):
        target = self.path + (b"?" + self.query if self.query is not None else b"")
        lines = [name + b": " + value for name, value in self.lines]
        return b"\r\n".join([self.method.encode() + b" " + target + b" HTTP/1.1", *lines, b"", self.body])


CHANGES = ["path", "query", "header", "signature"]


def changed(rng, request, is_presigned):
    """The request with one byte changed in what is signed, or in the signature; and what was changed."""
    for _ in range(100):
        where = rng.choice(CHANGES)
        twin = Request(request.method, request.path, request.query, list(request.lines), request.body)
        if where == "path":
            # The bucket stays: another bucket is refused for its own sake.
            start = request.path.index(b"/", 1) + 1 if b"/" in request.path[1:] else len(request.path)
            if start >= len(request.path):
                continue
            twin.path = flip(rng, request.path, start, len(request.path))
        elif where == "query":
            if request.query is None:
                continue
            end = request.query.find(b"&X-Amz-Signature=")
            twin.query = flip(rng, request.query, 0, end if end >= 0 else len(request.query))
        elif where == "header":
            names = signed_names(request, is_presigned)
            places = [n for n, (name, value) in enumerate(twin.lines) if name in names and value.strip()]
            place = rng.choice(places)
            name, value = twin.lines[place]
            twin.lines[place] = (name, flip(rng, value, 0, len(value)))
        else:
            twin = forged(rng, twin, is_presigned)
        if meaning(twin) != meaning(request):
            return twin, where
    raise AssertionError(f"nothing to change in {request.wire()!r}")


def signed_names(request, is_presigned):
    if is_presigned:
        text = dict(urllib.parse.parse_qsl(request.query.decode()))["X-Amz-SignedHeaders"]
    else:
        text = dict(request.lines)[b"authorization"].decode().split("SignedHeaders=")[1].split(",")[0]
    return {name.encode() for name in text.split(";")}


def forged(rng, twin, is_presigned):
    """One byte of the signature changed."""
    if is_presigned:
        start = twin.query.index(b"X-Amz-Signature=") + len(b"X-Amz-Signature=")
        twin.query = flip(rng, twin.query, start, len(twin.query))
        return twin
    for place, (name, value) in enumerate(twin.lines):
        if name == b"authorization":
            start = value.index(b"Signature=") + len(b"Signature=")
            twin.lines[place] = (name, flip(rng, value, start, len(value)))
    return twin


# Bytes that may stand in a request line and in a header without ending either.
LETTERS = (string.ascii_letters + string.digits + "-._~%/+=&;:,!").encode()


def flip(rng, data, start, end):
    place = rng.randrange(start, end)
    byte = rng.choice([byte for byte in LETTERS if byte != data[place]])
    return data[:place] + bytes([byte]) + data[place + 1 :]


def meaning(request):
    """What the signature covers, decoded: a change that leaves it the same is no change."""
    query = sorted(
        tuple(urllib.parse.unquote_to_bytes(half) for half in (piece.partition(b"=")[0], piece.partition(b"=")[2]))
        for piece in (request.query or b"").split(b"&")
        if piece
    )
    headers = [(name, b" ".join(value.split())) for name, value in request.lines]
    return request.method, urllib.parse.unquote_to_bytes(request.path), query, headers


class Connection:
    """Sends one request after another, and connects again when the server has closed."""

    def __init__(self, endpoint):
        self.endpoint, self.socket, self.used = endpoint, None, 0

    def send(self, request):
        answer = self.try_send(request)
        assert answer is not None, f"no answer to {request.wire()!r}"
        return answer

    def try_send(self, request):
        """The answer, or None when the server closes the connection without one three times."""
        for _ in range(3):
            if self.socket is None or self.used >= KEPT:
                self.close()
                self.socket, self.used = self.endpoint.connect(), 0
            self.used += 1
            try:
                self.socket.sendall(request.wire())
                answer = read_answer(self.socket, request.method)
            except OSError:
                answer = None
            if answer is None or answer.headers.get("connection") == "close":
                self.close()
            if answer is not None:
                return answer
        return None

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def code_of(answer):
    try:
        return xml.etree.ElementTree.fromstring(answer.body).findtext("Code")
    except xml.etree.ElementTree.ParseError:
        return None
