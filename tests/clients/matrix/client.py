"""What the matrix asks of a client: one small class for each, methods named after the actions.

What lives here: the base class, and the base of clients that run as a process of their own and take
commands line by line. What must not: assertions. Invariant: every client checks the gateway's
certificate against the authority of this run; none switches verification off.
"""

import json
import subprocess

# The columns of the matrix.
ACTIONS = ["put", "get", "range", "multipart", "list", "copy", "delete", "sync", "unicode"]
# Which methods an action needs. A client without them must have its reason in gaps.py.
NEEDS = {
    "put": ["put"],
    "get": ["get"],
    "range": ["range"],
    "multipart": ["multipart", "get"],
    "list": ["sizes"],
    "copy": ["copy"],
    "delete": ["delete"],
    "sync": ["sync_up", "sync_down"],
    "unicode": ["put", "get"],
}
MIB = 1024 * 1024
PART = 5 * MIB


class Missing(Exception):
    """The client is not on this machine; the text says what to install."""


class Client:
    """One client with the gateway's endpoint.

    `put(path, key)`, `get(key, path)`, `range(key, first, last)` -> bytes, `multipart(path, key)` with parts
    of 5 MiB, `sizes(prefix)` -> {key: size}, `copy(source, target)`, `delete(key)`, `sync_up(folder, prefix)`,
    `sync_down(prefix, folder)`. A client has those of them that the program has.
    """

    name = ""
    # Runs with ./test --full only.
    full = False
    # It keeps archives of its own: what it put is compared by getting it back.
    opaque = False
    # It moves lines of text only.
    text = False
    # Bytes of the least that it can write.
    smallest = 0

    def __init__(self, front, folder):
        """Raises `Missing` where the client cannot run."""
        self.front, self.folder = front, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.bucket = front.new_bucket("matrix")
        self.version = self.find_version()

    def find_version(self):
        raise NotImplementedError

    def close(self):
        """Ends what the client started."""

    def url(self, key):
        return f"s3://{self.bucket}/{key}"

    @classmethod
    def can(cls, action):
        return all(hasattr(cls, method) for method in NEEDS[action])


class Driven(Client):
    """A program of ours around a library: one JSON command a line in, one JSON answer a line out."""

    def command(self):
        """The arguments that start the program; raises `Missing`."""
        raise NotImplementedError

    def env(self):
        return self.front.env()

    def find_version(self):
        arguments = [str(argument) for argument in self.command()]
        self._log = open(self.folder / "driver.log", "ab")
        self.child = subprocess.Popen(
            [*arguments, self.front.url, self.bucket], env=self.env(), cwd=self.folder,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, encoding="utf-8",
        )  # fmt: skip
        try:
            return self.ask("version")["version"]
        except AssertionError as error:
            raise Missing(f"it does not start: {error}") from error

    def ask(self, command, **arguments):
        line = json.dumps({"do": command, **{name: str(value) for name, value in arguments.items()}})
        try:
            self.child.stdin.write(line + "\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.child.stdout.readline()
        log = self.folder / "driver.log"
        assert answer, f"{self.name} ended: {log.read_text(errors='replace')[-2000:]}"
        answer = json.loads(answer)
        assert "error" not in answer, f"{self.name} {line}: {answer['error']}"
        return answer

    def close(self):
        self.child.stdin.close()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        self._log.close()


class DrivenSdk(Driven):
    """The actions that every library of S3 calls has."""

    def put(self, path, key):
        self.ask("put", path=path, key=key)

    def get(self, key, path):
        self.ask("get", key=key, path=path)

    def range(self, key, first, last):
        path = self.folder / "range"
        self.ask("range", key=key, first=first, last=last, path=path)
        return path.read_bytes()

    def multipart(self, path, key):
        self.ask("multipart", path=path, key=key, part=PART)

    def sizes(self, prefix):
        return self.ask("list", prefix=prefix)["sizes"]

    def copy(self, source, target):
        self.ask("copy", source=source, target=target)

    def delete(self, key):
        self.ask("delete", key=key)
