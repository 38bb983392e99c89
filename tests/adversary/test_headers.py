"""Promise: what a client is told of an object is what was sealed, and nothing that the store says chooses how it is opened.

How: rows M, G and K of the catalogue: headers, metadata, lengths, suites, key records and the keyring are changed, at
rest, on the way, and by somebody who has the keyring's MAC key.
"""

import base64
import hashlib
import hmac
import json

import pytest

from adversary.catalogue import LEDGER
from adversary.conftest import hostile_front
from adversary.victim import HEADER, MIN, Victim, multipart, security_events, log_place, single
from harness import settings
from harness.process import wait_until
from harness.raw import Endpoint
from second_reader import reader

pytestmark = pytest.mark.gateway


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def keyring_of(front):
    site = front.server.site
    return reader.Keyring((site.folder / f"{front.name}-keyring").read_bytes(), keks=site.keks())


@pytest.mark.row("M1")
def test_a_header_twice_or_spelt_otherwise(hostile, den, content):
    victim, other = single(hostile, den, "k", content(500, 1)), single(hostile, den, "o", content(500, 2))
    victim.check_right()
    name = f"x-amz-meta-{HEADER}"
    for values in ([victim.header, victim.header], [victim.header, other.header], [other.header, victim.header], [victim.header, ""]):
        def twice(request, answer, values=values):
            if request.is_read_of(den, "k"):
                answer.set(name, *values)

        with hostile.liar.lying(twice):
            victim.check("two headers", ranges_may_be_right=False, classes=["header"])

    def respelt(request, answer):
        if request.is_read_of(den, "k"):
            answer.set(name)
            answer.set("X-AMZ-Meta-SCEAUH1", victim.header)

    with hostile.liar.lying(respelt):
        # Names of HTTP fields have no case.
        victim.check_right()
        LEDGER.note("right")


@pytest.mark.row("M2")
def test_what_the_store_says_of_the_object_is_not_passed_on(hostile, den):
    hostile.s3.put_object(Bucket=den, Key="k", Body=b"x", ContentType="text/plain", CacheControl="no-store", Metadata={"own": "1"})
    lies = {"Content-Type": "text/html", "Cache-Control": "public", "Content-Disposition": "attachment", "Content-Language": "fr",
            "Expires": "Thu, 01 Dec 2033 16:00:00 GMT", "x-amz-meta-own": "2", "x-amz-meta-more": "3", "Set-Cookie": "a=b",
            "x-amz-website-redirect-location": "https://evil.example/", "x-amz-checksum-sha256": "A" * 43 + "="}  # fmt: skip

    def rule(request, answer):
        if request.is_read_of(den, "k"):
            for name, value in lies.items():
                answer.set(name, value)

    honest = {method: Endpoint.of(hostile).send(method, f"/{den}/k").headers for method in ("GET", "HEAD")}
    with hostile.liar.lying(rule):
        for method in ("GET", "HEAD"):
            answer = Endpoint.of(hostile).send(method, f"/{den}/k")
            seen = {name: value for name, value in answer.headers.items() if name not in ("date", "x-amz-request-id")}
            assert seen == {name: value for name, value in honest[method].items() if name not in ("date", "x-amz-request-id")}
            assert seen["content-type"] == "text/plain" and seen["x-amz-meta-own"] == "1"
            LEDGER.note("sealed values")


