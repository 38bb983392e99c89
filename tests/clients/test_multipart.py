"""Promise: multipart uploads behave like S3's, whatever the part sizes and their order.

How: uploads by hand with boto3; the object is compared byte for byte, sizes everywhere.
"""

import pytest

from botocore.exceptions import ClientError
from harness.fronts import error_of

MIB = 1024 * 1024
MIN = 5 * MIB


class Upload:
    """One upload by hand."""

    def __init__(self, s3, bucket, key="big", **arguments):
        self.s3, self.names = s3, {"Bucket": bucket, "Key": key}
        self.id = s3.create_multipart_upload(**self.names, **arguments)["UploadId"]
        self.names["UploadId"] = self.id
        self.etags, self.bodies = {}, {}

    def part(self, number, body, s3=None):
        answer = (s3 or self.s3).upload_part(**self.names, PartNumber=number, Body=body)
        self.etags[number], self.bodies[number] = answer["ETag"], body
        return answer

    def document(self, numbers=None):
        numbers = sorted(self.etags) if numbers is None else numbers
        return {"Parts": [{"PartNumber": number, "ETag": self.etags[number]} for number in numbers]}

    def complete(self, numbers=None, s3=None, **arguments):
        call = (s3 or self.s3).complete_multipart_upload
        return call(**self.names, MultipartUpload=self.document(numbers), **arguments)

    def refused(self, numbers=None):
        return error_of(self.s3.complete_multipart_upload, **self.names, MultipartUpload=self.document(numbers))

    def expected(self):
        return b"".join(self.bodies[number] for number in sorted(self.bodies))


def check(front, bucket, upload, key="big"):
    data = upload.expected()
    assert front.fetch(bucket, key) == data
    head = front.s3.head_object(Bucket=bucket, Key=key)
    assert head["ContentLength"] == len(data)
    assert front.listed_sizes(bucket)[key] == len(data)
    # Ranges across every part border.
    position = 0
    for number in sorted(upload.bodies)[:-1]:
        position += len(upload.bodies[number])
        first, last = position - 2, min(position + 2, len(data) - 1)
        assert front.fetch(bucket, key, Range=f"bytes={first}-{last}") == data[first : last + 1]
    if data:
        assert front.fetch(bucket, key, Range="bytes=-1000") == data[-1000:]


