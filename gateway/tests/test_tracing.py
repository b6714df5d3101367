# SPDX-License-Identifier: Apache-2.0
"""Traces: W3C context passes through, spans reach a collector, and no text is in them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from gateway_support.house import House

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    def __init__(self) -> None:
        self.spans: list[dict] = []
        spans = self.spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                for resource in document["resourceSpans"]:
                    for scope in resource["scopeSpans"]:
                        spans.extend(scope["spans"])
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *__: object) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Collector]:
    found = Collector()
    yield found
    found.server.shutdown()
    found.server.server_close()


def attributes(span: dict) -> dict:
    return {entry["key"]: next(iter(entry["value"].values())) for entry in span["attributes"]}


def test_a_traced_request_is_a_span_between_its_parent_and_the_engines(house: House, collector: Collector) -> None:
    engine = house.engine()
    front = house.front(engine, trace_endpoint=collector.url, trace_sample=0.0)
    front.chat(headers={"traceparent": PARENT}, messages=[{"role": "user", "content": "my secret"}])
    front.chat()  # not sampled, and without a decision of its own
    house.until(lambda: not front.gateway.active)
    house.call(front.gateway.recorder.flush)
    house.run(front.gateway.tracer.flush())
    [span] = collector.spans
    assert span["traceId"] == PARENT[3:35]
    assert span["parentSpanId"] == PARENT[36:52]
    assert f"traceparent: 00-{span['traceId']}-{span['spanId']}-01" in engine.heads[0]
    assert "traceparent" not in engine.heads[1]
    found = attributes(span)
    assert found["gen_ai.request.model"] == "tiny"
    assert found["gen_ai.usage.output_tokens"] == "5"
    assert found["http.response.status_code"] == "200"
    assert "secret" not in json.dumps(span)
    assert int(span["endTimeUnixNano"]) > int(span["startTimeUnixNano"])


def test_all_are_traced_when_all_are_sampled_and_a_parents_no_is_kept(house: House, collector: Collector) -> None:
    engine = house.engine()
    front = house.front(engine, trace_endpoint=collector.url, trace_sample=1.0)
    for __ in range(3):
        front.open_stream(max_tokens=2).events()
    unsampled = PARENT[:-2] + "00"
    front.chat(headers={"traceparent": unsampled})
    assert f"traceparent: {unsampled}" in engine.heads[-1]
    house.until(lambda: not front.gateway.active)
    house.call(front.gateway.recorder.flush)
    house.run(front.gateway.tracer.flush())
    assert len(collector.spans) == 3
    assert [event["name"] for event in collector.spans[0]["events"]] == ["engine chosen", "first token"]


def test_without_tracing_the_context_passes_through(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)
    front.chat(headers={"traceparent": PARENT})
    assert f"traceparent: {PARENT}" in engine.heads[0]


def test_a_collector_that_is_away_costs_spans_only(house: House) -> None:
    front = house.front(house.engine(), trace_endpoint="http://127.0.0.1:9", trace_sample=1.0)
    assert front.chat().status == 200
    house.call(front.gateway.recorder.flush)
    house.run(front.gateway.tracer.flush())
    assert front.gateway.tracer.dropped == 1
