#!/usr/bin/env python3
"""Writes the Grafana dashboards beside this file. Run after a change: python3 deploy/grafana/build.py

What lives here: which panels there are, what each shows and what good looks like. The files are
generated so that all panels are alike; a test compares them with what this program writes, and
every metric in them with those that a gateway has.
"""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
JOB = 'job=~"$job",instance=~"$instance"'


def quantile(q, metric, by, more=""):
    return f"histogram_quantile({q}, sum by ({by + ', ' if by else ''}le) (rate({metric}_bucket{{{JOB}{more}}}[$__rate_interval])))"


def rate(metric, by, more=""):
    return f"sum by ({by}) (rate({metric}{{{JOB}{more}}}[$__rate_interval]))"


def panel(title, good, queries, unit="short", kind="timeseries", alert=None):
    """A panel: queries are pairs of expression and legend."""
    text = f"Good: {good}"
    if alert:
        text += f"\n\nAlert: {alert}, docs/runbooks/{alert}.md"
    return {"title": title, "description": text, "type": kind, "unit": unit, "queries": queries}


OVERVIEW = [
    panel("Integrity failures (24 h)", "0, always.",
          [(f"sum(increase(sceau_integrity_failures_total{{{JOB}}}[24h]))", "")], kind="stat", alert="SceauIntegrityFailure"),
    panel("Gateways", "as many as were started.", [('count(sceau_build_info{job=~"$job"})', "")], kind="stat", alert="SceauDown"),
    panel("Failed requests", "below 0.1 %.",
          [(f'sum(rate(sceau_requests_total{{{JOB},status_class="5xx"}}[5m])) / sum(rate(sceau_requests_total{{{JOB}}}[5m]))', "")],
          "percentunit", "stat", "SceauErrorBudgetBurnFast"),
    panel("Software keys", "0: all keys are in an HSM or key service.", [(f"max(sceau_dev_mode{{{JOB}}})", "")], kind="stat", alert="SceauDevMode"),
    panel("Requests", "your daily pattern.", [(rate("sceau_requests_total", "operation"), "{{operation}}")], "reqps"),
    panel("Errors by whose fault", "client errors only, few.",
          [(rate("sceau_request_errors_total", "side, code"), "{{side}} {{code}}")], "reqps", alert="SceauErrorBudgetBurnSlow"),
    panel("Time to the last byte, p99", "grows with object size; compare with last week.",
          [(quantile(0.99, "sceau_request_duration_seconds", "operation"), "{{operation}}")], "s"),
    panel("Where time goes, p99", "upstream_ttfb and body are the most of it; auth, plan and unwrap below 10 ms.",
          [(quantile(0.99, "sceau_request_phase_duration_seconds", "phase"), "{{phase}}")], "s"),
    panel("Bytes", "client_in close to store_out, client_out close to store_in.",
          [(rate("sceau_bytes_total", "direction"), "{{direction}}")], "Bps"),
    panel("Requests in flight", "far below limits.in_flight.", [(f"sum by (instance) (sceau_requests_in_flight{{{JOB}}})", "{{instance}}")], alert="SceauOverloaded"),
    panel("Refused before authorization", "near 0.", [(rate("sceau_auth_failures_total", "reason"), "{{reason}}")], "reqps", alert="SceauAuthFailureSpike"),
    panel("Denied by the policy", "near 0.", [(rate("sceau_policy_denials_total", "operation"), "{{operation}}")], "reqps", alert="SceauPolicyDenialSpike"),
    panel("Temporary credentials", "ok only.", [(rate("sceau_sts_requests_total", "action, outcome"), "{{action}} {{outcome}}")], "reqps"),
    panel("Newest access rules and keyring in use", "1 for each.",
          [(f"min by (source) (sceau_last_reload_success{{{JOB}}})", "{{source}}")], alert="SceauReloadFailed"),
    panel("Audit records", "follows the requests; none where there is no trail.", [(rate("sceau_audit_records_total", "event"), "{{event}}")], "ops", alert="SceauAuditNotRecording"),
    panel("Audit records that wait", "near 0.", [(f"sum by (instance) (sceau_audit_backlog_records{{{JOB}}})", "{{instance}}")], alert="SceauAuditNotRecording"),
]