@pytest.mark.row("M3")
@pytest.mark.parametrize("kind", ["single", "multipart"])
def test_lies_about_lengths(hostile, den, content, kind):
    make = single if kind == "single" else lambda f, b, k, plain: multipart(f, b, k, [plain])
    victim = make(hostile, den, "k", content(70_000, 1))
    victim.check_right()
    for total in (352, len(victim.body) - 1, len(victim.body) + 160, 2**62):
        def rule(request, answer, total=total):
            if request.is_read_of(den, "k") and answer.status == 206:
                size = len(answer.body)
                answer.set("Content-Range", f"bytes {total - size}-{total - 1}/{total}")

        with hostile.liar.lying(rule):
            head = victim.ask("HEAD")
            assert head is not None and head.status == 409
            LEDGER.note("refused")

    def listing(request, answer):
        if "list-type" in request.query and answer.body:
            stored = str(len(victim.body)).encode()
            answer.body = answer.body.replace(b"<Size>" + stored, b"<Size>" + state["size"])

    state = {}
    with hostile.liar.lying(listing):
        # Documented: a listing is the store's word. A size that no object of the format has is shown as it is, and flagged.
        for stored, shown, flagged in ((b"353", 1, False), (b"123", 123, True)):
            state["size"] = stored
            place = log_place(hostile)
            entry = hostile.s3.list_objects_v2(Bucket=den)["Contents"][0]
            assert entry["Size"] == shown
            assert ("listing" in security_events(hostile, place)) == flagged
            LEDGER.note("not detected, as documented (R0)" if not flagged else "flagged")
    assert hostile.listed_sizes(den) == {"k": 70_000}


@pytest.mark.row("M4")
@pytest.mark.parametrize("name", ["sceauh1", "SCEAUH1", "Sceauh1", "sceau-sse-c", "sceauanything"])
def test_clients_cannot_set_the_formats_own_names(hostile, den, name):
    endpoint = Endpoint.of(hostile)
    calls = {
        "put": ("PUT", f"/{den}/k", (), {}),
        "create": ("POST", f"/{den}/k", {"uploads": ""}, {}),
        "copy": ("PUT", f"/{den}/k", (), {"x-amz-copy-source": f"/{den}/source", "x-amz-metadata-directive": "REPLACE"}),
    }
    assert endpoint.send("PUT", f"/{den}/source", headers={"x-amz-meta-fine": "x"}).status == 200
    for method, path, query, headers in calls.values():
        answer = endpoint.send(method, path, query, {**headers, f"x-amz-meta-{name}": "U09GMQ"})
        assert answer.status == 400, answer
        LEDGER.note("refused")
    stored = hostile.at_store().list_objects_v2(Bucket=den).get("Contents", [])
    assert [entry["Key"] for entry in stored] == ["source"]


@pytest.mark.row("M5")
def test_impossible_metadata_is_a_clean_error(hostile, den):
    endpoint = Endpoint.of(hostile)
    many = {f"x-amz-meta-n{index}": "v" for index in range(1_000)}
    cases = {
        "2 KB": {"x-amz-meta-a": "v" * 2_000},
        "1 000 pairs": many,
        "beyond ASCII": {"x-amz-meta-a": "\u00e9"},
        "a long name": {"x-amz-meta-" + "n" * 3_000: "v"},
    }
    assert endpoint.send("PUT", f"/{den}/fine", headers={"x-amz-meta-a": "v" * 1_000}).status == 200
    for what, headers in cases.items():
        answer = endpoint.send("PUT", f"/{den}/k", headers=headers)
        assert answer is None or answer.status in (200, 400, 431), f"{what}: {answer}"
        if answer is not None and answer.status == 200:
            got = endpoint.send("HEAD", f"/{den}/k")
            assert got.status == 200
        LEDGER.note("refused" if answer is None or answer.status != 200 else "right")
    raw = endpoint.signed("PUT", f"/{den}/crlf", (), {"content-length": "0", "x-amz-meta-a": "b\r\nx-amz-meta-sceauh1: c"})
    answer = endpoint.exchange(endpoint.head("PUT", f"/{den}/crlf", (), raw.headers), "PUT")
    assert answer is None or answer.status in (400, 403), answer
    LEDGER.note("refused")


