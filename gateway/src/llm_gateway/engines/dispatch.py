# SPDX-License-Identifier: Apache-2.0
"""From "admitted" to "has an engine": picks one with room, or lets the request wait in its model's bounded, fair queue."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final, Protocol

from llm_gateway.callers.fair_queue import Entry, FairQueue
from llm_gateway.callers.ledger import Ledger, Record
from llm_gateway.callers.limits import Subject
from llm_gateway.engines.engine import Engine, Health
from llm_gateway.engines.registry import Pool
from llm_gateway.engines.routing import ALL_OF, Policy, Prefix
from llm_gateway.errors import ApiError, unavailable
from llm_gateway.telemetry.instruments import ModelMetrics

# Retries may be this share of a model's requests, plus a start for quiet times: failing engines must not double the load of good ones.
RETRY_SHARE: Final = 0.2
RETRY_START: Final = 100.0
_CLOSED: Final = Health.CLOSED
_TRIAL: Final = Health.TRIAL


class Waiter(Entry, Protocol):
    """A request that wants an engine; see `fair_queue.Entry` and `routing.Request` for what the fields mean."""

    @property
    def prefix(self) -> Prefix:
        """The prompt's beginning."""

    @property
    def session(self) -> bytes | None:
        """The session's name."""

    @property
    def tried(self) -> set[Engine] | frozenset[Engine]:
        """Engines that failed this request already."""

    def granted(self, engine: Engine) -> None:
        """The waiter has this engine now; it counts as in flight already."""


