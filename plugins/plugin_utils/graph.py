# SPDX-License-Identifier: Apache-2.0
"""Nodes and their order: built from components, run concurrently. A failed node cancels its descendants and nothing else."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from ..module_utils.errors import LlmOnEksError
from .descriptor import Component, DescriptorError, Wait
from .kinds.base import Context, Node, Outcome
from .kinds.chart import ChartNode, ChartRemoval
from .kinds.check import CheckNode
from .kinds.job import JobNode
from .kinds.manifest import ManifestNode, NamespaceNode
from .kinds.remove import RemoveNode
from .kinds.secret import SecretNode
from .kinds.wait import WORKLOADS, WaitNode

# Nodes that only wait take a thread each, but no place among those that work.
_MAX_THREADS = 64


@dataclass
class Vertex:
    """A node in the graph. `after`: indices of the vertices that must have ended well before it."""

    index: int
    component: str
    node: Node
    after: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Done:
    """How a vertex ended; `seconds` of its own work. `error` is a sentence, or which failure it was cancelled by."""

    component: str
    node: str
    state: Literal["ok", "failed", "cancelled"]
    outcome: Outcome
    started: float
    seconds: float
    error: str = ""


def build(components: Sequence[Component]) -> list[Vertex]:
    """The graph of a run. Raises DescriptorError on a circle or on something required that will not be there."""
    active = {component.name: component for component in components if component.state != "skip"}
    order = _edges(active)
    _refuse_circles(order)
    vertices: list[Vertex] = []
    last: dict[str, set[int]] = {}
    first: dict[str, set[int]] = {}
    for name, component in active.items():
        previous: set[int] = set()
        for stage in _stages(component):
            made = set()
            for node in stage:
                vertex = Vertex(len(vertices), name, node, set(previous))
                vertices.append(vertex)
                made.add(vertex.index)
            first.setdefault(name, made)
            previous = made
        first.setdefault(name, set())
        last[name] = previous
    for name, befores in order.items():
        for index in first[name]:
            for before in befores:
                vertices[index].after |= last[before]
    return vertices


def _stages(component: Component) -> Iterator[list[Node]]:
    """Groups of nodes; those of one group run side by side, the groups one after the other."""
    if component.state == "absent":
        yield from _removal(component)
        return
    name = component.name
    namespace = component.namespace.name if component.namespace else ""
    stages: list[list[Node]] = []
    if component.namespace:
        stages.append([NamespaceNode(namespace, component.namespace.pod_security, dict(component.namespace.labels))])
    if component.crds:
        stages.append([ManifestNode(name, component.crds, name="definitions")])
        stages.append(
            [
                WaitNode(
                    name,
                    Wait(kind="CustomResourceDefinition", name=crd["metadata"]["name"], condition="Established"),
                    "",
                )
                for crd in component.crds
            ]
        )
    # Derived Secrets read generated ones, so these come first.
    for group in (
        [secret for secret in component.secrets if not secret.derive],
        [secret for secret in component.secrets if secret.derive],
    ):
        stages.append([SecretNode(name, secret, secret.namespace or namespace) for secret in group])
    # One after the other: what a release defines, the next one may use. Releases that need not wait are components of their own.
    stages += [
        [ChartNode(name, release, release.namespace or namespace or "default")] for release in component.releases
    ]
    if component.manifests:
        stages.append([ManifestNode(name, component.manifests, namespace)])
    stages.append([JobNode(name, job, job.manifest["metadata"].get("namespace", namespace)) for job in component.jobs])
    stages.append(_waits(component, namespace))
    stages.append([CheckNode(name, check) for check in component.checks])
    yield from (stage for stage in stages if stage)


def _removal(component: Component) -> Iterator[list[Node]]:
    """Charts may run something before and after the end of their objects; the namespace stays until then."""
    namespace = component.namespace.name if component.namespace else ""
    if component.releases:
        before = [
            ChartRemoval(component.name, release, release.namespace or namespace or "default")
            for release in component.releases
        ]
        yield list[Node](before)
        yield [RemoveNode(msgspec.structs.replace(component, namespace=None), name="removal of objects")]
        yield [ChartRemoval(component.name, node.release, node.namespace, node) for node in before]
    yield [RemoveNode(component)]


def _waits(component: Component, namespace: str) -> list[Node]:
    """What the descriptor names, and every workload that it does not name."""
    waits = list(component.wait)
    named = {(wait.kind, wait.name) for wait in waits}
    for document in component.manifests:
        key = (document["kind"], document["metadata"]["name"])
        if document["kind"] in WORKLOADS and key not in named:
            waits.append(Wait(kind=key[0], name=key[1], namespace=document["metadata"].get("namespace", "")))
    return [WaitNode(component.name, wait, wait.namespace or namespace) for wait in waits]


def _edges(active: Mapping[str, Component]) -> dict[str, set[str]]:
    """component -> components that must be done first; removal goes the other way round."""
    order: dict[str, set[str]] = {name: set() for name in active}
    for name, component in active.items():
        for other in component.requires:
            if other not in active:
                raise DescriptorError(
                    f"component {name} requires {other}, which is not part of this run; add it, or drop it from `requires`"
                )
            if component.state == "present" and active[other].state == "absent":
                raise DescriptorError(
                    f"component {name} requires {other}, which is to be removed; remove {name} too, or keep {other}"
                )
        for other in (*component.after, *component.requires):
            if other not in active:
                continue
            if component.state == "absent" and active[other].state == "absent":
                order[other].add(name)
            elif component.state == "present":
                order[name].add(other)
    return order


def _refuse_circles(order: Mapping[str, set[str]]) -> None:
    done: set[str] = set()
    while len(done) < len(order):
        ready = {name for name, befores in order.items() if name not in done and befores <= done}
        if not ready:
            circle = ", ".join(sorted(set(order) - done))
            raise DescriptorError(
                f"these components wait for each other in a circle: {circle}; take one out of `after` or `requires`"
            )
        done |= ready


def run(
    vertices: Sequence[Vertex],
    context: Context,
    *,
    concurrency: int = 6,
    finished: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Run everything that can run. `finished` is called in this thread, once for each vertex as it ends."""
    started = time.monotonic()
    places = threading.Semaphore(concurrency)
    results: dict[int, Done] = {}
    waiting = {vertex.index: vertex for vertex in vertices}
    running: dict[concurrent.futures.Future[Done], int] = {}
    pool = concurrent.futures.ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="converge")
    try:
        while waiting or running:
            for vertex in list(waiting.values()):
                broken = next(
                    (results[index] for index in vertex.after if index in results and results[index].state != "ok"),
                    None,
                )
                if broken is not None:
                    del waiting[vertex.index]
                    cause = (
                        broken.error if broken.state == "cancelled" else f"{broken.component} ({broken.node}) failed"
                    )
                    results[vertex.index] = Done(
                        vertex.component,
                        vertex.node.name,
                        "cancelled",
                        Outcome(),
                        time.monotonic() - started,
                        0.0,
                        cause,
                    )
                    finished(results[vertex.index])
                elif all(index in results for index in vertex.after):
                    del waiting[vertex.index]
                    running[pool.submit(_run_one, vertex, context, places, started)] = vertex.index
            if running:
                ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in ended:
                    index = running.pop(future)
                    results[index] = future.result()
                    finished(results[index])
    except BaseException:
        context.stop.set()  # Ctrl-C: waits end at once, writes under way come to their end
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [results[vertex.index] for vertex in vertices]


def _run_one(vertex: Vertex, context: Context, places: threading.Semaphore, started: float) -> Done:
    if not vertex.node.slow:
        places.acquire()
    begun = time.monotonic()
    try:
        outcome = vertex.node.run(context)
        return Done(vertex.component, vertex.node.name, "ok", outcome, begun - started, time.monotonic() - begun)
    except LlmOnEksError as error:
        return Done(
            vertex.component,
            vertex.node.name,
            "failed",
            Outcome(),
            begun - started,
            time.monotonic() - begun,
            str(error),
        )
    finally:
        if not vertex.node.slow:
            places.release()