KEYS = [
    panel("Key provider calls", "ok only.", [(rate("sceau_kms_requests_total", "op, outcome"), "{{op}} {{outcome}}")], "ops", alert="SceauKeyProviderDown"),
    panel("Key provider time, p99", "the HSM's own latency; below 1 s.",
          [(quantile(0.99, "sceau_kms_request_duration_seconds", "op"), "{{op}}")], "s", alert="SceauKeyProviderSlow"),
    panel("Operations by reason", "each has a record in the log; compare the count with the HSM's own.",
          [(rate("sceau_key_operations_total", "op, reason, outcome"), "{{op}} {{reason}} {{outcome}}")], "ops"),
    panel("Uses of keys by reason", "client-read, client-write and their like; scan and break-glass only when you know why.",
          [(rate("sceau_key_uses_total", "reason, decision"), "{{reason}} {{decision}}")], "ops", alert="SceauKeyUseDenied"),
    panel("Held keys", "one for each epoch in use.", [(f"sum by (instance) (sceau_key_cache_entries{{{JOB}}})", "{{instance}}")]),
    panel("Key look-ups", "hit, with a miss now and then.", [(rate("sceau_key_cache_requests_total", "outcome"), "{{outcome}}")], "ops"),
    panel("Keys dropped", "only generation, unless somebody asked for it.",
          [(f"sum by (cause) (increase(sceau_key_drops_total{{{JOB}}}[$__rate_interval]))", "{{cause}}")], alert="SceauKeysDropped"),
    panel("Generation of the keyring", "one line: all gateways agree.",
          [(f"sceau_keyring_generation{{{JOB}}}", "{{instance}}")], alert="SceauKeyringDiffers"),
    panel("HSM endpoints that answer", "1 for each endpoint of the configuration.",
          [(f"min by (instance, endpoint) (sceau_key_endpoint_up{{{JOB}}})", "{{instance}} {{endpoint}}")], alert="SceauKeyProviderDown"),
    panel("Calls that a second HSM was asked for", "near 0: the first one answers in time.",
          [(f"sum by (instance) (sceau_key_hedges{{{JOB}}})", "{{instance}}")], alert="SceauKeyProviderSlow"),
    panel("Restarts of the helper", "flat.", [(f"sceau_helper_restarts{{{JOB}}}", "{{instance}}")], alert="SceauHelperRestarts"),
    panel("Looks at issuers' keys", "ok only.", [(rate("sceau_sts_issuer_fetches_total", "outcome"), "{{outcome}}")], "ops", alert="SceauIssuerUnreachable"),
]

STORE = [
    panel("Requests to the store", "answered; 4xx are mostly objects that do not exist.",
          [(rate("sceau_upstream_requests_total", "outcome"), "{{outcome}}")], "reqps", alert="SceauStoreErrors"),
    panel("Time to the store's answer", "steady.",
          [(quantile(q, "sceau_upstream_request_duration_seconds", ""), f"p{round(q * 100)}") for q in (0.5, 0.9, 0.99)], "s"),
    panel("Sent again", "near 0.", [(rate("sceau_upstream_retries_total", "instance"), "{{instance}}")], "reqps"),
    panel("Bytes to and from the store", "a little more than the clients'.",
          [(rate("sceau_bytes_total", "direction", ',direction=~"store_.*"'), "{{direction}}")], "Bps"),
    panel("Store requests for one client request", "near 1; uploads of parts and listings of large folders need more.",
          [(f"sum(rate(sceau_upstream_requests_total{{{JOB}}}[$__rate_interval])) / sum(rate(sceau_requests_total{{{JOB}}}[$__rate_interval]))", "")]),
    panel("Alarm of many integrity failures", "0: below the rate that raises it.",
          [(f"max by (instance) (sceau_integrity_alarm{{{JOB}}})", "{{instance}}")], alert="SceauIntegrityFailure"),
    panel("Objects that did not verify", "0.", [(f"sum by (kind) (increase(sceau_integrity_failures_total{{{JOB}}}[$__rate_interval]))", "{{kind}}")],
          alert="SceauIntegrityFailure"),
]


def place(index, stats):
    """Position on the 24 columns: small numbers first, then graphs in two columns."""
    if index < stats:
        return {"x": index * 6, "y": 0, "w": 6, "h": 4}
    row, column = divmod(index - stats, 2)
    return {"x": column * 12, "y": (4 if stats else 0) + row * 8, "w": 12, "h": 8}


def variable(name, query):
    return {
        "name": name, "type": "query", "datasource": {"type": "prometheus", "uid": "${datasource}"}, "query": {"query": query, "refId": name},
        "refresh": 2, "includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
    }


def dashboard(uid, title, panels):
    stats = sum(1 for each in panels if each["type"] == "stat")
    return {
        "uid": uid, "title": title, "tags": ["sceau"], "timezone": "utc", "schemaVersion": 39, "editable": True, "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "links": [{"title": "Sceau", "type": "dashboards", "tags": ["sceau"], "asDropdown": True}],
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            variable("job", "label_values(sceau_build_info, job)"),
            variable("instance", 'label_values(sceau_build_info{job=~"$job"}, instance)'),
        ]},
        "panels": [
            {
                "id": index + 1, "title": each["title"], "description": each["description"], "type": each["type"],
                "gridPos": place(index, stats), "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "fieldConfig": {"defaults": {"unit": each["unit"], "min": 0}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + n), "expr": expression, "legendFormat": legend or "__auto"}
                    for n, (expression, legend) in enumerate(each["queries"])
                ],
            }
            for index, each in enumerate(panels)
        ],
    }


DASHBOARDS = {
    "overview": dashboard("sceau-overview", "Sceau: overview", OVERVIEW),
    "keys": dashboard("sceau-keys", "Sceau: keys", KEYS),
    "store": dashboard("sceau-store", "Sceau: store", STORE),
}


def text(name):
    """The file of a dashboard."""
    return json.dumps(DASHBOARDS[name], indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name in DASHBOARDS:
        (HERE / f"{name}.json").write_text(text(name), encoding="utf-8")
