"""Whether sceau-bench and wrk find the same numbers: presigned GETs of the same objects, in turn, of one endpoint.

    SCEAU_BINARY=target/release/sceau python bench/agree.py [--size 65536] [--rounds 9] [--seconds 3] [--connections 16]

Run with the packages of tests/requirements.txt, after `cargo build --release -p sceau -p sceau-bench`; wrk is Debian's. The
endpoint is `sceau dev`, which verifies each signature and opens each object. It has the first processor and the tools have the
second: where they shared one, each would measure its own appetite. Rounds alternate; the exit code is 1 when the median ratio of the rates is off by 5 % or more.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from harness.fronts import boto  # noqa: E402
from harness.gateway import ACCESS_KEY, SECRET_KEY, Dev  # noqa: E402
from harness.settings import BINARY  # noqa: E402

BUCKET = "agree"
OBJECTS = 64
LIMIT = 0.05
# As long as those of sceau-bench: the endpoint reads them several times.
KEY = "sceau-bench/0000000000000000/endpoint/o/{:08}"
# One request after the other from a list, as a wrk script.
SCRIPT = """
local paths = {{ {paths} }}
local turn = 0
request = function()
  turn = turn % #paths + 1
  return wrk.format("GET", paths[turn])
end
"""


def by_wrk(url, script, given):
    line = ["wrk", "-t1", f"-c{given.connections}", f"-d{given.seconds}s", "--latency", "-s", script, url]
    text = subprocess.run(line, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        raise SystemExit(text)

    def micros(name):
        number, unit = re.search(rf"{name}\s+([\d.]+)(us|ms|s)\s", text).groups()
        return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]

    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), micros("50%"), micros("99%")


def by_bench(url, given):
    line = [BINARY.parent / "sceau-bench", "run", "get", "--mode", "presigned", "--endpoint", url, "--bucket", BUCKET, "--size", str(given.size),
            "--objects", str(OBJECTS), "--concurrency", str(given.connections), "--duration", f"{given.seconds}s", "--threads", "1",
            "--quiet", "--output", "json"]
    env = {**os.environ, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    done = subprocess.run([*map(str, line)], check=True, capture_output=True, text=True, env=env)
    (endpoint,) = json.loads(done.stdout)["endpoints"]
    return endpoint["requests_per_second"], endpoint["latency_micros"]["p50"], endpoint["latency_micros"]["p99"]


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--size", type=int, default=65536)
    options.add_argument("--rounds", type=int, default=9)
    options.add_argument("--seconds", type=int, default=3)
    options.add_argument("--connections", type=int, default=16)
    given = options.parse_args()
    first, second, *_ = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        # Children inherit it.
        os.sched_setaffinity(0, {first})
        dev = Dev(folder / "dev", None).start()
        os.sched_setaffinity(0, {second})
        try:
            s3 = boto(dev.url, ACCESS_KEY, SECRET_KEY)
            s3.create_bucket(Bucket=BUCKET)
            paths = []
            for number in range(OBJECTS):
                of = {"Bucket": BUCKET, "Key": KEY.format(number)}
                s3.put_object(**of, Body=os.urandom(given.size))
                paths.append(s3.generate_presigned_url("get_object", Params=of).removeprefix(dev.url))
            script = folder / "paths.lua"
            script.write_text(SCRIPT.format(paths=", ".join(json.dumps(path) for path in paths)))
            rounds = []
            for number in range(given.rounds):
                turns = [lambda: by_wrk(dev.url, script, given), lambda: by_bench(dev.url, given)]
                pair = [turns[0](), turns[1]()] if number % 2 == 0 else [turns[1](), turns[0]()][::-1]
                rounds.append(pair)
        finally:
            dev.stop()
    raise SystemExit(show(rounds, given))


def show(rounds, given):
    print(f"{BINARY}: GETs of {given.size} bytes, {given.connections} connections, {given.rounds} rounds of {given.seconds} s")
    off = 0.0
    for at, name in enumerate(["requests/s", "p50 µs", "p99 µs"]):
        wrk, own = (statistics.median(pair[side][at] for pair in rounds) for side in (0, 1))
        ratio = statistics.median(pair[1][at] / pair[0][at] for pair in rounds)
        print(f"{name:11} wrk {wrk:10.1f}  sceau-bench {own:10.1f}  ratio {ratio:.3f}")
        off = abs(ratio - 1) if at == 0 else off
    return 0 if off < LIMIT else 1


if __name__ == "__main__":
    main()
