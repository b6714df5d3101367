# SPDX-License-Identifier: Apache-2.0
"""Counters and histograms in Prometheus' text format, cheap enough to be always on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

import msgspec

PREFIX = "llm_gateway_"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)
TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
OVERHEAD_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)

USAGE_TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0)

# A label gets this many values; whatever comes later is counted as "other". Prometheus falls over otherwise.
MAX_LABEL_VALUES = 200
OTHER = "other"


def escape(value: str) -> str:
    """A label's value as the text format wants it."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class Histogram:
    """Observations in buckets."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def add(self, counts: list[int], total: float) -> None:
        """Count another histogram's observations too."""
        self.counts = [mine + other for mine, other in zip(self.counts, counts, strict=True)]
        self.total += total

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Bucket, sum and count lines."""
        running = 0
        comma = "," if labels else ""
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            yield f'{name}_bucket{{{labels}{comma}le="{bound:g}"}} {running}'
        running += self.counts[-1]
        braces = f"{{{labels}}}" if labels else ""
        yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {running}'
        yield f"{name}_sum{braces} {self.total:.9g}"
        yield f"{name}_count{braces} {running}"


class Counter:
    """Counts by label values, with a lid on how many there may be."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help_: str, labels: tuple[str, ...]) -> None:
        self.name = PREFIX + name
        self.help = help_
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {}

    def bump(self, values: tuple[str, ...], by: float) -> None:
        """Count `by` more, for label values that most likely are known."""
        if values in self.values:
            self.values[values] += by
        else:
            self.add(*values, by=by)

    def add(self, *values: str, by: float = 1) -> None:
        """Count `by` more."""
        if values not in self.values and len(self.values) >= MAX_LABEL_VALUES * 4:
            values = (OTHER,) * len(values)
        self.values[values] = self.values.get(values, 0) + by

    def expose(self) -> Iterator[str]:
        """The counter's lines."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} counter"
        if not self.labels:
            yield f"{self.name} {self.values.get((), 0):g}"
        for values, count in self.values.items():
            if self.labels:
                labels = ",".join(
                    f'{label}="{escape(value)}"' for label, value in zip(self.labels, values, strict=True)
                )
                yield f"{self.name}{{{labels}}} {count:.17g}"


class Histograms:
    """Histograms by one label."""

    __slots__ = ("bounds", "by_value", "help", "hidden", "label", "name")

    def __init__(self, name: str, help_: str, label: str, bounds: tuple[float, ...], *, hidden: bool = False) -> None:
        self.hidden = hidden
        self.name = PREFIX + name
        self.help = help_
        self.label = label
        self.bounds = bounds
        self.by_value: dict[str, Histogram] = {}

    def of(self, value: str) -> Histogram:
        """The histogram of this label value."""
        found = self.by_value.get(value)
        if found is None:
            if len(self.by_value) >= MAX_LABEL_VALUES * 5:
                value = OTHER
            found = self.by_value.setdefault(value, Histogram(self.bounds))
        return found

    def expose(self) -> Iterator[str]:
        """All lines."""
        if self.hidden:
            return
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        for value, histogram in self.by_value.items():
            yield from histogram.lines(self.name, f'{self.label}="{escape(value)}"')


class Gauge:
    """Values that are read when somebody asks. `over_workers` says how several processes' values become one: sum, or max."""

    __slots__ = ("help", "labels", "name", "over_workers", "read")

    def __init__(
        self,
        name: str,
        help_: str,
        labels: tuple[str, ...],
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]],
        over_workers: Callable[[Iterable[float]], float] = sum,
    ) -> None:
        self.name = PREFIX + name
        self.help = help_
        self.labels = labels
        self.read = read
        self.over_workers = over_workers

    def expose(self, values: dict[tuple[str, ...], float]) -> Iterator[str]:
        """The gauge's lines."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} gauge"
        for texts, value in values.items():
            labels = ",".join(f'{label}="{escape(text)}"' for label, text in zip(self.labels, texts, strict=True))
            yield f"{self.name}{{{labels}}} {value:.17g}" if labels else f"{self.name} {value:.17g}"


class Snapshot(msgspec.Struct):
    """All counts of one process, to be sent to another."""

    counters: dict[str, list[tuple[tuple[str, ...], float]]]
    histograms: dict[str, list[tuple[str, list[int], float]]]
    gauges: dict[str, list[tuple[tuple[str, ...], float]]]


_DECODE_SNAPSHOT = msgspec.msgpack.Decoder(Snapshot).decode


_STATUS_TEXTS = {status: str(status) for status in range(100, 600)}


def status_text(status: int) -> str:
    """A status as a label."""
    return _STATUS_TEXTS.get(status) or str(status)


class ModelMetrics:
    """One model's own histograms and counts, found once; a model beyond the lid shares those of "other"."""

    __slots__ = (
        "completion_tokens",
        "duration",
        "first_token",
        "input",
        "output",
        "overhead",
        "prompt_tokens",
        "queue_wait",
        "token_time",
    )

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.duration = metrics.duration.of(model)
        self.first_token = metrics.first_token.of(model)
        self.token_time = metrics.token_time.of(model)
        self.queue_wait = metrics.queue_wait.of(model)
        self.overhead = metrics.overhead.of(model)
        self.input = metrics.token_usage.of("input:" + model)
        self.output = metrics.token_usage.of("output:" + model)
        self.prompt_tokens = 0
        self.completion_tokens = 0


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

    def model(self, model: str) -> ModelMetrics:
        """The counts of one model."""
        if len(self.of_model) >= MAX_LABEL_VALUES * 5:
            model = OTHER
        found = self.of_model.get(model)
        if found is None:
            found = self.of_model[model] = ModelMetrics(self, model)
        return found

    def gather(self) -> None:
        """Put what models count by themselves where it is shown."""
        for model, found in self.of_model.items():
            for direction, count in (("prompt", found.prompt_tokens), ("completion", found.completion_tokens)):
                if count:
                    self.tokens.add(model, direction, by=count)
            found.prompt_tokens = found.completion_tokens = 0

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
        direction, _, model = value.partition(":")
        yield from histogram.lines(
            name,
            f'gen_ai_token_type="{direction}",gen_ai_operation_name="chat",gen_ai_provider_name="llm-gateway",'
            f'gen_ai_request_model="{escape(model)}"',
        )
