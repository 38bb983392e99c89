"""How many requests a gateway answers that each need an HSM of a given latency, by number of sessions.

    SCEAU_BINARY=target/release/sceau python bench/hsm_latency.py [--latency-ms 1] [--seconds 5] [--sessions 1,8,16]

Run with the packages of tests/requirements.txt, after `cargo build --release -p sceau -p sceau-bench` and
`cargo build -p sceau-pkcs11-shim`. A SoftHSM2 token stands behind the fault shim, which delays every
decryption; the bucket has key_cache = "off", so that each GET is one decryption. The load tool checks
every byte. Everything runs on this host and shares its processors.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness.fronts import boto  # noqa: E402
from harness.gateway import ACCESS_KEY, SECRET_KEY, Site  # noqa: E402
from harness.settings import BINARY  # noqa: E402
from harness.softhsm import FaultyToken  # noqa: E402
from harness.stores.seaweedfs import SeaweedFS  # noqa: E402

BUCKET = "never-held"


def measure(folder, store, sessions, latency_ms, seconds):
    """One gateway with so many sessions; its report by the load tool."""
    name = f"hsm-{sessions}"
    site = Site(folder / name, store, FaultyToken(folder / f"{name}-token"), f"{name}-control")
    policy = site.folder / "policy.toml"
    policy.write_text(policy.read_text() + f'\n[[bucket]]\nbuckets = ["{BUCKET}*"]\nkey_cache = "off"\n')
    site.pkcs11 = f"workers = {sessions}\n"
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    gateway = site.start(name)
    bucket = f"{BUCKET}-{sessions}"
    try:
        boto(gateway.url, ACCESS_KEY, SECRET_KEY).create_bucket(Bucket=bucket)
        site.token.faults(f"C_DecryptInit delay={latency_ms}")
        done = subprocess.run(
            [BINARY.parent / "sceau-bench", "run", "get", "--endpoint", gateway.url, "--bucket", bucket, "--size", "1KiB",
             "--objects", "32", "--concurrency", "64", "--duration", f"{seconds}s", "--output", "json"],
            env={**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY},
            capture_output=True, text=True, timeout=seconds + 120,
        )
        if done.returncode:
            raise SystemExit(f"the load tool ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout)
    finally:
        gateway.stop()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--latency-ms", type=int, default=1)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--sessions", default="1,8,16")
    options.add_argument("--raw", action="store_true", help="print the load tool's reports as well")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        store = SeaweedFS(folder / "store")
        try:
            print(f"{BINARY}: GETs of 1 KiB, 64 at once, one decryption of {given.latency_ms} ms each")
            for sessions in map(int, given.sessions.split(",")):
                report = measure(folder, store, sessions, given.latency_ms, given.seconds)
                if given.raw:
                    print(json.dumps(report))
                print(line(sessions, report))
        finally:
            store.stop()


def line(sessions, report):
    (endpoint,) = report["endpoints"]
    (row,) = endpoint["rows"]
    latency = row["latency_micros"]
    return (f"{sessions:3} sessions: {row['requests_per_second']:6.0f} requests/s, p50 {latency['p50'] / 1000:5.1f} ms, "
            f"p99 {latency['p99'] / 1000:5.1f} ms, {endpoint['failed']} failed, {endpoint['corrupt']} wrong")


if __name__ == "__main__":
    main()
