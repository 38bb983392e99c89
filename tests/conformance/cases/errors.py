"""Refusals that belong to no single operation, signatures, presigned URLs."""

import datetime
import urllib.parse

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from harness.differential import add, case
from harness.fronts import REGION
from harness.raw import Endpoint, quote

from .bodies import BODY

PRESIGNED = "presigned"


def presign(side, method, key, query=None, seconds=300, secret=None, access=None):
    """Path and query of a presigned URL."""
    end = side.endpoint
    url = f"http://{end.host}/{side.bucket}/{quote(side.key(key), '/')}"
    if query:
        url += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    request = AWSRequest(method, url)
    S3SigV4QueryAuth(Credentials(access or end.access_key, secret or end.secret_key), "s3", REGION, seconds).add_auth(request)
    return request.url.split(end.host, 1)[1]


def send(side, step, method, target, key="k", body=b"", headers=None, says=200, gives=None, shows=None):
    """A request without an Authorization header."""
    lines = {"host": side.endpoint.host, "content-length": str(len(body)), **(headers or {})}
    head = "\r\n".join([f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""])
    answer = side.endpoint.exchange(head.encode() + body, method)
    query = urllib.parse.parse_qsl(target.partition("?")[2], keep_blank_values=True)
    return side.record(step, method, key, query, headers, answer, says, gives, shows)


@case(PRESIGNED)
def get(side):
    side("put", "PUT", "k", body=BODY)
    send(side, "get", "GET", presign(side, "GET", "k"), gives=BODY)
    send(side, "head", "HEAD", presign(side, "HEAD", "k"))


@case(PRESIGNED)
def put_and_delete(side):
    send(side, "put", "PUT", presign(side, "PUT", "k"), body=BODY)
    side("get", "GET", "k", gives=BODY)
    send(side, "delete", "DELETE", presign(side, "DELETE", "k"), says=204)
    side("gone", "GET", "k", says="NoSuchKey")


@case(PRESIGNED)
def get_of_an_unusual_name(side):
    side("put", "PUT", "ü +%&/b c", body=BODY)
    send(side, "get", "GET", presign(side, "GET", "ü +%&/b c"), gives=BODY)


@case(PRESIGNED)
def get_with_a_range(side):
    side("put", "PUT", "k", body=BODY)
    send(side, "get", "GET", presign(side, "GET", "k"), headers={"range": "bytes=1-9"}, says=206, gives=BODY[1:10])


@case(PRESIGNED)
def get_with_overrides(side):
    side("put", "PUT", "k", body=BODY)
    query = {"response-content-disposition": 'attachment; filename="a b"', "response-content-type": "text/x"}
    send(side, "get", "GET", presign(side, "GET", "k", query), shows={"content-type": "text/x"})


@case(PRESIGNED)
def get_of_a_missing_object(side):
    send(side, "get", "GET", presign(side, "GET", "none"), says="NoSuchKey")


@case(PRESIGNED)
def parts(side):
    from .uploads import complete, create

    upload = create(side)
    target = presign(side, "PUT", "k", {"partNumber": "1", "uploadId": upload})
    answer = send(side, "part", "PUT", target, body=BODY)
    complete(side, upload, [(1, answer.headers.get("etag", ""))])
    side("get", "GET", "k", gives=BODY)


@case(PRESIGNED)
def damaged_signature(side):
    side("put", "PUT", "k", body=BODY)
    target = presign(side, "GET", "k")
    changed = target[:-1] + ("0" if target[-1] != "0" else "1")
    send(side, "get", "GET", changed, says="SignatureDoesNotMatch")


@case(PRESIGNED)
def other_method(side):
    send(side, "put", "PUT", presign(side, "GET", "k"), body=BODY, says="SignatureDoesNotMatch")
    side("nothing there", "GET", "k", says="NoSuchKey")


@case(PRESIGNED)
def other_name(side):
    side("put", "PUT", "k", body=BODY)
    side("put other", "PUT", "l", body=b"other")
    send(side, "get", "GET", presign(side, "GET", "k").replace("/k?", "/l?"), says="SignatureDoesNotMatch")