LAYOUTS = {
    "odd sizes": [(1, MIN + 1), (2, MIN + 1), (3, 77)],
    "out of order": [(3, 1000), (1, MIN), (2, MIN + 65_536)],
    "short last part first": [(2, 3), (1, MIN)],
    "last part of one byte": [(1, MIN + 1), (2, 1)],
    "last part empty": [(1, MIN), (2, 0)],
    "one small part": [(1, 10)],
    "one empty part": [(1, 0)],
    "one large part": [(1, MIN + 12_345)],
    "gaps in the numbers": [(7, MIN), (100, MIN + 1), (9_999, 5)],
    "last part large": [(1, MIN), (2, 2 * MIN + 1)],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_come_back(front, bucket, content, layout):
    if front.is_direct and layout in ("one empty part", "last part empty"):
        pytest.skip("SeaweedFS refuses empty parts")
    upload = Upload(front.s3, bucket)
    for number, size in LAYOUTS[layout]:
        upload.part(number, content(size, number))
    upload.complete()
    check(front, bucket, upload)


@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_a_part_sent_twice_counts_once(front, bucket, content, checksums):
    upload = Upload(front.boto(checksums), bucket)
    upload.part(1, content(MIN + 1, 1))
    upload.part(2, b"first attempt")
    upload.part(1, content(MIN + 1, 11))
    upload.part(2, b"second attempt, longer")
    upload.complete()
    check(front, bucket, upload)


def test_a_completion_that_names_an_older_attempt_gets_that_attempt_or_is_refused(front, bucket, content):
    """S3 refuses; SeaweedFS keeps every attempt and takes the one that is named."""
    upload = Upload(front.s3, bucket)
    old = upload.part(1, content(MIN, 1))["ETag"]
    upload.part(1, content(MIN, 2))
    upload.etags[1], upload.bodies[1] = old, content(MIN, 1)
    refused = upload.refused()
    if refused is None and front.store is not None and front.store.name == "seaweedfs":
        check(front, bucket, upload)
        return
    assert refused == "InvalidPart"
    assert error_of(front.s3.head_object, Bucket=bucket, Key="big") == "404"


def test_parts_and_uploads_are_listed_with_plain_sizes(front, bucket, content):
    sizes = {1: MIN + 1, 2: MIN, 3: 10}
    upload = Upload(front.s3, bucket, "dir/big")
    other = Upload(front.s3, bucket, "dir/other")
    for number, size in sizes.items():
        upload.part(number, content(size, number))
    listed = front.s3.list_parts(**upload.names)["Parts"]
    assert {part["PartNumber"]: part["Size"] for part in listed} == sizes
    page = front.s3.list_parts(**upload.names, MaxParts=2)
    assert page["IsTruncated"] and len(page["Parts"]) == 2
    rest = front.s3.list_parts(**upload.names, PartNumberMarker=page["NextPartNumberMarker"])
    assert [part["PartNumber"] for part in rest["Parts"]] == [3]
    uploads = front.s3.list_multipart_uploads(Bucket=bucket, Prefix="dir/")["Uploads"]
    assert {(item["Key"], item["UploadId"]) for item in uploads} == {
        ("dir/big", upload.id),
        ("dir/other", other.id),
    }
    upload.complete()
    check(front, bucket, upload, "dir/big")


def test_an_upload_is_completed_from_its_part_listing(front, bucket, content):
    upload = Upload(front.s3, bucket)
    for number, size in [(1, MIN), (2, MIN + 5), (3, 9)]:
        upload.part(number, content(size, number))
    upload.etags = {part["PartNumber"]: part["ETag"] for part in front.s3.list_parts(**upload.names)["Parts"]}
    upload.complete()
    check(front, bucket, upload)


def test_an_aborted_upload_is_gone(front, bucket, content):
    upload = Upload(front.s3, bucket)
    upload.part(1, content(MIN, 1))
    upload.part(2, b"small")
    front.s3.abort_multipart_upload(**upload.names)
    assert upload.refused() == "NoSuchUpload"
    assert error_of(front.s3.upload_part, **upload.names, PartNumber=3, Body=b"x") == "NoSuchUpload"
    assert not front.s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert front.listed_sizes(bucket) == {}


def test_wrong_completions_are_refused_and_can_be_repeated_right(front, bucket, content):
    upload = Upload(front.s3, bucket)
    upload.part(1, content(MIN, 1))
    upload.part(2, b"small")
    upload.part(3, b"last")
    assert upload.refused([2, 1]) == "InvalidPartOrder"
    assert upload.refused([1, 2, 3]) == "EntityTooSmall"
    upload.etags[4] = '"00000000000000000000000000000000"'
    assert upload.refused([1, 4]) == "InvalidPart"
    upload.complete([1, 3])
    del upload.bodies[2]
    check(front, bucket, upload)


@pytest.mark.gateway
@pytest.mark.parametrize("announced", [{}, {"ChecksumAlgorithm": "SHA256"}], ids=["plain", "sha256"])
def test_a_completion_whose_answer_was_lost_can_be_repeated(front, bucket, content, announced):
    def repeat(parts):
        try:
            done = front.s3.complete_multipart_upload(
                Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts}
            )
            return done["ETag"]
        except ClientError as error:
            return error.response["Error"]["Code"]

    upload = front.s3.create_multipart_upload(Bucket=bucket, Key="k", **announced)["UploadId"]
    parts = []
    for number, size in enumerate([5 * MIB, 3], start=1):
        sent = front.s3.upload_part(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=content(size, number), **announced
        )
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    first = repeat(parts)
    assert first == front.s3.head_object(Bucket=bucket, Key="k")["ETag"]
    assert repeat(parts) == first and repeat(parts) == first
    assert repeat(parts[:1]) == "NoSuchUpload"
    other = [parts[0], {**parts[1], "ETag": parts[0]["ETag"]}]
    assert repeat(other) == "NoSuchUpload"
    assert front.s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content(5 * MIB, 1) + content(3, 2)
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"later")
    assert repeat(parts) == "NoSuchUpload"


def test_completion_can_be_conditional(front, bucket, content):
    front.s3.put_object(Bucket=bucket, Key="big", Body=b"in place")
    upload = Upload(front.s3, bucket)
    upload.part(1, content(MIN, 1))
    upload.part(2, b"tail")
    refused = error_of(
        front.s3.complete_multipart_upload, **upload.names, MultipartUpload=upload.document(), IfNoneMatch="*"
    )
    assert refused == "PreconditionFailed"
    assert front.fetch(bucket, "big") == b"in place"
    upload.complete()
    check(front, bucket, upload)


