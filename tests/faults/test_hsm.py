"""Promise: whatever the HSM does, a client gets the right bytes or 503 with Retry-After, within seconds.

How: a gateway on a token behind the fault shim. Keys are cached for one second only, so that reads need the HSM.
"""

import time

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site, run
from harness.process import free_port, wait_until
from harness.raw import Endpoint
from harness.softhsm import LABEL, FaultyToken

pytestmark = pytest.mark.gateway

# What a request may wait for keys, and what the rest of it may take on a busy machine.
ANSWER_SECONDS = 5 + 2
# How soon service must be back once the HSM is well: pauses between restarts may have grown.
HEALED_SECONDS = 10
CACHE_SECONDS = 1
KEYS = f'cache_ttl = "{CACHE_SECONDS}s"'


@pytest.fixture(scope="module")
def faulty(work, store):
    """A site of its own on a token behind the shim."""
    site = Site(work / "faulty-site", store, FaultyToken(work / "faulty-token"), "faulty-control")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    yield site
    site.stop()


@pytest.fixture
def front(faulty, work, store):
    """A gateway of its own, and a token that is well."""
    faulty.token.faults()
    name = f"faulty-{len(faulty.gateways)}"
    gateway = faulty.start(name, keys=KEYS)
    yield Front(name, gateway, work / name, store)
    faulty.token.faults()
    gateway.stop()


class Reader:
    """An object that was there before the fault, and what reading it now gives."""

    def __init__(self, front, body):
        self.front, self.body = front, body
        self.bucket = front.new_bucket("faulty")
        front.s3.put_object(Bucket=self.bucket, Key="k", Body=body)
        self.forget_keys()

    def forget_keys(self):
        time.sleep(CACHE_SECONDS + 0.3)

    def read(self):
        """`"right"` or `"refused"`; anything else, or too late, is a failure."""
        begun = time.monotonic()
        answer = Endpoint.of(self.front).send("GET", f"/{self.bucket}/k")
        taken = time.monotonic() - begun
        assert taken < ANSWER_SECONDS, f"{taken:.1f} s"
        assert answer is not None, "closed without an answer"
        if answer.status == 200:
            assert answer.body == self.body
            return "right"
        assert (answer.status, answer.code) == (503, "ServiceUnavailable"), answer
        assert int(answer.headers["retry-after"]) >= 1
        return "refused"

    def heals(self, seconds=HEALED_SECONDS):
        wait_until("reading", lambda: self.read() == "right", seconds, 0.1)


@pytest.fixture
def reader(front, content):
    return Reader(front, content(70_000, 7))


def test_faults_of_a_moment_are_not_seen(faulty, reader):
    """One lost session, login or handle, one stray code, one crash: the client gets its bytes."""
    for fault in (
        "C_DecryptInit code=CKR_SESSION_HANDLE_INVALID times=1",
        "C_DecryptInit code=CKR_USER_NOT_LOGGED_IN times=1",
        "C_Decrypt code=CKR_DEVICE_ERROR times=1",
        "C_Decrypt code=CKR_GENERAL_ERROR times=1",
        "C_DecryptInit lose-sessions times=1",
        "C_DecryptInit lose-login times=1",
        "C_DecryptInit change-handles times=1",
        "C_Decrypt delay=300",
        "C_Decrypt abort times=1",
    ):
        reader.forget_keys()
        faulty.token.faults(fault)
        assert reader.read() == "right", fault


@pytest.mark.parametrize(
    "fault",
    [
        "* code=CKR_DEVICE_REMOVED",
        "* code=CKR_TOKEN_NOT_PRESENT",
        "* code=CKR_GENERAL_ERROR",
        "C_Decrypt delay=10000",
        "C_Decrypt short=8",
    ],
)
def test_an_hsm_that_fails_is_an_outage_and_no_damage(faulty, reader, fault):
    faulty.token.faults(fault)
    assert [reader.read() for _ in range(3)] == ["refused"] * 3
    # Writing needs the HSM as well, and says so in the same way.
    answer = Endpoint.of(reader.front).send("PUT", f"/new-{time.time_ns()}")
    assert answer.status == 503 and "retry-after" in answer.headers, answer
    # The process is alive: an outage of the HSM is no reason to restart it.
    assert reader.front.server.admin("/livez")[0] == 200
    faulty.token.faults()
    reader.heals()


