# SPDX-License-Identifier: Apache-2.0
"""Counters and histograms in Prometheus' text format, cheap enough to be always on."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

PREFIX = "llm_gateway_"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)
TOKEN_SECONDS = (0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
OVERHEAD_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)

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

    __slots__ = ("bounds", "by_value", "help", "label", "name")

    def __init__(self, name: str, help_: str, label: str, bounds: tuple[float, ...]) -> None:
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
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} histogram"
        for value, histogram in self.by_value.items():
            yield from histogram.lines(self.name, f'{self.label}="{escape(value)}"')


class Gauge:
    """Values that are read when somebody asks."""

    __slots__ = ("help", "labels", "name", "read")

    def __init__(
        self,
        name: str,
        help_: str,
        labels: tuple[str, ...],
        read: Callable[[], Iterable[tuple[tuple[str, ...], float]]],
    ) -> None:
        self.name = PREFIX + name
        self.help = help_
        self.labels = labels
        self.read = read

    def expose(self) -> Iterator[str]:
        """The gauge's lines."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} gauge"
        for values, value in self.read():
            labels = ",".join(f'{label}="{escape(text)}"' for label, text in zip(self.labels, values, strict=True))
            yield f"{self.name}{{{labels}}} {value:.17g}" if labels else f"{self.name} {value:.17g}"


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
        self.gauges: list[Gauge] = []

    def expose(self) -> str:
        """Prometheus' text format, version 0.0.4."""
        parts: list[str] = []
        for family in vars(self).values():
            if isinstance(family, Counter | Histograms):
                parts += family.expose()
        for gauge in self.gauges:
            parts += gauge.expose()
        return "\n".join(parts) + "\n"
