"""A PKCS#11 token in a temporary folder."""

import os
import subprocess

from .settings import softhsm_module, tool

PIN, SO_PIN = "48-test-pin-15", "48-test-so-pin-16"
LABEL = "sceau-test"
KEY_LABEL = "sceau-test-kek"


class Token:
    """One freshly initialised SoftHSM token."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "tokens").mkdir(parents=True)
        self.conf = folder / "softhsm2.conf"
        self.conf.write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        self.module = softhsm_module()
        self.env = {"SOFTHSM2_CONF": str(self.conf)}
        arguments = ["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", SO_PIN]
        self._run([tool("softhsm2-util"), *arguments])
        self.pin_file = folder / "pin"
        self.write_pin(PIN)

    def write_pin(self, pin):
        self.pin_file.write_text(pin)
        self.pin_file.chmod(0o600)

    def _run(self, arguments):
        env = {**os.environ, **self.env}
        return subprocess.run(arguments, env=env, check=True, capture_output=True, text=True, timeout=60).stdout

    def objects(self):
        """The token's objects as OpenSC sees them."""
        arguments = ["--module", self.module, "--token-label", LABEL, "--login", "--pin", PIN, "--list-objects"]
        return self._run([tool("pkcs11-tool"), *arguments])
