"""One case told twice: directly at a store and through a gateway before it; and what may differ.

A case is a function of a `Side`: each call sends one request, says what S3 answers to it, and records
the answer in a form in which ids, dates and entity tags are comparable.
"""

import re
import tomllib
import uuid
import xml.etree.ElementTree
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from .operations import operation
from .raw import Endpoint, quote

ALLOWED_FILE = Path(__file__).resolve().parents[1] / "conformance" / "allowed.toml"
# Headers that carry meaning for clients; request ids, dates and transport headers are not compared.
HEADERS = [
    "accept-ranges", "cache-control", "content-disposition", "content-encoding", "content-language",
    "content-length", "content-range", "content-type", "etag", "expires", "last-modified", "location",
    "x-amz-bucket-region", "x-amz-copy-source-version-id", "x-amz-delete-marker", "x-amz-mp-parts-count",
    "x-amz-missing-meta", "x-amz-storage-class", "x-amz-version-id", "x-amz-website-redirect-location",
]  # fmt: skip
PREFIXES = ("x-amz-meta-", "x-amz-checksum-", "x-amz-object-lock-", "x-amz-server-side-encryption")
# Leaves of documents that are the server's own.
OWN = {"RequestId", "HostId", "Message", "ID", "DisplayName", "Resource", "Location", "BucketName", "Owner", "Initiator"}
OPAQUE = {"UploadId", "NextUploadIdMarker", "ContinuationToken", "NextContinuationToken"}
# Operations whose answers carry the tags of parts.
PARTS = {"UploadPart", "UploadPartCopy", "ListParts"}
# The status of each error code, where a case names a code.
STATUS = {
    "AccessDenied": 403, "BucketNotEmpty": 409, "EntityTooLarge": 400, "IllegalVersioningConfigurationException": 400,
    "InvalidAccessKeyId": 403, "InvalidRange": 416, "InvalidPartNumber": 416, "InvalidBucketState": 409,
    "BucketAlreadyOwnedByYou": 409, "MethodNotAllowed": 405, "MissingContentLength": 411, "NoSuchBucket": 404,
    "NoSuchKey": 404, "NoSuchUpload": 404, "NoSuchVersion": 404, "NotImplemented": 501, "NotModified": 304,
    "PreconditionFailed": 412, "RequestTimeTooSkewed": 403, "SignatureDoesNotMatch": 403,
    "NoSuchLifecycleConfiguration": 404, "NoSuchCORSConfiguration": 404, "NoSuchTagSet": 404, "NoSuchBucketPolicy": 404,
    "NoSuchWebsiteConfiguration": 404, "ServerSideEncryptionConfigurationNotFoundError": 404,
    "OwnershipControlsNotFoundError": 404, "NoSuchPublicAccessBlockConfiguration": 404,
    "ObjectLockConfigurationNotFoundError": 404, "ReplicationConfigurationNotFoundError": 404,
}  # fmt: skip


@dataclass
class Case:
    """A named story. `bucket` names the bucket it happens in: "own" is fresh, others are shared by their cases."""

    area: str
    name: str
    tell: Callable
    bucket: str = "shared"

    def __str__(self):
        return f"{self.area}/{self.name}"


CASES = []


def case(area, name=None, bucket="shared"):
    """Makes a function a case."""

    def register(tell):
        add(area, name or tell.__name__.replace("_", " "), tell, bucket)
        return tell

    return register


def add(area, name, tell, bucket="shared"):
    CASES.append(Case(area, name, tell, bucket))


@dataclass
class Step:
    """One answer, made comparable; the operation; and whether it is what S3 says."""

    seen: dict
    operation: str
    wrong: str