@pytest.mark.row("M6")
def test_unauthenticated_words_of_the_store_decide_nothing(hostile, den, content):
    for victim in (single(hostile, den, "k", content(70_000, 1)), multipart(hostile, den, "m", [content(70_000, 2)])):
        victim.check_right()
        lies = {"ETag": '"ffffffffffffffffffffffffffffffff"', "Last-Modified": "Thu, 01 Jan 1970 00:00:00 GMT", "x-amz-version-id": "x"}
        for name, value in lies.items():
            def rule(request, answer, name=name, value=value, key=victim.key):
                if request.is_read_of(den, key):
                    answer.set(name, value)

            with hostile.liar.lying(rule):
                for span in [None, *victim.spans()]:
                    got = victim.read(span)
                    assert got in (None, victim.plain if span is None else victim.plain[span[0] : span[1] + 1])
                    LEDGER.note("refused" if got is None else "right")


@pytest.mark.row("G2")
def test_version_suite_and_flags(hostile, den, content):
    victim = single(hostile, den, "k", content(500, 1))
    victim.check_right()
    raw = reader.base64url(victim.header)
    for at, values in {4: (0, 2, 255), 5: (0, 2, 0x10, 255), 6: (1, 0x80), 7: (0, 1, 3, 4, 6, 8, 255)}.items():
        for value in values:
            for lengthened in (b"", bytes(32)):
                changed = raw[:at] + bytes([value]) + raw[at + 1 :] + lengthened
                if changed == raw:
                    continue
                victim.become(header=encode(changed))
                victim.check(f"byte {at} = {value}", ranges_may_be_right=False, classes=["header", "policy", "context"])
    victim.become()
    victim.check_right()


@pytest.mark.row("K5")
def test_another_key_record_in_a_header(hostile, den, content):
    victim = single(hostile, den, "k", content(500, 1))
    other = hostile.new_bucket("den")
    hostile.s3.put_object(Bucket=other, Key="k", Body=b"x")
    victim.check_right()
    ring = keyring_of(hostile)
    raw = reader.base64url(victim.header)
    krids = [record.krid for record in ring.records.values() if record.krid != raw[8:24]]
    assert any(record.purpose == 3 for record in ring.records.values())
    for krid in [*krids[:6], bytes(16), b"\xff" * 16]:
        victim.become(header=encode(raw[:8] + krid + raw[24:]))
        victim.check("another key record", ranges_may_be_right=False, classes=["policy"])


def salamander(key_one, key_two, iv, aad, length):
    """A GCM ciphertext with one tag that opens under two keys: the block before the tag's length block is solved for.

    GHASH is linear in each block; with all blocks but the last chosen, the last is the quotient of what is left.
    """
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def block(key, data):
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)

    def multiply(x, y):
        z, v = 0, y
        for bit in range(127, -1, -1):
            if x >> bit & 1:
                z ^= v
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        return z

    def power(x, count):
        result = 1 << 127
        for bit in bin(count)[2:]:
            result = multiply(result, result)
            if bit == "1":
                result = multiply(result, x)
        return result

    def ghash(h, blocks):
        value = 0
        for text in blocks:
            value = multiply(value ^ int.from_bytes(text, "big"), h)
        return value

    padded = aad + bytes(-len(aad) % 16)
    body = bytes(range(length - 16))
    end = (8 * len(aad)).to_bytes(8, "big") + (8 * length).to_bytes(8, "big")
    sums, factors, masks = [], [], []
    for key in (key_one, key_two):
        h = int.from_bytes(block(key, bytes(16)), "big")
        text = padded + body + bytes(16) + end
        sums.append(ghash(h, [text[at : at + 16] for at in range(0, len(text), 16)]))
        factors.append(multiply(h, h))
        masks.append(int.from_bytes(block(key, iv + b"\0\0\0\1"), "big"))
    difference = sums[0] ^ sums[1] ^ masks[0] ^ masks[1]
    last = multiply(difference, power(factors[0] ^ factors[1], 2**128 - 2))
    tag = sums[0] ^ masks[0] ^ multiply(last, factors[0])
    return body + last.to_bytes(16, "big") + tag.to_bytes(16, "big")


