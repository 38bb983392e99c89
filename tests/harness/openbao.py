"""OpenBao in development mode: in memory, on loopback, with one transit key."""

import os
import re
import shutil
import subprocess

import pytest

from .process import Server, free_port, wait_until

ROOT = "root-token-for-tests"
KEY_LABEL = "sceau-test-kek"
# What a gateway may do, and no more (docs/operations.md).
POLICY = f"""
path "transit/encrypt/{KEY_LABEL}" {{ capabilities = ["update"] }}
path "transit/decrypt/{KEY_LABEL}" {{ capabilities = ["update"] }}
path "transit/keys/{KEY_LABEL}" {{ capabilities = ["read"] }}
path "transit/random/*" {{ capabilities = ["update"] }}
"""


def binary():
    """The program `bao`, which `SCEAU_OPENBAO` may name."""
    found = os.environ.get("SCEAU_OPENBAO") or shutil.which("bao")
    if not found:
        pytest.skip("the program bao (OpenBao) is not installed: no test of the transit key provider")
    return found


class OpenBao:
    """A server, and a token with the least rights."""

    # What `Site` wants to know of a token, before another table takes the place of [keys.pkcs11].
    env, pass_environment, module, pin_file = {}, [], "/none", "/none"
    provider = "transit"

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.binary, self.port = folder, binary(), free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.token_file, self.key_version = folder / "token", 1
        options = ["-dev", f"-dev-root-token-id={ROOT}", "-dev-no-store-token"]
        listen = f"-dev-listen-address=127.0.0.1:{self.port}"
        self.server = Server("openbao", [self.binary, "server", *options, listen], folder, {"HOME": str(folder)})
        self.server.wait_port(self.port)
        wait_until("transit", lambda: self.cli("secrets", "enable", "transit").returncode == 0, 30)
        self.do("write", "-f", f"transit/keys/{KEY_LABEL}")
        self.policy(POLICY)
        self.write_token(self.do("token", "create", "-policy=sceau", "-field=token"))

    def policy(self, text):
        """The rights of the gateway's token."""
        (self.folder / "policy.hcl").write_text(text or "# none\n")
        self.do("policy", "write", "sceau", self.folder / "policy.hcl")

    def write_token(self, token):
        self.token_file.write_text(token)
        self.token_file.chmod(0o600)

    def token(self):
        return self.token_file.read_text()

    def cli(self, *arguments):
        env = {**os.environ, "BAO_ADDR": self.address, "BAO_TOKEN": ROOT, "HOME": str(self.folder)}
        command = [self.binary, *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)

    def do(self, *arguments):
        """A command that must succeed; what it wrote."""
        done = self.cli(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def unseal(self):
        """What development mode prints at its start opens it."""
        log = self.server.log.read_text()
        self.do("operator", "unseal", re.search(r"Unseal Key: (\S+)", log)[1])

    def table(self):
        """The lines of a configuration."""
        return f'''[keys.transit]
address = "{self.address}"
key = "{KEY_LABEL}"
key_version = {self.key_version}
token_file = "{self.token_file}"
'''

    def stop(self):
        self.server.stop()
