# SPDX-License-Identifier: Apache-2.0
"""One converge: descriptors in, what was (or would be) done out. Knows nothing of Ansible."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import graph
from .descriptor import Component, DescriptorError, parse
from .graph import Done
from .kinds.base import Action, Context
from .kubernetes.client import Client


@dataclass
class ComponentResult:
    """What became of one component."""

    state: str
    seconds: float = 0.0
    actions: list[Action] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cancelled: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.actions)


@dataclass
class Result:
    """The whole run; `components` in the order in which they were described."""

    components: dict[str, ComponentResult]
    seconds: float

    @property
    def actions(self) -> list[Action]:
        return [action for component in self.components.values() for action in component.actions]

    @property
    def errors(self) -> list[str]:
        return [f"{name}: {error}" for name, component in self.components.items() for error in component.errors]


def converge(
    descriptors: Sequence[Any],
    client: Client | None,
    *,
    check: bool = False,
    only: Sequence[str] = (),
    concurrency: int = 6,
    finished: Callable[[Done], None] = lambda done: None,
) -> Result:
    """Bring the components about. `client=None` plans against an empty cluster (with `check` only). Raises DescriptorError."""
    started = time.monotonic()
    components = select(parse(descriptors), only)
    context = Context(client, check=check or client is None)
    done = graph.run(graph.build(components), context, concurrency=concurrency, finished=finished)
    results = {component.name: ComponentResult(component.state) for component in components}
    for node in done:
        result = results[node.component]
        result.seconds = max(result.seconds, node.started + node.seconds)
        result.actions += node.outcome.actions
        result.notes += node.outcome.notes
        if node.state == "failed":
            result.errors.append(node.error)
        elif node.state == "cancelled":
            result.cancelled = node.error
    return Result(results, time.monotonic() - started)


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
            queue += known[name].requires
    return [component for component in components if component.name in wanted]