def test_a_key_that_the_hsm_got_wrong_opens_nothing(faulty, reader):
    """The device says success and hands out another key: the key record's check value finds it."""
    faulty.token.faults("C_Decrypt flip")
    for _ in range(3):
        answer = Endpoint.of(reader.front).send("GET", f"/{reader.bucket}/k")
        # Refused as an altered key until the canary is asked, as an outage from then on.
        assert (answer.status, answer.code) in [(403, "AccessDenied"), (503, "ServiceUnavailable")], answer
        assert reader.body[:64] not in answer.body
    faulty.token.faults()
    reader.heals()


def test_a_module_that_hangs_is_replaced_and_its_request_answered(faulty, reader):
    helper = reader.front.server.helper_pid()
    faulty.token.faults("C_Decrypt hang times=1")
    # Nothing else is answered meanwhile, so a second helper is started after three seconds, and gets the request.
    assert reader.read() == "right"
    assert reader.front.server.helper_pid() not in (None, helper), "the helper was not killed"
    reader.forget_keys()
    reader.heals(2)


def test_a_refused_pin_waits_for_the_operator(faulty, reader):
    """One attempt, whatever clients ask and however often the service is restarted."""
    token, gateway = faulty.token, reader.front.server
    latch = faulty.folder / f"{gateway.name}-keyring.refused-pin"
    logins = token.calls("C_Login")
    token.faults("C_DecryptInit lose-login times=1", "C_Login code=CKR_PIN_INCORRECT")
    refused = [reader.read() for _ in range(10)]
    assert refused == ["refused"] * 10
    assert token.calls("C_Login") == logins + 1
    assert latch.exists()
    assert gateway.admin("/livez")[0] == 200
    # A service manager that restarts a failed service brings the token no nearer to its lock.
    again = faulty.config("again", free_port(), free_port(), keyring=faulty.folder / f"{gateway.name}-keyring")
    for _ in range(3):
        done = run(["serve", "--config", again], faulty.env, check=False, timeout=60)
        assert done.returncode == 3, done
        assert "refused this PIN before" in done.stderr + done.stdout
    assert token.calls("C_Login") == logins + 1
    # The PIN was changed in the HSM: the operator removes the latch and touches the file.
    token.faults()
    latch.unlink()
    token.pin_file.touch()
    reader.heals()
    assert token.calls("C_Login") == logins + 2


def test_a_second_hsm_with_the_same_key_steps_in(faulty, work, store, content):
    """The first endpoint is the token behind the shim, the second the same token without: two ways to one key."""
    token = faulty.token
    token.faults()
    faulty.pkcs11 = (
        f'[[keys.pkcs11.endpoint]]\nmodule = "{token.env["SCEAU_SHIM_MODULE"]}"\ntoken_label = "{LABEL}"\n'
        f'pin_file = "{token.pin_file}"\npass_environment = ["SOFTHSM2_CONF"]'
    )
    try:
        # The second endpoint's module is another file: an operator accepts it.
        faulty.config("admin", data=free_port(), admin=free_port())
        faulty.command("keys accept")
        gateway = faulty.start("two-endpoints", keys=KEYS)
    finally:
        faulty.pkcs11 = ""
    front = Front(gateway.name, gateway, work / gateway.name, store)
    reader = Reader(front, content(70_000, 8))
    for fault in ("* code=CKR_DEVICE_REMOVED", "C_Decrypt hang", "C_DecryptInit lose-login\nC_Login code=CKR_PIN_INCORRECT"):
        reader.forget_keys()
        token.faults(*fault.split("\n"))
        for _ in range(3):
            assert reader.read() == "right", fault
        # Writing new keys goes on as well.
        answer = Endpoint.of(front).send("PUT", f"/two-{time.time_ns()}")
        assert answer.status == 200, (fault, answer)
    token.faults()
    gateway.stop()
