"""Promise: an identity token becomes short-lived credentials, for whom the configuration names and no longer
than it says; nothing of them reaches the store or the logs.

How: an identity provider of our own over HTTPS; boto3 and the AWS command line as applications use them, with
nothing but environment variables; tokens that are wrong in one way each.
"""

import base64
import datetime
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
import urllib.parse
import xml.etree.ElementTree

import boto3
import jwt
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import raw
from harness.fronts import REGION, boto, error_of
from harness.gateway import ACCESS_KEY, SECRET_KEY, Site, run
from harness.oidc import AUDIENCE, Issuer, Key
from harness.process import wait_until
from harness.recorder import Recorder
from harness.settings import tool
from harness.softhsm import Token

pytestmark = pytest.mark.gateway

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reports"
NAMESPACE = "{https://sts.amazonaws.com/doc/2011-06-15/}"


@pytest.fixture(scope="module")
def issuer(certificates):
    issuer = Issuer(certificates)
    yield issuer
    issuer.stop()


@pytest.fixture(scope="module")
def place(work, store, certificates, issuer):
    """A site of its own, with an issuer and roles, and two gateways over HTTPS."""
    site = Site(work / "sts", store, Token(work / "sts-softhsm"), control_bucket="sceau-sts-control")
    boto(store.url, store.access_key, store.secret_key).create_bucket(Bucket=site.control_bucket)
    with (site.folder / "policy.toml").open("a") as policy:
        policy.write(
            '\n[[allow]]\nprincipal = "role/reports"\nbuckets = ["sts-*"]\nverbs = ["read", "write", "delete", "list"]\n'
            '\n[[allow]]\nprincipal = "ci/job:build"\nbuckets = ["sts-*"]\nprefixes = ["build/"]\nverbs = ["write"]\n'
        )
    site.more = f"""
[sts]
account = "{ACCOUNT}"
[[sts.issuer]]
url = "{issuer.url}"
audiences = ["{AUDIENCE}"]
ca_file = "{certificates.ca}"
[[sts.role]]
name = "reports"
issuer = "{issuer.url}"
subjects = ["job:reports", "team:*"]
[[sts.role]]
name = "build"
issuer = "{issuer.url}"
subjects = ["job:*"]
claims = {{ ref = ["main", "release"] }}
principal = "ci/{{subject}}"
duration_max = "15m"
"""
    site.enrol()
    site.gateways_sts = [site.start(f"sts-{n}", certificates, more=site.more) for n in (1, 2)]
    yield site
    site.stop()


@pytest.fixture(scope="module")
def gateway(place):
    return place.gateways_sts[0]


@pytest.fixture(scope="module")
def bucket(gateway):
    client = boto(gateway.url, ACCESS_KEY, SECRET_KEY, gateway.ca)
    client.create_bucket(Bucket="sts-bucket")
    client.put_object(Bucket="sts-bucket", Key="in/one", Body=b"one")
    client.put_object(Bucket="sts-bucket", Key="out/two", Body=b"two")
    return "sts-bucket"


def sts(gateway, **options):
    settings = Config(retries={"total_max_attempts": 1}, **options)
    return boto3.session.Session().client(
        "sts", endpoint_url=gateway.url, region_name=REGION, verify=str(gateway.ca), config=settings
    )


def assume(gateway, token, role=ROLE, name="job-1", **more):
    client = sts(gateway, signature_version=UNSIGNED)
    return client.assume_role_with_web_identity(RoleArn=role, RoleSessionName=name, WebIdentityToken=token, **more)


def refused(gateway, token, **more):
    with pytest.raises(ClientError) as error:
        assume(gateway, token, **more)
    return error.value.response["Error"]["Code"]


def keys(answer):
    given = answer["Credentials"]
    return given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]


def s3(gateway, credentials):
    access_key, secret, token = credentials
    return boto3.session.Session().client(
        "s3",
        endpoint_url=gateway.url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name=REGION,
        verify=str(gateway.ca),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, signature_version="s3v4"),
    )


