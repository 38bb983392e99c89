"""Promise: a bucket is named by the host or by the path, and a request means the same either way.

How: boto3 in both styles over https at `bucket.s3.localhost`, presigned URLs in both, and hosts written in
every way that HTTP allows, by hand.
"""

import http.client
import socket
import ssl
import urllib.parse

import boto3
import pytest
from botocore.config import Config
from harness.forms import form, post
from harness.fronts import REGION, Front
from harness.raw import Endpoint, read_answer

pytestmark = pytest.mark.gateway

DOMAIN = "s3.localhost"


@pytest.fixture(scope="module")
def named(site, store, certificates, work):
    """A gateway over https that knows its domain."""
    gateway = site.start("gateway-named", certificates, listen=f'domains = ["{DOMAIN}"]')
    return Front("named", gateway, work / "front-named", store)


@pytest.fixture(autouse=True)
def names_of_loopback(monkeypatch):
    """Every name below `localhost` is this machine, whatever the resolver says."""
    real = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        text = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if text and text.endswith("localhost") else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


def client(front, style):
    return boto3.session.Session().client(
        "s3",
        endpoint_url=f"https://{DOMAIN}:{front.server.port}",
        aws_access_key_id=front.access_key,
        aws_secret_access_key=front.secret_key,
        region_name=REGION,
        verify=str(front.ca),
        config=Config(s3={"addressing_style": style}, signature_version="s3v4", retries={"total_max_attempts": 1}),
    )


def fetch(front, method, url, body=None):
    """One request for a URL as it is."""
    parts = urllib.parse.urlsplit(url)
    context = ssl.create_default_context(cafile=str(front.ca))
    connection = http.client.HTTPSConnection(parts.hostname, parts.port, context=context, timeout=60)
    connection.request(method, f"{parts.path}?{parts.query}", body)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers
    connection.close()
    return found


class At(Endpoint):
    """Requests to one address that name another host."""

    def __init__(self, front, host):
        super().__init__(front.url, front.access_key, front.secret_key, front.ca)
        self.address, self.host = self.host, host

    def connect(self):
        host, self.host = self.host, self.address
        try:
            return super().connect()
        finally:
            self.host = host


