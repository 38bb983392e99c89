"""Promise: a browser's form stores what its signed policy allows, sealed like any other object, and nothing else.

How: forms as boto3's generate_presigned_post makes them, sent as browsers send them, also cut, cut short and
altered; the object is read back through the gateway, and the store is looked at.
"""

import base64
import datetime
import hashlib
import hmac
import json
import xml.etree.ElementTree

import pytest
from harness import settings
from harness.forms import BOUNDARY, form, post
from harness.fronts import REGION, error_of
from harness.raw import Endpoint

LARGE = 300_000  # beyond what is received before it is judged


def signed(front, bucket, key="user/${filename}", fields=None, conditions=None, expires=600, change=None, **more):
    """The fields of a form with a policy of our own making, for what boto3 does not make."""
    now = datetime.datetime.now(datetime.timezone.utc)
    date = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/{REGION}/s3/aws4_request"
    own = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{more.get('access_key', front.access_key)}/{scope}",
        "x-amz-date": date,
    }
    fields = fields or {}
    policy = {
        "expiration": (now + datetime.timedelta(seconds=expires)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "conditions": [
            {"bucket": bucket},
            ["starts-with", "$key", "user/"],
            *({name: value} for name, value in {**own, **({} if conditions is not None else fields)}.items()),
            *(conditions or []),
        ],
    }
    text = base64.b64encode(json.dumps(policy).encode()).decode()
    secret = f"AWS4{more.get('secret_key', front.secret_key)}".encode()
    for part in [*scope.split("/"), text]:
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    made = {"key": key, **fields, **own, "policy": text, "x-amz-signature": secret.hex()}
    return {**made, **(change or {})}


def read(front, bucket, key):
    return front.s3.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 65_536, LARGE])
def test_a_presigned_post_stores_an_object(front, bucket, content, size):
    data = content(size)
    made = front.s3.generate_presigned_post(
        bucket,
        "user/${filename}",
        Fields={"Content-Type": "image/png", "x-amz-meta-kind": "cat"},
        Conditions=[
            ["starts-with", "$Content-Type", "image/"],
            {"x-amz-meta-kind": "cat"},
            ["content-length-range", 0, LARGE],
        ],
    )
    answer = post(front, f"/{bucket}", form(made["fields"], data))
    assert answer.status == 204 and answer.body == b"", answer
    assert read(front, bucket, "user/photo.jpg") == data
    head = front.s3.head_object(Bucket=bucket, Key="user/photo.jpg")
    assert (head["ContentType"], head["Metadata"], head["ContentLength"]) == ("image/png", {"kind": "cat"}, size)
    assert answer.headers["etag"] == head["ETag"]


@pytest.mark.gateway
def test_the_store_has_the_object_sealed(plain, content):
    bucket = plain.new_bucket()
    data = b"the quick brown fox " * 20_000
    made = plain.s3.generate_presigned_post(bucket, "k")
    assert post(plain, f"/{bucket}", form(made["fields"], data)).status == 204
    stored = plain.at_store().get_object(Bucket=bucket, Key="k")
    assert b"quick brown" not in stored["Body"].read()
    assert list(stored["Metadata"]) == ["sceauh1"]


@pytest.mark.gateway
@pytest.mark.parametrize("size", [20, LARGE])
@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_form_may_arrive_in_any_pieces(plain, content, size, step):
    if step == 1 and size == LARGE:
        step = 1009
    bucket, data = plain.new_bucket(), content(size - 12) + b"\r\n------brow"
    answer = post(plain, f"/{bucket}", form(signed(plain, bucket), data), step=step)
    assert answer.status == 204, answer
    assert read(plain, bucket, "user/photo.jpg") == data


def test_a_201_names_the_object(front, bucket):
    fields = signed(front, bucket, fields={"success_action_status": "201"})
    answer = post(front, f"/{bucket}", form(fields, b"data", filename="a b.txt"))
    assert answer.status == 201, answer
    document = xml.etree.ElementTree.fromstring(answer.body)
    texts = {element.tag.rsplit("}")[-1]: element.text for element in document}
    assert (document.tag.rsplit("}")[-1], texts["Bucket"], texts["Key"]) == ("PostResponse", bucket, "user/a b.txt")
    head = front.s3.head_object(Bucket=bucket, Key="user/a b.txt")
    assert texts["ETag"] == head["ETag"] == answer.headers["etag"]
    if not settings.DIRECT:
        assert texts["Location"] == f"{front.url}/{bucket}/user/a%20b.txt" == answer.headers["location"]


