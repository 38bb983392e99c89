"""Promise: programs nobody here wrote store and read files through the gateway, with right sizes.

How: each program moves a folder of awkward files in and out; contents and listed sizes are compared.
"""

import json

import pytest

from harness.fronts import clear

MIB = 1024 * 1024
# Empty, one byte, around the segment border, and larger than the programs' multipart thresholds.
FILES = {
    "empty": 0,
    "one": 1,
    "segment-less": 65_535,
    "segment": 65_536,
    "segment-more": 65_537,
    "deep/er/small file.txt": 1_234,
    "deep/large.bin": 17 * MIB + 3,
}


@pytest.fixture(scope="session")
def folder(work, content):
    """The files on disk."""
    root = work / "files"
    for seed, (name, size) in enumerate(FILES.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(size, seed))
    return root


@pytest.fixture
def back(tmp_path):
    """Where files come back to."""
    yield tmp_path / "back"
    clear(tmp_path / "back")


def same(folder, back, names=FILES):
    for name in names:
        assert (back / name).read_bytes() == (folder / name).read_bytes(), name


def test_aws_cli_copies_lists_and_removes(front, bucket, folder, back):
    for name, size in [("one", 1), ("deep/large.bin", FILES["deep/large.bin"])]:
        front.aws("s3", "cp", folder / name, f"s3://{bucket}/{name}")
        listing = front.aws("s3", "ls", f"s3://{bucket}/{name}").stdout
        assert f" {size} " in f" {listing} "
        front.aws("s3", "cp", f"s3://{bucket}/{name}", back / name)
        front.aws("s3", "rm", f"s3://{bucket}/{name}")
        assert front.aws("s3", "ls", f"s3://{bucket}/{name}", check=False).stdout == ""
    same(folder, back, ["one", "deep/large.bin"])


def test_aws_cli_syncs_both_ways_and_finds_nothing_more_to_do(front, bucket, folder, back):
    front.aws("s3", "sync", folder, f"s3://{bucket}/tree")
    assert front.listed_sizes(bucket) == {f"tree/{name}": size for name, size in FILES.items()}
    assert front.aws("s3", "sync", folder, f"s3://{bucket}/tree").stdout.strip() == ""
    front.aws("s3", "sync", f"s3://{bucket}/tree", back)
    same(folder, back)
    assert front.aws("s3", "sync", f"s3://{bucket}/tree", back).stdout.strip() == ""
    front.aws("s3", "mv", f"s3://{bucket}/tree/one", f"s3://{bucket}/moved")
    front.aws("s3", "cp", f"s3://{bucket}/tree/deep/large.bin", f"s3://{bucket}/copy.bin")
    assert front.fetch(bucket, "copy.bin") == (folder / "deep/large.bin").read_bytes()
    front.aws("s3", "rm", "--recursive", f"s3://{bucket}/")
    assert front.listed_sizes(bucket) == {}


def test_rclone_copies_checks_and_syncs(front, bucket, folder, back):
    remote = f"gw:{bucket}/tree"
    front.rclone("copy", "--s3-upload-cutoff", "6M", "--s3-chunk-size", "5M", folder, remote)
    assert front.listed_sizes(bucket) == {f"tree/{name}": size for name, size in FILES.items()}
    front.rclone("check", "--download", folder, remote)
    front.rclone("check", "--size-only", folder, remote)
    sizes = {item["Path"]: item["Size"] for item in json.loads(front.rclone("lsjson", "-R", "--files-only", remote).stdout)}
    assert sizes == FILES
    front.rclone("sync", remote, back)
    same(folder, back)
    again = front.rclone("sync", "--dry-run", "-v", folder, remote)
    assert "Skipped copy" not in again.stderr
    (back / "one").unlink()
    front.rclone("sync", back, remote)
    assert "tree/one" not in front.listed_sizes(bucket)


def test_s5cmd_copies_and_lists(front, bucket, folder, back):
    front.s5cmd("cp", "--part-size", "5", f"{folder}/*", f"s3://{bucket}/tree/")
    lines = front.s5cmd("ls", f"s3://{bucket}/tree/*").stdout.splitlines()
    sizes = {line.split(maxsplit=3)[3]: int(line.split(maxsplit=3)[2]) for line in lines}
    assert sizes == FILES
    front.s5cmd("cp", f"s3://{bucket}/tree/*", f"{back}/")
    same(folder, back)
    front.s5cmd("rm", f"s3://{bucket}/tree/*")
    assert front.listed_sizes(bucket) == {}


def test_s3cmd_puts_syncs_and_gets(front, bucket, folder, back):
    back.mkdir()
    front.s3cmd("put", folder / "deep/large.bin", f"s3://{bucket}/large")
    front.s3cmd("get", f"s3://{bucket}/large", back / "large")
    assert (back / "large").read_bytes() == (folder / "deep/large.bin").read_bytes()
    front.s3cmd("sync", f"{folder}/", f"s3://{bucket}/tree/")
    sizes = front.listed_sizes(bucket)
    assert {name: sizes[f"tree/{name}"] for name in FILES} == FILES
    listing = front.s3cmd("ls", "--recursive", f"s3://{bucket}/tree/deep/").stdout
    assert f" {FILES['deep/large.bin']} " in listing
    front.s3cmd("sync", f"s3://{bucket}/tree/", f"{back}/")
    same(folder, back)
    front.s3cmd("del", "--recursive", "--force", f"s3://{bucket}/")
    assert front.listed_sizes(bucket) == {}


def test_restic_backs_up_checks_and_restores(front, bucket, folder, back):
    clear(front.folder / "restic-cache")
    front.restic(bucket, "init")
    front.restic(bucket, "backup", str(folder))
    front.restic(bucket, "check", "--read-data")
    front.restic(bucket, "restore", "latest", "--target", str(back))
    same(folder, back / str(folder).lstrip("/"))
    assert "1 snapshots" in front.restic(bucket, "snapshots").stdout
    front.restic(bucket, "forget", "--keep-last", "1", "--prune")
    front.restic(bucket, "check")


def test_parquet_is_written_and_read_by_its_footer(front, bucket):
    import pyarrow
    import pyarrow.dataset
    import pyarrow.parquet

    files = front.pyarrow()
    rows = 300_000
    table = pyarrow.table({"n": list(range(rows)), "text": [f"row {n % 1000}" for n in range(rows)]})
    path = f"{bucket}/set/part-0.parquet"
    pyarrow.parquet.write_table(table, path, filesystem=files, row_group_size=50_000)
    size = front.listed_sizes(bucket)["set/part-0.parquet"]
    assert files.get_file_info(path).size == size
    with files.open_input_file(path) as source:
        assert source.size() == size
        read = pyarrow.parquet.ParquetFile(source)
        assert read.metadata.num_rows == rows
        assert read.read_row_group(3, columns=["n"])["n"][0].as_py() == 150_000
    whole = pyarrow.dataset.dataset(f"{bucket}/set", filesystem=files, format="parquet").to_table()
    assert whole.sort_by("n").equals(table)


def test_arrow_streams_more_than_one_part(front, bucket, content):
    files = front.pyarrow()
    data = content(23 * MIB + 7, 9)
    with files.open_output_stream(f"{bucket}/stream") as sink:
        for start in range(0, len(data), MIB):
            sink.write(data[start : start + MIB])
    assert front.listed_sizes(bucket) == {"stream": len(data)}
    with files.open_input_file(f"{bucket}/stream") as source:
        assert source.read_at(100, 10 * MIB - 50) == data[10 * MIB - 50 : 10 * MIB + 50]
        source.seek(0)
        assert source.read() == data
