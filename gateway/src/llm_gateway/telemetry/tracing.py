# SPDX-License-Identifier: Apache-2.0
"""Traces: W3C trace context in and out, spans sent by OTLP over HTTP in JSON (https://opentelemetry.io/docs/specs/otlp/).

A request that comes with a decision keeps it; of the others the configured share is traced. Attributes have OpenTelemetry's GenAI names;
no prompt and no answer is in them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from time import monotonic
from typing import Any

import msgspec

from llm_gateway.http.outgoing import OutgoingError, request
from llm_gateway.telemetry.ended import EndedRequest
from llm_gateway.telemetry.span import Span

LOG = logging.getLogger("llm_gateway.tracing")
BATCH_S = 2.0
MAX_SPANS = 4096
MAX_NAME = 256
KIND_SERVER = 2
STATUS_ERROR = 2
# The collector may take them later: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
RETRYABLE = frozenset({429, 502, 503, 504})


class Tracer:
    """Decides, collects, sends."""

    def __init__(self, endpoint: str, share: float) -> None:
        self._url = endpoint if endpoint.rstrip("/").endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"
        self.share = share  # of the requests that come without a decision
        self._spans: list[dict[str, Any]] = []
        self._chance = random.Random()  # noqa: S311  which request is traced is no secret
        # Between monotonic time, which requests are measured by, and the epoch.
        self._offset_s = time.time() - monotonic()
        self.dropped = 0

    def begin(self, traceparent: bytes | None) -> Span | None:
        """A span for this request, if it is to be traced. `traceparent` was checked for its shape."""
        if traceparent is not None:
            if not int(traceparent[53:55], 16) & 1:
                return None
            text = traceparent.decode()
            return Span(text[3:35], os.urandom(8).hex(), text[36:52])
        if self._chance.random() >= self.share:
            return None
        return Span(os.urandom(16).hex(), os.urandom(8).hex(), "")

    def end(self, ended: EndedRequest) -> None:
        """The request is over."""
        span = ended.span
        if span is None:
            return
        if len(self._spans) >= MAX_SPANS:
            self.dropped += 1
            return
        times = ended.times
        operation = "chat" if b"chat" in ended.route else ended.route.rsplit(b"/", 1)[-1].decode("latin-1")
        attributes: dict[str, str | int | float | bool | None] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "llm-gateway",
            "gen_ai.request.model": ended.asked_model[:MAX_NAME] or None,
            "gen_ai.response.model": ended.model or None,
            "gen_ai.usage.input_tokens": ended.prompt_tokens,
            "gen_ai.usage.output_tokens": ended.completion_tokens,
            "http.request.method": "POST",
            "http.response.status_code": ended.status,
            "url.path": ended.path.decode("latin-1"),
            "error.type": ended.reason or None,
            "llm_gateway.engine": ended.engine or None,
            "llm_gateway.attempts": ended.attempts,
            "llm_gateway.request_id": ended.request_id.decode("latin-1"),
            "llm_gateway.tenant": ended.caller.tenant or None,
            "llm_gateway.stream": ended.stream,
        }
        document: dict[str, Any] = {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            # Of models that there are: names that clients invent would fill the collector's list of operations.
            "name": f"{operation} {ended.model}".rstrip(),
            "kind": KIND_SERVER,
            "startTimeUnixNano": self._nanoseconds(times.started_at),
            "endTimeUnixNano": self._nanoseconds(ended.ended_at),
            "attributes": [attribute(name, value) for name, value in attributes.items() if value is not None],
            "events": [
                {"name": name, "timeUnixNano": self._nanoseconds(at)}
                for name, at in (("engine chosen", times.engine_at), ("first token", times.first_byte_at))
                if at
            ],
            # https://opentelemetry.io/docs/specs/semconv/general/recording-errors/; a client that leaves does nothing wrong.
            "status": {"code": STATUS_ERROR} if ended.reason and ended.reason != "client_gone" else {},
        }
        if span.parent_id:
            document["parentSpanId"] = span.parent_id
        self._spans.append(document)

    def _nanoseconds(self, at: float) -> str:
        return str(int((at + self._offset_s) * 1e9))

    async def run(self) -> None:
        """Send what has been collected, for ever. A collector that is away long loses spans, never requests."""
        while True:
            await asyncio.sleep(BATCH_S)
            await self.flush()

    async def flush(self) -> None:
        """Send what has been collected. What the collector may take later is kept for the next time, as far as there is room."""
        if not self._spans:
            return
        spans, self._spans = self._spans, []
        body = msgspec.json.encode(
            {
                "resourceSpans": [
                    {
                        "resource": {"attributes": [attribute("service.name", "llm-gateway")]},
                        "scopeSpans": [{"scope": {"name": "llm_gateway"}, "spans": spans}],
                    }
                ]
            }
        )
        kept = 0
        try:
            status, __ = await request("POST", self._url, body=body, timeout_s=5.0)
            if status < 300:
                return
            why = f"{self._url}: status {status}"
            later = status in RETRYABLE
        except OutgoingError as error:
            why, later = str(error), True
        if later:
            kept = min(len(spans), MAX_SPANS - len(self._spans))
            self._spans[:0] = spans[len(spans) - kept :]
        self.dropped += len(spans) - kept
        LOG.warning("%d spans lost, %d kept for later: %s", len(spans) - kept, kept, why)


def attribute(name: str, value: str | int | float | bool | None) -> dict[str, Any]:
    """An attribute as OTLP's JSON has it (64-bit integers are texts there)."""
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": name, "value": {"doubleValue": value}}
    return {"key": name, "value": {"stringValue": value}}
