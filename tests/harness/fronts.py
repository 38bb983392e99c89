"""What the clients talk to: a gateway over http or https, `sceau dev`, or the bare store."""

import os
import shutil
import subprocess
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from .settings import tool

REGION = "us-east-1"
# Longest run of one client program.
CLIENT_SECONDS = 300


def boto(url, access_key, secret_key, ca=None, checksums="when_supported", **config):
    """A boto3 client without retries, so that every answer is seen."""
    settings = Config(
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
        read_timeout=120,
        signature_version="s3v4",
        **config,
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=REGION,
        verify=str(ca) if ca else None,
        config=settings,
    )


def error_of(call, **arguments):
    """The S3 error code of a call that must fail."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


class Front:
    """An endpoint with credentials, and the programs configured for it."""

    def __init__(self, name, server, folder, store=None):
        self.name, self.server, self.store = name, server, store
        self.url, self.scheme, self.ca = server.url, server.url.split(":")[0], getattr(server, "ca", None)
        self.access_key, self.secret_key = server.access_key, server.secret_key
        self.host = self.url.split("//")[1]
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.s3 = self.boto()

    def __repr__(self):
        return self.name

    @property
    def is_direct(self):
        """Whether there is no gateway in between."""
        return self.store is not None and self.url == self.store.url

    def boto(self, checksums="when_supported", access_key=None, secret_key=None, **config):
        return boto(
            self.url,
            access_key or self.access_key,
            secret_key or self.secret_key,
            self.ca,
            checksums,
            **config,
        )

    def at_store(self):
        """A client at the bare store, for looking behind the gateway."""
        return boto(self.store.url, self.store.access_key, self.store.secret_key)

    def new_bucket(self, label="t"):
        """A fresh, empty bucket."""
        name = f"{label}-{uuid.uuid4().hex[:12]}"
        self.s3.create_bucket(Bucket=name)
        return name

    def env(self):
        """Environment for programs that read AWS's variables."""
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
        env.update(
            AWS_ACCESS_KEY_ID=self.access_key,
            AWS_SECRET_ACCESS_KEY=self.secret_key,
            AWS_DEFAULT_REGION=REGION,
            AWS_REGION=REGION,
            AWS_EC2_METADATA_DISABLED="true",
            AWS_CONFIG_FILE=str(self.folder / "no-aws-config"),
            AWS_SHARED_CREDENTIALS_FILE=str(self.folder / "no-aws-credentials"),
            AWS_MAX_ATTEMPTS="3",
            AWS_PAGER="",
            HOME=str(self.folder),
        )
        if self.ca:
            env.update(AWS_CA_BUNDLE=str(self.ca), SSL_CERT_FILE=str(self.ca), CURL_CA_BUNDLE=str(self.ca))
        return env

    def run(self, arguments, env=None, check=True, **options):
        """Runs a client program to its end."""
        command = [str(argument) for argument in arguments]
        options.setdefault("timeout", CLIENT_SECONDS)
        options.setdefault("text", True)
        done = subprocess.run(command, env=env or self.env(), capture_output=True, **options)
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done

    def aws(self, *arguments, **options):
        return self.run([tool("aws"), "--endpoint-url", self.url, *arguments], **options)

    def s5cmd(self, *arguments, **options):
        return self.run([tool("s5cmd"), "--endpoint-url", self.url, *arguments], **options)

    def s3cmd(self, *arguments, **options):
        config = self.folder / "s3cfg"
        lines = [
            "[default]",
            f"access_key = {self.access_key}",
            f"secret_key = {self.secret_key}",
            f"host_base = {self.host}",
            f"host_bucket = {self.host}",
            f"use_https = {self.ca is not None}",
            "signature_v2 = False",
            "bucket_location = us-east-1",
            "multipart_chunk_size_mb = 5",
        ]
        if self.ca:
            lines.append(f"ca_certs_file = {self.ca}")
        config.write_text("\n".join(lines) + "\n")
        return self.run([tool("s3cmd"), "--config", config, *arguments], **options)

    def rclone(self, *arguments, **options):
        env = {
            **self.env(),
            "RCLONE_CONFIG": str(self.folder / "no-rclone-config"),
            "RCLONE_CONFIG_GW_TYPE": "s3",
            "RCLONE_CONFIG_GW_PROVIDER": "Other",
            "RCLONE_CONFIG_GW_ACCESS_KEY_ID": self.access_key,
            "RCLONE_CONFIG_GW_SECRET_ACCESS_KEY": self.secret_key,
            "RCLONE_CONFIG_GW_ENDPOINT": self.url,
            "RCLONE_CONFIG_GW_REGION": REGION,
            "RCLONE_CONFIG_GW_FORCE_PATH_STYLE": "true",
        }
        ca = ["--ca-cert", self.ca] if self.ca else []
        return self.run([tool("rclone"), *ca, "--retries", "1", *arguments], env=env, **options)

    def restic(self, bucket, *arguments, **options):
        env = {
            **self.env(),
            "RESTIC_REPOSITORY": f"s3:{self.url}/{bucket}/restic",
            "RESTIC_PASSWORD": "correct horse",
            "RESTIC_CACHE_DIR": str(self.folder / "restic-cache"),
        }
        ca = ["--cacert", self.ca] if self.ca else []
        command = [tool("restic"), *ca, "-o", "s3.bucket-lookup=path", *arguments]
        return self.run(command, env=env, **options)

    def pyarrow(self):
        """An Arrow file system; its AWS library reads the certificate authority from a file."""
        from pyarrow import fs

        return fs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=REGION,
            scheme=self.scheme,
            endpoint_override=self.host,
            tls_ca_file_path=str(self.ca) if self.ca else None,
        )

    def listed_sizes(self, bucket):
        """Sizes by key, checked to be the same in both versions of the listing."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        second = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
        pages = self.s3.get_paginator("list_objects").paginate(Bucket=bucket)
        first = {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
        assert first == second
        return second

    def fetch(self, bucket, key, **arguments):
        return self.s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"].read()


def clear(path):
    """Removes a folder of one test."""
    shutil.rmtree(path, ignore_errors=True)
