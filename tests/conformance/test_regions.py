"""Promise: a gateway with regions accepts their signatures only, and says which is its own.

How: requests signed for several regions, to a gateway with two and to one with none.
"""

import pytest

from harness.fronts import Front
from harness.raw import Endpoint

pytestmark = pytest.mark.gateway


@pytest.fixture(scope="module")
def regional(site, work, store):
    gateway = site.start("regional", listen='regions = ["eu-central-1", "us-east-1"]')
    yield Front("regional", gateway, work / "regional", store)
    gateway.stop()


def test_only_the_regions_of_the_gateway_are_accepted(regional):
    endpoint = Endpoint.of(regional)
    bucket = regional.new_bucket("regions")
    for region in ["eu-central-1", "us-east-1"]:
        assert endpoint.send("GET", f"/{bucket}", region=region).status == 200
    for region in ["eu-west-1", "eu-central", "EU-CENTRAL-1", ""]:
        answer = endpoint.send("GET", f"/{bucket}", region=region)
        assert (answer.status, answer.code) == (400, "AuthorizationHeaderMalformed"), region
        assert not region or b"<Region>eu-central-1</Region>" in answer.body


def test_a_client_is_told_a_region_that_it_may_sign_for(regional):
    endpoint = Endpoint.of(regional)
    bucket = regional.new_bucket("regions")
    assert regional.s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] == "eu-central-1"
    assert endpoint.send("HEAD", f"/{bucket}").headers["x-amz-bucket-region"] == "eu-central-1"


def test_without_regions_any_is_accepted(plain):
    endpoint = Endpoint.of(plain)
    bucket = plain.new_bucket("regions")
    for region in ["us-east-1", "eu-west-1", "moon"]:
        assert endpoint.send("GET", f"/{bucket}", region=region).status == 200
