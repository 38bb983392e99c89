"""Promise: tags of objects are those of S3, and the store sees neither their names nor their values nor
their number, unless the bucket's policy has them in clear.

How: the same story is told at the bare store and through the gateway; then the store is looked at, and
what it holds is changed.
"""

import base64
import json
import re
import urllib.parse
import xml.etree.ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError
from harness.fronts import error_of
from harness.gateway import LIMITED_ACCESS_KEY, LIMITED_SECRET_KEY, run
from harness.raw import Endpoint

MIB = 1024 * 1024
TAGS = {"classification": "secret", "équipe": "зелёный 緑", "a+b=c": "x/y:z@1 _-.", "empty": ""}
TEN = {f"key{number}": f"value {number}" for number in range(10)}
PIECE = re.compile(r"sceaut1[a-j]\Z")


def tag_list(tags):
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def encoded(tags):
    return urllib.parse.urlencode(tags)


def tags_of(s3, bucket, key, **arguments):
    answer = s3.get_object_tagging(Bucket=bucket, Key=key, **arguments)
    return [(tag["Key"], tag["Value"]) for tag in answer["TagSet"]]


def put_tags(s3, bucket, key, tags, **arguments):
    return s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": tag_list(tags)}, **arguments)


def ascending(tags):
    return sorted(tags.items(), key=lambda tag: tag[0].encode())


def copy_source(bucket, key):
    return {"Bucket": bucket, "Key": key}


# Every front.


@pytest.mark.parametrize("tags", [TAGS, TEN, {"é" * 128: "緑" * 256}, {"k": "v" * 256}], ids=["some", "ten", "long", "one"])
def test_tags_come_back_in_order(front, bucket, tags):
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert tags_of(front.s3, bucket, "k") == []
    put_tags(front.s3, bucket, "k", tags)
    assert tags_of(front.s3, bucket, "k") == ascending(tags)
    assert front.fetch(bucket, "k") == b"x"
    put_tags(front.s3, bucket, "k", {"other": "1"})
    assert tags_of(front.s3, bucket, "k") == [("other", "1")]
    front.s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags_of(front.s3, bucket, "k") == []
    front.s3.delete_object_tagging(Bucket=bucket, Key="k")
    put_tags(front.s3, bucket, "k", {})
    assert tags_of(front.s3, bucket, "k") == []


def test_tags_of_a_write(front, bucket, content):
    front.s3.put_object(Bucket=bucket, Key="k", Body=content(200_000), Tagging=encoded(TAGS))
    assert tags_of(front.s3, bucket, "k") == ascending(TAGS)
    # A new object has no tags of the old one.
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert tags_of(front.s3, bucket, "k") == []
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b&c=d=e&f=g+h")
    assert tags_of(front.s3, bucket, "k") == [("a", "1"), ("b", ""), ("c", "d=e"), ("f", "g h")]


def test_tags_given_at_create_end_on_the_object(front, bucket, content):
    upload = front.s3.create_multipart_upload(Bucket=bucket, Key="m", Tagging=encoded(TAGS))["UploadId"]
    parts = []
    for number, size in ((1, 5 * MIB), (2, 1000)):
        part = front.s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=number, Body=content(size))
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    front.s3.complete_multipart_upload(
        Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    assert tags_of(front.s3, bucket, "m") == ascending(TAGS)
    put_tags(front.s3, bucket, "m", TEN)
    assert tags_of(front.s3, bucket, "m") == ascending(TEN)
    assert len(front.fetch(bucket, "m")) == 5 * MIB + 1000


def test_copies(front, bucket):
    other = front.new_bucket()
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=encoded(TAGS))
    front.s3.put_object(Bucket=bucket, Key="plain", Body=b"x")

    def copied(target, key, source="k", **arguments):
        front.s3.copy_object(Bucket=target, Key=key, CopySource=copy_source(bucket, source), **arguments)
        assert front.fetch(target, key) == b"x"
        return tags_of(front.s3, target, key)

    assert copied(bucket, "c1") == ascending(TAGS)
    assert copied(other, "c2", TaggingDirective="COPY") == ascending(TAGS)
    assert copied(bucket, "c3", TaggingDirective="REPLACE", Tagging="n=1") == [("n", "1")]
    assert copied(bucket, "c4", TaggingDirective="REPLACE") == []
    assert copied(bucket, "c5", source="plain") == []
    assert copied(bucket, "c6", source="plain", TaggingDirective="REPLACE", Tagging="n=1") == [("n", "1")]
    # Onto itself, with new metadata; then with new tags.
    assert copied(bucket, "k", MetadataDirective="REPLACE", Metadata={"a": "1"}) == ascending(TAGS)
    replaced = {"MetadataDirective": "REPLACE", "TaggingDirective": "REPLACE", "Tagging": "n=2"}
    assert copied(bucket, "k", **replaced) == [("n", "2")]
    # A copy of a copy, after its source changed its tags.
    front.s3.copy_object(Bucket=other, Key="c7", CopySource=copy_source(other, "c2"))
    assert tags_of(front.s3, other, "c7") == ascending(TAGS)


