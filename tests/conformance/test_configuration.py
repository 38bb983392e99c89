"""Promise: the documents about buckets and objects are those of the store, whoever set them.

How: each document is set and read directly at the store and through the gateway, in buckets of their
own; then what was set through the gateway is read at the store. What the store lacks is skipped by name,
once the gateway has answered as the store did.
"""

import hashlib

import pytest
from botocore.exceptions import ClientError
from harness.fronts import boto, error_of
from harness.gateway import LIMITED_ACCESS_KEY, LIMITED_SECRET_KEY
from harness.raw import Endpoint, md5

pytestmark = pytest.mark.gateway

POLICY = (
    '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"s3:DeleteBucket",'
    '"Resource":"arn:aws:s3:::BUCKET"}]}'
)
RULE = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 3}}
CORS = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://example.org"], "MaxAgeSeconds": 5}
BLOCK = {name: True for name in ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")}
SSE = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
# Name; the call that sets it, with its arguments; the calls that read and remove it.
DOCUMENTS = {
    "versioning": (
        "put_bucket_versioning",
        {"VersioningConfiguration": {"Status": "Enabled"}},
        "get_bucket_versioning",
        None,
    ),
    "lifecycle": (
        "put_bucket_lifecycle_configuration",
        {"LifecycleConfiguration": {"Rules": [RULE]}},
        "get_bucket_lifecycle_configuration",
        "delete_bucket_lifecycle",
    ),
    "cors": (
        "put_bucket_cors",
        {"CORSConfiguration": {"CORSRules": [CORS]}},
        "get_bucket_cors",
        "delete_bucket_cors",
    ),
    "tagging": (
        "put_bucket_tagging",
        {"Tagging": {"TagSet": [{"Key": "cost centre", "Value": "team+a:1"}]}},
        "get_bucket_tagging",
        "delete_bucket_tagging",
    ),
    "policy": ("put_bucket_policy", {"Policy": POLICY}, "get_bucket_policy", "delete_bucket_policy"),
    "acl": ("put_bucket_acl", {"ACL": "private"}, "get_bucket_acl", None),
    "ownership": (
        "put_bucket_ownership_controls",
        {"OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}},
        "get_bucket_ownership_controls",
        "delete_bucket_ownership_controls",
    ),
    "public access": (
        "put_public_access_block",
        {"PublicAccessBlockConfiguration": BLOCK},
        "get_public_access_block",
        "delete_public_access_block",
    ),
    "encryption": (
        "put_bucket_encryption",
        {"ServerSideEncryptionConfiguration": SSE},
        "get_bucket_encryption",
        "delete_bucket_encryption",
    ),
    "website": (
        "put_bucket_website",
        {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}},
        "get_bucket_website",
        "delete_bucket_website",
    ),
    "notification": (
        "put_bucket_notification_configuration",
        {"NotificationConfiguration": {}},
        "get_bucket_notification_configuration",
        None,
    ),
    "accelerate": (
        "put_bucket_accelerate_configuration",
        {"AccelerateConfiguration": {"Status": "Suspended"}},
        "get_bucket_accelerate_configuration",
        None,
    ),
    "payment": (
        "put_bucket_request_payment",
        {"RequestPaymentConfiguration": {"Payer": "BucketOwner"}},
        "get_bucket_request_payment",
        None,
    ),
    "metrics": (
        "put_bucket_metrics_configuration",
        {"Id": "all", "MetricsConfiguration": {"Id": "all"}},
        "list_bucket_metrics_configurations",
        None,
    ),
}


def call(s3, name, bucket, **arguments):
    """Status, error code and fields of an answer."""
    arguments = {key: value.replace("BUCKET", bucket) if key == "Policy" else value for key, value in arguments.items()}
    try:
        answer = getattr(s3, name)(Bucket=bucket, **arguments)
    except ClientError as error:
        answer = error.response
    meta = answer.pop("ResponseMetadata")
    if "Error" in answer:
        return meta["HTTPStatusCode"], answer["Error"]["Code"], {}
    # Some stores repeat the bucket's name in the document.
    if "Policy" in answer:
        answer["Policy"] = answer["Policy"].replace(bucket, "BUCKET")
    return meta["HTTPStatusCode"], None, answer


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_set_read_and_removed(plain, name):
    setter, arguments, getter, remover = DOCUMENTS[name]
    bucket, direct_bucket = plain.new_bucket("c"), f"d-{plain.new_bucket('c')}"
    store = plain.at_store()
    store.create_bucket(Bucket=direct_bucket)

    def tell(s3, bucket):
        told = [call(s3, getter, bucket), call(s3, setter, bucket, **arguments), call(s3, getter, bucket)]
        return told, bucket

    direct, _ = tell(store, direct_bucket)
    gateway, _ = tell(plain.s3, bucket)
    if gateway[1][0] == 501:
        # SeaweedFS takes an unknown PUT for CreateBucket, and an unknown DELETE for DeleteBucket.
        assert direct[1][0] in (409, 501)
        assert gateway[0] == gateway[2] == direct[0]
        if remover:
            assert call(plain.s3, remover, bucket)[0] in (204, 501)
        plain.s3.put_object(Bucket=bucket, Key="k", Body=b"still here")
        pytest.skip(f"the store does not know this document; it says {direct[1][:2]} when one is set")
    assert gateway == direct
    # Set through the gateway, read at the store.
    assert call(store, getter, bucket) == gateway[-1]
    if remover:
        assert call(plain.s3, remover, bucket) == call(store, remover, direct_bucket)
        assert call(plain.s3, getter, bucket) == call(store, getter, direct_bucket)
        assert call(store, getter, bucket) == call(store, getter, direct_bucket)
        # Once more, with nothing left to remove; and the bucket is still there.
        assert call(plain.s3, remover, bucket)[0] in (204, 404)
        plain.s3.put_object(Bucket=bucket, Key="k", Body=b"still here")
    if direct[1][1] is not None:
        pytest.skip(f"the store does not take this document ({direct[1][0]} {direct[1][1]}); the gateway says the same")


@pytest.mark.parametrize("name", ["acl", "retention", "legal_hold"])
def test_documents_of_an_object(plain, name):
    store = plain.at_store()
    buckets = []
    for s3, label in ((plain.s3, "g"), (store, "d")):
        bucket = f"{label}-{plain.new_bucket('x')}"
        try:
            s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=name != "acl")
        except ClientError as error:
            pytest.skip(f"the store has no Object Lock: {error}")
        buckets.append(bucket)
    told = []
    for s3, bucket in zip((plain.s3, store), buckets, strict=True):
        seen = []
        put = s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
        if name == "acl":
            seen.append(call(s3, "put_object_acl", bucket, Key="k", ACL="private"))
            seen.append(call(s3, "get_object_acl", bucket, Key="k"))
            seen.append(s3.get_object(Bucket=bucket, Key="k")["Body"].read())
        else:
            seen.append(call(s3, "get_object_lock_configuration", bucket))
            hold = {"LegalHold": {"Status": "ON"}}
            until = {"Retention": {"Mode": "GOVERNANCE", "RetainUntilDate": "2099-01-01T00:00:00Z"}}
            seen.append(call(s3, f"put_object_{name}", bucket, Key="k", **(hold if name == "legal_hold" else until)))
            seen.append(call(s3, f"get_object_{name}", bucket, Key="k"))
            version = {"Key": "k", "VersionId": put["VersionId"]}
            seen.append(call(s3, f"get_object_{name}", bucket, **version))
            # It holds.
            seen.append(call(s3, "delete_object", bucket, **version)[:2])
            seen.append(s3.get_object(Bucket=bucket, Key="k")["Body"].read())
            if name == "legal_hold":
                seen.append(call(s3, "put_object_legal_hold", bucket, Key="k", LegalHold={"Status": "OFF"}))
        told.append(seen)
    assert told[0] == told[1]


