"""Promise: whatever way an object came to be, the page docs/format/ is enough to read it without the gateway.

How: a bucket is filled through the gateway in every way that stores something, then each version of each object in
the store is opened by the second reader with the keyring and the key file only, and compared with what the gateway
answers. Open uploads are opened from the control bucket.
"""

import base64
import zlib

import pytest

from harness.fronts import Front
from harness.process import wait_until
from harness.software import SoftwareSite
from second_reader import reader

pytestmark = pytest.mark.gateway
MIN = 5 * 1024 * 1024
SIZES = (0, 1, 65_535, 65_536, 65_537, 200_000)


@pytest.fixture(scope="module")
def front(work, store):
    site = SoftwareSite(work / "second-reader-site", store, "second-reader-control").begin()
    yield Front("second-reader", site.start("second-reader", keys='refresh = "1s"'), work / "second-reader", store)
    site.stop()


def keyring(front):
    site = front.server.site
    return reader.Keyring((site.folder / "second-reader-keyring").read_bytes(), keks=site.keks())


def upload(front, bucket, key, parts, **arguments):
    """Parts by number, completed with the ETags that were given."""
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = front.s3.create_multipart_upload(**names, **arguments)["UploadId"]
    done = []
    for number, body in parts.items():
        done.append({"PartNumber": number, "ETag": front.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]})
    front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": done})


def from_list_of_parts(front, bucket, key, parts):
    """As a client that lost the ETags: entries that pin nothing."""
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = front.s3.create_multipart_upload(**names)["UploadId"]
    for number, body in parts.items():
        front.s3.upload_part(**names, PartNumber=number, Body=body)
    listed = front.s3.list_parts(**names)["Parts"]
    done = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in listed]
    front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": done})


def fill(front, bucket, other, content):
    s3 = front.s3
    for size in SIZES:
        s3.put_object(Bucket=bucket, Key=f"single/{size}", Body=content(size, size))
    s3.put_object(Bucket=bucket, Key="meta", Body=b"m", ContentType="text/plain", CacheControl="no-store", ContentLanguage="fr",
                  ContentDisposition="inline", ContentEncoding="gzip", Metadata={"one": "1", "two": "x" * 200},
                  Tagging="colour=blue&owner=%C3%A9quipe")  # fmt: skip
    for algorithm in ("CRC32", "SHA1", "SHA256"):
        s3.put_object(Bucket=bucket, Key=f"sum/{algorithm}", Body=b"sums", ChecksumAlgorithm=algorithm)
    for name in ("e\u0301", "\u00e9", "x%2Fy", "plus+ and space"):
        s3.put_object(Bucket=bucket, Key=name, Body=name.encode())
    upload(front, bucket, "multi/one-small", {7: b"hello"}, Metadata={"m": "v"})
    upload(front, bucket, "multi/gaps", {2: content(MIN, 1), 9: content(MIN + 70_000, 2), 9_999: content(3, 3)})
    upload(front, bucket, "multi/announced", {1: content(MIN, 4), 2: content(9, 5)}, ChecksumAlgorithm="SHA256")
    from_list_of_parts(front, bucket, "multi/unpinned", {1: content(MIN, 6), 2: content(100, 7)})
    for source in ("meta", "multi/gaps", "single/65537"):
        where = {"Bucket": bucket, "Key": source}
        s3.copy_object(Bucket=bucket, Key=f"copy/{source}", CopySource=where)
        s3.copy_object(Bucket=other, Key=f"copy/{source}", CopySource=where)
    s3.copy_object(Bucket=bucket, Key="single/1", CopySource={"Bucket": bucket, "Key": "single/1"}, MetadataDirective="REPLACE",
                   Metadata={"replaced": "yes"})  # fmt: skip
    s3.put_object_tagging(Bucket=bucket, Key="single/0", Tagging={"TagSet": [{"Key": f"k{n}", "Value": "v" * 150} for n in range(10)]})
    before = keyring(front).generation
    front.server.site.command("keys new-epoch", "--bucket", bucket)
    wait_until("the new epoch", lambda: keyring(front).generation > before, 30)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for text in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key="versions", Body=text)
    s3.delete_object(Bucket=bucket, Key="versions")


