# SPDX-License-Identifier: Apache-2.0
"""Nodes and their order: built from components, run concurrently. A failed node cancels its descendants and nothing else."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...module_utils.errors import LlmOnEksError
from ..describe.descriptor import Component, DescriptorError, Namespace, Release, Wait, documents_of
from ..describe.references import references
from ..kinds.base import Context, Node, Outcome, Policy, Unfinished
from ..kinds.chart import ChartNode, ChartRemoval
from ..kinds.check import CheckNode
from ..kinds.connect import ConnectNode, FarewellNode
from ..kinds.job import JobNode
from ..kinds.manifest import ManifestNode, NamespaceNode
from ..kinds.outputs import OutputsNode
from ..kinds.remove import CrdsRemovalNode, NamespaceRemovalNode, PruneNode, RemoveNode
from ..kinds.revision import RecordNode
from ..kinds.secret import SecretNode
from ..kinds.wait import WORKLOADS, WaitNode
from .graph_aws import AwsPart

# Nodes that only wait take a thread each, but no place among those that work.
_MAX_THREADS = 64
_LOOK_S = 0.5


@dataclass
class Vertex:
    """A node in the graph. `after`: indices of the vertices that must have ended well before it; `behind`: that must have ended."""

    index: int
    component: str
    node: Node
    after: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Done:
    """How a vertex ended; `started` since the run's begin, `seconds` of its own. `error` is a sentence, or what it was cancelled by."""

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
class Running:
    """What a run is doing at a moment: nodes under way since so many seconds, and what each waits for."""

    seconds: float
    nodes: Sequence[tuple[str, str, float]]
    waits: Mapping[str, str]
    pending: int


def build(
    components: Sequence[Component], installed: Collection[str] = (), described: Sequence[Component] = ()
) -> list[Vertex]:
    """The graph of a run. `installed`: components that the cluster has already, by its records. `described`: components
    outside the run, whose AWS resources are looked at where somebody refers to them.

    Raises DescriptorError on a circle, or on something required that is neither in the run nor installed.
    """
    active = {component.name: component for component in components if component.state != "skip"}
    known = {component.name: component for component in described if component.state != "skip"} | active
    builder = _Builder(active, known)
    order = _edges(active, installed, builder.aws)
    _refuse_circles(order)
    builder.aws.add()
    connect = builder.connect()
    for component in active.values():
        builder.add(component)
    builder.join(order)
    builder.add_ends(connect)
    _refuse_knots(builder.vertices)
    return builder.vertices


class _Builder:
    """Collects the vertices of a run."""

    def __init__(self, active: Mapping[str, Component], known: Mapping[str, Component]) -> None:
        self.active = active
        self.vertices: list[Vertex] = []
        self.aws = AwsPart(active, known, lambda component, node: self._vertex(component, node, set()), self._order)
        self._first: dict[str, set[int]] = {}
        self._last: dict[str, set[int]] = {}
        self._namespaces: dict[str, int] = {}

    def _vertex(self, component: str, node: Node, after: set[int]) -> int:
        self.vertices.append(Vertex(len(self.vertices), component, node, set(after)))
        return len(self.vertices) - 1

    def _order(self, later: int, earlier: int, *, well: bool = True) -> None:
        (self.vertices[later].after if well else self.vertices[later].behind).add(earlier)

    def connect(self) -> set[int]:
        """The vertex that signs in to the cluster which this run makes: after the component's own resources, access among them."""
        for component in self.active.values():
            if component.kubernetes and component.state == "present":
                place = component.kubernetes
                after = self.aws.of(component.name) | self._publishers(
                    [place.name, place.endpoint, place.certificate_authority]
                )
                return {self._vertex(component.name, ConnectNode(component.name, place), after)}
        return set()

    def _publishers(self, value: Any) -> set[int]:
        """The vertices of the AWS resources that nested data refers to."""
        found = {self.aws.publisher(component, output) for component, output in references(value)}
        return {index for index in found if index is not None}

    def add(self, component: Component) -> None:
        """A component's own vertices: groups one after the other, the nodes of one group side by side."""
        # Components share a namespace: it is one vertex, and all of them come after it.
        shared = component.namespace if component.state == "present" else None
        home = {self._namespace(component.name, shared)} if shared else set()
        previous: set[int] = home
        if component.state == "present":
            previous = home | self.aws.of(component.name) | self._publishers(_texts(component))
        for stage in _stages(component):
            made = {self._vertex(component.name, node, previous) for node in stage}
            self._first.setdefault(component.name, made)
            previous = made
        self._first.setdefault(component.name, set())
        self._last[component.name] = previous

    def _namespace(self, component: str, namespace: Namespace) -> int:
        if namespace.name not in self._namespaces:
            node = NamespaceNode(namespace.name, namespace.pod_security, dict(namespace.labels))
            self._namespaces[namespace.name] = self._vertex(component, node, set())
        return self._namespaces[namespace.name]

    def join(self, order: Mapping[str, set[str]]) -> None:
        for name, befores in order.items():
            for index in self._first[name]:
                for before in befores:
                    self.vertices[index].after |= self._last[before]

    def add_ends(self, connect: set[int]) -> None:
        """Each namespace of what is removed goes after everything in it, CRDs after the namespaces, AWS at last."""
        homes: dict[str, list[Component]] = {}
        for component in self.active.values():
            if component.state == "absent" and component.namespace and component.namespace.name not in self._namespaces:
                homes.setdefault(component.namespace.name, []).append(component)
        for name, components in homes.items():
            retain = [kept for component in components for kept in component.retain]
            after = {index for component in components for index in self._last[component.name]}
            end = self._vertex(components[-1].name, NamespaceRemovalNode(name, retain), after)
            for component in components:
                self._last[component.name] = {end}
        for component in self.active.values():
            if component.state == "absent":
                self._vertex(component.name, CrdsRemovalNode(component), self._last[component.name])
        in_kubernetes = {vertex.index for vertex in self.vertices} - set(self.aws.vertices.values()) - connect
        for index in in_kubernetes:
            self.vertices[index].after |= connect
        prunes = self.aws.add_prunes()
        for vertex in self.vertices:
            if isinstance(vertex.node, RecordNode) and vertex.component in prunes:
                vertex.after.add(prunes[vertex.component])
        for index in prunes.values():
            self.vertices[index].after |= connect
        leaving = [component for component in self.active.values() if component.state == "absent" and component.aws]
        if leaving:
            last = next((component for component in leaving if component.kubernetes), None)
            name = (last or leaving[0]).name
            farewell = self._vertex(name, FarewellNode(last is not None), in_kubernetes)
            self.aws.add_removals(name, farewell, takes_cluster=last is not None)