@pytest.mark.parametrize("style", ["virtual", "path"])
def test_boto3_in_both_styles(named, content, style):
    bucket, data = named.new_bucket(), content(6 * 1024 * 1024)
    s3 = client(named, style)
    seen = []
    s3.meta.events.register("before-send.s3", lambda request, **_: seen.append(urllib.parse.urlsplit(request.url)))
    s3.put_object(Bucket=bucket, Key="a//b/é+ %", Body=data)
    assert s3.get_object(Bucket=bucket, Key="a//b/é+ %")["Body"].read() == data
    assert [item["Size"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [len(data)]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a//b/é+ %"})
    upload = {"Bucket": bucket, "Key": "m", "UploadId": s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]}
    part = s3.upload_part(PartNumber=1, Body=data, **upload)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(MultipartUpload=parts, **upload)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a//b/é+ %"}, {"Key": "m"}, {"Key": "copy"}]})
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    assert bucket in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    s3.delete_bucket(Bucket=bucket)
    # The test is about hosts: they were what it says.
    hosts = {url.hostname for url in seen}
    assert (f"{bucket}.{DOMAIN}" in hosts) == (style == "virtual")


@pytest.mark.parametrize("style", ["virtual", "path"])
def test_presigned_urls_in_both_styles(named, content, style):
    bucket, s3, key = named.new_bucket(), client(named, style), {"Key": "a b/é"}
    key["Bucket"] = bucket
    data = content(100_000)

    def url(operation, **more):
        made = s3.generate_presigned_url(operation, Params={**key, **more})
        assert urllib.parse.urlsplit(made).hostname == (f"{bucket}.{DOMAIN}" if style == "virtual" else DOMAIN)
        return made

    assert fetch(named, "PUT", url("put_object"), data)[0] == 200
    assert fetch(named, "GET", url("get_object"))[:2] == (200, data)
    status, body, headers = fetch(named, "HEAD", url("head_object"))
    assert (status, body, headers["content-length"]) == (200, b"", "100000")
    upload = s3.create_multipart_upload(**key)["UploadId"]
    status, _, headers = fetch(named, "PUT", url("upload_part", UploadId=upload, PartNumber=1), data)
    assert status == 200
    parts = {"Parts": [{"PartNumber": 1, "ETag": headers["etag"]}]}
    s3.complete_multipart_upload(UploadId=upload, MultipartUpload=parts, **key)
    assert fetch(named, "DELETE", url("delete_object"))[0] == 204
    assert fetch(named, "GET", url("get_object"))[0] == 404
    # A URL is good for its host and for no other.
    stolen = url("get_object").replace(bucket, named.new_bucket())
    assert fetch(named, "GET", stolen)[0] == 403
    assert fetch(named, "DELETE", url("get_object"))[0] == 403


def test_hosts_in_every_spelling(named):
    bucket, port = named.new_bucket(), named.server.port
    named.s3.put_object(Bucket=bucket, Key="k", Body=b"data")

    def get(host, path):
        answer = At(named, host).send("GET", path)
        return answer.status, answer.body if answer.status == 200 else answer.code

    found = (200, b"data")
    assert get(f"{bucket}.{DOMAIN}:{port}", "/k") == found
    assert get(f"{bucket}.{DOMAIN}", "/k") == found
    assert get(f"{bucket.upper()}.{DOMAIN.upper()}:{port}", "/k") == found
    assert get(f"{bucket}.{DOMAIN}.:{port}", "/k") == found
    assert get(DOMAIN, f"/{bucket}/k") == found
    assert get(f"{DOMAIN}.", f"/{bucket}/k") == found
    for path_style in ("127.0.0.1", f"127.0.0.1:{port}", "[::1]", f"[::1]:{port}", "localhost", "other.example"):
        assert get(path_style, f"/{bucket}/k") == found, path_style
    assert get(f"{bucket}.{DOMAIN}", f"/{bucket}/k") == (404, "NoSuchKey")
    assert get(f"none.{DOMAIN}", "/k")[0] == 404
    assert get(DOMAIN, "/")[0] == 200
    assert get(f".{DOMAIN}", "/k") == (400, "InvalidBucketName")


def test_bucket_names_with_dots(named):
    bucket = f"{named.new_bucket()}.with.dots"
    named.s3.create_bucket(Bucket=bucket)
    named.s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    # The certificate covers one label; who checks it no further gets there.
    assert At(named, f"{bucket}.{DOMAIN}").send("GET", "/k").body == b"data"


def test_the_target_may_be_absolute_and_must_agree(named):
    bucket = named.new_bucket()
    named.s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    host = f"{bucket}.{DOMAIN}:{named.server.port}"
    endpoint = At(named, host)

    def ask(target, *hosts):
        headers = endpoint.signed("GET", "/k").headers
        lines = [f"{name}: {value}" for name, value in headers.items() if name != "host"]
        lines += [f"host: {name}" for name in hosts]
        request = "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()
        answer = endpoint.exchange(request)
        return answer and answer.status

    assert ask("/k", host) == 200
    assert ask(f"https://{host}/k", host) == 200
    assert ask(f"https://other.{DOMAIN}/k", host) == 400
    assert ask(f"https://{host}/k", f"other.{DOMAIN}") == 400
    assert ask("/k") == 400
    assert ask("/k", host, host) == 400
    assert ask("/k", "") == 400
    assert ask("/k", f"{host}/x") == 400
    assert ask("/k", f"user@{host}") == 400
    # Signed for one host and sent with another: the signature does not hold.
    assert ask("/k", f"{bucket}.{DOMAIN}") == 403


def test_a_form_at_the_buckets_own_host(named):
    bucket = named.new_bucket()
    made = client(named, "virtual").generate_presigned_post(bucket, "k", Fields={"success_action_status": "201"})
    host = urllib.parse.urlsplit(made["url"]).netloc
    assert host.startswith(bucket)
    body = form(made["fields"], b"data")
    refused = post(named, "/", body, {"host": host})
    assert refused.status == 403, "the status field has no condition"
    conditions = [{"success_action_status": "201"}]
    made = named.s3.generate_presigned_post(bucket, "k", made["fields"] and {"success_action_status": "201"}, conditions)
    answer = post(named, "/", form(made["fields"], b"data"), {"host": host})
    assert answer.status == 201
    assert answer.headers["location"] == f"https://{host}/k"
    assert named.fetch(bucket, "k") == b"data"


def test_over_ipv6(site, store, certificates, work):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    gateway = site.start("gateway-ipv6", certificates, host="::1", listen=f'domains = ["{DOMAIN}"]')
    front = Front("ipv6", gateway, work / "front-ipv6", store)
    bucket = front.new_bucket()
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"data")
    assert front.fetch(bucket, "k") == b"data"
    url = front.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert "[::1]" in url
    assert fetch(front, "GET", url)[:2] == (200, b"data")
    with socket.create_connection(("::1", gateway.port), timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read_answer(plain) is None