def test_versions_have_tags_of_their_own(front, bucket):
    try:
        front.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    except ClientError as error:
        pytest.skip(f"the store has no versions: {error}")
    put = [
        front.s3.put_object(Bucket=bucket, Key="k", Body=body, Tagging=tags)["VersionId"]
        for body, tags in ((b"1", "a=1"), (b"2", "a=2&b=3"))
    ]
    old, new = ({"VersionId": version} for version in put)
    assert tags_of(front.s3, bucket, "k", **old) == [("a", "1")]
    assert tags_of(front.s3, bucket, "k") == tags_of(front.s3, bucket, "k", **new) == [("a", "2"), ("b", "3")]
    put_tags(front.s3, bucket, "k", {"z": "old"}, **old)
    put_tags(front.s3, bucket, "k", {"z": "new"})
    assert tags_of(front.s3, bucket, "k", **old) == [("z", "old")]
    assert tags_of(front.s3, bucket, "k") == [("z", "new")]
    source = {**copy_source(bucket, "k"), **old}
    front.s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    assert tags_of(front.s3, bucket, "copy") == [("z", "old")]
    front.s3.delete_object_tagging(Bucket=bucket, Key="k", **old)
    assert tags_of(front.s3, bucket, "k", **old) == []
    assert tags_of(front.s3, bucket, "k") == [("z", "new")]
    front.s3.delete_object(Bucket=bucket, Key="k")
    assert error_of(front.s3.get_object_tagging, Bucket=bucket, Key="k") in ("NoSuchKey", "MethodNotAllowed")
    assert tags_of(front.s3, bucket, "k", **new) == [("z", "new")]


