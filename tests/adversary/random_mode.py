"""Random mode: S3 operations and mutations of a malicious store, composed at random, against a model.

What lives here: the model, the operations, the mutations and the judge of answers. The property: every answer is the
honest one, an error, or a broken-off connection; under a mutation a *whole* older state of the same name may come
back, or nothing (level R0), and nothing else ever. Where nothing was mutated, the answer must be the honest one.

For as long as told, from any seed (an episode is a bucket and 300 steps, its seed is SEED + its number):

    cd tests && ../.venv/bin/python -m adversary.random_mode --seconds 1800 --seed 1

An episode that failed prints its seed; `--seed THAT --episodes 1` plays it again.
"""

import argparse
import itertools
import json
import random
import tempfile
import time
import urllib.parse
import xml.etree.ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from adversary.victim import HEADER
from harness.adversary import Answer
from harness.raw import Endpoint

MIN = 5 * 1024 * 1024
STEPS = 300
KEYS = ("k0", "k1", "dir/k2", "dir/k3", "\u00e9")
SIZES = (0, 1, 31, 500, 65_535, 65_536, 65_537, 70_000, 131_072, 150_001)
TYPES = ("text/plain", "application/json", "binary/octet-stream")


@dataclass(frozen=True)
class Version:
    """What a client wrote."""

    plain: bytes = field(repr=False)
    kind: str
    note: str


@dataclass
class Name:
    """What is known of one name. `current`: what an honest store has; `doubt`: whether anything else may be there."""

    current: Version = None
    tags: tuple = ()
    history: list = field(default_factory=list)
    tag_sets: list = field(default_factory=lambda: [()])
    stored: list = field(default_factory=list)
    doubt: bool = False

    def write(self, version):
        self.history.append(version)
        self.tag_sets.append(())


class Wrong(AssertionError):
    """An answer that is neither honest, nor an error, nor broken off."""


