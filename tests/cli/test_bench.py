"""Promise: `sceau-bench` measures what it says, in every form of its report, and leaves a bucket as it found it.

How: it loads a gateway of `sceau dev`, which verifies every signature and seals every byte, and its own null
store. No number is judged, only that they agree with each other. Skipped where the tool is not built.
"""

import csv
import json
import os
import subprocess
import urllib.request
import xml.etree.ElementTree as xml

import jsonschema
import pytest

from harness.fronts import Front, boto
from harness.gateway import ACCESS_KEY, SECRET_KEY, Dev
from harness.process import Server, wait_until
from harness.settings import BINARY, ROOT
from harness.tls import Certificates

pytestmark = pytest.mark.gateway

TOOLS = [folder / "sceau-bench" for folder in (BINARY.parent, BINARY.parent.parent / "debug")]
TOOL = next((str(path) for path in TOOLS if path.exists()), None)
MODES = ["presigned", "signed", "unsigned-payload", "signed-chunk", "trailer", "signed-trailer"]
# Copies have a run of their own: a gateway may refuse one whose source is replaced meanwhile.
EVERYTHING = "get=20,put=20,range=10,head=10,list=10,delete=10,multipart=20"
SECONDS = 120


@pytest.fixture(scope="module")
def front(work):
    if TOOL is None:
        pytest.skip("sceau-bench is not built: cargo build -p sceau-bench")
    dev = Dev(work / "bench-dev", None).start()
    yield Front("bench-dev", dev, work / "bench-dev")
    dev.stop()


@pytest.fixture
def bucket(front):
    name = front.new_bucket("load")
    front.s3.put_object(Bucket=name, Key="sceau-bench/foreign", Body=b"not written by the tool")
    yield name
    listing = front.s3.list_objects_v2(Bucket=name)
    assert [entry["Key"] for entry in listing["Contents"]] == ["sceau-bench/foreign"]
    assert not front.s3.list_multipart_uploads(Bucket=name).get("Uploads")