def environment(gateway, folder, token, role=ROLE):
    """What an application has: no key, only the variables that Kubernetes sets."""
    path = folder / "identity-token"
    path.write_text(token)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {
        **kept,
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(path),
        "AWS_ROLE_ARN": role,
        "AWS_ROLE_SESSION_NAME": "from-env",
        "AWS_ENDPOINT_URL": gateway.url,
        "AWS_CA_BUNDLE": str(gateway.ca),
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def test_credentials_are_given_and_named(gateway, issuer, bucket):
    before = datetime.datetime.now(datetime.timezone.utc)
    answer = assume(gateway, issuer.token(), DurationSeconds=900)
    assert answer["SubjectFromWebIdentityToken"] == "job:reports"
    assert (answer["Audience"], answer["Provider"]) == (AUDIENCE, issuer.url)
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/reports/job-1"
    assert answer["AssumedRoleUser"]["AssumedRoleId"].endswith(":job-1")
    life = answer["Credentials"]["Expiration"] - before
    assert datetime.timedelta(seconds=895) < life < datetime.timedelta(seconds=905)
    client = s3(gateway, keys(answer))
    assert client.get_object(Bucket=bucket, Key="in/one")["Body"].read() == b"one"
    assert error_of(client.delete_bucket, Bucket=bucket) == "AccessDenied"


def test_both_gateways_accept_the_session_and_say_who_it_is(place, issuer, bucket):
    one, two = place.gateways_sts
    credentials = keys(assume(one, issuer.token()))
    for gateway in (one, two):
        assert s3(gateway, credentials).get_object(Bucket=bucket, Key="in/one")["Body"].read() == b"one"
        access_key, secret, token = credentials
        session = boto3.session.Session(access_key, secret, token, REGION)
        identity = session.client("sts", endpoint_url=gateway.url, verify=str(gateway.ca)).get_caller_identity()
        assert identity["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/reports/job-1"
        assert identity["Account"] == ACCOUNT
    permanent = boto3.session.Session(ACCESS_KEY, SECRET_KEY, None, REGION)
    identity = permanent.client("sts", endpoint_url=two.url, verify=str(two.ca)).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/tester"


def test_boto3_needs_nothing_but_the_variables(gateway, issuer, bucket, tmp_path):
    program = (
        "import boto3, sys\n"
        "s3 = boto3.client('s3')\n"
        f"s3.put_object(Bucket='{bucket}', Key='from-env', Body=b'hello')\n"
        f"print(s3.get_object(Bucket='{bucket}', Key='from-env')['Body'].read().decode())\n"
        "print(boto3.client('sts').get_caller_identity()['Arn'])\n"
    )
    env = environment(gateway, tmp_path, issuer.token())
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["hello", f"arn:aws:sts::{ACCOUNT}:assumed-role/reports/from-env"]


def test_the_command_line_needs_nothing_but_the_variables(gateway, issuer, bucket, tmp_path):
    env = environment(gateway, tmp_path, issuer.token())

    def aws(*arguments, env=env):
        command = [tool("aws"), *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)

    done = aws("sts", "get-caller-identity", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/reports/from-env"
    listed = aws("s3", "ls", f"s3://{bucket}/in/")
    assert listed.returncode == 0 and "one" in listed.stdout, listed.stderr
    permanent = {**env, "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
    for name in ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"):
        del permanent[name]
    done = aws("sts", "get-caller-identity", "--output", "json", env=permanent)
    assert json.loads(done.stdout)["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/tester", done.stderr
    permanent["AWS_SECRET_ACCESS_KEY"] = "wrong-secret-of-the-right-length"
    assert "SignatureDoesNotMatch" in aws("sts", "get-caller-identity", env=permanent).stderr


def forged_hmac(issuer):
    """HS256 keyed with the public key, which a verifier that trusts `alg` would accept."""
    key = issuer.keys[0]
    parts = [{"alg": "HS256", "kid": key.kid, "typ": "JWT"}, issuer.claims()]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    signed = b".".join(encoded)
    value = hmac.new(key.public_pem(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(value).rstrip(b"=")).decode()


def test_tokens_that_are_wrong_in_one_way_are_refused(gateway, issuer):
    now = int(time.time())
    stranger = Key("first")
    cases = [
        ("expired", issuer.token(exp=now - 61), "ExpiredTokenException"),
        ("not yet", issuer.token(nbf=now + 120), "InvalidIdentityToken"),
        ("from the future", issuer.token(iat=now + 120), "InvalidIdentityToken"),
        ("no end", issuer.token(exp=None), "InvalidIdentityToken"),
        ("audience", issuer.token(aud="another-service"), "InvalidIdentityToken"),
        ("issuer", issuer.token(iss="https://127.0.0.1:1/realm"), "InvalidIdentityToken"),
        ("issuer with a slash", issuer.token(iss=issuer.url + "/"), "InvalidIdentityToken"),
        ("another key", issuer.token(key=stranger), "InvalidIdentityToken"),
        ("unknown key", issuer.token(headers={"kid": "unknown"}), "InvalidIdentityToken"),
        ("critical", issuer.token(headers={"crit": ["b64"], "b64": True}), "InvalidIdentityToken"),
        ("none", jwt.encode(issuer.claims(), None, algorithm="none", headers={"kid": "first"}), "InvalidIdentityToken"),
        ("hmac", forged_hmac(issuer), "InvalidIdentityToken"),
        ("no token", "not-a-token", "InvalidIdentityToken"),
        ("subject", issuer.token(sub="job:other"), "AccessDenied"),
        ("no subject", issuer.token(sub=None), "InvalidIdentityToken"),
    ]
    for what, token, code in cases:
        assert refused(gateway, token) == code, what


def test_roles_are_for_their_subjects_claims_and_durations(gateway, issuer, bucket):
    build = f"arn:aws:iam::{ACCOUNT}:role/build"
    assert refused(gateway, issuer.token(), role=f"arn:aws:iam::{ACCOUNT}:role/absent") == "AccessDenied"
    assert refused(gateway, issuer.token(), role="arn:aws:iam::000000000000:role/reports") == "AccessDenied"
    assert refused(gateway, issuer.token(sub="job:build"), role=build) == "AccessDenied"
    assert refused(gateway, issuer.token(sub="job:build", ref="feature"), role=build) == "AccessDenied"
    good = issuer.token(sub="job:build", ref=["x", "main"])
    assert refused(gateway, good, role=build, DurationSeconds=901) == "ValidationError"
    client = s3(gateway, keys(assume(gateway, good, role=build)))
    client.put_object(Bucket=bucket, Key="build/x", Body=b"x")
    assert error_of(client.put_object, Bucket=bucket, Key="other/x", Body=b"x") == "AccessDenied"
    assert assume(gateway, issuer.token(sub="team:blue"))["SubjectFromWebIdentityToken"] == "team:blue"


def test_sessions_that_are_not_whole_are_refused(gateway, issuer, bucket):
    access_key, secret, token = keys(assume(gateway, issuer.token()))
    other = keys(assume(gateway, issuer.token()))
    changed = token[:40] + ("A" if token[40] != "A" else "B") + token[41:]
    cases = [
        ("no token", (access_key, secret, None), "InvalidAccessKeyId"),
        ("altered", (access_key, secret, changed), "InvalidToken"),
        ("cut", (access_key, secret, token[:-4]), "InvalidToken"),
        ("of another session", (access_key, secret, other[2]), "InvalidToken"),
        ("another secret", (access_key, other[1], token), "SignatureDoesNotMatch"),
        ("beside a permanent key", (ACCESS_KEY, SECRET_KEY, token), "InvalidToken"),
        ("beside an unknown key", ("UNKNOWNKEY", secret, token), "InvalidToken"),
    ]
    for what, credentials, code in cases:
        assert error_of(s3(gateway, credentials).list_objects_v2, Bucket=bucket) == code, what
    good = s3(gateway, (access_key, secret, token))
    url = good.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "in/one"}, ExpiresIn=60)
    endpoint = raw.Endpoint(gateway.url, access_key, secret, gateway.ca)

    def get(url):
        target = url.removeprefix(gateway.url)
        return endpoint.exchange(f"GET {target} HTTP/1.1\r\nhost: {endpoint.host}\r\n\r\n".encode())

    assert get(url).body == b"one"
    without = "&".join(part for part in url.split("&") if not part.lower().startswith("x-amz-security-token"))
    assert get(without).code == "InvalidAccessKeyId"


def form(gateway, body, headers=None, path="/"):
    """An STS request by hand; its status and error code."""
    endpoint = raw.Endpoint(gateway.url, "-", "-", gateway.ca)
    given = {
        "host": endpoint.host,
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    answer = endpoint.exchange(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    root = xml.etree.ElementTree.fromstring(answer.body)
    return answer.status, root.findtext(f"{NAMESPACE}Error/{NAMESPACE}Code") or root.findtext("Code")


def test_forms_are_bounded_and_read_strictly(gateway, issuer):
    def assume_form(**changes):
        fields = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "RoleSessionName": "by-hand",
            "WebIdentityToken": issuer.token(),
            **changes,
        }
        return urllib.parse.urlencode(fields).encode()

    assert form(gateway, assume_form())[0] == 200
    assert form(gateway, assume_form(DurationSeconds="899")) == (400, "ValidationError")
    assert form(gateway, assume_form(RoleSessionName="a/b")) == (400, "ValidationError")
    assert form(gateway, assume_form(ProviderId="x")) == (400, "InvalidParameterValue")
    assert form(gateway, assume_form(Policy="{")) == (400, "MalformedPolicyDocument")
    assert form(gateway, assume_form(Action="AssumeRole")) == (400, "InvalidAction")
    assert form(gateway, assume_form(WebIdentityToken="x" * 16385)) == (400, "ValidationError")
    assert form(gateway, assume_form() + b"&x=" + b"y" * 20480) == (400, "ValidationError")
    assert form(gateway, b"Action=GetCallerIdentity&Version=2011-06-15") == (403, "MissingAuthenticationToken")
    # What is not for STS is for S3.
    assert form(gateway, assume_form(), {"content-type": "text/plain"}) == (501, "NotImplemented")
    assert form(gateway, assume_form(), path="/?x=y") == (501, "NotImplemented")


def test_signatures_for_sts_are_for_sts_alone(gateway, bucket):
    session = boto3.session.Session(ACCESS_KEY, SECRET_KEY, None, REGION)

    def signed(service, method, url, body=b""):
        from botocore.auth import S3SigV4Auth, SigV4Auth
        from botocore.awsrequest import AWSRequest

        kind = S3SigV4Auth if service == "s3" else SigV4Auth
        headers = {"content-type": "application/x-www-form-urlencoded"} if body else {}
        request = AWSRequest(method, url, data=body, headers=headers)
        kind(session.get_credentials(), service, REGION).add_auth(request)
        return dict(request.headers)

    def send(service, method, path, body=b"", sent=None):
        url = gateway.url + path
        endpoint = raw.Endpoint(gateway.url, "-", "-", gateway.ca)
        given = {"host": endpoint.host, **signed(service, method, url, body)}
        given["content-length"] = str(len(body if sent is None else sent))
        head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return endpoint.exchange(
            f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body if sent is None else sent), method
        )

    identity = b"Action=GetCallerIdentity&Version=2011-06-15"
    assert send("sts", "POST", "/", identity).status == 200
    assert b"IncompleteSignature" in send("s3", "POST", "/", identity).body
    # The body is covered, though no header says its hash.
    assert b"SignatureDoesNotMatch" in send("sts", "POST", "/", identity, sent=identity + b"&").body
    assert send("s3", "GET", f"/{bucket}/in/one").status == 200
    assert send("sts", "GET", f"/{bucket}/in/one").code in ("InvalidRequest", "AuthorizationHeaderMalformed")


def test_without_an_issuer_there_is_no_sts(place, certificates, issuer, bucket):
    token = keys(assume(place.gateways_sts[0], issuer.token()))
    off = place.start("sts-off", certificates)
    assert form(off, b"Action=GetCallerIdentity&Version=2011-06-15") == (501, "NotImplemented")
    assert error_of(s3(off, token).list_objects_v2, Bucket=bucket) == "InvalidToken"


def test_a_session_ends_with_its_role(place, certificates, issuer, bucket):
    credentials = keys(assume(place.gateways_sts[0], issuer.token(sub="team:blue")))
    for name, old, new in (
        ("renamed", 'name = "reports"', 'name = "reports-2"'),
        ("narrowed", '"team:*"', '"team:red"'),
        ("another-principal", 'name = "reports"', 'name = "reports"\nprincipal = "tester"'),
    ):
        assert old in place.more
        gateway = place.start(f"sts-{name}", certificates, more=place.more.replace(old, new))
        assert error_of(s3(gateway, credentials).list_objects_v2, Bucket=bucket) == "InvalidToken", name
        gateway.stop()
    s3(place.gateways_sts[0], credentials).list_objects_v2(Bucket=bucket)


def test_sessions_can_be_ended(place, issuer, bucket):
    gateway = place.gateways_sts[0]
    client = s3(gateway, keys(assume(gateway, issuer.token())))
    client.list_objects_v2(Bucket=bucket)
    path = place.folder / "credentials.toml"
    before = path.read_text()
    later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    path.write_text(f'sessions_not_before = "{later.strftime("%Y-%m-%dT%H:%M:%SZ")}"\n' + before)
    wait_until("sessions ended", lambda: error_of(client.list_objects_v2, Bucket=bucket) == "ExpiredToken", 20)
    time.sleep(2)
    s3(gateway, keys(assume(gateway, issuer.token()))).list_objects_v2(Bucket=bucket)
    path.write_text(before)
    wait_until("restored", lambda: error_of(client.list_objects_v2, Bucket=bucket) is None, 20)


def test_new_keys_are_found_and_a_silent_issuer_is_borne(place, certificates, issuer):
    gateway = place.start("sts-rotation", certificates, more=place.more)
    assume(gateway, issuer.token())
    second = Key("second", "ES256")
    issuer.keys.append(second)
    # A strange key leads to one look, not to one for each request.
    wait_until("the new key", lambda: _succeeds(gateway, issuer.token(key=second)), 30, step=1)
    issuer.is_down = True
    try:
        assume(gateway, issuer.token(key=second))
        looks = len(issuer.requests)
        codes = {refused(gateway, issuer.token(headers={"kid": "third"})) for _ in range(5)}
        assert codes <= {"InvalidIdentityToken", "IDPCommunicationError"}
        assert len(issuer.requests) - looks <= 2
        fresh = place.start("sts-cold", certificates, more=place.more)
        assert refused(fresh, issuer.token()) == "IDPCommunicationError"
    finally:
        issuer.is_down = False
        issuer.keys.remove(second)


def _succeeds(gateway, token):
    try:
        assume(gateway, token)
        return True
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidIdentityToken"
        return False


def test_no_token_is_in_the_logs(place, issuer, bucket):
    token = issuer.token()
    credentials = keys(assume(place.gateways_sts[0], token, name="audited"))
    s3(place.gateways_sts[0], credentials).list_objects_v2(Bucket=bucket)
    error_of(s3(place.gateways_sts[0], (credentials[0], "wrong" * 8, credentials[2])).list_objects_v2, Bucket=bucket)
    log = place.gateways_sts[0].server.log.read_text()
    assert "audited" in log and credentials[0] in log and "role/reports" in log
    for secret in (token, token.rsplit(".")[2], *credentials[1:]):
        assert secret not in log


def session_policy(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(actions, resources, effect="Allow"):
    return {"Effect": effect, "Action": actions, "Resource": resources}


def test_a_session_policy_takes_away(place, gateway, issuer, bucket):
    admin = boto(gateway.url, ACCESS_KEY, SECRET_KEY, gateway.ca)
    for key in ("in/one", "out/two", "in/gone", "out/kept", "gone"):
        admin.put_object(Bucket=bucket, Key=key, Body=b"x")
    arn = f"arn:aws:s3:::{bucket}"
    policy = session_policy(
        statement("s3:GetObject", [f"{arn}/in/*", f"{arn}/new"]),
        statement(["s3:PutObject"], f"{arn}/new"),
        statement("s3:Delete*", "*"),
        statement("s3:DeleteObject", f"{arn}/out/*", "Deny"),
    )
    for gateway in place.gateways_sts:
        client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=policy)))
        assert client.get_object(Bucket=bucket, Key="in/one")["Body"].read() == b"x"
        assert client.head_object(Bucket=bucket, Key="in/one")["ContentLength"] == 1
        assert error_of(client.get_object, Bucket=bucket, Key="out/two") == "AccessDenied"
        assert error_of(client.head_object, Bucket=bucket, Key="out/two") == "403"
        assert error_of(client.list_objects_v2, Bucket=bucket) == "AccessDenied"
        assert error_of(client.list_buckets) == "AccessDenied"
        assert error_of(client.put_object, Bucket=bucket, Key="in/one", Body=b"y") == "AccessDenied"
        assert error_of(client.put_object, Bucket=bucket, Key="new", Body=b"y", ACL="private") == "AccessDenied"
        client.put_object(Bucket=bucket, Key="new", Body=b"y")
        client.copy_object(Bucket=bucket, Key="new", CopySource={"Bucket": bucket, "Key": "in/one"})
        source = {"Bucket": bucket, "Key": "out/two"}
        assert error_of(client.copy_object, Bucket=bucket, Key="new", CopySource=source) == "AccessDenied"
        upload = client.create_multipart_upload(Bucket=bucket, Key="new")["UploadId"]
        part = {"Bucket": bucket, "Key": "new", "UploadId": upload, "PartNumber": 1}
        assert error_of(client.upload_part_copy, **part, CopySource=source) == "AccessDenied"
        client.upload_part_copy(**part, CopySource={"Bucket": bucket, "Key": "in/one"})
        assert error_of(client.abort_multipart_upload, Bucket=bucket, Key="new", UploadId=upload) == "AccessDenied"
        admin.abort_multipart_upload(Bucket=bucket, Key="new", UploadId=upload)
        wanted = {"Objects": [{"Key": "in/gone"}, {"Key": "out/kept"}, {"Key": "in/one", "VersionId": "null"}]}
        answer = client.delete_objects(Bucket=bucket, Delete=wanted)
        assert "in/gone" in [one["Key"] for one in answer["Deleted"]]
        assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [("out/kept", "AccessDenied")]
        admin.put_object(Bucket=bucket, Key="in/one", Body=b"x")
        assert error_of(client.delete_object, Bucket=bucket, Key="out/kept") == "AccessDenied"
        client.delete_object(Bucket=bucket, Key="gone")
    # It cannot give what the gateway's own policy does not.
    client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=session_policy(statement("*", "*")))))
    assert error_of(client.create_bucket, Bucket="sts-more") == "AccessDenied"
    assert error_of(client.get_bucket_versioning, Bucket=bucket) == "AccessDenied"
    listing = session_policy(statement("s3:ListBucket", arn))
    client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=listing)))
    client.list_objects_v2(Bucket=bucket)
    client.head_bucket(Bucket=bucket)
    assert error_of(client.list_object_versions, Bucket=bucket) == "AccessDenied"
    assert error_of(client.get_object, Bucket=bucket, Key="in/one") == "AccessDenied"


