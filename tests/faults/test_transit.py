"""Promise: with the key in OpenBao, objects are served while the service allows the key, and refused within
`keys.cache_ttl` after it does not; a gateway with the least rights makes no key in the place of a deleted one.

How: one gateway on a real OpenBao (skipped where the program `bao` is not installed) with a token that has
the rights of docs/operations.md.
"""

import pytest

from harness.fronts import Front, boto
from harness.gateway import KeyServiceSite
from harness.openbao import KEY_LABEL, POLICY, OpenBao
from harness.process import free_port, wait_until
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway

CACHE_SECONDS = 2
KEYS = f'cache_ttl = "{CACHE_SECONDS}s"\nrefresh = "1s"'
# The longest time that a refusal or a recovery may take: the cache, and a trial of the key provider.
SECONDS = 20


@pytest.fixture(scope="module")
def site(work, store):
    bao = OpenBao(work / "transit-bao")
    site = KeyServiceSite(work / "transit-site", store, bao, "transit-control")
    yield site
    site.stop()
    bao.stop()


@pytest.fixture(scope="module")
def served(site, store, work, content):
    """A gateway and an object that went through it."""
    client = boto(store.url, store.access_key, store.secret_key)
    site.enrol()
    front = Front("transit", site.start("transit", keys=KEYS), work / "transit", store)
    body = content(100_000, 7)
    endpoint = Endpoint.of(front)
    assert endpoint.send("PUT", "/transit-bucket").status == 200
    assert endpoint.send("PUT", "/transit-bucket/k", body=body).status == 200
    assert endpoint.send("GET", "/transit-bucket/k").body == body
    stored = client.get_object(Bucket="transit-bucket", Key="k")["Body"].read()
    assert body[:64] not in stored, "the store holds ciphertext"

    def status():
        answer = endpoint.send("GET", "/transit-bucket/k")
        assert (answer.body == body) if answer.status == 200 else (body[:64] not in answer.body)
        return answer.status

    return endpoint, status


def test_no_key_is_generated_by_the_gateway(site):
    done = site.command("keys enrol", "--generate", check=False)
    assert done.returncode != 0 and "makes no key in a key service" in done.stderr


def test_check_and_the_canary_pass_with_the_least_rights(site, served):
    shown = site.command("check").stdout
    assert "(remote-kms)" in shown, shown
    site.command("keys canary")


def test_a_withheld_key_is_refused_and_comes_back(site, served):
    _, status = served
    site.token.do("delete", f"transit/keys/{KEY_LABEL}/soft-delete")
    wait_until("refused", lambda: status() == 403, SECONDS)
    site.token.do("write", "-f", f"transit/keys/{KEY_LABEL}/soft-delete-restore")
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_withdrawn_rights_are_a_refusal(site, served):
    _, status = served
    site.token.policy("")
    wait_until("refused", lambda: status() == 403, SECONDS)
    site.token.policy(POLICY)
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_a_revoked_token_is_the_operators_matter_until_the_file_holds_another(site, served):
    _, status = served
    bao = site.token
    bao.do("token", "revoke", bao.token())
    # Not "access denied", which would blame the client.
    wait_until("unavailable", lambda: status() == 503, SECONDS)
    done = site.command("check", check=False)
    assert done.returncode != 0 and "an operator must act" in done.stdout + done.stderr
    bao.write_token(bao.do("token", "create", "-policy=sceau", "-field=token"))
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_a_sealed_service_is_an_outage(site, served):
    _, status = served
    assert status() == 200
    site.token.do("operator", "seal")
    wait_until("unavailable", lambda: status() == 503, SECONDS)
    site.token.unseal()
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_a_rotation_there_leaves_the_enrolled_version_in_use(site, served):
    endpoint, status = served
    site.token.do("write", "-f", f"transit/keys/{KEY_LABEL}/rotate")
    assert endpoint.send("PUT", "/transit-bucket-2").status == 200
    assert endpoint.send("PUT", "/transit-bucket-2/k", body=b"after").status == 200
    wait_until("unwrapped anew", lambda: status() == 200, SECONDS)
    assert "version 1" in site.command("keys list").stdout


def test_the_keyring_moves_to_the_next_version(site, served):
    endpoint, status = served
    site.token.key_version = 2
    new = site.config("next", data=free_port(), admin=free_port())
    site.command("keys rotate-kek", "--to", new)
    assert status() == 200, "the gateway of the old version serves on"
    site.command("keys rotate-kek", "--to", new, "--finish")
    gateway = site.start("transit-2", keys=KEYS)
    answer = Endpoint.of(Front("transit-2", gateway, site.folder, site.store)).send("GET", "/transit-bucket-2/k")
    assert (answer.status, answer.body) == (200, b"after")


def test_a_deleted_key_is_gone_and_not_made_again(site, served):
    gateway = site.gateways[-1]
    endpoint = Endpoint.of(Front("transit-last", gateway, site.folder, site.store))
    bao = site.token
    assert endpoint.send("GET", "/transit-bucket-2/k").status == 200
    bao.do("write", f"transit/keys/{KEY_LABEL}/config", "deletion_allowed=true")
    bao.do("delete", f"transit/keys/{KEY_LABEL}")

    def read():
        return endpoint.send("GET", "/transit-bucket-2/k").status

    wait_until("refused", lambda: read() == 403, SECONDS)
    assert endpoint.send("PUT", "/transit-bucket-3").status >= 400 or (
        endpoint.send("PUT", "/transit-bucket-3/k", body=b"x").status >= 400
    )
    assert bao.cli("read", f"transit/keys/{KEY_LABEL}").returncode != 0, "nobody made the key again"
    # Another key of the same name is no substitute.
    bao.do("write", "-f", f"transit/keys/{KEY_LABEL}")
    assert read() in (403, 503)
