"""Collects the outcome of each cell, and prints the matrix at the end of the run."""

import base64
import os
import time
from pathlib import Path

import pytest

from clients.matrix.client import Client, Missing
from clients.matrix.gaps import GAPS
from clients.matrix.results import FILE, STORE, Results
from harness import settings

RESULTS = Results()
RESULTS.gaps = frozenset((client, action) for client, actions in GAPS.items() for action in actions)


def _cell(item):
    """The (client, action) of a test, if it is one of the matrix."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    client = parameters.get("client")
    if client is None:
        return None
    return client.name, parameters.get("action") or item.get_closest_marker("action").args[0]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    cell = _cell(item)
    if cell is None:
        return
    if report.when == "call":
        RESULTS.spent(cell[0], report.duration)
    if report.failed:
        RESULTS.add(*cell, "fails", str(report.longrepr).strip().splitlines()[-1][:300])
    elif report.skipped and hasattr(report, "wasxfail"):
        RESULTS.add(*cell, "fails", report.wasxfail.removeprefix("reason: "), known=True)
    elif report.skipped:
        RESULTS.add(*cell, "skipped", str(report.longrepr[2]).removeprefix("Skipped: "))
    elif report.when == "call":
        RESULTS.add(*cell, "ok")


@pytest.fixture(scope="session")
def target(_fronts):
    """The gateway over https; or the bare store, to try the matrix itself."""
    return _fronts("store" if settings.DIRECT else "https")


@pytest.fixture(scope="session")
def _started(target, work):
    """Each client, started when the first cell asks for it."""
    made = {}

    def start(kind):
        if kind not in made:
            begin = time.monotonic()
            try:
                made[kind] = kind(target, work / "matrix" / kind.__name__)
                RESULTS.versions[kind.name] = made[kind].version
            except (Missing, AssertionError) as error:
                made[kind] = error
            RESULTS.spent(kind.name, time.monotonic() - begin)
        return made[kind]

    yield start
    for client in made.values():
        if isinstance(client, Client):
            client.close()


@pytest.fixture
def it(client, _started):
    """The running client."""
    started = _started(client)
    if isinstance(started, Missing):
        pytest.skip(f"{client.name}: {started}")
    if isinstance(started, AssertionError):
        raise started
    return started


@pytest.fixture
def made(it, content):
    """Content that the client can carry."""

    def make(size, seed=0):
        if not it.text:
            return content(size, seed)
        lines = base64.encodebytes(b"line" + content(size, seed)).decode().splitlines()
        return "".join(f"{line}\n" for line in lines).encode()[: max(size - 1, 0)] + b"\n" * (size > 0)

    return make


def _folder(config):
    """Where results go: named by the caller, or the folder of the run."""
    named = os.environ.get("SCEAU_RESULTS")
    return Path(named) if named else config._tmp_path_factory.getbasetemp() / "results"


def pytest_sessionfinish(session):
    if RESULTS.cells and not settings.DIRECT:
        for client in {client for client, _ in RESULTS.cells}:
            for action, reason in GAPS.get(client, {}).items():
                RESULTS.add(client, action, "skipped", reason)
        RESULTS.write(_folder(session.config))


def pytest_terminal_summary(terminalreporter, config):
    if not RESULTS.cells:
        return
    front = "the bare store, http" if settings.DIRECT else "the gateway, https"
    terminalreporter.section(f"client matrix ({front}, {STORE})")
    for line in RESULTS.table():
        terminalreporter.write_line(line)
    if not settings.DIRECT:
        terminalreporter.write_line(f"written to {_folder(config) / FILE}")
