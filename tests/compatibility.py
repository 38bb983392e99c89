"""Writes docs/compatibility.md from the results of the suites.

    python compatibility.py RESULTS        conformance.json and clients.json of a run of the suites
    python compatibility.py --check        whether the page names every operation of the table

What stands in the page is measured, but for the list of limits, which is this file's.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
TABLES = [ROOT / "gateway" / "s3wire" / "src" / "op" / name for name in ("table.rs", "document.rs")]
STORES = {"seaweedfs": "SeaweedFS 4.48", "devstore": "embedded store", "juicefs": "JuiceFS gateway 1.4.2",
          "moto": "moto 5.2.5", "ceph": "Ceph RGW 16.2"}  # fmt: skip
# What each client must be able to do; others follow under the table.
ACTIONS = ["put", "get", "range", "multipart", "list", "copy", "delete", "sync"]
LIMITS = """\
- An upload has the part numbers 1 to 9 999: 10 000 is the trailer's. Programs that compute their part size to use exactly
  10 000 parts need a larger one.
- User metadata and content headers have 1 302 bytes together, since they have to fit, sealed, into the store's 2 KB.
- ETags are never the MD5 of the data. rclone: `provider = Other` or `use_multipart_etag = false`, since the ETag of an upload
  cannot be predicted from its parts. s3cmd: compares sizes.
- A part is at most 5 366 088 854 bytes, an object of one PUT 5 GiB.
- Lifecycle filters by size, notifications, inventories and logs of the store see stored sizes and the store's ETags.
- Ceph 16 answers CompleteMultipartUpload with an empty ETag, directly as through the gateway.
- Ceph 16 and JuiceFS lack conditional writes: `store.conditional_writes = false`, and one gateway only.
- SeaweedFS and JuiceFS make folders of objects whose names end in a slash, and keep no content and no metadata:
  `store.folder_markers = "plain"`, which takes empty ones, without a seal, and refuses others (501).
- SeaweedFS and JuiceFS take two slashes in a name for one. The gateway refuses the other object that they answer with.
- JuiceFS cannot hold a name and another one below it (`a` and `a/b`), as the control bucket has for parts below 5 MiB: uploads with
  such a part, most last ones, fail there with 503. It cannot be used behind the gateway for uploads.

More on each: [clients.md](clients.md), [operations.md](operations.md).
"""


def operations():
    """Names of the operations that the gateway carries out, in the order of its table."""
    table, documents = (path.read_text() for path in TABLES)
    names = re.findall(r'^    name: "(\w+)"', table, re.M)
    return names + re.findall(r"^    (\w+) = \"[A-Z]+\"", documents, re.M)


def cell(seen, found, notes):
    """One operation at one store, from its counts and its differences."""
    if seen is None:
        return "not tried"
    if seen["missing"] and seen["gateway"] == 0:
        return "store lacks it"

    def marks(as_s3):
        reasons = {one["reason"] for one in found if one["as_s3"] == as_s3}
        return ", ".join(map(str, sorted(notes.setdefault(reason, len(notes) + 1) for reason in sorted(reasons))))

    words = [f"differs ({marks(False)})"] if marks(False) else ["works"]
    return "; ".join(words + ([f"the store does not ({marks(True)})"] if marks(True) else []))


def operation_table(results):
    """A line for each operation, a column for each store, and the reasons below."""
    stores = [name for name in STORES if name in results]
    notes, lines = {}, ["| Operation | " + " | ".join(STORES[name] for name in stores) + " |", "| --- " * (len(stores) + 1) + "|"]
    for name in operations():
        cells = []
        for store in stores:
            found = [one for one in results[store]["found"] if one["operation"] == name]
            cells.append(cell(results[store]["operations"].get(name), found, notes))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines + ["", "Reasons:", ""] + [f"{number}. {reason}" for reason, number in notes.items()]


def count_table(results):
    lines = ["| Store | Cases | The store lacks it | As S3 says, directly | As S3 says, through the gateway | Differences explained | Unexplained |",
             "| --- " * 7 + "|"]  # fmt: skip
    for name, title in STORES.items():
        if name in results:
            seen = results[name]
            numbers = (len(seen["cases"]), *(seen[key] for key in ("lacking", "direct", "gateway", "explained", "unexplained")))
            lines.append(f"| {title} | " + " | ".join(map(str, numbers)) + " |")
    return lines


def client_table(rows):
    """A line for each client; reasons of what fails or was not tried below."""
    if not rows:
        return ["No results of the client matrix were at hand."]
    clients = list(dict.fromkeys((row["client"], row["version"]) for row in rows))
    cells = {(row["client"], row["action"]): row for row in rows}
    others = [action for action in dict.fromkeys(row["action"] for row in rows) if action not in ACTIONS]
    actions = ACTIONS + others
    lines = ["| Client | " + " | ".join(actions) + " |", "| --- " * (len(actions) + 1) + "|"]
    reasons = {}
    for client, version in clients:
        line = []
        for action in actions:
            row = cells.get((client, action))
            mark = row["outcome"] if row else "-"
            if row and row["outcome"] != "ok" and row.get("reason"):
                mark += f" ({reasons.setdefault(row['reason'], len(reasons) + 1)})"
            line.append(mark)
        lines.append(f"| {client} {version} | " + " | ".join(line) + " |")
    return lines + [""] + [f"{number}. {reason}" for reason, number in reasons.items()]


def page(results, clients):
    return "\n".join(
        [
            "# Compatibility",
            "",
            "Made by `tests/compatibility.py` from a run of `./test --full`; do not edit. What each operation does and what differs from",
            "S3 by design: [clients.md](clients.md). The list of allowed differences: `tests/conformance/allowed.toml`.",
            "",
            "## Stores",
            "",
            "Each case runs directly at the store and through the gateway before it. It states what S3 answers; statuses, codes, headers",
            "and bodies of both sides are compared, with ids, dates, entity tags and bucket names by the order of their appearance.",
            "",
            *count_table(results),
            "",
            "**works**: through the gateway as at the store. **differs**: the two answers differ in some step, for the numbered reasons.",
            "**the store does not**: in some step the gateway answers as S3 does, and the store alone does not. **not tried**: no case",
            "in this suite; other suites try some of these.",
            "",
            *operation_table(results),
            "",
            "## Clients",
            "",
            "Over HTTPS, SeaweedFS behind the gateway.",
            "",
            *client_table(clients),
            "",
            "## Known limits",
            "",
            LIMITS,
        ]
    )


def check():
    """What the page lacks: operations, limits."""
    text = PAGE.read_text()
    missing = [name for name in operations() if f"\n| {name} |" not in text]
    return missing + ([] if LIMITS in text else ["the list of limits"])


def main(arguments):
    if arguments == ["--check"]:
        missing = check()
        print("\n".join(f"{name} is missing: make the page again" for name in missing) or "the page is complete")
        return 1 if missing else 0
    folder = Path(arguments[0])
    read = lambda name: json.loads((folder / name).read_text()) if (folder / name).exists() else None  # noqa: E731
    PAGE.write_text(page(read("conformance.json") or {}, read("clients.json") or []))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
