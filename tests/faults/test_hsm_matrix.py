"""Promise: whatever an HSM does, under load: no wrong answer, no request past its deadline, nothing half-written; it
heals by itself within a stated time, or waits for an operator where that is the rule; the log names the cause.

How: one fault after the other is injected by the shim before the token, while clients read and write through one
gateway, in a bucket whose keys are never held (each request needs the HSM) and in one whose keys are. The latter must
not notice anything. `pytest faults/test_hsm_matrix.py -s` prints the list with the times measured; without
SCEAU_TEST_FULL=1 it is a part of it.
"""

import base64
import json
import os
import re
import time
from dataclasses import dataclass

import pytest

from harness.fronts import Front, boto
from harness.gateway import Site
from harness.load import Load
from harness.process import wait_until
from harness.raw import Endpoint
from harness.settings import FULL
from harness.softhsm import FaultyToken

pytestmark = pytest.mark.gateway

# What a request may wait for keys, and what the rest of it may take on a busy machine.
DEADLINE_SECONDS = 5 + 3
# Load before the fault, and how long all must be well at the end.
BEFORE_SECONDS, WELL_SECONDS = 0.3, 0.5
# How long a fault stays until somebody is refused, at most.
REFUSED_SECONDS = 15
# More than the rule says, for a busy machine.
BUSY_SECONDS = 3


@dataclass
class Row:
    """One fault. What it does to clients whose keys are not held: `nothing`, an `outage`, or `some` are refused."""

    name: str
    faults: str
    clients: str
    # Seconds until all is well, counted from the end of the fault, or from its begin where it ends by itself.
    heals: float
    # What the log must say, as a pattern.
    cause: str
    hold: float = 1.0
    # Whether the fault ends by itself.
    once: bool = False
    # Whether a helper may be restarted.
    restarts: bool = True
    # Answers besides 503.
    also: tuple = ()
    # Part of the default run.
    quick: bool = False
    # What an operator does about it.
    operator: str = ""


def once(name, faults, cause, **more):
    """A fault of a moment that no client may see."""
    return Row(name, faults, "nothing", 0, cause, once=True, restarts=False, **more)


