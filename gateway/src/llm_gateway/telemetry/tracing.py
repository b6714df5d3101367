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
from typing import TYPE_CHECKING, Any

import msgspec

from llm_gateway.http.outgoing import OutgoingError, request

if TYPE_CHECKING:
    from llm_gateway.data_path.exchange import Exchange

LOG = logging.getLogger("llm_gateway.tracing")
BATCH_S = 2.0
MAX_SPANS = 4096
KIND_SERVER = 2
STATUS_ERROR = 2


class Span:
    """One traced request: 16 and 8 bytes of identity as hexadecimal digits."""

    __slots__ = ("parent_id", "span_id", "trace_id")

    def __init__(self, trace_id: str, span_id: str, parent_id: str) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id

    def header(self) -> bytes:
        """The `traceparent` that the engine gets."""
        return f"00-{self.trace_id}-{self.span_id}-01".encode()


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

    def end(self, exchange: Exchange, now: float, prompt: int | None, completion: int | None) -> None:
        """The request is over."""
        span = exchange.span
        if span is None:
            return
        if len(self._spans) >= MAX_SPANS:
            self.dropped += 1
            return
        operation = "chat" if b"chat" in exchange.path else exchange.path.rsplit(b"/", 1)[-1].decode("latin-1")
        attributes: dict[str, str | int | float | bool | None] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "llm-gateway",
            "gen_ai.request.model": exchange.asked_model,
            "gen_ai.response.model": exchange.model,
            "gen_ai.usage.input_tokens": prompt,
            "gen_ai.usage.output_tokens": completion,
            "http.request.method": "POST",
            "http.response.status_code": exchange.status,
            "url.path": exchange.head.path.decode("latin-1"),
            "error.type": exchange.reason or None,
            "llm_gateway.engine": exchange.engine_name,
            "llm_gateway.attempts": exchange.attempts,
            "llm_gateway.tenant": exchange.caller.tenant,
            "llm_gateway.stream": exchange.stream,
        }
        document: dict[str, Any] = {
            "traceId": span.trace_id,
            "spanId": span.span_id,
            "name": f"{operation} {exchange.model}",
            "kind": KIND_SERVER,
            "startTimeUnixNano": self._nanoseconds(exchange.started_at),
            "endTimeUnixNano": self._nanoseconds(now),
            "attributes": [attribute(name, value) for name, value in attributes.items() if value is not None],
            "events": [
                {"name": name, "timeUnixNano": self._nanoseconds(at)}
                for name, at in (("engine chosen", exchange.engine_at), ("first token", exchange.first_byte_at))
                if at
            ],
            "status": {"code": STATUS_ERROR} if exchange.status >= 500 else {},
        }
        if span.parent_id:
            document["parentSpanId"] = span.parent_id
        self._spans.append(document)

    def _nanoseconds(self, at: float) -> str:
        return str(int((at + self._offset_s) * 1e9))

    async def run(self) -> None:
        """Send what has been collected, for ever. A collector that is away loses spans, never requests."""
        while True:
            await asyncio.sleep(BATCH_S)
            await self.flush()

    async def flush(self) -> None:
        """Send what has been collected."""
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
        try:
            status, _ = await request("POST", self._url, body=body, timeout_s=5.0)
            if status >= 300:
                raise OutgoingError(f"{self._url}: status {status}")
        except OutgoingError as error:
            self.dropped += len(spans)
            LOG.warning("%d spans lost: %s", len(spans), error)


def attribute(name: str, value: str | int | float | bool | None) -> dict[str, Any]:
    """An attribute as OTLP's JSON has it (64-bit integers are texts there)."""
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": name, "value": {"doubleValue": value}}
    return {"key": name, "value": {"stringValue": value}}
