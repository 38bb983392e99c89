"""Promise: what is written under a name that ends in a slash is there afterwards, or is refused before it is sent.

How: a store that keeps such objects (embedded), and one that does not (SeaweedFS: it makes a folder of up to
1024 bytes, and stores more of them under another name), with both settings of store.folder_markers.
"""

import io
import json
import uuid

import pytest
from botocore.exceptions import ClientError

from harness.forms import form, post
from harness.fronts import Front, error_of

pytestmark = pytest.mark.gateway

MESSAGES = {"sealed": "store.folder_markers", "plain": "names that end in a slash"}
EMPTY = {"Metadata": {"mode": "16877"}, "ContentType": "application/x-directory; charset=UTF-8"}


@pytest.fixture(scope="module")
def sealed(site, store, work):
    """A gateway with the default, in front of SeaweedFS, which needs the other."""
    gateway = site.start("folders-sealed", store="")
    return Front("sealed", gateway, work / "front-folders-sealed", store)


@pytest.fixture
def bucket(plain):
    return plain.new_bucket("folders")


def at_store(front, bucket):
    pages = front.at_store().list_objects_v2(Bucket=bucket)
    return {item["Key"]: item["Size"] for item in pages.get("Contents", [])}


def refused(front, call, **arguments):
    """A refusal that says why."""
    with pytest.raises(ClientError) as error:
        getattr(front.s3, call)(**arguments)
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("NotImplemented", 501)
    assert MESSAGES.get(front.name, MESSAGES["plain"]) in answer["Error"]["Message"]


