"""Versions and delete markers."""

from harness.differential import add, case, fixture

from .bodies import BODY, OTHER_TAG, delete_document, delete_many, element, tag_of

ENABLED = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
SUSPENDED = ENABLED.replace(b"Enabled", b"Suspended")


@fixture("versions")
@fixture("version listing")
def enable(side):
    side("enable", "PUT", query={"versioning": ""}, body=ENABLED)


@fixture("version listing")
def fill(side):
    for round in range(2):
        for key in ("a", "b/one", "b/two", "c d"):
            side(f"put {key} {round}", "PUT", key, body=key.encode() * (round + 1) * 9000)
    side("delete", "DELETE", "b/one")
    side("put last", "PUT", "z", body=b"z")


def put(side, body, key="k", step="put", **headers):
    return side(step, "PUT", key, headers=headers.get("headers"), body=body).headers.get("x-amz-version-id", "none")


@case("versions", bucket="versions")
def read_both(side):
    first, second = put(side, b"first"), put(side, b"the second", step="put again")
    side("latest", "GET", "k", gives=b"the second")
    side("first", "GET", "k", {"versionId": first}, gives=b"first")
    side("second", "GET", "k", {"versionId": second}, gives=b"the second")
    side("head first", "HEAD", "k", {"versionId": first}, shows={"content-length": "5"})


@case("versions", bucket="versions")
def ranges_of_an_old_one(side):
    first = put(side, BODY)
    put(side, b"second", step="put again")
    side("range", "GET", "k", {"versionId": first}, {"range": "bytes=5-9"}, says=206, gives=BODY[5:10])
    side("suffix", "GET", "k", {"versionId": first}, {"range": "bytes=-5"}, says=206, gives=BODY[-5:])


@case("versions", bucket="versions")
def metadata_of_an_old_one(side):
    first = put(side, b"1", headers={"x-amz-meta-one": "1"})
    put(side, b"2", step="put again", headers={"x-amz-meta-one": "2"})
    side("head", "HEAD", "k", {"versionId": first}, shows={"x-amz-meta-one": "1"})
    side("latest", "HEAD", "k", shows={"x-amz-meta-one": "2"})


@case("versions", bucket="versions")
def conditions_on_an_old_one(side):
    tag = tag_of(side("put", "PUT", "k", body=b"first"))
    first = side("head", "HEAD", "k").headers.get("x-amz-version-id", "none")
    put(side, b"second", step="put again")
    side("match", "GET", "k", {"versionId": first}, {"if-match": tag}, gives=b"first")
    side("none match", "GET", "k", {"versionId": first}, {"if-none-match": tag}, says="NotModified")
    side("match latest", "GET", "k", headers={"if-match": tag}, says="PreconditionFailed")


@case("versions", bucket="versions")
def delete_and_restore(side):
    put(side, b"1")
    marker = side("delete", "DELETE", "k", shows={"x-amz-delete-marker": "true"}).headers.get("x-amz-version-id", "none")
    side("gone", "GET", "k", says="NoSuchKey", shows={"x-amz-delete-marker": "true"})
    side("head gone", "HEAD", "k", says="NoSuchKey")
    side("delete marker", "DELETE", "k", {"versionId": marker})
    side("back", "GET", "k", gives=b"1")


@case("versions", bucket="versions")
def read_a_marker(side):
    put(side, b"1")
    marker = side("delete", "DELETE", "k").headers.get("x-amz-version-id", "none")
    side("get", "GET", "k", {"versionId": marker}, says="MethodNotAllowed")
    side("head", "HEAD", "k", {"versionId": marker}, says="MethodNotAllowed")


@case("versions", bucket="versions")
def delete_the_latest_for_good(side):
    put(side, b"1")
    second = put(side, b"2", step="put again")
    side("delete", "DELETE", "k", {"versionId": second})
    side("get", "GET", "k", gives=b"1")
    side("get deleted", "GET", "k", {"versionId": second}, says="NoSuchVersion")


