"""Promise: with the key in AWS KMS, objects are served while the key is enabled there, and refused within
`keys.cache_ttl` after it is not; a service that is away or refuses the gateway itself is an outage, not a refusal.

How: one gateway on moto, which checks rights and signatures here, but goes on decrypting with a disabled key: what is
refused is refused by the gateway.
"""

import time

import pytest

from harness.aws_kms import AwsKms
from harness.fronts import Front, boto
from harness.gateway import KeyServiceSite, run
from harness.process import free_port, wait_until
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway

CACHE_SECONDS = 2
KEYS = f'cache_ttl = "{CACHE_SECONDS}s"\nrefresh = "1s"'
# The longest time that a refusal or a recovery may take: the cache, and a trial of the key provider.
SECONDS = 20
# A request waits for the key for 5 s; the rest is for a busy machine.
ANSWER_SECONDS = 15


@pytest.fixture(scope="module")
def site(work, store, certificates):
    kms = AwsKms(work / "aws-kms", certificates)
    site = KeyServiceSite(work / "aws-kms-site", store, kms, "aws-kms-control")
    yield site
    site.stop()
    kms.stop()


@pytest.fixture(scope="module")
def served(site, store, work, content):
    """A gateway and an object that went through it."""
    client = boto(store.url, store.access_key, store.secret_key)
    site.enrol()
    front = Front("aws-kms", site.start("aws-kms", keys=KEYS), work / "aws-kms", store)
    body = content(100_000, 9)
    endpoint = Endpoint.of(front)
    assert endpoint.send("PUT", "/kms-bucket").status == 200
    assert endpoint.send("PUT", "/kms-bucket/k", body=body).status == 200
    assert endpoint.send("GET", "/kms-bucket/k").body == body
    stored = client.get_object(Bucket="kms-bucket", Key="k")["Body"].read()
    assert body[:64] not in stored, "the store holds ciphertext"

    def status():
        answer = endpoint.send("GET", "/kms-bucket/k")
        assert (answer.body == body) if answer.status == 200 else (body[:64] not in answer.body)
        return answer.status

    return endpoint, status


def test_no_key_is_generated_by_the_gateway(site):
    done = site.command("keys enrol", "--generate", check=False)
    assert done.returncode != 0 and "makes no key in a key service" in done.stderr


def test_check_and_the_canary_pass_with_the_least_rights(site, served):
    shown = site.command("check").stdout
    assert "(remote-kms)" in shown and site.token.arn in shown, shown
    site.command("keys canary")
    listed = site.command("keys list").stdout
    assert site.token.key in listed and "aws-kms/eu-west-3" in listed
    assert site.token.arn not in listed, "the account is not stored beside the data"


def test_a_disabled_key_is_refused_and_comes_back(site, served):
    _, status = served
    kms = site.token
    kms.admin.disable_key(KeyId=kms.key)
    wait_until("refused", lambda: status() == 403, SECONDS)
    done = site.command("check", check=False)
    assert done.returncode != 0 and "may not be used" in done.stdout + done.stderr
    kms.admin.enable_key(KeyId=kms.key)
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_another_authority_is_not_trusted(site, served):
    path = site.config("stranger")
    text = path.read_text()
    path.write_text(text.replace(f'ca_file = "{site.token.ca}"\n', ""))
    done = run(["check", "--config", path], check=False)
    assert done.returncode != 0 and "unavailable" in done.stdout + done.stderr, done.stdout


@pytest.mark.slow
def test_a_key_that_waits_for_its_deletion_is_refused(site, served):
    _, status = served
    kms = site.token
    kms.admin.schedule_key_deletion(KeyId=kms.key, PendingWindowInDays=7)
    wait_until("refused", lambda: status() == 403, SECONDS)
    kms.admin.cancel_key_deletion(KeyId=kms.key)
    kms.admin.enable_key(KeyId=kms.key)
    wait_until("served again", lambda: status() == 200, SECONDS)


@pytest.mark.slow
def test_a_service_that_never_answers_is_an_outage_and_holds_nobody(site, served):
    _, status = served
    assert status() == 200
    site.token.freeze()
    try:
        wait_until("unavailable", lambda: status() == 503, SECONDS)
        start = time.monotonic()
        assert status() == 503
        assert time.monotonic() - start < ANSWER_SECONDS
    finally:
        site.token.thaw()
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_a_gateway_starts_again_with_the_same_key(site, served):
    gateway = site.start("aws-kms-2", keys=KEYS)
    endpoint = Endpoint.of(Front("aws-kms-2", gateway, site.folder, site.store))
    assert endpoint.send("GET", "/kms-bucket/k").status == 200
    assert endpoint.send("PUT", "/kms-bucket-2").status == 200, "a new epoch key is wrapped"
    assert endpoint.send("PUT", "/kms-bucket-2/k", body=b"after").status == 200
    gateway.stop()


@pytest.mark.slow
def test_the_keyring_moves_to_another_key(site, served):
    _, status = served
    kms = site.token
    old, _ = kms.key, kms.make_key()
    new = site.config("next", data=free_port(), admin=free_port())
    site.command("keys rotate-kek", "--to", new)
    assert status() == 200, "the gateway of the old key serves on"
    site.command("keys rotate-kek", "--to", new, "--finish")
    kms.admin.disable_key(KeyId=old)
    gateway = site.start("aws-kms-3", keys=KEYS)
    endpoint = Endpoint.of(Front("aws-kms-3", gateway, site.folder, site.store))
    answer = endpoint.send("GET", "/kms-bucket-2/k")
    assert (answer.status, answer.body) == (200, b"after"), "the old key is not needed any more"
    gateway.stop()
    kms.admin.enable_key(KeyId=old)


def test_refused_credentials_are_the_operators_matter(site, served):
    _, status = served
    kms = site.token
    kms.write_secret("wrong-secret")
    done = site.command("check", check=False)
    assert done.returncode != 0 and "an operator must act" in done.stdout + done.stderr
    assert "wrong-secret" not in done.stdout + done.stderr
    kms.write_secret(kms.secret)
    # Withdrawn while the gateway runs: not "access denied", which would blame the client.
    kms.iam.delete_access_key(UserName="sceau", AccessKeyId=kms.access_key)
    wait_until("unavailable", lambda: status() == 503, SECONDS)
