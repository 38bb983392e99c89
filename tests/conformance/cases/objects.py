"""Putting, getting and removing objects; their headers; headers of the answer that a request overrides."""

from harness.differential import add, case

from .bodies import BODY

HEADERS = {
    "content-type": "text/x-one",
    "cache-control": "max-age=1",
    "content-disposition": "inline",
    "content-language": "de",
    "content-encoding": "x-none",
    "expires": "Thu, 01 Dec 2033 16:00:00 GMT",
}


@case("objects")
def put_get_head(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", gives=BODY)
    side("head", "HEAD", "k", shows={"content-length": str(len(BODY))})


@case("objects")
def overwrite(side):
    side("put", "PUT", "k", headers={"x-amz-meta-one": "1"}, body=BODY)
    side("again", "PUT", "k", body=b"second")
    side("get", "GET", "k", gives=b"second", shows={"x-amz-meta-one": None})


@case("objects")
def put_after_delete(side):
    side("put", "PUT", "k", body=b"1")
    side("delete", "DELETE", "k")
    side("gone", "GET", "k", says="NoSuchKey")
    side("put again", "PUT", "k", body=b"2")
    side("get", "GET", "k", gives=b"2")


@case("objects")
def delete_twice(side):
    side("put", "PUT", "k", body=b"1")
    side("delete", "DELETE", "k")
    side("again", "DELETE", "k")
    side("head", "HEAD", "k", says="NoSuchKey")


@case("objects")
def folder_marker_and_what_is_in_it(side):
    side("marker", "PUT", "folder/")
    side("inside", "PUT", "folder/a", body=b"a")
    side("get marker", "GET", "folder/", gives=b"")
    side("delete marker", "DELETE", "folder/")
    side("get inside", "GET", "folder/a", gives=b"a")


@case("objects")
def object_and_folder_of_one_name(side):
    side("object", "PUT", "a", body=b"object")
    side("below", "PUT", "a/b", body=b"below")
    side("get object", "GET", "a", gives=b"object")
    side("get below", "GET", "a/b", gives=b"below")


def sized(size):
    def tell(side):
        body = (BODY * (size // len(BODY) + 1))[:size]
        side("put", "PUT", "k", body=body)
        side("get", "GET", "k", gives=body)
        side("head", "HEAD", "k", shows={"content-length": str(size)})

    return tell


for size in (0, 1, 2, 15, 16, 17, 65_503, 65_504, 65_535, 65_536, 65_537, 131_071, 131_072, 131_073, 1_048_576, 6_000_000):
    add("objects", f"size {size}", sized(size))


def header(name, value):
    def tell(side):
        side("put", "PUT", "k", headers={name: value}, body=b"x")
        side("get", "GET", "k", shows={name: value})
        side("head", "HEAD", "k", shows={name: value})

    return tell


for name, value in HEADERS.items():
    add("headers", f"put {name}", header(name, value))
for label, value in {
    "with charset": "text/html; charset=utf-8",
    "without slash": "nonsense",
    "json": "application/json",
    "multipart": 'multipart/mixed; boundary="x y"',
}.items():
    add("headers", f"content-type {label}", header("content-type", value))
for label, value in {
    "file name": 'attachment; filename="a b.txt"',
    "long": "attachment; filename=" + "x" * 200,
    "percent": "attachment; filename*=UTF-8''%e2%82%ac.txt",
}.items():
    add("headers", f"content-disposition {label}", header("content-disposition", value))
for label, value in {"gzip": "gzip", "two codings": "gzip,br"}.items():
    add("headers", f"content-encoding {label}", header("content-encoding", value))
for label, value in {"text": "next tuesday", "zero": "0"}.items():
    add("headers", f"expires {label}", header("expires", value))
add("headers", "cache-control several", header("cache-control", "no-cache, no-store, max-age=0"))


@case("headers")
def all_content_headers(side):
    side("put", "PUT", "k", headers=HEADERS, body=BODY)
    side("get", "GET", "k", shows=HEADERS)
    side("head", "HEAD", "k", shows=HEADERS)


@case("headers")
def default_content_type(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", shows={"content-type": "binary/octet-stream"})


@case("headers")
def aws_chunked_is_not_kept(side):
    side("put", "PUT", "k", headers={"content-encoding": "aws-chunked"}, body=b"x")
    side("get", "GET", "k", shows={"content-encoding": None})


@case("headers")
def website_redirect(side):
    there = {"x-amz-website-redirect-location": "/other"}
    side("put", "PUT", "k", headers=there, body=b"x")
    side("head", "HEAD", "k", shows=there)


def metadata(**values):
    def tell(side):
        headers = {f"x-amz-meta-{name.replace('_', '-')}": value for name, value in values.items()}
        side("put", "PUT", "k", headers=headers, body=b"x")
        side("get", "GET", "k", shows=headers)
        side("head", "HEAD", "k", shows=headers)

    return tell


for label, values in {
    "one": {"one": "1"},
    "two": {"one": "1", "two": "2"},
    "twenty": {f"name{number}": str(number) for number in range(20)},
    "blanks inside": {"one": "a b c"},
    "punctuation": {"one": "a;b,c=d\"e'f<g>&h"},
    "percent": {"one": "%41%zz"},
    "long value": {"one": "v" * 1000},
    "long name": {"n" * 100: "1"},
    "dashes": {"one_two_three": "1"},
    "digits": {"1": "1"},
    "base64": {"one": "AAECAwQFBgc="},
    "looks encoded": {"one": "=?UTF-8?Q?=C3=A4?="},
    "etag like": {"etag": "d41d8cd98f00b204e9800998ecf8427e"},
    "md5chksum": {"md5chksum": "1B2M2Y8AsgTpgAmY7PhCfg=="},
}.items():
    add("metadata", label, metadata(**values))


@case("metadata")
def empty_value(side):
    side("put", "PUT", "k", headers={"x-amz-meta-one": ""}, body=b"x")
    side("head", "HEAD", "k", shows={"x-amz-meta-one": ""})


@case("metadata")
def of_a_folder_marker(side):
    side("put", "PUT", "k/", headers={"x-amz-meta-one": "1"}, body=b"x")
    side("head", "HEAD", "k/", shows={"x-amz-meta-one": "1"})


@case("metadata")
def upper_case_name(side):
    side("put", "PUT", "k", headers={"X-Amz-Meta-One": "Value"}, body=b"x")
    side("head", "HEAD", "k", shows={"x-amz-meta-one": "Value"})


@case("metadata")
def white_space_around(side):
    side("put", "PUT", "k", headers={"x-amz-meta-one": "  a  b  "}, body=b"x")
    side("head", "HEAD", "k", shows={"x-amz-meta-one": "a  b"})


@case("metadata")
def too_large(side):
    headers = {f"x-amz-meta-{number}": "v" * 1000 for number in range(3)}
    side("put", "PUT", "k", headers=headers, body=b"x", says="MetadataTooLarge")
    side("head", "HEAD", "k", says="NoSuchKey")


@case("metadata")
def nearly_two_kilobytes(side):
    side("put", "PUT", "k", headers={"x-amz-meta-one": "v" * 1900}, body=b"x")
    side("head", "HEAD", "k", shows={"x-amz-meta-one": "v" * 1900})


OVERRIDES = {
    "response-content-type": "text/x-two",
    "response-content-disposition": 'attachment; filename="a b.txt"',
    "response-cache-control": "no-store",
    "response-content-language": "fr",
    "response-content-encoding": "x-other",
    "response-expires": "Thu, 01 Dec 2044 16:00:00 GMT",
}


def override(name, value, method):
    def tell(side):
        side("put", "PUT", "k", headers=HEADERS, body=BODY)
        side("read", method, "k", {name: value}, shows={name.removeprefix("response-"): value})

    return tell


for name, value in OVERRIDES.items():
    for method in ("GET", "HEAD"):
        add("overrides", f"{method} {name}", override(name, value, method))


@case("overrides")
def all_at_once(side):
    side("put", "PUT", "k", headers=HEADERS, body=BODY)
    shown = {name.removeprefix("response-"): value for name, value in OVERRIDES.items()}
    side("get", "GET", "k", OVERRIDES, gives=BODY, shows=shown)
    side("get again", "GET", "k", gives=BODY, shows=HEADERS)


@case("overrides")
def with_a_range(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", {"response-content-type": "text/x"}, {"range": "bytes=1-2"}, says=206, gives=BODY[1:3])


@case("overrides")
def not_on_a_refusal(side):
    side("get", "GET", "none", {"response-content-type": "text/x"}, says="NoSuchKey")