def check_object(front, opened, keys, bucket, version):
    """One version of one object: everything that the second reader finds is what the gateway answers."""
    where = {"Bucket": bucket.name, "Key": version["Key"]}
    if version["VersionId"] != "null":
        where["VersionId"] = version["VersionId"]
    store = front.at_store()
    stored = store.get_object(**where)
    body = stored["Body"].read()
    header = reader.open_header(stored["Metadata"]["sceauh1"], keys, bucket, version["Key"].encode(), len(body))
    plain, layout = reader.open_object(header, body)
    shown = front.s3.get_object(**where, ChecksumMode="ENABLED")
    assert plain == shown["Body"].read()
    fields = dict(header.metadata)
    for kind, name in {1: "ContentType", 2: "CacheControl", 3: "ContentDisposition", 4: "ContentEncoding", 5: "ContentLanguage"}.items():
        if kind in fields:
            assert fields[kind].decode() == shown[name]
    assert {name: value.decode() for name, value in reader.user_metadata(header.metadata).items()} == shown["Metadata"]
    assert shown["ETag"].strip('"') == reader.client_etag(stored["ETag"].strip('"'))
    check_sums(header, layout, plain, shown)
    pairs = [(tag["Key"], tag["Value"]) for tag in store.get_object_tagging(**where)["TagSet"]]
    tags = reader.open_tags(pairs, header.dek, header.oid, header.context)
    told = {tag["Key"]: tag["Value"] for tag in front.s3.get_object_tagging(**where)["TagSet"]}
    assert (tags or {}) == told and (tags is not None or not pairs)
    return layout


def check_sums(header, layout, plain, shown):
    """The sealed checksums are those that clients are told, and CRC-32 is what it should be."""
    names = {1: "ChecksumCRC32", 2: "ChecksumCRC32C", 3: "ChecksumCRC64NVME", 4: "ChecksumSHA1", 5: "ChecksumSHA256"}
    sums = {value[0]: (value[1], value[2:]) for kind, value in header.metadata if kind == 9}
    if layout.checksum:
        sums[layout.checksum[0]] = layout.checksum[1:]
    for code, (composite, value) in sums.items():
        if code in names:
            text = base64.b64encode(value).decode() + (f"-{len(layout.entries)}" if composite else "")
            assert shown[names[code]] == text
        if code == 1 and not composite:
            assert zlib.crc32(plain).to_bytes(4, "big") == value


def test_every_object_of_a_bucket_is_opened_without_the_gateway(front, content):
    bucket, other = front.new_bucket("second"), front.new_bucket("second")
    fill(front, bucket, other, content)
    opened = keyring(front)
    keys = opened.unwrap(front.server.site.keks())
    seen, krids, unpinned = 0, set(), 0
    for name in (bucket, other):
        entry = opened.bucket(name)
        for version in front.at_store().list_object_versions(Bucket=name)["Versions"]:
            layout = check_object(front, opened, keys, entry, version)
            seen, unpinned = seen + 1, unpinned + sum(part.iv is None for part in layout.entries)
            assert reader.plain_length(version["Size"]) == layout.n
        krids |= {krid for krid, record in keys.items() if record.bucket == entry.id}
    print(f"{seen} stored versions opened by the second reader, of 2 buckets and {len(krids)} epochs, {unpinned} parts not pinned")
    assert seen == 26 and len(krids) == 3 and unpinned == 2
    # Another name, another bucket: the second reader refuses as the gateway does.
    value = front.at_store().head_object(Bucket=bucket, Key="meta")["Metadata"]["sceauh1"]
    for place, key in ((bucket, b"other"), (other, b"meta")):
        with pytest.raises(reader.Refused):
            reader.open_header(value, keys, opened.bucket(place), key)


def test_an_open_upload_is_opened_from_the_control_bucket(front, content):
    bucket = front.new_bucket("second")
    names = {"Bucket": bucket, "Key": "open"}
    names["UploadId"] = front.s3.create_multipart_upload(**names, Metadata={"m": "v"}, ChecksumAlgorithm="SHA256")["UploadId"]
    etags = {number: front.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"].strip('"')
             for number, body in {1: content(MIN, 1), 2: content(70_000, 2)}.items()}  # fmt: skip
    opened = keyring(front)
    entry = opened.bucket(bucket)
    (record,) = [record for record in opened.unwrap(front.server.site.keks()).values() if record.bucket == entry.id]
    context = reader.context_hash(record.tenant, entry.id, b"open")
    name = reader.state_name(record.key, context, names["UploadId"].encode())
    control = {"Bucket": front.server.site.control_bucket}
    raw = front.at_store().get_object(**control, Key=name)["Body"].read()
    dek, oid, _, metadata = reader.open_state(raw, record, context, names["UploadId"].encode())
    assert reader.user_metadata(metadata) == {"m": b"v"} and dict(metadata)[12] == bytes([5, 1])
    for number, etag in etags.items():
        checksum, store_etag, ticket = reader.split_part_etag(etag)
        part = reader.open_ticket(dek, oid, number, store_etag, ticket)
        assert part.length == (MIN if number == 1 else 70_000)
        assert len(reader.open_part_checksum(dek, oid, number, checksum, etag.partition(".")[2])) == 32
    # The part that was too small to be anything but the last waits in the control bucket.
    stash = front.at_store().get_object(**control, Key=f"{name}/2")["Body"].read()
    assert b"".join(reader.open_part(dek, oid, part, stash)) == content(70_000, 2)
    front.s3.abort_multipart_upload(**names)
