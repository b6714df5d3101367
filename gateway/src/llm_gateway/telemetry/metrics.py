# SPDX-License-Identifier: Apache-2.0
"""Counters and histograms in Prometheus' text format, cheap enough to be always on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from llm_gateway.callers.caller import KeyUse
from llm_gateway.callers.keys import KeyStore
from llm_gateway.telemetry.instruments import (
    MAX_LABEL_VALUES,
    MAX_LABELS,
    OTHER,
    OVERHEAD_SECONDS,
    SECONDS,
    TOKEN_SECONDS,
    USAGE_TOKENS,
    Counter,
    Gauge,
    Histograms,
    ModelMetrics,
    escape,
)


class Snapshot(msgspec.Struct):
    """All counts of one process, to be sent to another."""

    counters: dict[str, list[tuple[tuple[str, ...], float]]]
    histograms: dict[str, list[tuple[str, list[int], float]]]
    gauges: dict[str, list[tuple[tuple[str, ...], float]]]


_DECODE_SNAPSHOT = msgspec.msgpack.Decoder(Snapshot).decode


class Metrics:
    """All that the gateway counts."""

    def __init__(self) -> None:
        self.requests = Counter(
            "requests_total", "Requests answered, by what became of them", ("model", "status", "reason")
        )
        self.key_requests = Counter("key_requests_total", "Requests by key", ("key",))
        self.tokens = Counter("tokens_total", "Tokens in (prompt) and out (completion)", ("model", "direction"))
        self.key_tokens = Counter("key_tokens_total", "Tokens, in and out, by key", ("key",))
        self.failovers = Counter(
            "failovers_total", "Requests handed to another engine before their first byte", ("reason",)
        )
        self.fallbacks = Counter("fallbacks_total", "Requests that a fallback model took", ("model", "fallback"))
        self.resumes = Counter("resumes_total", "Streams that were continued on another engine", ("model",))
        self.limits_degraded = Counter(
            "limits_degraded_total", "Requests admitted by this gateway's share because Redis did not answer", ()
        )
        self.engine_failures = Counter("engine_failures_total", "Failures of engines", ("engine", "reason"))
        self.ejections = Counter("ejections_total", "Times the breaker took an engine out", ("engine",))
        self.config_reloads = Counter("config_reloads_total", "Changed configurations, taken or refused", ("result",))
        self.duration = Histograms(
            "request_seconds", "From a request's last byte to its reply's last byte", "model", SECONDS
        )
        self.first_token = Histograms(
            "time_to_first_token_seconds", "From a request's last byte to its reply's first", "model", SECONDS
        )
        self.token_gap = Histograms(
            "inter_token_seconds", "Time between the pieces of a stream", "model", TOKEN_SECONDS
        )
        self.token_time = Histograms(
            "time_per_output_token_seconds", "Mean time of a stream's tokens after the first", "model", TOKEN_SECONDS
        )
        self.overhead = Histograms(
            "overhead_seconds",
            "What the gateway itself took: until the engine had the request, and after its reply had come",
            "model",
            OVERHEAD_SECONDS,
        )
        self.queue_wait = Histograms("queue_seconds", "Time until an engine took the request", "model", SECONDS)
        # By direction and model; shown under OpenTelemetry's name only.
        self.token_usage = Histograms("", "Tokens of one request", "", USAGE_TOKENS, hidden=True)
        self.gauges: list[Gauge] = []
        self.of_model: dict[str, ModelMetrics] = {}
        self.of_key: dict[str, KeyUse] = {}

    def model(self, model: str) -> ModelMetrics:
        """The counts of one model."""
        if model not in self.of_model and len(self.of_model) >= MAX_LABEL_VALUES * 5:
            model = OTHER
        found = self.of_model.get(model)
        if found is None:
            found = self.of_model[model] = ModelMetrics(
                self.queue_wait.of(model),
                self.duration.of(model),
                self.first_token.of(model),
                self.overhead.of(model),
                (self.token_usage.of("input:" + model), self.token_usage.of("output:" + model)),
                self.token_time.of(model),
            )
        return found

    def key(self, name: str) -> KeyUse:
        """The counts of one key."""
        if name not in self.of_key and len(self.of_key) >= MAX_LABELS:
            name = OTHER
        return self.of_key.setdefault(name, KeyUse())

    def expect_keys(self, keys: KeyStore) -> None:
        """Show the counts of these keys from now on, unless they would take the place of keys that are used."""
        if len(keys) <= MAX_LABELS // 2:
            for name in keys.names():
                self.key(name)

    def gather(self) -> None:
        """Put what keys and models count by themselves where it is shown.

        What is known is shown before it counts anything: Prometheus' `increase` sees a step from 0, but no series that begins at 5.
        """
        for name, use in self.of_key.items():
            self.key_requests.add(name, by=use.requests)
            self.key_tokens.add(name, by=use.tokens)
            use.requests = use.tokens = 0
        for model, found in self.of_model.items():
            answered, prompt, completion = found.bring()
            self.requests.add(model, "200", "", by=answered)
            self.tokens.add(model, "prompt", by=prompt)
            self.tokens.add(model, "completion", by=completion)

    def _families(self) -> Iterator[Counter | Histograms]:
        for family in vars(self).values():
            if isinstance(family, Counter | Histograms):
                yield family

    def snapshot(self) -> bytes:
        """All counts, for `absorb` or `expose` in another process."""
        self.gather()
        return msgspec.msgpack.encode(
            Snapshot(
                {
                    family.name: list(family.values.items())
                    for family in self._families()
                    if isinstance(family, Counter)
                },
                {
                    family.name: [(value, one.counts, one.total) for value, one in family.by_value.items()]
                    for family in self._families()
                    if isinstance(family, Histograms)
                },
                {gauge.name: list(gauge.read()) for gauge in self.gauges},
            )
        )

    def absorb(self, snapshot: bytes) -> None:
        """Add another process' counts (not its gauges). Raises msgspec.MsgspecError."""
        found = _DECODE_SNAPSHOT(snapshot)
        for family in self._families():
            if isinstance(family, Counter):
                for values, count in found.counters.get(family.name, ()):
                    family.add(*values, by=count)
            else:
                for value, counts, total in found.histograms.get(family.name, ()):
                    family.of(value).add(counts, total)

    def expose(self, others: Iterable[bytes] = ()) -> str:
        """Prometheus' text format, version 0.0.4; with `others`, the sum over all processes."""
        self.gather()
        others = list(others)
        gauges: dict[str, dict[tuple[str, ...], list[float]]] = {
            gauge.name: {values: [value] for values, value in gauge.read()} for gauge in self.gauges
        }
        metrics = self
        if others:
            metrics = Metrics()
            metrics.absorb(self.snapshot())
            for other in others:
                metrics.absorb(other)
                for name, samples in _DECODE_SNAPSHOT(other).gauges.items():
                    for values, value in samples:
                        gauges.setdefault(name, {}).setdefault(values, []).append(value)
        parts: list[str] = []
        for family in metrics._families():
            parts += family.expose()
        for name, source, labels in GENAI:
            parts += _genai(name, getattr(metrics, source), labels)
        parts += _genai_tokens(metrics.token_usage)
        for gauge in self.gauges:
            parts += gauge.expose({values: gauge.over_workers(found) for values, found in gauges[gauge.name].items()})
        return "\n".join(parts) + "\n"


