"""Promise: what this version does not detect (freshness, level R0) is exactly what SECURITY.md says, and no more: what
comes back is always one whole state of the same name.

How: rows R of the catalogue; also an older keyring, which is refused.
"""

import json

import pytest

from adversary.catalogue import LEDGER, R0
from adversary.conftest import hostile_front
from adversary.victim import MIN, Victim, multipart, single
from harness import sof1
from harness.process import wait_until
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway


@pytest.mark.row("R1")
@pytest.mark.parametrize("kind", ["single", "multipart"])
def test_an_older_version_put_back_is_not_detected(hostile, den, content, kind):
    make = single if kind == "single" else lambda f, b, k, plain: multipart(f, b, k, [plain])
    old = make(hostile, den, "k", content(70_000, 1))
    old.check_right()
    new = make(hostile, den, "k", content(90_000, 2))
    new.check_right()
    old.become()
    old.check_undetected("the version before", old.plain)
    head = old.ask("HEAD")
    assert head.headers["content-length"] == "70000"
    # Never a mixture.
    new.become(new.body, old.header)
    new.check("new body, old header")
    new.become(old.body, new.header)
    new.check("old body, new header")


@pytest.mark.row("R2")
def test_metadata_undone_is_not_detected(hostile, den, content):
    old = single(hostile, den, "k", content(500, 1))
    hostile.s3.copy_object(Bucket=den, Key="k", CopySource={"Bucket": den, "Key": "k"}, MetadataDirective="REPLACE", Metadata={"m": "new"})
    new = Victim(hostile, den, "k", old.plain)
    assert new.ask().headers["x-amz-meta-m"] == "new"
    new.become(header=old.header)
    assert new.ask().headers["x-amz-meta-m"] == "v"
    new.check_undetected("the header before", old.plain)


@pytest.mark.row("R3")
def test_another_version_of_the_name_is_not_detected(hostile, den, content):
    hostile.s3.put_bucket_versioning(Bucket=den, VersioningConfiguration={"Status": "Enabled"})
    ids = [hostile.s3.put_object(Bucket=den, Key="k", Body=content(500, seed))["VersionId"] for seed in (1, 2)]

    def read(version):
        return Endpoint.of(hostile).send("GET", f"/{den}/k", [("versionId", version)])

    for version, seed in zip(ids, (1, 2)):
        assert read(version).body == content(500, seed)
    kept = {}

    def keep(request, answer):
        if request.is_read_of(den, "k"):
            kept[request.query["versionId"]] = (list(answer.headers), answer.body)

    with hostile.liar.lying(keep):
        read(ids[0])

    def swap(request, answer):
        if request.is_read_of(den, "k"):
            answer.headers, answer.body = list(kept[ids[0]][0]), kept[ids[0]][1]
            answer.set("x-amz-version-id", request.query["versionId"])

    with hostile.liar.lying(swap):
        assert read(ids[1]).body == content(500, 1)
        LEDGER.note(R0)

    def confess(request, answer):
        swap(request, answer)
        if request.is_read_of(den, "k"):
            answer.set("x-amz-version-id", ids[0])

    with hostile.liar.lying(confess):
        # A store that says so is not believed.
        answer = read(ids[1])
        assert answer.status >= 400
        LEDGER.note("refused")


@pytest.mark.row("R4")
def test_hidden_and_returned_objects_are_not_detected(hostile, den, content):
    victim = single(hostile, den, "k", content(500, 1))
    victim.check_right()

    def hide(request, answer):
        if request.is_read_of(den, "k"):
            answer.status, answer.body = 404, b"<Error><Code>NoSuchKey</Code></Error>"

    with hostile.liar.lying(hide):
        answer = victim.ask()
        assert (answer.status, answer.code) == (404, "NoSuchKey")
        LEDGER.note(R0)

    def unlist(request, answer):
        if "list-type" in request.query:
            start, end = answer.body.index(b"<Contents>"), answer.body.rindex(b"</Contents>") + len(b"</Contents>")
            answer.body = answer.body[:start] + answer.body[end:]

    with hostile.liar.lying(unlist):
        assert "Contents" not in hostile.s3.list_objects_v2(Bucket=den)
        LEDGER.note(R0)
    hostile.s3.delete_object(Bucket=den, Key="k")
    assert victim.ask().status == 404
    victim.become()
    victim.check_undetected("a deleted object", victim.plain)


