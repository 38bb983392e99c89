"""Names of objects: every byte counts, nothing is normalised."""

from harness.differential import add, case
from harness.raw import quote

NAMES = {
    "plain": "plain",
    "blank": "a b",
    "two blanks": "a  b",
    "leading blank": " a",
    "trailing blank": "a ",
    "plus": "a+b",
    "percent": "a%b",
    "percent 2F": "a%2Fb",
    "percent 20": "a%20b",
    "percent percent": "%25",
    "question mark": "a?b",
    "hash": "a#b",
    "ampersand": "a&b=c",
    "semicolon": "a;b",
    "colon": "a:b",
    "at": "a@b",
    "comma": "a,b",
    "equals": "a=b",
    "dollar": "a$b",
    "exclamation": "a!b",
    "apostrophe": "a'b",
    "parentheses": "a(b)",
    "star": "a*b",
    "brackets": "a[b]",
    "braces": "a{b}",
    "pipe": "a|b",
    "backslash": "a\\b",
    "caret": "a^b",
    "backtick": "a`b",
    "quotation mark": 'a"b',
    "less and greater": "a<b>c",
    "tilde": "a~b",
    "underscore and dash": "_a-b_",
    "umlaut": "ü",
    "decomposed umlaut": "u\u0308",
    "chinese": "文件/测试",
    "emoji": "😀",
    "right to left": "שלום",
    "non breaking blank": "a\u00a0b",
    "zero width": "a\u200bb",
    "trailing slash": "a/",
    "dots in a name": "a..b",
    "hidden": ".hidden",
    "ends in a dot": "a.",
    "upper case": "UPPER/lower",
    "looks like a query": "a?versionId=1",
    "looks like a url": "http://example.org/x",
    "tab": "a\tb",
    "line feed": "a\nb",
    "control 1": "a\x01b",
    "delete character": "a\x7fb",
}
# Names that some stores take for paths of a file system.
PATHS = {
    "double slash": "a//b",
    "triple slash": "a///b",
    "leading slash": "/a",
    "only a slash": "/",
    "double slash at the end": "a//",
    "dot": "a/./b",
    "dot dot": "a/../b",
    "leading dot": "./a",
    "leading dot dot": "../a",
    "only a dot": ".",
    "only dots": "..",
    "dot at the end": "a/.",
    "dot dot at the end": "a/..",
    "deep": "/".join("abcdefghijklmnopqrstuvwxyz"),
}


def story(key, listed=True):
    def tell(side):
        side("put", "PUT", key, body=key.encode())
        side("get", "GET", key, gives=key.encode())
        side("head", "HEAD", key)
        side("list", "GET", query={"list-type": "2", "encoding-type": "url"})
        side("copy", "PUT", "copy", headers={"x-amz-copy-source": side.source(key)})
        side("get copy", "GET", "copy", gives=key.encode())
        side("delete", "DELETE", key)
        side("gone", "GET", key, says="NoSuchKey")
        side("delete copy", "DELETE", "copy")

    return tell


for label, key in {**NAMES, **PATHS}.items():
    # Some stores take the deletion of a slash for the bucket's.
    add("keys", label, story(key), "own" if label == "only a slash" else "keys")


def long(length, says):
    def tell(side):
        # Pieces, since file systems bound the length of one name.
        key = ("x" * 99 + "/") * 12
        key = key[: length - 1] + "y"
        side("put", "PUT", key, body=b"x", says=says)
        side("get", "GET", key, says=says)
        side("delete", "DELETE", key, says=says if says != 200 else 204)

    return tell


add("keys", "1000 bytes", long(1000, 200), "keys")
add("keys", "1024 bytes", long(1024, 200), "keys")
add("keys", "1025 bytes", long(1025, "KeyTooLongError"), "keys")


@case("keys", "one piece of 255 bytes", "keys")
def one_piece(side):
    side("put", "PUT", "x" * 255, body=b"x")
    side("get", "GET", "x" * 255, gives=b"x")
    side("delete", "DELETE", "x" * 255)


@case("keys", "one piece of 256 bytes", "keys")
def one_longer_piece(side):
    side("put", "PUT", "x" * 256, body=b"x")
    side("get", "GET", "x" * 256, gives=b"x")
    side("delete", "DELETE", "x" * 256)


@case("keys", "case is kept", "keys")
def case_is_kept(side):
    side("put", "PUT", "Name", body=b"upper")
    side("put lower", "PUT", "name", body=b"lower")
    side("get", "GET", "Name", gives=b"upper")
    side("get lower", "GET", "name", gives=b"lower")
    side("delete", "DELETE", "Name")
    side("still there", "GET", "name", gives=b"lower")
    side("delete lower", "DELETE", "name")


@case("keys", "plus is not a blank", "keys")
def plus(side):
    side("put plus", "PUT", "a+b", body=b"plus")
    side("blank", "GET", "a b", says="NoSuchKey")
    side("delete", "DELETE", "a+b")


@case("keys", "double slash is not one", "keys")
def slashes(side):
    side("put one", "PUT", "a/b", body=b"one")
    side("get two", "GET", "a//b", says="NoSuchKey")
    side("put two", "PUT", "a//b", body=b"two")
    side("get one", "GET", "a/b", gives=b"one")
    side("delete one", "DELETE", "a/b")
    side("delete two", "DELETE", "a//b")


@case("keys", "multipart with an unusual name", "keys")
def multipart(side):
    from .bodies import element, tag_of

    key = "ü &+%.bin"
    upload = element(side("create", "POST", key, {"uploads": ""}), "UploadId")
    tag = tag_of(side("part", "PUT", key, {"partNumber": "1", "uploadId": upload}, body=b"data"))
    body = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    side("complete", "POST", key, {"uploadId": upload}, body=body.encode())
    side("get", "GET", key, gives=b"data")
    side("delete", "DELETE", key)


@case("keys", "source with plus in place of blanks", "keys")
def source_with_plus(side):
    side("put", "PUT", "a+b", body=b"plus")
    side("copy", "PUT", "copy", headers={"x-amz-copy-source": f"/{side.bucket}/{quote('a+b')}"})
    side("get", "GET", "copy", gives=b"plus")
    side("delete", "DELETE", "a+b")
    side("delete copy", "DELETE", "copy")


@case("keys", "plus in a source is a blank", "keys")
def plus_in_a_source(side):
    side("put plus", "PUT", "a+b", body=b"plus")
    side("put blank", "PUT", "a b", body=b"void")
    side("copy", "PUT", "copy", headers={"x-amz-copy-source": f"/{side.bucket}/a+b"})
    side("get", "GET", "copy", gives=b"void")
    for key in ("a+b", "a b", "copy"):
        side(f"delete {key}", "DELETE", key)