def test_a_marker_is_read_copied_listed_and_deleted(plain, bucket):
    s3, names = plain.s3, {"Bucket": bucket, "Key": "dir/"}
    put = s3.put_object(**names, Body=b"", **EMPTY, ChecksumSHA256="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
    s3.put_object(Bucket=bucket, Key="dir/a", Body=b"a")
    for answer in (s3.head_object(**names), s3.get_object(**names), s3.get_object(**names, PartNumber=1)):
        assert (answer["ContentLength"], answer["ContentType"]) == (0, "application/x-directory")
        assert (answer["Metadata"], answer["ETag"]) == ({}, put["ETag"])
        assert answer.get("Body", io.BytesIO()).read() == b""
    assert error_of(s3.get_object, **names, Range="bytes=0-0") == "InvalidRange"
    assert error_of(s3.get_object, **names, PartNumber=2) == "InvalidPartNumber"
    attributes = s3.get_object_attributes(**names, ObjectAttributes=["ETag", "ObjectSize", "ObjectParts", "Checksum"])
    assert (attributes["ObjectSize"], attributes.get("Checksum"), attributes.get("ObjectParts")) == (0, None, None)
    assert plain.listed_sizes(bucket) == {"dir/": 0, "dir/a": 1}
    # Copies: to a marker, and to a name that is sealed like any other.
    for target in ("dir2/", "file"):
        copied = s3.copy_object(Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": "dir/"})
        assert copied["CopyObjectResult"]["ETag"] == s3.head_object(Bucket=bucket, Key=target)["ETag"]
        assert plain.fetch(bucket, target) == b""
    assert plain.listed_sizes(bucket) == {"dir/": 0, "dir/a": 1, "dir2/": 0, "file": 0}
    stored = at_store(plain, bucket)
    assert stored["dir2/"] == 0 and stored["file"] > 0
    assert "sceauh1" in plain.at_store().head_object(Bucket=bucket, Key="file")["Metadata"]
    s3.delete_object(Bucket=bucket, Key="dir2/")
    assert error_of(s3.head_object, Bucket=bucket, Key="dir2/") == "404"
    s3.delete_object(**names)
    assert plain.listed_sizes(bucket) == {"dir/a": 1, "file": 0}
    assert plain.fetch(bucket, "dir/a") == b"a"


def test_nothing_of_a_markers_metadata_reaches_the_store(plain, bucket):
    secret = uuid.uuid4().hex
    plain.s3.put_object(Bucket=bucket, Key="dir/", Metadata={"m": secret}, ContentType=f"x/{secret}", CacheControl=secret)
    seen = plain.at_store().get_object(Bucket=bucket, Key="dir/")
    assert secret not in json.dumps(seen["ResponseMetadata"]["HTTPHeaders"])


def writes(bucket, key):
    """Writes that are more than a marker."""
    names = {"Bucket": bucket, "Key": key}
    yield "put_object", {**names, "Body": b"x"}
    # So many bytes SeaweedFS stores as `name/name`.
    yield "put_object", {**names, "Body": b"x" * 3000}
    yield "put_object", {**names, "Body": b"", "Tagging": "a=b"}
    yield "copy_object", {**names, "CopySource": {"Bucket": bucket, "Key": "source"}}
    yield "create_multipart_upload", names


@pytest.mark.parametrize("setting", ["plain", "sealed"])
def test_what_the_store_would_lose_is_refused_and_not_sent(plain, sealed, bucket, setting):
    front = {"plain": plain, "sealed": sealed}[setting]
    plain.s3.put_object(Bucket=bucket, Key="source", Body=b"source")
    plain.s3.put_object(Bucket=bucket, Key="dir/dir", Body=b"in the way")
    before = at_store(plain, bucket)
    for call, arguments in writes(bucket, "dir/"):
        refused(front, call, **arguments)
    if setting == "sealed":
        refused(front, "put_object", Bucket=bucket, Key="dir/", Body=b"")
    assert at_store(plain, bucket) == before
    assert not plain.at_store().list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert plain.fetch(bucket, "dir/dir") == b"in the way"


def test_markers_come_in_every_kind_of_body(secure):
    """With a checksum behind the data, as SDKs send streams over TLS, and from a browser's form."""
    bucket = secure.new_bucket("folders")
    secure.s3.put_object(Bucket=bucket, Key="stream/", Body=io.BytesIO(b""), ChecksumAlgorithm="CRC32")
    made = secure.s3.generate_presigned_post(bucket, "form/")
    assert post(secure, f"/{bucket}", form(made["fields"], b"")).status == 204
    assert post(secure, f"/{bucket}", form(made["fields"], b"x")).status == 501
    wrong = {"Bucket": bucket, "Key": "wrong/", "Body": b"", "ChecksumSHA256": "A" * 43 + "="}
    assert error_of(secure.s3.put_object, **wrong) == "BadDigest"
    assert secure.listed_sizes(bucket) == {"stream/": 0, "form/": 0}


def test_a_name_of_slashes_is_not_the_bucket(plain, sealed):
    """To SeaweedFS it is: there, deleting it deletes an empty bucket."""
    bucket = plain.new_bucket("folders")
    for front in (plain, sealed):
        for key in ("/", "//"):
            names = {"Bucket": bucket, "Key": key}
            assert error_of(front.s3.put_object, **names, Body=b"") == "NotImplemented"
            assert error_of(front.s3.delete_object, **names) == "NotImplemented"
            many = {"Bucket": bucket, "Delete": {"Objects": [{"Key": "a"}, {"Key": key}]}}
            assert error_of(front.s3.delete_objects, **many) == "NotImplemented"
    assert bucket in [found["Name"] for found in plain.at_store().list_buckets()["Buckets"]]


def test_the_trial_leaves_nothing_behind(plain, sealed, site, bucket):
    refused(sealed, "put_object", Bucket=bucket, Key="dir/", Body=b"")
    found = plain.at_store().list_objects_v2(Bucket=site.control_bucket, Prefix="check/")
    assert found["KeyCount"] == 0


def test_only_empty_objects_of_such_names_are_served_without_a_seal(plain, sealed, bucket):
    direct = plain.at_store()
    direct.put_object(Bucket=bucket, Key="dir/", Body=b"")
    assert plain.fetch(bucket, "dir/") == b""
    # Not with the default.
    assert error_of(sealed.s3.get_object, Bucket=bucket, Key="dir/") == "ObjectNotSealed"
    assert error_of(sealed.s3.head_object, Bucket=bucket, Key="dir/") == "409"
    # Not under another name.
    plain.s3.put_object(Bucket=bucket, Key="file", Body=b"content")
    direct.put_object(Bucket=bucket, Key="file", Body=b"")
    for call in (plain.s3.get_object, plain.s3.head_object):
        assert error_of(call, Bucket=bucket, Key="file") in ("ObjectNotSealed", "409")


def test_a_store_that_keeps_them_has_them_sealed(_fronts):
    """The embedded store keeps such objects: the default, and nothing to lose."""
    front = _fronts("dev")
    bucket = front.new_bucket("folders")
    for key, body in (("empty/", b""), ("full/", b"x" * 3000)):
        front.s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"mode": "16877"})
        answer = front.s3.get_object(Bucket=bucket, Key=key)
        assert (answer["Body"].read(), answer["Metadata"]) == (body, {"mode": "16877"})
    assert front.listed_sizes(bucket) == {"empty/": 0, "full/": 3000}


