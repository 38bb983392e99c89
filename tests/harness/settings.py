"""Where things are, and which of the suites run: read once from the environment."""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The binary under test.
BINARY = Path(os.environ.get("SCEAU_BINARY", ROOT / "target" / "release" / "sceau"))
# Point the clients at the bare store, to check the suites themselves.
DIRECT = os.environ.get("SCEAU_TEST_DIRECT") == "1"
# The embedded store's example server.
DEVSTORE = os.environ.get("SCEAU_TEST_DEVSTORE") or next(
    (str(path) for path in [BINARY.parent / "examples" / "serve"] if path.exists()), None
)
# Only these stores in the differential suite, by name; empty: all.
STORES = [name for name in os.environ.get("SCEAU_TEST_STORES", "").split(",") if name]
# The folder for results from which docs/compatibility.md is made.
RESULTS = os.environ.get("SCEAU_RESULTS")
# The slow matrix.
FULL = os.environ.get("SCEAU_TEST_FULL") == "1"
# What gateways log: everything, in a full run, whose logs are then searched for secrets.
LOG_LEVEL = "trace" if FULL else "debug"
# Sizes of the memory test, in MiB, and the number of transfers at once.
MEMORY_OBJECT_MIB = int(os.environ.get("SCEAU_TEST_MEMORY_MIB", "6144" if FULL else "96"))
MEMORY_TRANSFERS = int(os.environ.get("SCEAU_TEST_MEMORY_TRANSFERS", "8"))
MEMORY_LIMIT_MIB = int(os.environ.get("SCEAU_TEST_MEMORY_LIMIT_MIB", "200"))

SOFTHSM_MODULES = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
]


def tool(name):
    """A program from the virtual environment of these tests, or from the system."""
    here = Path(sys.executable).parent / name
    found = str(here) if here.exists() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed; ./test installs it")
    return found


def softhsm_module():
    """The SoftHSM library."""
    for path in SOFTHSM_MODULES:
        if Path(path).exists():
            return path
    raise FileNotFoundError("SoftHSM is not installed; ./test installs it")


def kryoptic_module():
    """The software token of another make, or None: ./test --full builds it."""
    folders = [BINARY.parent, BINARY.parents[1] / "debug", ROOT / "target" / "debug"]
    named = os.environ.get("SCEAU_KRYOPTIC_MODULE")
    paths = [Path(named)] if named else [folder / "libsceau_test_kryoptic.so" for folder in folders]
    return next((str(path) for path in paths if path.exists()), None)


def shim_module():
    """The PKCS#11 module that injects faults."""
    name = "libsceau_pkcs11_shim.so"
    folders = [BINARY.parent, ROOT / "target" / "debug"]
    for folder in folders:
        if (folder / name).exists():
            return str(folder / name)
    raise FileNotFoundError(f"{name} is in none of {folders}: run `cargo build -p sceau-pkcs11-shim`")
