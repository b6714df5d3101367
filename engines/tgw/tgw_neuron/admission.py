# SPDX-License-Identifier: Apache-2.0
"""Who may generate: one request at a time, a bounded queue in order of arrival, nobody while the pod stops."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import BusyError, DrainingError


class GoneError(Exception):
    """The client left while it was waiting."""


class Admission:
    """Used from the event loop alone; the counts may be read from anywhere."""

    def __init__(self, queue_max: int, timeout_s: float, capacity: int = 1) -> None:
        self.queue_max, self.timeout_s, self.capacity = queue_max, timeout_s, capacity
        self.in_flight = 0
        self.draining = False
        self._waiting: deque[asyncio.Future[Any]] = deque()

    @property
    def queued(self) -> int:
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        return not self.in_flight and not self._waiting

    async def enter(self, gone: asyncio.Event) -> None:
        """Return once the request may run. BusyError, DrainingError or GoneError: it may not."""
        if self.draining:
            raise DrainingError("this engine is stopping: ask another one")
        if self.in_flight < self.capacity and not self._waiting:
            self.in_flight += 1
            return
        if len(self._waiting) >= self.queue_max:
            raise BusyError(f"{self.queue_max} requests are waiting already: try again later")
        await self._wait(gone)

    def leave(self) -> None:
        """The request is over; the next one that still waits goes in."""
        self.in_flight -= 1
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)
                return

    async def _wait(self, gone: asyncio.Event) -> None:
        turn: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        with self._queued(turn):
            left: asyncio.Future[Any] = asyncio.ensure_future(gone.wait())
            try:
                await asyncio.wait({turn, left}, timeout=self.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
            if turn.done() and not gone.is_set():
                return
            if turn.done():
                self.leave()
            if gone.is_set():
                raise GoneError
            raise BusyError(f"the request waited {self.timeout_s:g} s for its turn: try again later")

    @contextmanager
    def _queued(self, turn: asyncio.Future[Any]) -> Iterator[None]:
        self._waiting.append(turn)
        try:
            yield
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
