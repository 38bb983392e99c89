"""Buckets: making, asking, removing; and what is refused."""

import uuid

from harness.differential import add, case

from .bodies import element


def fresh():
    return f"b-{uuid.uuid4().hex[:12]}"


@case("buckets", bucket="own")
def location(side):
    side("location", "GET", query={"location": ""})


@case("buckets", bucket="own")
def head(side):
    side("head", "HEAD")


@case("buckets", bucket="own")
def create_again(side):
    side("put", "PUT", "k", body=b"x")
    side("create", "PUT", says=(200, "BucketAlreadyOwnedByYou"))
    side("still there", "GET", "k", gives=b"x")


@case("buckets", bucket="own")
def delete_a_full_one(side):
    side("put", "PUT", "k", body=b"x")
    side("delete", "DELETE", says="BucketNotEmpty")
    side("still there", "GET", "k", gives=b"x")


@case("buckets", bucket="own")
def delete_and_make_again(side):
    side("put", "PUT", "k", body=b"x")
    side("delete object", "DELETE", "k")
    side("delete", "DELETE")
    side("gone", "HEAD", says="NoSuchBucket")
    side("list gone", "GET", says="NoSuchBucket")
    side("delete again", "DELETE", says="NoSuchBucket")
    side("make again", "PUT")
    side("empty", "GET", query={"list-type": "2"})


@case("buckets", bucket="own")
def delete_with_an_open_upload(side):
    upload = element(side("create", "POST", "k", {"uploads": ""}), "UploadId")
    side("abort", "DELETE", "k", {"uploadId": upload})
    side("delete", "DELETE")


@case("buckets", bucket="own")
def with_a_location(side):
    body = b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>"
    side("create again", "PUT", body=body, says=("InvalidLocationConstraint", "BucketAlreadyOwnedByYou"))


@case("buckets")
def missing(side):
    for step, method, query in [
        ("head", "HEAD", {}),
        ("list", "GET", {}),
        ("location", "GET", {"location": ""}),
        ("versions", "GET", {"versions": ""}),
        ("uploads", "GET", {"uploads": ""}),
        ("delete", "DELETE", {}),
    ]:
        side(step, method, query=query, bucket="no-such-bucket-0", says="NoSuchBucket")


@case("buckets")
def objects_of_a_missing_one(side):
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        side(method, method, "k", bucket="no-such-bucket-0", says="NoSuchBucket")


def wrong_name(name):
    def tell(side):
        side("create", "PUT", bucket=name, says="InvalidBucketName")

    return tell


for label, name in {
    "upper case": "UPPER-case",
    "underscore": "under_score",
    "two letters": "ab",
    "64 letters": "a" * 64,
    "address": "192.168.1.1",
    "dash first": "-abc",
    "dash last": "abc-",
    "two dots": "a..b",
    "dot and dash": "a.-b",
    "blank": "a b c",
    "xn prefix": "xn--abc",
}.items():
    add("buckets", f"name {label}", wrong_name(name))


def right_name(make):
    def tell(side):
        # Names differ between the sides, and are long enough to be nobody else's.
        name = make(fresh())
        side("create", "PUT", bucket=name, shows={"location": f"/{name}"})
        side("head", "HEAD", bucket=name)
        side("delete", "DELETE", bucket=name)

    return tell


for label, make in {
    "63 letters": lambda name: (name + "x" * 63)[:63],
    "dots": lambda name: f"a.{name}.b",
    "digits": lambda name: str(uuid.uuid4().int)[:20],
}.items():
    add("buckets", f"name with {label}", right_name(make))
