# SPDX-License-Identifier: Apache-2.0
"""One worker process: its event loop, its server, its background work, and its orderly end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import uvloop
from sanic import Sanic
from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP

from llm_gateway.callers.admission import read_secret
from llm_gateway.callers.ledger import Ledger
from llm_gateway.config.settings import Settings, fields, host_port
from llm_gateway.data_path.client_connection import ClientConnection
from llm_gateway.discovery.static import static_endpoints
from llm_gateway.engines.engine import Engine, Health
from llm_gateway.engines.probe import ProbeRounds, ask_kind, ask_load, ask_models
from llm_gateway.errors import ConfigError, EngineError
from llm_gateway.gateway import Gateway
from llm_gateway.process.heap import keep_freed
from llm_gateway.process.workers import WorkerGroup
from llm_gateway.web.routes import add_routes

if TYPE_CHECKING:
    from llm_gateway.process.siblings import Family

LOG = logging.getLogger("llm_gateway")
BACKLOG = 4096
FILES_POLL_S = 1.0
KEEP_COUNTS_S = 2.0
DISCOVERY_WAIT_S = 3.0
HUGE_PAGES_S, HUGE_PAGES_END_S = 3.0, 60.0
PROBED_AT_ONCE = 32
# Sanic rewrites its own code when an app starts, which works once per process only.
_touched_up: list[str] = []


def make_app(gateway: Gateway, group: WorkerGroup) -> Sanic[Any, Any]:
    """The Sanic application of one worker."""
    app: Sanic[Any, Any] = Sanic(f"llm_gateway_{os.getpid()}_{id(gateway)}", configure_logging=False)
    app.ctx.gateway = gateway
    settings = gateway.settings
    app.config.update(
        {
            "ACCESS_LOG": False,
            "MOTD": False,
            "OAS": False,
            "TOUCHUP": not _touched_up,
            "REQUEST_MAX_SIZE": settings.max_body,
            "REQUEST_TIMEOUT": settings.body_timeout,
            "RESPONSE_TIMEOUT": settings.request_timeout,
            "KEEP_ALIVE_TIMEOUT": settings.keep_alive_timeout,
        }
    )
    _touched_up.append(app.name)
    # Sanic decides by this list whether to advertise HTTP/3 in every reply.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    add_routes(app, gateway, group)
    return app


def bind(settings: Settings, *, shared: bool, address: str = "") -> socket.socket:
    """The listening socket, on `address` instead of the settings' where that is given. Raises ConfigError."""
    host, port = host_port(address or settings.listen)
    both = not host and socket.has_dualstack_ipv6()
    listener = socket.socket(socket.AF_INET6 if both or ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    if both:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except (OSError, UnicodeError) as error:
        listener.close()
        raise ConfigError(f"listen {settings.listen}: {error}") from error
    listener.setblocking(False)
    return listener


class Worker:
    """Runs a gateway until it is told to stop."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        *,
        ledger: Ledger | None = None,
        family: Family | None = None,
        load: Callable[[], Settings] | None = None,
    ) -> None:
        self.settings = settings
        self.listener = listener
        self.ledger = ledger
        self.family = family
        self._load = load
        self._protocol_arguments: dict[str, Any] = {}
        self.gateway: Gateway
        self.group: WorkerGroup
        self.stopping: asyncio.Event
        self.broken = False
        self._server: Any = None
        self._sibling_server: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self) -> int:
        """Run in this process until SIGTERM or SIGINT; returns the exit status."""
        keep_freed()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._until_signal())

    async def _until_signal(self) -> int:
        await self.start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        await self.stopping.wait()
        await self.stop()
        return 1 if self.broken else 0

    async def start(self) -> None:
        """Serve from now on. Raises ConfigError."""
        self.stopping = asyncio.Event()
        self.gateway = gateway = Gateway(self.settings, self.ledger)
        self.group = WorkerGroup(gateway, self.family)
        gateway.on_reload = self.reload
        self.group.take_counts()
        await self._start_helpers()
        gateway.load_keys()
        static_endpoints(self.settings)  # what cannot be meant is said before anything is served
        app = make_app(gateway, self.group)
        server: Any = await app.create_server(
            sock=self.listener,
            protocol=self._connection,  # type: ignore[arg-type]  # Sanic only calls it
            return_asyncio_server=True,
            access_log=False,
            backlog=BACKLOG,
            asyncio_server_kwargs={"start_serving": False},
        )
        self._server = server
        await server.startup()
        await server.before_start()
        self._start(self._clock(), "clock")
        self._start(self._discover(), "discovery")
        # A client that comes a moment too early waits, instead of being told that there are no engines.
        with suppress(TimeoutError):
            await asyncio.wait_for(gateway.discovered.wait(), DISCOVERY_WAIT_S)
        await server.start_serving()
        # What exists now stays: without this, the garbage collector would look through 100 000 keys again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        self._start(self._watch_files(), "files")
        self._start(self._use_huge_pages(), "huge pages")
        if self.family is not None:
            self._sibling_server = await self.family.listen(self.group.answer)
        LOG.info("listening on %s (pid %d)", self.settings.listen, os.getpid())

    async def stop(self) -> None:
        """Drain and end."""
        await self._drain()
        self.gateway.recorder.flush()
        self.gateway.recorder.access_log.flush()
        if self.gateway.tracer is not None:
            await self.gateway.tracer.flush()

    def _connection(self, **arguments: Any) -> ClientConnection:
        self._protocol_arguments = arguments
        return ClientConnection(**arguments)

    async def _start_helpers(self) -> None:
        """Parts that only some configurations need. They are imported only there, to save memory."""
        settings, gateway = self.settings, self.gateway
        if settings.trace_endpoint:
            from llm_gateway.telemetry.tracing import Tracer

            tracer = Tracer(settings.trace_endpoint, settings.trace_sample)
            gateway.trace(tracer)
            self._start(tracer.run(), "traces")
        if settings.jwks or settings.jwt_issuer:
            from llm_gateway.callers.jwt import TokenVerifier

            tokens = gateway.admission.tokens = TokenVerifier(settings)
            await tokens.load()
            self._start(tokens.run(), "JWKS")
        if settings.redis_url:
            from llm_gateway.callers.redis_limits import RedisLimiter

            gateway.admission.remote = RedisLimiter(
                settings.redis_url, settings.request_timeout, read_secret(settings.redis_password_file)
            )

    def _start(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # Background work that breaks is a defect: better to end, and be started again, than to serve with stale engines.
            LOG.critical("%s ended: %r", task.get_name(), task.exception(), exc_info=task.exception())
            self.broken = True
            self.stopping.set()

    # --- background work

    async def _clock(self) -> None:
        interval_s = self.gateway.tick_interval_s()
        kept_at = monotonic()
        while True:
            await asyncio.sleep(interval_s)
            self.gateway.tick()
            if self.family is not None and monotonic() - kept_at > KEEP_COUNTS_S:
                kept_at = monotonic()
                self.group.keep_counts()
                if self.family.orphaned():
                    LOG.critical("the supervisor is gone")
                    self.stopping.set()

    async def _discover(self) -> None:
        gateway = self.gateway
        settings = self.settings
        for model in settings.models:
            if gateway.fleet.catalogue.real(model):
                gateway.fleet.registry.know(model)
        gateway.fleet.registry.changed()
        if settings.kubernetes:
            from llm_gateway.discovery.kubernetes import EndpointWatch

            watch = EndpointWatch.from_settings(settings)
            static = static_endpoints(settings)
            named: set[str] = set()
            self._start(self._probe_loop(), "probes")
            self._start(self._engine_metrics_loop(), "engine metrics")
            async for update in watch.run():
                gateway.discovery_seen_at = watch.heard_at
                if update is not None and update.whole:
                    for model in watch.models:
                        gateway.fleet.registry.know(model)
                    gateway.fleet.registry.replace([*update.engines, *static])
                    # Without pods a Service keeps its slices: a model without any was removed.
                    if named - watch.models:
                        gateway.fleet.registry.forget(named - watch.models)
                        gateway.fleet.registry.changed()
                    named = set(watch.models)
                    gateway.discovered.set()
                elif update is not None:
                    gateway.fleet.registry.update(update.engines)
            return
        gateway.fleet.registry.replace(static_endpoints(settings))
        await self._probe_all(list(gateway.fleet.registry.engines.values()))
        gateway.discovered.set()
        self._start(self._engine_metrics_loop(), "engine metrics")
        await self._probe_loop()

    async def _probe_loop(self) -> None:
        interval_s = self.settings.probe_interval
        if not interval_s:
            return
        rounds = ProbeRounds(interval_s)
        while True:
            await asyncio.sleep(interval_s)
            await self._probe_all(rounds.due(list(self.gateway.fleet.registry.engines.values()), monotonic()))

    async def _probe_all(self, engines: list[Engine]) -> None:
        for start in range(0, len(engines), PROBED_AT_ONCE):
            await asyncio.gather(*(self._probe(engine) for engine in engines[start : start + PROBED_AT_ONCE]))

    async def _engine_metrics_loop(self) -> None:
        """Ask engines for their queues and KV use, as long as a policy looks at them."""
        gateway = self.gateway
        while True:
            await asyncio.sleep(gateway.settings.engine_metrics_interval or 1.0)
            wanted = [
                engine
                for dispatcher in gateway.fleet.dispatchers.values()
                if dispatcher.policy_name == "queue-aware"
                for engine in dispatcher.ready
            ]
            for start in range(0, len(wanted), 32):
                await asyncio.gather(*(ask_load(engine) for engine in wanted[start : start + 32]))

    async def _probe(self, engine: Engine) -> None:
        """Learn an engine's models, and notice one that died while nobody asked it anything."""
        gateway = self.gateway
        timeout_s = max(1.0, min(5.0, self.settings.probe_interval or 5.0))
        try:
            cards = await ask_models(engine, timeout_s)
            if not engine.kind and not engine.kind_asked:
                engine.kind = engine.learned_kind = await ask_kind(engine, cards, timeout_s)
                engine.kind_asked = True
                if engine.kind:
                    LOG.info("engine %s: is a %s", engine.name, engine.kind)
                    cards = await ask_models(engine, timeout_s)
        except EngineError as error:
            if engine.health is Health.CLOSED and error.kind != "status":
                gateway.fleet.failed(engine, error)
            return
        if engine.health is Health.OPEN and not engine.in_flight:
            # It answers again: one request may try.
            engine.half_open(engine.open_until)
            gateway.fleet.registry.refresh(engine)
        models = frozenset({self.settings.model}) if self.settings.model else frozenset(cards)
        if models:
            gateway.fleet.registry.learn(engine, models, cards)

    async def _use_huge_pages(self) -> None:
        """Ask for huge pages again and again, as memory grows with keys, models and connections."""
        from llm_gateway.process.huge_pages import Unavailable, collapse

        loop = asyncio.get_running_loop()
        pause_s, before = HUGE_PAGES_S, 0
        while True:
            try:
                # In a thread that ends with it: while there is a second one, even an idle one, the kernel counts references to a socket
                # at each read and write.
                with ThreadPoolExecutor(max_workers=1) as thread:
                    made = await loop.run_in_executor(thread, collapse)
            except Unavailable as why:
                LOG.info("no huge pages: %s", why)
                return
            pause_s = min(HUGE_PAGES_END_S, pause_s * 2) if made == before else HUGE_PAGES_S
            before = made
            await asyncio.sleep(pause_s)

    async def _watch_files(self) -> None:
        """Take in changed files. A mounted ConfigMap changes by the swap of a link, so looking at what is there is the only sure way."""
        seen = self._stamp()
        while True:
            await asyncio.sleep(FILES_POLL_S)
            now = self._stamp()
            if now != seen:
                seen = now
                self.reload()

    def _stamp(self) -> tuple[tuple[str, int, int, int], ...]:
        """What tells one state of the watched files from another, without reading them."""
        settings = self.gateway.settings
        single = [settings.config_file, settings.api_key_file, settings.admin_key_file, settings.engine_api_key_file]
        single += [endpoint.key_file for endpoint in self.gateway.fleet.registry.said.values()]
        paths = [Path(name) for name in dict.fromkeys(single) if name]
        for folder in (settings.keys_dir, settings.admin_keys_dir):
            if folder:
                with suppress(OSError):
                    paths += sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
        found = []
        for path in paths:
            with suppress(OSError):
                status = path.stat()
                found.append((str(path), status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)

    def reload(self) -> bool:
        """Take in changed settings and keys; if any of it is bad, all of it is refused, and the old ones stay. True when taken."""
        gateway = self.gateway
        old = gateway.settings
        try:
            if self._load is not None:
                self._take_settings(self._load())
            gateway.load_keys()
            gateway.recorder.access_log.reopen()
        except ConfigError as error:
            gateway.configure(old)
            gateway.reload_error = str(error)
            gateway.metrics.config_reloads.add("refused")
            LOG.error("configuration not reloaded, the old one stays: %s", error)
            return False
        gateway.reload_error = ""
        # As at the start: new keys stay as well.
        gc.collect()
        gc.freeze()
        gateway.metrics.config_reloads.add("taken")
        LOG.info("configuration reloaded: %d keys", len(gateway.admission.keys))
        return True

    def _take_settings(self, wanted: Settings) -> None:
        old = self.gateway.settings
        fixed = [field.name for field in fields() if not field.metadata["reload"]]
        stuck = [name for name in fixed if getattr(wanted, name) != getattr(old, name)]
        if stuck:
            LOG.warning("these settings change with a restart only: %s", ", ".join(stuck))
        self.gateway.configure(replace(wanted, **{name: getattr(old, name) for name in fixed}))

    # --- the end

    async def _close_port(self) -> None:
        """Stop listening, but serve whoever has connected already: closing a socket resets what is in its backlog."""
        rest = self.listener.dup()
        self._server.server.close()
        loop = asyncio.get_running_loop()
        with rest, suppress(OSError):
            while self._protocol_arguments:
                accepted, __ = rest.accept()
                accepted.setblocking(False)
                await loop.connect_accepted_socket(lambda: ClientConnection(**self._protocol_arguments), accepted)
        if self.family is not None:
            # The supervisor has this socket open as well; nobody must be able to connect to it any more.
            with suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)

    async def _drain(self) -> None:
        """Turn unready, close the port, let requests finish, end."""
        gateway = self.gateway
        settings = self.settings
        gateway.draining = True
        LOG.info("draining: %d requests under way", len(gateway.active))
        if settings.drain_delay:
            await asyncio.sleep(settings.drain_delay)
        await self._close_port()
        until = monotonic() + settings.drain_timeout
        while monotonic() < until:
            for connection in list(gateway.connections):
                connection.close_if_idle()
            if not gateway.connections:
                break
            await asyncio.sleep(0.02)
        left = list(gateway.connections)
        if left:
            LOG.warning("drain timeout: %d connections cut", len(left))
        for connection in left:
            connection.cut()
        tasks = list(self._tasks)
        for task in tasks:
            task.remove_done_callback(self._ended)
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for engine in gateway.fleet.registry.engines.values():
            engine.close_idle()
        if self._sibling_server is not None:
            self._sibling_server.close()
        self.group.keep_counts()
