# SPDX-License-Identifier: Apache-2.0
"""Which engine gets a request: small interchangeable policies, `pick(engines, request)`, without any I/O or clock.

Choosing and counting happen in one step of one event loop (`dispatch.Dispatcher`), so a burst cannot pile up on the engine that was idle
a moment ago. `simulate` runs these same objects in virtual time.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Final, Protocol
from zlib import crc32

from msgspec import Raw

# Bytes of a prompt.
Prefix = bytes | memoryview | Raw


class Candidate(Protocol):
    """What a policy may look at.

    `in_flight` counts requests that gateways know of; `queue_depth` those that the engine says it has not begun; `kv_use` is the used share
    of its KV cache (0 to 1). `share` is the engine's part of the load against its equals: its weight, less while it warms up.
    """

    name: str
    seed: int
    in_flight: int
    queue_depth: int
    kv_use: float
    share: float


class Request(Protocol):
    """What a policy may know of a request: its prompt (or the beginning of it) as the client wrote it, and its session's name."""

    @property
    def prefix(self) -> Prefix:
        """The prompt's beginning."""

    @property
    def session(self) -> bytes | None:
        """The session's name."""


class Policy(Protocol):
    """One way to choose. `engines` is never empty; all of them have room."""

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """The position of the chosen engine."""


def seed_of(name: str) -> int:
    """A number that is the same for the same engine in every process and on every gateway (`hash` is not)."""
    return crc32(name.encode())


# With more engines than this, only a window of them is compared, another window each time: nearly as good, at the same cost for thousands.
ALL_OF: Final = 32
WINDOW: Final = 16


# The golden ratio: its multiples' fractions are spread evenly.
GOLDEN: Final = 0.6180339887498949


class LeastInFlight:
    """The engine with the fewest requests under way for its share; ties go round, beginning at `turn` (another one in each gateway)."""

    def __init__(self, turn: int = 0) -> None:
        self._turn = turn

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        count = len(engines)
        self._turn = turn = self._turn + 1
        start = best = turn % count
        first = engines[start]
        if first.in_flight == 0 and first.share == 1.0:
            return start
        # One more request counts: an idle engine of a small share is not better than a busier one of a large share.
        fewest = (first.in_flight + 1) / first.share
        if count > ALL_OF:
            self._turn += WINDOW - 1
        for step in range(1, count if count <= ALL_OF else WINDOW):
            position = (turn + step) % count
            engine = engines[position]
            load = (engine.in_flight + 1) / engine.share
            if load < fewest:
                if load <= 1.0:
                    return position
                best, fewest = position, load
        chosen = engines[best]
        if first.in_flight == 0 and chosen.in_flight == 0 and turn * GOLDEN % 1.0 < first.share / chosen.share:
            # Among idle engines each has its turns by its share: else the largest share would get all requests that come one by one.
            return start
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
        one, other = engines[first], engines[second]
        return first if (one.in_flight + 1) / one.share <= (other.in_flight + 1) / other.share else second


# Burdens that differ by less than a tenth are alike.
ALIKE: Final = 0.9


class QueueAware:
    """By what engines say of themselves: the shortest queue, then the least work under way, full KV caches counted as a burden.

    Engines without metrics report neither, and are judged by requests in flight alone.
    """

    def __init__(self, queue_weight: float = 2.0, kv_weight: float = 4.0, turn: int = 0) -> None:
        self._queue_weight = queue_weight
        self._kv_weight = kv_weight
        self._turn = turn

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        count = len(engines)
        self._turn = turn = self._turn + 1
        best, lowest = 0, float("inf")
        for step in range(count):
            position = (turn + step) % count
            engine = engines[position]
            # A cache that is nearly full makes the engine pre-empt requests: its burden grows steeply.
            burden = (
                engine.in_flight + 1 + self._queue_weight * engine.queue_depth + self._kv_weight * engine.kv_use**4
            ) / engine.share
            # A little less is no reason to leave the order of turns.
            if burden < lowest * ALIKE:
                best, lowest = position, burden
        return best


