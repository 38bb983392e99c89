"""Promise: an object answers only under its own name, and only with its own bytes in their places.

How: rows B and T of the catalogue that test_tampering.py leaves: objects are changed at rest, and answers on the way.
Each case first shows that the same reads succeed.
"""

import pytest

from adversary.catalogue import LEDGER
from adversary.conftest import hostile_front
from adversary.victim import HEADER, MIN, Victim, multipart, single
from harness import sof1
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway
E, S = 65_568, 65_536


@pytest.mark.row("B4")
def test_an_object_of_another_tenant(hostile, den, work, store, content):
    other, site = hostile_front(work, "tenant", store)
    try:
        bucket = other.new_bucket("tenant")
        theirs = single(other, bucket, "k", content(500, 1))
        theirs.check_right()
        ours = single(hostile, den, "k", content(500, 1))
        ours.check_right()
        ours.become(theirs.body, theirs.header)
        ours.check("another tenant's object", ranges_may_be_right=False, classes=["policy"])
    finally:
        site.stop()
        other.liar.stop()


NAMES = ["a//b", "a/b", "a/./b", "/a/b", "a/b/", "a%2Fb", "e\u0301", "\u00e9", "A/b", "a b", "a+b", "a\u200bb"]


@pytest.mark.row("B5")
def test_names_that_normalise_alike_are_distinct(exact, content):
    bucket = exact.new_bucket("names")
    victims = [single(exact, bucket, name, content(300, index)) for index, name in enumerate(NAMES)]
    for victim in victims:
        victim.check_right()
    for index, victim in enumerate(victims):
        other = victims[index - 1]
        victim.become(other.body, other.header)
        victim.check(f"{other.key!r} at {victim.key!r}", ranges_may_be_right=False, classes=["context"])
        victim.become()


@pytest.mark.row("B6")
def test_objects_of_a_bucket_that_was_made_again(hostile, den, content):
    victim = single(hostile, den, "k", content(500, 1))
    victim.check_right()
    hostile.s3.delete_object(Bucket=den, Key="k")
    hostile.s3.delete_bucket(Bucket=den)
    hostile.s3.create_bucket(Bucket=den)
    victim.become()
    victim.check("an object of the bucket's predecessor", ranges_may_be_right=False, classes=["policy", "context"])


@pytest.mark.row("B7")
def test_grafts_between_a_copy_and_its_original(hostile, den, content):
    one = single(hostile, den, "one", content(500, 1))
    hostile.s3.copy_object(Bucket=den, Key="two", CopySource={"Bucket": den, "Key": "one"})
    two = Victim(hostile, den, "two", one.plain)
    assert two.body == one.body and two.header != one.header
    one.become(two.body, one.header)
    one.check_right()
    LEDGER.note("right")
    one.become(one.body, two.header)
    one.check("the copy's header", ranges_may_be_right=False, classes=["context"])
    two.become()
    hostile.s3.put_object(Bucket=den, Key="two", Body=content(500, 2), Metadata={"m": "v"})
    newer = Victim(hostile, den, "two", content(500, 2))
    one.become(newer.body, one.header)
    one.check("the overwritten copy's body", ranges_may_be_right=False, classes=["tag"])
    newer.become(one.body, newer.header)
    newer.check("the original's body at the overwritten copy", ranges_may_be_right=False, classes=["tag"])


@pytest.mark.row("T3")
def test_a_part_of_another_upload_of_the_same_name(hostile, den, content):
    first = multipart(hostile, den, "k", [content(MIN, 1), b"end"])
    second = multipart(hostile, den, "k", [content(MIN, 1), b"end"])
    second.check_right()
    size = sof1.stored_part(MIN)
    second.become(first.body[:size] + second.body[size:])
    second.check("the same part of an earlier upload", classes=["tag"])
    second.become(second.body[:size] + first.body[size:])
    second.check("the trailer of an earlier upload", classes=["tag", "trailer"])


def exchanged(body, one, two):
    """Two stored segments exchanged."""
    changed = bytearray(body)
    changed[one : one + E], changed[two : two + E] = body[two : two + E], body[one : one + E]
    return bytes(changed)