def _stages(component: Component) -> Iterator[list[Node]]:
    """Groups of nodes; those of one group run side by side, the groups one after the other."""
    if component.state == "absent":
        yield from _removal(component)
        return
    name = component.name
    namespace = component.namespace.name if component.namespace else ""
    policy = Policy(component.adopt, component.recreate)
    stages: list[list[Node]] = []
    if component.crds:
        stages.append([ManifestNode(name, component.crds, name="CRDs", policy=policy)])
        stages.append([_established(name, crd["metadata"]["name"]) for crd in component.crds])
    # Derived Secrets read generated ones, so these come first.
    for group in (
        [secret for secret in component.secrets if not secret.derive],
        [secret for secret in component.secrets if secret.derive],
    ):
        stages.append([SecretNode(name, secret, secret.namespace or namespace) for secret in group])
    # One after the other: what a release defines, the next one may use. Releases that need not wait are components of their own.
    stages += [[ChartNode(name, release, _home(component, release), policy)] for release in component.releases]
    if component.manifests:
        stages.append([ManifestNode(name, component.manifests, namespace, policy=policy)])
    stages.append([JobNode(name, job, job.manifest["metadata"].get("namespace", namespace)) for job in component.jobs])
    stages.append(_waits(component, namespace))
    stages.append([CheckNode(name, check) for check in component.checks])
    if component.outputs:
        stages.append([OutputsNode(name, component.outputs, namespace)])
    stages += [[PruneNode(component)], [RecordNode(component)]]
    yield from (stage for stage in stages if stage)


def _removal(component: Component) -> Iterator[list[Node]]:
    """Charts may run something before and after the end of their objects."""
    before = [ChartRemoval(component.name, release, _home(component, release)) for release in component.releases]
    if before:
        yield list[Node](before)
    yield [RemoveNode(component)]
    if before:
        yield [ChartRemoval(component.name, node.release, node.namespace, node) for node in before]


def _home(component: Component, release: Release) -> str:
    return release.namespace or (component.namespace.name if component.namespace else "default")


def _established(component: str, name: str) -> Node:
    return WaitNode(component, Wait(kind="CustomResourceDefinition", name=name, condition="Established"), "")


def _waits(component: Component, namespace: str) -> list[Node]:
    """What the descriptor names, and every workload that it does not name."""
    waits = list(component.wait)
    named = {(wait.kind, wait.name) for wait in waits}
    for document in component.manifests:
        key = (document["kind"], document["metadata"]["name"])
        if document["kind"] in WORKLOADS and key not in named:
            waits.append(Wait(kind=key[0], name=key[1], namespace=document["metadata"].get("namespace", "")))
    return [WaitNode(component.name, wait, wait.namespace or namespace) for wait in waits]


