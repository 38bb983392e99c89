"""Promise: PIN and store secret come from a file, a systemd credential or the terminal, and are shown nowhere.

How: SoftHSM; `CREDENTIALS_DIRECTORY` as systemd sets it, with the modes that systemd gives; a pseudo-terminal whose
other end plays the operator.
"""

import os
import pty
import re
import select
import shutil
import signal
import subprocess
import termios
import time
import uuid

import pytest

from harness.fronts import boto
from harness.gateway import Site, run
from harness.process import wait_until
from harness.settings import BINARY
from harness.softhsm import PIN, Token

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module")
def site(work, store):
    site = Site(work / "secrets-site", store, Token(work / "secrets-token"), control_bucket=f"control-{uuid.uuid4().hex[:12]}")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    yield site
    site.stop()


def config(site, name, pin, secret="store-secret"):
    """The administrator's configuration with other places of its secrets."""
    text = (site.folder / "admin.toml").read_text()
    text = re.sub(r'pin_file = ".*"', f'pin_file = "{pin}"', text)
    text = text.replace('secret_file = "store-secret"', f'secret_file = "{secret}"')
    path = site.folder / f"{name}.toml"
    path.write_text(text)
    return path


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, site, *arguments, env=None):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(BINARY, [str(BINARY), *map(str, arguments)], {**os.environ, "NO_COLOR": "1", **site.env, **(env or {})})
        self.ended = None

    def wait_for(self, text, seconds=60):
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < end, self.seen
            self._read(0.1)

    def _read(self, seconds):
        """Whether the terminal is still in use."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            piece = os.read(self.fd, 4096)
        except OSError:
            return False
        self.seen += piece
        return bool(piece)

    def type(self, text):
        os.write(self.fd, text.encode())

    def has_echo(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self, seconds=60):
        """Its exit code."""
        end = time.monotonic() + seconds
        while self._read(0.05):
            assert time.monotonic() < end, self.seen
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_credentials_of_a_unit_are_used_with_the_modes_that_systemd_gives(site, tmp_path):
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, text in (("hsm-pin", PIN), ("store-secret", site.store.secret_key)):
        (credentials / name).write_text(text)
        # Root's, with an access list for the service's user: its mask shows as the group's right. Kubernetes mounts
        # its secrets with the same owner and mode. Another owner may not let a group read.
        (credentials / name).chmod(0o440 if os.geteuid() == 0 else 0o400)
    path = config(site, "unit", "credential:hsm-pin", "credential:store-secret")
    env = {**site.env, "CREDENTIALS_DIRECTORY": str(credentials)}
    assert "generation" in run(["keys", "list", "--config", path], env).stdout
    assert "ok       files" in run(["check", "--config", path], env).stdout
    (credentials / "hsm-pin").chmod(0o444)
    refused = run(["keys", "list", "--config", path], env, check=False)
    assert refused.returncode == 3 and "only its owner" in refused.stderr, refused.stderr
    (credentials / "hsm-pin").chmod(0o400)
    (credentials / "store-secret").chmod(0o444)
    refused = run(["keys", "list", "--config", path], env, check=False)
    assert refused.returncode == 2 and "E-CONF-005" in refused.stderr, refused.stderr
    # A file that the group may change is refused, and so is one that is not root's and the group may read.
    plain = tmp_path / "pin"
    plain.write_text(PIN)
    for owner, mode in [(-1, 0o460), *([(65532, 0o440)] if os.geteuid() == 0 else [])]:
        os.chown(plain, owner, -1)
        plain.chmod(mode)
        assert run(["keys", "list", "--config", config(site, "plain", plain)], env, check=False).returncode == 3


def test_a_pin_is_asked_for_on_the_terminal_and_not_shown(site):
    path = config(site, "asked", "prompt:", "prompt:")
    command = Terminal(site, "keys", "list", "--config", path)
    command.wait_for("at the store: ")
    wait_until("no echo", lambda: not command.has_echo(), 5, 0.02)
    command.type(site.store.secret_key + "\n")
    command.wait_for("PIN of token")
    wait_until("no echo", lambda: not command.has_echo(), 5, 0.02)
    command.type(PIN + "\n")
    assert command.end() == 0, command.seen
    assert b"generation" in command.seen and PIN.encode() not in command.seen
    assert site.store.secret_key.encode() not in command.seen


def test_a_wrong_pin_is_refused_and_is_not_offered_again(site):
    path = config(site, "typed", "prompt:")
    latch = site.folder / "keyring.refused-pin"
    for text in ("is wrong", "not tried again"):
        command = Terminal(site, "keys", "list", "--config", path)
        command.wait_for("PIN of token")
        command.type("not-the-pin\n")
        assert command.end() == 3, command.seen
        assert b"not-the-pin" not in command.seen
        assert latch.exists()
    latch.unlink()


def test_interrupting_the_question_leaves_the_terminal_as_it_was(site):
    command = Terminal(site, "keys", "list", "--config", config(site, "asked", "prompt:"))
    command.wait_for("PIN of token")
    wait_until("no echo", lambda: not command.has_echo(), 5, 0.02)
    command.type("48-te\x03\n")
    wait_until("echo", command.has_echo, 5, 0.02)
    assert command.end() == 3, command.seen
    assert b"interrupted" in command.seen and b"48-te" not in command.seen


def test_a_gateway_asks_once_and_again_for_a_new_helper_only(site):
    shutil.copy(site.folder / "keyring", site.folder / "asked-keyring")
    path = config(site, "asked-serve", "credential:hsm-pin")
    text = path.read_text().replace(f'"{site.folder / "keyring"}"', f'"{site.folder / "asked-keyring"}"')
    path.write_text(text)
    command = Terminal(site, "serve", "--config", path)
    command.wait_for("PIN of token")
    command.type(PIN + "\n")
    command.wait_for("key_provider=")
    assert command.seen.count(b"PIN of token") == 1
    found = subprocess.run(["pgrep", "-P", str(command.pid)], capture_output=True, text=True, check=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    wait_until("asked again", lambda: command._read(0.1) and command.seen.count(b"PIN of token") == 2, 30)
    command.type(PIN + "\n")
    wait_until("echo", command.has_echo, 10, 0.05)
    os.kill(command.pid, signal.SIGTERM)
    assert command.end() == 0, command.seen
    assert PIN.encode() not in command.seen


def test_without_a_terminal_a_question_is_an_error_that_says_so(site):
    done = run(["keys", "list", "--config", config(site, "asked", "prompt:")], site.env, check=False, start_new_session=True)
    assert done.returncode == 3 and "no terminal" in done.stderr and "LoadCredential" in done.stderr, done.stderr


def test_the_environment_holds_no_secret_of_a_production_key(site):
    path = site.folder / "environment.toml"
    lines = f'source = "static"\naccess_key = "{site.store.access_key}"\nsecret_file = "store-secret"'
    text = (site.folder / "admin.toml").read_text()
    assert lines in text
    path.write_text(text.replace(lines, 'source = "environment"'))
    env = {**site.env, "AWS_ACCESS_KEY_ID": site.store.access_key, "AWS_SECRET_ACCESS_KEY": site.store.secret_key}
    refused = run(["keys", "list", "--config", path], env, check=False)
    assert refused.returncode == 2 and "software keys only" in refused.stderr, refused.stderr