@pytest.mark.row("T4")
def test_segments_cannot_trade_places(hostile, den, content):
    one = single(hostile, den, "one", content(4 * S, 1))
    two = single(hostile, den, "two", content(4 * S, 1))
    many = multipart(hostile, den, "many", [content(MIN, 1), content(MIN, 1)])
    for victim in (one, two, many):
        victim.check_right()
    one.become(exchanged(one.body, 74, 74 + E))
    one.check("two segments of a part", classes=["tag"])
    one.become(one.body[: 74 + E] + one.body[74 : 74 + E] + one.body[74 + 2 * E :])
    one.check("a segment repeated", classes=["tag"])
    one.become(one.body[:74] + two.body[74 : 74 + E] + one.body[74 + E :])
    one.check("a segment of another object", classes=["tag"])
    many.become(exchanged(many.body, 74, 74 + sof1.stored_part(MIN)))
    many.check("segments of two parts", classes=["tag"])


@pytest.mark.row("T5")
def test_an_earlier_segment_is_not_the_end(hostile, den, content):
    long = single(hostile, den, "long", content(2 * S, 1))
    long.check_right()
    trailer = long.body[-(len(long.body) - 74 - 2 * E) :]
    cases = {
        "ends after the first segment": long.body[: 74 + E] + trailer,
        "the first again as the last": long.body[: 74 + E] + long.body[74 : 74 + E] + trailer,
        "marked as final": long.body[:74] + E.to_bytes(4, "big") + long.body[78 : 74 + E] + trailer,
        "the last marked as not final": long.body[: 74 + E] + b"\xff\xff\xff\xff" + long.body[78 + E :],
        "the last with another length": long.body[: 74 + E] + (E - 1).to_bytes(4, "big") + long.body[78 + E :],
    }
    for what, body in cases.items():
        long.become(body)
        long.check(what, classes=["tag", "length"])


