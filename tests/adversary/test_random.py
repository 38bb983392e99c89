"""Promise: whatever a store does, in whatever order, no answer is wrong: no byte, no length, no metadata, no tag.

How: `random_mode.py` for a while with a fixed seed; with --full, ten minutes. It prints what it did.
"""

import pytest

from adversary import random_mode
from adversary.catalogue import LEDGER
from harness import settings

pytestmark = pytest.mark.gateway
SECONDS = 600 if settings.FULL else 20


def test_no_answer_is_wrong_under_mutations_at_random(exact):
    counts = random_mode.run(exact, seed=20_261_122, seconds=SECONDS)
    print(dict(counts))
    LEDGER.total["random operations"] += counts["operations"]
    LEDGER.total["random mutations"] += counts["mutations at rest"] + counts["mutations on the way"]
    assert counts["operations"] and counts["mutations at rest"] and counts["mutations on the way"]
    assert counts["reads refused"] and counts["reads right"]