class Side:
    """One side of a case."""

    def __init__(self, endpoint, bucket, prefix=""):
        self.endpoint, self.bucket, self.prefix = endpoint, bucket, prefix
        self.steps, self.names, self.others = {}, {}, set()

    def key(self, key):
        """The whole name of an object of this case."""
        return self.prefix + key

    def source(self, key, version=None, bucket=None):
        """The value of x-amz-copy-source."""
        path = quote(f"/{bucket or self.bucket}/{self.key(key)}", "/")
        return path + (f"?versionId={version}" if version else "")

    def __call__(self, step, method, key="", query=(), headers=None, body=b"", says=None, gives=None, shows=None,
                 bucket=None, **options):  # fmt: skip
        """Sends a request. `says`: the status or error code of S3; `gives`: the body; `shows`: headers."""
        key = self.key(key) if key else ""
        path = f"/{bucket or self.bucket}" + (f"/{key}" if key else "")
        self.others |= {bucket} if bucket else set()
        query = [*(query.items() if isinstance(query, dict) else query)]
        answer = self.endpoint.send(method, path, query, headers, body, **options)
        says = says or (204 if method == "DELETE" else 200)
        return self.record(step, method, key, query, headers, answer, says, gives, shows)

    def record(self, step, method, key, query, headers, answer, says, gives=None, shows=None):
        """Keeps an answer that came by whatever way."""
        assert step not in self.steps, f"two steps are named {step}"
        wrong = "connection closed" if answer is None else _wrong(answer, method, says, gives, shows)
        name = operation(method, key, query, headers or {})
        self.steps[step] = Step(self._comparable(answer, name), name, wrong)
        return answer

    def tag(self, etag, kind="etag"):
        """Entity tags by the order of their first appearance; those of parts by themselves."""
        plain = etag.replace("&quot;", "").replace("&#34;", "").strip('"')
        # Of the tag of a part, what belongs to the store.
        plain = re.sub(r"^([0-9a-f]{32})-(u|[A-Za-z0-9_-]{60,}|0)$", r"\1", plain)
        return self._named(kind, plain)

    def _named(self, kind, value):
        names = self.names.setdefault(kind, {})
        return f"<{kind} {names.setdefault(value, len(names))}>"

    def _comparable(self, answer, name):
        if answer is None:
            return {"status": "connection closed"}
        seen = {"status": answer.status}
        for header, value in answer.headers.items():
            if header in HEADERS or header.startswith(PREFIXES):
                seen[f"header:{header}"] = self._value(header, value, name)
        if answer.status >= 300:
            # What else a refusal tells of the object differs between stores, and programs do not read it.
            seen = {key: value for key, value in seen.items() if key in ("status", "header:x-amz-delete-marker")}
        if name == "GetBucketPolicy" and answer.status == 200:
            return {"status": answer.status, "body": self._placed(answer.body.decode())}
        reads = name in ("GetObject", "HeadObject") and answer.status in (200, 206)
        if not reads:
            seen.pop("header:accept-ranges", None)
            seen.pop("header:last-modified", None)
            seen.pop("header:cache-control", None)
        is_xml = "xml" in answer.headers.get("content-type", "") or answer.body.startswith(b"<?xml")
        if not reads and (is_xml or answer.status >= 300 or not answer.body):
            # Documents differ in length and in the name of their type, answers without a body in both.
            seen.pop("header:content-length", None)
            seen.pop("header:content-type", None)
            document = self._document(answer.body, "part" if name in PARTS else "etag")
            if "body" not in document or answer.status < 300:
                seen.update(document)
        else:
            seen["body"] = answer.body
        return seen

    def _value(self, name, value, operation_name):
        if name == "etag":
            return self.tag(value, "part" if operation_name in PARTS else "etag")
        if name == "last-modified":
            return "<date>"
        if name in ("x-amz-version-id", "x-amz-copy-source-version-id"):
            return value if value == "null" else self._named("version", value)
        return self._placed(value)

    def _placed(self, text):
        """Without the names that differ between the sides."""
        for bucket in (self.bucket, *self.others):
            text = text.replace(bucket, "<bucket>")
        return text.replace(self.endpoint.host, "<host>")

    def _document(self, body, kind):
        """A document as the lists of its leaves, by their path."""
        if not body:
            return {}
        try:
            root = xml.etree.ElementTree.fromstring(body)
        except xml.etree.ElementTree.ParseError:
            return {"body": body}
        found = {"xml:": root.tag.split("}")[-1]}
        if found["xml:"] == "Error":
            return {**found, "xml:Code": root.findtext("Code") or root.findtext("{*}Code")}
        self._leaves(root, "", found, kind)
        # Stores answer the deletions of one request in any order.
        ordered = sorted if found["xml:"] == "DeleteResult" else list
        values = {name: value if isinstance(value, str) else ordered(value) for name, value in found.items()}
        return {name: value[0] if len(value) == 1 and isinstance(value, list) else value for name, value in values.items()}

    def _leaves(self, element, path, found, kind):
        for child in element:
            name = child.tag.split("}")[-1]
            if name in OWN:
                continue
            where = f"{path}.{name}" if path else name
            if len(child):
                self._leaves(child, where, found, kind)
            else:
                found.setdefault(f"xml:{where}", []).append(self._leaf(name, child.text or "", kind))

    def _leaf(self, name, text, kind):
        if name in ("LastModified", "CreationDate", "Initiated"):
            return "<date>" if re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", text) else text
        if name == "ETag":
            return self.tag(text, kind)
        if name in ("VersionId", "DeleteMarkerVersionId", "NextVersionIdMarker", "VersionIdMarker") and text not in ("null", ""):
            return self._named("version", text)
        return ("<opaque>" if text else "") if name in OPAQUE else self._placed(text)