class Dispatcher:
    """One model's way to its engines.

    `ceiling` is how many requests an engine may have at once (0: any number), counted over all worker processes; `hold_timeout_s` how long
    a request may wait while no engine is ready at all (0: it is refused).
    """

    __slots__ = (
        "active",
        "ceiling",
        "crowd",
        "hold_timeout_s",
        "ledger",
        "metrics",
        "model",
        "policy",
        "policy_name",
        "pool",
        "queue_size",
        "queue_timeout_s",
        "ready",
        "record",
        "retry_tokens",
        "subjects",
        "waiting",
        "when_blocked",
    )

    def __init__(
        self,
        pool: Pool,
        policy: Policy,
        ledger: Ledger,
        metrics: ModelMetrics,
        *,
        ceiling: int = 0,
        queue_size: int = 100,
        queue_timeout_s: float = 30.0,
        hold_timeout_s: float = 0.0,
        when_blocked: Callable[[Dispatcher], None] | None = None,
        crowd: set[Dispatcher] | None = None,
        active: Collection[object] | None = None,
    ) -> None:
        # Compiled, fields lie in memory in this order: first what each request reads.
        self.model = pool.model
        self.ready = pool.ready
        self.policy = policy
        self.ceiling = ceiling
        # All dispatchers with waiting requests. Mostly it is empty, which is quicker to see than an empty queue.
        self.crowd: set[Dispatcher] = set() if crowd is None else crowd
        # All requests of a single worker: while they are fewer than one engine may have, every engine has room.
        self.active = None if ledger.shared else active
        # What is limited and counted of this model.
        self.subjects: list[Subject] = []
        self.metrics = metrics
        self.retry_tokens = RETRY_START
        self.pool = pool
        self.ledger = ledger
        self.waiting: FairQueue[Waiter] = FairQueue()
        self.policy_name = ""
        self.queue_size = queue_size
        self.queue_timeout_s = queue_timeout_s
        self.hold_timeout_s = hold_timeout_s
        self.record: Record | None = None
        self.when_blocked = when_blocked

    def ask(self, waiter: Waiter, *, hold: bool = True) -> Engine | None:
        """An engine at once, or None: the waiter stands in the queue. Raises ApiError when it cannot even do that."""
        if not self.crowd or not self.waiting:
            engine = self._take(waiter)
            if engine is not None:
                return engine
        if not self.ready and not (hold and self.hold_timeout_s):
            raise self.nobody_ready()
        if self.record is None:
            self.record = self.ledger.record("queue:" + self.model)
        if not self.ledger.enter(self.record, self.queue_size):
            raise ApiError(
                429,
                f"The queue of the model '{self.model}' is full ({self.queue_size} waiting). Try again later.",
                code="queue_full",
                error_type="rate_limit_error",
                retry_after_s=1,
            )
        self.waiting.push(waiter)
        self.crowd.add(self)
        if self.when_blocked is not None and len(self.waiting) == 1:
            self.when_blocked(self)
        return None

    def nobody_ready(self) -> ApiError:
        """What to say when no engine is there."""
        return unavailable(f"No engine of the model '{self.model}' is ready. Try again later.", code="no_ready_engine")

    def ask_another(self, waiter: Waiter) -> Engine | None:
        """An engine that the waiter has not tried yet, before all others in the queue: it has waited already. None: there is none."""
        return self._take(waiter)

    def leave(self, waiter: Waiter) -> None:
        """The waiter gave up."""
        if self.waiting.remove(waiter):
            self._left()

    def serve(self) -> None:
        """Engines may have room again: give them to waiting requests."""
        waiting = self.waiting
        while waiting:
            waiter = waiting.peek()
            engine = None if waiter is None else self._take(waiter)
            if waiter is None or engine is None:
                return
            waiting.pop()
            self._left()
            waiter.granted(engine)

    def _left(self) -> None:
        if self.record is not None:
            self.ledger.leave(self.record)
        if not self.waiting:
            self.crowd.discard(self)

    def request_ended(self) -> None:
        """Each request that ends adds its share to the budget of retries."""
        if self.retry_tokens < RETRY_START:
            self.retry_tokens = min(RETRY_START, self.retry_tokens + RETRY_SHARE)

    def may_retry(self) -> bool:
        """Take one retry from the budget."""
        if self.retry_tokens < 1:
            return False
        self.retry_tokens -= 1
        return True

    def charge(self, waiter: Waiter, tokens: float) -> None:
        """Count what a request used beyond its estimate, where tenants compete."""
        if self.waiting:
            self.waiting.charge(waiter, tokens)

    def _take(self, waiter: Waiter) -> Engine | None:
        """Choose and count in one step."""
        ready = self.ready
        if not ready:
            return None
        ceiling = self.ceiling
        tried = waiter.tried
        active = self.active
        if not tried and (ceiling == 0 or (active is not None and len(active) <= ceiling)):
            engine = ready[self.policy.pick(ready, waiter)]
            if engine.health is not _TRIAL or engine.in_flight == 0:
                engine.enter()
                return engine
        elif not tried and len(ready) > ALL_OF:
            # With many engines, most have room: choose one first, and look at all only when that one has none.
            engine = ready[self.policy.pick(ready, waiter)]
            if engine.has_room(ceiling) and (not self.ledger.shared or engine.enter_below(ceiling)):
                if not self.ledger.shared:
                    engine.enter()
                return engine
        elif not tried and all_below(ready, ceiling):
            engine = ready[self.policy.pick(ready, waiter)]
            if not self.ledger.shared:
                engine.enter()
                return engine
            if engine.enter_below(ceiling):
                return engine
        while True:
            room = [
                engine
                for engine in ready
                if engine not in tried and (engine.has_room(ceiling) or engine.health is Health.OPEN)
            ]
            if not room:
                return None
            engine = room[self.policy.pick(room, waiter)]
            if ceiling == 0 or not self.ledger.shared:
                engine.enter()
                return engine
            if engine.enter_below(ceiling):
                return engine
            # Another process took the last place meanwhile; `enter_below` has updated `in_flight`.


def all_below(engines: list[Engine], ceiling: int) -> bool:
    """Whether each engine can take one more request."""
    for engine in engines:  # noqa: SIM110  a generator would cost more than what it looks at
        if engine.health is not _CLOSED or engine.in_flight >= ceiling:
            return False
    return True