@pytest.mark.row("K4")
def test_a_header_that_opens_under_two_keys(hostile, content):
    """Somebody who knows the epoch keys of two buckets makes one sealed payload that opens under both. The commitment
    can only be one of theirs."""
    buckets = [hostile.new_bucket("den") for _ in range(2)]
    victims = [single(hostile, bucket, "k", content(500, 1)) for bucket in buckets]
    for victim in victims:
        victim.check_right()
    ring = keyring_of(hostile)
    records = [next(r for r in ring.unwrap(hostile.server.site.keks()).values() if r.bucket == ring.bucket(b).id) for b in buckets]
    raw = reader.base64url(victims[0].header)
    prefix, keys = raw[:56], []
    for record in records:
        context = reader.context_hash(record.tenant, record.bucket, b"k")
        k_hdr = reader.prf(record.key, "hdr")
        keys.append((reader.prf(k_hdr, "hdr-key", prefix + context), reader.prf(k_hdr, "hdr-commit", prefix + context)))
    iv = bytes(range(12))
    for commitment in (keys[0][1], keys[1][1]):
        aad = prefix + commitment
        sealed = salamander(keys[0][0], keys[1][0], iv, aad, 144)
        opened = [reader.gcm_open(key, iv + sealed, aad, "no") for key, _ in keys]
        assert opened[0] != opened[1], "it does open under both keys"
        header = encode(aad + iv + sealed)
        for index, victim in enumerate(victims):
            victim.become(header=header)
            mine = commitment == keys[index][1]
            # Under its own commitment it is nonsense that was never written; under the other it is not for this bucket.
            victim.check("a salamander", ranges_may_be_right=False, classes=["header"] if mine and index == 0 else ["context", "policy"])


@pytest.mark.row("K1")
def test_nothing_that_is_drawn_repeats(exact, content):
    """Overwrites of one name: salts, data keys, identifiers, FLOE IVs and segments' IVs are all distinct."""
    bucket = exact.new_bucket("draws")
    count = 20_000 if settings.FULL else 150
    endpoint, store = Endpoint.of(exact), Endpoint(exact.store.url, exact.store.access_key, exact.store.secret_key)
    ring = keyring_of(exact)
    keys = ring.unwrap(exact.server.site.keks())
    entry = ring.bucket(bucket)
    seen = {"salt": set(), "dek": set(), "oid": set(), "floe": set(), "iv": set()}
    drawn = 0
    for _ in range(count):
        assert endpoint.send("PUT", f"/{bucket}/k", body=bytes(65_537)).status == 200
        got = store.send("GET", f"/{bucket}/k")
        value = got.headers[f"x-amz-meta-{HEADER}"]
        header = reader.open_header(value, keys, entry, b"k", len(got.body))
        seen["salt"].add(reader.base64url(value)[24:56])
        seen["dek"].add(header.dek)
        seen["oid"].add(header.oid)
        seen["floe"].add(header.iv0)
        ivs = {reader.base64url(value)[88:100], got.body[78:90], got.body[74 + 65_568 + 4 :][:12], got.body[-220:-208]}
        assert len(ivs) == 4
        drawn += 4
        seen["iv"] |= ivs
    assert all(len(values) == count for name, values in seen.items() if name != "iv") and len(seen["iv"]) == drawn
    LEDGER.note("all distinct")


# Somebody who has the keyring's MAC key, or a keyring's writer that is at fault: what is in it is obeyed.


@pytest.fixture
def forger(work, store, request):
    """A site of its own, and a function that writes a changed keyring with a valid MAC."""
    front, site = hostile_front(work, f"forger{len(request.node.name)}", store)

    def forge(change):
        path = site.folder / f"{front.name}-keyring"
        document = json.loads(path.read_bytes())
        change(document)
        document["generation"] += 1
        ring = reader.Keyring.__new__(reader.Keyring)
        ring.tenant, ring.generation = bytes.fromhex(document["tenant"]), document["generation"]
        ring._parse(document)
        (mac,) = [record for record in ring.records.values() if record.purpose == 3]
        key = mac.unwrap(site.keks()).key
        document["mac"] = hmac.new(key, ring._canonical(), hashlib.sha384).hexdigest()
        front.at_store().put_object(Bucket=site.control_bucket, Key="keyring", Body=json.dumps(document).encode())
        wait_until("the changed keyring", lambda: json.loads(path.read_bytes())["generation"] == document["generation"], 20)

        # What is held is dropped with the change, a moment after its generation is in use.
        gauge = f"sceau_keyring_generation {document['generation']}\n"
        wait_until("its generation in use", lambda: gauge in front.server.admin("/metrics")[1], 10)

    yield front, forge
    site.stop()
    front.liar.stop()


