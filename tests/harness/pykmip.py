"""PyKMIP, a KMIP server, with one key of the gateway's; its operator acts through kmip_server.py."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from .process import Server, free_port

KEY_LABEL = "sceau-test-kek"
SCRIPT = Path(__file__).with_name("kmip_server.py")


def interpreter():
    """The Python that has PyKMIP, which `SCEAU_PYKMIP` names."""
    found = os.environ.get("SCEAU_PYKMIP")
    if not found:
        pytest.skip("SCEAU_PYKMIP does not name a Python interpreter with PyKMIP: no test of the KMIP key provider")
    return found


class PyKmip:
    """A server, and an active key in it."""

    # What `Site` wants to know of a token, before another table takes the place of [keys.pkcs11].
    env, pass_environment, module, pin_file = {}, [], "/none", "/none"

    def __init__(self, folder, *modes):
        self.folder, self.port, self.modes = folder, free_port(), modes
        self.python = interpreter()
        self._tool("certificates", folder)
        self.extra = []
        self.start()
        self.key_id = self.make_key(KEY_LABEL)

    def start(self):
        command = [self.python, "-W", "ignore", SCRIPT, "serve", self.folder, self.port, *self.modes]
        self.server = Server("pykmip", command, self.folder)
        self.server.wait_port(self.port)

    def _tool(self, *arguments):
        command = [self.python, "-W", "ignore", SCRIPT, *arguments]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def do(self, *arguments):
        """An act of the operator; what it printed."""
        return self._tool("do", self.folder, self.port, *arguments)

    def make_key(self, name):
        key_id = self.do("create", name, "ENCRYPT", "DECRYPT")
        self.do("activate", key_id)
        return key_id

    def freeze(self):
        """Takes what is sent, and answers nothing."""
        self.server.child.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.server.child.send_signal(signal.SIGCONT)

    def table(self):
        """The lines of a configuration."""
        lines = [
            "[keys.kmip]",
            f'address = "127.0.0.1:{self.port}"',
            f'ca_file = "{self.folder}/ca.pem"',
            f'cert_file = "{self.folder}/gateway.pem"',
            f'key_file = "{self.folder}/gateway.key"',
            f'key = "{KEY_LABEL}"',
            f'key_id = "{self.key_id}"',
            *self.extra,
        ]
        return "\n".join(lines) + "\n"

    def stop(self):
        # It ends in its own time otherwise: up to ten seconds.
        self.server.kill()
