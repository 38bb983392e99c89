"""Promise: a prefix can have epochs of its own (a shred domain), and destroying them makes exactly its objects unreadable.

How: two gateways on SeaweedFS and SoftHSM; objects of all kinds inside and outside of domains, before and after they begin.
"""

import json
import re
import uuid

import pytest

from harness.fronts import Front, boto, error_of
from harness.gateway import Site
from harness.process import wait_until
from harness.softhsm import Token

pytestmark = pytest.mark.gateway

MIN = 5 * 1024 * 1024


class Domains:
    """A site with two gateways and a bucket."""

    def __init__(self, folder, store):
        self.site = Site(folder / "site", store, Token(folder / "softhsm"), control_bucket=f"control-{uuid.uuid4().hex[:12]}")
        boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=self.site.control_bucket)
        self.site.enrol()
        self.fronts = []
        for name in ("one", "two"):
            gateway = self.site.start(name, keys='refresh = "1s"')
            self.fronts.append(Front(name, gateway, folder / name, store))
        self.bucket = self.fronts[0].new_bucket("domains")
        self.folder = folder

    def json(self, *arguments, **options):
        return json.loads(self.site.command(*arguments, "--bucket", self.bucket, "--output", "json", **options).stdout)

    def follow(self):
        """Waits until both gateways have the newest keyring."""
        shown = f"sceau_keyring_generation {self.json('keys show')['generation']}\n"
        for front in self.fronts:
            wait_until("the generation", lambda: shown in front.server.admin("/metrics")[1], 15)

    def begin(self, prefix):
        done = self.json("keys new-epoch", "--prefix", prefix, "--begin")
        assert done["begun"] and done["epoch"] == 1

    def put(self, key, body, front=0):
        self.fronts[front].s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def destroy(self, prefix, *epochs, **options):
        statement = self.folder / f"statement-{uuid.uuid4().hex[:6]}"
        chosen = [word for epoch in epochs for word in ("--epoch", epoch)]
        words = ["keys destroy", "--bucket", self.bucket, "--prefix", prefix, *chosen, "--by", "O", "--statement", statement]
        plan = self.site.command(*words, check=False)
        phrase = re.search(r"the phrase for this plan is: (.*)", plan.stderr)
        assert phrase, plan.stderr
        self.site.command(*words, "--confirm", phrase[1])
        return plan.stderr, phrase[1], statement

    def outcomes(self, bodies, **version):
        """What both gateways say to each object: None where it is whole."""
        found = {}
        for key, body in bodies.items():
            answers = [error_of(front.s3.get_object, Bucket=self.bucket, Key=key, **version) for front in self.fronts]
            if answers == [None, None]:
                assert all(front.fetch(self.bucket, key) == body for front in self.fronts), key
            assert answers[0] == answers[1], (key, answers)
            found[key] = answers[0]
        return found


@pytest.fixture
def domains(tmp_path, store):
    domains = Domains(tmp_path, store)
    yield domains
    domains.site.stop()