@pytest.mark.gateway
def test_a_redirect_leads_where_the_policy_says_and_nowhere_else(plain):
    bucket, name = plain.new_bucket(), "success_action_redirect"

    def answer(url, *conditions):
        fields = signed(plain, bucket, fields={name: url}, conditions=conditions)
        return post(plain, f"/{bucket}", form(fields, b"data"))

    done = answer("https://a.example/done?x=1", {name: "https://a.example/done?x=1"})
    etag = plain.s3.head_object(Bucket=bucket, Key="user/photo.jpg")["ETag"].strip('"')
    assert done.status == 303
    assert done.headers["location"] == (
        f"https://a.example/done?x=1&bucket={bucket}&key=user%2Fphoto.jpg&etag=%22{etag}%22"
    )
    assert answer("https://a.example/x", ["starts-with", f"${name}", "https://a.example/"]).status == 303
    for start in ["", "https://", "https://a.example"]:
        refused = answer("https://a.example.evil.example/", ["starts-with", f"${name}", start])
        assert (refused.status, refused.code) == (403, "AccessDenied"), start
    # A line break makes it no address; it never reaches a header.
    split = answer("https://a.example/\r\nSet-Cookie: a=b", ["starts-with", f"${name}", ""])
    assert split.status == 204 and "set-cookie" not in split.headers


