"""Promise: keys are rotated, disabled, destroyed and brought back while gateways serve, and no object is touched.

How: a site of its own on SeaweedFS with two gateways on one token; a forwarder that remembers what the commands send.
"""

import base64
import concurrent.futures
import http.client
import json
import os
import re
import subprocess
import threading
import time
import uuid

import pytest

from harness.fronts import Front, boto, error_of
from harness.gateway import Site, run
from harness.process import wait_until
from harness.raw import Endpoint
from harness.recorder import Recorder
from harness.settings import BINARY
from harness.softhsm import KEY_LABEL, Token

pytestmark = pytest.mark.gateway

REFRESH_SECONDS = 1
NEW_LABEL = "sceau-test-kek-2"


class Life:
    """A site whose keyring the tests may turn upside down, and its gateways."""

    def __init__(self, folder, store):
        self.store = store
        self.site = Site(folder / "site", store, Token(folder / "softhsm"), control_bucket=f"control-{uuid.uuid4().hex[:12]}")
        self.at_store = boto(store.url, store.access_key, store.secret_key)
        self.at_store.create_bucket(Bucket=self.site.control_bucket)
        self.site.enrol()
        self.fronts = []

    def start(self, name, keys=""):
        keys = f'refresh = "{REFRESH_SECONDS}s"\n{keys}'
        gateway = self.site.start(name, keys=keys)
        self.fronts.append(Front(name, gateway, self.site.folder / f"front-{name}", self.store))
        return self.fronts[-1]

    def json(self, *arguments, **options):
        done = self.site.command(*arguments, "--output", "json", **options)
        return json.loads(done.stdout)

    def new_key_config(self):
        """The administrator's configuration with another key of the same token."""
        path = self.site.folder / "new-key.toml"
        path.write_text((self.site.folder / "admin.toml").read_text().replace(f'"{KEY_LABEL}"', f'"{NEW_LABEL}"'))
        return path

    def restart_with_new_key(self, front):
        gateway = front.server
        gateway.stop()
        gateway.config.write_text(gateway.config.read_text().replace(f'"{KEY_LABEL}"', f'"{NEW_LABEL}"'))
        gateway.start()


@pytest.fixture
def life(tmp_path, store):
    life = Life(tmp_path, store)
    yield life
    life.site.stop()


def follows(front, bucket, key, code):
    """Waits until a gateway answers a read so."""
    wait_until(
        f"{front.name} answers {code}", lambda: error_of(front.s3.get_object, Bucket=bucket, Key=key) == code, 15
    )


def test_disabled_epochs_refuse_reads_and_writes_until_enabled(life, content):
    one, two = life.start("one"), life.start("two")
    bucket = one.new_bucket("disable")
    one.s3.put_object(Bucket=bucket, Key="old", Body=content(1_000, 1))
    life.site.command("keys new-epoch", "--bucket", bucket)
    wait_until("two epochs", lambda: life.json("keys show", "--bucket", bucket)["epochs"][1:], 10)
    life.site.command("keys disable", "--bucket", bucket, "--epoch", "1")
    for front in (one, two):
        follows(front, bucket, "old", "AccessDenied")
        front.s3.put_object(Bucket=bucket, Key=f"new-{front.name}", Body=content(1_000, 2))
        assert front.fetch(bucket, f"new-{front.name}") == content(1_000, 2)
    life.site.command("keys disable", "--bucket", bucket, "--all")
    for front in (one, two):
        follows(front, bucket, "new-one", "AccessDenied")
        assert error_of(front.s3.put_object, Bucket=bucket, Key="x", Body=b"x") == "AccessDenied"
    life.site.command("keys enable", "--bucket", bucket, "--all")
    for front in (one, two):
        follows(front, bucket, "old", None)
        assert front.fetch(bucket, "old") == content(1_000, 1)
        front.s3.put_object(Bucket=bucket, Key="x", Body=b"x")


