# SPDX-License-Identifier: Apache-2.0
"""Alerts fire and clear (Prometheus' own promtool says so); every panel's query is one; each alert has its runbook."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import dashboards, rules
from tests.support.described import REPO
from tools.debian import find

FILES = REPO / "roles" / "prometheus" / "files"
ALERTS = yaml.safe_load((REPO / "tests" / "unit" / "monitoring" / "alerts.yml").read_text())
GROUPS = yaml.safe_load((FILES / "rules.yml").read_text())
NUMBERS = yaml.safe_load((FILES / "thresholds.yml").read_text())
PANELS = yaml.safe_load((FILES / "panels.yml").read_text())
PROMTOOL = find("promtool")
promtool = pytest.mark.skipif(not PROMTOOL, reason="promtool is missing; Debian's package prometheus has it")


def groups(**changes):
    return rules.with_numbers(GROUPS, {**NUMBERS, **changes}, runbooks="https://runbooks.example.com")


def ask_promtool(folder, tests, *, groups):
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    (folder / "tests.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": tests}))
    return subprocess.run(
        [PROMTOOL, "test", "rules", "tests.yml"], cwd=folder, capture_output=True, text=True, check=False
    )


def firing(alert, minute, count):
    expression = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})'
    return {
        "expr": expression,
        "eval_time": minute,
        "exp_samples": [{"labels": "{}", "value": count}] if count else [],
    }


def story(alert):
    given = ALERTS[alert]
    return {
        "interval": "1m",
        "name": alert,
        "input_series": [{"series": series, "values": values} for series, values in given["series"].items()],
        "promql_expr_test": [
            firing(alert, given["silent"], 0),
            firing(alert, given["fires"], 1),
            firing(alert, given["clears"], 0),
        ],
    }


def test_every_alert_has_a_story():
    assert sorted(ALERTS) == sorted(rules.alerts_of(GROUPS))


@promtool
@pytest.mark.programs
def test_every_alert_is_silent_fires_and_clears(tmp_path):
    said = ask_promtool(tmp_path, [story(alert) for alert in ALERTS], groups=groups())
    assert said.returncode == 0, said.stdout + said.stderr


@promtool
@pytest.mark.programs
def test_a_model_that_may_have_no_pod_is_not_told_of_without_one(tmp_path):
    quiet = [
        {**story(alert), "promql_expr_test": [firing(alert, ALERTS[alert]["fires"], 0)]}
        for alert in ("LlmModelHasNoEngine", "LlmNoEngine")
    ]
    said = ask_promtool(tmp_path, quiet, groups=groups(at_rest="k|m"))
    assert said.returncode == 0, said.stdout + said.stderr
    assert ask_promtool(tmp_path, quiet, groups=groups(at_rest="k")).returncode != 0


@promtool
@pytest.mark.programs
def test_a_programs_error_on_a_gpu_is_told_for_a_quarter_of_an_hour_and_not_for_ever(tmp_path):
    series = 'DCGM_FI_DEV_XID_ERRORS{Hostname="h", gpu="0", err_code="31", err_msg="GPU memory page fault"}'
    checks = [firing("GpuError", minute, count) for minute, count in (("4m", 0), ("10m", 1), ("30m", 0), ("3h", 0))]
    given = [{"series": series, "values": "_x5 31x200"}]
    said = ask_promtool(
        tmp_path, [{"interval": "1m", "input_series": given, "promql_expr_test": checks}], groups=groups()
    )
    assert said.returncode == 0, said.stdout + said.stderr


def exported(name):
    """Series -> labels, of an exporter's recorded page."""
    lines = (REPO / "tests/unit/monitoring/exporters" / f"{name}.prom").read_text().splitlines()
    found = [re.fullmatch(r"(\w+)\{(.*)\} \S+", line) for line in lines if not line.startswith("#")]
    return {one[1]: set(re.findall(r'(\w+)="', one[2])) for one in found}


@pytest.mark.parametrize(
    ("exporter", "prefix"), [("dcgm", "DCGM_"), ("neuron", "(?:neuron|execution_)")], ids=["dcgm", "neuron"]
)
def test_series_and_labels_of_accelerators_are_those_that_their_exporters_have(exporter, prefix):
    known = exported(exporter)
    texts = [rule["expr"] for group in GROUPS for rule in group["rules"]] + [
        one for *__, one in dashboards.queries(PANELS)
    ]
    asked = [text for text in texts if re.search(rf"\b{prefix}\w+", text)]
    assert asked
    grouped = r"(?:by|on) \(([^)]*)\)"
    for text in asked:
        names = set(re.findall(rf"\b{prefix}\w+\b(?=[\[{{) ])", re.sub(grouped, "", text)))
        labels = {one.strip() for found in re.findall(grouped, text) for one in found.split(",")}
        labels |= set(re.findall(r"(\w+)(?:=~|!~|=)\"", text))
        for name in names:
            assert name in known, text
            # Prometheus itself names who was asked.
            assert labels - {"instance"} <= known[name], text


