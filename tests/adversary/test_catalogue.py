"""The catalogue accounts for every row of its list: here, in another suite, or not yet, with the reason."""

import re

from adversary.catalogue import ELSEWHERE, NOT_YET, ROWS
from harness.settings import ROOT


def test_every_row_has_a_case():
    here = set()
    for path in (ROOT / "tests" / "adversary").glob("test_*.py"):
        for names in re.findall(r"mark\.row\(([^)]*)\)", path.read_text()):
            here |= set(re.findall(r'"([A-Z]\d)"', names))
    assert here | set(ELSEWHERE) | set(NOT_YET) == set(ROWS)
    assert not set(NOT_YET) & (here | set(ELSEWHERE))


def test_what_other_suites_carry_is_there():
    for row, tests in ELSEWHERE.items():
        for path, name in tests:
            assert re.search(rf"(fn|def) {name}\b", (ROOT / path).read_text()), f"{row}: {name} in {path}"
