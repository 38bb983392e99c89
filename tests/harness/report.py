"""What the differential suite found: printed at the end of the run and written for the compatibility page."""

import json
from collections import Counter, defaultdict
from pathlib import Path

from . import settings


class Report:
    """Counts by store, and for each operation what differs."""

    def __init__(self):
        self.stores = {}

    def _store(self, name):
        empty = {"cases": [], "direct": 0, "gateway": 0, "explained": 0, "unexplained": 0, "lacking": 0}
        return self.stores.setdefault(name, {**empty, "operations": {}, "areas": {}, "found": []})

    def lacks(self, name, told, reason):
        """A case that has no meaning at this store."""
        store = self._store(name)
        store["cases"].append(str(told))
        store["lacking"] += 1
        self._area(store, told)["lacking"] += 1

    def _area(self, store, told):
        return store["areas"].setdefault(told.area, Counter(cases=0, direct=0, gateway=0, lacking=0))

    def told(self, name, told, direct, gateway, found):
        """A case that was told on both sides."""
        store = self._store(name)
        store["cases"].append(str(told))
        area = self._area(store, told)
        area["cases"] += 1
        for label, side in (("direct", direct), ("gateway", gateway)):
            good = not any(step.wrong for step in side.steps.values())
            store[label] += good
            area[label] += good
        store["explained"] += sum(bool(one.reason) for one in found)
        store["unexplained"] += sum(not one.reason for one in found)
        steps = defaultdict(list)
        for one in found:
            steps[one.step].append(one)
        for step, seen in direct.steps.items():
            self._step(store, seen, gateway.steps.get(step), steps[step])
        store["found"] += [vars(one) for one in found]
        store.setdefault("wrong", []).extend(
            {"case": str(told), "step": step, "wrong": seen.wrong, "direct": direct.steps[step].wrong if step in direct.steps else "?"}
            for step, seen in gateway.steps.items()
            if seen.wrong
        )

    def _step(self, store, direct, gateway, found):
        empty = {"steps": 0, "direct": 0, "gateway": 0, "missing": 0, "reasons": []}
        seen = store["operations"].setdefault(direct.operation, empty)
        seen["steps"] += 1
        seen["direct"] += not direct.wrong
        seen["gateway"] += gateway is not None and not gateway.wrong
        seen["missing"] += direct.seen.get("status") == 501
        for reason in sorted({one.reason for one in found}):
            if reason not in seen["reasons"]:
                seen["reasons"].append(reason)

    def complete(self, cases):
        """The stores at which every case ran."""
        return [name for name, store in self.stores.items() if len(store["cases"]) == len(cases)]

    def lines(self):
        """One line for each store."""
        for name, store in self.stores.items():
            yield (
                f"{name}: {len(store['cases'])} cases, {store['lacking']} of things the store lacks; as S3 says: {store['direct']}"
                f" directly, {store['gateway']} through the gateway; differences: {store['explained']} explained,"
                f" {store['unexplained']} unexplained"
            )

    def write(self):
        """For the compatibility page."""
        if settings.RESULTS and self.stores:
            folder = Path(settings.RESULTS)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "conformance.json").write_text(json.dumps(self.stores, indent=1, default=lambda value: repr(value)[:200]) + "\n")