def counts_only(snapshot: bytes) -> bytes:
    """A snapshot without its gauges: what a process that is gone has counted, but no longer holds."""
    found = _DECODE_SNAPSHOT(snapshot)
    found.gauges = {}
    return msgspec.msgpack.encode(found)


# OpenTelemetry's names for what is counted anyway (https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/).
GENAI = (
    ("gen_ai_server_request_duration_seconds", "duration", 'gen_ai_operation_name="chat"'),
    ("gen_ai_server_time_to_first_token_seconds", "first_token", 'gen_ai_operation_name="chat"'),
    ("gen_ai_server_time_per_output_token_seconds", "token_time", 'gen_ai_operation_name="chat"'),
)


def _genai(name: str, family: Histograms, labels: str) -> Iterator[str]:
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} histogram"
    for value, histogram in family.by_value.items():
        yield from histogram.lines(
            name, f'{labels},gen_ai_provider_name="llm-gateway",gen_ai_request_model="{escape(value)}"'
        )


def _genai_tokens(family: Histograms) -> Iterator[str]:
    name = "gen_ai_client_token_usage"
    yield f"# HELP {name} {family.help}"
    yield f"# TYPE {name} histogram"
    for value, histogram in family.by_value.items():
        direction, __, model = value.partition(":")
        yield from histogram.lines(
            name,
            f'gen_ai_token_type="{direction}",gen_ai_operation_name="chat",gen_ai_provider_name="llm-gateway",'
            f'gen_ai_request_model="{escape(model)}"',
        )