@pytest.mark.gateway
def test_what_s3_refuses(front, bucket):
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="kept=1")
    endpoint = Endpoint.of(front)

    def document(tags):
        inner = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
        return f"<Tagging><TagSet>{inner}</TagSet></Tagging>".encode()

    eleven = [(f"k{number}", "") for number in range(11)]
    for tags, code in (
        (eleven, "BadRequest"),
        ([("a" * 129, "")], "InvalidTag"),
        ([("é" * 129, "")], "InvalidTag"),
        ([("a", "v" * 257)], "InvalidTag"),
        ([("", "v")], "InvalidTag"),
        ([("a!", "v")], "InvalidTag"),
        ([("a", "\U0001f600")], "InvalidTag"),
        ([("aws:a", "v")], "InvalidTag"),
        ([("AWS:a", "v")], "InvalidTag"),
        ([("sceaut1a", "v")], "InvalidTag"),
        ([("SCEAUT", "v")], "InvalidTag"),
    ):
        answer = endpoint.send("PUT", f"/{bucket}/k", {"tagging": ""}, body=document(tags))
        assert (answer.status, answer.code) == (400, code), tags
        header = "&".join(f"{urllib.parse.quote(key)}={urllib.parse.quote(value)}" for key, value in tags)
        for method, key, query in (("PUT", "new", {}), ("POST", "new", {"uploads": ""})):
            answer = endpoint.send(method, f"/{bucket}/{key}", query, {"x-amz-tagging": header}, b"")
            assert (answer.status, answer.code) == (400, code), tags
    twice = [("a", "1"), ("a", "2")]
    answer = endpoint.send("PUT", f"/{bucket}/k", {"tagging": ""}, body=document(twice))
    assert answer.code == "InvalidTag"
    for header in ("a=1&a=2", "a=%zz", "a=%C3"):
        answer = endpoint.send("PUT", f"/{bucket}/new", {}, {"x-amz-tagging": header}, b"x")
        assert (answer.status, answer.code) == (400, "InvalidArgument"), header
    for body in (b"", b"x", b"<Tagging/>", b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>"):
        answer = endpoint.send("PUT", f"/{bucket}/k", {"tagging": ""}, body=body)
        assert (answer.status, answer.code) == (400, "MalformedXML"), body
    headers = {"x-amz-copy-source": f"/{bucket}/k", "x-amz-tagging-directive": "SOME"}
    assert endpoint.send("PUT", f"/{bucket}/new", {}, headers).code == "InvalidArgument"
    for query in ({"partNumber": "1", "uploadId": "x"}, {"acl": ""}):
        answer = endpoint.send("PUT", f"/{bucket}/new", query, {"x-amz-tagging": "a=1"}, b"x")
        assert answer.status == 501
    # Nothing was written, nothing changed.
    assert tags_of(front.s3, bucket, "k") == [("kept", "1")]
    assert error_of(front.s3.head_object, Bucket=bucket, Key="new") == "404"
    assert not front.s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    for call, more in (
        ("get_object_tagging", {}),
        ("delete_object_tagging", {}),
        ("put_object_tagging", {"Tagging": {"TagSet": []}}),
    ):
        assert error_of(getattr(front.s3, call), Bucket=bucket, Key="none", **more) == "NoSuchKey"


@pytest.mark.gateway
def test_the_capacity_of_the_seal_is_exact(front, bucket):
    """1889 bytes for four of each tag, and the UTF-8 bytes of keys and values."""
    fits = {f"{number:03}": "v" * 256 for number in range(7)}
    fits["007"] = "v" * (1889 - 7 * 263 - 7)
    beyond = {**fits, "007": fits["007"] + "v"}
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=encoded(fits))
    assert tags_of(front.s3, bucket, "k") == ascending(fits)
    assert error_of(put_tags, s3=front.s3, bucket=bucket, key="k", tags=beyond) == "InvalidTag"
    assert error_of(front.s3.put_object, Bucket=bucket, Key="new", Body=b"x", Tagging=encoded(beyond)) == "InvalidTag"
    assert error_of(front.s3.head_object, Bucket=bucket, Key="new") == "404"
    assert tags_of(front.s3, bucket, "k") == ascending(fits)


def test_aws_cli(front, bucket):
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    place = ("--bucket", bucket, "--key", "k")
    tagging = json.dumps({"TagSet": tag_list(TAGS)})
    front.aws("s3api", "put-object-tagging", *place, "--tagging", tagging)
    found = json.loads(front.aws("s3api", "get-object-tagging", *place, "--output", "json").stdout)
    assert {tag["Key"]: tag["Value"] for tag in found["TagSet"]} == TAGS
    front.aws("s3api", "delete-object-tagging", *place)
    assert tags_of(front.s3, bucket, "k") == []


# What the store sees, and what it can do.


def stored_tags(front, bucket, key):
    return tags_of(front.at_store(), bucket, key)


@pytest.mark.gateway
@pytest.mark.parametrize("tags, pieces", [(TAGS, 2), (TEN, 2), ({"k": "v" * 256, "l": "w" * 256}, 5),
                                          ({str(n): "v" * 180 for n in range(10)}, 10)])  # fmt: skip
