"""Multipart uploads: orders, sizes, errors, listings of parts and of uploads, parts copied from objects."""

from harness.differential import add, case

from .bodies import BODY, MIB, OTHER_TAG, PART, element, tag_of


def create(side, key="k", step="create", headers=None, shows=None):
    return element(side(step, "POST", key, {"uploads": ""}, headers, shows=shows), "UploadId")


def part(side, upload, number, body, key="k", step=None, **more):
    return tag_of(side(step or f"part {number}", "PUT", key, {"partNumber": str(number), "uploadId": upload}, body=body, **more))


def document(parts):
    entries = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts)
    return f"<CompleteMultipartUpload>{entries}</CompleteMultipartUpload>".encode()


def complete(side, upload, parts, key="k", step="complete", says=200, **more):
    return side(step, "POST", key, {"uploadId": upload}, body=document(parts), says=says, **more)


def whole(sizes, numbers=None, order=None):
    """An upload of parts of these sizes, read back."""

    def tell(side):
        upload = create(side)
        numbered = list(zip(numbers or range(1, len(sizes) + 1), sizes))
        bodies = {number: (PART * 2)[number : number + size] for number, size in numbered}
        tags = {}
        for number, _ in [numbered[at] for at in order] if order else numbered:
            tags[number] = part(side, upload, number, bodies[number])
        complete(side, upload, sorted(tags.items()))
        everything = b"".join(bodies[number] for number in sorted(bodies))
        side("get", "GET", "k", gives=everything)
        side("head", "HEAD", "k", shows={"content-length": str(len(everything))})
        middle = len(everything) // 2
        side("range", "GET", "k", headers={"range": f"bytes={max(middle - 9, 0)}-{middle}"}, says=206,
             gives=everything[max(middle - 9, 0) : middle + 1])  # fmt: skip

    return tell


for label, arguments in {
    "one small part": ([10_240],),
    "one byte": ([1],),
    "two parts": ([5 * MIB, 1000],),
    "two parts of a segment's multiple": ([5 * MIB, 65_536],),
    "awkward sizes": ([5 * MIB + 1, 5 * MIB + 65_535, 7],),
    "parts in reverse order": ([5 * MIB, 5 * MIB, 9], None, [2, 1, 0]),
    "numbers with gaps": ([5 * MIB, 9], [3, 700]),
    "the highest number that is served": ([9], [9999]),
    "the highest number of S3": ([9], [10000]),
}.items():
    add("multipart", label, whole(*arguments))


@case("multipart")
def part_written_twice(side):
    upload = create(side)
    part(side, upload, 1, b"first", step="first")
    tag = part(side, upload, 1, b"second", step="second")
    complete(side, upload, [(1, tag)])
    side("get", "GET", "k", gives=b"second")


@case("multipart")
def not_every_part_is_named(side):
    upload = create(side)
    one, _, three = (part(side, upload, number, PART[:-number] + b"!" * number) for number in (1, 2, 3))
    complete(side, upload, [(1, one), (3, three)])
    side("get", "HEAD", "k", shows={"content-length": str(2 * len(PART))})


@case("multipart")
def metadata_and_headers(side):
    sent = {"x-amz-meta-one": "1", "content-type": "text/x-one", "cache-control": "max-age=1"}
    upload = create(side, headers=sent)
    complete(side, upload, [(1, part(side, upload, 1, BODY))])
    side("head", "HEAD", "k", shows=sent)


@case("multipart")
def nothing_is_there_before_complete(side):
    upload = create(side)
    tag = part(side, upload, 1, BODY)
    side("before", "GET", "k", says="NoSuchKey")
    complete(side, upload, [(1, tag)])
    side("after", "GET", "k", gives=BODY)


@case("multipart")
def replaces_an_object(side):
    side("put", "PUT", "k", body=b"old")
    upload = create(side)
    tag = part(side, upload, 1, BODY)
    side("still old", "GET", "k", gives=b"old")
    complete(side, upload, [(1, tag)])
    side("new", "GET", "k", gives=BODY)


@case("multipart")
def complete_twice(side):
    upload = create(side)
    tag = part(side, upload, 1, BODY)
    complete(side, upload, [(1, tag)])
    complete(side, upload, [(1, tag)], step="again")
    side("get", "GET", "k", gives=BODY)


@case("multipart")
def tags_without_quotes(side):
    upload = create(side)
    tag = part(side, upload, 1, BODY)
    complete(side, upload, [(1, tag.strip('"'))])
    side("get", "GET", "k", gives=BODY)


@case("multipart")
def two_uploads_of_one_name(side):
    first, second = create(side, step="create first"), create(side, step="create second")
    one = part(side, first, 1, b"first", step="part of first")
    two = part(side, second, 1, b"second", step="part of second")
    complete(side, second, [(1, two)], step="complete second")
    complete(side, first, [(1, one)], step="complete first")
    side("get", "GET", "k", gives=b"first")


