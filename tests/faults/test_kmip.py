"""Promise: with the key in a KMIP server, objects are served while the key is active there, and refused within
`keys.cache_ttl` after it is not, although the server goes on with it.

How: one gateway on a real PyKMIP (skipped where `SCEAU_PYKMIP` names none) that was made lenient: it decrypts with
revoked keys, as the standard allows and other servers do.
"""

import json

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site
from harness.process import free_port, wait_until
from harness.pykmip import KEY_LABEL, PyKmip
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway

CACHE_SECONDS = 2
KEYS = f'cache_ttl = "{CACHE_SECONDS}s"\nrefresh = "1s"'
# The longest time that a refusal or a recovery may take: the cache, and a trial of the key provider.
SECONDS = 20


def verdict(enrolled, scheme):
    """What enrolment said of a scheme."""
    lines = [line.split(maxsplit=1) for line in enrolled.stderr.splitlines()]
    return next(words[1] for words in lines if words[0] == scheme)


class KmipSite(Site):
    """A site whose key is in a KMIP server."""

    def config(self, name, *positional, **options):
        path = super().config(name, *positional, **options)
        text = path.read_text().replace('provider = "pkcs11"', 'provider = "kmip"')
        head, rest = text.split("[keys.pkcs11]")
        _, tail = rest.split("[access]")
        path.write_text(f"{head}{self.token.table()}[access]{tail}")
        return path

    def enrol(self, *more):
        return self.command("keys enrol", *more)


@pytest.fixture(scope="module")
def site(work, store):
    kmip = PyKmip(work / "kmip-server", "lenient")
    site = KmipSite(work / "kmip-site", store, kmip, "kmip-control")
    yield site
    site.stop()
    kmip.stop()


@pytest.fixture(scope="module")
def served(site, store, work, content):
    """A gateway and an object that went through it."""
    client = boto(store.url, store.access_key, store.secret_key)
    enrolled = site.enrol()
    assert verdict(enrolled, "kmip-gcm") == "passed", enrolled.stderr
    front = Front("kmip", site.start("kmip", keys=KEYS), work / "kmip", store)
    body = content(100_000, 7)
    endpoint = Endpoint.of(front)
    assert endpoint.send("PUT", "/kmip-bucket").status == 200
    assert endpoint.send("PUT", "/kmip-bucket/k", body=body).status == 200
    assert endpoint.send("GET", "/kmip-bucket/k").body == body
    stored = client.get_object(Bucket="kmip-bucket", Key="k")["Body"].read()
    assert body[:64] not in stored, "the store holds ciphertext"

    def status():
        answer = endpoint.send("GET", "/kmip-bucket/k")
        assert (answer.body == body) if answer.status == 200 else (body[:64] not in answer.body)
        return answer.status

    return endpoint, status


def test_no_key_is_generated_by_the_gateway(site):
    done = site.command("keys enrol", "--generate", check=False)
    assert done.returncode != 0 and "makes no key in a key service" in done.stderr


def test_check_and_the_canary_pass(site, served):
    shown = site.command("check").stdout
    # PyKMIP does not say that it would not hand the key out.
    assert "(remote-kms-exportable)" in shown and "PyKMIP" in shown, shown
    site.command("keys canary")


def test_a_server_that_is_gone_is_an_outage(site, served):
    _, status = served
    site.token.stop()
    wait_until("unavailable", lambda: status() == 503, SECONDS)
    site.token.start()
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_a_server_that_does_not_answer_is_an_outage(site, served):
    _, status = served
    site.token.freeze()
    try:
        wait_until("unavailable", lambda: status() == 503, SECONDS)
    finally:
        site.token.thaw()
    wait_until("served again", lambda: status() == 200, SECONDS)


def test_a_refused_certificate_waits_for_the_operator(site, served):
    _, status = served
    folder = site.token.folder
    names = [(folder / f"gateway.{kind}", (folder / f"stranger.{kind}").read_bytes()) for kind in ("pem", "key")]
    kept = [(path, path.read_bytes()) for path, _ in names]
    for path, content in names:
        path.write_bytes(content)
    # Connections that are open go on until they have been idle; a restart of the server ends them.
    site.token.stop()
    site.token.start()
    wait_until("refused", lambda: status() == 503, SECONDS)
    for path, content in kept:
        path.write_bytes(content)
    wait_until("served again, without a restart", lambda: status() == 200, SECONDS)


def test_the_keyring_moves_to_another_key(site, served):
    endpoint, status = served
    kmip = site.token
    old = kmip.key_id
    kmip.key_id, kmip.extra = kmip.make_key(KEY_LABEL), ["key_version = 2"]
    new = site.config("next", data=free_port(), admin=free_port())
    site.command("keys rotate-kek", "--to", new)
    assert status() == 200, "the gateway of the old key serves on"
    site.command("keys rotate-kek", "--to", new, "--finish")
    gateway = site.start("kmip-2", keys=KEYS)
    answer = Endpoint.of(Front("kmip-2", gateway, site.folder, site.store)).send("GET", "/kmip-bucket/k")
    assert answer.status == 200
    kmip.do("revoke", old, "CESSATION_OF_OPERATION")


def test_a_compromised_key_is_refused_although_the_server_goes_on(site, served):
    gateway = site.gateways[-1]
    endpoint = Endpoint.of(Front("kmip-last", gateway, site.folder, site.store))

    def read():
        return endpoint.send("GET", "/kmip-bucket/k").status

    wait_until("served", lambda: read() == 200, SECONDS)
    kmip = site.token
    kmip.do("revoke", kmip.key_id, "KEY_COMPROMISE")
    wait_until("refused", lambda: read() == 403, SECONDS)
    kmip.do("decrypts", kmip.key_id)
    assert endpoint.send("PUT", "/kmip-bucket-2").status >= 400 or (
        endpoint.send("PUT", "/kmip-bucket-2/k", body=b"x").status >= 400
    )
    done = site.command("check", check=False)
    assert done.returncode != 0, done.stdout


def test_a_server_without_aes_gcm_derives_and_says_so(store, work):
    kmip = PyKmip(work / "kmip-old", "no-gcm")
    site = KmipSite(work / "kmip-old-site", store, kmip, "kmip-old-control")
    try:
        enrolled = site.enrol()
        assert verdict(enrolled, "kmip-gcm").startswith("Encrypt is refused"), enrolled.stderr
        assert verdict(enrolled, "aes-cbc-kdf") == "passed", enrolled.stderr
        assert json.loads(site.command("--output json keys list").stdout)["key_encryption_keys"][0]["scheme"] == "aes-cbc-kdf"
        gateway = site.start("kmip-old", keys=KEYS)
        endpoint = Endpoint.of(Front("kmip-old", gateway, site.folder, site.store))
        assert endpoint.send("PUT", "/kmip-old-bucket").status == 200
        assert endpoint.send("PUT", "/kmip-old-bucket/k", body=b"derived").status == 200
        assert endpoint.send("GET", "/kmip-old-bucket/k").body == b"derived"
    finally:
        site.stop()
        kmip.stop()
