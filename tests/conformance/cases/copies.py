"""Copies inside the store: directives, conditions, sources."""

from harness.differential import add, case
from harness.raw import quote

from .bodies import BODY, FUTURE, OTHER_TAG, PAST, PART, element, tag_of

META = {"x-amz-meta-one": "1", "content-type": "text/x-one", "cache-control": "max-age=1"}
FAILED = "PreconditionFailed"


def put(side, key="source", body=BODY, headers=META):
    return tag_of(side(f"put {key}", "PUT", key, headers=headers, body=body))


@case("copies")
def keeps_data_and_metadata(side):
    put(side)
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source")})
    side("get", "GET", "k", gives=BODY, shows=META)
    side("source", "GET", "source", gives=BODY, shows=META)


def directive(value, sent, shows, says=200):
    def tell(side):
        put(side)
        headers = {"x-amz-copy-source": side.source("source"), "x-amz-metadata-directive": value, **sent}
        side("copy", "PUT", "k", headers=headers, says=says)
        if says == 200:
            side("get", "GET", "k", gives=BODY, shows=shows)

    return tell


add("copies", "directive COPY", directive("COPY", {}, META))
add("copies", "directive COPY ignores what is sent", directive("COPY", {"x-amz-meta-two": "2", "content-type": "text/x-two"}, META))
add("copies", "directive REPLACE", directive("REPLACE", {"x-amz-meta-two": "2"}, {"x-amz-meta-two": "2", "x-amz-meta-one": None}))
add("copies", "directive REPLACE with headers", directive("REPLACE", {"content-type": "text/x-two", "cache-control": "no-store"},
    {"content-type": "text/x-two", "cache-control": "no-store"}))  # fmt: skip
add("copies", "directive REPLACE with nothing", directive("REPLACE", {}, {"x-amz-meta-one": None, "cache-control": None}))
add("copies", "directive that is none", directive("OTHER", {}, {}, "InvalidArgument"))
add("copies", "directive in lower case", directive("replace", {}, {}, "InvalidArgument"))


@case("copies")
def onto_itself(side):
    put(side, "k")
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("k")}, says="InvalidRequest")
    side("get", "GET", "k", gives=BODY, shows=META)


@case("copies")
def onto_itself_with_new_metadata(side):
    put(side, "k")
    headers = {"x-amz-copy-source": side.source("k"), "x-amz-metadata-directive": "REPLACE", "x-amz-meta-two": "2"}
    side("copy", "PUT", "k", headers=headers)
    side("get", "GET", "k", gives=BODY, shows={"x-amz-meta-two": "2", "x-amz-meta-one": None})


@case("copies")
def over_another_object(side):
    put(side)
    put(side, "k", b"old")
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source")})
    side("get", "GET", "k", gives=BODY)


@case("copies")
def of_nothing(side):
    put(side, body=b"")
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source")})
    side("get", "GET", "k", gives=b"", shows=META)


@case("copies")
def of_an_upload(side):
    upload = element(side("create", "POST", "source", {"uploads": ""}, {"x-amz-meta-one": "1"}), "UploadId")
    entries = ""
    for number, body in ((1, PART), (2, BODY)):
        tag = tag_of(side(f"part {number}", "PUT", "source", {"partNumber": str(number), "uploadId": upload}, body=body))
        entries += f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{entries}</CompleteMultipartUpload>".encode()
    side("complete", "POST", "source", {"uploadId": upload}, body=body)
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source")})
    side("get", "GET", "k", gives=PART + BODY, shows={"x-amz-meta-one": "1"})
    side("range", "GET", "k", headers={"range": "bytes=5242870-5242890"}, says=206, gives=(PART + BODY)[5_242_870:5_242_891])


@case("copies")
def of_a_copy(side):
    put(side)
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source")})
    side("copy of it", "PUT", "l", headers={"x-amz-copy-source": side.source("k")})
    side("delete", "DELETE", "k")
    side("get", "GET", "l", gives=BODY, shows=META)


def conditional(headers, says):
    def tell(side):
        tag = put(side)
        sent = {f"x-amz-copy-source-{name}": value.replace("TAG", tag).replace("BARE", tag.strip('"')) for name, value in headers.items()}
        side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source"), **sent}, says=says)
        side("get", "GET", "k", says=(200, "NoSuchKey") if isinstance(says, tuple) else 200 if says == 200 else "NoSuchKey")

    return tell


for label, headers, says in [
    ("if-match same", {"if-match": "TAG"}, 200),
    ("if-match without quotes", {"if-match": "BARE"}, 200),
    ("if-match other", {"if-match": OTHER_TAG}, FAILED),
    ("if-none-match same", {"if-none-match": "TAG"}, FAILED),
    ("if-none-match other", {"if-none-match": OTHER_TAG}, 200),
    ("if-modified-since past", {"if-modified-since": PAST}, 200),
    ("if-modified-since future", {"if-modified-since": FUTURE}, (200, FAILED)),
    ("if-unmodified-since past", {"if-unmodified-since": PAST}, FAILED),
    ("if-unmodified-since future", {"if-unmodified-since": FUTURE}, 200),
    ("if-match and if-unmodified-since past", {"if-match": "TAG", "if-unmodified-since": PAST}, 200),
    ("if-none-match and if-modified-since past", {"if-none-match": "TAG", "if-modified-since": PAST}, FAILED),
]:
    add("copies", label, conditional(headers, says))


def source_like(make, says=200):
    def tell(side):
        put(side)
        side("copy", "PUT", "k", headers={"x-amz-copy-source": make(side)}, says=says)
        side("get", "GET", "k", says=200 if says == 200 else "NoSuchKey")

    return tell


for label, make, says in [
    ("source without a slash", lambda side: side.source("source").removeprefix("/"), 200),
    ("source wholly encoded", lambda side: quote(f"/{side.bucket}/{side.key('source')}"), 200),
    ("source of a missing object", lambda side: side.source("none"), "NoSuchKey"),
    ("source of a missing bucket", lambda side: side.source("source", bucket="no-such-bucket-0"), "NoSuchBucket"),
    ("source without a name", lambda side: f"/{side.bucket}", "InvalidArgument"),
    ("source with an empty name", lambda side: f"/{side.bucket}/", "InvalidArgument"),
    ("source that is nothing", lambda side: "x", "InvalidArgument"),
    ("source that is a slash", lambda side: "/", "InvalidArgument"),
]:
    add("copies", label, source_like(make, says))


def named(key):
    def tell(side):
        put(side, key)
        side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source(key)})
        side("get", "GET", "k", gives=BODY)
        side("back", "PUT", key, headers={"x-amz-copy-source": side.source("k")})
        side("get back", "GET", key, gives=BODY)

    return tell


for label, key in {"umlaut": "ü/ß", "blank": "a b", "plus": "a+b", "percent": "100%", "question mark": "a?b", "emoji": "😀", "equals": "a=b&c"}.items():
    add("copies", f"source name with {label}", named(key))


@case("copies")
def to_a_missing_bucket(side):
    put(side)
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source")}, bucket="no-such-bucket-0", says="NoSuchBucket")


@case("copies")
def with_a_body(side):
    put(side)
    side("copy", "PUT", "k", headers={"x-amz-copy-source": side.source("source"), "x-amz-storage-class": "STANDARD"})
    side("get", "GET", "k", gives=BODY)