def test_destroying_a_domain_makes_exactly_its_objects_unreadable(domains, content):
    s3, bucket = domains.fronts[0].s3, domains.bucket
    domains.put("customers/42/early", content(1_000, 1))
    domains.put("customers/42/early-and-moved", content(1_000, 2))
    early = {"Bucket": bucket, "Key": "customers/42/upload"}
    early["UploadId"] = s3.create_multipart_upload(**early)["UploadId"]
    for prefix in ("customers/42/", "customers/43/", "customers/42/private/"):
        domains.begin(prefix)
    domains.follow()
    inside = {"customers/42/a": 3, "customers/42/b/c": 4, "customers/42/multi": 5, "customers/42/copy-in": 6}
    outside = {"other": 7, "customers/4": 8, "customers/420/a": 9, "customers/43/a": 10, "customers/42/private/a": 11,
               "customers/42": 12, "customers/copy-out": 3, "x/customers/42/a": 13, "to-copy": 6}
    bodies = {key: content(1_000, seed) for key, seed in {**inside, **outside}.items()}
    bodies["customers/42/multi"] = content(MIN + 1, 5) + content(10, 5)
    copies = {"customers/42/copy-in": "to-copy", "customers/copy-out": "customers/42/a"}
    for number, key in enumerate(sorted(set(bodies) - set(copies) - {"customers/42/multi"})):
        domains.put(key, bodies[key], number % 2)
    for key, source in copies.items():
        s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": source})
    whole = {"Bucket": bucket, "Key": "customers/42/multi"}
    whole["UploadId"] = s3.create_multipart_upload(**whole)["UploadId"]
    parts = [s3.upload_part(**whole, PartNumber=n, Body=body)["ETag"]
             for n, body in ((1, content(MIN + 1, 5)), (2, content(10, 5)))]
    listed = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(parts, 1)]}
    domains.fronts[1].s3.complete_multipart_upload(**whole, MultipartUpload=listed)
    # An upload from before the domain is found, and stays under the bucket's own epoch.
    etag = domains.fronts[1].s3.upload_part(**early, PartNumber=1, Body=content(100, 14))["ETag"]
    s3.complete_multipart_upload(**early, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    before = {"customers/42/early": content(1_000, 1), "customers/42/upload": content(100, 14)}
    moved = {"customers/42/early-and-moved": content(1_000, 2)}
    everything = {**bodies, **before, **moved}
    assert set(domains.outcomes(everything).values()) == {None}
    # The bucket's own epochs are counted by themselves.
    assert domains.json("keys new-epoch")["epoch"] == 2
    shown = domains.json("keys show")
    assert shown["domains"].count("(bucket)") == 1 and len(shown["domains"]) == 4
    states = {(epoch["domain"], epoch["epoch"]): epoch["state"] for epoch in shown["epochs"]}
    assert states[("customers/42/", 1)] == "seals and opens" and states[("(bucket)", 1)] == "opens"
    domains.follow()
    done = domains.json("rewrap", "--prefix", "customers/42/early-and")
    assert done["counts"]["moved"] == 1
    # Disabled first, and only this domain.
    early_try = domains.site.command(
        "keys destroy", "--bucket", bucket, "--prefix", "customers/42/", "--epoch", "1", "--by", "O",
        "--statement", domains.folder / "never", check=False)
    assert early_try.returncode == 3 and "E-KEYS-018" in early_try.stderr
    domains.site.command("keys disable", "--bucket", bucket, "--prefix", "customers/42/", "--epoch", "1")
    domains.follow()
    gone = {key: "AccessDenied" for key in (*inside, *moved)}
    expected = {key: gone.get(key) for key in everything}
    assert domains.outcomes(everything) == expected
    plan, phrase, statement = domains.destroy("customers/42/", 1)
    assert f"{bucket}/customers/42/ epoch 1" in phrase and "what stays readable although its name begins so" in plan
    domains.follow()
    assert domains.outcomes(everything) == expected
    stated = json.loads(domains.site.command("keys verify-statement", statement, "--output", "json").stdout)
    assert [epoch["domain"] for epoch in stated["epochs_destroyed"]] == ["customers/42/"]
    # Its names are refused, not sealed under the bucket's own epoch.
    for front in domains.fronts:
        assert error_of(front.s3.put_object, Bucket=bucket, Key="customers/42/new", Body=b"x") == "AccessDenied"
        front.s3.put_object(Bucket=bucket, Key="customers/42/private/new", Body=b"x")
        front.s3.put_object(Bucket=bucket, Key="customers/44/new", Body=b"x")
    assert domains.site.command("keys enable", "--bucket", bucket, "--prefix", "customers/42/", "--epoch", "1", check=False).returncode == 3
    # A next epoch lets it take writes again, and brings nothing back.
    assert domains.json("keys new-epoch", "--prefix", "customers/42/")["epoch"] == 2
    domains.follow()
    domains.put("customers/42/new", content(1_000, 20))
    expected["customers/42/new"] = None
    assert domains.outcomes({**everything, "customers/42/new": content(1_000, 20)}) == expected


def test_versions_of_a_domain_are_destroyed_with_it_and_those_from_before_are_not(domains, content):
    s3, bucket = domains.fronts[0].s3, domains.bucket
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    put = lambda body: s3.put_object(Bucket=bucket, Key="d/key", Body=body)["VersionId"]  # noqa: E731
    before = put(content(100, 1))
    domains.begin("d/")
    domains.follow()
    after = [put(content(100, 2)), put(content(100, 3))]
    domains.site.command("keys disable", "--bucket", bucket, "--prefix", "d/", "--all")
    domains.destroy("d/", 1)
    domains.follow()
    read = lambda version: error_of(s3.get_object, Bucket=bucket, Key="d/key", VersionId=version)  # noqa: E731
    assert [read(version) for version in (before, *after)] == [None, "AccessDenied", "AccessDenied"]


def test_what_is_no_domain_is_named(domains):
    bucket = domains.bucket

    def refused(*words):
        done = domains.site.command("keys new-epoch", "--bucket", bucket, *words, check=False)
        assert done.returncode != 0
        return done.stderr

    assert "E-KEYS-025" in refused("--prefix", "a/")
    assert "ends with a slash" in refused("--prefix", "a", "--begin")
    domains.begin("a/")
    assert "E-KEYS-025" in refused("--prefix", "a/", "--begin")
    unknown = domains.site.command("keys disable", "--bucket", bucket, "--prefix", "b/", "--all", check=False)
    assert unknown.returncode == 3 and "E-KEYS-025" in unknown.stderr
    # The store's memory of prefixes decides nothing: a wrong one is not shown.
    at_store = boto(domains.site.store.url, domains.site.store.access_key, domains.site.store.secret_key)
    (kept,) = at_store.list_objects_v2(Bucket=domains.site.control_bucket, Prefix="domains/")["Contents"]
    at_store.put_object(Bucket=domains.site.control_bucket, Key=kept["Key"], Body=b"another/")
    shown = set(domains.json("keys show")["domains"])
    assert shown == {"(bucket)", f"domain {kept['Key'].split('/')[1]}"}


def test_an_emergency_stops_every_domain_of_a_bucket(domains, content):
    domains.begin("d/")
    domains.follow()
    bodies = {"d/key": content(100, 1), "key": content(100, 2)}
    for key, body in bodies.items():
        domains.put(key, body)
    domains.site.command("keys disable", "--bucket", domains.bucket, "--all")
    domains.follow()
    assert set(domains.outcomes(bodies).values()) == {"AccessDenied"}
    domains.site.command("keys enable", "--bucket", domains.bucket, "--all")
    domains.follow()
    assert set(domains.outcomes(bodies).values()) == {None}
    for front in domains.fronts:
        for key in bodies:
            front.s3.put_object(Bucket=domains.bucket, Key=f"{key}-{front.name}", Body=b"x")
