"""Promise: no plaintext, key, secret, signature, plaintext checksum, metadata or tag reaches the store, a log, a metric or an
error document.

How: canaries are planted in everything that a client sends and in every key, and requests of all kinds are made, also wrong ones and
of objects that were changed, with the gateway logging everything it can (trace). Then all of it is searched, in every form that the
canaries could be shown in. What the store received is searched as bytes: request lines, headers, bodies, names.
"""

import base64
import hashlib
import json
import re
import secrets
import zlib

import pytest

from adversary.catalogue import LEDGER
from adversary.conftest import Hostile
from adversary.victim import HEADER, MIN
from harness import leaks, settings
from harness.adversary import Adversary
from harness.fronts import boto, error_of
from harness.raw import Endpoint
from harness.software import SoftwareSite
from harness.stores import EmbeddedStore
from second_reader import reader

pytestmark = pytest.mark.gateway


class Traced(SoftwareSite):
    """A site whose gateway logs everything."""

    def config(self, name, *arguments, **options):
        path = super().config(name, *arguments, **options)
        path.write_text(re.sub(r'level = "\w+"', 'level = "trace"', path.read_text()))
        return path


@pytest.fixture(scope="module")
def traced(work):
    if not settings.DEVSTORE:
        pytest.skip("the embedded store is not built: cargo build -p sceau-devstore --example serve")
    store = EmbeddedStore(work / "leak-store")
    liar = Adversary(store, keep_bodies=True)
    site = Traced(work / "leak-site", liar, "leak-control").begin(store)
    front = Hostile("leak", site.start("leak"), work / "leak", liar)
    yield front
    site.stop()
    liar.stop()
    store.stop()


class Planted:
    """Canaries, what was sent, and what was answered with an error."""

    def __init__(self, front):
        self.front, self.canaries, self.signatures, self.errors = front, {}, [], []
        self.endpoint = Endpoint.of(front)

    def text(self, name, length=12):
        value = f"canary{secrets.token_hex(length)}"
        self.canaries[name] = value
        return value

    def send(self, method, path, query=(), headers=None, body=b"", sign=True, **options):
        def keep(sent):
            found = re.search(r"Signature=([0-9a-f]{64})", sent.get("authorization", ""))
            if found:
                self.signatures.append(found[1])

        options.setdefault("after", keep)
        answer = self.endpoint.send(method, path, query, headers, body, sign=sign, **options)
        if answer is not None and answer.status >= 400:
            self.errors.append(answer.body + str(answer.headers).encode())
        return answer


def plant_body(planted, name, size):
    """A body with canaries at its borders; its checksums are canaries too."""
    mark = planted.text(f"plaintext of {name}", 20).encode()
    body = (mark + bytes(size))[: size - len(mark)] + mark
    for algorithm in ("md5", "sha1", "sha256"):
        planted.canaries[f"{algorithm} of {name}"] = hashlib.new(algorithm, body).digest()
    planted.canaries[f"crc32 of {name}"] = base64.b64encode(zlib.crc32(body).to_bytes(4, "big"))
    return body


