"""Promise: checksums, parts and attributes are those of the plaintext, as the client sent it.

How: boto3 asks for what it stored; over https it sends checksums as trailers, over http as headers.
"""

import base64
import hashlib
import zlib

import pytest

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