def test_a_destroyed_epoch_is_unreadable_and_the_others_are_not(life, content, tmp_path):
    one = life.start("one")
    bucket = one.new_bucket("destroy")
    one.s3.put_object(Bucket=bucket, Key="old", Body=content(1_000, 1))
    life.site.command("keys new-epoch", "--bucket", bucket)
    life.json("keys disable", "--bucket", bucket, "--epoch", "1")
    follows(one, bucket, "old", "AccessDenied")
    one.s3.put_object(Bucket=bucket, Key="new", Body=content(1_000, 2))
    backup, statement = tmp_path / "backup", tmp_path / "statement"
    life.site.command("keys export", backup)
    words = ["keys destroy", "--bucket", bucket, "--epoch", "1", "--by", "A. Officer", "--statement", statement]
    plan = life.site.command(*words, check=False)
    assert plan.returncode != 0 and not statement.exists()
    assert bucket in plan.stderr and re.search(r"epoch 1 .*sealed from 20\d\d-", plan.stderr)
    phrase = re.search(r"the phrase for this plan is: (.*)", plan.stderr)[1]
    assert life.site.command(*words, "--confirm", phrase + "x", check=False).returncode != 0
    (shown,) = [e for e in life.json("keys show", "--bucket", bucket)["epochs"] if e["epoch"] == 1]
    assert shown["state"] == "disabled" and shown["wraps"]
    life.site.command(*words, "--confirm", phrase)
    (shown,) = [e for e in life.json("keys show", "--bucket", bucket)["epochs"] if e["epoch"] == 1]
    assert shown["state"] == "destroyed" and not shown["wraps"]
    stated = life.json("keys verify-statement", statement)
    assert stated["by"] == "A. Officer" and stated["bucket"] == bucket
    assert [epoch["epoch"] for epoch in stated["epochs_destroyed"]] == [1]
    forged = tmp_path / "forged"
    forged.write_text(statement.read_text().replace("A. Officer", "B. Officer"))
    assert life.site.command("keys verify-statement", forged, check=False).returncode == 1
    follows(one, bucket, "old", "AccessDenied")
    assert one.fetch(bucket, "new") == content(1_000, 2)
    assert life.site.command("keys enable", "--bucket", bucket, "--epoch", "1", check=False).returncode != 0
    # The keyring of before does not come back while one copy knows better.
    refused = life.site.command("keys import", backup, check=False)
    assert refused.returncode != 0 and "E-KEYS-006" in refused.stderr
    follows(one, bucket, "old", "AccessDenied")


class Load(threading.Thread):
    """Writes and reads through one gateway until told to stop; keeps what failed."""

    def __init__(self, front, bucket, content):
        super().__init__(daemon=True)
        self.front, self.bucket, self.content = front, bucket, content
        self.failures, self.done, self.ended = [], 0, threading.Event()

    def run(self):
        while not self.ended.is_set():
            key = f"{self.front.name}-{self.done % 50}"
            try:
                body = self.content(5_000, self.done)
                self.front.s3.put_object(Bucket=self.bucket, Key=key, Body=body)
                if self.front.fetch(self.bucket, key) != body:
                    self.failures.append((key, "wrong bytes"))
                if self.front.fetch(self.bucket, "before") != self.content(70_000, 9):
                    self.failures.append(("before", "wrong bytes"))
            except Exception as error:  # noqa: BLE001: whatever a client may see is a failure
                self.failures.append((key, str(error)))
            self.done += 1

    def stop(self):
        self.ended.set()
        self.join(30)
        return self.failures


