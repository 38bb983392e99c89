"""Promise: what a request costs does not grow unseen.

Instructions and allocations of the gateway for one GET and one PUT of 1 KiB and of 1 MiB, counted under valgrind: no
clock, no other load of the machine plays a part. A change that costs more than the tolerance fails here and says by
how much; one that is worth it moves the numbers below, with its reason in the commit. One that costs much less moves
them too, so that the next loss is seen (docs/performance.md, "The gate").
"""

import re
import shutil
import subprocess

import pytest

from harness import raw, settings
from harness.gateway import run
from harness.process import Server, free_port, wait_until
from harness.stores import EmbeddedStore

pytestmark = pytest.mark.gateway

ACCESS_KEY, SECRET_KEY = "COSTACCESSKEY", "cost-secret-key-0123456789"
KIB, MIB = 1024, 1024 * 1024
# Thousands of instructions and allocations of one request, as measured with the release build: what is
# counted depends on the instruction sets that valgrind knows, not on the machine's speed.
EXPECTED = {
    "get-1KiB": (483, 226),
    "put-1KiB": (533, 196),
    "get-1MiB": (4266, 257),
    "put-1MiB": (4774, 231),
}
# Compilers and libraries move the first a little; the second is almost exact.
INSTRUCTIONS_MORE, ALLOCATIONS_MORE = 1.20, 1.10
# The entries of the allocator that the standard library calls.
ALLOCATIONS = {"mi_malloc", "mi_malloc_aligned", "mi_zalloc", "mi_zalloc_aligned", "mi_realloc", "mi_realloc_aligned"}


class Counted:
    """A gateway under callgrind, on an embedded store."""

    def __init__(self, folder):
        self.folder = folder
        self.store = EmbeddedStore(folder / "store")
        data, admin = free_port(), free_port()
        (folder / "store-secret").write_text(self.store.secret_key)
        (folder / "credentials.toml").write_text(
            f'[[credential]]\naccess_key = "{ACCESS_KEY}"\nsecret = "{SECRET_KEY}"\nprincipal = "counted"\n'
        )
        for name in ("store-secret", "credentials.toml"):
            (folder / name).chmod(0o600)
        (folder / "policy.toml").write_text(
            '[[allow]]\nprincipal = "counted"\nbuckets = ["*"]\nverbs = ["read", "write", "create-bucket"]\n'
        )
        config = folder / "sceau.toml"
        config.write_text(
            f'version = 1\n[listen]\ndata = "127.0.0.1:{data}"\nadmin = "127.0.0.1:{admin}"\n'
            f'[store]\nendpoint = "{self.store.url}"\ncontrol_bucket = "sceau-control"\n'
            f'[store.credentials]\nsource = "static"\naccess_key = "{self.store.access_key}"\n'
            'secret_file = "store-secret"\n'
            '[keys]\nprovider = "insecure-local"\nkeyring = "keyring"\nrefresh = "1h"\n'
            '[keys.insecure_local]\nkey_file = "dev-key"\n'
            '[access]\ncredentials = "credentials.toml"\npolicy = "policy.toml"\nreload = "1h"\n'
        )
        run(["keys", "enrol", "--config", config, "--generate"])
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=counts"]
        self.server = Server("counted", [*valgrind, settings.BINARY, "serve", "--config", config], folder)
        self.server.wait_port(data, seconds=120)
        self.endpoint = raw.Endpoint(f"http://127.0.0.1:{data}", ACCESS_KEY, SECRET_KEY)
        assert self.endpoint.send("PUT", "/cost").status == 200
        self.connection = self.endpoint.connect()
        self.dumps = 0

    def control(self, *arguments):
        subprocess.run(["callgrind_control", *arguments, str(self.server.pid)], check=True, capture_output=True, timeout=60)

    def send(self, method, path, body=b""):
        headers = {"content-length": str(len(body))}
        signed = self.endpoint.signed(method, path, [], headers, raw.UNSIGNED, hide=("content-length",)).headers
        self.connection.sendall(self.endpoint.head(method, path, [], signed) + body)
        answer = raw.read_answer(self.connection, method)
        assert answer is not None and answer.status == 200, answer

    def count(self, times, *request):
        """Instructions and allocations of one request, when everything is warm."""
        self.send(*request)
        self.control("--instr=on")
        for _ in range(times):
            self.send(*request)
        self.control("--instr=off")
        self.control("--dump")
        self.control("--zero")
        self.dumps += 1
        found = []
        wait_until("the counts", lambda: found.extend(self.folder.glob(f"counts.{self.dumps}")) or found, 20)
        instructions, allocations = read_counts(found[0].read_text())
        return instructions / times, allocations / times

    def stop(self):
        self.connection.close()
        self.server.stop()
        self.store.stop()


def read_counts(text):
    """All instructions, and the calls of the allocator from outside of it."""
    names, caller, callee, allocations = {}, "", "", 0

    def name(line):
        number, _, given = line.partition("=")[2].partition(" ")
        if given:
            names[number] = given.split("'")[0]
        return names.get(number, "")

    for line in text.splitlines():
        if line.startswith("fn="):
            caller = name(line)
        elif line.startswith("cfn="):
            callee = name(line)
        elif line.startswith("calls=") and callee in ALLOCATIONS and not caller.startswith(("mi_", "_mi_")):
            allocations += int(line.partition("=")[2].split()[0])
    return int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1]), allocations


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed; ./test installs it")
    if settings.DEVSTORE is None:
        pytest.skip("there is no embedded store: cargo build --release -p sceau-devstore --example serve")
    if settings.BINARY.parent.name != "release":
        pytest.skip("the numbers are those of a release build")
    counted = Counted(tmp_path_factory.mktemp("cost"))
    yield counted
    counted.stop()


def test_requests_cost_what_they_did(counted):
    found = {}
    for size, times, label in ((KIB, 10, "1KiB"), (MIB, 3, "1MiB")):
        body = bytes(range(256)) * (size // 256)
        found[f"put-{label}"] = counted.count(times, "PUT", f"/cost/{label}", body)
        found[f"get-{label}"] = counted.count(times, "GET", f"/cost/{label}")
    lines, losses = [], []
    for name, (instructions, allocations) in sorted(found.items()):
        thousands, expected = EXPECTED[name]
        lines.append(f"{name}: {instructions / 1000:.0f}k instructions ({thousands}k), {allocations:.0f} allocations ({expected})")
        if instructions / 1000 > thousands * INSTRUCTIONS_MORE or allocations > expected * ALLOCATIONS_MORE:
            losses.append(name)
    print("\n".join(lines))
    assert not losses, "more than before: " + "; ".join(lines)
