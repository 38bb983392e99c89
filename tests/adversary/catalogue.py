"""The attack catalogue: what a store can do, what must come of it, and where that is tried.

What lives here: the rows, and the ledger that counts their cases. A row's cases run in tests marked
`@pytest.mark.row(...)` in this folder; ELSEWHERE names tests of other suites that carry a row, and NOT_YET rows of
features that do not exist. Invariant: every row is in exactly one of these ways accounted for (test_catalogue.py).
"""

from collections import Counter

REJECT, HONEST, R0 = "refused", "honest or refused", "not detected, as documented (R0)"

# Row: (what the store, or whoever, does; what is expected).
ROWS = {
    "B1": ("exchange body and header of two names", REJECT),
    "B2": ("exchange only bodies, or only headers", REJECT),
    "B3": ("put an object under a name that never existed", REJECT),
    "B4": ("move an object to another bucket or tenant", REJECT),
    "B5": ("cross-place objects whose names normalise alike", REJECT),
    "B6": ("delete and make a bucket again, restore its old objects", REJECT),
    "B7": ("graft header and body of a copy and its original", "right while bodies are equal, refused after"),
    "T1": ("cut at every structure", REJECT),
    "T2": ("drop parts", REJECT),
    "T3": ("exchange, repeat or insert parts", REJECT),
    "T4": ("exchange segments within a part, between parts, between objects", REJECT),
    "T5": ("an earlier segment as the final one; markers changed", REJECT),
    "T6": ("append bytes; fill the padding", "whole reads refused"),
    "T7": ("zero a segment, a body", REJECT),
    "T8": ("wrong Content-Range, status, length or coding of an answer", REJECT),
    "T9": ("bytes of another offset", REJECT),
    "R1": ("serve the previous version as the current one", R0),
    "R2": ("undo a change of metadata", R0),
    "R3": ("answer with another version of the same name", R0),
    "R4": ("hide an object, or an entry of a listing; bring a deleted object back", R0),
    "R5": ("an older attempt at a part", "refused if pinned; else not detected, as documented"),
    "R6": ("serve an older keyring", REJECT),
    "R7": ("show two readers different histories", R0),
    "M1": ("change, cut, repeat the header", REJECT),
    "M2": ("change Content-Type, Cache-Control, user metadata at the store", "sealed values"),
    "M3": ("lie about lengths", "reads refused; listings are the store's word, impossible sizes flagged"),
    "M4": ("a client sends the format's own names", "refused, never stored"),
    "M5": ("a client sends impossible metadata", "a clean error"),
    "M6": ("change ETag, Last-Modified, version id", "passed on, or refused; never other bytes"),
    "G1": ("plaintext without a header", REJECT),
    "G2": ("change version, suite, flags", REJECT),
    "G3": ("an object of a suite that the bucket does not allow, held or not", REJECT),
    "G4": ("write under a record that only opens; read under a disabled one", REJECT),
    "G5": ("another certificate, an older TLS towards the store", REJECT),
    "K1": ("overwrite one name again and again: nothing drawn repeats", "all distinct"),
    "K2": ("a generator that repeats or gives zeros", REJECT),
    "K3": ("a process forked or restored between two writes", "by design: each draw is the system's"),
    "K4": ("a header or segment made for two keys", REJECT),
    "K5": ("name another key record in a header", REJECT),
    "K6": ("exchange, cut, move wraps of a key record", REJECT),
    "K7": ("key provider away, or answering with another key", "as documented, no wrong key"),
    "K8": ("a new epoch key that was not kept", "never used before it was read back"),
    "P1": ("change, exchange, delete, replay upload states", "NoSuchUpload"),
    "P2": ("tickets of other parts and uploads, or edited", "InvalidPart"),
    "P3": ("parts of every border size and numbering", "as S3"),
    "P4": ("completions and aborts at once, or repeated", "one consistent object"),
    "P5": ("parts retried through other gateways, gateways killed", "right"),
    "P6": ("lie in ListParts", "completion or read refused, or honest"),
    "P7": ("change or delete a stashed part", "completion refused"),
    "O1": ("many forged segments", "one error for all, counted, alarm"),
    "O2": ("any bytes in every stored structure", "no panic, bounded memory"),
    "O3": ("stall, reset, drip in the middle of a segment", HONEST),
    "O4": ("look for secrets in logs, errors, metrics, at the store", "none found"),
    "O5": ("look for plaintext checksums, types and tags at the store", "none found"),
    "O6": ("conditions after the mapping of ETags", "as S3"),
    "N1": ("exchange, move, fold hidden names", REJECT),
}

# Rows that tests of other suites carry: file and name, which must exist.
ELSEWHERE = {
    "G5": [("gateway/server/src/upstream/tests/tls.rs", "a_tls_store_is_trusted_by_its_certificate_only")],
    "K2": [("gateway/envelope/src/random.rs", "zeros_and_repeats_are_refused")],
    "K3": [("gateway/envelope/src/random.rs", "the_system_generator_passes")],
    "K7": [
        ("tests/faults/test_hsm.py", "test_a_key_that_the_hsm_got_wrong_opens_nothing"),
        ("tests/faults/test_revocation.py", "test_without_the_hsm_held_keys_serve_for_their_time_and_no_longer"),
    ],
    "K8": [
        ("gateway/server/src/keyring/tests.rs", "two_gateways_that_add_one_bucket_agree_on_its_identity"),
        ("gateway/server/src/keyring/tests.rs", "the_copy_that_is_behind_or_missing_is_repaired"),
    ],
    "P3": [
        ("tests/clients/test_multipart.py", "test_layouts_come_back"),
        ("tests/clients/test_multipart.py", "test_the_highest_part_number_is_9999"),
    ],
    "P4": [("tests/clients/test_multipart.py", "test_a_completion_whose_answer_was_lost_can_be_repeated")],
    "P5": [
        ("tests/faults/test_processes.py", "test_two_gateways_share_an_upload_and_one_dies_in_mid_part"),
        ("tests/clients/test_multipart.py", "test_a_part_sent_twice_counts_once"),
    ],
    "O2": [("fuzz/tests/corpus.rs", "the_corpus_breaks_no_promise")],
    "O6": [("tests/conformance/cases/conditions.py", "on_tag")],
}

NOT_YET = {"N1": "names are not hidden in this version; a bucket whose policy demands it takes no requests"}


class Ledger:
    """Cases by row and outcome."""

    def __init__(self):
        self.rows, self.total, self.tests = {}, Counter(), 0
        self.current = ()

    def note(self, outcome, row=None):
        """One read, or other act, after a mutation: what came of it."""
        self.total[outcome] += 1
        for name in (row,) if row else self.current:
            self.rows.setdefault(name, Counter())[outcome] += 1

    def lines(self):
        for name, (what, expected) in ROWS.items():
            if name in self.rows:
                counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.rows[name].items()))
            elif name in NOT_YET:
                counts = f"not applicable yet: {NOT_YET[name]}"
            elif name in ELSEWHERE:
                counts = "in " + ", ".join(dict.fromkeys(path for path, _ in ELSEWHERE[name]))
            else:
                counts = "NOT RUN"
            yield f"{name:3} {what:72.72} expected: {expected:45.45} {counts}"
        yield f"{len(self.rows)} rows here, {len(ELSEWHERE)} in other suites, {len(NOT_YET)} not yet; cases: " + ", ".join(
            f"{count} {outcome}" for outcome, count in sorted(self.total.items())
        )


LEDGER = Ledger()
