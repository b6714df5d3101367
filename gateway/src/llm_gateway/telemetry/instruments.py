# SPDX-License-Identifier: Apache-2.0
"""Counters, histograms and gauges: what requests touch, and how it reads in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Final

PREFIX = "llm_gateway_"
# A label gets this many values; whatever comes later is counted as "other". Prometheus falls over otherwise.
MAX_LABEL_VALUES = 200
MAX_LABELS = MAX_LABEL_VALUES * 4  # of a counter, all label values together
OTHER = "other"

SECONDS: Final[tuple[float, ...]] = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    20.0,
    30.0,
    45.0,
    60.0,
    90.0,
    # First tokens may take minutes: long prompts, full queues, models that are woken up.
    120.0,
    180.0,
    240.0,
    300.0,
    450.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
)
TOKEN_SECONDS: Final[tuple[float, ...]] = (
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    15.0,
    60.0,
    180.0,
)
OVERHEAD_SECONDS: Final[tuple[float, ...]] = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25)
USAGE_TOKENS: Final[tuple[float, ...]] = (
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262144.0,
    1048576.0,
    4194304.0,
)


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

    def add(self, counts: Iterable[int], total: float = 0.0) -> None:
        """Add the bucket counts of another histogram, and their sum."""
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
    """Counts by label values; there is a limit on how many label values there are."""

    __slots__ = ("help", "labels", "name", "values")

    def __init__(self, name: str, help_: str, labels: tuple[str, ...]) -> None:
        self.name = PREFIX + name
        self.help = help_
        self.labels = labels
        self.values: dict[tuple[str, ...], float] = {}

    def bump(self, values: tuple[str, ...], by: float) -> None:
        """Count `by` more; quicker than `add` for label values that are known."""
        if values in self.values:
            self.values[values] += by
        else:
            self.add(*values, by=by)

    def add(self, *values: str, by: float = 1) -> None:
        """Count `by` more."""
        if values not in self.values and len(self.values) >= MAX_LABELS:
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


_STATUS_TEXTS = {status: str(status) for status in range(100, 600)}


def status_text(status: int) -> str:
    """A status as a label."""
    return _STATUS_TEXTS.get(status) or str(status)


# All buckets of one model are one array of bytes; each histogram's buckets begin at these places. Histograms that get similar values alternate,
# bucket by bucket, so that one request writes to places close together (README, "Memory in no cache").
_AT_OVERHEAD: Final = 0
_AT_DURATION: Final = _AT_OVERHEAD + len(OVERHEAD_SECONDS) + 1
_AT_FIRST_TOKEN: Final = _AT_DURATION + 1
_AT_INPUT: Final = _AT_DURATION + 2 * (len(SECONDS) + 1)
_AT_OUTPUT: Final = _AT_INPUT + 1
_AT_QUEUE: Final = _AT_INPUT + 2 * (len(USAGE_TOKENS) + 1)
_AT_TOKEN_TIME: Final = _AT_QUEUE + len(SECONDS) + 1
_CELLS: Final = _AT_TOKEN_TIME + len(TOKEN_SECONDS) + 1
_FULL: Final = 255


class ModelMetrics:
    """What requests have counted of one model since `bring` last added it to the histograms."""

    __slots__ = (
        "_looked",
        "answered",
        "at_once",
        "cells",
        "completion_tokens",
        "duration_s",
        "first_token_s",
        "histograms",
        "overhead_s",
        "prompt_tokens",
        "queue_s",
        "token_time_s",
    )

    def __init__(
        self,
        queue: Histogram,
        duration: Histogram,
        first_token: Histogram,
        overhead: Histogram,
        usage: tuple[Histogram, Histogram],
        token_time: Histogram,
    ) -> None:
        # Compiled, fields lie in memory in this order: first what each request writes.
        self.answered = 0
        self.at_once = 0  # those that did not wait
        self.cells = bytearray(_CELLS)
        self._looked = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.duration_s = 0.0
        self.first_token_s = 0.0
        self.overhead_s = 0.0
        self.queue_s = 0.0
        self.token_time_s = 0.0
        self.histograms = (queue, duration, first_token, overhead, *usage, token_time)

    def fetch(self) -> None:
        """Read what most requests write, so that the processor loads it early (README, "Memory in no cache")."""
        self._looked = self.cells[_AT_DURATION]  # kept, so that no compiler leaves it out

    def waited(self, seconds: float) -> None:
        """Count the seconds until an engine took a request."""
        self._count(_AT_QUEUE + bisect_left(SECONDS, seconds))
        self.queue_s += seconds

    def took(self, seconds: float, first_s: float) -> None:
        """Count the seconds until a reply's last byte, and until its first."""
        self._count(_AT_DURATION + 2 * bisect_left(SECONDS, seconds))
        self._count(_AT_FIRST_TOKEN + 2 * bisect_left(SECONDS, first_s))
        self.duration_s += seconds
        self.first_token_s += first_s

    def took_itself(self, seconds: float) -> None:
        """Count the seconds that the gateway itself took."""
        self._count(_AT_OVERHEAD + bisect_left(OVERHEAD_SECONDS, seconds))
        self.overhead_s += seconds

    def read(self, tokens: int) -> None:
        """Count the tokens of a prompt."""
        self._count(_AT_INPUT + 2 * bisect_left(USAGE_TOKENS, tokens))
        self.prompt_tokens += tokens

    def wrote(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        self._count(_AT_OUTPUT + 2 * bisect_left(USAGE_TOKENS, tokens))
        self.completion_tokens += tokens

    def went_on(self, seconds: float) -> None:
        """Count the mean seconds per token of a stream, after the first token."""
        self._count(_AT_TOKEN_TIME + bisect_left(TOKEN_SECONDS, seconds))
        self.token_time_s += seconds

    def _count(self, cell: int) -> None:
        count = self.cells[cell]
        if count == _FULL:
            self._bring_cells()
            count = 0
        self.cells[cell] = count + 1

    def _bring_cells(self) -> None:
        cells = self.cells
        queue, duration, first_token, overhead, read, wrote, token_time = self.histograms
        overhead.add(cells[_AT_OVERHEAD:_AT_DURATION])
        duration.add(cells[_AT_DURATION:_AT_INPUT:2])
        first_token.add(cells[_AT_FIRST_TOKEN:_AT_INPUT:2])
        read.add(cells[_AT_INPUT:_AT_QUEUE:2])
        wrote.add(cells[_AT_OUTPUT:_AT_QUEUE:2])
        queue.add(cells[_AT_QUEUE:_AT_TOKEN_TIME])
        token_time.add(cells[_AT_TOKEN_TIME:])
        self.cells = bytearray(_CELLS)

    def bring(self) -> tuple[int, int, int]:
        """Add to the histograms. Returns how many requests were answered, and their tokens in and out."""
        found = (self.answered, self.prompt_tokens, self.completion_tokens)
        if self.at_once or any(self.cells):
            self._bring_cells()
            queue, duration, first_token, overhead, read, wrote, token_time = self.histograms
            queue.counts[0] += self.at_once
            overhead.total += self.overhead_s
            duration.total += self.duration_s
            first_token.total += self.first_token_s
            read.total += self.prompt_tokens
            wrote.total += self.completion_tokens
            queue.total += self.queue_s
            token_time.total += self.token_time_s
            self.queue_s = self.duration_s = self.first_token_s = self.overhead_s = self.token_time_s = 0.0
        self.answered = self.at_once = self.prompt_tokens = self.completion_tokens = 0
        return found