@promtool
@pytest.mark.programs
def test_an_alert_whose_number_is_out_of_reach_is_noticed(tmp_path):
    said = ask_promtool(tmp_path, [story("LlmQueueLong")], groups=groups(queue=1000))
    assert said.returncode != 0, "the stories would not notice an alert that never fires"


@promtool
@pytest.mark.programs
def test_every_panel_asks_what_prometheus_understands(tmp_path):
    asked = [
        {"record": "asked", "expr": query, "labels": {"n": str(n)}}
        for n, (*__, query) in enumerate(dashboards.queries(PANELS))
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    said = subprocess.run(
        [PROMTOOL, "check", "rules", "rules.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_a_panel_that_names_a_recorded_series_names_one_that_is_recorded():
    recorded = {rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule}
    texts = [query for *__, query in dashboards.queries(PANELS)]
    texts += [rule["expr"] for group in GROUPS for rule in group["rules"]]
    used = {
        name
        for text in texts
        for name in re.findall(r"\b(?:model|model_direction|cluster):llm_?[a-z_]*:[a-z0-9_]+", text)
    }
    assert used
    assert used <= recorded


def test_series_of_the_gateway_are_series_that_the_gateway_has():
    telemetry = (REPO / "gateway" / "src" / "llm_gateway" / "telemetry" / "metrics.py").read_text()
    gauges = (REPO / "gateway" / "src" / "llm_gateway" / "gateway.py").read_text()
    known = set(re.findall(r'(?:Counter|Histograms|Gauge)\(\s*"([a-z_]+)"', telemetry + gauges))
    texts = [rule["expr"] for group in GROUPS for rule in group["rules"]] + [
        query for *__, query in dashboards.queries(PANELS)
    ]
    used = {re.sub("_bucket$", "", name) for text in texts for name in re.findall(r"llm_gateway_([a-z_]+)", text)}
    assert used
    assert used <= known


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_each_alert_has_a_section_in_the_runbooks(alert):
    text = (REPO / "docs" / "runbooks.md").read_text()
    section = text.partition(f"\n## {alert}\n")[2].partition("\n## ")[0]
    assert len(section.split()) > 20


def test_an_alerts_annotation_leads_to_its_runbook():
    alerts = [rule for group in groups() for rule in group["rules"] if "alert" in rule]
    assert {rule["annotations"]["runbook_url"] for rule in alerts} == {
        f"https://runbooks.example.com#{rule['alert'].lower()}" for rule in alerts
    }
    assert not re.search(r"<[a-z_]+>", json.dumps(alerts)), "a number was not filled in"


def test_an_alert_can_be_left_out_and_a_wrong_name_is_refused():
    left = rules.alerts_of(rules.with_numbers(GROUPS, NUMBERS, ["GpuHot"]))
    assert "GpuHot" not in left
    with pytest.raises(rules.MonitoringError, match="prometheus_alerts_off names 'GpuHott'; there are "):
        rules.with_numbers(GROUPS, NUMBERS, ["GpuHott"])
    with pytest.raises(rules.MonitoringError, match="prometheus_thresholds names 'quue'"):
        rules.with_numbers(GROUPS, {**NUMBERS, "quue": 3})
    with pytest.raises(rules.MonitoringError, match=r"prometheus_alert_receivers\[oncall\].severities names 'critcal'"):
        rules.routes([{"name": "oncall", "severities": ["critcal"], "config": {}}])


def test_a_receiver_gets_the_severities_that_it_asks_for():
    given = [
        {"name": "oncall", "severities": ["critical"], "config": {"webhook_configs": [{"url": "https://a"}]}},
        {"name": "chat", "config": {"slack_configs": [{"channel": "#llm"}]}},
    ]
    assert [route["matchers"] for route in rules.routes(given)] == [
        ['severity=~"critical"'],
        ['severity=~"critical|warning"'],
    ]
    assert rules.receivers(given)[1] == {"name": "chat", "slack_configs": [{"channel": "#llm"}]}


def test_a_dashboard_places_its_panels_side_by_side_and_asks_the_one_prometheus():
    made = {board["name"]: json.loads(board["json"]) for board in dashboards.dashboards(PANELS)}
    assert sorted(made) == ["accelerators", "cost", "engines", "gateway", "nodes"]
    for board in made.values():
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(set(places)) == len(places)
        assert {target["datasource"]["uid"] for panel in board["panels"] for target in panel["targets"]} == {
            "prometheus"
        }