@pytest.mark.gateway
def test_what_the_policy_does_not_allow_is_refused_and_not_stored(plain):
    bucket = plain.new_bucket()

    def refusal(fields, file=b"data", **options):
        answer = post(plain, f"/{bucket}", form(fields, file, **options))
        return answer.status, answer.code

    denied = (403, "AccessDenied")
    fields = signed(plain, bucket)
    assert refusal({**fields, "key": "other/${filename}"}) == denied
    assert refusal({**fields, "acl": "public-read"}) == denied
    assert refusal({**fields, "x-amz-meta-a": "b"}) == denied
    assert refusal({"ACL": "private", **signed(plain, bucket, fields={"acl": "public-read"})}) == (400, "InvalidArgument")
    assert refusal(signed(plain, plain.new_bucket())) == denied
    assert refusal(signed(plain, bucket, expires=-5)) == denied
    length = [["content-length-range", 5, 10]]
    assert refusal(signed(plain, bucket, conditions=length), b"1234") == (400, "EntityTooSmall")
    assert refusal(signed(plain, bucket, conditions=length), b"12345678901") == (400, "EntityTooLarge")
    assert refusal(signed(plain, bucket, conditions=length), b"1" * LARGE) == (400, "EntityTooLarge")
    signature = fields["x-amz-signature"]
    wrong = ("1" if signature[0] == "0" else "0") + signature[1:]
    assert refusal({**fields, "x-amz-signature": wrong}) == (403, "SignatureDoesNotMatch")
    assert refusal(signed(plain, bucket, secret_key="another")) == (403, "SignatureDoesNotMatch")
    assert refusal(signed(plain, bucket, access_key="NOBODY")) == (403, "InvalidAccessKeyId")
    assert refusal({**fields, "AWSAccessKeyId": "a", "signature": "b"}) == (400, "InvalidRequest")
    token = {"x-amz-security-token": "t"}
    assert refusal(signed(plain, bucket, fields=token))[1] in {"InvalidToken", "ExpiredToken"}
    for name in ["policy", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature"]:
        assert refusal({key: value for key, value in fields.items() if key != name}) == (400, "InvalidArgument"), name
    assert refusal({**fields, "policy": base64.b64encode(b"{}").decode()}) == (403, "SignatureDoesNotMatch")
    assert refusal(signed(plain, bucket, conditions=[["like", "$key", "a"]])) == (400, "InvalidPolicyDocument")
    copy = {"x-amz-copy-source": f"/{bucket}/k"}
    assert refusal(signed(plain, bucket, fields=copy)) == (501, "NotImplemented")
    assert refusal(signed(plain, bucket, fields={"tagging": tagging("aws:a", "b")})) == (400, "InvalidTag")
    assert refusal(signed(plain, bucket, fields={"tagging": "<Tagging>"})) == (400, "MalformedXML")
    assert refusal(signed(plain, bucket, fields={"x-amz-tagging": "a=b"})) == (501, "NotImplemented")
    assert "Contents" not in plain.s3.list_objects_v2(Bucket=bucket)


def tagging(key, value):
    return f"<Tagging><TagSet><Tag><Key>{key}</Key><Value>{value}</Value></Tag></TagSet></Tagging>"


def test_a_form_sets_tags(front, bucket):
    fields = signed(front, bucket, fields={"tagging": tagging("project", "k\u00e9ops")})
    answer = post(front, f"/{bucket}", form(fields, b"data"))
    assert answer.status == 204, answer
    tags = front.s3.get_object_tagging(Bucket=bucket, Key="user/photo.jpg")["TagSet"]
    assert tags == [{"Key": "project", "Value": "k\u00e9ops"}]
    if front.store and not settings.DIRECT:
        stored = front.at_store().get_object_tagging(Bucket=bucket, Key="user/photo.jpg")["TagSet"]
        assert stored and "project" not in str(stored) and "ops" not in str(stored)


@pytest.mark.gateway
def test_our_own_policy_decides_over_a_form_too(plain):
    from harness.gateway import LIMITED_ACCESS_KEY, LIMITED_SECRET_KEY

    bucket = plain.new_bucket()
    keys = {"access_key": LIMITED_ACCESS_KEY, "secret_key": LIMITED_SECRET_KEY}
    answer = post(plain, f"/{bucket}", form(signed(plain, bucket, **keys), b"data"))
    assert (answer.status, answer.code) == (403, "AccessDenied")
    client = plain.boto(access_key=LIMITED_ACCESS_KEY, secret_key=LIMITED_SECRET_KEY)
    made = client.generate_presigned_post(bucket, "open/k")
    assert post(plain, f"/{bucket}", form(made["fields"], b"data")).status == 204
    assert read(plain, bucket, "open/k") == b"data"


@pytest.mark.gateway
def test_malformed_forms_are_refused_and_not_stored(plain):
    bucket = plain.new_bucket()
    fields = signed(plain, bucket)
    small, large = b"data", b"d" * LARGE

    def refusal(body, headers=None, **options):
        answer = post(plain, f"/{bucket}", body, headers, **options)
        return answer.status, answer.code

    malformed = (400, "MalformedPOSTRequest")
    submit = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="submit"\r\n\r\nUpload\r\n'
    for file in (small, large):
        for closing in ("", f"--{BOUNDARY}", f"--{BOUNDARY}x--\r\n", f"--{BOUNDARY[:-1]}--\r\n"):
            assert refusal(form(fields, file, closing=closing)) == malformed, closing
    # Where a file ends is known before it arrives only if nothing follows it.
    assert refusal(form(fields, large, behind=submit)) == malformed
    assert refusal(form(fields, large, closing=f"--{BOUNDARY}--")) == malformed
    assert refusal(b"not a form") == malformed
    assert refusal(form(fields, small), boundary="another") == malformed
    assert refusal(form(fields, small), {"content-type": "multipart/form-data"}) == malformed
    assert refusal(form(fields, small), {"content-type": "text/plain"}) == (412, "PreconditionFailed")
    assert refusal(form(fields, small, name="other")) == (400, "IncorrectNumberOfFilesInPostRequest")
    assert refusal(form({}, small)) == (400, "InvalidArgument")
    long = {"x-ignore-long": "x" * 20_480, **fields}
    assert refusal(form(long, small)) == (400, "MaxPostPreDataLengthExceededError")
    many = {**{f"x-ignore-{number}": "" for number in range(101)}, **fields}
    assert refusal(form(many, small)) == malformed
    chunked = {"content-length": None, "transfer-encoding": "chunked"}
    body = form(fields, small)
    framed = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    assert refusal(framed, chunked) == (411, "MissingContentLength")
    assert refusal(form(fields, small), {"x-amz-acl": "public-read"}) == (403, "AccessDenied")
    assert refusal(form(fields, small), {"authorization": "AWS4-HMAC-SHA256 x"}) == (400, "InvalidRequest")
    assert "Contents" not in plain.s3.list_objects_v2(Bucket=bucket)
    # A short form is there as a whole, so what follows its file is ignored, as S3 does.
    assert post(plain, f"/{bucket}", form(fields, small, behind=submit)).status == 204
    assert read(plain, bucket, "user/photo.jpg") == small


@pytest.mark.gateway
def test_checksum_fields_are_verified(plain, content):
    bucket, data = plain.new_bucket(), content(LARGE)
    right = base64.b64encode(hashlib.sha256(data).digest()).decode()
    wrong = base64.b64encode(hashlib.sha256(b"").digest()).decode()
    bad = post(plain, f"/{bucket}", form(signed(plain, bucket, fields={"x-amz-checksum-sha256": wrong}), data))
    assert (bad.status, bad.code) == (400, "BadDigest")
    good = post(plain, f"/{bucket}", form(signed(plain, bucket, fields={"x-amz-checksum-sha256": right}), data))
    assert good.status == 204
    head = plain.s3.head_object(Bucket=bucket, Key="user/photo.jpg", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == right
    assert len(plain.s3.list_objects_v2(Bucket=bucket)["Contents"]) == 1


@pytest.mark.gateway
def test_a_file_name_brings_no_path(plain):
    bucket = plain.new_bucket()
    answer = post(plain, f"/{bucket}", form(signed(plain, bucket), b"x", filename="C:\\\\dir/../../é.txt"))
    assert answer.status == 204
    assert read(plain, bucket, "user/é.txt") == b"x"


@pytest.mark.gateway
def test_an_upload_that_breaks_off_leaves_nothing(plain):
    bucket = plain.new_bucket()
    body = form(signed(plain, bucket), b"d" * LARGE)
    endpoint = Endpoint.of(plain)
    head = {
        "host": endpoint.host,
        "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        "content-length": str(len(body)),
    }
    with endpoint.connect() as connection:
        connection.sendall(endpoint.head("POST", f"/{bucket}", [], head) + body[:-20])
    assert error_of(plain.s3.get_object, Bucket=bucket, Key="user/photo.jpg") == "NoSuchKey"
    assert error_of(plain.at_store().get_object, Bucket=bucket, Key="user/photo.jpg") == "NoSuchKey"
