# SPDX-License-Identifier: Apache-2.0
"""What one worker process holds together: settings, engines, keys, queues, metrics. Everything else gets this and nothing global."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llm_gateway.callers.caller import Caller
from llm_gateway.callers.digest_table import DigestTable
from llm_gateway.callers.keys import KeyStore, read_keys
from llm_gateway.callers.ledger import Ledger, LedgerFull, Record
from llm_gateway.callers.limits import BOUNDLESS, Limiter, Rules, Subject, Ticket, count_use
from llm_gateway.config.catalogue import Catalogue
from llm_gateway.config.key_documents import Key, KeyLimits
from llm_gateway.config.settings import Settings
from llm_gateway.data_path.exchange import Exchange, Phase
from llm_gateway.engines.dispatch import Dispatcher
from llm_gateway.engines.engine import Engine, Health
from llm_gateway.engines.registry import Endpoint, Registry
from llm_gateway.engines.routing import PrefixMemory, make_policy
from llm_gateway.errors import (
    ApiError,
    ConfigError,
    EngineError,
    forbidden,
    malformed,
    model_not_found,
    printable,
    unavailable,
)
from llm_gateway.http.cors import Cors
from llm_gateway.http.head import HeadParser
from llm_gateway.http.outbox import Outbox
from llm_gateway.telemetry.access_log import AccessLog
from llm_gateway.telemetry.access_log_line import Line
from llm_gateway.telemetry.instruments import Gauge, ModelMetrics, status_text
from llm_gateway.telemetry.metrics import Metrics, counts_only

if TYPE_CHECKING:
    from llm_gateway.callers.jwt import TokenVerifier
    from llm_gateway.callers.redis_limits import RedisLimiter
    from llm_gateway.data_path.resume import Transcript
    from llm_gateway.process.siblings import Family
    from llm_gateway.telemetry.tracing import Tracer

LOG = logging.getLogger("llm_gateway")

# Retries may be this share of all requests, plus a start for quiet times: failing engines must not double the load of good ones.
RETRY_SHARE: Final = 0.2
RETRY_START: Final = 100.0
# How soon a waiting request notices that another process freed an engine.
OTHERS_POLL_S: Final = 0.005
# So many requests that have ended are counted and logged together: one by one they cost more, and a client that asks again at once waits for it.
TOGETHER: Final = 16
# How the ids of requests end: writing a number costs more than looking it up.
ID_ENDS: Final = [b"%02x" % number for number in range(256)]
# Keys whose limits and counts are kept at hand.
MAX_CALLERS: Final = 200_000
NO_SUBJECTS: Final[list[Subject]] = []
# Most keys have the same limits.
MAX_RULES: Final = 10_000


class Gateway:
    """One worker's parts."""

    def __init__(self, settings: Settings, ledger: Ledger | None = None, family: Family | None = None) -> None:
        self.settings = settings
        self.family = family
        self.ledger = ledger if ledger is not None else Ledger(path=settings.state_file)
        self.limiter = Limiter(self.ledger)
        self.remote_limits: RedisLimiter | None = None
        self.catalogue = Catalogue(settings.models)
        self.engine_token = read_secret(settings.engine_api_key_file)
        self.outbox = Outbox()
        self.registry = Registry(self._make_engine)
        self.registry.on_change.append(self._engines_changed)
        self.prefixes = PrefixMemory()
        self.dispatchers: dict[str, Dispatcher] = {}
        self.crowd: set[Dispatcher] = set()
        # By the SHA-256 of their key; and by name, those that are known otherwise (by a token, or not at all).
        self._callers = DigestTable()
        self._named: dict[str, Caller] = {}
        self.heads = HeadParser(self._callers)
        self.cors = Cors(settings.cors_origins)
        self.keys = KeyStore(anonymous=settings.anonymous)
        self.tokens: TokenVerifier | None = None
        self.metrics = Metrics()
        self.access_log = AccessLog(settings.access_log)
        self.tracer: Tracer | None = None
        self.active: set[Exchange] = set()
        self.connections: set[object] = set()
        self.draining = False
        self.discovered = asyncio.Event()
        self.discovery_seen_at = monotonic()
        self.retry_tokens = RETRY_START
        self.chance = random.Random()  # noqa: S311  which canary a request meets is no secret
        self.has_classes = False
        self.reload_error = ""
        self.on_reload: Callable[[], object] = self.load_keys
        self._ended: list[tuple[float, Exchange]] = []
        self._rules: dict[tuple[KeyLimits, bool], Rules] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._id_worker = os.urandom(6).hex().encode()
        self._id_start = b""
        self._id_count = 0
        self._add_gauges()

    # --- engines

    def _make_engine(self, endpoint: Endpoint) -> Engine:
        engine = Engine(
            endpoint.host,
            endpoint.port,
            name=endpoint.name,
            kind=endpoint.kind,
            token=self.engine_token,
            weight=endpoint.weight,
            ledger=self.ledger,
            outbox=self.outbox,
        )
        engine.created_at = monotonic()
        return engine

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
                    make_policy(self.settings.policy, model, self.prefixes),
                    self.ledger,
                    when_blocked=self._blocked if self.ledger.shared else None,
                    crowd=self.crowd,
                    active=self.active,
                )
                self._configure(dispatcher)
            elif dispatcher.waiting:
                dispatcher.serve()

    def _forget(self, model: str) -> None:
        """An adapter was unloaded. One that somebody waits for, or that the configuration names, stays known."""
        dispatcher = self.dispatchers.get(model)
        if model in self.catalogue.models or (dispatcher is not None and dispatcher.waiting):
            self.registry.know(model)
        elif dispatcher is not None:
            self.crowd.discard(self.dispatchers.pop(model))

    def _configure(self, dispatcher: Dispatcher) -> None:
        settings = self.settings
        config = self.catalogue.config(dispatcher.model)

        def chosen(own: Any, general: Any) -> Any:
            return general if own is None else own

        dispatcher.ceiling = chosen(config.engine_concurrency, settings.engine_concurrency)
        dispatcher.queue_size = chosen(config.queue_size, settings.queue_size)
        dispatcher.queue_timeout_s = chosen(config.queue_timeout, settings.queue_timeout)
        dispatcher.hold_timeout_s = chosen(config.hold_timeout, settings.hold_timeout)
        policy = chosen(config.policy, settings.policy)
        if policy != dispatcher.policy_name:
            dispatcher.policy = make_policy(policy, dispatcher.model, self.prefixes)
            dispatcher.policy_name = policy

    def configure(self, settings: Settings) -> None:
        """Go on with other settings (those that can change while serving); engines, queues and counts stay. Raises ConfigError."""
        catalogue = Catalogue(settings.models)
        self.settings = settings
        self.cors = Cors(settings.cors_origins)
        self.catalogue = catalogue
        if self.tracer is not None:
            self.tracer.share = settings.trace_sample
        self._forget_limits()
        self._rules.clear()
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

    def _blocked(self, dispatcher: Dispatcher) -> None:
        """A request waits, and another process may free the engine it waits for: look until nobody waits."""
        asyncio.get_running_loop().call_later(OTHERS_POLL_S, self._poll, dispatcher, True)

    def _poll(self, dispatcher: Dispatcher, again: bool) -> None:
        if not dispatcher.waiting:
            return
        for engine in dispatcher.ready:
            engine.look()
        dispatcher.serve()
        if dispatcher.waiting and again:
            self._blocked(dispatcher)

    def command(self, command: str) -> None:
        """Do what an operator told one worker, in each of them: `reload`, `drain ENGINE`, `undrain ENGINE`."""
        verb, _, name = command.partition(" ")
        if verb == "reload":
            self.on_reload()
        else:
            self.registry.drain(name, verb == "drain")

    def engine_answered(self, engine: Engine) -> None:
        """A request got its whole answer."""
        engine.served += 1
        engine.heard_at = monotonic()
        if engine.succeeded():
            LOG.info("engine %s: taken back in", engine.name)
            self.registry.refresh(engine)

    def engine_failed(self, engine: Engine, error: EngineError) -> None:
        """A request got none."""
        self.metrics.engine_failures.add(engine.name, error.kind)
        if error.kind == "request_timeout":
            return  # a long answer is no fault
        settings = self.settings
        if engine.failed(monotonic(), settings.breaker_failures, settings.breaker_cooldown):
            LOG.warning("engine %s: taken out for %g s: %s", engine.name, engine.cooldown_s, error)
            self.metrics.ejections.add(engine.name)
            engine.close_idle()
            self.registry.refresh(engine)

    def engine_released(self, engine: Engine) -> None:
        """A request left an engine: somebody may have waited for that."""
        engine.leave()
        if not self.crowd:
            return
        for model in engine.models:
            dispatcher = self.dispatchers.get(model)
            if dispatcher is not None and dispatcher.waiting:
                dispatcher.serve()

    def may_retry(self) -> bool:
        """Take one retry from the budget."""
        if self.retry_tokens < 1:
            return False
        self.retry_tokens -= 1
        return True

    # --- requests

    def default_model(self) -> str:
        """The model of a request that names none. Raises ApiError 400."""
        if self.settings.default_model:
            return self.settings.default_model
        if len(self.dispatchers) == 1:
            return next(iter(self.dispatchers))
        raise malformed("The request names no model, and there is more than one. Say which.", param="model")

    def dispatcher(self, asked: str, caller: Caller) -> Dispatcher:
        """The way to the model that is meant by the name a client used. Raises ApiError (403, 404, 503)."""
        dispatcher = self.dispatchers.get(asked)
        if dispatcher is None or self.catalogue.models:
            dispatcher = self.dispatchers.get(self.catalogue.resolve(asked, self.chance))
            if dispatcher is None:
                raise self.unknown_model(asked)
        fetch(dispatcher.ready, dispatcher.policy, caller.record)
        if caller.models is not None and not (asked in caller.models or dispatcher.model in caller.models):
            raise forbidden(f"This key may not use the model '{printable(asked)}'.", code="model_not_allowed")
        return dispatcher

    def unknown_model(self, model: str) -> ApiError:
        """404; or 503 while an engine has not said yet what it serves."""
        if not all(engine.models for engine in self.registry.engines.values()):
            return unavailable(
                "Not every engine has said yet which models it has. Try again later.", code="no_ready_engine"
            )
        return model_not_found(model)

    def model_card(self, name: str) -> dict[str, Any]:
        """What engines say of the model that is meant by a name (of a split, of its first)."""
        while not self.catalogue.real(name):
            config = self.catalogue.config(name)
            name = config.alias if config.alias is not None else next(iter(config.split))
        return self.registry.card(name)

    def served_names(self, key: Key) -> list[str]:
        """All names that a key may ask for."""
        names = {*self.dispatchers, *(name for name in self.catalogue.models if not self.catalogue.real(name))}
        return sorted(name for name in names if key.may_use(name))

    def rank_of(self, key: Key, wanted: bytes | None) -> int:
        """The class of a request, 0 the most urgent. Raises ApiError (400, 403)."""
        classes = self.settings.priority_classes
        if wanted is None:
            name = self.settings.default_class
            if key.classes is not None and name not in key.classes:
                allowed = [place for place, known in enumerate(classes) if known in key.classes]
                return allowed[-1] if allowed else len(classes)
            return classes.index(name) if name in classes else 0
        name = wanted.decode("latin-1").strip().lower()
        if name not in classes:
            raise malformed(f"The class '{printable(name)}' is not one of {', '.join(classes)}.", param="x-priority")
        if key.classes is not None and name not in key.classes:
            raise forbidden(f"This key may not use the class '{name}'.", code="class_not_allowed")
        return classes.index(name)

    def caller(self, digest: bytes | None, token: bytes | None) -> Caller | None:
        """Who shows the key with this SHA-256; None for nobody who is known (any more)."""
        caller: Caller | None = None if digest is None else self._callers.get(digest)
        if caller is not None:
            return None if caller.expires_at != BOUNDLESS and time.time() >= caller.expires_at else caller
        key = self.keys.find(digest, token)
        if key is None:
            return None
        if digest is not None and self.keys.stored(digest):
            caller = self._make_caller(key)
            self._callers.put(digest, caller, self._record(caller), caller.use, caller.name)
            return caller
        caller = self._named.get(key.name)
        if caller is None or caller.key is not key:
            if len(self._named) >= MAX_CALLERS:
                self._named.clear()
            caller = self._named[key.name] = self._make_caller(key)
        return caller

    def _make_caller(self, key: Key) -> Caller:
        return Caller(key, self.rules(key.limits, key=True), self.metrics.key(key.name))

    def limited(self, caller: Caller, dispatcher: Dispatcher) -> list[Subject] | None:
        """The limits that a request must pass; None: none."""
        of_model = dispatcher.subjects
        if of_model is None:
            model = dispatcher.model
            rules = self.rules(self.catalogue.config(model).limits, key=False)
            of_model = [Subject("model", model, rules)] if rules.any else NO_SUBJECTS
            dispatcher.subjects = of_model
        if not caller.rules.any:
            return of_model or None
        return [caller, *of_model] if of_model else [caller]

    def _forget_limits(self) -> None:
        self._callers.clear()
        self._named.clear()
        for dispatcher in self.dispatchers.values():
            dispatcher.subjects = None

    def rules(self, limits: KeyLimits, *, key: bool) -> Rules:
        """What a key's, or a model's, own limits and the settings come to; a share of it where nobody tells the gateways apart."""
        found = self._rules.get((limits, key))
        if found is not None:
            return found
        settings = self.settings

        def chosen(own: int | None, general: int) -> int:
            return (general if key else 0) if own is None else own

        rules = Rules(
            chosen(limits.requests_per_minute, settings.limit_requests_per_minute),
            chosen(limits.tokens_per_minute, settings.limit_tokens_per_minute),
            chosen(limits.concurrency, settings.limit_concurrency),
            chosen(limits.budget_tokens, settings.limit_budget_tokens),
            settings.limit_budget_period if limits.budget_period is None else limits.budget_period,
        )
        if self.remote_limits is None:
            rules = rules.share(settings.limit_replicas)
        if len(self._rules) >= MAX_RULES:
            self._rules.clear()
        self._rules[limits, key] = rules
        return rules

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something run to its end by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def admit_remotely(self, subjects: list[Subject], tokens: float, request_id: bytes) -> Ticket:
        """Admission by Redis; by this gateway's share when that does not answer. Raises ApiError 429."""
        remote = self.remote_limits
        if remote is not None:
            try:
                return await remote.admit(subjects, tokens, request_id)
            except ConnectionError:
                self.metrics.limits_degraded.add()
        replicas = self.settings.limit_replicas
        return self.limiter.admit([subject.share(replicas) for subject in subjects], tokens)

    def transcript(self, exchange: Exchange) -> Transcript | None:
        """What can continue a stream that breaks off; None where the request is of a kind that cannot be continued."""
        from llm_gateway.data_path.resume import transcript_of

        return transcript_of(exchange.path, exchange._engine_body)

    @property
    def shared(self) -> bool:
        """Whether other processes wait for what a request gives back."""
        return self.ledger.shared or self.remote_limits is not None

    def new_request_id(self) -> bytes:
        """An id that no other request has."""
        place = self._id_count & 0xFF
        if place == 0:
            self._id_start = b"%b-%x" % (self._id_worker, self._id_count >> 8)
        self._id_count += 1
        return self._id_start + ID_ENDS[place]

    def finished(self, exchange: Exchange) -> None:
        """A request is over: what others may wait for is given back at once; the rest can wait a moment."""
        exchange.settle()
        if exchange.queued and exchange.dispatcher is not None:
            prompt, completion = exchange.usage or (0, exchange.events)
            exchange.dispatcher.charge(exchange, prompt + completion - exchange.cost)
        self._ended.append((monotonic(), exchange))
        if len(self._ended) == TOGETHER:
            asyncio.get_running_loop().call_soon(self.account)

    def account(self) -> None:
        """Count and log the requests that have ended since the last time.

        One thing after the other for all of them, and first where it is counted: that of one of many keys or models is in none of the processor's
        caches, and short loops let it wait for some of that at once."""
        ended, self._ended = self._ended, []
        records = [self._record(exchange.caller) for _, exchange in ended]
        metrics = [self._of_model(exchange) for _, exchange in ended]
        for of_model in metrics:
            of_model.fetch()
        self._count_by_key(ended, records)
        self._count_by_model(ended, metrics)
        if self.tracer is not None:
            for now, exchange in ended:
                if exchange.span is not None:
                    prompt, completion = tokens_of(exchange)
                    self.tracer.end(exchange, now, prompt, completion)
        if self.access_log.enabled:
            self._log(ended)

    def _record(self, caller: Caller) -> Record | None:
        """Where a key's use is counted; None: there is no room for that."""
        if caller.record is None:
            with suppress(LedgerFull):
                caller.record = self.ledger.record(caller.record_name)
        return caller.record

    def _of_model(self, exchange: Exchange) -> ModelMetrics:
        dispatcher = exchange.dispatcher
        if dispatcher is None:
            return self.metrics.model(exchange.model)
        if dispatcher.metrics is None:
            dispatcher.metrics = self.metrics.model(exchange.model)
        return dispatcher.metrics

    def _count_by_key(self, ended: list[tuple[float, Exchange]], records: list[Record | None]) -> None:
        """What keys have used: for the metrics, and where all workers see it."""
        for number, (_, exchange) in enumerate(ended):
            prompt, completion = tokens_of(exchange)
            use = exchange.caller.use
            use.requests += 1
            use.tokens += (prompt or 0) + (completion or 0)
            record = records[number]
            if record is not None:
                count_use(self.ledger, record, prompt or 0, completion or 0)

    def _count_by_model(self, ended: list[tuple[float, Exchange]], metrics: list[ModelMetrics]) -> None:
        if self.retry_tokens < RETRY_START:
            self.retry_tokens = min(RETRY_START, self.retry_tokens + RETRY_SHARE * len(ended))
        for number, (now, exchange) in enumerate(ended):
            of_model = metrics[number]
            if exchange.status == 200 and not exchange.reason:
                of_model.answered += 1
            else:
                self.metrics.requests.bump((exchange.model, status_text(exchange.status), exchange.reason), 1)
            prompt, completion = tokens_of(exchange)
            if prompt is not None:
                of_model.read(prompt)
            if completion:
                of_model.wrote(completion)
            started_at, first_at = exchange.started_at, exchange.first_byte_at
            if exchange.attempts:
                if waited(exchange):
                    of_model.waited(exchange.engine_at - started_at)
                else:
                    of_model.at_once += 1
                if exchange.attempts == 1 and exchange.reply_at:
                    # What the gateway itself took: until the engine had it, and after its reply had come. Not where the request waited.
                    before_s = 0.0 if exchange.queued else exchange.sent_at - started_at
                    of_model.took_itself(before_s + now - exchange.reply_at)
            if first_at:
                of_model.took(now - started_at, first_at - started_at)
                if exchange.stream and completion and completion > 1:
                    of_model.went_on((exchange.last_byte_at - first_at) / (completion - 1))

    def _log(self, ended: list[tuple[float, Exchange]]) -> None:
        offset_s = time.time() - monotonic()
        names = [exchange.caller.name for _, exchange in ended]
        for number, (now, exchange) in enumerate(ended):
            prompt, completion = tokens_of(exchange)
            started_at, first_at = exchange.started_at, exchange.first_byte_at
            self.access_log.write(
                Line(
                    offset_s + now,
                    exchange.request_id.decode(),
                    names[number],
                    exchange.model,
                    exchange.head.path.decode("latin-1"),
                    exchange.status,
                    microseconds(now - started_at),
                    exchange.stream,
                    exchange.reason,
                    exchange.engine_name,
                    exchange.attempts,
                    microseconds(exchange.engine_at - started_at) if waited(exchange) else 0.0,
                    microseconds(first_at - started_at) if first_at else None,
                    prompt,
                    completion,
                    None if exchange.span is None else exchange.span.trace_id,
                    exchange.caller.tenant,
                )
            )

    @property
    def ready(self) -> bool:
        """Whether this worker knows its engines, and is not about to end."""
        return self.discovered.is_set() and not self.draining

    async def others_ready(self) -> bool:
        """Whether all other workers are ready: a connection may end up at any of them."""
        if self.family is None:
            return True
        return all(answer == b"yes" for answer in (await self.family.ask("ready")).values())

    async def exposed_metrics(self) -> str:
        """Prometheus' text, over all worker processes."""
        if self.family is None:
            self.account()
            return self.metrics.expose()
        self.keep_counts()
        return self.metrics.expose(await self.others_counts())

    async def others_counts(self) -> list[bytes]:
        """The counts of all other workers; of one that does not answer (it is being replaced) those that it left behind."""
        found = []
        family = self.family
        for number, counts in (await family.ask("metrics")).items() if family is not None else ():
            if counts:
                found.append(counts)
            elif family is not None and family.snapshot_file(number).exists():
                found.append(counts_only(family.snapshot_file(number).read_bytes()))
        return found

    def keep_counts(self) -> bytes:
        """Leave the counts where the next worker of this number finds them: a counter must never go back."""
        self.account()
        snapshot = self.metrics.snapshot()
        if self.family is not None:
            file = self.family.snapshot_file()
            fresh = file.with_suffix(".new")
            fresh.write_bytes(snapshot)
            fresh.replace(file)
        return snapshot

    def take_counts(self) -> None:
        """Go on counting where the last worker of this number ended."""
        if self.family is not None and self.family.snapshot_file().exists():
            with suppress(msgspec.MsgspecError):
                self.metrics.absorb(self.family.snapshot_file().read_bytes())

    # --- keys

    def load_keys(self) -> None:
        """Read all keys anew. Raises ConfigError; the old keys then stay."""
        settings = self.settings
        pairs = read_keys(settings.keys_dir, settings.api_key_file)
        if settings.admin_keys_dir and Path(settings.admin_keys_dir).is_dir():
            pairs += read_keys(settings.admin_keys_dir, "")
        admin = read_secret(settings.admin_key_file)
        if admin:
            pairs.append(
                (sha256(admin.encode()).digest(), Key(name="admin", tenant="admin", models=frozenset(), admin=True))
            )
        self.keys = KeyStore(pairs, anonymous=settings.anonymous and not pairs, tokens=self.tokens)
        self.has_classes = any(key.classes is not None for _, key in pairs) or self.tokens is not None
        self._forget_limits()
        self.heads.forget()
        for connection in self.connections:
            connection.forget_key()  # type: ignore[attr-defined]

    # --- the clock

    def tick_interval_s(self) -> float:
        """How often `tick` must run so that no time limit is off by more than a quarter."""
        settings = self.settings
        limits = (
            settings.queue_timeout,
            settings.first_byte_timeout,
            settings.stall_timeout,
            settings.request_timeout,
            settings.head_timeout,
            settings.body_timeout,
            settings.keep_alive_timeout,
            settings.sse_comment_interval,
            settings.breaker_cooldown,
        )
        shortest = min(limit for limit in (*limits, 4.0) if limit > 0)
        return max(0.02, min(0.5, shortest / 4))

    def tick(self) -> None:
        """What is a matter of time: stuck requests, silent clients, engines whose breaker may half-open."""
        now = monotonic()
        for exchange in list(self.active):
            if exchange.phase is not Phase.OVER:
                exchange.tick(now)
        for connection in list(self.connections):
            connection.tick(now)  # type: ignore[attr-defined]
        slow_start = self.settings.slow_start
        for engine in list(self.registry.engines.values()):
            engine.look()
            engine.warm_up(now, slow_start)
            if engine.half_open(now):
                self.registry.refresh(engine)
        self.account()
        self.access_log.flush()

    # --- gauges

    def _add_gauges(self) -> None:
        registry = self.registry
        add = self.metrics.gauges.append
        add(
            Gauge(
                "requests_in_flight",
                "Requests that engines are working on",
                ("model",),
                lambda: [((model,), sum(e.mine for e in pool.engines)) for model, pool in registry.pools.items()],
            )
        )
        add(
            Gauge(
                "queue_depth",
                "Requests that wait for an engine",
                ("model",),
                lambda: [((model,), len(dispatcher.waiting)) for model, dispatcher in self.dispatchers.items()],
            )
        )
        add(
            Gauge(
                "engines",
                "Engines by model and state",
                ("model", "state"),
                lambda: [
                    ((model, state), sum(state_of(e) == state for e in pool.engines))
                    for model, pool in registry.pools.items()
                    for state in ("ready", "ejected", "drained", "not_ready")
                ],
                max,
            )
        )
        add(
            Gauge(
                "engine_in_flight",
                "Requests per engine",
                ("engine",),
                lambda: [((e.name,), e.mine) for e in list(registry.engines.values())[:500]],
            )
        )
        add(
            Gauge(
                "discovery_age_seconds",
                "Time since discovery last heard from its source",
                (),
                lambda: [((), 0.0 if self.settings.engine else monotonic() - self.discovery_seen_at)],
                max,
            )
        )
        add(
            Gauge(
                "config_good",
                "1 while the last change of the configuration was taken, 0 while it was refused",
                (),
                lambda: [((), 0.0 if self.reload_error else 1.0)],
                min,
            )
        )
        add(Gauge("client_connections", "Open client connections", (), lambda: [((), len(self.connections))]))
        add(Gauge("keys", "Keys that are known", (), lambda: [((), len(self.keys))], max))


def fetch(*_: object) -> None:
    """Look at these objects, which a request needs in a moment: the processor fetches together what is looked at together. Nothing is left to
    do here, as whoever passes an object on has touched it."""


def tokens_of(exchange: Exchange) -> tuple[int | None, int | None]:
    """Tokens in and out, as the engine told them, or a stream's events did; None: unknown."""
    if exchange.usage is not None:
        return exchange.usage
    return None, exchange.events or None


def waited(exchange: Exchange) -> bool:
    """Whether a request had to wait for its engine, or for another one."""
    return exchange.attempts > 0 and (exchange.queued or exchange.attempts > 1)


def microseconds(seconds: float) -> float:
    """Seconds without what is beyond microseconds."""
    return int(seconds * 1e6) / 1e6


def state_of(engine: Engine) -> str:
    """One word: ready, ejected (its breaker is open), drained (by an operator), or not_ready (says discovery)."""
    if engine.drained:
        return "drained"
    if not engine.serving:
        return "not_ready"
    return "ejected" if engine.health is Health.OPEN else "ready"


def read_secret(path: str) -> str:
    """What a secret's file holds; nothing for no file. Raises ConfigError."""
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"file {path}: cannot be read: {error.strerror}") from error