def test_a_rotation_under_load_touches_no_object_and_fails_no_request(life, content):
    one, two = life.start("one"), life.start("two")
    bucket = one.new_bucket("rotate")
    one.s3.put_object(Bucket=bucket, Key="before", Body=content(70_000, 9))
    follows(two, bucket, "before", None)
    loads = [Load(front, bucket, content) for front in (one, two)]
    for load in loads:
        load.start()
    new = life.new_key_config()
    recorder = Recorder(life.store)
    watched = life.site.folder / "watched.toml"
    watched.write_text((life.site.folder / "admin.toml").read_text().replace(life.store.url, recorder.url))
    arguments = ["keys", "rotate-kek", "--config", watched, "--to", new, "--output", "json"]
    first = json.loads(run([*arguments, "--generate"], life.site.env).stdout)
    requests = re.findall(rb"^(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP", recorder.received, re.M)
    recorder.stop()
    assert first["objects_touched"] == 0 and first["wrapped"] == first["records"] == 2
    assert {path.split(b"/")[1].split(b"?")[0].decode() for _, path in requests} == {life.site.control_bucket}
    life.site.command("keys new-epoch", "--bucket", bucket)
    life.site.command("keys rotate-kek", "--to", new)
    wait_until("load went on", lambda: all(load.done > 20 for load in loads), 60)
    assert [load.stop() for load in loads] == [[], []]
    for front in (one, two):
        life.restart_with_new_key(front)
        assert front.fetch(bucket, "before") == content(70_000, 9)
    loads = [Load(front, bucket, content) for front in (one, two)]
    for load in loads:
        load.start()
    finished = json.loads(
        run(["keys", "rotate-kek", "--config", life.site.folder / "admin.toml", "--to", new, "--finish", "--output", "json"], life.site.env).stdout
    )
    assert finished["removed"] == [f"{KEY_LABEL} version 1"] and finished["finished"]
    wait_until("load went on", lambda: all(load.done > 20 for load in loads), 60)
    assert [load.stop() for load in loads] == [[], []]
    listed = json.loads(run(["keys", "list", "--config", new, "--output", "json"], life.site.env).stdout)
    assert [kek["label"] for kek in listed["key_encryption_keys"]] == [NEW_LABEL]
    assert all([wrap["key_label"] for wrap in record["wraps"]] == [NEW_LABEL] for record in listed["records"])
    # The old key opens nothing any more.
    assert life.site.command("keys list", check=False).returncode != 0
    canary = json.loads(run(["keys", "canary", "--config", new, "--output", "json"], life.site.env).stdout)
    assert [c["result"] for c in canary["canaries"]] == ["recognised"]


def test_a_recipient_opens_everything_until_it_is_dropped(life, content):
    one = life.start("one")
    bucket = one.new_bucket("recipient")
    one.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 1))
    recovery = life.new_key_config()
    life.site.command("keys add-recipient", "--to", recovery, "--generate")
    assert run(["verify", "--config", recovery, f"s3://{bucket}/"], life.site.env).stdout.startswith("1 objects verified")
    assert one.fetch(bucket, "key") == content(1_000, 1)
    # Made by a gateway that knows its own key only; wrapped for the other when it is asked for again.
    life.site.command("keys new-epoch", "--bucket", bucket)
    one.s3.put_object(Bucket=bucket, Key="later", Body=content(1_000, 2))
    wait_until("the epoch is new", lambda: one.s3.put_object(Bucket=bucket, Key="later", Body=b"x") and
               run(["verify", "--config", recovery, f"s3://{bucket}/"], life.site.env, check=False).returncode != 0, 20)
    early = run(["keys", "drop-recipient", "--config", recovery, "--label", KEY_LABEL], life.site.env, check=False)
    assert early.returncode == 3 and "E-KEYS-021" in early.stderr
    again = life.json("keys add-recipient", "--to", recovery)
    assert again["wrapped"] == 1
    assert run(["verify", "--config", recovery, f"s3://{bucket}/"], life.site.env).stdout.startswith("2 objects verified")
    itself = life.site.command("keys drop-recipient", "--label", KEY_LABEL, check=False)
    assert itself.returncode == 2
    assert life.json("keys drop-recipient", "--label", NEW_LABEL)["records"] == 3
    assert run(["verify", "--config", recovery, f"s3://{bucket}/"], life.site.env, check=False).returncode != 0
    assert one.fetch(bucket, "key") == content(1_000, 1)