def act(planted, bucket):
    """Requests of every kind that carries something."""
    front, send = planted.front, planted.send
    small, long = plant_body(planted, "a small object", 300), plant_body(planted, "a long object", 200_000)
    headers = {
        "content-type": f"text/{planted.text('content type')}",
        "cache-control": planted.text("cache control"),
        "content-disposition": planted.text("content disposition"),
        "x-amz-meta-plain": planted.text("user metadata"),
        f"x-amz-meta-{planted.text('name of user metadata')}": "v",
        "x-amz-tagging": f"{planted.text('tag key')}={planted.text('tag value')}",
        "content-md5": base64.b64encode(hashlib.md5(small).digest()).decode(),
        "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(small).digest()).decode(),
        "user-agent": planted.text("user agent"),
        "referer": planted.text("referer"),
    }
    assert send("PUT", f"/{bucket}/k", headers=headers, body=small).status == 200
    assert send("PUT", f"/{bucket}/long", body=long).status == 200
    # Signed chunks and trailers, as SDKs send them.
    for checksum in ("CRC32", "SHA256"):
        front.s3.put_object(Bucket=bucket, Key="sdk", Body=plant_body(planted, f"an SDK's object, {checksum}", 70_000), ChecksumAlgorithm=checksum)
    for span in (None, "bytes=0-9", "bytes=199990-"):
        got = send("GET", f"/{bucket}/long", headers={"range": span} if span else {})
        assert got.status in (200, 206)
    for method in ("GET", "HEAD"):
        assert send(method, f"/{bucket}/k").status == 200
    assert send("GET", f"/{bucket}", {"list-type": "2"}).status == 200
    tags = f"<Tag><Key>{planted.text('second tag key')}</Key><Value>{planted.text('second tag value')}</Value></Tag>"
    assert send("PUT", f"/{bucket}/k", {"tagging": ""}, body=f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()).status == 200
    assert send("GET", f"/{bucket}/k", {"tagging": ""}).status == 200
    copied = {"x-amz-copy-source": f"/{bucket}/k", "x-amz-metadata-directive": "REPLACE", "x-amz-meta-other": planted.text("replaced metadata")}
    assert send("PUT", f"/{bucket}/copy", headers=copied).status == 200
    names = {"Bucket": bucket, "Key": "multi"}
    made = front.s3.create_multipart_upload(**names, Metadata={"m": planted.text("an upload's metadata")}, ChecksumAlgorithm="SHA256")
    names["UploadId"] = made["UploadId"]
    parts = []
    for number, size in ((1, MIN), (2, 400)):
        body = plant_body(planted, f"part {number}", size)
        done = front.s3.upload_part(**names, PartNumber=number, Body=body, ChecksumAlgorithm="SHA256")
        parts.append({"PartNumber": number, "ETag": done["ETag"], "ChecksumSHA256": done["ChecksumSHA256"]})
    planted.state = [k for k in listed(front, front.server.site.control_bucket, "mpu/") if "/" not in k[4:]]
    front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    url = front.s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=600)
    planted.signatures.append(re.search("X-Amz-Signature=([0-9a-f]{64})", url)[1])
    path, _, query = url.split(front.host)[1].partition("?")
    pairs = [tuple(pair.split("=", 1)) for pair in query.split("&")]
    assert planted.endpoint.send("GET", path, [(n, reader_unquote(v)) for n, v in pairs], sign=False).status == 200


def reader_unquote(text):
    from urllib.parse import unquote

    return unquote(text)