ROWS = [
    # Calls that do not come back.
    Row("one call hangs", "C_Decrypt hang times=1", "some", 10, "starting a second helper", hold=11, once=True),
    Row("every call hangs, also of a new process", "C_Decrypt hang", "outage", 10, "calls hang", hold=6),
    Row("every call hangs until the process is restarted", "C_Decrypt wedge times=1", "nothing", 5, "a second helper takes over", hold=4, once=True, quick=True),
    Row("the library hangs in its start", "C_Initialize hang times=1\nC_Decrypt abort times=1", "some", 8, "takes long to start", hold=4, once=True),
    Row("the login hangs", "C_Login hang times=1\nC_Decrypt abort times=1", "some", 8, "takes long to start", hold=4, once=True),
    Row("all of the library blocks for 4 s (full audit log)", "* delay=4000 times=16", "some", 12, "PKCS#11", hold=5, once=True),
    # A device that is gone, or fails for good.
    Row("device error for good", "* code=CKR_DEVICE_ERROR", "outage", 6, "DeviceError", hold=2, quick=True),
    Row("general error for good", "* code=CKR_GENERAL_ERROR", "outage", 6, "GeneralError", hold=2),
    Row("device removed", "* code=CKR_DEVICE_REMOVED", "outage", 6, "DeviceRemoved", hold=2),
    Row("token not present, slots empty", "C_GetSlotList empty\nC_DecryptInit code=CKR_TOKEN_NOT_PRESENT", "outage", 6, "TokenNotPresent|shows no token", hold=2),
    Row("a vendor's own code for good", "C_DecryptInit code=0x80000382", "outage", 6, "canary", hold=2),
    Row("decryption alone fails", "C_Decrypt code=CKR_FUNCTION_FAILED", "outage", 6, "FunctionFailed", hold=2),
    Row("away for 12 s", "* code=CKR_DEVICE_REMOVED", "outage", 12, "did not become ready", hold=12),
    # Sessions, logins, handles.
    once("a session is lost", "C_DecryptInit code=CKR_SESSION_HANDLE_INVALID times=1", "SessionHandleInvalid"),
    once("all sessions are lost (HSM restarted)", "C_DecryptInit lose-sessions times=1", "renewing a session", quick=True),
    once("the login is lost", "C_DecryptInit lose-login times=1", "renewing a session"),
    once("handles change", "C_DecryptInit change-handles times=1", "KeyHandleInvalid", quick=True),
    once("handles name another key", "C_DecryptInit swap-handles times=1", "renewing a session"),
    Row("sessions are lost again and again", "C_DecryptInit lose-sessions times=5", "some", 5, "renewing a session", hold=2, once=True),
    Row("no session is to be had", "C_OpenSession code=CKR_SESSION_COUNT\nC_DecryptInit lose-sessions times=1", "some", 6, "opening a session|opening the anchor", hold=2),
    # One stray code; a client of the module that gives up at once would fail the request.
    once("one general error", "C_Decrypt code=CKR_GENERAL_ERROR times=1", "", quick=True),
    once("one device error", "C_Decrypt code=CKR_DEVICE_ERROR times=1", ""),
    once("one active operation", "C_DecryptInit code=CKR_OPERATION_ACTIVE times=1", "OperationActive"),
    # The process.
    Row("the library crashes once", "C_Decrypt abort times=1", "some", 3, "the PKCS#11 helper is gone", once=True, quick=True),
    Row("the library crashes at every call", "C_Decrypt abort", "outage", 6, "did not become ready", hold=2),
    Row("the library is stuck in this process", "C_Decrypt stuck=CKR_CRYPTOKI_NOT_INITIALIZED times=1", "some", 3, "does not come back in this process", once=True, quick=True),
    Row("it cannot be initialised twice", "C_Finalize abort\nC_Decrypt stuck=CKR_GENERAL_ERROR times=1", "some", 3, "does not come back in this process", hold=1),
    # Slow, and wrong.
    Row("slow: 0.3 s for a call", "C_DecryptInit delay=300", "nothing", 3, "", restarts=False, hold=2),
    Row("slow: 2 s for a call", "C_DecryptInit delay=2000", "some", 8, "", restarts=False, hold=6),
    Row("short answers", "C_Decrypt short=8", "outage", 6, "canary|unwraps something else|does not come back"),
    Row("wrong answers", "C_Decrypt flip", "outage", 6, "check|canary|does not come back|key operation", also=((403, "AccessDenied"),)),
    Row("one wrong answer", "C_Decrypt flip times=1", "some", 3, "", once=True, also=((403, "AccessDenied"),)),
    # Credentials: one attempt, then a person.
    Row("wrong PIN", "C_DecryptInit lose-login times=1\nC_Login code=CKR_PIN_INCORRECT", "outage", 6, "stays down until an operator acts", hold=2.5, operator="latch", quick=True),
    Row("PIN locked", "C_DecryptInit lose-login times=1\nC_Login code=CKR_PIN_LOCKED", "outage", 6, "the user PIN is locked", operator="touch"),
    Row("PIN expired", "C_DecryptInit lose-login times=1\nC_Login code=CKR_PIN_EXPIRED", "outage", 6, "the user PIN has expired", operator="touch"),
    Row("one try left", "C_DecryptInit lose-login times=1\nC_GetTokenInfo flags=0x20000", "outage", 6, "one more wrong PIN locks", operator="touch"),
    Row("key disabled", "C_DecryptInit code=CKR_KEY_FUNCTION_NOT_PERMITTED", "outage", 6, "KeyFunctionNotPermitted|not usable|canary", also=((403, "AccessDenied"),)),
]

# What tokens answer to an altered wrap.
TAMPER_CODES = ["CKR_GENERAL_ERROR", "CKR_DEVICE_ERROR", "CKR_FUNCTION_FAILED", "CKR_ENCRYPTED_DATA_INVALID",
                "CKR_WRAPPED_KEY_INVALID", "CKR_DATA_LEN_RANGE", "CKR_DEVICE_REMOVED", "CKR_KEY_HANDLE_INVALID", "0x80000001"]
QUICK_TAMPER_CODES = ["CKR_DEVICE_ERROR"]

TABLE = []


@pytest.fixture(scope="module")
def site(work, store):
    site = Site(work / "matrix-site", store, FaultyToken(work / "matrix-token"), "matrix-control")
    policy = site.folder / "policy.toml"
    policy.write_text(policy.read_text() + '\n[[bucket]]\nbuckets = ["cold-*"]\nkey_cache = "off"\n')
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    yield site
    site.stop()


