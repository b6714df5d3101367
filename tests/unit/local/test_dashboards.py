# SPDX-License-Identifier: Apache-2.0
"""The page that draws Grafana's dashboards: numbers with units, lines over time, and plain words where there is nothing."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import dashboards as grafana
from local.observe import dashboards
from local.observe.dashboards import Line, Plot
from tests.support.described import REPO
from tests.support.serving import running, serving

PANELS = yaml.safe_load((REPO / "roles" / "prometheus" / "files" / "panels.yml").read_text())


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "short", "0"),
        (1234, "short", "1.23 k"),
        (0.5, "percentunit", "50 %"),
        (0.0042, "s", "4.2 ms"),
        (90, "s", "1.5 min"),
        (0.000003, "s", "3 µs"),
        (3 * 1024**3, "bytes", "3 GiB"),
        (12.5, "reqps", "12.5/s"),
        (math.nan, "s", "no number"),
        (7, "a unit of tomorrow", "7"),
    ],
)
def test_numbers_have_units_and_three_digits(value, unit, text):
    assert dashboards.shown(value, unit) == text


def test_every_unit_of_the_panels_is_known():
    assert {panel.get("unit", "short") for board in PANELS for panel in board["panels"]} <= set(dashboards.UNITS)


def test_an_axis_ends_at_a_round_number():
    assert [dashboards.ceiling(value) for value in (0, 0.03, 1, 1.1, 4, 70)] == [1, 0.05, 1, 2, 5, 100]


def test_legends_are_filled_as_grafana_fills_them():
    assert dashboards.filled("{{model}} p95", {"model": "m"}) == "m p95"
    assert dashboards.filled("{{model}}", {}) == "all"


def test_the_series_of_every_query_of_the_panels_are_found():
    for board, panel, query in grafana.queries(PANELS):
        assert dashboards.metrics(query), (board, panel)
    assert dashboards.metrics('sum by (le) (rate(a_bucket{x="y_z"}[5m])) / on (n) sum(b:c:d)') == [
        "a_bucket",
        "b:c:d",
    ]


def test_a_gap_in_the_samples_is_a_gap_in_the_line():
    step = 900 / dashboards.POINTS
    times = [1000 - 5 * step, 1000 - 4 * step, 1000 - step, 1000]
    drawn = dashboards.svg([Line("m", [(at, 1.0) for at in times])], "short", 1000, 900)
    assert drawn.split('class="line c0"')[1].count("M") == 2


def test_values_that_are_no_numbers_are_not_drawn():
    only = Plot("Slow", "", "s", [Line("m", [(1000.0, math.nan)])], [])
    assert "No values in this time" in dashboards.figure(only, 1000, 900)


def test_texts_of_labels_cannot_become_markup():
    one = Plot("T", "", "short", [Line("<script>", [(1000.0, 1.0)])], [])
    assert "<script>" not in dashboards.figure(one, 1000, 900)


def test_what_nothing_measures_is_said_in_one_line():
    board = {"name": "nodes", "title": "Nodes"}
    text = dashboards.section(board, [Plot("Nodes by pool", "", "short", [], ["karpenter_nodes"])], 1000, 900)
    assert "Not measured here: Nodes by pool (karpenter_nodes)" in text
    assert "<figure" not in text


def test_colours_stay_when_values_change_places():
    def legends(first, second):
        lines = [Line("a", [(1.0, first)]), Line("b", [(1.0, second)])]
        return [line.legend for line in dashboards.highest(lines)]

    assert legends(1, 2) == legends(2, 1) == ["a", "b"]


class Answers(BaseHTTPRequestHandler):
    """Prometheus' API with one series and one alert."""

    asked = 0

    def log_message(self, *__):
        pass

    def do_GET(self):
        type(self).asked += 1
        where = urlsplit(self.path)
        found = {
            "/api/v1/label/__name__/values": ["model:llm_requests:rate5m"],
            "/api/v1/targets": {"activeTargets": [{"labels": {"job": "llm-gateway"}, "health": "up"}]},
            "/api/v1/alerts": {
                "alerts": [
                    {
                        "state": "firing",
                        "labels": {"alertname": "LlmNoEngine", "severity": "critical"},
                        "annotations": {"summary": "No engine", "runbook_url": "https://books/#a"},
                    }
                ]
            },
        }.get(where.path)
        if found is None:
            query = parse_qs(where.query)
            mine = query["query"] == ["model:llm_requests:rate5m"]
            values = [[float(query["end"][0]) - 15, "2"], [float(query["end"][0]), "3"]]
            found = {"result": [{"metric": {"model": "m"}, "values": values}] if mine else []}
        body = json.dumps({"data": found}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def folder(tmp_path):
    for board in grafana.dashboards(PANELS):
        (tmp_path / f"{board['name']}.json").write_text(board["json"])
    return tmp_path


def get(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read().decode()


def test_the_page_draws_grafanas_documents_and_names_what_fires(folder):
    Answers.asked = 0
    with (
        serving(Answers) as prometheus,
        running(dashboards.serve(folder, prometheus, 0, "127.0.0.1")) as address,
    ):
        text = get(address)
        asked = Answers.asked
        assert get(address) == text
    assert Answers.asked == asked, "a page that was just drawn was drawn again"
    assert "LlmNoEngine" in text
    assert 'href="https://books/#a"' in text
    assert "llm-gateway 1 of 1" in text
    assert text.count("<svg") == 1
    assert "3/s" in text
    assert text.count("<section") == len(PANELS)
    assert "http" not in text.replace("https://books/", "").replace("http-equiv", ""), (
        "something is loaded from elsewhere"
    )


def test_a_prometheus_that_does_not_answer_is_said(folder):
    with running(dashboards.serve(folder, "http://127.0.0.1:9", 0, "127.0.0.1")) as address:
        assert get(f"{address}/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(address)
    assert refused.value.code == 502
    assert "Prometheus at http://127.0.0.1:9 does not answer" in refused.value.read().decode()