def test_the_store_sees_pieces_of_three_numbers_and_nothing_else(plain, tags, pieces):
    bucket, store = plain.new_bucket(), plain.at_store()
    plain.s3.put_object(Bucket=bucket, Key="header", Body=b"x", Tagging=encoded(tags))
    plain.s3.put_object(Bucket=bucket, Key="document", Body=b"x")
    put_tags(plain.s3, bucket, "document", tags)
    plain.s3.copy_object(Bucket=bucket, Key="copy", CopySource=copy_source(bucket, "header"))
    upload = plain.s3.create_multipart_upload(Bucket=bucket, Key="upload", Tagging=encoded(tags))["UploadId"]
    part = plain.s3.upload_part(Bucket=bucket, Key="upload", UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    plain.s3.complete_multipart_upload(Bucket=bucket, Key="upload", UploadId=upload, MultipartUpload=parts)
    seen = []
    for key in ("header", "document", "copy", "upload"):
        stored = stored_tags(plain, bucket, key)
        assert [name for name, _ in stored] == [f"sceaut1{letter}" for letter in "abcdefghij"[:pieces]]
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{256}", value) for _, value in stored)
        head = store.head_object(Bucket=bucket, Key=key)
        shown = json.dumps([stored, head["ResponseMetadata"]["HTTPHeaders"], head["Metadata"]], ensure_ascii=False)
        opaque = b"".join(base64.urlsafe_b64decode(value) for _, value in stored)
        for text in [text for tag in tags.items() for text in tag if len(text) > 3]:
            for form in (text, urllib.parse.quote(text), urllib.parse.quote_plus(text), text.encode().hex(),
                         base64.b64encode(text.encode()).decode().rstrip("=")):  # fmt: skip
                assert form not in shown
            assert text.encode() not in opaque
        # No client is told the number of pieces.
        for answer in (plain.s3.head_object(Bucket=bucket, Key=key), plain.s3.get_object(Bucket=bucket, Key=key)):
            names = answer["ResponseMetadata"]["HTTPHeaders"]
            assert not [name for name in names if "tagging" in name or "sceau" in name]
        assert tags_of(plain.s3, bucket, key) == ascending(tags)
        seen.append([value for _, value in stored])
    assert len({value for values in seen for value in values}) == 4 * pieces


def refused(front, bucket, key):
    endpoint = Endpoint.of(front)
    answer = endpoint.send("GET", f"/{bucket}/{key}", {"tagging": ""})
    assert (answer.status, answer.code) == (409, "ObjectIntegrityFailure"), answer
    headers = {"x-amz-copy-source": f"/{bucket}/{key}"}
    assert endpoint.send("PUT", f"/{bucket}/{key}-copy", {}, headers).code == "ObjectIntegrityFailure"
    assert error_of(front.s3.head_object, Bucket=bucket, Key=f"{key}-copy") == "404"
    # The object itself is not touched by that.
    assert front.fetch(bucket, key) == b"x"


@pytest.mark.gateway
def test_changed_tags_are_refused(plain):
    bucket, store = plain.new_bucket(), plain.at_store()
    plain.s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=encoded(TAGS))
    stored = dict(stored_tags(plain, bucket, "k"))
    first, second = sorted(stored)

    def flipped(at):
        value = stored[first]
        return {**stored, first: value[:at] + ("B" if value[at] == "A" else "A") + value[at + 1 :]}

    changes = [
        flipped(0), flipped(20), flipped(255),
        {first: stored[first]},
        {first: stored[second], second: stored[first]},
        {**stored, "sceaut1c": stored[first]},
        {**stored, "other": "clear"},
        {first: stored[first], second: stored[second][:-4]},
        {first: stored[first], second.upper(): stored[second]},
        # Tags in clear in their place: this bucket never had such.
        {"classification": "public"},
    ]  # fmt: skip
    for changed in changes:
        put_tags(store, bucket, "k", changed)
        refused(plain, bucket, "k")
    put_tags(store, bucket, "k", stored)
    assert tags_of(plain.s3, bucket, "k") == ascending(TAGS)
    # What does not verify can be replaced and removed.
    put_tags(store, bucket, "k", flipped(20))
    put_tags(plain.s3, bucket, "k", TEN)
    assert tags_of(plain.s3, bucket, "k") == ascending(TEN)
    put_tags(store, bucket, "k", flipped(20))
    plain.s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert stored_tags(plain, bucket, "k") == tags_of(plain.s3, bucket, "k") == []


