"""The gateway: its files, its commands and its processes.

Everything that depends on the command line or on configuration keys is in this file.
"""

import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request

import pytest

from .process import Server, free_port, wait_until
from .settings import BINARY, LOG_LEVEL
from .softhsm import KEY_LABEL, LABEL

ACCESS_KEY = "CLIENTACCESSKEY"
SECRET_KEY = "client-secret-key-for-tests"
# A second principal, whom the policy allows one prefix only.
LIMITED_ACCESS_KEY = "LIMITEDACCESSKEY"
LIMITED_SECRET_KEY = "limited-secret-key-for-tests"
CONTROL_BUCKET = "sceau-control"
COMMAND_SECONDS = 120
# Log files of every gateway of this run, for the scan at its end.
LOGS = []


def require_binary():
    """The binary under test; without it a suite cannot run."""
    if not BINARY.exists():
        pytest.fail(f"{BINARY} does not exist: run `cargo build --release -p sceau`", pytrace=False)
    return BINARY


def run(arguments, env=None, check=True, **options):
    """Runs one `sceau` command to its end."""
    merged = {**os.environ, **(env or {})}
    command = [str(require_binary()), *map(str, arguments)]
    options.setdefault("timeout", COMMAND_SECONDS)
    done = subprocess.run(command, env=merged, capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done


class Site:
    """What several gateways share: a store, a token, a keyring, credentials and a policy."""

    def __init__(self, folder, store, token, control_bucket=CONTROL_BUCKET):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.store, self.token = folder, store, token
        self.control_bucket = control_bucket
        # More lines of [keys.pkcs11].
        self.pkcs11 = ""
        self.env = dict(token.env)
        self.gateways = []
        secret = folder / "store-secret"
        secret.write_text(store.secret_key)
        credentials = folder / "credentials.toml"
        credentials.write_text(
            f'[[credential]]\naccess_key = "{ACCESS_KEY}"\nsecret = "{SECRET_KEY}"\nprincipal = "tester"\n\n'
            f'[[credential]]\naccess_key = "{LIMITED_ACCESS_KEY}"\nsecret = "{LIMITED_SECRET_KEY}"\n'
            'principal = "limited"\n'
        )
        (folder / "policy.toml").write_text(
            '[[allow]]\nprincipal = "tester"\nbuckets = ["*"]\n'
            'verbs = ["read", "write", "delete", "list", "create-bucket", "delete-bucket",'
            ' "configure", "read-configuration"]\n\n'
            '[[allow]]\nprincipal = "limited"\nbuckets = ["*"]\nprefixes = ["open/"]\nverbs = ["read", "write"]\n\n'
            # Whoever has no credentials, in buckets of this name only.
            '[[allow]]\nprincipal = "anonymous"\nbuckets = ["public-*"]\nprefixes = ["open/"]\n'
            'verbs = ["read", "write", "list"]\n\n'
            '[[key_use]]\nallow = ["scan", "break-glass"]\n'
        )
        for path in (secret, credentials):
            path.chmod(0o600)

    def config(self, name, data=0, admin=0, certificates=None, pin_file=None, keyring=None, more="", keys="", listen="", host="127.0.0.1", store=None):
        """Writes a configuration file and returns its path."""
        tls = ""
        if certificates:
            tls = f'[listen.tls]\ncert = "{certificates.cert}"\nkey = "{certificates.key}"\n'
        path = self.folder / f"{name}.toml"
        path.write_text(
            f"""version = 1
[listen]
data = "{f'[{host}]' if ':' in host else host}:{data}"
admin = "127.0.0.1:{admin}"
{listen}
{tls}
[store]
endpoint = "{self.store.url}"
control_bucket = "{self.control_bucket}"
{getattr(self.store, "gateway_lines", "") if store is None else store}
[store.credentials]
source = "static"
access_key = "{self.store.access_key}"
secret_file = "store-secret"
[keys]
provider = "pkcs11"
keyring = "{keyring or self.folder / 'keyring'}"
{keys}
[keys.pkcs11]
module = "{self.token.module}"
token_label = "{LABEL}"
key_label = "{KEY_LABEL}"
pin_file = "{pin_file or self.token.pin_file}"
pass_environment = {json.dumps(self.token.pass_environment)}
{self.pkcs11}
[access]
credentials = "credentials.toml"
policy = "policy.toml"
[log]
level = "{LOG_LEVEL}"
{more}"""
        )
        return path

    def enrol(self):
        """Makes the key-encryption key in the token and the keyring."""
        config = self.config("admin", data=free_port(), admin=free_port())
        return run(["keys", "enrol", "--config", config, "--generate"], self.env)

    def command(self, *arguments, **options):
        """A command that takes the site's configuration."""
        path = self.folder / "admin.toml"
        if not path.exists():
            self.config("admin", data=free_port(), admin=free_port())
        head, *rest = arguments
        words = head.split()
        return run([*words, "--config", path, *rest], self.env, **options)

    def start(self, name, certificates=None, more="", keys="", listen="", host="127.0.0.1", store=None):
        """Starts a gateway with its own copy of the keyring and waits until it is ready. `store`: lines of the
        section [store] in place of those that the store needs."""
        keyring = self.folder / f"{name}-keyring"
        if not keyring.exists():
            shutil.copy(self.folder / "keyring", keyring)
        data, admin = free_port(), free_port()
        config = self.config(
            name, data, admin, certificates, keyring=keyring, more=more, keys=keys, listen=listen, host=host, store=store
        )
        gateway = Gateway(name, config, data, admin, certificates, self, host)
        self.gateways.append(gateway)
        gateway.start()
        return gateway

    def stop(self):
        for gateway in self.gateways:
            gateway.stop()


class KeyServiceSite(Site):
    """A site whose key is in a key service: the token names its `provider` and has a `table()`."""

    def config(self, name, *positional, **options):
        path = super().config(name, *positional, **options)
        text = path.read_text().replace('provider = "pkcs11"', f'provider = "{self.token.provider}"')
        head, rest = text.split("[keys.pkcs11]")
        _, tail = rest.split("[access]")
        path.write_text(f"{head}{self.token.table()}[access]{tail}")
        return path

    def enrol(self, *more):
        return self.command("keys enrol", *more)


class Gateway:
    """One `sceau serve` process."""

    access_key, secret_key = ACCESS_KEY, SECRET_KEY

    def __init__(self, name, config, data, admin, certificates, site, host="127.0.0.1"):
        self.name, self.config, self.site, self.host = name, config, site, host
        self.port, self.admin_port = data, admin
        self.scheme = "https" if certificates else "http"
        self.url = f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{data}"
        self.ca = certificates.ca if certificates else None
        self.server = None

    def start(self):
        arguments = [require_binary(), "serve", "--config", self.config]
        self.server = Server(self.name, arguments, self.site.folder, self.site.env)
        LOGS.append(self.server.log)
        self.server.wait_port(self.port, host=self.host)
        wait_until(f"{self.name} ready", lambda: self.admin("/readyz")[0] == 200, 30)

    def admin(self, path):
        """Status and body of an admin page."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def helper_pid(self):
        """Process id of the helper that holds the PKCS#11 library."""
        return next((pid for pid, line in self.server.children().items() if "pkcs11-helper" in line), None)

    def stop(self):
        if self.server and self.server.is_running():
            self.server.stop()


class Dev:
    """One `sceau dev` process: throw-away keys, the embedded store."""

    access_key, secret_key = ACCESS_KEY, SECRET_KEY
    scheme, ca = "http", None

    def __init__(self, folder, data):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data = folder, data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.server = None

    def start(self):
        arguments = [require_binary(), "dev", "--listen", f"127.0.0.1:{self.port}"]
        if self.data:
            arguments += ["--data", self.data]
        arguments += ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]
        # Not among LOGS: it prints the credentials that it made up, for whoever tries it.
        self.server = Server("dev", arguments, self.folder)
        self.server.wait_port(self.port)
        return self

    def stop(self):
        if self.server and self.server.is_running():
            self.server.stop()
