"""Promise: checksums, parts and attributes are those of the plaintext, as the client sent it.

How: boto3 asks for what it stored; over https it sends checksums as trailers, over http as headers.
"""

import base64
import hashlib
import zlib

import pytest
from botocore.exceptions import ClientError
from harness.fronts import error_of

pytestmark = pytest.mark.gateway

MIB = 1024 * 1024
MIN = 5 * MIB


def crc32(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def _crc64_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x9A6C9329AC4BC9B5 if byte & 1 else 0)
        table.append(byte)
    return table


CRC64 = _crc64_table()


def crc64nvme(data):
    crc, table = 0xFFFF_FFFF_FFFF_FFFF, CRC64
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return base64.b64encode((crc ^ 0xFFFF_FFFF_FFFF_FFFF).to_bytes(8, "big")).decode()


def sha(name, data):
    return base64.b64encode(hashlib.new(name, data).digest()).decode()


EXPECTED = {
    "CRC32": crc32,
    "SHA1": lambda data: sha("sha1", data),
    "SHA256": lambda data: sha("sha256", data),
}


def upload(front, bucket, key, bodies, **arguments):
    """An upload of these parts."""
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = front.s3.create_multipart_upload(**names, **arguments)["UploadId"]
    parts = []
    for number, body in bodies.items():
        etag = front.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    return front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})


@pytest.mark.parametrize("algorithm", EXPECTED)
@pytest.mark.parametrize("size", [0, 1, 65_536, 200_003])
def test_a_sent_checksum_comes_back(front, bucket, content, algorithm, size):
    data, field = content(size), f"Checksum{algorithm}"
    front.s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=algorithm)
    names = {"Bucket": bucket, "Key": "k"}
    for answer in (
        front.s3.head_object(**names, ChecksumMode="ENABLED"),
        front.s3.get_object(**names, ChecksumMode="ENABLED"),
    ):
        assert answer[field] == EXPECTED[algorithm](data)
        assert answer["ChecksumType"] == "FULL_OBJECT"
        assert answer["ContentLength"] == size
        if "Body" in answer:
            assert answer["Body"].read() == data
    quiet = front.boto("when_required")
    for answer in (
        quiet.head_object(**names),
        quiet.get_object(**names),
        quiet.get_object(**names, ChecksumMode="ENABLED", Range="bytes=0-0") if size else {},
    ):
        assert field not in answer


def test_a_copy_keeps_the_checksum(front, bucket, content):
    data = content(100_000)
    front.s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm="CRC32")
    front.s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    head = front.s3.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == crc32(data)


