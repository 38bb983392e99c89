"""Conditions on reads, writes and removals."""

from harness.differential import add, case

from .bodies import BODY, FUTURE, OTHER_TAG, PAST, element, tag_of

FAILED, SAME = "PreconditionFailed", "NotModified"
# The value of a condition on the entity tag, and what If-Match and If-None-Match make of it.
TAGS = {
    "same": (lambda tag: tag, 200, SAME),
    "without quotes": (lambda tag: tag.strip('"'), 200, SAME),
    "other": (lambda tag: OTHER_TAG, FAILED, 200),
    "any": (lambda tag: "*", 200, SAME),
    "list with it": (lambda tag: f'"a", {tag}', 200, SAME),
    "list without it": (lambda tag: '"a", "b"', FAILED, 200),
    "not a tag": (lambda tag: "nonsense", FAILED, 200),
}


def on_tag(method, header, make, says):
    def tell(side):
        tag = tag_of(side("put", "PUT", "k", body=BODY))
        side("read", method, "k", headers={header: make(tag)}, says=says)

    return tell


def on_date(method, header, date, says):
    def tell(side):
        side("put", "PUT", "k", body=BODY)
        side("read", method, "k", headers={header: date}, says=says)

    return tell


for method in ("GET", "HEAD"):
    for label, (make, match, none_match) in TAGS.items():
        add("conditional reads", f"{method} if-match {label}", on_tag(method, "if-match", make, match))
        add("conditional reads", f"{method} if-none-match {label}", on_tag(method, "if-none-match", make, none_match))
    for header, past, future in [("if-modified-since", 200, (200, SAME)), ("if-unmodified-since", FAILED, 200)]:
        add("conditional reads", f"{method} {header} past", on_date(method, header, PAST, past))
        add("conditional reads", f"{method} {header} future", on_date(method, header, FUTURE, future))
        add("conditional reads", f"{method} {header} not a date", on_date(method, header, "nonsense", (200, 400)))


def two(first, second, says):
    def tell(side):
        tag = tag_of(side("put", "PUT", "k", body=BODY))
        headers = {name: value.replace("TAG", tag) for name, value in (first, second)}
        side("read", "GET", "k", headers=headers, says=says)

    return tell


for label, first, second, says in [
    ("match and unmodified since past", ("if-match", "TAG"), ("if-unmodified-since", PAST), 200),
    ("match fails and unmodified since future", ("if-match", OTHER_TAG), ("if-unmodified-since", FUTURE), FAILED),
    ("none-match and modified since past", ("if-none-match", "TAG"), ("if-modified-since", PAST), SAME),
    ("none-match other and modified since past", ("if-none-match", OTHER_TAG), ("if-modified-since", PAST), 200),
    ("match and none-match", ("if-match", "TAG"), ("if-none-match", "TAG"), SAME),
    ("match and range", ("if-match", "TAG"), ("range", "bytes=1-2"), 206),
    ("none-match and range", ("if-none-match", "TAG"), ("range", "bytes=1-2"), SAME),
    ("match fails and range", ("if-match", OTHER_TAG), ("range", "bytes=1-2"), FAILED),
]:
    add("conditional reads", label, two(first, second, says))


@case("conditional reads")
def of_a_missing_object(side):
    side("match", "GET", "none", headers={"if-match": "*"}, says="NoSuchKey")
    side("none match", "GET", "none", headers={"if-none-match": "*"}, says="NoSuchKey")


@case("conditional reads")
def last_modified_itself(side):
    side("put", "PUT", "k", body=b"x")
    date = side("head", "HEAD", "k").headers["last-modified"]
    side("modified", "GET", "k", headers={"if-modified-since": date}, says=SAME)
    side("unmodified", "GET", "k", headers={"if-unmodified-since": date})


@case("conditional writes")
def create_only(side):
    side("first", "PUT", "k", headers={"if-none-match": "*"}, body=b"1")
    side("again", "PUT", "k", headers={"if-none-match": "*"}, body=b"2", says=FAILED)
    side("read", "GET", "k", gives=b"1")


