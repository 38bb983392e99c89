"""A PKCS#11 token in a temporary folder."""

import os
import struct
import subprocess

from .settings import kryoptic_module, shim_module, softhsm_module, tool

PIN, SO_PIN = "48-test-pin-15", "48-test-so-pin-16"
LABEL = "sceau-test"
KEY_LABEL = "sceau-test-kek"
# What `Token.vouch` has said: CKA_NEVER_EXTRACTABLE, CKA_ALWAYS_SENSITIVE; WRAP, UNWRAP, SIGN, VERIFY, DERIVE.
CLAIMS = {0x164: True, 0x165: True, 0x106: False, 0x107: False, 0x108: False, 0x10A: False, 0x10C: False}


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

    def write_key(self, value, folder):
        """Puts an AES key of known bytes into the token, as a second HSM gets its copy."""
        path = folder / "copied-key"
        path.write_bytes(value)
        arguments = ["--module", self.real_module(), "--token-label", LABEL, "--login", "--pin", PIN, "--sensitive"]
        arguments += ["--write-object", str(path), "--type", "secrkey", "--key-type", f"AES:{len(value)}"]
        self._run([tool("pkcs11-tool"), *arguments, "--label", KEY_LABEL, "--id", "01"])
        path.unlink()

    def real_module(self):
        """The module itself, whatever stands before it."""
        return self.env.get("SCEAU_SHIM_MODULE", self.module)

    def vouch(self):
        """Has SoftHSM say of an imported key what an HSM's own way of copying keys leaves true: it never could be
        read nor taken out, and it encrypts and decrypts only. SoftHSM has no such way, so its files are written to."""
        (path,) = [path for path in self.folder.glob("tokens/*/*.object") if path.name != "token.object"]
        content = path.read_bytes()
        for attribute, value in CLAIMS.items():
            mark = struct.pack(">QQ", attribute, 1)
            before, found, after = content.partition(mark)
            assert found, hex(attribute)
            content = before + found + (b"\xff" if value else b"\x00") + after[1:]
        path.write_bytes(content)

    def objects(self):
        """The token's objects as OpenSC sees them."""
        arguments = ["--module", self.module, "--token-label", LABEL, "--login", "--pin", PIN, "--list-objects"]
        return self._run([tool("pkcs11-tool"), *arguments])


class Kryoptic(Token):
    """A token of another make: kryoptic, which `./test --full` builds."""

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder = folder
        self.module = kryoptic_module()
        self.conf = folder / "kryoptic.conf"
        self.conf.write_text(f'[[slots]]\nslot = 1\ndbtype = "sqlite"\ndbargs = "{folder / "token.sql"}"\n')
        self.env = {"KRYOPTIC_CONF": str(self.conf)}
        self.pass_environment = ["KRYOPTIC_CONF"]
        base = [tool("pkcs11-tool"), "--module", self.module, "--slot", "1", "--so-pin", SO_PIN]
        self._run([*base, "--init-token", "--label", LABEL])
        self._run([*base, "--init-pin", "--login", "--login-type", "so", "--pin", PIN])
        self.pin_file = folder / "pin"
        self.write_pin(PIN)


class Shimmed:
    """Puts the fault shim before a token. The lines of its control file are explained in the shim's documentation."""

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

    def helper_pid(self):
        """Process id of the helper that called the module last."""
        return int(self.trace.read_text().splitlines()[-1].split()[0])


class FaultyToken(Shimmed, Token):
    """SoftHSM behind the fault shim."""


class FaultyKryoptic(Shimmed, Kryoptic):
    """kryoptic behind the fault shim."""