class Episode:
    """One bucket, one seed."""

    def __init__(self, front, seed, counts):
        self.front, self.rng, self.counts, self.seed = front, random.Random(seed), counts, seed
        self.client, self.store = Endpoint.of(front), Endpoint(front.store.url, front.store.access_key, front.store.secret_key)
        self.liar, self.bucket = front.liar, front.new_bucket("random")
        self.names = {key: Name() for key in KEYS}
        self.trace, self.lie, self.others = [], None, []

    # --- the sequence ---------------------------------------------------------------------------

    def play(self, steps=STEPS):
        acts = [(self.put, 5), (self.upload, 1), (self.copy, 2), (self.rewrite, 1), (self.delete, 1), (self.get, 8), (self.get_range, 8),
                (self.head, 3), (self.list, 1), (self.put_tags, 1), (self.get_tags, 2), (self.mutate, 7)]  # fmt: skip
        choices, weights = zip(*acts)
        for number in range(steps):
            (act,) = self.rng.choices(choices, weights)
            key = self.rng.choice(KEYS)
            self.lie = self.plan_lie() if act not in (self.mutate,) and self.rng.random() < 0.25 else None
            self.trace.append(f"{number} {act.__name__} {key!r} {self.lie or ''}")
            with self.liar.lying(*self.rules()):
                act(key)
            self.counts["operations"] += act != self.mutate

    def send(self, method, key, query=(), headers=None, body=b""):
        return self.client.send(method, f"/{self.bucket}" + (f"/{key}" if key else ""), query, headers, body)

    def at_store(self, method, key, query=(), headers=None, body=b""):
        return self.store.send(method, f"/{self.bucket}/{key}", query, headers, body)

    def wrong(self, what):
        trace = "\n  ".join(self.trace[-12:])
        raise Wrong(f"seed {self.seed}: {what}\n  {trace}\nagain: --seed {self.seed} --episodes 1")

    # --- writes ---------------------------------------------------------------------------------

    def version(self):
        plain = self.rng.randbytes(self.rng.choice(SIZES))
        return Version(plain, self.rng.choice(TYPES), str(self.rng.randrange(1_000)))

    @staticmethod
    def headers_of(version):
        return {"content-type": version.kind, "x-amz-meta-note": version.note}

    def wrote(self, key, version, answer, doubt=False):
        """What follows from the answer to a write."""
        name, done = self.names[key], answer is not None and answer.status == 200
        if not done and self.lie is None and not doubt:
            self.wrong(f"an honest store, and the write was answered {answer}")
        name.write(version)
        if done and not doubt:
            name.current, name.tags = version, ()
        name.doubt = self.lie is not None or doubt or not done
        if done and self.lie is None:
            self.keep(key)

    def keep(self, key):
        """What the store has of a name, for bringing it back later."""
        answer = self.at_store("GET", key)
        if answer.status != 200:
            return
        tags = self.at_store("GET", key, [("tagging", "")])
        name = self.names[key]
        name.stored = [*name.stored[-5:], (answer.body, answer.headers.get(f"x-amz-meta-{HEADER}", ""), stored_tags(tags))]

    def put(self, key):
        version = self.version()
        self.wrote(key, version, self.send("PUT", key, headers=self.headers_of(version), body=version.plain))

    def upload(self, key):
        version = self.version()
        if self.rng.random() < 0.1:
            version = Version(self.rng.randbytes(MIN + self.rng.choice((0, 1, 70_000))), version.kind, version.note)
        answer = self.send("POST", key, [("uploads", "")], self.headers_of(version))
        # The part list is a client's own: two parts where the object is long enough.
        if answer is not None and answer.status == 200:
            identifier = text_of(answer.body, "UploadId")
            parts = [version.plain[:MIN], version.plain[MIN:]] if len(version.plain) > MIN else [version.plain]
            done = []
            for number, part in enumerate(parts, 1):
                query = [("partNumber", str(number)), ("uploadId", identifier or "none")]
                answer = self.send("PUT", key, query, body=part)
                if answer is None or answer.status != 200:
                    break
                done.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.headers['etag']}</ETag></Part>")
            else:
                body = f"<CompleteMultipartUpload>{''.join(done)}</CompleteMultipartUpload>".encode()
                answer = self.send("POST", key, [("uploadId", identifier or "none")], body=body)
                if answer is not None and answer.status == 200 and b"<Error>" in answer.body:
                    answer = None
        self.wrote(key, version, answer)

    def copy(self, key):
        source = self.rng.choice([other for other in KEYS if other != key])
        self.copied(key, source, {})

    def rewrite(self, key):
        """New metadata, the same body."""
        kind, note = self.rng.choice(TYPES), str(self.rng.randrange(1_000))
        headers = {"x-amz-metadata-directive": "REPLACE", "content-type": kind, "x-amz-meta-note": note}
        self.copied(key, key, headers, kind, note)

    def copied(self, key, source, headers, kind=None, note=None):
        origin, name = self.names[source], self.names[key]
        headers = {"x-amz-copy-source": urllib.parse.quote(f"/{self.bucket}/{source}"), **headers}
        answer = self.send("PUT", key, headers=headers)
        done = answer is not None and answer.status == 200 and b"<Error>" not in answer.body
        if origin.current is None and not origin.doubt and self.lie is None:
            if done:
                self.wrong(f"a copy of nothing was answered {answer}")
            return
        possible = [Version(v.plain, kind or v.kind, note or v.note) for v in origin.history]
        tag_sets = [*origin.tag_sets]
        if done or self.lie is not None or origin.doubt:
            name.history += [version for version in possible if version not in name.history]
            name.tag_sets += [tags for tags in tag_sets if tags not in name.tag_sets]
        if not done:
            if self.lie is None and not origin.doubt:
                self.wrong(f"an honest store, and the copy was answered {answer}")
            # With a lie, the store may have carried it out all the same.
            name.doubt = name.doubt or self.lie is not None
            return
        name.doubt = self.lie is not None or origin.doubt
        if not name.doubt:
            current = origin.current
            name.current, name.tags = Version(current.plain, kind or current.kind, note or current.note), origin.tags
            self.keep(key)

    def delete(self, key):
        answer, name = self.send("DELETE", key), self.names[key]
        if answer is not None and answer.status == 204 and self.lie is None:
            name.current, name.tags, name.doubt = None, (), False
        elif self.lie is None:
            self.wrong(f"an honest store, and the deletion was answered {answer}")
        else:
            name.doubt = True

    def put_tags(self, key):
        name = self.names[key]
        tags = tuple(sorted((f"t{n}", str(self.rng.randrange(100))) for n in range(self.rng.randrange(5))))
        body = "".join(f"<Tag><Key>{k}</Key><Value>{v}</Value></Tag>" for k, v in tags)
        answer = self.send("PUT", key, [("tagging", "")], body=f"<Tagging><TagSet>{body}</TagSet></Tagging>".encode())
        done = answer is not None and answer.status in (200, 204)
        if done and not name.doubt and self.lie is None:
            if name.current is None:
                self.wrong("tags were put on nothing")
            name.tags = tags
            self.keep(key)
        name.tag_sets.append(tags)
        if self.lie is not None:
            name.doubt = True
        elif not done and not name.doubt and name.current is not None:
            self.wrong(f"an honest store, and the tags were answered {answer}")

    # --- reads ----------------------------------------------------------------------------------

    def may_fail(self, key):
        return self.names[key].doubt or self.lie is not None

    def candidates(self, key):
        """Versions that an answer may show."""
        name = self.names[key]
        if self.may_fail(key):
            return name.history
        return [] if name.current is None else [name.current]

    def refused(self, key, answer):
        """Whether an answer is no answer; it must have a reason."""
        if answer is None or answer.status >= 400:
            absent = self.names[key].current is None and answer is not None and answer.status == 404
            if not self.may_fail(key) and not absent:
                self.wrong(f"an honest store, and a read of {key!r} was answered {answer}")
            self.counts["reads refused" if self.may_fail(key) else "reads right"] += 1
            return True
        return False

    def judge(self, key, answer, matches, what):
        versions = self.candidates(key)
        for version in versions:
            headers = answer.headers
            if headers.get("content-type") == version.kind and headers.get("x-amz-meta-note") == version.note and matches(version):
                self.counts["reads right" if version == self.names[key].current else "reads of an older state (R0)"] += 1
                return
        self.wrong(f"{what} of {key!r} answered {answer.status} {answer.headers} with {len(answer.body)} bytes: of no version")

    def get(self, key):
        answer = self.send("GET", key)
        if not self.refused(key, answer):
            length = int(answer.headers["content-length"])
            if answer.status != 200 or length != len(answer.body):
                self.wrong(f"GET answered {answer.status} with {len(answer.body)} of {length} bytes")
            self.judge(key, answer, lambda version: version.plain == answer.body, "GET")

    def get_range(self, key):
        size = len(self.names[key].current.plain) if self.names[key].current else 100
        first = self.rng.randrange(size + 1)
        last = min(first + self.rng.choice((0, 1, 100, 65_536, 10**6)), max(size - 1, first))
        text = self.rng.choice((f"{first}-{last}", f"{first}-", f"-{last - first + 1}"))
        answer = self.send("GET", key, headers={"range": f"bytes={text}"})
        if answer is not None and answer.status == 416 and not self.may_fail(key) and first >= size:
            return
        if answer is not None and answer.status == 416 and size == 0:
            return
        if not self.refused(key, answer):
            self.judge(key, answer, lambda version: is_range(answer, version.plain, text), f"GET of {text}")

    def head(self, key):
        answer = self.send("HEAD", key)
        if not self.refused(key, answer):
            length = int(answer.headers["content-length"])
            self.judge(key, answer, lambda version: len(version.plain) == length, "HEAD")

    def list(self, _):
        answer = self.send("GET", "", [("list-type", "2")])
        doubtful = self.lie is not None or any(name.doubt for name in self.names.values())
        if answer is None or answer.status != 200:
            if self.lie is None:
                self.wrong(f"an honest store, and the listing was answered {answer}")
            return
        if not doubtful:
            sizes = {key: len(name.current.plain) for key, name in self.names.items() if name.current}
            if listed(answer.body) != sizes:
                self.wrong(f"a listing of {listed(answer.body)}, not {sizes}")
        self.counts["reads right"] += not doubtful

    def get_tags(self, key):
        answer, name = self.send("GET", key, [("tagging", "")]), self.names[key]
        if self.refused(key, answer):
            return
        tags = stored_tags(answer)
        if tags not in (name.tag_sets if self.may_fail(key) else [name.tags]):
            self.wrong(f"tags {tags} of {key!r} are of no time")
        self.counts["reads right"] += 1

    # --- what the store does at rest ------------------------------------------------------------

    def mutate(self, key):
        name = self.names[key]
        change = self.rng.choice((self.flip, self.cut, self.extend, self.old, self.other, self.graft, self.clear, self.hide, self.header, self.trade))
        if not name.stored:
            return
        self.trace[-1] += f" {change.__name__}"
        body, header, tags = name.stored[-1]
        changed = change(key, body, header, tags)
        self.counts["mutations at rest"] += 1
        self.counts[f"at rest: {change.__name__}"] += 1
        name.doubt = True
        if changed is None:
            self.at_store("DELETE", key)
            return
        body, header, tags = changed
        headers = {f"x-amz-meta-{HEADER}": header} if header else {}
        if tags:
            headers["x-amz-tagging"] = urllib.parse.urlencode(tags)
        self.at_store("PUT", key, headers=headers, body=body)

    def flip(self, _, body, header, tags):
        if body:
            at = self.rng.randrange(len(body))
            body = body[:at] + bytes([body[at] ^ (1 << self.rng.randrange(8))]) + body[at + 1 :]
        return body, header, tags

    def cut(self, _, body, header, tags):
        return body[: self.rng.randrange(len(body) + 1)], header, tags

    def extend(self, _, body, header, tags):
        return body + self.rng.choice((b"\0", bytes(160), body[-64:])), header, tags

    def old(self, key, *_):
        return self.rng.choice(self.names[key].stored)

    def other(self, key, *own):
        stored = [entry for name in self.names.values() for entry in name.stored] + self.others
        return self.rng.choice(stored)

    def graft(self, key, body, header, tags):
        one, two, three = (self.other(key) for _ in range(3))
        return self.rng.choice(((one[0], header, tags), (body, one[1], tags), (body, header, one[2]), (one[0], two[1], three[2])))

    def clear(self, _, body, header, tags):
        return self.rng.choice((b"plaintext of the store", body)), "", ()

    def hide(self, *_):
        return None

    def header(self, _, body, header, tags):
        if header:
            at = self.rng.randrange(len(header))
            header = header[:at] + self.rng.choice("AZaz09-_") + header[at + 1 :]
        return body, header, tags

    def trade(self, _, body, header, tags):
        """Two segments of the body exchanged."""
        if len(body) > 74 + 2 * 65_568:
            body = body[:74] + body[74 + 65_568 : 74 + 2 * 65_568] + body[74 : 74 + 65_568] + body[74 + 2 * 65_568 :]
        return body, header, tags

    # --- what the store does on the way -----------------------------------------------------------

    def plan_lie(self):
        """Which lie, about which of the operation's store requests."""
        kinds = ("flip", "cut", "short", "long", "empty", "status", "range", "header", "no-header", "two-headers", "stale", "swallow", "etag", "xml")
        return self.rng.choice(kinds), self.rng.randrange(3), self.rng.randrange(1 << 30)

    def rules(self):
        if self.lie is None:
            return None, None
        kind, turn, dice = self.lie
        turns = itertools.count()

        def on_answer(request, answer):
            if kind != "swallow" and next(turns) == turn:
                self.counts["mutations on the way"] += 1
                self.counts[f"on the way: {kind}"] += 1
                self.mutate_answer(kind, dice, answer)
            if request.method == "GET" and answer.status in (200, 206) and len(self.kept) < 40:
                self.kept.append(Answer(answer.status, list(answer.headers), answer.body))

        def on_request(request):
            if kind == "swallow" and request.method in ("PUT", "POST", "DELETE") and next(turns) == turn:
                self.counts["mutations on the way"] += 1
                self.counts["on the way: swallow"] += 1
                return Answer(200 if request.method != "DELETE" else 204, [("ETag", '"0123456789abcdef0123456789abcdef"')], b"")
            return None

        return on_answer, on_request

    kept = []

    def mutate_answer(self, kind, dice, answer):
        body = answer.body
        if kind == "flip" and body:
            at = dice % len(body)
            answer.body = body[:at] + bytes([body[at] ^ (1 + dice % 255)]) + body[at + 1 :]
        elif kind == "cut":
            answer.cut = dice % (len(body) + 1)
        elif kind == "short" and body:
            answer.body = body[: dice % len(body)]
        elif kind == "long":
            answer.body = body + b"\0" * (1 + dice % 200)
        elif kind == "empty":
            answer.body = b""
        elif kind == "status":
            answer.status = (200, 206, 404, 403, 412, 416, 500, 503)[dice % 8]
        elif kind == "range":
            first = dice % 100_000
            answer.set("Content-Range", f"bytes {first}-{first + max(len(body), 1) - 1}/{first + len(body) + dice % 3}")
        elif kind == "no-header":
            answer.set(f"x-amz-meta-{HEADER}")
        elif kind in ("header", "two-headers"):
            stored = [entry[1] for name in self.names.values() for entry in name.stored] or ["AAAA"]
            values = [stored[dice % len(stored)]]
            answer.set(f"x-amz-meta-{HEADER}", *(values if kind == "header" else [*values, answer.header(f"x-amz-meta-{HEADER}") or "A"]))
        elif kind == "stale" and self.kept:
            answer.become(self.kept[dice % len(self.kept)])
        elif kind == "etag":
            answer.set("ETag", '"ffffffffffffffffffffffffffffffff"')
        elif kind == "xml" and body.startswith(b"<"):
            answer.body = body.replace(b"<Size>", b"<Size>1").replace(b"Key>", b"Kei>", dice % 2)


