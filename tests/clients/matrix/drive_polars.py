"""polars: it trusts the authority that SSL_CERT_FILE names. A file of text is a column of lines."""

import os
import sys

# The smallest parts that S3 takes.
os.environ.setdefault("POLARS_UPLOAD_CHUNK_SIZE", str(5 << 20))

import polars
from drive import serve

url, bucket = sys.argv[1:3]
options = {"endpoint_url": url, "aws_virtual_hosted_style_request": "false", "aws_allow_http": str(url.startswith("http:"))}


def at(key):
    return f"s3://{bucket}/{key}"


def version():
    return {"version": polars.__version__}


def put(path, key):
    with open(path, encoding="ascii") as source:
        lines = polars.DataFrame({"line": source.read().splitlines()}, schema={"line": polars.String})
    lines.write_csv(at(key), include_header=False, quote_style="never", storage_options=options)


def get(key, path):
    lines = polars.read_csv(at(key), has_header=False, separator="\t", quote_char=None, infer_schema=False, storage_options=options)
    with open(path, "w", encoding="ascii") as output:
        output.writelines(f"{line}\n" for line in lines.to_series())


def write_parquet(key, rows, group):
    """A table of numbers, in groups of rows."""
    frame = polars.LazyFrame({"n": range(int(rows))}).with_columns(text=polars.format("row {}", polars.col("n") * 7919))
    frame.sink_parquet(at(key), row_group_size=int(group), compression="uncompressed", storage_options=options)


def read_parquet(key, first, last):
    """Rows of a table whose number lies in a range, by a predicate that skips groups of rows."""
    n = polars.col("n")
    scan = polars.scan_parquet(at(key), storage_options=options).filter(n.is_between(int(first), int(last)))
    return {"rows": scan.sort("n").collect().rows()}


serve(
    {
        "version": version, "put": put, "get": get, "write_parquet": write_parquet, "read_parquet": read_parquet,
    }
)  # fmt: skip
