"""The container image, read by tools that are not ours, and its binary run inside of it."""

import json
import os
import shutil
import subprocess

import pytest

from harness.gateway import require_binary
from harness.settings import FULL, ROOT

BUILD = ROOT / "deploy/container/build"


@pytest.fixture(scope="module")
def layout(work):
    if not FULL:
        pytest.skip("slow; runs with ./test --full")
    folder = work / "container"
    folder.mkdir()
    binary = folder / "sceau"
    subprocess.run(["strip", "-o", binary, require_binary()], check=True)
    digests = [
        subprocess.run([BUILD, binary, folder / name], check=True, capture_output=True, text=True).stdout.strip()
        for name in ("image", "again")
    ]
    return folder / "image", digests


def test_the_same_inputs_give_the_same_image(layout):
    _, (first, second) = layout
    assert first == second and first.startswith("sha256:")


def test_skopeo_reads_it_and_it_does_not_run_as_root(layout):
    folder, (digest, _) = layout
    done = subprocess.run(["skopeo", "inspect", f"oci:{folder}:0.1.0"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["Digest"] == digest
    done = subprocess.run(["skopeo", "inspect", "--config", f"oci:{folder}:0.1.0"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["config"]["User"] == "65532:65532"


def test_the_binary_runs_inside_and_there_is_no_shell(layout, tmp_path):
    folder, _ = layout
    if os.geteuid() != 0 or not shutil.which("umoci"):
        pytest.skip("needs root and umoci to unpack the image")
    subprocess.run(["umoci", "unpack", "--image", f"{folder}:0.1.0", tmp_path / "bundle"], check=True, capture_output=True)
    root = tmp_path / "bundle/rootfs"
    done = subprocess.run(
        ["chroot", "--userspec=65532:65532", root, "/usr/bin/sceau", "--version"], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("sceau ")
    programs = [path for path in root.rglob("*") if path.is_file() and os.access(path, os.X_OK) and "lib" not in path.parts]
    assert [path.name for path in programs if ".so" not in path.name] == ["sceau"]