def test_only_who_may_configure_does(plain):
    bucket = plain.new_bucket("c")
    plain.s3.put_object(Bucket=bucket, Key="open/k", Body=b"x")
    limited = plain.boto(access_key=LIMITED_ACCESS_KEY, secret_key=LIMITED_SECRET_KEY)
    refused = [
        (limited.get_bucket_versioning, {}),
        (limited.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Enabled"}}),
        (limited.put_bucket_policy, {"Policy": "{}"}),
        (limited.delete_bucket_lifecycle, {}),
        (limited.get_object_acl, {"Key": "open/k"}),
        (limited.put_object_acl, {"Key": "open/k", "ACL": "public-read"}),
        (limited.list_object_versions, {}),
    ]
    for method, arguments in refused:
        assert error_of(method, Bucket=bucket, **arguments) == "AccessDenied", method
    assert "Status" not in plain.at_store().get_bucket_versioning(Bucket=bucket)


def test_buckets_that_are_not_ours_have_no_documents(plain, site):
    foreign = f"foreign-{plain.new_bucket('x')}"
    plain.at_store().create_bucket(Bucket=foreign)
    for bucket in (foreign, site.control_bucket, "no-such-bucket-0"):
        assert error_of(plain.s3.get_bucket_versioning, Bucket=bucket) == "NoSuchBucket"
        status = {"Status": "Enabled"}
        assert error_of(plain.s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=status) == "NoSuchBucket"
        assert error_of(plain.s3.list_object_versions, Bucket=bucket) == "NoSuchBucket"
    assert "Status" not in plain.at_store().get_bucket_versioning(Bucket=site.control_bucket)


def test_no_document_names_the_control_bucket(plain, site):
    bucket, control = plain.new_bucket("c"), site.control_bucket
    log = {"LoggingEnabled": {"TargetBucket": control, "TargetPrefix": "x"}}
    assert error_of(plain.s3.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=log) == "InvalidRequest"
    rule = {"Status": "Enabled", "Prefix": "", "Destination": {"Bucket": f"arn:aws:s3:::{control}"}}
    copy = {"Role": "arn:aws:iam::1:role/r", "Rules": [rule]}
    assert error_of(plain.s3.put_bucket_replication, Bucket=bucket, ReplicationConfiguration=copy) == "InvalidRequest"


def test_a_damaged_document_does_not_reach_the_store(plain):
    bucket, endpoint = plain.new_bucket("c"), Endpoint.of(plain)
    body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    other = hashlib.sha256(b"").hexdigest()

    def put(body, headers=None, **options):
        return endpoint.send("PUT", f"/{bucket}", {"versioning": ""}, headers, body, **options).code

    assert put(body, {"content-md5": md5(b"other")}) == "BadDigest"
    assert put(body, {"x-amz-checksum-crc32": "AAAAAA=="}) == "BadDigest"
    assert put(body, payload=other) == "XAmzContentSHA256Mismatch"
    assert put(body[:-3]) == "MalformedXML"
    assert put(body + b" " * 1024 * 1024) in ("MaxMessageLengthExceeded", "EntityTooLarge")
    assert "Status" not in plain.at_store().get_bucket_versioning(Bucket=bucket)
    assert put(body) is None
    assert plain.at_store().get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def test_what_would_put_content_into_the_store_is_refused_by_name(plain):
    bucket, endpoint = plain.new_bucket("c"), Endpoint.of(plain)
    plain.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    calls = [
        ("PutObjectAnnotation", "PUT", "k", {"annotation": "", "annotationName": "n"}),
        ("SelectObjectContent", "POST", "k", {"select": "", "select-type": "2"}),
        ("GetObjectTorrent", "GET", "k", {"torrent": ""}),
        ("RestoreObject", "POST", "k", {"restore": ""}),
        ("RenameObject", "PUT", "k", {"renameObject": ""}),
        ("CreateSession", "GET", "", {"session": ""}),
        ("CreateBucketMetadataConfiguration", "POST", "", {"metadataConfiguration": ""}),
    ]
    for name, method, key, query in calls:
        answer = endpoint.send(method, f"/{bucket}/{key}".rstrip("/"), query)
        assert answer.status == 501 and name.encode() in answer.body, name
    for query in ({"append": "", "position": "0"}, {"acl": "", "somethingNew": ""}):
        assert endpoint.send("PUT", f"/{bucket}/k", query, body=b"x").status == 501
    headers = {"x-amz-write-offset-bytes": "1"}
    assert endpoint.send("PUT", f"/{bucket}/k", headers=headers, body=b"x").status == 501


def test_removing_what_the_store_lacks_does_not_remove_the_bucket(plain):
    """SeaweedFS 4.48 deletes the bucket at `DELETE /bucket?website`, and so may others."""
    bucket, endpoint = plain.new_bucket("c"), Endpoint.of(plain)
    names = ["analytics", "intelligent-tiering", "inventory", "metrics"]
    queries = [{name: "", "id": "x"} for name in names]
    names = ["cors", "encryption", "lifecycle", "ownershipControls", "policy", "publicAccessBlock", "replication"]
    queries += [{name: ""} for name in [*names, "tagging", "website"]]
    for query in queries:
        answer = endpoint.send("DELETE", f"/{bucket}", query)
        assert answer.status in (204, 404, 501), (query, answer)
        assert plain.at_store().head_bucket(Bucket=bucket), query
    plain.s3.put_object(Bucket=bucket, Key="k", Body=b"still here")


def test_the_development_store_lacks_documents_and_says_so(dev):
    s3 = boto(dev.url, dev.access_key, dev.secret_key)
    s3.create_bucket(Bucket="documents-of-dev")
    for setter, arguments, getter, remover in DOCUMENTS.values():
        status, code, found = call(s3, getter, "documents-of-dev")
        # It does say that it has no versions.
        assert (status, code) == (501, "NotImplemented") or (getter, found) == ("get_bucket_versioning", {})
        if remover:
            assert call(s3, remover, "documents-of-dev")[0] == 501, remover
        status, code, _ = call(s3, setter, "documents-of-dev", **arguments)
        assert (status, code) == (501, "NotImplemented"), setter
