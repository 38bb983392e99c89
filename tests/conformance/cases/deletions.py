"""DeleteObjects."""

import base64
import hashlib

from harness.differential import add, case

from .bodies import OTHER_TAG, delete_document, delete_many, tag_of


def keys(side, *names):
    return [f"<Key>{side.key(name)}</Key>" for name in names]


def fill(side, *names):
    for name in names:
        side(f"put {name}", "PUT", name, body=name.encode())


@case("delete objects")
def several(side):
    fill(side, "a", "b", "c")
    delete_many(side, "delete", delete_document(keys(side, "a", "b")))
    side("gone", "GET", "a", says="NoSuchKey")
    side("left", "GET", "c")


@case("delete objects")
def quiet(side):
    fill(side, "a", "b")
    delete_many(side, "delete", delete_document(keys(side, "a", "b"), quiet=True))
    side("gone", "GET", "b", says="NoSuchKey")


@case("delete objects")
def not_there(side):
    delete_many(side, "delete", delete_document(keys(side, "none")))


@case("delete objects")
def some_not_there(side):
    fill(side, "a")
    delete_many(side, "delete", delete_document(keys(side, "a", "none")))


@case("delete objects")
def one_name_twice(side):
    fill(side, "a")
    delete_many(side, "delete", delete_document(keys(side, "a", "a")))


@case("delete objects")
def names_that_need_escapes(side):
    fill(side, "a&b<c>", "ü")
    delete_many(side, "delete", delete_document(keys(side, "a&amp;b&lt;c&gt;", "&#252;")))
    side("gone", "GET", "a&b<c>", says="NoSuchKey")
    side("gone too", "GET", "ü", says="NoSuchKey")


@case("delete objects")
def name_of_a_folder(side):
    fill(side, "a/b")
    delete_many(side, "delete", delete_document(keys(side, "a/")))
    side("left", "GET", "a/b")


@case("delete objects")
def white_space_in_the_document(side):
    fill(side, "a")
    body = delete_document(keys(side, "a")).replace(b"><", b">\n  <")
    delete_many(side, "delete", body)
    side("gone", "GET", "a", says="NoSuchKey")


@case("delete objects")
def with_a_declaration_and_namespace(side):
    fill(side, "a")
    body = delete_document(keys(side, "a")).replace(b"<Delete>", b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">')
    delete_many(side, "delete", b'<?xml version="1.0" encoding="UTF-8"?>\n' + body)
    side("gone", "GET", "a", says="NoSuchKey")


@case("delete objects")
def a_thousand(side):
    delete_many(side, "delete", delete_document(keys(side, *(f"none {number}" for number in range(1000)))))


@case("delete objects")
def more_than_a_thousand(side):
    body = delete_document(keys(side, *(f"none {number}" for number in range(1001))))
    delete_many(side, "delete", body, says="MalformedXML")


@case("delete objects")
def condition_holds(side):
    tag = tag_of(side("put", "PUT", "a", body=b"x")).replace('"', "&quot;")
    delete_many(side, "delete", delete_document([f"<Key>{side.key('a')}</Key><ETag>{tag}</ETag>"]))
    side("gone", "GET", "a", says="NoSuchKey")


@case("delete objects")
def condition_fails(side):
    fill(side, "a")
    tag = OTHER_TAG.replace('"', "&quot;")
    delete_many(side, "delete", delete_document([f"<Key>{side.key('a')}</Key><ETag>{tag}</ETag>"]))
    side("left", "GET", "a")


@case("delete objects")
def missing_bucket(side):
    body = delete_document(["<Key>a</Key>"])
    digest = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    side("delete", "POST", query={"delete": ""}, headers=digest, body=body, bucket="no-such-bucket-0", says="NoSuchBucket")


def damaged(body):
    def tell(side):
        delete_many(side, "delete", body, says="MalformedXML")

    return tell


for label, body in {
    "no keys": b"<Delete></Delete>",
    "cut": b"<Delete><Object>",
    "empty": b"",
    "not xml": b"delete, please",
    "another root": b"<Remove><Object><Key>a</Key></Object></Remove>",
    "object without a key": b"<Delete><Object></Object></Delete>",
    "quiet that is neither": b"<Delete><Quiet>perhaps</Quiet><Object><Key>a</Key></Object></Delete>",
    "entities": b'<!DOCTYPE d [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
}.items():
    add("delete objects", f"document {label}", damaged(body))


@case("delete objects")
def without_a_digest(side):
    fill(side, "a")
    delete_many(side, "delete", delete_document(keys(side, "a")), digest=False, says="InvalidRequest")


@case("delete objects")
def wrong_digest(side):
    fill(side, "a")
    headers = {"content-md5": base64.b64encode(bytes(16)).decode()}
    side("delete", "POST", query={"delete": ""}, headers=headers, body=delete_document(keys(side, "a")), says="BadDigest")
    side("left", "GET", "a")
