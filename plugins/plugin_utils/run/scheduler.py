# SPDX-License-Identifier: Apache-2.0
"""Runs a graph: independent nodes run in parallel. A failed node cancels its descendants and nothing else."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...module_utils.errors import LlmOnEksError
from ..kinds.base import Context, Outcome, Unfinished
from .graph import Vertex

# Nodes that only wait use a thread each, but do not count against the concurrency.
_MAX_THREADS = 64
_LOOK_S = 0.5


@dataclass(frozen=True)
class Done:
    """How a vertex ended. `started`: seconds since the run's start; `seconds`: its duration.

    `error`: a sentence, or the name of the failed node that cancelled it.
    """

    component: str
    node: str
    state: Literal["ok", "failed", "cancelled"]
    outcome: Outcome
    started: float
    seconds: float
    error: str = ""
    index: int = 0
    after: Sequence[int] = ()


@dataclass(frozen=True)
class RunningNode:
    """A node with its seconds so far; `target` and `reason`: what it waits for, and why that is not there."""

    component: str
    node: str
    seconds: float
    target: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Running:
    """What a run is doing right now: the running nodes, and how many are still to come."""

    seconds: float
    nodes: Sequence[RunningNode]
    pending: int


def run(
    vertices: Sequence[Vertex],
    context: Context,
    *,
    concurrency: int = 6,
    finished: Callable[[Done], None] = lambda done: None,
    running: Callable[[Running], None] = lambda now: None,
) -> list[Done]:
    """Run all vertices that can run. `finished` is called in this thread when a vertex ends; `running` now and then."""
    started = time.monotonic()
    places = threading.Semaphore(concurrency)
    results: dict[int, Done] = {}
    waiting = {vertex.index: vertex for vertex in vertices}
    busy: dict[concurrent.futures.Future[Done], tuple[Vertex, float]] = {}
    pool = concurrent.futures.ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="converge")

    def end(done: Done) -> None:
        results[done.index] = done
        context.run.failed |= done.state == "failed"
        context.waits.end(done.component, done.started + done.seconds)
        finished(done)

    try:
        while waiting or busy:
            for vertex in list(waiting.values()):
                broken = _broken(vertex, results)
                if broken is not None:
                    del waiting[vertex.index]
                    end(_cancelled(vertex, broken, time.monotonic() - started))
                elif all(index in results for index in (*vertex.after, *vertex.behind)):
                    del waiting[vertex.index]
                    future = pool.submit(_run_one, vertex, context, places, started)
                    busy[future] = (vertex, time.monotonic())
            if busy:
                ended, __ = concurrent.futures.wait(
                    busy, timeout=_LOOK_S, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ended:
                    del busy[future]
                    end(future.result())
                now = time.monotonic()
                nodes = [
                    RunningNode(vertex.component, vertex.node.name, now - since, *context.waits.reason(vertex.index))
                    for vertex, since in busy.values()
                ]
                running(Running(now - started, nodes, len(waiting)))
    except BaseException:  # also Ctrl-C: waits end at once, writes are completed
        context.run.stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[vertex.index] for vertex in vertices]


def _broken(vertex: Vertex, results: Mapping[int, Done]) -> Done | None:
    return next((results[index] for index in vertex.after if index in results and results[index].state != "ok"), None)


def _cancelled(vertex: Vertex, by: Done, now: float) -> Done:
    cause = by.error if by.state == "cancelled" else f"{by.component} ({by.node}) failed"
    after = sorted(vertex.after)
    return Done(vertex.component, vertex.node.name, "cancelled", Outcome(), now, 0.0, cause, vertex.index, after)


def _run_one(vertex: Vertex, context: Context, places: threading.Semaphore, started: float) -> Done:
    node, after = vertex.node, sorted(vertex.after | vertex.behind)
    if not node.slow:
        places.acquire()
    begun = time.monotonic()
    context.waits.enter(vertex.index)
    outcome, error = Outcome(), ""
    try:
        if context.run.stop.is_set():
            error = "the run was interrupted"
        else:
            outcome = node.run(context)
    except LlmOnEksError as failure:
        outcome = failure.outcome if isinstance(failure, Unfinished) else Outcome()
        error = context.run.masker.text(str(failure))
    finally:
        context.waits.leave(vertex.index)
        if not node.slow:
            places.release()
    state: Literal["ok", "failed"] = "failed" if error else "ok"
    seconds = time.monotonic() - begun
    return Done(vertex.component, node.name, state, outcome, begun - started, seconds, error, vertex.index, after)