def test_epochs_end_by_volume_on_two_gateways_and_no_request_fails(life, content):
    one, two = (life.start(name, "epoch_max_writes = 100") for name in ("one", "two"))
    bucket = one.new_bucket("volume")
    one.s3.put_object(Bucket=bucket, Key="before", Body=content(70_000, 9))
    follows(two, bucket, "before", None)
    loads = [Load(front, bucket, content) for front in (one, two)]
    for load in loads:
        load.start()
    wait_until("load went on", lambda: all(load.done > 500 for load in loads), 90)
    assert [load.stop() for load in loads] == [[], []]
    writes = sum(load.done for load in loads)
    epochs = life.json("keys show", "--bucket", bucket)["epochs"]
    # An epoch ends once, whichever gateways noticed: each took a hundred writes of one of them at least.
    assert [epoch["epoch"] for epoch in epochs] == list(range(1, len(epochs) + 1))
    assert 3 <= len(epochs) <= 1 + writes // 100
    assert [epoch["state"] for epoch in epochs] == ["opens"] * (len(epochs) - 1) + ["seals and opens"]


def test_a_lost_keyring_comes_back_from_an_export(life, content, tmp_path):
    one = life.start("one")
    bucket = one.new_bucket("lost")
    one.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 1))
    backup = tmp_path / "backup"
    generation = life.json("keys export", backup)["generation"]
    assert life.site.command("keys export", backup, check=False).returncode != 0, "never overwrites"
    life.site.gateways[0].stop()
    life.at_store.delete_object(Bucket=life.site.control_bucket, Key="keyring")
    for path in (life.site.folder / "keyring", life.site.folder / "one-keyring"):
        path.unlink()
    assert life.site.command("keys list", check=False).returncode == 3
    later = life.site.command("keys import", "--generation-min", generation + 1, backup, check=False)
    assert later.returncode == 3 and "E-KEYS-006" in later.stderr
    damaged = tmp_path / "damaged"
    damaged.write_text(backup.read_text().replace(bucket, bucket[:-1] + "~"))
    assert life.site.command("keys import", damaged, check=False).returncode == 3
    life.site.command("keys import", "--generation-min", generation, backup)
    again = life.start("again")
    assert again.fetch(bucket, "key") == content(1_000, 1)


MIN = 5 * 1024 * 1024


def put_multipart(front, bucket, key, bodies, **options):
    names = {"Bucket": bucket, "Key": key}
    names["UploadId"] = front.s3.create_multipart_upload(**names, **options)["UploadId"]
    parts = []
    for number, body in enumerate(bodies, 1):
        etag = front.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    front.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})


def stored_header(life, bucket, key, **version):
    """The bytes of the sealed header as the store has them."""
    header = life.at_store.head_object(Bucket=bucket, Key=key, **version)["Metadata"]["sceauh1"]
    return base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))


def facts(front, bucket, key):
    """What a client sees of an object, its times and version aside."""
    answer = front.s3.get_object(Bucket=bucket, Key=key)
    body = answer.pop("Body").read()
    for name in ("ResponseMetadata", "LastModified", "VersionId"):
        answer.pop(name, None)
    tags = front.s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return body, answer, sorted((tag["Key"], tag["Value"]) for tag in tags)


class Reads(threading.Thread):
    """Reads objects through a gateway until told to stop, and compares every byte."""

    def __init__(self, front, bucket, bodies):
        super().__init__(daemon=True)
        self.front, self.bucket, self.bodies = front, bucket, bodies
        self.failures, self.done, self.ended = [], 0, threading.Event()

    def run(self):
        keys = list(self.bodies)
        while not self.ended.is_set():
            key = keys[self.done * 7 % len(keys)]
            try:
                if self.front.fetch(self.bucket, key) != self.bodies[key]:
                    self.failures.append((key, "wrong bytes"))
            except Exception as error:  # noqa: BLE001: whatever a client may see is a failure
                self.failures.append((key, str(error)))
            self.done += 1

    def stop(self):
        self.ended.set()
        self.join(30)
        return self.failures


def filled(front, bucket, content, count=300):
    bodies = {f"s/{n:04} ü+&": content(1_000 + n, n) for n in range(count)}
    for n, (key, body) in enumerate(bodies.items()):
        front.s3.put_object(
            Bucket=bucket, Key=key, Body=body, Metadata={"n": str(n)}, ContentType="text/plain", CacheControl="no-store",
            **({"Tagging": f"number={n}&kind=test", "StorageClass": "STANDARD_IA"} if n % 10 == 0 else {}),
        )
    bodies["m/multi"] = content(MIN + 3, 2) + content(99, 3)
    put_multipart(front, bucket, "m/multi", [content(MIN + 3, 2), content(99, 3)], Tagging="part=ed", Metadata={"m": "x"})
    return bodies