@pytest.mark.gateway
def test_objects_copies_and_versions_cannot_trade_tags(plain):
    bucket, store = plain.new_bucket(), plain.at_store()
    plain.s3.put_object(Bucket=bucket, Key="a", Body=b"x", Tagging="who=a")
    plain.s3.put_object(Bucket=bucket, Key="b", Body=b"x", Tagging="who=b")
    # A copy has the data key of its source.
    plain.s3.copy_object(Bucket=bucket, Key="c", CopySource=copy_source(bucket, "a"))
    put_tags(plain.s3, bucket, "c", {"who": "c"})
    of_a, of_b = (dict(stored_tags(plain, bucket, key)) for key in "ab")
    for key, foreign in (("a", of_b), ("b", of_a), ("c", of_a)):
        put_tags(store, bucket, key, foreign)
        refused(plain, bucket, key)
    put_tags(store, bucket, "a", of_a)
    assert tags_of(plain.s3, bucket, "a") == [("who", "a")]
    # An older object's set on the newer object of the same name.
    plain.s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    put_tags(store, bucket, "a", of_a)
    refused(plain, bucket, "a")


@pytest.mark.gateway
def test_what_is_not_promised(plain):
    """An older set of the same object, and no set at all, are accepted: SECURITY.md says so."""
    bucket, store = plain.new_bucket(), plain.at_store()
    plain.s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="state=old")
    old = dict(stored_tags(plain, bucket, "k"))
    put_tags(plain.s3, bucket, "k", {"state": "new"})
    put_tags(store, bucket, "k", old)
    assert tags_of(plain.s3, bucket, "k") == [("state", "old")]
    store.delete_object_tagging(Bucket=bucket, Key="k")
    assert tags_of(plain.s3, bucket, "k") == []


@pytest.mark.gateway
def test_tags_and_an_object_written_at_once(plain):
    """Tags sealed for an object that is replaced meanwhile are sealed again for the one that took its place."""
    bucket = plain.new_bucket()
    clients = [plain.boto(), plain.boto()]
    with ThreadPoolExecutor(2) as pool:
        for number in range(40):
            plain.s3.put_object(Bucket=bucket, Key="k", Body=b"old", Tagging="old=1")
            calls = [
                pool.submit(put_tags, clients[0], bucket, "k", {"new": str(number)}),
                pool.submit(clients[1].put_object, Bucket=bucket, Key="k", Body=b"new"),
            ]
            for call in calls:
                call.result()
            assert tags_of(plain.s3, bucket, "k") in ([], [("new", str(number))])


@pytest.mark.gateway
def test_tags_outlive_a_new_epoch(plain, site):
    bucket = plain.new_bucket()
    plain.s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging=encoded(TAGS))
    run(["keys", "new-epoch", "--config", site.config("tags-epoch"), "--bucket", bucket], env=site.env)
    assert tags_of(plain.s3, bucket, "k") == ascending(TAGS)
    stored = stored_tags(plain, bucket, "k")
    # The header sealed again under the new epoch; the tags as they were.
    plain.s3.copy_object(
        Bucket=bucket, Key="k", CopySource=copy_source(bucket, "k"), MetadataDirective="REPLACE", Metadata={"a": "1"}
    )
    put_tags(plain.at_store(), bucket, "k", dict(stored))
    assert tags_of(plain.s3, bucket, "k") == ascending(TAGS)