class Fresh:
    """A gateway that no fault has marked yet: pauses between restarts grow, and are the first fault's matter."""

    def __init__(self, site, work, store):
        self.site, self.work, self.store, self.front = site, work, store, None

    def __call__(self):
        if self.front is None or self.front.server.helper_pid() != self.helper:
            if self.front is not None:
                self.front.server.stop()
            name = f"matrix-{len(self.site.gateways)}"
            gateway = self.site.start(name, keys='refresh = "1s"')
            self.front = Front(name, gateway, self.work / name, self.store)
            self.front.cold, self.front.warm = self.front.new_bucket("cold"), self.front.new_bucket("warm")
            self.helper = gateway.helper_pid()
        return self.front


@pytest.fixture(scope="module")
def _fresh(site, work, store):
    return Fresh(site, work, store)


@pytest.fixture
def front(site, _fresh):
    site.token.faults()
    yield _fresh()
    site.token.faults()


@pytest.fixture(scope="module", autouse=True)
def table():
    yield
    head = ("fault", "clients without held keys", "right", "refused", "wrong", "hung", "half-written", "well after", "limit")
    widths = [max(len(str(row[at])) for row in [head, *TABLE]) for at in range(len(head))]
    for row in [head, *TABLE]:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def log_of(front, begin):
    with front.server.server.log.open(errors="replace") as log:
        log.seek(begin)
        return re.sub(r"\x1b\[[0-9;]*m", "", log.read())


def log_end(front):
    return os.path.getsize(front.server.server.log)


def notes(front, begin):
    """The lines about the helper."""
    return [line[20:220] for line in log_of(front, begin).splitlines() if "sceau_kms" in line][-30:]


def wait_well(load, seconds):
    wait_until("all is well again", lambda: load.well_since() > WELL_SECONDS, seconds + WELL_SECONDS + BUSY_SECONDS, 0.05)


def judge(name, clients, limit, load, moment, also=()):
    """What holds for every row."""
    requests = load.since()
    cold = [request for request in requests if request.cold]
    refused = [request for request in cold if request.outcome == "refused"]
    wrong = [request for request in requests if request.outcome in ("wrong", "closed")]
    hung = [request for request in requests if request.seconds > DEADLINE_SECONDS]
    halves = load.half_written()
    well = load.unwell_until(moment)
    TABLE.append((name, clients, len(cold) - len(refused), len(refused), len(wrong), len(hung), len(halves), f"{well:.1f} s", f"{limit} s"))
    assert not wrong, wrong[:3]
    assert not hung, hung[:3]
    assert not halves, halves[:3]
    # Whoever has the key at hand does not notice.
    assert all(request.outcome == "right" for request in requests if not request.cold)
    for request in refused:
        answer = request.answer
        told = (answer.status, answer.code)
        if told not in also:
            assert told == (503, "ServiceUnavailable"), request
            assert int(answer.headers["retry-after"]) >= 1, request
    if clients == "nothing":
        assert not refused, refused[:3]
    if clients == "outage":
        assert refused
    assert well <= limit + BUSY_SECONDS, well


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name.replace(" ", "-"))
def test_fault(front, row):
    if not (row.quick or FULL):
        pytest.skip("runs with ./test --full")
    token = front.server.site.token
    begin, helper, made = log_end(front), front.server.helper_pid(), objects_made(token)
    with Load(front, front.cold, front.warm) as load:
        time.sleep(BEFORE_SECONDS)
        logins = token.calls("C_Login")
        token.faults(*row.faults.split("\n"))
        moment = time.monotonic()
        time.sleep(row.hold)
        if row.clients == "outage" and not row.once:
            # On a busy machine a request may still wait for the HSM by now.
            wait_until("a refusal", lambda: any(r.cold and r.outcome == "refused" for r in load.since(moment)), REFUSED_SECONDS)
        if row.operator:
            stays_down(front, load, token, logins)
            operate(front, token, row.operator)
            moment = time.monotonic()
        elif not row.once:
            token.faults()
            moment = time.monotonic()
        wait_well(load, row.heals)
    token.faults()
    judge(row.name, row.clients, row.heals, load, moment, row.also)
    assert re.search(row.cause, log_of(front, begin)), notes(front, begin)
    if not row.restarts:
        assert front.server.helper_pid() == helper
    assert front.server.admin("/livez")[0] == 200
    # No process initialised the library twice: some crash then.
    starts = [line.split()[0] for line in token.trace.read_text().splitlines() if line.split()[1] == "C_Initialize"]
    assert len(starts) == len(set(starts))
    # Nothing that is served makes objects in the token.
    assert objects_made(token) == made