def test_parts_are_copied_whole_and_by_range(front, bucket, content):
    other = front.new_bucket()
    whole, ranged = content(MIN + 3, 1), content(12 * MIB, 2)
    front.s3.put_object(Bucket=bucket, Key="whole", Body=whole)
    front.s3.put_object(Bucket=other, Key="ran ged", Body=ranged)
    upload = Upload(front.s3, bucket)
    copy = front.s3.upload_part_copy
    answer = copy(**upload.names, PartNumber=1, CopySource={"Bucket": bucket, "Key": "whole"})
    upload.etags[1], upload.bodies[1] = answer["CopyPartResult"]["ETag"], whole
    first, last = 65_537, 65_537 + 6 * MIB
    source = {"Bucket": other, "Key": "ran ged"}
    answer = copy(**upload.names, PartNumber=2, CopySource=source, CopySourceRange=f"bytes={first}-{last}")
    upload.etags[2], upload.bodies[2] = answer["CopyPartResult"]["ETag"], ranged[first : last + 1]
    answer = copy(**upload.names, PartNumber=3, CopySource=source, CopySourceRange="bytes=0-0")
    upload.etags[3], upload.bodies[3] = answer["CopyPartResult"]["ETag"], ranged[:1]
    upload.complete()
    check(front, bucket, upload)


def _multipart(front, bucket, content, key):
    upload = Upload(front.s3, bucket, key, Metadata={"first": "1"}, ContentType="text/one")
    upload.part(1, content(MIN + 1, 1))
    upload.part(2, content(70_000, 2))
    upload.complete()
    return upload.expected()


def test_copies_keep_content_and_metadata(front, bucket, content):
    other = front.new_bucket()
    single = content(100_000, 3)
    front.s3.put_object(Bucket=bucket, Key="single", Body=single, Metadata={"first": "1"}, ContentType="text/one")
    big = _multipart(front, bucket, content, "big")
    for key, data in [("single", single), ("big", big)]:
        for target in [bucket, other]:
            source = {"Bucket": bucket, "Key": key}
            front.s3.copy_object(Bucket=target, Key=f"copy of {key}", CopySource=source)
            answer = front.s3.get_object(Bucket=target, Key=f"copy of {key}")
            assert answer["Body"].read() == data
            assert (answer["Metadata"], answer["ContentType"]) == ({"first": "1"}, "text/one")
            assert front.listed_sizes(target)[f"copy of {key}"] == len(data)
    # Copies are independent of what becomes of their source.
    front.s3.delete_object(Bucket=bucket, Key="single")
    assert front.fetch(other, "copy of single") == single


def test_metadata_is_replaced_by_a_copy_onto_itself(front, bucket, content):
    single = content(100_000, 3)
    front.s3.put_object(Bucket=bucket, Key="single", Body=single, Metadata={"first": "1"})
    big = _multipart(front, bucket, content, "big")
    for key, data in [("single", single), ("big", big)]:
        front.s3.copy_object(
            Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key},
            MetadataDirective="REPLACE", Metadata={"second": "2"}, ContentType="text/two",
        )  # fmt: skip
        answer = front.s3.get_object(Bucket=bucket, Key=key)
        assert answer["Body"].read() == data
        assert (answer["Metadata"], answer["ContentType"]) == ({"second": "2"}, "text/two")


def test_copies_obey_conditions_on_their_source(front, bucket):
    etag = front.s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    source = {"Bucket": bucket, "Key": "k"}
    front.s3.copy_object(Bucket=bucket, Key="one", CopySource=source, CopySourceIfMatch=etag)
    refused = error_of(front.s3.copy_object, Bucket=bucket, Key="two", CopySource=source, CopySourceIfNoneMatch=etag)
    assert refused == "PreconditionFailed"
    assert "two" not in front.listed_sizes(bucket)


@pytest.mark.gateway
def test_the_highest_part_number_is_9999(front, bucket):
    upload = Upload(front.s3, bucket)
    for number in (0, 10_000, 10_001):
        code = error_of(front.s3.upload_part, **upload.names, PartNumber=number, Body=b"x")
        assert code == "InvalidArgument", number
