"""Promise: enrolment finds a mechanism that the token carries, says why it refused the others, and pins it.

How: a token behind the fault shim that refuses mechanisms, and a gateway that serves with what is left.
"""

import json

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site, run
from harness.process import free_port
from harness.softhsm import FaultyToken

pytestmark = pytest.mark.gateway

NO_GCM = "C_EncryptInit code=CKR_MECHANISM_INVALID"
NO_HMAC = "C_SignInit code=CKR_MECHANISM_INVALID"


@pytest.mark.parametrize(
    ("faults", "scheme", "configured"),
    [
        ((NO_GCM,), "hmac-kdf", ""),
        ((NO_GCM, NO_HMAC), "aes-kw", ""),
        ((), "aes-cbc-kdf", 'scheme = "aes-cbc-kdf"'),
        (("gcm-iv=written-back",), "aes-gcm/hsm-iv", 'profile = "nshield"\nscheme = "aes-gcm/hsm-iv"'),
    ],
)
def test_a_gateway_serves_on_every_rung(work, store, content, faults, scheme, configured):
    label = scheme.replace("/", "-")
    token = FaultyToken(work / f"ladder-{label}")
    token.faults(*faults)
    site = Site(work / f"ladder-site-{label}", store, token, f"ladder-{label}")
    site.pkcs11 = configured
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    enrolled = site.enrol()
    assert f"({scheme})" in enrolled.stdout, enrolled
    if not configured:
        assert "aes-gcm/caller-iv" in enrolled.stderr and "MechanismInvalid" in enrolled.stderr, enrolled.stderr
    # From here on the keyring says which scheme it is.
    site.pkcs11 = configured.split("\n")[0] if "profile" in configured else ""
    try:
        gateway = site.start(f"ladder-{label}")
        front = Front(gateway.name, gateway, work / gateway.name, store)
        bucket, body = front.new_bucket("ladder"), content(70_000, 3)
        front.s3.put_object(Bucket=bucket, Key="k", Body=body)
        gateway.stop()
        # Another process has only what was wrapped.
        gateway.start()
        assert front.fetch(bucket, "k") == body
        listed = site.command("keys list", "--output", "json")
        assert [key["scheme"] for key in json.loads(listed.stdout)["key_encryption_keys"]] == [scheme]
        # What was pinned is not left: another scheme in the configuration opens nothing.
        other = "hmac-kdf" if scheme != "hmac-kdf" else "aes-gcm/caller-iv"
        site.pkcs11 = f'scheme = "{other}"'
        wrong = site.config("wrong", free_port(), free_port(), keyring=site.folder / f"{gateway.name}-keyring")
        refused = run(["serve", "--config", wrong], site.env, check=False, timeout=60)
        assert refused.returncode not in (0, None)
    finally:
        site.stop()


def test_unknown_schemes_and_profiles_are_refused(work, store, token):
    site = Site(work / "ladder-unknown", store, token)
    for line, named in (('scheme = "rot13"', "scheme"), ('profile = "acme"', "acme")):
        site.pkcs11 = line
        config = site.config("unknown", free_port(), free_port())
        done = run(["keys", "list", "--config", config], site.env, check=False)
        assert done.returncode == 2 and named in done.stderr, done