@pytest.mark.gateway
def test_the_policy_decides_as_for_objects(plain):
    bucket = plain.new_bucket()
    for key in ("open/k", "closed"):
        plain.s3.put_object(Bucket=bucket, Key=key, Body=b"x", Tagging="a=1")
    limited = plain.boto(access_key=LIMITED_ACCESS_KEY, secret_key=LIMITED_SECRET_KEY)
    assert tags_of(limited, bucket, "open/k") == [("a", "1")]
    put_tags(limited, bucket, "open/k", {"b": "2"})
    # Deleting tags is writing, not deleting: this principal may not delete.
    limited.delete_object_tagging(Bucket=bucket, Key="open/k")
    assert error_of(limited.delete_object, Bucket=bucket, Key="open/k") == "AccessDenied"
    for call, more in (
        ("get_object_tagging", {}),
        ("delete_object_tagging", {}),
        ("put_object_tagging", {"Tagging": {"TagSet": []}}),
    ):
        assert error_of(getattr(limited, call), Bucket=bucket, Key="closed", **more) == "AccessDenied"
    assert tags_of(plain.s3, bucket, "closed") == [("a", "1")]
    assert error_of(plain.s3.get_object_tagging, Bucket="no-such-bucket-0", Key="k") == "NoSuchBucket"


def set_tags(front, site, bucket, setting):
    """Changes the bucket's policy, and has the running gateway look at the keyring."""
    command = ["buckets", "set", bucket, "--tags", setting, "--config", site.config("tags-policy")]
    told = json.loads(run([*command, "--output", "json"], env=site.env).stdout)
    # A name that it does not know makes it look at once.
    assert error_of(front.s3.head_bucket, Bucket=f"{bucket}-none") == "404"
    return told["tags"]


@pytest.mark.gateway
def test_a_bucket_with_tags_in_clear(plain, site):
    bucket, store = plain.new_bucket(), plain.at_store()
    put = {"Bucket": bucket, "Body": b"x", "Tagging": encoded(TAGS)}
    plain.s3.put_object(Key="sealed", **put)
    assert set_tags(plain, site, bucket, "clear") == "clear"
    # As it is, both ways, and counted.
    plain.s3.put_object(Key="clear", **put)
    plain.s3.put_object(Bucket=bucket, Key="later", Body=b"x")
    put_tags(plain.s3, bucket, "later", TAGS)
    for key in ("clear", "later"):
        assert sorted(stored_tags(plain, bucket, key)) == sorted(TAGS.items())
        assert tags_of(plain.s3, bucket, key) == ascending(TAGS)
        assert plain.s3.head_object(Bucket=bucket, Key=key)["TagCount"] == len(TAGS)
        assert plain.s3.get_object(Bucket=bucket, Key=key)["TagCount"] == len(TAGS)
    put_tags(store, bucket, "clear", {"by": "the store"})
    assert tags_of(plain.s3, bucket, "clear") == [("by", "the store")]
    put_tags(store, bucket, "clear", TAGS)
    # What does not fit the seal fits here; the names of the format are refused here too.
    long = {str(number): "v" * 250 for number in range(10)}
    put_tags(plain.s3, bucket, "later", long)
    assert tags_of(plain.s3, bucket, "later") == ascending(long)
    assert error_of(put_tags, s3=plain.s3, bucket=bucket, key="later", tags={"sceaut1a": "x"}) == "InvalidTag"
    # Sealed ones from before are still read, and still verified.
    assert tags_of(plain.s3, bucket, "sealed") == ascending(TAGS)
    pieces = dict(stored_tags(plain, bucket, "sealed"))
    put_tags(store, bucket, "clear", pieces)
    refused(plain, bucket, "clear")
    put_tags(store, bucket, "clear", TAGS)
    # Copies into a bucket that seals, and back.
    sealing = plain.new_bucket()
    for source in ("sealed", "clear"):
        plain.s3.copy_object(Bucket=sealing, Key=source, CopySource=copy_source(bucket, source))
        assert all(PIECE.match(name) for name, _ in stored_tags(plain, sealing, source))
        plain.s3.copy_object(Bucket=bucket, Key="back", CopySource=copy_source(sealing, source))
        assert sorted(stored_tags(plain, bucket, "back")) == sorted(TAGS.items())
        assert tags_of(plain.s3, sealing, source) == tags_of(plain.s3, bucket, "back") == ascending(TAGS)
    copy = {"Bucket": sealing, "Key": "long", "CopySource": copy_source(bucket, "later")}
    assert error_of(plain.s3.copy_object, **copy) == "InvalidTag"
    assert error_of(plain.s3.head_object, Bucket=sealing, Key="long") == "404"
    # Sealed again: what was stored in clear is still read, until told otherwise.
    assert set_tags(plain, site, bucket, "sealed") == "once-clear"
    assert tags_of(plain.s3, bucket, "clear") == tags_of(plain.s3, bucket, "sealed") == ascending(TAGS)
    put_tags(plain.s3, bucket, "clear", TEN)
    assert all(PIECE.match(name) for name, _ in stored_tags(plain, bucket, "clear"))
    assert "TagCount" not in plain.s3.head_object(Bucket=bucket, Key="later")
    assert set_tags(plain, site, bucket, "sealed-only") == "sealed"
    refused(plain, bucket, "later")
    assert tags_of(plain.s3, bucket, "clear") == ascending(TEN)
    # Told again, and not believed for a bucket that has no tags in clear.
    assert set_tags(plain, site, bucket, "sealed") == "sealed"
    listed = run(["buckets", "list", "--config", site.config("tags-policy")], env=site.env).stdout
    assert f"{bucket}  " in listed and f"{sealing}  " in listed
    wrong = ["buckets", "set", f"{bucket}-none", "--tags", "clear", "--config", site.config("tags-policy")]
    assert run(wrong, env=site.env, check=False).returncode == 3