@case(PRESIGNED)
def other_secret(side):
    side("put", "PUT", "k", body=BODY)
    send(side, "get", "GET", presign(side, "GET", "k", secret="wrong"), says="SignatureDoesNotMatch")


@case(PRESIGNED)
def unknown_access_key(side):
    send(side, "get", "GET", presign(side, "GET", "k", access="NOSUCHKEY"), says="InvalidAccessKeyId")


@case(PRESIGNED)
def longer_than_a_week(side):
    side("put", "PUT", "k", body=BODY)
    send(side, "get", "GET", presign(side, "GET", "k", seconds=604_801), says="AuthorizationQueryParametersError")


@case(PRESIGNED)
def added_parameter(side):
    side("put", "PUT", "k", body=BODY)
    send(side, "get", "GET", presign(side, "GET", "k") + "&response-content-type=text/html", says="SignatureDoesNotMatch")


@case("errors")
def anonymous(side):
    side("put", "PUT", "k", body=BODY)
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        send(side, method, method, f"/{side.bucket}/{side.key('k')}", says="AccessDenied")
    send(side, "list", "GET", f"/{side.bucket}", key="", says="AccessDenied")
    side("still there", "GET", "k", gives=BODY)


def other_endpoint(**changes):
    def tell(side):
        good = side.endpoint
        end = Endpoint(f"{good.scheme}://{good.host}", changes.get("access", good.access_key), changes.get("secret", good.secret_key))
        now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=changes.get("minutes", 0))
        answer = end.send("GET", f"/{side.bucket}/{side.key('k')}", now=now, region=changes.get("region", REGION))
        side.record("get", "GET", "k", [], {}, answer, changes["says"])

    return tell


add("errors", "wrong secret", other_endpoint(secret="wrong", says="SignatureDoesNotMatch"))
add("errors", "unknown access key", other_endpoint(access="NOSUCHKEY", says="InvalidAccessKeyId"))
add("errors", "clock an hour behind", other_endpoint(minutes=-60, says="RequestTimeTooSkewed"))
add("errors", "clock an hour ahead", other_endpoint(minutes=60, says="RequestTimeTooSkewed"))
add("errors", "clock ten minutes behind", other_endpoint(minutes=-10, says="NoSuchKey"))
add("errors", "wrong region", other_endpoint(region="eu-nowhere-7", says=("AuthorizationHeaderMalformed", "NoSuchKey")))


@case("errors")
def put_without_a_length(side):
    path = f"/{side.bucket}/{side.key('k')}"
    headers = side.endpoint.signed("PUT", path).headers
    answer = side.endpoint.exchange(side.endpoint.head("PUT", path, [], headers), "PUT")
    side.record("put", "PUT", "k", [], {}, answer, "MissingContentLength")
    side("nothing there", "GET", "k", says="NoSuchKey")


@case("errors")
def put_cut_short(side):
    path = f"/{side.bucket}/{side.key('k')}"
    headers = side.endpoint.signed("PUT", path, headers={"content-length": "1000"}, hide=("content-length",)).headers
    side.endpoint.exchange(side.endpoint.head("PUT", path, [], headers) + b"x" * 500, "PUT", finish=True)
    side("nothing there", "GET", "k", says="NoSuchKey")


def unknown(method, query, says, key="k"):
    def tell(side):
        side("request", method, key, query, says=says)

    return tell


add("errors", "method PATCH", unknown("PATCH", {}, ("MethodNotAllowed", "NotImplemented")))
add("errors", "POST to an object", unknown("POST", {}, ("MethodNotAllowed", "NotImplemented")))
add("errors", "POST to a bucket with an unknown parameter", unknown("POST", {"unknown": ""}, ("MethodNotAllowed", "NotImplemented"), ""))
add("errors", "unknown storage class", lambda side: side(
    "put", "PUT", "k", headers={"x-amz-storage-class": "NONSENSE"}, body=b"x", says="InvalidStorageClass"))  # fmt: skip
add("errors", "unknown canned ACL", lambda side: side(
    "put", "PUT", "k", headers={"x-amz-acl": "nonsense"}, body=b"x", says="InvalidArgument"))  # fmt: skip
