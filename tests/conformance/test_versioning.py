"""Promise: versions are listed, read, copied and destroyed through the gateway as at the store, in plaintext terms.

How: the same story is told directly at the store and through the gateway; version ids and entity tags
are compared by the order of their first appearance, sizes and bytes as they are.
"""

import urllib.request

import pytest
from botocore.exceptions import ClientError
from harness.fronts import error_of
from harness.raw import Endpoint

MIB = 1024 * 1024
FIRST, SECOND = b"first" * 1000, b"the second version" * 5000


class Story:
    """One side: a client, a versioned bucket, and what was seen, made comparable."""

    def __init__(self, s3, bucket):
        self.s3, self.bucket, self.names = s3, bucket, {}
        try:
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        except ClientError as error:
            pytest.skip(f"the store has no versions: {error}")
        self.seen = [s3.get_bucket_versioning(Bucket=bucket).get("Status")]

    def name(self, value):
        """A version id or an entity tag by its first appearance."""
        if value in (None, "null"):
            return value
        plain = value.strip('"').removesuffix("-0")
        return self.names.setdefault(plain, f"#{len(self.names)}")

    def __call__(self, call, *fields, **arguments):
        """Calls, and records status, error code and these fields; answers what came back."""
        try:
            answer = getattr(self.s3, call)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            answer = error.response
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        seen = {"call": call, "status": answer["ResponseMetadata"]["HTTPStatusCode"]}
        seen["code"] = answer.get("Error", {}).get("Code")
        seen["version"] = self.name(headers.get("x-amz-version-id"))
        seen["marker"] = headers.get("x-amz-delete-marker")
        if "Body" in answer:
            answer["Bytes"] = answer["Body"].read()
            fields = (*fields, "Bytes")
        for field in fields:
            value = answer.get(field)
            seen[field] = self.name(value) if field == "ETag" else value
        self.seen.append(seen)
        return answer

    def versions(self, **arguments):
        """The listing of versions, in its order."""
        answer = self.s3.list_object_versions(Bucket=self.bucket, **arguments)
        entry = lambda item: (  # noqa: E731
            item["Key"],
            self.name(item["VersionId"]),
            item["IsLatest"],
            item.get("Size"),
            self.name(item.get("ETag")),
        )
        listed = [entry(item) for item in answer.get("Versions", [])]
        markers = [entry(item) for item in answer.get("DeleteMarkers", [])]
        self.seen.append({"versions": listed, "markers": markers, "more": answer["IsTruncated"]})
        return answer


def put_twice(story):
    return [story("put_object", "ETag", Key="k", Body=body)["VersionId"] for body in (FIRST, SECOND)]


def read_by_version(story):
    old, new = put_twice(story)
    story.versions()
    for version in (old, new):
        story("get_object", "ContentLength", "ETag", Key="k", VersionId=version)
        story("get_object", "ContentRange", "ETag", Key="k", VersionId=version, Range="bytes=4990-70000")
        story("head_object", "ContentLength", "ETag", Key="k", VersionId=version)
    story("get_object", "ContentLength", "ETag", Key="k")
    story("head_object", "ContentLength", "ETag", Key="k")


def delete_markers(story):
    old, new = put_twice(story)
    marker = story("delete_object", Key="k")["VersionId"]
    story.versions()
    story("get_object", Key="k")
    story("get_object", "ContentLength", Key="k", VersionId=old)
    story("delete_object", Key="k", VersionId=marker)
    story("get_object", "ContentLength", Key="k")
    story("delete_object", Key="k", VersionId=new)
    story("get_object", "ContentLength", Key="k")
    story.versions()
    story("get_object", Key="k", VersionId=new)


def delete_many(story):
    old, new = put_twice(story)
    story("put_object", Key="other", Body=b"o")
    wanted = [{"Key": "k", "VersionId": old}, {"Key": "other"}]
    answer = story.s3.delete_objects(Bucket=story.bucket, Delete={"Objects": wanted})
    deleted = sorted(answer["Deleted"], key=lambda item: item["Key"])
    story.seen.append(
        [
            (item["Key"], story.name(item.get("VersionId")), item.get("DeleteMarker", False))
            for item in deleted
        ]
    )
    story.versions()
    story("get_object", Key="k", VersionId=new)


def copy_a_version(story):
    old, new = put_twice(story)
    source = {"Bucket": story.bucket, "Key": "k"}
    story("copy_object", Key="copy", CopySource={**source, "VersionId": old})
    story("get_object", "ContentLength", Key="copy")
    # An old version becomes the current one.
    story("copy_object", Key="k", CopySource={**source, "VersionId": old})
    story("get_object", "ContentLength", Key="k")
    story("get_object", "ContentLength", Key="k", VersionId=new)
    story.versions()


def pages(story):
    for number in range(3):
        for key in ("a", "b/c", "d"):
            story("put_object", Key=key, Body=f"{key}{number}".encode())
    story.versions(Prefix="b/")
    story.versions(Delimiter="/")
    markers, page = {}, {"IsTruncated": True}
    while page["IsTruncated"]:
        page = story.versions(MaxKeys=2, **markers)
        markers = {"KeyMarker": page.get("NextKeyMarker"), "VersionIdMarker": page.get("NextVersionIdMarker")}