def objects_made(token):
    return sum(map(token.calls, ("C_GenerateKey", "C_GenerateKeyPair", "C_CreateObject")))


def stays_down(front, load, token, logins):
    """Refused until a person acts, and the token is asked once at most."""
    assert load.well_since() == 0
    begin = time.monotonic()
    wait_until("requests", lambda: sum(r.cold for r in load.since(begin)) >= 3, REFUSED_SECONDS)
    assert all(request.outcome == "refused" for request in load.since(begin) if request.cold)
    assert token.calls("C_Login") <= logins + 1
    assert "needs-operator" in front.server.admin("/metrics")[1]


def operate(front, token, act):
    """The token was repaired; the operator says so."""
    token.faults()
    if act == "latch":
        (front.server.site.folder / f"{front.server.name}-keyring.refused-pin").unlink()
    token.pin_file.touch()


def altered(document):
    """A keyring as somebody makes it who can write to the control bucket: newer, and of another wrapped key, so that
    the gateway has to ask the HSM."""
    keyring = json.loads(document)
    keyring["generation"] += 1
    for at, text in enumerate(keyring["records"]):
        record = bytearray(base64.b64decode(text))
        if record[17] == 3:
            record[:16] = os.urandom(16)
            # The last byte of the wrap; the check value of 32 bytes is behind it.
            record[-33] ^= 1
            keyring["records"][at] = base64.b64encode(record).decode()
    return json.dumps(keyring).encode()


@pytest.mark.parametrize("code", TAMPER_CODES)
def test_altered_keys_in_the_bucket_reset_nothing(front, code):
    """Whatever the token answers to an altered wrap: no restart, no login, no refusal, for nobody."""
    if not (code in QUICK_TAMPER_CODES or FULL):
        pytest.skip("runs with ./test --full")
    token, site = front.server.site.token, front.server.site
    store = front.at_store()
    document = store.get_object(Bucket=site.control_bucket, Key="keyring")["Body"].read()
    helper, logins = front.server.helper_pid(), token.calls("C_Login")
    token.faults(f"C_Decrypt refuse={code}")
    met = refusals(token)
    try:
        with Load(front, front.cold, front.warm) as load:
            moment = time.monotonic()

            def next_try():
                store.put_object(Bucket=site.control_bucket, Key="keyring", Body=altered(document))
                return refusals(token) >= met + 4

            # Each look at the control bucket asks the HSM for another altered wrap.
            wait_until("the HSM refuses", next_try, 20, 0.3)
    finally:
        store.put_object(Bucket=site.control_bucket, Key="keyring", Body=document)
        token.faults()
    judge(f"altered wraps in the bucket, {code}", "nothing", 0, load, moment)
    assert (front.server.helper_pid(), token.calls("C_Login")) == (helper, logins)
    wait_until("ready", lambda: front.server.admin("/readyz")[0] == 200, 10)


def refusals(token):
    """Decryptions that the token refused."""
    return sum(line.split()[1:2] == ["C_Decrypt"] and not line.endswith(" 0x0") for line in token.trace.read_text().splitlines())


def test_altered_objects_never_reach_the_hsm(front):
    """An object's header is opened in the gateway: the HSM is asked for the epoch key, which is not in it."""
    token = front.server.site.token
    store = front.at_store()
    body = b"altered " * 1000
    for bucket in (front.cold, front.warm):
        assert Endpoint.of(front).send("PUT", f"/{bucket}/altered", body=body).status == 200
        kept = store.get_object(Bucket=bucket, Key="altered")
        raw, metadata = bytearray(kept["Body"].read()), kept["Metadata"]
        header = metadata["sceauh1"]
        metadata["sceauh1"] = header[:-4] + ("AAAA" if header[-4:] != "AAAA" else "BBBB")
        store.put_object(Bucket=bucket, Key="altered", Body=bytes(raw), Metadata=metadata)
    helper, logins, met = front.server.helper_pid(), token.calls("C_Login"), refusals(token)
    with Load(front, front.cold, front.warm) as load:
        moment = time.monotonic()
        for _ in range(10):
            for bucket in (front.cold, front.warm):
                answer = Endpoint.of(front).send("GET", f"/{bucket}/altered")
                assert (answer.status, answer.code) == (409, "ObjectIntegrityFailure"), answer
    judge("altered objects in the bucket", "nothing", 0, load, moment)
    assert (front.server.helper_pid(), token.calls("C_Login"), refusals(token)) == (helper, logins, met)
