"""Command-line programs and the file system: aws, rclone, s5cmd, s3cmd, restic, duplicity, s3fs."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from clients.matrix.client import MIB, Client, Missing
from harness.process import Server, wait_until
from harness.settings import tool

# What `missing` says of a program that ./test installs.
INSTALLED_BY = "./test installs it"
FUSE_SECONDS = 30


def system(program):
    """A program of the distribution, not of the virtual environment."""
    path = Path("/usr/bin") / program
    if not path.exists():
        raise Missing(f"{path} is not installed; {INSTALLED_BY}")
    return path


def environment(program):
    try:
        return tool(program)
    except FileNotFoundError as error:
        raise Missing(str(error)) from error


class AwsCli(Client):
    name = "aws-cli 1.46"

    def program(self):
        return environment("aws")

    def aws(self, *arguments, **options):
        config = self.folder / "aws-config"
        # Of its own, version 1 of aws-cli would sign URLs with Signature Version 2.
        config.write_text(
            "[default]\ns3 =\n  addressing_style = path\n  multipart_threshold = 5MB\n  multipart_chunksize = 5MB\n"
            "  signature_version = s3v4\n"
        )
        env = {**self.front.env(), "AWS_CONFIG_FILE": str(config), "LC_ALL": "C.UTF-8"}
        return self.front.run([self.program(), "--endpoint-url", self.front.url, *arguments], env=env, **options).stdout

    def find_version(self):
        return self.front.run([self.program(), "--version"]).stdout.split()[0].partition("/")[2]

    def put(self, path, key):
        self.aws("s3", "cp", path, self.url(key))

    multipart = put

    def get(self, key, path):
        self.aws("s3", "cp", self.url(key), path)

    def range(self, key, first, last):
        path = self.folder / "range"
        self.aws("s3api", "get-object", "--bucket", self.bucket, "--key", key, "--range", f"bytes={first}-{last}", path)
        return path.read_bytes()

    def sizes(self, prefix):
        lines = self.aws("s3", "ls", "--recursive", self.url(prefix)).splitlines()
        found = {line.split(maxsplit=3)[3]: int(line.split(maxsplit=3)[2]) for line in lines}
        pages = self.aws("s3api", "list-objects-v2", "--bucket", self.bucket, "--prefix", prefix, "--output", "json")
        assert found == {item["Key"]: item["Size"] for item in json.loads(pages)["Contents"]}
        return found

    def copy(self, source, target):
        self.aws("s3", "cp", self.url(source), self.url(target))

    def delete(self, key):
        self.aws("s3", "rm", self.url(key))

    def sync_up(self, folder, prefix):
        self.aws("s3", "sync", "--delete", folder, self.url(prefix))

    def sync_down(self, prefix, folder):
        self.aws("s3", "sync", "--delete", self.url(prefix), folder)

    def presign(self, key):
        return self.aws("s3", "presign", self.url(key)).strip()


class AwsCliDebian(AwsCli):
    """The line of aws-cli from before the checksums of 2025."""

    name = "aws-cli 2.9 (Debian)"

    def program(self):
        return system("aws")


class Rclone(Client):
    name = "rclone 1.75"

    def program(self):
        return environment("rclone")

    def rclone(self, *arguments, **running):
        env = {
            **self.front.env(),
            "RCLONE_CONFIG": str(self.folder / "no-rclone-config"),
            "RCLONE_CONFIG_GW_TYPE": "s3",
            "RCLONE_CONFIG_GW_PROVIDER": "Other",
            "RCLONE_CONFIG_GW_ACCESS_KEY_ID": self.front.access_key,
            "RCLONE_CONFIG_GW_SECRET_ACCESS_KEY": self.front.secret_key,
            "RCLONE_CONFIG_GW_ENDPOINT": self.front.url,
            "RCLONE_CONFIG_GW_REGION": "us-east-1",
            "RCLONE_CONFIG_GW_FORCE_PATH_STYLE": "true",
        }
        # rclone before 1.61 refuses to start where its SDK finds an authority of its own.
        env.pop("AWS_CA_BUNDLE", None)
        ca = ["--ca-cert", self.front.ca] if self.front.ca else []
        options = ["--retries", "1", "--s3-upload-cutoff", "5M", "--s3-chunk-size", "5M"]
        return self.front.run([self.program(), *ca, *options, *arguments], env=env, **running)

    def find_version(self):
        return self.front.run([self.program(), "version"]).stdout.split()[1].lstrip("v")

    def url(self, key):
        return f"gw:{self.bucket}/{key}"

    def put(self, path, key):
        self.rclone("copyto", path, self.url(key))

    multipart = put

    def get(self, key, path):
        self.rclone("copyto", self.url(key), path)

    def range(self, key, first, last):
        options = ["--offset", first, "--count", last - first + 1]
        return self.rclone("cat", *options, self.url(key), text=False).stdout

    def sizes(self, prefix):
        items = json.loads(self.rclone("lsjson", "-R", "--files-only", self.url(prefix)).stdout)
        return {prefix + item["Path"]: item["Size"] for item in items}

    def copy(self, source, target):
        self.rclone("copyto", self.url(source), self.url(target))

    def delete(self, key):
        self.rclone("deletefile", self.url(key))

    def sync_up(self, folder, prefix):
        self.rclone("sync", folder, self.url(prefix))

    def sync_down(self, prefix, folder):
        self.rclone("sync", self.url(prefix), folder)

    def compare(self, folder, prefix, *options):
        return self.rclone("check", *options, folder, self.url(prefix), check=False)


class RcloneDebian(Rclone):
    """Before its move to the second SDK for Go."""

    name = "rclone 1.60 (Debian)"

    def program(self):
        return system("rclone")


class S5cmd(Client):
    name = "s5cmd"

    def s5cmd(self, *arguments):
        return self.front.s5cmd(*arguments).stdout

    def find_version(self):
        environment("s5cmd")
        return self.s5cmd("version").split("-")[0].strip().lstrip("v")

    def put(self, path, key):
        self.s5cmd("cp", path, self.url(key))

    def multipart(self, path, key):
        self.s5cmd("cp", "--part-size", 5, path, self.url(key))

    def get(self, key, path):
        self.s5cmd("cp", "--part-size", 5, self.url(key), path)

    def sizes(self, prefix):
        items = [json.loads(line) for line in self.s5cmd("--json", "ls", self.url(prefix) + "*").splitlines()]
        return {item["key"].removeprefix(self.url("")): item.get("size", 0) for item in items}

    def copy(self, source, target):
        self.s5cmd("cp", self.url(source), self.url(target))

    def delete(self, key):
        self.s5cmd("rm", self.url(key))

    def sync_up(self, folder, prefix):
        self.s5cmd("sync", "--delete", f"{folder}/", self.url(prefix))

    def sync_down(self, prefix, folder):
        self.s5cmd("sync", "--delete", self.url(prefix) + "*", f"{folder}/")


class S3cmd(Client):
    name = "s3cmd"

    def find_version(self):
        environment("s3cmd")
        return self.front.s3cmd("--version").stdout.split()[-1]

    def put(self, path, key):
        self.front.s3cmd("put", path, self.url(key))

    multipart = put

    def get(self, key, path):
        self.front.s3cmd("get", "--force", self.url(key), path)

    def range(self, key, first, last):
        # It has ranges for going on with a download only: from `first` to the end.
        path = self.folder / "range"
        path.write_bytes(bytes(first))
        self.front.s3cmd("get", "--continue", self.url(key), path)
        return path.read_bytes()[first : last + 1]

    def sizes(self, prefix):
        lines = self.front.s3cmd("ls", "--recursive", self.url(prefix)).stdout.splitlines()
        rows = [line.split(maxsplit=3) for line in lines]
        return {row[3].removeprefix(self.url("")): int(row[2]) for row in rows}

    def copy(self, source, target):
        self.front.s3cmd("cp", self.url(source), self.url(target))

    def delete(self, key):
        self.front.s3cmd("del", self.url(key))

    def sync_up(self, folder, prefix):
        self.front.s3cmd("sync", "--delete-removed", f"{folder}/", self.url(prefix))

    def sync_down(self, prefix, folder):
        folder.mkdir(exist_ok=True)
        self.front.s3cmd("sync", "--delete-removed", self.url(prefix), f"{folder}/")


class Restic(Client):
    name = "restic"
    opaque = True
    smallest = MIB

    def restic(self, key, *arguments):
        env = {
            **self.front.env(),
            "RESTIC_REPOSITORY": f"s3:{self.front.url}/{self.bucket}/{quote(key)}",
            "RESTIC_PASSWORD": "correct horse",
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
        }
        ca = ["--cacert", self.front.ca] if self.front.ca else []
        return self.front.run([environment("restic"), *ca, "-o", "s3.bucket-lookup=path", *arguments], env=env)

    def find_version(self):
        return self.front.run([environment("restic"), "version"]).stdout.split()[1]

    def put(self, path, key):
        if not self.front.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"{key}/config").get("Contents"):
            self.restic(key, "init")
        self.restic(key, "backup", path)
        self.restic(key, "check", "--read-data")

    multipart = put

    def get(self, key, path):
        out = self.folder / "restored"
        self.restic(key, "restore", "latest", "--target", out)
        (found,) = [entry for entry in out.rglob("*") if entry.is_file()]
        found.replace(path)
        shutil.rmtree(out)

    def delete(self, key):
        self.restic(key, "forget", "--prune", "--keep-last", "1", "--group-by", "host")
        self.restic(key, "check")


class Duplicity(Client):
    name = "duplicity"
    full = True
    opaque = True
    smallest = MIB

    def duplicity(self, *arguments):
        system("duplicity")
        env = {**self.front.env(), "LC_ALL": "C.UTF-8"}
        options = ["--no-encryption", "--volsize", 6, "--s3-endpoint-url", self.front.url, "--archive-dir", self.folder / "a"]
        return self.front.run([system("duplicity"), *arguments, *options], env=env)

    def find_version(self):
        return self.front.run([system("duplicity"), "--version"]).stdout.split()[1]

    def url(self, key):
        return f"boto3+s3://{self.bucket}/{key}"

    def put(self, path, key):
        source = self.folder / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        shutil.copy(path, source / "file")
        # Backups are named by the second: two within one would be one.
        time.sleep(1)
        self.duplicity("full", source, self.url(key))
        self.duplicity("verify", "--compare-data", self.url(key), source)

    multipart = put

    def get(self, key, path):
        out = self.folder / "restored"
        self.duplicity("restore", self.url(key), out)
        (out / "file").replace(path)
        shutil.rmtree(out)

    def delete(self, key):
        self.duplicity("remove-all-but-n-full", 1, "--force", self.url(key))


class S3fs(Client):
    """The FUSE file system."""

    name = "s3fs (FUSE)"
    full = True

    def find_version(self):
        program = system("s3fs")
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Missing("/dev/fuse cannot be opened here")
        self.mount = self.folder / "mount"
        self.mount.mkdir()
        secret = self.folder / "passwd"
        secret.touch(0o600)
        secret.write_text(f"{self.front.access_key}:{self.front.secret_key}")
        # It reads CURL_CA_BUNDLE only after a first try against the system's authorities: hence the tries.
        options = (
            f"passwd_file={secret},url={self.front.url},use_path_request_style,endpoint=us-east-1,multipart_size=5,"
            "enable_noobj_cache,retries=3,umask=0022"
        )
        arguments = [program, self.bucket, self.mount, "-f", "-o", options]
        self.server = Server("s3fs", arguments, self.folder, self.front.env())
        try:
            wait_until("s3fs", self._mounted, FUSE_SECONDS)
        except (TimeoutError, RuntimeError) as error:
            self.server.stop()
            raise AssertionError(f"s3fs does not mount: {self.server.tail(30)}") from error
        return self.front.run([program, "--version"]).stdout.split("V", 1)[1].split()[0]

    def _mounted(self):
        if not self.server.is_running():
            raise RuntimeError("ended")
        return os.path.ismount(self.mount)

    def close(self):
        subprocess.run(["fusermount", "-u", str(self.mount)], check=False, capture_output=True, timeout=30)
        self.server.stop()

    def _path(self, key):
        """Where a key is in the mount; its folder is there because something is in it, see `make_folder`."""
        keep = f"{key.rpartition('/')[0]}/.keep"
        self.front.s3.put_object(Bucket=self.bucket, Key=keep, Body=b"")
        return self.mount / key

    def make_folder(self, key):
        """A folder of its own: an empty object whose name ends in a slash."""
        (self.mount / key).mkdir()

    def put(self, path, key):
        shutil.copyfile(path, self._path(key))

    multipart = put

    def get(self, key, path):
        shutil.copyfile(self.mount / key, path)

    def range(self, key, first, last):
        with open(self.mount / key, "rb") as file:
            file.seek(first)
            return file.read(last - first + 1)

    def sizes(self, prefix):
        files = [path for path in (self.mount / prefix).rglob("*") if path.is_file()]
        found = {str(path.relative_to(self.mount)): path.stat().st_size for path in files}
        return {key: size for key, size in found.items() if not key.endswith("/.keep")}

    def copy(self, source, target):
        # A rename is a copy inside the store and a removal.
        os.rename(self.mount / source, self._path(target))

    def delete(self, key):
        (self.mount / key).unlink()


PROGRAMS = [AwsCli, AwsCliDebian, Rclone, RcloneDebian, S5cmd, S3cmd, Restic, Duplicity, S3fs]