def test_a_copy_takes_tags_along_only_with_the_rights_to_them(gateway, issuer, bucket):
    admin = boto(gateway.url, ACCESS_KEY, SECRET_KEY, gateway.ca)
    admin.put_object(Bucket=bucket, Key="in/tagged", Body=b"x", Tagging="secret=of-others")
    admin.put_object(Bucket=bucket, Key="in/plain", Body=b"x")
    arn = f"arn:aws:s3:::{bucket}"
    objects = statement(["s3:GetObject", "s3:PutObject"], f"{arn}/*")
    own = statement("s3:GetObjectTagging", f"{arn}/own/*")
    write = statement("s3:PutObjectTagging", f"{arn}/own/*")
    theirs = statement("s3:GetObjectTagging", f"{arn}/in/*")
    source = {"Bucket": bucket, "Key": "in/tagged"}
    # Without the right to the source's tags, or to set any, a copy must not be the way around it.
    for rights in ([objects, own], [objects, own, write], [objects, own, theirs]):
        client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=session_policy(*rights))))
        assert error_of(client.get_object_tagging, **source) == "AccessDenied" or theirs in rights
        assert error_of(client.copy_object, Bucket=bucket, Key="own/copy", CopySource=source) == "AccessDenied"
        assert error_of(admin.head_object, Bucket=bucket, Key="own/copy") == "404"
        client.copy_object(Bucket=bucket, Key="own/plain", CopySource={"Bucket": bucket, "Key": "in/plain"})
    client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=session_policy(objects, own, write, theirs))))
    client.copy_object(Bucket=bucket, Key="own/copy", CopySource=source)
    assert client.get_object_tagging(Bucket=bucket, Key="own/copy")["TagSet"] == [{"Key": "secret", "Value": "of-others"}]
    # Nor is the source's version another name for it.
    versioned = statement("s3:GetObjectVersion", f"{arn}/*")
    client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=session_policy(objects, versioned, own, write, theirs))))
    wanted = {**source, "VersionId": "null"}
    assert error_of(client.copy_object, Bucket=bucket, Key="own/copy", CopySource=wanted) == "AccessDenied"
    # Other tags, or none, need the right to set them only.
    client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=session_policy(objects, own, write))))
    client.copy_object(Bucket=bucket, Key="own/copy", CopySource=source, TaggingDirective="REPLACE", Tagging="a=b")
    assert client.get_object_tagging(Bucket=bucket, Key="own/copy")["TagSet"] == [{"Key": "a", "Value": "b"}]


