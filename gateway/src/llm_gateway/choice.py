# SPDX-License-Identifier: Apache-2.0
"""Which engine gets a request: small interchangeable policies, `pick(engines, request)`, without any I/O.

Choosing and counting happen in one step of one event loop (`dispatch.Dispatcher`), so a burst cannot pile up on the engine that was idle
a moment ago.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol


class Candidate(Protocol):
    """What a policy may look at."""

    name: str
    in_flight: int
    queue_depth: int


class Request(Protocol):
    """What a policy may know of a request."""

    prefix: bytes
    session: bytes | None


class Policy(Protocol):
    """One way to choose. `engines` is never empty; all of them have room."""

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """The position of the chosen engine."""


class LeastInFlight:
    """The engine with the fewest requests under way; ties go round."""

    def __init__(self) -> None:
        self._turn = 0

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        count = len(engines)
        self._turn = turn = self._turn + 1
        best = turn % count
        fewest = engines[best].in_flight
        if fewest == 0:
            return best
        for step in range(1, count):
            position = (turn + step) % count
            load = engines[position].in_flight
            if load < fewest:
                if load == 0:
                    return position
                best, fewest = position, load
        return best


class RoundRobin:
    """One after the other."""

    def __init__(self) -> None:
        self._turn = -1

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        self._turn += 1
        return self._turn % len(engines)


class PowerOfTwo:
    """The less busy of two drawn at random: nearly as good as looking at all of them, for thousands of engines."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance or random.Random()  # noqa: S311  load balancing is no secret

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        count = len(engines)
        first = int(self._chance.random() * count)
        if count == 1:
            return first
        second = (first + 1 + int(self._chance.random() * (count - 1))) % count
        return first if engines[first].in_flight <= engines[second].in_flight else second


POLICIES: dict[str, type[LeastInFlight] | type[RoundRobin] | type[PowerOfTwo]] = {
    "least-in-flight": LeastInFlight,
    "power-of-two": PowerOfTwo,
    "round-robin": RoundRobin,
}


def make_policy(name: str) -> Policy:
    """The policy of this name (the settings have checked that there is one)."""
    return POLICIES[name]()
