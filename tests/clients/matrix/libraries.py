"""Python libraries: boto3, minio-py and pyarrow in this process; the rest as programs beside this file,

because they read the certificate authority from the environment or belong to another Python.
"""

import subprocess
import sys
from pathlib import Path

from clients.matrix.client import PART, Client, Driven, DrivenSdk, Missing

HERE = Path(__file__).parent


class Boto3(Client):
    name = "boto3 1.44"

    def find_version(self):
        import boto3

        self.s3 = self.front.boto()
        return boto3.__version__

    def _transfer(self):
        from boto3.s3.transfer import TransferConfig

        return TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)

    def put(self, path, key):
        self.s3.upload_file(str(path), self.bucket, key, Config=self._transfer())

    multipart = put

    def get(self, key, path):
        self.s3.download_file(self.bucket, key, str(path), Config=self._transfer())

    def range(self, key, first, last):
        return self.s3.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={first}-{last}")["Body"].read()

    def sizes(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page["Contents"]}

    def copy(self, source, target):
        self.s3.copy({"Bucket": self.bucket, "Key": source}, self.bucket, target)

    def delete(self, key):
        self.s3.delete_object(Bucket=self.bucket, Key=key)

    def presign(self, key):
        return self.s3.generate_presigned_url("get_object", Params={"Bucket": self.bucket, "Key": key})

    def presign_put(self, key):
        return self.s3.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": key})


class Boto3Debian(DrivenSdk):
    """The line of boto3 from before the checksums of 2025, in the distribution's Python."""

    name = "boto3 1.26 (Debian)"

    def command(self):
        python = "/usr/bin/python3"
        found = subprocess.run([python, "-c", "import boto3"], check=False, capture_output=True)
        if found.returncode != 0:
            raise Missing("python3-boto3 is not installed; ./test installs it")
        return [python, HERE / "drive_boto3.py"]

    def presign(self, key):
        return self.ask("presign", key=key)["url"]


class MinioPy(Client):
    name = "minio-py"

    def find_version(self):
        import minio
        import urllib3

        pool = urllib3.PoolManager(cert_reqs="CERT_REQUIRED", ca_certs=str(self.front.ca)) if self.front.ca else None
        keys = {"access_key": self.front.access_key, "secret_key": self.front.secret_key}
        self.minio = minio.Minio(
            self.front.host, **keys, secure=self.front.ca is not None, region="us-east-1", http_client=pool
        )
        return minio.__version__

    def put(self, path, key):
        self.minio.fput_object(self.bucket, key, str(path), part_size=PART)

    multipart = put

    def get(self, key, path):
        self.minio.fget_object(self.bucket, key, str(path))

    def range(self, key, first, last):
        answer = self.minio.get_object(self.bucket, key, offset=first, length=last - first + 1)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def sizes(self, prefix):
        items = self.minio.list_objects(self.bucket, prefix=prefix, recursive=True)
        return {item.object_name: item.size for item in items}

    def copy(self, source, target):
        from minio.commonconfig import CopySource

        self.minio.copy_object(self.bucket, target, CopySource(self.bucket, source))

    def delete(self, key):
        self.minio.remove_object(self.bucket, key)

    def presign(self, key):
        return self.minio.presigned_get_object(self.bucket, key)

    def presign_put(self, key):
        return self.minio.presigned_put_object(self.bucket, key)


class PyArrow(Client):
    name = "pyarrow"

    def find_version(self):
        import pyarrow

        self.files = self.front.pyarrow()
        return pyarrow.__version__

    def url(self, key):
        return f"{self.bucket}/{key}"

    def put(self, path, key):
        with self.files.open_output_stream(self.url(key)) as sink:
            sink.write(path.read_bytes())

    def multipart(self, path, key):
        # A write of more than its part size goes out in parts; small ones are gathered.
        data = path.read_bytes()
        with self.files.open_output_stream(self.url(key)) as sink:
            for start in range(0, len(data), 1 << 20):
                sink.write(data[start : start + (1 << 20)])

    def get(self, key, path):
        with self.files.open_input_stream(self.url(key)) as source:
            path.write_bytes(source.read())

    def range(self, key, first, last):
        with self.files.open_input_file(self.url(key)) as source:
            return source.read_at(last - first + 1, first)

    def sizes(self, prefix):
        from pyarrow.fs import FileSelector

        items = self.files.get_file_info(FileSelector(self.url(prefix.rstrip("/")), recursive=True))
        return {item.path.removeprefix(self.url("")): item.size for item in items if item.is_file}

    def copy(self, source, target):
        self.files.copy_file(self.url(source), self.url(target))

    def delete(self, key):
        self.files.delete_file(self.url(key))

    def write_parquet(self, key, rows, group):
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({"n": list(range(rows)), "text": [f"row {n * 7919}" for n in range(rows)]})
        pyarrow.parquet.write_table(
            table, self.url(key), filesystem=self.files, row_group_size=group, compression="none"
        )

    def read_parquet(self, key, first, last):
        import pyarrow.dataset

        n = pyarrow.dataset.field("n")
        table = pyarrow.dataset.dataset(self.url(key), filesystem=self.files, format="parquet")
        rows = table.to_table(filter=(n >= first) & (n <= last)).sort_by("n")
        return list(zip(rows["n"].to_pylist(), rows["text"].to_pylist()))