# The same story at the bare store and through the gateway.


def story(endpoint, bucket):
    """Statuses, codes and tag sets; what SeaweedFS does otherwise than S3 is in test_what_s3_refuses."""
    seen = []

    def call(method, key, query=(), headers=None, body=b""):
        answer = endpoint.send(method, f"/{bucket}/{key}", query, headers, body)
        tags = None
        if method == "GET" and answer.status == 200 and "tagging" in dict(query):
            root = xml.etree.ElementTree.fromstring(answer.body)
            plain = lambda element: element.tag.split("}")[-1]  # noqa: E731
            assert plain(root) == "Tagging" and [plain(child) for child in root] == ["TagSet"]
            tags = sorted(tuple(field.text or "" for field in tag) for tag in root[0])
        seen.append((method, key, str(query), answer.status, answer.code, tags))

    tagging = {"tagging": ""}
    document = b"<Tagging><TagSet><Tag><Key>z</Key><Value>1 /</Value></Tag></TagSet></Tagging>"
    call("PUT", "k", body=b"x")
    call("GET", "k", tagging)
    call("PUT", "k", tagging, body=document)
    call("GET", "k", tagging)
    call("PUT", "k", headers={"x-amz-tagging": "a=b+c&d=%C3%A9"}, body=b"y")
    call("GET", "k", tagging)
    for directive in ({}, {"x-amz-tagging-directive": "COPY"}, {"x-amz-tagging-directive": "REPLACE"},
                      {"x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "n=1"},
                      {"x-amz-tagging": "ignored=1"}):  # fmt: skip
        call("PUT", "copy", headers={"x-amz-copy-source": f"/{bucket}/k", **directive})
        call("GET", "copy", tagging)
    call("DELETE", "k", tagging)
    call("DELETE", "k", tagging)
    call("GET", "k", tagging)
    call("GET", "k")
    for method, body in (("GET", b""), ("PUT", document), ("DELETE", b"")):
        call(method, "none", tagging, body=body)
    return seen


@pytest.mark.gateway
def test_differential(plain):
    bucket, direct = plain.new_bucket(), f"d-{plain.new_bucket()}"
    store = plain.at_store()
    store.create_bucket(Bucket=direct)
    at_store = Endpoint(plain.store.url, plain.store.access_key, plain.store.secret_key)
    through, bare = story(Endpoint.of(plain), bucket), story(at_store, direct)
    assert through == bare
