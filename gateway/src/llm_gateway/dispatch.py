# SPDX-License-Identifier: Apache-2.0
"""From "admitted" to "has an engine": picks one with room, or lets the request wait in its model's bounded queue."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from llm_gateway.choice import Policy
from llm_gateway.errors import ApiError, unavailable
from llm_gateway.registry import Pool
from llm_gateway.upstream.engine import Engine, Health


class Waiter(Protocol):
    """A request that wants an engine."""

    prefix: bytes
    session: bytes | None
    tried: set[Engine]

    def granted(self, engine: Engine) -> None:
        """Here is one; it counts as in flight already."""


class Dispatcher:
    """One model's way to its engines."""

    __slots__ = ("ceiling", "policy", "pool", "queue_size", "waiting")

    def __init__(self, pool: Pool, policy: Policy, *, ceiling: int, queue_size: int) -> None:
        self.pool = pool
        self.policy = policy
        self.ceiling = ceiling
        self.queue_size = queue_size
        self.waiting: deque[Waiter] = deque()

    def ask(self, waiter: Waiter) -> Engine | None:
        """An engine at once, or None: the waiter stands in the queue. Raises ApiError when it cannot even do that."""
        if not self.waiting:
            engine = self._pick(waiter)
            if engine is not None:
                engine.in_flight += 1
                return engine
        if not self.pool.ready:
            raise unavailable(
                f"No engine of the model '{self.pool.model}' is ready. Try again later.", code="no_ready_engine"
            )
        if len(self.waiting) >= self.queue_size:
            raise ApiError(
                429,
                f"The queue of the model '{self.pool.model}' is full ({self.queue_size} waiting). Try again later.",
                code="queue_full",
                error_type="rate_limit_error",
                retry_after_s=1,
            )
        self.waiting.append(waiter)
        return None

    def ask_another(self, waiter: Waiter) -> Engine | None:
        """An engine that the waiter has not tried yet, whatever the queue: it has waited its turn already. None: there is none."""
        engine = self._pick(waiter)
        if engine is not None:
            engine.in_flight += 1
        return engine

    def leave(self, waiter: Waiter) -> None:
        """The waiter gave up."""
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    def serve(self) -> None:
        """Engines have room again: let the queue go on."""
        waiting = self.waiting
        while waiting:
            waiter = waiting[0]
            engine = self._pick(waiter)
            if engine is None:
                return
            waiting.popleft()
            engine.in_flight += 1
            waiter.granted(engine)

    def _pick(self, waiter: Waiter) -> Engine | None:
        ready = self.pool.ready
        if not ready:
            return None
        if self.ceiling == 0 and not waiter.tried:
            engine = ready[self.policy.pick(ready, waiter)]
            if engine.health is not Health.TRIAL or engine.in_flight == 0:
                return engine
        ceiling = self.ceiling
        tried = waiter.tried
        room = [
            engine
            for engine in ready
            if engine not in tried and (engine.has_room(ceiling) or engine.health is Health.OPEN)
        ]
        return room[self.policy.pick(room, waiter)] if room else None