@pytest.mark.row("T6")
def test_padding_is_zero_and_as_long_as_it_should_be(hostile, den, content):
    victim = single(hostile, den, "k", content(1_000, 1))
    victim.check_right()
    end = 74 + 1_000 + 32
    pad = len(victim.body) - end - 156 - 64
    assert pad >= 26
    for at in (end, end + pad // 2, end + pad - 1):
        body = bytearray(victim.body)
        body[at] = 1
        victim.become(bytes(body))
        assert victim.read() is None
        LEDGER.note("refused")
        # A range does not see the padding, and cannot be hurt by it.
        assert victim.read((0, 9)) == victim.plain[:10]
        LEDGER.note("right")
    for body in (victim.body[:end] + victim.body[end + 1 :], victim.body[:end] + b"\0" + victim.body[end:]):
        victim.become(body)
        victim.check("another length of padding", ranges_may_be_right=False, classes=["length"])


@pytest.mark.row("T7")
def test_zeros_are_no_data(hostile, den, content):
    for key, plain in (("content", content(3 * S, 1)), ("zeros", bytes(3 * S))):
        victim = single(hostile, den, key, plain)
        victim.check_right()
        for what, body in {
            "a segment": victim.body[: 74 + E] + bytes(E) + victim.body[74 + 2 * E :],
            "the part": bytes(74 + 3 * E) + victim.body[74 + 3 * E :],
            "the body": bytes(len(victim.body)),
        }.items():
            victim.become(body)
            victim.check(f"{what} of {key} zeroed", classes=["tag"])


def ranged(request, answer):
    return request.header("range") is not None and answer.status == 206


LIES = {
    "another Content-Range": lambda q, a: ranged(q, a) and a.set("Content-Range", "bytes 0-99/70464"),
    "Content-Range of another total": lambda q, a: a.set("Content-Range", a.header("content-range").rsplit("/")[0] + "/1")
    if ranged(q, a) else None,
    "Content-Range without a total": lambda q, a: a.set("Content-Range", a.header("content-range").split("/")[0] + "/*")
    if ranged(q, a) else None,
    "no Content-Range": lambda q, a: ranged(q, a) and a.set("Content-Range"),
    "200 for a range": lambda q, a: ranged(q, a) and setattr(a, "status", 200),
    "206 for the whole": lambda q, a: a.status == 200 and setattr(a, "status", 206),
    "a body shorter than announced": lambda q, a: setattr(a, "announce", len(a.body)) or setattr(a, "body", a.body[:-5]),
    "a body longer than announced": lambda q, a: setattr(a, "announce", len(a.body) - 5),
    "a shorter body, so announced": lambda q, a: setattr(a, "body", a.body[:-1]),
    "a longer body, so announced": lambda q, a: setattr(a, "body", a.body + b"\0"),
    "an empty body": lambda q, a: setattr(a, "body", b""),
    "gzip": lambda q, a: a.set("Content-Encoding", "gzip"),
}  # fmt: skip


@pytest.mark.row("T8")
@pytest.mark.parametrize("kind", ["single", "multipart"])
@pytest.mark.parametrize("lie", LIES)
def test_lies_about_an_answer(hostile, den, content, lie, kind):
    parts = [content(70_000, 1)]
    victim = single(hostile, den, "k", parts[0]) if kind == "single" else multipart(hostile, den, "k", parts)
    victim.check_right()

    def rule(request, answer):
        if request.is_read_of(den, "k"):
            LIES[lie](request, answer)

    refused = 0
    with hostile.liar.lying(rule):
        for span in [None, *victim.spans()]:
            got = victim.read(span)
            if got is not None:
                # A lie about the answers to the other kind of request.
                assert got == (victim.plain if span is None else victim.plain[span[0] : span[1] + 1])
            refused += got is None
            LEDGER.note("refused" if got is None else "right")
        head = victim.ask("HEAD")
        assert head is None or head.status >= 400 or head.headers["content-length"] == str(len(victim.plain))
    assert refused
    victim.check_right()


@pytest.mark.row("T9")
@pytest.mark.parametrize("kind", ["single", "multipart"])
def test_bytes_of_another_offset(hostile, den, content, kind):
    plain = content(4 * S, 1)
    victim = single(hostile, den, "k", plain) if kind == "single" else multipart(hostile, den, "k", [plain])
    victim.check_right()

    def rule(request, answer):
        span = request.header("range") or ""
        if request.is_read_of(den, "k") and answer.status == 206 and not span.startswith("bytes=-"):
            at = (victim.body.index(answer.body) + E) % (3 * E)
            answer.body = victim.body[at : at + len(answer.body)]

    with hostile.liar.lying(rule):
        for span in [(0, 9), (S, S + 9), (S + 5, 3 * S), (10, 4 * S - 1)]:
            assert victim.read(span) is None, span
            LEDGER.note("refused")
    victim.check_right()


@pytest.mark.row("O3")
def test_answers_that_stop_in_the_middle(hostile, den, content):
    victim = single(hostile, den, "k", content(3 * S, 1))
    victim.check_right()
    for cut in (0, 1, 73, 74, 1_000, 74 + E, 74 + E + 1, len(victim.body) - 1):
        def rule(request, answer, cut=cut):
            if request.is_read_of(den, "k"):
                answer.cut = cut

        with hostile.liar.lying(rule):
            for span in (None, (0, 9), (2 * S, 2 * S + 9)):
                got = victim.read(span)
                expected = victim.plain if span is None else victim.plain[span[0] : span[1] + 1]
                assert got is None or got == expected
                LEDGER.note("refused" if got is None else "right")
    # Once only: a retry begins again at a verified place.
    state = {"left": 1}

    def once(request, answer):
        if request.is_read_of(den, "k") and state["left"]:
            state["left"] -= 1
            answer.cut = 1_000

    with hostile.liar.lying(once):
        got = victim.read()
    assert got in (None, victim.plain)
    LEDGER.note("refused" if got is None else "right")
    victim.check_right()


@pytest.mark.row("G1")
def test_plaintext_in_the_place_of_an_object(hostile, den, content):
    victim = single(hostile, den, "k", content(500, 1))
    victim.check_right()
    for metadata in ({}, {"other": "x"}, {HEADER: ""}):
        hostile.at_store().put_object(Bucket=den, Key="k", Body=victim.plain, Metadata=metadata)
        for method in ("GET", "HEAD"):
            answer = Endpoint.of(hostile).send(method, f"/{den}/k")
            assert answer.status == 409 and victim.plain[:16] not in answer.body
            LEDGER.note("refused")
