"""Promise: `sceau dev` is a whole gateway without any file, and its data outlive it.

How: the binary is started, stopped and started again; its folder is searched for plaintext.
"""

import subprocess

import pytest

from harness.fronts import Front, error_of
from harness.gateway import Dev, require_binary
from harness.process import free_port

pytestmark = pytest.mark.gateway

RUN_BYTES = 16


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


def started(folder, work, name):
    dev = Dev(work / name, folder).start()
    return dev, Front(name, dev, work / name)


def test_objects_outlive_the_process(folder, work, content, tmp_path):
    first, front = started(folder, work, "dev-first")
    bucket = front.new_bucket("kept")
    big = tmp_path / "big"
    big.write_bytes(content(20_000_003, 1))
    front.aws("s3", "cp", big, f"s3://{bucket}/big")
    front.s3.put_object(Bucket=bucket, Key="small", Body=b"small", Metadata={"m": "v"})
    open_upload = front.s3.create_multipart_upload(Bucket=bucket, Key="open")["UploadId"]
    part = front.s3.upload_part(Bucket=bucket, Key="open", UploadId=open_upload, PartNumber=1, Body=b"part")
    first.stop()
    second, front = started(folder, work, "dev-second")
    back = tmp_path / "back"
    front.aws("s3", "cp", f"s3://{bucket}/big", back)
    assert back.read_bytes() == big.read_bytes()
    answer = front.s3.get_object(Bucket=bucket, Key="small")
    assert (answer["Body"].read(), answer["Metadata"]) == (b"small", {"m": "v"})
    front.s3.complete_multipart_upload(
        Bucket=bucket, Key="open", UploadId=open_upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )  # fmt: skip
    assert front.fetch(bucket, "open") == b"part"
    assert front.listed_sizes(bucket) == {"big": big.stat().st_size, "small": 5, "open": 4}
    second.stop()


def test_objects_outlive_a_kill(folder, work, content):
    first, front = started(folder, work, "dev-killed")
    bucket = front.new_bucket("kept")
    front.s3.put_object(Bucket=bucket, Key="k", Body=content(300_000, 1))
    first.server.kill()
    second, front = started(folder, work, "dev-after-kill")
    assert front.fetch(bucket, "k") == content(300_000, 1)
    second.stop()


def test_no_plaintext_is_on_disk(folder, work, content):
    dev, front = started(folder, work, "dev-plain")
    bucket = front.new_bucket("hidden")
    text = b"The quick brown fox jumps over the lazy dog. " * 4_000
    meta = {"confession": "metadata-that-must-not-be-seen"}
    front.s3.put_object(Bucket=bucket, Key="text", Body=text, Metadata=meta, ContentType="text/x-secret-type-of-mine")
    front.s3.put_object(Bucket=bucket, Key="bytes", Body=content(500_000, 7))
    upload = {"Bucket": bucket, "Key": "parts"}
    upload["UploadId"] = front.s3.create_multipart_upload(**upload, Metadata=meta)["UploadId"]
    front.s3.upload_part(**upload, PartNumber=1, Body=text)
    searched = 0
    for state in ("running", "stopped"):
        if state == "stopped":
            dev.stop()
        known = {text[at : at + RUN_BYTES] for at in range(0, 45)}
        known |= {content(500_000, 7)[at : at + RUN_BYTES] for at in range(0, 500_000 - RUN_BYTES, 1_000)}
        known |= {b"metadata-that-mu", b"t-must-not-be-se", b"x-secret-type-of"}
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                searched += len(data)
                windows = {data[at : at + RUN_BYTES] for at in range(len(data) - RUN_BYTES + 1)}
                assert not windows & known, f"plaintext in {path}"
    assert searched > 1_000_000


def test_memory_mode_forgets(work):
    dev = Dev(work / "dev-memory", None).start()
    front = Front("memory", dev, work / "dev-memory")
    bucket = front.new_bucket("gone")
    front.s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert front.fetch(bucket, "k") == b"x"
    dev.stop()
    dev.start()
    assert error_of(front.s3.head_object, Bucket=bucket, Key="k") == "404"
    dev.stop()


def test_it_prints_an_endpoint_and_a_command_to_paste(work, tmp_path):
    import time

    port = free_port()
    command = [str(require_binary()), "dev", "--listen", f"127.0.0.1:{port}", "--access-key", "AK", "--secret-key", "SKSKSKSK"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path) as child:
        time.sleep(3)
        child.terminate()
        text = child.communicate(timeout=30)[0]
    assert f"http://127.0.0.1:{port}" in text and "AK" in text and "aws " in text
    assert "develop" in text.lower() or "throw-away" in text.lower()


def test_wrong_credentials_are_refused(work):
    dev = Dev(work / "dev-refuse", None).start()
    front = Front("refuse", dev, work / "dev-refuse")
    wrong = front.boto(secret_key="another-secret")
    assert error_of(wrong.list_buckets) == "SignatureDoesNotMatch"
    dev.stop()