def _edges(active: Mapping[str, Component], installed: Collection[str], aws: AwsPart) -> dict[str, set[str]]:
    """component -> components that must be done first; removal goes the other way round."""
    order: dict[str, set[str]] = {name: set() for name in active}
    for name, component in active.items():
        for other in component.requires:
            _refuse_missing(component, other, active, installed)
        referred = _referred(component, active, aws)
        for other in (*component.after, *component.requires, *referred):
            if other not in active or other == name:
                continue
            if component.state == "absent" and active[other].state == "absent":
                order[other].add(name)
            elif component.state == "present":
                order[name].add(other)
    return order


def _refuse_missing(
    component: Component, other: str, active: Mapping[str, Component], installed: Collection[str]
) -> None:
    if component.state != "present":
        return
    if other not in active and other not in installed:
        raise DescriptorError(
            f"component {component.name} requires {other}, which is neither part of this run nor installed; "
            f"run {other} first, or together with it"
        )
    if other in active and active[other].state == "absent":
        raise DescriptorError(
            f"component {component.name} requires {other}, which is to be removed; "
            f"remove {component.name} too, or keep {other}"
        )


def _texts(component: Component) -> list[Any]:
    """Where the Kubernetes part of a component may refer to others."""
    return [*documents_of(component), *(release.values for release in component.releases)]


def _referred(component: Component, active: Mapping[str, Component], aws: AwsPart) -> set[str]:
    """The components whose Kubernetes outputs this one refers to. Raises DescriptorError for an output that nobody has."""
    if component.state != "present":
        return set()
    found = set()
    for other, output in references(_texts(component)):
        if aws.knows(other, output):
            continue
        if other not in active or output not in active[other].outputs:
            raise DescriptorError(
                f"component {component.name} refers to ${{out:{other}.{output}}}, which no component of this run has"
            )
        found.add(other)
    return found


def _refuse_circles(order: Mapping[str, set[str]]) -> None:
    """Raises DescriptorError naming what waits for each other."""
    done: set[str] = set()
    while len(done) < len(order):
        ready = {name for name, befores in order.items() if name not in done and befores <= done}
        if not ready:
            circle = ", ".join(sorted(set(order) - done))
            raise DescriptorError(
                f"these components wait for each other in a circle: {circle}; take one out of `after` or `requires`"
            )
        done |= ready


def _refuse_knots(vertices: Sequence[Vertex]) -> None:
    """The same for single nodes, AWS resources above all, which are ordered by their references."""
    done: set[int] = set()
    while len(done) < len(vertices):
        ready = {one.index for one in vertices if one.index not in done and one.after | one.behind <= done}
        if not ready:
            knot = [f"{one.component} ({one.node.name})" for one in vertices if one.index not in done]
            raise DescriptorError(f"these wait for each other in a circle: {', '.join(knot[:6])}; take out a reference")
        done |= ready


def run(
    vertices: Sequence[Vertex],
    context: Context,
    *,
    concurrency: int = 6,
    finished: Callable[[Done], None] = lambda done: None,
    running: Callable[[Running], None] = lambda now: None,
) -> list[Done]:
    """Run everything that can run. `finished` is called in this thread, once for each vertex as it ends; `running` now and then."""
    started = time.monotonic()
    places = threading.Semaphore(concurrency)
    results: dict[int, Done] = {}
    waiting = {vertex.index: vertex for vertex in vertices}
    busy: dict[concurrent.futures.Future[Done], tuple[Vertex, float]] = {}
    pool = concurrent.futures.ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="converge")

    def end(done: Done) -> None:
        results[done.index] = done
        context.failed |= done.state == "failed"
        context.spent(done.component, done.started + done.seconds)
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
                ended, _ = concurrent.futures.wait(
                    busy, timeout=_LOOK_S, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in ended:
                    del busy[future]
                    end(future.result())
                now = time.monotonic()
                nodes = [(vertex.component, vertex.node.name, now - since) for vertex, since in busy.values()]
                running(Running(now - started, nodes, context.waits(), len(waiting)))
    except BaseException:
        context.stop.set()  # Ctrl-C: waits end at once, writes under way come to their end
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
    outcome, error = Outcome(), ""
    try:
        if context.stop.is_set():
            error = "the run was interrupted"
        else:
            outcome = node.run(context)
    except LlmOnEksError as failure:
        outcome = failure.outcome if isinstance(failure, Unfinished) else Outcome()
        error = context.masker.text(str(failure))
    finally:
        if not node.slow:
            places.release()
    state: Literal["ok", "failed"] = "failed" if error else "ok"
    seconds = time.monotonic() - begun
    return Done(vertex.component, node.name, state, outcome, begun - started, seconds, error, vertex.index, after)
