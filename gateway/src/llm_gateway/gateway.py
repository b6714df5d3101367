# SPDX-License-Identifier: Apache-2.0
"""What one worker process holds together. Its parts are made and configured here; nothing is global."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from llm_gateway.callers.admission import Admission, read_secret
from llm_gateway.callers.ledger import Ledger
from llm_gateway.config.catalogue import Catalogue
from llm_gateway.config.settings import Settings
from llm_gateway.data_path.request_ids import RequestIds
from llm_gateway.data_path.services import Services
from llm_gateway.engines.engine import state_of
from llm_gateway.engines.fleet import Fleet
from llm_gateway.http.cors import Cors
from llm_gateway.http.head import HeadParser
from llm_gateway.http.outbox import Outbox
from llm_gateway.telemetry.access_log import AccessLog
from llm_gateway.telemetry.instruments import Gauge
from llm_gateway.telemetry.metrics import Metrics
from llm_gateway.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from llm_gateway.telemetry.tracing import Tracer

# Engines that are shown one by one.
MAX_ENGINES_SHOWN: Final = 500


class Gateway(Services):
    """One worker's parts. `ledger` is what it shares with other workers."""

    def __init__(self, settings: Settings, ledger: Ledger | None = None) -> None:
        self.settings = settings
        self.ledger = ledger if ledger is not None else Ledger(path=settings.state_file)
        self.outbox = Outbox()
        self.metrics = metrics = Metrics()
        self.active = set()
        self.connections = set()
        self.running = set()
        self.draining = False
        self.tracer = None
        self.ids = RequestIds()
        self.admission = Admission(settings, self.ledger, metrics.key, metrics.limits_degraded.add)
        self.heads = HeadParser(self.admission.callers)
        self.cors = Cors(settings.cors_origins)
        self.fleet = Fleet(
            settings,
            self.ledger,
            metrics,
            self.outbox,
            active=self.active,
            token=read_secret(settings.engine_api_key_file),
            limits_of=self.admission.model_subjects,
        )
        self.recorder = Recorder(metrics, AccessLog(settings.access_log), self.ledger, self.admission.record)
        self.shared = self.ledger.shared
        self.discovered = asyncio.Event()
        self.discovery_seen_at = monotonic()
        self.reload_error = ""
        self.on_reload: Callable[[], object] = self.load_keys
        metrics.gauges += self._gauges()

    def trace(self, tracer: Tracer) -> None:
        """Trace requests from now on."""
        self.tracer = self.recorder.tracer = tracer

    @property
    def ready(self) -> bool:
        """Whether this worker knows its engines, and is not about to end."""
        return self.discovered.is_set() and not self.draining

    # --- changes

    def configure(self, settings: Settings) -> None:
        """Go on with other settings (those that can change while serving); engines, queues and counts stay. Raises ConfigError."""
        catalogue = Catalogue(settings.models)
        self.settings = settings
        if self.tracer is not None:
            self.tracer.share = settings.trace_sample
        self.cors = Cors(settings.cors_origins)
        self.admission.configure(settings)
        self.fleet.configure(settings, catalogue)

    def load_keys(self) -> None:
        """Read all keys anew. Raises ConfigError; the old keys then stay."""
        self.admission.load_keys()
        self.metrics.expect_keys(self.admission.keys)
        self.fleet.load_keys(read_secret(self.settings.engine_api_key_file))
        self.shared = self.ledger.shared or self.admission.remote is not None
        self.heads.forget()
        for connection in self.connections:
            connection.forget_key()

    def command(self, command: str) -> None:
        """Do what an operator told one worker, in each of them: `reload`, `drain ENGINE`, `undrain ENGINE`."""
        verb, __, name = command.partition(" ")
        if verb == "reload":
            self.on_reload()
        else:
            self.fleet.registry.drain(name, verb == "drain")

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
            exchange.tick(now)
        for connection in list(self.connections):
            connection.tick(now)
        self.fleet.tick(now)
        self.recorder.flush()
        self.recorder.access_log.flush()

    # --- gauges

    def _gauges(self) -> list[Gauge]:
        fleet = self.fleet
        registry = fleet.registry
        return [
            Gauge(
                "requests_in_flight",
                "Requests that engines are working on",
                ("model",),
                lambda: [((model,), sum(e.mine for e in pool.engines)) for model, pool in registry.pools.items()],
            ),
            Gauge(
                "queue_depth",
                "Requests that wait for an engine",
                ("model",),
                lambda: [((model,), len(dispatcher.waiting)) for model, dispatcher in fleet.dispatchers.items()],
            ),
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
            ),
            Gauge(
                "engine_in_flight",
                "Requests per engine",
                ("engine",),
                lambda: [((e.name,), e.mine) for e in list(registry.engines.values())[:MAX_ENGINES_SHOWN]],
            ),
            Gauge(
                "discovery_age_seconds",
                "Time since discovery last heard from its source",
                (),
                lambda: [((), 0.0 if self.settings.engine else monotonic() - self.discovery_seen_at)],
                max,
            ),
            Gauge(
                "config_good",
                "1 while the last change of the configuration was taken, 0 while it was refused",
                (),
                lambda: [((), 0.0 if self.reload_error else 1.0)],
                min,
            ),
            Gauge("client_connections", "Open client connections", (), lambda: [((), len(self.connections))]),
            Gauge("keys", "Keys that are known", (), lambda: [((), len(self.admission.keys))], max),
        ]
