"""Promise: the scripts and check-lists of docs/ceremony/ do what they say with this version.

How: the ceremony and each drill on SoftHSM2, by the very files that people are given; SoftHSM2's own tools play the officers.
"""

import json
import os
import re
import shutil
import subprocess
import uuid

import pytest

from harness.fronts import Front, boto, error_of
from harness.gateway import Site
from harness.process import free_port, wait_until
from harness.settings import BINARY, ROOT, tool
from harness.softhsm import KEY_LABEL, LABEL, PIN, SO_PIN, Token

pytestmark = pytest.mark.gateway

PACK = ROOT / "docs" / "ceremony"
PROFILES = ROOT / "kms-adapters" / "pkcs11" / "src" / "profile.rs"


class Ceremony:
    """A site without a key yet, and what the scripts are given."""

    def __init__(self, folder, store):
        self.token = Token(folder / "softhsm")
        self.site = Site(folder / "site", store, self.token, control_bucket=f"control-{uuid.uuid4().hex[:12]}")
        self.at_store = boto(store.url, store.access_key, store.secret_key)
        self.at_store.create_bucket(Bucket=self.site.control_bucket)
        self.config = self.site.config("admin", data=free_port(), admin=free_port())
        self.folder = folder

    def script(self, name, check=True, **settings):
        """Runs a script of the pack; answers the folder with its papers."""
        papers = self.folder / f"papers-{uuid.uuid4().hex[:6]}"
        papers.mkdir()
        env = {"SCEAU": BINARY, "CONFIG": self.config, "PAPERS": papers, **self.site.env, **settings}
        env = {**os.environ, **{name: str(value) for name, value in env.items()}}
        done = subprocess.run([str(PACK / name)], env=env, capture_output=True, text=True, timeout=120)
        assert (done.returncode == 0) == check, f"{name}: {done.stdout}\n{done.stderr}"
        return papers

    def other_config(self, name, *changes):
        text = self.config.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = self.site.folder / f"{name}.toml"
        path.write_text(text)
        return path


@pytest.fixture
def ceremony(tmp_path, store):
    ceremony = Ceremony(tmp_path, store)
    yield ceremony
    ceremony.site.stop()


def filled(ceremony, name, content):
    """A gateway with an object of one bucket."""
    gateway = ceremony.site.start(name, keys='refresh = "1s"')
    front = Front(name, gateway, ceremony.folder / name, ceremony.site.store)
    bucket = front.new_bucket("ceremony")
    front.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 1))
    return front, bucket


def test_the_ceremony_from_the_key_to_the_restored_backup(ceremony):
    papers = ceremony.script("key.sh")
    enrolled = json.loads((papers / "enrolment.json").read_text())
    token = enrolled["token"]
    flags = {attribute["name"]: attribute["value"] for attribute in token["attributes"]}
    # The table of the page is what the witness compares with.
    page = (PACK / "README.md").read_text()
    said = re.search(r"^(`SENSITIVE`.*?) are true\. (.*?) are false\.", page, re.M | re.S)
    named = lambda text: re.findall(r"`([A-Z_]+)`", text)  # noqa: E731
    assert len(named(said[1])) == 6 and len(named(said[2])) == 4
    assert all(flags[name] for name in named(said[1]) if name in flags), flags
    assert not any(flags[name] for name in named(said[2]) if name in flags), flags
    assert {"SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE", "LOCAL"} <= set(flags)
    protocol = (papers / "protocol.txt").read_text()
    assert "nothing is different" in protocol and "recognised" in protocol and token["module_sha256"] in protocol
    papers = ceremony.script("backup.sh")
    export = papers / "keyring.backup"
    # The vendor's copy of the key: SoftHSM's files.
    second = ceremony.folder / "second-hsm"
    shutil.copytree(ceremony.token.folder, second)
    conf = second / "softhsm2.conf"
    conf.write_text(conf.read_text().replace(str(ceremony.token.folder), str(second)))
    papers = ceremony.script("restore.sh", EXPORT=export, SOFTHSM2_CONF=conf)
    assert "recognised" in (papers / "restore.txt").read_text()
    # A damaged export does not pass.
    damaged = ceremony.folder / "damaged"
    damaged.write_text(export.read_text().replace('"generation": 1', '"generation": 9').replace('"generation":1', '"generation":9'))
    ceremony.script("restore.sh", check=False, EXPORT=damaged, SOFTHSM2_CONF=conf)


