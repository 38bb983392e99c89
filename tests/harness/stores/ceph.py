"""Ceph RGW 16 of Debian 12: the oldest provider that is still met. It has no checksums and no conditional writes.

One monitor, one object daemon that keeps everything in memory, one RGW. cephx stays on: without it the
daemons cannot speak to each other.
"""

import base64
import os
import shutil
import struct
import subprocess
import time
import uuid

from ..process import Server, answers, free_port, wait_until
from .keys import ACCESS_KEY, SECRET_KEY

SECONDS = 120


class Ceph:
    """One small cluster with its own ports and folder."""

    name = "ceph"
    title = "Ceph RGW 16.2"
    access_key, secret_key = ACCESS_KEY, SECRET_KEY
    gateway_lines = "conditional_writes = false"

    @staticmethod
    def is_installed():
        return all(shutil.which(name) for name in ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "monmaptool"))

    def __init__(self, folder):
        folder.mkdir(parents=True)
        self.folder, self.servers = folder, []
        self.port, self.monitor = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.identity, self.disk = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "run"):
            (folder / name).mkdir()
        self._configure()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _configure(self):
        base = free_port()
        (self.folder / "ceph.conf").write_text(f"""[global]
fsid = {self.identity}
mon_initial_members = a
mon_host = [v2:127.0.0.1:{self.monitor},v1:127.0.0.1:{self.monitor + 10_000}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_port_min = {base}
ms_bind_port_max = {base + 60}
keyring = {self.folder}/keyring
run_dir = {self.folder}/run
admin_socket = {self.folder}/run/$name.asok
pid_file = {self.folder}/run/$name.pid
log_file = {self.folder}/$name.log
crash_dir = {self.folder}/run
auth_allow_insecure_global_id_reclaim = false
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_objectstore = memstore
memstore_device_bytes = 4294967296
[mon.a]
mon_data = {self.folder}/mon
[osd.0]
osd_data = {self.folder}/osd
[client.rgw.a]
rgw_frontends = beast endpoint=127.0.0.1:{self.port}
rgw_crypt_require_ssl = false
rgw_data = {self.folder}/run
""")
        kinds = {
            "mon.": 'caps mon = "allow *"',
            "client.admin": 'caps mon = "allow *"\n\tcaps osd = "allow *"\n\tcaps mgr = "allow *"',
            "osd.0": 'caps mon = "allow profile osd"\n\tcaps osd = "allow *"',
            "client.rgw.a": 'caps mon = "allow rw"\n\tcaps osd = "allow rwx"',
        }
        lines = [f"[{name}]\n\tkey = {_cephx_key()}\n\t{caps}\n" for name, caps in kinds.items()]
        (self.folder / "keyring").write_text("".join(lines))

    def _run(self, *arguments):
        """One of Ceph's commands, to its end."""
        program, *rest = map(str, arguments)
        command = [program, "-c", str(self.folder / "ceph.conf"), *rest]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=self.folder)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def _serve(self, program, *arguments):
        server = Server(program, [program, "-c", self.folder / "ceph.conf", "-f", *arguments], self.folder)
        self.servers.append(server)
        return server

    def _start(self):
        addresses = f"[v2:127.0.0.1:{self.monitor},v1:127.0.0.1:{self.monitor + 10_000}]"
        # It reads no configuration file.
        command = ["monmaptool", "--create", "--addv", "a", addresses, "--fsid", self.identity, str(self.folder / "monmap")]
        subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", self.folder / "monmap", "--keyring", self.folder / "keyring")
        self._serve("ceph-mon", "-i", "a").wait_port(self.monitor)
        self._run("ceph", "osd", "new", self.disk)
        # The same identity as above, or the daemon never comes up.
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", self.disk)
        self._serve("ceph-osd", "-i", "0")
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=tests")
        wait_until("ceph-osd", lambda: "1 up" in self._run("ceph", "osd", "stat"), SECONDS)
        name = ("-n", "client.rgw.a")
        self._serve("radosgw", *name)
        wait_until("radosgw", self._is_serving, SECONDS)
        self._run("radosgw-admin", *name, "user", "create", "--uid=gateway", "--display-name=gateway",
                  f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}", "--max-buckets=10000")  # fmt: skip

    def _is_serving(self):
        """It ends when it comes up before the pools can be made: then it is started again."""
        if not self.servers[-1].is_running():
            self.servers.pop().stop()
            self._serve("radosgw", "-n", "client.rgw.a")
            time.sleep(1)
        return answers(self.port)

    def stop(self):
        for server in reversed(self.servers):
            server.stop(3)


def _cephx_key():
    """A fresh secret in cephx's coding: type 1 (AES), time, length, 16 bytes."""
    now = int(time.time())
    return base64.b64encode(struct.pack("<hiih", 1, now, 0, 16) + os.urandom(16)).decode()