def test_session_policies_that_would_not_be_respected_are_refused(gateway, issuer):
    good = statement("s3:GetObject", "*")
    for more in ({"Condition": {}}, {"Principal": "*"}, {"NotAction": "s3:*"}, {"NotResource": "*"}):
        code = refused(gateway, issuer.token(), Policy=session_policy({**good, **more}))
        assert code == "MalformedPolicyDocument", more
    assert refused(gateway, issuer.token(), Policy="nonsense") == "MalformedPolicyDocument"
    assert refused(gateway, issuer.token(), Policy=session_policy()) == "MalformedPolicyDocument"
    wide = session_policy(statement("s3:GetObject", f"arn:aws:s3:::b/{'é' * 1000}"))
    assert len(json.loads(wide)["Statement"][0]["Resource"]) < 2048
    assert refused(gateway, issuer.token(), Policy=json.dumps(json.loads(wide), ensure_ascii=False)) == "PackedPolicyTooLarge"
    long = session_policy(statement("s3:GetObject", f"arn:aws:s3:::b/{'e' * 2048}"))
    assert refused(gateway, issuer.token(), Policy=long) == "ValidationError"


def test_the_store_never_sees_a_session(place, certificates, issuer, bucket):
    recorder, real = Recorder(place.store), place.store
    place.store = recorder
    try:
        gateway = place.start("sts-recorded", certificates, more=place.more)
    finally:
        place.store = real
    token = issuer.token()
    credentials = keys(assume(gateway, token, Policy=session_policy(statement("s3:*", "*"))))
    client = s3(gateway, credentials)
    client.put_object(Bucket=bucket, Key="seen", Body=b"x" * 100_000, Metadata={"a": "b"})
    client.get_object(Bucket=bucket, Key="seen")["Body"].read()
    client.list_objects_v2(Bucket=bucket)
    client.copy_object(Bucket=bucket, Key="seen-2", CopySource={"Bucket": bucket, "Key": "seen"})
    upload = client.create_multipart_upload(Bucket=bucket, Key="seen-3")["UploadId"]
    part = client.upload_part(Bucket=bucket, Key="seen-3", UploadId=upload, PartNumber=1, Body=b"y")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(Bucket=bucket, Key="seen-3", UploadId=upload, MultipartUpload=parts)
    client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "seen-2"}, {"Key": "seen-3"}]})
    url = client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "seen"}, ExpiresIn=60)
    endpoint = raw.Endpoint(gateway.url, "-", "-", gateway.ca)
    target = url.removeprefix(gateway.url)
    assert endpoint.exchange(f"GET {target} HTTP/1.1\r\nhost: {endpoint.host}\r\n\r\n".encode()).status == 200
    received = recorder.received
    recorder.stop()
    assert b"/seen" in received and received.count(b"PUT /") >= 3
    for secret in (token, *credentials):
        assert secret.encode() not in received
        assert urllib.parse.quote(secret, safe="").encode() not in received
    assert b"security-token" not in received.lower()


