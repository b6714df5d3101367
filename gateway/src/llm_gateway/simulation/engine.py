# SPDX-License-Identifier: Apache-2.0
"""An engine as the outside sees it: slots, a prefill that works one prompt after the other, decoding that slows as more run, a prefix cache.

Coarse on purpose: a request's times are worked out when it starts, from what runs then. That is what a choice between engines depends on;
it is no model of a kernel.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from llm_gateway.engines.routing import seed_of
from llm_gateway.simulation.trace import BLOCK_TOKENS, Asked


@dataclass(frozen=True)
class EngineModel:
    """How fast the engines are. The defaults are about those of an 8 B model on one 24 GB accelerator."""

    slots: int = 32
    prefill_tokens_per_s: float = 6000.0
    token_s: float = 0.018
    token_s_per_running: float = 0.0004
    cache_tokens: int = 160_000


class SimulatedEngine:
    """One engine in virtual time. Its public fields are those that policies look at (`routing.Candidate`)."""

    __slots__ = (
        "_cache",
        "_model",
        "_prefill_free_s",
        "busy_s",
        "cached_tokens",
        "in_flight",
        "kv_use",
        "name",
        "prompt_tokens",
        "queue_depth",
        "running",
        "seed",
        "served",
        "share",
        "waiting",
    )

    def __init__(self, name: str, model: EngineModel) -> None:
        self.name = name
        self.seed = seed_of(name)
        self.share = 1.0
        self.in_flight = 0
        self.queue_depth = 0
        self.kv_use = 0.0
        self.running = 0
        self.waiting: deque[tuple[Asked, float, int]] = deque()
        self.served = 0
        self.busy_s = 0.0
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self._model = model
        self._prefill_free_s = 0.0
        self._cache: dict[int, None] = {}

    def arrive(self, asked: Asked, now_s: float, number: int) -> tuple[float, float] | None:
        """(first token, end) of a request that starts now, or None: it waits for a slot."""
        self.in_flight += 1
        if self.running >= self._model.slots:
            self.waiting.append((asked, now_s, number))
            self.queue_depth += 1
            return None
        return self.start(asked, now_s)

    def start(self, asked: Asked, now_s: float) -> tuple[float, float]:
        """(first token, end) of a request that gets a slot now."""
        model = self._model
        self.running += 1
        cached = self._reuse(asked)
        begin = max(now_s, self._prefill_free_s)
        self._prefill_free_s = begin + (asked.prompt_tokens - cached) / model.prefill_tokens_per_s
        token_s = model.token_s + model.token_s_per_running * self.running
        first = self._prefill_free_s + token_s
        end = first + (asked.output_tokens - 1) * token_s
        self.busy_s += end - now_s
        self.kv_use = min(1.0, self.running / model.slots)
        return first, end

    def _reuse(self, asked: Asked) -> int:
        """Tokens of the prompt that need not be computed again; the prompt then is the cache's newest."""
        cache = self._cache
        blocks = asked.blocks
        hits = 0
        for block in blocks:
            if block not in cache:
                break
            hits += 1
        for block in reversed(blocks):  # a prompt's end is forgotten before its beginning
            cache.pop(block, None)
            cache[block] = None
        room = self._model.cache_tokens // BLOCK_TOKENS
        while len(cache) > room:
            del cache[next(iter(cache))]
        cached = min(hits * BLOCK_TOKENS, asked.prompt_tokens - 1)
        self.prompt_tokens += asked.prompt_tokens
        self.cached_tokens += cached
        return cached

    def leave(self) -> tuple[Asked, float, int] | None:
        """A request has ended; the one that gets its slot, if any waits."""
        self.running -= 1
        self.in_flight -= 1
        self.served += 1
        self.kv_use = min(1.0, self.running / self._model.slots)
        if not self.waiting:
            return None
        self.queue_depth -= 1
        return self.waiting.popleft()