def test_the_seal_of_another_object_makes_no_marker(plain, bucket):
    direct = plain.at_store()
    plain.s3.put_object(Bucket=bucket, Key="file", Body=b"content")
    direct.copy_object(Bucket=bucket, Key="other", CopySource={"Bucket": bucket, "Key": "file"})
    assert error_of(plain.s3.get_object, Bucket=bucket, Key="other") == "ObjectIntegrityFailure"


def test_check_says_which_setting_the_store_needs(site, plain, sealed):
    def found(gateway):
        done = site_check(site, gateway.config)
        (line,) = [item for item in done if item["check"] == "folder markers"]
        return line["result"], line["message"]

    assert found(plain.server)[0] == "ok"
    result, message = found(sealed.server)
    assert result == "warning" and 'store.folder_markers = "plain"' in message


def site_check(site, config):
    from harness.gateway import run

    done = run(["--output", "json", "check", "--config", config], site.env, check=False)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_verify_knows_markers(site, plain, bucket):
    plain.s3.put_object(Bucket=bucket, Key="dir/", Body=b"")
    plain.s3.put_object(Bucket=bucket, Key="dir/a", Body=b"a")
    done = site.command("verify", f"s3://{bucket}/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_aws_cli_puts_and_syncs_markers(plain, bucket, tmp_path):
    plain.aws("s3api", "put-object", "--bucket", bucket, "--key", "dir/")
    plain.s3.put_object(Bucket=bucket, Key="dir/a", Body=b"a")
    head = json.loads(plain.aws("s3api", "head-object", "--bucket", bucket, "--key", "dir/").stdout)
    assert head["ContentLength"] == 0
    other = plain.new_bucket("folders")
    plain.aws("s3", "sync", f"s3://{bucket}/", f"s3://{other}/")
    assert plain.listed_sizes(other)["dir/a"] == 1
    plain.aws("s3", "rm", "--recursive", f"s3://{bucket}/")
    assert plain.listed_sizes(bucket) == {}


def test_pyarrow_makes_and_removes_folders(plain, bucket):
    from pyarrow import fs

    files = plain.pyarrow()
    files.create_dir(f"{bucket}/one/two", recursive=True)
    assert files.get_file_info(f"{bucket}/one/two").type == fs.FileType.Directory
    with files.open_output_stream(f"{bucket}/one/two/file") as stream:
        stream.write(b"content")
    assert [info.base_name for info in files.get_file_info(fs.FileSelector(f"{bucket}/one/two"))] == ["file"]
    assert plain.listed_sizes(bucket)["one/two/file"] == 7
    files.delete_dir(f"{bucket}/one")
    # SeaweedFS goes on to answer HEAD for a folder whose objects are gone, without a gateway too.
    assert plain.listed_sizes(bucket) == {}
