"""Promise: a gateway does not start with a module, key or token that is not as an operator accepted it.

How: SoftHSM through a copy of its module that the test may alter; attributes are changed in SoftHSM's own files.
"""

import json
import os
import re
import shutil
import struct
import uuid

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site
from harness.softhsm import KEY_LABEL, Token

pytestmark = pytest.mark.gateway

CKA_SIGN = 0x108


class OwnModule(Token):
    """A token whose module is a file of the test's."""

    def __init__(self, folder):
        super().__init__(folder)
        self.original, self.module = self.module, str(folder / "module.so")
        shutil.copy(os.path.realpath(self.original), self.module)
        os.chmod(self.module, 0o755)

    def update(self):
        """Another file that works the same."""
        with open(self.module, "ab") as file:
            file.write(b"\0" * 16)

    def set_flag(self, attribute, value):
        """Sets a flag of every key, in SoftHSM's files: no call may, for the keys are not modifiable."""
        head = struct.pack(">QQ", attribute, 1)
        changed = 0
        for path in (self.folder / "tokens").rglob("*.object"):
            old = path.read_bytes()
            # True is written as 255.
            new = old.replace(head + (b"\0" if value else b"\xff"), head + (b"\xff" if value else b"\0"))
            changed += new != old and path.write_bytes(new) > 0
        assert changed, "SoftHSM's files have another form"


@pytest.fixture
def site(tmp_path, store):
    site = Site(tmp_path / "site", store, OwnModule(tmp_path / "token"), control_bucket=f"control-{uuid.uuid4().hex[:12]}")
    site.at_store = boto(store.url, store.access_key, store.secret_key)
    site.at_store.create_bucket(Bucket=site.control_bucket)
    yield site
    site.stop()


def start_refused(site, name):
    """What a gateway says that does not start."""
    with pytest.raises(RuntimeError) as refused:
        site.start(name)
    site.gateways.pop()
    text = re.sub(r"\x1b\[[0-9]*m", "", str(refused.value))
    assert "ended with 3" in text, text
    return text


def restart(site, gateway):
    gateway.stop()
    gateway.start()


def test_a_module_that_changed_is_not_loaded_until_it_is_accepted(site, store, content):
    site.enrol()
    one = site.start("one")
    front = Front("one", one, site.folder / "front", store)
    bucket = front.new_bucket("enrolment")
    front.s3.put_object(Bucket=bucket, Key="key", Body=content(1_000, 1))
    before = json.loads(site.command("keys accept", "--dry-run", "--output", "json").stdout)
    assert before["differences"] == [] and len(before["tokens"]) == 1
    site.token.update()
    one.stop()
    text = start_refused(site, "one")
    assert "E-KEYS-023" in text and "so it is not loaded" in text and "sceau keys accept" in text
    assert before["tokens"][0]["modules"][0] in text
    for command in ("keys list", "check"):
        refused = site.command(command, check=False)
        assert refused.returncode != 0 and "E-KEYS-023" in refused.stdout + refused.stderr, command
    # A host without a copy of the record is refused as well, by the control bucket's.
    assert "E-KEYS-023" in start_refused(site, "new-host")
    shown = json.loads(site.command("keys accept", "--dry-run", "--output", "json").stdout)
    assert len(shown["differences"]) == 1 and "SHA-256" in shown["differences"][0]
    assert "E-KEYS-023" in start_refused(site, "one"), "a dry run accepts nothing"
    site.command("keys accept")
    # The other host's own copy is older than the control bucket's, but it refuses before it can look there.
    assert "E-KEYS-023" in start_refused(site, "one")
    shutil.copy(site.folder / "keyring.enrolment", site.folder / "one-keyring.enrolment")
    again = site.start("one")
    front = Front("one", again, site.folder / "front-2", store)
    assert front.fetch(bucket, "key") == content(1_000, 1)
    # Accepted beside the new one, so that hosts can be updated one after the other, until it is said otherwise.
    again.stop()
    shutil.copy(os.path.realpath(site.token.original), site.token.module)
    site.start("old-module").stop()
    site.token.update()
    site.command("keys accept", "--only")
    shutil.copy(os.path.realpath(site.token.original), site.token.module)
    assert "E-KEYS-023" in start_refused(site, "old-module-2")