def listed(front, bucket, prefix=""):
    return [entry["Key"] for entry in front.at_store().list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


def go_wrong(planted, bucket):
    """Requests that are refused, and objects that were changed."""
    front, send = planted.front, planted.send
    body = plant_body(planted, "a refused object", 500)
    wrong = {"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode(), "x-amz-meta-a": planted.text("refused metadata")}
    assert send("PUT", f"/{bucket}/no", headers=wrong, body=body).status == 400
    assert send("PUT", f"/{bucket}/no", headers={"x-amz-meta-a": planted.text("long metadata") * 90}, body=body).status == 400
    assert send("PUT", f"/{bucket}/no", headers={"x-amz-unknown": planted.text("an unknown header")}, body=body).status >= 400
    assert send("POST", f"/{bucket}", {"delete": ""}, body=f"<Delete>{planted.text('a wrong document')}".encode()).status >= 400
    stranger = boto(front.url, front.access_key, planted.text("a wrong secret"))
    assert error_of(stranger.get_object, Bucket=bucket, Key="k") == "SignatureDoesNotMatch"
    stored = front.at_store().get_object(Bucket=bucket, Key="long")
    data = bytearray(stored["Body"].read())
    data[100_000] ^= 1
    front.at_store().put_object(Bucket=bucket, Key="long", Body=bytes(data), Metadata=stored["Metadata"])
    assert send("GET", f"/{bucket}/long") is None
    assert send("GET", f"/{bucket}/long", headers={"range": "bytes=100000-100009"}).status == 409
    assert send("GET", f"/{bucket}/nothing").status == 404


def keys_of(planted, bucket):
    """Every key that the test can compute."""
    front, site = planted.front, planted.front.server.site
    ring = reader.Keyring((site.folder / "leak-keyring").read_bytes(), keks=site.keks())
    records = ring.unwrap(site.keks())
    found = {f"KEK {version}": key for version, key in site.keks().items()}
    for record in records.values():
        found[f"epoch key {record.krid.hex()[:6]}"] = record.key
        found |= {f"K_{label} {record.krid.hex()[:6]}": reader.prf(record.key, label) for label in ("hdr", "mpu", "ver", "stash")}
    (mac,) = [record for record in ring.records.values() if record.purpose == 3]
    found["MAC key"] = mac.unwrap(site.keks()).key
    for key in listed(front, bucket):
        value = front.at_store().head_object(Bucket=bucket, Key=key)["Metadata"][HEADER]
        header = reader.open_header(value, records, ring.bucket(bucket), key.encode())
        found[f"DEK of {key}"] = header.dek
        found[f"part key of {key}"] = reader.prf(header.dek, "part", header.oid + bytes(2))
        for label in ("manifest", "footer", "ticket", "tags"):
            found[f"{label} key of {key}"] = reader.prf(header.dek, label, header.oid)
    return found


@pytest.mark.row("O4", "O5")
def test_no_canary_is_where_it_should_not_be(traced, request):
    planted, bucket = Planted(traced), traced.new_bucket("leaks")
    act(planted, bucket)
    keys = keys_of(planted, bucket)
    go_wrong(planted, bucket)
    secret = {"client's secret": traced.secret_key, "second client's secret": "limited-secret-key-for-tests"}
    signatures = {f"signature {index}": value for index, value in enumerate(planted.signatures)}
    everything = {**planted.canaries, **keys, **secret, **signatures}
    site = traced.server.site
    at_rest = {f"stored {path.name}": path.read_bytes() for path in (site.folder.parent / "leak-store").rglob("*") if path.is_file()}
    places = {
        "log": (traced.server.server.log.read_bytes(), everything | {"store's secret": traced.store.secret_key}),
        "metrics": (traced.server.admin("/metrics")[1].encode() + traced.server.admin("/readyz?verbose")[1].encode(), everything),
        # A client's own signature and document may be quoted back to it; nothing else of anybody.
        "error answers": (b"".join(planted.errors), keys | secret | {k: v for k, v in planted.canaries.items() if "plaintext" in k or " of " in k}),
        "what the store received": (traced.liar.seen, everything),
        "what the store keeps": (b"".join(at_rest.values()), everything),
        "keyring copy": ((site.folder / "leak-keyring").read_bytes(), everything),
    }
    counts = {}
    for place, (data, canaries) in places.items():
        assert len(data) > 300, place
        found = leaks.search(data, canaries)
        assert not found, f"{place}: {found}"
        # The search is able to find: the same place with one line more.
        for name in ("plaintext of a long object", "DEK of k", "client's secret"):
            shown = canaries.get(name, keys["DEK of k"])
            shown = shown.encode() if isinstance(shown, str) else shown
            assert leaks.search(data + b"INFO " + base64.b64encode(b"ab" + shown), canaries | {name: shown})
        counts[place] = f"{len(data)} bytes, {len(canaries)} canaries"
        LEDGER.note("none found")
    assert not leaks.SIGNATURE.search(places["log"][0])
    print(json.dumps(counts, indent=1))


@pytest.mark.row("O4")
def test_the_gateway_leaves_no_core_file(traced):
    limits = open(f"/proc/{traced.server.server.pid}/limits").read()
    assert re.search(r"Max core file size\s+0\s+0\s", limits), limits
    LEDGER.note("none found")
