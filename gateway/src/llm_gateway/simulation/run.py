# SPDX-License-Identifier: Apache-2.0
"""One run: requests come to gateways, gateways choose engines by the real policy objects, engines answer in virtual time."""

from __future__ import annotations

import heapq
import random
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import process_time
from typing import Any

from llm_gateway.callers.ledger import Ledger
from llm_gateway.callers.limits import Limiter, Rules, Subject, Ticket
from llm_gateway.engines.routing import ENDS, Candidate, Policy, make_policy, seed_of
from llm_gateway.errors import ApiError
from llm_gateway.simulation.engine import EngineModel, SimulatedEngine
from llm_gateway.simulation.trace import BLOCK_TOKENS, Asked

BYTES_PER_TOKEN = 4
# Nobody looks at more of a prompt than this.
PREFIX_BYTES = ENDS[-1]
EPOCH_S = 1_800_000_000.0


@dataclass(frozen=True)
class Installation:
    """What is simulated. Each gateway knows of its own requests only, and of engines' queues as last scraped, `scrape_s` apart."""

    engines: int = 100
    gateways: int = 1
    model: EngineModel = field(default_factory=EngineModel)
    scrape_s: float = 5.0
    limit: Rules = field(default_factory=Rules)
    shared_limits: bool = False  # Redis: one count for all gateways
    seed: int = 1


@dataclass
class Result:
    """What came of one policy. Seconds are virtual ones, but for `pick_us`: CPU microseconds of one choice on this machine, mean."""

    policy: str
    ttft_s: array[float]
    requests: int
    refused: int
    hit_ratio: float
    busy_s: list[float]
    pick_us: float
    admitted_by_key: dict[str, int]

    def ttft(self, share: float) -> float:
        """A quantile of the time to first token."""
        return self.ttft_s[min(len(self.ttft_s) - 1, int(share * len(self.ttft_s)))] if self.ttft_s else 0.0

    @property
    def imbalance(self) -> float:
        """The busiest engine's work against the mean."""
        mean = sum(self.busy_s) / len(self.busy_s)
        return max(self.busy_s) / mean if mean else 1.0


class _Seen:
    """An engine as one of several gateways sees it."""

    __slots__ = ("in_flight", "kv_use", "name", "queue_depth", "seed", "share")

    def __init__(self, name: str) -> None:
        self.name = name
        self.seed = seed_of(name)
        self.in_flight = 0
        self.queue_depth = 0
        self.kv_use = 0.0
        self.share = 1.0