@pytest.fixture(scope="module")
def schema():
    schema = json.loads((ROOT / "bench" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def bench(*arguments, code=0):
    """Runs the tool to its end and returns it."""
    env = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    done = subprocess.run([TOOL, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def report(path, schema):
    document = json.loads(path.read_text())
    schema.validate(document)
    return document


def test_a_run_has_the_same_numbers_in_every_form(front, bucket, schema, tmp_path):
    files = {form: tmp_path / f"report.{form}" for form in ("json", "csv", "html", "log")}
    done = bench("run", "mixed", "--mix", EVERYTHING, "--endpoint", front.url, "--bucket", bucket, "--size", "0,1KiB,70KiB",
                 "--part-size", "5MiB", "--objects", "5", "--requests", "150", "--concurrency", "4", "--proc", f"dev={front.server.server.pid}",
                 "--threshold", "errors<1%", "--threshold", "p99<60s", "--json", files["json"], "--csv", files["csv"],
                 "--html", files["html"], "--hdr-log", files["log"])
    found = report(files["json"], schema)
    (endpoint,) = found["endpoints"]
    assert endpoint["requests"] == 150 and endpoint["failed"] == 0
    assert {row["operation"] for row in endpoint["rows"]} == {part.split("=")[0] for part in EVERYTHING.split(",")}
    assert sum(row["requests"] for row in endpoint["rows"]) == 150
    dev = next(process for process in endpoint["processes"] if process["name"] == "dev")
    assert dev["command"] == "sceau" and dev["cpu_seconds"] > 0 and dev["resident_bytes_max"] > 1 << 20
    assert all(verdict["passed"] for verdict in found["thresholds"]) and len(found["thresholds"]) == 2
    lines = list(csv.DictReader(files["csv"].open()))
    assert sum(int(line["requests"]) for line in lines) == 150
    assert sum(int(line["bytes"]) for line in lines) == endpoint["bytes"]
    histograms = [line for line in files["log"].read_text().splitlines() if line.startswith("Tag=endpoint.")]
    assert len(histograms) == len(endpoint["rows"])
    check_page(files["html"])
    assert "150 requests" in done.stdout


@pytest.mark.parametrize("operation", ["copy", "delete"])
def test_copies_and_deletions_run_alone(front, bucket, operation):
    done = bench("run", operation, "--endpoint", front.url, "--bucket", bucket, "--size", "1KiB", "--objects", "10", "--requests", "20")
    assert "20 requests" in done.stdout


def check_page(path):
    """One well-formed document that asks nothing of anybody."""
    text = path.read_text()
    page = xml.fromstring(text.removeprefix("<!DOCTYPE html>"))
    assert len(list(page.iter("svg"))) >= 4
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in page.iter()}
    assert "url(" not in text and "@import" not in text
    assert not any(name in element.attrib for element in page.iter() for name in ("src", "href"))


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_accepted_by_a_gateway_that_verifies(front, bucket, mode):
    bench("run", "mixed", "--mix", "put=40,get=40,multipart=20", "--mode", mode, "--endpoint", front.url, "--bucket", bucket,
          "--size", "0,5,64KiB,200KiB", "--part-size", "5MiB", "--objects", "2", "--requests", "30", "--content-md5", "--warm-up", "0s")


def test_endpoints_are_compared_round_by_round(front, bucket, schema, tmp_path):
    path = tmp_path / "ab.json"
    store = Server("null", [TOOL, "null-store", "--bucket", bucket], tmp_path)
    try:
        wait_until("the null store", lambda: "listening" in store.tail(), 10)
        url = store.tail().split()[-1]
        bench("ab", "get", "--endpoint", f"null={url}", "--endpoint", f"dev={front.url}/{bucket}", "--bucket", bucket, "--rounds", "3",
              "--size", "64KiB", "--objects", "4", "--requests", "200", "--warm-up", "0s", "--proc", f"dev={front.server.server.pid}",
              "--proc", f"null={store.pid}", "--json", path, "--threshold", "dev/null:rate<100000%")
    finally:
        store.stop()
    found = report(path, schema)
    assert [endpoint["name"] for endpoint in found["endpoints"]] == ["null", "dev"]
    assert all(len(endpoint["rounds"]) == 3 and endpoint["requests"] == 600 for endpoint in found["endpoints"])
    compared = {entry["metric"]: entry for entry in found["comparisons"]}
    # CPU time too, unless the null store needed less than a clock tick.
    assert {"requests_per_second", "megabytes_per_second", "p99_micros"} <= set(compared)
    for entry in compared.values():
        assert (entry["before"], entry["after"]) == ("null", "dev")
        assert entry["low"] <= entry["ratio"] <= entry["high"]


def test_a_missed_threshold_and_a_failed_request_have_their_exit_codes(front, bucket, tmp_path):
    line = ["run", "put", "--endpoint", front.url, "--size", "10", "--requests", "5", "--warm-up", "0s"]
    done = bench(*line, "--bucket", bucket, "--threshold", "p50<0.001us", code=3)
    assert "FAILED: p50<0.001us" in done.stdout
    # What is not measured passes no gate.
    bench(*line, "--bucket", bucket, "--threshold", "cpu<100s/GB", code=3)
    bench(*line, "--bucket", "there-is-no-such-bucket", code=1)
    bench(*line, "--bucket", bucket, "--threshold", "speed<1", code=2)


def test_an_open_loop_counts_what_it_owes(front, bucket, schema, tmp_path):
    path = tmp_path / "open.json"
    bench("run", "get", "--rate", "200", "--arrival", "poisson", "--endpoint", front.url, "--bucket", bucket, "--size", "1KiB",
          "--requests", "100", "--popularity", "zipf:1.1", "--json", path)
    (endpoint,) = report(path, schema)["endpoints"]
    (row,) = endpoint["rows"]
    assert row["requests"] == 100
    # Waiting for a free worker is part of what a user waits for.
    assert row["latency_micros"]["max"] >= row["service_micros"]["max"]


def test_earlier_reports_are_compared_merged_and_shown(front, bucket, schema, tmp_path):
    one, two, both, page = (tmp_path / name for name in ("1.json", "2.json", "both.json", "page.html"))
    for path in (one, two):
        bench("run", "get", "--endpoint", front.url, "--bucket", bucket, "--size", "1KiB", "--requests", "50", "--json", path)
    done = bench("cmp", one, two, "--threshold", "p50<100000%")
    assert "p99_micros" in done.stdout and "passed" in done.stdout
    bench("cmp", one, two, "--threshold", "rate>100000%", code=3)
    bench("merge", one, two, "--json", both)
    (merged,) = report(both, schema)["endpoints"]
    assert merged["requests"] == 100 and len(merged["rounds"]) == 2
    done = bench("analyze", both, "--html", page)
    assert "100 requests" in done.stdout
    check_page(page)
    bench("run", "get", "--endpoint", front.url, "--bucket", bucket, "--size", "2KiB", "--requests", "5", "--json", two)
    bench("cmp", one, two, code=2)
    bench("merge", one, two, code=2)


def test_tls_is_verified(front, tmp_path):
    certificates = Certificates(tmp_path / "tls")
    arguments = [TOOL, "null-store", "--tls-cert", certificates.cert, "--tls-key", certificates.key]
    store = Server("null-tls", arguments, tmp_path)
    try:
        wait_until("the null store", lambda: "listening" in store.tail(), 10)
        url = store.tail().split()[-1]
        line = ["run", "mixed", "--endpoint", f"{url}/bench", "--size", "100KiB", "--requests", "20", "--warm-up", "0s"]
        bench(*line, "--ca", certificates.ca)
        done = bench(*line, code=1)
        assert "no connection" in done.stderr
    finally:
        store.stop()


def test_the_null_store_gives_back_what_a_client_wrote(front, tmp_path, content):
    store = Server("null-client", [TOOL, "null-store"], tmp_path)
    try:
        wait_until("the null store", lambda: "listening" in store.tail(), 10)
        url = store.tail().split()[-1]
        s3 = boto(url, ACCESS_KEY, SECRET_KEY)
        data = content(700_001, 1)
        s3.put_object(Bucket="bench", Key="a b", Body=data, Metadata={"m": "v"}, IfNoneMatch="*")
        with pytest.raises(s3.exceptions.ClientError, match="PreconditionFailed"):
            s3.put_object(Bucket="bench", Key="a b", Body=b"", IfNoneMatch="*")
        answer = s3.get_object(Bucket="bench", Key="a b")
        assert answer["Body"].read() == data and answer["Metadata"] == {"m": "v"}
        part = s3.get_object(Bucket="bench", Key="a b", Range="bytes=262100-600000")
        assert part["Body"].read() == data[262100:600001]
        with urllib.request.urlopen(f"{url}/-/requests") as answer:
            assert json.load(answer) == {"GET object": 2, "PUT object": 2}
        s3.delete_object(Bucket="bench", Key="a b")
        assert s3.list_objects_v2(Bucket="bench")["KeyCount"] == 0
    finally:
        store.stop()