def test_headers_move_to_a_new_epoch_killed_and_resumed_while_all_is_read(life, content, tmp_path):
    one = life.start("one")
    bucket = one.new_bucket("move")
    bodies = filled(one, bucket, content)
    life.at_store.put_object(Bucket=bucket, Key="z/foreign", Body=b"not sealed")
    some = ["m/multi", *list(bodies)[:40:10]]
    before = {key: facts(one, bucket, key) for key in some}
    sealed = {key: life.at_store.get_object(Bucket=bucket, Key=key)["Body"].read() for key in some}
    headers = {key: stored_header(life, bucket, key) for key in bodies}
    life.site.command("keys new-epoch", "--bucket", bucket)
    life.json("keys show", "--bucket", bucket)
    reads = Reads(one, bucket, bodies)
    reads.start()
    trial = life.json("rewrap", "--bucket", bucket, "--dry-run")
    assert trial["counts"]["moved"] == len(bodies) and trial["counts"]["not_sealed"] == 1
    assert stored_header(life, bucket, "m/multi") == headers["m/multi"], "a dry run changes nothing"
    # Killed in the middle, after the first page and before the last object.
    state = tmp_path / "state"
    arguments = ["rewrap", "--config", life.site.folder / "admin.toml", "--bucket", bucket, "--state", state, "--concurrency", "1"]
    killed = subprocess.Popen([str(a) for a in [BINARY, *arguments]], env={**os.environ, **life.site.env}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until("the first page", state.exists, 60, 0.002)
    killed.kill()
    killed.wait()
    last = f"s/{299:04} ü+&"
    assert stored_header(life, bucket, last) == headers[last], "killed before the end"
    recorder = Recorder(life.store)
    watched = life.site.folder / "watched.toml"
    watched.write_text((life.site.folder / "admin.toml").read_text().replace(life.store.url, recorder.url))
    arguments[2] = watched
    arguments = [*arguments[:-2], "--output", "json"]
    done = json.loads(run(arguments, life.site.env).stdout)
    sent = recorder.received
    recorder.stop()
    assert done["counts"]["moved"] + done["counts"]["already"] == len(bodies) and done["not_done"] == 0
    assert done["payload_bytes"] == 0 and b"GET /" + bucket.encode() + b"/" not in sent
    assert reads.stop() == [] and reads.done > 20
    for key in bodies:
        assert stored_header(life, bucket, key)[:64] != headers[key][:64], key
    again = life.json("rewrap", "--bucket", bucket)
    assert again["counts"]["already"] == len(bodies) and again["counts"]["moved"] == 0
    assert before[some[1]][1]["StorageClass"] == "STANDARD_IA"
    # What clients see is the same, and so is what the store holds.
    for key in some:
        body, answer, tags = facts(one, bucket, key)
        assert (body, tags) == (before[key][0], before[key][2])
        assert answer == before[key][1], key
        assert life.at_store.get_object(Bucket=bucket, Key=key)["Body"].read() == sealed[key]
    # Nothing of the first epoch is needed any more.
    life.site.command("keys disable", "--bucket", bucket, "--epoch", "1")
    life.json("keys show", "--bucket", bucket)
    two = life.start("two")
    for key, body in bodies.items():
        assert two.fetch(bucket, key) == body
    for number, key in enumerate(some):
        answer = life.at_store.get_object(Bucket=bucket, Key=key)
        (tmp_path / f"{number}.sealed").write_bytes(answer["Body"].read())
        out = tmp_path / f"{number}.plain"
        names = ["--bucket", bucket, "--key", key, "--header", answer["Metadata"]["sceauh1"]]
        life.site.command("decrypt", *names, tmp_path / f"{number}.sealed", out)
        assert out.read_bytes() == bodies[key]


def test_moving_headers_of_a_versioned_bucket_makes_versions_and_says_so(life, content):
    one = life.start("one")
    bucket = one.new_bucket("versions")
    one.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    old = one.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 1))["VersionId"]
    new = one.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 2), Tagging="a=b")["VersionId"]
    one.s3.put_object(Bucket=bucket, Key="gone", Body=b"x")
    one.s3.delete_object(Bucket=bucket, Key="gone")
    header = stored_header(life, bucket, "key")
    life.site.command("keys new-epoch", "--bucket", bucket)
    done = life.site.command("rewrap", "--bucket", bucket, "--output", "json")
    assert "keeps versions" in done.stderr
    assert json.loads(done.stdout)["counts"]["moved"] == 1
    assert stored_header(life, bucket, "key") != header
    assert stored_header(life, bucket, "key", VersionId=new) == header
    two = life.start("two")
    assert two.fetch(bucket, "key") == content(1_000, 2)
    assert two.fetch(bucket, "key", VersionId=old) == content(1_000, 1)
    assert two.s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"] == [{"Key": "a", "Value": "b"}]
    versions = two.s3.list_object_versions(Bucket=bucket, Prefix="key")["Versions"]
    assert len(versions) == 3


