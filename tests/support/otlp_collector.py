# SPDX-License-Identifier: Apache-2.0
"""A collector that takes OTLP over HTTP in JSON, and refuses whatever trace.proto does not have.

https://github.com/open-telemetry/opentelemetry-proto/blob/v1.7.0/opentelemetry/proto/trace/v1/trace.proto, and for JSON
https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: identities are hexadecimal, 64-bit integers are texts, enums are numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Annotated

import msgspec

from tests.support.serving import serving

TraceId = Annotated[str, msgspec.Meta(pattern="^(?!0{32})[0-9a-f]{32}$")]
SpanId = Annotated[str, msgspec.Meta(pattern="^(?!0{16})[0-9a-f]{16}$")]
Nanoseconds = Annotated[str, msgspec.Meta(pattern="^[0-9]{19}$")]
Integer = Annotated[str, msgspec.Meta(pattern="^-?[0-9]+$")]


class Message(msgspec.Struct, forbid_unknown_fields=True, rename="camel", kw_only=True):
    """A message of protobuf as JSON."""


class AnyValue(Message, kw_only=True):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Integer | None = None
    double_value: float | None = None


class KeyValue(Message, kw_only=True):
    key: str
    value: AnyValue


class Event(Message, kw_only=True):
    time_unix_nano: Nanoseconds
    name: str
    attributes: list[KeyValue] = []


class Status(Message, kw_only=True):
    message: str = ""
    code: int = 0


class Span(Message, kw_only=True):
    trace_id: TraceId
    span_id: SpanId
    parent_span_id: SpanId | None = None
    name: str
    kind: int
    start_time_unix_nano: Nanoseconds
    end_time_unix_nano: Nanoseconds
    attributes: list[KeyValue] = []
    events: list[Event] = []
    status: Status = msgspec.field(default_factory=Status)

    def attribute(self, key: str) -> object:
        """The value, whichever kind it has; None where there is none."""
        found = [one.value for one in self.attributes if one.key == key]
        values = [getattr(found[0], name) for name in AnyValue.__struct_fields__] if found else []
        return next((value for value in values if value is not None), None)


class Scope(Message, kw_only=True):
    name: str = ""
    version: str = ""


class ScopeSpans(Message, kw_only=True):
    scope: Scope
    spans: list[Span]


class Resource(Message, kw_only=True):
    attributes: list[KeyValue] = []


class ResourceSpans(Message, kw_only=True):
    resource: Resource
    scope_spans: list[ScopeSpans]


class ExportTraceServiceRequest(Message, kw_only=True):
    resource_spans: list[ResourceSpans]


class Collector:
    """`spans` by trace identity; `refused`: why requests were no OTLP."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Span]] = {}
        self.refused: list[str] = []

    def take(self, body: bytes) -> int:
        """The status of the answer."""
        try:
            document = msgspec.json.decode(body, type=ExportTraceServiceRequest)
        except msgspec.DecodeError as error:
            self.refused.append(str(error))
            return 400
        for one in document.resource_spans:
            for span in (span for scope in one.scope_spans for span in scope.spans):
                self.spans.setdefault(span.trace_id, []).append(span)
        return 200


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A running collector and its URL."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            right = self.path == "/v1/traces" and self.headers["content-type"] == "application/json"
            self.send_response(collector.take(body) if right else 404)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *__: object) -> None:
            return

    with serving(Handler) as url:
        yield collector, url
