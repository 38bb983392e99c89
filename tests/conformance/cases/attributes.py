"""GetObjectAttributes, and reads of one part."""

from harness.differential import add, case

from .bodies import BODY, MIB, PART
from .uploads import complete, create, part

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


def asked(names, says=200, **headers):
    def tell(side):
        side("put", "PUT", "k", body=BODY)
        sent = {"x-amz-object-attributes": names, **headers} if names is not None else {}
        shows = {"content-type": "application/xml"} if says == 200 else None
        side("attributes", "GET", "k", {"attributes": ""}, sent, says=says, shows=shows)

    return tell


for label, (names, says) in {
    "size": ("ObjectSize", 200),
    "tag": ("ETag", 200),
    "storage class": ("StorageClass", 200),
    "size and tag": ("ObjectSize,ETag", 200),
    "parts of a single PUT": ("ObjectParts", 200),
    "unknown name": ("Nonsense", "InvalidArgument"),
    "no names": ("", "InvalidRequest"),
    "no header": (None, "InvalidRequest"),
}.items():
    add("attributes", label, asked(names, says))


def uploaded(side, sizes=(5 * MIB, 5 * MIB + 7, 100)):
    upload = create(side)
    bodies = [(PART * 2)[:size] for size in sizes]
    complete(side, upload, [(number, part(side, upload, number, body)) for number, body in enumerate(bodies, 1)])
    return bodies


def parts(query):
    def tell(side):
        uploaded(side)
        side("attributes", "GET", "k", {"attributes": ""}, {"x-amz-object-attributes": "ObjectParts,ObjectSize", **query},
             shows={"content-type": "application/xml"})  # fmt: skip

    return tell


for label, query in {
    "parts": {},
    "two parts": {"x-amz-max-parts": "2"},
    "parts after one": {"x-amz-part-number-marker": "1"},
}.items():
    add("attributes", label, parts(query))


@case("attributes")
def of_a_missing_object(side):
    side("attributes", "GET", "none", {"attributes": ""}, {"x-amz-object-attributes": ALL}, says="NoSuchKey")


@case("part reads")
def each_part(side):
    bodies = uploaded(side)
    for number, body in enumerate(bodies, 1):
        shows = {"x-amz-mp-parts-count": "3", "content-length": str(len(body))}
        side(f"get {number}", "GET", "k", {"partNumber": str(number)}, says=206, gives=body, shows=shows)
        side(f"head {number}", "HEAD", "k", {"partNumber": str(number)}, says=206, shows=shows)


def one(number, says, gives=None):
    def tell(side):
        side("put", "PUT", "k", body=BODY)
        side("get", "GET", "k", {"partNumber": number}, says=says, gives=gives, shows={"x-amz-mp-parts-count": None} if says == 206 else None)
        side("head", "HEAD", "k", {"partNumber": number}, says=says, shows={"x-amz-mp-parts-count": None} if says == 206 else None)

    return tell


for number, says, gives in [("1", 206, BODY), ("2", "InvalidPartNumber", None), ("0", "InvalidArgument", None),
                            ("10001", "InvalidArgument", None), ("x", "InvalidArgument", None)]:  # fmt: skip
    add("part reads", f"part {number} of a single PUT", one(number, says, gives))


@case("part reads")
def beyond_the_last(side):
    uploaded(side)
    side("get", "GET", "k", {"partNumber": "4"}, says="InvalidPartNumber")


@case("part reads")
def with_a_range(side):
    side("put", "PUT", "k", body=BODY)
    side("get", "GET", "k", {"partNumber": "1"}, {"range": "bytes=0-1"}, says="InvalidRequest")