@case("multipart errors")
def part_too_small(side):
    upload = create(side)
    tags = [part(side, upload, number, BODY[number:]) for number in (1, 2)]
    complete(side, upload, list(enumerate(tags, 1)), says="EntityTooSmall")
    side("get", "GET", "k", says="NoSuchKey")


@case("multipart errors")
def wrong_tag(side):
    upload = create(side)
    part(side, upload, 1, BODY)
    complete(side, upload, [(1, OTHER_TAG)], says="InvalidPart")
    side("get", "GET", "k", says="NoSuchKey")


@case("multipart errors")
def part_that_was_not_sent(side):
    upload = create(side)
    tag = part(side, upload, 1, PART)
    complete(side, upload, [(1, tag), (2, tag)], says="InvalidPart")


@case("multipart errors")
def wrong_order(side):
    upload = create(side)
    tags = {number: part(side, upload, number, PART[:-number] + b"!" * number) for number in (1, 2)}
    complete(side, upload, [(2, tags[2]), (1, tags[1])], says="InvalidPartOrder")


@case("multipart errors")
def one_part_named_twice(side):
    upload = create(side)
    tag = part(side, upload, 1, PART)
    complete(side, upload, [(1, tag), (1, tag)], says="InvalidPartOrder")


@case("multipart errors")
def complete_with_no_parts(side):
    upload = create(side)
    part(side, upload, 1, BODY)
    complete(side, upload, [], says="MalformedXML")


def damaged(body):
    def tell(side):
        upload = create(side)
        part(side, upload, 1, BODY)
        side("complete", "POST", "k", {"uploadId": upload}, body=body, says="MalformedXML")

    return tell


for label, body in {
    "cut": b"<CompleteMultipartUpload>",
    "empty": b"",
    "not xml": b"complete, please",
    "another root": b"<Delete><Object><Key>k</Key></Object></Delete>",
    "part without number": b"<CompleteMultipartUpload><Part><ETag>x</ETag></Part></CompleteMultipartUpload>",
    "part without tag": b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>",
    "number that is none": b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
}.items():
    add("multipart errors", f"document {label}", damaged(body))


def numbered(number):
    def tell(side):
        upload = create(side)
        part(side, upload, number, b"x", says="InvalidArgument")

    return tell


for number in ("0", "10001", "-1", "x", "", "1.5", "99999999999"):
    add("multipart errors", f"part number {number or 'empty'}", numbered(number))


@case("multipart errors")
def unknown_upload(side):
    part(side, "unknown", 1, b"x", says="NoSuchUpload")
    complete(side, "unknown", [(1, OTHER_TAG)], says="NoSuchUpload")
    side("parts", "GET", "k", {"uploadId": "unknown"}, says="NoSuchUpload")
    side("abort", "DELETE", "k", {"uploadId": "unknown"}, says="NoSuchUpload")


@case("multipart errors")
def upload_of_another_name(side):
    upload = create(side)
    part(side, upload, 1, b"x", key="other", says="NoSuchUpload")
    side("abort", "DELETE", "other", {"uploadId": upload}, says="NoSuchUpload")


@case("multipart errors")
def abort(side):
    upload = create(side)
    tag = part(side, upload, 1, BODY)
    side("abort", "DELETE", "k", {"uploadId": upload})
    side("parts", "GET", "k", {"uploadId": upload}, says="NoSuchUpload")
    part(side, upload, 2, b"x", says="NoSuchUpload")
    complete(side, upload, [(1, tag)], says="NoSuchUpload")
    side("get", "GET", "k", says="NoSuchKey")


@case("multipart errors")
def abort_twice(side):
    upload = create(side)
    side("abort", "DELETE", "k", {"uploadId": upload})
    side("again", "DELETE", "k", {"uploadId": upload}, says="NoSuchUpload")


@case("multipart errors")
def without_a_bucket(side):
    side("create", "POST", "k", {"uploads": ""}, bucket="no-such-bucket-0", says="NoSuchBucket")
    side("part", "PUT", "k", {"partNumber": "1", "uploadId": "x"}, body=b"x", bucket="no-such-bucket-0", says="NoSuchBucket")


def parts(query, says=200):
    def tell(side):
        upload = create(side)
        for number, size in ((1, 5), (2, 0x10000), (3, 100_000), (7, 1)):
            part(side, upload, number, PART[:size])
        side("parts", "GET", "k", {"uploadId": upload, **query}, says=says)
        side("abort", "DELETE", "k", {"uploadId": upload})

    return tell


for label, (query, says) in {
    "all": ({}, 200),
    "two": ({"max-parts": "2"}, 200),
    "after two": ({"part-number-marker": "2"}, 200),
    "one after two": ({"part-number-marker": "2", "max-parts": "1"}, 200),
    "after the last": ({"part-number-marker": "7"}, 200),
    "none": ({"max-parts": "0"}, 200),
    "wrong number": ({"max-parts": "x"}, "InvalidArgument"),
    "wrong marker": ({"part-number-marker": "x"}, "InvalidArgument"),
}.items():
    add("list parts", label, parts(query, says))


