# SPDX-License-Identifier: Apache-2.0
"""All engines of one worker: which there are, each model's way to them, and what requests tell of their health."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection
from time import monotonic
from typing import Any, Final

from llm_gateway.callers.admission import read_secret
from llm_gateway.callers.caller import Caller
from llm_gateway.callers.ledger import Ledger
from llm_gateway.callers.limits import Subject
from llm_gateway.config.catalogue import Catalogue, ModelConfig
from llm_gateway.config.key_documents import Key, KeyLimits
from llm_gateway.config.settings import Settings
from llm_gateway.engines.address import tls_context
from llm_gateway.engines.dispatch import Dispatcher
from llm_gateway.engines.engine import Engine, Health
from llm_gateway.engines.registry import Endpoint, Registry
from llm_gateway.engines.routing import Policy, PrefixMemory, make_policy
from llm_gateway.errors import ApiError, EngineError, forbidden, malformed, model_not_found, printable, unavailable
from llm_gateway.http.outbox import Outbox
from llm_gateway.telemetry.metrics import Metrics

LOG = logging.getLogger("llm_gateway")

# How soon a waiting request notices that another process freed an engine.
OTHERS_POLL_S: Final = 0.005


class Fleet:
    """The engines, and the dispatcher of each model.

    `active` are the requests under way in this worker, `token` is the key that engines are shown, `limits_of` gives a model's limits as the
    subjects of a request. Nothing here knows what a request is made of.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        metrics: Metrics,
        outbox: Outbox,
        *,
        active: Collection[object],
        token: str,
        limits_of: Callable[[str, KeyLimits], list[Subject]],
    ) -> None:
        self.dispatchers: dict[str, Dispatcher] = {}
        self.catalogue = Catalogue(settings.models)
        self.crowd: set[Dispatcher] = set()
        self.registry = Registry(self._make_engine)
        self.registry.on_change.append(self._engines_changed)
        self._settings = settings
        self._ledger = ledger
        self._metrics = metrics
        self._outbox = outbox
        self._active = active
        self._token = token
        self._limits_of = limits_of
        self._prefixes = PrefixMemory()
        self._chance = random.Random()  # noqa: S311  which canary a request meets is no secret

    def load_keys(self, token: str) -> None:
        """Show engines the keys that stand in their files now; `token` is that of all others. Raises ConfigError."""
        keys = {
            place: read_secret(endpoint.key_file) for place, endpoint in self.registry.said.items() if endpoint.key_file
        }
        self._token = token
        for place, engine in self.registry.engines.items():
            engine.show(keys.get(place, token))

    def _make_engine(self, endpoint: Endpoint) -> Engine:
        engine = Engine(
            endpoint.host,
            endpoint.port,
            name=endpoint.name,
            kind=endpoint.kind,
            token=read_secret(endpoint.key_file) if endpoint.key_file else self._token,
            path=endpoint.path,
            tls=tls_context(endpoint.ca_file) if endpoint.secure else None,
            own_key=bool(endpoint.key_file),
            weight=endpoint.weight,
            ledger=self._ledger,
            outbox=self._outbox,
        )
        engine.created_at = monotonic()
        return engine

    # --- models

    def _engines_changed(self, models: Collection[str]) -> None:
        while self.registry.forgotten:
            self._forget(self.registry.forgotten.pop())
        for model in models:
            pool = self.registry.pools.get(model)
            if pool is None:
                continue
            dispatcher = self.dispatchers.get(model)
            if dispatcher is None:
                if not self.catalogue.real(model):
                    continue
                dispatcher = self.dispatchers[model] = Dispatcher(
                    pool,
                    self._policy(self._settings.policy, model),
                    self._ledger,
                    self._metrics.model(model),
                    when_blocked=self._blocked if self._ledger.shared else None,
                    crowd=self.crowd,
                    active=self._active,
                )
                self._configure(dispatcher)
            elif dispatcher.waiting:
                dispatcher.serve()

    def _policy(self, name: str, model: str) -> Policy:
        # Gateways and workers that were started together must not all begin with the same engine.
        return make_policy(name, model, self._prefixes, self._chance.randrange(1 << 16))

    def _forget(self, model: str) -> None:
        """An adapter was unloaded, or a model removed. One that a request waits for, or that the configuration names, stays known."""
        dispatcher = self.dispatchers.get(model)
        if model in self.catalogue.models or (dispatcher is not None and dispatcher.waiting):
            self.registry.know(model)
        elif dispatcher is not None:
            self.crowd.discard(self.dispatchers.pop(model))

    def _configure(self, dispatcher: Dispatcher) -> None:
        settings = self._settings
        config = self.catalogue.config(dispatcher.model)

        def chosen(own: Any, general: Any) -> Any:
            return general if own is None else own

        dispatcher.subjects = self._limits_of(dispatcher.model, config.limits)
        dispatcher.ceiling = chosen(config.engine_concurrency, settings.engine_concurrency)
        dispatcher.queue_size = chosen(config.queue_size, settings.queue_size)
        dispatcher.queue_timeout_s = chosen(config.queue_timeout, settings.queue_timeout)
        dispatcher.hold_timeout_s = chosen(config.hold_timeout, settings.hold_timeout)
        policy = chosen(config.policy, settings.policy)
        if policy != dispatcher.policy_name:
            dispatcher.policy = self._policy(policy, dispatcher.model)
            dispatcher.policy_name = policy

    def configure(self, settings: Settings, catalogue: Catalogue) -> None:
        """Go on with other settings; engines, queues and counts stay."""
        self._settings = settings
        self.catalogue = catalogue
        for model in settings.models:
            if catalogue.real(model):
                self.registry.know(model)
        for model in [model for model in self.dispatchers if not catalogue.real(model)]:
            self.crowd.discard(self.dispatchers.pop(model))
        self.registry.changed()
        for dispatcher in self.dispatchers.values():
            self._configure(dispatcher)
            if dispatcher.waiting:
                dispatcher.serve()

    def default_model(self) -> str:
        """The model of a request that names none. Raises ApiError 400."""
        if self._settings.default_model:
            return self._settings.default_model
        if len(self.dispatchers) == 1:
            return next(iter(self.dispatchers))
        raise malformed("The request names no model, and there is more than one. Say which.", param="model")

    def resolve(self, asked: str) -> str:
        """The model that is meant by the name a client used, this time (a canary may mean one of several)."""
        if asked in self.dispatchers and asked not in self.catalogue.models:
            return asked
        return self.catalogue.resolve(asked, self._chance, self._takes)

    def _takes(self, model: str) -> bool:
        """Whether a request of a split may go there: not while a canary has no engine, or none that answers."""
        dispatcher = self.dispatchers.get(model)
        if dispatcher is None:
            return not self.catalogue.real(model)
        if not dispatcher.ready:
            return dispatcher.hold_timeout_s > 0
        return any(engine.health is not Health.OPEN for engine in dispatcher.ready)

    def dispatcher(self, asked: str, caller: Caller) -> Dispatcher:
        """The way to the model that is meant by the name a client used. Raises ApiError (403, 404, 503)."""
        dispatcher = self.dispatchers.get(asked)
        if dispatcher is None or asked in self.catalogue.models:
            dispatcher = self.dispatchers.get(self.resolve(asked))
            if dispatcher is None:
                raise self._unknown_model(asked)
        fetch(dispatcher.ready, dispatcher.policy, caller.record)
        if caller.models is not None and not (asked in caller.models or dispatcher.model in caller.models):
            raise forbidden(f"This key may not use the model '{printable(asked)}'.", code="model_not_allowed")
        return dispatcher

    def fallbacks(self, model: str) -> tuple[str, ...]:
        """The models to ask, in this order, when this one's engines cannot take a request."""
        return tuple(self.catalogue.config(model).fallbacks) if self.catalogue.models else ()

    def _unknown_model(self, model: str) -> ApiError:
        """404; or 503 while an engine has not said yet what it serves."""
        if not all(engine.models for engine in self.registry.engines.values()):
            return unavailable(
                "Not every engine has said yet which models it has. Try again later.", code="no_ready_engine"
            )
        return model_not_found(model)

    def model_card(self, name: str) -> dict[str, Any]:
        """What engines say of the model that is meant by a name (of a split, of its first)."""
        if name not in self.dispatchers:
            config = self.catalogue.like(name)
            name = name if config is None else self._first_of(config)
        while not self.catalogue.real(name):
            name = self._first_of(self.catalogue.config(name))
        return self.registry.card(name)

    @staticmethod
    def _first_of(config: ModelConfig) -> str:
        return config.alias if config.alias is not None else next(iter(config.split))

    def may_ask(self, key: Key, name: str) -> bool:
        """Whether a key may ask for a model by this name, which need not be listed."""
        if name in self.served_names(key):
            return True
        config = self.catalogue.like(name)
        if name in self.dispatchers or config is None:
            return False
        return key.may_use(name) or any(map(key.may_use, [config.alias] if config.alias else config.split))

    def served_names(self, key: Key) -> list[str]:
        """All names that a key may ask for."""
        names = {
            *self.dispatchers,
            *(name for name in self.catalogue.models if not self.catalogue.real(name) and "*" not in name),
        }
        return sorted(name for name in names if key.may_use(name))

    # --- queues

    def _blocked(self, dispatcher: Dispatcher) -> None:
        """A request waits, and another process may free the engine it waits for: look until nobody waits."""
        asyncio.get_running_loop().call_later(OTHERS_POLL_S, self._poll, dispatcher)

    def _poll(self, dispatcher: Dispatcher) -> None:
        if not dispatcher.waiting:
            return
        for engine in dispatcher.ready:
            engine.look()
        dispatcher.serve()
        if dispatcher.waiting:
            self._blocked(dispatcher)

    # --- what became of requests

    def answered(self, engine: Engine) -> None:
        """A request got its whole answer."""
        engine.served += 1
        engine.heard_at = monotonic()
        if engine.succeeded():
            LOG.info("engine %s: taken back in", engine.name)
            self.registry.refresh(engine)

    def failed(self, engine: Engine, error: EngineError) -> None:
        """A request got none."""
        self._metrics.engine_failures.add(engine.name, error.kind)
        settings = self._settings
        if engine.failed(monotonic(), settings.breaker_failures, settings.breaker_cooldown):
            LOG.warning("engine %s: taken out for %g s: %s", engine.name, engine.cooldown_s, error)
            self._metrics.ejections.add(engine.name)
            engine.close_idle()
            self.registry.refresh(engine)

    def released(self, engine: Engine) -> None:
        """A request left an engine: another one may have waited for that."""
        engine.leave()
        if not self.crowd:
            return
        for model in engine.models:
            dispatcher = self.dispatchers.get(model)
            if dispatcher is not None and dispatcher.waiting:
                dispatcher.serve()

    # --- the clock

    def tick(self, now: float) -> None:
        """Called now and then: engines whose breaker may half-open, and new ones whose share grows."""
        slow_start = self._settings.slow_start
        for engine in list(self.registry.engines.values()):
            engine.look()
            engine.warm_up(now, slow_start)
            if engine.half_open(now):
                self.registry.refresh(engine)


def fetch(*__: object) -> None:
    """Look at these objects, so that the processor fetches all of them at once (README, "Memory in no cache"). Whoever passes an object on has
    touched it: nothing is left to do here."""
