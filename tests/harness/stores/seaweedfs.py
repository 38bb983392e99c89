"""SeaweedFS: an S3 interface of its own, with versions, Object Lock, checksums and conditional writes."""

import json
import time
import urllib.request

from ..process import Server, free_port
from ..settings import tool
from .keys import ACCESS_KEY, SECRET_KEY

# SeaweedFS accepts connections before it can place its first volume.
SETTLE_SECONDS = 4


class SeaweedFS:
    """One SeaweedFS with its own ports and folder."""

    name = "seaweedfs"
    title = "SeaweedFS 4.48"
    # It makes folders of objects whose names end in a slash.
    gateway_lines = 'folder_markers = "plain"'
    access_key, secret_key = ACCESS_KEY, SECRET_KEY

    def __init__(self, folder):
        folder.mkdir(parents=True)
        users = {
            "identities": [
                {
                    "name": "gateway",
                    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
        (folder / "users.json").write_text(json.dumps(users))
        # Two volumes for each bucket in place of seven: the suites make many buckets.
        (folder / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 2\ncopy_other = 1\n")
        (folder / "data").mkdir()
        master, volume, filer, port = (free_port() for _ in range(4))
        self.url = f"http://127.0.0.1:{port}"
        self.filer = f"http://127.0.0.1:{filer}"
        # fmt: off
        self.server = Server("seaweedfs", [
            tool("weed"), "server", "-ip", "127.0.0.1", "-ip.bind", "127.0.0.1", "-dir", folder / "data",
            "-master.port", master, "-volume.port", volume, "-filer", "-filer.port", filer,
            "-s3", "-s3.port", port, "-s3.allowDeleteBucketNotEmpty=false", "-s3.config", folder / "users.json",
            "-s3.port.iceberg", 0, "-s3.port.lance", 0, "-master.telemetry=false",
            "-volume.max", 4000, "-volume.minFreeSpace", 1, "-master.volumeSizeLimitMB", 1024,
        ], folder)
        # fmt: on
        self.server.wait_port(port)
        time.sleep(SETTLE_SECONDS)

    def part_of_open_upload(self, bucket, upload, number):
        """Stored bytes of one part of an open upload, which S3 itself does not show."""
        folder = f"{self.filer}/buckets/{bucket}/.uploads/{upload}/"
        request = urllib.request.Request(folder, headers={"accept": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            names = [entry["FullPath"] for entry in json.load(answer)["Entries"]]
        (path,) = [name for name in names if name.rsplit("/", 1)[1].startswith(f"{number:04d}")]
        with urllib.request.urlopen(self.filer + path, timeout=10) as answer:
            return answer.read()

    def stop(self):
        # It takes up to half a minute to end by itself, and its folder is thrown away.
        self.server.stop(5)