def refused_soon(victim):
    """Until what was held is dropped, the answer is the right one."""
    assert victim.read() in (None, victim.plain)
    wait_until("the refusal", lambda: victim.read() is None, 10)
    LEDGER.note("refused")


def right_soon(victim):
    wait_until("the honest keyring", lambda: victim.read() == victim.plain, 10)
    victim.check_right()


def bucket_of(document, name):
    return next(entry for entry in document["buckets"] if entry["name"] == name)


def edit_record(document, bucket, change):
    """Changes the raw bytes of the data record of a bucket."""
    for index, text in enumerate(document["records"]):
        raw = bytearray(base64.b64decode(text))
        if raw[34:50].hex() == bucket_of(document, bucket)["id"]:
            change(raw)
            document["records"][index] = base64.b64encode(bytes(raw)).decode()


@pytest.mark.row("G3", "G4", "K6")
def test_policy_and_states_of_the_keyring_are_obeyed_through_every_cache(forger, content):
    front, forge = forger
    bucket, other = front.new_bucket("den"), front.new_bucket("den")
    victim = multipart(front, bucket, "k", [content(70_000, 1)])
    theirs = single(front, other, "k", content(70_000, 2))
    for _ in range(2):
        victim.check_right()
        theirs.check_right()
    # G3: the suite is allowed no longer; keys and layout are held.
    forge(lambda document: bucket_of(document, bucket).update(suites=2))
    refused_soon(victim)
    for _ in range(2):
        victim.check("a suite that is not allowed", ranges_may_be_right=False, classes=["policy"])
    forge(lambda document: bucket_of(document, bucket).update(suites=1))
    right_soon(victim)
    # G4: open only; then disabled.
    forge(lambda document: edit_record(document, bucket, lambda raw: raw.__setitem__(74, 2)))
    victim.check_right()
    put = wait_until("the refusal", lambda: (a := Endpoint.of(front).send("PUT", f"/{bucket}/new", body=b"x")).status != 200 and a, 10)
    assert put.status in (403, 409, 503), put
    LEDGER.note("refused")
    forge(lambda document: edit_record(document, bucket, lambda raw: raw.__setitem__(74, 3)))
    refused_soon(victim)
    assert Endpoint.of(front).send("GET", f"/{bucket}/k").status == 403
    forge(lambda document: edit_record(document, bucket, lambda raw: raw.__setitem__(74, 1)))
    right_soon(victim)
    # K6: the wraps of two records exchanged; a wrap cut; an IV changed. Others are not touched.
    honest = {}

    def exchange(document):
        honest["records"] = list(document["records"])
        rows = [bytearray(base64.b64decode(text)) for text in document["records"]]
        ours, its = (next(row for row in rows if row[34:50].hex() == bucket_of(document, name)["id"]) for name in (bucket, other))
        ours[91:-32], its[91:-32] = its[91:-32], ours[91:-32]
        document["records"] = [base64.b64encode(bytes(row)).decode() for row in rows]

    forge(exchange)
    for one in (victim, theirs):
        refused_soon(one)
    forge(lambda document: document.update(records=honest["records"]))
    right_soon(victim)
    forge(lambda document: edit_record(document, bucket, lambda raw: raw.__setitem__(-33, raw[-33] ^ 1)))
    refused_soon(victim)
    theirs.check_right()
    forge(lambda document: document.update(records=honest["records"]))
    right_soon(victim)
