# SPDX-License-Identifier: Apache-2.0
"""What one worker process holds together: settings, engines, keys, queues, metrics. Everything else gets this and nothing global."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from time import monotonic

from llm_gateway.access_log import AccessLog, Line
from llm_gateway.choice import make_policy
from llm_gateway.dispatch import Dispatcher
from llm_gateway.errors import EngineError
from llm_gateway.exchange import Exchange, Phase
from llm_gateway.http.head import HeadParser
from llm_gateway.keys import KeyStore, read_keys
from llm_gateway.metrics import Gauge, Metrics
from llm_gateway.registry import Endpoint, Registry
from llm_gateway.settings import Settings
from llm_gateway.upstream.engine import Engine, Health

LOG = logging.getLogger("llm_gateway")

# Retries may be this share of all requests, plus a start for quiet times: failing engines must not double the load of good ones.
RETRY_SHARE = 0.2
RETRY_START = 100.0


class Gateway:
    """One worker's parts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine_token = _read_secret(settings.engine_api_key_file)
        self.registry = Registry(self._make_engine)
        self.registry.on_change.append(self._engines_changed)
        self.dispatchers: dict[str, Dispatcher] = {}
        self.heads = HeadParser()
        self.keys = KeyStore(anonymous=settings.anonymous)
        self.metrics = Metrics()
        self.access_log = AccessLog(settings.access_log)
        self.active: set[Exchange] = set()
        self.connections: set[object] = set()
        self.draining = False
        self.discovered = asyncio.Event()
        self.discovery_seen_at = monotonic()
        self.retry_tokens = RETRY_START
        self._id_prefix = os.urandom(6).hex()
        self._id_count = 0
        self._add_gauges()

    # --- engines

    def _make_engine(self, endpoint: Endpoint) -> Engine:
        engine = Engine(endpoint.host, endpoint.port, name=endpoint.name, kind=endpoint.kind, token=self.engine_token)
        engine.created_at = monotonic()
        return engine

    def _engines_changed(self) -> None:
        settings = self.settings
        for model, pool in self.registry.pools.items():
            dispatcher = self.dispatchers.get(model)
            if dispatcher is None:
                self.dispatchers[model] = Dispatcher(
                    pool,
                    make_policy(settings.policy),
                    ceiling=settings.engine_concurrency,
                    queue_size=settings.queue_size,
                )
            elif dispatcher.waiting:
                dispatcher.serve()

    def engine_answered(self, engine: Engine) -> None:
        """A request got its whole answer."""
        engine.served += 1
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
        engine.in_flight -= 1
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

    def new_request_id(self) -> bytes:
        """An id that no other request has."""
        self._id_count += 1
        return f"{self._id_prefix}-{self._id_count:x}".encode()

    def finished(self, exchange: Exchange) -> None:
        """A request is over: count it, log it."""
        now = monotonic()
        metrics = self.metrics
        model = exchange.model
        duration = now - exchange.started_at
        self.retry_tokens = min(RETRY_START, self.retry_tokens + RETRY_SHARE)
        metrics.requests.add(model, str(exchange.status), exchange.reason)
        metrics.key_requests.add(exchange.key.name)
        prompt = completion = None
        if exchange.usage is not None:
            prompt, completion = exchange.usage
            metrics.tokens.add(model, "prompt", by=prompt)
        elif exchange.events:
            completion = exchange.events
        if completion:
            metrics.tokens.add(model, "completion", by=completion)
            metrics.key_tokens.add(exchange.key.name, by=(prompt or 0) + completion)
        first = exchange.first_byte_at
        if exchange.attempts:
            metrics.queue_wait.of(model).observe(exchange.engine_at - exchange.started_at)
        if first:
            metrics.duration.of(model).observe(duration)
            metrics.first_token.of(model).observe(first - exchange.started_at)
            if exchange.stream and completion and completion > 1:
                metrics.token_gap.of(model).observe((exchange.last_byte_at - first) / (completion - 1))
        if self.access_log.enabled:
            self.access_log.write(
                Line(
                    time=round(time.time(), 6),
                    request_id=exchange.request_id.decode(),
                    key=exchange.key.name,
                    model=model,
                    path=exchange.path.decode("latin-1"),
                    status=exchange.status,
                    duration_s=round(duration, 6),
                    stream=exchange.stream,
                    reason=exchange.reason,
                    engine=exchange.engine_name,
                    attempts=exchange.attempts,
                    queue_s=round(exchange.engine_at - exchange.started_at, 6) if exchange.attempts else 0,
                    first_byte_s=round(first - exchange.started_at, 6) if first else None,
                    prompt_tokens=prompt,
                    completion_tokens=completion,
                )
            )

    # --- keys

    def load_keys(self) -> None:
        """Read all keys anew. Raises ConfigError; the old keys then stay."""
        settings = self.settings
        pairs = read_keys(settings.keys_dir, settings.api_key_file)
        self.keys = KeyStore(pairs, anonymous=settings.anonymous and not pairs)
        self.heads.forget()

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
        for engine in list(self.registry.engines.values()):
            if engine.half_open(now):
                self.registry.refresh(engine)
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
                lambda: [((model,), sum(e.in_flight for e in pool.engines)) for model, pool in registry.pools.items()],
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
                    ((model, state), sum(_state(e) == state for e in pool.engines))
                    for model, pool in registry.pools.items()
                    for state in ("ready", "ejected", "not_ready")
                ],
            )
        )
        add(
            Gauge(
                "engine_in_flight",
                "Requests per engine",
                ("engine",),
                lambda: [((e.name,), e.in_flight) for e in list(registry.engines.values())[:500]],
            )
        )
        add(
            Gauge(
                "discovery_age_seconds",
                "Time since discovery last heard from its source",
                (),
                lambda: [((), 0.0 if self.settings.engine else monotonic() - self.discovery_seen_at)],
            )
        )
        add(Gauge("client_connections", "Open client connections", (), lambda: [((), len(self.connections))]))
        add(Gauge("keys", "Keys that are known", (), lambda: [((), len(self.keys))]))


def _state(engine: Engine) -> str:
    if not engine.serving:
        return "not_ready"
    return "ejected" if engine.health is Health.OPEN else "ready"


def _read_secret(path: str) -> str:
    if not path:
        return ""
    from pathlib import Path

    from llm_gateway.errors import ConfigError

    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"engine API key file {path}: cannot be read: {error.strerror}") from error
