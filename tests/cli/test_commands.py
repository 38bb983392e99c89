"""Promise: an operator can enrol keys, look, check, verify and decrypt from the command line.

How: the commands run against the site of the other suites, with the gateway running or stopped.
"""

import json
import re

import pytest

from harness import sof1
from harness.gateway import run
from harness.softhsm import KEY_LABEL, PIN

pytestmark = pytest.mark.gateway

MIN = 5 * 1024 * 1024
HEADER = "sceauh1"


@pytest.fixture
def stored(plain, content):
    """A single and a multipart object, as plaintext by key."""
    bucket = plain.new_bucket("commands")
    objects = {"dir/single": content(70_001, 1), "dir/multi": content(MIN + 3, 2) + content(99, 3)}
    plain.s3.put_object(Bucket=bucket, Key="dir/single", Body=objects["dir/single"], Metadata={"m": "secret-meta-value"})
    names = {"Bucket": bucket, "Key": "dir/multi"}
    names["UploadId"] = plain.s3.create_multipart_upload(**names)["UploadId"]
    parts = []
    for number, body in ((1, content(MIN + 3, 2)), (2, content(99, 3))):
        etag = plain.s3.upload_part(**names, PartNumber=number, Body=body)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
    plain.s3.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})
    return bucket, objects


def test_help_names_every_command():
    text = run(["--help"]).stdout
    for command in ("dev", "serve", "keys", "check", "inspect", "verify", "decrypt"):
        assert re.search(rf"^\s+{command}\b", text, re.M), command
        assert "Usage" in run([command, "--help"]).stdout


def test_the_enrolled_key_is_in_the_token_and_listed(site, plain):
    assert KEY_LABEL in site.token.objects()
    listed = site.command("keys list")
    assert KEY_LABEL in listed.stdout
    assert PIN not in listed.stdout + listed.stderr


def test_enrolling_twice_is_refused(site, plain):
    again = site.command("keys enrol", "--generate", check=False)
    assert again.returncode != 0
    assert site.token.objects().count(f"label:      {KEY_LABEL}") == 1


def test_a_new_epoch_leaves_old_objects_readable(site, plain, content):
    bucket = plain.new_bucket("epochs")
    plain.s3.put_object(Bucket=bucket, Key="old", Body=content(1_000, 1))
    site.command("keys new-epoch", "--bucket", bucket)
    plain.s3.put_object(Bucket=bucket, Key="new", Body=content(1_000, 2))
    assert plain.fetch(bucket, "old") == content(1_000, 1)
    assert plain.fetch(bucket, "new") == content(1_000, 2)


def test_check_finds_a_right_site_right(site, plain):
    done = site.command("check")
    assert PIN not in done.stdout + done.stderr


def test_check_names_what_is_wrong(site, plain):
    path = site.folder / "broken.toml"
    text = site.config("for-broken", 1, 2).read_text()
    path.write_text(text.replace(site.store.url, "http://127.0.0.1:9"))
    done = run(["check", "--config", path], site.env, check=False)
    assert done.returncode != 0
    assert "127.0.0.1:9" in done.stdout + done.stderr or "store" in (done.stdout + done.stderr).lower()


def test_unknown_keys_are_shown_with_a_caret(site, plain):
    path = site.folder / "misspelt.toml"
    path.write_text(site.config("for-misspelt", 1, 2).read_text().replace("control_bucket =", "control_buket ="))
    done = run(["serve", "--config", path], site.env, check=False)
    assert done.returncode != 0
    assert "control_buket" in done.stderr and "^" in done.stderr
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if "control_buket" in text)
    assert str(line) in done.stderr


def test_inspect_shows_the_header_and_no_plaintext(site, plain, stored):
    bucket, objects = stored
    for key, data in objects.items():
        done = site.command("inspect", f"s3://{bucket}/{key}")
        assert str(len(data)) in done.stdout.replace(",", "")
        assert "secret-meta-value" not in done.stdout
    missing = site.command("inspect", f"s3://{bucket}/none", check=False)
    assert missing.returncode != 0


def test_verify_passes_whole_objects_and_names_damaged_ones(site, plain, stored):
    bucket, _ = stored
    site.command("verify", f"s3://{bucket}/dir/")
    store = plain.at_store()
    answer = store.get_object(Bucket=bucket, Key="dir/single")
    damaged = bytearray(answer["Body"].read())
    damaged[66_000] ^= 1
    store.put_object(Bucket=bucket, Key="dir/single", Body=bytes(damaged), Metadata=answer["Metadata"])
    done = site.command("verify", f"s3://{bucket}/dir/", check=False)
    assert done.returncode != 0
    assert "dir/single" in done.stdout + done.stderr


def test_decrypt_opens_a_downloaded_object_without_store_or_gateway(site, plain, stored, tmp_path):
    bucket, objects = stored
    store = plain.at_store()
    for number, (key, data) in enumerate(objects.items()):
        answer = store.get_object(Bucket=bucket, Key=key)
        sealed, out = tmp_path / f"{number}.sealed", tmp_path / f"{number}.plain"
        sealed.write_bytes(answer["Body"].read())
        assert sealed.stat().st_size == sof1.stored(len(data))
        metadata = tmp_path / f"{number}.json"
        metadata.write_text(json.dumps({"Metadata": answer["Metadata"]}))
        config = offline(site, tmp_path)
        names = ["--config", config, "--bucket", bucket, "--key", key]
        run(["decrypt", *names, "--metadata", metadata, sealed, out], site.env)
        assert out.read_bytes() == data
        again = tmp_path / f"{number}.again"
        run(["decrypt", *names, "--header", answer["Metadata"][HEADER], sealed, again], site.env)
        assert again.read_bytes() == data


def test_decrypt_refuses_damage_and_other_names(site, plain, stored, tmp_path):
    bucket, objects = stored
    key = "dir/multi"
    answer = plain.at_store().get_object(Bucket=bucket, Key=key)
    body, header = answer["Body"].read(), answer["Metadata"][HEADER]
    sealed = tmp_path / "sealed"
    config = offline(site, tmp_path)

    def refused(body, key, what):
        sealed.write_bytes(body)
        out = tmp_path / f"{what}.plain"
        names = ["--config", config, "--bucket", bucket, "--key", key]
        done = run(["decrypt", *names, "--header", header, sealed, out], site.env, check=False)
        assert done.returncode != 0, what
        assert not out.exists() or out.read_bytes() == b"", what

    refused(body, "dir/another", "another name")
    refused(body[:-1], key, "one byte short")
    refused(body[: len(body) // 2], key, "half")
    for position in (50, 100_000, len(body) - 20, len(body) - 100):
        changed = bytearray(body)
        changed[position] ^= 1
        refused(bytes(changed), key, f"byte {position}")


def offline(site, folder):
    """A configuration whose store does not exist, with the newest keyring of the site."""
    path = site.folder / "offline.toml"
    keyring = folder / "keyring"
    # Buckets made since enrolment are in the running gateway's copy.
    keyring.write_bytes((site.folder / "gateway-http-keyring").read_bytes())
    keyring.chmod(0o600)
    text = site.config("for-offline", 1, 2, keyring=keyring).read_text()
    path.write_text(text.replace(site.store.url, "http://127.0.0.1:9"))
    return path
