# SPDX-License-Identifier: Apache-2.0
"""Counters, gauges and histograms in Prometheus' text format, and those that this engine has.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Sequence

Labels = tuple[tuple[str, str], ...]

TOKEN_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
REQUEST_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metric:
    """A metric by its name; one lock for all, as every value is written from several threads."""

    kind = "untyped"
    _lock = threading.Lock()

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def lines(self) -> list[str]:
        return [f"# HELP {self.name} {self.text}", f"# TYPE {self.name} {self.kind}", *self.samples()]

    def samples(self) -> list[str]:
        raise NotImplementedError


class Counter(Metric):
    kind = "counter"

    def __init__(self, name: str, text: str) -> None:
        super().__init__(name, text)
        self._values: dict[Labels, float] = {}

    def add(self, amount: float = 1, **labels: str) -> None:
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._values[key] = self._values.get(key, 0) + amount

    def value(self, **labels: str) -> float:
        return self._values.get(tuple(sorted(labels.items())), 0)

    def samples(self) -> list[str]:
        with self._lock:
            values = dict(self._values)
        return [f"{self.name}{_shown(labels)} {value:g}" for labels, value in sorted(values.items())]


class Gauge(Metric):
    """Asked when somebody looks. `read` gives (labels, value) pairs."""

    kind = "gauge"

    def __init__(self, name: str, text: str, read: Callable[[], list[tuple[dict[str, str], float]]]) -> None:
        super().__init__(name, text)
        self._read = read

    def samples(self) -> list[str]:
        return [f"{self.name}{_shown(tuple(sorted(labels.items())))} {value:g}" for labels, value in self._read()]


class Histogram(Metric):
    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        super().__init__(name, text)
        self._bounds, self._counts, self._sum = tuple(bounds), [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += 1
            self._sum += value

    def samples(self) -> list[str]:
        with self._lock:
            counts, total = list(self._counts), self._sum
        lines, seen = [], 0
        for bound, count in zip((*(f"{bound:g}" for bound in self._bounds), "+Inf"), counts, strict=True):
            seen += count
            lines.append(f'{self.name}_bucket{{le="{bound}"}} {seen}')
        return [*lines, f"{self.name}_sum {total:g}", f"{self.name}_count {seen}"]


def _shown(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class EngineMetrics:
    """What this engine counts. `requests_in_flight` and `requests_queued` are read from the queue."""

    def __init__(self) -> None:
        self.requests = Counter("textgen_requests_total", "Generation requests by route, status and whether streamed.")
        self.queue_wait = Histogram("textgen_queue_wait_seconds", "Time in the queue.", REQUEST_SECONDS)
        self.first_token = Histogram(
            "textgen_time_to_first_token_seconds", "From a request's arrival to its first token.", REQUEST_SECONDS
        )
        self.between_tokens = Histogram("textgen_inter_token_seconds", "Between two tokens.", TOKEN_SECONDS)
        self.duration = Histogram("textgen_request_duration_seconds", "From arrival to the last byte.", REQUEST_SECONDS)
        self.prompt_tokens = Counter("textgen_prompt_tokens_total", "Tokens of prompts.")
        self.generated_tokens = Counter("textgen_generated_tokens_total", "Tokens generated.")
        self.errors = Counter("textgen_generation_errors_total", "Generations that failed, by kind.")
        self.disconnects = Counter("textgen_client_disconnects_total", "Clients that left before their answer.")
        self.gauges: list[Gauge] = []

    def text(self) -> str:
        """Everything, in Prometheus' text format."""
        own = [one for one in vars(self).values() if isinstance(one, Metric)]
        return "\n".join(line for metric in (*own, *self.gauges) for line in metric.lines()) + "\n"