def test_objects_beyond_the_limit_of_a_copy_move_in_parts(life, content):
    """The limit of 5 GiB, made small: the store copies the parts, and nothing of them passes through the command."""
    one = life.start("one")
    bucket = one.new_bucket("large")
    parts = [content(3 * MIN + 3, 2), content(2 * MIN, 3), content(99, 4)]
    whole = content(4 * MIN + 11, 1)
    one.s3.put_object(Bucket=bucket, Key="single", Body=whole, Metadata={"a": "b"}, ContentType="text/plain", CacheControl="no-store")
    put_multipart(one, bucket, "multi", parts, Metadata={"m": "x"})
    one.s3.put_object(Bucket=bucket, Key="tagged", Body=whole, Tagging="a=b")
    one.s3.put_object(Bucket=bucket, Key="small", Body=b"small")
    before = {key: stored_header(life, bucket, key) for key in ("single", "multi", "tagged", "small")}
    sealed = {key: life.at_store.get_object(Bucket=bucket, Key=key)["Body"].read() for key in before}
    life.site.command("keys new-epoch", "--bucket", bucket)
    recorder, config = watched_config(life)
    done = run(["rewrap", "--config", config, "--bucket", bucket, "--copy-limit", "5", "--output", "json"], life.site.env, check=False)
    asked = requests_of(recorder)
    recorder.stop()
    assert not [path for method, path in asked if method == "GET" and path.startswith(f"/{bucket}/")]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["counts"]["moved"], summary["counts"]["too_large"], summary["counts"]["failed"]) == (3, 1, 0), done.stderr
    assert done.returncode == 1 and '"tagged"' in done.stdout
    after = {key: stored_header(life, bucket, key) for key in before}
    assert {key for key in before if before[key] != after[key]} == {"single", "multi", "small"}
    two = life.start("two")
    assert two.fetch(bucket, "single") == whole and two.fetch(bucket, "multi") == b"".join(parts)
    for key in before:
        assert life.at_store.get_object(Bucket=bucket, Key=key)["Body"].read() == sealed[key], key
    head = two.s3.head_object(Bucket=bucket, Key="single")
    assert (head["Metadata"], head["ContentType"], head["CacheControl"]) == ({"a": "b"}, "text/plain", "no-store")
    assert two.s3.head_object(Bucket=bucket, Key="multi")["Metadata"] == {"m": "x"}
    answer = two.s3.get_object(Bucket=bucket, Key="multi", Range="bytes=15728640-20971530")
    assert answer["Body"].read() == b"".join(parts)[15728640:20971531]
    assert not life.at_store.list_multipart_uploads(Bucket=bucket).get("Uploads")


