"""Promise: boto3, with its checksums of before and after 2025, reads back what it wrote.

How: awkward sizes, metadata, ranges, presigned URLs and checksums, with sizes compared everywhere.
"""

import hashlib
import urllib.error
import urllib.request
import ssl

import pytest

from harness import settings

MIB = 1024 * 1024
SIZES = [0, 1, 15, 16, 17, 65_535, 65_536, 65_537, 131_072, 131_073, MIB + 3, 5 * MIB, 6 * MIB + 1]
CHECKSUMS = ["when_supported", "when_required"]


@pytest.mark.parametrize("checksums", CHECKSUMS)
def test_every_size_comes_back(front, bucket, content, checksums):
    s3 = front.boto(checksums)
    for size in SIZES:
        data, key = content(size, size), f"size/{size}"
        put = s3.put_object(Bucket=bucket, Key=key, Body=data)
        got = s3.get_object(Bucket=bucket, Key=key)
        assert got["Body"].read() == data
        head = s3.head_object(Bucket=bucket, Key=key)
        assert head["ContentLength"] == got["ContentLength"] == size
        assert head["ETag"] == got["ETag"] == put["ETag"]
    assert front.listed_sizes(bucket) == {f"size/{size}": size for size in SIZES}
    for item in s3.list_objects_v2(Bucket=bucket)["Contents"]:
        assert item["ETag"] == s3.head_object(Bucket=bucket, Key=item["Key"])["ETag"]


@pytest.mark.parametrize("checksums", CHECKSUMS)
def test_the_transfer_manager_moves_many_parts(front, bucket, content, tmp_path, checksums):
    from boto3.s3.transfer import TransferConfig

    transfer = TransferConfig(multipart_threshold=6 * MIB, multipart_chunksize=5 * MIB + 1, max_concurrency=4)
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(content(26 * MIB + 11, 3))
    s3 = front.boto(checksums)
    s3.upload_file(str(source), bucket, "big", Config=transfer)
    s3.download_file(bucket, "big", str(back), Config=transfer)
    assert back.read_bytes() == source.read_bytes()
    assert front.listed_sizes(bucket) == {"big": source.stat().st_size}


def test_ranges_are_slices(front, bucket, content):
    data = content(200_000, 5)
    front.s3.put_object(Bucket=bucket, Key="k", Body=data)
    size = len(data)
    edges = [0, 1, 65_535, 65_536, 65_537, 131_071, 131_072, size - 1]
    for first in edges:
        for last in [first, first + 1, first + 65_536, size - 1, size + 5]:
            if last < first:
                continue
            answer = front.s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}")
            part = data[first : last + 1]
            assert answer["Body"].read() == part
            assert answer["ContentRange"] == f"bytes {first}-{first + len(part) - 1}/{size}"
    assert front.fetch(bucket, "k", Range="bytes=-64") == data[-64:]
    assert front.fetch(bucket, "k", Range=f"bytes=-{size + 10}") == data
    assert front.fetch(bucket, "k", Range="bytes=199999-") == data[-1:]


def test_metadata_and_content_headers_come_back(front, bucket):
    headers = {
        "ContentType": "text/x-test; charset=utf-8",
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="a b.txt"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "de-CH",
        "Metadata": {"plain": "value", "spaces": "a  b", "with-dash": "1"},
    }
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x", **headers)
    for answer in [
        front.s3.head_object(Bucket=bucket, Key="k"),
        front.s3.get_object(Bucket=bucket, Key="k", Range="bytes=0-0"),
    ]:
        assert {name: answer[name] for name in headers} == headers
    upload = front.s3.create_multipart_upload(Bucket=bucket, Key="m", **headers)["UploadId"]
    part = front.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"part")
    front.s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )  # fmt: skip
    answer = front.s3.head_object(Bucket=bucket, Key="m")
    assert {name: answer[name] for name in headers} == headers


NAMES = ["a", "b/c", "b/c/d", "sp ace", "plus+and&and=", "per%cent%41", "ümläut/日本", "quote'\"<>", "~!()*;:@,$", "\u1f600"]


def test_names_are_kept_byte_for_byte(front, bucket):
    for name in NAMES:
        front.s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    listed = front.listed_sizes(bucket)
    assert list(listed) == sorted(NAMES, key=str.encode)
    for name in NAMES:
        assert front.fetch(bucket, name) == name.encode()
    keys = [{"Key": name} for name in NAMES]
    done = front.s3.delete_objects(Bucket=bucket, Delete={"Objects": keys})
    assert {item["Key"] for item in done["Deleted"]} == set(NAMES)
    assert front.listed_sizes(bucket) == {}


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_are_accepted(front, bucket, content, algorithm):
    data = content(100_000, 8)
    front.s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm=algorithm)
    assert front.fetch(bucket, "k", ChecksumMode="ENABLED") == data


def _open(front, request):
    context = ssl.create_default_context(cafile=str(front.ca)) if front.ca else None
    return urllib.request.urlopen(request, timeout=60, context=context)


def test_presigned_urls_read_and_write(front, bucket, content):
    s3, data = front.boto("when_required"), content(70_000, 4)
    names = {"Bucket": bucket, "Key": "a b+c"}
    url = s3.generate_presigned_url("put_object", Params=names, ExpiresIn=60)
    with _open(front, urllib.request.Request(url, data=data, method="PUT")) as answer:
        assert answer.status == 200
    url = s3.generate_presigned_url("get_object", Params=names, ExpiresIn=60)
    with _open(front, url) as answer:
        assert answer.read() == data
    with pytest.raises(urllib.error.HTTPError) as refused:
        _open(front, url.replace("a%20b%2Bc", "another"))
    assert refused.value.code == 403


def test_conditional_requests(front, bucket):
    from harness.fronts import error_of

    s3 = front.s3
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read() == b"1"
    assert error_of(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag) == "304"
    wrong = '"' + hashlib.md5(b"other").hexdigest() + '"'
    assert error_of(s3.get_object, Bucket=bucket, Key="k", IfMatch=wrong) == "PreconditionFailed"
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"3", IfMatch=wrong) == "PreconditionFailed"
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=etag)
    assert front.fetch(bucket, "k") == b"3"


def test_buckets_are_made_found_and_removed(front):
    from harness.fronts import error_of

    s3 = front.s3
    name = front.new_bucket("gone")
    assert name in [item["Name"] for item in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=name)
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] in (None, "us-east-1")
    s3.put_object(Bucket=name, Key="k", Body=b"")
    assert error_of(s3.delete_bucket, Bucket=name) == "BucketNotEmpty"
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    assert error_of(s3.head_bucket, Bucket=name) == "404"
    if not settings.DIRECT:
        assert "sceau-control" not in [item["Name"] for item in s3.list_buckets()["Buckets"]]
