# SPDX-License-Identifier: Apache-2.0
"""Counters, histograms and gauges: what requests touch, and how it reads in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

PREFIX = "llm_gateway_"
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

    def label(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """The label values that `values` are counted under; for whoever counts the same again and again with `bump`."""
        if values not in self.values and len(self.values) >= MAX_LABEL_VALUES * 4:
            return (OTHER,) * len(values)
        return values

    def add(self, *values: str, by: float = 1) -> None:
        """Count `by` more."""
        values = self.label(values)
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


_STATUS_TEXTS = {status: str(status) for status in range(100, 600)}


def status_text(status: int) -> str:
    """A status as a label."""
    return _STATUS_TEXTS.get(status) or str(status)


class ModelMetrics:
    """One model's own histograms, found once, and counts that `Metrics.gather` puts where they are shown."""

    __slots__ = (
        "answered",
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

    def __init__(
        self,
        duration: Histogram,
        first_token: Histogram,
        token_time: Histogram,
        queue_wait: Histogram,
        overhead: Histogram,
        usage: tuple[Histogram, Histogram],
    ) -> None:
        self.duration = duration
        self.first_token = first_token
        self.token_time = token_time
        self.queue_wait = queue_wait
        self.overhead = overhead
        self.input, self.output = usage
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.answered = 0
