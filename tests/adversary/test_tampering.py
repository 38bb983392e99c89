"""Promise: whatever the store does to stored bytes, a reader gets the right bytes or a refusal.

How: objects are changed directly in the store in every single byte, cut, swapped and mixed; each
change is read whole and by range through the gateway. Right answers to a range that does not touch
the change are allowed, wrong bytes and clean short answers never.
"""

import pytest

from adversary.victim import HEADER, MIN, Victim, multipart, single
from harness import sof1
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def home(plain):
    return plain.new_bucket("tamper")


KINDS = {"single": single, "multipart": lambda f, b, k, plain: multipart(f, b, k, [plain])}


@pytest.fixture(params=KINDS)
def small(plain, home, request, content):
    victim = KINDS[request.param](plain, home, "small", content(45, 1))
    victim.check_right()
    return victim


@pytest.mark.row("T5", "T6")
def test_no_byte_of_the_stored_body_can_change(small):
    for position in range(len(small.body)):
        changed = bytearray(small.body)
        changed[position] ^= 1 << (position % 8)
        small.become(bytes(changed))
        small.check(f"byte {position} of {len(small.body)}")
    small.become()
    small.check_right()


@pytest.mark.row("M1")
def test_no_character_of_the_header_can_change(small):
    for position, character in enumerate(small.header):
        other = ALPHABET[(ALPHABET.index(character) + 1) % 64]
        changed = small.header[:position] + other + small.header[position + 1 :]
        small.become(header=changed)
        small.check(f"character {position} of {len(small.header)}", ranges_may_be_right=False)
    small.become()
    small.check_right()


