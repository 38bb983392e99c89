"""Promise: software that insists on encryption by the store works, by a stated policy, and a customer's key is
a condition of access that the gateway enforces and nobody else ever sees.

How: gateways of their own with each setting; the same calls at the bare store where it has the feature; and
a look at what the store holds and what the gateway logs.
"""

import base64
import hashlib
import json
import re
import secrets

import pytest
from botocore.exceptions import ClientError
from harness.fronts import Front, error_of

pytestmark = pytest.mark.gateway

MIB = 1024 * 1024
MIN = 5 * MIB
KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
ARN = "arn:aws:kms:eu-west-1:111122223333:key/payroll"
SETTINGS = """
[[bucket]]
buckets = ["sent-*"]
sse = "forward"

[[bucket]]
buckets = ["none-*"]
sse = "refuse"

[[bucket]]
buckets = ["*"]
sse_c = "bind"
kms_key_names = ["payroll"]
"""


@pytest.fixture(scope="module")
def served(work, store, certificates):
    """One site with its own policy: a gateway over https and one over http."""
    from harness.fronts import boto
    from harness.gateway import Site
    from harness.softhsm import Token

    site = Site(work / "sse-site", store, Token(work / "sse-softhsm"), "sse-control")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    policy = site.folder / "policy.toml"
    policy.write_text(policy.read_text() + SETTINGS)
    site.enrol()
    secure = Front("https", site.start("sse-https", certificates), work / "front-sse-https", store)
    plain = Front("http", site.start("sse-http"), work / "front-sse-http", store)
    yield secure, plain
    site.stop()


@pytest.fixture(scope="module")
def secure(served):
    return served[0]


def customer(key=KEY, prefix=""):
    return {f"{prefix}SSECustomerAlgorithm": "AES256", f"{prefix}SSECustomerKey": key}


def md5(key):
    return base64.b64encode(hashlib.md5(key).digest()).decode()


def spelt(key=KEY):
    """As headers want it: botocore does not encode the key for every operation."""
    text = base64.b64encode(key).decode()
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": text, "SSECustomerKeyMD5": md5(key)}


def failure(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"]


ASKED = [
    {"ServerSideEncryption": "AES256"},
    {"ServerSideEncryption": "aws:kms"},
    {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "alias/payroll"},
    {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN, "BucketKeyEnabled": True},
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: "-".join(str(value) for value in asked.values()))
def test_a_request_is_answered_as_s3_does_and_the_store_sees_none_of_it(secure, content, asked):
    bucket, data = secure.new_bucket(), content(1_000)
    names = {"Bucket": bucket, "Key": "k"}
    context = {}
    if asked["ServerSideEncryption"] == "aws:kms":
        context["SSEKMSEncryptionContext"] = base64.b64encode(json.dumps({"who": "payroll"}).encode()).decode()
    upload = secure.s3.create_multipart_upload(Bucket=bucket, Key="big", **asked)
    part = {"Bucket": bucket, "Key": "big", "UploadId": upload["UploadId"]}
    etag = secure.s3.upload_part(**part, PartNumber=1, Body=data)
    done = secure.s3.complete_multipart_upload(
        **part, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag["ETag"]}]}
    )
    answers = [
        secure.s3.put_object(**names, Body=data, Metadata={"own": "1"}, **asked, **context),
        secure.s3.head_object(**names),
        secure.s3.get_object(**names),
        secure.s3.get_object(**names, Range="bytes=1-2"),
        secure.s3.copy_object(Bucket=bucket, Key="copy", CopySource=names, **asked),
        secure.s3.head_object(Bucket=bucket, Key="copy"),
        upload,
        etag,
        done,
        secure.s3.head_object(Bucket=bucket, Key="big"),
    ]
    for answer in answers:
        assert {name: answer.get(name) for name in asked} == asked
    assert answers[1]["Metadata"] == {"own": "1"}
    # A copy asks anew.
    secure.s3.copy_object(Bucket=bucket, Key="bare", CopySource=names)
    assert "SSEKMSKeyId" not in secure.s3.head_object(Bucket=bucket, Key="bare")
    for key in ("k", "copy", "big"):
        stored = secure.at_store().head_object(Bucket=bucket, Key=key)
        assert "ServerSideEncryption" not in stored and set(stored["Metadata"]) == {"sceauh1"}


def test_what_cannot_be_meant_has_s3_codes(secure):
    names = {"Bucket": secure.new_bucket(), "Key": "k", "Body": b"x"}
    put = secure.s3.put_object
    kms = {"ServerSideEncryption": "aws:kms"}
    assert failure(put, **names, **kms, SSEKMSKeyId="other") == (400, "KMS.NotFoundException")
    assert failure(put, **names, ServerSideEncryption="AES257") == (400, "InvalidEncryptionAlgorithmError")
    assert failure(put, **names, ServerSideEncryption="AES256", SSEKMSKeyId="payroll") == (400, "InvalidArgument")
    assert failure(put, **names, SSEKMSKeyId="payroll") == (400, "InvalidArgument")
    assert failure(put, **names, **kms, SSEKMSEncryptionContext="%%%") == (400, "InvalidArgument")
    assert failure(put, **names, **customer(), ServerSideEncryption="AES256") == (400, "InvalidArgument")
    assert error_of(secure.s3.head_object, Bucket=names["Bucket"], Key="k") == "404"