def within_bound(engines: Sequence[Candidate], position: int, bound: float) -> bool:
    """Whether one more request keeps an engine within `bound` times the mean load (consistent hashing with bounded loads,
    https://arxiv.org/abs/1608.01350)."""
    engine = engines[position]
    if engine.in_flight == 0:
        return True
    in_flight = shares = 0.0
    # Of many engines every n-th tells the mean well enough.
    for other in engines if len(engines) <= ALL_OF else engines[:: len(engines) // WINDOW]:
        in_flight += other.in_flight
        shares += other.share
    return engine.in_flight <= bound * (in_flight + 1) * engine.share / shares


def rendezvous(engines: Sequence[Candidate], seed: int) -> int:
    """Rendezvous hashing (highest random weight): when an engine comes or goes, only its own requests move."""
    best, highest = 0, -1
    for position, engine in enumerate(engines):
        # A multiplicative mix; crc32 values alone are linear and would make neighbours follow each other.
        mark = ((engine.seed ^ seed) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mark = ((mark ^ (mark >> 29)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mark ^= mark >> 32
        if mark > highest:
            best, highest = position, mark
    return best


class SessionAffinity:
    """The same session goes to the same engine, on every gateway; to another when that one is away, or busier than its bound."""

    def __init__(self, bound: float = 2.0) -> None:
        self._bound = bound
        self._otherwise = LeastInFlight()

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        session = request.session
        if session is None:
            return self._otherwise.pick(engines, request)
        chosen = rendezvous(engines, crc32(session))
        if within_bound(engines, chosen, self._bound):
            return chosen
        return self._otherwise.pick(engines, request)


# Where blocks end. Programs that call a model in a loop share tens of kilobytes of tool prompts and differ only after them
# (docs/scaling.md): looking at 16 kB finds hardly more of their prompts in caches than no affinity at all.
ENDS: Final[tuple[int, ...]] = tuple(
    1024 * end for end in (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64)
)


class PrefixMemory:
    """Which engine served a block of a prompt last; for the policies of all models together, so that a thousand models need no more memory than one.

    Blocks are kept in two generations of half of `capacity`. When the young one is full it becomes the old one, and the old one is dropped.
    """

    __slots__ = ("half", "old", "young")

    def __init__(self, capacity: int = 262_144) -> None:
        self.half = max(1, capacity // 2 - len(ENDS))
        self.young: dict[int, Candidate] = {}
        self.old: dict[int, Candidate] = {}


class PrefixAffinity:
    """The engine that most likely still has the beginning of the prompt in its KV cache, unless it is busier than its bound.

    The prompt is cut into blocks, longer ones further in; a block's hash covers all that comes before it. The longest known chain of blocks
    names the engine that served it last. An unknown prompt goes by its first block (rendezvous), so that gateways and workers that share nothing agree.
    `seed` tells the prompts of models apart that share a memory.
    """

    def __init__(self, bound: float = 2.0, memory: PrefixMemory | None = None, seed: int = 0) -> None:
        self._memory = PrefixMemory() if memory is None else memory
        self._seed = seed
        self._bound = bound
        self._otherwise = LeastInFlight()
        self.hits = 0
        self.misses = 0

    def pick(self, engines: Sequence[Candidate], request: Request) -> int:
        """See Policy."""
        prefix = request.prefix
        if not prefix:
            return self._otherwise.pick(engines, request)
        hashes = blocks(prefix, self._seed)
        known, chosen = self._known(engines, hashes)
        if known:
            self.hits += 1
        else:
            self.misses += 1
            chosen = rendezvous(engines, hashes[0])
        if not within_bound(engines, chosen, self._bound):
            chosen = self._otherwise.pick(engines, request)
            # The shared blocks stay with the engine that has them; only this prompt's last block is remembered for the other engine.
            known = min(known, len(hashes) - 1)
        memory = self._memory
        young, old = memory.young, memory.old
        if known < len(hashes) or hashes[-1] not in young:
            if len(young) >= memory.half:
                memory.old = young
                young = memory.young = {}
            for number in hashes[:known]:
                # A block that is asked for again moves to the young generation.
                if number not in young and number in old:
                    young[number] = old[number]
            engine = engines[chosen]
            for number in hashes[known:]:
                young[number] = engine
        return chosen

    def peek(self, engines: Sequence[Candidate], request: Request) -> int:
        """What `pick` would answer, without changing any state."""
        prefix = request.prefix
        if prefix:
            hashes = blocks(prefix, self._seed)
            known, chosen = self._known(engines, hashes)
            if not known:
                chosen = rendezvous(engines, hashes[0])
            if within_bound(engines, chosen, self._bound):
                return chosen
        return copy.copy(self._otherwise).pick(engines, request)

    def _known(self, engines: Sequence[Candidate], hashes: list[int]) -> tuple[int, int]:
        """How many blocks from the beginning are known at one of these engines, and the position of that."""
        young, old = self._memory.young, self._memory.old
        known = len(hashes)
        while known:
            number = hashes[known - 1]
            engine = young.get(number)
            if engine is None:
                engine = old.get(number)
            if engine is not None:
                try:
                    return known, engines.index(engine)
                except ValueError:
                    pass  # it is away, or has no room
            known -= 1
        return 0, -1


# Only every n-th byte of a prompt goes into the hashes: texts that differ nearly always differ there as well, and it is quicker.
STRIDE: Final = 8


def blocks(prefix: Prefix, seed: int = 0) -> list[int]:
    """One hash for each whole block, each over what comes before its end; a prompt shorter than a block is one of its own."""
    length = len(prefix)
    if length < ENDS[0]:
        return [crc32(prefix, seed) << 6 | 63]
    sample = bytes(prefix)[::STRIDE]
    running, start = seed, 0
    found = []
    for number, limit in enumerate(ENDS):
        if limit > length:
            break
        end = limit // STRIDE
        running = crc32(sample[start:end], running)
        start = end
        # The length goes in as well: a chain of zeros has the same sum at any length.
        found.append(running << 6 | number)
    return found


POLICIES: dict[
    str,
    type[LeastInFlight]
    | type[RoundRobin]
    | type[PowerOfTwo]
    | type[QueueAware]
    | type[PrefixAffinity]
    | type[SessionAffinity],
] = {
    "least-in-flight": LeastInFlight,
    "power-of-two": PowerOfTwo,
    "round-robin": RoundRobin,
    "prefix": PrefixAffinity,
    "session": SessionAffinity,
    "queue-aware": QueueAware,
}


def make_policy(name: str, model: str = "", memory: PrefixMemory | None = None, turn: int = 0) -> Policy:
    """The policy of this name (the settings have checked that there is one), for one of the models that share `memory`. `turn`: where taking
    turns begins."""
    if name == "prefix":
        return PrefixAffinity(memory=memory, seed=seed_of(model))
    if name == "least-in-flight":
        return LeastInFlight(turn)
    if name == "queue-aware":
        return QueueAware(turn=turn)
    return POLICIES[name]()


def peek(policy: Policy, engines: Sequence[Candidate], request: Request) -> int:
    """What a policy's `pick` would answer, without changing its state."""
    if isinstance(policy, PrefixAffinity):
        return policy.peek(engines, request)
    return copy.deepcopy(policy).pick(engines, request)
