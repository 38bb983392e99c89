"""The outcome of every cell: kept in a file for the compatibility page, printed as a table.

What lives here: collecting, writing, printing. Invariant: a cell that was not tried is never `ok`.
"""

import json

from clients.matrix.client import ACTIONS

STORE = "seaweedfs"
FILE = "clients.json"
# In the printed table; a failure with its line in gaps.py is `known`.
SIGNS = {"ok": "ok", "fails": "FAILS", "skipped": "skipped", "none": "-"}


class Results:
    """Cells by (client, action)."""

    def __init__(self):
        self.cells, self.versions, self.seconds = {}, {}, {}
        # Cells that no method stands for, with their reasons in gaps.py.
        self.gaps = frozenset()

    def add(self, client, action, outcome, reason="", known=False):
        self.cells[client, action] = {"outcome": outcome, "reason": reason, "known": known}

    def spent(self, client, seconds):
        """Time of a client's start or of one of its cells."""
        self.seconds[client] = self.seconds.get(client, 0) + seconds

    def rows(self):
        return [
            {
                "client": client,
                "version": self.versions.get(client, ""),
                "store": STORE,
                "action": action,
                "outcome": cell["outcome"],
                "reason": cell["reason"],
            }
            for (client, action), cell in self.cells.items()
        ]

    def write(self, folder):
        """Cells of this run replace those of the same name of earlier ones."""
        folder.mkdir(parents=True, exist_ok=True)
        path, fresh = folder / FILE, self.rows()
        names = {(row["client"], row["action"]) for row in fresh}
        kept = json.loads(path.read_text()) if path.exists() else []
        kept = [row for row in kept if (row["client"], row["action"]) not in names]
        path.write_text(json.dumps(kept + fresh, indent=1, ensure_ascii=False) + "\n")

    def table(self):
        """Lines of text: a client a line, the actions of all clients as columns, others behind."""
        clients = list(dict.fromkeys(client for client, _ in self.cells))
        width = max(len(client) for client in clients) + 2
        yield " " * (width + 10) + " ".join(f"{action:9}" for action in ACTIONS)
        for client in clients:
            signs = [self._sign(client, action) for action in ACTIONS]
            more = [name for owner, name in self.cells if owner == client and name not in ACTIONS]
            also = ", ".join(f"{name} {self._sign(client, name)}" for name in more)
            version = self.versions.get(client, "")[:9]
            seconds = f"{self.seconds.get(client, 0):5.1f} s"
            yield f"{client:{width}}{version:10}" + " ".join(f"{sign:9}" for sign in signs) + f" {seconds}  {also}"

    def _sign(self, client, action):
        cell = self.cells.get((client, action))
        if cell is None:
            return ""
        if cell["outcome"] == "skipped" and (client, action) in self.gaps:
            return SIGNS["none"]
        return "known" if cell["known"] else SIGNS[cell["outcome"]]