def test_forward_sends_on_and_refuse_refuses(secure, content):
    sent, none = secure.new_bucket("sent"), secure.new_bucket("none")
    put, asked = secure.s3.put_object, {"Bucket": sent, "Key": "k", "Body": b"x", "ServerSideEncryption": "AES256"}
    if error_of(secure.at_store().put_object, **asked) is None:
        put(**asked)
        assert secure.at_store().head_object(Bucket=sent, Key="k")["ServerSideEncryption"] == "AES256"
        assert secure.fetch(sent, "k") == b"x"
    else:
        # A store that is not set up for it: the request reached it, and is not dropped in silence.
        assert error_of(put, **asked)
    context = {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "e30="}
    assert failure(put, Bucket=sent, Key="k", Body=b"x", **context) == (501, "NotImplemented")
    assert failure(put, Bucket=none, Key="k", Body=b"x", ServerSideEncryption="AES256") == (501, "NotImplemented")
    for bucket in (sent, none):
        assert failure(put, Bucket=bucket, Key="k", Body=b"x", **customer()) == (501, "NotImplemented")
    secure.s3.put_object(Bucket=none, Key="k", Body=b"x")


@pytest.mark.parametrize("size", [0, 1, 200_003])
def test_a_bound_object_needs_its_key(secure, content, size):
    bucket, data = secure.new_bucket(), content(size)
    names = {"Bucket": bucket, "Key": "k"}
    put = secure.s3.put_object(**names, Body=data, Metadata={"own": "1"}, **customer())
    head = secure.s3.head_object(**names, **customer())
    got = secure.s3.get_object(**names, **customer())
    for answer in (put, head, got):
        assert (answer["SSECustomerAlgorithm"], answer["SSECustomerKeyMD5"]) == ("AES256", md5(KEY))
        assert "ServerSideEncryption" not in answer
    assert got["Body"].read() == data
    assert head["Metadata"] == {"own": "1"} and head["ContentLength"] == size
    if size:
        part = secure.s3.get_object(**names, **customer(), Range="bytes=0-0")
        assert part["Body"].read() == data[:1]
        assert failure(secure.s3.get_object, **names, Range="bytes=0-0") == (400, "InvalidRequest")
    attributes, wanted = secure.s3.get_object_attributes, {"ObjectAttributes": ["ObjectSize"]}
    assert attributes(**names, **wanted, **spelt())["ObjectSize"] == size
    for call, more in [(secure.s3.get_object, {}), (attributes, wanted), (secure.s3.get_object, {"PartNumber": 1})]:
        assert failure(call, **names, **more) == (400, "InvalidRequest")
        assert failure(call, **names, **more, **spelt(OTHER)) == (403, "AccessDenied")
    assert failure(secure.s3.head_object, **names)[0] == 400
    assert failure(secure.s3.head_object, **names, **customer(OTHER))[0] == 403
    secure.s3.put_object(Bucket=bucket, Key="free", Body=data)
    assert failure(secure.s3.get_object, Bucket=bucket, Key="free", **customer()) == (400, "InvalidRequest")


def test_copies_take_a_key_for_each_side(secure, content):
    bucket, data = secure.new_bucket(), content(70_000)
    names = {"Bucket": bucket, "CopySource": {"Bucket": bucket, "Key": "k"}}
    secure.s3.put_object(Bucket=bucket, Key="k", Body=data, **customer())
    copy = secure.s3.copy_object
    assert failure(copy, **names, Key="no") == (400, "InvalidRequest")
    assert failure(copy, **names, Key="no", **customer(OTHER, "CopySource")) == (403, "AccessDenied")
    copy(**names, Key="free", **customer(KEY, "CopySource"))
    assert secure.fetch(bucket, "free") == data
    answer = copy(**names, Key="k2", **customer(KEY, "CopySource"), **customer(OTHER))
    assert answer["SSECustomerKeyMD5"] == md5(OTHER)
    assert secure.fetch(bucket, "k2", **customer(OTHER)) == data
    assert failure(secure.s3.get_object, Bucket=bucket, Key="k2", **customer(KEY)) == (403, "AccessDenied")
    # The key of an object is changed by a copy onto itself.
    copy(**names, Key="k", **customer(KEY, "CopySource"), **customer(OTHER))
    assert secure.fetch(bucket, "k", **customer(OTHER)) == data


