"""The chart and the sidecar manifest, against Kubernetes' own schemas and the binary.

What lives here: rendering with helm, validation with the schemas of several versions, and the rendered
configuration given to `sceau`. What must not: a cluster. Invariant: what is rendered is accepted by
both sides, and by no looser rule than the one that a pod of the restricted security standard has.
"""

import json
import re
import shutil
import subprocess

import jsonschema
import pytest
import yaml

from harness.gateway import ACCESS_KEY, SECRET_KEY, run
from harness.settings import FULL, ROOT

CHART = ROOT / "deploy/helm/sceau"
SIDECAR = ROOT / "deploy/kubernetes/sidecar.yaml"
SETS = sorted(CHART.glob("ci/*-values.yaml"))
VERSIONS = ["1.29", "1.33", "1.36"]
KINDS_OF_OPERATORS = {"ServiceMonitor", "PrometheusRule"}


def values(path):
    return yaml.safe_load(path.read_text())


def helm(*arguments, check=True):
    program = shutil.which("helm")
    if not program:
        assert not FULL, "./test --full installs helm"
        pytest.skip("helm is not installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def rendered(path, version="1.33"):
    text = helm("template", "demo", CHART, "-f", path, "--namespace", "storage", "--kube-version", f"{version}.0").stdout
    return [document for document in yaml.safe_load_all(text) if document]


def find(documents, kind, ending=""):
    return next(d for d in documents if d["kind"] == kind and d["metadata"]["name"].endswith(ending))


def accept(documents, version):
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed (requirements-full.txt)")
    for document in documents:
        if document["kind"] not in KINDS_OF_OPERATORS:
            validate.validate(document, version, strict=True)


def pods(documents):
    for document in documents:
        if document["kind"] == "Pod":
            yield document["spec"]
        elif document["kind"] in ("StatefulSet", "Deployment"):
            yield document["spec"]["template"]["spec"]


def is_ours(container):
    return "/sceau" in container["image"]


def assert_restricted(documents):
    """The restricted pod security standard for our containers, and the hardening that the documents promise."""
    seen = 0
    for pod in pods(documents):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not pod.get("hostNetwork") and not pod.get("hostPID")
        for volume in pod["volumes"]:
            assert "hostPath" not in volume
            if "secret" in volume:
                assert int(str(volume["secret"]["defaultMode"]), 10) == 0o440
        for container in filter(is_ours, pod["containers"] + pod.get("initContainers", [])):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False and security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            seen += 1
    assert seen


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_values_follow_the_schema(path):
    jsonschema.validate(values(path), json.loads((CHART / "values.schema.json").read_text()))


def test_the_schema_knows_every_value_and_no_other():
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(found, described, where):
        for name, value in found.items():
            assert name in described["properties"], f"{where}.{name} is not in the schema"
            inner = described["properties"][name]
            if isinstance(value, dict) and "properties" in inner:
                compare(value, inner, f"{where}.{name}")

    compare(values(CHART / "values.yaml"), schema, "values")
    with pytest.raises(jsonschema.ValidationError, match="replicas"):
        jsonschema.validate({**values(SETS[0]), "replicas": 3}, schema)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_lint(path):
    assert "0 chart(s) failed" in helm("lint", "--strict", "-f", path, CHART).stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_kubernetes_accepts_what_is_rendered(path, version):
    documents = rendered(path, version)
    accept(documents, version)
    assert_restricted(documents)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_the_binary_accepts_the_rendered_configuration(path, tmp_path):
    config = find(rendered(path), "ConfigMap", "-sceau")["data"]
    assert_accepted(config, tmp_path)


def assert_accepted(config, folder):
    """`sceau check` finds nothing wrong with the files; it cannot reach the store and the key service, of course."""
    secrets = folder / "secrets"
    secrets.mkdir()
    for name, text in {
        "credentials.toml": f'[[credential]]\naccess_key = "{ACCESS_KEY}"\nsecret = "{SECRET_KEY}"\nprincipal = "app"\n',
        "store-secret": "a-secret-of-the-store",
        "bao-token": "a-token",
        "hsm-pin": "1234",
    }.items():
        (secrets / name).write_text(text)
        (secrets / name).chmod(0o600)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=demo",
         "-addext", "subjectAltName=DNS:demo", "-keyout", secrets / "tls.key", "-out", secrets / "tls.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    text = config["sceau.toml"].lower()
    text = text.replace("/etc/sceau-secrets", str(secrets)).replace("/etc/sceau-tls", str(secrets))
    text = text.replace("/var/lib/sceau", str(folder))
    # Names that answer at once that nobody is there.
    text = re.sub(r"https://[\w.]+(:8200)?", "https://127.0.0.1:1", text)
    (folder / "sceau.toml").write_text(text)
    (folder / "policy.toml").write_text(config["policy.toml"])
    done = run(["check", "--config", folder / "sceau.toml"], check=False)
    lines = done.stdout + done.stderr
    assert "E-CONF" not in lines and "E-ACCESS" not in lines, lines
    assert re.search(r"ok +(files|configuration)", lines), lines


def test_mistakes_are_told_before_anything_is_installed(tmp_path):
    for change, message in [
        ({"replicas": 3}, "replicas"),
        ({"config": "[store]"}, "config"),
        ({"secrets": {"name": ""}}, "secrets/name|secrets.name"),
        ({"config": 'version = 1\n[listen]\ndata = "0.0.0.0:1"'}, "is written by this chart"),
    ]:
        path = tmp_path / "values.yaml"
        path.write_text(yaml.safe_dump({**values(CHART / "ci/minimal-values.yaml"), **change}))
        done = helm("template", "demo", CHART, "-f", path, "--kube-version", "1.33.0", check=False)
        assert done.returncode != 0 and re.search(message, done.stderr), done.stderr


def test_a_change_of_the_policy_restarts_nothing_and_one_of_the_configuration_does(tmp_path):
    def annotations(change):
        path = tmp_path / "values.yaml"
        path.write_text(yaml.safe_dump({**base, **change}))
        return find(rendered(path), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]

    base = values(CHART / "ci/minimal-values.yaml")
    before = annotations({})
    assert annotations({"policy": base["policy"] + "# more\n"}) == before
    assert annotations({"config": base["config"] + "# more\n"}) != before


def test_the_rendered_rules_are_those_of_the_repository():
    rules = find(rendered(CHART / "ci/production-values.yaml"), "PrometheusRule")["spec"]
    assert rules == yaml.safe_load((ROOT / "deploy/prometheus/rules.yaml").read_text())
    dashboards = find(rendered(CHART / "ci/production-values.yaml"), "ConfigMap", "-dashboards")["data"]
    assert {json.loads(text)["uid"] for text in dashboards.values()} == {"sceau-overview", "sceau-keys", "sceau-store"}


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_accepts_the_sidecar(version):
    accept(list(yaml.safe_load_all(SIDECAR.read_text())), version)


def test_the_sidecar_fails_closed(tmp_path):
    documents = list(yaml.safe_load_all(SIDECAR.read_text()))
    assert_restricted([d for d in documents if d["kind"] == "Deployment"])
    (pod,) = pods(documents)
    (sidecar,) = pod["initContainers"]
    (app,) = pod["containers"]
    assert sidecar["restartPolicy"] == "Always" and sidecar["startupProbe"]["httpGet"]["path"] == "/readyz"
    # The application sees none of the gateway's secrets and speaks to the sidecar only.
    assert not app.get("volumeMounts")
    assert all(e.get("valueFrom", {}).get("secretKeyRef", {}).get("name") != "sceau-sidecar" for e in app["env"])
    config = find(documents, "ConfigMap")["data"]
    assert {"name": "AWS_ENDPOINT_URL_S3", "value": "http://127.0.0.1:9000"} in app["env"]
    assert 'data = "127.0.0.1:9000"' in config["sceau.toml"]
    assert_accepted(config, tmp_path)
