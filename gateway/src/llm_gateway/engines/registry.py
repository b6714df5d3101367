# SPDX-License-Identifier: Apache-2.0
"""Which engines there are, and which of them serve which model. Pure data: discovery writes it, the data path reads it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_gateway.engines.engine import Engine, Health


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What discovery knows of one engine process."""

    host: str
    port: int
    name: str = ""
    kind: str = ""
    models: tuple[str, ...] = ()
    ready: bool = True
    weight: float = 1.0
    path: str = ""
    secure: bool = False
    key_file: str = ""
    ca_file: str = ""

    @property
    def place(self) -> tuple[str, int, str]:
        """What tells one engine from another."""
        return self.host, self.port, self.path


class Pool:
    """The engines of one model. `ready` are those that may get requests now, always in the same list; `engines` all that exist."""

    __slots__ = ("engines", "model", "ready")

    def __init__(self, model: str) -> None:
        self.model = model
        self.engines: list[Engine] = []
        self.ready: list[Engine] = []

    def turned(self, engine: Engine) -> None:
        """The same as `refresh` after a change of this one engine, without looking at the others."""
        ready = self.ready
        away = not engine.serving or engine.drained
        listed = engine in ready
        if away and listed and len(ready) > 1:
            ready.remove(engine)
        elif not (away or listed) and ready and Health.OPEN not in (engine.health, ready[0].health):
            ready.append(engine)
        elif away == listed:
            self.refresh()

    def refresh(self) -> None:
        """Work out `ready` anew, after any change of an engine's state."""
        serving = [engine for engine in self.engines if engine.serving and not engine.drained]
        # When every breaker is open, asking anyway is better than refusing everybody: they may all have recovered.
        self.ready[:] = [engine for engine in serving if engine.health is not Health.OPEN] or serving


def _context(card: dict[str, Any]) -> float:
    length = card.get("max_model_len")
    return length if isinstance(length, int) else float("inf")


class Registry:
    """All engines and the pools they form."""

    def __init__(self, make: Callable[[Endpoint], Engine]) -> None:
        self._make = make
        self._known: dict[str, None] = {}
        self.engines: dict[tuple[str, int, str], Engine] = {}  # by their endpoints' places
        # What discovery last said of each.
        self.said: dict[tuple[str, int, str], Endpoint] = {}
        self.pools: dict[str, Pool] = {}
        self._drained: set[str] = set()
        self.forgotten: set[str] = set()  # models that are gone for good; who has cleared up after them, empties it
        self.on_change: list[Callable[[Collection[str]], None]] = []

    def replace(self, endpoints: Iterable[Endpoint]) -> tuple[list[Engine], list[Engine]]:
        """The engines are exactly these now. Returns the new and the removed ones; a removed one completes the requests it has."""
        wanted: dict[tuple[str, int, str], Endpoint] = {}
        for endpoint in endpoints:
            other = wanted.get(endpoint.place)
            # Two slices may show one address while they are being rewritten; ready in either is ready.
            if other is None or (endpoint.ready and not other.ready):
                wanted[endpoint.place] = endpoint
        gone = [place for place in self.engines if place not in wanted]
        removed = [self.engines.pop(place) for place in gone]
        for place, engine in zip(gone, removed, strict=True):
            del self.said[place]
            engine.serving = False
            engine.close_idle()
        fresh = [endpoint for place, endpoint in wanted.items() if self.said.get(place) != endpoint]
        return self._take(fresh, moved=bool(gone)), removed

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """These engines have changed; all others are as they were."""
        self._take(endpoints)

    def _take(self, endpoints: Iterable[Endpoint], *, moved: bool = False) -> list[Engine]:
        """Apply what discovery says of engines; returns the new ones. `moved`: build the pools anew in any case."""
        new = []
        changed: list[Engine] = []
        for endpoint in endpoints:
            place = endpoint.place
            self.said[place] = endpoint
            engine_or_none = self.engines.get(place)
            if engine_or_none is None:
                engine_or_none = self.engines[place] = self._make(endpoint)
                new.append(engine_or_none)
            engine = engine_or_none
            state = (engine.serving, engine.drained, engine.models, engine.weight)
            engine.serving = endpoint.ready
            engine.call(endpoint.name or engine.address)
            engine.kind = endpoint.kind or engine.learned_kind
            engine.weight = endpoint.weight
            engine.drained = engine.name in self._drained
            engine.models = frozenset(endpoint.models) if endpoint.models else engine.learned
            moved = moved or engine.models != state[2]
            if (engine.serving, engine.drained, engine.models, engine.weight) != state:
                changed.append(engine)
        if moved or new:
            self.rebuild()
        elif changed:
            # Mostly one pod turns ready or unready: of a thousand pools, only its own change.
            for engine in changed:
                for model in engine.models:
                    self.pools[model].turned(engine)
            self.changed({model for engine in changed for model in engine.models})
        return new

    def drain(self, name: str, drained: bool) -> None:
        """Give the engine of this name no new requests (or again some), whatever discovery says, and also after it was away."""
        (self._drained.add if drained else self._drained.discard)(name)
        for engine in self.engines.values():
            if engine.name == name:
                engine.drained = drained
                self.refresh(engine)

    def learn(self, engine: Engine, models: frozenset[str], cards: Mapping[str, dict[str, Any]]) -> None:
        """The engine has said which models it serves, and what they are. Discovery's word goes first, where there is one."""
        unloaded = {name for name in engine.learned - models if engine.cards.get(name, {}).get("parent")}
        engine.cards = cards
        if engine.learned == models:
            return
        named_by_discovery = engine.models != engine.learned
        engine.learned = models
        if not named_by_discovery:
            engine.models = models
            self.forget(unloaded)
            self.rebuild()

    def forget(self, models: Iterable[str]) -> None:
        """Adapters that an engine which is well does not have any more, and models whose Service was deleted: they are gone, and will not
        come back by waiting."""
        for name in models:
            if not any(name in engine.models for engine in self.engines.values()):
                self._known.pop(name, None)
                self.pools.pop(name, None)
                self.forgotten.add(name)

    def card(self, model: str) -> dict[str, Any]:
        """What engines say of a model: of several, the one with the shortest context, as any of them may get a request."""
        pool = self.pools.get(model)
        cards = [engine.cards[model] for engine in pool.engines if model in engine.cards] if pool is not None else []
        return min(cards, key=_context, default={})

    def rebuild(self) -> None:
        """Build the pools anew. A model that had an engine once stays known: requests for it get 503, not 404."""
        members: dict[str, list[Engine]] = {}
        for engine in self.engines.values():
            for model in engine.models:
                members.setdefault(model, []).append(engine)
        for model in members:
            self.know(model)
        for model in self._known:
            pool = self.pools.get(model)
            if pool is None:
                pool = self.pools[model] = Pool(model)
            pool.engines = members.get(model, [])
            pool.refresh()
        self.changed()

    def know(self, model: str) -> None:
        """Say that a model exists, whether or not an engine has it now."""
        self._known.setdefault(model)
        if model not in self.pools:
            self.pools[model] = Pool(model)

    def refresh(self, engine: Engine) -> None:
        """An engine's health changed."""
        for model in engine.models:
            pool = self.pools.get(model)
            if pool is not None:
                pool.refresh()
        self.changed(engine.models)

    def changed(self, models: Collection[str] | None = None) -> None:
        """Tell whoever waits for engines of these models; None: of any."""
        for callback in self.on_change:
            callback(list(self.pools) if models is None else models)
