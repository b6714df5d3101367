# SPDX-License-Identifier: Apache-2.0
"""The progress of a long task, in one line: `3 of 11 · kube-apiserver, gateway · about 6 min left`. Standard library only."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

# Without news the line is repeated after this long.
REPEAT_S = 60.0
# The average share of a machine's processors that builds keep busy.
_BUSY = 0.9


class GivenUp(Exception):
    """Another step failed: no further step is started."""


class Progress:
    """Steps that may run in parallel, from any thread. `costs`: step -> CPU seconds that it is expected to take."""

    def __init__(
        self,
        costs: Mapping[str, float],
        say: Callable[[str], None],
        *,
        processors: int = os.cpu_count() or 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._costs = dict(costs)
        self._say, self._clock, self._processors = say, clock, processors
        self._done: set[str] = set()
        self._running: dict[str, float] = {}
        self._lock = threading.Lock()
        self._given_up = False
        self._started = clock()

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._costs)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The block is the step `name`; a step that is not in `costs` does not count."""
        if self._given_up:
            raise GivenUp(name)
        if name not in self._costs:
            yield
            return
        with self._lock:
            self._running[name] = self._clock()
            self._say(self._line())
        try:
            yield
        finally:
            with self._lock:
                del self._running[name]
                self._done.add(name)

    def tell(self, text: str) -> None:
        """Print a message besides the line, once."""
        self._say(text)

    def give_up(self) -> None:
        """Let no further step start."""
        self._given_up = True

    @contextmanager
    def repeated(self) -> Iterator[None]:
        """Repeat the line during the block, so that a long step does not look like a standstill."""
        ended = threading.Event()
        teller = threading.Thread(target=self._repeat, args=(ended,), daemon=True)
        teller.start()
        try:
            yield
        finally:
            ended.set()
            teller.join()

    def _repeat(self, ended: threading.Event) -> None:
        while not ended.wait(REPEAT_S):
            with self._lock:
                if self._running:
                    self._say(self._line())

    def _line(self) -> str:
        number = len(self._done) + 1
        return f"{number} of {len(self._costs)} · {', '.join(self._running)} · {self._left()}"

    def _left(self) -> str:
        """Estimated from the expected costs, at the pace so far."""
        now = self._clock()
        finished = sum(self._costs[name] for name in self._done)
        under_way = sum(min(now - since, 0.9 * self._costs[name]) for name, since in self._running.items())
        total, done, elapsed = sum(self._costs.values()), finished + under_way, now - self._started
        pace = self._processors * _BUSY
        if elapsed > 0 and finished > total / 10:
            pace = done / elapsed
        minutes = round((total - done) / pace / 60)
        return f"about {minutes} min left" if minutes >= 1 else "less than a minute left"