def test_a_forged_or_foreign_header_is_not_moved(life, content):
    one = life.start("one")
    bucket = one.new_bucket("forged")
    for key in ("a", "b"):
        one.s3.put_object(Bucket=bucket, Key=key, Body=content(1_000, 1))
    life.site.command("keys new-epoch", "--bucket", bucket)
    # The store swaps the two: each header is of the other name.
    copies = {key: life.at_store.get_object(Bucket=bucket, Key=key) for key in ("a", "b")}
    bodies = {key: answer["Body"].read() for key, answer in copies.items()}
    for key, other in (("a", "b"), ("b", "a")):
        life.at_store.put_object(Bucket=bucket, Key=key, Body=bodies[other], Metadata=copies[other]["Metadata"])
    done = life.site.command("rewrap", "--bucket", bucket, "--output", "json", check=False)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["key"] for line in lines[:-1]) == ["a", "b"]
    assert lines[-1]["counts"]["failed"] == 2 and lines[-1]["counts"]["moved"] == 0
    for key, other in (("a", "b"), ("b", "a")):
        assert life.at_store.head_object(Bucket=bucket, Key=key)["Metadata"] == copies[other]["Metadata"]


# Objects of the slow measurements.
MEASURED = int(os.environ.get("SCEAU_TEST_LIFE_OBJECTS", "10000"))


def put_many(endpoint, bucket, names, **headers):
    """Puts small objects by hand-made requests on eight connections."""

    def put(names):
        connection = http.client.HTTPConnection(endpoint.host, timeout=60)
        for name in names:
            path = f"/{bucket}/{name}"
            body = name.encode() * 10
            signed = endpoint.signed("PUT", path, headers=headers)
            connection.request("PUT", path, body, signed.headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(put, names[n::8]) for n in range(8)]:
            job.result()


def watched_config(life):
    """The administrator's configuration with a store that counts what it is asked."""
    recorder = Recorder(life.store)
    path = life.site.folder / "watched.toml"
    path.write_text((life.site.folder / "admin.toml").read_text().replace(life.store.url, recorder.url))
    return recorder, path


def requests_of(recorder):
    return [(method.decode(), path.decode()) for method, path in
            re.findall(rb"^(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP", recorder.received, re.M)]