@pytest.mark.row("M1")
def test_a_header_of_another_shape_is_refused(small):
    shapes = ["", "A", small.header[:-1], small.header[:-4], small.header + "A", small.header + "AAAA", small.header + "=",
              small.header[: len(small.header) // 2], small.header * 2, "A" * len(small.header)]  # fmt: skip
    for header in shapes:
        small.become(header=header)
        small.check(f"header of {len(header)} characters", ranges_may_be_right=False)
    small.store.put_object(Bucket=small.bucket, Key=small.key, Body=small.body)
    small.check("no header at all", ranges_may_be_right=False)


@pytest.mark.row("G1")
def test_plaintext_put_into_the_store_is_refused(plain, home):
    plain.at_store().put_object(Bucket=home, Key="foreign", Body=b"never sealed")
    answer = Endpoint.of(plain).send("GET", f"/{home}/foreign")
    assert answer.status >= 400 and b"never sealed" not in answer.body


@pytest.mark.row("B1", "B2", "B3", "B4")
@pytest.mark.parametrize("kind", KINDS)
def test_objects_cannot_trade_places(plain, home, content, kind):
    one = KINDS[kind](plain, home, "one", content(500, 1))
    two = KINDS[kind](plain, home, "two", content(500, 2))
    one.become(two.body, two.header)
    one.check("another object in its place", ranges_may_be_right=False)
    one.become(one.body, two.header)
    one.check("another header", ranges_may_be_right=False)
    one.become(two.body, one.header)
    one.check("another body")
    one.become(one.body, one.header, key="third")
    one.check("a third name", key="third", ranges_may_be_right=False)
    elsewhere = plain.new_bucket("tamper")
    plain.at_store().put_object(Bucket=elsewhere, Key="one", Body=one.body, Metadata={HEADER: one.header})
    one.become()
    other = Victim(plain, elsewhere, "one", one.plain)
    other.check("another bucket", ranges_may_be_right=False)
    one.check_right()


LAYOUTS = {
    "single, two segments": [70_000],
    "single, border": [65_536],
    "single, empty": [0],
    "two parts": [MIN + 1, 1_000],
}


def _layout(front, bucket, content, sizes, key="cut"):
    parts = [content(size, seed) for seed, size in enumerate(sizes)]
    if len(parts) == 1:
        return single(front, bucket, key, parts[0])
    return multipart(front, bucket, key, parts)


@pytest.mark.row("T1")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_truncated_at_every_structure(plain, home, content, layout):
    sizes = LAYOUTS[layout]
    victim = _layout(plain, home, content, sizes)
    victim.check_right() if sizes != [0] else None
    cuts = {border + step for border in sof1.borders(sizes) for step in (-1, 0, 1)}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(victim.body)):
        victim.become(victim.body[:cut])
        if sizes == [0]:
            assert victim.read() is None, cut
        else:
            victim.check(f"cut to {cut} of {len(victim.body)}")


@pytest.mark.row("T6")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_extended_objects(plain, home, content, layout):
    victim = _layout(plain, home, content, LAYOUTS[layout])
    for more in (b"\0", b"\0" * 32, b"\0" * 160, victim.body[-64:], victim.body):
        victim.become(victim.body + more)
        assert victim.read() is None, len(more)
        if victim.plain:
            victim.check(f"{len(more)} bytes more")


@pytest.mark.row("T1")
def test_flipped_bytes_of_every_structure_of_two_parts(plain, home, content):
    sizes = LAYOUTS["two parts"]
    victim = _layout(plain, home, content, sizes)
    for border in sof1.borders(sizes):
        for position in (border - 1, border):
            if not 0 <= position < len(victim.body):
                continue
            changed = bytearray(victim.body)
            changed[position] ^= 0x80
            victim.become(bytes(changed))
            victim.check(f"byte {position}")


@pytest.mark.row("T2", "T3")
def test_parts_cannot_be_dropped_exchanged_or_borrowed(plain, home, content):
    parts = [content(MIN, seed) for seed in range(3)]
    victim = multipart(plain, home, "parts", [*parts, b"tail"])
    other = multipart(plain, home, "other", [*parts, b"tail"])
    size = sof1.stored_part(MIN)
    stored = [victim.body[n * size : (n + 1) * size] for n in range(3)]
    rest = victim.body[3 * size :]
    mixes = {
        "first dropped": stored[1:] + [rest],
        "middle dropped": [stored[0], stored[2], rest],
        "last dropped": stored[:2] + [rest],
        "exchanged": [stored[1], stored[0], stored[2], rest],
        "repeated": [stored[0], stored[0], stored[2], rest],
        "repeated in front": [stored[0], *stored, rest],
        "from another object": [other.body[:size], *stored[1:], rest],
        "trailer of another object": [*stored, other.body[3 * size :]],
    }
    for what, pieces in mixes.items():
        victim.become(b"".join(pieces))
        victim.check(what)
    victim.become()
    victim.check_right()


@pytest.mark.row("R5")
def test_attempts_of_one_part_cannot_be_mixed(plain, home, content):
    names = {"Bucket": home, "Key": "mixed"}
    names["UploadId"] = plain.s3.create_multipart_upload(**names)["UploadId"]

    def part(number, body):
        etag = plain.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]
        return {"PartNumber": number, "ETag": etag}

    part(1, content(MIN, 1))
    first = plain.store.part_of_open_upload(home, names["UploadId"], 1)
    assert len(first) == sof1.stored_part(MIN)
    done = [part(1, content(MIN, 2)), part(2, content(100, 3))]
    plain.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": done})
    victim = Victim(plain, home, "mixed", content(MIN, 2) + content(100, 3))
    victim.check_right()
    victim.become(first + victim.body[len(first) :])
    victim.check("an earlier attempt of part 1")


@pytest.mark.row("B2")
def test_an_older_version_is_still_whole(plain, home, content):
    """Rollback is not detected (freshness level R0), but an old version never mixes with a new one."""
    old = single(plain, home, "k", content(70_000, 1))
    new = single(plain, home, "k", content(70_000, 2))
    new.become(old.body, new.header)
    new.check("old body under the new header")
    new.become(new.body, old.header)
    new.check("new body under the old header")


def test_sizes_in_listings_are_functions_of_the_stored_size(plain, home, content):
    for size in (0, 1, 65_536, 65_537, MIN, MIN + 1):
        plain.s3.put_object(Bucket=home, Key=f"{size:08}", Body=content(size, 1))
    at_store = {item["Key"]: item["Size"] for item in plain.at_store().list_objects_v2(Bucket=home)["Contents"]}
    for key, size in plain.listed_sizes(home).items():
        assert size == int(key) and at_store[key] == sof1.stored(size)
