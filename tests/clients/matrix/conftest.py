"""Collects the outcome of each cell, and prints the matrix at the end of the run."""

import os
from pathlib import Path

import pytest

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
    RESULTS.seconds[cell[0]] = RESULTS.seconds.get(cell[0], 0) + report.duration
    if report.failed:
        RESULTS.add(*cell, "fails", str(report.longrepr).strip().splitlines()[-1][:300])
    elif report.skipped and hasattr(report, "wasxfail"):
        RESULTS.add(*cell, "fails", report.wasxfail.removeprefix("reason: "))
    elif report.skipped:
        RESULTS.add(*cell, "skipped", str(report.longrepr[2]).removeprefix("Skipped: "))
    elif report.when == "call":
        RESULTS.add(*cell, "ok")


@pytest.fixture(scope="session")
def cells():
    return RESULTS


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