def _wrong(answer, method, says, gives, shows):
    """What is not as S3 says, or nothing; several values where S3's documents leave it open."""
    if isinstance(says, tuple):
        found = [_wrong(answer, method, one, gives, shows) for one in says]
        return "" if "" in found else found[0]
    status = STATUS.get(says, 400) if isinstance(says, str) else says
    if answer.status != status:
        return f"status {answer.status}, S3 says {says}"
    if isinstance(says, str) and method != "HEAD" and says != "NotModified" and answer.code != says:
        return f"code {answer.code}, S3 says {says}"
    if gives is not None and answer.body != gives:
        return "another body"
    for name, value in (shows or {}).items():
        if answer.headers.get(name) != value:
            return f"{name}: {answer.headers.get(name)}, S3 says {value}"
    return ""


@dataclass
class Difference:
    """One field of one step."""

    case: str
    step: str
    field: str
    direct: object
    gateway: object
    # The gateway's answer is what S3 says and the store's is not.
    as_s3: bool
    operation: str = ""
    reason: str = ""


def differences(case, direct, gateway):
    """Every field in which the sides differ."""
    for step in [*direct.steps, *(step for step in gateway.steps if step not in direct.steps)]:
        one, other = direct.steps.get(step), gateway.steps.get(step)
        if one is None or other is None:
            yield Difference(str(case), step, "step", bool(one), bool(other), False, (one or other).operation)
            continue
        as_s3 = bool(one.wrong and not other.wrong)
        for name in sorted(one.seen.keys() | other.seen.keys()):
            if one.seen.get(name) != other.seen.get(name):
                yield Difference(str(case), step, name, one.seen.get(name), other.seen.get(name), as_s3, one.operation)


class Allowed:
    """The checked-in list of differences, and which of its entries were used."""

    def __init__(self, entries=None):
        self.entries = tomllib.loads(ALLOWED_FILE.read_text()).get("allow", []) if entries is None else entries
        self.used = set()

    @staticmethod
    def lacks():
        """What stores lack: by store and bucket of cases, with a reason."""
        found = {}
        for entry in tomllib.loads(ALLOWED_FILE.read_text()).get("lacks", []):
            for store in entry["store"]:
                found.setdefault(store, {}).update({bucket: entry["reason"] for bucket in entry["buckets"]})
        return found

    def explain(self, store, difference):
        """Marks every entry that speaks of this difference; the reason of the first."""
        for number, entry in enumerate(self.entries):
            if _speaks_of(entry, store, difference):
                self.used.add((store, number))
                difference.reason = difference.reason or entry["reason"]
        return bool(difference.reason)

    def stale(self, stores, all_ran):
        """Entries that a store they name, of these that ran, did not need; those for any store if all ran."""
        for number, entry in enumerate(self.entries):
            used = {store for store in stores if (store, number) in self.used}
            named = [store for store in stores if store in entry["store"]]
            unused = [store for store in named if store not in used]
            if unused or (all_ran and entry["store"] == ["*"] and not used):
                yield f"{unused or 'all'}: {entry}"


def _speaks_of(entry, store, difference):
    return (
        (store in entry["store"] or entry["store"] == ["*"])
        and re.fullmatch(entry["case"], difference.case) is not None
        and re.fullmatch(entry.get("step", ".*"), difference.step) is not None
        and re.fullmatch(entry["field"], difference.field) is not None
        and entry.get("direct", str(difference.direct)) == str(difference.direct)
        and entry.get("gateway", str(difference.gateway)) == str(difference.gateway)
        and (difference.as_s3 or not entry.get("as_s3", False))
    )


@dataclass
class Bench:
    """A store and a gateway before it, with the buckets that cases share."""

    store: object
    gateway: object
    buckets: dict = field(default_factory=dict)

    def __post_init__(self):
        self.direct_end = Endpoint(self.store.url, self.store.access_key, self.store.secret_key)
        self.gateway_end = Endpoint(self.gateway.url, self.gateway.access_key, self.gateway.secret_key)

    def sides(self, told):
        """Both sides of a case, in their buckets."""
        if told.bucket == "own" or told.bucket not in self.buckets:
            pair = (self._bucket(self.direct_end, "d", told.bucket), self._bucket(self.gateway_end, "g", told.bucket))
            self.buckets[told.bucket] = pair
        names = self.buckets[told.bucket]
        # Cases that look at whole buckets choose their own names.
        prefix = re.sub("[^a-z0-9]+", "-", str(told).lower()).strip("-")[:40] + f"-{CASES.index(told)}/"
        prefix = prefix if told.bucket in ("shared", "versions", "second") else ""
        return Side(self.direct_end, names[0], prefix), Side(self.gateway_end, names[1], prefix)

    def _bucket(self, endpoint, label, group):
        name = f"{label}-{uuid.uuid4().hex[:12]}"
        side = Side(endpoint, name)
        answer = side("create", "PUT")
        assert answer is not None and answer.status == 200, f"no bucket at {endpoint.host}: {answer}"
        for fill in FIXTURES.get(group, ()):
            fill(side)
        return name


# What a shared bucket is filled with, by its name.
FIXTURES = {}


def fixture(group):
    def register(fill):
        FIXTURES.setdefault(group, []).append(fill)
        return fill

    return register