class _Prompt:
    """A request as policies see it."""

    __slots__ = ("prefix", "session")

    def __init__(self, asked: Asked) -> None:
        blocks = asked.blocks[: PREFIX_BYTES // (BLOCK_TOKENS * BYTES_PER_TOKEN)]
        size = BLOCK_TOKENS * BYTES_PER_TOKEN // 8
        self.prefix = b"".join([struct.pack("<q", block) * size for block in blocks])
        self.session = asked.session


class _Gateway:
    """A policy and what it sees: the engines themselves, or (`own`) copies that count what this gateway sent."""

    def __init__(self, policy: Policy, engines: Sequence[SimulatedEngine], *, own: bool) -> None:
        self.policy = policy
        self.own = [_Seen(engine.name) for engine in engines] if own else []
        self.seen: Sequence[Candidate] = self.own or engines


_ARRIVAL, _END, _SCRAPE = range(3)


def simulate(asked: Sequence[Asked], policy: str, installation: Installation) -> Result:
    """Run all requests through one policy. The same arguments give the same result (but for `pick_us`)."""
    return _Run(policy, installation).through(asked)


class _Run:
    def __init__(self, policy: str, installation: Installation) -> None:
        self.policy = policy
        self.installation = installation
        self.chance = random.Random(installation.seed)  # noqa: S311  a simulation must be repeatable
        self.engines = [SimulatedEngine(f"engine-{n}", installation.model) for n in range(installation.engines)]
        one = installation.gateways == 1
        self.gateways = [_Gateway(self._policy(), self.engines, own=not one) for __ in range(installation.gateways)]
        self.now_s = 0.0
        self.events: list[tuple[float, int, int]] = []
        self.count = 0
        self.ends: dict[int, tuple[SimulatedEngine, int, _Gateway, int, Ticket | None, Asked]] = {}
        self.ttft: list[float] = []
        self.refused = 0
        self.pick_s = 0.0
        self.admitted: dict[str, int] = {}
        self.limiters: list[Limiter] = []
        rules = installation.limit
        if rules.any:
            shared = installation.shared_limits
            count = 1 if shared else installation.gateways
            self.limiters = [Limiter(Ledger(1, slots=4096), self._clock) for __ in range(count)]
            self.rules = rules.share(count)

    def _clock(self) -> float:
        return EPOCH_S + self.now_s

    def _policy(self) -> Policy:
        made = make_policy(self.policy)
        if hasattr(made, "_chance"):
            made._chance = random.Random(self.chance.random())  # noqa: S311  a simulation must be repeatable
        # Gateways that were started one after the other do not go round in step.
        parts: list[Any] = [made, getattr(made, "_otherwise", None)]
        for part in parts:
            if hasattr(part, "_turn"):
                part._turn = self.chance.randrange(1 << 16)
        return made

    def through(self, asked: Sequence[Asked]) -> Result:
        for number, one in enumerate(asked):
            self.events.append((one.at_s, _ARRIVAL, number))
        if any(gateway.own for gateway in self.gateways):
            last_s, at_s = asked[-1].at_s, 0.0
            while at_s < last_s:
                at_s += self.installation.scrape_s
                self.events.append((at_s, _SCRAPE, 0))
        heapq.heapify(self.events)
        while self.events:
            self.now_s, what, number = heapq.heappop(self.events)
            if what == _ARRIVAL:
                self._arrive(asked[number])
            elif what == _END:
                self._end(number)
            else:
                self._scrape()
        prompt = sum(engine.prompt_tokens for engine in self.engines)
        cached = sum(engine.cached_tokens for engine in self.engines)
        return Result(
            self.policy,
            array("d", sorted(self.ttft)),
            len(asked),
            self.refused,
            cached / prompt if prompt else 0.0,
            [engine.busy_s for engine in self.engines],
            1e6 * self.pick_s / max(1, len(self.ttft)),
            self.admitted,
        )

    def _arrive(self, asked: Asked) -> None:
        which = int(self.chance.random() * len(self.gateways))
        gateway = self.gateways[which]
        ticket = None
        if self.limiters:
            limiter = self.limiters[which % len(self.limiters)]
            try:
                tokens = float(asked.prompt_tokens + asked.output_tokens)
                ticket = limiter.admit([Subject("key", asked.key, self.rules)], tokens)
            except ApiError:
                self.refused += 1
                return
        self.admitted[asked.key] = self.admitted.get(asked.key, 0) + 1
        prompt = _Prompt(asked)
        began = process_time()
        position = gateway.policy.pick(gateway.seen, prompt)
        self.pick_s += process_time() - began
        engine = self.engines[position]
        if gateway.own:
            gateway.own[position].in_flight += 1
        self.count += 1
        self.ends[self.count] = (engine, position, gateway, 0, ticket, asked)
        times = engine.arrive(asked, self.now_s, self.count)
        if times is not None:
            self._started(self.count, self.now_s, times)

    def _started(self, number: int, asked_at_s: float, times: tuple[float, float]) -> None:
        first_s, end_s = times
        self.ttft.append(first_s - asked_at_s)
        heapq.heappush(self.events, (end_s, _END, number))

    def _end(self, number: int) -> None:
        engine, position, gateway, __, ticket, asked = self.ends.pop(number)
        if gateway.own:
            gateway.own[position].in_flight -= 1
        if ticket is not None:
            ticket.settle(asked.prompt_tokens, asked.output_tokens)
        waiting = engine.leave()
        if waiting is not None:
            next_asked, asked_at_s, next_number = waiting
            self._started(next_number, asked_at_s, engine.start(next_asked, self.now_s))

    def _scrape(self) -> None:
        for gateway in self.gateways:
            for seen, engine in zip(gateway.own, self.engines, strict=True):
                seen.queue_depth = engine.queue_depth
                seen.kv_use = engine.kv_use
