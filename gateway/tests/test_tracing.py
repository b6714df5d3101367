# SPDX-License-Identifier: Apache-2.0
"""Traces: W3C context passes through, spans reach a collector, and no text is in them."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from gateway_support.house import Front, House

from llm_gateway.telemetry.tracing import MAX_SPANS

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector:
    """`statuses`: what the next answers say; 200 when there are none left."""

    def __init__(self) -> None:
        self.spans: list[dict] = []
        self.statuses: list[int] = []
        spans, statuses = self.spans, self.statuses

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                document = json.loads(self.rfile.read(int(self.headers["content-length"])))
                status = statuses.pop(0) if statuses else 200
                for resource in document["resourceSpans"] if status == 200 else []:
                    for scope in resource["scopeSpans"]:
                        spans.extend(scope["spans"])
                self.send_response(status)
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
    sent(house, front)
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
    sent(house, front)
    assert len(collector.spans) == 3
    assert [event["name"] for event in collector.spans[0]["events"]] == ["engine chosen", "first token"]


def test_without_tracing_the_context_passes_through(house: House) -> None:
    engine = house.engine()
    front = house.front(engine)
    front.chat(headers={"traceparent": PARENT})
    assert f"traceparent: {PARENT}" in engine.heads[0]


def sent(house: House, front: Front) -> None:
    """What has ended is with the collector."""
    house.until(lambda: not front.gateway.active)
    house.call(front.gateway.recorder.flush)
    house.run(front.gateway.tracer.flush())


def test_a_collector_that_is_away_costs_no_request_and_gets_its_spans_later(house: House, collector: Collector) -> None:
    collector.statuses.extend([503])
    front = house.front(house.engine(), trace_endpoint=collector.url, trace_sample=1.0)
    assert front.chat().status == 200
    sent(house, front)
    assert (collector.spans, front.gateway.tracer.dropped) == ([], 0)
    assert front.chat().status == 200
    sent(house, front)
    assert len(collector.spans) == 2


def test_what_a_collector_refuses_is_not_sent_again(house: House, collector: Collector) -> None:
    collector.statuses.extend([400])
    front = house.front(house.engine(), trace_endpoint=collector.url, trace_sample=1.0)
    front.chat()
    sent(house, front)
    assert front.gateway.tracer.dropped == 1
    front.chat()
    sent(house, front)
    assert len(collector.spans) == 1


def test_a_collector_that_stays_away_costs_no_more_memory_than_was_said(house: House) -> None:
    front = house.front(house.engine(), trace_endpoint="http://127.0.0.1:9", trace_sample=1.0)
    front.chat()
    house.call(front.gateway.recorder.flush)
    tracer = front.gateway.tracer
    house.call(tracer._spans.extend, tracer._spans[:1] * (MAX_SPANS - 1))
    house.run(tracer.flush())
    front.chat()
    house.call(front.gateway.recorder.flush)
    assert (len(tracer._spans), tracer.dropped) == (MAX_SPANS, 1)


def test_the_last_spans_of_a_gateway_that_ends_are_sent(house: House, collector: Collector) -> None:
    front = house.front(house.engine(), trace_endpoint=collector.url, trace_sample=1.0)
    front.chat()
    house.run(front.worker.stop())
    assert len(collector.spans) == 1


def failures(house: House, front: Front) -> None:
    """An unknown model, a bad key, an answer that breaks off, a body in a coding that nobody knows; one after the other."""
    asked = {"traceparent": PARENT}
    assert front.chat(model="nobody", headers=asked | {"x-request-id": "unknown"}).status == 404
    assert front.chat(key="sk-wrong", headers=asked | {"x-request-id": "refused"}).status == 401
    with suppress(http.client.IncompleteRead):
        front.chat(stream=True, headers=asked | {"x-request-id": "broken"})
    coded = asked | {"x-request-id": "coded", "content-encoding": "zip"}
    assert front.chat(headers=coded).status == 415


def test_requests_that_fail_are_marked_and_found_by_the_id_in_their_line(
    house: House, collector: Collector, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    front = house.front(house.engine(mode="cut"), trace_endpoint=collector.url, access_log=str(log), retries=0)
    failures(house, front)
    sent(house, front)
    house.call(front.gateway.recorder.access_log.flush)
    lines = {line["request_id"]: line for line in map(json.loads, log.read_text().splitlines())}
    spans = {attributes(span)["llm_gateway.request_id"]: span for span in collector.spans}
    statuses = {"unknown": "404", "refused": "401", "broken": "200", "coded": "415"}
    assert lines.keys() == spans.keys() == statuses.keys()
    for request, span in spans.items():
        found = attributes(span)
        assert span["status"] == {"code": 2}, request
        assert found["error.type"] == lines[request]["reason"], request
        assert found["http.response.status_code"] == statuses[request]
        assert (span["traceId"], span["parentSpanId"]) == (lines[request]["trace_id"], PARENT[36:52])
    assert (spans["unknown"]["name"], spans["broken"]["name"]) == ("chat", "chat tiny"), (
        "names that clients invent are none"
    )
    assert (spans["refused"]["name"], lines["refused"]["key"], lines["coded"]["key"]) == ("chat", "", "key-1")


def test_a_client_that_leaves_is_no_error(house: House, collector: Collector) -> None:
    front = house.front(house.engine(tokens=500, gap_s=0.02), trace_endpoint=collector.url, trace_sample=1.0)
    stream = front.open_stream()
    stream.event()
    stream.close()
    sent(house, front)
    [span] = collector.spans
    assert (attributes(span)["error.type"], span["status"]) == ("client_gone", {})


@pytest.mark.parametrize(
    "wrong", ["00-" + "0" * 32 + PARENT[35:], PARENT[:36] + "0" * 16 + "-01", "ff" + PARENT[2:], PARENT.upper()]
)
def test_a_context_that_is_none_begins_a_new_trace(house: House, collector: Collector, wrong: str) -> None:
    front = house.front(house.engine(), trace_endpoint=collector.url, trace_sample=1.0)
    front.chat(headers={"traceparent": wrong})
    sent(house, front)
    [span] = collector.spans
    assert "parentSpanId" not in span
    assert span["traceId"].lower() != wrong[3:35].lower()
