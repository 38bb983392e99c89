"""The malicious store, gateways behind which it stands, and the list at the end."""

import pytest

from adversary.catalogue import LEDGER
from harness import settings
from harness.adversary import Adversary
from harness.fronts import Front
from harness.software import SoftwareSite
from harness.stores import EmbeddedStore


def pytest_configure(config):
    config.addinivalue_line("markers", "row(*names): the rows of the attack catalogue that a test's cases count for")


@pytest.fixture(autouse=True)
def _row(request):
    marker = request.node.get_closest_marker("row")
    LEDGER.current = marker.args if marker else ()
    yield
    LEDGER.current = ()


def pytest_terminal_summary(terminalreporter):
    if LEDGER.rows:
        terminalreporter.section("attack catalogue")
        for line in LEDGER.lines():
            terminalreporter.write_line(line)


class Hostile(Front):
    """A front whose store lies: `store` is the honest one, for changes at rest; `liar` stands before it."""

    def __init__(self, name, server, folder, liar):
        super().__init__(name, server, folder, liar.real)
        self.liar = liar


def hostile_front(work, name, store, keys='refresh = "1s"', more=""):
    liar = Adversary(store)
    site = SoftwareSite(work / f"{name}-site", liar, f"{name}-control").begin(store)
    return Hostile(name, site.start(name, keys=keys, more=more), work / name, liar), site


@pytest.fixture(scope="session")
def hostile(work, store):
    """SeaweedFS behind a liar."""
    front, site = hostile_front(work, "hostile", store)
    yield front
    site.stop()
    front.liar.stop()


@pytest.fixture(scope="session")
def exact(work):
    """The embedded store behind a liar: it keeps every name as it is."""
    if not settings.DEVSTORE:
        pytest.skip("the embedded store is not built: cargo build -p sceau-devstore --example serve")
    store = EmbeddedStore(work / "exact-store")
    front, site = hostile_front(work, "exact", store)
    yield front
    site.stop()
    front.liar.stop()
    store.stop()


@pytest.fixture
def den(hostile):
    """A fresh bucket at the liar's."""
    return hostile.new_bucket("den")