def test_an_attribute_that_changed_is_named(site):
    site.enrol()
    one = site.start("one")
    site.token.set_flag(CKA_SIGN, True)
    one.stop()
    text = start_refused(site, "one")
    assert "E-KEYS-023" in text and "CKA_SIGN was false and is true" in text, text
    accepted = json.loads(site.command("keys accept", "--output", "json").stdout)
    assert accepted["record"] == 2 and accepted["tokens"][0]["attributes"]["SIGN"] is True
    # Its own copy is older; the control bucket's counts.
    site.start("one")


def test_a_record_that_was_altered_is_no_record(site):
    site.enrol()
    site.start("one").stop()
    path = site.folder / "one-keyring.enrolment"
    good = path.read_text()
    path.write_text(good.replace('"EXTRACTABLE":false', '"EXTRACTABLE":true'))
    text = start_refused(site, "one")
    assert "E-KEYS-024" in text and "sceau keys accept" in text, text
    path.write_text(good)
    # The store's copy is worth nothing where it is forged, and is put right where it is gone or old.
    names = {"Bucket": site.control_bucket, "Key": "enrolment"}
    kept = site.at_store.get_object(**names)["Body"].read()
    site.at_store.put_object(**names, Body=kept.replace(b'"LOCAL":true', b'"LOCAL":false'))
    site.start("one").stop()
    assert site.at_store.get_object(**names)["Body"].read() == kept
    site.at_store.delete_object(**names)
    site.start("one").stop()
    assert site.at_store.get_object(**names)["Body"].read() == kept


def test_an_installation_without_a_record_gets_one_if_its_module_is_the_enrolled_one(site):
    site.enrol()

    def forget():
        site.at_store.delete_object(Bucket=site.control_bucket, Key="enrolment")
        for path in site.folder.glob("*.enrolment"):
            path.unlink()

    forget()
    site.start("one").stop()
    assert (site.folder / "one-keyring.enrolment").exists()
    assert site.at_store.get_object(Bucket=site.control_bucket, Key="enrolment")["Body"].read()
    forget()
    site.token.update()
    text = start_refused(site, "one")
    assert "E-KEYS-023" in text and "at enrolment" in text, text
    site.command("keys accept")
    site.start("one")


def test_a_rotated_key_is_accepted_with_the_module_it_was_enrolled_with(site):
    site.enrol()
    one = site.start("one")
    new = site.folder / "new.toml"
    new.write_text((site.folder / "admin.toml").read_text().replace(f'"{KEY_LABEL}"', '"another-kek"'))
    site.command("keys rotate-kek", "--to", new, "--generate")
    one.stop()
    one.config.write_text(one.config.read_text().replace(f'"{KEY_LABEL}"', '"another-kek"'))
    one.start()
    record = json.loads((site.folder / "one-keyring.enrolment").read_text().splitlines()[0])
    assert [token["key_label"] for token in record["tokens"]] == [KEY_LABEL, "another-kek"]
    assert record["serial"] == 2


def test_operations_of_enrolment_and_check_are_numbered(site):
    """Each operation of a process has the next number, whichever provider it was for."""

    def numbers(text):
        return [int(number) for number in re.findall(r"key operation seq=(\d+)", re.sub(r"\x1b\[[0-9]*m", "", text))]

    site.config("admin", data=1, admin=2)
    enrolled = site.command("keys enrol", "--generate").stderr
    assert "reason=\"enrolment\"" in enrolled, enrolled
    for text in (enrolled, site.command("check").stderr, site.command("keys canary").stderr):
        found = numbers(text)
        assert len(found) >= 2 and found == list(range(1, len(found) + 1)), text
    new = site.folder / "new.toml"
    new.write_text((site.folder / "admin.toml").read_text().replace(f'"{KEY_LABEL}"', '"another-kek"'))
    rotated = site.command("keys rotate-kek", "--to", new, "--generate").stderr
    found = numbers(rotated)
    assert len(found) >= 6 and found == list(range(1, len(found) + 1)), rotated