def test_the_loss_of_the_hsm(ceremony, content):
    ceremony.script("key.sh")
    front, bucket = filled(ceremony, "one", content)
    # A second token in the same library plays the second HSM; then the first one's files are taken away.
    tokens = ceremony.token.folder / "tokens"
    lost = list(tokens.iterdir())
    words = ["--init-token", "--free", "--label", "recovery", "--pin", PIN, "--so-pin", SO_PIN]
    ceremony.token._run([tool("softhsm2-util"), *words])
    recovery = ceremony.other_config(
        "recovery", (f'token_label = "{LABEL}"', 'token_label = "recovery"'), (f'"{KEY_LABEL}"', '"recovery-kek"')
    )
    ceremony.site.command("keys add-recipient", "--to", recovery, "--generate")
    front.server.stop()
    for folder in lost:
        shutil.rmtree(folder)
    papers = ceremony.script("drill-hsm-loss.sh", CONFIG=recovery, BUCKET=bucket)
    protocol = (papers / "protocol.txt").read_text()
    assert "1 objects verified" in protocol and "opens everything" in protocol
    # Nothing of the lost HSM opens any more: the drill with its own configuration fails.
    ceremony.script("drill-hsm-loss.sh", check=False, BUCKET=bucket)
    gateway = front.server
    shutil.copy(ceremony.site.folder / "keyring", ceremony.site.folder / "one-keyring")
    text = gateway.config.read_text().replace(f'token_label = "{LABEL}"', 'token_label = "recovery"')
    gateway.config.write_text(text.replace(f'"{KEY_LABEL}"', '"recovery-kek"'))
    gateway.start()
    assert front.fetch(bucket, "key") == content(1_000, 1)


def test_the_loss_of_the_pin(ceremony, content):
    ceremony.script("key.sh")
    front, bucket = filled(ceremony, "one", content)
    new = ceremony.folder / "new-pin"
    new.write_text("7-new-pin-8")
    pkcs11 = f"{tool('pkcs11-tool')} --module {ceremony.token.module} --token-label {LABEL}"
    set_pin = f"{pkcs11} --login --login-type so --so-pin {SO_PIN} --init-pin --new-pin 7-new-pin-8"
    # Somebody tried the old one meanwhile, and it is remembered.
    latch = ceremony.site.folder / "keyring.refused-pin"
    latch.write_text("00")
    papers = ceremony.script(
        "drill-pin-loss.sh", SET_PIN=set_pin, PIN_FILE=ceremony.token.pin_file, NEW_PIN_FILE=new,
        KEYRING=ceremony.site.folder / "keyring",
    )
    assert "recognised" in (papers / "protocol.txt").read_text() and not latch.exists()
    front.server.stop()
    front.server.start()
    assert front.fetch(bucket, "key") == content(1_000, 1)
    for path in papers.iterdir():
        assert PIN not in path.read_text() and "7-new-pin-8" not in path.read_text(), path


def test_an_emergency(ceremony, content):
    ceremony.script("key.sh")
    front, bucket = filled(ceremony, "one", content)
    ceremony.script("drill-emergency.sh", BUCKET=bucket)
    refused = lambda: error_of(front.s3.get_object, Bucket=bucket, Key="key") == "AccessDenied"  # noqa: E731
    wait_until("the bucket is stopped", refused, 15)
    ceremony.site.command("keys enable", "--bucket", bucket, "--all")
    wait_until("the bucket is back", lambda: not refused(), 15)
    assert front.fetch(bucket, "key") == content(1_000, 1)


def test_a_compromise(ceremony, content):
    ceremony.script("key.sh")
    front, bucket = filled(ceremony, "one", content)
    old_backup = ceremony.script("backup.sh") / "keyring.backup"
    new = ceremony.other_config("new", (f'"{KEY_LABEL}"', '"new-kek"'))
    settings = {"NEW_CONFIG": new, "BUCKETS": bucket}
    ceremony.script("drill-compromise.sh", PART="1", **settings)
    gateway = front.server
    gateway.stop()
    gateway.config.write_text(gateway.config.read_text().replace(f'"{KEY_LABEL}"', '"new-kek"'))
    gateway.start()
    papers = ceremony.script("drill-compromise.sh", PART="2", **settings)
    assert "1 moved" in (papers / "protocol.txt").read_text()
    # By hand: the old key is destroyed in the token.
    command = [tool("pkcs11-tool"), "--module", ceremony.token.module, "--token-label", LABEL, "--login", "--pin", PIN,
               "--delete-object", "--type", "secrkey", "--label", KEY_LABEL]
    ceremony.token._run(command)
    gateway.stop()
    gateway.start()
    assert front.fetch(bucket, "key") == content(1_000, 1)
    # Nothing opens the keyring of before any more.
    ceremony.script("restore.sh", check=False, EXPORT=old_backup)


def test_a_script_stops_at_the_first_error(ceremony):
    """Without a keyring every step fails, and says so by its exit code."""
    for name, more in [("backup.sh", {}), ("drill-emergency.sh", {"BUCKET": "b"}),
                       ("drill-compromise.sh", {"PART": "1", "NEW_CONFIG": ceremony.config})]:
        ceremony.script(name, check=False, **more)


def test_every_family_has_a_page_that_says_what_its_profile_says():
    profiles = re.findall(r'Profile \{\n +name: "(\w+)",.*?basis: Basis::(\w+),\n +quirks: &\[(.*?)\],\n    \}', PROFILES.read_text(), re.S)
    assert len(profiles) >= 8
    index = (PACK / "README.md").read_text()
    for name, basis, quirks in profiles:
        page = (PACK / "families" / f"{name}.md").read_text()
        assert f"families/{name}.md" in index, name
        assert ("**tested**" in page) == (basis == "Tested"), name
        assert ("from documentation: no device was touched" in page) == (basis == "FromDocumentation"), name
        for quirk in re.findall(r'"((?:[^"\\]|\\.)*)"', quirks):
            assert quirk in page, (name, quirk)