@pytest.mark.slow
def test_a_rotation_with_many_objects_measured(life, capsys):
    """One in a hundred is written through the gateway, the others are put at the store, which is faster."""
    one = life.start("one")
    bucket = one.new_bucket("many")
    sealed = max(1, MEASURED // 100)
    put_many(Endpoint.of(one), bucket, [f"sealed-{n:07}" for n in range(sealed)])
    put_many(Endpoint.behind(one), bucket, [f"{n:07}" for n in range(MEASURED - sealed)])
    new = life.new_key_config()
    results = []
    for step in ("--generate", "--finish"):
        recorder, config = watched_config(life)
        if step == "--finish":
            life.restart_with_new_key(one)
        done = json.loads(run(["keys", "rotate-kek", "--config", config, "--to", new, step, "--output", "json"], life.site.env).stdout)
        asked = requests_of(recorder)
        recorder.stop()
        assert done["objects_touched"] == 0
        assert not [path for _, path in asked if path.split("/")[1].split("?")[0] != life.site.control_bucket]
        results.append(f"{step}: {done['seconds']:.2f} s, {done['records']} records, {len(asked)} requests, all to the control bucket")
    assert one.s3.get_object(Bucket=bucket, Key="sealed-0000000")["Body"].read() == b"sealed-0000000" * 10
    with capsys.disabled():
        print(f"\nKEK rotation with {MEASURED} objects in the bucket: " + "; ".join(results))


@pytest.mark.slow
def test_a_move_of_all_kinds_measured(life, content, capsys):
    """Headers of single and multipart objects, with tags, in a bucket with versions, and under Object Lock."""
    one = life.start("one")
    plain = one.new_bucket("kinds")
    kinds = {"single": MEASURED * 85 // 100, "tagged": MEASURED // 20, "versioned": MEASURED * 8 // 100, "locked": MEASURED // 50}
    parts = [content(MIN + 3, 2), content(99, 3)]
    multi = [f"multi-{n:03}" for n in range(max(1, MEASURED // 500))]
    kinds["single"] -= len(multi)
    endpoint = Endpoint.of(one)
    put_many(endpoint, plain, [f"single-{n:07}" for n in range(kinds["single"])])
    put_many(endpoint, plain, [f"tagged-{n:07}" for n in range(kinds["tagged"])], **{"x-amz-tagging": "a=b"})
    for key in multi:
        put_multipart(one, plain, key, parts)
    # Object Lock brings versions with it: one bucket for both.
    versioned = f"versions-{uuid.uuid4().hex[:8]}"
    one.s3.create_bucket(Bucket=versioned)
    one.s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
    names = [f"versioned-{n:07}" for n in range(kinds["versioned"])]
    put_many(endpoint, versioned, names)
    put_many(endpoint, versioned, names)
    locked = f"locked-{uuid.uuid4().hex[:8]}"
    one.s3.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    put_many(endpoint, locked, [f"locked-{n:07}" for n in range(kinds["locked"])],
             **{"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until})
    lines, moved, locked_left = [], 0, 0
    for bucket in (plain, versioned, locked):
        life.site.command("keys new-epoch", "--bucket", bucket)
        recorder, config = watched_config(life)
        # With the smallest limit of a copy the multipart objects stand for those above 5 GiB.
        words = ["rewrap", "--config", config, "--bucket", bucket, "--copy-limit", "5", "--output", "json"]
        done = run(words, life.site.env, timeout=3600, check=False)
        summary = json.loads(done.stdout.splitlines()[-1])
        asked = requests_of(recorder)
        recorder.stop()
        # No GET of an object: no payload. Copies have no body.
        assert not [path for method, path in asked if method == "GET" and path.startswith(f"/{bucket}/")]
        assert summary["counts"]["failed"] == 0 and summary["payload_bytes"] == 0
        moved += summary["counts"]["moved"]
        locked_left += summary["counts"]["locked"]
        assert done.returncode == (1 if summary["not_done"] else 0)
        by_method = {method: sum(asked_method == method for asked_method, _ in asked) for method in ("HEAD", "PUT", "GET")}
        lines.append(f"{bucket.split('-')[0]}: {summary['counts']} in {summary['seconds']:.1f} s, requests {by_method}")
    assert moved + locked_left == sum(kinds.values()) + len(multi) and locked_left == kinds["locked"]
    with capsys.disabled():
        print(f"\nmove of {moved + locked_left} objects ({kinds}, multipart {len(multi)}): " + "; ".join(lines))
    assert one.fetch(plain, multi[0]) == b"".join(parts)
    assert one.fetch(versioned, names[0]) == names[0].encode() * 10


class NoToken:
    """In the place of a token where keys are in software."""

    env, module, pin_file, pass_environment = {}, "", "", []


class SoftSite(Site):
    """A site whose key-encryption key is a software key."""

    def config(self, *arguments, **options):
        path = super().config(*arguments, **options)
        text = path.read_text().replace('provider = "pkcs11"', 'provider = "insecure-local"')
        before, rest = text.split("[keys.pkcs11]")
        path.write_text(before + '[keys.insecure_local]\nkey_file = "soft-key"\n[access]' + rest.split("[access]", 1)[1])
        return path


def test_software_keys_are_rotated_in_place_and_a_running_gateway_follows(tmp_path, store, content):
    site = SoftSite(tmp_path / "site", store, NoToken, control_bucket=f"control-{uuid.uuid4().hex[:12]}")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.command("keys enrol")
    gateway = site.start("soft", keys=f'refresh = "{REFRESH_SECONDS}s"')
    try:
        front = Front("soft", gateway, site.folder / "front", store)
        bucket = front.new_bucket("soft")
        front.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 1))
        assert site.command("keys rotate-kek", check=False).returncode == 2, "nothing to rotate to"
        site.command("keys rotate-kek", "--generate")
        site.command("keys rotate-kek", "--finish")
        listed = json.loads(site.command("keys list", "--output", "json").stdout)
        assert [kek["version"] for kek in listed["key_encryption_keys"]] == [2]
        shown = f"sceau_keyring_generation {listed['generation']}\n"
        wait_until("the gateway follows", lambda: shown in gateway.admin("/metrics")[1], 15)
        assert front.fetch(bucket, "key") == content(1_000, 1)
    finally:
        site.stop()
