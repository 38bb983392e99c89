"""Promise: through the gateway S3 is what it is without it, save for a list of reasoned differences.

How: each case of cases/ runs directly at the store and through the gateway; statuses, codes, headers and
bodies are compared after names that must differ (ids, dates, entity tags) are made comparable. Each case
also says what S3 answers, so that a difference shows whose it is. allowed.toml has what may differ.
"""

import importlib
from pathlib import Path

import pytest
from harness import settings
from harness.differential import CASES, STATUS, Allowed, Bench, differences
from harness.gateway import Site
from harness.softhsm import Token
from harness.stores import STORES

pytestmark = pytest.mark.gateway

for module in sorted(Path(__file__).with_name("cases").glob("[a-z]*.py")):
    importlib.import_module(f"conformance.cases.{module.stem}")

# These come from Debian packages that only ./test --full installs.
SLOW = {"ceph"}
STORE_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
    for name in STORES
    if not settings.STORES or name in settings.STORES
]
ALLOWED = Allowed()
LACKS = Allowed.lacks()


@pytest.fixture(scope="session")
def benches(request, work):
    """Each store with a gateway before it, started when the first case asks for it."""
    made = {}

    def bench(name):
        if name not in made:
            made[name] = _bench(name, request, work)
        return made[name]

    return bench


def _bench(name, request, work):
    from harness.fronts import boto

    folder = work / f"differential-{name}"
    folder.mkdir()
    if name == "seaweedfs":
        store = request.getfixturevalue("store")
    else:
        store = STORES[name](folder / "store")
        request.addfinalizer(store.stop)
    site = Site(folder / "site", store, Token(folder / "softhsm"), "sceau-control-differential")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    site.enrol()
    request.addfinalizer(site.stop)
    return Bench(store, site.start("gateway"))


@pytest.mark.parametrize("told", CASES, ids=str)
@pytest.mark.parametrize("name", STORE_PARAMETERS)
def test_the_gateway_answers_as_the_store_does(benches, report, name, told):
    lacking = LACKS.get(name, {}).get(told.bucket)
    if lacking:
        report.lacks(name, told, lacking)
        return
    direct, gateway = benches(name).sides(told)
    told.tell(direct)
    told.tell(gateway)
    found = list(differences(told, direct, gateway))
    unexplained = [difference for difference in found if not ALLOWED.explain(name, difference)]
    report.told(name, told, direct, gateway, found)
    lines = [
        f"{one.step} | {one.field}{' (as S3 says)' if one.as_s3 else ''}\n"
        f"   store:   {_shown(one.direct)}\n   gateway: {_shown(one.gateway)}"
        for one in unexplained
    ]
    assert not unexplained, "\n" + "\n".join(lines)


def _shown(value):
    """A value short enough to read."""
    return repr(value) if len(repr(value)) < 400 else repr(value)[:400] + " …"


def test_every_allowed_difference_has_a_reason_and_happens(report):
    assert all(len(entry["reason"]) > 10 for entry in ALLOWED.entries)
    assert all(set(entry["store"]) <= {"*", *STORES} for entry in ALLOWED.entries)
    complete = report.complete(CASES)
    if not complete:
        pytest.skip("not every case of a store ran")
    all_ran = set(complete) >= set(STORES) - SLOW
    assert not list(ALLOWED.stale(complete, all_ran))


def test_there_are_enough_cases_with_names_of_their_own():
    names = [str(told) for told in CASES]
    assert len(set(names)) == len(names) >= 400
    assert STATUS["NoSuchKey"] == 404
