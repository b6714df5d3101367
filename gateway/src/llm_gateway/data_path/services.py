# SPDX-License-Identifier: Apache-2.0
"""What the data path sees of the worker that it runs in."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from llm_gateway.callers.admission import Admission
from llm_gateway.config.settings import Settings
from llm_gateway.data_path.request_ids import RequestIds
from llm_gateway.engines.fleet import Fleet
from llm_gateway.http.cors import Cors
from llm_gateway.http.head import HeadParser
from llm_gateway.http.outbox import Outbox
from llm_gateway.telemetry.metrics import Metrics
from llm_gateway.telemetry.recorder import Recorder

if TYPE_CHECKING:
    from llm_gateway.telemetry.tracing import Tracer


class Active(Protocol):
    """A request under way."""

    def tick(self, now: float) -> None:
        """Called now and then: enforce time limits."""


class Open(Protocol):
    """A client's open connection."""

    writing_paused: bool

    def tick(self, now: float) -> None:
        """Called now and then: enforce time limits."""

    def forget_key(self) -> None:
        """Keys have changed."""

    def close_if_idle(self) -> bool:
        """Close unless a request is being served. True when closed."""

    def cut(self) -> None:
        """End whatever is under way."""


class Services:
    """The parts that connections and exchanges use. A class and no Protocol: compiled, a Protocol's fields are looked up by name each time."""

    settings: Settings
    admission: Admission
    fleet: Fleet
    recorder: Recorder
    metrics: Metrics
    outbox: Outbox
    heads: HeadParser
    cors: Cors
    ids: RequestIds
    active: set[Active]
    connections: set[Open]
    draining: bool
    tracer: Tracer | None
    # Whether other processes wait for what a request gives back.
    shared: bool
    running: set[asyncio.Task[None]]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something run to its end by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self.running.add(task)
        task.add_done_callback(self.running.discard)
