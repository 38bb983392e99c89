"""A PKCS#11 token in a temporary folder."""

import os
import subprocess

from .settings import shim_module, softhsm_module, tool

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
        # What the helper process inherits by configuration.
        self.pass_environment = ["SOFTHSM2_CONF"]
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


class FaultyToken(Token):
    """A token behind the fault shim. The lines of its control file are explained in the shim's documentation."""

    def __init__(self, folder):
        super().__init__(folder)
        self.control, self.trace = folder / "control", folder / "trace"
        self.env["SCEAU_SHIM_MODULE"], self.module = self.module, shim_module()
        self.env["SCEAU_SHIM_CONTROL"], self.env["SCEAU_SHIM_TRACE"] = str(self.control), str(self.trace)
        self.pass_environment = list(self.env)

    def faults(self, *lines):
        """Replaces the faults; none without arguments. Earlier counts are forgotten."""
        self.control.with_suffix(".hits").unlink(missing_ok=True)
        new = self.control.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines))
        new.rename(self.control)

    def calls(self, function):
        """How often a function was called, over all processes."""
        if not self.trace.exists():
            return 0
        return sum(line.split()[1] == function for line in self.trace.read_text().splitlines())
