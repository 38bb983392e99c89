"""Promise: every checksum algorithm of S3 is verified before anything is stored, and given back.

How: values made by other libraries, in headers and trailers, right and wrong; where the store knows the
algorithm too, the same call goes to the store first.
"""

import base64
import hashlib
import zlib

import pytest
import xxhash
from botocore.exceptions import ClientError
from harness import raw
from harness.fronts import error_of

MIB = 1024 * 1024
MIN = 5 * MIB


def base(digest):
    return base64.b64encode(digest).decode()


DIGESTS = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "SHA1": lambda data: hashlib.sha1(data).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
    "SHA512": lambda data: hashlib.sha512(data).digest(),
    "MD5": lambda data: hashlib.md5(data).digest(),
    "XXHASH64": lambda data: xxhash.xxh64(data).digest(),
    "XXHASH3": lambda data: xxhash.xxh3_64(data).digest(),
    "XXHASH128": lambda data: xxhash.xxh3_128(data).digest(),
}
NEWER = ["SHA512", "MD5", "XXHASH64", "XXHASH3", "XXHASH128"]


@pytest.mark.gateway
@pytest.mark.parametrize("algorithm", NEWER)
def test_a_newer_algorithm_is_verified_echoed_and_kept(front, bucket, content, algorithm):
    data, field = content(70_001), f"Checksum{algorithm}"
    names = {"Bucket": bucket, "Key": "k"}
    value = base(DIGESTS[algorithm](data))
    put = front.s3.put_object(**names, Body=data, Metadata={"own": "1"}, **{field: value})
    assert (put[field], put["ChecksumType"]) == (value, "FULL_OBJECT")
    front.s3.copy_object(Bucket=bucket, Key="copy", CopySource=names)
    front.s3.copy_object(
        Bucket=bucket, Key="other", CopySource=names, MetadataDirective="REPLACE", Metadata={"own": "1"}
    )
    for key in ("k", "copy", "other"):
        for call in (front.s3.head_object, front.s3.get_object):
            answer = call(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            assert (answer[field], answer["ChecksumType"]) == (value, "FULL_OBJECT")
            assert answer["Metadata"] == {"own": "1"}
    shown = front.s3.get_object_attributes(**names, ObjectAttributes=["Checksum"])["Checksum"]
    assert shown == {field: value, "ChecksumType": "FULL_OBJECT"}
    wrong = base(DIGESTS[algorithm](data + b"x"))
    assert error_of(front.s3.put_object, Bucket=bucket, Key="bad", Body=data, **{field: wrong}) == "BadDigest"
    assert error_of(front.s3.put_object, Bucket=bucket, Key="bad", Body=data, **{field: "AAAA"}) == "InvalidRequest"
    assert error_of(front.s3.head_object, Bucket=bucket, Key="bad") == "404"


@pytest.mark.gateway
@pytest.mark.parametrize("algorithm", NEWER)
@pytest.mark.parametrize("mode", [raw.STREAMING_TRAILER, raw.UNSIGNED_TRAILER])
def test_a_newer_algorithm_is_verified_in_a_trailer(front, bucket, content, algorithm, mode):
    data, header = content(70_001), f"x-amz-checksum-{algorithm.lower()}"
    value, wrong = (base(DIGESTS[algorithm](body)) for body in (data, data + b"x"))

    def put(key, value):
        endpoint = raw.Endpoint.of(front)
        headers = {"x-amz-trailer": header, "x-amz-decoded-content-length": str(len(data))}

        def framed(signature):
            line = f"{header}:{value}"
            if mode == raw.UNSIGNED_TRAILER:
                return raw.frames([data]) + f"0\r\n{line}\r\n\r\n".encode()
            chunks = signature.chunk(data) + signature.chunk(b"")[:-2]
            return chunks + f"{line}\r\n{signature.trailer([line])}\r\n".encode()

        signature = endpoint.signed("PUT", f"/{bucket}/{key}", headers=headers, payload=mode)
        body = framed(signature)
        signature.headers["content-length"] = str(len(body))
        return endpoint.exchange(endpoint.head("PUT", f"/{bucket}/{key}", (), signature.headers) + body, "PUT")

    answer = put("k", value)
    assert answer.status == 200, answer
    assert answer.headers[header] == value
    assert put("bad", wrong).code == "BadDigest"
    assert error_of(front.s3.head_object, Bucket=bucket, Key="bad") == "404"
    head = front.s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    if algorithm.startswith("XX"):
        # No place in the format behind the body: what is shown instead is right as well.
        assert f"Checksum{algorithm}" not in head and head["ChecksumCRC64NVME"]
    else:
        assert head[f"Checksum{algorithm}"] == value


def announce(front, bucket, bodies, algorithm, kind):
    """Uploads the parts of an upload that announced a checksum; its names and the client's list of parts."""
    names, field = {"Bucket": bucket, "Key": "big"}, f"Checksum{algorithm}"
    created = front.s3.create_multipart_upload(**names, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert (created["ChecksumAlgorithm"], created["ChecksumType"]) == (algorithm, kind)
    names["UploadId"] = created["UploadId"]
    parts = []
    for number, body in bodies.items():
        value = base(DIGESTS[algorithm](body))
        answer = front.s3.upload_part(**names, PartNumber=number, Body=body, **{field: value})
        assert answer[field] == value
        parts.append({"PartNumber": number, "ETag": answer["ETag"], field: value})
    return names, parts


@pytest.mark.gateway
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_a_composite_comes_back_with_the_number_of_parts(front, bucket, content, algorithm):
    bodies, field = {1: content(MIN, 1), 2: content(77, 2)}, f"Checksum{algorithm}"
    names, parts = announce(front, bucket, bodies, algorithm, "COMPOSITE")
    digest = DIGESTS[algorithm]
    wanted = base(digest(b"".join(digest(body) for body in bodies.values())))
    complete = front.s3.complete_multipart_upload
    for wrong in ({**parts[1], field: parts[0][field]}, {**parts[1], "ETag": "A" + parts[1]["ETag"].strip('"')}):
        assert error_of(complete, **names, MultipartUpload={"Parts": [parts[0], wrong]}) == "InvalidPart"
    listed = {"Parts": parts}
    assert error_of(complete, **names, MultipartUpload=listed, **{field: parts[0][field] + "-2"}) == "BadDigest"
    done = complete(**names, MultipartUpload=listed, **{field: wanted + "-2"})
    assert (done[field], done["ChecksumType"]) == (wanted + "-2", "COMPOSITE")
    head = front.s3.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    got = front.s3.get_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"".join(bodies.values())
    shown = front.s3.get_object_attributes(Bucket=bucket, Key="big", ObjectAttributes=["Checksum"])["Checksum"]
    if algorithm.startswith("XX"):
        # No place in the format: what is shown instead covers the whole.
        assert field not in head and (head["ChecksumType"], shown["ChecksumType"]) == ("FULL_OBJECT",) * 2
        return
    for answer in (head, got):
        assert (answer[field], answer["ChecksumType"]) == (wanted + "-2", "COMPOSITE")
    assert shown == {field: wanted, "ChecksumType": "COMPOSITE"}


@pytest.mark.gateway
def test_a_full_crc32_is_combined_from_parts(front, bucket, content):
    bodies = {1: content(MIN, 1), 2: content(77, 2)}
    names, parts = announce(front, bucket, bodies, "CRC32", "FULL_OBJECT")
    wanted = base(DIGESTS["CRC32"](b"".join(bodies.values())))
    complete, listed = front.s3.complete_multipart_upload, {"Parts": parts}
    wrong = {"ChecksumCRC32": parts[0]["ChecksumCRC32"], "ChecksumType": "FULL_OBJECT"}
    assert error_of(complete, **names, MultipartUpload=listed, **wrong) == "BadDigest"
    done = complete(**names, MultipartUpload=listed, ChecksumCRC32=wanted, ChecksumType="FULL_OBJECT")
    head = front.s3.head_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    for answer in (done, head):
        assert (answer["ChecksumCRC32"], answer["ChecksumType"]) == (wanted, "FULL_OBJECT")


@pytest.mark.gateway
def test_an_announced_upload_can_be_completed_from_a_listing(front, bucket, content):
    bodies = {1: content(MIN, 1), 2: content(77, 2)}
    names, _ = announce(front, bucket, bodies, "SHA256", "COMPOSITE")
    listed = front.s3.list_parts(**names)["Parts"]
    parts = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in listed]
    front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    got = front.s3.get_object(Bucket=bucket, Key="big", ChecksumMode="ENABLED")
    # The parts' values are not known then: none is shown.
    assert "ChecksumSHA256" not in got and got["Body"].read() == b"".join(bodies.values())