def test_check_tells_whether_issuers_answer(place, issuer):
    config = place.config("sts-check", more=place.more)
    done = run(["check", "--config", config], place.env, check=False)
    assert f"{issuer.url} (1 keys)" in done.stdout and done.returncode == 0, done.stdout
    issuer.is_down = True
    try:
        done = run(["check", "--config", config], place.env, check=False)
    finally:
        issuer.is_down = False
    assert "E-STS-001" in done.stdout and "status 503" in done.stdout and done.returncode == 1, done.stdout


def test_an_issuer_that_cannot_be_reached_is_read_from_a_file(place, certificates, issuer, bucket):
    path = place.folder / "cluster-keys.json"
    path.write_text(json.dumps({"keys": [key.public() for key in issuer.keys]}))
    more = place.more.replace("ca_file", f'jwks_file = "{path}"\nca_file', 1)
    gateway = place.start("sts-file", certificates, more=more)
    before = len(issuer.requests)
    assume(gateway, issuer.token())
    assert len(issuer.requests) == before


def test_browser_forms_of_a_session_keep_to_its_policy(gateway, issuer, bucket):
    policy = session_policy(statement("s3:PutObject", f"arn:aws:s3:::{bucket}/form/*"))
    client = s3(gateway, keys(assume(gateway, issuer.token(), Policy=policy)))
    endpoint = raw.Endpoint(gateway.url, "-", "-", gateway.ca)

    def post(key, **fields):
        form = client.generate_presigned_post(bucket, key, Fields=fields, Conditions=[{n: v} for n, v in fields.items()])
        parts = [f'--B\r\ncontent-disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in form["fields"].items()]
        parts.append('--B\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--B--\r\n')
        body = "".join(parts).encode()
        head = (
            f"POST /{bucket} HTTP/1.1\r\nhost: {endpoint.host}\r\ncontent-type: multipart/form-data; boundary=B\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return endpoint.exchange(head.encode() + body)

    assert post("form/x").status == 204
    assert post("other/x").code == "AccessDenied"
    assert post("form/x", acl="private").code == "AccessDenied"