@case("versions", bucket="versions")
def delete_an_old_one(side):
    first = put(side, b"1")
    put(side, b"2", step="put again")
    side("delete", "DELETE", "k", {"versionId": first})
    side("get", "GET", "k", gives=b"2")
    side("get deleted", "GET", "k", {"versionId": first}, says="NoSuchVersion")


@case("versions", bucket="versions")
def delete_what_is_not_there(side):
    side("delete", "DELETE", "none", shows={"x-amz-delete-marker": "true"})


@case("versions", bucket="versions")
def put_after_a_marker(side):
    put(side, b"1")
    side("delete", "DELETE", "k")
    put(side, b"2", step="put again")
    side("get", "GET", "k", gives=b"2")


@case("versions", bucket="versions")
def unknown_id(side):
    put(side, b"1")
    side("get", "GET", "k", {"versionId": "nonsense"}, says=("InvalidArgument", "NoSuchVersion"))
    side("delete", "DELETE", "k", {"versionId": "nonsense"}, says=("InvalidArgument", 204))
    side("still there", "GET", "k", gives=b"1")


@case("versions", bucket="versions")
def null_that_is_not_there(side):
    put(side, b"1")
    side("get", "GET", "k", {"versionId": "null"}, says="NoSuchVersion")


@case("versions", bucket="versions")
def empty_id(side):
    put(side, b"1")
    side("get", "GET", "k", {"versionId": ""}, says="InvalidArgument")


@case("versions", bucket="versions")
def copy_an_old_one(side):
    first = put(side, b"first", headers={"x-amz-meta-one": "1"})
    put(side, b"second", step="put again")
    side("copy", "PUT", "copy", headers={"x-amz-copy-source": side.source("k", first)})
    side("get", "GET", "copy", gives=b"first", shows={"x-amz-meta-one": "1"})


@case("versions", bucket="versions")
def restore_an_old_one_over_the_latest(side):
    first = put(side, b"first")
    put(side, b"second", step="put again")
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("k", first)})
    side("get", "GET", "k", gives=b"first")


@case("versions", bucket="versions")
def copy_of_a_deleted_object(side):
    put(side, b"first")
    side("delete", "DELETE", "k")
    side("copy", "PUT", "copy", headers={"x-amz-copy-source": side.source("k")}, says="NoSuchKey")


@case("versions", bucket="versions")
def copy_of_an_unknown_version(side):
    put(side, b"first")
    side("copy", "PUT", "copy", headers={"x-amz-copy-source": side.source("k", "nonsense")}, says=("InvalidArgument", "NoSuchVersion"))


@case("versions", bucket="versions")
def part_of_an_old_one(side):
    first = put(side, BODY)
    put(side, b"second", step="put again")
    upload = element(side("create", "POST", "copy", {"uploads": ""}), "UploadId")
    headers = {"x-amz-copy-source": side.source("k", first), "x-amz-copy-source-range": "bytes=1-5"}
    side("part", "PUT", "copy", {"partNumber": "1", "uploadId": upload}, headers)
    side("abort", "DELETE", "copy", {"uploadId": upload})


@case("versions", bucket="versions")
def uploads_make_versions(side):
    put(side, b"old")
    upload = element(side("create", "POST", "k", {"uploads": ""}), "UploadId")
    tag = tag_of(side("part", "PUT", "k", {"partNumber": "1", "uploadId": upload}, body=BODY))
    body = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    side("complete", "POST", "k", {"uploadId": upload}, body=body.encode())
    made = side("head", "HEAD", "k").headers.get("x-amz-version-id", "none")
    side("get", "GET", "k", {"versionId": made}, gives=BODY)


@case("versions", bucket="versions")
def conditional_write_after_a_marker(side):
    put(side, b"1")
    side("delete", "DELETE", "k")
    side("create", "PUT", "k", headers={"if-none-match": "*"}, body=b"2")
    side("again", "PUT", "k", headers={"if-none-match": "*"}, body=b"3", says="PreconditionFailed")
    side("match another", "PUT", "k", headers={"if-match": OTHER_TAG}, body=b"4", says="PreconditionFailed")