def test_every_part_comes_with_the_key_of_its_upload(secure, content):
    bucket, bodies = secure.new_bucket(), {1: content(MIN, 1), 2: content(77, 2)}
    names = {"Bucket": bucket, "Key": "big"}
    created = secure.s3.create_multipart_upload(**names, **customer())
    assert created["SSECustomerKeyMD5"] == md5(KEY)
    names["UploadId"] = created["UploadId"]
    part = secure.s3.upload_part
    assert failure(part, **names, PartNumber=1, Body=b"x") == (400, "InvalidRequest")
    assert failure(part, **names, PartNumber=1, Body=b"x", **customer(OTHER)) == (400, "InvalidRequest")
    parts = []
    for number, body in bodies.items():
        answer = part(**names, PartNumber=number, Body=body, **customer())
        assert answer["SSECustomerKeyMD5"] == md5(KEY)
        parts.append({"PartNumber": number, "ETag": answer["ETag"]})
    source = {"CopySource": {"Bucket": bucket, "Key": "source"}}
    secure.s3.put_object(Bucket=bucket, Key="source", Body=content(MIN, 3), **customer(OTHER))
    copy = secure.s3.upload_part_copy
    assert failure(copy, **names, **source, PartNumber=1, **customer()) == (400, "InvalidRequest")
    answer = copy(**names, **source, PartNumber=1, **customer(), **customer(OTHER, "CopySource"))
    parts[0]["ETag"] = answer["CopyPartResult"]["ETag"]
    secure.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    assert secure.fetch(bucket, "big", **customer()) == content(MIN, 3) + bodies[2]
    assert failure(secure.s3.get_object, Bucket=bucket, Key="big") == (400, "InvalidRequest")


def test_a_presigned_url_needs_the_key_as_well(secure, content):
    import ssl
    import urllib.error
    import urllib.request

    names = {"Bucket": secure.new_bucket(), "Key": "k"}
    secure.s3.put_object(**names, Body=b"body", **customer())
    url = secure.s3.generate_presigned_url("get_object", Params={**names, **customer()})
    context = ssl.create_default_context(cafile=str(secure.ca))
    prefix = "x-amz-server-side-encryption-customer-"
    headers = {prefix + "algorithm": "AES256", prefix + "key": base64.b64encode(KEY).decode(), prefix + "key-MD5": md5(KEY)}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context) as answer:
        assert answer.read() == b"body"
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url, context=context)
    assert caught.value.code in (400, 403)


def test_a_key_does_not_travel_in_clear(served):
    plain = served[1]
    bucket = plain.new_bucket()
    for call, more in [(plain.s3.put_object, {"Body": b"x"}), (plain.s3.get_object, {})]:

        def insist(params, **_):
            # botocore refuses by itself to send a key over http.
            prefix = "x-amz-server-side-encryption-customer-"
            params["headers"].update(
                {prefix + "algorithm": "AES256", prefix + "key": base64.b64encode(KEY).decode(), prefix + "key-MD5": md5(KEY)}
            )

        client = plain.boto()
        client.meta.events.register("before-call.s3", insist)
        call = getattr(client, call.__name__)
        assert failure(call, Bucket=bucket, Key="k", **more) == (400, "InvalidRequest")


def test_the_key_is_nowhere(secure, served, store, content):
    """Neither in what the store was sent and keeps nor in any log."""
    key = secrets.token_bytes(32)
    bucket = secure.new_bucket()
    secure.s3.put_object(Bucket=bucket, Key="k", Body=b"x", **customer(key))
    assert secure.fetch(bucket, "k", **customer(key)) == b"x"
    failure(secure.s3.get_object, Bucket=bucket, Key="k", **customer(OTHER))
    raw = secure.at_store().get_object(Bucket=bucket, Key="k")
    seen = json.dumps(raw["ResponseMetadata"]["HTTPHeaders"]).encode() + raw["Body"].read()
    logs = b"".join(server.log.read_bytes() for server in (secure.server.server, store.server))
    assert logs
    for needle in (key, base64.b64encode(key), key.hex().encode(), md5(key).encode()):
        assert needle not in seen and needle not in logs
    assert not re.search(rb"customer-key", logs)


@pytest.mark.parametrize("size", [1_000, 6 * MIB])
def test_programs_that_insist_work(secure, content, size, tmp_path):
    bucket, file, data = secure.new_bucket(), tmp_path / "file", content(size)
    file.write_bytes(data)
    secure.rclone("copyto", "--s3-server-side-encryption", "AES256", file, f"gw:{bucket}/rclone")
    assert secure.s3.head_object(Bucket=bucket, Key="rclone")["ServerSideEncryption"] == "AES256"
    own = ["--s3-sse-customer-algorithm", "AES256", "--s3-sse-customer-key", "0123456789abcdef0123456789abcdef"]
    split = ["--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M"]
    secure.rclone("copyto", *own, *split, file, f"gw:{bucket}/own")
    secure.rclone("copyto", *own, f"gw:{bucket}/own", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert failure(secure.s3.get_object, Bucket=bucket, Key="own") == (400, "InvalidRequest")
    secure.aws("s3", "cp", "--sse", "aws:kms", "--sse-kms-key-id", ARN, file, f"s3://{bucket}/aws")
    assert secure.s3.head_object(Bucket=bucket, Key="aws")["SSEKMSKeyId"] == ARN
    (tmp_path / "key").write_bytes(KEY)
    sse_c = ["--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path / 'key'}"]
    secure.aws("s3", "cp", *sse_c, file, f"s3://{bucket}/aws-own")
    secure.aws("s3", "cp", *sse_c, f"s3://{bucket}/aws-own", tmp_path / "back2")
    assert (tmp_path / "back2").read_bytes() == data
