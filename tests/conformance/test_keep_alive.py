"""Promise: requests on one connection are answered in order, each with its own answer, whatever became of
those before.

How: one socket with every kind of answer on it, one after the other and all at once.
"""

import hashlib
import http.client

import pytest
from harness.forms import BOUNDARY, form
from harness.raw import Endpoint, Response

pytestmark = pytest.mark.gateway


class Conversation:
    """One connection on which answers are read one by one; nothing read ahead is lost."""

    def __init__(self, endpoint):
        self.endpoint, self.socket = endpoint, endpoint.connect()
        self.file = self.socket.makefile("rb")

    def makefile(self, _mode):
        return Unclosed(self.file)

    def send(self, data):
        self.socket.sendall(data)

    def answer(self, method):
        answer = http.client.HTTPResponse(self, method=method)
        answer.begin()
        body = answer.read()
        return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, body)

    def close(self):
        self.file.close()
        self.socket.close()


class Unclosed:
    def __init__(self, file):
        self.read, self.readline, self.readinto = file.read, file.readline, file.readinto
        self.closed = False

    def flush(self):
        pass

    def close(self):
        pass


def requests(endpoint, bucket, etag):
    """Method, bytes, status, and what the body has to be or to contain."""

    def one(method, path, body=b"", headers=None, sign=True, query=()):
        headers = {"content-length": str(len(body)), **(headers or {})}
        digest = hashlib.sha256(body).hexdigest()
        if sign:
            headers = endpoint.signed(method, path, query, headers, digest, hide=("content-length",)).headers
        else:
            headers["host"] = endpoint.host
        return method, endpoint.head(method, path, query, headers) + body

    kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return [
        (*one("GET", f"/{bucket}/k"), 200, b"data"),
        (*one("HEAD", f"/{bucket}/k"), 200, b""),
        (*one("HEAD", f"/{bucket}/missing"), 404, b""),
        (*one("GET", f"/{bucket}/missing"), 404, b"NoSuchKey"),
        (*one("GET", f"/{bucket}/k", headers={"if-none-match": etag}), 304, b""),
        (*one("GET", f"/{bucket}/k", headers={"range": "bytes=1-2"}), 206, b"at"),
        (*one("GET", f"/{bucket}/k", headers={"range": "bytes=9-"}), 416, b"InvalidRange"),
        (*one("PUT", f"/{bucket}/new", b"n" * 100_000), 200, b""),
        (*one("PUT", f"/{bucket}/new", b"body", {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}), 400, b"BadDigest"),
        (*one("PUT", f"/{bucket}/new", b"body of nobody", sign=False), 403, b"AccessDenied"),
        (*one("POST", f"/{bucket}", form({}, b"file"), kind, sign=False), 400, b"InvalidArgument"),
        (*one("POST", f"/{bucket}", b"not a form", kind, sign=False), 400, b"MalformedPOSTRequest"),
        (*one("GET", f"/{bucket}/k", query=[("torrent", "")]), 501, b"GetObjectTorrent"),
        (*one("DELETE", f"/{bucket}/gone"), 204, b""),
        (*one("HEAD", f"/{bucket}/k", headers={"if-match": '"no"'}), 412, b""),
        (*one("GET", f"/{bucket}/k", headers={"x-amz-unknown": "1"}), 501, b"NotImplemented"),
        (*one("GET", f"/{bucket}/k"), 200, b"data"),
    ]


@pytest.fixture
def prepared(plain):
    bucket = plain.new_bucket()
    etag = plain.s3.put_object(Bucket=bucket, Key="k", Body=b"data")["ETag"]
    endpoint = Endpoint.of(plain)
    return endpoint, requests(endpoint, bucket, etag)


def check(answer, status, body, name):
    assert answer.status == status, f"{name}: {answer}"
    assert body in answer.body if body and status >= 400 else body == answer.body, f"{name}: {answer}"
    assert answer.headers.get("connection") != "close", name
    if status in (204, 304):
        assert "content-length" not in answer.headers and "transfer-encoding" not in answer.headers


def test_one_after_the_other(prepared):
    endpoint, rows = prepared
    talk = Conversation(endpoint)
    for method, request, status, body in rows * 2:
        talk.send(request)
        check(talk.answer(method), status, body, request[:60])
    talk.close()


def test_all_at_once(prepared):
    endpoint, rows = prepared
    talk = Conversation(endpoint)
    small = [row for row in rows if len(row[1]) < 10_000]
    talk.send(b"".join(request for _, request, _, _ in small))
    identifiers = set()
    for method, request, status, body in small:
        answer = talk.answer(method)
        check(answer, status, body, request[:60])
        identifiers.add(answer.headers["x-amz-request-id"])
    assert len(identifiers) == len(small)
    talk.close()


def test_permission_to_send_is_given_once_and_only_where_it_is_asked(plain):
    bucket, endpoint = plain.new_bucket(), Endpoint.of(plain)
    talk = Conversation(endpoint)
    body = b"b" * 70_000
    for _ in range(3):
        headers = {"content-length": str(len(body)), "expect": "100-continue"}
        hidden = ("content-length", "expect")
        digest = hashlib.sha256(body).hexdigest()
        signed = endpoint.signed("PUT", f"/{bucket}/k", (), headers, digest, hide=hidden).headers
        talk.send(endpoint.head("PUT", f"/{bucket}/k", [], signed))
        assert talk.file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert talk.file.readline() == b"\r\n"
        talk.send(body)
        assert talk.answer("PUT").status == 200
        get = endpoint.signed("GET", f"/{bucket}/k", payload=hashlib.sha256(b"").hexdigest()).headers
        talk.send(endpoint.head("GET", f"/{bucket}/k", [], get))
        assert talk.answer("GET").body == body
    # A refusal in its place ends the connection: the client will not send what was announced.
    headers["host"] = endpoint.host
    talk.send(endpoint.head("PUT", f"/{bucket}/k", [], headers))
    refused = talk.answer("PUT")
    assert (refused.status, refused.headers["connection"]) == (403, "close")
    assert talk.file.read() == b""
    talk.close()