@case("versions", bucket="versions")
def many_with_ids(side):
    first, second = put(side, b"1"), put(side, b"2", step="put again")
    items = [f"<Key>{side.key('k')}</Key><VersionId>{version}</VersionId>" for version in (first, second)]
    delete_many(side, "delete", delete_document(items))
    side("gone", "GET", "k", says="NoSuchKey")


@case("versions", bucket="versions")
def many_make_markers(side):
    put(side, b"1")
    delete_many(side, "delete", delete_document([f"<Key>{side.key('k')}</Key>"]))
    side("gone", "GET", "k", says="NoSuchKey")


@case("versions", bucket="own")
def suspended(side):
    put(side, b"before")
    side("enable", "PUT", query={"versioning": ""}, body=ENABLED)
    put(side, b"versioned", step="put versioned")
    side("suspend", "PUT", query={"versioning": ""}, body=SUSPENDED)
    put(side, b"after", step="put after")
    side("get", "GET", "k", gives=b"after")
    side("null", "GET", "k", {"versionId": "null"}, gives=b"after")
    side("versions", "GET", query={"versions": ""})
    side("delete", "DELETE", "k")
    side("gone", "GET", "k", says="NoSuchKey")
    side("status", "GET", query={"versioning": ""})


@case("versions", bucket="own")
def null_version_of_before(side):
    put(side, b"before")
    side("enable", "PUT", query={"versioning": ""}, body=ENABLED)
    put(side, b"after", step="put after")
    side("null", "GET", "k", {"versionId": "null"}, gives=b"before")
    side("delete null", "DELETE", "k", {"versionId": "null"})
    side("latest", "GET", "k", gives=b"after")


@case("versions", bucket="own")
def configuration_documents(side):
    side("never set", "GET", query={"versioning": ""})
    side("wrong", "PUT", query={"versioning": ""}, body=ENABLED.replace(b"Enabled", b"On"), says=400)
    side("damaged", "PUT", query={"versioning": ""}, body=b"<VersioningConfiguration>", says="MalformedXML")
    side("enable", "PUT", query={"versioning": ""}, body=ENABLED)
    side("get", "GET", query={"versioning": ""})


LISTINGS = {
    "all": {},
    "url coding": {"encoding-type": "url"},
    "prefix": {"prefix": "b/"},
    "delimiter": {"delimiter": "/"},
    "prefix and delimiter": {"prefix": "b/", "delimiter": "/"},
    "two": {"max-keys": "2"},
    "none": {"max-keys": "0"},
    "after a name": {"key-marker": "b/one"},
    "of nothing": {"prefix": "nothing"},
}


def listing(query, says=200):
    def tell(side):
        side("versions", "GET", query={"versions": "", **query}, says=says)

    return tell


for label, query in LISTINGS.items():
    add("listings of versions", label, listing(query), "version listing")
add("listings of versions", "wrong number", listing({"max-keys": "x"}, "InvalidArgument"), "version listing")
add("listings of versions", "id without a name", listing({"version-id-marker": "x"}, "InvalidArgument"), "version listing")
add("listings of versions", "of a bucket without versions", listing({}), "listing")
add("listings of versions", "of an empty bucket", listing({}), "empty")


@case("listings of versions", bucket="version listing")
def pages(side):
    marker = {}
    for number in range(12):
        answer = side(f"page {number}", "GET", query={"versions": "", "max-keys": "2", **marker})
        if b"<IsTruncated>true" not in answer.body:
            break
        marker = {"key-marker": element(answer, "NextKeyMarker")}
        if element(answer, "NextVersionIdMarker"):
            marker["version-id-marker"] = element(answer, "NextVersionIdMarker")


@case("listings of versions", bucket="version listing")
def plain_listing_shows_the_latest(side):
    side("list", "GET", query={"list-type": "2"})
