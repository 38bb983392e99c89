"""The servers that the suites share, started once and stopped by process id."""

import hashlib

import pytest

from harness import leaks, settings
from harness.fronts import Front
from harness.gateway import Dev, Site
from harness.report import Report
from harness.softhsm import Token
from harness.stores import EmbeddedStore, SeaweedFS
from harness.tls import Certificates

if settings.DIRECT:
    FRONTS = ["store", *(["devstore"] if settings.DEVSTORE else [])]
else:
    FRONTS = ["http", "https", "dev"]


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.get_closest_marker("slow") and not settings.FULL:
            item.add_marker(pytest.mark.skip(reason="slow; runs with ./test --full"))
        if item.get_closest_marker("gateway") and settings.DIRECT:
            item.add_marker(pytest.mark.skip(reason="needs the gateway; this run is against the bare store"))


DIFFERENTIAL = Report()


@pytest.fixture(scope="session")
def report():
    """What the differential suite finds."""
    return DIFFERENTIAL


def pytest_sessionfinish(session):
    """No log of any gateway of the run has a secret in it, whatever the tests did."""
    found = leaks.in_logs()
    if found:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nsecrets in logs: {found}")


def pytest_terminal_summary(terminalreporter):
    DIFFERENTIAL.write()
    if DIFFERENTIAL.stores:
        terminalreporter.section("differences between the stores and the gateway")
    for line in DIFFERENTIAL.lines():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """The folder of this run."""
    return tmp_path_factory.mktemp("sceau")


@pytest.fixture(scope="session")
def store(work):
    """SeaweedFS."""
    store = SeaweedFS(work / "seaweedfs")
    yield store
    store.stop()


@pytest.fixture(scope="session")
def certificates(work):
    return Certificates(work / "tls")


@pytest.fixture(scope="session")
def token(work):
    return Token(work / "softhsm")


@pytest.fixture(scope="session")
def site(work, store, token):
    """An enrolled site with no gateway running yet."""
    from harness.fronts import boto

    site = Site(work / "site", store, token)
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    yield site
    site.stop()


@pytest.fixture(scope="session")
def gateway_http(site):
    return site.start("gateway-http")


@pytest.fixture(scope="session")
def gateway_https(site, certificates):
    return site.start("gateway-https", certificates)


@pytest.fixture(scope="session")
def dev(work):
    dev = Dev(work / "dev", work / "dev" / "data").start()
    yield dev
    dev.stop()


@pytest.fixture(scope="session")
def _fronts(request, work):
    """Each front, started when the first test asks for it."""
    made = {}

    def front(name):
        if name not in made:
            made[name] = _front(name, request, work)
        return made[name]

    return front


def _front(name, request, work):
    folder = work / f"front-{name}"
    if name == "dev":
        return Front(name, request.getfixturevalue("dev"), folder)
    if name == "devstore":
        store = EmbeddedStore(work / "devstore")
        request.addfinalizer(store.stop)
        return Front(name, store, folder, store)
    store = request.getfixturevalue("store")
    if name == "store":
        return Front(name, store, folder, store)
    return Front(name, request.getfixturevalue(f"gateway_{name}"), folder, store)


@pytest.fixture(params=FRONTS)
def front(request, _fronts):
    """Every front in turn."""
    return _fronts(request.param)


@pytest.fixture
def plain(_fronts):
    """One gateway over http on SeaweedFS, with the store in view."""
    return _fronts("store" if settings.DIRECT else "http")


@pytest.fixture
def secure(_fronts):
    """One gateway over https on SeaweedFS, with the store in view."""
    return _fronts("https")


@pytest.fixture
def bucket(front):
    return front.new_bucket()


def pattern(length, seed=0):
    """Bytes that depend on their position and on a seed, and do not repeat within a segment."""
    block = hashlib.shake_256(seed.to_bytes(8, "big")).digest(1_048_583)
    whole, rest = divmod(length, len(block))
    return block * whole + block[:rest]


@pytest.fixture(scope="session")
def content():
    return pattern
