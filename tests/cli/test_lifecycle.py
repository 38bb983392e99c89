"""Promise: keys are rotated, disabled, destroyed and brought back while gateways serve, and no object is touched.

How: a site of its own on SeaweedFS with two gateways on one token; a forwarder that remembers what the commands send.
"""

import json
import re
import threading
import uuid

import pytest

from harness.fronts import Front, boto, error_of
from harness.gateway import Site, run
from harness.process import wait_until
from harness.recorder import Recorder
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

    def start(self, name):
        keys = f'refresh = "{REFRESH_SECONDS}s"'
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
