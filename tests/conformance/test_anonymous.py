"""Promise: who sends no credentials may do what a rule for exactly `anonymous` allows, and nothing else.

How: unsigned requests to a bucket that the site's policy opens under `open/`, and to one that it does not.
"""

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from harness.forms import form, post
from harness.fronts import REGION, error_of
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway


@pytest.fixture
def public(plain, content):
    bucket = plain.new_bucket("public")
    for key in ("open/k", "closed/k"):
        plain.s3.put_object(Bucket=bucket, Key=key, Body=b"data", ContentType="a/b")
    return bucket


def stranger(front, **more):
    """boto3 without credentials."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=front.url,
        region_name=REGION,
        verify=str(front.ca) if front.ca else None,
        config=Config(
            signature_version=UNSIGNED, s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, **more
        ),
    )


def ask(front, method, path, query=(), headers=None, body=b""):
    answer = Endpoint.of(front).send(method, path, query, headers, body, sign=False)
    return answer.status, answer.code


DENIED = (403, "AccessDenied")


def test_reading_listing_and_writing_where_a_rule_says_so(plain, public, content):
    client = stranger(plain)
    assert client.get_object(Bucket=public, Key="open/k")["Body"].read() == b"data"
    assert client.head_object(Bucket=public, Key="open/k")["ContentType"] == "a/b"
    assert client.get_object(Bucket=public, Key="open/k", Range="bytes=1-2")["Body"].read() == b"at"
    assert [item["Key"] for item in client.list_objects_v2(Bucket=public, Prefix="open/")["Contents"]] == ["open/k"]
    client.head_bucket(Bucket=public)
    data = content(200_000)
    client.put_object(Bucket=public, Key="open/new", Body=data, Metadata={"a": "b"})
    head = plain.s3.get_object(Bucket=public, Key="open/new")
    assert (head["Body"].read(), head["Metadata"]) == (data, {"a": "b"})
    client.copy_object(Bucket=public, Key="open/copy", CopySource={"Bucket": public, "Key": "open/new"})
    assert plain.fetch(public, "open/copy") == data
    # The store keeps them sealed, and was asked with the gateway's own identity.
    assert data[:100] not in plain.at_store().get_object(Bucket=public, Key="open/new")["Body"].read()


def test_a_checksum_that_nobody_signed_is_verified_all_the_same(secure, content):
    bucket = secure.new_bucket("public")
    client, data = stranger(secure), content(100_000)
    client.put_object(Bucket=bucket, Key="open/k", Body=data, ChecksumAlgorithm="CRC32")
    assert secure.fetch(bucket, "open/k") == data
    wrong = {"x-amz-checksum-crc32": "AAAAAA=="}
    assert ask(secure, "PUT", f"/{bucket}/open/k", headers=wrong, body=b"other") == (400, "BadDigest")
    digest = {"x-amz-content-sha256": "0" * 64}
    refused = ask(secure, "PUT", f"/{bucket}/open/k", headers=digest, body=b"other")
    assert refused == (400, "XAmzContentSHA256Mismatch")
    assert secure.fetch(bucket, "open/k") == data


def test_everything_else_is_denied(plain, public):
    client = stranger(plain)
    closed = plain.new_bucket()
    plain.s3.put_object(Bucket=closed, Key="open/k", Body=b"data")
    names = {"Bucket": public, "Key": "closed/k"}
    assert error_of(client.get_object, **names) == "AccessDenied"
    assert error_of(client.put_object, Body=b"x", **names) == "AccessDenied"
    # Rules with a star are for named principals.
    assert error_of(client.get_object, Bucket=closed, Key="open/k") == "AccessDenied"
    assert error_of(client.list_objects_v2, Bucket=closed) == "AccessDenied"
    assert error_of(client.list_objects_v2, Bucket=public) == "AccessDenied"
    assert error_of(client.list_buckets) == "AccessDenied"
    assert error_of(client.get_object, Bucket="sceau-control", Key="open/k") == "AccessDenied"
    key = {"Bucket": public, "Key": "open/k"}
    assert error_of(client.delete_object, **key) == "AccessDenied"
    assert error_of(client.create_multipart_upload, **key) == "AccessDenied"
    assert error_of(client.upload_part, UploadId="u", PartNumber=1, Body=b"x", **key) == "AccessDenied"
    assert error_of(client.abort_multipart_upload, UploadId="u", **key) == "AccessDenied"
    assert error_of(client.list_multipart_uploads, Bucket=public, Prefix="open/") == "AccessDenied"
    assert error_of(client.list_object_versions, Bucket=public, Prefix="open/") == "AccessDenied"
    assert error_of(client.get_object, VersionId="null", **key) == "AccessDenied"
    assert error_of(client.get_object_acl, **key) == "AccessDenied"
    assert error_of(client.get_bucket_policy, Bucket=public) == "AccessDenied"
    assert error_of(client.create_bucket, Bucket=f"{public}-x") == "AccessDenied"
    assert error_of(client.delete_bucket, Bucket=public) == "AccessDenied"
    delete = {"Objects": [{"Key": "open/k"}]}
    assert error_of(client.delete_objects, Bucket=public, Delete=delete) == "AccessDenied"
    assert plain.fetch(public, "open/k") == b"data"


def test_a_copy_needs_the_source_to_be_open_too(plain, public):
    client = stranger(plain)
    closed = plain.new_bucket()
    plain.s3.put_object(Bucket=closed, Key="open/k", Body=b"secret")
    for source in ({"Bucket": public, "Key": "closed/k"}, {"Bucket": closed, "Key": "open/k"}):
        refused = error_of(client.copy_object, Bucket=public, Key="open/stolen", CopySource=source)
        assert refused == "AccessDenied", source
    assert error_of(plain.s3.get_object, Bucket=public, Key="open/stolen") == "NoSuchKey"


def test_what_the_store_would_obey_is_not_taken_from_a_stranger(plain, public):
    path = f"/{public}/open/k"
    for name, value in [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", "uri=x"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-bypass-governance-retention", "true"),
    ]:
        assert ask(plain, "PUT", path, headers={name: value}, body=b"x") == DENIED, name
    assert plain.fetch(public, "open/k") == b"data"
    override = [("response-content-type", "text/html")]
    assert ask(plain, "GET", path, override) == (400, "InvalidRequest")


def test_credentials_that_fail_are_not_anonymous(plain, public):
    path = f"/{public}/open/k"
    assert ask(plain, "GET", path, headers={"authorization": "nonsense"})[0] == 400
    assert ask(plain, "GET", path, [("X-Amz-Signature", "0")])[0] == 400
    assert ask(plain, "GET", path, headers={"x-amz-security-token": "t"})[0] == 400
    assert ask(plain, "GET", path, [("AWSAccessKeyId", "a"), ("Signature", "b")])[0] == 400
    streaming = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "1"}
    assert ask(plain, "PUT", path, headers=streaming, body=b"x")[0] == 400
    wrong = Endpoint(plain.url, plain.access_key, "wrong", plain.ca).send("GET", path)
    assert (wrong.status, wrong.code) == (403, "SignatureDoesNotMatch")


def test_a_form_without_a_policy_is_an_anonymous_write(plain, public):
    assert post(plain, f"/{public}", form({"key": "open/${filename}"}, b"data")).status == 204
    assert plain.fetch(public, "open/photo.jpg") == b"data"
    refused = post(plain, f"/{public}", form({"key": "closed/x"}, b"data"))
    assert (refused.status, refused.code) == DENIED
    refused = post(plain, f"/{public}", form({"key": "open/x", "acl": "public-read"}, b"data"))
    assert (refused.status, refused.code) == DENIED
    redirect = {"key": "open/x", "success_action_redirect": "https://a.example/"}
    refused = post(plain, f"/{public}", form(redirect, b"data"))
    assert (refused.status, refused.code) == DENIED
    assert error_of(plain.s3.get_object, Bucket=public, Key="open/x") == "NoSuchKey"


def test_the_record_says_anonymous(plain, public):
    ask(plain, "GET", f"/{public}/open/k")
    log = plain.server.server.log.read_text(errors="replace")
    lines = [line for line in log.splitlines() if public in line and "sceau::access" in line]
    assert any("anonymous" in line and "GetObject" in line for line in lines)