class DuckDb(Client):
    name = "duckdb"
    # It writes no object for content of no bytes, at the bare store neither.
    smallest = 1

    def find_version(self):
        import duckdb

        self.sql = duckdb.connect()
        self.sql.execute(f"LOAD '{self._extension()}'")
        front = self.front
        self.sql.execute(
            f"CREATE SECRET (TYPE s3, KEY_ID '{front.access_key}', SECRET '{front.secret_key}', REGION 'us-east-1',"
            f" ENDPOINT '{front.host}', URL_STYLE 'path', USE_SSL {str(front.ca is not None).lower()})"
        )
        # Ten thousand parts of 5 MiB: the smallest part it makes.
        self.sql.execute("SET s3_uploader_max_filesize = '50GB'")
        self.sql.execute("SET http_retries = 0")
        if front.ca:
            self.sql.execute(f"SET ca_cert_file = '{front.ca}'")
        return duckdb.__version__

    @staticmethod
    def _extension():
        """The extension as a file of its package: nothing is fetched, and its signature is checked."""
        import duckdb_extension_httpfs

        folder = Path(duckdb_extension_httpfs.__file__).parent
        return next(folder.glob("extensions/*/httpfs.duckdb_extension"))

    def put(self, path, key):
        self.sql.execute(
            f"COPY (SELECT content FROM read_blob($file)) TO '{self._quoted(key)}' (FORMAT blob)", {"file": str(path)}
        )

    def _quoted(self, key):
        return self.url(key).replace("'", "''")

    multipart = put

    def get(self, key, path):
        (row,) = self.sql.execute("SELECT content FROM read_blob($url)", {"url": self.url(key)}).fetchall()
        path.write_bytes(row[0])

    def sizes(self, prefix):
        rows = self.sql.execute("SELECT filename, size FROM read_blob($url)", {"url": self.url(prefix) + "**"}).fetchall()
        return {name.removeprefix(self.url("")): size for name, size in rows}

    def write_parquet(self, key, rows, group):
        self.sql.execute(
            f"COPY (SELECT range AS n, 'row ' || (range * 7919) AS text FROM range({rows}))"
            f" TO '{self._quoted(key)}' (FORMAT parquet, ROW_GROUP_SIZE {group}, COMPRESSION uncompressed)"
        )

    def read_parquet(self, key, first, last):
        query = "SELECT n, text FROM read_parquet($url) WHERE n BETWEEN $first AND $last ORDER BY n"
        return self.sql.execute(query, {"url": self.url(key), "first": first, "last": last}).fetchall()

    def close(self):
        self.sql.close()


class Polars(Driven):
    """Text: a line is a row."""

    name = "polars"
    text = True
    smallest = 2

    def command(self):
        return [sys.executable, HERE / "drive_polars.py"]

    def put(self, path, key):
        self.ask("put", path=path, key=key)

    multipart = put

    def get(self, key, path):
        self.ask("get", key=key, path=path)

    def write_parquet(self, key, rows, group):
        self.ask("write_parquet", key=key, rows=rows, group=group)

    def read_parquet(self, key, first, last):
        return self.ask("read_parquet", key=key, first=first, last=last)["rows"]


class Obstore(DrivenSdk):
    """The object store of Rust's Arrow, as Python sees it."""

    name = "obstore"

    def command(self):
        return [sys.executable, HERE / "drive_obstore.py"]

    def create(self, path, key):
        """Writes only where nothing is; tells whether something was."""
        return self.ask("create", path=path, key=key)["exists"]


LIBRARIES = [Boto3, Boto3Debian, MinioPy, PyArrow, DuckDb, Polars, Obstore]
