"""Promise: docs/compatibility.md speaks of every operation that the gateway carries out, and of the known limits.

How: the page is compared with the operation table in the code; its figures come from a run of the suites.
"""

import compatibility


def test_the_page_names_every_operation_and_limit():
    assert len(compatibility.operations()) > 80
    assert compatibility.check() == []


def test_results_become_cells():
    notes = {}
    seen = {"steps": 2, "direct": 1, "gateway": 2, "missing": 0, "reasons": []}
    differs, better = {"reason": "why", "as_s3": False}, {"reason": "better", "as_s3": True}
    assert compatibility.cell(None, [], notes) == "not tried"
    assert compatibility.cell(seen, [], notes) == "works"
    assert compatibility.cell({**seen, "missing": 2, "gateway": 0}, [], notes) == "store lacks it"
    assert compatibility.cell(seen, [differs], notes) == "differs (1)"
    assert compatibility.cell(seen, [better], notes) == "works; the store does not (2)"
    assert notes == {"why": 1, "better": 2}
