# SPDX-License-Identifier: Apache-2.0
"""One request is found everywhere: in the traces of gateway and engine, in the log by its id, on the dashboard, in the cost report.

Gateway, llama.cpp and Prometheus are real. Doubles: the collector of traces, which holds what it gets to OTLP's schema, and OpenCost
(tests/support/opencost.py); tests/e2e/test_cost_report.py asks its program.
"""

from __future__ import annotations

import datetime
import http.client
import json
import re
import urllib.request
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlencode

import pytest
import yaml

from ansible_collections.llm.on_eks.plugins.plugin_utils.monitoring import dashboards as grafana
from ansible_collections.llm.on_eks.plugins.plugin_utils.reports import cost
from local.observe import dashboards
from tests.support import opencost
from tests.support.live_metrics import FILES, Scene, needs_prometheus, shortened, soon, wait_for
from tests.support.otlp_collector import collecting
from tests.support.serving import serving
from tests.support.tiny_model import make_tiny_gguf

pytestmark = [pytest.mark.programs, needs_prometheus]
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextmanager
def heard(engine_port):
    """A way to the engine on which the headers of each question are kept."""
    heads = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.passed(None)

        def do_POST(self):
            heads.append({name.lower(): value for name, value in self.headers.items()})
            self.passed(self.rfile.read(int(self.headers["content-length"])))

        def passed(self, body):
            connection = http.client.HTTPConnection("127.0.0.1", engine_port, timeout=30)
            connection.request(self.command, self.path, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            said = answer.read()
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)
            connection.close()

        def log_message(self, *__):
            pass

    with serving(Handler) as url:
        yield heads, url


class Services:
    """The API server's way to Services: Prometheus is the scene's; for OpenCost the engine's pod costs 3 USD a day, and idle nodes 1 USD."""

    def __init__(self, scene):
        self.scene = scene

    def request(self, method, path, *, query, what):
        if "/opencost:" in path:
            now = datetime.datetime.now(datetime.UTC)
            rates = {"tiny": 3 / 24, "__idle__": 1 / 24}
            status, body = opencost.allocation(query, rates, now - datetime.timedelta(days=9), now)
            assert status == 200
            return body
        address = f"{self.scene.prometheus_url}/{path.partition('/proxy/')[2]}?{urlencode(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read()


def spent(scene):
    places = {"opencost": "opencost/opencost:9003", "prometheus": "monitoring/p:9090"}
    # The minute that runs is not asked for; the tokens are a few seconds old.
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=1)
    return cost.ask(Services(scene), 1, until=now, **places)


def test_one_request_is_found_in_traces_in_the_log_on_the_dashboard_and_in_the_cost_report(tmp_path):
    model = make_tiny_gguf(tmp_path / "tiny.gguf", kind="bigram")
    (tmp_path / "boards").mkdir()
    for board in grafana.dashboards(yaml.safe_load((FILES / "panels.yml").read_text())):
        (tmp_path / "boards" / f"{board['name']}.json").write_text(soon(board["json"]))
    with collecting() as (collector, traces):
        scene = Scene(tmp_path, model, shortened(), ("--trace-endpoint", traces, "--trace-sample", "0"))
        with scene.prometheus(), scene.engine(), heard(scene.engine_port) as (heads, way), scene.gateway([way]):  # pylint: disable=used-before-assignment
            # What is not counted yet is measured: otherwise the first request would be none in Prometheus' eyes.
            wait_for(lambda: scene.query('llm_gateway_key_tokens_total{key="first"} == 0'), "the key's first sample")
            wait_for(lambda: scene.query('llm_gateway_tokens_total{model="tiny"} == 0'), "the model's first sample")
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "one-of-many"}
            usage = json.loads(scene.ask(stream=False, max_tokens=20, headers=headers))["usage"]
            tokens = usage["total_tokens"]
            assert usage["completion_tokens"] == 20

            wait_for(lambda: collector.spans.get(TRACE), "the trace")
            [span] = collector.spans[TRACE]
            assert span.parent_span_id == PARENT
            assert span.attribute("gen_ai.usage.output_tokens") == "20"
            assert [event.name for event in span.events] == ["engine chosen", "first token"]
            assert collector.refused == []
            assert heads[-1]["traceparent"] == f"00-{TRACE}-{span.span_id}-01", (
                "the engine's spans are children of this one"
            )

            lines = [json.loads(line) for line in scene.access_log.read_text().splitlines()]
            [line] = [line for line in lines if line.get("trace_id") == TRACE]
            assert line["request_id"] == "one-of-many"
            assert (line["key"], line["model"], line["status"]) == ("first", "tiny", 200)
            assert line["prompt_tokens"] + line["completion_tokens"] == tokens

            wait_for(lambda: scene.query("model:llm_requests:rate5m > 0"), "the request's rate")
            drawn = dashboards.page(dashboards.Prometheus(scene.prometheus_url), tmp_path / "boards", "15m")
            for panel in ("Requests", "Time to first token", "Tokens", "Tokens by key"):
                figure = re.search(rf"<figcaption>{panel}<.*?</figure>", drawn)
                assert figure, panel
                assert "<svg" in figure[0], panel

            # Prometheus' `increase` adds what half a scrape interval at each end would have brought: much for a few samples, nothing for a day.
            wait_for(lambda: abs(spent(scene).tokens["tiny"] - tokens) <= 1, "the tokens", 60, lambda: spent(scene))
            wait_for(lambda: abs(spent(scene).key_tokens["first"] - tokens) <= 1, "the key's tokens", 60)
            found = spent(scene)
            [row] = cost.by_model(found)
            assert (row.own, row.shared, row.total) == (Decimal("3.00"), Decimal("1.00"), Decimal("4.00"))
            assert row.per_million == (4 / Decimal(row.tokens) * 1_000_000).quantize(Decimal("0.01"))
            [key] = cost.by_key(found)
            assert (key.name, key.total) == ("first", Decimal("4.00"))