def test_an_upload_shows_the_checksum_of_the_whole(front, bucket, content):
    bodies = {1: content(MIN + 1, 1), 2: content(MIN, 2), 7: content(77, 3)}
    upload(front, bucket, "big", bodies, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    assert crc64nvme(b"123456789") == "rosUhgp5mIg="
    wanted = crc64nvme(b"".join(bodies.values()))
    for call in (front.s3.head_object, front.s3.get_object):
        answer = call(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
        assert (answer["ChecksumCRC64NVME"], answer["ChecksumType"]) == (wanted, "FULL_OBJECT")


SIZES = {1: MIN + 1, 2: MIN, 7: MIN + 65_537, 9_999: 77}
EVERYTHING = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


@pytest.fixture
def big(front, bucket, content):
    """An upload with odd sizes and gaps in its numbers: its parts."""
    bodies = {number: content(size, number) for number, size in SIZES.items()}
    upload(front, bucket, "big", bodies)
    return bodies


def test_attributes_of_a_single_object(front, bucket, content):
    data = content(70_001)
    etag = front.s3.put_object(Bucket=bucket, Key="k/ä", Body=data, ChecksumAlgorithm="SHA256")["ETag"]
    names = {"Bucket": bucket, "Key": "k/ä"}
    found = front.s3.get_object_attributes(**names, ObjectAttributes=EVERYTHING)
    assert (found["ETag"], found["ObjectSize"]) == (etag.strip('"'), len(data))
    assert found["Checksum"] == {"ChecksumSHA256": sha("sha256", data), "ChecksumType": "FULL_OBJECT"}
    assert found["StorageClass"] == "STANDARD"
    assert "ObjectParts" not in found
    head = front.s3.head_object(**names)
    assert (found["ETag"], found["LastModified"]) == (head["ETag"].strip('"'), head["LastModified"])
    only = front.s3.get_object_attributes(**names, ObjectAttributes=["ObjectSize"])
    assert not {"ETag", "Checksum", "ObjectParts", "StorageClass"} & set(only)
    front.boto("when_required").put_object(Bucket=bucket, Key="none", Body=b"")
    none = front.s3.get_object_attributes(Bucket=bucket, Key="none", ObjectAttributes=EVERYTHING)
    # As S3 does, the gateway computes one where the client sends none.
    assert none["ObjectSize"] == 0
    assert none["Checksum"] == {"ChecksumCRC64NVME": crc64nvme(b""), "ChecksumType": "FULL_OBJECT"}


def test_attributes_of_an_upload_come_in_pages(front, bucket, big):
    names = {"Bucket": bucket, "Key": "big"}
    found = front.s3.get_object_attributes(**names, ObjectAttributes=EVERYTHING)
    parts = found["ObjectParts"]
    assert {part["PartNumber"]: part["Size"] for part in parts["Parts"]} == SIZES
    assert (parts["TotalPartsCount"], parts["IsTruncated"]) == (4, False)
    assert found["ObjectSize"] == sum(SIZES.values())
    assert set(found["Checksum"]) == {"ChecksumCRC64NVME", "ChecksumType"}
    seen, marker = [], 0
    for _ in range(4):
        page = front.s3.get_object_attributes(
            **names, ObjectAttributes=["ObjectParts"], MaxParts=3, PartNumberMarker=marker
        )["ObjectParts"]
        seen += [part["PartNumber"] for part in page["Parts"]]
        assert (page["MaxParts"], page["PartNumberMarker"]) == (3, marker)
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert seen == list(SIZES)


def test_attributes_are_refused_as_by_s3(front, bucket):
    ask = front.s3.get_object_attributes
    assert error_of(ask, Bucket=bucket, Key="none", ObjectAttributes=["ETag"]) == "NoSuchKey"
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert error_of(ask, Bucket=bucket, Key="k", ObjectAttributes=["Colour"]) == "InvalidArgument"
    assert error_of(ask, Bucket=bucket, Key="k", ObjectAttributes=[]) == "InvalidRequest"


def test_each_part_is_read_by_its_number(front, bucket, big):
    names = {"Bucket": bucket, "Key": "big"}
    total, first = sum(SIZES.values()), 0
    for number, body in big.items():
        for _ in range(2):  # the second time from what the first learnt
            answer = front.s3.get_object(**names, PartNumber=number)
            assert answer["Body"].read() == body
        head = front.s3.head_object(**names, PartNumber=number)
        for answer in (answer, head):
            assert answer["ContentLength"] == len(body)
            assert answer["PartsCount"] == len(big)
            assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            wanted = f"bytes {first}-{first + len(body) - 1}/{total}"
            assert answer["ResponseMetadata"]["HTTPHeaders"]["content-range"] == wanted
        first += len(body)
    for absent in (3, 10_000):
        assert error_of(front.s3.get_object, **names, PartNumber=absent) == "InvalidPartNumber"
        with pytest.raises(ClientError) as refused:
            front.s3.head_object(**names, PartNumber=absent)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 416


def test_a_single_object_is_its_own_part_1(front, bucket, content):
    names = {"Bucket": bucket, "Key": "k"}
    for size in (1, 65_536, 200_003):
        data = content(size)
        etag = front.s3.put_object(**names, Body=data, ChecksumAlgorithm="CRC32")["ETag"]
        answer = front.s3.get_object(**names, PartNumber=1, ChecksumMode="ENABLED", IfMatch=etag)
        assert answer["Body"].read() == data
        assert answer["ChecksumCRC32"] == crc32(data)
        assert answer["ContentRange"] == f"bytes 0-{size - 1}/{size}"
        assert "PartsCount" not in answer
        assert error_of(front.s3.get_object, **names, PartNumber=2) == "InvalidPartNumber"
        assert error_of(front.s3.get_object, **names, PartNumber=1, IfMatch='"0"') == "PreconditionFailed"
        assert error_of(front.s3.get_object, **names, PartNumber=1, Range="bytes=0-0") == "InvalidRequest"
        assert error_of(front.s3.get_object, **names, PartNumber=0) == "InvalidArgument"
    front.s3.put_object(**names, Body=b"")
    answer = front.s3.get_object(**names, PartNumber=1)
    assert (answer["ContentLength"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (0, 200)


def test_an_upload_announces_a_checksum_that_s3_has(front, bucket):
    create = front.s3.create_multipart_upload
    pairs = [("CRC64NVME", "COMPOSITE"), ("SHA256", "FULL_OBJECT"), ("SHA512", "FULL_OBJECT"), ("XXHASH3", "FULL_OBJECT")]
    for algorithm, kind in pairs:
        code = error_of(create, Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)
        assert code == "InvalidRequest"
    assert error_of(create, Bucket=bucket, Key="k", ChecksumAlgorithm="BLAKE3") == "InvalidRequest"
    assert error_of(create, Bucket=bucket, Key="k", ChecksumAlgorithm="WHIRLPOOL") == "InvalidRequest"
    assert not front.s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