@pytest.mark.row("R5")
def test_an_older_attempt_at_an_unpinned_part_is_not_detected(hostile, den, content):
    """A client that rebuilt its list from ListParts pinned nothing (SECURITY.md, section 3)."""
    names = {"Bucket": den, "Key": "k"}
    names["UploadId"] = hostile.s3.create_multipart_upload(**names)["UploadId"]
    hostile.s3.upload_part(**names, PartNumber=1, Body=content(MIN, 1))
    first = hostile.store.part_of_open_upload(den, names["UploadId"], 1)
    parts = []
    for number, body in {1: content(MIN, 2), 2: content(100, 3)}.items():
        etag = hostile.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"].strip('"')
        # As ListParts shows it, without the ticket. (This store's list has both attempts.)
        parts.append({"PartNumber": number, "ETag": f"{etag[:-83]}-u"})
    hostile.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    victim = Victim(hostile, den, "k", content(MIN, 2) + content(100, 3))
    victim.check_right()
    victim.become(first + victim.body[len(first) :])
    victim.check_undetected("the earlier attempt", content(MIN, 1) + content(100, 3))
    # But nothing that was not an attempt at this part of this upload.
    other = multipart(hostile, den, "other", [content(MIN, 1), b"x"])
    victim.become(other.body[: sof1.stored_part(MIN)] + victim.body[len(first) :])
    victim.check("a part of another object")


@pytest.mark.row("R6")
def test_an_older_keyring_is_refused(work, store, content):
    front, site = hostile_front(work, "older", store)
    try:
        control, at_store = {"Bucket": site.control_bucket, "Key": "keyring"}, front.at_store()
        local = site.folder / "older-keyring"

        def generation():
            return json.loads(local.read_bytes())["generation"]

        old = at_store.get_object(**control)["Body"].read()
        bucket = front.new_bucket("older")
        victim = single(front, bucket, "k", content(500, 1))
        before = generation()
        assert json.loads(old)["generation"] < before
        new = at_store.get_object(**control)["Body"].read()
        at_store.put_object(**control, Body=old)
        wait_until("the refusal", lambda: 'sceau_last_reload_success{source="keyring"} 0' in front.server.admin("/metrics")[1], 15)
        assert generation() == before
        victim.check_right()
        LEDGER.note("refused")
        # Nor at a start, nor on the way.
        front.server.stop()
        at_store.put_object(**control, Body=new)
        lie = lambda q, a: setattr(a, "body", old) if q.path.endswith("/keyring") and q.method == "GET" else None  # noqa: E731
        with front.liar.lying(lie):
            with pytest.raises(Exception, match="E-KEYS-006|ended with 3|ready"):
                front.server.start()
            LEDGER.note("refused")
        front.server.start()
        victim.check_right()
    finally:
        site.stop()
        front.liar.stop()


@pytest.mark.row("R7")
def test_two_histories_are_not_detected(hostile, den, content):
    old = single(hostile, den, "k", content(500, 1))
    kept = []
    with hostile.liar.lying(lambda q, a: kept.append((list(a.headers), a.body)) if q.is_read_of(den, "k") and not q.header("range") else None):
        old.read()
    new = single(hostile, den, "k", content(500, 2))
    new.check_right()
    turn = []

    def fork(request, answer):
        if request.is_read_of(den, "k") and not request.header("range"):
            turn.append(1)
            if len(turn) % 2:
                answer.headers, answer.body = list(kept[0][0]), kept[0][1]

    with hostile.liar.lying(fork):
        assert [new.read() for _ in range(4)] == [old.plain, new.plain] * 2
        LEDGER.note(R0)
    new.check_right()
