"""The JuiceFS gateway: the S3 front end of MinIO, with signature and chunk code of its own."""

import subprocess

from ..process import Server, free_port
from ..settings import tool
from .keys import ACCESS_KEY, SECRET_KEY


class JuiceFS:
    """One JuiceFS volume in a folder, metadata in SQLite, served by its gateway."""

    name = "juicefs"
    title = "JuiceFS gateway 1.4.2"
    # It takes the headers and does not look at them.
    gateway_lines = 'conditional_writes = false\nfolder_markers = "plain"'
    access_key, secret_key = ACCESS_KEY, SECRET_KEY

    def __init__(self, folder):
        folder.mkdir(parents=True)
        meta = f"sqlite3://{folder / 'meta.db'}"
        env = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY, "HOME": str(folder)}
        command = [tool("juicefs"), "format", "--storage", "file", "--bucket", f"{folder / 'data'}/", meta, "tests"]
        subprocess.run(command, check=True, capture_output=True, timeout=60, cwd=folder)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # fmt: off
        self.server = Server("juicefs", [
            tool("juicefs"), "gateway", "--multi-buckets", "--keep-etag", "--object-tag", "--object-meta", "--no-usage-report",
            "--cache-dir", folder / "cache", "--log", folder / "juicefs-gateway.log", "--metrics", f"127.0.0.1:{free_port()}",
            meta, f"127.0.0.1:{port}",
        ], folder, env)
        # fmt: on
        self.server.wait_port(port)

    def stop(self):
        self.server.stop(10)