def is_range(answer, plain, text):
    """Whether an answer is what this range of these bytes is."""
    first, last = text.split("-")
    size = len(plain)
    if first == "":
        first, last = max(0, size - int(last)), size - 1
    else:
        first, last = int(first), min(int(last), size - 1) if last else size - 1
    expected = plain[first : last + 1]
    if answer.body != expected or int(answer.headers["content-length"]) != len(expected):
        return False
    if answer.status == 200:
        return answer.body == plain
    return answer.status == 206 and answer.headers.get("content-range") == f"bytes {first}-{last}/{size}"


def text_of(document, name):
    try:
        root = xml.etree.ElementTree.fromstring(document)
    except xml.etree.ElementTree.ParseError:
        return None
    return next((node.text for node in root.iter() if node.tag.endswith(name)), None)


def stored_tags(answer):
    if answer is None or answer.status != 200:
        return ()
    root = xml.etree.ElementTree.fromstring(answer.body)
    texts = [{child.tag.rpartition("}")[2]: child.text or "" for child in node} for node in root.iter() if node.tag.endswith("Tag")]
    return tuple(sorted((tag["Key"], tag["Value"]) for tag in texts))


def listed(document):
    root = xml.etree.ElementTree.fromstring(document)
    found = {}
    for node in root.iter():
        if node.tag.endswith("Contents"):
            fields = {child.tag.rpartition("}")[2]: child.text for child in node}
            found[fields["Key"]] = int(fields["Size"])
    return found


def run(front, seed, seconds=None, episodes=None):
    """Plays episodes; the counts. Raises Wrong at the first answer that is wrong."""
    counts, begin = Counter(), time.monotonic()
    for number in itertools.count():
        if (episodes is not None and number >= episodes) or (seconds is not None and time.monotonic() - begin > seconds):
            break
        Episode.kept = []
        Episode(front, seed + number, counts).play()
        counts["episodes"] += 1
    counts["seconds"] = int(time.monotonic() - begin)
    return counts


def main():
    from adversary.conftest import hostile_front
    from harness.stores import EmbeddedStore

    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--episodes", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder) / "store")
        front, site = hostile_front(Path(folder), "random", store)
        try:
            counts = run(front, options.seed, options.seconds, options.episodes)
        finally:
            site.stop()
            store.stop()
    print(json.dumps(counts, indent=1), f"seeds {options.seed} to {options.seed + counts['episodes'] - 1}: 0 wrong answers")


if __name__ == "__main__":
    main()
