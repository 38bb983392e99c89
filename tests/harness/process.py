"""Servers as child processes: started with a log file, stopped by their process id."""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

# Ports below the range from which the kernel picks outgoing ones, with room for SeaweedFS's +10,000.
PORT_FIRST, PORT_LAST = 12_000, 22_000
_given = set()


def is_free(port):
    """Whether nothing listens on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port():
    """A free loopback port p for which p + 10,000 is free as well; never given twice."""
    for _ in range(1000):
        port = random.randrange(PORT_FIRST, PORT_LAST)
        if port not in _given and is_free(port) and is_free(port + 10_000):
            _given.add(port)
            return port
    raise RuntimeError("no free port")


def wait_until(what, ready, seconds, step=0.1):
    """Polls until `ready()` is true; its value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = ready()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds} s")
        time.sleep(step)


def answers(port, host="127.0.0.1"):
    """Whether something accepts connections on a loopback port."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


class Server:
    """One child process."""

    def __init__(self, name, arguments, folder, env=None):
        self.name = name
        self.log = Path(folder) / f"{name}.log"
        self._output = open(self.log, "ab")
        merged = {**os.environ, **(env or {})}
        self.child = subprocess.Popen(
            [str(argument) for argument in arguments],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=merged,
            cwd=folder,
        )

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def wait_port(self, port, seconds=60, host="127.0.0.1"):
        """Waits until the server accepts connections; its log is shown when it ends before."""

        def ready():
            if not self.is_running():
                raise RuntimeError(f"{self.name} ended with {self.child.returncode}:\n{self.tail()}")
            return answers(port, host)

        wait_until(f"{self.name} on port {port}", ready, seconds)

    def tail(self, lines=30):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self, seconds=20):
        """SIGTERM, and SIGKILL when that is not enough."""
        if self.is_running():
            self.child.terminate()
            try:
                self.child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self._output.close()
        return self.child.returncode

    def kill(self):
        """SIGKILL, at once."""
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self._output.close()

    def children(self):
        """Process ids of the children, with their command lines."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                stat = (entry / "stat").read_text()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            parent = int(stat.rsplit(")", 1)[1].split()[1])
            if parent == self.pid:
                found[int(entry.name)] = command
        return found

    def peak_resident_mib(self):
        """Peak resident memory of the process itself."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise RuntimeError("no VmHWM")
