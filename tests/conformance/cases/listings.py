"""Listings of objects, both versions: prefixes, delimiters, pages, codings, errors."""

import re

from harness.differential import add, case, fixture

KEYS = [
    "a", "aa", "b/one", "b/sub/deep", "b/sub/deeper", "b/two", "c d", "c+d", "d&e<f>", "e%2Ff", "photos/2025/01.jpg",
    "photos/2025/02.jpg", "photos/2026/01.jpg", "x|1", "x|2", "z/", "ü/ä",
]  # fmt: skip


@fixture("listing")
def fill(side):
    for number, key in enumerate(KEYS):
        # A folder's marker is empty, and nothing else is: an entity tag each, as through the gateway.
        side(f"put {key}", "PUT", key, body=b"" if key.endswith("/") else b"x" * (number * 7000 + 1))


QUERIES = {
    "all": {},
    "url coding": {"encoding-type": "url"},
    "unknown coding": {"encoding-type": "x"},
    "delimiter": {"delimiter": "/"},
    "delimiter of two": {"delimiter": "b/"},
    "delimiter bar": {"delimiter": "|"},
    "delimiter blank": {"delimiter": " "},
    "delimiter that occurs nowhere": {"delimiter": "$$"},
    "delimiter umlaut": {"delimiter": "ü"},
    "delimiter percent": {"delimiter": "%"},
    "empty delimiter": {"delimiter": ""},
    "prefix": {"prefix": "b/"},
    "prefix half": {"prefix": "b/t"},
    "prefix whole name": {"prefix": "b/two"},
    "prefix with blank": {"prefix": "c d"},
    "prefix with plus": {"prefix": "c+"},
    "prefix with umlaut": {"prefix": "ü"},
    "prefix with percent": {"prefix": "e%2"},
    "prefix of nothing": {"prefix": "nothing"},
    "empty prefix": {"prefix": ""},
    "prefix with a slash first": {"prefix": "/"},
    "prefix and delimiter": {"prefix": "b/", "delimiter": "/"},
    "prefix without slash and delimiter": {"prefix": "b", "delimiter": "/"},
    "deep prefix and delimiter": {"prefix": "photos/2025/", "delimiter": "/"},
    "half prefix and delimiter": {"prefix": "photos/20", "delimiter": "/"},
    "folder marker": {"prefix": "z/", "delimiter": "/"},
    "one": {"max-keys": "1"},
    "two": {"max-keys": "2"},
    "exactly all": {"max-keys": str(len(KEYS))},
    "none": {"max-keys": "0"},
    "1000": {"max-keys": "1000"},
    "1001": {"max-keys": "1001"},
    "url coding and delimiter": {"encoding-type": "url", "delimiter": "/"},
    "url coding and prefix": {"encoding-type": "url", "prefix": "c "},
    "two with delimiter": {"max-keys": "2", "delimiter": "/"},
}
WRONG = {"max-keys text": {"max-keys": "x"}, "max-keys negative": {"max-keys": "-1"}, "max-keys huge": {"max-keys": "99999999999"}}
SORTED = sorted(KEYS, key=lambda key: key.encode())


def listing(query, says=200):
    def tell(side):
        side("list", "GET", query=query, says=says)

    return tell


for version, more in {"v1": {}, "v2": {"list-type": "2"}}.items():
    for label, query in QUERIES.items():
        says = "InvalidArgument" if label == "unknown coding" else 200
        add(f"listings {version}", label, listing({**more, **query}, says), "listing")
    for label, query in WRONG.items():
        add(f"listings {version}", label, listing({**more, **query}, "InvalidArgument"), "listing")
    add(f"listings {version}", "of an empty bucket", listing(more), "empty")
    add(f"listings {version}", "of a missing bucket",
        lambda side, more=more: side("list", "GET", query=more, bucket="no-such-bucket-0", says="NoSuchBucket"))  # fmt: skip

for label, query in {
    "after a name": {"marker": "b/two"},
    "after a name that is not there": {"marker": "b/t"},
    "after the last": {"marker": "ü/ä"},
    "after a blank": {"marker": "c d"},
    "marker and prefix": {"marker": "photos/2025/01.jpg", "prefix": "photos/"},
    "marker and delimiter": {"marker": "b/two", "delimiter": "/"},
    "marker inside a folder": {"marker": "b/", "delimiter": "/"},
}.items():
    add("listings v1", label, listing(query), "listing")
for label, query in {
    "after a name": {"start-after": "b/two"},
    "after a name that is not there": {"start-after": "b/t"},
    "after the last": {"start-after": "ü/ä"},
    "after and prefix": {"start-after": "photos/2025/01.jpg", "prefix": "photos/"},
    "after and delimiter": {"start-after": "b/two", "delimiter": "/"},
    "after inside a folder": {"start-after": "b/", "delimiter": "/"},
    "owner": {"fetch-owner": "true", "max-keys": "1"},
    "no owner": {"fetch-owner": "false", "max-keys": "1"},
}.items():
    add("listings v2", label, listing({"list-type": "2", **query}), "listing")


def pages(size, query, version):
    def tell(side):
        token, number = "", 0
        while number <= len(KEYS):
            more = {**({"list-type": "2"} if version == 2 else {}), "max-keys": str(size), **query}
            if token:
                more["continuation-token" if version == 2 else "marker"] = token
            answer = side(f"page {number}", "GET", query=more)
            name = b"NextContinuationToken" if version == 2 else b"NextMarker"
            found = re.search(b"<%s>([^<]*)<" % name, answer.body)
            keys = re.findall(b"<Key>([^<]*)<", answer.body)
            if b"<IsTruncated>true" not in answer.body:
                break
            token = (found[1] if found else keys[-1] if keys else b"").decode()
            token = token.replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
            number += 1

    return tell


for size in (1, 2, 5, 100):
    for label, query in {"": {}, " with delimiter": {"delimiter": "/"}, " with prefix": {"prefix": "photos/"}}.items():
        for version in (1, 2):
            add(f"listings v{version}", f"pages of {size}{label}", pages(size, query, version), "listing")


@case("listings v2", bucket="listing")
def token_that_is_none(side):
    side("list", "GET", query={"list-type": "2", "continuation-token": "nonsense"}, says="InvalidArgument")


@case("listings v2", bucket="listing")
def token_that_is_empty(side):
    side("list", "GET", query={"list-type": "2", "continuation-token": ""}, says="InvalidArgument")


@case("listings v2", bucket="own")
def sizes_of_what_was_just_written(side):
    for size in (0, 1, 65_536, 65_537, 5_242_880, 5_242_881):
        side(f"put {size}", "PUT", f"{size:08}", body=b"x" * size)
    side("list", "GET", query={"list-type": "2"})
    side("delete", "DELETE", "00000000")
    side("list again", "GET", query={"list-type": "2"})


@case("listings v2", bucket="own")
def list_type_that_is_none(side):
    side("list", "GET", query={"list-type": "3"}, says=(200, "InvalidArgument", "NotImplemented"))
