# SPDX-License-Identifier: Apache-2.0
"""One converge: descriptors in, what was (or would be) done out. Knows nothing of Ansible."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import disruption, graph, lease
from .descriptor import Component, DescriptorError, claims_of, parse
from .graph import Done, Running
from .helm.options import ChartOptions
from .kinds.base import Action, Context
from .kinds.chart import ChartTests
from .kubernetes.client import Client
from .lock_file import locked
from .masking import Masker
from .plan import Plan, StalePlanError, plan_of
from .record import Recorder


@dataclass
class ComponentResult:
    """What became of one component. `seconds`: when, since the run's begin, its last node ended."""

    state: str
    seconds: float = 0.0
    actions: list[Action] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cancelled: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.actions)

    @property
    def disruption(self) -> disruption.Disruption:
        return disruption.worst([action.disruption for action in self.actions])


@dataclass
class Result:
    """The whole run; `components` in the order in which they were described, `nodes` as they stand in the graph."""

    components: dict[str, ComponentResult]
    nodes: list[Done]
    seconds: float
    context: Context

    @property
    def masker(self) -> Masker:
        return self.context.masker

    @property
    def recorder(self) -> Recorder:
        return self.context.recorder

    @property
    def actions(self) -> list[Action]:
        return [action for component in self.components.values() for action in component.actions]

    @property
    def errors(self) -> list[str]:
        return [f"{name}: {error}" for name, component in self.components.items() for error in component.errors]


@dataclass(frozen=True)
class Hooks:
    """Who is told of what while a run goes on. `finished` gets the node, whether this is a plan, and what masks its words."""

    finished: Callable[[Done, bool, Masker], None] = lambda done, check, masker: None
    running: Callable[[Running], None] = lambda now: None
    say: Callable[[str], None] = lambda text: None


def converge(
    descriptors: Sequence[Any],
    client: Client | None,
    *,
    check: bool = False,
    only: Sequence[str] = (),
    concurrency: int = 6,
    lock_timeout_s: float = 300,
    expect: Plan | None = None,
    hooks: Hooks | None = None,
    charts: ChartOptions | None = None,
    lock_file: Path | None = None,
) -> Result:
    """Bring the components about. `client=None` plans against an empty cluster (with `check` only).

    `expect`: a plan that must still be what would be done. `lock_file`: where the digests of charts stand; without one, a
    chart's own digest is held, or none. Raises LockFileError, DescriptorError, LockError, StalePlanError.
    """
    hooks = hooks or Hooks()
    components = select(parse(descriptors), only)
    if lock_file is not None:
        components = locked(components, lock_file)
    if check or client is None:
        context = context_for(client, check=True, charts=charts)
        return _run(components, context, concurrency=concurrency, hooks=hooks)
    context = context_for(client, check=False, charts=charts)
    with lease.held(client, wait_s=lock_timeout_s, stop=context.stop, say=hooks.say):
        if expect is not None:
            look = context_for(client, check=True, charts=charts)
            planned = _run(components, look, concurrency=concurrency, hooks=Hooks())
            _refuse_stale(expect, plan_of(planned))
        # Read once the Lease is held: another run may have written them.
        context.recorder = Recorder(client, context.masker)
        result = _run(components, context, concurrency=concurrency, hooks=hooks)
    if not context.recorder.components() and all(component.state == "absent" for component in components):
        lease.forget(client)
    return result


def run_release_tests(
    descriptors: Sequence[Any],
    names: Sequence[str],
    client: Client,
    *,
    charts: ChartOptions | None = None,
    lock_file: Path | None = None,
) -> list[str]:
    """Run the test hooks of the named components' releases, side by side; one sentence for each that fails."""
    components = [component for component in parse(descriptors) if component.name in names]
    if lock_file is not None:
        components = locked(components, lock_file)
    vertices: list[graph.Vertex] = []
    for component in components:
        home = component.namespace.name if component.namespace else "default"
        for release in component.releases if component.state == "present" else []:
            node = ChartTests(component.name, release, release.namespace or home)
            vertices.append(graph.Vertex(len(vertices), component.name, node))
    if not vertices:
        return []
    done = graph.run(vertices, context_for(client, check=False, charts=charts))
    return [f"{node.component}: {node.error}" for node in done if node.state == "failed"]


def select(components: list[Component], only: Sequence[str]) -> list[Component]:
    """The named components and what they require; all when none is named."""
    if not only:
        return components
    known = {component.name: component for component in components}
    unknown = [name for name in only if name not in known]
    if unknown:
        raise DescriptorError(
            f"platform_only names {unknown[0]!r}, which is no component; known are {', '.join(known)}"
        )
    wanted: set[str] = set()
    queue = list(only)
    while queue:
        name = queue.pop()
        if name not in wanted and name in known:
            wanted.add(name)
            # What is removed needs nobody; what needs it is named, or refused.
            queue += known[name].requires if known[name].state == "present" else []
    return [component for component in components if component.name in wanted]


def context_for(client: Client | None, *, check: bool, charts: ChartOptions | None = None) -> Context:
    """What a run of its own begins with."""
    masker = Masker()
    recorder = Recorder(client, masker)
    return Context(client, check=check, masker=masker, recorder=recorder, charts=charts or ChartOptions())


def _run(components: Sequence[Component], context: Context, *, concurrency: int, hooks: Hooks) -> Result:
    started = time.monotonic()
    for component in components:
        for release in component.releases:
            context.masker.learn_values(release.values)
        for document in component.manifests:
            context.masker.learn_document(document)
        context.claim(claims_of(component))
    vertices = graph.build(components, context.recorder.components())
    nodes = graph.run(
        vertices,
        context,
        concurrency=concurrency,
        finished=lambda done: hooks.finished(done, context.check, context.masker),
        running=hooks.running,
    )
    results = {component.name: ComponentResult(component.state) for component in components}
    for node in nodes:
        result = results[node.component]
        result.seconds = max(result.seconds, node.started + node.seconds)
        result.actions += node.outcome.actions
        result.notes += node.outcome.notes
        if node.state == "failed":
            result.errors.append(node.error)
        elif node.state == "cancelled":
            result.cancelled = node.error
    return Result(results, nodes, time.monotonic() - started, context)


def _refuse_stale(expected: Plan, now: Plan) -> None:
    if expected.digest == now.digest:
        return
    raise StalePlanError(
        f"the plan is stale: {expected.difference(now)}; nothing was changed. Plan again with playbooks/plan.yml"
    )