@case("list parts")
def of_no_parts(side):
    upload = create(side)
    side("parts", "GET", "k", {"uploadId": upload})
    side("abort", "DELETE", "k", {"uploadId": upload})


def uploads(query, says=200):
    def tell(side):
        made = [(key, create(side, key, f"create {key}")) for key in ("a", "b/one", "b/two", "c d")]
        side("uploads", "GET", query={"uploads": "", **query}, says=says)
        for key, upload in made:
            side(f"abort {key}", "DELETE", key, {"uploadId": upload})
        side("none left", "GET", query={"uploads": ""})

    return tell


for label, (query, says) in {
    "all": ({}, 200),
    "prefix": ({"prefix": "b/"}, 200),
    "delimiter": ({"delimiter": "/"}, 200),
    "two": ({"max-uploads": "2"}, 200),
    "marker": ({"key-marker": "b/one"}, 200),
    "url coding": ({"encoding-type": "url"}, 200),
    "wrong number": ({"max-uploads": "x"}, "InvalidArgument"),
}.items():
    add("list uploads", label, uploads(query, says), "uploads")


def copied(value, gives, says=200):
    def tell(side):
        side("source", "PUT", "source", body=BODY)
        upload = create(side)
        headers = {"x-amz-copy-source": side.source("source"), **({"x-amz-copy-source-range": value} if value else {})}
        answer = side("copy", "PUT", "k", {"partNumber": "1", "uploadId": upload}, headers, says=says)
        if says == 200:
            complete(side, upload, [(1, element(answer, "ETag").replace("&quot;", '"').replace("&#34;", '"'))])
            side("get", "GET", "k", gives=gives)
        else:
            side("abort", "DELETE", "k", {"uploadId": upload})

    return tell


for value, gives, says in [
    ("", BODY, 200),
    ("bytes=0-0", BODY[:1], 200),
    ("bytes=0-10239", BODY, 200),
    ("bytes=100-199", BODY[100:200], 200),
    ("bytes=10239-10239", BODY[-1:], 200),
    ("bytes=0-10240", None, "InvalidArgument"),
    ("bytes=20000-20001", None, "InvalidArgument"),
    ("bytes=5-4", None, "InvalidArgument"),
    ("bytes=5-", None, "InvalidArgument"),
    ("bytes=-5", None, "InvalidArgument"),
    ("nonsense", None, "InvalidArgument"),
]:
    add("part copies", value or "the whole", copied(value, gives, says))


def copied_if(header, make, says):
    def tell(side):
        tag = tag_of(side("source", "PUT", "source", body=BODY))
        upload = create(side)
        headers = {"x-amz-copy-source": side.source("source"), header: make(tag)}
        side("copy", "PUT", "k", {"partNumber": "1", "uploadId": upload}, headers, says=says)
        side("abort", "DELETE", "k", {"uploadId": upload})

    return tell


for label, header, make, says in [
    ("if-match same", "x-amz-copy-source-if-match", lambda tag: tag, 200),
    ("if-match other", "x-amz-copy-source-if-match", lambda tag: OTHER_TAG, "PreconditionFailed"),
    ("if-none-match same", "x-amz-copy-source-if-none-match", lambda tag: tag, "PreconditionFailed"),
    ("if-none-match other", "x-amz-copy-source-if-none-match", lambda tag: OTHER_TAG, 200),
]:
    add("part copies", label, copied_if(header, make, says))


@case("part copies")
def of_a_missing_object(side):
    upload = create(side)
    side("copy", "PUT", "k", {"partNumber": "1", "uploadId": upload}, {"x-amz-copy-source": side.source("none")}, says="NoSuchKey")
    side("abort", "DELETE", "k", {"uploadId": upload})


@case("part copies")
def to_an_unknown_upload(side):
    side("source", "PUT", "source", body=BODY)
    query = {"partNumber": "1", "uploadId": "unknown"}
    side("copy", "PUT", "k", query, {"x-amz-copy-source": side.source("source")}, says="NoSuchUpload")


@case("part copies")
def between_sent_parts(side):
    side("source", "PUT", "source", body=PART)
    upload = create(side)
    first = part(side, upload, 1, PART[:-1] + b"!")
    answer = side("copy", "PUT", "k", {"partNumber": "2", "uploadId": upload}, {"x-amz-copy-source": side.source("source")})
    last = part(side, upload, 3, b"end")
    complete(side, upload, [(1, first), (2, element(answer, "ETag").replace("&quot;", '"').replace("&#34;", '"')), (3, last)])
    side("get", "GET", "k", gives=PART[:-1] + b"!" + PART + b"end")