@case("conditional writes")
def create_after_delete(side):
    side("first", "PUT", "k", body=b"1")
    side("delete", "DELETE", "k")
    side("again", "PUT", "k", headers={"if-none-match": "*"}, body=b"2")
    side("read", "GET", "k", gives=b"2")


@case("conditional writes")
def replace_what_was_read(side):
    tag = tag_of(side("first", "PUT", "k", body=b"1"))
    side("other", "PUT", "k", headers={"if-match": OTHER_TAG}, body=b"2", says=FAILED)
    side("same", "PUT", "k", headers={"if-match": tag}, body=b"3")
    side("stale", "PUT", "k", headers={"if-match": tag}, body=b"4", says=FAILED)
    side("read", "GET", "k", gives=b"3")


@case("conditional writes")
def replace_without_quotes(side):
    tag = tag_of(side("first", "PUT", "k", body=b"1"))
    side("same", "PUT", "k", headers={"if-match": tag.strip('"')}, body=b"3")
    side("read", "GET", "k", gives=b"3")


@case("conditional writes")
def replace_a_missing_object(side):
    side("put", "PUT", "k", headers={"if-match": OTHER_TAG}, body=b"1", says="NoSuchKey")
    side("read", "GET", "k", says="NoSuchKey")


@case("conditional writes")
def none_match_of_a_tag(side):
    side("put", "PUT", "k", headers={"if-none-match": OTHER_TAG}, body=b"1", says="NotImplemented")


@case("conditional writes")
def match_of_anything(side):
    side("first", "PUT", "k", body=b"1")
    side("put", "PUT", "k", headers={"if-match": "*"}, body=b"2", says=(200, "NotImplemented"))


@case("conditional writes")
def both(side):
    tag = tag_of(side("first", "PUT", "k", body=b"1"))
    side("put", "PUT", "k", headers={"if-match": tag, "if-none-match": "*"}, body=b"2", says=("NotImplemented", FAILED))


@case("conditional writes")
def empty_object(side):
    side("first", "PUT", "k", headers={"if-none-match": "*"})
    side("again", "PUT", "k", headers={"if-none-match": "*"}, says=FAILED)


def complete(headers, before, says):
    def tell(side):
        old = tag_of(side("before", "PUT", "k", body=b"old")) if before else ""
        upload = element(side("create", "POST", "k", {"uploads": ""}), "UploadId")
        tag = tag_of(side("part", "PUT", "k", {"partNumber": "1", "uploadId": upload}, body=BODY))
        body = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
        sent = {name: value.replace("TAG", old) for name, value in headers.items()}
        side("complete", "POST", "k", {"uploadId": upload}, sent, body.encode(), says=says)
        good = says == 200
        side("read", "GET", "k", says=200 if good or before else "NoSuchKey", gives=BODY if good else (b"old" if before else None))

    return tell


add("conditional writes", "complete if nothing is there", complete({"if-none-match": "*"}, False, 200))
add("conditional writes", "complete if nothing is there, but it is", complete({"if-none-match": "*"}, True, FAILED))
add("conditional writes", "complete if the same", complete({"if-match": "TAG"}, True, 200))
add("conditional writes", "complete if another", complete({"if-match": OTHER_TAG}, True, FAILED))
add("conditional writes", "complete if a missing one", complete({"if-match": OTHER_TAG}, False, "NoSuchKey"))


def removal(make, says):
    def tell(side):
        tag = tag_of(side("put", "PUT", "k", body=b"1"))
        side("delete", "DELETE", "k", headers={"if-match": make(tag)}, says=says)
        side("read", "GET", "k", says="NoSuchKey" if says == 204 else 200)

    return tell


add("conditional deletes", "same", removal(lambda tag: tag, 204))
add("conditional deletes", "other", removal(lambda tag: OTHER_TAG, FAILED))
add("conditional deletes", "any", removal(lambda tag: "*", 204))


@case("conditional deletes")
def missing(side):
    side("delete", "DELETE", "none", headers={"if-match": OTHER_TAG}, says=(204, "NoSuchKey", FAILED))