def large_versions(story):
    """Versions of several parts: their layouts must not be taken for one another's."""
    sizes = [5 * MIB + 11, 6 * MIB + 7]
    found = []
    for number, size in enumerate(sizes):
        upload = story.s3.create_multipart_upload(Bucket=story.bucket, Key="k")["UploadId"]
        parts = []
        for part, data in enumerate([bytes([number]) * size, b"tail" * (number + 1)], 1):
            sent = story.s3.upload_part(Bucket=story.bucket, Key="k", UploadId=upload, PartNumber=part, Body=data)
            parts.append({"PartNumber": part, "ETag": sent["ETag"]})
        whole = {"Parts": parts}
        done = story("complete_multipart_upload", Key="k", UploadId=upload, MultipartUpload=whole)
        found.append(done.get("VersionId") or story.s3.head_object(Bucket=story.bucket, Key="k")["VersionId"])
    for version in [*found, *found]:
        story("get_object", "ContentRange", Key="k", VersionId=version, Range="bytes=-9")
        story("get_object", "ContentRange", Key="k", VersionId=version, Range=f"bytes={5 * MIB}-{5 * MIB + 20}")
        story("head_object", "ContentLength", Key="k", VersionId=version)
    upload = story.s3.create_multipart_upload(Bucket=story.bucket, Key="copy")["UploadId"]
    source = {"Bucket": story.bucket, "Key": "k", "VersionId": found[0]}
    copied = story.s3.upload_part_copy(
        Bucket=story.bucket, Key="copy", UploadId=upload, PartNumber=1, CopySource=source
    )
    whole = {"Parts": [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"]}]}
    story.s3.complete_multipart_upload(Bucket=story.bucket, Key="copy", UploadId=upload, MultipartUpload=whole)
    story("get_object", "ContentRange", Key="copy", Range="bytes=-9")
    story.versions()


def suspended(story):
    put_twice(story)
    status = {"Status": "Suspended"}
    story.s3.put_bucket_versioning(Bucket=story.bucket, VersioningConfiguration=status)
    story("put_object", Key="k", Body=b"null version")
    story("get_object", "ContentLength", Key="k", VersionId="null")
    story("put_object", Key="k", Body=b"null version again")
    story("get_object", "ContentLength", Key="k")
    story.versions()


STORIES = [read_by_version, delete_markers, delete_many, copy_a_version, pages, large_versions, suspended]


@pytest.mark.gateway
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_versions_are_those_of_the_store(plain, story):
    direct_bucket = f"d-{plain.new_bucket('v')}"
    plain.at_store().create_bucket(Bucket=direct_bucket)
    direct = Story(plain.at_store(), direct_bucket)
    gateway = Story(plain.s3, plain.new_bucket("v"))
    story(direct)
    story(gateway)
    assert gateway.seen == direct.seen


@pytest.mark.gateway
def test_the_store_holds_every_version_sealed(plain):
    bucket = plain.new_bucket("v")
    story = Story(plain.s3, bucket)
    for version in put_twice(story):
        stored = plain.at_store().get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read()
        assert FIRST[:20] not in stored and SECOND[:20] not in stored


@pytest.mark.gateway
def test_a_presigned_url_names_its_version(plain):
    bucket = plain.new_bucket("v")
    old, _ = put_twice(Story(plain.s3, bucket))
    wanted = {"Bucket": bucket, "Key": "k", "VersionId": old}
    url = plain.s3.generate_presigned_url("get_object", Params=wanted)
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == FIRST


@pytest.mark.gateway
def test_versions_that_cannot_be(plain):
    bucket = plain.new_bucket("v")
    old, _ = put_twice(Story(plain.s3, bucket))
    plain.s3.put_object(Bucket=bucket, Key="other", Body=b"x")
    # A version of another object does not open under this name.
    code = error_of(plain.s3.get_object, Bucket=bucket, Key="other", VersionId=old)
    assert code in ("NoSuchVersion", "NoSuchKey", "InvalidArgument")
    endpoint = Endpoint.of(plain)
    assert endpoint.send("GET", f"/{bucket}/k", {"versionId": ""}).code == "InvalidArgument"
    assert endpoint.send("PUT", f"/{bucket}/k", {"versionId": old}, body=b"x").status == 501


@pytest.mark.gateway
def test_the_development_store_says_that_it_has_no_versions(dev):
    from harness.fronts import boto

    s3 = boto(dev.url, dev.access_key, dev.secret_key)
    s3.create_bucket(Bucket="versions-of-dev")
    s3.put_object(Bucket="versions-of-dev", Key="k", Body=b"x")
    status = {"Status": "Enabled"}
    calls = [
        (s3.put_bucket_versioning, {"VersioningConfiguration": status}),
        (s3.list_object_versions, {}),
        (s3.get_object, {"Key": "k", "VersionId": "v"}),
        (s3.delete_object, {"Key": "k", "VersionId": "v"}),
    ]
    for call, arguments in calls:
        assert error_of(call, Bucket="versions-of-dev", **arguments) == "NotImplemented", call
    assert s3.get_object(Bucket="versions-of-dev", Key="k")["Body"].read() == b"x"
