"""The alert rules, their pages and the dashboards, against the metrics that a gateway really has.

What lives here: rules.yaml, rules.test.yaml, the runbooks and the dashboards as data. What must not:
a list of metrics of our own; the gateway is asked. Invariant: nothing is shown or alarmed on that
no gateway counts, and every alert has a page that says what to do.
"""

import importlib.util
import json
import re
import shutil
import subprocess

import pytest
import yaml

from harness.settings import FULL, ROOT

RULES = ROOT / "deploy/prometheus/rules.yaml"
RULE_TESTS = ROOT / "deploy/prometheus/rules.test.yaml"
RUNBOOKS = ROOT / "docs/runbooks"
SECTIONS = ["Symptom", "Likely causes", "Look at", "Do", "It worked when"]
SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def exposition(site):
    """What a fresh gateway shows on /metrics."""
    gateway = site.start("monitoring")
    status, text = gateway.admin("/metrics")
    gateway.stop()
    assert status == 200
    return text


@pytest.fixture(scope="module")
def metrics(exposition):
    """Names of metric families, and the labels of each that can be seen at once."""
    return set(re.findall(r"^# TYPE (sceau_\w+)", exposition, re.MULTILINE))


def alerts():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def expressions():
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]
    for path in sorted((ROOT / "deploy/grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]


def used(expression):
    """The metrics of the gateway in an expression; recorded series have colons in their names."""
    for name in re.findall(r"(?<![\w:])sceau_\w+(?![\w:])", expression):
        for suffix in SUFFIXES:
            name = name.removesuffix(suffix)
        yield name


def test_every_metric_that_is_shown_or_alarmed_on_exists(metrics):
    missing = {(where, name) for where, text in expressions() for name in used(text) if name not in metrics}
    assert not missing
    assert len(metrics) > 20, "the gateway's exposition could not be read"


def test_every_metric_is_on_a_dashboard_or_in_a_rule(metrics):
    shown = {name for _, text in expressions() for name in used(text)}
    # Counted for comparison with the log by `grep | wc -l`, not for looking at.
    assert metrics - shown == {"sceau_access_log_records_total", "sceau_reloads_total"}


def test_counters_that_alarm_on_their_first_increase_start_at_zero(exposition):
    # increase() does not see the first sample of a series that was absent before.
    for series in [
        'sceau_integrity_failures_total{kind="tag"} 0',
        'sceau_key_drops_total{cause="signal"} 0',
        'sceau_key_uses_total{decision="denied",reason="break-glass"} 0',
        'sceau_request_errors_total{code="SlowDown",side="gateway"} 0',
        'sceau_sts_issuer_fetches_total{outcome="failed"} 0',
    ]:
        assert f"\n{series}\n" in exposition, series


def test_every_alert_has_a_page_with_all_sections_and_every_page_an_alert():
    pages = {path.stem for path in RUNBOOKS.glob("*.md")}
    named = set()
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        page = ROOT / rule["annotations"]["runbook_url"]
        assert re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE) == SECTIONS, page.name
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        named.add(page.stem)
    assert named == pages


def test_every_alert_has_a_unit_test():
    tested = {
        case["alertname"]
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert {rule["alert"] for rule in alerts()} == tested


@pytest.mark.parametrize("command", [["check", "rules", RULES.name], ["test", "rules", RULE_TESTS.name]], ids=["check", "test"])
def test_promtool_agrees(command):
    if not shutil.which("promtool"):
        assert not FULL, "./test --full installs promtool"
        pytest.skip("promtool is not installed (Debian package prometheus)")
    done = subprocess.run(["promtool", *command], cwd=RULES.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboards_are_what_their_program_writes():
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "deploy/grafana/build.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    found = {path.stem: path.read_text() for path in (ROOT / "deploy/grafana").glob("*.json")}
    assert found == {name: program.text(name) for name in program.DASHBOARDS}


def test_panels_say_what_good_looks_like_and_name_alerts_that_exist():
    known = {rule["alert"] for rule in alerts()}
    for path in (ROOT / "deploy/grafana").glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            assert panel["description"].startswith("Good: "), panel["title"]
            for alert in re.findall(r"Alert: (\w+)", panel["description"]):
                assert alert in known, panel["title"]
