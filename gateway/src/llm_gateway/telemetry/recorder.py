# SPDX-License-Identifier: Apache-2.0
"""Counts, logs and traces the requests that are over, some at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final

from llm_gateway.callers.caller import Caller
from llm_gateway.callers.ledger import Ledger, Record
from llm_gateway.callers.limits import count_use
from llm_gateway.telemetry.access_log import AccessLog
from llm_gateway.telemetry.access_log_line import Line
from llm_gateway.telemetry.ended import EndedRequest
from llm_gateway.telemetry.instruments import ModelMetrics, status_text
from llm_gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from llm_gateway.telemetry.tracing import Tracer

# So many ended requests are recorded together: one by one they cost more, and a client that asks again at once waits for it.
BATCH: Final = 16


class Recorder:
    """Takes ended requests. `record_of` finds where the use of a key is counted for all workers."""

    def __init__(
        self, metrics: Metrics, access_log: AccessLog, ledger: Ledger, record_of: Callable[[Caller], Record | None]
    ) -> None:
        self._ended: list[EndedRequest] = []
        self._metrics = metrics
        self.access_log = access_log
        self.tracer: Tracer | None = None
        self._ledger = ledger
        self._record_of = record_of

    def add(self, request: EndedRequest) -> None:
        """Take one; it is recorded with its batch, or by the next `flush`."""
        self._ended.append(request)
        if len(self._ended) == BATCH:
            asyncio.get_running_loop().call_soon(self.flush)

    def refused(self, request: EndedRequest) -> None:
        """Record one that was refused before anything of it was begun: it counts for no key and no model."""
        self._metrics.requests.add("", status_text(request.status), request.reason)
        if self.tracer is not None:
            self.tracer.end(request)
        if self.access_log.enabled:
            self._log([request])

    def flush(self) -> None:
        """Record all that have come. One short loop after the other: see README, "Memory in no cache"."""
        ended, self._ended = self._ended, []
        records = [self._record_of(request.caller) for request in ended]
        metrics = [
            self._metrics.model(request.model) if request.metrics is None else request.metrics for request in ended
        ]
        for of_model in metrics:
            of_model.fetch()
        self._count_by_key(ended, records)
        self._count_by_model(ended, metrics)
        if self.tracer is not None:
            for request in ended:
                self.tracer.end(request)
        if self.access_log.enabled:
            self._log(ended)

    def _count_by_key(self, ended: list[EndedRequest], records: list[Record | None]) -> None:
        """What keys have used: for the metrics, and in the ledger, where all workers see it."""
        for number, request in enumerate(ended):
            prompt, completion = request.prompt_tokens or 0, request.completion_tokens or 0
            use = request.caller.use
            use.requests += 1
            use.tokens += prompt + completion
            record = records[number]
            if record is not None:
                count_use(self._ledger, record, prompt, completion)

    def _count_by_model(self, ended: list[EndedRequest], metrics: list[ModelMetrics]) -> None:
        for number, request in enumerate(ended):
            of_model = metrics[number]
            if request.status == 200 and not request.reason:
                of_model.answered += 1
            else:
                self._metrics.requests.bump((request.model, status_text(request.status), request.reason), 1)
            completion = request.completion_tokens
            if request.prompt_tokens is not None:
                of_model.read(request.prompt_tokens)
            if completion:
                of_model.wrote(completion)
            times = request.times
            if request.attempts:
                _count_waiting(request, of_model)
            first_at = times.first_byte_at
            if first_at:
                of_model.took(request.ended_at - times.started_at, first_at - times.started_at)
                if request.stream and completion and completion > 1:
                    of_model.went_on((times.last_byte_at - first_at) / (completion - 1))

    def _log(self, ended: list[EndedRequest]) -> None:
        offset_s = time.time() - monotonic()
        names = [request.caller.name for request in ended]
        for number, request in enumerate(ended):
            times = request.times
            started_at, first_at = times.started_at, times.first_byte_at
            self.access_log.write(
                Line(
                    offset_s + request.ended_at,
                    request.request_id.decode(),
                    names[number],
                    request.model,
                    request.path.decode("latin-1"),
                    request.status,
                    microseconds(request.ended_at - started_at),
                    request.stream,
                    request.reason,
                    request.engine,
                    request.attempts,
                    microseconds(times.engine_at - started_at) if request.waited else 0.0,
                    microseconds(first_at - started_at) if first_at else None,
                    request.prompt_tokens,
                    request.completion_tokens,
                    None if request.span is None else request.span.trace_id,
                    request.caller.tenant,
                    request.client,
                )
            )


def _count_waiting(request: EndedRequest, of_model: ModelMetrics) -> None:
    """How long the request waited for an engine, and what the gateway itself took."""
    times = request.times
    if request.waited:
        of_model.waited(times.engine_at - times.started_at)
    else:
        of_model.at_once += 1
    if request.attempts == 1 and times.reply_at:
        # Until the engine had it, and after its reply had come. Not where the request waited.
        before_s = 0.0 if request.queued else times.sent_at - times.started_at
        of_model.took_itself(before_s + request.ended_at - times.reply_at)


def microseconds(seconds: float) -> float:
    """Seconds without what is beyond microseconds."""
    return int(seconds * 1e6) / 1e6
